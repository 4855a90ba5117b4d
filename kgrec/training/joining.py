"""Processes that were started from outside, as by torchrun, join one training; and all ranks of a training end
together."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from kgrec import ranks
from kgrec.errors import KgrecError, some
from kgrec.ranks import LostRank, RankError
from kgrec.training.rank_watch import LEFT, STOPPED, RankWatch, never_freed

T = TypeVar("T")
NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
SECONDS_TO_JOIN = 300.0  #: how long ranks wait for each other at the start
LONGEST_EXCHANGE = timedelta(days=1)  #: a rank may work alone for so long; lost ones are noticed otherwise


@dataclass(frozen=True)
class Place:
    """The place of this process among those that torchrun, or whatever set its variables, has started."""

    rank: int  #: its number among all, from 0
    world: int  #: their number
    local: int  #: its number on this machine
    on_machine: int  #: their number on this machine

    @property
    def machines(self) -> int:
        return self.world // self.on_machine


def place_from_outside() -> Place | None:
    """The place of this process in a training of several processes that were started from outside; None if it is alone.

    Raises KgrecError for variables that are missing or wrong.
    """
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise KgrecError(
            f"the environment says RANK={os.environ['RANK']} of WORLD_SIZE={os.environ.get('WORLD_SIZE')}, but has no "
            f"{some(missing)}; start the processes with torchrun, or unset RANK and WORLD_SIZE to train in one process"
        )
    rank, world, local = (_number(name) for name in NEEDED[:3])
    here = _number("LOCAL_WORLD_SIZE") if os.environ.get("LOCAL_WORLD_SIZE") else world
    if not (rank < world and local < here and 0 < here <= world) or world % here:
        raise KgrecError(
            f"the environment says rank {rank} of {world}, and {local} of {here} on this machine, which does not fit; "
            "every machine must start the same number of processes (torchrun --nproc-per-node)"
        )
    return Place(rank, world, local, here)


def _number(name: str) -> int:
    text = os.environ[name]
    if not text.isdecimal():
        raise KgrecError(f"the environment variable {name} is {text!r}; it must be a whole number, as torchrun sets it")
    return int(text)


_joined: list[Any] = []  #: stores that were opened, which live as long as the process: rank 0 may serve one


def join(place: Place, device: torch.device) -> None:
    """Join the process group of all ranks, with gloo, or nccl for CUDA. Does nothing in one who has joined.

    Raises KgrecError if the others do not come, or if the address of rank 0 cannot be reached.
    """
    if distributed.is_initialized():
        return
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    patience = timedelta(seconds=SECONDS_TO_JOIN)
    try:
        if not _joined:
            _joined.append(next(iter(distributed.rendezvous("env://", timeout=patience)))[0])
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.PrefixStore(f"kgrec/{attempt}/{len(_joined)}", _joined[0])
        _joined.append(store)
        store.set(f"here/{place.rank}", "1")
        _await(store, place, patience)
        if device.type == "cuda":
            torch.cuda.set_device(place.local)
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(
            backend, store=store, rank=place.rank, world_size=place.world, timeout=LONGEST_EXCHANGE
        )
    except (RuntimeError, OSError) as error:
        raise KgrecError(
            f"rank {place.rank} of {place.world} cannot join the others at {where} ({str(error).splitlines()[0]}); "
            "MASTER_ADDR must be an address of the machine of rank 0 that all can reach, and GLOO_SOCKET_IFNAME (or "
            "NCCL_SOCKET_IFNAME) the network interface to it"
        ) from error


def _await(store: Any, place: Place, patience: timedelta) -> None:
    """Wait until all ranks are there. Raises KgrecError with those that are missing."""
    keys = [f"here/{one}" for one in range(place.world)]
    try:
        store.wait(keys, patience)
    except RuntimeError:
        missing = [str(one) for one, key in enumerate(keys) if not store.check([key])]
        raise KgrecError(
            f"rank {some(missing)} of {place.world} did not come within {SECONDS_TO_JOIN:g} seconds; see what their "
            "processes have printed"
        ) from None


def together(work: Callable[[], T], failed: Callable[[BaseException], None] = lambda error: None) -> T:
    """The result of the work of one rank. All ranks end together: where one fails, the others raise LostRank with its
    message within seconds. Afterwards this process has left the process group.

    failed: called with an error before the others hear of it.
    """
    group, watch = distributed.group.WORLD, RankWatch()
    try:
        watch.begin()
        found = work()
        ranks.barrier()
    except BaseException as error:
        watch.ends()
        never_freed(group)
        with _signals_ignored():
            ending = _ending(watch, error, failed)
            watch.close()
        if ending is error:
            raise
        raise ending from None
    watch.close()
    distributed.destroy_process_group()
    return found


def _ending(watch: RankWatch, error: BaseException, failed: Callable[[BaseException], None]) -> BaseException:
    """Say to the others why this rank ends. Returns the error that it ends with."""
    match error:
        case LostRank():
            found = watch.why(error)
            failed(found)
            watch.say(LEFT, wait=False)
            return found
        case RankError():
            error.quiet = not watch.speaks
            failed(error)
        case KgrecError() | OSError():
            failed(error)
            watch.say(what := f"has ended with an error: {error}")
            vars(error)["quiet"] = watch.was_said(what)
        case SystemExit() | KeyboardInterrupt():
            watch.say(STOPPED, wait=False)
            # torchrun stops what is left where one process was lost
            if getattr(error, "number", None) == signal.SIGTERM:
                return watch.others_ended() or error
        case _:
            watch.say(f"has ended with {type(error).__name__}: {error}")
    return error


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Inside this context, SIGINT and SIGTERM do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(ValueError, TypeError):
                signal.signal(number, handler)
