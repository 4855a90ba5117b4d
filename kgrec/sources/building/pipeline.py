"""A recipe and its files to one graph."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from kgrec.errors import KgrecError
from kgrec.files import refuse_existing
from kgrec.graph import Graph
from kgrec.graph.assembly import assemble
from kgrec.sources.building.graph_builder import Drafts
from kgrec.sources.building.interactions import add_clicks, add_interactions
from kgrec.sources.building.links import EntityNodes, add_facts, coverage
from kgrec.sources.building.literals import add_literals
from kgrec.sources.building.node_vectors import place_images, place_vectors
from kgrec.sources.building.nodes import place_node_rows, read_node_tables
from kgrec.sources.building.published_splits import given_candidates, given_splits
from kgrec.sources.building.relation_names import RelationNames
from kgrec.sources.building.report import BuildReport
from kgrec.sources.building.triple_tables import read_triples
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.rdf.reading import facts_of, read_rdf
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import Problems

if TYPE_CHECKING:
    import rdflib


def build(
    recipe: Path | str | Recipe,
    data: Path | str | None = None,
    *,
    rdf: Sequence[tuple[rdflib.Graph, FactOptions]] = (),
) -> tuple[Graph, BuildReport]:
    """The graph of a recipe's files, and what was found, added and left out.

    data: the folder of the files; else the recipe's own. rdf: rdflib graphs in memory, whose facts follow those of the
    recipe's files, and what their predicates and classes mean (a recipe's `rdf` part has the same options).

    Nodes are numbered in the order of their tables, then by first appearance in the interactions, then in attributes
    and facts. Raises KgrecError where the recipe is wrong, BadData with a line for each problem where files are missing
    or rows are bad.
    """
    start = time.perf_counter()
    if not isinstance(recipe, Recipe):
        recipe = Recipe.load(recipe)
    folder = Path(data if data is not None else recipe.data)
    if not folder.is_dir():
        raise KgrecError(f"{folder} is no folder; say where the files of {recipe.name} are with --data")
    drafts, problems, report = Drafts(), Problems(recipe.on_bad_rows), BuildReport(recipe.name)
    drafts.of(recipe.target_type[0]), drafts.of(recipe.target_type[2])  # users and items come first
    rows = read_node_tables(recipe, folder, problems, drafts)
    listed = {name: len(drafts.of(name)) for name, nodes in recipe.nodes.items() if not nodes.only_interacted}
    add_interactions(recipe, folder, problems, drafts, report)
    add_clicks(recipe, drafts)
    splits = given_splits(recipe, folder, problems, drafts, report)
    candidates = given_candidates(recipe, folder, drafts)
    place_node_rows(rows, drafts, report)
    for node_type, nodes in recipe.nodes.items():
        for name, file in nodes.vectors.items():
            place_vectors(node_type, name, file, folder, rows, drafts)
        for name, images in nodes.images.items():
            place_images(node_type, name, images, folder, drafts, report)
    _add_knowledge(recipe, folder, problems, drafts, report, rdf)
    report.added = {name: more for name, count in listed.items() if (more := len(drafts.of(name)) - count)}
    parts = assemble(
        {name: draft.finished() for name, draft in drafts.nodes.items()},
        {edge: draft.finished() for edge, draft in drafts.edges.items()},
        target=recipe.target_type,
        standard={key: value for key, value in recipe.standard if value is not None},
        splits=splits,
        candidates=candidates,
    )
    graph = Graph.of(parts)
    report.count(graph)
    report.problems = problems.lines
    report.drop("bad rows", problems.count)
    report.seconds = time.perf_counter() - start
    return graph, report


def build_to(
    recipe: Path | str | Recipe, data: Path | str | None, out: Path | str, overwrite: bool = False
) -> BuildReport:
    """Build a graph and save it as the folder `out`, whole or not at all. Raises KgrecError and BadData as `build`,
    and where `out` exists and `overwrite` is false."""
    start = time.perf_counter()
    refuse_existing(Path(out), overwrite)
    graph, report = build(recipe, data)
    graph.save(out, overwrite=overwrite)
    report.seconds = time.perf_counter() - start
    return report


def _add_knowledge(
    recipe: Recipe,
    folder: Path,
    problems: Problems,
    drafts: Drafts,
    report: BuildReport,
    rdf: Sequence[tuple[rdflib.Graph, FactOptions]],
) -> None:
    """Links, then the facts of all sources, one source after the other."""
    entities = EntityNodes(drafts)
    for node_type, link in recipe.links.items():
        entities.link(node_type, link, folder, problems, report)
    sources: list[tuple[FactOptions, Facts]] = [(source, read_rdf(source, folder)) for source in recipe.rdf]
    sources += [(table, read_triples(table, folder, problems)) for table in recipe.triples]
    sources += [(options, facts_of(graph, options)) for graph, options in rdf]
    names = RelationNames(taken={relation for _, relation, _ in drafts.edges})
    told: set[str] = set()
    for options, facts in sources:
        names.add(facts.edges, options)
        places = entities.place(facts, options)
        add_facts(facts, places, entities.types(), names, drafts)
        add_literals(facts, options, places, entities.types(), drafts, report)
        told |= {names[predicate] for predicate in facts.edges}
        report.num_triples += facts.num_triples
        for why, count in facts.skipped.items():
            report.drop(why, count)
        report.unknown_predicates += _unknown(options, facts)
    resources = [facts.resources.cast(pa.string()) for _, facts in sources]
    report.links = coverage(entities, resources, drafts, told)


def _unknown(options: FactOptions, facts: Facts) -> list[str]:
    """The predicates that a recipe names and no fact has."""
    found = [*facts.edges, *facts.literals]
    named = [*(options.include or ()), *options.names, *options.labels, *options.literals, *options.inverse_of]
    named += options.inverse_of.values()
    return [name for name in dict.fromkeys(named) if not any(options.matches(predicate, [name]) for predicate in found)]
