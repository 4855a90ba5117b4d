"""SPARQL over RDF files or an endpoint: a SELECT gives a table, a CONSTRUCT a graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pandas as pd

from kgrec.errors import BadData, Fault, KgrecError
from kgrec.sources.rdf.source import RdfSource, rdf_files

if TYPE_CHECKING:
    import pyoxigraph
    import rdflib
    from rdflib.query import Result

TABLE_TYPES = "application/sparql-results+json, application/sparql-results+xml;q=0.8"
GRAPH_TYPES = "text/turtle, application/n-triples;q=0.9, application/rdf+xml;q=0.8"


def select(source: RdfSource, folder: Path) -> pd.DataFrame:
    """The answers of the source's SELECT query, a column a variable: IRIs and values as strings, None where unbound.

    Raises BadData where the query is wrong (with its line), is no SELECT or has no answers, or where a file is wrong;
    KgrecError where the endpoint does not answer.
    """
    result = _answered(source, folder, "SELECT", TABLE_TYPES)
    names = [str(variable) for variable in result.vars or ()]
    rows = [[_text(binding.get(variable)) for variable in result.vars or ()] for binding in result.bindings]
    if not rows:
        raise BadData(_of_query(source, "the query has no answers; mend `query` in the recipe"))
    return pd.DataFrame(rows, columns=names, dtype=object)


def construct(source: RdfSource, folder: Path) -> rdflib.Graph:
    """The graph that the source's CONSTRUCT (or DESCRIBE) query gives. Raises as `select` does."""
    graph = _answered(source, folder, "CONSTRUCT", GRAPH_TYPES).graph
    if graph is None or not len(graph):
        raise BadData(_of_query(source, "the query gives no triples; mend `query` in the recipe"))
    return graph


def graph_of(source: RdfSource, folder: Path) -> rdflib.Graph:
    """All triples of a source's files in one rdflib graph, in memory; named graphs are merged.

    Raises BadData as `read_rdf` does. Nothing is fetched from the network.
    """
    from rdflib import Graph

    graph = Graph()
    for number, file in enumerate(rdf_files(source, folder)):
        for triple in _rdflib_triples(file.quads(), number):
            graph.add(triple)
    return graph


def _rdflib_triples(quads: Iterator[pyoxigraph.Quad], file_number: int) -> Iterator[Any]:
    """The same triples in rdflib's terms; blank nodes of different files are different."""
    import pyoxigraph
    from rdflib import BNode, Literal, URIRef

    def term(value: Any) -> Any:
        if isinstance(value, pyoxigraph.NamedNode):
            return URIRef(value.value)
        if isinstance(value, pyoxigraph.BlankNode):
            return BNode(f"f{file_number}{value.value}")
        if value.language:
            return Literal(value.value, lang=value.language)
        return Literal(value.value, datatype=URIRef(value.datatype.value), normalize=False)

    for quad in quads:
        if not isinstance(quad.subject, pyoxigraph.Triple) and not isinstance(quad.object, pyoxigraph.Triple):
            yield term(quad.subject), URIRef(quad.predicate.value), term(quad.object)


def _answered(source: RdfSource, folder: Path, wanted: str, media_types: str) -> Result:
    if source.query is None:
        raise KgrecError(_of_query(source, f"there is no `query`; give a {wanted}"))
    result = _asked_of_endpoint(source, media_types) if source.endpoint else _asked_of_files(source, folder)
    kind = "CONSTRUCT" if result.type == "DESCRIBE" else result.type
    if kind != wanted:
        raise BadData(_of_query(source, f"the query is of the form {result.type}; a {wanted} is needed here"))
    return result


def _asked_of_files(source: RdfSource, folder: Path) -> Result:
    from pyparsing import ParseException

    graph = graph_of(source, folder)
    try:
        return graph.query(source.query or "", initNs=source.prefixes)
    except ParseException as error:
        what = f"query line {error.lineno} column {error.column}: {error.msg}; mend `query`"
        raise BadData(_of_query(source, what)) from error
    except Exception as error:  # rdflib raises bare Exceptions, for an unknown prefix for instance
        raise BadData(_of_query(source, f"{error}; mend `query` in the recipe")) from error


def _asked_of_endpoint(source: RdfSource, media_types: str) -> Result:
    """The answer over HTTP, by the SPARQL protocol's POST. rdflib's own SPARQLStore has no time limit and keeps the
    server's message to itself; the answer is read by rdflib."""
    assert source.endpoint is not None
    prologue = "".join(f"PREFIX {prefix}: <{iri}>\n" for prefix, iri in source.prefixes.items())
    body = urlencode({"query": prologue + (source.query or "")}).encode()
    try:
        with urlopen(Request(source.endpoint, body, {"Accept": media_types}), timeout=source.timeout) as answer:
            return _read(answer.read(), answer.headers.get_content_type(), source)
    except HTTPError as error:
        with error:
            answer_text = error.read(500).decode(errors="replace").strip()
        what = f"answered {error.code}: {answer_text or error.reason}; mend `query`"
        raise KgrecError(_of_endpoint(source, what)) from error
    except (URLError, TimeoutError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        what = f"does not answer: {reason}; mend `endpoint`, or say `timeout:`"
        raise KgrecError(_of_endpoint(source, what)) from error


def _read(data: bytes, media_type: str, source: RdfSource) -> Result:
    import io

    from rdflib import Graph
    from rdflib.plugin import PluginException
    from rdflib.query import Result

    try:
        if "sparql-results" in media_type:
            return Result.parse(io.BytesIO(data), content_type=media_type)
        result = Result("CONSTRUCT")
        result.graph = Graph().parse(data, format=media_type)
        return result
    except PluginException as error:
        what = f"answered with {media_type}, which is no RDF; mend `endpoint`"
        raise KgrecError(_of_endpoint(source, what)) from error
    except Exception as error:  # whatever rdflib's parsers raise
        what = f"its {media_type} cannot be read: {error}"
        raise KgrecError(what, file=source.endpoint, kind="bad answer") from error


def _text(term: Any) -> str | None:
    return None if term is None else str(term)


def _of_query(source: RdfSource, what: str) -> Fault:
    return Fault(what, source.endpoint or ", ".join(source.files), kind="bad query")


def _of_endpoint(source: RdfSource, what: str) -> Fault:
    return Fault(what, source.endpoint, kind="bad answer", file_is="subject")
