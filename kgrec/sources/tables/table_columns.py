"""Reads tables of any format into typed columns.

`opening` finds the files of a table; their readers give raw columns by name; `columns` converts them in bulk and finds
wrong rows. The result is one array for each column, in the order of the rows, which `building` adds to the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.column_texts import texts_of
from kgrec.errors import BadData, Fault, unknown_name
from kgrec.large_arrays import on_disk, require_memory
from kgrec.progress import Task, working
from kgrec.sources.limits import TooDeep
from kgrec.sources.packed_files import COMPRESSIONS, PACKED, changed_while_read, file_state
from kgrec.sources.recipe.table_part import TableFormat
from kgrec.sources.tables.bad_rows import MEND, MOST, BadRows, TableRows
from kgrec.sources.tables.columns import Column, Ids, Texts, Values, Wrong, is_list, parsing_types, without_missing
from kgrec.sources.tables.opening import TableReader, readers
from kgrec.sources.tables.raw_table import RawTable
from kgrec.sources.tables.read_ahead import read_ahead
from kgrec.sources.tables.separated import Separated, empty_file
from kgrec.sources.tables.values import combined

BYTES_A_BYTE = 2  #: bytes of memory that a byte of a file takes which is read as a whole
Columns = Mapping[Column, pa.Array]  #: each of the same length; ids are dictionary arrays


def read_table(
    table: TableFormat, files: Sequence[str], columns: Sequence[Column], folder: Path, bad_rows: BadRows
) -> Columns:
    """The wanted columns of all files of a table, one after the other.

    Raises BadData where a file or a column is missing, or where rows are bad and bad rows are errors. It has a fault
    for each, with file, row, column, value and what to do. Raises KgrecError where the columns do not fit into the
    memory of `kgrec.large_arrays`.
    """
    parts, size, what = [], 0, f"the columns of {', '.join(files)}"
    for part in table_parts(table, files, columns, folder, bad_rows):
        size += sum(column.nbytes for column in part.columns.values())
        require_memory(size, what, part.share, held=what)
        parts.append(part.columns)
    return joined(parts)


class Part(NamedTuple):
    """Some rows of a table."""

    columns: Columns
    share: float  #: how much of the table has been read after these rows, as an estimate


def table_parts(
    table: TableFormat, files: Sequence[str], columns: Sequence[Column], folder: Path, bad_rows: BadRows
) -> Iterator[Part]:
    """The same in parts: a file at a time, or where large arrays are on disk (see `kgrec.large_arrays`), some rows at
    a time. Raises as `read_table` does, at the end of a file."""
    rows = bad_rows.of(table.on_bad_rows)
    try:
        found = readers(table, files, folder)
        for number, reader in enumerate(found):
            for part in _file_parts(reader, table, columns, rows):
                yield part._replace(share=(number + part.share) / len(found))
    except BadData as error:
        raise BadData(map(rows.fitting, error.faults)) from error


def joined(parts: Sequence[Mapping[Column, pa.Array | pa.ChunkedArray]]) -> Columns:
    """The rows of several parts of a table, one part after the other."""
    try:
        return {column: _one_array([part[column] for part in parts]) for column in parts[0]}
    except (pa.ArrowException, TypeError) as error:
        what = f"a column has lists in one file and text in another ({error}); use the same form in all files"
        raise BadData(what, kind="bad column") from error


def _one_array(parts: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Array:
    chunks = [chunk for part in parts for chunk in (part.chunks if isinstance(part, pa.ChunkedArray) else [part])]
    if len(chunks) == 1:
        return chunks[0]
    column = pa.chunked_array(chunks, parts[0].type)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return combined(column)


def _file_parts(
    reader: TableReader, table: TableFormat, columns: Sequence[Column], bad_rows: TableRows
) -> Iterator[Part]:
    """The good rows of one file. See `table_parts`."""
    missing = [] if isinstance(reader, Separated) else table.missing  # separated values have null there already
    rows = _GoodRows(reader, missing, bad_rows)
    before = _state_of(reader)
    try:
        _require_columns(reader, columns, is_named=table.columns is not None)
        with working(Task(f"reading {reader.name}", 1)) as task:
            for raw, read in _raw_parts(reader, columns, missing, stops=not bad_rows.are_left_out):
                good = rows.of(raw, read)
                task.reach(raw.share)
                if len(good[columns[0]]):
                    yield Part({column: _one_array([array]) for column, array in good.items()}, raw.share)
    except TooDeep as error:
        raise BadData(f"{error}; flatten the JSON", file=reader.name, row=error.line, kind="bad row") from error
    except (OSError, pa.ArrowException) as error:
        what = f"cannot be read: {error}; it is truncated or damaged; get the file again"
        raise BadData(Fault(what, reader.name, kind="altered file", file_is="subject")) from error
    if _state_of(reader) != before:
        raise BadData(changed_while_read(reader.name))
    rows.finish()


def _state_of(reader: TableReader) -> tuple[int, ...] | None:
    """What changes where a reader's file changes; None: it has no file."""
    path = getattr(reader, "path", None)
    return None if path is None else file_state(path)


