"""Entries of a matrix, with a gradient that is exact for any number of threads."""

from __future__ import annotations

from torch import Tensor


def entries(matrix: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """matrix[row, column], where an entry may be asked for several times. matrix: FloatTensor [R, C]; row and column:
    LongTensor [n]. Returns [n].

    The gradients of one entry are added one after another, so that a seed gives the same digits every time. Those of
    `matrix[row, column]` are not: on the CPU several threads add them in whatever order they come. Rows that are looked
    up several times are read by `functional.embedding` for the same reason.

    >>> import torch
    >>> entries(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0, 1]), torch.tensor([0, 1, 0])).tolist()
    [3.0, 2.0, 3.0]
    """
    return matrix.flatten().index_select(0, row * matrix.shape[1] + column)
