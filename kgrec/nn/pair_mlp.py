"""A multi-layer perceptron on the vectors of a pair, which are never laid side by side."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from kgrec.nn.dropout import Dropout
from kgrec.nn.edge_model import EdgeModelConfig
from kgrec.settings import settings

CELLS = 1 << 22  #: numbers of one layer that scoring holds at once


@settings
class PairMLPConfig(EdgeModelConfig):
    """Settings of edge models with a perceptron."""

    lr: PositiveFloat = 5e-3  #: step size of the optimizer
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 32, 16)  #: widths of the hidden layers
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  #: share of a layer's output that training sets to 0
    init_std: PositiveFloat = 0.05  #: standard deviation of the vectors at the start

    FORMER: ClassVar = {"layers": "hidden"}


class PairMLP(nn.Module):
    """Linear layers with ReLU between them on [u; v], to one number.

    The first layer is `W_u u + W_v v + b`, so each user's and each item's part is computed once. Without gradients, a
    catalog is scored in chunks of items: memory does not grow with it.
    """

    def __init__(self, dim: int, layers: tuple[int, ...], dropout: float = 0.0) -> None:
        super().__init__()
        self.of_user, self.of_item = nn.Linear(dim, layers[0]), nn.Linear(dim, layers[0], bias=False)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(layers))
        self.out = nn.Linear(layers[-1], 1)
        self.dropout = Dropout(dropout)
        self.widest = max(layers)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """user: [B, D]; item: [C, D], or [B, C, D] for each user's own. Returns [B, C]."""
        if torch.is_grad_enabled():
            return self._scores(self.of_user(user), self.of_item(item))
        of_user = self.of_user(user)
        size = max(1, CELLS // max(1, len(user) * self.widest))
        return torch.cat([self._scores(of_user, self.of_item(part)) for part in item.split(size, dim=-2)], 1)

    def _scores(self, of_user: Tensor, of_item: Tensor) -> Tensor:
        x = self.dropout(torch.relu(of_user.unsqueeze(1) + of_item))
        for layer in self.hidden:
            x = self.dropout(torch.relu(layer(x)))
        scores: Tensor = self.out(x).squeeze(-1)
        return scores