def _size_of(reader: TableReader) -> int:
    """The bytes of a reader's file, unpacked, as an estimate; 0: it has no file."""
    path = getattr(reader, "path", None)
    return 0 if path is None else path.stat().st_size * (PACKED if path.suffix in COMPRESSIONS else 1)


def _raw_parts(
    reader: TableReader, columns: Sequence[Column], missing: Sequence[str], *, stops: bool
) -> Iterator[tuple[RawTable, dict[Column, Values]]]:
    """The rows of a file with their values: read in bulk until something is wrong, then carefully."""
    wanted, done = parsing_types(columns), 0
    where = on_disk()
    if any(column.is_unique for column in columns):  # so all of them must be known at once
        require_memory(BYTES_A_BYTE * _size_of(reader), f"the rows of {reader.name}")
        where = None
    try:
        if where is None:
            parts = iter([reader.fast(wanted)])
        else:
            parts = read_ahead(reader.parts(wanted, where.text, is_careful=False))
        for raw in parts:
            read = _typed(reader, raw, columns, missing)
            if raw.places is None and any(values.wrong for values in read.values()):
                break
            yield raw, read
            done += len(raw)
        else:
            return
    except (pa.ArrowException, UnicodeError):
        pass
    if where is None:
        parts = iter([reader.careful(wanted, stops=stops)])
    else:
        parts = read_ahead(reader.parts(wanted, where.text, is_careful=True, stops=stops))
    for raw in parts:  # the rows that were read before are good; there is no fault among them
        before = min(done, len(raw))
        done -= before
        if before < len(raw) or raw.faults or raw.hidden:
            rest = raw.after(before)
            yield rest, _typed(reader, rest, columns, missing)


def _require_columns(reader: TableReader, columns: Sequence[Column], is_named: bool) -> None:
    names = reader.names()
    for name in (column.name for column in columns if names.count(column.name) != 1):
        if name in names:
            what = f"{reader.name} has {names.count(name)} columns named {name!r}; give each column its own name"
            raise BadData(Fault(what, reader.name, None, name, name, "ambiguous column", file_is="named"))
        what = f"{unknown_name('column', name, names, f'in {reader.name}')}{_no_header(names, columns, is_named)}"
        raise BadData(Fault(what, reader.name, None, name, name, "missing column", file_is="named"))


def _no_header(names: Sequence[str], columns: Sequence[Column], is_named: bool) -> str:
    if is_named or any(column.name in names for column in columns):
        return ""
    return "; if the file has no header line, name its columns in `columns`"


def _typed(
    reader: TableReader, raw: RawTable, columns: Sequence[Column], missing: Sequence[str]
) -> dict[Column, Values]:
    """The values of each column, and its wrong rows. Raises BadData with the file where a type cannot be read."""
    try:
        read = {column: column.read(without_missing(raw.columns[column.name], missing)) for column in columns}
    except BadData as error:
        raise BadData([fault if fault.file else fault._replace(file=reader.name) for fault in error.faults]) from error
    for column in columns:
        if column.is_unique:
            read[column] = _once(column, read[column], raw, reader)
    _refuse_repeated_names(reader, read)
    return read


def _once(column: Column, values: Values, raw: RawTable, reader: TableReader) -> Values:
    """The same column, in which repeated values are wrong. Raises as `column.refuse_many` does."""
    chunks = values.array.chunks
    if not chunks or len(chunks[0].dictionary) == len(values.array):
        return values
    codes = np.concatenate([chunk.indices.fill_null(-1).to_numpy() for chunk in chunks])
    repeated = pd.Series(codes).duplicated().to_numpy() & (codes >= 0)
    if not repeated.any():
        return values
    if column.refuse_many is not None:
        column.refuse_many([reader], int(repeated.sum()), len(codes))
    first: dict[int, int] = {}

    def fault(row: int, value: str | None) -> Fault:
        if not first:
            found, at = np.unique(codes, return_index=True)
            places = raw.places() if raw.places else at + 1
            first.update(zip(found.tolist(), places[at].tolist()))
        what = f"{column.name} {value!r} is already in {reader.unit} {first[int(codes[row])]}; {MEND}"
        return Fault(what, column=column.name, value=value, kind="duplicate")

    return values._replace(wrong=[*values.wrong, Wrong(repeated, fault)])


