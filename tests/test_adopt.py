"""Folders that pandas, DuckDB or Spark wrote or changed are taken as graph folders, or refused as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

import kgrec
from kgrec.cli.entry import app
from kgrec.errors import BadData, KgrecError, UnknownName
from kgrec.graph import NO_TIME, Candidates, Graph
from kgrec.sources.checking import check

RATED, GENRE = "edges/user__rated__item.parquet", "edges/item__has_genre__genre.parquet"
ITEMS, USERS = "nodes/item.parquet", "nodes/user.parquet"


@pytest.fixture
def graph() -> Graph:
    """Users ann, bob; items 10, 20, 30 with every kind of feature; four ratings, two genres, a split, a list."""
    items = pd.DataFrame(
        {
            "id": ["10", "20", "30"],
            "label": ["Alien", None, "Dune"],
            "price": [1.5, None, 3.0],
            "brand": ["b", None, "a"],
            "tags": [["y", "x"], [], ["x"]],
            "blurb": ["one", "two", None],
            "image": [np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, 6.0])],
        }
    )
    rows = [
        ("ann", "10", 5, 3.0, "good"),
        ("bob", "20", 6, 4.0, None),
        ("ann", "30", None, 5.0, "bad"),
        ("bob", "10", 8, 1.0, ""),
    ]
    rated = pd.DataFrame(rows, columns=["source", "target", "time", "weight", "review"])
    genre = pd.DataFrame({"source": ["10", "30"], "target": ["horror", "epic"]})
    made = Graph.from_frames(
        edges={("user", "rated", "item"): rated, ("item", "has_genre", "genre"): genre},
        nodes={"user": pd.DataFrame({"id": ["ann", "bob"]}), "item": items},
        features={"item": {"blurb": "text"}, "rated": {"review": "text"}},
    )
    object.__setattr__(made, "splits", {"last": torch.tensor([0, 0, 1, 2], dtype=torch.int8)})
    lists = Candidates(torch.tensor([0, 1]), torch.tensor([0, 2, 3]), torch.tensor([2, 1, 0]))
    object.__setattr__(made, "candidates", {"few": lists})
    object.__setattr__(made, "recipe", {"name": "shop"})
    return made


@pytest.fixture
def folder(graph: Graph, tmp_path: Path) -> Path:
    graph.save(tmp_path / "shop.graph")
    return tmp_path / "shop.graph"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(graph: Graph, other: Graph) -> None:
    """All that a graph holds is what another holds."""
    assert other.schema == graph.schema
    assert other.content_hash() == graph.content_hash()
    for name in graph.node_types:
        assert other.vocabulary[name].labels(range(9)) == graph.vocabulary[name].labels(range(9))
        for column, feature in graph.features[name].items():
            assert other.features[name][column].to_arrow().equals(feature.to_arrow()), column
    for edge, columns in graph.edge_features.items():
        assert other.edge_feature(edge, "review").to_arrow().equals(columns["review"].to_arrow())
    assert {name: part.tolist() for name, part in other.splits.items()} == {"last": [0, 0, 1, 2]}
    assert [tensor.tolist() for tensor in vars(other.candidates["few"]).values()] == [[0, 1], [0, 2, 3], [2, 1, 0]]
    assert other.recipe == {"name": "shop"}


def rewritten(folder: Path, name: str, change: object) -> None:
    """A file of pandas' with its rows changed."""
    frame = pd.read_parquet(folder / name)
    change(frame).to_parquet(folder / name)  # type: ignore[operator]


def refused(folder: Path, message: str, error: type[KgrecError] = KgrecError, **options: object) -> KgrecError:
    """What adopt says; the folder stays as it was, and nothing beside it."""
    before, beside = files(folder), names(folder.parent)
    with pytest.raises(error, match=message) as caught:
        kgrec.adopt(folder, **options)  # type: ignore[arg-type]
    assert files(folder) == before and names(folder.parent) == beside
    return caught.value


