"""Options that several commands take: spelled once, as parameters of their own or as groups that commands share."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

import kgrec
from kgrec.errors import KgrecError
from kgrec.field_texts import field_texts

if TYPE_CHECKING:
    from kgrec.training.config import TrainingConfig
    from kgrec.training.job import TrainingJob

#: Files and the classes in them whose fields are options; they are read, not imported, so that `kgrec --help` is quick
SETTINGS = (("training/job.py", "TrainingJob"), ("training/config.py", "TrainingConfig"))


@functools.cache
def _field_texts() -> dict[str, str]:
    """What the fields of a training job and its settings mean, by name."""
    found: dict[str, str] = {}
    for file, name in SETTINGS:
        source = (Path(kgrec.__file__).parent / file).read_text(encoding="utf-8")
        found = field_texts(source, name) | found
    return found


def job_option(flag: str) -> Any:
    """The option of a field of TrainingJob or TrainingConfig, with the text beside that field as its help."""
    text = _field_texts()[flag.removeprefix("--").replace("-", "_")]
    return typer.Option(flag, help=f"{text[0].upper()}{text[1:]}.")


RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as `kgrec train --out` writes it.")]
GraphFolder = Annotated[Path, typer.Argument(metavar="GRAPH", help="A graph folder, as `kgrec build` writes it.")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="A name of `kgrec models`, or a dotted path.")]
Data = Annotated[Path | None, typer.Option("--data", help="The folder that the recipe's paths start from.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Metrics = Annotated[str | None, job_option("--metrics")]
TrustedModel = Annotated[
    str | None,
    typer.Option("--model", help="The dotted path of your own model, to say that you trust it; more after commas."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone to stdout; all else goes to stderr.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what --out names.")]
CsvSafe = Annotated[
    bool,
    typer.Option("--csv-safe", help="In CSV, put a ' before texts that a spreadsheet would read as formulas."),
]
TableFile = Annotated[Path | None, typer.Option("--out", help="Write .parquet or .csv instead of printing.")]


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How a model is trained, whichever command trains it."""

    task: Annotated[str | None, job_option("--task")] = None
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="field=value; training.x=... and adversarial.x=... for the training's fields."),
    ] = None
    config: Annotated[
        Path | None, typer.Option("--config", help="A YAML file of fields, with `training:` for the training's.")
    ] = None
    epochs: Annotated[int | None, job_option("--epochs")] = None
    validate_every: Annotated[int | None, job_option("--validate-every")] = None
    patience: Annotated[int | None, job_option("--patience")] = None
    metric: Annotated[str | None, job_option("--metric")] = None
    metrics: Metrics = None
    exclude: Annotated[str | None, job_option("--exclude")] = None
    refit: Annotated[bool, job_option("--refit")] = False
    all_edges: Annotated[bool, job_option("--all-edges")] = False
    seed: Annotated[int | None, job_option("--seed")] = None
    device: Annotated[str | None, job_option("--device")] = None
    devices: Annotated[int | None, job_option("--devices")] = None
    precision: Annotated[str | None, job_option("--precision")] = None

    def job(self, model: str, command: str, **options: Any) -> TrainingJob:
        """What training is asked for by these options and those of the command. command: its name, for messages.

        Raises UnknownName for a model, field or metric that is not there, KgrecError for a value of the wrong type.
        """
        from kgrec.training.job import TrainingJob

        names = ("epochs", "validate_every", "patience", "metric", "seed", "device", "devices", "precision")
        fields, training = training_settings(
            self.config, self.assignments or [], **{name: getattr(self, name) for name in names}
        )
        shared = {name: getattr(self, name) for name in ("task", "refit", "all_edges")}
        shared |= {name: comma_separated(getattr(self, name)) for name in ("metrics", "exclude")}
        return TrainingJob.of(model, {"config": fields, "training": training, **shared, **options}, command)


@dataclasses.dataclass(frozen=True)
class SplitOptions:
    """What is held out, and what is ranked."""

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
            help="Only items of which this is so: brand=Acme, brand='Acme|Umbra', 'price<20', or by a path through the "
            "graph, brand/country=Sweden. Of several, all must be.",
        ),
    ] = None
    not_: Annotated[
        list[str] | None, typer.Option("--not", help="Leave out items of which this is so: in_category=Toys.")
    ] = None

    @property
    def values(self) -> dict[str, Any]:
        """The options of lists by name."""
        return {"where": self.where or (), "not_": self.not_ or ()}


@dataclasses.dataclass(frozen=True)
class ResultOptions:
    """Where a result goes."""

    overwrite: Overwrite = False
    as_json: Json = False


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """A command with an option for each field of those of its parameters that are groups of options, dataclasses; the
    function itself gets the groups."""
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


def comma_separated(text: str | None) -> list[str] | None:
    """The names that a text lists between commas; None where there is no text.

    >>> comma_separated("recall@20, ndcg@20")
    ['recall@20', 'ndcg@20']
    """
    return [name.strip() for name in text.split(",")] if text else None


def training_settings(
    config: Path | None, assignments: list[str], **options: Any
) -> tuple[dict[str, Any], TrainingConfig]:
    """The model's fields and the training: those of the file, over them those of --set, over them options that are not
    None."""
    from kgrec.settings import configure
    from kgrec.training.config import AdversarialConfig, TrainingConfig

    fields, training = _fields(config, assignments)
    if "adversarial" in training:
        training["adversarial"] = configure(AdversarialConfig, training["adversarial"], "adversarial")
    training |= {name: value for name, value in options.items() if value is not None}
    return fields, configure(TrainingConfig, training, "training")


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
    from kgrec.sources.recipe.document import read_yaml

    try:
        fields = read_yaml(path) or {}
    except KgrecError as error:
        raise KgrecError(f"--config {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("training", {}), dict):
        raise KgrecError(f"--config {path}: a mapping of fields is wanted, with a mapping under `training:`")
    if not isinstance(fields.get("training", {}).get("adversarial", {}), dict):
        raise KgrecError(f"--config {path}: a mapping of fields is wanted under `adversarial:`, such as weight: 1")
    return fields
