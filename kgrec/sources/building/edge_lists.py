"""Makes edges from edge lists. Each row is an edge between two nodes; a node may have many edges."""

from __future__ import annotations

from kgrec.large_arrays import looked_up
from kgrec.sources.building.build_state import BuildState
from kgrec.sources.building.events import Events, read_events
from kgrec.sources.building.graph_builder import EdgeColumns
from kgrec.sources.recipe.edge_part import EdgeTable


def place_edge_list(relation: str, table: EdgeTable, state: BuildState) -> None:
    """Add the rows of a table as edges, in file order, and new nodes for the ids that are new.

    Raises BadData as `read_table` does, and KgrecError where another table of the relation has other columns.
    """
    rows = table.events_of(relation)
    events = read_events(
        rows, state.known_ids(table.between), state.folder, state.bad_rows, state.report, table.between
    )
    events = _about_nodes_that_stay(events, table, state)
    source, target = (state.builder.nodes_of(node_type) for node_type in table.between)
    columns = EdgeColumns(
        source.add_coded(events.user, events.user_ids),
        target.add_coded(events.item, events.item_ids),
        events.time,
        events.weight,
        {name: (table.features[name].kind, values) for name, values in events.features.items()},
        relation,
    )
    edge = (table.between[0], relation, table.between[1])
    if table.duplicates == "merge":
        repeated = state.builder.add_new_edges(edge, columns)
        state.report.drop(f"rows of {table.file[0]} that repeat an earlier row", repeated)
    else:
        state.builder.add_edges(edge, columns)
    _note_of_target_ends(relation, table, state)


def _about_nodes_that_stay(events: Events, table: EdgeTable, state: BuildState) -> Events:
    """The rows whose nodes are in the graph, for node types with `only_interacted`."""
    for node_type, codes, ids in (
        (table.between[0], "user", "user_ids"),
        (table.between[1], "item", "item_ids"),
    ):
        nodes = state.recipe.nodes.get(node_type)
        if nodes is not None and nodes.only_interacted:
            is_there = state.builder.nodes_of(node_type).find(getattr(events, ids)) >= 0
            stays = looked_up(is_there, getattr(events, codes))
            why = f"rows of {table.file[0]} about {node_type} ids that are not in the graph"
            state.report.drop(why, len(stays) - int(stays.sum()))
            events = events.at(stays)
    return events


def _note_of_target_ends(relation: str, table: EdgeTable, state: BuildState) -> None:
    """Note edges between the same node types as the target relation: they are not recommended."""
    if table.between == (state.target[0], state.target[2]):
        note = (
            f"relation {relation!r} of `edges` connects {table.between[0]} and {table.between[1]} nodes, like the "
            f"target {state.target[1]!r}, but models do not recommend it; to recommend it, move it to `interactions`"
        )
        if note not in state.report.notes:
            state.report.notes.append(note)
