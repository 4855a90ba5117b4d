"""Devices and processes of a training, and how the processes stay in step."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from kgrec.errors import KgrecError
from kgrec.ranks import LostRank
from kgrec.training.config import TrainingConfig
from kgrec.training.joining import LONGEST_EXCHANGE, Place, join, place_from_outside, together
from kgrec.training.precision import must_pay

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


class OneProcess:
    """What a training asks of Lightning Fabric, for one process on the CPU in float32. Fabric does nothing else there,
    and importing it takes longer than a short training."""

    device = torch.device("cpu")
    world_size, global_rank, local_rank, is_global_zero = 1, 0, 0, True

    def autocast(self) -> AbstractContextManager[None]:
        """Inside, everything is as it is."""
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Compute the gradients of a loss."""
        loss.backward()


def make_fabric(config: TrainingConfig) -> Fabric | OneProcess:
    """The Lightning Fabric for a config: of one process; of `devices` processes, which `launch` starts; or of those
    that were started from outside (torchrun), which have joined then. For one process on the CPU in float32 it is
    something simpler with the same parts that a training needs.

    Raises KgrecError if this machine does not have the device or is slower in bf16 (see `must_pay`), and what
    `place_from_outside` and `join` raise.
    """
    device, place = choose_device(config.device), place_from_outside()
    must_pay(config.precision, device)
    if place is None and config.devices == 1 and device.type == "cpu" and config.precision == "32-true":
        return OneProcess()
    _import_lightning()
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    _quiet()
    shared: dict[str, Any] = {"accelerator": device.type, "precision": config.precision}
    if place is not None:
        _check_place(place, config, device)
        join(place, device)
        fabric = Fabric(
            devices=place.on_machine,
            num_nodes=place.machines,
            strategy=DDPStrategy(timeout=LONGEST_EXCHANGE),
            plugins=[TorchElasticEnvironment()],
            **shared,
        )
        fabric.launch()
        return fabric
    if config.devices == 1:
        return Fabric(devices=1 if device.index is None else [device.index], strategy="auto", **shared)
    strategy = DDPStrategy(start_method="spawn", timeout=LONGEST_EXCHANGE)
    return Fabric(devices=config.devices, strategy=strategy, **shared)


def _quiet() -> None:
    """Let Lightning print only warnings when processes join."""
    for name in ("distributed", "rank_zero"):
        logging.getLogger(f"lightning_fabric.utilities.{name}").setLevel(logging.WARNING)


def _check_place(place: Place, config: TrainingConfig, device: torch.device) -> None:
    """Raise KgrecError if the config asks for other processes or devices than were started from outside."""
    if config.devices not in (1, place.on_machine):
        raise KgrecError(
            f"devices is {config.devices}, but {place.on_machine} processes were started on this machine from outside; "
            "leave --devices out, as torchrun --nproc-per-node says how many there are"
        )
    if device.index is not None:
        raise KgrecError(
            f"device {device} names one device, but each of {place.on_machine} processes takes its own; use --device "
            "cuda"
        )
    if device.type == "cuda" and torch.cuda.device_count() < place.on_machine:
        raise KgrecError(
            f"{place.on_machine} processes were started, but this machine has {torch.cuda.device_count()} CUDA "
            "devices; start one for each (torchrun --nproc-per-node), or use --device cpu"
        )


def _import_lightning() -> None:
    """Import Lightning, which takes seconds, without torchmetrics. Lightning asks that package for its version alone,
    and importing it would take as long again."""
    with _versions_alone("torchmetrics"):
        importlib.import_module("lightning_fabric")


@contextmanager
def _versions_alone(*packages: str) -> Iterator[None]:
    """Inside, importing one of these packages gives a module that has its version and nothing else."""
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
    messages: SimpleQueue[tuple[bool, str]] = context.SimpleQueue()
    others = set(multiprocessing.active_children())
    try:
        with _starting_quietly(context):
            fabric.launch(_Work(work, messages))
    except torch.multiprocessing.ProcessExitedException as error:
        said = []
        while not messages.empty():
            said.append(messages.get())
        if said:  # what went wrong itself comes before what others say of it
            raise KgrecError(min(said, key=lambda one: one[0])[1]) from None
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


def is_sendable(function: object) -> bool:
    """Whether a function can be sent to another process: one that a module defines can."""
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


class _Work:
    """The work of one of several processes. It handles signals, and reports the error that ended it."""

    def __init__(self, work: Callable[[Fabric], None], messages: SimpleQueue[tuple[bool, str]]) -> None:
        self.work, self.messages = work, messages

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in the process, which is about to join the others."""
        _quiet()
        vars(self).update(state)

    def __call__(self, fabric: Fabric) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            together(lambda: self.work(fabric), self.failed)
        except (KgrecError, OSError):
            sys.stderr.flush()
            sys.exit(1)

    def failed(self, error: BaseException) -> None:
        self.messages.put((isinstance(error, LostRank), str(error)))


def _stop(number: int, _: object) -> None:
    """End this process, and ignore further signals, such as those of its parent, while it cleans up."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    sys.exit(128 + number)


def _arrived() -> _Quiet:
    """The new process, before what it is to do is unpickled, which would import Lightning, and so torchmetrics."""
    _import_lightning()
    return _Quiet.__new__(_Quiet)


class _Quiet(SpawnProcess):
    """A process that Ctrl-C reaches only after its imports. Before that there is nothing to clean up, and Python would
    print a traceback."""

    def __reduce__(self) -> tuple[Callable[[], _Quiet], tuple[()], dict[str, Any]]:
        return _arrived, (), vars(self)

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
