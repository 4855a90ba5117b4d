"""What a column of a table holds: identifiers, numbers, categories, several values, texts, dates or vectors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.sources.guessing.table_sample import SampledTable
from kgrec.sources.guessing.time_forms import TimeForm, time_form
from kgrec.sources.tables.columns import is_list

LOOKED_AT = 20_000  #: values whose texts are looked into
MISSING = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "\\N", "n/a", "(null)", "#N/A", "?", "-")
DECIMAL_COMMA = re.compile(r"^\s*[+-]?\d{1,3}(\.\d{3})*,\d+\s*$|^\s*[+-]?\d+,\d+\s*$")
NUMBER = re.compile(r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$")
SPLITS = (" | ", "|", "; ", ";", ", ", ",")
PATHS = (" > ", " >> ", " › ", ">")
EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.\w+$")
IRI = re.compile(r"^<?(https?|urn|ftp):[^\s]+$")
TEXT_WORDS = 4  #: words of a value, on average, from which on it is a text


@dataclass(eq=False)
class Column:
    """A column with what was found out about it."""

    table: SampledTable
    name: str
    values: pa.ChunkedArray  #: strings or lists of strings
    missing: tuple[str, ...] = ()  #: words that mean no value
    few: list[str] = field(default_factory=list)  #: some of its values, none missing
    distinct: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))  #: of the sample
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  #: rows of each distinct value
    num_missing: int = 0

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def filled(self) -> int:
        """Rows with a value."""
        return self.rows - self.num_missing

    @property
    def missing_share(self) -> float:
        return self.num_missing / max(1, self.rows)

    @cached_property
    def is_list(self) -> bool:
        """Whether a value is a list already."""
        return is_list(self.values.type)

    @cached_property
    def is_unique(self) -> bool:
        """Whether each row has another value."""
        return not self.is_list and self.filled > 1 and len(self.distinct) == self.filled == self.rows

    @cached_property
    def is_nearly_unique(self) -> bool:
        """Whether nearly each row has another value."""
        return not self.is_list and self.filled > 1 and len(self.distinct) >= 0.98 * self.rows

    @cached_property
    def is_constant(self) -> bool:
        return not self.is_list and len(self.distinct) <= 1

    @cached_property
    def number_share(self) -> float:
        """The share of values that are numbers."""
        return sum(bool(NUMBER.match(value)) for value in self.few) / max(1, len(self.few))

    @cached_property
    def is_number(self) -> bool:
        return bool(self.few) and self.number_share > 0.985

    @cached_property
    def has_decimal_commas(self) -> bool:
        """Whether numbers are written as 1.234,50."""
        if sum("," in value for value in self.few[:1000]) < 0.2 * len(self.few[:1000]):
            return False
        commas = sum(bool(DECIMAL_COMMA.match(value)) for value in self.few)
        either = sum(bool(DECIMAL_COMMA.match(v) or NUMBER.match(v)) for v in self.few)
        return commas > 0.2 * len(self.few) and either > 0.985 * len(self.few)

    @cached_property
    def numbers(self) -> np.ndarray:
        """The numbers among its distinct values."""
        found = [float(v) for v in self.distinct.to_pylist() if NUMBER.match(v)]
        return np.array(found)

    @cached_property
    def is_integer(self) -> bool:
        return self.is_number and all(re.fullmatch(r"\s*[+-]?\d+\s*", value) for value in self.few)

    @cached_property
    def has_leading_zeros(self) -> bool:
        """Whether numbers are written as 007, so that they are codes."""
        return any(re.match(r"0\d", value) for value in self.few)

    @cached_property
    def is_flag(self) -> bool:
        """Whether all values are 0 and 1, or true and false."""
        words = {value.lower() for value in self.distinct[:5].to_pylist()}
        return len(words) <= 2 and bool(words) and (words <= {"0", "1"} or words <= {"true", "false"})

    @cached_property
    def time(self) -> TimeForm | None:
        """How its times are written; None where it holds no times."""
        return None if self.is_list or self.is_flag or not self.few else time_form(self.few)

    @cached_property
    def words(self) -> float:
        """Words of a value, on average."""
        return sum(value.count(" ") + 1 for value in self.few) / max(1, len(self.few))

    @cached_property
    def length(self) -> float:
        """Characters of a value, on average."""
        return sum(map(len, self.few)) / max(1, len(self.few))

    @cached_property
    def is_email(self) -> bool:
        return _most(self.few, EMAIL)

    @cached_property
    def is_iri(self) -> bool:
        return _most(self.few, IRI)

    @cached_property
    def is_text(self) -> bool:
        """Whether values are sentences rather than names."""
        return not self.is_number and self.words >= TEXT_WORDS and not self.is_iri

    @cached_property
    def is_key(self) -> bool:
        """Whether values may be identifiers: short, and no fractions, dates or sentences."""
        if self.is_list or not self.few or self.length > 80 or self.words > 2.5:
            return False
        if self.is_number:
            return self.is_integer or all(re.fullmatch(r"\s*\d+\.0\s*", value) for value in self.few[:200])
        return self.time is None and not self.has_decimal_commas

    @cached_property
    def split(self) -> str | None:
        """The text between several values in one field; None where there is one value."""
        return None if self.is_list or self.is_number or self.is_iri else _split_of(self.few)

    @cached_property
    def path(self) -> str | None:
        """The text between the steps of a path such as `Home > Kitchen`."""
        for sign in PATHS:
            with_sign = sum(sign in value for value in self.few)
            if with_sign > 0.3 * len(self.few) and len(self.distinct) < 0.7 * self.filled and not self.is_list:
                return sign
        return None

    @cached_property
    def vector(self) -> int:
        """How many numbers each value lists, where all list equally many; else 0."""
        if self.is_list:
            lists = self.values[:200].to_pylist()
            lengths = {len(one) for one in lists if one is not None}
            flat = [value for one in lists for value in one or ()]
            numeric = all(isinstance(v, int | float) or (isinstance(v, str) and NUMBER.match(v)) for v in flat)
            return lengths.pop() if len(lengths) == 1 and numeric and min(len(flat), 4) == 4 else 0
        for sign in (" ", ",", ";", "|"):
            rows = [value.split(sign) for value in self.few[:200]]
            if rows and len(rows[0]) >= 8 and all(len(row) == len(rows[0]) for row in rows):
                return len(rows[0]) if all(NUMBER.match(value) for row in rows[:50] for value in row) else 0
        return 0

    @cached_property
    def repeats(self) -> float:
        """Rows for each distinct value."""
        return self.filled / max(1, len(self.distinct))


def _most(values: Sequence[str], pattern: re.Pattern[str]) -> bool:
    few = values[:500]
    return bool(few) and sum(bool(pattern.match(value)) for value in few) > 0.9 * len(few)


def _split_of(values: Sequence[str]) -> str | None:
    """The separator of several values: its parts repeat, and are far fewer than the whole values."""
    for sign in SPLITS:
        with_sign = [value for value in values if sign in value]
        if len(with_sign) < max(2, 0.03 * len(values)):
            continue
        parts = [part.strip() for value in values for part in value.split(sign)]
        names, whole = Counter(parts), len({*values})
        if any(len(part) > 60 for part in parts) or sum(part.count(" ") for part in names) > 2.2 * len(names):
            continue
        if "" in names and names[""] > 0.1 * len(parts):
            continue
        if len(names) < 0.8 * whole or (len(parts) >= 2 * len(names) and len(names) < 1.2 * whole):
            return sign
    return None


def profiled(table: SampledTable) -> Mapping[str, Column]:
    """The columns of a table by name. They are looked into once."""
    if table.profile is None:
        table.profile = {name: _column(table, name, values) for name, values in table.columns.items()}
    return table.profile


def _column(table: SampledTable, name: str, values: pa.ChunkedArray) -> Column:
    column = Column(table, name, values)
    if is_list(values.type):
        column.num_missing = values.null_count
        return column
    counted = pc.value_counts(values.drop_null())
    distinct, counts = counted.field("values"), counted.field("counts").to_numpy()
    words = pa.array(("", *MISSING))
    is_word = pc.is_in(pc.utf8_trim_whitespace(distinct), value_set=words).to_numpy(zero_copy_only=False)
    found = set(pc.utf8_trim_whitespace(distinct.filter(pa.array(is_word))).to_pylist()) - {""}
    step = max(1, len(values) // LOOKED_AT)
    few = [v for v in values.take(pa.array(np.arange(0, len(values), step))).to_pylist() if v is not None and v.strip()]
    others = [v for v in few if v.strip() not in MISSING]
    is_odd = bool(found) and _stand_out(others, len(few))
    drop = is_word if is_odd else pc.equal(pc.utf8_trim_whitespace(distinct), "").to_numpy(zero_copy_only=False)
    column.missing = tuple(sorted(found)) if is_odd else ()
    column.few = (others if is_odd else few)[:LOOKED_AT]
    column.num_missing = values.null_count + int(counts[drop].sum())
    column.distinct, column.counts = distinct.filter(pa.array(~drop)), counts[~drop]
    return column


def _stand_out(others: Sequence[str], count: int) -> bool:
    """Whether words such as NA stand for no value: the other values are numbers or dates, or they are many."""
    if not others:
        return True
    if sum(bool(NUMBER.match(value)) for value in others) > 0.98 * len(others):
        return True
    return len(others) < 0.97 * count or time_form(others[:50]) is not None
