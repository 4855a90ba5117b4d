"""Makes edges from the rows of interactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from kgrec.graph.schema import CLICK, EdgeType, FeatureKind
from kgrec.large_arrays import chosen, empty, spans
from kgrec.sources.building.distinct_pairs import DistinctPairs
from kgrec.sources.building.events import Events
from kgrec.sources.building.graph_builder import EdgeColumns, GraphBuilder
from kgrec.sources.recipe.interaction_part import Interactions


def place_events(events: Events, table: Interactions, target_type: EdgeType, builder: GraphBuilder) -> None:
    """Add the rows as edges, in file order, and new nodes for the ids that are new.

    target_type: the edge type of the target relation, for `click`. Raises KgrecError where another table of the same
    relation has other columns.
    """
    source = builder.nodes_of(table.between[0]).add_coded(events.user, events.user_ids)
    target = builder.nodes_of(table.between[1]).add_coded(events.item, events.item_ids)
    click = _click(events, table)
    for position, edge in enumerate(table.edge_types):
        rows = None if events.relation is None else events.relation == position
        label = edge[1] if table.relations is None else _words_for(edge[1], table.relations.values)
        columns = {name: (table.features[name].kind, values) for name, values in events.features.items()}
        if click is not None and edge == target_type:
            columns[CLICK] = ("numeric", pa.array(click))
        edges = EdgeColumns(
            _at(source, rows),
            _at(target, rows),
            None if events.time is None else _at(events.time, rows),
            None if events.weight is None else _at(events.weight, rows),
            {n: (kind, v if rows is None else v.filter(pa.array(rows))) for n, (kind, v) in columns.items()},
            label,
            part=None if events.part is None else _at(events.part, rows),
        )
        builder.add_edges(edge, edges)


def _click(events: Events, table: Interactions) -> np.ndarray | None:
    """Which rows are clicks by their own columns, float32 [E]; None: there are no clicks, or another behaviour says."""
    if table.click is None or table.click.weight is None:
        return events.click
    assert events.weight is not None
    clicked = empty(len(events), np.float32)
    for span in spans(len(events)):
        clicked[span] = events.weight[span] >= table.click.weight
    return clicked


def mark_clicks(target: EdgeType, behaviour: str, builder: GraphBuilder) -> None:
    """Mark target edges as clicks where their user and item also have an edge of another behaviour."""
    edges, others = builder.edges[target], builder.edges[target[0], behaviour, target[2]]
    width = len(builder.nodes_of(target[2]))
    other_pairs = DistinctPairs(others.source, others.target, width)
    clicked = empty(len(edges.source), np.float32)
    for span in spans(len(clicked)):
        clicked[span] = other_pairs.find(edges.source[span], edges.target[span]) >= 0
    column: tuple[FeatureKind, pa.Array] = ("numeric", pa.array(clicked))
    builder.edges[target] = replace(edges, features={**edges.features, CLICK: column})


def _words_for(relation: str, values: Mapping[str, str | None]) -> str:
    return ", ".join(word for word, name in values.items() if name == relation)


def _at(values: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return values if rows is None else chosen(values, rows)
