"""Adversarial ranking: a generator draws what goes with a node, and judges tell it from what is true."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
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
from kgrec.nn.ranking_loss import LossName
from kgrec.nn.watch import Watch, distinct_share, entropy_share
from kgrec.optimizers import fused_adam, sgd
from kgrec.samplers import Batch, Loader, Nodes
from kgrec.settings import settings

HINTS = {
    "collapsed": "raise entropy (0.05, say), g_temperature or g_l2, or lower g_lr",
    "blind": "raise d_lr, or give the judges d_epochs of their own",
    "perfect": "lower d_lr, raise d_l2, or lower d_temperature",
}
WANTED = "generator and judges are models of users and items such as mf, neumf, lightgcn or kgat"
End = Literal["items", "users"]  #: what is drawn: items for a user, or users for an item


@settings
class AdversarialRankingConfig(EdgeModelConfig):
    """Settings of adversarial ranking. `loss`, `negatives`, `hard`, `lr`, `l2` and `batch_size` are those of the phase
    before it, in which the generator learns as its base does: by default from the best scored of the items drawn
    (dynamic negative sampling, Zhang et al. 2013)."""

    task: Literal["ranking"] = "ranking"  #: what it is trained for: an order of items
    base: str = "mf"  #: what generator and judges are: a model that scores users and items and learns by gradients
    base_config: dict[str, Any] = field(default_factory=dict)  #: settings of the base that this model has not itself
    #: settings of the judges (discriminators) that differ from the generator's
    d_config: dict[str, Any] = field(default_factory=dict)
    loss: LossName = "bpr"  #: in pre-training, the loss of each true item beside those drawn
    negatives: NonNegativeInt = 8  #: in pre-training, items drawn for each true one
    hard: NonNegativeInt = 1  #: in pre-training, how many of these are kept, the best scored
    pretrain_epochs: NonNegativeInt = 20  #: epochs in which the generator learns alone, as its base does
    d_epochs: NonNegativeInt = 0  #: epochs after those, in which the judges learn alone
    #: where judges start: from random vectors, or as the pre-trained
    #: generator; with d_config they are pre-trained themselves
    d_start: Literal["scratch", "pretrained"] = "scratch"
    adversarial_batch_size: PositiveInt = 64  #: users, or items, in a batch of the adversarial epochs
    g_lr: PositiveFloat = 1e-3  #: step size of the generator's optimizer in the adversarial epochs
    g_l2: NonNegativeFloat = 0.0  #: weight of the squares of the generator's vectors in the adversarial epochs
    d_lr: PositiveFloat = 1e-3  #: step size of the judges' optimizer
    d_l2: NonNegativeFloat = 0.0  #: weight of the squares of the judges' vectors
    #: of the generator; Adam makes much of the small gradients of what is rarely drawn
    g_optimizer: Literal["sgd", "adam"] = "sgd"
    d_optimizer: Literal["adam", "sgd"] = "adam"  #: of the judges
    g_temperature: PositiveFloat = 1.0  #: divides the generator's scores before their softmax
    d_temperature: PositiveFloat = 0.2  #: the same where judges learn: a low one draws what is scored best
    #: draws for each true edge in the generator's step; 0: no draws, but the expectation over all
    draws: NonNegativeInt = 2
    true_share: Annotated[float, Field(ge=0, lt=1)] = 0.2  #: lambda, the share of those draws that are true edges
    #: alpha, weight of the entropy: the generator ascends E_p[reward] + alpha H(p), which keeps it
    #: from giving all to what the judges like best: at the optimum p is in proportion to exp(reward / alpha)
    entropy: NonNegativeFloat = 0.0
    baseline: bool = True  #: take the mean reward of the other draws off each: less variance, the same expectation
    serve: Literal["generator", "discriminator"] = "generator"  #: whose scores recommend

    FORMER: ClassVar = {"rows": "adversarial_batch_size"}


@dataclass(frozen=True)
class View:
    """One conditional distribution of a generator, over items given a user or over users given an item."""

    end: End  #: what is drawn
    judge: Recommender  #: learns to tell what is drawn from what is true
    heads: Nodes  #: what is drawn for, with its true others
    drawable: Tensor  #: LongTensor [C], flat nodes that may be drawn, rising
    same_ends: bool = False  #: whether heads are of the type that is drawn: none is drawn for itself

    @staticmethod
    def of(known: Graph, end: End, judge: Recommender) -> View:
        """A view of the target's edges."""
        source, _, target = known.target
        if end == "items":
            return View(end, judge, Nodes(known, source), known.drawable(target), known.same_ends)
        return View(end, judge, Nodes(known.reversed(), target), known.drawable(source), known.same_ends)

    def pairs(self, scorer: Recommender, head: Tensor, other: Tensor) -> Tensor:
        """Scores of heads [n] with one other each [n]: FloatTensor [n]."""
        user, item = (head, other) if self.end == "items" else (other, head)
        return scorer.score(_alone(user), item.unsqueeze(1)).squeeze(1).float()

    def rows(self, scorer: Recommender, head: Tensor) -> Tensor:
        """Scores of heads [B] with all that may be drawn: FloatTensor [B, C]."""
        if self.end == "items":
            return scorer.score(_alone(head), self.drawable).float()
        return scorer.score(_alone(self.drawable), head).T.float()

    def logits(self, scorer: Recommender, head: Tensor, temperature: float) -> Tensor:
        """The scores / temperature of heads [B] with all that may be drawn for each, of which the softmax gives all
        else 0: FloatTensor [B, C]."""
        logit = self.rows(scorer, head) / temperature
        return logit.masked_fill(self.drawable == head.unsqueeze(1), losses.NO_LOGIT) if self.same_ends else logit

    def columns(self, other: Tensor) -> Tensor:
        """Where others [n] stand among those that may be drawn: LongTensor [n]."""
        return torch.searchsorted(self.drawable, other)

    def real(self) -> tuple[float, float]:
        """How even true edges are over what may be drawn, as `entropy_share`, and what share of it has any."""
        count = torch.bincount(self.heads.graph.tail, minlength=self.heads.graph.num_nodes)[self.drawable]
        return entropy_share(count), float((count > 0).float().mean())


