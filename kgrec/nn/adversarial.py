"""Adversarial ranking: a generator draws items (or users), and judges try to tell them from true edges."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import FOREVER, Objective, Query, Recommender, ScorerParts
from kgrec.nn import losses
from kgrec.nn.edge_model import EdgeModel, EdgeModelConfig
from kgrec.nn.embedding import NodeEmbedding, vector_tables
from kgrec.nn.entries import entries
from kgrec.nn.fold_in import Folding, FoldsIn, JointFolding
from kgrec.nn.ranking_loss import LossName
from kgrec.nn.watch import Watch, distinct_share, entropy_share
from kgrec.optimizers import fused_adam, sgd
from kgrec.samplers import Batch, Loader, Nodes
from kgrec.search_ranges import Between
from kgrec.settings import settings

HINTS = {
    "collapsed": "raise entropy (to 0.05, say), g_temperature or g_l2, or lower g_lr",
    "blind": "raise d_lr, or train the judges alone first (d_epochs)",
    "perfect": "lower d_lr, raise d_l2, or lower d_temperature",
}
WANTED = "choose a base that scores users and items and is trained by gradients, such as mf, neumf, lightgcn or kgat"
End = Literal["items", "users"]  #: which end of an edge is drawn: items for a user, or users for an item


@settings
class AdversarialRankingConfig(EdgeModelConfig):
    """Settings of adversarial ranking. `loss`, `negatives`, `hard`, `lr`, `l2` and `batch_size` apply to pre-training,
    in which the generator learns as its base model does. By default it learns from the sampled negative with the
    highest score (dynamic negative sampling, Zhang et al. 2013)."""

    task: Literal["ranking"] = "ranking"  #: what the model learns to predict: an order of items
    #: model that the generator and the judges are, such as mf; it must score users and items and learn by gradients
    base: str = "mf"
    #: settings of the base model that are not among the settings here, as a mapping
    base_config: dict[str, Any] = field(default_factory=dict)
    #: settings of the judges (discriminators) where they differ from the generator's, as a mapping
    d_config: dict[str, Any] = field(default_factory=dict)
    loss: LossName = "bpr"  #: loss of a ranking in pre-training, before the adversarial epochs
    #: number of negative items sampled for each true item in pre-training
    negatives: Annotated[NonNegativeInt, Between(2, 32, log=True)] = 8
    #: how many of these negatives pre-training keeps, those with the highest scores (dynamic negative sampling); 0: all
    hard: NonNegativeInt = 1
    #: epochs of pre-training, in which the generator learns alone, as its base model does; 0: none
    pretrain_epochs: NonNegativeInt = 20
    #: epochs after pre-training in which only the judges learn; raise it where the judges start too weak
    d_epochs: NonNegativeInt = 0
    #: initial weights of the judges: random (scratch), or the pre-trained generator's; with `d_config`, pretrained
    #: judges have a pre-training of their own
    d_start: Literal["scratch", "pretrained"] = "scratch"
    adversarial_batch_size: PositiveInt = 64  #: users, or items, in a batch of the adversarial epochs
    #: learning rate of the generator in the adversarial epochs; lower it where the generator collapses
    g_lr: Annotated[PositiveFloat, Between(1e-4, 1e-2, log=True)] = 1e-3
    g_l2: NonNegativeFloat = 0.0  #: weight of L2 regularisation of the generator's vectors in the adversarial epochs
    #: learning rate of the judges; raise it where they do no better than chance
    d_lr: Annotated[PositiveFloat, Between(1e-4, 1e-2, log=True)] = 1e-3
    #: weight of L2 regularisation of the judges' vectors; raise it where the judges make hardly any error
    d_l2: NonNegativeFloat = 0.0
    #: optimizer of the generator; adam takes large steps even for items that are rarely drawn
    g_optimizer: Literal["sgd", "adam"] = "sgd"
    d_optimizer: Literal["adam", "sgd"] = "adam"  #: optimizer of the judges
    #: divides the generator's scores before their softmax; higher: draws are more even
    g_temperature: PositiveFloat = 1.0
    #: divides the scores once more when items are drawn for the judges; below 1: mostly the items with the highest
    #: scores are drawn
    d_temperature: PositiveFloat = 0.2
    #: items that the generator draws for each true edge; 0: no draws, but the exact expectation over all items (slower)
    draws: NonNegativeInt = 2
    #: lambda, the share of those draws that are taken from the true edges
    true_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    #: alpha, weight of the entropy of p: the generator maximises E_p[reward] + alpha H(p); raise it where all users get
    #: the same few items; at the optimum p is in proportion to exp(reward / alpha)
    entropy: NonNegativeFloat = 0.0
    #: subtract the mean reward of the other draws from each reward: less variance, the same expected gradient
    baseline: bool = True
    serve: Literal["generator", "discriminator"] = "generator"  #: part of the model whose scores are used to recommend

    FORMER: ClassVar = {"rows": "adversarial_batch_size"}


@dataclass(frozen=True)
class View:
    """One conditional distribution of a generator, over items given a user or over users given an item."""

    end: End  #: what is drawn
    judge: Recommender  #: the discriminator, which learns to tell drawn edges from true ones
    heads: Nodes  #: the nodes that others are drawn for, each with its true neighbors
    drawable: Tensor  #: LongTensor [C], flat nodes that may be drawn, ascending
    same_ends: bool = False  #: whether both ends are of one node type; then no node is drawn for itself

    @staticmethod
    def of(known: Graph, end: End, judge: Recommender) -> View:
        """A view of the target's edges."""
        source, _, target = known.target
        if end == "items":
            return View(end, judge, Nodes(known, source), known.drawable(target), known.same_ends)
        return View(end, judge, Nodes(known.reversed(), target), known.drawable(source), known.same_ends)

    def pairs(self, scorer: Recommender, head: Tensor, other: Tensor) -> Tensor:
        """Scores of n pairs of a head and another node: FloatTensor [n]. head, other: LongTensor [n]."""
        user, item = (head, other) if self.end == "items" else (other, head)
        return scorer.score(_alone(user), item.unsqueeze(1)).squeeze(1).float()

    def rows(self, scorer: Recommender, head: Tensor) -> Tensor:
        """Scores of heads [B] with all drawable nodes: FloatTensor [B, C]."""
        if self.end == "items":
            return scorer.score(_alone(head), self.drawable).float()
        return scorer.score(_alone(self.drawable), head).T.float()

    def logits(self, scorer: Recommender, head: Tensor, temperature: float) -> Tensor:
        """Scores / temperature of heads [B] with all drawable nodes: FloatTensor [B, C]. A node that may not be drawn
        for a head has a logit so low that its softmax is 0."""
        logit = self.rows(scorer, head) / temperature
        return logit.masked_fill(self.drawable == head.unsqueeze(1), losses.NO_LOGIT) if self.same_ends else logit

    def columns(self, other: Tensor) -> Tensor:
        """Positions of nodes [n] among the drawable ones: LongTensor [n]."""
        return torch.searchsorted(self.drawable, other)

    def real(self) -> tuple[float, float]:
        """Two figures of the true edges: their `entropy_share` over the drawable nodes, and the share of drawable nodes
        that have an edge."""
        count = torch.bincount(self.heads.graph.tail, minlength=self.heads.graph.num_nodes)[self.drawable]
        return entropy_share(count), float((count > 0).float().mean())


