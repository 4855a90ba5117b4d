"""Arrays that may be larger than memory, and operations on them that need little of it.

Inside `arrays_on_disk`, arrays above a size are mapped from files that have no name, so that a killed process leaves
none behind. The operations work on some rows at a time. Outside, arrays are in memory, and the operations take all rows
at once. So code that uses them is the same for small and large data, and so are its results.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from kgrec.errors import KgrecError

LEAST = 250_000_000  #: bytes: the smallest limit with which anything is built
HELD = 0.75  #: the share of the limit that may be taken by what stays in memory; the rest is for work in progress
MOST = 10**15  #: bytes: the largest
SAMPLE = 1 << 16  #: keys that are looked at to cut a large array into parts of about the same size


@dataclass(frozen=True, eq=False)
class DiskArrays:
    """Where large arrays are, and what may be in memory."""

    folder: Path  #: for the files
    memory: int  #: the limit in bytes
    small: int  #: bytes up to which an array stays in memory
    rows: int  #: rows that are worked on at a time
    text: int  #: bytes of a text file that are parsed at a time
    held: dict[str, int] = field(default_factory=dict, repr=False)  #: by name, bytes of what stays in memory
    _files: list[IO[bytes]] = field(default_factory=list, repr=False)  # that may be open

    @staticmethod
    def within(memory: int, folder: Path) -> DiskArrays:
        """Sizes that fit a limit of `memory` bytes."""
        return DiskArrays(folder, memory, memory >> 8, memory >> 9, memory >> 5)


_ON_DISK: ContextVar[DiskArrays | None] = ContextVar("_ON_DISK", default=None)


@contextmanager
def arrays_on_disk(where: DiskArrays) -> Iterator[None]:
    """Inside this context, large arrays are in files."""
    token = _ON_DISK.set(where)
    try:
        yield
    finally:
        _ON_DISK.reset(token)
        for file in where._files:
            with suppress(OSError):  # on a full disk, what was not written yet cannot be written now
                file.close()


def on_disk() -> DiskArrays | None:
    """Where large arrays are; None: in memory."""
    return _ON_DISK.get()


def require_memory(size: int, what: str, share: float = 1.0, held: str | None = None) -> None:
    """Raise KgrecError if `size` bytes, which must be in memory, do not fit in beside what is there already.

    what: what they are, for the message; share: how much of the data has been read (0 to 1), from which it is estimated
    how much memory all of it needs; held: the name under which they stay in memory. It may be called again with more
    bytes for the same name.
    """
    where = _ON_DISK.get()
    if where is None:
        return
    others = {name: bytes_ for name, bytes_ in where.held.items() if name != held}
    if held is not None:
        where.held[held] = max(size, where.held.get(held, 0))
    total = size + sum(others.values())
    if total <= HELD * where.memory:
        return
    needed = (size / max(min(share, 1.0), 0.01) + sum(others.values())) / HELD
    read = f" after {share:.0%} of the data" if share < 1 else ""
    beside = ", ".join(f"{bytes_text(most)} for {name}" for name, most in others.items() if most > where.memory >> 4)
    raise KgrecError(
        f"{what} take {bytes_text(size)} of memory{read}{f' (beside {beside})' if beside else ''}, and the limit is "
        f"{bytes_text(where.memory)}, of which {HELD:.0%} may be held; set --memory {round_up(needed)} or more"
    )


def bytes_text(size: float) -> str:
    """A number of bytes as people write it.

    >>> bytes_text(2_000_000_000), bytes_text(300_000_000), bytes_text(5)
    ('2.0 GB', '300 MB', '5 bytes')
    """
    if size >= 1e9:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,.0f} bytes"


def round_up(size: float) -> str:
    """A number of bytes, rounded up, as `--memory` reads it.

    >>> round_up(2_100_000_000), round_up(1000)
    ('3GB', '250MB')
    """
    if size <= 1e9:
        return f"{max(LEAST, math.ceil(size)) / 1e6:.0f}MB"
    return f"{math.ceil(size / 1e9)}GB"


def bytes_of(memory: str | int) -> int:
    """The number of bytes that a text such as `2GB` stands for. A kB is 1,000 bytes, a KiB 1,024.

    >>> bytes_of("2GB"), bytes_of("1.5 GiB"), bytes_of(300_000_000)
    (2000000000, 1610612736, 300000000)

    Raises KgrecError for any other text, and for less than LEAST.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)[bB]?\s*", str(memory))
    if found is None:
        raise KgrecError(f"--memory {str(memory)[:40]!r} is not a size; write 2GB, 500MB or a number of bytes")
    step = 1024 if found[3] else 1000
    size = float(found[1]) * step ** " kmgt".index(found[2].lower() or " ")
    if not LEAST <= size <= MOST:
        wanted = f"at least {round_up(LEAST)}" if size < LEAST else f"at most {round_up(MOST)}"
        raise KgrecError(f"--memory {memory} is out of range; set {wanted}")
    return int(size)


