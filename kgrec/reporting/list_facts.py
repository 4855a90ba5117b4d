"""What a run recommends: how varied, known and calibrated its lists are, and some of them with their reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import scipy  # its parts are imported when they are first used
import torch

from kgrec.errors import KgrecError
from kgrec.evaluation import list_quality
from kgrec.evaluation.listed_items import item_facts, long_tail
from kgrec.evaluation.metrics import coverage, gini, parse
from kgrec.evaluation.user_groups import by_group, user_groups
from kgrec.graph import Graph
from kgrec.reporting.run_facts import RunFacts
from kgrec.run import Run
from kgrec.splits.split import Split
from kgrec.training.measuring import divided_for, same_ids

PARTS = 10  #: items are cut into so many parts of equal size by their popularity
HISTORY = 5  #: past items of a user that a report names


@dataclass(frozen=True, eq=False)
class ListFacts:
    """The lists of one run, and what they are like."""

    users: Sequence[str]  #: whose lists these are, external ids
    k: int
    all_users: int  #: how many users were measured; `users` may be a draw of them
    quality: Mapping[str, tuple[float, float | None]]  #: mean by name, and half of its 95 % interval
    #: by tenths of the items, the most popular first: their share of training edges, and of places in lists
    popularity: Sequence[tuple[float, float]] = ()
    #: by the same tenths, with the graph: number of held-out pairs, and the share of them that is on the lists
    found: Sequence[tuple[int, float | None]] = ()
    activity: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))  #: training edges of each user
    worst: Sequence[Mapping[str, Any]] = ()  #: users with the lowest value of the main metric
    examples: Sequence[Mapping[str, Any]] = ()  #: lists with titles and reasons
    groups: Mapping[str, Any] | None = None  #: metrics by a column of users
    edges: Mapping[str, int] = field(default_factory=dict)  #: number of edges of each type
    whole: bool = False  #: whether `edges` are those of the graph; False: those that the run knows, without test
    notes: Sequence[str] = ()


def list_facts(
    facts: RunFacts,
    run: Run,
    *,
    k: int,
    most: int,
    examples: int,
    graph: Graph | None,
    groups: str | None,
    kept: dict[Any, Any],
) -> ListFacts:
    """Make the lists of the users who were measured, at most `most` of them, and describe them. kept: what runs of one
    graph and protocol share, which the first of them adds."""
    known, notes = run.graph, list[str]()
    assert facts.measured is not None
    everybody = [str(user) for user in facts.measured.users]
    source, _, target = known.target
    k = min(k, len(known.range(target)))
    users = everybody
    if len(users) > most:
        chosen = np.sort(np.random.default_rng(0).choice(len(users), most, replace=False))
        users = [users[place] for place in chosen]
        notes.append(f"Lists are those of {most:,} users, drawn from the {len(everybody):,} who were measured.")
    if run.candidates not in (None, "all"):
        notes.append("The run was measured on published candidate lists; the lists here are from the whole catalog.")
    options: dict[str, Any] = {"include_seen": run.repeats == "recommend", "exclude": run.exclude}
    table = run.recommend(users, k, **options).to_arrow()
    items = known.range(target)
    row = _places(users, table["user"])
    item = (known.flat(target, table["item"].to_pylist()).cpu() - items.start).numpy()
    lists = np.full((len(users), k), -1)
    lists[row, table["rank"].to_numpy() - 1] = item
    num_in, num_users, num_out = _counts(run)
    activity = pd.Series(num_out.numpy(), index=known.vocabulary[source].id_array.to_pylist())
    same = (facts.graph, facts.protocol, run.clicks_alone)
    quality = _quality(run, users, lists, num_in, num_users, notes, kept, same)
    if graph is not None and ("held", same) not in kept:
        kept["held", same] = _held(run, graph)
    held = None if graph is None else kept["held", same]
    main = facts.main_metric
    values = facts.measured.values[main].dropna() if main is not None else pd.Series(dtype=float)
    better = main is None or parse(main).higher_is_better
    return ListFacts(
        users,
        k,
        len(everybody),
        quality,
        _by_popularity(num_in, lists),
        () if held is None else _found(run, held, users, lists, num_in),
        activity,
        _worst(run, values, activity, better, held),
        _examples(run, values, better, examples, k, options, held),
        _groups(facts, run, graph, groups, notes),
        _edges(run, graph),
        graph is not None,
        notes,
    )


def _edges(run: Run, graph: Graph | None) -> dict[str, int]:
    """Number of edges of each type, as `source - relation - target`."""
    seen = graph if graph is not None else run.whole_graph() if run.keeps_facts else run.graph
    return {
        " - ".join(one): stop - start
        for one, start, stop in zip(seen.edge_types, seen.relation_ptr, seen.relation_ptr[1:])
    }


def _places(users: Sequence[str], named: Any) -> np.ndarray:
    return np.asarray(pd.Index(users).get_indexer(pd.Index(named.to_pylist(), dtype=object)))


def _counts(run: Run) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training edges and distinct users of each item, LongTensor [I] each, and training edges of each user, [U]."""
    graph = run.graph
    target, (users, items) = graph.only(graph.target), (graph.range(graph.target[0]), graph.range(graph.target[2]))
    if run.trained is not None:
        num_in, num_users, num_out = run.trained.num_in, run.trained.num_users, run.trained.num_out
    else:
        num_in, num_out = (torch.bincount(end, minlength=graph.pad + 1) for end in (target.tail, target.head))
        pairs = torch.unique(torch.stack([target.head, target.tail]).long(), dim=1)
        num_users = torch.bincount(pairs[1], minlength=graph.pad + 1)
    of_items, of_users = slice(items.start, items.stop), slice(users.start, users.stop)
    return num_in[of_items].long().cpu(), num_users[of_items].long().cpu(), num_out[of_users].long().cpu()


