"""Training steps of matrix factorization that move only the rows of a batch: loss, gradient and Adam, compiled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kgrec.nn.edge_model import EdgeModelConfig
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.losses import NO_LOGIT
from kgrec.nn.row_steps import LateAdam, moves_only
from kgrec.samplers import Batch

if TYPE_CHECKING:
    from kgrec.nn.touched_rows import PairLoss

LOSSES = ("bpr", "bce", "gbce", "sampled_softmax")  #: the losses that have compiled steps
PREFETCH = 1  #: batches that are sampled ahead of them, in a thread: a block of them, where several are sampled at once


def has_compiled_loss(config: EdgeModelConfig) -> bool:
    """Whether there is a compiled loop for the loss of these settings."""
    drawn = config.task == "ranking" and config.loss in LOSSES and config.negatives > 0
    return drawn and not (config.shared or config.in_batch or config.hard or config.cosine)


def pair_loss(config: EdgeModelConfig, classes: int) -> PairLoss:
    """What these loops take as their loss. classes: number of items that may be drawn."""
    from kgrec.nn import touched_rows as kernels

    c, weight = config, 1.0
    if c.loss == "gbce":
        rate = c.negatives / max(1, classes - 1)
        weight = rate * (c.gbce_t * (1 - 1 / rate) + 1 / rate)
    kind = {
        "bpr": kernels.BPR,
        "bce": kernels.BCE,
        "gbce": kernels.GBCE,
        "sampled_softmax": kernels.SAMPLED_SOFTMAX,
    }[c.loss]
    return kernels.PairLoss(kind, weight, 1 / c.temperature, float(c.l2_of_task), NO_LOGIT)


def log_counts(batch: Batch, loss: PairLoss) -> np.ndarray:
    """What these loops take as the logarithm of how often each negative of a batch is drawn: float32 [B, K] where the
    loss reads it, else [1, K]."""
    from kgrec.nn.touched_rows import SAMPLED_SOFTMAX

    assert batch.negative is not None
    assert batch.log_q is not None
    count = batch.negative.shape[1]
    found: np.ndarray = np.zeros((1, count), np.float32)
    return (batch.log_q + math.log(count)).numpy() if loss.kind == SAMPLED_SOFTMAX else found


class PairSteps:
    """Steps of a model whose scores are the dot products of two tables, over sampled negatives of each example."""

    def __init__(self, user: NodeEmbedding, item: NodeEmbedding, config: EdgeModelConfig, classes: int) -> None:
        """classes: number of items that may be drawn."""
        self.user, self.item, self.config, self.classes = user, item, config, classes

    @staticmethod
    def fit(user: NodeEmbedding, item: NodeEmbedding, config: EdgeModelConfig) -> bool:
        """Whether there are such steps for a model of these tables with these settings."""
        tables = all(one.has_ids and one.features is None and one.rows is None for one in (user, item))
        return config.dim > 1 and has_compiled_loss(config) and tables

    def serve(self, optimizer: Any) -> bool:
        """Whether these steps do what the loss and this optimizer would do."""
        return moves_only(optimizer, [self.user.weight, self.item.weight])

    @contextmanager
    def running(self, optimizer: Any, number: int) -> Iterator[Callable[[Batch], Tensor]]:
        """Inside this context, a function takes up to `number` steps (see CompiledSteps)."""
        from kgrec.nn import touched_rows as kernels

        users, items, loss = self.user, self.item, pair_loss(self.config, self.classes)
        adam = LateAdam([users.weight, items.weight], optimizer, number)

        def step(batch: Batch) -> Tensor:
            assert batch.negative is not None
            adam.begin_step()
            user = users.row(batch.head).numpy()
            item = items.row(torch.cat([batch.tail.unsqueeze(1), batch.negative], 1)).numpy()
            of_users, of_items = adam.touch(0, user), adam.touch(1, item)
            places, gradients = (of_users.place, of_items.place), (of_users.gradient, of_items.gradient)
            decays, vectors = (of_users.decay, of_items.decay), (adam.rows[0].value, adam.rows[1].value)
            value = kernels.pair_gradients(
                user, item, *places, log_counts(batch, loss), *gradients, *decays, *vectors, loss
            )
            return torch.tensor(value + adam.step(0, of_users) + adam.step(1, of_items), dtype=torch.float32)

        try:
            yield step
        finally:
            adam.finish()
