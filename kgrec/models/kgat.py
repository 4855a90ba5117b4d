"""KGAT: attention over the facts and interactions around users and items, learned beside a TransR of them."""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kgrec import losses
from kgrec.graph import Graph
from kgrec.model import Objective
from kgrec.nn import (
    Adjacency,
    Aggregator,
    AggregatorName,
    Drawn,
    EdgeModelConfig,
    GraphEdgeModel,
    NodeEmbedding,
    RankingLoss,
    TransR,
)
from kgrec.samplers import Batch, Edges, Loader, Negatives
from kgrec.settings import settings


@settings
class KGATConfig(EdgeModelConfig):
    """Settings of KGAT. `dim`, `loss`, `lr`, `l2` and `batch_size` are those of the interactions."""

    layers: tuple[PositiveInt, ...] = (64, 32, 16)  #: width of each layer's output
    aggregator: AggregatorName = "bi-interaction"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1  #: of messages
    relation_dim: PositiveInt = 64
    facts_batch_size: PositiveInt = 2048
    facts_lr: PositiveFloat = 1e-3
    facts_l2: NonNegativeFloat = 1e-5  #: of the vectors of a fact's ends and relation


class KGAT(GraphEdgeModel):
    """Knowledge graph attention network (Wang et al. 2019). Interactions, facts and the inverses of both are edges of
    one graph. Two objectives follow each other in an epoch, each with its own optimizer: the ranking loss (eq. 12) of
    final vectors, and TransR's -log sigmoid(g(h, r, t') - g(h, r, t)) over all edges (eq. 2).

    A layer adds up a node's neighbors by pi = (W_r e_t)' tanh(W_r e_h + e_r), softmax over the node's edges (eqs. 3 to
    5), and aggregates. pi is made anew from the vectors at hand after each epoch, with no gradient through it; before
    the first all edges of a node weigh the same. Final vectors are e0 and every layer's output, L2-normalised, side by
    side (eq. 11).
    """

    Config = KGATConfig

    def __init__(self, graph: Graph, config: KGATConfig) -> None:
        super().__init__(graph, config, config.dim + sum(config.layers))
        both = graph.both_ways()
        self.node = NodeEmbedding(graph, None, config.dim, config.init_std)
        self.transr = TransR(len(both.edge_types), config.dim, config.relation_dim)
        widths = (config.dim, *config.layers)
        self.aggregators = nn.ModuleList(
            Aggregator(config.aggregator, dim, out, config.dropout) for dim, out in itertools.pairwise(widths)
        )
        csr = both.csr
        degree = csr.degree()
        self.head: Tensor  #: LongTensor [E of both ways], row by row of the adjacency
        self.relation: Tensor  #: LongTensor [E of both ways]
        self.ends: Tensor  #: LongTensor [U + I], the users and the items
        self.at_ends: Tensor  #: LongTensor [edges of the ends], where they stand in the adjacency
        head = torch.arange(len(degree), device=graph.device).repeat_interleave(degree)
        alike = 1.0 / degree.clamp(min=1)[head]
        ends = torch.cat([graph.nodes(node_type) for node_type in (graph.target[0], graph.target[2])])
        position = torch.arange(int(degree[ends].sum()), device=graph.device)
        ptr = functional.pad(degree[ends].cumsum(0), (1, 0))
        at_ends = position + (csr.ptr[ends] - ptr[:-1]).repeat_interleave(degree[ends])
        for name, tensor in {
            "head": head,
            "relation": both.relation[csr.edge],
            "ends": ends,
            "at_ends": at_ends,
        }.items():
            self.register_buffer(name, tensor, persistent=False)
        tail = csr.other.long()
        self.adjacency = Adjacency(csr.ptr, tail, alike, len(degree))
        self.last_adjacency = Adjacency(ptr, tail[at_ends], alike[at_ends], len(degree))  # only what is scored

    def objectives(self, graph: Graph) -> list[Objective]:
        c, both = self.config, graph.both_ways()
        facts = Loader(Edges(both), Negatives(both, reject=both), batch_size=c.facts_batch_size)
        return [
            self.objective(graph, self.task, [*self.node.parameters(), *self.aggregators.parameters()]),
            Objective(
                "transr", facts, self.facts_loss, [*self.node.parameters(), *self.transr.parameters()], lr=c.facts_lr
            ),
        ]

    def begin(self, epoch: int) -> None:
        if epoch > 1:
            self.attend()

    def refresh(self) -> None:
        self.attend()
        super().refresh()

    @torch.no_grad()
    def attend(self) -> None:
        """Make pi of the vectors at hand."""
        vector, ptr = self.node.table(), self.adjacency.ptr.long()
        energy = self.transr.attention(vector[self.head], self.relation, vector[self.adjacency.column.long()])
        attention = softmax_in_rows(energy, ptr)
        self.adjacency.set_values(attention)
        self.last_adjacency.set_values(attention[self.at_ends])

    def encode(self) -> tuple[Tensor, Tensor]:
        vector = self.node.table()
        outputs = [vector[self.ends]]
        for number, aggregator in enumerate(self.aggregators, 1):
            if number < len(self.aggregators):
                vector = aggregator(vector, self.adjacency(vector))
                output = vector[self.ends]
            else:
                output = aggregator(vector[self.ends], self.last_adjacency(vector))
            outputs.append(functional.normalize(output, dim=-1))
        user, item = torch.cat(outputs, -1).split([len(self.users), len(self.items)])
        return user, item

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        of_user, of_item = self.tables(*self.encode())
        return ranking.of_vectors(of_user(user), of_item, drawn)

    def facts_loss(self, batch: Batch) -> Tensor:
        """TransR's loss of edges and what was drawn beside their tails."""
        assert batch.relation is not None
        assert batch.negative is not None
        ends = self.node(torch.cat([batch.head.unsqueeze(1), batch.tail.unsqueeze(1), batch.negative], 1))
        energy = self.transr.energies(ends[:, 0], batch.relation, ends[:, 1:])
        relation = self.transr.relation.square().sum(1).index_select(0, batch.relation)
        squares = (ends.square().sum() + relation.sum()) / len(batch)
        return losses.bpr(-energy[:, 0], -energy[:, 1:]) + self.config.facts_l2 * squares


def softmax_in_rows(energy: Tensor, ptr: Tensor) -> Tensor:
    """The softmax of energies [E] over each row of a CSR; ptr: LongTensor [N + 1]."""
    row = torch.arange(len(ptr) - 1, device=energy.device).repeat_interleave(ptr.diff())
    highest = energy.new_full((len(ptr) - 1,), -torch.inf).scatter_reduce(0, row, energy, "amax")
    share = (energy - highest[row]).exp()
    return share / share.new_zeros(len(ptr) - 1).index_add(0, row, share)[row]
