"""Rows about new items, in the columns of the item table: which of them the recipe reads, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kgrec.errors import BadData, Fault, KgrecError, UnknownName, nearest, some, unknown_name
from kgrec.graph import Graph
from kgrec.sources.building.attached_items import SKIP, AttachedItems, NamedSource
from kgrec.sources.building.edge_lists import place_edge_list
from kgrec.sources.building.nodes import place_node_rows, read_node_table
from kgrec.sources.packed_files import COMPRESSIONS
from kgrec.sources.rdf.rdf_file import format_of
from kgrec.sources.recipe.edge_part import EdgeTable
from kgrec.sources.recipe.knowledge_part import Triples
from kgrec.sources.recipe.node_part import AttributeEdge, NodeTable
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.recipe.table_part import FeatureColumn, TableFile, TableFormat
from kgrec.sources.tables.opening import readers

KEPT = ("missing", "on_bad_rows")  #: words of a table that hold for a file of another form too


def place_item_rows(items: AttachedItems, source: NamedSource, names: Sequence[str]) -> None:
    """The rows of a source as new items. names: its columns. Raises BadData as `read_node_table` does and for ids that
    are known, UnknownName for a file without ids, and for columns that the recipe does not read."""
    for table in _fitting(items, source.name, names):
        own, state = table.model_copy(update=file_format(table, source)), items.state
        rows = read_node_table(items.item, own, state.recipe, source.folder, state.bad_rows)
        items.add(rows.ids, source.name)
        bad_rows = state.bad_rows.of(own.on_bad_rows)
        place_node_rows(rows, state.builder, state.report, lambda node_type: None, bad_rows)


def place_item_edges(items: AttachedItems, source: NamedSource, relation: str, table: EdgeTable) -> None:
    """The rows of an edge list between new items and other nodes. Raises BadData as `place_edge_list` does, and for
    rows of which no end is a new item."""
    state, edge = items.state, (table.between[0], relation, table.between[1])
    state.folder = source.folder
    place_edge_list(relation, table.model_copy(update=file_format(table, source)), state)
    columns, is_new, numbers = state.builder.edges[edge], [], []
    for node_type, number in zip(table.between, (columns.source, columns.target)):
        if node_type == items.item:
            is_new.append(number >= items.first)
            numbers.append(number)
    is_old = ~np.logical_or.reduce(is_new)
    known = np.unique(np.concatenate([number[is_old] for number in numbers]))
    items.refuse_known(items.ids.take(pa.array(known)).to_pylist(), source.name)


def edge_list_of(items: AttachedItems, names: Sequence[str]) -> tuple[str, EdgeTable] | None:
    """The relation and edge list of items whose columns a file has; None: there is none."""
    return next(
        (
            (relation, table)
            for relation, tables in items.recipe.edges.items()
            for table in tables
            if items.item in table.between and {table.source, table.target} <= {*names}
        ),
        None,
    )


def item_tables(recipe: Recipe, item: str) -> list[NodeTable]:
    """The tables of items; one of ids alone where interactions are all that names them."""
    tables = recipe.nodes[item].tables if item in recipe.nodes else []
    return tables or [NodeTable(file=["items.csv"], id="id")]


def file_format(table: TableFile, source: NamedSource) -> dict[str, Any]:
    """How a file is to be read, as words of a table: as the table's own files, where it ends as one of them does, or
    is RDF of which the table is a query; else by its suffix. One that ends so and has not the columns may still have a
    line of their names, or be plain."""
    name, suffix = source.name, _suffix(source.name)
    own: dict[str, Any] = {"file": [name]}
    plain: dict[str, Any] = {
        key: field.get_default() for key, field in TableFormat.model_fields.items() if key not in KEPT
    } | own
    if not source.is_file:
        return plain | {"format": "parquet"}
    if table.query and format_of(Path(name)) is not None:
        return own
    if suffix not in map(_suffix, table.file):
        return plain
    named: dict[str, Any] = own | {"columns": None, "header": None}
    forms = [own, plain] if table.columns is None else [named, own, plain]
    wanted = _columns_of_ids(table)
    return next((form for form in forms if wanted <= {*_names(table, form, source)}), own)


def _columns_of_ids(table: TableFile) -> set[str]:
    """The columns by which a table's rows are known."""
    match table:
        case NodeTable():
            return {table.id}
        case Triples():
            return {table.head, table.relation, table.tail}
        case EdgeTable():
            return {table.source, table.target}
    return set()


def _names(table: TableFile, form: dict[str, Any], source: NamedSource) -> list[str]:
    """The columns of a file that is read in one form; none where it cannot be."""
    own = table.model_copy(update=form)
    try:
        return [name for reader in readers(own, own.file, source.folder) for name in reader.names()]
    except BadData:
        return []


def column_names(tables: Sequence[TableFile], source: NamedSource) -> list[str]:
    """The columns of a source. tables: those that it may hold rows of, the likeliest first."""
    table = tables[0].model_copy(update=file_format(tables[0], source))
    (reader,) = readers(table, table.file, source.folder)
    return list(reader.names())


