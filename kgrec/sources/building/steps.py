"""The steps from a recipe's files to a graph. A build stops at the first step that fails; a check takes all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from kgrec.graph import Graph
from kgrec.graph.assembly import assemble
from kgrec.graph.schema import EdgeType
from kgrec.sources.building.build_state import BuildState
from kgrec.sources.building.edge_lists import place_edge_list
from kgrec.sources.building.events import read_events
from kgrec.sources.building.fact_counts import count_facts
from kgrec.sources.building.fact_edges import (
    EdgePlacer,
    add_class_nodes,
    add_classes,
    add_facts,
    resources_with_classes,
)
from kgrec.sources.building.interactions import mark_clicks, place_events
from kgrec.sources.building.links import coverage, ids_of, joined, linked_pairs
from kgrec.sources.building.literals import add_labels, add_value_nodes, values_that_are_nodes
from kgrec.sources.building.node_vectors import place_images, place_vectors
from kgrec.sources.building.nodes import place_node_rows, read_node_table
from kgrec.sources.building.published_splits import published_candidates, published_split
from kgrec.sources.building.relation_names import RelationNames
from kgrec.sources.building.triple_tables import read_triples
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.rdf.reading import facts_of, read_rdf
from kgrec.sources.rdf.source import RdfSource
from kgrec.sources.recipe.edge_part import EdgeTable
from kgrec.sources.recipe.interaction_part import Interactions
from kgrec.sources.recipe.knowledge_part import Link, Triples
from kgrec.sources.recipe.node_part import ImageFolder, NodeTable, VectorFile
from kgrec.sources.recipe.portable_recipe import portable_recipe
from kgrec.sources.recipe.published_part import PublishedCandidates
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.images import require_images

if TYPE_CHECKING:
    import rdflib

Work = Callable[[BuildState], None]


@dataclass(frozen=True)
class Step:
    """One step of a build."""

    files: Sequence[str]  #: the files that it reads, as written in the recipe; (): none
    run: Work  #: raises KgrecError and BadData
    look: Work | None = None  #: what a check does instead, where `run` would take too long
    needs: Sequence[EdgeType] = ()  #: the step is skipped where these edges are missing
    is_last: bool = False  #: the step is skipped where any other step failed
    by_file: Sequence[Step] = ()  #: the same step for each file by itself, to find all problems where it fails

    @property
    def what(self) -> str:
        """What it does, in a few words."""
        if not self.files:
            return "putting the graph together"
        return f"{self.files[0]} and {len(self.files) - 1} more files" if len(self.files) > 1 else self.files[0]


def steps_of(recipe: Recipe, rdf: Sequence[tuple[rdflib.Graph, FactOptions]] = ()) -> list[Step]:
    """All steps in order. rdf: graphs in memory; their facts come after those of the recipe's files."""
    return [
        Step((), _name_target_ends),
        *_node_tables(recipe),
        *map(_interactions, recipe.interactions),
        *_edge_lists(recipe),
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
    """Node tables are read, and nodes are numbered in the order of the tables."""
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
        rows = read_node_table(node_type, table, state.recipe, state.folder, state.bad_rows)
        state.node_rows[node_type, position] = rows
        if is_listing:
            state.builder.nodes_of(node_type).add(rows.ids)

    return run


def _count_listed(state: BuildState) -> None:
    for node_type, nodes in state.recipe.nodes.items():
        if not nodes.only_interacted:
            state.listed[node_type] = len(state.builder.nodes_of(node_type))


def _interactions(table: Interactions) -> Step:
    """A table of interactions. Its new nodes come after those of the node tables."""

    def run(state: BuildState) -> None:
        known = state.known_ids(table.between)
        events = read_events(table, known, state.folder, state.bad_rows, state.report)
        place_events(events, table, state.target, state.builder)

    return Step(table.all_files, run)


def _edge_lists(recipe: Recipe) -> Iterator[Step]:
    """Edge lists. Their new nodes come after those of the interactions."""
    for relation, tables in recipe.edges.items():
        yield from (Step(table.file, _edge_list(relation, table)) for table in tables)


def _edge_list(relation: str, table: EdgeTable) -> Work:
    return lambda state: place_edge_list(relation, table, state)


def _clicks(recipe: Recipe) -> Iterator[Step]:
    """Clicks that are decided by another behaviour."""
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
    """The split that `parts` of the interactions make."""
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
    """Labels, features and edges from node tables, then vectors from separate files."""
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
            bad_rows = state.bad_rows.of(rows.table.on_bad_rows)
            place_node_rows(rows, state.builder, state.report, state.known_ids_of, bad_rows)

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
        require_images(state.folder / images.folder, images.encoder)

    return look


def _knowledge(recipe: Recipe, rdf: Sequence[tuple[rdflib.Graph, FactOptions]]) -> Iterator[Step]:
    """Links, then the facts of all sources. All sources are read before the first one is added to the graph."""
    for node_type, link in recipe.links.items():
        if link.value_predicate is None:
            yield Step(link.file, _link(node_type, link))
    sources = [*map(_rdf_source, recipe.rdf), *map(_triple_table, recipe.triples), *map(_rdf_graph, rdf)]
    for position, source in enumerate(sources):
        yield Step(source.files, _read_facts(position, source), by_file=source.by_file)
    for node_type, link in recipe.links.items():
        if link.value_predicate is not None:
            yield Step(link.file, _link_by_predicate(node_type, link))
    if len(sources) > 1:
        yield from (Step((), _name_types(position)) for position in range(len(sources)))
    yield from (Step((), _add_class_nodes(position)) for position in range(len(sources)))
    for position in range(len(sources)):
        yield Step((), _place_facts(position))
        yield Step((), _count_facts(position))
    yield Step((), lambda state: state.literal_columns.place(state.builder, state.report))
    yield Step((), _count_links)


def _link(node_type: str, link: Link) -> Work:
    def run(state: BuildState) -> None:
        state.entities.link(node_type, link, state.folder, state.bad_rows)

    return run


def _link_by_predicate(node_type: str, link: Link) -> Work:
    """Links from a predicate whose values are ids, or codes that a table has beside the ids, from all sources that
    could be read."""

    def run(state: BuildState) -> None:
        found = [ids_of(facts, link.term(options)) for options, facts in state.facts.values()]
        entities, values = (
            pa.chunked_array([pair[end] for pair in found], pa.string()).combine_chunks() for end in (0, 1)
        )
        if not len(values) and link.value_predicate is not None and state.facts:
            state.report.unknown_predicates.append(link.value_predicate)
        if link.value_of is not None:
            entities, values = joined(*linked_pairs(link, state.folder, state.bad_rows), entities, values)
        state.entities.link_by_values(node_type, entities, values)

    return run


@dataclass(frozen=True)
class _FactSource:
    """A source of facts, and what its predicates mean."""

    options: FactOptions
    read: Callable[[BuildState, Collection[str]], Facts]  #: the second argument: predicates whose values are ids
    files: Sequence[str] = ()
    by_file: Sequence[Step] = ()


def _rdf_source(source: RdfSource) -> _FactSource:
    names = [] if source.query else source.files
    alone = [(name, source.model_copy(update={"files": [name]})) for name in names if len(names) > 1]
    return _FactSource(
        source,
        lambda state, ids: read_rdf(source, state.folder, ids, state.blank_numbers),
        source.files or [str(source.endpoint)],
        [Step([name], _read_only(one)) for name, one in alone],
    )


def _read_only(source: RdfSource) -> Work:
    def run(state: BuildState) -> None:
        read_rdf(source, state.folder)

    return run


def _triple_table(table: Triples) -> _FactSource:
    return _FactSource(table, lambda state, ids: read_triples(table, state.folder, state.bad_rows, ids), table.file)


def _rdf_graph(graph_and_options: tuple[rdflib.Graph, FactOptions]) -> _FactSource:
    graph, options = graph_and_options
    return _FactSource(options, lambda state, ids: facts_of(graph, options, ids, state.blank_numbers))


def _read_facts(position: int, source: _FactSource) -> Work:
    def run(state: BuildState) -> None:
        links = [link for link in state.recipe.links.values() if link.value_predicate is not None]
        ids = [link.term(source.options) for link in links]
        state.facts[position] = source.options, source.read(state, ids)

    return run


def _name_types(position: int) -> Work:
    """The types of entities that a source states; they are used for the other sources too."""

    def run(state: BuildState) -> None:
        if position in state.facts:
            options, facts = state.facts[position]
            state.entities.name_types(facts, options)

    return run


def _add_class_nodes(position: int) -> Work:
    """Nodes for classes, before facts about them are added."""

    def run(state: BuildState) -> None:
        if position in state.facts:
            options, facts = state.facts[position]
            if options.classes is not None:
                add_class_nodes(facts, options.classes, options, state.entities)

    return run


def _place_facts(position: int) -> Work:
    """Edges and features from facts, where these could be read."""

    def run(state: BuildState) -> None:
        if position not in state.facts:
            return
        options, facts = state.facts[position]
        builder, report, entities = state.builder, state.report, state.entities
        if state.relation_names is None:
            state.relation_names = RelationNames(taken={relation for _, relation, _ in builder.edges})
        names, classes, values = state.relation_names, options.classes, values_that_are_nodes(facts, options)
        names.add([*facts.edges, *values], options)
        of_classes = resources_with_classes(facts) if classes is not None else []
        places = entities.place(facts, options, [*of_classes, *(literals.subject for literals in values.values())])
        placer = EdgePlacer(entities.types(), names, builder, report)
        add_facts(facts, places, placer)
        if classes is not None:
            add_classes(facts, classes, places, entities, placer)
        add_value_nodes(facts, options, places, placer, builder, report)
        add_labels(facts, options, places, placer.types, builder, report)
        state.literal_columns.add(facts, options, places, placer.types, report)
        state.relations_of_facts |= placer.relations

    return run


def _count_facts(position: int) -> Work:
    """Count a source's facts for the report."""

    def run(state: BuildState) -> None:
        if position in state.facts:
            options, facts = state.facts[position]
            count_facts(facts, options, state.report)

    return run


def _count_links(state: BuildState) -> None:
    resources = [facts.resources.cast(pa.string()) for _, facts in state.facts.values()]
    state.entities.count_unused(state.report)
    state.report.graph_only = state.entities.graph_only(state.recipe.node_types)
    state.report.links = coverage(state.entities, resources, state.builder, state.relations_of_facts)
    state.report.added = {
        name: more for name, count in state.listed.items() if (more := len(state.builder.nodes_of(name)) - count)
    }


def _assemble(state: BuildState) -> None:
    parts = assemble(
        {name: nodes.finished() for name, nodes in state.builder.nodes.items()},
        {edge: edges.finished() for edge, edges in state.builder.edges.items()},
        target=state.target,
        standard=state.recipe.known_by,
        splits=state.splits,
        candidates=state.candidates,
        recipe=portable_recipe(state.kept_recipe()),
    )
    state.graph = Graph.of(parts)
    state.report.count(state.graph)
