"""Edge prediction between two types of nodes: the score of a pair, learned as a ranking, a rating or a click."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import Objective, Query, Recommender, Task
from kgrec.nn.embedding import NodeEmbedding, vector_tables
from kgrec.nn.label_loss import label_loss, label_of, mean_score, squares
from kgrec.nn.node_features import NodeFeaturesConfig
from kgrec.nn.ranking_loss import Drawn, LossName, RankingLoss, RankingLossConfig
from kgrec.samplers import Batch, Edges, Loader, Nodes, Stage
from kgrec.settings import settings


@settings
class EdgeModelConfig(NodeFeaturesConfig, RankingLossConfig):
    """Settings that all edge models have."""

    task: Task = "ranking"  #: what it is trained for: an order of items, ratings, or the probability of a click
    dim: PositiveInt = 64  #: numbers in a vector
    loss: LossName = "sampled_softmax"  #: of a ranking: of each true item beside drawn ones, or beside all with softmax
    negatives: NonNegativeInt = 16  #: items drawn for each true one, or for each batch where `shared`
    batch_size: PositiveInt = 2048  #: edges in a batch; with `loss: softmax`, users
    lr: PositiveFloat = 1e-2  #: step size of the optimizer
    #: lambda, weight of the squares of the vectors that an example uses; of ratings and clicks, of all parameters
    l2: NonNegativeFloat = 0.01
    init_std: PositiveFloat = 0.02  #: standard deviation of the vectors at the start


class EdgeModel(Recommender, ABC):
    """The score of a pair is `pair_scores`, plus a mean where it is a rating or a click.

    `task: ranking` minimises the ranking loss + l2 (|u|^2 + |v|^2 + |v'|^2), the mean over interactions, with v' the
    vectors of the items drawn for each (their mean), all without the parts that features give. With `loss: softmax` a
    batch is of users with all their items, and batch_size counts users. `task: rating` minimises the sum over known
    edges of (r - score)^2 + l2 |all parameters|^2, where the mean of all ratings is part of the score if `centred`;
    `task: ctr` the same with binary cross-entropy of the edges' labels, where a score is a click's logit and that of
    the clicks' share is part.
    """

    def __init__(self, graph: Graph, config: Any, *, centred: bool = True) -> None:
        super().__init__(graph, config)
        self.task = config.task
        known = graph.only(graph.target)
        self.num_known = known.num_edges
        self.mean: Tensor  #: FloatTensor [], added to every pair's score
        mean = mean_score(known, config.task)  # an error where clicks have no labels
        self.register_buffer("mean", mean if centred else torch.tensor(0.0))

    @abstractmethod
    def pair_scores(self, user: Tensor, items: Tensor) -> Tensor:
        """Scores of each user [B] with items [C], or [B, C] for lists of each one's own: [B, C]."""

    @abstractmethod
    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        """The loss of true items and what was drawn beside them. user: LongTensor [R], the rows' own."""

    def objectives(self, graph: Graph) -> list[Objective]:
        return [self.objective(graph, self.task, list(self.parameters()))]

    def objective(
        self,
        graph: Graph,
        name: str,
        parameters: list[torch.nn.Parameter],
        stages: Sequence[Stage] = (),
        prefetch: int = 0,
        **how: Any,
    ) -> Objective:
        """The task's objective over the target edges. stages: further ones of its loader; prefetch: see Loader; how:
        further fields of the objective."""
        c, known = self.config, graph.only(graph.target)
        how = {"lr": c.lr, "loss": self.edge_loss, "penalty": self.edge_penalty if c.l2 else None, **how}
        if c.task != "ranking":
            edges = Edges(known, label=label_of(c.task))
            return Objective(name, Loader(edges, *stages, batch_size=c.batch_size), parameters=parameters, **how)
        self.ranking = RankingLoss(c, known)
        seeds = Nodes(known, known.target[0]) if self.ranking.over_all else Edges(known)
        pairs = Loader(seeds, *self.ranking.stages(), *stages, batch_size=c.batch_size, prefetch=prefetch)
        return Objective(name, pairs, parameters=parameters, **how)

    def edge_loss(self, batch: Batch) -> Tensor:
        """The loss of a batch of edges, by the task."""
        if self.task == "ranking":
            loss = self.ranking_loss(self.ranking, batch.head, _drawn(batch))
        else:
            score = self.pair_scores(batch.head, batch.tail.unsqueeze(1)).squeeze(1) + self.mean
            loss = label_loss(self.task, score, batch)
        return loss + self.edge_penalty(batch) if self.config.l2 else loss

    def edge_penalty(self, batch: Batch) -> Tensor:
        """What of `edge_loss` is regularisation: all that `l2` weighs."""
        if self.task != "ranking":
            return self.config.l2 * squares(self) / self.num_known
        head = batch.head if batch.ptr is None else batch.head.repeat_interleave(batch.ptr.diff())
        return self.config.l2 * self._squares(head, _drawn(batch)) / len(head)

    def weighed_tables(self) -> list[NodeEmbedding]:
        """The tables of vectors that `l2` weighs in a ranking: all, unless a model says which."""
        return vector_tables(self)

    def _squares(self, head: Tensor, drawn: Drawn) -> Tensor:
        """The sum over examples of the squares of the vectors behind each; biases are free."""
        squares = torch.zeros((), device=head.device)
        source, _, target = self.ranking.known.target
        for table in self.weighed_tables():
            if table.node_rows.at(source) is not None and (table.end != "items" or source != target):
                squares = squares + table.squares(head)
            if table.node_rows.at(target) is not None and (table.end != "users" or source != target):
                squares = squares + table.squares(drawn.tail)
                if drawn.negative is not None and not self.config.shared:
                    squares = squares + table.squares(drawn.negative) / self.config.negatives
        return squares

    def score(self, query: Query, items: Tensor) -> Tensor:
        return self.pair_scores(query.user, items) + self.mean


def _drawn(batch: Batch) -> Drawn:
    """A batch's true items and what was drawn beside them."""
    return Drawn(batch.tail, batch.negative, batch.log_q, batch.ptr, batch.head)
