"""Folding in of users for models of edges and of facts: each by its own loss over what the user did."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.nn.fold_in import (
    FoldingSteps,
    Loss,
    NewUsersEdges,
    Places,
    TableFolding,
    drawn_classes,
    shares,
    softmax_loss,
)
from kgrec.nn.ranking_loss import Drawn, RankingLoss

if TYPE_CHECKING:
    from kgrec.nn.edge_model import EdgeModel

MOST_DRAWN = 128  #: items drawn for each true one
OVER_ALL = ("softmax", "sampled_softmax")  #: losses that are, or estimate, a softmax over all items


class EdgeFolding(TableFolding):
    """Users of a model of edges.

    A ranking by softmax, sampled or not, is held against all items, or `classes` of them that are drawn once; by any
    other loss against items drawn for each edge at each step. Ratings and clicks are predicted. `l2` weighs what it
    weighs in training.
    """

    def __init__(self, model: EdgeModel, known: Graph, how: FoldingSteps, seed: int = 0) -> None:
        super().__init__(model, known, how, seed)
        self.edge_model = model
        self.config: Any = model.config
        self.ranking: RankingLoss | None = None
        self.weighed = model.weighed_tables()
        if model.task != "ranking":
            weight = known.only(known.target).weight
            self.mean_rating = weight.mean() if len(weight) else weight.new_zeros(())
            return
        c = model.config
        self.rejects = c.loss != "softmax" and c.reject and not (c.shared or c.in_batch)
        drawn = min(c.negatives or 16, MOST_DRAWN)
        alone = dataclasses.replace(
            c, shared=False, in_batch=False, **({} if c.loss == "softmax" else {"negatives": drawn})
        )
        self.ranking = RankingLoss(alone, known.only(known.target))
        self.classes = drawn_classes(self.ranking.classes, how.classes, seed)
        self.log_share = math.log(len(self.ranking.classes) / max(1, len(self.classes)))
        if c.loss not in OVER_ALL:
            assert self.ranking.drawing is not None
            log_q = self.ranking.drawing.log_probability(
                self.ranking.classes, self.ranking.items.start, self.ranking.items.stop
            )
            self.log_q = log_q
            self.below = log_q.double().exp().cumsum(0)

    def loss_of(self, user: Tensor, edges: NewUsersEdges) -> Loss:
        if self.ranking is None:
            of_scores = self._of_labels(user, edges)
        elif self.config.loss in OVER_ALL:
            of_scores = self._over_all(user, edges)
        else:
            of_scores = self._over_drawn(user, edges)
        times = torch.ones_like(edges.number) if self.ranking is None else edges.number
        return lambda own, step: of_scores(own, step) + self._squares(own, times)

    def _over_all(self, user: Tensor, edges: NewUsersEdges) -> Loss:
        places, model = Places.of(edges, self.classes), self.edge_model
        own = places.own(len(user), len(self.classes)) if self.rejects else None
        users, tail = user[places.row], edges.item.unsqueeze(1)

        def loss(_: Mapping[Any, Tensor], step: int) -> Tensor:
            scores = model.pair_scores(user, self.classes)
            if places.all_there:
                positive = scores[places.row, places.place]
            else:
                positive = model.pair_scores(users, tail).squeeze(1)
            return softmax_loss(scores, positive, places.row, own, self.log_share)

        return loss

    def _over_drawn(self, user: Tensor, edges: NewUsersEdges) -> Loss:
        ranking, model, tail = self.ranking, self.edge_model, edges.item.unsqueeze(1)
        assert ranking is not None
        row, position, apart = edges.row, edges.position, self.known.pad + 1
        users, pairs = user[row], row * apart + edges.item

        def loss(_: Mapping[Any, Tensor], step: int) -> Tensor:
            point = shares(position, ranking.config.negatives, [self.seed, step]) * self.below[-1]
            place = torch.searchsorted(self.below, point, right=True).clamp(max=len(self.below) - 1)
            negative = ranking.classes[place]
            if self.rejects:  # what is the true item is no negative
                own = torch.isin(row.unsqueeze(1) * apart + negative, pairs)
                negative = torch.where(own, tail, negative)
            drawn = Drawn(edges.item, negative, self.log_q[place], user=users)
            return len(tail) * ranking.of_scores(lambda items: model.pair_scores(users, items), drawn)

        return loss

    def _of_labels(self, user: Tensor, edges: NewUsersEdges) -> Loss:
        """Of ratings by their weights, of clicks where all that was done is one."""
        model, users, tail = self.edge_model, user[edges.row], edges.item.unsqueeze(1)
        rating = self.mean_rating if edges.weight is None else edges.weight

        def loss(_: Mapping[Any, Tensor], step: int) -> Tensor:
            score = model.pair_scores(users, tail).squeeze(1) + model.mean
            return functional.softplus(-score).sum() if model.task == "ctr" else (rating - score).square().sum()

        return loss

    def _squares(self, own: Mapping[Any, Tensor], times: Tensor) -> Tensor:
        """What l2 weighs of the users' own vectors, each so often."""
        weighed = self.weighed if self.ranking is not None else list(own)
        found = torch.zeros((), device=times.device)
        for table, vector in own.items():
            if self.config.l2_of_task and any(table is one for one in weighed):
                found = found + self.config.l2_of_task * (vector.square().sum(1) @ times.float())
        return found
