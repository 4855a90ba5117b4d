"""The one loop: a generator of epochs over a model's objectives, on Lightning Fabric."""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Objective, Recommender
from kgrec.nn import LinkModel, vector_tables
from kgrec.samplers import Stream
from kgrec.settings import settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

STEPS_BETWEEN_TRIMS = 50

Precision = Literal["32-true", "bf16-mixed", "64-true"]


@settings
class AdversarialConfig:
    """Settings of adversarial regularisation; with weight 0 there is none."""

    epsilon: NonNegativeFloat = 0.5  #: how far each node's vector is moved
    weight: NonNegativeFloat = 0.0  #: of the loss at the moved vectors, lambda
    begin: PositiveInt = 1  #: the first epoch with it

    def is_on(self, epoch: int) -> bool:
        return self.weight > 0 and epoch >= self.begin


@settings
class TrainingConfig:
    """How long and how a model is trained. None of it is about which model."""

    epochs: PositiveInt = 50  #: at most; without a validation set exactly so many
    validate_every: PositiveInt = 1  #: epochs between validations
    patience: PositiveInt = 10  #: validations without a better one, counted from the last phase's start
    metric: str | None = None  #: chooses the best epoch; None: ndcg@10, or rmse for ratings
    seed: NonNegativeInt = 0
    device: str = "auto"  #: auto, cpu, cuda or cuda:1
    devices: PositiveInt = 1  #: processes, each on a device of its own where there are such
    precision: Precision = "32-true"
    clip_norm: PositiveFloat | None = None  #: of an objective's gradient
    lr_decay: Literal["none", "linear", "cosine"] = "none"  #: of every lr, step by step from its value to 0 at the last
    #: of `epochs`, or of an objective's own
    tensorboard: str | None = None  #: a folder for TensorBoard's events, written as training goes (an extra)
    adversarial: AdversarialConfig = AdversarialConfig()  #: losses also at vectors moved against the model


@dataclass
class Epoch:
    """What one epoch did."""

    number: int  #: from 1
    seconds: float  #: of training alone
    losses: dict[str, float] = field(default_factory=dict)  #: mean over batches, by objective
    signs: dict[str, float] = field(default_factory=dict)  #: what else the model says of it, by name
    concerns: list[str] = field(default_factory=list)  #: what seems amiss, with hints


