"""Search for the settings of several models on several sets of data, by `kgrec tune`, each model with the same time.

`search_settings.py SET [MODEL ...]` searches what scripts/settings.yaml lists. For `kgrec train --config` it writes
graphs/settings/SET/MODEL.yaml, and beside it all trials of the set, trials.csv. Only validation is looked at.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from benchmark import ROOT, graph_folder  # sets up threads before torch is imported

from kgrec.errors import KgrecError, unknown_name
from kgrec.settings import configure
from kgrec.studies.tuning.tuning_results import Tuning
from kgrec.studies.tuning.tuning_study import tune
from kgrec.training.config import TrainingConfig

MOST = 40  #: trials of a model, where its time would be enough for more
COLUMNS = ("model", "trial", "state", "valid", "best_epoch", "epochs", "seconds", "settings")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", help="a name in scripts/settings.yaml")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="models of the set (default: all)")
    parser.add_argument("--minutes", type=float, help="for each model, in place of what the file says")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KGREC_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder for graphs")
    parser.add_argument("--settings", type=Path, default=ROOT / "graphs/settings", help="folder for what is found")
    parser.add_argument("--list", type=Path, default=ROOT / "scripts/settings.yaml", help="file with the sets")
    options = parser.parse_args()
    sets = yaml.safe_load(options.list.read_text(encoding="utf-8"))
    try:
        if options.set not in sets:
            raise unknown_name("set", options.set, sets)
        chosen = sets[options.set]
        if options.minutes is not None:
            chosen["minutes"] = options.minutes
        for model in options.models or chosen["models"]:
            if model not in chosen["models"]:
                raise unknown_name("model of the set", model, chosen["models"])
            search(options.set, chosen, model, options)
    except KgrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def search(name: str, chosen: Mapping[str, Any], model: str, options: argparse.Namespace) -> Tuning:
    """Search for one model's settings, and write what was found."""
    one = chosen["models"][model] or {}
    options.out.mkdir(parents=True, exist_ok=True)
    found = tune(
        model,
        graph_folder(chosen["recipe"], options),
        trials=chosen.get("trials", MOST),
        timeout=60 * chosen["minutes"],
        config=one.get("start", {}),
        ranges=one.get("ranges", {}),
        split=chosen["split"],
        metrics=[chosen["metric"]],
        training=configure(TrainingConfig, {**chosen.get("training", {}), "metric": chosen["metric"]}),
        notify=lambda trial: print(f"{model} {trial.number}: {trial.value}", file=sys.stderr, flush=True),
    )
    path = options.settings / name / f"{model}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    where = f"graphs/settings/{name}/{model}.yaml"
    said = dataclasses.replace(found, path=Path(where), graph=f"{chosen['recipe']}.graph")
    path.write_text(said.settings_text(), encoding="utf-8")
    log(path.parent / "trials.csv", found)
    print(f"{model}: {found.best.value} of {len(found.trials)} trials in {found.seconds:.0f} s", flush=True)
    return found


def log(path: Path, found: Tuning) -> None:
    """Put a model's trials into the set's log, in place of those that are there."""
    rows = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["model"] != found.model]
    for trial in found.trials:
        value = "" if trial.value is None else f"{trial.value:.5f}"
        settings = json.dumps(trial.settings, default=list)
        own = (trial.number, trial.state, value, trial.best_epoch, trial.epochs, f"{trial.seconds:.0f}", settings)
        rows.append(dict(zip(COLUMNS, (found.model, *own))))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
