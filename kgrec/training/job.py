"""The training job: all options of a training in one object, which the library and all commands share."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import BeforeValidator

from kgrec import models
from kgrec._deprecation import deprecated
from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.metrics import metric_names, parse
from kgrec.memory import failures_explained
from kgrec.settings import configure, present_names, settings
from kgrec.splits.answer_times import Now
from kgrec.splits.repeats import Repeats
from kgrec.training.config import OF_THE_MACHINE, TrainingConfig
from kgrec.training.purposes import check_purpose
from kgrec.training.tracking.named_trackers import as_trackers
from kgrec.training.tracking.tensorboard_tracker import TensorBoardTracker

Function = TypeVar("Function", bound=Callable[..., Any])


#: settings of models that need less memory if they are lower, those first that change least of what is learned
SIZES = ("batch_size", "facts_batch_size", "fanouts", "negatives", "length", "dim", "layer_dims", "hidden")


@settings
class TrainingJob:
    """All options of a training except its graph. It is checked when it is made, and is sent to every process.

    Raises UnknownName for an unknown model, setting, metric or tracker, and KgrecError for a value of the wrong type,
    for a task that the model does not have, for `facts_only` with a task other than link, and for `init_part` without
    `init`.
    """

    model: str  #: a model of `kgrec models`, or the dotted path of your own
    #: what to train for: ranking, rating, ctr, or link, where facts are held out and not interactions
    task: str | None = None
    #: what is held out for validation and test, such as last_n:1,valid=1; by default the split that the recipe names
    split: str | None = None
    candidates: str | None = None  #: items to rank at test: the name of a candidate list in the graph, or `all`
    #: what to do with held-out pairs that the user already had: `miss` (they count, but cannot be hit), `skip` (they do
    #: not count) or `recommend` (items that the user already has are ranked too)
    repeats: Annotated[Repeats, BeforeValidator(lambda found: found or "miss")] = "miss"
    #: for a ranking on a graph that marks which edges are clicks: learn from all edges, not only from the clicks
    all_edges: bool = False
    facts_only: bool = False  #: for task link: train only on facts, as in the literature, and leave interactions out
    #: settings of the model
    config: Annotated[dict[str, Any], BeforeValidator(lambda found: found or {})] = dataclasses.field(
        default_factory=dict
    )
    #: settings of the training
    training: Annotated[TrainingConfig, BeforeValidator(lambda found: found or TrainingConfig())] = TrainingConfig()
    #: what to measure, such as recall@20,ndcg@20; by default the usual metrics of the task
    metrics: Annotated[tuple[str, ...], BeforeValidator(lambda found: metric_names(found or ()))] = ()
    #: other behaviours, such as viewed,carted, whose items are left out of the lists too; by default only the user's
    #: items of the target relation are left out
    exclude: Annotated[tuple[str, ...], BeforeValidator(lambda found: metric_names(found or ()))] = ()
    #: whether models are told when each list is wanted: unknown (no), or edge (the time of the held-out edge);
    #: results of both must not be compared
    now: Annotated[Now, BeforeValidator(lambda found: found or "unknown")] = "unknown"
    #: the settings of the model for a purpose: `cold`, where items without interactions matter most. Settings of
    #: `config` that are named as well take precedence. With cold items in valid, these alone choose the epoch, and the
    #: model is trained again on train + valid
    purpose: str | None = None
    refit: bool = False  #: after validation has chosen the best epoch, train again on train + valid for as many epochs
    #: a run folder to start from: node vectors are taken by external id, layers where their shapes fit
    init: Annotated[str | None, BeforeValidator(lambda found: str(found) if isinstance(found, Path) else found)] = None
    init_part: str | None = None  #: take only this part of the `init` run, such as `generator` or `discriminator`
    out: Path | None = None  #: where the result is written; OUT.checkpoint holds the state during training
    resume: bool = False  #: continue from OUT.checkpoint; the result has exactly the weights of an uninterrupted run
    overwrite: bool = False  #: replace the folder that `out` names, if it exists
    #: keep the run folder small: leave out the graph's facts and features, which new items and filters need
    lean: bool = False
    #: map the graph from files instead of reading it into memory; by default only if it would take more than a quarter
    #: of the memory
    mmap: bool | None = None
    #: what follows the training: `mlflow` or `tensorboard`, or in Python also an object with the methods of a
    #: `kgrec.training.tracking.Tracker`; or several of them
    track: Annotated[tuple[Any, ...], BeforeValidator(as_trackers)] = ()

    def __post_init__(self) -> None:
        kind = models.find(self.model).Config
        object.__setattr__(self, "config", present_names(kind, self.config, f"of model {self.model!r}"))
        for name in (*self.metrics, *([self.training.metric] if self.training.metric else [])):
            parse(name)
        configure(kind, self.fields, what=f"model {self.model!r}")
        if self.facts_only and self.trained_for != "link":
            raise KgrecError(
                f"facts_only leaves all interactions out, but task {self.trained_for!r} learns from them; use --task "
                "link, or leave --facts-only out"
            )
        if self.purpose is not None:
            check_purpose(self.purpose, self.model, self.trained_for)
        if self.init_part is not None and self.init is None:
            raise KgrecError(
                f"init_part {self.init_part!r} names a part of a run to start from, but no run is named; add --init RUN"
            )
        if self.training.tensorboard is not None:
            self._track_former(self.training.tensorboard)

    def _track_former(self, folder: str) -> None:
        """Follow the training as the former setting training.tensorboard says."""
        deprecated(
            "the setting training.tensorboard",
            f"--track tensorboard --track-folder {folder} (in Python track=[TensorBoardTracker({folder!r})])",
        )
        object.__setattr__(self, "track", (*self.track, TensorBoardTracker(folder, run="")))
        object.__setattr__(self, "training", dataclasses.replace(self.training, tensorboard=None))

    @staticmethod
    def of(
        model: str | TrainingJob, options: Mapping[str, Any], what: str, refused: Collection[str] = ()
    ) -> TrainingJob:
        """The job of a model's name and options, or a job with some options replaced. what: the caller's name, for
        messages; refused: options that the caller does not take.

        Raises UnknownName for an option that is unknown or refused, KgrecError for a value of the wrong type.
        """
        known = [field.name for field in dataclasses.fields(TrainingJob) if field.name not in ("model", *refused)]
        for name in options:
            if name not in known:
                raise unknown_name("option", name, known, f"of {what}")
        if isinstance(model, TrainingJob):
            return dataclasses.replace(model, **options)
        return configure(TrainingJob, {"model": model, **options}, what)

    @property
    def fields(self) -> dict[str, Any]:
        """The model's settings, with the task if the job names one."""
        return self.config if self.task is None else _for_task(self.model, self.task, self.config)

    @property
    def named(self) -> set[str]:
        """Every text that the user wrote as the model or in its settings. A run may name these as models: the user
        trusts them."""
        found, left = {self.model}, list[Any](self.config.values())
        while left:
            match left.pop():
                case str() as text:
                    found.add(text)
                case Mapping() as inner:
                    left += inner.values()
                case list() | tuple() as inner:
                    left += inner
        return found

    @property
    def trained_for(self) -> str:
        """The task to train for: the model's field `task`, or the only task that the model has."""
        kind = models.find(self.model)
        config: Any = configure(kind.Config, self.fields, what=f"model {self.model!r}")
        return str(getattr(config, "task", kind.task))

    def sizes(self) -> dict[str, Any]:
        """The settings of the model that need less memory if they are lower, with their values."""
        config: Any = configure(models.find(self.model).Config, self.fields)
        drawn = getattr(config, "loss", None) != "softmax"  # which compares with all items, and draws none
        names = (name for name in SIZES if drawn or name != "negatives")
        return {name: value for name in names if (value := getattr(config, name, None))}

    def failures_explained(self) -> AbstractContextManager[None]:
        """What memory.failures_explained does, for this training."""
        return failures_explained(f"training {self.model!r}", self.sizes)

    @property
    def checkpoint(self) -> Path:
        """The folder that holds the state during training."""
        assert self.out is not None
        return self.out.with_name(self.out.name + ".checkpoint")

    def identity(self, graph_hash: str) -> dict[str, Any]:
        """What must be the same for a training to continue from a checkpoint. Epochs and patience may be raised, and
        another number of processes may go on."""
        training = dataclasses.asdict(self.training)
        for free in ("patience", *OF_THE_MACHINE):
            training.pop(free)
        if self.training.lr_decay == "none":  # otherwise the learning rate depends on the number of epochs
            training.pop("epochs")
        parts = {
            "model": self.model,
            "config": self.fields,
            "training": training,
            "split": self.split,
            "repeats": self.repeats,
            "facts_only": self.facts_only,
            "exclude": sorted(self.exclude),
            **({} if self.purpose is None else {"purpose": self.purpose}),
            **({} if self.now == "unknown" else {"now": self.now}),
            "refit": self.refit,
            "graph": graph_hash,
            "init": self.init,
            "init_part": self.init_part,
        }
        return json.loads(json.dumps(parts, default=str))


