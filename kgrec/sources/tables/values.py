"""Fields with several values, paths, and the arrow form of a feature's column."""

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
from kgrec.sources.recipe.table_part import FeatureColumn
from kgrec.sources.tables.columns import Column, Texts
from kgrec.sources.tables.number_column import Numbers


def feature_column(name: str, feature: FeatureColumn) -> Column:
    """How a feature's column is to be read."""
    column = feature.column or name
    return Numbers(column) if feature.kind == "numeric" else Texts(column)


def feature_values(kind: FeatureKind, raw: pa.Array, split: str | None, where: Fault) -> pa.Array:
    """A column as `Feature.from_arrow` reads it. where: the column, as the beginning of what is said of it. Raises
    BadData where a vector holds what is no number."""
    if kind in ("multi", "vector"):
        try:
            values = lists(raw, split)
        except pa.ArrowException as error:
            what = f"its values, of type {raw.type}, are no lists of text or numbers ({error}); write them as such"
            raise _bad(where, what, "bad column") from error
        return values if kind == "multi" else _vectors(values, where)
    if pa.types.is_list(raw.type) or pa.types.is_large_list(raw.type) or pa.types.is_fixed_size_list(raw.type):
        what = f"its values are lists, of type {raw.type}; say `kind: multi` or `vector`"
        raise _bad(where, what, "bad column")
    return raw


def _vectors(values: pa.ListArray, where: Fault) -> pa.Array:
    """Lists of text as lists of float32, null where they are empty."""
    row = pa.array(np.arange(len(values)), mask=pc.list_value_length(values).to_numpy() == 0)
    try:
        vectors = values.cast(pa.list_(pa.float32())).take(row)
    except pa.ArrowInvalid as error:
        what = f"a vector has a value that is no number ({error}); mend the row"
        raise _bad(where, what, "bad number") from error
    numbers = pc.list_flatten(vectors).to_numpy(zero_copy_only=False)
    if not np.isfinite(numbers).all():
        found = str(pc.list_flatten(values)[int(np.flatnonzero(~np.isfinite(numbers))[0])])
        what = f"a vector has {found!r}, which is not finite or beyond what float32 can hold; mend the row"
        raise _bad(where, what, "bad number", found)
    if len(vectors) and vectors.null_count == len(vectors):
        raise _bad(where, "no row has a vector; fill some, or take the feature out of the recipe", "bad column")
    return vectors


def _bad(where: Fault, what: str, kind: str, value: str | None = None) -> BadData:
    """The error that says `what` of a column or a matrix."""
    return BadData(where._replace(message=f"{where.message}: {what}", kind=kind, value=value))


def combined(raw: pa.ChunkedArray) -> pa.Array:
    """One array of all chunks."""
    array = raw.combine_chunks()
    return array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)


def lists(column: pa.Array, split: str | None) -> pa.ListArray:
    """Each field as a list of its values, without the spaces around them; empty ones are none.

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
    """The rows of a .npy matrix as lists. whose: what the rows are held against. Raises BadData where it is missing, is
    no matrix of finite numbers or has another number of rows."""
    matrix = _open_matrix(file, where)
    if matrix.ndim != 2 or len(matrix) != rows or not matrix.shape[1]:
        what = f"{file} has shape {matrix.shape}; it must have {whose}{rows} rows, and a column at least"
        raise _bad(where, what, "wrong length", str(matrix.shape))
    with np.errstate(over="ignore"):
        values = matrix.astype(np.float32)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        what = f"{file} row {row + 1} has a number that is not finite or beyond what float32 can hold; mend it"
        raise _bad(where, what, "bad number")
    return matrix_lists(values)


def _open_matrix(file: Path, where: Fault) -> np.ndarray:
    """A .npy array, mapped into memory after its header was held against the file's size: nothing is allocated for what
    is not there. Raises BadData."""
    try:
        with file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = read(stream)
            there = file.stat().st_size - stream.tell()
    except FileNotFoundError as error:
        raise _bad(where, f"{file} is no .npy matrix: {error}", "missing file") from error
    except Exception as error:  # numpy evaluates the header as Python, with whatever error that has
        why = re.sub(r" object at 0x[0-9a-f]+", "", str(error))
        raise _bad(where, f"{file} is no .npy matrix: {why}", "altered file") from error
    if kind.kind not in "fiub":
        raise _bad(where, f"{file} holds {kind}; numbers are wanted", "altered file", str(kind))
    wanted = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or wanted > there:
        what = f"{file} says that it is of shape {shape}, {wanted:,} bytes, and has {there:,}; get it again"
        raise _bad(where, what, "altered file", str(shape))
    if not wanted:
        return np.empty(shape, kind)
    try:
        matrix: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _bad(where, f"{file} is no .npy matrix: {error}", "altered file") from error
    return matrix


def matrix_lists(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """The rows of a matrix [n, D] as lists of float32."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.astype(np.float32).reshape(-1)), matrix.shape[1])


def require_one_length(vectors: pa.Array, ids: pa.Array, where: Fault) -> None:
    """Raises BadData with the ids of vectors that are not as long as most; null and empty ones are none."""
    length = pc.fill_null(pc.list_value_length(vectors), 0).to_numpy(zero_copy_only=False)
    if not length.any():
        return
    most = int(np.bincount(length[length > 0]).argmax())
    wrong = np.flatnonzero((length > 0) & (length != most))
    if len(wrong):
        first = ids[int(wrong[0])].as_py()
        more = f", and {len(wrong) - 1:,} more are of another length" if len(wrong) > 1 else ""
        what = f"the vector of {first!r} has {length[wrong[0]]} numbers, most have {most}{more}"
        raise _bad(where, f"{what}; mend the row, or leave it empty", "wrong length", first)
