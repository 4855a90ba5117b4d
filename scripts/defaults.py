"""The search that chose the default settings: a few settings a model on real sets, scored on valid alone.

`defaults.py NAME...` runs what scripts/defaults.yaml lists and the log lacks, and adds a row a trial to
docs/defaults.csv; `--table` prints what the log says. `--bed` trains every ranking model as it is by default, and exits
with 1 where one is below popularity on valid.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from benchmark import ROOT, graph_folder  # sets up threads before torch is imported

import torch  # isort: skip

from kgrec import models
from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.metrics import higher_is_better
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.nn import EdgeModelConfig, NextItemConfig
from kgrec.settings import configure
from kgrec.splits.split import Split
from kgrec.training.config import TrainingConfig
from kgrec.training.controls import CONTROLS, WITHOUT_TRAINING
from kgrec.training.job import tasks_of
from kgrec.training.measuring import CHOOSERS, divided_for, evaluated
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

COLUMNS = ("name", "set", "settings", "metric", "valid", "best_epoch", "epochs", "seconds", "stopped")


class TimeIsUp(Exception):
    """A trial has used the CPU seconds that it may."""


@dataclass(frozen=True)
class Trial:
    """One training of the search: a model with settings, on a set."""

    name: str  #: in scripts/defaults.yaml, or the model
    model: str
    task: str
    on: str  #: the set
    settings: Mapping[str, Any]
    split: str | None = None  #: None: that of the set

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells its row in the log from others."""
        return key_of(self.name, self.on, self.settings)

    def at(self, on: str) -> tuple[str, str, str]:
        """The key of the same on another set."""
        return key_of(self.name, on, self.settings)


@dataclass
class Found:
    """What a trial came to, on valid."""

    valid: float | None = None
    best_epoch: float = (
        0  #: of an epoch that time ended, the share is not known: the number of whole ones before and .5
    )
    epochs: int = 0  #: whole ones
    stopped: str = "epochs"  #: what ended it: epochs, patience, or time


def key_of(name: str, on: str, settings: Mapping[str, Any]) -> tuple[str, str, str]:
    return name, on, as_text(settings)


