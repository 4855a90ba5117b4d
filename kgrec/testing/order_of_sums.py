"""Detects sums in training whose order depends on threads, by watching torch's operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kgrec.testing.subject import Subject, built, one_thread, trainer_of

AT_PLACES = ("index_put", "index_put_", "_index_put_impl_", "put", "put_")


class Unordered(TorchDispatchMode):
    """A context that records sums that several CPU threads compute in any order: torch's `index_put` and `put` with
    `accumulate`, in float32, where an index occurs more than once. The gradients of `x[index]` and `x.take(index)` are
    computed like this; those of `functional.embedding`, `index_select` and `gather` have a fixed order."""

    def __init__(self) -> None:
        super().__init__()
        self.found = set[tuple[int, ...]]()  #: shapes of the tensors that are added to

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func.overloadpacket.__name__ in AT_PLACES:
            to, places = args[:2]
            adds = options.get("accumulate", args[3] if len(args) > 3 else False)
            if adds and to.dtype == torch.float32 and _repeats(places):
                self.found.add(tuple(to.shape))
        return func(*args, **options)


def _repeats(places: Tensor | list[Tensor | None]) -> bool:
    """Whether an index occurs more than once; the indices are those of torch's `index_put`."""
    some = [places] if isinstance(places, Tensor) else [one for one in places if one is not None]
    if any(one.dtype in (torch.bool, torch.uint8) for one in some):
        return False  # a mask selects each entry once
    each = torch.stack([one.reshape(-1) for one in torch.broadcast_tensors(*some)], 1)
    return len(torch.unique(each, dim=0)) < len(each)


def added_in_any_order(subject: Subject) -> set[tuple[int, ...]]:
    """Shapes of the tensors that training adds to in no fixed order, over all its phases."""
    model = built(subject.name, subject.train, subject.config, seed=0)
    last_phase = trainer_of(model, subject.train, subject.epochs).last_phase
    trainer = trainer_of(model, subject.train, last_phase)
    with one_thread(), Unordered() as sums:
        for _ in trainer.epochs():
            pass
    return sums.found
