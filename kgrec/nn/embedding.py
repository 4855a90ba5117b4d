"""Vectors of nodes (embeddings): the only place where a node number is used as the index of a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.large_pages import in_large_pages
from kgrec.nn import steady_products
from kgrec.nn.added_rows import Holder
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.late_rows import LateRows
from kgrec.nn.node_features import NodeFeatures, NodeFeaturesConfig, has_edge
from kgrec.nn.row_shards import RowShard, drawn_rows, is_sharding, refused
from kgrec.nn.sharded_tables import ShardedTable
from kgrec.rows import NodeRows, declare_rows

Table: TypeAlias = "NodeEmbedding | Vectors | ShardedTable"  #: what vectors are looked up in
TINY = 1e-12  #: the smallest length that a vector is divided by
FEW = 16  #: rows of a table for each look-up up to which distinct rows are found by a list of all rows


class NodeEmbedding(Holder, nn.Module):
    """A vector for every node of one type, or of all types (None), looked up by flat node numbers. Any number past the
    last node (`graph.pad`, or a node added later) has the zero vector.

    With features (see NodeFeatures), a node's vector is the combination of its own part (the id part) and its features.
    A node without an edge in `graph` then has an id part of zero that is never trained, so only its features count.
    `id_dropout` does the same to other nodes at random. A look-up computes the vector of each distinct node once.

    >>> import pandas as pd
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): pd.DataFrame({"source": ["a"], "target": ["x"]})})
    >>> NodeEmbedding(graph, "film", dim=2)(torch.tensor([[1], [graph.pad]])).shape
    torch.Size([2, 1, 2])
    """

    weight: nn.Parameter  #: id parts, [N + 1, D], the last row zeros; without ids a buffer of zeros, [1, D]
    rows: RowShard | None  #: where several processes share the rows (see `kgrec.nn.row_shards`), in place of `weight`
    late: LateRows | None = None  #: during steps that move looked-up rows alone (see `kgrec.nn.look_up_steps`)

    def __init__(
        self,
        graph: Graph,
        node_type: str | None,
        dim: int,
        std: float = 0.1,
        features: NodeFeaturesConfig | None = None,
        *,
        sparse: bool = False,
        end: Literal["users", "items"] | None = None,
    ) -> None:
        """graph: with features, the edges that training sees. std: standard deviation of the initial vectors. sparse:
        gradients contain only the rows that were looked up; this is for SparseAdam and for tables that are large
        compared with a batch; `table()` passes no gradient to the ids then. end: the end of the target relation that
        this table is for; it matters where both ends are of one node type; None: for both. Raises what NodeFeatures
        raises."""
        super().__init__()
        self.sparse, self.end = sparse, end
        #: whether the vectors of all nodes are kept where features make them and nobody trains; it takes [N, D] more
        self.keeps_table = False
        self._kept: tuple[object, Tensor] | None = None  #: what they were made of, and they
        nodes = range(graph.num_nodes) if node_type is None else graph.range(node_type)
        self.node_rows = NodeRows.of(graph, *(() if node_type is None else (node_type,)))
        self.start, self.count = nodes.start, len(nodes)
        self.dim, self.has_ids = dim, features is None or features.id_embedding
        self.rows = None
        if self.has_ids and is_sharding():
            drawn = drawn_rows(self.count, dim, lambda block: nn.init.normal_(block, std=std))
            self.shard = nn.Parameter(drawn)  #: the rows of this process, [n, D]
            self.rows = RowShard(self.count, self.shard)
        elif self.has_ids:
            self.weight = nn.Parameter(in_large_pages(torch.empty(self.count + 1, dim)))
            nn.init.normal_(self.weight, std=std)
            with torch.no_grad():
                self.weight[self.count].zero_()
            declare_rows(self, weight=self.node_rows)
        else:
            self.register_buffer("weight", torch.zeros(1, dim), persistent=False)
        self.features: NodeFeatures | None = None
        if features is not None and features.features:
            types = graph.node_types if node_type is None else [node_type]
            self.features, self.id_dropout = NodeFeatures(graph, types, dim, std, features), features.id_dropout
            self.is_trained: Tensor  #: BoolTensor [N + 1], which nodes have a trained id part
            seen = functional.pad(has_edge(graph)[nodes.start : nodes.stop], (0, 1))
            self.register_buffer("is_trained", seen)

    def vectors(self) -> NodeEmbedding:
        """The table that a batch reads its vectors from."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name == "weight" and self.__dict__.get("rows") is not None:
            raise refused("the whole table of its vectors")
        return super().__getattr__(name)

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self.rows.shard.device if self.rows is not None else self.weight.device

    def row(self, node: Tensor) -> Tensor:
        """Rows of `weight` for flat nodes [*S]: LongTensor [*S]."""
        return (node - self.start).clamp(max=self.count)

    def forward(self, node: Tensor) -> Tensor:
        """node: LongTensor [*S], flat. Returns [*S, D]."""
        found = self._known(node)
        added = self.added
        return found if added is None else added.over(found, node)

    def _known(self, node: Tensor) -> Tensor:
        """The same, for nodes of the graph."""
        if self.features is not None:
            vectors, place = self.distinct(node)
            return functional.embedding(place, vectors)
        return self._of_ids(self.row(node))

    def distinct(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of the distinct nodes among [*S], followed by a row of zeros: [R + 1, D]; and for each node the
        row of its vector there: LongTensor [*S]."""
        row = self.row(node)
        if self._has_vectors_ready and steady_products.may_serve(node):
            return self._whole(), row
        if not self.by_distinct and row.device.type == "cpu" and self.count <= FEW * row.numel():
            rows, place = _distinct(row, self.count)
            return self._of_ids(rows), place
        if row.numel() > self.count and self.by_distinct and self.rows is None:
            return self._made(torch.arange(self.count + 1, device=row.device)), row
        rows, place = torch.unique(row, return_inverse=True)
        rows = functional.pad(rows, (0, 1), value=self.count)
        return self._made(rows) if self.features is not None else self._of_ids(rows), place

    def table(self) -> Tensor:
        """The vectors of all nodes of the type, in their order: [N, D]. Raises KgrecError if several processes share
        the rows."""
        if self.rows is not None:
            raise refused("the vectors of all nodes at once")
        assert self.late is None, "these steps look vectors up, and most rows are not up to date"
        if self.features is not None:
            return self._made(torch.arange(self.count, device=self.weight.device))
        if self.sparse:
            return self.weight[:-1].detach()
        if not self.weight.requires_grad or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.weight[:-1]
        found: Tensor = _AllButLast.apply(self.weight)
        return found

    def serving_table(self) -> Tensor | None:
        """The vectors of all nodes, [N, D], where they stand ready; None: they are made, or there are added ones."""
        if self.added is not None or self.rows is not None or self._wants_gradient:
            return None
        if self.features is None:
            return self.weight[:-1]
        return self._whole()[:-1] if self._serves_kept else None

    @property
    def _has_vectors_ready(self) -> bool:
        if not self._serves_kept or self.features is None or self.features.attention is not None:
            return False
        return not self._wants_gradient

    @property
    def _wants_gradient(self) -> bool:
        return torch.is_grad_enabled() and any(one.requires_grad for one in self.parameters())

    @property
    def by_distinct(self) -> bool:
        """Whether vectors are made, or fetched from other processes, of distinct nodes."""
        return self.features is not None or self.rows is not None

    @property
    def _serves_kept(self) -> bool:
        return self.keeps_table and not self.training and self.rows is None

    def _whole(self) -> Tensor:
        """The vectors of all nodes, with a row of zeros behind them: [N + 1, D]. They are made anew where a parameter
        has changed."""
        made_of = tuple((id(one), one._version) for one in (*self.parameters(), *self.buffers()))
        if self._kept is None or self._kept[0] != made_of:
            with torch.no_grad():
                self._kept = made_of, self._made(torch.arange(self.count + 1, device=self.weight.device))
        return self._kept[1]

    def norm(self, node: Tensor) -> Tensor:
        """The lengths |v| of the vectors of nodes [*S]: FloatTensor [*S]."""
        if self.late is not None:
            return self(node).norm(dim=-1)
        if self.by_distinct:
            vectors, place = self.distinct(node)
            return functional.embedding(place, vectors.norm(dim=-1, keepdim=True)).squeeze(-1)
        return functional.embedding(self.row(node), self.weight.norm(dim=-1, keepdim=True)).squeeze(-1)

    def squares(self, node: Tensor) -> Tensor:
        """The sum of |v|^2 over nodes [*S]: a scalar. A node that is listed twice counts twice. With features, only the
        id parts count. With dense gradients it is computed from the whole table and the nodes' counts, which costs less
        than looking the vectors up."""
        row = self.row(node)
        if self.late is not None:
            return self.late.squares(row)
        if self.features is not None:
            if not self.has_ids:
                return self.weight.sum()
            row = row.masked_fill(~self.is_trained[row], self.count)
        if self.rows is not None:
            rows, number = torch.unique(row, return_counts=True)
            of_rows = self.rows.vectors(rows).square().sum(-1)
            return of_rows @ number.to(of_rows.dtype)
        if self.sparse:
            return self._of_ids(row).square().sum()
        times = torch.bincount(row.reshape(-1), minlength=self.count + 1)
        return self.weight.square().sum(-1) @ times.to(self.weight.dtype)

    def feature_weights(self, node: Tensor) -> dict[str, Tensor]:
        """The attention weight of each part of the vectors of nodes [n], by name (`id`, and the columns): FloatTensor
        [n]. The weights of a node's parts sum to 1; a part that the node lacks has 0. Raises KgrecError where there are
        no features, or where they are not combined by attention."""
        if self.features is None:
            raise KgrecError("these vectors use no features, so there are no weights; set features, combine=attention")
        row = self.row(node)
        return self.features.weights(row, *self._ids(row))

    def of_profile(
        self,
        node_type: str,
        profile: Mapping[str, Feature],
        number: int,
        own: Tensor | None = None,
        has_id: Tensor | None = None,
    ) -> Tensor:
        """The vectors of new nodes of a type, from their features alone, as for a node without edges: FloatTensor
        [number, D]; zeros without features. profile: columns by name with one row for each node, as in `Query`.
        own: FloatTensor [number, D], id parts of the nodes of has_id, BoolTensor [number]. Raises what
        NodeFeatures.of_profile raises."""
        if self.features is None:
            return torch.zeros(number, self.dim, device=self.device) if own is None else own
        return self.features.of_profile(node_type, profile, number, own, has_id)

    def _of_ids(self, row: Tensor) -> Tensor:
        """The id parts of rows [*S]: [*S, D]."""
        if self.rows is not None:
            rows, place = torch.unique(row, return_inverse=True)
            return functional.embedding(place, self.rows.vectors(rows))
        if self.late is not None:
            return self.late.look_up(row)
        return functional.embedding(row, self.weight, padding_idx=self.count, sparse=self.sparse)

    def _ids(self, row: Tensor) -> tuple[Tensor | None, Tensor]:
        """The id parts of rows [n]: [n, D], or None without ids; and which rows have one: BoolTensor [n]."""
        there = self.is_trained[row]
        if not self.has_ids:
            return None, there
        if self.training and self.id_dropout:
            there = there & (torch.rand(len(row), device=row.device) >= self.id_dropout)
        return self._of_ids(row.masked_fill(~there, self.count)), there

    def _made(self, row: Tensor) -> Tensor:
        """The vectors of distinct rows [n], combined from ids and features: [n, D]."""
        assert self.features is not None
        vectors: Tensor = self.features(row, *self._ids(row))
        return vectors


def dot(vector: Tensor, table: Table, node: Tensor) -> Tensor:
    """Dot products of vectors with the vectors of nodes. vector: [B, D]; node: LongTensor [C], the same nodes for all
    vectors, or [B, C], a list for each vector. Returns [B, C].

    With lists it is `(vector.unsqueeze(1) * table(node)).sum(-1)`. On the CPU a compiled loop reads the table's rows in
    place and adds gradients in place, so that no tensor [B, C, D] is created.
    """
    if node.dim() == 1:
        return _dot_of_shared(vector, table, node)
    if isinstance(table, ShardedTable) or (isinstance(table, NodeEmbedding) and table.by_distinct):
        return _product(vector, *table.distinct(node))
    if isinstance(table, NodeEmbedding) and table.late is not None:
        return table.late.dot(vector, table.row(node))
    if _has_kernel(vector, table.weight):
        product: Tensor = _Dot.apply(vector, table.weight, table.row(node))
        return product
    return (vector.unsqueeze(1) * table(node)).sum(-1)


def _dot_of_shared(vector: Tensor, table: Table, node: Tensor) -> Tensor:
    """Dot products of vectors [B, D] with those of nodes [C], the same for all: [B, C].

    Where no gradient of the table is wanted, as where a model serves or folds in users, the vectors of a range of
    nodes, such as a whole catalog, are not copied. Nor are those of most nodes, as a filter leaves them: for a few
    vectors it costs less to choose scores than to copy vectors."""
    whole = table.serving_table() if steady_products.may_serve(node) and len(node) else None
    if whole is not None:
        first, last = (int(end) - table.start for end in node.aminmax())
        if first >= 0 and last < len(whole):
            span = last + 1 - first
            if len(node) == span and torch.equal(node, torch.arange(first, last + 1, device=node.device) + table.start):
                return steady_products.product(vector, whole[first : last + 1])
            if 2 * len(node) >= len(whole) and 2 * len(vector) <= vector.shape[1]:
                return steady_products.product(vector, whole).index_select(1, node - table.start)
    return steady_products.product(vector, table(node))


def vector_tables(model: nn.Module) -> list[NodeEmbedding]:
    """All tables of id vectors in a model. Tables of one column are biases and are left out."""
    tables = [module for module in model.modules() if isinstance(module, NodeEmbedding)]
    return [table for table in tables if table.has_ids and table.dim > 1]


def cosine(vector: Tensor, table: Table, node: Tensor, magnitude: float = 0.0) -> Tensor:
    """As `dot`, but cosines, each times |v|^magnitude, where v is the node's vector; 0 where either vector is zero."""
    vector = functional.normalize(vector, dim=-1)
    if isinstance(table, ShardedTable) or (isinstance(table, NodeEmbedding) and table.by_distinct):
        vectors, place = table.distinct(node)
        return _product(vector, vectors * _scale(vectors.norm(dim=-1, keepdim=True), magnitude), place)
    return dot(vector, table, node) * _scale(table.norm(node), magnitude)


def _scale(norm: Tensor, magnitude: float) -> Tensor:
    """The factors that bring vectors of these lengths to the length |v|^magnitude."""
    return norm.clamp(min=TINY) ** (magnitude - 1)


def scaled(vectors: Tensor, magnitude: float) -> Tensor:
    """Vectors [N, D] scaled to the length |v|^magnitude, as `cosine` weights the vectors of a table."""
    return vectors * _scale(vectors.norm(dim=-1, keepdim=True), magnitude)


def _product(vector: Tensor, table: Tensor, row: Tensor) -> Tensor:
    """`dot` with rows of a table [R + 1, D] whose last row is zeros. row: LongTensor [C] or [B, C]."""
    if row.dim() == 1:
        return steady_products.product(vector, functional.embedding(row, table))
    if _has_kernel(vector, table):
        product: Tensor = _Dot.apply(vector, table, row)
        return product
    return (vector.unsqueeze(1) * functional.embedding(row, table)).sum(-1)


def _has_kernel(vector: Tensor, table: Tensor) -> bool:
    return vector.device.type == "cpu" and vector.dtype == torch.float32 and table.dtype == torch.float32


def _distinct(row: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The distinct numbers among `row`, LongTensor [*S] from 0 to count, and `count` behind them: [R + 1]; and where
    each of `row` stands among them: LongTensor [*S]."""
    from kgrec.nn import touched_rows

    found, place = torch.empty(min(row.numel(), count) + 1, dtype=torch.long), torch.empty_like(row)
    place_of, flat = torch.full((count + 1,), -1), (row.reshape(-1), place.view(-1))
    asked, where = (one.numpy() for one in flat)
    number = touched_rows.distinct(asked, count, place_of.numpy(), where, found.numpy(), 0)
    found[number] = count
    return found[: number + 1], place.masked_fill_(place < 0, number)


class _AllButLast(torch.autograd.Function):
    """All rows of a table but the last one. torch's gradient of a slice would first write zeros to all of it."""

    @staticmethod
    def forward(ctx: Any, table: Tensor) -> Tensor:
        return table[:-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        of_table = gradient.new_empty(len(gradient) + 1, *gradient.shape[1:])
        of_table[:-1] = gradient
        of_table[-1] = 0
        return of_table


class _Dot(torch.autograd.Function):
    """`dot` on the CPU. The last row of the table belongs to no node and gets no gradient."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, table: Tensor, column: Tensor) -> Tensor:
        from kgrec.nn import vector_kernels

        ctx.save_for_backward(vector, table, column)
        out = torch.empty(column.shape)
        vector_kernels.pair_products(*_arrays(vector, table, column, out))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        from kgrec.nn import vector_kernels

        vector, table, column = ctx.saved_tensors
        of_vector = torch.zeros_like(vector)
        if not ctx.needs_input_grad[1]:
            vector_kernels.add_vector_gradients(*_arrays(table, column, gradient, of_vector))
            return of_vector, None, None
        of_table = torch.zeros_like(table)
        vector_kernels.add_pair_gradients(*_arrays(vector, table, column, gradient, of_vector, of_table))
        of_table[-1] = 0
        return of_vector, of_table, None


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
