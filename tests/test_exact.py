"""One seed gives one run, to the bit, on two threads and with batches that torch and numba share out among them; also
where training is cut off within an epoch, between two, and in its refit, and is resumed each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import pytest
import torch

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.run import tasks_of, train
from kgrec.sources.building import build_to
from kgrec.training.trainer import Trainer

SHOP = Path(__file__).parents[1] / "graphs/shop/shop.yaml"
SHARE = 4  #: of the shop's users one in so many
EPOCHS = 2

FIELDS: dict[str, dict[str, Any]] = {  #: to have all phases, and to be quick
    "irgan": {"pretrain_epochs": 1},
    "dnen": {"pretrain_epochs": 1},
    **{name: {"negatives": 16, "dim": 16} for name in ("complex", "distmult", "rotate", "transe", "transr")},
}
FURTHER: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("mf", {"features": ["all"], "loss": "softmax", "batch_size": 100}, {}),
    ("mf", {"cosine": True, "loss": "ccl", "negatives": 64}, {"lr_decay": "linear", "clip_norm": 1.0}),
    ("lightgcn", {}, {"adversarial": {"weight": 1.0, "begin": 2}}),
    ("neumf", {"loss": "softmax", "batch_size": 100}, {}),
    ("kgat", {"fanouts": [10, 5], "layer_dims": [32, 16], "sparse": True}, {}),
    ("irgan", {"pretrain_epochs": 1, "base": "kgat"}, {}),
    ("sasrec", {"behaviours": ["viewed", "carted"], "loss": "sampled_softmax"}, {}),
    ("sasrec", {"features": ["all"]}, {"precision": "bf16-mixed"}),
    ("kgatseq", {"encoder": "gruatt"}, {}),
]
CASES = [(name, FIELDS.get(name, {}), {}) for name in models.builtin_names()] + FURTHER


@pytest.fixture(scope="module", autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads(), numba.get_num_threads()
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba has one thread; set NUMBA_NUM_THREADS=2 to see two")
    torch.set_num_threads(2)
    numba.set_num_threads(2)
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The sample shop with some of its users, and all of its facts."""
    folder = tmp_path_factory.mktemp("exact") / "shop.graph"
    build_to(SHOP, None, folder)
    graph = Graph.load(folder)
    users = graph.range("user")
    is_user = (graph.head >= users.start) & (graph.head < users.stop)
    return graph.where(~is_user | ((graph.head - users.start) % SHARE == 0))


class CutOff(Exception):
    pass


def cut_off(monkeypatch: pytest.MonkeyPatch, steps: int, in_refit: bool = False) -> None:
    """Training stops with CutOff where one epoch is done, after some steps of the next; in_refit: of the second
    training of a run."""
    whole_step, trainers, taken = Trainer._step, list[Trainer](), [0]

    def step(self: Trainer, index: int, batch: Any) -> torch.Tensor:
        if self not in trainers:
            trainers.append(self)
        if self.epoch == 1 and len(trainers) == 1 + in_refit:
            if taken[0] == steps:
                raise CutOff
            taken[0] += 1
        return whole_step(self, index, batch)

    monkeypatch.setattr(Trainer, "_step", step)


def title(case: tuple[str, dict[str, Any], dict[str, Any]]) -> str:
    return " ".join([case[0], *(f"{key}={value}" for part in case[1:] for key, value in part.items())])


@pytest.mark.usefixtures("bf16_everywhere")
@pytest.mark.parametrize("case", CASES, ids=title)
def test_a_seed_gives_one_run_however_often_it_is_cut_off(
    case: tuple[str, dict[str, Any], dict[str, Any]],
    shop: Graph,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, config, fields = case
    training = {"epochs": EPOCHS, "validate_every": EPOCHS, "device": "cpu", "seed": 3, **fields}
    split = None if tasks_of(name) == ("link",) else "last_n:1,valid=1"
    how: dict[str, Any] = {"split": split, "config": config, "training": training, "refit": True}
    whole, out = train(name, shop, out=tmp_path / "whole", **how), tmp_path / "cut"
    if models.find(name).objectives is Recommender.objectives:
        again = train(name, shop, out=out, **how)
    else:
        for resume, steps, in_refit in ((False, 0, False), (True, 1, False), (True, 1, True)):
            with monkeypatch.context() as patch, pytest.raises(CutOff):
                cut_off(patch, steps, in_refit)
                train(name, shop, out=out, resume=resume, **how)
        again = train(name, shop, out=out, resume=True, **how)
    for parts in ("test", "valid"):
        assert whole.metrics.get(parts) == again.metrics.get(parts)
    weights = [run.model.state_dict() for run in (whole, again)]
    differ = [key for key, tensor in weights[0].items() if not torch.equal(tensor, weights[1][key])]
    assert not differ
    first, second = ((folder / "model.safetensors").read_bytes() for folder in (tmp_path / "whole", out))
    assert first == second
