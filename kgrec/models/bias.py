"""Bias: the mean rating, plus a bias of each item and user; the baseline for ratings and clicks."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import Query, Recommender, ScorerParts
from kgrec.rows import NodeRows, declare_rows
from kgrec.search_ranges import Between
from kgrec.settings import settings

LEAST = 1e-3  #: probabilities of clicks are kept this far from 0 and 1, whose logits are infinite


@settings
class BiasConfig:
    """Settings of Bias."""

    #: what the model learns to predict: rating (a number) or ctr (the probability of a click)
    task: Literal["rating", "ctr"] = "rating"
    #: number of edges at the mean that are added to those of each item and user; higher: biases of items and users with
    #: few edges are closer to 0
    damping: Annotated[NonNegativeFloat, Between(0.1, 100.0, log=True)] = 5.0
    users: bool = True  #: give each user a bias too; false: all users get the same score of an item


class Bias(Recommender):
    """score(u, i) = mean + b_i + b_u. b_i is the damped mean of (value - mean) over the edges of item i; b_u is the
    damped mean of (value - mean - b_i) over the edges of user u. Both are 0 without edges (as LensKit's Bias; Koren
    2010, "Factor in the neighbors", sec. 2.1).

    The value of an edge is its weight; with `task: ctr` it is 1 for a click and 0 for none. Then the sum is clamped to
    (0, 1), and the score is its logit.
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
        user_bias = self._damped_means(rest, user, num_users + 1)  # the last one, 0, is for unknown users
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
        if self.task == "ctr":  # the score is the logit of a sum, which is not linear
            return None
        users, items = self.user_bias[:-1], self.item_bias
        parts = {"user": users.new_empty(len(users), 0), "item": items.new_empty(len(items), 0)}
        return ScorerParts("dot", parts | {"user_bias": users, "item_bias": items}, self.mean.item())
