"""Asks a SPARQL endpoint over HTTP, and reads the answer without contacting other hosts."""

from __future__ import annotations

import io
import re
import time
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from kgrec.errors import BadData, Fault, KgrecError
from kgrec.sources.byte_order_mark import without_bom
from kgrec.sources.limits import LARGEST_ANSWER
from kgrec.sources.rdf.checked_xml import check_xml
from kgrec.sources.rdf.contexts import read_json_ld
from kgrec.sources.rdf.source import RdfSource

if TYPE_CHECKING:
    from rdflib.query import Result

#: Media types of graphs that rdflib reads, and its name for each; all others are refused
GRAPH_FORMATS = {
    "text/turtle": "turtle",
    "application/n-triples": "nt",
    "text/plain": "nt",
    "application/rdf+xml": "xml",
    "application/xml": "xml",
    "text/xml": "xml",
    "application/ld+json": "json-ld",
    "text/n3": "n3",
    "text/rdf+n3": "n3",
}
TABLE_FORMATS = {
    "application/sparql-results+json",
    "application/sparql-results+xml",
}

_NO_WORD = re.compile(
    r"<[^<>\"{}|^`\\\x00-\x20]*>"  # an IRI
    r"|'''(?:'{0,2}(?:[^'\\]|\\.))*'''"
    r'|"""(?:"{0,2}(?:[^"\\]|\\.))*"""'
    r"|'(?:[^'\\\n\r]|\\.)*'"
    r'|"(?:[^"\\\n\r]|\\.)*"'
    r"|#[^\n\r]*",
    re.DOTALL,
)
_REMOTE = re.compile(r"(?<![?$:\w.-])(SERVICE|LOAD)(?![\w:.-])", re.IGNORECASE)


def ask_endpoint(source: RdfSource, folder: Path, media_types: str) -> Result:
    """The answer to the source's query, by the POST request of the SPARQL protocol. rdflib parses the answer. Its own
    SPARQLStore is not used, because it has no time limit and hides the server's error message.

    Raises KgrecError where the endpoint does not answer in time, or the answer is not RDF, and BadData where the query
    or the answer would contact other hosts without `network: true`.
    """
    assert source.endpoint is not None
    word = None if source.network else remote_word(source.query or "")
    if word:
        what = f"{word} in the query contacts other hosts; remove it, or set `network: true` next to the query"
        raise BadData(Fault(what, source.endpoint, value=word, kind="bad query"))
    prologue = "".join(f"PREFIX {prefix}: <{iri}>\n" for prefix, iri in source.prefixes.items())
    body = urlencode({"query": prologue + (source.query or "")}).encode()
    opener = build_opener(_Redirects(source))
    try:
        with opener.open(Request(source.endpoint, body, {"Accept": media_types}), timeout=source.timeout) as answer:
            data, media_type = _received(answer, source), answer.headers.get_content_type()
    except HTTPError as error:
        with error:
            answer_text = error.read(500).decode(errors="replace").strip()
        what = f"answered with status {error.code}: {answer_text or error.reason}; fix `query`"
        raise KgrecError(_of_endpoint(source, what)) from error
    except (URLError, HTTPException, TimeoutError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        what = f"does not answer: {reason}; check `endpoint`, or set a longer `timeout`"
        raise KgrecError(_of_endpoint(source, what)) from error
    return _read(data, media_type, source, folder)


def remote_word(query: str) -> str | None:
    """SERVICE or LOAD, if a query has it outside IRIs, strings and comments. The query is searched for the words,
    because rdflib cannot parse the dialects of all endpoints.

    >>> remote_word("SELECT * { ?s ?p ?o SERVICE <http://other.example/> { ?o ?q 'a' } }")
    'SERVICE'
    >>> remote_word("SELECT ?service { ?service a <http://x/SERVICE> ; :load 'service' } # SERVICE")
    """
    escape = re.compile(r"\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})")
    plain = escape.sub(lambda found: _character(found[1] or found[2]), query)
    found = _REMOTE.search(_NO_WORD.sub(" ", plain))
    return found[1].upper() if found else None


def _character(digits: str) -> str:
    code = int(digits, 16)
    return chr(code) if code < 0x110000 else " "


class _Redirects(HTTPRedirectHandler):
    """Follows redirects on the endpoint's own host; to other hosts only with `network: true`."""

    def __init__(self, source: RdfSource) -> None:
        self._source = source

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        there = urlsplit(newurl).netloc
        if not self._source.network and there != urlsplit(self._source.endpoint or "").netloc:
            fp.close()
            what = f"redirects to {there}; use that as `endpoint`, or set `network: true`"
            raise KgrecError(_of_endpoint(self._source, what))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _received(answer: Any, source: RdfSource) -> bytes:
    """All bytes of an answer. Raises KgrecError where there are too many, or they arrive too slowly."""
    end, parts, total = time.monotonic() + source.timeout, [], 0
    while block := answer.read1(1 << 16):
        parts.append(block)
        total += len(block)
        if total > LARGEST_ANSWER:
            what = f"answered with more than {LARGEST_ANSWER:,} bytes; ask for less, for instance with LIMIT"
            raise KgrecError(_of_endpoint(source, what))
        if time.monotonic() > end:
            raise KgrecError(_of_endpoint(source, f"took longer than {source.timeout:g} s; set a longer `timeout`"))
    return b"".join(parts)


def _read(data: bytes, media_type: str, source: RdfSource, folder: Path) -> Result:
    from rdflib import Graph
    from rdflib.query import Result

    name, data = source.endpoint or "", without_bom(data)
    if media_type not in TABLE_FORMATS and media_type not in GRAPH_FORMATS:
        what = f"answered with {media_type}, which is not RDF; check `endpoint`"
        raise KgrecError(_of_endpoint(source, what))
    if "xml" in media_type:
        check_xml(data, name)
    try:
        if media_type in TABLE_FORMATS:
            return Result.parse(io.BytesIO(data), content_type=media_type)
        if media_type == "application/ld+json" and not source.network:
            contexts = {url: folder / file for url, file in source.contexts.items()}
            data = read_json_ld(data, name, contexts, source.base is not None)
        result = Result("CONSTRUCT")
        result.graph = Graph().parse(data, format=GRAPH_FORMATS[media_type])
        return result
    except KgrecError:
        raise
    except Exception as error:  # whatever rdflib's parsers raise
        what = f"the answer ({media_type}) cannot be read: {error}"
        raise KgrecError(what, file=source.endpoint, kind="bad answer") from error


def _of_endpoint(source: RdfSource, what: str) -> Fault:
    return Fault(what, source.endpoint, kind="bad answer", file_is="subject")
