"""eSASRec: SASRec's next-item objective with LiGR's gated blocks of self-attention and a sampled softmax."""

from __future__ import annotations

from pydantic import PositiveInt

from kgrec.nn import AttentionConfig, LiGRBlock, LossName, NextItem, NextItemConfig, SelfAttention
from kgrec.settings import settings


@settings
class ESASRecConfig(AttentionConfig, NextItemConfig):
    """Settings of eSASRec."""

    #: width of the SwiGLU feed-forward layers, as a multiple of `dim`; wider ones can express more, and cost time
    feedforward: PositiveInt = 4
    #: loss of the next item: sampled_softmax compares it with sampled negatives, corrected for how likely they are
    #: drawn; softmax compares it with all items
    loss: LossName = "sampled_softmax"


class ESASRec(NextItem):
    """Enhanced SASRec (Tikhonovich et al. 2025): a step predicts the next one, as in SASRec; see LiGRBlock for its
    blocks. Negatives are drawn uniformly (`negatives`), by popularity (`alpha`), from the batch (`in_batch`), or both,
    for each step or once for a batch (`shared`)."""

    Config = ESASRecConfig
    paper = "Tikhonovich et al. 2025, eSASRec: enhancing transformer-based recommendations in a modular fashion, RecSys"

    @classmethod
    def make_encoder(cls, config: ESASRecConfig) -> SelfAttention:
        return SelfAttention(config, config.dim, config.length, config.dropout, config.init_std, block=LiGRBlock)
