"""Matrix factorization: a vector a user, a vector an item, and their dot product."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from kgrec.graph import Graph
from kgrec.losses import bpr, squared_error
from kgrec.model import Objective, Query, Recommender
from kgrec.nn import NodeEmbedding, dot
from kgrec.samplers import Batch, Edges, Loader, Negatives
from kgrec.settings import settings


@settings
class MFConfig:
    """Settings of MF."""

    task: Literal["ranking", "rating"] = "ranking"
    dim: PositiveInt = 64
    biases: bool = False  #: a bias a user and an item; a rating has the mean of all besides
    negatives: PositiveInt = 1  #: items drawn for each true one
    alpha: NonNegativeFloat = 0.0  #: 0 draws uniformly, else by popularity ** alpha
    reject: bool = True  #: draw no item that the user has
    batch_size: PositiveInt = 2048
    lr: PositiveFloat = 1e-3
    l2: NonNegativeFloat = 0.0  #: lambda; see MF for what it weighs
    init_std: PositiveFloat = 0.1  #: of the vectors at the start


class MF(Recommender):
    """The score is u.v, with b_u + b_i where biases are asked for.

    `task: ranking` minimises -log sigmoid(a true item's score - a drawn one's) + l2 (|u|^2 + |v|^2 + |v'|^2), the mean
    over interactions (BPR-Opt, Rendle et al. 2009, eq. 4). `task: rating` minimises the sum over known (u, i) of
    (r - u.v)^2 + l2 (|U|^2 + |V|^2); with biases r is less the mean of all and b_u + b_i, and they are in the l2 term
    (Koren et al. 2009, eq. 5).
    """

    Config = MFConfig

    def __init__(self, graph: Graph, config: MFConfig) -> None:
        super().__init__(graph, config)
        self.task = config.task
        source, _, target = graph.target
        self.user = NodeEmbedding(graph, source, config.dim, config.init_std)
        self.item = NodeEmbedding(graph, target, config.dim, config.init_std)
        self.user_bias = NodeEmbedding(graph, source, 1, std=0.0) if config.biases else None
        self.item_bias = NodeEmbedding(graph, target, 1, std=0.0) if config.biases else None
        known = graph.only(graph.target)
        self.num_known = known.num_edges
        rated = config.task == "rating" and config.biases and known.num_edges > 0
        self.register_buffer("mean", known.weight.mean() if rated else torch.tensor(0.0))

    def objectives(self, graph: Graph) -> list[Objective]:
        c, known = self.config, graph.only(graph.target)
        parameters = list(self.parameters())
        if c.task == "rating":
            ratings = Loader(Edges(known), batch_size=c.batch_size)
            return [Objective("squared error", ratings, self.rating_loss, parameters, lr=c.lr)]
        negatives = Negatives(known, c.negatives, alpha=c.alpha, reject=known if c.reject else None)
        pairs = Loader(Edges(known), negatives, batch_size=c.batch_size)
        return [Objective("bpr", pairs, self.ranking_loss, parameters, lr=c.lr)]

    def ranking_loss(self, batch: Batch) -> Tensor:
        assert batch.negative is not None
        items = torch.cat([batch.tail.unsqueeze(-1), batch.negative], -1)  # [B, 1 + K]
        score = dot(self.user, batch.head, self.item, items)
        if self.item_bias is not None:  # a user's own bias cancels out
            score = score + self.item_bias(items).squeeze(-1)
        loss = bpr(score[:, 0], score[:, 1:])
        if self.config.l2:
            drawn = self.item.squares(batch.negative) / self.config.negatives
            squares = self.user.squares(batch.head) + self.item.squares(batch.tail) + drawn
            loss = loss + self.config.l2 * squares / len(batch)
        return loss

    def rating_loss(self, batch: Batch) -> Tensor:
        predicted = (self.user(batch.head) * self.item(batch.tail)).sum(-1) + self.mean
        if self.user_bias is not None and self.item_bias is not None:
            predicted = predicted + self.user_bias(batch.head).squeeze(-1) + self.item_bias(batch.tail).squeeze(-1)
        squares = torch.stack([parameter.square().sum() for parameter in self.parameters()]).sum()
        assert batch.weight is not None
        return squared_error(predicted, batch.weight) + self.config.l2 * squares / self.num_known

    def score(self, query: Query, items: Tensor) -> Tensor:
        user, item = self.user(query.user), self.item(items)
        score = user @ item.T if items.dim() == 1 else (item @ user.unsqueeze(-1)).squeeze(-1)
        score = score + self.mean
        if self.user_bias is not None and self.item_bias is not None:
            score = score + self.user_bias(query.user) + self.item_bias(items).squeeze(-1)
        return score
