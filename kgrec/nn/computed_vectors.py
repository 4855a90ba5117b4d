"""Vectors that a model computes, read in the same way as vectors that it stores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


class Vectors:
    """Vectors that a model computed for a range of nodes. They are looked up by flat node numbers, as in a
    NodeEmbedding; any number past the last node has the zero vector."""

    def __init__(self, start: int, vector: Tensor, find: Callable[[Tensor], Tensor] | None = None) -> None:
        """vector: [N + 1, D], the last row zeros. find: for nodes that are not a range, a function from flat nodes to
        their rows, -1 for a node without a vector."""
        self.start, self.count, self.weight, self.find = start, len(vector) - 1, vector, find

    def row(self, node: Tensor) -> Tensor:
        """Rows of `weight` for flat nodes [*S]: LongTensor [*S]."""
        if self.find is not None:
            row = self.find(node)
            return row.masked_fill(row < 0, self.count)
        return (node - self.start).clamp(max=self.count)

    def __call__(self, node: Tensor) -> Tensor:
        """node: LongTensor [*S], flat. Returns [*S, D]."""
        return functional.embedding(self.row(node), self.weight)

    def table(self) -> Tensor:
        """The vectors of all nodes of the range: [N, D]."""
        return self.weight[:-1]

    def serving_table(self) -> Tensor | None:
        """The vectors of all nodes of the range, [N, D]; None where they are not a range, or a gradient is wanted."""
        wants_gradient = self.weight.requires_grad and torch.is_grad_enabled()
        return self.table() if self.find is None and not wants_gradient else None

    def norm(self, node: Tensor) -> Tensor:
        """The lengths |v| of the vectors of nodes [*S]: FloatTensor [*S]."""
        return functional.embedding(self.row(node), self.weight.norm(dim=-1, keepdim=True)).squeeze(-1)
