"""The pages of models and of training settings, generated from the settings classes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable

from documentation.tables import code, prose, sentence, table
from kgrec import models
from kgrec.cli.models import describe_model
from kgrec.settings import FieldInfo, assigned, describe
from kgrec.training.config import AdversarialConfig, TrainingConfig
from kgrec.training.job import TrainingJob

MODELS = """\
# Models

`kgrec models` lists them and `kgrec models NAME` explains the settings of one. `--set NAME=VALUE` sets a setting on the
command line, a YAML file sets several (`--config FILE`), and `config={...}` sets them in Python.
[Choosing a model](../guides/models.md) says which one suits which data.
"""
SETTINGS = """\
# Settings of a training

What a training is asked for, and how long and how it trains. Each is an option of `kgrec train` and an argument of
`kgrec.train`. How it trains is set with `--set training.NAME=VALUE` too. The settings of each model are on
[the page of models](models.md).
"""


@functools.cache
def models_page() -> str:
    """The models and their settings, in Markdown."""
    found = [describe_model(name) for name in models.builtin_names()]
    rows = [
        [f"[`{one.name}`](#{one.name})", prose(one.summary), ", ".join(one.tasks), _paper(one.paper)] for one in found
    ]
    lines = [MODELS, table(["model", "what it is", "tasks", "paper"], rows), ""]
    for one in found:
        facts = {"Tasks": ", ".join(one.tasks), "New users": one.served, "Paper": _paper(one.paper) or "none"}
        lines += [f"## {one.name}", "", prose(one.summary), ""]
        lines += [*(f"- {name}: {text}" for name, text in facts.items()), ""]
        lines += [_fields(one.fields, one.name) if one.fields else "This model has no settings.", ""]
    return "\n".join(lines)


def settings_page() -> str:
    """The settings of a training, in Markdown."""
    lines = [SETTINGS]
    for heading, kind, how in (
        ("The training job", TrainingJob, "Options of `kgrec train` and arguments of `kgrec.train`."),
        ("How it is trained", TrainingConfig, "Set with `--set training.NAME=VALUE`, or as an option."),
        ("Adversarial regularisation", AdversarialConfig, "Set with `--set adversarial.NAME=VALUE`."),
    ):
        text = " ".join((inspect.getdoc(kind) or "").split())
        name = kind.__name__
        lines += [f"## {heading} {{ #{name.lower()} }}", "", prose(f"`kgrec` class `{name}`. {text} {how}"), ""]
        lines += [_fields(describe(kind), name.lower()), ""]
    return "\n".join(lines)


def _paper(text: str) -> str:
    return prose(text)


def _fields(fields: Iterable[FieldInfo], prefix: str) -> str:
    rows = []
    for field in fields:
        kind = " or ".join(code(assigned(one)) for one in field.choices) or ", ".join(
            filter(None, [field.type, field.bounds])
        )
        is_group = isinstance(field.default, dict) and field.default
        default = "(required)" if field.required else "its defaults" if is_group else code(assigned(field.default))
        anchor = f'<a id="{prefix}-{field.name}"></a>'
        rows.append([anchor + code(field.name), kind, default, prose(sentence(field.meaning))])
    return table(["setting", "type", "default", "meaning"], rows)
