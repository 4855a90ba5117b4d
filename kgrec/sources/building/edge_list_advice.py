"""Advice for a node table whose ids repeat: it is an edge list, and this shows how to write it in a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from kgrec.column_texts import texts_of
from kgrec.errors import BadData
from kgrec.graph.schema import clean_name
from kgrec.sources.recipe.node_part import NodeTable
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.recipe.table_part import TableFormat
from kgrec.sources.tables.columns import is_list
from kgrec.sources.tables.number_column import numbers_of
from kgrec.sources.tables.opening import TableReader
from kgrec.sources.tables.raw_table import Wanted
from kgrec.sources.tables.time_column import DAY, NONE, PER_SECOND, Times, moments_of

FEWEST = 3  #: with fewer rows that repeat an id with other values, they are bad rows and not an edge list
SHARE = 0.1  #: the same, as a share of all rows

TIME_WORDS = ("time", "timestamp", "date", "datetime", "when", "since", "added", "created", "at", "t", "ts")
WEIGHT_WORDS = ("weight", "score", "rating", "count", "strength", "value", "confidence", "w", "share", "relevance")
EARLY = 86_400 * 365  #: seconds; smaller numbers are not taken as times


class EdgeListAdvice:
    """Refuses a table of nodes of one type whose rows are edges."""

    def __init__(self, node_type: str, table: NodeTable, recipe: Recipe) -> None:
        self.node_type, self.table, self.recipe = node_type, table, recipe

    def refuse(self, files: Sequence[TableReader], repeated: int, count: int) -> None:
        """Raises BadData where many of `count` rows repeat an id with other values. `repeated` rows repeat an id. A few
        such rows are bad rows, and so are rows that are equal in all columns."""
        if repeated < max(FEWEST, SHARE * count):
            return
        parts = [self._columns(reader) for reader in files]
        names = [name for name in parts[0] if all(name in part for part in parts)]
        columns = {
            name: pa.chunked_array([c for part in parts for c in part[name].chunks], pa.string()) for name in names
        }
        rows = pd.DataFrame({name: texts.to_numpy(zero_copy_only=False) for name, texts in columns.items()})
        same = int(rows.duplicated().sum())
        if rows[self.table.id].duplicated().sum() - same < max(FEWEST, SHARE * count):
            return
        what = f"{repeated:,} of {count:,} rows have the same id in column {self.table.id!r} as an earlier row"
        raise BadData(
            f"{what}: {self._advice(columns)}", file=", ".join(self.table.file), column=self.table.id, kind="edge list"
        )

    def _columns(self, reader: TableReader) -> dict[str, pa.ChunkedArray]:
        """The file's columns of single values, as texts; lists as one text each."""
        names = reader.names()
        wanted = {name: Wanted(pa.string(), lists=True) for name in names if names.count(name) == 1}
        raw = reader.careful(wanted)
        return {name: _one_text(column, name) for name, column in raw.columns.items() if _has_texts(column.type)}

    def _advice(self, columns: Mapping[str, pa.ChunkedArray]) -> str:
        of_users = [table for table in self.recipe.interactions if set(table.all_files) & set(self.table.file)]
        if of_users and self.node_type in of_users[0].between:
            return (
                f"the file is also in `interactions`, which is enough to make its {self.node_type} nodes; remove it "
                "from `nodes`"
            )
        words = self._words(columns)
        if words is None:
            return (
                "a node must have only one row; keep one row for each id, or write the table as an edge list (`edges:`)"
            )
        relation, part = words
        flow = yaml.safe_dump(part, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True).strip()
        return f"this looks like an edge list; remove it from `nodes` and write it as:\nedges:\n  {relation}: {flow}"

    def _words(self, columns: Mapping[str, pa.ChunkedArray]) -> tuple[str, dict[str, object]] | None:
        """The relation's name and its table, as written in a recipe; None: no column can be the other end."""
        others = [name for name in columns if name != self.table.id]
        time = next((found for name in others if (found := _time(name, columns[name]))), None)
        left = [name for name in others if time is None or name != time["column"]]
        weight = next((name for name in left if _is_weight(name, columns[name])), None)
        ends = [name for name in left if name != weight] or left
        if not ends:
            return None
        named = {edge.column or relation: (relation, edge.to) for relation, edge in self.table.edges.items()}
        target = next((name for name in ends if name in named), None) or max(
            ends, key=lambda name: self._fit(name, columns)
        )
        weight = None if weight == target else weight
        relation, node_type = named.get(target) or (self._relation(target), self._node_type(target))
        part: dict[str, object] = {"file": self.table.file[0] if len(self.table.file) == 1 else self.table.file}
        said = [key for key in TableFormat.model_fields if key in self.table.model_fields_set]
        part |= {key: getattr(self.table, key) for key in said}
        part |= {"between": [self.node_type, node_type], "source": self.table.id, "target": target}
        part |= {"weight": weight} if weight is not None else {}
        part |= {"time": time} if time is not None else {}
        return relation, part

    def _fit(self, column: str, columns: Mapping[str, pa.ChunkedArray]) -> tuple[bool, bool, bool]:
        """How likely a column is the other end: is it named like a node type, is it in the file's name, is it text."""
        node_type, stem = self._node_type(column), _words_of(PurePath(self.table.file[0]).name.partition(".")[0])
        is_text = bool(numbers_of(columns[column], column).null_count)
        return node_type in self.recipe.node_types, bool({node_type, clean_name(column.lower())} & set(stem)), is_text

    def _node_type(self, column: str) -> str:
        """The node type of a column's values: a known type, or a new type named like the column."""
        name = clean_name(column.lower())
        for ending in ("_id", "_ids"):
            name = name.removesuffix(ending) or name
        known = self.recipe.node_types
        singular = name[:-1] if name.endswith("s") else name
        found = next((one for one in (name, singular) if one in known), name)
        return found if found != self.node_type or found == name == self.node_type else name

    def _relation(self, column: str) -> str:
        """A new name for the relation, made from the file's name."""
        stem = PurePath(self.table.file[0]).name.partition(".")[0]
        name = (
            clean_name(stem) if stem.strip("*?[]-_ ") and not set(stem) & set("*?[]") else f"has_{clean_name(column)}"
        )
        taken = {one for table in self.recipe.interactions for one in table.relation_names} | self.recipe.edges.keys()
        return f"{name}_{clean_name(column)}" if name in taken else name


