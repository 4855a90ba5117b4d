"""Trains a model with whole tables of vectors and with tables whose rows processes share, and compares the two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from kgrec import Graph, TrainingConfig, models, ranks
from kgrec.evaluation.evaluation import evaluate
from kgrec.model import Recommender
from kgrec.nn.row_shards import sharded_rows, shards_of
from kgrec.optimizers import sgd
from kgrec.splits.split import Split, split
from kgrec.training.joining import together
from kgrec.training.processes import make_fabric
from kgrec.training.row_files import run_weights, start_from_whole, tensors_for_ranks, whole_tensors
from kgrec.training.trainer import Trainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SPLIT = "last_n:1,valid=1"
TRAINING = TrainingConfig(epochs=2, device="cpu")


def tastes() -> Graph:
    """40 users of three kinds, each with a third of 30 items; times rise within a user. Items have a kind and a maker,
    users and items a size, and items a cover, which is a vector."""
    rng, rows = np.random.default_rng(0), []
    for user in range(40):
        liked = rng.permutation(np.arange(user % 3, 30, 3))[:9]
        rows += [(f"u{user}", f"i{item}", 100 + step, 1.0 + item % 5) for step, item in enumerate(liked)]
    of = [(f"i{item}", f"k{item % 3}") for item in range(29)]
    by = [(f"i{item}", f"m{item % 7}") for item in range(0, 30, 2)]
    edges = {
        ("user", "liked", "item"): pd.DataFrame(rows, columns=["source", "target", "time", "weight"]),
        ("item", "of", "kind"): pd.DataFrame(of, columns=["source", "target"]),
        ("item", "by", "maker"): pd.DataFrame(by, columns=["source", "target"]),
    }
    ids = {"user": [f"u{user}" for user in range(40)], "item": [f"i{item}" for item in range(30)]}
    nodes = {name: pd.DataFrame({"id": own, "size": np.arange(len(own)) % 4.0}) for name, own in ids.items()}
    nodes["item"]["cover"] = list(rng.normal(size=(30, 3)))
    return Graph.from_frames(nodes=nodes, edges=edges)


def compared(
    fabric: Fabric, name: str, known: Split, config: Mapping[str, Any], out: Path | None = None
) -> dict[str, Any]:
    """Trains both by plain steps, which move the same rows, and starts, stores and loads the shared tables. fabric:
    that of TRAINING; out: a folder in which rank 0 keeps the stored state and its metric."""
    first = ranks.rank() == 0
    plain = built(name, known, config)
    with sharded_rows() as rounds:
        shared = built(name, known, config)
    ranks.settle_by(rounds.settle)
    found: dict[str, Any] = {"rows": {table: len(one.shard) for table, one in shards_of(shared).items()}}
    begun, losses = whole(run_weights(shared)), []
    shared.check_sharded()
    if first:
        found["begun"] = all(torch.equal(begun[key], one) for key, one in plain.state_dict().items() if one.numel())
    for model in (plain, shared):
        trainer = Trainer(model, known.train, TRAINING, fabric)
        trainer.rehearse()
        losses.append([epoch.losses for epoch in trainer.epochs()])
        model.eval()
    ended = whole(run_weights(shared))
    if first:
        assert set(ended) == set(plain.state_dict())
        found["apart"] = max(
            float((ended[key].double() - one.double()).abs().max()) for key, one in plain.state_dict().items()
        )
        moved = {table: (ended[one.whole_name(table)], one) for table, one in shards_of(shared).items()}
        found["moved"] = min(
            float((end - begun[one.whole_name(table)]).abs().max()) for table, (end, one) in moved.items()
        )
    pairs = [(one[key], both[key]) for one, both in zip(*losses, strict=True) for key in one]
    found["losses"] = max(abs(one - both) for one, both in pairs)
    measured = [measure(model, known) for model in (plain, shared)]
    found["metrics"] = abs(measured[0] - measured[1])
    stored = whole(whole_tensors(shared.state_dict(), shared))
    if first and out is not None:
        torch.save({"state": stored, "metric": measured[1]}, out / f"{name}.pt")
    again = tensors_for_ranks(stored if first else {}, shared)
    found["again"] = all(torch.equal(again[key], own) for key, own in shared.state_dict().items())
    start_from_whole(shared, plain if first else None)
    theirs = plain.state_dict()
    found["started"] = all(
        torch.equal(one.shard, theirs[one.whole_name(table)][:-1][ranks.rank() :: ranks.world()])
        for table, one in shards_of(shared).items()
    )
    ranks.settle_by(None)
    return found


def resumed(name: str, known: Split, config: Mapping[str, Any], file: Path) -> tuple[float, float]:
    """The metric of a stored state in one process that keeps all rows, and that of those who have stored it."""
    stored = torch.load(file)
    with sharded_rows():
        model = built(name, known, config)
    model.load_state_dict(tensors_for_ranks(stored["state"], model))
    return measure(model.eval(), known), stored["metric"]


def built(name: str, known: Split, config: Mapping[str, Any]) -> Recommender:
    """A model whose objectives take plain steps."""
    torch.manual_seed(0)
    model = models.build(name, known.train, config)
    objectives = model.objectives

    def plain(graph: Graph) -> list[Any]:
        found = objectives(graph)
        for one in found:
            one.optimizer, one.lr = sgd, 0.5
        return found

    model.objectives = plain  # type: ignore[method-assign]
    return model


def measure(model: Recommender, known: Split) -> float:
    """A metric of valid; ranks divide the work."""
    metric = "rmse" if model.task == "rating" else "ndcg@10"
    return evaluate(model, known.train, known.valid, metrics=[metric], batch_size=9, shared=True).metrics[metric]


def whole(tensors: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """All rows of tensors, on rank 0; the others take part."""
    return {name: torch.cat(list(one.blocks())) if hasattr(one, "blocks") else one for name, one in tensors.items()}


def as_rank(graph: str, out: str, cases: str) -> None:
    """One of several processes: it compares several models, and rank 0 prints what all have found. cases: settings by
    model, as JSON."""
    fabric = make_fabric(TRAINING)

    def work() -> None:
        known, folder = split(Graph.load(graph), SPLIT), Path(out)
        found = {name: compared(fabric, name, known, config, folder) for name, config in json.loads(cases).items()}
        every = ranks.of_all(found)
        if not ranks.rank():
            print(json.dumps(every))

    together(work)
