"""RDF files, rdflib graphs and SPARQL answers: what they say, numbered; and what is said where they are wrong."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pyarrow as pa
import pytest

from kgrec.errors import BadData, KgrecError
from kgrec.sources.rdf import RdfSource, facts_of, ntriples, read_rdf
from kgrec.sources.rdf.facts import Facts
from kgrec.sources.rdf.numbering import Numbering
from kgrec.sources.rdf.sparql import construct, select

DATA = Path(os.environ.get("KGREC_DATA", Path(__file__).parents[1] / "../shared/data"))

ALIEN = """
@prefix : <http://x/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
:alien a :Film ; :director :scott ; :genre :horror , :scifi ;
    rdfs:label "Alien"@en , "Alien - Das unheimliche Wesen"@de ; :year 1979 .
:scott :born [ :in :england ] .
"""


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def edges(facts: Facts) -> dict[str, list[tuple[str, str]]]:
    """Edges by predicate with names for numbers, `http://x/` taken away."""
    names = [name.removeprefix("http://x/") for name in facts.resources.to_pylist()]
    return {
        predicate.removeprefix("http://x/"): [(names[s], names[o]) for s, o in zip(subject, object)]
        for predicate, (subject, object) in facts.edges.items()
    }


def complaint(source: RdfSource, folder: Path) -> str:
    with pytest.raises(BadData) as error:
        read_rdf(source, folder)
    return str(error.value)


def test_turtle(tmp_path: Path) -> None:
    write(tmp_path, "a.ttl", ALIEN)
    facts = read_rdf(RdfSource(files="a.ttl", labels=["http://www.w3.org/2000/01/rdf-schema#label"]), tmp_path)
    assert edges(facts) == {
        "director": [("alien", "scott")],
        "genre": [("alien", "horror"), ("alien", "scifi")],
        "in": [("_:b0", "england")],
        "born": [("scott", "_:b0")],
    }
    assert facts.resources[:2].to_pylist() == ["http://x/alien", "http://x/scott"]
    assert {name: positions.tolist() for name, positions in facts.types.items()} == {"http://x/Film": [0]}
    label = facts.literals["http://www.w3.org/2000/01/rdf-schema#label"]
    assert label.subject.tolist() == [0, 0] and label.language.to_pylist() == ["en", "de"]
    assert facts.num_triples == 9
    assert facts.skipped == {"values whose predicate is not a label or feature": 1}


def test_predicates_by_iri_prefix_and_curie(tmp_path: Path) -> None:
    write(tmp_path, "a.ttl", ALIEN)
    source = RdfSource(files="a.ttl", prefixes={"x": "http://x/"}, include=["x:*"], exclude=["x:genre", "http://x/b*"])
    facts = read_rdf(source, tmp_path)
    assert edges(facts) == {"director": [("alien", "scott")], "in": [("_:b0", "england")]}
    assert facts.skipped["facts whose predicate is not included"] == 3
    assert list(facts.types) == ["http://x/Film"]


def test_rdf_type_is_a_relation_where_included_and_no_class_where_excluded(tmp_path: Path) -> None:
    write(tmp_path, "a.ttl", ALIEN)
    rdf_type = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
    facts = read_rdf(RdfSource(files="a.ttl", include=[rdf_type]), tmp_path)
    assert edges(facts) == {rdf_type: [("alien", "Film")]} and list(facts.types) == ["http://x/Film"]
    facts = read_rdf(RdfSource(files="a.ttl", exclude=[rdf_type]), tmp_path)
    assert not facts.types and rdf_type not in facts.edges


def test_blank_nodes_skipped_and_apart_between_files(tmp_path: Path) -> None:
    write(tmp_path, "a.nt", "_:n <http://x/p> <http://x/a> .\n")
    write(tmp_path, "b.nt", "<http://x/c> <http://x/p> _:n .\n_:n <http://x/p> _:m .\n")
    facts = read_rdf(RdfSource(files="*.nt"), tmp_path)
    assert edges(facts) == {"p": [("_:b0", "a"), ("c", "_:b1"), ("_:b1", "_:b2")]}
    skipped = read_rdf(RdfSource(files=["a.nt", "b.nt"], blank_nodes="skip"), tmp_path)
    assert not skipped.edges and not len(skipped.resources)
    assert skipped.skipped == {"facts about blank nodes": 3}


def test_labels_in_the_language_that_is_wanted_most(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a.nt",
        '<http://x/1> <http://x/l> "eins"@de .\n<http://x/1> <http://x/l> "one"@en-GB .\n'
        '<http://x/2> <http://x/l> "zwei"@de .\n<http://x/2> <http://x/l> "2" .\n'
        '<http://x/3> <http://x/l> "trois"@fr .\n<http://x/4> <http://x/l> "4" .\n',
    )
    facts = read_rdf(RdfSource(files="a.nt", labels=["http://x/l"], language=["en", "de"]), tmp_path)
    label = facts.literals["http://x/l"]
    names = facts.resources.take(pa.array(label.subject)).to_pylist()
    assert dict(zip(names, label.value.to_pylist())) == {"http://x/1": "one", "http://x/2": "zwei", "http://x/4": "4"}
    assert facts.skipped == {"values in other languages": 3}


def test_datatypes_and_quads(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a.nq",
        '<http://x/a> <http://x/y> "1979"^^<http://www.w3.org/2001/XMLSchema#gYear> <http://x/g> .\n'
        "<http://x/a> <http://x/p> <http://x/b> <http://x/g> .\n<http://x/a> <http://x/p> <http://x/c> .\n",
    )
    write(tmp_path, "b.trig", "@prefix : <http://x/> . :g { :a :p :d }")
    facts = read_rdf(RdfSource(files=["a.nq", "b.trig"], literals={"http://x/y": {"kind": "numeric"}}), tmp_path)
    assert edges(facts) == {"p": [("a", "b"), ("a", "c"), ("a", "d")]}
    year = facts.literals["http://x/y"]
    assert year.value.to_pylist() == ["1979"]
    assert year.datatype.to_pylist() == ["http://www.w3.org/2001/XMLSchema#gYear"]


LINES = (
    "# a comment\n\n<http://x/a> <http://x/p> <http://x/b> .\r\n"
    "  <http://x/a>\t<http://x/p><http://x/\\u00e9>.  \n"
    '<http://x/a> <http://x/t> "say \\"hi\\"\\n\\u00e9"@en . # more\n'
    '<http://x/a> <http://x/u> "not . wanted \\" <" .\n'
    "_:x <http://x/p> <http://x/caf\u00e9%20x> .\n"
    "<http://x/b> <http://x/q> <http://x/a> ."
)


@pytest.mark.parametrize("chunk", [1 << 22, 7])
def test_n_triples_line_by_line_as_turtle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(ntriples, "CHUNK", chunk)
    write(tmp_path, "a.nt", LINES)
    write(tmp_path, "a.ttl", LINES)
    options = {"literals": {"http://x/t": {"kind": "text"}}}
    lines, turtle = (read_rdf(RdfSource(files=name, **options), tmp_path) for name in ("a.nt", "a.ttl"))
    assert edges(lines) == edges(turtle)
    assert edges(lines) == {"p": [("a", "b"), ("a", "é"), ("_:b0", "café%20x")], "q": [("b", "a")]}
    assert lines.literals["http://x/t"].value.to_pylist() == ['say "hi"\né']
    assert lines.skipped == turtle.skipped and lines.num_triples == turtle.num_triples == 6


def test_classes_and_blank_classes_in_n_triples(tmp_path: Path) -> None:
    rdf_type = "<http://www.w3.org/1999/02/22-rdf-syntax-ns#type>"
    write(
        tmp_path,
        "a.nt",
        f"<http://x/a> {rdf_type} <http://x/C> .\n<http://x/b> <http://x/p> <http://x/a> .\n"
        f"<http://x/b> {rdf_type} _:c .\n<http://x/b> {rdf_type} <http://x/C> .\n",
    )
    facts = read_rdf(RdfSource(files="a.nt"), tmp_path)
    assert facts.resources.to_pylist() == ["http://x/a", "http://x/b"]
    assert {name: positions.tolist() for name, positions in facts.types.items()} == {"http://x/C": [0, 1]}
    assert edges(facts) == {"p": [("b", "a")]} and facts.skipped == {"classes that are not an IRI": 1}


def test_triples_about_triples_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a.ttl", "@prefix : <http://x/> . :a :says <<( :b :p :c )>> ; :p :d .")
    facts = read_rdf(RdfSource(files="a.ttl"), tmp_path)
    assert edges(facts) == {"p": [("a", "d")]} and facts.skipped == {"triples about triples": 1}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("<http://x/a> <http://x/p> oops .", "column 27: The object of a triple must be an IRI"),
        ("<http://x/a> <http://x/p> <http://x/b>", "Quads must be followed by a dot"),
        (
            "<http://x/a> <http://x/p> <b> .",
            "column 27: IRI 'b' is relative, which this format does not allow; fix the file",
        ),
        (
            "<http://x/a> <http://x/p> <http://x/b c> .",
            "Invalid IRI code point ' '; fix the file, or set `lenient: true`",
        ),
        ("<http://x/a> <http://x/p> <http://x/%zz> .", "Invalid IRI percent encoding '%zz'"),
        ('<http://x/a> <http://x/u> "open .', "Unexpected end of"),
        ('<http://x/a> <http://x/u> "\\q" .', "Unexpected escape character '\\q'"),
        ("<http://x/a> <http://x/p> <http://x/b> <http://x/g> .", "column 40"),
        ("<http://x/a> <http://x/p> <http://x/b> . <http://x/a>", "column 42"),
        ('"a" <http://x/p> <http://x/b> .', "column 1: The subject of a triple must be an IRI or a blank node"),
    ],
)
def test_bad_line_of_n_triples(tmp_path: Path, line: str, what: str) -> None:
    write(
        tmp_path, "a.nt", f"<http://x/a> <http://x/p> <http://x/b> .\n# fine\n{line}\n<http://x/a> <http://x/p> _:b .\n"
    )
    said = complaint(RdfSource(files="a.nt"), tmp_path)
    assert said.startswith("a.nt line 3 column ") and what in said


def test_lenient_takes_bad_iris(tmp_path: Path) -> None:
    write(tmp_path, "a.nt", "<http://x/a> <http://x/p> <http://x/b c> .\n")
    assert edges(read_rdf(RdfSource(files="a.nt", lenient=True), tmp_path)) == {"p": [("a", "b c")]}


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    write(tmp_path, "a.nt", b"<http://x/a> <http://x/p> <http://x/b> .\n<http://x/a> <http://x/p> <http://x/\xff> .\n")
    assert complaint(RdfSource(files="a.nt"), tmp_path).startswith("a.nt line 2 column ")


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_compressed(tmp_path: Path, suffix: str) -> None:
    text = b"<http://x/a> <http://x/p> <http://x/b> .\n<http://x/a> <http://x/p> <http://x/c> .\n"
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "zst": lambda data: pa.Codec("zstd").compress(data).to_pybytes()}
    write(tmp_path, f"a.nt.{suffix}", pack[suffix](text))
    assert edges(read_rdf(RdfSource(files=f"a.nt.{suffix}"), tmp_path)) == {"p": [("a", "b"), ("a", "c")]}


def test_truncated_archive(tmp_path: Path) -> None:
    write(tmp_path, "a.nt.gz", gzip.compress(b"<http://x/a> <http://x/p> <http://x/b> .\n" * 1000)[:-20])
    said = complaint(RdfSource(files="a.nt.gz"), tmp_path)
    assert said.startswith("a.nt.gz cannot be read: ") and said.endswith(
        "; it is truncated or damaged; get the file again"
    )


def test_malformed_turtle_names_line_and_column(tmp_path: Path) -> None:
    write(tmp_path, "a.ttl", "@prefix : <http://x/> .\n:a :p :b .\n:a :p oops .\n")
    assert complaint(RdfSource(files="a.ttl"), tmp_path) == (
        "a.ttl line 3 column 7: oops is not a valid RDF object; fix the file"
    )


def test_relative_iri_needs_a_base(tmp_path: Path) -> None:
    write(tmp_path, "a.ttl", "<http://x/s> <http://x/p> <http://x/o> .\n<a> <http://x/p> <b> .\n")
    assert complaint(RdfSource(files="a.ttl"), tmp_path) == (
        "a.ttl line 2 column 1: IRI 'a' is relative; set `base` to the base IRI of the file"
    )
    facts = read_rdf(RdfSource(files="a.ttl", base="http://x/"), tmp_path)
    assert edges(facts) == {"p": [("s", "o"), ("a", "b")]}
    assert complaint(RdfSource(files="a.ttl", base="nope"), tmp_path) == (
        "a.ttl: Invalid base IRI 'nope', No scheme found in an absolute IRI; fix `base` in the recipe"
    )


RDF_XML = """<?xml version="1.0"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:x="http://x/">
  <x:Film rdf:about="{film}"><x:director rdf:resource="http://x/scott"/></x:Film>
