"""Nodes and edges while a graph is being built: ids are still added, columns wait for the last of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import KgrecError
from kgrec.graph.assembly import EdgePart, NodePart
from kgrec.graph.features import Feature
from kgrec.graph.schema import EdgeType, FeatureKind
from kgrec.graph.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class FeatureDraft:
    """The values of a column for some nodes."""

    kind: FeatureKind
    number: np.ndarray  #: int64 [n], of the nodes
    values: pa.Array  #: [n], as `Feature.from_arrow` reads them

    def finished(self, count: int) -> Feature:
        """The column for all nodes, missing where it has no value."""
        row = np.full(count, -1)
        row[self.number] = np.arange(len(self.number))
        return Feature.from_arrow(self.values.take(pa.array(row, mask=row < 0)), self.kind)


class NodeDraft:
    """The nodes of one type so far. A node's number is its place in the order in which ids were added.

    >>> films = NodeDraft()
    >>> films.add(pa.array(["Alien", "Brazil"])).tolist(), films.add(pa.array(["Casino", "Alien"])).tolist()
    ([0, 1], [2, 0])
    >>> films.find(pa.array(["Casino", "Dune"])).tolist()
    [2, -1]
    """

    def __init__(self, label: str = "") -> None:
        self.label = label  #: the type's name in the source
        self.ids: pa.Array = pa.array([], pa.string())
        self.features: dict[str, FeatureDraft] = {}
        self._labels: list[tuple[np.ndarray, pa.Array]] = []

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, ids: pa.Array) -> np.ndarray:
        """int64 [n]: the number of each id, -1 for one that is not there."""
        found = pc.fill_null(pc.index_in(ids, value_set=self.ids), -1)
        return np.array(found.to_numpy(zero_copy_only=False), np.int64)

    def add(self, ids: pa.Array) -> np.ndarray:
        """int64 [n]: the number of each id; those that are new take the next numbers."""
        new = pc.unique(ids.filter(pa.array(self.find(ids) < 0)))
        if len(new):
            self.ids = pa.concat_arrays([self.ids, new.cast(pa.string())])
        return self.find(ids)

    def show(self, number: np.ndarray, labels: pa.Array) -> None:
        """Labels of some nodes; the first that a node is given stays."""
        self._labels.append((number, labels))

    def add_feature(self, name: str, feature: FeatureDraft, source: str) -> None:
        """A column. Raises KgrecError where the type has one of that name."""
        if name in self.features:
            raise KgrecError(f"feature {name!r} from {source} is there already; give it another name in the recipe")
        self.features[name] = feature

    def finished(self) -> NodePart:
        """The nodes as they stand now."""
        features = {name: draft.finished(len(self)) for name, draft in self.features.items()}
        return NodePart(Vocabulary(self.ids, self._all_labels()), features, self.label)

    def _all_labels(self) -> pa.Array | None:
        labels = np.full(len(self), None, object)
        for number, values in self._labels:
            given = values.to_numpy(zero_copy_only=False)
            new = np.flatnonzero(pd.isna(labels[number]) & ~pd.isna(given))
            first = new[~pd.Series(number[new]).duplicated().to_numpy()]
            labels[number[first]] = given[first]
        return pa.array(labels, pa.string()) if self._labels else None


@dataclass(frozen=True, eq=False)
class EdgeDraft:
    """Edges of one type, in file order."""

    source: np.ndarray  #: int64 [E], local numbers
    target: np.ndarray  #: int64 [E], local numbers
    time: np.ndarray | None = None  #: int64 [E], unix seconds
    weight: np.ndarray | None = None  #: float32 [E]
    features: Mapping[str, tuple[FeatureKind, pa.Array]] = field(default_factory=dict)  #: each [E]
    label: str = ""
    inverse_of: str | None = None
    part: np.ndarray | None = None  #: int8 [E], 0 train, 1 valid, 2 test, where the files say so

    def finished(self) -> EdgePart:
        """The edges as `assemble` takes them."""
        features = {name: Feature.from_arrow(values, kind) for name, (kind, values) in self.features.items()}
        return EdgePart(self.source, self.target, self.time, self.weight, features, self.label, self.inverse_of)


class Drafts:
    """All nodes and edges so far, in the order in which types were first named."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeDraft] = {}
        self.edges: dict[EdgeType, EdgeDraft] = {}

    def of(self, node_type: str, label: str = "") -> NodeDraft:
        """The nodes of a type, which may be new."""
        return self.nodes.setdefault(node_type, NodeDraft(label))

    def add_edges(self, edge: EdgeType, draft: EdgeDraft) -> None:
        """Edges of a type; where it has some already, these come after them. Raises KgrecError where they differ in
        what is known of each edge."""
        if edge in self.edges:
            draft = _joined(edge, self.edges[edge], draft)
        self.edges[edge] = draft


def _joined(edge: EdgeType, first: EdgeDraft, second: EdgeDraft) -> EdgeDraft:
    for what in ("time", "weight", "part"):
        if (getattr(first, what) is None) != (getattr(second, what) is None):
            raise KgrecError(f"relation {edge[1]!r} has a {what} in one file and none in another; give both or neither")
    if first.features.keys() != second.features.keys():
        raise KgrecError(f"relation {edge[1]!r} has features {list(first.features)} and {list(second.features)}")

    def both(what: str) -> np.ndarray | None:
        one, two = getattr(first, what), getattr(second, what)
        return None if one is None else np.concatenate([one, two])

    features = {
        name: (kind, pa.concat_arrays([values, second.features[name][1]]))
        for name, (kind, values) in first.features.items()
    }
    source, target = np.concatenate([first.source, second.source]), np.concatenate([first.target, second.target])
    return EdgeDraft(
        source, target, both("time"), both("weight"), features, first.label, first.inverse_of, both("part")
    )
