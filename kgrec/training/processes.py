"""Devices and processes of a training, and how the processes stay in step."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kgrec.errors import KgrecError
from kgrec.model import Recommender
from kgrec.training.config import TrainingConfig

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    from lightning_fabric import Fabric

SECONDS_TO_END = 20.0  #: how long to wait for a process to end; it first finishes its torch operation


def choose_device(name: str) -> torch.device:
    """The device with this name: auto, cpu, cuda or cuda:N. Raises KgrecError if this machine does not have it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise KgrecError(f"no device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise KgrecError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise KgrecError("this machine has no CUDA device that torch can use; use --device cpu")
    return device


def make_fabric(config: TrainingConfig) -> Fabric:
    """The Lightning Fabric for a config. Raises KgrecError if this machine does not have the device."""
    device = choose_device(config.device)
    with _versions_alone("torchmetrics"):
        from lightning_fabric import Fabric  # the import takes seconds, and only training needs it

    devices: Any = [device.index] if device.index is not None and config.devices == 1 else config.devices
    strategy = "auto" if config.devices == 1 else "ddp_spawn"
    return Fabric(accelerator=device.type, devices=devices, strategy=strategy, precision=config.precision)


@contextmanager
def _versions_alone(*packages: str) -> Iterator[None]:
    """Inside, importing one of these packages gives a module that has its version and nothing else. Lightning asks
    torchmetrics for its version; that import would take as long again as Lightning's own."""
    stand_ins = {}
    for name in packages:
        if name not in sys.modules:
            stand_ins[name] = ModuleType(name)
            with suppress(PackageNotFoundError):
                stand_ins[name].__version__ = version(name)  # type: ignore[attr-defined]
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


def launch(fabric: Fabric, work: Callable[[Fabric], None]) -> None:
    """Run `work` in each of several processes. They end when this process ends: on Ctrl-C, on any other exception here,
    and when it is killed.

    work: a function that can be pickled; a signal interrupts it with SystemExit. Raises KgrecError with the message of
    a process that raised KgrecError or OSError, if a process was killed, and if shared memory is too small.
    """
    context = multiprocessing.get_context("spawn")
    messages: SimpleQueue[str] = context.SimpleQueue()
    others = set(multiprocessing.active_children())
    try:
        with _starting_quietly(context):
            fabric.launch(_Work(work, messages))
    except torch.multiprocessing.ProcessExitedException as error:
        if not messages.empty():
            raise KgrecError(messages.get()) from None
        raise KgrecError(
            f"one of the training processes was killed ({error.msg}), perhaps because memory ran out; if there is a "
            "checkpoint, use --resume to continue from it"
        ) from error
    except RuntimeError as error:  # torch could not share the graph's tensors
        raise KgrecError(
            f"the graph cannot be sent to the training processes ({error}); the shared memory of the system, /dev/shm, "
            "may be too small: enlarge it, or use --devices 1"
        ) from error
    finally:
        _end([one for one in multiprocessing.active_children() if one not in others])


class _Work:
    """The work of one of several processes. It handles signals, and reports the error that ended it."""

    def __init__(self, work: Callable[[Fabric], None], messages: SimpleQueue[str]) -> None:
        self.work, self.messages = work, messages

    def __call__(self, fabric: Fabric) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            self.work(fabric)
        except (KgrecError, OSError) as error:
            self.messages.put(str(error))
            sys.exit(1)


def _stop(number: int, _: object) -> None:
    """End this process, and ignore further signals, such as those of its parent, while it cleans up."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    sys.exit(128 + number)


class _Quiet(SpawnProcess):
    """A process that Ctrl-C reaches only after its imports. Before that there is nothing to clean up, and Python would
    print a traceback."""

    def start(self) -> None:
        """Start it with SIGINT blocked, on systems where signals can be blocked."""
        if not hasattr(signal, "pthread_sigmask"):
            super().start()
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _starting_quietly(context: Any) -> Iterator[None]:
    """Inside this context, the processes of a multiprocessing context are _Quiet."""
    before = context.Process
    context.Process = _Quiet
    try:
        yield
    finally:
        context.Process = before


def _end(processes: Sequence[Any]) -> None:
    """Ask processes to end, wait for them, and kill those that do not end."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + SECONDS_TO_END
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def must_agree(model: Recommender, fabric: Fabric) -> None:
    """Raise KgrecError if the ranks' parameters differ, for example because a model drew random numbers by itself."""
    mine = torch.stack([parameter.detach().double().sum() for parameter in model.parameters()])
    every = fabric.all_gather(mine)
    if not torch.equal(every, mine.expand_as(every)):
        raise KgrecError(
            "the processes have different weights; a model may take random numbers only from its batches, so change "
            "the model, or use --devices 1"
        )


def average_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric) -> None:
    """Replace every gradient by its mean over ranks. Dense gradients are sent in one message, sparse ones are gathered;
    a missing one counts as 0."""
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
