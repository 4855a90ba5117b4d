"""Small data sets on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kgrec import Graph
from kgrec.errors import KgrecError
from kgrec.large_arrays import DiskArrays, arrays_on_disk
from kgrec.sources.building import build
from kgrec.sources.building.report import BuildReport
from kgrec.sources.checking import check

Built = tuple[Graph, BuildReport]


@pytest.fixture
def is_repeated(request: pytest.FixtureRequest) -> bool:
    """Whether each graph is built a second time with all arrays on disk, in small parts. The graph, the report and the
    errors must be the same. Not where a test counts calls, or measures time or memory."""
    return request.path.name not in ("test_bombs.py", "test_vectors.py", "test_as_it_stands.py")


@pytest.fixture
def build_of(tmp_path: Path, is_repeated: bool) -> Callable[..., Built]:
    """Writes files beside a recipe, and builds it."""

    def build_it(recipe: str, files: Mapping[str, str | bytes]) -> Built:
        return _built(tmp_path, recipe, files, is_repeated)

    return build_it


@pytest.fixture
def build_and_check(tmp_path: Path, is_repeated: bool) -> Callable[..., Built]:
    """The same, and a check must say what the build left out, in the same words."""

    def build_it(recipe: str, files: Mapping[str, str | bytes]) -> Built:
        graph, report = _built(tmp_path, recipe, files, is_repeated)
        said = [line for line in str(report).splitlines() if line.startswith("left out")]
        problems = check(tmp_path / "recipe.yaml")
        assert sorted(problem.message for problem in problems if problem.kind == "left out") == sorted(said)
        errors = [problem for problem in problems if problem.severity == "error" and problem.kind != "no link"]
        assert {problem.value for problem in errors} == {*report.unknown_predicates}
        return graph, report

    return build_it


def _built(folder: Path, recipe: str, files: Mapping[str, str | bytes], is_repeated: bool) -> Built:
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
    (folder / "recipe.yaml").write_text(recipe)
    try:
        graph, report = build(folder / "recipe.yaml")
    except KgrecError as error:
        if not is_repeated:
            raise
        with pytest.raises(type(error)) as again, in_small_parts(folder):
            build(folder / "recipe.yaml")
        assert str(again.value) == str(error)
        raise
    if is_repeated:
        with in_small_parts(folder):
            same, same_report = build(folder / "recipe.yaml")
            assert graph_contents(same) == graph_contents(graph)
            assert report_contents(same_report) == report_contents(report)
    return graph, report


@contextmanager
def in_small_parts(folder: Path) -> Iterator[None]:
    """Every array is on disk, and a few rows are worked on at a time, as if memory were very small."""
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    with arrays_on_disk(DiskArrays(folder, 1 << 40, small=40, rows=max(3, size >> 7), text=max(24, size >> 5))):
        yield


def graph_contents(graph: Graph) -> dict[str, Any]:
    """All that a graph is."""
    features = {
        (of, name): (feature.schema, feature.to_arrow())
        for of, columns in (*graph.features.items(), *graph.edge_features.items())
        for name, feature in columns.items()
    }
    labels = {name: vocabulary.label_array for name, vocabulary in graph.vocabulary.items()}
    candidates = {
        name: [one.tolist() for one in (lists.user, lists.ptr, lists.item)] for name, lists in graph.candidates.items()
    }
    splits = {name: part.tolist() for name, part in graph.splits.items()}
    return {
        "schema": graph.schema, "hash": graph.content_hash(), "features": features, "labels": labels,
        "candidates": candidates, "splits": splits, "recipe": graph.recipe,
    }  # fmt: skip


def report_contents(report: BuildReport) -> dict[str, Any]:
    """All that a report says, but for the seconds."""
    return report.to_json() | {"seconds": 0}
