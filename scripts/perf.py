"""Guards speed and memory: `scripts/benchmark.py perf --against COMMIT`. It fails if this working tree is more than 15
% slower than a commit, or needs more than 10 % more memory, in any of twelve short tasks (`perf_rows.py`). Epochs of
benchmarks on real data are compared where they are named: `--rows speed-mf-ml1m --data DIR`.

Old and new are measured together. For every task (a row of the table) each version has a process, and the two take
turns, round by round, so that other work on the machine affects both. A row that looks slower is measured again, first
in the same processes and then in new ones, before it counts as a failure.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import tomllib
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from kgrec.errors import KgrecError, unknown_name
from perf_rows import ROWS, trainings

ROOT = Path(__file__).resolve().parent.parent
MOST_TIME, MOST_MEMORY = 1.15, 1.10  #: a row fails if new over old is higher
ATTEMPTS = 3  #: most pairs of processes for a row that seems to fail
PATIENCE = 3  #: factor of the number of rounds in a pair of processes, for a row that seems slower
WIDTH = 22  #: of the column of rows
LIMIT = 300  #: most seconds to wait for an answer of a process


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmark.py perf", description=__doc__)
    parser.add_argument(
        "--against", metavar="COMMIT", help="any git revision to compare with; without it only this tree is measured"
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="NAME",
        help=f"rows to measure, of {', '.join(ROWS)} (default: these), {', '.join(trainings())}",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("KGREC_DATA") or None,
        help="folder of the real data, for rows that are benchmarks (default: KGREC_DATA)",
    )
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="rounds of each row and version (default: 5)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all figures to this file")
    parser.add_argument(
        "--json", action="store_true", help="print all figures to stdout as JSON; the table goes to stderr"
    )
    options = parser.parse_args(arguments)
    try:
        report = guard(options, sys.stderr if options.json else sys.stdout)
        if options.out is not None:
            options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except KgrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report))
    return 1 if report["failed"] else 0


def guard(options: argparse.Namespace, out: TextIO) -> dict[str, Any]:
    """Measure the rows, print a line for each, and return all figures. Raises KgrecError for unknown rows and commits,
    for a wheel that cannot be built, and for a row that does not run."""
    begun, warning = time.perf_counter(), load_warning(os.getloadavg()[0], os.cpu_count() or 1)
    rows = list(dict.fromkeys(options.rows or ROWS))
    for name in rows:
        if name not in ROWS and name not in trainings():
            raise unknown_name("row", name, [*ROWS, *trainings()])
        if name not in ROWS and (options.data is None or not options.data.is_dir()):
            found = "is not given" if options.data is None else f"is {options.data}, which is no folder"
            raise KgrecError(f"{name} is trained on real data, and --data {found}; name the folder of the data sets")
    data = None if options.data is None else options.data.resolve()
    if options.repeats < 1:
        raise KgrecError(f"--repeats is {options.repeats}, 1 or more is wanted")
    commit = None if options.against is None else resolved(options.against, ROOT)
    with tempfile.TemporaryDirectory(prefix="kgrec-perf-") as name:
        folder = Path(name)
        sides = [Side("new", ROOT, command_of(ROOT), folder / "new", described(ROOT), data)]
        if commit is not None:
            sides.insert(0, old_side(options.against, commit, folder, data))
        versions = prepared(sides, rows)
        for side in sides:
            print(f"{side.name}: kgrec {versions[side.name]}, {side.what}", file=out)
        if warning:
            print(warning, file=out)
        print(HEADER if commit is not None else HEADER_ALONE, file=out, flush=True)
        results = []
        for row in rows:
            result = measured(row, sides, options.repeats)
            results.append(result)
            print(result.line(), file=out, flush=True)
    failed = [result.row for result in results if result.failures]
    threads = next((result.threads for result in results if result.threads is not None), None)
    seconds = time.perf_counter() - begun
    print(conclusion(results, threads, seconds) if commit is not None else f"in {seconds:.0f} s", file=out)
    return {
        "warning": warning,
        "sides": {side.name: {"kgrec": versions[side.name], "what": side.what} for side in sides},
        "torch_threads": threads,
        "rows": [result.to_json() for result in results],
        "failed": failed,
        "seconds": round(seconds, 1),
    }


def load_warning(load: float, cores: int) -> str:
    """A warning if other programs use the cores, otherwise "". load: average number of processes that want to run.

    >>> load_warning(6.5, 2)
    'warning: other work has a load of 6.5 on 2 cores, which may hide a loss and takes long; run it when they are idle'
    >>> load_warning(0.5, 2)
    ''
    """
    if load <= cores / 2:
        return ""
    return (
        f"warning: other work has a load of {load:.1f} on {cores} cores, which may hide a loss and takes long; run it "
        "when they are idle"
    )


def conclusion(results: Sequence[Result], threads: int | None, seconds: float) -> str:
    """The last line of output: the rows that fail, or that none does."""
    failed = [f"{result.row} ({', '.join(result.failures)})" for result in results if result.failures]
    bounds = f"more than {MOST_TIME - 1:.0%} slower or {MOST_MEMORY - 1:.0%} larger"
    found = f"FAILED, {bounds}: {'; '.join(failed)}" if failed else f"none of {len(results)} rows is {bounds}"
    of_torch = "" if threads is None else f", {threads} torch threads"
    return f"{found} ({seconds:.0f} s{of_torch})"


# ---------------------------------------------------------------------- what is compared


@dataclass(frozen=True)
class Side:
    """One of the two versions that are compared."""

    name: str  #: old or new
    folder: Path  #: the one that holds the package `kgrec`
    command: str  #: the entry point of the `kgrec` command, module:function
    work: Path  #: a folder for the side's data and compiled kernels
    what: str  #: for people: which commit
    data: Path | None = None  #: the folder of real data

    def environment(self) -> dict[str, str]:
        """The environment of its processes: its own kgrec comes first, it has its own cache of compiled kernels, and
        threads wait as under the `kgrec` command."""
        paths = [str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        spin = {} if "OMP_WAIT_POLICY" in os.environ else {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "10000")}
        return {
            **os.environ,
            **spin,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONSAFEPATH": "1",
            "PYTHONHASHSEED": "0",
            "NUMBA_CACHE_DIR": str(self.work / "kernels"),
            **({} if self.data is None else {"KGREC_DATA": str(self.data)}),
        }

    def check_origin(self, found: str) -> None:
        """Raise KgrecError if a process imported another kgrec than that of this side."""
        wanted = self.folder / "kgrec" / "__init__.py"
        if not found or Path(found).resolve() != wanted.resolve():
            raise KgrecError(f"the {self.name} side imported {found or 'no kgrec'}, not {wanted}; nothing was compared")


def old_side(name: str, commit: str, folder: Path, data: Path | None = None) -> Side:
    """The side of a commit: builds and unpacks its wheel."""
    source = checked_out(commit, ROOT, folder / "source")
    unpacked = unpacked_wheel(source, folder / "wheel")
    return Side("old", unpacked, command_of(source), folder / "old", f"a wheel of {name} ({commit[:12]})", data)


def git(root: Path, *arguments: str) -> bytes:
    """The output of a git command. Raises KgrecError with git's message if it fails."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise KgrecError("git is not installed; --against reads a commit with it") from None
    if done.returncode:
        raise KgrecError(f"git {arguments[0]}: {last_lines(done.stderr.decode(errors='replace'))}")
    return done.stdout


