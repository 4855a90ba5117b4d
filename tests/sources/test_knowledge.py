"""Links and facts: which node an entity is, what relations are called, and what the report counts."""

from __future__ import annotations

import pytest

from kgrec.errors import BadData, KgrecError
from kgrec.sources.building.report import LinkCoverage
from kgrec.sources.rdf.facts import FactOptions

RATED = {"r.csv": "user,item\nu,a\nu,b\nu,c\nu,d\n"}
TTL = """
@prefix : <http://x/> .
@prefix o: <http://x/ontology/> .
@prefix p: <http://x/property/> .
:Alien a o:Film ; o:director :Scott ; o:name "Alien"@en, "Außerirdischer"@de ; o:length 117 .
:Brazil o:director :Gilliam ; p:director :Nobody .
:Scott a o:Person ; o:influenced :Alien .
"""
RECIPE = """
name: t
interactions: {file: r.csv, relation: rated}
links: {item: {file: l.csv, entity: iri}}
rdf:
  files: k.ttl
  prefixes: {o: http://x/ontology/}
"""
LINKS = "id,iri\na,http://x/Alien\nb,http://x/Alien\nc,http://x/Brazil\nz,http://x/Nothing\n"
FILES = RATED | {"k.ttl": TTL, "l.csv": LINKS}


def facts_of(graph, relation: str) -> list[tuple[str, str, str, str]]:
    """(node type, id, node type, id) of the edges of a relation, sorted."""
    found = []
    for edge in graph.schema.edge_types(relation):
        for source, target in graph.only(edge).edge_index.T.tolist():
            found.append(
                (edge[0], *graph.vocabulary[edge[0]].ids([source]), edge[2], *graph.vocabulary[edge[2]].ids([target]))
            )
    return sorted(found)


def test_a_linked_item_is_the_entitys_node(build_of):
    graph, report = build_of(RECIPE, FILES)
    assert facts_of(graph, "director") == [
        ("item", "a", "entity", "http://x/Scott"),
        ("item", "b", "entity", "http://x/Scott"),  # a and b share an IRI: each gets its facts, as subject ...
        ("item", "c", "entity", "http://x/Gilliam"),
    ]
    assert facts_of(graph, "influenced") == [
        ("entity", "http://x/Scott", "item", "a"),  # ... and as object
        ("entity", "http://x/Scott", "item", "b"),
    ]
    assert graph.vocabulary["item"].ids(range(9)) == ["a", "b", "c", "d"]  # d has no link and stays
    assert graph.node_types == ["user", "item", "entity"]
    assert report.links == {"item": LinkCoverage(4, 3, 3, 1, 2)}
    assert report.dropped["links of l.csv from item ids that are not in the graph"] == 1
    assert report.num_triples == 9


def test_names_that_collide_are_told_apart_and_keep_their_iris(build_of):
    graph, _ = build_of(RECIPE, FILES)
    assert facts_of(graph, "property_director") == [("item", "c", "entity", "http://x/Nobody")]
    label = {edge[1]: schema.label for edge, schema in graph.schema.edges.items()}
    assert label["director"] == "http://x/ontology/director"
    assert label["property_director"] == "http://x/property/director"
    clash = RECIPE.replace("relation: rated", "relation: director")
    graph, _ = build_of(clash, FILES)
    assert [edge for edge in graph.edge_types if edge[1] == "director"] == [("user", "director", "item")]
    assert len(facts_of(graph, "ontology_director")) == 3


def test_names_that_the_recipe_gives(build_of):
    more = "  names: {o:director: directed_by, http://x/property/director: directed_by, o:nothing: x}\n"
    graph, report = build_of(RECIPE + more, FILES)
    assert len(facts_of(graph, "directed_by")) == 4
    assert report.unknown_predicates == ["o:nothing"]
    with pytest.raises(BadData, match="`names`: 'directed by' may only have letters, digits and single underscores"):
        build_of(RECIPE + "  names: {o:director: directed by}\n", FILES)


