"""Titles and labels in a form in which different spellings of one name are equal."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from urllib.parse import unquote

YEAR = re.compile(r"(?<!\d)(1[6-9]\d\d|20\d\d)(?!\d)")
IN_BRACKETS = re.compile(r"\s*[(\[]([^()\[\]]*)[)\]]\s*$")
ALSO = re.compile(r"^(a\.?\s?k\.?\s?a\.?|aka|also known as|or)\s+", re.IGNORECASE)
OF_ENGLISH, OF_FRENCH, OF_ITALIAN = ("the", "a", "an"), ("le", "la", "les", "l", "un", "une"), ("il", "lo", "gli", "i")
OF_SPANISH, OF_GERMAN = ("el", "los", "las", "o", "os", "as"), ("der", "die", "das", "den", "ein", "eine")
OF_OTHERS = ("de", "det", "het", "en", "et")  #: Dutch, Danish, Swedish, Norwegian
ARTICLES = frozenset([*OF_ENGLISH, *OF_FRENCH, *OF_ITALIAN, *OF_SPANISH, *OF_GERMAN, *OF_OTHERS])
#: that stand at the end of a title, behind a comma, as in "Postino, Il"
LAST_ARTICLES = ARTICLES | {"l'"}
LETTERS = re.compile(r"[^\W_]+")
NUMERALS = ("ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii")  #: "i" is a word
ROMAN = {name: str(number) for number, name in enumerate(NUMERALS, 2)}
NO_NAME = re.compile(r"^(?:[QPLm]\d+|[mg]\.[0-9a-z_]+|[0-9a-f-]{16,}|\d+|)$", re.IGNORECASE)


@dataclass(frozen=True)
class Name:
    """A name, as others are compared with it.

    >>> name_of("Postino, Il (The Postman) (1994)")
    Name(keys=('postino', 'postman'), year=1994, words=frozenset())
    >>> name_of("Psycho_II_(1983_film)".replace("_", " "))
    Name(keys=('psycho 2',), year=1983, words=frozenset({'film'}))
    """

    keys: tuple[str, ...]  #: the title, and other titles behind it in brackets: words without case, accents, articles
    year: int | None = None  #: that stands in brackets behind it
    words: frozenset[str] = field(default_factory=frozenset)  #: other words that stand there beside a year, or alone


def key_of(text: str) -> str:
    """Words without case, accents, signs and leading articles, with Roman numerals as digits.

    >>> key_of("Big Chill, The"), key_of("Amélie & Co."), key_of("Rocky IV")
    ('big chill', 'amelie and co', 'rocky 4')
    """
    head, comma, last = text.rpartition(",")
    if comma and last.strip().casefold() in LAST_ARTICLES:
        text = f"{last.strip()} {head}"
    plain = unicodedata.normalize("NFKD", text.casefold().replace("&", " and ").replace("'", "").replace("’", ""))
    words = LETTERS.findall("".join(letter for letter in plain if not unicodedata.combining(letter)))
    while len(words) > 1 and words[0] in ARTICLES:
        words = words[1:]
    return " ".join([*words[:1], *(ROMAN.get(word, word) for word in words[1:])])


def name_of(text: str) -> Name:
    """A title or label as a Name. What stands in brackets at its end is a year, another title, or says what it is."""
    title, year, words, others = text.strip(), None, set[str](), list[str]()
    while match := IN_BRACKETS.search(title):
        inner, title = match.group(1).strip(), title[: match.start()]
        found = YEAR.search(inner)
        if found:
            year = year or int(found.group(1))
            words |= {*LETTERS.findall(YEAR.sub(" ", inner).casefold())}
        elif inner:
            others.insert(0, ALSO.sub("", inner))
        if not title.strip():  # the whole text stood in brackets
            title = inner
            break
    keys = [key_of(title), *map(key_of, others)]
    if len(others) == 1 and others[0] == others[0].casefold():  # "(film)": it says what this is
        words |= {*LETTERS.findall(others[0].casefold())}
        keys = keys[:1]
    return Name(tuple(dict.fromkeys(key for key in keys if key)), year, frozenset(words))


def last_part(iri: str) -> str | None:
    """The name that an IRI ends in; None for one that ends in a number or a code.

    >>> last_part("http://dbpedia.org/resource/What_Ever_Happened_to_Baby_Jane%3F_(1962_film)")
    'What Ever Happened to Baby Jane? (1962 film)'
    >>> last_part("http://www.wikidata.org/entity/Q171048") is None
    True
    """
    start = max(iri.rfind("/"), iri.rfind("#"))
    start = iri.rfind(":") if start < 0 else start
    if iri.startswith(("http://", "https://")):  # a name may have slashes and signs of its own behind a known place
        _, found, rest = iri.partition("/resource/")
        start = len(iri) - len(rest) - 1 if found else start
    part = unquote(iri[start + 1 :]).replace("_", " ").strip()
    return None if NO_NAME.match(part) else part.removeprefix("Category:")


def years_in(text: str) -> list[int]:
    """The years that stand in a text, each once.

    >>> years_in("1995-10-30T00:00:00Z"), years_in("Films of the 1990s")
    ([1995], [])
    """
    return list(dict.fromkeys(int(year) for year in YEAR.findall(re.sub(r"\d{4}s\b", " ", text))))
