"""Makes texts of the numbers in JSON lines, so that a parser leaves them as they are written in the file."""
# ruff: noqa: SIM110 (compiled by numba, for which these are the fast forms)

from __future__ import annotations

import numba
import numpy as np

from kgrec.sources.limits import DEEPEST

REGULAR, IRREGULAR, DEEP = range(3)  #: results of the scan; a text that is not regular is read line by line
TRUE, FALSE, NULL, NAN, INFINITY = b"true", b"false", b"null", b"NaN", b"Infinity"


@numba.njit(nogil=True, cache=True)
def _is_number(text: np.ndarray, at: int, stop: int) -> bool:
    """Whether bytes are a number as JSON writes it: -12, 0.5, 1e-3."""
    if at < stop and text[at] == 45:
        at += 1
    if at >= stop or not 48 <= text[at] <= 57:
        return False
    if text[at] == 48:
        at += 1
    else:
        while at < stop and 48 <= text[at] <= 57:
            at += 1
    if at < stop and text[at] == 46:
        at += 1
        if at >= stop or not 48 <= text[at] <= 57:
            return False
        while at < stop and 48 <= text[at] <= 57:
            at += 1
    if at < stop and (text[at] == 101 or text[at] == 69):
        at += 1
        if at < stop and (text[at] == 43 or text[at] == 45):
            at += 1
        if at >= stop or not 48 <= text[at] <= 57:
            return False
        while at < stop and 48 <= text[at] <= 57:
            at += 1
    return at == stop


@numba.njit(nogil=True, cache=True)
def _whole_end(text: np.ndarray, at: int, stop: int) -> int:
    """Where a number ends, without a decimal point that only zeros follow: 5.0 becomes 5."""
    place = stop
    while place > at and text[place - 1] == 48:
        place -= 1
    return place - 1 if place > at and place < stop and text[place - 1] == 46 else stop


@numba.njit(nogil=True, cache=True)
def _is_word(text: np.ndarray, at: int, stop: int, word: bytes) -> bool:
    if stop - at != len(word):
        return False
    for step in range(len(word)):
        if text[at + step] != word[step]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _ends_value(byte: int) -> bool:
    return byte == 44 or byte == 93 or byte == 125 or byte == 32 or byte == 9 or byte == 13 or byte == 10


@numba.njit(nogil=True, cache=True)
def numbers_as_texts(text: np.ndarray, out: np.ndarray) -> tuple[int, int, int]:
    """Copies whole lines of JSON, with numbers, true and false in quotes, and NaN as null.

    text: uint8 [bytes]; out: uint8 [2 * bytes + 16], is filled. Returns how many bytes of `out` are filled, whether the
    text is regular (each line is empty or one object, with only the words of JSON), and the line, from 0, where the
    scan stopped. The parser finds other mistakes.
    """
    at, size, filled = np.int64(0), len(text), 0  # `at` is no constant, or what is called is compiled twice
    depth, values, line = 0, 0, 0
    while at < size:
        byte = text[at]
        if byte == 34:  # a string
            stop = at + 1
            while stop < size and text[stop] != 34 and text[stop] != 10:
                stop += 2 if text[stop] == 92 else 1
            if stop >= size or text[stop] == 10:
                return filled, IRREGULAR, line
            for step in range(at, stop + 1):
                out[filled] = text[step]
                filled += 1
            at = stop + 1
            values += depth == 0
            continue
        if byte == 45 or 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122:  # a number or a word
            stop = at
            while stop < size and not _ends_value(text[stop]):
                stop += 1
            if _is_word(text, at, stop, NULL) or _is_word(text, at, stop, NAN):
                for step in range(4):
                    out[filled] = NULL[step]
                    filled += 1
            elif (
                _is_number(text, at, stop)
                or _is_word(text, at, stop, TRUE)
                or _is_word(text, at, stop, FALSE)
                or _is_word(text, at + (byte == 45), stop, INFINITY)
            ):
                out[filled] = 34
                filled += 1
                for step in range(at, _whole_end(text, at, stop)):
                    out[filled] = text[step]
                    filled += 1
                out[filled] = 34
                filled += 1
            else:
                return filled, IRREGULAR, line
            at = stop
            values += depth == 0
            continue
        if byte == 123 or byte == 91:
            values += depth == 0
            depth += 1
            if depth > DEEPEST:
                return filled, DEEP, line
        elif byte == 125 or byte == 93:
            depth -= 1
        elif byte == 10:
            if depth or values > 1:
                return filled, IRREGULAR, line
            values = 0
            line += 1
        out[filled] = byte
        filled += 1
        at += 1
    return filled, IRREGULAR if depth or values > 1 else REGULAR, line
