"""Vectors of nodes that a model's graph does not have, beside its own while they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class Added:
    """Vectors of the flat nodes from `first` on, which is past those of the graph and its pad."""

    first: int  #: flat number of the first
    vector: Tensor  #: FloatTensor [n, D]

    def over(self, found: Tensor, node: Tensor) -> Tensor:
        """What a table has of nodes [*S], [*S, D], with these in the place of those that are added.

        >>> added = Added(3, torch.tensor([[5.0], [7.0]]))
        >>> added.over(torch.tensor([[1.0], [0.0]]), torch.tensor([0, 4])).tolist()
        [[1.0], [7.0]]
        """
        place = node - self.first
        vector = functional.embedding(place.clamp(min=0), self.vector)
        return torch.where((place >= 0).unsqueeze(-1), vector, found)


class Holder(Protocol):
    """What reads vectors of nodes, and also those that are added."""

    added: Added | None


@contextmanager
def added_rows(first: int, vectors: Mapping[Holder, Tensor]) -> Iterator[None]:
    """While this lasts, the holders know the nodes from `first` on by these vectors, FloatTensor [n, D] each."""
    before = {holder: holder.added for holder in vectors}
    for holder, vector in vectors.items():
        holder.added = Added(first, vector)
    try:
        yield
    finally:
        for holder, one in before.items():
            holder.added = one
