"""Adam over all rows of tables, on the CPU, where a batch gives gradients of some of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from kgrec.large_pages import in_large_pages, zeros_in_large_pages
from kgrec.optimizers import Adam

if TYPE_CHECKING:
    from kgrec.nn.touched_rows import Rows


class Touched(NamedTuple):
    """The rows of a table that a batch touches."""

    rows: np.ndarray  #: int64 [m], distinct, in the order of the table, since its rows then come sooner from memory
    place: np.ndarray  #: int64 [*S], for each row that was asked for, where it is among them
    gradient: np.ndarray  #: float32 [m, D], zeros, until the batch adds to it; the next step takes the same memory
    decay: np.ndarray  #: float32 [m], zeros likewise: what `update` is to take as the decay of each row


class TableSteps(ABC):
    """Adam's steps of tables, with gradients of some rows in each, and of layers. The optimizer's state is what torch's
    Adam would have, up to rounding.

    `touch_more` names rows of a batch, `move` moves them, `move_layers` moves the layers, and `finish` ends the steps.
    """

    def __init__(
        self, tables: Sequence[nn.Parameter], optimizer: torch.optim.Adam, layers: Sequence[nn.Parameter] = ()
    ) -> None:
        """layers: small parameters that have a gradient in each step."""
        from kgrec.nn import touched_rows

        self.kernels, self.optimizer, self.tables, self.now = touched_rows, optimizer, tables, 0
        self.group, self.parameters = _group_of(optimizer, tables[0]), [*tables, *layers]
        self.states = [optimizer.state[one] for one in self.parameters]
        for state, one in zip(self.states, self.parameters):
            if not state:
                state |= {"step": torch.tensor(0.0)}
                state |= {name: zeros_in_large_pages(one.detach()) for name in ("exp_avg", "exp_avg_sq")}
        self.begun = int(self.states[0]["step"])
        whole = [(one, state["exp_avg"], state["exp_avg_sq"]) for one, state in zip(self.parameters, self.states)]
        arrays = [[one.detach().numpy() for one in each] for each in whole]
        self.values, self.moments = [each[0] for each in arrays[: len(tables)]], [each[1:] for each in arrays]
        self.layers = [[one.reshape(1, -1) for one in each] for each in arrays[len(tables) :]]
        self.places = [np.full(len(table), -1, np.int64) for table in tables]

    def begin_step(self) -> tuple[float, float]:
        """Begin the next step, with the optimizer's learning rate. Returns the rate over the correction of the mean,
        and 1 over the root of that of the square."""
        self.now += 1
        (beta1, beta2), number = self.group["betas"], self.begun + self.now
        size, root = self.group["lr"] / (1 - beta1**number), 1 / math.sqrt(1 - beta2**number)
        self.how = self.kernels.StepOfAll(1 - beta1, 1 - beta2, size, root, float(self.group["eps"]))
        return size, root

    def move_layers(self, gradients: Sequence[np.ndarray]) -> None:
        """Move all layers by their gradients, of their shapes."""
        place, decay = np.zeros(1, np.int64), np.zeros(1, np.float32)
        for layer, gradient in zip(self.layers, gradients, strict=True):  # each is a table of one row
            self.kernels.update_all(*layer, place, gradient.reshape(1, -1), decay, self.how)

    def touch_more(self, index: int, row: np.ndarray, place: np.ndarray, touched: np.ndarray, number: int) -> int:
        """Name further rows of a table, where touched[:number] are the step's rows so far, and bring them up to date.
        row: int64 [n]; the last row of the table is padding. Writes where each row is to place, int64 [n], and new ones
        behind the others to `touched`. Returns their number in all. `move` ends the step."""
        padding = len(self.tables[index]) - 1
        return int(self.kernels.distinct(row, padding, self.places[index], place, touched, number))

    @abstractmethod
    def move(self, index: int, rows: np.ndarray, gradient: np.ndarray, decay: np.ndarray) -> None:
        """Move rows of a table, int64 [m], those of all `touch_more` of this step. gradient: float32 [m, D]; decay:
        float32 [m], as `update` and `update_all` take it."""

    def finish(self) -> None:
        """Bring all rows, and the optimizer's state, to the last step."""
        for state, one in zip(self.states, self.parameters):
            state["step"] += self.now
            torch.autograd.graph.increment_version(one)


class WholeAdam(TableSteps):
    """All rows are moved in each step, those without a gradient by what is left of earlier ones: the quickest in small
    tables, of which a batch names a good part."""

    def move(self, index: int, rows: np.ndarray, gradient: np.ndarray, decay: np.ndarray) -> None:
        places = self.places[index]
        self.kernels.update_all(self.values[index], *self.moments[index], places, gradient, decay, self.how)
        places[rows] = -1


