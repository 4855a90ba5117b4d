"""Kills and resumes the training of every model. The result must equal an uninterrupted training to the last bit."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crash_commands import empty
from crash_outcomes import contents, drafts_in, has_state, misbehaviour
from crash_process import SIGNALS, Ended, Ending, in_fork, run
from kgrec import models
from kgrec.errors import KgrecError
from kgrec.model import Recommender

THREADS = (1, 2)
EPOCHS = 3
SHARE = 4  #: the graph has one in four of the shop's users
KILLS = 2  #: kills of one training: the first run, and a resumed one
MOST_RUNS = 8  #: most runs until a training must be complete
FIELDS = {  #: settings with which training is quick and has all its phases
    "irgan": ("pretrain_epochs=1",),
    "dnen": ("pretrain_epochs=1",),
    **dict.fromkeys(("complex", "distmult", "rotate", "transe", "transr"), ("negatives=16", "dim=16")),
    "svdpp": ("task=ctr",),
}


@dataclass
class Course:
    """The outcome of killing one model."""

    model: str
    threads: int
    kills: list[str] = field(default_factory=list)  #: descriptions of the endings
    runs: int = 0
    wrong: list[str] = field(default_factory=list)


def trained_models() -> list[str]:
    """The names of the built-in models that are trained in epochs."""
    return [name for name in models.builtin_names() if models.find(name).objectives is not Recommender.objectives]


def models_resumed(base: Path, names: Sequence[str], seed: int) -> list[str]:
    """Kill and resume models, and print a table of it. Returns the failures."""
    in_fork(lambda: _write_few(base / "inputs"))
    courses = [resumed_model(base, name, threads, seed) for name in names for threads in THREADS]
    show(courses)
    return [
        f"--seed {seed} --models {one.model}, {one.threads} threads: {text}" for one in courses for text in one.wrong
    ]


def resumed_model(base: Path, name: str, threads: int, seed: int) -> Course:
    """Train a model without interruption, and again with kills, and compare the two results."""
    draw, found, begun = random.Random(f"{seed} {name} {threads}"), Course(name, threads), time.perf_counter()
    work = base / "work"
    empty(work)
    arguments = _arguments(name)
    uncut = run((*arguments, "--out", "uncut"), work, threads=threads)
    if uncut.code != 0:
        raise KgrecError(f"{name} cannot be trained: {uncut.said}")
    renamed = [path if what in ("os.rename", "os.link") else "" for _, what, path in uncut.touches]
    first, last = renamed.index("uncut.checkpoint") + 1, renamed.index("uncut") + 1
    ending: Ending | None = _drawn(draw, uncut, first, last)
    cut = (*arguments, "--out", "cut")
    while found.runs < MOST_RUNS and not (work / "cut").exists():
        is_there = has_state(work, "cut.checkpoint")
        ended = run((*cut, "--resume") if is_there else cut, work, ending, threads)
        found.runs += 1
        if ending is None and ended.code != 0:
            found.wrong.append(f"going on fails: {ended.said.strip().splitlines()[-1:]}")
            break
        if ending is not None and (ended.was_hit or ended.code):
            found.kills.append(str(ending))
            found.wrong += misbehaviour(ended, ending)
        # the second kill is somewhere in what is left
        ending = _drawn(draw, uncut, 1, len(uncut.touches) // 2) if found.runs < KILLS else None
    found.wrong += different(work)
    if found.runs < 2:
        found.wrong.append("no kill came before the end, so that nothing was gone on with")
    said = "; ".join(found.wrong) or "equal"
    print(
        f"{name}, {threads} threads: {', '.join(found.kills)}: {said} ({time.perf_counter() - begun:.0f} s)", flush=True
    )
    return found


def different(work: Path) -> list[str]:
    """The differences between the killed training and the uninterrupted one."""
    wrong = []
    left = sorted(one.name for one in work.iterdir())
    if left != ["cut", "uncut"]:
        wrong.append(f"{', '.join(left)} are there; cut and uncut are wanted ({len(drafts_in(work))} drafts)")
    if "cut" in left:
        one, other = contents(work / "uncut"), contents(work / "cut")
        differ = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
        if differ:
            wrong.append(f"not equal to the uncut run in {', '.join(differ)}")
    return wrong


def show(courses: Sequence[Course]) -> None:
    """Print a table with a row for each model and number of threads."""
    from kgrec.text_tables import TextConsole, text_table

    table = text_table("Trainings that were killed and resumed", ["model"], ["threads", "kills", "runs", "equal"])
    for one in courses:
        table.add_row(one.model, *map(str, (one.threads, len(one.kills), one.runs)), "no" if one.wrong else "yes")
    equal = sum(not one.wrong for one in courses)
    table.add_row("all", "", str(sum(len(one.kills) for one in courses)), str(sum(one.runs for one in courses)),
                  f"{equal} of {len(courses)}")  # fmt: skip
    TextConsole().print(table)


def _write_few(inputs: Path) -> None:
    """Write a graph with some of the shop's users and all of its other nodes and facts."""
    from kgrec.graph import Graph

    graph = Graph.load(inputs / "shop.graph")
    users = graph.range("user")
    is_user = (graph.head >= users.start) & (graph.head < users.stop)
    graph.where(~is_user | ((graph.head - users.start) % SHARE == 0)).save(inputs / "few.graph")


def _arguments(name: str) -> tuple[str, ...]:
    fields = [part for value in FIELDS.get(name, ()) for part in ("--set", value)]
    course = ("--epochs", str(EPOCHS), "--validate-every", str(EPOCHS), "--refit", "--seed", "3", "--device", "cpu")
    return ("train", name, "../inputs/few.graph", *fields, *course)


def _drawn(draw: random.Random, uncut: Ended, first: int, last: int) -> Ending:
    """A random signal, at one of these file operations or at a time between them."""
    kind = draw.choice(list(SIGNALS))
    if draw.random() < 0.5:
        return Ending(kind, touch=draw.randrange(first, last))
    times = [one[0] for one in uncut.touches]
    moment = draw.uniform(times[first], times[last - 1])
    touch = max(number for number in range(first, last) if times[number] <= moment)
    return Ending(kind, touch=touch, delay=max(moment - times[touch], 1e-6))
