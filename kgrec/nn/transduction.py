"""The sequential transduction units of HSTU: pointwise attention over packed paths, gated by each step itself."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn.dropout import Dropout
from kgrec.nn.packed_paths import Paths
from kgrec.nn.pointwise_attention import STEADY, pointwise_attention
from kgrec.nn.sequence_encoder import SequenceEncoder, must_divide, with_positions
from kgrec.nn.steady_products import SteadyLinear, serves
from kgrec.nn.step_times import StepTimesConfig, TimeBias, Times, path_buckets
from kgrec.search_ranges import Between
from kgrec.settings import Depth, settings

EPSILON = 1e-6  #: added to variances, as in the code of the paper's experiments


@settings
class TransductionConfig(StepTimesConfig):
    """Settings of sequential transduction units."""

    #: number of units, one on top of the other; more can express more, and cost time
    blocks: Annotated[Depth, Between(1, 4)] = 2
    #: attention heads of a unit; several can attend to different steps; `dim` must be a multiple of it
    heads: PositiveInt = 1


class Transduction(SequenceEncoder):
    """Sequential transduction units (Zhai et al. 2024, sec. 3.2), each x + f2(norm(A V) * U) with U, V, Q, K =
    silu(f1(norm(x))) and `pointwise_attention` A of Q and K. Attention has a learned bias for how many steps a step is
    back, and with `times` one for how long ago it was (see TimeBias). A learned position vector, counted from the
    path's end, is added to each step first, and the last output is normalised.

    length: the number of steps at most, by which sums of attention are divided. Dropout is applied to the input and to
    what f2 reads. Raises KgrecError if dim is not a multiple of heads.
    """

    def __init__(self, config: TransductionConfig, dim: int, length: int, dropout: float, init_std: float) -> None:
        super().__init__()
        must_divide(dim, config.heads)
        self.times: Times = config.times
        self.position = nn.Parameter(torch.empty(length, dim).normal_(std=init_std))
        self.units = nn.ModuleList(_Unit(config, dim, length, dropout, init_std) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, steps: Tensor, paths: Paths) -> Tensor:
        """The encodings of the steps, [n, D], from the steps [n, D], packed (see Paths)."""
        if serves(steps):
            paths = paths.rounded(STEADY)
        x = with_positions(steps, paths, self.position)
        x, bucket = self.dropout(x), path_buckets(paths, self.times)
        for unit in self.units:
            x = unit(x, paths, bucket)
        return self.norm(x)


class _Unit(nn.Module):
    """One unit; x: [n, D], packed."""

    def __init__(self, config: TransductionConfig, dim: int, length: int, dropout: float, init_std: float) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm, self.norm_attended = nn.LayerNorm(dim, eps=EPSILON), nn.LayerNorm(dim, eps=EPSILON)
        self.project = SteadyLinear(dim, 4 * dim, bias=False)
        nn.init.xavier_uniform_(self.project.weight)
        self.mix = SteadyLinear(dim, dim)
        nn.init.xavier_uniform_(self.mix.weight)
        self.of_distance = nn.Parameter(torch.empty(length).normal_(std=init_std))
        self.of_time = None if config.times == "none" else TimeBias(init_std)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, paths: Paths, bucket: Tensor | None) -> Tensor:
        """bucket: IntTensor [B, L, L], of the time from a step to an answer; None: times are not read."""
        gate, rest = functional.silu(self.project(self.norm(x))).tensor_split([x.shape[-1]], dim=-1)
        value, query, key = paths.padded(rest).unflatten(-1, (3, self.heads, -1)).unbind(2)  # [B, L, H, D / H] each
        of_time = None if self.of_time is None else self.of_time.table()
        found = pointwise_attention(query, key, value, paths, self.of_distance, of_time, bucket)
        attended = self.norm_attended(paths.packed(found.flatten(2)))
        mixed: Tensor = x + self.mix(self.dropout(attended * gate))
        return mixed
