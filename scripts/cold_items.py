"""Cold items: models and controls with the same side data, each with the same number of settings to choose from."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

    @staticmethod
    def of(name: str, words: Mapping[str, Any]) -> Arm:
        return Arm(name, words["model"], words.get("set", {}), words.get("search", [{}]), words.get("epochs", 1))


def cold_arms(benchmark: Mapping[str, Any], graph: Graph, options: argparse.Namespace) -> dict[str, Any]:
    """Recall of cold items by each arm of a benchmark, over several seeds of the split: settings and epochs are chosen
    on valid's cold items, the model is trained again on train + valid, and test is measured once.

    `test` has the mean over seeds of the benchmark's `best` arm, ranked among cold items, and its difference from the
    best other one, with its interval of 95 %: a bootstrap over users, each drawn with their values of all seeds. What
    is said of hits among all items is measured apart, with a tenth of the interactions of warm items held out too.
    """
    arms = [Arm.of(name, words) for name, words in benchmark["arms"].items()]
    found: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
    for seed in range(1 if options.quick else benchmark.get("seeds", 3)):
        spec = f"cold_items:{benchmark['share']},valid={benchmark['share']},seed={seed}"
        divided, mixed = split(graph, spec), split(graph, f"{spec},warm=0.1")
        for arm in arms:
            begun = time.perf_counter()
            chosen, epochs, on_valid = _chosen(arm, divided, options.quick)
            model = _built(arm, chosen, divided.train_valid, epochs)
            users = recall_among(model, divided.train_valid, divided.test, cold_alone=True)
            of_all = recall_among(model, divided.train_valid, divided.test, cold_alone=False)
            row = {
                "settings": dict(chosen),
                "epochs": epochs,
                "valid": on_valid,
                "cold": float(np.mean(list(users.values()))),
                "all": float(np.mean(list(of_all.values()))),
                "users": users,
                **_hits(_built(arm, chosen, mixed.train_valid, epochs), mixed),
                "seconds": round(time.perf_counter() - begun, 1),
            }
            found[arm.name].append(row)
            shown = {key: value for key, value in row.items() if key != "users"}
            print(f"seed {seed} {arm.name}: {shown}", file=sys.stderr, flush=True)
    return _result(found, benchmark["best"])


def _chosen(arm: Arm, divided: Split, quick: bool) -> tuple[Mapping[str, Any], int, float]:
    """The settings, and the number of epochs, with the highest recall of valid's cold items, and this value."""
    best: tuple[Mapping[str, Any], int, float] | None = None
    assert divided.valid is not None
    for settings in arm.search[: 1 if quick else None]:
        for epoch, model in _epochs(arm, settings, divided.train, arm.epochs):
            users = recall_among(model, divided.train, divided.valid, cold_alone=True)
            value = float(np.mean(list(users.values())))
            if best is None or value > best[2]:
                best = settings, epoch, value
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
            **{
                key: float(np.mean([row[key] for row in rows]))
                for key in ("all", "cold_share_of_hits", "cold_share_of_pairs", "cold_share_of_places", "seconds")
            },
            "settings": [row["settings"] for row in rows],
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
