"""Makes edges from facts, classes and values. Each edge is added once, even if several facts state it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from kgrec.graph.schema import EdgeType
from kgrec.large_arrays import GrowingArray, empty, spans
from kgrec.sources.building.graph_builder import EdgeColumns, GraphBuilder
from kgrec.sources.building.links import EntityNodes, Places
from kgrec.sources.building.relation_names import RelationNames
from kgrec.sources.building.report import BuildReport
from kgrec.sources.rdf.facts import ClassNodes, FactOptions, Facts
from kgrec.sources.rdf.left_out import SAME_EDGE
from kgrec.sources.rdf.numbering import first_rows
from kgrec.sources.rdf.schema_org import vocabulary_term

#: Namespaces of RDF itself: their classes do not describe what a resource is
OF_RDF = (
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://www.w3.org/2000/01/rdf-schema#",
    "http://www.w3.org/2002/07/owl#",
)


@dataclass(frozen=True)
class NodesAt:
    """Nodes of several types, one after the other."""

    type: np.ndarray  #: int64 [n], position among `types`
    number: np.ndarray  #: int64 [n], local number

    @staticmethod
    def of(places: Places, node: np.ndarray) -> NodesAt:
        """The nodes at positions in `places`."""
        return NodesAt(places.type[node], places.number[node])


class EdgePlacer:
    """Adds edges between the nodes of one source's facts."""

    def __init__(self, types: list[str], names: RelationNames, builder: GraphBuilder, report: BuildReport) -> None:
        self.types, self.names, self.builder, self.report = types, names, builder, report
        self.relations: set[str] = set()  #: the relations that were added

    def code(self, node_type: str) -> int:
        """The position of a type in `types`. A new type is added at the end."""
        if node_type not in self.types:
            self.types.append(node_type)
        return self.types.index(node_type)

    def add(
        self,
        head: NodesAt,
        relation: str,
        tail: NodesAt,
        label: str,
    ) -> None:
        """Add edges of a relation, with an edge type for each pair of node types."""
        self.add_parts([(head, tail)], relation, label)

    def add_parts(
        self,
        parts: Iterable[tuple[NodesAt, NodesAt]],
        relation: str,
        label: str,
        inverse_of: str | None = None,
        are_distinct: bool = False,
    ) -> None:
        """The same for edges that come in parts. are_distinct: whether no two of these edges are the same."""
        self.relations.add(relation)
        found: dict[EdgeType, tuple[GrowingArray, GrowingArray]] = {}
        for head, tail in parts:
            kind = head.type * len(self.types) + tail.type
            for code in pd.unique(kind):
                of = kind == code
                edge = (self.types[int(code) // len(self.types)], relation, self.types[int(code) % len(self.types)])
                ends = found.setdefault(edge, (GrowingArray(np.int64), GrowingArray(np.int64)))
                ends[0].add(head.number[of])
                ends[1].add(tail.number[of])
        for edge, (source, target) in found.items():
            columns = EdgeColumns(source.array(), target.array(), label=label, inverse_of=inverse_of)
            if not are_distinct or edge in self.builder.edges:
                columns = self._new_ones(edge, columns)
            self.builder.add_edges(edge, columns)

    def _new_ones(self, edge: EdgeType, columns: EdgeColumns) -> EdgeColumns:
        """The edges that the graph does not have yet."""
        there = self.builder.edges.get(edge)
        count, before = len(columns.source), 0 if there is None else len(there.source)
        rows = empty((before + count, 2), np.int64)
        for place, end in enumerate(("source", "target")):
            if there is not None:
                rows[:before, place] = getattr(there, end)
            rows[before:, place] = getattr(columns, end)
        is_new = first_rows(rows)[before:]
        self.report.drop(SAME_EDGE, count - int(is_new.sum()))
        return columns if is_new.all() else columns.at(is_new)


def add_facts(facts: Facts, places: Places, placer: EdgePlacer) -> None:
    """Add the edges that facts state between nodes."""
    for predicate, (subject, object) in facts.edges.items():
        placer.add_parts(
            (_edges_between(subject[span], object[span], places) for span in spans(len(subject))),
            placer.names[predicate],
            facts.spelled.get(predicate, predicate),
            placer.names.inverse(predicate),
            places.are_distinct,
        )


def _edges_between(subject: np.ndarray, object: np.ndarray, places: Places) -> tuple[NodesAt, NodesAt]:
    """The nodes at both ends of the edges that facts state between resources."""
    row, head = places.of(subject)
    further, tail = places.of(object[row])
    return NodesAt.of(places, head[further]), NodesAt.of(places, tail)


def is_class_of_rdf(iri: str) -> bool:
    """Whether a class belongs to RDF, RDFS or OWL themselves, such as owl:Thing. No node is made for it."""
    return iri.startswith(OF_RDF)


def add_class_nodes(facts: Facts, classes: ClassNodes, options: FactOptions, entities: EntityNodes) -> None:
    """Add a node for each class of a resource, and for both classes of each subclass fact."""
    iris = [facts.spelled.get(iri, iri) for iri in facts.types if not is_class_of_rdf(iri)]
    ends = facts.edges.get(options.term(classes.subclass_of), ())
    further = facts.resources.take(pa.array(np.unique(np.concatenate(ends)) if ends else [], pa.int64())).to_pylist()
    named = [iri for iri in (*iris, *further) if not iri.startswith("_")]  # blank nodes are not classes
    of_term = {vocabulary_term(iri): iri for iri in reversed(named)}
    entities.add_classes(list(reversed(of_term.values())), classes.to)


def resources_with_classes(facts: Facts) -> list[np.ndarray]:
    """The resources that have a class for which a node is made, as positions."""
    return [members for iri, members in facts.types.items() if not is_class_of_rdf(iri)]


def add_classes(facts: Facts, classes: ClassNodes, places: Places, entities: EntityNodes, placer: EdgePlacer) -> None:
    """Add an edge from each resource to each of its classes."""
    iris = [iri for iri in facts.types if not is_class_of_rdf(iri)]
    if not iris:
        return
    of_class = entities.find(pa.array([facts.spelled.get(iri, iri) for iri in iris]))
    subject = np.concatenate([facts.types[iri] for iri in iris])
    code = np.repeat(np.arange(len(iris)), [len(facts.types[iri]) for iri in iris])
    row, head = places.of(subject)
    further, tail = of_class.of(code[row])
    placer.add(NodesAt.of(places, head[further]), classes.relation, NodesAt.of(of_class, tail), "rdf:type")
