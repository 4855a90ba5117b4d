"""KGAT's encoder: vectors of nodes from the graph around them, by attention along edges that TransR is trained on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kgrec.errors import KgrecError, some
from kgrec.graph import CSR, Graph
from kgrec.graph.mapped_files import blocks
from kgrec.memory import must_fit
from kgrec.model import Objective
from kgrec.nn.aggregator import Aggregator, AggregatorName
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.look_up_steps import LookUpSteps
from kgrec.nn.propagation import Adjacency, csr_matrix, row_sums
from kgrec.nn.relation_space import TransR
from kgrec.nn.sharded_propagation import attend_in_parts
from kgrec.optimizers import SparseAndDense, fused_adam
from kgrec.rows import RelationRows
from kgrec.samplers import Batch, Directions, Edges, Loader, Negatives, Neighborhood
from kgrec.search_ranges import Between
from kgrec.settings import settings

AT_ONCE = 1 << 20  #: edges whose attention is computed at once
WHOLE = 160  #: bytes for each edge in each direction, where vectors are computed for the whole graph at once
ROWS = 1 << 17  #: nodes of a large graph that are aggregated at once


@settings
class KGEncoderConfig:
    """Settings of KGAT's encoder and of TransR, its objective over facts."""

    #: output width of each propagation layer; one layer more reaches neighbors one hop further away
    layer_dims: tuple[PositiveInt, ...] = (64, 32, 16)
    #: how a layer joins a node's vector and the sum of its neighbors' vectors
    aggregator: AggregatorName = "bi-interaction"
    #: share of a layer's output that training sets to 0; raise it against overfitting
    message_dropout: Annotated[float, Field(ge=0, lt=1), Between(0.0, 0.6)] = 0.1
    #: width of the space of each relation, in which TransR compares the two ends of a fact; a wider one can express
    #: more, and costs memory and time
    relation_dim: PositiveInt = 64
    facts_batch_size: PositiveInt = 2048  #: facts in a training batch; larger batches are faster and need more memory
    #: learning rate of TransR, the loss of facts; lower it where that loss jumps
    facts_lr: Annotated[PositiveFloat, Between(1e-4, 1e-2, log=True)] = 1e-3
    #: weight of L2 regularisation of a fact's vectors: both ends and the relation; raise it against overfitting
    facts_l2: NonNegativeFloat = 1e-5

    FORMER: ClassVar = {"layers": "layer_dims"}


