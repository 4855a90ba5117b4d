"""IRGAN: a generator draws items for a user, and a discriminator tries to tell them from the user's real items."""

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
    """The discriminator D(user, item) minimises the cross-entropy of true and drawn items, and the generator p(item |
    user) maximises it. The generator's reward for an item is 2 sigmoid(D) - 1 (Wang et al. 2017, eqs. 1 to 5; see
    AdversarialRanking).

    Each of the two is a `base` model with its own parameters. The generator is first trained as its base model is
    (`pretrain_epochs`). The setting `serve` chooses which of the two recommends.
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
