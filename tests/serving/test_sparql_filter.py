"""Filters by SPARQL over what a run knows, by hand: two teas and a mug, their brands, and where these are."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import kgrec
from kgrec import models
from kgrec.errors import BadData, KgrecError
from kgrec.graph import Graph
from kgrec.run import Run
from kgrec.serving.filters.graph_triples import GraphTriples
from kgrec.serving.filters.sparql_filter import SparqlFilter

CATALOG = """
@prefix schema: <https://schema.org/> .
@prefix shop: <https://shop.example/> .
shop:tea schema:brand shop:acme ; schema:weight 0.25 ; schema:material "leaf" ; schema:name "Tea" .
shop:mug schema:brand shop:acme ; schema:weight 0.5 ; schema:isRelatedTo [ schema:brand shop:umbra ] .
shop:chai schema:brand shop:umbra .
shop:far schema:brand shop:umbra .
shop:acme a schema:Brand ; schema:name "Acme" .
shop:umbra a schema:Brand .
"""
RECIPE = {
    "name": "shop",
    "interactions": {"file": "events.csv", "relation": "bought"},
    "links": {"item": {"template": "https://shop.example/{id}"}},
    "rdf": {
        "files": "catalog.ttl",
        "prefixes": {"shop": "https://shop.example/"},
        "types": {"schema:Brand": "brand"},
        "labels": ["schema:name"],
        "literals": {"schema:weight": {"kind": "numeric"}, "schema:material": {"to": "material"}},
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "events.csv").write_text("user,item\nann,tea\nann,mug\nbob,chai\nbob,tea\ncem,a b\n")
    (folder / "catalog.ttl").write_text(CATALOG)
    (folder / "shop.yaml").write_text(json.dumps(RECIPE))
    graph, _ = kgrec.build(folder / "shop.yaml")
    return Run("popularity", models.build("popularity", graph).eval(), graph)


def test_the_graph_as_triples(run: Run) -> None:
    said = {str(triple).replace("https://shop.example/", "shop:") for triple in GraphTriples(run.graph)}
    schema = [f"{scheme}://schema.org" for scheme in ("http", "https")]
    for name in schema:
        assert f"<shop:tea> <{name}/brand> <shop:acme>" in said
        assert f'<shop:tea> <{name}/material> "leaf"' in said
        assert f'<shop:tea> <{name}/weight> "0.25"^^<http://www.w3.org/2001/XMLSchema#double>' in said
        assert f"<shop:acme> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <{name}/Brand>" in said
    assert '<shop:acme> <http://www.w3.org/2000/01/rdf-schema#label> "Acme"' in said
    assert not any("bought" in one or "a b" in one for one in said)  # of no IRI, and of no fact
    assert [str(term) for term in GraphTriples(run.graph).terms("item")][-1] == "<urn:kgrec:item:a%20b>"


def test_paths_by_iris(run: Run) -> None:
    brand, related = "https://schema.org/brand", "https://schema.org/isRelatedTo"
    assert run.recommend("cem", k=1, where=f"{brand}=https://shop.example/umbra")["item"] == ["chai"]
    assert run.recommend("cem", k=1, where=f"{related}/{brand}=https://shop.example/umbra")["item"] == ["mug"]
    assert run.recommend("cem", k=1, where=f"{related}/https://schema.org/Brand!=Acme")["item"] == ["mug"]


def test_items_that_a_query_finds(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "acme.rq"
    file.write_text(
        "SELECT ?b ?item { ?item schema:brand ?b . ?b rdfs:label 'Acme' . ?item schema:weight ?w FILTER(?w < .5) }"
    )
    made = len(run.kept.get("allowed items", ()))
    assert run.recommend("cem", k=1, where_sparql=file)["item"] == ["tea"]
    assert run.similar("mug", k=1, where_sparql=str(file))["item"] == ["tea"]  # the same filter, made once
    assert len(run.kept["allowed items"]) == made + 1
    with pytest.raises(
        KgrecError, match=rf"is left: where_sparql {file} leaves out all 2 items that the filters before it"
    ):
        run.recommend("cem", k=1, where_sparql=file, not_="brand=Acme")
    query = "SELECT ?one { { ?one schema:brand shop:umbra } UNION { shop:tea schema:brand ?one } }"
    table = run.recommend("cem", k=3, where_sparql=query)
    assert table["item"] == ["chai"]
    assert table.notes == (  # the brand itself, shop:far and the node without a name
        "where_sparql: 3 of 4 answers are no item",
        "the filters leave 1 of 4 items, fewer than k = 3",
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT ?item { ?item schema:brand ", "where_sparql: query line 1 column .*; fix the query$"),
        ("ASK { ?a ?b ?c }", r"of the form ASK; a SELECT whose \?item is an item is wanted"),
        (
            "SELECT ?b { ?item schema:brand ?b }",
            r"\?b is no item in any of 2 answers, such as 'https://shop.example/acme'",
        ),
        (
            "SELECT ?b { SERVICE <http://a.example/> { ?b ?c ?d } }",
            "SERVICE uses the network; remove it",
        ),
    ],
)
def test_queries_that_do_not_do(run: Run, query: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        run.recommend("cem", k=1, where_sparql=query)


def test_files_that_are_none_and_graphs_without_iris(tmp_path: Path) -> None:
    rated = pd.DataFrame([("ann", "x")], columns=["source", "target"])
    graph = Graph.from_frames(edges={("user", "rated", "item"): rated})
    run = Run("popularity", models.build("popularity", graph).eval(), graph)
    with pytest.raises(KgrecError, match="asks for facts by their IRIs, and this run's graph has none"):
        run.recommend("ann", k=1, where_sparql="SELECT ?item { ?item ?b ?c }")
    with pytest.raises(KgrecError, match=r"none\.rq: .*No such file"):
        run.recommend("ann", k=1, where_sparql=tmp_path / "none.rq")
    with pytest.raises(KgrecError, match="where_sparql is 5"):
        run.recommend("ann", k=1, where_sparql=5)
    (tmp_path / "latin.rq").write_bytes(b"SELECT ?item { ?item ?b '\xe9' }")
    with pytest.raises(KgrecError, match="a text file with a SELECT is wanted"):
        SparqlFilter.of(tmp_path / "latin.rq")
    (tmp_path / "long.rq").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(KgrecError, match="is longer than 1,048,576 bytes"):
        SparqlFilter.of(tmp_path / "long.rq")
