"""Fields with several values, paths, and the arrow form of a feature's column."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, Fault
from kgrec.graph.schema import FeatureKind
from kgrec.sources.recipe.table_part import FeatureColumn
from kgrec.sources.tables.columns import Column, Numbers, Texts


def feature_column(name: str, feature: FeatureColumn) -> Column:
    """How a feature's column is to be read."""
    column = feature.column or name
    return Numbers(column) if feature.kind == "numeric" else Texts(column)


def feature_values(kind: FeatureKind, raw: pa.Array, split: str | None, where: Fault) -> pa.Array:
    """A column as `Feature.from_arrow` reads it. where: the column, as the beginning of what is said of it. Raises
    BadData where a vector holds what is no number."""
    if kind == "multi":
        return lists(raw, split)
    if kind == "vector":
        values = lists(raw, split)
        rows = np.arange(len(values))
        row = pa.array(rows, mask=pc.list_value_length(values).to_numpy() == 0)
        try:
            return values.cast(pa.list_(pa.float32())).take(row)
        except pa.ArrowInvalid as error:
            what = f"a vector has a value that is no number ({error}); mend the row"
            raise _bad(where, what, "bad number") from error
    return raw


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
    """The rows of a .npy matrix as lists. whose: what the rows are held against. Raises BadData where it is missing or
    has another number of rows."""
    try:
        matrix = np.load(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise _bad(where, f"{file} is no .npy matrix: {error}", "missing file") from error
    except (OSError, ValueError) as error:
        raise _bad(where, f"{file} is no .npy matrix: {error}", "altered file") from error
    if matrix.ndim != 2 or len(matrix) != rows:
        what = f"{file} has shape {matrix.shape}; it must have {whose}{rows} rows"
        raise _bad(where, what, "wrong length", str(matrix.shape))
    return matrix_lists(matrix)


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
