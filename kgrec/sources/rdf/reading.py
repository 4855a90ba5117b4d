"""Reads facts from RDF: from files, streamed through pyoxigraph, or from an rdflib graph in memory."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kgrec.errors import BadData, Fault
from kgrec.printable import is_no_unicode
from kgrec.progress import Task, working
from kgrec.sources.packed_files import COMPRESSIONS, PACKED, changed_while_read, file_state
from kgrec.sources.rdf.blank_names import BlankNumbers, FileBlankNames
from kgrec.sources.rdf.collector import FactCollector, Use
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.rdf.left_out import QUOTED
from kgrec.sources.rdf.ntriples import FACT, OTHER, VALUE, Lines, read_lines
from kgrec.sources.rdf.numbering import as_spans
from kgrec.sources.rdf.rdf_file import RdfFile
from kgrec.sources.rdf.source import RdfSource, rdf_files
from kgrec.sources.rdf.sparql import construct

if TYPE_CHECKING:
    import pyoxigraph
    import rdflib


def read_rdf(
    source: RdfSource, folder: Path, ids: Collection[str] = (), blank_numbers: BlankNumbers | None = None
) -> Facts:
    """The facts in a source's files (relative to `folder`), or those of its CONSTRUCT query.

    ids: more predicates whose values are kept. blank_numbers: the numbers of blank nodes, shared between sources.

    Memory grows with distinct resources and with edges, not with the size of the files. Named graphs are merged. Edges
    are in file order. Resources are in the order of their first appearance, except that within some thousands of lines
    resources with only literals come last.

    Raises BadData, with line and column and what to do, where a file is missing, empty, of unknown format, or wrong.
    """
    if source.query:
        return facts_of(construct(source, folder), source, ids, blank_numbers)
    collector = FactCollector(source, ids)
    blank_numbers = blank_numbers or BlankNumbers()
    files = rdf_files(source, folder)
    for number, file in enumerate(files):
        before, state = collector.num_triples, file_state(file.path)
        _collect_file(file, collector, blank_numbers, number, len(files))
        if file_state(file.path) != state:
            raise BadData(changed_while_read(file.name))
        if collector.num_triples == before:
            what = "has no triples; fix it, or remove it from `files`"
            raise BadData(Fault(what, file.name, kind="empty file", file_is="subject"))
    return collector.facts()


def facts_of(
    graph: rdflib.Graph,
    options: FactOptions,
    ids: Collection[str] = (),
    blank_numbers: BlankNumbers | None = None,
) -> Facts:
    """The facts in an rdflib graph, by the same rules as for files. Named graphs of a Dataset are merged. ids and
    blank_numbers are as in `read_rdf`.

    >>> from rdflib import Graph
    >>> graph = Graph().parse(data="@prefix : <http://x/> . :alien :director :scott ; :title 'Alien' .")
    >>> facts = facts_of(graph, FactOptions(labels=["http://x/title"]))
    >>> list(facts.edges), facts.literals["http://x/title"].value.to_pylist()
    (['http://x/director'], ['Alien'])
    """
    from rdflib import BNode, Dataset, Literal, URIRef

    collector = FactCollector(options, ids)
    blank = (blank_numbers or BlankNumbers()).names()
    triples = (quad[:3] for quad in graph.quads()) if isinstance(graph, Dataset) else iter(graph)
    for subject, predicate, object in triples:
        for term in (subject, predicate, object):
            _refuse_no_unicode(term)
        if not isinstance(subject, URIRef | BNode) or not isinstance(object, URIRef | BNode | Literal):
            collector.skip(QUOTED)
            continue
        head = blank[subject] if isinstance(subject, BNode) else str(subject)
        if isinstance(object, Literal):
            datatype = object.datatype or (LANG_STRING if object.language else XSD_STRING)
            collector.literal(head, str(predicate), str(object), object.language, str(datatype))
        else:
            collector.fact(head, str(predicate), blank[object] if isinstance(object, BNode) else str(object))
    return collector.facts()


def _refuse_no_unicode(term: object) -> None:
    """Raise BadData for a term that cannot be written to a file: rdflib's parsers accept half a pair of surrogates."""
    if isinstance(term, str) and is_no_unicode(term):
        what = f"the term {str(term)!r} has half a pair of surrogates, which stands for no character; fix the RDF"
        raise BadData(what, value=str(term), kind="bad RDF")


