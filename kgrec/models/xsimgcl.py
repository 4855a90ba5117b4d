"""XSimGCL: LightGCN with random noise in its layers and a contrastive loss between final vectors and one layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.nn import Drawn, EdgeModelConfig, GraphEdgeModel, RankingLoss
from kgrec.nn.fold_in import FoldingSteps, NewUsersEdges
from kgrec.nn.masked_edges import EdgeMasking, MaskedVectors, averaged
from kgrec.search_ranges import Between
from kgrec.settings import Depth, settings


@settings
class XSimGCLConfig(EdgeModelConfig):
    """Settings of XSimGCL."""

    #: what the model learns to predict: an order of items; its contrastive loss spreads vectors out, which harms
    #: ratings and clicks
    task: Literal["ranking"] = "ranking"
    #: number of propagation layers; one layer more reaches neighbors one hop further away
    layers: Annotated[Depth, Between(1, 4)] = 3
    #: epsilon, length of the random vector that training adds in each layer; 0: none
    noise: Annotated[NonNegativeFloat, Between(0.0, 0.5)] = 0.2
    #: lambda, weight of the contrastive loss against the ranking loss
    contrast_weight: Annotated[NonNegativeFloat, Between(0.01, 1.0, log=True)] = 0.2
    #: l*, number of the layer (from 1) whose vectors are contrasted with the final ones; at most `layers`
    contrast_layer: PositiveInt = 1
    #: tau, divides the cosines in the contrastive loss; lower: similar vectors are pushed apart harder
    contrast_temperature: Annotated[PositiveFloat, Between(0.05, 0.5, log=True)] = 0.2

    FORMER: ClassVar = {"contrast": "contrast_weight"}


class XSimGCL(GraphEdgeModel):
    """e = (e1 + ... + eK) / K with e(k+1) = D^-1/2 A D^-1/2 e(k) + noise with the same signs as e(k+1). InfoNCE between
    e and layer l* over the users and items of a batch is added to the ranking loss (Yu et al. 2022, eqs. 6 to 9)."""

    Config = XSimGCLConfig
    paper = (
        "Yu et al. 2022, XSimGCL: towards extremely simple graph contrastive learning for recommendation, "
        "arXiv 2209.02544"
    )
    fold_in = FoldingSteps(steps=0)  # a user's own vector is no part of the final one

    def __init__(self, graph: Graph, config: XSimGCLConfig) -> None:
        super().__init__(graph, config)
        if config.contrast_layer > config.layers:
            raise KgrecError(
                f"contrast_layer is {config.contrast_layer}, but there are only {config.layers} layers; "
                "lower contrast_layer or raise layers"
            )

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
        return ranking.of_vectors(of_user(user), of_item, drawn) + self.config.contrast_weight * contrast

    def layers_around(self, known: Graph, whole: Callable[[], Graph]) -> Any:
        return self.propagated(known, self.config.layers)

    def new_vectors(self, own: Tensor, edges: NewUsersEdges, layers: Any) -> Tensor:
        return torch.stack(layers.along(edges)).mean(0)

    def edge_masking(self, graph: Graph) -> EdgeMasking:
        """What masks edges of the graph: see `kgrec.nn.masked_edges`."""
        known, first = graph.only(graph.target), (-self.users.start, len(self.users) - self.items.start)
        layers = averaged(self.own_vectors(), known, self.config.layers, with_own=False)
        return MaskedVectors(self, graph, known, *layers, by="weight of propagation", first=first)

    def _contrast(self, one: Tensor, other: Tensor) -> Tensor:
        """InfoNCE of two views [n, D] of the same nodes: each row must recognise its own other view among all rows."""
        one, other = functional.normalize(one, dim=-1), functional.normalize(other, dim=-1)
        own = torch.arange(len(one), device=one.device)
        return functional.cross_entropy(one @ other.T / self.config.contrast_temperature, own)
