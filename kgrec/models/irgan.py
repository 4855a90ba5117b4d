"""IRGAN: a generator of items for a user, and a discriminator that tells them from the user's own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.nn import AdversarialRanking, AdversarialRankingConfig, End, base_fields
from kgrec.settings import settings


@settings
class IRGANConfig(AdversarialRankingConfig):
    """Settings of IRGAN."""


class IRGAN(AdversarialRanking):
    """Generator p(item | user) and discriminator D(user, item) play for max over p, min over D of the cross-entropy;
    the reward of an item is 2 sigmoid(D) - 1 (Wang et al. 2017, eqs. 1 to 5; see AdversarialRanking).

    Both are a `base` model of their own. The generator is first trained as its base is (`pretrain_epochs`); either may
    `serve`.
    """

    Config = IRGANConfig
    paper = (
        "Wang et al. 2017, IRGAN: a minimax game for unifying generative and discriminative information "
        "retrieval models, SIGIR"
    )

    def __init__(self, graph: Graph, config: IRGANConfig) -> None:
        fields = base_fields(config, models.find(config.base).Config)
        super().__init__(graph, config, models.build(config.base, graph, fields))
        self.discriminator = models.build(config.base, graph, fields | config.d_config)

    def judges(self) -> Mapping[End, Recommender]:
        return {"items": self.discriminator}

    def combined(self, logits: list[Tensor]) -> Tensor:
        return logits[0]
