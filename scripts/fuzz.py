"""Tries thousands of randomly damaged inputs. Each must be accepted, or refused with one of kgrec's own messages.

A traceback, more than 20 s, 1.4 GB beyond what the process held, or a half-written output is a failure. A case is
identified by its number: `--case 1234` tries that one and shows everything; `--keep FOLDER` keeps the inputs of
failures.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from fuzzing.bases import Bases
from fuzzing.cases import KINDS, case_of, kind_of, numbers
from fuzzing.trial import MOST_SECONDS, Verdict, attempt

MOST_BYTES = 8 << 30  #: address space that a worker may add to what it starts with, to protect the machine
A_WORKER = 2500  #: cases that one process tries before another replaces it
SECONDS_TO_MAKE = 300.0  #: most seconds to make the folders that cases start from, when a worker first needs them


@dataclass
class Tally:
    """The outcomes of the cases so far."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  #: (kind, outcome)
    failures: dict[str, list[tuple[int, Verdict]]] = field(default_factory=dict)  #: by place
    slowest: float = 0.0
    largest: float = 0.0

    def add(self, number: int, verdict: Verdict) -> None:
        """Add one outcome."""
        self.outcomes[kind_of(number), verdict.outcome] += 1
        self.slowest = max(self.slowest, verdict.seconds)
        self.largest = max(self.largest, verdict.megabytes)
        if verdict.outcome == "failed":
            self.failures.setdefault(verdict.place, []).append((number, verdict))

    def lines(self) -> Iterator[str]:
        """The lines of a table, and every cause of failure with its first cases."""
        yield f"{'kind':<12} {'cases':>7} {'refused':>8} {'accepted':>9} {'failures':>9}"
        total: Counter[str] = Counter()
        for kind in [*KINDS, "all"]:
            counts = {outcome: self.outcomes[kind, outcome] for outcome in ("refused", "accepted", "failed")}
            counts = dict(total) if kind == "all" else counts
            total.update(counts if kind != "all" else {})
            refused, accepted, failed = (counts.get(name, 0) for name in ("refused", "accepted", "failed"))
            if refused + accepted + failed:
                yield f"{kind:<12} {refused + accepted + failed:>7,} {refused:>8,} {accepted:>9,} {failed:>9,}"
        yield f"at most {self.slowest:.1f} s and {self.largest:,.0f} MB a case"
        for place, found in sorted(self.failures.items(), key=lambda one: -len(one[1])):
            first = ", ".join(str(number) for number, _ in found[:5])
            yield f"{len(found)} x {place} (cases {first}): {found[0][1].what}"


