"""A model under noise: trained where edges are false, lost or disordered or users are fake, measured where none are."""

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
REFUSED = ("resume", "init", "init_part", "facts_only")  #: options of a job that make no sense of many models


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
    """Measure how much a model loses where what it learns from has noise in it; the test edges have none.

    noise: rates, 0 among them or not: it is the reference, trained once a seed. kinds: `add`, `drop`, `swap`,
    `shilling` and `bandwagon`, as `kgrec.noise.noisy` says, for which a model is trained anew at each rate; and
    `embedding`, for which none is: each vector of the trained model's nodes is moved by rate times its own length in a
    random direction. seeds: how many, from `training.seed` on, of training and of noise alike. targets: how many items
    fake users push. out: a folder to write, with robustness.json and robustness.png. report: called after each epoch;
    notify: after each model that is measured. All else is as in `kgrec.train`.

    Losses are of a seed's noisy model to the same seed's clean one; intervals are Student's t over seeds, 95 %. Pushed
    items count among real users who know other items and not them.

    Raises UnknownName for a kind that is not there, KgrecError for rates that cannot be had (before anything is
    trained), `embedding` of a model without vectors of nodes, a model of task `link`, an existing `out`, one where
    matplotlib is not installed, and as `kgrec.noise.divide` and `kgrec.train`, naming the noise.
    """
    job = TrainingJob.of(model, options, "kgrec.measure_robustness", REFUSED)
    if job.out is not None:
        refuse_existing(job.out, job.overwrite, ROBUSTNESS_FOLDER, [None if isinstance(graph, Graph) else graph])
    graph = graph if isinstance(graph, Graph) else Graph.load(graph)
    if job.trained_for == "link":
        raise KgrecError(
            f"noise goes into interactions, and {job.model!r} is of task 'link', of facts; set task=ranking"
        )
    rates, kinds = _rates(noise), list(dict.fromkeys(kinds))
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_name("kind of noise", kind, KINDS)
    if not kinds:
        raise KgrecError(f"no kind of noise is named; there are {', '.join(KINDS)}")
    if seeds < 1:
        raise KgrecError(f"seeds is {seeds}, 1 or more is wanted")
    must_be_at_most("seeds", seeds, MOST_SEEDS)
    if job.training.seed + seeds > MOST_OF_SEEDS:
        raise KgrecError(f"{seeds} seeds from {job.training.seed} on go beyond {MOST_OF_SEEDS:,}; let seed be less")
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
    for seed in range(job.training.seed, job.training.seed + seeds):
        for trial in grid.of_seed(seed):
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
    """Rates of noise between commas.

    >>> read_rates("0, 0.05,0.1")
    [0.0, 0.05, 0.1]

    Raises KgrecError for what is no number.
    """
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise KgrecError(f"noise {text!r}: rates between commas are wanted, such as 0.05,0.1,0.2") from None


def _rates(noise: Sequence[float]) -> list[float]:
    """The rates above 0, rising."""
    for rate in noise:
        if not (math.isfinite(rate) and rate >= 0):
            raise KgrecError(f"a rate of noise is {rate:g}, a number from 0 is wanted")
    rates = sorted({float(rate) for rate in noise} - {0.0})
    if not rates:
        raise KgrecError("no rate of noise is above 0, so there is nothing to measure; name one, such as 0.1")
    return rates


__getattr__ = renamed(
    __name__,
    {"CONFIDENCE": "kgrec.studies.robustness_results:CONFIDENCE", "HITS_AT": "kgrec.studies.noise_trials:HITS_AT"},
)
