"""Bootstrap: metrics over resampled users, for confidence intervals of differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kgrec.errors import KgrecError
from kgrec.evaluation.metrics import BINS, EDGES, parse
from kgrec.studies.measured_runs import HeldOutEdges, MeasuredRun


class UserSample:
    """The metrics of one run as weighted sums over its users: U users and K metrics."""

    def __init__(self, run: MeasuredRun, metrics: Sequence[str]) -> None:
        self.metrics, self.notes = metrics, list[str]()
        num_users = len(run.users)
        self.values = np.full((num_users, len(metrics)), np.nan)  #: float64 [U, K]; NaN if the user has no value
        self.weight = np.zeros((num_users, len(metrics)))  #: float64 [U, K], weight of each user in each metric
        self.root = np.array([name == "rmse" for name in metrics])  #: bool [K], metrics that are roots of mean squares
        self.pooled: dict[int, Callable[[np.ndarray], np.ndarray]] = {}  #: column -> function, for other metrics
        edges = run.predictions if any(parse(name).of in EDGES for name in metrics) else None
        for column, name in enumerate(metrics):
            if name in run.values:
                self.values[:, column] = run.values[name].to_numpy(np.float64)
            if parse(name).of == "lists":
                self.weight[:, column] = 1
            elif edges is not None and parse(name).of in EDGES:
                self.weight[:, column] = edges.counts(num_users)
            if edges is not None and name == "auc":
                self.values[:, column] = edges.own_auc(num_users)
                self.pooled[column] = _Order(edges).auc
            if edges is not None and name == "ece":
                self.pooled[column] = _Bins(edges, num_users).ece
        known = ~np.isnan(self.values)
        self.weight *= known
        self.above = np.where(known, self.values, 0) ** np.where(self.root, 2, 1) * self.weight  #: float64 [U, K]
        self.width = max(num_users, 0 if edges is None else len(edges.user))  #: numbers that one resample takes
        self._check(run, metrics, edges is None)

    def under(self, times: np.ndarray) -> np.ndarray:
        """The metrics if users are drawn so many times: [R, K], NaN if undefined. times: float64 [R, U]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: np.ndarray = (times @ self.above) / (times @ self.weight)
        found[:, self.root] = np.sqrt(found[:, self.root])
        for column, metric in self.pooled.items():
            found[:, column] = metric(times)
        return found

    def _check(self, run: MeasuredRun, metrics: Sequence[str], without_edges: bool) -> None:
        """Check that the users' values give the run's metrics, and note the metrics that cannot be resampled. Raises
        KgrecError if they do not."""
        found = self.under(np.ones((1, len(self.values))))[0]
        for column, (name, value) in enumerate(zip(metrics, found)):
            tolerance = 1e-3 if column in self.pooled else 1e-6  # float32 probabilities may tie when scores do not
            if abs(value - run.test[name]) > tolerance * max(1, abs(run.test[name])):
                raise KgrecError(
                    f"{run.name}: the values in per_user.parquet give {name} {value:.6f}, but metrics.json says "
                    f"{run.test[name]:.6f}, so the folder was altered; train again"
                )
        left = [name for name, value in zip(metrics, found) if np.isnan(value)]
        missing = [name for name in left if without_edges and parse(name).of in EDGES]
        if missing:
            self.notes.append(
                f"{run.name} has no predictions.parquet, so there is no interval for {', '.join(missing)}; train it "
                "again"
            )
        together = [name for name in left if name not in missing]
        if together:
            self.notes.append(f"{', '.join(together)}: no interval and no p value, as single users have no value")


class _Order:
    """Edges sorted by prediction, from which AUC is computed for any weights of users."""

    def __init__(self, edges: HeldOutEdges) -> None:
        is_click = edges.truth > 0
        order = np.argsort(edges.prediction[~is_click])
        rising = edges.prediction[~is_click][order]
        self.other = edges.user[~is_click][order]  #: int64 [n], users of non-clicks, lowest prediction first
        self.click = edges.user[is_click]  #: int64 [m], users of clicks
        self.lower = np.searchsorted(rising, edges.prediction[is_click])  #: int64 [m], number of lower non-clicks
        self.up_to = np.searchsorted(rising, edges.prediction[is_click], "right")  #: int64 [m], the same with ties

    def auc(self, times: np.ndarray) -> np.ndarray:
        """The weighted share of pairs of a click and a non-click in which the click is higher; ties count one half.

        times: float64 [R, U], weight of each edge of a user. Returns [R]; NaN if all edges with a weight are of one
        class.
        """
        others = np.zeros((len(times), len(self.other) + 1))
        np.cumsum(times[:, self.other], axis=1, out=others[:, 1:])
        clicks = times[:, self.click]
        won = (clicks * (others[:, self.lower] + others[:, self.up_to])).sum(1) / 2
        with np.errstate(invalid="ignore"):
            return won / (clicks.sum(1) * others[:, -1])


class _Bins:
    """Edges in bins by predicted probability, from which ECE is computed for any weights of users."""

    def __init__(self, edges: HeldOutEdges, num_users: int) -> None:
        place = np.ceil(edges.prediction.astype(np.float64) * BINS).astype(np.int64).clip(min=1) - 1
        gaps = edges.prediction.astype(np.float64) - edges.truth
        cell = edges.user * BINS + place
        self.gap = np.bincount(cell, weights=gaps, minlength=num_users * BINS).reshape(-1, BINS)  #: float64 [U, BINS]
        self.counts = edges.counts(num_users)

    def ece(self, times: np.ndarray) -> np.ndarray:
        """The expected calibration error, [R]. times: float64 [R, U], weight of each edge of a user."""
        gaps: np.ndarray = np.abs(times @ self.gap).sum(1) / (times @ self.counts)
        return gaps


def draws_of_users(num_users: int, resamples: int, seed: int, rows: int) -> Iterator[np.ndarray]:
    """How often each user is drawn in each resample, float64 [R, U], for at most `rows` resamples at a time. The draws
    do not depend on `rows`."""
    generator = np.random.default_rng(seed)
    rows = max(1, rows)
    for start in range(0, resamples, rows):
        number = min(rows, resamples - start)
        drawn = generator.integers(num_users, size=(number, num_users)) + num_users * np.arange(number)[:, None]
        yield np.bincount(drawn.ravel(), minlength=number * num_users).reshape(number, -1).astype(np.float64)


def percentile_interval(differences: np.ndarray, confidence: float) -> tuple[float, float] | None:
    """Percentiles of the resampled differences [resamples]; None if all are undefined."""
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return None
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
