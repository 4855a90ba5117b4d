"""`kgrec init`: guess a recipe for a folder of raw files, and on request go on to a graph and first models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgrec.cli.next_steps import MOST_ITEMS, shown
from kgrec.cli.options import Json, Overwrite, watchable
from kgrec.cli.output import print_error, print_json, say, status
from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from kgrec.sources.guessing import Question, RecipeGuess

#: Models that --train trains, which all take seconds: simple ones to compare with, and last the one to serve
FEW_ITEMS = ("popularity", "itemknn", "ease")
MANY_ITEMS = ("popularity", "itemknn")


@watchable
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder with the raw files.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The recipe to write. Default: the folder's name with .yaml, here.")
    ] = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="What is decided beforehand: interactions=FILE, user=COLUMN, item=COLUMN, time=COLUMN, "
            "time_format=FORMAT, weight=COLUMN, behaviour=COLUMN, target=RELATION; time, weight and behaviour may be "
            "none. May be repeated.",
        ),
    ] = None,
    build: Annotated[
        bool, typer.Option("--build", help="Also build the graph, as NAME.graph beside the recipe.")
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="With --build: also train simple models and a first one, and compare them.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a recipe for raw files: tables, SQLite, archives, RDF. Comments say what each guess is based on.

    `kgrec build` runs on the recipe as it is. Where two guesses are as likely, it asks on a terminal; elsewhere it ends
    with the choices for --set."""
    from kgrec.sources.guessing import Choices
    from kgrec.sources.guessing import init as guess_recipe

    if train and not build:
        raise KgrecError("--train needs a graph; add --build")
    choices = Choices.of(choose or [], _ask if sys.stdin is not None and sys.stdin.isatty() else None)
    guess = guess_recipe(folder, out, choices=choices, overwrite=overwrite, progress=status)
    if not build:
        if as_json:
            print_json(guess.to_json())
        else:
            say(guess)
            command = shown(["kgrec", "build", guess.path, "--out", _graph(guess)])
            say(f"Read {guess.path}, change what is wrong, then: {command}")
        return
    report = guess.to_json()
    if not as_json:
        say(guess)
    _build(guess, overwrite, as_json, report)
    if train:
        report["runs"] = _train(guess, overwrite, as_json)
    if as_json:
        print_json(report)


def _ask(question: Question) -> str:
    """Let a person choose on the terminal. Raises KgrecError where the input ends."""
    print_error(f"{question.text}:")
    values = list(question.options)
    for number, value in enumerate(values, 1):
        print_error(f"  {number}  {value}   {question.options[value]}")
    while True:
        print_error(f"Which one? 1 to {len(values)} (to say it beforehand: --set {question.key}=...)")
        line = sys.stdin.readline()
        if not line:
            raise KgrecError(f"nothing was chosen; give --set {question.key}=VALUE")
        answer = line.strip()
        if answer in values:
            return answer
        if answer.isdecimal() and 1 <= int(answer) <= len(values):
            return values[int(answer) - 1]


def _graph(guess: RecipeGuess) -> Path:
    return guess.path.with_suffix(".graph")


def _build(guess: RecipeGuess, overwrite: bool, as_json: bool, report: dict[str, object]) -> None:
    from kgrec.sources.building import build_to

    status(f"building {_graph(guess)}")
    built = build_to(guess.path, None, _graph(guess), overwrite=overwrite)
    report["graph"] = str(_graph(guess))
    report["built"] = built.to_json()
    if not as_json:
        say(built)


def _train(guess: RecipeGuess, overwrite: bool, as_json: bool) -> dict[str, dict[str, float]]:
    """Train controls and a first model, and say how to look at them."""
    from kgrec.graph import Graph
    from kgrec.run import train as train_model

    graph = Graph.load(_graph(guess))
    items = len(graph.range(graph.target[2]))
    models = FEW_ITEMS if items <= MOST_ITEMS else MANY_ITEMS
    found: dict[str, dict[str, float]] = {}
    for name in models:
        folder = guess.path.with_name(f"{guess.path.stem}.{name}.run")
        status(f"training {name}")
        run = train_model(name, graph, out=folder, overwrite=overwrite)
        found[name] = {"run": str(folder), **run.metrics}  # type: ignore[dict-item]
    if not as_json:
        runs = [str(one["run"]) for one in found.values()]
        say(f"{runs[-1]} is the first model. Compare it: {shown(['kgrec', 'compare', *runs])}")
        say(f"The page with its recommendations: {shown(['kgrec', 'serve', runs[-1]])}")
    return found