def resolved(name: str, root: Path) -> str:
    """The full hash of a git revision. Raises KgrecError for an unknown revision."""
    try:
        return git(root, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").decode().strip()
    except KgrecError as error:
        raise KgrecError(f"--against {name!r} is no commit here ({error}); name a hash, a branch or a tag") from None


def described(root: Path) -> str:
    """A description of the working tree: its commit, and whether it has uncommitted changes."""
    try:
        commit = git(root, "rev-parse", "HEAD").decode().strip()
        changed = git(root, "status", "--porcelain", "--", "kgrec").strip()
    except KgrecError:
        return f"the files in {root}"
    return f"the working tree at {commit[:12]}{' with changes' if changed else ''}"


def checked_out(commit: str, root: Path, folder: Path) -> Path:
    """The files of a commit in a new folder."""
    with tarfile.open(fileobj=io.BytesIO(git(root, "archive", "--format=tar", commit))) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:  # Python before 3.11.4
            archive.extractall(folder)
    return folder


def unpacked_wheel(source: Path, folder: Path) -> Path:
    """Builds the wheel of a source tree with pip, in an isolated environment with the pinned build system, and unpacks
    it.

    Raises KgrecError if pip cannot build it, for instance without access to a package index.
    """
    wanted = ", ".join(project_of(source)["build-system"]["requires"])
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], capture_output=True, text=True, check=False)
    built = list(folder.glob("kgrec-*.whl"))
    if done.returncode or len(built) != 1:
        raise KgrecError(
            f"pip could not build a wheel of the commit: {last_lines(done.stderr)}\nit needs pip in "
            f"{sys.executable}, and {wanted} from a package index or from a folder that PIP_FIND_LINKS names"
        )
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(folder / "unpacked")
    return folder / "unpacked"


