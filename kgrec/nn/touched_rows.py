"""Adam over all rows of a table, computed only where a batch touches one.

Without a gradient, a row's step follows from its moments alone: after k such steps they are b1^k m and b2^k v, and the
row has moved by m times the sum over j of c_j / (a_j sqrt(v) + eps). Here c_j is b1^j times the step's size, and a_j is
b2^(j/2) over the root of the correction of v. So these steps can wait until a batch touches the row again.

Since a_j changes slowly, they are then one step. Let q = 1 / (a_0 sqrt(v) + eps), which the last update left, w = 1 -
eps q and e_j = 1 - a_j / a_0. Then each term is c_j q / (1 - w e_j), and the sum is q times a polynomial in w, whose
coefficients are the sums of c_j e_j^n. They are the same for all rows of the same last step. In the first steps, where
a_j changes fast, the terms are added one by one.

The numbers are those of Adam over all rows (Kingma & Ba 2015, algorithm 1), up to rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from kgrec.parallel_loops import parallel

TERMS = 5  #: coefficients of the polynomial
LEAST = 1e-9  #: what is left of a gradient's share of a mean when it no longer counts
CLOSE = 1e-6  #: the first coefficient that is left out, against the first one, from which the polynomial serves
FAST = {"reassoc", "contract", "nsz"}


class Rows(NamedTuple):
    """A table and what Adam keeps of its rows. All are float32 [N, D], except `last`."""

    value: np.ndarray  #: as after the step `last`, for each row
    mean: np.ndarray
    square: np.ndarray
    inverse: np.ndarray  #: 1 / (root of the corrected square + eps)
    last: np.ndarray  #: int64 [N], the step of the epoch that has last touched the row; 0: none


class Clock(NamedTuple):
    """Adam's settings in S steps; step 0 is what was before them."""

    size: np.ndarray  #: float64 [S + 1], the learning rate over the correction of the mean
    root: (
        np.ndarray
    )  #: float64 [S + 1], 1 over the root of the correction of the square; 0 before the first step of all
    mean_left: np.ndarray  #: float64 [S + 1], beta1 ** n
    square_left: np.ndarray  #: float64 [S + 1], beta2 ** n
    sums: np.ndarray  #: float64 [S + 1, TERMS + 1], the coefficients for rows that a step has touched last
    until: np.ndarray  #: int64 [S + 1], the step that these sums go to
    beta1: float
    beta2: float
    eps: float


