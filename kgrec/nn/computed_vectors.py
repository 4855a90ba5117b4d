"""Vectors that a model made, read as those that it holds."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional


class Vectors:
    """Vectors that a model made for the nodes of a range, read by flat numbers as a NodeEmbedding is; any number past
    the last has the zero vector."""

    def __init__(self, start: int, vector: Tensor, find: Callable[[Tensor], Tensor] | None = None) -> None:
        """vector: [N + 1, D], the last row zeros. find: where they stand in no range, flat nodes to their rows, -1 for
        those that have none."""
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

    def norm(self, node: Tensor) -> Tensor:
        """|v| of nodes [*S], FloatTensor [*S]."""
        return functional.embedding(self.row(node), self.weight.norm(dim=-1, keepdim=True)).squeeze(-1)