# ---------------------------------------------------------------------- the same content, by other engines


def by_pandas(table: pa.Table) -> pa.Table:
    return pa.Table.from_pandas(table.to_pandas(), preserve_index=True)


def by_duckdb(table: pa.Table) -> pa.Table:
    """No dictionaries, lists of doubles, wide integers."""
    columns = []
    for column in table.columns:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.cast(pa.string())
        elif pa.types.is_integer(kind):
            column = column.cast(pa.int64())
        elif pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
            column = column.cast(pa.list_(pa.float64()))
        elif pa.types.is_list(kind):
            texts = kind.value_type if not pa.types.is_dictionary(kind.value_type) else pa.string()
            column = pa.chunked_array([column.to_pylist()], pa.list_(texts))
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def by_others(table: pa.Table) -> pa.Table:
    """Wide texts and lists, decimals for integers, doubles for floats, moments of nanoseconds for times."""
    columns = []
    for name, column in zip(table.column_names, table.columns):
        kind = column.type
        if name == "time":
            column = column.cast(pa.timestamp("s")).cast(pa.timestamp("ns"))
        elif pa.types.is_integer(kind):
            column = column.cast(pa.decimal128(38, 0))
        elif pa.types.is_floating(kind):
            column = column.cast(pa.float64())
        elif pa.types.is_string(kind):
            column = column.cast(pa.large_string()) if name != "label" else column.dictionary_encode()
        elif pa.types.is_list(kind) and name == "image":
            column = pa.chunked_array([column.to_pylist()], pa.list_(pa.float32(), 2))
        elif pa.types.is_list(kind):
            column = pa.chunked_array([column.to_pylist()], pa.large_list(kind.value_type))
        columns.append(column)
    return pa.table(columns, names=table.column_names)


@pytest.mark.parametrize("engine", [by_pandas, by_duckdb, by_others], ids=lambda engine: engine.__name__)
def test_a_rewrite_of_the_same_content_is_the_same_graph(graph, folder, engine):
    written = files(folder)
    for path in folder.rglob("*.parquet"):
        pq.write_table(
            engine(pq.read_table(path)), path, compression="gzip", version="1.0" if engine is by_pandas else "2.6"
        )
    with pytest.raises(
        KgrecError, match=r"its hash is not the one in graph.json; if you changed it, run `kgrec adopt .*g"
    ):
        Graph.load(folder)
    report = kgrec.adopt(folder)
    assert all("__index_level_0__' dropped" in note for note in report.notes), report.notes
    assert len(report.notes) == (5 if engine is by_pandas else 0)
    assert report.nodes == {"user": 2, "item": 3, "genre": 2}
    assert report.edges == {"user-rated-item": 4, "item-has_genre-genre": 2}
    same(graph, Graph.load(folder))
    assert files(folder) == written  # to the byte: nothing of the other engine is left
    assert check(folder) == [problem for problem in check(folder) if problem.severity == "note"]


def test_folders_of_parts_and_what_spark_writes_beside(graph, folder):
    for name in (ITEMS, RATED):
        table = pq.read_table(folder / name)
        (folder / name).unlink()
        (folder / name).mkdir()
        for number in range(len(table)):
            # part 10 comes after part 9, whatever their names' letters say
            part = f"part-{8 + number}-c1d2.c000.snappy.parquet"
            pq.write_table(table.slice(number, 1), folder / name / part)
            (folder / name / f".{part}.crc").write_bytes(b"crc")
        (folder / name / "_SUCCESS").touch()
    (folder / "nodes/.user.parquet.crc").write_bytes(b"crc")
    report = kgrec.adopt(folder)
    assert report.notes == ["10 marker and checksum files of other programs were dropped"]
    same(graph, Graph.load(folder))
    assert (folder / ITEMS).is_file()


def test_adopting_twice_changes_nothing(graph, folder):
    before = files(folder)
    assert kgrec.adopt(folder).notes == [] and kgrec.adopt(folder).notes == []
    assert files(folder) == before
    same(graph, Graph.load(folder))