@dataclass
class _Tally:
    """What is counted over the batches of an epoch, for the diagnostics."""

    right: list[Tensor] = field(default_factory=list)  #: of each batch, the share of pairs that a judge got right
    share: dict[End, Tensor] = field(default_factory=dict)  #: sums of the generator's probabilities, DoubleTensor [C]
    drawn: dict[End, list[Tensor]] = field(default_factory=dict)  #: columns that were drawn for the judges


class AdversarialRanking(Recommender, ABC):
    """A generator p(other | head), the softmax of its scores over all other nodes, and a judge D for each of its views.

    A judge minimises the binary cross-entropy of the true edges and as many edges drawn by the generator. The generator
    maximises E_p[reward] + alpha H(p) by policy gradient; the reward of a pair is 2 sigmoid(D) - 1 (Wang et al. 2017,
    eqs. 1 to 5, and the authors' code). For each true edge it draws `draws` nodes from the mixture (1 - lambda) p +
    lambda u, where u is uniform over the head's true neighbors, and weights each by p / mixture (importance sampling).
    With `draws: 0` it computes the expectation over all nodes instead.

    Alpha is the setting `entropy` (Williams & Peng 1991). In the paper it is 0; then p ends up on the few nodes that
    the judges score highest, mostly true edges that the head has already.
    """

    config: AdversarialRankingConfig  #: its settings

    def __init__(self, graph: Graph, config: AdversarialRankingConfig, generator: Recommender) -> None:
        super().__init__(graph, config)
        if generator.reads_history or not list(generator.parameters()):
            why = "reads histories" if generator.reads_history else "has no parameters to train"
            raise KgrecError(f"base {config.base!r} {why}; {WANTED}")
        self.generator = generator
        self.tally = _Tally()
        self.shown: dict[str, float] = {}  #: the diagnostics that were last computed

    @abstractmethod
    def judges(self) -> Mapping[End, Recommender]:
        """The judge of each view; the key is the end that the view draws."""

    @abstractmethod
    def combined(self, logits: list[Tensor]) -> Tensor:
        """Combines the judges' logits of the same pairs, FloatTensors [*S], into one logit [*S]."""

    def reward(self, logits: list[Tensor]) -> Tensor:
        """The generator's reward for pairs with these logits of the judges: from -1 to 1, FloatTensor [*S]."""
        return 2 * torch.sigmoid(self.combined(logits)) - 1

    # ------------------------------------------------------------------ training

    def objectives(self, graph: Graph) -> list[Objective]:
        c, known = self.config, graph.only(graph.target)
        views = [View.of(known, end, judge) for end, judge in self.judges().items()]
        entropy, distinct = zip(*(view.real() for view in views))
        self.watch = Watch(min(entropy), min(distinct), HINTS)
        first = c.pretrain_epochs + 1
        optimizers: dict[str, Any] = {"adam": fused_adam, "sgd": sgd}
        judging = [
            Objective(
                f"judge of {view.end}",
                Loader(view.heads, batch_size=c.adversarial_batch_size),
                partial(self.judge_loss, view),
                list(view.judge.parameters()),
                lr=c.d_lr,
                penalty=partial(self._penalty, view, view.judge, c.d_l2) if c.d_l2 else None,
                optimizer=optimizers[c.d_optimizer],
                epochs=range(first, FOREVER),
            )
            for view in views
        ]
        generating = [
            Objective(
                f"generator of {view.end}",
                Loader(view.heads, batch_size=c.adversarial_batch_size),
                partial(self.generator_loss, view),
                list(self.generator.parameters()),
                lr=self.generator_lr(view.end),
                interleave="generator",
                penalty=partial(self._penalty, view, self.generator, c.g_l2) if c.g_l2 else None,
                optimizer=optimizers[c.g_optimizer],
                epochs=range(first + c.d_epochs, FOREVER),
            )
            for view in views
            if self.generator_lr(view.end)
        ]
        return [*self._pretraining(graph), *judging, *generating]

    def generator_lr(self, end: End) -> float:
        """The generator's learning rate in the view that draws this end; 0: it does not learn in that view."""
        return self.config.g_lr

    def _pretraining(self, graph: Graph) -> list[Objective]:
        """The objectives of pre-training: the generator's own, and with `d_start: pretrained` and `d_config` also the
        judges'."""
        c, own = self.config, self.generator.objectives(graph)
        of_judges = [
            dataclasses.replace(objective, name=f"{objective.name} of the judge of {end}")
            for end, judge in (self.judges().items() if c.d_config else ())  # otherwise they copy the generator
            for objective in judge.objectives(graph)
        ]
        if any(objective.epochs is not None for objective in [*own, *of_judges]):
            raise KgrecError(
                f"base {c.base!r} has training phases of its own, which do not go with those of adversarial ranking; "
                "switch off the base's pre-training in base_config"
            )
        if any(table.sparse for table in self.modules() if isinstance(table, NodeEmbedding)):
            raise KgrecError(
                f"base {c.base!r} uses sparse gradients, but adversarial ranking scores all nodes; set sparse: false"
            )
        if not c.pretrain_epochs:
            return []
        if c.d_start == "pretrained":
            own += of_judges
        before = range(1, c.pretrain_epochs + 1)
        return [dataclasses.replace(o, name=f"pretrain {o.name}", epochs=before) for o in own]

    def judge_loss(self, view: View, batch: Batch) -> Tensor:
        """The judge's loss: the mean of -log sigmoid(D) over true pairs and -log(1 - sigmoid(D)) over as many pairs
        drawn by the generator."""
        assert batch.ptr is not None
        degree = batch.ptr.diff()
        with torch.no_grad():
            temperature = self.config.g_temperature * self.config.d_temperature
            share = view.logits(self.generator, batch.head, temperature).softmax(-1)
            column = draw(share, degree)[1]
        drawn = view.drawable[column]
        head = batch.head.repeat_interleave(degree)  # the heads of the true pairs; the drawn pairs have the same
        logit = view.pairs(view.judge, torch.cat([head, head]), torch.cat([batch.tail, drawn]))
        label = torch.cat([torch.ones(len(head), device=logit.device), torch.zeros(len(head), device=logit.device)])
        self.tally.right.append(((logit.detach() > 0) == (label > 0)).float().mean())
        self.tally.drawn.setdefault(view.end, []).append(column)
        return losses.logistic(logit, label) + self._penalty(view, view.judge, self.config.d_l2, batch)

    def generator_loss(self, view: View, batch: Batch) -> Tensor:
        """Less the expected reward, the mean over true edges' heads; its gradient is the policy's."""
        assert batch.ptr is not None
        c, degree = self.config, batch.ptr.diff()
        log_share = view.logits(self.generator, batch.head, c.g_temperature).log_softmax(-1)
        total = log_share.detach().exp().sum(0, dtype=torch.float64)
        self.tally.share[view.end] = self.tally.share.get(view.end, 0) + total
        if c.draws == 0:
            with torch.no_grad():
                reward = self.reward([view.rows(judge, batch.head) for judge in self.judges().values()])
            gain = log_share.exp() * (reward - c.entropy * log_share)
            loss = -gain.sum(1) @ degree.float() / degree.sum()
        else:
            loss = self._drawn_loss(view, batch, log_share)
        return loss + self._penalty(view, self.generator, c.g_l2, batch)

    def _drawn_loss(self, view: View, batch: Batch, log_share: Tensor) -> Tensor:
        """The policy gradient's loss, with draws from the mixture of p and the true neighbors. log_share: log p, [B,
        C]."""
        assert batch.ptr is not None
        c, degree = self.config, batch.ptr.diff()
        with torch.no_grad():
            share, true = log_share.exp(), torch.arange(len(batch), device=degree.device).repeat_interleave(degree)
            even, place = (c.true_share / degree).to(share.dtype), true * share.shape[1] + view.columns(batch.tail)
            proposal = ((1 - c.true_share) * share).flatten().index_add_(0, place, even[true]).view_as(share)
            row, column = draw(proposal, c.draws * degree)
            weight = share[row, column] / proposal[row, column]
            head, other = batch.head[row], view.drawable[column]
            reward = self.reward([view.pairs(judge, head, other) for judge in self.judges().values()])
            reward = reward - c.entropy * log_share[row, column]
            gain = weight * (reward - others_mean(weight * reward, row, c.draws * degree) if c.baseline else reward)
        return -(gain * entries(log_share, row, column)).mean()

    def _penalty(self, view: View, scorer: Recommender, l2: float, batch: Batch) -> Tensor:
        """l2 times the squares of the vectors of each true pair, a mean over the pairs."""
        if not l2:
            return torch.zeros((), device=batch.head.device)
        assert batch.ptr is not None
        head = batch.head.repeat_interleave(batch.ptr.diff())
        if view.same_ends:
            others: End = "users" if view.end == "items" else "items"
            found = squares_of(scorer, head, others) + squares_of(scorer, batch.tail, view.end)
        else:
            found = squares_of(scorer, torch.cat([head, batch.tail]))
        return l2 * found / len(batch.tail)

    # ------------------------------------------------------------------ phases, scores and diagnostics

    def begin(self, epoch: int) -> None:
        """After pre-training, copies the generator's weights into the judges if `d_start` asks for it."""
        self.tally = _Tally()
        judges = self.judges().values()
        c = self.config
        if epoch == c.pretrain_epochs + 1 and c.d_start == "pretrained" and not c.d_config:
            for judge in judges:
                judge.load_state_dict(self.generator.state_dict())
        for part in (self.generator, *judges):
            part.begin(epoch)

    def refresh(self) -> None:
        for part in (self.generator, *self.judges().values()):
            part.refresh()

    def check_sharded(self) -> None:
        for part in (self.generator, *self.judges().values()):
            part.check_sharded()

    def score(self, query: Query, items: Tensor) -> Tensor:
        if self.config.serve == "generator":
            return self.generator.score(query, items)
        return self.combined([judge.score(query, items) for judge in self.judges().values()])

    @property
    def serving_part(self) -> Recommender:
        judges = list(self.judges().values())
        serving = [self.generator] if self.config.serve == "generator" else judges
        return serving[0].serving_part if len(serving) == 1 else self

    def folding(self, known: Graph, whole: Callable[[], Graph]) -> Folding:
        """What makes vectors of users that it does not know: that of what serves, by the loss of its base."""
        serving = [self.generator] if self.config.serve == "generator" else list(self.judges().values())
        foldings = [part.folding(known, whole) for part in serving if isinstance(part, FoldsIn)]
        return JointFolding(foldings)

    def node_vectors(self, node_type: str) -> Tensor | None:
        """The vectors of the part that serves; None where two judges serve, because each has its own vectors."""
        judges = list(self.judges().values())
        if self.config.serve == "generator":
            return self.generator.node_vectors(node_type)
        return judges[0].node_vectors(node_type) if len(judges) == 1 else None

    def linear_scorer(self) -> ScorerParts | None:
        """The linear scorer of the part that serves; None where several judges serve."""
        serving = [self.generator] if self.config.serve == "generator" else list(self.judges().values())
        return serving[0].linear_scorer() if len(serving) == 1 else None

    def diagnostics(self) -> Mapping[str, float]:
        """`d_accuracy`: share of true and drawn pairs that the judges got right. `entropy`: entropy of the generator's
        mean distribution, as a share of the maximum. `distinct`: share of the drawable nodes that were drawn. Of
        several views, the lowest value counts."""
        tally, found = self.tally, dict[str, float]()
        if tally.right:
            found["d_accuracy"] = float(torch.stack(tally.right).mean())
        if tally.share:
            found["entropy"] = min(entropy_share(share) for share in tally.share.values())
            found["distinct"] = min(
                distinct_share(torch.cat(tally.drawn[end]), len(share)) for end, share in tally.share.items()
            )
        self.shown = found
        return found

    def warnings(self) -> list[str]:
        shown = self.shown
        if "entropy" not in shown:
            return []
        return self.watch.warnings(shown["entropy"], shown["distinct"], shown["d_accuracy"])


