"""Default settings learn, the search that chose them is on record, and named benchmarks depend on none of them."""

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from kgrec import models
from kgrec.nn import EdgeModelConfig, NextItemConfig, PairMLPConfig
from kgrec.nn.label_loss import squares
from kgrec.run import train
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig

ROOT = Path(__file__).parents[1]
PLAN = yaml.safe_load((ROOT / "scripts/defaults.yaml").read_text(encoding="utf-8"))
BENCHMARKS = yaml.safe_load((ROOT / "scripts/benchmarks.yaml").read_text(encoding="utf-8"))
EDGE = {"loss", "negatives", "batch_size", "lr", "l2", "init_std"}
SEQUENCE = {"dropout", "batch_size", "lr", "l2", "init_std"}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/defaults.py."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("defaults")


@pytest.mark.parametrize("name", [name for name, one in BENCHMARKS.items() if "set" in one or "model" in one])
def test_a_named_benchmark_spells_out_what_the_search_may_change(name):
    benchmark = BENCHMARKS[name]
    kind = models.find(benchmark.get("model", "kgat")).Config  # the one measure with settings is of kgat
    searched = EDGE if issubclass(kind, EdgeModelConfig) else SEQUENCE if issubclass(kind, NextItemConfig) else set()
    searched = searched | ({"dropout"} if issubclass(kind, PairMLPConfig) else set())
    assert searched <= set(benchmark.get("set", {}))


def test_every_trial_has_settings_that_its_model_takes(script):
    trials = list(script.trials_of(PLAN))
    assert len(trials) > 50 and {trial.on for trial in trials} <= set(PLAN["sets"])
    for trial in trials:
        configure(models.find(trial.model).Config, trial.settings)


def test_the_tables_are_those_of_the_log(script):
    tables = script.tables(PLAN, script.read_log(ROOT / "docs/defaults.csv"))
    assert tables in (ROOT / "docs/defaults.md").read_text(encoding="utf-8")


def test_shares_are_of_the_best_value_on_each_set(script):
    """By hand: on one set .2 and .1, on the other .3 and .4; of an error the least is the best."""
    trials = [script.Trial("mf", "mf", "ranking", on, {"lr": lr}) for on in ("one", "other") for lr in (1, 2)]
    value = dict(zip([trial.key for trial in trials], [0.2, 0.1, 0.3, 0.4]))
    assert_shares(script.shares(trials, value), {'{"lr": 1}': (0.875, 0.75, 2), '{"lr": 2}': (0.75, 0.5, 2)})
    ratings = [dataclasses.replace(trial, task="rating") for trial in trials]
    assert_shares(script.shares(ratings, value), {'{"lr": 1}': (0.75, 0.5, 2), '{"lr": 2}': (0.875, 0.75, 2)})


def assert_shares(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for settings, values in wanted.items():
        assert found[settings] == pytest.approx(values)


@pytest.mark.parametrize("name", ["mf", "neumf", "lightgcn", "kgat", "cke", "irgan", "sasrec"])
def test_defaults_learn_what_was_planted(planted, name):
    """Taste says what comes next and popularity does not, which has .18. Batches are small enough that an epoch has
    several, as it has on real data: with one step an epoch, `neumf` may still be at popularity when patience ends."""
    how = {"training": configure(TrainingConfig, {"device": "cpu"}), "config": {"batch_size": 128}}
    metrics = train(name, planted, split="last_n:1,valid=1", metrics=["ndcg@10"], **how).metrics
    assert metrics["valid"]["ndcg@10"] > 1.2 * metrics["control"]["popularity"]["valid"]["ndcg@10"]


@pytest.mark.parametrize(
    ("task", "l2", "biases"), [("ranking", 0.01, False), ("rating", 10.0, True), ("ctr", 0.01, False)]
)
def test_some_defaults_are_those_of_the_task(task, l2, biases):
    by_default = configure(models.find("mf").Config, {"task": task})
    assert (by_default.l2_of_task, by_default.has_biases) == (l2, biases)
    own = configure(models.find("mf").Config, {"task": task, "l2": 0.5, "biases": not biases})
    assert (own.l2_of_task, own.has_biases) == (0.5, not biases)


def test_ratings_learn_by_default(planted):
    """The weight in the loss, and the biases in the model, are those of ratings."""
    model = models.build("mf", planted, {"task": "rating"})
    assert model.item_bias is not None and model.user_bias is not None
    batch = next(iter(next(iter(model.objectives(planted))).batches))
    assert model.edge_penalty(batch).item() == pytest.approx(10 * squares(model).item() / model.num_known)
