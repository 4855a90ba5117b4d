"""Whole runs: resume to the bit, processes, precision, refit, the run folder, and what is refused."""

import importlib
import json
import pickle
import shutil
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.run import Run, measure, train
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import _versions_alone

SMALL = {"dim": 8, "batch_size": 64, "lr": 0.01}


def tastes(users: int = 40, items: int = 30, per_user: int = 9, seed: int = 0) -> Graph:
    """Users of three kinds, each with a third of the items; times rise within a user."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        liked = rng.permutation(np.arange(user % 3, items, 3))[:per_user]
        rows += [(f"u{user}", f"i{item}", 100 + step) for step, item in enumerate(liked)]
    frame = pd.DataFrame(rows, columns=["source", "target", "time"])
    names = pd.DataFrame({"id": [f"i{i}" for i in range(items)], "label": [f"Item {i}" for i in range(items)]})
    return Graph.from_frames(edges={("user", "liked", "item"): frame}, nodes={"item": names})


def training(**fields) -> TrainingConfig:
    return configure(TrainingConfig, {"epochs": 4, "device": "cpu", **fields})


def same(one: Run, other: Run) -> bool:
    first, second = one.model.state_dict(), other.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Interrupt(Exception):
    pass


def stop_after(number: int):
    def report(epoch, metrics):
        if epoch.number > number:
            raise Interrupt

    return report


def test_the_same_seed_gives_the_same_run_and_another_does_not():
    graph, split = tastes(), "last_n:1,valid=1"
    one, two, other = (train("mf", graph, split=split, config=SMALL, training=training(seed=s)) for s in (1, 1, 2))
    assert same(one, two) and not same(one, other)
    assert one.metrics["test"] == two.metrics["test"]


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("model", ["mf"])
def test_a_resumed_run_is_equal_to_the_bit(tmp_path, model, refit):
    graph, arguments = tastes(), {"split": "last_n:1,valid=1", "config": SMALL, "training": training(), "refit": refit}
    whole = train(model, graph, out=tmp_path / "whole", **arguments)
    with pytest.raises(Interrupt):
        train(model, graph, out=tmp_path / "cut", report=stop_after(2), **arguments)
    assert (tmp_path / "cut.checkpoint" / "state.json").is_file() and not (tmp_path / "cut").exists()
    resumed = train(model, graph, out=tmp_path / "cut", resume=True, **arguments)
    assert same(whole, resumed) and same(whole, Run.load(tmp_path / "cut"))
    assert whole.metrics["test"] == resumed.metrics["test"] and whole.metrics["epochs"] == resumed.metrics["epochs"]
    assert not (tmp_path / "cut.checkpoint").exists()


def test_a_run_cut_in_its_refit_is_resumed_there(tmp_path):
    graph, arguments = tastes(), {"split": "last_n:1,valid=1", "config": SMALL, "training": training(), "refit": True}
    whole = train("mf", graph, out=tmp_path / "whole", **arguments)
    seen = []

    def stop_in_refit(epoch, metrics):
        seen.append(epoch.number)
        if len(seen) > 5:  # four epochs of the first phase, then the refit's second
            raise Interrupt

    with pytest.raises(Interrupt):
        train("mf", graph, out=tmp_path / "cut", report=stop_in_refit, **arguments)
    state = json.loads((tmp_path / "cut.checkpoint" / "state.json").read_text())["state"]
    assert (state["phase"], state["epoch"]) == ("refit", 1)
    assert same(whole, train("mf", graph, out=tmp_path / "cut", resume=True, **arguments))


def test_a_checkpoint_of_another_job_is_refused(tmp_path):
    graph = tastes()
    with pytest.raises(Interrupt):
        train(
            "mf",
            graph,
            split="last_n:1,valid=1",
            config=SMALL,
            training=training(),
            out=tmp_path / "r",
            report=stop_after(1),
        )
    with pytest.raises(KgrecError, match="was made with another config and split"):
        train(
            "mf",
            graph,
            split="last_n:1",
            config=SMALL | {"dim": 4},
            training=training(),
            out=tmp_path / "r",
            resume=True,
        )
    with pytest.raises(KgrecError, match="nothing to resume"):
        train("mf", graph, split="last_n:1", training=training(), out=tmp_path / "none", resume=True)


@pytest.mark.usefixtures("bf16_everywhere")
def test_bf16_runs_and_keeps_float32_weights():
    run = train("mf", tastes(), split="last_n:1,valid=1", config=SMALL, training=training(precision="bf16-mixed"))
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in run.model.parameters())


def test_early_stopping_counts_validations_without_a_better_one():
    config, seen = {"dim": 8, "batch_size": 64, "lr": 1e-9}, []
    fields = training(epochs=50, patience=3, validate_every=2)
    run = train(
        "mf", tastes(), split="last_n:1,valid=1", config=config, training=fields, report=lambda e, m: seen.append(e)
    )
    assert len(seen) == 2 * (1 + 3)  # nothing changes: the first validation is the best, three more are waited for
    assert run.metrics["best_epoch"] == 2 and run.metrics["epochs"] == 8


def test_refit_trains_on_train_and_valid_for_as_many_epochs():
    arguments = {"split": "last_n:1,valid=1", "config": SMALL, "training": training(epochs=60, patience=1)}
    once, again = (train("mf", tastes(), refit=refit, **arguments) for refit in (False, True))
    assert again.metrics["protocol"].endswith("refit on train + valid")
    assert 1 <= once.metrics["best_epoch"] < once.metrics["epochs"] < 60  # it stopped early
    assert again.metrics["epochs"] == once.metrics["best_epoch"] and again.metrics["valid"] == once.metrics["valid"]
    assert not same(once, again)


def test_the_run_folder_holds_what_is_said_and_no_pickle(tmp_path):
    graph = tastes()
    run = train("mf", graph, split="last_n:1,valid=1", config=SMALL, training=training(), out=tmp_path / "run")
    files = {str(f.relative_to(tmp_path / "run")) for f in (tmp_path / "run").rglob("*") if f.is_file()}
    assert files == {
        "config.json", "schema.json", "metrics.json", "model.safetensors", "history.parquet", "per_user.parquet",
        "log.csv", "vocabulary/user.parquet", "vocabulary/item.parquet", "scorer.json", "trained.parquet",
    }  # fmt: skip
    history = pq.read_table(tmp_path / "run" / "history.parquet")
    assert history.num_rows == 40 * (9 - 1)  # train and valid: all but one edge a user
    again = Run.load(tmp_path / "run")
    assert same(run, again) and again.metrics == run.metrics
    assert again.graph.vocabulary["item"].labels([0]) == ["Item 0"]
    per_user = pq.read_table(tmp_path / "run" / "per_user.parquet").to_pandas()
    assert per_user["ndcg@10"].mean() == pytest.approx(run.metrics["test"]["ndcg@10"])
    log = pd.read_csv(tmp_path / "run" / "log.csv")
    assert list(log["epoch"]) == [1, 2, 3, 4] and log["ndcg@10"].max() == pytest.approx(run.metrics["valid"]["ndcg@10"])


def test_measuring_a_saved_run_gives_what_training_measured(tmp_path):
    graph = tastes()
    run = train("ease", graph, split="last_n:1,valid=1", config={"l2": 1.0}, training=training(), out=tmp_path / "run")
    assert measure(Run.load(tmp_path / "run"), graph)["test"] == pytest.approx(run.metrics["test"])
    other = tastes(users=50)
    with pytest.raises(KgrecError, match="the run knows 40 user ids, but the graph has 50"):
        measure(Run.load(tmp_path / "run"), other)


@pytest.fixture
def run_folder(tmp_path):
    train("mf", tastes(), split="last_n:1,valid=1", config=SMALL, training=training(epochs=1), out=tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("beside", [0, 1 << 40], ids=["in a thread", "before"])
def test_weights_that_were_altered_are_refused_however_they_are_checked(run_folder, monkeypatch, beside):
    monkeypatch.setattr("kgrec.training.run_folder.BESIDE", beside)
    assert Run.load(run_folder).recommend(["u0"], k=1)
    weights = run_folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(KgrecError, match=r"model\.safetensors is truncated or altered"):
        Run.load(run_folder)


def test_a_pickle_in_a_run_folder_is_refused(run_folder):
    (run_folder / "extra.pt").write_bytes(pickle.dumps("anything"))
    with pytest.raises(KgrecError, match=r"holds 'extra\.pt', which kgrec never writes and which may run code"):
        Run.load(run_folder)


def test_a_pickle_in_the_place_of_weights_is_not_loaded(run_folder):
    torch.save({"user.weight": torch.zeros(1)}, run_folder / "model.safetensors")
    with pytest.raises(KgrecError, match="is no safetensors file, or truncated"):
        Run.load(run_folder)


def test_a_foreign_module_is_not_imported(run_folder):
    config = json.loads((run_folder / "config.json").read_text())
    for name in ("os.path", "antigravity.fly", "antigravity:fly"):
        (run_folder / "config.json").write_text(json.dumps(config | {"model": name}))
        with pytest.raises(KgrecError, match="a saved run may not choose which code is imported"):
            Run.load(run_folder)
    (run_folder / "config.json").write_text(json.dumps(config | {"model": "antigravity"}))
    with pytest.raises(KgrecError, match="no model 'antigravity'"):
        Run.load(run_folder)


OWN = """
from kgrec.models.popularity import Popularity, PopularityConfig