def base_fields(config: AdversarialRankingConfig, kind: type) -> dict[str, Any]:
    """The settings of the generator, a model of the kind `base`: those that both have in common, overridden by
    `base_config`. The judges have the same, overridden by `d_config`. kind: the base's settings class. Raises
    KgrecError for a base without a learning rate."""
    there = {one.name for one in dataclasses.fields(kind)}
    if "lr" not in there:
        raise KgrecError(f"base {config.base!r} has no learning rate (lr), so it is not trained by gradients; {WANTED}")
    common = {one.name: getattr(config, one.name) for one in dataclasses.fields(EdgeModelConfig)}
    common["l2"] = config.l2_of_task
    return {name: value for name, value in common.items() if name in there} | config.base_config


def draw(share: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Draws columns with replacement: `number` (LongTensor [B]) from each row, in proportion to its `share`
    (FloatTensor [B, C]). Returns the rows, ascending, and the columns that were drawn: LongTensors [n]. Uses torch's
    global generator.

    >>> share = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    >>> [drawn.tolist() for drawn in draw(share, torch.tensor([1, 2]))]
    [[0, 1, 1], [1, 0, 0]]
    """
    below = share.double().cumsum(1)
    place = torch.arange(len(share), device=share.device)
    below = (below / below[:, -1:]).clamp(max=1.0) + place.unsqueeze(1)  # ascending over all rows
    row = place.repeat_interleave(number)
    point = row + torch.rand(len(row), dtype=torch.float64, device=share.device)
    column = torch.searchsorted(below.flatten(), point, right=True) - row * share.shape[1]
    return row, column.clamp(max=share.shape[1] - 1)


def others_mean(value: Tensor, row: Tensor, number: Tensor) -> Tensor:
    """For each value, the mean of the other values of its row; 0 if it is the only one. value: FloatTensor [n]; row:
    LongTensor [n]; number: LongTensor [B], how many values each row has. Returns [n].

    >>> others_mean(torch.tensor([1.0, 2.0, 6.0, 5.0]), torch.tensor([0, 0, 0, 1]), torch.tensor([3, 1])).tolist()
    [4.0, 3.5, 1.5, 0.0]
    """
    total = value.new_zeros(len(number)).index_add_(0, row, value)
    return (total[row] - value) / (number[row] - 1).clamp(min=1) * (number[row] > 1)


def squares_of(model: nn.Module, node: Tensor, end: End | None = None) -> Tensor:
    """The sum of the squares of the vectors of nodes [n] in a model's tables. A node that is listed twice counts twice.
    Of an EdgeModel only the tables that its `l2` regularises count. end: the end of the edge that the nodes are at;
    tables of the other end are left out (this matters where both ends are of one node type)."""
    found = torch.zeros((), device=node.device)
    for table in model.weighed_tables() if isinstance(model, EdgeModel) else vector_tables(model):
        if end is not None and table.end not in (None, end):
            continue
        found = found + table.squares(node[(node >= table.start) & (node < table.start + table.count)])
    return found


def _alone(user: Tensor) -> Query:
    """A query of users without histories, for a model that reads none."""
    return Query(user, user.new_empty(len(user), 0))
