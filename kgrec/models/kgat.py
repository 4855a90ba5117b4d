"""KGAT: attention over the facts and interactions around users and items, learned beside a TransR of them."""

from __future__ import annotations

from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import Objective
from kgrec.nn import Drawn, EdgeModelConfig, GraphEdgeModel, KGEncoder, KGEncoderConfig, RankingLoss
from kgrec.settings import settings


@settings
class KGATConfig(KGEncoderConfig, EdgeModelConfig):
    """Settings of KGAT. `dim`, `loss`, `lr`, `l2` and `batch_size` are those of the interactions."""


class KGAT(GraphEdgeModel):
    """Knowledge graph attention network (Wang et al. 2019). Interactions, facts and the inverses of both are edges of
    one graph, over which KGEncoder makes the vectors. Two objectives follow each other in an epoch, each with its own
    optimizer: the ranking loss of final vectors (with `bpr` eq. 12), and TransR over all edges (eq. 2). Attention is
    made anew after each epoch."""

    Config = KGATConfig

    def __init__(self, graph: Graph, config: KGATConfig) -> None:
        super().__init__(graph, config, config.dim + sum(config.layers))
        self.encoder = KGEncoder(graph, config, (graph.target[0], graph.target[2]))

    def objectives(self, graph: Graph) -> list[Objective]:
        parameters = [*self.encoder.node.parameters(), *self.encoder.aggregators.parameters()]
        return [self.objective(graph, self.task, parameters), self.encoder.objective(graph)]

    def begin(self, epoch: int) -> None:
        if epoch > 1:
            self.encoder.attend()

    def refresh(self) -> None:
        self.encoder.attend()
        super().refresh()

    def encode(self) -> tuple[Tensor, Tensor]:
        user, item = self.encoder().split([len(self.users), len(self.items)])
        return user, item

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        of_user, of_item = self.tables(*self.encode())
        return ranking.of_vectors(of_user(user), of_item, drawn)
