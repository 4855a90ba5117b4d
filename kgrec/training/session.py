"""One training, from the split to the run folder."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from kgrec import models, ranks
from kgrec.drafts import put_back
from kgrec.errors import KgrecError
from kgrec.evaluation.evaluation import Evaluation, check_metrics, default_metrics, held_out_counts
from kgrec.evaluation.link_evaluation import LinkEvaluation, check_link_metrics
from kgrec.evaluation.metrics import higher_is_better
from kgrec.evaluation.trained_nodes import Trained
from kgrec.files import refuse_existing
from kgrec.graph import Candidates, Graph
from kgrec.model import Recommender
from kgrec.nn import LinkScorer
from kgrec.progress import Task, Watcher, watched, watcher, working
from kgrec.run_files import RUN_FOLDER, RunFiles
from kgrec.splits.spec import spec_of_parts, spec_of_test
from kgrec.training.agreement import must_agree_on
from kgrec.training.checkpoint import CHECKPOINT_FOLDER, Checkpoint, TrainingState
from kgrec.training.config import TrainingConfig
from kgrec.training.controls import CONTROLS, Course, below_control
from kgrec.training.job import TrainingJob
from kgrec.training.joining import place_from_outside, together
from kgrec.training.log import as_csv_text, model_size, peak_mb
from kgrec.training.measuring import (
    CHOOSERS,
    check_among,
    control_too_large,
    counted,
    divided_for,
    evaluated,
    link_control,
    measured,
    metrics_among,
)
from kgrec.training.processes import OneProcess, is_sendable, launch, make_fabric
from kgrec.training.purposes import for_purpose
from kgrec.training.row_files import follow, run_weights, start_from_whole, tensors_for_ranks, whole_tensors
from kgrec.training.run_folder import Artifact, read_schema, save_artifact, versions
from kgrec.training.scorer_files import checked_scorer, how_served
from kgrec.training.seeding import seeded
from kgrec.training.sharding import sharded_model
from kgrec.training.tracking.setting_texts import flat_numbers
from kgrec.training.tracking.tracked_facts import tracked_epoch, tracked_run
from kgrec.training.tracking.tracker import TrackedResult
from kgrec.training.tracking.tracking import Tracking, check_trackers
from kgrec.training.trained_model import TrainedModel
from kgrec.training.trainer import Epoch, Trainer
from kgrec.training.training_tasks import Standing, TrainingTask
from kgrec.training.transfer import initialise, same_ids

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from kgrec.splits.split import Split

Report = Callable[[Epoch, Mapping[str, float]], None]  #: called after each epoch, with validation metrics if any


def run_job(job: TrainingJob, graph: Graph | str | Path, report: Report | None = None) -> TrainedModel:
    """Run a training job, in as many processes as it asks for. Where this is one of several that were started from
    outside, as by torchrun, it runs its part of the job, and all have the same result; rank 0 alone writes and reports.

    Raises what `kgrec.train` raises.
    """
    if place_from_outside() is not None:
        fabric = make_fabric(job.training)
        return together(lambda: _as_rank(fabric, job, graph, report))
    refuse_out(job, _inputs(job, graph))
    graph = graph if isinstance(graph, Graph) else Graph.load(graph, job.mmap)
    fabric = make_fabric(job.training)
    if job.training.devices == 1:
        with job.failures_explained():
            run = Session(fabric, job, graph, report).run()
        return TrainedModel.load(run.path, trust=job.named) if job.training.shard_vectors and run.path else run
    if job.out is None:
        raise KgrecError("training with several processes needs a place for the result; set `out` (--out)")
    told, by = report if is_sendable(report) else None, watcher()
    by = by if is_sendable(by) else None
    launch(fabric, functools.partial(_in_process, job=job, graph=graph, report=told, watcher=by))
    return TrainedModel.load(job.out, trust=job.named)


def _inputs(job: TrainingJob, graph: Graph | str | Path) -> list[str | Path | None]:
    """The folders that a job reads."""
    return [job.init, None if isinstance(graph, Graph) else graph]


def _as_rank(fabric: Fabric, job: TrainingJob, graph: Graph | str | Path, report: Report | None) -> TrainedModel:
    """Run the part of one rank. Only rank 0 needs the place of the result, and what the job resumes or starts from."""
    if fabric.is_global_zero:
        refuse_out(job, _inputs(job, graph))
    must_agree_on(job, graph)
    if not isinstance(graph, Graph):
        first = fabric.local_rank == 0  # it makes the files of a mapped graph, if there are none; the others find them
        found = Graph.load(graph, job.mmap) if first else None
        ranks.barrier()
        graph = found or Graph.load(graph, job.mmap)
    with job.failures_explained():
        return Session(fabric, job, graph, report).run()


def refuse_out(job: TrainingJob, inputs: Sequence[str | Path | None]) -> None:
    """Check the paths of a job before anything is trained. Raises KgrecError if the result or the checkpoint may not be
    written, if there is no checkpoint to resume from, or if a tracker cannot follow it. inputs: what the job reads;
    None is ignored."""
    check_trackers(job)
    if job.out is None:
        if job.resume:
            raise KgrecError("cannot resume without out=, which names the checkpoint; add --out, or leave out --resume")
        return
    refuse_existing(job.out, job.overwrite, RUN_FOLDER, inputs)
    put_back(job.checkpoint)
    if job.resume and not job.checkpoint.is_dir():
        raise KgrecError(f"nothing to resume: there is no {job.checkpoint}; train without --resume")
    # a checkpoint to resume from is checked when it is read
    refuse_existing(job.checkpoint, True, None if job.resume else CHECKPOINT_FOLDER, inputs)
    if (job.checkpoint / CHECKPOINT_FOLDER.document).exists() and not (job.resume or job.overwrite):
        raise KgrecError(
            f"{job.checkpoint} is the checkpoint of an interrupted training; use --resume to continue it, --overwrite "
            "to replace it and start from the beginning, or another --out"
        )


def _in_process(
    fabric: Fabric, *, job: TrainingJob, graph: Graph, report: Report | None, watcher: Watcher | None
) -> None:
    """The same in one of several processes that `launch` has started. The result is in the run folder."""
    by = watcher if fabric.is_global_zero else None
    with job.failures_explained(), watched(by):
        Session(fabric, job, graph, report).run()


def split_for(job: TrainingJob, graph: Graph) -> Split:
    """The split of a graph that a job asks for."""
    chosen = job.split, job.candidates, job.repeats, job.exclude, job.facts_only, job.all_edges
    return divided_for(graph, job.trained_for, *chosen, now=job.now)


class Session:
    """One training, from the split to the result."""

    def __init__(
        self,
        fabric: Fabric | OneProcess,
        job: TrainingJob,
        graph: Graph,
        report: Report | None,
        split: Split | None = None,
    ) -> None:
        """split: that of the graph for this job, on the fabric's device; None: it is made here."""
        self.fabric, self.job, self.report = fabric, job, report
        self.split = split_for(job, graph.to(fabric.device)) if split is None else split
        self.graph = graph
        if job.purpose is not None:
            self.job = job = for_purpose(job, self.split)
        check_among(job.training.among, job.training.metric or CHOOSERS[job.trained_for], self.split)
        self.state, self.best_weights = TrainingState(), dict[str, Tensor]()
        self.evaluation_seconds = self.build_seconds = 0.0
        self.taken: dict[str, Any] = {}  #: what was taken from the `init` run
        self.tracking = Tracking(job.track if fabric.is_global_zero else ())

    @functools.cached_property
    def hash(self) -> str:
        """The content hash of the graph, for checkpoints and the run folder."""
        return self.graph.content_hash()

    @property
    def learned_from(self) -> str:
        """The data that a checkpoint belongs to: the graph's hash, and whether edges that are no clicks are left
        out."""
        return self.hash + (", clicks alone" if self.split.left_out else "")

    def run(self) -> TrainedModel:
        with self.tracking:
            try:
                return self._run()
            finally:
                ranks.settle_by(None)

    def _run(self) -> TrainedModel:
        saved = self._saved() if self.job.resume else None
        self._begin_tracking()
        model = None
        if self.state.phase == "train":
            model = self._phase(self.split.train, self.split.valid, self.job.training, saved)
            if self.best_weights:
                self._load(model, self.best_weights)
            if self.job.refit and self.split.valid is not None:
                self.state = dataclasses.replace(self.state, phase="refit", epoch=0, waited=0)
                saved = None
        if self.state.phase == "refit":
            chosen = dataclasses.replace(self.job.training, epochs=max(self.state.best_epoch, 1))
            model = self._phase(self.split.train_valid, None, chosen, saved)
        assert model is not None
        return self._finish(model)

    def _begin_tracking(self) -> None:
        if self.tracking.trackers:
            state = self.state
            told = tracked_run(self.job, self.graph, self.split, state.phase, state.epoch)
            state.tracked = self.tracking.begin(told, state.tracked)

    def validate(self) -> TrainingState:
        """Train on train and choose the epoch on valid, as `run` does, and no more: test is not read, and nothing is
        kept but what was measured. Trackers are not told."""
        self._phase(self.split.train, self.split.valid, self.job.training, None, reads_test=False)
        return self.state

    def _saved(self) -> Checkpoint:
        """The checkpoint, which rank 0 reads for all; on the others it has the state alone, and no tensors."""
        saved = Checkpoint(TrainingState(), {}, {}, {})
        if self.fabric.is_global_zero:
            saved = Checkpoint.read(self.job, self.learned_from)
        self.state = saved.state = TrainingState(**ranks.of_first(dataclasses.asdict(saved.state)))
        return saved

    def _restore(self, model: Recommender, trainer: Trainer, saved: Checkpoint) -> None:
        """Continue from a checkpoint that rank 0 has read."""
        of_model, of_optimizer, self.best_weights = (
            tensors_for_ranks(one, model) for one in (saved.model, saved.optimizer, saved.best)
        )
        self._load(model, of_model)
        trainer.load_state(of_optimizer, self.state.epoch)

    def _build(self, graph: Graph) -> Recommender:
        shards = self.job.training.shard_vectors
        model = self._new(graph) if not shards else sharded_model(lambda: self._new(graph), self.job)
        if self.job.init is not None:
            whole = None
            if self.fabric.is_global_zero:
                whole = self._new(graph) if shards else model
                self.taken = self._taken_from(self.job.init, whole, graph)
            self.taken = ranks.of_first(self.taken)
            start_from_whole(model, whole)
        return model.to(self.fabric.device).eval()

    def _new(self, graph: Graph) -> Recommender:
        with seeded(self.job.training.seed):
            return models.build(self.job.model, graph, self.job.fields)

    def _load(self, model: Recommender, weights: Mapping[str, Tensor]) -> None:
        """Load weights from a checkpoint, or those of the best epoch. Raises KgrecError if they do not fit the
        model."""
        try:
            model.load_state_dict(dict(weights))
        except (RuntimeError, KgrecError) as error:
            raise KgrecError(
                f"{self.job.checkpoint} is damaged: its weights do not fit the model ({error}); remove it and train "
                "again without --resume"
            ) from error

    def _taken_from(self, path: str, model: Recommender, graph: Graph) -> dict[str, Any]:
        """Start a model from a run folder. Nodes are matched by their external ids.

        Raises KgrecError if nothing fits, or if the run used the same graph and may have seen edges that are held out
        here. For a run on another graph, this cannot be checked.
        """
        run, parts = TrainedModel.load(path, trust=self.job.named), self.split
        chooses = parts.valid is not None
        held = spec_of_parts if chooses else spec_of_test
        alone = bool(parts.left_out)
        differs = held(run.split or "") != held(parts.spec) or run.clicks_alone != alone
        seen = differs or (chooses and run.was_refit)
        other = not same_ids(run.graph, self.graph)
        if seen and not other:  # only if needed, since the hash of a large graph takes a while
            other = RunFiles.open(path).config.get("graph") != self.hash
        if seen and not other and differs:
            raise KgrecError(
                f"{path} was trained with split {run.split}{' of clicks alone' * run.clicks_alone}, but this training "
                f"uses {parts.spec}{' of clicks alone' * alone}, so {path} may have seen edges that are held out here; "
                "train both with the same --split"
            )
        if seen and not other:
            raise KgrecError(
                f"{path} was trained with --refit on train + valid, so a training that starts from it cannot choose "
                "its epoch on valid; train it without --refit"
            )
        known = dataclasses.replace(Graph.empty(read_schema(Path(path))), vocabulary=run.graph.vocabulary)
        taken = initialise(model, graph, run.model, known, self.job.init_part).to_json()
        part = {} if self.job.init_part is None else {"part": self.job.init_part}
        return {"run": path, "model": run.name, **part, **({"other_graph": True} if other else {}), **taken}

    def _phase(
        self,
        known: Graph,
        held: Graph | None,
        config: TrainingConfig,
        saved: Checkpoint | None,
        *,
        reads_test: bool = True,
    ) -> Recommender:
        """Train on `known` for `config.epochs` epochs, or until the metric on `held` no longer improves."""
        begun = time.perf_counter()
        with working(Task(f"making {self.job.model}")):
            model = self._build(known)
        self.build_seconds = time.perf_counter() - begun
        parts = [(known, held), *([(self.split.train_valid, self.split.test)] if reads_test else [])]
        for seen, part in parts:
            if part is not None:
                self._check(model, counted(self.split, seen, part))
        trainer = Trainer(model, known, config, self.fabric)
        if saved is not None:
            self._restore(model, trainer, saved)
        else:
            trainer.rehearse()
        if not trainer.objectives and held is not None:
            self._choose(model, known, held, 0)
        if trainer.objectives:
            standing = Standing.of(self.state, config, self._metric(model), chooses=held is not None)
            with working(TrainingTask(self.job.model, standing, self.state.epoch)) as task:
                self._epochs(trainer, known, held, task)
        return model

    def _epochs(self, trainer: Trainer, known: Graph, held: Graph | None, task: TrainingTask) -> None:
        model, config, epochs = trainer.model, trainer.config, trainer.epochs()
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
            task.standing = epoch.standing = task.standing.after(self.state, metrics)
            self._log(epoch, metrics)
            if self.job.out is not None:
                with working(Task("writing the checkpoint")):
                    tensors = model.state_dict(), trainer.state(), self.best_weights
                    state = Checkpoint(self.state, *(whole_tensors(one, model) for one in tensors))
                    state.write(self.job, self.learned_from) if self.fabric.is_global_zero else state.follow()
            task.advance()

    def _check(self, model: Recommender, held: Graph) -> None:
        """Raise KgrecError for metrics that cannot be computed from the held-out edges."""
        if isinstance(model, LinkScorer) and self.split.whole is not None:
            check_link_metrics(model, self._metrics(model))
        else:
            check_metrics(model, held, self._metrics(model), self.split.train)

    def _choose(self, model: Recommender, known: Graph, held: Graph, epoch: int) -> Mapping[str, float]:
        """Validate, all ranks together, and keep the weights if they are the best so far. Returns the metrics."""
        measured = ranks.of_first(metrics_among(self._measure(model, known, held), self.job.training.among))
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

    @property
    def _trained(self) -> Graph:
        """The graph that the model of this phase is trained on."""
        return self.split.trained_on(refit=self.state.phase == "refit")

    def _measure(
        self, model: Recommender, known: Graph, held: Graph, candidates: Candidates | None = None
    ) -> Evaluation | LinkEvaluation:
        names = self._metrics(model)
        evaluation = evaluated(model, self.split, known, held, names, candidates, self._trained, shared=True)
        self.evaluation_seconds = evaluation.seconds
        return evaluation

    def _log(self, epoch: Epoch, metrics: Mapping[str, float]) -> None:
        losses = {f"loss {name}": value for name, value in epoch.losses.items()}
        row = {
            "phase": self.state.phase,
            "epoch": epoch.number,
            "seconds": epoch.seconds,
            **losses,
            **epoch.diagnostics,
            **metrics,
        }
        if self.fabric.world_size > 1:
            row |= {name: getattr(epoch, name) for name in ("steps", "exchange_seconds", "exchange_bytes")}
        self.state.rows.append(row)
        self.tracking.log_epoch(tracked_epoch(self.state.phase, epoch, metrics, time.time()))
        if self.report is not None and self.fabric.is_global_zero:
            self.report(epoch, metrics)

    # ------------------------------------------------------------------ the end

    def _finish(self, model: Recommender) -> TrainedModel:
        """Measure once on test, all ranks together; rank 0 writes the run folder."""
        job, state = self.job, self.state
        parts = self.split
        measured_by: dict[str, Any] = {
            "split": parts.spec,
            "candidates": parts.candidates_name,
            "repeats": parts.repeats,
            **({"facts_only": True} if parts.facts_only else {}),
            **({"clicks_alone": True} if parts.left_out else {}),
            **({"exclude": parts.exclude} if parts.exclude else {}),
            **({"now": parts.now} if parts.now != "unknown" else {}),
        }
        for_what = {} if job.purpose is None else {"purpose": job.purpose}
        trained = Trained(self._trained, model)
        run = TrainedModel(job.model, model, parts.train_valid, trained=trained, **measured_by)
        test = self._measure(model, self.split.train_valid, self.split.test, self.split.candidates)
        run = dataclasses.replace(run, metrics=self._summary(model, test), evaluation=test)
        if job.out is not None and self.fabric.is_global_zero:
            run = dataclasses.replace(run, path=job.out)
            package = models.provider(job.model)
            left_out = job.facts_only or job.training.shard_vectors
            scorer = None if left_out else checked_scorer(model, parts.train_valid)
            artifact = Artifact(
                model=job.model,
                config=dataclasses.asdict(model.config),
                graph=self.split.train_valid,
                weights=run_weights(model),
                metrics=run.metrics,
                training=dataclasses.asdict(job.training),
                provenance={
                    "graph": self.hash,
                    **measured_by,
                    **for_what,
                    "versions": versions(),
                    **({} if package is None else {"package": {"name": package.package, "version": package.version}}),
                },
                behaviours=model.behaviours,
                trained=trained.columns,
                lean=job.lean,
                scorer=scorer,
                serves_everybody=model.serves_everybody,
                served=None if scorer is None else how_served(model, parts.train_valid, self._trained),
            )
            tables: dict[str, Any] = (
                {"ranks": test.ranks}
                if isinstance(test, LinkEvaluation)
                else {"per_user": test.per_user, "predictions": test.predictions}
            )
            with working(Task(f"writing {job.out.name}")):
                save_artifact(artifact, job.out, **tables, log=as_csv_text(state.rows), overwrite=job.overwrite)
            Checkpoint.remove(job)
        elif job.out is not None:
            follow(run_weights(model))
        self.tracking.log_result(TrackedResult(state.epoch, flat_numbers(run.metrics), run.path, time.time()))
        ranks.barrier()
        return run

    def _summary(self, model: Recommender, test: Evaluation | LinkEvaluation) -> dict[str, Any]:
        state = self.state
        seconds = [row["seconds"] for row in state.rows if row["phase"] == state.phase]
        summary = {
            "model": self.job.model,
            "protocol": self.split.named(refit=state.phase == "refit"),
            "valid": state.valid,
            **({} if self.job.training.among == "all" else {"valid_among": self.job.training.among}),
            **({} if self.job.purpose is None else {"purpose": self.job.purpose}),
            **self._measured(model, test),
            **self._against_control(model),
            "epochs": len(seconds),
            "best_epoch": state.best_epoch,
            "fit_seconds": self.build_seconds + sum(seconds),
            "seconds_per_epoch": float(np.mean(seconds)) if seconds else 0.0,
            "evaluation_seconds": self.evaluation_seconds,
            "peak_mb": peak_mb(),
            **model_size(model),
            "seed": self.job.training.seed,
            "processes": self.fabric.world_size,
            **self._exchanged(),
            **({"init": self.taken} if self.taken else {}),
        }
        return json.loads(json.dumps(summary))

    def _exchanged(self) -> dict[str, float]:
        """With several processes, how long a step takes on rank 0, and what share of it is exchange of gradients."""
        rows = [row for row in self.state.rows if row["phase"] == self.state.phase and row.get("steps")]
        if self.fabric.world_size == 1 or not rows:
            return {}
        steps, seconds, exchange, sent = (
            sum(row[name] for row in rows) for name in ("steps", "seconds", "exchange_seconds", "exchange_bytes")
        )
        return {
            "seconds_per_step": seconds / steps,
            "exchange_share": exchange / seconds,
            "exchange_bytes_per_step": sent / steps,
        }

    def _measured(self, model: Recommender, test: Evaluation | LinkEvaluation) -> dict[str, Any]:
        """The test results, and the counts of valid."""
        found, parts = measured(test, self.split), self.split
        if parts.valid is not None and parts.whole is None and self.state.valid:
            of_valid = held_out_counts(model, parts.train, parts.valid, self._metrics(model), parts.repeats)
            found["counts"] = {"valid": of_valid, **found["counts"]}
        return found

    def _against_control(self, model: Recommender) -> dict[str, Any]:
        """The results of the task's control on valid (and for facts on test) as `control`; and `below_control` if the
        model is worse on valid."""
        name, state, valid = CONTROLS.get(model.task), self.state, self.split.valid
        if name is None or name == self.job.model:
            return {}
        if too_large := control_too_large(self.split):
            return dict(too_large)
        of_test = link_control(model, self.split, self._trained, self._metrics(model), shared=True)
        if valid is None or state.best is None:
            return {"control": {name: of_test}} if of_test else {}
        control = models.build(name, self.split.train, {"task": model.task} if name == "bias" else {})
        names = [one for one in state.valid if one in self._metrics(model)]
        train = self.split.train
        found = evaluated(control.to(self.fabric.device), self.split, train, valid, names, trained=train, shared=True)
        values = metrics_among(found, self.job.training.among)
        metric, rows = self._metric(model), [row for row in state.rows if row["phase"] == "train"]
        course = Course.of(rows, metric, state.best_epoch, self.job.training.epochs, model.config)
        below = below_control(self.job.model, model.task, metric, state.best, values[metric], course)
        return {
            "control": {name: {"valid": values, **of_test}},
            **({} if below is None else {"below_control": {**dataclasses.asdict(below), "note": str(below)}}),
        }


def _copy(model: Recommender) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
