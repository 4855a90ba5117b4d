"""Results of a robustness study: estimates over seeds, tables of several models, a plot and files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its parts are imported when they are first used

from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.metrics import higher_is_better
from kgrec.files import whole
from kgrec.output_kinds import FolderKind
from kgrec.studies.noise_trials import CLEAN, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONFIDENCE = 0.95  #: confidence level of the intervals
ROBUSTNESS_FOLDER = FolderKind(
    "folder of robustness results",
    "robustness.json",
    {"model": str, "protocol": str, "seeds": list, "clean": dict, "cells": list},
    ("robustness.png",),
)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval."""

    mean: float
    deviation: float | None  #: sample standard deviation; None if there is only one seed
    interval: tuple[float, float] | None  #: 95 % interval of the mean by Student's t; None if there is only one seed
    values: list[float]  #: one value for each seed


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one or more values, with its interval by Student's t.

    >>> found = estimate([1.0, 2.0, 3.0])  # 2 -+ 4.3027 * 1 / sqrt(3)
    >>> found.mean, found.deviation, [round(end, 3) for end in found.interval]
    (2.0, 1.0, [-0.484, 4.484])
    """
    mean, number = float(np.mean(values)), len(values)
    if number == 1:
        return Estimate(mean, None, None, list(values))
    deviation = float(np.std(values, ddof=1))
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, number - 1)) * deviation / math.sqrt(number)
    return Estimate(mean, deviation, (mean - half, mean + half), list(values))


@dataclass(frozen=True)
class Cell:
    """The results of a model with one kind of noise at one rate, and its loss against the clean model."""

    kind: str
    rate: float
    test: dict[str, Estimate]  #: test results by metric
    loss: dict[str, Estimate]  #: by metric: how much worse than clean, seed by seed; negative if it is better
    percent: dict[str, Estimate | None]  #: the loss in percent of clean; None if clean is 0 for a seed
    hits: Estimate | None = None  #: hit rate @10 of the items that fake users push; None without fake users


@dataclass(frozen=True)
class Robustness:
    """The results of a model with and without noise."""

    model: str
    protocol: str
    metric: str  #: the main metric
    seeds: list[int]
    clean: dict[str, Estimate]  #: test results without noise, by metric
    clean_hits: Estimate | None  #: hit rate @10, without fake users, of the items that they would push
    cells: list[Cell]  #: by kind and rising rate; rate 0 is not among them
    #: held-out pairs that users already had, without noise, as in `RepeatCounts.to_json`
    repeats: dict[str, Any] = field(default_factory=dict)
    edges_left_out: int = 0  #: number of target edges that are no clicks and are in no part
    counts: dict[str, int] = field(default_factory=dict)  #: number of users, items and pairs of the test edges

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def summarise(model: str, protocol: str, metric: str, trials: Sequence[Trial]) -> Robustness:
    """Estimates over the seeds. trials: seed by seed, in the same order for each seed."""
    by_noise: dict[tuple[str, float], list[Trial]] = {}
    for trial in trials:
        by_noise.setdefault((trial.kind, trial.rate), []).append(trial)
    clean = by_noise.pop((CLEAN, 0.0))
    names = [name for name in clean[0].test if all(name in trial.test for trial in trials)]
    return Robustness(
        model=model,
        protocol=protocol,
        metric=metric,
        seeds=[trial.seed for trial in clean],
        clean={name: estimate([trial.test[name] for trial in clean]) for name in names},
        clean_hits=_hits(clean),
        cells=[_cell(kind, rate, names, clean, under) for (kind, rate), under in by_noise.items()],
        repeats=clean[0].repeats,
        counts=clean[0].counts,
    )


def _cell(kind: str, rate: float, names: Sequence[str], clean: Sequence[Trial], under: Sequence[Trial]) -> Cell:
    loss, percent = dict[str, Estimate](), dict[str, Estimate | None]()
    for name in names:
        sign = 1 if higher_is_better(name) else -1
        pairs = [(one.test[name], other.test[name]) for one, other in zip(clean, under)]
        loss[name] = estimate([sign * (one - other) for one, other in pairs])
        is_zero = any(one == 0 for one, _ in pairs)
        percent[name] = None if is_zero else estimate([100 * sign * (one - other) / one for one, other in pairs])
    test = {name: estimate([trial.test[name] for trial in under]) for name in names}
    return Cell(kind, rate, test, loss, percent, _hits(under))


def _hits(trials: Sequence[Trial]) -> Estimate | None:
    found = [trial.hits for trial in trials if trial.hits is not None]
    return estimate(found) if found else None


def write_results(result: Robustness, out: Path, overwrite: bool) -> None:
    """Write a folder with robustness.json and robustness.png, whole or not at all."""
    with whole(out, overwrite, ROBUSTNESS_FOLDER) as folder:
        folder.mkdir()
        text = json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n"
        (folder / ROBUSTNESS_FOLDER.document).write_text(text, encoding="utf-8")
        plot(result).savefig(folder / "robustness.png", dpi=150)


def empty_figure() -> Figure:
    """An empty figure. Raises KgrecError if matplotlib, an extra, is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise KgrecError("the plot in `out` needs matplotlib: pip install 'kgrec[plot]', or leave out `out`") from error
    return Figure(figsize=(6, 4), layout="constrained")


