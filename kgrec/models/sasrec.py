"""SASRec: causal self-attention over a user's history predicts the next item."""

from __future__ import annotations

from torch import Tensor

from kgrec.graph import Graph
from kgrec.nn import NextItem, NextItemConfig, Paths, SelfAttention, SelfAttentionConfig, StepTimesConfig
from kgrec.settings import settings


@settings
class SASRecConfig(StepTimesConfig, SelfAttentionConfig, NextItemConfig):
    """Settings of SASRec."""


class SASRec(NextItem):
    """Self-attentive sequential recommendation (Kang & McAuley 2018): see SelfAttention."""

    Config = SASRecConfig
    paper = "Kang & McAuley 2018, Self-attentive sequential recommendation, ICDM"

    def __init__(self, graph: Graph, config: SASRecConfig) -> None:
        super().__init__(graph, config)
        self.encoder = SelfAttention(
            config, config.dim, config.length, config.dropout, config.init_std, times=config.times
        )

    def encode(self, steps: Tensor, paths: Paths) -> Tensor:
        found: Tensor = self.encoder(steps, paths)
        return found
