"""`kgrec train`: a model trained on a graph, kept as a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import (
    Assignments,
    Chooser,
    ConfigFile,
    Epochs,
    GraphFolder,
    Json,
    Metrics,
    Overwrite,
    Patience,
    Refit,
    TrainingDevice,
    metric_names,
    training_settings,
)
from kgrec.cli.output import print_json, progress, show_metrics


def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name of `kgrec models`, or a dotted path.")],
    graph: GraphFolder,
    out: Annotated[Path | None, typer.Option("--out", help="The run folder to write.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="ranking, rating, ctr, or link: hold out facts, not interactions.")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="A SPEC such as last_n:1,valid=1.")] = None,
    candidates: Annotated[
        str | None, typer.Option("--candidates", help="Items to rank at test: a list in the graph, or all.")
    ] = None,
    assignments: Assignments = None,
    config: ConfigFile = None,
    epochs: Epochs = None,
    validate_every: Annotated[int | None, typer.Option("--validate-every", help="Epochs between validations.")] = None,
    patience: Patience = None,
    metric: Chooser = None,
    metrics: Metrics = None,
    refit: Refit = False,
    init: Annotated[
        Path | None, typer.Option("--init", help="A run folder to start from: vectors by id, layers that fit.")
    ] = None,
    init_part: Annotated[
        str | None, typer.Option("--init-part", help="Only of this part of it: generator or discriminator, say.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from OUT.checkpoint.")] = False,
    seed: Annotated[int | None, typer.Option("--seed")] = None,
    device: TrainingDevice = None,
    devices: Annotated[int | None, typer.Option("--devices", help="Processes, each on a device.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="32-true, bf16-mixed or 64-true.")] = None,
    lean: Annotated[
        bool, typer.Option("--lean", help="Leave facts and features of the graph out of the run folder.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a model, choose its epoch on validation, measure it once on test, and keep it as a run folder."""
    from kgrec.run import train as train_model

    fields, settings = training_settings(
        config,
        assignments or [],
        epochs=epochs,
        validate_every=validate_every,
        patience=patience,
        metric=metric,
        seed=seed,
        device=device,
        devices=devices,
        precision=precision,
    )
    run = train_model(
        model,
        graph,
        task=task,
        split=split,
        candidates=candidates,
        config=fields,
        training=settings,
        metrics=metric_names(metrics),
        refit=refit,
        init=init,
        init_part=init_part,
        out=out,
        resume=resume,
        lean=lean,
        overwrite=overwrite,
        report=progress,
    )
    print_json(run.metrics) if as_json else show_metrics(run.metrics)
