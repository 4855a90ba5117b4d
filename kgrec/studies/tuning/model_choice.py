"""tune_models(): which model is the best for a graph, each with the same time or trials to find its settings."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.files import refuse_existing
from kgrec.graph import Graph
from kgrec.progress import counted
from kgrec.studies.tuning.trial_processes import Notify
from kgrec.studies.tuning.trial_storage import sqlite_url
from kgrec.studies.tuning.tuning_results import TUNED_FILE, Tuning
from kgrec.studies.tuning.tuning_study import REFUSED, tune_loaded
from kgrec.training.controls import CONTROLS
from kgrec.training.job import TrainingJob, takes_job_options, tasks_of

#: Simple models that are always compared too, by task
ALWAYS: Mapping[str, tuple[str, ...]] = {
    **{task: (control,) for task, control in CONTROLS.items()},
    "ranking": ("popularity", "itemknn", "ease", "ials"),
}
NOT_TAKEN = (*REFUSED, "out", "overwrite", "config", "purpose", "init", "init_part")


@dataclass(frozen=True)
class ModelChoice:
    """Models, each with the best settings that were found for it. Test was not looked at."""

    metric: str  #: the metric on valid by which models are compared
    tunings: dict[str, Tuning]  #: by model, the best first
    failed: dict[str, str]  #: models that reached no validation, and why
    controls: tuple[str, ...]  #: the simple models among them
    seconds: float

    @property
    def best(self) -> Tuning:
        """The search of the best model."""
        return next(iter(self.tunings.values()))

    @property
    def best_control(self) -> Tuning | None:
        """The search of the best simple model; None if all of them failed."""
        return next((one for name, one in self.tunings.items() if name in self.controls), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "metric": self.metric,
            "best": self.best.model,
            "models": {name: one.to_json() for name, one in self.tunings.items()},
            "failed": self.failed,
            "controls": list(self.controls),
            "seconds": self.seconds,
            "command": self.best.command,
        }


@partial(takes_job_options, refused=NOT_TAKEN)
def tune_models(
    names: Sequence[str],
    graph: Graph | str | Path,
    *,
    trials: int | None = None,
    timeout: float | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    storage: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    notify: Notify | None = None,
    **options: Any,
) -> ModelChoice:
    """Search for the settings of several models, and compare their best on valid. Test is never looked at.

    Simple models take part always: for rankings popularity, itemknn, ease and ials; for ratings and clicks bias; for
    facts link-frequency. All have the same budget: `timeout` seconds divided by the number of models, or `trials`
    trials each, or both. A model that cannot be trained on the graph is listed with the reason. Other arguments are
    those of `tune`; `out` has the settings of the best model.

    Raises KgrecError if no model reaches a validation, and what `tune` raises; UnknownName for an unknown model.
    """
    begun, path = time.time(), None if out is None else Path(out)
    task = options.get("task") or (tasks_of(names[0])[0] if names else "ranking")
    wanted = list(dict.fromkeys([*ALWAYS.get(task, ()), *names]))
    for name in wanted:
        models.find(name)
    if path is not None:
        refuse_existing(path, overwrite or resume, TUNED_FILE, [None if isinstance(graph, Graph) else graph])
        path.parent.mkdir(parents=True, exist_ok=True)
    url = storage if storage is not None or path is None else sqlite_url(path.with_suffix(".db"))
    loaded = graph if isinstance(graph, Graph) else Graph.load(graph, options.get("mmap"))
    found, failed = dict[str, Tuning](), dict[str, str]()
    for name in counted("tuning", wanted, len(wanted), "models"):
        try:
            job = TrainingJob.of(name, _for(name, options, task), "kgrec.tune_models", NOT_TAKEN)
            share = None if timeout is None else timeout / len(wanted)
            found[name] = tune_loaded(job, loaded, graph, trials, share, jobs, url, notify=notify, needs_settings=False)
        except KgrecError as error:
            failed[name] = str(error)
    if not found:
        raise KgrecError(f"no model reached a validation; {wanted[0]}: {failed[wanted[0]]}")
    sign = -1 if next(iter(found.values())).higher_is_better else 1
    ranked = sorted(found.items(), key=lambda one: sign * (one[1].best.value or 0.0))
    tunings = {name: dataclasses.replace(one, path=path) for name, one in ranked}
    metric, controls = next(iter(tunings.values())).metric, ALWAYS.get(task, ())
    choice = ModelChoice(metric, tunings, failed, controls, time.time() - begun)
    if path is not None:
        choice.best.write(path, overwrite or resume)
    return choice


def _for(name: str, options: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The options for a model: with the task, unless it is the model's usual one."""
    return {**options, "task": None if tasks_of(name)[0] == task else task}
