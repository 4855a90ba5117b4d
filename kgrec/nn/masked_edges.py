"""What a model scores where edges of its graph are masked and its weights stay: what explanations are held to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.nn.aggregator import Aggregator
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.masked_propagation import Entries, MaskedPropagation, grouped
from kgrec.nn.propagation import symmetric
from kgrec.nn.ranking_loss import product

AT_ONCE = 1 << 19  #: edges whose attention is computed at once


@dataclass(frozen=True, eq=False)
class Masks:
    """Sets of edges, each of which is masked alone: set p is edge[ptr[p] : ptr[p + 1]]."""

    ptr: Tensor  #: LongTensor [P + 1]
    edge: Tensor  #: LongTensor [n], positions in the graph

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @cached_property
    def row(self) -> Tensor:
        """The set of each edge: LongTensor [n]."""
        return torch.arange(len(self), device=self.ptr.device).repeat_interleave(self.ptr.diff())

    @staticmethod
    def none(device: torch.device | None = None) -> Masks:
        """One set, which is empty."""
        return Masks(torch.zeros(2, dtype=torch.long, device=device), torch.empty(0, dtype=torch.long, device=device))


class EdgeMasking(ABC):
    """A model's scores of one user, with sets of edges masked: each as if the graph had never had these edges, with the
    weights as they are. Nothing is trained."""

    graph: Graph  #: all edges of which masks are made
    reads: tuple[bool, ...]  #: of which relations the scores read edges, by their numbers
    by: str  #: what `shares` are: "attention" or "weight of propagation"
    hops: int  #: how many edges away a node's vector is read at most
    propagates_interactions: bool  #: whether edges between users and items are propagated along, too

    @abstractmethod
    def shares(self, edge: Tensor) -> tuple[Tensor, Tensor]:
        """How much of what an edge's target receives comes along it from the source, and the other way round:
        FloatTensors like `edge`, from 0 to 1. edge: LongTensor [n]; 1 for an edge that no propagation goes along."""

    @abstractmethod
    def scores(self, query: Query, masks: Masks, items: Tensor) -> Tensor:
        """The scores of one user's items under each mask: FloatTensor [P, C]. query: of one user; items: LongTensor
        [C], flat."""

    @abstractmethod
    def slopes(self, query: Query, item: int) -> Callable[[Tensor], Tensor]:
        """By how much the item's score falls without each edge, to first order (attention times gradient): a function
        from edges, LongTensor [n], to FloatTensors [n]. query: of one user; item: flat."""

    def steps_shares(self, query: Query) -> Tensor | None:
        """The share of each step of the user's history in the scores, FloatTensor [L]; None: the model has none."""
        return None


@runtime_checkable
class MasksEdges(Protocol):
    """A model whose scores come along the edges of a graph, so that edges can be masked."""

    def edge_masking(self, graph: Graph) -> EdgeMasking | None:
        """What masks its edges; None: with these settings there are none. graph: the run's whole graph."""
        ...


def masking_of(model: Any, graph: Graph) -> EdgeMasking | None:
    """What masks a model's edges; None for a model whose scores come along none."""
    return model.edge_masking(graph) if isinstance(model, MasksEdges) else None


# ---------------------------------------------------------------------- propagation over a graph


@dataclass(frozen=True, eq=False)
class GraphEntries:
    """Along which entries of a propagation each edge of a graph goes."""

    into_tail: Tensor  #: LongTensor [E], the entry from the source to the target; -1: none
    into_head: Tensor  #: LongTensor [E], the entry from the target to the source; -1: none

    def masked(self, masks: Masks) -> tuple[Tensor, Tensor]:
        """The masked entries: LongTensors [m], the mask of each, and the entry."""
        mask = torch.cat([masks.row, masks.row])
        entry = torch.cat([self.into_tail[masks.edge], self.into_head[masks.edge]])
        return mask[entry >= 0], entry[entry >= 0]

    def shares(self, propagation: MaskedPropagation, edge: Tensor) -> tuple[Tensor, Tensor]:
        """As `EdgeMasking.shares` has them."""
        found = []
        for entry in (self.into_tail[edge], self.into_head[edge]):
            share = propagation.shares(entry.clamp(min=0))
            found.append(torch.where(entry >= 0, share, 1.0))
        return found[0], found[1]

    def falls(self, of_entries: Callable[[Tensor], Tensor], edge: Tensor) -> Tensor:
        """The falls without edges, LongTensor [n], from those without entries."""
        found = torch.zeros(len(edge), device=edge.device)
        for entry in (self.into_tail[edge], self.into_head[edge]):
            found = found + torch.where(entry >= 0, of_entries(entry.clamp(min=0)), 0.0)
        return found

    def within(self, edges: Graph, graph: Graph) -> GraphEntries:
        """The same by positions in a larger graph, of which `edges` is a view of some relations."""
        if edges.num_edges == graph.num_edges:
            return self
        place, start = torch.full((graph.num_edges,), -1, dtype=torch.long, device=graph.device), 0
        for number, edge in enumerate(graph.edge_types):
            if edge in edges.edge_types:
                first, stop = graph.relation_ptr[number], graph.relation_ptr[number + 1]
                place[first:stop] = torch.arange(start, start + stop - first, device=graph.device)
                start += stop - first
        found = (torch.where(place >= 0, one[place.clamp(min=0)], -1) for one in (self.into_tail, self.into_head))
        return GraphEntries(*found) if edges.num_edges else GraphEntries(place, place)


