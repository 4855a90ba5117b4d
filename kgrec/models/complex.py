"""ComplEx: DistMult over complex numbers, so that a relation need not hold both ways."""

from __future__ import annotations

from torch import Tensor

from kgrec.graph import Graph
from kgrec.nn import KGELinkModel, LinkModelConfig


class ComplEx(KGELinkModel):
    """The score is Re(the sum of e_h * e_r * conj(e_t)) (Trouillon et al. 2016, eq. 11), as
    torch_geometric.nn.kge.ComplEx. `dim` complex numbers are 2 dim real ones."""

    Config = LinkModelConfig

    def __init__(self, graph: Graph, config: LinkModelConfig) -> None:
        from torch_geometric.nn.kge import ComplEx as Kge

        super().__init__(graph, config, Kge)

    def catalog_scores(self, head: Tensor, relation: int, tails: Tensor) -> Tensor:
        head_re, head_im = self.node(head), self.node(head, "_im")
        re, im = self.relation(relation), self.relation(relation, "_im")
        real, imaginary = head_re * re - head_im * im, head_im * re + head_re * im
        return real @ self.node(tails).T + imaginary @ self.node(tails, "_im").T
