"""Compiled optimizer steps on the CPU that move only some rows of a table."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def adam_rows(
    row: np.ndarray,
    order: np.ndarray,
    value: np.ndarray,
    table: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    beta1: float,
    beta2: float,
    eps: float,
    size: float,
    sign: float,
) -> None:
    """Adam's step for some rows of a table (Kingma & Ba 2015, algorithm 1, with the moments of other rows as they are).

    row: int64 [n], ascending; a row that occurs several times has the sum of its gradients. order: int64 [n], where
    each gradient is in `value`, float32 [n, D]. table, mean, square: float32 [N, D], with the moments. size: the
    learning rate times the correction of the bias of both moments; sign: -1 to maximize."""
    keep1, keep2 = np.float32(1 - beta1), np.float32(1 - beta2)
    least, length, turn = np.float32(eps), np.float32(size), np.float32(sign)
    gradient = np.empty(table.shape[1], np.float32)
    at = 0
    while at < len(row):
        here, first = row[at], order[at]
        for d in range(gradient.shape[0]):
            gradient[d] = turn * value[first, d]
        at += 1
        while at < len(row) and row[at] == here:
            for d in range(gradient.shape[0]):
                gradient[d] += turn * value[order[at], d]
            at += 1
        for d in range(gradient.shape[0]):
            new_mean = mean[here, d] + keep1 * (gradient[d] - mean[here, d])
            new_square = square[here, d] + keep2 * (gradient[d] * gradient[d] - square[here, d])
            mean[here, d], square[here, d] = new_mean, new_square
            table[here, d] -= length * new_mean / (np.sqrt(new_square) + least)