def test_a_folder_without_graph_json(graph, folder):
    (folder / "graph.json").unlink()
    with pytest.raises(
        KgrecError, match=r"it has no graph.json; if its Parquet files are those of a graph, run `kgrec adopt "
    ):
        Graph.load(folder)
    refused(
        folder,
        r"there are several relations; choose the one to recommend with --target: item-has_genre-genre, "
        r"user-rated-item",
    )
    report = kgrec.adopt(folder, target="rated", kinds={"item.blurb": "text", "rated.review": "text"})
    assert report.target == "user-rated-item"
    assert report.notes == [
        "nodes/item.parquet: column 'brand' is read as categorical; to change that, use --kind item.brand=KIND",
        "nodes/item.parquet: column 'image' is read as vector; to change that, use --kind item.image=KIND",
        "nodes/item.parquet: column 'price' is read as numeric; to change that, use --kind item.price=KIND",
        "nodes/item.parquet: column 'tags' is read as multi; to change that, use --kind item.tags=KIND",
        "the present order of rows is used, because no former order is stored to compare it with",
    ]
    loaded = Graph.load(folder)
    assert loaded.node_types == ["genre", "item", "user"] and loaded.target == graph.target
    assert loaded.only("rated").edge_index.tolist() == graph.only("rated").edge_index.tolist()
    assert loaded.features["item"]["tags"].to_arrow().to_pylist() == [["y", "x"], [], ["x"]]
    assert loaded.splits["last"].tolist() == [0, 0, 1, 2]


def test_files_of_a_users_own(tmp_path):
    own = tmp_path / "own"
    for name in ("nodes", "edges"):
        (own / name).mkdir(parents=True)
    users = pd.DataFrame({"id": [7, 2**53 + 1]})
    films = pd.DataFrame({"id": ["a", "b"], "year": [1979, None], "added": pd.to_datetime(["2020-01-31", None])})
    seen = pd.DataFrame({"source": [2**53 + 1, 7], "target": ["b", "a"], "time": pd.to_datetime([86400, 0], unit="s")})
    users.to_parquet(own / "nodes/user.parquet")
    films.to_parquet(own / "nodes/my.film.parquet")
    seen.to_parquet(own / "edges/user__has.seen__my.film.parquet")
    refused(
        own,
        r"nodes/my.film.parquet: column 'added' of type timestamp\[.*could be several kinds.*choose one with --kind",
    )
    message = r"user__has.seen__my.film.parquet row 1: source has 2 numbers that are not user rows.* use --edges-by ids"
    assert refused(own, message, kinds={"my.film.added": "text"}).row == 1
    report = kgrec.adopt(own, kinds={"my.film.added": "text", "my.film.year": "categorical"}, edges_by="ids")
    loaded = Graph.load(own)
    assert loaded.target == ("user", "has_seen", "my_film") and report.target == "user-has_seen-my_film"
    assert loaded.schema.edges[loaded.target].label == "has.seen"
    assert loaded.vocabulary["user"].ids([0, 1]) == ["7", "9007199254740993"]
    assert loaded.edge_index.tolist() == [[1, 0], [1, 0]] and loaded.time.tolist() == [86400, 0]
    assert loaded.features["my_film"]["added"].values.to_pylist() == ["2020-01-31T00:00:00", None]
    assert loaded.features["my_film"]["year"].schema.categories == ("1979",)


# ---------------------------------------------------------------------- changed content


