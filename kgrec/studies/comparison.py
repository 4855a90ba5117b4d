"""Runs beside each other: how far each is from a reference, and whether that is more than chance among the users."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import wilcoxon

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.evaluation.metrics import BINS, auc, higher_is_better, parse
from kgrec.tables import by_metric, plain
from kgrec.training.run_folder import must_be_run, read_json, read_table

if TYPE_CHECKING:
    from rich.console import Console

BEST = "best"  #: as a reference: the run that is best by the first metric
OF_EDGES = ("ratings", "clicks")  #: kinds of metrics in which each held-out edge counts, not each user


@dataclass(frozen=True)
class Difference:
    """One run less the reference, by one metric."""

    run: str
    metric: str
    difference: float
    interval: tuple[float, float] | None  #: of the difference; None where the metric cannot be resampled by users
    p: float | None  #: Holm-corrected over the runs; None where the metric has no values of users
    p_alone: float | None  #: the same before the correction


@dataclass(frozen=True)
class Comparison:
    """Runs of one protocol: what each measured on test, and how it differs from the reference."""

    protocol: str
    num_users: int  #: users that are paired
    reference: str
    confidence: float
    resamples: int
    seed: int
    models: dict[str, str]  #: by run, in the order given
    test: dict[str, dict[str, float]]  #: by run and metric
    differences: list[Difference]  #: metric by metric, run by run
    notes: list[str]  #: what is left out, and why

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
    """Compare what runs measured on test with one of them, user by user; their folders are read, no model is loaded.

    reference: one of the runs, or `best` by the first metric; None: the first. metrics: names such as `ndcg@10`; None:
    all that every run measured. confidence: of the intervals. cells: most weights of users or edges held at once.

    - Intervals are percentiles of the difference over `resamples` draws of as many users with replacement, the same
      draws for all runs (Efron & Tibshirani 1993, ch. 13). Metrics of ratings and clicks take all edges of a drawn
      user, from `predictions.parquet`; draws in which one is not defined are left out.
    - p is of Wilcoxon's signed-rank test on the users' own values, two-sided, zeros by Pratt (1959), and 1 where all
      are equal; over the runs of one metric it is corrected by Holm (1979). For `auc` these are the users' own AUCs.

    Raises KgrecError where runs differ in protocol, graph or users, or a folder is incomplete; UnknownName for a metric
    or a reference that is not there.
    """
    _check([Path(run) for run in runs], confidence, resamples)
    tested = [_Tested.read(Path(run)) for run in runs]
    for other in tested[1:]:
        _check_same(tested[0], other)
    wanted, notes = _wanted(tested, metrics)
    base = _reference(tested, str(runs[0] if reference is None else reference), wanted[0])
    users = tested[0].users
    samples = [_Sample(replace(run, values=run.values.reindex(users)), wanted) for run in tested]
    rows = cells // max(sample.width for sample in samples)
    draws = _draws(len(users), resamples, seed, rows)
    drawn = np.concatenate([np.stack([sample.under(times) for sample in samples]) for times in draws], axis=1)
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
    tested: Sequence[_Tested],
    samples: Sequence[_Sample],
    drawn: np.ndarray,
    base: int,
    column: int,
    confidence: float,
) -> list[Difference]:
    """Of each run but the reference by one metric. drawn: float64 [runs, resamples]."""
    metric = samples[base].metrics[column]
    others = [place for place in range(len(tested)) if place != base]
    alone = [_paired_p(samples[place].values[:, column] - samples[base].values[:, column]) for place in others]
    corrected = iter(holm([p for p in alone if p is not None]))
    return [
        Difference(
            run=tested[place].name,
            metric=metric,
            difference=tested[place].test[metric] - tested[base].test[metric],
            interval=_interval(drawn[place] - drawn[base], confidence),
            p=None if p is None else next(corrected),
            p_alone=p,
        )
        for place, p in zip(others, alone)
    ]


def _check(paths: Sequence[Path], confidence: float, resamples: int) -> None:
    if len(paths) < 2:
        raise KgrecError(f"{some(map(str, paths))} alone cannot be compared; name two runs or more")
    places = [path.resolve() for path in paths]
    twice = [str(path) for path, place in zip(paths, places) if places.count(place) > 1]
    if twice:
        raise KgrecError(f"{some(twice)} are one run; name each once")
    if not 0 < confidence < 1:
        raise KgrecError(f"confidence is {confidence}, a number between 0 and 1 is wanted, such as 0.95")
    if resamples < 1:
        raise KgrecError(f"resamples is {resamples}, 1 or more are wanted")


# ---------------------------------------------------------------------- what the folders say


@dataclass(frozen=True, eq=False)
class _Tested:
    """What a run folder says of its test."""

    path: Path
    name: str
    model: str
    protocol: str
    graph: str  #: content hash
    test: Mapping[str, float]
    values: pd.DataFrame  #: a column a metric, by user

    @staticmethod
    def read(path: Path) -> _Tested:
        """Raises KgrecError for a folder that is none of a run, incomplete or altered."""
        must_be_run(path)
        config, metrics = (read_json(path / name) for name in ("config.json", "metrics.json"))
        for file, document, names in (
            ("config.json", config, ("model", "graph")),
            ("metrics.json", metrics, ("protocol", "test")),
        ):
            for name in names:
                if name not in document:
                    raise KgrecError(f"{path / file} lacks {name!r}, which a comparison needs; train again")
        if "num_facts" in metrics:
            raise KgrecError(
                f"{path} was measured by the ranks of held-out facts, which no user owns, and runs are compared user "
                f"by user; the ranks are in {path / 'ranks.parquet'}"
            )
        values = read_table(path / "per_user.parquet", ("user",)).to_pandas().set_index("user")
        if not values.index.is_unique:
            twice = values.index[values.index.duplicated()].unique()
            raise KgrecError(f"{path}/per_user.parquet has users more than once: {some(twice)}; train again")
        test = metrics["test"]
        return _Tested(path, str(path), config["model"], metrics["protocol"], config["graph"], test, values)

    @property
    def users(self) -> pd.Index:
        """External ids [U]."""
        return self.values.index

    @cached_property
    def predictions(self) -> _Predictions | None:
        """What was predicted of each held-out edge; None where the folder does not hold it."""
        file = self.path / "predictions.parquet"
        if not file.is_file():
            return None
        table = read_table(file, ("user", "truth", "prediction"))
        users = table["user"].combine_chunks().dictionary_encode()
        known = self.users.get_indexer(pd.Index(users.dictionary.to_pylist(), dtype=object))
        if (known < 0).any():
            raise KgrecError(f"{file} has users that per_user.parquet has not; train again")
        truth, prediction = (table[name].to_numpy() for name in ("truth", "prediction"))
        return _Predictions(known[users.indices.to_numpy()], truth, prediction)


@dataclass(frozen=True, eq=False)
class _Predictions:
    """Held-out edges, one a row."""

    user: np.ndarray  #: int64 [E], row of each in the table of users
    truth: np.ndarray  #: float32 [E]
    prediction: np.ndarray  #: float32 [E], a rating or a probability

    def counts(self, num_users: int) -> np.ndarray:
        """How many edges each user has: int64 [U]."""
        return np.bincount(self.user, minlength=num_users)

    def own_auc(self, num_users: int) -> np.ndarray:
        """Each user's own AUC, float64 [U]; NaN for one whose edges are of one class."""
        users, row = np.unique(self.user, return_inverse=True)
        own = np.full(num_users, np.nan)
        own[users] = auc(*map(torch.tensor, (self.prediction, self.truth, row))).numpy()
        return own


