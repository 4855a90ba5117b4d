"""Edge models: they score a pair of a user and an item, and are trained for rankings, ratings or clicks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import CompiledSteps, Objective, Query, Recommender, Task
from kgrec.nn.edge_folding import EdgeFolding
from kgrec.nn.embedding import NodeEmbedding, vector_tables
from kgrec.nn.fold_in import Folding, FoldingSteps
from kgrec.nn.label_loss import label_loss, label_of, mean_score, squares
from kgrec.nn.look_up_steps import LookUpSteps, rows_read
from kgrec.nn.node_features import NodeFeaturesConfig
from kgrec.nn.ranking_loss import Drawn, LossName, RankingLoss, RankingLossConfig
from kgrec.samplers import Batch, Edges, Loader, Nodes, Stage
from kgrec.search_ranges import Between
from kgrec.settings import settings

#: l2 where nothing is said. That of ratings weighs a sum over all edges, and is larger for that (docs/defaults.md)
L2_OF_TASK: Mapping[str, float] = {"ranking": 0.01, "rating": 10.0, "ctr": 0.01}


@settings
class EdgeModelConfig(NodeFeaturesConfig, RankingLossConfig):
    """Settings that all edge models have."""

    #: what the model learns to predict: ranking (an order of items), rating (a number), or ctr (the probability of a
    #: click)
    task: Task = "ranking"
    #: length of a user's or item's vector (embedding size); longer vectors can express more, and cost memory and time
    dim: Annotated[PositiveInt, Between(16, 256, log=True)] = 64
    #: loss of a ranking: softmax compares each true item with all items; the others compare it with sampled negatives,
    #: which costs less in a large catalog
    loss: LossName = "sampled_softmax"
    #: number of negative items sampled for each true item, or with `shared` for each batch; more usually rank better,
    #: and cost more time
    negatives: Annotated[NonNegativeInt, Between(1, 64, log=True, tasks=("ranking",))] = 16
    #: edges in a training batch; with `loss: softmax`, users; larger batches are faster and need more memory
    batch_size: PositiveInt = 2048
    #: learning rate of the optimizer; lower it where the loss jumps, raise it where the loss hardly falls
    lr: Annotated[PositiveFloat, Between(1e-3, 0.1, log=True)] = 1e-2
    #: lambda, weight of L2 regularisation: for a ranking, of the vectors that an example uses; for ratings and clicks,
    #: of all parameters; raise it against overfitting. None: 10 for ratings, 0.01 otherwise
    l2: Annotated[
        NonNegativeFloat | None,
        Between(1e-4, 1.0, log=True, tasks=("ranking", "ctr"), none_is="l2_of_task"),
        Between(0.1, 100.0, log=True, tasks=("rating",), none_is="l2_of_task"),
    ] = None
    #: standard deviation of the vectors' random initial values; rarely needs a change
    init_std: PositiveFloat = 0.02

    @property
    def l2_of_task(self) -> float:
        """`l2`, or what it is by default for the task."""
        return L2_OF_TASK[self.task] if self.l2 is None else self.l2


class EdgeModel(Recommender, ABC):
    """The score of a pair is `pair_scores`; for ratings and clicks a mean is added.

    `task: ranking` minimises the mean over interactions of the ranking loss + l2 (|u|^2 + |v|^2 + |v'|^2). v' are the
    vectors of the sampled negatives; their squares are averaged. l2 does not count the parts of vectors that come from
    features. With `loss: softmax` a batch holds users with all their items, and batch_size counts users.

    `task: rating` minimises the sum over known edges of (r - score)^2, plus l2 |all parameters|^2. If `centred`, the
    mean of all ratings is part of the score. `task: ctr` does the same with the binary cross-entropy of the labels of
    clicks: the score is a click's logit, and if `centred` the logit of the share of clicks is part of it.
    """

    fold_in: ClassVar[FoldingSteps] = FoldingSteps()  #: how users that it does not know are solved for
    #: whether a ranking's loss reads tables of vectors by look-ups alone, so that other rows need not be moved; each
    #: class says so for itself, since one that overrides the loss may read whole tables
    only_looks_up: ClassVar[bool] = False

    def __init__(self, graph: Graph, config: Any, *, centred: bool = True) -> None:
        super().__init__(graph, config)
        self.task = config.task
        known = graph.only(graph.target)
        self.num_known = known.num_edges
        self.mean: Tensor  #: FloatTensor [], added to every pair's score
        mean = mean_score(known, config.task)  # raises an error for clicks without labels
        self.register_buffer("mean", mean if centred else torch.tensor(0.0))

    @abstractmethod
    def pair_scores(self, user: Tensor, items: Tensor) -> Tensor:
        """Scores of users [B] with items: [B, C]. items: [C], the same for all users, or [B, C], a list for each
        user."""

    @abstractmethod
    def ranking_loss(self, ranking: RankingLoss, user: Tensor, drawn: Drawn) -> Tensor:
        """The ranking loss of true items and their negatives. user: LongTensor [R], the user of each row."""

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
        """The task's objective over the target edges. stages: additional stages of its loader; prefetch: see Loader;
        how: other fields of the objective."""
        c, known = self.config, graph.only(graph.target)
        how = {"lr": c.lr, "loss": self.edge_loss, "penalty": self.edge_penalty if c.l2_of_task else None, **how}
        if c.task != "ranking":
            edges = Edges(known, label=label_of(c.task))
            return Objective(name, Loader(edges, *stages, batch_size=c.batch_size), parameters=parameters, **how)
        self.ranking = RankingLoss(c, known)
        seeds = Nodes(known, known.target[0]) if self.ranking.over_all else Edges(known)
        pairs = Loader(seeds, *self.ranking.stages(), *stages, batch_size=c.batch_size, prefetch=prefetch)
        return Objective(name, pairs, parameters=parameters, steps=self._steps(parameters, how["loss"]), **how)

    def _steps(self, parameters: list[torch.nn.Parameter], loss: Callable[[Batch], Tensor]) -> CompiledSteps | None:
        """Steps that read only the rows that a batch looks up, where the loss reads its tables so."""
        tables = vector_tables(self)
        if not vars(type(self)).get("only_looks_up") or self.ranking.over_all or not LookUpSteps.fit(*tables):
            return None
        if (compiled := self.compiled_steps(parameters)) is not None:
            return compiled
        own = [table for table in tables if any(table.weight is one for one in parameters)]
        return LookUpSteps(loss, own, rows_read(self.config.batch_size, self.config.negatives, len(own)))

    def compiled_steps(self, parameters: list[torch.nn.Parameter]) -> CompiledSteps | None:
        """Steps without autograd that train these parameters by a ranking loss, where tables are only looked up; None:
        there are none."""
        return None

    def edge_loss(self, batch: Batch) -> Tensor:
        """The task's loss of a batch of edges."""
        if self.task == "ranking":
            loss = self.ranking_loss(self.ranking, batch.head, _drawn(batch))
        else:
            score = self.pair_scores(batch.head, batch.tail.unsqueeze(1)).squeeze(1) + self.mean
            loss = label_loss(self.task, score, batch)
        return loss + self.edge_penalty(batch) if self.config.l2_of_task else loss

    def edge_penalty(self, batch: Batch) -> Tensor:
        """The part of `edge_loss` that is regularisation: the one by `l2`."""
        if self.task != "ranking":
            return self.config.l2_of_task * squares(self) / self.num_known
        head = batch.head if batch.ptr is None else batch.head.repeat_interleave(batch.ptr.diff())
        return self.config.l2_of_task * self._squares(head, _drawn(batch)) / len(head)

    def weighed_tables(self) -> list[NodeEmbedding]:
        """The tables of vectors that `l2` regularises in a ranking: all of them, unless a model overrides this."""
        return vector_tables(self)

    def _squares(self, head: Tensor, drawn: Drawn) -> Tensor:
        """The sum over examples of the squares of the vectors that each example uses; biases are not regularised."""
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
        score = self.pair_scores(query.user, items)
        return score if self.task == "ranking" else score + self.mean  # a ranking has no mean

    def folding(self, known: Graph, whole: Callable[[], Graph]) -> Folding:
        """What makes vectors of users that it does not know: see `kgrec.nn.fold_in`."""
        return EdgeFolding(self, known, self.fold_in)


def _drawn(batch: Batch) -> Drawn:
    """A batch's true items and negatives."""
    return Drawn(batch.tail, batch.negative, batch.log_q, batch.ptr, batch.head)
