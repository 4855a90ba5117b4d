"""What people ask with: ids in any sequence, and tables from pandas, Arrow, Python or a file, as checked columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, Fault, KgrecError, UnknownName, nearest, unknown_name
from kgrec.graph.assembly import unix_seconds
from kgrec.graph.vocabulary import as_strings
from kgrec.pandas_values import is_column, is_frame, is_series
from kgrec.sources.tables.bad_rows import MEND
from kgrec.sources.tables.number_column import numbers_of
from kgrec.sources.tables.raw_table import RawTable, Wanted
from kgrec.stored_tables import plain_value

if TYPE_CHECKING:
    from kgrec.sources.tables.opening import TableReader


@dataclass(frozen=True)
class InputTable:
    """Columns that somebody asks with, and what to call them and their rows in an error."""

    columns: Mapping[str, Any]  #: by name, of one length: an Arrow column or a pandas Series each
    name: str  #: such as `history`, or a file's path
    names: Sequence[str]  #: of all columns, also of those that stand twice
    path: Path | None = None  #: where it is a file
    reader: TableReader | None = None  #: of that file

    @staticmethod
    def of(values: object, name: str) -> InputTable | None:
        """A pandas DataFrame, an Arrow table or another frame that Arrow reads; None: it is no frame."""
        if is_frame(values):
            names = [str(column) for column in values.columns]
            return InputTable({column: values.iloc[:, place] for place, column in enumerate(names)}, name, names)
        if not hasattr(values, "__arrow_c_stream__") or not hasattr(values, "columns"):
            return None
        return InputTable.of_arrow(pa.table(values), name)

    @staticmethod
    def of_arrow(table: pa.Table, name: str, path: Path | None = None) -> InputTable:
        """An Arrow table, of a file where there is a path."""
        return InputTable(dict(zip(table.column_names, table.columns)), name, table.column_names, path)

    @staticmethod
    def read(path: Path, wanted: str) -> InputTable:
        """A file of any form that recipes read (.csv, .tsv, .jsonl, .parquet, packed or not), by their rule: text stays
        as it stands, `007` among it, and an empty cell is none. wanted: what the error asks for. Raises KgrecError
        where it cannot be read."""
        from kgrec.sources.recipe.table_part import TableFormat  # what reads tables takes its time to come
        from kgrec.sources.tables.opening import reader_of

        try:
            path.stat()
            reader = reader_of(TableFormat(missing=[]), str(path), path)
            names = reader.names()
            table = _whole(reader, names)
        except BadData as error:
            raise BadData([_wanting(fault, wanted) for fault in error.faults]) from error
        except (OSError, ValueError, pa.ArrowException) as error:
            raise KgrecError(f"{path}: {error}; {wanted} is wanted") from error
        return InputTable(table.columns, str(path), names, path, reader)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __contains__(self, column: str) -> bool:
        """Whether there is such a column. Raises UnknownName where it stands twice."""
        if self.names.count(column) > 1:
            self.require(column)
        return column in self.columns

    def require(self, *columns: str) -> None:
        """Raise UnknownName for a column that is not there, or stands twice, with those that are there."""
        for column in columns:
            number = self.names.count(column)
            if number > 1:
                message = f"no single column {column!r} in {self.name}: it stands there {number} times; leave one"
                raise self._column_error(message, column, "ambiguous column")
            if not number:
                raise unknown_name("single column", column, self.names, f"in {self.name}")

    def refuse_near(self, *columns: str) -> None:
        """Raise UnknownName where such a column is not there, and one whose name is nearly right is."""
        for column in columns:
            near = nearest(column, self.names) if column not in self.names else None
            if near is not None:
                message = f"no column {column!r} in {self.name}; did you mean {near!r}? Rename that, or leave it out"
                raise self._column_error(message, near, "unknown column")

    def _column_error(self, message: str, column: str, kind: str) -> UnknownName:
        return UnknownName(Fault(message, self.name, column=column, value=column, kind=kind, file_is="named"))

    def fault(self, message: str, row: int, column: str | None = None, value: object = None, kind: str = "") -> Fault:
        """What is wrong in a row, from 0: it is called by its line in a CSV file, else by its number from 1."""
        number, unit = (int(self._places[row]), self.reader.unit) if self.reader else (row + 1, "row")
        text = None if value is None else str(value)
        return Fault(message, self.name, number, column, text, kind or None, unit=unit)

    def value(self, column: str, row: int) -> object:
        """What stands in a column's row, from 0."""
        values = self.columns[column]
        value = values.iloc[row] if is_series(values) else values[row]
        return plain_value(value) if isinstance(value, pa.Scalar) else value

    def to_arrow(self) -> pa.Table:
        """All columns, of those of one name the last. Raises BadData for a column of several types."""
        columns = {}
        for name, values in self.columns.items():
            try:
                columns[name] = values if isinstance(values, pa.ChunkedArray) else _as_array(values)
            except pa.ArrowException as error:
                message = f"{name} holds values of several types, which Arrow has no column for: {error}"
                raise BadData(message, file=self.name, column=name, kind="mixed types") from error
        return pa.table(columns)

    def ids(self, column: str, *, missing: bool = False) -> pa.Array:
        """A column of ids as strings [n]. missing: whether some may be missing, null. Raises BadData as `id_strings`
        does."""

        def fault(message: str, row: int, value: object = None, kind: str = "") -> Fault:
            return self.fault(f"{column}: {message}", row, column, value, kind)

        names = id_strings(self.columns[column], fault)
        if missing:
            return names
        if self.path is not None:
            names = pc.if_else(pc.equal(names, ""), None, names)  # an empty cell of a file
        return refuse_missing(names, fault)

    def seconds(self, column: str, otherwise: int) -> np.ndarray:
        """A column of times in unix seconds, int64 [n]; moments are UTC if they name no zone. otherwise: what stands
        where there is none. Raises BadData for what is no time."""
        values = self._array(column, "unix seconds are wanted")
        try:
            found = unix_seconds(values, self.name)
        except BadData as error:
            message = f"{column} is a column of {values.type} that holds no times; unix seconds or moments are wanted"
            raise BadData(message, file=self.name, column=column, kind="bad time") from error
        return np.where(np.asarray(values.is_null()), otherwise, found)

    def numbers(self, column: str, wanted: str) -> np.ndarray:
        """A column of numbers, float32 [n]. Raises BadData for what is none, and where one is missing."""
        values = self._array(column, wanted)
        try:
            found = values.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
        except pa.ArrowException as error:
            message = f"{column} is a column of {values.type}; {wanted}"
            raise BadData(message, file=self.name, column=column, kind="bad number") from error
        wrong = np.flatnonzero(~np.isfinite(found))
        if len(wrong):
            message = f"{column} is missing or not finite; {wanted}"
            raise BadData(self.fault(message, wrong[0], column, kind="bad number"))
        return found

    def _array(self, column: str, wanted: str) -> pa.Array:
        """A column as Arrow has it; text as the numbers that it writes, null where it is empty."""
        try:
            values = _as_array(self.columns[column])
        except pa.ArrowException as error:
            message = f"{column} holds values of several types ({error}); {wanted}"
            raise BadData(message, file=self.name, column=column, kind="mixed types") from error
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            return values
        values = pc.if_else(pc.equal(values, ""), pa.scalar(None, values.type), values)
        numbers = numbers_of(pa.chunked_array([values]))
        wrong = np.flatnonzero(np.asarray(pc.and_(numbers.is_null(), values.is_valid())))
        if len(wrong):
            value = values[int(wrong[0])].as_py()
            raise BadData(
                self.fault(f"{column} {value!r} is no number; {wanted}", wrong[0], column, value, "bad number")
            )
        return numbers.combine_chunks()

    @cached_property
    def _places(self) -> np.ndarray:
        """int [n]: the line or row that each row stands in."""
        assert self.reader is not None
        places = self.reader.careful(dict.fromkeys(self.names, TEXT)).places
        assert places is not None
        return places()