@pytest.mark.parametrize("edges_by", ["ids", "numbers"])
def test_integers_that_may_be_rows_or_ids_are_asked_about(tmp_path, edges_by):
    own = tmp_path / "own"
    for name in ("nodes", "edges"):
        (own / name).mkdir(parents=True)
    pd.DataFrame({"id": ["u"]}).to_parquet(own / "nodes/user.parquet")
    pd.DataFrame({"id": [1, 0, 2]}).to_parquet(own / "nodes/film.parquet")
    pd.DataFrame({"source": [0, 0], "target": [2, 0]}).to_parquet(own / "edges/user__seen__film.parquet")
    message = (
        r"edges/user__seen__film.parquet: the numbers in target may be row numbers or ids of film nodes: 0 is the "
        r"number of the row with id '1', and also the id of row 1 \(counted from 0\); choose --edges-by ids or "
        r"--edges-by numbers"
    )
    refused(own, message)
    pd.DataFrame({"id": [0]}).to_parquet(own / "nodes/user.parquet")  # row 0 has the id 0: the same either way
    refused(own, message)
    kgrec.adopt(own, edges_by=edges_by)
    assert Graph.load(own).edge_index.tolist() == [[0, 0], [2, 1] if edges_by == "ids" else [2, 0]]


def test_rows_and_columns_that_were_added_follow(folder):
    item = {
        "id": "40",
        "label": "Solaris",
        "price": 9,
        "brand": "z",
        "tags": ["new", "x"],
        "image": [7.0, 8.0],
        "year": 1972,
    }
    rewritten(folder, ITEMS, lambda frame: pd.concat([frame, pd.DataFrame([item])]))
    new = pd.DataFrame({"source": [1], "target": [3], "time": [99], "weight": [2.0]})
    rewritten(folder, GENRE, lambda frame: frame.assign(since=[1.0, 2.0]))
    rewritten(
        folder, "edges/item__has_genre__genre.parquet", lambda frame: frame.sort_values("source", ascending=False)
    )
    rewritten(folder, RATED, lambda frame: pd.concat([frame, new]))
    message = r"splits/last.parquet has 4 rows, but 'rated' has 5 edges; it needs one row for each edge"
    refused(folder, message)
    (folder / "splits/last.parquet").unlink()
    report = kgrec.adopt(folder)
    assert (report.nodes["item"], report.edges["user-rated-item"]) == (4, 5)
    assert "4 item (were 3)" in str(report)
    assert report.notes == [
        "nodes/item.parquet: column '__index_level_0__' dropped: it is the row index of pandas",
        "nodes/item.parquet: column 'brand' has 1 new categories",
        "nodes/item.parquet: column 'tags' has 1 new categories",
        "nodes/item.parquet: column 'year' is read as numeric; to change that, use --kind item.year=KIND",
        "edges/user__rated__item.parquet: column '__index_level_0__' dropped: it is the row index of pandas",
        f"{GENRE}: column 'since' is read as numeric; to change that, use --kind has_genre.since=KIND",
    ]
    loaded = Graph.load(folder)
    features = loaded.features["item"]
    assert features["brand"].schema.categories == ("a", "b", "z")  # the former codes stay
    assert features["brand"].values.tolist() == [1, -1, 0, 2]
    assert features["tags"].schema.categories == ("x", "y", "new")
    assert features["image"].values.tolist()[3] == [7, 8] and features["blurb"].values.to_pylist()[3] is None
    assert features["year"].values.tolist()[3] == 1972 and features["year"].values[:3].isnan().all()
    assert loaded.time.tolist() == [5, 6, NO_TIME, 8, 99, NO_TIME, NO_TIME]
    assert loaded.only("has_genre").edge_index.tolist() == [[2, 0], [1, 0]]
    assert loaded.edge_feature(("item", "has_genre", "genre"), "since").values.tolist() == [2, 1]
    assert list(loaded.splits) == [] and list(loaded.candidates) == ["few"]


def test_what_was_taken_away_is_said(folder):
    (folder / GENRE).unlink()
    (folder / "nodes/genre.parquet").unlink()
    rewritten(folder, ITEMS, lambda frame: frame.drop(columns=["tags", "label"]))
    report = kgrec.adopt(folder)
    assert report.notes == [
        "nodes/item.parquet: feature 'tags' no longer exists",
        "node type genre no longer exists",
        "relation item-has_genre-genre no longer exists",
    ]
    assert Graph.load(folder).node_types == ["user", "item"]


