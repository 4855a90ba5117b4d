"""BERT4Rec: steps of a user's history are hidden, and self-attention over the whole history fills them in."""

from __future__ import annotations

from kgrec.graph import Graph
from kgrec.nn import MaskingConfig, NextItem, NextItemConfig, SelfAttention, SelfAttentionConfig, StepTimesConfig
from kgrec.settings import settings


@settings
class BERT4RecConfig(StepTimesConfig, SelfAttentionConfig, MaskingConfig, NextItemConfig):
    """Settings of BERT4Rec."""


class BERT4Rec(NextItem):
    """Self-attention that looks at both sides of a step predicts the items of hidden steps (the cloze task, Sun et al.
    2019). When recommending, a hidden step follows the history, and its encoding predicts the next item."""

    Config = BERT4RecConfig
    paper = "Sun et al. 2019, BERT4Rec: sequential recommendation with bidirectional encoder, CIKM"

    def __init__(self, graph: Graph, config: BERT4RecConfig) -> None:
        super().__init__(graph, config, masking=config)

    @classmethod
    def make_encoder(cls, config: BERT4RecConfig) -> SelfAttention:
        c = config
        return SelfAttention(c, c.dim, c.length, c.dropout, c.init_std, causal=False, times=c.times)
