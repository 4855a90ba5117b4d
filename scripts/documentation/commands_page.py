"""The page of all commands and their options, generated from the functions behind them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from documentation.tables import code, prose, sentence, table
from kgrec import cli
from kgrec.field_types import plain_type

INTRODUCTION = """\
# Commands

`kgrec COMMAND --help` shows the same as this page. Tables and JSON go to stdout; progress and notes go to stderr.

Exit codes: 0 means done; 1 that the data or the run failed, with one message on stderr; 2 that the command was called
wrongly; 128 and the signal's number that a signal ended it (143 for SIGTERM, 130 for Ctrl-C).
"""


@dataclass(frozen=True)
class Parameter:
    """An argument or an option of a command."""

    names: tuple[str, ...]  #: the flags of an option, or the name of an argument in the usage line
    is_argument: bool
    kind: str  #: type in plain words; "": a flag
    default: str  #: the default as a user would write it; "": none
    is_required: bool
    help: str


def commands_page() -> str:
    """The page in Markdown."""
    found = {str(one.name): one.callback for one in cli.app.registered_commands}
    listed = [[f"[`kgrec {name}`](#kgrec-{name})", prose(_summary(function))] for name, function in found.items()]
    parts = [INTRODUCTION, table(["command", "what it does"], listed), ""]
    return "\n".join([*parts, *(_section(name, function) for name, function in found.items() if function)])


def parameters(function: Callable[..., Any]) -> Iterator[Parameter]:
    """The arguments and options of a command's function, in order."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        assert get_origin(hint) is Annotated, f"{function.__name__}: {name} says neither Argument nor Option"
        bare, info = get_args(hint)[0], get_args(hint)[1]
        is_argument = isinstance(info, typer.models.ArgumentInfo)
        # in `Annotated`, typer takes the first flag for a default
        declared = tuple(one for one in (info.default, *(info.param_decls or ())) if str(one).startswith("-"))
        usual = info.metavar or name.upper()
        default = parameter.default
        yield Parameter(
            names=(usual,) if is_argument else declared or (f"--{name.replace('_', '-')}",),
            is_argument=is_argument,
            kind=_kind(bare, info),
            default="" if default in (inspect.Parameter.empty, None, False) else str(default),
            is_required=default is inspect.Parameter.empty,
            help=info.help or "",
        )


def _kind(bare: Any, info: Any) -> str:
    plain = plain_type(bare)
    if plain.words == "true or false":
        return ""
    words = " or ".join(code(str(one)) for one in plain.choices if one is not None) or plain.words.removesuffix(
        ", or none"
    )
    bounds = [f"at least {info.min}"] * (info.min is not None) + [f"at most {info.max}"] * (info.max is not None)
    if words.startswith("list of ") and not isinstance(info, typer.models.ArgumentInfo):
        words = words.removeprefix("list of ").removesuffix("s") + ", may be repeated"
    return ", ".join([words, *bounds])


def _summary(function: Callable[..., Any] | None) -> str:
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())


def _section(name: str, function: Callable[..., Any]) -> str:
    found = list(parameters(function))
    arguments = [one for one in found if one.is_argument]
    options = [one for one in found if not one.is_argument]
    words = [one.names[0] if one.is_required or "[" in one.names[0] else f"[{one.names[0]}]" for one in arguments]
    usage = " ".join(["kgrec", name, *words, *["[OPTIONS]"] * bool(options)])
    paragraphs = [prose(" ".join(text.split())) for text in (inspect.getdoc(function) or "").split("\n\n")]
    lines = [f"## kgrec {name} {{ #kgrec-{name} }}", "", "```text", usage, "```", "", "\n\n".join(paragraphs), ""]
    if arguments:
        rows = [[code(one.names[0]), prose(sentence(one.help))] for one in arguments]
        lines += [table(["argument", "meaning"], rows), ""]
    if options:
        rows = [_row(name, one) for one in options]
        lines += [table(["option", "value", "default", "meaning"], rows), ""]
    return "\n".join(lines)


def _row(command: str, one: Parameter) -> list[str]:
    anchor = f'<a id="kgrec-{command}{one.names[0].replace("--", "-")}"></a>'
    shown = "(required)" if one.is_required else code(one.default) if one.default else ""
    return [anchor + " ".join(map(code, one.names)), one.kind, shown, prose(sentence(one.help))]