def project_of(source: Path) -> dict[str, Any]:
    """pyproject.toml of a source tree."""
    return tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))


def command_of(source: Path) -> str:
    """The entry point of the `kgrec` command of a source tree."""
    command: str = project_of(source)["project"]["scripts"]["kgrec"]
    return command


def last_lines(text: str, number: int = 5) -> str:
    return "\n".join(text.strip().splitlines()[-number:])


# ---------------------------------------------------------------------- measuring


class Process:
    """A process of one side that is prepared for a row and does a round on request. Use it as a context manager; the
    process ends with the context."""

    def __init__(self, row: str, side: Side, *arguments: str) -> None:
        self.row, self.side = row, side
        script = Path(__file__).resolve().with_name("perf_rows.py")
        self.log = side.work / f"{row}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), row, str(side.work / "data"), *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=side.environment(), cwd=side.work,
            )  # fmt: skip

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def answer(self, asked: str = "") -> dict[str, Any]:
        """The next answer of the process. Raises KgrecError if it fails, does not answer in time, or imported the wrong
        kgrec."""
        assert self.process.stdin is not None and self.process.stdout is not None
        timer = threading.Timer(LIMIT, self.process.kill)
        timer.start()
        try:
            if asked:
                self.process.stdin.write(f"{asked}\n")
                self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            self.process.wait()
            said = last_lines(self.log.read_text(errors="replace")) or f"no answer within {LIMIT} s"
            raise KgrecError(f"row {self.row!r} does not run on the {self.side.name} side ({self.side.what}):\n{said}")
        answer: dict[str, Any] = json.loads(line)
        self.side.check_origin(answer["kgrec"])
        return answer


def prepared(sides: Sequence[Side], rows: Sequence[str]) -> dict[str, str]:
    """Let each side write the data for some rows. Returns the versions of kgrec."""
    for side in sides:
        side.work.mkdir()
    with ExitStack() as stack:
        processes = [stack.enter_context(Process("prepare", side, *rows)) for side in sides]
        return {process.side.name: process.answer()["version"] for process in processes}


@dataclass
class Figures:
    """The times and memory of one side for a row."""

    seconds: list[float] = field(default_factory=list)  #: of every round, in order
    peak_mb: list[float] = field(default_factory=list)  #: MiB, of every process


