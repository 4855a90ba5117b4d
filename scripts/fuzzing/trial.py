"""Tries a case in its own folder and judges it: refused with one of kgrec's own messages, accepted, or a failure."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from fuzzing.bases import Bases, list_again, place
from fuzzing.case import Case
from fuzzing.texts import ENDPOINT

MOST_SECONDS = 20.0
MOST_MB = 1400.0  #: beyond what the process held before; the first case of a process imports some 500 MB


@dataclass(frozen=True)
class Verdict:
    """The outcome of a case."""

    outcome: str  #: refused, accepted or failed
    what: str = ""  #: the message; for a failure, what is wrong
    place: str = ""  #: for a failure, its cause; failures with the same cause are counted together
    detail: str = ""  #: for a failure, the traceback
    seconds: float = 0.0
    megabytes: float = 0.0  #: by how much the case raised the peak of memory; 0 if the system does not report it


def attempt(case: Case, folder: Path, bases: Bases) -> Verdict:
    """Try a case in a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    prepare(case, folder, bases)
    before, here = listing(folder), Path.cwd()
    held = _peak() if _reset_peak() else None
    os.chdir(folder)
    begun = time.perf_counter()
    try:
        verdict = _call(case.argv) if case.argv and case.argv[0].startswith("@") else _command(case.argv)
    finally:
        os.chdir(here)
    seconds, megabytes = time.perf_counter() - begun, 0.0 if held is None else _peak() - held
    if verdict.outcome != "failed":
        verdict = _judged(case, folder, verdict, before, seconds, megabytes)
    return Verdict(verdict.outcome, verdict.what, verdict.place, verdict.detail, seconds, megabytes)


