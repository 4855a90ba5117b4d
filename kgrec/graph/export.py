"""Exports of a graph: to PyG's HeteroData, to networkx, and as a hash of its contents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from torch import Tensor

from kgrec.graph.parts import NO_TIME, GraphParts
from kgrec.graph.schema import EdgeType

if TYPE_CHECKING:
    import networkx
    from torch_geometric.data import HeteroData

    from kgrec.graph.graph import Graph

ROWS = 1 << 16  #: ids that are joined at once


def to_hetero(parts: GraphParts) -> HeteroData:
    """The graph as PyG's HeteroData. Its tensors are slices of the flat tensors, not copies."""
    from torch_geometric.data import HeteroData

    data = HeteroData()
    for name, node in parts.schema.nodes.items():
        data[name].num_nodes = node.count
        for column, feature in parts.features.get(name, {}).items():
            if isinstance(feature.values, Tensor) and feature.ptr is None:
                data[name][column] = feature.values
    for edge, start, stop in zip(parts.edge_types, parts.relation_ptr, parts.relation_ptr[1:]):
        data[edge].edge_index = parts.edge_index[:, start:stop]
        data[edge].time = parts.time[start:stop]
        data[edge].weight = parts.weight[start:stop]
    return data


def to_networkx(graph: Graph) -> networkx.MultiDiGraph:
    """The graph as a networkx MultiDiGraph. Nodes are (type, external id) with a label; edges have relation, time and
    weight.

    An edge's key is its relation. If the two nodes already have an edge with this key, it is (relation, number of edges
    between the two nodes so far).
    """
    import networkx

    result = networkx.MultiDiGraph()
    names: list[tuple[str, str]] = []
    for node_type, numbers in graph.ranges.items():
        vocabulary = graph.vocabulary[node_type]
        local = np.arange(len(numbers))
        keys = [(node_type, name) for name in vocabulary.ids(local)]
        names += keys
        result.add_nodes_from((key, {"label": label}) for key, label in zip(keys, vocabulary.labels(local)))
    relations = [edge[1] for edge in graph.edge_types]
    for head, tail, relation, time, weight in zip(
        graph.head.tolist(), graph.tail.tolist(), graph.relation.tolist(), graph.time.tolist(), graph.weight.tolist()
    ):
        source, target, name = names[head], names[tail], relations[relation]
        key = (name, result.number_of_edges(source, target)) if result.has_edge(source, target, name) else name
        when = None if time == NO_TIME else time
        result.add_edge(source, target, key, relation=name, time=when, weight=weight)
    return result


class ContentHash:
    """The hash of `content_hash`, of parts that are added in their order."""

    def __init__(self) -> None:
        self.digest, self.first = hashlib.blake2b(digest_size=16), True

    def node_type(self, name: str) -> None:
        """Begin with the nodes of a type."""
        self.digest.update(name.encode())
        self.first = True

    def ids(self, ids: pa.Array) -> None:
        """Add ids of the type, strings [n]."""
        for start in range(0, len(ids), ROWS):
            text = "\0".join(ids[start : start + ROWS].to_pylist())
            self.digest.update(text.encode() if self.first else f"\0{text}".encode())
            self.first = False

    def edges(self, edge_types: Sequence[EdgeType], relation_ptr: tuple[int, ...], *arrays: np.ndarray) -> str:
        """Add all edges. arrays: edge_index, time and weight. Returns the hash."""
        self.digest.update(repr((list(edge_types), relation_ptr)).encode())
        for array in arrays:
            self.digest.update(np.ascontiguousarray(array).data)
        return self.digest.hexdigest()


def content_hash(graph: Graph) -> str:
    """A hash of ids, edges, times and weights. It does not depend on how they are stored."""
    digest = ContentHash()
    for node_type in graph.node_types:
        digest.node_type(node_type)
        if node_type in graph.vocabulary:
            digest.ids(graph.vocabulary[node_type].id_array)
    arrays = (tensor.cpu().numpy() for tensor in (graph.edge_index, graph.time, graph.weight))
    return digest.edges(graph.edge_types, graph.relation_ptr, *arrays)
