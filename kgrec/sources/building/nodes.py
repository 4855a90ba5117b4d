"""Reads node tables: ids, labels, features and attribute edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, Fault, some
from kgrec.graph.schema import FeatureKind
from kgrec.sources.building.edge_list_advice import EdgeListAdvice
from kgrec.sources.building.events import KnownIds
from kgrec.sources.building.graph_builder import EdgeColumns, GraphBuilder, PartialFeature
from kgrec.sources.building.report import BuildReport
from kgrec.sources.limits import DEEPEST
from kgrec.sources.recipe.node_part import AttributeEdge, NodeTable
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import BadRows, TableRows
from kgrec.sources.tables.columns import Column, Flags, Ids, Texts
from kgrec.sources.tables.opening import readers
from kgrec.sources.tables.table_columns import Columns, read_table
from kgrec.sources.tables.values import (
    feature_column,
    feature_values,
    flag_lists,
    require_one_length,
    vectors_in,
)


@dataclass(frozen=True, eq=False)
class NodeRows:
    """The rows of a node table, before its nodes have numbers."""

    node_type: str
    table: NodeTable
    ids: pa.Array  #: strings [n], distinct
    label: pa.Array | None  #: strings [n]
    features: Mapping[str, tuple[FeatureKind, pa.Array]]  #: each [n]
    edges: Mapping[str, pa.ListArray]  #: by relation, the targets' ids, each [n]
    unread: Sequence[str] = ()  #: columns of the files that the recipe does not read


def read_node_table(node_type: str, table: NodeTable, recipe: Recipe, folder: Path, bad_rows: BadRows) -> NodeRows:
    """The rows of a node table. Raises BadData as `read_table` does, where an id is in several files, and where so many
    rows repeat an id that the table is an edge list."""
    advice = EdgeListAdvice(node_type, table, recipe)
    label = None if table.label is None else Texts(table.label)
    id_column = Ids(table.id, is_unique=True, refuse_many=advice.refuse)
    flags = {name: [Flags(column) for column in columns] for name, columns in table.flags.items()}
    features = {name: feature_column(name, f) for name, f in table.features.items() if f.file is None}
    edges = {relation: Texts(edge.column or relation) for relation, edge in table.edges.items()}
    columns: list[Column] = [id_column, *(column for group in flags.values() for column in group)]
    columns += [c for c in (label, *features.values(), *edges.values()) if c is not None and c.name not in flags]
    read = read_table(table, table.file, columns, folder, bad_rows)
    ids = read[id_column].dictionary_decode()
    _require_distinct(ids, table, folder, advice)
    flagged = {name: flag_lists({c.name: read[c] for c in group}) for name, group in flags.items()}
    targets = {name: _targets(table, name, _column(edges[name], read, flagged)) for name in table.edges}
    return NodeRows(
        node_type,
        table,
        ids,
        None if label is None else _labels(read[label], label.name, table),
        _features(table, ids, features, read, flagged, folder),
        targets,
        _unread(table, folder),
    )


def _unread(table: NodeTable, folder: Path) -> list[str]:
    """The columns of a table's files that it does not read; none of a query, which is asked once."""
    if table.query is not None:
        return list(table.unread)
    names = [name for reader in readers(table, table.file, folder) for name in reader.names()]
    return [name for name in dict.fromkeys([*table.unread, *names]) if name and name not in table.columns_read]


def _labels(values: pa.Array, column: str, table: NodeTable) -> pa.Array:
    """The labels. Raises BadData where they are lists."""
    if pa.types.is_nested(values.type):
        what = (
            f"column {column!r} has lists ({values.type}), but a label is a single text; choose another `label` column"
        )
        raise BadData(what, file=table.file[0], column=column, kind="bad column")
    return values


def _targets(table: NodeTable, relation: str, column: pa.Array) -> pa.ListArray:
    edge = table.edges[relation]
    where = Fault(f"column {edge.column or relation!r}", table.file[0], column=edge.column or relation)
    found = feature_values("multi", column, edge.split, where)
    if edge.path is not None and len(found):
        steps = pc.max(pc.count_substring(pc.list_flatten(found), edge.path.strip() or edge.path)).as_py() or 0
        if steps >= DEEPEST:
            what = f"{where.message}: a path has {steps + 1:,} steps; the limit is {DEEPEST} steps; fix the row"
            raise BadData(where._replace(message=what, kind="too large"))
    return found


def _column(column: Column, read: Columns, flagged: Mapping[str, pa.ListArray]) -> pa.Array:
    return flagged[column.name] if column.name in flagged else read[column]


def _features(
    table: NodeTable,
    ids: pa.Array,
    columns: Mapping[str, Column],
    read: Columns,
    flagged: Mapping[str, pa.ListArray],
    folder: Path,
) -> dict[str, tuple[FeatureKind, pa.Array]]:
    features: dict[str, tuple[FeatureKind, pa.Array]] = {}
    for name, feature in table.features.items():
        column = feature.column or name
        where = Fault(f"column {column!r}", table.file[0], column=column, file_is="subject")
        if feature.file is not None:
            values = vectors_in(folder / feature.file, len(ids), where)
        else:
            values = feature_values(feature.kind, _column(columns[name], read, flagged), feature.split, where)
        if feature.kind == "vector":
            require_one_length(values, ids, where)
        features[name] = (feature.kind, values)
    return features


