"""Sequence models: a path of items through time to a vector that scores what comes next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Objective, Query, Recommender
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.node_features import NodeFeaturesConfig
from kgrec.nn.ranking_loss import Drawn, LossName, RankingLoss, RankingLossConfig, product
from kgrec.rows import RelationRows, declare_rows
from kgrec.samplers import Batch, Loader, Masked, Sequences
from kgrec.settings import settings

Share = Annotated[float, Field(ge=0, lt=1)]


@settings
class NextItemConfig(NodeFeaturesConfig, RankingLossConfig):
    """Settings that all sequence models have."""

    loss: LossName = "softmax"  #: of the next item beside others: all items with softmax, else drawn ones
    negatives: NonNegativeInt = 256  #: drawn for each target, or for each batch where `shared`
    dim: PositiveInt = 64  #: numbers in a vector
    length: PositiveInt = 50  #: most steps of a history
    dropout: Share = 0.2  #: share of numbers that training sets to 0, between layers
    item_bias: bool = False  #: a bias for each item in the scores
    windows: bool = True  #: a path longer than `length` becomes several rows; else only its end is learned from
    gap: PositiveInt | None = None  #: seconds without an edge that end a path (sessions); none: paths have no end
    behaviours: tuple[str, ...] = ()  #: relations along the path; (): the target alone. The target is what is predicted
    batch_size: PositiveInt = 128  #: paths in a batch
    lr: PositiveFloat = 3e-3  #: step size of the optimizer
    l2: NonNegativeFloat = 0.0  #: weight decay of all parameters, apart from the loss (decoupled: AdamW)
    init_std: PositiveFloat = 0.02  #: standard deviation of the items' vectors at the start


@settings
class MaskingConfig:
    """Settings of models that learn to fill in hidden steps (BERT4Rec)."""

    mask_probability: Annotated[float, Field(gt=0, lt=1)] = 0.2  #: with which each step of a path is hidden in training
    mask_last: Annotated[float, Field(ge=0, le=1)] = 0.1  #: share of paths of which the last step alone is hidden


@dataclass(frozen=True, eq=False)
class Paths:
    """How n steps stand in B paths; steps are packed, path after path, without padding.

    With `places` each path has so many steps, of which those past its end are pads, so that no shape depends on what a
    tensor holds, as `torch.export` wants it (see `exportable`). What layers say of pads is not read.
    """

    length: Tensor  #: LongTensor [B], steps of each path, 0 or more
    places: int | None = None  #: L, where pads stand among the steps

    @cached_property
    def width(self) -> int:
        """Steps of the longest path, L."""
        if self.places is not None:
            return self.places
        return int(self.length.max()) if len(self.length) else 0

    @cached_property
    def stop(self) -> Tensor:
        """Past each path's last step: LongTensor [B]."""
        if self.places is None:
            return self.length.cumsum(0)
        return torch.arange(self.length.shape[0], device=self.length.device) * self.places + self.length

    @cached_property
    def row(self) -> Tensor:
        """Which path each step is of: LongTensor [n]."""
        paths = torch.arange(self.length.shape[0], device=self.length.device)
        if self.places is None:
            return paths.repeat_interleave(self.length)
        return paths.unsqueeze(1).expand(-1, self.places).reshape(-1)

    @cached_property
    def step(self) -> Tensor:
        """Which step of its path each is, from 0: LongTensor [n]."""
        return torch.arange(self.row.shape[0], device=self.row.device) - (self.stop - self.length)[self.row]

    @cached_property
    def slot(self) -> Tensor:
        """Where each step stands in rows of L, padded on the right: LongTensor [n]."""
        return self.row * self.width + self.step

    @cached_property
    def seen(self) -> Tensor:
        """Which of L places are steps: BoolTensor [B, L]. A path without steps has one, so that a mean over what is
        seen is a number."""
        return torch.arange(self.width, device=self.length.device) < self.length.clamp(min=1).unsqueeze(1)

    def padded(self, steps: Tensor) -> Tensor:
        """Steps [n, D] in rows [B, L, D], zeros past a path's end."""
        number = self.length.shape[0]
        if self.places is not None:
            return steps.view(number, self.places, -1) * (self.step < self.length[self.row]).view(number, -1, 1)
        rows = steps.new_zeros(number * self.width, steps.shape[-1])
        return rows.index_copy(0, self.slot, steps).view(number, self.width, steps.shape[-1])

    def packed(self, rows: Tensor) -> Tensor:
        """Rows [B, L, D] back to steps [n, D]."""
        return rows.reshape(-1, rows.shape[-1]).index_select(0, self.slot)

    def last(self, steps: Tensor) -> Tensor:
        """Each path's last step of [n, D], zeros for a path without steps: [B, D]."""
        known = self.length > 0
        if self.places is not None:
            return steps[(self.stop - 1).clamp(min=0)] * known.unsqueeze(1)
        found = steps.new_zeros(len(self.length), steps.shape[-1])
        found[known] = steps[self.stop[known] - 1]
        return found


