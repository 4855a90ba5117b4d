"""Options that several commands share, each defined once: as a single parameter, or in a group of options."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

import kgrec
from kgrec.cli.output import note, watching
from kgrec.errors import KgrecError
from kgrec.field_texts import field_texts

if TYPE_CHECKING:
    from kgrec.run import Run
    from kgrec.training.config import TrainingConfig
    from kgrec.training.job import TrainingJob
    from kgrec.training.tracking.tracker import Tracker

#: Files with classes whose fields are options. They are read as text, not imported, so that `kgrec --help` is quick
SETTINGS = (("training/job.py", "TrainingJob"), ("training/config.py", "TrainingConfig"))


@functools.cache
def _field_texts() -> dict[str, str]:
    """Field name -> the comment beside it, for the fields of TrainingJob and TrainingConfig."""
    found: dict[str, str] = {}
    for file, name in SETTINGS:
        source = (Path(kgrec.__file__).parent / file).read_text(encoding="utf-8")
        found = field_texts(source, name) | found
    return found


def job_option(flag: str) -> Any:
    """The option for a field of TrainingJob or TrainingConfig. Its help is the comment beside the field."""
    text = _field_texts()[flag.removeprefix("--").replace("-", "_")]
    return typer.Option(flag, help=f"{text[0].upper()}{text[1:]}.")


#: `--for`: the field `purpose`, as `for` is a word of Python
purpose_option = typer.Option("--for", metavar="PURPOSE", help=job_option("--purpose").help)
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as `kgrec train --out` writes it.")]
GraphFolder = Annotated[Path, typer.Argument(metavar="GRAPH", help="A graph folder, as `kgrec build` writes it.")]
Mmap = Annotated[bool | None, typer.Option("--mmap/--no-mmap", help=job_option("--mmap").help)]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model of `kgrec models`, or the dotted path of your own.")
]
Data = Annotated[Path | None, typer.Option("--data", help="The folder that the paths in the recipe are relative to.")]
Device = Annotated[str, typer.Option("--device", help="Where to compute: auto, cpu, cuda or cuda:N.")]
Metrics = Annotated[str | None, job_option("--metrics")]
TrustedModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Needed to load a run of your own model: its dotted path, which says that you trust its code. Separate "
        "several with commas.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON to stdout; everything else goes to stderr.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Print only results and errors: no progress, no notes, no advice.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the file or folder that --out names, if it exists.")
]
CsvSafe = Annotated[
    bool,
    typer.Option("--csv-safe", help="In CSV, put a ' before each text that a spreadsheet would read as a formula."),
]
NewItems = Annotated[
    list[Path] | None,
    typer.Option(
        "--new-items",
        metavar="FILE",
        help="A file of items that the run does not know: rows of the recipe's item table, or RDF. They are ranked "
        "with the others. Repeat it for several files.",
    ),
]
TableFile = Annotated[Path | None, typer.Option("--out", help="Write a .parquet or .csv file instead of printing.")]


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How a model is trained. Every command that trains takes these options."""

    task: Annotated[str | None, job_option("--task")] = None
    purpose: Annotated[str | None, purpose_option] = None
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the model, as field=value. Use training.field=value and adversarial.field=value for "
            "settings of the training. May be repeated.",
        ),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="A YAML file with settings of the model, and those of the training below `training:`."
        ),
    ] = None
    epochs: Annotated[int | None, job_option("--epochs")] = None
    validate_every: Annotated[int | None, job_option("--validate-every")] = None
    patience: Annotated[int | None, job_option("--patience")] = None
    metric: Annotated[str | None, job_option("--metric")] = None
    metrics: Metrics = None
    exclude: Annotated[str | None, job_option("--exclude")] = None
    now: Annotated[str | None, job_option("--now")] = None
    refit: Annotated[bool, job_option("--refit")] = False
    all_edges: Annotated[bool, job_option("--all-edges")] = False
    seed: Annotated[int | None, job_option("--seed")] = None
    device: Annotated[str | None, job_option("--device")] = None
    devices: Annotated[int | None, job_option("--devices")] = None
    precision: Annotated[str | None, job_option("--precision")] = None

    def job(self, model: str, command: str, **options: Any) -> TrainingJob:
        """The training job of these options and of the command's own options. command: its name, for messages.

        Raises UnknownName for an unknown model, field or metric, KgrecError for a value of the wrong type.
        """
        from kgrec.training.job import TrainingJob

        names = ("epochs", "validate_every", "patience", "metric", "seed", "device", "devices", "precision")
        fields, training = training_settings(
            self.config, self.assignments or [], **{name: getattr(self, name) for name in names}
        )
        shared = {name: getattr(self, name) for name in ("task", "purpose", "now", "refit", "all_edges")}
        shared |= {name: comma_separated(getattr(self, name)) for name in ("metrics", "exclude")}
        return TrainingJob.of(model, {"config": fields, "training": training, **shared, **options}, command)


@dataclasses.dataclass(frozen=True)
class TrackingOptions:
    """What follows a training."""

    track: Annotated[
        list[str] | None,
        typer.Option("--track", metavar="TRACKER", help="Log the training to mlflow or tensorboard. May be repeated."),
    ] = None
    track_uri: Annotated[
        str | None,
        typer.Option(
            "--track-uri",
            metavar="URI",
            help="Where MLflow keeps runs, such as sqlite:///runs.db or http://localhost:5000. Default: "
            "MLFLOW_TRACKING_URI, or else mlflow.db in the current folder.",
        ),
    ] = None
    track_experiment: Annotated[
        str | None,
        typer.Option(
            "--track-experiment",
            metavar="NAME",
            help="The experiment of MLflow. Default: MLFLOW_EXPERIMENT_NAME, or else kgrec.",
        ),
    ] = None
    track_folder: Annotated[
        Path | None,
        typer.Option(
            "--track-folder",
            metavar="FOLDER",
            help="Where TensorBoard's folders of trainings are. Default: tensorboard in the current folder.",
        ),
    ] = None

    @property
    def trackers(self) -> tuple[Tracker, ...]:
        """The trackers that these options name. Raises UnknownName and KgrecError as `trackers_of` does."""
        from kgrec.training.tracking.named_trackers import trackers_of

        return trackers_of(self.track or [], self.track_uri, self.track_experiment, self.track_folder)


