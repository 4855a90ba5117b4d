"""Bytes and lines of files, unpacked by their suffix."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from kgrec.errors import BadData, Fault
from kgrec.printable import is_no_unicode
from kgrec.sources.limits import LONGEST_LINE, MOST_EXPANSION, SMALL, SMALL_VALUE

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
BLOCK = 1 << 24  #: bytes that are read at a time


def open_bytes(path: Path, small: int = SMALL) -> pa.NativeFile:
    """The bytes of a file, unpacked by its suffix.

    small: bytes to which a packed file may unpack in any case. Reading raises BadData where it unpacks to more, and to
    more than MOST_EXPANSION times its size: it is made to fill the memory.
    """
    compression = COMPRESSIONS.get(path.suffix)
    if is_no_unicode(str(path)):
        what = "has a name that is not UTF-8; rename it, or the folder that holds it"
        raise BadData(Fault(what, str(path), kind="bad name", file_is="subject"))
    stream = pa.input_stream(str(path), compression=compression)
    return stream if compression is None else pa.PythonFile(_Unpacked(stream, path, small), mode="r")


class _Unpacked(io.RawIOBase):
    """What a packed file unpacks to, as long as it is in proportion."""

    def __init__(self, stream: pa.NativeFile, path: Path, small: int) -> None:
        self._stream, self._path = stream, path
        self._most = max(small, MOST_EXPANSION * path.stat().st_size)
        self._total = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end."""
        left = self._most + 1 - self._total
        block: bytes = self._stream.read(left if size < 0 else min(size, left))
        self._total += len(block)
        if self._total > self._most:
            packed = self._path.stat().st_size
            what = (
                f"unpacks to more than {self._most:,} bytes from {packed:,}, as a file made to fill the memory does; "
                "unpack it yourself if it is right"
            )
            raise BadData(Fault(what, self._path.name, kind="too large", file_is="subject"))
        return block

    def close(self) -> None:
        """Close the file too."""
        self._stream.close()
        super().close()


def read_value(path: Path) -> bytes:
    """All bytes of a file that is a single value. Raises BadData as `open_bytes` does, at a smaller size."""
    with altered_said(path), open_bytes(path, SMALL_VALUE) as stream:
        return read_all(stream)


def read_all(stream: pa.NativeFile) -> bytes:
    """All that is left. A packed file cannot say its size, which reading it at once would ask for."""
    return b"".join(iter(lambda: stream.read(BLOCK), b""))


@contextmanager
def altered_said(path: Path) -> Iterator[None]:
    """While this lasts, what cannot be unpacked raises BadData."""
    try:
        yield
    except OSError as error:
        what = f"cannot be read: {error}; it is truncated or altered, so get it again"
        raise BadData(Fault(what, path.name, kind="altered file", file_is="subject")) from error


def long_line(path: Path, number: int) -> BadData:
    """The error for a line that never ends."""
    what = f"the line is longer than {LONGEST_LINE:,} bytes; end it, or say the `format` and `separator` of the file"
    return BadData(what, file=path.name, row=number, kind="too large")
