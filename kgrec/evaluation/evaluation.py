"""Rank, mask, measure: evaluate a model's scores on held-out edges, in bounded memory, in the same way for all
models."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import scipy  # its parts are imported when they are first used
import torch
from torch import Tensor

from kgrec import ranks
from kgrec.errors import KgrecError
from kgrec.evaluation.listed_items import ListedItems, check_facts, item_facts
from kgrec.evaluation.metrics import EDGES, FORMULAS, Metric, parse
from kgrec.evaluation.ranking import Ranker, scoring
from kgrec.evaluation.trial import Trial
from kgrec.graph import Candidates, Graph
from kgrec.graph.behaviours import check_candidates
from kgrec.model import AnyTask, Recommender
from kgrec.progress import counted
from kgrec.splits.repeats import Ranked, RepeatCounts

LEAST_LIMIT = 1_000  #: cut-offs up to this are allowed, even if the catalog is smaller


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of an evaluation: means over users, and the values of each user."""

    metrics: dict[str, float]  #: mean by metric name, in the order of the request
    #: one row for each user: `user`, the external id, and a column for each metric that single users have; null if the
    #: user has no value (gauc, the user's own AUC, needs both classes)
    per_user: pa.Table
    num_users: int  #: users with at least one held-out item that counts; the means are over these
    #: distinct held-out pairs that no model could rank: seen before, excluded, or not in the user's candidate list
    num_unrankable: int
    seconds: float  #: how long the evaluation took
    repeats: RepeatCounts  #: held-out pairs that the user already had, and how they were treated
    warm: dict[str, float] = field(default_factory=dict)  #: among items with an edge in training; empty if `cold` is
    cold: dict[str, float] = field(default_factory=dict)  #: among items without one; empty if none is held out
    #: over users with an edge in training; empty if all users have one, or if none has
    with_history: dict[str, float] = field(default_factory=dict)
    #: for `all`, `warm`, `cold` and `with_history`: the number of held-out `users`, distinct `items` and `pairs`, and
    #: of `candidates`, the ranked items (the mean length, if users have their own lists); `excluded`: pairs that are
    #: missed because `exclude` keeps their items out of the list; `edges`: only for ratings and clicks
    counts: dict[str, dict[str, float]] = field(default_factory=dict)
    #: users without an edge in training: their number as `users`, and for rankings the number by what their lists were
    #: made of: `by_popularity`, `by_later_history` (edges after training), `by_other_behaviours`, `by_profile`,
    #: `by_other_edges`; zeros are left out
    without_history: dict[str, int] = field(default_factory=dict)
    #: the values of lists user by user, as in `per_user`, for each scope that has metrics: `all`, `warm`, `cold` and
    #: `with_history`; a scope has the users with a held-out item in it
    by_scope: dict[str, pa.Table] = field(default_factory=dict)
    #: for ratings and clicks: one row for each held-out edge, with `user` and `item` (external ids), `truth` and
    #: `prediction` (the rating or the probability, float32)
    predictions: pa.Table | None = None


def default_metrics(task: AnyTask) -> tuple[str, ...]:
    """The default metrics of a task.

    >>> default_metrics("rating"), default_metrics("ctr")
    (('rmse', 'mae'), ('auc', 'gauc', 'logloss', 'ece'))
    """
    if task == "link":
        return ("mrr", "hits@1", "hits@3", "hits@10")
    if task != "ranking":
        return ("rmse", "mae") if task == "rating" else ("auc", "gauc", "logloss", "ece")
    kinds = ("recall", "precision", "ndcg", "hit_rate", "mrr", "map")
    return tuple(f"{kind}@{k}" for k in (10, 20) for kind in kinds)


