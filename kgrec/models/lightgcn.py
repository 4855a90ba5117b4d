"""LightGCN: vectors of users and items, averaged over the layers of a linear propagation."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from kgrec.graph import Graph
from kgrec.nn import Drawn, EdgeModelConfig, GraphEdgeModel, NodeEmbedding, RankingLoss, symmetric
from kgrec.settings import settings


@settings
class LightGCNConfig(EdgeModelConfig):
    """Settings of LightGCN."""

    layers: PositiveInt = 3


class LightGCN(GraphEdgeModel):
    """e = (e0 + e1 + ... + eK) / (K + 1), where e(k+1) = D^-1/2 A D^-1/2 e(k) over users and items (He et al. 2020,
    eqs. 3 and 4)."""

    Config = LightGCNConfig

    def __init__(self, graph: Graph, config: LightGCNConfig) -> None:
        super().__init__(graph, config, config.dim)
        known, (source, _, target) = graph.only(graph.target), graph.target
        self.user = NodeEmbedding(known, source, config.dim, config.init_std, config)
        self.item = NodeEmbedding(known, target, config.dim, config.init_std, config)
        self.adjacency = symmetric(known)

    def refresh(self) -> None:
        self.keep(*self.encode())

    def encode(self) -> tuple[Tensor, Tensor]:
        layers = [torch.cat([self.user.table(), self.item.table()])]
        for _ in range(self.config.layers):
            layers.append(self.adjacency(layers[-1]))
        user, item = torch.stack(layers).mean(0).split([len(self.users), len(self.items)])
        return user, item

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        of_user, of_item = self.tables(*self.encode())
        return ranking.of_vectors(of_user(user), of_item, drawn)
