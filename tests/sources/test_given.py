"""Published splits and candidate lists."""

from __future__ import annotations

import pytest

from kgrec.errors import BadData

RATED = {"r.dat": "7::20::5\n7::10::4\n3::10::1\n3::30::2\n"}  # users 7, 3 and items 20, 10, 30 by first appearance
RECIPE = """
name: t
interactions:
  file: r.dat
  separator: "::"
  columns: [user, item, rating]
  relation: rated
  weight: rating
"""


def test_train_and_test_files_of_the_interactions_form(build_of):
    recipe = RECIPE + "splits: {u1: {train: a.dat, valid: b.dat, test: c.dat}}\nstandard: {split: u1}\n"
    files = RATED | {"a.dat": "3::10::1\n7::20::5\n", "b.dat": "7::10::4\n", "c.dat": "3::30::2\n"}
    graph, report = build_of(recipe, files)
    assert graph.splits["u1"].tolist() == [0, 1, 0, 2]
    assert graph.schema.standard == {"split": "u1"}
    assert report.splits == {"u1": {"train": 2, "valid": 1, "test": 1}}


def test_edges_in_no_file_must_be_said(build_of):
    recipe = RECIPE + "splits: {u1: {train: a.dat, test: c.dat}}\n"
    files = RATED | {"a.dat": "3::10::1\n", "c.dat": "3::30::2\n"}
    with pytest.raises(
        BadData, match="split 'u1': 2 pairs of the graph are in none of its files; set `rest: train` to train on them"
    ):
        build_of(recipe, files)
    graph, _ = build_of(recipe.replace("test:", "rest: valid, test:"), files)
    assert graph.splits["u1"].tolist() == [1, 1, 0, 2]


def test_test_pairs_by_published_number(build_of):
    recipe = RECIPE + "splits: {n: {test: c.tsv, separator: tab, columns: [user, item], ids: first_appearance}}\n"
    graph, _ = build_of(recipe, RATED | {"c.tsv": "0\t1\n1\t2\n"})
    assert graph.splits["n"].tolist() == [0, 2, 0, 2]


def test_pairs_that_are_no_edges(build_of):
    recipe = RECIPE + "splits: {u1: {test: c.dat}}\n"
    files = RATED | {"c.dat": "7::30::1\n3::30::1\n7::99::1\n"}
    with pytest.raises(
        BadData, match=r"split 'u1': 2 pairs of c\.dat are not edges of the graph, such as '7 30', '7 99'"
    ):
        build_of(recipe, files)
    graph, report = build_of(recipe.replace("weight: rating", "weight: rating\n  min_weight: 2"), files)
    assert graph.splits["u1"].tolist() == [0, 0, 2]
    assert report.dropped["pairs of c.dat without an edge, because of the recipe's filters"] == 2


def test_pairs_in_two_parts(build_of):
    recipe = RECIPE + "splits: {u1: {train: a.dat, test: c.dat, rest: train}}\n"
    with pytest.raises(BadData, match="split 'u1': 1 pairs are in two parts; fix the files"):
        build_of(recipe, RATED | {"a.dat": "3::10::1\n", "c.dat": "3::10::1\n"})


def test_files_that_are_the_split(build_of):
    recipe = """
name: t
interactions: {parts: {train: [a.csv, b.csv], test: c.csv}, split: s, relation: r, weight: w, min_weight: 2}
standard: {split: "s,valid=1"}
"""
    files = {
        "a.csv": "user,item,w\nu,x,5\nu,y,1\n",
        "b.csv": "user,item,w\nv,x,5\n",
        "c.csv": "user,item,w\nu,y,2\nv,y,1\n",
    }
    graph, _ = build_of(recipe, files)
    assert graph.splits["s"].tolist() == [0, 0, 2]
    assert graph.edge_index.tolist() == [[0, 1, 0], [0, 0, 1]]


def test_candidates_by_published_number(build_of):
    recipe = RECIPE + "candidates: {n: {file: c.txt, ids: first_appearance}}\nstandard: {candidates: n}\n"
    graph, report = build_of(recipe, RATED | {"c.txt": "(1,2)\t0\t0\n(0,1)\t2\n"})
    lists = graph.candidates["n"]
    assert lists.user.tolist() == [0, 1]
    assert lists.ptr.tolist() == [0, 2, 4]
    assert lists.item.tolist() == [1, 2, 2, 0]  # user 7: its test item 10, then 30; user 3: 30, then 20 once
    assert report.candidates == {"n": 2}


def test_candidates_by_id_and_numbers_follow_the_tables(build_of):
    recipe = "nodes: {item: {file: i.csv, id: id}}\n" + RECIPE + "candidates: {n: {file: c.txt}}\n"
    files = RATED | {"i.csv": "id\n30\n40\n10\n20\n", "c.txt": "(3,30)\t40\n"}
    graph, _ = build_of(recipe, files)
    assert graph.candidates["n"].user.tolist() == [1]
    assert graph.candidates["n"].item.tolist() == [0, 1]
    published = recipe.replace("c.txt", "c.txt, ids: first_appearance")
    graph, _ = build_of(published, files | {"c.txt": "(1,2)\t0\n"})
    assert graph.vocabulary["item"].ids(graph.candidates["n"].item) == ["30", "20"]


def test_bad_candidates(build_of):
    recipe = RECIPE + "candidates: {n: {file: c.txt}}\n"
    with pytest.raises(
        BadData, match=r"c\.txt line 1: b'3 30 40' is not in the format `\(user,item\)<tab>item<tab>item"
    ):
        build_of(recipe, RATED | {"c.txt": "3 30 40\n"})
    with pytest.raises(BadData, match=r"c\.txt: 1 users and 1 items are not in the graph; set `ids: first_appearance`"):
        build_of(recipe, RATED | {"c.txt": "(99,30)\t98\n"})
