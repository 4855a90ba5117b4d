"""The kgrec command: thin; every option is a field of a config or an argument of a library function."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kgrec.studies.backtesting import Window
    from kgrec.studies.robustness import Trial
    from kgrec.training.config import TrainingConfig
    from kgrec.training.trainer import Epoch


def wait_briefly() -> None:
    """Let OpenMP's threads spin some microseconds and then sleep; to be called before torch starts.

    By default they spin for ever, and a batch takes ten times as long where another process shares the cores.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


app = typer.Typer(
    name="kgrec",
    help="Files to one graph, models on it, recommendations in your own ids.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as `kgrec train --out` writes it.")]
GraphFolder = Annotated[Path, typer.Argument(metavar="GRAPH", help="A graph folder, as `kgrec build` writes it.")]
Data = Annotated[Path | None, typer.Option("--data", help="The folder that the recipe's paths start from.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone to stdout; all else goes to stderr.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what --out names.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="field=value; training.x=... and adversarial.x=... for the training's fields."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A YAML file of fields, with `training:` for the training's.")
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="At most so many.")]
Patience = Annotated[int | None, typer.Option("--patience", help="Validations without a better one.")]
Chooser = Annotated[str | None, typer.Option("--metric", help="Chooses the best epoch, such as ndcg@10.")]
Metrics = Annotated[str | None, typer.Option("--metrics", help="What to measure: recall@20,ndcg@20.")]
Refit = Annotated[bool, typer.Option("--refit", help="Then train on train + valid, for as many epochs.")]
TrainingDevice = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Own = Annotated[
    str | None, typer.Option("--model", help="The dotted path of your own model, to say that you trust it.")
]


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe such as graphs/ml-1m.yaml.")],
    out: Annotated[Path, typer.Option("--out", help="The graph folder to write.")],
    data: Data = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Build a graph folder from the files that a recipe names."""
    from kgrec.sources.building import build_to

    report = build_to(recipe, data, out, overwrite=overwrite)
    _print_json(report.to_json()) if as_json else print(report)


@app.command()
def info(graph: GraphFolder, as_json: Json = False) -> None:
    """Say what a graph holds: types, counts, degrees, times, link coverage, features, relations."""
    from kgrec.graph import Graph
    from kgrec.graph.description import info as describe
    from kgrec.graph.description import show

    facts = describe(Graph.load(graph))
    _print_json(facts) if as_json else show(facts, _console())


@app.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="RECIPE|GRAPH", help="A recipe or a graph folder.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Report every problem of the files behind a recipe, or of a graph folder; exit code 1 if anything is wrong."""
    from dataclasses import asdict

    from kgrec.sources.checking import check as find_problems

    problems = find_problems(path, data)
    if as_json:
        _print_json([asdict(problem) for problem in problems])
    else:
        for problem in problems:
            print(problem)
        errors = sum(problem.severity == "error" for problem in problems)
        print(f"{errors} errors, {len(problems) - errors} notes")
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(1)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed and what this machine offers: versions, devices, threads, optional parts."""
    from kgrec.doctor import doctor as examine
    from kgrec.doctor import show

    facts = examine()
    _print_json(facts) if as_json else show(facts, _console())


@app.command()
def models(as_json: Json = False) -> None:
    """List the models and the fields that --set takes."""
    import dataclasses

    from kgrec import models as folder

    listing = {
        name: {f.name: _shown(f) for f in dataclasses.fields(folder.find(name).Config)} for name in folder.names()
    }
    if as_json:
        _print_json(listing)
        return
    for name, fields in listing.items():
        print(f"{name}: {', '.join(f'{field}={default}' for field, default in fields.items()) or 'no fields'}")


def _shown(field: Any) -> Any:
    import dataclasses

    return None if field.default is dataclasses.MISSING else field.default


@app.command()
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
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a model, choose its epoch on validation, measure it once on test, and keep it as a run folder."""
    from kgrec.run import train as train_model

    fields, settings = _settings(
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
        metrics=_names(metrics),
        refit=refit,
        init=init,
        init_part=init_part,
        out=out,
        resume=resume,
        overwrite=overwrite,
        report=_report,
    )
    _print_json(run.metrics) if as_json else _show_metrics(run.metrics)


