"""Limits for files from strangers: how deep they are nested, how long a line is, how much a packed file unpacks to.

Real data sets stay far below these limits. A file above a limit is refused before it takes much memory or time.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from kgrec.errors import BadData, Fault
from kgrec.json_files import text_without_unicode
from kgrec.parquet_files import MOST_EXPANSION as MOST_EXPANSION
from kgrec.parquet_files import MOST_VALUES as MOST_VALUES
from kgrec.parquet_files import SMALL as SMALL
from kgrec.parquet_files import VALUES_A_BYTE as VALUES_A_BYTE

DEEPEST = 200  #: levels of nesting in JSON, JSON-LD, JSON lines, YAML and XML
LONGEST_LINE = 1 << 24  #: bytes (16 MiB) of a line, or of one text or tag in XML
LONGEST_TOKEN = 1 << 21  #: bytes (2 MiB) without a space in Turtle, TriG and N3, which are parsed again as they grow
SMALL_VALUE = (
    1 << 24
)  #: SMALL for files that are not read line by line: RDF except N-Triples and N-Quads, a JSON object of lists
LARGEST_RECIPE = 1 << 20  #: bytes (1 MiB) of a recipe or a --config file
MOST_NODES = 20_000  #: values in such a file; values that aliases repeat are counted each time
LARGEST_ANSWER = 1 << 28  #: bytes (256 MiB) of an endpoint's answer
QUERY_SECONDS = 300.0  #: seconds that a SPARQL query may run, unless the recipe sets `timeout`
#: bytes (768 MiB) that a SPARQL query on files may take in addition to its graph; or as much as the graph, if more
QUERY_MEMORY = 3 << 28


class TooDeep(ValueError):
    """JSON is nested more than DEEPEST levels deep. line: from 1."""

    def __init__(self, line: int = 1) -> None:
        super().__init__(f"nested more than {DEEPEST} levels deep")
        self.line = line


class JsonDepth:
    """Reads JSON in blocks, and refuses it where it is nested too deeply."""

    def __init__(self) -> None:
        self._state = np.array([0, 0, 0, 1], np.int64)  # depth, in a string, after a backslash, line

    def check(self, block: bytes) -> None:
        """Raises TooDeep."""
        from kgrec.sources.json_depth import json_fits  # numba is slow to import

        if not json_fits(np.frombuffer(block, np.uint8), self._state, DEEPEST):
            raise TooDeep(int(self._state[3]))


def read_json(text: bytes) -> Any:
    """The value of a JSON text. Raises ValueError where it is invalid, and its subclass TooDeep where it is nested too
    deeply."""
    if text.count(b"[") + text.count(b"{") > DEEPEST:
        JsonDepth().check(text)
    try:
        value = json.loads(text)
    except RecursionError:  # where the caller is deep in the stack already, or for UTF-16, which is not checked above
        raise TooDeep from None
    if b"\\" in text and (half := text_without_unicode(value)) is not None:
        raise ValueError(f"the text {half!r} has half a pair of surrogates, which stands for no character")
    return value


class CheckedTokens(io.RawIOBase):
    """The bytes of a file in Turtle or the like. Raises BadData where a text or name is too long."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name, self._length = stream, name, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes; none at the end."""
        block: bytes = self._stream.read(None if size < 0 else size)
        last = max(block.rfind(b" "), block.rfind(b"\n"))
        self._length = self._length + len(block) if last < 0 else len(block) - last - 1
        if self._length > LONGEST_TOKEN:
            what = f"has a text or name that is longer than {LONGEST_TOKEN:,} bytes; fix the file"
            raise BadData(Fault(what, self._name, kind="too large", file_is="subject"))
        return block
