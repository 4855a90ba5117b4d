"""Masking: steps of a path are hidden, and a model predicts them from the steps on both sides."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.samplers.batch import Batch


class Masked:
    """Stage: hides steps of the paths of `Sequences(..., shift=False)`. Only the hidden steps are targets (the cloze
    task of BERT4Rec, Sun et al. 2019, sec. 3.6).

    `batch.masked` marks the hidden steps. There, `history` is graph.pad, so that no model sees the answer by mistake,
    and `tail` is the answer. Elsewhere, `tail` is graph.pad. A model represents a hidden step by a learned vector; it
    has no node number.

    probability: probability that a target is hidden; at least one target of each path is. last_only: share of the paths
    in which only the last target is hidden, as when recommending the next item.

    >>> import pandas as pd
    >>> from kgrec.samplers import Loader, Sequences
    >>> rows = [("ann", "a", 1), ("ann", "b", 2), ("ann", "c", 3)]
    >>> rated = pd.DataFrame(rows, columns=["source", "target", "time"])
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): rated})
    >>> paths = Sequences(graph, length=3, shift=False)  # films are nodes 1, 2 and 3, and 4 is no node
    >>> batch = next(iter(Loader(paths, Masked(graph, 0.2, last_only=1.0), batch_size=1)))
    >>> batch.history.tolist(), batch.masked.tolist(), batch.tail.tolist()
    ([[1, 2, 4]], [[False, False, True]], [[4, 4, 3]])

    Raises KgrecError for values outside their range, and for batches of other seeds.
    """

    by_example = True

    def __init__(self, graph: Graph, probability: float = 0.2, *, last_only: float = 0.0) -> None:
        if not 0 < probability < 1:
            raise KgrecError(f"masked: probability is {probability}; a number between 0 and 1 is wanted")
        if not 0 <= last_only <= 1:
            raise KgrecError(f"masked: last_only is {last_only}; a share from 0 to 1 is wanted")
        self.pad, self.probability, self.last_only = graph.pad, probability, last_only

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        is_target = batch.tail != self.pad
        if batch.history is None or not torch.equal(batch.tail[is_target], batch.history[is_target]):
            raise KgrecError(
                "Masked hides steps of sequences, but the batch has none; use it with Sequences(..., shift=False)"
            )
        masked = self._draw(is_target, generator)
        return replace(
            batch,
            history=batch.history.masked_fill(masked, self.pad),
            tail=batch.tail.masked_fill(~masked, self.pad),
            masked=masked,
        )

    def _draw(self, is_target: Tensor, generator: torch.Generator) -> Tensor:
        """The steps to hide, BoolTensor [B, L]. is_target: BoolTensor [B, L], with at least one target in each row."""
        draw = torch.rand(is_target.shape, generator=generator, device=is_target.device)
        draw = draw.masked_fill(~is_target, 2.0)
        masked = draw < self.probability
        masked.scatter_(1, draw.argmin(1, keepdim=True), True)  # at least one in each path
        if self.last_only:
            row = torch.rand(len(draw), generator=generator, device=draw.device) < self.last_only
            place = torch.arange(draw.shape[1], device=draw.device)
            last = place.where(is_target, -1).amax(1, keepdim=True)
            masked = torch.where(row.unsqueeze(1), place == last, masked)
        return masked
