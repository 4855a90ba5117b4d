"""A GRU with additive attention: which past steps the next item depends on, to be read out."""

from __future__ import annotations

from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.nn import AttentiveGRU, NextItem, NextItemConfig, Paths
from kgrec.settings import Depth, settings


@settings
class GRUAttConfig(NextItemConfig):
    """Settings of the GRU with attention."""

    layers: Depth = 1  #: number of recurrent layers


class GRUAtt(NextItem):
    """What a user did is the sum of the GRU's states, weighed by attention: see AttentiveGRU. `attention` gives the
    weights."""

    Config = GRUAttConfig

    def __init__(self, graph: Graph, config: GRUAttConfig) -> None:
        super().__init__(graph, config)
        self.encoder = AttentiveGRU(config.dim, config.layers, config.dropout)

    def encode(self, steps: Tensor, paths: Paths) -> Tensor:
        found: Tensor = self.encoder(steps, paths)
        return found

    def attention(self, query: Query) -> Tensor:
        return self.spread(query, self.encoder.weights)