def test_a_standard_split_that_is_gone_is_no_standard(folder):
    document = json.loads((folder / "graph.json").read_text())
    document["standard"] = {"split": "last", "candidates": "few"}
    (folder / "graph.json").write_text(json.dumps(document))
    assert kgrec.adopt(folder).notes == []
    (folder / "splits/last.parquet").unlink()
    assert kgrec.adopt(folder).notes == ["the standard split last no longer exists"]
    assert Graph.load(folder).schema.standard == {"candidates": "few"}


def test_nan_in_a_time_is_none(folder):
    table = pq.read_table(folder / RATED)
    times = pa.array([5.0, 6.0, float("nan"), 8.0])
    pq.write_table(table.set_column(table.column_names.index("time"), "time", times), folder / RATED)
    kgrec.adopt(folder)
    assert Graph.load(folder).only("rated").time.tolist() == [5, 6, NO_TIME, 8]


def test_an_inverse_that_is_gone_is_stated_no_more(folder):
    document = json.loads((folder / "graph.json").read_text())
    document["edges"][1]["inverse_of"] = "genre_of"
    (folder / "graph.json").write_text(json.dumps(document))
    kgrec.adopt(folder)
    assert Graph.load(folder).schema.edges["item", "has_genre", "genre"].inverse_of is None


def test_kinds_that_are_said(folder):
    kinds = {"item.price": "categorical", "item.tags": "ignore", "rated.review": "categorical"}
    report = kgrec.adopt(folder, kinds=kinds)
    assert report.notes == ["nodes/item.parquet: column 'tags' dropped, because of --kind"]
    loaded = Graph.load(folder)
    assert loaded.features["item"]["price"].schema.categories == ("1.5", "3")
    assert loaded.edge_feature(("user", "rated", "item"), "review").values.tolist() == [2, -1, 1, 0]
    with pytest.raises(UnknownName, match=r"no column 'item.prize' of --kind; did you mean 'item.price'"):
        kgrec.adopt(folder, kinds={"item.prize": "numeric"})
    with pytest.raises(UnknownName, match=r"no feature kind 'number'; did you mean 'numeric'"):
        kgrec.adopt(folder, kinds={"item.price": "number"})


# ---------------------------------------------------------------------- the order of rows


def test_nodes_in_another_order_are_refused_where_edges_name_their_rows(graph, folder):
    reverse = pa.array([2, 1, 0])
    pq.write_table(pq.read_table(folder / ITEMS).take(reverse), folder / ITEMS)
    message = r"edges/user__rated__item.parquet has row numbers of item nodes.*their order is different.*--new-order"
    refused(folder, message)
    # ids in place of numbers do not depend on it
    ids = pa.array(["10", "20", "30"])
    for name, column in ((RATED, "target"), (GENRE, "source")):
        table = pq.read_table(folder / name)
        place = table.column_names.index(column)
        pq.write_table(table.set_column(place, column, ids.take(table[column].combine_chunks())), folder / name)
    refused(folder, r"splits/few.candidates.parquet has row numbers of item nodes")
    lists = pa.table({"user": ["bob", "ann"], "items": [["10"], ["30", "20"]]})
    pq.write_table(lists, folder / "splits/few.candidates.parquet")
    refused(
        folder, r"splits/last.parquet has a row for each edge of 'rated', but these edges or their order have changed"
    )
    (folder / "splits/last.parquet").unlink()
    report = kgrec.adopt(folder)
    assert report.notes == [
        "edges/user__rated__item.parquet: target has ids; they were replaced by row numbers",
        "edges/item__has_genre__genre.parquet: source has ids; they were replaced by row numbers",
        "splits/few.candidates.parquet: user has ids; they were replaced by row numbers",
        "splits/few.candidates.parquet: items has ids; they were replaced by row numbers",
    ]
    loaded = Graph.load(folder)
    assert loaded.vocabulary["item"].ids(range(3)) == ["30", "20", "10"]
    assert loaded.only("rated").edge_index.tolist() == [[0, 1, 0, 1], [2, 1, 0, 2]]
    few = loaded.candidates["few"]
    assert (few.user.tolist(), few.item.tolist()) == ([0, 1], [0, 1, 2])