def as_text(settings: Mapping[str, Any]) -> str:
    """Settings as the log has them."""
    return json.dumps(settings, sort_keys=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="entries of scripts/defaults.yaml; none: all of them")
    parser.add_argument("--sets", help="only these sets, with commas between them")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="CPU seconds a training may take; then the best so far"
    )
    parser.add_argument("--table", action="store_true", help="print the tables of the log, and train nothing")
    parser.add_argument(
        "--bed", action="store_true", help="train every ranking model as it is by default; 1 if one fails"
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KGREC_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder of graphs")
    parser.add_argument("--log", type=Path, default=ROOT / "docs/defaults.csv")
    options = parser.parse_args()
    plan = yaml.safe_load((ROOT / "scripts/defaults.yaml").read_text(encoding="utf-8"))
    try:
        if options.table:
            print(tables(plan, read_log(options.log)))
        elif options.bed:
            return bed(plan, options)
        else:
            search(plan, options)
    except KgrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def search(plan: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Run the trials that are listed and not in the log, set by set."""
    done = {(row["name"], row["set"], row["settings"]) for row in read_log(options.log)}
    wanted = options.sets.split(",") if options.sets else list(plan["sets"])
    for on in wanted:
        if on not in plan["sets"]:
            raise unknown_name("set", on, plan["sets"])
        left = [trial for trial in trials_of(plan, options.names) if trial.on == on and trial.key not in done]
        if not left:
            continue
        graph = load(plan["sets"][on], options)
        for trial in left:
            row = run(trial, graph, plan["sets"][on], options.seconds, plan["training"], plan["users"])
            print(json.dumps(row), flush=True)
            write_row(options.log, row)


def trials_of(plan: Mapping[str, Any], names: Sequence[str] = ()) -> Iterator[Trial]:
    """The trials of entries by name, or of all: first the settings before the search, then those that it tries."""
    for name in names or plan["models"]:
        if name not in plan["models"]:
            raise unknown_name("entry", name, plan["models"])
        entry = plan["models"][name]
        model, task, before = entry.get("model", name), entry.get("task", "ranking"), entry["before"]
        tried: list[Mapping[str, Any]] = [{}, *entry.get("tried", [])]
        for on in entry["sets"]:
            for settings in tried:
                if on in settings.get("sets", entry["sets"]):
                    own = {field: value for field, value in settings.items() if field != "sets"}
                    yield Trial(name, model, task, on, {**before, **own}, entry.get("split"))


def load(of_set: Mapping[str, Any], options: argparse.Namespace) -> Graph:
    return Graph.load(graph_folder(of_set["recipe"], options))


def run(
    trial: Trial, graph: Graph, of_set: Mapping[str, Any], seconds: float, training: Mapping[str, Any], most: int
) -> dict[str, Any]:
    """A trial's row of the log. Test is not measured. most: users of valid; of more of them, so many are drawn."""
    spec = of_set["links" if trial.task == "link" else "split"] if trial.split is None else trial.split
    split = _with_few_users(divided_for(graph, trial.task, spec, None), most)
    begun = time.process_time()
    found = trained(trial, split, seconds, training)
    return {
        "name": trial.name,
        "set": trial.on,
        "settings": trial.key[2],
        "metric": CHOOSERS[trial.task],
        "valid": "" if found.valid is None else round(found.valid, 5),
        "best_epoch": found.best_epoch,
        "epochs": found.epochs,
        "seconds": round(time.process_time() - begun, 1),
        "stopped": found.stopped,
    }


def _with_few_users(split: Split, most: int) -> Split:
    """The same with at most so many users in valid, drawn by a seed of their own."""
    if split.valid is None or split.whole is not None:
        return split
    users = split.valid.head.unique()
    order = torch.randperm(len(users), generator=torch.Generator().manual_seed(0))
    return dataclasses.replace(split, valid=split.valid.where(torch.isin(split.valid.head, users[order[:most]])))


def trained(trial: Trial, split: Split, seconds: float, training: Mapping[str, Any]) -> Found:
    """Train on train as `kgrec train` does, choose the epoch on valid, and stop when the time is up."""
    own, config = dict(trial.settings), configure(TrainingConfig, {"device": "cpu", **training})
    if trial.task in tasks_of(trial.model) and len(tasks_of(trial.model)) > 1:
        own["task"] = trial.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = models.build(trial.model, split.train, own).eval()
    found, metric = Found(), CHOOSERS[trial.task]

    def measure(epoch: float) -> bool:
        """Whether it is the best so far."""
        value = on_valid(model, split, metric)
        better = found.valid is None or (value > found.valid) == higher_is_better(metric)
        if better and value != found.valid:
            found.valid, found.best_epoch = value, epoch
            return True
        return False

    trainer = Trainer(model, split.train, config, make_fabric(config))
    if not trainer.objectives:
        measure(0)
        return found
    try:
        with cpu_seconds(seconds):
            _follow(trainer, config, found, measure)
    except TimeIsUp:
        found.stopped = "time"
    except KgrecError as error:
        found.stopped = f"error: {error}"
    if found.stopped == "time" and found.valid is None:  # before the first epoch's end
        model.eval()
        with torch.no_grad():
            model.refresh()
        measure(found.epochs + 0.5)
    return found


def _follow(trainer: Trainer, config: TrainingConfig, found: Found, measure: Callable[[float], bool]) -> None:
    """Epochs until there are enough, or until valid has no longer risen for as long as `patience` says."""
    waited = 0
    for epoch in trainer.epochs():
        found.epochs = epoch.number
        last = epoch.number == config.epochs
        if epoch.number >= trainer.last_phase and (last or epoch.number % config.validate_every == 0):
            waited = 0 if measure(epoch.number) else waited + 1
            if waited >= config.patience:
                found.stopped = "patience"
                return


def on_valid(model: Recommender, split: Split, metric: str) -> float:
    assert split.valid is not None
    return float(evaluated(model, split, split.train, split.valid, [metric]).metrics[metric])


@contextmanager
def cpu_seconds(number: float) -> Iterator[None]:
    """Raise TimeIsUp once this process has used so many CPU seconds in the block."""

    def up(*_: object) -> None:
        raise TimeIsUp

    former = signal.signal(signal.SIGPROF, up)
    signal.setitimer(signal.ITIMER_PROF, number)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)


# ---------------------------------------------------------------------- the log


def read_log(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_row(path: Path, row: Mapping[str, Any]) -> None:
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def tables(plan: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> str:
    """Two tables in Markdown: of each model the defaults before and now beside its control, and all that was tried."""
    value = {(row["name"], row["set"], row["settings"]): float(row["valid"]) for row in rows if row["valid"]}
    main_rows, tried_rows = [], []
    for name, entry in plan["models"].items():
        if not entry["before"]:
            continue
        trials = list(trials_of(plan, [name]))
        now = defaults_now(trials[0])
        control = control_of(entry, trials[0].task)
        metric, by_settings = CHOOSERS[trials[0].task], shares(trials, value)
        for on in entry["sets"]:
            found = (value.get((control, on, "{}")), value.get(trials[0].at(on)), value.get(key_of(name, on, now)))
            main_rows.append(f"| {name} | {on} | {metric} | {' | '.join(map(shown, found))} |")
        for settings, (mean, least, number) in by_settings.items():
            words = ", ".join(f"{field} {value}" for field, value in json.loads(settings).items())
            mark = " (now)" if settings == as_text(now) else " (before)" if settings == trials[0].key[2] else ""
            tried_rows.append(f"| {name} | {words}{mark} | {mean:.3f} | {least:.3f} | {number} |")
    heads = ["| model | set | metric | control | before | now |", "|---|---|---|---|---|---|"]
    tried_heads = ["| model | settings | mean | least | sets |", "|---|---|---|---|---|"]
    return "\n".join([*heads, *main_rows, "", *tried_heads, *tried_rows])


def shares(trials: Sequence[Trial], value: Mapping[tuple[str, str, str], float]) -> dict[str, tuple[float, float, int]]:
    """Of each settings what share of the best value on a set they have: the mean over sets, the least, and how many."""
    less = not higher_is_better(CHOOSERS[trials[0].task])
    best: dict[str, float] = {}
    for trial in trials:
        if trial.key in value:
            here = value[trial.key]
            best[trial.on] = (min if less else max)(best.get(trial.on, here), here)
    found: dict[str, list[float]] = {}
    for trial in trials:
        if trial.key in value:
            here = value[trial.key]
            found.setdefault(trial.key[2], []).append(best[trial.on] / here if less else here / best[trial.on])
    return {settings: (sum(own) / len(own), min(own), len(own)) for settings, own in found.items()}


def defaults_now(trial: Trial) -> dict[str, Any]:
    """What the fields that a trial sets are by default today."""
    kind: Any = models.find(trial.model).Config
    config = configure(kind, {"task": trial.task} if issubclass(kind, EdgeModelConfig) else {})
    fields = dataclasses.asdict(config)
    by_task = {"l2": "l2_of_task", "biases": "has_biases"}  # what None stands for
    fields |= {name: getattr(config, other) for name, other in by_task.items() if fields.get(name, 0) is None}
    return {name: fields[name] for name in trial.settings}


def control_of(entry: Mapping[str, Any], task: str) -> str:
    """The entry of the plan that a model's values are shown beside."""
    return CONTROLS[task] + ("-next" if entry.get("split") else "")


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


# ---------------------------------------------------------------------- the test bed


def bed(plan: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Every trained ranking model with no setting at all, beside popularity. Returns 1 where one is below it."""
    below = 0
    for on in options.sets.split(",") if options.sets else plan["sets"]:
        of_set, controls = plan["sets"][on], dict[str | None, float]()
        trials = list(bed_trials(plan, on, options.names))
        graph = load(of_set, options) if trials else None
        for trial in trials:
            assert graph is not None
            if trial.split not in controls:
                control = Trial("popularity", "popularity", "ranking", on, {}, trial.split)
                controls[trial.split] = run(control, graph, of_set, options.seconds, {}, plan["users"])["valid"]
            begun = time.perf_counter()
            row = run(trial, graph, of_set, options.seconds, {}, plan["users"])
            bad = row["valid"] == "" or row["valid"] < controls[trial.split]
            below += bad
            print(
                f"| {trial.name} | {on} | {row['valid']} | {controls[trial.split]} | {row['best_epoch']} of "
                f"{row['epochs']} ({row['stopped']}) | {time.perf_counter() - begun:.0f} s |{' BELOW' * bad}",
                flush=True,
            )
    print(f"{below} below popularity")
    return 1 if below else 0


def bed_trials(plan: Mapping[str, Any], on: str, names: Sequence[str]) -> Iterator[Trial]:
    """A trial of each model that ranks and learns by epochs, if the set is one of those for its kind."""
    untrained = {"popularity", *WITHOUT_TRAINING}
    for name in names or [one for one in models.working() if one not in untrained and "ranking" in tasks_of(one)]:
        of_kind = plan["bed"]["next" if issubclass(models.find(name).Config, NextItemConfig) else "edges"]
        if on in of_kind["sets"]:
            yield Trial(name, name, "ranking", on, {}, of_kind.get("split"))


if __name__ == "__main__":
    sys.exit(main())
