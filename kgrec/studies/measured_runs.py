"""What run folders say of their test, read without loading a model, and whether two may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.evaluation.metrics import auc, higher_is_better, metric_names
from kgrec.run_files import RunFiles, read_metrics
from kgrec.training.run_folder import read_table

BEST = "best"  #: as a reference: the run that is best by the first metric


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """What a run folder says of its test."""

    path: Path
    name: str
    model: str
    protocol: str
    graph: str  #: content hash
    test: Mapping[str, float]
    values: pd.DataFrame  #: a column a metric, by user

    @staticmethod
    def read(path: Path) -> MeasuredRun:
        """Raises KgrecError for a folder that is none of a run, incomplete or altered."""
        files = RunFiles.open(path)
        config, metrics = files.config, read_metrics(files)
        for file, document, names in (
            ("config.json", config, ("model", "graph")),
            ("metrics.json", metrics, ("protocol", "test")),
        ):
            for name in names:
                if name not in document:
                    raise KgrecError(f"{path / file} lacks {name!r}, which a comparison needs; train again")
        if "num_facts" in metrics:
            raise KgrecError(
                f"{path} was measured by the ranks of held-out facts, which no user owns, and runs are compared user "
                f"by user; the ranks are in {path / 'ranks.parquet'}"
            )
        values = read_table(files.path("per_user.parquet"), ("user",)).to_pandas(ignore_metadata=True).set_index("user")
        if not values.index.is_unique:
            twice = values.index[values.index.duplicated()].unique()
            raise KgrecError(f"{path}/per_user.parquet has users more than once: {some(twice)}; train again")
        test = metrics["test"]
        return MeasuredRun(path, str(path), config["model"], metrics["protocol"], config["graph"], test, values)

    @property
    def users(self) -> pd.Index:
        """External ids [U]."""
        return self.values.index

    @cached_property
    def predictions(self) -> HeldOutEdges | None:
        """What was predicted of each held-out edge; None where the folder does not hold it."""
        file = self.path / "predictions.parquet"
        if not file.is_file():
            return None
        table = read_table(RunFiles.open(self.path).path(file.name), ("user", "truth", "prediction"))
        users = table["user"].combine_chunks().dictionary_encode()
        known = self.users.get_indexer(pd.Index(users.dictionary.to_pylist(), dtype=object))
        if (known < 0).any():
            raise KgrecError(f"{file} has users that per_user.parquet has not; train again")
        truth, prediction = (table[name].to_numpy() for name in ("truth", "prediction"))
        return HeldOutEdges(known[users.indices.to_numpy()], truth, prediction)


@dataclass(frozen=True, eq=False)
class HeldOutEdges:
    """Held-out edges, one a row."""

    user: np.ndarray  #: int64 [E], row of each in the table of users
    truth: np.ndarray  #: float32 [E]
    prediction: np.ndarray  #: float32 [E], a rating or a probability

    def counts(self, num_users: int) -> np.ndarray:
        """How many edges each user has: int64 [U]."""
        return np.bincount(self.user, minlength=num_users)

    def own_auc(self, num_users: int) -> np.ndarray:
        """Each user's own AUC, float64 [U]; NaN for one whose edges are of one class."""
        users, row = np.unique(self.user, return_inverse=True)
        own = np.full(num_users, np.nan)
        own[users] = auc(*map(torch.tensor, (self.prediction, self.truth, row))).numpy()
        return own


def must_be_comparable(one: MeasuredRun, other: MeasuredRun) -> None:
    if _comparable(one.protocol) != _comparable(other.protocol):
        raise KgrecError(
            f"{other.name} was measured by another protocol: {other.protocol!r}, where {one.name} has "
            f"{one.protocol!r}; train both with the same --split, --candidates, --exclude and --repeats, "
            "and both or none with --refit, and anew where a name does not say how users without history are served"
        )
    if one.graph != other.graph:
        raise KgrecError(
            f"{other.name} was trained on another graph: its hash is {other.graph[:12]}, where {one.name} has "
            f"{one.graph[:12]}; train both on one graph"
        )
    more, fewer = other.users.difference(one.users), one.users.difference(other.users)
    if len(more) or len(fewer):
        apart = [
            f"{what} {len(users):,} users ({some(users, 3)})"
            for what, users in (("has", more), ("lacks", fewer))
            if len(users)
        ]
        raise KgrecError(
            f"{other.name} was measured on other users than {one.name}: it {' and '.join(apart)}; train both again"
        )


def _comparable(protocol: str) -> str:
    """A protocol as all runs have it: those of before repeats were a choice missed them, and did not say so."""
    return protocol.replace(", repeats miss", "")


def metrics_to_compare(runs: Sequence[MeasuredRun], metrics: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The metrics to compare, and what is said of those left out."""
    if metrics is not None:
        metrics = metric_names(metrics)
        for run in runs:
            for name in metrics:
                if name not in run.test:
                    raise unknown_name("metric", name, run.test, f"measured in {run.name}")
        if not metrics:
            raise KgrecError("no metric is named; name one, or leave --metrics out for all")
        return list(dict.fromkeys(metrics)), []
    every = dict.fromkeys(name for run in runs for name in run.test)
    common = [name for name in every if all(name in run.test for run in runs)]
    if not common:
        raise KgrecError(f"the runs have no metric in common; there are: {', '.join(every)}; train with one --metrics")
    notes = [
        f"{name} is left out: {', '.join(run.name for run in runs if name not in run.test)} did not measure it"
        for name in every
        if name not in common
    ]
    return common, notes


def place_of_reference(runs: Sequence[MeasuredRun], wanted: str, metric: str) -> int:
    """The place of the reference among the runs."""
    if wanted == BEST:
        values = [run.test[metric] for run in runs]
        return values.index(max(values) if higher_is_better(metric) else min(values))
    for place, run in enumerate(runs):
        if Path(wanted).resolve() == run.path.resolve():
            return place
    raise unknown_name("reference", wanted, [*(run.name for run in runs), BEST], "among the runs")