def _check_same(one: _Tested, other: _Tested) -> None:
    if one.protocol != other.protocol:
        raise KgrecError(
            f"{other.name} was measured by another protocol: {other.protocol!r}, where {one.name} has "
            f"{one.protocol!r}; train both with the same --split and --candidates, and both or none with --refit"
        )
    if one.graph != other.graph:
        raise KgrecError(
            f"{other.name} was trained on another graph: its hash is {other.graph[:12]}, where {one.name} has "
            f"{one.graph[:12]}; train both on one graph"
        )
    more, fewer = other.users.difference(one.users), one.users.difference(other.users)
    if len(more) or len(fewer):
        apart = [
            f"{what} {len(users):,} users ({some(users, 3)})"
            for what, users in (("has", more), ("lacks", fewer))
            if len(users)
        ]
        raise KgrecError(
            f"{other.name} was measured on other users than {one.name}: it {' and '.join(apart)}; train both again"
        )


def _wanted(runs: Sequence[_Tested], metrics: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The metrics to compare, and what is said of those left out."""
    if metrics is not None:
        for run in runs:
            for name in metrics:
                if name not in run.test:
                    raise unknown_name("metric", name, run.test, f"measured in {run.name}")
        if not metrics:
            raise KgrecError("no metric is named; name one, or leave --metrics out for all")
        return list(dict.fromkeys(metrics)), []
    every = dict.fromkeys(name for run in runs for name in run.test)
    common = [name for name in every if all(name in run.test for run in runs)]
    if not common:
        raise KgrecError(f"the runs have no metric in common; there are: {', '.join(every)}; train with one --metrics")
    notes = [
        f"{name} is left out: {', '.join(run.name for run in runs if name not in run.test)} did not measure it"
        for name in every
        if name not in common
    ]
    return common, notes


def _reference(runs: Sequence[_Tested], wanted: str, metric: str) -> int:
    """The place of the reference among the runs."""
    if wanted == BEST:
        values = [run.test[metric] for run in runs]
        return values.index(max(values) if higher_is_better(metric) else min(values))
    for place, run in enumerate(runs):
        if Path(wanted).resolve() == run.path.resolve():
            return place
    raise unknown_name("reference", wanted, [*(run.name for run in runs), BEST], "among the runs")


# ---------------------------------------------------------------------- users drawn again


class _Sample:
    """The metrics of one run as its users make them up: U users and K metrics."""

    def __init__(self, run: _Tested, metrics: Sequence[str]) -> None:
        self.metrics, self.notes = metrics, list[str]()
        num_users = len(run.users)
        self.values = np.full((num_users, len(metrics)), np.nan)  #: float64 [U, K], users' own; NaN where one has none
        self.weight = np.zeros((num_users, len(metrics)))  #: float64 [U, K], of each in the metric
        self.root = np.array([name == "rmse" for name in metrics])  #: bool [K], roots of means of squares
        self.pooled: dict[int, Callable[[np.ndarray], np.ndarray]] = {}  #: columns of metrics that are no such means
        edges = run.predictions if any(parse(name).of in OF_EDGES for name in metrics) else None
        for column, name in enumerate(metrics):
            if name in run.values:
                self.values[:, column] = run.values[name].to_numpy(np.float64)
            if parse(name).of == "lists":
                self.weight[:, column] = 1
            elif edges is not None and parse(name).of in OF_EDGES:
                self.weight[:, column] = edges.counts(num_users)
            if edges is not None and name == "auc":
                self.values[:, column] = edges.own_auc(num_users)
                self.pooled[column] = _Order(edges).auc
            if edges is not None and name == "ece":
                self.pooled[column] = _Bins(edges, num_users).ece
        known = ~np.isnan(self.values)
        self.weight *= known
        self.above = np.where(known, self.values, 0) ** np.where(self.root, 2, 1) * self.weight  #: float64 [U, K]
        self.width = max(num_users, 0 if edges is None else len(edges.user))  #: cells of one draw
        self._check(run, metrics, edges is None)

    def under(self, times: np.ndarray) -> np.ndarray:
        """The metrics where each user counts so many times, float64 [R, U]: [R, K], NaN where one is not defined."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: np.ndarray = (times @ self.above) / (times @ self.weight)
        found[:, self.root] = np.sqrt(found[:, self.root])
        for column, metric in self.pooled.items():
            found[:, column] = metric(times)
        return found

    def _check(self, run: _Tested, metrics: Sequence[str], without_edges: bool) -> None:
        """Users' values must make up what the run measured; what cannot be resampled is noted."""
        found = self.under(np.ones((1, len(self.values))))[0]
        for column, (name, value) in enumerate(zip(metrics, found)):
            tolerance = 1e-3 if column in self.pooled else 1e-6  # probabilities in float32 tie where scores do not
            if abs(value - run.test[name]) > tolerance * max(1, abs(run.test[name])):
                raise KgrecError(
                    f"{run.name}: its users' values make {name} {value:.6f}, where metrics.json says "
                    f"{run.test[name]:.6f}; the folder is altered: train again"
                )
        left = [name for name, value in zip(metrics, found) if np.isnan(value)]
        missing = [name for name in left if without_edges and parse(name).of in OF_EDGES]
        if missing:
            self.notes.append(
                f"{run.name} lacks predictions.parquet, so {', '.join(missing)} have no interval; train it again"
            )
        together = [name for name in left if name not in missing]
        if together:
            self.notes.append(f"{', '.join(together)}: no interval and no test; users have no values of their own")


class _Order:
    """Edges by their predictions: of what the area under the ROC curve is made, whatever each user weighs."""

    def __init__(self, edges: _Predictions) -> None:
        is_click = edges.truth > 0
        order = np.argsort(edges.prediction[~is_click])
        rising = edges.prediction[~is_click][order]
        self.other = edges.user[~is_click][order]  #: int64 [n], users of non-clicks by rising prediction
        self.click = edges.user[is_click]  #: int64 [m], users of clicks
        self.lower = np.searchsorted(rising, edges.prediction[is_click])  #: int64 [m], non-clicks lower than each click
        self.up_to = np.searchsorted(rising, edges.prediction[is_click], "right")  #: int64 [m], and with its equals

    def auc(self, times: np.ndarray) -> np.ndarray:
        """The weighted share of pairs of a click and a non-click in which the click is higher, ties counted half.

        times: float64 [R, U], what each edge of a user weighs; returns [R], NaN where all that weigh are of one class.
        """
        others = np.zeros((len(times), len(self.other) + 1))
        np.cumsum(times[:, self.other], axis=1, out=others[:, 1:])
        clicks = times[:, self.click]
        won = (clicks * (others[:, self.lower] + others[:, self.up_to])).sum(1) / 2
        with np.errstate(invalid="ignore"):
            return won / (clicks.sum(1) * others[:, -1])


class _Bins:
    """Edges by bins of their predicted probabilities: of what the expected calibration error is made."""

    def __init__(self, edges: _Predictions, num_users: int) -> None:
        place = np.ceil(edges.prediction.astype(np.float64) * BINS).astype(np.int64).clip(min=1) - 1
        gaps = edges.prediction.astype(np.float64) - edges.truth
        cell = edges.user * BINS + place
        self.gap = np.bincount(cell, weights=gaps, minlength=num_users * BINS).reshape(-1, BINS)  #: float64 [U, BINS]
        self.counts = edges.counts(num_users)

    def ece(self, times: np.ndarray) -> np.ndarray:
        """The mean gap over edges, where those of each user count so many times, float64 [R, U]: [R]."""
        gaps: np.ndarray = np.abs(times @ self.gap).sum(1) / (times @ self.counts)
        return gaps


def _draws(num_users: int, resamples: int, seed: int, rows: int) -> Iterator[np.ndarray]:
    """How often each user is drawn, float64 [R, U], at most `rows` draws at a time; the same whatever `rows` is."""
    generator = np.random.default_rng(seed)
    rows = max(1, rows)
    for start in range(0, resamples, rows):
        number = min(rows, resamples - start)
        drawn = generator.integers(num_users, size=(number, num_users)) + num_users * np.arange(number)[:, None]
        yield np.bincount(drawn.ravel(), minlength=number * num_users).reshape(number, -1).astype(np.float64)


def _interval(differences: np.ndarray, confidence: float) -> tuple[float, float] | None:
    """Percentiles of the resampled differences [resamples]; None where none is defined."""
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return None
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


# ---------------------------------------------------------------------- tests


def _paired_p(differences: np.ndarray) -> float | None:
    """Of Wilcoxon's signed-rank test on users' differences [U], NaN for those without; None where nobody has one."""
    differences = differences[~np.isnan(differences)].round(12)  # 2/3 - 1/3 and 1/3 - 0 are one rank
    if not len(differences):
        return None
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences, zero_method="pratt").pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979): the smallest times n, the next times n - 1, never falling.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    rising = np.maximum.accumulate(np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(rising, 1)
    return corrected.tolist()


# ---------------------------------------------------------------------- tables


def show(comparison: Comparison, console: Console) -> None:
    """The same as tables."""
    from rich.markup import escape

    title = f"{comparison.protocol}, {comparison.num_users:,} users"
    for table in by_metric("run", comparison.test, title=title, width=console.width):
        console.print(table)
    title = f"less {comparison.reference}; p by Wilcoxon, corrected by Holm"
    interval_of = f"{100 * comparison.confidence:.4g} % interval"
    table = plain(title, ["metric", "run"], ["difference", interval_of, "p"])
    for one in comparison.differences:
        interval = "" if one.interval is None else f"{one.interval[0]:+.4f} to {one.interval[1]:+.4f}"
        table.add_row(
            one.metric, escape(one.run), f"{one.difference:+.4f}", interval, "" if one.p is None else f"{one.p:.3g}"
        )
    console.print(table)
    for note in comparison.notes:
        console.print(note, markup=False)
