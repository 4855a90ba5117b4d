"""`kgrec train`: train a model on a graph, and keep it as a run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.next_steps import advice_if_stopped, after_training, how_to_resume, say_next
from kgrec.cli.options import (
    GraphFolder,
    Mmap,
    ModelName,
    ResultOptions,
    SplitOptions,
    TrackingOptions,
    TrainingOptions,
    job_option,
    watchable,
    with_options,
)
from kgrec.cli.output import is_quiet, note_control, print_json, progress, show_metrics, speaks_for_all, status


@watchable
@with_options
def train(
    model: ModelName,
    graph: GraphFolder,
    *,
    out: Annotated[Path | None, typer.Option("--out", help="The run folder to write.")] = None,
    held_out: SplitOptions,
    training: TrainingOptions,
    tracking: TrackingOptions,
    facts_only: Annotated[bool, job_option("--facts-only")] = False,
    shard_vectors: Annotated[bool, job_option("--shard-vectors")] = False,
    init: Annotated[Path | None, job_option("--init")] = None,
    init_part: Annotated[str | None, job_option("--init-part")] = None,
    resume: Annotated[bool, job_option("--resume")] = False,
    lean: Annotated[bool, job_option("--lean")] = False,
    mmap: Mmap = None,
    result: ResultOptions,
) -> None:
    """Train a model, choose its best epoch on validation, measure it once on test, and keep it as a run folder."""
    from kgrec.run import train as train_model

    job = training.job(
        model,
        "kgrec train",
        split=held_out.split,
        candidates=held_out.candidates,
        repeats=held_out.repeats,
        facts_only=facts_only,
        init=init,
        init_part=init_part,
        out=out,
        resume=resume,
        lean=lean,
        mmap=mmap,
        overwrite=result.overwrite,
        track=tracking.trackers,
    )
    if shard_vectors:
        job = replace(job, training=replace(job.training, shard_vectors=True))
    with advice_if_stopped(lambda: how_to_resume(job)):
        run = train_model(job, graph, report=None if is_quiet() else progress)
    if not speaks_for_all():
        return
    print_json(run.metrics) if result.as_json else show_metrics(run.metrics)
    note_control(run.metrics)
    if out is None:
        status("the model is not kept; --out RUN keeps it")
    elif not result.as_json:
        say_next(f"wrote {out}", after_training(run, job, graph))
