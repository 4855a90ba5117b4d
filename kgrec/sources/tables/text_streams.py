"""The bytes of text files as UTF-8, whatever their encoding, without a byte order mark."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from kgrec.errors import BadData
from kgrec.sources.limits import LONGEST_LINE, SMALL
from kgrec.sources.packed_files import BLOCK, altered_said, long_line, open_bytes

BYTE_ORDER_MARK = codecs.BOM_UTF8
MARK_LOW = 0xDC00  #: a byte that cannot be decoded becomes the lone surrogate MARK_LOW + byte, which is not UTF-8


def _marked(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(MARK_LOW + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("kgrec.marked", _marked)


def require_encoding(name: str, encoding: str) -> None:
    """Raise BadData where Python does not know this text encoding."""
    try:
        is_text = codecs.lookup(encoding)._is_text_encoding
    except (LookupError, ValueError):
        is_text = False
    if not is_text:
        what = f"unknown encoding {encoding!r}; set `encoding` to utf-8, latin-1 or cp1252, for instance"
        raise BadData(what, file=name, value=encoding, kind="bad recipe")


class TextStream(io.RawIOBase):
    """The bytes of a file, unpacked, as UTF-8 without a byte order mark. Bytes that cannot be decoded become bytes that
    are not UTF-8, so that the reader finds them."""

    def __init__(self, path: Path, encoding: str = "utf-8", small: int = SMALL) -> None:
        self._stream = open_bytes(path, small)
        plain = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
        self._decoder = None if plain else codecs.getincrementaldecoder(encoding)("kgrec.marked")
        self._is_first = True

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """About `size` bytes; none only at the end. Raises BadData as `open_bytes` does."""
        while True:
            block: bytes = self._stream.read(BLOCK if size < 0 else size)
            text = block
            if self._decoder is not None:
                text = self._decoder.decode(block, final=not block).encode("utf-8", "surrogatepass")
            if self._is_first and text:
                self._is_first = False
                text = text.removeprefix(BYTE_ORDER_MARK)
            if text or not block:
                return text

    def close(self) -> None:
        """Close the file too."""
        self._stream.close()
        super().close()


class BlockStream(io.RawIOBase):
    """A stream of blocks of bytes, for pyarrow to read. A subclass sets `_source`, the stream from which the blocks are
    made, and `_blocks`."""

    _source: io.RawIOBase
    _blocks: Iterator[memoryview]
    _ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def has_more(self) -> bool:
        """Whether there are bytes left to read. Raises whatever making the next block raises."""
        while not self._ready:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._ready = block
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer only at the end."""
        pieces, wanted = [], size
        while wanted and self.has_more():
            piece = self._ready if size < 0 else self._ready[:wanted]
            self._ready = self._ready[len(piece) :]
            pieces.append(piece)
            wanted -= len(piece) if size >= 0 else 0
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file too."""
        self._source.close()
        super().close()


def not_text(piece: bytes, at: int, encoding: str) -> str:
    """The message about a byte that cannot be decoded. piece: bytes of a `TextStream`, from that byte on; at: its place
    in the line, from 1."""
    marked = len(piece) > 2 and piece[0] == 0xED and piece[1] >= 0xB0
    byte = ((piece[1] & 0x3F) << 6 | piece[2] & 0x3F) & 0xFF if marked else piece[0]
    is_wide = at == 1 and piece[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    other = "utf-16" if is_wide else "latin-1" if encoding != "latin-1" else "utf-8"
    return f"byte 0x{byte:02x} at {at} is not {encoding}; set the right `encoding`, perhaps {other}"


def text_lines(path: Path, encoding: str = "utf-8", skip: int = 0) -> Iterator[tuple[int, bytes]]:
    """Line numbers from 1, and lines as UTF-8 without their line end, after the first `skip` lines. Raises BadData
    where a line is longer than LONGEST_LINE, and where the file cannot be unpacked."""
    rest, number = b"", 0
    with altered_said(path), TextStream(path, encoding) as stream:
        while block := stream.read():
            *lines, rest = (rest + block).split(b"\n")
            for line in (*lines, *([rest] if len(rest) > LONGEST_LINE else [])):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise long_line(path, number)
                if number > skip:
                    yield number, line.removesuffix(b"\r")
    if rest and number >= skip:
        yield number + 1, rest.removesuffix(b"\r")


def arrow_stream(stream: io.RawIOBase) -> pa.NativeFile:
    """The same stream, in the form that pyarrow reads."""
    return pa.PythonFile(stream, mode="r")
