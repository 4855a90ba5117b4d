"""Sequences: paths of users through their edges in time, and the history before an edge."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import NO_TIME, Graph
from kgrec.graph.mapped_files import blocks
from kgrec.samplers.batch import Batch
from kgrec.samplers.histories import Histories


class Sequences:
    """One example is a path of one head through its edges in time. `tail[l]` follows `history[l]`, so every step except
    the first is a target.

    A row is stored as two positions in the time-sorted index of `graph`, so memory is O(paths) besides the graph, and
    nothing is copied. A batch is as wide as its longest path.

    length: maximum number of steps L of a history. windows: a longer path becomes several rows, the last one full, so
    that each target occurs once; false: only its last `length` targets are used. gap: a pause of more than this many
    seconds ends a path (sessions); then edges without a time are a path of their own. targets: relations whose edges
    are predicted; None: all. The other relations of `graph` are only steps of the history; `batch.behaviour` has each
    step's relation. shift: false for models that fill in hidden steps (see Masked): `tail[l]` is `history[l]` itself,
    the first step is a target too, and rows are windows of `length` steps. times: also give `batch.time`, when each
    step was, and `batch.now`, when its target was, which is when the answer was wanted.

    >>> import pandas as pd
    >>> rows = [("ann", "a", 1), ("ann", "b", 2), ("ann", "c", 3), ("bob", "b", 1), ("bob", "a", 9)]
    >>> rated = pd.DataFrame(rows, columns=["source", "target", "time"])
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): rated})
    >>> batch = Sequences(graph, length=2)[torch.tensor([0, 1])]
    >>> batch.history.tolist(), batch.tail.tolist()  # films are nodes 2, 3 and 4, and 5 is no node
    ([[2, 3], [5, 3]], [[3, 4], [5, 2]])
    >>> Sequences(graph, length=3, shift=False)[torch.tensor([0, 1])].history.tolist()
    [[2, 3, 4], [5, 3, 2]]
    >>> batch = Sequences(graph, length=2, times=True)[torch.tensor([0])]
    >>> batch.time.tolist(), batch.now.tolist()
    ([[1, 2]], [[2, 3]])

    Raises KgrecError if no path has two steps, or if all edges have the same time.
    """

    by_example = False  # each batch is as wide as its own longest path

    def __init__(
        self,
        graph: Graph,
        length: int,
        *,
        windows: bool = True,
        gap: int | None = None,
        targets: tuple[str, ...] | None = None,
        shift: bool = True,
        times: bool = False,
    ) -> None:
        if length < 1:
            raise KgrecError(f"sequences: length is {length}; 1 step or more is wanted")
        if gap is not None and gap < 1:
            raise KgrecError(f"sequences: gap is {gap}; 1 second or more is wanted")
        self.graph, self.length, self.histories, self.times = graph, length, Histories(graph), times
        self.is_target, self.shift = _is_target(graph, targets), int(shift)  #: steps before the first target
        _must_have_order(graph)
        start, stop = self._paths(gap)
        last = ((stop - self.shift - length).clamp(min=start), stop)
        self.start, self.stop = self._windows(start, stop) if windows else last
        self._keep_those_with_a_target()
        self.head = torch.searchsorted(graph.csr.ptr, self.start, right=True) - 1  #: LongTensor [rows]

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.graph.device

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, index: Tensor) -> Batch:
        start, stop = self.start[index], self.stop[index]
        width = int((stop - start).max()) if len(index) else 1
        place = stop[:, None] + torch.arange(-width, 0, device=self.device)
        place = place.masked_fill_(place < start[:, None], -1)
        node, steps = self.histories.tails(place), width - self.shift
        behaviour = self.histories.relations(place[:, :steps]) if len(self.graph.edge_types) > 1 else None
        tail, history = node[:, self.shift :], node[:, :steps]
        is_target = history != self.graph.pad
        if self.is_target is not None:
            target = place[:, self.shift :]
            is_target = is_target & (self.is_target[target] & (target >= 0))
        time = self.histories.times(place) if self.times else None
        return Batch(
            head=self.head[index],
            tail=tail.masked_fill(~is_target, self.graph.pad),
            time=None if time is None else time[:, :steps],
            now=None if time is None else time[:, self.shift :],
            history=history,
            behaviour=behaviour,
        )

    def _paths(self, gap: int | None) -> tuple[Tensor, Tensor]:
        """The start and stop (exclusive) of all paths of at least two steps, as places in the CSR."""
        bounds = torch.unique_consecutive(self.graph.csr.ptr)
        if gap is not None:
            bounds = torch.cat([bounds, self._pauses(gap)]).unique()
        start, stop = bounds[:-1], bounds[1:]
        long = stop - start > 1
        if not long.any():
            raise KgrecError(
                f"no {self.graph.edge_types[0][0] if self.graph.edge_types else 'head'} has two edges in a row, so "
                "there is no next step to learn from; use a larger gap or data with more edges for each"
            )
        return start[long], stop[long]

    def _pauses(self, gap: int) -> Tensor:
        """The places in the CSR whose edge is more than `gap` seconds later than that of the place before, or the first
        one with a time after one without: LongTensor, ascending."""
        csr, found = self.graph.csr, [torch.empty(0, dtype=torch.long, device=self.device)]
        for rows in blocks(self.graph.num_edges):
            first = max(0, rows.start - 1)
            time = self.graph.time[csr.edge[first : rows.stop]]
            timed = time != NO_TIME  # a difference from NO_TIME, the lowest number, would overflow
            later = torch.where(timed[1:] & timed[:-1], time.diff() > gap, timed[1:])
            found.append(later.nonzero().squeeze(1) + first + 1)
        return torch.cat(found)

    def _windows(self, start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
        """Cuts paths into rows of at most `length` targets, counted from their ends."""
        number = (stop - start - self.shift - 1) // self.length + 1
        path = torch.arange(len(start), device=self.device).repeat_interleave(number)
        window = torch.arange(len(path), device=self.device) - (number.cumsum(0) - number)[path]
        last = stop[path] - window * self.length
        return (last - self.shift - self.length).clamp(min=start[path]), last

    def _keep_those_with_a_target(self) -> None:
        if self.is_target is None:
            return
        before = torch.cat([self.is_target.new_zeros(1, dtype=torch.long), self.is_target.long().cumsum(0)])
        kept = before[self.stop] > before[self.start + self.shift]
        if not kept.any():
            where = " after its first step" if self.shift else ""
            raise KgrecError(f"no path has a target edge{where}, so there is nothing to predict; check the data")
        self.start, self.stop = self.start[kept], self.stop[kept]


class History:
    """Stage: adds `history`, the last `length` tails of the seed edge's head, strictly before the seed edge.

    seeds: the graph of the seed edges. None: it is `graph` itself; then edges of equal time are in file order. With
    another graph, only edges of an earlier time are used. Edges without a time are before all others. All relations of
    `graph` are steps of the history; if there are several, `behaviour` has each step's relation.

    >>> import pandas as pd
    >>> from kgrec.samplers import Edges, Loader
    >>> rows = [("ann", "a", 1), ("ann", "b", 2), ("ann", "c", 3)]
    >>> rated = pd.DataFrame(rows, columns=["source", "target", "time"])
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): rated})
    >>> batch = next(iter(Loader(Edges(graph), History(graph, 2), batch_size=3, shuffle=False)))
    >>> batch.history.tolist()  # films are nodes 1, 2 and 3, and 4 is no node
    [[4, 4], [4, 1], [1, 2]]
    """

    by_example = True

    def __init__(self, graph: Graph, length: int, seeds: Graph | None = None) -> None:
        if length < 1:
            raise KgrecError(f"history: length is {length}; 1 step or more is wanted")
        self.graph, self.length, self.histories = graph, length, Histories(graph)
        self.same = seeds is None or seeds is graph

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        if batch.edge is None or batch.time is None:
            raise KgrecError("a history ends before an edge, but the seeds of this loader are not edges; use Edges")
        cut = {"before_edge": batch.edge} if self.same else {"before": batch.time}
        place = self.histories.places(batch.head, self.length, **cut)
        behaviour = self.histories.relations(place) if len(self.graph.edge_types) > 1 else None
        return replace(batch, history=self.histories.tails(place), behaviour=behaviour)


def _is_target(graph: Graph, targets: tuple[str, ...] | None) -> Tensor | None:
    """Whether the edge at each place of the CSR is a target: BoolTensor [E]; None: all are."""
    if targets is None:
        return None
    wanted = graph.schema.edge_types(*targets)
    if len(wanted) == len(graph.edge_types):
        return None
    number = torch.tensor([edge in wanted for edge in graph.edge_types], device=graph.device)
    ptr = torch.tensor(graph.relation_ptr, device=graph.device)
    found = graph.room(graph.num_edges, torch.bool)
    for rows in blocks(graph.num_edges):
        found[rows] = number[torch.searchsorted(ptr, graph.csr.edge[rows], right=True) - 1]
    return found


def _must_have_order(graph: Graph) -> None:
    if graph.num_edges > 1 and all(bool((graph.time[rows] == graph.time[0]).all()) for rows in blocks(graph.num_edges)):
        found = "no times" if int(graph.time[0]) == NO_TIME else f"the same time, {int(graph.time[0])}, for all edges"
        raise KgrecError(
            f"{'/'.join(edge[1] for edge in graph.edge_types)} has {found}, so there is no order to learn from; "
            "name the column of times in the recipe (`time:`)"
        )
