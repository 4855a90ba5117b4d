"""A trained model measured on what a split holds out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kgrec import models
from kgrec.errors import KgrecError, some
from kgrec.evaluation.evaluation import Evaluation, default_metrics, evaluate
from kgrec.evaluation.link_evaluation import LinkEvaluation, evaluate_links
from kgrec.evaluation.metrics import metric_names
from kgrec.graph import Candidates, Graph
from kgrec.model import Recommender
from kgrec.nn import LinkScorer
from kgrec.splits.positives import positives
from kgrec.splits.repeats import check_repeats, repeated, without_repeats
from kgrec.splits.split import Split, split_facts
from kgrec.splits.split import split as split_graph
from kgrec.training.controls import CONTROLS
from kgrec.training.trained_model import TrainedModel

MOST_COUNTS = 100_000_000  #: numbers that the control of link prediction may hold beside a run, 1.2 GB while it is made
#: The metric that chooses the epoch where none is named, by task
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
) -> dict[str, Any]:
    """Measure a run on the test edges of a graph with the same nodes, or on its held-out facts where it was trained for
    task `link`. split, candidates, repeats, exclude: else those of the run; exclude: behaviours whose items are left
    out of the lists, beside those of the target relation, () for none.

    Returns `model`, `protocol`, `test`; `test_cold` and `test_warm` where there are cold items; `test_with_history` and
    `without_history` where users have no edge in training; `num_users`, what each of these is of as `counts` (see
    `Evaluation`), the counts `repeats`, and `evaluation_seconds`. Of facts it returns `num_facts` in place of users,
    `test_seen_ends`, `test_unseen_ends` and `control`, as in metrics.json. `self_edges` is there where there are any.
    Raises UnknownName for a behaviour that is not there, KgrecError where the graph's ids are not the run's.
    """
    graph = graph if isinstance(graph, Graph) else Graph.load(graph)
    same_ids(run, graph)
    lists = candidates or (None if split else run.candidates)
    chosen = repeats or run.repeats
    of_run: dict[str, Any] = {"facts_only": run.facts_only, "all_edges": not run.clicks_alone}
    parts = split or run.split, lists, chosen, run.exclude if exclude is None else metric_names(exclude)
    divided = divided_for(graph.to(run.device), run.model.task, *parts, **of_run)
    names = metric_names(metrics or default_metrics(run.model.task))
    trained = divided.trained_on(refit=run.was_refit)
    test = evaluated(run.model, divided, divided.train_valid, divided.test, names, divided.candidates, trained)
    too_large = control_too_large(divided)
    beside = {} if too_large else link_control(run.model, divided, trained, names)
    return {
        "model": run.name,
        "protocol": divided.named(refit=run.was_refit),
        **measured(test, divided),
        **({"control": {CONTROLS["link"]: beside}} if beside else too_large),
        "evaluation_seconds": test.seconds,
    }


def same_ids(run: TrainedModel, graph: Graph) -> None:
    """Raise KgrecError where a graph's ids are not those that a run knows."""
    for node_type, vocabulary in run.graph.vocabulary.items():
        there = graph.vocabulary.get(node_type)
        if there is None or len(there) != len(vocabulary):
            found = f"{len(there):,}" if there is not None else "none"
            raise KgrecError(f"the run knows {len(vocabulary):,} {node_type} ids, the graph has {found}; train again")
        if not there.id_array.equals(vocabulary.id_array):
            raise KgrecError(f"the graph's {node_type} ids are not the run's; train again on this graph")


def divided_for(
    graph: Graph,
    task: str,
    spec: str | None,
    candidates: str | None,
    repeats: str = "miss",
    exclude: Sequence[str] = (),
    facts_only: bool = False,
    all_edges: bool = False,
) -> Split:
    """The split of a task: of facts, or of interactions, of which only positives are there. facts_only: see
    `split_facts`; all_edges: see `positives`."""
    graph, left_out = positives(graph, task, all_edges or facts_only)
    if task != "link":
        return replace(split_graph(graph, spec, candidates, repeats, exclude), left_out=left_out)
    if exclude:
        raise KgrecError(f"{some(exclude)} cannot be excluded: held-out facts are ranked, which are of no user")
    if check_repeats(repeats) != "miss":
        raise KgrecError(f"repeats {repeats!r} is of what users had before; a held-out fact is none, so leave it out")
    if candidates not in (None, "all"):
        raise KgrecError(f"candidates {candidates!r} are of users; held-out facts are ranked among all nodes")
    return replace(split_facts(graph, spec, facts_only=facts_only), left_out=left_out)


def evaluated(
    model: Recommender,
    divided: Split,
    known: Graph,
    held: Graph,
    metrics: Sequence[str],
    candidates: Candidates | None = None,
    trained: Graph | None = None,
) -> Evaluation | LinkEvaluation:
    """A model measured on what a split holds out. trained: what it learned from."""
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
        )
    assert isinstance(model, LinkScorer)
    return evaluate_links(model, divided.whole, held, metrics=metrics, trained=trained)


def control_too_large(divided: Split) -> dict[str, str]:
    """As metrics.json has it, that the control of link prediction is left out, since a graph of so many nodes and
    relations would have it take more memory than the model; empty where it is not."""
    if divided.whole is None:
        return {}
    nodes = divided.whole.schema.nodes
    numbers = sum(nodes[target].count for _, _, target in divided.whole.two_way_edges())
    if numbers <= MOST_COUNTS:
        return {}
    return {"control_left_out": f"{CONTROLS['link']} would hold {numbers:,} counts, more than {MOST_COUNTS:,}"}


def link_control(
    model: Recommender, divided: Split, trained: Graph, metrics: Sequence[str]
) -> dict[str, dict[str, float]]:
    """What the control of link prediction has on the same held-out facts, by part, built of what the model learned
    from. Empty of other tasks, and of the control itself."""
    if divided.whole is None or isinstance(model, models.find(CONTROLS["link"])):
        return {}
    beside = models.build(CONTROLS["link"], trained).eval()
    test = evaluated(beside, divided, divided.train_valid, divided.test, metrics, trained=trained)
    assert isinstance(test, LinkEvaluation)
    return _of_facts(test)


def counted(divided: Split, known: Graph, held: Graph) -> Graph:
    """Those of held-out edges that count: all, or where repeats are skipped the others. Raises KgrecError where none
    is left."""
    if divided.whole is not None or divided.repeats != "skip":
        return held
    return without_repeats(held, *repeated(known.only(known.target), held))


def measured(test: Evaluation | LinkEvaluation, divided: Split) -> dict[str, Any]:
    """What is kept of a test: its metrics, what they are means of, and how many edges were left out before: those that
    are no clicks, and `self_edges` from a node to itself."""
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
    """The metrics over all facts, and over those with and without an end that training has not seen."""
    parts = {"test": test.metrics, "test_seen_ends": test.seen_ends, "test_unseen_ends": test.unseen_ends}
    return {name: dict(values) for name, values in parts.items() if values}
