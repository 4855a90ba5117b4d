"""Tables of interactions to numbered edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from kgrec.graph.schema import CLICK, FeatureKind
from kgrec.sources.building.events import Events, as_sessions, kept, numbers_by_appearance
from kgrec.sources.building.graph_builder import Drafts, EdgeDraft
from kgrec.sources.building.report import BuildReport
from kgrec.sources.recipe.interaction_part import Interactions
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import Problems
from kgrec.sources.tables.columns import Column, Flags, Ids, Numbers, Times
from kgrec.sources.tables.typed_columns import Columns, read_table
from kgrec.sources.tables.values import combined, feature_column, feature_values

PART_CODE = {"train": 0, "valid": 1, "test": 2}


def add_interactions(recipe: Recipe, folder: Path, problems: Problems, drafts: Drafts, report: BuildReport) -> None:
    """The edges of all interactions, in file order, and the nodes that they name after those of the node tables."""
    for table in recipe.interactions:
        columns = _WantedColumns(table, recipe, drafts)
        files = list(table.parts.values()) or [table.file]
        read = [read_table(table, names, columns.all, folder, problems) for names in files]
        rows = [len(part[columns.user]) for part in read]
        codes = np.array([PART_CODE[part] for part in table.parts], np.int8)
        events = columns.events(_joined(read), np.repeat(codes, rows) if table.parts else None)
        name = files[0][0]
        if table.session:
            events = as_sessions(events, table.session.gap)
        _add(kept(events, table, report, name), table, recipe, drafts)


def _joined(read: list[Columns]) -> Columns:
    if len(read) == 1:
        return read[0]
    return {
        column: pa.chunked_array([chunk for part in read for chunk in part[column].chunks], read[0][column].type)
        for column in read[0]
    }


class _WantedColumns:
    """The columns of one table of interactions."""

    def __init__(self, table: Interactions, recipe: Recipe, drafts: Drafts) -> None:
        self.table = table
        user = table.session.by if table.session else table.user
        self.user = _ids(user, table.between[0], recipe, drafts, is_visitor=table.session is not None)
        self.item = _ids(table.item, table.between[1], recipe, drafts)
        self.relation = _behaviour(table)
        self.weight = None if table.weight is None else Numbers(table.weight, *_range(table), required=True)
        self.time = None if table.time is None else Times(table.time.column, table.time.unit, table.time.format)
        clicked = table.click.column if table.click else None
        self.click = None if clicked is None else Flags(clicked, required=True)
        self.features = {name: feature_column(name, feature) for name, feature in table.features.items()}
        optional = (self.relation, self.weight, self.time, self.click, *self.features.values())
        self.all: list[Column] = [self.user, self.item, *(column for column in optional if column is not None)]

    def events(self, read: Columns, part: np.ndarray | None) -> Events:
        """The rows as numbers."""
        user, user_ids = _coded(read[self.user])
        item, item_ids = _coded(read[self.item])
        weight = None if self.weight is None else read[self.weight].to_numpy().astype(np.float32)
        time = None if self.time is None else read[self.time].to_numpy()
        click = None if self.click is None else combined(read[self.click]).cast(pa.float32()).to_numpy()
        relation = None if self.relation is None else self._relation(read[self.relation])
        features = {
            name: feature_values(feature.kind, read[self.features[name]], feature.split, f"feature {name!r}")
            for name, feature in self.table.features.items()
        }
        return Events(user, item, user_ids, item_ids, relation, weight, time, part, click, features)

    def _relation(self, values: pa.ChunkedArray) -> np.ndarray:
        assert self.table.relations is not None
        names, relations = self.table.relation_names, self.table.relations.values
        code, said = _coded(values)
        position = [names.index(name) if (name := relations[value]) is not None else -1 for value in said.to_pylist()]
        return np.array(position, np.int8)[code]


def _ids(column: str, node_type: str, recipe: Recipe, drafts: Drafts, is_visitor: bool = False) -> Ids:
    nodes = recipe.nodes.get(node_type)
    if nodes is None or not nodes.complete or is_visitor:
        return Ids(column)
    files = ", ".join(name for table in nodes.tables for name in table.file)
    advice = f"has no row in {files}; add it, mend the row, or take `complete: true` away"
    return Ids(column, known=drafts.of(node_type).ids, advice=advice)


def _behaviour(table: Interactions) -> Ids | None:
    if table.relations is None:
        return None
    values = list(table.relations.values)
    advice = f"is not among the `values` of `relations`: {', '.join(values)}; add it there, or null to leave it out"
    return Ids(table.relations.column, known=pa.array(values, pa.string()), advice=advice)


def _range(table: Interactions) -> tuple[float, float]:
    return table.rating_range or (-np.inf, np.inf)


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """int32 [n] codes, and the distinct ids."""
    coded = combined(column.unify_dictionaries())
    return coded.indices.to_numpy(), coded.dictionary


def _add(events: Events, table: Interactions, recipe: Recipe, drafts: Drafts) -> None:
    source = _numbered(events.user, events.user_ids, table.between[0], drafts)
    target = _numbered(events.item, events.item_ids, table.between[1], drafts)
    click = _click(events, table)
    for position, edge in enumerate(table.edge_types):
        rows = None if events.relation is None else events.relation == position
        label = edge[1] if table.relations is None else _words_for(edge[1], table.relations.values)
        columns = {name: (table.features[name].kind, values) for name, values in events.features.items()}
        if click is not None and edge == recipe.target_type:
            columns[CLICK] = ("numeric", pa.array(click))
        draft = EdgeDraft(
            _at(source, rows),
            _at(target, rows),
            None if events.time is None else _at(events.time, rows),
            None if events.weight is None else _at(events.weight, rows),
            {n: (kind, v if rows is None else v.filter(pa.array(rows))) for n, (kind, v) in columns.items()},
            label,
            part=None if events.part is None else _at(events.part, rows),
        )
        drafts.add_edges(edge, draft)


def _click(events: Events, table: Interactions) -> np.ndarray | None:
    """Which rows are clicks by themselves, float32 [E]; None where a behaviour says it, or nothing."""
    if table.click is None or table.click.weight is None:
        return events.click
    assert events.weight is not None
    return (events.weight >= table.click.weight).astype(np.float32)


def add_clicks(recipe: Recipe, drafts: Drafts) -> None:
    """Where the recipe says so, which target edges are of a pair that another behaviour has too."""
    target, click = recipe.target_type, recipe.target_interactions.click
    if click is None or click.behaviour is None:
        return
    draft, other = drafts.edges[target], drafts.edges[target[0], click.behaviour, target[2]]
    width = len(drafts.of(target[2]))
    clicked = np.isin(draft.source * width + draft.target, other.source * width + other.target)
    column: tuple[FeatureKind, pa.Array] = ("numeric", pa.array(clicked.astype(np.float32)))
    drafts.edges[target] = replace(draft, features={**draft.features, CLICK: column})


def _words_for(relation: str, values: Mapping[str, str | None]) -> str:
    return ", ".join(word for word, name in values.items() if name == relation)


def _at(values: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return values if rows is None else values[rows]


def _numbered(codes: np.ndarray, ids: pa.Array, node_type: str, drafts: Drafts) -> np.ndarray:
    """The node numbers of codes; ids that are new are added in the order in which they first appear."""
    used = numbers_by_appearance(codes)
    number = np.empty(len(ids), np.int64)
    number[used] = drafts.of(node_type).add(ids.take(pa.array(used)))
    return number[codes]
