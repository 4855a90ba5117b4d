"""The settings that were searched for, graphs/settings, and the script that searches."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kgrec import models
from kgrec.settings import configure
from kgrec.studies.tuning.search_space import parse_ranges
from kgrec.training.config import TrainingConfig

ROOT = Path(__file__).parents[1]


def must_fit(path: Path) -> None:
    """A file has settings of the model that it is named for, and those of the best trial in the log beside it."""
    fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    configure(TrainingConfig, fields.pop("training", {}))
    with (path.parent / "trials.csv").open(encoding="utf-8", newline="") as file:
        trials = [row for row in csv.DictReader(file) if row["model"] == path.stem and row["valid"]]
    best = max(trials, key=lambda row: float(row["valid"]))
    config = configure(models.find(path.stem).Config, fields)
    for name, value in json.loads(best["settings"]).items():
        found = getattr(config, name)
        assert found == pytest.approx(value) if isinstance(value, float) else found == value


def test_models_that_are_to_be_searched_have_the_settings_that_are_named():
    """So do the settings that were found and are kept."""
    sets = yaml.safe_load((ROOT / "scripts/settings.yaml").read_text(encoding="utf-8"))
    for one in sets.values():
        assert (ROOT / f"graphs/{one['recipe']}.yaml").is_file()
        for model, fields in one["models"].items():
            given = fields or {}
            kind = models.find(model).Config
            configure(kind, given.get("start", {}))
            assert set(parse_ranges([f"{name}={words}" for name, words in given.get("ranges", {}).items()])) <= {
                field.name for field in dataclasses.fields(kind)
            }
    for path in sorted((ROOT / "graphs/settings").glob("*/*.yaml")):
        assert path.stem in sets[path.parent.name]["models"]
        must_fit(path)


def test_a_search_writes_settings_and_keeps_the_log_of_other_models(tmp_path: Path):
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
    for name in ("mf", "itemknn"):
        must_fit(tmp_path / f"found/shop/{name}.yaml")
