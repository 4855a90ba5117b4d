"""The graph folder: what goes in comes out, whoever wrote it, and what is broken is named."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from kgrec.errors import BadData, KgrecError, UnknownName
from kgrec.graph import NO_TIME, Candidates, Graph, storage
from kgrec.graph.assembly import EdgePart, NodePart, assemble
from kgrec.graph.features import Feature
from kgrec.graph.vocabulary import Vocabulary

RATED, GENRE = ("user", "rated", "item"), ("item", "has_genre", "genre")

COLUMNS = {
    "price": ("numeric", pa.array([1.5, None, -2.0])),
    "brand": ("categorical", pa.array(["acme", None, "ünïcode"])),
    "tags": ("multi", pa.array([["b", "a"], None, ["b"]])),
    "blurb": ("text", pa.array(["hello", None, ""])),
    "image": ("vector", pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))),
}


@pytest.fixture
def graph() -> Graph:
    """All that a graph may hold."""
    items = {name: Feature.from_arrow(column, kind) for name, (kind, column) in COLUMNS.items()}
    review = Feature.from_arrow(pa.array(["fine", None, "", "dull"]), "text")
    rated = EdgePart(
        source=np.array([0, 1, 0, 1]),
        target=np.array([0, 0, 1, 2]),
        time=np.array([30, 10, NO_TIME, 10]),
        weight=np.array([5, 3, 0.5, 1], np.float32),
        features={"review": review},
        label="http://example.org/rated",
    )
    genre = EdgePart(np.array([0, 2]), np.array([0, 0]))
    back = EdgePart(np.array([0]), np.array([0]), inverse_of="has_genre")
    parts = assemble(
        {
            "user": NodePart(Vocabulary(["007", "7"])),
            "item": NodePart(Vocabulary(["a", "東", "c"], labels=["Alien", None, "C"]), items, label="http://x/Film"),
            "genre": NodePart(Vocabulary(["noir"])),
        },
        {RATED: rated, GENRE: genre, ("genre", "genre_of", "item"): back},
        target=RATED,
        standard={"split": "given", "candidates": "few"},
        splits={"given": np.array([0, 1, 2, 0], np.int8)},
        candidates={"few": Candidates(torch.tensor([0, 1]), torch.tensor([0, 2, 3]), torch.tensor([2, 1, 0]))},
    )
    return Graph.of(parts)


@pytest.fixture
def folder(graph, tmp_path) -> Path:
    graph.save(tmp_path / "shop.graph")
    return tmp_path / "shop.graph"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------------- there and back


def test_all_that_a_graph_holds_comes_back(graph, folder):
    loaded = Graph.load(folder)
    assert loaded.schema == graph.schema
    assert torch.equal(loaded.edge_index, graph.edge_index) and loaded.relation_ptr == graph.relation_ptr
    assert loaded.time.tolist() == [30, 10, NO_TIME, 10, NO_TIME, NO_TIME, NO_TIME]
    assert loaded.weight.tolist() == [5, 3, 0.5, 1, 1, 1, 1]
    assert loaded.vocabulary["user"].ids(range(2)) == ["007", "7"]
    assert loaded.vocabulary["item"].labels(range(3)) == ["Alien", "東", "C"]
    for name in COLUMNS:
        old, new = graph.features["item"][name], loaded.features["item"][name]
        assert new.schema == old.schema and new.to_arrow().equals(old.to_arrow()), name
    assert loaded.edge_feature(RATED, "review").values.to_pylist() == ["fine", None, "", "dull"]
    assert loaded.splits["given"].tolist() == [0, 1, 2, 0] and loaded.splits["given"].dtype == torch.int8
    few = loaded.candidates["few"]
    assert (few.user.tolist(), few.ptr.tolist(), few.item.tolist()) == ([0, 1], [0, 2, 3], [2, 1, 0])
    assert loaded.content_hash() == graph.content_hash()


def test_the_files_are_plain_parquet_and_json(folder):
    files = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
    assert files == [
        "edges/genre__genre_of__item.parquet",
        "edges/item__has_genre__genre.parquet",
        "edges/user__rated__item.parquet",
        "graph.json",
        "nodes/genre.parquet",
        "nodes/item.parquet",
        "nodes/user.parquet",
        "splits/few.candidates.parquet",
        "splits/given.parquet",
    ]
    for file in folder.rglob("*.parquet"):
        assert file.read_bytes()[:4] == file.read_bytes()[-4:] == b"PAR1"
    rated = pd.read_parquet(folder / "edges/user__rated__item.parquet")
    assert list(rated.columns) == ["source", "target", "time", "weight", "review"]
    assert rated["time"].tolist()[:2] == [30, 10] and rated["time"].isna().tolist() == [False, False, True, False]
    genre = pd.read_parquet(folder / "edges/item__has_genre__genre.parquet")
    assert list(genre.columns) == ["source", "target"]  # neither times nor weights: none stored
    assert pd.read_parquet(folder / "splits/given.parquet")["part"].tolist() == ["train", "valid", "test", "train"]
    assert json.loads((folder / "graph.json").read_text())["target"] == list(RATED)


def test_a_view_with_fewer_edges_and_their_features_comes_back(graph, tmp_path):
    view = graph.where(torch.tensor([False, True, False, True, True, False, False])).both_ways()
    view.save(tmp_path / "view")
    loaded = Graph.load(tmp_path / "view")
    assert loaded.content_hash() == view.content_hash() and loaded.schema == view.schema
    assert loaded.edge_feature(RATED, "review").values.to_pylist() == [None, "dull"]


def test_the_content_hash_is_of_the_content(graph, folder, tmp_path):
    table = pq.read_table(folder / "edges/user__rated__item.parquet")
    _rewrite(folder, "edges/user__rated__item.parquet", table, compression="none", row_group_size=1)
    assert Graph.load(folder).content_hash() == graph.content_hash()
    later = graph.time.clone()
    later[0] += 1
    renamed = dict(graph.vocabulary, user=Vocabulary(["007", "8"]))
    swapped = graph.edge_index.flip(1)
    changed = [replace(graph, time=later), replace(graph, vocabulary=renamed), replace(graph, edge_index=swapped)]
    changed += [replace(graph, weight=graph.weight * 2), graph.only("rated"), replace(graph, relation_ptr=(0, 3, 6, 7))]
    assert len({graph.content_hash(), *(other.content_hash() for other in changed)}) == 7


# ---------------------------------------------------------------------- written by another engine


def by_another_engine(folder: Path) -> Path:
    """A folder as pandas or Spark would write it: ids in the edges, parts, no hashes, no weights, an extra column."""
    (folder / "nodes" / "item.parquet").mkdir(parents=True)
    (folder / "edges" / "user__rated__item.parquet").mkdir(parents=True)
    (folder / "splits").mkdir()
    pd.DataFrame({"id": ["007", "7"]}).to_parquet(folder / "nodes/user.parquet")
    items = pd.DataFrame(
        {"id": [1, 2, 3], "brand": ["x", None, "y"], "tags": [["t", "s"], None, []], "extra": [0, 0, 0]}
    )
    items[:2].to_parquet(folder / "nodes/item.parquet/part-0.parquet")
    items[2:].to_parquet(folder / "nodes/item.parquet/part-1.parquet")
    (folder / "nodes/item.parquet/_SUCCESS").touch()
    rated = pd.DataFrame({"source": ["7", "007", "7"], "target": ["3", "1", "1"], "time": [9.0, None, 4.0]})
    rated[:1].to_parquet(folder / "edges/user__rated__item.parquet/part-0.parquet", index=False)
    rated[1:].to_parquet(folder / "edges/user__rated__item.parquet/part-1.parquet", index=False)
    pd.DataFrame({"part": ["train", "train", "test"]}).to_parquet(folder / "splits/mine.parquet")
    lists = pd.DataFrame({"user": ["7", "007"], "items": [["2", "1"], ["3"]]})
    lists.to_parquet(folder / "splits/mine.candidates.parquet")
    document = {
        "format": 1,
        "nodes": {
            "user": {"count": 2},
            "item": {"count": 3, "features": {"brand": {"kind": "categorical"}, "tags": {"kind": "multi"}}},
        },
        "edges": [{"source": "user", "relation": "rated", "target": "item"}],
        "target": ["user", "rated", "item"],
    }
    (folder / "graph.json").write_text(json.dumps(document))
    return folder


def test_a_graph_written_by_pandas_loads(tmp_path):
    graph = Graph.load(by_another_engine(tmp_path / "other"))
    assert graph.edge_index.tolist() == [[1, 0, 1], [2, 0, 0]]
    assert (graph.time.tolist(), graph.weight.tolist()) == ([9, NO_TIME, 4], [1, 1, 1])
    assert graph.vocabulary["item"].ids(range(3)) == ["1", "2", "3"]
    assert graph.features["item"]["brand"].values.tolist() == [0, -1, 1]
    assert graph.features["item"]["tags"].ptr.tolist() == [0, 2, 2, 2]
    assert graph.splits["mine"].tolist() == [0, 0, 2]
    lists = graph.candidates["mine"]
    assert (lists.user.tolist(), lists.ptr.tolist(), lists.item.tolist()) == ([0, 1], [0, 1, 3], [2, 1, 0])
    graph.save(tmp_path / "ours")
    assert Graph.load(tmp_path / "ours").content_hash() == graph.content_hash()


def test_row_numbers_and_timestamps_of_another_engine(tmp_path):
    folder = by_another_engine(tmp_path / "other")
    rows = pd.DataFrame({"source": [1, 0], "target": [2, 0], "time": pd.to_datetime(["1970-01-02", None])})
    rows["weight"] = [2, 16_777_217]
    rows[:1].to_parquet(folder / "edges/user__rated__item.parquet/part-0.parquet")
    rows[1:].to_parquet(folder / "edges/user__rated__item.parquet/part-1.parquet")
    (folder / "splits/mine.parquet").unlink()
    graph = Graph.load(folder)
    assert (graph.edge_index.tolist(), graph.time.tolist()) == ([[1, 0], [2, 0]], [86400, NO_TIME])
    assert graph.weight.tolist() == [2, 16_777_216]


def _other_edges(folder: Path, **columns: list) -> None:
    rows = {"source": ["7", "7"], "target": ["1", "2"]} | columns
    pd.DataFrame(rows).to_parquet(folder / "edges/user__rated__item.parquet/part-0.parquet", index=False)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"target": ["1", "9"]}, UnknownName, r"no id of edges/user__rated__item.parquet '9' among the 3 known"),
        ({"target": ["1", None]}, KgrecError, r"edges/user__rated__item.parquet has 1 empty ids"),
        ({"source": [0, 2], "target": [0, 1]}, BadData, r"'rated' uses the user numbers 0 to 2; there are 2 nodes"),
        ({"weight": [1.0, None]}, BadData, r"1 edges of relation 'rated' have no weight"),
        ({"time": ["May", "June"]}, BadData, r"time of relation 'rated' is a column of (large_)?string"),
    ],
)
def test_edges_of_another_engine_that_are_wrong_say_how(tmp_path, columns, error, message):
    folder = by_another_engine(tmp_path / "other")
    (folder / "edges/user__rated__item.parquet/part-1.parquet").unlink()
    _other_edges(folder, **columns)
    with pytest.raises(error, match=message):
        Graph.load(folder)


def test_splits_and_candidates_that_are_wrong_say_how(tmp_path):
    folder = by_another_engine(tmp_path / "other")
    pd.DataFrame({"user": ["7"], "items": [["9"]]}).to_parquet(folder / "splits/mine.candidates.parquet")
    with pytest.raises(UnknownName, match=r"no id of mine.candidates.parquet '9'"):
        Graph.load(folder)
    pd.DataFrame({"user": [1], "items": [[3]]}).to_parquet(folder / "splits/mine.candidates.parquet")
    with pytest.raises(BadData, match=r"uses the item numbers 3 to 3; there are 3 nodes"):
        Graph.load(folder)
    (folder / "splits/mine.candidates.parquet").unlink()
    pd.DataFrame({"part": ["train", "test"]}).to_parquet(folder / "splits/mine.parquet")
    with pytest.raises(BadData, match=r"split 'mine' has 2 rows, but 'rated' has 3"):
        Graph.load(folder)
    pd.DataFrame({"part": ["train", "dev", "test"]}).to_parquet(folder / "splits/mine.parquet")
    with pytest.raises(KgrecError, match=r"mine.parquet has parts other than train, valid, test"):
        Graph.load(folder)


# ---------------------------------------------------------------------- broken


def _rewrite(folder: Path, name: str, table: pa.Table, **how: object) -> None:
    """Another file of that name, and no hashes that would notice."""
    pq.write_table(table, folder / name, **how)
    document = json.loads((folder / "graph.json").read_text())
    document.pop("files", None)
    (folder / "graph.json").write_text(json.dumps(document))


def test_a_missing_file_is_named(folder):
    (folder / "nodes/item.parquet").unlink()
    with pytest.raises(KgrecError, match=r"shop.graph lacks its file nodes/item.parquet; build the graph again"):
        Graph.load(folder)


@pytest.mark.parametrize("name", ["nodes/item.parquet", "edges/user__rated__item.parquet", "splits/given.parquet"])
def test_a_truncated_and_an_altered_file_are_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(KgrecError, match=rf"{name} is truncated or altered: its hash"):
        Graph.load(folder)
    (folder / name).write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    with pytest.raises(KgrecError, match=rf"{name} is truncated or altered"):
        Graph.load(folder)


def test_a_truncated_file_is_named_without_hashes_too(folder):
    file = folder / "nodes/item.parquet"
    _rewrite(folder, "nodes/item.parquet", pq.read_table(file))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(KgrecError, match=r"item.parquet is truncated or altered"):
        Graph.load(folder)
    file.unlink()
    with pytest.raises(KgrecError, match=r"shop.graph lacks its file nodes/item.parquet"):
        Graph.load(folder)


def test_columns_and_rows_that_lack_are_named(folder):
    table = pq.read_table(folder / "nodes/item.parquet")
    _rewrite(folder, "nodes/item.parquet", table.drop_columns(["price"]))
    with pytest.raises(KgrecError, match=r"nodes/item.parquet has no column 'price'; it has 'id', 'label', 'brand'"):
        Graph.load(folder)
    _rewrite(folder, "nodes/item.parquet", table.slice(1))
    with pytest.raises(KgrecError, match=r"item.parquet has 2 rows, but graph.json says 3"):
        Graph.load(folder)
    _rewrite(folder, "nodes/item.parquet", table)
    _rewrite(folder, "edges/item__has_genre__genre.parquet", pa.table({"source": [0]}))
    with pytest.raises(KgrecError, match=r"item__has_genre__genre.parquet has no column 'target'"):
        Graph.load(folder)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_truncated_graph_json_is_said(folder, part):
    text = (folder / "graph.json").read_text()
    (folder / "graph.json").write_text(text[: int(len(text) * part)])
    with pytest.raises(KgrecError, match=r"graph.json is truncated or altered"):
        Graph.load(folder)


def test_a_newer_format_is_said(folder):
    document = json.loads((folder / "graph.json").read_text())
    (folder / "graph.json").write_text(json.dumps(document | {"format": 2}))
    with pytest.raises(KgrecError, match=r"has format 2, but this kgrec reads formats up to 1; update kgrec"):
        Graph.load(folder)


def test_what_is_no_graph_folder_is_said(tmp_path):
    with pytest.raises(KgrecError, match=r"nowhere does not exist; build a graph with `kgrec build RECIPE --out"):
        Graph.load(tmp_path / "nowhere")
    (tmp_path / "photos").mkdir()
    with pytest.raises(KgrecError, match=r"photos is not a graph folder: it has no graph.json"):
        Graph.load(tmp_path / "photos")


# ---------------------------------------------------------------------- whole or not at all


def test_an_existing_folder_is_refused_and_with_overwrite_swapped(graph, folder):
    with pytest.raises(KgrecError, match=r"shop.graph exists already; name another --out, or use --overwrite"):
        graph.only("rated").save(folder)
    assert Graph.load(folder).num_edges == 7
    graph.only("rated").save(folder, overwrite=True)
    assert Graph.load(folder).edge_types == [RATED]
    assert names(folder.parent) == ["shop.graph"] and len(names(folder / "edges")) == 1


def test_a_folder_of_other_things_is_not_overwritten(graph, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(KgrecError, match=r"photos is a folder without graph.json"):
        graph.save(tmp_path / "photos", overwrite=True)
    assert names(tmp_path / "photos") == ["cat.jpg"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(errno.ENOSPC, "No space left on device"), KgrecError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_save_that_fails_leaves_nothing_and_the_old_graph(graph, folder, monkeypatch, error, raised):
    write, calls = storage.write_columns, []

    def failing(path: Path, columns: dict) -> None:
        calls.append(path)
        if len(calls) == 4:
            raise error
        write(path, columns)

    monkeypatch.setattr(storage, "write_columns", failing)
    with pytest.raises(raised):
        graph.save(folder.parent / "new.graph")
    assert len(calls) == 4 and names(folder.parent) == ["shop.graph"]
    calls.clear()
    with pytest.raises(raised):
        graph.only("rated").save(folder, overwrite=True)
    assert names(folder.parent) == ["shop.graph"] and Graph.load(folder).num_edges == 7


KILLED = """
import sys, time
from pathlib import Path
from kgrec import Graph
from kgrec.graph import storage
write = storage.write_columns
def slow(path, columns):
    write(path, columns)
    print(path.parent.parent, flush=True)
    time.sleep(60)
graph = Graph.load(Path(sys.argv[1]))
storage.write_columns = slow
graph.save(Path(sys.argv[2]))
"""


def test_a_kill_in_the_middle_leaves_no_graph_and_the_next_save_cleans_up(graph, folder):
    target = folder.parent / "killed.graph"
    command = [sys.executable, "-c", KILLED, str(folder), str(target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    draft = Path(process.stdout.readline().strip())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert draft.parent == folder.parent and draft.name.startswith(".killed.graph.part-")
    assert names(draft / "nodes") == ["user.parquet"] and not target.exists()
    graph.save(target)
    assert names(folder.parent) == ["killed.graph", "shop.graph"]
    assert Graph.load(target).content_hash() == graph.content_hash()
