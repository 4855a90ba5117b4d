"""The graph: every interaction and every fact is an edge of one heterogeneous graph, kept once in flat tensors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph.edge_index import CSR, EdgeIndex
from kgrec.graph.export import content_hash, to_hetero, to_networkx
from kgrec.graph.extension import with_edges, with_nodes
from kgrec.graph.features import click_labels
from kgrec.graph.parts import GraphParts
from kgrec.graph.schema import CLICK, EdgeSchema, EdgeType, FeatureKind, Schema

if TYPE_CHECKING:
    import networkx
    import pandas as pd
    from torch_geometric.data import HeteroData


@dataclass(frozen=True, eq=False)
class Graph(GraphParts):
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

    # ------------------------------------------------------------------ what there is

    @property
    def target(self) -> EdgeType:
        """The edge type that is recommended. Raises KgrecError where the graph names none."""
        if self.schema.target is None:
            raise KgrecError(
                "this graph names no target relation; give `target:` in the recipe or target= in from_frames"
            )
        return self.schema.target

    @property
    def same_ends(self) -> bool:
        """Whether the target joins nodes of one type, as user follows user: then nobody is recommended to themselves,
        so that a node is no candidate, negative or class of its own. False without a target."""
        return self.schema.target is not None and self.schema.target[0] == self.schema.target[2]

    @property
    def pad(self) -> int:
        """The number that stands for no node: one past the last."""
        return self.num_nodes

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.edge_index.device

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
    def data(self) -> HeteroData:
        """The graph as PyG's HeteroData; its tensors are slices of the flat ones, so any PyG code runs on it."""
        return to_hetero(self)

    def clicks(self) -> Tensor:
        """Which target edges of this view are clicks, by their feature `click`: FloatTensor [target edges], 1 or 0.

        Raises KgrecError where the edges have no such feature, or one of other values.
        """
        return click_labels(self.target[1], self.edge_features.get(self.target, {}).get(CLICK)).to(self.device)

    def __repr__(self) -> str:
        nodes = ", ".join(f"{name}: {node.count:,}" for name, node in self.schema.nodes.items())
        counts = [b - a for a, b in itertools.pairwise(self.relation_ptr)]
        edges = ", ".join(f"{'-'.join(edge)}: {count:,}" for edge, count in zip(self.edge_types[:8], counts))
        more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
        return f"Graph({nodes} | {edges}{more})"

    # ------------------------------------------------------------------ edges by flat numbers

    @cached_property
    def index(self) -> EdgeIndex:
        """What is computed from the edges, each part when it is first asked for."""
        first = {name: numbers.start for name, numbers in self.ranges.items()}
        starts = [first[edge[0]] for edge in self.edge_types], [first[edge[2]] for edge in self.edge_types]
        return EdgeIndex(self.edge_index, self.relation_ptr, starts, self.time, self.num_nodes)

    @property
    def relation(self) -> Tensor:
        """Number of each edge's type, LongTensor [E]."""
        return self.index.relation

    @property
    def head(self) -> Tensor:
        """Flat source of each edge, LongTensor [E]."""
        return self.index.head

    @property
    def tail(self) -> Tensor:
        """Flat target of each edge, LongTensor [E]."""
        return self.index.tail

    @property
    def csr(self) -> CSR:
        """Edges by their source, in order of time: what each node did."""
        return self.index.csr

    @property
    def csc(self) -> CSR:
        """Edges by their target, in order of time: the same edges read backwards."""
        return self.index.csc

    def is_edge(self, head: Tensor, tail: Tensor) -> Tensor:
        """Whether there is an edge from each head [n] to each of its tails [n, K] (flat numbers). BoolTensor [n, K].

        `pad` has no edges, as head or as tail.
        """
        return self.index.is_edge(head, tail)

    def is_triple(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Whether there is an edge of each relation [n] (number of the edge type) from each head [n] to each of its
        tails [n, K] (flat numbers). BoolTensor [n, K].

        `pad` has no edges. Raises KgrecError where, on a GPU, rows and nodes are too many for one key of 64 bits.
        """
        return self.index.is_triple(head, relation, tail)

    def count_edges(self, head: Tensor, tail: Tensor) -> Tensor:
        """How many edges there are from each head to its tail (flat numbers), LongTensor of their shape."""
        return self.index.count_edges(head, tail)

    def to_networkx(self) -> networkx.MultiDiGraph:
        """A networkx MultiDiGraph; nodes are (type, external id) with a label, edges have relation, time and weight.

        An edge's key is its relation; where that stands already between the two nodes, (relation, how many were there).
        """
        return to_networkx(self)

    def content_hash(self) -> str:
        """A hash of ids, edges, times and weights that does not depend on how they are stored."""
        return content_hash(self)

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

    def where_target(self, mask: Tensor) -> Graph:
        """All but the target edges where mask (BoolTensor [target edges]) is false. Unlike `where` it keeps the lists
        of candidates, and the stored splits of the edges that stay."""
        number = self.edge_types.index(self.target)
        kept = torch.ones(self.num_edges, dtype=torch.bool, device=self.device)
        kept[self.relation_ptr[number] : self.relation_ptr[number + 1]] = mask
        splits = {name: part[mask] for name, part in self.splits.items()}
        return replace(self.where(kept), splits=splits, candidates=self.candidates)

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
        return with_nodes(self, new)

    def with_edges(self, new: Mapping[EdgeType, pd.DataFrame]) -> Graph:
        """The same nodes, and edges appended within types, behind those that are there; without stored splits and
        candidates.

        Each frame has `source` and `target`, external ids, and may have `time`, `weight` and feature columns of the
        edges; what it lacks is missing, and a weight is 1. Raises UnknownName for an edge type and for ids that are
        not there, BadData for an id that is missing.
        """
        return with_edges(self, new)

    # ------------------------------------------------------------------ making one

    @staticmethod
    def of(parts: GraphParts) -> Graph:
        """The graph of parts that were assembled or read."""
        return Graph(**{part.name: getattr(parts, part.name) for part in fields(parts)})

    @staticmethod
    def from_frames(
        *,
        edges: Mapping[EdgeType, pd.DataFrame],
        nodes: Mapping[str, pd.DataFrame] | None = None,
        features: Mapping[str, Mapping[str, FeatureKind]] | None = None,
        target: EdgeType | None = None,
    ) -> Graph:
        """A graph from pandas frames, or Arrow tables.

        edges: by (source type, relation, target type) a frame with `source` and `target` (external ids) and optionally
        `time` (unix seconds, or moments, which are UTC where they name no zone) and `weight`. nodes: by type a frame
        with `id`, optionally `label`, and feature columns whose kind is taken from `features` or from their type
        (numbers: numeric; strings: categorical; lists of strings: multi; arrays: vector). A type without a frame has
        the ids that its edges name, by first appearance. An id, label or category is the text of its value, whatever
        its type (`kgrec.column_texts`). A name that is not letters, digits and single underscores is mapped to one, and
        stays as the label. features: by node type, or by relation, the kinds of columns;
        of an edge frame only the columns named here are taken. target: the relation to recommend, else the first.

        Raises BadData where an id is missing or has no node, and for an infinite number, with the row; KgrecError where
        a column is missing, UnknownName where features name a type that is not there.
        """
        from kgrec.graph.frames import parts_from_frames

        return Graph.of(parts_from_frames(edges, nodes or {}, features or {}, target))

    @staticmethod
    def from_hetero(data: HeteroData, target: EdgeType | None = None) -> Graph:
        """A graph from PyG's HeteroData: `x` and other float matrices become vector features; `time`, and the first of
        `weight`, `rating`, `edge_weight` and `edge_attr` that is a number an edge ([E] or [E, 1]), are taken over; ids
        are the node numbers; `rev_<name>`, as `ToUndirected` makes it, is known as the inverse. What else there is, is
        left out with a warning that names it. target: else the first edge type.

        Raises KgrecError where the number of a type's nodes is not known, BadData for infinite numbers.
        """
        from kgrec.graph.hetero import parts_from_hetero

        return Graph.of(parts_from_hetero(data, target))

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

    # ------------------------------------------------------------------ on disk

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the graph folder, whole or not at all. Raises KgrecError where `path` exists or the disk refuses."""
        from kgrec.graph.storage import save_graph

        save_graph(self.to("cpu"), Path(path), overwrite=overwrite)

    @staticmethod
    def load(path: str | Path) -> Graph:
        """Read a graph folder. Raises KgrecError where a file is missing, truncated, altered or of a newer format."""
        from kgrec.graph.storage import load_parts

        return Graph.of(load_parts(Path(path)))


def _reversed(schema: Schema) -> dict[EdgeType, EdgeSchema]:
    return {
        (t, f"rev_{r}", s): EdgeSchema(label=f"reverse of {edge.label or r}", inverse_of=r)
        for (s, r, t), edge in schema.edges.items()
    }
