"""Rank, mask, measure: a model's scores against held-out edges, in fixed memory and in the same way for every model."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.evaluation.metrics import EDGES, FORMULAS, Metric, Ranking, parse
from kgrec.evaluation.ranking import Ranker, scoring
from kgrec.evaluation.trial import Trial
from kgrec.graph import Candidates, Graph
from kgrec.graph.behaviours import check_candidates
from kgrec.model import AnyTask, Recommender
from kgrec.splits.repeats import Ranked, RepeatCounts

LEAST_LIMIT = 1_000  #: cut-offs up to here are taken however small a catalog is


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came out: means over users, and the values that they are means of."""

    metrics: dict[str, float]  #: by name, as asked
    per_user: pa.Table  #: one row a user: `user`, the external id, and a column for each metric that a user has; null
    #: where this one has none (gauc, the user's own AUC, needs both classes)
    num_users: int  #: users with at least one held-out item that counts: those that the means are over
    #: distinct held-out pairs that no model could rank: seen before, excluded, or not on the user's list
    num_unrankable: int
    seconds: float  #: how long it took
    repeats: RepeatCounts  #: held-out pairs that the user had already, and what became of them
    warm: dict[str, float] = field(default_factory=dict)  #: among items with an edge in training; empty if `cold` is
    cold: dict[str, float] = field(default_factory=dict)  #: among items without one; empty where none is held out
    #: over users with an edge in training; empty where all have one, and where none has
    with_history: dict[str, float] = field(default_factory=dict)
    #: what each of these is of, by `all`, `warm`, `cold` and `with_history`: `users`, distinct `items` and `pairs` that
    #: are held out, and `candidates`, items that are ranked (where users have lists of their own their mean length);
    #: `excluded` are pairs missed because `exclude` keeps their items off the list; of ratings and clicks `edges`
    counts: dict[str, dict[str, float]] = field(default_factory=dict)
    #: of users without an edge in training: `users`, and of rankings by what they were served: `by_popularity`,
    #: `by_later_history` (than training), `by_other_behaviours`, `by_profile`, `by_other_edges`; those that are not 0
    without_history: dict[str, int] = field(default_factory=dict)
    predictions: pa.Table | None = None  #: where ratings or clicks were measured, one row a held-out edge: `user` and
    #: `item`, external ids, `truth` and `prediction`, the rating or the probability, float32


