"""RDF is a set, whatever files and sources state it; a BOM and schema.org's two spellings change nothing."""

from __future__ import annotations

import codecs
import gzip
import json
from pathlib import Path
from random import Random

import pytest

from kgrec.errors import KgrecError
from kgrec.sources.building.number_texts import numbers_of
from kgrec.sources.checking import check

FILES = {"i.csv": "item\na\nb\n", "r.csv": "user,item\nu,a\nu,b\nu,b\n"}
RECIPE = """
name: t
nodes: {item: {file: i.csv, id: item}}
interactions: {file: r.csv}
links: {item: {template: "http://x/{id}"}}
"""
FACT = "<http://x/a> <http://x/dir> <http://x/d1> .\n"


@pytest.fixture
def build_of(build_and_check):
    """Every build here is checked too."""
    return build_and_check


def ends(graph, *relations: str) -> list[tuple[str, ...]]:
    """(node type, id, relation, node type, id) of all edges but interactions, sorted."""
    found = []
    for edge in graph.edge_types:
        if edge[1] != "interacted" and (not relations or edge[1] in relations):
            ids = [graph.vocabulary[name] for name in (edge[0], edge[2])]
            for source, target in graph.only(edge).edge_index.T.tolist():
                found.append((edge[0], *ids[0].ids([source]), edge[1], edge[2], *ids[1].ids([target])))
    return sorted(found)


ONE_EDGE = [("item", "a", "dir", "entity", "http://x/d1")]


@pytest.mark.parametrize(
    ("part", "repeated"),
    [
        ("rdf: {files: [f.nq, g.nt]}", "repeated triples (each triple counts once)"),
        ("rdf: {files: [t.ttl, g.nt]}", "repeated triples (each triple counts once)"),
        ("rdf: {files: [t.trig, g.jsonld]}", "repeated triples (each triple counts once)"),
        ("rdf: [{files: g.nt}, {files: t.ttl}]", None),
        ("triples: {file: t.csv}", "repeated triples (each triple counts once)"),
        ("triples: [{file: t.csv}, {file: u.csv}]", None),
        ("rdf: {files: g.nt}\ntriples: {file: u.csv}", None),
        ("rdf: {files: [g.nt], query: 'CONSTRUCT {?s ?p ?o} WHERE {?s ?p ?o}'}", None),
    ],
)
def test_one_triple_is_one_edge(build_of, part, repeated):
    quads = "".join(FACT.replace(" .", f" <http://x/g{number}> .") for number in (1, 2))
    turtle = "@prefix : <http://x/> . :a :dir :d1 , :d1 ."
    row = "http://x/a,http://x/dir,http://x/d1\n"
    files = {
        "f.nq": quads,
        "g.nt": FACT + FACT,
        "t.ttl": turtle,
        "t.trig": "@prefix : <http://x/> . :g { :a :dir :d1 } :h { :a :dir :d1 }",
        "g.jsonld": json.dumps({"@id": "http://x/a", "http://x/dir": {"@id": "http://x/d1"}}),
        "t.csv": "head,relation,tail\n" + row + row,
        "u.csv": "head,relation,tail\n" + row,
    }
    graph, report = build_of(RECIPE + part, FILES | files)
    assert ends(graph) == ONE_EDGE
    assert graph.only("interacted").num_edges == 3  # what users did twice, they did twice
    assert repeated is None or repeated in report.dropped


