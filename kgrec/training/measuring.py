"""Measure a trained model on the held-out edges of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from kgrec import models
from kgrec.errors import KgrecError, some
from kgrec.evaluation.evaluation import Evaluation, default_metrics, evaluate
from kgrec.evaluation.link_evaluation import LinkEvaluation, evaluate_links
from kgrec.evaluation.metrics import metric_names, parse
from kgrec.evaluation.user_groups import GAP, by_group, gap_groups, user_groups
from kgrec.graph import Candidates, Graph
from kgrec.model import Recommender
from kgrec.nn import LinkScorer
from kgrec.pandas_values import is_series
from kgrec.splits.answer_times import check_now
from kgrec.splits.positives import positives
from kgrec.splits.repeats import check_repeats, repeated, without_repeats
from kgrec.splits.split import Split, split_facts
from kgrec.splits.split import split as split_graph
from kgrec.training.controls import CONTROLS
from kgrec.training.trained_model import TrainedModel

if TYPE_CHECKING:
    import pandas as pd

LEAST_ITEMS = 5  #: fewer cold or warm items in valid do not choose an epoch
ALL_FOUND = ("recall", "precision", "hit_rate")  #: metrics that are the same for every order of a list of all items
MOST_COUNTS = 100_000_000  #: maximum size of the control of link prediction; it takes 1.2 GB while it is built
#: The default metric that chooses the epoch, by task
CHOOSERS: Mapping[str, str] = {"ranking": "ndcg@10", "rating": "rmse", "ctr": "auc", "link": "mrr"}


def measure(
    run: TrainedModel,
    graph: Graph | str | Path,
    *,
    split: str | None = None,
    candidates: str | None = None,
    repeats: str | None = None,
    metrics: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    mmap: bool | None = None,
    groups: str | pd.Series | None = None,
    now: str | None = None,
) -> dict[str, Any]:
    """Measure a run on the test edges of a graph with the same nodes, or on its held-out facts if it was trained for
    task `link`. split, candidates, repeats, exclude, now: None for those of the run. exclude: behaviours whose items
    are left out of the lists, in addition to the target relation; () for none. mmap: whether a graph that is named by
    its path is mapped from files, see `Graph.load`. groups: by which groups of users the metrics are given too,
    as `groups`: a column of users, `gap` (how long after the last known
    interaction the held-out one is), or the group of each user by id; see `kgrec.evaluation.user_groups`.

    Returns `model`, `protocol` and `test`; `test_cold` and `test_warm` if there are cold items; `test_with_history` and
    `without_history` if users have no edge in training; `num_users`, and `counts` of users, items and pairs (see
    `Evaluation`); the counts `repeats`; `self_edges` if there are any; and `evaluation_seconds`. For task `link` it
    returns `num_facts`, `test_seen_ends`, `test_unseen_ends` and `control` in place of those about users, as in
    metrics.json. Raises UnknownName for an unknown behaviour or column, KgrecError if the graph and the run have
    different ids, and for a column that makes one group, or far too many.
    """
    graph = graph if isinstance(graph, Graph) else Graph.load(graph, mmap)
    same_ids(run, graph)
    if groups is not None and run.model.task == "link":
        raise KgrecError("groups are of users, and this run was trained for task link, whose test is of facts")
    columns = graph.features.get(graph.target[0], {}) if groups is not None else {}
    own = user_groups(graph, groups) if isinstance(groups, str) and (groups != GAP or GAP in columns) else None
    lists = candidates or (None if split else run.candidates)
    chosen = repeats or run.repeats
    of_run: dict[str, Any] = {"facts_only": run.facts_only, "all_edges": not run.clicks_alone, "now": now or run.now}
    parts = split or run.split, lists, chosen, run.exclude if exclude is None else metric_names(exclude)
    divided = divided_for(graph.to(run.device), run.model.task, *parts, **of_run)
    if own is None and groups is not None:
        own = groups if is_series(groups) else gap_groups(divided.train_valid, divided.test)
    names = metric_names(metrics or default_metrics(run.model.task))
    trained = divided.trained_on(refit=run.was_refit)
    test = evaluated(run.model, divided, divided.train_valid, divided.test, names, divided.candidates, trained)
    too_large = control_too_large(divided)
    beside = {} if too_large else link_control(run.model, divided, trained, names)
    apart = {}
    if own is not None:
        assert isinstance(test, Evaluation)
        apart = {
            "groups": {
                "column": groups if isinstance(groups, str) else str(own.name),
                "metrics": by_group(test.per_user, own),
            }
        }
    return {
        "model": run.name,
        "protocol": divided.named(refit=run.was_refit),
        **measured(test, divided),
        **apart,
        **({"control": {CONTROLS["link"]: beside}} if beside else too_large),
        "evaluation_seconds": test.seconds,
    }


def same_ids(run: TrainedModel, graph: Graph) -> None:
    """Raise KgrecError if a graph and a run have different ids."""
    for node_type, vocabulary in run.graph.vocabulary.items():
        there = graph.vocabulary.get(node_type)
        if there is None or len(there) != len(vocabulary):
            found = f"{len(there):,}" if there is not None else "none"
            raise KgrecError(
                f"the run knows {len(vocabulary):,} {node_type} ids, but the graph has {found}; train again on this "
                "graph"
            )
        if not there.id_array.equals(vocabulary.id_array):
            raise KgrecError(f"the graph and the run have different {node_type} ids; train again on this graph")


def divided_for(
    graph: Graph,
    task: str,
    spec: str | None,
    candidates: str | None,
    repeats: str = "miss",
    exclude: Sequence[str] = (),
    facts_only: bool = False,
    all_edges: bool = False,
    now: str = "unknown",
) -> Split:
    """The split for a task: a split of facts for task `link`, else of interactions, without those that are no
    positives. facts_only: see `split_facts`; all_edges: see `positives`."""
    graph, left_out = positives(graph, task, all_edges or facts_only)
    if task != "link":
        return replace(split_graph(graph, spec, candidates, repeats, exclude, now), left_out=left_out)
    if exclude:
        raise KgrecError(
            f"task link ranks facts, not items for users, so {some(exclude)} cannot be excluded; leave it out"
        )
    if check_repeats(repeats) != "miss":
        raise KgrecError(
            f"task link ranks facts, not items for users, so repeats {repeats!r} has no effect; leave it out"
        )
    if check_now(now) != "unknown":
        raise KgrecError(f"task link ranks facts, which no user asks for, so now {now!r} has no effect; leave it out")
    if candidates not in (None, "all"):
        raise KgrecError(
            f"task link ranks facts among all nodes, so it takes no candidates {candidates!r}; leave it out"
        )
    return replace(split_facts(graph, spec, facts_only=facts_only), left_out=left_out)


def evaluated(
    model: Recommender,
    divided: Split,
    known: Graph,
    held: Graph,
    metrics: Sequence[str],
    candidates: Candidates | None = None,
    trained: Graph | None = None,
    *,
    shared: bool = False,
) -> Evaluation | LinkEvaluation:
    """Evaluate a model on the held-out edges `held` of a split. trained: the graph that it was trained on. shared: all
    ranks of a training call this, and divide the work."""
    if divided.whole is None:
        return evaluate(
            model,
            known,
            held,
            metrics=metrics,
            candidates=candidates,
            repeats=divided.repeats,
            trained=trained,
            exclude=divided.exclude,
            now=divided.now,
            shared=shared,
        )
    assert isinstance(model, LinkScorer)
    return evaluate_links(model, divided.whole, held, metrics=metrics, trained=trained, shared=shared)


def metrics_among(found: Evaluation | LinkEvaluation, among: str) -> dict[str, float]:
    """The metrics of an evaluation that choose: over all items, or among its cold or warm ones."""
    if among == "all" or isinstance(found, LinkEvaluation):
        return dict(found.metrics)
    return dict(found.cold if among == "cold" else found.warm)


def check_among(among: str, metric: str, divided: Split) -> None:
    """Raise KgrecError if valid has no items, or too few, for a metric that chooses among cold or warm items."""
    valid = divided.valid
    if among == "all" or valid is None:
        return
    advice = "hold out more items, such as --split cold_items:0.1,valid=0.2, or choose with --set training.among=all"
    if divided.whole is not None:
        raise KgrecError(f"training.among={among} is about items, but held out are facts; leave it out")
    train = divided.train.only(divided.train.target)
    count = functional.pad(train.index.num_in, (0, 1))
    held = torch.unique(valid.only(valid.target).tail)
    items = train.nodes(train.target[2])
    chosen, ranked = ((count[one] > 0) == (among == "warm") for one in (held, items))
    found, candidates, wanted = int(chosen.sum()), int(ranked.sum()), parse(metric)
    if found < LEAST_ITEMS:
        raise KgrecError(
            f"split {divided.spec!r}: valid has {found or 'no'} {among} item{'s' * (found != 1)}, too few to choose "
            f"by; {LEAST_ITEMS} are the least; {advice}"
        )
    if wanted.kind in ALL_FOUND and wanted.k >= candidates:
        raise KgrecError(
            f"split {divided.spec!r}: there are {candidates} {among} items, so {metric} among them is the same for "
            f"every model; use a smaller cut-off, such as --metric {wanted.kind}@{max(1, candidates // 4)}, or {advice}"
        )


def control_too_large(divided: Split) -> dict[str, str]:
    """A note for metrics.json if the control of link prediction is left out, because it would need too much memory for
    so many nodes and relations; empty if it is not left out."""
    if divided.whole is None:
        return {}
    nodes = divided.whole.schema.nodes
    numbers = sum(nodes[target].count for _, _, target in divided.whole.two_way_edges())
    if numbers <= MOST_COUNTS:
        return {}
    return {"control_left_out": f"{CONTROLS['link']} would hold {numbers:,} counts, more than {MOST_COUNTS:,}"}


def link_control(
    model: Recommender, divided: Split, trained: Graph, metrics: Sequence[str], *, shared: bool = False
) -> dict[str, dict[str, float]]:
    """The results of the control of link prediction on the same held-out facts, by part. It is built from the same
    training graph. Empty for other tasks, and for the control itself."""
    if divided.whole is None or isinstance(model, models.find(CONTROLS["link"])):
        return {}
    beside = models.build(CONTROLS["link"], trained).eval()
    test = evaluated(beside, divided, divided.train_valid, divided.test, metrics, trained=trained, shared=shared)
    assert isinstance(test, LinkEvaluation)
    return _of_facts(test)


def counted(divided: Split, known: Graph, held: Graph) -> Graph:
    """The held-out edges that count: all, or without repeats if they are skipped. Raises KgrecError if none is left."""
    if divided.whole is not None or divided.repeats != "skip":
        return held
    return without_repeats(held, *repeated(known.only(known.target), held))


def measured(test: Evaluation | LinkEvaluation, divided: Split) -> dict[str, Any]:
    """The results of a test for metrics.json: its metrics and counts, and how many edges were left out before: edges
    that are no clicks, and `self_edges` from a node to itself."""
    left_out = {"edges_left_out": divided.left_out, "self_edges": divided.num_self_edges}
    return {**_of_test(test), **{name: number for name, number in left_out.items() if number}}


def _of_test(test: Evaluation | LinkEvaluation) -> dict[str, Any]:
    if isinstance(test, LinkEvaluation):
        unseen = {} if test.num_unseen_ends is None else {"num_unseen_ends": test.num_unseen_ends}
        return {**_of_facts(test), "num_facts": test.num_facts, **unseen}
    apart: dict[str, Any] = {"test_cold": dict(test.cold), "test_warm": dict(test.warm)} if test.cold else {}
    if test.with_history:
        apart["test_with_history"] = dict(test.with_history)
    counts = {"test" if scope == "all" else f"test_{scope}": dict(found) for scope, found in test.counts.items()}
    numbers: dict[str, Any] = {"num_users": test.num_users, "counts": counts, "repeats": test.repeats.to_json()}
    if test.without_history:
        numbers["without_history"] = dict(test.without_history)
    return {"test": dict(test.metrics), **apart, **numbers}


def _of_facts(test: LinkEvaluation) -> dict[str, Any]:
    """The metrics over all facts, and over facts whose ends training has or has not seen."""
    parts = {"test": test.metrics, "test_seen_ends": test.seen_ends, "test_unseen_ends": test.unseen_ends}
    return {name: dict(values) for name, values in parts.items() if values}
