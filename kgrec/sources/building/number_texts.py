"""Reads numbers from the texts of literals."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.sources.tables.number_column import GREATEST, NUMBER, SPACE


def numbers_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """float64 [n]: the number in each text, NaN where it is not a number; bool [n]: where the number is too large for
    float32, which gives NaN too. `NaN`, `INF`, `1,000` and `0x1F` are not numbers here.

    >>> numbers_of(pa.array([" 1.50 ", "INF", "1e39", "+7"]))[0].tolist()
    [1.5, nan, nan, 7.0]
    """
    trimmed = pc.utf8_trim(texts, SPACE)
    is_number = pc.fill_null(pc.match_substring_regex(trimmed, NUMBER), False)
    plain = pc.if_else(is_number, pc.utf8_ltrim(trimmed, "+"), pa.scalar(None, pa.string()))
    number = plain.cast(pa.float64()).to_numpy(zero_copy_only=False)
    is_too_great = np.abs(np.nan_to_num(number, nan=0.0, posinf=np.inf)) > GREATEST
    return np.where(is_too_great, np.nan, number), is_too_great
