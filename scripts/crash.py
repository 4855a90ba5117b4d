"""Kills and interrupts commands, and lets the disk run full, at random moments that depend on a seed.

After each of these, the output must be absent, unchanged or complete. A signal or a full disk must leave no temporary
files; after a kill, the next run must remove them. The next run must make exactly the same output as an uninterrupted
run. No traceback may be shown. Then every trained model is killed and resumed, with one and with two threads; its
result must equal that of an uninterrupted training to the last bit.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("NUMBA_NUM_THREADS", "2")

from crash_commands import COMMANDS, Command, empty, prepare, resumed
from crash_outcomes import OUTCOMES, WHOLE, Contents, contents, drafts_in, has_state, judged, misbehaviour
from crash_process import FULL_DISK, LONG_FILE, NO_SPACE, Ended, Ending, in_small_volume, prepare_numba, run
from kgrec.errors import KgrecError, unknown_name

ALWAYS = ("kgrec.cli.entry", "typer._adapters")  #: modules that all commands import
#: Modules that commands import, by their first word; they are imported once for all commands
IMPORTED: Mapping[str, Sequence[str]] = {
    "build": ("kgrec.sources.building", "pyarrow.csv", "pyarrow.pandas_compat", "pyoxigraph"),
    "train": (
        *("kgrec.run", "kgrec.models.mf", "kgrec.models.popularity", "kgrec.models.ease", "kgrec.text_tables"),
        *("kgrec.graph.edge_kernels", "kgrec.graph.mapped_storage", "kgrec.nn.touched_rows", "kgrec.nn.pair_steps"),
        *("kgrec.studies.measured_runs", "rich.console", "rich.table"),
    ),
    "recommend": ("kgrec.serving.quick_lists", "kgrec.serving.recommendation"),
    "generate": ("kgrec.studies.generation",),
    "robustness": ("kgrec.studies.robustness_study", "matplotlib.backends.backend_agg", "matplotlib.figure"),
    "backtest": ("kgrec.studies.backtesting",),
}
PREPARE = ("build", "train", "recommend")  #: first words of the commands that make what others start from
TOUCH, TIME, NEW = "at a file", "in between", "new process"
#: Kinds of endings, which take turns in this order
KINDS = (
    *(("KILL", TOUCH), ("TERM", TOUCH), ("INT", TIME), (FULL_DISK, ""), ("KILL", TIME), (NO_SPACE, TOUCH)),
    *(("INT", TOUCH), ("TERM", TIME), (LONG_FILE, ""), ("KILL", TOUCH), ("HUP", TOUCH), ("any", NEW)),
)
PAGE = 4096  #: bytes; the size of a volume in memory is a multiple of it
TRIES = 4  #: attempts, if a command ends before the chosen moment


@dataclass
class Reference:
    """What an uninterrupted run of a command does: the reference for killed runs."""

    whole: Contents
    before: Contents
    touches: list[tuple[float, str, str]]
    seconds: float
    sizes: list[int]  #: bytes of the files that it makes


@dataclass
class Tally:
    """The outcomes of the endings of one kind."""

    kills: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    failures: list[str] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=330, metavar="N", help="number of kills over all commands (default: 330)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the moments (default: 0)")
    parser.add_argument("--only", nargs="+", metavar="COMMAND", help=f"commands to kill, of {', '.join(COMMANDS)}")
    parser.add_argument("--trial", metavar="COMMAND:N", help="repeat one kill, as a failure names it")
    parser.add_argument(
        "--models", nargs="+", default=["all"], metavar="NAME", help="models to resume (default: all); none: none"
    )
    parser.add_argument(
        "--short", action="store_true", help="only a few kills of each command, at changes of files, and no models"
    )
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that its folder is removed
    try:
        failures = crash(options)
    except KgrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(failures)} failures in {time.perf_counter() - begun:.0f} s")
    for failure in failures:
        print(f"  {failure}")
    return 1 if failures else 0


def crash(options: argparse.Namespace) -> list[str]:
    """Kill commands and models as the options say, and print a table. Returns the failures."""
    names = [options.trial.partition(":")[0]] if options.trial else options.only or list(COMMANDS)
    for name in names:
        if name not in COMMANDS:
            raise unknown_name("command", name, COMMANDS)
    _check(options)
    begun = time.perf_counter()
    import_for({*PREPARE, *(COMMANDS[name].arguments[0] for name in names)})
    prepare_numba()
    importing = time.perf_counter() - begun
    wanted, failures = models_to_resume(options), list[str]()
    # not TemporaryDirectory: forked processes would remove it when they end
    base = Path(tempfile.mkdtemp(prefix="kgrec-crash-")).resolve()
    try:
        tempfile.tempdir = os.environ["TMPDIR"] = str(base / "temporary")
        for folder in ("inputs", "prepared", "work", "temporary"):
            (base / folder).mkdir()
        prepare(base, [COMMANDS[name] for name in names])
        tallies: dict[tuple[str, str], Tally] = {}
        for name, share in zip(names, _shares(options.kills, len(names))):
            numbers = [int(options.trial.partition(":")[2])] if options.trial else range(share)
            for kind, tally in command_kills(COMMANDS[name], base, options.seed, numbers, importing, options.short):
                tallies[name, kind] = tally
                failures += tally.failures
        show(tallies)
        if wanted:
            from crash_models import models_resumed

            failures += models_resumed(base, wanted, options.seed)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return failures


def import_for(words: Collection[str]) -> None:
    """Import what commands with these first words import."""
    for module in (*ALWAYS, *(module for word in sorted(words) for module in IMPORTED.get(word, ()))):
        importlib.import_module(module)


def _check(options: argparse.Namespace) -> None:
    """Raise KgrecError for wrong options, before minutes of work."""
    if options.kills < 0:
        raise KgrecError(f"--kills is {options.kills}, 0 or more is wanted")
    if options.trial and not options.trial.partition(":")[2].isdecimal():
        raise KgrecError(f"--trial {options.trial!r}: COMMAND:N is wanted, such as train:3")


def models_to_resume(options: argparse.Namespace) -> list[str]:
    """The names of the models to resume. Raises UnknownName for a model that is unknown, or is not trained in
    epochs."""
    if options.short or options.trial or options.models == ["none"]:
        return []
    from crash_models import trained_models

    known = trained_models()
    for name in options.models:
        if name not in (*known, "all"):
            raise unknown_name("trained model", name, known)
    return known if "all" in options.models else options.models


def command_kills(
    command: Command, base: Path, seed: int, numbers: Sequence[int], importing: float, short: bool
) -> Iterator[tuple[str, Tally]]:
    """Kill a command many times. Returns the outcomes by kind of ending."""
    work, begun = base / "work", time.perf_counter()
    known, found = reference(command, base, runs=1 if short else 2), dict[str, Tally]()
    for number in numbers:
        kinds = [kind for kind in KINDS if kind[1] == TOUCH] if short else KINDS
        kind, where = kinds[number % len(kinds)]
        tally = found.setdefault(f"{kind} {where}".strip(), Tally())
        draw = random.Random(f"{seed} {command.name} {number}")
        for _ in range(TRIES):
            ending = drawn(draw, kind, where, known, importing)
            one = killed(command, base, known, ending, draw)
            if one["hit"] or one["complaints"]:
                break
        tally.kills += one["hit"]
        tally.resumed += one["resumed"]
        tally.outcomes[one["outcome"]] += one["hit"]
        for complaint in one["complaints"]:
            failure = f"--seed {seed} --trial {command.name}:{number}: {ending}: {complaint}"
            tally.failures.append(failure)
            print(f"  FAILED {failure}", flush=True)
        empty(work)
    kills = sum(tally.kills for tally in found.values())
    print(
        f"{command.name}: {kills} kills over {len(known.touches)} touches of files and {known.seconds:.2f} s, in "
        f"{time.perf_counter() - begun:.0f} s",
        flush=True,
    )
    yield from found.items()


def reference(command: Command, base: Path, runs: int) -> Reference:
    """Run a command several times without ending it. Raises KgrecError if it fails, or if the runs differ."""
    work, results = base / "work", []
    for _ in range(runs):
        fill(command, base)
        before = contents(work / command.out)
        ended = run(command.arguments, work)
        if ended.code != 0:
            raise KgrecError(f"{command.name} fails without being killed: {ended.said}")
        results.append(contents(work / command.out))
        sizes = [one.stat().st_size for one in work.rglob("*") if one.is_file()]
        left = sorted(one.name for one in work.iterdir())
        if left != [command.out]:
            raise KgrecError(f"{command.name} leaves {left} without being killed")
    differ = [name for name, one in results[0].items() if results[-1].get(name) != one]
    if differ or before == results[0]:
        raise KgrecError(f"{command.name}: two runs without a kill differ in {differ[:5]}, or change nothing")
    return Reference(results[0], before, ended.touches, ended.seconds, sizes)


def drawn(draw: random.Random, kind: str, where: str, known: Reference, importing: float) -> Ending:
    """A random ending of the given kind, at any moment of the command."""
    if where == NEW:
        which = draw.choice(("KILL", "TERM", "INT"))
        return Ending(which, delay=draw.uniform(0.02, importing + known.seconds), new=True)
    if kind == LONG_FILE:
        return Ending(kind, limit=int(max(known.sizes) ** draw.random()))
    if kind == FULL_DISK:
        return Ending(kind, limit=draw.randrange(sum(known.sizes) // PAGE + 1) * PAGE)
    if where == TOUCH:
        return Ending(kind, touch=draw.randrange(1, len(known.touches)))
    moment = draw.uniform(0, known.seconds)
    touch = max(number for number, one in enumerate(known.touches) if one[0] <= moment or number == 0)
    return Ending(kind, touch=touch, delay=max(moment - known.touches[touch][0], 1e-6))


def killed(command: Command, base: Path, known: Reference, ending: Ending, draw: random.Random) -> dict[str, Any]:
    """End a command at a chosen moment, check what it left, and run it again."""
    again = draw.random() < 0.5
    if ending.kind == FULL_DISK:
        found = in_small_volume(base / "work", lambda resize: course(command, base, known, ending, again, resize))
        if found is not None:
            return found
        ending = Ending(LONG_FILE, limit=ending.limit)  # this system allows no volume in memory
    return course(command, base, known, ending, again)


def course(
    command: Command, base: Path, known: Reference, ending: Ending, again: bool, resize: Any = None
) -> dict[str, Any]:
    """The same in an empty folder. again: start a training anew with --overwrite, even if it could be resumed; resize:
    a function that sets the size of the folder's volume, in bytes."""
    work, inputs = base / "work", _listing(base / "inputs")
    fill(command, base)
    if resize is not None:
        resize(_used(work) + ending.limit)
    ended = run(command.arguments, work, ending)
    verdict = judged(work, command.out, known.before, known.whole, command.kept)
    wrong = [*verdict.complaints, *misbehaviour(ended, ending)]
    drafts, complete = drafts_in(work), verdict.outcome == WHOLE
    if drafts and ending.kind != "KILL":
        wrong.append(f"drafts were left: {', '.join(drafts)}")
    temporary = base / "temporary"
    if list(temporary.iterdir()) and ending.kind != "KILL":
        wrong.append("temporary files were left")
    if verdict.outcome not in OUTCOMES:
        wrong.append(verdict.outcome)
    if ended.code == 0 and not complete:
        wrong.append("exit code 0 without a result")
    if resize is not None:
        resize(1 << 30)
    arguments, resumable = command.arguments, any(has_state(work, one) for one in command.kept)
    if complete:
        arguments = (
            *arguments,
            "--overwrite",
        )  # the output is complete; this removes its temporary files and checkpoint
    elif resumable:
        arguments = (*arguments, "--overwrite") if again and "--resume" not in arguments else resumed(arguments)
    if not complete or drafts or resumable:
        if complete and not resumable and "--resume" in arguments:
            arguments = tuple(one for one in arguments if one != "--resume")
        wrong += _next_run(command, known, arguments, work, run(arguments, work))
        if list(temporary.iterdir()):
            wrong.append("temporary files were left after the next run")
    empty(temporary)
    if _listing(base / "inputs") != inputs:
        wrong.append("what is read was changed")
    hit = ended.was_hit or (ended.code == 1 and ending.kind in (FULL_DISK, LONG_FILE, NO_SPACE))
    was_resumed = resumable and "--resume" in arguments
    return {"hit": hit, "outcome": verdict.outcome, "resumed": was_resumed, "complaints": wrong}


