"""Small data sets on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from kgrec import Graph
from kgrec.sources.building import build
from kgrec.sources.building.report import BuildReport


@pytest.fixture
def build_of(tmp_path: Path) -> Callable[..., tuple[Graph, BuildReport]]:
    """Writes files beside a recipe, and builds it."""

    def build_it(recipe: str, files: Mapping[str, str | bytes]) -> tuple[Graph, BuildReport]:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name).write_bytes(data)
        (tmp_path / "recipe.yaml").write_text(recipe)
        return build(tmp_path / "recipe.yaml")

    return build_it
