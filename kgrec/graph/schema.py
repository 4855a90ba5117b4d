"""The schema of a graph: node types, relations, features and the target relation. It is plain data, also as JSON."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from kgrec.errors import KgrecError, unknown_name
from kgrec.json_files import JsonPlace

EdgeType = tuple[str, str, str]
FeatureKind = Literal["numeric", "categorical", "multi", "text", "vector"]

FEATURE_KINDS: tuple[FeatureKind, ...] = ("numeric", "categorical", "multi", "text", "vector")

MOST_NODES = (1 << 31) - 1  #: most nodes of all types together, because files store node numbers in 32 bits
MOST_ENTRIES = (1 << 40) - 1  #: most codes in a column of several categories
LONGEST_NAME = 240  #: most characters in a name, because file names are made of it
LONGEST_VECTOR = 1 << 20  #: most numbers in a vector of a node

ALL_EDGES = "all edges"  #: value of `standard["positives"]` for a recipe with `all_edges: true`
CLICK = "click"  #: name of the numeric feature of target edges that marks clicks: 1 for a click, 0 for no click


def clean_name(text: str) -> str:
    """Turns a text into a name of a node type or relation that PyG accepts: letters, digits and single underscores.

    >>> clean_name("http://dbpedia.org/ontology/musicComposer"), clean_name("film.film.actor"), clean_name("has__genre")
    ('musicComposer', 'film_film_actor', 'has_genre')
    """
    if "://" in text or text.startswith("urn:"):
        text = re.split(r"[/#:]", text.rstrip("/#:"))[-1]
    name = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_]", "_", text)).strip("_")
    return name or "unnamed"


def free_name(text: str, taken: Collection[str]) -> str:
    """The same, but a name that is not in `taken`: it adds the preceding part of the IRI, or a number.

    >>> free_name("http://x/property/actor", ["actor"]), free_name("is.fan", ["is_fan"])
    ('property_actor', 'is_fan_2')
    """
    name = clean_name(text)
    parts = [part for part in re.split(r"[/#:]+", text.rstrip("/#:")) if part]
    choices = [name, *(clean_name("_".join(parts[-length:])) for length in range(2, len(parts) + 1))]
    numbered = (f"{name}_{number}" for number in range(2, 2 + len(taken)))
    return next(choice for choice in chain(choices, numbered) if choice not in taken)


def free_names(texts: Iterable[str]) -> dict[str, str]:
    """A different clean name for each text; a text that is a clean name already keeps it.

    >>> free_names(["is.fan", "is_fan", "rated"])
    {'is.fan': 'is_fan_2', 'is_fan': 'is_fan', 'rated': 'rated'}
    """
    texts = list(dict.fromkeys(texts))
    names = {text: text for text in texts if clean_name(text) == text}
    for text in texts:
        if text not in names:
            names[text] = free_name(text, {*names.values()})
    return {text: names[text] for text in texts}


@dataclass(frozen=True)
class FeatureSchema:
    """A typed column of nodes or edges."""

    kind: FeatureKind  #: numeric, categorical, multi, text or vector
    categories: tuple[str, ...] = ()  #: for categorical and multi, in the order of their codes
    dim: int = 0  #: for vector: its length
    entries: int = 0  #: for multi: the number of codes in all rows


@dataclass(frozen=True)
class NodeSchema:
    """A node type: the number of its nodes, and their features."""

    count: int  #: number of nodes
    label: str = ""  #: the name in the source, for instance an IRI
    features: Mapping[str, FeatureSchema] = field(default_factory=dict)  #: by column


@dataclass(frozen=True)
class EdgeSchema:
    """A relation between two node types."""

    label: str = ""  #: the name in the source, for instance an IRI
    inverse_of: str | None = None  #: the relation that states the same facts in the other direction
    features: Mapping[str, FeatureSchema] = field(default_factory=dict)  #: by column


@dataclass(frozen=True)
class Schema:
    """Node types, edge types and target of a graph. The shapes of a model's parameters may depend only on this."""

    nodes: Mapping[str, NodeSchema]  #: by node type
    edges: Mapping[EdgeType, EdgeSchema]  #: by edge type: (source, relation, target)
    target: EdgeType | None = None  #: the edge type that is recommended
    #: the standard protocol of the data set: "split" and "candidates" are names of published ones; "positives" is
    #: ALL_EDGES if rankings learn from all target edges, whatever their label `click`
    standard: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.nodes, *(relation for _, relation, _ in self.edges)):
            if clean_name(name) != name:
                raise KgrecError(
                    f"name {name!r} may have only letters, digits and single underscores; use {clean_name(name)!r}"
                )
        for source, relation, target in self.edges:
            for node_type in (source, target):
                if node_type not in self.nodes:
                    raise unknown_name("node type", node_type, self.nodes, where=f"(an end of relation {relation!r})")

    @property
    def takes_all_edges(self) -> bool:
        """Whether rankings learn from all target edges, also from those with the label 0."""
        return self.standard.get("positives") == ALL_EDGES

    @property
    def num_nodes(self) -> int:
        """Number of nodes of all types."""
        return sum(node.count for node in self.nodes.values())

    def edge_types(self, *names: str | EdgeType) -> list[EdgeType]:
        """The edge types with these names, in the schema's order. A name is that of a relation, or (source, relation,
        target).

        Raises UnknownName for an unknown name.
        """
        wanted: set[EdgeType] = set()
        for name in names:
            found = {edge for edge in self.edges if edge == name or edge[1] == name}
            if not found:
                known = dict.fromkeys(edge[1] for edge in self.edges)
                raise unknown_name(
                    "relation", name if isinstance(name, str) else "-".join(name), known, "in this graph"
                )
            wanted |= found
        return [edge for edge in self.edges if edge in wanted]

    def is_behaviour(self, edge_type: EdgeType) -> bool:
        """Whether an edge type joins users and items, in either direction. Always false without a target."""
        return self.target is not None and {edge_type[0], edge_type[2]} == {self.target[0], self.target[2]}

    def behaviours(self, names: Sequence[str] = ()) -> list[EdgeType]:
        """The edge types with these relation names between the target's two node types, in the schema's order; if
        empty, the target alone.

        Raises UnknownName for an unknown name, AssertionError if there is no target.
        """
        assert self.target is not None
        source, target, item = self.target
        return self.edge_types(*((source, name, item) for name in names or (target,)))

    def with_edges(self, edge_types: Iterable[EdgeType]) -> Schema:
        """The same node types, and only these edge types."""
        return replace(self, edges={edge: self.edges[edge] for edge in edge_types})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; `Schema.from_json` reads it back."""
        return {
            "nodes": {name: asdict(node) for name, node in self.nodes.items()},
            "edges": [
                {"source": s, "relation": r, "target": t, **asdict(edge)} for (s, r, t), edge in self.edges.items()
            ],
            "target": list(self.target) if self.target else None,
            "standard": dict(self.standard),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], file: str | Path = "the schema", remedy: str = "build it again") -> Schema:
        """Read what `to_json` wrote. file, remedy: the file's name and what to do, for messages. Raises KgrecError with
        the key for a part that is missing, has the wrong type, or is larger than any graph may be."""
        place = JsonPlace(file, remedy)
        place.finite({name: data.get(name) for name in ("nodes", "edges", "target", "standard")})
        nodes, edges = dict[str, NodeSchema](), dict[EdgeType, EdgeSchema]()
        for name in place.mapping(data, "nodes"):
            if len(name) > LONGEST_NAME:
                raise place.at("nodes").wrong(name[:LONGEST_NAME], "longer", f"a name of up to {LONGEST_NAME} letters")
            at, node = place.at("nodes").at(name), place.at("nodes").mapping(data["nodes"], name)
            count = at.whole(node, "count", most=MOST_NODES)
            nodes[name] = NodeSchema(count, at.text(node, "label", ""), _features(node, at))
        for number, edge in enumerate(place.entries(data, "edges")):
            at = place.at("edges").at(number)
            if not isinstance(edge, dict):
                raise place.at("edges").wrong(number, edge, "an object")
            ends = (at.text(edge, "source"), at.text(edge, "relation"), at.text(edge, "target"))
            if len("__".join(ends)) > LONGEST_NAME:
                raise at.wrong("relation", ends[1], f"a relation and ends of up to {LONGEST_NAME} letters in all")
            if ends in edges:
                raise at.wrong("relation", ends[1], f"a relation other than the one before from {ends[0]} to {ends[2]}")
            inverse = at.text(edge, "inverse_of", none=True)
            edges[ends] = EdgeSchema(at.text(edge, "label", ""), inverse, _features(edge, at))
        if sum(node.count for node in nodes.values()) > MOST_NODES:
            raise place.wrong("nodes", sum(node.count for node in nodes.values()), f"at most {MOST_NODES:,} in all")
        chosen: EdgeType | None = None
        if data.get("target") is not None:
            target = place.texts(data, "target")
            if len(target) != 3:
                raise place.wrong("target", list(target), "a list of source, relation and target")
            chosen = (target[0], target[1], target[2])
        standard = place.mapping(data, "standard", {})
        for name in standard:
            place.at("standard").text(standard, name)
        schema = Schema(nodes, edges, chosen, dict(standard))
        if chosen is not None:
            schema.edge_types(chosen)
        return schema


def _features(data: Mapping[str, Any], place: JsonPlace) -> dict[str, FeatureSchema]:
    features = {}
    for name in place.mapping(data, "features", {}):
        at, feature = place.at("features").at(name), place.at("features").mapping(data["features"], name)
        kind = at.text(feature, "kind")
        if kind not in FEATURE_KINDS:
            raise unknown_name("feature kind", kind, FEATURE_KINDS)
        features[name] = FeatureSchema(
            kind,
            at.texts(feature, "categories", []),
            at.whole(feature, "dim", 0, most=LONGEST_VECTOR),
            at.whole(feature, "entries", 0, most=MOST_ENTRIES),
        )
    return features