class Trainer:
    """A model, its objectives and their optimizers; iterating `epochs()` trains."""

    def __init__(self, model: Recommender, graph: Graph, config: TrainingConfig, fabric: Fabric) -> None:
        self.model, self.config, self.fabric = model, config, fabric
        self.objectives = model.objectives(graph)
        self.optimizers = [o.optimizer(o.parameters, o.lr) for o in self.objectives]
        self.epoch = 0  #: epochs done
        if config.adversarial.weight and not any(_vectors_among(model, o.parameters) for o in self.objectives):
            raise KgrecError(
                f"{type(model).__name__} has no vectors of nodes that training moves, so adversarial.weight="
                f"{config.adversarial.weight:g} cannot move them against it; leave it at 0"
            )
        if self.objectives and self.last_phase > config.epochs:
            raise KgrecError(
                f"the last phase of training begins in epoch {self.last_phase}, and {config.epochs} epochs are asked "
                "for; set more epochs, or let it begin earlier (by pretrain_epochs or adversarial.begin, say)"
            )

    @property
    def last_phase(self) -> int:
        """The first epoch of the last phase: from there on epochs are compared."""
        adversarial = self.config.adversarial
        first = adversarial.begin if adversarial.weight else 1
        return max([first, *(o.epochs.start for o in self.objectives if o.epochs is not None)])

    def epochs(self) -> Iterator[Epoch]:
        """Train epoch by epoch, up to `config.epochs` in all. Early stopping is a `break` in the caller.

        Raises KgrecError where a loss is not finite.
        """
        while self.objectives and self.epoch < self.config.epochs:
            yield self._run_epoch(self.epoch + 1)

    def _run_epoch(self, number: int) -> Epoch:
        begun = time.perf_counter()
        with _seeded(self.config.seed, number, self.fabric.global_rank):
            self.model.begin(number)
            self.model.train()
            totals: dict[int, list[Tensor]] = {}
            for steps, (index, batch) in enumerate(self._turns(number), 1):
                losses_of = totals.setdefault(index, [])
                self._set_lr(index, number, len(losses_of))
                losses_of.append(self._step(index, batch))
                if steps % STEPS_BETWEEN_TRIMS == 0:
                    _trim_heap()
        losses = {self.objectives[i].name: float(torch.stack(parts).mean()) for i, parts in totals.items()}
        for name, value in losses.items():
            if not np.isfinite(value):
                raise KgrecError(
                    f"epoch {number}: the loss {name!r} is {value}; lower the learning rate or clip_norm. The "
                    f"checkpoint of epoch {number - 1}, if there is one, stays"
                )
        self.model.eval()
        with torch.no_grad():
            self.model.refresh()
        if self.fabric.world_size > 1:
            _must_agree(self.model, self.fabric)
        self.epoch = number
        signs = dict(self.model.signs())
        return Epoch(number, time.perf_counter() - begun, losses, signs, self.model.concerns())

    def _turns(self, number: int) -> Iterator[tuple[int, Any]]:
        """(objective, batch) in an epoch's order: one objective after another, those of one turn batch by batch."""
        active = [i for i, o in enumerate(self.objectives) if o.epochs is None or number in o.epochs]
        for _, group in groupby(active, key=lambda i: self.objectives[i].turn or f"\0{i}"):
            streams = [self._batches(i, number) for i in group]
            for round_ in zip_longest(*streams):
                yield from (pair for pair in round_ if pair is not None)

    def _batches(self, index: int, number: int) -> Iterator[tuple[int, Any]]:
        stream = Stream(self.config.seed, index, number, self.fabric.global_rank, self.fabric.world_size)
        for batch in self.objectives[index].batches.epoch(stream):
            yield index, batch

    def _set_lr(self, index: int, epoch: int, step: int) -> None:
        """The lr of an objective at a step (from 0) of an epoch, a function of both alone: resuming is exact."""
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
        objective, optimizer, adversarial = self.objectives[index], self.optimizers[index], self.config.adversarial
        optimizer.zero_grad(set_to_none=True)
        if adversarial.is_on(self.epoch + 1):
            loss = self._adversarial_gradient(objective, batch, adversarial)
        else:
            loss = self._loss(objective.loss, batch)
            self.fabric.backward(loss)
        if self.fabric.world_size > 1:
            _average_gradients(objective.parameters, self.fabric)
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(objective.parameters, self.config.clip_norm)
        optimizer.step()
        return loss.detach()

    def _loss(self, loss: Callable[[Any], Tensor], batch: Any) -> Tensor:
        with self.fabric.autocast():
            return loss(batch).float()

    def _adversarial_gradient(self, objective: Objective, batch: Any, adversarial: AdversarialConfig) -> Tensor:
        """The gradient of l(v) + weight l(v + moved) + penalty, with l the loss less its penalty; returns its value."""

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
        """All optimizer tensors, not copies, by objective, parameter and name. With the model's state and the epoch's
        number, which seeds all that is random, training goes on from it exactly."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        tensors = {}
        for index, (objective, optimizer) in enumerate(zip(self.objectives, self.optimizers)):
            for parameter in objective.parameters:
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"{index}/{names[parameter]}/{key}"] = torch.as_tensor(value)
        return tensors

    def load_state(self, tensors: dict[str, Tensor], epoch: int) -> None:
        """Go on from what `state` gave after an epoch. Raises KgrecError where it is of other objectives."""
        self.epoch = epoch
        parameters = dict(self.model.named_parameters())
        for path, value in tensors.items():
            index, name, key = path.split("/")
            if int(index) >= len(self.optimizers) or name not in parameters:
                raise KgrecError(f"the checkpoint holds {path!r}, which this model does not have; start anew")
            place = "cpu" if key == "step" and parameters[name].device.type == "cpu" else parameters[name].device
            self.optimizers[int(index)].state[parameters[name]][key] = value.to(place)


@contextmanager
def moved_vectors(model: nn.Module, parameters: Sequence[nn.Parameter], epsilon: float) -> Iterator[None]:
    """Node vectors moved to where the loss rises most, each by epsilon along its own gradient as it is now; after, they
    are what they were to the last bit (adversarial personalized ranking, He et al. 2018, eq. 8).

    parameters: only vectors among these are moved; biases are not.
    """
    before: list[tuple[Tensor, Tensor | None, Tensor]] = []  #: weight, the rows that move (None: all), what they were
    with torch.no_grad():
        for weight in _vectors_among(model, parameters):
            gradient = weight.grad
            if gradient is None:
                continue
            rows = None
            if gradient.is_sparse:
                gradient = gradient.coalesce()
                rows, gradient = gradient.indices()[0], gradient.values()
            step = epsilon * nn.functional.normalize(gradient, dim=-1)
            before.append((weight, rows, weight.clone() if rows is None else weight[rows]))
            weight.add_(step) if rows is None else weight.index_add_(0, rows, step)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, rows, values in before:
                weight.copy_(values) if rows is None else weight.index_copy_(0, rows, values)


def _vectors_among(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Those parameters that hold a vector for each node, each once; biases are none."""
    facts = [module for module in model.modules() if isinstance(module, LinkModel)]
    found: list[Tensor] = [table.weight for table in vector_tables(model)]
    found += [weight for module in facts for weight in module.weighed()[0] if weight.shape[1] > 1]
    vectors = {id(weight) for weight in found}
    return [parameter for parameter in parameters if id(parameter) in vectors]


