"""Columns of numbers, each read from its text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.column_texts import texts_of
from kgrec.sources.tables.bad_rows import MEND
from kgrec.sources.tables.columns import Column, Values
from kgrec.sources.tables.raw_table import Wanted

GREATEST = float(np.finfo(np.float32).max)  #: the largest weight or feature, because graphs store them as float32
SPACE = " \t\r\n"  #: is ignored before and after a number
NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"  #: not NaN, INF, 1,000 or 0x1F


@dataclass(frozen=True, eq=False)
class Numbers(Column):
    """Numbers as float64, in the range of float32. Null where there is no number, which is an error with `required`."""

    name: str
    low: float = -GREATEST
    high: float = GREATEST
    required: bool = False

    @property
    def wanted(self) -> Wanted:
        return Wanted(pa.float64())

    def read(self, raw: pa.ChunkedArray) -> Values:
        values = numbers_of(raw, self.name)
        wrong = self._empty(raw) if self.required else []
        low, high = max(self.low, -GREATEST), min(self.high, GREATEST)
        if values.null_count == raw.null_count and _are_within(values, low, high):
            return Values(values, wrong)
        is_number = pc.fill_null(pc.is_finite(values), False)
        wrong += self._wrong(pc.and_(pc.invert(is_number), raw.is_valid()), "bad number", f"is not a number; {MEND}")
        outside = pc.and_(is_number, pc.or_(pc.less(values, low), pc.greater(values, high)))
        wrong += self._wrong(outside, "out of range", f"is not in {low:g}..{high:g}; {MEND}")
        return Values(values, wrong)


def _are_within(values: pa.ChunkedArray, low: float, high: float) -> bool:
    """Whether all numbers are in a range and none is NaN. Nulls are ignored."""
    least, most = (bound.as_py() for bound in pc.min_max(values).values())
    return (least is None or (low <= least and most <= high)) and not pc.any(pc.is_nan(values)).as_py()


def numbers_of(raw: pa.ChunkedArray, name: str = "the column") -> pa.ChunkedArray:
    """float64 from numbers, or from texts of numbers: null, NaN or infinite where a text is not a number. An integer
    beyond 2^53 becomes the nearest float64; `true` is 1.

    >>> numbers_of(pa.chunked_array([["1.5", " 2", "1e3", "1_000", "many", None]])).to_pylist()
    [1.5, 2.0, 1000.0, None, None, None]
    """
    types, kind = pa.types, raw.type
    if types.is_null(kind) or types.is_boolean(kind):
        return raw.cast(pa.float64())
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return raw.cast(pa.float64(), safe=False)
    texts = pc.utf8_trim(texts_of(raw, name), SPACE)
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:
        words = pc.utf8_lower(texts)
        texts = pc.if_else(pc.equal(words, "true"), "1", pc.if_else(pc.equal(words, "false"), "0", texts))
        is_number = pc.fill_null(pc.match_substring_regex(texts, NUMBER), False)
        return pc.if_else(is_number, pc.utf8_ltrim(texts, "+"), pa.scalar(None, pa.string())).cast(pa.float64())