def test_classes_give_node_types_in_the_recipes_order(build_of):
    twice = TTL + ":Scott a o:Agent . :Gilliam a o:Agent .\n"
    more = "  types: {o:Person: person, o:Agent: agent, o:Film: film}\n"
    graph, _ = build_of(RECIPE + more, FILES | {"k.ttl": twice})
    assert graph.vocabulary["person"].ids(range(9)) == ["http://x/Scott"]
    assert graph.vocabulary["agent"].ids(range(9)) == ["http://x/Gilliam"]
    assert graph.vocabulary["entity"].ids(range(9)) == ["http://x/Nobody"]
    assert "film" not in graph.node_types  # the only film is an item
    assert graph.schema.nodes["person"].label == "http://x/ontology/Person"
    assert {edge for edge in graph.edge_types if edge[1] == "director"} == {
        ("item", "director", "person"),
        ("item", "director", "agent"),
    }


def test_inverses(build_of):
    more = "  inverse_of: {o:influenced: o:director, o:nothing: o:director}\n"
    graph, report = build_of(RECIPE + more, FILES)
    assert graph.schema.edges[("entity", "influenced", "item")].inverse_of == "director"
    assert graph.schema.edges[("item", "director", "entity")].inverse_of is None
    assert report.unknown_predicates == ["o:nothing"]
    assert "rev_director" not in {edge[1] for edge in graph.both_ways().edge_types}


def test_literals_become_labels_and_features(build_of):
    more = """\
  labels: [o:name]
  language: [en]
  literals: {o:length: {feature: minutes, kind: numeric}, o:name: {kind: text}}
"""
    graph, _ = build_of(RECIPE + more, FILES)
    assert graph.vocabulary["item"].labels(range(9)) == ["Alien", "Alien", "c", "d"]
    assert graph.features["item"]["minutes"].values[:2].tolist() == [117, 117]
    assert graph.features["item"]["minutes"].values[2:].isnan().all()
    assert graph.features["item"]["name"].values.to_pylist() == ["Alien", "Alien", None, None]


def test_a_tables_label_comes_before_a_literal(build_of):
    nodes = "nodes: {item: {file: i.csv, id: id, label: title}}\n"
    files = FILES | {"i.csv": "id,title\na,First\nb,\n"}
    graph, _ = build_of(nodes + RECIPE + "  labels: [o:name]\n  language: [en]\n", files)
    assert graph.vocabulary["item"].labels(range(9)) == ["First", "Alien", "c", "d"]


def test_literals_of_several_values(build_of):
    ttl = '@prefix o: <http://x/ontology/> . <http://x/Alien> o:tag "x", "y" ; o:size "1", "two" ; o:is <http://x/B> .'
    more = "  literals: {o:tag: {kind: multi}, o:size: {kind: numeric}, http://x/ontology/tag2: {kind: text}}\n"
    graph, report = build_of(RECIPE + more, FILES | {"k.ttl": ttl})
    tags = graph.features["item"]["tag"]
    assert (tags.schema.categories, tags.ptr.tolist()) == (("x", "y"), [0, 2, 4, 4, 4])
    assert graph.features["item"]["size"].values[:2].tolist() == [1, 1]
    assert report.dropped["values of http://x/ontology/size that are not numbers"] == 1
    assert report.unknown_predicates == ["http://x/ontology/tag2"]
    more = more.replace("{kind: multi}", "{feature: size, kind: multi}")
    with pytest.raises(KgrecError, match="feature 'size' from http://x/ontology/size exists already"):
        build_of(RECIPE + more, FILES | {"k.ttl": ttl})


def test_links_by_template(build_of):
    recipe = RECIPE.replace("{file: l.csv, entity: iri}", '{template: "http://x/{id}"}')
    rated = {"r.csv": "user,item\nu,Alien\nu,Brazil\nu,Casino\n"}
    graph, report = build_of(recipe, FILES | rated)
    assert facts_of(graph, "influenced") == [("entity", "http://x/Scott", "item", "Alien")]
    assert report.links == {"item": LinkCoverage(3, 2, 2, 0, 0)}


