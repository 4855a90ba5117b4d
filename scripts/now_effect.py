"""Benchmarks of what it gives away to a model when a list is wanted, and of users whose times are known to be true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig


def now_effect(benchmark: Mapping[str, Any], graph: Graph, quick: bool) -> dict[str, Any]:
    """The metrics of each model by how long after the user's last known interaction the held-out one is, where models
    are told its time (`edge`) and where the last interaction's own time stands for it (`last step`). The
    models are trained and told again on the same interactions with those of one user and second in random order, so
    that the order of rows in the file gives nothing away."""
    rows: list[dict[str, Any]] = []
    graphs = {"in order of the file": graph, "in random order": shuffled_ties(graph, 0)}
    for name, one in benchmark["models"].items():
        training = {**benchmark.get("training", {}), **one.get("training", {})}
        training |= {"epochs": 1} if quick else {}
        for ties, own in graphs.items():
            run = train(
                one["model"],
                own,
                split=benchmark["split"],
                config=one.get("set", {}),
                training=configure(TrainingConfig, training),
                metrics=benchmark["metrics"],
                now="edge",
            )
            for told in ("edge", "last step") if run.model.reads_now else ("not read",):
                now = "unknown" if told == "last step" else "edge"
                found = run.measure(own, metrics=benchmark["metrics"], groups="gap", now=now)
                rows += _rows(found, {"model": name, "now": told, "ties": ties})
    metric, in_order = benchmark["metrics"][-1], next(iter(graphs))
    whole = [row for row in rows if row["gap"] == "all" and row["ties"] == in_order]
    return {"test": {f"{metric} of {row['model']}, {row['now']}": row[metric] for row in whole}, "rows": rows}


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


def among_verified(benchmark: Mapping[str, Any], folder: Path, graph: Graph, data: Path) -> dict[str, Any]:
    """The metrics of a run among users whose held-out interaction has a time that is known to be true. folder: of the
    run; graph: that it was trained on; data: of the source files, with a list of the rows whose times are not."""
    run = Run.load(folder)
    groups = verified_users(data / benchmark["ratings"], data / benchmark["unverified"])
    found = run.measure(graph, metrics=benchmark["metrics"], groups=groups)
    means = {metric: one["groups"]["verified"]["mean"] for metric, one in found["groups"]["metrics"].items()}
    number = next(iter(found["groups"]["metrics"].values()))["groups"]["verified"]["users"]
    return {"test": means, "num_users": number, "protocol": found["protocol"], "all_users": found["test"]}


def verified_users(ratings: Path, unverified: Path) -> dict[str, str]:
    """For each user of a MovieLens file, whether the time of the last row, by time and then by place in the file, is
    `verified` or `unverified`. unverified: line numbers, from 1, of the rows that are not."""
    parts = [line.split("::") for line in ratings.read_text(encoding="latin-1").splitlines()]
    doubtful = {int(line) for line in unverified.read_text().split()}
    last: dict[str, tuple[int, int]] = {}
    for number, (user, _, _, time) in enumerate(parts, 1):
        last[user] = max(last.get(user, (int(time), number)), (int(time), number))
    return {user: "unverified" if number in doubtful else "verified" for user, (_, number) in last.items()}
