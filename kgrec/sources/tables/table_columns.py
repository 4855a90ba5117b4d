"""Tables of any form to typed columns, in bulk where the file is right and row by row where it is not.

A table goes one way: `opening` finds its files, their formats give raw columns by name, `columns` types them, and what
comes out is one array a column, in the order of the rows, for `building` to place.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from kgrec.errors import BadData, Fault, unknown_name
from kgrec.sources.limits import TooDeep
from kgrec.sources.recipe.table_part import TableFormat
from kgrec.sources.tables.bad_rows import MEND, BadRows
from kgrec.sources.tables.columns import Column, Unfit, parsing_types, typed_columns
from kgrec.sources.tables.opening import TableReader, readers
from kgrec.sources.tables.separated import empty_file
from kgrec.sources.tables.values import combined

Columns = Mapping[Column, pa.Array]  #: each of the same length; ids are dictionary arrays

CHUNK = 100_000  #: rows that are kept as Python values


def read_table(
    table: TableFormat, files: Sequence[str], columns: Sequence[Column], folder: Path, bad_rows: BadRows
) -> Columns:
    """The wanted columns of all files of a table, one after the other.

    Raises BadData where a file or a column is missing, or where rows are bad and bad rows are errors: a fault for
    each, with file, row, column, value and what to do.
    """
    return joined([_read_file(reader, columns, bad_rows) for reader in readers(table, files, folder)])


def joined(parts: Sequence[Mapping[Column, pa.Array | pa.ChunkedArray]]) -> Columns:
    """The rows of several parts of a table, one part after the other."""
    try:
        return {column: _one_array([part[column] for part in parts]) for column in parts[0]}
    except (pa.ArrowException, TypeError) as error:
        what = f"its files have a column of lists in one and of text in another ({error}); write it one way in all"
        raise BadData(what, kind="bad column") from error


def _one_array(parts: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Array:
    chunks = [chunk for part in parts for chunk in (part.chunks if isinstance(part, pa.ChunkedArray) else [part])]
    if len(chunks) == 1:
        return chunks[0]
    column = pa.chunked_array(chunks, parts[0].type)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return combined(column)


def _read_file(reader: TableReader, columns: Sequence[Column], bad_rows: BadRows) -> dict[Column, pa.ChunkedArray]:
    """The wanted columns of one file. See `read_table`."""
    types = parsing_types(columns)
    try:
        _require_columns(reader, columns)
        raw = reader.table(types)
        result = typed_columns(columns, raw)
    except (pa.ArrowException, Unfit, UnicodeError):
        return _read_carefully(reader, columns, bad_rows)
    except TooDeep as error:
        raise BadData(f"{error}; flatten the JSON", file=reader.name, row=error.line, kind="bad row") from error
    except OSError as error:
        what = f"cannot be read: {error}"
        raise BadData(Fault(what, reader.name, kind="altered file", file_is="subject")) from error
    if not raw.num_rows:
        raise BadData(empty_file(reader.name, "has no rows; it must have at least one"))
    return result


def _require_columns(reader: TableReader, columns: Sequence[Column]) -> None:
    names = reader.names()
    for name in (column.name for column in columns if column.name not in names):
        what = f"{unknown_name('column', name, names, f'in {reader.name}')}{_no_header(names, columns)}"
        raise BadData(Fault(what, reader.name, None, name, name, "missing column", file_is="named"))


def _no_header(names: Sequence[str], columns: Sequence[Column]) -> str:
    if any(column.name in names for column in columns):
        return ""
    return "; if the first line is a row already, name the columns with `columns:`"


def _read_carefully(reader: TableReader, columns: Sequence[Column], bad_rows: BadRows) -> dict[Column, pa.ChunkedArray]:
    """Row by row: what is wrong goes to `bad_rows`, the rest is read as usual."""
    if not bad_rows.are_left_out:  # most likely they are raised, and no row need be kept
        for _ in _good_rows(reader, columns, bad_rows):
            pass
        bad_rows.raise_if_refused()
    kept = _KeptRows([column.name for column in columns])
    for row in _good_rows(reader, columns, bad_rows):
        kept.add(row)
    raw = kept.columns()
    if not len(raw[columns[0].name]):
        raise BadData([*bad_rows.faults, empty_file(reader.name, "has no good row")])
    return {column: _typed_alone(column, raw[column.name], reader.name) for column in columns}


def _typed_alone(column: Column, raw: pa.ChunkedArray, file: str) -> pa.ChunkedArray:
    """A column in whose single values nothing is wrong. Raises BadData where they do not go together."""
    try:
        return column.typed(raw)
    except (pa.ArrowException, Unfit, ValueError, TypeError, OverflowError) as error:
        why = f" ({error})" if str(error) else ""
        wanted = type(column).__name__.lower()
        found = f"the values of {column.name!r}, of type {raw.type}"
        what = f"{found}, cannot be read as {wanted}{why}; write them as text or numbers"
        raise BadData(what, file=file, column=column.name, kind="bad column") from error


def _good_rows(reader: TableReader, columns: Sequence[Column], bad_rows: BadRows) -> Iterator[dict[str, Any]]:
    first_place: dict[tuple[Column, Any], int] = {}
    rows = reader.rows()
    while chunk := list(itertools.islice(rows, CHUNK)):
        if _all_fit([row for _, row in chunk], columns):
            yield from (row for _, row in chunk if not isinstance(row, str))
            continue
        for place, row in chunk:
            faults = _faults(row, columns, first_place, place, reader.unit)
            for fault in faults:
                bad_rows.add(fault._replace(file=reader.name, row=place, unit=reader.unit))
            if bad_rows.is_full:
                return
            if not faults and not isinstance(row, str):
                yield row


def _all_fit(rows: list[dict[str, Any] | str], columns: Sequence[Column]) -> bool:
    """Whether nothing is wrong with any of these rows, found in bulk. Values that must be unique are not compared in
    bulk, since they must be so over all rows."""
    if any(column.is_unique for column in columns) or any(isinstance(row, str) for row in rows):
        return False
    try:
        for column in columns:
            values = [row.get(column.name) for row in rows]  # type: ignore[union-attr]
            column.typed(pa.chunked_array([_array(values)]))
    except (pa.ArrowException, Unfit):
        return False
    return True


class _KeptRows:
    """Rows as columns, in compact chunks."""

    def __init__(self, names: Sequence[str]) -> None:
        self._waiting: dict[str, list[Any]] = {name: [] for name in names}
        self._chunks: dict[str, list[pa.Array]] = {name: [] for name in names}

    def add(self, row: dict[str, Any]) -> None:
        for name, values in self._waiting.items():
            values.append(row.get(name))
        if len(values) >= CHUNK:
            self._pack()

    def _pack(self) -> None:
        for name, values in self._waiting.items():
            self._chunks[name].append(_array(values))
            values.clear()

    def columns(self) -> dict[str, pa.ChunkedArray]:
        """All rows; as strings where some chunks have numbers and others strings."""
        self._pack()
        kinds = {name: {chunk.type for chunk in chunks} - {pa.null()} for name, chunks in self._chunks.items()}
        kind_of = {name: found.pop() if len(found) == 1 else pa.string() for name, found in kinds.items()}
        return {
            name: pa.chunked_array([chunk.cast(kind_of[name]) for chunk in chunks], kind_of[name])
            for name, chunks in self._chunks.items()
        }


def _faults(
    row: dict[str, Any] | str,
    columns: Sequence[Column],
    first_place: dict[tuple[Column, Any], int],
    place: int,
    unit: str,
) -> list[Fault]:
    """What is wrong with a row, less the file and the place of the row itself."""
    if isinstance(row, str):
        return [Fault(row, kind="bad row")]
    faults = []
    for column in columns:
        value = row.get(column.name)
        fault = column.fault(value)
        if fault is None and column.is_unique:
            first = first_place.setdefault((column, str(value)), place)
            if first != place:
                what = f"{column.name} {str(value)!r} stands already in {unit} {first}; {MEND}"
                fault = Fault(what, column=column.name, value=str(value), kind="duplicate")
        if fault is not None:
            faults.append(fault)
    return faults


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError):  # numbers in some rows, strings in others
        return pa.array([None if value is None else str(value) for value in values], pa.string())
