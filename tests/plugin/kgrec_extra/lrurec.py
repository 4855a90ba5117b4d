"""LRURec: linear recurrent units over a path predict its next item."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn import NextItem, NextItemConfig, Paths, SequenceEncoder
from kgrec.settings import settings


@settings
class LRURecConfig(NextItemConfig):
    """Settings of LRURec."""

    units: int = 1  #: linear recurrent units, one on top of the other


class Unit(nn.Module):
    """x + W h + b, where h_t = a * h_(t-1) + (1 - a^2)^0.5 * x_t, with a learned a between 0 and 1 for each value
    (Yue et al. 2024, sec. 3.3, with real numbers)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.decay = nn.Parameter(torch.linspace(0, 4, dim))  #: the logit of a

    def forward(self, rows: Tensor) -> Tensor:
        """rows: [B, L, D]"""
        keep, found = self.decay.sigmoid(), []
        state = torch.zeros_like(rows[:, 0])
        for step in (self.norm(rows) * (1 - keep**2).sqrt()).unbind(1):
            state = keep * state + step
            found.append(state)
        return rows + self.mix(torch.stack(found, 1))


class LinearRecurrence(SequenceEncoder):
    """Units, and a feed-forward layer."""

    def __init__(self, dim: int, units: int, dropout: float) -> None:
        super().__init__()
        self.units = nn.Sequential(*(Unit(dim) for _ in range(units)))
        self.first, self.second, self.dropout = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Dropout(dropout)

    def forward(self, steps: Tensor, paths: Paths) -> Tensor:
        x = paths.packed(self.units(paths.padded(self.dropout(steps))))
        return x + self.dropout(self.second(functional.gelu(self.first(x))))


class LRURec(NextItem):
    """Linear recurrent units for sequential recommendation."""

    Config = LRURecConfig
    paper = "Yue et al. 2024, Linear recurrent units for sequential recommendation, WSDM"

    @classmethod
    def make_encoder(cls, config: LRURecConfig) -> LinearRecurrence:
        return LinearRecurrence(config.dim, config.units, config.dropout)
