"""LightGCN: vectors of users and items, averaged over the layers of a linear propagation."""

from __future__ import annotations

import torch
from torch import Tensor

from kgrec.nn import Drawn, GraphEdgeModel, GraphEdgeModelConfig, RankingLoss
from kgrec.settings import settings


@settings
class LightGCNConfig(GraphEdgeModelConfig):
    """Settings of LightGCN."""


class LightGCN(GraphEdgeModel):
    """e = (e0 + e1 + ... + eK) / (K + 1), where e(k+1) = D^-1/2 A D^-1/2 e(k) over users and items (He et al. 2020,
    eqs. 3 and 4)."""

    Config = LightGCNConfig

    def encode(self, own: Tensor) -> Tensor:
        layers = [own]
        for _ in range(self.config.layers):
            layers.append(self.adjacency(layers[-1]))
        return torch.stack(layers).mean(0)

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        of_user, of_item = self.tables(self.encode(self.own()))
        return ranking.of_vectors(of_user(user), of_item, drawn)
