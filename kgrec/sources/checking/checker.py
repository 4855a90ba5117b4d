"""What is wrong with a recipe and its files, or with a graph folder: all of it, not only the first."""

from __future__ import annotations

from pathlib import Path

from kgrec.errors import KgrecError
from kgrec.sources.checking.findings import Problem
from kgrec.sources.checking.graph_check import check_graph
from kgrec.sources.checking.recipe_check import check_recipe

__all__ = ["Problem", "check"]


def check(path: Path | str, data: Path | str | None = None) -> list[Problem]:
    """Every problem of a recipe (a YAML file) and its files, or of a graph folder; errors first, then notes.

    data: the folder of the recipe's files; default: the recipe's own `data`. Errors stop a build or a load, or mean
    that the graph is not what the recipe says: missing and broken files, bad rows, unknown predicates, links to
    entities of the wrong type. Notes are about what is allowed but worth knowing: isolated nodes, repeated edges, what
    a build leaves out.

    Raises KgrecError where `path` does not exist.
    """
    path = Path(path)
    if not path.exists():
        raise KgrecError(
            f"{path} does not exist; give the path of a recipe such as graphs/ml-1m.yaml, or a graph folder"
        )
    problems = check_graph(path) if path.is_dir() else check_recipe(path, None if data is None else Path(data))
    return sorted(problems, key=lambda problem: problem.severity != "error")
