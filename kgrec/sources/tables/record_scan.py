"""Where the records of separated values begin and end, and which of them are broken."""
# ruff: noqa: SIM109 (compiled by numba, for which these are the fast forms)

from __future__ import annotations

from typing import Any

import numba
import numpy as np

GOOD, COUNT, OPEN, AFTER, BYTE = range(5)  #: what is wrong with a record
NEWLINE, RETURN, QUOTE = 10, 13, 34


@numba.njit(nogil=True, cache=True)
def text_length(text: np.ndarray, at: int, stop: int) -> int:
    """How many bytes the character at a place takes, 0 where it is no UTF-8, -1 where its end is not there yet."""
    first = text[at]
    if first < 0x80:
        return 1
    if first < 0xC2 or first > 0xF4:
        return 0
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    for step in range(1, length):
        if at + step >= stop:
            return -1
        byte = text[at + step]
        if byte < 0x80 or byte > 0xBF:
            return 0
        if step == 1 and (
            (first == 0xE0 and byte < 0xA0)
            or (first == 0xED and byte > 0x9F)
            or (first == 0xF0 and byte < 0x90)
            or (first == 0xF4 and byte > 0x8F)
        ):
            return 0
    return length


@numba.njit(nogil=True, cache=True)
def _scan_one(
    text: np.ndarray, at: int, separator: int, quotes: bool, is_end: bool
) -> tuple[int, int, int, int, int, int]:
    """One record from its first byte on: its code (-1: its end is not there yet), the place of a byte that is no text,
    the number of fields, where it ends, where its first line ends (-1: with the record), and its further lines."""
    size, begin = len(text), at
    code, place, fields, first_end, more_lines = GOOD, 0, 1, -1, 0
    in_quotes, after, at_start = False, False, True
    while at < size:
        byte = text[at]
        if in_quotes:
            while byte != QUOTE and byte < 0x80 and byte != NEWLINE and byte != RETURN:
                at += 1
                if at >= size:
                    break
                byte = text[at]
            if at >= size:
                break
            if byte == QUOTE:
                if at + 1 >= size and not is_end:
                    break
                if at + 1 < size and text[at + 1] == QUOTE:
                    at += 2
                else:
                    in_quotes, after = False, True
                    at += 1
                continue
            if byte < 0x80:  # a line's end
                if byte == RETURN and at + 1 >= size and not is_end:
                    break
                if first_end < 0:
                    first_end = at
                more_lines += 1
                at += 2 if byte == RETURN and at + 1 < size and text[at + 1] == NEWLINE else 1
                continue
        elif byte == separator:
            fields += 1
            at_start, after = True, False
            at += 1
            continue
        elif byte == NEWLINE or byte == RETURN:
            return code, place, fields, at, first_end, more_lines
        elif after:
            return AFTER, 0, fields, at, first_end, more_lines
        elif byte < 0x80:
            in_quotes = quotes and at_start and byte == QUOTE
            at_start = False
            at += 1
            continue
        at_start = False
        length = text_length(text, at, size)
        if length < 0 and not is_end:
            break
        if length <= 0 and code == GOOD:
            code, place = BYTE, at - begin
        at += max(length, 1)
    if not is_end:
        return OPEN if in_quotes and first_end >= 0 else -1, 0, fields, at, first_end, more_lines
    return OPEN if in_quotes else code, place, fields, at, first_end, more_lines


@numba.njit(nogil=True, cache=True)
def scan_records(
    text: np.ndarray, separator: int, quotes: bool, wanted: int, is_end: bool, most: int, line: int, found: np.ndarray
) -> tuple[int, int, int]:
    """How many records a text has, at most as many as `found` has rows; how many of its bytes they take; and the line
    that comes next. Empty lines are passed over, and a record whose quotes are broken is its first line alone.

    text: uint8 [bytes]; wanted: fields a record, 0 for any number; is_end: whether nothing comes after; most: bytes
    that a record may take before its quote counts as never closed; line: of the text's beginning. found: int64
    [records, 5], to be filled with first byte, last byte + 1 (without the line's end), first line, code, and detail:
    the number of fields, or the place of the byte that is no text.
    """
    size = len(text)
    at: Any = np.int64(0)  # no constant, or what is called is compiled for that as well
    count = 0
    while at < size and count < len(found):
        if text[at] == NEWLINE:
            at += 1
            line += 1
            continue
        if text[at] == RETURN:
            if at + 1 >= size and not is_end:
                break
            at += 2 if at + 1 < size and text[at + 1] == NEWLINE else 1
            line += 1
            continue
        code, place, fields, stop, first_end, more_lines = _scan_one(text, at, separator, quotes, is_end)
        if code == -1 or (code == OPEN and not is_end and size - at <= most):
            break
        if code == AFTER or code == OPEN:
            if first_end < 0:
                first_end = stop
                while first_end < size and text[first_end] != NEWLINE and text[first_end] != RETURN:
                    first_end += 1
                if first_end >= size and not is_end:
                    break
            stop, more_lines = first_end, 0
        elif code == GOOD and wanted and fields != wanted:
            code, place = COUNT, fields
        found[count, 0], found[count, 1], found[count, 2] = at, stop, line
        found[count, 3], found[count, 4] = code, place
        count += 1
        line += more_lines
        at = stop
    return count, at, line


@numba.njit(nogil=True, cache=True)
def whole_records(text: np.ndarray, separator: int, quotes: bool, wanted: int, is_end: bool) -> int:
    """How many bytes the records of a text take that end in it; -1 where one of them is broken."""
    size = len(text)
    at: Any = np.int64(0)
    while at < size:
        if text[at] == NEWLINE or text[at] == RETURN:
            at += 1
            continue
        code, _, fields, stop, _, _ = _scan_one(text, at, separator, quotes, is_end)
        if code == -1 or (code == OPEN and not is_end):
            return at
        if code != GOOD or fields != wanted:
            return -1
        at = stop
    return at


@numba.njit(nogil=True, cache=True)
def copy_good(text: np.ndarray, found: np.ndarray, out: np.ndarray) -> int:
    """The good ones of some records, each with a line's end: how many bytes of `out` they fill. found: as above; out:
    uint8, as long as the text and a byte more."""
    filled = 0
    for row in range(len(found)):
        if found[row, 3] == GOOD:
            for at in range(found[row, 0], found[row, 1]):
                out[filled] = text[at]
                filled += 1
            out[filled] = NEWLINE
            filled += 1
    return filled
