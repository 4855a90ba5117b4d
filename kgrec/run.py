"""train(): a model on a graph, from the split to the run folder. Run: a trained model with its ids, to be asked."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import resource
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import numpy as np
import torch
from torch import Tensor

from kgrec import models
from kgrec.artifact import (
    Artifact,
    load_artifact,
    load_tensors,
    read_json,
    read_schema,
    save_artifact,
    save_tensors,
    versions,
)
from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation import Evaluation, check_metrics, default_metrics, evaluate
from kgrec.files import refuse_existing, whole
from kgrec.graph import Candidates, Graph
from kgrec.linking import LinkEvaluation, check_link_metrics, evaluate_links
from kgrec.metrics import higher_is_better, parse
from kgrec.model import Recommender
from kgrec.nn import LinkModel
from kgrec.settings import configure
from kgrec.split import Split, spec_of_parts, spec_of_test, split_facts
from kgrec.split import split as split_graph
from kgrec.training import Epoch, Trainer, TrainingConfig, choose_device, make_fabric
from kgrec.transfer import initialise

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: The metric that chooses the epoch where none is named, by task
CHOOSERS: Mapping[str, str] = {"ranking": "ndcg@10", "rating": "rmse", "ctr": "auc", "link": "mrr"}

Report = Callable[[Epoch, Mapping[str, float]], None]  #: called after each epoch with the validation metrics, if any


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model, the ids that it knows, and what was measured."""

    name: str  #: the model's name
    model: Recommender  #: in eval mode
    graph: Graph  #: types, ids, labels and the known target edges; no facts where it was loaded from a folder
    metrics: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    split: str | None = None  #: the SPEC that it was trained by
    candidates: str | None = None  #: the list that it was measured on

    @staticmethod
    def load(path: str | Path, *, trust: str | None = None, device: str = "cpu") -> Run:
        """Read a run folder. A model that is not built in is imported only where `trust` names its dotted path again.

        Raises KgrecError where the folder is incomplete, altered, holds a pickle, or names a foreign model.
        """
        artifact = load_artifact(path)
        models.find(artifact.model, builtin_only=artifact.model != trust)
        schema = read_schema(Path(path))
        model = models.build(artifact.model, Graph.empty(schema), dict(artifact.config))
        try:
            model.load_state_dict(dict(artifact.weights))
        except RuntimeError as error:
            raise KgrecError(f"{path}: the weights do not fit the model; the folder is altered: {error}") from error
        place = choose_device(device)
        split, candidates = artifact.provenance.get("split"), artifact.provenance.get("candidates")
        known = artifact.graph.to(place)
        return Run(artifact.model, model.eval().to(place), known, artifact.metrics, Path(path), split, candidates)