def _quality(
    run: Run,
    users: Sequence[str],
    lists: np.ndarray,
    num_in: torch.Tensor,
    num_users: torch.Tensor,
    notes: list[str],
    kept: dict[Any, Any],
    same: tuple[Any, ...],
) -> dict[str, tuple[float, float | None]]:
    """The metrics of lists beside accuracy, by name."""
    graph, k = run.graph, lists.shape[1]
    there = lists >= 0
    times = torch.bincount(torch.from_numpy(lists[there]), minlength=len(num_in))
    tail = long_tail(num_in)
    found: dict[str, tuple[float, float | None]] = {}
    found[f"coverage@{k}"] = (coverage(times), None)
    if bool(tail.any()):
        found[f"tail_coverage@{k}"] = (coverage(times[tail]), None)
    found[f"gini@{k}"] = (gini(times), None)
    length = np.maximum(there.sum(1), 1)
    own = {
        f"novelty@{k}": list_quality.novelty(lists, num_users.numpy(), len(graph.range(graph.target[0]))),
        f"popularity@{k}": np.where(there, num_in.numpy()[lists], 0).sum(1) / length,
        f"tail_share@{k}": np.where(there, tail.numpy()[lists], False).sum(1) / length,
    }
    facts = None
    if run.keeps_facts:
        try:
            facts = item_facts(run.whole_graph(), [parse(f"diversity@{k}")])
        except KgrecError:
            notes.append("The graph has no facts about items, so there is no diversity and no calibration.")
    else:
        notes.append("The run was trained with --lean and keeps no facts, so there is no diversity and no calibration.")
    if facts is not None:
        rows, by = list_quality.rows_of(lists, len(num_in)), (facts.indptr, facts.indices, facts.shape[1])
        own[f"diversity@{k}"] = list_quality.intra_list_diversity(rows, list_quality.unit_rows(*by))
        mine = ("shares", same, tuple(users))
        if mine not in kept:
            kept[mine] = list_quality.shares(_histories(run, users), *by)
            kept[mine].sort_indices()  # once for all runs
        own[f"calibration_error@{k}"] = list_quality.calibration_error(kept[mine], list_quality.shares(rows, *by))
    for name, values in own.items():
        values = values[~np.isnan(values)]
        if len(values):
            half = 1.959964 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else None
            found[name] = (float(values.mean()), half)
    return found