@numba.njit(nogil=True, cache=True)
def _add_terms(clock: Clock, last: int, now: int) -> None:
    """Bring the coefficients for rows that were last touched by a step up to the step before `now`."""
    sums = clock.sums
    for step in range(max(clock.until[last], last) + 1, now):
        gap = step - last
        size = clock.size[step] * clock.mean_left[gap]
        if clock.mean_left[gap] < LEAST:
            break
        change = 1 - clock.root[step] * np.sqrt(clock.square_left[gap]) / clock.root[last]
        for n in range(TERMS + 1):
            sums[last, n] += size
            size *= change
    clock.until[last] = now - 1


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def catch_up(rows: Rows, clock: Clock, touched: np.ndarray, now: int) -> None:
    """Bring the values of rows, int64 [n], up to the step before `now`."""
    value, mean, square, inverse, all_last = rows.value, rows.mean, rows.square, rows.inverse, rows.last
    sums, root, size, mean_left, square_left = clock.sums, clock.root, clock.size, clock.mean_left, clock.square_left
    until, eps, one = clock.until, np.float32(clock.eps), np.float32(1)
    for row in touched:
        last = all_last[row]
        if last == now - 1 or root[last] == 0:
            continue
        if until[last] < now - 1:
            _add_terms(clock, last, now)
        if abs(sums[last, TERMS]) <= CLOSE * sums[last, 0]:
            e0, e1, e2 = np.float32(sums[last, 0]), np.float32(sums[last, 1]), np.float32(sums[last, 2])
            e3, e4 = np.float32(sums[last, 3]), np.float32(sums[last, 4])
            for d in range(value.shape[1]):
                w = one - eps * inverse[row, d]
                value[row, d] -= mean[row, d] * inverse[row, d] * (e0 + w * (e1 + w * (e2 + w * (e3 + w * e4))))
            continue
        for step in range(last + 1, now):
            gap = step - last
            if mean_left[gap] < LEAST:
                break
            part, by = np.float32(size[step] * mean_left[gap]), np.float32(root[step] * np.sqrt(square_left[gap]))
            for d in range(value.shape[1]):
                value[row, d] -= part * mean[row, d] / (by * np.sqrt(square[row, d]) + eps)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def update(
    rows: Rows, clock: Clock, touched: np.ndarray, order: np.ndarray, now: int, gradient: np.ndarray, decay: np.ndarray
) -> float:
    """Step `now` for rows, int64 [n], whose values are those of the step before, in some order of them, int64 [n].
    gradient: float32 [n, D], of the loss without a term that is added here: half of the decay of each row, float32 [n],
    times the sum of its squares. Returns this term."""
    value, mean, square, inverse, last = rows.value, rows.mean, rows.square, rows.inverse, rows.last
    keep1, keep2 = np.float32(1 - clock.beta1), np.float32(1 - clock.beta2)
    size, root, eps = np.float32(clock.size[now]), np.float32(clock.root[now]), np.float32(clock.eps)
    all_mean_left, all_square_left, beta2 = clock.mean_left, clock.square_left, clock.beta2
    total = 0.0
    for at in order:
        row, pull, squares = touched[at], decay[at], np.float32(0)
        gap = now - 1 - last[row]
        mean_left, square_left = np.float32(all_mean_left[gap]), np.float32(all_square_left[gap] * beta2)
        for d in range(value.shape[1]):
            was = value[row, d]
            old, g = mean_left * mean[row, d], gradient[at, d] + pull * was
            new, new_square = old + keep1 * (g - old), square_left * square[row, d] + keep2 * (g * g)
            q = np.float32(1) / (np.sqrt(new_square) * root + eps)
            mean[row, d], square[row, d], inverse[row, d] = new, new_square, q
            value[row, d] = was - size * new * q
            squares += was * was
        total += pull * squares
        last[row] = now
    return total / 2


class StepOfAll(NamedTuple):
    """Adam's settings in one step."""

    keep1: float  #: 1 - beta1
    keep2: float  #: 1 - beta2
    size: float  #: the learning rate over the correction of the mean
    root: float  #: 1 over the root of the correction of the square
    eps: float


PARTS = 64  #: of a table, which threads share


