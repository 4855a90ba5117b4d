"""What the processes of one training, its ranks, exchange over torch.distributed.

In a single process each function gives back what it got. Where a rank is lost, what waits for it raises LostRank.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from kgrec.errors import KgrecError

T = TypeVar("T")
SECONDS_BETWEEN_LOOKS = 1.0  #: how often one who waits for the others looks whether they are still there


class RankError(KgrecError):
    """An error that all ranks end with. Only one rank of each machine prints it; on the others `quiet` is true."""

    quiet = False


class LostRank(RankError):
    """Another rank has ended, or cannot be reached any more."""

    ends_at_once = True  #: whether a command ends without waiting for its threads


@dataclass
class Traffic:
    """What was exchanged so far by this process."""

    seconds: float = 0.0  #: time in exchanges, waiting for slower ranks among it
    bytes: int = 0  #: bytes that this rank handed over, before the backend copies them for several ranks
    messages: int = 0


traffic = Traffic()  #: of this process; it only grows


def _nobody() -> str | None:
    return None


_lost: Callable[[], str | None] = _nobody


def listen(lost: Callable[[], str | None] | None) -> None:
    """Whom to ask, while this rank waits for others, whether one of them is lost. lost: gives what happened, or None;
    None: nobody is asked."""
    global _lost
    _lost = lost or _nobody


_first: Callable[[], None] | None = None
_is_direct = False


def settle_by(first: Callable[[], None] | None) -> None:
    """What all ranks do before each exchange that is not `direct`; None: nothing."""
    global _first
    _first = first


@contextmanager
def direct() -> Iterator[None]:
    """Inside this context, an exchange begins at once."""
    global _is_direct
    before, _is_direct = _is_direct, True
    try:
        yield
    finally:
        _is_direct = before


def world() -> int:
    """The number of ranks."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """The number of this rank, from 0."""
    return distributed.get_rank() if world() > 1 else 0


def share(parts: Iterable[T], *, divided: bool = True) -> Iterator[T]:
    """This rank's share of parts: every `world()`-th, beginning with the `rank()`-th. Not divided: all of them."""
    return islice(parts, rank(), None, world()) if divided else iter(parts)


def add(tensor: Tensor) -> Tensor:
    """The sum over ranks of a tensor that has the same shape everywhere."""
    if world() == 1:
        return tensor
    found = tensor.to(_place()).contiguous().clone()
    _exchange(lambda: distributed.all_reduce(found, async_op=True), found)
    return found.to(tensor.device)


def every(tensor: Tensor) -> Tensor:
    """The tensors of all ranks, which have the same shape: [W, *S]."""
    if world() == 1:
        return tensor.unsqueeze(0)
    mine = tensor.to(_place()).contiguous()
    found = [torch.empty_like(mine) for _ in range(world())]
    _exchange(lambda: distributed.all_gather(found, mine, async_op=True), mine)
    return torch.stack(found).to(tensor.device)


def parts(tensor: Tensor) -> list[Tensor]:
    """The tensors [n, *S] of all ranks, where n may differ, by rank."""
    if world() == 1:
        return [tensor]
    sizes = every(torch.tensor(len(tensor))).tolist()
    longest = tensor.new_zeros(max(sizes), *tensor.shape[1:])
    longest[: len(tensor)] = tensor
    return [found[:size] for found, size in zip(every(longest), sizes)] if max(sizes) else [tensor] * len(sizes)


def joined(tensor: Tensor) -> Tensor:
    """The rows [n, *S] of all ranks one after the other."""
    return tensor if world() == 1 else torch.cat(parts(tensor))


def swapped(sent: Tensor, counts: Sequence[int], coming: Sequence[int]) -> Tensor:
    """Rows that go to each rank, for rows that come from each: [n, *S] each, one rank's after the other's.

    counts: how many of the rows `sent` go to each rank; coming: how many come from each."""
    if world() == 1:
        return sent
    mine = sent.to(_place()).contiguous()
    found = mine.new_empty(sum(coming), *mine.shape[1:])
    _exchange(lambda: distributed.all_to_all_single(found, mine, list(coming), list(counts), async_op=True), mine)
    return found.to(sent.device)


