"""`kgrec tune`: search for the settings of a model, or for the model, by validation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kgrec.cli.next_steps import advice_if_stopped
from kgrec.cli.options import ResultOptions, TrainingOptions, comma_separated, job_option, watchable, with_options
from kgrec.cli.output import console, note, plain, print_json, status
from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from rich.console import Console

    from kgrec.studies.tuning.model_choice import ModelChoice
    from kgrec.studies.tuning.tuning_results import Tuning
    from kgrec.studies.tuning.tuning_trials import TriedSettings

MOST_ROWS = 10  #: trials that the table shows


@watchable
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
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            metavar="MODEL,MODEL",
            help="Compare these models, each with its best settings and the same budget. Simple models always "
            "take part: popularity, itemknn, ease and ials for rankings.",
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
            help="Continue a search; --out may exist. It is an error if there is none. Without --resume the same "
            "command continues too, as long as --out does not exist.",
        ),
    ] = False,
    training: TrainingOptions,
    result: ResultOptions,
) -> None:
    """Search for the settings with which a model is best on validation. The test edges are never used."""
    from kgrec.studies.backtesting import duration
    from kgrec.studies.tuning.search_space import parse_ranges
    from kgrec.studies.tuning.tuning_study import tune as tune_model

    seconds = None if timeout is None else duration(timeout)
    shared: dict[str, Any] = {"trials": trials, "timeout": seconds, "jobs": jobs, "out": out, "storage": storage}
    shared |= {"resume": resume, "overwrite": result.overwrite, "notify": on_trial}
    goes_on = advice_if_stopped(lambda: "the same command goes on with this search")
    if models is not None:
        with goes_on:
            choice = _choose(models, words, training, ranges, study, shared, {"split": split, "repeats": repeats})
        print_json(choice.to_json()) if result.as_json else show_choice(choice, console())
        return
    model, graph = _named(words)
    job = training.job(model, "kgrec tune", split=split, repeats=repeats)
    with goes_on:
        found = tune_model(job, graph, ranges=parse_ranges(ranges or []), study=study, **shared)
    print_json(found.to_json()) if result.as_json else show(found, console())


def _choose(
    models: str,
    words: list[str],
    training: TrainingOptions,
    ranges: list[str] | None,
    study: str | None,
    shared: Mapping[str, Any],
    split: Mapping[str, Any],
) -> ModelChoice:
    """The best of several models. Raises KgrecError for options that are of one model alone."""
    from kgrec.studies.tuning.model_choice import tune_models

    names = comma_separated(models) or []
    if not all(names):
        raise KgrecError(f"--models {models!r}: separate names by single commas, such as mf,sasrec")
    if len(words) != 1:
        raise KgrecError(f"kgrec tune --models takes a graph folder, but there are {len(words)} words; see --help")
    of_one = [flag for flag, value in (("--range", ranges), ("--study", study), ("--for", training.purpose)) if value]
    job = training.job(names[0], "kgrec tune", **split)
    if job.config:
        of_one.append("--set" if training.assignments else "--config")
    if of_one:
        raise KgrecError(f"{' and '.join(of_one)}: settings are of one model, but --models names several; leave it out")
    options = {
        name: getattr(job, name) for name in ("task", "split", "repeats", "training", "metrics", "exclude", "now")
    }
    options |= {"refit": job.refit, "all_edges": job.all_edges}
    return tune_models(names, Path(words[0]), **shared, **options)


def show_choice(choice: ModelChoice, screen: Console) -> None:
    """Print the models, the best first, and the command that repeats the best."""
    from kgrec.settings import assigned

    table = plain(f"{choice.metric} on valid ({choice.best.protocol})", ["model"], [choice.metric, "trials", "seconds"])
    table.add_column("settings")
    for name, one in choice.tunings.items():
        settings = " ".join(f"{field}={assigned(value)}" for field, value in one.best.settings.items())
        role = " (simple)" if name in choice.controls else ""
        table.add_row(f"{name}{role}", f"{one.best.value:.4f}", f"{len(one.trials)}", f"{one.seconds:.0f}", settings)
    screen.print(table)
    for name, reason in choice.failed.items():
        screen.print(f"{name}: {reason}")
    screen.print(f"train the best, and measure test once:\n  {choice.best.command}")


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