@dataclass
class _Tally:
    """What an epoch's batches showed, by what was drawn."""

    right: list[Tensor] = field(default_factory=list)  #: shares of pairs that a judge took for what they are
    share: dict[End, Tensor] = field(default_factory=dict)  #: the sum of the generator's rows, DoubleTensor [C]
    drawn: dict[End, list[Tensor]] = field(default_factory=dict)  #: columns that were drawn for the judges


class AdversarialRanking(Recommender, ABC):
    """A generator p(other | head), the softmax of its scores over all others, and a judge D for each of its views.

    A judge minimises binary cross-entropy between true edges and as many that the generator draws. The generator
    ascends E_p[reward] + alpha H(p) by policy gradient: `draws` others a true edge are drawn from (1 - lambda) p +
    lambda (the head's true ones, uniformly), and each counts by p over that probability; with `draws: 0` the
    expectation is taken over all others instead. The reward of a pair is 2 sigmoid(D) - 1 (Wang et al. 2017, eqs. 1 to
    5, and the authors' code). Alpha, `entropy`, is 0 there (Williams & Peng 1991): then all of p goes to what judges
    like best, mostly true edges that the head has already.
    """

    config: AdversarialRankingConfig  #: its settings

    def __init__(self, graph: Graph, config: AdversarialRankingConfig, generator: Recommender) -> None:
        super().__init__(graph, config)
        if generator.reads_history or not list(generator.parameters()):
            why = "reads histories" if generator.reads_history else "has nothing that gradients move"
            raise KgrecError(f"base {config.base!r} {why}; {WANTED}")
        self.generator = generator
        self.tally = _Tally()
        self.shown: dict[str, float] = {}  #: the diagnostics as they were last asked for

    @abstractmethod
    def judges(self) -> Mapping[End, Recommender]:
        """The judge of each view, by what the view draws."""

    @abstractmethod
    def combined(self, logits: list[Tensor]) -> Tensor:
        """One logit of what the judges say of the same pairs, FloatTensors [*S]."""

    def reward(self, logits: list[Tensor]) -> Tensor:
        """What the generator gets for pairs of which the judges say this: from -1 to 1, FloatTensor [*S]."""
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
        """The generator's learning rate where this end is drawn; 0: it does not learn from it."""
        return self.config.g_lr

    def _pretraining(self, graph: Graph) -> list[Objective]:
        """The generator's own objectives, in the epochs before; with `d_start` perhaps the judges' too."""
        c, own = self.config, self.generator.objectives(graph)
        of_judges = [
            dataclasses.replace(objective, name=f"{objective.name} of the judge of {end}")
            for end, judge in (self.judges().items() if c.d_config else ())  # else they are as the generator
            for objective in judge.objectives(graph)
        ]
        if any(objective.epochs is not None for objective in [*own, *of_judges]):
            raise KgrecError(f"base {c.base!r} has phases of its own, where this has one before; switch them off")
        if any(table.sparse for table in self.modules() if isinstance(table, NodeEmbedding)):
            raise KgrecError(f"base {c.base!r} has gradients of some rows, where all are scored; set sparse: false")
        if not c.pretrain_epochs:
            return []
        if c.d_start == "pretrained":
            own += of_judges
        before = range(1, c.pretrain_epochs + 1)
        return [dataclasses.replace(o, name=f"pretrain {o.name}", epochs=before) for o in own]

    def judge_loss(self, view: View, batch: Batch) -> Tensor:
        """-log sigmoid(D) of true pairs and -log(1 - sigmoid(D)) of as many that the generator draws, their mean."""
        assert batch.ptr is not None
        degree = batch.ptr.diff()
        with torch.no_grad():
            temperature = self.config.g_temperature * self.config.d_temperature
            share = view.logits(self.generator, batch.head, temperature).softmax(-1)
            column = draw(share, degree)[1]
        drawn = view.drawable[column]
        head = batch.head.repeat_interleave(degree)  # of the true ones, and row by row of the drawn ones
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
        """The policy gradient's loss by draws from the mixture of p and the true ones. log_share: log p, [B, C]."""
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
        """l2 times the squares of the vectors behind each true pair, their mean."""
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

    # ------------------------------------------------------------------ phases and what is kept

    def begin(self, epoch: int) -> None:
        """The judges may start from what pre-training made of the generator."""
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

    def score(self, query: Query, items: Tensor) -> Tensor:
        if self.config.serve == "generator":
            return self.generator.score(query, items)
        return self.combined([judge.score(query, items) for judge in self.judges().values()])

    def node_vectors(self, node_type: str) -> Tensor | None:
        """Those of the part that serves; None where two judges do, which have vectors each."""
        judges = list(self.judges().values())
        if self.config.serve == "generator":
            return self.generator.node_vectors(node_type)
        return judges[0].node_vectors(node_type) if len(judges) == 1 else None

    def linear_scorer(self) -> ScorerParts | None:
        """That of whatever serves alone; several judges have none."""
        serving = [self.generator] if self.config.serve == "generator" else list(self.judges().values())
        return serving[0].linear_scorer() if len(serving) == 1 else None

    def diagnostics(self) -> Mapping[str, float]:
        """`d_accuracy` of the judges, over true and drawn pairs; `entropy` of the generator's mean row as a share of
        that of an even choice, and `distinct`, the share of what may be drawn that was: of the view with the least."""
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
    """The settings of the base that a generator is, and with `d_config` over them its judges: all that the two have in
    common, and `base_config` over them. kind: the base's settings class. Raises KgrecError where it has no learning
    rate."""
    there = {one.name for one in dataclasses.fields(kind)}
    if "lr" not in there:
        raise KgrecError(f"base {config.base!r} takes no lr; {WANTED}")
    common = {one.name: getattr(config, one.name) for one in dataclasses.fields(EdgeModelConfig)}
    return {name: value for name, value in common.items() if name in there} | config.base_config