TEXT = Wanted(pa.string(), lists=True)


def _wanting(fault: Fault, wanted: str) -> Fault:
    """What is wrong with a file that is no recipe's. wanted: what it should be."""
    message = fault.message.removesuffix(f"; {MEND}")
    end = "; fix the row" if message != fault.message else ""
    return fault._replace(message=f"{message}{end}; {wanted} is wanted")


def _whole(reader: TableReader, names: Sequence[str]) -> RawTable:
    """All columns of a file. Raises BadData with the rows that do not fit."""
    wanted = dict.fromkeys(names, TEXT)
    try:
        raw = reader.fast(wanted)
    except (pa.ArrowException, UnicodeError):
        raw = reader.careful(wanted, stops=True)
    if raw.faults:
        raise BadData([fault._replace(file=reader.name, unit=reader.unit) for fault in raw.faults])
    return raw


class Faults(Protocol):
    """What is wrong with an id: message, its place from 0, its value, the kind."""

    def __call__(self, message: str, row: int, value: object = None, kind: str = "") -> Fault: ...


def id_strings(values: Any, fault: Faults) -> pa.Array:
    """Ids as strings [n], null where one is missing: text as it is, and a whole number as it is written, 7 as `7`.

    Raises BadData for ids of several types, for decimal numbers, which are no ids, and for other things than text and
    numbers.
    """
    try:
        names = _as_array(values)
    except pa.ArrowException as error:
        raise BadData(_mixed(values, fault) or fault(f"ids are text or whole numbers: {error}", 0)) from error
    kind = names.type
    if not len(names):
        return pa.array([], pa.string())  # of an empty pandas column, whatever its type
    if pa.types.is_floating(kind):
        raise BadData(_decimal(names, fault))
    if pa.types.is_boolean(kind) or pa.types.is_nested(kind):
        value = plain_value(names[0])
        raise BadData(fault(f"{value!r} is no id; ids are text or whole numbers", 0, value, "bad id"))
    return names.cast(pa.string()) if pa.types.is_null(kind) else as_strings(names)