def attended(
    encoder: Any, graph: Graph, join: Callable[[Tensor], Tensor] | None = None
) -> tuple[MaskedPropagation, GraphEntries]:
    """The layers of a KGEncoder over a graph, with the attention of its weights. graph: with the relations that the
    encoder was built of; join: what is made of its final vectors."""
    both, number = graph.both_ways(), graph.num_edges
    ptr, order = grouped(both.tail, graph.num_nodes)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=graph.device)
    back = torch.full((number,), -1, dtype=torch.long, device=graph.device)
    single, start = {edge: at for at, edge in enumerate(graph.single().edge_types)}, number
    for at, edge in enumerate(graph.edge_types):
        if edge in single:
            rows = slice(graph.relation_ptr[at], graph.relation_ptr[at + 1])
            size = rows.stop - rows.start
            back[rows] = place[start : start + size]
            start += size
    own = encoder.node.table()
    energy, degree = energies(encoder.transr, own, both)[order].double(), ptr.diff()
    highest = torch.segment_reduce(energy, "max", offsets=ptr, initial=-torch.inf)
    share = (energy - highest.repeat_interleave(degree)).exp()
    share /= torch.segment_reduce(share, "sum", offsets=ptr, initial=0.0).repeat_interleave(degree)
    entries = Entries(ptr, both.head[order], share.float())
    layers = [_few_or_many(aggregator) for aggregator in encoder.aggregators]

    def final(parts: Sequence[Tensor]) -> Tensor:
        return _all_layers(parts) if join is None else join(_all_layers(parts))

    return MaskedPropagation(entries, own, layers, final), GraphEntries(place[:number], back)


def energies(transr: Any, own: Tensor, both: Graph) -> Tensor:
    """pi of each edge before the softmax (Wang et al. 2019, eq. 4): FloatTensor [E]. Nodes are projected once for each
    relation, not once for each edge. own: FloatTensor [N, D]."""
    found = torch.empty(both.num_edges, device=own.device)
    for relation, (source, _, target) in enumerate(both.edge_types):
        from_nodes, to_nodes = both.range(source), both.range(target)
        weight = transr.projection[relation]
        tail = own[from_nodes.start : from_nodes.stop] @ weight
        head = torch.tanh(own[to_nodes.start : to_nodes.stop] @ weight + transr.relation[relation])
        ends = both.edge_index[:, both.relation_ptr[relation] : both.relation_ptr[relation + 1]]
        found[both.relation_ptr[relation] : both.relation_ptr[relation + 1]] = dots(tail, head, *ends)
    return found


def dots(one: Tensor, other: Tensor, of_one: Tensor, of_other: Tensor) -> Tensor:
    """The dot product of a row of each of two tables for n pairs of rows: FloatTensor [n].

    >>> dots(torch.eye(2), torch.tensor([[3.0, 4.0]]), torch.tensor([1, 0]), torch.tensor([0, 0])).tolist()
    [4.0, 3.0]
    """
    if one.device.type == "cpu":
        from kgrec.nn import vector_kernels  # numba takes its time to come

        found = torch.empty(len(of_one))
        tables = (table.detach().contiguous().numpy() for table in (one, other, of_one, of_other, found))
        vector_kernels.dots(*tables)
        return found
    return torch.cat([(one[a] * other[b]).sum(-1) for a, b in zip(of_one.split(AT_ONCE), of_other.split(AT_ONCE))])


def _few_or_many(aggregator: Any) -> Any:
    assert isinstance(aggregator, Aggregator)

    def layer(own: Tensor, neighbors: Tensor) -> Tensor:
        return aggregator.by_autograd(own, neighbors)

    return layer