@pytest.mark.parametrize("seed", range(6))
def test_any_split_and_repetition_of_triples_is_the_same_graph(build_of, seed):
    """Random triples, strewn over files, formats, named graphs and sources with repetitions."""
    random = Random(seed)
    names = ["a", "b", *(f"d{number}" for number in range(6))]
    triples = {(random.choice(names), random.choice("pqr"), random.choice(names)) for _ in range(25)}
    writers = {
        "nt": _as_lines,
        "nq": _as_quads,
        "ttl": _as_lines,
        "trig": _as_trig,
        "jsonld": _as_json_ld,
        "csv": _as_rows,
    }
    files, sources, tables = dict(FILES), [], []
    for number in range(5):
        suffix = random.choice(list(writers))
        some = (
            random.choices(sorted(triples), k=15) if number < 4 else [*random.choices(sorted(triples), k=5), *triples]
        )
        files[f"k{number}.{suffix}"] = writers[suffix](some, random)
        (tables if suffix == "csv" else sources).append(f"k{number}.{suffix}")
    cut = random.randint(0, len(sources))
    rdf = [f"{{files: [{', '.join(group)}]}}" for group in (sources[:cut], sources[cut:]) if group]
    recipe = RECIPE + f"rdf: [{', '.join(rdf)}]\ntriples: [{', '.join(f'{{file: {name}}}' for name in tables)}]\n"
    graph, report = build_of(recipe, files)
    short = [(row[1], row[2], row[4]) for row in ends(graph)]
    assert sorted((h.removeprefix("http://x/"), r, t.removeprefix("http://x/")) for h, r, t in short) == sorted(triples)
    assert sum(report.dropped.values()) == report.num_triples - len(triples)


Triple = tuple[str, str, str]


def _as_lines(triples: list[Triple], random: Random) -> str:
    return "".join("<http://x/{}> <http://x/{}> <http://x/{}> .\n".format(*triple) for triple in triples)


def _as_quads(triples: list[Triple], random: Random) -> str:
    lines = _as_lines(triples, random).splitlines()
    return "".join(f"{line[:-1]}<http://x/g{random.randint(1, 3)}> .\n" for line in lines)


def _as_trig(triples: list[Triple], random: Random) -> str:
    half = len(triples) // 2
    return f":g {{ {_as_lines(triples[:half], random)} }} {_as_lines(triples[half:], random)}".replace(
        ":g", "<http://x/g>", 1
    )


def _as_json_ld(triples: list[Triple], random: Random) -> str:
    return json.dumps([{"@id": f"http://x/{h}", f"http://x/{r}": [{"@id": f"http://x/{t}"}]} for h, r, t in triples])


def _as_rows(triples: list[Triple], random: Random) -> str:
    rows = "".join("http://x/{},http://x/{},http://x/{}\n".format(*triple) for triple in triples)
    return "head,relation,tail\n" + rows


def test_edges_that_come_to_the_same_nodes_are_one(build_of):
    """Two entities of one item, and two predicates of one name."""
    links = RECIPE.replace('{template: "http://x/{id}"}', "{file: l.csv}")
    files = FILES | {"l.csv": "id,entity\na,http://x/a\na,http://y/a\na,http://x/a\n"}
    files["g.nt"] = FACT + FACT.replace("x/a", "y/a") + FACT.replace("x/dir", "x/directed")
    names = "names: {'http://x/dir': dir, 'http://x/directed': dir}"
    graph, report = build_of(links + f"rdf: {{files: g.nt, {names}}}", files)
    assert ends(graph) == ONE_EDGE
    assert report.dropped == {"facts that would repeat an edge of the graph": 2}


def test_a_fact_is_no_second_edge_of_a_tables_attribute(build_of):
    nodes = "nodes: {item: {file: i.csv, id: item, edges: {has_genre: {column: genre, to: genre}}}}"
    recipe = RECIPE.replace("nodes: {item: {file: i.csv, id: item}}", nodes)
    rdf = "triples: {file: t.csv, names: {genre: has_genre}, literals: {genre: {to: genre, relation: has_genre}}}"
    files = FILES | {"i.csv": "item,genre\na,Horror\nb,\n"}
    files["t.csv"] = "head,relation,tail\nhttp://x/a,genre,Horror\nhttp://x/b,genre,Horror\n"
    graph, report = build_of(recipe + rdf, files)
    assert ends(graph) == [("item", name, "has_genre", "genre", "Horror") for name in ("a", "b")]
    assert report.dropped == {"facts that would repeat an edge of the graph": 1}


def test_a_value_that_stands_twice_is_one(build_of):
    triples = '<http://x/a> <http://x/tag> "x" , "x" , "y" , "x"@en ; <http://x/year> "1979" , "1979"@de , "1980" .'
    files = FILES | {"k.ttl": triples, "l.ttl": triples}
    literals = "literals: {'http://x/tag': {kind: multi}, 'http://x/year': {kind: numeric}}"
    for rdf in (
        f"rdf: {{files: [k.ttl, l.ttl], {literals}}}",
        f"rdf: [{{files: k.ttl, {literals}}}, {{files: l.ttl, {literals}}}]",
    ):
        graph, report = build_of(RECIPE + rdf, files)
        tags = graph.features["item"]["tag"]
        assert (tags.schema.categories, tags.ptr.tolist()) == (("x", "y"), [0, 2, 2])
        assert graph.features["item"]["year"].values[0] == 1979
        assert report.dropped["further values of http://x/year (each node keeps its first)"] == 1


