"""Checks that XML is safe to parse: no entity declarations, no deep nesting, no tag or text that is too long."""

from __future__ import annotations

import io
import re
from typing import Any

import numba
import numpy as np

from kgrec.errors import BadData
from kgrec.sources.limits import DEEPEST, LONGEST_LINE

_FITS, _ENTITIES, _DEEP, _LONG = range(4)
_WHY = {
    _ENTITIES: "its DTD declares entities, which can fill the memory; remove `[...]` from the DOCTYPE, or convert "
    "the file to Turtle or N-Triples",
    _DEEP: f"elements are nested more than {DEEPEST} levels deep; flatten them, or convert the file to Turtle or "
    "N-Triples",
    _LONG: f"a tag or text is longer than {LONGEST_LINE:,} bytes; shorten it",
}

_TEXT, _OPEN, _TAG, _TAG_QUOTE, _END_TAG, _BANG, _COMMENT, _CDATA, _PI, _DOCTYPE, _DOCTYPE_QUOTE = range(11)


class XmlGuard:
    """Checks XML in an encoding that extends ASCII, block after block."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._state = np.array([_TEXT, 0, 0, 0, 0, 1], np.int64)  # state, depth, length, quote, count, line

    def check(self, block: bytes) -> None:
        """Raises BadData where the XML declares entities, is nested too deeply, or has a tag or text that is too
        long."""
        found = _scan(np.frombuffer(block, np.uint8), self._state, DEEPEST, LONGEST_LINE)
        if found != _FITS:
            raise BadData(_WHY[found], file=self._name, row=int(self._state[5]), kind="bad RDF")


def check_xml(data: bytes, name: str) -> None:
    """Raises BadData as `XmlGuard` does, and where a document has an encoding that the guard cannot check."""
    declared = re.match(rb"(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*[\"']([^\"']*)", data[:1000])
    encoding = declared[1].decode("latin-1").lower() if declared else "utf-8"
    if b"\0" in data[:1000] or encoding not in ("utf-8", "us-ascii", "ascii", "iso-8859-1"):
        what = f"the encoding is {encoding!r}, or there are zero bytes; the XML must be in UTF-8"
        raise BadData(what, file=name, kind="bad RDF")
    XmlGuard(name).check(data)


class CheckedXml(io.RawIOBase):
    """The bytes of an XML file. Raises BadData as they are read."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._guard = stream, XmlGuard(name)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes; none at the end."""
        block: bytes = self._stream.read(None if size < 0 else size)
        self._guard.check(block)
        return block


@numba.njit(nogil=True, cache=True)
def _scan(text: np.ndarray, kept: np.ndarray, deepest: int, longest: int) -> int:
    """What is wrong, or _FITS. kept: the state of `XmlGuard`, which is kept from block to block.

    length: bytes since the last tag. quote: the open quotation mark, or the last byte of a tag. count: how many bytes
    of the end of a comment, CDATA section or instruction were found.
    """
    state, depth, length, quote, count, line = kept
    found = 0
    for byte in text:
        length += 1
        if byte == 10:
            line += 1
        if length > longest:
            found = 3
            break
        if state == _TEXT:
            if byte == 60:  # <
                state, length = _OPEN, 0
        elif state == _OPEN:
            count, quote = 0, 0
            if byte == 33:  # !
                state = _BANG
            elif byte == 63:  # ?
                state = _PI
            elif byte == 47:  # /
                state = _END_TAG
            else:
                state = _TAG
        elif state == _TAG:
            if byte == 34 or byte == 39:
                state, quote = _TAG_QUOTE, byte
            elif byte == 62:  # >
                if quote != 47:
                    depth += 1
                    if depth > deepest:
                        found = 2
                        break
                state, length = _TEXT, 0
            else:
                quote = byte
        elif state == _TAG_QUOTE:
            if byte == quote:
                state, quote = _TAG, 0
        elif state == _END_TAG:
            if byte == 62:
                depth -= 1
                state, length = _TEXT, 0
        elif state == _BANG:
            if byte == 45:  # the first - of <!--
                state, count = _COMMENT, -1
            elif byte == 91:  # the first [ of <![CDATA[
                state, count = _CDATA, 0
            else:
                state = _DOCTYPE
        elif state == _COMMENT:
            if byte == 45:
                count = 0 if count < 0 else count + 1
            elif byte == 62 and count >= 2:
                state, length = _TEXT, 0
            else:
                count = 0
        elif state == _CDATA:
            if byte == 93:
                count += 1
            elif byte == 62 and count >= 2:
                state, length = _TEXT, 0
            else:
                count = 0
        elif state == _PI:
            if byte == 63:
                count = 1
            elif byte == 62 and count == 1:
                state, length = _TEXT, 0
            else:
                count = 0
        elif state == _DOCTYPE:
            if byte == 91:  # [
                found = 1
                break
            if byte == 34 or byte == 39:
                state, quote = _DOCTYPE_QUOTE, byte
            elif byte == 62:
                state, length = _TEXT, 0
        elif byte == quote:
            state = _DOCTYPE
    kept[0], kept[1], kept[2], kept[3], kept[4], kept[5] = state, depth, length, quote, count, line
    return found
