"""Classes and values as nodes, ids that a predicate holds, and items that only the knowledge graph has."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgrec.errors import KgrecError
from kgrec.sources.building import build
from kgrec.sources.checking import check
from kgrec.sources.recipe import Recipe
from kgrec.sources.recipe.portable_recipe import portable_recipe

FILES = {"i.csv": "item\na\nb\n", "r.csv": "user,item\nu,a\nu,b\n"}
RECIPE = """
name: t
nodes: {item: {file: i.csv, id: item}}
interactions: {file: r.csv}
links: {item: {template: "http://x/{id}"}}
"""
TTL = """
@prefix : <http://x/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
"""


@pytest.fixture
def build_of(build_and_check):
    """Every build here is checked too."""
    return build_and_check


def ends(graph) -> list[tuple[str, ...]]:
    """(node type, id, relation, node type, id) of all edges but interactions, sorted."""
    found = []
    for edge in graph.edge_types:
        if edge[1] != "interacted":
            ids = [graph.vocabulary[name] for name in (edge[0], edge[2])]
            for source, target in graph.only(edge).edge_index.T.tolist():
                found.append((edge[0], *ids[0].ids([source]), edge[1], edge[2], *ids[1].ids([target])))
    return sorted(found)


def test_values_become_nodes(build_of):
    ttl = TTL + ':a :producedBy "Fox" , "Brandywine"@en , "Fox"@en , "Raï"@fr , "" , :fox . :b :producedBy "Fox" .'
    rdf = "rdf: {files: k.ttl, prefixes: {x: 'http://x/'}, literals: {'x:producedBy': {to: producer, language: en%s}}}"
    graph, report = build_of(RECIPE + rdf % "", FILES | {"k.ttl": ttl})
    by_text = [
        ("item", "a", "producedBy", "producer", "Brandywine"),
        ("item", "a", "producedBy", "producer", "Fox"),
        ("item", "b", "producedBy", "producer", "Fox"),
    ]
    assert ends(graph) == sorted([("item", "a", "producedBy", "entity", "http://x/fox"), *by_text])
    assert graph.schema.edges["item", "producedBy", "producer"].label == "http://x/producedBy"
    assert "left out: 1 empty value of x:producedBy" in str(report)
    graph, _ = build_of(RECIPE + rdf % ", relation: made_by", FILES | {"k.ttl": ttl})
    named = [(head, name, "made_by", tail, text) for head, name, _, tail, text in by_text]
    assert ends(graph) == sorted([("item", "a", "producedBy", "entity", "http://x/fox"), *named])


def test_values_of_what_is_no_item_make_it_a_node(build_of):
    ttl = TTL + ':s :country "UK" .'
    rdf = "rdf: {files: k.ttl, literals: {'http://x/country': {to: country}}}"
    graph, _ = build_of(RECIPE + rdf, FILES | {"k.ttl": ttl})
    assert ends(graph) == [("entity", "http://x/s", "country", "country", "UK")]


def test_nothing_to_make_nodes_of_is_said(build_of):
    rdf = "rdf: {files: k.ttl, classes: {to: category}, literals: {'http://x/by': {to: maker}}}"
    graph, report = build_of(RECIPE + rdf, FILES | {"k.ttl": TTL + ":a :by :s ."})
    assert graph.node_types == ["user", "item", "entity"]
    assert report.notes == [
        "predicate 'http://x/by' has entities and no literal values; so it makes edges, and no labels, features or "
        "nodes from values",
        "`classes` makes no nodes, because no resource has a class",
    ]


def test_a_value_is_a_node_or_a_feature(tmp_path):
    for wrong in ("{to: producer, kind: numeric}", "{relation: made_by}", "{to: my producer}", "{kind: vector}"):
        (tmp_path / "t.yaml").write_text(RECIPE + f"rdf: {{files: k.ttl, literals: {{'http://x/p': {wrong}}}}}")
        with pytest.raises(
            KgrecError,
            match=r"set either `to`|`relation` needs `to`|may only have letters, digits|'numeric', 'categorical'",
        ):
            Recipe.load(tmp_path / "t.yaml")


CLASSES = """
:a a :Film , owl:Thing ; :by :s .
:b a :Film , :Classic .
:s a :Person .
:Film rdfs:subClassOf :Work ; rdfs:label "Film" .
:Film a rdfs:Class .
:Work rdfs:subClassOf :Thing .
"""
IS_A = [
    ("category", "http://x/Film", "subClassOf", "category", "http://x/Work"),
    ("category", "http://x/Work", "subClassOf", "category", "http://x/Thing"),
    ("item", "a", "by", "person", "http://x/s"),
    ("item", "a", "is_a", "category", "http://x/Film"),
    ("item", "b", "is_a", "category", "http://x/Classic"),
    ("item", "b", "is_a", "category", "http://x/Film"),
    ("person", "http://x/s", "is_a", "category", "http://x/Person"),
]
WITH_CLASSES = (
    "rdf: {files: k.ttl, classes: {relation: is_a, to: category}, types: {'http://x/Person': person}, "
    "labels: ['http://www.w3.org/2000/01/rdf-schema#label']%s}"
)


@pytest.mark.parametrize("more", ["", ", include: ['http://x/*']"])
def test_classes_become_nodes(build_of, more):
    graph, report = build_of(RECIPE + WITH_CLASSES % more, FILES | {"k.ttl": TTL + CLASSES})
    assert ends(graph) == IS_A
    film = graph.vocabulary["category"].ids(range(9)).index("http://x/Film")
    assert graph.vocabulary["category"].labels([film]) == ["Film"]
    assert "left out: the class http://www.w3.org/2002/07/owl#Thing of 1 resource" in str(report)


def test_classes_by_their_label_alone_without_edges_between_them(build_of):
    more = ", exclude: ['http://www.w3.org/2000/01/rdf-schema#subClassOf']"
    graph, _ = build_of(RECIPE + WITH_CLASSES % more, FILES | {"k.ttl": TTL + CLASSES})
    assert ends(graph) == IS_A[2:]


def test_what_describes_a_class_is_no_class(build_of):
    ttl = TTL + ":a a :Film . :Film rdfs:subClassOf [ a owl:Restriction ] ."
    graph, _ = build_of(RECIPE + WITH_CLASSES % "", FILES | {"k.ttl": ttl})
    assert ends(graph) == [
        ("category", "http://x/Film", "subClassOf", "entity", "_:b0"),
        ("item", "a", "is_a", "category", "http://x/Film"),
    ]


def test_classes_of_schema_org_are_one_node_in_either_spelling(build_of):
    ttl = """
        <http://x/a> a <http://schema.org/Movie> . <http://x/b> a <https://schema.org/Movie> .
        <https://schema.org/Movie> <http://www.w3.org/2000/01/rdf-schema#subClassOf> <http://schema.org/Work> .
        <http://x/b> <http://x/about> <https://schema.org/Movie> .
    """
    rdf = "rdf: {files: k.ttl, classes: {to: category}}"
    graph, report = build_of(RECIPE + rdf, FILES | {"k.ttl": ttl})
    assert ends(graph) == [
        ("category", "http://schema.org/Movie", "subClassOf", "category", "http://schema.org/Work"),
        ("item", "a", "is_a", "category", "http://schema.org/Movie"),
        ("item", "b", "about", "category", "http://schema.org/Movie"),
        ("item", "b", "is_a", "category", "http://schema.org/Movie"),
    ]
    assert len(report.notes) == 1


def test_classes_and_values_in_tables_of_triples(build_of):
    rows = "a,P31,Q1\na,P31,Q1\nb,P31,Q2\nQ1,P279,Q3\na,made,Fox\nb,made,Fox\nb,by,s\n"
    triples = (
        "triples: {file: t.csv, type_relation: P31, classes: {relation: is_a, to: category, subclass_of: P279}, "
        "types: {Q2: item}, literals: {made: {to: producer, relation: made_by}}}"
    )
    recipe = RECIPE.replace("http://x/{id}", "{id}")
    graph, report = build_of(recipe + triples, FILES | {"t.csv": "head,relation,tail\n" + rows})
    assert ends(graph) == [
        ("category", "Q1", "P279", "category", "Q3"),
        ("item", "a", "is_a", "category", "Q1"),
        ("item", "a", "made_by", "producer", "Fox"),
        ("item", "b", "by", "entity", "s"),
        ("item", "b", "is_a", "category", "Q2"),
        ("item", "b", "made_by", "producer", "Fox"),
    ]
    assert report.dropped == {"repeated triples (each triple counts once)": 1}


def test_types_that_one_source_says_hold_in_the_others(build_of):
    files = FILES | {"k.ttl": TTL + ":a :by :s .", "l.ttl": TTL + ":s a :Person ; :born :uk ."}
    rdf = "rdf: [{files: k.ttl}, {files: l.ttl, types: {'http://x/Person': person}}]"
    graph, _ = build_of(RECIPE + rdf, files)
    assert ends(graph) == [
        ("item", "a", "by", "person", "http://x/s"),
        ("person", "http://x/s", "born", "entity", "http://x/uk"),
    ]


PRODUCTS = """
:p1 a :Product ; :gtin13 "a" ; :brand :acme .
:p2 a :Product ; :gtin13 "c" ; :brand :acme .
:p3 a :Product ; :brand :acme .
:p4 a :Product ; :gtin13 "b" , "b2" ; :brand :acme .
"""
BY_PREDICATE = RECIPE.replace('template: "http://x/{id}"', 'predicate: "x:gtin13"')


def test_ids_that_a_predicate_holds(build_of, tmp_path: Path):
    rdf = "rdf: {files: k.ttl, prefixes: {x: 'http://x/'}, types: {'x:Product': item}}"
    graph, report = build_of(BY_PREDICATE + rdf, FILES | {"k.ttl": TTL + PRODUCTS})
    assert graph.vocabulary["item"].ids(range(4)) == ["a", "b", "c", "http://x/p3"]
    assert ends(graph) == [
        ("item", name, "brand", "entity", "http://x/acme") for name in ("a", "b", "c", "http://x/p3")
    ]
    assert (report.links["item"].linked, report.links["item"].with_facts) == (2, 2)
    line = (
        "item nodes that are only in the knowledge graph: 2; 1 have an IRI as id, such as http://x/p3; "
        "if a predicate has your own ids, name it in `links: {item: {predicate: ...}}`"
    )
    assert line in str(report).splitlines()
    assert [p.message for p in check(tmp_path / "recipe.yaml") if p.value == "http://x/p3"] == [line]
    assert "left out" not in str(report)


def test_without_types_only_listed_items_are_items(build_of):
    rdf = "rdf: {files: k.ttl, prefixes: {x: 'http://x/'}}"
    graph, report = build_of(BY_PREDICATE + rdf, FILES | {"k.ttl": TTL + PRODUCTS})
    assert graph.vocabulary["item"].ids(range(2)) == ["a", "b"] and len(graph.vocabulary["item"]) == 2
    assert {row[0] for row in ends(graph)} == {"item", "entity"} and report.graph_only == {}


def test_ids_in_another_source_and_by_prefixes_of_the_link(build_of):
    files = FILES | {
        "k.ttl": TTL + ":p1 :brand :acme .",
        "t.csv": "head,relation,tail\nhttp://x/p1,http://x/gtin13,a\n",
    }
    recipe = BY_PREDICATE.replace('"x:gtin13"', '"x:gtin13", prefixes: {x: "http://x/"}')
    graph, _ = build_of(recipe + "rdf: {files: k.ttl}\ntriples: {file: t.csv}", files)
    assert ends(graph) == [("item", "a", "brand", "entity", "http://x/acme")]


def test_ids_that_are_iris_and_schema_orgs_spelling(build_of):
    files = FILES | {"i.csv": "item\nhttp://shop/a\n", "r.csv": "user,item\nu,http://shop/a\n"}
    files["k.ttl"] = TTL + ":p1 <https://schema.org/url> <http://shop/a> ; :brand :acme ."
    recipe = BY_PREDICATE.replace("x:gtin13", "http://schema.org/url")
    graph, _ = build_of(recipe + "rdf: {files: k.ttl, include: ['http://x/*', 'http://schema.org/url']}", files)
    assert ("item", "http://shop/a", "brand", "entity", "http://x/acme") in ends(graph)


def test_a_predicate_that_holds_no_id(build_of, tmp_path: Path):
    rdf = "rdf: {files: k.ttl, types: {'http://x/Product': item}}"
    _, report = build_of(BY_PREDICATE + rdf, FILES | {"k.ttl": TTL + PRODUCTS})
    assert report.unknown_predicates == ["x:gtin13"]
    found = [problem for problem in check(tmp_path / "recipe.yaml") if problem.severity == "error"]
    assert [problem.message for problem in found] == [
        "no fact has the predicate 'x:gtin13', which `links` uses; fix the name, or declare its prefix"
    ]


def test_a_link_is_of_one_kind(tmp_path):
    (tmp_path / "t.yaml").write_text(BY_PREDICATE.replace("predicate:", "template: 'x{id}', predicate:"))
    with pytest.raises(
        KgrecError, match="exactly one of `template`, `file` and `predicate` is needed; found template and predicate"
    ):
        Recipe.load(tmp_path / "t.yaml")


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("template: 'x{id}', iri: 'x{entity}'", "`iri` is of the column `entity` of a table; name the table as `file`"),
        ("predicate: 'x:p', value_of: 'x:p'", "`value_of` is of the column `entity` of a table"),
        ("file: l.csv, value_of: 'x:p', iri: 'x{entity}'", "`iri` and `value_of` exclude each other"),
        ("file: l.csv, iri: 'x{id}'", "`iri` does not contain {entity}"),
    ],
)
def test_what_a_column_of_a_table_of_links_has_is_said_once(tmp_path: Path, link: str, message: str):
    (tmp_path / "t.yaml").write_text(BY_PREDICATE.replace('predicate: "x:gtin13"', link))
    with pytest.raises(KgrecError, match=message):
        Recipe.load(tmp_path / "t.yaml")


@pytest.mark.parametrize(
    ("link", "codes"),
    [
        ("file: l.csv, iri: 'http://x/{entity}'", "a,p1\nb,p2\nnine,p4\n"),
        ("file: l.csv, value_of: 'x:gtin13'", "a,a\nb,c\nnine,b2\nten,b2\n"),
    ],
)
def test_a_table_has_parts_of_iris_or_values_of_a_predicate(build_of, tmp_path: Path, link: str, codes: str):
    """p1 and p2 are the items a and b; p4 is only in the graph, and has the own id `nine`."""
    rdf = "rdf: {files: k.ttl, prefixes: {x: 'http://x/'}, types: {'x:Product': item}}"
    recipe = BY_PREDICATE.replace('predicate: "x:gtin13"', link)
    graph, report = build_of(recipe + rdf, FILES | {"k.ttl": TTL + PRODUCTS, "l.csv": "id,entity\n" + codes})
    assert graph.vocabulary["item"].ids(range(4)) == ["a", "b", "http://x/p3", "nine"]
    assert (report.links["item"].linked, report.links["item"].with_facts) == (2, 2)
    assert len(ends(graph)) == 4
    wrong = recipe.replace("gtin13", "gtin14") + rdf
    (tmp_path / "recipe.yaml").write_text(wrong)
    if "value_of" in link:
        assert "no fact has the predicate 'x:gtin14', which `links` uses" in str(check(tmp_path / "recipe.yaml"))


def test_items_that_only_the_graph_has_take_the_ids_of_a_template_or_table(build_of):
    ttl = TTL + ":a a :Product ; :brand :acme . :c a :Product ; :brand :acme . <http://y/9> a :Product ; :brand :acme ."
    rdf = "rdf: {files: k.ttl, types: {'http://x/Product': item}}"
    graph, report = build_of(RECIPE + rdf, FILES | {"k.ttl": ttl})
    assert graph.vocabulary["item"].ids(range(4)) == ["a", "b", "c", "http://y/9"]
    table = RECIPE.replace('template: "http://x/{id}"', "file: l.csv")
    files = FILES | {"k.ttl": ttl, "l.csv": "id,entity\na,http://x/a\nnine,http://y/9\nsea,http://x/c\n"}
    graph, report = build_of(table + rdf, files)
    assert graph.vocabulary["item"].ids(range(4)) == ["a", "b", "sea", "nine"]
    assert "item nodes that are only in the knowledge graph: 2, such as sea (http://x/c), nine (http://y/9)" in str(
        report
    )
    assert not any("links of l.csv" in why for why in report.dropped)


def test_a_recipe_with_all_of_it_is_kept_in_the_graph(build_of, tmp_path: Path):
    rdf = (
        "rdf: {files: k.ttl, prefixes: {x: 'http://x/'}, classes: {relation: is_a, to: category}, "
        "literals: {'x:gtin13': {to: gtin}}}"
    )
    graph, _ = build_of(BY_PREDICATE + rdf, FILES | {"k.ttl": TTL + PRODUCTS})
    kept = portable_recipe(Recipe.load(tmp_path / "recipe.yaml"))
    again, _ = build(Recipe.model_validate(kept), tmp_path)
    assert ends(again) == ends(graph) and len(ends(graph)) == 12
