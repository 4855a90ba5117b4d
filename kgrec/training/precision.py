"""Whether a device can compute in 16 bits at least about as fast as in 32."""

from __future__ import annotations

import time
from functools import cache

import torch

from kgrec.errors import KgrecError

SLOWER = 1.5  #: how many times as long as in float32 a product in bf16 may take
ROWS, WIDTH, COLUMNS = 256, 64, 1024  #: of the matrices by whose product it is measured, as of vectors with items
TIMES = 5  #: how often each is measured; the shortest time counts


def must_pay(precision: str, device: torch.device) -> None:
    """Raise KgrecError for bf16-mixed on a device for which it is a trap: a GPU that only imitates it, or a CPU on
    which torch's products of matrices in bf16 are much slower than in float32.

    A CPU is measured, in some milliseconds. With units for it (AMX), a product takes half the time; where torch has
    nothing but a plain loop, it takes 17 to 60 times as long, though the CPU may have instructions for bf16.
    """
    if precision != "bf16-mixed":
        return
    if device.type == "cuda":
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            name = torch.cuda.get_device_name(device)
            raise KgrecError(f"precision bf16-mixed: {name} has no bf16 of its own; use 32-true")
    elif (slower := cost_of_bf16()) > SLOWER:
        raise KgrecError(
            f"precision bf16-mixed: on this CPU, a product of matrices in bf16 takes {slower:.1f} times as long as in "
            "float32, as was just measured, so training would be slower by it; use 32-true"
        )


@cache
def cost_of_bf16() -> float:
    """How many times as long as in float32 a product of matrices in bf16 takes on this CPU, by the shortest of some
    times."""
    return _seconds(torch.bfloat16) / _seconds(torch.float32)


def _seconds(kind: torch.dtype) -> float:
    rows, columns = torch.ones(ROWS, WIDTH, dtype=kind), torch.ones(COLUMNS, WIDTH, dtype=kind)
    found = []
    for _ in range(TIMES + 1):  # the first one prepares
        begun = time.perf_counter()
        rows @ columns.T
        found.append(time.perf_counter() - begun)
    return min(found[1:])
