"""Builds one graph from a recipe and its files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kgrec.errors import KgrecError
from kgrec.files import refuse_existing, whole
from kgrec.graph import Graph
from kgrec.graph.storage import GRAPH_FOLDER, write_graph
from kgrec.large_arrays import LEAST, DiskArrays, arrays_on_disk, bytes_of
from kgrec.memory import memory as memory_of_machine
from kgrec.progress import Task, counted, working
from kgrec.sources.building.build_state import BuildState
from kgrec.sources.building.report import BuildReport
from kgrec.sources.building.steps import steps_of
from kgrec.sources.packed_files import COMPRESSIONS, PACKED
from kgrec.sources.rdf.facts import FactOptions
from kgrec.sources.rdf.rdf_file import FORMATS
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import BadRows

if TYPE_CHECKING:
    import rdflib


TEXT_MEMORY = 12.0  #: bytes of memory that a byte of a table of texts takes at most, if a graph is built in memory
PARQUET_MEMORY = 30.0  #: the same for a byte of a Parquet file
RDF_MEMORY = 5.0  #: the same for a byte of RDF
DEFAULT_MEMORY = 8_000_000_000  #: bytes, where the system does not say how much it has


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
    steps = steps_of(recipe, rdf)
    for step in counted("building", steps, len(steps), "steps"):
        try:
            with working(Task(step.what)):
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
    recipe: Path | str | Recipe,
    data: Path | str | None,
    out: Path | str,
    overwrite: bool = False,
    memory: int | str | None = None,
) -> BuildReport:
    """Build a graph and save it as the folder `out`. If anything fails, nothing is written.

    memory: the limit of memory for the data, in bytes or as a text such as `2GB`; None: half of the machine's memory,
    or of the container's. Where the files may need more, edges are kept in files in the folder that is being written,
    and sorted in parts; the graph and the report are the same. In memory are then the ids, labels, features and links
    of nodes, the features of edges, literal values, and tables of triples.

    Raises KgrecError and BadData as `build` does, where `out` exists and `overwrite` is false, and where something that
    must be in memory does not fit; then the message says how much is needed.
    """
    start = time.perf_counter()
    limit = default_memory() if memory is None else bytes_of(memory)
    file = None if isinstance(recipe, Recipe) else recipe
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    refuse_existing(out, overwrite, GRAPH_FOLDER, [file, recipe.data if data is None else data])
    if needed_memory(recipe, Path(recipe.data if data is None else data)) <= limit:
        graph, report = build(recipe, data)
        with working(Task(f"writing {Path(out).name}")):
            graph.save(out, overwrite=overwrite)
    else:
        with whole(out, overwrite, GRAPH_FOLDER) as folder:
            folder.mkdir()
            with arrays_on_disk(DiskArrays.within(limit, folder)):
                graph, report = build(recipe, data)
                with working(Task(f"writing {Path(out).name}")):
                    write_graph(graph, folder)
    report.seconds = time.perf_counter() - start
    return report


def default_memory() -> int:
    """The limit of memory that is used where none is set, in bytes."""
    found = memory_of_machine()
    known = [size for size in (found["total"], found["limit"]) if size is not None]
    return max(LEAST, min(known) // 2) if known else DEFAULT_MEMORY


def needed_memory(recipe: Recipe, folder: Path) -> int:
    """An estimate of the memory that a build needs where everything is in memory, in bytes, by the sizes of files."""
    names = dict.fromkeys(name for step in steps_of(recipe) for name in step.files)
    return sum(
        int(path.stat().st_size * (PACKED if path.suffix in COMPRESSIONS else 1) * _memory_of_a_byte(path))
        for name in names
        for path in ([folder / name] if (folder / name).exists() else _matching(folder, name))
        if path.is_file()
    )


def _matching(folder: Path, name: str) -> list[Path]:
    """The files that a pattern stands for; none for what is no pattern."""
    try:
        return list(folder.glob(name)) if any(character in name for character in "*?[") else []
    except (ValueError, NotImplementedError):  # no pattern of relative paths
        return []


def _memory_of_a_byte(path: Path) -> float:
    """How many bytes of memory a byte of a file takes."""
    suffixes = path.suffixes[-2:]
    if ".parquet" in suffixes:
        return PARQUET_MEMORY
    return RDF_MEMORY if any(suffix in FORMATS for suffix in suffixes) else TEXT_MEMORY
