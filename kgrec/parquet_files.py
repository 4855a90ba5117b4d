"""Read Parquet files, and compare what they claim to hold with their own size, before and during reading."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kgrec.errors import BadData, Fault

SMALL = 1 << 26  #: bytes (64 MiB) to which any packed file or Parquet column may unpack
MOST_EXPANSION = 200  #: times its own size, to which a packed file may unpack beyond that
MOST_VALUES = 1 << 24  #: values (16 Mi) that a column of any Parquet file may hold
VALUES_A_BYTE = 10  #: of the file, that it may hold beyond that
WHOLE = 1 << 16  #: bytes (64 KiB) up to which a file is read at once, by one thread
OWN_SMALL = 1 << 30  #: bytes (1 GiB) to which any file of a graph or run folder may unpack
OWN_VALUES = 1 << 28  #: values (256 Mi) that a column of such a file may hold: a split may say one part of all edges


def opened(path: Path, name: str, most_values: int = MOST_VALUES) -> pq.ParquetFile:
    """Open a Parquet file. Raises BadData if it is not one, or if its metadata cannot be true: parts beyond its end, a
    number of rows that differs from that of its parts, or far more rows or values than the file has bytes."""
    try:
        str(path).encode()  # Arrow opens no file whose name is not UTF-8
        at = path.stat()
        if not stat.S_ISREG(at.st_mode):  # a pipe would be waited for, and a device may have no end
            raise OSError("it is no regular file")
        # from memory pyarrow reads a small file in a third of the time
        held = path.read_bytes() if at.st_size <= WHOLE else None
        file = pq.ParquetFile(path if held is None else pa.BufferReader(held))
        metadata, schema = file.metadata, file.schema_arrow
        del schema  # read, so that a broken one is found here
    except UnicodeDecodeError as error:
        what = f"the name of a column is not UTF-8: {error}; give it another"
        raise BadData(what, file=name, kind="altered file") from error
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise _no_parquet(name, error) from error
    size = at.st_size
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = sum(group.num_rows for group in groups)
    if rows != metadata.num_rows or min((group.num_rows for group in groups), default=0) < 0:
        what = f"says that it has {metadata.num_rows:,} rows, and its parts have {rows:,}; get it again"
        raise BadData(Fault(what, name, kind="altered file", file_is="subject"))
    try:
        if not (checked := _checked_parts(path, size, at.st_mtime_ns)):
            checked.update(_read_a_row_of_each_part(path if held is None else pa.BufferReader(held)))
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise _no_parquet(name, error) from error
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    packed = max((chunk.total_compressed_size for chunk in chunks), default=0)
    if packed > size or min((chunk.total_compressed_size for chunk in chunks), default=0) < 0:
        what = f"says that a column takes {packed:,} bytes, and the file has {size:,}; get it again"
        raise BadData(Fault(what, name, kind="altered file", file_is="subject"))
    values = max((chunk.num_values for chunk in chunks), default=0)
    _refuse_more(max(rows, values), max(most_values, VALUES_A_BYTE * size), "values in a column", size, name)
    return file


def _no_parquet(name: str, error: Exception) -> BadData:
    return BadData(Fault(f"is no Parquet file, or truncated: {error}", name, kind="altered file", file_is="subject"))


@lru_cache(maxsize=256)
def _checked_parts(path: Path, size: int, changed: int) -> set[int]:
    """The parts of a file of which a row was read, by `opened`; empty at first. size, changed: of the file."""
    return set()


def _read_a_row_of_each_part(source: Path | pa.BufferReader) -> range:
    """Read one row of each part, so that pyarrow raises if the metadata of a part contradicts itself. If it were asked
    for that metadata alone, it would end the process. Returns the numbers of the parts."""
    file = pq.ParquetFile(source, pre_buffer=False)
    parts = range(file.num_row_groups)
    for part in parts:
        try:
            next(file.iter_batches(batch_size=1, row_groups=[part], use_threads=False), None)
        except pa.ArrowNotImplementedError:  # of values; their column may not be wanted
            continue
    return parts


def read_own(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read some columns of a Parquet file of a graph or run folder; None reads all. It may unpack to more than other
    files, because such files often repeat a few values in many rows. Raises BadData as `read_columns` does."""
    return read_columns(path, str(path), columns, small=OWN_SMALL, most_values=OWN_VALUES)


