"""Arrow arrays from NumPy and back by their buffers. `pa.array`, `pa.scalar` and `to_numpy` import pandas when they are
first called, which takes a third of a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def number_array(numbers: np.ndarray) -> pa.Array:
    """Numbers [n] as an Arrow array of their type.

    >>> number_array(np.array([1.5, 2.0])).to_pylist()
    [1.5, 2.0]
    """
    numbers = np.ascontiguousarray(numbers)
    kind = pa.from_numpy_dtype(numbers.dtype)
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])


def truth_array(values: np.ndarray) -> pa.Array:
    """Truth values [n] as an Arrow array."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(values)])


def text_array(texts: Sequence[str | None]) -> pa.Array:
    """Texts as an Arrow array. Raises UnicodeEncodeError for a text that UTF-8 has no bytes for, and OverflowError for
    more than 2 GiB.

    >>> text_array(["a", None, "bc"]).to_pylist()
    ['a', None, 'bc']
    """
    encoded = [b"" if text is None else text.encode() for text in texts]
    length = np.fromiter(map(len, encoded), np.int64, len(encoded))
    if length.sum() > np.iinfo(np.int32).max:
        raise OverflowError("more than 2 GiB of text")
    offsets = np.zeros(len(encoded) + 1, np.int32)
    length.cumsum(out=offsets[1:], dtype=np.int32)
    valid = _bits(np.array([text is not None for text in texts], np.bool_)) if None in texts else None
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def numbers_in(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The numbers of a column [n] without a copy, if it is in one piece. Raises ValueError for missing values, and for
    other types than integers and floats.

    >>> numbers_in(pa.chunked_array([[1, 2], [3]])).tolist()
    [1, 2, 3]
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if column.null_count or not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ValueError(f"a column of {column.type} with {column.null_count} missing values; numbers are wanted")
    dtype = column.type.to_pandas_dtype()
    parts = [np.frombuffer(part.buffers()[1] or b"", dtype)[part.offset : part.offset + len(part)] for part in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, dtype), *parts])


def _bits(values: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(values, bitorder="little"))