def measure(
    run: Run,
    graph: Graph | str | Path,
    *,
    split: str | None = None,
    candidates: str | None = None,
    metrics: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measure a run on the test edges of a graph with the same nodes, or on its held-out facts where it was trained for
    task `link`. split, candidates: else those of the run.

    Returns `model`, `protocol`, `test`, `test_cold` and `test_warm` where there are cold items, `num_users` (of facts
    `num_facts`) and `evaluation_seconds`. Raises KgrecError where the graph's ids are not the run's.
    """
    graph = graph if isinstance(graph, Graph) else Graph.load(graph)
    for node_type, vocabulary in run.graph.vocabulary.items():
        there = graph.vocabulary.get(node_type)
        if there is None or len(there) != len(vocabulary):
            found = f"{len(there):,}" if there is not None else "none"
            raise KgrecError(f"the run knows {len(vocabulary):,} {node_type} ids, the graph has {found}; train again")
        if not there.id_array.equals(vocabulary.id_array):
            raise KgrecError(f"the graph's {node_type} ids are not the run's; train again on this graph")
    place = next(iter(run.model.state_dict().values())).device
    lists = candidates or (None if split else run.candidates)
    divided = _divided(graph.to(place), run.model.task, split or run.split, lists)
    names = metrics or default_metrics(run.model.task)
    test = _evaluated(run.model, divided, divided.train_valid, divided.test, names, divided.candidates)
    return {"model": run.name, "protocol": divided.protocol, **_measured(test), "evaluation_seconds": test.seconds}


def _divided(graph: Graph, task: str, spec: str | None, candidates: str | None) -> Split:
    """The split of a task: of facts, or of interactions."""
    if task != "link":
        return split_graph(graph, spec, candidates)
    if candidates not in (None, "all"):
        raise KgrecError(f"candidates {candidates!r} are of users; held-out facts are ranked among all nodes")
    return split_facts(graph, spec)


def _evaluated(
    model: Recommender,
    divided: Split,
    known: Graph,
    held: Graph,
    metrics: Sequence[str],
    candidates: Candidates | None = None,
) -> Evaluation | LinkEvaluation:
    """A model measured on what a split holds out."""
    if divided.whole is None:
        return evaluate(model, known, held, metrics=metrics, candidates=candidates)
    assert isinstance(model, LinkModel)
    return evaluate_links(model, divided.whole, held, metrics=metrics)


def _measured(test: Evaluation | LinkEvaluation) -> dict[str, Any]:
    if isinstance(test, LinkEvaluation):
        return {"test": dict(test.metrics), "num_facts": test.num_facts}
    apart = {"test_cold": dict(test.cold), "test_warm": dict(test.warm)} if test.cold else {}
    return {"test": dict(test.metrics), **apart, "num_users": test.num_users}


def tasks_of(model: str) -> tuple[str, ...]:
    """The tasks that a model can be trained for: the values of its field `task`, or the one that it has."""
    kind = models.find(model)
    return get_args(get_type_hints(kind.Config).get("task")) or (kind.task,)


def _for_task(model: str, task: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The model's fields with its `task`. Raises KgrecError where it has another there, or has no such task."""
    if task not in tasks_of(model):
        able = [name for name in models.names() if task in tasks_of(name)]
        if not able:
            known = dict.fromkeys(task for name in models.names() for task in tasks_of(name))
            raise unknown_name("task", task, known)
        raise KgrecError(
            f"model {model!r} has no task {task!r}, only {', '.join(tasks_of(model))}; those that have it: "
            f"{', '.join(able)}"
        )
    if config.get("task", task) != task:
        raise KgrecError(f"task {task!r} is asked for, and {config['task']!r} by the field `task`; name one")
    fixed = "task" not in {field.name for field in dataclasses.fields(models.find(model).Config)}
    return dict(config) if fixed else {**config, "task": task}


def train(
    model: str,
    graph: Graph | str | Path,
    *,
    task: str | None = None,
    split: str | None = None,
    candidates: str | None = None,
    config: Mapping[str, Any] | None = None,
    training: TrainingConfig | None = None,
    metrics: Sequence[str] | None = None,
    refit: bool = False,
    init: str | Path | None = None,
    init_part: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Report | None = None,
) -> Run:
    """Train a model, choose its epoch on validation, measure it once on test, and keep it.

    model: a name of `kgrec.models.names()`, or the dotted path of your own. task: sets the model's field of this name;
    `link` holds out facts, not interactions. split, candidates: see `kgrec.split.split`, and of facts
    `kgrec.split.split_facts`. config: the model's fields. metrics: names such as "ndcg@10"; else the usual ones of the
    model's task. refit: train anew on train + valid, for as many epochs as validation chose. init: a run folder whose
    vectors of nodes, by external id, and layers, where they fit, are the start; `metrics["init"]` says what was taken.
    init_part: of that run only what is named so, such as an adversarial model's `generator` or `discriminator`.
    out: the run folder to write; while training goes on, `OUT.checkpoint` holds the state, and `resume` goes on from it
    to exactly the weights of an uninterrupted run.

    Raises KgrecError for unknown names and wrong fields, a task that the model does not have, an existing `out`, and a
    loss that is not finite.
    """
    training = training or TrainingConfig()
    graph = graph if isinstance(graph, Graph) else Graph.load(graph)
    check_names(model, metrics, training)
    fields = dict(config or {}) if task is None else _for_task(model, task, config or {})
    job = _Job(
        model, fields, training, tuple(metrics or ()), split, candidates, refit,
        Path(out) if out is not None else None, resume, overwrite, None if init is None else str(init), init_part,
    )  # fmt: skip
    if init_part is not None and init is None:
        raise KgrecError(f"init_part {init_part!r} is of a run to start from, and none is named; give --init RUN too")
    if job.out is not None:
        refuse_existing(job.out, overwrite)
    if resume and (job.out is None or not job.checkpoint.is_dir()):
        raise KgrecError(
            f"nothing to resume: there is no {job.checkpoint if job.out else 'out='}; start without --resume"
        )
    fabric = make_fabric(training)
    if training.devices == 1:
        return _work(fabric, job, graph, report)
    if job.out is None:
        raise KgrecError("several processes need an `out` to leave their result in")
    fabric.launch(functools.partial(_work_in_process, job=job, graph=graph))
    return Run.load(job.out, trust=model)


def check_names(model: str, metrics: Sequence[str] | None, training: TrainingConfig) -> None:
    """Raise UnknownName for a model or a metric that is not there, before any work is done."""
    models.find(model)
    for name in (*(metrics or ()), *([training.metric] if training.metric else [])):
        parse(name)


@dataclass(frozen=True)
class _Job:
    """What `train` was asked for; it travels to every process."""

    model: str
    config: dict[str, Any]
    training: TrainingConfig
    metrics: tuple[str, ...]
    split: str | None
    candidates: str | None
    refit: bool
    out: Path | None
    resume: bool
    overwrite: bool
    init: str | None = None
    init_part: str | None = None

    @property
    def task(self) -> str:
        """What is trained for: the model's field `task`, or its only one."""
        kind = models.find(self.model)
        config: Any = configure(kind.Config, self.config, what=f"model {self.model!r}")
        return str(getattr(config, "task", kind.task))

    @property
    def checkpoint(self) -> Path:
        assert self.out is not None
        return self.out.with_name(self.out.name + ".checkpoint")

    def identity(self, graph_hash: str) -> dict[str, Any]:
        """What a checkpoint must agree on to be gone on from; more epochs or patience may be asked for."""
        training = dataclasses.asdict(self.training)
        for free in ("patience", "device", "tensorboard"):
            training.pop(free)
        if self.training.lr_decay == "none":  # else it reaches 0 at the last
            training.pop("epochs")
        parts = {
            "model": self.model,
            "config": self.config,
            "training": training,
            "split": self.split,
            "refit": self.refit,
            "graph": graph_hash,
            "init": self.init,
            "init_part": self.init_part,
        }
        return json.loads(json.dumps(parts, default=str))


@dataclass
class _State:
    """Where training stands: with the tensors beside it, all that a checkpoint holds."""

    phase: str = "train"  #: train, or refit
    epoch: int = 0  #: epochs done in this phase
    best: float | None = None  #: of the chosen metric on valid
    best_epoch: int = 0
    waited: int = 0  #: validations since the best
    valid: dict[str, float] = field(default_factory=dict)  #: all metrics of the best epoch
    rows: list[dict[str, Any]] = field(default_factory=list)  #: of log.csv


def _work(fabric: Fabric, job: _Job, graph: Graph, report: Report | None) -> Run:
    """One process's part: train; on rank 0 also validate, measure and write."""
    return _Session(fabric, job, graph, report).run()


def _work_in_process(fabric: Fabric, *, job: _Job, graph: Graph) -> None:
    """The same in a process of several: what comes of it is in the run folder."""
    _work(fabric, job, graph, None)


class _Session:
    """One training, from the split to the result."""

    def __init__(self, fabric: Fabric, job: _Job, graph: Graph, report: Report | None) -> None:
        self.fabric, self.job, self.report = fabric, job, report
        self.split = _divided(graph.to(fabric.device), job.task, job.split, job.candidates)
        self.graph = graph
        self.state, self.best_weights = _State(), dict[str, Tensor]()
        self.evaluation_seconds = 0.0
        self.taken: dict[str, Any] = {}  #: what the model starts from, where it is another run
        self.events = _events(job.training.tensorboard) if fabric.is_global_zero else None

    @functools.cached_property
    def hash(self) -> str:
        """What the graph holds, for checkpoints and the run folder."""
        return self.graph.content_hash()

    def run(self) -> Run:
        saved = _Checkpoint.read(self.job, self.hash) if self.job.resume else None
        if saved is not None:
            self.state, self.best_weights = saved.state, saved.best
        model = None
        if self.state.phase == "train":
            model = self._phase(self.split.train, self.split.valid, self.job.training, saved)
            if self.best_weights:
                model.load_state_dict(self.best_weights)
            if self.job.refit and self.split.valid is not None:
                self.state = dataclasses.replace(self.state, phase="refit", epoch=0, waited=0)
                saved = None
        if self.state.phase == "refit":
            chosen = dataclasses.replace(self.job.training, epochs=max(self.state.best_epoch, 1))
            model = self._phase(self.split.train_valid, None, chosen, saved)
        assert model is not None
        return self._finish(model)

    def _build(self, graph: Graph) -> Recommender:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.job.training.seed)
            model = models.build(self.job.model, graph, self.job.config)
        if self.job.init is not None:
            self.taken = self._taken_from(self.job.init, model, graph)
        return model.to(self.fabric.device).eval()

    def _taken_from(self, path: str, model: Recommender, graph: Graph) -> dict[str, Any]:
        """Start a model from a run folder, node by node as external ids say.

        Raises KgrecError where nothing fits, or where the run, of the same graph, may have seen what is held out here;
        of a run over another graph that cannot be told.
        """
        run, parts = Run.load(path), self.split
        chooses = parts.valid is not None
        held = spec_of_parts if chooses else spec_of_test
        differs = held(run.split or "") != held(parts.spec)
        seen = differs or (chooses and "refit" in str(run.metrics.get("protocol")))
        other = not _same_ids(run.graph, self.graph)
        if seen and not other:  # only then, as a hash takes a while for a large graph
            other = read_json(Path(path) / "config.json").get("graph") != self.hash
        if seen and not other and differs:
            raise KgrecError(
                f"{path} was trained by the split {run.split}, and this is {parts.spec}: it may have seen what is held "
                "out here; train it by the same --split"
            )
        if seen and not other:
            raise KgrecError(
                f"{path} was refit on train + valid, so valid could not choose an epoch of what starts from it; train "
                "it without --refit"
            )
        known = dataclasses.replace(Graph.empty(read_schema(Path(path))), vocabulary=run.graph.vocabulary)
        taken = initialise(model, graph, run.model, known, self.job.init_part).to_json()
        part = {} if self.job.init_part is None else {"part": self.job.init_part}
        return {"run": path, "model": run.name, **part, **({"other_graph": True} if other else {}), **taken}

    def _phase(
        self, known: Graph, held: Graph | None, config: TrainingConfig, saved: _Checkpoint | None
    ) -> Recommender:
        """Train on `known` until `config.epochs` or until the metric on `held` no longer rises."""
        model = self._build(known)
        for part in (held, self.split.test):
            if part is not None:
                self._check(model, part)
        trainer = Trainer(model, known, config, self.fabric)
        if saved is not None:
            model.load_state_dict(saved.model)
            trainer.load_state(saved.optimizer, self.state.epoch)
        if not trainer.objectives and held is not None:
            self._choose(model, known, held, 0)
        epochs = trainer.epochs()
        while self.state.waited < config.patience and (epoch := next(epochs, None)) is not None:
            self.state.epoch = epoch.number
            last = epoch.number == config.epochs
            metrics: Mapping[str, float] = {}
            if (
                held is not None
                and epoch.number >= trainer.last_phase
                and (last or epoch.number % config.validate_every == 0)
            ):
                metrics = self._choose(model, known, held, epoch.number)
            self._log(epoch, metrics)
            if self.job.out is not None and self.fabric.is_global_zero:
                _Checkpoint(self.state, model.state_dict(), trainer.state(), self.best_weights).write(
                    self.job, self.hash
                )
        return model

    def _check(self, model: Recommender, held: Graph) -> None:
        """Raise KgrecError for metrics that what is held out does not give."""
        if isinstance(model, LinkModel) and self.split.whole is not None:
            check_link_metrics(model, self._metrics(model))
        else:
            check_metrics(model, held, self._metrics(model))

    def _choose(self, model: Recommender, known: Graph, held: Graph, epoch: int) -> Mapping[str, float]:
        """Validate on rank 0; all ranks learn whether it is the best so far. Returns the metrics."""
        measured = self._measure(model, known, held).metrics if self.fabric.is_global_zero else {}
        measured = self.fabric.broadcast(dict(measured))
        name = self._metric(model)
        value, state = measured[name], self.state
        if state.best is None or ((value > state.best) == higher_is_better(name) and value != state.best):
            state.best, state.best_epoch, state.waited, state.valid = value, epoch, 0, dict(measured)
            self.best_weights = _copy(model)
        else:
            state.waited += 1
        return measured

    def _metric(self, model: Recommender) -> str:
        return self.job.training.metric or CHOOSERS[model.task]

    def _metrics(self, model: Recommender) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*(self.job.metrics or default_metrics(model.task)), self._metric(model)]))

    def _measure(
        self, model: Recommender, known: Graph, held: Graph, candidates: Candidates | None = None
    ) -> Evaluation | LinkEvaluation:
        evaluation = _evaluated(model, self.split, known, held, self._metrics(model), candidates)
        self.evaluation_seconds = evaluation.seconds
        return evaluation

    def _log(self, epoch: Epoch, metrics: Mapping[str, float]) -> None:
        losses = {f"loss {name}": value for name, value in epoch.losses.items()}
        row = {
            "phase": self.state.phase,
            "epoch": epoch.number,
            "seconds": epoch.seconds,
            **losses,
            **epoch.signs,
            **metrics,
        }
        self.state.rows.append(row)
        if self.events is not None:
            for name, value in {**losses, **epoch.signs, **metrics}.items():
                self.events.add_scalar(f"{self.state.phase}/{name}", value, epoch.number)
            self.events.flush()
        if self.report is not None and self.fabric.is_global_zero:
            self.report(epoch, metrics)

    # ------------------------------------------------------------------ the end

    def _finish(self, model: Recommender) -> Run:
        """Measure once on test, and write the run folder."""
        test, job, state = None, self.job, self.state
        run = Run(
            job.model, model, self.split.train_valid, split=self.split.spec, candidates=self.split.candidates_name
        )
        if self.fabric.is_global_zero:
            test = self._measure(model, self.split.train_valid, self.split.test, self.split.candidates)
            run = dataclasses.replace(run, metrics=self._summary(model, test), path=job.out)
        if job.out is not None and self.fabric.is_global_zero:
            assert test is not None
            artifact = Artifact(
                model=job.model,
                config=dataclasses.asdict(model.config),
                graph=self.split.train_valid,
                weights=model.state_dict(),
                metrics=run.metrics,
                training=dataclasses.asdict(job.training),
                provenance={
                    "graph": self.hash,
                    "split": self.split.spec,
                    "candidates": self.split.candidates_name,
                    "versions": versions(),
                },
                behaviours=model.behaviours,
            )
            tables: dict[str, Any] = (
                {"ranks": test.ranks}
                if isinstance(test, LinkEvaluation)
                else {"per_user": test.per_user, "predictions": test.predictions}
            )
            save_artifact(artifact, job.out, **tables, log=_csv(state.rows), overwrite=job.overwrite)
            _Checkpoint.remove(job)
        self.fabric.barrier()
        return run

    def _summary(self, model: Recommender, test: Evaluation | LinkEvaluation) -> dict[str, Any]:
        state = self.state
        seconds = [row["seconds"] for row in state.rows if row["phase"] == state.phase]
        summary = {
            "model": self.job.model,
            "protocol": self.split.protocol + (", refit on train + valid" if state.phase == "refit" else ""),
            "valid": state.valid,
            **_measured(test),
            "epochs": len(seconds),
            "best_epoch": state.best_epoch,
            "seconds_per_epoch": float(np.mean(seconds)) if seconds else 0.0,
            "evaluation_seconds": self.evaluation_seconds,
            "peak_mb": peak_mb(),
            "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
            "seed": self.job.training.seed,
            "processes": self.fabric.world_size,
            **({"init": self.taken} if self.taken else {}),
        }
        return json.loads(json.dumps(summary))


