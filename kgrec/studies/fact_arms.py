"""The arms of an audit: the same graph with all its facts, with none, with shuffled ones, without one relation, or with
one relation alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch

from kgrec.errors import KgrecError, unknown_name
from kgrec.graph import Graph
from kgrec.graph.schema import EdgeType
from kgrec.studies.fact_shuffling import can_be_shuffled, shuffled, stated_together

Kind = Literal["whole", "removed", "shuffled", "without", "only"]
PartKind = Literal["relation", "type"]
WHOLE, REMOVED, SHUFFLED = "whole", "removed", "shuffled"  #: arms of all facts


@dataclass(frozen=True)
class FactPart:
    """A part of the facts that an audit leaves out, and tries alone: those of a relation, or about a node type."""

    kind: PartKind
    name: str  #: of the relation, without its inverses, or of the node type
    edge_types: frozenset[EdgeType]
    facts: int  #: number of edges
    about_items: int  #: number of edges with an item at one end
    inverses: tuple[str, ...] = ()  #: other names that state the same facts in the other direction
    label: str = ""  #: the name in the source, for instance an IRI


@dataclass(frozen=True)
class Arm:
    """A graph to train on."""

    name: str  #: such as `whole`, `without has_genre` or `only type genre`
    kind: Kind
    part: FactPart | None = None  #: what is left out or alone; None for the arms of all facts
    facts: int = 0  #: number of facts in the graph
    edge_types: frozenset[EdgeType] = frozenset()  #: edge types whose facts are in the graph
    same_as: str | None = None  #: an earlier arm with the same facts, whose results it has
    skipped: str | None = None  #: why nothing is trained; None if it is


@dataclass(frozen=True, eq=False)
class FactArms:
    """The facts of a graph, their parts, and the arms of an audit. The facts are all edges that do not join users and
    items; those of an item have it at one end."""

    graph: Graph

    @cached_property
    def edge_types(self) -> list[EdgeType]:
        """The edge types of facts."""
        return [edge for edge in self.graph.edge_types if not self.graph.schema.is_behaviour(edge)]

    @cached_property
    def _counts(self) -> dict[EdgeType, int]:
        ptr = self.graph.relation_ptr
        counts = {edge: stop - start for edge, start, stop in zip(self.graph.edge_types, ptr, ptr[1:])}
        return {edge: counts[edge] for edge in self.edge_types}

    def count(self, edge_types: Iterable[EdgeType]) -> int:
        """Number of facts of these edge types."""
        return sum(self._counts[edge] for edge in edge_types)

    def _stated(self, edge_types: Iterable[EdgeType]) -> frozenset[EdgeType]:
        """Those of some edge types that have facts."""
        return frozenset(edge for edge in edge_types if self._counts[edge])

    def about_items(self, edge_types: Iterable[EdgeType]) -> int:
        """Number of facts of these edge types that have an item at one end."""
        item = self.graph.target[2]
        return sum(self._counts[edge] for edge in edge_types if item in (edge[0], edge[2]))

    @cached_property
    def relations(self) -> dict[str, FactPart]:
        """The relations by name, each with its stated inverses, in the graph's order."""
        leaders: dict[str, str] = {}

        def leader(name: str) -> str:
            while leaders.setdefault(name, name) != name:
                name = leaders[name]
            return name

        schemas = self.graph.schema.edges
        for group in stated_together(self.graph.schema, self.edge_types):
            names = sorted((schemas[edge].inverse_of is not None, n, edge[1]) for n, edge in enumerate(group.turned))
            for _, _, name in names:
                one, other = leader(names[0][2]), leader(name)
                leaders[other] = one
        members: dict[str, list[EdgeType]] = {}
        for edge in self.edge_types:
            members.setdefault(leader(edge[1]), []).append(edge)
        return {
            name: self._part("relation", name, edges, schemas[next(e for e in edges if e[1] == name)].label)
            for name, edges in members.items()
        }

    @cached_property
    def types(self) -> dict[str, FactPart]:
        """The node types that facts are about, without that of the items, by name."""
        found = {}
        for name, node in self.graph.schema.nodes.items():
            edges = [edge for edge in self.edge_types if name in (edge[0], edge[2])]
            if edges and name != self.graph.target[2]:
                found[name] = self._part("type", name, edges, node.label)
        return found

    def _part(self, kind: PartKind, name: str, edges: Sequence[EdgeType], label: str) -> FactPart:
        inverses = tuple(dict.fromkeys(edge[1] for edge in edges if edge[1] != name)) if kind == "relation" else ()
        return FactPart(kind, name, frozenset(edges), self.count(edges), self.about_items(edges), inverses, label)

    def must_have_facts(self) -> None:
        """Raise KgrecError if the graph has no facts about items."""
        item = self.graph.target[2]
        number = self.count(self.edge_types)
        if not number:
            names = ", ".join(dict.fromkeys(edge[1] for edge in self.graph.edge_types))
            features = ", ".join(self.graph.schema.nodes[item].features)
            have = f"; its items have features ({features}), which are no facts" if features else ""
            without = "" if features else ", and its items have no features either"
            raise KgrecError(
                f"this graph has no facts to audit: its relations ({names}) join users and items{without}{have}; add "
                "attributes (`edges:`) or a knowledge graph (`rdf:`, `links:`) to the recipe"
            )
        if not self.about_items(self.edge_types):
            raise KgrecError(
                f"none of the {number:,} facts of this graph is about an item of type {item!r}, so no model can use "
                "them; link items to entities in the recipe (`links:`)"
            )

    def chosen(self, relations: Sequence[str] | None, types: Sequence[str] | None) -> list[FactPart]:
        """The parts to leave out and to try alone. relations: None for all; a name may be that of an inverse. types:
        None for all that are more than one relation, or for none if relations are named.

        Raises UnknownName for an unknown relation or node type."""
        by_name = {name: part for part in self.relations.values() for name in (part.name, *part.inverses)}
        parts = list[FactPart]()
        if types is None:
            single = [part.edge_types for part in self.relations.values()]
            types = [name for name, part in self.types.items() if part.edge_types not in single]
            types = types if relations is None else []
        for what, names, known in (
            ("relation", relations, by_name),
            ("node type", types, self.types),
        ):
            for name in known if names is None else names:
                if name not in known:
                    raise unknown_name(what, name, known, "among the facts of this graph")
                if known[name] not in parts:
                    parts.append(known[name])
        return parts

    def arms(self, parts: Sequence[FactPart]) -> list[Arm]:
        """All arms: those of all facts, then each part left out and alone. An arm whose facts are those of an earlier
        one is not trained again."""
        every = self._stated(self.edge_types)
        arms = [Arm(WHOLE, "whole", None, self.count(every), every), Arm(REMOVED, "removed")]
        reason = None if can_be_shuffled(self.graph, self.edge_types) else "no relation has two facts to exchange"
        arms.append(Arm(SHUFFLED, "shuffled", None, self.count(every), every, skipped=reason))
        first = {every: WHOLE, frozenset[EdgeType](): REMOVED}
        for arm in self._of_parts(parts, every):
            earlier = None if arm.skipped else first.setdefault(arm.edge_types, arm.name)
            arms.append(replace(arm, same_as=earlier if earlier != arm.name else None))
        return arms

    def _of_parts(self, parts: Sequence[FactPart], every: frozenset[EdgeType]) -> Iterator[Arm]:
        for part in parts:
            name = part.name if part.kind == "relation" else f"type {part.name}"
            left = every - part.edge_types
            left = left if self.about_items(left) else frozenset()  # facts that reach no item say nothing
            yield Arm(f"without {name}", "without", part, self.count(left), left)
            reason = None
            if not part.about_items:
                reason = "empty" if not part.facts else "none of its facts is about an item, so alone it reaches none"
            yield Arm(f"only {name}", "only", part, part.facts, self._stated(part.edge_types), skipped=reason)

    def graph_of(self, arm: Arm, seed: int) -> Graph:
        """The graph of an arm. All arms have the same nodes, interactions and edge types, so that models have the same
        parameters. seed: seed of the permutations of shuffled facts."""
        if arm.kind == "shuffled":
            return shuffled(self.graph, self.edge_types, seed).graph
        return with_facts(self.graph, arm.edge_types)

    def notes(self, seed: int) -> Iterator[str]:
        """What cannot be shuffled, and of which relations the shuffle of a seed leaves much as it is, by chance."""
        kept = shuffled(self.graph, self.edge_types, seed).kept
        for name, part in self.relations.items():
            alone = [edge for edge in self.edge_types if edge in part.edge_types]
            if not part.facts:
                yield f"relation {name!r} has no facts"
            elif not can_be_shuffled(self.graph, alone):
                few = "a single fact" if part.facts == 1 else "only facts that share one end"
                yield f"relation {name!r} cannot be shuffled: it has {few}, so it is as it was in the arm `shuffled`"
            elif (share := sum(kept[edge] * self._counts[edge] for edge in alone) / part.facts) >= MUCH:
                yield (
                    f"relation {name!r} has few different ends: {share:.0%} of its facts are true after the shuffle too"
                )


MUCH = 0.5  #: share of facts that a shuffle leaves as they are, from which on a note says so


def with_facts(graph: Graph, edge_types: Iterable[EdgeType]) -> Graph:
    """The graph with the facts of these edge types alone. Other edge types of facts stay in the schema, without
    edges."""
    kept = set(edge_types)
    if all(edge in kept or graph.schema.is_behaviour(edge) for edge in graph.edge_types):
        return graph
    mask = torch.ones(graph.num_edges, dtype=torch.bool)
    for edge, start, stop in zip(graph.edge_types, graph.relation_ptr, graph.relation_ptr[1:]):
        if edge not in kept and not graph.schema.is_behaviour(edge):
            mask[start:stop] = False
    return replace(graph.where(mask), splits=graph.splits, candidates=graph.candidates)


def without_features(graph: Graph) -> Graph:
    """The graph without features of nodes."""
    nodes = {name: replace(node, features={}) for name, node in graph.schema.nodes.items()}
    return replace(graph, schema=replace(graph.schema, nodes=nodes), features={})


def features_of(graph: Graph) -> Mapping[str, list[str]]:
    """The names of the feature columns by node type."""
    return {name: list(node.features) for name, node in graph.schema.nodes.items() if node.features}
