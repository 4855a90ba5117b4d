"""Dropout that draws a byte, not a float, for each number."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 256
INT64 = torch.iinfo(torch.int64)


class Dropout(nn.Module):
    """torch's dropout; on the CPU, where torch draws number by number, p is rounded to the next 1/256 and eight numbers
    share a draw, which takes a fifth of the time. What is kept is divided by the share that is kept."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        dropped = min(round(self.p * LEVELS), LEVELS - 1)  # p is less than 1: something is kept
        if not self.training or not dropped:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.p)
        draws = torch.randint(INT64.min, INT64.max, (-(-x.numel() // 8),))
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * (kept * (LEVELS / (LEVELS - dropped))).to(x.dtype)
