"""Find well-formed records of separated values with NumPy alone.

Most files need nothing else. `record_scan` handles the rest. It is compiled code, which
takes a third of a second to load.
"""

from __future__ import annotations

import numpy as np

NEWLINE, RETURN, QUOTE = b'\n\r"'


def plain_lines(text: bytes, mark: int, quotes: bool, most: int, is_end: bool) -> np.ndarray | None:
    """The first `most` records of a text, if each of them is one line; None where that needs a full scan.

    mark: the byte that separates; quotes: whether "..." quotes a value; is_end: whether nothing comes after.
    Returns int64 [records, 3]: first byte, last byte + 1 (without the line's end), and line from 0. Empty lines are no
    records.

    >>> plain_lines(b'a,b\\n\\n"c, d",e\\n', ord(","), True, 20, is_end=True).tolist()
    [[0, 3, 0], [5, 13, 2]]
    """
    lines: list[tuple[int, int, int]] = []
    at = number = 0
    while len(lines) < most and at < len(text):
        end = text.find(b"\n", at)
        if end < 0 and not is_end:
            return None
        end = len(text) if end < 0 else end
        stop = end - 1 if text[end - 1 : end] == b"\r" and end > at else end
        if stop > at:
            lines.append((at, stop, number))
        at, number = end + 1, number + 1
    if not lines:
        return None
    begin, end = lines[0][0], lines[-1][1]
    head = text[begin:end]
    if b"\r" in head.replace(b"\r\n", b"\n") or not _is_text(head):
        return None
    if quotes and b'"' in head:
        found = plain_quotes(np.frombuffer(head, np.uint8), mark)
        ends = [stop - begin for _, stop, _ in lines]
        if found is None or (np.searchsorted(found, ends) % 2).any():
            return None
    return np.array(lines, np.int64)


def plain_part(text: bytes, mark: int, is_end: bool) -> int | None:
    """The number of bytes up to the end of the last whole record; None where that needs a full scan: a quote stands
    inside an unquoted value or is never closed, or text follows a closing quote.

    >>> plain_part(b'"a",b\\n"c\\nd",e\\n"f', ord(","), is_end=False)
    14
    >>> plain_part(b'"a" b\\n', ord(","), is_end=True) is None
    True
    """
    stop = len(text) if is_end else text.rfind(b"\n") + 1
    found = plain_quotes(np.frombuffer(text, np.uint8)[:stop], mark)
    if found is None:
        return None
    if is_end:
        return None if len(found) % 2 else stop
    count = len(found)
    while stop and count % 2:  # this line's end stands in a quoted value
        stop = text.rfind(b"\n", 0, int(found[count - 1])) + 1
        count = int(np.searchsorted(found, stop))
    return stop or None


def plain_quotes(text: np.ndarray, mark: int) -> np.ndarray | None:
    """The places of all quotes in a text, int64 [Q]. None unless each opens a value, closes it, or is one of two in a
    quoted value. The last value may still be open. text: uint8 [bytes], from the beginning of a record."""
    found = np.flatnonzero(text == QUOTE)
    if not len(found):
        return found
    is_edge = np.zeros(256, bool)
    is_edge[[mark, NEWLINE, RETURN, QUOTE]] = True
    opens, closes = found[::2], found[1::2]
    before = text[opens[1:] - 1] if opens[0] == 0 else text[opens - 1]
    # two quotes side by side in a quoted value are one quote, so a quote may follow a closing one
    after = text[closes + 1] if not len(closes) or closes[-1] + 1 < len(text) else text[closes[:-1] + 1]
    return found if is_edge[before].all() and is_edge[after].all() else None


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True