def test_triples_in_a_table(build_of):
    recipe = """
name: t
interactions: {file: r.csv, relation: rated}
links: {item: {file: l.csv}}
triples:
  file: k.tsv
  head: h
  relation: r
  tail: t
  type_relation: is_a
  types: {Person: person}
  labels: [name]
  literals: {year: {kind: numeric}}
  exclude: [noise]
  inverse_of: {film.director.film: film.film.director}
"""
    rows = ["h r t", "e1 film.film.director e2", "e2 is_a Person", "e2 name Scott", "e1 year 1979", "e3 noise e4"]
    rows += ["e2 film.director.film e1", "e3 film.film.director e2"]
    files = RATED | {"k.tsv": "\n".join(row.replace(" ", "\t") for row in rows) + "\n", "l.csv": "id,entity\na,e1\n"}
    graph, report = build_of(recipe, files)
    assert facts_of(graph, "film_film_director") == [("entity", "e3", "person", "e2"), ("item", "a", "person", "e2")]
    assert facts_of(graph, "film_director_film") == [("person", "e2", "item", "a")]
    assert graph.schema.edges[("person", "film_director_film", "item")].inverse_of == "film_film_director"
    assert graph.vocabulary["person"].labels([0]) == ["Scott"]
    assert graph.features["item"]["year"].values[0] == 1979
    assert graph.vocabulary["entity"].ids(range(9)) == ["e3"]  # e4 stands in an excluded triple only
    assert report.num_triples == 7
    assert report.dropped["facts whose predicate is not included"] == 1


def test_a_union_of_sources_shares_its_entities(build_of):
    more = "triples: {file: k.csv}\n"
    rows = "head,relation,tail\nhttp://x/Alien,shot_in,http://x/UK\nhttp://x/Scott,born_in,http://x/UK\n"
    graph, _ = build_of(RECIPE + "  types: {o:Person: person}\n" + more, FILES | {"k.csv": rows})
    assert facts_of(graph, "shot_in") == [
        ("item", "a", "entity", "http://x/UK"),
        ("item", "b", "entity", "http://x/UK"),
    ]
    assert facts_of(graph, "born_in") == [("person", "http://x/Scott", "entity", "http://x/UK")]


def test_a_select_over_rdf_is_a_table(build_of):
    recipe = """
name: t
nodes:
  item:
    file: k.ttl
    query: |
      SELECT ?film ?name ?length WHERE {
        ?film o:name ?name ; o:length ?length . FILTER (lang(?name) = "de")
      }
    prefixes: {o: http://x/ontology/}
    id: film
    label: name
    features: {length: numeric}
interactions: {file: r.csv, relation: rated}
"""
    files = {"r.csv": "user,item\nu,http://x/Alien\nu,http://x/Brazil\n", "k.ttl": TTL}
    graph, _ = build_of(recipe, files)
    assert graph.vocabulary["item"].labels(range(2)) == ["Außerirdischer", "http://x/Brazil"]
    assert graph.features["item"]["length"].values[0].item() == 117
    with pytest.raises(BadData, match=r"k\.ttl: query line 1 .*; fix `query`"):
        build_of(recipe.replace("SELECT ?film", "SELCT ?film"), files)


def test_an_rdflib_graph_in_memory_is_as_good_as_a_file(build_of, tmp_path):
    from rdflib import Graph as RDF

    from kgrec.sources.building import build

    from_file, _ = build_of(RECIPE, FILES)
    (tmp_path / "no_rdf.yaml").write_text(RECIPE.partition("rdf:")[0])
    options = FactOptions(prefixes={"o": "http://x/ontology/"}, names={"o:director": "director"})
    in_memory, report = build(tmp_path / "no_rdf.yaml", tmp_path, rdf=[(RDF().parse(data=TTL), options)])
    assert report.num_triples == 9
    for relation in ("director", "influenced", "property_director"):
        assert facts_of(in_memory, relation) == facts_of(from_file, relation)
