"""Graphs that are mapped from files: they equal those in memory, and what they are mapped from is checked."""

import errno
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.graph import Candidates, Graph, mapped_storage
from kgrec.graph import mapped_edges as edges_in_files
from kgrec.graph.mapped_files import light_checksum
from kgrec.graph.mapped_storage import write_arrays
from kgrec.run import train
from kgrec.samplers import Edges, Loader, Negatives, Neighbors
from kgrec.sources.building.pipeline import build
from kgrec.splits.split import split


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph folder with two relations, features of every kind, labels, a published split and lists of candidates."""
    random, number = np.random.default_rng(0), 3000
    rated = pd.DataFrame(
        {
            "source": [f"u{n}" for n in random.integers(0, 60, number)],
            "target": [f"i{n}" for n in random.integers(0, 80, number)],
            "time": random.integers(0, 50, number),
            "weight": random.random(number),
            "note": random.random(number),
        }
    )
    has = pd.DataFrame({"source": [f"i{n % 80}" for n in range(200)], "target": [f"g{n % 7}" for n in range(200)]})
    names = range(80)
    items = pd.DataFrame(
        {
            "id": [f"i{n}" for n in names],
            "label": [None if n % 3 else f"Läbel {n}" for n in names],
            "price": [None if n % 5 == 0 else n / 3 for n in names],
            "kind": [("a", "b", None)[n % 3] for n in names],
            "tags": [["x", "y", "z"][: n % 4] for n in names],
            "vector": [[n / 7, 1.0, -n] for n in names],
            "text": [None if n % 4 == 0 else f"text of {n}" for n in names],
        }
    )
    graph = Graph.from_frames(
        edges={("user", "rated", "item"): rated, ("item", "has", "genre"): has},
        nodes={"item": items},
        features={"item": {"text": "text"}, "rated": {"note": "numeric"}},
    )
    codes = torch.from_numpy(random.integers(0, 3, number).astype(np.int8))
    lists = Candidates(torch.tensor([1, 4]), torch.tensor([0, 2, 3]), torch.tensor([5, 6, 7]))
    path = tmp_path_factory.mktemp("mapped") / "graph"
    replace(graph, splits={"theirs": codes}, candidates={"theirs": lists}).save(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key for seals is not that of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def as_if_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views of small graphs are written to files too."""
    monkeypatch.setattr(edges_in_files, "LEAST", 1)


