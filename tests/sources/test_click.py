"""Clicks: which target edges are one, said in a recipe by a column, a weight or another behaviour."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from kgrec.errors import BadData, KgrecError
from kgrec.graph import Graph
from kgrec.sources.checking import check
from kgrec.splits.positives import positives
from kgrec.splits.split import split

SHOWN = "name: t\ninteractions:\n  file: r.csv\n  relation: shown\n"
EVENTS = """
name: t
target: shown
interactions:
  file: r.csv
  relations: {column: event, values: {show: shown, buy: bought}}
  click: {behaviour: bought}
"""
MEND = "fix the row, or set on_bad_rows: report"


def test_a_column_says_it(build_of):
    text = "user,item,clicked\nu,a,1\nu,b,0\nv,a,true\nv,b,FALSE\n"
    graph, _ = build_of(SHOWN + "  click: {column: clicked}\n", {"r.csv": text})
    assert graph.clicks().tolist() == [1, 0, 1, 0]
    assert graph.edge_feature(("user", "shown", "item"), "click").values.dtype == torch.float32


def test_a_weight_says_it(build_of):
    text = "user,item,rating\nu,a,3.5\nu,b,4\nv,a,5\n"
    graph, _ = build_of(SHOWN + "  weight: rating\n  click: {weight: 4}\n", {"r.csv": text})
    assert graph.clicks().tolist() == [0, 1, 1]


def test_another_behaviour_of_the_pair_says_it(build_of):
    """u bought a, before it was shown again; v bought a, but was shown b; w was shown what u bought."""
    text = "user,item,event\nu,a,show\nu,a,buy\nv,b,show\nu,a,show\nv,a,buy\nw,a,show\n"
    graph, _ = build_of(EVENTS, {"r.csv": text})
    assert graph.clicks().tolist() == [1, 0, 1, 0]
    assert list(graph.edge_features) == [("user", "shown", "item")]


def test_another_behaviour_may_stand_in_another_file(build_of):
    text = """
name: t
interactions:
  - {file: r.csv, relation: shown, click: {behaviour: bought}, features: {place: numeric}}
  - {file: b.csv, relation: bought}
