"""Edge models whose vectors of users and items come from propagation over their interactions."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.nn.edge_model import EdgeModel, EdgeModelConfig
from kgrec.nn.embedding import NodeEmbedding, cosine, dot
from kgrec.nn.propagation import Vectors, symmetric
from kgrec.settings import settings


@settings
class GraphEdgeModelConfig(EdgeModelConfig):
    """Settings of models that propagate over interactions."""

    layers: PositiveInt = 3


class GraphEdgeModel(EdgeModel, ABC):
    """A score is the product (or cosine / temperature) of vectors that propagation over the known interactions makes
    of the users' and items' own. `l2` weighs their own. What scoring reads is made once an epoch, as buffers."""

    def __init__(self, graph: Graph, config: GraphEdgeModelConfig) -> None:
        super().__init__(graph, config, centred=config.task != "ranking")
        source, _, target = graph.target
        self.user = NodeEmbedding(graph, source, config.dim, config.init_std)
        self.item = NodeEmbedding(graph, target, config.dim, config.init_std)
        self.adjacency = symmetric(graph.only(graph.target))
        self.user_vector: Tensor  #: FloatTensor [U + 1, D], the last row zeros
        self.item_vector: Tensor  #: FloatTensor [I + 1, D], the last row zeros
        self.register_buffer("user_vector", torch.zeros(self.user.count + 1, config.dim))
        self.register_buffer("item_vector", torch.zeros(self.item.count + 1, config.dim))

    @abstractmethod
    def encode(self, own: Tensor) -> Tensor:
        """Final vectors of users and items, [U + I, D], of their own."""

    def own(self) -> Tensor:
        """The users' own vectors, then the items': [U + I, D]."""
        return torch.cat([self.user.table(), self.item.table()])

    def tables(self, vector: Tensor) -> tuple[Vectors, Vectors]:
        """Users and items of vectors [U + I, D]."""
        of_user, of_item = vector.split([self.user.count, self.item.count])
        padded = (functional.pad(part, (0, 0, 0, 1)) for part in (of_user, of_item))
        user, item = (Vectors(table.start, part) for table, part in zip((self.user, self.item), padded))
        return user, item

    def refresh(self) -> None:
        user, item = self.tables(self.encode(self.own()))
        self.user_vector.copy_(user.weight)
        self.item_vector.copy_(item.weight)

    def pair_scores(self, user: Tensor, items: Tensor) -> Tensor:
        if self.training:
            of_user, of_item = self.tables(self.encode(self.own()))
        else:
            of_user, of_item = Vectors(self.user.start, self.user_vector), Vectors(self.item.start, self.item_vector)
        product = cosine if self.config.cosine else dot
        return product(of_user(user), of_item, items) / self.config.temperature
