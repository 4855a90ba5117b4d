"""Products of matrices in which a row's numbers do not depend on how many other rows there are.

A BLAS multiplies few rows by another kernel than many, which adds up in another order, so that the same row alone and
among others differs in its last digit: by 1e-5 at most where numbers are some ten. Where no gradient is asked for, and
so when models serve, these products are made with no fewer rows than `least_rows` says, filled up with zeros. From so
many rows on, oneMKL's kernels were measured to give each row the same numbers, at every place: for 4 to 1,024 columns,
5 to 200,000 rows on the other side, one thread and two, on CPUs with AVX-512.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn.cpu_products import linear

MOST = 16  #: rows from which every product is steady
FOR = 64  #: columns for which a quarter of them are enough


def least_rows(columns: int) -> int:
    """With how many rows of so many columns a product is steady.

    >>> [least_rows(columns) for columns in (8, 64, 65, 128, 1024)]
    [4, 4, 8, 8, 16]
    """
    return min(MOST, MOST // 4 * -(-columns // FOR))


def filled_up(rows: Tensor) -> Tensor:
    """Rows [B, *S, D] with rows of zeros behind them where they are too few; as they are where gradients are wanted, on
    other devices than the CPU, and for `torch.export`."""
    missing = least_rows(rows.shape[-1]) - rows.shape[0] if serves(rows) else 0
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing > 0 else rows


def serves(rows: Tensor) -> bool:
    """Whether rows are made steady: where no gradient is wanted, on the CPU."""
    return not torch.is_grad_enabled() and may_serve(rows)


def may_serve(rows: Tensor) -> bool:
    """Whether rows are where a model may serve from what it keeps: on the CPU, and not in `torch.export`."""
    return rows.device.type == "cpu" and not torch.compiler.is_compiling()


def product(rows: Tensor, others: Tensor) -> Tensor:
    """The products of rows [B, D] with others [N, D]: [B, N]."""
    return (filled_up(rows) @ others.T)[: rows.shape[0]]


class SteadyLinear(nn.Linear):
    """A linear layer over rows [B, D], or over one [D]."""

    def forward(self, rows: Tensor) -> Tensor:
        if rows.dim() == 1 or not serves(rows):
            return linear(rows, self.weight, self.bias)
        if self.out_features == 1:  # by one vector a BLAS multiplies rows in groups, each in another order
            found = functional.linear(filled_up(rows), self.weight.expand(2, -1))[: rows.shape[0], :1]
            return found if self.bias is None else found + self.bias
        return functional.linear(filled_up(rows), self.weight, self.bias)[: rows.shape[0]]
