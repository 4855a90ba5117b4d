"""Metrics: each is a formula over one matrix of hits, or over predictions. Names are `ndcg@10`, `rmse`, `hits@10`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy  # its parts are imported when they are first used
import torch
from torch import Tensor
from torch.nn.functional import softplus

from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.list_quality import calibration_error, intra_list_diversity, rows_of, shares, unit_rows

BINS = 15  #: number of bins of the expected calibration error
MOST_RANKS = 2**31 - 1  #: the largest cut-off
KGAT_DEPTH = 100  #: the KGAT authors rank 100 items and ignore hits below
PROPENSITY_EXPONENT = 0.5  #: an item's propensity is its share of the most popular item's edges to this power
HEAD_SHARE = 0.8  #: share of all training edges that the most popular items, the short head, have together


@dataclass(frozen=True, eq=False)
class ListedFacts:
    """What facts say of the items of B lists. The facts of item i are value[ptr[i] : ptr[i + 1]]."""

    item: np.ndarray  #: int64 [B, K], local numbers; -1 after the end of a short list
    ptr: np.ndarray  #: int64 [I + 1]
    value: np.ndarray  #: int64 [n], numbers of facts
    number: int  #: how many different facts there are
    own: scipy.sparse.csr_array  #: [B, number], the shares of facts in each user's history

    @cached_property
    def unit(self) -> scipy.sparse.csr_array:
        """The facts of each item as rows of length 1: [I, number]."""
        return unit_rows(self.ptr, self.value, self.number)

    def lists(self, k: int) -> scipy.sparse.csr_array:
        """The first k items of each list as 0-1 rows: [B, I]."""
        return rows_of(self.item[:, :k], len(self.ptr) - 1)


@dataclass(frozen=True, eq=False)
class Ranking:
    """B ranked lists, best item first, as all metrics of lists need them."""

    hit: Tensor  #: BoolTensor [B, K], whether the item at each rank is relevant; False after the end of a short list
    relevant: Tensor  #: LongTensor [B], number of distinct relevant items, ranked or not
    #: FloatTensor [B, K], number of train interactions of each item; NaN after the end of a short list
    interactions: Tensor | None = None
    #: DoubleTensor [B, K], -log2 of the share of users who have each item in training; NaN after the end
    bits: Tensor | None = None
    is_tail: Tensor | None = None  #: BoolTensor [B, K], whether each item is in the long tail; False after the end
    #: LongTensor [B, K], rank of each item, from 1, in the list that the user would have by popularity
    popular_rank: Tensor | None = None
    weight: Tensor | None = None  #: DoubleTensor [B, K], 1 / propensity of each item
    #: DoubleTensor [B, R], 1 / propensity of all relevant items, the greatest first; 0 behind the end
    relevant_weight: Tensor | None = None
    facts: ListedFacts | None = None  #: what facts say of the items

    @cached_property
    def rank(self) -> Tensor:
        """1, 2, ..., K: DoubleTensor [K]."""
        return torch.arange(1, self.hit.shape[1] + 1, device=self.hit.device, dtype=torch.double)

    @cached_property
    def hits(self) -> Tensor:
        """Number of hits up to each rank: DoubleTensor [B, K]."""
        return self.hit.double().cumsum(1)

    @cached_property
    def gain(self) -> Tensor:
        """Discounted cumulative gain up to each rank, each hit gaining 1 / log2(rank + 1): DoubleTensor [B, K]."""
        return (self.hit / (self.rank + 1).log2()).cumsum(1)

    @cached_property
    def ideal_gain(self) -> Tensor:
        """The gain of 0, 1, ..., K hits at the top of a list: DoubleTensor [K + 1]."""
        discount = 1 / (self.rank + 1).log2()
        return torch.cat([discount.new_zeros(1), discount.cumsum(0)])


def _recall(lists: Ranking, k: int) -> Tensor:
    """Share of the relevant items that are among the first k."""
    return _share(lists.hits[:, k - 1], lists.relevant)


def _precision(lists: Ranking, k: int) -> Tensor:
    """Share of the k ranks that hold a relevant item; in a list shorter than k, some ranks are empty."""
    return lists.hits[:, k - 1] / k


def _hit_rate(lists: Ranking, k: int) -> Tensor:
    """1 if a relevant item is among the first k, else 0."""
    return (lists.hits[:, k - 1] > 0).double()


def _ndcg(lists: Ranking, k: int) -> Tensor:
    """Discounted gain divided by that of an ideal list with min(k, relevant) hits on top (Järvelin & Kekäläinen
    2002)."""
    return _share(lists.gain[:, k - 1], lists.ideal_gain[lists.relevant.clamp(max=k)])


def _ndcg_kgat(lists: Ranking, k: int) -> Tensor:
    """NDCG as in the KGAT authors' code: the ideal list has only the hits among the top 100, so relevant items below
    rank 100 cost nothing (`ndcg_at_k` in their utility/metrics.py). It is higher than NDCG."""
    found = lists.hits[:, : max(k, KGAT_DEPTH)][:, -1].long()
    return _share(lists.gain[:, k - 1], lists.ideal_gain[found.clamp(max=k)])


def _mrr(lists: Ranking, k: int) -> Tensor:
    """1 / rank of the first hit within k, else 0."""
    return (lists.hit[:, :k] / lists.rank[:k]).amax(1)


def _map(lists: Ranking, k: int) -> Tensor:
    """Average precision: the precision at each hit's rank within k, summed and divided by min(k, relevant)."""
    at_hits = lists.hit[:, :k] * lists.hits[:, :k] / lists.rank[:k]
    return _share(at_hits.sum(1), lists.relevant.clamp(max=k))