def read_batches(path: Path, name: str, wanted: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """Read some columns of a Parquet file, at most `rows` rows at a time. Raises BadData as `read_columns` does."""
    file = opened(path, name)
    size, written = path.stat().st_size, 0
    most = max(SMALL, MOST_EXPANSION * size)
    repeated = _repeated_texts(file, wanted, most, size, name)
    if repeated:
        file = pq.ParquetFile(path, read_dictionary=sorted(repeated))
    for batch in file.iter_batches(batch_size=rows, columns=list(wanted)):
        table = pa.Table.from_batches([batch])
        written += _require_small(table, most - written, size, name)
        table.validate(full=True)
        yield _as_written(table, repeated)


def read_columns(
    path: Path, name: str, wanted: Sequence[str] | None, *, small: int = SMALL, most_values: int = MOST_VALUES
) -> pa.Table:
    """Read some columns of a Parquet file; None reads all. A file may store a text once for many rows. Raises BadData
    if the columns would be far larger in memory than the file is. small: a size in bytes that is always allowed."""
    file = opened(path, name, most_values)
    size = path.stat().st_size
    most = max(small, MOST_EXPANSION * size)
    wanted = file.schema_arrow.names if wanted is None else wanted
    repeated = _repeated_texts(file, wanted, most, size, name)
    if repeated:
        table = pq.read_table(path, columns=list(wanted), partitioning=None, read_dictionary=sorted(repeated))
    else:
        table = file.read(columns=list(wanted), use_threads=size > WHOLE)
    _require_small(table, most, size, name)
    table.validate(full=True)
    return _as_written(table, repeated)


def _repeated_texts(file: pq.ParquetFile, wanted: Sequence[str], most: int, size: int, name: str) -> set[str]:
    """The wanted columns that store a text once for many rows and would be too large if every row had its own. Raises
    BadData where the columns say that they are too large."""
    metadata, named = file.metadata, set(wanted)
    chunks = [
        chunk
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for chunk in map(group.column, range(group.num_columns))
        if not named.isdisjoint(accumulate(chunk.path_in_schema.split("."), "{}.{}".format))  # a column, or within it
    ]
    _refuse_more(sum(chunk.total_uncompressed_size for chunk in chunks), most, "bytes", size, name)
    large = [one for one in chunks if metadata.num_rows * one.total_uncompressed_size > most]  # others cannot be more
    if not large:
        return set()
    is_text = {field.name for field in file.schema_arrow if pa.types.is_string(field.type)}
    return {
        chunk.path_in_schema
        for chunk in large
        if chunk.path_in_schema in is_text and any("DICTIONARY" in encoding for encoding in chunk.encodings)
    }


def _require_small(table: pa.Table, most: int, size: int, name: str) -> int:
    """Raise BadData where a column of texts would take more than `most` bytes if every row had its own text. Returns
    the bytes of the largest."""
    largest = 0
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type) and pa.types.is_string(field.type.value_type):
            count = sum(map(_written_out, table.column(place).chunks))
            _refuse_more(count, most, f"bytes of {field.name!r}", size, name)
            largest = max(largest, count)
    return largest


def _as_written(table: pa.Table, repeated: set[str]) -> pa.Table:
    """The table with every text written out."""
    kinds = [pa.field(f.name, pa.string()) if f.name in repeated else f for f in table.schema]
    return table.cast(pa.schema(kinds)) if repeated else table


def _written_out(column: pa.DictionaryArray) -> int:
    """The size of a column in bytes, with every value written out."""
    lengths = pc.binary_length(column.dictionary).to_numpy(zero_copy_only=False).astype(np.int64)
    codes = column.indices.drop_null().to_numpy()
    return int(np.bincount(codes, minlength=len(lengths)) @ lengths) if len(codes) else 0


def _refuse_more(count: int, most: int, what: str, size: int, name: str) -> None:
    if count > most:
        message = (
            f"says that it has {count:,} {what}, in a file of {size:,} bytes, as one made to fill the memory does; "
            "write it again with fewer rows a file if it is right"
        )
        raise BadData(Fault(message, name, kind="too large", file_is="subject"))