def _same_ids(one: Graph, other: Graph) -> bool:
    """Whether two graphs have the same nodes, by type, external id and order."""
    there, here = one.vocabulary, other.vocabulary
    return there.keys() == here.keys() and all(there[name].id_array.equals(here[name].id_array) for name in here)


def _events(folder: str | None) -> Any:
    """TensorBoard's writer, where a folder for it is named. Raises KgrecError where the extra is not installed."""
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise KgrecError("training.tensorboard needs an extra: pip install 'kgrec[tensorboard]'") from error
    return SummaryWriter(folder)


def peak_mb() -> int:
    """The most memory that this process had in use so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def _copy(model: Recommender) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@dataclass
class _Checkpoint:
    """The state after an epoch. All randomness is seeded by seed, epoch and rank, so no generator's state is in it."""

    state: _State
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    best: dict[str, Tensor]

    def write(self, job: _Job, graph_hash: str) -> None:
        with whole(job.checkpoint, overwrite=True) as folder:
            folder.mkdir()
            for name in ("model", "optimizer", "best"):
                save_tensors(folder / f"{name}.safetensors", getattr(self, name))
            document = {"job": job.identity(graph_hash), "state": dataclasses.asdict(self.state)}
            (folder / "state.json").write_text(json.dumps(document), encoding="utf-8")

    @staticmethod
    def read(job: _Job, graph_hash: str) -> _Checkpoint:
        """Raises KgrecError where it is of another job, or damaged."""
        try:
            document = json.loads((job.checkpoint / "state.json").read_text(encoding="utf-8"))
            state = _State(**document["state"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KgrecError(f"{job.checkpoint} is damaged ({error}); remove it and start anew") from error
        wanted = job.identity(graph_hash)
        differ = [name for name in wanted if document["job"].get(name) != wanted[name]]
        if differ:
            raise KgrecError(
                f"{job.checkpoint} was made with another {' and '.join(differ)}; start anew, or ask for the same"
            )
        tensors = [load_tensors(job.checkpoint / f"{name}.safetensors") for name in ("model", "optimizer", "best")]
        return _Checkpoint(state, *tensors)

    @staticmethod
    def remove(job: _Job) -> None:
        shutil.rmtree(job.checkpoint, ignore_errors=True)
