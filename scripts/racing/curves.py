"""Curves of a score over seconds of training, and when they come to a share of the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Point:
    """What a contestant's lists are worth after an epoch."""

    epoch: int  #: from 1
    seconds: float  #: of training so far
    score: float  #: NDCG@10 on valid


Curve = Sequence[Point]  #: in the order of epochs


def best_of(curve: Curve) -> float:
    """The highest score; 0 for a curve without points."""
    return max((point.score for point in curve), default=0.0)


def reached(curve: Curve, target: float) -> Point | None:
    """The first point whose score is the target or above; None: there is none.

    >>> curve = [Point(1, 2.0, 0.1), Point(2, 4.0, 0.3), Point(3, 6.0, 0.2)]
    >>> reached(curve, 0.3).seconds, reached(curve, 0.31)
    (4.0, None)
    """
    return next((point for point in curve if point.score >= target), None)


def mean_curve(curves: Sequence[Curve]) -> list[Point]:
    """The mean of several trainings, epoch by epoch, over the epochs that all of them have.

    >>> mean_curve([[Point(1, 2.0, 0.1), Point(2, 4.0, 0.3)], [Point(1, 3.0, 0.3)]])
    [Point(epoch=1, seconds=2.5, score=0.2)]
    """
    tables = [{point.epoch: point for point in curve} for curve in curves]
    common = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    found = []
    for epoch in common:
        points = [table[epoch] for table in tables]
        found.append(Point(epoch, fmean(p.seconds for p in points), fmean(p.score for p in points)))
    return found


def highest(curves: Iterable[Curve]) -> float:
    """The highest score of several curves."""
    return max(map(best_of, curves), default=0.0)


def is_over(curve: Curve, patience: int) -> bool:
    """Whether the last `patience` points have not brought a score above those before.

    >>> rising, flat = [Point(n, n, n / 10) for n in range(1, 5)], [Point(n, n, 0.1) for n in range(1, 5)]
    >>> is_over(rising, 3), is_over(flat, 3), is_over(flat, 4)
    (False, True, False)
    """
    if len(curve) <= patience:
        return False
    return best_of(curve[-patience:]) <= best_of(curve[:-patience])
