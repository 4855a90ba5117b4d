"""Tables of vectors whose rows are kept by several processes, beside those of NodeEmbedding: of layers from other
packages, and of vectors that a model computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from kgrec.nn.row_shards import BLOCK, RowShard, drawn_rows, num_own


class ShardedTable(nn.Module):
    """Vectors of a range of nodes, of which each process keeps some rows (see `kgrec.nn.row_shards`). They are looked
    up by flat node numbers, as in a NodeEmbedding; any number past the last node has the zero vector."""

    shard: Tensor  #: the rows of this process, [n, D]; a parameter if they are trained, else a buffer

    def __init__(self, start: int, count: int, shard: Tensor, whole: str) -> None:
        """start: the first node's flat number; count: N; shard, whole: as in RowShard."""
        super().__init__()
        if isinstance(shard, nn.Parameter):
            self.shard = shard
        else:
            self.register_buffer("shard", shard)
        self.start, self.count = start, count
        self.rows = RowShard(count, shard, whole)

    @staticmethod
    def computed(nodes: range, dim: int) -> ShardedTable:
        """A table of zeros for vectors that a model computes. With all rows it is a buffer [N + 1, D] of this name."""
        return ShardedTable(nodes.start, len(nodes), torch.zeros(num_own(len(nodes)), dim), whole="")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ShardedTable:
        super()._apply(fn, recurse)
        self.rows.shard = self.shard  # moving a buffer to a device makes another tensor
        self.rows.forget()
        return self

    def row(self, node: Tensor) -> Tensor:
        """Rows of flat nodes [*S]: LongTensor [*S]."""
        return (node - self.start).clamp(max=self.count)

    def distinct(self, node: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of the distinct nodes among [*S], followed by a row of zeros: [R + 1, D]; and for each node the
        row of its vector there: LongTensor [*S]."""
        rows, place = torch.unique(self.row(node), return_inverse=True)
        return self.rows.vectors(functional.pad(rows, (0, 1), value=self.count)), place

    def forward(self, node: Tensor) -> Tensor:
        """node: LongTensor [*S], flat. Returns [*S, D]."""
        vectors, place = self.distinct(node)
        return functional.embedding(place, vectors)

    def norm(self, node: Tensor) -> Tensor:
        """The lengths |v| of the vectors of nodes [*S]: FloatTensor [*S]."""
        vectors, place = self.distinct(node)
        return functional.embedding(place, vectors.norm(dim=-1, keepdim=True)).squeeze(-1)

    def squares(self, node: Tensor) -> Tensor:
        """The sum of |v|^2 over nodes [*S]: a scalar. A node that is listed twice counts twice."""
        rows, number = torch.unique(self.row(node), return_counts=True)
        of_rows = self.rows.vectors(rows).square().sum(-1)
        return of_rows @ number.to(of_rows.dtype)

    def serving_table(self) -> None:
        """The vectors of all nodes: they do not stand ready."""
        return

    @torch.no_grad()
    def set_columns(self, vectors: Callable[[Tensor], Tensor], first: int) -> int:
        """Set K columns of the rows of this process, from the column `first` on. vectors: a function from some nodes,
        LongTensor [n], ascending, to their values, [n, K]. Returns the column behind them."""
        stop, place = first, 0
        for row in self.rows.own.split(BLOCK):
            found = vectors(row + self.start)
            stop = first + found.shape[1]
            self.shard[place : place + len(row), first:stop] = found
            place += len(row)
        return stop


class _Rows(int):
    """The number of a table's rows, the last of which stands for padding."""


class _DrawnInBlocks(TorchFunctionMode):
    """Inside this context, a tensor that is made with `_Rows` rows takes no memory. Where it is filled with random
    numbers, they are drawn block by block, and this process keeps its own rows in `drawn`."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: dict[int, Tensor] = {}  #: by the tensor's id

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and args and isinstance(args[0], tuple) and isinstance(args[0][0], _Rows):
            return torch.empty(tuple(map(int, args[0])), device="meta")
        fills = (nn.init.normal_, nn.init.uniform_, Tensor.normal_, Tensor.uniform_)
        if func in fills:
            tensor, *others = args or (kwargs.pop("tensor"),)
            kwargs.pop("tensor", None)
            if tensor.is_meta:
                count, dim = tensor.shape
                self.drawn[id(tensor)] = drawn_rows(count - 1, dim, lambda block: func(block, *others, **kwargs))
                return tensor
            return func(tensor, *others, **kwargs)
        return func(*args, **kwargs)


def with_sharded_rows(make: Callable[[int], nn.Module], count: int) -> nn.Module:
    """A module whose tables of nodes keep only the rows of this process, with the initial values that they have in one
    process.

    make: makes the module, which has an nn.Embedding for each table, from the number of rows of a table; count: N,
    without the row for padding."""
    with _DrawnInBlocks() as mode:
        made = make(_Rows(count + 1))
    for name, table in _embeddings(made):
        if table.weight.is_meta:
            setattr(made, name, ShardedTable(0, count, nn.Parameter(mode.drawn[id(table.weight)]), whole="weight"))
    return made


def _embeddings(module: nn.Module) -> Iterator[tuple[str, nn.Embedding]]:
    return ((name, one) for name, one in list(module.named_children()) if isinstance(one, nn.Embedding))
