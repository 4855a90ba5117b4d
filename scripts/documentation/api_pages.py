"""The pages of the library's reference: which public names are on which page."""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import kgrec


@dataclass(frozen=True)
class ApiPage:
    """A page of the library's reference."""

    title: str
    about: str  #: Markdown
    modules: tuple[str, ...]  #: modules whose public names are all on the page
    names: tuple[str, ...] = ()  #: names of `kgrec` itself that are on the page too


#: By file, in the order of the navigation
PAGES: dict[str, ApiPage] = {
    "sources": ApiPage(
        "Files to a graph",
        "What reads recipes, tables and RDF. The keys of a recipe are on [a page of their own](../recipe.md).",
        (
            "kgrec.sources.building", "kgrec.sources.adopting", "kgrec.sources.checking", "kgrec.sources.linking",
            "kgrec.sources.rdf",
        ),
        ("build", "adopt", "find_links"),
    ),
    "graph": ApiPage(
        "The graph",
        "Every interaction and every fact is an edge of one heterogeneous graph.",
        ("kgrec.graph", "kgrec.graph.schema", "kgrec.graph.vocabulary", "kgrec.graph.features"),
        ("Graph", "Schema", "Vocabulary", "Candidates", "NO_TIME"),
    ),
    "splits": ApiPage(
        "Splits", "What a model may learn from, and what it is measured on.", ("kgrec.splits",), ("Split",)
    ),
    "samplers": ApiPage(
        "Samplers",
        "From a graph to batches. A loader is seeds and the stages that add to them.",
        ("kgrec.samplers",),
        (
            "Loader", "CombinedLoader", "Stream", "Batch", "Edges", "Nodes", "Sequences", "History", "Negatives",
            "Neighbors", "Neighborhood", "Directions",
        ),
    ),
    "models": ApiPage(
        "Models",
        "The protocol of models, and models by name. Their settings are on [a page of their own](../models.md).",
        ("kgrec.model", "kgrec.models", "kgrec.rows", "kgrec.settings"),
        ("Recommender", "Objective", "Query"),
    ),
    "layers": ApiPage("Layers", "What several models share, for models of your own.", ("kgrec.nn",)),
    "training": ApiPage(
        "Training",
        "The settings are on [a page of their own](../settings.md) too.",
        ("kgrec.training", "kgrec.training.tracking"),
        ("train", "TrainingJob", "TrainingConfig"),
    ),
    "runs": ApiPage(
        "Runs and their answers",
        "What a trained model recommends and predicts, in your own ids.",
        ("kgrec.run",),
        ("Run", "Table", "recommend", "predict", "Service", "Wanted", "ListOptions", "Explanation"),
    ),
    "evaluation": ApiPage(
        "Evaluation",
        "Metrics, and what is measured on held-out edges.",
        ("kgrec.evaluation", "kgrec.evaluation.metrics"),
        ("Evaluation", "evaluate"),
    ),
    "studies": ApiPage(
        "Studies",
        "What one asks of several trainings.",
        ("kgrec.search_ranges",),
        ("tune", "tune_models", "compare", "backtest", "measure_robustness", "audit", "generate", "report"),
    ),
    "errors": ApiPage(
        "Errors", "What is raised, and what it says.", ("kgrec.errors",), ("KgrecError", "BadData", "UnknownName")
    ),
    "testing": ApiPage(
        "Tests of your models",
        "::: kgrec.testing\n    options: {members: false, show_root_heading: false, show_root_toc_entry: false}",
        ("kgrec.testing",),
    ),
}  # fmt: skip

INHERITING = ("kgrec.Graph", "kgrec.Run", "kgrec.BadData", "kgrec.UnknownName")
"""Names that are shown with what they have from their bases."""


def api_page(page: ApiPage) -> str:
    """A page in Markdown, with directives that mkdocstrings replaces by the docstrings."""
    lines = [f"# {page.title}", "", page.about, ""]
    for name in names_of(page):
        lines += [f"::: {name}", *["    options: {inherited_members: true}"] * (name in INHERITING), ""]
    return "\n".join(lines)


def names_of(page: ApiPage) -> list[str]:
    """The names on a page: first those of `kgrec`, then the other names of its modules."""
    found = [f"kgrec.{name}" for name in page.names]
    top = {home_of(f"kgrec.{name}") for name in kgrec.__all__ if not name.startswith("_") and name != "models"}
    seen = {home_of(name) for name in found}
    for module in page.modules:
        for name in public_names(module):
            home = home_of(f"{module}.{name}")
            if home not in seen and home not in top:
                found.append(f"{module}.{name}")
            seen.add(home)
    return found


def public_names(module: str) -> list[str]:
    """The public names of a module: its `__all__`, or the classes, functions and names with a `#:` comment that it
    defines."""
    listed = getattr(importlib.import_module(module), "__all__", None)
    return list(listed) if listed is not None else list(_defined(module))


def home_of(name: str) -> str:
    """The full name of an object in the module that defines it.

    >>> home_of("kgrec.Graph"), home_of("kgrec.graph.Graph")
    ('kgrec.graph.graph.Graph', 'kgrec.graph.graph.Graph')
    """
    module, _, last = name.rpartition(".")
    if module == "kgrec":
        return home_of(f"kgrec.{kgrec._HOMES[last]}.{last}")
    top = _tree(module).body
    for node in [inner for one in top for inner in (one.body if isinstance(one, ast.If) else [one])]:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == last:
                    return home_of(f"{node.module}.{alias.name}")
    return name


def _defined(module: str) -> Iterator[str]:
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name


@functools.cache
def _tree(module: str) -> ast.Module:
    path = Path(kgrec.__file__).parent.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))
