"""Builds one graph from a recipe and its files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kgrec.errors import KgrecError
from kgrec.files import refuse_existing
from kgrec.graph import Graph
from kgrec.graph.storage import GRAPH_FOLDER
from kgrec.sources.building.build_state import BuildState
from kgrec.sources.building.report import BuildReport
from kgrec.sources.building.steps import steps_of
from kgrec.sources.rdf.facts import FactOptions
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import BadRows

if TYPE_CHECKING:
    import rdflib


def build(
    recipe: Path | str | Recipe,
    data: Path | str | None = None,
    *,
    rdf: Sequence[tuple[rdflib.Graph, FactOptions]] = (),
) -> tuple[Graph, BuildReport]:
    """The graph of a recipe's files, and what was found, added and left out.

    data: the folder of the files; default: the recipe's own `data`. rdf: rdflib graphs in memory, each with options for
    its predicates and classes (the same options as in a recipe's `rdf`). Their facts come after those of the recipe's
    files.

    Nodes are numbered in the order of their tables, then by first appearance in the interactions, then in attributes
    and facts. Raises KgrecError where the recipe is wrong, BadData with a fault for each problem where files are
    missing or rows are bad.
    """
    start = time.perf_counter()
    if not isinstance(recipe, Recipe):
        recipe = Recipe.load(recipe)
    state = BuildState(recipe, data, BadRows(recipe.on_bad_rows))
    for step in steps_of(recipe, rdf):
        try:
            step.run(state)
        except KgrecError as error:
            error.become(map(state.fitting, error.faults))
            raise
    assert state.graph is not None
    report = state.report
    report.problems = state.bad_rows.lines
    report.drop("bad rows", state.bad_rows.count)
    report.seconds = time.perf_counter() - start
    return state.graph, report


def build_to(
    recipe: Path | str | Recipe, data: Path | str | None, out: Path | str, overwrite: bool = False
) -> BuildReport:
    """Build a graph and save it as the folder `out`. If anything fails, nothing is written. Raises KgrecError and
    BadData as `build` does, and where `out` exists and `overwrite` is false."""
    start = time.perf_counter()
    file = None if isinstance(recipe, Recipe) else recipe
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    refuse_existing(out, overwrite, GRAPH_FOLDER, [file, recipe.data if data is None else data])
    graph, report = build(recipe, data)
    graph.save(out, overwrite=overwrite)
    report.seconds = time.perf_counter() - start
    return report
