"""The trials of a search, one after another, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.process_identity import this_process
from kgrec.splits.split import Split
from kgrec.studies.tuning.search_space import Searched
from kgrec.studies.tuning.trial_storage import (
    PROCESS,
    counts,
    give_up,
    optuna,
    storage_at,
)
from kgrec.studies.tuning.tuning_trials import TriedSettings, run_trial, without_test
from kgrec.training.job import TrainingJob
from kgrec.training.processes import choose_device
from kgrec.training.session import split_for

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

AT_RANDOM = 10  #: trials with random settings before the sampler learns from them
BEFORE_PRUNING = 5  #: finished trials before others are compared with their median
EPOCHS_BEFORE_PRUNING = 3  #: epochs that every trial may train
FRUITLESS = 5  #: a search ends if so many trials, the first one with the defaults, all failed for one reason
SECONDS_BETWEEN_LOOKS = 0.5
START = "spawn"  #: how processes start

Notify = Callable[[TriedSettings], None]  #: called after each trial


@dataclass(frozen=True)
class SearchPlan:
    """What the processes of a search must know."""

    job: TrainingJob  #: with the settings that trials share
    searched: tuple[Searched, ...]
    metric: str
    url: str | None  #: of the storage
    study: str
    trials: int | None  #: how many trials count in all; None: as many as time allows
    until: float | None  #: when time is up, in unix seconds; None: never


def run_trials(
    plan: SearchPlan,
    study: Study,
    graph: Graph,
    divided: Split,
    worker: int = 0,
    lock: AbstractContextManager[Any] | None = None,
    notify: Notify | None = None,
) -> None:
    """Run trials until there are enough, or until time is up. divided: without test. worker: number of the process, for
    its random numbers; lock: held while a trial begins, so that not too many do.

    A trial that a signal interrupts is tried again when the search continues."""
    while (trial := _next(plan, study, worker, lock or nullcontext())) is not None:
        try:
            run_trial(trial, plan.job, plan.searched, plan.metric, graph, divided, plan.until)
        except BaseException as error:
            give_up(study, _frozen(study, trial.number), _reason(error), again=not isinstance(error, Exception))
            raise
        if notify is not None:
            notify(TriedSettings.of(_frozen(study, trial.number)))


def _frozen(study: Study, number: int) -> Any:
    return study.get_trials(deepcopy=False)[number]


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, KgrecError) else f"{type(error).__name__}: {error}".rstrip(": ")


def _next(plan: SearchPlan, study: Study, worker: int, lock: AbstractContextManager[Any]) -> Trial | None:
    """Begin a trial; None if there are enough of them, or if time is up."""
    package = optuna()
    with lock:
        known = study.get_trials(deepcopy=False)
        if plan.trials is not None and sum(map(counts, known)) >= plan.trials:
            return None
        if plan.until is not None and time.time() >= plan.until:
            return None
        if _is_fruitless(known):
            return None
        seed = np.random.SeedSequence((plan.job.training.seed, worker, len(known))).generate_state(1)[0]
        study.sampler = package.samplers.TPESampler(seed=int(seed), n_startup_trials=AT_RANDOM, multivariate=True)
        study.pruner = package.pruners.MedianPruner(BEFORE_PRUNING, EPOCHS_BEFORE_PRUNING)
        trial: Trial = study.ask({one.name: one.distribution() for one in plan.searched})
        trial.set_user_attr(PROCESS, this_process())
        return trial


def _is_fruitless(known: Sequence[FrozenTrial]) -> bool:
    """Whether all trials failed for the same reason, and there are enough of them to say that others would too."""
    reasons = [TriedSettings.of(one).error for one in known if one.state.is_finished() and counts(one)]
    return len(reasons) >= FRUITLESS and reasons[0] is not None and len(set(reasons)) == 1


# ---------------------------------------------------------------------- several processes


def run_in_processes(
    plan: SearchPlan, study: Study, graph: Graph | str | Path, jobs: int, notify: Notify | None
) -> None:
    """Run trials in `jobs` processes, which all use the storage. They end when this process ends, also when it is
    killed. graph: by its path each process loads it.

    A process that the system kills, as it does where memory runs out, costs its trial; another process takes its place.
    Raises KgrecError with the message of a process that failed.
    """
    context: Any = multiprocessing.get_context(START)
    lock, messages = context.Lock(), context.SimpleQueue()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    seen = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}

    def start(worker: int) -> Any:
        arguments = (plan, graph, worker, lock, messages, threads, os.getpid())
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        return process

    processes = [start(worker) for worker in range(jobs)]
    started = jobs
    try:
        while processes:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            _report(study, seen, notify)
            for process in [one for one in processes if not one.is_alive()]:
                processes.remove(process)
                if process.exitcode == -signal.SIGKILL:
                    reason = "its process was killed, perhaps because memory ran out"
                    _give_up_of(study, process.pid, reason, again=False)
                    processes.append(start(started))
                    started += 1
                elif process.exitcode:
                    said = messages.get() if not messages.empty() else f"exit code {process.exitcode}"
                    raise KgrecError(f"a process of the search failed: {said}")
        _report(study, seen, notify)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
            _give_up_of(study, process.pid, "it was stopped", again=True)


def _report(study: Study, seen: set[int], notify: Notify | None) -> None:
    """Notify of the trials that have finished since."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished() and trial.number not in seen:
            seen.add(trial.number)
            if notify is not None:
                notify(TriedSettings.of(trial))


def _give_up_of(study: Study, pid: int | None, reason: str, *, again: bool) -> None:
    """Give up the running trials of one of our processes that has ended."""
    host = this_process()["host"]
    for trial in study.get_trials(deepcopy=False):
        own = trial.user_attrs.get(PROCESS, {})
        if trial.state.name == "RUNNING" and (own.get("host"), own.get("pid")) == (host, pid):
            give_up(study, trial, reason, again=again)


def _work(
    plan: SearchPlan, graph: Graph | str | Path, worker: int, lock: Any, messages: Any, threads: int, parent: int
) -> None:
    """The work of one of several processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)
    try:
        with storage_at(plan.url) as storage:
            study = optuna().load_study(study_name=plan.study, storage=storage)
            loaded = graph if isinstance(graph, Graph) else Graph.load(graph, plan.job.mmap)
            loaded = loaded.to(choose_device(plan.job.training.device))
            run_trials(plan, study, loaded, without_test(split_for(plan.job, loaded)), worker, lock)
    except KgrecError as error:
        messages.put(str(error))
        raise SystemExit(1) from None


def _end_with(parent: int) -> None:
    """End this process when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
