"""DNEN: one generator that draws items for a user and users for an item, and a discriminator for each of the two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn import functional

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.nn import AdversarialRanking, AdversarialRankingConfig, End, base_fields
from kgrec.settings import settings

TINY = 1e-6


@settings
class DNENConfig(AdversarialRankingConfig):
    """Settings of DNEN."""

    #: judges (discriminators) to train: of items for a user, of users for an item, or both
    judges: Literal["both", "items", "users"] = "both"
    combination: Literal["mean", "min", "product"] = "mean"  #: how the two judges' opinions of a pair become one reward
    #: factor of `g_lr` when the generator learns as p(user | item); 0: it learns as p(item | user) alone, and the judge
    #: of users still judges
    users_lr: NonNegativeFloat = 1.0


class DNEN(AdversarialRanking):
    """An adversarial model with two discriminators (judges). No definition of it is published; this is our own.

    The generator is one scorer s(u, i) with two views of the same node vectors: p(item | user) is the softmax of s over
    all items, and p(user | item) is the softmax over all users. D_item judges items that were drawn for a user, D_user
    judges users that were drawn for an item; each learns from its own view by cross-entropy.

    Both judge every pair that either view draws. With `combination: mean` or `min` the reward is 2 sigmoid(c) - 1,
    where c is the mean or the minimum of the two logits. With `product` it is 2 p q - 1, where p and q are the two
    probabilities. With `judges: items` there is neither D_user nor p(user | item), and the model is IRGAN.
    """

    Config = DNENConfig
    config: DNENConfig

    def __init__(self, graph: Graph, config: DNENConfig) -> None:
        fields = base_fields(config, models.find(config.base).Config)
        super().__init__(graph, config, models.build(config.base, graph, fields))
        self.item_judge, self.user_judge = (
            models.build(config.base, graph, fields | config.d_config) if config.judges in ("both", end) else None
            for end in ("items", "users")
        )

    def judges(self) -> Mapping[End, Recommender]:
        both: dict[End, Recommender | None] = {"items": self.item_judge, "users": self.user_judge}
        return {end: judge for end, judge in both.items() if judge is not None}

    def generator_lr(self, end: End) -> float:
        return self.config.g_lr * (self.config.users_lr if end == "users" else 1.0)

    def combined(self, logits: list[Tensor]) -> Tensor:
        if len(logits) == 1:
            return logits[0]
        match self.config.combination:
            case "mean":
                return torch.stack(logits).mean(0)
            case "min":
                return torch.stack(logits).amin(0)
            case "product":  # the logit of the product of the probabilities
                log_product = functional.logsigmoid(torch.stack(logits)).sum(0).clamp(max=-TINY)
                return log_product - torch.log(-torch.expm1(log_product))
