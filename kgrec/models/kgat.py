"""KGAT: a graph network with attention over the facts and interactions around users and items, trained with TransR."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydantic import NonNegativeInt
from torch import Tensor
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Objective
from kgrec.nn import Drawn, EdgeModelConfig, GraphEdgeModel, KGEncoder, KGEncoderConfig, NodeEmbedding, Vectors
from kgrec.nn.extended_model import extended_model
from kgrec.nn.fold_in import NewUsersEdges
from kgrec.nn.masked_edges import EdgeMasking, MaskedVectors, attended
from kgrec.nn.row_shards import is_sharding, refused
from kgrec.nn.sharded_propagation import layer_outputs
from kgrec.samplers import Batch, Neighbors
from kgrec.settings import settings


@settings
class KGATConfig(KGEncoderConfig, EdgeModelConfig):
    """Settings of KGAT. `dim`, `loss`, `lr`, `l2` and `batch_size` apply to the interactions; those of the facts begin
    with `facts_`."""

    #: neighbors sampled for each node, one number for each layer, -1 for all of them; empty: use the whole graph at
    #: every step; set it for graphs that do not fit in memory
    fanouts: tuple[int, ...] = ()
    #: with fanouts, leave the edges that a batch is to predict out of the sampled neighborhoods; false: the model sees
    #: what it must predict
    exclude: bool = True
    #: with fanouts, update only the vectors that a batch uses (SparseAdam); faster on large graphs
    sparse: bool = False
    prefetch: NonNegativeInt = 2  #: with fanouts, number of batches that a thread samples ahead; 0: none


class KGAT(GraphEdgeModel):
    """Knowledge graph attention network (Wang et al. 2019). Interactions, facts and the inverses of both are edges of
    one graph, and KGEncoder computes the vectors by propagation over it. An epoch has two objectives, one after the
    other, each with its own optimizer: the ranking loss of the final vectors (with `bpr` eq. 12), and TransR over all
    edges (eq. 2). Attention is recomputed after each epoch.

    With `fanouts`, training computes vectors in sampled neighborhoods. It uses the attention of the last epoch,
    normalised over the sampled edges. The vectors for scoring are always computed from the whole graph.
    """

    Config = KGATConfig
    paper = "Wang et al. 2019, KGAT: knowledge graph attention network for recommendation, KDD"
    reads_all_edges = True
    reads_facts = True

    def __init__(self, graph: Graph, config: KGATConfig) -> None:
        _check(config)
        super().__init__(graph, config, config.dim + sum(config.layer_dims), tables=False, adjacency=False)
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
        """Recompute attention, and then, layer by layer, the vectors that scoring reads."""
        self.encoder.attend()
        first = 0
        if self.shares_rows:
            for output_of in layer_outputs(self.encoder):
                first = self.keep_own(output_of, output_of, first)
            return
        for output in self.encoder.outputs():
            first = self.keep(*self.split(output), first)

    def check_sharded(self) -> None:
        """Its vectors are computed from look-ups, block by block."""

    def encode(self) -> tuple[Tensor, Tensor]:
        return self.split(self.encoder())

    def sampled_loss(self, batch: Batch) -> Tensor:
        """The ranking loss of vectors that are computed in a batch's sampled neighborhood."""
        around = batch.neighborhood
        assert around is not None
        vector = functional.pad(self.encoder.around(around), (0, 0, 0, 1))
        table, drawn = Vectors(0, vector, around.find), Drawn(batch.tail, batch.negative, batch.log_q, user=batch.head)
        loss = self.ranking.of_vectors(table(batch.head), table, drawn)
        return loss + self.edge_penalty(batch) if self.config.l2_of_task else loss

    @property
    def user_table(self) -> NodeEmbedding:
        return self.encoder.node

    def layers_around(self, known: Graph, whole: Callable[[], Graph]) -> Any:
        """The encoder over the whole graph, the vectors that its layers read, and the relation from items to users."""
        graph = whole()
        over_all, _ = extended_model(self, graph)
        assert isinstance(over_all, KGAT)
        with torch.no_grad():
            layers = over_all.encoder.layers()
        source, name, target = known.target
        stated = graph.schema.edges[known.target].inverse_of
        relation = next(
            number
            for number, (edge, schema) in enumerate(graph.two_way_edges().items())
            if (edge[0], edge[2]) == (target, source) and (schema.inverse_of == name or edge[1] == stated)
        )
        return over_all.encoder, layers, relation

    def new_vectors(self, own: Tensor, edges: NewUsersEdges, layers: Any) -> Tensor:
        encoder, of_layers, relation = layers
        found: Tensor = encoder.of_new(own, edges.ptr, edges.item, relation, of_layers)
        return found

    def edge_masking(self, graph: Graph) -> EdgeMasking:
        """What masks edges of the graph: see `kgrec.nn.masked_edges`."""
        return MaskedVectors(self, graph, graph, *attended(self.encoder, graph), by="attention")


def _check(config: KGATConfig) -> None:
    """Raise KgrecError for settings that do not go together."""
    if config.sparse and not config.fanouts:
        raise KgrecError("sparse=true works only with sampled neighborhoods; set fanouts too, one for each layer")
    if not config.fanouts:
        if is_sharding():
            raise refused(
                "the vectors of all nodes at every step, for propagation over the whole graph",
                "sample neighborhoods instead, with one number of neighbors for each layer, such as --set "
                f"fanouts=[{','.join(str(max(5, 10 // (layer + 1))) for layer in range(len(config.layer_dims)))}]",
            )
        return
    if len(config.fanouts) != len(config.layer_dims):
        raise KgrecError(
            f"there are {len(config.fanouts)} fanouts and {len(config.layer_dims)} layers; give one fanout a layer"
        )
    if config.loss == "softmax" or config.task != "ranking":
        raise KgrecError(
            "with fanouts only sampled items have vectors, so a ranking loss with negatives is needed, such as "
            f"loss=bpr; the loss is {config.loss!r} and the task {config.task!r}"
        )
