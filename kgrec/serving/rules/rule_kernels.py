"""A compiled loop that chooses lists place by place, by what was chosen before."""

from __future__ import annotations

import numba
import numpy as np

ALPHA = 0.01  #: share of the user's own shares that is mixed into the list's, so that their distance is finite


@numba.njit(nogil=True, cache=True)
def choose(
    item: np.ndarray,
    relevance: np.ndarray,
    pinned: np.ndarray,
    k: int,
    group_ptr: np.ndarray,
    group: np.ndarray,
    most: np.ndarray,
    fact_ptr: np.ndarray,
    fact: np.ndarray,
    num_facts: int,
    vector: np.ndarray,
    diversity: float,
    genre_ptr: np.ndarray,
    genre: np.ndarray,
    share_ptr: np.ndarray,
    share_genre: np.ndarray,
    share: np.ndarray,
    num_genres: int,
    calibration: float,
) -> np.ndarray:
    """The places of U lists, from N candidates each: int64 [U, k], the number of a candidate, N and the place of a
    pinned item, or -1 at the end of a short list.

    At each place it takes what stands there in `pinned`, else of the candidates that no `most` forbids the one of most
    (1 - diversity - calibration) * relevance - diversity * (greatest likeness to an item that was chosen)
    - calibration * KL(the user's shares, those of what was chosen and the candidate); the first where several are.

    item: int64 [U, N], local, -1 for none; relevance: float64 [U, N]; pinned: int64 [U, k], local, -1 for none.
    group_ptr int64 [I + 1], group int64: of which groups each item is; most: int64 [groups], items of a list.
    fact_ptr int64 [I + 1], fact int64: by which items are alike, by the cosine of sets; where there are none by vector,
    float32 [I, D], of length 1. genre_ptr int64 [I + 1], genre int64: whose shares are calibrated; share_ptr int64
    [U + 1], share_genre int64, share float64: those of each user's history.
    """
    users, depth = item.shape
    out = np.full((users, k), -1, np.int64)
    in_group = np.zeros(len(most), np.int64)
    marked, mark = np.zeros(num_facts, np.int64), 0
    own, count, before = np.zeros(num_genres), np.zeros(num_genres), np.zeros(num_genres)
    for u in range(users):
        taken = item[u] < 0
        likeness = np.full(depth, -2.0)
        in_group[:] = 0
        shares = range(share_ptr[u], share_ptr[u + 1])
        for s in shares:
            own[share_genre[s]] = share[s]
        for place in range(k):
            if pinned[u, place] >= 0:
                pin = pinned[u, place]
                for g in group[group_ptr[pin] : group_ptr[pin + 1]]:
                    in_group[g] += 1
                for j in range(depth):
                    taken[j] |= item[u, j] == pin
        chosen, with_genres = 0, 0.0
        for place in range(k):
            found = pinned[u, place]
            if found < 0:
                kl_with, kl_without = 0.0, 0.0
                for s in shares:
                    g = share_genre[s]
                    before[g] = np.log((1 - ALPHA) * count[g] / (with_genres + 1) + ALPHA * own[g])
                    kl_with += own[g] * (np.log(own[g]) - before[g])
                    rest = count[g] / with_genres if with_genres > 0 else 0.0
                    kl_without += own[g] * (np.log(own[g]) - np.log((1 - ALPHA) * rest + ALPHA * own[g]))
                best, value = -1, -np.inf
                for j in range(depth):
                    if taken[j]:
                        continue
                    one = item[u, j]
                    full = False
                    for g in group[group_ptr[one] : group_ptr[one + 1]]:
                        full |= in_group[g] >= most[g]
                    if full:
                        taken[j] = True
                        continue
                    worth = (1 - diversity - calibration) * relevance[u, j]
                    if chosen:
                        worth -= diversity * likeness[j]
                    if len(shares):
                        genres = genre[genre_ptr[one] : genre_ptr[one + 1]]
                        kl = kl_with if len(genres) else kl_without
                        for g in genres:
                            if own[g] > 0:
                                more = (count[g] + 1.0 / len(genres)) / (with_genres + 1)
                                kl += own[g] * (before[g] - np.log((1 - ALPHA) * more + ALPHA * own[g]))
                        worth -= calibration * kl
                    if worth > value:
                        best, value = j, worth
                if best < 0:
                    continue
                taken[best] = True
                found, out[u, chosen] = item[u, best], best
                for g in group[group_ptr[found] : group_ptr[found + 1]]:
                    in_group[g] += 1
            else:
                out[u, chosen] = depth + place
            chosen += 1
            genres = genre[genre_ptr[found] : genre_ptr[found + 1]]
            for g in genres:
                count[g] += 1.0 / len(genres)
            with_genres += len(genres) > 0
            if diversity == 0 or chosen == k:
                continue
            mark += 1
            facts = fact[fact_ptr[found] : fact_ptr[found + 1]]
            for f in facts:
                marked[f] = mark
            for j in range(depth):
                if taken[j]:
                    continue
                one = item[u, j]
                alike = 0.0
                if num_facts > 0:
                    others = fact[fact_ptr[one] : fact_ptr[one + 1]]
                    for f in others:
                        alike += marked[f] == mark
                    if alike > 0:
                        alike /= np.sqrt(float(len(facts)) * len(others))
                else:
                    for d in range(vector.shape[1]):
                        alike += vector[found, d] * vector[one, d]
                likeness[j] = max(likeness[j], alike)
        for s in shares:
            own[share_genre[s]] = 0.0
        for j in out[u, :chosen]:
            one = item[u, j] if j < depth else pinned[u, j - depth]
            for g in genre[genre_ptr[one] : genre_ptr[one + 1]]:
                count[g] = 0.0
    return out
