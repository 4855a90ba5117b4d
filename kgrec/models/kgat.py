"""KGAT: attention over the facts and interactions around users and items, learned beside a TransR of them."""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeInt
from torch import Tensor
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Objective
from kgrec.nn import Drawn, EdgeModelConfig, GraphEdgeModel, KGEncoder, KGEncoderConfig, Vectors
from kgrec.samplers import Batch, Neighbors
from kgrec.settings import settings


@settings
class KGATConfig(KGEncoderConfig, EdgeModelConfig):
    """Settings of KGAT. `dim`, `loss`, `lr`, `l2` and `batch_size` are those of the interactions."""

    #: edges drawn for a node at each hop, as many hops as layers, -1 for all; (): vectors are made by the whole graph
    fanouts: tuple[int, ...] = ()
    #: with fanouts, whether the edges that a batch is to predict are left out of its neighborhoods
    exclude: bool = True
    sparse: bool = False  #: with fanouts, gradients of the vectors in use alone and SparseAdam: for large graphs
    prefetch: NonNegativeInt = 2  #: with fanouts, batches that are drawn ahead in a thread


class KGAT(GraphEdgeModel):
    """Knowledge graph attention network (Wang et al. 2019). Interactions, facts and the inverses of both are edges of
    one graph, over which KGEncoder makes the vectors. Two objectives follow each other in an epoch, each with its own
    optimizer: the ranking loss of final vectors (with `bpr` eq. 12), and TransR over all edges (eq. 2). Attention is
    made anew after each epoch.

    With `fanouts` an epoch's vectors are made for sampled neighborhoods, with the attention of the whole graph as it
    was last made, over the edges of the sample. What scoring reads is made of the whole graph in either case.
    """

    Config = KGATConfig
    paper = "Wang et al. 2019, KGAT: knowledge graph attention network for recommendation, KDD"
    reads_all_edges = True

    def __init__(self, graph: Graph, config: KGATConfig) -> None:
        super().__init__(graph, config, config.dim + sum(config.layer_dims), tables=False, adjacency=False)
        _check(config)
        ends = graph.target[0], graph.target[2]
        self.encoder = KGEncoder(graph, config, ends, sampled=bool(config.fanouts), sparse=config.sparse)

    def objectives(self, graph: Graph) -> list[Objective]:
        c, parameters = self.config, [*self.encoder.node.parameters(), *self.encoder.aggregators.parameters()]
        how: dict[str, Any] = {"optimizer": self.encoder.optimizer}
        if c.fanouts:
            stages = [Neighbors(graph, c.fanouts, exclude=c.exclude)]
            how |= {"stages": stages, "prefetch": c.prefetch, "loss": self.sampled_loss}
        return [self.objective(graph, self.task, parameters, **how), self.encoder.objective(graph)]

    def begin(self, epoch: int) -> None:
        self.encoder.begin(epoch)

    def refresh(self) -> None:
        """Make attention, and layer by layer the vectors that scoring reads."""
        self.encoder.attend()
        first = 0
        for output in self.encoder.outputs():
            first = self.keep(*self.split(output), first)

    def encode(self) -> tuple[Tensor, Tensor]:
        return self.split(self.encoder())

    def sampled_loss(self, batch: Batch) -> Tensor:
        """The ranking loss of vectors that a batch's neighborhood makes."""
        around = batch.neighborhood
        assert around is not None
        vector = functional.pad(self.encoder.around(around), (0, 0, 0, 1))
        table, drawn = Vectors(0, vector, around.find), Drawn(batch.tail, batch.negative, batch.log_q, user=batch.head)
        loss = self.ranking.of_vectors(table(batch.head), table, drawn)
        return loss + self.edge_penalty(batch) if self.config.l2 else loss


def _check(config: KGATConfig) -> None:
    """Raise KgrecError for settings that exclude each other."""
    if config.sparse and not config.fanouts:
        raise KgrecError("sparse=true is for sampled neighborhoods; set fanouts too, one for each layer")
    if not config.fanouts:
        return
    if len(config.fanouts) != len(config.layer_dims):
        raise KgrecError(f"there are {len(config.fanouts)} fanouts and {len(config.layer_dims)} layers; each wants one")
    if config.loss == "softmax" or config.task != "ranking":
        raise KgrecError(
            "with fanouts only some items have vectors, so a loss over drawn ones is wanted, such as bpr; "
            f"it is {config.loss!r}, of task {config.task!r}"
        )