@dataclasses.dataclass(frozen=True)
class SplitOptions:
    """Which edges are held out, and which items are ranked."""

    split: Annotated[str | None, job_option("--split")] = None
    candidates: Annotated[str | None, job_option("--candidates")] = None
    repeats: Annotated[str | None, job_option("--repeats")] = None


@dataclasses.dataclass(frozen=True)
class FilterOptions:
    """Which items a list may show."""

    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            help="Only items that meet this condition: brand=Acme, brand='Acme|Umbra', 'price<20', or a path through "
            "the graph, brand/country=Sweden. If you repeat it, items must meet all conditions.",
        ),
    ] = None
    not_: Annotated[
        list[str] | None,
        typer.Option("--not", help="Leave out items that meet this condition: in_category=Toys."),
    ] = None
    where_sparql: Annotated[
        Path | None,
        typer.Option(
            "--where-sparql",
            help="Only items that the SPARQL SELECT in this file finds, as ?item or its first variable.",
        ),
    ] = None

    @property
    def values(self) -> dict[str, Any]:
        """The options of lists by name."""
        return {"where": self.where or (), "not_": self.not_ or (), "where_sparql": self.where_sparql}


@dataclasses.dataclass(frozen=True)
class ResultOptions:
    """Where the result is written."""

    overwrite: Overwrite = False
    as_json: Json = False


def load_run(folder: Path, model: str | None, device: str, files: list[Path] | None, skip_unknown: bool) -> Run:
    """The run of a folder, with the new items of files if there are any. Prints what is left out of these."""
    from kgrec.run import Run

    run = Run.load(folder, trust=model, device=device, mapped=True)
    if not files:
        return run
    more = run.with_items(files, skip_unknown=skip_unknown)
    for text in more.notes:
        note(text)
    return more


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """A command in which each group of options (a parameter that is a dataclass) becomes one option for each field.
    The function itself receives the groups."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in groups:
            parameters += _parameters(groups[parameter.name])
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(kind=kind, annotation=hints[parameter.name]))

    @functools.wraps(function)
    def command(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
        function(**values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(group)
    ]


def watchable(function: Callable[..., None]) -> Callable[..., None]:
    """A command that may take long: it shows how far it is, and has the option --quiet."""
    hints = get_type_hints(function, include_extras=True)
    own = inspect.signature(function).parameters.values()
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [one.replace(kind=kind, annotation=hints[one.name]) for one in own]
    parameters.append(inspect.Parameter("quiet", kind, default=False, annotation=Quiet))

    @functools.wraps(function)
    def command(*, quiet: bool = False, **values: Any) -> None:
        with watching(quiet=quiet):
            function(**values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def comma_separated(text: str | None) -> list[str] | None:
    """The names in a comma-separated text; None if there is no text.

    >>> comma_separated("recall@20, ndcg@20")
    ['recall@20', 'ndcg@20']
    """
    return [name.strip() for name in text.split(",")] if text else None


def training_settings(
    config: Path | None, assignments: list[str], **options: Any
) -> tuple[dict[str, Any], TrainingConfig]:
    """The model's fields and the training config. --set overrides the file; options that are not None override both."""
    from kgrec.settings import configure
    from kgrec.training.config import AdversarialConfig, TrainingConfig

    fields, training = _fields(config, assignments)
    if "adversarial" in training:
        training["adversarial"] = configure(AdversarialConfig, training["adversarial"], "adversarial")
    training |= {name: value for name, value in options.items() if value is not None}
    return fields, configure(TrainingConfig, training, "training")


def _fields(config: Path | None, assignments: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's and the training's fields. --set overrides the file."""
    from kgrec.settings import parse_assignments

    fields = _read_config(config) if config is not None else {}
    training = fields.pop("training", {})
    for name, value in parse_assignments(assignments).items():
        group, dot, field = name.partition(".")
        if dot and group not in ("training", "adversarial"):
            raise KgrecError(
                f"--set {name}: there is no group {group!r}; write field=value for a setting of the model, "
                "training.field=value or adversarial.field=value for one of the training"
            )
        if group == "training" and field.partition(".")[0] == "adversarial":
            raise KgrecError(
                f"--set {name}: set fields of adversarial one by one, such as adversarial.epsilon=0.5 and "
                "adversarial.weight=1"
            )
        if group == "adversarial":
            training["adversarial"] = {**training.get("adversarial", {}), field: value}
        elif dot:
            training[field] = value
        else:
            fields[name] = value
    return fields, training


def _read_config(path: Path) -> dict[str, Any]:
    from kgrec.sources.recipe.document import read_yaml

    try:
        fields = read_yaml(path) or {}
    except KgrecError as error:
        raise KgrecError(f"--config {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("training", {}), dict):
        raise KgrecError(f"--config {path}: the file must be a mapping of fields, and `training:` a mapping in it")
    if not isinstance(fields.get("training", {}).get("adversarial", {}), dict):
        raise KgrecError(f"--config {path}: `adversarial:` must be a mapping of fields, such as weight: 1")
    return fields
