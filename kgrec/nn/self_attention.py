"""Self-attention over packed paths (sequences of steps without padding)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn.dropout import Dropout
from kgrec.nn.packed_paths import Paths
from kgrec.nn.sequence_encoder import SequenceEncoder, must_divide, with_positions
from kgrec.nn.steady_products import SteadyLinear, serves
from kgrec.nn.step_times import TimeBias, Times, path_buckets
from kgrec.search_ranges import Between
from kgrec.settings import Depth, settings


@settings
class AttentionConfig:
    """Settings that all blocks of self-attention have."""

    #: number of blocks, each of self-attention and a feed-forward layer; more can express more, and cost time
    blocks: Annotated[Depth, Between(1, 3)] = 2
    #: attention heads of a block; several can attend to different steps; `dim` must be a multiple of it
    heads: PositiveInt = 1
    #: width of the feed-forward layers, as a multiple of `dim`; wider ones can express more, and cost time
    feedforward: PositiveInt = 1
    #: share of attention weights that training sets to 0; raise it against overfitting
    attention_dropout: Annotated[float, Field(ge=0, lt=1), Between(0.0, 0.6)] = 0.0


@settings
class SelfAttentionConfig(AttentionConfig):
    """Settings of the blocks of the first transformers."""

    #: apply layer normalisation to the input of each layer and to the last block's output; false: after each residual
    #: sum, as in the first transformers
    pre_norm: bool = True


LONG = 100  #: steps of the longest path of a batch from which paths have their attention apart
STEADY = 32  #: steps that attention takes at once; where paths have a multiple of them, none depends on the longest


class AttentionBlock(nn.Module, ABC):
    """One block of self-attention and a feed-forward layer; x: [n, D], packed."""

    pre_norm: bool  #: whether each layer normalises its input, and not the sum of its input and its output

    def __init__(self, config: AttentionConfig, dim: int) -> None:
        super().__init__()
        self.heads, self.drop_attention = config.heads, config.attention_dropout
        self.project = SteadyLinear(dim, 3 * dim)
        self.mix = SteadyLinear(dim, dim)

    @abstractmethod
    def forward(self, x: Tensor, paths: Paths, seen: Tensor | None) -> Tensor:
        """The output for each step, [n, D]. seen: BoolTensor [B, L], the steps that all steps of a path attend to, or
        FloatTensor [B, 1, L, L], what is added before the softmax; None: each step attends to itself and those before
        it."""

    def attend(self, x: Tensor, paths: Paths, seen: Tensor | None) -> Tensor:
        """Attention within each path. Paths are padded on the right, so causal attention never sees padding."""
        drop = self.drop_attention if self.training else 0.0
        steps = self.project(x).unflatten(-1, (3, self.heads, -1))  # [n, 3, H, D / H]
        if _apart(steps, paths, seen):
            return self.mix(_path_by_path(steps, paths, drop, causal=seen is None))
        query, key, value = paths.padded(steps.flatten(1)).unflatten(-1, steps.shape[1:]).permute(2, 0, 3, 1, 4)
        mask = seen
        if seen is not None:  # for all heads, and for all steps
            mask = seen[:, None, None] if seen.dim() == 2 else seen.to(query.dtype)
        found = _attention(query, key, value, mask, drop)
        return self.mix(paths.packed(found.transpose(1, 2).flatten(2)))


def _apart(steps: Tensor, paths: Paths, seen: Tensor | None) -> bool:
    """Whether each path has its attention apart, without padding: in training on the CPU, where paths are long enough
    that this costs less than their padding."""
    trains = steps.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()
    return trains and paths.places is None and (seen is None or seen.dim() == 2) and paths.width >= LONG


def _path_by_path(steps: Tensor, paths: Paths, drop: float, causal: bool) -> Tensor:
    """Attention within each path apart, of queries, keys and values [n, 3, H, D]: [n, H * D]. causal: each step attends
    to itself and those before it; else to its whole path."""
    found = []
    for part in steps.split([length for length in paths.length.tolist() if length]):
        query, key, value = part.permute(1, 2, 0, 3).unsqueeze(1)  # [1, H, L, D] each
        found.append(_attention(query, key, value, None, drop, causal=causal).squeeze(0).transpose(0, 1))
    return torch.cat(found).flatten(1)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, drop: float, causal: bool | None = None
) -> Tensor:
    """Scaled dot-product attention; unless it is said, causal without a mask. In bf16 on a CPU it is computed in
    float32, since its gradient in bf16 takes three times as long."""
    causal = mask is None if causal is None else causal
    if query.dtype == torch.bfloat16 and query.device.type == "cpu":
        wide = None if mask is None or mask.dtype == torch.bool else mask.float()
        with torch.autocast("cpu", enabled=False):
            return _attention(
                query.float(), key.float(), value.float(), mask if wide is None else wide, drop, causal
            ).bfloat16()
    return functional.scaled_dot_product_attention(query, key, value, mask, dropout_p=drop, is_causal=causal)


class TransformerBlock(AttentionBlock):
    """x + attention(x), then x + feed-forward(x), with layer normalisation before each layer, or after each sum."""

    def __init__(self, config: SelfAttentionConfig, dim: int, dropout: float) -> None:
        super().__init__(config, dim)
        self.pre_norm = config.pre_norm
        self.first = SteadyLinear(dim, config.feedforward * dim)
        self.second = SteadyLinear(config.feedforward * dim, dim)
        self.norm_attention, self.norm_feedforward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, paths: Paths, seen: Tensor | None) -> Tensor:
        if self.pre_norm:
            x = x + self.dropout(self.attend(self.norm_attention(x), paths, seen))
            return x + self.dropout(self.feed(self.norm_feedforward(x)))
        x = self.norm_attention(x + self.dropout(self.attend(x, paths, seen)))
        return self.norm_feedforward(x + self.dropout(self.feed(x)))

    def feed(self, x: Tensor) -> Tensor:
        """The feed-forward layer: W2 gelu(W1 x + b1) + b2, [n, D]."""
        return self.second(self.dropout(functional.gelu(self.first(x))))


class SelfAttention(SequenceEncoder):
    """Blocks of self-attention and a feed-forward layer, with residual connections (Kang & McAuley 2018). A learned
    position vector, counted from the path's end, is added to each step first.

    block: the kind of the blocks, TransformerBlock or LiGRBlock.

    causal: each step attends only to itself and the steps before it; otherwise to its whole path (Sun et al. 2019).
    times: what of times is read; unless it is none, attention has a learned bias for how long before an answer each
    step was (see TimeBias; after the intervals of TiSASRec, Li et al. 2020), the same in all blocks and heads.
    Dropout is applied to the input, to the output of each layer, and with `attention_dropout` to the attention weights.
    Raises KgrecError if dim is not a multiple of heads.
    """

    def __init__(
        self,
        config: Any,
        dim: int,
        length: int,
        dropout: float,
        init_std: float,
        *,
        causal: bool = True,
        block: Callable[[Any, int, float], AttentionBlock] = TransformerBlock,
        times: Times = "none",
    ) -> None:
        """config: the settings of the blocks."""
        super().__init__()
        must_divide(dim, config.heads)
        self.causal = causal
        self.times, self.of_time = times, None if times == "none" else TimeBias(init_std)
        self.position = nn.Parameter(torch.empty(length, dim).normal_(std=init_std))
        blocks = [block(config, dim, dropout) for _ in range(config.blocks)]
        self.pre_norm, self.blocks = blocks[0].pre_norm, nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, steps: Tensor, paths: Paths) -> Tensor:
        """The encodings of the steps, [n, D], from the steps [n, D], packed (see Paths)."""
        if serves(steps):
            paths = paths.rounded(STEADY)
        x = with_positions(steps, paths, self.position)
        x = self.dropout(x) if self.pre_norm else self.norm(self.dropout(x))
        seen = self._seen(paths)
        for block in self.blocks:
            x = block(x, paths, seen)
        return self.norm(x) if self.pre_norm else x

    def _seen(self, paths: Paths) -> Tensor | None:
        """What each step attends to: None where it is itself and the steps before it, and nothing else is added; else
        BoolTensor [B, L] or, with times, what is added before the softmax, FloatTensor [B, 1, L, L]."""
        bucket = path_buckets(paths, self.times)
        if bucket is None or self.of_time is None:
            return None if self.causal else paths.seen
        bias = self.of_time(bucket).unsqueeze(1)
        seen = paths.seen[:, None, None]
        if self.causal:
            seen = torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).tril()
        return bias.masked_fill(~seen, -torch.inf)