@parallel(lambda value, *_: value.size // 2, error_model="numpy", fastmath=FAST)
def update_all(
    value: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    place: np.ndarray,
    gradient: np.ndarray,
    decay: np.ndarray,
    how: StepOfAll,
) -> None:
    """A step of all rows of a table and its moments, float32 [N, D]. place: int64 [N], where the gradient of a row
    stands in `gradient`, float32 [m, D], and in `decay`, float32 [m], as `update` takes them; -1: there is none."""
    keep1, keep2, eps = np.float32(how.keep1), np.float32(how.keep2), np.float32(how.eps)
    size, root = np.float32(how.size), np.float32(how.root)
    left1, left2 = np.float32(1) - keep1, np.float32(1) - keep2
    for part in numba.prange(PARTS):
        for row in range(part * len(value) // PARTS, (part + 1) * len(value) // PARTS):
            own, mine, squares, at = value[row], mean[row], square[row], place[row]
            if at >= 0:
                given, pull = gradient[at], decay[at]
                for d in range(own.shape[0]):
                    g = given[d] + pull * own[d]
                    mine[d], squares[d] = mine[d] + keep1 * (g - mine[d]), left2 * squares[d] + keep2 * (g * g)
                    own[d] -= size * mine[d] / (np.sqrt(squares[d]) * root + eps)
            else:
                for d in range(own.shape[0]):
                    mine[d], squares[d] = left1 * mine[d], left2 * squares[d]
                    own[d] -= size * mine[d] / (np.sqrt(squares[d]) * root + eps)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def finish(rows: Rows, clock: Clock, now: int) -> None:
    """Bring all rows and their moments to the step `now`."""
    catch_up(rows, clock, np.arange(len(rows.value)), now + 1)
    mean, square, last = rows.mean, rows.square, rows.last
    for row in range(len(last)):
        gap = now - last[row]
        mean_left, square_left = np.float32(clock.mean_left[gap]), np.float32(clock.square_left[gap])
        for d in range(mean.shape[1]):
            mean[row, d] *= mean_left
            square[row, d] *= square_left
        last[row] = now


@numba.njit(nogil=True, cache=True)
def distinct(
    row: np.ndarray, padding: int, place_of: np.ndarray, place: np.ndarray, touched: np.ndarray, number: int
) -> int:
    """Find the distinct rows among `row`, int64 [n], in the order in which they come first, behind touched[:number],
    those of the step so far. Returns their number in all, and writes new ones to `touched`, and the place of each row
    among all to `place`, int64 [n]. place_of: int64 [N], the places of the step's rows, -1 for others. The row
    `padding` is not among them, and has the place -1; with padding = -1 there is none."""
    for n in range(len(row)):
        if row[n] == padding:
            place[n] = -1
            continue
        if place_of[row[n]] < 0:
            place_of[row[n]] = number
            touched[number] = row[n]
            number += 1
        place[n] = place_of[row[n]]
    return number


@numba.njit(nogil=True, cache=True)
def place_in(touched: np.ndarray, place_of: np.ndarray, row: np.ndarray, place: np.ndarray) -> None:
    """Write where each of `row`, int64 [n], stands among `touched`, int64 [m], to `place`, int64 [n]. place_of: int64
    [N], places of rows, which are -1 afterwards."""
    for m in range(len(touched)):
        place_of[touched[m]] = m
    for n in range(len(row)):
        place[n] = place_of[row[n]]
    for m in range(len(touched)):
        place_of[touched[m]] = -1


@numba.njit(nogil=True, cache=True)
def add_at(place: np.ndarray, rows: np.ndarray, into: np.ndarray) -> None:
    """Add rows, float32 [n, D], to those of `into`, float32 [m, D], at places, int64 [n]; not those with place -1."""
    for n in range(len(place)):
        if place[n] >= 0:
            own, other = rows[n], into[place[n]]
            for d in range(own.shape[0]):
                other[d] += own[d]


@numba.njit(nogil=True, cache=True, fastmath=True)
def add_pairs_at(
    vector: np.ndarray,
    row: np.ndarray,
    gradient: np.ndarray,
    of_vector: np.ndarray,
    table: np.ndarray,
    place: np.ndarray,
    into: np.ndarray,
) -> None:
    """Add the gradients of dot products of vectors, float32 [B, D], with rows of a table, int64 [B, C], to of_vector
    and, at places, int64 [B, C], to `into`, float32 [m, D]; not those with place -1. gradient: float32 [B, C]."""
    for b in range(len(vector)):
        mine, of_mine = vector[b], of_vector[b]
        for c in range(row.shape[1]):
            other, factor, at = table[row[b, c]], gradient[b, c], place[b, c]
            for d in range(mine.shape[0]):
                of_mine[d] += factor * other[d]
            if at >= 0:
                of_other = into[at]
                for d in range(mine.shape[0]):
                    of_other[d] += factor * mine[d]


@numba.njit(nogil=True, cache=True, fastmath=True)
def sum_of_squares(table: np.ndarray, rows: np.ndarray, times: np.ndarray) -> float:
    """The sum over rows of a table, int64 [m], of their squares times `times`, float32 [m]."""
    total = 0.0
    for m in range(len(rows)):
        own, squares = table[rows[m]], np.float32(0)
        for d in range(own.shape[0]):
            squares += own[d] * own[d]
        total += squares * times[m]
    return total


BPR, BCE, GBCE, SAMPLED_SOFTMAX = 0, 1, 2, 3


@numba.njit(nogil=True, cache=True)
def _softplus(x: float) -> tuple[float, float]:
    """The softplus and its slope, which is the sigmoid."""
    power = np.exp(-abs(x))
    return max(x, 0.0) + np.log1p(power), (1.0 if x >= 0 else power) / (1 + power)


@numba.njit(nogil=True, cache=True)
def slopes(kind: int, scores: np.ndarray, log_count: np.ndarray, weight: float, slope: np.ndarray) -> float:
    """The loss of an example, as in `kgrec.nn.losses`; its gradient by the scores is written to `slope`. scores, slope:
    float32 [1 + K], the true item's first; log_count: float32 [K], with sampled softmax; weight: that of the true item
    with gbce."""
    positive, count, loss = scores[0], len(scores) - 1, 0.0
    slope[0] = 0
    if kind == BPR:
        for k in range(1, count + 1):
            value, share = _softplus(scores[k] - positive)
            loss += value / count
            slope[k] = share / count
            slope[0] -= slope[k]
    elif kind in (BCE, GBCE):
        value, share = _softplus(-positive)
        loss = weight * value
        slope[0] = -weight * share
        for k in range(1, count + 1):
            value, share = _softplus(scores[k])
            loss += value
            slope[k] = share
    else:
        top = -np.inf
        for k in range(1, count + 1):
            top = max(top, scores[k] - log_count[k - 1])
        mass = 0.0
        for k in range(1, count + 1):
            slope[k] = np.exp(scores[k] - log_count[k - 1] - top)
            mass += slope[k]
        loss, share = _softplus(np.log(mass) + top - positive)
        slope[0] = -share
        for k in range(1, count + 1):
            slope[k] *= share / mass
    return loss


class PairLoss(NamedTuple):
    """The loss of a batch of pairs."""

    kind: int
    weight: float  #: of the true item with gbce
    scale: float  #: scores are dot products times it
    l2: float
    missing: float  #: the score of a negative that does not count


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def pair_gradients(
    user: np.ndarray,
    item: np.ndarray,
    place_of_user: np.ndarray,
    place_of_item: np.ndarray,
    log_count: np.ndarray,
    of_users: np.ndarray,
    of_items: np.ndarray,
    decay_of_users: np.ndarray,
    decay_of_items: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    loss: PairLoss,
) -> float:
    """The loss of matrix factorization without its l2 term, the mean over the examples of a batch, and its gradient.

    user: int64 [n], rows of u; item: int64 [n, 1 + K], rows of v, the true item's first. log_count: float32 [n, K] for
    sampled softmax, else [1, K]. The gradients are added to of_users and of_items, float32 [*, D], at the places that
    stand in place_of_user [n] and place_of_item [n, 1 + K]; always in the order of the batch, so that the sums are the
    same each time. What `update` is to take as the decay of a row for the l2 term is added to decay_of_users and
    decay_of_items, float32 [*], at the same places."""
    number, width, dim = len(user), item.shape[1], u.shape[1]
    scores, slope = np.empty(width, np.float32), np.empty(width, np.float32)
    kind, weight, scale, missing = loss.kind, loss.weight, np.float32(loss.scale), np.float32(loss.missing)
    total, mean = 0.0, 1.0 / number
    decay, decay_negative = np.float32(2 * loss.l2 * mean), np.float32(2 * loss.l2 * mean / max(1, width - 1))
    for n in range(number):
        own, true = u[user[n]], item[n, 0]
        for c in range(width):
            other, score = v[item[n, c]], np.float32(0)
            for d in range(dim):
                score += own[d] * other[d]
            scores[c] = missing if c and item[n, c] == true else score * scale
            decay_of_items[place_of_item[n, c]] += decay_negative if c else decay
        if kind == BPR and width == 2:  # what `slopes` finds, in a third of its time
            value, share = _softplus(scores[1] - scores[0])
            total, slope[0], slope[1] = total + value, -share, share
        else:
            total += slopes(kind, scores, log_count[n if len(log_count) > 1 else 0], weight, slope)
        decay_of_users[place_of_user[n]] += decay
        of_own = of_users[place_of_user[n]]
        for c in range(width):
            if c and item[n, c] == true:
                continue
            other, of_other, share = v[item[n, c]], of_items[place_of_item[n, c]], np.float32(slope[c] * mean) * scale
            for d in range(dim):
                of_own[d] += share * other[d]
                of_other[d] += share * own[d]
    return total * mean