def takes_job_options(function: Function, refused: Collection[str] = ()) -> Function:
    """The function with the options of a job in its signature instead of `**options`, for help texts and editors."""
    own = inspect.signature(function)
    named = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    types = get_type_hints(TrainingJob)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default if isinstance(field.default, bool) else None,
            annotation=types[field.name],
        )
        for field in dataclasses.fields(TrainingJob)
        if field.name not in ("model", *refused)
    ]
    function.__signature__ = own.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
    return function


def tasks_of(model: str) -> tuple[str, ...]:
    """The tasks that a model can be trained for: the choices of its field `task`, or its only task."""
    kind = models.find(model)
    return get_args(get_type_hints(kind.Config).get("task")) or (kind.task,)


def _for_task(model: str, task: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The model's fields with `task` added. Raises KgrecError if they name another task, or if the model cannot be
    trained for this one."""
    if task not in tasks_of(model):
        able = [name for name in models.working() if task in tasks_of(name)]
        if not able:
            known = dict.fromkeys(task for name in models.working() for task in tasks_of(name))
            raise unknown_name("task", task, known)
        raise KgrecError(
            f"model {model!r} cannot be trained for task {task!r}, only for {', '.join(tasks_of(model))}; models for "
            f"this task: {', '.join(able)}"
        )
    if config.get("task", task) != task:
        raise KgrecError(
            f"the job asks for task {task!r}, but the model's field `task` is {config['task']!r}; name only one of them"
        )
    fixed = "task" not in {field.name for field in dataclasses.fields(models.find(model).Config)}
    return dict(config) if fixed else {**config, "task": task}
