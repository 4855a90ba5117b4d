"""Compiled counts of the users whom items have in common: the sparse product X'X, for some of its rows at a time. All
counts are whole numbers, so that they do not depend on how many rows are made at once, or by how many threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from kgrec.graph import Graph
from kgrec.nn.item_content import multi_hot

MODE = {"nogil": True, "cache": True, "error_model": "numpy"}
FEW = 4  #: only counted items are looked at where there are this many times as many items as counts


class ItemUsers(NamedTuple):
    """X, a 0-1 matrix of users and items, by its columns and by its rows."""

    user_ptr: np.ndarray  #: int64 [I + 1]; the users of item i are user[user_ptr[i] : user_ptr[i + 1]]
    user: np.ndarray  #: int32 [E], ascending for each item
    item_ptr: np.ndarray  #: int64 [U + 1]; the items of user u are item[item_ptr[u] : item_ptr[u + 1]]
    item: np.ndarray  #: int32 [E], ascending for each user

    @staticmethod
    def of(graph: Graph) -> ItemUsers:
        """The pairs of the target relation; repeated ones count once."""
        user, item = graph.only(graph.target).edge_index.cpu().numpy()
        shape = len(graph.range(graph.target[0])), len(graph.range(graph.target[2]))
        rows = multi_hot(user, item, shape)
        columns = rows.T.tocsr()
        ends = (one.indptr.astype(np.int64) for one in (columns, rows))
        others = (one.indices.astype(np.int32, copy=False) for one in (columns, rows))
        return ItemUsers(next(ends), next(others), next(ends), next(others))

    @staticmethod
    def nobody(num_items: int) -> ItemUsers:
        """Items without users."""
        none = np.empty(0, np.int32)
        return ItemUsers(np.zeros(num_items + 1, np.int64), none, np.zeros(1, np.int64), none)


@numba.njit(**MODE)
def count_common(
    start: int,
    stop: int,
    user_ptr: np.ndarray,
    user: np.ndarray,
    item_ptr: np.ndarray,
    item: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add the number of common users to rows start : stop of `total`, float32 [I, I], up to the diagonal: the lower
    triangle of X'X. The numbers are exact up to 2^24. user_ptr to item: `ItemUsers`."""
    for i in range(start, stop):
        row = total[i]
        for at in range(user_ptr[i], user_ptr[i + 1]):
            u = user[at]
            for place in range(item_ptr[u], item_ptr[u + 1]):
                j = item[place]
                if j > i:
                    break
                row[j] += np.float32(1)


@numba.njit(**MODE)
def nearest_items(
    start: int,
    stop: int,
    user_ptr: np.ndarray,
    user: np.ndarray,
    item_ptr: np.ndarray,
    item: np.ndarray,
    weight: float,
    length: np.ndarray,
    shrink: float,
    more: np.ndarray,
    neighbor: np.ndarray,
    similarity: np.ndarray,
) -> None:
    """Fill rows start : stop of neighbor, int64 [I, K], and similarity, float32 [I, K], with the K items that are most
    similar to each item, the most similar first; of equal ones those with the lower numbers.

    similarity(i, j) = (weight * common users + more[i - start, j]) / max(length[i] length[j] + shrink, 1e-12), and 0 of
    an item with itself. length: float32 [I]; more: float32 [stop - start, I], or without rows for nothing more. Then
    only items with common users are neighbors; where they are fewer than K, others follow with similarity 0. user_ptr
    to item: `ItemUsers`."""
    least, one, add = np.float32(1e-12), np.float32(weight), np.float32(shrink)
    count, touched = np.zeros(len(length), np.int32), np.empty(len(length), np.int32)
    found, everything = np.empty(len(length), np.float32), len(more) > 0
    for i in range(start, stop):
        counts = 0
        for at in range(user_ptr[i], user_ptr[i + 1]):
            counts += item_ptr[user[at] + 1] - item_ptr[user[at]]
        here, values = neighbor[i], similarity[i]
        kept: Any = np.int64(0)  # no constant, or what is called is compiled for that as well
        if counts * FEW < len(count) and not everything:  # few of many: only what was counted is looked at
            number = _count_and_list(count, touched, i, user_ptr, user, item_ptr, item)
            for place in range(number):
                j: Any = np.int64(touched[place])
                if j != i:
                    value = one * np.float32(count[j]) / max(length[i] * length[j] + add, least)
                    kept = _offer(here, values, kept, j, value)
                count[j] = 0
        else:
            _count(count, i, user_ptr, user, item_ptr, item)
            for j in range(len(count)):
                found[j] = one * np.float32(count[j])
            if everything:
                for j in range(len(count)):
                    found[j] += more[i - start, j]
            for j in range(len(count)):
                found[j] /= max(length[i] * length[j] + add, least)
                count[j] = 0
            found[i] = 0
            for j in range(len(count)):
                wanted = kept < len(here) or found[j] > values[0]  # of equal ones the first stay
                if wanted and (found[j] > 0 or everything):
                    kept = _offer(here, values, kept, j, found[j])
        _sort(here, values, kept)
        for place in range(kept):
            count[here[place]] = 1
        j = 0
        for place in range(kept, len(here)):
            while count[j]:
                j += 1
            here[place], values[place] = j, 0
            j += 1
        for place in range(kept):
            count[here[place]] = 0


