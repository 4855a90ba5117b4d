"""Compiled loops over vectors on the CPU, where tensor code would create large temporary tensors."""

from __future__ import annotations

import numba
import numpy as np

from kgrec._deprecation import renamed
from kgrec.parallel_loops import parallel


@numba.njit(nogil=True, cache=True, fastmath=True)
def pair_products(vector: np.ndarray, table: np.ndarray, column: np.ndarray, out: np.ndarray) -> None:
    """out[b, c] = vector[b] . table[column[b, c]], without copying rows. vector: float32 [B, D]; table: float32 [*, D];
    column: int64 [B, C]; out: float32 [B, C]."""
    for b in range(len(vector)):
        mine = vector[b]
        for c in range(column.shape[1]):
            other, total = table[column[b, c]], np.float32(0)
            for d in range(mine.shape[0]):
                total += mine[d] * other[d]
            out[b, c] = total


@numba.njit(nogil=True, cache=True, fastmath=True)
def add_pair_gradients(
    vector: np.ndarray,
    table: np.ndarray,
    column: np.ndarray,
    gradient: np.ndarray,
    of_vector: np.ndarray,
    of_table: np.ndarray,
) -> None:
    """Adds the gradients of `pair_products` to of_vector and of_table (float32, shaped like vector and table)."""
    for b in range(len(vector)):
        mine, of_mine = vector[b], of_vector[b]
        for c in range(column.shape[1]):
            other, of_other, factor = table[column[b, c]], of_table[column[b, c]], gradient[b, c]
            for d in range(mine.shape[0]):
                of_mine[d] += factor * other[d]
                of_other[d] += factor * mine[d]


@numba.njit(nogil=True, cache=True, fastmath=True)
def add_vector_gradients(table: np.ndarray, column: np.ndarray, gradient: np.ndarray, of_vector: np.ndarray) -> None:
    """Adds the gradient of `pair_products` by its vectors to of_vector, float32 [B, D]."""
    for b in range(len(of_vector)):
        of_mine = of_vector[b]
        for c in range(column.shape[1]):
            other, factor = table[column[b, c]], gradient[b, c]
            for d in range(of_mine.shape[0]):
                of_mine[d] += factor * other[d]