def draw(share: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Draws with replacement, `number` of each row (LongTensor [B]) in proportion to its shares (FloatTensor [B, C]):
    which row, LongTensor [n], rising, has which column, LongTensor [n]. From torch's own generator.

    >>> share = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    >>> [drawn.tolist() for drawn in draw(share, torch.tensor([1, 2]))]
    [[0, 1, 1], [1, 0, 0]]
    """
    below = share.double().cumsum(1)
    place = torch.arange(len(share), device=share.device)
    below = (below / below[:, -1:]).clamp(max=1.0) + place.unsqueeze(1)  # rises through all rows
    row = place.repeat_interleave(number)
    point = row + torch.rand(len(row), dtype=torch.float64, device=share.device)
    column = torch.searchsorted(below.flatten(), point, right=True) - row * share.shape[1]
    return row, column.clamp(max=share.shape[1] - 1)


def others_mean(value: Tensor, row: Tensor, number: Tensor) -> Tensor:
    """The mean of the other values of each one's row, 0 where it is alone. value: FloatTensor [n]; row: LongTensor [n];
    number: LongTensor [B], how many each row has. Returns [n].

    >>> others_mean(torch.tensor([1.0, 2.0, 6.0, 5.0]), torch.tensor([0, 0, 0, 1]), torch.tensor([3, 1])).tolist()
    [4.0, 3.5, 1.5, 0.0]
    """
    total = value.new_zeros(len(number)).index_add_(0, row, value)
    return (total[row] - value) / (number[row] - 1).clamp(min=1) * (number[row] > 1)


def squares_of(model: nn.Module, node: Tensor, end: End | None = None) -> Tensor:
    """The sum of the squares of the vectors of nodes [n] in a model's tables, each as often as it stands there: those
    that the model's `l2` weighs, where it says so. end: at which they are, so that tables of the other end are left
    out, where both are of one type."""
    found = torch.zeros((), device=node.device)
    for table in model.weighed_tables() if isinstance(model, EdgeModel) else vector_tables(model):
        if end is not None and table.end not in (None, end):
            continue
        found = found + table.squares(node[(node >= table.start) & (node < table.start + table.count)])
    return found


def _alone(user: Tensor) -> Query:
    """Users as a model knows them that reads no history."""
    return Query(user, user.new_empty(len(user), 0))
