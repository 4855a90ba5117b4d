"""Reads the tables of a folder as parts of a graph, and compares them with the former graph.json if there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, Fault, KgrecError, unknown_name
from kgrec.graph.assembly import EdgePart, NodePart, unix_seconds
from kgrec.graph.features import Feature
from kgrec.graph.parts import Candidates
from kgrec.graph.row_order import order_of_edges, order_of_ids
from kgrec.graph.schema import EdgeSchema, EdgeType, FeatureSchema, NodeSchema, Schema, free_names
from kgrec.graph.storage import candidate_lists, edge_file, split_codes
from kgrec.graph.vocabulary import Vocabulary
from kgrec.sources.adopting.adoption_options import AdoptionOptions
from kgrec.sources.adopting.engine_columns import (
    IGNORE,
    feature_of,
    in_file,
    plain_lists,
    row_numbers,
    vocabulary_of,
    without_index,
)
from kgrec.sources.adopting.engine_files import EngineFiles, tables_of

PANDAS_ROW = "__index_level_0__"  #: pandas' number of a row, in a frame that was sorted or filtered
NEW_ORDER = "use --new-order if the present order is right"


@dataclass
class FolderReader:
    """Reads each table once. `notes` has what was assumed, changed and dropped."""

    files: EngineFiles
    former: Schema | None  #: the schema of the former graph.json
    orders: Mapping[str, str]  #: the hashes of the order of rows in the former graph.json
    options: AdoptionOptions
    notes: list[str] = field(default_factory=list)
    nodes: dict[str, NodePart] = field(default_factory=dict)
    edges: dict[EdgeType, EdgePart] = field(default_factory=dict)
    reordered: set[str] = field(default_factory=set)  #: node types whose first rows have changed
    columns: set[str] = field(default_factory=set)  #: features, with the names that `--kind` uses

    def __post_init__(self) -> None:
        ends = [edge[end] for edge in self.files.edges for end in (0, 2)]
        self.type_names = free_names([*self.files.nodes, *ends])
        self.relation_names = free_names(edge[1] for edge in self.files.edges)

    def _noted(self, file: str) -> Callable[[str], None]:
        return lambda what: self.notes.append(f"{file}: {what}")

    def read(self) -> None:
        """Read all nodes, then all edges, in the order of the former graph.json; new types come last. Raises
        BadData."""
        was = self.former or Schema({}, {})
        for name in sorted(self.files.nodes, key=_in_order([*was.nodes], self.type_names)):
            self._read_nodes(name, was.nodes.get(self.type_names[name], NodeSchema(0)))
        named = {edge: self._edge_type(edge) for edge in self.files.edges}
        for edge in sorted(named, key=_in_order([*was.edges], named)):
            self._read_edges(edge, named[edge], was.edges.get(named[edge], EdgeSchema()))
        for edge, part in self.edges.items():
            if part.inverse_of is not None and (edge[2], part.inverse_of, edge[0]) not in self.edges:
                self.edges[edge] = replace(part, inverse_of=None)
        self.notes += [f"node type {name} no longer exists" for name in was.nodes if name not in self.nodes]
        self.notes += [f"relation {'-'.join(edge)} no longer exists" for edge in was.edges if edge not in self.edges]
        unknown = [column for column in self.options.kinds if column not in self.columns]
        if unknown:
            raise unknown_name("column", unknown[0], sorted(self.columns), "of --kind")

    def _edge_type(self, edge: EdgeType) -> EdgeType:
        for node_type in (edge[0], edge[2]):
            if node_type not in self.files.nodes:
                what = (
                    f"connects {node_type!r} nodes, but nodes/{node_type}.parquet does not exist; write that file, "
                    "with a column `id`"
                )
                file = tables_of(self.files.edges[edge])
                raise BadData(Fault(what, file, kind="missing file", value=node_type, file_is="subject"))
        return self.type_names[edge[0]], self.relation_names[edge[1]], self.type_names[edge[2]]

    # ------------------------------------------------------------------ nodes

    def _read_nodes(self, name: str, was: NodeSchema) -> None:
        file, node_type = tables_of(self.files.nodes[name]), self.type_names[name]
        with in_file(file):
            table = self.files.read(self.files.nodes[name])
            _require(table, ["id"])
            table, vocabulary = self._in_former_order(table, node_type, was.count, file)
            table = without_index(table, was.features, self._noted(file))
            features = self._features(table, ("id", "label"), name, was.features, file)
        self.nodes[node_type] = NodePart(vocabulary, features, was.label or (name if name != node_type else ""))

    def _in_former_order(self, table: pa.Table, node_type: str, count: int, file: str) -> tuple[pa.Table, Vocabulary]:
        """The rows in their present order, or in the order of pandas' index where that is the former order."""
        wanted, vocabulary = self.orders.get(f"nodes/{node_type}.parquet"), vocabulary_of(table)
        if wanted in (None, order_of_ids(vocabulary.id_array.slice(0, count))) or self.options.new_order:
            return table, vocabulary
        if PANDAS_ROW in table.column_names:
            sorted_rows = table.take(pc.sort_indices(table[PANDAS_ROW]))
            put_back = vocabulary_of(sorted_rows)
            if wanted == order_of_ids(put_back.id_array.slice(0, count)):
                self.notes.append(f"{file}: rows were put back into their former order, by column {PANDAS_ROW}")
                return sorted_rows, put_back
        self.reordered.add(node_type)
        return table, vocabulary

    def _features(
        self, table: pa.Table, own: tuple[str, ...], owner: str, was: Mapping[str, FeatureSchema], file: str
    ) -> dict[str, Feature]:
        note, features = self._noted(file), dict[str, Feature]()
        columns = [name for name in table.column_names if name not in own]
        for name in sorted(columns, key=_in_order([*was], {name: name for name in columns})):
            full_name = f"{owner}.{name}"
            self.columns.add(full_name)
            kind = self.options.kinds.get(full_name)
            if kind == IGNORE:
                note(f"column {name!r} dropped, because of --kind")
                continue
            former = was.get(name)
            features[name] = feature_of(table[name], name, kind, former)
            found = features[name].schema
            if former is None and kind is None:
                note(f"column {name!r} is read as {found.kind}; to change that, use --kind {full_name}=KIND")
            elif former is not None and former.kind == found.kind and len(found.categories) > len(former.categories):
                note(f"column {name!r} has {len(found.categories) - len(former.categories):,} new categories")
        for name in was:
            if name not in table.column_names:
                note(f"feature {name!r} no longer exists")
        return features

    # ------------------------------------------------------------------ edges

    def _read_edges(self, edge: EdgeType, named: EdgeType, was: EdgeSchema) -> None:
        file = tables_of(self.files.edges[edge])
        with in_file(file):
            table = self.files.read(self.files.edges[edge])
            _require(table, ["source", "target"])
            table = without_index(table, was.features, self._noted(file))
            time = weight = None
            if "time" in table.column_names:
                time = unix_seconds(table["time"], edge[1])
            if "weight" in table.column_names:
                weight = _weights(table["weight"])
            own = ("source", "target", "time", "weight")
            self.edges[named] = EdgePart(
                source=self._numbers(table["source"], "source", named[0], file),
                target=self._numbers(table["target"], "target", named[2], file),
                time=time,
                weight=weight,
                features=self._features(table, own, edge[1], was.features, file),
                label=was.label or (edge[1] if edge[1] != named[1] else ""),
                inverse_of=was.inverse_of,
            )

    def _numbers(self, column: pa.ChunkedArray, name: str, node_type: str, file: str) -> np.ndarray:
        array = column.combine_chunks()
        array = array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)
        numbers, by_number = row_numbers(
            array,
            name,
            self.nodes[node_type].vocabulary,
            node_type,
            self.options.edges_by,
            is_ours=self.former is not None,
        )
        if by_number and node_type in self.reordered:
            what = (
                f"has row numbers of {node_type} nodes, but the rows of nodes/{node_type}.parquet have changed since "
                "graph.json was written: their order is different, or ids were changed or removed. "
                f"Restore the rows, or write ids instead of numbers in source and target, or {NEW_ORDER}"
            )
            raise BadData(Fault(what, file, column=name, kind="wrong order", file_is="subject"))
        if not by_number and not any(line.startswith(f"{file}: {name} ") for line in self.notes):
            self.notes.append(f"{file}: {name} has ids; they were replaced by row numbers")
        return numbers

    # ------------------------------------------------------------------ splits

    def splits(self, schema: Schema) -> tuple[dict[str, np.ndarray], dict[str, Candidates]]:
        """The published splits and candidates. Raises BadData where they no longer fit the edges."""
        splits, candidates = dict[str, np.ndarray](), dict[str, Candidates]()
        for name, parts in self.files.splits.items():
            file = tables_of(parts)
            table = self.files.read(parts)
            if schema.target is None or (self.former and self.former.target not in (None, schema.target)):
                what = "belongs to the former target relation, and does not fit another one; remove it"
                raise BadData(Fault(what, file, kind="bad split", file_is="subject"))
            if name.endswith(".candidates"):
                candidates[name.removesuffix(".candidates")] = self._candidates(table, schema, file)
            else:
                splits[name] = self._split(table, schema.target, file)
        return splits, candidates

    def _split(self, table: pa.Table, target: EdgeType, file: str) -> np.ndarray:
        count = len(self.edges[target].source)
        if len(table) != count:
            what = (
                f"has {len(table):,} rows, but {target[1]!r} has {count:,} edges; it needs one row for each edge, in "
                "the order of the edges; add the missing rows, or remove the file"
            )
            raise BadData(Fault(what, file, kind="wrong length", file_is="subject"))
        wanted = self.orders.get(f"edges/{edge_file(target)}")
        edges = self.edges[target]
        if wanted is not None and not self.options.new_order and wanted != order_of_edges(edges.source, edges.target):
            what = (
                f"has a row for each edge of {target[1]!r}, but these edges or their order have changed since "
                f"graph.json was written; restore them, or remove the file, or {NEW_ORDER}"
            )
            raise BadData(Fault(what, file, kind="wrong order", file_is="subject"))
        return split_codes(table, Path(file))

    def _candidates(self, table: pa.Table, schema: Schema, file: str) -> Candidates:
        assert schema.target is not None
        with in_file(file):
            _require(table, ["user", "items"])
            user = self._numbers(table["user"], "user", schema.target[0], file)
            lists = plain_lists(table["items"].combine_chunks())
            if not pa.types.is_list(lists.type):
                what = f"items is a column of type {lists.type}; it must have lists of items"
                raise BadData(what, column="items")
            flat = self._numbers(pa.chunked_array([pc.list_flatten(lists)]), "items", schema.target[2], file)
            ends = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy())])
            items = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(flat))
            return candidate_lists(pa.table({"user": user, "items": items}), schema, self.nodes, Path(file))


def _in_order(first: list[Any], name_of: Mapping[Any, Any]) -> Callable[[Any], tuple[int, Any]]:
    """A sort key: by place in a list, then by name."""
    place = {one: number for number, one in enumerate(first)}
    return lambda one: (place.get(name_of[one], len(place)), name_of[one])


def _require(table: pa.Table, wanted: list[str]) -> None:
    for name in wanted:
        if name not in table.column_names:
            what = f"there is no column {name!r}; the columns are {', '.join(map(repr, table.column_names[:20]))}"
            raise KgrecError(what, column=name, kind="missing column")


def _weights(column: pa.ChunkedArray) -> np.ndarray:
    try:
        return column.cast(pa.float64(), safe=False).cast(pa.float32(), safe=False).to_numpy()
    except pa.ArrowException as error:
        what = f"weight is a column of type {column.type}; it must have numbers: {error}"
        raise BadData(what, column="weight", kind="bad number") from error