class NextItem(Recommender, ABC):
    """A score is a product: what `encode` makes of a user's last `length` steps, times the item's vector.

    Every step is a target in training, and one vector a user serves: users are known by their history alone, so a new
    one equals a known one of the same history. Items that are seen and items that are scored share their vectors.
    A user without a history scores every item 0, or its bias.

    With `masking` steps are hidden in training (see samplers.Masked) and only these are targets, so `encode` may look
    at a whole path. A hidden step is the learned vector `mask`. To serve, one is put after a user's last `length - 1`
    steps, and what is encoded there is the user's vector, also of a user without a history.
    """

    reads_history = True
    Config: ClassVar[type]

    def __init__(
        self, graph: Graph, config: Any, item: nn.Module | None = None, *, masking: MaskingConfig | None = None
    ) -> None:
        """item: what makes the items' vectors, as `vectors()` of a NodeEmbedding; None: a NodeEmbedding. masking: how
        steps are hidden in training, which are then to be filled in; None: each step's next one is to be predicted."""
        super().__init__(graph, config)
        self.behaviours = _behaviours(graph, config.behaviours)
        along = graph.along(self.behaviours)
        self.item: Any = item or NodeEmbedding(along, graph.target[2], config.dim, config.init_std, config)
        self.item_bias = NodeEmbedding(graph, graph.target[2], 1, std=0.0) if config.item_bias else None
        self.items = graph.range(graph.target[2])
        self.target = self.behaviours.index(graph.target[1])
        several = len(self.behaviours) > 1
        self.behaviour = nn.Embedding(len(self.behaviours), config.dim) if several else None
        if several:
            declare_rows(self, behaviour=RelationRows(along.edge_types))
        self.masking = masking
        self.mask = None if masking is None else nn.Parameter(torch.empty(config.dim).normal_(std=config.init_std))

    @abstractmethod
    def encode(self, steps: Tensor, paths: Paths) -> Tensor:
        """What each step and those before it in its path say of the next, or with `masking` what the whole path says of
        each step: [n, D] of steps [n, D], packed."""

    def objectives(self, graph: Graph) -> list[Objective]:
        c, known = self.config, graph.only(graph.target)
        self.ranking = RankingLoss(c, known)
        along, target = graph.along(self.behaviours), graph.target[1]
        m, stages = self.masking, self.ranking.stages()
        hidden = [] if m is None else [Masked(along, m.mask_probability, last_only=m.mask_last)]
        paths = Sequences(along, c.length, windows=c.windows, gap=c.gap, targets=(target,), shift=m is None)
        batches = Loader(paths, *hidden, *stages, batch_size=c.batch_size)
        return [Objective(c.loss, batches, self.loss, list(self.parameters()), self.optimizer, lr=c.lr)]

    def optimizer(self, parameters: Any, lr: float) -> torch.optim.Optimizer:
        """AdamW, which without decay is Adam."""
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=self.config.l2, fused=True)

    def loss(self, batch: Batch) -> Tensor:
        """The ranking loss of the true item at each step, a mean over the steps."""
        assert batch.history is not None
        pad = self.ranking.known.pad
        there = batch.history != pad if batch.masked is None else (batch.history != pad) | batch.masked
        tail = batch.tail[there]
        item = self.item.vectors()
        steps = self.steps(item, batch.history, batch.behaviour, there, batch.masked)
        vector = self.encode(steps, Paths(there.sum(1)))
        negative, log_q, target = batch.negative, batch.log_q, tail != pad
        if negative is not None and log_q is not None and not self.config.shared:
            negative, log_q = negative[there][target], log_q[there][target]
        vector = vector[target] if len(self.behaviours) > 1 or self.masking else vector
        user = batch.head.unsqueeze(1).expand_as(there)[there][target]
        drawn = Drawn(tail[target], negative, log_q, user=user)
        return self.ranking.of_vectors(vector, item, drawn, self.item_bias)

    def steps(
        self,
        item: NodeEmbedding | Vectors,
        history: Tensor,
        behaviour: Tensor | None,
        there: Tensor | None,
        masked: Tensor | None = None,
    ) -> Tensor:
        """Vectors of the steps that are there (BoolTensor [B, L]; None: of all, row after row), packed: [n, D]. masked:
        BoolTensor [B, L], of which the item is hidden."""

        def packed(rows: Tensor) -> Tensor:
            return rows.flatten() if there is None else rows[there]

        steps: Tensor = item(packed(history))
        if masked is not None and self.mask is not None:
            steps = torch.where(packed(masked).unsqueeze(1), self.mask.to(steps.dtype), steps)
        if self.behaviour is not None:
            assert behaviour is not None
            steps = steps + self.behaviour(packed(behaviour))
        return steps

    def vector(self, query: Query) -> Tensor:
        """What each user's history says of the next item: [B, D]."""
        return self._vector(self.item.vectors(), query)

    def score(self, query: Query, items: Tensor) -> Tensor:
        item = self.item.vectors()
        return self._scores(item, self._vector(item, query), items)

    def padded_score(self, query: Query, items: Tensor) -> Tensor:
        """The same as `score`, with pads among the steps, so that no shape depends on what a tensor holds."""
        item = self.item.vectors()
        history, behaviour, there, masked = self._read(query)
        first = (~there).long().argsort(dim=1, stable=True)  # what is read comes first, the pads are behind it
        history = history.gather(1, first)
        behaviour = None if behaviour is None else behaviour.gather(1, first).clamp(min=0)
        masked = None if masked is None else masked.gather(1, first)
        steps, paths = self.steps(item, history, behaviour, None, masked), Paths(there.sum(1), there.shape[1])
        return self._scores(item, paths.last(self.encode(steps, paths)), items)

    def _scores(self, item: NodeEmbedding | Vectors, vector: Tensor, items: Tensor) -> Tensor:
        score = product(self.config, vector, item, items, serves=not self.training)
        return score if self.item_bias is None else score + self.item_bias(items).squeeze(-1)

    def spread(self, query: Query, weights: Callable[[Tensor, Paths], Tensor]) -> Tensor:
        """Weights of the steps that are read, in the places of the whole histories, 0 elsewhere: FloatTensor [B, L].
        weights: steps [n, D], packed, and their paths -> [n]. Raises KgrecError with `masking`: the hidden step has a
        weight of its own, and no place in the history."""
        if self.masking is not None:
            raise KgrecError(f"{type(self).__name__} reads a hidden step beside the history; it cannot spread weights")
        steps, paths = self._of_query(self.item.vectors(), query)
        found = steps.new_zeros(query.history.shape)
        if len(steps):
            self._last(found)[self.read(query)] = weights(steps, paths)
        return found

    @property
    def most_read(self) -> int:
        """Most steps of a history that are read to serve."""
        return self.config.length - (self.masking is not None)

    def read(self, query: Query) -> Tensor:
        """Which of the last `length` steps are read, BoolTensor [B, length or less]: items that are known."""
        return self._last(query.history) < self.items.stop

    def _vector(self, item: NodeEmbedding | Vectors, query: Query) -> Tensor:
        steps, paths = self._of_query(item, query)
        return paths.last(self.encode(steps, paths) if len(steps) else steps)

    def _of_query(self, item: NodeEmbedding | Vectors, query: Query) -> tuple[Tensor, Paths]:
        history, behaviour, there, masked = self._read(query)
        return self.steps(item, history, behaviour, there, masked), Paths(there.sum(1))

    def _read(self, query: Query) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """What is read to serve, [B, length or less] each: nodes, behaviours, whether one is read, and whether it is
        hidden."""
        history, there, behaviour, masked = self._last(query.history), self.read(query), query.behaviour, None
        if self.behaviour is not None:
            known = torch.full_like(query.history, self.target) if behaviour is None else behaviour
            behaviour = self._last(known)
        if self.masking is not None:
            history = functional.pad(history, (0, 1), value=self.items.stop)
            there = functional.pad(there, (0, 1), value=True)
            behaviour = None if behaviour is None else functional.pad(behaviour, (0, 1), value=self.target)
            masked = torch.arange(history.shape[1], device=history.device).expand_as(history) == history.shape[1] - 1
        return history, behaviour, there, masked

    def _last(self, steps: Tensor) -> Tensor:
        """Those of steps [B, L] that are read to serve."""
        return steps[:, max(0, steps.shape[1] - self.most_read) :]


def _behaviours(graph: Graph, names: tuple[str, ...]) -> tuple[str, ...]:
    """The relations along a path, the target among them, in the graph's order. Raises UnknownName, and KgrecError for
    one that does not join the target's types."""
    source, target, item = graph.target
    for name in names:
        found = graph.schema.edge_types(name)
        if (source, name, item) not in found:
            raise KgrecError(f"behaviours: {'-'.join(found[0])} is no behaviour; {source}-...-{item} is wanted")
    wanted = {(source, name, item) for name in (target, *names)}
    return tuple(edge[1] for edge in graph.edge_types if edge in wanted)
