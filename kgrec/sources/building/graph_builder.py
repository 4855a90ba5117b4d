"""Nodes and edges while a graph is built. Ids may still be added; features are completed at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import KgrecError
from kgrec.graph.assembly import EdgePart, NodePart
from kgrec.graph.features import Feature
from kgrec.graph.schema import EdgeType, FeatureKind
from kgrec.graph.vocabulary import Vocabulary
from kgrec.large_arrays import chosen, concatenated, empty, looked_up, spans
from kgrec.sources.rdf.numbering import first_rows


@dataclass(frozen=True, eq=False)
class PartialFeature:
    """The values of a column for some nodes."""

    kind: FeatureKind
    number: np.ndarray  #: int64 [n], of the nodes
    values: pa.Array  #: [n], as `Feature.from_arrow` reads them

    def finished(self, count: int) -> Feature:
        """The feature of all `count` nodes; it is missing for nodes without a value."""
        row = np.full(count, -1)
        row[self.number] = np.arange(len(self.number))
        return Feature.from_arrow(self.values.take(pa.array(row, mask=row < 0)), self.kind)


class NodeBuilder:
    """The nodes of one type so far. A node's number is its place in the order in which ids were added.

    >>> films = NodeBuilder()
    >>> films.add(pa.array(["Alien", "Brazil"])).tolist(), films.add(pa.array(["Casino", "Alien"])).tolist()
    ([0, 1], [2, 0])
    >>> films.find(pa.array(["Casino", "Dune"])).tolist()
    [2, -1]
    """

    def __init__(self, label: str = "") -> None:
        self.label = label  #: the type's name in the source
        self.ids: pa.Array = pa.array([], pa.string())
        self.features: dict[str, PartialFeature] = {}
        self._labels: np.ndarray | None = None  # strings or None, by number

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, ids: pa.Array) -> np.ndarray:
        """int64 [n]: the number of each id, -1 for an unknown id."""
        found = pc.fill_null(pc.index_in(ids, value_set=self.ids), -1)
        return np.array(found.to_numpy(zero_copy_only=False), np.int64)

    def add(self, ids: pa.Array) -> np.ndarray:
        """int64 [n]: the number of each id. New ids are added and take the next numbers."""
        new = pc.unique(ids.filter(pa.array(self.find(ids) < 0)))
        if len(new):
            self.ids = pa.concat_arrays([self.ids, new.cast(pa.string())])
        return self.find(ids)

    def add_coded(self, codes: np.ndarray, ids: pa.Array) -> np.ndarray:
        """int64 [n]: the number of each row's id, `ids[codes]`. New ids are added in the order of the rows; an id
        without a row is not added."""
        used = np.asarray(pd.unique(codes), np.int64)
        number = np.empty(len(ids), np.int64)
        number[used] = self.add(ids.take(pa.array(used)))
        return looked_up(number, codes)

    def add_labels(self, number: np.ndarray, labels: pa.Array) -> int:
        """Add labels of some nodes. Each node keeps its first label. Returns how many other labels were not used."""
        if self._labels is None or len(self._labels) < len(self):
            before = np.empty(0, object) if self._labels is None else self._labels
            self._labels = np.concatenate([before, np.full(len(self) - len(before), None, object)])
        texts = labels.to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(np.asarray(labels.is_valid()))
        new = rows[pd.isna(self._labels[number[rows]])]
        first = new[~pd.Series(number[new]).duplicated().to_numpy()]
        self._labels[number[first]] = texts[first]
        return int((self._labels[number[rows]] != texts[rows]).sum())

    def add_feature(self, name: str, feature: PartialFeature, source: str) -> None:
        """Add a feature. Raises KgrecError where the node type already has one with this name."""
        if name in self.features:
            what = f"feature {name!r} from {source} exists already; give it another name in the recipe"
            raise KgrecError(what, column=name, value=name, kind="duplicate")
        self.features[name] = feature

    def finished(self) -> NodePart:
        """The nodes added so far."""
        features = {name: feature.finished(len(self)) for name, feature in self.features.items()}
        return NodePart(Vocabulary(self.ids, self._all_labels()), features, self.label)

    def labels_from(self, first: int) -> pa.Array | None:
        """strings [n]: the labels of the node of this number and of all behind it, null where there is none; None: no
        node has one."""
        labels = self._all_labels()
        return None if labels is None else labels.slice(first)

    def _all_labels(self) -> pa.Array | None:
        if self._labels is None:
            return None
        none = np.full(len(self) - len(self._labels), None, object)
        return pa.array(np.concatenate([self._labels, none]), pa.string())


@dataclass(frozen=True, eq=False)
class EdgeColumns:
    """Edges of one type, in file order."""

    source: np.ndarray  #: int64 [E], local numbers
    target: np.ndarray  #: int64 [E], local numbers
    time: np.ndarray | None = None  #: int64 [E], unix seconds
    weight: np.ndarray | None = None  #: float32 [E]
    features: Mapping[str, tuple[FeatureKind, pa.Array]] = field(default_factory=dict)  #: each [E]
    label: str = ""
    inverse_of: str | None = None
    part: np.ndarray | None = None  #: int8 [E], 0 train, 1 valid, 2 test, where files are given by `parts`

    def at(self, mask: np.ndarray) -> EdgeColumns:
        """The edges where a mask, bool [E], is true."""
        numbers = {name: getattr(self, name) for name in ("source", "target", "time", "weight", "part")}
        taken: dict[str, Any] = {name: chosen(values, mask) for name, values in numbers.items() if values is not None}
        kept = pa.array(mask)
        return replace(self, **taken, features={n: (kind, v.filter(kept)) for n, (kind, v) in self.features.items()})

    def finished(self) -> EdgePart:
        """The edges in the form that `assemble` needs."""
        features = {name: Feature.from_arrow(values, kind) for name, (kind, values) in self.features.items()}
        return EdgePart(self.source, self.target, self.time, self.weight, features, self.label, self.inverse_of)


class GraphBuilder:
    """All nodes and edges so far, in the order in which their types first appeared."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeBuilder] = {}
        self.edges: dict[EdgeType, EdgeColumns] = {}

    def nodes_of(self, node_type: str, label: str = "") -> NodeBuilder:
        """The nodes of a type. A new type is added."""
        return self.nodes.setdefault(node_type, NodeBuilder(label))

    def add_edges(self, edge: EdgeType, columns: EdgeColumns) -> None:
        """Add edges of a type, after those that it has already. Raises KgrecError where only some of them have times,
        weights, parts or features."""
        self.edges[edge] = _joined(edge, self.edges[edge], columns) if edge in self.edges else columns

    def add_new_edges(self, edge: EdgeType, columns: EdgeColumns) -> int:
        """Add edges of a type, without those that equal an earlier edge in every column. Returns how many were left
        out. Raises KgrecError as `add_edges` does."""
        before = len(self.edges[edge].source) if edge in self.edges else 0
        self.add_edges(edge, columns)
        kept = first_rows(_numbers_of(self.edges[edge]))
        kept[:before] = True
        repeated = len(kept) - int(kept.sum())
        if repeated:
            self.edges[edge] = self.edges[edge].at(kept)
        return repeated