def evaluate(
    model: Recommender,
    known: Graph,
    held: Graph,
    *,
    metrics: Sequence[str] | None = None,
    candidates: Candidates | None = None,
    repeats: str = "miss",
    trained: Graph | None = None,
    exclude: Sequence[str] = (),
    now: str = "unknown",
    seed: int = 0,
    batch_size: int = 2048,
    cells: int = 4_194_304,
    shared: bool = False,
) -> Evaluation:
    """Measure how well a model ranks the held-out items, or predicts their ratings or clicks: one protocol for all
    models.

    known: its target edges are each user's history and count as seen. held: its target edges are to be predicted.
    metrics: names such as `ndcg@10`; None: `default_metrics`. candidates: the set of items to rank for each user; None:
    all items that the user has not seen. repeats: how held-out pairs are treated that are known: `miss`, `skip` or
    `recommend`, see below. trained: the graph that the model was trained on; None: `known`. exclude: behaviours, such
    as `viewed`, whose items are left out of a user's list too; by default only items of the target relation are. now:
    with `edge`, a user's list is made for the time of the first held-out edge (`query.now`); with `unknown`, models are
    not told. seed: seed of the order of ties. batch_size: maximum number of users that are scored at once. cells:
    maximum number of scores in memory at once; each takes up to about 40 bytes, whatever the number of users and items.
    shared: the ranks of a training, which all call this, divide the batches; each has the whole result, equal to the
    last digit.

    - Candidates are all nodes of the target's tail type that the user has not seen. Published lists are ranked as they
      are: seen items stay in them, and an item that is twice in a list counts once.
    - Means are over users with at least one distinct held-out item. An item that is held out twice counts once.
    - A held-out item that the user has seen is a repeat. With `miss` it stays relevant and is missed, as in LensKit.
      With `skip` the pair does not count, nor does a user who has no other pair; for ratings and clicks, its edges do
      not count. With `recommend`, seen items are ranked too. All three rank published lists as they are, and `miss` and
      `recommend` predict ratings and clicks alike. `Evaluation.repeats` has the counts.
    - A held-out item that is not in the user's candidate list is missed. `num_unrankable` counts such pairs.
    - Ratings and clicks have no `query.now`.
    - Ties are ordered by a random number for each user and item, so a constant scorer is as good as chance.
    - An item or a user is warm if it has a target edge in `trained`, else cold. If cold items are held out, `cold` and
      `warm` rank the items of each kind only among themselves, over the users with a held-out item of that kind.
    - For users about whom the model knows nothing (mostly cold users), items are ranked by the number of their users in
      `trained` (`kgrec.evaluation.served_users.Service`). So all models give them the list of `popularity`. They count
      in the means; `with_history` is over the other users.
    - Metrics of ratings and clicks are over held-out edges; an edge that is there twice counts twice. The value of a
      single user is over that user's edges. The sigmoid of a score is the probability of a click. If all warm or all
      cold edges are of one class, their AUC is left out.

    The model is scored in eval mode, without gradients and on its own device. Afterwards it is in its former mode.

    Raises UnknownName for an unknown metric, choice or behaviour. Raises KgrecError if nothing is held out, or only
    repeats that are skipped; if the graphs differ in nodes or target; if a user has no candidate list; if `exclude`
    would change published lists; with now=edge, if a first held-out edge is before the history's end and the model
    reads `now`; if scores are not finite; and for the same reasons as `check_metrics`.
    """
    start = time.perf_counter()
    wanted = list(dict.fromkeys(parse(name) for name in (default_metrics(model.task) if metrics is None else metrics)))
    _check_graphs(known, held)
    check_candidates(candidates, exclude)
    of_edges = [metric for metric in wanted if metric.of in EDGES]
    of_lists = [metric for metric in wanted if metric not in of_edges]
    ranked: Ranked = "nothing" if not of_lists else "catalog" if candidates is None else "lists"
    trial = Trial(model, known, held, candidates, batch_size, cells, repeats, ranked, trained, exclude, now)
    check_metrics(model, trial.held, [metric.name for metric in wanted])
    facts = item_facts(known, of_lists)
    ranker = trial.ranker(max(metric.depth for metric in of_lists), seed) if of_lists else None
    with scoring(model):
        of_users = _rank(trial, ranker, of_lists, facts, shared) if ranker is not None else {}
        score = trial.scorer.of_edges(trial.held, shared) if of_edges else None
    predicted = {} if score is None else _predicted(trial, of_edges, score)
    scopes = (*trial.scopes, "with_history")
    found = {scope: _joined(of_users.get(scope), predicted.get(scope), wanted) for scope in scopes}
    columns = {name: pa.array(own.cpu().numpy(), from_pandas=True) for name, own in found["all"].columns.items()}
    return Evaluation(
        metrics=found["all"].means,
        warm=found["warm"].means if "warm" in found else {},
        cold=found["cold"].means if "cold" in found else {},
        with_history=found["with_history"].means,
        counts=trial.counts(of_lists=bool(of_lists), of_edges=bool(of_edges)),
        without_history=trial.without_history(ranker),
        per_user=pa.table({"user": trial.ids(trial.seen.target[0], trial.user), **columns}),
        by_scope={scope: _of_lists(trial, one) for scope, one in of_users.items() if one.row is not None},
        predictions=None if score is None else trial.predictions(score),
        num_users=len(trial.user),
        num_unrankable=trial.num_unrankable(),
        repeats=trial.repeats,
        seconds=time.perf_counter() - start,
    )


