"""Edges that are mapped from files, and what is computed from them, which is kept in files too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kgrec.graph.array_folder import ArrayFolder
from kgrec.graph.mapped_files import blocks

if TYPE_CHECKING:
    from kgrec.graph.parts import GraphParts

#: bytes that grouping may take; `write_arrays` takes another number for the graph itself
GROUPING = 1 << 30
EDGE = 20  #: bytes that grouping takes for each edge of a bucket: its position, its other end and its time
NODES = 1 << 20  #: rows that are sorted at once
#: views of a mapped graph with fewer edges are copied into memory; larger ones are written to files
LEAST = 1 << 22


@dataclass(frozen=True, eq=False)
class MappedEdges:
    """Edges of a graph that are mapped from files, and the folder of what is computed from them.

    A graph that is made from a mapped one by `replace` may have other edges or nodes. `is_of` says whether these are
    still the edges of a graph.
    """

    folder: ArrayFolder
    edge_index: Tensor  #: LongTensor [2, E], local numbers
    time: Tensor  #: LongTensor [E]
    weight: Tensor  #: FloatTensor [E]
    layout: tuple[Any, ...]  #: see `layout_of`

    def is_of(self, parts: GraphParts) -> bool:
        """Whether these are the edges of a graph."""
        same = parts.edge_index is self.edge_index and parts.time is self.time and parts.weight is self.weight
        return same and self.layout == layout_of(parts)

    def room(self, number: int, kind: torch.dtype) -> Tensor:
        """A tensor of zeros [number], in a file that only this process uses; in memory if it is small."""
        if number < LEAST:
            return torch.zeros(number, dtype=kind)
        dtype = torch.empty(0, dtype=kind).numpy().dtype
        return torch.from_numpy(self.folder.scratch(dtype, (number,), "values of edges"))


def layout_of(parts: GraphParts) -> tuple[Any, ...]:
    """What the flat numbers of edges depend on, apart from their local numbers."""
    counts = tuple((name, node.count) for name, node in parts.schema.nodes.items())
    return counts, tuple((edge[0], edge[2]) for edge in parts.edge_types), parts.relation_ptr


# ---------------------------------------------------------------------- grouping


@dataclass(frozen=True)
class Ends:
    """The edges as the grouping reads them."""

    edge_index: np.ndarray  #: int64 [2, E], local numbers
    time: np.ndarray  #: int64 [E]
    relation_ptr: tuple[int, ...]  #: [R + 1]
    starts: tuple[Sequence[int], Sequence[int]]  #: two lists [R], the flat numbers of relations' first nodes
    num_nodes: int

    def count(self, end: int) -> np.ndarray:
        """The number of edges of each node at an end, int64 [N]."""
        from kgrec.graph.edge_kernels import count_ends  # numba takes its time to come

        found = np.zeros(self.num_nodes, np.int64)
        count_ends(self.edge_index[end], *self._relations(end), found)
        return found

    def _relations(self, end: int) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.relation_ptr, np.int64), np.array(self.starts[end], np.int64)

    def kinds(self) -> dict[str, tuple[Any, tuple[int, ...]]]:
        """Types and shapes of the three arrays of a CSR."""
        edges = (self.edge_index.shape[1],)
        return {"ptr": (np.int64, (self.num_nodes + 1,)), "edge": (np.int64, edges), "other": (np.int32, edges)}

    def group(self, end: int, into: dict[str, np.ndarray], memory: int = GROUPING) -> None:
        """Write the arrays of a CSR by an end: a counting sort, one bucket of nodes after another. For each bucket, all
        edges are read once, in their order.

        memory: bytes that a bucket may take. Bytes that are taken in addition: 16 for each node.
        """
        from kgrec.graph.edge_kernels import group_rows

        ptr = into["ptr"]
        np.cumsum(self.count(end), out=ptr[1:])
        relations, starts = self._relations(end)
        sides, others = (self.edge_index[end], self.edge_index[1 - end]), self._relations(1 - end)[1]
        for first, stop in buckets(ptr, max(1, memory // EDGE)):
            rows = slice(int(ptr[first]), int(ptr[stop]))
            number = rows.stop - rows.start
            edge, other, when = (np.empty(number, kind) for kind in (np.int64, np.int32, np.int64))
            fill = ptr[first : stop + 1] - ptr[first]
            group_rows(sides, relations, (starts, others), self.time, fill, first, edge, other, when)
            into["edge"][rows], into["other"][rows] = edge, other


def buckets(ptr: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Ranges of nodes that cover all of them, each with at most `most` edges or with one node. ptr: int64 [N + 1].

    >>> buckets(np.array([0, 2, 3, 9, 9, 10]), 3)
    [(0, 2), (2, 3), (3, 5)]
    """
    found, first = list[tuple[int, int]](), 0
    while first < len(ptr) - 1:
        stop = max(first + 1, int(np.searchsorted(ptr, ptr[first] + most, side="right")) - 1)
        found.append((first, stop))
        first = stop
    return found