def _popularity(lists: Ranking, k: int) -> Tensor:
    """Mean number of train interactions of the first k items (Abdollahpouri et al. 2019: ARP)."""
    if lists.interactions is None:
        raise KgrecError("popularity@k needs the number of interactions of each ranked item: Ranking(interactions=...)")
    counts = lists.interactions[:, :k].double()
    return _share(counts.nansum(1), (~counts.isnan()).sum(1))


def _novelty(lists: Ranking, k: int) -> Tensor:
    """Mean of -log2(users of the item in training / all users) over the first k items, in bits (Zhou et al. 2010, mean
    self-information); NaN for an empty list. An item without a user counts as one with one."""
    bits = _needed(lists.bits, "novelty", "the bits of each ranked item: Ranking(bits=...)")[:, :k]
    return bits.nansum(1) / (~bits.isnan()).sum(1)


def _tail_share(lists: Ranking, k: int) -> Tensor:
    """Share of the first k items that are in the long tail (Abdollahpouri et al. 2019: APLT); NaN for an empty list."""
    tail = _needed(lists.is_tail, "tail_share", "which ranked items are in the tail: Ranking(is_tail=...)")[:, :k]
    interactions = _needed(lists.interactions, "tail_share", "where lists end: Ranking(interactions=...)")[:, :k]
    return tail.double().sum(1) / (~interactions.isnan()).sum(1)


def _serendipity(lists: Ranking, k: int) -> Tensor:
    """Hits within k that are not among the first k by popularity, divided by k (Ge et al. 2010, with popularity as the
    primitive method)."""
    rank = _needed(lists.popular_rank, "serendipity", "the rank of each item by popularity: Ranking(popular_rank=...)")
    return (lists.hit[:, :k] & (rank[:, :k] > k)).double().sum(1) / k


def _diversity(lists: Ranking, k: int) -> Tensor:
    """1 - the mean likeness of all pairs of the first k items, the likeness being the cosine of their sets of facts
    (Ziegler et al. 2005, as a mean); NaN for a list of less than two items."""
    facts = _needed(lists.facts, "diversity", "what facts say of items: Ranking(facts=...)")
    return torch.from_numpy(intra_list_diversity(facts.lists(k), facts.unit)).to(lists.hit.device)


def _calibration_error(lists: Ranking, k: int) -> Tensor:
    """KL divergence of the shares of facts among the first k items from those in the user's history (Steck 2018, eqs. 4
    and 5); NaN for a user whose history has no facts."""
    facts = _needed(lists.facts, "calibration_error", "what facts say of items: Ranking(facts=...)")
    listed = shares(facts.lists(k), facts.ptr, facts.value, facts.number)
    return torch.from_numpy(calibration_error(facts.own, listed)).to(lists.hit.device)


def _recall_ips(lists: Ranking, k: int) -> Tensor:
    """Recall in which each relevant item counts 1 / its propensity, divided by the sum of these (Yang et al. 2018:
    self-normalised inverse propensity scoring)."""
    weight, relevant = _weights(lists, "recall_ips")
    return _share((lists.hit * weight)[:, :k].sum(1), relevant.sum(1))


