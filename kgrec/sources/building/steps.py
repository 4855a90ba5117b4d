"""The steps from a recipe's files to a graph: one list, which a build walks until one fails and a check walks whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from kgrec.graph import Graph
from kgrec.graph.assembly import assemble
from kgrec.graph.schema import EdgeType
from kgrec.sources.building.build_state import BuildState
from kgrec.sources.building.events import read_events
from kgrec.sources.building.interactions import mark_clicks, place_events
from kgrec.sources.building.links import add_facts, coverage
from kgrec.sources.building.literals import add_literals
from kgrec.sources.building.node_vectors import place_images, place_vectors
from kgrec.sources.building.nodes import place_node_rows, read_node_table
from kgrec.sources.building.published_splits import published_candidates, published_split
from kgrec.sources.building.relation_names import RelationNames
from kgrec.sources.building.triple_tables import read_triples
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.rdf.reading import facts_of, read_rdf
from kgrec.sources.rdf.source import RdfSource
from kgrec.sources.recipe.interaction_part import Interactions
from kgrec.sources.recipe.knowledge_part import Link, Triples
from kgrec.sources.recipe.node_part import ImageFolder, NodeTable, VectorFile
from kgrec.sources.recipe.portable_recipe import portable_recipe
from kgrec.sources.recipe.published_part import PublishedCandidates
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import BadRows
from kgrec.sources.tables.images import image_files

if TYPE_CHECKING:
    import rdflib

Work = Callable[[BuildState], None]


@dataclass(frozen=True)
class Step:
    """One thing that a build does."""

    files: Sequence[str]  #: that it is about, as the recipe names them; (): the recipe itself
    run: Work  #: raises KgrecError and BadData
    look: Work | None = None  #: what a check does instead, where running takes too long
    needs: Sequence[EdgeType] = ()  #: edges without which it means nothing
    is_last: bool = False  #: whether it means nothing unless all others went well
    by_file: Sequence[Step] = ()  #: where it fails, the same for each file by itself, to find all that is wrong


def steps_of(recipe: Recipe, rdf: Sequence[tuple[rdflib.Graph, FactOptions]] = ()) -> list[Step]:
    """All steps in their order. rdf: graphs in memory, whose facts follow those of the recipe's files."""
    return [
        Step((), _name_target_ends),
        *_node_tables(recipe),
        *map(_interactions, recipe.interactions),
        *_clicks(recipe),
        *_published(recipe),
        *_node_columns(recipe),
        *_knowledge(recipe, rdf),
        Step((), _assemble, is_last=True),
    ]


def _name_target_ends(state: BuildState) -> None:
    """Users and items come first."""
    state.builder.nodes_of(state.target[0])
    state.builder.nodes_of(state.target[2])


def _node_tables(recipe: Recipe) -> Iterator[Step]:
    """Tables of nodes are read, and the ids of those that list nodes are numbered, in table order."""
    for node_type, nodes in recipe.nodes.items():
        yield Step((), _named(node_type, nodes.iri))
        for position, table in enumerate(nodes.tables):
            is_listing = not (nodes.only_interacted or table.describes_only)
            yield Step(table.file, _node_table(node_type, position, table, is_listing))
    yield Step((), _count_listed)


def _named(node_type: str, iri: str) -> Work:
    def run(state: BuildState) -> None:
        state.builder.nodes_of(node_type, iri)

    return run


def _node_table(node_type: str, position: int, table: NodeTable, is_listing: bool) -> Work:
    def run(state: BuildState) -> None:
        rows = read_node_table(node_type, table, state.folder, state.bad_rows)
        state.node_rows[node_type, position] = rows
        if is_listing:
            state.builder.nodes_of(node_type).add(rows.ids)

    return run


def _count_listed(state: BuildState) -> None:
    for node_type, nodes in state.recipe.nodes.items():
        if not nodes.only_interacted:
            state.listed[node_type] = len(state.builder.nodes_of(node_type))


