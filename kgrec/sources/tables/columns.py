"""What a column of a table holds: how its values are read in bulk, and what is wrong with one that cannot be."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import Fault
from kgrec.sources.tables.bad_rows import MEND

CODED = pa.dictionary(pa.int32(), pa.string())  #: ids as they come from a file: codes and the distinct ids


class Unfit(Exception):
    """Some value of a column is wrong; the table is read again row by row to say which."""


class Column(ABC):
    """A wanted column. `typed` takes all values at once, `fault` says what is wrong with a single one."""

    name: str
    is_unique: bool = False  #: whether a value may stand only once

    @property
    @abstractmethod
    def parsed_as(self) -> pa.DataType:
        """The type in which a CSV parser may give it."""

    @abstractmethod
    def typed(self, raw: pa.ChunkedArray) -> pa.ChunkedArray:
        """All values, of any type that a file gave. Raises Unfit or ArrowInvalid where one is wrong."""

    @abstractmethod
    def fault(self, value: Any) -> Fault | None:
        """What is wrong with one value, and what to do; None: nothing."""

    def _fault(self, kind: str, what: str, value: Any = None) -> Fault:
        """kind: of the fault; what: the sentence after the column's name and the value."""
        if value is None:
            return Fault(f"{self.name} {what}", column=self.name, kind=kind)
        return Fault(f"{self.name} {str(value)!r} {what}", column=self.name, value=str(value), kind=kind)

    def _empty(self) -> Fault:
        return self._fault("missing value", f"is empty; {MEND}")


def parsing_types(columns: Sequence[Column]) -> dict[str, pa.DataType]:
    """By name, the type in which a parser may give each column: text where two wanted columns of one name differ."""
    types: dict[str, pa.DataType] = {}
    for column in columns:
        if types.setdefault(column.name, column.parsed_as) != column.parsed_as:
            types[column.name] = pa.string()
    return types


def typed_columns(
    columns: Sequence[Column], raw: pa.Table | Mapping[str, pa.ChunkedArray]
) -> dict[Column, pa.ChunkedArray]:
    """All values of each column, from what a file gave by name. Raises Unfit or ArrowInvalid where one is wrong."""
    return {column: column.typed(raw[column.name]) for column in columns}


@dataclass(frozen=True, eq=False)
class Ids(Column):
    """Ids as dictionary<int32, string>, distinct ids by first appearance. `007` stays `007`."""

    name: str
    known: pa.Array | None = None  #: strings: ids that may occur; None: any
    advice: str = ""  #: what to do about one that may not
    unknown_kind: str = "dangling id"  #: the kind of fault that one is
    is_unique: bool = False

    @property
    def parsed_as(self) -> pa.DataType:
        return CODED

    def typed(self, raw: pa.ChunkedArray) -> pa.ChunkedArray:
        if raw.null_count:
            raise Unfit
        if raw.type != CODED:
            raw = _text(raw).dictionary_encode()
        coded = raw.unify_dictionaries()
        ids = coded.chunk(0).dictionary if coded.num_chunks else pa.array([], pa.string())
        if self.known is not None and pc.index_in(ids, value_set=self.known).null_count:
            raise Unfit
        if self.is_unique and len(ids) != len(coded):
            raise Unfit
        return coded

    def fault(self, value: Any) -> Fault | None:
        if value is None:
            return self._empty()
        if self.known is not None and str(value) not in self._known_set:
            return self._fault(self.unknown_kind, self.advice, value)
        return None

    @property
    def _known_set(self) -> set[str]:
        if "_set" not in self.__dict__:
            object.__setattr__(self, "_set", set(self.known.to_pylist()) if self.known is not None else set())
        return self.__dict__["_set"]


@dataclass(frozen=True, eq=False)
class Texts(Column):
    """Strings or lists, as they stand; null where there is none."""

    name: str

    @property
    def parsed_as(self) -> pa.DataType:
        return pa.string()

    def typed(self, raw: pa.ChunkedArray) -> pa.ChunkedArray:
        return raw if _is_list(raw.type) else _text(raw)

    def fault(self, value: Any) -> Fault | None:
        return None


GREATEST = float(np.finfo(np.float32).max)  #: a weight or feature's, since graphs keep them as float32


@dataclass(frozen=True, eq=False)
class Numbers(Column):
    """float64 within what float32 can hold, null where there is none and none is `required`."""

    name: str
    low: float = -GREATEST
    high: float = GREATEST
    required: bool = False

    @property
    def parsed_as(self) -> pa.DataType:
        return pa.float64()

    def typed(self, raw: pa.ChunkedArray) -> pa.ChunkedArray:
        if self.required and raw.null_count:
            raise Unfit
        values = _floats(raw)
        smallest, greatest = pc.min_max(values).values() if len(values) else (pa.scalar(None),) * 2
        least, most = smallest.as_py(), greatest.as_py()
        if least is not None and not (max(self.low, -GREATEST) <= least and most <= min(self.high, GREATEST)):
            raise Unfit
        if pc.any(pc.is_nan(values)).as_py():
            raise Unfit
        return values

    def fault(self, value: Any) -> Fault | None:
        if value is None:
            return self._empty() if self.required else None
        number = _number(value)
        if number is None:
            return self._fault("bad number", f"is not a number; {MEND}", value)
        low, high = max(self.low, -GREATEST), min(self.high, GREATEST)
        if not low <= number <= high:
            return self._fault("out of range", f"is not in {low:g}..{high:g}; {MEND}", value)
        return None


FLAG_WORDS = ("0", "1", "false", "true")


