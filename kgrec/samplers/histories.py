"""Histories of users, oldest step first. They are read from the graph's CSR and can be cut at a time or at an edge."""

from __future__ import annotations

import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import NO_TIME, Graph


class Histories:
    """The tails of every head in order of time; edges of equal time are in file order. They are the rows of
    `graph.csr`, not a copy.

    The graph is usually `graph.only(graph.target)`. Tensors are on the graph's device; there is no Python loop over
    rows.

    >>> import pandas as pd
    >>> rows = [("ann", "Brazil", 4), ("bob", "Alien", 5), ("ann", "Alien", 3)]
    >>> rated = pd.DataFrame(rows, columns=["source", "target", "time"])
    >>> histories = Histories(Graph.from_frames(edges={("user", "rated", "film"): rated}))
    >>> ann_and_bob = torch.tensor([0, 1])
    >>> histories.last(ann_and_bob).tolist()  # Brazil is node 2, Alien is 3, and 4 is no node
    [[3, 2], [4, 3]]
    >>> histories.last(ann_and_bob, before=torch.tensor([4, 9])).tolist()
    [[3], [3]]
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.csr = graph.csr

    def last(
        self,
        head: Tensor,
        length: int | None = None,
        before: Tensor | None = None,
        before_edge: Tensor | None = None,
    ) -> Tensor:
        """The last tails of each head, oldest first: LongTensor [B, L], flat, left-padded with graph.pad.

        head: LongTensor [B], flat; graph.pad has no history. length: L; None: the longest history of the batch. before:
        LongTensor [B], only edges strictly before this time (unix seconds). before_edge: LongTensor [B], positions in
        this graph; only edges before this edge: those of earlier time, and those of the same time that come earlier in
        the file. Raises KgrecError if both are set.
        """
        return self.tails(self.places(head, length, before, before_edge))

    def places(
        self,
        head: Tensor,
        length: int | None = None,
        before: Tensor | None = None,
        before_edge: Tensor | None = None,
    ) -> Tensor:
        """The steps that `last` returns, as positions in the CSR: LongTensor [B, L], -1 for padding. `tails`, `times`,
        `weights`, `relations` and `edges` read them. Raises KgrecError if both cuts are set."""
        start, stop = self._bounds(head, before, before_edge)
        if length is None:
            length = int((stop - start).max()) if len(head) else 0
        place = stop[:, None] + torch.arange(-length, 0, device=head.device)
        return place.masked_fill_(place < start[:, None], -1)

    def lengths(self, head: Tensor, before: Tensor | None = None, before_edge: Tensor | None = None) -> Tensor:
        """The number of steps of each history: LongTensor [B]. Raises KgrecError if both cuts are set."""
        start, stop = self._bounds(head, before, before_edge)
        return stop - start

    def tails(self, place: Tensor) -> Tensor:
        """Flat tails at these places: LongTensor [B, L], graph.pad for padding."""
        return _at(self.csr.other, place, self.graph.pad).long()

    def times(self, place: Tensor) -> Tensor:
        """Unix seconds of the edges at these places: LongTensor [B, L], NO_TIME for padding."""
        return _at(self.graph.time, self.edges(place), NO_TIME)

    def weights(self, place: Tensor) -> Tensor:
        """Weights of the edges at these places: FloatTensor [B, L], 0 for padding."""
        return _at(self.graph.weight, self.edges(place), 0)

    def relations(self, place: Tensor) -> Tensor:
        """Numbers of the edge types in `graph` at these places: LongTensor [B, L], -1 for padding."""
        return _at(self.graph.relation, self.edges(place), -1)

    def edges(self, place: Tensor) -> Tensor:
        """Positions in the graph of the edges at these places: LongTensor [B, L], -1 for padding."""
        return _at(self.csr.edge, place, -1)

    def flattened(self, head: Tensor) -> tuple[Tensor, Tensor]:
        """All tails without padding: the positions of their heads in `head`, LongTensor [n], ascending, and the flat
        tails, IntTensor [n]."""
        start, stop = self._bounds(head, None, None)
        length = stop - start
        row = torch.arange(len(head), device=head.device).repeat_interleave(length)
        shift = (start - (length.cumsum(0) - length)).repeat_interleave(length)
        return row, self.csr.other.index_select(0, shift + torch.arange(len(row), device=head.device))

    def _bounds(self, head: Tensor, before: Tensor | None, before_edge: Tensor | None) -> tuple[Tensor, Tensor]:
        start, stop = self.csr.ptr[head], self.csr.ptr[(head + 1).clamp(max=self.graph.num_nodes)]
        if before is not None and before_edge is not None:
            raise KgrecError("a history is cut either at a time or at an edge; set before or before_edge, not both")
        if before is not None:
            return start, self._first_from(start, stop, before, torch.full_like(before, -1))
        if before_edge is not None:
            return start, self._first_from(start, stop, self.graph.time[before_edge], before_edge)
        return start, stop

    def _first_from(self, start: Tensor, stop: Tensor, time: Tensor, edge: Tensor) -> Tensor:
        """The first place in each row whose (time, edge) is not before `time` and `edge`, by binary search in all
        rows."""
        steps = int((stop - start).max()).bit_length() if len(start) else 0
        for _ in range(steps):
            searching = start < stop
            middle = (start + stop) // 2
            at = self.csr.edge[middle.clamp(max=self.graph.num_edges - 1)]
            seen = self.graph.time[at]
            earlier = (seen < time) | ((seen == time) & (at < edge))
            start = torch.where(searching & earlier, middle + 1, start)
            stop = torch.where(searching & ~earlier, middle, stop)
        return start


def _at(values: Tensor, place: Tensor, otherwise: int) -> Tensor:
    """values [n] at each place [B, L]; `otherwise` where the place is -1."""
    if not len(values):
        return values.new_full(place.shape, otherwise)
    found = values.index_select(0, place.clamp(min=0).flatten())  # several times faster than values[place]
    return found.view(place.shape).masked_fill_(place < 0, otherwise)