def _numbers_of(edges: EdgeColumns) -> np.ndarray:
    """int64 [E, k]: two rows are equal where two edges are equal in every column."""
    columns = [edges.source, edges.target, edges.time, edges.weight, edges.part]
    columns = [*columns, *(_codes(values) for _, values in edges.features.values())]
    present = [column for column in columns if column is not None]
    numbers = empty((len(edges.source), len(present)), np.int64)
    for span in spans(len(numbers)):
        for place, column in enumerate(present):
            part = column[span]
            if column is edges.weight:
                part = (part + np.float32(0)).view(np.int32)  # -0.0 is 0.0
            numbers[span, place] = part
    return numbers


def _codes(values: pa.Array) -> np.ndarray:
    """int64 [n]: two codes are equal where the values are equal."""
    if pa.types.is_nested(values.type):
        return np.asarray(pd.factorize(pd.Series(values.to_pylist(), dtype=object).map(repr))[0], np.int64)
    return np.asarray(pd.factorize(values.to_numpy(zero_copy_only=False))[0], np.int64)


def _joined(edge: EdgeType, first: EdgeColumns, second: EdgeColumns) -> EdgeColumns:
    for what in ("time", "weight", "part"):
        if (getattr(first, what) is None) != (getattr(second, what) is None):
            message = (
                f"relation {edge[1]!r} has a {what} in one file but not in another; name the column for both, or for "
                "neither"
            )
            raise KgrecError(message, column=what, value=edge[1], kind="missing column")
    if first.features.keys() != second.features.keys():
        message = (
            f"relation {edge[1]!r} has the features {list(first.features)} in one file, and {list(second.features)} in "
            "another; use the same features for both"
        )
        raise KgrecError(message, value=edge[1], kind="missing column")

    def all_of(what: str) -> np.ndarray | None:
        one, two = getattr(first, what), getattr(second, what)
        return None if one is None else concatenated([one, two])

    features = {
        name: (kind, pa.concat_arrays([values, second.features[name][1]]))
        for name, (kind, values) in first.features.items()
    }
    source, target = concatenated([first.source, second.source]), concatenated([first.target, second.target])
    return EdgeColumns(
        source, target, all_of("time"), all_of("weight"), features, first.label, first.inverse_of, all_of("part")
    )
