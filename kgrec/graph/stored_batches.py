"""The Parquet files of a graph folder, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kgrec.errors import BadData, Fault, KgrecError
from kgrec.parquet_files import OWN_VALUES, opened

ROWS = 1 << 19  #: rows that are read at once


def parts_of(file: Path) -> list[Path]:
    """A Parquet file, or the Parquet files of a folder in the order of their names. Raises KgrecError if there is
    none."""
    if not file.exists():
        what = f"lacks its file {file.parent.name}/{file.name}; build the graph again"
        raise KgrecError(Fault(what, str(file.parent.parent), None, None, file.name, "missing file", file_is="subject"))
    return sorted(file.glob("*.parquet")) if file.is_dir() else [file]


def columns_of(file: Path) -> list[str]:
    """The names of the columns of a table, in any of its parts."""
    return list(dict.fromkeys(name for part in _opened(file) for name in part.schema_arrow.names))


def num_rows(file: Path) -> int:
    """Number of rows of a table."""
    return sum(part.metadata.num_rows for part in _opened(file))


def batches_of(file: Path) -> Iterator[pa.Table]:
    """The rows of a table, ROWS at a time. A column that one of its parts lacks is null there, as where they are read
    in one piece. Raises KgrecError if the table is missing, truncated or altered."""
    names = columns_of(file)
    try:
        for part in _opened(file):
            for batch in part.iter_batches(batch_size=ROWS):
                table = pa.table(batch)
                table.validate(full=True)
                for name in names:
                    if name not in table.column_names:
                        table = table.append_column(name, pa.nulls(len(table)))
                yield table
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _altered(file, error) from error


def _opened(file: Path) -> list[pq.ParquetFile]:
    try:
        return [opened(part, str(part), OWN_VALUES) for part in parts_of(file)]
    except (BadData, OSError) as error:
        raise _altered(file, error) from error


def _altered(file: Path, error: Exception) -> KgrecError:
    what = f"is truncated or altered: {error}; build the graph again"
    return KgrecError(Fault(what, str(file), None, None, None, "altered file", file_is="subject"))