def _interactions(table: Interactions) -> Step:
    """A table of interactions: the nodes that it names come after those of the node tables."""

    def run(state: BuildState) -> None:
        known = state.known_ids(table.between)
        events = read_events(table, known, state.folder, state.bad_rows, state.report)
        place_events(events, table, state.target, state.builder)

    return Step(table.all_files, run)


def _clicks(recipe: Recipe) -> Iterator[Step]:
    """Clicks that another behaviour says."""
    target, click = recipe.target_type, recipe.target_interactions.click
    if click is not None and click.behaviour is not None:
        behaviour = click.behaviour
        others = (target[0], behaviour, target[2])
        yield Step((), lambda state: mark_clicks(target, behaviour, state.builder), needs=(target, others))


def _published(recipe: Recipe) -> Iterator[Step]:
    """Splits and candidate lists."""
    target = (recipe.target_type,)
    yield Step((), _split_of_parts, needs=target)
    for name, split in recipe.splits.items():
        yield Step([*split.train, *split.valid, *split.test], _split(name), needs=target)
    for name, published in recipe.candidates.items():
        yield Step([published.file], _candidates(name, published), needs=target)


def _split_of_parts(state: BuildState) -> None:
    """The split that the interactions' own files make."""
    part = state.builder.edges[state.target].part
    if part is not None:
        state.splits[state.target_interactions.split] = part


def _split(name: str) -> Work:
    def run(state: BuildState) -> None:
        state.splits[name] = published_split(
            name, state.recipe, state.folder, state.bad_rows, state.builder, state.report
        )

    return run


def _candidates(name: str, published: PublishedCandidates) -> Work:
    def run(state: BuildState) -> None:
        state.candidates[name] = published_candidates(published, state.target, state.folder, state.builder)

    return run


def _node_columns(recipe: Recipe) -> Iterator[Step]:
    """What node tables say of the nodes that are there now, then vectors from files of their own."""
    for node_type, nodes in recipe.nodes.items():
        for position, table in enumerate(nodes.tables):
            yield Step(table.file, _node_rows(node_type, position))
    for node_type, nodes in recipe.nodes.items():
        for name, file in nodes.vectors.items():
            yield Step([file.file], _vectors(node_type, name, file))
        for name, images in nodes.images.items():
            yield Step([images.folder], _images(node_type, name, images), look=_images_are_there(images))


def _node_rows(node_type: str, position: int) -> Work:
    def run(state: BuildState) -> None:
        rows = state.node_rows.get((node_type, position))
        if rows is not None:
            place_node_rows(rows, state.builder, state.report)

    return run


def _vectors(node_type: str, name: str, file: VectorFile) -> Work:
    def run(state: BuildState) -> None:
        place_vectors(node_type, name, file, state.folder, list(state.node_rows.values()), state.builder)

    return run


def _images(node_type: str, name: str, images: ImageFolder) -> Work:
    def run(state: BuildState) -> None:
        place_images(node_type, name, images, state.folder, state.builder, state.report)

    return run


def _images_are_there(images: ImageFolder) -> Work:
    def look(state: BuildState) -> None:
        image_files(state.folder / images.folder)

    return look


def _knowledge(recipe: Recipe, rdf: Sequence[tuple[rdflib.Graph, FactOptions]]) -> Iterator[Step]:
    """Links, then the facts of all sources, one source after the other."""
    for node_type, link in recipe.links.items():
        yield Step(link.file, _link(node_type, link))
    sources = [*map(_rdf_source, recipe.rdf), *map(_triple_table, recipe.triples), *map(_rdf_graph, rdf)]
    for position, source in enumerate(sources):
        yield Step(source.files, _read_facts(position, source), by_file=source.by_file)
    for position in range(len(sources)):
        yield Step((), _place_facts(position))
        yield Step((), _count_facts(position))
    yield Step((), _count_links)


