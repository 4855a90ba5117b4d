"""What is odd about a recipe's data even where the build works: names in no fact, several types, isolated nodes."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import Fault, some
from kgrec.graph.schema import EdgeType, clean_name
from kgrec.sources.building.build_state import BuildState
from kgrec.sources.building.fact_counts import unknown_predicates
from kgrec.sources.building.report import graph_only_line
from kgrec.sources.checking.likely_mistakes import links_to_nowhere, nearly_equal_ids, times_in_a_wrong_unit
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.recipe.edge_part import EdgeTable
from kgrec.sources.recipe.interaction_part import Interactions


def observations(state: BuildState, *, is_complete: bool) -> Iterator[Fault]:
    """Errors and notes on what a build read. is_complete: whether all its steps succeeded.

    A build accepts names that are in no fact and links to entities of another type. Here they are errors, or notes with
    `on_bad_rows: report`.
    """
    yield from _repeated_edges(state)
    yield from times_in_a_wrong_unit(state)
    yield from nearly_equal_ids(state)
    reports = state.recipe.on_bad_rows == "report"
    for options, facts in state.facts.values():
        for fault in (
            *_unknown_names(options, facts),
            *_several_types(options, facts),
            *_links_to_other_types(state, options, facts),
        ):
            yield fault._replace(severity="note") if reports else fault
    for fault in links_to_nowhere(state) if is_complete and not _includes_nothing(state) else ():
        yield fault._replace(severity="note") if reports else fault
    for severity, hidden in state.bad_rows.hidden.items():
        if hidden:
            yield Fault(f"{hidden:,} more bad rows are not listed", kind="bad row", severity=severity)
    for line in state.report.lines_of_left_out():
        yield Fault(line, kind="left out", severity="note")
    for line in state.report.notes:
        yield Fault(line, kind="spelling", severity="note")
    yield from _graph_only(state)
    yield from _added_nodes(state)
    if is_complete:
        yield from _isolated_nodes(state)


def _repeated_edges(state: BuildState) -> Iterator[Fault]:
    """Rows with the same user and item, or the same ends in an edge list, where the recipe keeps all."""
    found: dict[EdgeType, list[Interactions | EdgeTable]] = {}
    for table in state.recipe.interactions:
        for edge in table.edge_types:
            found.setdefault(edge, []).append(table)
    for relation, tables in state.recipe.edges.items():
        for one in tables:
            found.setdefault((one.between[0], relation, one.between[1]), []).append(one)
    for edge, of_edge in found.items():
        if edge not in state.builder.edges or not any(table.duplicates in ("keep", "merge") for table in of_edge):
            continue
        edges = state.builder.edges[edge]
        pair = edges.source * len(state.builder.nodes_of(edge[2])) + edges.target
        repeated = len(pair) - pc.count_distinct(pa.array(pair)).as_py()
        if repeated:
            is_said = all("duplicates" in table.model_fields_set for table in of_edge)
            kept = "all are kept, as `duplicates` says" if is_said else "all are kept; set `duplicates` to change that"
            ends = "user and item" if isinstance(of_edge[0], Interactions) else f"{edge[0]} and {edge[2]}"
            files = [name for table in of_edge for name in _files(table)]
            rows = "row of {} has" if repeated == 1 else "rows of {} have"
            what = f"{repeated:,} {rows.format(repr(edge[1]))} the same {ends} as an earlier row; {kept}"
            yield Fault(what, ", ".join(files), kind="duplicate", severity="note")


def _files(table: Interactions | EdgeTable) -> list[str]:
    return table.all_files if isinstance(table, Interactions) else table.file


def _unknown_names(options: FactOptions, facts: Facts) -> Iterator[Fault]:
    """Predicates and classes that are in the recipe but in no fact."""
    left_out = (name for _, name in facts.skipped_of)
    by_short_name = {clean_name(predicate): predicate for predicate in (*left_out, *facts.edges, *facts.literals)}
    for name in unknown_predicates(options, facts):
        near = get_close_matches(clean_name(options.expanded(name)), by_short_name, n=1)
        hint = f"did you mean {options.shown(by_short_name[near[0]])!r}?" if near else "fix the name, or remove it"
        yield Fault(f"no fact has the predicate {name!r}; {hint}", value=name, kind="unknown predicate")
    for name in options.types:
        if options.term(name) not in facts.types:
            what = f"no entity has the class {name!r}; fix the name, or remove it"
            yield Fault(what, value=name, kind="unknown class", severity="note")


def _includes_nothing(state: BuildState) -> bool:
    """Whether a name of `include` is in no fact, so that facts are missing for that reason."""
    return any(
        not set(unknown_predicates(options, facts)).isdisjoint(options.include or ())
        for options, facts in state.facts.values()
    )


def _several_types(options: FactOptions, facts: Facts) -> Iterator[Fault]:
    types, is_of = _types_of(options, facts)
    several = np.flatnonzero(is_of.sum(axis=0) > 1)
    if len(several):
        first = facts.resources[int(several[0])].as_py()
        of = [name for name, members in zip(types, is_of) if members[several[0]]]
        what = f"{len(several):,} entities have several node types of `types`, such as {first!r}: {', '.join(of)}"
        yield Fault(f"{what}; the first one is used", value=first, kind="type clash", severity="note")


def _links_to_other_types(state: BuildState, options: FactOptions, facts: Facts) -> Iterator[Fault]:
    types, is_of = _types_of(options, facts)
    for node_type, (number, entity, _) in state.entities.linked.items():
        found = pc.index_in(entity.cast(pa.string()), value_set=facts.resources.cast(pa.string()))
        position = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
        known = np.flatnonzero(position >= 0)
        of_own = is_of[types.index(node_type)] if node_type in types else np.zeros(len(facts.resources), bool)
        wrong = known[(is_of.sum(axis=0) > 0)[position[known]] & ~of_own[position[known]]]
        if len(wrong):
            node = state.builder.nodes_of(node_type).ids[int(number[wrong[0]])].as_py()
            iri = entity[int(wrong[0])].as_py()
            other = types[int(is_of[:, position[wrong[0]]].argmax())]
            what = f"{len(wrong):,} {node_type} nodes are linked to entities of another type"
            such = f"such as {node!r} to {iri!r}, whose type is {other}"
            yield Fault(f"{what}, {such}; fix the link or `types`", value=iri, kind="type clash")


def _types_of(options: FactOptions, facts: Facts) -> tuple[list[str], np.ndarray]:
    """The node types of `types`, and bool [types, resources]: which resources have each type."""
    types = list(dict.fromkeys(options.types.values()))
    is_of = np.zeros((len(types), len(facts.resources)), bool)
    for name, node_type in options.types.items():
        is_of[types.index(node_type), facts.types.get(options.term(name), [])] = True
    return types, is_of


def _added_nodes(state: BuildState) -> Iterator[Fault]:
    """Nodes that no table lists, although their type has tables."""
    for name, count in state.listed.items():
        nodes = state.builder.nodes_of(name)
        more = len(nodes) - count
        if more and state.recipe.nodes[name].tables:
            is_complete = state.recipe.nodes[name].complete
            advice = (
                "they come from facts or paths" if is_complete else "set `complete: true` to make this an error instead"
            )
            first = nodes.ids[count].as_py()
            which = f"the {name} id {first!r} is" if more == 1 else f"{more:,} {name} ids, such as {first!r}, are"
            what = f"{which} in no {name} table, and nodes are added for such ids; {advice}"
            yield Fault(what, value=first, kind="dangling id", severity="note")


def _graph_only(state: BuildState) -> Iterator[Fault]:
    """Nodes that are only in the knowledge graph, and predicates of `links` that are in no fact."""
    for name, found in state.report.graph_only.items():
        first = found.iris[0] if found.iris else None
        yield Fault(graph_only_line(name, found), value=first, kind="dangling id", severity="note")
    for name in state.report.unknown_predicates:
        if any(link.value_predicate == name for link in state.recipe.links.values()):
            what = f"no fact has the predicate {name!r}, which `links` uses; fix the name, or declare its prefix"
            yield Fault(what, value=name, kind="unknown predicate")


def _isolated_nodes(state: BuildState) -> Iterator[Fault]:
    has_edge = {name: np.zeros(len(nodes), bool) for name, nodes in state.builder.nodes.items()}
    for (source, _, target), edges in state.builder.edges.items():
        has_edge[source][edges.source] = True
        has_edge[target][edges.target] = True
    for name, touched in has_edge.items():
        ids = state.builder.nodes_of(name).ids.filter(pa.array(~touched)).to_pylist()
        if ids:
            what = f"{len(ids):,} of {len(touched):,} {name} nodes have no edge: {some(ids)}"
            yield Fault(what, value=ids[0], kind="isolated node", severity="note")
