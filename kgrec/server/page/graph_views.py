"""The graph of a run as the page shows it: node types, relations with counts, and samples of both."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kgrec.errors import unknown_name
from kgrec.graph import Graph
from kgrec.graph.schema import EdgeType
from kgrec.serving.described_items import NamedNode, named_node
from kgrec.training.trained_model import TrainedModel

SAMPLED = 100  #: types and relations of which a sample is shown on the page of all
FEW, MANY = 3, 20  #: nodes and edges of a sample


@dataclass(frozen=True)
class SampleEdge:
    """An edge of the graph."""

    head: NamedNode
    tail: NamedNode


@dataclass(frozen=True)
class NodeTypeView:
    """A node type."""

    name: str
    source: str  #: what it is called in the source, such as an IRI
    number: int
    columns: tuple[str, ...]
    sample: tuple[NamedNode, ...]


@dataclass(frozen=True)
class RelationView:
    """A relation between two types."""

    key: str  #: source-relation-target
    edge_type: EdgeType
    source: str  #: what it is called in the source, such as an IRI
    number: int
    sample: tuple[SampleEdge, ...]


@dataclass(frozen=True)
class GraphView:
    """All of it."""

    is_whole: bool  #: whether the run keeps the facts of its graph
    target: EdgeType
    types: tuple[NodeTypeView, ...]
    relations: tuple[RelationView, ...]


def graph_view(run: TrainedModel) -> GraphView:
    """The graph of a run, with small samples. A run that was trained with --lean knows what users did only."""
    found: GraphView = run.made_once("view of the graph", None, lambda: _view(run))
    return found


def _view(run: TrainedModel) -> GraphView:
    graph = _graph(run)
    types = tuple(_type(graph, name, FEW * (place < SAMPLED)) for place, name in enumerate(graph.node_types))
    relations = tuple(_relation(graph, number, FEW * (number < SAMPLED)) for number in range(len(graph.edge_types)))
    return GraphView(run.keeps_facts, run.graph.target, types, relations)


def type_view(run: TrainedModel, name: str) -> NodeTypeView:
    """A node type with a larger sample. Raises UnknownName."""
    graph = _graph(run)
    if name not in graph.node_types:
        raise unknown_name("node type", name, graph.node_types, "in this graph")
    return _type(graph, name, MANY)


def relation_view(run: TrainedModel, key: str) -> RelationView:
    """A relation with a larger sample. key: source-relation-target. Raises UnknownName."""
    graph = _graph(run)
    keys = ["-".join(edge_type) for edge_type in graph.edge_types]
    if key not in keys:
        raise unknown_name("relation", key, keys, "in this graph")
    return _relation(graph, keys.index(key), MANY)


def _graph(run: TrainedModel) -> Graph:
    return run.whole_graph() if run.keeps_facts else run.graph


def _type(graph: Graph, name: str, most: int) -> NodeTypeView:
    numbers, schema = graph.range(name), graph.schema.nodes.get(name)
    sample = tuple(named_node(graph, flat) for flat in _spread(numbers.start, numbers.stop, most))
    return NodeTypeView(name, schema.label if schema else "", len(numbers), tuple(graph.features.get(name, {})), sample)


def _relation(graph: Graph, number: int, most: int) -> RelationView:
    edge_type = graph.edge_types[number]
    start, stop = graph.relation_ptr[number], graph.relation_ptr[number + 1]
    rows = torch.tensor(_spread(start, stop, most), dtype=torch.long, device=graph.device)
    ends = zip(graph.head[rows].tolist(), graph.tail[rows].tolist())
    sample = tuple(SampleEdge(named_node(graph, head), named_node(graph, tail)) for head, tail in ends)
    schema = graph.schema.edges.get(edge_type)
    return RelationView("-".join(edge_type), edge_type, schema.label if schema else "", stop - start, sample)


def _spread(start: int, stop: int, most: int) -> list[int]:
    """Up to so many numbers, evenly from the first to the last, the same each time.

    >>> _spread(10, 20, 3), _spread(5, 7, 3)
    ([10, 13, 16], [5, 6])
    """
    number = stop - start
    if number <= most:
        return list(range(start, stop))
    return [start + place * number // most for place in range(most)]
