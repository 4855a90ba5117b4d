"""SPARQL on files. The query runs in a separate process, which can be stopped and has no network access."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgrec.drafts import clear_abandoned, draft_of
from kgrec.errors import BadData, Fault, KgrecError
from kgrec.sources.limits import QUERY_MEMORY, QUERY_SECONDS
from kgrec.sources.rdf import query_process
from kgrec.sources.rdf.source import RdfSource, rdf_files

if TYPE_CHECKING:
    import pyoxigraph


@dataclass(frozen=True)
class QueryWords:
    """The names and the advice in messages about a query."""

    of: str  #: the file of the fault: the files that are queried, or the file of the query
    mend: str = "fix `query`"  #: what to do where the query is wrong
    mend_it_in: str = " in the recipe"  #: and where
    say_more_time: str = ", or set a longer `timeout`"  #: what else to do where it takes too long
    say_network: str = ", or set `network: true`"  #: what else to do where it uses the network

    def fault(self, what: str) -> Fault:
        """A fault of the query."""
        return Fault(what, self.of, kind="bad query")


def ask_files(source: RdfSource, folder: Path) -> dict[str, Any]:
    """The result of the source's query on its files, as `query_process` writes it: `form`, and `vars` and `rows`, or
    `triples`. Named graphs are merged.

    Raises BadData where a file or the query is wrong, with its line, where the query takes longer than the source's
    `timeout`, and where it would use the network without `network: true`; KgrecError where there is no room for its
    temporary files.
    """

    def sources() -> Iterator[Iterator[pyoxigraph.Triple]]:
        return (_plain(file.quads()) for file in rdf_files(source, folder))

    words = QueryWords(", ".join(source.files))
    return ask(source.query or "", source.prefixes, sources, words, seconds=source.timeout, network=source.network)


def ask(
    query: str,
    prefixes: Mapping[str, str],
    sources: Callable[[], Iterable[Iterator[pyoxigraph.Triple]]],
    words: QueryWords,
    *,
    seconds: float = QUERY_SECONDS,
    network: bool = False,
) -> dict[str, Any]:
    """The same for any triples. sources: gives the triples of each source separately, because each has its own blank
    nodes. seconds: the longest time that the query may run. network: whether it may use the network. Raises as
    `ask_files` does."""
    try:
        place = Path(tempfile.gettempdir()) / f"kgrec-query-{getattr(os, 'getuid', int)()}"
        clear_abandoned(place)  # what a killed process left behind
        with draft_of(place) as draft:
            draft.part.mkdir(mode=0o700)
            files = [_written(one, draft.part / f"{number}.nt") for number, one in enumerate(sources())]
            task = {
                "query": query,
                "prefixes": dict(prefixes),
                "files": files,
                "seconds": seconds,
                "memory": QUERY_MEMORY,
                "network": network,
                "say_network": words.say_network,
                "parent": os.getpid(),
            }
            found = _answer(task, words, draft.part)
    except OSError as error:
        raise KgrecError(
            f"cannot write the temporary files of a query: {error}; free some space, or set TMPDIR to another folder"
        ) from error
    if "error" in found:
        raise BadData(words.fault(_what_is_wrong(found["error"], words)))
    return found


def _answer(task: dict[str, Any], words: QueryWords, here: Path) -> dict[str, Any]:
    """The answer of the query's process, which reads and writes files in the folder `here`."""
    (here / "task.json").write_text(json.dumps(task), encoding="utf-8")
    code = _run(here / "task.json")
    if code == query_process.CANNOT_WRITE:
        raise OSError("the answer does not fit")
    if not (here / "answer.json").exists():
        raise BadData(words.fault(_why_stopped(code, task["seconds"], words)))
    found: dict[str, Any] = json.loads((here / "answer.json").read_text(encoding="utf-8"))
    return found


def _written(triples: Iterator[pyoxigraph.Triple], place: Path) -> str:
    """The name of a new file with the triples as N-Triples."""
    import pyoxigraph

    pyoxigraph.serialize(triples, str(place), format=pyoxigraph.RdfFormat.N_TRIPLES)
    return place.name


def _plain(quads: Iterator[pyoxigraph.Quad]) -> Iterator[pyoxigraph.Triple]:
    """The triples, without triples about triples."""
    import pyoxigraph

    for quad in quads:
        if not isinstance(quad.subject, pyoxigraph.Triple) and not isinstance(quad.object, pyoxigraph.Triple):
            yield pyoxigraph.Triple(quad.subject, quad.predicate, quad.object)


def _run(task: Path) -> int:
    """The exit code of the query's process. It ends when this process is interrupted."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", str(query_process.__file__), str(task)]
    nothing = subprocess.DEVNULL  # also for errors: Ctrl-C ends that process too, and its traceback does not help
    return subprocess.run(command, env=environment, stdin=nothing, stdout=nothing, stderr=nothing).returncode


def _why_stopped(code: int, seconds: float, words: QueryWords) -> str:
    if code in query_process.TIME_IS_OVER:
        return f"the query took longer than {seconds:g} seconds; make it simpler{words.say_more_time}"
    return f"the query's process was killed (exit code {code}), perhaps because of too little memory; make it simpler"


def _what_is_wrong(error: dict[str, Any], words: QueryWords) -> str:
    if "line" in error:
        return f"query line {error['line']} column {error['column']}: {error['message']}; {words.mend}"
    return f"{error['message']}; {words.mend}{words.mend_it_in}"
