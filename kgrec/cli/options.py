"""Options that several commands take, and what they become."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from kgrec.training.config import TrainingConfig

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
TrustedModel = Annotated[
    str | None, typer.Option("--model", help="The dotted path of your own model, to say that you trust it.")
]


def training_settings(
    config: Path | None, assignments: list[str], **given: Any
) -> tuple[dict[str, Any], TrainingConfig]:
    """The model's fields and the training: those of the file, over them those of --set, over them options given."""
    from kgrec.settings import configure
    from kgrec.training.config import AdversarialConfig, TrainingConfig

    fields, training = _fields(config, assignments)
    if "adversarial" in training:
        training["adversarial"] = configure(AdversarialConfig, training["adversarial"], "adversarial")
    training |= {name: value for name, value in given.items() if value is not None}
    return fields, configure(TrainingConfig, training, "training")


def metric_names(metrics: str | None) -> list[str] | None:
    """The metrics that a text names between commas; None where there is no text."""
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
