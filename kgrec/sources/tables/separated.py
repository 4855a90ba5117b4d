"""Tables of separated values, such as CSV. pyarrow parses them, after broken records are taken out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.csv

from kgrec.errors import BadData, Fault
from kgrec.sources.packed_files import COMPRESSIONS, PACKED
from kgrec.sources.tables.bad_rows import MEND, MOST
from kgrec.sources.tables.raw_table import RawTable, Wanted
from kgrec.sources.tables.record_stream import BLOCK, UNIT_SEPARATOR, OneByte, Records
from kgrec.sources.tables.text_streams import TextStream, arrow_stream

SEPARATORS = ("::", "\t", "|", ";", ",", " ")
LOOKED_AT = 20  #: records that are read to find the names and the number of columns
TRAILING = ""  #: the name of the empty column that a separator at the end of every line makes


@dataclass(frozen=True)
class Separated:
    """One file of separated values."""

    path: Path
    name: str  #: the path as it is written in the recipe
    separator: str = ","
    columns: Sequence[str] | None = None  #: None: the first line has the names, or they are 1, 2, 3
    quote: bool = True
    encoding: str = "utf-8"
    missing: Sequence[str] = ("",)
    skip_rows: int = 0  #: lines to skip at the top
    header: bool | None = None  #: whether the first line has the names of the columns; None: unless `columns` is set

    unit: ClassVar[str] = "line"

    def names(self) -> list[str]:
        """The columns. Raises BadData where the file is empty or has another separator."""
        return list(self._layout.names)

    def fast(self, wanted: Mapping[str, Wanted]) -> RawTable:
        """The columns with these names, parsed as the wanted types. Raises pa.ArrowInvalid where a record or value
        cannot be read."""
        return self._read({name: column.type for name, column in wanted.items()}, is_careful=False)

    def careful(self, wanted: Mapping[str, Wanted], *, stops: bool = False) -> RawTable:
        """The columns with these names as strings, and ids as codes. Broken records are left out and reported."""
        return self._read(_as_texts(wanted), is_careful=True, stops=stops)

    def parts(
        self, wanted: Mapping[str, Wanted], size: int, *, is_careful: bool, stops: bool = False
    ) -> Iterator[RawTable]:
        """The same, some rows at a time: those of about `size` bytes."""
        kinds = _as_texts(wanted) if is_careful else {name: column.type for name, column in wanted.items()}
        names, types = self._with_trailing(kinds)
        expected = self.path.stat().st_size * (PACKED if self.path.suffix in COMPRESSIONS else 1)
        read, is_first = 0, True
        block = min(BLOCK, size)
        with Records(self, len(names), is_careful, self.has_names, stops=stops, block=block) as records:
            for text in records.texts(size):
                read, is_first = read + len(text), False
                raw = self._raw(self._parsed(pa.BufferReader(text), names, types), records)
                yield replace(raw, share=min(1.0, read / max(expected, 1)))
            if is_first or records.count > records.said:
                yield self._raw(pa.schema(types.items()).empty_table(), records)

    @property
    def has_names(self) -> bool:
        """Whether the first line after `skip_rows` has the names of the columns."""
        return self.columns is None if self.header is None else self.header

    @cached_property
    def _layout(self) -> _Layout:
        lines = self._first_records()
        if not lines:
            raise BadData(empty_file(self.name, "is empty; it must have a line for each row"))
        fields = [row for _, row in lines if not isinstance(row, str)]
        if isinstance(lines[0][1], str) and self.columns is None:
            raise BadData(lines[0][1], file=self.name, row=lines[0][0], kind="bad row")
        rows = fields[1:] if self.has_names and not isinstance(lines[0][1], str) else fields
        counted = [str(number) for number in range(1, len(fields[0]) + 1)] if fields else []
        names = list(self.columns or (fields[0] if self.has_names else counted))
        if fields and len(fields[0]) == 1:
            self._require_separator(fields[0][0], SEPARATORS if len(names) > 1 else SEPARATORS[:-1])
        is_trailing = bool(rows) and all(len(row) == len(names) + 1 and row[-1] == TRAILING for row in rows)
        if self.columns and not is_trailing:
            found = {len(row) for row in rows}
            if len(found) == 1 and found != {len(names)}:
                what = f"each line has {found.pop()} values, but `columns` has {len(names)} names; name all columns"
                raise BadData(what, file=self.name, kind="bad recipe")
        return _Layout(names, is_trailing)

    def _first_records(self) -> list[tuple[int, list[str] | str]]:
        """The first records by line: their values, or what is wrong with them."""
        with Records(self, 0, is_careful=True, skips_names=False, most=LOOKED_AT) as records:
            good = [split_record(text, self.mark.decode(), self.quote) for text in records.first()]
        found: list[tuple[int, list[str] | str]] = list(zip(records.lines().tolist(), good))
        found += [(fault.row or 0, fault.message) for fault in records.faults]
        return sorted(found, key=lambda line: line[0])

    def _require_separator(self, line: str, separators: Sequence[str]) -> None:
        seems = next((separator for separator in separators if separator in line), self.separator)
        if seems != self.separator:
            written = "tab" if seems == "\t" else f'"{seems}"'
            what = (
                f"with separator {self.separator!r} there is only one column, and its values contain {seems!r}; set "
                f"`separator: {written}`"
            )
            raise BadData(what, file=self.name, row=1, value=self.separator, kind="bad separator")

    @property
    def mark(self) -> bytes:
        """The byte that separates values, or is used in place of a longer separator."""
        return self.separator.encode() if len(self.separator.encode()) == 1 else UNIT_SEPARATOR

    def stream(self) -> io.RawIOBase:
        """The bytes of the file as UTF-8, with a separator of one byte."""
        text = TextStream(self.path, self.encoding)
        return text if self.mark == self.separator.encode() else OneByte(text, self.separator.encode(), self.name)

    def _read(self, types: Mapping[str, pa.DataType], *, is_careful: bool, stops: bool = False) -> RawTable:
        names, types = self._with_trailing(types)
        with Records(self, len(names), is_careful, self.has_names, stops=stops) as records:
            if records.has_more():
                table = self._parsed(arrow_stream(records), names, types)
            else:
                table = pa.schema(types.items()).empty_table()
        return self._raw(table, records)

    def _with_trailing(self, types: Mapping[str, pa.DataType]) -> tuple[Sequence[str], Mapping[str, pa.DataType]]:
        """The names of all columns, and the types of the wanted ones, with the empty column at the end of lines."""
        names = self._layout.names
        if not self._layout.is_trailing:
            return names, types
        return [*names, TRAILING], {**types, TRAILING: pa.string()}

    def _raw(self, table: pa.Table, records: Records) -> RawTable:
        """The rows that were parsed last, and what is wrong with the records between them."""
        lines = records.lines() if records.is_careful else None
        if lines is not None and len(lines) != len(table):
            what = "cannot be read line by line; save it again as a plain CSV file"
            raise BadData(Fault(what, self.name, file_is="subject"))
        if self._layout.is_trailing:
            table, lines = self._without_trailing(table, lines, records)
        places = None if lines is None else (lambda: lines)
        return RawTable(dict(zip(table.column_names, table.columns)), places, *records.new_faults())

    def _parsed(self, stream: pa.NativeFile, names: Sequence[str], types: Mapping[str, pa.DataType]) -> pa.Table:
        return pa.csv.read_csv(
            stream,
            pa.csv.ReadOptions(column_names=names, block_size=BLOCK),
            pa.csv.ParseOptions(
                delimiter=self.mark.decode(), quote_char='"' if self.quote else False, newlines_in_values=self.quote
            ),
            pa.csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=list(self.missing),
                strings_can_be_null=True,
            ),
        )

    def _without_trailing(
        self, table: pa.Table, lines: np.ndarray | None, records: Records
    ) -> tuple[pa.Table, np.ndarray | None]:
        """The rows with nothing after the last separator. Raises pa.ArrowInvalid where there are other rows whose line
        is not known."""
        extra, width = table[TRAILING], table.num_columns
        table = table.drop_columns([TRAILING])
        if extra.null_count < len(extra):
            if lines is None:
                raise pa.ArrowInvalid("more values than columns")
            is_empty = np.asarray(extra.is_null())
            what = f"{width} values where there are {width - 1} columns; {MEND}"
            bad = lines[~is_empty].tolist()
            records.add_faults([Fault(what, row=line, kind="bad row") for line in bad[:MOST]], len(bad))
            table, lines = table.filter(pa.array(is_empty)), lines[is_empty]
        return table, lines


def _as_texts(wanted: Mapping[str, Wanted]) -> dict[str, pa.DataType]:
    """The types of careful reading: ids as codes, all else as strings."""
    is_code = pa.types.is_dictionary
    return {name: column.type if is_code(column.type) else pa.string() for name, column in wanted.items()}


@dataclass(frozen=True)
class _Layout:
    """The names of the columns, from the first records."""

    names: Sequence[str]
    is_trailing: bool  #: whether every row ends in a separator with nothing after it


def split_record(text: str, separator: str, quotes: bool) -> list[str]:
    """The values of one record that is not broken.

    >>> split_record('a,"b, ""c"" d",', ",", quotes=True)
    ['a', 'b, "c" d', '']
    """
    if not quotes or '"' not in text:
        return text.split(separator)
    fields, at = [], 0
    while True:
        if text.startswith('"', at):
            stop = at + 1
            while True:
                stop = text.index('"', stop)
                if not text.startswith('""', stop):
                    break
                stop += 2
            fields.append(text[at + 1 : stop].replace('""', '"'))
            stop += 1
        else:
            found = text.find(separator, at)
            stop = len(text) if found < 0 else found
            fields.append(text[at:stop])
        if stop >= len(text):
            return fields
        at = stop + 1


def empty_file(name: str, what: str) -> Fault:
    """The fault of a file without rows. what: the message after the file's name."""
    return Fault(what, name, kind="empty file", file_is="subject")
