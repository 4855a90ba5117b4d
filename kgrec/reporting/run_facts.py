"""What a run folder says of itself: the facts that reports and model cards are written from."""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kgrec.errors import KgrecError
from kgrec.json_files import JsonPlace, read_object
from kgrec.run_files import RunFiles, read_metrics
from kgrec.studies.measured_runs import MeasuredRun
from kgrec.studies.resampled_users import UserSample, draws_of_users, percentile_interval
from kgrec.training.checkpoint import CHECKPOINT_FOLDER
from kgrec.training.config import OF_THE_MACHINE

RESAMPLES = 1000  #: bootstrap resamples of the users for intervals of metrics
CELLS = 1 << 22  #: weights of users in memory at once
REMEDY = "train again"
CHECKPOINT = ".checkpoint"  #: what the name of a checkpoint ends in


@dataclass(frozen=True, eq=False)
class RunFacts:
    """A run folder as a report reads it. What is not there is empty, and `notes` says why."""

    path: Path
    label: str  #: what the run is called in charts
    model: str
    config: Mapping[str, Any]  #: config.json
    metrics: Mapping[str, Any]  #: metrics.json; of a run that was stopped: `valid` so far
    schema: Mapping[str, Any]  #: schema.json
    log: Sequence[Mapping[str, str]]  #: the rows of log.csv
    finished: bool = True  #: False for a training that was stopped, of which there is only a checkpoint
    measured: MeasuredRun | None = None  #: test results by user; None if there are none
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)  #: 95 %, by metric of test
    notes: Sequence[str] = ()

    @property
    def graph(self) -> str:
        """The content hash of the graph that it was trained on."""
        return str(self.config.get("graph", ""))

    @property
    def protocol(self) -> str:
        return str(self.metrics.get("protocol", ""))

    @property
    def test(self) -> Mapping[str, float]:
        found = self.metrics.get("test")
        return found if isinstance(found, Mapping) else {}

    @property
    def main_metric(self) -> str | None:
        """The metric that charts by user show: ndcg@10 if it was measured, else the first that users have."""
        names = [] if self.measured is None else [str(name) for name in self.measured.values]
        return "ndcg@10" if "ndcg@10" in names else names[0] if names else None


def read_run(path: Path, label: str) -> RunFacts:
    """Read a run folder, or the checkpoint of a training that was stopped. Raises KgrecError for anything else."""
    stopped = path if path.name.endswith(CHECKPOINT) else path.with_name(path.name + CHECKPOINT)
    if not (path / "config.json").is_file() and (stopped / CHECKPOINT_FOLDER.document).is_file():
        return _of_checkpoint(stopped, label)
    files = RunFiles.open(path)
    metrics, notes = read_metrics(files), list[str]()
    measured, intervals = None, dict[str, tuple[float, float]]()
    if "num_facts" in metrics:
        notes.append("This run was trained for task link: its test is of facts, so there is nothing by user.")
    elif not files.holds("per_user.parquet"):
        notes.append(
            "The folder has no per_user.parquet, so there are no intervals and nothing by user; train the model again, "
            "or keep the whole folder."
        )
    else:
        measured = MeasuredRun.read(path)
        intervals = _intervals(measured)
    log = list(csv.DictReader(io.StringIO(files.path("log.csv").read_text("utf-8")))) if files.holds("log.csv") else []
    schema = files.json("schema.json") if files.format > 1 or (path / "schema.json").is_file() else {}
    return RunFacts(
        path, label, str(files.config["model"]), files.config, metrics, schema, log, True, measured, intervals, notes
    )


def _of_checkpoint(folder: Path, label: str) -> RunFacts:
    """A training that was stopped: what its checkpoint says."""
    try:
        document = read_object(folder / CHECKPOINT_FOLDER.document, REMEDY)
    except OSError as error:
        raise KgrecError(f"{folder} cannot be read: {error}; train again") from error
    place = JsonPlace(folder / CHECKPOINT_FOLDER.document, REMEDY)
    job, state = place.mapping(document, "job"), place.mapping(document, "state")
    for name in ("config", "training"):
        place.at("job").mapping(job, name, {})
    epoch = place.at("state").whole(state, "epoch", 0)
    rows = [row for row in state.get("rows") or () if isinstance(row, dict)]
    valid = place.at("state").mapping(state, "valid", {})
    numbers = {name: value for name, value in valid.items() if isinstance(value, int | float)}
    log = [{str(key): str(value) for key, value in row.items()} for row in rows]
    out = folder.with_name(folder.name.removesuffix(CHECKPOINT))
    note = (
        f"This training was stopped after epoch {epoch} and was never measured on test. Give its command, kgrec train, "
        "again with --resume to finish it."
    )
    metrics = {"valid": numbers, "best_epoch": state.get("best_epoch", 0), "epochs": epoch}
    return RunFacts(out, label, str(job.get("model", "")), job, metrics, {}, log, False, notes=[note])


