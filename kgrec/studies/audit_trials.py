"""The trials of an audit: one model trained on one arm's graph, with one split and one seed, and measured user by
user."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.evaluation.evaluation import Evaluation
from kgrec.files import whole
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.splits.spec import SPECS, Spec
from kgrec.studies.fact_arms import Arm, FactArms
from kgrec.training.job import TrainingJob, tasks_of
from kgrec.training.measuring import divided_for
from kgrec.training.purposes import settings_for
from kgrec.training.run_folder import read_table
from kgrec.training.session import Report, run_job

Items = Literal["warm", "cold"]
#: what is measured: lists of warm items; of cold items among themselves; of cold items among all
SCOPES: Mapping[Items, tuple[str, ...]] = {"warm": ("warm",), "cold": ("cold", "cold among all")}
LEAST_ITEMS = 10  #: items that the cold split must hold out for test, and for validation if it has one
LONGEST = 100  #: characters of a trial's name that are in its file's name


@dataclass(frozen=True)
class Trial:
    """What is trained and measured once."""

    items: Items  #: which split
    arm: Arm
    seed: int

    @property
    def file(self) -> str:
        """The name of its file."""
        name = f"{self.items}-{self.seed}-{self.arm.name.replace(' ', '-')}"
        return f"{name if len(name) <= LONGEST else name[:80] + sha256(name.encode()).hexdigest()[:16]}.parquet"


@dataclass(frozen=True)
class TrialResult:
    """The results of a trial."""

    items: Items
    arm: str
    seed: int
    protocol: str
    test: dict[str, dict[str, float]]  #: by scope and metric
    users: dict[str, np.ndarray]  #: by scope: external ids, object [U]
    values: dict[str, dict[str, np.ndarray]]  #: by scope and metric: float64 [U], in the order of `users`
    counts: dict[str, dict[str, float]]  #: by scope: numbers of users, items, pairs and candidates
    seconds: float  #: how long it took
    epoch: int  #: the epoch that validation chose; 0 for a model without epochs

    def write(self, path: Path) -> None:
        """Write it as one Parquet file, whole or not at all."""
        tables = []
        for scope, users in self.users.items():
            columns = {name: pa.array(values) for name, values in self.values[scope].items()}
            scopes = pa.array([scope] * len(users))
            tables.append(pa.table({"scope": scopes, "user": pa.array(users, pa.string()), **columns}))
        about = {name: getattr(self, name) for name in _ABOUT}
        table = pa.concat_tables(tables).replace_schema_metadata({"audit": json.dumps(about)})
        with whole(path, True) as draft:
            pq.write_table(table, draft)

    @staticmethod
    def read(path: Path) -> TrialResult:
        """Read what `write` wrote. Raises KgrecError if the file was altered."""
        table = read_table(path, ("scope", "user"))
        try:
            about = json.loads((table.schema.metadata or {})[b"audit"])
            frame = table.to_pandas(ignore_metadata=True)
            found = {str(scope): part for scope, part in frame.groupby("scope", sort=False)}
            names = [name for name in table.column_names if name not in ("scope", "user")]
            values = {scope: {name: part[name].to_numpy(np.float64) for name in names} for scope, part in found.items()}
            users = {scope: part["user"].to_numpy() for scope, part in found.items()}
            return TrialResult(**{name: about[name] for name in _ABOUT}, users=users, values=values)
        except (KeyError, ValueError, TypeError) as error:
            raise KgrecError(f"{path} was altered ({error!r}); remove it, and run the audit again") from error


_ABOUT = ("items", "arm", "seed", "protocol", "test", "counts", "seconds", "epoch")


@dataclass(frozen=True, eq=False)
class Laboratory:
    """What all trials of an audit share."""

    job: TrainingJob
    arms: FactArms
    splits: Mapping[Items, str]  #: the SPEC of each split
    metrics: tuple[str, ...]

    def run(self, trial: Trial, report: Report | None = None) -> TrialResult:
        """Train and measure. Raises what `kgrec.train` raises, with the trial's name."""
        begun = time.perf_counter()
        job = replace(
            self.job,
            split=seeded(self.splits[trial.items], trial.seed),
            training=replace(self.job.training, seed=trial.seed),
            metrics=self.metrics,
            out=None,
        )
        try:
            run = run_job(job, self.arms.graph_of(trial.arm, trial.seed), report)
        except KgrecError as error:
            raise KgrecError(f"arm {trial.arm.name!r}, {trial.items} items, seed {trial.seed}: {error}") from error
        test = run.evaluation
        assert isinstance(test, Evaluation)
        places = {"warm": "warm" if "warm" in test.by_scope else "all", "cold": "cold", "cold among all": "all"}
        tables = {scope: test.by_scope[places[scope]] for scope in SCOPES[trial.items]}
        means = {"all": test.metrics, "warm": test.warm, "cold": test.cold}
        return TrialResult(
            trial.items,
            trial.arm.name,
            trial.seed,
            str(run.metrics["protocol"]),
            {scope: {name: means[places[scope]][name] for name in self.metrics} for scope in tables},
            {scope: np.array(table["user"].to_pylist(), dtype=object) for scope, table in tables.items()},
            {
                scope: {name: table[name].to_numpy() for name in self.metrics if name in table.column_names}
                for scope, table in tables.items()
            },
            {scope: dict(test.counts[places[scope]]) for scope in tables},
            time.perf_counter() - begun,
            int(run.metrics["best_epoch"]),
        )

    def must_hold_out_enough(self, seeds: Sequence[int]) -> None:
        """Raise KgrecError if a cold split holds out too few items, or a split is impossible."""
        graph, job = self.arms.graph, self.job
        chosen = job.candidates, job.repeats, job.exclude
        for seed in seeds:
            spec = seeded(self.splits["cold"], seed)
            found = divided_for(graph, job.trained_for, spec, *chosen, all_edges=job.all_edges)
            for what, part in (("test", found.test), ("valid", found.valid)):
                if part is None and "valid" not in Spec(spec).options:
                    continue
                number = 0 if part is None else len(part.tail.unique())
                if number < LEAST_ITEMS:
                    raise KgrecError(
                        f"split {spec!r} holds out {number} item{'s' * (number != 1)} with interactions for {what} "
                        f"({len(graph.range(graph.target[2])):,} items in all), too few to say anything; use a larger "
                        "share, such as --cold cold_items:0.3"
                    )
            if Spec(spec).spec == Spec(self.splits["cold"]).spec:
                break  # all seeds have the same split
        divided_for(graph, job.trained_for, seeded(self.splits["warm"], seeds[0]), *chosen, all_edges=job.all_edges)


