"""GRUAtt: a GRU with additive attention, which shows how much each past step counts for the next item."""

from __future__ import annotations

from torch import Tensor

from kgrec.model import Query
from kgrec.nn import AttentiveGRU, NextItem, NextItemConfig
from kgrec.settings import Depth, settings


@settings
class GRUAttConfig(NextItemConfig):
    """Settings of the GRU with attention."""

    layers: Depth = 1  #: number of recurrent layers on top of each other; more can express more, and cost time


class GRUAtt(NextItem):
    """The vector of a history is the sum of the GRU's states, weighted by attention (see AttentiveGRU). The method
    `attention` returns the weights."""

    Config = GRUAttConfig

    encoder: AttentiveGRU

    @classmethod
    def make_encoder(cls, config: GRUAttConfig) -> AttentiveGRU:
        return AttentiveGRU(config.dim, config.layers, config.dropout)

    def attention(self, query: Query) -> Tensor:
        return self.spread(query, self.encoder.weights)
