"""TransR: each relation is a translation that takes a fact's head to its tail, in a space of its own."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from kgrec.graph import Graph
from kgrec.model import ScorerParts
from kgrec.nn import LinkModel, LinkModelConfig, NodeEmbedding
from kgrec.nn import TransR as Translations
from kgrec.nn.steady_products import product
from kgrec.rows import RelationRows
from kgrec.settings import settings


@settings
class TransRConfig(LinkModelConfig):
    """Settings of TransR."""

    #: width of the space of each relation, in which the two ends of a fact are compared; a wider one can express more,
    #: and costs memory and time
    relation_dim: PositiveInt = 64
    init_std: PositiveFloat = 0.1  #: standard deviation of the nodes' random initial vectors


class TransR(LinkModel):
    """The score is -|W_r e_h + e_r - W_r e_t|^2 (Lin et al. 2015, eq. 8)."""

    Config = TransRConfig
    paper = "Lin et al. 2015, Learning entity and relation embeddings for knowledge graph completion, AAAI"

    def __init__(self, graph: Graph, config: TransRConfig) -> None:
        super().__init__(graph, config)
        self.node = NodeEmbedding(graph, None, config.dim, config.init_std)
        self.transr = Translations(RelationRows(self.edge_types), config.dim, config.relation_dim)

    @property
    def user_holder(self) -> NodeEmbedding:
        return self.node

    def vectors_of(self, node: Tensor) -> Tensor:
        return self.node.weight[node]

    def list_scores(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        return -self.transr.energies(self.node(head), relation, self.node(tails))

    def catalog_scores(self, head: Tensor, relation: int, tails: Tensor) -> Tensor:
        matrix = self.transr.projection[relation]
        moved = product(self.node(head), matrix.T) + self.transr.relation[relation]  # [B, K]
        there = self.node(tails) @ matrix  # [C, K]
        return product(2 * moved, there) - moved.square().sum(1, keepdim=True) - there.square().sum(1)

    def linear_scorer(self) -> ScorerParts:
        """-|m - t|^2 as 2 m . t - |m|^2 - |t|^2, with m the moved users and t the projected items."""
        matrix, vectors = self.transr.projection[self.target_number], self.node.table()
        moved = vectors[self.users.start : self.users.stop] @ matrix + self.transr.relation[self.target_number]
        there = vectors[self.items.start : self.items.stop] @ matrix
        biases = {"user_bias": -moved.square().sum(1), "item_bias": -there.square().sum(1)}
        return ScorerParts("dot", {"user": 2 * moved, "item": there, **biases})

    def weighed(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        return [] if self.node.rows is not None else [self.node.weight], [self.transr.relation]
