"""`kgrec report`: what runs are worth, as one HTML file and a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import Device, TrustedModel
from kgrec.cli.output import note, say


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [RUN ...]", help="Run folders. One that was stopped is described by its checkpoint."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write: one file, without network or scripts.")],
    card: Annotated[
        Path | None, typer.Option("--card", help="A Markdown file to write too: a model card from the same facts.")
    ] = None,
    graph: Annotated[
        Path | None,
        typer.Option("--graph", help="The graph of the runs: the report then says which held-out items were found."),
    ] = None,
    groups: Annotated[
        str | None, typer.Option("--groups", help="A column of users, such as gender, whose groups are compared.")
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Number of items in each list.")] = 10,
    users: Annotated[int, typer.Option("--users", help="Make the lists of at most so many users.")] = 10_000,
    examples: Annotated[int, typer.Option("--examples", help="Number of users whose lists are shown.")] = 5,
    device: Device = "auto",
    model: TrustedModel = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")] = False,
) -> None:
    """Describe runs in one HTML file: metrics with intervals, curves, weak sides, example lists, how to repeat them."""
    from kgrec.reporting.written_report import report as write_report

    facts = write_report(
        list(runs),
        out,
        card=card,
        graph=graph,
        groups=groups,
        k=k,
        users=users,
        examples=examples,
        trust=model,
        device=device,
        overwrite=overwrite,
    )
    for line in [*facts.notes, *(f"{run.label}: {one}" for run in facts.runs for one in run.notes)]:
        note(line)
    say(f"wrote {out}" + (f" and {card}" if card is not None else ""))
