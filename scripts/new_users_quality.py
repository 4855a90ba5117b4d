"""How good the answers to new users are: `fold_in` of scripts/benchmark.py."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kgrec import models
from kgrec.evaluation.trained_nodes import Trained
from kgrec.graph import Graph
from kgrec.run import Run
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

K = 10  #: items in a list
ALONE = 20  #: users who are asked for one at a time


@dataclass(frozen=True, eq=False)
class Halves:
    """A graph of which some users are left out, and what they did."""

    without: Graph  #: no edge of theirs
    with_earlier: Graph  #: the earlier half of each one's edges
    users: list[str]  #: who they are
    history: pd.DataFrame  #: user, item, time and weight of the earlier halves
    later: Mapping[str, set[str]]  #: the items of the later halves

    @staticmethod
    def of(graph: Graph, number: int, seed: int) -> Halves:
        """number: of users that are left out, of those with 4 edges or more."""
        known = graph.only(graph.target)
        user, item = known.edge_index
        degree = torch.bincount(user)
        picked = np.random.default_rng(seed).choice(np.flatnonzero(degree.numpy() >= 4), number, replace=False)
        is_new = torch.isin(user, torch.from_numpy(picked))
        order = np.lexsort((np.arange(known.num_edges), known.time.numpy(), user.numpy()))
        first = np.concatenate([[0], np.cumsum(degree.numpy())])[user.numpy()[order]]
        is_later = torch.zeros(known.num_edges, dtype=torch.bool)
        later = np.arange(known.num_edges) - first >= (degree.numpy()[user.numpy()[order]] + 1) // 2
        is_later[torch.from_numpy(order)] = torch.from_numpy(later)
        source, _, target = graph.target
        names = [np.array(graph.vocabulary[one].id_array.to_pylist(), object) for one in (source, target)]

        def frame(kept: Tensor) -> pd.DataFrame:
            columns = {"user": names[0][user[kept]], "item": names[1][item[kept]]}
            return pd.DataFrame({**columns, "time": known.time[kept].numpy(), "weight": known.weight[kept].numpy()})

        held = {str(name): set(items) for name, items in frame(is_new & is_later).groupby("user")["item"]}
        return Halves(
            graph.where_target(~is_new),
            graph.where_target(~(is_new & is_later)),
            names[0][np.sort(picked)].tolist(),
            frame(is_new & ~is_later),
            held,
        )


def fold_in(benchmark: Mapping[str, Any], graph: Graph, options: argparse.Namespace) -> dict[str, Any]:
    """NDCG of new users, beside that of the same model and settings trained with the earlier halves of theirs, and
    milliseconds a user. On one thread. What is trained is kept in the output folder, and used again."""
    torch.set_num_threads(1)
    halves = Halves.of(graph if benchmark.get("facts") else graph.only(graph.target), benchmark["users"], seed=0)
    trained, seconds = {}, {}
    for side, known in (("without", halves.without), ("with", halves.with_earlier)):
        begun = time.process_time()
        model = _trained(benchmark, known, side, options)
        trained[side] = Run(benchmark["model"], model, known, trained=Trained(known, model))
        seconds[side] = time.process_time() - begun
    of_known = _ndcg(_lists(trained["with"].recommend(halves.users, K).to_pandas()), halves)
    run = trained["without"]
    begun = time.process_time()
    run.recommend(history=halves.history[halves.history.user == halves.users[0]], k=K)
    first = time.process_time() - begun
    begun, wall = time.process_time(), time.perf_counter()
    answer = run.recommend(history=halves.history, k=K).to_pandas()
    milliseconds = (time.process_time() - begun) / len(halves.users) * 1000
    wall_milliseconds = (time.perf_counter() - wall) / len(halves.users) * 1000
    begun = time.process_time()
    for _, own in _some(halves.history):
        run.recommend(history=own, k=K)
    alone = (time.process_time() - begun) / ALONE * 1000
    of_new = _ndcg(_lists(answer), halves)
    apart = of_new - of_known
    half = 1.96 * apart.std(ddof=1) / len(apart) ** 0.5
    return {
        "test": {
            "kept_ndcg@10": float(of_new.mean() / of_known.mean()),
            "ndcg@10": float(of_new.mean()),
            "trained_ndcg@10": float(of_known.mean()),
            "user_milliseconds": milliseconds,
        },
        "difference": [float(apart.mean() - half), float(apart.mean() + half)],
        "wall_milliseconds": wall_milliseconds,
        "alone_milliseconds": alone,
        "first_seconds": first,
        "fit_seconds": seconds,
        "users": len(halves.users),
        "reason": sorted({str(one) for one in answer.reason}),
    }


def _some(history: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    groups = [(str(name), own) for name, own in history.groupby("user")]
    yield from groups[:: max(1, len(groups) // ALONE)][:ALONE]


def _trained(benchmark: Mapping[str, Any], known: Graph, side: str, options: argparse.Namespace) -> Any:
    """The model trained for the benchmark's epochs, or what is kept of an earlier run of the same settings."""
    name, config = benchmark["model"], dict(benchmark.get("set", {}))
    training = TrainingConfig(epochs=2 if options.quick else benchmark.get("epochs", 1), device="cpu")
    kept: Path = options.out / f"fold-in-{name}-{side}{'-quick' if options.quick else ''}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.build(name, known, config)
    settings = json.dumps([config, training.epochs, known.num_edges], sort_keys=True)
    if kept.exists() and kept.with_suffix(".json").read_text() == settings:
        model.load_state_dict(load_file(kept))
        return model.eval()
    trainer = Trainer(model, known, training, make_fabric(training))
    if trainer.objectives:
        for epoch in trainer.epochs():
            print(name, side, epoch.number, dict(epoch.losses), file=sys.stderr, flush=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, kept)
    kept.with_suffix(".json").write_text(settings)
    return model.eval()


def _lists(answer: pd.DataFrame) -> Mapping[str, list[str]]:
    return {str(name): list(items) for name, items in answer.sort_values(["user", "rank"]).groupby("user")["item"]}


def _ndcg(lists: Mapping[str, list[str]], halves: Halves) -> np.ndarray:
    """NDCG@K of each user: float64 [U]."""
    gain = 1 / np.log2(np.arange(K) + 2)
    found = [
        sum(gain[place] for place, item in enumerate(lists[user]) if item in halves.later[user])
        / gain[: len(halves.later[user])].sum()
        for user in halves.users
    ]
    return np.array(found)
