"""ComplEx: DistMult with complex vectors, so that a relation may hold in one direction only."""

from __future__ import annotations

import torch
from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import ScorerParts
from kgrec.nn import KGELinkModel, LinkModelConfig
from kgrec.nn.steady_products import product


class ComplEx(KGELinkModel):
    """The score is the real part of the sum of e_h * e_r * conj(e_t) (Trouillon et al. 2016, eq. 11), computed by
    torch_geometric.nn.kge.ComplEx. A vector has `dim` complex values, which are 2 dim real numbers."""

    Config = LinkModelConfig
    paper = "Trouillon et al. 2016, Complex embeddings for simple link prediction, ICML"

    def __init__(self, graph: Graph, config: LinkModelConfig) -> None:
        from torch_geometric.nn.kge import ComplEx as Kge

        super().__init__(graph, config, Kge)

    def catalog_scores(self, head: Tensor, relation: int, tails: Tensor) -> Tensor:
        real, imaginary = self._turned(head, relation)
        return product(real, self.node(tails)) + product(imaginary, self.node(tails, "_im"))

    def _turned(self, head: Tensor, relation: int) -> tuple[Tensor, Tensor]:
        """e_h * e_r, which the tails are multiplied by: its real and its imaginary part, [B, D] each."""
        head_re, head_im = self.node(head), self.node(head, "_im")
        re, im = self.relation(relation), self.relation(relation, "_im")
        return head_re * re - head_im * im, head_im * re + head_re * im

    def linear_scorer(self) -> ScorerParts:
        device = self.kge.get_parameter("node_emb.weight").device
        users, items = (torch.arange(nodes.start, nodes.stop, device=device) for nodes in (self.users, self.items))
        user = torch.cat(self._turned(users, self.target_number), -1)
        return ScorerParts("dot", {"user": user, "item": torch.cat([self.node(items), self.node(items, "_im")], -1)})
