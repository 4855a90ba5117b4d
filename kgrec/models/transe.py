"""TransE: a fact moves its head to its tail."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.nn import KGELinkModel, LinkModelConfig
from kgrec.settings import settings


@settings
class TransEConfig(LinkModelConfig):
    """Settings of TransE."""

    p: Literal[1, 2] = 2  #: which norm measures distances
    temperature: PositiveFloat = 0.1  #: the loss is of scores / temperature; scores lie between 0 and about -3
    #: step size of the optimizer; vectors are sqrt(12) long at the start, and only directions count
    lr: PositiveFloat = 3e-2


class TransE(KGELinkModel):
    """The score is -|e_h + e_r - e_t|_p with |e_h|_p = |e_t|_p = 1 (Bordes et al. 2013, sec. 2), as
    torch_geometric.nn.kge.TransE."""

    Config = TransEConfig
    paper = "Bordes et al. 2013, Translating embeddings for modeling multi-relational data, NIPS"

    def __init__(self, graph: Graph, config: TransEConfig) -> None:
        from torch_geometric.nn.kge import TransE as Kge

        super().__init__(graph, config, Kge, p_norm=float(config.p))

    def catalog_scores(self, head: Tensor, relation: int, tails: Tensor) -> Tensor:
        p = self.config.p
        moved = functional.normalize(self.node(head), p=p, dim=-1) + self.relation(relation)
        return -torch.cdist(moved, functional.normalize(self.node(tails), p=p, dim=-1), p=p)
