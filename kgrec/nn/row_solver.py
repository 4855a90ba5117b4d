"""Compiled least squares on the CPU: a small system for each of many rows.

Only the part of a matrix up to its diagonal is computed. Its rows are read from their beginning, and a little past the
diagonal, up to a whole vector of the processor: then the compiler makes each inner loop a few vector instructions.
"""

from __future__ import annotations

import numba
import numpy as np

WIDE = 16  #: numbers of the widest vector of a processor
MODE = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}


@numba.njit(**MODE)
def solve_rows(
    rows: np.ndarray,
    ptr: np.ndarray,
    other: np.ndarray,
    fixed: np.ndarray,
    base: np.ndarray,
    ridge: np.ndarray,
    own: np.ndarray,
    alpha: float,
    solved: np.ndarray,
) -> int:
    """solved[n] = (sum of h h' over n's pairs + base + ridge[n] I)^-1 sum of h over n's pairs, for some rows n.

    The pairs of row n are the rows h of `fixed`, float32 [N, D], at other[ptr[n] : ptr[n + 1]]; a row without pairs
    gets zeros. rows: int64 [R]; ptr: int64 [* + 1]; other: int64; base: float32 [D, D], symmetric; ridge: float32 [*];
    own: int64 [*], or empty: alpha times h h' of this row of `fixed` is taken away, -1 for none. solved: float32
    [*, D]. Returns -1, or the first row whose matrix is not positive definite; rows behind it are not solved."""
    dim, step = fixed.shape[1], np.float32(alpha)
    matrix, right = np.empty((dim, dim), np.float32), np.empty(dim, np.float32)
    for n in rows:
        at, end = ptr[n], ptr[n + 1]
        if at == end:
            solved[n] = 0
            continue
        for i in range(dim):
            for j in range(dim):
                matrix[i, j] = base[i, j]
            right[i] = 0
            matrix[i, i] += ridge[n]
        if len(own) and own[n] >= 0:
            _add_one(matrix, fixed, own[n], -step)
        while at + 8 <= end:  # several at a time, since loading and storing the matrix costs more than the products
            _add_eight(matrix, right, fixed, other[at : at + 8])
            at += 8
        while at + 4 <= end:
            _add_four(matrix, right, fixed, other[at], other[at + 1], other[at + 2], other[at + 3])
            at += 4
        while at < end:
            _add_one(matrix, fixed, other[at], np.float32(1))
            for i in range(dim):
                right[i] += fixed[other[at], i]
            at += 1
        if not _factorize(matrix):
            return n
        _substitute(matrix, right)
        for i in range(dim):
            solved[n, i] = right[i]
    return -1


@numba.njit(**MODE)
def _add_one(matrix: np.ndarray, fixed: np.ndarray, a: int, factor: float) -> None:
    """Add factor h h' to a matrix [D, D], up to its diagonal. h: row a of `fixed`."""
    for i in range(len(matrix)):
        x, stop = factor * fixed[a, i], min(len(matrix), (i // WIDE + 1) * WIDE)
        for j in range(stop):
            matrix[i, j] += x * fixed[a, j]


@numba.njit(**MODE)
def _add_four(matrix: np.ndarray, right: np.ndarray, fixed: np.ndarray, a: int, b: int, c: int, d: int) -> None:
    """Add h h' to a matrix [D, D], up to its diagonal, and h to `right` [D], for four rows h of `fixed`."""
    for i in range(len(matrix)):
        x, y, z, w = fixed[a, i], fixed[b, i], fixed[c, i], fixed[d, i]
        right[i] += (x + y) + (z + w)
        stop = min(len(matrix), (i // WIDE + 1) * WIDE)
        for j in range(stop):
            matrix[i, j] += (x * fixed[a, j] + y * fixed[b, j]) + (z * fixed[c, j] + w * fixed[d, j])


@numba.njit(**MODE)
def _add_eight(matrix: np.ndarray, right: np.ndarray, fixed: np.ndarray, rows: np.ndarray) -> None:
    """The same for eight rows."""
    a, b, c, d, e, f, g, h = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
    for i in range(len(matrix)):
        p, q, r, s = fixed[a, i], fixed[b, i], fixed[c, i], fixed[d, i]
        t, u, v, w = fixed[e, i], fixed[f, i], fixed[g, i], fixed[h, i]
        right[i] += ((p + q) + (r + s)) + ((t + u) + (v + w))
        stop = min(len(matrix), (i // WIDE + 1) * WIDE)
        for j in range(stop):
            first = (p * fixed[a, j] + q * fixed[b, j]) + (r * fixed[c, j] + s * fixed[d, j])
            second = (t * fixed[e, j] + u * fixed[f, j]) + (v * fixed[g, j] + w * fixed[h, j])
            matrix[i, j] += first + second


@numba.njit(**MODE)
def _factorize(matrix: np.ndarray) -> bool:
    """L of L'L = matrix, in its place up to the diagonal; beyond is nothing of meaning. It is Cholesky's factor of the
    matrix with its rows and columns in the opposite order. False if the matrix is not positive definite."""
    dim = len(matrix)
    for back in range(dim):
        i, done = dim - 1 - back, 0
        stop = min(dim, (i // WIDE + 1) * WIDE)
        while done + 4 <= back:
            k = dim - 4 - done
            x, y, z, w = matrix[k, i], matrix[k + 1, i], matrix[k + 2, i], matrix[k + 3, i]
            for j in range(stop):
                matrix[i, j] -= (x * matrix[k, j] + y * matrix[k + 1, j]) + (
                    z * matrix[k + 2, j] + w * matrix[k + 3, j]
                )
            done += 4
        while done < back:
            k = dim - 1 - done
            x = matrix[k, i]
            for j in range(stop):
                matrix[i, j] -= x * matrix[k, j]
            done += 1
        pivot = matrix[i, i]
        if not pivot > 0 or pivot == np.inf:
            return False
        scale = np.float32(1) / np.sqrt(pivot)
        for j in range(stop):
            matrix[i, j] *= scale
    return True


@numba.njit(**MODE)
def _substitute(matrix: np.ndarray, right: np.ndarray) -> None:
    """Solve L'L x = right, in place of `right`, float32 [D]. matrix: L, float32 [D, D]."""
    dim = len(matrix)
    for back in range(dim):
        i = dim - 1 - back
        right[i] /= matrix[i, i]
        x = right[i]
        for j in range(i):
            right[j] -= x * matrix[i, j]
    for i in range(dim):
        total = np.float32(0)
        for j in range(i):
            total += matrix[i, j] * right[j]
        right[i] = (right[i] - total) / matrix[i, i]