def _trim_heap() -> None:
    """Give free memory back to the system. glibc finds little use for freed tensors where batches vary in size, and
    grows by some 10 MB a step; other allocators have no need of it."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def _must_agree(model: Recommender, fabric: Fabric) -> None:
    """Raise KgrecError where the ranks' parameters differ: a model drew random numbers outside its batches, say."""
    mine = torch.stack([parameter.detach().double().sum() for parameter in model.parameters()])
    every = fabric.all_gather(mine)
    if not torch.equal(every, mine.expand_as(every)):
        raise KgrecError("the processes' weights have come apart; all that a model draws must come from its batches")


@contextmanager
def _seeded(seed: int, epoch: int, rank: int) -> Iterator[None]:
    """torch's own random numbers (dropout) by seed, epoch and rank; what they were before, after."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)[0]) >> 1)
        yield


def _average_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric) -> None:
    """The mean over ranks of every gradient: dense ones in one message, sparse ones gathered; a missing one is 0."""
    dense = [p for p in parameters if p.grad is None or not p.grad.is_sparse]
    for parameter in dense:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if dense:
        flat = torch.cat([p.grad.reshape(-1) for p in dense if p.grad is not None])
        flat = fabric.all_reduce(flat, reduce_op="mean")
        for parameter, part in zip(dense, flat.split([p.numel() for p in dense])):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = _average_sparse(parameter.grad.coalesce(), fabric)


def _average_sparse(gradient: Tensor, fabric: Fabric) -> Tensor:
    longest = int(fabric.all_reduce(torch.tensor(gradient._nnz(), device=gradient.device), reduce_op="max"))
    rows = torch.zeros(longest, dtype=torch.long, device=gradient.device)
    values = torch.zeros(longest, *gradient.values().shape[1:], dtype=gradient.dtype, device=gradient.device)
    rows[: gradient._nnz()], values[: gradient._nnz()] = gradient.indices()[0], gradient.values()
    rows, values = fabric.all_gather(rows), fabric.all_gather(values)
    return torch.sparse_coo_tensor(
        rows.reshape(1, -1), values.flatten(0, 1) / fabric.world_size, gradient.shape
    ).coalesce()


def choose_device(name: str) -> torch.device:
    """The device of a name: auto, cpu, cuda or cuda:N. Raises KgrecError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise KgrecError(f"no device {name!r}; say auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise KgrecError(f"device {name!r} is not supported; say auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise KgrecError("no CUDA device is here; say --device cpu")
    return device


def make_fabric(config: TrainingConfig) -> Fabric:
    """The Fabric of a config. Raises KgrecError where the device is not there."""
    device = choose_device(config.device)
    from lightning_fabric import Fabric  # seconds to import, and only training needs it

    devices: Any = [device.index] if device.index is not None and config.devices == 1 else config.devices
    strategy = "auto" if config.devices == 1 else "ddp_spawn"
    return Fabric(accelerator=device.type, devices=devices, strategy=strategy, precision=config.precision)
