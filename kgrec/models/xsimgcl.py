"""XSimGCL: LightGCN with noise along the layers, and a contrast between its vectors and those of one layer."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.nn import Drawn, EdgeModelConfig, GraphEdgeModel, RankingLoss
from kgrec.settings import settings


@settings
class XSimGCLConfig(EdgeModelConfig):
    """Settings of XSimGCL."""

    task: Literal["ranking"] = "ranking"  #: the contrast spreads vectors out, which ratings and clicks do not want
    layers: PositiveInt = 3
    noise: NonNegativeFloat = 0.2  #: length of the noise that is added in each layer, epsilon
    contrast: NonNegativeFloat = 0.2  #: weight of the contrastive loss, lambda
    contrast_layer: PositiveInt = 1  #: the layer that is held against the final vectors, l*
    contrast_temperature: PositiveFloat = 0.2  #: tau


class XSimGCL(GraphEdgeModel):
    """e = (e1 + ... + eK) / K with e(k+1) = D^-1/2 A D^-1/2 e(k) + noise of the signs of e(k+1), and beside the ranking
    loss InfoNCE between e and the layer l* over the users and the items of a batch (Yu et al. 2022, eqs. 6 to 9)."""

    Config = XSimGCLConfig

    def __init__(self, graph: Graph, config: XSimGCLConfig) -> None:
        super().__init__(graph, config)
        if config.contrast_layer > config.layers:
            raise KgrecError(f"contrast_layer is {config.contrast_layer}, and there are {config.layers} layers")

    def encode(self) -> tuple[Tensor, Tensor]:
        return self.split(torch.stack(self.propagate()).mean(0))

    def propagate(self) -> list[Tensor]:
        """The vectors of users and items after each layer: [U + I, D] each."""
        layers, vector = [], self.own_vectors()
        for _ in range(self.config.layers):
            vector = self.adjacency(vector)
            if self.training and self.config.noise:
                noise = functional.normalize(torch.rand_like(vector), dim=-1) * self.config.noise
                vector = vector + vector.sign() * noise
            layers.append(vector)
        return layers

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        layers = self.propagate()
        of_user, of_item = self.tables(*self.split(torch.stack(layers).mean(0)))
        layer_user, layer_item = self.tables(*self.split(layers[self.config.contrast_layer - 1]))
        users, items = user.unique(), drawn.tail.unique()
        contrast = self._contrast(of_user(users), layer_user(users)) + self._contrast(of_item(items), layer_item(items))
        return ranking.of_vectors(of_user(user), of_item, drawn) + self.config.contrast * contrast

    def _contrast(self, one: Tensor, other: Tensor) -> Tensor:
        """InfoNCE of two views [n, D]: each row's own other view among all."""
        one, other = functional.normalize(one, dim=-1), functional.normalize(other, dim=-1)
        own = torch.arange(len(one), device=one.device)
        return functional.cross_entropy(one @ other.T / self.config.contrast_temperature, own)
