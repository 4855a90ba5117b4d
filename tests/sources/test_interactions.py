"""Interactions: behaviours, sessions, filters, features, and what is counted as left out."""

from __future__ import annotations

import pytest

from kgrec.errors import BadData


def recipe(more: str) -> str:
    return "name: t\ninteractions:\n  file: r.csv\n" + "".join(f"  {line}\n" for line in more.strip().splitlines())


def edges_of(graph, relation: str) -> list[tuple[str, str]]:
    """The pairs of ids of a relation, in order."""
    ((source, _, target),) = graph.schema.edge_types(relation)
    users, items = graph.only(relation).edge_index.tolist()
    return list(zip(graph.vocabulary[source].ids(users), graph.vocabulary[target].ids(items)))


def test_one_file_of_several_behaviours(build_of):
    more = """
relations: {column: event, values: {view: viewed, look: viewed, buy: bought, scroll: null}}
time: time
"""
    text = "user,item,event,time\nu,a,view,1\nv,b,scroll,2\nu,c,buy,3\nw,a,look,4\n"
    graph, report = build_of(recipe(more).replace("name: t", "name: t\ntarget: bought"), {"r.csv": text})
    assert graph.target == ("user", "bought", "item")
    assert edges_of(graph, "viewed") == [("u", "a"), ("w", "a")]
    assert edges_of(graph, "bought") == [("u", "c")]
    assert graph.only("viewed").time.tolist() == [1, 4]
    assert graph.schema.edges[("user", "viewed", "item")].label == "view, look"
    assert graph.vocabulary["user"].ids(range(9)) == ["u", "w"]  # v did nothing that stays
    assert report.dropped == {"rows of r.csv with a behaviour set to null": 1}


def test_several_files_of_interactions(build_of):
    text = """
name: t
interactions:
  - {file: r.csv, relation: rated}
  - {file: f.csv, relation: follows, between: [user, user], user: who, item: whom}
"""
    graph, _ = build_of(text, {"r.csv": "user,item\nu,a\n", "f.csv": "who,whom\nv,u\n"})
    assert graph.target == ("user", "rated", "item")
    assert edges_of(graph, "follows") == [("v", "u")]
    assert graph.vocabulary["user"].ids(range(9)) == ["u", "v"]


def test_least_weight_leaves_rows_out_and_keeps_the_rest_in_order(build_of):
    text = "user,item,rating\nu,a,3\nv,b,5\nu,c,4\n"
    graph, report = build_of(recipe("weight: rating\nmin_weight: 4\nrelation: liked"), {"r.csv": text})
    assert edges_of(graph, "liked") == [("v", "b"), ("u", "c")]
    assert graph.vocabulary["user"].ids(range(9)) == ["v", "u"]
    assert report.dropped == {"rows of r.csv with a weight below 4": 1}


@pytest.mark.parametrize(
    ("duplicates", "weights", "times"),
    [
        ("keep", [1, 2, 4, 8], [30, 5, 20, 10]),
        ("first", [2, 8], [5, 10]),
        ("last", [1, 2], [30, 5]),
        ("sum", [13, 2], [30, 5]),
    ],
)
def test_duplicates(build_of, duplicates, weights, times):
    text = "user,item,n,time\nu,a,1,30\nv,a,2,5\nu,a,4,20\nu,a,8,10\n"
    more = f"weight: n\ntime: time\nrelation: played\nduplicates: {duplicates}"
    graph, report = build_of(recipe(more), {"r.csv": text})
    assert graph.weight.tolist() == weights
    assert graph.time.tolist() == times
    expected = {} if duplicates == "keep" else {"rows of r.csv with the same user, item and relation as another": 2}
    assert report.dropped == expected


def test_duplicates_that_are_errors(build_of):
    text = "user,item\nu,a\nv,a\nu,a\n"
    with pytest.raises(BadData) as raised:
        build_of(recipe("duplicates: error"), {"r.csv": text})
    assert raised.value.problems == [
        "r.csv: user 'u' and item 'a' have more than one row; fix the rows, or set `duplicates: last`"
    ]
    graph, _ = build_of(recipe("duplicates: error"), {"r.csv": "user,item\nu,a\nv,a\nu,b\n"})
    assert graph.num_edges == 3


def test_the_core_is_taken_again_until_it_stays(build_of):
    """Item c has one row; without it w has one row only; without w, b has one; u and v keep a and d."""
    pairs = ["u a", "u d", "v a", "v d", "w b", "w c", "u b"]
    text = "user,item\n" + "\n".join(pair.replace(" ", ",") for pair in pairs) + "\n"
    graph, report = build_of(recipe("min_user: 2\nmin_item: 2\nrelation: r"), {"r.csv": text})
    assert edges_of(graph, "r") == [("u", "a"), ("u", "d"), ("v", "a"), ("v", "d")]
    assert report.dropped == {"rows of r.csv of users and items with too few rows (min_user 2, min_item 2)": 3}


def test_sessions_are_cut_at_gaps(build_of):
    """x acts at 0, 1800 and 3601 seconds: with a gap of 30 minutes the third starts a new session."""
    text = "visitor,item,time\nx,c,3601\ny,a,7\nx,a,0\nx,b,1800\n"
    more = "time: time\nrelation: clicked\nsession: {by: visitor, gap: 30m}"
    graph, _ = build_of(recipe(more), {"r.csv": text})
    assert edges_of(graph, "clicked") == [("x#2", "c"), ("y#1", "a"), ("x#1", "a"), ("x#1", "b")]
    assert graph.vocabulary["user"].ids(range(9)) == ["x#2", "y#1", "x#1"]


def test_features_of_edges_follow_filters(build_of):
    text = "user,item,rating,review\nu,a,1,bad\nv,b,5,good\nu,b,4,\n"
    more = (
        "weight: rating\nmin_weight: 4\nrelation: r\nfeatures: {words: {column: review, kind: text}, rating: numeric}"
    )
    graph, _ = build_of(recipe(more), {"r.csv": text})
    assert graph.edge_feature(("user", "r", "item"), "words").values.to_pylist() == ["good", None]
    assert graph.edge_feature(("user", "r", "item"), "rating").values.tolist() == [5, 4]


def test_features_of_edges_follow_their_relation(build_of):
    text = "user,item,event,note\nu,a,view,1st\nv,b,buy,2nd\nu,b,view,3rd\n"
    more = "relations: {column: event, values: {view: viewed, buy: bought}}\nfeatures: {note: text}"
    graph, _ = build_of(recipe(more), {"r.csv": text})
    assert graph.edge_feature(("user", "viewed", "item"), "note").values.to_pylist() == ["1st", "3rd"]
    assert graph.edge_feature(("user", "bought", "item"), "note").values.to_pylist() == ["2nd"]
