"""The test results in run folders, read without loading a model, and whether two runs may be compared."""

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

BEST = "best"  #: name of a reference: the run that is best by the first metric


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """The test results of a run folder."""

    path: Path
    name: str
    model: str
    protocol: str
    graph: str  #: content hash of the graph
    test: Mapping[str, float]
    values: pd.DataFrame  #: values by user (the index), one column for each metric

    @staticmethod
    def read(path: Path) -> MeasuredRun:
        """Read a run folder. Raises KgrecError if it is no run folder, or incomplete, or altered."""
        files = RunFiles.open(path)
        config, metrics = files.config, read_metrics(files)
        for file, document, names in (
            ("config.json", config, ("model", "graph")),
            ("metrics.json", metrics, ("protocol", "test")),
        ):
            for name in names:
                if name not in document:
                    raise KgrecError(f"{path / file} has no {name!r}, which a comparison needs; train again")
        if "num_facts" in metrics:
            raise KgrecError(
                f"{path} is a run of task link and has no results by user, but runs are compared user by user; compare "
                f"runs of rankings, ratings or clicks, or use the ranks in {path / 'ranks.parquet'}"
            )
        values = read_table(files.path("per_user.parquet"), ("user",)).to_pandas(ignore_metadata=True).set_index("user")
        if not values.index.is_unique:
            twice = values.index[values.index.duplicated()].unique()
            raise KgrecError(f"{path}/per_user.parquet has several rows for {some(twice)}; train again")
        test = metrics["test"]
        return MeasuredRun(path, str(path), config["model"], metrics["protocol"], config["graph"], test, values)

    @property
    def users(self) -> pd.Index:
        """External ids [U]."""
        return self.values.index

    @cached_property
    def predictions(self) -> HeldOutEdges | None:
        """The prediction of each held-out edge; None if the folder has none."""
        file = self.path / "predictions.parquet"
        if not file.is_file():
            return None
        table = read_table(RunFiles.open(self.path).path(file.name), ("user", "truth", "prediction"))
        users = table["user"].combine_chunks().dictionary_encode()
        known = self.users.get_indexer(pd.Index(users.dictionary.to_pylist(), dtype=object))
        if (known < 0).any():
            raise KgrecError(f"{file} has users who are not in per_user.parquet; train again")
        truth, prediction = (table[name].to_numpy() for name in ("truth", "prediction"))
        return HeldOutEdges(known[users.indices.to_numpy()], truth, prediction)


@dataclass(frozen=True, eq=False)
class HeldOutEdges:
    """Held-out edges with their predictions."""

    user: np.ndarray  #: int64 [E], the user of each edge, as a row of the table of users
    truth: np.ndarray  #: float32 [E]
    prediction: np.ndarray  #: float32 [E], a rating or a probability

    def counts(self, num_users: int) -> np.ndarray:
        """Number of edges of each user: int64 [U]."""
        return np.bincount(self.user, minlength=num_users)

    def own_auc(self, num_users: int) -> np.ndarray:
        """The AUC of each user, float64 [U]; NaN for a user whose edges are all of one class."""
        users, row = np.unique(self.user, return_inverse=True)
        own = np.full(num_users, np.nan)
        own[users] = auc(*map(torch.tensor, (self.prediction, self.truth, row))).numpy()
        return own


def must_be_comparable(one: MeasuredRun, other: MeasuredRun) -> None:
    if _comparable(one.protocol) != _comparable(other.protocol):
        raise KgrecError(
            f"{other.name} was measured with another protocol than {one.name}: {other.protocol!r}, not "
            f"{one.protocol!r}; train both with the same --split, --candidates, --exclude, --repeats and --refit, and "
            "train runs of an older version again"
        )
    if one.graph != other.graph:
        raise KgrecError(
            f"{other.name} and {one.name} were trained on different graphs (hashes {other.graph[:12]} and "
            f"{one.graph[:12]}); train both on the same graph"
        )
    more, fewer = other.users.difference(one.users), one.users.difference(other.users)
    if len(more) or len(fewer):
        apart = [
            f"{what} {len(users):,} user{'s' * (len(users) > 1)} ({some(users, 3)})"
            for what, users in (("also has", more), ("does not have", fewer))
            if len(users)
        ]
        raise KgrecError(
            f"{other.name} was measured on other users than {one.name}: it {' and '.join(apart)}; train both again"
        )


def _comparable(protocol: str) -> str:
    """A protocol's name without `repeats miss`, which runs of older versions do not name."""
    return protocol.replace(", repeats miss", "")


def metrics_to_compare(runs: Sequence[MeasuredRun], metrics: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The metrics to compare, and a note about each one that is left out."""
    if metrics is not None:
        metrics = metric_names(metrics)
        for run in runs:
            for name in metrics:
                if name not in run.test:
                    raise unknown_name("metric", name, run.test, f"measured in {run.name}")
        if not metrics:
            raise KgrecError("--metrics names no metric; name one, or leave --metrics out to compare all")
        return list(dict.fromkeys(metrics)), []
    every = dict.fromkeys(name for run in runs for name in run.test)
    common = [name for name in every if all(name in run.test for run in runs)]
    if not common:
        raise KgrecError(
            f"the runs have no metric in common (they have {', '.join(every)}); train them with the same --metrics"
        )
    notes = [
        f"{name} is left out: {', '.join(run.name for run in runs if name not in run.test)} did not measure it"
        for name in every
        if name not in common
    ]
    return common, notes


def place_of_reference(runs: Sequence[MeasuredRun], wanted: str, metric: str) -> int:
    """The index of the reference among the runs."""
    if wanted == BEST:
        values = [run.test[metric] for run in runs]
        return values.index(max(values) if higher_is_better(metric) else min(values))
    for place, run in enumerate(runs):
        if Path(wanted).resolve() == run.path.resolve():
            return place
    raise unknown_name("reference", wanted, [*(run.name for run in runs), BEST], "among the runs")
