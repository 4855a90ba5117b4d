"""Items' vectors in a byte a number, by which most items of a large catalog are ruled out before the rest is scored.

A number is rounded to one of 255 steps of its vector's largest number. So a product with a user's vector u is off by at
most half a step times |u|_1, and an item that is below the K-th best by more than both errors cannot be among the best
K. What is left, some hundred items of a million, is scored as the model scores. It reads a quarter of the memory, which
is what takes the time of a large catalog, and the lists are the same.
"""

from __future__ import annotations

import numba
import numpy as np

from kgrec.linear_scores import LinearScores
from kgrec.serving.exact_scores import product_of
from kgrec.training.trained_model import TrainedModel

LEAST_ITEMS = 1 << 16  #: of a catalog for which this pays
STEPS = 127  #: on each side of 0
BLOCK = 64  #: items of which the best one speaks for the K-th best
LEAST = 64  #: items that are left at least
#: what a model's own rounding may add to both errors: a share of them, and of a score
SHARE, OF_SCORE = 1.01, 1e-5
ROWS = 1 << 16  #: items that are rounded at once


class CoarseItems:
    """Rounded vectors of a run's items. I items, D numbers each."""

    def __init__(self, scores: LinearScores) -> None:
        """scores: of kind `dot`."""
        self.scores, self.user, item = scores, scores.arrays["user"], scores.arrays["item"]
        self.rounded, self.step = np.empty(item.shape, np.int8), np.empty(len(item), np.float32)
        for start in range(0, len(item), ROWS):
            part = item[start : start + ROWS]
            step = np.abs(part).max(1) / STEPS
            self.step[start : start + ROWS] = step
            self.rounded[start : start + ROWS] = np.round(part / np.where(step > 0, step, 1)[:, None])
        self.bias = np.ascontiguousarray(scores.arrays.get("item_bias", np.zeros(0)), np.float32)

    @staticmethod
    def of(run: TrainedModel) -> CoarseItems | None:
        """None for a small catalog, and for a model whose scores are no products of vectors."""
        if len(run.graph.range(run.graph.target[2])) < LEAST_ITEMS:
            return None
        scores = product_of(run)
        if scores is None or scores.arrays["item"].dtype != np.float32:
            return None
        return CoarseItems(scores)

    def common(self, user: int) -> np.float32:
        """What all scores of a user have in common."""
        bias = self.scores.arrays.get("user_bias")
        return np.float32(self.scores.constant + (0 if bias is None else float(bias[user])))

    def candidates(self, user: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """The items that may be among the first `most` of a user, by local numbers, rising, int64 [n], and between what
        their scores are without what all items of the user have in common: float32 [n] each. None where they cannot be
        told from others by this."""
        vector = np.ascontiguousarray(self.user[user], np.float32)
        most = max(most, LEAST)
        if most > len(self.rounded) // BLOCK:
            return None
        lower, upper = np.empty((2, len(self.rounded)), np.float32)
        best = np.full(-(-len(lower) // BLOCK), -np.inf, np.float32)
        off = np.float32(SHARE * 0.5 * np.abs(vector).sum(dtype=np.float64))
        bounds(self.rounded, self.step, self.bias, vector, off, lower, upper, best)
        place = np.flatnonzero(upper >= np.partition(best, -most)[-most])
        return (place, lower[place], upper[place]) if len(place) <= len(lower) // 4 else None


@numba.njit(nogil=True, cache=True, fastmath={"nsz", "arcp", "contract", "afn", "reassoc"})
def bounds(
    rounded: np.ndarray,
    step: np.ndarray,
    bias: np.ndarray,
    vector: np.ndarray,
    off: np.float32,
    lower: np.ndarray,
    upper: np.ndarray,
    best: np.ndarray,
) -> None:
    """Between what the scores of all items are. rounded: int8 [I, D]; step: float32 [I]; bias: float32 [I] or [0];
    vector: float32 [D]; off: how far a product is off at most, in steps; lower, upper: float32 [I]; best: float32
    [I / BLOCK], the highest of each block's `lower`."""
    for item in range(len(rounded)):
        total = np.float32(0)
        for place in range(len(vector)):
            total += np.float32(rounded[item, place]) * vector[place]
        score = total * step[item]
        if len(bias):
            score += bias[item]
        error = off * step[item] + np.float32(OF_SCORE) * abs(score)
        lower[item], upper[item] = score - error, score + error
        best[item // BLOCK] = max(best[item // BLOCK], score - error)