class KGEncoder(nn.Module):
    """The layers of KGAT (Wang et al. 2019) over all edges of a graph. Each edge is also read backwards, unless the
    graph has the inverse relation itself.

    A layer sums the vectors of a node's neighbors, weighted by attention: the softmax over the node's edges of
    pi = (W_r e_t)' tanh(W_r e_h + e_r) (eqs. 3 to 5). Here h is the node, and t is the neighbor that the edge comes
    from. Then an aggregator combines the sum with the node's vector. `attend` computes pi from the current vectors,
    without a gradient; before the first `attend` all edges of a node have the same weight. The input of a layer is not
    normalised. Its output is, and the final vector is the node's own vector and all outputs, concatenated (eq. 11).

    sampled: vectors are computed in sampled neighborhoods (`around`), and backward edges are never stored, so that the
    cost of a batch does not depend on the size of the graph. Otherwise they are computed for the whole graph at once.
    """

    def __init__(
        self,
        graph: Graph,
        config: Any,
        ends: Sequence[str],
        *,
        known: Graph | None = None,
        sampled: bool = False,
        sparse: bool = False,
    ) -> None:
        """config: a KGEncoderConfig with `dim`, `init_std` and features. ends: the node types whose final vectors are
        needed. known: all edges that training sees, if these are more than those of `graph`. sparse: see NodeEmbedding.

        Raises KgrecError for a graph without edge types, and for one whose facts are not about any item."""
        super().__init__()
        _must_reach_items(graph)
        self.config, self.sampled = config, sampled
        self.has_attended = False  #: whether `attend` has run in this process
        self.width = config.dim + sum(config.layer_dims)  #: length of a final vector
        self.directions = Directions(graph)
        self.node = NodeEmbedding(known or graph, None, config.dim, config.init_std, config, sparse=sparse)
        self.transr = TransR(RelationRows(self.directions.edge_types), config.dim, config.relation_dim)
        self.aggregators = nn.ModuleList(
            Aggregator(config.aggregator, dim, out, config.message_dropout)
            for dim, out in itertools.pairwise((config.dim, *config.layer_dims))
        )
        self.ends: Tensor  #: LongTensor [nodes of the types in `ends`], flat
        self.register_buffer("ends", torch.cat([graph.nodes(node_type) for node_type in ends]), persistent=False)
        self.energy: Tensor  #: FloatTensor [edges in both directions], pi before the softmax; zeros before `attend`
        self.register_buffer("energy", graph.room(self.directions.num_edges, torch.float32), persistent=False)
        if not sampled:
            self._index(graph)

    def _index(self, graph: Graph) -> None:
        """Builds the matrices for propagation over the whole graph; their rows are the nodes that edges lead to."""
        must_fit(
            WHOLE * self.directions.num_edges,
            f"propagation over the whole graph, with {graph.num_edges:,} edges in both directions,",
            "sample neighborhoods instead, with one number of neighbors for a layer, such as --set fanouts=[10,10,5]",
        )
        csr = graph.both_ways().csc
        degree, tail = csr.degree(), csr.other.long()
        self.edge: Tensor  #: LongTensor [edges in both directions], for each entry of the adjacency its edge
        self.at_ends: Tensor  #: LongTensor [edges into the ends], their positions in the adjacency
        ptr = functional.pad(degree[self.ends].cumsum(0), (1, 0))
        shift = (csr.ptr[self.ends] - ptr[:-1]).repeat_interleave(degree[self.ends])
        self.register_buffer("at_ends", torch.arange(len(shift), device=shift.device) + shift, persistent=False)
        self.register_buffer("edge", csr.edge, persistent=False)
        alike = softmax_in_rows(self.energy, csr.ptr)
        self.adjacency = Adjacency(csr.ptr, tail, alike, len(degree))
        self.last_adjacency = Adjacency(
            ptr, tail[self.at_ends], alike[self.at_ends], len(degree)
        )  # the rows of the ends only

    def forward(self) -> Tensor:
        """Final vectors of the nodes of the ends, type after type, from the whole graph: [nodes of the ends, width]."""
        return torch.cat(list(self.outputs()), -1)

    def outputs(self) -> Iterator[Tensor]:
        """The own vectors of the ends, then the output of each layer for them: [nodes of the ends, its width] each."""
        vector, last = self.node.table(), len(self.aggregators) - 1
        if self.sampled or last < 0:
            yield vector[self.ends]
        sides = self.shares() if self.sampled else []
        for number, aggregator in enumerate(self.aggregators):
            assert isinstance(aggregator, Aggregator)
            if self.sampled:
                vector = self._aggregated(aggregator, vector, sides)
                yield functional.normalize(vector[self.ends], dim=-1)
                continue
            matrix = self.adjacency if number < last else self.last_adjacency
            vector, sums, of_ends = matrix.with_rows(vector, self.ends)
            yield functional.normalize(of_ends, dim=-1) if number else of_ends
            vector = aggregator(vector if number < last else of_ends, sums)
            if number == last:
                yield functional.normalize(vector, dim=-1)

    @torch.no_grad()
    def _aggregated(self, aggregator: Aggregator, vector: Tensor, sides: list[tuple[CSR, Tensor]]) -> Tensor:
        """A layer's output for all nodes, from [N, D] to [N, K], some rows at a time and without a gradient."""
        graph, size = self.directions.graph, len(vector) * aggregator.width
        found = graph.room(size, torch.float32).view(len(vector), aggregator.width)
        for first in range(0, len(vector), ROWS):
            own = vector[first : first + ROWS]
            neighbors = torch.zeros_like(own)
            for csr, share in sides:
                ptr = csr.ptr[first : first + len(own) + 1]
                edges, shape = slice(ptr[0], ptr[-1]), (len(own), len(vector))
                neighbors += csr_matrix((ptr - ptr[0]).int(), csr.other[edges], share[edges], shape) @ vector
            found[first : first + ROWS] = aggregator(own, neighbors)
        return found

    def around(self, neighborhood: Neighborhood) -> Tensor:
        """Final vectors of a neighborhood's seeds: [seeds, width]. They use the attention of the last `attend`,
        normalised over the sampled edges. The neighborhood must have as many hops as there are layers."""
        vector, seeds = self.node(neighborhood.node), neighborhood.hops[0]
        outputs = [vector[:seeds]]
        attention = softmax_in_rows(self.energy[neighborhood.edge], neighborhood.ptr)
        for number, aggregator in enumerate(self.aggregators):
            part = neighborhood.trim(len(self.aggregators) - number)
            targets = len(part.ptr) - 1
            neighbors = row_sums(part.ptr, part.source, attention[: part.edges[-1]], vector)
            vector = aggregator(vector[:targets], neighbors)
            outputs.append(functional.normalize(vector[:seeds], dim=-1))
        return torch.cat(outputs, -1)

    @torch.no_grad()
    def layers(self) -> list[Tensor]:
        """The vectors of all nodes that each layer reads, by the whole graph: [N, its width] each."""
        found = [self.node.table()]
        sides = self.shares() if self.sampled else []
        for aggregator in list(self.aggregators)[:-1]:
            assert isinstance(aggregator, Aggregator)
            vector = found[-1]
            found.append(
                self._aggregated(aggregator, vector, sides)
                if self.sampled
                else aggregator(vector, self.adjacency(vector))
            )
        return found

    def of_new(self, own: Tensor, ptr: Tensor, neighbor: Tensor, relation: int, layers: Sequence[Tensor]) -> Tensor:
        """The final vectors of nodes that the graph does not have and no other node sees, [n, width], of their own
        vectors [n, D] and the edges of one relation to them. ptr: LongTensor [n + 1]; neighbor: LongTensor [E], flat,
        from which they come; layers: as `layers` has them. There is no gradient through attention."""
        row = torch.arange(len(own), device=ptr.device).repeat_interleave(ptr.diff())
        with torch.no_grad():
            energy = self.transr.attention(own[row], relation, layers[0][neighbor])
            attention = softmax_in_rows(energy, ptr)
        vector, outputs = own, [own]
        for aggregator, layer in zip(self.aggregators, layers):
            assert isinstance(aggregator, Aggregator)
            vector = aggregator.by_autograd(vector, row_sums(ptr, neighbor, attention, layer))
            outputs.append(functional.normalize(vector, dim=-1))
        return torch.cat(outputs, -1)

    def begin(self, epoch: int) -> None:
        """Recompute the attention of the last epoch, if training was resumed in a new process."""
        if epoch > 1 and not self.has_attended:
            self.attend()

    @torch.no_grad()
    def attend(self) -> None:
        """Compute pi and the attention from the current vectors."""
        self.has_attended = True
        if self.node.rows is not None:
            attend_in_parts(self)
            return
        vector = self.node.table()
        for relation, (first, stop) in enumerate(itertools.pairwise(self.directions.relation_ptr)):
            for start in range(first, stop, AT_ONCE):
                position = torch.arange(start, min(start + AT_ONCE, stop), device=vector.device)
                tail, head = (vector.index_select(0, end) for end in self.directions.ends(position))
                self.energy[position[0] : position[-1] + 1] = self.transr.attention(head, relation, tail)
        if not self.sampled:
            attention = softmax_in_rows(self.energy[self.edge], self.adjacency.ptr.long())
            self.adjacency.set_values(attention)
            self.last_adjacency.set_values(attention[self.at_ends])

    def shares(self) -> list[tuple[CSR, Tensor]]:
        """The attention of all edges, first those that are read forwards, then those that are read backwards: for each
        of the two, a CSR and a FloatTensor in its order."""
        graph, outward = self.directions.graph, self.directions.outward
        sides = [(graph.csc, 0)]
        if outward is not None and outward.num_edges:
            sides.append((outward.csr, graph.num_edges))
        found = [(csr, graph.room(len(csr.edge), torch.float32)) for csr, _ in sides]
        for nodes in blocks(graph.num_nodes, ROWS):
            self._fill_shares(nodes, sides, [share for _, share in found])
        return found

    def _fill_shares(self, nodes: slice, sides: list[tuple[CSR, int]], found: list[Tensor]) -> None:
        """Compute the attention of the edges of some nodes. sides: CSRs, and how far the positions of their edges are
        shifted; found: the results, in the order of the CSRs."""
        rows = [csr.ptr[nodes.start : nodes.stop + 1] for csr, _ in sides]
        edges = [slice(int(ptr[0]), int(ptr[-1])) for ptr in rows]
        energies = [self.energy[csr.edge[part] + shift] for (csr, shift), part in zip(sides, edges)]
        rows = [ptr - ptr[0] for ptr in rows]
        highest = torch.stack([_reduced(*row, "max", -torch.inf) for row in zip(rows, energies)]).amax(0)
        for ptr, energy in zip(rows, energies):
            energy.sub_(highest.repeat_interleave(ptr.diff())).exp_()
        total = torch.stack([_reduced(*row, "sum", 0.0) for row in zip(rows, energies)]).sum(0)
        for ptr, share, part, into in zip(rows, energies, edges, found):
            into[part] = share.div_(total.repeat_interleave(ptr.diff()))

    def objective(self, graph: Graph) -> Objective:
        """TransR's objective: -log sigmoid(g(h, r, t') - g(h, r, t)) over all edges in both directions (eq. 2). The
        negative t' has t's type. Known facts are not drawn, except with `sampled`: in large graphs they are rare."""
        batch_size = self.config.facts_batch_size
        if self.sampled:
            types = replace(graph.schema, edges=graph.two_way_edges())
            drawn = Negatives(replace(Graph.empty(types).to(graph.device), withheld=graph.withheld))
            facts = Loader(Edges(graph, both_ways=True), _Turned(), drawn, batch_size=batch_size)
        else:
            turned = graph.both_ways().reversed()
            drawn = Negatives(turned, reject=turned)
            facts = Loader(Edges(turned), drawn, batch_size=batch_size)
        parameters = [*self.node.parameters(), *self.transr.parameters()]
        return Objective(
            "transr",
            facts,
            self.facts_loss,
            parameters,
            optimizer=self.optimizer,
            lr=self.config.facts_lr,
            penalty=self.facts_penalty if self.config.facts_l2 else None,
            steps=LookUpSteps(self.facts_loss, [self.node], 3 * batch_size) if LookUpSteps.fit(self.node) else None,
        )

    def optimizer(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer | SparseAndDense:
        """Adam; for sparse gradients of the nodes' vectors, SparseAdam for these and Adam for the rest. Training with
        sharded vectors makes SparseAdam of it by itself."""
        if self.node.sparse and self.node.rows is None:
            return SparseAndDense(parameters, lr, self.node.weight)
        return fused_adam(parameters, lr)

    def facts_loss(self, batch: Batch) -> Tensor:
        """TransR's loss of edges and their negative tails."""
        assert batch.relation is not None
        return self.transr.loss(self._ends(batch), batch.relation, self.config.facts_l2)

    def facts_penalty(self, batch: Batch) -> Tensor:
        """The part of `facts_loss` that is regularisation."""
        assert batch.relation is not None
        return self.transr.penalty(self._ends(batch), batch.relation, self.config.facts_l2)

    def _ends(self, batch: Batch) -> Tensor:
        """Vectors of the facts' heads, tails and negative tails: [B, 2 + K, D]."""
        assert batch.negative is not None
        return self.node(torch.cat([batch.head.unsqueeze(1), batch.tail.unsqueeze(1), batch.negative], 1))


def _reduced(ptr: Tensor, value: Tensor, how: str, initial: float) -> Tensor:
    """Reduces the edge values of each row of a CSR to one number (`how`: max or sum): FloatTensor [N]. ptr: LongTensor
    [N + 1]."""
    return torch.segment_reduce(value, how, offsets=ptr, initial=initial)


class _Turned:
    """Stage: swaps head and tail, because an edge leads from the neighbor (TransR's tail) to the node (its head)."""

    by_example = True

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return replace(batch, head=batch.tail, tail=batch.head)


def _must_reach_items(graph: Graph) -> None:
    if not graph.edge_types:
        raise KgrecError("this graph has no facts to learn from; add attributes or a knowledge graph to the recipe")
    facts, items = graph.facts(), graph.range(graph.target[2])
    about = (
        (end >= items.start) & (end < items.stop)
        for rows in blocks(facts.num_edges)
        for end in facts.index.ends_of(rows)
    )
    if facts.num_edges and not any(bool(ends.any()) for ends in about):
        ends = ((facts.index.num_out > 0) | (facts.index.num_in > 0)).nonzero().squeeze(1)[:3].tolist()
        seen = [
            graph.vocabulary[name].ids([node - nodes.start])[0]
            for node in ends
            for name, nodes in graph.ranges.items()
            if node in nodes
        ]
        known = graph.vocabulary[graph.target[2]].ids(range(3))
        raise KgrecError(
            f"none of the {facts.num_edges:,} facts is about an item: facts are about nodes like {some(seen)}, items "
            f"are like {some(known)}; link items to entities in the recipe (`links:`)"
        )


def softmax_in_rows(energy: Tensor, ptr: Tensor) -> Tensor:
    """The softmax of energies [E] within each row of a CSR; ptr: LongTensor [N + 1].

    >>> softmax_in_rows(torch.tensor([0.0, 0.0, 5.0]), torch.tensor([0, 2, 2, 3])).tolist()
    [0.5, 0.5, 1.0]
    """
    row = torch.arange(len(ptr) - 1, device=energy.device).repeat_interleave(ptr.diff())
    highest = energy.new_full((len(ptr) - 1,), -torch.inf).scatter_reduce(0, row, energy, "amax")
    share = (energy - highest[row]).exp()
    return share / share.new_zeros(len(ptr) - 1).index_add(0, row, share)[row]