@numba.njit(nogil=True, cache=True, fastmath=True)
def add_rows(ptr: np.ndarray, column: np.ndarray, value: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """out[t] = the sum over row t of value * x[column]: a CSR matrix times x. ptr: int64 [T + 1]; column: int64 [E];
    value: float32 [E]; x: float32 [n, D]; out: float32 [T, D], zeros."""
    for t in range(len(ptr) - 1):
        total = out[t]
        for e in range(ptr[t], ptr[t + 1]):
            share, other = value[e], x[column[e]]
            for d in range(total.shape[0]):
                total[d] += share * other[d]


@numba.njit(nogil=True, cache=True, fastmath=True)
def add_rows_back(
    ptr: np.ndarray, column: np.ndarray, value: np.ndarray, gradient: np.ndarray, of_x: np.ndarray
) -> None:
    """Adds the gradient of `add_rows` to of_x (float32 [n, D]). gradient: float32 [T, D]."""
    for t in range(len(ptr) - 1):
        mine = gradient[t]
        for e in range(ptr[t], ptr[t + 1]):
            share, other = value[e], of_x[column[e]]
            for d in range(mine.shape[0]):
                other[d] += share * mine[d]


@parallel(lambda own, *_: len(own), fastmath=True)
def sum_and_product(own: np.ndarray, other: np.ndarray, total: np.ndarray, product: np.ndarray) -> None:
    """total = own + other and product = own * other in one pass. All float32 [n]."""
    for i in numba.prange(len(own)):
        total[i] = own[i] + other[i]
        product[i] = own[i] * other[i]


@parallel(lambda own, *_: len(own), fastmath=True)
def sum_and_product_back(
    own: np.ndarray,
    other: np.ndarray,
    of_total: np.ndarray,
    of_product: np.ndarray,
    of_own: np.ndarray,
    of_other: np.ndarray,
) -> None:
    """The gradients of `sum_and_product`, of_own and of_other. All float32 [n]."""
    for i in numba.prange(len(own)):
        of_own[i] = of_total[i] + of_product[i] * other[i]
        of_other[i] = of_total[i] + of_product[i] * own[i]


@parallel(lambda first, *_: len(first), fastmath=True)
def leaky_sum(
    first: np.ndarray,
    second: np.ndarray,
    slope: float,
    draw: np.ndarray,
    dropped: int,
    scale: float,
    out: np.ndarray,
    kind: np.ndarray,
) -> None:
    """out = scale * (LeakyReLU(first) + LeakyReLU(second)) where the random byte `draw` is at least `dropped`, else 0.
    first, second, out: float32 [n]; draw: uint8 [n]; kind: uint8 [n], what the gradient reads: 1 where first is above
    0, plus 2 where second is, plus 4 where the number is kept."""
    below, times = np.float32(slope), np.float32(scale)
    for i in numba.prange(len(out)):
        a, b = first[i], second[i]
        kept = draw[i] >= dropped
        value = (a if a > 0 else below * a) + (b if b > 0 else below * b)
        out[i] = times * value if kept else np.float32(0)
        kind[i] = np.uint8(a > 0) | np.uint8(b > 0) << np.uint8(1) | np.uint8(kept) << np.uint8(2)


@parallel(lambda kind, *_: len(kind), fastmath=True)
def leaky_sum_back(
    kind: np.ndarray, slope: float, scale: float, gradient: np.ndarray, of_first: np.ndarray, of_second: np.ndarray
) -> None:
    """The gradients of `leaky_sum`, of_first and of_second. All float32 [n], except kind: uint8 [n]."""
    below, times = np.float32(slope), np.float32(scale)
    for i in numba.prange(len(gradient)):
        g = times * gradient[i] if kind[i] & 4 else np.float32(0)
        of_first[i] = g if kind[i] & 1 else below * g
        of_second[i] = g if kind[i] & 2 else below * g


@parallel(lambda start, out: len(out))
def random_words(start: np.uint64, out: np.ndarray) -> None:
    """SplitMix64's numbers from a state on: uint64 [n]. They are as many random bits."""
    for i in numba.prange(len(out)):
        word = start + np.uint64(i + 1) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out[i] = word ^ (word >> np.uint64(31))


@parallel(lambda x, *_: len(x))
def relu_dropout(x: np.ndarray, draw: np.ndarray, dropped: int, scale: np.float32, out: np.ndarray) -> None:
    """out = scale * ReLU(x) where the random byte `draw` is at least `dropped`, else 0. x, out: float32 [n]; draw:
    uint8 [n]."""
    for i in numba.prange(len(out)):
        out[i] = np.float32(0) if draw[i] < dropped or x[i] <= 0 else scale * x[i]


@parallel(lambda out, *_: len(out))
def relu_dropout_back(out: np.ndarray, scale: np.float32, gradient: np.ndarray, of_x: np.ndarray) -> None:
    """The gradient of `relu_dropout`, of_x. All float32 [n]."""
    for i in numba.prange(len(out)):
        of_x[i] = scale * gradient[i] if out[i] > 0 else np.float32(0)


@parallel(lambda *given: given[-1].size, error_model="numpy")
def sum_relu_dropout(
    one: np.ndarray,
    own: np.ndarray,
    table: np.ndarray,
    row: np.ndarray,
    draw: np.ndarray,
    dropped: int,
    scale: np.float32,
    out: np.ndarray,
) -> None:
    """`relu_dropout` of one[own[n]] + table[row[n, c]], in one pass. one, table: float32 [*, D]; own: int64 [n]; row:
    int64 [n, C]; draw: uint8 [n, C, D], or [n, 0, 0] where nothing is dropped; out: float32 [n, C, D]."""
    for n in numba.prange(len(own)):
        mine = one[own[n]]
        for c in range(row.shape[1]):
            other, into = table[row[n, c]], out[n, c]
            for d in range(len(mine)):
                total = mine[d] + other[d]
                into[d] = np.float32(0) if total <= 0 else scale * total
            if draw.shape[1]:
                drawn = draw[n, c]
                for d in range(len(mine)):
                    into[d] = into[d] if drawn[d] >= dropped else np.float32(0)


LANE = 16  #: rows that `transpose` reads at once


@parallel(lambda x, out: x.size)
def transpose(x: np.ndarray, out: np.ndarray) -> None:
    """out = the transposed of x. x: float32 [n, k]; out: float32 [k, n]. torch copies one value after another."""
    number, width = x.shape
    for part in numba.prange(-(-number // LANE)):
        first = part * LANE
        rows = x[first : first + LANE]
        if len(rows) == LANE:
            for column in range(width):
                into = out[column, first : first + LANE]
                for row in range(LANE):  # of a known length, so that it becomes one write
                    into[row] = rows[row, column]
        else:
            for column in range(width):
                for row in range(len(rows)):
                    out[column, first + row] = rows[row, column]


COLUMNS = 32  #: that a thread goes through at once, where rows are added up


@parallel(lambda out, *_: out.size, error_model="numpy")
def sum_relu_dropout_back(
    out: np.ndarray, scale: np.float32, gradient: np.ndarray, row: np.ndarray, of_one: np.ndarray, of_table: np.ndarray
) -> None:
    """Add the gradients of `sum_relu_dropout`, with own[n] = n, to of_one, float32 [n, D], and of_table, float32
    [N, D]. Each thread has columns of its own, and adds rows in their order."""
    dim = out.shape[2]
    for part in numba.prange(-(-dim // COLUMNS)):
        first, last = part * COLUMNS, min(dim, (part + 1) * COLUMNS)
        for n in range(len(out)):
            of_mine = of_one[n, first:last]
            for c in range(row.shape[1]):
                made, given = out[n, c, first:last], gradient[n, c, first:last]
                of_other = of_table[row[n, c], first:last]
                for d in range(len(of_mine)):
                    value = scale * given[d] if made[d] > 0 else np.float32(0)
                    of_other[d] += value
                    of_mine[d] += value


@parallel(lambda out, *_: out.size, error_model="numpy")
def sum_relu_dropout_back_in_place(
    out: np.ndarray, scale: np.float32, gradient: np.ndarray, of_one: np.ndarray
) -> None:
    """The gradients of `sum_relu_dropout` where each row of the table is looked up once, in order: that of the table is
    written over `gradient`, float32 [n, C, D]; of_one: float32 [n, D], zeros."""
    for n in numba.prange(len(out)):
        of_mine = of_one[n]
        for c in range(out.shape[1]):
            made, given = out[n, c], gradient[n, c]
            for d in range(len(of_mine)):
                value = scale * given[d] if made[d] > 0 else np.float32(0)
                given[d] = value
                of_mine[d] += value


__getattr__ = renamed(
    __name__,
    {
        "group": "kgrec.graph.edge_kernels:group",
        "sort_rows_by_time": "kgrec.graph.edge_kernels:sort_rows_by_time",
        "sort_rows": "kgrec.graph.edge_kernels:sort_rows",
        "is_member": "kgrec.graph.edge_kernels:is_member",
    },
)


@numba.njit(nogil=True, cache=True, fastmath=True)
def dots(one: np.ndarray, other: np.ndarray, of_one: np.ndarray, of_other: np.ndarray, out: np.ndarray) -> None:
    """The dot product of row of_one[n] of one table and row of_other[n] of another, float32 [N], for each n."""
    for pair in range(len(of_one)):
        a, b = of_one[pair], of_other[pair]
        total = np.float32(0)
        for column in range(one.shape[1]):
            total += one[a, column] * other[b, column]
        out[pair] = total


@numba.njit(nogil=True, cache=True, fastmath=True)
def gru_step_back(
    start: int,
    stop: int,
    gates: np.ndarray,
    new: np.ndarray,
    kept: np.ndarray,
    old: np.ndarray,
    gradient: np.ndarray,
    of_read: np.ndarray,
    of_kept: np.ndarray,
    carried: np.ndarray,
) -> None:
    """The gradients of a GRU's steps start to stop, which are of one time, by what they read (of_read) and by the
    products with the states before (of_kept), float32 [n, 3 H] each.

    gates: r and z, float32 [n, 2 H]; new: [n, H]; kept: the products with the states before, [n, 3 H]; old: these
    states, [n, H]; gradient: that of the states, [n, H]; carried: [B, H], what the next time adds to it; the part that
    needs no product with a matrix is left there for the time before."""
    width = new.shape[1]
    one = np.float32(1)
    for i in range(start, stop):
        row = i - start
        for d in range(width):
            r, z, n = gates[i, d], gates[i, width + d], new[i, d]
            g = gradient[i, d] + carried[row, d]
            of_n = g * (one - z) * (one - n * n)
            of_z = g * (old[i, d] - n) * z * (one - z)
            of_r = of_n * kept[i, 2 * width + d] * r * (one - r)
            of_read[i, d], of_kept[i, d] = of_r, of_r
            of_read[i, width + d], of_kept[i, width + d] = of_z, of_z
            of_read[i, 2 * width + d], of_kept[i, 2 * width + d] = of_n, of_n * r
            carried[row, d] = g * z
