"""The columns of a table: how their values are read in bulk, and what is wrong with values that cannot be read.

A file gives strings, ids as codes, lists of strings, or the types of a binary file. The same rules apply to all: an id,
a label or a category is the text of its value; a number is read from its text; a time by its unit or format.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.column_texts import texts_of
from kgrec.errors import Fault
from kgrec.sources.tables.bad_rows import MEND
from kgrec.sources.tables.raw_table import Wanted

RefuseMany = Callable[
    [Sequence[Any], int, int], None
]  #: arguments: readers of files, the number of repeated values, the number of all values

CODED = pa.dictionary(pa.int32(), pa.string())  #: ids as they come from a file: codes and the distinct ids


class Wrong(NamedTuple):
    """Values of a column that cannot be read."""

    rows: np.ndarray  #: bool [n]
    fault: Callable[[int, str | None], Fault]  #: the fault for a row's position and the value's text, without a place


class Values(NamedTuple):
    """The values of a column."""

    array: pa.ChunkedArray  #: [n]; the value in a wrong row has no meaning
    wrong: Sequence[Wrong] = ()


class Column(ABC):
    """A wanted column."""

    name: str
    is_unique: bool = False  #: whether a value may appear only once
    refuse_many: RefuseMany | None = None  #: raises where too many values are repeated for them to be bad rows

    @property
    @abstractmethod
    def wanted(self) -> Wanted:
        """The type in which a parser may give it."""

    @abstractmethod
    def read(self, raw: pa.ChunkedArray) -> Values:
        """All values, from any type that a file may have. Raises BadData where the type cannot be read."""

    def _fault(self, kind: str, what: str, value: str | None = None) -> Fault:
        """A fault of this column. what: the message after the column's name and the value."""
        if value is None:
            return Fault(f"{self.name} {what}", column=self.name, kind=kind)
        return Fault(f"{self.name} {value!r} {what}", column=self.name, value=value, kind=kind)

    def _wrong(self, rows: pa.ChunkedArray | np.ndarray, kind: str, what: str) -> list[Wrong]:
        """The wrong values of one kind, if there are any. Null values are left to `_empty`."""
        mask = rows if isinstance(rows, np.ndarray) else np.asarray(pc.fill_null(rows, False))
        return [Wrong(mask, lambda _, value: self._fault(kind, what, value))] if mask.any() else []

    def _empty(self, raw: pa.ChunkedArray) -> list[Wrong]:
        """Values that are missing where one is required."""
        if not raw.null_count:
            return []
        fault = self._fault("missing value", f"is empty; {MEND}")
        return [Wrong(np.asarray(raw.is_null()), lambda *_: fault)]


def parsing_types(columns: Sequence[Column]) -> dict[str, Wanted]:
    """By name, the type in which a parser may give each column. It is text where a name is wanted in two types."""
    found: dict[str, Wanted] = {}
    for column in columns:
        before = found.setdefault(column.name, column.wanted)
        if before.type != column.wanted.type:
            found[column.name] = before._replace(type=pa.string())
        if before.lists != column.wanted.lists:
            found[column.name] = found[column.name]._replace(lists=False)
    return found


@dataclass(frozen=True, eq=False)
class Ids(Column):
    """Ids as dictionary<int32, string>, distinct ids by first appearance. `007` stays `007`."""

    name: str
    known: pa.Array | None = None  #: strings: the ids that are allowed; None: any
    advice: str = ""  #: the message about an id that is not allowed
    unknown_kind: str = "dangling id"  #: the kind of that fault
    is_unique: bool = False
    refuse_many: RefuseMany | None = None

    @property
    def wanted(self) -> Wanted:
        return Wanted(CODED)

    def read(self, raw: pa.ChunkedArray) -> Values:
        coded = raw if raw.type == CODED else texts_of(raw, self.name).dictionary_encode()
        coded = coded.unify_dictionaries()
        wrong = self._empty(coded)
        if self.known is not None and coded.num_chunks:
            known = pc.index_in(coded.chunk(0).dictionary, value_set=self.known)
            if known.null_count:
                codes = np.concatenate([chunk.indices.fill_null(-1).to_numpy() for chunk in coded.chunks])
                is_known = np.append(np.asarray(known.is_valid()), True)  # the last one is for missing ids (code -1)
                wrong += self._wrong(~is_known[codes], self.unknown_kind, self.advice)
        return Values(coded, wrong)