def _ndcg_ips(lists: Ranking, k: int) -> Tensor:
    """NDCG in which a hit gains 1 / its propensity, divided by the gain of the ideal list, which has the relevant items
    of the lowest propensity on top (Yang et al. 2018)."""
    weight, relevant = _weights(lists, "ndcg_ips")
    gain = (lists.hit * weight / (lists.rank + 1).log2())[:, :k].sum(1)
    best = relevant[:, :k]
    place = torch.arange(1, best.shape[1] + 1, device=best.device, dtype=torch.double)
    return _share(gain, (best / (place + 1).log2()).sum(1))


def _weights(lists: Ranking, name: str) -> tuple[Tensor, Tensor]:
    what = "what items weigh: Ranking(weight=..., relevant_weight=...)"
    return _needed(lists.weight, name, what), _needed(lists.relevant_weight, name, what)


def _needed(value: Any, name: str, what: str) -> Any:
    if value is None:
        raise KgrecError(f"{name}@k needs {what}")
    return value


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, or 0 if the whole is 0."""
    return torch.where(whole > 0, part / whole, 0.0)


def coverage(recommended: Tensor) -> float:
    """Share of the catalog that is recommended to at least one user. recommended: LongTensor [items], number of lists
    that contain each item; or BoolTensor [items], whether any list contains it."""
    return float((recommended > 0).double().mean())


def gini(recommended: Tensor) -> float:
    """Gini index of how often items are recommended: the sum of (2 j - n - 1) p_j / (n - 1), where p_j are the shares
    of the n items of the catalog in all recommendations, sorted upwards. It is 0 if all items are recommended equally
    often, and 1 if only a single item is (Shani & Gunawardana 2011, "Evaluating Recommendation Systems", Gini index of
    sales diversity). recommended: LongTensor [items], number of lists that contain each item.

    >>> gini(torch.tensor([0, 3, 1]))  # (-2 * 0 + 0 * 1/4 + 2 * 3/4) / 2
    0.75
    """
    share, count = recommended.double().sort().values, len(recommended)
    place = torch.arange(1, count + 1, device=share.device, dtype=torch.double)
    return float((2 * place - count - 1) @ share / (share.sum().clamp(min=1) * max(1, count - 1)))


def rmse(error: Tensor, user: Tensor | None = None) -> Tensor:
    """Root of the mean squared error: DoubleTensor [], or with `user` one value for each user, [U].

    error: Tensor [n], predicted ratings minus the true ones; user: LongTensor [n], numbers from 0.

    >>> rmse(torch.tensor([3.0, -3.0, 1.0]), torch.tensor([0, 0, 1])).tolist()
    [3.0, 1.0]
    """
    return _mean(error.double().square(), user).sqrt()


def mae(error: Tensor, user: Tensor | None = None) -> Tensor:
    """Mean absolute error. Arguments and result as in `rmse`."""
    return _mean(error.double().abs(), user)


def _mean(values: Tensor, user: Tensor | None) -> Tensor:
    if user is None:
        return values.mean()
    return torch.bincount(user, weights=values) / torch.bincount(user)


def auc(score: Tensor, label: Tensor, user: Tensor | None = None) -> Tensor:
    """The share of pairs of a click and a non-click in which the click scores higher; ties count one half. DoubleTensor
    [], or with `user` one value for each user, [U]; NaN if all edges are of one class. Computed from ranks
    (Mann-Whitney U) in O(n log n).

    score: Tensor [n]; label: Tensor [n], 1 for a click, 0 for none; user: LongTensor [n], numbers from 0.

    >>> auc(torch.tensor([3.0, 1.0, 2.0, 1.0]), torch.tensor([1, 1, 0, 0])).item()
    0.625
    """
    if user is None:
        return auc(score, label, torch.zeros_like(label, dtype=torch.long)).squeeze(0)
    values, rank = score.unique(return_inverse=True)
    group, place = (user * len(values) + rank).unique(return_inverse=True)  # equal scores of one user, rising
    clicks = torch.bincount(place, weights=label.double())
    others = torch.bincount(place) - clicks
    owner = group // len(values)
    num_clicks, num_others = (torch.bincount(owner, weights=count) for count in (clicks, others))
    lower = others.cumsum(0) - others - (num_others.cumsum(0) - num_others)[owner]  # non-clicks of the user below
    won = torch.bincount(owner, weights=clicks * (lower + others / 2))
    return won / (num_clicks * num_others)


def gauc(score: Tensor, label: Tensor, user: Tensor) -> Tensor:
    """The mean of the users' AUC, weighted by their number of edges, over users who have both classes: DoubleTensor [];
    NaN if no user has both (Zhou et al. 2018, Deep Interest Network). Arguments as in `auc`."""
    own, weight = auc(score, label, user), torch.bincount(user)
    both = ~own.isnan()
    return own[both] @ weight[both].double() / weight[both].sum()


def logloss(score: Tensor, label: Tensor, user: Tensor | None = None) -> Tensor:
    """Mean of -log p, where p is the predicted probability of what happened: sigmoid(score) for a click, else 1 minus
    it. DoubleTensor [], or with `user` one value for each user, [U]. Arguments as in `auc`."""
    score = score.double()
    return _mean(softplus(score) - label * score, user)


def ece(score: Tensor, label: Tensor) -> Tensor:
    """Expected calibration error: the distance between the mean probability sigmoid(score) and the share of clicks, in
    15 bins of equal width; mean over edges. DoubleTensor [] (Guo et al. 2017, eq. 3). Arguments as in `auc`."""
    probability = score.double().sigmoid()
    place = (probability * BINS).ceil().long().clamp(min=1) - 1  # the upper end belongs to the bin
    gap = torch.bincount(place, weights=probability - label, minlength=BINS)
    return gap.abs().sum() / len(label)


def reciprocal_rank(rank: Tensor, k: int = 0) -> Tensor:
    """1 / rank of each held-out fact, DoubleTensor [n]; the mean is MRR. rank: Tensor [n], from 1."""
    return 1 / rank.double()


def hits(rank: Tensor, k: int) -> Tensor:
    """1 if the rank of a held-out fact is k or better, else 0: DoubleTensor [n] (Bordes et al. 2013, sec. 4.2)."""
    return (rank <= k).double()


Of = Literal["lists", "catalog", "ratings", "clicks", "facts"]
EDGES: tuple[Of, ...] = ("ratings", "clicks")  #: metrics of these are means over held-out edges, not over users


@dataclass(frozen=True)
class Formula:
    """The complete definition of a metric."""

    name: str  #: the name without a cut-off
    #: what it is computed from: each user's list, all lists together, predicted ratings, predicted clicks, or the ranks
    #: of held-out facts
    of: Of
    #: lists: (Ranking, k) -> DoubleTensor [B]; catalog: (number of lists with each item, LongTensor [I]) -> float;
    #: ratings and clicks: (score [n], truth [n], user [n]) -> DoubleTensor []; facts: (rank [n], k) -> DoubleTensor [n]
    value: Callable[..., Any]
    #: ratings and clicks: (score [n], truth [n], user [n]) -> DoubleTensor [U], one value for each user; None: users
    #: have no value of their own
    of_user: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    cut_off: bool = True  #: whether its name has a cut-off, as in `ndcg@10`
    lower_is_better: bool = False  #: whether lower is better, as for errors
    least_depth: int = 0  #: number of ranks that it needs, even if the cut-off is smaller
    #: lists and the catalog: what it needs beside hits and numbers of training edges, see `Ranking`
    needs: Literal["", "bits", "tail", "popular", "propensity", "facts"] = ""
    #: clicks: which classes it needs: any, both clicks and non-clicks, or both of at least one user
    classes: Literal["any", "both", "both of a user"] = "any"


FORMULAS = (
    Formula("recall", "lists", _recall),
    Formula("precision", "lists", _precision),
    Formula("hit_rate", "lists", _hit_rate),
    Formula("ndcg", "lists", _ndcg),
    Formula("ndcg_kgat", "lists", _ndcg_kgat, least_depth=KGAT_DEPTH),
    Formula("mrr", "lists", _mrr),
    Formula("map", "lists", _map),
    Formula("popularity", "lists", _popularity, lower_is_better=True),  # users find popular items by themselves
    Formula("novelty", "lists", _novelty, needs="bits"),
    Formula("tail_share", "lists", _tail_share, needs="tail"),
    Formula("serendipity", "lists", _serendipity, needs="popular"),
    Formula("diversity", "lists", _diversity, needs="facts"),
    Formula("calibration_error", "lists", _calibration_error, lower_is_better=True, needs="facts"),
    Formula("recall_ips", "lists", _recall_ips, needs="propensity"),
    Formula("ndcg_ips", "lists", _ndcg_ips, needs="propensity"),
    Formula("coverage", "catalog", coverage),
    Formula("tail_coverage", "catalog", coverage, needs="tail"),
    Formula("gini", "catalog", gini, lower_is_better=True),
    Formula(
        "rmse",
        "ratings",
        lambda score, rating, user: rmse(score - rating),
        lambda score, rating, user: rmse(score - rating, user),
        cut_off=False,
        lower_is_better=True,
    ),
    Formula(
        "mae",
        "ratings",
        lambda score, rating, user: mae(score - rating),
        lambda score, rating, user: mae(score - rating, user),
        cut_off=False,
        lower_is_better=True,
    ),
    Formula("auc", "clicks", lambda score, label, user: auc(score, label), cut_off=False, classes="both"),
    Formula("gauc", "clicks", gauc, auc, cut_off=False, classes="both of a user"),
    Formula(
        "logloss",
        "clicks",
        lambda score, label, user: logloss(score, label),
        logloss,
        cut_off=False,
        lower_is_better=True,
    ),
    Formula("ece", "clicks", lambda score, label, user: ece(score, label), cut_off=False, lower_is_better=True),
    Formula("hits", "facts", hits),
    Formula("mrr", "facts", reciprocal_rank, cut_off=False),
)
NAMES = tuple(dict.fromkeys(formula.name for formula in FORMULAS))


@dataclass(frozen=True)
class Metric:
    """A metric with its cut-off."""

    kind: str  #: one of NAMES
    k: int = 0  #: the cut-off, the number of ranks that count; 0 for a metric without one

    @property
    def name(self) -> str:
        """As users write it: `ndcg@10`, `rmse`."""
        return f"{self.kind}@{self.k}" if self.k else self.kind

    @cached_property
    def formula(self) -> Formula:
        """Its definition. `mrr` has two: for lists, with a cut-off, and for facts, without."""
        return next(one for one in FORMULAS if one.name == self.kind and one.cut_off == (self.k > 0))

    @property
    def of(self) -> Of:
        """What it is computed from."""
        return self.formula.of

    @property
    def depth(self) -> int:
        """Number of ranks that it needs."""
        return max(self.k, self.formula.least_depth)

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value is better."""
        return not self.formula.lower_is_better

    def values(self, lists: Ranking) -> Tensor:
        """The value of each list, DoubleTensor [B], for a metric of lists. `lists` has K >= depth ranks."""
        found: Tensor = self.formula.value(lists, self.k)
        return found


