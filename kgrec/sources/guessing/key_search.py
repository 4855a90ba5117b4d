"""Keys of tables, and which columns refer to them: by overlap of values and by names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.sources.guessing.column_profile import Column, profiled
from kgrec.sources.guessing.column_words import (
    IDENTIFIERS,
    ROLES,
    file_has_role,
    has_name,
    has_role,
    is_identifier,
    singular,
    words_of,
)
from kgrec.sources.guessing.table_sample import SampledTable

LEAST_SHARE = 0.5  #: of a column's values that must be in a key, for the column to refer to it
LEAST_SAMPLED = 0.05  #: the same where only a sample of the key's table is read
SMALL_NUMBER = 1_000_000  #: whole numbers below it are in many keys by accident
DENSE = 0.1  #: share of the numbers from the least to the greatest, above which they lie close together
LEAST_COVER = (
    0.3  #: of a key's values that a column of small numbers must have, where no name says that it refers to it
)


@dataclass(eq=False)
class ProfiledTable:
    """A table with its columns."""

    sample: SampledTable

    @property
    def name(self) -> str:
        return self.sample.name

    @property
    def shown(self) -> str:
        """Its name for people: without the folder where it was written out."""
        return self.name.rpartition("/")[2] if self.name.startswith("..") else self.name

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        return profiled(self.sample)

    @cached_property
    def keys(self) -> list[Column]:
        """The columns whose values are all different, the likeliest identifiers first."""
        if self.sample.is_lists:
            return []
        found = [c for c in self.columns.values() if c.is_key and c.is_unique and not c.is_iri]
        found = found or [c for c in self.columns.values() if c.is_key and c.is_nearly_unique and is_identifier(c.name)]
        found = found or [c for c in self.columns.values() if c.is_iri and c.is_unique]
        found = [c for c in found if is_identifier(c.name) or not has_role(c.name, "time") or c.time is None]
        places = {name: place for place, name in enumerate(self.columns)}
        return sorted(found, key=lambda c: (not self._is_own(c), not is_identifier(c.name), places[c.name]))

    def _is_own(self, column: Column) -> bool:
        """Whether a column is named `id`, or like the table: `product_id` in products.csv."""
        words = words_of(column.name)
        own = {singular(word) for word in words_of(self.stem)}
        return words == ["id"] or (bool({singular(w) for w in words} & own) and is_identifier(column.name))

    @property
    def stem(self) -> str:
        """The file's name without folders and suffixes; the last suffix where it says more, as in `u.item`."""
        name = self.name.rpartition("/")[2]
        stem, _, rest = name.partition(".")
        suffix = rest.partition(".")[0]
        return suffix if len(stem) <= 2 and suffix else stem

    def has_role(self, role: str) -> bool:
        """Whether the file's name stands for a role."""
        return file_has_role(self.name, role)


@dataclass(frozen=True)
class Reference:
    """A column that refers to a key."""

    column: Column
    key: Column
    table: ProfiledTable  #: of the key
    share: float  #: of the column's distinct values that are in the key
    cover: float  #: of the key's values that the column has
    is_named: bool  #: whether names say so too

    @property
    def because(self) -> str:
        """The evidence as words."""
        sampled = "" if self.table.sample.is_whole else ", of which a sample was read"
        return f"{percent(self.share)} of {self.column.name} found in {self.table.shown}:{self.key.name}{sampled}"

    @property
    def strength(self) -> float:
        return self.share + 0.5 * self.cover + self.is_named


def percent(share: float) -> str:
    """A share in words.

    >>> percent(1.0), percent(0.9981), percent(0.99996)
    ('100 %', '99.8 %', '99.9 %')
    """
    return "100 %" if share == 1 else f"{np.floor(share * 1000) / 10:.3g} %"


def overlap(column: Column, key: Column) -> tuple[float, float]:
    """The share of a column's distinct values that are in another column, and the share of that one's that it has."""
    if not len(column.distinct) or not len(key.distinct):
        return 0.0, 0.0
    found = pc.sum(pc.is_in(column.distinct, value_set=key.distinct)).as_py() or 0
    return found / len(column.distinct), found / len(key.distinct)


def references(column: Column, tables: Iterable[ProfiledTable]) -> list[Reference]:
    """The keys of other tables that a column refers to, the likeliest first. Small whole numbers are in many keys by
    accident, so for these a name must agree or the overlap must be large on both sides."""
    found = []
    for table in tables:
        if table.sample is column.table or not column.is_key:
            continue
        for key in table.keys[:4]:
            reference = _reference(column, key, table)
            if reference is not None:
                found.append(reference)
    return sorted(found, key=lambda one: -one.strength)


def _reference(column: Column, key: Column, table: ProfiledTable) -> Reference | None:
    share, cover = overlap(column, key)
    if share < (LEAST_SHARE if table.sample.is_whole else LEAST_SAMPLED):
        return None
    named = names_agree(column.name, key.name, table.stem)
    by_accident = contradict(column.name, key.name, table.stem) or share < 0.9 or cover < LEAST_COVER
    if not named and are_small_numbers(column) and by_accident:
        return None
    return Reference(column, key, table, share, cover, named)


def names_agree(column: str, key: str, stem: str) -> bool:
    """Whether a column's name says that it refers to a key of a file.

    >>> names_agree("brand_id", "id", "brands"), names_agree("user_id", "id", "brands")
    (True, False)
    """
    own = {singular(word) for word in _said(column)} - {*IDENTIFIERS}
    other = {singular(word) for word in (*_said(key), *words_of(stem))} - {*IDENTIFIERS}
    if own & other or (column == key and bool(_said(column)) and column.lower() != "id"):
        return True
    return any(_singulars(role) & own and _singulars(role) & other for role in ("user", "item"))


def contradict(column: str, key: str, stem: str) -> bool:
    """Whether names say that a column does not refer to a key: one is of users, the other of items, for instance."""
    own, other = {*_said(column)}, {*_said(key), *words_of(stem)}
    for one, another in (("user", "item"), ("item", "user")):
        if ROLES[one] & own and ROLES[another] & other and not ROLES[one] & other:
            return True
    plain = own - {*IDENTIFIERS}
    return bool(plain) and bool(other - {*IDENTIFIERS})


def _said(name: str) -> list[str]:
    """The words of a column's name; none where the file does not name its columns (`c1`, `c2`)."""
    return words_of(name) if has_name(name) else []


def _singulars(role: str) -> set[str]:
    return {singular(word) for word in ROLES[role]}


def are_small_numbers(column: Column) -> bool:
    """Whether all values are whole numbers below a million that lie close together."""
    if not column.is_integer or not len(column.numbers) or float(column.numbers.max()) >= SMALL_NUMBER:
        return False
    return len(column.numbers) > DENSE * (column.numbers.max() - column.numbers.min() + 1)


def depends_on(keys: pa.ChunkedArray, values: pa.ChunkedArray) -> float:
    """The share of rows whose value is the most frequent one of their key: 1 where the key decides the value."""
    rows = pa.table({"key": keys, "value": values}).filter(pc.is_valid(values))
    if not len(rows):
        return 0.0
    counted = rows.group_by(["key", "value"]).aggregate([([], "count_all")])
    most = counted.group_by("key").aggregate([("count_all", "max")])
    return float((pc.sum(most["count_all_max"]).as_py() or 0) / len(rows))


def best(found: Sequence[Reference], role: str | None = None) -> Reference | None:
    """The likeliest reference; with a role, those to tables of it first."""
    of_role = [one for one in found if role is None or one.table.has_role(role)]
    return (of_role or [*found] or [None])[0]  # type: ignore[list-item]