def _intervals(run: MeasuredRun) -> dict[str, tuple[float, float]]:
    """95 % intervals of the metrics of test: percentiles over resampled users."""
    names = [name for name in run.test if name in run.values or name in ("auc", "ece")]
    if not names:
        return {}
    sample = UserSample(run, names)
    draws = draws_of_users(len(run.users), RESAMPLES, 0, max(1, CELLS // max(1, sample.width)))
    drawn = np.concatenate([sample.under(times) for times in draws])
    found = {name: percentile_interval(drawn[:, column], 0.95) for column, name in enumerate(names)}
    return {name: interval for name, interval in found.items() if interval is not None}


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Short names that tell runs apart: the folder's name without .run, or the path where two are called alike.

    >>> labels_of([Path("runs/mf.run"), Path("runs/ease.run")]), labels_of([Path("a/mf.run"), Path("b/mf.run")])
    (['mf', 'ease'], ['a/mf.run', 'b/mf.run'])
    """
    short = [path.name.removesuffix(CHECKPOINT).removesuffix(".run") for path in paths]
    return [one if short.count(one) == 1 and one else str(path) for one, path in zip(short, paths)]


def curves(run: RunFacts) -> dict[str, list[tuple[float, float]]]:
    """The numbers in log.csv by column, as (epoch, value); a refit is left out."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in run.log:
        if row.get("phase", "train") not in ("train", None):
            continue
        epoch = as_number(row.get("epoch"))
        for name, text in row.items():
            value = as_number(text)
            if epoch is not None and value is not None and name not in ("phase", "epoch", None):
                found.setdefault(name, []).append((epoch, value))
    return found


def as_number(text: object) -> float | None:
    """A text as a finite number, else None."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def by_activity(values: pd.Series, activity: pd.Series, parts: int = 4) -> list[tuple[str, int, float, float, float]]:
    """A metric by how many training edges users have: for each part its name, number of users, mean and the ends of its
    95 % interval, mean -/+ 1.96 s / sqrt(n). values, activity: by user id. Parts are cut at quantiles of activity."""
    values = values.dropna()
    own = activity.reindex(values.index).fillna(0)
    if not len(own):
        return []
    edges = np.unique(np.quantile(own, np.linspace(0, 1, parts + 1), method="higher"))
    place = np.clip(np.searchsorted(edges[1:], own.to_numpy(), side="left"), 0, max(0, len(edges) - 2))
    found = []
    for part in np.unique(place):
        inside = values[place == part]
        numbers = own[place == part]
        low, high = int(numbers.min()), int(numbers.max())
        name = f"{low:,} to {high:,}" if low < high else f"{low:,}"
        mean = float(inside.mean())
        half = 1.959964 * float(inside.std()) / len(inside) ** 0.5 if len(inside) > 1 else math.nan
        found.append((name, len(inside), mean, mean - half, mean + half))
    return found


def repeated_by(run: RunFacts) -> list[str]:
    """The commands that repeat a run: build is left to the reader, as the folder does not know where its graph is."""
    config, words = run.config, ["kgrec", "train", run.model, "GRAPH"]
    training = dict(config.get("training") or {})
    for option, key in (("--split", "split"), ("--candidates", "candidates")):
        if config.get(key):
            words += [option, str(config[key])]
    if config.get("repeats") not in (None, "miss"):
        words += ["--repeats", str(config["repeats"])]
    if config.get("now") not in (None, "unknown"):
        words += ["--now", str(config["now"])]
    if config.get("exclude"):
        words += ["--exclude", ",".join(map(str, config["exclude"]))]
    settings = config.get("config") or {}
    if settings.get("task") not in (None, "ranking"):
        words += ["--task", str(settings["task"])]
    for option, key in (
        ("--refit", "refit"),
        ("--all-edges", "all_edges"),
        ("--facts-only", "facts_only"),
        ("--lean", "lean"),
    ):
        if config.get(key) is True:
            words.append(option)
    if training.get("seed"):
        words += ["--seed", str(training["seed"])]
    names = list(run.test) or list(run.metrics.get("valid") or {})
    if names:
        words += ["--metrics", ",".join(names)]
    out = shlex.quote(str(run.path))
    line = " ".join(word if word == "GRAPH" else shlex.quote(word) for word in words)
    return [
        f"{line} --config {shlex.quote(run.path.name.removesuffix('.run'))}.yaml --out {out}",
        f"kgrec evaluate {out} GRAPH",
    ]


def settings_yaml(run: RunFacts) -> str:
    """The settings of a run as the file that --config reads."""
    import yaml

    trained = dict(run.config.get("training") or {})
    training = {k: v for k, v in trained.items() if v is not None and k not in OF_THE_MACHINE}
    wanted = {k: v for k, v in dict(run.config.get("config") or {}).items() if k != "task" and v is not None}
    return str(yaml.safe_dump({**wanted, "training": training}, sort_keys=False, allow_unicode=True))
