"""Robustness to noise: train a model with false, missing or swapped edges or fake users, and measure it without
them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kgrec._deprecation import renamed, renamed_option
from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.metrics import parse
from kgrec.files import refuse_existing
from kgrec.graph import Graph
from kgrec.progress import counted
from kgrec.settings import MOST_OF_SEEDS, must_be_at_most
from kgrec.splits.positives import positives
from kgrec.studies.noise import divide, noisy
from kgrec.studies.noise_trials import EMBEDDING, KINDS, Trial, TrialGrid, hit_rate, must_have_vectors, vectors_moved
from kgrec.studies.robustness_results import (
    ROBUSTNESS_FOLDER,
    Cell,
    Estimate,
    Robustness,
    empty_figure,
    estimate,
    plot,
    rows,
    summarise,
    write_results,
)
from kgrec.training.job import TrainingJob, takes_job_options
from kgrec.training.measuring import CHOOSERS
from kgrec.training.session import Report

__all__ = [
    "KINDS",
    "RATES",
    "Cell",
    "Estimate",
    "Robustness",
    "Trial",
    "estimate",
    "hit_rate",
    "measure_robustness",
    "plot",
    "read_rates",
    "rows",
    "vectors_moved",
]

MOST_SEEDS = 10_000
RATES = (0.0, 0.05, 0.1, 0.2, 0.4)
REFUSED = ("resume", "init", "init_part", "facts_only")  #: options of a job that make no sense for many models


@renamed_option("tell", "notify")
@partial(takes_job_options, refused=REFUSED)
def measure_robustness(
    model: str | TrainingJob,
    graph: Graph | str | Path,
    *,
    noise: Sequence[float] = RATES,
    kinds: Sequence[str] = ("add", "drop"),
    seeds: int = 3,
    targets: int = 5,
    report: Report | None = None,
    notify: Callable[[Trial], None] | None = None,
    **options: Any,
) -> Robustness:
    """Measure how much worse a model becomes when its training edges have noise. The test edges have none.

    noise: rates of noise. Rate 0 is always the reference; it is trained once for each seed. kinds: `add`, `drop`,
    `swap`, `shilling` and `bandwagon` (see `kgrec.noise.noisy`), where a new model is trained at each rate; and
    `embedding`, where each node vector of the trained model is moved by rate times its length in a random direction.
    seeds: number of seeds, counted from `training.seed`, for both training and noise. targets: number of items that
    fake users push. out: a folder to write, with robustness.json and robustness.png. report: called after each epoch;
    notify: called after each model that is measured. All other options are as in `kgrec.train`.

    A loss is the difference between a noisy model and the clean model with the same seed. Intervals are 95 % intervals
    of Student's t over seeds. Hits of pushed items are counted among real users who know other items and not them.

    Raises UnknownName for an unknown kind. Raises KgrecError for impossible rates (before anything is trained), for
    `embedding` with a model without node vectors, for a model of task `link`, if `out` exists or needs matplotlib that
    is not installed, and for the same reasons as `kgrec.noise.divide` and `kgrec.train`; then the message names the
    noise.
    """
    job = TrainingJob.of(model, options, "kgrec.measure_robustness", REFUSED)
    if job.out is not None:
        refuse_existing(job.out, job.overwrite, ROBUSTNESS_FOLDER, [None if isinstance(graph, Graph) else graph])
    graph = graph if isinstance(graph, Graph) else Graph.load(graph)
    if job.trained_for == "link":
        raise KgrecError(
            f"noise is added to interactions, but {job.model!r} is trained for task 'link', on facts; use "
            "--task ranking"
        )
    rates, kinds = _rates(noise), list(dict.fromkeys(kinds))
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_name("kind of noise", kind, KINDS)
    if not kinds:
        raise KgrecError(f"no kind of noise is named; name some of {', '.join(KINDS)}")
    if seeds < 1:
        raise KgrecError(f"seeds is {seeds}, but must be 1 or more")
    must_be_at_most("seeds", seeds, MOST_SEEDS)
    if job.training.seed + seeds > MOST_OF_SEEDS:
        raise KgrecError(f"{seeds} seeds from {job.training.seed} on go beyond {MOST_OF_SEEDS:,}; use a smaller seed")
    if EMBEDDING in kinds:
        must_have_vectors(job, graph)
    if job.out is not None:
        empty_figure()
    graph, left_out = positives(graph, job.trained_for, job.all_edges)
    clean = divide(graph, job.split, job.candidates, job.repeats, job.exclude)
    for kind in (kind for kind in kinds if kind != EMBEDDING):
        for rate in rates:
            noisy(clean, kind, rate, job.training.seed, targets)
    grid = TrialGrid(job, graph, clean, kinds, rates, targets, report)
    trials = []
    numbers = range(job.training.seed, job.training.seed + seeds)
    measured = (trial for seed in numbers for trial in grid.of_seed(seed))
    for trial in counted("measuring", measured, seeds * (1 + len(kinds) * len(rates)), "trials"):
        trials.append(trial)
        if notify is not None:
            notify(trial)
    refit = job.refit and clean.split.valid is not None
    protocol = replace(clean.split, left_out=left_out).named(refit=refit)
    result = summarise(
        job.model, protocol, parse(job.metrics[0]).name if job.metrics else CHOOSERS[job.trained_for], trials
    )
    result = replace(result, edges_left_out=left_out)
    if job.out is not None:
        write_results(result, job.out, job.overwrite)
    return result


def read_rates(text: str) -> list[float]:
    """Rates of noise, separated by commas.

    >>> read_rates("0, 0.05,0.1")
    [0.0, 0.05, 0.1]

    Raises KgrecError for a word that is no number.
    """
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise KgrecError(f"noise {text!r} must be rates separated by commas, such as 0.05,0.1,0.2") from None


def _rates(noise: Sequence[float]) -> list[float]:
    """The rates above 0, sorted."""
    for rate in noise:
        if not (math.isfinite(rate) and rate >= 0):
            raise KgrecError(f"a rate of noise is {rate:g}, but must be a number of at least 0")
    rates = sorted({float(rate) for rate in noise} - {0.0})
    if not rates:
        raise KgrecError("no rate of noise is above 0, so there is nothing to measure; use one, such as 0.1")
    return rates


__getattr__ = renamed(
    __name__,
    {"CONFIDENCE": "kgrec.studies.robustness_results:CONFIDENCE", "HITS_AT": "kgrec.studies.noise_trials:HITS_AT"},
)
