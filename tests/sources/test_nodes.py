"""Reads node tables: ids, labels, features and attribute edges."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kgrec.errors import BadData, KgrecError

EVENTS = {"r.csv": "user,item\nu,b\nv,x\n"}


def recipe(nodes: str) -> str:
    body = "\n".join(f"  {line}" for line in nodes.strip().splitlines())
    return f"name: t\nnodes:\n{body}\ninteractions: {{file: r.csv, relation: rated}}\n"


def test_table_order_comes_first_then_the_interactions(build_of):
    nodes = "item: {file: i.csv, id: id, label: title}"
    graph, report = build_of(recipe(nodes), EVENTS | {"i.csv": "id,title\na,Alien\nb,Brazil\nc,\n"})
    assert graph.node_types == ["user", "item"]
    assert graph.vocabulary["item"].ids(range(9)) == ["a", "b", "c", "x"]
    assert graph.vocabulary["item"].labels(range(9)) == ["Alien", "Brazil", "c", "x"]
    assert graph.edge_index.tolist() == [[0, 1], [1, 3]]
    assert report.added == {"item": 1}


def test_features_of_all_kinds(build_of):
    table = "id,age,city,tags,bio,image\na,30,Oslo,x|y,hello,0.5 1\nb,,,,,\n"
    nodes = """
item:
  file: i.csv
  id: id
  features:
    age: numeric
    town: {column: city, kind: categorical}
    tags: {kind: multi, split: "|"}
    bio: text
    image: {kind: vector, split: " "}
"""
    graph, _ = build_of(recipe(nodes), EVENTS | {"i.csv": table})
    features = graph.features["item"]  # of a, b and x, which only the interactions name
    np.testing.assert_array_equal(features["age"].values.numpy(), [30, np.nan, np.nan])
    assert features["town"].schema.categories == ("Oslo",)
    assert features["town"].values.tolist() == [0, -1, -1]
    assert features["tags"].schema.categories == ("x", "y")
    assert (features["tags"].ptr.tolist(), features["tags"].values.tolist()) == ([0, 2, 2, 2], [0, 1])
    assert features["bio"].values.to_pylist() == ["hello", None, None]
    assert features["image"].values.tolist() == [[0.5, 1], [0, 0], [0, 0]]


def test_vectors_in_a_matrix_and_in_a_list_column(build_of, tmp_path):
    np.save(tmp_path / "image.npy", np.array([[1, 2], [3, 4]], np.float64))
    pd.DataFrame({"id": ["a", "b"], "text": [[0.5], [1.5]]}).to_parquet(tmp_path / "i.parquet")
    nodes = "item: {file: i.parquet, id: id, features: {image: {kind: vector, file: image.npy}, text: vector}}"
    graph, _ = build_of(recipe(nodes), EVENTS)
    assert graph.features["item"]["image"].values.tolist() == [[1, 2], [3, 4], [0, 0]]
    assert graph.features["item"]["text"].values.tolist() == [[0.5], [1.5], [0]]
    np.save(tmp_path / "image.npy", np.zeros((3, 2)))
    with pytest.raises(BadData, match=r"has shape \(3, 2\); it must have the table's 2 rows"):
        build_of(recipe(nodes), EVENTS)


def test_tables_of_one_type_are_joined_by_id(build_of):
    nodes = """
item:
  - {file: i.csv, id: id, label: title}
  - {file: p.csv, id: film, features: {plot: text}}
  - {file: q.csv, id: film, features: {price: numeric}, describes_only: true}
"""
    tables = {
        "i.csv": "id,title\na,A\nb,B\n",
        "p.csv": "film,plot\nc,third\nb,second\n",
        "q.csv": "film,price\nz,1\nc,2\n",
    }
    graph, report = build_of(recipe(nodes), EVENTS | tables)
    assert graph.vocabulary["item"].ids(range(9)) == ["a", "b", "c", "x"]
    assert graph.features["item"]["plot"].values.to_pylist() == [None, "second", "third", None]
    np.testing.assert_array_equal(graph.features["item"]["price"].values.numpy(), [np.nan, np.nan, 2, np.nan])
    assert report.dropped == {"rows of q.csv about item ids that are not in the graph": 1}


def test_only_interacted_nodes_are_numbered_by_the_interactions(build_of):
    nodes = "item: {file: i.csv, id: id, label: title, only_interacted: true}"
    graph, report = build_of(recipe(nodes), EVENTS | {"i.csv": "id,title\na,A\nx,X\nb,B\n"})
    assert graph.vocabulary["item"].ids(range(9)) == ["b", "x"]
    assert graph.vocabulary["item"].labels(range(9)) == ["B", "X"]
    assert report.added == {}


def test_a_feature_that_is_there_twice(build_of):
    nodes = "item:\n  - {file: i.csv, id: id, features: {x: text}}\n  - {file: j.csv, id: id, features: {x: text}}"
    with pytest.raises(KgrecError, match=r"feature 'x' from j\.csv exists already; give it another name"):
        build_of(recipe(nodes), EVENTS | {"i.csv": "id,x\na,1\n", "j.csv": "id,x\na,1\n"})


def test_values_become_nodes(build_of):
    nodes = """
