"""A SPARQL query over triples, in a separate process that stops when its time is over.

`python -P query_process.py TASK`, where TASK is a JSON file: `query`, `prefixes`, `files` (N-Triples, each with its own
blank nodes), `seconds`, `memory`, `network` and `say_network` (how to allow it). The result is written next to it as
`answer.json`: `form` with `vars` and `rows` or with `triples`, or an `error` (`message`, `line`, `column`). No answer
and exit code 1: the time was over. Exit code CANNOT_WRITE: there was no room for the answer. It is a separate process,
because a slow regular expression or a huge join cannot be stopped from inside Python. It imports nothing of kgrec, so
that it starts fast.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

XSD_STRING = "http://www.w3.org/2001/XMLSchema#string"  #: the datatype of a text in quotes
CANNOT_WRITE = 3  #: the exit code where there is no room for the answer
TIME_IS_OVER = {1} | ({-signal.SIGALRM} if hasattr(signal, "SIGALRM") else set())  #: as `subprocess` gives it
SET_PARENT_DEATH_SIGNAL = 1  #: a constant of prctl, from linux/prctl.h
NETWORK_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")


def answer(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The result of the query, or what is wrong with it."""
    from pyparsing import ParseException
    from rdflib.plugins.sparql.algebra import translateQuery
    from rdflib.plugins.sparql.parser import parseQuery

    gc.freeze()  # what was imported is not looked through again
    gc.enable()
    try:
        tree = parseQuery(task["query"])
        if not task["network"]:
            refuse_remote(tree, task["say_network"])
        query = translateQuery(tree, None, task["prefixes"])
        never_stop()  # reading the files is not counted
        graph = read_graph([folder / name for name in task["files"]])
        stop_after(task["seconds"])
        limit_memory(task["memory"])
        return as_json(graph.query(query))
    except ParseException as error:
        return {"error": {"message": error.msg, "line": error.lineno, "column": error.column}}
    except RecursionError:
        return {"error": {"message": "the query is nested too deeply"}}
    except MemoryError:
        return {"error": {"message": "the query needs more memory than the limit allows"}}
    except Exception as error:  # rdflib raises bare Exceptions, for an unknown prefix for instance
        return {"error": {"message": str(error)}}


def refuse_remote(tree: Any, remedy: str) -> None:
    """Raises ValueError where a parsed query has SERVICE, FROM or LOAD, for which rdflib would use the network. remedy:
    what else to do."""
    from rdflib.plugins.sparql.parserutils import CompValue

    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, CompValue):
            word = {"ServiceGraphPattern": "SERVICE", "DatasetClause": "FROM", "Load": "LOAD"}.get(part.name)
            if word:
                raise ValueError(f"{word} uses the network; remove it{remedy}")
            waiting += part.values()
        elif not isinstance(part, str | bytes) and hasattr(part, "__iter__"):
            waiting += list(part)


def read_graph(files: list[Path]) -> Any:
    """All triples in one rdflib graph. Blank nodes of different files stay different."""
    import pyoxigraph
    from rdflib import BNode, Graph, Literal, URIRef

    graph = Graph()
    for number, file in enumerate(files):

        def term(value: Any, number: int = number) -> Any:
            if isinstance(value, pyoxigraph.NamedNode):
                return URIRef(value.value)
            if isinstance(value, pyoxigraph.BlankNode):
                return BNode(f"f{number}{value.value}")
            # rdflib treats 'a' and 'a'^^xsd:string as different
            if value.language or value.datatype.value == XSD_STRING:
                return Literal(value.value, lang=value.language)
            return Literal(value.value, datatype=URIRef(value.datatype.value), normalize=False)

        for quad in pyoxigraph.parse(path=str(file), format=pyoxigraph.RdfFormat.N_TRIPLES, lenient=True):
            graph.add((term(quad.subject), URIRef(quad.predicate.value), term(quad.object)))
    return graph


def as_json(result: Any) -> dict[str, Any]:
    """A result as JSON data: its form, and the texts of a table, or the terms of a graph as [text, kind, language,
    datatype]."""
    if result.type == "SELECT":
        names = list(result.vars or ())
        found = [[None if b.get(n) is None else str(b.get(n)) for n in names] for b in result.bindings]
        return {"form": "SELECT", "vars": [str(name) for name in names], "rows": found}
    triples = [[_term(term) for term in triple] for triple in result.graph] if result.graph is not None else []
    return {"form": result.type, "triples": triples}


def _term(term: Any) -> list[str | None]:
    from rdflib import BNode, Literal

    if isinstance(term, Literal):
        return [str(term), "literal", term.language, None if term.datatype is None else str(term.datatype)]
    return [str(term), "blank" if isinstance(term, BNode) else "iri", None, None]


def stop_after(seconds: float) -> None:
    """End this process after that time, whatever it does: by the system's alarm. Where there is none, on Windows, a
    thread watches the time, which may crash as it ends the process, because it reads what another thread changes."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process, without Python
        signal.setitimer(signal.ITIMER_REAL, seconds)
    else:
        faulthandler.dump_traceback_later(seconds, exit=True, file=os.open(os.devnull, os.O_WRONLY))


def never_stop() -> None:
    """Take back `stop_after`."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    else:
        faulthandler.cancel_dump_traceback_later()


def limit_memory(least: int) -> None:
    """Limit the query to this many bytes, or to as many as the graph has taken, if more. Linux only: on other systems
    there is only the time limit."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        page = resource.getpagesize()
        size, resident = (int(pages) * page for pages in statm.read_text().split()[:2])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = size + max(least, resident)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))


def end_with(parent: int) -> None:
    """Let this process be killed together with the process that started it. Linux only."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL))
        if os.getppid() != parent:  # the parent was killed before
            sys.exit(CANNOT_WRITE)


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook that refuses all connections."""
    if event in NETWORK_EVENTS:
        raise OSError("the query uses the network; set `network: true` to allow it")


def main(path: Path) -> None:
    """Read the task, write the answer."""
    gc.disable()  # modules are objects that stay, and looking through them takes an eighth of a short query's time
    task = json.loads(path.read_text(encoding="utf-8"))
    stop_after(task["seconds"])
    end_with(task["parent"])
    if not task["network"]:
        sys.addaudithook(refuse_network)
    found = answer(task, path.parent)
    draft = path.parent / "answer.part"
    try:
        draft.write_text(json.dumps(found), encoding="utf-8")
    except OSError:
        sys.exit(CANNOT_WRITE)
    never_stop()
    draft.rename(path.parent / "answer.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
