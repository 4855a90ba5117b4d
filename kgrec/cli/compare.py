"""`kgrec compare`: the test results of several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgrec.cli.options import Json, comma_separated, watchable
from kgrec.cli.output import by_metric, console, plain, print_json, too_few

if TYPE_CHECKING:
    from rich.console import Console

    from kgrec.studies.comparison import Comparison


@watchable
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN ...", help="Run folders that were measured with the same protocol.")
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="The run that all others are compared with; `best` is the best by the first metric. Default: the "
            "first run.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", help="Metrics to compare, such as recall@20,ndcg@20. Default: all metrics that every run has."
        ),
    ] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="Confidence level of the intervals.")] = 0.95,
    resamples: Annotated[
        int, typer.Option("--resamples", help="Number of bootstrap resamples of the users for the intervals.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap resamples.")] = 0,
    plot: Annotated[Path | None, typer.Option("--plot", help="An SVG file to draw the differences in.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that --plot names.")] = False,
    as_json: Json = False,
) -> None:
    """Compare the test results of runs user by user, with confidence intervals and significance tests."""
    from kgrec.plots.svg_files import check_svg_path, write_svg
    from kgrec.studies.comparison import compare as compare_runs

    if plot is not None:
        check_svg_path(plot, overwrite)
    result = compare_runs(
        runs,
        reference=reference,
        metrics=comma_separated(metrics),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    print_json(result.to_json()) if as_json else show(result, console())
    if plot is not None:
        from kgrec.studies.study_plots import comparison_plot

        write_svg(plot, comparison_plot(result), overwrite=overwrite)


def show(comparison: Comparison, screen: Console) -> None:
    """Print the comparison as tables."""
    title = f"{comparison.protocol}, {comparison.num_users:,} users"
    for table in by_metric("run", comparison.test, title=title, width=screen.width):
        screen.print(table)
    title = f"difference from {comparison.reference}; p: Wilcoxon test with Holm correction"
    interval_of = f"{100 * comparison.confidence:.4g} % interval"
    table = plain(title, ["metric", "run"], ["difference", interval_of, "p"])
    for one in comparison.differences:
        interval = "" if one.interval is None else f"{one.interval[0]:+.4f} to {one.interval[1]:+.4f}"
        table.add_row(one.metric, one.run, f"{one.difference:+.4f}", interval, "" if one.p is None else f"{one.p:.3g}")
    screen.print(table)
    for line in too_few({"the comparison": comparison.num_users}):
        screen.print(line)
    for note in comparison.notes:
        screen.print(note)