def _next_run(command: Command, known: Reference, arguments: Sequence[str], work: Path, ended: Ended) -> list[str]:
    """What is wrong with the run after a kill. It must succeed, remove all temporary files and make the same result."""
    wrong = []
    if ended.code != 0:
        wrong.append(f"the next run ({' '.join(arguments)}) fails: {ended.said.strip().splitlines()[-1:]}")
    verdict = judged(work, command.out, known.before, known.whole)
    wrong += [f"after the next run {complaint}" for complaint in verdict.complaints]
    if drafts_in(work):
        wrong.append(f"the next run leaves {', '.join(drafts_in(work))}")
    if verdict.outcome != WHOLE and ended.code == 0:
        wrong.append(f"the next run's result is not that of an uninterrupted one, but {verdict.outcome}")
    return wrong


def fill(command: Command, base: Path) -> None:
    """Put an existing output and a state to resume from into the working folder, if the command needs them."""
    work = base / "work"
    empty(work)
    for prepared, place in command.finds:
        source = base / "prepared" / prepared
        shutil.copytree(source, work / place) if source.is_dir() else shutil.copy2(source, work / place)


def show(tallies: dict[tuple[str, str], Tally]) -> None:
    """Print a table with a row for each command and kind of ending."""
    from kgrec.text_tables import TextConsole, text_table

    table = text_table("Kills", ["command", "kind of kill"], ["kills", *OUTCOMES, "resumed", "failed"])
    total = Tally()
    for (name, kind), tally in tallies.items():
        table.add_row(name, kind, *_numbers(tally))
        total.kills += tally.kills
        total.resumed += tally.resumed
        total.outcomes += tally.outcomes
        total.failures += tally.failures
    table.add_row("all", "", *_numbers(total))
    TextConsole().print(table)


def _numbers(tally: Tally) -> list[str]:
    outcomes = [tally.outcomes[outcome] for outcome in OUTCOMES]
    return [str(number) for number in (tally.kills, *outcomes, tally.resumed, len(tally.failures))]


def _shares(kills: int, commands: int) -> list[int]:
    return [kills // commands + (number < kills % commands) for number in range(commands)]


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """Every file in a folder, with its size and time of change."""
    return sorted(
        (str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in folder.rglob("*") if not one.is_dir()
    )


def _used(volume: Path) -> int:
    found = os.statvfs(volume)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