def test_blank_nodes_of_two_sources_are_two_and_of_one_file_one(build_of):
    files = FILES | {"k.nt": "<http://x/a> <http://x/p> _:n .\n", "l.nt": "<http://x/b> <http://x/q> _:n .\n"}
    graph, _ = build_of(RECIPE + "rdf: [{files: k.nt}, {files: l.nt}]", files)
    assert ends(graph) == [("item", "a", "p", "entity", "_:b0"), ("item", "b", "q", "entity", "_:b1")]
    files["k.nt"] += "_:n <http://x/q> <http://x/b> .\n"
    split = "rdf: [{files: k.nt, include: ['http://x/p']}, {files: k.nt, include: ['http://x/q']}]"
    graph, _ = build_of(RECIPE + split, files)
    assert ends(graph) == [("entity", "_:b0", "q", "item", "b"), ("item", "a", "p", "entity", "_:b0")]


@pytest.mark.parametrize(
    "name", ["f.ttl", "f.trig", "f.nt", "f.nq", "f.n3", "f.rdf", "f.jsonld", "f.nt.gz", "f.ttl.gz"]
)
def test_a_byte_order_mark_is_passed_over(build_of, name):
    xml = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:x="http://x/">'
    xml += '<rdf:Description rdf:about="http://x/a"><x:dir rdf:resource="http://x/d1"/></rdf:Description></rdf:RDF>'
    turtle = "@prefix : <http://x/> .\n:a :dir :d1 ."
    text = {
        "f.nt": FACT,
        "f.nq": FACT.replace(" .", " <http://x/g> ."),
        "f.rdf": xml,
        "f.jsonld": json.dumps({"@id": "http://x/a", "http://x/dir": {"@id": "http://x/d1"}}),
    }.get(name.removesuffix(".gz"), turtle)
    data = codecs.BOM_UTF8 + text.encode()
    graph, _ = build_of(
        RECIPE + f"rdf: {{files: {name}}}", FILES | {name: gzip.compress(data) if ".gz" in name else data}
    )
    assert ends(graph) == ONE_EDGE