def _histories(run: Run, users: Sequence[str]) -> scipy.sparse.csr_array:
    """What users had, as 0-1 rows: [users, I]."""
    graph = run.graph
    target, (source, _, item) = graph.only(graph.target), graph.target
    first, items = graph.range(source), graph.range(item)
    row = np.full(len(first), -1)
    row[(graph.flat(source, list(users)).cpu() - first.start).numpy()] = np.arange(len(users))
    head, tail = (target.head.cpu() - first.start).numpy(), (target.tail.cpu() - items.start).numpy()
    inside = row[head] >= 0
    pairs = row[head][inside], tail[inside]
    found = scipy.sparse.csr_array((np.ones(len(pairs[0])), pairs), shape=(len(users), len(items)))
    found.sum_duplicates()
    found.data[:] = 1
    return found


def _tenths(num_in: torch.Tensor) -> np.ndarray:
    """The part of each item by popularity, 0 the most popular: int64 [I]."""
    order = num_in.argsort(descending=True, stable=True).numpy()
    part = np.empty(len(order), np.int64)
    part[order] = np.arange(len(order)) * PARTS // max(1, len(order))
    return part


def _by_popularity(num_in: torch.Tensor, lists: np.ndarray) -> list[tuple[float, float]]:
    part = _tenths(num_in)
    edges = np.bincount(part, weights=num_in.numpy(), minlength=PARTS)
    places = np.bincount(part[lists[lists >= 0]], minlength=PARTS)
    return list(zip((edges / max(1, edges.sum())).tolist(), (places / max(1, places.sum())).tolist()))


def _held(run: Run, graph: Graph) -> dict[str, list[str]]:
    """The held-out items of each user, by the run's own split of the graph."""
    same_ids(run, graph)
    of_run: dict[str, Any] = {"facts_only": run.facts_only, "all_edges": not run.clicks_alone}
    divided: Split = divided_for(graph, run.model.task, run.split, None, run.repeats, run.exclude, **of_run)
    test = divided.test.only(divided.test.target)
    source, _, item = graph.target
    users = graph.vocabulary[source].ids(test.head.cpu() - graph.range(source).start)
    items = graph.vocabulary[item].ids(test.tail.cpu() - graph.range(item).start)
    found: dict[str, list[str]] = {}
    for user, one in zip(users, items):
        found.setdefault(str(user), []).append(str(one))
    return found


def _found(
    run: Run, held: Mapping[str, list[str]], users: Sequence[str], lists: np.ndarray, num_in: torch.Tensor
) -> list[tuple[int, float | None]]:
    """Held-out pairs by the popularity of their item, and the share of them that is on the lists."""
    target = run.graph.target[2]
    row, name = zip(
        *((place, item) for place, user in enumerate(users) for item in dict.fromkeys(held.get(user, ())))
    ) or ((), ())
    item = (run.graph.flat(target, list(name)).cpu() - run.graph.range(target).start).numpy()
    hit = (lists[np.array(row)] == item[:, None]).any(1)
    part = _tenths(num_in)[item]
    pairs, hits = np.bincount(part, minlength=PARTS), np.bincount(part, weights=hit, minlength=PARTS)
    return [(int(number), float(one / number) if number else None) for number, one in zip(pairs, hits)]


