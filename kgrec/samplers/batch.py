"""What samplers give a model: one dataclass of tensors for every family of models."""

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
    """B examples; S is () for edges and (L,) for sequences. All node numbers are flat."""

    head: Tensor  #: LongTensor [B]
    tail: Tensor  #: LongTensor [B, *S], the true tails; graph.pad where there is none; by Nodes: [all neighbors]
    relation: Tensor | None = None  #: LongTensor [B], number of the edge type, by Edges
    time: Tensor | None = None  #: LongTensor [B], unix seconds, by Edges
    weight: Tensor | None = None  #: FloatTensor [B], by Edges; [all neighbors], by Nodes
    edge: Tensor | None = None  #: LongTensor [B], position in the seeds' graph, by Edges
    label: Tensor | None = None  #: FloatTensor like weight, 1 for a click and 0 for none, by Edges and Nodes of a label
    history: Tensor | None = None  #: LongTensor [B, L], by Sequences and History; oldest first, left-padded
    behaviour: Tensor | None = None  #: LongTensor [B, L], each step's edge type in the graph of histories; -1: a pad
    masked: Tensor | None = None  #: BoolTensor [B, L], by Masked: steps whose item is hidden, a pad in `history`
    ptr: Tensor | None = None  #: LongTensor [B + 1], by Nodes: neighbors of example b are tail[ptr[b] : ptr[b + 1]]
    negative: Tensor | None = None  #: LongTensor [B, *S, K], by Negatives; [K] where they are shared
    log_q: Tensor | None = None  #: FloatTensor like negative, log-probability of each draw, by Negatives
    neighborhood: Neighborhood | None = None  #: around heads, tails and negatives, by Neighbors
    extra: Mapping[str, Tensor] = field(default_factory=dict)  #: what a model's own stages add, by name: [B, *] each

    def __len__(self) -> int:
        return len(self.head)

    def add(self, **extra: Tensor) -> Batch:
        """The batch with tensors of one's own, [B, *] each, beside those that other stages added.

        Raises KgrecError where one has not a row for each example, or a name is taken."""
        for name, tensor in extra.items():
            if tensor.dim() == 0 or len(tensor) != len(self):
                raise KgrecError(
                    f"batch.add: {name!r} has shape {list(tensor.shape)}, and the batch has {len(self)} examples; "
                    "a row for each is wanted"
                )
            if name in self.extra:
                raise KgrecError(f"batch.add: a stage before this one has added {name!r} already; take another name")
        return replace(self, extra={**self.extra, **extra})

    def split(self, size: int) -> Iterator[Batch]:
        """Batches of `size` examples and a last one of the rest; their tensors are slices of these."""
        parts = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        extra = parts.pop("extra")
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Batch(
                **{name: tensor[part] for name, tensor in parts.items()},
                extra={name: tensor[part] for name, tensor in extra.items()},
            )

    def multi_hot(self, nodes: range) -> Tensor:
        """By Nodes: which of a range of flat nodes are neighbors of each example, FloatTensor [B, len(nodes)]."""
        assert self.ptr is not None, "multi_hot is for batches of Nodes"
        rows = torch.zeros(len(self), len(nodes), device=self.tail.device)
        row = torch.arange(len(self), device=self.tail.device).repeat_interleave(self.ptr.diff())
        inside = (self.tail >= nodes.start) & (self.tail < nodes.stop)
        rows[row[inside], self.tail[inside] - nodes.start] = 1.0
        return rows


@dataclass(frozen=True)
class Stream:
    """Which of all random streams: the same five numbers always give the same batches."""

    seed: int = 0  #: of the whole training
    objective: int = 0  #: position of the objective in the model's list
    epoch: int = 0  #: number of the epoch
    rank: int = 0  #: the process
    world: int = 1  #: number of processes
    path: tuple[int, ...] = ()  #: a stream within the stream

    def inner(self, number: int) -> Stream:
        """The number-th stream within this one."""
        return replace(self, path=(*self.path, number))

    def generator(self, device: torch.device | str = "cpu", *, shared: bool = False) -> torch.Generator:
        """A generator of this stream; `shared` gives one that all ranks have in common."""
        words = (self.seed, self.objective, self.epoch, 0 if shared else self.rank + 1, *self.path)
        state = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]) >> 1
        return torch.Generator(device).manual_seed(state)
