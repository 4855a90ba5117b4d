"""One trial of a search: train with some settings, and measure on valid alone."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.process_identity import this_process
from kgrec.splits.split import Split
from kgrec.studies.tuning.search_space import Searched, rounded
from kgrec.studies.tuning.trial_storage import LOST, PROCESS, RESULT
from kgrec.training.checkpoint import TrainingState
from kgrec.training.job import TrainingJob
from kgrec.training.processes import make_fabric
from kgrec.training.session import Session

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

    from kgrec.training.trainer import Epoch


SECONDS_BETWEEN_SIGNS = 60.0  #: how often a trial writes that its process lives


@dataclass(frozen=True)
class TriedSettings:
    """A trial: its settings, and what it came to on valid."""

    number: int  #: from 0, in the order in which trials began
    state: str  #: complete, pruned (it was worse than the median of the others), failed, lost, running or waiting
    settings: dict[str, Any]  #: the values of the settings that are searched
    value: float | None  #: the best value of the chosen metric on valid; None if there is none
    valid: dict[str, float] = field(default_factory=dict)  #: all metrics on valid in the best epoch
    #: value by epoch, of each validation
    by_epoch: dict[int, float] = field(default_factory=dict)
    best_epoch: int = 0
    epochs: int = 0  #: number of epochs that were trained
    seconds: float = 0.0  #: how long the trial took
    stopped: str | None = None  #: "time" if the time of the search was up before the training ended
    error: str | None = None  #: why it failed

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)

    @staticmethod
    def of(trial: FrozenTrial) -> TriedSettings:
        """The trial as Optuna keeps it."""
        own, marked = trial.user_attrs.get(RESULT, {}), trial.user_attrs.get(LOST)
        state = {"fail": "failed"}.get(trial.state.name.lower(), trial.state.name.lower())
        return TriedSettings(
            number=trial.number,
            state="lost" if marked else state,
            settings={name: rounded(value) for name, value in trial.params.items()},
            value=own.get("value"),
            valid=dict(own.get("valid") or {}),
            by_epoch=dict(trial.intermediate_values),
            best_epoch=own.get("best_epoch", 0),
            epochs=own.get("epochs", 0),
            seconds=own.get("seconds", 0.0),
            stopped=own.get("stopped"),
            error=own.get("error") or marked,
        )


class TimeIsUp(Exception):
    """The time of a search is over."""


class NotPromising(Exception):
    """A trial is worse than the median of the others."""


def without_test(divided: Split) -> Split:
    """The same split for a search: its test edges are left out, so that nothing can look at them."""
    assert divided.valid is not None
    nothing = divided.valid.where(divided.valid.head < 0)
    return dataclasses.replace(divided, test=nothing, candidates=None)


def run_trial(
    trial: Trial,
    job: TrainingJob,
    searched: tuple[Searched, ...],
    metric: str,
    graph: Graph,
    divided: Split,
    until: float | None,
) -> None:
    """Train once with the settings of a trial, and tell Optuna what it came to on valid.

    divided: without test. until: when the time of the search is up, in unix seconds; None: never. A trial that
    diverges, that needs too much memory or whose settings do not go together has failed, with the reason as `error`.
    """
    from optuna.trial import TrialState

    settings = {one.name: rounded(trial.params[one.name]) for one in searched}
    begun, state, stopped = time.time(), TrialState.COMPLETE, None
    found, error = TrainingState(), None
    try:
        own = dataclasses.replace(job, config={**job.config, **settings})
        with job.failures_explained():
            session = Session(make_fabric(own.training), own, graph, None, divided)
            found = session.state
            session.report = _follow(trial, metric, until, found)
            session.validate()
    except NotPromising:
        state = TrialState.PRUNED
    except TimeIsUp:
        stopped = "time"
    except KgrecError as problem:
        error = str(problem)
    if error is None and (found.best is None or not math.isfinite(found.best)):
        error = f"the time was up before the first validation ({metric})" if stopped else f"{metric} is {found.best}"
    if error is not None:
        state = TrialState.FAIL
    values: Mapping[str, Any] = {
        "value": found.best if error is None else None,
        "valid": {name: value for name, value in found.valid.items() if math.isfinite(value)},
        "best_epoch": found.best_epoch,
        "epochs": found.epoch,
        "seconds": round(time.time() - begun, 2),
        "stopped": stopped,
        "error": error,
    }
    trial.set_user_attr(RESULT, {name: value for name, value in values.items() if value is not None})
    trial.study.tell(trial, found.best if state == TrialState.COMPLETE else None, state=state, skip_if_finished=True)


def _follow(
    trial: Trial, metric: str, until: float | None, found: TrainingState
) -> Callable[[Epoch, Mapping[str, float]], None]:
    """What is done after each epoch of a trial: its validation is kept, and it ends where it is not promising or where
    time is up."""

    written = time.time()

    def follow(epoch: Epoch, metrics: Mapping[str, float]) -> None:
        nonlocal written
        if time.time() - written > SECONDS_BETWEEN_SIGNS:
            trial.set_user_attr(PROCESS, this_process())
            written = time.time()
        if metrics and math.isfinite(metrics[metric]):
            trial.report(metrics[metric], epoch.number)
            if trial.should_prune():
                raise NotPromising
        if until is not None and time.time() >= until:
            raise TimeIsUp

    return follow
