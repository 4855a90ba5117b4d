"""Edge models whose vectors of users and items a graph network makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.model import ScorerParts
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.edge_model import EdgeModel
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.propagation import symmetric
from kgrec.nn.ranking_loss import Drawn, RankingLoss, linear_product, product
from kgrec.rows import NodeRows, declare_rows


class GraphEdgeModel(EdgeModel, ABC):
    """A score is the product (or cosine / temperature) of vectors that `encode` makes of what the model holds: tables
    `user` and `item`, and the normalised `adjacency` of the two. What scoring reads is kept once an epoch, by
    `refresh`; `l2` weighs the vectors that a batch begins with."""

    def __init__(
        self, graph: Graph, config: Any, width: int | None = None, *, tables: bool = True, adjacency: bool = True
    ) -> None:
        """width: numbers of a final vector, D; None: as many as `config.dim`. tables, adjacency: false where the model
        has others of its own, or needs none."""
        super().__init__(graph, config, centred=config.task != "ranking")
        self.users, self.items = graph.range(graph.target[0]), graph.range(graph.target[2])
        width = width or config.dim
        self.user_vector: Tensor  #: FloatTensor [U + 1, D], the last row zeros
        self.item_vector: Tensor  #: FloatTensor [I + 1, D], the last row zeros
        self.register_buffer("user_vector", torch.zeros(len(self.users) + 1, width))
        self.register_buffer("item_vector", torch.zeros(len(self.items) + 1, width))
        users, items = (NodeRows.of(graph, graph.target[end], computed=True) for end in (0, 2))
        declare_rows(self, user_vector=users, item_vector=items)
        known, (source, _, target) = graph.only(graph.target), graph.target
        if tables:
            self.user = NodeEmbedding(known, source, config.dim, config.init_std, config, end="users")
            self.item = NodeEmbedding(known, target, config.dim, config.init_std, config, end="items")
        if adjacency:
            self.adjacency = symmetric(known)

    @abstractmethod
    def encode(self) -> tuple[Tensor, Tensor]:
        """Final vectors of all users, [U, D], and all items, [I, D]."""

    def refresh(self) -> None:
        """Keep what scoring reads."""
        self.keep(*self.encode())

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        of_user, of_item = self.tables(*self.encode())
        return ranking.of_vectors(of_user(user), of_item, drawn)

    def own_vectors(self) -> Tensor:
        """The vectors of the two tables, users before items, as the adjacency has them: [U + I, D]."""
        return torch.cat([self.user.table(), self.item.table()])

    def split(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of users and items [U + I, D] apart: [U, D] and [I, D]."""
        user, item = vector.split([len(self.users), len(self.items)])
        return user, item

    def tables(self, user: Tensor, item: Tensor) -> tuple[Vectors, Vectors]:
        """Vectors of all users [U, D] and items [I, D], to be read by flat numbers."""
        return _padded(self.users, user), _padded(self.items, item)

    def keep(self, user: Tensor, item: Tensor, first: int = 0) -> int:
        """What scoring is to read: some numbers of all users' vectors, [U, K], and items', [I, K], from the first-th
        on. Returns where the next ones go."""
        stop = first + user.shape[1]
        self.user_vector[:-1, first:stop], self.item_vector[:-1, first:stop] = user, item
        return stop

    def pair_scores(self, user: Tensor, items: Tensor) -> Tensor:
        if self.training:
            of_user, of_item = self.tables(*self.encode())
        else:
            of_user, of_item = Vectors(self.users.start, self.user_vector), Vectors(self.items.start, self.item_vector)
        return product(self.config, of_user(user), of_item, items, serves=not self.training)

    def linear_scorer(self) -> ScorerParts:
        vectors = linear_product(self.config, self.user_vector[:-1], self.item_vector[:-1])
        return ScorerParts("dot", vectors, self.mean.item())


def _padded(nodes: range, vector: Tensor) -> Vectors:
    return Vectors(nodes.start, functional.pad(vector, (0, 0, 0, 1)))
