"""Small data sets on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from kgrec import Graph
from kgrec.sources.building import build
from kgrec.sources.building.report import BuildReport
from kgrec.sources.checking import check

Built = tuple[Graph, BuildReport]


@pytest.fixture
def build_of(tmp_path: Path) -> Callable[..., Built]:
    """Writes files beside a recipe, and builds it."""

    def build_it(recipe: str, files: Mapping[str, str | bytes]) -> Built:
        return _built(tmp_path, recipe, files)

    return build_it


@pytest.fixture
def build_and_check(tmp_path: Path) -> Callable[..., Built]:
    """The same, and a check must say what the build left out, in the same words."""

    def build_it(recipe: str, files: Mapping[str, str | bytes]) -> Built:
        graph, report = _built(tmp_path, recipe, files)
        said = [line for line in str(report).splitlines() if line.startswith("left out")]
        problems = check(tmp_path / "recipe.yaml")
        assert sorted(problem.message for problem in problems if problem.kind == "left out") == sorted(said)
        assert {problem.value for problem in problems if problem.severity == "error"} == {*report.unknown_predicates}
        return graph, report

    return build_it


def _built(folder: Path, recipe: str, files: Mapping[str, str | bytes]) -> Built:
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
    (folder / "recipe.yaml").write_text(recipe)
    return build(folder / "recipe.yaml")
