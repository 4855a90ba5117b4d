"""What the name in a condition means: a column of items, or a path through the graph from items to other nodes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from kgrec.errors import KgrecError, UnknownName, some, unknown_name
from kgrec.graph import Graph
from kgrec.graph.schema import EdgeType, Schema
from kgrec.serving.filters.node_iris import is_iri
from kgrec.sources.rdf.schema_org import vocabulary_term

FORMS = ("column", "relation", "type")  #: what stands before a name to say what it is, as in `column:brand`
KIND = {"column": "a column", "relation": "a relation", "type": "a node type"}

#: Which nodes are meant, bool [N] each, by node type
Masks = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Hop:
    """A step along the edges of one type."""

    edge_type: EdgeType
    backward: bool = False  #: from their tails to their heads

    @property
    def start(self) -> str:
        """The node type that it leaves."""
        return self.edge_type[2 if self.backward else 0]

    @property
    def end(self) -> str:
        """The node type that it reaches."""
        return self.edge_type[0 if self.backward else 2]


@dataclass(frozen=True)
class Meaning:
    """What a name stands for, seen from nodes of some types."""

    form: str  #: one of FORMS
    name: str  #: of the column, relation or node type
    hops: frozenset[Hop] = frozenset()  #: of a relation or node type
    columns: frozenset[tuple[str, str]] = frozenset()  #: of a column: node type and name
    repeated: bool = False  #: whether the hops are taken any number of times, none among them

    @property
    def said(self) -> str:
        """How to say this one and no other."""
        return f"{self.form}:{self.name}"

    @property
    def ends(self) -> list[str]:
        """The node types that its hops reach."""
        return sorted({hop.end for hop in self.hops})


@dataclass(frozen=True)
class FactPath:
    """From items through some relations or node types, and to a column at the end, where it has one."""

    hops: tuple[Meaning, ...]  #: what is followed, in order
    column: Meaning | None  #: what is read where it ends; None: the nodes there themselves
    ends: tuple[str, ...]  #: the node types where it ends

    @property
    def name(self) -> str:
        """Its last name."""
        return (self.column or self.hops[-1]).name

    def back(self, graph: Graph, masks: Masks, start: str) -> np.ndarray:
        """Which nodes of the type `start` reach a node of the masks along the path: bool [N]."""
        for meaning in reversed(self.hops):
            masks = _any_number(graph, meaning, masks) if meaning.repeated else _one_hop(graph, meaning, masks)
        return masks[start] if start in masks else np.zeros(graph.schema.nodes[start].count, bool)


def _one_hop(graph: Graph, meaning: Meaning, masks: Masks) -> dict[str, np.ndarray]:
    found = dict[str, np.ndarray]()
    for hop in meaning.hops:
        if hop.end in masks:
            number = graph.edge_types.index(hop.edge_type)
            edges = graph.edge_index[:, graph.relation_ptr[number] : graph.relation_ptr[number + 1]].numpy()
            near, far = edges[::-1] if hop.backward else edges
            reached = found.setdefault(hop.start, np.zeros(graph.schema.nodes[hop.start].count, bool))
            reached[near[masks[hop.end][far]]] = True
    return found


def _any_number(graph: Graph, meaning: Meaning, masks: Masks) -> dict[str, np.ndarray]:
    """Those of the masks, and all from which they are reached in any number of hops."""
    found = {node_type: mask.copy() for node_type, mask in masks.items()}
    while True:
        grown = False
        for node_type, mask in _one_hop(graph, meaning, found).items():
            known = found.setdefault(node_type, np.zeros_like(mask))
            grown |= bool((mask & ~known).any())
            known |= mask
        if not grown:
            return found


# ---------------------------------------------------------------------- names to paths


def path_of(graph: Graph, text: str, start: str) -> FactPath:
    """What a name or a path of names, such as `of_brand/company/location`, means for nodes of a type.

    A name is a column, a relation that leaves the nodes, or if none does reaches them, or a node type that they are
    linked to. `^relation` is a relation against its direction, and `relation*` any number of steps along one that
    joins nodes of one type. Relations and node types are known by their IRIs too.

    Raises UnknownName for a name that is not there, KgrecError for one that means several things.
    """
    parts = [part.strip() for part in text.split("/")]
    types: tuple[str, ...] = (start,)
    hops, place = list[Meaning](), 0
    while place < len(parts):
        name, meanings, place = _next_name(graph, types, parts, place)
        meaning = _only(graph, types, name, place == len(parts), meanings, start)
        if meaning.columns:
            return FactPath(tuple(hops), meaning, tuple(sorted({node_type for node_type, _ in meaning.columns})))
        hops.append(meaning)
        types = tuple(sorted({*types, *meaning.ends})) if meaning.repeated else tuple(meaning.ends)
    return FactPath(tuple(hops), None, types)


def _next_name(graph: Graph, types: tuple[str, ...], parts: list[str], place: int) -> tuple[str, list[Meaning], int]:
    """The name that begins at a part of a path, what it may mean, and where the next begins. It is the longest that is
    known, as an IRI has slashes in it, and a column may; of none that is known it is one part."""
    for stop in range(len(parts), place, -1):
        name = "/".join(parts[place:stop])
        meanings = _meanings(graph, types, name, last=stop == len(parts))
        if meanings:
            return name, meanings, stop
    return parts[place], [], place + 1


def _only(graph: Graph, types: tuple[str, ...], name: str, last: bool, meanings: list[Meaning], start: str) -> Meaning:
    """The one meaning of a name. Raises UnknownName where it has none, KgrecError where it has several."""
    if not meanings:
        raise _unknown(graph, types, name, last, start)
    if len(meanings) > 1:
        listed = ", ".join(f"{KIND[one.form]} ({one.said})" for one in meanings)
        raise KgrecError(
            f"{name!r} means several things of {' and '.join(types)}: {listed}; say which, such as "
            f"{meanings[0].said!r}",
            value=name,
        )
    return meanings[0]


def _meanings(graph: Graph, types: tuple[str, ...], text: str, last: bool) -> list[Meaning]:
    """All that a name may mean, each once. last: whether it is the last of a path, and so may be a column."""
    form, _, rest = text.partition(":")
    form, written = (form, rest.strip()) if form in FORMS else ("", text)
    against, repeated = written.startswith("^"), written.endswith("*")
    name, found = written.removeprefix("^").removesuffix("*"), list[Meaning]()
    if form in ("", "column") and last and not repeated and not against:
        columns = frozenset((one, name) for one in types if name in graph.features.get(one, {}))
        if columns:
            found.append(Meaning("column", name, columns=columns))
    if form in ("", "relation"):
        hops = _along(graph.schema, types, name, against)
        if hops and (not repeated or all(hop.end in types for hop in hops)):
            found.append(Meaning("relation", written, hops, repeated=repeated))
    if form in ("", "type") and not repeated and not against:
        hops = _towards(graph.schema, types, name)
        if hops and hops not in [one.hops for one in found]:
            found.append(Meaning("type", name, hops))
    return found


def _along(schema: Schema, types: tuple[str, ...], name: str, against: bool) -> frozenset[Hop]:
    """The hops along a relation: those that leave the types, else those that reach them."""
    edges = [edge for edge, said in schema.edges.items() if _is_called(name, edge[1], said.label)]
    leaving = frozenset(Hop(edge) for edge in edges if edge[0] in types)
    reaching = frozenset(Hop(edge, backward=True) for edge in edges if edge[2] in types)
    return reaching if against or not leaving else leaving


def _is_called(name: str, own: str, label: str) -> bool:
    """Whether a relation or node type is meant by a name: by its own, or by its IRI."""
    return name == own or (is_iri(name) and vocabulary_term(name) == vocabulary_term(label))


def _towards(schema: Schema, types: tuple[str, ...], name: str) -> frozenset[Hop]:
    """The hops along any relation to nodes of a type."""
    meant = {one for one, said in schema.nodes.items() if _is_called(name, one, said.label)}
    hops = itertools.chain.from_iterable((Hop(edge), Hop(edge, backward=True)) for edge in schema.edges)
    return frozenset(hop for hop in hops if hop.start in types and hop.end in meant)


# ---------------------------------------------------------------------- names that are not there


def _unknown(graph: Graph, types: tuple[str, ...], name: str, last: bool, start: str) -> UnknownName:
    """The error for a name that means nothing here, with where it is known, and the near ones."""
    of = " or ".join(types)
    bare = name.partition(":")[2] if name.partition(":")[0] in FORMS else name
    bare = bare.strip("^*")
    if name.endswith("*") and _along(graph.schema, types, bare, name.startswith("^")):
        return UnknownName(
            f"{name!r} would be followed any number of times, and {bare!r} leads from {of} to nodes of another type; "
            "`*` is for a relation between nodes of one type",
            value=name,
        )
    if not last and any(bare in graph.features.get(one, {}) for one in types):
        return UnknownName(
            f"{name!r} is a column of {of}, and a path goes on behind it; only the last name of a path may be a column",
            value=name,
        )
    what = "column, relation or node type"
    if path := _way_to(graph, bare, start):
        return UnknownName(f"no {what} {name!r} of {of}; it is further away: from {start} say {path!r}", value=name)
    if whose := [one for one in graph.node_types if bare in graph.features.get(one, {})]:
        return UnknownName(f"no {what} {name!r} of {of}; it is a column of {some(whose)}", value=name)
    return unknown_name(what, name, dict.fromkeys(_names_at(graph, types, last)), f"of {of}")


def _names_at(graph: Graph, types: Iterable[str], last: bool) -> Iterable[str]:
    for one in types:
        yield from graph.features.get(one, {}) if last else ()
        for source, relation, target in graph.edge_types:
            if one in (source, target):
                yield relation
        for source, _, target in graph.edge_types:
            if one in (source, target):
                yield target if one == source else source


def _way_to(graph: Graph, name: str, start: str) -> str | None:
    """The shortest path from a node type to where a name is known, without what users do; None: there is none."""
    ways, waiting = {start: list[str]()}, [start]
    while waiting:
        here = waiting.pop(0)
        names = dict.fromkeys(_names_at(graph, [here], last=True))
        if name in names and len(_meanings(graph, (here,), name, last=True)) == 1:
            return "/".join([*ways[here], name])
        for edge in graph.edge_types:
            if graph.schema.is_behaviour(edge):
                continue
            for hop in (Hop(edge), Hop(edge, backward=True)):
                if hop.start == here and hop.end not in ways:
                    against = hop.backward and bool(_along(graph.schema, (here,), edge[1], False) - {hop})
                    step = f"^{edge[1]}" if against else edge[1]
                    several = len(_meanings(graph, (here,), step, last=False)) > 1
                    ways[hop.end] = [*ways[here], f"relation:{step}" if several else step]
                    waiting.append(hop.end)
    return None
