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

    def levels_dropped(self) -> int:
        """How many of 256 bytes mean that a number is dropped; 0 outside training."""
        return min(round(self.p * LEVELS), LEVELS - 1) if self.training else 0  # p is less than 1: something is kept

    def forward(self, x: Tensor) -> Tensor:
        dropped = self.levels_dropped()
        if not dropped:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.p)
        kept = draw_bytes(x.numel()).view(x.shape) >= dropped
        return x * (kept * (LEVELS / (LEVELS - dropped))).to(x.dtype)


def draw_bytes(number: int) -> Tensor:
    """Random bytes on the CPU, eight of each draw: uint8 [number]."""
    return torch.randint(INT64.min, INT64.max, (-(-number // 8),)).view(torch.uint8)[:number]
