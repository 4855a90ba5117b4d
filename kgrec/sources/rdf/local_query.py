"""SPARQL over files: the query runs in a process that can be stopped, and that reaches no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgrec.drafts import clear_abandoned, draft_of
from kgrec.errors import BadData, Fault, KgrecError
from kgrec.sources.limits import QUERY_MEMORY
from kgrec.sources.rdf import query_process
from kgrec.sources.rdf.rdf_file import RdfFile
from kgrec.sources.rdf.source import RdfSource, rdf_files

if TYPE_CHECKING:
    import pyoxigraph


def ask_files(source: RdfSource, folder: Path) -> dict[str, Any]:
    """What the source's query finds in its files, as `query_process` writes it: `form`, and `vars` and `rows`, or
    `triples`. Named graphs are merged.

    Raises BadData where a file or the query is wrong, with its line, where it takes longer than the source's `timeout`,
    and where it would reach over the network without `network: true`; KgrecError where there is no room for the
    temporary files that it needs.
    """
    try:
        place = Path(tempfile.gettempdir()) / f"kgrec-query-{getattr(os, 'getuid', int)()}"
        clear_abandoned(place)  # what a killed one left
        with draft_of(place) as draft:
            draft.part.mkdir(mode=0o700)
            found = _answer(source, folder, draft.part)
    except OSError as error:
        raise KgrecError(
            f"cannot write the temporary files of a query: {error}; make room, or set TMPDIR to a folder that has some"
        ) from error
    if "error" in found:
        raise BadData(_of_query(source, _what_is_wrong(found["error"])))
    return found


def _answer(source: RdfSource, folder: Path, here: Path) -> dict[str, Any]:
    """What the query's process answers, by files in the folder `here`."""
    files = [_copied(file, here / f"{number}.nt") for number, file in enumerate(rdf_files(source, folder))]
    task = {
        "query": source.query,
        "prefixes": dict(source.prefixes),
        "files": files,
        "seconds": source.timeout,
        "memory": QUERY_MEMORY,
        "network": source.network,
        "parent": os.getpid(),
    }
    (here / "task.json").write_text(json.dumps(task), encoding="utf-8")
    code = _run(here / "task.json")
    if code == query_process.CANNOT_WRITE:
        raise OSError("the answer does not fit")
    if not (here / "answer.json").exists():
        raise BadData(_of_query(source, _why_stopped(code, source.timeout)))
    found: dict[str, Any] = json.loads((here / "answer.json").read_text(encoding="utf-8"))
    return found


def _copied(file: RdfFile, place: Path) -> str:
    """The file's name after its triples are written there as N-Triples, those about triples left out."""
    import pyoxigraph

    pyoxigraph.serialize(_plain(file.quads()), str(place), format=pyoxigraph.RdfFormat.N_TRIPLES)
    return place.name


def _plain(quads: Iterator[pyoxigraph.Quad]) -> Iterator[pyoxigraph.Triple]:
    import pyoxigraph

    for quad in quads:
        if not isinstance(quad.subject, pyoxigraph.Triple) and not isinstance(quad.object, pyoxigraph.Triple):
            yield pyoxigraph.Triple(quad.subject, quad.predicate, quad.object)


def _run(task: Path) -> int:
    """The exit code of the query's process. It is ended where this one is interrupted."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", str(query_process.__file__), str(task)]
    nothing = subprocess.DEVNULL  # also for errors: where Ctrl-C ends it too, its traceback is of no use
    return subprocess.run(command, env=environment, stdin=nothing, stdout=nothing, stderr=nothing).returncode


def _why_stopped(code: int, seconds: float) -> str:
    if code == 1:
        return f"the query took longer than {seconds:g} seconds; make it simpler, or say more as `timeout:`"
    return f"the query was stopped from outside (exit code {code}), perhaps for want of memory; make it simpler"


def _what_is_wrong(error: dict[str, Any]) -> str:
    if "line" in error:
        return f"query line {error['line']} column {error['column']}: {error['message']}; mend `query`"
    return f"{error['message']}; mend `query` in the recipe"


def _of_query(source: RdfSource, what: str) -> Fault:
    return Fault(what, ", ".join(source.files), kind="bad query")
