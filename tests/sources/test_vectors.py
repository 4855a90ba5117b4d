"""Vectors of nodes from matrices, list columns and folders of images."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kgrec.errors import BadData, KgrecError
from kgrec.sources.checking import check
from kgrec.sources.tables import images

RECIPE = "name: r\nnodes:\n  item: {{{}}}\ninteractions: {{file: e.csv}}\n"
FILES = {"e.csv": "user,item\nu1,a\nu1,x\n", "i.csv": "id\na\nb\n"}
TABLE = "file: i.csv, id: id, "


def test_a_matrix_follows_the_table_or_a_file_of_ids(build_of, tmp_path):
    np.save(tmp_path / "v.npy", np.array([[1, 2], [3, 4]]))
    graph, _ = build_of(RECIPE.format(TABLE + "vectors: {image: {file: v.npy}}"), FILES)
    assert graph.vocabulary["item"].ids([0, 1, 2]) == ["a", "b", "x"]
    assert graph.features["item"]["image"].values.tolist() == [[1, 2], [3, 4], [0, 0]]
    with_ids = RECIPE.format("vectors: {image: {file: v.npy, ids: ids.txt}}")
    graph, _ = build_of(with_ids, FILES | {"ids.txt": "x\na\n"})
    assert graph.features["item"]["image"].values.tolist() == [[3, 4], [1, 2]]  # of a and x, that the events name
    assert graph.schema.nodes["item"].features["image"].dim == 2


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ("a\n", r"item vectors 'image': .*v.npy has shape \(2, 2\); it must have the lines of ids.txt, 1 rows"),
        ("a\nq\n", "ids.txt: 1 ids are not item nodes: 'q'; remove them"),
        ("a\na\n", "ids.txt: some ids appear more than once: 'a'; a node can have only one vector"),
        ("a\n\n", "ids.txt line 2: the line is empty; each line must have one id"),
        (None, "item vectors 'image': .*ids.txt cannot be read as a text file with one id in each line"),
    ],
)
def test_ids_that_do_not_fit(build_of, tmp_path, ids, said):
    np.save(tmp_path / "v.npy", np.zeros((2, 2)))
    recipe = RECIPE.format(TABLE + "vectors: {image: {file: v.npy, ids: ids.txt}}")
    with pytest.raises(BadData, match=said):
        build_of(recipe, FILES | ({} if ids is None else {"ids.txt": ids}))
    assert any("v.npy" in str(problem) or "ids.txt" in str(problem) for problem in check(tmp_path / "recipe.yaml"))


def test_a_matrix_without_ids_or_a_table(build_of, tmp_path):
    np.save(tmp_path / "v.npy", np.zeros((2, 2)))
    with pytest.raises(BadData, match="there is no table of item nodes; set `ids`"):
        build_of(RECIPE.format("vectors: {image: {file: v.npy}}"), FILES)


def test_a_vector_of_another_length_names_its_id(build_of, tmp_path):
    pd.DataFrame({"id": ["a", "b", "c"], "v": [[1.0, 2.0], [1.0], [3.0, 4.0]]}).to_parquet(tmp_path / "i.parquet")
    with pytest.raises(BadData, match=r"i.parquet column 'v': the vector of 'b' has 1 numbers, but most have 2; fix"):
        build_of(RECIPE.format("file: i.parquet, id: id, features: {v: vector}"), FILES)


# ---------------------------------------------------------------- images

IMAGES = RECIPE.format(TABLE + "images: {poster: {folder: posters, encoder: tiny}}")


@pytest.fixture
def posters(tmp_path: Path) -> Path:
    folder = tmp_path / "posters"
    folder.mkdir()
    for name in ("a.jpg", "x.PNG", "other.jpg", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_images_are_called_by_id(build_of, posters, monkeypatch):
    """With an encoder of our own; those of timm are not run here."""
    asked = []

    def encoder(name: str) -> images.Encoder:
        asked.append(name)
        return lambda paths: np.array([[len(path.read_bytes()), 1] for path in paths])

    monkeypatch.setattr(images, "image_encoder", encoder)
    monkeypatch.setattr(images, "BATCH", 2)
    graph, report = build_of(IMAGES, FILES)
    assert asked == ["tiny"]
    assert graph.features["item"]["poster"].values.tolist() == [[5, 1], [0, 0], [5, 1]]  # a, b without one, x
    assert report.dropped == {"images of posters whose name is not in the item ids": 1}


def test_a_folder_that_is_none_or_has_an_id_twice(build_of, posters, tmp_path):
    (posters / "a.png").write_bytes(b"")
    with pytest.raises(BadData, match=r"a.jpg and a.png have the same id; remove one of them"):
        build_of(IMAGES, FILES)
    assert [problem.severity for problem in check(tmp_path / "recipe.yaml") if "same id" in problem.message] == [
        "error"
    ]
    for file in posters.iterdir():
        file.unlink()
    with pytest.raises(BadData, match=r"has no images; their names must be like 42.jpg"):
        build_of(IMAGES, FILES)
    posters.rmdir()
    with pytest.raises(BadData, match="is not a folder; it must be a folder of images"):
        build_of(IMAGES, FILES)


def test_timm_that_is_not_installed_says_what_to_install(build_of, posters, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(KgrecError, match=r"pip install 'kgrec\[image\]'"):
        build_of(IMAGES, FILES)


def test_vectors_of_which_there_is_none_are_refused(build_of):
    recipe = "name: x\nnodes:\n  item: {file: i.jsonl, id: item, features: {v: vector}}\ninteractions: {file: r.csv}\n"
    files = {"i.jsonl": '{"item": "a", "v": []}\n{"item": "b", "v": []}\n', "r.csv": "user,item\nu,a\n"}
    with pytest.raises(BadData, match="no row has a vector; fill in some, or remove the feature from the recipe"):
        build_of(recipe, files)
    files["i.jsonl"] = '{"item": "a", "v": []}\n{"item": "b", "v": [1, 2.5]}\n'
    graph, _ = build_of(recipe, files)
    assert graph.features["item"]["v"].to_arrow().to_pylist() == [[0, 0], [1, 2.5]]
