"""Time to quality: how many seconds of training kgrec and other libraries need until their lists are as good as 95 %
and 99 % of the best that any of them makes.

`benchmark.py race-mf` runs a race of scripts/benchmarks.yaml; each contestant trains in a process of its own, one right
after the other. `race.py FILE.json [--plot FILE.svg]` prints the tables of a race that was run, and draws its curves.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.plots.svg_files import check_svg_path, write_svg
from racing.contestants import Conditions, Contestant, NotInstalled, Training, python_of, run_training
from racing.held_out import hold_out
from racing.results import Entry, Results

REALTIME = ("chrt", "-f", "10")  #: pushes all else aside


@dataclass(frozen=True)
class Plan:
    """A race, as scripts/benchmarks.yaml has it."""

    name: str
    title: str
    split: str
    contestants: Sequence[Contestant]
    epochs: int  #: of a training at most
    seconds: float  #: of a training at most, on its clock
    patience: int = 10  #: points without a better one after which a training ends
    trials: int = 4  #: of the search, for each contestant
    repeats: int = 2  #: seeds of what the tables show
    minutes: float = 15.0  #: for the whole race; the search ends early where it would take longer
    threads: int = 2
    clock: str = "wall"  #: see Conditions
    peers: Path | None = None
    before: Sequence[str] = ()  #: a command that starts what the tables show

    @classmethod
    def of(cls, name: str, benchmark: Mapping[str, Any], options: argparse.Namespace) -> Plan:
        """The plan of a benchmark with the options of benchmark.py."""
        contestants = [Contestant(who, **fields) for who, fields in benchmark["contestants"].items()]
        fields = {key: benchmark[key] for key in cls.__dataclass_fields__ if key in benchmark}
        fields |= {"name": name, "contestants": contestants, "peers": options.peers}
        fields |= {"before": REALTIME if options.realtime else (), "clock": "cpu" if options.cpu else "wall"}
        if options.minutes:
            fields["minutes"] = options.minutes
        if options.quick:
            fields |= {"epochs": 2, "trials": 1, "repeats": 1}
        return cls(**fields)


@dataclass
class RunningRace:
    """A race while it runs."""

    plan: Plan
    on: Conditions
    entries: list[Entry] = field(default_factory=list)
    kept: Path | None = None  #: the JSON file of what is done, written after each training; None: there is none
    conditions: dict[str, Any] = field(default_factory=dict)
    longest: float = 0.0  #: wall-clock seconds of the longest round so far
    begun: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        done = {entry.name: entry for entry in self.entries}
        self.entries = []
        for one in self.plan.contestants:
            entry = done.get(one.name, Entry(one.name))
            entry.not_run = ""
            try:
                python_of(one.program, self.on.peers)
            except NotInstalled as error:
                entry.not_run = str(error)
                _say(f"{one.name}: {error}")
            self.entries.append(entry)

    @property
    def results(self) -> Results:
        """What is done so far."""
        return Results(self.plan.name, self.plan.title, self.entries, self.conditions)

    def round(
        self,
        number: int,
        heat: Callable[[Entry], list[Training]],
        settings: Callable[[Contestant, Entry], Mapping[str, Any]],
        seed: int,
        before: Sequence[str] = (),
    ) -> None:
        """One training of each contestant, one right after the other. number: of the round, from 0; a contestant that
        has been trained in it is passed over. heat: where trainings are kept."""
        begun = time.perf_counter()
        for one, entry in zip(self.plan.contestants, self.entries):
            if entry.not_run or len(heat(entry)) > number:
                continue
            found = run_training(one, settings(one, entry), seed, self.on, before)
            heat(entry).append(found)
            if self.kept is not None:
                self.results.save(self.kept)
            seconds = found.points[-1].seconds if found.points else 0.0
            _say(f"{one.name}: {found.best:.4f} in {seconds:.2f} s ({found.ended}) with {dict(found.settings)}")
        self.longest = max(self.longest, time.perf_counter() - begun)

    def search(self) -> int:
        """Trials of each contestant, as many of one as of another. Returns how many."""
        trials = {one.name: one.trials(self.plan.trials) for one in self.plan.contestants}
        most = min(map(len, trials.values()))
        if any(entry.tuned for entry in self.entries):  # a race that is resumed after its search
            return max(len(entry.trials) for entry in self.entries)
        for number in range(most):
            if number and not self.has_time:
                _say(f"the search ends after {number} trials of each, as the race has {self.plan.minutes:g} minutes")
                return number
            settings = {name: of_one[number] for name, of_one in trials.items()}
            self.round(number, lambda entry: entry.trials, lambda one, _, now=settings: now[one.name], 0)  # type: ignore[misc]
        return most

    @property
    def has_time(self) -> bool:
        """Whether one more round of the search fits in the race's time, with those that the tables show after it."""
        needed = self.longest * (1 + self.plan.repeats)
        return time.perf_counter() - self.begun + needed < 60 * self.plan.minutes


