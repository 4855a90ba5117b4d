"""Numbers strings by first appearance, and finds repeated rows. Compact arrays hold the strings: ten million IRIs
are bytes, not Python objects."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import pyarrow as pa

from kgrec.large_arrays import empty, on_disk, parts_by_key, spans

_START = np.uint64(14695981039346656037)  # FNV-1a
_PRIME = np.uint64(1099511628211)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, for whole numbers


BYTES_AN_ID = 130  #: what an id takes beside its text: in a hash table, in offsets, and while it is looked up
COPIES = 4  #: how often its text is in memory at most


def memory_of_ids(count: int, size: int) -> int:
    """Bytes of memory that `count` ids need whose texts take `size` bytes."""
    return BYTES_AN_ID * count + COPIES * size


@numba.njit(nogil=True, cache=True)
def _number_all(
    text: np.ndarray,
    span: np.ndarray,
    known_text: np.ndarray,
    known_offset: np.ndarray,
    known_hash: np.ndarray,
    count: int,
    slot: np.ndarray,
) -> tuple[np.ndarray, int]:
    """The number of each string, and how many strings are known afterwards. The `known_` arrays are filled in place.

    text uint8, span [n, 2]: the strings; slot int32 [a power of two]: a hash table of numbers, -1 where free.
    """
    numbers = np.empty(len(span), np.int32)
    mask = np.uint64(len(slot) - 1)
    for row in range(len(numbers)):
        start, stop = span[row, 0], span[row, 1]
        hashed = _START
        for position in range(start, stop):
            hashed = (hashed ^ np.uint64(text[position])) * _PRIME
        hashed ^= hashed >> np.uint64(32)
        place = hashed & mask
        while True:
            number = slot[place]
            if number < 0 or (
                known_hash[number] == hashed
                and _same(known_text, known_offset[number], known_offset[number + 1], text, start, stop)
            ):
                break
            place = (place + np.uint64(1)) & mask
        if number < 0:
            number = count
            end = known_offset[count]
            for position in range(start, stop):  # a slice's messages take seconds to compile
                known_text[end + position - start] = text[position]
            known_offset[count + 1] = end + stop - start
            known_hash[count] = hashed
            slot[place] = count
            count += 1
        numbers[row] = number
    return numbers, count


@numba.njit(nogil=True, cache=True)
def _same(a: np.ndarray, a_start: int, a_stop: int, b: np.ndarray, b_start: int, b_stop: int) -> bool:
    if a_stop - a_start != b_stop - b_start:
        return False
    for step in range(a_stop - a_start):  # noqa: SIM110 - numba compiles no generators
        if a[a_start + step] != b[b_start + step]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _placed(known_hash: np.ndarray, count: int, size: int) -> np.ndarray:
    """A hash table of `size` slots (a power of two) with the numbers of all known strings."""
    slot = np.full(size, -1, np.int32)
    mask = np.uint64(size - 1)
    for number in range(count):
        place = known_hash[number] & mask
        while slot[place] >= 0:
            place = (place + np.uint64(1)) & mask
        slot[place] = number
    return slot


@numba.njit(nogil=True, cache=True)
def _first_rows(rows: np.ndarray, slot: np.ndarray) -> np.ndarray:
    """bool [n]: which rows of int [n, k] do not equal an earlier row. slot int32 [a power of two], -1: an empty
    table."""
    is_first = np.ones(len(rows), np.bool_)
    mask = np.uint64(len(slot) - 1)
    for row in range(len(rows)):
        hashed = _START
        for column in range(rows.shape[1]):
            hashed = (hashed ^ np.uint64(rows[row, column])) * _MIX
            hashed ^= hashed >> np.uint64(32)
        place = hashed & mask
        while slot[place] >= 0 and is_first[row]:
            other = slot[place]
            is_same = True
            for column in range(rows.shape[1]):
                if rows[row, column] != rows[other, column]:
                    is_same = False
                    break
            if is_same:
                is_first[row] = False
            else:
                place = (place + np.uint64(1)) & mask
        if is_first[row]:
            slot[place] = row
    return is_first


def first_rows(rows: np.ndarray) -> np.ndarray:
    """Which rows of an integer matrix [n, k] do not equal an earlier row, bool [n]. Needs 8 to 16 bytes for each row.

    >>> first_rows(np.array([[1, 2], [1, 3], [1, 2]])).tolist()
    [True, True, False]
    """
    where = on_disk()
    if where is None or len(rows) <= where.rows:
        is_first: np.ndarray = _first_rows(rows, _free_slots(len(rows)))
        return is_first
    is_first, hashes = np.empty(len(rows), bool), empty(len(rows), np.uint64)
    for span in spans(len(rows)):
        hashes[span] = _row_hashes(rows[span])
    for part in parts_by_key(hashes, "edges"):  # equal rows have equal hashes, so they are in the same part
        is_first[part] = _first_rows(rows[part], _free_slots(len(part)))
    return is_first


def _free_slots(count: int) -> np.ndarray:
    """An empty hash table for `count` rows."""
    return np.full(1 << max(1, (2 * count - 1).bit_length()), -1, np.int32)


@numba.njit(nogil=True, cache=True)
def _row_hashes(rows: np.ndarray) -> np.ndarray:
    """uint64 [n]: a hash of each row of int [n, k]."""
    hashes = np.empty(len(rows), np.uint64)
    for row in range(len(rows)):
        hashed = _START
        for column in range(rows.shape[1]):
            hashed = (hashed ^ np.uint64(rows[row, column])) * _MIX
            hashed ^= hashed >> np.uint64(32)
        hashes[row] = hashed
    return hashes


def as_spans(names: Sequence[str] | pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """All strings in one uint8 array, and the start and stop of each: int32 [n, 2]."""
    array = names if isinstance(names, pa.Array) else pa.array(names, pa.string())
    _, offsets, data = array.buffers()
    offset = np.frombuffer(offsets, np.int32)[array.offset :][: len(array) + 1] if len(array) else np.zeros(1, np.int32)
    text = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return text, np.stack([offset[:-1], offset[1:]], axis=1)


class Numbering:
    """Numbers for strings, in the order in which they first appear.

    >>> films = Numbering()
    >>> films.numbers(["Alien", "Brazil", "Alien"]).tolist(), films.numbers(["Casino", "Brazil"]).tolist(), len(films)
    ([0, 1, 0], [2, 1], 3)
    """

    def __init__(self) -> None:
        self._count = 0
        self._text = np.empty(1 << 12, np.uint8)
        self._offset = np.zeros(1 << 8, np.int64)
        self._hash = np.empty(1 << 8, np.uint64)
        self._slot = np.full(1 << 9, -1, np.int32)

    def __len__(self) -> int:
        return self._count

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """int32 [n]: the number of each string. A new string takes the next number."""
        return self.numbers_of(*as_spans(names))

    def numbers_of(self, text: np.ndarray, span: np.ndarray) -> np.ndarray:
        """The same for strings in `text` (uint8, UTF-8) at `span` (int32 [n, 2]: start and stop)."""
        self._make_room(len(span), int((span[:, 1] - span[:, 0]).sum()))
        numbers, self._count = _number_all(text, span, self._text, self._offset, self._hash, self._count, self._slot)
        return numbers

    def numbers_of_array(self, names: pa.Array) -> np.ndarray:
        """The same for strings in an Arrow array without nulls."""
        return self.numbers_of(*as_spans(names))

    @property
    def text_bytes(self) -> int:
        """The size of all strings."""
        return int(self._offset[self._count])

    def name(self, number: int) -> str:
        """The string of a number."""
        return self._text[self._offset[number] : self._offset[number + 1]].tobytes().decode()

    def array(self) -> pa.Array:
        """All strings by number: strings [n], large_string where they are 2 GiB of text or more."""
        size = int(self._offset[self._count])
        width, kind = (np.int32, pa.string()) if size < 2**31 else (np.int64, pa.large_string())
        offset = pa.py_buffer(self._offset[: self._count + 1].astype(width))
        return pa.Array.from_buffers(kind, self._count, [None, offset, pa.py_buffer(self._text[:size])])

    def _make_room(self, count: int, size: int) -> None:
        """Make room for `count` new strings of `size` bytes in all. The hash table stays at most half full."""
        most = self._count + count
        self._text = _grown(self._text, int(self._offset[self._count]), int(self._offset[self._count]) + size)
        self._offset = _grown(self._offset, self._count + 1, most + 1)
        self._hash = _grown(self._hash, self._count, most)
        if 2 * most > len(self._slot):
            self._slot = _placed(self._hash, self._count, 1 << (2 * most - 1).bit_length())


def _grown(array: np.ndarray, filled: int, needed: int) -> np.ndarray:
    """The array, or a copy with room for `needed` values. A copy is at least half as large again, so that filling it
    takes linear time."""
    if needed <= len(array):
        return array
    bigger = np.empty(max(needed, len(array) * 3 // 2), array.dtype)
    bigger[:filled] = array[:filled]
    return bigger
