"""Indexes over edges by flat node numbers: edges grouped by either end, and look-ups of pairs and triples."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from kgrec.graph.mapped_index import MappedIndex


@dataclass(frozen=True, eq=False)
class CSR:
    """Edges grouped by one end. Those of flat node n are at positions `ptr[n]` to `ptr[n + 1]`, in order of time; edges
    of equal time are in file order."""

    ptr: Tensor  #: LongTensor [N + 1]
    edge: Tensor  #: LongTensor [E], position in the graph
    other: Tensor  #: IntTensor [E], flat number of the other end

    def degree(self) -> Tensor:
        """Number of edges of every node, LongTensor [N]."""
        return self.ptr.diff()


@dataclass(frozen=True, eq=False)
class EdgeIndex:
    """Data computed from a graph's edges. Each part is computed when it is first used, and then kept. It holds the
    graph's tensors, but not the graph."""

    edge_index: Tensor  #: LongTensor [2, E], local numbers
    relation_ptr: tuple[int, ...]  #: [R + 1], position of the first edge of each relation
    #: two lists [R]: the flat number of each relation's first source, and of its first target
    starts: tuple[Sequence[int], Sequence[int]]
    time: Tensor  #: LongTensor [E], unix seconds
    num_nodes: int  #: N
    mapped: MappedIndex | None = None  #: makes and keeps the same in files, for a graph that is mapped from files

    @cached_property
    def relation(self) -> Tensor:
        """Number of each edge's type, LongTensor [E]."""
        if self.mapped is not None:
            return self.mapped.relation()
        sizes = torch.tensor(self.relation_ptr, device=self.time.device).diff()
        return torch.arange(len(sizes), device=self.time.device).repeat_interleave(sizes, output_size=len(self.time))

    def flat_end(self, end: int) -> Tensor:
        """Flat sources (0) or targets (1) of all edges, LongTensor [E]."""
        starts = self.starts[end]
        if len(set(starts)) == 1:
            return self.edge_index[end] + starts[0]
        flat = self.edge_index[end].clone()
        for start, (first, stop) in zip(starts, itertools.pairwise(self.relation_ptr)):
            flat[first:stop] += start
        return flat

    @cached_property
    def head(self) -> Tensor:
        """Flat source of each edge, LongTensor [E]."""
        return self.flat_end(0) if self.mapped is None else self.mapped.flat_end(0)

    @cached_property
    def tail(self) -> Tensor:
        """Flat target of each edge, LongTensor [E]."""
        return self.flat_end(1) if self.mapped is None else self.mapped.flat_end(1)

    def ends_of(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Flat sources and targets of consecutive edges, LongTensors [n]. The others are not computed for it."""
        found = [self.edge_index[end, rows].clone() for end in (0, 1)]
        for number, (first, stop) in enumerate(itertools.pairwise(self.relation_ptr)):
            part = slice(max(first, rows.start) - rows.start, max(0, min(stop, rows.stop) - rows.start))
            for end in (0, 1):
                found[end][part] += self.starts[end][number]
        return found[0], found[1]

    @cached_property
    def num_out(self) -> Tensor:
        """Number of edges from each node, LongTensor [N]."""
        return self._counts(0)

    @cached_property
    def num_in(self) -> Tensor:
        """Number of edges to each node, LongTensor [N]."""
        return self._counts(1)

    @cached_property
    def num_users(self) -> Tensor:
        """Number of distinct nodes that have an edge to each node, LongTensor [N]; on the CPU."""
        from kgrec.graph import edge_kernels

        count = torch.zeros(self.num_nodes, dtype=torch.long)
        edge_kernels.count_distinct(self.csr.ptr.numpy(), self._sorted_rows.numpy(), count.numpy())
        return count

    def _counts(self, end: int) -> Tensor:
        if self.mapped is not None:
            return self.mapped.counts(end)
        return torch.bincount(self.head if end == 0 else self.tail, minlength=self.num_nodes)

    @cached_property
    def csr(self) -> CSR:
        """Edges grouped by source, in order of time: the history of each node."""
        return self._grouped(0)

    @cached_property
    def csc(self) -> CSR:
        """Edges grouped by target, in order of time."""
        return self._grouped(1)

    def _grouped(self, end: int) -> CSR:
        """Edges grouped by one end. The flat numbers are computed for this and not kept, to save memory."""
        if self.mapped is not None:
            return CSR(*self.mapped.grouped(end))
        by, other = self.flat_end(end), self.flat_end(1 - end)
        if by.is_cuda:
            ptr, order = self._group_by_sorting(by)
        else:
            from kgrec.graph import edge_kernels

            starts, edges = edge_kernels.group(by.numpy(), self.num_nodes)
            edge_kernels.sort_rows_by_time(starts, edges, self.time.numpy())
            ptr, order = torch.from_numpy(starts), torch.from_numpy(edges)
        return CSR(ptr, order, other[order].int())

    def _group_by_sorting(self, by: Tensor) -> tuple[Tensor, Tensor]:
        """Grouping in tensor operations, for GPUs: ptr [N + 1], and the order of the edges [E]."""
        order = torch.argsort(self.time, stable=True)
        order = order[torch.argsort(by[order], stable=True)]
        ptr = torch.zeros(self.num_nodes + 1, dtype=torch.long, device=by.device)
        ptr[1:] = torch.bincount(by, minlength=self.num_nodes).cumsum(0)
        return ptr, order

    @cached_property
    def _sorted_rows(self) -> Tensor:
        """For the CPU: the targets of `csr`, sorted within each row. IntTensor [E]."""
        if self.mapped is not None:
            return self.mapped.sorted_rows()
        from kgrec.graph import edge_kernels

        tails = self.csr.other.clone()
        edge_kernels.sort_rows(self.csr.ptr.numpy(), tails.numpy())
        return tails

    @cached_property
    def _sorted_pairs(self) -> Tensor:
        """For tensor look-ups: head * (N + 1) + tail of every edge, ascending, followed by a number greater than all.
        LongTensor [E + 1]."""
        pairs = (self.head * (self.num_nodes + 1) + self.tail).sort().values
        return torch.cat([pairs, pairs.new_full((1,), torch.iinfo(torch.int64).max)])

    def is_edge(self, head: Tensor, tail: Tensor) -> Tensor:
        """Whether there is an edge from each head [n] to each of its tails [n, K] (flat numbers). BoolTensor [n, K].

        `pad` has no edges, as head or as tail.
        """
        if head.device.type != "cpu":
            return self._is_edge_by_search(head, tail)
        from kgrec.graph import edge_kernels

        rows = self.csr.ptr.numpy(), self._sorted_rows.numpy()
        return torch.from_numpy(edge_kernels.is_member(*rows, head.contiguous().numpy(), tail.contiguous().numpy()))

    def _is_edge_by_search(self, head: Tensor, tail: Tensor) -> Tensor:
        """`is_edge` in tensor operations, for GPUs."""
        pairs = head[:, None] * (self.num_nodes + 1) + tail
        return self._sorted_pairs[torch.searchsorted(self._sorted_pairs, pairs)] == pairs

    @cached_property
    def _triple_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """The tails of each pair (relation, head): the rows' keys relation * (N + 1) + head, ascending, LongTensor [P];
        ptr, LongTensor [P + 1]; and the tails, sorted within each row, IntTensor [E]."""
        key, row = torch.unique(self.relation * (self.num_nodes + 1) + self.head, return_inverse=True)
        order = self.tail.argsort()
        order = order[row[order].argsort(stable=True)]
        ptr = torch.cat([row.new_zeros(1), torch.bincount(row, minlength=len(key)).cumsum(0)])
        return key, ptr, self.tail[order].int()

    def is_triple(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        """Whether there is an edge of each relation [n] (number of the edge type) from each head [n] to each of its
        tails [n, K] (flat numbers). BoolTensor [n, K].

        `pad` has no edges. Raises KgrecError if, on a GPU, there are too many rows and nodes for a key of 64 bits.
        """
        key, ptr, tails = self._triple_rows
        wanted = relation * (self.num_nodes + 1) + head
        row = torch.searchsorted(key, wanted).clamp(max=max(0, len(key) - 1))
        row = row.masked_fill(key[row] != wanted, len(key)) if len(key) else torch.zeros_like(wanted)
        if head.device.type != "cpu":
            return self._is_in_row_by_search(row, tail)
        from kgrec.graph import edge_kernels

        rows = ptr.numpy(), tails.numpy()
        return torch.from_numpy(edge_kernels.is_member(*rows, row.contiguous().numpy(), tail.contiguous().numpy()))

    @cached_property
    def _sorted_triples(self) -> Tensor:
        """For tensor look-ups: row * (N + 1) + tail of every edge, ascending, followed by a number greater than all.
        LongTensor [E + 1]."""
        _, ptr, tails = self._triple_rows
        most, base = torch.iinfo(torch.int64).max, self.num_nodes + 1
        if len(ptr) * base > most:
            raise KgrecError(
                f"{len(self.time):,} edges over {self.num_nodes:,} nodes are too many to look up on a GPU (in 64 "
                "bits); train on the CPU"
            )
        row = torch.arange(len(ptr) - 1, device=ptr.device).repeat_interleave(ptr.diff())
        return torch.cat([row * base + tails, ptr.new_full((1,), most)])

    def _is_in_row_by_search(self, row: Tensor, tail: Tensor) -> Tensor:
        """`is_triple` in tensor operations, for rows [n] of `_triple_rows`; a row past the last has no tails."""
        wanted = row[:, None] * (self.num_nodes + 1) + tail
        return self._sorted_triples[torch.searchsorted(self._sorted_triples, wanted)] == wanted

    def count_edges(self, head: Tensor, tail: Tensor) -> Tensor:
        """The number of edges from each head to its tail (flat numbers): LongTensor of their shape."""
        pairs = head * (self.num_nodes + 1) + tail
        first, last = (torch.searchsorted(self._sorted_pairs, pairs, right=right) for right in (False, True))
        return last - first
