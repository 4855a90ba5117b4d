"""Compiled loops of a training step of a perceptron on pairs: what it does besides products of matrices."""

from __future__ import annotations

import numba
import numpy as np

from kgrec.nn.touched_rows import FAST, PairLoss, slopes
from kgrec.parallel_loops import parallel

PARTS = 16  #: of a batch, which threads share


@parallel(lambda user, user_row, item, item_row, weight, scores: scores.size * len(weight), fastmath=FAST)
def add_weighed_products(
    user: np.ndarray,
    user_row: np.ndarray,
    item: np.ndarray,
    item_row: np.ndarray,
    weight: np.ndarray,
    scores: np.ndarray,
) -> None:
    """Add weight . (user[user_row[b]] * item[item_row[b, c]]) to scores[b, c]. user, item: float32 [*, D]; weight:
    float32 [D]; user_row: int64 [B]; item_row: int64 [B, C]; scores: float32 [B, C]."""
    for part in numba.prange(PARTS):
        mine = np.empty(len(weight), np.float32)
        for b in range(part * len(scores) // PARTS, (part + 1) * len(scores) // PARTS):
            own = user[user_row[b]]
            for d in range(len(mine)):
                mine[d] = own[d] * weight[d]
            for c in range(scores.shape[1]):
                other, total = item[item_row[b, c]], np.float32(0)
                for d in range(len(mine)):
                    total += mine[d] * other[d]
                scores[b, c] += total


@parallel(lambda slope, other, *_: slope.size * other.shape[1], fastmath=FAST)
def weighed_gradients(
    slope: np.ndarray,
    other: np.ndarray,
    other_row: np.ndarray,
    weight: np.ndarray,
    ptr: np.ndarray,
    order: np.ndarray,
    own: np.ndarray,
    own_row: np.ndarray,
    out: np.ndarray,
    of_weight: np.ndarray,
) -> None:
    """The gradient of `add_weighed_products` by the rows of one end: out, float32 [m, D]. slope: float32 [n], that of
    the scores; other, other_row: the table of the other end and its row of each score, int64 [n]; ptr, order: the
    scores of each row, int64 [m + 1] or more, and [n]; own, own_row: the table of this end and its rows, int64 [m]. The
    gradient by the weight is added to of_weight, float32 [PARTS, D], for a part of the rows each, unless D is 0
    there."""
    for part in numba.prange(PARTS):
        total, of_by = np.empty(len(weight), np.float32), of_weight[part]
        for m in range(part * len(out) // PARTS, (part + 1) * len(out) // PARTS):
            for d in range(len(total)):
                total[d] = 0
            for at in range(ptr[m], ptr[m + 1]):
                share, there = slope[order[at]], other[other_row[order[at]]]
                for d in range(len(total)):
                    total[d] += share * there[d]
            into, mine = out[m], own[own_row[m]]
            for d in range(len(total)):
                into[d] = weight[d] * total[d]
            for d in range(len(of_by)):
                of_by[d] += mine[d] * total[d]


@parallel(lambda made, *_: made.size, fastmath=FAST)
def sum_relu_dropout_of(
    made: np.ndarray, scale: np.float32, gradient: np.ndarray, ptr: np.ndarray, order: np.ndarray, out: np.ndarray
) -> None:
    """The gradient of `vector_kernels.sum_relu_dropout` by the rows of one end: out, float32 [M, D], whose rows behind
    those of `ptr` become zeros. made: what it has made, float32 [n, D]; gradient: that of it; ptr, order: the places
    in `made` of each row, int64 [m + 1] and [n]."""
    for part in numba.prange(PARTS):
        for m in range(part * len(out) // PARTS, (part + 1) * len(out) // PARTS):
            into = out[m]
            for d in range(len(into)):
                into[d] = 0
            if m < len(ptr) - 1:
                for at in range(ptr[m], ptr[m + 1]):
                    there, given = made[order[at]], gradient[order[at]]
                    for d in range(len(into)):
                        into[d] += scale * given[d] if there[d] > 0 else np.float32(0)


@parallel(lambda scores, *_: 20 * scores.size)
def slopes_of_pairs(
    scores: np.ndarray, item: np.ndarray, log_count: np.ndarray, loss: PairLoss, slope: np.ndarray, found: np.ndarray
) -> None:
    """The losses of examples and their gradient by the scores, over the number of examples: found, float64 [PARTS],
    sums over parts of the batch; slope: float32 [B, 1 + K]. scores: float32 [B, 1 + K], the true item's first, those of
    negatives that do not count are overwritten; item: int64 [B, 1 + K]; log_count: float32 [B, K] for sampled softmax,
    else [1, K]."""
    mean = np.float32(1 / max(1, len(scores)))
    for part in numba.prange(PARTS):
        total = 0.0
        for b in range(part * len(scores) // PARTS, (part + 1) * len(scores) // PARTS):
            own, into, true = scores[b], slope[b], item[b, 0]
            for c in range(1, len(own)):
                if item[b, c] == true:
                    own[c] = loss.missing
            total += slopes(loss.kind, own, log_count[b if len(log_count) > 1 else 0], loss.weight, into)
            for c in range(len(own)):
                into[c] = np.float32(0) if c and item[b, c] == true else into[c] * mean
        found[part] = total * mean


@parallel(lambda out, *_: out.size, error_model="numpy")
def output_back(
    out: np.ndarray,
    scale: np.float32,
    slope: np.ndarray,
    weight: np.ndarray,
    of_x: np.ndarray,
    of_weight: np.ndarray,
    of_bias: np.ndarray,
) -> None:
    """The gradient of dropout(ReLU(x)) . weight by x, float32 [n, D], which is written to of_x. out: float32 [n, D],
    what dropout has made; slope: float32 [n], the gradient of the products; weight: float32 [D]. For a part of the rows
    each, the gradient by the weight is added to of_weight, and that by a bias of x to of_bias, float32 [PARTS, D]."""
    for part in numba.prange(PARTS):
        of_by, of_before = of_weight[part], of_bias[part]
        for n in range(part * len(out) // PARTS, (part + 1) * len(out) // PARTS):
            made, into, share, factor = out[n], of_x[n], slope[n], scale * slope[n]
            for d in range(len(weight)):
                of_by[d] += share * made[d]
            for d in range(len(weight)):
                into[d] = factor * weight[d] if made[d] > 0 else np.float32(0)
            for d in range(len(weight)):
                of_before[d] += into[d]
