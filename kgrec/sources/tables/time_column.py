"""Columns of times, converted to Unix seconds by their unit or format."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.column_texts import texts_of
from kgrec.errors import BadData, Fault
from kgrec.sources.tables.bad_rows import MEND
from kgrec.sources.tables.columns import Column, Values, Wrong
from kgrec.sources.tables.number_column import SPACE, numbers_of
from kgrec.sources.tables.raw_table import Wanted

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
LATE = 1e11  #: seconds, in the year 5138; a time in milliseconds is later than that
EARLY = -62_135_596_800  #: seconds, in the year 1; there are no earlier dates
DAY = 86_400
EARLIEST = 315_532_800  #: seconds, 1980: a whole number below it is hardly meant as a time
WHOLE = re.compile(r"[0-9]{9,20}")
DAY_FIRST = re.compile(r"([0-9]{1,2})([./-])([0-9]{1,2})\2[0-9]{4}")  #: such as 31.12.2024 or 12/31/2024
NONE = np.iinfo(np.int64).min  #: where a value is not a time
GREATEST_SECONDS = float(1 << 62)  #: larger numbers of seconds do not fit int64


@dataclass(frozen=True, eq=False)
class Times(Column):
    """Unix seconds as int64, rounded down."""

    name: str
    unit: Literal["s", "ms", "us", "ns", "iso"] = "s"
    format: str | None = None  #: strptime, instead of a unit
    now: float = field(default_factory=time.time)  #: a time more than a day later is an error

    @property
    def wanted(self) -> Wanted:
        if self.format or self.unit == "iso":
            return Wanted(pa.string())
        return Wanted(pa.int64() if self.unit == "ns" else pa.float64())  # float64 is too coarse for nanoseconds

    def read(self, raw: pa.ChunkedArray) -> Values:
        seconds = self._seconds(raw)
        if len(seconds) and not raw.null_count and seconds.min() >= EARLY and seconds.max() <= self.now + DAY:
            return Values(pa.chunked_array([pa.array(seconds)]))
        is_time, is_null = seconds != NONE, np.asarray(raw.is_null())
        wrong = self._empty(raw)
        for rows, fault in (
            (~is_time & ~is_null, self._no_time),
            (is_time & (seconds > LATE), self._late),
            (
                is_time & (seconds < EARLY),
                lambda _, text: self._fault("bad time", f"is before the year 1; {MEND}", text),
            ),
            (is_time & (seconds > self.now + DAY), lambda row, text: self._future(int(seconds[row]), text)),
        ):
            if rows.any():
                wrong.append(Wrong(rows, fault))
        return Values(pa.chunked_array([pa.array(seconds)]), wrong)

    def _seconds(self, raw: pa.ChunkedArray) -> np.ndarray:
        """int64 [n], NONE where the value is not a time."""
        kind = raw.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            if self.format:
                what = f"is a column of type {kind}, which needs no `format`; remove `format`"
                raise BadData(Fault(f"{self.name} {what}", column=self.name, kind="bad recipe"))
            unit = kind.unit if pa.types.is_timestamp(kind) else "s"
            whole = raw.cast(pa.timestamp(unit, getattr(kind, "tz", None))).cast(pa.int64())
            return _divided(whole, PER_SECOND[unit])
        if self.format or self.unit == "iso":
            return moments_of(texts_of(raw, self.name), self.format)
        scale = PER_SECOND[self.unit]
        if pa.types.is_integer(kind):
            return _divided(raw.cast(pa.int64(), safe=False), scale)
        if not pa.types.is_floating(kind):
            texts = pc.utf8_trim(texts_of(raw, self.name), SPACE)
            try:
                return _divided(texts.cast(pa.int64()), scale)
            except pa.ArrowInvalid:
                raw = texts
        return _floored(raw, scale, self.name)

    def _no_time(self, row: int, text: str | None) -> Fault:
        if self.format or self.unit == "iso":
            wanted = f"in the format {self.format!r}" if self.format else "in ISO 8601 format"
            return self._fault("bad time", f"is not a time {wanted}; {self._form_of(text or '')}", text)
        what = "is not a Unix time in seconds; set `time: {unit: iso}`, or a strptime `format` such as `%d/%m/%Y`"
        return self._fault("bad time", what, text)

    def _form_of(self, text: str) -> str:
        """What to do about a value that is not of this form: the unit or the format that it has, or else a general
        advice."""
        if self.format is None and WHOLE.fullmatch(text):
            fitting = [unit for unit, scale in PER_SECOND.items() if EARLIEST <= int(text) / scale <= self.now + DAY]
            if fitting:
                return f"it is a Unix time: set `time: {{unit: {fitting[0]}}}`"
        parts = DAY_FIRST.fullmatch(text.strip())
        if parts is None or self.format:
            return "fix the row, or set another `format`"
        first, mark, second = int(parts[1]), parts[2], int(parts[3])
        forms = [f"%d{mark}%m{mark}%Y"] * (second <= 12) + [f"%m{mark}%d{mark}%Y"] * (first <= 12)
        advice = " or ".join(f"`time: {{format: '{form}'}}`" for form in forms) or "another `format`"
        return f"fix the row, or if all rows are so, set {advice} in place of `unit`"

    def _late(self, row: int, text: str | None) -> Fault:
        number = numbers_of(pa.chunked_array([[text]], pa.string()))[0].as_py() if self.unit in PER_SECOND else None
        if number is None:
            return self._fault("bad time", f"is too late to be a time; {MEND}", text)
        fitting = [unit for unit, scale in PER_SECOND.items() if number / scale <= self.now + DAY]
        advice = f"set `time: {{unit: {fitting[0]}}}`" if fitting else MEND
        return self._fault("bad time", f"is too large for a time in {self.unit}; {advice}", text)

    def _early(self, row: int, text: str | None) -> Fault:
        return self._fault("bad time", f"is before the year 1; {MEND}", text)

    def _future(self, seconds: int, text: str | None) -> Fault:
        day = datetime.fromtimestamp(seconds, UTC).date()
        return self._fault("future time", f"is in the future ({day}); {MEND}", text)


def _divided(whole: pa.ChunkedArray, scale: int) -> np.ndarray:
    """Whole numbers divided by `scale`, rounded down; NONE for null."""
    numbers = pc.fill_null(whole, NONE).to_numpy()
    return numbers if scale == 1 else np.where(numbers == NONE, NONE, numbers // scale)


def _floored(raw: pa.ChunkedArray, scale: int, name: str) -> np.ndarray:
    """Numbers divided by `scale`, rounded down; NONE for what is not a number or too large for a time."""
    numbers = numbers_of(raw, name).to_numpy()
    if len(numbers) and max(numbers.max(), -numbers.min()) < 1 << 53:  # not where one is NaN
        return np.floor(numbers / scale if scale > 1 else numbers).astype(np.int64)
    with np.errstate(invalid="ignore"):
        seconds = np.floor(numbers / scale if scale > 1 else numbers)
        fits = np.isfinite(seconds)
        whole = np.where(fits, np.clip(seconds, -GREATEST_SECONDS, GREATEST_SECONDS), 0).astype(np.int64)
    if raw.type == pa.string():  # whole numbers that float64 cannot represent exactly
        for row in np.flatnonzero(fits & (np.abs(numbers) > 1 << 53) & (np.abs(seconds) < GREATEST_SECONDS)):
            text = raw[row].as_py()
            whole[row] = int(text) // scale if text.lstrip("+-").isdigit() else whole[row]
    return np.where(fits, whole, NONE)


def moments_of(texts: pa.ChunkedArray, form: str | None) -> np.ndarray:
    """int64 [n]: Unix seconds of dates and times (UTC), rounded down; NONE where a text is not one. form: a strptime
    format; None: ISO 8601.

    >>> moments_of(pa.chunked_array([["1970-01-02", "1969-12-31T23:59:59.5Z", "soon"]]), None).tolist()[:2]
    [86400, -1]
    """
    form = form or "ISO8601"
    series = pd.Series(texts.to_numpy(), dtype=object)
    found = _parsed(series, form)
    left = np.flatnonzero((found == NONE) & series.notna().to_numpy())
    if len(left):  # values that need another resolution than the first value are parsed again
        found[left] = _parsed(series.iloc[left], form)
        left = left[found[left] == NONE]
        rest = series.iloc[left]
        alone = {text: _parsed(pd.Series([text], dtype=object), form)[0] for text in rest.unique()}
        found[left] = rest.map(alone).to_numpy(np.int64)
    return found


def _parsed(series: pd.Series, form: str) -> np.ndarray:
    try:
        moments = pd.to_datetime(series, format=form, utc=True, errors="coerce")
    except (ValueError, TypeError, OverflowError):
        return np.full(len(series), NONE)
    return moments.to_numpy("datetime64[s]").astype(np.int64)  # NaT is NONE
