"""Compiled products of sparse matrices with vectors on the CPU, which keep the sum of a row in registers.

A loop in Python that numba compiles reads and writes the sum in memory for each entry. Here the loop over the entries
is written in LLVM's own code, with sums of 16 numbers: one register of AVX-512, several where the processor's are
smaller. An entry then costs the reading of its row of vectors and nothing else. Entries are added in their order, so
the result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from kgrec.parallel_loops import parallel

LANES = 16  #: numbers that are summed at once


def _adder(registers: int) -> Callable[..., None]:
    """A compiled function add(out, base, scale, column, value, x, place): with n = `LANES` * registers numbers from
    column `first` on, out[row, first:] = scale * (base[row, first:] + the sum of value[e] * x[column[e], first:] over e
    from `start` to `stop`), where place = (row, first, start, stop). base: without rows for zeros."""

    @intrinsic
    def add(typing: Any, out: Any, base: Any, scale: Any, column: Any, value: Any, x: Any, place: Any) -> Any:
        signature = types.void(out, base, scale, column, value, x, place)

        def code(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
            vector, index = ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)

            def array(number: int) -> Any:
                return context.make_array(signature.args[number])(context, builder, given[number])

            def at(data: Any, row: Any, first: Any, width: Any) -> list[Any]:
                """The addresses of the groups of numbers of a row."""
                begin = builder.add(builder.mul(row, width), first)
                places = [builder.add(begin, index(LANES * k)) for k in range(registers)]
                return [builder.bitcast(builder.gep(data, [one]), vector.as_pointer()) for one in places]

            def many(number: Any) -> Any:
                one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.IntType(32)(0))
                mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)

            row, first, start, stop = cgutils.unpack_tuple(builder, given[6], 4)
            into, before, columns, values, vectors = (array(number) for number in (0, 1, 3, 4, 5))
            width = builder.extract_value(vectors.shape, 1)
            sums = [cgutils.alloca_once(builder, vector) for _ in range(registers)]
            has_rows = builder.icmp_signed("!=", builder.extract_value(before.shape, 0), index(0))
            with builder.if_else(has_rows) as (then, otherwise):
                with then:
                    for one, address in zip(sums, at(before.data, row, first, width)):
                        builder.store(builder.load(address, align=4), one)
                with otherwise:
                    for one in sums:
                        builder.store(ir.Constant(vector, [0.0] * LANES), one)
            with cgutils.for_range_slice(builder, start, stop, index(1), index) as (entry, _):
                there = builder.load(builder.gep(columns.data, [entry]))
                there = there if there.type == index else builder.sext(there, index)
                share = many(builder.load(builder.gep(values.data, [entry])))
                for one, address in zip(sums, at(vectors.data, there, first, width)):
                    product = builder.fmul(share, builder.load(address, align=4), flags=("contract",))
                    builder.store(builder.fadd(builder.load(one), product, flags=("contract",)), one)
            factor = many(given[2])
            for one, address in zip(sums, at(into.data, row, first, width)):
                builder.store(builder.fmul(factor, builder.load(one)), address, align=4)
            return context.get_dummy_value()

        return signature, code

    found: Callable[..., None] = add
    return found


_add_16, _add_32, _add_64 = _adder(1), _adder(2), _adder(4)


@numba.njit(nogil=True, cache=True, inline="always")
def _first_row(ptr: np.ndarray, share: int, shares: int) -> int:
    """The first row of one of several equal shares of the work, where a row costs as much as an entry."""
    rows = len(ptr) - 1
    wanted = (ptr[rows] - ptr[0] + rows) * share // shares
    low, high = 0, rows
    while low < high:
        middle = (low + high) >> 1
        if ptr[middle] - ptr[0] + middle < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@parallel(lambda ptr, column, value, x, *_: (int(ptr[-1] - ptr[0]) + len(ptr)) * x.shape[1] // 8)
def multiply(
    ptr: np.ndarray,
    column: np.ndarray,
    value: np.ndarray,
    x: np.ndarray,
    base: np.ndarray,
    scale: float,
    threads: int,
    out: np.ndarray,
) -> None:
    """out = scale * (base + matrix @ x), of a matrix in CSR or of some rows of it.

    ptr: int [N + 1], of all rows or of N that follow one another; column: int [E]; value: float32 [E]; x: float32
    [M, D], where D is a multiple of `LANES`; base: float32 [N, D], or [0, D] for zeros; scale: float32; threads: number
    of threads that share the rows; out: float32 [N, D]. All are contiguous.
    """
    width = x.shape[1]
    for share in numba.prange(threads):
        for row in range(_first_row(ptr, share, threads), _first_row(ptr, share + 1, threads)):
            start, stop, first = np.int64(ptr[row]), np.int64(ptr[row + 1]), 0
            while first + 64 <= width:
                _add_64(out, base, scale, column, value, x, (row, first, start, stop))
                first += 64
            if first + 32 <= width:
                _add_32(out, base, scale, column, value, x, (row, first, start, stop))
                first += 32
            if first < width:
                _add_16(out, base, scale, column, value, x, (row, first, start, stop))
