"""One RDF file as a stream of triples. Errors have the file, line and column, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kgrec.errors import BadData, Fault
from kgrec.sources.byte_order_mark import WithoutBom, without_bom
from kgrec.sources.limits import LONGEST_LINE, SMALL, SMALL_VALUE, CheckedTokens
from kgrec.sources.packed_files import COMPRESSIONS, open_bytes, read_all
from kgrec.sources.rdf.checked_xml import CheckedXml
from kgrec.sources.rdf.contexts import NO_BASE, read_json_ld

if TYPE_CHECKING:
    import pyoxigraph

RdfFormat = Literal["turtle", "n-triples", "n-quads", "trig", "rdf/xml", "json-ld", "n3"]

FORMATS: Mapping[str, RdfFormat] = {
    ".ttl": "turtle",
    ".turtle": "turtle",
    ".nt": "n-triples",
    ".nq": "n-quads",
    ".trig": "trig",
    ".rdf": "rdf/xml",
    ".xml": "rdf/xml",
    ".owl": "rdf/xml",
    ".jsonld": "json-ld",
    ".json": "json-ld",
    ".n3": "n3",
}


def format_of(path: Path) -> RdfFormat | None:
    """The format by a file's suffix, without .gz, .bz2 and .zst."""
    suffix = path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix
    return FORMATS.get(suffix.lower())


@dataclass(frozen=True)
class RdfFile:
    """Where a file is, and how to read it."""

    path: Path
    name: str  #: the path as it is written in the recipe
    format: RdfFormat
    base: str | None = None  #: the base IRI for relative IRIs
    lenient: bool = False  #: whether invalid IRIs are accepted
    contexts: Mapping[str, Path] = field(default_factory=dict)  #: URL of a JSON-LD context -> file

    @property
    def is_lines(self) -> bool:
        """Whether each line is a triple by itself."""
        return self.format in ("n-triples", "n-quads")

    @contextmanager
    def open(self) -> Iterator[WithoutBom]:
        """The bytes, unpacked. Errors while they are read become BadData."""
        if self.path.stat().st_size == 0:
            what = "is empty; fix it, or remove it from `files`"
            raise BadData(Fault(what, self.name, kind="empty file", file_is="subject"))
        try:
            with open_bytes(self.path, SMALL if self.is_lines else SMALL_VALUE) as stream:
                yield WithoutBom(stream)
        except SyntaxError as error:
            raise BadData(_fault(self, error)) from error
        except MemoryError as error:  # pyoxigraph's own limit for one text or name
            what = f"has a text or name that is longer than {LONGEST_LINE:,} bytes; fix the file"
            raise BadData(Fault(what, self.name, kind="too large", file_is="subject")) from error
        except OSError as error:
            what = f"cannot be read: {error}; it is truncated or damaged; get the file again"
            raise BadData(Fault(what, self.name, kind="altered file", file_is="subject")) from error

    def quads(self) -> Iterator[pyoxigraph.Quad]:
        """All triples with their graph, as they are read. Raises BadData with line and column where one is wrong."""
        with self.open() as stream:
            if self.format == "json-ld":
                data = read_json_ld(read_all(stream), self.name, self.contexts, self.base is not None)
                yield from self.parsed(data) if self.base else _not_relative(self, self.parsed(data, NO_BASE))
            elif self.format == "rdf/xml":
                yield from self.parsed(CheckedXml(stream, self.name))
            else:
                yield from self.parsed(CheckedTokens(stream, self.name))

    def parsed(self, input: Any, base: str | None = None) -> Iterator[pyoxigraph.Quad]:
        """The triples of some bytes in this file's format. Raises SyntaxError."""
        import pyoxigraph

        format = pyoxigraph.RdfFormat.from_media_type(_MEDIA_TYPES[self.format])
        try:
            return pyoxigraph.parse(input, format, base_iri=base or self.base, lenient=self.lenient)
        except ValueError as error:
            what = f"{error}; fix `base` in the recipe"
            raise BadData(what, file=self.name, value=base or self.base, kind="bad recipe") from error


