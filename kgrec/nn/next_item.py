"""Sequence models: they turn a user's path, the items in the order of time, into a vector that scores the next item."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import NO_TIME, Graph
from kgrec.model import Objective, Query, Recommender
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.node_features import NodeFeaturesConfig
from kgrec.nn.packed_paths import Paths as Paths
from kgrec.nn.packed_paths import ReadSteps
from kgrec.nn.ranking_loss import Drawn, LossName, RankingLoss, RankingLossConfig, product
from kgrec.nn.sequence_encoder import SequenceEncoder
from kgrec.nn.step_times import moments, must_have_times, with_answer
from kgrec.optimizers import AdamW
from kgrec.rows import RelationRows, declare_rows
from kgrec.samplers import Batch, Loader, Masked, Sequences
from kgrec.search_ranges import Between, OneOf
from kgrec.settings import settings

Share = Annotated[float, Field(ge=0, lt=1)]


@settings
class NextItemConfig(NodeFeaturesConfig, RankingLossConfig):
    """Settings that all sequence models have."""

    #: loss of the next item: softmax compares it with all items; the others compare it with sampled negatives, which
    #: costs less in a large catalog
    loss: LossName = "softmax"
    #: number of negative items sampled for each next item, or with `shared` for each batch; not used by softmax
    negatives: NonNegativeInt = 256
    #: length of an item's vector (embedding size); longer vectors can express more, and cost memory and time
    dim: Annotated[PositiveInt, Between(32, 256, log=True)] = 64
    #: how many of a user's last interactions are read; older ones are ignored; more cost memory and time
    length: PositiveInt = 50
    #: share of values that training sets to 0 between layers; raise it against overfitting
    dropout: Annotated[Share, Between(0.0, 0.6)] = 0.2
    #: add a learned bias for each item to its scores; it lets popular items score higher for everybody
    item_bias: bool = False
    #: cut a history longer than `length` into several training rows, so that all of it is learned from; false: learn
    #: from its end alone
    windows: bool = True
    #: pause in seconds after which a new session begins; none: a user's history is one sequence
    gap: PositiveInt | None = None
    #: relations to read in the history, such as view and cart; empty: the target relation alone; predictions are always
    #: of the target
    behaviours: tuple[str, ...] = ()
    batch_size: PositiveInt = 128  #: sequences in a training batch; larger batches are faster and need more memory
    #: learning rate of the optimizer; lower it where the loss jumps, raise it where the loss hardly falls
    lr: Annotated[PositiveFloat, Between(3e-4, 0.03, log=True)] = 3e-3
    #: weight decay of all parameters, apart from the loss (decoupled, as in AdamW); raise it against overfitting
    l2: Annotated[NonNegativeFloat, OneOf((0.0, 1e-3, 1e-2, 0.1))] = 0.0
    #: standard deviation of the items' random initial vectors; rarely needs a change
    init_std: PositiveFloat = 0.02


@settings
class MaskingConfig:
    """Settings of models that learn to fill in hidden steps (BERT4Rec)."""

    #: probability that training hides a step of a sequence; the model predicts the hidden ones; higher: more to learn
    #: from, but less to predict from
    mask_probability: Annotated[float, Field(gt=0, lt=1)] = 0.2
    #: share of sequences in which only the last step is hidden, as when recommending
    mask_last: Annotated[float, Field(ge=0, le=1)] = 0.1


class NextItem(Recommender, ABC):
    """A score is the product of a user's vector, which the encoder makes from the last `length` steps of the history,
    and the item's vector.

    In training, every step predicts the next one. When recommending, the vector of the last step is the user's vector.
    Users are known by their history alone, so a new user gets the same scores as a known user with the same history.
    Input and output use the same item vectors. For a user without a history, every score is 0, or the item's bias.

    With `masking`, training hides some steps (see samplers.Masked) and predicts only these, so the encoder may look at
    the whole path. A hidden step has the learned vector `mask`. When recommending, a hidden step is put after a user's
    last `length - 1` steps, and its encoding is the user's vector; this also works without a history.
    """

    reads_history = True
    Config: ClassVar[type]

    def __init__(
        self, graph: Graph, config: Any, item: nn.Module | None = None, *, masking: MaskingConfig | None = None
    ) -> None:
        """item: the module that makes the item vectors, with a method `vectors()` as NodeEmbedding has; None: a
        NodeEmbedding. masking: how training hides steps, which the model then fills in; None: the model predicts the
        step after each step."""
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
        self.encoder = self.make_encoder(config)
        self.times = self.encoder.times

    @classmethod
    @abstractmethod
    def make_encoder(cls, config: Any) -> SequenceEncoder:
        """The network that reads the paths, by the model's settings. Another model can have it over its own vectors of
        items."""

    def encode(self, steps: Tensor, paths: Paths) -> Tensor:
        """The encoding of each step, [n, D], from the steps [n, D], packed: see SequenceEncoder."""
        found: Tensor = self.encoder(steps, paths)
        return found

    def objectives(self, graph: Graph) -> list[Objective]:
        c, known = self.config, graph.only(graph.target)
        self.ranking = RankingLoss(c, known)
        along, target = graph.along(self.behaviours), graph.target[1]
        m, stages = self.masking, self.ranking.stages()
        hidden = [] if m is None else [Masked(along, m.mask_probability, last_only=m.mask_last)]
        reads: dict[str, Any] = {"shift": m is None, "times": self.reads_times}
        if self.reads_times:
            must_have_times(along, type(self).__name__)
        paths = Sequences(along, c.length, windows=c.windows, gap=c.gap, targets=(target,), **reads)
        batches = Loader(paths, *hidden, *stages, batch_size=c.batch_size)
        return [Objective(c.loss, batches, self.loss, list(self.parameters()), self.optimizer, lr=c.lr)]

    def optimizer(self, parameters: Any, lr: float) -> torch.optim.Optimizer:
        """AdamW, which is Adam when the weight decay is 0."""
        return AdamW(parameters, lr=lr, weight_decay=self.config.l2, fused=True)

    def loss(self, batch: Batch) -> Tensor:
        """The ranking loss of the true item at each step, a mean over the steps."""
        assert batch.history is not None
        pad = self.ranking.known.pad
        there = batch.history != pad if batch.masked is None else (batch.history != pad) | batch.masked
        tail = batch.tail[there]
        item = self.item.vectors()
        steps = self.steps(item, batch.history, batch.behaviour, there, batch.masked)
        read = ReadSteps(
            batch.history, there, batch.behaviour, batch.masked, *self._times(batch.time, batch.now, batch.masked)
        )
        vector = self.encode(steps, read.paths)
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
        """Vectors of the steps, packed: [n, D]. there: BoolTensor [B, L], which steps exist; None: all, row after row.
        masked: BoolTensor [B, L], steps whose item is hidden."""

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
        """The vector of each user's history, which predicts the next item: [B, D]."""
        return self._vector(self.item.vectors(), query)

    def vector_of(self, query: Query, item: Vectors, find: Callable[[Tensor], Tensor]) -> Tensor:
        """The same by other vectors of the steps. find: from the nodes of steps, [B, length or less], to their rows."""
        read = self._read(query)
        steps, paths = self.steps(item, find(read.history), read.behaviour, read.there, read.masked), read.paths
        return paths.last(self.encode(steps, paths) if len(steps) else steps)

    def score(self, query: Query, items: Tensor) -> Tensor:
        item = self.item.vectors()
        return self._scores(item, self._vector(item, query), items)

    def score_by(self, vector: Tensor, items: Tensor) -> Tensor:
        """The scores that `score` gives to users whose histories have these vectors, [B, D], as `vector` makes them."""
        return self._scores(self.item.vectors(), vector, items)

    def padded_score(self, query: Query, items: Tensor) -> Tensor:
        """The same as `score`, but with padding, so that no shape depends on the values of a tensor."""
        item = self.item.vectors()
        read = self._read(query).padded()
        steps, paths = self.steps(item, read.history, read.behaviour, None, read.masked), read.paths
        return self._scores(item, paths.last(self.encode(steps, paths)), items)

    def _scores(self, item: NodeEmbedding | Vectors, vector: Tensor, items: Tensor) -> Tensor:
        score = product(self.config, vector, item, items, serves=not self.training)
        return score if self.item_bias is None else score + self.item_bias(items).squeeze(-1)

    def spread(self, query: Query, weights: Callable[[Tensor, Paths], Tensor]) -> Tensor:
        """The weight of each step of the histories, 0 for steps that are not read: FloatTensor [B, L]. weights: a
        function from steps [n, D], packed, and their paths to weights [n]. Raises KgrecError with `masking`, because
        the hidden step has a weight too, but no position in the history."""
        if self.masking is not None:
            raise KgrecError(
                f"{type(self).__name__} adds a hidden step, so its weights are not those of the history's steps alone; "
                "use a model without masking, such as gruatt"
            )
        steps, paths = self._of_query(self.item.vectors(), query)
        found = steps.new_zeros(query.history.shape)
        if len(steps):
            self._last(found)[self.read(query)] = weights(steps, paths)
        return found

    @property
    def reads_times(self) -> bool:
        """Whether `encode` reads `paths.time` and `paths.now`: its setting `times` is not none."""
        return self.times != "none"

    @property
    def reads_now(self) -> bool:
        return self.times == "now"

    @property
    def most_read(self) -> int:
        """How many steps of a history are read at most when recommending."""
        return self.config.length - (self.masking is not None)

    def read(self, query: Query) -> Tensor:
        """Which of the last `length` steps are read, namely known items: BoolTensor [B, length or less]."""
        return self._last(query.history) < self.items.stop

    def _vector(self, item: NodeEmbedding | Vectors, query: Query) -> Tensor:
        steps, paths = self._of_query(item, query)
        return paths.last(self.encode(steps, paths) if len(steps) else steps)

    def _of_query(self, item: NodeEmbedding | Vectors, query: Query) -> tuple[Tensor, Paths]:
        read = self._read(query)
        return self.steps(item, read.history, read.behaviour, read.there, read.masked), read.paths

    def _read(self, query: Query) -> ReadSteps:
        """The input when recommending."""
        history, there, behaviour, masked = self._last(query.history), self.read(query), query.behaviour, None
        time, now = (self._last(one) for one in moments(query)) if self.reads_times else (None, None)
        if self.behaviour is not None:
            known = torch.full_like(query.history, self.target) if behaviour is None else behaviour
            behaviour = self._last(known)
        if self.masking is not None:
            history = functional.pad(history, (0, 1), value=self.items.stop)
            there = functional.pad(there, (0, 1), value=True)
            behaviour = None if behaviour is None else functional.pad(behaviour, (0, 1), value=self.target)
            masked = torch.arange(history.shape[1], device=history.device).expand_as(history) == history.shape[1] - 1
            if now is not None:
                time = now = with_answer(time, now)
        return ReadSteps(history, there, behaviour, masked, *self._times(time, now, masked))

    def _times(
        self, time: Tensor | None, now: Tensor | None, masked: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """The times of steps and of their targets. Unless `now` is read, a hidden step's time is not known."""
        if masked is not None and time is not None and not self.reads_now:
            time = time.masked_fill(masked, NO_TIME)
        return time, now

    def _last(self, steps: Tensor) -> Tensor:
        """The last of the steps [B, L], as many as are read when recommending."""
        return steps[:, max(0, steps.shape[1] - self.most_read) :]


def _behaviours(graph: Graph, names: tuple[str, ...]) -> tuple[str, ...]:
    """The relations of a path, including the target, in the graph's order. Raises UnknownName for an unknown relation,
    and KgrecError for one that does not join the same node types as the target."""
    source, target, item = graph.target
    for name in names:
        found = graph.schema.edge_types(name)
        if (source, name, item) not in found:
            raise KgrecError(
                f"behaviours: {'-'.join(found[0])} cannot be read as history; name relations from {source} to {item}"
            )
    wanted = {(source, name, item) for name in (target, *names)}
    return tuple(edge[1] for edge in graph.edge_types if edge in wanted)
