"""A training and its epochs as tasks that can be watched, and how a training stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kgrec.progress import Task

if TYPE_CHECKING:
    from kgrec.training.checkpoint import TrainingState
    from kgrec.training.config import TrainingConfig

LAST = 50  #: batches whose mean is the loss of a running epoch


@dataclass(frozen=True)
class Standing:
    """How a training stands, by the metric that chooses its best epoch."""

    metric: str  #: its name, such as ndcg@10
    epochs: int  #: the most that there will be in this phase
    patience: int | None  #: validations without a better one after which it stops; None: nothing is held out to choose
    phase: str = "train"  #: train, or refit
    value: float | None = None  #: of the last validation; None: there was none
    validated: bool = False  #: whether the last epoch was validated
    best: float | None = None  #: the best value so far
    best_epoch: int = 0
    waited: int = 0  #: validations since then

    @staticmethod
    def of(state: TrainingState, config: TrainingConfig, metric: str, *, chooses: bool) -> Standing:
        """The standing of a training that begins or is resumed. chooses: whether validation chooses the epoch."""
        measured = [row[metric] for row in state.rows if chooses and metric in row]
        before = Standing(metric, config.epochs, config.patience if chooses else None, state.phase)
        return replace(before.after(state, {}), value=measured[-1] if measured else None)

    def after(self, state: TrainingState, metrics: Mapping[str, float]) -> Standing:
        """The standing after an epoch. metrics: of its validation; empty: there was none."""
        best: dict[str, Any] = {"best": state.best, "best_epoch": state.best_epoch, "waited": state.waited}
        return replace(self, value=metrics.get(self.metric, self.value), validated=self.metric in metrics, **best)

    @property
    def is_best(self) -> bool:
        """Whether the last epoch is the best so far."""
        return self.validated and self.waited == 0

    @property
    def patience_left(self) -> int | None:
        """How many validations without a better one may follow."""
        return None if self.patience is None else max(0, self.patience - self.waited)


class TrainingTask(Task):
    """The training of a model, in epochs."""

    def __init__(self, model: str, standing: Standing, epoch: int) -> None:
        """epoch: how many are done."""
        super().__init__(f"training {model}", standing.epochs, "epochs", done=epoch)
        self.standing = standing


class EpochTask(Task):
    """An epoch of a training, in batches. `losses` waits for the device, so it is for a few times a second."""

    def __init__(self, number: int, batches: int, names: Sequence[str], losses: Mapping[int, list[Tensor]]) -> None:
        """number: of the epoch, from 1; names: of the objectives; losses: by the place of an objective, those of its
        batches so far, scalars on the training's device. They are read as they grow."""
        super().__init__(f"epoch {number}", batches, "batches")
        self.number, self._names, self._losses = number, names, losses

    def losses(self) -> dict[str, float]:
        """The mean loss of the last batches, by objective."""
        last = {self._names[place]: values[-LAST:] for place, values in list(self._losses.items())}
        return {name: float(torch.stack(values).mean()) for name, values in last.items() if values}
