"""Controls: simple models that a trained model should beat on valid, and advice for the case that it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kgrec.evaluation.metrics import higher_is_better

#: The control by task: a model that only knows how often, or how high, each item was chosen or rated
CONTROLS: Mapping[str, str] = {
    "ranking": "popularity",
    "rating": "bias",
    "ctr": "bias",
    "link": "link-frequency",
}
WITHOUT_TRAINING = ("ease", "ials", "itemknn")  #: personalized ranking models that need no gradient training
LOW_LR = 0.01  #: learning rates below this may be too low
EARLY = 2  #: if one of the first two validations is the best, later epochs do not help
LEAST_FALL = 0.1  #: a loss that falls by less than this share hardly learns


@dataclass(frozen=True)
class Course:
    """The course of a training on valid, for advice: the measured epochs, and the model's settings."""

    epochs: Sequence[int]  #: epochs with a validation, rising; empty if the model is not trained by epochs
    best_epoch: int
    last: int  #: the maximum number of epochs
    fall: float  #: share by which the loss fell from the first to the last of these epochs
    settings: Any  #: settings of the model

    @staticmethod
    def of(rows: Sequence[Mapping[str, Any]], metric: str, best_epoch: int, last: int, settings: Any) -> Course:
        """The course from the rows of a training's log. Rows with the metric are those of measured epochs."""
        measured = [row for row in rows if metric in row]
        losses = [sum(value for name, value in row.items() if name.startswith("loss ")) for row in measured]
        fall = 1 - losses[-1] / losses[0] if losses and losses[0] > 0 else 0.0
        return Course([row["epoch"] for row in measured], best_epoch, last, fall, settings)


@dataclass(frozen=True)
class BelowControl:
    """A model that is worse than its control on valid, and what to try next."""

    model: str
    control: str
    metric: str
    value: float  #: the model's value in its best epoch
    control_value: float
    advice: str

    def __str__(self) -> str:
        """The note as one sentence.

        >>> print(BelowControl("mf", "popularity", "ndcg@10", 0.002, 0.0801, "try --set lr=0.01"))
        mf is worse than popularity on valid (ndcg@10: mf 0.0020, popularity 0.0801); try --set lr=0.01
        """
        return (
            f"{self.model} is worse than {self.control} on valid ({self.metric}: {self.model} {self.value:.4f}, "
            f"{self.control} {self.control_value:.4f}); {self.advice}"
        )


def below_control(
    model: str, task: str, metric: str, value: float, control_value: float, course: Course
) -> BelowControl | None:
    """The note if a model's best value on valid is worse than its control's, else None."""
    if value == control_value or (value > control_value) == higher_is_better(metric):
        return None
    return BelowControl(model, CONTROLS[task], metric, value, control_value, advice(model, task, course))


def advice(model: str, task: str, course: Course) -> str:
    """What to try next. It depends on which of the measured epochs is the best, and on whether the loss fell.

    >>> from kgrec.models.mf import MFConfig
    >>> advice("mf", "ranking", Course(range(1, 51), 50, 50, 0.3, MFConfig(lr=0.001)))
    'the last epoch is the best: try --epochs 150 or --set lr=0.01, or model ease, which needs no training'
    >>> advice("mf", "ranking", Course(range(1, 12), 1, 50, 0.8, MFConfig(lr=0.1, l2=0.01)))
    'epoch 1 of 11 is the best: try --set lr=0.01 or --set l2=0.1, or model ease, which needs no training'
    >>> advice("mf", "ranking", Course(range(1, 12), 1, 50, 0.0, MFConfig(lr=0.001)))
    'the loss hardly falls: try --set lr=0.01, or model ease, which needs no training'
    """
    simple = next((name for name in WITHOUT_TRAINING if name != model), "") if task == "ranking" else CONTROLS[task]
    seen, steps = "", list[str]()
    if not course.epochs:
        pass
    elif course.best_epoch == course.last:
        seen = "the last epoch is the best: "
        steps = [f"--epochs {3 * course.last}", *_faster(course.settings)]
    elif course.fall < LEAST_FALL:
        seen = "the loss hardly falls: "
        steps = _faster(course.settings) or _wider(course.settings)
    elif course.best_epoch in course.epochs[:EARLY]:
        seen = f"epoch {course.best_epoch} of {course.epochs[-1]} is the best: "
        steps = _gentler(course.settings)
    else:
        steps = [*_faster(course.settings), *_wider(course.settings)]
    steps = steps or [f"other settings (see `kgrec models {model}`)"]
    return f"{seen}try {' or '.join(steps)}, or model {simple}, which needs no training"


def _faster(settings: Any) -> list[str]:
    return [f"--set {name}={10 * lr:g}" for name, lr in _found(settings, "lr", "g_lr") if lr < LOW_LR]


def _gentler(settings: Any) -> list[str]:
    lower = [f"--set {name}={lr / 10:g}" for name, lr in _found(settings, "lr", "g_lr")]
    return [*lower, *(f"--set {name}={10 * l2 or 0.01:g}" for name, l2 in _found(settings, "l2", "g_l2"))]


def _found(settings: Any, *names: str) -> list[tuple[str, float]]:
    """The first of these settings that a model has, with its value. g_ is for a generator that is not pretrained."""
    return [(name, getattr(settings, name)) for name in names if hasattr(settings, name)][:1]


def _wider(settings: Any) -> list[str]:
    std = getattr(settings, "init_std", None)
    return [] if std is None else [f"--set init_std={0.02 if std > 0.05 else 0.1:g}"]