def _all_layers(parts: Sequence[Tensor]) -> Tensor:
    """A node's own vector and the output of each layer, normalised (Wang et al. 2019, eq. 11)."""
    return torch.cat([parts[0], *(functional.normalize(part, dim=-1) for part in parts[1:])], -1)


def averaged(own: Tensor, known: Graph, layers: int, *, with_own: bool) -> tuple[MaskedPropagation, GraphEntries]:
    """The layers of D^-1/2 A D^-1/2 over users and items, whose mean is the final vector. own: FloatTensor [U + I, D],
    users before items; known: the target edges; with_own: whether the own vectors count in the mean."""
    adjacency = symmetric(known)
    entries = Entries(adjacency.ptr.long(), adjacency.column.long(), torch.ones_like(adjacency.value))
    users = len(known.range(known.target[0]))
    user, item = known.edge_index[0], known.edge_index[1] + users
    key = entries.row(torch.arange(len(entries.value), device=own.device)) * entries.num_nodes + entries.column

    def at(row: Tensor, column: Tensor) -> Tensor:
        return torch.searchsorted(key, row * entries.num_nodes + column)

    def mean(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts if with_own else parts[1:])).mean(0)

    propagation = MaskedPropagation(entries, own, [_neighbors] * layers, mean, "both")
    return propagation, GraphEntries(at(item, user), at(user, item))


def _neighbors(own: Tensor, neighbors: Tensor) -> Tensor:
    return neighbors


# ---------------------------------------------------------------------- scores


class MaskedVectors(EdgeMasking):
    """Scores that are products of a user's and an item's final vectors, both of one propagation."""

    def __init__(
        self,
        model: Any,
        graph: Graph,
        edges: Graph,
        propagation: MaskedPropagation,
        along: GraphEntries,
        *,
        by: str,
        first: tuple[int, int] = (0, 0),
    ) -> None:
        """edges: the relations of `graph` that are propagated along, of which `along` speaks; first: what is added to a
        flat user, and to a flat item, for its number in the propagation."""
        self.model, self.graph, self.propagation, self.by, self.first = model, graph, propagation, by, first
        self.along, self.hops, self.propagates_interactions = along.within(edges, graph), len(propagation.layers), True
        self.reads = tuple(edge in edges.edge_types for edge in graph.edge_types)
        self.items = graph.range(graph.target[2])
        nodes = torch.arange(self.items.start, self.items.stop, device=graph.device) + first[1]
        self.item_vector = functional.pad(propagation.vectors(nodes), (0, 0, 0, 1))  #: FloatTensor [I + 1, D]

    def shares(self, edge: Tensor) -> tuple[Tensor, Tensor]:
        return self.along.shares(self.propagation, edge)

    def scores(self, query: Query, masks: Masks, items: Tensor) -> Tensor:
        user, item, number = query.user[:1] + self.first[0], items + self.first[1], self.propagation.num_nodes
        changed = self.propagation.masked(*self.along.masked(masks), torch.cat([user, item]))
        row = changed.row(torch.arange(len(masks), device=items.device), user.expand(len(masks)), number)
        vector = self.propagation.vectors(user).repeat(len(masks), 1)
        vector[row >= 0] = changed.vector[row[row >= 0]]
        config = self.model.config
        found = product(config, vector, Vectors(self.items.start, self.item_vector), items, serves=True)
        place = torch.full((number,), -1, device=items.device)
        place[item] = torch.arange(len(items), device=items.device)
        own = (place[changed.node] >= 0).nonzero().squeeze(1)
        mask, table = changed.mask[own], functional.pad(changed.vector[own], (0, 0, 0, 1))
        alone = torch.arange(len(own), device=items.device).unsqueeze(1)
        score = product(config, vector[mask], Vectors(0, table), alone, serves=True)
        found[mask, place[changed.node[own]]] = score.squeeze(1)
        scores: Tensor = found + self.model.mean
        return scores

    def slopes(self, query: Query, item: int) -> Callable[[Tensor], Tensor]:
        ends = torch.tensor([int(query.user[0]) + self.first[0], item + self.first[1]], device=query.user.device)

        def score(vector: Tensor) -> Tensor:
            table = Vectors(0, functional.pad(vector[1:], (0, 0, 0, 1)))
            one = torch.zeros(1, dtype=torch.long, device=vector.device)
            return product(self.model.config, vector[:1], table, one, serves=True).sum()

        of_entries = self.propagation.slopes(ends, score)
        return lambda edge: self.along.falls(of_entries, edge)