def to_first(tensor: Tensor) -> Tensor | None:
    """The tensors of all ranks, which have the same shape, on rank 0: [W, *S]; None on the others."""
    if world() == 1:
        return tensor.unsqueeze(0)
    mine = tensor.to(_place()).contiguous()
    found = [torch.empty_like(mine) for _ in range(world())] if rank() == 0 else None
    _exchange(lambda: distributed.gather(mine, found, 0, async_op=True), mine)
    return None if found is None else torch.stack(found).to(tensor.device)


def of_first_tensor(tensor: Tensor) -> Tensor:
    """The tensor of rank 0, on all ranks. On the others it has the same shape, and is overwritten."""
    return tensor if world() == 1 or not tensor.numel() else _from_first(tensor.detach())


def barrier() -> None:
    """Wait until all ranks are here."""
    add(torch.zeros(1))


def of_first(value: Any) -> Any:
    """The value of rank 0, on all ranks: what JSON can hold."""
    if world() == 1:
        return value
    text = _bytes(value) if rank() == 0 else torch.empty(0, dtype=torch.uint8)
    size = int(add(torch.tensor(len(text))))
    return _value(_from_first(text if rank() == 0 else text.new_empty(size)))


def of_all(value: Any) -> list[Any]:
    """The values of all ranks, by rank: what JSON can hold."""
    return [_value(one) for one in parts(_bytes(value))]


def _bytes(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _value(text: Tensor) -> Any:
    return json.loads(text.numpy().tobytes())


def tensors_of_first(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of rank 0, by name, on all ranks; the others' own are ignored."""
    if world() == 1:
        return dict(tensors)
    kinds = [[name, str(one.dtype).removeprefix("torch."), list(one.shape)] for name, one in tensors.items()]
    found = {}
    for name, kind, shape in of_first(kinds):
        own = tensors[name] if rank() == 0 else torch.empty(shape, dtype=getattr(torch, kind))
        found[name] = own if not own.numel() else _from_first(own.detach())
    return found


def _from_first(tensor: Tensor) -> Tensor:
    """A tensor of rank 0; on other ranks it is overwritten. Booleans travel as bytes, as backends know no others."""
    sent = tensor.to(_place()).contiguous()
    sent = sent.view(torch.uint8) if sent.dtype == torch.bool else sent
    _exchange(lambda: distributed.broadcast(sent, 0, async_op=True), sent)
    return sent.view(tensor.dtype).to(tensor.device)


def _place() -> torch.device:
    """Where tensors must be for the backend."""
    return torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else _CPU


_CPU = torch.device("cpu")


def _exchange(start: Callable[[], Any], sent: Tensor) -> None:
    """Start an exchange and wait for its end. Raises LostRank if a rank that takes part is lost."""
    if _first is not None and not _is_direct:
        _first()
    begun = time.perf_counter()
    try:
        work = start()
        if distributed.get_backend() == "nccl":  # it has a watchdog of its own
            work.wait()
        else:
            _wait(work)
    except LostRank:
        raise
    except RuntimeError as error:
        raise LostRank(f"the connection to another rank is lost ({str(error).splitlines()[0]})") from error
    finally:
        traffic.seconds += time.perf_counter() - begun
        traffic.bytes += sent.numel() * sent.element_size()
        traffic.messages += 1


def _wait(work: Any) -> None:
    """Wait for an exchange; look now and then whether a rank is lost, as a cut line is not noticed otherwise."""
    pause = timedelta(seconds=SECONDS_BETWEEN_LOOKS)
    while True:
        try:
            work.wait(pause)
        except RuntimeError:
            what = _lost()
            if what is not None:
                raise LostRank(what) from None
            if work.is_completed():
                work.wait()  # raises the exchange's own error
                return
        else:
            return
