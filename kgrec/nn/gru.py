"""A GRU over packed paths (sequences of steps without padding)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn import packed_gru
from kgrec.nn.dropout import Dropout
from kgrec.nn.packed_paths import Paths
from kgrec.nn.sequence_encoder import SequenceEncoder
from kgrec.nn.steady_products import filled_up


class GRU(nn.Module):
    """torch's GRU over the steps [n, D] of paths, with dropout between its layers. Each path starts from a zero state.
    Returns the states of the last layer, [n, D]."""

    def __init__(self, dim: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.gru = nn.GRU(dim, dim, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)

    def forward(self, steps: Tensor, paths: Paths) -> Tensor:
        if self.training and torch.is_grad_enabled() and packed_gru.can_learn(steps, paths):
            return self._learning(steps, paths)
        rows = paths.padded(steps)
        return paths.packed(self.gru(filled_up(rows))[0])

    def _learning(self, steps: Tensor, paths: Paths) -> Tensor:
        """The same without padding."""
        times = packed_gru.Times.of(paths)
        found = steps.index_select(0, times.step)
        for number, weights in enumerate(self.gru.all_weights):
            if number:
                found = functional.dropout(found, self.gru.dropout)
            found = packed_gru.states(found, weights, times.sizes)
        return found.index_select(0, times.place)


class RecurrentEncoder(SequenceEncoder):
    """The states of a GRU, with dropout of its input and its output."""

    def __init__(self, dim: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.gru = GRU(dim, layers, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, steps: Tensor, paths: Paths) -> Tensor:
        found: Tensor = self.dropout(self.gru(self.dropout(steps), paths))
        return found
