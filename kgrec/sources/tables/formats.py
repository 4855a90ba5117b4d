"""Tables in forms other than separated values: Parquet, JSON lines, lists."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.json

from kgrec.errors import BadData, Fault
from kgrec.sources.limits import CheckedJsonLines, read_json
from kgrec.sources.packed_files import lines_of, open_bytes, read_value
from kgrec.sources.tables.bad_rows import MEND
from kgrec.sources.tables.parquet import opened, read_columns
from kgrec.sources.tables.separated import empty_file, not_decoded

PARQUET_BATCH = 10_000  #: rows that are Python values at once

Row = tuple[int, dict[str, Any] | str]  #: a line's or row's number, and its values or what is wrong with it


@dataclass(frozen=True)
class Parquet:
    """One Parquet file."""

    path: Path
    name: str

    unit: ClassVar[str] = "row"

    def names(self) -> list[str]:
        """The columns. Raises BadData where the file is no Parquet, or says that it holds more than it can."""
        return list(opened(self.path, self.name).schema_arrow.names)

    def table(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        """The wanted columns in bulk. Raises BadData where they would fill the memory."""
        return read_columns(self.path, self.name, list(types))

    def rows(self) -> Iterator[Row]:
        """Each row's number, from 1, and its values by column."""
        number = itertools.count(1)
        try:
            for batch in opened(self.path, self.name).iter_batches(PARQUET_BATCH):
                for row in batch.to_pylist():
                    yield next(number), row
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # a date in the year 300,000
            what = f"cannot be read: {error}; mend the file"
            raise BadData(what, file=self.name, row=next(number), kind="altered file") from error


@dataclass(frozen=True)
class JsonLines:
    """One file with a JSON object a line."""

    path: Path
    name: str

    unit: ClassVar[str] = "line"

    def names(self) -> list[str]:
        """The keys of the first ten thousand rows. Raises BadData where the file is empty."""
        rows = list(itertools.islice(self.rows(), 10_000))
        if not rows:
            raise BadData(empty_file(self.name, "is empty; it must have a JSON object a line"))
        line, first = rows[0]
        if isinstance(first, str) and all(isinstance(row, str) for _, row in rows):
            raise BadData(first, file=self.name, row=line, kind="bad row")
        return list(dict.fromkeys(key for _, row in rows if isinstance(row, dict) for key in row))

    def table(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        """The wanted columns in bulk; a key that no row has is all missing. Raises pa.ArrowInvalid."""
        with open_bytes(self.path) as stream:
            table = pa.json.read_json(CheckedJsonLines(stream), pa.json.ReadOptions(block_size=1 << 24))
        absent = [name for name in types if name not in table.column_names]
        for name in absent:
            table = table.append_column(name, pa.nulls(len(table), pa.string()))
        return table.select(list(types))

    def rows(self) -> Iterator[Row]:
        """Each row's line number, and its values by key or what is wrong with it."""
        for number, line in lines_of(self.path):
            if not line.strip():
                continue
            try:
                row = read_json(line)
            except ValueError as error:
                yield number, f"no JSON ({error}); {MEND}"
                continue
            yield number, row if isinstance(row, dict) else f"no JSON object but {type(row).__name__}; {MEND}"


@dataclass(frozen=True)
class Lists:
    """One file with `user item item ...` a line: the columns user, item and position."""

    path: Path
    name: str
    separator: str | None = None  #: None: any white space
    encoding: str = "utf-8"

    unit: ClassVar[str] = "line"

    def names(self) -> list[str]:
        """user, item and position. Raises BadData where the file is empty."""
        if next(lines_of(self.path), None) is None:
            raise BadData(empty_file(self.name, "is empty; it must have `user item item ...` a line"))
        return ["user", "item", "position"]

    def table(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        """One row an item of each list. Raises UnicodeError."""
        users: list[str] = []
        items: list[str] = []
        positions: list[int] = []
        for _, fields in self._split():
            if isinstance(fields, str):
                raise UnicodeError(fields)
            user, *their = fields
            users += [user] * len(their)
            items += their
            positions += range(len(their))
        return pa.table(
            {"user": pa.array(users, pa.string()), "item": pa.array(items, pa.string()), "position": positions}
        )

    def _split(self) -> Iterator[tuple[int, list[str] | str]]:
        """Each line's number, and its user and items, or what is wrong with it."""
        for number, line in lines_of(self.path):
            try:
                fields = line.decode(self.encoding).split(self.separator)
            except UnicodeDecodeError as error:
                yield number, not_decoded(error, self.encoding)
                continue
            if fields:
                yield number, fields

    def rows(self) -> Iterator[Row]:
        """Each item's line number, user and place in the list."""
        for number, fields in self._split():
            if isinstance(fields, str):
                yield number, fields
                continue
            user, *items = fields
            for position, item in enumerate(items):
                yield number, {"user": user or None, "item": item or None, "position": position}


@dataclass(frozen=True)
class JsonLists:
    """One JSON object of id -> list: the columns id and values."""

    path: Path
    name: str

    unit: ClassVar[str] = "entry"

    def names(self) -> list[str]:
        """id and values."""
        return ["id", "values"]

    def table(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        """One row an entry."""
        lists = self._lists()
        values = pa.array([[str(v) for v in row] for row in lists.values()], pa.list_(pa.string()))
        return pa.table({"id": pa.array(list(lists), pa.string()), "values": values})

    def rows(self) -> Iterator[Row]:
        """Each entry's number, from 1, its id and its list."""
        for number, (name, values) in enumerate(self._lists().items(), 1):
            yield number, {"id": name, "values": [str(value) for value in values]}

    def _lists(self) -> dict[str, list[Any]]:
        try:
            lists = read_json(read_value(self.path))
        except ValueError as error:
            what = f"is no JSON: {error}; mend the file"
            raise BadData(Fault(what, self.name, kind="altered file", file_is="subject")) from error
        wrong = next((k for k, v in lists.items() if not isinstance(v, list)), None) if isinstance(lists, dict) else ""
        if wrong is not None:
            what = f"is no JSON object of id -> list (see {wrong!r}); say another `format`"
            raise BadData(Fault(what, self.name, value=str(wrong), kind="bad recipe", file_is="subject"))
        return lists
