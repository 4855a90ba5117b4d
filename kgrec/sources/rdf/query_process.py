"""A SPARQL query over triples, in a process of its own that stops when its time is over.

`python -P query_process.py TASK`, where TASK is a JSON file: `query`, `prefixes`, `files` (N-Triples, each with its own
blank nodes), `seconds`, `memory`, `network` and `say_network` (how to allow it). What it finds is written beside it as
`answer.json`: `form` with `vars` and `rows` or with `triples`, or an `error` (`message`, `line`, `column`). No answer
and exit code 1: the time was over; CANNOT_WRITE: there was no room. It is a process, since neither a regular expression
nor a join of everything with everything can be stopped from within; and it stands alone, so that starting it imports no
more than it needs.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

XSD_STRING = "http://www.w3.org/2001/XMLSchema#string"  #: what a text in quotes is of
CANNOT_WRITE = 3  #: the exit code where there is no room for the answer
SET_PARENT_DEATH_SIGNAL = 1  #: prctl's, of linux/prctl.h
NETWORK_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")


def answer(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the query finds, or what is wrong with it."""
    from pyparsing import ParseException
    from rdflib.plugins.sparql.algebra import translateQuery
    from rdflib.plugins.sparql.parser import parseQuery

    try:
        tree = parseQuery(task["query"])
        if not task["network"]:
            refuse_remote(tree, task["say_network"])
        query = translateQuery(tree, None, task["prefixes"])
        faulthandler.cancel_dump_traceback_later()  # reading the files is not counted
        graph = read_graph([folder / name for name in task["files"]])
        stop_after(task["seconds"])
        limit_memory(task["memory"])
        return as_json(graph.query(query))
    except ParseException as error:
        return {"error": {"message": error.msg, "line": error.lineno, "column": error.column}}
    except RecursionError:
        return {"error": {"message": "the query is nested too deeply"}}
    except MemoryError:
        return {"error": {"message": "the answer takes more memory than a query may"}}
    except Exception as error:  # rdflib raises bare Exceptions, for an unknown prefix for instance
        return {"error": {"message": str(error)}}


def refuse_remote(tree: Any, remedy: str) -> None:
    """Raises ValueError where a parsed query has SERVICE or FROM, which rdflib would fetch. remedy: what else to do."""
    from rdflib.plugins.sparql.parserutils import CompValue

    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, CompValue):
            word = {"ServiceGraphPattern": "SERVICE", "DatasetClause": "FROM", "Load": "LOAD"}.get(part.name)
            if word:
                raise ValueError(f"{word} reaches over the network; take it away{remedy}")
            waiting += part.values()
        elif not isinstance(part, str | bytes) and hasattr(part, "__iter__"):
            waiting += list(part)


def read_graph(files: list[Path]) -> Any:
    """All triples in one rdflib graph; blank nodes of different files are different."""
    import pyoxigraph
    from rdflib import BNode, Graph, Literal, URIRef

    graph = Graph()
    for number, file in enumerate(files):

        def term(value: Any, number: int = number) -> Any:
            if isinstance(value, pyoxigraph.NamedNode):
                return URIRef(value.value)
            if isinstance(value, pyoxigraph.BlankNode):
                return BNode(f"f{number}{value.value}")
            if value.language or value.datatype.value == XSD_STRING:  # rdflib holds 'a' and 'a'^^xsd:string apart
                return Literal(value.value, lang=value.language)
            return Literal(value.value, datatype=URIRef(value.datatype.value), normalize=False)

        for quad in pyoxigraph.parse(path=str(file), format=pyoxigraph.RdfFormat.N_TRIPLES, lenient=True):
            graph.add((term(quad.subject), URIRef(quad.predicate.value), term(quad.object)))
    return graph


def as_json(result: Any) -> dict[str, Any]:
    """A result: its form, and the texts of a table, or the terms of a graph as [text, kind, language, datatype]."""
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
    """End this process then, whatever it does: the watching thread is C, and does not wait for Python."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=os.open(os.devnull, os.O_WRONLY))


def limit_memory(least: int) -> None:
    """Let the query take this many bytes, or as many as the graph has taken where those are more. Linux only: elsewhere
    the time limit alone bounds it."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        page = resource.getpagesize()
        size, resident = (int(pages) * page for pages in statm.read_text().split()[:2])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = size + max(least, resident)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))


def end_with(parent: int) -> None:
    """Let this process be killed when the one that started it is, so that no query goes on for nobody. Linux only."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL))
        if os.getppid() != parent:  # it was killed before
            sys.exit(CANNOT_WRITE)


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: nothing opens a connection."""
    if event in NETWORK_EVENTS:
        raise OSError("the query reaches over the network; say `network: true`")


def main(path: Path) -> None:
    """Read the task, write the answer."""
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
    faulthandler.cancel_dump_traceback_later()
    draft.rename(path.parent / "answer.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