def default_metrics(task: AnyTask) -> tuple[str, ...]:
    """The metrics of a task where none are named.

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
    seed: int = 0,
    batch_size: int = 2048,
    cells: int = 4_194_304,
) -> Evaluation:
    """How well a model ranks what was held out, or predicts its ratings or clicks: one protocol for all models.

    known: its target edges are each user's history, and are seen. held: its target edges are to be predicted. metrics:
    names such as `ndcg@10`; None: those of `default_metrics`. candidates: for each user the items to rank, a set; None:
    all that the user has not seen. repeats: what becomes of held-out pairs that are known, `miss`, `skip` or
    `recommend`, see below. trained: what the model learned from; None: what is known. exclude: behaviours, such as
    `viewed`, whose items are left out of a user's list too; by default only those of the target relation are. seed: of
    the order among equal scores. batch_size: most users scored at once. cells: most scores held at once; they take up
    to some 40 bytes each, whatever the number of users and items.

    - Candidates are all nodes of the target's tail type, less those seen. Lists are ranked as published: what is seen
      is not taken from them; an item that stands twice on one counts once.
    - Means are over users with at least one distinct held-out item; an item held out twice counts once.
    - A held-out item that the user has seen is a repeat. By `miss` it stays among the relevant and is missed, as in
      LensKit. By `skip` the pair does not count, nor does a user who has no other; of ratings and clicks, its edges do
      not. By `recommend` what is seen is ranked too. Lists are ranked as published by all three, and what is predicted
      of a rating or click is the same by `miss` and `recommend`. `Evaluation.repeats` counts them.
    - A held-out item that is not on the user's list is missed; `num_unrankable` tells how many cannot be ranked.
    - A list is asked for when the user's first held-out edge is (`query.now`); ratings and clicks have no such time.
    - Equal scores are ordered by a random number of each user and item, so a constant scorer is at chance.
    - An item or a user is warm with a target edge in `trained`, and cold without. Where cold items are held out, `cold`
      and `warm` rank each kind among its own kind alone, over the users with a held-out item of that kind.
    - Users of whom the model knows nothing, as those mostly are who are cold, are ranked the items by the number of
      their users in `trained` (`kgrec.evaluation.served_users.Service`), so that all models give them the list of
      `popularity`. They count in the means; `with_history` is over the others.
    - Metrics of ratings and clicks are over held-out edges, as often as they stand there; a user's own are over that
      user's edges. A score's sigmoid is the probability of a click. Where all warm or all cold edges are of one class,
      the AUC of these alone is left out.

    The model is scored in eval mode, without gradients and on its own device; it is left in the mode it was in.

    Raises UnknownName for a metric, a choice or a behaviour that is not there; KgrecError where nothing is held out, or
    only repeats that are skipped, the graphs differ in nodes or target, a user has no list, `exclude` would change
    lists as published, scores are not finite, and as `check_metrics`.
    """
    start = time.perf_counter()
    wanted = list(dict.fromkeys(parse(name) for name in (default_metrics(model.task) if metrics is None else metrics)))
    _check_graphs(known, held)
    check_candidates(candidates, exclude)
    of_edges = [metric for metric in wanted if metric.of in EDGES]
    of_lists = [metric for metric in wanted if metric not in of_edges]
    ranked: Ranked = "nothing" if not of_lists else "catalog" if candidates is None else "lists"
    trial = Trial(model, known, held, candidates, batch_size, cells, repeats, ranked, trained, exclude)
    check_metrics(model, trial.held, [metric.name for metric in wanted])
    ranker = trial.ranker(max(metric.depth for metric in of_lists), seed) if of_lists else None
    with scoring(model):
        of_users = _rank(trial, ranker, of_lists) if ranker is not None else {}
        score = trial.scorer.of_edges(trial.held) if of_edges else None
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
        predictions=None if score is None else trial.predictions(score),
        num_users=len(trial.user),
        num_unrankable=trial.num_unrankable(),
        repeats=trial.repeats,
        seconds=time.perf_counter() - start,
    )


def held_out_counts(
    model: Recommender, known: Graph, held: Graph, metrics: Sequence[str], repeats: str = "miss"
) -> dict[str, float]:
    """What such an evaluation's means are of, as `Evaluation.counts["all"]`; nothing is scored."""
    wanted = [parse(name) for name in metrics]
    of_edges = [metric for metric in wanted if metric.of in EDGES]
    trial = Trial(model, known, held, None, 1, 1, repeats, "catalog")
    return trial.counts(of_lists=len(of_edges) < len(wanted), of_edges=bool(of_edges))["all"]


def _check_graphs(known: Graph, held: Graph) -> None:
    if known.target != held.target or known.num_nodes != held.num_nodes:
        raise KgrecError(
            f"held-out edges are of another graph: {'-'.join(held.target)} over {held.num_nodes:,} nodes, "
            f"where {'-'.join(known.target)} over {known.num_nodes:,} nodes is known"
        )