def test_new_order_takes_the_rows_as_they_stand(folder):
    pq.write_table(pq.read_table(folder / ITEMS).take(pa.array([2, 1, 0])), folder / ITEMS)
    assert kgrec.adopt(folder, new_order=True).notes == []
    loaded = Graph.load(folder)
    assert loaded.vocabulary["item"].ids(loaded.only("rated").edge_index[1]) == ["30", "20", "10", "30"]
    assert kgrec.adopt(folder).notes == []  # that order is the former one now


def test_rows_that_pandas_numbered_are_put_back(graph, folder):
    rewritten(folder, ITEMS, lambda frame: frame.iloc[[1, 2, 0]])
    report = kgrec.adopt(folder)
    assert (
        report.notes[0] == "nodes/item.parquet: rows were put back into their former order, by column __index_level_0__"
    )
    same(graph, Graph.load(folder))


def test_target_edges_in_another_order_do_not_fit_the_split(folder):
    pq.write_table(pq.read_table(folder / RATED).take(pa.array([3, 2, 1, 0])), folder / RATED)
    refused(
        folder, r"splits/last.parquet has a row for each edge of 'rated', but these edges or their order have changed"
    )
    kgrec.adopt(folder, new_order=True)
    assert Graph.load(folder).splits["last"].tolist() == [0, 0, 1, 2]


def test_a_graph_json_of_before_knows_no_order(folder):
    document = json.loads((folder / "graph.json").read_text())
    del document["order"]
    (folder / "graph.json").write_text(json.dumps(document))
    report = kgrec.adopt(folder)
    assert report.notes == ["the present order of rows is used, because no former order is stored to compare it with"]
    assert "order" in json.loads((folder / "graph.json").read_text())


# ---------------------------------------------------------------------- refused, and left as it was


@pytest.mark.parametrize(
    ("name", "column", "values", "message", "row"),
    [
        (ITEMS, "id", ["10", None, "30"], r"nodes/item.parquet row 2: 1 nodes have no id", 2),
        (ITEMS, "id", ["10", "20", "10"], r"nodes/item.parquet: ids occur more than once: '10'", None),
        (ITEMS, "id", [["1"], ["2"], ["3"]], r"nodes/item.parquet: id holds lists", None),
        (ITEMS, "id", None, r"nodes/item.parquet: there is no column 'id'; the columns are 'label', 'price'", None),
        (ITEMS, "price", [1.0, float("inf"), 2.0], r"item.parquet row 2: column 'price' has an infinite number", 2),
        (ITEMS, "price", [1.0, 1e39, 2.0], r"item.parquet row 2: column 'price' has an infinite number", 2),
        (ITEMS, "price", ["a", "b", "c"], r"nodes/item.parquet: a column of type string is not a numeric", None),
        (ITEMS, "image", [[1.0], [1.0, 2.0], [1.0]], r"item.parquet: vectors must all have length 1; found", None),
        (ITEMS, "image", [[1.0, float("nan")], None, None], r"'image' has NaN or infinity in a vector", 1),
        (ITEMS, "born", [b"a", b"b", b"c"], r"item.parquet: column 'born' of type binary could be several kinds", None),
        (RATED, "target", None, r"item.parquet: there is no column 'target'; the columns are 'source', 'time'", None),
        (RATED, "target", [0, 1, 2, 3], r"parquet row 4: target has 1 numbers that are not item rows, such as 3", 4),
        (RATED, "target", [0, 1, -2, 0], r"row 3: target has 1 numbers that are not item rows, such as -2", 3),
        (RATED, "target", [0, None, 2, 0], r"item.parquet row 2: target has 1 empty values", 2),
        (RATED, "target", [0.0, 1.5, 2.0, 0.0], r"target, a column of type double, has values that are not row", None),
        (RATED, "target", ["10", "20", "30", "99"], r"row 4: target has 1 ids that are not item nodes: '99'", 4),
        (RATED, "weight", [1.0, None, 1.0, 1.0], r"1 edges of relation 'rated' have no weight", None),
        (RATED, "weight", [1.0, 1e39, 1.0, 1.0], r"1 edges of relation 'rated' have a weight that is infinite", None),
        (RATED, "weight", ["a"] * 4, r"item.parquet: weight is a column of type string; it must have numbers", None),
        (RATED, "time", ["May"] * 4, r"item.parquet: time of relation 'rated' is a column of string", None),
        (RATED, "time", [10**13] * 4, r"column 'time' has 4 values in the future.*fix it, and run", None),
        ("splits/last.parquet", "part", ["train", "dev", "test", "train"], r"has parts other than train, valid", None),
        ("splits/few.candidates.parquet", "items", [1, 2], r"items is a column of type int64; it must have", None),
        ("splits/few.candidates.parquet", "user", [0, 7], r"row 2: user has 1 numbers that are not user rows", 2),
    ],
)  # fmt: skip
def test_tables_that_are_wrong_are_refused(folder, name, column, values, message, row):
    table = pq.read_table(folder / name)
    if column in table.column_names:
        table = table.drop_columns([column])
    pq.write_table(table if values is None else table.append_column(column, pa.array(values)), folder / name)
    assert refused(folder, message).row == row


