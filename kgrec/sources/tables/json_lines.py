"""Tables with one JSON object in each line. pyarrow parses them, with every value as its text in the file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.json

from kgrec.errors import BadData, Fault
from kgrec.json_files import text_without_unicode
from kgrec.sources.limits import DEEPEST, LONGEST_LINE, JsonDepth, TooDeep
from kgrec.sources.packed_files import COMPRESSIONS, PACKED, long_line
from kgrec.sources.tables.bad_rows import MEND, MOST
from kgrec.sources.tables.json_scan import DEEP, REGULAR, numbers_as_texts
from kgrec.sources.tables.raw_table import RawTable, Wanted
from kgrec.sources.tables.separated import empty_file
from kgrec.sources.tables.text_streams import BlockStream, TextStream, arrow_stream, not_text, text_lines

BLOCK = 1 << 24  #: bytes that are read at a time
LOOKED_AT = 10_000  #: rows that are read to find the keys and the forms of their values
CHUNK = 100_000  #: rows that are held as Python values at once
BYTES_A_LINE = 64  #: of text, as which a line counts where lines are read one by one
NESTED = 2  #: how deep the lists of a value may be nested

Row = dict[str, Any]


@dataclass(frozen=True)
class JsonLines:
    """One file with a JSON object in each line."""

    path: Path
    name: str
    encoding: str = "utf-8"

    unit: ClassVar[str] = "line"

    def names(self) -> list[str]:
        """The keys of the first ten thousand rows. Raises BadData where the file is empty or has no JSON object."""
        return list(self._forms)

    @cached_property
    def _forms(self) -> dict[str, set[int]]:
        """By key, the forms of its values in the first rows: 0 a value, 1 or 2 a list, -1 not possible in a column."""
        rows = list(itertools.islice(self._rows(), LOOKED_AT))
        if not rows:
            raise BadData(empty_file(self.name, "is empty; each line must be a JSON object"))
        if all(isinstance(row, Fault) for _, row in rows):
            raise BadData(rows[0][1]._replace(file=self.name, row=rows[0][0]))  # type: ignore[union-attr]
        forms: dict[str, set[int]] = {}
        for _, row in rows:
            if not isinstance(row, Fault):
                for key, value in row.items():
                    found = forms.setdefault(key, set())
                    if value is not None:
                        found.add(_form(value))
        return forms

    def fast(self, wanted: Mapping[str, Wanted]) -> RawTable:
        """The columns of these keys: strings, ids as codes, lists of strings. Raises pa.ArrowInvalid where a line or
        value cannot be read this way."""
        kinds = {name: self._kind(name, column) for name, column in wanted.items()}
        chunks: dict[str, list[pa.Array]] = {name: [] for name in wanted}
        for found in self._batches(wanted, kinds):
            for name, array in found.items():
                chunks[name].append(array)
        columns = {
            name: pa.chunked_array(arrays, column.type if pa.types.is_dictionary(column.type) else kinds[name])
            for (name, arrays), column in zip(chunks.items(), wanted.values())
        }
        return RawTable(columns, self._full_lines)

    def _batches(self, wanted: Mapping[str, Wanted], kinds: Mapping[str, pa.DataType]) -> Iterator[dict[str, pa.Array]]:
        """The columns as in `fast`, some rows at a time."""
        with _Texts(self) as texts:
            reader = pa.json.open_json(
                arrow_stream(texts),
                pa.json.ReadOptions(block_size=BLOCK),
                pa.json.ParseOptions(explicit_schema=pa.schema(kinds.items()), unexpected_field_behavior="ignore"),
            )
            for batch in reader:
                yield {
                    name: batch[name].dictionary_encode() if pa.types.is_dictionary(column.type) else batch[name]
                    for name, column in wanted.items()
                }

    def parts(
        self, wanted: Mapping[str, Wanted], size: int, *, is_careful: bool, stops: bool = False
    ) -> Iterator[RawTable]:
        """The same as `fast` or `careful` gives, some rows at a time."""
        expected, read = self.path.stat().st_size * (PACKED if self.path.suffix in COMPRESSIONS else 1), 0
        if is_careful:
            yield from self._careful_parts(wanted, stops, max(1, size // BYTES_A_LINE))
            return
        kinds = {name: self._kind(name, column) for name, column in wanted.items()}
        for found in self._batches(wanted, kinds):
            read += BLOCK
            columns = {name: pa.chunked_array([array]) for name, array in found.items()}
            yield RawTable(columns, None, share=min(1.0, read / max(expected, 1)))

    def _kind(self, name: str, column: Wanted) -> pa.DataType:
        forms = self._forms.get(name) or {0}
        if len(forms) > 1 or (form := max(forms)) < 0 or form > (NESTED if column.lists else 0):
            raise pa.ArrowInvalid(f"values of several forms: {name}")
        return (pa.string(), pa.list_(pa.string()), pa.list_(pa.list_(pa.string())))[form]

    def _full_lines(self) -> np.ndarray:
        """int64 [n]: the lines that are not empty."""
        return np.array([number for number, line in text_lines(self.path, self.encoding) if line.strip()], np.int64)

    def careful(self, wanted: Mapping[str, Wanted], *, stops: bool = False) -> RawTable:
        """The same, line by line. Wrong lines are left out and reported."""
        (raw,) = self._careful_parts(wanted, stops, None)
        return raw

    def _careful_parts(self, wanted: Mapping[str, Wanted], stops: bool, most: int | None) -> Iterator[RawTable]:
        """Good rows, at most `most` at a time (None: all), and the faults of the lines between them."""
        part, listed, count = _CarefulRows(wanted), 0, 0
        for line, row in self._rows():
            if len(part.lines) == most:
                yield part.raw()
                part = _CarefulRows(wanted)
            found = [row] if isinstance(row, Fault) else [*_misfits(row, wanted)]
            if found:
                said = [fault._replace(row=line) for fault in found][: MOST - listed]
                listed, count = listed + len(said), count + len(found)
                part.faults += said
                part.hidden += len(found) - len(said)
                if stops and count >= MOST:
                    break
                continue
            part.add(line, row)  # type: ignore[arg-type]
        yield part.raw()

    def _rows(self) -> Iterator[tuple[int, Row | Fault]]:
        """Each line's number, and its object with all values as texts, or what is wrong with it."""
        for number, line in text_lines(self.path, self.encoding):
            if line.strip():
                yield number, _row(line, self.encoding)


