"""Compiled loops over edges on the CPU, where tensor operations would sort or copy more than necessary."""

from __future__ import annotations

import numba
import numpy as np

from kgrec.parallel_loops import parallel


@numba.njit(nogil=True, cache=True)
def group(head: np.ndarray, num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups edges by head, keeping their order within each head (a counting sort).

    head: int64 [E]. Returns ptr int64 [num_nodes + 1] and the edge positions int64 [E].
    """
    ptr = np.zeros(num_nodes + 1, np.int64)
    for node in head:
        ptr[node + 1] += 1
    for node in range(num_nodes):
        ptr[node + 1] += ptr[node]
    fill = ptr[:-1].copy()
    order = np.empty(len(head), np.int64)
    for edge in range(len(head)):
        order[fill[head[edge]]] = edge
        fill[head[edge]] += 1
    return ptr, order


@numba.njit(nogil=True, cache=True)
def sort_rows_by_time(ptr: np.ndarray, order: np.ndarray, time: np.ndarray) -> None:
    """Sort each row's edges by time, keeping the order of edges with equal times. Changes `order` in place."""
    for row in range(len(ptr) - 1):
        start, stop = ptr[row], ptr[row + 1]
        for position in range(start + 1, stop):
            if time[order[position]] < time[order[position - 1]]:
                part = order[start:stop].copy()
                by_time = np.argsort(time[part], kind="mergesort")
                for n in range(len(part)):
                    order[start + n] = part[by_time[n]]
                break


@numba.njit(nogil=True, cache=True)
def sort_rows(ptr: np.ndarray, tail: np.ndarray) -> None:
    """Sort each row's tails. Changes `tail` in place."""
    for row in range(len(ptr) - 1):
        tail[ptr[row] : ptr[row + 1]].sort()


@parallel(lambda ptr, tail, head, candidate: 8 * candidate.size)
def is_member(ptr: np.ndarray, tail: np.ndarray, head: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Whether each candidate is among the tails of its head. `tail` must be sorted within rows. A head past the last
    row has no tails.

    head: int64 [n]; candidate: int64 [n, K]. Returns bool [n, K].
    """
    found = np.zeros(candidate.shape, np.bool_)
    for example in numba.prange(len(head)):
        if head[example] >= len(ptr) - 1:
            continue
        row_start, row_stop = ptr[head[example]], ptr[head[example] + 1]
        for k in range(candidate.shape[1]):
            low, high, wanted = row_start, row_stop, candidate[example, k]
            while low < high:
                middle = (low + high) >> 1
                if tail[middle] < wanted:
                    low = middle + 1
                else:
                    high = middle
            found[example, k] = low < row_stop and tail[low] == wanted
    return found


@numba.njit(nogil=True, cache=True)
def count_ends(local: np.ndarray, relation_ptr: np.ndarray, starts: np.ndarray, count: np.ndarray) -> None:
    """Add the number of edges of each flat node to `count`, int64 [N]. local: int64 [E], local numbers of one end;
    relation_ptr: int64 [R + 1]; starts: int64 [R], the flat number of each relation's first node."""
    for relation in range(len(starts)):
        start = starts[relation]
        for edge in range(relation_ptr[relation], relation_ptr[relation + 1]):
            count[local[edge] + start] += 1


@numba.njit(nogil=True, cache=True)
def group_rows(
    ends: tuple[np.ndarray, np.ndarray],
    relation_ptr: np.ndarray,
    starts: tuple[np.ndarray, np.ndarray],
    time: np.ndarray,
    fill: np.ndarray,
    first: int,
    edge: np.ndarray,
    other: np.ndarray,
    when: np.ndarray,
) -> None:
    """The rows of a CSR for some nodes: edges in order of time, those of equal time in file order. It reads all edges
    once, in their order, and keeps those of these nodes.

    ends: local numbers of the end by which edges are grouped, and of the other one, int64 [E] each; starts: the flat
    numbers of each relation's first nodes at the two ends, int64 [R] each; fill: int64 [n + 1], where each node's row
    begins in the results, and where the last one ends; first: the flat number of the first node; edge, other, when:
    int64, int32 and int64 [edges of these nodes], the results.
    """
    place, width = fill[:-1].copy(), len(fill) - 1
    for relation in range(len(starts[0])):
        shift, start = starts[0][relation] - first, starts[1][relation]
        for at in range(relation_ptr[relation], relation_ptr[relation + 1]):
            row = ends[0][at] + shift
            if 0 <= row < width:
                to = place[row]
                place[row] += 1
                edge[to] = at
                other[to] = ends[1][at] + start
                when[to] = time[at]
    for row in range(width):
        for at in range(fill[row] + 1, fill[row + 1]):
            if when[at] < when[at - 1]:
                part = slice(fill[row], fill[row + 1])
                order = np.argsort(when[part], kind="mergesort")
                edge[part], other[part] = edge[part][order], other[part][order]
                break


@numba.njit(nogil=True, cache=True)
def count_distinct(ptr: np.ndarray, tail: np.ndarray, count: np.ndarray) -> None:
    """Add the number of rows that each tail is in to `count`, int64 [N]. `tail` must be sorted within rows."""
    for row in range(len(ptr) - 1):
        for at in range(ptr[row], ptr[row + 1]):
            if at == ptr[row] or tail[at] != tail[at - 1]:
                count[tail[at]] += 1
