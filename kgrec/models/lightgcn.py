"""LightGCN: vectors of users and items, propagated over the interaction graph and averaged over the layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor

from kgrec.graph import Graph
from kgrec.nn import EdgeModelConfig, GraphEdgeModel, Vectors
from kgrec.nn.fold_in import NewUsersEdges
from kgrec.nn.masked_edges import EdgeMasking, MaskedVectors, averaged
from kgrec.search_ranges import Between
from kgrec.settings import Depth, settings


@settings
class LightGCNConfig(EdgeModelConfig):
    """Settings of LightGCN."""

    #: number of propagation layers; one layer more reaches neighbors one hop further away
    layers: Annotated[Depth, Between(1, 4)] = 3


class LightGCN(GraphEdgeModel):
    """e = (e0 + e1 + ... + eK) / (K + 1), where e(k+1) = D^-1/2 A D^-1/2 e(k) over users and items (He et al. 2020,
    eqs. 3 and 4)."""

    Config = LightGCNConfig
    paper = "He et al. 2020, LightGCN: simplifying and powering graph convolution network for recommendation, SIGIR"

    def encode(self) -> tuple[Tensor, Tensor]:
        return self.split(self.adjacency.mean_of_layers(self.own_vectors(), self.config.layers))

    def step_tables(self, user: Tensor, *item: Tensor | None) -> tuple[Vectors, Vectors]:
        of_user, of_item = self.user, self.item
        if self.shares_rows or of_user.features is not None or of_item.features is not None:
            return super().step_tables(user, *item)
        found = self.adjacency.mean_over_tables(of_user.weight, of_item.weight, self.config.layers)
        return Vectors(self.users.start, found[0]), Vectors(self.items.start, found[1])

    def layers_around(self, known: Graph, whole: Callable[[], Graph]) -> Any:
        return self.propagated(known, self.config.layers)

    def new_vectors(self, own: Tensor, edges: NewUsersEdges, layers: Any) -> Tensor:
        return torch.stack([own, *layers.along(edges)]).mean(0)

    def edge_masking(self, graph: Graph) -> EdgeMasking:
        """What masks edges of the graph: see `kgrec.nn.masked_edges`."""
        known, first = graph.only(graph.target), (-self.users.start, len(self.users) - self.items.start)
        layers = averaged(self.own_vectors(), known, self.config.layers, with_own=True)
        return MaskedVectors(self, graph, known, *layers, by="weight of propagation", first=first)
