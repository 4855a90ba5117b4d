"""The loop by hand: order, phases, what is moved, what is refused. Whole runs are in test_run.py."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
from torch import nn

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Objective, Recommender
from kgrec.samplers import Edges, Loader
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

EDGES = pd.DataFrame({"source": ["a", "b", "c", "d"], "target": ["x", "y", "x", "y"]})


def graph() -> Graph:
    return Graph.from_frames(edges={("user", "rated", "item"): EDGES})


class Two(Recommender):
    """Two numbers, an objective each; every loss call is written down."""

    def __init__(self, graph: Graph, config: dict) -> None:
        super().__init__(graph, config)
        self.first, self.second = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))
        self.settings, self.calls = config, []

    def objectives(self, graph: Graph) -> list[Objective]:
        def objective(name: str, parameter: nn.Parameter, batch_size: int) -> Objective:
            def loss(batch):
                self.calls.append(name)
                return (
                    self.first * self.second * self.settings.get("scale", 1.0)
                )  # moves both, were it not for the list

            sgd = lambda parameters, lr: torch.optim.SGD(parameters, lr=lr)  # noqa: E731
            batches = Loader(Edges(graph), batch_size=batch_size)
            return Objective(name, batches, loss, [parameter], sgd, 0.1, **self.settings.get(name, {}))

        return [objective("first", self.first, 2), objective("second", self.second, 4)]

    def begin(self, epoch: int) -> None:
        self.calls.append(f"begin {epoch}")

    def refresh(self) -> None:
        assert not torch.is_grad_enabled() and not self.training
        self.calls.append("refresh")

    def score(self, query, items):
        raise NotImplementedError


def trainer(model: Recommender, known: Graph, **fields) -> Trainer:
    config = TrainingConfig(device="cpu", **fields)
    return Trainer(model, known, config, make_fabric(config))


def test_objectives_follow_epoch_by_epoch_and_each_moves_its_own():
    known = graph()
    model = Two(known, {})
    (epoch,) = trainer(model, known, epochs=1).epochs()
    assert model.calls == ["begin 1", "first", "first", "second", "refresh"]
    # first: 1 - .1 * 1 twice = .8 while second is 1; then second: 1 - .1 * .8
    assert model.first.item() == pytest.approx(0.8) and model.second.item() == pytest.approx(0.92)
    assert epoch.losses == {"first": pytest.approx((1 + 0.9) / 2), "second": pytest.approx(0.8)}


def test_objectives_of_one_turn_alternate_batch_by_batch():
    known = graph()
    model = Two(known, {"first": {"interleave": "both"}, "second": {"interleave": "both"}})
    list(trainer(model, known, epochs=1).epochs())
    assert model.calls == ["begin 1", "first", "second", "first", "refresh"]


def test_a_phase_that_would_never_begin_is_refused():
    known = graph()
    model = Two(known, {"second": {"epochs": range(5, 100)}})
    with pytest.raises(KgrecError, match=r"the last phase of training begins in epoch 5, but there are only 4 epochs"):
        trainer(model, known, epochs=4)
    trainer(model, known, epochs=5)


def test_a_phase_is_the_epochs_in_which_an_objective_is_active():
    known = graph()
    model = Two(known, {"first": {"epochs": range(1, 2)}, "second": {"epochs": range(2, 100)}})
    running = trainer(model, known, epochs=2)
    assert running.last_phase == 2
    list(running.epochs())
    assert model.calls == ["begin 1", "first", "first", "refresh", "begin 2", "second", "refresh"]


@pytest.mark.parametrize(
    ("decay", "first", "second"),
    [
        ("none", [0.1] * 4, [0.1]),
        ("linear", [0.1, 0.075, 0.05, 0.025], [0.1]),  # two epochs of two steps; the second lives in the last alone
        ("cosine", [0.1, 0.05 * (1 + 2**-0.5), 0.05, 0.05 * (1 - 2**-0.5)], [0.1]),
    ],
)
def test_the_learning_rate_falls_step_by_step_to_the_end_of_its_phase(decay, first, second):
    known, seen = graph(), {"first": [], "second": []}
    model = Two(known, {"second": {"epochs": range(2, 100)}})
    running = trainer(model, known, epochs=2, lr_decay=decay)
    for objective, optimizer in zip(running.objectives, running.optimizers):
        rates = seen[objective.name]
        optimizer.register_step_pre_hook(lambda o, *rest, rates=rates: rates.append(o.param_groups[0]["lr"]))
    list(running.epochs())
    assert seen == {"first": pytest.approx(first), "second": pytest.approx(second)}


def test_a_loss_that_is_not_finite_stops_the_run():
    known = graph()
    with pytest.raises(KgrecError, match="epoch 1: the loss 'first' is nan; lower the learning rate"):
        list(trainer(Two(known, {"scale": float("nan")}), known, epochs=1).epochs())


def test_a_gradient_is_clipped_to_its_norm():
    known = graph()
    model = Two(known, {"scale": 100.0})
    list(trainer(model, known, epochs=1, clip_norm=0.5).epochs())
    assert model.first.item() == pytest.approx(1 - 2 * 0.1 * 0.5, abs=1e-4)


def test_training_leaves_torchs_own_random_numbers_alone():
    known = graph()
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    list(trainer(Two(known, {}), known, epochs=2).epochs())
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"device": "meta"}, "device 'meta' is not supported; use auto, cpu, cuda"),
    ],
)
def test_a_device_that_is_not_there_is_refused(fields, message):
    with pytest.raises(KgrecError, match=message):
        make_fabric(TrainingConfig(**fields))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(KgrecError, match="this machine has no CUDA device that torch can use; use --device cpu"):
        make_fabric(TrainingConfig(device="cuda"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epoch": "3"}, "no field 'epoch' of training; did you mean 'epochs'"),
        ({"epochs": "many"}, "epochs='many' of training: .*integer"),
        ({"epochs": "0"}, "epochs='0' of training: .*greater than"),
        ({"precision": "16"}, "precision='16' of training: .*'32-true' or 'bf16-mixed'"),
        ({"precision": "64-true"}, "precision='64-true' of training: .*'32-true' or 'bf16-mixed'"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(KgrecError, match=message):
        configure(TrainingConfig, fields, "training")


LIGHT = """
import sys
import kgrec.run
print(*(name for name in ("pandas", "scipy.sparse", "numba") if name in sys.modules), end="")
import pandas as pd
from kgrec import Graph, train
edges = pd.DataFrame([(f"u{u}", f"i{(u * k) % 7}", k) for u in range(9) for k in range(1, 5)])
edges.columns = ["source", "target", "time"]
graph = Graph.from_frames(edges={("user", "rated", "item"): edges.drop_duplicates(["source", "target"])})
for model, loss in (("mf", "softmax"), ("neumf", "bce"), ("sasrec", "softmax")):
    how = {"epochs": 1, "device": "cpu"}
    train(model, graph, split="ratio:0.2,valid=0.2,seed=0", config={"loss": loss}, training=how)
print(*(name for name in ("torch._dynamo", "lightning_fabric") if name in sys.modules))
"""


def test_a_training_in_one_process_imports_neither_lightning_nor_a_compiler():
    """They take longer than such a training. Nor does the library's front import what few commands need."""
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
