"""DNEN: one generator of items for a user and of users for an item, and a judge for each of the two."""

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

    #: which judges there are: of items for a user, of users for an item, or both
    judges: Literal["both", "items", "users"] = "both"
    combination: Literal["mean", "min", "product"] = "mean"  #: how what both judges say of a pair becomes one reward
    users_lr: NonNegativeFloat = 1.0  #: times g_lr, the step size of the generator as p(user | item); 0: it learns
    #: as p(item | user) alone, while D_user still judges


class DNEN(AdversarialRanking):
    """The dual-discriminator model. No definition of it is published; this is ours.

    One scorer s(u, i) is a generator with two views over the same node vectors: p(item | user), the softmax of s over
    all items, and p(user | item), that over all users. D_item judges items generated for a user, D_user judges users
    generated for an item; each learns from its own view by cross-entropy. Both judge each pair that either view draws:
    its reward is 2 sigmoid(c) - 1 with c the mean or the least of the two logits, or with `combination: product` twice
    the product of the two probabilities, less 1. Without D_user and p(user | item), `judges: items`, it is IRGAN.
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
