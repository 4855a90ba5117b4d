"""TransE: each relation is a translation that takes a fact's head to its tail."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.nn import KGELinkModel, LinkModelConfig
from kgrec.nn.steady_products import filled_up
from kgrec.search_ranges import Between
from kgrec.settings import settings


@settings
class TransEConfig(LinkModelConfig):
    """Settings of TransE."""

    p: Literal[1, 2] = 2  #: norm of the distance: 1 (sum of absolute differences) or 2 (Euclidean)
    #: the loss divides scores by it; scores lie between 0 and about -3, so it is well below 1
    temperature: Annotated[PositiveFloat, Between(0.02, 1.0, log=True)] = 0.1
    #: learning rate of the optimizer; initial vectors have the length sqrt(12) and only their direction counts, so it
    #: may be higher than that of other models
    lr: Annotated[PositiveFloat, Between(3e-3, 0.3, log=True)] = 3e-2


class TransE(KGELinkModel):
    """The score is -|e_h + e_r - e_t|_p with |e_h|_p = |e_t|_p = 1 (Bordes et al. 2013, sec. 2), computed by
    torch_geometric.nn.kge.TransE."""

    Config = TransEConfig
    paper = "Bordes et al. 2013, Translating embeddings for modeling multi-relational data, NIPS"

    def __init__(self, graph: Graph, config: TransEConfig) -> None:
        from torch_geometric.nn.kge import TransE as Kge

        super().__init__(graph, config, Kge, p_norm=float(config.p))

    def catalog_scores(self, head: Tensor, relation: int, tails: Tensor) -> Tensor:
        p = self.config.p
        moved = functional.normalize(self.node(head), p=p, dim=-1) + self.relation(relation)
        there = functional.normalize(self.node(tails), p=p, dim=-1)
        return -torch.cdist(filled_up(moved), there, p=p)[: len(moved)]