def _row(line: bytes, encoding: str) -> Row | Fault:
    try:
        row = read_texts(line)
    except UnicodeDecodeError as error:
        return Fault(not_text(line[error.start :], error.start + 1, encoding), kind="bad row")
    except TooDeep as error:
        return Fault(f"{error}; flatten the JSON", kind="too large")
    except ValueError as error:
        return Fault(f"not valid JSON ({error}); {MEND}", kind="bad row")
    if isinstance(row, dict):
        return row
    kind = "list" if isinstance(row, list) else "single value"
    return Fault(f"found a {kind}, where a JSON object is needed; {MEND}", kind="bad row")


def read_texts(text: bytes) -> Any:
    """The value of a JSON text. Each number is its text in the file, except that 5.0 becomes 5: pandas writes whole
    numbers so where one is missing. NaN becomes None.

    >>> read_texts(b'{"id": 9007199254740993, "price": 1.50}')
    {'id': '9007199254740993', 'price': '1.50'}

    Raises ValueError where the JSON is invalid or has a repeated key, and its subclass TooDeep where it is nested too
    deeply.
    """
    if text.count(b"[") + text.count(b"{") > DEEPEST:
        JsonDepth().check(text)
    try:
        value = _decoder.decode(text.decode())
    except RecursionError:  # where the caller is deep in the stack already
        raise TooDeep from None
    if b"\\" in text and (half := text_without_unicode(value)) is not None:
        raise ValueError(f"the text {half!r} has half a pair of surrogates, which stands for no character")
    return value


def _once(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place]))
        raise ValueError(f"the key {twice!r} is repeated")
    return row


def _whole(number: str) -> str:
    """The text of a number, without a decimal point that only zeros follow: 5.0 becomes 5."""
    before, point, after = number.partition(".")
    return before if point and not after.strip("0") else number


_decoder = json.JSONDecoder(
    parse_int=str,
    parse_float=_whole,
    parse_constant=lambda word: None if "NaN" in word else word,
    object_pairs_hook=_once,
)


def _form(value: Any) -> int:
    """0 for a single value, 1 for a list of values, 2 for a list of lists, -1 for what cannot be in a column."""
    if isinstance(value, dict):
        return -1
    if not isinstance(value, list):
        return 0
    inner = {_form(one) for one in value if one is not None}
    if len(inner) > 1 or min(inner, default=0) < 0 or max(inner, default=0) >= NESTED:
        return -1
    return 1 + max(inner, default=0)


