"""Dropout that draws a random byte, not a float, for each value."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 256  #: values of a byte
INT64 = torch.iinfo(torch.int64)


class Dropout(nn.Module):
    """Dropout as in torch. On the CPU, p is rounded to the nearest 1/256, and one random number serves eight values;
    this takes a fifth of torch's time. Values that are kept are divided by the share that is kept."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def levels_dropped(self) -> int:
        """How many of the 256 values of a byte mean that a value is dropped; 0 outside training."""
        return min(round(self.p * LEVELS), LEVELS - 1) if self.training else 0  # p is less than 1, so something is kept

    def forward(self, x: Tensor) -> Tensor:
        dropped = self.levels_dropped()
        if not dropped:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.p)
        kept = draw_bytes(x.numel()).view(x.shape) >= dropped
        return x * (kept * (LEVELS / (LEVELS - dropped))).to(x.dtype)

    def of_relu(self, x: Tensor) -> Tensor:
        """Dropout of ReLU(x), the same numbers; on the CPU in one pass each way, in place of five and two."""
        dropped = self.levels_dropped()
        if not dropped or x.device.type != "cpu" or x.dtype != torch.float32 or not torch.is_grad_enabled():
            return self(torch.relu(x))
        found: Tensor = _ReLUDropout.apply(x, dropped)
        return found


class _ReLUDropout(torch.autograd.Function):
    """ReLU, then dropout with the probability dropped / 256."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        from kgrec.nn import vector_kernels

        ctx.scale, out = np.float32(LEVELS / (LEVELS - dropped)), torch.empty(x.shape)
        flat = x.detach().reshape(-1).numpy(), draw_bytes(x.numel()).numpy()
        vector_kernels.relu_dropout(*flat, dropped, ctx.scale, out.view(-1).numpy())
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        from kgrec.nn import vector_kernels

        (out,) = ctx.saved_tensors
        of_x = torch.empty(out.shape)
        flat = out.detach().view(-1).numpy(), ctx.scale, gradient.reshape(-1).numpy()
        vector_kernels.relu_dropout_back(*flat, of_x.view(-1).numpy())
        return of_x, None


def draw_bytes(number: int) -> Tensor:
    """Random bytes on the CPU: uint8 [number]. torch's generator gives the first state of another one, SplitMix64
    (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014), whose numbers do not depend on
    each other: this takes a tenth of the time of torch's."""
    from kgrec.nn import vector_kernels

    words, start = np.empty(-(-number // 8), np.uint64), torch.randint(INT64.min, INT64.max, ()).item()
    vector_kernels.random_words(np.uint64(start % 2**64), words)
    return torch.from_numpy(words.view(np.uint8)[:number])
