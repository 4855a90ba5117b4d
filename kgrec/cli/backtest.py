"""`kgrec backtest`: train and test a model once for each of several time windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kgrec.cli.options import (
    GraphFolder,
    ModelName,
    ResultOptions,
    TrackingOptions,
    TrainingOptions,
    job_option,
    watchable,
    with_options,
)
from kgrec.cli.output import about_edges, by_metric, console, listed, plain, print_json, progress, status, too_few

if TYPE_CHECKING:
    from rich.console import Console

    from kgrec.studies.backtesting import Backtest, Window


@watchable
@with_options
def backtest(
    model: ModelName,
    graph: GraphFolder,
    *,
    every: Annotated[str, typer.Option("--every", help="Length of a time window, such as 30m, 12h, 7d or 2w.")],
    windows: Annotated[
        int, typer.Option("--windows", help="Number of windows. The last one ends where the data ends.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="A JSON file to write the result to.")] = None,
    repeats: Annotated[str | None, job_option("--repeats")] = None,
    no_valid: Annotated[
        bool,
        typer.Option("--no-valid", help="No validation: train on everything before a window, for all epochs."),
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="An SVG file to draw the metrics by window in.")] = None,
    training: TrainingOptions,
    tracking: TrackingOptions,
    result: ResultOptions,
) -> None:
    """Test a model on several windows of time: train on what came before each window, and measure in the window."""
    from kgrec.plots.svg_files import check_svg_path, write_svg
    from kgrec.studies.backtesting import backtest as test_windows
    from kgrec.studies.backtesting import duration

    if plot is not None:
        check_svg_path(plot, result.overwrite)
    found = test_windows(
        training.job(
            model, "kgrec backtest", repeats=repeats, out=out, overwrite=result.overwrite, track=tracking.trackers
        ),
        graph,
        every=duration(every),
        windows=windows,
        valid=not no_valid,
        report=progress,
        notify=on_window,
    )
    print_json(found.to_json()) if result.as_json else show(found, console())
    if plot is not None:
        from kgrec.studies.study_plots import backtest_plot

        write_svg(plot, backtest_plot(found), overwrite=result.overwrite)


def on_window(window: Window) -> None:
    """A line on stderr for each window."""
    status(f"window {window.number}, {window.span}: {window.skipped or listed(window.test)}")


def _minute(time: int) -> str:
    import numpy as np

    return f"{np.datetime64(time, 's').astype('datetime64[m]')}Z"


def show(result: Backtest, screen: Console) -> None:
    """Print the result as tables."""
    counted = ["train", "valid", "test", "users", "new", "no history"]
    table = plain(f"{result.model} ({result.protocol})", ["test from", "to"], counted)
    for window in result.windows:
        counts = [window.num_train, window.num_valid, window.num_test, window.num_users, window.num_new_users]
        counts.append(window.num_without_history)
        table.add_row(_minute(window.start), _minute(window.stop), *(f"{count:,}" for count in counts))
    screen.print(table)
    rows = {_minute(window.start): window.test for window in result.windows if window.skipped is None}
    spread = {metric: value for metric, value in result.spread.items() if value is not None}
    rows |= {"mean": result.mean, "spread": spread}
    for values in by_metric("test from", rows, title="Metrics", width=screen.width):
        screen.print(values)
    few = too_few({_minute(one.start): one.num_users for one in result.windows if one.skipped is None})
    repeats = together([window.repeats for window in result.windows if window.repeats])
    for line in (*about_edges(result.edges_left_out, {}), *few, *about_edges(0, repeats)):
        screen.print(line)
    for window in result.windows:
        if window.skipped is not None:
            screen.print(f"window {window.span} was skipped: {window.skipped}")


def together(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The repeat counts of several windows in one: the sums, and the mean of the highest possible hit rates.

    >>> one = {"choice": "miss", "ranked": "catalog", "pairs": 1, "held_out_pairs": 4, "highest_hit_rate": 0.5}
    >>> together([one, one | {"highest_hit_rate": 1.0}])["highest_hit_rate"]
    0.75
    """
    if not counts:
        return {}
    names = ("pairs", "held_out_pairs", "dropped_users")
    sums = {name: sum(one.get(name, 0) for one in counts) for name in names}
    highest = [one["highest_hit_rate"] for one in counts if "highest_hit_rate" in one]
    reached = {"highest_hit_rate": sum(highest) / len(highest)} if highest else {}
    return {"choice": counts[0]["choice"], "ranked": counts[0]["ranked"], **sums, **reached}
