"""What a graph holds: node types, relations, features, the relation that is recommended. Plain data, as JSON too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from kgrec.errors import KgrecError, unknown_name

EdgeType = tuple[str, str, str]
FeatureKind = Literal["numeric", "categorical", "multi", "text", "vector"]

FEATURE_KINDS: tuple[FeatureKind, ...] = ("numeric", "categorical", "multi", "text", "vector")

CLICK = "click"  #: the numeric feature of target edges that says which are clicks: 1, and 0 for those that are none


def clean_name(text: str) -> str:
    """A node type's or relation's name that PyG layers accept: letters, digits and single underscores.

    >>> clean_name("http://dbpedia.org/ontology/musicComposer"), clean_name("film.film.actor"), clean_name("has__genre")
    ('musicComposer', 'film_film_actor', 'has_genre')
    """
    if "://" in text or text.startswith("urn:"):
        text = re.split(r"[/#:]", text.rstrip("/#:"))[-1]
    name = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_]", "_", text)).strip("_")
    return name or "unnamed"


@dataclass(frozen=True)
class FeatureSchema:
    """A typed column of nodes or edges."""

    kind: FeatureKind
    categories: tuple[str, ...] = ()  #: of categorical and multi, in the order of their codes
    dim: int = 0  #: of a vector
    entries: int = 0  #: of multi, all codes of all rows when the graph was made


@dataclass(frozen=True)
class NodeSchema:
    """A node type: how many nodes, and what each has."""

    count: int
    label: str = ""  #: the name in the source: an IRI, a file's own word
    features: Mapping[str, FeatureSchema] = field(default_factory=dict)


@dataclass(frozen=True)
class EdgeSchema:
    """A relation between two node types."""

    label: str = ""  #: the name in the source: an IRI, a file's own word
    inverse_of: str | None = None  #: the relation that states the same facts backwards
    features: Mapping[str, FeatureSchema] = field(default_factory=dict)


@dataclass(frozen=True)
class Schema:
    """All that a model may build its parameters' shapes from."""

    nodes: Mapping[str, NodeSchema]
    edges: Mapping[EdgeType, EdgeSchema]
    target: EdgeType | None = None  #: the edge type that is recommended
    standard: Mapping[str, str] = field(default_factory=dict)  #: "split" and "candidates" that the data set is known by

    def __post_init__(self) -> None:
        for name in (*self.nodes, *(relation for _, relation, _ in self.edges)):
            if clean_name(name) != name:
                raise KgrecError(
                    f"name {name!r} is not letters, digits and single underscores; call it {clean_name(name)!r}"
                )
        for source, relation, target in self.edges:
            for node_type in (source, target):
                if node_type not in self.nodes:
                    raise unknown_name("node type", node_type, self.nodes, where=f"(an end of relation {relation!r})")

    @property
    def num_nodes(self) -> int:
        return sum(node.count for node in self.nodes.values())

    def edge_types(self, *names: str | EdgeType) -> list[EdgeType]:
        """The edge types called so, by relation name or as (source, relation, target), in the schema's order.

        Raises UnknownName for one that is not there.
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

    def behaviours(self, names: Sequence[str] = ()) -> list[EdgeType]:
        """The edge types called so between the target's two node types, in the schema's order; (): the target alone.

        Raises UnknownName for one that is not there, and where there is no target AssertionError.
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
    def from_json(data: Mapping[str, Any]) -> Schema:
        """Read what `to_json` wrote. Raises KgrecError where a part is missing or is of the wrong form."""
        try:
            nodes = {
                name: NodeSchema(int(node["count"]), node.get("label", ""), _features(node.get("features", {})))
                for name, node in data["nodes"].items()
            }
            edges = {
                (edge["source"], edge["relation"], edge["target"]): EdgeSchema(
                    edge.get("label", ""), edge.get("inverse_of"), _features(edge.get("features", {}))
                )
                for edge in data["edges"]
            }
            chosen: EdgeType | None = None
            if data.get("target"):
                source, relation, target = data["target"]
                chosen = (source, relation, target)
            return Schema(nodes, edges, chosen, dict(data.get("standard", {})))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"the schema is not of the form that kgrec writes: {error!r}"
            raise KgrecError(what, kind="bad schema") from error


def _features(data: Mapping[str, Any]) -> dict[str, FeatureSchema]:
    features = {}
    for name, feature in data.items():
        if feature["kind"] not in FEATURE_KINDS:
            raise unknown_name("feature kind", feature["kind"], FEATURE_KINDS)
        features[name] = FeatureSchema(
            feature["kind"],
            tuple(feature.get("categories", ())),
            int(feature.get("dim", 0)),
            int(feature.get("entries", 0)),
        )
    return features
