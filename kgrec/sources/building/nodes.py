"""Node tables to ids, labels, features and attribute edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, some
from kgrec.graph.schema import FeatureKind
from kgrec.sources.building.graph_builder import Drafts, EdgeDraft, FeatureDraft
from kgrec.sources.building.report import BuildReport
from kgrec.sources.recipe.node_part import AttributeEdge, NodeTable
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import Problems
from kgrec.sources.tables.columns import Column, Flags, Ids, Texts
from kgrec.sources.tables.typed_columns import Columns, read_table
from kgrec.sources.tables.values import (
    combined,
    feature_column,
    feature_values,
    flag_lists,
    lists,
    require_one_length,
    vectors_in,
)


@dataclass(frozen=True, eq=False)
class NodeRows:
    """What a node table says, before its nodes have numbers."""

    node_type: str
    table: NodeTable
    ids: pa.Array  #: strings [n], distinct
    label: pa.Array | None  #: strings [n]
    features: Mapping[str, tuple[FeatureKind, pa.Array]]  #: each [n]
    edges: Mapping[str, pa.ListArray]  #: by relation, the targets' ids, each [n]


def read_node_tables(recipe: Recipe, folder: Path, problems: Problems, drafts: Drafts) -> list[NodeRows]:
    """All node tables; the ids of those that list nodes are numbered, in table order."""
    read = []
    for node_type, nodes in recipe.nodes.items():
        draft = drafts.of(node_type, nodes.iri)
        for table in nodes.tables:
            rows = _read(node_type, table, folder, problems)
            read.append(rows)
            if not (nodes.only_interacted or table.describes_only):
                draft.add(rows.ids)
    return read


def _read(node_type: str, table: NodeTable, folder: Path, problems: Problems) -> NodeRows:
    id_column = Ids(table.id, is_unique=True)
    label = None if table.label is None else Texts(table.label)
    flags = {name: [Flags(column) for column in columns] for name, columns in table.flags.items()}
    features = {name: feature_column(name, f) for name, f in table.features.items() if f.file is None}
    edges = {relation: Texts(edge.column or relation) for relation, edge in table.edges.items()}
    columns: list[Column] = [id_column, *(column for group in flags.values() for column in group)]
    columns += [c for c in (label, *features.values(), *edges.values()) if c is not None and c.name not in flags]
    read = read_table(table, table.file, columns, folder, problems)
    ids = combined(read[id_column]).dictionary_decode()
    _require_distinct(ids, table)
    lists_of = {name: pa.chunked_array([flag_lists({c.name: read[c] for c in group})]) for name, group in flags.items()}
    return NodeRows(
        node_type,
        table,
        ids,
        None if label is None else combined(read[label]),
        _features(table, ids, features, read, lists_of, folder),
        {
            relation: lists(_column(edges[relation], read, lists_of), edge.split)
            for relation, edge in table.edges.items()
        },
    )


def _column(column: Column, read: Columns, lists_of: Mapping[str, pa.ChunkedArray]) -> pa.ChunkedArray:
    return lists_of[column.name] if column.name in lists_of else read[column]


def _features(
    table: NodeTable,
    ids: pa.Array,
    columns: Mapping[str, Column],
    read: Columns,
    lists_of: Mapping[str, pa.ChunkedArray],
    folder: Path,
) -> dict[str, tuple[FeatureKind, pa.Array]]:
    features: dict[str, tuple[FeatureKind, pa.Array]] = {}
    for name, feature in table.features.items():
        what = f"{table.file[0]} column {feature.column or name!r}"
        if feature.file is not None:
            values = vectors_in(folder / feature.file, len(ids), what)
        else:
            values = feature_values(feature.kind, _column(columns[name], read, lists_of), feature.split, what)
        if feature.kind == "vector":
            require_one_length(values, ids, what)
        features[name] = (feature.kind, values)
    return features


def _require_distinct(ids: pa.Array, table: NodeTable) -> None:
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        raise BadData([f"{', '.join(table.file)}: ids stand in several files: {some(twice)}; a node has one row"])


def place_node_rows(read: list[NodeRows], drafts: Drafts, report: BuildReport) -> None:
    """Labels, features and attribute edges of the nodes that are there; rows about others are counted as left out."""
    for rows in read:
        draft = drafts.of(rows.node_type)
        number = draft.find(rows.ids)
        known = number >= 0
        kept = pa.array(known)
        report.drop(f"rows of {rows.table.file[0]} about {rows.node_type} ids that nothing else lists", (~known).sum())
        if rows.label is not None:
            draft.show(number[known], rows.label.filter(kept))
        for name, (kind, values) in rows.features.items():
            draft.add_feature(name, FeatureDraft(kind, number[known], values.filter(kept)), rows.table.file[0])
        for relation, targets in rows.edges.items():
            _place_edges(rows, relation, number[known], targets.filter(kept), drafts)


def _place_edges(rows: NodeRows, relation: str, source: np.ndarray, targets: pa.ListArray, drafts: Drafts) -> None:
    """An edge from each node to each of its values; a value that stands twice in a field is one."""
    edge = rows.table.edges[relation]
    pairs = pd.DataFrame(
        {
            "source": source[pc.list_parent_indices(targets).to_numpy()],
            "target": _add_targets(edge, pc.list_flatten(targets), drafts),
        }
    ).drop_duplicates()
    drafts.add_edges(
        (rows.node_type, relation, edge.to),
        EdgeDraft(pairs["source"].to_numpy(), pairs["target"].to_numpy(), label=edge.column or relation),
    )


def _add_targets(edge: AttributeEdge, ids: pa.Array, drafts: Drafts) -> np.ndarray:
    if edge.path is None:
        return drafts.of(edge.to).add(ids)
    draft, child, parent = drafts.of(edge.to), [], []
    for text in pc.unique(ids).to_pylist():
        steps = [step.strip() for step in text.split(edge.path.strip() or edge.path)]
        paths = [edge.path.join(steps[:length]) for length in range(1, len(steps) + 1)]
        shown = paths if edge.parents else paths[-1:]
        draft.show(draft.add(pa.array(shown)), pa.array(steps[-len(shown) :]))
        child += shown[1:]
        parent += shown[:-1]
    if edge.parents:
        pairs = dict.fromkeys(zip(child, parent))
        source, target = (draft.find(pa.array([pair[end] for pair in pairs], pa.string())) for end in (0, 1))
        drafts.add_edges((edge.to, edge.parents, edge.to), EdgeDraft(source, target, label=edge.parents))
    return draft.find(pa.array([_normal(text, edge.path) for text in ids.to_pylist()], pa.string()))


def _normal(text: str, path: str) -> str:
    return path.join(step.strip() for step in text.split(path.strip() or path))
