"""Benchmarks of what it gives away to a model when a list is wanted, and of users whose times are known to be true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig

Trained = Callable[[str], Run]


def now_effect(benchmark: Mapping[str, Any], graph: Graph, quick: bool, trained: Trained = Run.load) -> dict[str, Any]:
    """The metrics of each model by how long after the user's last known interaction the held-out one is, where models
    are told its time (`edge`) and where they are not (`unknown`): then a sequence model takes the last interaction's
    own time for it, and popularity the newest of all. trained: gives the run of another benchmark by its name.

    The models under `ties` are trained for fewer epochs, once on the graph as it is and once with the interactions of
    one user and second in random order, so that the order of rows in the file gives nothing away."""
    rows: list[dict[str, Any]] = []
    order, another = "order of the file", "random order"
    for name, one in benchmark["models"].items():
        run = trained(one["of"]) if "of" in one else _train(benchmark, one, graph, quick)
        rows += _measured(benchmark, run, graph, {"model": name, "ties": order})
    few = benchmark.get("ties", {"models": {}})
    for name, one in few["models"].items():
        for ties, own in {order: graph, another: shuffled_ties(graph, 0)}.items():
            run = _train({**benchmark, **few}, one, own, quick)
            rows += _measured(benchmark, run, own, {"model": f"{name}, fewer epochs", "ties": ties})
    metric = benchmark["metrics"][-1]
    whole = [row for row in rows if row["gap"] == "all"]
    return {
        "test": {f"{metric} of {row['model']}, {row['ties']}, {row['now']}": row[metric] for row in whole},
        "rows": rows,
    }


def _train(benchmark: Mapping[str, Any], one: Mapping[str, Any], graph: Graph, quick: bool) -> Run:
    training = {**benchmark.get("training", {}), **one.get("training", {})} | ({"epochs": 1} if quick else {})
    return train(
        one["model"],
        graph,
        split=benchmark["split"],
        config=one.get("set", {}),
        training=configure(TrainingConfig, training),
        metrics=benchmark["metrics"],
        now="edge",
    )


def _measured(benchmark: Mapping[str, Any], run: Run, graph: Graph, what: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for told in ("edge", "unknown") if run.model.reads_now else ("not read",):
        now = "unknown" if told == "unknown" else "edge"  # the groups are by it in any case
        found = run.measure(graph, metrics=benchmark["metrics"], groups="gap", now=now)
        rows += _rows(found, {**what, "now": told})
    return rows


def _rows(found: Mapping[str, Any], what: dict[str, Any]) -> list[dict[str, Any]]:
    """What was measured of all users, and of each group."""
    rows = [{**what, "gap": "all", "users": found["num_users"], **found["test"]}]
    of_metrics = found["groups"]["metrics"]
    for gap, group in next(iter(of_metrics.values()))["groups"].items():
        means = {metric: one["groups"][gap]["mean"] for metric, one in of_metrics.items()}
        rows.append({**what, "gap": gap, "users": group["users"], **means})
    return rows


def shuffled_ties(graph: Graph, seed: int) -> Graph:
    """The same graph with its target edges in random order, so that those of one user and time are in no order."""
    place = graph.edge_types.index(graph.target)
    start, stop = graph.relation_ptr[place : place + 2]
    order = torch.arange(graph.num_edges)
    order[start:stop] = start + torch.from_numpy(np.random.default_rng(seed).permutation(stop - start))
    moved: dict[str, Any] = {
        "edge_index": graph.edge_index[:, order],
        "time": graph.time[order],
        "weight": graph.weight[order],
    }
    return replace(graph, **moved, edge_features={})


def among_verified(benchmark: Mapping[str, Any], graph: Graph, data: Path, trained: Trained) -> dict[str, Any]:
    """The metrics of runs among users whose held-out interaction has a time that is known to be true. graph: that they
    were trained on; data: folder of the source files, with a list of the rows whose times are not known to be true;
    trained: gives the run of another benchmark by its name."""
    groups = verified_users(data / benchmark["ratings"], data / benchmark["unverified"])
    rows, number = [], 0
    for name in benchmark["of"]:
        found = trained(name).measure(graph, metrics=benchmark["metrics"], groups=groups)
        parts = {metric: one["groups"]["verified"] for metric, one in found["groups"]["metrics"].items()}
        number = next(iter(found["groups"]["metrics"].values()))["groups"]["verified"]["users"]
        rows.append({"of": name, **{metric: part["mean"] for metric, part in parts.items()}, "all": found["test"]})
    test = {f"{metric} of {row['of']}": row[metric] for row in rows for metric in benchmark["metrics"]}
    return {"test": test, "num_users": number, "rows": rows}


def verified_users(ratings: Path, unverified: Path) -> dict[str, str]:
    """For each user of a MovieLens file, whether the time of the last row, by time and then by place in the file, is
    `verified` or `unverified`. unverified: line numbers, from 1, of the rows that are not."""
    parts = [line.split("::") for line in ratings.read_text(encoding="latin-1").splitlines()]
    doubtful = {int(line) for line in unverified.read_text().split()}
    last: dict[str, tuple[int, int]] = {}
    for number, (user, _, _, time) in enumerate(parts, 1):
        last[user] = max(last.get(user, (int(time), number)), (int(time), number))
    return {user: "unverified" if number in doubtful else "verified" for user, (_, number) in last.items()}