def empty(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array without values, like `np.empty`."""
    shape = (shape,) if isinstance(shape, int) else shape
    size = math.prod(shape) * np.dtype(dtype).itemsize
    where = _ON_DISK.get()
    if where is None or size <= where.small:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(dir=where.folder) as file:
        _reserve(file, size)
        return _mapped(file, size, dtype).reshape(shape)


def _reserve(file: IO[bytes], size: int) -> None:
    """Take the place on the disk, so that a full one raises OSError here and not a signal later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def _mapped(file: IO[bytes], size: int, dtype: Any) -> np.ndarray:
    return np.frombuffer(mmap.mmap(file.fileno(), size), dtype)


class GrowingArray:
    """An array to which values are added at the end.

    >>> numbers = GrowingArray(np.int64)
    >>> numbers.add(np.array([1, 2])), numbers.add(np.array([3])), numbers.array().tolist()
    (None, None, [1, 2, 3])
    """

    def __init__(self, dtype: Any, width: int | None = None) -> None:
        self.dtype, self.width = np.dtype(dtype), width  #: width: numbers in each row; None: an array of one dimension
        self._parts: list[np.ndarray] = []
        self._file: IO[bytes] | None = None
        self._size = 0  # bytes in the parts, or in the file

    def __len__(self) -> int:
        return self._size // self.dtype.itemsize // (self.width or 1)

    def add(self, values: np.ndarray) -> None:
        """Add values of the same type: [n], or [n, width]."""
        assert values.dtype == self.dtype
        self._size += values.nbytes
        where = _ON_DISK.get()
        if where is None or (self._file is None and self._size <= where.small):
            self._parts.append(values)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=where.folder)  # noqa: SIM115 - `arrays_on_disk` closes it
            where._files.append(self._file)
        for part in (*self._parts, values):
            self._file.write(np.ascontiguousarray(part).data)
        self._parts.clear()

    def array(self) -> np.ndarray:
        """All values. Nothing can be added afterwards."""
        shape = (-1,) if self.width is None else (-1, self.width)
        if self._file is None:
            parts, self._parts = self._parts, []
            if len(parts) == 1:
                return parts[0]
            return np.concatenate([np.empty((0, self.width) if self.width else 0, self.dtype), *parts])
        with self._file as file:
            file.flush()
            return _mapped(file, self._size, self.dtype).reshape(shape)


def spans(count: int) -> Iterator[slice]:
    """Slices of `count` rows, one after the other; one slice where arrays are in memory."""
    where = _ON_DISK.get()
    step = count if where is None else where.rows
    return (slice(start, min(start + step, count)) for start in range(0, count, step or 1))


def concatenated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """All arrays, one after the other, like `np.concatenate`."""
    if _ON_DISK.get() is None:
        return np.concatenate(arrays)
    joined = empty((sum(map(len, arrays)), *arrays[0].shape[1:]), np.result_type(*arrays))
    at = 0
    for array in arrays:
        joined[at : at + len(array)] = array
        at += len(array)
    return joined


def chosen(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The values where a mask, bool [n], is true."""
    if _ON_DISK.get() is None:
        return values[mask]
    found = empty((int(np.count_nonzero(mask)), *values.shape[1:]), values.dtype)
    at = 0
    for span in spans(len(values)):
        part = values[span][mask[span]]
        found[at : at + len(part)] = part
        at += len(part)
    return found


def looked_up(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`table[index]`, for integers [n]. table: small."""
    if _ON_DISK.get() is None:
        return table[index]
    found = empty(len(index), table.dtype)
    for span in spans(len(index)):
        found[span] = table[index[span]]
    return found


def counts(values: np.ndarray, length: int, mask: np.ndarray | None = None) -> np.ndarray:
    """int64 [length]: how often each whole number from 0 occurs. mask: which values count; None: all."""
    total = np.zeros(length, np.int64)
    for span in spans(len(values)):
        part = values[span] if mask is None else values[span][mask[span]]
        total += np.bincount(part, minlength=length)
    return total


def parts_by_key(keys: np.ndarray, what: str) -> Iterator[np.ndarray]:
    """All row numbers of an array [n] in parts, int64 [m], each for itself in ascending order. Every key of a part is
    less than every key of the next. There is one part where arrays are in memory.

    what: what the rows are, for messages. Raises KgrecError where so many rows have the same key that they do not fit
    into memory.
    """
    where = _ON_DISK.get()
    if where is None or len(keys) <= where.rows:
        if len(keys):
            yield np.arange(len(keys))
        return
    sample = np.sort(keys[np.sort(np.random.default_rng(0).integers(0, len(keys), SAMPLE))])
    count = -(-len(keys) // where.rows)
    bounds, times = np.unique(sample[np.arange(1, count) * SAMPLE // count], return_counts=True)
    after = np.searchsorted(sample, bounds[times > 1], side="right")  # so that a frequent key is alone in its part
    bounds = np.union1d(bounds, sample[after[after < SAMPLE]])
    for number in range(len(bounds) + 1):
        found = []
        for span in spans(len(keys)):
            part = keys[span]
            inside = np.ones(len(part), bool) if number == 0 else part >= bounds[number - 1]
            if number < len(bounds):
                inside &= part < bounds[number]
            found.append(np.flatnonzero(inside) + span.start)
        rows = np.concatenate(found)
        require_memory(64 * len(rows), f"{len(rows):,} {what} that must be compared with each other")
        if len(rows):
            yield rows