XSD_STRING = "http://www.w3.org/2001/XMLSchema#string"
LANG_STRING = "http://www.w3.org/1999/02/22-rdf-syntax-ns#langString"


def _collect_file(file: RdfFile, collector: FactCollector, blank_numbers: BlankNumbers, number: int, of: int) -> None:
    """Add the triples of a file, which is the file `number` (from 0) of `of` files."""
    blank = blank_numbers.names(file.path)
    if file.is_lines:
        expected = file.path.stat().st_size * (PACKED if file.path.suffix in COMPRESSIONS else 1)
        read = 0
        with file.open() as stream, working(Task(f"reading {file.name}", 1)) as task:
            for lines in read_lines(stream, quads=file.format == "n-quads"):
                read += len(lines.text)
                collector.share = (number + min(1.0, read / expected)) / of
                _collect_lines(lines, file, collector, blank)
                task.reach(min(1.0, read / expected))
        return
    with working(Task(f"reading {file.name}", unit="triples")) as task:
        for quad in file.quads():
            fact = _fact_or_literal(quad, collector, blank)
            task.done += 1
            if fact is not None:
                collector.fact(*fact)


def _fact_or_literal(
    quad: pyoxigraph.Quad, collector: FactCollector, blank: FileBlankNames
) -> tuple[str, str, str] | None:
    """The names in a triple between resources. A literal is given to the collector; then the result is None."""
    from pyoxigraph import BlankNode, Literal, NamedNode

    subject, object = quad.subject, quad.object
    if not isinstance(subject, NamedNode | BlankNode) or not isinstance(object, NamedNode | BlankNode | Literal):
        collector.skip(QUOTED)
        return None
    head = blank[subject.value] if isinstance(subject, BlankNode) else subject.value
    if isinstance(object, Literal):
        collector.literal(head, quad.predicate.value, object.value, object.language, object.datatype.value)
        return None
    return head, quad.predicate.value, blank[object.value] if isinstance(object, BlankNode) else object.value


def _collect_lines(lines: Lines, file: RdfFile, collector: FactCollector, blank: FileBlankNames) -> None:
    """Plain facts go to the collector in bulk, unused literals are counted, and pyoxigraph reads the other lines."""
    is_fact, by_parser = lines.kind == FACT, lines.kind == OTHER
    values = np.flatnonzero(lines.kind == VALUE)
    predicate, use = collector.predicates_in(lines.text, lines.span[values, 1])
    is_wanted = (use & Use.VALUE) != 0
    collector.skip_values(predicate[~is_wanted])
    by_parser[values[is_wanted]] = True
    names: list[str] = []
    for row, quad in zip(np.flatnonzero(by_parser), _parsed_lines(lines, by_parser, file)):
        fact = _fact_or_literal(quad, collector, blank)
        if fact is not None:
            names += fact
            is_fact[row] = True
    more_text, more_span = as_spans(names)
    span = lines.span.copy()
    span[is_fact & by_parser] = more_span.reshape(-1, 3, 2) + len(lines.text)
    collector.facts_in(np.concatenate([lines.text, more_text]), span[is_fact])


def _parsed_lines(lines: Lines, chosen: np.ndarray, file: RdfFile) -> list[pyoxigraph.Quad]:
    """The triples of the chosen lines, one for each line. Raises SyntaxError with the line."""
    rows = [lines.text[start:stop].tobytes() for start, stop in lines.bounds[chosen]]
    try:
        quads = list(file.parsed(b"".join(rows)))
    except SyntaxError:
        quads = []
    if len(quads) == len(rows):
        return quads
    return [_parsed_line(row, number, file) for row, number in zip(rows, lines.number[chosen])]


def _parsed_line(row: bytes, number: int, file: RdfFile) -> pyoxigraph.Quad:
    try:
        (quad,) = file.parsed(row)
    except SyntaxError as error:
        error.lineno = int(number)
        raise
    return quad
