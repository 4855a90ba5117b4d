"""The graph: every interaction and every fact is an edge of one heterogeneous graph, stored in flat tensors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph.edge_index import CSR, EdgeIndex
from kgrec.graph.export import content_hash, to_hetero, to_networkx
from kgrec.graph.features import click_labels
from kgrec.graph.parts import GraphParts
from kgrec.graph.schema import CLICK, EdgeSchema, EdgeType, FeatureKind, Schema
from kgrec.memory import must_fit
from kgrec.progress import Task, working

TWO_WAYS = 84  #: bytes for each edge while edges are copied in both directions

if TYPE_CHECKING:
    import networkx
    import pandas as pd
    from torch_geometric.data import HeteroData


@dataclass(frozen=True, eq=False)
class Graph(GraphParts):
    """A directed multigraph over users, items, attributes and entities, with types and times.

    Edges are stored in flat tensors, grouped by edge type. Node numbers in `edge_index` are local: they start from 0 in
    each node type. Computation uses flat numbers, the local number plus the offset of the type, so the nodes of a type
    are a range. `pad`, one past the last flat number, stands for no node. A graph is never changed: `only`, `before`,
    `where`, `both_ways`, `reversed` and `to` return new graphs.

    >>> import pandas as pd
    >>> rows = [("ann", "Alien", 3), ("bob", "Alien", 5), ("ann", "Brazil", 4)]
    >>> rated = pd.DataFrame(rows, columns=["source", "target", "time"])
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): rated})
    >>> graph
    Graph(user: 2, film: 2 | user-rated-film: 3)
    >>> graph.head.tolist(), graph.tail.tolist(), graph.before(5).num_edges
    ([0, 1, 0], [2, 2, 3], 2)
    """

    # ------------------------------------------------------------------ nodes and types

    @property
    def target(self) -> EdgeType:
        """The edge type that is recommended. Raises KgrecError if the graph has none."""
        if self.schema.target is None:
            raise KgrecError(
                "this graph has no target relation; name it with `target:` in the recipe or target= in from_frames"
            )
        return self.schema.target

    @property
    def same_ends(self) -> bool:
        """Whether the target joins nodes of one type, such as user follows user. Then a node is never its own
        candidate, negative or softmax class, so that nobody is recommended to themselves. False without a target."""
        return self.schema.target is not None and self.schema.target[0] == self.schema.target[2]

    @property
    def pad(self) -> int:
        """The flat number that stands for no node: one past the last node."""
        return self.num_nodes

    @property
    def device(self) -> torch.device:
        """The device of its tensors."""
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
        """Flat numbers of the nodes that training may use as negatives or softmax classes: all except the withheld
        ones."""
        nodes = self.nodes(node_type)
        return nodes if self.withheld is None else nodes[~torch.isin(nodes, self.withheld)]

    def flat(self, node_type: str, ids: object) -> Tensor:
        """Flat numbers of external ids, LongTensor [n]. Raises UnknownName with the unknown ids."""
        start = self.range(node_type).start
        return self.vocabulary[node_type].numbers(ids, what=node_type).to(self.device) + start

    @cached_property
    def data(self) -> HeteroData:
        """The graph as PyG's HeteroData, for use with PyG code. Its tensors are slices of the flat tensors."""
        return to_hetero(self)

    def clicks(self) -> Tensor:
        """Which target edges of this view are clicks, by their feature `click`: FloatTensor [target edges], 1 or 0.

        Raises KgrecError if the edges have no such feature, or if it has other values.
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
        """Data computed from the edges, each part when it is first used."""
        first = {name: numbers.start for name, numbers in self.ranges.items()}
        starts = [first[edge[0]] for edge in self.edge_types], [first[edge[2]] for edge in self.edge_types]
        mapped = None
        if self.mapped is not None:
            from kgrec.graph.mapped_index import Ends, MappedIndex

            ends = Ends(self.edge_index.numpy(), self.time.numpy(), self.relation_ptr, starts, self.num_nodes)
            mapped = MappedIndex(self.mapped.folder, ends)
        return EdgeIndex(self.edge_index, self.relation_ptr, starts, self.time, self.num_nodes, mapped)

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
        """Edges grouped by source, in order of time: the history of each node."""
        return self.index.csr

    @property
    def csc(self) -> CSR:
        """Edges grouped by target, in order of time."""
        return self.index.csc

    def is_edge(self, head: Tensor, tail: Tensor) -> Tensor:
        """Whether there is an edge from each head [n] to each of its tails [n, K] (flat numbers). BoolTensor [n, K].

        `pad` has no edges, as head or as tail.
        """
        return self.index.is_edge(head, tail)

    def is_triple(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Whether there is an edge of each relation [n] (number of the edge type) from each head [n] to each of its
        tails [n, K] (flat numbers). BoolTensor [n, K].

        `pad` has no edges. Raises KgrecError if, on a GPU, there are too many rows and nodes for a key of 64 bits.
        """
        return self.index.is_triple(head, relation, tail)

    def count_edges(self, head: Tensor, tail: Tensor) -> Tensor:
        """The number of edges from each head to its tail (flat numbers): LongTensor of their shape."""
        return self.index.count_edges(head, tail)

    def to_networkx(self) -> networkx.MultiDiGraph:
        """The graph as a networkx MultiDiGraph. Nodes are (type, external id) with a label; edges have relation, time
        and weight.

        An edge's key is its relation. If the two nodes already have an edge with this key, it is (relation, number of
        edges between the two nodes so far).
        """
        return to_networkx(self)

    def content_hash(self) -> str:
        """A hash of ids, edges, times and weights. It does not depend on how they are stored."""
        if "_loaded_from" in vars(self) and self.mapped is not None:
            return str(self.mapped.folder.note("content_hash"))  # computed when the arrays were made
        return content_hash(self)

    # ------------------------------------------------------------------ views

    def only(self, *names: str | EdgeType) -> Graph:
        """The same nodes, and only the edges of these relations; a name stands for all edge types with this relation.
        Raises UnknownName."""
        kept = self.schema.edge_types(*names)
        if kept == self.edge_types:
            return self
        if len(kept) == 1:
            return self._one_relation(kept[0])
        numbers = [self.edge_types.index(edge) for edge in kept]
        if self.mapped is not None:
            return self._only_mapped(numbers)
        parts = [torch.arange(self.relation_ptr[n], self.relation_ptr[n + 1], device=self.device) for n in numbers]
        sizes = [len(part) for part in parts]
        index = torch.cat(parts) if parts else torch.empty(0, dtype=torch.long, device=self.device)
        return self._edges_at(index, kept, (0, *itertools.accumulate(sizes)))

    def _one_relation(self, edge_type: EdgeType) -> Graph:
        """A view of one relation: a slice, not a copy. It is kept, so that its indexes are built only once."""
        if edge_type not in self._views:
            number = self.edge_types.index(edge_type)
            self._views[edge_type] = self._slice(number, number + 1)
        return self._views[edge_type]

    def _slice(self, first: int, last: int) -> Graph:
        """A view of consecutive relations, from position `first` to before `last`: a slice, not a copy."""
        start, stop = self.relation_ptr[first], self.relation_ptr[last]
        ptr = tuple(at - start for at in self.relation_ptr[first : last + 1])
        view = self._edges_at(slice(start, stop), self.edge_types[first:last], ptr)
        if self.mapped is None:
            return view
        from kgrec.graph.mapped_edges import mapped_slice

        return Graph.of(mapped_slice(self.mapped, view, f"relations-{first}-{last}"))

    def _only_mapped(self, numbers: Sequence[int]) -> Graph:
        """The same of a graph that is mapped from files, for several relations. numbers: their positions, ascending."""
        if list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
            return self._slice(numbers[0], numbers[-1] + 1)
        mask, sizes = self.room(self.num_edges, torch.bool), list[int]()
        for number in numbers:
            start, stop = self.relation_ptr[number], self.relation_ptr[number + 1]
            mask[start:stop] = True
            sizes.append(stop - start)
        view = self._edges_at(slice(0, 0), [self.edge_types[number] for number in numbers], (0,))
        return self._kept(view, mask, (0, *itertools.accumulate(sizes)))

    def _kept(self, view: Graph, mask: Tensor, ptr: tuple[int, ...]) -> Graph:
        """A view with the edges of this mapped graph where a mask is true. ptr: its `relation_ptr`."""
        from kgrec.graph.mapped_edges import kept_edges

        assert self.mapped is not None
        return Graph.of(kept_edges(self.mapped, view, mask, ptr))

    def room(self, number: int, kind: torch.dtype) -> Tensor:
        """A tensor of zeros for `number` values of edges, such as a mask, on the graph's device. If the graph is mapped
        from files and large, it is in a file that only this process uses."""
        if self.mapped is None:
            return torch.zeros(number, dtype=kind, device=self.device)
        return self.mapped.room(number, kind)

    @cached_property
    def _views(self) -> dict[EdgeType | Literal["single"], Graph]:
        """The views that are kept: those of one relation, and `single`."""
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
        """The edges that histories are read from: these relations between the target's two node types; if empty, the
        target alone. Raises UnknownName."""
        self.target  # noqa: B018 - raises if the graph has none
        return self.only(*self.schema.behaviours(behaviours))

    def facts(self) -> Graph:
        """All edges that are not interactions: attributes and knowledge-graph relations."""
        ends = self.target[0], self.target[2]
        return self._only_types([edge for edge in self.edge_types if (edge[0], edge[2]) != ends])

    def before(self, time: int) -> Graph:
        """Edges strictly before a time (unix seconds), and all facts."""
        return self.where(self.time < time)

    def where(self, mask: Tensor) -> Graph:
        """Only the edges where mask (BoolTensor [E]) is true. The new graph holds nothing of the other edges."""
        counts = [int(torch.count_nonzero(mask[start:stop])) for start, stop in itertools.pairwise(self.relation_ptr)]
        ptr = (0, *itertools.accumulate(counts))
        if self.mapped is not None:
            view = self._kept(self._edges_at(slice(0, 0), self.edge_types, ptr), mask, ptr)
        else:
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
        """Without the target edges where mask (BoolTensor [target edges]) is false; all other edges stay. Unlike
        `where`, it keeps the lists of candidates, and the stored splits of the remaining edges."""
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
        """Adds every edge backwards, as relation `rev_<name>`, unless the graph has the inverse relation itself."""
        single = self.single()
        if not single.edge_types:
            return self
        must_fit(
            TWO_WAYS * self.num_edges,
            f"a copy of {self.num_edges:,} edges in both directions",
            "choose a model that does not need it, such as mf, sasrec, or kgat with --set fanouts=[10,10,5]",
        )
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
        """The relations without an inverse in the graph: those that `both_ways` adds backwards."""
        stated = {(t, schema.inverse_of, s) for (s, _, t), schema in self.schema.edges.items()}
        single = [e for e, schema in self.schema.edges.items() if schema.inverse_of is None and e not in stated]
        if len(single) == len(self.edge_types):
            return self
        if "single" not in self._views:
            self._views["single"] = self._only_types(single)
        return self._views["single"]

    def two_way_edges(self) -> dict[EdgeType, EdgeSchema]:
        """The edge types of `both_ways`, in order, without building it. Raises KgrecError if a name is already used."""
        other = _reversed(self.single().schema)
        twice = [edge[1] for edge in other if edge in self.schema.edges]
        if twice:
            raise KgrecError(
                f"the graph already has relations {some(twice)}, the names of inverse relations; mark each with "
                "inverse_of, or rename it"
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
        """The graph with its flat tensors on a device. Features stay where they are."""
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
        """The graph with nodes appended to their types, and the map from old to new flat numbers, LongTensor [N + 1],
        where pad maps to pad.

        Each frame has a column `id`, and optionally `label` and feature columns of the type; values of other features
        are missing. Raises UnknownName for an unknown node type, BadData for an id that the graph already has.
        """
        from kgrec.graph.extension import with_nodes

        return with_nodes(self, new)

    def with_edges(self, new: Mapping[EdgeType, pd.DataFrame]) -> Graph:
        """The graph with edges appended to their types, without stored splits and candidates, which belong to the old
        edges.

        Each frame has the columns `source` and `target` (external ids), and optionally `time`, `weight` and feature
        columns of the edges. Without a weight it is 1; values of other features are missing. Raises UnknownName for an
        unknown edge type or id, BadData for a missing id.
        """
        from kgrec.graph.extension import with_edges

        return with_edges(self, new)

    # ------------------------------------------------------------------ building a graph

    @staticmethod
    def of(parts: GraphParts) -> Graph:
        """The graph of these parts, which were assembled from data or read from a folder."""
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

        edges: for each (source type, relation, target type) a frame with the columns `source` and `target` (external
        ids), and optionally `time` (unix seconds, or timestamps; those without a time zone are UTC) and `weight`.

        nodes: for each type a frame with the column `id`, optionally `label`, and feature columns. The kind of a
        feature is read from `features` or inferred from the column (numbers: numeric; strings: categorical; lists of
        strings: multi; arrays: vector). A type without a frame has the ids that occur in its edges, in order of
        appearance.

        features: the kinds of columns, by node type or by relation. Of an edge frame, only the columns named here are
        used as features. target: the relation to recommend; None: the first.

        Ids, labels and categories of any type are converted to text (`kgrec.column_texts`). A type or relation whose
        name is not letters, digits and single underscores gets such a name, and its own name becomes its label.

        Raises BadData with the row for a missing id, an id without a node and an infinite number; KgrecError for a
        missing column; UnknownName if `features` names an unknown type or relation.
        """
        from kgrec.graph.frames import parts_from_frames

        return Graph.of(parts_from_frames(edges, nodes or {}, features or {}, target))

    @staticmethod
    def from_hetero(data: HeteroData, target: EdgeType | None = None) -> Graph:
        """A graph from PyG's HeteroData.

        `x` and other float matrices of nodes become vector features. Of edges, it reads `time`, and as weight the first
        of `weight`, `rating`, `edge_weight` and `edge_attr` that has one number for each edge ([E] or [E, 1]). Ids are
        the node numbers. A relation `rev_<name>`, as `ToUndirected` makes it, becomes the inverse of `<name>`. A
        warning names everything else, which is left out. target: None: the first edge type.

        Raises KgrecError if the number of nodes of a type is not known, BadData for infinite numbers.
        """
        from kgrec.graph.hetero import parts_from_hetero

        return Graph.of(parts_from_hetero(data, target))

    @staticmethod
    def empty(schema: Schema) -> Graph:
        """A graph with the types and counts of the schema, but without edges and ids. It is enough to build a model."""
        return Graph(
            schema,
            torch.empty(2, 0, dtype=torch.long),
            (0,) * (len(schema.edges) + 1),
            torch.empty(0, dtype=torch.long),
            torch.empty(0),
        )

    # ------------------------------------------------------------------ on disk

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the graph folder, completely or not at all. Raises KgrecError if `path` exists (unless `overwrite`),
        and if writing fails."""
        from kgrec.graph.storage import save_graph

        save_graph(self.to("cpu"), Path(path), overwrite=overwrite)

    @staticmethod
    def load(path: str | Path, mmap: bool | None = False) -> Graph:
        """Read a graph folder.

        mmap: map edges, ids and features from files instead of reading them into memory, for graphs that are larger
        than the memory. The files are in the folder `arrays` (see `kgrec.graph.array_folder`); they are made when they
        are first needed, and belong to all processes. What is computed from the edges is kept there too. None: only if
        the graph would take more than a quarter of the memory.

        Raises KgrecError if a file is missing, truncated, altered or of a newer format, and if arrays cannot be
        written, for example because the disk is full.
        """
        from kgrec.graph.storage import load_parts

        if mmap is False:
            with working(Task(f"loading {Path(path).name}")):
                return Graph.of(load_parts(Path(path)))
        from kgrec.graph.mapped_storage import is_large, load_mapped

        if mmap is None and not is_large(Path(path)):
            return Graph.load(path, False)
        with working(Task(f"loading {Path(path).name}")):
            graph = Graph.of(load_mapped(Path(path)))
        vars(graph)["_loaded_from"] = Path(path).resolve()
        return graph

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A mapped graph is sent to another process as the path of its folder, where it is mapped again."""
        if "_loaded_from" in vars(self):
            return Graph.load, (vars(self)["_loaded_from"], True)
        return super().__reduce_ex__(protocol)


def _reversed(schema: Schema) -> dict[EdgeType, EdgeSchema]:
    return {
        (t, f"rev_{r}", s): EdgeSchema(label=f"reverse of {edge.label or r}", inverse_of=r)
        for (s, r, t), edge in schema.edges.items()
    }