TURTLE = re.compile(rb"(\s*#.*\n)*\s*@?(prefix|base)\b", re.IGNORECASE)  #: begins a file with declarations
HEAD = 4096  #: bytes of a file that are looked at
_MEDIA_TYPES: Mapping[RdfFormat, str] = {
    "turtle": "text/turtle",
    "n-triples": "application/n-triples",
    "n-quads": "application/n-quads",
    "trig": "application/trig",
    "rdf/xml": "application/rdf+xml",
    "json-ld": "application/ld+json",
    "n3": "text/n3",
}


def _not_relative(file: RdfFile, quads: Iterator[pyoxigraph.Quad]) -> Iterator[pyoxigraph.Quad]:
    """The same triples. Raises BadData for a relative IRI, because JSON-LD would silently drop its triples."""
    for quad in quads:
        for term in (quad.subject, quad.predicate, quad.object):
            value = getattr(term, "value", "")
            if value.startswith(NO_BASE):
                raise BadData(_relative(value.removeprefix(NO_BASE), file))
        yield quad


def _relative(iri: str, file: RdfFile, line: int | None = None, column: int | None = None) -> Fault:
    advice = "set `base` to the base IRI of the file" if file.base is None else "fix it, or `base`"
    return Fault(f"IRI {iri!r} is relative; {advice}", file.name, line, column, iri, "bad RDF")


def _fault(file: RdfFile, error: SyntaxError) -> Fault:
    what = re.sub(r"^Parser error .*?: ", "", error.msg)
    line, column = error.lineno, error.offset
    if line is None and file.format == "rdf/xml":
        line, column = _place_in_xml(file, error.msg)
    if not line:
        line = column = None
    if "No scheme" in what:
        named = re.search(r"IRI '(.*?)'", error.msg)
        iri = named[1] if named else _text_at(file, error).strip("<>")
        if file.is_lines:
            what = f"IRI {iri!r} is relative, which this format does not allow; fix the file"
            return Fault(what, file.name, line, column, iri, "bad RDF")
        return _relative(iri, file, line, column)
    if "XML namespaces" in what:
        what = "it is XML, but not RDF/XML; fix the file, or set another `format`"
    else:
        is_turtle = file.is_lines and TURTLE.match(_head(file))
        mend = ", or set `lenient: true`" if "Invalid IRI" in what and not file.lenient else ""
        advice = (
            "the file is Turtle: rename it to .ttl, or set `format: turtle`" if is_turtle else f"fix the file{mend}"
        )
        what = f"{what}; {advice}"
    return Fault(what, file.name, line, column, kind="bad RDF")


def _place_in_xml(file: RdfFile, message: str) -> tuple[int | None, int | None]:
    """Line and column of an error in RDF/XML, which pyoxigraph does not give: where the XML is invalid, or where the
    IRI in the message is."""
    from xml.parsers import expat

    try:
        with open_bytes(file.path) as stream:
            expat.ParserCreate().ParseFile(stream)
    except expat.ExpatError as error:
        return error.lineno, error.offset + 1
    except (LookupError, ValueError):  # an encoding that expat does not know
        return None, None
    iri = re.search(r"IRI '(.*?)'", message)
    for number, text in enumerate(_text(file), 1):
        if iri and f'"{iri[1]}"' in text:
            return number, text.index(f'"{iri[1]}"') + 2
    return None, None


def _head(file: RdfFile) -> bytes:
    with open_bytes(file.path) as stream:
        return stream.read(HEAD)


def _text_at(file: RdfFile, error: SyntaxError) -> str:
    """The text at the place of the error."""
    line = _text(file)[(error.lineno or 1) - 1]
    return line[(error.offset or 1) - 1 : (error.end_offset or 0) - 1]


def _text(file: RdfFile) -> list[str]:
    with open_bytes(file.path) as stream:
        return without_bom(read_all(stream)).decode(errors="replace").splitlines()
