"""Steps that move only the rows of a batch: equal to autograd and Adam over all rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from kgrec import models, train
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.nn import look_up_steps, vector_tables
from kgrec.nn.row_steps import LateAdam
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

LOSSES: Mapping[str, Mapping[str, Any]] = {
    "bpr": {"loss": "bpr", "negatives": 1, "l2": 0},
    "bpr of several negatives, with l2": {"loss": "bpr", "negatives": 3, "l2": 0.02},
    "bpr with a temperature": {"loss": "bpr", "negatives": 2, "l2": 0, "temperature": 0.5},
    "negatives that may be the true item": {"loss": "bpr", "negatives": 4, "reject": False, "l2": 0.01},
    "bce": {"loss": "bce", "negatives": 2, "l2": 0},
    "gbce": {"loss": "gbce", "negatives": 2, "l2": 0.001},
    "sampled softmax": {"loss": "sampled_softmax", "negatives": 5, "alpha": 0.5},
}


def taste() -> Graph:
    """A graph in which users have items of their own half, some far more often than others."""
    return Graph.from_frames(edges={("user", "rated", "item"): tastes()})


def tastes(users: int = 40, items: int = 30, each: int = 6) -> pd.DataFrame:
    """Edges of such a graph."""
    drawn = np.random.default_rng(5)
    rows = []
    for user in range(users):
        half = items // 2
        share = 1 / np.arange(1, half + 1)
        chosen = drawn.choice(half, each, replace=False, p=share / share.sum()) + half * (user % 2)
        rows += [(f"u{user}", f"i{item}", n) for n, item in enumerate(chosen)]
    return pd.DataFrame(rows, columns=["source", "target", "time"])


def trained(
    known: Graph, config: Mapping[str, Any], *, compiled: bool, epochs: int = 5, **training: Any
) -> tuple[Trainer, list[float]]:
    """A trainer after some epochs, by compiled steps or by autograd, and the losses of the epochs."""
    how = configure(TrainingConfig, {"epochs": epochs, "device": "cpu", **training})
    torch.manual_seed(3)
    model: Recommender = models.build("mf", known, {"dim": 8, "batch_size": 50, "lr": 0.05, "init_std": 0.1, **config})
    trainer = Trainer(model, known, how, make_fabric(how))
    (objective,) = trainer.objectives
    assert objective.steps is not None
    if not compiled:
        objective.steps = None
    return trainer, [one.losses["ranking"] for one in trainer.epochs()]


def close(one: Trainer, other: Trainer, within: float = 2e-5) -> bool:
    """Whether two trainings have about the same parameters and optimizer's state."""
    pairs = [*zip(one.model.parameters(), other.model.parameters())]
    mine, others = one.state(), other.state()
    assert mine.keys() == others.keys()
    return all(torch.allclose(a, b, atol=within, rtol=1e-3) for a, b in [*pairs, *((mine[k], others[k]) for k in mine)])


@pytest.mark.parametrize("name", LOSSES)
def test_they_do_what_autograd_and_adam_do(name: str) -> None:
    known = taste()
    (mine, losses), (other, wanted) = (trained(known, LOSSES[name], compiled=one) for one in (True, False))
    assert losses == pytest.approx(wanted, rel=1e-4)
    assert losses[-1] < 0.95 * losses[0]  # it has learned, so the comparison is not of parameters that stay
    assert close(mine, other)


@pytest.mark.parametrize("batch_size", [1, 7, 239, 240, 241, 5000])
def test_any_size_of_a_batch_serves(batch_size: int) -> None:
    known = taste()  # 240 edges
    config = {**LOSSES["bpr"], "batch_size": batch_size, "lr": 0.01}
    (mine, losses), (other, wanted) = (trained(known, config, compiled=one, epochs=3) for one in (True, False))
    assert losses == pytest.approx(wanted, rel=1e-3)
    assert close(mine, other, 2e-4)


@pytest.mark.parametrize("dim", [2, 5, 33])
def test_any_length_of_a_vector_serves(dim: int) -> None:
    config = {**LOSSES["bpr of several negatives, with l2"], "dim": dim}
    mine, other = (trained(taste(), config, compiled=one)[0] for one in (True, False))
    assert close(mine, other)


def test_the_learning_rate_may_fall() -> None:
    mine, other = (trained(taste(), LOSSES["bce"], compiled=one, lr_decay="cosine")[0] for one in (True, False))
    assert close(mine, other)
    assert not close(mine, trained(taste(), LOSSES["bce"], compiled=True)[0])


def test_epochs_are_the_same_each_time_and_for_any_number_of_threads() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            found.append(trained(taste(), LOSSES["bpr"], compiled=True)[0].state() | {})
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(value, other[name]) for name, value in found[0].items())