@dataclass(frozen=True, eq=False)
class Texts(Column):
    """Strings, or lists of strings; null where there is no value."""

    name: str

    @property
    def wanted(self) -> Wanted:
        return Wanted(pa.string(), lists=True)

    def read(self, raw: pa.ChunkedArray) -> Values:
        if not is_list(raw.type):
            return Values(texts_of(raw, self.name))
        return Values(
            pa.chunked_array([_list_of_texts(chunk, self.name) for chunk in raw.chunks], pa.list_(pa.string()))
        )


def is_list(kind: pa.DataType) -> bool:
    """Whether values of a type are lists."""
    types = pa.types
    return (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def _list_of_texts(lists: pa.Array, name: str) -> pa.ListArray:
    """Lists of any values, or lists of such lists, as lists of strings."""
    lists = lists.cast(pa.list_(lists.type.value_type))
    if is_list(lists.type.value_type):
        inner = _list_of_texts(pc.list_flatten(lists), name)
        outer = np.append(0, np.cumsum(_lengths(lists)))
        ends = np.append(0, np.cumsum(_lengths(inner)))
        return pa.ListArray.from_arrays(pa.array(ends[outer], pa.int32()), pc.list_flatten(inner), mask=lists.is_null())
    ptr = np.append(0, np.cumsum(_lengths(lists)))
    texts = texts_of(pc.list_flatten(lists), name)
    return pa.ListArray.from_arrays(pa.array(ptr, pa.int32()), texts, mask=lists.is_null())


def _lengths(lists: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)


FLAG_WORDS = ("0", "1", "false", "true")


@dataclass(frozen=True, eq=False)
class Flags(Column):
    """Booleans written as 0 and 1, or true and false. An empty value is false, or an error with `required`."""

    name: str
    required: bool = False

    @property
    def wanted(self) -> Wanted:
        return Wanted(pa.string())

    def read(self, raw: pa.ChunkedArray) -> Values:
        words = pc.utf8_lower(texts_of(raw, self.name))
        wrong = self._empty(words) if self.required else []
        words = pc.fill_null(words, "0")
        known = pc.is_in(words, value_set=pa.array(FLAG_WORDS))
        wrong += self._wrong(pc.invert(known), "bad number", f"is not 0 or 1; {MEND}")
        return Values(pc.is_in(words, value_set=pa.array(("1", "true"))), wrong)


def without_missing(raw: pa.ChunkedArray, missing: Sequence[str]) -> pa.ChunkedArray:
    """The same column, with null in place of values whose text is one of `missing`."""
    kind = raw.type
    if is_list(kind) or pa.types.is_struct(kind) or pa.types.is_map(kind) or not missing or pa.types.is_null(kind):
        return raw
    words = pa.array(missing, pa.string())
    if pa.types.is_dictionary(kind) and kind.value_type == pa.string():
        return pa.chunked_array([_codes_without(chunk, words) for chunk in raw.chunks], kind)
    if kind != pa.string():
        if not any(word.strip() for word in missing):
            return raw
        texts = texts_of(raw)
    else:
        texts = raw
    found = pc.is_in(texts, value_set=words)
    return pc.if_else(found, pa.scalar(None, kind), raw) if pc.any(found).as_py() else raw


def _codes_without(coded: pa.DictionaryArray, words: pa.Array) -> pa.DictionaryArray:
    """Codes of ids, with null where the id is one of `words`. The words are removed from the dictionary."""
    if not pc.any(pc.is_in(coded.dictionary, value_set=words)).as_py():
        return coded
    texts = coded.dictionary_decode()
    return pc.if_else(pc.is_in(texts, value_set=words), pa.scalar(None, pa.string()), texts).dictionary_encode()