@dataclass(frozen=True)
class Result:
    """The figures of a row for both sides. With one side only, `old` is None and nothing fails."""

    row: str
    old: Figures | None
    new: Figures
    threads: int | None = None  #: of torch; None where it was not used

    @property
    def time_ratio(self) -> float:
        """Time of new over old: the ratio of the shortest rounds, or the median ratio over pairs of rounds, whichever
        is smaller.

        Other programs make rounds longer, never shorter, so the shortest round is the best estimate. But some lucky
        rounds on one side mislead the first ratio, and a changing load misleads the second. A real loss shows in both.

        >>> Result("ranking", Figures([1.0, 2.0, 1.0]), Figures([1.5, 1.25, 1.25])).time_ratio
        1.25
        """
        if self.old is None:
            return 1.0
        pairs = [new / old for old, new in zip(self.old.seconds, self.new.seconds)]
        return min(min(self.new.seconds) / min(self.old.seconds), statistics.median(pairs))

    @property
    def memory_ratio(self) -> float:
        """Memory of new over old: the ratio of the lowest peaks."""
        return 1.0 if self.old is None else min(self.new.peak_mb) / min(self.old.peak_mb)

    @property
    def is_slower(self) -> bool:
        return self.time_ratio > MOST_TIME

    @property
    def is_larger(self) -> bool:
        return self.memory_ratio > MOST_MEMORY

    @property
    def failures(self) -> list[str]:
        """What exceeds the limits; empty if nothing does."""
        slower = [f"{self.time_ratio - 1:.0%} slower"] if self.is_slower else []
        return slower + ([f"{self.memory_ratio - 1:.0%} more memory"] if self.is_larger else [])

    def line(self) -> str:
        """A line of the table."""
        new = f"{min(self.new.seconds):8.4f} s"
        if self.old is None:
            return f"{self.row:{WIDTH}s}{new}{min(self.new.peak_mb):9.1f} MB"
        return (
            f"{self.row:{WIDTH}s}{min(self.old.seconds):8.4f} s{new}{self.time_ratio:8.3f}"
            f"{min(self.old.peak_mb):9.1f} MB{min(self.new.peak_mb):9.1f} MB{self.memory_ratio:8.3f}"
            f"{len(self.new.seconds):8d}  {', '.join(self.failures) or 'ok'}"
        )

    def to_json(self) -> dict[str, Any]:
        ratios = {} if self.old is None else {"time_ratio": self.time_ratio, "memory_ratio": self.memory_ratio}
        return {**asdict(self), **ratios, "failures": self.failures}


HEADER = (
    f"{'row':{WIDTH}s}{'old':>10s}{'new':>10s}{'ratio':>8s}{'old peak':>12s}{'new peak':>12s}{'ratio':>8s}"
    f"{'rounds':>8s}  verdict"
)
HEADER_ALONE = f"{'row':{WIDTH}s}{'new':>10s}{'peak':>12s}"


def measured(row: str, sides: Sequence[Side], repeats: int) -> Result:
    """Measure a row on all sides. While it seems to fail, more rounds are added, also in new processes."""
    figures = {side.name: Figures() for side in sides}
    for attempt in range(ATTEMPTS):
        order = list(sides) if attempt % 2 == 0 else list(reversed(sides))
        threads = take_turns(row, order, repeats, figures)
        result = Result(row, figures.get("old"), figures["new"], threads)
        if not result.failures:
            break
    return result


def take_turns(row: str, sides: Sequence[Side], repeats: int, figures: dict[str, Figures]) -> int | None:
    """Measure one process of each side and add its rounds and peak of memory to the figures. Returns torch's number of
    threads.

    Only one process works at a time. The side that is first in one round is last in the next.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(row, side, side.command)) for side in sides]
        for process in processes:
            process.answer()
        for number in range(repeats * PATIENCE):
            if number and number % repeats == 0 and not Result(row, figures.get("old"), figures["new"]).is_slower:
                break
            for process in processes if number % 2 == 0 else reversed(processes):
                figures[process.side.name].seconds.append(process.answer("go")["seconds"])
        ends = [process.answer("stop") for process in processes]
    for process, end in zip(processes, ends):
        figures[process.side.name].peak_mb.append(end["peak_mb"])
    threads: int | None = ends[-1]["threads"]
    return threads
