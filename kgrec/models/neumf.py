"""NeuMF: matrix factorization and a multi-layer perceptron, joined in one score."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from kgrec.graph import Graph
from kgrec.model import FOREVER, Objective
from kgrec.nn import Drawn, EdgeModel, NodeEmbedding, PairMLP, PairMLPConfig, RankingLoss, dot
from kgrec.nn.fold_in import FoldingSteps
from kgrec.nn.perceptron_steps import Factors, PerceptronSteps
from kgrec.optimizers import fused_adam, sgd
from kgrec.samplers import Batch
from kgrec.settings import settings


@settings
class NeuMFConfig(PairMLPConfig):
    """Settings of NeuMF. `dim` is the length of the factorization's vectors."""

    #: length of the vectors that the perceptron reads; longer ones can express more, and cost memory and time
    mlp_dim: PositiveInt = 32
    #: epochs in which the two halves are trained apart before they are joined; 0: they are trained together from the
    #: start
    pretrain_epochs: NonNegativeInt = 0
    #: weight of the factorization when the pre-trained halves are joined; the perceptron has the rest
    pretrain_alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    fused_optimizer: Literal["adam", "sgd"] = "adam"  #: optimizer after pre-training; the paper uses sgd
    fused_lr: PositiveFloat = 1e-3  #: learning rate after pre-training


class NeuMF(EdgeModel):
    """The score is h.(u * v) + MLP([u'; v']); each half has its own vectors (He et al. 2017, eq. 12).

    With `pretrain_epochs` the two halves are first trained apart. Then their last layers are weighted by alpha and 1 -
    alpha (eq. 13), and the whole model is trained.
    """

    Config = NeuMFConfig
    paper = "He et al. 2017, Neural collaborative filtering, WWW"
    only_looks_up = True
    fold_in = FoldingSteps(classes=256)  # each costs a pass through the layers

    def __init__(self, graph: Graph, config: NeuMFConfig) -> None:
        super().__init__(graph, config)
        known, (source, _, target) = graph.only(graph.target), graph.target
        self.user = NodeEmbedding(known, source, config.dim, config.init_std, config, end="users")
        self.item = NodeEmbedding(known, target, config.dim, config.init_std, config, end="items")
        self.weight = nn.Parameter(torch.empty(config.dim).uniform_(-1, 1) * (3 / config.dim) ** 0.5)  # h
        self.mlp_user = NodeEmbedding(known, source, config.mlp_dim, config.init_std, config, end="users")
        self.mlp_item = NodeEmbedding(known, target, config.mlp_dim, config.init_std, config, end="items")
        self.mlp = PairMLP(config.mlp_dim, config.hidden, config.dropout)
        self.halves: tuple[str, ...] = ("factorization", "perceptron")  #: the halves that are part of the score now

    def objectives(self, graph: Graph) -> list[Objective]:
        c = self.config
        if not c.pretrain_epochs:
            return super().objectives(graph)
        first = range(1, c.pretrain_epochs + 1)
        factors = [self.weight, *self.user.parameters(), *self.item.parameters()]
        rest = [*self.mlp_user.parameters(), *self.mlp_item.parameters(), *self.mlp.parameters()]
        return [
            self.objective(graph, "factorization", factors, epochs=first, loss=self._half("factorization")),
            self.objective(graph, "perceptron", rest, epochs=first, loss=self._half("perceptron")),
            self.objective(
                graph,
                self.task,
                [*factors, *rest],
                epochs=range(first.stop, FOREVER),
                lr=c.fused_lr,
                optimizer=sgd if c.fused_optimizer == "sgd" else fused_adam,
            ),
        ]

    def compiled_steps(self, parameters: list[nn.Parameter]) -> PerceptronSteps | None:
        halves = [any(one is own for own in parameters) for one in (self.weight, self.mlp.out.weight)]
        if not all(halves) or not PerceptronSteps.fit(self.config):  # what l2 adds to a half's loss is of both
            return None
        factors = Factors(self.user, self.item, self.weight)
        ends = self.mlp_user, self.mlp_item
        return PerceptronSteps(self.config, len(self.ranking.classes), *ends, self.mlp, factors)

    def start_from(self, taken: Collection[str]) -> None:
        """After vectors were taken from a model without h, such as MF, the score starts as their dot product: h is set
        to 1, and the perceptron's output layer to 0."""
        if {"user", "item"} <= set(taken) and "weight" not in taken:
            self.weight.fill_(1.0)
            self.mlp.out.weight.zero_()
            self.mlp.out.bias.zero_()

    def begin(self, epoch: int) -> None:
        """In the first epoch after pre-training, weight the last layers of the two halves."""
        if self.config.pretrain_epochs and epoch == self.config.pretrain_epochs + 1:
            alpha = self.config.pretrain_alpha
            with torch.no_grad():
                self.weight.mul_(alpha)
                for parameter in self.mlp.out.parameters():
                    parameter.mul_(1 - alpha)

    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        return ranking.of_scores(self._scorer(user), drawn)

    def pair_scores(self, user: Tensor, items: Tensor) -> Tensor:
        return self._scorer(user)(items)

    def _scorer(self, user: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from items, [C] or [B, C], to their scores for users [B]: [B, C]."""
        factors = self.user(user) * self.weight if "factorization" in self.halves else None
        perceptron = self.mlp_user(user) if "perceptron" in self.halves else None

        def scores(items: Tensor) -> Tensor:
            found = torch.zeros((), device=items.device)
            if factors is not None:
                found = dot(factors, self.item, items)
            if perceptron is not None:
                found = found + self.mlp.of_pairs(perceptron, self.mlp_item, items)
            return found

        return scores

    def _half(self, name: str) -> Callable[[Batch], Tensor]:
        """The loss where the score is that of one half alone."""

        def loss(batch: Batch) -> Tensor:
            both, self.halves = self.halves, (name,)
            try:
                return self.edge_loss(batch)
            finally:
                self.halves = both

        return loss