@dataclass(frozen=True, eq=False)
class Flags(Column):
    """Booleans written 0 and 1, or true and false; empty is false, but an error where they are `required`."""

    name: str
    required: bool = False

    @property
    def parsed_as(self) -> pa.DataType:
        return pa.string()

    def typed(self, raw: pa.ChunkedArray) -> pa.ChunkedArray:
        if self.required and raw.null_count:
            raise Unfit
        words = pc.utf8_lower(pc.fill_null(_text(raw), "0"))
        if not pc.all(pc.is_in(words, value_set=pa.array(FLAG_WORDS))).as_py():
            raise Unfit
        return pc.is_in(words, value_set=pa.array(("1", "true")))

    def fault(self, value: Any) -> Fault | None:
        if value is None:
            return self._empty() if self.required else None
        if str(value).lower() in FLAG_WORDS or value in (0, 1):
            return None
        return self._fault("bad number", f"is not 0 or 1; {MEND}", value)


PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}
LATE = 1e11  #: seconds; the year 5138, which a time in milliseconds is past
EARLY = -62_135_596_800  #: seconds; the year 1, before which there is no date
DAY = 86_400


@dataclass(frozen=True, eq=False)
class Times(Column):
    """Unix seconds as int64, rounded down."""

    name: str
    unit: Literal["s", "ms", "us", "iso"] = "s"
    format: str | None = None  #: strptime, instead of a unit
    now: float = field(default_factory=time.time)  #: a time more than a day past it is a mistake

    @property
    def parsed_as(self) -> pa.DataType:
        return pa.string() if self.format or self.unit == "iso" else pa.float64()

    def typed(self, raw: pa.ChunkedArray) -> pa.ChunkedArray:
        if raw.null_count:
            raise Unfit
        if pa.types.is_timestamp(raw.type) or pa.types.is_date(raw.type):
            seconds = raw.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
        elif self.format or self.unit == "iso":
            seconds = pa.chunked_array([self._from_text(_text(raw))])
        else:
            number = _floats(raw)
            scale = PER_SECOND[self.unit]
            seconds = pc.floor(pc.divide(number, float(scale)) if scale > 1 else number).cast(pa.int64())
        if seconds.null_count:
            raise Unfit
        if len(seconds):
            first, last = pc.min_max(seconds).values()
            if not (first.as_py() >= EARLY and last.as_py() <= self.now + DAY):
                raise Unfit
        return seconds

    def _from_text(self, texts: pa.ChunkedArray) -> pa.Array:
        moments = pd.to_datetime(
            pd.Series(texts.to_pandas()), format=self.format or "ISO8601", utc=True, errors="coerce"
        )
        if moments.isna().any():
            raise Unfit
        return pa.array(moments.to_numpy("datetime64[s]").astype(np.int64))

    def fault(self, value: Any) -> Fault | None:
        if value is None:
            return self._empty()
        if self.format or self.unit == "iso" or isinstance(value, datetime):
            return self._fault_of_text(value)
        number = _number(value)
        if number is None:
            what = "is no number of unix seconds; say `time: {unit: iso}` or a strptime `format` such as `%d/%m/%Y`"
            return self._fault("bad time", what, value)
        seconds = number / PER_SECOND[self.unit]
        if seconds > LATE:
            unit = "ms" if self.unit == "s" and number < LATE * 1000 else "us"
            return self._fault("bad time", f"is too great to be in {self.unit}; say `time: {{unit: {unit}}}`", value)
        return self._fault_of_moment(value, seconds)

    def _fault_of_text(self, value: Any) -> Fault | None:
        try:
            moment = pd.to_datetime(value, format=self.format or "ISO8601", utc=True)
        except (ValueError, TypeError, OverflowError):
            moment = pd.NaT
        if moment is pd.NaT:
            wanted = f"of the form {self.format!r}" if self.format else "ISO 8601"
            return self._fault("bad time", f"is no time {wanted}; mend the row or say another `format`", value)
        return self._fault_of_moment(value, moment.timestamp())

    def _fault_of_moment(self, value: Any, seconds: float) -> Fault | None:
        if seconds < EARLY:
            return self._fault("bad time", f"is before the year 1; {MEND}", value)
        if seconds <= self.now + DAY:
            return None
        day = datetime.fromtimestamp(seconds, UTC).date()
        return self._fault("future time", f"is in the future ({day}); {MEND}", value)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if np.isfinite(number) and "_" not in str(value) else None


def _floats(raw: pa.ChunkedArray) -> pa.ChunkedArray:
    """float64. Raises Unfit where a string is no number, by the same rule as the fault of a single value."""
    raw = _undictionary(raw)
    if not (pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type)):
        return raw.cast(pa.float64(), safe=not pa.types.is_integer(raw.type))  # the nearest, beyond 2**53
    with suppress(pa.ArrowInvalid):
        return raw.cast(pa.float64())
    numbers = [None if text is None else _number(text) for text in raw.to_pylist()]
    array = pa.chunked_array([pa.array(numbers, pa.float64())])
    if array.null_count != raw.null_count:
        raise Unfit
    return array


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _undictionary(raw: pa.ChunkedArray) -> pa.ChunkedArray:
    return raw.cast(raw.type.value_type) if pa.types.is_dictionary(raw.type) else raw


def _text(raw: pa.ChunkedArray) -> pa.ChunkedArray:
    """As strings; whole numbers that came as floats are written without a point."""
    raw = _undictionary(raw)
    if pa.types.is_floating(raw.type) and pc.all(pc.equal(raw, pc.floor(raw))).as_py():
        with suppress(pa.ArrowInvalid):  # 1e300 is no int64
            return raw.cast(pa.int64()).cast(pa.string())
    return raw if raw.type == pa.string() else raw.cast(pa.string())
