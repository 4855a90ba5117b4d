"""What lists are beside accurate: how varied, how near to the shares of a user's history, how little known."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # its parts are imported when they are first used

ALPHA = 0.01  #: share of the user's own shares that is mixed into the list's, so that their distance is finite
ROWS = 1024  #: lists that are held against histories at once
WIDEST = 2048  #: rows of more shares than this are not written out


def rows_of(items: np.ndarray, num_items: int) -> scipy.sparse.csr_array:
    """Lists [U, K] of local numbers, -1 behind the end of a short one, as 0-1 rows [U, num_items]."""
    row, place = (items >= 0).nonzero()
    return scipy.sparse.csr_array((np.ones(len(row)), (row, items[row, place])), shape=(len(items), num_items))


def intra_list_diversity(lists: scipy.sparse.csr_array, unit: scipy.sparse.csr_array | np.ndarray) -> np.ndarray:
    """1 - the mean likeness of all pairs of a list's items (Ziegler et al. 2005, as a mean), where the likeness of two
    is the product of their rows of `unit`: float64 [U], NaN for a list of less than two.

    lists: 0-1 rows [U, I]; unit: [I, D], rows of length 1, or 0 for an item of which nothing is known.

    >>> unit = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> intra_list_diversity(rows_of(np.array([[0, 1, 2]]), 3), unit).round(4).tolist()  # one pair of three is alike
    [0.6667]
    """
    number, total = np.diff(lists.indptr), lists @ unit
    squares, alone = _squares(total), lists @ _squares(unit)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - (squares - alone) / (number * (number - 1))


def _squares(rows: Any) -> np.ndarray:
    """The sum of the squares of each row: float64 [n]."""
    return np.asarray((rows * rows).sum(axis=1), np.float64).reshape(-1)


def unit_rows(ptr: np.ndarray, value: np.ndarray, number: int) -> scipy.sparse.csr_array:
    """Sets of values as rows of length 1, [I, number], so that a product of two is the cosine of the sets: what both
    have / sqrt(what the one has * what the other has). Those of item i are value[ptr[i] : ptr[i + 1]]."""
    size = np.diff(ptr)
    entries = np.repeat(1 / np.sqrt(np.maximum(size, 1)), size)
    return scipy.sparse.csr_array((entries, value, ptr), shape=(len(size), number))


def shares(lists: scipy.sparse.csr_array, ptr: np.ndarray, value: np.ndarray, number: int) -> scipy.sparse.csr_array:
    """The share of each value in each list, [U, number]: an item counts 1 / its values for each of them, and one that
    has none does not count (Steck 2018, eqs. 2 and 3, all weights 1). Rows sum to 1, or to 0 where no item counts."""
    size = np.diff(ptr)
    entries = np.repeat(1 / np.maximum(size, 1), size)
    found = scipy.sparse.csr_array(lists @ scipy.sparse.csr_array((entries, value, ptr), shape=(len(size), number)))
    counted = np.maximum(lists @ (size > 0).astype(np.float64), 1)
    found.data /= np.repeat(counted, np.diff(found.indptr))
    return found


def calibration_error(own: scipy.sparse.csr_array, listed: scipy.sparse.csr_array) -> np.ndarray:
    """KL(p, q) = sum of p log(p / q), with p the shares of a user's history and q those of the list, of which 0.01 is
    p's, so that it is finite (Steck 2018, eqs. 4 and 5): float64 [U], NaN for a user without shares. 0 is calibrated.

    own, listed: rows of shares [U, G].

    >>> own, listed = scipy.sparse.csr_array([[0.5, 0.5]]), scipy.sparse.csr_array([[1.0, 0.0]])
    >>> calibration_error(own, listed).round(4).tolist()  # 0.5 log(0.5 / 0.995) + 0.5 log(0.5 / 0.005)
    [1.9585]
    """
    found = np.full(own.shape[0], np.nan)
    for start in range(0, own.shape[0], ROWS):
        if own.shape[1] > WIDEST:
            stop = start + ROWS
            found[start:stop] = _error_of_entries(own[start:stop], listed[start:stop])
            continue
        p, q = own[start : start + ROWS].toarray(), listed[start : start + ROWS].toarray()
        mixed = (1 - ALPHA) * q + ALPHA * p
        there = p > 0
        terms = np.where(there, p * np.log(np.where(there, p, 1) / np.where(there, mixed, 1)), 0)
        found[start : start + ROWS] = np.where(there.any(1), terms.sum(1), np.nan)
    return found


def _error_of_entries(own: scipy.sparse.csr_array, listed: scipy.sparse.csr_array) -> np.ndarray:
    """What `calibration_error` gives, from the entries that are there: the others have p = 0 and add nothing."""
    width, keys = own.shape[1], []
    for one in (own, listed):
        one.sort_indices()
        keys.append(np.repeat(np.arange(one.shape[0]), np.diff(one.indptr)) * width + one.indices)
    mine, theirs = keys
    place = np.searchsorted(theirs, mine)
    q = np.zeros(len(mine))
    if len(theirs):
        same = theirs[np.minimum(place, len(theirs) - 1)] == mine
        q[same] = listed.data[place[same]]
    p = own.data
    there = p > 0
    mixed = (1 - ALPHA) * q[there] + ALPHA * p[there]
    row = (mine // width)[there]
    total = np.bincount(row, weights=p[there] * np.log(p[there] / mixed), minlength=own.shape[0])
    return np.where(np.bincount(row, minlength=own.shape[0]) > 0, total, np.nan)


def novelty(items: np.ndarray, num_users: np.ndarray, users: int) -> np.ndarray:
    """The mean of -log2(users of an item in training / all users) over a list's items (Zhou et al. 2010, mean
    self-information): float64 [U], in bits, NaN for an empty list. An item without a user counts as one with one.

    items: [U, K] local numbers, -1 behind the end of a short list; num_users: [I], those of each item.

    >>> novelty(np.array([[0, 1], [2, -1]]), np.array([4, 1, 0]), 4).tolist()  # (0 + 2) / 2, and 2
    [1.0, 2.0]
    """
    bits = -np.log2(np.maximum(num_users, 1) / max(1, users))
    there = items >= 0
    with np.errstate(invalid="ignore"):
        return np.where(there, bits[items], 0).sum(1) / np.where(there.any(1), there.sum(1), np.nan)
