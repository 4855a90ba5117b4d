"""Read Parquet files from anybody as Arrow tables whose names and texts are UTF-8, and their values in Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from kgrec.errors import BadData
from kgrec.parquet_files import read_own


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read some columns of a Parquet file; None reads all. Raises pa.ArrowException or OSError if it is not one, is
    truncated or altered, has a name or a text that is not UTF-8, has parts that contradict each other, or unpacks to
    far more than its size."""
    try:
        table = read_own(path, columns)
        twice = next((name for name in table.column_names if table.column_names.count(name) > 1), None)
        if twice is not None:
            raise pa.ArrowInvalid(f"the column {twice!r} stands there twice")
        return table
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid(f"the name of a column is not UTF-8: {error}") from error
    except BadData as error:
        raise pa.ArrowInvalid(error.fault.message) from error
    except (pa.ArrowException, OSError):
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise pa.ArrowInvalid(str(error)) from error


def plain_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values of a column as Python objects. If Python cannot represent one, all of them come from `plain_value`."""
    try:
        values: list[Any] = column.to_pylist()
        return values
    except (ValueError, OverflowError):
        return [plain_value(value) for value in column]


def plain_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a table as dicts, with values as in `plain_values`."""
    try:
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows
    except (ValueError, OverflowError):
        names, columns = table.schema.names, [plain_values(column) for column in table.columns]
        return [dict(zip(names, values)) for values in zip(*columns)]


def is_lists(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def plain_value(value: pa.Scalar) -> object:
    """A value of an Arrow column as a Python object. A date or time that Python cannot represent becomes a number.

    >>> plain_value(pa.scalar(7)), plain_value(pa.scalar(-(2**31), pa.int32()).cast(pa.date32()))
    (7, -2147483648)
    """
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        pass
    try:
        kind = pa.int32() if value.type.bit_width == 32 else pa.int64()
        return value.cast(kind).as_py()
    except (pa.ArrowException, ValueError, OverflowError):
        return f"a value of type {value.type}"
