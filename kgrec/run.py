"""train(): a model on a graph, from the split to the run folder. Run: a trained model with its ids, to be asked."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kgrec.graph import Graph
from kgrec.training.job import TrainingJob, takes_job_options, tasks_of
from kgrec.training.log import peak_mb
from kgrec.training.measuring import CHOOSERS, measure
from kgrec.training.session import Report, run_job
from kgrec.training.trained_model import TrainedModel

__all__ = ["CHOOSERS", "Report", "Run", "TrainingJob", "measure", "peak_mb", "tasks_of", "train"]


@dataclass(frozen=True, eq=False)
class Run(TrainedModel):
    """A trained model, the ids that it knows, and what was measured."""

    @staticmethod
    def of(trained: TrainedModel) -> Run:
        """The run of a trained model."""
        return Run(**{field.name: getattr(trained, field.name) for field in fields(trained)})


@takes_job_options
def train(model: str | TrainingJob, graph: Graph | str | Path, *, report: Report | None = None, **options: Any) -> Run:
    """Train a model, choose its epoch on validation, measure it once on test, and keep it.

    model: a name of `kgrec.models.names()`, the dotted path of your own, or a whole TrainingJob. options: the fields of
    a TrainingJob, such as split="last_n:1,valid=1", config={"dim": 32} and out="runs/mf"; see there. report: called
    after each epoch. What a start by `init` took over is said in `metrics["init"]`.

    Raises UnknownName for names that are not there, KgrecError for wrong values, an existing `out`, and a loss that is
    not finite.
    """
    return Run.of(run_job(TrainingJob.of(model, options, "kgrec.train"), graph, report))