def _titles(run: Run, node_type: str, ids: Sequence[str]) -> list[str]:
    """The title of each node, or its id where it has none."""
    vocabulary = run.graph.vocabulary[node_type]
    if vocabulary.label_array is None or not len(ids):
        return list(ids)
    local = (run.graph.flat(node_type, list(ids)).cpu() - run.graph.range(node_type).start).tolist()
    labels = vocabulary.label_array.take(local).to_pylist()
    return [label or one for label, one in zip(labels, ids)]


def _past(run: Run, user: str) -> tuple[int, list[str]]:
    """How many items a user had, and the titles of the last ones, the last first."""
    graph = run.graph
    target, (source, _, item) = graph.only(graph.target), graph.target
    start, stop = (int(one) for one in target.csr.ptr[graph.flat(source, [user]).item() :][:2])
    last = target.csr.other[max(start, stop - HISTORY) : stop].long().cpu() - graph.range(item).start
    ids = [str(one) for one in graph.vocabulary[item].ids(last)]
    return stop - start, _titles(run, item, ids)[::-1]


def _user(run: Run, user: str, value: float, held: Mapping[str, list[str]] | None) -> dict[str, Any]:
    number, past = _past(run, user)
    wanted = (
        [] if held is None else _titles(run, run.graph.target[2], list(dict.fromkeys(held.get(user, ())))[:HISTORY])
    )
    return {"user": user, "value": value, "known": number, "past": past, "held": wanted}


def _worst(
    run: Run, values: pd.Series, activity: pd.Series, better: bool, held: Mapping[str, list[str]] | None, most: int = 10
) -> list[dict[str, Any]]:
    """The users with the worst values; of equals, those of whom most is known."""
    frame = pd.DataFrame({"value": values if better else -values, "known": -activity.reindex(values.index).fillna(0)})
    frame = frame.sort_values(["value", "known"], kind="stable").head(most)
    return [_user(run, str(user), float(values[user]), held) for user in frame.index]


def _examples(
    run: Run,
    values: pd.Series,
    better: bool,
    number: int,
    k: int,
    options: Mapping[str, Any],
    held: Mapping[str, list[str]] | None,
) -> list[dict[str, Any]]:
    """Lists of users from the best to the worst, at equal distances, with titles and reasons."""
    order = values.sort_values(ascending=not better, kind="stable").index
    number = min(number, len(order))
    places = np.unique(np.linspace(0, max(0, len(order) - 1), number).round().astype(int))
    users = [str(order[place]) for place in places]
    if not users:
        return []
    table = run.recommend(users, k, why=True, **options)
    rows, because = table.to_arrow().to_pylist(), [] if table.why is None else table.why.to_arrow().to_pylist()
    found = []
    for user in users:
        past = [one for one in because if one["user"] == user and not math.isnan(one.get("strength") or 0)]
        past = sorted(past, key=lambda one: -(one.get("strength") or 0))[:HISTORY]
        items = [
            {**row, "hit": held is not None and row["item"] in held.get(user, ())}
            for row in rows
            if row["user"] == user
        ]
        reasons = list(dict.fromkeys(row["reason"] for row in items if row["reason"]))
        evidence = list(dict.fromkeys(one["evidence"] for one in past if one.get("evidence")))
        found.append(
            {
                **_user(run, user, float(values[user]), held),
                "items": items,
                "because": past,
                "reasons": reasons,
                "evidence": evidence,
            }
        )
    return found


def _groups(
    facts: RunFacts, run: Run, graph: Graph | None, column: str | None, notes: list[str]
) -> dict[str, Any] | None:
    """Metrics by a column of users."""
    if column is None:
        return None
    if graph is None and not run.keeps_facts:
        raise KgrecError(
            f"{facts.path} was trained with --lean and keeps no columns of users, so there are no groups by "
            f"{column!r}; name the graph with --graph, or leave --groups out"
        )
    assert facts.measured is not None
    of = user_groups(run.whole_graph() if graph is None else graph, column)
    return {"column": column, "metrics": by_group(facts.measured.values, of)}