def _misfits(row: Row, wanted: Mapping[str, Wanted]) -> Iterator[Fault]:
    """What is wrong with the forms of a row's values."""
    for name, column in wanted.items():
        value = row.get(name)
        if value is None or isinstance(value, str | bool):
            continue
        form = _form(value)
        if column.lists and form >= 0:
            continue
        what = {-1: "an object" if isinstance(value, dict) else "a list of different things", 1: "a list"}
        wanted_is = "it must be a value or a list of values" if column.lists else "it must be a single value"
        message = f"{name} is {what.get(form, 'a list of lists')}, {shown(value)}; {wanted_is}"
        yield Fault(message, column=name, value=shown(value), kind="bad column")


def text_of(value: Any) -> Any:
    """A single value as its text. None stays None."""
    return str(value).lower() if isinstance(value, bool) else value


def shown(value: Any) -> str:
    """A value as JSON, shortened."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}..."


class _Values:
    """The values of one key, in compact chunks."""

    def __init__(self, column: Wanted) -> None:
        self._codes = pa.types.is_dictionary(column.type)
        self._waiting: list[Any] = []
        self._chunks: list[pa.Array] = []
        self._lists = False

    def add(self, value: Any) -> None:
        self._waiting.append(text_of(value))
        if len(self._waiting) >= CHUNK:
            self._pack()

    def _pack(self) -> None:
        has_lists = any(isinstance(value, list) for value in self._waiting)
        if has_lists:
            self._lists = True
            values = [None if value is None else flat(value) for value in self._waiting]
            self._chunks.append(pa.array(values, pa.list_(pa.string())))
        else:
            texts = pa.array(self._waiting, pa.string())
            self._chunks.append(texts.dictionary_encode() if self._codes else texts)
        self._waiting.clear()

    def all(self) -> pa.ChunkedArray:
        """Every value, as lists where some are."""
        self._pack()
        if not self._lists:
            return pa.chunked_array(self._chunks)
        whole = pa.list_(pa.string())
        return pa.chunked_array([one if one.type == whole else alone(one) for one in self._chunks], whole)


class _CarefulRows:
    """Rows that were read line by line."""

    def __init__(self, wanted: Mapping[str, Wanted]) -> None:
        self.lines: list[int] = []
        self.faults: list[Fault] = []
        self.hidden = 0
        self._columns = {name: _Values(column) for name, column in wanted.items()}

    def add(self, line: int, row: Row) -> None:
        self.lines.append(line)
        for name, values in self._columns.items():
            values.add(row.get(name))

    def raw(self) -> RawTable:
        columns = {name: values.all() for name, values in self._columns.items()}
        return RawTable(columns, lambda: np.array(self.lines), self.faults, self.hidden)


def alone(values: pa.Array) -> pa.ListArray:
    """Each value as a list of one; null stays null."""
    ptr = pa.array(np.arange(len(values) + 1), pa.int32())
    return pa.ListArray.from_arrays(ptr, values, mask=values.is_null())


def flat(value: Any) -> list[str | None]:
    """A value, or a list of values or of lists, as one list of texts."""
    if not isinstance(value, list):
        return [text_of(value)]
    return [one for inner in value for one in flat(inner)]


class _Texts(BlockStream):
    """The bytes of a file of JSON lines, with numbers as texts. Raises pa.ArrowInvalid where a line is irregular, and
    BadData where a line is too long."""

    def __init__(self, file: JsonLines) -> None:
        self._file, self._source = file, TextStream(file.path, file.encoding)
        self._blocks = self._texts()

    def _texts(self) -> Iterator[memoryview]:
        rest, line, block = b"", 1, b"-"
        while block:
            block = self._source.read(BLOCK)
            text = rest + block
            cut = text.rfind(b"\n") + 1 if block else len(text)
            if len(text) - cut > LONGEST_LINE:
                raise long_line(self._file.path, line + text.count(b"\n"))
            out = np.empty(2 * cut + 16, np.uint8)
            filled, found, lines = numbers_as_texts(np.frombuffer(text, np.uint8)[:cut], out)
            if found == DEEP:
                what = f"{TooDeep()}; flatten the JSON"
                raise BadData(what, file=self._file.name, row=line + lines, kind="too large")
            if found != REGULAR:
                raise pa.ArrowInvalid("an irregular line")
            rest, line = text[cut:], line + lines
            yield out[:filled].data
