"""SPARQL on RDF files or an endpoint: a SELECT query gives a table, a CONSTRUCT query a graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kgrec.errors import BadData, Fault, KgrecError
from kgrec.json_files import text_without_unicode
from kgrec.sources.rdf.endpoint import ask_endpoint
from kgrec.sources.rdf.local_query import ask_files
from kgrec.sources.rdf.query_process import as_json
from kgrec.sources.rdf.source import RdfSource

if TYPE_CHECKING:
    import rdflib

TABLE_TYPES = "application/sparql-results+json, application/sparql-results+xml;q=0.8"
GRAPH_TYPES = "text/turtle, application/n-triples;q=0.9, application/rdf+xml;q=0.8"


def select(source: RdfSource, folder: Path) -> pd.DataFrame:
    """The answers of the source's SELECT query, with a column for each variable: IRIs and values as strings, None where
    a variable has no value.

    Raises BadData where the query is wrong (with its line), takes too long, is not a SELECT query or has no answers, or
    where a file is wrong; KgrecError where the endpoint does not answer.
    """
    found = _found(source, folder, "SELECT", TABLE_TYPES)
    if not found["rows"]:
        raise BadData(_of_query(source, "the query has no answers; fix `query` in the recipe"))
    twice = [name for name in found["vars"] if found["vars"].count(name) > 1]
    if twice:
        raise BadData(
            _of_query(
                source, f"the answer has the variable {twice[0]!r} more than once; use each variable once in SELECT"
            )
        )
    half = text_without_unicode(found["rows"])
    if half is not None:
        what = f"an answer has the text {half!r}, with half a pair of surrogates, which stands for no character"
        raise BadData(_of_query(source, f"{what}; fix the data"))
    return pd.DataFrame(found["rows"], columns=found["vars"], dtype=object)


def construct(source: RdfSource, folder: Path) -> rdflib.Graph:
    """The graph of the source's CONSTRUCT (or DESCRIBE) query. Raises as `select` does."""
    from rdflib import Graph

    found = _found(source, folder, "CONSTRUCT", GRAPH_TYPES)
    if not found["triples"]:
        raise BadData(_of_query(source, "the query gives no triples; fix `query` in the recipe"))
    graph = Graph()
    for subject, predicate, object in found["triples"]:
        graph.add((_term(*subject), _term(*predicate), _term(*object)))
    return graph


def _term(text: str, kind: str, language: str | None, datatype: str | None) -> Any:
    from rdflib import BNode, Literal, URIRef

    if kind == "literal":
        return Literal(text, lang=language, datatype=datatype, normalize=False)
    return BNode(text) if kind == "blank" else URIRef(text)


def _found(source: RdfSource, folder: Path, wanted: str, media_types: str) -> dict[str, Any]:
    """The result of the query, in the form of `query_process.as_json`."""
    if source.query is None:
        raise KgrecError(_of_query(source, f"there is no `query`; write a {wanted} query"))
    found = as_json(ask_endpoint(source, folder, media_types)) if source.endpoint else ask_files(source, folder)
    kind = "CONSTRUCT" if found["form"] == "DESCRIBE" else found["form"]
    if kind != wanted:
        raise BadData(_of_query(source, f"this is a {found['form']} query; a {wanted} query is needed here"))
    return found


def _of_query(source: RdfSource, what: str) -> Fault:
    return Fault(what, source.endpoint or ", ".join(source.files), kind="bad query")
