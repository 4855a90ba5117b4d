"""Vectors of nodes from the graph around them: attention along facts, learned beside a TransR of the same edges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kgrec import losses
from kgrec.errors import KgrecError, some
from kgrec.graph import Graph
from kgrec.model import Objective
from kgrec.nn.aggregator import Aggregator, AggregatorName
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.propagation import Adjacency
from kgrec.nn.transr import TransR
from kgrec.samplers import Batch, Edges, Loader, Negatives
from kgrec.settings import settings


@settings
class KGEncoderConfig:
    """Settings of the encoder and its objective over facts."""

    layers: tuple[PositiveInt, ...] = (64, 32, 16)  #: width of each layer's output
    aggregator: AggregatorName = "bi-interaction"
    message_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    relation_dim: PositiveInt = 64
    facts_batch_size: PositiveInt = 2048
    facts_lr: PositiveFloat = 1e-3
    facts_l2: NonNegativeFloat = 1e-5  #: of the vectors of a fact's ends and relation


class KGEncoder(nn.Module):
    """The layers of KGAT (Wang et al. 2019) over all edges of a graph, each also backwards where the graph does not
    state the inverse itself.

    A layer adds up a node's neighbors by pi = (W_r e_t)' tanh(W_r e_h + e_r), softmax over the node's edges (eqs. 3 to
    5), and aggregates. `attend` makes pi of the vectors at hand, with no gradient through it; before that all edges of
    a node weigh the same. What a layer reads is not normalised; outputs are, and stand side by side behind the nodes'
    own vectors (eq. 11).
    """

    def __init__(self, graph: Graph, config: Any, ends: Sequence[str]) -> None:
        """config: a KGEncoderConfig with `dim` and `init_std`. ends: the node types whose final vectors are wanted.

        Raises KgrecError for a graph without edge types, and for one with facts none of which is about an item."""
        super().__init__()
        _must_reach_items(graph)
        self.config, both = config, graph.both_ways()
        self.width = config.dim + sum(config.layers)  #: numbers of a final vector
        self.node = NodeEmbedding(graph, None, config.dim, config.init_std)
        self.transr = TransR(len(both.edge_types), config.dim, config.relation_dim)
        self.aggregators = nn.ModuleList(
            Aggregator(config.aggregator, dim, out, config.message_dropout)
            for dim, out in itertools.pairwise((config.dim, *config.layers))
        )
        csr = both.csr
        degree, tail = csr.degree(), csr.other.long()
        self.head: Tensor  #: LongTensor [E of both ways], row by row of the adjacency
        self.relation: Tensor  #: LongTensor [E of both ways]
        self.ends: Tensor  #: LongTensor [nodes of the ends], flat
        self.at_ends: Tensor  #: LongTensor [edges of the ends], where they stand in the adjacency
        wanted = torch.cat([graph.nodes(node_type) for node_type in ends])
        ptr = functional.pad(degree[wanted].cumsum(0), (1, 0))
        shift = (csr.ptr[wanted] - ptr[:-1]).repeat_interleave(degree[wanted])
        self.register_buffer("ends", wanted, persistent=False)
        self.register_buffer("at_ends", torch.arange(len(shift), device=shift.device) + shift, persistent=False)
        head = torch.arange(len(degree), device=degree.device).repeat_interleave(degree)
        self.register_buffer("head", head, persistent=False)
        self.register_buffer("relation", both.relation[csr.edge], persistent=False)
        alike = 1.0 / degree.clamp(min=1)[head]
        self.adjacency = Adjacency(csr.ptr, tail, alike, len(degree))
        self.last_adjacency = Adjacency(ptr, tail[self.at_ends], alike[self.at_ends], len(degree))  # of what is wanted

    def forward(self) -> Tensor:
        """Final vectors of the ends, type after type: [nodes of the ends, width]."""
        vector = self.node.table()
        outputs = [vector[self.ends]]
        for number, aggregator in enumerate(self.aggregators, 1):
            if number < len(self.aggregators):
                vector = aggregator(vector, self.adjacency(vector))
                output = vector[self.ends]
            else:
                output = aggregator(vector[self.ends], self.last_adjacency(vector))
            outputs.append(functional.normalize(output, dim=-1))
        return torch.cat(outputs, -1)

    @torch.no_grad()
    def attend(self) -> None:
        """Make pi of the vectors at hand."""
        vector = self.node.table()
        energy = self.transr.attention(vector[self.head], self.relation, vector[self.adjacency.column.long()])
        attention = softmax_in_rows(energy, self.adjacency.ptr.long())
        self.adjacency.set_values(attention)
        self.last_adjacency.set_values(attention[self.at_ends])

    def objective(self, graph: Graph) -> Objective:
        """-log sigmoid(g(h, r, t') - g(h, r, t)) over all edges both ways (eq. 2), with t' of t's type and no fact."""
        both = graph.both_ways()
        facts = Loader(Edges(both), Negatives(both, reject=both), batch_size=self.config.facts_batch_size)
        parameters = [*self.node.parameters(), *self.transr.parameters()]
        return Objective("transr", facts, self.facts_loss, parameters, lr=self.config.facts_lr)

    def facts_loss(self, batch: Batch) -> Tensor:
        """TransR's loss of edges and what was drawn beside their tails."""
        assert batch.relation is not None
        assert batch.negative is not None
        ends = self.node(torch.cat([batch.head.unsqueeze(1), batch.tail.unsqueeze(1), batch.negative], 1))
        energy = self.transr.energies(ends[:, 0], batch.relation, ends[:, 1:])
        relation = self.transr.relation.square().sum(1).index_select(0, batch.relation)
        squares = (ends.square().sum() + relation.sum()) / len(batch)
        return losses.bpr(-energy[:, 0], -energy[:, 1:]) + self.config.facts_l2 * squares


def _must_reach_items(graph: Graph) -> None:
    if not graph.edge_types:
        raise KgrecError("this graph has no facts to encode; add attributes or a knowledge graph to the recipe")
    facts, items = graph.facts(), graph.range(graph.target[2])
    about = ((end >= items.start) & (end < items.stop) for end in (facts.head, facts.tail))
    if facts.num_edges and not any(bool(ends.any()) for ends in about):
        ends = torch.cat([facts.head, facts.tail]).unique()[:3].tolist()
        seen = [
            graph.vocabulary[name].ids([node - nodes.start])[0]
            for node in ends
            for name, nodes in graph.ranges.items()
            if node in nodes
        ]
        known = graph.vocabulary[graph.target[2]].ids(range(3))
        raise KgrecError(
            f"none of the {facts.num_edges:,} facts is about an item: they are about such as {some(seen)}, and items "
            f"are such as {some(known)}; link items to entities in the recipe (`links:`)"
        )


def softmax_in_rows(energy: Tensor, ptr: Tensor) -> Tensor:
    """The softmax of energies [E] over each row of a CSR; ptr: LongTensor [N + 1].

    >>> softmax_in_rows(torch.tensor([0.0, 0.0, 5.0]), torch.tensor([0, 2, 2, 3])).tolist()
    [0.5, 0.5, 1.0]
    """
    row = torch.arange(len(ptr) - 1, device=energy.device).repeat_interleave(ptr.diff())
    highest = energy.new_full((len(ptr) - 1,), -torch.inf).scatter_reduce(0, row, energy, "amax")
    share = (energy - highest[row]).exp()
    return share / share.new_zeros(len(ptr) - 1).index_add(0, row, share)[row]
