"""GRUAtt: a GRU with additive attention, which shows how much each past step counts for the next item."""

from __future__ import annotations

from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.nn import AttentiveGRU, NextItem, NextItemConfig, Paths
from kgrec.settings import Depth, settings


@settings
class GRUAttConfig(NextItemConfig):
    """Settings of the GRU with attention."""

    layers: Depth = 1  #: number of recurrent layers on top of each other; more can express more, and cost time


class GRUAtt(NextItem):
    """The vector of a history is the sum of the GRU's states, weighted by attention (see AttentiveGRU). The method
    `attention` returns the weights."""

    Config = GRUAttConfig

    def __init__(self, graph: Graph, config: GRUAttConfig) -> None:
        super().__init__(graph, config)
        self.encoder = AttentiveGRU(config.dim, config.layers, config.dropout)

    def encode(self, steps: Tensor, paths: Paths) -> Tensor:
        found: Tensor = self.encoder(steps, paths)
        return found

    def attention(self, query: Query) -> Tensor:
        return self.spread(query, self.encoder.weights)
