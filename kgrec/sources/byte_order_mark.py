"""The byte order mark that some editors put at the beginning of UTF-8 files. It is not part of the text."""

from __future__ import annotations

import codecs
import io
from typing import Any

BOM = codecs.BOM_UTF8


def without_bom(data: bytes) -> bytes:
    """The bytes after the mark, or all bytes where there is no mark."""
    return data.removeprefix(BOM)


class WithoutBom(io.RawIOBase):
    """The bytes of a stream after the mark."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_at_start = True

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes; none at the end."""
        wanted = None if size is None or size < 0 else size
        if not self._is_at_start:
            return bytes(self._stream.read(wanted))
        self._is_at_start = False
        start = b""
        while len(start) < len(BOM) and (more := self._stream.read(len(BOM) - len(start))):
            start += more
        rest: bytes = self._stream.read(None if wanted is None else max(0, wanted - len(start)))
        return without_bom(start) + rest or self.read(size)