def _require_distinct(ids: pa.Array, table: NodeTable, folder: Path, advice: EdgeListAdvice) -> None:
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        advice.refuse(readers(table, table.file, folder), len(ids) - len(counts), len(ids))
        what = f"some ids are in more than one file: {some(twice)}; a node must have only one row"
        raise BadData(what, file=", ".join(table.file), column=table.id, value=twice[0], kind="duplicate")


def place_node_rows(
    rows: NodeRows,
    builder: GraphBuilder,
    report: BuildReport,
    known_ids: Callable[[str], KnownIds | None],
    bad_rows: TableRows,
) -> None:
    """Add the labels, features and attribute edges of the nodes in the graph. Rows about other nodes are counted as
    left out. known_ids: the ids that are allowed for a node type; None: any.

    Raises KgrecError where the type already has a feature with the same name, and BadData for attributes that are not
    allowed, where bad rows are errors.
    """
    nodes = builder.nodes_of(rows.node_type)
    number = nodes.find(rows.ids)
    known = number >= 0
    kept = pa.array(known)
    report.drop(f"rows of {rows.table.file[0]} about {rows.node_type} ids that are not in the graph", (~known).sum())
    if rows.label is not None:
        nodes.add_labels(number[known], rows.label.filter(kept))
    for name, (kind, values) in rows.features.items():
        nodes.add_feature(name, PartialFeature(kind, number[known], values.filter(kept)), rows.table.file[0])
    for relation, targets in rows.edges.items():
        edge = rows.table.edges[relation]
        targets = _known_targets(
            targets.filter(kept),
            known_ids(edge.to) if edge.path is None else None,
            edge.column or relation,
            rows,
            bad_rows,
        )
        _place_edges(rows, relation, number[known], targets, builder, report)


def _known_targets(
    targets: pa.ListArray, known: KnownIds | None, column: str, rows: NodeRows, bad_rows: TableRows
) -> pa.ListArray:
    """The lists without ids that are not allowed. Those go to `bad_rows`."""
    if known is None or not len(targets):
        return targets
    values = pc.list_flatten(targets)
    is_known = pc.is_in(values, value_set=known.ids)
    unknown = pc.unique(values.filter(pc.invert(is_known))).to_pylist()
    for value in unknown:
        what = f"{column} {value!r} {known.advice}"
        bad_rows.add(Fault(what, rows.table.file[0], column=column, value=value, kind="dangling id"))
    bad_rows.raise_if_refused()
    if not unknown:
        return targets
    kept = is_known.to_numpy(zero_copy_only=False)
    counts = np.bincount(pc.list_parent_indices(targets).to_numpy()[kept], minlength=len(targets))
    offsets = pa.array(np.append(0, counts.cumsum()), pa.int32())
    return pa.ListArray.from_arrays(offsets, values.filter(is_known))


def _place_edges(
    rows: NodeRows,
    relation: str,
    source: np.ndarray,
    targets: pa.ListArray,
    builder: GraphBuilder,
    report: BuildReport,
) -> None:
    """Add an edge from each node to each of its values. A value that is repeated in a field, in another table or in an
    edge list makes one edge."""
    edge = rows.table.edges[relation]
    heads = source[pc.list_parent_indices(targets).to_numpy()]
    tails = _add_targets(edge, pc.list_flatten(targets), builder)
    columns = EdgeColumns(heads, tails, label=edge.column or relation)
    repeated = builder.add_new_edges((rows.node_type, relation, edge.to), columns)
    where = f"column {edge.column or relation!r} of {rows.table.file[0]}"
    report.drop(f"repeated values of the same {rows.node_type} in {where}", repeated)


def _add_targets(edge: AttributeEdge, ids: pa.Array, builder: GraphBuilder) -> np.ndarray:
    if edge.path is None:
        return builder.nodes_of(edge.to).add(ids)
    nodes, child, parent = builder.nodes_of(edge.to), [], []
    for text in pc.unique(ids).to_pylist():
        steps = [step.strip() for step in text.split(edge.path.strip() or edge.path)]
        paths = [edge.path.join(steps[:length]) for length in range(1, len(steps) + 1)]
        shown = paths if edge.parents else paths[-1:]
        nodes.add_labels(nodes.add(pa.array(shown)), pa.array(steps[-len(shown) :]))
        child += shown[1:]
        parent += shown[:-1]
    if edge.parents:
        pairs = dict.fromkeys(zip(child, parent))
        source, target = (nodes.find(pa.array([pair[end] for pair in pairs], pa.string())) for end in (0, 1))
        builder.add_new_edges((edge.to, edge.parents, edge.to), EdgeColumns(source, target, label=edge.parents))
    return nodes.find(pa.array([_normal(text, edge.path) for text in ids.to_pylist()], pa.string()))


def _normal(text: str, path: str) -> str:
    return path.join(step.strip() for step in text.split(path.strip() or path))
