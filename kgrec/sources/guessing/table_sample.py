"""A table as it is guessed about: its form, and the texts of some of its rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from kgrec.column_texts import texts_of
from kgrec.errors import KgrecError
from kgrec.parquet_files import opened
from kgrec.sources.guessing.folder_files import FoundFile
from kgrec.sources.guessing.text_dialect import dialect_of, sample_of
from kgrec.sources.guessing.unpacking import LOOKED_AT, nested_keys
from kgrec.sources.recipe.table_part import TableFormat
from kgrec.sources.tables.columns import is_list
from kgrec.sources.tables.opening import reader_of
from kgrec.sources.tables.raw_table import Wanted

WHOLE = 40_000_000  #: bytes up to which a file is read as a whole
SAMPLE = 8_000_000  #: bytes that are read of a larger one


@dataclass(eq=False)
class SampledTable:
    """A table of one or more files of one form. columns: strings or lists of strings, [rows] each."""

    files: list[FoundFile]
    form: dict[str, Any]  #: keys of a recipe that say how it is read
    columns: dict[str, pa.ChunkedArray]
    is_whole: bool  #: whether the columns have all rows
    estimated: int  #: rows of all files
    has_header: bool = True
    is_mixed: bool = False  #: whether lines are of two encodings
    notes: list[str] = field(default_factory=list)
    parts: dict[str, list[FoundFile]] = field(default_factory=dict)  #: of a published split that they make
    pattern: str | None = None  #: which has these files and no others, such as part-*.csv
    profile: dict[str, Any] | None = None  #: its columns with what was found out about them
    origin: str = ""  #: what it was made from, where it is not in the folder

    @property
    def name(self) -> str:
        """The name of its first file."""
        return self.files[0].name

    @property
    def file(self) -> str | list[str]:
        """What a recipe names as its `file`."""
        if self.pattern is not None:
            return self.pattern
        names = [one.name for one in self.files]
        return names[0] if len(names) == 1 else names

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.files)

    @property
    def rows(self) -> int:
        """Rows in the sample."""
        return len(next(iter(self.columns.values()), ()))

    @cached_property
    def is_lists(self) -> bool:
        """Whether its lines are `user item item ...`."""
        return self.form.get("format") in ("lists", "json_lists")

    def renamed(self, names: dict[str, str]) -> None:
        """Give columns of a file without a header names that say what they are."""
        if "columns" not in self.form or self.form.get("header"):
            return
        taken = {*self.columns} - {*names}
        for old, new in names.items():
            while new in taken:
                new += "_2"
            taken.add(new)
            self.form["columns"] = [new if one == old else one for one in self.form["columns"]]
            self.columns = {new if one == old else one: column for one, column in self.columns.items()}


def sampled_table(file: FoundFile, work: Path, whole: int = WHOLE) -> SampledTable:
    """A table of one file. work: a folder for samples. Raises KgrecError where it is no table, with the reason as words
    to follow the file's name."""
    match file.form:
        case "parquet":
            return _parquet(file)
        case "json_lines" | "text":
            return _text(file, work, whole)
    raise KgrecError(f"is {file.form}, and no table")


def _text(file: FoundFile, work: Path, whole: int) -> SampledTable:
    is_large = file.size > (whole // 4 if file.is_packed else whole)
    data, is_whole = sample_of(file.path, file.size, SAMPLE if is_large else 1 << 40, file.is_packed)
    copy = work / f"sample-{len(list(work.iterdir()))}.txt"
    copy.write_bytes(data)
    try:
        if file.form == "json_lines":
            form: dict[str, Any] = {} if file.suffix in (".jsonl", ".ndjson") else {"format": "json_lines"}
            table = SampledTable([file], form, {}, is_whole, 0)
        else:
            dialect = dialect_of(data, file.suffix, copy)
            table = SampledTable(
                [file], dialect.form, {}, is_whole, 0, dialect.has_header, dialect.is_mixed, dialect.notes
            )
        nested = nested_keys(data.split(b"\n", LOOKED_AT)[:LOOKED_AT]) if file.form == "json_lines" else set()
        table.columns = columns_of(copy, _full_form(table.form, file), nested)
    finally:
        copy.unlink()
    packed = 4 if file.is_packed else 1
    table.estimated = table.rows if is_whole else int(table.rows * file.size * packed / max(1, len(data)))
    return table


def _full_form(form: dict[str, Any], file: FoundFile) -> dict[str, Any]:
    """The same keys with those that a file's suffix says."""
    if file.form == "json_lines" or "format" in form:
        return {**form, "format": form.get("format", "json_lines")}
    return {"separator": "tab" if file.suffix == ".tsv" else ",", **form, "format": "separated"}


def columns_of(path: Path, form: dict[str, Any], nested: Collection[str] = ()) -> dict[str, pa.ChunkedArray]:
    """The columns of a file as texts or lists of texts; those that hold objects are left out. nested: names of some."""
    reader = reader_of(TableFormat(**form), path.name, path)
    names = reader.names()
    wanted = {name: Wanted(pa.string(), lists=True) for name in names if names.count(name) == 1 and name not in nested}
    raw = reader.careful(wanted)
    return {
        name: column if is_list(column.type) else texts_of(column, name)
        for name, column in raw.columns.items()
        if not _has_objects(column.type)
    }


def _has_objects(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_binary(kind)


def _parquet(file: FoundFile) -> SampledTable:
    """A Parquet file: whole where it is small, else its first row groups."""
    source = opened(file.path, file.name)
    count, groups, kept = source.metadata.num_rows, source.metadata.num_row_groups, 0
    taken: list[int] = []
    while len(taken) < groups and (kept < 2_000_000 or not taken):
        taken.append(len(taken))
        kept += source.metadata.row_group(taken[-1]).num_rows
    table = source.read_row_groups(taken)
    columns = {}
    for name in table.column_names:
        column = table.column(table.column_names.index(name))
        if is_list(column.type):
            columns[name] = column
        elif not _has_objects(column.type):
            columns[name] = texts_of(column, name)
    found = SampledTable([file], {}, columns, len(taken) == groups, count)
    if file.suffix != ".parquet":
        found.form["format"] = "parquet"
    return found
