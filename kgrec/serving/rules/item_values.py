"""What items have under a name: the values of a column, or the nodes at the end of a path through the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import scipy  # its parts are imported when they are first used

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.serving.filters.fact_paths import Meaning, path_of


@dataclass(frozen=True, eq=False)
class ItemValues:
    """The distinct values of each item, as numbers from 0; those of item i are value[ptr[i] : ptr[i + 1]], rising."""

    ptr: np.ndarray  #: int64 [I + 1]
    value: np.ndarray  #: int64 [n]
    number: int  #: how many values there are

    @staticmethod
    def of(rows: scipy.sparse.csr_array) -> ItemValues:
        """By a matrix [items, values], in which what is not 0 is there."""
        rows = rows.tocsr()
        rows.sum_duplicates()
        rows.eliminate_zeros()
        rows.sort_indices()
        return ItemValues(rows.indptr.astype(np.int64), rows.indices.astype(np.int64), rows.shape[1])

    @staticmethod
    def none(items: int) -> ItemValues:
        """No value of any item."""
        return ItemValues(np.zeros(items + 1, np.int64), np.zeros(0, np.int64), 0)


def values_of(graph: Graph, node_type: str, name: str) -> ItemValues:
    """What nodes of a type have under a name, as `path_of` reads it: a column, a relation, a node type, or a path.

    >>> import pandas as pd
    >>> made = pd.DataFrame([("tea", "Acme"), ("mug", "Umbra"), ("pot", "Acme")], columns=["source", "target"])
    >>> graph = Graph.from_frames(edges={("item", "made_by", "brand"): made})
    >>> found = values_of(graph, "item", "made_by")
    >>> [found.value[a:b].tolist() for a, b in zip(found.ptr, found.ptr[1:])]
    [[0], [1], [0]]

    Raises UnknownName for a name that is not there, KgrecError for one that means several things, and for a column of
    vectors, which has no values that items share.
    """
    path, nodes = path_of(graph, name, node_type), graph.range(node_type)
    rows = scipy.sparse.csr_array(scipy.sparse.identity(graph.num_nodes, np.float32, "csr"))[nodes.start : nodes.stop]
    for meaning in path.hops:
        rows = _after(rows, _adjacency(graph, meaning), repeated=meaning.repeated)
    if path.column is None:
        first, last = min(graph.range(one).start for one in path.ends), max(graph.range(one).stop for one in path.ends)
        return ItemValues.of(rows[:, first:last])
    columns = [(graph.range(one).start, graph.features[one][column]) for one, column in sorted(path.column.columns)]
    return ItemValues.of(rows @ _of_columns(graph, path.name, columns))


def facts_of(graph: Graph, node_type: str) -> ItemValues:
    """All that facts say of nodes of a type: a relation, its direction and its other end is a value. Facts that another
    relation states backwards count once. Raises KgrecError where there are none."""
    facts, nodes, keys, members = graph.facts(), graph.range(node_type), [], []
    edges = [edge for edge, said in facts.schema.edges.items() if said.inverse_of is None]
    facts = facts.only(*edges) if edges else facts
    relation, head, tail = (one.cpu().numpy() for one in (facts.relation, facts.head, facts.tail))
    for direction, (item, other) in enumerate(((head, tail), (tail, head))):
        about = (item >= nodes.start) & (item < nodes.stop)
        keys.append(((relation * 2 + direction) * (graph.num_nodes + 1) + other)[about])
        members.append(item[about] - nodes.start)
    value, number = np.unique(np.concatenate(keys), return_inverse=True)
    if not len(value):
        raise KgrecError(
            f"no fact of this graph is about a {node_type}, so that none are alike by facts; say `by: vectors`, or "
            "link them to entities in the recipe (`links:`)"
        )
    ones = np.ones(len(number), np.float32)
    return ItemValues.of(
        scipy.sparse.csr_array((ones, (np.concatenate(members), number)), shape=(len(nodes), len(value)))
    )


def _adjacency(graph: Graph, meaning: Meaning) -> scipy.sparse.csr_array:
    """From which node which is reached by one hop: [N, N]."""
    near, far = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for hop in meaning.hops:
        edges = graph.only(hop.edge_type)
        head, tail = edges.head.cpu().numpy(), edges.tail.cpu().numpy()
        near.append(tail if hop.backward else head)
        far.append(head if hop.backward else tail)
    place = np.concatenate(near), np.concatenate(far)
    return scipy.sparse.csr_array((np.ones(len(place[0]), np.float32), place), shape=(graph.num_nodes, graph.num_nodes))


def _after(
    rows: scipy.sparse.csr_array, adjacency: scipy.sparse.csr_array, *, repeated: bool
) -> scipy.sparse.csr_array:
    """What is reached from what is: by one hop, or by any number of them."""
    while True:
        found = rows @ adjacency
        if repeated:
            found = found + rows
        found.data[:] = 1
        if not repeated or found.nnz == rows.nnz:
            return found
        rows = found


def _of_columns(graph: Graph, name: str, columns: list[tuple[int, Feature]]) -> scipy.sparse.csr_array:
    """The values of nodes in columns of one name: [N, values]. columns: the first node, and the column."""
    node, text = [], []
    for start, feature in columns:
        row, values = _texts(name, feature)
        node.append(row + start)
        text.append(values)
    known, number = np.unique(np.concatenate(text), return_inverse=True)
    ones = np.ones(len(number), np.float32)
    return scipy.sparse.csr_array((ones, (np.concatenate(node), number)), shape=(graph.num_nodes, max(1, len(known))))


def _texts(name: str, feature: Feature) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of a column have which values, as texts: int64 [n] and str [n]."""
    match feature.schema.kind:
        case "vector":
            raise KgrecError(f"{name!r} is a column of vectors, which have no value that items share; name another")
        case "multi":
            assert feature.ptr is not None
            row = np.repeat(np.arange(len(feature)), feature.ptr.diff().numpy())
            return row, _names(feature)[feature.values.numpy()]
        case "categorical":
            codes = feature.values.numpy()
            row = np.flatnonzero(codes >= 0)
            return row, _names(feature)[codes[row]]
        case "numeric":
            numbers = feature.values.numpy()
            row = np.flatnonzero(~np.isnan(numbers))
            return row, numbers[row].astype(str)
        case _:
            there = ~feature.missing.numpy()
            texts = feature.values.filter(pa.array(there)).to_pylist()
            return np.flatnonzero(there), np.array(texts, dtype=str)


def _names(feature: Feature) -> np.ndarray:
    return np.array(feature.schema.categories or [""], dtype=str)
