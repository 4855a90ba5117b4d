"""Which entity each item is: the likeliest one, each entity once, where its score is high enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kgrec.sources.linking.pair_scores import Pairs

THRESHOLD = 0.5  #: from which score on a pair is accepted where nothing is known
LEAST_KNOWN = 20  #: known items from which the threshold is chosen by them


@dataclass(frozen=True, eq=False)
class Matches:
    """The entity of each item. I items."""

    entity: np.ndarray  #: int64 [I], the likeliest one that no other item takes, -1 for none
    score: np.ndarray  #: float64 [I], between 0 and 1
    runner_up: np.ndarray  #: int64 [I], the likeliest other one, -1 for none
    runner_up_score: np.ndarray  #: float64 [I]


def matched(pairs: Pairs, score: np.ndarray, items: int, *, one_to_one: bool = True) -> Matches:
    """The likeliest pairs, each item once, and with `one_to_one` each entity once. items: how many there are."""
    order = np.lexsort((pairs.entity, pairs.item, -score))
    entity, value = np.full(items, -1), np.zeros(items)
    taken = set[int]()
    for place in order.tolist():
        item, other = int(pairs.item[place]), int(pairs.entity[place])
        if entity[item] < 0 and other not in taken:
            entity[item], value[item] = other, score[place]
            if one_to_one:
                taken.add(other)
    second, second_value = np.full(items, -1), np.zeros(items)
    for place in order.tolist():
        item, other = int(pairs.item[place]), int(pairs.entity[place])
        if second[item] < 0 and other != entity[item]:
            second[item], second_value[item] = other, score[place]
    return Matches(entity, value, second, second_value)


def threshold_of(matches: Matches, known: np.ndarray, precision: float) -> float:
    """The lowest score from which on the matches of known items have this precision. known: int64 [I], the entity of
    each, -1: not known."""
    there = (known >= 0) & (matches.entity >= 0)
    if there.sum() < LEAST_KNOWN:
        return THRESHOLD
    order = np.argsort(-matches.score[there], kind="stable")
    score, right = matches.score[there][order], (matches.entity == known)[there][order]
    share = np.cumsum(right) / np.arange(1, len(right) + 1)
    last = np.append(score[1:] < score[:-1], True)  # equal scores are accepted together
    fits = np.flatnonzero((share >= precision) & last)
    return float(score[fits[-1]]) if len(fits) else 1.0 + 1e-9
