"""tune(): search for the settings of a model on a graph, by its validation."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kgrec.errors import KgrecError
from kgrec.evaluation.metrics import higher_is_better
from kgrec.files import refuse_existing
from kgrec.graph import Graph
from kgrec.progress import Task, working
from kgrec.search_ranges import SearchRange
from kgrec.splits.split import Split
from kgrec.studies.tuning.search_space import Searched, search_space
from kgrec.studies.tuning.trial_processes import Notify, SearchPlan, run_in_processes, run_trials
from kgrec.studies.tuning.trial_storage import (
    START,
    counts,
    give_up_lost,
    open_study,
    optuna,
    sqlite_url,
    storage_at,
)
from kgrec.studies.tuning.tuning_results import TUNED_FILE, Tuning
from kgrec.studies.tuning.tuning_trials import TriedSettings, without_test
from kgrec.training.config import OF_THE_MACHINE
from kgrec.training.job import TrainingJob, takes_job_options
from kgrec.training.measuring import CHOOSERS, check_among
from kgrec.training.processes import choose_device
from kgrec.training.purposes import for_purpose
from kgrec.training.session import split_for
from kgrec.training.tracking.tracking import refuse_trackers

if TYPE_CHECKING:
    from optuna import Study

#: Options of a job that a search does not take: it keeps no run, and each trial trains from scratch
REFUSED = ("resume", "lean", "candidates", "track")
LEAST_FOR_IMPORTANCE = 4  #: complete trials
MOST_TRIALS, MOST_JOBS = 100_000, 256


@partial(takes_job_options, refused=(*REFUSED, "out", "overwrite"))
def tune(
    model: str | TrainingJob,
    graph: Graph | str | Path,
    *,
    trials: int | None = None,
    timeout: float | None = None,
    ranges: Mapping[str, SearchRange | str] | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    storage: str | None = None,
    study: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    notify: Notify | None = None,
    **options: Any,
) -> Tuning:
    """Search for the settings of a model with which it is best on valid. Test is never looked at.

    The first trial has the model's defaults, or what `config` sets. Ten trials have random settings; further ones are
    chosen by a tree-structured Parzen estimator (Bergstra et al. 2011) that learns from those before. A trial is ended
    early (pruned) when after three epochs or more it is below the median of the others at the same epoch.

    trials: how many trials in all; None: 40, or as many as fit into `timeout`. timeout: seconds, from the first trial
    on; a trial that is running then ends with its epoch, and counts with its best value so far. ranges: for fields of
    the settings, such as `{"lr": Between(0.001, 0.1, log=True)}` or `{"lr": "0.001..0.1", "dim": "32,64"}`, in place of
    or in addition to those that stand beside the fields of the model's Config; fields that `config` sets are not
    varied. jobs: number of processes, each with a trial of its own.

    out: the YAML file of the best settings to write, for `kgrec train --config`. storage: URL of an Optuna storage, for
    a search on several machines; None: an SQLite file beside `out`, such as tuned.db for tuned.yaml, or memory if there
    is no `out`. study: name of the study in it; None: the model's name. A search of the same study goes on where it
    stopped; `trials` counts those before too. Trials of killed processes are tried again. resume: raise an error if
    there is nothing to go on with; `out` may exist then. notify: called after each trial. options: as in
    `kgrec.train`, except resume, lean, candidates and track.

    A trial that diverges, or that needs more memory than there is, has failed; it counts, and the search goes on.

    Raises KgrecError if valid is empty, if no trial reached a validation, for a range that leaves out the default, for
    a storage that is locked or that has this study of another search, and without the extra `tune`; UnknownName for an
    unknown model, field or metric.

    Example:
        found = kgrec.tune("mf", "shop.graph", trials=40, out="tuned.yaml")
        found.best.value, found.job.config, found.importance
    """
    optuna()
    job = TrainingJob.of(model, options, "kgrec.tune", (*REFUSED, "out", "overwrite"))
    path = None if out is None else Path(out)
    if path is not None:
        refuse_existing(path, overwrite or resume, TUNED_FILE, [None if isinstance(graph, Graph) else graph])
        path.parent.mkdir(parents=True, exist_ok=True)
    url = storage if storage is not None or path is None else sqlite_url(path.with_suffix(".db"))
    loaded = graph if isinstance(graph, Graph) else Graph.load(graph, job.mmap)
    found = tune_loaded(job, loaded, graph, trials, timeout, jobs, url, ranges or {}, study, resume, notify)
    found = dataclasses.replace(found, path=path)
    if path is not None:
        found.write(path, overwrite or resume)
    return found


def tune_loaded(
    job: TrainingJob,
    loaded: Graph,
    graph: Graph | str | Path,
    trials: int | None,
    timeout: float | None,
    jobs: int,
    url: str | None,
    ranges: Mapping[str, SearchRange | str] = MappingProxyType({}),
    study: str | None = None,
    resume: bool = False,
    notify: Notify | None = None,
    *,
    needs_settings: bool = True,
) -> Tuning:
    """The search of `tune` on a loaded graph, without its file. graph: the same, or its path. needs_settings: whether a
    model without ranges is an error; otherwise it has one trial."""
    trials = 40 if trials is None and timeout is None else trials
    _check(job, trials, timeout, jobs)
    if jobs > 1 and url is None:
        raise KgrecError(f"trials in {jobs} processes need a storage that all of them use; set out= or storage=")
    begun = time.time()
    job, fixed, divided = prepared(job, loaded)
    searched = search_space(job, fixed, ranges)
    if not searched and needs_settings:
        raise KgrecError(
            f"model {job.model!r} has no settings to search; name them with --range, such as --range FIELD=LOW..HIGH"
        )
    metric = job.training.metric or CHOOSERS[job.trained_for]
    plan = SearchPlan(job, searched, metric, url, study or job.model, trials if searched else 1, None)
    with storage_at(url) as opened:
        own = study_of(opened, plan, loaded, resume)
        plan = dataclasses.replace(plan, until=None if timeout is None else time.time() + timeout)
        before = sum(map(counts, own.get_trials(deepcopy=False)))
        with working(Task(f"tuning {job.model}", plan.trials or 0, "trials", done=before)) as task:

            def finished(trial: TriedSettings) -> None:
                task.advance()
                if notify is not None:
                    notify(trial)

            if jobs == 1 or not searched:
                run_trials(plan, own, loaded, divided, notify=finished)
            else:
                run_in_processes(plan, own, graph, jobs, finished)
        found = result_of(plan, own, fixed, divided, time.time() - begun)
    return dataclasses.replace(found, graph="GRAPH" if isinstance(graph, Graph) else str(graph))


def _check(job: TrainingJob, trials: int | None, timeout: float | None, jobs: int) -> None:
    for name, value, most in (("trials", trials, MOST_TRIALS), ("jobs", jobs, MOST_JOBS)):
        if value is not None and not 1 <= value <= most:
            raise KgrecError(f"{name} is {value}, but must be from 1 to {most:,}")
    if timeout is not None and not timeout > 0:
        raise KgrecError(f"timeout is {timeout:g} seconds, but must be more than 0")
    refuse_trackers(job, "a search for settings")
    if job.training.devices != 1:
        raise KgrecError(
            f"devices is {job.training.devices}, but each trial trains in one process; use --jobs for several trials "
            "at once"
        )


def prepared(job: TrainingJob, graph: Graph) -> tuple[TrainingJob, dict[str, Any], Split]:
    """The job with the settings of its purpose, the settings that the user fixed, and the split without test. Raises
    KgrecError if nothing is held out for validation."""
    divided = split_for(job, graph.to(choose_device(job.training.device)))
    if divided.valid is None or not divided.valid.num_edges:
        raise KgrecError(
            f"split {divided.spec!r} holds out nothing for validation, by which trials are compared; add it, such as "
            f"--split {divided.spec.partition(',')[0]},valid=0.1"
        )
    fixed = dict(job.config)
    if job.purpose is not None:
        job = for_purpose(job, divided)
    check_among(job.training.among, job.training.metric or CHOOSERS[job.trained_for], divided)
    return dataclasses.replace(job, out=None), fixed, without_test(divided)


def study_of(opened: Any, plan: SearchPlan, graph: Graph, resume: bool = False) -> Study:
    """The study of a plan, with the trial to start from. Trials of killed processes will be tried again."""
    from optuna.trial import TrialState

    job, names = plan.job, [one.study_name for one in opened.get_all_studies()]
    if resume and plan.study not in names:
        raise KgrecError(
            f"nothing to resume: the storage {plan.url} has no study {plan.study!r}; leave --resume out"
            + (f", or name one with --study: {', '.join(names)}" if names else "")
        )
    training = {name: value for name, value in dataclasses.asdict(job.training).items() if name not in OF_THE_MACHINE}
    identity = {
        "model": job.model,
        "graph": graph.content_hash(),
        "split": job.split,
        "metric": plan.metric,
        "settings": job.fields,
        "training": training,
        "ranges": {one.name: dataclasses.asdict(one.range) for one in plan.searched},
        "repeats": job.repeats,
        "exclude": sorted(job.exclude),
        "all_edges": job.all_edges,
        "facts_only": job.facts_only,
        "init": job.init,
        **({} if job.now == "unknown" else {"now": job.now}),
    }
    study = open_study(opened, plan.url, plan.study, higher_is_better(plan.metric), identity)
    give_up_lost(study)
    if not any(counts(one) or one.state == TrialState.WAITING for one in study.get_trials(deepcopy=False)):
        study.enqueue_trial({one.name: one.start for one in plan.searched}, {START: True}, skip_if_exists=True)
    return study


def result_of(plan: SearchPlan, study: Study, fixed: Mapping[str, Any], divided: Split, seconds: float) -> Tuning:
    """The result of a study. Raises KgrecError if no trial reached a validation."""
    from optuna.trial import TrialState

    known = study.get_trials(deepcopy=False)
    complete = [one for one in known if one.state == TrialState.COMPLETE]
    if not complete:
        errors = [one.error for one in map(TriedSettings.of, known) if one.error]
        raise KgrecError(
            f"none of {len(known)} trials reached a validation; the last: {errors[-1] if errors else 'not finished'}"
        )
    best = TriedSettings.of(study.best_trial)
    importance = _importance(study, plan.searched) if len(complete) >= LEAST_FOR_IMPORTANCE else {}
    tried = [TriedSettings.of(one) for one in known if one.state != TrialState.WAITING]
    start = [one.number for one in known if one.user_attrs.get(START) and one.state == TrialState.COMPLETE]
    settings = {**fixed, **best.settings}
    return Tuning(
        model=plan.job.model,
        metric=plan.metric,
        higher_is_better=higher_is_better(plan.metric),
        protocol=divided.spec,
        job=dataclasses.replace(plan.job, config=settings),
        searched=plan.searched,
        trials=tried,
        best=best,
        start=next((one for one in tried if start and one.number == start[0]), None),
        importance=importance,
        seconds=seconds,
        storage=plan.url,
    )


def _importance(study: Study, searched: tuple[Searched, ...]) -> dict[str, float]:
    """The share of each setting; {} where all trials have the same value."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Target and region quantiles", UserWarning)  # too many are equal
            found = optuna().importance.get_param_importances(study)
    except (ValueError, RuntimeError, ZeroDivisionError, UserWarning):
        return {}
    names = [one.name for one in searched]
    return {name: float(value) for name, value in found.items() if name in names and value == value}
