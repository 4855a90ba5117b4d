"""What the columns of a table of nodes become: the label, features, edges to new nodes, or nothing, with the reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kgrec.graph.schema import clean_name, free_name
from kgrec.sources.guessing.column_profile import Column
from kgrec.sources.guessing.column_words import has_name, has_role, is_identifier, singular, word_set, words_of
from kgrec.sources.guessing.key_search import ProfiledTable, Reference

LEAST_FLAGS = 4  #: neighboring columns of 0 and 1 that are one feature together
LEAST_REPEATS = 1.3  #: rows for each value, from which on a column is of categories
MOST_CODES = 12  #: different whole numbers that are rather codes of categories, in a file without names
MISSING = 0.95  #: share of missing values from which on a column is left out
KINDS = word_set("zip code plz postal postcode phone class status level group type gender sex")


@dataclass(eq=False)
class NodeColumns:
    """The keys of a recipe for the columns of one table."""

    label: str | None = None
    features: dict[str, Any] = field(default_factory=dict)
    edges: dict[str, dict[str, Any]] = field(default_factory=dict)
    flags: dict[str, list[str]] = field(default_factory=dict)
    because: dict[tuple[str, ...], str] = field(default_factory=dict)  #: place below the table -> evidence
    left_out: dict[str, str] = field(default_factory=dict)  #: column -> why
    new_types: dict[str, Reference] = field(default_factory=dict)  #: node type -> the table that lists its nodes


class ColumnChooser:
    """Decides on the columns of tables of one node type. taken: names of node types that exist already."""

    def __init__(self, node_type: str, refers: Mapping[str, Sequence[Reference]], taken: set[str]) -> None:
        self.node_type, self._refers, self._taken = node_type, refers, taken

    def choose(self, table: ProfiledTable, key: Column, has_label: bool) -> NodeColumns:
        """The keys for a table's columns. has_label: whether an earlier table gives the label."""
        found = NodeColumns()
        columns = [c for c in table.columns.values() if c is not key]
        label = None if has_label else label_of(columns, table, self.node_type)
        if label is not None:
            found.label = label.name
            found.because["label",] = f"{len(label.distinct):,} different texts, such as {label.few[0]!r}"
        flags = _flags(columns)
        if flags:
            self._add_flags(flags, found)
        for column in columns:
            if column is not label and column not in flags:
                self._add(column, table, found)
        return found

    def _add_flags(self, flags: Sequence[Column], found: NodeColumns) -> None:
        name = "flags" if self.node_type != "item" else "genres" if len(flags) > 8 else "flags"
        found.flags[name] = [c.name for c in flags]
        found.because["flags",] = f"{len(flags)} neighboring columns of 0 and 1"
        if self.node_type == "user":
            found.features[name] = "multi"
        else:
            to = self._type_of(singular(name))
            found.edges[f"has_{to}"] = {"column": name, "to": to}

    def _add(self, column: Column, table: ProfiledTable, found: NodeColumns) -> None:
        why = _no_use(column, table)
        if why is not None:
            found.left_out[column.name] = why
            return
        refers = [one for one in self._refers.get(column.name, ()) if one.is_named]
        if refers and not column.is_unique:
            self._refer(column, refers[0], found)
        elif column.vector:
            split = {} if column.is_list else {"split": _vector_sign(column)}
            self._feature(column, {"kind": "vector", **split}, f"{column.vector} numbers in each value", found)
        elif column.is_list:
            self._several(column, None, found)
        elif column.path is not None:
            self._path(column, found)
        elif column.name.endswith(":token_seq"):
            self._several(column, " ", found)
        elif column.split is not None:
            self._several(column, column.split, found)
        elif column.is_text:
            self._feature(column, "text", f"{column.words:.0f} words in a value, on average", found)
        elif column.is_number and not self._is_code(column, table):
            said = f"numbers from {column.numbers.min():g} to {column.numbers.max():g}" if len(column.numbers) else ""
            self._feature(column, "numeric", said, found)
        elif column.repeats >= LEAST_REPEATS or column.is_flag:
            self._category(column, found)
        elif column.words >= 2 and not column.is_key:
            self._feature(column, "text", "nearly each row has another text", found)
        else:
            found.left_out[column.name] = f"nearly each row has another value, such as {column.few[0][:60]!r}"

    def _is_code(self, column: Column, table: ProfiledTable) -> bool:
        words = {*words_of(column.name)}
        if words & KINDS or is_identifier(column.name) or column.is_flag or column.has_leading_zeros:
            return True
        few = column.is_integer and len(column.distinct) <= MOST_CODES and column.repeats > 5
        return few and not table.sample.has_header

    def _feature(self, column: Column, kind: Any, why: str, found: NodeColumns) -> None:
        name = _feature_name(column.name, found.features)
        if name != column.name:
            kind = {"column": column.name, **(kind if isinstance(kind, dict) else {"kind": kind})}
        found.features[name] = kind
        if why:
            found.because["features", name] = why

    def _category(self, column: Column, found: NodeColumns) -> None:
        few = ", ".join(value[:20] for value in column.distinct[:3].to_pylist())
        why = f"{len(column.distinct):,} categories, such as {few}"
        if self.node_type == "user" or column.is_flag:
            self._feature(column, "categorical", why, found)
        else:
            self._edge(column, {}, why, found)

    def _several(self, column: Column, split: str | None, found: NodeColumns) -> None:
        why = "lists" if split is None else f"several values in a field, such as {next(_with(column, split))[:60]!r}"
        part = {} if split is None else {"split": split}
        if self.node_type == "user":
            self._feature(column, {"kind": "multi", **part}, why, found)
        else:
            self._edge(column, part, why, found)

    def _path(self, column: Column, found: NodeColumns) -> None:
        sign = str(column.path)
        why = f"paths, such as {next(_with(column, sign))[:60]!r}"
        self._edge(column, {"path": sign, "parents": "part_of"}, why, found)

    def _refer(self, column: Column, reference: Reference, found: NodeColumns) -> None:
        """A column with the ids of another table's rows."""
        if reference.table.has_role("user") or reference.key.table is column.table:
            found.left_out[column.name] = f"refers to {reference.table.shown}, whose rows are nodes of another kind"
            return
        name = [word for word in words_of(column.name) if word not in ("id", "ids", "code", "key")]
        to = self._type_of(singular("_".join(name)) or singular(reference.table.stem))
        found.new_types[to] = reference
        self._edge(column, {}, reference.because, found, to)

    def _edge(self, column: Column, part: dict[str, Any], why: str, found: NodeColumns, to: str | None = None) -> None:
        name = singular(clean_name(re.sub(r":(token|float)(_seq)?$", "", column.name.lower())))
        to = to or self._type_of(name)
        relation = free_name(f"has_{to}", found.edges)
        found.edges[relation] = {"column": column.name, **part, "to": to}
        found.because["edges", relation] = why

    def _type_of(self, name: str) -> str:
        name = clean_name(name)
        found = free_name(name if name not in ("user", "item", self.node_type) else f"{name}_value", self._taken)
        self._taken.add(found)
        return found