def _refuse_repeated_names(reader: TableReader, read: dict[Column, Values]) -> None:
    """Rows that repeat the header line are wrong. Files that were joined together have such rows."""
    if not isinstance(reader, Separated) or not reader.has_names:
        return
    texts = [column for column in read if isinstance(column, Ids | Texts)]
    rows: np.ndarray | None = None
    for column in texts:
        array = read[column].array
        if pa.types.is_dictionary(array.type) and not any(_names(column.name, chunk) for chunk in array.chunks):
            return
        if is_list(array.type):
            return
        same = np.asarray(pc.fill_null(pc.equal(texts_of(array), column.name), False))
        rows = same if rows is None else rows & same
        if not rows.any():
            return
    if rows is not None:
        alone = rows
        for other, values in read.items():  # these rows get no other fault
            wrong = [one._replace(rows=one.rows & ~alone) for one in values.wrong]
            read[other] = values._replace(wrong=[one for one in wrong if one.rows.any()])
        fault = Fault(f"repeats the names of the columns; {MEND}", kind="bad row")
        read[texts[0]] = read[texts[0]]._replace(wrong=[Wrong(rows, lambda *_: fault), *read[texts[0]].wrong])


def _names(name: str, coded: pa.DictionaryArray) -> bool:
    return pc.index(coded.dictionary, name).as_py() >= 0


class _GoodRows:
    """Takes the bad rows out of the parts of one file. They go to `bad_rows`."""

    def __init__(self, reader: TableReader, missing: Sequence[str], bad_rows: TableRows) -> None:
        self._reader, self._missing, self._bad_rows = reader, missing, bad_rows
        self._count, self._listed, self._is_bad = 0, 0, False

    def of(self, raw: RawTable, read: dict[Column, Values]) -> dict[Column, pa.ChunkedArray]:
        """The good rows of a part."""
        if not raw.faults and not raw.hidden and not any(values.wrong for values in read.values()):
            self._count += len(raw)
            return {column: values.array for column, values in read.items()}
        self._is_bad = True
        is_wrong = np.zeros(len(raw), bool)
        for values in read.values():
            for wrong in values.wrong:
                is_wrong |= wrong.rows
        places = raw.places() if raw.places is not None else np.arange(1, len(raw) + 1)
        faults, hidden = _in_order(raw, read, places, self._missing, MOST - self._listed)
        for fault in faults:
            self._bad_rows.add(fault._replace(file=self._reader.name, unit=self._reader.unit))
        self._bad_rows.count_more(hidden)
        self._listed += len(faults)
        kept = pa.array(~is_wrong)
        self._count += int(np.count_nonzero(~is_wrong))
        good = {column: values.array.filter(kept) for column, values in read.items()}
        return {
            column: _recoded(array) if pa.types.is_dictionary(array.type) else array for column, array in good.items()
        }

    def finish(self) -> None:
        """Raise BadData where bad rows are errors, and where no row is left."""
        self._bad_rows.raise_if_refused()
        if not self._count:
            what = "has no good row" if self._is_bad else "has no rows; it must have at least one row"
            empty = empty_file(self._reader.name, what)
            raise BadData([*self._bad_rows.faults, empty] if self._is_bad else empty)


def _in_order(
    raw: RawTable, read: dict[Column, Values], places: np.ndarray, missing: Sequence[str], most: int
) -> tuple[list[Fault], int]:
    """The first `most` faults in order of place, then of column, and how many more there are."""
    found: list[tuple[int, int, int, Column | None, Wrong | Fault]] = [
        (fault.row or 0, -1, -1, None, fault) for fault in raw.faults
    ]
    count = len(found) + raw.hidden
    for order, (column, values) in enumerate(read.items()):
        said = np.zeros(len(places), bool)
        for wrong in values.wrong:
            rows = np.flatnonzero(wrong.rows & ~said)
            said |= wrong.rows
            count += len(rows)
            first = rows[:MOST].tolist()
            found += [(place, order, row, column, wrong) for place, row in zip(places[first].tolist(), first)]
    faults: list[Fault] = []
    for place, _, row, of, what in sorted(found, key=lambda one: one[:3])[:most]:
        if isinstance(what, Fault):
            faults.append(what)
        else:
            assert of is not None
            value = texts_of(without_missing(raw.columns[of.name].slice(row, 1), missing), of.name)[0].as_py()
            faults.append(what.fault(row, value)._replace(row=place))
    return faults, count - len(faults)


def _recoded(coded: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same ids, without those that are not in any row."""
    return coded.cast(pa.string()).dictionary_encode().unify_dictionaries()