def main() -> None:
    """Try cases and print the table. The exit code is 1 if a case failed."""
    options = _options()
    kinds = set(KINDS) if options.only is None else set(options.only.split(","))
    if unknown := kinds - set(KINDS):
        sys.exit(f"no kind {', '.join(sorted(unknown))}; there are: {', '.join(KINDS)}")
    chosen = [options.case] if options.case is not None else list(numbers(options.first, options.cases, kinds))
    tally, begun = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kgrec-fuzz-") as folder:
        for number, verdict in tried(chosen, options.seed, Path(folder)):
            tally.add(number, verdict)
            if options.log:
                with options.log.open("a", errors="backslashreplace") as log:
                    log.write(f"{number} {kind_of(number)} {verdict.outcome} {verdict.seconds:.2f} {verdict.what!r}\n")
            if verdict.outcome == "failed":
                print(f"case {number}: {verdict.place}: {verdict.what}", file=sys.stderr, flush=True)
                if options.keep and len(tally.failures[verdict.place]) == 1:
                    _keep(number, options.seed, verdict, options.keep, Path(folder))
            if options.case is not None:
                case = case_of(number, options.seed, Bases(Path(folder) / "bases"))
                print(f"{json.dumps(case.to_json(), indent=1)}\n{verdict.outcome}: {verdict.what}\n{verdict.detail}")
    for line in tally.lines():
        print(line)
    print(f"seed {options.seed}, {len(chosen):,} cases in {time.monotonic() - begun:,.0f} s")
    sys.exit(1 if tally.failures else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cases",
        type=int,
        default=20_000,
        help="number of cases (default: 20,000); with --only, cases of other kinds are skipped",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the cases (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case (default: 0)")
    parser.add_argument("--only", help=f"only cases of these kinds, such as tables,rdf; of {', '.join(KINDS)}")
    parser.add_argument("--short", action="store_const", dest="cases", const=1000, help="the same as --cases 1000")
    parser.add_argument("--case", type=int, help="try only the case of this number; show its inputs and traceback")
    parser.add_argument(
        "--keep", type=Path, help="folder to write the inputs of the first failures of each cause to, as JSON"
    )
    parser.add_argument("--log", type=Path, help="file to write a line for each case to: its outcome and message")
    return parser.parse_args()


def _keep(number: int, seed: int, verdict: Verdict, folder: Path, work: Path) -> None:
    """Write a failing case as an entry of tests/fuzz_corpus.json."""
    folder.mkdir(parents=True, exist_ok=True)
    case = case_of(number, seed, Bases(work / "bases"))
    entry = {"why": f"{verdict.place}: {verdict.what}", **case.to_json()}
    (folder / f"{number}.json").write_text(json.dumps(entry, indent=1))
    (folder / f"{number}.txt").write_text(verdict.detail, errors="backslashreplace")


# ---------------------------------------------------------------------- processes


def tried(chosen: Iterable[int], seed: int, folder: Path) -> Iterator[tuple[int, Verdict]]:
    """Each case's number and verdict. If a process takes too long or dies, its case fails and another process goes on.
    A case that takes too long is tried once more, because other programs may use the same cores."""
    left = list(chosen)[::-1]
    is_second: set[int] = set()
    while left:
        part = [left.pop() for _ in range(min(A_WORKER, len(left)))][::-1]
        with _Worker(seed, folder) as worker:
            while part:
                number = part[-1]
                verdict = worker.verdict(number)
                if verdict.place == "too long" and number not in is_second:
                    is_second.add(number)
                    break
                part.pop()
                yield number, verdict
                if worker.is_gone:
                    break
        left += part


class _Worker:
    """A process that tries cases, one after the other."""

    def __init__(self, seed: int, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.ours, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, seed, folder), daemon=True)
        self.process.start()
        theirs.close()
        self.is_gone = False

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.ours.send(None)
        self.process.join(2)
        self.process.kill()
        self.process.join()

    def verdict(self, number: int) -> Verdict:
        """Try a case. The clock starts when the worker reports that the inputs are ready."""
        self.ours.send(number)
        try:
            if not self.ours.poll(SECONDS_TO_MAKE):
                return self._gone(f"its inputs were not made in {SECONDS_TO_MAKE:.0f} s", "not made")
            self.ours.recv()
            if not self.ours.poll(MOST_SECONDS + 5):
                return self._gone(f"took longer than {MOST_SECONDS:.0f} s", "too long")
            found: Verdict = self.ours.recv()
            return found
        except EOFError:
            self.process.join(5)
            return self._gone(f"the process died with {self.process.exitcode}", "died")

    def _gone(self, what: str, place: str) -> Verdict:
        self.is_gone = True
        self.process.kill()
        return Verdict("failed", what, place, seconds=MOST_SECONDS)


def _serve(pipe: Connection, seed: int, folder: Path) -> None:
    """A worker: it reads numbers of cases and sends verdicts."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.stdin = Path(os.devnull).open()  # noqa: SIM115
    bases = Bases(folder / "bases")
    bases.folder.mkdir(exist_ok=True)
    bases.graph  # noqa: B018  # made here, so that kgrec is imported and its kernels are compiled before a case is timed
    bases.run("mf")
    with Path("/proc/self/statm").open() as file:
        size = int(file.read().split()[0]) * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    while (number := pipe.recv()) is not None:
        case = case_of(number, seed, bases)
        for source in case.copies.values():
            bases.of(source)
        pipe.send(None)
        pipe.send(attempt(case, folder / "case", bases))


if __name__ == "__main__":
    main()
