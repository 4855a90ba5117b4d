"""Bytes and lines of files, unpacked by their suffix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
BLOCK = 1 << 24  #: bytes that are read at a time


def open_bytes(path: Path) -> pa.NativeFile:
    """The bytes of a file, unpacked by its suffix."""
    return pa.input_stream(str(path), compression=COMPRESSIONS.get(path.suffix))


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Line numbers from 1, and lines without their end."""
    rest, number = b"", 0
    with open_bytes(path) as stream:
        while block := stream.read(BLOCK):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            for line in lines:
                number += 1
                yield number, line.removesuffix(b"\r")
    if rest:
        yield number + 1, rest.removesuffix(b"\r")