def sorted_rows(ptr: np.ndarray, other: np.ndarray, into: np.ndarray) -> None:
    """Write `other`, sorted within the rows of a CSR, to `into`."""
    from kgrec.graph.edge_kernels import sort_rows

    for rows in blocks(len(ptr) - 1, NODES):
        edges = slice(int(ptr[rows.start]), int(ptr[rows.stop]))
        into[edges] = other[edges]
        sort_rows(ptr[rows.start : rows.stop + 1] - ptr[rows.start], into[edges])


# ---------------------------------------------------------------------- views


def mapped_slice(mapped: MappedEdges, view: GraphParts, name: str) -> GraphParts:
    """A view whose tensors are slices of mapped ones, as a mapped graph if it is large. name: of its folder."""
    return view if view.num_edges < LEAST else with_mapped(view, mapped.folder.inner(name))


def kept_edges(mapped: MappedEdges, parts: GraphParts, mask: Tensor, ptr: tuple[int, ...]) -> GraphParts:
    """`parts` with the edges where mask (BoolTensor [E]) holds; its tensors and `relation_ptr` are replaced. Few edges
    are copied into memory. Many are written to files, which are named by a hash of the mask, so that they are found
    again. ptr: the new `relation_ptr`."""
    if ptr[-1] < LEAST:
        return _copied(mapped, parts, mask, ptr)
    name = hashlib.blake2b(np.ascontiguousarray(mask.numpy()).data, digest_size=16).hexdigest()
    folder, number = mapped.folder.inner(f"edges-{name}"), ptr[-1]

    def fill(into: dict[str, np.ndarray]) -> None:
        at = 0
        for part in blocks(len(mask)):
            kept = mask[part].numpy()
            to = slice(at, at + int(np.count_nonzero(kept)))
            into["edge_index"][:, to] = mapped.edge_index[:, part].numpy()[:, kept]
            into["time"][to], into["weight"][to] = mapped.time[part].numpy()[kept], mapped.weight[part].numpy()[kept]
            at = to.stop

    edge_index, time, weight = folder.tensors(edge_kinds(number), fill, "edges of a view")
    return with_mapped(replace(parts, edge_index=edge_index, time=time, weight=weight, relation_ptr=ptr), folder)


def _copied(mapped: MappedEdges, parts: GraphParts, mask: Tensor, ptr: tuple[int, ...]) -> GraphParts:
    """The same in memory."""
    rows = [torch.nonzero(mask[part]).squeeze(1) + part.start for part in blocks(len(mask))]
    index = torch.cat(rows) if rows else torch.empty(0, dtype=torch.long)
    return replace(
        parts,
        edge_index=mapped.edge_index[:, index],
        time=mapped.time[index],
        weight=mapped.weight[index],
        relation_ptr=ptr,
        arrays=None,
    )


def edge_kinds(number: int) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Types and shapes of the arrays of edges."""
    return {"edge_index": (np.int64, (2, number)), "time": (np.int64, (number,)), "weight": (np.float32, (number,))}


def with_mapped(parts: GraphParts, folder: ArrayFolder) -> GraphParts:
    """The same graph, whose tensors are mapped, and what is computed from them is kept in `folder`."""
    return replace(parts, arrays=MappedEdges(folder, parts.edge_index, parts.time, parts.weight, layout_of(parts)))
