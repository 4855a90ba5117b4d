"""What trackers are told of a training."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgrec import models
from kgrec.graph import Graph
from kgrec.settings import configure
from kgrec.splits.split import Split
from kgrec.training.tracking.mlflow_stores import shown_address
from kgrec.training.tracking.setting_texts import flat
from kgrec.training.tracking.tracker import TrackedEpoch, TrackedRun

if TYPE_CHECKING:
    from kgrec.training.job import TrainingJob
    from kgrec.training.trainer import Epoch

#: Fields of a job that are no settings of the training, or are told otherwise
NO_SETTINGS = ("model", "config", "out", "resume", "overwrite", "mmap", "track")


def tracked_run(job: TrainingJob, graph: Graph, split: Split, phase: str, epoch: int) -> TrackedRun:
    """What is known before the first epoch. phase, epoch: from which a checkpoint goes on; train and 0: from the
    beginning."""
    own = {
        name: getattr(job, name) for name in (one.name for one in dataclasses.fields(job)) if name not in NO_SETTINGS
    }
    own["training"] = {k: v for k, v in dataclasses.asdict(job.training).items() if k != "tensorboard"}
    config: Any = configure(models.find(job.model).Config, job.fields, f"model {job.model!r}")
    fingerprint = graph.content_hash()
    user, _, item = graph.target
    held = {"valid": split.valid, "test": split.test}
    return TrackedRun(
        name=f"{job.model} {fingerprint[:8]}" if job.out is None else job.out.name,
        settings=flat({"model": job.model, **own, "config": dataclasses.asdict(config)}, "."),
        graph={
            "users": len(graph.range(user)),
            "items": len(graph.range(item)),
            "nodes": graph.num_nodes,
            "edges": len(graph.head),
            **{f"{name}_edges": len(part.head) for name, part in held.items() if part is not None},
        },
        tags={
            "version": metadata.version("kgrec"),
            "model": job.model,
            "task": job.trained_for,
            "graph": fingerprint,
            "split": split.spec,
            "protocol": split.named(refit=job.refit and split.valid is not None),
            "command": typed_command(sys.argv),
        },
        out=job.out,
        id=None,
        phase=phase,
        epoch=epoch,
    )


def typed_command(words: list[str]) -> str:
    """The command that was typed, without the folder of its program and without passwords in addresses.

    >>> typed_command(["/usr/bin/kgrec", "train", "mf", "a graph", "--track-uri", "http://ann:secret@host"])
    "kgrec train mf 'a graph' --track-uri 'http://***@host'"
    """
    if not words:
        return ""
    name = Path(words[0]).name
    return shlex.join(["kgrec" if name == "__main__.py" else name, *map(shown_address, words[1:])])


def tracked_epoch(phase: str, epoch: Epoch, metrics: Mapping[str, float], at: float) -> TrackedEpoch:
    """The numbers of an epoch. metrics: on valid; at: when it ended, in unix seconds."""
    of_training = {
        **{f"loss {name}": value for name, value in epoch.losses.items()},
        **epoch.diagnostics,
        "seconds": epoch.seconds,
    }
    numbers = {f"{phase}/{name}": float(value) for name, value in of_training.items()}
    numbers |= {f"valid/{name}": float(value) for name, value in metrics.items()}
    return TrackedEpoch(phase=phase, number=epoch.number, numbers=numbers, time=at)
