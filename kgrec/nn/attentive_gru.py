"""A GRU whose past states are weighed by additive attention."""

from __future__ import annotations

import torch
from torch import Tensor

from kgrec.nn.dropout import Dropout
from kgrec.nn.gru import GRU
from kgrec.nn.packed_paths import Paths
from kgrec.nn.sequence_encoder import SequenceEncoder
from kgrec.nn.steady_products import SteadyLinear


class AttentiveGRU(SequenceEncoder):
    """c_t = sum of alpha_j h_j over the steps j = 1..t, where alpha = softmax(e) over those steps and
    `e_j = v' tanh(W_h h_j + W_x x_j)`. h are the GRU's states, x are the vectors of the steps (additive attention,
    Bahdanau et al. 2015; over a user's steps as in NARM, Li et al. 2017).

    c_t of all steps comes from prefix sums of exp(e_j) h_j and exp(e_j), so a path of L steps costs O(L).
    """

    def __init__(self, dim: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.gru = GRU(dim, layers, dropout)
        self.dropout = Dropout(dropout)
        self.of_state = SteadyLinear(dim, dim)
        self.of_item = SteadyLinear(dim, dim, bias=False)
        self.energy = SteadyLinear(dim, 1, bias=False)

    def forward(self, steps: Tensor, paths: Paths) -> Tensor:
        """c of each step: [n, D]. steps: [n, D], packed (see Paths)."""
        state, energy = self.states(steps, paths)
        rows = paths.padded(
            torch.cat([state, energy], -1)
        ).double()  # float64, because the exponentials differ by many orders of magnitude
        energy, state = rows[..., -1:], rows[..., :-1]
        share = (energy - energy.detach().amax(1, keepdim=True)).exp()
        found = (share * state).cumsum(1) / share.cumsum(1)
        dropped: Tensor = self.dropout(paths.packed(found.to(steps.dtype)))
        return dropped

    def states(self, steps: Tensor, paths: Paths) -> tuple[Tensor, Tensor]:
        """The GRU's states h, [n, D], and the energies e, [n, 1]."""
        state = self.gru(self.dropout(steps), paths)
        return state, self.energy(torch.tanh(self.of_state(state) + self.of_item(steps))).to(state.dtype)

    def weights(self, steps: Tensor, paths: Paths) -> Tensor:
        """alpha of each step, at the last step of its path: [n], packed."""
        rows = paths.padded(self.states(steps, paths)[1]).squeeze(-1)
        outside = torch.arange(paths.width, device=rows.device) >= paths.length.unsqueeze(1)
        return rows.masked_fill(outside, -torch.inf).softmax(1)[paths.row, paths.step]
