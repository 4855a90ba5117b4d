"""`kgrec tune`: search for the settings of a model, or for the model, by validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgrec.cli.options import ResultOptions, TrainingOptions, comma_separated, job_option, with_options
from kgrec.cli.output import console, note, plain, print_json, status
from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from rich.console import Console

    from kgrec.studies.tuning.tuning_results import Tuning
    from kgrec.studies.tuning.tuning_trials import TriedSettings

MOST_ROWS = 10  #: trials that the table shows


@with_options
def tune(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[MODEL] GRAPH", help="A model and a graph folder; with --models, the folder alone."),
    ],
    *,
    trials: Annotated[
        int | None,
        typer.Option("--trials", help="Number of trials in all. Default: 40, or as many as fit into --timeout."),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", help="How long to search, such as 30m or 1h; with --models, all of them together."),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="FIELD=LOW..HIGH",
            help="Vary this field of the model between two numbers, or among values: dim=32,64,128. May be repeated. "
            "Fields with a range of their own are varied too, unless --set fixes them.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", help="Number of processes, each with a trial of its own.")] = 1,
    out: Annotated[Path, typer.Option("--out", help="The YAML file of the best settings to write.")] = Path(
        "tuned.yaml"
    ),
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="An Optuna storage, for a search on several machines: sqlite:///FILE, postgresql://... Default: an "
            "SQLite file beside --out.",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="Name of the study in the storage. Default: the model's name.")
    ] = None,
    split: Annotated[str | None, job_option("--split")] = None,
    repeats: Annotated[str | None, job_option("--repeats")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Raise an error if there is no search to go on with; --out may exist. The same command goes on "
            "without it too.",
        ),
    ] = False,
    training: TrainingOptions,
    result: ResultOptions,
) -> None:
    """Search for the settings with which a model is best on validation. Test is never looked at."""
    from kgrec.studies.backtesting import duration
    from kgrec.studies.tuning.search_space import parse_ranges
    from kgrec.studies.tuning.tuning_study import tune as tune_model

    model, graph = _named(words)
    job = training.job(model, "kgrec tune", split=split, repeats=repeats)
    found = tune_model(
        job,
        graph,
        trials=trials,
        timeout=None if timeout is None else duration(timeout),
        ranges=parse_ranges(ranges or []),
        jobs=jobs,
        out=out,
        storage=storage,
        study=study,
        resume=resume,
        overwrite=result.overwrite,
        notify=on_trial,
    )
    print_json(found.to_json()) if result.as_json else show(found, console())


def _named(words: list[str]) -> tuple[str, Path]:
    """The model and the graph. Raises KgrecError for another number of words."""
    if len(words) != 2:
        raise KgrecError(f"kgrec tune takes a model and a graph folder, but there are {len(words)} words; see --help")
    return words[0], Path(words[1])


def on_trial(trial: TriedSettings) -> None:
    """A line on stderr for each trial."""
    from kgrec.settings import assigned

    what = f"{trial.value:.4f}" if trial.value is not None else trial.error or "no validation"
    settings = " ".join(f"{name}={assigned(value)}" for name, value in trial.settings.items())
    rest = "" if trial.value is None else f"  epoch {trial.best_epoch} of {trial.epochs}, {trial.seconds:.1f} s"
    status(f"trial {trial.number}, {trial.state}: {what}  {settings}{rest}")


def show(result: Tuning, screen: Console) -> None:
    """Print the best trials, what the settings matter, and the command."""
    from kgrec.settings import assigned

    names = [one.name for one in result.searched]
    ranked = [one for one in result.trials if one.value is not None]
    ranked.sort(key=lambda one: one.value or 0.0, reverse=result.higher_is_better)
    title = f"{result.model}: {result.metric} on valid ({result.protocol})"
    table = plain(title, ["trial"], [result.metric, *names, "epoch", "seconds"])
    for one in ranked[:MOST_ROWS]:
        start = " (start)" if result.start is not None and one.number == result.start.number else ""
        values = [assigned(one.settings[name]) if name in one.settings else "" for name in names]
        table.add_row(
            f"{one.number}{start}, {one.state}", f"{one.value:.4f}", *values, f"{one.best_epoch}", f"{one.seconds:.1f}"
        )
    screen.print(table)
    screen.print(", ".join(f"{number} {state}" for state, number in result.counts.items()))
    if result.importance:
        shares = ", ".join(f"{name} {share:.2f}" for name, share in result.importance.items())
        screen.print(f"importance: {shares}")
    screen.print(f"train with the best settings, and measure test once:\n  {result.command}")
    errors = [one.error for one in result.trials if one.state == "failed"]
    if errors:
        note(f"{len(errors)} trial{'s' * (len(errors) != 1)} failed; the last one: {errors[-1]}")


__all__ = ["comma_separated", "tune"]
