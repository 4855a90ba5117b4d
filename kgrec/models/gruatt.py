"""A GRU with additive attention: which past steps the next item depends on, to be read out."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.nn import GRU, Dropout, NextItem, NextItemConfig, Paths
from kgrec.settings import settings


@settings
class GRUAttConfig(NextItemConfig):
    """Settings of the GRU with attention."""

    layers: PositiveInt = 1


class GRUAtt(NextItem):
    """c_t = sum of alpha_j h_j over the steps j = 1..t, where alpha = softmax(e) over those steps and
    e_j = v' tanh(W_h h_j + W_x x_j), with h the GRU's states and x the items' vectors (additive attention, Bahdanau et
    al. 2015; over a user's steps as in NARM, Li et al. 2017). `attention` gives alpha.

    Every step's c_t comes from prefix sums of exp(e_j) h_j and exp(e_j), so a path of L steps costs O(L).
    """

    Config = GRUAttConfig

    def __init__(self, graph: Graph, config: GRUAttConfig) -> None:
        super().__init__(graph, config)
        self.gru = GRU(config.dim, config.layers, config.dropout)
        self.dropout = Dropout(config.dropout)
        self.of_state = nn.Linear(config.dim, config.dim)
        self.of_item = nn.Linear(config.dim, config.dim, bias=False)
        self.energy = nn.Linear(config.dim, 1, bias=False)

    def encode(self, steps: Tensor, paths: Paths) -> Tensor:
        state, energy = self.states(steps, paths)
        rows = paths.padded(torch.cat([state, energy], -1)).double()  # float64: exp of energies that lie far apart
        energy, state = rows[..., -1:], rows[..., :-1]
        share = (energy - energy.detach().amax(1, keepdim=True)).exp()
        found = (share * state).cumsum(1) / share.cumsum(1)
        return self.dropout(paths.packed(found.to(steps.dtype)))

    def states(self, steps: Tensor, paths: Paths) -> tuple[Tensor, Tensor]:
        """h [n, D] and e [n, 1]."""
        state = self.gru(self.dropout(steps), paths)
        return state, self.energy(torch.tanh(self.of_state(state) + self.of_item(steps))).to(state.dtype)

    def attention(self, query: Query) -> Tensor:
        steps, paths = self._of_query(query)
        weights = steps.new_zeros(query.history.shape)
        if not paths.width:
            return weights
        energy = self.states(steps, paths)[1]
        rows = paths.padded(energy).squeeze(-1)
        outside = torch.arange(paths.width, device=rows.device) >= paths.length.unsqueeze(1)
        alpha = rows.masked_fill(outside, -torch.inf).softmax(1).nan_to_num(0.0)
        weights[:, -self.config.length :][self.read(query)] = alpha[paths.row, paths.step]
        return weights
