"""The best items of each user while scores come in parts: each score is read once, and nothing is sorted but the few
that are kept."""

from __future__ import annotations

import numba
import numpy as np

BLOCK = 64  #: scores that are compared with the worst one kept before any of them is looked at


class TopItems:
    """The first K of each of B users by score, and by the order of ties where scores are equal."""

    def __init__(self, depth: int, of_user: np.ndarray, row: np.ndarray, column: np.ndarray, columns: int) -> None:
        """depth: K; of_user: the users' numbers in the order of ties, int64 [B]; row, column: what is left out, int64
        [n] each; columns: how many there are in all."""
        self.of_user = np.ascontiguousarray(of_user)
        self.score = np.full((len(of_user), depth), -np.inf, np.float32)  #: best first, -inf where there are fewer
        self.column = np.full((len(of_user), depth), -1, np.int64)  #: -1 where there are fewer
        self.tie = np.zeros((len(of_user), depth), np.int64)
        self.number = np.zeros(len(of_user), np.int64)  #: of those that are kept
        cell = row.astype(np.int64) * columns + column
        cell.sort()
        self.left_out = cell % columns if columns else cell
        self.ptr = np.searchsorted(cell, np.arange(len(of_user) + 1) * columns)

    def add(self, scores: np.ndarray, first: int, of_item: np.ndarray) -> bool:
        """Take in the scores of the next columns. Returns whether all are finite; if not, the rest is not looked at.

        scores: float32 [B, C]; first: number of the first of these columns; of_item: the items' numbers in the order of
        ties, int64 [C]."""
        kept = self.score, self.column, self.tie, self.number
        return bool(_keep(scores, first, self.of_user, of_item, self.ptr, self.left_out, *kept))


@numba.njit(nogil=True, cache=True)
def _keep(
    scores: np.ndarray,
    first: int,
    of_user: np.ndarray,
    of_item: np.ndarray,
    ptr: np.ndarray,
    left_out: np.ndarray,
    kept_score: np.ndarray,
    kept_column: np.ndarray,
    kept_tie: np.ndarray,
    number: np.ndarray,
) -> bool:
    """See `TopItems.add`; what is kept is changed in place."""
    depth, width = kept_score.shape[1], scores.shape[1]
    for row in range(scores.shape[0]):
        of_row, score, column, tie = scores[row], kept_score[row], kept_column[row], kept_tie[row]
        here = number[row]
        least = score[depth - 1]  # -inf until K are there
        for start in range(0, width, BLOCK):
            block = of_row[start : start + BLOCK]
            hits = np.int32(0)
            for place in range(len(block)):
                hits += np.int32((block[place] >= least) | (not abs(block[place]) < np.inf))
            if not hits:
                continue
            for place in range(len(block)):
                value, item = block[place], start + place
                if not abs(value) < np.inf:
                    return False
                if value < least:
                    continue
                its_tie = of_user[row] * of_item[item]
                if here == depth and value == least and its_tie >= tie[depth - 1]:
                    continue
                if _is_among(left_out, ptr[row], ptr[row + 1], first + item):
                    continue
                at = min(here, depth - 1)
                while at > 0 and (score[at - 1] < value or (score[at - 1] == value and tie[at - 1] > its_tie)):
                    score[at], column[at], tie[at] = score[at - 1], column[at - 1], tie[at - 1]
                    at -= 1
                score[at], column[at], tie[at] = value, first + item, its_tie
                here = min(here + 1, depth)
                least = score[depth - 1]
        number[row] = here
    return True


@numba.njit(nogil=True, cache=True)
def _is_among(values: np.ndarray, start: int, stop: int, wanted: int) -> bool:
    """Whether a value is in a rising part of `values`."""
    end = stop
    while start < stop:
        middle = (start + stop) // 2
        if values[middle] < wanted:
            start = middle + 1
        else:
            stop = middle
    return start < end and values[start] == wanted
