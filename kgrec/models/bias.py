"""Bias: how high an item is rated, and how high a user rates; the first control of ratings and of clicks."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import Query, Recommender, ScorerParts
from kgrec.rows import NodeRows, declare_rows
from kgrec.settings import settings

LEAST = 1e-3  #: a click is at least so probable, and no click is: the logits of 0 and 1 have no end


@settings
class BiasConfig:
    """Settings of Bias."""

    task: Literal["rating", "ctr"] = "rating"  #: what it is trained for: ratings, or the probability of a click
    damping: NonNegativeFloat = 5.0  #: how many edges at the mean are added to those of each item and each user
    users: bool = True  #: whether users have a bias too; else all users get the item's own mean


class Bias(Recommender):
    """mean + b_i + b_u: b_i is the damped mean of how far i's edges are over the mean of all, b_u of how far u's are
    over mean + b_i; both are 0 without edges (as LensKit's Bias; Koren 2010, "Factor in the neighbors", sec. 2.1).

    An edge counts its weight, or with `task: ctr` 1 for a click and 0 for none; the score is then the logit of the sum,
    which is kept between 0 and 1.
    """

    Config = BiasConfig
    paper = "Koren 2010, Factor in the neighbors: scalable and accurate collaborative filtering, ACM TKDD 4(1)"

    def __init__(self, graph: Graph, config: BiasConfig) -> None:
        super().__init__(graph, config)
        self.task = config.task
        source, _, target = graph.target
        self.first_user, self.first_item = graph.range(source).start, graph.range(target).start
        num_users, num_items = len(graph.range(source)), len(graph.range(target))
        known = graph.only(graph.target)
        user, item = known.edge_index
        rest = (known.clicks() if config.task == "ctr" and known.num_edges else known.weight).double()
        mean = rest.sum() / max(1, len(rest))
        rest = rest - mean
        item_bias = self._damped_means(rest, item, num_items)
        rest = rest - item_bias[item]
        user_bias = self._damped_means(rest, user, num_users + 1)  # the last is nobody's
        self.mean: Tensor  #: FloatTensor []
        self.item_bias: Tensor  #: FloatTensor [I]
        self.user_bias: Tensor  #: FloatTensor [U + 1], 0 in the last
        self.register_buffer("mean", mean.float())
        self.register_buffer("item_bias", item_bias.float())
        self.register_buffer("user_bias", user_bias.float() if config.users else torch.zeros(num_users + 1))
        declare_rows(self, item_bias=NodeRows.of(graph, target), user_bias=NodeRows.of(graph, source))

    def _damped_means(self, value: Tensor, node: Tensor, count: int) -> Tensor:
        """value: DoubleTensor [E], node: LongTensor [E], local. Returns DoubleTensor [count]."""
        total = torch.bincount(node, weights=value, minlength=count)
        return total / (torch.bincount(node, minlength=count) + self.config.damping).clamp(min=1)

    def score(self, query: Query, items: Tensor) -> Tensor:
        of_user = self.user_bias[(query.user - self.first_user).clamp(max=len(self.user_bias) - 1)]
        value = self.mean + self.item_bias[items - self.first_item] + of_user.unsqueeze(1)
        return value.clamp(LEAST, 1 - LEAST).logit() if self.task == "ctr" else value

    def linear_scorer(self) -> ScorerParts | None:
        if self.task == "ctr":  # a logit of a sum
            return None
        users, items = self.user_bias[:-1], self.item_bias
        parts = {"user": users.new_empty(len(users), 0), "item": items.new_empty(len(items), 0)}
        return ScorerParts("dot", parts | {"user_bias": users, "item_bias": items}, self.mean.item())