def same_edges(one: Graph, other: Graph) -> None:
    """Both graphs have the same edges and indexes, to the last digit."""
    assert one.edge_types == other.edge_types and one.relation_ptr == other.relation_ptr
    for name in ("edge_index", "time", "weight", "head", "tail", "relation"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for side in ("csr", "csc"):
        for name in ("ptr", "edge", "other"):
            assert torch.equal(getattr(getattr(one, side), name), getattr(getattr(other, side), name)), (side, name)
    assert torch.equal(one.index.num_out, other.index.num_out) and torch.equal(one.index.num_in, other.index.num_in)
    assert torch.equal(one.index._sorted_rows, other.index._sorted_rows)


def test_a_mapped_graph_equals_the_one_in_memory(folder: Path) -> None:
    memory, mapped = Graph.load(folder), Graph.load(folder, mmap=True)
    assert mapped.mapped is not None and memory.mapped is None
    assert mapped.schema == memory.schema and mapped.content_hash() == memory.content_hash()
    same_edges(mapped, memory)
    for name, vocabulary in memory.vocabulary.items():
        assert mapped.vocabulary[name].id_array.equals(vocabulary.id_array)
        assert mapped.vocabulary[name].labels(range(9)) == vocabulary.labels(range(9))
        for column, feature in memory.features[name].items():
            assert mapped.features[name][column].to_arrow().equals(feature.to_arrow()), column
    note = mapped.edge_feature(("user", "rated", "item"), "note")
    assert torch.equal(note.values, memory.edge_feature(("user", "rated", "item"), "note").values)
    assert torch.equal(mapped.splits["theirs"], memory.splits["theirs"])
    assert mapped.candidates["theirs"].item.tolist() == [5, 6, 7]
    assert pickle.loads(pickle.dumps(mapped)).mapped is not None, "another process maps it too"


def test_buckets_of_any_size_give_the_same_order(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "graph", ignore=shutil.ignore_patterns("arrays"))
    write_arrays(tmp_path / "graph", memory=200)  # ten edges at once
    same_edges(Graph.load(tmp_path / "graph", mmap=True), Graph.load(folder))


def test_views_of_a_mapped_graph_are_mapped(folder: Path, as_if_large: None) -> None:
    memory, mapped = Graph.load(folder), Graph.load(folder, mmap=True)
    mask = torch.arange(memory.num_edges) % 3 != 1
    for view in (
        lambda graph: graph.only("rated"),
        lambda graph: graph.only("has"),
        lambda graph: graph.where(mask),
        lambda graph: graph.where(mask).only("rated"),
        lambda graph: graph.before(20),
    ):
        assert view(mapped).mapped is not None
        same_edges(view(mapped), view(memory))
    assert mapped.reversed().mapped is None, "these edges are not in the files"


def test_nothing_is_made_at_the_second_load(folder: Path, as_if_large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.arange(Graph.load(folder).num_edges) % 4 != 0
    Graph.load(folder, mmap=True).where(mask).only("rated").csr  # noqa: B018

    def fail(*_: object) -> None:
        raise AssertionError("an array is made again")

    monkeypatch.setattr("kgrec.graph.array_folder.new_array", fail)
    view = Graph.load(folder, mmap=True).where(mask).only("rated")
    assert torch.equal(view.csr.other, Graph.load(folder).where(mask).only("rated").csr.other)


@pytest.mark.parametrize("change", ["bytes", "size", "header", "missing"])
def test_an_altered_array_is_made_again(folder: Path, tmp_path: Path, change: str) -> None:
    path = tmp_path / "graph"
    shutil.copytree(folder, path)
    Graph.load(path, mmap=True)
    file = path / "arrays" / "csc.other.npy"
    content = bytearray(file.read_bytes())
    if change == "missing":
        file.unlink()
    else:
        content[{"bytes": 4000, "header": 20, "size": -1}[change]] ^= 1
        file.write_bytes(content[:-4] if change == "size" else content)
    with pytest.warns(UserWarning, match="made again"):
        again = Graph.load(path, mmap=True)
    same_edges(again, Graph.load(folder))


def test_arrays_of_somebody_else_are_checked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "graph"
    shutil.copytree(folder, path)
    file = path / "arrays" / "csr.other.npy"
    sound = Graph.load(path, mmap=True).csr.other.clone()

    def sent_with(number: int) -> Graph:
        """The graph with an array that says `number`, listed with its checksum, as another user would send it."""
        np.load(file, mmap_mode="r+")[700] = number
        document = json.loads((path / "arrays" / "arrays.json").read_text())
        document["files"]["csr.other"]["check"] = light_checksum(file)
        (path / "arrays" / "arrays.json").write_text(json.dumps(document))
        return Graph.load(path, mmap=True)

    assert int(sent_with(3).csr.other[700]) == 3, "it is within the bounds"
    for number in (-1, 2**31 - 1):
        assert torch.equal(sent_with(number).csr.other, sound), "they were made again"
    for home in ("another", None):  # another user, and one who cannot keep a key
        monkeypatch.setenv("KGREC_CACHE", str(tmp_path / "cache" if home else "/dev/null/none"))
        monkeypatch.setattr(mapped_storage._Making, "run", None)
        same_edges(Graph.load(path, mmap=True), Graph.load(folder))


def test_an_altered_graph_is_refused_and_a_new_one_gets_new_arrays(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "graph"
    shutil.copytree(folder, path)
    Graph.load(path, mmap=True)
    file = path / "edges" / "item__has__genre.parquet"
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)
    with pytest.raises(KgrecError, match="truncated or altered"):
        Graph.load(path, mmap=True)
    Graph.load(folder).only("rated").save(path, overwrite=True)
    assert Graph.load(path, mmap=True).edge_types == [("user", "rated", "item")]


def test_a_full_disk_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "graph"
    shutil.copytree(folder, path, ignore=shutil.ignore_patterns("arrays"))

    def full(file: int, start: int, size: int) -> None:
        if size > 20_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(KgrecError, match=r"No space left on device; nothing of it is left there"):
        Graph.load(path, mmap=True)
    assert not (path / "arrays").exists()


def test_arrays_of_a_folder_that_cannot_be_written_to_are_kept_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "graph"
    shutil.copytree(folder, path, ignore=shutil.ignore_patterns("arrays"))
    monkeypatch.setattr("kgrec.graph.array_folder._can_write", lambda _: False)
    monkeypatch.setenv("KGREC_CACHE", str(tmp_path / "cache"))
    same_edges(Graph.load(path, mmap=True), Graph.load(folder))
    assert not (path / "arrays").exists() and list((tmp_path / "cache").rglob("edge_index.npy"))


SPECS = (
    *("last_n:1,valid=1", "ratio:0.2,valid=0.1,seed=3", "ratio:0.2,valid=0.1,per_user,seed=3", "by_time:70%,85%"),
    *("theirs", "cold_items:0.2,valid=0.1,warm=0.1"),
)


@pytest.mark.parametrize("spec", SPECS)
def test_a_mapped_graph_is_split_alike(folder: Path, as_if_large: None, spec: str) -> None:
    one, other = (split(Graph.load(folder, mmap=way), spec, candidates="all") for way in (False, True))
    assert one.protocol == other.protocol
    for name in ("train", "train_valid", "valid", "test"):
        part = getattr(other, name)
        assert part.mapped is not None
        same_edges(part, getattr(one, name))
        note = part.edge_feature(("user", "rated", "item"), "note")
        assert torch.equal(note.values, getattr(one, name).edge_feature(("user", "rated", "item"), "note").values)


MODELS = {
    "mf": {"dim": 4, "alpha": 0.5},
    "sasrec": {"dim": 8, "length": 10, "gap": 3},
    "kgat": {"dim": 4, "layer_dims": [4, 2], "fanouts": [3, 2], "loss": "bpr", "sparse": True},
}


@pytest.mark.parametrize("model", MODELS)
def test_a_model_learns_the_same_from_a_mapped_graph(
    folder: Path, as_if_large: None, tmp_path: Path, model: str
) -> None:
    runs = [
        train(
            model, folder, config=MODELS[model], training={"epochs": 1}, split="last_n:1", out=tmp_path / name, mmap=way
        )
        for name, way in (("memory", False), ("mapped", True))
    ]
    one, other = (run.model.state_dict() for run in runs)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert runs[0].metrics["test"] == runs[1].metrics["test"]
    for name in ("history.parquet", "facts/item__has__genre.parquet", "trained.parquet"):
        assert (tmp_path / "memory" / name).read_bytes() == (tmp_path / "mapped" / name).read_bytes(), name
    measured = [runs[1].measure(Graph.load(folder, mmap=way))["test"] for way in (False, True)]
    assert measured[0] == measured[1] == runs[0].metrics["test"]


def test_the_whole_graph_is_not_propagated_over_beyond_the_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("kg_encoder", "propagation"):
        monkeypatch.setattr(f"kgrec.nn.{module}.WHOLE", 1 << 40)
    graph = Graph.load(folder, mmap=True)
    with pytest.raises(KgrecError, match=r"would take .* GiB of memory.*sample neighborhoods instead.*--set fanouts="):
        models.build("kgat", graph)
    with pytest.raises(
        KgrecError, match=r"would take .* GiB of memory.*choose a model that samples: mf, sasrec, or kgat"
    ):
        models.build("lightgcn", graph)


def test_a_graph_is_mapped_by_itself_if_it_is_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Graph.load(folder, mmap=None).mapped is None
    monkeypatch.setattr("kgrec.graph.mapped_storage.EDGE_BYTES", 1 << 40)
    assert Graph.load(folder, mmap=None).mapped is not None


@pytest.mark.real_data
def test_movielens_with_its_knowledge_graph(data_root: Path, as_if_large: None, tmp_path: Path) -> None:
    recipe = Path(__file__).parents[1] / "graphs" / "ml-100k-freebase.yaml"
    build(recipe, data_root)[0].save(tmp_path / "graph")
    memory, mapped = Graph.load(tmp_path / "graph"), Graph.load(tmp_path / "graph", mmap=True)
    same_edges(mapped, memory)
    assert mapped.content_hash() == memory.content_hash()
    parts = [split(graph, "ratio:0.2,seed=7") for graph in (memory, mapped)]
    same_edges(parts[1].train, parts[0].train)
    found = []
    for graph in (part.train for part in parts):
        stage = Neighbors(graph, [5, 3])
        batches = Loader(Edges(graph.only("rated")), Negatives(graph.only("rated"), 2), stage, batch_size=512, seed=1)
        found.append(next(iter(batches)))
    one, other = (batch.neighborhood for batch in found)
    assert torch.equal(found[0].negative, found[1].negative)
    for name in ("node", "source", "edge", "relation"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