def check_metrics(model: Recommender, held: Graph, metrics: Sequence[str]) -> None:
    """Whether the held-out edges give these metrics of this model a value, before anything is scored.

    Raises KgrecError where a cut-off is far beyond the catalog, where metrics of facts are asked for, ratings or clicks
    of a model of another task, where edges have no labels of clicks, and where AUC is undefined: all edges, or those of
    each user for GAUC, are of one class.
    """
    wanted = [parse(name) for name in metrics]
    _check_cut_offs(wanted, len(held.range(held.target[2])))
    facts = [metric for metric in wanted if metric.of == "facts"]
    if facts:
        both = {metric.kind for metric in facts if not metric.k} & {one.name for one in FORMULAS if one.of == "lists"}
        lists = "".join(f"; the {name} of lists has a cut-off, {name}@10" for name in sorted(both))
        raise KgrecError(
            f"{', '.join(metric.name for metric in facts)} measure held-out facts, and these are held-out "
            f"{held.target[1]!r} edges{lists}; ask for metrics such as ndcg@10, or train a model of facts with --task "
            "link"
        )
    for what, task in (("ratings", "rating"), ("clicks", "ctr")):
        names = [metric.name for metric in wanted if metric.of == what]
        if names and model.task != task:
            raise KgrecError(
                f"{', '.join(names)} measure predicted {what}, and the scores of {type(model).__name__} are of task "
                f"{model.task!r}; ask for metrics such as ndcg@10"
            )
    of_clicks = [metric for metric in wanted if metric.of == "clicks"]
    if of_clicks:
        _check_classes(held.only(held.target), of_clicks)


def _check_cut_offs(wanted: Sequence[Metric], items: int) -> None:
    """Raise KgrecError for a cut-off far beyond the catalog, whose empty ranks would only take memory."""
    for metric in wanted:
        if metric.k > max(items, LEAST_LIMIT):
            raise KgrecError(
                f"metric {metric.name!r}: the catalog has {items:,} items, so a cut-off of at most "
                f"{max(items, LEAST_LIMIT):,} is wanted"
            )


def _check_classes(held: Graph, wanted: Sequence[Metric]) -> None:
    """wanted: metrics of clicks. Raises KgrecError where the held-out clicks leave one undefined."""
    label, others = held.clicks(), [one for one in FORMULAS if one.of == "clicks"]
    undefined = [metric.name for metric in wanted if metric.formula.classes != "any"]
    if undefined and label.min() == label.max():
        left = [one.name for one in others if one.classes == "any"]
        raise KgrecError(
            f"{' and '.join(undefined)} undefined: the {len(label):,} held-out {held.target[1]!r} edges are all "
            f"{'clicks' if label[0] else 'without a click'}, and both are wanted; mend `click:` in the recipe, take "
            f"another --split, or ask for --metrics {','.join(left)} and --metric {left[0]}"
        )
    undefined = [metric.name for metric in wanted if metric.formula.classes == "both of a user"]
    edges, clicks = torch.bincount(held.head), torch.bincount(held.head, weights=label)
    if undefined and not ((clicks > 0) & (clicks < edges)).any():
        left = [one.name for one in others if one.classes != "both of a user"]
        raise KgrecError(
            f"{' and '.join(undefined)} undefined: no user has both clicks and others among the {len(label):,} "
            f"held-out edges; hold out more of each user with --split, or ask for --metrics {','.join(left)}"
        )


# ---------------------------------------------------------------------- ranking


@dataclass(frozen=True, eq=False)
class _Found:
    """Metrics of one scope: means by name, and the users' own values, DoubleTensor [users of the scope]."""

    means: dict[str, float]
    columns: dict[str, Tensor]


def _joined(ranked: _Found | None, rated: _Found | None, wanted: Sequence[Metric]) -> _Found:
    """Both kinds of metrics in the order in which they were asked for."""
    parts = [part for part in (ranked, rated) if part is not None]
    means = {name: value for part in parts for name, value in part.means.items()}
    columns = {name: value for part in parts for name, value in part.columns.items()}
    names = [metric.name for metric in wanted]
    return _Found({n: means[n] for n in names if n in means}, {n: columns[n] for n in names if n in columns})


