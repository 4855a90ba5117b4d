"""`kgrec models`: list the models, or explain the settings of one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kgrec.cli.options import Json
from kgrec.cli.output import console, note, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from kgrec.settings import FieldInfo


@dataclass(frozen=True)
class ModelInfo:
    """What a user can know about a model before training it."""

    name: str
    summary: str  #: one sentence
    tasks: tuple[str, ...]
    new_users: bool  #: whether it can recommend to a user who is not in the graph, from a history alone
    paper: str  #: "" if there is none
    fields: list[FieldInfo]

    @property
    def served(self) -> str:
        """How users are served who are not in the graph."""
        return "yes, by their history" if self.new_users else "no, they get the most popular items"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "name": self.name,
            "summary": self.summary,
            "tasks": list(self.tasks),
            "new_users": self.new_users,
            "paper": self.paper,
            "fields": [field.to_json() for field in self.fields],
        }


def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="A model whose settings to explain. Without it, all models are listed."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models, or explain the settings of one. Settings are changed with --set and --config."""
    from kgrec import models as folder

    if name is not None:
        found = describe_model(name)
        print_json(found.to_json()) if as_json else show(found, console())
        return
    broken = folder.broken()  # models of other packages that cannot be imported; the others work
    for one, reason in broken.items():
        note(f"{one}: {reason}")
    listed = [describe_model(one) for one in folder.names() if one not in broken]
    if as_json:
        print_json({one.name: {field.name: field.default for field in one.fields} for one in listed})
    else:
        show_all(listed, console())


def describe_model(name: str) -> ModelInfo:
    """What a model is, and its settings, by its name or dotted path. Raises UnknownName if there is no such model."""
    from kgrec import models as folder
    from kgrec.nn.fold_in import FoldsIn
    from kgrec.settings import describe
    from kgrec.training.job import tasks_of

    kind = folder.find(name)
    return ModelInfo(
        name=name,
        summary=summary_of(kind),
        tasks=tasks_of(name),
        new_users=kind.reads_history or issubclass(kind, FoldsIn),
        paper=kind.paper,
        fields=describe(kind.Config),
    )


def summary_of(kind: type) -> str:
    """The first sentence of the docstring of a model's file, or else of its class."""
    import sys

    for text in (sys.modules[kind.__module__].__doc__, kind.__doc__):
        if text and text.strip():
            return first_sentence(text)
    return ""


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line.

    >>> first_sentence("MF: a vector a user (arXiv 1.2), and\\n    more. The rest.")
    'MF: a vector a user (arXiv 1.2), and more.'
    """
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s", paragraph, maxsplit=1)[0]


def show_all(listed: list[ModelInfo], screen: Console) -> None:
    """Print a table with one row for each model."""
    table = plain("Models", ["name", "what it is", "tasks", "paper"], [])
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    for one in listed:
        table.add_row(one.name, one.summary, ", ".join(one.tasks), one.paper)
    screen.print(table)
    screen.print("`kgrec models NAME` explains the settings of a model; change them with --set FIELD=VALUE")


def show(one: ModelInfo, screen: Console) -> None:
    """Print what a model is, and a table with one row for each setting."""
    screen.print(one.summary)
    facts = {
        "tasks": ", ".join(one.tasks),
        "new users": one.served,
        "paper": one.paper or "none",
    }
    for name, text in facts.items():
        screen.print(f"{name}: {text}")
    if not one.fields:
        screen.print("This model has no settings.")
        return
    from kgrec.settings import assigned

    table = plain(f"Settings of {one.name}", ["field", "type", "default", "meaning"], [])
    table.columns[0].no_wrap = True
    for field in one.fields:
        choices = ", ".join(map(assigned, field.choices))
        kind = f"{field.type}: {choices}" if choices else ", ".join(filter(None, [field.type, field.bounds]))
        default = "(required)" if field.required else assigned(field.default)
        table.add_row(field.name, kind, default, field.meaning)
    screen.print(table)