@pytest.mark.parametrize("begun", [0, 3, 400, 5000])
def test_rows_that_wait_catch_up(begun: int) -> None:
    """Against torch's Adam, over 300 steps in which row 0 is moved always, row 1 each 7th time, row 2 once, row 3
    never; after some steps of another training."""
    drawn = torch.Generator().manual_seed(1)
    table = nn.Parameter(torch.randn(4, 6, generator=drawn))
    other = nn.Parameter(table.detach().clone())
    late, whole = (torch.optim.Adam([one], lr=0.01, fused=True) for one in (table, other))
    if begun:
        mean, square = torch.randn(4, 6, generator=drawn) * 0.01, torch.rand(4, 6, generator=drawn) * 1e-4
        for optimizer, one in ((late, table), (whole, other)):
            optimizer.state[one] |= {"step": torch.tensor(float(begun))}
            optimizer.state[one] |= {"exp_avg": mean.clone(), "exp_avg_sq": square.clone()}
    adam = LateAdam([table], late, 300)
    for step in range(300):
        rows = [0, *([1] if step % 7 == 0 else []), *([2] if step == 40 else [])]
        gradient = torch.randn(len(rows), 6, generator=drawn) * 0.01
        adam.begin_step()
        touched = adam.touch(0, np.array([*rows, 0]))  # row 0 twice
        assert touched.rows.tolist() == rows and touched.place.tolist() == [*range(len(rows)), 0]
        assert torch.allclose(table[rows], other[rows], atol=2e-6)  # what the step reads
        touched.gradient[:] = gradient.numpy()
        adam.step(0, touched)
        other.grad = torch.zeros(4, 6).index_copy_(0, torch.tensor(rows), gradient)
        whole.step()
    adam.finish()
    assert torch.allclose(table, other, atol=2e-6)
    for name, value in whole.state[other].items():
        assert torch.allclose(late.state[table][name], value, rtol=1e-4, atol=1e-9), name
    moved = (table - table.detach().clone().normal_(generator=torch.Generator().manual_seed(1))).abs()
    assert moved[0].min() > 0 and (begun or not moved[3].any())


def test_a_training_that_was_stopped_goes_on(tmp_path: Path) -> None:
    known = taste()
    training = configure(TrainingConfig, {"epochs": 4, "patience": 9, "device": "cpu"})
    how = {"split": "ratio:0.1,valid=0.1,seed=0", "training": training}
    config = {**LOSSES["bpr"], "dim": 8, "batch_size": 50, "lr": 0.05}
    whole = train("mf", known, config=config, out=tmp_path / "whole", **how)

    def stop(epoch: Any, metrics: Any) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("mf", known, config=config, out=tmp_path / "run", report=stop, **how)
    again = train("mf", known, config=config, out=tmp_path / "run", resume=True, **how)
    assert again.metrics["valid"] == whole.metrics["valid"]
    for one, other in zip(again.model.parameters(), whole.model.parameters()):
        assert torch.equal(one, other)


def test_an_error_in_an_epoch_leaves_whole_parameters() -> None:
    mine, _ = trained(taste(), LOSSES["bpr"], compiled=True, epochs=1)
    (objective,), (optimizer,) = mine.objectives, mine.optimizers
    batches = [*objective.batches.epoch(dataclasses.replace(_stream(), epoch=9))]
    table = mine.model.user.weight
    steps, version = optimizer.state[table]["step"].item(), table._version
    with pytest.raises(KgrecError, match="stop"), objective.steps.running(optimizer, 4) as step:
        step(batches[0])
        raise KgrecError("stop")
    assert optimizer.state[table]["step"].item() == steps + 1
    assert table._version > version  # what is kept of the table is made anew


def _stream() -> Any:
    from kgrec.samplers import Stream

    return Stream()


NOT_SERVED: Mapping[str, Mapping[str, Any]] = {
    "softmax": {"loss": "softmax"},
    "cosine": {"loss": "bpr", "cosine": True},
    "shared": {"loss": "bpr", "shared": True, "negatives": 3},
    "in batch": {"loss": "bpr", "in_batch": True},
    "hard": {"loss": "bpr", "negatives": 4, "hard": 2},
    "biases": {"loss": "bpr", "biases": True},
    "rating": {"task": "rating"},
    "one number": {"loss": "bpr", "dim": 1},
    "bpr_max": {"loss": "bpr_max", "negatives": 3},
}


@pytest.mark.parametrize("name", NOT_SERVED)
def test_all_other_settings_keep_the_steps_of_autograd(name: str) -> None:
    model = models.build("mf", taste(), {"dim": 4, **NOT_SERVED[name]})
    (objective,) = model.objectives(taste())
    assert objective.steps is None


@pytest.mark.usefixtures("bf16_everywhere")
def test_other_trainings_keep_the_steps_of_autograd() -> None:
    """Clipped, in 16 bits, adversarial, or with another optimizer: the compiled steps do not serve."""
    known = taste()
    for how in ({"clip_norm": 0.01}, {"precision": "bf16-mixed"}, {"adversarial": {"weight": 1.0}}):
        (mine, losses), (_, wanted) = (
            trained(known, LOSSES["bpr"], compiled=one, epochs=2, **how) for one in (True, False)
        )
        assert losses == wanted
    (objective,) = mine.objectives
    tables = [*mine.model.parameters()]
    for other in (
        torch.optim.SGD(tables, lr=0.1),
        torch.optim.Adam(tables, weight_decay=0.1),
        torch.optim.AdamW(tables),
    ):
        assert not objective.steps.serve(other)
    assert objective.steps.serve(torch.optim.Adam(tables, lr=0.1, fused=True))
    assert not objective.steps.serve(torch.optim.Adam(tables[:1], lr=0.1))