def refuse_missing(names: pa.Array, fault: Faults) -> pa.Array:
    """The same ids. Raises BadData where one is missing."""
    if names.null_count:
        rows = np.flatnonzero(np.asarray(names.is_null()))
        more = f", and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        message = f"an id is missing{more}; leave out what has no id"
        raise BadData(fault(message, int(rows[0]), kind="missing id"))
    return names


def id_list(values: Any, name: str) -> pa.Array:
    """Ids of any sequence as strings [n], none of them missing. Raises BadData as `id_strings`, and KgrecError for what
    is no sequence of ids."""
    if isinstance(values, Mapping | str | bytes) or not isinstance(values, Iterable):
        raise KgrecError(f"{name}: {type(values).__name__} is no list of ids; a list, an array or a Series is wanted")
    if not isinstance(values, pa.Array | pa.ChunkedArray | np.ndarray) and not is_column(values):
        values = list(values)
    dimensions = getattr(values, "ndim", 1)
    if dimensions != 1:
        raise KgrecError(f"{name}: an array of {dimensions} dimensions is no list of ids; one of 1 is wanted")

    def fault(message: str, row: int, value: object = None, kind: str = "") -> Fault:
        return Fault(message, name, row + 1, None, None if value is None else str(value), kind or None, unit="entry")

    return refuse_missing(id_strings(values, fault), fault)


def is_one_id(value: object) -> bool:
    """Whether this is an id alone, not several."""
    return isinstance(value, str | bytes | int | float | np.generic)


def _as_array(values: Any) -> pa.Array:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        array = values
    else:
        numeric = (isinstance(values, np.ndarray) or is_column(values)) and values.dtype != object
        try:
            array = pa.array(values if numeric else list(values), from_pandas=True)
        except UnicodeEncodeError as error:
            raise pa.ArrowInvalid(f"a text has half a pair of surrogates: {error}") from error
        except OverflowError as error:
            raise pa.ArrowInvalid(f"a number has more than 64 bits: {error}") from error
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _decimal(names: pa.Array, fault: Faults) -> Fault:
    """What is wrong with ids [n] that are decimal numbers, and what makes them so."""
    valid = np.asarray(names.is_valid())
    if names.null_count:
        row = int(np.argmin(valid))
        message = (
            "an id is missing, which makes whole numbers decimal in pandas; leave out what has no id, or keep the "
            "column as dtype 'Int64'"
        )
        return fault(message, row, kind="missing id")
    value = names[0].as_py()
    message = (
        f"{value!r} is a decimal number, and no id; convert whole numbers with .astype('int64'), and text with "
        ".astype(str)"
    )
    return fault(message, 0, value, "bad id")


def _mixed(values: Any, fault: Faults) -> Fault | None:
    """The first two ids of which one is text and the other a number; None: there are none."""
    import pandas as pd  # takes its time to come

    first: tuple[int, object] | None = None
    for row, value in enumerate(values):
        if pd.api.types.is_scalar(value) and pd.isna(value):
            continue
        if first is None:
            first = row, value
        elif isinstance(value, str) != isinstance(first[1], str):
            kind = {True: "text", False: "a number"}
            message = (
                f"{value!r} is {kind[isinstance(value, str)]}, where {first[1]!r} before it is "
                f"{kind[isinstance(first[1], str)]}; ids are all text or all whole numbers: convert them with str"
            )
            return fault(message, row, value, "mixed types")
    return None
