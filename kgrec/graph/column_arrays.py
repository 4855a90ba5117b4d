"""Columns of ids, texts and features as arrays that are mapped from files, written batch by batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from kgrec.column_texts import MOST_BYTES, texts_of
from kgrec.errors import KgrecError
from kgrec.graph.array_folder import ArrayFolder, ArrayWriter
from kgrec.graph.features import Feature
from kgrec.graph.schema import FeatureSchema


class TextWriter:
    """Writes a column of texts as Arrow's buffers: where each text ends, the texts, and which are not null."""

    def __init__(self, writer: ArrayWriter, name: str, *, nullable: bool) -> None:
        """name: of the column, for the names of the arrays. nullable: whether nulls are kept; otherwise there are
        none."""
        self.name, self.total, self.bits = name, 0, np.empty(0, bool)
        self.ends, self.text = writer.appended(f"{name}.ends", "<i4"), writer.appended(f"{name}.text", np.uint8)
        self.there = writer.appended(f"{name}.there", np.uint8) if nullable else None
        self.ends.append(np.zeros(1, np.int32))

    def append(self, column: pa.Array) -> None:
        """Append texts. Raises KgrecError beyond 2 GiB in all, which no column of texts may have."""
        column = texts_of(column, self.name)
        if self.there is not None:
            bits = np.concatenate([self.bits, np.asarray(column.is_valid())])
            whole = len(bits) - len(bits) % 8
            self.there.append(np.packbits(bits[:whole], bitorder="little"))
            self.bits = bits[whole:]
        if column.null_count:
            column = column.fill_null("")
        if not len(column):
            return
        _, offsets, data = column.buffers()
        ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
        first, last = int(ends[0]), int(ends[-1])
        if self.total + last - first > MOST_BYTES:
            raise KgrecError(f"the column {self.name} has more than {MOST_BYTES:,} bytes of text; use shorter ids")
        self.ends.append(ends[1:] - (first - self.total))
        if data is not None:
            self.text.append(np.frombuffer(data, np.uint8)[first:last])
        self.total += last - first

    def close(self) -> None:
        """Write what is left."""
        if self.there is not None and len(self.bits):
            self.there.append(np.packbits(self.bits, bitorder="little"))


def read_texts(folder: ArrayFolder, name: str, *, nullable: bool) -> pa.Array | None:
    """A column of texts, strings [N], whose buffers are mapped; None if an array is missing."""
    parts = ("ends", "text", "there") if nullable else ("ends", "text")
    found = folder.found([f"{name}.{part}" for part in parts])
    if found is None:
        return None
    ends, *buffers = found
    there = pa.py_buffer(buffers[1]) if nullable else None
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(buffers[0]), there)


class FeatureWriter:
    """Writes a feature column."""

    def __init__(self, writer: ArrayWriter, name: str, schema: FeatureSchema) -> None:
        """schema: with all categories, or the number of dimensions."""
        self.schema, self.kind, self.entries = schema, schema.kind, 0
        if self.kind == "text":
            self.texts = TextWriter(writer, name, nullable=True)
            return
        width = (schema.dim or 0,) if self.kind == "vector" else ()
        dtype = "<f4" if self.kind in ("numeric", "vector") else "<i8"
        self.values = writer.appended(f"{name}.values", dtype, width)
        if self.kind == "multi":
            self.ptr = writer.appended(f"{name}.ptr", "<i8")
            self.ptr.append(np.zeros(1, np.int64))

    def append(self, column: pa.Array | pa.ChunkedArray) -> None:
        """Append the values of a batch. Raises what Feature.from_arrow raises."""
        feature = Feature.from_arrow(column, self.schema)
        if self.kind == "text":
            self.texts.append(feature.values)
            return
        self.values.append(feature.values.numpy())
        if feature.ptr is not None:
            self.ptr.append(feature.ptr[1:].numpy() + self.entries)
            self.entries += len(feature.values)

    def close(self) -> FeatureSchema:
        """Write what is left. Returns the schema."""
        if self.kind == "text":
            self.texts.close()
        return replace(self.schema, entries=self.entries) if self.kind == "multi" else self.schema


def read_feature(folder: ArrayFolder, name: str, schema: FeatureSchema) -> Feature | None:
    """A feature column whose values are mapped; None if an array is missing."""
    if schema.kind == "text":
        texts = read_texts(folder, name, nullable=True)
        return None if texts is None else Feature(schema, texts)
    found = folder.found([f"{name}.values", *([f"{name}.ptr"] if schema.kind == "multi" else [])])
    if found is None:
        return None
    values, *ptr = (torch.from_numpy(array) for array in found)
    return Feature(schema, values, *ptr)


def complete_schema(schema: FeatureSchema, column: Any) -> FeatureSchema:
    """A schema with categories or dimensions. column: a function that reads the whole column, if these are missing."""
    if schema.kind in ("categorical", "multi") and not schema.categories:
        return Feature.from_arrow(column(), schema).schema
    if schema.kind == "vector" and not schema.dim:
        return Feature.from_arrow(column(), schema).schema
    return schema