def _suffix(name: str) -> str:
    path = Path(name)
    return (path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix).lower()


def _fitting(items: AttachedItems, source: str, names: Sequence[str]) -> list[NodeTable]:
    """The item tables whose ids a file has, of the columns that it has; features and relations of items that stand
    there under their own names are read too. Notes the columns that it lacks."""
    tables = item_tables(items.recipe, items.item)
    fitting = [table for table in tables if table.id in names]
    if not fitting:
        what = f"in {source}, by which the recipe of this run knows a new {items.item}"
        raise unknown_name("column", tables[0].id, names, what)
    parts = [_with_columns(table, names) for table in fitting]
    read = {name for table in fitting for name in (*table.columns_read, *table.flags)}
    unread = {name for table in fitting for name in (*table.unread, *(table.columns or ()))} - read
    read |= unread
    flagged = {column for table in fitting for name, group in table.flags.items() if name in names for column in group}
    lacking = [name for table in fitting for name in table.columns_read if name not in {*names, *flagged}]
    if lacking:
        items.notes.append(f"no column {some(dict.fromkeys(lacking), 20)} in {source}; new items have no such value")
    own = {name: _own_column(items.graph, items.item, name, tables) for name in names if name not in read}
    _refuse_unknown(
        items, source, [name for name, part in own.items() if part is None], read - unread | {*_own_names(items)}
    )
    more = {kind: {n: p for n, p in own.items() if isinstance(p, kind)} for kind in (FeatureColumn, AttributeEdge)}
    _refuse_twice(items, source, parts, [*more[FeatureColumn], *more[AttributeEdge]])
    first = parts[0]
    update = {
        "features": {**first.features, **more[FeatureColumn]},
        "edges": {**first.edges, **more[AttributeEdge]},
    }
    return [first.model_copy(update=update), *parts[1:]]


def _with_columns(table: NodeTable, names: Sequence[str]) -> NodeTable:
    """The table, of the columns that a file has."""
    flags = {name: [column for column in columns if column in names] for name, columns in table.flags.items()}
    flags = {name: columns for name, columns in flags.items() if columns}
    there = {*names, *flags}
    update = {
        "label": table.label if table.label in there else None,
        "flags": flags,
        "features": {n: f for n, f in table.features.items() if f.file is None and (f.column or n) in there},
        "edges": {relation: edge for relation, edge in table.edges.items() if (edge.column or relation) in there},
    }
    return table.model_copy(update=update)


def _own_names(items: AttachedItems) -> list[str]:
    """Features of items, and relations that lead from them."""
    schema = items.graph.schema
    relations = [relation for source, relation, _ in schema.edges if source == items.item]
    return [*schema.nodes[items.item].features, *dict.fromkeys(relations)]


def _own_column(
    graph: Graph, item: str, name: str, tables: Sequence[NodeTable]
) -> FeatureColumn | AttributeEdge | None:
    """What a column means that is called as a feature of items or a relation from them; None: it is neither."""
    feature = graph.schema.nodes[item].features.get(name)
    if feature is not None:
        split = next((t.features[name].split for t in tables if name in t.features), None)
        return FeatureColumn(column=name, kind=feature.kind, split=split)
    ends = [edge[2] for edge in graph.schema.edges if edge[:2] == (item, name)]
    if len(ends) > 1:
        raise KgrecError(
            f"column {name!r} is a relation of {item} to several types of nodes ({', '.join(ends)}), so a row does not "
            "say which is meant; give RDF or triples of it"
        )
    edge = next((table.edges[name] for table in tables if name in table.edges), None)
    if ends:
        return AttributeEdge(to=ends[0]) if edge is None else edge.model_copy(update={"column": name})
    return None


def _refuse_unknown(items: AttachedItems, source: str, names: Sequence[str], known: set[str]) -> None:
    """Raise UnknownName for columns that nothing reads, or note that they are left out."""
    if not names:
        return
    if items.skip_unknown:
        items.notes.append(f"left out: columns of {source} that the recipe does not read, {some(names, 20)}")
        return
    near = nearest(names[0], known)
    also = f" (and {some(names[1:])})" if len(names) > 1 else ""
    mean = f"; did you mean {near!r}? It" if near else "; it"
    message = (
        f"{source}: the recipe of this run reads no column {names[0]!r}{also}{mean} reads "
        f"{', '.join(sorted(known))}: fix the name, remove the column, or {SKIP}"
    )
    raise UnknownName(Fault(message, source, column=names[0], value=names[0], kind="unknown column", file_is="named"))


def _refuse_twice(items: AttachedItems, source: str, parts: Sequence[NodeTable], names: Sequence[str]) -> None:
    """Raise KgrecError where a column is called as a feature or relation that another column gives."""
    for part in parts:
        for name in names:
            other = part.features.get(name) or part.edges.get(name)
            if other is not None:
                message = f"columns {other.column!r} and {name!r} both say {name} of a new {items.item}; leave one"
                raise KgrecError(Fault(message, source, column=name, kind="ambiguous column"))
