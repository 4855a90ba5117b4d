"""Records that NumPy finds at a glance are those that the whole scan finds, and none of them is broken."""

from __future__ import annotations

import random

import numpy as np
import pytest

from kgrec.sources.tables.plain_records import plain_lines, plain_part
from kgrec.sources.tables.record_scan import BYTE, GOOD, scan_records

COMMA = ord(",")


def scanned(text: bytes, quotes: bool = True) -> tuple[list[list[int]], int]:
    """All records of a text, and how many of its bytes they take."""
    room = np.empty((len(text) + 1, 5), np.int64)
    count, used, _ = scan_records(np.frombuffer(text, np.uint8), COMMA, quotes, 0, True, 1 << 20, 0, room)
    return room[:count].tolist(), used


def pieces(seed: int, count: int) -> list[bytes]:
    """Random texts, of which some are separated values and most are not."""
    draw = random.Random(seed)
    bits = [
        b'"',
        b'"',
        b'""',
        b",",
        b"\n",
        b"\r\n",
        b"\r",
        b"a",
        b"b c",
        b'"x"',
        b'"x,y"',
        b'"x\ny"',
        b'"x""y"',
        b"\xff",
    ]
    return [b"".join(draw.choices(bits, k=draw.randrange(1, 12))) for _ in range(count)]


@pytest.mark.parametrize("is_end", [True, False])
def test_a_part_that_is_plain_has_no_broken_record(is_end: bool) -> None:
    plain = 0
    for text in pieces(1, 12_000):
        part = plain_part(text, COMMA, is_end)
        if part is not None:
            records, used = scanned(text[:part])
            assert used == part <= len(text), text
            assert {code for _, _, _, code, _ in records} <= {GOOD, BYTE}, (
                text
            )  # pyarrow looks for bytes that are no text
            assert not is_end or part == len(text)
            plain += part > 0
    assert plain > 20


@pytest.mark.parametrize("quotes", [True, False])
def test_lines_that_are_plain_are_the_first_records(quotes: bool) -> None:
    plain = 0
    for text in pieces(2, 12_000):
        for most in (1, 20):
            lines = plain_lines(text, COMMA, quotes, most, is_end=True)
            if lines is not None:
                records, _ = scanned(text, quotes)
                assert lines.tolist() == [record[:3] for record in records[:most]], text
                assert all(record[3] == GOOD for record in records[:most]), text
                plain += 1
    assert plain > 20


def test_what_is_cut_in_the_middle_is_not_told_at_a_glance() -> None:
    assert plain_part(b'a,"b\n', COMMA, is_end=False) is None  # its record may go on
    assert plain_part(b'x\na,"b\n', COMMA, is_end=False) == 2
    assert plain_part(b'x\n"a"', COMMA, is_end=False) == 2  # the other of two quotes may come
    assert plain_part(b'x\n"a"', COMMA, is_end=True) == 5
    assert plain_lines(b"a,b", COMMA, True, 1, is_end=False) is None