def plot(result: Robustness) -> Figure:
    """A plot of loss against rate in the main metric, with one line and its intervals for each kind; in percent if
    clean is not 0. Raises KgrecError if matplotlib is not installed."""
    figure = empty_figure()
    axes = figure.subplots()
    in_percent = all(cell.percent[result.metric] is not None for cell in result.cells)
    for kind in dict.fromkeys(cell.kind for cell in result.cells):
        cells = [cell for cell in result.cells if cell.kind == kind]
        points = [(cell.percent if in_percent else cell.loss)[result.metric] for cell in cells]
        means, low, high = [0.0], [0.0], [0.0]
        for point in points:
            assert point is not None
            means.append(point.mean)
            low.append(point.interval[0] if point.interval else point.mean)
            high.append(point.interval[1] if point.interval else point.mean)
        rates = [0.0, *(cell.rate for cell in cells)]
        axes.plot(rates, means, marker="o", label=kind)
        axes.fill_between(rates, low, high, alpha=0.15)
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.set_xlabel("rate of noise")
    axes.set_ylabel(f"loss of {result.metric}" + (", % of clean" if in_percent else ""))
    seeds = f"{len(result.seeds)} seeds, 95 % intervals" if len(result.seeds) > 1 else f"seed {result.seeds[0]}"
    axes.set_title(f"{result.model} ({result.protocol}), {seeds}", fontsize="small", wrap=True)
    axes.legend()
    return figure


def rows(results: Sequence[Robustness], rate: float, metric: str | None = None) -> list[dict[str, Any]]:
    """Rows that compare several models at one rate, kind by kind: `kind`, `model`, and the Estimates `clean`, `noisy`,
    `loss` and `percent` (None if clean is 0). metric: None for the main metric of the first result.

    Raises KgrecError if the results have different protocols or lack the rate; UnknownName if a result lacks the
    metric.
    """
    if not results:
        raise KgrecError("there are no results to compare; pass at least one")
    metric = metric or results[0].metric
    for result in results:
        if result.protocol != results[0].protocol:
            raise KgrecError(
                f"{result.model} was measured with protocol {result.protocol!r}, but {results[0].model} with "
                f"{results[0].protocol!r}; compare only results with the same protocol"
            )
        if metric not in result.clean:
            raise unknown_name("metric", metric, result.clean, f"of {result.model}")
        if rate not in [cell.rate for cell in result.cells]:
            found = ", ".join(f"{known:g}" for known in sorted({cell.rate for cell in result.cells}))
            raise KgrecError(f"{result.model} was not measured at rate {rate:g}, only at {found}; choose one of these")
    return [
        {
            "kind": kind,
            "model": result.model,
            "clean": result.clean[metric],
            "noisy": cell.test[metric],
            "loss": cell.loss[metric],
            "percent": cell.percent[metric],
        }
        for kind in dict.fromkeys(cell.kind for result in results for cell in result.cells)
        for result in results
        for cell in result.cells
        if cell.kind == kind and cell.rate == rate
    ]
