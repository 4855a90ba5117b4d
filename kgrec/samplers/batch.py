"""The batch that samplers give to models: one dataclass of tensors for all kinds of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.samplers.neighborhood import Neighborhood


@dataclass(frozen=True)
class Batch:
    """B examples. S is () for edges and (L,) for sequences. All node numbers are flat. A field's comment names the
    seeds or stage that fill it."""

    head: Tensor  #: LongTensor [B]
    tail: Tensor  #: LongTensor [B, *S], the true tails, graph.pad for none; by Nodes: [all neighbors]
    relation: Tensor | None = None  #: LongTensor [B], number of the edge type, by Edges
    time: Tensor | None = None  #: LongTensor [B], unix seconds, by Edges; [B, L], of the steps, by Sequences with times
    weight: Tensor | None = None  #: FloatTensor [B], by Edges; [all neighbors], by Nodes
    edge: Tensor | None = None  #: LongTensor [B], position in the seeds' graph, by Edges
    label: Tensor | None = (
        None  #: FloatTensor like weight, 1 for a click, 0 for no click; by Edges and Nodes with label
    )
    history: Tensor | None = None  #: LongTensor [B, L], by Sequences and History; oldest first, left-padded
    behaviour: Tensor | None = None  #: LongTensor [B, L], each step's edge type in the graph of histories; -1: padding
    now: Tensor | None = None  #: LongTensor [B, L], unix seconds of each `tail`, by Sequences with times
    masked: Tensor | None = None  #: BoolTensor [B, L], by Masked: steps whose item is hidden; graph.pad in `history`
    ptr: Tensor | None = None  #: LongTensor [B + 1], by Nodes: neighbors of example b are tail[ptr[b] : ptr[b + 1]]
    negative: Tensor | None = None  #: LongTensor [B, *S, K], by Negatives; [K] if the batch shares them
    log_q: Tensor | None = None  #: FloatTensor like negative, log-probability of each draw, by Negatives
    neighborhood: Neighborhood | None = None  #: around heads, tails and negatives, by Neighbors
    extra: Mapping[str, Tensor] = field(default_factory=dict)  #: by name, tensors of a model's own stages: [B, *] each

    def __len__(self) -> int:
        return len(self.head)

    def add(self, **extra: Tensor) -> Batch:
        """The batch with more tensors in `extra`, [B, *] each, for a model's own stages.

        Raises KgrecError for a tensor without a row for each example, and for a name that is already used."""
        for name, tensor in extra.items():
            if tensor.dim() == 0 or len(tensor) != len(self):
                raise KgrecError(
                    f"batch.add: {name!r} has shape {list(tensor.shape)}, but the batch has {len(self)} examples; "
                    "give it a row for each example"
                )
            if name in self.extra:
                raise KgrecError(f"batch.add: an earlier stage has already added {name!r}; use another name")
        return replace(self, extra={**self.extra, **extra})

    def split(self, size: int) -> Iterator[Batch]:
        """This batch cut into batches of `size` examples; the last one has the rest. Their tensors are slices."""
        parts = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        extra = parts.pop("extra")
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Batch(
                **{name: tensor[part] for name, tensor in parts.items()},
                extra={name: tensor[part] for name, tensor in extra.items()},
            )

    def multi_hot(self, nodes: range) -> Tensor:
        """For batches of Nodes: 1 where a node of the flat range `nodes` is a neighbor of the example, else 0.
        FloatTensor [B, len(nodes)]."""
        assert self.ptr is not None, "multi_hot is for batches of Nodes"
        rows = torch.zeros(len(self), len(nodes), device=self.tail.device)
        row = torch.arange(len(self), device=self.tail.device).repeat_interleave(self.ptr.diff())
        inside = (self.tail >= nodes.start) & (self.tail < nodes.stop)
        rows[row[inside], self.tail[inside] - nodes.start] = 1.0
        return rows


@dataclass(frozen=True)
class Stream:
    """Identifies one stream of random numbers. The same values always give the same batches."""

    seed: int = 0  #: seed of the whole training
    objective: int = 0  #: position of the objective in the model's list
    epoch: int = 0  #: number of the epoch
    rank: int = 0  #: number of this process
    world: int = 1  #: number of processes
    path: tuple[int, ...] = ()  #: identifies a stream within the stream

    def inner(self, number: int) -> Stream:
        """The number-th stream within this one."""
        return replace(self, path=(*self.path, number))

    def generator(self, device: torch.device | str = "cpu", *, shared: bool = False) -> torch.Generator:
        """A torch generator for this stream. shared: the same generator for all ranks."""
        words = (self.seed, self.objective, self.epoch, 0 if shared else self.rank + 1, *self.path)
        state = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]) >> 1
        return torch.Generator(device).manual_seed(state)
