"""Look-ups of a table's rows whose gradients are kept by row, while LateAdam moves the rows of a batch alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kgrec.nn.row_steps import LateAdam


class LateRows:
    """The rows of a table that a step looks up. Each look-up brings its rows up to date; gradients are added up in one
    tensor with a row for each distinct one, and `step` moves them. The table's own gradient stays None.

    The table's last row is padding: it gets no gradient.
    """

    def __init__(self, adam: LateAdam, index: int) -> None:
        """index: that of the table among those of `adam`."""
        self.adam, self.index, self.table = adam, index, adam.tables[index]
        self.touched = np.empty(len(self.table), np.int64)  #: its first `number` are the rows of this step
        self.number = 0
        self._gradient: np.ndarray | None = None
        self.decay = np.zeros(len(self.table), np.float32)  #: of the step's rows, as `LateAdam.move` takes it

    @property
    def value(self) -> np.ndarray:
        """The table: float32 [N + 1, D]. Only rows that the step has looked up are up to date."""
        return self.adam.rows[self.index].value

    @property
    def gradient(self) -> np.ndarray:
        """The gradient of the step's rows, float32 [number, D]; zeros until something is added."""
        if self._gradient is None:
            self._gradient = self.adam.room(self.index, self.number)
        return self._gradient

    def places(self, row: Tensor) -> np.ndarray:
        """Bring rows, LongTensor [*S], up to date. Returns where each is among those of the step: int64 [*S]; -1 for
        padding."""
        place = np.empty(row.shape, np.int64)
        self.number = self.adam.touch_more(
            self.index, row.numpy().reshape(-1), place.reshape(-1), self.touched, self.number
        )
        return place

    def step(self) -> None:
        """Move the rows of the step, and begin the next one."""
        decay = self.decay[: self.number]
        self.adam.move(self.index, self.touched[: self.number], self.gradient, decay)
        decay.fill(0)
        self.number, self._gradient = 0, None

    def look_up(self, row: Tensor) -> Tensor:
        """The vectors of rows [*S]: [*S, D]."""
        found: Tensor = _LookUp.apply(self.table, row, self)
        return found

    def dot(self, vector: Tensor, row: Tensor) -> Tensor:
        """The dot products of vectors [B, D] with a list of rows for each, [B, C]: [B, C]."""
        found: Tensor = _Dot.apply(vector, self.table, row, self)
        return found

    def squares(self, row: Tensor) -> Tensor:
        """The sum of the squares of the vectors of rows [*S], each as often as it is listed: a scalar."""
        found: Tensor = _Squares.apply(self.table, row, self)
        return found


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, row: Tensor, late: LateRows) -> Tensor:
        ctx.late, ctx.place = late, late.places(row).reshape(-1)
        return table.detach().index_select(0, row.reshape(-1)).view(*row.shape, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        rows = gradient.reshape(len(ctx.place), -1).contiguous().numpy()
        ctx.late.adam.kernels.add_at(ctx.place, rows, ctx.late.gradient)
        return None, None, None


class _Dot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vector: Tensor, table: Tensor, row: Tensor, late: LateRows) -> Tensor:
        from kgrec.nn import vector_kernels

        ctx.save_for_backward(vector, row)
        ctx.late, ctx.place = late, late.places(row)
        out = torch.empty(row.shape)
        vector_kernels.pair_products(
            vector.detach().contiguous().numpy(), late.value, row.contiguous().numpy(), out.numpy()
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        vector, row = ctx.saved_tensors
        of_vector = torch.zeros_like(vector, memory_format=torch.contiguous_format)
        arrays = (one.detach().contiguous().numpy() for one in (vector, row, gradient, of_vector))
        ctx.late.adam.kernels.add_pairs_at(*arrays, ctx.late.value, ctx.place, ctx.late.gradient)
        return of_vector, None, None, None


class _Squares(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, row: Tensor, late: LateRows) -> Tensor:
        place = late.places(row).reshape(-1)
        times = np.bincount(place[place >= 0], minlength=late.number).astype(np.float32)
        ctx.late, ctx.times = late, times
        rows = late.touched[: late.number]
        return torch.tensor(late.adam.kernels.sum_of_squares(late.value, rows, times), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        ctx.late.decay[: len(ctx.times)] += ctx.times * np.float32(2 * gradient.item())
        return None, None, None