def seeded(spec: str, seed: int) -> str:
    """A SPEC that draws by this seed, if it draws at all and does not name a seed itself.

    >>> seeded("cold_items:0.1", 3), seeded("ratio:0.2,seed=7", 3), seeded("last_n:1", 3)
    ('cold_items:0.1,seed=3', 'ratio:0.2,seed=7', 'last_n:1')
    """
    words = Spec(spec)
    is_share = words.kind not in SPECS and not words.options.get("valid", "0").isdecimal()
    if "seed" in words.options or not (words.kind in ("ratio", "cold_items") or is_share):
        return spec
    return f"{spec},seed={seed}"


def must_read_facts(job: TrainingJob, graph: Graph) -> None:
    """Raise KgrecError if a model with these settings does not learn from facts. To find out, it is built for one node
    of each type."""
    few = {name: replace(node, count=min(node.count, 1)) for name, node in graph.schema.nodes.items()}
    of_purpose = {} if job.purpose is None else settings_for(job.purpose, job.model, graph)
    with torch.random.fork_rng(devices=[]):
        built = models.build(job.model, Graph.empty(replace(graph.schema, nodes=few)), {**of_purpose, **job.fields})
    if any(_reads_facts(module) for module in built.modules() if isinstance(module, Recommender)):
        return
    able, by_setting = list[str](), dict[str, str]()
    for name in models.working():
        reads = models.find(name).reads_facts
        if "ranking" in tasks_of(name) and reads:
            able.append(name if reads is True else f"{name} with --set {reads}=1")
            by_setting |= {name: str(reads)} if reads is not True else {}
    if job.model in by_setting:
        raise KgrecError(
            f"with these settings, model {job.model!r} does not learn from facts; add --set {by_setting[job.model]}=1"
        )
    raise KgrecError(
        f"model {job.model!r} does not learn from the facts of a graph, so an audit of them says nothing; models that "
        f"do: {', '.join(able)}. A model of your own says so by `reads_facts = True`"
    )


def _reads_facts(model: Recommender) -> bool:
    reads = model.reads_facts
    return reads if isinstance(reads, bool) else bool(getattr(model.config, reads))
