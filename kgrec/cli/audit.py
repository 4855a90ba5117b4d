"""`kgrec audit`: what the facts of a graph are worth to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgrec.cli.next_steps import advice_if_stopped
from kgrec.cli.options import (
    GraphFolder,
    Json,
    ModelName,
    Overwrite,
    TrainingOptions,
    comma_separated,
    job_option,
    watchable,
    with_options,
)
from kgrec.cli.output import console, listed, note, plain, print_json, progress, status, too_few

if TYPE_CHECKING:
    from rich.console import Console

    from kgrec.studies.audit_results import Audit
    from kgrec.studies.audit_trials import TrialResult


@watchable
@with_options
def audit(
    model: ModelName,
    graph: GraphFolder,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="A folder for the results (JSON, CSV, Markdown and a plot) and for each trial. If it has a "
            "half-finished audit with the same settings, the command goes on with it.",
        ),
    ],
    seeds: Annotated[int, typer.Option("--seeds", help="Number of seeds, counted from --seed.")] = 3,
    jobs: Annotated[int, typer.Option("--jobs", help="Number of processes that train at the same time.")] = 1,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="The split with warm items, such as ratio:0.2,valid=0.1; by default the one that the recipe names. A "
            "split that draws and names no seed draws anew for each seed.",
        ),
    ] = None,
    cold: Annotated[
        str, typer.Option("--cold", help="The split with cold items: cold_items:F[,valid=F][,seed=S].")
    ] = "cold_items:0.1,valid=0.1",
    relations: Annotated[
        str | None,
        typer.Option(
            "--relations", help="Relations to leave out and to try alone, such as has_genre,director. All by default."
        ),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            "--types",
            help="Node types whose facts to leave out and to try alone. All by default; none if --relations is there.",
        ),
    ] = None,
    features: Annotated[
        str,
        typer.Option("--features", help="Whether the features of nodes are kept or removed, in all arms alike."),
    ] = "kept",
    repeats: Annotated[str | None, job_option("--repeats")] = None,
    training: TrainingOptions,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure what the facts of a graph are worth: train a model with all facts, without any, with shuffled ones, and
    without or only with each relation, and compare them on warm and on cold items."""
    from kgrec.studies.audit_study import audit as audit_facts

    job = training.job(model, "kgrec audit", split=split, repeats=repeats, out=out, overwrite=overwrite)
    with advice_if_stopped(lambda: f"the same command goes on with {out}, where the trials that are done are kept"):
        found = audit_facts(
            job,
            graph,
            cold=cold,
            seeds=seeds,
            jobs=jobs,
            relations=comma_separated(relations),
            types=comma_separated(types),
            features=features,  # type: ignore[arg-type]
            report=progress,
            notify=on_trial,
            begun=on_begin,
        )
    print_json(found.to_json()) if as_json else show(found, out, console())


def on_begin(trials: int, done: int) -> None:
    """Print a line on stderr with the number of trainings."""
    status(f"{trials:,} trainings" + (f", of which {done:,} are done" if done else "; --relations limits them"))


def on_trial(result: TrialResult, number: int, total: int) -> None:
    """Print a line on stderr for each trial."""
    scope, test = next(iter(result.test.items()))
    status(
        f"{number} of {total}: {result.arm}, {scope} items, seed {result.seed}: {listed(test)} ({result.seconds:.1f} s)"
    )


def show(result: Audit, out: Path, screen: Console) -> None:
    """Print the result as tables, and the sentence below them."""
    from kgrec.studies.audit_report import COLUMNS, about, worth_table

    for scope in result.scopes:
        table = plain(about(result, scope), COLUMNS[:1], COLUMNS[1:])
        for row in worth_table(result, scope):
            table.add_row(*row)
        screen.print(table)
    for arm in result.arms:
        if arm.skipped:
            note(f"arm {arm.arm!r} was skipped: {arm.skipped}")
    for text in result.notes:
        note(text)
    for line in too_few({scope: counts["users"] for scope, counts in result.counts.items()}):
        note(line)
    screen.print(result.sentence)
    status(f"wrote {out}")