def parse(name: str) -> Metric:
    """Read a metric's name.

    >>> parse("ndcg@10")
    Metric(kind='ndcg', k=10)

    Raises UnknownName for an unknown metric, KgrecError for a cut-off that is missing, wrong or not allowed.
    """
    kind, at, cut = name.strip().partition("@")
    cut_offs = {formula.cut_off for formula in FORMULAS if formula.name == kind}
    if not cut_offs:
        raise unknown_name("metric", kind, NAMES)
    if not at and False in cut_offs:
        return Metric(kind)
    if True not in cut_offs:
        raise KgrecError(f"metric {name!r}: {kind} takes no cut-off; write {kind}")
    if not at:
        raise KgrecError(f"metric {name!r} needs a cut-off, the number of ranks that count: {kind}@10")
    if not (cut.isascii() and cut.isdigit()) or len(cut) > 10 or not 1 <= int(cut) <= MOST_RANKS:
        raise KgrecError(
            f"metric {name!r}: the cut-off {cut!r} is not a whole number from 1 to {MOST_RANKS:,}, as in {kind}@10"
        )
    return Metric(kind, int(cut))


def metric_names(metrics: str | Iterable[str]) -> tuple[str, ...]:
    """The names of several metrics. A text holds one name, or several separated by commas.

    >>> metric_names("ndcg@10"), metric_names("ndcg@10, auc"), metric_names(["auc"])
    (('ndcg@10',), ('ndcg@10', 'auc'), ('auc',))
    """
    return tuple(name.strip() for name in metrics.split(",")) if isinstance(metrics, str) else tuple(metrics)


def higher_is_better(name: str) -> bool:
    """Whether a higher value of this metric is better. Raises what `parse` raises.

    >>> higher_is_better("ndcg@10"), higher_is_better("rmse")
    (True, False)
    """
    return parse(name).higher_is_better
