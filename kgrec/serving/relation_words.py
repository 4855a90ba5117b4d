"""Names of relations and nodes as words, and the links of a path as a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from kgrec.graph.schema import clean_name
from kgrec.serving.filters.node_iris import is_iri

WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|_")
PREPOSITIONS = frozenset(
    ("about", "after", "at", "before", "by", "for", "from", "in", "into", "of", "on", "over", "through", "to", "under")
)
#: past forms that do not end in "ed"
PAST = frozenset(("bought", "did", "found", "got", "had", "heard", "kept", "met", "read", "saw", "sold", "took", "won"))


def words(name: str) -> str:
    """The name of a relation, type or column as words.

    >>> words("isAccessoryOrSparePartFor"), words("of_brand"), words("RDF")
    ('is accessory or spare part for', 'of brand', 'RDF')
    """
    parts = [part for part in WORDS.split(name) if part]
    return " ".join(part if part.isupper() and len(part) > 1 else part[:1].lower() + part[1:] for part in parts)


def relation_words(name: str, label: str) -> str:
    """A relation as words: its name; where the source's name is an IRI, or has dots, the last part of that.

    name: in the graph; label: in the source.

    >>> relation_words("film_film_directed_by", "film.film.directed_by"), relation_words("viewed", "view")
    ('directed by', 'viewed')
    >>> relation_words("musicComposer", "http://dbpedia.org/ontology/musicComposer")
    'music composer'
    """
    if is_iri(label) or "." in label:
        name = clean_name(re.split(r"[/#:.]", label.rstrip("/#:."))[-1])
    return words(name)


def node_words(label: str) -> str:
    """What a node is called: its label; of an IRI without one, its last part.

    >>> node_words("Alien (1979)"), node_words("http://dbpedia.org/resource/Ridley_Scott")
    ('Alien (1979)', 'Ridley Scott')
    """
    if not is_iri(label):
        return label
    return unquote(re.split(r"[/#]", label.rstrip("/#"))[-1]).replace("_", " ") or label


@dataclass(frozen=True)
class Link:
    """A link of a path as it is said."""

    words: str  #: of its relation
    onwards: bool  #: whether it leads from the node before to the one after


def phrase(link: Link, node: str) -> str:
    """What a link says of the thing that it leads from, without a verb. node: what it leads to.

    >>> phrase(Link("directed by", True), "Scott"), phrase(Link("has genre", True), "Horror")
    ('directed by *Scott*', 'with genre *Horror*')
    >>> phrase(Link("director", True), "Scott"), phrase(Link("starring", True), "Weaver")
    ('with director *Scott*', 'starring *Weaver*')
    >>> phrase(Link("sequel", False), "Alien"), phrase(Link("related to", False), "Alien")
    ('sequel of *Alien*', 'which *Alien* is related to')
    """
    first, _, rest = link.words.partition(" ")
    text = rest if first in ("has", "have", "is", "are", "was", "were", "be") and rest else link.words
    relates = text.split(" ")[-1] in PREPOSITIONS
    if link.onwards:
        stands = relates or text.split(" ")[0].endswith("ing") or text.split(" ")[0] in PREPOSITIONS
        return f"{text} *{node}*" if stands else f"with {text} *{node}*"
    return f"which *{node}* is {text}" if relates else f"{text} of *{node}*"


def because(links: Sequence[Link], nodes: Sequence[str], *, others: str | None = None) -> str:
    """The links of a path as a sentence. nodes: what its nodes are called, from the user to the item; others: what the
    other users are called that it leads over; None: it leads over facts.

    >>> rated, by = Link("rated", True), Link("directed by", True)
    >>> because([rated, by, Link("directed by", False)], ["ann", "Alien", "Ridley Scott", "Gladiator"])
    'because you rated *Alien*, also directed by *Ridley Scott*'
    >>> because([rated, by, Link("producer", False)], ["ann", "Alien", "Ridley Scott", "Life in a Day"])
    'because you rated *Alien*, directed by *Ridley Scott*, and this is one with producer *Ridley Scott*'
    >>> because([rated, Link("sequel", True)], ["ann", "Alien", "Aliens"])
    'because you rated *Alien*, and this is sequel of *Alien*'
    >>> because([rated, Link("rated", False), rated], ["ann", "Alien", "bob", "Brazil"], others="user *bob*")
    'because you rated *Alien*, as did user *bob*, who rated this too'
    """
    done = links[0].words
    is_past = done.split(" ")[0].endswith("ed") or done.split(" ")[0] in PAST
    begin = f"because you {done} *{nodes[1]}*" if is_past else f"because of *{nodes[1]}* ({done})"
    if others is not None:
        again = f"who {links[-1].words} this too" if is_past else f"who has this too ({links[-1].words})"
        return f"{begin}, as did {others}, {again}"
    back = Link(links[-1].words, not links[-1].onwards)  # as the item has it
    if len(links) == 2:
        return f"{begin}, and this is {phrase(back, nodes[1])}"
    if len(links) == 3 and links[1] == back:
        return f"{begin}, {_also(phrase(back, nodes[2]))}"
    chain = ", ".join(phrase(link, node) for link, node in zip(links[1:-1], nodes[2:]))
    return f"{begin}, {chain}, and this is one {phrase(back, nodes[-2])}"


def _also(text: str) -> str:
    return f"{text} too" if text.startswith("which ") else f"also {text}"
