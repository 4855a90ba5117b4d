"""Typed columns of nodes and edges: numeric, categorical, multi-categorical, text and dense vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from kgrec.column_texts import texts_of
from kgrec.errors import KgrecError
from kgrec.graph.schema import FeatureKind, FeatureSchema
from kgrec.large_arrays import empty, spans

LARGEST_EMPTY = 1 << 26  #: a column of vectors with at most this many numbers may have any share of missing vectors
SPARSEST = 256  #: in a larger column, at least one row of this many must have a vector


@dataclass(frozen=True, eq=False)
class Feature:
    """One column of features. `values` depends on the kind: numeric: float32 [N] (NaN is missing); categorical: int64
    [N] (-1 is missing); multi: int64 [all codes], those of row n at `ptr[n]` to `ptr[n + 1]` (no codes is missing);
    vector: float32 [N, D] (all zeros is missing); text: a pyarrow string array [N] (null is missing)."""

    schema: FeatureSchema  #: its kind, and its categories or dimensions
    values: Any  #: see above
    ptr: Tensor | None = None  #: LongTensor [N + 1], for multi only

    def __len__(self) -> int:
        return len(self.ptr) - 1 if self.ptr is not None else len(self.values)

    @property
    def missing(self) -> Tensor:
        """Which rows have no value: BoolTensor [N]."""
        match self.schema.kind:
            case "numeric":
                found: Tensor = self.values.isnan()
            case "categorical":
                found = self.values < 0
            case "vector":
                found = (self.values == 0).all(1)
            case "text":
                blank = pc.equal(pc.utf8_trim_whitespace(self.values), "")
                found = torch.from_numpy(np.array(pc.fill_null(blank, True).to_numpy(zero_copy_only=False)))
            case "multi":
                assert self.ptr is not None
                found = self.ptr.diff() == 0
        return found

    @property
    def infinite(self) -> Tensor:
        """Which rows have an infinite number, or NaN in a vector: BoolTensor [N]."""
        if self.schema.kind == "numeric":
            found: Tensor = self.values.isinf()
        elif self.schema.kind == "vector":
            found = ~self.values.isfinite().all(1)
        else:
            found = torch.zeros(len(self), dtype=torch.bool)
        return found

    def is_constant(self, rows: Tensor) -> bool:
        """Whether the rows (BoolTensor [N]) that have a number all have the same one; or, for categories, whether all
        rows have the same category. False for other kinds."""
        if self.schema.kind not in ("numeric", "categorical"):
            return False
        values = self.values[rows & ~self.missing] if self.schema.kind == "numeric" else self.values[rows]
        return bool(len(values)) and bool(values.min() == values.max())

    def take(self, index: Tensor) -> Feature:
        """The feature of the rows `index` (LongTensor [n]); -1 gives a missing value."""
        return Feature.from_arrow(self.to_arrow().take(_nullable(index)), self.schema)

    def to_arrow(self) -> pa.Array:
        """The column as it is written to a Parquet file: categories by name, missing values as nulls."""
        kind, names = self.schema.kind, pa.array(self.schema.categories, pa.string())
        if kind == "text":
            return self.values
        if kind == "numeric":
            return pa.array(self.values.numpy(), pa.float32(), from_pandas=True)
        if kind == "vector" and not self.schema.dim:
            return pa.nulls(len(self.values), pa.list_(pa.float32()))
        if kind == "vector":
            flat = pa.array(self.values.reshape(-1).numpy(), pa.float32())
            return pa.FixedSizeListArray.from_arrays(flat, self.schema.dim)
        codes = self.values.numpy()
        column = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32(), mask=codes < 0), names)
        if kind == "categorical":
            return column
        assert self.ptr is not None
        return pa.ListArray.from_arrays(pa.array(self.ptr.numpy(), pa.int32()), column)

    @staticmethod
    def from_arrow(column: pa.Array | pa.ChunkedArray, schema: FeatureSchema | FeatureKind) -> Feature:
        """Read a column as a feature of this kind. If the schema has no categories, they are the values found, sorted.

        Raises KgrecError if the column's type does not fit the kind, or if vectors differ in length.
        """
        if isinstance(schema, str):
            schema = FeatureSchema(schema)
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        try:
            return _READERS[schema.kind](column, schema)
        except (pa.ArrowException, ValueError, TypeError) as error:
            what = f"a column of type {column.type} is not a {schema.kind} feature: {error}"
            raise KgrecError(what, kind="bad feature") from error


def _nullable(index: Tensor) -> pa.Array:
    rows = index.cpu().numpy()
    return pa.array(rows, mask=rows < 0)


def _numeric(column: pa.Array, schema: FeatureSchema) -> Feature:
    values = empty(len(column), np.float32)
    for span in spans(len(values)):
        values[span] = column[span].cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    return Feature(schema, torch.from_numpy(values))


def _text(column: pa.Array, schema: FeatureSchema) -> Feature:
    return Feature(schema, texts_of(column))


def _codes(column: pa.Array, schema: FeatureSchema) -> tuple[FeatureSchema, Tensor]:
    column = texts_of(column)
    names = schema.categories or tuple(sorted(pc.unique(column.drop_null()).to_pylist()))
    codes = pc.fill_null(pc.index_in(column, value_set=pa.array(names, pa.string())), -1)
    return FeatureSchema(schema.kind, names), torch.from_numpy(np.array(codes.to_numpy(zero_copy_only=False), np.int64))


def _categorical(column: pa.Array, schema: FeatureSchema) -> Feature:
    return Feature(*_codes(column, schema))


def _multi(column: pa.Array, schema: FeatureSchema) -> Feature:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    schema, codes = _codes(pc.list_flatten(column), schema)
    row = np.repeat(np.arange(len(column)), lengths)[
        (codes >= 0).numpy()
    ]  # values that are not among the categories are dropped
    ptr = np.concatenate([[0], np.bincount(row, minlength=len(column)).cumsum()])
    schema = FeatureSchema("multi", schema.categories, entries=len(row))
    return Feature(schema, codes[codes >= 0], torch.from_numpy(ptr.astype(np.int64)))


def _vector(column: pa.Array, schema: FeatureSchema) -> Feature:
    lengths = pc.list_value_length(column).drop_null()
    dim = schema.dim or (lengths[0].as_py() if len(lengths) else 0)
    if len(lengths) and not pc.all(pc.equal(lengths, dim)).as_py():
        found = pc.unique(lengths).to_pylist()
        what = f"vectors must all have length {dim}; found lengths {found[:5]}"
        raise KgrecError(what, kind="wrong length")
    if len(column) * dim > max(LARGEST_EMPTY, SPARSEST * len(lengths) * dim):
        what = f"{len(lengths):,} of {len(column):,} rows have a vector of {dim:,} numbers, too few for such a long one"
        raise KgrecError(what, kind="bad feature")
    values = np.zeros((len(column), dim), dtype=np.float32)
    present = np.asarray(column.is_valid())
    values[present] = (
        pc.list_flatten(column).cast(pa.float32()).to_numpy(zero_copy_only=False).reshape(len(lengths), dim)
    )
    return Feature(FeatureSchema("vector", dim=dim), torch.from_numpy(values))


_READERS = {"numeric": _numeric, "text": _text, "categorical": _categorical, "multi": _multi, "vector": _vector}


def click_labels(relation: str, feature: Feature | None) -> Tensor:
    """The labels of a relation's edges, from their feature `click`: FloatTensor [E], 1 for a click, 0 for no click.

    Raises KgrecError if there is no such feature, or if it has other values.
    """
    if feature is None or feature.schema.kind != "numeric":
        raise KgrecError(
            f"the {relation!r} edges have no labels of clicks; name their column with `click:` under `interactions` in "
            f"the recipe, or pass features={{{relation!r}: {{'click': 'numeric'}}}} to Graph.from_frames"
        )
    labels: Tensor = feature.values
    wrong = labels[(labels != 0) & (labels != 1)]
    if len(wrong):
        raise KgrecError(
            f"{len(wrong):,} {relation!r} edges have values other than 0 and 1 in the column of clicks, such as "
            f"{float(wrong[0]):g}; use 1 for a click and 0 for no click"
        )
    return labels
