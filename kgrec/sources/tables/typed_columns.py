"""Tables of any form to typed columns, in bulk where the file is right and row by row where it is not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from kgrec.errors import BadData, KgrecError, unknown_name
from kgrec.sources.packed_files import COMPRESSIONS
from kgrec.sources.recipe.table_part import TableFormat
from kgrec.sources.tables.bad_rows import MEND, Problems
from kgrec.sources.tables.columns import Column, Unfit
from kgrec.sources.tables.formats import JsonLines, JsonLists, Lists, Parquet
from kgrec.sources.tables.separated import Separated, require_encoding
from kgrec.sources.tables.sparql_table import SparqlTable, is_endpoint

Columns = Mapping[Column, pa.ChunkedArray]  #: each of the same length

CHUNK = 100_000  #: rows that are kept as Python values

SUFFIXES = {".parquet": "parquet", ".jsonl": "json_lines", ".ndjson": "json_lines"}


class TableReader(Protocol):
    """One file of a table."""

    @property
    def name(self) -> str:
        """The path as the recipe says it."""

    @property
    def place(self) -> str:
        """What rows are counted in: line, row or entry."""

    def names(self) -> list[str]:
        """The columns that the file has."""

    def table(self, columns: Sequence[Column]) -> pa.Table:
        """The wanted columns in bulk. Raises where any row does not fit."""

    def rows(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Each row's place and its values by column, or what is wrong with it."""


def files_of(names: Sequence[str], folder: Path) -> list[tuple[str, Path]]:
    """The files that names and patterns mean, in order. Raises BadData with all that are missing."""
    found: list[tuple[str, Path]] = []
    missing = []
    for name in names:
        is_pattern = any(sign in name for sign in "*?[") and not (folder / name).exists()
        paths = sorted(folder.glob(name)) if is_pattern else [folder / name]
        if not paths or not all(path.is_file() for path in paths):
            missing.append(f"{folder / name} is not there; mend `file` in the recipe, or say the folder with --data")
        found += [(str(path.relative_to(folder)) if is_pattern else name, path) for path in paths]
    if missing:
        raise BadData(missing)
    return found


def readers(table: TableFormat, files: Sequence[str], folder: Path) -> list[TableReader]:
    """A reader for each file. Raises BadData where one is missing."""
    if table.query is not None:
        names = [name for name in files if is_endpoint(name)]
        names += [name for name, _ in files_of([name for name in files if not is_endpoint(name)], folder)]
        return [SparqlTable(name, folder, table.query, table.prefixes) for name in names]
    return [_reader(table, name, path) for name, path in files_of(files, folder)]


def _reader(table: TableFormat, name: str, path: Path) -> TableReader:
    suffix = path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix
    require_encoding(name, table.encoding)
    match SUFFIXES.get(suffix, "separated") if table.format == "auto" else table.format:
        case "parquet":
            return Parquet(path, name)
        case "json_lines":
            return JsonLines(path, name)
        case "lists":
            return Lists(path, name, table.delimiter, table.encoding)
        case "json_lists":
            return JsonLists(path, name)
    separator = table.delimiter or ("\t" if suffix == ".tsv" else ",")
    quote = separator == "," if table.quote is None else table.quote
    if quote and len(separator) > 1:
        raise KgrecError(f"{name}: values cannot be quoted where {separator!r} separates; take `quote: true` away")
    return Separated(path, name, separator, table.columns, quote, table.encoding, table.missing)


def read_table(
    table: TableFormat, files: Sequence[str], columns: Sequence[Column], folder: Path, problems: Problems
) -> Columns:
    """The wanted columns of all files of a table, one after the other.

    Raises BadData where a file or a column is missing, or where rows are bad and bad rows are errors: one line for
    each, with file, place, value and what to do.
    """
    parts = [read_file(reader, columns, problems) for reader in readers(table, files, folder)]
    return {
        column: pa.chunked_array([chunk for part in parts for chunk in part[column].chunks], parts[0][column].type)
        for column in columns
    }


def read_file(reader: TableReader, columns: Sequence[Column], problems: Problems) -> Columns:
    """The wanted columns of one file. See `read_table`."""
    try:
        names = reader.names()
        for column in columns:
            if column.name not in names:
                unknown = unknown_name("column", column.name, names, f"in {reader.name}")
                raise BadData([f"{unknown}{_no_header(names, columns)}"])
        raw = reader.table(columns)
        result = {column: column.read(raw[column.name]) for column in columns}
    except (pa.ArrowException, Unfit, UnicodeError):
        return _read_carefully(reader, columns, problems)
    except OSError as error:
        raise BadData([f"{reader.name} cannot be read: {error}"]) from error
    if not raw.num_rows:
        raise BadData([f"{reader.name} has no rows; it must have at least one"])
    return result


def _no_header(names: Sequence[str], columns: Sequence[Column]) -> str:
    if any(column.name in names for column in columns):
        return ""
    return "; if the first line is a row already, name the columns with `columns:`"


def _read_carefully(reader: TableReader, columns: Sequence[Column], problems: Problems) -> Columns:
    """Row by row: what is wrong goes to `problems`, the rest is read as usual."""
    if not problems.reports:  # most likely they are raised, and no row need be kept
        for _ in _good_rows(reader, columns, problems):
            pass
        problems.settle()
    kept = _KeptRows([column.name for column in columns])
    for row in _good_rows(reader, columns, problems):
        kept.add(row)
    raw = kept.columns()
    if not len(raw[columns[0].name]):
        raise BadData([*problems.lines, f"{reader.name} has no good row"])
    return {column: column.read(raw[column.name]) for column in columns}


def _good_rows(reader: TableReader, columns: Sequence[Column], problems: Problems) -> Iterator[dict[str, Any]]:
    first_place: dict[tuple[Column, Any], int] = {}
    rows = reader.rows()
    while chunk := list(itertools.islice(rows, CHUNK)):
        if _all_fit([row for _, row in chunk], columns):
            yield from (row for _, row in chunk if not isinstance(row, str))
            continue
        for place, row in chunk:
            faults = [row] if isinstance(row, str) else _faults(row, columns, first_place, place, reader.place)
            for fault in faults:
                problems.add(f"{reader.name} {reader.place} {place}: {fault}")
            if problems.enough:
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
            column.read(pa.chunked_array([_array(values)]))
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
    row: dict[str, Any], columns: Sequence[Column], first_place: dict[tuple[Column, Any], int], place: int, word: str
) -> list[str]:
    faults = []
    for column in columns:
        value = row.get(column.name)
        fault = column.fault(value)
        if fault is None and column.is_unique:
            first = first_place.setdefault((column, str(value)), place)
            if first != place:
                fault = f"{column.name} {str(value)!r} stands already in {word} {first}; {MEND}"
        if fault is not None:
            faults.append(fault)
    return faults


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError):  # numbers in some rows, strings in others
        return pa.array([None if value is None else str(value) for value in values], pa.string())
