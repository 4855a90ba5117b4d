"""RotatE: each relation is a rotation of complex vectors that takes a fact's head to its tail."""

from __future__ import annotations

import torch
from torch import Tensor

from kgrec.graph import Graph
from kgrec.nn import KGELinkModel, LinkModelConfig
from kgrec.nn.steady_products import filled_up
from kgrec.settings import settings


@settings
class RotatEConfig(LinkModelConfig):
    """Settings of RotatE."""

    margin: float = 6.0  #: gamma, added to every score; it changes the result only with `loss: bce`


class RotatE(KGELinkModel):
    """The score is gamma - |e_h * e_r - e_t| with complex vectors and |e_r| = 1 in each dimension (Sun et al. 2019,
    eqs. 4 and 5), in the 2-norm, computed by torch_geometric.nn.kge.RotatE. A vector has `dim` complex values, which
    are 2 dim real numbers. `l2` regularises nodes only, because relations are angles."""

    Config = RotatEConfig
    paper = "Sun et al. 2019, RotatE: knowledge graph embedding by relational rotation in complex space, ICLR"

    def __init__(self, graph: Graph, config: RotatEConfig) -> None:
        from torch_geometric.nn.kge import RotatE as Kge

        super().__init__(graph, config, Kge, angles=True, margin=config.margin)

    def catalog_scores(self, head: Tensor, relation: int, tails: Tensor) -> Tensor:
        head_re, head_im = self.node(head), self.node(head, "_im")
        re, im = self.relation(relation).cos(), self.relation(relation).sin()
        turned = torch.cat([head_re * re - head_im * im, head_re * im + head_im * re], -1)
        there = torch.cat([self.node(tails), self.node(tails, "_im")], -1)
        return self.config.margin - torch.cdist(filled_up(turned), there)[: len(turned)]