def test_folders_that_are_no_graphs_are_refused(folder, tmp_path):
    (folder / "notes.txt").write_text("mine")
    refused(folder, r"shop.graph has 'notes.txt', which does not belong to a graph folder .* move it elsewhere")
    (folder / "notes.txt").unlink()
    (folder / "nodes/old.csv").write_text("id")
    refused(folder, r"shop.graph has 'nodes/old.csv', which does not belong to a graph folder")
    (folder / "nodes/old.csv").unlink()
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("ref")
    refused(folder, r"shop.graph has '.git/HEAD', which does not belong to a graph folder")
    shutil.rmtree(folder / ".git")
    log = folder / "nodes/thing.parquet/_delta_log"
    log.mkdir(parents=True)
    (log / "00.json").write_text("{}")
    refused(folder, r"has 'nodes/thing.parquet/_delta_log/00.json', which does not belong to a graph folder")
    shutil.rmtree(log.parent)
    partition = folder / "nodes/thing.parquet/kind=a"
    partition.mkdir(parents=True)
    shutil.copy(folder / USERS, partition / "part-0.parquet")
    refused(folder, r"has 'nodes/thing.parquet/kind=a/part-0.parquet', which does not belong to a graph folder")
    shutil.rmtree(partition.parent)
    shutil.copy(folder / GENRE, folder / "edges/has_genre.parquet")
    refused(
        folder,
        r"edges/has_genre.parquet is not named SOURCE__RELATION__TARGET.parquet; rename it, for instance",
        BadData,
    )
    (folder / "edges/has_genre.parquet").unlink()
    shutil.copy(folder / GENRE, folder / "edges/item__has_genre__style.parquet")
    refused(
        folder, r"edges/item__has_genre__style.parquet connects 'style' nodes, but nodes/style.parquet does not exist"
    )
    (folder / "edges/item__has_genre__style.parquet").unlink()
    (folder / ITEMS).write_bytes((folder / ITEMS).read_bytes()[:200])
    refused(folder, r"nodes/item.parquet is no Parquet file, or truncated")
    (folder / RATED).unlink()
    (folder / ITEMS).unlink()
    with pytest.raises(KgrecError, match=r"nowhere is not a folder"):
        kgrec.adopt(tmp_path / "nowhere")
    with pytest.raises(KgrecError, match=r"has no nodes/TYPE.parquet, so it is not a graph folder"):
        (tmp_path / "empty").mkdir()
        kgrec.adopt(tmp_path / "empty")
    assert names(tmp_path) == ["empty", "shop.graph"]


