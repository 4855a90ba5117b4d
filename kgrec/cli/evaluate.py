"""`kgrec evaluate`: measure a run on the test edges of a graph."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kgrec.cli.options import Device, GraphFolder, Json, Metrics, RunFolder, TrustedModel, comma_separated
from kgrec.cli.output import print_json, show_metrics


def evaluate(
    run: RunFolder,
    graph: GraphFolder,
    split: Annotated[
        str | None, typer.Option("--split", help="What is held out. Default: the split of the run.")
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option("--candidates", help="Items to rank: the name of a candidate list in the graph, or `all`."),
    ] = None,
    repeats: Annotated[
        str | None,
        typer.Option("--repeats", help="miss, skip or recommend, see `kgrec train --help`. Default: as in the run."),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option(
            "--exclude",
            help="Other behaviours, such as viewed,carted, whose items are left out of the lists too, or `none`. "
            "Default: as in the run.",
        ),
    ] = None,
    metrics: Metrics = None,
    device: Device = "auto",
    model: TrustedModel = None,
    as_json: Json = False,
) -> None:
    """Measure a run on the test edges of a graph. The graph must have the same nodes as the run."""
    from kgrec.run import Run

    trained = Run.load(run, trust=model, device=device)
    left_out = None if exclude is None else () if exclude == "none" else comma_separated(exclude) or ()
    asked: dict[str, Any] = {"split": split, "candidates": candidates, "repeats": repeats, "exclude": left_out}
    result = trained.measure(graph, metrics=comma_separated(metrics), **asked)
    print_json(result) if as_json else show_metrics(result)
