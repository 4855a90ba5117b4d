"""Audit of a graph's facts: train a model with all facts, without any, with shuffled ones, and without or only with
each relation, and measure what that changes on warm and on cold items."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.evaluation.metrics import parse
from kgrec.graph import Graph
from kgrec.progress import counted
from kgrec.settings import MOST_OF_SEEDS, configure, must_be_at_most
from kgrec.splits.spec import Spec
from kgrec.studies.audit_files import TRIALS, clear_drafts, held, open_folder
from kgrec.studies.audit_jobs import trained_in_processes
from kgrec.studies.audit_report import write_results
from kgrec.studies.audit_results import ArmResult, Audit, Worth, arm_results, sentence_of, worths
from kgrec.studies.audit_trials import Items, Laboratory, Trial, TrialResult, must_read_facts
from kgrec.studies.fact_arms import Arm, FactArms, FactPart, features_of, without_features
from kgrec.training.job import TrainingJob, takes_job_options
from kgrec.training.session import Report

__all__ = ["COLD", "WARM", "ArmResult", "Audit", "Worth", "audit"]

MOST_SEEDS = 1_000
MOST_JOBS = 1_024
WARM, COLD = "ratio:0.2,valid=0.1", "cold_items:0.1,valid=0.1"  #: default splits
METRICS = ("ndcg@10", "recall@20")  #: default metrics; the first is the main one
#: options of a job that make no sense for an audit; it has its own names for the splits
REFUSED = ("resume", "init", "init_part", "facts_only", "lean", "candidates", "track")

READ_FEATURES = ("features", "words", "columns")  #: settings of models that read features of nodes

Notify = Callable[[TrialResult, int, int], None]  #: called with a result, its number from 1, and their number


@partial(takes_job_options, refused=REFUSED)
def audit(
    model: str | TrainingJob,
    graph: Graph | str | Path,
    *,
    cold: str = COLD,
    seeds: int = 3,
    jobs: int = 1,
    relations: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    features: Literal["kept", "removed"] = "kept",
    report: Report | None = None,
    notify: Notify | None = None,
    begun: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Audit:
    """Measure what the facts of a graph are worth to a model, on warm items and on cold ones.

    The facts are all edges that do not join users and items. The same model is trained with the same settings, epochs
    and early stopping on several graphs (arms), which have the same nodes and interactions:

    - `whole`: all facts; `removed`: none;
    - `shuffled`: within each relation the tails are permuted, stated inverses together, anew for each seed. Every node
      keeps its number of facts, but what they say is wrong;
    - `without X`: all facts but those of relation X, and `only X`: those of X alone. The same for each node type and
      the facts about it. What several relations say is lost only if all of them are left out, so X may be worth much
      alone and nothing when it is left out.

    Each is trained and tested on two splits. `split` holds out interactions of warm items, by default the graph's
    standard split, or else `ratio:0.2,valid=0.1`. `cold` holds out items, which are ranked among themselves (scope
    `cold`) and among all items (`cold among all`). Seeds are counted from `training.seed`. A split that draws and names
    no seed draws anew for each of them.

    features: whether the features of nodes are `kept` or `removed`, in all arms alike. relations, types: names of those
    to leave out and try alone; None: all. jobs: number of processes that train at the same time. out: a folder for the
    results and for each trial; None: nothing is kept. If it has a half-finished audit with the same settings, this one
    goes on with it, also with more seeds. report: called after each epoch (with one job); notify: called after each
    trial; begun: called before the first with the number of trials and of those that are done. All other options are as
    in `kgrec.train`; without `metrics`, ndcg@10 and recall@20 are measured.

    Differences are paired by user and seed; see `kgrec.studies.paired_seeds.paired_difference`. p values are corrected
    for the number of comparisons in one scope and metric (Holm 1979).

    Raises KgrecError for a graph without facts about items, for a model that does not learn from facts or is not
    trained for rankings, for a cold split that holds out fewer than ten items, and for a folder that is in use or
    belongs to an audit with other settings; UnknownName for an unknown relation or node type; and for the same reasons
    as `kgrec.train`, then with the name of the arm.
    """
    job = TrainingJob.of(model, options, "kgrec.audit", REFUSED)
    source = None if isinstance(graph, Graph) else Path(graph)
    graph = graph if isinstance(graph, Graph) else Graph.load(graph)
    numbers = _checked(job, seeds, jobs, features)
    arms = FactArms(without_features(graph) if features == "removed" else graph.to("cpu"))
    arms.must_have_facts()
    parts = arms.chosen(relations, types)
    must_read_facts(job, arms.graph)
    splits = _splits(job, graph, cold)
    metrics = _metrics(job)
    lab = Laboratory(job, arms, splits, metrics)
    lab.must_hold_out_enough(numbers)
    listed = arms.arms(parts)
    settings = {
        "model": job.model, "graph": graph.content_hash(), "splits": splits, "metrics": metrics, "features": features,
        "parts": [f"{part.kind} {part.name}" for part in parts], **_settings(job), "seeds": numbers,
    }  # fmt: skip
    trials = [
        Trial(items, arm, seed)
        for seed in numbers
        for items in splits
        for arm in listed
        if not arm.skipped and arm.same_as is None
    ]
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "audit" if job.out is None else job.out
        open_folder(out, settings, job.overwrite, [source])
        with held(out):
            clear_drafts(out)
            if begun is not None:
                begun(len(trials), sum((out / TRIALS / trial.file).is_file() for trial in trials))
            results = _results(lab, trials, out / TRIALS, jobs, report, notify)
            found = _summary(lab, listed, parts, results, numbers, features)
            found = replace(found, settings=settings, notes=[*found.notes, *write_results(found, out)])
    return found


def _checked(job: TrainingJob, seeds: int, jobs: int, features: str) -> list[int]:
    """The seeds. Raises KgrecError for options that are impossible."""
    if job.trained_for != "ranking":
        raise KgrecError(
            f"an audit measures lists, but {job.model!r} is trained for task {job.trained_for!r}; use --task ranking"
        )
    for name, value, most in (("seeds", seeds, MOST_SEEDS), ("jobs", jobs, MOST_JOBS)):
        if value < 1:
            raise KgrecError(f"{name} is {value}, but must be 1 or more")
        must_be_at_most(name, value, most)
    if job.training.devices > 1:
        raise KgrecError("an audit trains each model in one process; use --jobs for several trainings at once")
    if features not in ("kept", "removed"):
        raise KgrecError(f"features is {features!r}, but must be kept or removed")
    named = [name for name in READ_FEATURES if job.config.get(name)]
    if features == "removed" and named:
        raise KgrecError(
            f"the features of nodes are removed from all arms, but the setting `{named[0]}` reads some; leave one of "
            "the two out"
        )
    if job.training.seed + seeds > MOST_OF_SEEDS:
        raise KgrecError(f"{seeds} seeds from {job.training.seed} on go beyond {MOST_OF_SEEDS:,}; use a smaller seed")
    return list(range(job.training.seed, job.training.seed + seeds))


def _metrics(job: TrainingJob) -> tuple[str, ...]:
    """What is measured. Raises KgrecError for metrics that single users have no value of."""
    wanted = [parse(name) for name in job.metrics or METRICS]
    for metric in wanted:
        if metric.of != "lists":
            raise KgrecError(
                f"an audit compares arms user by user, but {metric.name} has no value for the list of a user; use "
                f"metrics such as {','.join(METRICS)}"
            )
    return tuple(dict.fromkeys(metric.name for metric in wanted))


def _splits(job: TrainingJob, graph: Graph, cold: str) -> dict[Items, str]:
    """The SPEC of each split. Raises KgrecError if one of them is not of its kind."""
    warm = job.split or graph.schema.standard.get("split") or WARM
    if Spec(cold).kind != "cold_items":
        raise KgrecError(f"cold is {cold!r}, but must be a split that holds out items, such as {COLD}")
    if "warm" in Spec(cold).options:
        raise KgrecError(
            f"cold is {cold!r}, but an audit measures warm items on a split of their own (--split); leave warm= out"
        )
    if Spec(warm).kind == "cold_items":
        raise KgrecError(f"split is {warm!r}, but must hold out interactions of warm items, such as {WARM}; use --cold")
    return {"warm": warm, "cold": cold}


def _settings(job: TrainingJob) -> dict[str, Any]:
    """What must be the same for an audit to go on, apart from its graph, splits and seeds."""
    config: Any = configure(models.find(job.model).Config, job.fields, what=f"model {job.model!r}")
    training = {name: value for name, value in asdict(job.training).items() if name not in ("seed", "device")}
    return {
        "config": asdict(config), "training": training, "repeats": job.repeats, "exclude": sorted(job.exclude),
        "refit": job.refit, "all_edges": job.all_edges, "purpose": job.purpose,
        **({} if job.now == "unknown" else {"now": job.now}),
    }  # fmt: skip


def _results(
    lab: Laboratory, trials: Sequence[Trial], folder: Path, jobs: int, report: Report | None, notify: Notify | None
) -> list[TrialResult]:
    """The results of all trials, from the folder or trained now, in their order."""
    left = [trial for trial in trials if not (folder / trial.file).is_file()]
    number = len(trials) - len(left)
    with closing(_trained(lab, left, folder, jobs, report)) as trained:
        for result in counted("training", trained, len(left), "trials"):
            number += 1
            if notify is not None:
                notify(result, number, len(trials))
    return [TrialResult.read(folder / trial.file) for trial in trials]


def _trained(
    lab: Laboratory, left: Sequence[Trial], folder: Path, jobs: int, report: Report | None
) -> Generator[TrialResult, None, None]:
    if jobs > 1 and len(left) > 1:
        yield from trained_in_processes(lab, left, folder, min(jobs, len(left)))
        return
    for trial in left:
        result = lab.run(trial, report)
        result.write(folder / trial.file)
        yield result


def _summary(
    lab: Laboratory,
    listed: Sequence[Arm],
    parts: Sequence[FactPart],
    results: Sequence[TrialResult],
    seeds: Sequence[int],
    features: str,
) -> Audit:
    by_arm: dict[str, list[TrialResult]] = {}
    for result in results:
        by_arm.setdefault(result.arm, []).append(result)
    first = by_arm[listed[0].name]
    protocols = {scope: result.protocol for result in reversed(first) for scope in result.test}
    counts = {
        scope: {
            name: float(np.mean([one.counts[scope][name] for one in first if scope in one.counts]))
            for name in next(one.counts[scope] for one in first if scope in one.counts)
        }
        for scope in ("warm", "cold", "cold among all")
    }
    metric, worth = lab.metrics[0], worths(listed, by_arm)
    return Audit(
        model=lab.job.model,
        metric=metric,
        protocols={scope: protocols[scope] for scope in counts},
        seeds=list(seeds),
        features=features,
        feature_columns=dict(features_of(lab.arms.graph)),
        counts=counts,
        parts=[
            {
                "kind": part.kind, "name": part.name, "label": part.label, "inverses": list(part.inverses),
                "facts": part.facts, "about_items": part.about_items,
            }
            for part in parts
        ],
        arms=arm_results(listed, by_arm),
        worth=worth,
        sentence=sentence_of(worth, metric, list(counts)),
        notes=[*lab.arms.notes(seeds[0]), *_notes(seeds)],
        seconds=sum(result.seconds for result in results),
        trainings=len(results),
    )  # fmt: skip


def _notes(seeds: Sequence[int]) -> Iterator[str]:
    if len(seeds) == 1:
        yield "there is one seed, so the intervals say nothing about other seeds and other cold items; use --seeds 3"
    if len(seeds) == 2:
        yield "two seeds say little about how much seeds differ, so the intervals may be too narrow; use --seeds 3"
