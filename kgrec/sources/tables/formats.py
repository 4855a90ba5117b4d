"""Readers for Parquet files, files of lists, and a JSON object of lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, Fault
from kgrec.parquet_files import opened, read_batches, read_columns
from kgrec.sources.limits import SMALL_VALUE
from kgrec.sources.tables.columns import is_list
from kgrec.sources.tables.json_lines import read_texts, shown, text_of
from kgrec.sources.tables.raw_table import RawTable, Wanted, numbered
from kgrec.sources.tables.separated import empty_file
from kgrec.sources.tables.text_streams import TextStream, not_text, text_lines

LINES = 100_000  #: lines that are held as Python values at once
BYTES_A_ROW = 32  #: of text, as which a row of a Parquet file counts


@dataclass(frozen=True)
class Parquet:
    """One Parquet file."""

    path: Path
    name: str

    unit: ClassVar[str] = "row"

    def names(self) -> list[str]:
        """The columns. Raises BadData where the file is not a Parquet file, or claims more values than it can hold."""
        return list(opened(self.path, self.name).schema_arrow.names)

    def fast(self, wanted: Mapping[str, Wanted]) -> RawTable:
        """The columns with these names, in the types of the file; NaN is null. Raises BadData where they would fill the
        memory, or have lists or objects where single values are needed."""
        return self._raw(read_columns(self.path, self.name, list(wanted)), wanted)

    def _raw(self, table: pa.Table, wanted: Mapping[str, Wanted], first: int = 1) -> RawTable:
        """The columns of a table. first: the number of its first row."""
        names = table.column_names  # a name may be repeated; the caller reports that
        columns = {name: _without_nan(table.column(names.index(name))) for name in wanted}
        for name, column in wanted.items():
            kind = columns[name].type
            if pa.types.is_struct(kind) or pa.types.is_map(kind) or (is_list(kind) and not column.lists):
                what = "lists" if is_list(kind) else "objects"
                message = (
                    f"column {name!r} has {what} ({kind}), but one value in each row is needed; name another column"
                )
                raise BadData(Fault(message, self.name, column=name, kind="bad column"))
        return RawTable(columns, numbered(len(table), first))

    def careful(self, wanted: Mapping[str, Wanted], *, stops: bool = False) -> RawTable:
        """The same."""
        return self.fast(wanted)

    def parts(
        self, wanted: Mapping[str, Wanted], size: int, *, is_careful: bool, stops: bool = False
    ) -> Iterator[RawTable]:
        """The same, some rows at a time."""
        rows, count = 0, opened(self.path, self.name).metadata.num_rows
        for table in read_batches(self.path, self.name, list(wanted), max(1, size // BYTES_A_ROW)):
            raw = self._raw(table, wanted, rows + 1)
            rows += len(table)
            yield replace(raw, share=rows / max(count, 1))


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type) or column.type == pa.float16():
        return column
    is_nan = pc.is_nan(column)
    return pc.if_else(is_nan, pa.scalar(None, column.type), column) if pc.any(is_nan).as_py() else column


@dataclass(frozen=True)
class Lists:
    """One file whose lines are `user item item ...`. Its columns are user, item and position."""

    path: Path
    name: str
    separator: str | None = None  #: None: any white space
    encoding: str = "utf-8"
    skip_rows: int = 0  #: lines to skip at the top

    unit: ClassVar[str] = "line"

    def names(self) -> list[str]:
        """user, item and position. Raises BadData where the file is empty."""
        if next(text_lines(self.path, self.encoding, self.skip_rows), None) is None:
            raise BadData(empty_file(self.name, "is empty; each line must be `user item item ...`"))
        return ["user", "item", "position"]

    def fast(self, wanted: Mapping[str, Wanted]) -> RawTable:
        """A row for each item of each list. Lines that are not text are left out and reported."""
        faults: list[Fault] = []
        return _listed(list(self._chunks(faults)), wanted, faults)

    def careful(self, wanted: Mapping[str, Wanted], *, stops: bool = False) -> RawTable:
        """The same."""
        return self.fast(wanted)

    def parts(
        self, wanted: Mapping[str, Wanted], size: int, *, is_careful: bool, stops: bool = False
    ) -> Iterator[RawTable]:
        """The same, some lines at a time."""
        faults: list[Fault] = []
        for chunk in self._chunks(faults):
            yield _listed([chunk], wanted, faults.copy())
            faults.clear()

    def _chunks(self, faults: list[Fault]) -> Iterator[tuple[list[int], list[list[str]]]]:
        """Line numbers, and the user and items of each line, some lines at a time. Lines that are not text are added to
        `faults`."""
        lines: list[int] = []
        fields: list[list[str]] = []
        for number, line in text_lines(self.path, self.encoding, self.skip_rows):
            try:
                found = line.decode().split(self.separator)
            except UnicodeDecodeError as error:
                what = not_text(line[error.start :], error.start + 1, self.encoding)
                faults.append(Fault(what, row=number, kind="bad row"))
                continue
            if any(found):
                lines.append(number)
                fields.append(found)
            if len(lines) >= LINES:
                yield lines, fields
                lines, fields = [], []
        yield lines, fields


def _listed(
    chunks: Sequence[tuple[list[int], list[list[str]]]], wanted: Mapping[str, Wanted], faults: list[Fault]
) -> RawTable:
    """A row for each item of each list. chunks: line numbers, and the user and items of each line."""
    names: list[pa.Array] = []
    items: list[pa.Array] = []
    counts: list[np.ndarray] = []
    lines: list[int] = []
    for found, fields in chunks:
        lists = pa.array(fields, pa.list_(pa.string()))
        names.append(pc.list_element(lists, 0))
        items.append(pc.list_flatten(pc.list_slice(lists, 1)))
        counts.append(pc.list_value_length(lists).to_numpy() - 1)
        lines += found
    length = np.concatenate([np.empty(0, np.int64), *counts])
    row = np.repeat(np.arange(len(length)), length)
    columns = {
        "user": pa.chunked_array([pa.chunked_array(names, pa.string()).combine_chunks()], pa.string()).take(row),
        "item": pa.chunked_array(items, pa.string()),
        "position": pa.chunked_array([np.arange(len(row)) - np.repeat(length.cumsum() - length, length)]),
    }
    return RawTable({name: columns[name] for name in wanted}, lambda: np.array(lines, np.int64)[row], faults)


@dataclass(frozen=True)
class JsonLists:
    """One JSON object {id: [values]}. Its columns are id and values."""

    path: Path
    name: str
    encoding: str = "utf-8"

    unit: ClassVar[str] = "entry"

    def names(self) -> list[str]:
        """id and values."""
        return ["id", "values"]

    def fast(self, wanted: Mapping[str, Wanted]) -> RawTable:
        """A row for each entry. Entries whose lists contain objects or lists are left out and reported."""
        lists = self._lists
        faults: list[Fault] = []
        places: list[int] = []
        for place, (key, values) in enumerate(lists.items(), 1):
            if any(isinstance(value, list | dict) for value in values):
                what = f"{key!r} has {shown(values)}; it must be a list of texts or numbers"
                faults.append(Fault(what, row=place, value=key, kind="bad row"))
            else:
                places.append(place)
        keys = list(lists)
        texts = [[text_of(value) for value in lists[keys[place - 1]]] for place in places]
        columns = {
            "id": pa.chunked_array([pa.array([keys[place - 1] for place in places], pa.string())]),
            "values": pa.chunked_array([pa.array(texts, pa.list_(pa.string()))]),
        }
        return RawTable({name: columns[name] for name in wanted}, lambda: np.array(places, np.int64), faults)

    def careful(self, wanted: Mapping[str, Wanted], *, stops: bool = False) -> RawTable:
        """The same."""
        return self.fast(wanted)

    def parts(
        self, wanted: Mapping[str, Wanted], size: int, *, is_careful: bool, stops: bool = False
    ) -> Iterator[RawTable]:
        """All rows at once: JSON is read as a whole."""
        yield self.fast(wanted)

    @cached_property
    def _lists(self) -> dict[str, list[Any]]:
        try:
            lists = read_texts(self._text())
        except ValueError as error:
            what = f"is not valid JSON: {error}; fix the file"
            raise BadData(Fault(what, self.name, kind="altered file", file_is="subject")) from error
        wrong = next((k for k, v in lists.items() if not isinstance(v, list)), None) if isinstance(lists, dict) else ""
        if wrong is not None:
            what = f"is not a JSON object {{id: [values]}} (see {wrong!r}); fix the file, or set another `format`"
            raise BadData(Fault(what, self.name, value=str(wrong), kind="bad recipe", file_is="subject"))
        return lists

    def _text(self) -> bytes:
        with TextStream(self.path, self.encoding, small=SMALL_VALUE) as stream:
            return b"".join(iter(stream.read, b""))
