"""NCF: a multi-layer perceptron scores the vectors of a user and an item."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from kgrec.graph import Graph
from kgrec.nn import Drawn, EdgeModel, EdgeModelConfig, LossName, NodeEmbedding, PairMLP, RankingLoss
from kgrec.settings import settings


@settings
class NCFConfig(EdgeModelConfig):
    """Settings of NCF."""

    loss: LossName = "bce"
    negatives: NonNegativeInt = 4  #: items drawn for each true one, or for each batch where `shared`
    layers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 32, 16)  #: widths of the hidden layers
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init_std: PositiveFloat = 0.01  #: of the vectors at the start


class NCF(EdgeModel):
    """Neural collaborative filtering's MLP on the concatenated vectors (He et al. 2017, eq. 10)."""

    Config = NCFConfig

    def __init__(self, graph: Graph, config: NCFConfig) -> None:
        super().__init__(graph, config)
        source, _, target = graph.target
        self.user = NodeEmbedding(graph, source, config.dim, config.init_std)
        self.item = NodeEmbedding(graph, target, config.dim, config.init_std)
        self.mlp = PairMLP(config.dim, config.layers, config.dropout)

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        vector = self.user(user)
        return ranking.of_scores(lambda items: self.mlp(vector, self.item(items)), drawn)

    def pair_scores(self, user: Tensor, items: Tensor) -> Tensor:
        scores: Tensor = self.mlp(self.user(user), self.item(items))
        return scores