def test_a_byte_order_mark_before_ids_and_in_queries(build_of, tmp_path):
    import numpy as np

    np.save(tmp_path / "v.npy", np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    vectors = RECIPE.replace("id: item}", "id: item, vectors: {v: {file: v.npy, ids: ids.txt}}}")
    query = "rdf: {files: f.ttl, query: 'CONSTRUCT {?s ?p ?o} WHERE {?s ?p ?o}'}"
    files = {"ids.txt": codecs.BOM_UTF8 + b"b\na\n", "f.ttl": codecs.BOM_UTF8 + FACT.encode()}
    graph, _ = build_of(vectors + query, FILES | files)
    assert ends(graph) == ONE_EDGE
    assert graph.features["item"]["v"].values.tolist() == [[3, 4], [1, 2]]


FILM = {
    "@context": "https://schema.org",
    "@id": "http://x/a",
    "@type": "Movie",
    "name": "Alien",
    "director": {"@id": "http://x/d1", "@type": "Person", "name": "Scott"},
}


@pytest.mark.parametrize("spelled", ["http", "https"])
def test_schema_orgs_terms_have_two_spellings(build_of, spelled):
    recipe = RECIPE + (
        "rdf:\n  files: [f.jsonld, g.nt, h.nt]\n  prefixes: {s: %s://schema.org/}\n  include: ['s:*']\n"
        "  exclude: ['s:review']\n  names: {'s:director': by}\n  labels: ['s:name']\n  types: {'s:Person': person}\n"
        "  literals: {'s:duration': {kind: numeric}}\n  inverse_of: {'s:directed': 's:director'}\n"
    )
    facts = (
        "<http://x/b> <https://schema.org/director> <http://x/d1> .\n<http://x/b> <https://schema.org/duration> '7' .\n"
        "<http://x/a> <http://schema.org/duration> '8' .\n<http://x/b> <https://schema.org/review> <http://x/r> .\n"
        "<http://x/d1> <http://schema.org/directed> <http://x/a> .\n"
        "<http://x/a> <http://schema.org/review> <http://x/r> .\n"
    ).replace("'", '"')
    again = "<http://x/b> <http://schema.org/director> <http://x/d1> .\n"
    files = FILES | {"f.jsonld": json.dumps(FILM), "g.nt": facts, "h.nt": again}
    graph, report = build_of(recipe % spelled, files)
    assert ends(graph) == [
        ("item", "a", "by", "person", "http://x/d1"),
        ("item", "b", "by", "person", "http://x/d1"),
        ("person", "http://x/d1", "directed", "item", "a"),
    ]
    assert graph.vocabulary["item"].labels([0, 1]) == ["Alien", "b"]
    assert graph.vocabulary["person"].labels([0]) == ["Scott"]
    assert graph.features["item"]["duration"].values.tolist() == [8, 7]
    assert graph.schema.edges["person", "directed", "item"].inverse_of == "by"
    assert report.unknown_predicates == []
    assert report.notes == [
        "predicates and classes of http://schema.org/ and https://schema.org/ are treated as the same; entities are not"
    ]
    assert "left out: 2 facts of s:review (to keep them, remove it from `exclude`)" in str(report)


def test_prefixes_that_all_know_need_no_declaration(build_of):
    facts = '<http://x/a> <https://schema.org/name> "Alien" .\n<http://x/a> <http://x/dir> <http://x/d1> .\n'
    facts += '<http://x/d1> <http://www.w3.org/2000/01/rdf-schema#label> "Scott" .\n'
    rdf = "rdf: {files: g.nt, labels: ['schema:name', 'rdfs:label']}\n"
    graph, report = build_of(RECIPE + rdf, FILES | {"g.nt": facts})
    assert graph.vocabulary["item"].labels([0]) == ["Alien"] and graph.vocabulary["entity"].labels([0]) == ["Scott"]
    assert report.unknown_predicates == []
    table = "head,relation,tail\nhttp://x/a,rdfs:label,Alien\n"  # a table's own word stays what it is
    graph, _ = build_of(RECIPE + "triples: {file: t.csv, labels: ['rdfs:label']}", FILES | {"t.csv": table})
    assert graph.vocabulary["item"].labels([0]) == ["Alien"]


def test_entities_of_schema_org_keep_their_spelling(build_of):
    facts = "".join(f"<http://x/a> <http://x/p> <{scheme}://schema.org/InStock> .\n" for scheme in ("http", "https"))
    graph, report = build_of(RECIPE + "rdf: {files: g.nt}", FILES | {"g.nt": facts})
    assert [row[-1] for row in ends(graph)] == ["http://schema.org/InStock", "https://schema.org/InStock"]
    assert report.notes == []


def test_relations_keep_the_spelling_of_their_file(build_of):
    facts = "<http://x/a> <https://schema.org/director> <http://x/d1> .\n"
    graph, _ = build_of(RECIPE + "rdf: {files: g.nt}", FILES | {"g.nt": facts})
    assert graph.schema.edges["item", "director", "entity"].label == "https://schema.org/director"


def test_schema_orgs_links_are_iris_and_texts_stay_texts(build_of):
    links = {
        "license": ["http://x/mit", "MIT", "CC BY 4.0"],
        "thumbnailUrl": "http://x/t.png",
        "isPartOf": "Alien saga",
    }
    feed = {key: FILM[key] for key in ("@context", "@id")} | links
    rdf = "rdf: {files: f.jsonld, literals: {'http://schema.org/license': {to: text_of_license}}}"
    graph, report = build_of(RECIPE + rdf, FILES | {"f.jsonld": json.dumps(feed)})
    assert ends(graph) == [
        ("item", "a", "license", "entity", "http://x/mit"),
        ("item", "a", "license", "text_of_license", "CC BY 4.0"),
        ("item", "a", "license", "text_of_license", "MIT"),
        ("item", "a", "thumbnailUrl", "entity", "http://x/t.png"),
    ]
    assert (
        'left out: 1 value of http://schema.org/isPartOf (to keep them, use `literals: {"http://schema.org/isPartOf"'
        in str(report)
    )
    with pytest.raises(KgrecError, match=r"IRI 'img/a\.png' is relative; set `base`"):
        build_of(RECIPE + rdf, FILES | {"f.jsonld": json.dumps(feed | {"image": "img/a.png"})})
    based = RECIPE + rdf.replace("rdf: {", "rdf: {base: 'http://x/', ")
    graph, _ = build_of(based, FILES | {"f.jsonld": json.dumps(feed | {"image": "img/a.png"})})
    assert ("item", "a", "image", "entity", "http://x/img/a.png") in ends(graph)
    assert ("item", "a", "license", "entity", "http://x/MIT") in ends(graph)


def test_numbers_are_read_by_one_rule(build_of):
    texts = [
        "1.5",
        " 2 ",
        "\t3e2\n",
        "-.5",
        "+7.",
        "1e39",
        "-1e39",
        "1e400",
        "NaN",
        "INF",
        "nan",
        "1,000",
        "0x1F",
        "1_0",
        "",
    ]
    number, is_too_great = numbers_of(__import__("pyarrow").array(texts))
    assert number[:5].tolist() == [1.5, 2, 300, -0.5, 7] and (number[5:] != number[5:]).all()
    assert is_too_great.tolist() == [False] * 5 + [True] * 3 + [False] * 7
    facts = "".join(
        f'<http://x/{item}> <http://x/n> "{text}" .\n' for item, text in (("a", "1e39"), ("a", "INF"), ("b", " 5 "))
    )
    rdf = "rdf: {files: g.nt, literals: {'http://x/n': {kind: numeric}}}"
    graph, report = build_of(RECIPE + rdf, FILES | {"g.nt": facts})
    values = graph.features["item"]["n"].values
    assert values[0] != values[0] and values[1] == 5
    assert report.dropped == {
        "values of http://x/n that are too large for float32": 1,
        "values of http://x/n that are not numbers": 1,
    }


def test_check_and_build_say_the_same_of_what_is_left_out(build_of, tmp_path: Path):
    facts = FACT + FACT + '<http://x/a> <http://x/name> "A" .\n<http://x/a> <http://x/other> <http://x/b> .\n'
    facts += "<http://x/a> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <http://x/Film> .\n"
    rdf = "rdf: {files: g.nt, prefixes: {x: 'http://x/'}, exclude: ['x:other']}"
    _, report = build_of(RECIPE + rdf, FILES | {"g.nt": facts})
    lines = [line for line in str(report).splitlines() if line.startswith("left out")]
    assert lines == [
        'left out: 1 value of x:name (to keep them, use `literals: {"x:name": ...}`)',
        "left out: 1 fact of x:other (to keep them, remove it from `exclude`)",
        "left out: 1 repeated triples (each triple counts once)",
        'left out: the class x:Film of 1 resource (to use it, set `types: {"x:Film": ...}` or `classes: {to: ...}`)',
    ]
    found = [problem.message for problem in check(tmp_path / "recipe.yaml") if problem.kind == "left out"]
    assert sorted(found) == sorted(lines)
    details = json.loads(json.dumps(report.to_json()))["left_out"]
    assert {(one["name"], one["count"]) for one in details} == {("x:other", 1), ("x:name", 1), ("x:Film", 1)}


def test_a_long_list_of_what_is_left_out_is_cut(build_of):
    facts = "".join(f'<http://x/a> <http://x/n{n}> "v" .\n' * (n + 1) for n in range(9))
    _, report = build_of(RECIPE + "rdf: {files: g.nt}\n", FILES | {"g.nt": FACT + facts})
    lines = [line for line in str(report).splitlines() if line.startswith("left out")]
    assert lines[0] == 'left out: 9 values of http://x/n8 (to keep them, use `literals: {"http://x/n8": ...}`)'
    assert len(lines) == 7
    assert lines[-1] == "left out: 6 more values whose predicate is not a label or feature (--json lists them)"
    assert len(report.to_json()["left_out"]) == 9