def _has_texts(kind: pa.DataType) -> bool:
    return not (pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_binary(kind))


def _one_text(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if is_list(column.type):
        return pa.chunked_array([pa.array([None if v is None else repr(v) for v in column.to_pylist()], pa.string())])
    return texts_of(column, name)


def _words_of(name: str) -> Sequence[str]:
    return clean_name(name.lower()).split("_")


def _time(name: str, texts: pa.ChunkedArray) -> dict[str, str] | None:
    """How a recipe would name this column of times; None: it does not have times."""
    values = texts.drop_null()
    if not set(_words_of(name)) & set(TIME_WORDS) or not len(values) or texts.null_count:
        return None
    numbers = numbers_of(values, name)
    if not numbers.null_count:
        latest = Times(name).now + DAY
        most = pc.max(numbers).as_py()
        unit = next((unit for unit, scale in PER_SECOND.items() if EARLY < most / scale <= latest), None)
        return None if unit is None else {"column": name, "unit": unit}
    return {"column": name, "unit": "iso"} if (moments_of(values, None) != NONE).all() else None


def _is_weight(name: str, texts: pa.ChunkedArray) -> bool:
    """Whether a column has numbers and is named like a weight, or has numbers with fractions."""
    numbers = numbers_of(texts, name)
    if texts.null_count or numbers.null_count or not len(texts):
        return False
    values = numbers.to_numpy()
    return bool(set(_words_of(name)) & set(WEIGHT_WORDS)) or bool((values != np.floor(values)).any())
