"""SASRec: causal self-attention over a user's history predicts the next item."""

from __future__ import annotations

from kgrec.nn import NextItem, NextItemConfig, SelfAttention, SelfAttentionConfig, StepTimesConfig
from kgrec.settings import settings


@settings
class SASRecConfig(StepTimesConfig, SelfAttentionConfig, NextItemConfig):
    """Settings of SASRec."""


class SASRec(NextItem):
    """Self-attentive sequential recommendation (Kang & McAuley 2018): see SelfAttention."""

    Config = SASRecConfig
    paper = "Kang & McAuley 2018, Self-attentive sequential recommendation, ICDM"

    @classmethod
    def make_encoder(cls, config: SASRecConfig) -> SelfAttention:
        return SelfAttention(config, config.dim, config.length, config.dropout, config.init_std, times=config.times)
