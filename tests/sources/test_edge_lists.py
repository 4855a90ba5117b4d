"""Edge lists: a row is an edge, a node may have many; and node tables that are edge lists are told so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kgrec import Graph
from kgrec.errors import BadData, KgrecError
from kgrec.graph.parts import NO_TIME
from kgrec.sources.checking import check
from kgrec.sources.recipe import Recipe
from kgrec.sources.recipe.portable_recipe import portable_recipe

RATINGS = "user,film\nann,m1\nann,m2\nbob,m1\n"
RECIPE = "name: films\ninteractions: {file: r.csv, between: [user, film], item: film, relation: rated}\n"
GENRES = "film,genre\nm1,Comedy\nm1,Drama\nm2,Drama\nm3,Horror\n"
HAS_GENRE = "edges:\n  has_genre: {file: has_genre.csv, between: [film, genre], source: film, target: genre}\n"


def edges_of(graph: Graph, relation: str) -> list[tuple]:
    """(source, target, weight, time or None) of each edge, as the file has them."""
    view = graph.only(relation)
    (edge,) = view.edge_types
    names = [graph.vocabulary[kind].id_array.to_pylist() for kind in (edge[0], edge[2])]
    times = [None if time == NO_TIME else time for time in view.time.tolist()]
    edges = zip(*view.edge_index.tolist(), view.weight.tolist(), times)
    return [(names[0][source], names[1][target], weight, time) for source, target, weight, time in edges]


def lines_of_check(folder: Path) -> list[str]:
    return [str(problem) for problem in check(folder / "recipe.yaml")]


def test_each_row_is_an_edge_and_nodes_are_added(build_of):
    graph, report = build_of(RECIPE + HAS_GENRE, {"r.csv": RATINGS, "has_genre.csv": GENRES})
    expected = [("m1", "Comedy"), ("m1", "Drama"), ("m2", "Drama"), ("m3", "Horror")]
    assert edges_of(graph, "has_genre") == [(*pair, 1.0, None) for pair in expected]
    assert graph.vocabulary["film"].id_array.to_pylist() == ["m1", "m2", "m3"]
    assert graph.target == ("user", "rated", "film")
    assert graph.facts().num_edges == 4
    assert report.dropped == {}
    assert report.edges == {"user-rated-film": 3, "film-has_genre-genre": 4}


def _written(path: Path, form: str, table: pd.DataFrame) -> str:
    """A table in a form; the words of the recipe that say so."""
    rows = table.to_dict("records")
    match form:
        case "csv":
            table.to_csv(path, index=False)
            return ""
        case "bars":
            path.write_text("# genres\n" + "".join("|".join(map(str, row.values())) + "\n" for row in rows))
            return ", separator: '|', skip_rows: 1, columns: [film, genre, score, t]"
        case "no header":
            path.write_text("".join(",".join(map(str, row.values())) + "\n" for row in rows))
            return ", header: false, columns: [film, genre, score, t]"
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            return ", format: json_lines"
        case "parquet":
            pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path)
            return ", format: parquet"
    raise AssertionError(form)


@pytest.mark.parametrize("form", ["csv", "bars", "no header", "jsonl", "parquet"])
def test_every_form_of_table(build_of, tmp_path, form):
    table = pd.DataFrame(
        {
            "film": ["m1", "m1", "m2", "m1", "m1"],
            "genre": ["Comedy", "Drama", "Drama", "Comedy", "Comedy"],
            "score": [0.5, 1.0, 2.0, 0.5, 0.75],
            "t": [100, 200, 300, 100, 100],
        }
    )
    words = _written(tmp_path / "g.data", form, table)
    part = "{file: g.data, between: [film, genre], source: film, target: genre, weight: score, time: t" + words + "}"
    graph, report = build_of(f"{RECIPE}edges:\n  has_genre: {part}\n", {"r.csv": RATINGS})
    assert edges_of(graph, "has_genre") == [
        ("m1", "Comedy", 0.5, 100),
        ("m1", "Drama", 1.0, 200),
        ("m2", "Drama", 2.0, 300),
        ("m1", "Comedy", 0.75, 100),
    ]
    assert report.lines_of_left_out() == ["left out: 1 rows of g.data that repeat an earlier row"]
    again, _ = build_of(f"{RECIPE}edges:\n  has_genre: {part}\n", {"r.csv": RATINGS})
    assert again.content_hash() == graph.content_hash()


REPEATED = "film,genre,w,t\nm1,A,1,30\nm1,A,2,10\nm1,A,2,10\nm2,A,4,5\nm1,A,1,30\n"


@pytest.mark.parametrize(
    ("duplicates", "expected", "left_out"),
    [
        ("", [("m1", 1, 30), ("m1", 2, 10), ("m2", 4, 5)], 2),
        ("keep", [("m1", 1, 30), ("m1", 2, 10), ("m1", 2, 10), ("m2", 4, 5), ("m1", 1, 30)], 0),
        ("first", [("m1", 2, 10), ("m2", 4, 5)], 3),
        ("last", [("m2", 4, 5), ("m1", 1, 30)], 3),
        ("sum", [("m2", 4, 5), ("m1", 6, 30)], 3),
    ],
)
def test_rows_of_one_pair(build_of, duplicates, expected, left_out):
    more = ", weight: w, time: t" + (f", duplicates: {duplicates}" if duplicates else "")
    graph, report = build_of(
        RECIPE + HAS_GENRE.replace("target: genre}", f"target: genre{more}}}"),
        {"r.csv": RATINGS, "has_genre.csv": REPEATED},
    )
    assert edges_of(graph, "has_genre") == [(film, "A", weight, time) for film, weight, time in expected]
    assert sum(report.dropped.values()) == left_out


def test_rows_of_one_pair_that_are_refused_name_its_ends(build_of):
    recipe = RECIPE + HAS_GENRE.replace("target: genre}", "target: genre, duplicates: error}")
    with pytest.raises(BadData) as raised:
        build_of(recipe, {"r.csv": RATINGS, "has_genre.csv": REPEATED})
    assert raised.value.problems == [
        "has_genre.csv: film 'm1' and genre 'A' have more than one row; fix the rows, or set `duplicates: last`"
    ]


def test_rows_that_differ_in_a_feature_are_two(build_of):
    part = "{file: c.csv, between: [film, person], source: film, target: who, features: {role: text, n: numeric}}"
    text = "film,who,role,n\nm1,kim,Alice,1\nm1,kim,Bob,1\nm1,kim,Alice,1\nm1,kim,,\nm1,kim,,\n"
    graph, report = build_of(f"{RECIPE}edges:\n  has_actor: {part}\n", {"r.csv": RATINGS, "c.csv": text})
    (features,) = graph.edge_features.values()
    assert features["role"].to_arrow().to_pylist() == ["Alice", "Bob", None]
    assert report.dropped == {"rows of c.csv that repeat an earlier row": 2}


def test_several_tables_of_one_relation_are_one_set(build_of):
    parts = [
        "{file: a.csv, between: [film, genre], source: film, target: genre}",
        "{file: [b.tsv, c.tsv], between: [film, genre], source: f, target: g}",
        "{file: d.csv, between: [user, genre], source: u, target: g}",
    ]
    files = {"a.csv": GENRES, "b.tsv": "f\tg\nm2\tDrama\nm2\tNoir\n", "c.tsv": "f\tg\nm2\tNoir\n", "r.csv": RATINGS}
    files["d.csv"] = "u,g\nann,Drama\n"
    recipe = RECIPE + "edges:\n  of:\n" + "".join(f"  - {part}\n" for part in parts)
    _, report = build_of(recipe, files)
    assert report.edges == {"user-rated-film": 3, "film-of-genre": 5, "user-of-genre": 1}
    assert report.dropped == {"rows of b.tsv that repeat an earlier row": 2}
    files["b.tsv"] = "f\tg\tw\nm2\tNoir\t2\n"
    with pytest.raises(KgrecError, match="relation 'of' has a weight in one file but not in another"):
        build_of(recipe.replace("[b.tsv, c.tsv]", "b.tsv").replace("target: g}", "target: g, weight: w}", 1), files)


def test_an_attribute_and_an_edge_list_of_one_relation_are_one_set(build_of):
    nodes = "nodes:\n  film: {file: i.csv, id: film, edges: {has_genre: {column: g, split: '|', to: genre}}}\n"
    files = {"r.csv": RATINGS, "has_genre.csv": GENRES, "i.csv": "film,g\nm1,Comedy|Noir|Noir\nm2,\n"}
    graph, report = build_of(RECIPE + nodes + HAS_GENRE, files)
    pairs = [edge[:2] for edge in edges_of(graph, "has_genre")]
    assert pairs == [("m1", "Comedy"), ("m1", "Drama"), ("m2", "Drama"), ("m3", "Horror"), ("m1", "Noir")]
    assert report.dropped == {"repeated values of the same film in column 'g' of i.csv": 2}
    assert report.added == {"film": 1}


def test_ids_that_no_table_lists(build_of, tmp_path):
    nodes = "nodes:\n  film: {file: i.csv, id: film%s}\n"
    files = {"r.csv": RATINGS, "has_genre.csv": GENRES, "i.csv": "film\nm1\nm2\n"}
    _, report = build_of(RECIPE + nodes % "" + HAS_GENRE, files)
    assert report.added == {"film": 1}
    said = [line.replace(f"{tmp_path}/", "") for line in lines_of_check(tmp_path)]
    assert (
        "note: recipe.yaml: the film id 'm3' is in no film table, and nodes are added for such ids; set "
        "`complete: true` to make this an error instead" in said
    )
    with pytest.raises(BadData) as raised:
        build_of(RECIPE + nodes % ", complete: true" + HAS_GENRE, files)
    said = [
        "has_genre.csv line 5: film 'm3' has no row in i.csv; add it there, fix this row, or remove `complete: true`"
    ]
    assert raised.value.problems == said
    assert lines_of_check(tmp_path) == [f"error: {line}" for line in said]
    graph, report = build_of(RECIPE + nodes % ", complete: true" + HAS_GENRE + "on_bad_rows: report\n", files)
    assert graph.facts().num_edges == 3
    assert report.problems == said
    graph, report = build_of(RECIPE + nodes % ", only_interacted: true" + HAS_GENRE, files)
    assert graph.vocabulary["film"].id_array.to_pylist() == ["m1", "m2"]
    assert report.dropped == {"rows of has_genre.csv about film ids that are not in the graph": 1}


def test_attributes_that_no_table_lists(build_of, tmp_path):
    nodes = "nodes:\n  genre: {file: g.csv, id: genre, complete: true}\n"
    nodes += "  film: {file: i.csv, id: film, edges: {has_genre: {column: g, split: '|', to: genre}}}\n"
    files = {"r.csv": RATINGS, "g.csv": "genre\nComedy\nDrama\n", "i.csv": "film,g\nm1,Noir|Drama\nm2,Noir|War\n"}
    said = [
        f"i.csv: g {name!r} has no row in g.csv; add it there, fix this row, or remove `complete: true`"
        for name in ("Noir", "War")
    ]
    with pytest.raises(BadData) as raised:
        build_of(RECIPE + nodes, files)
    assert raised.value.problems == said
    assert [line for line in lines_of_check(tmp_path) if line.startswith("error")] == [f"error: {one}" for one in said]
    graph, report = build_of(RECIPE + nodes + "on_bad_rows: report\n", files)
    assert edges_of(graph, "has_genre") == [("m1", "Drama", 1.0, None)]
    assert report.problems == said
    assert [line for line in lines_of_check(tmp_path) if line.startswith("error")] == []


def test_a_table_that_only_describes_knows_the_nodes_of_edge_lists(build_of):
    nodes = "nodes:\n  genre: {file: g.csv, id: genre, label: title, describes_only: true}\n"
    files = {"r.csv": RATINGS, "has_genre.csv": GENRES, "g.csv": "genre,title\nDrama,A drama\nNoir,None has it\n"}
    graph, report = build_of(RECIPE + nodes + HAS_GENRE, files)
    assert graph.vocabulary["genre"].id_array.to_pylist() == ["Comedy", "Drama", "Horror"]
    assert graph.vocabulary["genre"].labels(range(3)) == ["Comedy", "A drama", "Horror"]
    assert report.dropped == {"rows of g.csv about genre ids that are not in the graph": 1}


def test_the_target_and_splits_are_those_of_interactions(build_of):
    wished = "edges:\n  wished: {file: w.csv, between: [user, film], source: user, target: film}\n"
    split = "splits:\n  known: {test: t.csv}\n"
    files = {"r.csv": RATINGS, "w.csv": "user,film\nbob,m2\nann,m9\n", "t.csv": "user,film\nbob,m1\n"}
    graph, report = build_of(wished + RECIPE + split, files)
    assert graph.target == ("user", "rated", "film")
    assert graph.splits["known"].tolist() == [0, 0, 2]
    assert report.notes == [
        "relation 'wished' of `edges` connects user and film nodes, like the target 'rated', but models do not "
        "recommend it; to recommend it, move it to `interactions`"
    ]
    with pytest.raises(KgrecError, match="`target`: relation 'wished' is in `edges`, which cannot be recommended"):
        build_of(wished + RECIPE + "target: wished\n", files)
    with pytest.raises(KgrecError, match="`edges`: relation 'rated' is in `interactions` too"):
        build_of(wished.replace("wished:", "rated:") + RECIPE, files)


def test_a_click_may_be_an_edge_of_a_list(build_of):
    recipe = RECIPE.replace("relation: rated", "relation: seen, click: {behaviour: bought}")
    recipe += "edges:\n  bought: {file: b.csv, between: [user, film], source: u, target: f}\n"
    graph, _ = build_of(recipe, {"r.csv": RATINGS, "b.csv": "u,f\nann,m2\n"})
    assert graph.edge_features[graph.target]["click"].to_arrow().to_pylist() == [0, 1, 0]


def test_words_that_do_not_fit(build_of):
    def said(part: str) -> str:
        with pytest.raises(KgrecError) as raised:
            build_of(f"{RECIPE}edges:\n  has_genre: {part}\n", {"r.csv": RATINGS, "has_genre.csv": GENRES})
        return str(raised.value)

    assert "no key 'sourse'; did you mean 'source'?" in said("{file: g.csv, between: [film, genre], sourse: film}")
    assert "edges.has_genre[0].between: is missing" in said("{file: g.csv, source: film}")
    assert "`source` and `target` are both column 'f'" in said("{file: g.csv, between: [a, b], source: f, target: f}")
    assert "`file` is an empty list" in said("{file: [], between: [film, genre]}")
    assert "relation 'has_genre' has no table" in said("[]")
    assert "no column 'source' in has_genre.csv" in said("{file: has_genre.csv, between: [film, genre]}")


def test_the_recipe_of_a_graph_keeps_edge_lists(build_of, tmp_path):
    build_of(RECIPE + HAS_GENRE, {"r.csv": RATINGS, "has_genre.csv": GENRES})
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    recipe = recipe.model_validate(recipe.model_dump() | {"edges": {"test": {**_part(), "file": "/home/ann/g.csv"}}})
    kept = portable_recipe(recipe)
    assert kept["edges"]["test"][0]["file"] == ["g.csv"]
    assert kept["edges"]["test"][0]["source"] == "film"
    again = Recipe.model_validate(kept)
    assert again.edges["test"][0].between == ("film", "genre")
    assert again.node_types == ["user", "film", "genre"]


def _part() -> dict:
    return {"between": ["film", "genre"], "source": "film", "target": "genre"}


# ---------------------------------------------------------------------- a node table that is an edge list

TABLE = "nodes:\n  film: {file: has_genre.csv, id: film%s}\n"
MANY = "film,genre,score,added\n" + "".join(
    f"m{film},g{genre},{film / 4},{1_500_000_000 + film}\n" for film in range(1, 5) for genre in range(3)
)


@pytest.mark.parametrize("setting", ["", "on_bad_rows: error\n", "on_bad_rows: report\n"])
def test_a_node_table_of_many_repeated_ids_is_told_how_to_be_written(build_of, tmp_path, setting):
    files = {"r.csv": RATINGS, "has_genre.csv": MANY}
    with pytest.raises(BadData) as raised:
        build_of(RECIPE + TABLE % "" + setting, files)
    (said,) = raised.value.problems
    start, _, snippet = said.partition("\n")
    assert start == (
        "has_genre.csv: 8 of 12 rows have the same id in column 'film' as an earlier row: this looks like an edge "
        "list; remove it from `nodes` and write it as:"
    )
    assert snippet == (
        "edges:\n  has_genre: {file: has_genre.csv, between: [film, genre], source: film, target: genre, "
        "weight: score, time: {column: added, unit: s}}"
    )
    assert f"error: {said}" in lines_of_check(tmp_path)
    graph, report = build_of(f"{RECIPE}{snippet}\n{setting}", files)
    assert report.edges["film-has_genre-genre"] == 12
    assert edges_of(graph, "has_genre")[3] == ("m2", "g0", 0.5, 1_500_000_002)


@pytest.mark.parametrize(
    ("name", "text", "words", "snippet"),
    [
        (
            "casts.tsv",
            "movie id\tActor ID\n" + "".join(f"m{n % 3}\ta{n}\n" for n in range(12)),
            ", edges: {stars: {column: Actor ID, to: person}}",
            "stars: {file: casts.tsv, between: [film, person], source: movie id, target: Actor ID}",
        ),
        (
            "casts.dat",
            "".join(f"m{n % 3}::a{n}\n" for n in range(12)),
            ", separator: '::', columns: [movie id, actor_id]",
            "casts: {file: casts.dat, separator: '::', columns: [movie id, actor_id], between: [film, actor], source: "
            "movie id, target: actor_id}",
        ),
        (
            "rated.jsonl",
            "".join(json.dumps({"movie id": n % 3, "day": n, "tag": f"t{n}"}) + "\n" for n in range(12)),
            "",
            "rated_tag: {file: rated.jsonl, between: [film, tag], source: movie id, target: tag}",
        ),
    ],
)
def test_the_advice_has_the_words_of_the_file(build_of, name, text, words, snippet):
    recipe = f"nodes:\n  film: {{file: {name}, id: movie id{words}}}\n" + RECIPE
    with pytest.raises(BadData) as raised:
        build_of(recipe, {"r.csv": RATINGS, name: text})
    assert raised.value.problems[0].partition("\nedges:\n  ")[2] == snippet
    _, report = build_of(f"{RECIPE}edges:\n  {snippet}\n", {"r.csv": RATINGS, name: text})
    assert [count for edge, count in report.edges.items() if edge.startswith("film-")] == [12]


def test_a_few_repeated_ids_and_repeated_rows_stay_bad_rows(build_of):
    rows = [f"m{n},g{n}\n" for n in range(40)]
    text = "film,genre\n" + "".join([*rows, "m1,x\n", "m2,x\n"])
    _, report = build_of(RECIPE + TABLE % "" + "on_bad_rows: report\n", {"r.csv": RATINGS, "has_genre.csv": text})
    assert report.problems == [
        "has_genre.csv line 42: film 'm1' is already in line 3; fix the row",
        "has_genre.csv line 43: film 'm2' is already in line 4; fix the row",
    ]
    twice = "film,genre\n" + "".join(rows * 2)
    _, report = build_of(RECIPE + TABLE % "" + "on_bad_rows: report\n", {"r.csv": RATINGS, "has_genre.csv": twice})
    assert report.dropped == {"bad rows": 40}


def test_an_edge_list_in_several_files_is_told_so_too(build_of):
    recipe = RECIPE + "nodes:\n  film: {file: 'part-*.csv', id: film}\n"
    files = {f"part-{part}.csv": "film,genre\n" + "".join(f"m{n},g{part}\n" for n in range(4)) for part in range(3)}
    with pytest.raises(BadData) as raised:
        build_of(recipe, {"r.csv": RATINGS, **files})
    assert raised.value.problems == [
        "part-*.csv: 8 of 12 rows have the same id in column 'film' as an earlier row: this looks like an edge list; "
        "remove it from `nodes` and write it as:\nedges:\n  has_genre: {file: part-*.csv, between: [film, genre], "
        "source: film, target: genre}"
    ]


def test_interactions_as_a_node_table(build_of):
    text = "user,film\n" + "".join(f"u{n % 3},m{n}\n" for n in range(12))
    with pytest.raises(BadData, match=r"column 'user' as an earlier row: the file is also in `interactions`, which is"):
        build_of(RECIPE + "nodes:\n  user: {file: r.csv, id: user}\n", {"r.csv": text})


def test_a_large_edge_list_keeps_each_edge_once(build_of):
    random = np.random.default_rng(0)
    table = pd.DataFrame({"film": random.integers(0, 300, 5000), "genre": random.integers(0, 40, 5000)})
    distinct = table.drop_duplicates()
    files = {"r.csv": "user,film\nann,1\n", "has_genre.csv": table.to_csv(index=False)}
    graph, report = build_of(RECIPE + HAS_GENRE, files)
    assert [edge[:2] for edge in edges_of(graph, "has_genre")] == [
        (str(film), str(genre)) for film, genre in distinct.itertuples(index=False)
    ]
    assert report.dropped == {"rows of has_genre.csv that repeat an earlier row": 5000 - len(distinct)}