def run_race(plan: Plan, graph: Graph, kept: Path | None = None, resume: bool = False) -> Results:
    """Run a race: each contestant at its defaults, then the search, then each with the settings that the search chose,
    with other seeds than the search had. kept: a JSON file that has what is done after each training. resume: go on
    from there, if it is there. Raises KgrecError for what is there of another race, and what `hold_out` raises."""
    with tempfile.TemporaryDirectory() as folder:
        held_out = hold_out(graph, plan.split, Path(folder))
        conditions = {
            "split": plan.split,
            "users": len(held_out.user),
            "items": held_out.num_items,
            "interactions": len(held_out.known),
            "held_out": len(held_out.relevant),
            "left_out": held_out.num_left_out,
            "epochs": plan.epochs,
            "seconds": plan.seconds,
            "patience": plan.patience,
            "threads": plan.threads,
            "clock": plan.clock,
            "before": " ".join(plan.before),
        }
        done = _entries_of(kept, conditions) if resume and kept is not None and kept.is_file() else []
        on = Conditions(held_out, plan.epochs, plan.seconds, plan.patience, plan.threads, plan.clock, plan.peers)
        running = RunningRace(plan, on, done, kept, conditions)
        for seed in range(1, plan.repeats + 1):
            running.round(seed - 1, lambda entry: entry.defaults, lambda one, _: one.needed, seed, plan.before)
        trials = running.search()
        for seed in range(1, plan.repeats + 1):
            running.round(seed - 1, lambda entry: entry.tuned, lambda _, entry: _chosen(entry), seed, plan.before)
        conditions |= {"trials": trials, "repeats": plan.repeats}
    if kept is not None:
        running.results.save(kept)
    return running.results


def _entries_of(kept: Path, conditions: Mapping[str, Any]) -> list[Entry]:
    """What was done before, under the same conditions. Raises KgrecError for others."""
    before = Results.load(kept)
    other = [name for name, value in conditions.items() if before.conditions.get(name) != value]
    if other:
        raise KgrecError(
            f"{kept} is of a race with other conditions ({', '.join(other)}), so it cannot be resumed; "
            "leave out --resume"
        )
    return list(before.entries)


def _chosen(entry: Entry) -> Mapping[str, Any]:
    """The settings of the best trial of a contestant; of equals the first."""
    return max(entry.trials, key=lambda trial: (not trial.failed, trial.best)).settings


def measure_race(name: str, benchmark: Mapping[str, Any], graph: Graph, options: argparse.Namespace) -> dict[str, Any]:
    """Run the race of a benchmark. Its trainings, tables and plot are files beside the results."""
    path = options.out / f"{name}{'-quick' * options.quick}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the contestant that trains is ended too
    results = run_race(Plan.of(name, benchmark, options), graph, path.with_suffix(".json"), options.resume)
    path.with_suffix(".md").write_text(results.tables(), encoding="utf-8")
    write_svg(path.with_suffix(".svg"), results.plot(), overwrite=True)
    _say(results.tables())
    not_run = [entry.name for entry in results.entries if entry.not_run]
    return {"test": results.figures(), "conditions": results.conditions, "not_run": not_run}


def peers_from_environment() -> Path | None:
    """The folder that KGREC_PEERS names; None: it is not set."""
    name = os.environ.get("KGREC_PEERS")
    return Path(name) if name else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the JSON file of a race that was run")
    parser.add_argument("--plot", type=Path, help="write the curves to this SVG file")
    parser.add_argument("--overwrite", action="store_true", help="replace the plot if it is there")
    options = parser.parse_args(arguments)
    try:
        if not options.file.is_file():
            raise KgrecError(f"{options.file} does not exist; run a race first, such as benchmark.py race-mf")
        results = Results.load(options.file)
        if options.plot is not None:
            write_svg(check_svg_path(options.plot, options.overwrite), results.plot(), overwrite=options.overwrite)
    except KgrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(results.tables(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