def held_out_counts(
    model: Recommender, known: Graph, held: Graph, metrics: Sequence[str], repeats: str = "miss"
) -> dict[str, float]:
    """The numbers of users, items and pairs that such an evaluation would be over, as in `Evaluation.counts["all"]`.
    Nothing is scored."""
    wanted = [parse(name) for name in metrics]
    of_edges = [metric for metric in wanted if metric.of in EDGES]
    trial = Trial(model, known, held, None, 1, 1, repeats, "catalog")
    return trial.counts(of_lists=len(of_edges) < len(wanted), of_edges=bool(of_edges))["all"]


def _check_graphs(known: Graph, held: Graph) -> None:
    if known.target != held.target or known.num_nodes != held.num_nodes:
        raise KgrecError(
            f"the held-out edges ({'-'.join(held.target)}, {held.num_nodes:,} nodes) are from another graph than the "
            f"known edges ({'-'.join(known.target)}, {known.num_nodes:,} nodes); take both from the same graph"
        )


def check_metrics(model: Recommender, held: Graph, metrics: Sequence[str], known: Graph | None = None) -> None:
    """Check, before anything is scored, that these metrics can be computed for this model and these held-out edges.
    known: a graph with the facts that are known; None: these are not checked.

    Raises KgrecError if a cut-off is far larger than the catalog; for metrics of facts; for metrics of ratings or
    clicks if the model has another task; if edges have no click labels; if AUC is undefined because all edges (for
    GAUC: all edges of each user) are of one class; and for metrics that need facts about items where there are none.
    """
    wanted = [parse(name) for name in metrics]
    if known is not None:
        check_facts(known, wanted)
    _check_cut_offs(wanted, len(held.range(held.target[2])))
    facts = [metric for metric in wanted if metric.of == "facts"]
    if facts:
        both = {metric.kind for metric in facts if not metric.k} & {one.name for one in FORMULAS if one.of == "lists"}
        lists = "".join(f"; for lists, {name} needs a cut-off, such as {name}@10" for name in sorted(both))
        raise KgrecError(
            f"{', '.join(metric.name for metric in facts)} can only measure held-out facts, but held out are "
            f"{held.target[1]!r} edges{lists}; use metrics such as ndcg@10, or train with --task link"
        )
    for what, task in (("ratings", "rating"), ("clicks", "ctr")):
        names = [metric.name for metric in wanted if metric.of == what]
        if names and model.task != task:
            raise KgrecError(
                f"{', '.join(names)} can only measure predicted {what}, but {type(model).__name__} was trained for "
                f"task {model.task!r}; use metrics such as {default_metrics(model.task)[0]}"
            )
    of_clicks = [metric for metric in wanted if metric.of == "clicks"]
    if of_clicks:
        _check_classes(held.only(held.target), of_clicks)


def _check_cut_offs(wanted: Sequence[Metric], items: int) -> None:
    """Raise KgrecError for a cut-off far larger than the catalog: its empty ranks would only take memory."""
    for metric in wanted:
        if metric.k > max(items, LEAST_LIMIT):
            raise KgrecError(
                f"metric {metric.name!r}: the catalog has {items:,} items; use a cut-off of at most "
                f"{max(items, LEAST_LIMIT):,}"
            )


