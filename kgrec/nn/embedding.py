"""Vectors of nodes: the only place where a node number indexes a parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.nn.vectors import Vectors

TINY = 1e-12  #: the least length that a vector is divided by


class NodeEmbedding(nn.Module):
    """A vector for every node of one type, or of all types (None), looked up by flat numbers; any number past the last
    (`graph.pad`, a node added later) has the zero vector.

    >>> import pandas as pd
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): pd.DataFrame({"source": ["a"], "target": ["x"]})})
    >>> NodeEmbedding(graph, "film", dim=2)(torch.tensor([[1], [graph.pad]])).shape
    torch.Size([2, 1, 2])
    """

    def __init__(
        self, graph: Graph, node_type: str | None, dim: int, std: float = 0.1, *, sparse: bool = False
    ) -> None:
        """std: of the vectors at the start. sparse: gradients hold the rows that were looked up alone, for SparseAdam
        and tables that are large beside a batch; `table()` has none then."""
        super().__init__()
        self.sparse = sparse
        nodes = range(graph.num_nodes) if node_type is None else graph.range(node_type)
        self.start, self.count = nodes.start, len(nodes)
        self.weight = nn.Parameter(torch.empty(self.count + 1, dim))  #: [N + 1, D], the last row is zero
        nn.init.normal_(self.weight, std=std)
        with torch.no_grad():
            self.weight[self.count].zero_()

    def vectors(self) -> NodeEmbedding:
        """What the vectors of a batch are read from."""
        return self

    def row(self, node: Tensor) -> Tensor:
        """Rows of `weight` for flat nodes [*S]: LongTensor [*S]."""
        return (node - self.start).clamp(max=self.count)

    def forward(self, node: Tensor) -> Tensor:
        """node: LongTensor [*S], flat. Returns [*S, D]."""
        return functional.embedding(self.row(node), self.weight, padding_idx=self.count, sparse=self.sparse)

    def table(self) -> Tensor:
        """The vectors of all nodes of the type, in their order: [N, D]."""
        return self.weight[:-1].detach() if self.sparse else self.weight[:-1]

    def norm(self, node: Tensor) -> Tensor:
        """|v| of nodes [*S], read from the table's own: FloatTensor [*S]."""
        return functional.embedding(self.row(node), self.weight.norm(dim=-1, keepdim=True)).squeeze(-1)

    def squares(self, node: Tensor) -> Tensor:
        """The sum of |v|^2 over nodes [*S], each as often as it stands there: a scalar. Read from the table by counts,
        which costs less than looking the vectors up where gradients are dense."""
        if self.sparse:
            return self(node).square().sum()
        times = torch.bincount(self.row(node).reshape(-1), minlength=self.count + 1)
        return self.weight.square().sum(-1) @ times.to(self.weight.dtype)


def dot(vector: Tensor, table: NodeEmbedding | Vectors, node: Tensor) -> Tensor:
    """Dot products of vectors with nodes' own. vector: [B, D]; node: LongTensor [C], the same for all, or [B, C], each
    vector's own list. Returns [B, C].

    With lists it is `(vector.unsqueeze(1) * table(node)).sum(-1)`. On the CPU the table is read where its rows lie, and
    gradients are added where they belong, which saves laying out [B, C, D] three times.
    """
    if node.dim() == 1:
        return vector @ table(node).T
    if vector.device.type != "cpu" or vector.dtype != torch.float32 or table.weight.dtype != torch.float32:
        return (vector.unsqueeze(1) * table(node)).sum(-1)
    product: Tensor = _Dot.apply(vector, table.weight, table.row(node))
    return product


def cosine(vector: Tensor, table: NodeEmbedding | Vectors, node: Tensor) -> Tensor:
    """Cosines, as `dot`; 0 where either vector is zero."""
    return dot(functional.normalize(vector, dim=-1), table, node) / table.norm(node).clamp(min=TINY)


class _Dot(torch.autograd.Function):
    """`dot` on the CPU; the last row of the table is no node's, and has no gradient."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, table: Tensor, column: Tensor) -> Tensor:
        from kgrec import kernels

        ctx.save_for_backward(vector, table, column)
        out = torch.empty(column.shape)
        kernels.pair_products(*_arrays(vector, table, column, out))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        from kgrec import kernels

        vector, table, column = ctx.saved_tensors
        of_vector, of_table = torch.zeros_like(vector), torch.zeros_like(table)
        kernels.add_pair_gradients(*_arrays(vector, table, column, gradient, of_vector, of_table))
        of_table[-1] = 0
        return of_vector, of_table, None


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