def _link(node_type: str, link: Link) -> Work:
    def run(state: BuildState) -> None:
        state.entities.link(node_type, link, state.folder, state.bad_rows, state.report)

    return run


@dataclass(frozen=True)
class _FactSource:
    """Where facts come from, and what their predicates mean."""

    options: FactOptions
    read: Callable[[Path, BadRows], Facts]
    files: Sequence[str] = ()
    by_file: Sequence[Step] = ()


def _rdf_source(source: RdfSource) -> _FactSource:
    names = [] if source.query else source.files
    alone = [(name, source.model_copy(update={"files": [name]})) for name in names if len(names) > 1]
    return _FactSource(
        source,
        lambda folder, _: read_rdf(source, folder),
        source.files or [str(source.endpoint)],
        [Step([name], _read_only(one)) for name, one in alone],
    )


def _read_only(source: RdfSource) -> Work:
    def run(state: BuildState) -> None:
        read_rdf(source, state.folder)

    return run


def _triple_table(table: Triples) -> _FactSource:
    return _FactSource(table, lambda folder, bad_rows: read_triples(table, folder, bad_rows), table.file)


def _rdf_graph(graph_and_options: tuple[rdflib.Graph, FactOptions]) -> _FactSource:
    graph, options = graph_and_options
    return _FactSource(options, lambda folder, bad_rows: facts_of(graph, options))


def _read_facts(position: int, source: _FactSource) -> Work:
    def run(state: BuildState) -> None:
        state.facts[position] = source.options, source.read(state.folder, state.bad_rows)

    return run


def _place_facts(position: int) -> Work:
    """Facts as edges and features, where they could be read."""

    def run(state: BuildState) -> None:
        if position not in state.facts:
            return
        options, facts = state.facts[position]
        builder = state.builder
        if state.relation_names is None:
            state.relation_names = RelationNames(taken={relation for _, relation, _ in builder.edges})
        names = state.relation_names
        names.add(facts.edges, options)
        places = state.entities.place(facts, options)
        add_facts(facts, places, state.entities.types(), names, builder)
        add_literals(facts, options, places, state.entities.types(), builder, state.report)
        state.relations_of_facts |= {names[predicate] for predicate in facts.edges}

    return run


def _count_facts(position: int) -> Work:
    """What the report says of a source's facts, placed or not."""

    def run(state: BuildState) -> None:
        if position not in state.facts:
            return
        options, facts = state.facts[position]
        state.report.num_triples += facts.num_triples
        for why, count in facts.skipped.items():
            state.report.drop(why, count)
        state.report.unknown_predicates += unknown_predicates(options, facts)

    return run


def unknown_predicates(options: FactOptions, facts: Facts) -> list[str]:
    """The predicates that a recipe names and no fact has."""
    found = [*facts.edges, *facts.literals]
    named = [*(options.include or ()), *options.names, *options.labels, *options.literals, *options.inverse_of]
    named += options.inverse_of.values()
    return [name for name in dict.fromkeys(named) if not any(options.matches(predicate, [name]) for predicate in found)]


def _count_links(state: BuildState) -> None:
    resources = [facts.resources.cast(pa.string()) for _, facts in state.facts.values()]
    state.report.links = coverage(state.entities, resources, state.builder, state.relations_of_facts)
    state.report.added = {
        name: more for name, count in state.listed.items() if (more := len(state.builder.nodes_of(name)) - count)
    }


def _assemble(state: BuildState) -> None:
    parts = assemble(
        {name: nodes.finished() for name, nodes in state.builder.nodes.items()},
        {edge: edges.finished() for edge, edges in state.builder.edges.items()},
        target=state.target,
        standard={key: value for key, value in state.recipe.standard if value is not None},
        splits=state.splits,
        candidates=state.candidates,
        recipe=portable_recipe(state.recipe),
    )
    state.graph = Graph.of(parts)
    state.report.count(state.graph)
