"""The training loop: a generator of epochs over a model's objectives, on Lightning Fabric."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from kgrec import ranks
from kgrec._deprecation import deprecated
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import CompiledSteps, Objective, Recommender
from kgrec.nn.row_shards import shards_of
from kgrec.progress import Task, working
from kgrec.samplers import Stream
from kgrec.training import heap
from kgrec.training.config import AdversarialConfig, TrainingConfig
from kgrec.training.gradients import average_gradients, must_agree
from kgrec.training.perturbation import moved_vectors, vectors_among
from kgrec.training.seeding import seeded
from kgrec.training.sharding import exchange_shards, forget_gradients, optimizer_of
from kgrec.training.training_tasks import EpochTask, Standing

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from kgrec.training.processes import OneProcess

STEPS_BETWEEN_TRIMS = 50
NUMBER = ":number"  #: suffix for optimizer state that is a Python number, such as SparseAdam's step


@dataclass
class Epoch:
    """The results of one epoch."""

    number: int  #: from 1
    seconds: float  #: time of training, without validation
    losses: dict[str, float] = field(default_factory=dict)  #: mean over batches, by objective
    diagnostics: dict[str, float] = field(default_factory=dict)  #: other numbers of the model, by name
    warnings: list[str] = field(default_factory=list)  #: what seems wrong, with hints
    steps: int = 0  #: number of batches of this process
    #: of several processes, time in exchanges of gradients on this one, waiting for slower ones among it
    exchange_seconds: float = 0.0
    exchange_bytes: int = 0  #: bytes that this process handed over
    standing: Standing | None = None  #: how the training stands after it; None: only the trainer knows of it so far

    @property
    def signs(self) -> dict[str, float]:
        """The former name of `diagnostics`."""
        deprecated("Epoch.signs", "Epoch.diagnostics")
        return self.diagnostics

    @property
    def concerns(self) -> list[str]:
        """The former name of `warnings`."""
        deprecated("Epoch.concerns", "Epoch.warnings")
        return self.warnings


class Trainer:
    """A model, its objectives and their optimizers; iterating `epochs()` trains."""

    def __init__(self, model: Recommender, graph: Graph, config: TrainingConfig, fabric: Fabric | OneProcess) -> None:
        self.model, self.config, self.fabric = model, config, fabric
        self.objectives = model.objectives(graph)
        self.shards = shards_of(model)  #: sharded tables by the names of their parameters
        self.optimizers = [optimizer_of(o, list(self.shards.values())) for o in self.objectives]
        self.epoch = 0  #: epochs done
        self._serving: dict[int, CompiledSteps] = {}  #: compiled steps of this epoch, by objective
        self._turn: int | None = None  #: the objective whose steps are being taken
        self._compiled: Callable[[Any], Tensor] | None = None  #: does a whole step for a batch, and returns its loss
        self._open = ExitStack()  #: what ends these steps
        if config.adversarial.weight and not any(vectors_among(model, o.parameters) for o in self.objectives):
            raise KgrecError(
                f"adversarial.weight is {config.adversarial.weight:g}, but {type(model).__name__} has no node vectors "
                "that training could move; leave it at 0"
            )
        if self.objectives and self.last_phase > config.epochs:
            raise KgrecError(
                f"the last phase of training begins in epoch {self.last_phase}, but there are only {config.epochs} "
                "epochs; set more epochs, or let the phase begin earlier (with pretrain_epochs or adversarial.begin)"
            )

    @property
    def last_phase(self) -> int:
        """The first epoch of the last phase. Validation compares epochs from there on."""
        adversarial = self.config.adversarial
        first = adversarial.begin if adversarial.weight else 1
        return max([first, *(o.epochs.start for o in self.objectives if o.epochs is not None)])

    def epochs(self) -> Iterator[Epoch]:
        """Train epoch by epoch, up to `config.epochs` in total. For early stopping, the caller uses `break`.

        Raises KgrecError if a loss is not finite.
        """
        while self.objectives and self.epoch < self.config.epochs:
            yield self._run_epoch(self.epoch + 1)

    def _run_epoch(self, number: int) -> Epoch:
        begun, before, steps = time.perf_counter(), dataclasses.replace(ranks.traffic), 0
        totals: dict[int, list[Tensor]] = {}
        heap.keep_freed()
        with (
            working(self._task(number, totals)) as task,
            _seeded(self.config.seed, number, self.fabric.global_rank),
            ExitStack() as stack,
        ):
            self.model.begin(number)
            self.model.train()
            stack.enter_context(self.compiled_steps(number))
            for steps, (index, batch) in enumerate(self._turns(number), 1):
                losses_of = totals.setdefault(index, [])
                self._set_lr(index, number, len(losses_of))
                losses_of.append(self._step(index, batch))
                task.advance()
                if steps % STEPS_BETWEEN_TRIMS == 0:
                    heap.trim()
        losses = {self.objectives[i].name: float(torch.stack(parts).mean()) for i, parts in totals.items()}
        for name, value in losses.items():
            if not np.isfinite(value):
                raise KgrecError(
                    f"epoch {number}: the loss {name!r} is {value}; lower the learning rate or clip_norm (a checkpoint "
                    f"of epoch {number - 1}, if there is one, is kept)"
                )
        self.model.eval()
        with torch.no_grad(), working(Task("computing vectors")):
            self.model.refresh()
        if self.fabric.world_size > 1:
            must_agree(self.model)
        self.epoch = number
        diagnostics = dict(self.model.diagnostics())
        seconds = time.perf_counter() - begun
        exchanged = ranks.traffic.seconds - before.seconds, ranks.traffic.bytes - before.bytes
        return Epoch(number, seconds, losses, diagnostics, self.model.warnings(), steps, *exchanged)

    def _task(self, number: int, totals: Mapping[int, list[Tensor]]) -> EpochTask:
        """An epoch as a task. totals: losses of batches by objective, as they come."""
        batches = sum(len(self.objectives[i].batches) for i in self._active(number))
        return EpochTask(number, batches, [o.name for o in self.objectives], totals)

    def _active(self, number: int) -> list[int]:
        """The objectives that are active in an epoch."""
        return [i for i, o in enumerate(self.objectives) if o.epochs is None or number in o.epochs]

    @contextmanager
    def compiled_steps(self, number: int) -> Iterator[None]:
        """Inside this context, steps of an epoch's objectives are their compiled ones, where they have such and these
        serve: not with several processes, nor where gradients are needed for more than the step, nor where objectives
        alternate."""
        config = self.config
        gradients = config.clip_norm is not None or config.adversarial.is_on(number) or self.shards
        plain = self.fabric.world_size == 1 and config.precision == "32-true" and not gradients
        for index in self._active(number) if plain else ():
            one = self.objectives[index]
            if one.steps is not None and one.interleave is None and one.steps.serve(self.optimizers[index]):
                self._serving[index] = one.steps
        try:
            with self._open:
                yield
        finally:
            self._serving, self._compiled, self._turn = {}, None, None

    def _begin_turn(self, index: int) -> None:
        """End the compiled steps of the objective before, and begin those of another one, if there are such."""
        self._open.close()
        self._turn, self._compiled, steps = index, None, self._serving.get(index)
        if steps is not None:
            how = self.optimizers[index], len(self.objectives[index].batches)
            self._compiled = self._open.enter_context(steps.running(*how))

    def rehearse(self) -> None:
        """With sharded vectors, compute each loss of one batch and its gradient, and take no step: an objective that
        reads whole tables is refused before the first epoch, though its phase may begin later."""
        if not self.shards:
            return
        with _seeded(self.config.seed, 0, self.fabric.global_rank):
            self.model.begin(1)
            self.model.train()
            for index, objective in enumerate(self.objectives):
                with closing(self._batches(index, 0)) as batches:
                    _, batch = next(batches, (index, None))
                if batch is not None:
                    self.fabric.backward(self._loss(objective.loss, batch))
                forget_gradients(self.shards.values())
                self.model.zero_grad(set_to_none=True)
            self.model.eval()

    def _turns(self, number: int) -> Iterator[tuple[int, Any]]:
        """(objective, batch) in the order of an epoch: one objective after another; those of one interleave group
        alternate batch by batch."""
        for _, group in groupby(self._active(number), key=lambda i: self.objectives[i].interleave or f"\0{i}"):
            streams = [self._batches(i, number) for i in group]
            for round_ in zip_longest(*streams):
                yield from (pair for pair in round_ if pair is not None)

    def _batches(self, index: int, number: int) -> Generator[tuple[int, Any]]:
        stream = Stream(self.config.seed, index, number, self.fabric.global_rank, self.fabric.world_size)
        for batch in self.objectives[index].batches.epoch(stream):
            yield index, batch

    def _set_lr(self, index: int, epoch: int, step: int) -> None:
        """Set the lr of an objective for a step (from 0) of an epoch. It depends only on these two, so that resuming is
        exact."""
        if self.config.lr_decay == "none":
            return
        objective = self.objectives[index]
        phase = range(1, self.config.epochs + 1)
        if objective.epochs is not None:
            phase = range(max(phase.start, objective.epochs.start), min(phase.stop, objective.epochs.stop))
        done = (epoch - phase.start + step / max(1, len(objective.batches))) / len(phase)
        left = 1 - done if self.config.lr_decay == "linear" else (1 + math.cos(math.pi * done)) / 2
        for group in self.optimizers[index].param_groups:
            group["lr"] = objective.lr * left

    def _step(self, index: int, batch: Any) -> Tensor:
        if index != self._turn:
            self._begin_turn(index)
        if self._compiled is not None:
            return self._compiled(batch)
        objective, optimizer, adversarial = self.objectives[index], self.optimizers[index], self.config.adversarial
        optimizer.zero_grad(set_to_none=True)
        for one in self.shards.values():
            one.shard.grad = None  # of another objective
        if adversarial.is_on(self.epoch + 1):
            loss = self._adversarial_gradient(objective, batch, adversarial)
        else:
            loss = self._loss(objective.loss, batch)
            self.fabric.backward(loss)
        rest = exchange_shards(objective.parameters, self.shards.values())
        if self.fabric.world_size > 1:
            average_gradients(rest)
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(objective.parameters, self.config.clip_norm)
        optimizer.step()
        return loss.detach()

    def _loss(self, loss: Callable[[Any], Tensor], batch: Any) -> Tensor:
        with self.fabric.autocast():
            return loss(batch).float()

    def _adversarial_gradient(self, objective: Objective, batch: Any, adversarial: AdversarialConfig) -> Tensor:
        """Compute the gradient of l(v) + weight l(v + moved) + penalty, where l is the loss without its penalty.
        Returns the value."""

        def data_loss(batch: Any) -> Tensor:
            loss = objective.loss(batch)
            return loss if objective.penalty is None else loss - objective.penalty(batch)

        loss = self._loss(data_loss, batch)
        self.fabric.backward(loss)
        with moved_vectors(self.model, objective.parameters, adversarial.epsilon):
            moved = adversarial.weight * self._loss(data_loss, batch)
            self.fabric.backward(moved)
        total = loss.detach() + moved.detach()
        if objective.penalty is not None:
            penalty = self._loss(objective.penalty, batch)
            self.fabric.backward(penalty)
            total = total + penalty.detach()
        return total

    # ------------------------------------------------------------------ state

    def state(self) -> dict[str, Tensor]:
        """All optimizer tensors (no copies) by objective, parameter and name. With these, the model's state and the
        epoch number, which seeds all random numbers, training continues exactly."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        tensors = {}
        for index, (objective, optimizer) in enumerate(zip(self.objectives, self.optimizers)):
            for parameter in objective.parameters:
                for key, value in optimizer.state.get(parameter, {}).items():
                    if isinstance(value, Tensor):
                        tensors[f"{index}/{names[parameter]}/{key}"] = value
                    else:  # float64 or int64, since float32 would lose digits
                        kind = torch.float64 if isinstance(value, float) else torch.int64
                        tensors[f"{index}/{names[parameter]}/{key}{NUMBER}"] = torch.tensor(value, dtype=kind)
        return tensors

    def load_state(self, tensors: dict[str, Tensor], epoch: int) -> None:
        """Continue from the `state` after an epoch. Raises KgrecError if it belongs to other objectives."""
        self.epoch = epoch
        parameters = dict(self.model.named_parameters())
        for path, value in tensors.items():
            index, name, key = ([*path.split("/"), "", ""])[:3]
            if index not in map(str, range(len(self.optimizers))) or name not in parameters or path.count("/") != 2:
                raise KgrecError(
                    f"the checkpoint has {path!r}, which this model does not have; remove it and train again without "
                    "--resume"
                )
            shapes = [torch.Size(), *([] if key.endswith(NUMBER) else [parameters[name].shape])]
            if value.shape not in shapes:
                raise KgrecError(
                    f"the checkpoint has {path!r} with shape {list(value.shape)}, but the model needs "
                    f"{list(shapes[-1])}; remove it and train again without --resume"
                )
            state = self.optimizers[int(index)].state[parameters[name]]
            if key.endswith(NUMBER):
                state[key.removesuffix(NUMBER)] = value.item()
            else:
                place = "cpu" if key == "step" and parameters[name].device.type == "cpu" else parameters[name].device
                state[key] = value.to(place)


@contextmanager
def _seeded(seed: int, epoch: int, rank: int) -> Iterator[None]:
    """Inside this context, torch's random numbers (for dropout) are seeded by seed, epoch and rank. Afterwards the
    generator has its former state."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with seeded(int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0]) >> 1, devices):
        yield
