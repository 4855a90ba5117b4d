"""NCF: a multi-layer perceptron computes the score from the vectors of a user and an item."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from kgrec.graph import Graph
from kgrec.nn import Drawn, EdgeModel, NodeEmbedding, PairMLP, PairMLPConfig, RankingLoss
from kgrec.nn.fold_in import FoldingSteps
from kgrec.nn.perceptron_steps import PerceptronSteps
from kgrec.search_ranges import Between
from kgrec.settings import settings


@settings
class NCFConfig(PairMLPConfig):
    """Settings of NCF."""

    #: learning rate of the optimizer; lower it where the loss jumps, raise it where the loss hardly falls
    lr: Annotated[PositiveFloat, Between(2e-4, 0.02, log=True)] = 2e-3
    #: lambda, weight of L2 regularisation: for a ranking, of the vectors that an example uses; for ratings and clicks,
    #: of all parameters; raise it against overfitting
    l2: Annotated[
        NonNegativeFloat | None,
        Between(1e-4, 1.0, log=True, tasks=("ranking", "ctr"), none_is="l2_of_task"),
        Between(1e-3, 100.0, log=True, tasks=("rating",), none_is="l2_of_task"),
    ] = 0.03
    #: share of a layer's output that training sets to 0; raise it against overfitting
    dropout: Annotated[float, Field(ge=0, lt=1), Between(0.0, 0.6)] = 0.3


class NCF(EdgeModel):
    """The MLP of neural collaborative filtering, on the concatenated vectors of a pair (He et al. 2017, eq. 10)."""

    Config = NCFConfig
    paper = "He et al. 2017, Neural collaborative filtering, WWW"
    only_looks_up = True
    fold_in = FoldingSteps(classes=256)  # each costs a pass through the layers

    def __init__(self, graph: Graph, config: NCFConfig) -> None:
        super().__init__(graph, config)
        known, (source, _, target) = graph.only(graph.target), graph.target
        self.user = NodeEmbedding(known, source, config.dim, config.init_std, config, end="users")
        self.item = NodeEmbedding(known, target, config.dim, config.init_std, config, end="items")
        self.mlp = PairMLP(config.dim, config.hidden, config.dropout)

    def compiled_steps(self, parameters: list[nn.Parameter]) -> PerceptronSteps | None:
        if not PerceptronSteps.fit(self.config):
            return None
        return PerceptronSteps(self.config, len(self.ranking.classes), self.user, self.item, self.mlp)

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        vector = self.user(user)
        return ranking.of_scores(lambda items: self.mlp.of_pairs(vector, self.item, items), drawn)

    def pair_scores(self, user: Tensor, items: Tensor) -> Tensor:
        scores: Tensor = self.mlp.of_pairs(self.user(user), self.item, items)
        return scores
