"""What training is asked for, as one object that every way of training shares."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import BeforeValidator

from kgrec import models
from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.metrics import metric_names, parse
from kgrec.settings import configure, present_names, settings
from kgrec.splits.repeats import Repeats
from kgrec.training.config import TrainingConfig

Function = TypeVar("Function", bound=Callable[..., Any])


@settings
class TrainingJob:
    """All that a training is asked for but its graph. It is checked when it is made, and travels to every process.

    Raises UnknownName for a model, a setting or a metric that is not there, KgrecError for a value of the wrong type,
    for a task that the model does not have, for `facts_only` of another task than link, and for `init_part` without
    `init`.
    """

    model: str  #: a name of `kgrec models`, or the dotted path of your own
    #: what to train for: ranking, rating, ctr, or link, which holds out facts, not interactions
    task: str | None = None
    split: str | None = None  #: what is held out, such as last_n:1,valid=1; none: what the graph's recipe names
    candidates: str | None = None  #: items to rank at test: a list in the graph, or `all`
    #: held-out pairs that the user had already: `miss` (they count, and cannot be hit), `skip` (they do not count) or
    #: `recommend` (what a user has is ranked too)
    repeats: Annotated[Repeats, BeforeValidator(lambda found: found or "miss")] = "miss"
    #: of a ranking where edges say which are clicks: learn from all of them alike, not from the clicks alone
    all_edges: bool = False
    facts_only: bool = False  #: task link: train on facts alone, as the literature does, and leave interactions out
    #: the model's settings
    config: Annotated[dict[str, Any], BeforeValidator(lambda found: found or {})] = dataclasses.field(
        default_factory=dict
    )
    #: how long and how it is trained
    training: Annotated[TrainingConfig, BeforeValidator(lambda found: found or TrainingConfig())] = TrainingConfig()
    #: what to measure, such as recall@20,ndcg@20; none: the usual ones of the task
    metrics: Annotated[tuple[str, ...], BeforeValidator(lambda found: metric_names(found or ()))] = ()
    #: behaviours such as viewed,carted, whose items lists lack too; by default they lack the target relation's alone
    exclude: Annotated[tuple[str, ...], BeforeValidator(lambda found: metric_names(found or ()))] = ()
    refit: bool = False  #: then train anew on train + valid, for as many epochs as validation chose
    #: a run folder to start from: its vectors of nodes by external id, and its layers where they fit
    init: Annotated[str | None, BeforeValidator(lambda found: str(found) if isinstance(found, Path) else found)] = None
    init_part: str | None = None  #: of that run only this part, such as `generator` or `discriminator`
    out: Path | None = None  #: where the result is kept; OUT.checkpoint holds the state while a training goes on
    resume: bool = False  #: go on from OUT.checkpoint, to exactly the weights of an uninterrupted run
    overwrite: bool = False  #: replace what `out` names
    lean: bool = False  #: leave facts and features of the graph out of the run folder; new items and filters need them

    def __post_init__(self) -> None:
        kind = models.find(self.model).Config
        object.__setattr__(self, "config", present_names(kind, self.config, f"of model {self.model!r}"))
        for name in (*self.metrics, *([self.training.metric] if self.training.metric else [])):
            parse(name)
        configure(kind, self.fields, what=f"model {self.model!r}")
        if self.facts_only and self.trained_for != "link":
            raise KgrecError(
                f"facts_only leaves all interactions out, and task {self.trained_for!r} learns from them; it is of "
                "task link alone: say --task link, or leave --facts-only out"
            )
        if self.init_part is not None and self.init is None:
            raise KgrecError(
                f"init_part {self.init_part!r} is of a run to start from, and none is named; give --init RUN too"
            )

    @staticmethod
    def of(
        model: str | TrainingJob, options: Mapping[str, Any], what: str, refused: Collection[str] = ()
    ) -> TrainingJob:
        """The job of a model's name and options, or a job with some options replaced. what: who asks, for messages;
        refused: options that it does not take.

        Raises UnknownName for an option that is not there, KgrecError for one that is refused or of the wrong type.
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
        """The model's settings, with its task where one is asked for."""
        return self.config if self.task is None else _for_task(self.model, self.task, self.config)

    @property
    def named(self) -> set[str]:
        """Every text that the user named in the model and its settings: a run may name these models too."""
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
        """What is trained for: the model's field `task`, or its only one."""
        kind = models.find(self.model)
        config: Any = configure(kind.Config, self.fields, what=f"model {self.model!r}")
        return str(getattr(config, "task", kind.task))

    @property
    def checkpoint(self) -> Path:
        """The folder that holds the state while training goes on."""
        assert self.out is not None
        return self.out.with_name(self.out.name + ".checkpoint")

    def identity(self, graph_hash: str) -> dict[str, Any]:
        """What a checkpoint must agree on to be gone on from; more epochs or patience may be asked for."""
        training = dataclasses.asdict(self.training)
        for free in ("patience", "device", "tensorboard"):
            training.pop(free)
        if self.training.lr_decay == "none":  # else it reaches 0 at the last
            training.pop("epochs")
        parts = {
            "model": self.model,
            "config": self.fields,
            "training": training,
            "split": self.split,
            "repeats": self.repeats,
            "facts_only": self.facts_only,
            "exclude": sorted(self.exclude),
            "refit": self.refit,
            "graph": graph_hash,
            "init": self.init,
            "init_part": self.init_part,
        }
        return json.loads(json.dumps(parts, default=str))


def takes_job_options(function: Function, refused: Collection[str] = ()) -> Function:
    """The function with the options of a job in its signature, in place of `**options`, for help and editors."""
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
    """The tasks that a model can be trained for: the values of its field `task`, or the one that it has."""
    kind = models.find(model)
    return get_args(get_type_hints(kind.Config).get("task")) or (kind.task,)


def _for_task(model: str, task: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The model's fields with its `task`. Raises KgrecError where it has another there, or has no such task."""
    if task not in tasks_of(model):
        able = [name for name in models.working() if task in tasks_of(name)]
        if not able:
            known = dict.fromkeys(task for name in models.working() for task in tasks_of(name))
            raise unknown_name("task", task, known)
        raise KgrecError(
            f"model {model!r} has no task {task!r}, only {', '.join(tasks_of(model))}; those that have it: "
            f"{', '.join(able)}"
        )
    if config.get("task", task) != task:
        raise KgrecError(f"task {task!r} is asked for, and {config['task']!r} by the field `task`; name one")
    fixed = "task" not in {field.name for field in dataclasses.fields(models.find(model).Config)}
    return dict(config) if fixed else {**config, "task": task}