def _settings(config: Path | None, assignments: list[str], **given: Any) -> tuple[dict[str, Any], TrainingConfig]:
    """The model's fields and the training: those of the file, over them those of --set, over them options given."""
    from kgrec.settings import configure
    from kgrec.training.config import AdversarialConfig, TrainingConfig

    fields, training = _fields(config, assignments)
    if "adversarial" in training:
        training["adversarial"] = configure(AdversarialConfig, training["adversarial"], "adversarial")
    training |= {name: value for name, value in given.items() if value is not None}
    return fields, configure(TrainingConfig, training, "training")


def _names(metrics: str | None) -> list[str] | None:
    return [name.strip() for name in metrics.split(",")] if metrics else None


def _fields(config: Path | None, assignments: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's and the training's fields: those of the file, and over them those of --set."""
    from kgrec.settings import parse_assignments

    fields = _read_config(config) if config is not None else {}
    training = fields.pop("training", {})
    for name, value in parse_assignments(assignments).items():
        group, dot, field = name.partition(".")
        if dot and group not in ("training", "adversarial"):
            raise KgrecError(
                f"--set {name}: no group {group!r}; fields stand alone, or as training.field or adversarial.field"
            )
        if group == "training" and field.partition(".")[0] == "adversarial":
            raise KgrecError(f"--set {name}: its fields are set alone, as adversarial.epsilon and adversarial.weight")
        if group == "adversarial":
            training["adversarial"] = {**training.get("adversarial", {}), field: value}
        elif dot:
            training[field] = value
        else:
            fields[name] = value
    return fields, training


def _read_config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise KgrecError(f"--config {path}: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("training", {}), dict):
        raise KgrecError(f"--config {path}: a mapping of fields is wanted, with a mapping under `training:`")
    if not isinstance(fields.get("training", {}).get("adversarial", {}), dict):
        raise KgrecError(f"--config {path}: a mapping of fields is wanted under `adversarial:`, such as weight: 1")
    return fields


@app.command()
def evaluate(
    run: RunFolder,
    graph: GraphFolder,
    split: Annotated[str | None, typer.Option("--split", help="A SPEC; default: the run's own.")] = None,
    candidates: Annotated[str | None, typer.Option("--candidates", help="A list in the graph, or all.")] = None,
    metrics: Metrics = None,
    device: Device = "auto",
    model: Own = None,
    as_json: Json = False,
) -> None:
    """Measure a run on the test edges of a graph."""
    from kgrec.run import Run, measure

    result = measure(
        Run.load(run, trust=model, device=device),
        graph,
        split=split,
        candidates=candidates,
        metrics=_names(metrics),
    )
    _print_json(result) if as_json else _show_metrics(result)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Run folders of one protocol.")],
    reference: Annotated[
        str | None, typer.Option("--reference", help="A run, or `best` by the first metric; default: the first.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="Such as recall@20,ndcg@20; default: all that all runs have.")
    ] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="Of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option("--resamples", help="Draws of users behind the intervals.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Of these draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare what runs measured on test, with intervals and tests of their differences, user by user."""
    from kgrec.studies.comparison import compare as compare_runs
    from kgrec.studies.comparison import show

    result = compare_runs(
        runs, reference=reference, metrics=_names(metrics), confidence=confidence, resamples=resamples, seed=seed
    )
    _print_json(result.to_json()) if as_json else show(result, _console())


@app.command()
def backtest(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name of `kgrec models`, or a dotted path.")],
    graph: GraphFolder,
    every: Annotated[str, typer.Option("--every", help="A window's length: 30m, 12h, 7d or 2w.")],
    windows: Annotated[int, typer.Option("--windows", help="How many, the last of which ends with the data.")],
    out: Annotated[Path | None, typer.Option("--out", help="A JSON file to write.")] = None,
    no_valid: Annotated[bool, typer.Option("--no-valid", help="Train on all before a window, for all epochs.")] = False,
    assignments: Assignments = None,
    config: ConfigFile = None,
    epochs: Epochs = None,
    patience: Patience = None,
    metric: Chooser = None,
    metrics: Metrics = None,
    refit: Refit = False,
    seed: Annotated[int | None, typer.Option("--seed")] = None,
    device: TrainingDevice = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a model anew for each of several windows of time, on what was before, and measure it in them."""
    from kgrec.studies.backtesting import backtest as test_windows
    from kgrec.studies.backtesting import duration, show

    fields, settings = _settings(
        config, assignments or [], epochs=epochs, patience=patience, metric=metric, seed=seed, device=device
    )
    result = test_windows(
        model,
        graph,
        every=duration(every),
        windows=windows,
        valid=not no_valid,
        config=fields,
        training=settings,
        metrics=_names(metrics),
        refit=refit,
        out=out,
        overwrite=overwrite,
        report=_report,
        tell=_report_window,
    )
    _print_json(result.to_json()) if as_json else show(result, _console())


@app.command()
def robustness(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name of `kgrec models`, or a dotted path.")],
    graph: GraphFolder,
    noise: Annotated[str, typer.Option("--noise", help="Rates; 0 is always there.")] = "0,0.05,0.1,0.2,0.4",
    kinds: Annotated[
        str, typer.Option("--kinds", help="Of add, drop, swap, shilling, bandwagon and embedding.")
    ] = "add,drop",
    seeds: Annotated[int, typer.Option("--seeds", help="How many, from --seed on.")] = 3,
    targets: Annotated[int, typer.Option("--targets", help="Items that fake users push.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="A folder to write, with JSON and a plot.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="A SPEC such as last_n:1,valid=1.")] = None,
    candidates: Annotated[
        str | None, typer.Option("--candidates", help="Items to rank at test: a list in the graph, or all.")
    ] = None,
    assignments: Assignments = None,
    config: ConfigFile = None,
    epochs: Epochs = None,
    patience: Patience = None,
    metric: Chooser = None,
    metrics: Metrics = None,
    refit: Refit = False,
    seed: Annotated[int | None, typer.Option("--seed")] = None,
    device: TrainingDevice = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure how much a model loses where what it learns from has noise in it: false, lost and disordered edges, fake
    users, moved vectors."""
    from kgrec.studies.robustness import measure_robustness, read_rates, show

    fields, settings = _settings(
        config, assignments or [], epochs=epochs, patience=patience, metric=metric, seed=seed, device=device
    )
    result = measure_robustness(
        model,
        graph,
        noise=read_rates(noise),
        kinds=_names(kinds) or [],
        seeds=seeds,
        targets=targets,
        split=split,
        candidates=candidates,
        config=fields,
        training=settings,
        metrics=_names(metrics),
        refit=refit,
        out=out,
        overwrite=overwrite,
        report=_report,
        tell=_report_trial,
    )
    _print_json(result.to_json()) if as_json else show(result, _console())


@app.command()
def recommend(
    run: RunFolder,
    user: Annotated[list[str] | None, typer.Option("--user", help="A user's id; may be given several times.")] = None,
    users: Annotated[str | None, typer.Option("--users", help="A file with an id a line, or `all`.")] = None,
    history: Annotated[
        Path | None, typer.Option("--history", help="CSV of a new user's items: item[,time][,weight][,behaviour].")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Items for each user.")] = 10,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Also items that the user has.")] = False,
    why: Annotated[
        bool, typer.Option("--why", help="List the past items behind a list, with their attention.")
    ] = False,
    skip_unknown: Annotated[bool, typer.Option("--skip-unknown", help="Leave out a history's unknown items.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write .parquet or .csv instead of printing.")] = None,
    device: Device = "auto",
    model: Own = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Recommend items to users of a run, or to a new user by what it did."""
    from kgrec.run import Run
    from kgrec.serving.recommendation import lists_for, new_user_lists, wanted_users, write_lists

    trained = Run.load(run, trust=model, device=device)
    if history is not None:
        if user or users:
            raise KgrecError("--history is for one new user; leave out --user and --users")
        lists = iter(
            new_user_lists(
                trained, history, k=k, include_seen=include_seen, why=why, skip_unknown=skip_unknown, tell=_tell
            )
        )
    else:
        wanted = wanted_users(trained, user or [], users)
        lists = lists_for(trained, wanted, k=k, include_seen=include_seen, why=why)
    if out is not None:
        rows = write_lists(lists, out, overwrite=overwrite)
        print(f"{rows} rows in {out}", file=sys.stderr)
    elif as_json:
        _print_json([one.to_json() for chunk in lists for one in chunk])
    else:
        for chunk in lists:
            for one in chunk:
                _console().print(one.table())
                if why:
                    _console().print(one.why_table())


@app.command()
def predict(
    run: RunFolder,
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="CSV or Parquet with the columns user and item.")],
    skip_unknown: Annotated[bool, typer.Option("--skip-unknown", help="Leave out rows of ids not known.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write .parquet or .csv instead of printing.")] = None,
    device: Device = "auto",
    model: Own = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Predict the rating, the probability of a click or the score of each pair of a user and an item."""
    from kgrec.run import Run
    from kgrec.serving.prediction import predict_file
    from kgrec.table_files import as_csv, refuse_out, write

    if out is not None:
        refuse_out(out, overwrite)
    predictions = predict_file(Run.load(run, trust=model, device=device), pairs, skip_unknown=skip_unknown)
    if predictions.num_left_out:
        print(f"left out: {predictions.num_left_out:,} rows of unknown ids", file=sys.stderr)
    if out is not None:
        write(predictions.table, out, overwrite=overwrite)
        print(f"{len(predictions.table):,} rows in {out}", file=sys.stderr)
    elif as_json:
        _print_json(predictions.to_json())
    else:
        print(as_csv(predictions.table), end="")


@app.command()
def generate(
    run: RunFolder,
    users: Annotated[int, typer.Option("--users", help="How many synthetic users.")],
    out: Annotated[Path, typer.Option("--out", help="The .csv or .parquet file to write: user, item, synthetic.")],
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Sample synthetic users from a trained gan, and say how they compare with the real ones."""
    from kgrec.run import Run
    from kgrec.studies.generation import generate as sample
    from kgrec.studies.generation import show
    from kgrec.table_files import refuse_out, write

    refuse_out(out, overwrite)
    generated = sample(Run.load(run, device=device), users, seed=seed)
    write(generated.table, out, overwrite=overwrite)
    print(f"{len(generated.table):,} rows in {out}", file=sys.stderr)
    _print_json(generated.to_json()) if as_json else show(generated, _console())


# ---------------------------------------------------------------------- printing


def _console() -> Any:
    from rich.console import Console

    return Console()


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def _tell(message: str) -> None:
    print(f"note: {message}", file=sys.stderr)


def _report(epoch: Epoch, metrics: Mapping[str, float]) -> None:
    losses = ", ".join(f"{name} {value:.4f}" for name, value in epoch.losses.items())
    measured = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    print(f"epoch {epoch.number}  {epoch.seconds:.2f} s  {losses}  {measured}".rstrip(), file=sys.stderr, flush=True)
    for warning in epoch.warnings:
        _tell(warning)


def _report_window(window: Window) -> None:
    measured = window.skipped or ", ".join(f"{name} {value:.4f}" for name, value in window.test.items())
    print(f"window {window.number}, {window.span}: {measured}", file=sys.stderr, flush=True)


def _report_trial(trial: Trial) -> None:
    measured = ", ".join(f"{name} {value:.4f}" for name, value in trial.test.items())
    print(f"{trial.kind} {trial.rate:g}, seed {trial.seed}: {measured}", file=sys.stderr, flush=True)


def _show_metrics(metrics: Mapping[str, Any]) -> None:
    from rich.table import Table

    parts = [part for part in ("valid", "test", "test_warm", "test_cold") if metrics.get(part)]
    table = Table("metric", *parts, title=f"{metrics['model']} ({metrics['protocol']})")
    for name in dict.fromkeys(name for part in parts for name in metrics[part]):
        table.add_row(name, *(f"{metrics[part][name]:.4f}" if name in metrics[part] else "" for part in parts))
    console = _console()
    console.print(table)
    rest = {name: value for name, value in metrics.items() if not isinstance(value, dict)}
    console.print(
        ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in rest.items()
        )
    )
    if "init" in metrics:
        console.print(_shown_start(metrics["init"]))


def _shown_start(start: Mapping[str, Any]) -> str:
    """What a model started from: vectors by table, layers, and what was left as it was."""
    vectors = [
        f"{name} {one['found']:,} of {one['nodes']:,} from {one['from']}" for name, one in start["vectors"].items()
    ]
    parts = {"vectors": vectors, "layers": start["layers"], "not taken": start["left"]}
    said = "; ".join(f"{name}: {', '.join(part) if part else 'none'}" for name, part in parts.items())
    if start.get("other_graph"):
        said += "; it is of another graph, so whether it has seen what is held out here cannot be told"
    part = f", its {start['part']}" if "part" in start else ""
    return f"started from {start['run']} ({start['model']}{part}): {said}"


def main() -> None:
    """The entry point: what cannot be done is said in one message, with exit code 1."""
    wait_briefly()
    try:
        app()
    except KgrecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"error: {error.filename or ''} {error.strerror or error}".replace("  ", " "), file=sys.stderr)
        sys.exit(1)
