"""Vectors of nodes that a model's graph does not have, beside its own while they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType

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


class Holder:
    """What reads vectors of nodes, and also those that are added. It stands before nn.Module among a class's bases."""

    @property
    def added(self) -> Added | None:
        """Vectors of nodes that are not in the graph, in this thread; None: there are none."""
        return _added.get().get(self)


#: What is added, by what reads it: to each thread its own, so that many may ask one model at once
_added: ContextVar[Mapping[Holder, Added]] = ContextVar("added", default=MappingProxyType({}))


@contextmanager
def added_rows(first: int, vectors: Mapping[Holder, Tensor]) -> Iterator[None]:
    """While this lasts, the holders know the nodes from `first` on by these vectors, FloatTensor [n, D] each, in this
    thread."""
    token = _added.set({**_added.get(), **{holder: Added(first, vector) for holder, vector in vectors.items()}})
    try:
        yield
    finally:
        _added.reset(token)
