"""New items in each form by which a recipe knows items: which ids, edges and features are read of a file."""

from pathlib import Path

import pandas as pd
import pytest

from kgrec.errors import KgrecError
from kgrec.sources.building.attached_items import NewItems
from kgrec.sources.building.new_items import read_new_items
from kgrec.sources.building.pipeline import build
from kgrec.sources.recipe import Recipe

EVENTS = "user,item\nann,x\nann,y\nbob,x\nbob,z\ncem,z\ndee,y\n"
BY = [("x", "a", 1), ("y", "b", 2), ("z", "a", 3)]
FILMS = "".join(f"<http://i/{i}> a s:Film ; s:id '{i}' ; s:by <http://p/{p}> ; s:tag 't{n}' .\n" for i, p, n in BY)
PREFIX = "@prefix s: <http://s/> .\n"
RDF = {"files": "f.ttl", "prefixes": {"s": "http://s/"}, "literals": {"s:tag": {"to": "tag", "relation": "tagged"}}}
NEW = f"{PREFIX}<http://i/n> a s:Film ; s:id 'n' ; s:by <http://p/b> ; s:tag 't1' .\n"
FLAGS = {
    "file": "i.dat",
    "separator": "::",
    "columns": ["item", "title", "Action", "Drama"],
    "id": "item",
    "flags": {"genres": ["Action", "Drama"]},
    "edges": {"has_genre": {"column": "genres", "to": "genre"}},
}
QUERY = "PREFIX s: <http://s/> SELECT ?id ?by WHERE { ?i s:id ?id ; s:by ?by }"
ASKED = {"file": "f.ttl", "query": QUERY, "id": "id", "edges": {"by": {"to": "p"}}}
BOTH = {"has_genre": [["n", "Action"], ["n", "Drama"]]}
NAMED = "item::title::Action::Drama\n"  # the recipe's own file has no such line
LISTED = '{"id": "n", "has_genre": ["a", "b"]}\n'
GENRES = {"file": "g.csv", "between": ["item", "genre"], "source": "film", "target": "genre", "weight": "w"}
TRIPLES = "head,relation,tail\n" + "".join(f"{i},by,{p}\n" for i, p, _ in BY)
FILES = {
    "events.csv": EVENTS,
    "f.ttl": PREFIX + FILMS,
    "i.dat": "x::Ex::1::0\ny::Why::0::1\nz::Zed::1::1\n",
    "g.csv": "film,genre,w\nx,a,1\ny,b,2\nz,a,3\n",
    "kg.csv": TRIPLES,
    "price.csv": "id,price\nx,1\ny,2\nz,3\n",
    "brand.csv": "item,brand\nx,a\ny,b\nz,a\n",
}
TWO = [
    {"file": "price.csv", "id": "id", "features": {"price": "numeric"}},
    {"file": "brand.csv", "id": "item", "edges": {"of": {"column": "brand", "to": "brand"}}},
]


def read(folder: Path, recipe: dict, name: str, text: str) -> NewItems:
    for file, content in FILES.items():
        (folder / file).write_text(content)
    (folder / name).write_text(text)
    wanted = Recipe.model_validate(
        {"name": "kinds", "interactions": {"file": "events.csv", "relation": "rated"}} | recipe
    )
    graph, _ = build(wanted, folder)
    return read_new_items(graph, wanted, [folder / name])


def edges_of(found: NewItems) -> dict[str, list]:
    return {edge[1]: frame.to_numpy().tolist() for edge, frame in found.edges.items()}


BY_B = {"by": [["n", "http://p/b"]], "tagged": [["n", "t1"]]}


