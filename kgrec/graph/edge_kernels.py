"""Compiled loops over edges on the CPU, where tensor operations would sort or copy more than necessary."""

from __future__ import annotations

import numba
import numpy as np


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
                order[start:stop] = part[np.argsort(time[part], kind="mergesort")]
                break


@numba.njit(nogil=True, cache=True)
def sort_rows(ptr: np.ndarray, tail: np.ndarray) -> None:
    """Sort each row's tails. Changes `tail` in place."""
    for row in range(len(ptr) - 1):
        tail[ptr[row] : ptr[row + 1]].sort()


@numba.njit(nogil=True, cache=True, parallel=True)
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