"""
    files = {"r.csv": "user,item,place\nu,a,1\nv,a,2\n", "b.csv": "user,item\nv,a\nu,b\n"}
    graph, _ = build_of(text, files)
    assert graph.clicks().tolist() == [0, 1]
    assert graph.edge_feature(graph.target, "place").values.tolist() == [1, 2]


def test_only_target_edges_are_labelled(build_of):
    text = "user,item,event,clicked\nu,a,show,1\nu,a,buy,0\nv,b,show,0\n"
    graph, _ = build_of(EVENTS.replace("behaviour: bought", "column: clicked"), {"r.csv": text})
    assert graph.clicks().tolist() == [1, 0]
    assert list(graph.edge_features) == [("user", "shown", "item")]


@pytest.mark.parametrize(
    ("duplicates", "by_column", "by_weight"),
    [
        ("keep", [1, 0, 0, 0], [0, 0, 0, 1]),
        ("first", [0, 0], [0, 1]),  # of u and a: the row of time 10, which comes last
        ("last", [1, 0], [0, 0]),  # the row of time 30, which comes first
        ("sum", [1, 0], [1, 0]),  # a click where one row is; the summed weight is 1 + 2 + 3
    ],
)
def test_duplicates(build_of, duplicates, by_column, by_weight):
    text = "user,item,n,time,clicked\nu,a,1,30,1\nv,a,2,5,0\nu,a,2,20,0\nu,a,3,10,0\n"
    more = f"  weight: n\n  time: time\n  duplicates: {duplicates}\n"
    graph, _ = build_of(SHOWN + more + "  click: {column: clicked}\n", {"r.csv": text})
    assert graph.clicks().tolist() == by_column
    graph, _ = build_of(SHOWN + more + "  click: {weight: 3}\n", {"r.csv": text})
    assert graph.clicks().tolist() == by_weight


def test_labels_follow_files_splits_and_views(build_of, tmp_path):
    text = "user,item,time,clicked\nu,a,1,1\nu,b,2,0\nu,c,3,1\nv,a,1,0\nv,b,2,1\n"
    graph, _ = build_of(SHOWN + "  time: time\n  click: {column: clicked}\n", {"r.csv": text})
    graph.save(tmp_path / "g")
    parts = split(Graph.load(tmp_path / "g"), "last_n:1")
    assert parts.train.clicks().tolist() == [1, 0, 0]
    assert parts.test.clicks().tolist() == [1, 1]


def test_bad_labels_are_reported_with_line_and_value(build_of):
    text = "user,item,clicked\nu,a,1\nu,b,2\nu,c,\nv,a,yes\n"
    with pytest.raises(BadData) as raised:
        build_of(SHOWN + "  click: {column: clicked}\n", {"r.csv": text})
    assert raised.value.problems == [
        f"r.csv line 3: clicked '2' is not 0 or 1; {MEND}",
        f"r.csv line 4: clicked is empty; {MEND}",
        f"r.csv line 5: clicked 'yes' is not 0 or 1; {MEND}",
    ]
    graph, report = build_of(
        "on_bad_rows: report\n" + SHOWN + "  click: {column: clicked}\n", {"r.csv": text + "v,b,0\n"}
    )
    assert graph.clicks().tolist() == [1, 0]
    assert report.dropped == {"bad rows": 3}


def test_labels_in_parquet_that_are_missing_or_fractions(build_of, tmp_path):
    rows = [("u", "a", 1.0), ("u", "b", None), ("v", "a", 0.5), ("v", "b", 0.0)]
    pd.DataFrame(rows, columns=["user", "item", "clicked"]).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(BadData) as raised:
        build_of(SHOWN.replace("r.csv", "r.parquet") + "  click: {column: clicked}\n", {})
    assert raised.value.problems == [
        f"r.parquet row 2: clicked is empty; {MEND}",
        f"r.parquet row 3: clicked '0.5' is not 0 or 1; {MEND}",
    ]


def test_a_column_that_is_not_there(build_of):
    with pytest.raises(BadData, match=r"no column 'clicked' in r.csv; did you mean 'click'\?"):
        build_of(SHOWN + "  click: {column: clicked}\n", {"r.csv": "user,item,click\nu,a,1\n"})


def test_a_behaviour_that_is_not_there(build_of):
    with pytest.raises(KgrecError, match=r"no behaviour 'bougt' beside 'shown', for `click`; did you mean 'bought'\?"):
        build_of(EVENTS.replace("behaviour: bought", "behaviour: bougt"), {})
    with pytest.raises(KgrecError, match="no behaviour 'shown' beside 'shown', for `click`; there are: bought"):
        build_of(EVENTS.replace("behaviour: bought", "behaviour: shown"), {})


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (SHOWN + "  click: {}\n", "exactly one of `column`, `weight` and `behaviour` is needed; found none"),
        (SHOWN + "  click: {column: c, weight: 4}\n", "found column and weight"),
        (SHOWN + "  click: {colum: c}\n", "no key 'colum'; did you mean 'column'"),
        (SHOWN + "  click: {weight: 4}\n", "`click: {weight: ...}` needs `weight`: name the column with weights"),
        (
            SHOWN + "  click: {column: c}\n  features: {click: numeric}\n",
            "makes a feature named 'click', and `features` has one too",
        ),
        (
            "name: t\ninteractions:\n  - {file: r.csv, relation: shown}\n"
            "  - {file: b.csv, relation: bought, click: {column: c}}\n",
            "`click` is only for the target relation, 'shown'; remove it from the other interactions",
        ),
        (
            "name: t\ninteractions:\n  - {file: r.csv, relation: shown}\n"
            "  - {file: b.csv, relation: shown, click: {column: c}}\n",
            "set the same kind of `click` for all interactions of 'shown', or for none of them",
        ),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(build_of, recipe, message):
    with pytest.raises(BadData) as raised:
        build_of(recipe, {})
    assert message in str(raised.value)


def test_check_reads_labels_too(build_of, tmp_path):
    build_of(EVENTS, {"r.csv": "user,item,event\nu,a,show\nu,a,buy\n"})
    assert not [problem for problem in check(tmp_path / "recipe.yaml", None) if problem.severity == "error"]
    recipe = SHOWN + "  click: {column: clicked}\n"
    (tmp_path / "recipe.yaml").write_text(recipe)
    (tmp_path / "r.csv").write_text("user,item,clicked\nu,a,2\nu,b,1\n")
    found = [problem for problem in check(tmp_path / "recipe.yaml", None) if problem.severity == "error"]
    assert [(problem.line, problem.value, problem.kind) for problem in found] == [(2, "2", "bad number")]


# ---------------------------------------------------------------- graphs made in memory


def of_frames(click: list, kind: str = "numeric") -> Graph:
    frame = pd.DataFrame({"source": ["u", "u", "v"], "target": ["a", "b", "a"], "click": click})
    return Graph.from_frames(edges={("user", "shown", "item"): frame}, features={"shown": {"click": kind}})


def test_a_column_of_a_frame_says_it():
    assert of_frames([1, 0, 1]).clicks().tolist() == [1, 0, 1]
    assert of_frames([True, False, True]).clicks().tolist() == [1, 0, 1]
    assert of_frames([1, 0, 1]).where(torch.tensor([False, True, True])).clicks().tolist() == [0, 1]


@pytest.mark.parametrize(("click", "said"), [([1, 0, None], "nan"), ([1, 2, 0], "2")])
def test_a_frame_with_other_values_is_refused(click, said):
    with pytest.raises(
        KgrecError, match=f"1 'shown' edges have values other than 0 and 1 .*, such as {said}; use 1 for"
    ):
        of_frames(click).clicks()


def test_a_graph_without_labels_says_how_to_give_them():
    frame = pd.DataFrame({"source": ["u"], "target": ["a"]})
    with pytest.raises(
        KgrecError,
        match="the 'shown' edges have no labels of clicks; name their column with `click:` under `interactions`",
    ):
        Graph.from_frames(edges={("user", "shown", "item"): frame}).clicks()
    with pytest.raises(KgrecError, match=r"features=\{'shown': \{'click': 'numeric'\}\}"):
        of_frames(["yes", "no", "no"], "categorical").clicks()


# ---------------------------------------------------------------------- what rankings learn from


def test_all_edges_is_kept_with_the_graph(build_of, tmp_path):
    text = {"r.csv": "user,item,clicked\nu,a,1\nu,b,0\nv,a,true\nv,b,FALSE\n"}
    words = SHOWN + "  click: {column: clicked}\n"
    without, _ = build_of(words, text)
    assert not without.schema.takes_all_edges and positives(without, "ranking")[1] == 2
    graph, _ = build_of(words + "  all_edges: true\n", text)
    graph.save(tmp_path / "graph")
    loaded = Graph.load(tmp_path / "graph")
    assert loaded.schema.takes_all_edges and loaded.schema.standard == {"positives": "all edges"}
    assert positives(loaded, "ranking") == (loaded, 0)
    assert loaded.content_hash() == without.content_hash()


def test_all_edges_where_it_says_nothing_is_refused(build_of):
    text = {"r.csv": "user,item\nu,a\n"}
    with pytest.raises(KgrecError, match="`all_edges` is of use only with `click`; add `click`"):
        build_of(SHOWN + "  all_edges: true\n", text)
    others = EVENTS.replace("  file: r.csv", "  - file: r.csv").replace("\n  relations", "\n    relations")
    others = others.replace("\n  click", "\n    click") + "    all_edges: true\n"
    more = "  - {file: s.csv, relation: shown, click: {behaviour: bought}}\n"
    with pytest.raises(KgrecError, match="set `all_edges` for all interactions of 'shown', or for none of them"):
        build_of(others + more, text)
