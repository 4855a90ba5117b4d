"""Steps of NCF and NeuMF without autograd: equal to autograd and Adam over all rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import models, train
from kgrec.graph import Graph
from kgrec.nn import look_up_steps
from kgrec.nn.perceptron_steps import PerceptronSteps
from kgrec.nn.row_steps import LateAdam, WholeAdam
from kgrec.samplers import Stream
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

PLAIN: Mapping[str, Any] = {
    "hidden": (16, 8), "negatives": 2, "loss": "bce", "l2": 0, "dropout": 0, "batch_size": 60, "lr": 3e-3, "dim": 8,
    "init_std": 0.3,
}  # fmt: skip
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "bce": {},
    "bpr": {"loss": "bpr"},
    "bpr of one negative": {"loss": "bpr", "negatives": 1},
    "gbce": {"loss": "gbce", "negatives": 3},
    "sampled softmax": {"loss": "sampled_softmax", "negatives": 5, "alpha": 0.5},
    "regularised": {"l2": 0.05},
    "regularised, bpr of one negative": {"l2": 0.05, "loss": "bpr", "negatives": 1},
    "dropout": {"dropout": 0.3},
    "negatives that may be the true item": {"reject": False, "negatives": 6},
    "the same, sampled softmax": {"reject": False, "negatives": 6, "loss": "sampled_softmax"},
    "one layer": {"hidden": (12,)},
    "one layer, with dropout": {"hidden": (12,), "dropout": 0.4},
    "four layers": {"hidden": (24, 10, 7, 3), "dropout": 0.1},
    "odd lengths": {"dim": 5, "hidden": (33, 9)},
    "vectors of one number": {"dim": 1, "hidden": (4,)},
    "batches of one": {"batch_size": 1, "lr": 1e-4},
    "one batch": {"batch_size": 10_000},
    "a last batch of one": {"batch_size": 47},
    "wide": {"dim": 64, "hidden": (128, 64), "negatives": 16, "batch_size": 240},
}


def ratings(users: int = 30, items: int = 20, each: int = 8) -> Graph:
    drawn = np.random.default_rng(2)
    rows = [(f"u{user}", f"i{item}") for user in range(users) for item in drawn.choice(items, each, replace=False)]
    return Graph.from_frames(edges={("user", "rated", "item"): pd.DataFrame(rows, columns=["source", "target"])})


def friends() -> Graph:
    """A graph whose target joins nodes of one type."""
    drawn = np.random.default_rng(3)
    rows = {(f"p{a}", f"p{b}") for a, b in drawn.integers(0, 25, (150, 2)) if a != b}
    return Graph.from_frames(
        edges={("person", "likes", "person"): pd.DataFrame(sorted(rows), columns=["source", "target"])}
    )


def trained(
    known: Graph, name: str, config: Mapping[str, Any], *, compiled: bool, epochs: int = 2, **training: Any
) -> tuple[Trainer, list[float]]:
    """A trainer after some epochs, by these steps or by autograd, and the losses of the epochs."""
    how = configure(TrainingConfig, {"epochs": epochs, "device": "cpu", **training})
    torch.manual_seed(4)
    more = {"mlp_dim": 6} if name == "neumf" else {}
    trainer = Trainer(models.build(name, known, {**PLAIN, **more, **config}), known, how, make_fabric(how))
    (objective,) = trainer.objectives
    assert isinstance(objective.steps, PerceptronSteps)
    if not compiled:
        objective.steps = None
    return trainer, [one.losses["ranking"] for one in trainer.epochs()]


def compare(one: Trainer, other: Trainer, within: float) -> None:
    """Both have about the same parameters, and the optimizers the same state. A parameter whose gradient is nothing but
    rounding, as that of a bias by a loss of differences, is moved by it all the same: it is left out."""
    (mine,), (theirs,), compared = one.optimizers, other.optimizers, []
    for (name, value), wanted in zip(one.model.named_parameters(), other.model.parameters(), strict=True):
        states, taken = (mine.state[value], theirs.state[wanted]), theirs.state[wanted]["exp_avg_sq"].sqrt() > 1e-6
        torch.testing.assert_close(value[taken], wanted[taken], atol=within, rtol=0, msg=lambda t, n=name: f"{n}: {t}")
        assert states[0]["step"] == states[1]["step"]
        compared.append(taken.reshape(-1))
        for part in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(*(state[part] for state in states), atol=2e-5, rtol=1e-3)
    assert torch.cat(compared).float().mean() > 0.6


@pytest.mark.parametrize("late", [True, False], ids=["late", "whole"])
@pytest.mark.parametrize("model", ["ncf", "neumf"])
@pytest.mark.parametrize("name", SETTINGS)
def test_they_do_what_autograd_and_adam_do(name: str, model: str, late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_up_steps, "MANY", 0 if late else 10**9)
    how, moved = LateAdam if late else WholeAdam, []
    move = how.move
    monkeypatch.setattr(how, "move", lambda steps, *rows: moved.append(1) or move(steps, *rows))
    known, config = ratings(), SETTINGS[name]
    (mine, losses), (other, wanted) = (trained(known, model, config, compiled=one) for one in (True, False))
    assert moved
    assert losses == pytest.approx(wanted, rel=1e-4)
    compare(mine, other, mine.model.config.lr / 30)


def test_users_that_are_items_too() -> None:
    (mine, losses), (other, wanted) = (trained(friends(), "neumf", {"l2": 0.02}, compiled=one) for one in (True, False))
    assert losses == pytest.approx(wanted, rel=1e-4)
    compare(mine, other, 1e-4)


def test_padding_has_no_part_in_a_step() -> None:
    """A negative or a user past the last node has a vector of zeros, which stays so."""
    known, found = ratings(), []
    for compiled in (True, False):
        trainer, _ = trained(known, "neumf", {"l2": 0.1, "batch_size": 300}, compiled=compiled, epochs=1)
        (objective,), (optimizer,) = trainer.objectives, trainer.optimizers
        (batch,) = objective.batches.epoch(Stream())
        negative, head = batch.negative.clone(), batch.head.clone()
        negative[::3, 0], head[::5] = known.pad, known.pad
        batch = dataclasses.replace(batch, negative=negative, head=head)
        if compiled:
            with objective.steps.running(optimizer, 1) as step:
                loss = step(batch)
        else:
            optimizer.zero_grad()
            loss = objective.loss(batch)
            loss.backward()
            optimizer.step()
        found.append((trainer, loss.item()))
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)
    compare(found[0][0], found[1][0], 1e-4)
    assert not any(table.weight[-1].any() for table in (found[0][0].model.user, found[0][0].model.mlp_item))


def test_epochs_are_the_same_each_time_and_for_any_number_of_threads() -> None:
    """Of compiled loops: what a BLAS adds up may depend on its threads."""
    import numba

    before, found = numba.get_num_threads(), []
    try:
        for threads in (1, 2, 1):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            trainer, losses = trained(ratings(), "neumf", SETTINGS["wide"], compiled=True)
            found.append((losses, [one.detach().clone() for one in trainer.model.parameters()]))
    finally:
        numba.set_num_threads(before)
    for losses, parameters in found[1:]:
        assert losses == found[0][0] and all(map(torch.equal, parameters, found[0][1]))


def test_a_training_that_was_stopped_goes_on(tmp_path: Path) -> None:
    known, config = ratings(), {**PLAIN, "mlp_dim": 6, "dropout": 0.2, "l2": 0.01}
    training = {"epochs": 4, "patience": 9, "device": "cpu"}
    how: Mapping[str, Any] = {"split": "ratio:0.1,valid=0.1,seed=0", "training": training, "config": config}
    whole = train("neumf", known, out=tmp_path / "whole", **how)

    def stop(epoch: Any, metrics: Any) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("neumf", known, out=tmp_path / "run", report=stop, **how)
    again = train("neumf", known, out=tmp_path / "run", resume=True, **how)
    assert all(map(torch.equal, again.model.parameters(), whole.model.parameters()))


def test_a_diverged_training_is_seen_in_its_loss() -> None:
    trainer, _ = trained(ratings(), "neumf", {}, compiled=True, epochs=1)
    with torch.no_grad():
        trainer.model.mlp.of_user.weight.fill_(float("nan"))
    (objective,), (optimizer,) = trainer.objectives, trainer.optimizers
    with objective.steps.running(optimizer, 1) as step:
        assert step(next(iter(objective.batches.epoch(Stream())))).isnan()


@pytest.mark.parametrize(
    "other",
    [
        {"loss": "softmax"},
        {"loss": "bpr_max"},
        {"shared": True},
        {"in_batch": True},
        {"hard": 1},
        {"task": "rating"},
        {"pretrain_epochs": 2},
    ],
    ids=str,
)
def test_other_settings_keep_autograd(other: Mapping[str, Any]) -> None:
    known = ratings()
    if "task" in other:
        edges = pd.DataFrame({"source": ["a", "b"], "target": ["x", "y"], "weight": [1.0, 4.0]})
        known = Graph.from_frames(edges={("user", "rated", "item"): edges})
    model = models.build("neumf", known, {**PLAIN, **other})
    first, *_ = model.objectives(known)
    assert not isinstance(first.steps, PerceptronSteps)


def test_other_optimizers_keep_autograd() -> None:
    trainer, _ = trained(ratings(), "neumf", {}, compiled=True, epochs=1)
    (objective,), parameters = trainer.objectives, [*trainer.model.parameters()]
    assert objective.steps.serve(torch.optim.Adam(parameters))
    for other in (torch.optim.SGD(parameters, lr=0.1), torch.optim.AdamW(parameters), torch.optim.Adam(parameters[1:])):
        assert not objective.steps.serve(other)
