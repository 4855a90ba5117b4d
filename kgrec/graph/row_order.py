"""Hashes of the order of rows. The order matters because edges refer to nodes by row number, and splits to edges."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa


def order_of_ids(ids: pa.Array) -> str:
    """A hash of ids, strings [N] without nulls, in their order."""
    _, offsets, data = ids.buffers()
    ends = np.frombuffer(offsets or b"", "<i4")[ids.offset : ids.offset + len(ids) + 1]
    if not len(ids):
        return _hash()
    return _hash(np.diff(ends).tobytes(), memoryview(data)[ends[0] : ends[-1]] if data is not None else b"")


def order_of_edges(source: np.ndarray, target: np.ndarray) -> str:
    """A hash of edges in their order. source, target: integer [E], local numbers."""
    return _hash(*(np.ascontiguousarray(numbers, "<i8").data.cast("B") for numbers in (source, target)))


def _hash(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