def label_of(columns: Sequence[Column], table: ProfiledTable, node_type: str) -> Column | None:
    """The column with names or titles: by its name, else the first with texts that differ."""
    texts = [c for c in columns if c.few and not (c.is_list or c.is_number or c.is_iri or c.is_email or c.time)]
    named = [c for c in texts if has_role(c.name, "label") and c.length < 200 and len(c.distinct) > 0.3 * c.filled]
    if named:
        return min(named, key=lambda c: (not {"title", "name", "label"} & {*words_of(c.name)}, len(words_of(c.name))))
    short = [c for c in texts if "description" in words_of(c.name) and c.length < 60 and c.words < 9]
    if short and node_type != "user":
        return short[0]
    if node_type == "user":
        return None
    fit = [
        c
        for c in texts
        if not has_name(c.name) and len(c.distinct) > 0.8 * c.filled and c.length < 120 and c.words < 12
    ]
    return fit[0] if fit else None


def _no_use(column: Column, table: ProfiledTable) -> str | None:
    """Why a column is left out; None where it may be of use."""
    if column.is_list:
        return None if column.filled else "empty"
    if not column.filled:
        return "empty"
    if column.missing_share > MISSING:
        return f"{column.missing_share:.1%} of the rows have no value"
    if column.is_constant:
        return f"the same value in each row: {column.distinct[0].as_py()[:40]!r}"
    if column.vector:
        return None
    if column.is_iri:
        return f"addresses, such as {column.few[0][:60]}"
    if column.is_email:
        return "e-mail addresses"
    if column.has_decimal_commas:
        return "numbers with decimal commas, which a recipe does not read"
    words = {*words_of(column.name)}
    if column.time is not None and (not column.is_number or has_role(column.name, "time")):
        return f"{column.time.because}; nodes have no times"
    if {"password", "phone", "telephone", "iban", "address", "street"} & words:
        return "looks private"
    if column.is_nearly_unique and column.is_key and (is_identifier(column.name) or not column.is_number):
        return "another value in each row, so it tells no two of them alike"
    if is_identifier(column.name) and column.is_number and column.repeats < 2:
        return "nearly each row has another number"
    return None


def _flags(columns: Sequence[Column]) -> list[Column]:
    """The longest run of neighboring columns of 0 and 1."""
    best: list[Column] = []
    run: list[Column] = []
    for column in columns:
        run = [*run, column] if not column.is_list and column.is_flag and column.is_number else []
        best = max(best, run, key=len)
    return best if len(best) >= LEAST_FLAGS else []


def _feature_name(name: str, taken: Mapping[str, Any]) -> str:
    return free_name(clean_name(re.sub(r":(token|float)(_seq)?$", "", name)), taken)


def _with(column: Column, sign: str) -> Any:
    return (value for value in column.few if sign in value)


def _vector_sign(column: Column) -> str:
    return next(sign for sign in (" ", ",", ";", "|") if len(column.few[0].split(sign)) == column.vector)


def flag_names(columns: Sequence[Column], tables: Sequence[ProfiledTable]) -> tuple[list[str], str] | None:
    """The names of columns of flags, by a table that numbers as many names from 0 or 1; and that table's name."""
    for table in tables:
        if len(table.columns) != 2 or table.sample.rows != len(columns):
            continue
        for name, number in ([*table.columns.values()], [*table.columns.values()][::-1]):
            if number.is_integer and not name.is_number and number.is_unique and name.is_unique:
                numbers = np.array([int(v) for v in number.values.to_pylist()])
                if {*(numbers - numbers.min()).tolist()} == {*range(len(columns))} and numbers.min() in (0, 1):
                    names = name.values.to_pylist()
                    return [names[place] for place in np.argsort(numbers)], table.name
    return None