class _Tally:
    """Values of the users of one scope, batch by batch, and what is recommended at all."""

    def __init__(self, trial: Trial, scope: str, wanted: Sequence[Metric]) -> None:
        self.scope, self.interactions, self.catalog = scope, trial.interactions, trial.scopes[scope]
        self.relevant = trial.relevant(scope)
        self.of_lists = [metric for metric in wanted if metric.of == "lists"]
        self.of_catalog = [metric for metric in wanted if metric.of == "catalog"]
        self.recommended = {
            k: torch.zeros(trial.pad + 1, dtype=torch.long, device=trial.user.device)
            for k in {metric.k for metric in self.of_catalog}
        }  #: by cut-off, in how many lists each node stands
        #: of those with a history alone, where some have none
        self.has_history = None if scope != "all" or bool(trial.has_history.all()) else trial.has_history
        self.with_history = {k: torch.zeros_like(count) for k, count in self.recommended.items()}
        self.rows: list[Tensor] = []
        self.values: dict[str, list[Tensor]] = {metric.name: [] for metric in self.of_lists}

    def add(self, row: Tensor, item: Tensor, hit: Tensor) -> None:
        """Lists of some users: row [B], item [B, K], hit [B, K]. Those without a relevant item do not count."""
        counts = self.relevant[row] > 0
        row, item, hit = row[counts], item[counts], hit[counts]
        no_item = item == len(self.interactions) - 1
        lists = Ranking(hit, self.relevant[row], self.interactions[item].float().masked_fill(no_item, torch.nan))
        self.rows.append(row)
        for metric in self.of_lists:
            self.values[metric.name].append(metric.values(lists))
        for k, recommended in self.recommended.items():
            _add_listed(recommended, item[:, :k])
            if self.has_history is not None:
                _add_listed(self.with_history[k], item[self.has_history[row], :k])

    def found(self) -> dict[str, _Found]:
        """Means and values in the order of users, so that they do not depend on the batches; empty without users. Under
        `with_history` those of the users who have one, where some have none."""
        row = torch.cat(self.rows)
        order = row.argsort()
        columns = {name: torch.cat(values)[order] for name, values in self.values.items()}
        found = {self.scope: self._means(columns, self.recommended) if len(order) else _Found({}, {})}
        if self.has_history is not None and bool(self.has_history.any()):
            there = self.has_history[row[order]]
            some_columns = {name: values[there] for name, values in columns.items()}
            found["with_history"] = self._means(some_columns, self.with_history)
        return found

    def _means(self, columns: dict[str, Tensor], recommended: dict[int, Tensor]) -> _Found:
        means = {name: float(values.mean()) for name, values in columns.items()}
        for metric in self.of_catalog:
            means[metric.name] = float(metric.formula.value(recommended[metric.k][self.catalog]))
        return _Found(means, columns)


def _add_listed(recommended: Tensor, item: Tensor) -> None:
    """Count lists [B, K] in which each item stands."""
    listed = item.flatten()
    recommended.index_add_(0, listed, torch.ones_like(listed))


def _rank(trial: Trial, ranker: Ranker, wanted: Sequence[Metric]) -> dict[str, _Found]:
    """The metrics of lists, by scope."""
    tallies = {scope: _Tally(trial, scope, wanted) for scope in trial.scopes}
    for row in ranker.batches(trial.user):
        user = trial.user[row]
        best = ranker.best(user, trial.now[row])
        if "all" not in best:
            best["all"] = ranker.merged(list(best.values()))
        for scope, tally in tallies.items():
            item = best[scope].item
            tally.add(row, item, trial.find(user[:, None], item) >= 0)
    return {scope: found for tally in tallies.values() for scope, found in tally.found().items()}


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
    """All Tensor [edges of the scope]; users by their rows. What is undefined is left out."""
    means = {metric.name: float(metric.formula.value(score, truth, user)) for metric in wanted}
    own = {metric.name: metric.formula.of_user for metric in wanted}
    return _Found(
        {name: value for name, value in means.items() if not math.isnan(value)},
        {name: formula(score, truth, user) for name, formula in own.items() if formula is not None},
    )
