"""Torch's random numbers from a seed, for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, devices: Sequence[int] = ()) -> Iterator[None]:
    """Inside this context torch's random numbers come from a seed. Afterwards the generators of the CPU, and of CUDA
    devices that are named, have their former state."""
    with torch.random.fork_rng(devices=list(devices)):
        if torch.cuda.is_available():
            torch.manual_seed(seed)
        else:  # the same numbers: without CUDA the other one only notes the whole stack of its callers, each time
            torch.default_generator.manual_seed(seed)
        yield
