"""The settings that were searched for, graphs/settings, and the script that searches."""

import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from kgrec import models
from kgrec.settings import configure
from kgrec.training.job import TrainingJob

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "graphs/settings"
FILES = sorted(SETTINGS.glob("*/*.yaml"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/search_settings.py."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("search_settings")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_settings_that_were_found_train_their_model(path: Path):
    """They are settings of the model, and those of the log's best trial."""
    fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    job = configure(TrainingJob, {"model": path.stem, "config": fields})
    with (path.parent / "trials.csv").open(encoding="utf-8", newline="") as file:
        trials = [row for row in csv.DictReader(file) if row["model"] == path.stem and row["valid"]]
    best = max(trials, key=lambda row: float(row["valid"]))
    config = configure(models.find(path.stem).Config, job.fields)
    for name, value in json.loads(best["settings"]).items():
        found = getattr(config, name)
        assert found == pytest.approx(value) if isinstance(value, float) else found == value


def test_there_are_settings_of_each_set_that_was_searched():
    sets = yaml.safe_load((ROOT / "scripts/settings.yaml").read_text(encoding="utf-8"))
    assert {(path.parent.name, path.stem) for path in FILES} == {
        (name, model) for name, one in sets.items() for model in one["models"]
    }


def test_a_search_writes_settings_and_keeps_the_log_of_other_models(script: ModuleType, tmp_path: Path):
    arguments = [sys.executable, str(ROOT / "scripts/search_settings.py"), "shop", "--out", str(tmp_path)]
    shop = {"shop": {"recipe": "shop/shop", "split": "ratio:0.2,valid=0.2", "metric": "ndcg@5", "minutes": 0.02}}
    shop["shop"]["models"] = {"mf": {"start": {"dim": 4, "lr": 0.02}, "ranges": {"lr": "0.01..0.1"}}, "itemknn": None}
    listed = tmp_path / "settings.yaml"
    listed.write_text(yaml.safe_dump(shop))
    subprocess.run([*arguments, "--list", str(listed), "--settings", str(tmp_path / "found")], check=True)
    with (tmp_path / "found/shop/trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = next(row for row in rows if row["model"] == "mf")
    assert {row["model"] for row in rows} == {"mf", "itemknn"} and json.loads(first["settings"])["lr"] == 0.02
    found = (tmp_path / "found/shop/mf.yaml").read_text()
    assert "kgrec train mf shop/shop.graph --config graphs/settings/shop/mf.yaml" in found
    assert yaml.safe_load(found)["dim"] == 4