item:
  file: i.csv
  id: id
  edges:
    has_genre: {column: genres, split: "|", to: genre}
    made_by: {to: company}
"""
    table = "id,genres,made_by\na,Comedy | Drama|Comedy,Fox\nb,,\nc,Drama,\n"
    graph, _ = build_of(recipe(nodes), EVENTS | {"i.csv": table})
    assert graph.vocabulary["genre"].ids(range(9)) == ["Comedy", "Drama"]
    assert graph.only("has_genre").edge_index.tolist() == [[0, 0, 2], [0, 1, 1]]
    assert graph.only("made_by").edge_index.tolist() == [[0], [0]]
    assert graph.schema.edges[("item", "has_genre", "genre")].label == "genres"


def test_paths_become_nodes_with_their_parents(build_of):
    nodes = (
        'item: {file: i.csv, id: id, edges: {in_category: {column: path, path: " > ", parents: part_of, to: category}}}'
    )
    table = "id,path\na,Home > Kitchen > Mugs\nb,Home>Garden\nc,Home\n"
    graph, _ = build_of(recipe(nodes), EVENTS | {"i.csv": table})
    assert graph.vocabulary["category"].ids(range(9)) == [
        "Home",
        "Home > Kitchen",
        "Home > Kitchen > Mugs",
        "Home > Garden",
    ]
    assert graph.vocabulary["category"].labels(range(9)) == ["Home", "Kitchen", "Mugs", "Garden"]
    assert graph.only("in_category").edge_index.tolist() == [[0, 1, 2], [2, 3, 0]]
    assert graph.only("part_of").edge_index.tolist() == [[1, 2, 3], [0, 1, 0]]
    only_leaves = nodes.replace(" parents: part_of,", "")
    graph, _ = build_of(recipe(only_leaves), EVENTS | {"i.csv": table})
    assert graph.vocabulary["category"].labels(range(9)) == ["Mugs", "Garden", "Home"]


def test_flag_columns_become_lists(build_of):
    nodes = """
item:
  file: i.csv
  id: id
  flags: {genres: [Action, Drama, War]}
  features: {genres: multi}
  edges: {has_genre: {column: genres, to: genre}}
"""
    graph, _ = build_of(recipe(nodes), EVENTS | {"i.csv": "id,Action,Drama,War\na,0,1,1\nb,1,0,0\nc,0,,false\n"})
    assert graph.only("has_genre").edge_index.tolist() == [[0, 0, 1], [0, 1, 2]]
    assert graph.vocabulary["genre"].ids(range(9)) == ["Drama", "War", "Action"]
    assert graph.features["item"]["genres"].ptr.tolist() == [0, 2, 3, 3, 3]
    with pytest.raises(BadData, match=r"i\.csv line 2: Drama '2' is not 0 or 1; fix the row"):
        build_of(recipe(nodes), EVENTS | {"i.csv": "id,Action,Drama,War\na,0,2,1\n"})


def test_attributes_in_a_json_object_of_lists(build_of):
    nodes = "item: {file: a.json, format: json_lists, id: id, edges: {has: {column: values, to: attribute}}}"
    graph, _ = build_of(recipe(nodes), EVENTS | {"a.json": '{"x": [2, 1], "b": [], "c": [1]}'})
    assert graph.vocabulary["item"].ids(range(9)) == ["x", "b", "c"]
    assert graph.vocabulary["attribute"].ids(range(9)) == ["2", "1"]
    assert graph.only("has").edge_index.tolist() == [[0, 0, 2], [0, 1, 1]]
    with pytest.raises(
        BadData,
        match=r"a\.json is not a JSON object \{id: \[values\]\} \(see 'x'\); fix the file, or set another `format`",
    ):
        build_of(recipe(nodes), EVENTS | {"a.json": '{"x": 2}'})
