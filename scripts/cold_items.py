"""Cold items: models and controls with the same side data, each with the same number of settings to choose from."""

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
import torch

from kgrec import models
from kgrec.evaluation.ranking import Ranker, Scorer
from kgrec.graph import Graph
from kgrec.model import Recommender, scoring
from kgrec.splits.split import Split, split
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

METRIC, DEPTH = "recall@20", 20
RESAMPLES = 2000


@dataclass(frozen=True)
class Arm:
    """One model or control: its name, and the settings among which valid chooses."""

    name: str
    model: str
    fixed: Mapping[str, Any]
    search: list[Mapping[str, Any]]
    epochs: int  #: most epochs, for models that are trained by epochs
    shows_hits: bool  #: whether hits among all items are measured

    @staticmethod
    def of(name: str, words: Mapping[str, Any]) -> Arm:
        return Arm(
            name,
            words["model"],
            words.get("set", {}),
            words.get("search", [{}]),
            words.get("epochs", 1),
            words.get("hits", False),
        )


def cold_arms(benchmark: Mapping[str, Any], graph: Graph, options: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    """Recall of cold items by each arm of a benchmark, over several seeds of the split: settings and epochs are chosen
    on the cold items of the first seed's valid, each model is trained again on train + valid, and test is measured.

    `test` has the mean over seeds of the benchmark's `best` arm, ranked among cold items, and its difference from the
    best other one, with its interval of 95 %: a bootstrap over users, each drawn with their values of all seeds. What
    is said of hits among all items is measured apart, by the first seed, with a tenth of the interactions of warm items
    held out too, for arms with `hits: true`.
    """
    arms = [Arm.of(name, words) for name, words in benchmark["arms"].items()]
    found: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
    for seed in range(1 if options.quick else benchmark.get("seeds", 3)):
        spec = f"cold_items:{benchmark['share']},valid={benchmark['share']},seed={seed}"
        divided = split(graph, spec)
        for arm in arms:
            begun = time.perf_counter()
            choice = kept.get(f"{arm.name} chosen")
            if choice is None:
                choice = kept.put(f"{arm.name} chosen", _chosen(arm, divided, options.quick))
            row = kept.get(f"{arm.name} {seed}")
            if row is None:
                row = _measured(arm, choice, graph, divided, shows_hits=arm.shows_hits and seed == 0)
                kept.put(f"{arm.name} {seed}", row)
                seconds = time.perf_counter() - begun
                shown = {key: value for key, value in {**choice, **row}.items() if key != "users"}
                print(f"seed {seed} {arm.name}, {seconds:.0f} s: {shown}", file=sys.stderr, flush=True)
            found[arm.name].append({**choice, **row})
    return _result(found, benchmark["best"])


class Kept:
    """What was measured before, in a file: a benchmark that was stopped goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.found: dict[str, dict[str, Any]] = {}
        for line in lines:
            self.found |= json.loads(line)

    def get(self, name: str) -> dict[str, Any] | None:
        return self.found.get(name)

    def put(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        self.found[name] = values
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: values}) + "\n")
        return values


def _measured(arm: Arm, choice: Mapping[str, Any], graph: Graph, divided: Split, *, shows_hits: bool) -> dict[str, Any]:
    """An arm trained on train + valid, on test. Users are flat numbers, as texts."""
    model = _built(arm, choice["settings"], divided.train_valid, choice["epochs"])
    users = recall_among(model, divided.train_valid, divided.test, cold_alone=True)
    of_all = recall_among(model, divided.train_valid, divided.test, cold_alone=False)
    row = {"cold": float(np.mean(list(users.values()))), "all": float(np.mean(list(of_all.values())))}
    if shows_hits:
        mixed = split(graph, f"{divided.spec},warm=0.1")
        row |= _hits(_built(arm, choice["settings"], mixed.train_valid, choice["epochs"]), mixed)
    return {**row, "users": {str(user): round(value, 6) for user, value in users.items()}}


def _chosen(arm: Arm, divided: Split, quick: bool) -> dict[str, Any]:
    """The `settings` and the number of `epochs` with the highest recall of valid's cold items, and this, `valid`."""
    best: dict[str, Any] | None = None
    assert divided.valid is not None
    for settings in arm.search[: 1 if quick else None]:
        for epoch, model in _epochs(arm, settings, divided.train, arm.epochs):
            users = recall_among(model, divided.train, divided.valid, cold_alone=True)
            value = float(np.mean(list(users.values())))
            if best is None or value > best["valid"]:
                best = {"settings": dict(settings), "epochs": epoch, "valid": value}
    assert best is not None
    return best


def _built(arm: Arm, settings: Mapping[str, Any], known: Graph, epochs: int) -> Recommender:
    return list(_epochs(arm, settings, known, epochs))[-1][1]


def _epochs(arm: Arm, settings: Mapping[str, Any], known: Graph, epochs: int) -> Iterator[tuple[int, Recommender]]:
    """The model after each epoch; a model that is complete when built, once."""
    torch.manual_seed(0)
    model = models.build(arm.model, known, {**arm.fixed, **settings}).eval()
    training = TrainingConfig(epochs=max(1, epochs), device="cpu")
    trainer = Trainer(model, known, training, make_fabric(training))
    if not trainer.objectives:
        yield 0, model
    for epoch in trainer.epochs():
        yield epoch.number, model


def recall_among(model: Recommender, known: Graph, held: Graph, *, cold_alone: bool) -> dict[int, float]:
    """Recall@20 of each user with a held-out item, ranked among the items without a known interaction, or among all
    that the user does not have."""
    target, items = known.only(known.target), known.nodes(known.target[2])
    if cold_alone:
        items = items[torch.bincount(target.tail, minlength=known.num_nodes + 1)[items] == 0]
    user, pairs = torch.unique(held.head), torch.unique(held.head * (held.pad + 1) + held.tail)
    relevant = torch.bincount(pairs // (held.pad + 1), minlength=held.pad + 1)
    ranker, found = Ranker(Scorer(model, known), {"all": items}, DEPTH), dict[int, float]()
    with scoring(model):
        for row in ranker.batches(user):
            hits = held.is_edge(user[row], ranker.best(user[row])["all"].item).sum(1)
            found.update(zip(user[row].tolist(), (hits / relevant[user[row]]).tolist()))
    return found


def _hits(model: Recommender, divided: Split) -> dict[str, float]:
    """With interactions of warm items held out too: among the hits of the 20 best of all items the share of cold ones,
    the share of cold items among the held-out pairs, and their share of the places."""
    known, test = divided.train_valid, divided.test
    target = known.only(known.target)
    count = torch.bincount(target.tail, minlength=known.num_nodes + 1)
    user, hits, cold_hits, places = torch.unique(test.head), 0, 0, 0
    ranker = Ranker(Scorer(model, known), {"all": known.nodes(known.target[2])}, DEPTH)
    with scoring(model):
        for row in ranker.batches(user):
            item = ranker.best(user[row])["all"].item
            is_hit, is_cold = test.is_edge(user[row], item), count[item] == 0
            hits, cold_hits = hits + int(is_hit.sum()), cold_hits + int((is_hit & is_cold).sum())
            places += int(is_cold.sum())
    return {
        "cold_share_of_hits": cold_hits / max(1, hits),
        "cold_share_of_pairs": float((count[test.tail] == 0).float().mean()),
        "cold_share_of_places": places / (DEPTH * len(user)),
    }


def _result(found: Mapping[str, list[dict[str, Any]]], best: str) -> dict[str, Any]:
    means = {name: float(np.mean([row["cold"] for row in rows])) for name, rows in found.items()}
    differences = {name: _difference(found[best], rows) for name, rows in found.items() if name != best}
    nearest = max((name for name in means if name != best), key=lambda name: means[name])
    test = {
        METRIC: means[best],
        "best_control": means[nearest],
        "times_best_control": means[best] / means[nearest],
        "less_best_control": differences[nearest]["difference"],
        "less_best_control_low": differences[nearest]["interval"][0],
        "less_best_control_high": differences[nearest]["interval"][1],
    }
    arms = {
        name: {
            "cold": means[name],
            "of_seeds": [round(row["cold"], 4) for row in rows],
            "all": float(np.mean([row["all"] for row in rows])),
            **{key: value for key, value in rows[0].items() if key.startswith("cold_share")},
            **{key: rows[0][key] for key in ("settings", "epochs", "valid")},
            **({} if name == best else {"best_less_this": differences[name]}),
        }
        for name, rows in found.items()
    }
    return {"test": test, "nearest": nearest, "arms": arms}


def _difference(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean difference over seeds, each seed's own, and the interval over resampled users."""
    of_seeds = [
        {user: one["users"][user] - other["users"][user] for user in one["users"]} for one, other in zip(ours, theirs)
    ]
    users = sorted({user for of_seed in of_seeds for user in of_seed})
    place = {user: row for row, user in enumerate(users)}
    total, there = np.zeros((len(users), len(of_seeds))), np.zeros((len(users), len(of_seeds)))
    for column, of_seed in enumerate(of_seeds):
        for user, value in of_seed.items():
            total[place[user], column], there[place[user], column] = value, 1
    rng, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(0, len(users), len(users)), minlength=len(users))
        drawn.append(float(((times @ total) / (times @ there)).mean()))
    own = total.sum(0) / there.sum(0)
    return {
        "difference": float(own.mean()),
        "interval": [float(one) for one in np.quantile(drawn, (0.025, 0.975))],
        "of_seeds": [round(float(one), 4) for one in own],
    }