def prepare(case: Case, folder: Path, bases: Bases) -> None:
    """Write the files that a case needs."""
    for name, source in case.copies.items():
        shutil.copytree(bases.of(source), folder / name)
    files = dict(case.files)
    if "answer" in files and "recipe.yaml" in files:
        url = Endpoint.serving(folder / "answer")
        files["recipe.yaml"] = files["recipe.yaml"].replace(ENDPOINT.encode(), url.encode())
    place(files, folder)
    for name in case.listed_again:
        list_again(folder / name)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its size and time of change."""
    found = {}
    for path in folder.rglob("*"):
        stat = path.lstat()
        found[str(path.relative_to(folder))] = (0, 0) if path.is_dir() else (stat.st_size, stat.st_mtime_ns)
    return found


# ---------------------------------------------------------------------- what is called


@contextmanager
def _streams() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """A context that captures stdout and stderr as bytes."""
    out, err = io.BytesIO(), io.BytesIO()
    held = sys.stdout, sys.stderr
    sys.stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(err, encoding="utf-8", write_through=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for hidden in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
                warnings.simplefilter("ignore", hidden)  # as Python does by itself
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
            yield out, err
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError):
                stream.detach()
        sys.stdout, sys.stderr = held


def _command(argv: tuple[str, ...]) -> Verdict:
    """Try a command line. The exit code must be 0, or 1 or 2 with a message."""
    from kgrec.cli.entry import main

    held, code = sys.argv, 0
    with _streams() as (out, err):
        sys.argv = ["kgrec", *argv]
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException as error:
            return _failure(error)
        finally:
            sys.argv = held
    printed, said = out.getvalue().decode(errors="replace"), err.getvalue().decode(errors="replace")
    warned = re.search(r"(\w+)\.py:(\d+): (\w*Warning): .*", said)
    if warned:
        return Verdict("failed", warned[0], f"{warned[3]} {warned[1]}.py:{warned[2]}", said)
    controls = re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e]", said)
    if controls:
        return Verdict("failed", f"{controls[0]!r} goes to the terminal", f"control character of {argv[0]}", said)
    if code not in (0, 1, 2):
        return Verdict("failed", f"exit code {code}", f"exit code of {argv[0]}", said)
    if code and not (said.strip() or printed.strip()):
        return Verdict("failed", f"exit code {code} without a message", f"no message of {argv[0]}", said)
    return Verdict("refused" if code else "accepted", f"{said.strip()}\n{printed.strip()}".strip()[:2000])


def _call(argv: tuple[str, ...]) -> Verdict:
    """Try a call of the library. It must return a value or raise KgrecError."""
    from kgrec.errors import KgrecError

    with _streams():
        try:
            CALLS[argv[0]](*argv[1:])
        except KgrecError as error:
            return Verdict("refused", str(error)) if str(error).strip() else Verdict("failed", "no message", argv[0])
        except BaseException as error:
            return _failure(error)
    return Verdict("accepted")


def _failure(error: BaseException) -> Verdict:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/kgrec/" in frame.filename.replace(os.sep, "/")]
    frame = (ours or frames)[-1]
    where = f"{type(error).__name__} {Path(frame.filename).name}:{frame.lineno}"
    return Verdict(
        "failed", f"{type(error).__name__}: {error}"[:300], where, "".join(traceback.format_exception(error))
    )


def _graph(folder: str) -> None:
    from kgrec import Graph
    from kgrec.graph.description import info

    graph = Graph.load(folder)
    info(graph)
    for relation in dict.fromkeys(edge[1] for edge in graph.edge_types):
        graph.only(relation)


def _build(recipe: str) -> None:
    from kgrec.sources.building import build

    build(recipe)


def _run(folder: str) -> None:
    from kgrec import KgrecError, Run

    run = Run.load(folder)
    run.recommend("all", k=2)
    for node_type in run.graph.node_types:
        with suppress(KgrecError):  # many models have no vectors of a type
            run.vectors(node_type)
    run.whole_graph()


def _history(folder: str, table: str) -> None:
    from kgrec import Run

    Run.load(folder).recommend(k=2, history=Path(table), skip_unknown=True)


def _scorer(folder: str) -> None:
    from kgrec.serving.numpy_scorer import load_scores

    load_scores(folder)


CALLS: dict[str, Callable[..., None]] = {
    "@graph": _graph,
    "@build": _build,
    "@run": _run,
    "@history": _history,
    "@scorer": _scorer,
}


# ---------------------------------------------------------------------- what is left


def _judged(
    case: Case, folder: Path, verdict: Verdict, before: dict[str, Any], seconds: float, megabytes: float
) -> Verdict:
    """The verdict, or a failure because of the files that a case left, its time or its memory."""
    if seconds > MOST_SECONDS:
        return Verdict("failed", f"took {seconds:.1f} s", f"seconds of {case.kind}")
    if megabytes > MOST_MB:
        return Verdict("failed", f"took {megabytes:,.0f} MB", f"memory of {case.kind}")
    after, out = listing(folder), case.out
    checkpoint = f"{out}.checkpoint"  # goes on while a training does, and ends with it
    changed = [name for name, state in before.items() if after.get(name) != state and not name.startswith(checkpoint)]
    if changed and "--overwrite" not in case.argv:
        return Verdict("failed", f"{changed[:3]} changed", f"inputs of {case.argv[0]}")
    made = [name for name in after if name not in before and not name.startswith(f"{checkpoint}/")]
    if verdict.outcome == "refused":
        return (
            Verdict("failed", f"refused ({verdict.what}), and left {made[:3]}", f"left by {case.argv[0]}")
            if made
            else verdict
        )
    strange = [
        name
        for name in made
        if out is None or not (name == out or name.startswith(f"{out}/") or out.startswith(f"{name}/"))
    ]
    if strange:
        return Verdict("failed", f"left {strange[:3]} beside its output", f"left by {case.argv[0]}")
    if out is not None and made:
        try:
            _read_whole(folder / out)
        except BaseException as error:
            failure = _failure(error)
            return Verdict(
                "failed",
                f"what was written cannot be read: {failure.what}",
                f"unreadable {failure.place}",
                failure.detail,
            )
    return verdict


def _read_whole(path: Path) -> None:
    """Read the output of a command. Raises an error if it is not complete."""
    import json

    import pandas as pd

    from kgrec import Graph, Run

    if (path / "graph.json").exists():
        Graph.load(path)
    elif path.is_dir():
        Run.load(path)
    elif path.suffix == ".parquet":
        pd.read_parquet(path)
    elif path.suffix == ".json":
        json.loads(path.read_bytes())
    else:
        path.read_bytes().decode()


# ---------------------------------------------------------------------- memory, and an endpoint


def _reset_peak() -> bool:
    """Reset the peak of memory. Returns False if the system does not support this."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


class Endpoint(BaseHTTPRequestHandler):
    """A server that answers every query with a file; another file names its media type."""

    server_: ThreadingHTTPServer | None = None
    answer: Path

    @classmethod
    def serving(cls, answer: Path) -> str:
        """The URL of the server, which gives this answer from now on."""
        cls.answer = answer
        if cls.server_ is None:
            cls.server_ = ThreadingHTTPServer(("127.0.0.1", 0), cls)
            Thread(target=cls.server_.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{cls.server_.server_port}/"

    def do_POST(self) -> None:
        """Answer a query."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = self.answer.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", self.answer.with_name("answer.type").read_text())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""
