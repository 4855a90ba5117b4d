"""LiGR: a block of self-attention with gated residual connections and a SwiGLU feed-forward layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn.dropout import Dropout
from kgrec.nn.packed_paths import Paths
from kgrec.nn.self_attention import AttentionBlock, AttentionConfig
from kgrec.nn.steady_products import SteadyLinear


class SwiGLU(nn.Module):
    """W3 (SiLU(W1 x) * W2 x), where SiLU(a) is a * sigmoid(a) (Shazeer 2020). Like W3 x in a feed-forward layer of
    `width` hidden values, but each of them is weighted by a second product. x: [n, D]."""

    def __init__(self, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.first = SteadyLinear(dim, 2 * width, bias=False)  #: W1 over W2
        self.second = SteadyLinear(width, dim, bias=False)  #: W3
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        opens, value = self.first(x).chunk(2, -1)
        found: Tensor = self.second(self.dropout(functional.silu(opens) * value))
        return found


class LiGRBlock(AttentionBlock):
    """x + sigmoid(G1 x) * attention(norm(x)), then x + sigmoid(G2 x) * SwiGLU(norm(x)). So each step decides, value by
    value, how much of a layer's output is added (Borisyuk et al. 2025, sec. 3; as a block of eSASRec: Tikhonovich et
    al. 2025)."""

    pre_norm = True

    def __init__(self, config: AttentionConfig, dim: int, dropout: float) -> None:
        super().__init__(config, dim)
        self.feed = SwiGLU(dim, config.feedforward * dim, dropout)
        self.gate_attention, self.gate_feedforward = SteadyLinear(dim, dim), SteadyLinear(dim, dim)
        self.norm_attention, self.norm_feedforward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, paths: Paths, seen: Tensor | None) -> Tensor:
        attended = self.attend(self.norm_attention(x), paths, seen)
        x = self.add(x, self.gate_attention(x), attended)
        return self.add(x, self.gate_feedforward(x), self.feed(self.norm_feedforward(x)))

    def add(self, x: Tensor, gate: Tensor, output: Tensor) -> Tensor:
        """x + sigmoid(gate) * output, with dropout of the output: all [n, D]."""
        return torch.addcmul(x, gate.sigmoid(), self.dropout(output))
