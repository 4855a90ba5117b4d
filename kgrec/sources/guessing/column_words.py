"""What the names of columns and files say: the words in them, and the roles that these words stand for."""

from __future__ import annotations

import re
from pathlib import PurePosixPath


def word_set(text: str) -> frozenset[str]:
    """The words of a text, each once."""
    return frozenset(text.split())


#: Role -> words of a name that stand for it. Both the words of a name and its last but one are looked up.
ROLES: dict[str, frozenset[str]] = {
    "user": word_set(
        "user users uid friend friends follower followee trustee usr customer customers client member members "
        "reviewer visitor visitors buyer account person people listener reader player subscriber email patron "
        "guest shopper viewer consumer student learner rater cust kunde kunden utilisateur usuario cliente "
        "household nutzer "
    ),
    "item": word_set(
        "item items producto productos produit medium medien buch livre libro product products movie movies "
        "film films book books isbn asin sku stock artist artists track tracks song songs article articles "
        "news game games app apps business restaurant venue place poi location spot course courses recipe "
        "recipes video videos show shows series anime beer listing property hotel hotels goods merchandise "
        "album albums artikel produkt produkte titel podcast podcasts episode paper papers iid aid ean gtin upc "
        "barcode plu dish food wine perfume lineitem variant repo meal joke content "
    ),
    "time": word_set(
        "time timestamp date datetime when created at ts created_at timestamps unixreviewtime unix ordered "
        "purchased paid watched played day moment epoch visited clicked datum fecha zeit since added "
    ),
    "weight": word_set(
        "rating ratings rate score stars star overall weight count counts plays playcount listens listen "
        "quantity qty units pieces hours playtime frequency freq times value menge cantidad bewertung note "
        "watched minutes duration "
    ),
    "behaviour": word_set(
        "event events behaviour behavior action activity interaction type kind verb eventtype actiontype op "
    ),
    "label": word_set(
        "title name label titel caption headline description_short designation bezeichnung produktname artikelname "
    ),
    "group": word_set(
        "session sessions pid basket invoice order orders transaction visit playlist cart receipt ticket bestellung "
    ),
    "interactions": word_set(
        "rating ratings review reviews event events interaction interactions transaction transactions "
        "purchase purchases order orders click clicks log logs history behaviors behaviours checkin checkins "
        "plays listens views inter sales retail train bestellungen ventas scrobbles recommendations loans "
        "checkouts bookings "
    ),
    "knowledge": word_set("kg triples triple knowledge facts ontology graph"),
    "link": word_set("link links mapping mappings map entity entities entity2id index2entity"),
}
PARTS = {
    "train": ("train", "training", "base", "tr"),
    "valid": ("valid", "validation", "val", "dev", "vali"),
    "test": ("test", "testing", "te", "tst"),
}
IDENTIFIERS = tuple(
    word_set("id ids code no nr key number uuid guid sku isbn asin email idx uri iri ean gtin upc nummer num numero ")
)
ENDINGS = (*IDENTIFIERS, "name", "title", "type", "category", "date", "time", "quantity", "price")
PREFIXES = tuple(
    sorted({word for role in ("user", "item", "group") for word in ROLES[role] if len(word) > 3}, key=len, reverse=True)
)


def words_of(name: str) -> list[str]:
    """The words of a name in lower case. A word such as `productid` is two.

    >>> words_of("CustomerID"), words_of("user_id:token"), words_of("productid")
    (['customer', 'id'], ['user', 'id'], ['product', 'id'])
    """
    name = re.sub(r":(token|float|token_seq|float_seq)$", "", name.strip())
    parts = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-zà-ÿ]+|[A-Z]+|\d+", name)
    words: list[str] = []
    for part in map(str.lower, parts):
        prefix = next((one for one in PREFIXES if part.startswith(one) and part[len(one) :] in ENDINGS), None)
        words += [part] if prefix is None else [prefix, part[len(prefix) :]]
    return words


def has_role(name: str, role: str) -> bool:
    """Whether a word of a name stands for a role.

    >>> has_role("reviewerID", "user"), has_role("asin", "item"), has_role("price", "weight")
    (True, True, False)
    """
    return bool(ROLES[role] & {*words_of(name)})


def has_name(name: str) -> bool:
    """Whether a column's file names it: `c1` and the like stand for no name."""
    return re.fullmatch(r"c\d+", name) is None


def is_identifier(name: str) -> bool:
    """Whether a name says that it is an identifier, such as `user_id` or `StockCode`."""
    return bool({*words_of(name)} & {*IDENTIFIERS})


def file_has_role(name: str, role: str) -> bool:
    """Whether a file's name, without its suffixes and folder, has a word that stands for a role."""
    stem = PurePosixPath(name).name.partition(".")[0]
    return has_role(stem, role) or has_role(PurePosixPath(name).suffix.lstrip("."), role)


def part_of_split(name: str) -> tuple[str, str] | None:
    """The part of a split that the name of a file or of its folder stands for, and the rest of its name; None if none.

    >>> part_of_split("ml/u1.base"), part_of_split("train.txt"), part_of_split("trainers.csv")
    (('train', 'ml/u1'), ('train', ''), None)
    >>> part_of_split("MIND_dev/behaviors.tsv")
    ('valid', 'MIND/behaviors')
    """
    path = PurePosixPath(name)
    folder = "" if str(path.parent) == "." else f"{path.parent}/"
    part = _part_in(path.name)
    if part is not None:
        return part[0], f"{folder}{part[1]}".rstrip("/")
    part = _part_in(path.parent.name)
    return None if part is None else (part[0], f"{part[1]}/{path.name.partition('.')[0]}".lstrip("/"))


def _part_in(name: str) -> tuple[str, str] | None:
    """The part of a split that a name has a word for, and the other words."""
    pieces = re.split(r"[./_\-\s]+", name)
    for part, words in PARTS.items():
        for word in words:
            if word in map(str.lower, pieces):
                rest = [p for p in pieces if p.lower() not in (word, "txt", "csv", "tsv", "dat", "gz", "parquet")]
                return part, "_".join(rest)
    return None


def singular(word: str) -> str:
    """The singular of an English plural, roughly.

    >>> singular("categories"), singular("genres"), singular("news")
    ('category', 'genre', 'news')
    """
    if word in ("news", "series") or word.endswith("ss") or word.endswith("us"):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and len(word) > 3 else word