</rdf:RDF>
"""


def test_rdf_xml(tmp_path: Path) -> None:
    write(tmp_path, "a.rdf", RDF_XML.format(film="http://x/alien"))
    facts = read_rdf(RdfSource(files="a.rdf"), tmp_path)
    assert edges(facts) == {"director": [("alien", "scott")]} and list(facts.types) == ["http://x/Film"]


def test_bad_rdf_xml(tmp_path: Path) -> None:
    write(tmp_path, "a.rdf", RDF_XML.format(film="alien"))
    assert complaint(RdfSource(files="a.rdf"), tmp_path) == (
        "a.rdf line 3 column 22: IRI 'alien' is relative; set `base` to the base IRI of the file"
    )
    write(tmp_path, "b.owl", RDF_XML.format(film="http://x/alien").replace("</x:Film>", "</x:Movie>"))
    assert complaint(RdfSource(files="b.owl"), tmp_path).startswith("b.owl line 3 column ")
    write(tmp_path, "c.xml", "<html><p>hello</p></html>")
    assert complaint(RdfSource(files="c.xml"), tmp_path) == (
        "c.xml: it is XML, but not RDF/XML; fix the file, or set another `format`"
    )


@pytest.mark.parametrize("url", ["https://schema.org", "http://schema.org/", "https://www.schema.org/"])
def test_schema_org_feed(tmp_path: Path, url: str) -> None:
    film = {"@id": "http://x/alien", "@type": "Movie", "name": "Alien", "director": {"@id": "http://x/scott"}}
    feed = [{"@context": url, "sameAs": "http://y/alien", **film}]
    write(tmp_path, "a.jsonld", json.dumps(feed))
    facts = read_rdf(RdfSource(files="a.jsonld", labels=["https://schema.org/name"]), tmp_path)
    assert edges(facts) == {
        "http://schema.org/sameAs": [("alien", "http://y/alien")],
        "http://schema.org/director": [("alien", "scott")],
    }
    assert list(facts.types) == ["http://schema.org/Movie"]
    assert facts.literals["http://schema.org/name"].value.to_pylist() == ["Alien"]


def test_remote_context(tmp_path: Path) -> None:
    document = {"@context": ["https://shop.example/c", {"q": "http://x/q"}], "@id": "http://x/a", "p": "http://x/b"}
    document["q"] = {"@context": None, "@id": "http://x/c", "lost": 1}
    write(tmp_path, "a.json", json.dumps(document))
    assert complaint(RdfSource(files="a.json"), tmp_path) == (
        "a.json: the @context 'https://shop.example/c' is on the web, and kgrec does not download it; save it as a "
        "file and set `contexts: {'https://shop.example/c': FILE}`"
    )
    contexts = {"https://shop.example/c": "c.jsonld"}
    assert complaint(RdfSource(files="a.json", contexts=contexts), tmp_path) == (
        f"{tmp_path / 'c.jsonld'} does not exist; fix `contexts` in the recipe"
    )
    write(tmp_path, "c.jsonld", '{"@context": {"p": {"@id": "http://x/p", "@type": "@id"}}}')
    facts = read_rdf(RdfSource(files="a.json", contexts=contexts), tmp_path)
    assert edges(facts) == {"p": [("a", "b")], "q": [("a", "c")]}
    write(tmp_path, "c.jsonld", '{"@context": "https://shop.example/c"}')
    assert "includes itself; fix the file" in complaint(RdfSource(files="a.json", contexts=contexts), tmp_path)
    write(tmp_path, "c.jsonld", "[]")
    assert "has no @context, so it is not a JSON-LD context; fix `contexts` in the recipe" in complaint(
        RdfSource(files="a.json", contexts=contexts), tmp_path
    )


def test_bad_json_ld(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonld", '{"@id": "http://x/a",\n "p" "b"}')
    assert complaint(RdfSource(files="a.jsonld"), tmp_path) == (
        "a.jsonld line 2 column 6: Expecting ':' delimiter; fix the JSON"
    )
    write(tmp_path, "b.jsonld", '{"@context": {"@vocab": "http://x/"}, "@id": "a", "p": {"@id": "http://x/b"}}')
    assert complaint(RdfSource(files="b.jsonld"), tmp_path) == (
        "b.jsonld: IRI 'a' is relative; set `base` to the base IRI of the file"
    )
    assert edges(read_rdf(RdfSource(files="b.jsonld", base="http://x/"), tmp_path)) == {"p": [("a", "b")]}
    write(tmp_path, "c.jsonld", b'{"@id": "\xff"}')
    assert (
        complaint(RdfSource(files="c.jsonld"), tmp_path) == "c.jsonld is not UTF-8 text (see byte 10); save it as UTF-8"
    )


def test_files_that_are_not_there_empty_or_of_no_known_form(tmp_path: Path) -> None:
    write(tmp_path, "a.nt", "")
    write(tmp_path, "b.nt", "# nothing\n")
    write(tmp_path, "c.txt", "x")
    assert complaint(RdfSource(files="a.nt"), tmp_path) == "a.nt is empty; fix it, or remove it from `files`"
    assert complaint(RdfSource(files="b.nt"), tmp_path) == "b.nt has no triples; fix it, or remove it from `files`"
    assert complaint(RdfSource(files=["c.txt", "d.nt", "e-*.nt"]), tmp_path).splitlines() == [
        "c.txt: the suffix is not one of .ttl, .turtle, .nt, .nq, .trig, .rdf, .xml, .owl, .jsonld, .json, .n3; "
        "set `format` to one of turtle, n-triples, n-quads, trig, rdf/xml, json-ld, n3",
        f"{tmp_path / 'd.nt'} does not exist; fix `files` in the recipe, or give the data folder with --data",
        f"{tmp_path / 'e-*.nt'} does not exist; fix `files` in the recipe, or give the data folder with --data",
    ]
    write(tmp_path, "c.txt", "<http://x/a> <http://x/p> <http://x/b> .")
    assert edges(read_rdf(RdfSource(files="c.txt", format="turtle"), tmp_path)) == {"p": [("a", "b")]}


def test_source_is_files_or_endpoint() -> None:
    with pytest.raises(ValueError, match="either `files` or `endpoint` is needed, and not both"):
        RdfSource()
    with pytest.raises(ValueError, match="`endpoint` needs `query`: a CONSTRUCT query for the facts that you want"):
        RdfSource(endpoint="http://x/sparql")
    with pytest.raises(ValueError, match="`endpoint` 'file:///etc/passwd' is not a URL with http:// or https://"):
        RdfSource(endpoint="file:///etc/passwd", query="SELECT * {}")


def test_rdflib_graph_by_the_same_rules(tmp_path: Path) -> None:
    from rdflib import Dataset, Graph, URIRef

    write(tmp_path, "a.ttl", ALIEN)
    source = RdfSource(files="a.ttl", labels=["http://www.w3.org/2000/01/rdf-schema#label"], language=["de"])
    read, graph = read_rdf(source, tmp_path), facts_of(Graph().parse(data=ALIEN), source)
    assert {p: sorted(pairs) for p, pairs in edges(graph).items()} == {p: sorted(v) for p, v in edges(read).items()}
    assert graph.skipped == read.skipped and graph.num_triples == 9
    (label,) = graph.literals.values()
    assert label.value.to_pylist() == ["Alien - Das unheimliche Wesen"] and label.language.to_pylist() == ["de"]
    dataset = Dataset()
    dataset.graph(URIRef("http://x/g")).add((URIRef("http://x/a"), URIRef("http://x/p"), URIRef("http://x/b")))
    assert edges(facts_of(dataset, source)) == {"p": [("a", "b")]}


def test_sparql_over_files(tmp_path: Path) -> None:
    write(tmp_path, "a.ttl", ALIEN)
    write(tmp_path, "b.nt", "<http://x/brazil> <http://x/director> <http://x/gilliam> .\n")
    query = "SELECT ?film ?by ?year { ?film x:director ?by OPTIONAL { ?film x:year ?year } } ORDER BY ?film"
    source = RdfSource(files=["a.ttl", "b.nt"], prefixes={"x": "http://x/"}, query=query)
    table = select(source, tmp_path)
    assert list(table.columns) == ["film", "by", "year"]
    assert table.to_numpy().tolist() == [
        ["http://x/alien", "http://x/scott", "1979"],
        ["http://x/brazil", "http://x/gilliam", None],
    ]
    swapped = RdfSource(
        files=["a.ttl", "b.nt"], query="CONSTRUCT { ?by <http://x/made> ?film } { ?film <http://x/director> ?by }"
    )
    assert len(construct(swapped, tmp_path)) == 2
    assert sorted(edges(read_rdf(swapped, tmp_path))["made"]) == [("gilliam", "brazil"), ("scott", "alien")]


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("CONSTRUCT { ?s ?p ?o }\n{ ?s ?p ?o", "a.ttl: query line 2 column "),
        ("SELECT * { ?s ?p ?o }", "a.ttl: this is a SELECT query; a CONSTRUCT query is needed here"),
        ("CONSTRUCT { ?s y:p ?o } { ?s ?p ?o }", "a.ttl: Unknown namespace prefix : y; fix `query` in the recipe"),
        (
            "CONSTRUCT { ?s ?p ?o } { ?s ?p ?o FILTER(1 = 2) }",
            "a.ttl: the query gives no triples; fix `query` in the recipe",
        ),
    ],
)
def test_bad_query(tmp_path: Path, query: str, what: str) -> None:
    write(tmp_path, "a.ttl", ALIEN)
    assert complaint(RdfSource(files="a.ttl", query=query), tmp_path).startswith(what)


def test_select_without_answers(tmp_path: Path) -> None:
    write(tmp_path, "a.ttl", ALIEN)
    source = RdfSource(files="a.ttl", query="SELECT ?s { ?s <http://x/nope> ?o }")
    with pytest.raises(BadData, match=r"a\.ttl: the query has no answers; fix `query` in the recipe"):
        select(source, tmp_path)


class _Endpoint(BaseHTTPRequestHandler):
    """Answers three queries that it knows, as a SPARQL server would."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        query = parse_qs(body)["query"][0]
        if "BOM" in query:
            table = {
                "head": {"vars": ["film"]},
                "results": {"bindings": [{"film": {"type": "uri", "value": "http://x/a"}}]},
            }
            is_table = "SELECT" in query
            text = json.dumps(table) if is_table else "<http://x/a> <http://x/p> <http://x/b> ."
            self._answer(200, "application/sparql-results+json" if is_table else "text/turtle", "\ufeff" + text)
        elif "SELECT" in query:
            row = {"film": {"type": "uri", "value": "http://x/alien"}}
            answer = {"head": {"vars": ["film", "year"]}, "results": {"bindings": [row]}}
            self._answer(200, "application/sparql-results+json", json.dumps(answer))
        elif "CONSTRUCT" in query:
            self._answer(200, "text/turtle; charset=utf-8", "<http://x/a> <http://x/p> <http://x/b> .")
        elif "ASK" in query:
            self._answer(200, "text/html", "<p>hello</p>")
        else:
            self._answer(400, "text/plain", "no query of that form")

    def _answer(self, code: int, media_type: str, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", media_type)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Endpoint)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/sparql"
    server.shutdown()
    thread.join()
    server.server_close()


def test_sparql_endpoint(endpoint: str, tmp_path: Path) -> None:
    table = select(RdfSource(endpoint=endpoint, query="SELECT ?film ?year { ?film ?p ?year }"), tmp_path)
    assert list(table.columns) == ["film", "year"] and table.to_numpy().tolist() == [["http://x/alien", None]]
    source = RdfSource(endpoint=endpoint, query="CONSTRUCT { ?s ?p ?o } { ?s ?p ?o }", prefixes={"x": "http://x/"})
    assert edges(read_rdf(source, tmp_path)) == {"p": [("a", "b")]}


def test_an_endpoints_answer_may_begin_with_a_byte_order_mark(endpoint: str, tmp_path: Path) -> None:
    source = RdfSource(endpoint=endpoint, query="CONSTRUCT { ?s ?p ?o } { ?s ?p ?o } # BOM")
    assert edges(read_rdf(source, tmp_path)) == {"p": [("a", "b")]}
    table = select(RdfSource(endpoint=endpoint, query="SELECT ?film { ?film ?p ?o } # BOM"), tmp_path)
    assert table.to_numpy().tolist() == [["http://x/a"]]


def test_endpoint_that_refuses_or_is_not_there(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(KgrecError, match="answered with status 400: no query of that form; fix `query`"):
        select(RdfSource(endpoint=endpoint, query="DELETE"), tmp_path)
    with pytest.raises(KgrecError, match="answered with text/html, which is not RDF; check `endpoint`"):
        select(RdfSource(endpoint=endpoint, query="ASK {}"), tmp_path)
    with pytest.raises(KgrecError, match=r"does not answer: .*; check `endpoint`, or set a longer `timeout`"):
        select(RdfSource(endpoint="http://127.0.0.1:9/", query="SELECT * {}"), tmp_path)


def test_numbering_grows() -> None:
    numbering = Numbering()
    names = [f"name {n % 7000}" for n in range(20_000)]
    numbers = np.concatenate([numbering.numbers(names[start : start + 1000]) for start in range(0, 20_000, 1000)])
    assert numbers.tolist() == [n % 7000 for n in range(20_000)]
    assert numbering.array().to_pylist() == names[:7000] and numbering.name(6999) == "name 6999"
    assert numbering.numbers([]).tolist() == [] and numbering.numbers(["", "é"]).tolist() == [7000, 7001]


@pytest.mark.real_data
def test_dbpedia_about_movielens() -> None:
    folder = DATA / "ml1m-dbpedia"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; say where the data is with KGREC_DATA")
    facts = read_rdf(RdfSource(files="*.nt", include=["http://dbpedia.org/ontology/*"]), folder)
    counts = {predicate.rpartition("/")[2]: len(subject) for predicate, (subject, _) in facts.edges.items()}
    assert facts.num_triples == 34_941 == sum(counts.values()) and len(counts) == 8
    text = (folder / "ml1m-dbpedia-ontology.nt").read_text(encoding="utf-8")
    for predicate, count in counts.items():
        assert text.count(f"<http://dbpedia.org/ontology/{predicate}>") == count
    first = facts.edges["http://dbpedia.org/ontology/cinematography"]
    assert facts.resources[first[0][0]].as_py() == "http://dbpedia.org/resource/Blazing_Saddles"
    assert facts.resources[first[1][0]].as_py() == "http://dbpedia.org/resource/Joseph_F._Biroc"
