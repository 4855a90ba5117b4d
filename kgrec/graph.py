"""The graph: every interaction and every fact is an edge of one heterogeneous graph, kept once in flat tensors."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.features import Feature
from kgrec.schema import CLICK, EdgeSchema, EdgeType, FeatureKind, Schema
from kgrec.vocabulary import Vocabulary

if TYPE_CHECKING:
    import networkx
    import pandas as pd
    from torch_geometric.data import HeteroData

NO_TIME = torch.iinfo(torch.int64).min  #: the time of an edge that has none; it is before every time


@dataclass(frozen=True, eq=False)
class Candidates:
    """For each of some users the items to rank: a set by protocol (NCF's one true and 99 drawn items)."""

    user: Tensor  #: LongTensor [n], local numbers, rising
    ptr: Tensor  #: LongTensor [n + 1]
    item: Tensor  #: LongTensor [ptr[-1]], local numbers


@dataclass(frozen=True, eq=False)
class CSR:
    """Edges grouped by one end: those of flat node n are at positions `ptr[n]` to `ptr[n + 1]`, in order of time, and
    of the file where times tie."""

    ptr: Tensor  #: LongTensor [N + 1]
    edge: Tensor  #: LongTensor [E], position in the graph
    other: Tensor  #: IntTensor [E], flat number of the other end

    def degree(self) -> Tensor:
        """Edges of every node, LongTensor [N]."""
        return self.ptr.diff()


@dataclass(frozen=True, eq=False)
class Graph:
    """A typed, timed, directed multigraph over users, items, attributes and entities.

    Edges stand in flat tensors, grouped by edge type; node numbers in `edge_index` are local to their type. Computation
    uses flat numbers, local + offset of the type, so that all items are a range; `pad` (one past the last) is no node.
    Nothing is changed in place: `only`, `before`, `where`, `both_ways`, `reversed` and `to` give new graphs.

    >>> import pandas as pd
    >>> rows = [("ann", "Alien", 3), ("bob", "Alien", 5), ("ann", "Brazil", 4)]
    >>> rated = pd.DataFrame(rows, columns=["source", "target", "time"])
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): rated})
    >>> graph
    Graph(user: 2, film: 2 | user-rated-film: 3)
    >>> graph.head.tolist(), graph.tail.tolist(), graph.before(5).num_edges
    ([0, 1, 0], [2, 2, 3], 2)
    """

    schema: Schema
    edge_index: Tensor  #: LongTensor [2, E], local numbers
    relation_ptr: tuple[int, ...]  #: [R + 1], edges of the r-th edge type are relation_ptr[r] : relation_ptr[r + 1]
    time: Tensor  #: LongTensor [E], unix seconds; NO_TIME for facts
    weight: Tensor  #: FloatTensor [E], a rating or a count; 1 where the source has none
    vocabulary: Mapping[str, Vocabulary] = field(default_factory=dict)  #: empty in `Graph.empty`
    features: Mapping[str, Mapping[str, Feature]] = field(default_factory=dict)  #: by node type and column
    edge_features: Mapping[EdgeType, Mapping[str, Feature]] = field(default_factory=dict)  #: a row an edge, in order
    splits: Mapping[str, Tensor] = field(default_factory=dict)  #: int8 [target edges]: 0 train, 1 valid, 2 test
    candidates: Mapping[str, Candidates] = field(default_factory=dict)  #: by name, items to rank
    withheld: Tensor | None = None  #: LongTensor, flat nodes that training may not draw (cold items held out)

    # ------------------------------------------------------------------ what there is

    @property
    def node_types(self) -> list[str]:
        return list(self.schema.nodes)

    @property
    def edge_types(self) -> list[EdgeType]:
        return list(self.schema.edges)

    @property
    def target(self) -> EdgeType:
        """The edge type that is recommended. Raises KgrecError where the graph names none."""
        if self.schema.target is None:
            raise KgrecError(
                "this graph names no target relation; give `target:` in the recipe or target= in from_frames"
            )
        return self.schema.target

    @property
    def num_nodes(self) -> int:
        return self.schema.num_nodes

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

    @property
    def pad(self) -> int:
        """The number that stands for no node: one past the last."""
        return self.num_nodes

    @property
    def device(self) -> torch.device:
        return self.edge_index.device

    @cached_property
    def ranges(self) -> dict[str, range]:
        """Flat numbers of each node type."""
        ends = list(itertools.accumulate(node.count for node in self.schema.nodes.values()))
        return {name: range(end - self.schema.nodes[name].count, end) for name, end in zip(self.schema.nodes, ends)}

    def range(self, node_type: str) -> range:
        """Flat numbers of all nodes of one type, as a Python range. Raises UnknownName."""
        if node_type not in self.ranges:
            raise unknown_name("node type", node_type, self.ranges, "in this graph")
        return self.ranges[node_type]

    def nodes(self, node_type: str) -> Tensor:
        """Flat numbers of all nodes of one type, LongTensor [N of the type]. Raises UnknownName."""
        numbers = self.range(node_type)
        return torch.arange(numbers.start, numbers.stop, device=self.device)

    def drawable(self, node_type: str) -> Tensor:
        """Flat numbers of the nodes that training may draw as negatives or softmax classes: all but the withheld."""
        nodes = self.nodes(node_type)
        return nodes if self.withheld is None else nodes[~torch.isin(nodes, self.withheld)]

    def flat(self, node_type: str, ids: object) -> Tensor:
        """Flat numbers of external ids, LongTensor [n]. Raises UnknownName with the ids that are not known."""
        start = self.range(node_type).start
        return self.vocabulary[node_type].numbers(ids, what=node_type).to(self.device) + start

    @cached_property
    def relation(self) -> Tensor:
        """Number of each edge's type, LongTensor [E]."""
        sizes = torch.tensor(self.relation_ptr, device=self.device).diff()
        return torch.arange(len(sizes), device=self.device).repeat_interleave(sizes, output_size=self.num_edges)

    def _flat_end(self, end: int) -> Tensor:
        """Flat sources (0) or targets (1) of all edges, LongTensor [E]."""
        starts = [self.ranges[edge[2 * end]].start for edge in self.edge_types]
        if len(set(starts)) == 1:
            return self.edge_index[end] + starts[0]
        flat = self.edge_index[end].clone()
        for start, (first, stop) in zip(starts, itertools.pairwise(self.relation_ptr)):
            flat[first:stop] += start
        return flat

    @cached_property
    def head(self) -> Tensor:
        """Flat source of each edge, LongTensor [E]."""
        return self._flat_end(0)

    @cached_property
    def tail(self) -> Tensor:
        """Flat target of each edge, LongTensor [E]."""
        return self._flat_end(1)

    @cached_property
    def data(self) -> HeteroData:
        """The graph as PyG's HeteroData; its tensors are slices of the flat ones, so any PyG code runs on it."""
        from torch_geometric.data import HeteroData

        data = HeteroData()
        for name, node in self.schema.nodes.items():
            data[name].num_nodes = node.count
            for column, feature in self.features.get(name, {}).items():
                if isinstance(feature.values, Tensor) and feature.ptr is None:
                    data[name][column] = feature.values
        for edge, start, stop in zip(self.edge_types, self.relation_ptr, self.relation_ptr[1:]):
            data[edge].edge_index = self.edge_index[:, start:stop]
            data[edge].time = self.time[start:stop]
            data[edge].weight = self.weight[start:stop]
        return data

    def edge_feature(self, edge_type: EdgeType, column: str) -> Feature:
        """A column of this relation's edges, in the order of this view's edges. Raises UnknownName."""
        columns = self.edge_features.get(edge_type, {})
        if column not in columns:
            raise unknown_name("edge feature", column, columns, f"of {'-'.join(edge_type)}")
        return columns[column]

    def clicks(self) -> Tensor:
        """Which target edges of this view are clicks, by their feature `click`: FloatTensor [target edges], 1 or 0.

        Raises KgrecError where the edges have no such feature, or one of other values.
        """
        name, feature = self.target[1], self.edge_features.get(self.target, {}).get(CLICK)
        if feature is None or feature.schema.kind != "numeric":
            raise KgrecError(
                f"the {name!r} edges have no label of clicks; say `click:` under `interactions` in the recipe, or "
                f"features={{{name!r}: {{'click': 'numeric'}}}} in Graph.from_frames"
            )
        labels: Tensor = feature.values
        wrong = labels[(labels != 0) & (labels != 1)]
        if len(wrong):
            raise KgrecError(
                f"{len(wrong):,} {name!r} edges have a click of {float(wrong[0]):g} or the like; 1 is wanted, or 0 for "
                "none; mend the column"
            )
        return labels.to(self.device)

    def __repr__(self) -> str:
        nodes = ", ".join(f"{name}: {node.count:,}" for name, node in self.schema.nodes.items())
        counts = [b - a for a, b in itertools.pairwise(self.relation_ptr)]
        edges = ", ".join(f"{'-'.join(edge)}: {count:,}" for edge, count in zip(self.edge_types[:8], counts))
        more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
        return f"Graph({nodes} | {edges}{more})"

    # ------------------------------------------------------------------ indices

    @cached_property
    def csr(self) -> CSR:
        """Edges by their source, in order of time: what each node did."""
        return self._grouped(0)

    @cached_property
    def csc(self) -> CSR:
        """Edges by their target, in order of time: the same edges read backwards."""
        return self._grouped(1)

    def _grouped(self, end: int) -> CSR:
        """Edges by one end. Flat numbers of large graphs are made for it and not kept."""
        by, other = self._flat_end(end), self._flat_end(1 - end)
        if by.is_cuda:
            ptr, order = self._group_by_sorting(by)
        else:
            from kgrec import kernels

            starts, edges = kernels.group(by.numpy(), self.num_nodes)
            kernels.sort_rows_by_time(starts, edges, self.time.numpy())
            ptr, order = torch.from_numpy(starts), torch.from_numpy(edges)
        return CSR(ptr, order, other[order].int())

    def _group_by_sorting(self, by: Tensor) -> tuple[Tensor, Tensor]:
        """The vectorised form of the kernels' grouping: ptr [N + 1], and the edges' order [E]."""
        order = torch.argsort(self.time, stable=True)
        order = order[torch.argsort(by[order], stable=True)]
        ptr = torch.zeros(self.num_nodes + 1, dtype=torch.long, device=by.device)
        ptr[1:] = torch.bincount(by, minlength=self.num_nodes).cumsum(0)
        return ptr, order

    @cached_property
    def _sorted_rows(self) -> Tensor:
        """For the CPU: the targets of `csr`, sorted within each row. IntTensor [E]."""
        from kgrec import kernels

        tails = self.csr.other.clone()
        kernels.sort_rows(self.csr.ptr.numpy(), tails.numpy())
        return tails

    @cached_property
    def _sorted_pairs(self) -> Tensor:
        """For vectorised search: head * (N + 1) + tail of every edge, rising, and one past all. LongTensor [E + 1]."""
        pairs = (self.head * (self.num_nodes + 1) + self.tail).sort().values
        return torch.cat([pairs, pairs.new_full((1,), torch.iinfo(torch.int64).max)])

    def is_edge(self, head: Tensor, tail: Tensor) -> Tensor:
        """Whether there is an edge from each head [n] to each of its tails [n, K] (flat numbers). BoolTensor [n, K].

        `pad` has no edges, as head or as tail.
        """
        if head.device.type != "cpu":
            return self._is_edge_by_search(head, tail)
        from kgrec import kernels

        rows = self.csr.ptr.numpy(), self._sorted_rows.numpy()
        return torch.from_numpy(kernels.is_member(*rows, head.contiguous().numpy(), tail.contiguous().numpy()))

    def _is_edge_by_search(self, head: Tensor, tail: Tensor) -> Tensor:
        """The vectorised form of `is_edge`."""
        pairs = head[:, None] * (self.num_nodes + 1) + tail
        return self._sorted_pairs[torch.searchsorted(self._sorted_pairs, pairs)] == pairs

    @cached_property
    def _triple_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """The tails of each (relation, head): the rows' keys relation * (N + 1) + head, rising, LongTensor [P]; ptr,
        LongTensor [P + 1]; and the tails, sorted within each row, IntTensor [E]."""
        key, row = torch.unique(self.relation * (self.num_nodes + 1) + self.head, return_inverse=True)
        order = self.tail.argsort()
        order = order[row[order].argsort(stable=True)]
        ptr = torch.cat([row.new_zeros(1), torch.bincount(row, minlength=len(key)).cumsum(0)])
        return key, ptr, self.tail[order].int()

    def is_triple(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Whether there is an edge of each relation [n] (number of the edge type) from each head [n] to each of its
        tails [n, K] (flat numbers). BoolTensor [n, K].

        `pad` has no edges. Raises KgrecError where, on a GPU, rows and nodes are too many for one key of 64 bits.
        """
        key, ptr, tails = self._triple_rows
        wanted = relation * (self.num_nodes + 1) + head
        row = torch.searchsorted(key, wanted).clamp(max=max(0, len(key) - 1))
        row = row.masked_fill(key[row] != wanted, len(key)) if len(key) else torch.zeros_like(wanted)
        if head.device.type != "cpu":
            return self._is_in_row_by_search(row, tail)
        from kgrec import kernels

        rows = ptr.numpy(), tails.numpy()
        return torch.from_numpy(kernels.is_member(*rows, row.contiguous().numpy(), tail.contiguous().numpy()))

    @cached_property
    def _sorted_triples(self) -> Tensor:
        """For vectorised search: row * (N + 1) + tail of every edge, rising, and one past all. LongTensor [E + 1]."""
        _, ptr, tails = self._triple_rows
        most, base = torch.iinfo(torch.int64).max, self.num_nodes + 1
        if len(ptr) * base > most:
            raise KgrecError(
                f"{self.num_edges:,} edges over {self.num_nodes:,} nodes are too many for one key; train on the CPU"
            )
        row = torch.arange(len(ptr) - 1, device=ptr.device).repeat_interleave(ptr.diff())
        return torch.cat([row * base + tails, ptr.new_full((1,), most)])

    def _is_in_row_by_search(self, row: Tensor, tail: Tensor) -> Tensor:
        """The vectorised form of `is_triple`, of rows [n] of `_triple_rows`; one past the last is none."""
        wanted = row[:, None] * (self.num_nodes + 1) + tail
        return self._sorted_triples[torch.searchsorted(self._sorted_triples, wanted)] == wanted

    def count_edges(self, head: Tensor, tail: Tensor) -> Tensor:
        """How many edges there are from each head to its tail (flat numbers), LongTensor of their shape."""
        pairs = head * (self.num_nodes + 1) + tail
        first, last = (torch.searchsorted(self._sorted_pairs, pairs, right=right) for right in (False, True))
        return last - first

    # ------------------------------------------------------------------ views

    def only(self, *names: str | EdgeType) -> Graph:
        """The same nodes, and only the edges of these relations (every edge type of a name). Raises UnknownName."""
        kept = self.schema.edge_types(*names)
        if kept == self.edge_types:
            return self
        if len(kept) == 1:
            return self._one_relation(kept[0])
        numbers = [self.edge_types.index(edge) for edge in kept]
        parts = [torch.arange(self.relation_ptr[n], self.relation_ptr[n + 1], device=self.device) for n in numbers]
        sizes = [len(part) for part in parts]
        index = torch.cat(parts) if parts else torch.empty(0, dtype=torch.long, device=self.device)
        return self._edges_at(index, kept, (0, *itertools.accumulate(sizes)))

    def _one_relation(self, edge_type: EdgeType) -> Graph:
        """A slice, not a copy; made once, so that its indices are built once."""
        if edge_type not in self._views:
            number = self.edge_types.index(edge_type)
            start, stop = self.relation_ptr[number], self.relation_ptr[number + 1]
            self._views[edge_type] = self._edges_at(slice(start, stop), [edge_type], (0, stop - start))
        return self._views[edge_type]

    @cached_property
    def _views(self) -> dict[EdgeType | Literal["single"], Graph]:
        """Views that `only` has made of one relation, and `single`."""
        return {}

    def without(self, *names: str | EdgeType) -> Graph:
        """The same nodes, and the edges of all other relations. Raises UnknownName."""
        dropped = set(self.schema.edge_types(*names))
        return self._only_types([edge for edge in self.edge_types if edge not in dropped])

    def _only_types(self, edge_types: Sequence[EdgeType]) -> Graph:
        if edge_types:
            return self.only(*edge_types)
        return self._edges_at(slice(0, 0), [], (0,))

    def interactions(self) -> Graph:
        """The target relation and the other behaviours between the same two node types."""
        ends = self.target[0], self.target[2]
        return self._only_types([edge for edge in self.edge_types if (edge[0], edge[2]) == ends])

    def along(self, behaviours: Sequence[str] = ()) -> Graph:
        """The edges that histories are read from: these relations between the target's two node types; (): the target
        alone. Raises UnknownName."""
        self.target  # noqa: B018 - raises where the graph names none
        return self.only(*self.schema.behaviours(behaviours))

    def facts(self) -> Graph:
        """All that is no interaction: attributes and knowledge-graph relations."""
        ends = self.target[0], self.target[2]
        return self._only_types([edge for edge in self.edge_types if (edge[0], edge[2]) != ends])

    def before(self, time: int) -> Graph:
        """Edges strictly before a time (unix seconds), and all facts."""
        return self.where(self.time < time)

    def where(self, mask: Tensor) -> Graph:
        """Only the edges where mask (BoolTensor [E]) is true; nothing of the others is in the new graph."""
        kept = torch.cat([mask.new_zeros(1, dtype=torch.long), mask.long().cumsum(0)])
        ptr = tuple(kept[torch.tensor(self.relation_ptr, device=self.device)].tolist())
        view = self._edges_at(torch.nonzero(mask).squeeze(1), self.edge_types, ptr)
        if not self.edge_features:
            return view
        rows = {
            edge: torch.nonzero(mask[start:stop]).squeeze(1)
            for edge, start, stop in zip(self.edge_types, self.relation_ptr, self.relation_ptr[1:])
        }
        taken = {
            edge: {name: feature.take(rows[edge]) for name, feature in columns.items()}
            for edge, columns in self.edge_features.items()
        }
        return replace(view, edge_features=taken)

    def _edges_at(self, index: Tensor | slice, edge_types: Sequence[EdgeType], ptr: tuple[int, ...]) -> Graph:
        return replace(
            self,
            schema=self.schema.with_edges(edge_types),
            edge_index=self.edge_index[:, index],
            relation_ptr=ptr,
            time=self.time[index],
            weight=self.weight[index],
            edge_features={edge: self.edge_features[edge] for edge in edge_types if edge in self.edge_features},
            splits={},
            candidates={},
        )

    def both_ways(self) -> Graph:
        """Every edge also backwards, as relation `rev_<name>`, but where the graph states the inverse itself."""
        single = self.single()
        if not single.edge_types:
            return self
        edges, other = self.two_way_edges(), single.reversed()
        return replace(
            self,
            schema=replace(self.schema, edges=edges),
            edge_index=torch.cat([self.edge_index, other.edge_index], dim=1),
            relation_ptr=(*self.relation_ptr, *(self.num_edges + stop for stop in other.relation_ptr[1:])),
            time=torch.cat([self.time, other.time]),
            weight=torch.cat([self.weight, other.weight]),
            splits={},
            candidates={},
        )

    def single(self) -> Graph:
        """The relations whose inverse the graph does not state: those that `both_ways` adds backwards."""
        stated = {(t, schema.inverse_of, s) for (s, _, t), schema in self.schema.edges.items()}
        single = [e for e, schema in self.schema.edges.items() if schema.inverse_of is None and e not in stated]
        if len(single) == len(self.edge_types):
            return self
        if "single" not in self._views:
            self._views["single"] = self._only_types(single)
        return self._views["single"]

    def two_way_edges(self) -> dict[EdgeType, EdgeSchema]:
        """The edge types of `both_ways`, in order, without its edges. Raises KgrecError where a name is taken."""
        other = _reversed(self.single().schema)
        twice = [edge[1] for edge in other if edge in self.schema.edges]
        if twice:
            raise KgrecError(
                f"the graph has relations {some(twice)} already; say which relation each is the inverse_of"
            )
        return {**self.schema.edges, **other}

    def reversed(self) -> Graph:
        """Every edge backwards, as relation `rev_<name>`."""
        return replace(
            self,
            schema=replace(self.schema, edges=_reversed(self.schema)),
            edge_index=self.edge_index.flip(0),
            edge_features={},
            splits={},
            candidates={},
        )

    def to(self, device: str | torch.device) -> Graph:
        """The graph with its flat tensors on a device; features stay where they are."""
        device = torch.device(device)
        if device == self.device:
            return self
        return replace(
            self,
            edge_index=self.edge_index.to(device),
            time=self.time.to(device),
            weight=self.weight.to(device),
            withheld=None if self.withheld is None else self.withheld.to(device),
            splits={name: part.to(device) for name, part in self.splits.items()},
        )

    def with_nodes(self, new: Mapping[str, pd.DataFrame]) -> tuple[Graph, Tensor]:
        """Nodes appended within types, and the map from old flat numbers to new ones, LongTensor [N + 1] (pad to pad).

        Each frame has `id` and may have `label` and feature columns of the type; what it lacks is missing.
        Raises UnknownName for a node type that is not there, BadData for an id that is known.
        """
        nodes, vocabulary, features = dict(self.schema.nodes), dict(self.vocabulary), dict(self.features)
        for node_type, frame in new.items():
            if node_type not in nodes:
                raise unknown_name("node type", node_type, nodes, "in this graph")
            if "id" not in frame:
                raise KgrecError(f"the new {node_type} nodes have no column 'id'; they have {some(frame.columns, 20)}")
            schema = nodes[node_type]
            vocabulary[node_type] = vocabulary[node_type].extended(frame["id"], frame.get("label"))
            features[node_type] = {
                name: _appended(feature, name, frame) for name, feature in self.features.get(node_type, {}).items()
            }
            columns = {name: feature.schema for name, feature in features[node_type].items()}
            nodes[node_type] = replace(schema, count=schema.count + len(frame), features=columns)
        bigger = replace(
            self, schema=replace(self.schema, nodes=nodes), vocabulary=vocabulary, features=features, withheld=None
        )
        shift = torch.cat(
            [torch.arange(len(old)) + bigger.ranges[name].start for name, old in self.ranges.items()]
            + [torch.tensor([bigger.pad])]
        ).to(self.device)
        if self.withheld is not None:
            bigger = replace(bigger, withheld=shift[self.withheld])
        return bigger, shift

    # ------------------------------------------------------------------ making one

    @staticmethod
    def from_frames(
        *,
        edges: Mapping[EdgeType, pd.DataFrame],
        nodes: Mapping[str, pd.DataFrame] | None = None,
        features: Mapping[str, Mapping[str, FeatureKind]] | None = None,
        target: EdgeType | None = None,
    ) -> Graph:
        """A graph from pandas frames.

        edges: by (source type, relation, target type) a frame with `source` and `target` (external ids) and optionally
        `time` (unix seconds, or moments, which are UTC where they name no zone) and `weight`. nodes: by type a frame
        with `id`, optionally `label`, and feature columns whose kind is taken from `features` or from their type
        (numbers: numeric; strings: categorical; lists of strings: multi; arrays: vector). A type without a frame has
        the ids that its edges name, by first appearance. features: by node type, or by relation, the kinds of columns;
        of an edge frame only the columns named here are taken. target: the relation to recommend, else the first.

        Raises BadData where an edge names an id that its node frame does not have, KgrecError where a column is
        missing, UnknownName where features name a type that is not there.
        """
        from kgrec.frames import graph_from_frames

        return graph_from_frames(edges, nodes or {}, features or {}, target)

    @staticmethod
    def from_hetero(data: HeteroData, target: EdgeType | None = None) -> Graph:
        """A graph from PyG's HeteroData: `x` and other float matrices become vector features, `time` and a
        one-dimensional `weight`, `rating` or `edge_attr` are taken over; ids are the node numbers; `rev_<name>`, as
        `ToUndirected` makes it, is known as the inverse. target: else the first edge type.

        Raises KgrecError where the number of a type's nodes is not known, or two names become the same.
        """
        from kgrec.frames import graph_from_hetero

        return graph_from_hetero(data, target)

    @staticmethod
    def empty(schema: Schema) -> Graph:
        """A graph that has the schema's types and counts, and neither edges nor ids: enough to build a model of."""
        return Graph(
            schema,
            torch.empty(2, 0, dtype=torch.long),
            (0,) * (len(schema.edges) + 1),
            torch.empty(0, dtype=torch.long),
            torch.empty(0),
        )

    def to_networkx(self) -> networkx.MultiDiGraph:
        """A networkx MultiDiGraph; nodes are (type, external id) with a label, edges have relation, time and weight.

        An edge's key is its relation; where that stands already between the two nodes, (relation, how many were there).
        """
        import networkx

        result = networkx.MultiDiGraph()
        names: list[tuple[str, str]] = []
        for node_type, numbers in self.ranges.items():
            vocabulary = self.vocabulary[node_type]
            local = np.arange(len(numbers))
            keys = [(node_type, name) for name in vocabulary.ids(local)]
            names += keys
            result.add_nodes_from((key, {"label": label}) for key, label in zip(keys, vocabulary.labels(local)))
        relations = [edge[1] for edge in self.edge_types]
        for head, tail, relation, time, weight in zip(
            self.head.tolist(), self.tail.tolist(), self.relation.tolist(), self.time.tolist(), self.weight.tolist()
        ):
            source, target, name = names[head], names[tail], relations[relation]
            key = (name, result.number_of_edges(source, target)) if result.has_edge(source, target, name) else name
            when = None if time == NO_TIME else time
            result.add_edge(source, target, key, relation=name, time=when, weight=weight)
        return result

    # ------------------------------------------------------------------ on disk

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the graph folder, whole or not at all. Raises KgrecError where `path` exists or the disk refuses."""
        from kgrec.storage import save_graph

        save_graph(self, Path(path), overwrite=overwrite)

    @staticmethod
    def load(path: str | Path) -> Graph:
        """Read a graph folder. Raises KgrecError where a file is missing, truncated, altered or of a newer format."""
        from kgrec.storage import load_graph

        return load_graph(Path(path))

    def content_hash(self) -> str:
        """A hash of ids, edges, times and weights that does not depend on how they are stored."""
        digest = hashlib.blake2b(digest_size=16)
        for node_type in self.node_types:
            digest.update(node_type.encode())
            if node_type in self.vocabulary:
                digest.update("\0".join(self.vocabulary[node_type].id_array.to_pylist()).encode())
        digest.update(repr((self.edge_types, self.relation_ptr)).encode())
        for tensor in (self.edge_index, self.time, self.weight):
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
        return digest.hexdigest()


def _reversed(schema: Schema) -> dict[EdgeType, EdgeSchema]:
    return {
        (t, f"rev_{r}", s): EdgeSchema(label=f"reverse of {edge.label or r}", inverse_of=r)
        for (s, r, t), edge in schema.edges.items()
    }


def _appended(feature: Feature, name: str, frame: pd.DataFrame) -> Feature:
    old = feature.to_arrow()
    if name in frame:
        new = Feature.from_arrow(pa.array(frame[name], from_pandas=True), feature.schema).to_arrow()
    else:
        new = pa.nulls(len(frame), old.type)
    return Feature.from_arrow(pa.concat_arrays([old, new]), feature.schema)