def _check_classes(held: Graph, wanted: Sequence[Metric]) -> None:
    """Raise KgrecError if one of the metrics is undefined for the held-out clicks. wanted: metrics of clicks."""
    label, others = held.clicks(), [one for one in FORMULAS if one.of == "clicks"]
    undefined = [metric.name for metric in wanted if metric.formula.classes != "any"]
    if undefined and label.min() == label.max():
        left = [one.name for one in others if one.classes == "any"]
        raise KgrecError(
            f"cannot compute {' and '.join(undefined)}: edges with and without a click are needed, but all "
            f"{len(label):,} held-out {held.target[1]!r} edges are {'clicks' if label[0] else 'without a click'}; "
            f"correct `click:` in the recipe, choose another --split, or use --metrics {','.join(left)} and --metric "
            f"{left[0]}"
        )
    undefined = [metric.name for metric in wanted if metric.formula.classes == "both of a user"]
    edges, clicks = torch.bincount(held.head), torch.bincount(held.head, weights=label)
    if undefined and not ((clicks > 0) & (clicks < edges)).any():
        left = [one.name for one in others if one.classes != "both of a user"]
        raise KgrecError(
            f"cannot compute {' and '.join(undefined)}: no user has edges both with and without a click among the "
            f"{len(label):,} held-out edges; hold out more edges of each user with --split, or use --metrics "
            f"{','.join(left)}"
        )


# ---------------------------------------------------------------------- ranking


@dataclass(frozen=True, eq=False)
class _Found:
    """Metrics of one scope: means by name, and the value of each user, DoubleTensor [users of the scope]."""

    means: dict[str, float]
    columns: dict[str, Tensor]
    row: Tensor | None = None  #: LongTensor [users of the scope], their rows in the trial; only for lists


def _of_lists(trial: Trial, found: _Found) -> pa.Table:
    """The values of lists of a scope, a row for each user."""
    assert found.row is not None
    columns = {name: pa.array(own.cpu().numpy(), from_pandas=True) for name, own in found.columns.items()}
    return pa.table({"user": trial.ids(trial.seen.target[0], trial.user[found.row]), **columns})


def _joined(ranked: _Found | None, rated: _Found | None, wanted: Sequence[Metric]) -> _Found:
    """Both kinds of metrics, in the order of the request."""
    parts = [part for part in (ranked, rated) if part is not None]
    means = {name: value for part in parts for name, value in part.means.items()}
    columns = {name: value for part in parts for name, value in part.columns.items()}
    names = [metric.name for metric in wanted]
    return _Found({n: means[n] for n in names if n in means}, {n: columns[n] for n in names if n in columns})


class _Tally:
    """Collects the values of the users of one scope, batch by batch, and counts how often items are recommended."""

    def __init__(self, trial: Trial, scope: str, wanted: Sequence[Metric], listed: ListedItems) -> None:
        self.scope, self.listed, self.relevant = scope, listed, listed.relevant
        self.of_lists = [metric for metric in wanted if metric.of == "lists"]
        self.of_catalog = [metric for metric in wanted if metric.of == "catalog"]
        self.recommended = {
            k: torch.zeros(trial.pad + 1, dtype=torch.long, device=trial.user.device)
            for k in {metric.k for metric in self.of_catalog}
        }  #: by cut-off: number of lists that contain each node
        #: which users have a history; None if all have one
        self.has_history = None if scope != "all" or bool(trial.has_history.all()) else trial.has_history
        self.with_history = {k: torch.zeros_like(count) for k, count in self.recommended.items()}
        self.rows: list[Tensor] = []
        self.values: dict[str, list[Tensor]] = {metric.name: [] for metric in self.of_lists}

    def add(self, row: Tensor, item: Tensor, hit: Tensor) -> None:
        """Add the lists of some users: row [B], item [B, K], hit [B, K]. Users without a relevant item do not count."""
        counts = self.relevant[row] > 0
        row, item, hit = row[counts], item[counts], hit[counts]
        lists = self.listed.ranking(row, item, hit)
        self.rows.append(row)
        for metric in self.of_lists:
            self.values[metric.name].append(metric.values(lists))
        for k, recommended in self.recommended.items():
            _add_listed(recommended, item[:, :k])
            if self.has_history is not None:
                _add_listed(self.with_history[k], item[self.has_history[row], :k])

    def found(self, shared: bool) -> dict[str, _Found]:
        """Means and values by scope, in the order of users, so that they do not depend on the batches; empty if there
        are no users. `with_history`: only over users who have a history, if some have none. shared: with the users of
        all ranks."""
        row, place = torch.cat([*self.rows, self.relevant.new_empty(0)]), self.relevant.device
        columns = {
            name: torch.cat([*values, torch.empty(0, dtype=torch.double, device=place)])
            for name, values in self.values.items()
        }
        if shared:
            row, columns = ranks.joined(row), {name: ranks.joined(values) for name, values in columns.items()}
            self.recommended = {k: ranks.add(count) for k, count in self.recommended.items()}
            self.with_history = {k: ranks.add(count) for k, count in self.with_history.items()}
        order = row.argsort()
        columns = {name: values[order] for name, values in columns.items()}
        row = row[order]
        found = {self.scope: self._means(row, columns, self.recommended) if len(order) else _Found({}, {})}
        if self.has_history is not None and bool(self.has_history.any()):
            there = self.has_history[row]
            some_columns = {name: values[there] for name, values in columns.items()}
            found["with_history"] = self._means(row[there], some_columns, self.with_history)
        return found

    def _means(self, row: Tensor, columns: dict[str, Tensor], recommended: dict[int, Tensor]) -> _Found:
        means = {name: mean_of(values) for name, values in columns.items()}
        for metric in self.of_catalog:
            means[metric.name] = self.listed.catalog_value(metric, recommended[metric.k])
        means = {name: value for name, value in means.items() if not math.isnan(value)}
        return _Found(means, columns, row)


