"""What a node makes of its own vector and what its neighbors say."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn.dropout import Dropout

AggregatorName = Literal["bi-interaction", "gcn", "graphsage"]
SLOPE = 0.2  #: of LeakyReLU, as in the authors' code


class Aggregator(nn.Module):
    """One layer's output [n, K] of vectors [n, D] and their neighbors' [n, D] (Wang et al. 2019, eqs. 6 to 8):

    gcn: LeakyReLU(W (e + e_N)); graphsage: LeakyReLU(W [e || e_N]); bi-interaction: LeakyReLU(W1 (e + e_N)) +
    LeakyReLU(W2 (e * e_N)). Dropout is on the output.
    """

    def __init__(self, name: AggregatorName, dim: int, out: int, dropout: float) -> None:
        super().__init__()
        self.name, self.dropout = name, Dropout(dropout)
        self.first = nn.Linear(2 * dim if name == "graphsage" else dim, out)
        self.second = nn.Linear(dim, out) if name == "bi-interaction" else None

    def forward(self, own: Tensor, neighbors: Tensor) -> Tensor:
        joined = torch.cat([own, neighbors], -1) if self.name == "graphsage" else own + neighbors
        found = functional.leaky_relu(self.first(joined), SLOPE)
        if self.second is not None:
            found = found + functional.leaky_relu(self.second(own * neighbors), SLOPE)
        dropped: Tensor = self.dropout(found)
        return dropped
