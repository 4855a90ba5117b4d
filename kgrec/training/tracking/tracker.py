"""What follows a training: the protocol of trackers, and what they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from kgrec.training.job import TrainingJob

Status = Literal["finished", "failed", "killed"]  #: killed: by a signal, such as Ctrl-C


@dataclass(frozen=True)
class TrackedRun:
    """What is known of a training before its first epoch. It has no ids of users or items."""

    name: str  #: the name of the run folder; without one, the model and the start of the graph's hash
    #: every setting by its dotted name, such as config.dim and training.epochs; values are plain JSON data
    settings: Mapping[str, Any]
    graph: Mapping[str, int]  #: numbers of users, items, nodes and edges, and of held-out edges
    #: version of kgrec, hash of the graph, split, protocol, task and command
    tags: Mapping[str, str]
    out: Path | None  #: the run folder that will be written; None: none
    id: str | None  #: what this tracker's `begin` returned before the training was interrupted; None: it is a new one
    phase: str  #: the phase that comes first, `train` or `refit`
    epoch: int  #: number of epochs in this phase that a checkpoint has; 0: none


@dataclass(frozen=True)
class TrackedEpoch:
    """The numbers of one epoch."""

    phase: str  #: train, or refit
    number: int  #: from 1 in each phase
    #: such as `train/loss ranking`, `train/seconds` and `valid/ndcg@10`, which is there if the epoch was validated
    numbers: Mapping[str, float]
    time: float  #: when it ended, in unix seconds


@dataclass(frozen=True)
class TrackedResult:
    """What a training measured at its end."""

    epoch: int  #: number of epochs in the last phase
    #: every number in metrics.json, such as `test/ndcg@10` and `fit_seconds`; on valid, `best_valid/ndcg@10` is that of
    #: the best epoch
    numbers: Mapping[str, float]
    folder: Path | None  #: the run folder; None: none was written
    time: float  #: in unix seconds


class Tracker(Protocol):
    """What follows trainings, such as a client of MLflow. Any object with these methods is one.

    It follows one training after another; each begins with `begin`. With several processes, only that of rank 0 has a
    tracker: a copy of yours. What `begin` raises ends the training before its first epoch. Later errors do not: there
    is one warning, and what was not logged is tried again.
    """

    def begin(self, run: TrackedRun) -> str | None:
        """Begin to follow a training. Returns an id to be kept in the checkpoint; None if it has none."""

    def log_epoch(self, epoch: TrackedEpoch) -> None:
        """Log the numbers of an epoch."""

    def log_result(self, result: TrackedResult) -> None:
        """Log what was measured at the end. It is not called for a training that is interrupted."""

    def finish(self, status: Status) -> None:
        """End, with what became of the training."""


@runtime_checkable
class CheckedTracker(Protocol):
    """A tracker that can be checked before the graph is read."""

    def check(self, job: TrainingJob) -> None:
        """Raise KgrecError if it cannot follow a job: its package is not installed, or its server not reached."""
