"""All edges read forwards and backwards, numbered as in `graph.both_ways()`, without copying them."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from kgrec._deprecation import renamed
from kgrec.graph import Graph
from kgrec.graph.schema import EdgeType


class Directions:
    """Gives the edges of `graph.both_ways()` by their positions there, read from the graph's own tensors.

    Position p < E is edge p of the graph. Position E + p is the p-th edge of `outward`, read backwards. `outward` is
    the graph itself, or, if the graph has inverses of some relations, the graph of its other relations. A value for
    each edge, such as attention, is a tensor [num_edges]. both=False: forwards only. Raises KgrecError where
    `both_ways` does.

    >>> import pandas as pd
    >>> rated = pd.DataFrame({"source": ["ann", "bob"], "target": ["Alien", "Brazil"]})
    >>> both = Directions(Graph.from_frames(edges={("user", "rated", "film"): rated}))
    >>> both.num_edges, both.relation(torch.tensor([1, 2])).tolist()
    (4, [0, 1])
    >>> both.ends(torch.tensor([1, 2]))
    (tensor([1, 2]), tensor([3, 0]))
    """

    def __init__(self, graph: Graph, both: bool = True) -> None:
        self.graph = graph
        self.outward = graph.single() if both else None  #: the edges that are read backwards
        self.edge_types: list[EdgeType] = list(graph.two_way_edges() if both else graph.schema.edges)
        self.relation_ptr = graph.relation_ptr  #: as in `graph.both_ways()`
        if self.outward is not None:
            self.relation_ptr += tuple(graph.num_edges + stop for stop in self.outward.relation_ptr[1:])

    @property
    def num_relations(self) -> int:
        """Number of edge types; reading one backwards counts as another type."""
        return len(self.edge_types)

    @property
    def num_edges(self) -> int:
        """Number of edges; reading one backwards counts as another edge."""
        return self.relation_ptr[-1]

    def relation(self, position: Tensor) -> Tensor:
        """Number of the edge type at each position, LongTensor like `position`."""
        if self.num_relations == 1:
            return torch.zeros_like(position)
        return torch.searchsorted(self.ptr, position.contiguous(), right=True) - 1

    def ends(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Flat source and flat target of the edge at each position. For an edge that is read backwards they are
        swapped."""
        source, target = self.graph.edge_index[:, self.edge(position)]
        if self.num_edges > self.graph.num_edges:
            forwards = position < self.graph.num_edges
            source, target = torch.where(forwards, source, target), torch.where(forwards, target, source)
        start = self._starts[:, self.relation(position)]
        return source + start[0], target + start[1]

    def edge(self, position: Tensor) -> Tensor:
        """Position in `graph` of the edge that is read at each position, forwards or backwards."""
        if self.outward is None or not self.outward.num_edges:
            return position
        if self.outward is self.graph:
            return torch.where(position < self.graph.num_edges, position, position - self.graph.num_edges)
        return position - self._shift[self.relation(position)]

    @cached_property
    def ptr(self) -> Tensor:
        """`relation_ptr` as LongTensor [num_relations + 1]."""
        return torch.tensor(self.relation_ptr, device=self.graph.device)

    @cached_property
    def _starts(self) -> Tensor:
        """The first flat number of each relation's sources and targets: LongTensor [2, num_relations]."""
        starts = [[self.graph.range(edge[end]).start for edge in self.edge_types] for end in (0, 2)]
        return torch.tensor(starts, device=self.graph.device)

    @cached_property
    def _shift(self) -> Tensor:
        """By relation, the difference between a position and that of the edge it reads: LongTensor [num_relations]."""
        assert self.outward is not None
        number = {edge: n for n, edge in enumerate(self.graph.edge_types)}
        read = [*self.graph.edge_types, *self.outward.edge_types]
        starts = [self.graph.relation_ptr[number[edge]] for edge in read]
        return self.ptr[:-1] - torch.tensor(starts, device=self.graph.device)


__getattr__ = renamed(__name__, {"Ways": "Directions"})
