"""A run beside its control on valid, popularity or bias, and what a run below it is told to try."""

import json
import sys

import pandas as pd
import pytest

from kgrec import cli
from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig
from kgrec.training.controls import Course, advice

SPLIT = "last_n:1,valid=1"


def crossed() -> Graph:
    """Four users have a, then h; six have h, then a; z is everybody's last. In train a counts 4, h 6 and others 0, so
    popularity puts what each does next first: ndcg@10 is 1 on valid."""
    paths = [["a", "h", "z"]] * 4 + [["h", "a", "z"]] * 6
    rows = [(f"u{u}", item, step, 4.0) for u, path in enumerate(paths) for step, item in enumerate(path)]
    edges = pd.DataFrame(rows, columns=["source", "target", "time", "weight"])
    items = pd.DataFrame({"id": [*"ahz", *(f"filler{i}" for i in range(12))]})
    return Graph.from_frames(edges={("user", "had", "item"): edges}, nodes={"item": items})


def trained(model: str, out=None, *, epochs: int = 3, metrics=("ndcg@10",), task=None, **config) -> Run:
    training = configure(TrainingConfig, {"epochs": epochs, "device": "cpu"})
    return train(model, crossed(), split=SPLIT, task=task, config=config, training=training, metrics=metrics, out=out)


def test_a_run_below_popularity_says_so_with_both_values_and_what_to_try(tmp_path):
    run = trained("mf", tmp_path / "run", lr=1e-9)
    assert run.metrics["control"] == {"popularity": {"valid": {"ndcg@10": 1.0}}}
    below = run.metrics["below_control"]
    assert (below["control"], below["metric"], below["control_value"]) == ("popularity", "ndcg@10", 1.0)
    assert below["value"] == run.metrics["valid"]["ndcg@10"] < 1
    values = f"ndcg@10: mf {below['value']:.4f}, popularity 1.0000"
    assert f"mf is worse than popularity on valid ({values}); " in below["note"]
    assert "--set lr=1e-08" in below["note"] and "ease, which needs no training" in below["note"]
    assert Run.load(tmp_path / "run").metrics["below_control"] == json.loads(json.dumps(below))


def test_a_run_above_popularity_shows_it_and_says_nothing(planted):
    training = configure(TrainingConfig, {"epochs": 15, "device": "cpu"})
    run = train("mf", planted, split=SPLIT, config={"lr": 0.03, "batch_size": 64}, training=training)
    control = run.metrics["control"]["popularity"]["valid"]
    assert control.keys() == run.metrics["valid"].keys()  # all that was asked for
    assert run.metrics["valid"]["ndcg@10"] > control["ndcg@10"] and "below_control" not in run.metrics


def test_popularity_has_no_control_nor_has_a_run_without_valid():
    assert "control" not in trained("popularity").metrics
    training = configure(TrainingConfig, {"epochs": 1, "device": "cpu"})
    assert "control" not in train("mf", crossed(), split="last_n:1", training=training).metrics


def test_ratings_have_the_bias_for_control():
    """All ratings are 4, so bias predicts 4: its rmse is 0, and vectors near 0 are off by 4."""
    below = trained("mf", metrics=("rmse",), task="rating", biases=False, lr=1e-9, init_std=1e-6).metrics[
        "below_control"
    ]
    assert (below["control"], below["control_value"]) == ("bias", pytest.approx(0, abs=1e-6))
    assert below["value"] == pytest.approx(4, abs=1e-3)
    assert "mf is worse than bias on valid (rmse: mf 4.0000" in below["note"]


def test_the_command_notes_it_on_stderr_and_shows_the_control(tmp_path, capsys, monkeypatch):
    crossed().save(tmp_path / "graph")
    words = f"kgrec train mf {tmp_path / 'graph'} --split {SPLIT} --epochs 2 --set lr=1e-9 --metrics ndcg@10"
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    shown = capsys.readouterr()
    assert "note: mf is worse than popularity on valid" in shown.err and "popularity, valid" in shown.out


class Settings:
    lr, l2, init_std = 0.05, 0.0, 0.1


@pytest.mark.parametrize(
    ("epochs", "best", "losses", "said"),
    [
        ((1, 2, 3), 3, (0.7, 0.5, 0.4), "the last epoch is the best: try --epochs 9, or model ease"),
        ((1, 2, 3), 1, (0.7, 0.4, 0.1), "epoch 1 of 3 is the best: try --set lr=0.005 or --set l2=0.01, or model ease"),
        ((1, 2, 3), 1, (0.7, 0.7, 0.69), "the loss hardly falls: try --set init_std=0.02, or model ease"),
        ((1, 2, 3, 4, 5), 4, (0.7, 0.6, 0.5, 0.4, 0.3), "try --set init_std=0.02, or model ease"),
        ((), 0, (), "try other settings (see `kgrec models mf`), or model ease, which needs no training"),
    ],
)
def test_advice_goes_by_the_best_epoch_and_the_loss(epochs, best, losses, said):
    rows = [{"epoch": 0, "loss other": 5.0}]  # not measured: it says nothing
    rows += [{"epoch": epoch, "loss ranking": loss, "ndcg@10": 0.1} for epoch, loss in zip(epochs, losses)]
    last = 3 if best == 3 else 50
    assert advice("mf", "ranking", Course.of(rows, "ndcg@10", best, last, Settings())).startswith(said)
    assert "or model ials" in advice("ease", "ranking", Course.of([], "ndcg@10", 0, 50, Settings()))