@pytest.mark.parametrize(
    ("recipe", "name", "text", "edges"),
    [
        ({"rdf": RDF, "links": {"item": {"predicate": "s:id"}}}, "n.ttl", NEW, BY_B),
        ({"rdf": RDF, "links": {"item": {"template": "http://i/{id}"}}}, "n.ttl", NEW, BY_B),
        (
            {"rdf": RDF | {"classes": {"to": "class"}}, "links": {"item": {"template": "http://i/{id}"}}},
            "n.ttl",
            NEW,
            {"by": [["n", "http://p/b"]], "is_a": [["n", "http://s/Film"]], "tagged": [["n", "t1"]]},
        ),
        (
            {"triples": {"file": "kg.csv"}, "links": {"item": {"template": "{id}"}}},
            "n.csv",
            "head,relation,tail\nn,by,b\nn,by,nobody\n",
            {"by": [["n", "b"]]},
        ),
        ({"nodes": {"item": FLAGS}}, "n.dat", "n::En::0::1\n", {"has_genre": [["n", "Drama"]]}),
        ({"nodes": {"item": FLAGS}}, "n.dat", f"{NAMED}n::En::1::1\n", BOTH),
        ({"nodes": {"item": FLAGS}}, "n.csv", "item,Action,Drama\nn,1,1\n", BOTH),
        ({"edges": {"has_genre": GENRES}}, "n.csv", "film,genre,w\nn,b,7\n", {"has_genre": [["n", "b", 7.0]]}),
        ({"edges": {"has_genre": GENRES}}, "n.jsonl", LISTED, {"has_genre": [["n", "a"], ["n", "b"]]}),
        ({"nodes": {"item": ASKED}}, "n.ttl", NEW, {"by": [["n", "http://p/b"]]}),
        ({"nodes": {"item": TWO}}, "n.csv", "id,item,price,brand\nn,n,4,b\n", {"of": [["n", "b"]]}),
        ({"nodes": {"item": TWO}}, "n.csv", "item,brand\nn,b\n", {"of": [["n", "b"]]}),
    ],
)  # fmt: skip
def test_items_are_read_as_the_recipe_reads_them(tmp_path: Path, recipe, name, text, edges) -> None:
    found = read(tmp_path, recipe, name, text)
    assert found.ids == ["n"]
    assert edges_of(found) == edges


def test_items_of_a_class_have_their_iri_as_id(tmp_path: Path) -> None:
    by_iri = EVENTS.replace(",x", ",http://i/x").replace(",y", ",http://i/y").replace(",z", ",http://i/z")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FILES, "events.csv", by_iri)
        found = read(tmp_path, {"rdf": RDF | {"types": {"s:Film": "item"}}}, "n.ttl", NEW)
    assert found.ids == ["http://i/n"]


def test_columns_that_the_items_own_file_has_are_no_error(tmp_path: Path) -> None:
    """The file that the graph was made of has a column that its recipe passes over; another is an error."""
    table = {"file": "price.csv", "id": "id", "features": {"price": "numeric"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FILES, "price.csv", "id,price,seen\nx,1,no\ny,2,no\nz,3,yes\n")
        for file, content in FILES.items():
            (tmp_path / file).write_text(content)
        recipe = Recipe.model_validate(
            {"name": "kinds", "interactions": {"file": "events.csv", "relation": "rated"}, "nodes": {"item": table}}
        )
        graph, _ = build(recipe, tmp_path)
    kept = Recipe.model_validate(graph.recipe)
    assert kept.nodes["item"].tables[0].unread == ["seen"]
    (tmp_path / "n.csv").write_text("id,price,seen\nn,4,no\n")
    assert read_new_items(graph, kept, [tmp_path / "n.csv"]).nodes["item"].to_dict("list") == {
        "id": ["n"],
        "price": [4.0],
    }
    (tmp_path / "n.csv").write_text("id,price,sene\nn,4,no\n")
    with pytest.raises(KgrecError, match="reads no column 'sene'; it reads id, price:"):
        read_new_items(graph, kept, [tmp_path / "n.csv"])


def test_an_edge_of_known_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KgrecError, match="item 'x' is known"):
        read(tmp_path, {"edges": {"has_genre": GENRES}}, "n.csv", "film,genre,w\nx,b,1\nn,b,1\n")


def test_rdf_is_refused_where_the_recipe_reads_none(tmp_path: Path) -> None:
    with pytest.raises(KgrecError, match="reads no RDF"):
        read(tmp_path, {"nodes": {"item": FLAGS}}, "n.ttl", NEW)


def test_blank_nodes_are_never_those_of_other_files(tmp_path: Path) -> None:
    recipe = {"rdf": RDF, "links": {"item": {"template": "http://i/{id}"}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FILES, "f.ttl", f"{PREFIX}{FILMS}<http://i/x> s:by [ s:tag 't1' ] .\n")
        with pytest.raises(KgrecError, match="knows nothing of it"):
            read(tmp_path, recipe, "n.ttl", f"{PREFIX}<http://i/n> s:by [ s:tag 't1' ] .\n")


def test_frames_are_read_as_files_are(tmp_path: Path) -> None:
    import pyarrow as pa

    for file, content in FILES.items():
        (tmp_path / file).write_text(content)
    recipe = Recipe.model_validate(
        {"name": "kinds", "interactions": {"file": "events.csv", "relation": "rated"}, "nodes": {"item": TWO}}
    )
    graph, _ = build(recipe, tmp_path)
    rows = pa.Table.from_pandas(pd.DataFrame({"id": [7], "price": [2]}))
    found = read_new_items(graph, recipe, [rows])
    assert found.ids == ["7"]
    assert found.nodes["item"]["price"].tolist() == [2.0]
