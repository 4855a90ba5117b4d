"""Those who take part in a race: the program of each, and one training of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kgrec.errors import KgrecError, unknown_name
from racing.curves import Point, best_of, is_over
from racing.held_out import HeldOut

SCRIPTS = Path(__file__).resolve().parents[1]
#: what is installed for each peer into an environment of its own, the folder PEERS/NAME
PEERS: Mapping[str, Sequence[str]] = {
    "recbole": (
        "recbole==1.2.1",
        "numpy<2",
        "pandas<2.2",
        "scipy<1.13",
        "scikit-learn<1.5",
        "setuptools<80",
        "implicit==0.7.3",
    ),
    "lenskit": ("lenskit==2025.8.1",),
    "rectools": ("rectools[torch]==0.19.0",),
}
#: which environment runs a program; kgrec's runs in this one
ENVIRONMENT = {"recbole": "recbole", "implicit": "recbole", "lenskit": "lenskit", "rectools": "rectools"}
SET_UP = 1200.0  #: seconds after which a contestant is ended whose clock has not started
GRACE = 120.0  #: seconds beyond twice its time after which one is ended that does not answer


@dataclass(frozen=True)
class Contestant:
    """A program and its model, with what it may choose from."""

    name: str  #: as the table has it
    program: str  #: racing/NAME_course.py
    model: str  #: the program's own name of the model
    fixed: Mapping[str, Any] = field(default_factory=dict)  #: settings of the tuned race that all trials share
    tried: Mapping[str, Sequence[Any]] = field(default_factory=dict)  #: values that the search chooses from
    #: settings of the race at defaults: what the program has no default for
    needed: Mapping[str, Any] = field(default_factory=dict)

    def trials(self, number: int) -> list[dict[str, Any]]:
        """So many different settings, drawn with seed 0 from all combinations of `tried`; fewer if there are not as
        many.

        >>> Contestant("a", "kgrec", "mf", {"dim": 8}, {"lr": [1, 2]}).trials(5)
        [{'dim': 8, 'lr': 2}, {'dim': 8, 'lr': 1}]
        """
        sizes = [len(values) for values in self.tried.values()]
        drawn = np.random.default_rng(0).permutation(int(np.prod(sizes, dtype=np.int64)))[:number]
        places = np.stack(np.unravel_index(drawn, sizes), 1) if sizes else np.zeros((1, 0), int)
        return [
            {**self.fixed, **{name: values[place] for (name, values), place in zip(self.tried.items(), row)}}
            for row in places
        ]


@dataclass(frozen=True)
class Training:
    """One training of a contestant, as it came out."""

    settings: Mapping[str, Any]
    seed: int
    points: Sequence[Point] = ()
    setup: float = 0.0  #: seconds from the start of the program to that of the clock
    #: "all epochs", "no better" for so many points, "time", or "failed: ..." with what the program said last
    ended: str = "all epochs"
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def best(self) -> float:
        return best_of(self.points)

    @property
    def failed(self) -> bool:
        return self.ended.startswith("failed")


@dataclass(frozen=True)
class Conditions:
    """How trainings of a race run."""

    held_out: HeldOut
    epochs: int  #: at most
    seconds: float  #: on the clock, at most
    patience: int  #: points without a better one after which a training ends
    threads: int
    clock: str = "wall"  #: what counts: "wall", or "cpu", the CPU seconds of all threads
    peers: Path | None = None  #: the folder with an environment for each peer


class NotInstalled(KgrecError):
    """A peer has no environment."""


def python_of(program: str, peers: Path | None) -> str:
    """The Python that runs a contestant's program. Raises NotInstalled if its environment is not there, UnknownName for
    a program that is not there."""
    if program == "kgrec":
        return sys.executable
    if program not in ENVIRONMENT:
        raise unknown_name("program", program, ["kgrec", *ENVIRONMENT])
    name = ENVIRONMENT[program]
    packages = " ".join(f'"{one}"' if set(one) & set("<[") else one for one in PEERS[name])
    folder = (peers or Path("PEERS")) / name
    how = f"python3 -m venv {folder} && {folder}/bin/pip install torch {packages}"
    if peers is None:
        raise NotInstalled(
            f"{program} is not run: no --peers DIR (or KGREC_PEERS) is set; make its environment by: {how}"
        )
    python = folder / "bin/python"
    if not python.exists():
        raise NotInstalled(f"{program} is not run: there is no {python}; make its environment by: {how}")
    return str(python.absolute())


def environment_of(threads: int) -> dict[str, str]:
    """The environment of a program that has so many threads, and no GPU."""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "LK_NUM_THREADS")
    return environment | dict.fromkeys(names, str(threads)) | {"CUDA_VISIBLE_DEVICES": ""}


def run_training(
    contestant: Contestant, settings: Mapping[str, Any], seed: int, on: Conditions, before: Sequence[str] = ()
) -> Training:
    """Train a contestant in a process of its own, and score its lists as they come. before: a command that starts it,
    such as `chrt -f 10`. A program that fails or does not answer keeps the points that it has.

    Raises NotInstalled.
    """
    python = python_of(contestant.program, on.peers)
    paths = [str(SCRIPTS)] if contestant.program != "kgrec" else [str(SCRIPTS), str(SCRIPTS.parent)]
    environment = environment_of(on.threads)
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    if on.clock == "cpu":  # else threads that wait for each other would count, the longer the more others run
        environment["GOMP_SPINCOUNT"] = "10000"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = {
            "folder": name,
            "train": str(on.held_out.train.absolute()),
            "users": str(on.held_out.users.absolute()),
            "model": contestant.model,
            "settings": dict(settings),
            "seed": seed,
            "epochs": on.epochs,
            "threads": on.threads,
            "clock": on.clock,
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [*before, python, "-m", f"racing.{contestant.program}_course", str(folder / "job.json")]
        with (folder / "errors.txt").open("w+", encoding="utf-8", errors="replace") as errors:
            process = subprocess.Popen(
                command,
                cwd=name,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
            watch = Watch(process)
            try:
                found = _followed(process, watch, folder, on)
            finally:
                watch.end()
            if found["ended"] == "failed":
                errors.seek(0)
                said = [line.strip() for line in errors if line.strip()][-1:] or ["it said nothing"]
                found["ended"] = f"failed: {watch.why or said[0]}"[:300]
    return Training(dict(settings), seed, **found)


class Watch:
    """Ends a program, with all that it started, when it does not answer for too long."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.why = process, ""
        self._alarm: threading.Timer | None = None

    def expect(self, seconds: float) -> None:
        """The next answer must come within so many seconds."""
        self.cancel()
        self._alarm = threading.Timer(seconds, self._late, [seconds])
        self._alarm.start()

    def cancel(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def end(self) -> None:
        """Nothing more is expected."""
        self.cancel()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(BrokenPipeError):
            self.process.communicate()

    def _late(self, seconds: float) -> None:
        self.why = f"no answer in {seconds:g} s"
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def _followed(process: subprocess.Popen[str], watch: Watch, folder: Path, on: Conditions) -> dict[str, Any]:
    """The fields of a training, from the lines of its program, whose lists are scored while it waits."""
    assert process.stdout is not None and process.stdin is not None
    points: list[Point] = []
    found: dict[str, Any] = {"points": points, "ended": "failed"}
    watch.expect(SET_UP)
    for line in process.stdout:
        watch.expect(2 * on.seconds + GRACE)
        told = json.loads(line)
        if "setup" in told:
            found["setup"], found["versions"] = told["setup"], told["versions"]
            continue
        try:
            score = on.held_out.score(np.load(folder / "lists.npy"))
        except KgrecError as error:
            found["ended"] = f"failed: {error}"
            break
        points.append(Point(told["epoch"], told["seconds"], score))
        if told["epoch"] >= on.epochs:
            found["ended"] = "all epochs"
        elif told["seconds"] >= on.seconds:
            found["ended"] = "time"
        elif is_over(points, on.patience):
            found["ended"] = "no better"
        else:
            process.stdin.write("go\n")
            process.stdin.flush()
            continue
        break
    return found