class LateAdam(TableSteps):
    """Only the rows that a step names are moved; all others catch up when they are touched: a step takes no longer in
    larger tables. `touch` and `step` are for steps that name all rows of a table at once."""

    def __init__(
        self,
        tables: Sequence[nn.Parameter],
        optimizer: torch.optim.Adam,
        number: int,
        layers: Sequence[nn.Parameter] = (),
    ) -> None:
        """number: of the steps, at most."""
        super().__init__(tables, optimizer, layers)
        beta1, beta2 = self.group["betas"]
        step = np.arange(number + 1, dtype=np.float64)
        root = np.zeros(number + 1)
        root[0] = 1 / math.sqrt(1 - beta2**self.begun) if self.begun else 0.0
        self.clock = self.kernels.Clock(
            size=np.zeros(number + 1),
            root=root,
            mean_left=beta1**step,
            square_left=beta2**step,
            sums=np.zeros((number + 1, self.kernels.TERMS + 1)),
            until=np.zeros(number + 1, np.int64),
            beta1=float(beta1),
            beta2=float(beta2),
            eps=float(self.group["eps"]),
        )
        self.rows = [self._rows(index) for index in range(len(tables))]
        self.gradients = [np.empty((0, table.shape[1]), np.float32) for table in tables]

    def _rows(self, index: int) -> Rows:
        value, (mean, square) = self.values[index], self.moments[index]
        inverse = torch.sqrt(torch.from_numpy(square), out=in_large_pages(torch.empty(square.shape)))
        inverse.mul_(float(np.float32(self.clock.root[0]))).add_(self.clock.eps).reciprocal_()
        return self.kernels.Rows(value, mean, square, inverse.numpy(), np.zeros(len(value), np.int64))

    def begin_step(self) -> tuple[float, float]:
        self.clock.size[self.now], self.clock.root[self.now] = found = super().begin_step()
        return found

    def touch(self, index: int, row: np.ndarray) -> Touched:
        """Bring rows of a table up to date. row: int64 [*S]."""
        place, rows = np.empty(row.shape, np.int64), np.empty(row.size, np.int64)
        number = self.kernels.distinct(row.reshape(-1), -1, self.places[index], place.reshape(-1), rows, 0)
        touched = np.sort(rows[:number])
        self.kernels.place_in(touched, self.places[index], row.reshape(-1), place.reshape(-1))
        self._catch_up(index, touched)
        return Touched(touched, place, self.room(index, number), np.zeros(number, np.float32))

    def room(self, index: int, number: int) -> np.ndarray:
        """Zeros for the gradient of so many rows of a table, float32 [number, D], in memory that is used again."""
        if len(self.gradients[index]) < number:  # kept, since fresh memory costs more than the step
            self.gradients[index] = np.empty((2 * number, self.tables[index].shape[1]), np.float32)
        gradient = self.gradients[index][:number]
        gradient.fill(0)
        return gradient

    def touch_more(self, index: int, row: np.ndarray, place: np.ndarray, touched: np.ndarray, number: int) -> int:
        more = super().touch_more(index, row, place, touched, number)
        self._catch_up(index, np.sort(touched[number:more]))
        return more

    def move(self, index: int, rows: np.ndarray, gradient: np.ndarray, decay: np.ndarray) -> None:
        self.kernels.update(self.rows[index], self.clock, rows, np.argsort(rows), self.now, gradient, decay)
        self.places[index][rows] = -1

    def step(self, index: int, touched: Touched) -> float:
        """Move the touched rows of a table by their gradients and their decay. Returns the loss of this decay."""
        order = np.arange(len(touched.rows))
        loss: float = self.kernels.update(
            self.rows[index], self.clock, touched.rows, order, self.now, touched.gradient, touched.decay
        )
        return loss

    def _catch_up(self, index: int, rows: np.ndarray) -> None:
        self.kernels.catch_up(self.rows[index], self.clock, rows, self.now)

    def finish(self) -> None:
        for rows in self.rows:
            self.kernels.finish(rows, self.clock, self.now)
        super().finish()


def _group_of(optimizer: torch.optim.Optimizer, table: nn.Parameter) -> dict[str, Any]:
    return next(group for group in optimizer.param_groups if any(one is table for one in group["params"]))


def moves_only(optimizer: Any, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether TableSteps do what this optimizer does, and these are all of its parameters."""
    if not is_plain_adam(optimizer, parameters):
        return False
    own = optimizer.param_groups[0]["params"]
    return len(own) == len(parameters) and all(any(one is each for each in own) for one in parameters)


def is_plain_adam(optimizer: Any, tables: Sequence[nn.Parameter]) -> bool:
    """Whether TableSteps do what this optimizer does to tables: Adam without decay, on the CPU, in 32 bits."""
    if type(optimizer) not in (Adam, torch.optim.Adam) or len(optimizer.param_groups) != 1:
        return False
    how = optimizer.param_groups[0]
    if (
        how["weight_decay"]
        or how["amsgrad"]
        or how["maximize"]
        or not all(isinstance(one, float) for one in how["betas"])
    ):
        return False
    return all(
        table.device.type == "cpu" and table.dtype == torch.float32 and table.is_contiguous() and table.requires_grad
        for table in tables
    )
