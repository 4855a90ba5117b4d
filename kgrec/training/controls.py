"""What a training is held against on valid: a model that needs no training, and what to try where it is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kgrec.evaluation.metrics import higher_is_better

#: The model that a trained one should beat, by task: it knows nothing but how often, or how high, an item is taken
CONTROLS: Mapping[str, str] = {
    "ranking": "popularity",
    "rating": "bias",
    "ctr": "bias",
    "link": "link-frequency",
}
WITHOUT_TRAINING = ("ease", "ials", "itemknn")  #: rankings by more than popularity that no gradient makes
LOW_LR = 0.01  #: step sizes below it may be too low
EARLY = 2  #: validations; where one of the first so many is the best, what is learned after it is no help
LEAST_FALL = 0.1  #: share of its first value by which a loss falls where something is learned


@dataclass(frozen=True)
class Course:
    """How a training went on valid, for advice: the epochs that were measured, and the model's settings."""

    epochs: Sequence[int]  #: those with a validation, rising; empty where nothing is trained by epochs
    best_epoch: int
    last: int  #: the most epochs that were asked for
    fall: float  #: by what share the loss fell from the first of these epochs to the last of them
    settings: Any  #: of the model

    @staticmethod
    def of(rows: Sequence[Mapping[str, Any]], metric: str, best_epoch: int, last: int, settings: Any) -> Course:
        """From the rows of a training's log, of which those with the metric were measured."""
        measured = [row for row in rows if metric in row]
        losses = [sum(value for name, value in row.items() if name.startswith("loss ")) for row in measured]
        fall = 1 - losses[-1] / losses[0] if losses and losses[0] > 0 else 0.0
        return Course([row["epoch"] for row in measured], best_epoch, last, fall, settings)


@dataclass(frozen=True)
class BelowControl:
    """That a model ends below its control on valid, and what to try next."""

    model: str
    control: str
    metric: str
    value: float  #: the model's, of its best epoch
    control_value: float
    advice: str

    def __str__(self) -> str:
        """The whole of it in one sentence.

        >>> print(BelowControl("mf", "popularity", "ndcg@10", 0.002, 0.0801, "try --set lr=0.01"))
        mf ends below popularity on valid (ndcg@10 0.0020, popularity 0.0801); try --set lr=0.01
        """
        word = "below" if higher_is_better(self.metric) else "behind"
        return (
            f"{self.model} ends {word} {self.control} on valid ({self.metric} {self.value:.4f}, {self.control} "
            f"{self.control_value:.4f}); {self.advice}"
        )


def below_control(
    model: str, task: str, metric: str, value: float, control_value: float, course: Course
) -> BelowControl | None:
    """Whether a model's best value on valid is worse than its control's; None where it is not."""
    if value == control_value or (value > control_value) == higher_is_better(metric):
        return None
    return BelowControl(model, CONTROLS[task], metric, value, control_value, advice(model, task, course))


def advice(model: str, task: str, course: Course) -> str:
    """What to try next, by where the best epoch stands among those measured and by whether the loss fell.

    >>> from kgrec.models.mf import MFConfig
    >>> advice("mf", "ranking", Course(range(1, 51), 50, 50, 0.3, MFConfig(lr=0.001)))
    'its best epoch is the last: try --epochs 150 or --set lr=0.01, or ease, which needs no training'
    >>> advice("mf", "ranking", Course(range(1, 12), 1, 50, 0.8, MFConfig(lr=0.1, l2=0.01)))
    'it is best after 1 of 11 epochs: try --set lr=0.01 or --set l2=0.1, or ease, which needs no training'
    >>> advice("mf", "ranking", Course(range(1, 12), 1, 50, 0.0, MFConfig(lr=0.001)))
    'its loss hardly falls: try --set lr=0.01, or ease, which needs no training'
    """
    simple = next((name for name in WITHOUT_TRAINING if name != model), "") if task == "ranking" else CONTROLS[task]
    seen, steps = "", list[str]()
    if not course.epochs:
        pass
    elif course.best_epoch == course.last:
        seen = "its best epoch is the last: "
        steps = [f"--epochs {3 * course.last}", *_faster(course.settings)]
    elif course.fall < LEAST_FALL:
        seen = "its loss hardly falls: "
        steps = _faster(course.settings) or _wider(course.settings)
    elif course.best_epoch in course.epochs[:EARLY]:
        seen = f"it is best after {course.best_epoch} of {course.epochs[-1]} epochs: "
        steps = _gentler(course.settings)
    else:
        steps = [*_faster(course.settings), *_wider(course.settings)]
    steps = steps or [f"other settings (`kgrec models {model}`)"]
    return f"{seen}try {' or '.join(steps)}, or {simple}, which needs no training"


def _faster(settings: Any) -> list[str]:
    return [f"--set {name}={10 * lr:g}" for name, lr in _found(settings, "lr", "g_lr") if lr < LOW_LR]


def _gentler(settings: Any) -> list[str]:
    lower = [f"--set {name}={lr / 10:g}" for name, lr in _found(settings, "lr", "g_lr")]
    return [*lower, *(f"--set {name}={10 * l2 or 0.01:g}" for name, l2 in _found(settings, "l2", "g_l2"))]


def _found(settings: Any, *names: str) -> list[tuple[str, float]]:
    """The first of these settings that a model has, with its value; g_ is of a generator without a phase before."""
    return [(name, getattr(settings, name)) for name in names if hasattr(settings, name)][:1]


def _wider(settings: Any) -> list[str]:
    std = getattr(settings, "init_std", None)
    return [] if std is None else [f"--set init_std={0.02 if std > 0.05 else 0.1:g}"]
