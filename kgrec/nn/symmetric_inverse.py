"""The inverse of a large symmetric matrix, in its place and by blocks.

A block-wise Gauss-Jordan elimination of one triangle (the sweep operator of Beaton 1964; Goodnight 1979, A tutorial on
the SWEEP operator, The American Statistician): n^3 multiplications and additions for n rows, as many as Cholesky's
factor and LAPACK's `potri` need. Nearly all of them are products of large blocks. Each block is computed by one thread,
in an order that does not depend on how many threads there are, so the numbers are the same for any number of them.
Beside the matrix, two strips of BLOCK columns are held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from kgrec.in_threads import in_threads
from kgrec.nn.cpu_products import subtract
from kgrec.progress import counted

BLOCK = 384  #: rows that are eliminated at once
TALL = 384  #: rows of a block of which a thread makes a product
WIDE = 1536  #: and columns


def negative_inverse(matrix: Tensor) -> Tensor:
    """The lower triangle of -A^-1, in place of that of A: the same FloatTensor [n, n]. What is above the diagonal is
    neither read nor of meaning afterwards.

    matrix: A, symmetric and positive definite. Raises torch.linalg.LinAlgError where it is not.

    >>> negative_inverse(torch.tensor([[2.0, 0.0], [1.0, 1.0]])).tril().round(decimals=3)
    tensor([[-1.,  0.],
            [ 1., -2.]])
    """
    size = len(matrix)
    strip, scaled = matrix.new_empty(size, min(BLOCK, size)), matrix.new_empty(size, min(BLOCK, size))
    starts = range(0, size, BLOCK)
    for start in counted("inverting", starts, size, "items", lambda start: min(BLOCK, size - start)):
        stop = min(start + BLOCK, size)
        _eliminate(matrix, start, stop, strip[:, : stop - start], scaled[:, : stop - start])
    return matrix


def mirror(matrix: Tensor, divisor: Tensor) -> Tensor:
    """The symmetric matrix whose lower triangle this is, with column j divided by divisor[j], in place: the same
    FloatTensor [n, n]. divisor: FloatTensor [n]."""

    def mirror_rows(top: int) -> None:
        rows = slice(top, top + BLOCK)
        for left in range(0, top, BLOCK):
            columns = slice(left, left + BLOCK)
            block = matrix[rows, columns]
            matrix[columns, rows] = block.T / divisor[rows]
            block /= divisor[columns]
        block = matrix[rows, rows]
        block.copy_((block.tril() + block.tril(-1).T) / divisor[rows])

    _in_threads(matrix, [partial(mirror_rows, top) for top in range(0, len(matrix), BLOCK)][::-1])
    return matrix


def _eliminate(matrix: Tensor, start: int, stop: int, strip: Tensor, scaled: Tensor) -> None:
    """One step for the block of rows and columns start : stop. With its inverse D and S, the strip of its columns:
    the rest R becomes R - S D S', the strip S D, and the block -D. strip, scaled: FloatTensor [n, B], for S and S D."""
    size, block = len(matrix), matrix[start:stop, start:stop]
    inverse = torch.empty_like(block)

    def invert_block() -> None:
        torch.cholesky_inverse(torch.linalg.cholesky(block), out=inverse)  # it reads the lower triangle alone

    def read_strip() -> None:
        strip[:start], strip[stop:] = matrix[start:stop, :start].T, matrix[stop:, start:stop]

    def change_rows(top: int, bottom: int) -> None:
        torch.mm(strip[top:bottom], inverse, out=scaled[top:bottom])
        for first, last in ((0, min(bottom, start)), (stop, bottom)):
            for left in range(first, last, WIDE):
                right = min(left + WIDE, last)
                subtract(matrix[top:bottom, left:right], scaled[top:bottom], strip[left:right])
        if top >= stop:
            matrix[top:bottom, start:stop] = scaled[top:bottom]
        else:
            matrix[start:stop, top:bottom] = scaled[top:bottom].T

    _in_threads(matrix, [invert_block, read_strip])
    tops = [(top, min(top + TALL, end)) for first, end in ((0, start), (stop, size)) for top in range(first, end, TALL)]
    _in_threads(matrix, [partial(change_rows, *ends) for ends in tops[::-1]])  # the longest rows first
    torch.neg(inverse, out=block)


def _in_threads(matrix: Tensor, parts: Sequence[Callable[[], None]]) -> None:
    """Do all parts, each by one thread."""
    threads = torch.get_num_threads() if matrix.device.type == "cpu" else 1
    for _ in in_threads(lambda part: part(), parts, threads):
        pass
