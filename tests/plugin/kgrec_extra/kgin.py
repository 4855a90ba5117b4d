"""KGIN: intents behind interactions, each a mixture of relations, and paths of relations."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import embedding as at

from kgrec import Graph
from kgrec.nn import Drawn, EdgeModelConfig, GraphEdgeModel, NodeEmbedding, RankingLoss
from kgrec.rows import RelationRows, declare_rows
from kgrec.settings import settings


@settings
class KGINConfig(EdgeModelConfig):
    """Settings of KGIN."""

    layers: int = 3  #: number of aggregation layers
    intents: int = 4  #: number of intents, P
    independence: float = 1e-4  #: weight of the loss that keeps intents apart
    temperature_of_intents: float = 0.2  #: of their similarities in that loss


class KGIN(GraphEdgeModel):
    """An entity is the mean of r * v over its facts (r, v), a user that of e_p * i over its items i, weighed by how far
    each intent p is the user's own; layers are normalised, and their sum is the final vector (eqs. 1, 8 to 13)."""

    Config = KGINConfig
    paper = "Wang et al. 2021, Learning intents behind interactions with knowledge graph for recommendation, WWW"

    def __init__(self, graph: Graph, config: KGINConfig) -> None:
        super().__init__(graph, config, tables=False, adjacency=False)
        facts, known = graph.facts().both_ways(), graph.only(graph.target)
        relations = RelationRows(facts.edge_types)
        self.node = NodeEmbedding(graph, None, config.dim, config.init_std, config)
        self.relation = nn.Parameter(torch.empty(len(relations), config.dim).normal_(std=config.init_std))
        self.share = nn.Parameter(torch.empty(len(relations), config.intents).normal_())  # of relations in intents
        declare_rows(self, relation=relations, share=relations)
        edges = {
            "head": facts.head,
            "tail": facts.tail,
            "number": facts.relation,
            "user": known.head,
            "item": known.tail,
        }
        for name, edge in edges.items():
            self.register_buffer(f"edge_{name}", edge, persistent=False)
        ends = torch.cat([facts.head, known.head])
        count = torch.bincount(ends, minlength=graph.num_nodes).clamp(min=1).unsqueeze(1)
        self.register_buffer("count", count, persistent=False)  # LongTensor [N, 1], of facts or items

    def intents(self) -> Tensor:
        """Each a mixture of relations' vectors: [P, D]."""
        return self.share.softmax(0).T @ self.relation

    def encode(self) -> tuple[Tensor, Tensor]:
        intents, node = self.intents(), self.node.table()
        users = slice(self.users.start, self.users.stop)
        own = torch.zeros_like(node)
        own[users] = (node[users] @ intents.T).softmax(-1) @ intents
        total = node
        for _ in range(self.config.layers):
            said = at(self.edge_number, self.relation) * at(self.edge_tail, node)
            liked = at(self.edge_user, own) * at(self.edge_item, node)
            node = torch.zeros_like(node).index_add(0, self.edge_head, said).index_add(0, self.edge_user, liked)
            node = functional.normalize(node / self.count)
            total = total + node
        return total[users], total[self.items.start : self.items.stop]

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        return super().ranking_loss(ranking, user, drawn) + self.config.independence * self.alike()

    def alike(self) -> Tensor:
        """-log of each intent's similarity to itself among all, mean (eq. 5)."""
        intents = functional.normalize(self.intents())
        alike = intents @ intents.T / self.config.temperature_of_intents
        return functional.cross_entropy(alike, torch.arange(len(alike), device=alike.device))