def test_a_target_that_is_gone_or_unknown_is_said(folder):
    with pytest.raises(UnknownName, match=r"no relation 'ratd' for --target; did you mean"):
        kgrec.adopt(folder, target="ratd")
    refused(folder, r"splits/.*.parquet belongs to the former target relation", target="has_genre")
    (folder / RATED).unlink()
    refused(
        folder, r"the target relation user-rated-item no longer exists; choose another with --target: item-has_genre"
    )


def test_links_and_the_folder_one_is_in_are_refused(folder, tmp_path, monkeypatch):
    (tmp_path / "secret.parquet").write_bytes(b"x")
    (folder / "nodes/other.parquet").symlink_to(tmp_path / "secret.parquet")
    refused(folder, r"holds 'nodes/other.parquet', which is no file but a link")
    (folder / "nodes/other.parquet").unlink()
    monkeypatch.chdir(folder)
    with pytest.raises(
        KgrecError, match=r"\. is your current folder or contains it, and it will be replaced; leave it first"
    ):
        kgrec.adopt(".")


def test_the_folder_may_be_named_by_a_link(graph, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    kgrec.adopt(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    same(graph, Graph.load(tmp_path / "link"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_disk_that_is_full_and_ctrl_c_leave_the_folder(folder, monkeypatch, error):
    def fail(*arguments: object, **options: object) -> None:
        raise error

    before = files(folder)
    monkeypatch.setattr("kgrec.graph.storage.write_json", fail)
    with pytest.raises(KgrecError if isinstance(error, OSError) else KeyboardInterrupt):
        kgrec.adopt(folder)
    assert files(folder) == before and names(folder.parent) == ["shop.graph"]


def test_a_folder_that_changes_meanwhile_is_left(folder, monkeypatch):
    from kgrec.sources.adopting import adoption

    def and_a_note(draft: Path) -> list[object]:
        (folder / "note.txt").write_text("mine")
        return []

    monkeypatch.setattr(adoption, "check_graph", and_a_note)
    with pytest.raises(
        KgrecError, match=r"was changed while it was read; run the command again when no other program writes to it"
    ):
        kgrec.adopt(folder)
    assert (folder / "note.txt").read_text() == "mine" and (folder / "graph.json").is_file()


def test_a_file_made_to_fill_the_memory_is_refused(folder):
    big = pa.table({"id": pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000_000, np.int32)), ["x" * 1000])})
    pq.write_table(big, folder / USERS)
    refused(folder, r"nodes/user.parquet says that it has .* in a file of .* as one made to fill the memory does")


# ---------------------------------------------------------------------- the command


def test_the_command(folder):
    rewritten(folder, ITEMS, lambda frame: frame.assign(year=[1979, 1980, 1984]))
    done = CliRunner().invoke(app, ["adopt", str(folder), "--kind", "item.year=categorical", "--json"])
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["nodes"] == {"user": 2, "item": 3, "genre": 2} and report["notes"] == []
    assert report["target"] == "user-rated-item"
    done = CliRunner().invoke(app, ["adopt", str(folder)])
    assert done.stdout.splitlines() == [
        f"{folder}: 2 user, 3 item, 2 genre",
        "  user-rated-item: 4",
        "  item-has_genre-genre: 2",
        "target: user-rated-item",
    ]
    assert Graph.load(folder).features["item"]["year"].schema.categories == ("1979", "1980", "1984")
    done = CliRunner().invoke(app, ["adopt", str(folder), "--kind", "year"])
    assert done.exit_code == 1 and "--kind year: write it as TYPE.COLUMN=KIND" in str(done.exception)
