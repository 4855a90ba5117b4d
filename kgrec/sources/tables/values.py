"""Fields with several values, and features as Arrow arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, Fault
from kgrec.graph.schema import FeatureKind
from kgrec.large_arrays import require_memory
from kgrec.sources.recipe.table_part import FeatureColumn
from kgrec.sources.tables.columns import Column, Texts
from kgrec.sources.tables.number_column import Numbers


def feature_column(name: str, feature: FeatureColumn) -> Column:
    """How to read the column of a feature."""
    column = feature.column or name
    return Numbers(column) if feature.kind == "numeric" else Texts(column)


def feature_values(kind: FeatureKind, raw: pa.Array, split: str | None, where: Fault) -> pa.Array:
    """A column in the form that `Feature.from_arrow` needs. where: the beginning of messages about the column. Raises
    BadData where a vector has a value that is not a number."""
    if kind in ("multi", "vector"):
        try:
            values = lists(raw, split)
        except pa.ArrowException as error:
            what = f"the values, of type {raw.type}, are not lists of texts or numbers ({error}); write them as lists"
            raise _bad(where, what, "bad column") from error
        return values if kind == "multi" else _vectors(values, where)
    if pa.types.is_list(raw.type) or pa.types.is_large_list(raw.type) or pa.types.is_fixed_size_list(raw.type):
        what = f"the values are lists, of type {raw.type}; set `kind: multi` or `kind: vector`"
        raise _bad(where, what, "bad column")
    return raw


def _vectors(values: pa.ListArray, where: Fault) -> pa.Array:
    """Lists of text as lists of float32, null where they are empty."""
    row = pa.array(np.arange(len(values)), mask=pc.list_value_length(values).to_numpy() == 0)
    try:
        vectors = values.cast(pa.list_(pa.float32())).take(row)
    except pa.ArrowInvalid as error:
        what = f"a vector has a value that is not a number ({error}); fix the row"
        raise _bad(where, what, "bad number") from error
    numbers = pc.list_flatten(vectors).to_numpy(zero_copy_only=False)
    if not np.isfinite(numbers).all():
        found = str(pc.list_flatten(values)[int(np.flatnonzero(~np.isfinite(numbers))[0])])
        what = f"a vector has {found!r}, which is not finite or too large for float32; fix the row"
        raise _bad(where, what, "bad number", found)
    if len(vectors) and vectors.null_count == len(vectors):
        raise _bad(where, "no row has a vector; fill in some, or remove the feature from the recipe", "bad column")
    return vectors


def _bad(where: Fault, what: str, kind: str, value: str | None = None) -> BadData:
    """The error about a column or a matrix. what: the message after its name."""
    return BadData(where._replace(message=f"{where.message}: {what}", kind=kind, value=value))


def combined(raw: pa.ChunkedArray) -> pa.Array:
    """One array of all chunks."""
    array = raw.combine_chunks()
    return array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)


def lists(column: pa.Array, split: str | None) -> pa.ListArray:
    """Each field as a list of its values, without spaces around them. Empty values are dropped.

    >>> lists(pa.array(["Comedy | Drama", "", None]), "|").to_pylist()
    [['Comedy', 'Drama'], [], []]
    """
    if pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    if not pa.types.is_list(column.type):
        if split is None:
            parts = np.arange(len(column) + 1)
            column = pa.ListArray.from_arrays(pa.array(parts, pa.int32()), column)
        else:
            column = pc.split_pattern(column, pattern=split)
    values = pc.list_flatten(column)
    row = pc.list_parent_indices(column).to_numpy()
    values = pc.utf8_trim_whitespace(values if values.type == pa.string() else values.cast(pa.string()))
    kept = pc.fill_null(pc.not_equal(values, ""), False)
    counts = np.bincount(row[kept.to_numpy(zero_copy_only=False)], minlength=len(column))
    offsets = np.concatenate([[0], counts.cumsum()])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values.filter(kept))


def flag_lists(columns: Mapping[str, pa.Array]) -> pa.ListArray:
    """Each row's list of the columns that are true in it."""
    names = pa.array(list(columns), pa.string())
    flags = np.stack([flags.to_numpy(zero_copy_only=False) for flags in columns.values()], axis=1)
    _, position = np.nonzero(flags)
    offsets = np.concatenate([[0], flags.sum(axis=1).cumsum()])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names.take(pa.array(position)))


def vectors_in(file: Path, rows: int, where: Fault, whose: str = "the table's ") -> pa.Array:
    """The rows of a .npy matrix as lists. whose: what the rows must match, for messages. Raises BadData where the file
    is missing, is not a matrix of finite numbers, or has another number of rows."""
    matrix = _open_matrix(file, where)
    if matrix.ndim != 2 or len(matrix) != rows or not matrix.shape[1]:
        what = f"{file} has shape {matrix.shape}; it must have {whose}{rows} rows, and at least one column"
        raise _bad(where, what, "wrong length", str(matrix.shape))
    require_memory(8 * matrix.size, f"the vectors of {file.name}", held=f"the vectors of {file.name}")
    with np.errstate(over="ignore"):
        values = matrix.astype(np.float32)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        what = f"{file} row {row + 1} has a number that is not finite or too large for float32; fix it"
        raise _bad(where, what, "bad number")
    return matrix_lists(values)


def _open_matrix(file: Path, where: Fault) -> np.ndarray:
    """A .npy array, mapped into memory. Its header is first compared with the file's size, so that no memory is taken
    for data that the file does not have. Raises BadData."""
    try:
        with file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = read(stream)
            there = file.stat().st_size - stream.tell()
    except FileNotFoundError as error:
        raise _bad(where, f"{file} cannot be read: {error}", "missing file") from error
    except Exception as error:  # numpy evaluates the header as Python, with whatever error that has
        why = re.sub(r" object at 0x[0-9a-f]+", "", str(error))
        raise _bad(where, f"{file} is not a .npy matrix: {why}", "altered file") from error
    if kind.kind not in "fiub":
        raise _bad(where, f"{file} has values of type {kind}; they must be numbers", "altered file", str(kind))
    wanted = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or wanted > there:
        what = f"{file} should have {wanted:,} bytes of data for its shape {shape}, but has {there:,}; get it again"
        raise _bad(where, what, "altered file", str(shape))
    if not wanted:
        return np.empty(shape, kind)
    try:
        matrix: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _bad(where, f"{file} is not a .npy matrix: {error}", "altered file") from error
    return matrix


def matrix_lists(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """The rows of a matrix [n, D] as lists of float32."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.astype(np.float32).reshape(-1)), matrix.shape[1])


def require_one_length(vectors: pa.Array, ids: pa.Array, where: Fault) -> None:
    """Raises BadData where some vectors do not have the same length as most. Null and empty vectors are ignored."""
    length = pc.fill_null(pc.list_value_length(vectors), 0).to_numpy(zero_copy_only=False)
    if not length.any():
        return
    most = int(np.bincount(length[length > 0]).argmax())
    wrong = np.flatnonzero((length > 0) & (length != most))
    if len(wrong):
        first = ids[int(wrong[0])].as_py()
        more = f"; {len(wrong) - 1:,} more have another length" if len(wrong) > 1 else ""
        what = f"the vector of {first!r} has {length[wrong[0]]} numbers, but most have {most}{more}"
        raise _bad(where, f"{what}; fix the row, or leave it empty", "wrong length", first)
