"""The parts of an EdgeIndex of edges that are mapped from files. They are made when they are first used, in bounded
memory, and kept in files beside the edges."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kgrec.graph.array_folder import ArrayFolder
from kgrec.graph.mapped_edges import GROUPING, Ends, sorted_rows
from kgrec.graph.mapped_files import blocks

SIDES = ("csr", "csc")  #: names of the edges grouped by source, and by target


@dataclass(frozen=True, eq=False)
class MappedIndex:
    """Makes the parts of an EdgeIndex and keeps them in files."""

    folder: ArrayFolder
    ends: Ends

    def grouped(self, end: int, memory: int = GROUPING) -> tuple[Tensor, Tensor, Tensor]:
        """The tensors of a CSR by an end: ptr, edge and other."""
        kinds = {f"{SIDES[end]}.{name}": kind for name, kind in self.ends.kinds().items()}

        def fill(into: dict[str, np.ndarray]) -> None:
            self.ends.group(end, {name.partition(".")[2]: array for name, array in into.items()}, memory)

        ptr, edge, other = self.folder.tensors(kinds, fill, "the edges grouped by node")
        return ptr, edge, other

    def sorted_rows(self) -> Tensor:
        """The targets of the CSR, sorted within rows: IntTensor [E]."""
        ptr, _, other = (tensor.numpy() for tensor in self.grouped(0))

        def fill(into: dict[str, np.ndarray]) -> None:
            sorted_rows(ptr, other, into["csr.sorted"])

        return self.folder.tensors({"csr.sorted": (np.int32, other.shape)}, fill, "the sorted targets")[0]

    def counts(self, end: int) -> Tensor:
        """The number of edges of each node at an end, LongTensor [N]."""
        made = self.folder.found([f"{SIDES[end]}.ptr"])
        return torch.from_numpy(self.ends.count(end) if made is None else np.diff(made[0]))

    def flat_end(self, end: int) -> Tensor:
        """Flat numbers of one end of all edges, LongTensor [E]."""
        local, starts = self.ends.edge_index[end], self.ends.starts[end]
        if not any(starts):
            return torch.from_numpy(local)

        def fill(into: dict[str, np.ndarray]) -> None:
            for start, (first, stop) in zip(starts, itertools.pairwise(self.ends.relation_ptr)):
                for rows in blocks(stop - first):
                    part = slice(first + rows.start, first + rows.stop)
                    into[f"flat.{end}"][part] = local[part] + start

        return self.folder.tensors({f"flat.{end}": (np.int64, local.shape)}, fill, "the flat numbers of edges")[0]

    def relation(self) -> Tensor:
        """Number of each edge's type, LongTensor [E]."""

        def fill(into: dict[str, np.ndarray]) -> None:
            for number, (first, stop) in enumerate(itertools.pairwise(self.ends.relation_ptr)):
                into["relation"][first:stop] = number

        number = self.ends.edge_index.shape[1]
        return self.folder.tensors({"relation": (np.int64, (number,))}, fill, "the numbers of relations")[0]
