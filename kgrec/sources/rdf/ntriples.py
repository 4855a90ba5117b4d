"""Reads N-Triples and N-Quads fast: a compiled loop splits plain lines, and pyoxigraph reads the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa

from kgrec.sources.limits import LONGEST_LINE

CHUNK = 1 << 22  #: bytes that are read at a time

FACT, VALUE, OTHER = 0, 1, 2  #: a line of three IRIs, one whose object is a literal, and any other line

_IN_IRI, _IN_SCHEME, _LETTER, _HEX, _ESCAPED = 1, 2, 4, 8, 16


def _byte_classes() -> np.ndarray:
    """For each byte, the syntax elements in which it may appear."""
    classes = np.zeros(256, np.uint8)
    for byte in range(0x21, 256):
        letter = chr(byte)
        if letter not in '<>"{}|^`\\':
            classes[byte] |= _IN_IRI
        if byte < 128 and (letter.isalnum() or letter in "+-."):
            classes[byte] |= _IN_SCHEME
        if byte < 128 and letter.isalpha():
            classes[byte] |= _LETTER
        if letter in "0123456789abcdefABCDEF":
            classes[byte] |= _HEX
        if letter in "tbnrf\"'\\":
            classes[byte] |= _ESCAPED
    return classes


CLASSES = _byte_classes()


@dataclass(frozen=True)
class Lines:
    """The lines of a chunk that are neither empty nor comments."""

    text: np.ndarray  #: uint8, the chunk
    kind: np.ndarray  #: int8 [n], FACT, VALUE or OTHER
    span: np.ndarray  #: int32 [n, 3, 2], where subject, predicate and object start and stop; no meaning for OTHER
    bounds: np.ndarray  #: int32 [n, 2], where the line starts and stops
    number: np.ndarray  #: int64 [n], of the line in the file, from 1


def read_lines(stream: pa.NativeFile, *, quads: bool) -> Iterator[Lines]:
    """The lines of a file, a chunk at a time. quads: whether a line may also have a graph name. Raises SyntaxError
    where a line is longer than LONGEST_LINE."""
    rest, first_line = b"", 1
    while block := stream.read(CHUNK):
        data = rest + block
        cut = data.rfind(b"\n") + 1
        rest = data[cut:]
        if cut:
            yield _cut(data[:cut], first_line, quads)
            first_line += data.count(b"\n", 0, cut)
        if len(rest) > LONGEST_LINE:
            raise SyntaxError(f"the line is longer than {LONGEST_LINE:,} bytes", (None, first_line, None, None))
    if rest:
        yield _cut(rest + b"\n", first_line, quads)


def _cut(data: bytes, first_line: int, quads: bool) -> Lines:
    text = np.frombuffer(data, np.uint8)
    kind, span, bounds, number = _lines(text, data.count(b"\n") + data.count(b"\r"), CLASSES, quads)
    if not data.isascii() and not _is_utf8(data):
        kind[:] = OTHER
    return Lines(text, kind, span, bounds, number + first_line)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@numba.njit(nogil=True, cache=True)
def _lines(
    text: np.ndarray, most: int, classes: np.ndarray, quads: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Kind, spans, bounds and number (from 0) of each line that is not empty or a comment. most: the number of lines or
    more."""
    kind = np.empty(most, np.int8)
    span = np.zeros((most, 3, 2), np.int32)
    bounds = np.empty((most, 2), np.int32)
    number = np.empty(most, np.int64)
    row, line, start = 0, 0, np.int64(0)  # `start` is no constant, or what is called is compiled twice
    while start < len(text):
        stop = start
        while text[stop] != 10 and text[stop] != 13:  # the grammar ends a line at either
            stop += 1
        begin = _skip_blanks(text, start, stop)
        if begin < stop and text[begin] != ord("#"):
            kind[row] = _line(text, begin, stop, span[row], classes, quads)
            bounds[row, 0], bounds[row, 1] = start, stop + 1
            number[row] = line
            row += 1
        line += text[stop] == 10
        start = stop + 1
    return kind[:row], span[:row], bounds[:row], number[:row]


@numba.njit(nogil=True, cache=True)
def _line(text: np.ndarray, at: int, stop: int, span: np.ndarray, classes: np.ndarray, quads: bool) -> int:
    """The kind of one line; fills `span` [3, 2]."""
    kind = FACT
    for term in range(3):
        at = _skip_blanks(text, at, stop)
        if term == 2 and at < stop and text[at] == ord('"'):
            kind = VALUE
            end = _literal_end(text, at, stop, classes)
        else:
            end = _iri_end(text, at, stop, classes)
        if end < 0:
            return OTHER
        span[term, 0], span[term, 1] = at + 1, end - 1
        at = end
    at = _skip_blanks(text, at, stop)
    if quads and at < stop and text[at] == ord("<"):
        at = _iri_end(text, at, stop, classes)
        if at < 0:
            return OTHER
        at = _skip_blanks(text, at, stop)
    if at >= stop or text[at] != ord("."):
        return OTHER
    return kind if _skip_blanks(text, at + 1, stop) == stop else OTHER


@numba.njit(nogil=True, cache=True)
def _skip_blanks(text: np.ndarray, at: int, stop: int) -> int:
    while at < stop and (text[at] == 32 or text[at] == 9):
        at += 1
    return at


@numba.njit(nogil=True, cache=True)
def _iri_end(text: np.ndarray, at: int, stop: int, classes: np.ndarray) -> int:
    """The position after the `>` of the absolute IRI that starts at `at`; -1 if there is none, or it has escapes."""
    if at + 1 >= stop or text[at] != ord("<") or not classes[text[at + 1]] & _LETTER:
        return -1
    at += 1
    while at < stop and classes[text[at]] & _IN_SCHEME:
        at += 1
    if at >= stop or text[at] != ord(":"):
        return -1
    while at < stop and classes[text[at]] & _IN_IRI:
        if text[at] == ord("%") and not (classes[text[at + 1]] & classes[text[min(at + 2, stop)]] & _HEX):
            return -1
        at += 1
    return at + 1 if at < stop and text[at] == ord(">") else -1


@numba.njit(nogil=True, cache=True)
def _literal_end(text: np.ndarray, at: int, stop: int, classes: np.ndarray) -> int:
    r"""The position after the literal that starts at `at`, with its language or datatype; -1 if there is none, or it
    has \u."""
    at += 1
    while at < stop and text[at] != ord('"'):
        if text[at] == ord("\\"):
            at += 1
            if at >= stop or not classes[text[at]] & _ESCAPED:
                return -1
        at += 1
    at += 1
    if at >= stop:
        return -1
    if text[at] == ord("@"):
        begin = at + 1
        while at + 1 < stop and classes[text[at + 1]] & _IN_SCHEME:
            at += 1
        return at + 1 if at >= begin and classes[text[begin]] & _LETTER else -1
    if text[at] == ord("^"):
        return _iri_end(text, at + 2, stop, classes) if at + 1 < stop and text[at + 1] == ord("^") else -1
    return at
