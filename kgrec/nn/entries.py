"""Entries of a matrix, with a gradient that does not depend on the number of threads."""

from __future__ import annotations

from torch import Tensor


def entries(matrix: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """matrix[row, column], where the same entry may occur several times. matrix: FloatTensor [R, C]; row and column:
    LongTensor [n]. Returns [n].

    Here the gradients of one entry are added in a fixed order, so that the same seed always gives the same digits. With
    `matrix[row, column]`, several CPU threads add them in an order that changes from run to run. For the same reason,
    use `functional.embedding` for rows that are looked up several times.

    >>> import torch
    >>> entries(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0, 1]), torch.tensor([0, 1, 0])).tolist()
    [3.0, 2.0, 3.0]
    """
    return matrix.flatten().index_select(0, row * matrix.shape[1] + column)
