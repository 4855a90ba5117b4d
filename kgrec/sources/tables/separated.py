"""Tables whose values stand between separators: read in bulk by pyarrow, or row by row to say what is wrong."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.csv

from kgrec.errors import BadData, Fault
from kgrec.sources.packed_files import lines_of, open_bytes
from kgrec.sources.tables.bad_rows import MEND

BLOCK = 1 << 24  #: bytes that are read at a time
UNIT_SEPARATOR = "\x1f"  #: stands for a separator of several characters while pyarrow reads
SEPARATORS = ("::", "\t", "|", ";", ",", " ")


@dataclass(frozen=True)
class Separated:
    """One file of separated values."""

    path: Path
    name: str  #: the path as the recipe says it
    separator: str = ","
    columns: Sequence[str] | None = None  #: None: the first line names them
    quote: bool = True
    encoding: str = "utf-8"
    missing: Sequence[str] = ("",)

    unit: ClassVar[str] = "line"

    def names(self) -> list[str]:
        """The columns. Raises BadData where the file is empty or is separated by something else."""
        lines = list(itertools.islice(self._fields(), 20))
        if not lines:
            raise BadData(empty_file(self.name, "is empty; it must have a line for each row"))
        if isinstance(lines[0][1], str) and self.columns is None:
            raise BadData(lines[0][1], file=self.name, row=lines[0][0], kind="bad row")
        fields = [row for _, row in lines if not isinstance(row, str)]
        names = list(self.columns or fields[0])
        if fields and len(fields[0]) == 1:
            self._require_separator(fields[0][0], SEPARATORS if len(names) > 1 else SEPARATORS[:-1])
        found = {len(row) for row in fields}
        if self.columns and len(found) == 1 and found != {len(names)}:
            values = found.pop()
            what = f"{values} values a line where `columns` names {len(names)}; name them all"
            raise BadData(what, file=self.name, kind="bad recipe")
        return names

    def _require_separator(self, line: str, separators: Sequence[str]) -> None:
        seems = next((separator for separator in separators if separator in line), self.separator)
        if seems != self.separator:
            written = "tab" if seems == "\t" else f'"{seems}"'
            what = (
                f"one column with separator {self.separator!r}, and it has {seems!r} in it; say `separator: {written}`"
            )
            raise BadData(what, file=self.name, row=1, value=self.separator, kind="bad separator")

    def table(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        """The columns of these names in bulk, parsed as these types. Raises pa.ArrowInvalid where a row or a value does
        not fit."""
        several = len(self.separator) > 1
        return pa.csv.read_csv(
            _Replaced(self.path, self.separator.encode(self.encoding)) if several else open_bytes(self.path),
            pa.csv.ReadOptions(column_names=self.columns, encoding=self.encoding, block_size=BLOCK),
            pa.csv.ParseOptions(
                delimiter=UNIT_SEPARATOR if several else self.separator,
                quote_char='"' if self.quote else False,
                newlines_in_values=self.quote,
            ),
            pa.csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=list(self.missing),
                strings_can_be_null=True,
            ),
        )

    def rows(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Each row's line number, and its values by column or what is wrong with it."""
        names = None if self.columns is None else list(self.columns)
        missing = set(self.missing)
        for line, fields in self._fields():
            if isinstance(fields, str):
                yield line, fields
            elif names is None:
                names = fields
            elif len(fields) != len(names):
                yield line, f"{len(fields)} values where there are {len(names)} columns; {MEND}"
            else:
                yield line, {name: None if v in missing else v for name, v in zip(names, fields)}

    def _fields(self) -> Iterator[tuple[int, list[str] | str]]:
        """Each row's line number and values, or what is wrong with the line. Empty lines are passed over."""
        undecodable: list[tuple[int, str]] = []
        number = 0

        def texts() -> Iterator[str]:
            nonlocal number
            for number, line in lines_of(self.path):
                try:
                    text = line.decode(self.encoding)
                except UnicodeDecodeError as error:
                    undecodable.append((number, not_decoded(error, self.encoding)))
                    continue
                if text:
                    yield text.removeprefix("\ufeff") if number == 1 else text

        if self.quote and len(self.separator) == 1:
            values: Iterator[list[str]] = csv.reader((f"{t}\n" for t in texts()), delimiter=self.separator)
        else:
            values = (text.split(self.separator) for text in texts())
        try:
            for fields in values:
                yield from undecodable
                undecodable.clear()
                yield number, fields
        except csv.Error as error:
            yield number, f"{error}; {MEND}"
        yield from undecodable


def empty_file(name: str, what: str) -> Fault:
    """A file in which there is nothing to read. what: the sentence after its name."""
    return Fault(what, name, kind="empty file", file_is="subject")


def not_decoded(error: UnicodeDecodeError, encoding: str) -> str:
    """What is wrong with a line whose bytes are no text, and what to do."""
    byte = error.object[error.start]
    return f"byte 0x{byte:02x} at {error.start + 1} is not {encoding}; say the `encoding`, perhaps latin-1"


def require_encoding(name: str, encoding: str) -> None:
    """Raise BadData where Python knows no such encoding."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        what = f"no encoding {encoding!r}; say `encoding: utf-8` or latin-1, cp1252"
        raise BadData(what, file=name, value=encoding, kind="bad recipe") from None


class _Replaced(io.RawIOBase):
    """The bytes of a file with a separator of several characters replaced by one."""

    def __init__(self, path: Path, separator: bytes) -> None:
        self._stream, self._separator, self._rest = open_bytes(path), separator, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """About `size` bytes; none only at the end."""
        block = self._stream.read(BLOCK if size < 0 else size)
        data = (self._rest + block).replace(self._separator, UNIT_SEPARATOR.encode())
        self._rest = b""
        if block:  # the last bytes may be the start of a separator that the next block ends
            for length in range(len(self._separator) - 1, 0, -1):
                if data.endswith(self._separator[:length]):
                    data, self._rest = data[:-length], data[-length:]
                    break
        return data if data or not block else self.read(size)