class Least(Popularity):
    Config = PopularityConfig

    def score(self, query, items):
        return -super().score(query, items)
"""


def test_a_model_of_ones_own_is_a_dotted_path_and_is_named_again_to_be_loaded(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "least.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    graph = tastes()
    run = train("mine.least", graph, split="last_n:1", training=training(), out=tmp_path / "run")
    with pytest.raises(KgrecError, match="a saved run may not choose which code is imported"):
        Run.load(tmp_path / "run")
    again = Run.load(tmp_path / "run", trust="mine.least")
    assert type(again.model).__name__ == "Least"
    assert measure(again, graph)["test"] == run.metrics["test"]


@pytest.mark.parametrize(
    "name", ["schema.json", "metrics.json", "model.safetensors", "history.parquet", "vocabulary/item.parquet"]
)
def test_a_missing_or_truncated_file_is_named(run_folder, name):
    whole = (run_folder / name).read_bytes()
    (run_folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KgrecError, match=name.split("/")[-1]):
        Run.load(run_folder)
    (run_folder / name).unlink()
    with pytest.raises(KgrecError, match=f"lacks its file {name.split('/')[-1]}"):
        Run.load(run_folder)


def test_weights_of_another_shape_are_refused(run_folder):
    config = json.loads((run_folder / "config.json").read_text())
    config["config"]["dim"] = 16
    (run_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(KgrecError, match="the weights do not fit the model"):
        Run.load(run_folder)


def test_a_newer_format_and_an_existing_out_are_refused(run_folder):
    with pytest.raises(KgrecError, match="exists already; name another --out, or use --overwrite"):
        train("mf", tastes(), split="last_n:1", config=SMALL, training=training(epochs=1), out=run_folder)
    config = json.loads((run_folder / "config.json").read_text())
    (run_folder / "config.json").write_text(json.dumps(config | {"format": 99}))
    with pytest.raises(KgrecError, match="format 99; this kgrec reads up to 2"):
        Run.load(run_folder)
    shutil.rmtree(run_folder)
    with pytest.raises(KgrecError, match="is not there; make one with `kgrec train"):
        Run.load(run_folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "mff"}, r"no model 'mff' .*; did you mean 'mf'"),
        ({"config": {"dims": 8}}, "no field 'dims' of model 'mf'; did you mean 'dim'"),
        ({"config": {"dim": "wide"}}, "dim='wide' of model 'mf'"),
        ({"split": "last:1"}, "no split 'last'"),
        ({"metrics": ["ndgc@10"]}, "no metric 'ndgc'; did you mean 'ndcg'"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_written(tmp_path, arguments, message):
    arguments = {"model": "mf", "split": "last_n:1", "training": training(epochs=1), **arguments}
    with pytest.raises(KgrecError, match=message):
        train(arguments.pop("model"), tastes(), out=tmp_path / "run", **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["kgat", "kgatseq", "lightgcn"])
def test_a_graph_model_goes_on_to_the_bit(name, planted, tmp_path):
    """KGAT's attention is made of the weights at hand and is in no checkpoint."""
    config = {"dim": 8, "batch_size": 32, "lr": 0.01}
    how = {"split": "last_n:1,valid=1", "config": config}
    whole = train(name, planted, training=training(epochs=4), **how)
    with pytest.raises(Interrupt):
        train(name, planted, training=training(epochs=4), out=tmp_path / "r", report=stop_after(2), **how)
    assert same(train(name, planted, training=training(epochs=4), out=tmp_path / "r", resume=True, **how), whole)


def test_lightning_is_imported_without_the_metrics_that_it_asks_for_a_version(monkeypatch):
    monkeypatch.delitem(sys.modules, "torchmetrics", raising=False)
    with _versions_alone("torchmetrics"):
        stand_in = importlib.import_module("torchmetrics")
    assert stand_in.__version__ == version("torchmetrics") and not hasattr(stand_in, "Metric")
    assert "torchmetrics" not in sys.modules
