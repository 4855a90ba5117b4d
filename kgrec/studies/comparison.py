"""Compare runs: how far each is from a reference run, and whether the difference is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # its parts are imported when they are first used

from kgrec._deprecation import renamed
from kgrec.errors import KgrecError, some
from kgrec.progress import counted
from kgrec.settings import MOST_OF_SEEDS, must_be_at_most
from kgrec.studies.measured_runs import MeasuredRun, metrics_to_compare, must_be_comparable, place_of_reference
from kgrec.studies.resampled_users import UserSample, draws_of_users, percentile_interval

MOST_RESAMPLES = 1_000_000


@dataclass(frozen=True)
class Difference:
    """The difference between a run and the reference in one metric."""

    run: str
    metric: str
    difference: float  #: the run's value minus the reference's
    interval: tuple[float, float] | None  #: of the difference; None if the metric cannot be resampled by users
    p: float | None  #: p value with Holm correction over the runs; None if single users have no value of the metric
    p_alone: float | None  #: p value before the correction


@dataclass(frozen=True)
class Comparison:
    """Runs with the same protocol: their test results, and their differences from the reference."""

    protocol: str
    num_users: int  #: number of users whose values are paired
    reference: str
    confidence: float
    resamples: int
    seed: int
    models: dict[str, str]  #: model by run, in the order of the request
    test: dict[str, dict[str, float]]  #: test results by run and metric
    differences: list[Difference]  #: by metric, then by run
    notes: list[str]  #: what was left out, and why

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def compare(
    runs: Sequence[str | Path],
    *,
    reference: str | Path | None = None,
    metrics: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    cells: int = 1_048_576,
) -> Comparison:
    """Compare the test results of runs with one of them, user by user. Only files are read; no model is loaded.

    reference: one of the runs, or `best`, the best by the first metric; None: the first run. metrics: names such as
    `ndcg@10`; None: all metrics that every run has. confidence: confidence level of the intervals. cells: maximum
    number of weights of users or edges in memory at once.

    - Intervals are percentiles of the difference over `resamples` bootstrap resamples of the users, the same ones for
      all runs (Efron & Tibshirani 1993, ch. 13). For metrics of ratings and clicks, a drawn user brings all edges from
      `predictions.parquet`; resamples in which the metric is undefined are left out.
    - p is from Wilcoxon's signed-rank test on the users' values: two-sided, zeros as in Pratt (1959), and 1 if all
      differences are 0. It is corrected over the runs of one metric (Holm 1979). For `auc`, users' values are their own
      AUC.

    Raises KgrecError if runs differ in protocol, graph or users, or if a folder is incomplete; UnknownName for an
    unknown metric or reference.
    """
    _check([Path(run) for run in runs], confidence, resamples, seed)
    tested = [MeasuredRun.read(Path(run)) for run in runs]
    for other in tested[1:]:
        must_be_comparable(tested[0], other)
    wanted, notes = metrics_to_compare(tested, metrics)
    base = place_of_reference(tested, str(runs[0] if reference is None else reference), wanted[0])
    users = tested[0].users
    samples = [UserSample(replace(run, values=run.values.reindex(users)), wanted) for run in tested]
    rows = cells // max(sample.width for sample in samples)
    draws = draws_of_users(len(users), resamples, seed, rows)
    parts = counted("resampling", draws, resamples, "resamples", len)
    drawn = np.concatenate([np.stack([sample.under(times) for sample in samples]) for times in parts], axis=1)
    return Comparison(
        protocol=tested[0].protocol,
        num_users=len(users),
        reference=tested[base].name,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        models={run.name: run.model for run in tested},
        test={run.name: {metric: run.test[metric] for metric in wanted} for run in tested},
        differences=[
            difference
            for column in range(len(wanted))
            for difference in _differences(tested, samples, drawn[:, :, column], base, column, confidence)
        ],
        notes=list(dict.fromkeys([*notes, *(note for sample in samples for note in sample.notes)])),
    )


def _differences(
    tested: Sequence[MeasuredRun],
    samples: Sequence[UserSample],
    drawn: np.ndarray,
    base: int,
    column: int,
    confidence: float,
) -> list[Difference]:
    """The differences of all other runs from the reference, in one metric. drawn: float64 [runs, resamples]."""
    metric = samples[base].metrics[column]
    others = [place for place in range(len(tested)) if place != base]
    alone = [_paired_p(samples[place].values[:, column] - samples[base].values[:, column]) for place in others]
    corrected = iter(holm([p for p in alone if p is not None]))
    return [
        Difference(
            run=tested[place].name,
            metric=metric,
            difference=tested[place].test[metric] - tested[base].test[metric],
            interval=percentile_interval(drawn[place] - drawn[base], confidence),
            p=None if p is None else next(corrected),
            p_alone=p,
        )
        for place, p in zip(others, alone)
    ]


def _check(paths: Sequence[Path], confidence: float, resamples: int, seed: int) -> None:
    if len(paths) < 2:
        raise KgrecError(f"there is only one run to compare, {some(map(str, paths))}; name two runs or more")
    places = [path.resolve() for path in paths]
    twice = [str(path) for path, place in zip(paths, places) if places.count(place) > 1]
    if twice:
        raise KgrecError(f"{some(twice)} are the same run; name each run once")
    if not 0 < confidence < 1:
        raise KgrecError(f"confidence is {confidence}, but must be between 0 and 1, such as 0.95")
    if resamples < 1:
        raise KgrecError(f"resamples is {resamples}, but must be 1 or more")
    if seed < 0:
        raise KgrecError(f"seed is {seed}, but must be 0 or more")
    must_be_at_most("resamples", resamples, MOST_RESAMPLES)
    must_be_at_most("seed", seed, MOST_OF_SEEDS)


def _paired_p(differences: np.ndarray) -> float | None:
    """The p value of Wilcoxon's signed-rank test on users' differences [U], NaN for users without a value; None if no
    user has one."""
    differences = differences[~np.isnan(differences)].round(12)  # 2/3 - 1/3 and 1/3 - 0 get the same rank
    if not len(differences):
        return None
    if not differences.any():
        return 1.0
    return float(scipy.stats.wilcoxon(differences, zero_method="pratt").pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979): the smallest times n, the next times n - 1, and so on, but never
    less than the one before.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    rising = np.maximum.accumulate(np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(rising, 1)
    return corrected.tolist()


__getattr__ = renamed(__name__, {"BEST": "kgrec.studies.measured_runs:BEST"})