# ---------------------------------------------------------------------- steps by autograd, with tables looked up

LOOKED_UP: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ncf": ("ncf", {"loss": "bpr", "negatives": 2, "l2": 0.02, "dropout": 0}),
    "neumf": ("neumf", {"loss": "bce", "negatives": 2, "l2": 0.01, "mlp_dim": 4, "dropout": 0.1}),
    # a few steps: once a unit is above 0 in one training and below in the other, they part
    "neumf of sampled softmax": (
        "neumf",
        {"loss": "sampled_softmax", "negatives": 4, "l2": 0, "batch_size": 40, "lr": 1e-3},
    ),
    "neumf, its halves apart at first": ("neumf", {"loss": "bpr", "negatives": 1, "mlp_dim": 4, "pretrain_epochs": 2}),
    "neumf with negatives of a batch": ("neumf", {"loss": "bce", "shared": True, "negatives": 6, "mlp_dim": 4}),
    "kgat": ("kgat", {"loss": "bpr", "negatives": 1, "layer_dims": (16, 8), "facts_batch_size": 40, "facts_lr": 0.05}),
    "kgatseq": ("kgatseq", {"layer_dims": (8,), "facts_batch_size": 40, "length": 5}),
}


def with_facts() -> Graph:
    genres = pd.DataFrame([(f"i{item}", f"g{item % 3}") for item in range(25)], columns=["source", "target"])
    edges = {("user", "rated", "item"): tastes(), ("item", "has_genre", "genre"): genres}
    return Graph.from_frames(edges=edges, target=("user", "rated", "item"))


def by_look_ups(name: str, monkeypatch: pytest.MonkeyPatch, *, compiled: bool, **training: Any) -> Trainer:
    model, config = LOOKED_UP[name]
    monkeypatch.setattr(look_up_steps, "MANY", 0)
    known = with_facts()
    how = configure(TrainingConfig, {"epochs": 3 if "pretrain_epochs" in config else 1, "device": "cpu", **training})
    torch.manual_seed(3)
    built: Recommender = models.build(
        model, known, {"dim": 16, "batch_size": 12, "lr": 0.005, "init_std": 0.3, **config}
    )
    trainer = Trainer(built, known, how, make_fabric(how))
    assert any(one.steps is not None for one in trainer.objectives)
    for one in () if compiled else trainer.objectives:
        one.steps = None
    return trainer


@pytest.mark.parametrize("name", LOOKED_UP)
def test_looked_up_rows_move_as_by_adam_over_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    move, taken, found = LateAdam.move, [], {}
    monkeypatch.setattr(LateAdam, "move", lambda adam, *rows: taken.append(1) or move(adam, *rows))
    for compiled in (False, True):
        trainer = by_look_ups(name, monkeypatch, compiled=compiled)
        found[compiled] = trainer, [one.losses for one in trainer.epochs()]
        assert bool(taken) == compiled
    (mine, losses), (other, wanted) = found[True], found[False]
    for one, another in zip(losses, wanted):
        assert one == pytest.approx(another, rel=1e-4)
    tables = [[table.weight for table in vector_tables(trainer.model)] for trainer in (mine, other)]
    for weight, as_wanted in zip(*tables):
        torch.testing.assert_close(weight, as_wanted, atol=mine.model.config.lr / 100, rtol=0)
    states = mine.state(), other.state()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(one, states[1][key]) for key, one in states[0].items() if key.endswith("/step"))


def test_a_table_is_not_read_whole_while_most_of_its_rows_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = by_look_ups("neumf with negatives of a batch", monkeypatch, compiled=True)
    (objective,), (optimizer,) = trainer.objectives, trainer.optimizers
    with objective.steps.running(optimizer, 1), pytest.raises(AssertionError, match="up to date"):
        trainer.model.user.table()
    assert len(trainer.model.user.table()) == 40


def test_small_tables_are_moved_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = by_look_ups("neumf with negatives of a batch", monkeypatch, compiled=True)
    (objective,), (optimizer,) = trainer.objectives, trainer.optimizers
    assert objective.steps.serve(optimizer)
    monkeypatch.setattr(look_up_steps, "MANY", 3)
    assert not objective.steps.serve(optimizer)  # 144 rows, and 192 look-ups a batch


def test_a_subclass_keeps_its_own_loss() -> None:
    from kgrec.models.mf import MF, MFConfig
    from kgrec.models.ncf import NCF, NCFConfig

    class Half(MF):
        def edge_loss(self, batch: Any) -> torch.Tensor:
            return super().edge_loss(batch) / 2

    known = taste()
    (objective,) = Half(known, configure(MFConfig, {"loss": "bpr"})).objectives(known)
    assert objective.steps is None
    assert math.isfinite(objective.loss(next(iter(objective.batches))).item())

    class Wider(NCF):
        pass

    (objective,) = Wider(known, configure(NCFConfig, {"loss": "bpr"})).objectives(known)
    assert objective.steps is None
