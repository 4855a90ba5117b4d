"""DistMult: a fact's score is a product of head and tail, weighted in each dimension by the relation."""

from __future__ import annotations

from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import ScorerParts
from kgrec.nn import KGELinkModel, LinkModelConfig
from kgrec.nn.steady_products import product


class DistMult(KGELinkModel):
    """The score is the sum of e_h * e_r * e_t (Yang et al. 2015, eq. 2), computed by torch_geometric.nn.kge.DistMult.
    It does not change when head and tail are swapped; but the inverse of a relation has its own vector."""

    Config = LinkModelConfig
    paper = "Yang et al. 2015, Embedding entities and relations for learning and inference in knowledge bases, ICLR"

    def __init__(self, graph: Graph, config: LinkModelConfig) -> None:
        from torch_geometric.nn.kge import DistMult as Kge

        super().__init__(graph, config, Kge)

    def catalog_scores(self, head: Tensor, relation: int, tails: Tensor) -> Tensor:
        return product(self.node(head) * self.relation(relation), self.node(tails))

    def linear_scorer(self) -> ScorerParts:
        node = self.kge.get_parameter("node_emb.weight")
        user = node[self.users.start : self.users.stop] * self.relation(self.target_number)
        return ScorerParts("dot", {"user": user, "item": node[self.items.start : self.items.stop]})
