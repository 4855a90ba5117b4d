"""The bytes of separated values as pyarrow takes them: records that are whole, and a separator of one byte."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from kgrec.errors import BadData, Fault
from kgrec.sources.limits import LONGEST_LINE
from kgrec.sources.packed_files import long_line
from kgrec.sources.tables.bad_rows import MEND, MOST
from kgrec.sources.tables.plain_records import plain_lines, plain_part
from kgrec.sources.tables.record_scan import AFTER, BYTE, COUNT, GOOD, OPEN, copy_good, scan_records, whole_records
from kgrec.sources.tables.text_streams import BlockStream, not_text

BLOCK = 1 << 24  #: bytes that are read first, as many as a line may have, and that pyarrow parses at a time
PIECE = 1 << 22  #: bytes that are read and looked through at a time after the first block
UNIT_SEPARATOR = b"\x1f"  #: stands for a separator of several bytes while pyarrow reads
LINE_END = memoryview(b"\n")
RECORDS_AT_ONCE = 1 << 18  #: that a scan notes


class SeparatedFile(Protocol):
    """What `Records` must know of a file."""

    @property
    def path(self) -> Path: ...

    @property
    def quote(self) -> bool:
        """Whether "..." quotes a value."""

    @property
    def encoding(self) -> str: ...

    @property
    def skip_rows(self) -> int:
        """Lines before the first that counts."""

    @property
    def mark(self) -> bytes:
        """The byte that separates."""

    def stream(self) -> io.RawIOBase:
        """Its bytes as UTF-8."""


@dataclass(eq=False)
class Records(BlockStream):
    """The records of a file of separated values. Broken ones are left out and said where reading is careful; else they
    raise pa.ArrowInvalid, and what pyarrow refuses itself is not looked for."""

    file: SeparatedFile
    width: int  #: values a record; 0: any number
    is_careful: bool
    skips_names: bool
    most: int | None = None  #: records that are read; None: all
    stops: bool = False  #: whether reading ends where as many are broken as are listed
    block: int = BLOCK  #: bytes that are read first
    faults: list[Fault] = field(default_factory=list)  #: of the first that are broken
    count: int = 0  #: of all that are
    said: int = 0  #: how many of them `new_faults` gave

    def __post_init__(self) -> None:
        self._source = self.file.stream()
        self._line, self._skips = 1, self.skips_names
        self._lines: list[np.ndarray] = []
        self._listed = 0
        self._blocks = self._good_blocks()
        self._room = np.empty((self.most or RECORDS_AT_ONCE, 5), np.int64)

    def lines(self) -> np.ndarray:
        """int32 [n]: the line that each good record begins in, of those since the last call."""
        lines = np.concatenate([np.empty(0, np.int32), *self._lines])
        self._lines.clear()
        return lines

    def new_faults(self) -> tuple[list[Fault], int]:
        """The faults since the last call, and how many more there are that are not listed."""
        faults, count = self.faults[self._listed :], self.count - self.said
        self._listed, self.said = len(self.faults), self.count
        return faults, count - len(faults)

    def add_faults(self, faults: list[Fault], count: int) -> None:
        """Add faults that were found outside. count: how many there are; some may not be listed."""
        self.faults += faults
        self.count += count

    def texts(self, size: int) -> Iterator[bytes]:
        """The good records, some at a time: those of about `size` bytes."""
        pieces: list[memoryview] = []
        total = 0
        for block in self._blocks:
            if block:
                pieces.append(block)
                total += len(block)
            if total >= size:
                yield b"".join(pieces)
                pieces, total = [], 0
        if pieces:
            yield b"".join(pieces)

    def first(self) -> list[str]:
        """The good ones among the first `most`."""
        text, is_end = self._first_block()
        plain = plain_lines(text, self.file.mark[0], self.file.quote, len(self._room), is_end)
        if plain is not None:
            self._lines.append((plain[:, 2] + self._line).astype(np.int32))
            return [text[begin:stop].decode() for begin, stop, _ in plain.tolist()]
        for found in self._scan(text, is_end):
            self._note(text, found)
            return [text[begin:stop].decode() for begin, stop, _, code, _ in found.tolist() if code == GOOD]
        if len(text) >= LONGEST_LINE and not is_end:
            raise long_line(self.file.path, self._line)
        return []

    def _first_block(self) -> tuple[bytes, bool]:
        """Some bytes after the lines that are passed over, and whether they are all."""
        text, is_end = b"", False
        while not is_end and len(text) < self.block:
            block = self._source.read(self.block)
            text, is_end = text + block, not block
        for _ in range(self.file.skip_rows):
            text = text.partition(b"\n")[2]
            self._line += 1
        return text, is_end

    def _good_blocks(self) -> Iterator[memoryview]:
        text, is_end = self._first_block()
        if self._skips and not self.is_careful:
            plain = plain_lines(text, self.file.mark[0], self.file.quote, 1, is_end)
            if plain is not None:
                text, self._skips = text[plain[0, 1] :], False
        while True:
            if self.is_careful or self._skips:
                for found in self._scan(text, is_end):
                    if kept := self._kept(text, found):
                        yield kept
                        yield LINE_END
            elif self.file.quote and b'"' in text:
                part = plain_part(text, self.file.mark[0], is_end)
                if part is None:
                    array = np.frombuffer(text, np.uint8)
                    part = whole_records(array, self.file.mark[0], True, self.width, is_end)
                if part < 0:
                    raise pa.ArrowInvalid("a broken record")
                self._used = part
                yield memoryview(text)[: self._used]
            else:
                self._used = len(text) if is_end else text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
                yield memoryview(text)[: self._used]
            if is_end or (self.stops and self.count >= MOST):
                return
            text = text[self._used :]
            if len(text) > LONGEST_LINE:
                raise long_line(self.file.path, self._line)
            block = self._source.read(min(PIECE, self.block))
            text, is_end = text + block if text else block, not block

    def _scan(self, text: bytes, is_end: bool) -> Iterator[np.ndarray]:
        """The records that end in a text, as `scan_records` notes them, some at a time; `_used` is where they end."""
        array = np.frombuffer(text, np.uint8)
        how = self.file.mark[0], self.file.quote, self.width, is_end, LONGEST_LINE
        self._used, count = 0, len(self._room)
        while count == len(self._room):
            begin = self._used
            count, more, self._line = scan_records(array[begin:], *how, self._line, self._room)
            self._used += more
            if count:
                self._room[:count, :2] += begin
                yield self._room[:count]

    def _kept(self, text: bytes, found: np.ndarray) -> memoryview:
        """The bytes of the good ones of some records, perhaps without the last line's end."""
        if self._skips:
            found, self._skips = found[1:], False
        is_bad = found[:, 3] != GOOD
        if not self.is_careful and is_bad.any():
            raise pa.ArrowInvalid("a broken record")
        self._note(text, found)
        if not len(found):
            return memoryview(b"")
        begin, stop = int(found[0, 0]), int(found[-1, 1])
        if not is_bad.any():
            return memoryview(text)[begin:stop]
        out = np.empty(stop - begin + 1, np.uint8)
        return out[: copy_good(np.frombuffer(text, np.uint8), found, out)].data

    def _note(self, text: bytes, found: np.ndarray) -> None:
        """Remember the lines of good records, and what is wrong with the others."""
        if self.is_careful:
            is_good = found[:, 3] == GOOD
            self._lines.append(found[is_good, 2].astype(np.int32))
            for begin, stop, line, code, detail in found[~is_good][: MOST - len(self.faults)].tolist():
                what = self._wrong(code, detail, text[begin:stop])
                self.faults.append(Fault(what, row=line, kind="bad row"))
            self.count += int(np.count_nonzero(~is_good))

    def _wrong(self, code: int, detail: int, record: bytes) -> str:
        """What is wrong with a record, and what to do."""
        if code == COUNT:
            return f"{detail} values where there are {self.width} columns; {MEND}"
        if code == BYTE:
            return not_text(record[detail:], detail + 1, self.file.encoding)
        unless = "set `quote: false` if quotes are part of the text"
        if code == OPEN:
            return f"the quote is never closed; close it, or {unless}"
        assert code == AFTER
        return f"text follows a closing quote; write a quote within quotes twice, or {unless}"


class OneByte(io.RawIOBase):
    """The bytes of a file with a separator of several bytes replaced by one. Raises BadData where that stands there."""

    def __init__(self, stream: io.RawIOBase, separator: bytes, name: str) -> None:
        self._stream, self._separator, self._name, self._rest = stream, separator, name, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """About `size` bytes; none only at the end."""
        block = self._stream.read(BLOCK if size < 0 else size) or b""
        if UNIT_SEPARATOR in block:
            what = f"has the character 0x1f, which cannot stand beside the separator {self._separator.decode()!r}"
            raise BadData(Fault(f"{what}; remove it", self._name, kind="bad separator", file_is="subject"))
        data = (self._rest + block).replace(self._separator, UNIT_SEPARATOR)
        self._rest = b""
        if block:  # the last bytes may be the start of a separator that the next block ends
            for length in range(len(self._separator) - 1, 0, -1):
                if data.endswith(self._separator[:length]):
                    data, self._rest = data[:-length], data[-length:]
                    break
        return data if data or not block else self.read(size)

    def close(self) -> None:
        """Close the file too."""
        self._stream.close()
        super().close()
