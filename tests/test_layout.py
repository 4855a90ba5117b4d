"""How the code stands: no import circle between files, no two files of one name, files that fit a head."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx
import pytest

import kgrec

ROOT = Path(kgrec.__file__).parent


def files(root: Path) -> dict[str, Path]:
    """The modules of a package by their dotted names."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """What a file imports at run time, in functions too: modules, and the names that it takes from each."""

    def walk(node: ast.AST) -> Iterator[tuple[str, list[str]]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    yield from walk(other)
            elif isinstance(child, ast.Import):
                yield from ((alias.name, []) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path} imports by a relative name"
                yield child.module or "", [alias.name for alias in child.names]
            else:
                yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def circles(root: Path) -> list[list[str]]:
    """Files that import each other, directly or through others: the strongly connected parts of more than one file."""
    modules, graph = files(root), networkx.DiGraph()
    for name, path in modules.items():
        for module, taken in imports(path):
            inner = [f"{module}.{one}" for one in taken if f"{module}.{one}" in modules]
            whole = [module] if module in modules and (len(inner) < len(taken) or not taken) else []
            graph.add_edges_from((name, other) for other in (*inner, *whole))
    several = [sorted(part) for part in networkx.strongly_connected_components(graph) if len(part) > 1]
    return several + [[name] for name in graph if graph.has_edge(name, name)]


def test_no_file_is_in_an_import_circle() -> None:
    assert circles(ROOT) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from pack import b", [["pack.a", "pack.b"]]),
        ("def late():\n    from pack.b import thing", [["pack.a", "pack.b"]]),
        ("import pack.b", [["pack.a", "pack.b"]]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack import b", []),
        ("from pack import c", []),
    ],
)
def test_a_circle_is_found(tmp_path: Path, text: str, found: list[list[str]]) -> None:
    """Of two files and a third, through a function too, and not where only type checkers import."""
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "__init__.py").write_text("")
    (pack / "a.py").write_text(text)
    (pack / "b.py").write_text("from pack.a import other\nfrom pack import c\n")
    (pack / "c.py").write_text("thing = 1\n")
    assert circles(pack) == found


def test_no_two_files_have_one_name() -> None:
    names = [path.name for path in ROOT.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_files_fit_a_head() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in ROOT.rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 600} == {}
