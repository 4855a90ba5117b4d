"""`kgrec robustness`: how much worse a model becomes when its training data has noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgrec.cli.options import (
    GraphFolder,
    ModelName,
    ResultOptions,
    SplitOptions,
    TrackingOptions,
    TrainingOptions,
    comma_separated,
    watchable,
    with_options,
)
from kgrec.cli.output import about_edges, by_metric, console, listed, plain, print_json, progress, status, too_few

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kgrec.studies.noise_trials import Trial
    from kgrec.studies.robustness_results import Estimate, Robustness


@watchable
@with_options
def robustness(
    model: ModelName,
    graph: GraphFolder,
    *,
    noise: Annotated[
        str, typer.Option("--noise", help="Noise rates. Rate 0 is always measured.")
    ] = "0,0.05,0.1,0.2,0.4",
    kinds: Annotated[
        str,
        typer.Option("--kinds", help="Kinds of noise: add, drop, swap, shilling, bandwagon, embedding."),
    ] = "add,drop",
    seeds: Annotated[int, typer.Option("--seeds", help="Number of seeds, counted from --seed.")] = 3,
    targets: Annotated[int, typer.Option("--targets", help="Number of items that fake users push.")] = 5,
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder to write the result to, as JSON and as a plot.")
    ] = None,
    held_out: SplitOptions,
    training: TrainingOptions,
    tracking: TrackingOptions,
    result: ResultOptions,
) -> None:
    """Measure how much worse a model becomes when its training data has noise: false, missing or swapped edges, fake
    users, or disturbed node vectors."""
    from kgrec.studies.robustness_study import measure_robustness, read_rates

    job = training.job(
        model,
        "kgrec robustness",
        split=held_out.split,
        candidates=held_out.candidates,
        repeats=held_out.repeats,
        out=out,
        overwrite=result.overwrite,
        track=tracking.trackers,
    )
    found = measure_robustness(
        job,
        graph,
        noise=read_rates(noise),
        kinds=comma_separated(kinds) or [],
        seeds=seeds,
        targets=targets,
        report=progress,
        notify=on_trial,
    )
    print_json(found.to_json()) if result.as_json else show(found, console())


def on_trial(trial: Trial) -> None:
    """Print a line on stderr for each model that was measured."""
    status(f"{trial.kind} {trial.rate:g}, seed {trial.seed}: {listed(trial.test)}")


def show(result: Robustness, screen: Console) -> None:
    """Print the result as tables."""
    from kgrec.studies.noise_trials import CLEAN, HITS_AT

    title = f"{result.model} ({result.protocol}), {_number(len(result.seeds), 'seed')}"
    rows = {CLEAN: result.clean} | {f"{cell.kind} {cell.rate:g}": cell.test for cell in result.cells}
    means = {name: {metric: found.mean for metric, found in row.items()} for name, row in rows.items()}
    for values in by_metric("noise", means, title=title, width=screen.width):
        screen.print(values)
    metric = result.metric
    table = plain(f"{metric}: loss against clean", ["noise"], [metric, "spread", "loss", "%", "95 % interval"])
    clean = result.clean[metric]
    table.add_row(CLEAN, f"{clean.mean:.4f}", _maybe(clean.deviation), "", "", "")
    for cell in result.cells:
        test, loss, percent = cell.test[metric], cell.loss[metric], cell.percent[metric]
        share, interval = ("", "") if percent is None else (f"{percent.mean:.1f}", _span(percent, 1))
        table.add_row(
            f"{cell.kind} {cell.rate:g}",
            f"{test.mean:.4f}",
            _maybe(test.deviation),
            f"{loss.mean:.4f}",
            share,
            interval,
        )
    screen.print(table)
    if result.counts:
        screen.print(f"measured on {', '.join(f'{count:,} {name}' for name, count in result.counts.items())}")
    for line in too_few({"test": result.counts["users"]} if "users" in result.counts else {}):
        screen.print(line)
    for line in about_edges(result.edges_left_out, result.repeats):
        screen.print(line)
    if result.clean_hits is not None:
        columns = ["before", "after", "95 % interval"]
        pushed = plain(f"Pushed items: hit rate @{HITS_AT} among real users", ["noise"], columns)
        for cell in result.cells:
            if cell.hits is not None:
                before, after = result.clean_hits.mean, cell.hits
                pushed.add_row(f"{cell.kind} {cell.rate:g}", f"{before:.4f}", f"{after.mean:.4f}", _span(after, 4))
        screen.print(pushed)


def table(results: Sequence[Robustness], rate: float, metric: str | None = None) -> Table:
    """The result of `rows` as a table, with the interval of the loss in percent. Raises what `rows` raises."""
    from kgrec.studies.noise_trials import CLEAN
    from kgrec.studies.robustness_results import rows

    found = rows(results, rate, metric)
    title = f"{metric or results[0].metric} at a rate of {rate:g} ({results[0].protocol})"
    beside = plain(title, ["noise", "model"], [CLEAN, "noisy", "loss", "%", "95 % interval"])
    for row in found:
        percent = row["percent"]
        share, interval = ("", "") if percent is None else (f"{percent.mean:.1f}", _span(percent, 1))
        numbers = (f"{row[name].mean:.4f}" for name in ("clean", "noisy", "loss"))
        beside.add_row(row["kind"], row["model"], *numbers, share, interval)
    return beside


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _maybe(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _span(found: Estimate, digits: int) -> str:
    return "" if found.interval is None else f"{found.interval[0]:.{digits}f} to {found.interval[1]:.{digits}f}"
