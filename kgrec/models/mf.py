"""Matrix factorization: one vector for each user and item; the score is their dot product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import Objective, ScorerParts
from kgrec.nn import Drawn, EdgeModel, EdgeModelConfig, NodeEmbedding, RankingLoss, linear_product, product
from kgrec.nn.pair_steps import PREFETCH, PairSteps
from kgrec.settings import settings


@settings
class MFConfig(EdgeModelConfig):
    """Settings of MF."""

    #: add a learned bias of each item; for ratings and clicks also one of each user, and the mean of all. None: for
    #: ratings alone
    biases: bool | None = None

    @property
    def has_biases(self) -> bool:
        """`biases`, or what it is by default for the task."""
        return self.task == "rating" if self.biases is None else self.biases


class MF(EdgeModel):
    """The score is u.v, the dot product of the vectors of user and item; with `cosine`, cosine(u, v) / temperature.
    With `biases`, b_u + b_i is added (in a ranking only b_i, because b_u does not change the order of a user's items).

    With `loss: bpr` it is BPR-Opt (Rendle et al. 2009, eq. 4). With `task: rating` and biases it is the regularised
    model of Koren et al. 2009, eq. 5. With `cosine` and `loss: ccl` it is SimpleX without the part that reads the
    history (Mao et al. 2021).
    """

    Config = MFConfig
    paper = (
        "Rendle et al. 2009, BPR: Bayesian personalized ranking from implicit feedback, UAI; Koren et al. "
        "2009, Matrix factorization techniques for recommender systems, IEEE Computer 42(8)"
    )
    for_cold: ClassVar[Mapping[str, Any]] = {"features": ("all",), "id_dropout": 0.5}

    def __init__(self, graph: Graph, config: MFConfig) -> None:
        super().__init__(graph, config, centred=config.has_biases)
        known, (source, _, target) = graph.only(graph.target), graph.target
        self.user = NodeEmbedding(known, source, config.dim, config.init_std, config, end="users")
        self.item = NodeEmbedding(known, target, config.dim, config.init_std, config, end="items")
        ranks = config.task == "ranking"
        self.user_bias = NodeEmbedding(graph, source, 1, std=0.0) if config.has_biases and not ranks else None
        self.item_bias = NodeEmbedding(graph, target, 1, std=0.0) if config.has_biases else None

    def objectives(self, graph: Graph) -> list[Objective]:
        if type(self) is not MF or self.item_bias is not None or not PairSteps.fit(self.user, self.item, self.config):
            return super().objectives(graph)
        ahead = PREFETCH if graph.device.type == "cpu" else 0
        objective = self.objective(graph, self.task, list(self.parameters()), prefetch=ahead)
        objective.steps = PairSteps(self.user, self.item, self.config, len(self.ranking.classes))
        return [objective]

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        return ranking.of_vectors(self.user(user), self.item, drawn, self.item_bias)

    def pair_scores(self, user: Tensor, items: Tensor) -> Tensor:
        score = product(self.config, self.user(user), self.item, items, serves=not self.training)
        if self.user_bias is not None:
            score = score + self.user_bias(user)
        return score if self.item_bias is None else score + self.item_bias(items).squeeze(-1)

    def linear_scorer(self) -> ScorerParts:
        parts = linear_product(self.config, self.user.table(), self.item.table())
        for name, bias in (("user_bias", self.user_bias), ("item_bias", self.item_bias)):
            if bias is not None:
                parts[name] = bias.table().squeeze(1)
        return ScorerParts("dot", parts, self.mean.item())
