"""Files of numbers that are mapped into memory. Their pages are read when they are touched, are shared by all processes
of a machine, and can be dropped by the system at any time, so they need no memory of their own.

The files are NumPy's `.npy`, which `numpy.load(path, mmap_mode="r")` reads too.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from kgrec.json_files import wrong_file

HEADER = 128  #: bytes before the numbers
BLOCK = 1 << 22  #: edges that are read or written at once
SAMPLE, SAMPLES = 4096, 64  #: bytes of a sample of a file's contents, and the number of samples
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  #: a mapped file may be larger than the memory

Shape = tuple[int, ...]


def blocks(number: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices that cover `number` rows, `size` at a time.

    >>> list(blocks(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, number, size):
        yield slice(start, min(start + size, number))


def header(dtype: np.dtype, shape: Shape) -> bytes:
    """The header of a `.npy` file, always HEADER bytes long."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.encode().ljust(HEADER - 11) + b"\n"


def size_of(dtype: np.dtype, shape: Shape) -> int:
    """The size of such a file in bytes."""
    return HEADER + math.prod(shape) * dtype.itemsize


def new_array(path: Path, dtype: np.dtype, shape: Shape) -> np.ndarray:
    """A new file as an array that is written through to it. Its space on disk is reserved first, since a full disk
    would otherwise end the process when the array is written. Raises OSError if the disk is full."""
    with path.open("w+b") as file:
        return _mapped_for_writing(file, dtype, shape)


def scratch_array(folder: Path, dtype: np.dtype, shape: Shape) -> np.ndarray:
    """An array in a file without a name, which is gone when nothing uses it, also after a kill. Raises OSError if the
    disk is full."""
    path = folder / f".scratch-{secrets.token_hex(8)}"
    with path.open("x+b") as file:
        path.unlink()
        return _mapped_for_writing(file, dtype, shape)


def _mapped_for_writing(file: BinaryIO, dtype: np.dtype, shape: Shape) -> np.ndarray:
    size = size_of(dtype, shape)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
    file.write(header(dtype, shape))
    file.flush()
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(mmap.mmap(file.fileno(), size), dtype, offset=HEADER).reshape(shape)


def open_array(path: Path, dtype: np.dtype, shape: Shape) -> np.ndarray:
    """A file as an array. What is written to the array stays in this process and does not reach the file.

    Raises KgrecError if the size or the header is not that of such a file; OSError if it cannot be opened.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != size_of(dtype, shape):
            raise wrong_file(path, f"has {size:,} bytes and not {size_of(dtype, shape):,}, so it was altered")
        if file.read(HEADER) != header(dtype, shape):
            raise wrong_file(path, "has another header than kgrec wrote, so it was altered")
        if math.prod(shape) == 0:
            return np.empty(shape, dtype)
        flags = mmap.MAP_PRIVATE | NO_RESERVE
        mapped = mmap.mmap(file.fileno(), size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        return np.frombuffer(mapped, dtype, offset=HEADER).reshape(shape)


def light_checksum(path: Path) -> str:
    """A hash of a file's size and of samples of its bytes: up to SAMPLES of them, at equal distances, the first and the
    last among them. It takes milliseconds for a file of any size. A change between the samples is not noticed."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(size.to_bytes(8, "little"))
        last = max(0, size - SAMPLE)
        for start in sorted({last * number // (SAMPLES - 1) for number in range(SAMPLES)}):
            digest.update(os.pread(file.fileno(), SAMPLE, start))
    return digest.hexdigest()


class Appended:
    """A new `.npy` file whose length is not known in advance: rows are appended, and `close` writes the header."""

    def __init__(self, path: Path, dtype: np.dtype, width: Shape = ()) -> None:
        self.path, self.dtype, self.width, self.length = path, dtype, width, 0
        self.file = path.open("wb")
        self.file.write(bytes(HEADER))

    def append(self, rows: np.ndarray) -> None:
        """Append rows, [n, *width]."""
        self.file.write(np.ascontiguousarray(rows, self.dtype).data)
        self.length += len(rows)

    def close(self) -> Shape:
        """Write the header and close the file. Returns the shape."""
        shape = (self.length, *self.width)
        self.file.seek(0)
        self.file.write(header(self.dtype, shape))
        self.file.close()
        return shape


def as_tensors(arrays: Sequence[np.ndarray]) -> list[Tensor]:
    """The arrays as tensors of the same memory."""
    return [torch.from_numpy(array) for array in arrays]
