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
PACKED = 5  #: times its own size, to which a packed file is expected to unpack


def open_bytes(path: Path, small: int = SMALL) -> pa.NativeFile:
    """The bytes of a file, unpacked by its suffix.

    small: a packed file may always unpack to this many bytes. Reading raises BadData where it unpacks to more than that
    and to more than MOST_EXPANSION times its size. Such a file is made to fill the memory.
    """
    compression = COMPRESSIONS.get(path.suffix)
    if is_no_unicode(str(path)):
        what = "has a name that is not UTF-8; rename it, or the folder that holds it"
        raise BadData(Fault(what, str(path), kind="bad name", file_is="subject"))
    stream = pa.input_stream(str(path), compression=compression)
    return stream if compression is None else pa.PythonFile(_Unpacked(stream, path, small), mode="r")


class _Unpacked(io.RawIOBase):
    """The bytes of a packed file, as long as they are not too many for its size."""

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
                f"has {packed:,} bytes and unpacks to more than {self._most:,}, which looks like an attack on the "
                "memory; if the file is right, unpack it yourself"
            )
            raise BadData(Fault(what, self._path.name, kind="too large", file_is="subject"))
        return block

    def close(self) -> None:
        """Close the file too."""
        self._stream.close()
        super().close()


def read_value(path: Path) -> bytes:
    """All bytes of a file that is read as a whole. Raises BadData as `open_bytes` does, with a lower limit."""
    with altered_said(path), open_bytes(path, SMALL_VALUE) as stream:
        return read_all(stream)


def read_all(stream: pa.NativeFile) -> bytes:
    """All remaining bytes. They are read in blocks, because the size of a packed file is not known."""
    return b"".join(iter(lambda: stream.read(BLOCK), b""))


@contextmanager
def altered_said(path: Path) -> Iterator[None]:
    """A context in which a file that cannot be unpacked raises BadData."""
    try:
        yield
    except OSError as error:
        what = f"cannot be read: {error}; it is truncated or damaged; get the file again"
        raise BadData(Fault(what, path.name, kind="altered file", file_is="subject")) from error


def file_state(path: Path) -> tuple[int, ...]:
    """What changes where a file is replaced or written to: its size, time of change and number."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_size, state.st_mtime_ns, state.st_ino, state.st_dev


def changed_while_read(name: str) -> Fault:
    """The fault of a file whose `file_state` is not the same after reading as before."""
    what = "changed while it was read, so its rows may be of two versions; wait until it is written, then build again"
    return Fault(what, name, kind="altered file", file_is="subject")


def long_line(path: Path, number: int) -> BadData:
    """The error for a line that is too long."""
    what = f"the line is longer than {LONGEST_LINE:,} bytes; shorten it, or set the right `format` for the file"
    return BadData(what, file=path.name, row=number, kind="too large")
