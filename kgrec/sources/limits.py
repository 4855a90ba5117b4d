"""How much a file of a stranger may ask for: nesting, the length of a line, what a packed file unpacks to.

No data set that we know comes near these limits. A file past one of them is refused before it takes memory or time.
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

DEEPEST = 200  #: lists and objects within each other, in JSON, JSON-LD, JSON lines, YAML and XML
LONGEST_LINE = 1 << 24  #: bytes (16 MiB) of a line, or of one text or tag in XML
LONGEST_TOKEN = 1 << 21  #: bytes (2 MiB) without a space in Turtle, TriG and N3, which are parsed again as they grow
SMALL_VALUE = (
    1 << 24
)  #: the same where it is no table and no lines: RDF but N-Triples and N-Quads, a JSON object of lists
LARGEST_RECIPE = 1 << 20  #: bytes (1 MiB) of a recipe or a --config file
MOST_NODES = 20_000  #: values in such a file, those that aliases repeat counted each time
LARGEST_ANSWER = 1 << 28  #: bytes (256 MiB) of an endpoint's answer
QUERY_SECONDS = 300.0  #: that a SPARQL query may run, unless the recipe says `timeout:`
QUERY_MEMORY = 3 << 28  #: bytes (768 MiB) that a SPARQL query over files may take beside the graph, or as many as that


class TooDeep(ValueError):
    """JSON that is nested more than DEEPEST deep. line: from 1."""

    def __init__(self, line: int = 1) -> None:
        super().__init__(f"nested more than {DEEPEST} deep")
        self.line = line


class JsonDepth:
    """Follows JSON that comes in blocks, and refuses what is nested too deeply."""

    def __init__(self) -> None:
        self._state = np.array([0, 0, 0, 1], np.int64)  # depth, in a string, after a backslash, line

    def check(self, block: bytes) -> None:
        """Raises TooDeep."""
        from kgrec.sources.json_depth import json_fits  # numba takes its time to come

        if not json_fits(np.frombuffer(block, np.uint8), self._state, DEEPEST):
            raise TooDeep(int(self._state[3]))


def read_json(text: bytes) -> Any:
    """The value that JSON says. Raises ValueError, and TooDeep among them, where it is broken or nested too deeply."""
    if text.count(b"[") + text.count(b"{") > DEEPEST:
        JsonDepth().check(text)
    try:
        value = json.loads(text)
    except RecursionError:  # where the caller stands deep already, and for UTF-16, which the check above cannot follow
        raise TooDeep from None
    if b"\\" in text and (half := text_without_unicode(value)) is not None:
        raise ValueError(f"the text {half!r} has half a pair of surrogates, which stands for no character")
    return value


class CheckedTokens(io.RawIOBase):
    """The bytes of a file of words. Raises BadData where one goes on without end."""

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
            what = f"has a text or name that is longer than {LONGEST_TOKEN:,} bytes; mend the file"
            raise BadData(Fault(what, self._name, kind="too large", file_is="subject"))
        return block