@numba.njit(**MODE)
def _count(
    count: np.ndarray, i: int, user_ptr: np.ndarray, user: np.ndarray, item_ptr: np.ndarray, item: np.ndarray
) -> None:
    for at in range(user_ptr[i], user_ptr[i + 1]):
        u = user[at]
        for place in range(item_ptr[u], item_ptr[u + 1]):
            count[item[place]] += 1


@numba.njit(**MODE)
def _count_and_list(
    count: np.ndarray,
    touched: np.ndarray,
    i: int,
    user_ptr: np.ndarray,
    user: np.ndarray,
    item_ptr: np.ndarray,
    item: np.ndarray,
) -> int:
    """The same, and the items whose count is above 0 are listed in `touched`. Returns how many they are."""
    found = 0
    for at in range(user_ptr[i], user_ptr[i + 1]):
        u = user[at]
        for place in range(item_ptr[u], item_ptr[u + 1]):
            j = item[place]
            if not count[j]:
                touched[found] = j
                found += 1
            count[j] += 1
    return found


@numba.njit(**MODE)
def _is_behind(value: float, j: int, other_value: float, other: int) -> bool:
    """Whether item j comes after another: it is less similar, or as similar with a higher number."""
    return value < other_value or (value == other_value and j > other)


@numba.njit(**MODE)
def _offer(here: np.ndarray, values: np.ndarray, kept: int, j: int, value: float) -> int:
    """Keep item j if it is one of the best so far. here, values: [K], a heap of the `kept` best ones, the last of them
    on top. Returns how many are kept then."""
    if kept < len(here):
        at = kept
        while at:
            above = (at - 1) // 2
            if not _is_behind(value, j, values[above], here[above]):
                break
            here[at], values[at] = here[above], values[above]
            at = above
        here[at], values[at] = j, value
        return kept + 1
    if _is_behind(values[0], here[0], value, j):
        _sink(here, values, kept, j, value)
    return kept


@numba.njit(**MODE)
def _sink(here: np.ndarray, values: np.ndarray, kept: int, j: int, value: float) -> None:
    """Put item j on top of the heap, in place of what is there, and let it sink to where it belongs."""
    at = 0
    while 2 * at + 1 < kept:
        below = 2 * at + 1
        if below + 1 < kept and _is_behind(values[below + 1], here[below + 1], values[below], here[below]):
            below += 1
        if not _is_behind(values[below], here[below], value, j):
            break
        here[at], values[at] = here[below], values[below]
        at = below
    here[at], values[at] = j, value


@numba.njit(**MODE)
def _sort(here: np.ndarray, values: np.ndarray, kept: int) -> None:
    """From a heap to a list, the best first."""
    for end in range(kept - 1, 0, -1):
        j, value = here[end], values[end]
        here[end], values[end] = here[0], values[0]
        _sink(here, values, np.int64(end), j, value)