def mean_of(values: Tensor) -> float:
    """The mean over the users who have a value; NaN if none has."""
    undefined = values.isnan()
    return float((values[~undefined] if undefined.any() else values).mean())


def _add_listed(recommended: Tensor, item: Tensor) -> None:
    """Count in how many lists [B, K] each item is."""
    listed = item.flatten()
    recommended.index_add_(0, listed, torch.ones_like(listed))


def _rank(
    trial: Trial, ranker: Ranker, wanted: Sequence[Metric], facts: scipy.sparse.csr_array | None, shared: bool
) -> dict[str, _Found]:
    """The metrics of ranked lists, by scope. facts: see `item_facts`; shared: ranks divide the batches."""
    tallies = {
        scope: _Tally(trial, scope, wanted, ListedItems(trial, ranker, scope, wanted, facts)) for scope in trial.scopes
    }
    number = len(trial.user) / (ranks.world() if shared else 1)
    batches = ranks.share(ranker.batches(trial.user), divided=shared)
    for row in counted("ranking", batches, number, "users", len):
        user = trial.user[row]
        best = ranker.best(user, trial.asked_at(row))
        if "all" not in best:
            best["all"] = ranker.merged(list(best.values()))
        for scope, tally in tallies.items():
            item = best[scope].item
            tally.add(row, item, trial.find(user[:, None], item) >= 0)
    return {scope: found for tally in tallies.values() for scope, found in tally.found(shared).items()}


# ---------------------------------------------------------------------- ratings and clicks


def _predicted(trial: Trial, wanted: Sequence[Metric], score: Tensor) -> dict[str, _Found]:
    """The metrics of predicted ratings or clicks, by scope. score: FloatTensor [held-out edges]."""
    user = torch.searchsorted(trial.user, trial.held.head)
    inside = {scope: trial.is_in(scope, trial.held.tail) for scope in trial.scopes}
    if not bool(trial.has_history.all()):
        inside["with_history"] = trial.has_history[user]
    return {
        scope: _of_edges(wanted, score[edges], trial.truth[edges], user[edges]) if edges.any() else _Found({}, {})
        for scope, edges in inside.items()
    }


def _of_edges(wanted: Sequence[Metric], score: Tensor, truth: Tensor, user: Tensor) -> _Found:
    """score, truth, user: Tensor [edges of the scope]; users by their rows. Undefined metrics are left out."""
    means = {metric.name: float(metric.formula.value(score, truth, user)) for metric in wanted}
    own = {metric.name: metric.formula.of_user for metric in wanted}
    return _Found(
        {name: value for name, value in means.items() if not math.isnan(value)},
        {name: formula(score, truth, user) for name, formula in own.items() if formula is not None},
    )
