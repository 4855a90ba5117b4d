"""Columns of any type as texts. This one rule gives the text of every id, label and category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, Fault

if TYPE_CHECKING:
    import pandas as pd

Column = TypeVar("Column", pa.Array, pa.ChunkedArray)

WANTED = "an id, label or category is one text, number, date, time, truth value or UUID"
ROWS = 1 << 20  #: number of rows that are converted at a time
MOST_BYTES = (1 << 31) - 1  #: maximum size of an array of texts with 32-bit offsets
WHOLE = 2.0**63  #: whole floats from here on are written with an exponent
HEX_PAIRS = np.frombuffer(
    "".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint16
)  #: two digits for each byte
#: groups of digits in a UUID's text: start, end, and number of dashes before
DIGITS = ((0, 8, 0), (9, 13, 1), (14, 18, 2), (19, 23, 3), (24, 36, 4))
UUID_LENGTH = 36  #: characters


def texts_of(column: Column, name: str = "the column") -> Column:
    """A column of any type as strings: an array for an array, chunks for chunks. name: for messages.

    | type | text |
    |---|---|
    | strings | as they stand |
    | integers | decimal digits |
    | floats | whole ones as integers (2^63 and more with an exponent), others the shortest that reads back; NaN: null |
    | decimals | without zeros at their end: a scale belongs to the type, not to the value |
    | truth values | `true`, `false` |
    | dates, times | `2020-01-31`, `13:05:00.5` |
    | timestamps | `2020-01-31T13:05:00.5`, and in UTC with `Z` where the type has a zone |
    | UUIDs, binary of 16 bytes | `9f1c2e3a-0000-4000-8000-000000000001` |
    | dictionaries, run-end encoded | the texts of their values |

    >>> texts_of(pa.array([1.0, 2.5, float("nan"), 1e15])).to_pylist()
    ['1', '2.5', None, '1000000000000000']

    Raises BadData for types that have no one text: lists, structs, maps, bytes, durations.
    """
    if column.type == pa.string():
        return column
    if isinstance(column, pa.ChunkedArray):
        chunks = [texts for chunk in column.chunks for texts in _parts_of(chunk, name)]
        return pa.chunked_array(chunks, pa.string())
    parts = _parts_of(column, name)
    return parts[0] if len(parts) == 1 else _joined(pa.chunked_array(parts, pa.string()), name)


def texts_of_values(values: object, name: str = "the column") -> pa.Array:
    """The same of a pandas Series, a NumPy array or a list, Python objects of several types among them; None, NaN, NaT
    and pandas' NA are null.

    >>> import uuid
    >>> texts_of_values([7, "007", 2**70, None, uuid.UUID(int=1)]).to_pylist()
    ['7', '007', '1180591620717411303424', None, '00000000-0000-0000-0000-000000000001']

    Raises BadData with the row where a value has no one text.
    """
    if isinstance(values, pa.Array):
        return texts_of(values, name)
    if isinstance(values, pa.ChunkedArray):
        return _joined(texts_of(values, name), name)
    import pandas as pd  # takes its time to come

    series = _series(values, name)
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy()
        return texts_of_values(series.cat.categories, name).take(pa.array(codes, mask=codes < 0))
    if series.dtype == object:
        return _texts_of_objects(series.to_numpy(), name)
    try:
        return texts_of_values(pa.array(series, from_pandas=True), name)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise _unfit(name, f"holds values of type {series.dtype}") from error


def _series(values: object, name: str) -> pd.Series[Any]:
    """Values as a Series of their own type: a list keeps its Python objects."""
    import pandas as pd  # takes its time to come

    if isinstance(values, pd.Series | pd.Index):
        series = pd.Series(values)
    elif isinstance(values, np.ndarray) or hasattr(values, "__array__"):
        array = np.asarray(values)
        if array.ndim != 1:
            raise _unfit(name, f"has {array.ndim} dimensions")
        series = pd.Series(array.astype(object) if array.dtype.kind in "USO" else array)
    else:
        series = pd.Series(list(cast(Sequence[Any], values)), dtype=object)
    if isinstance(series.dtype, pd.SparseDtype):
        series = pd.Series(np.asarray(series))
    return series


def _joined(texts: pa.ChunkedArray, name: str) -> pa.Array:
    try:
        joined = texts.combine_chunks()
    except pa.ArrowException as error:
        raise BadData(f"{name} is longer than 2 GiB as text; split it", kind="too large") from error
    if isinstance(joined, pa.ChunkedArray):
        raise BadData(f"{name} is longer than 2 GiB as text; split it", kind="too large")
    return joined


def _unfit(name: str, what: str, row: int | None = None, value: str | None = None) -> BadData:
    place = f"row {row + 1} of {name}" if row is not None else name
    number = None if row is None else row + 1
    return BadData(Fault(f"{place} {what}; {WANTED}", None, number, name, value, "bad text", unit="row"))


# ---------------------------------------------------------------------- by the type of an array


def _parts_of(array: pa.Array, name: str) -> list[pa.Array]:
    """An array's texts, in parts that 32 bits can count."""
    kind = array.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        pieces = _slices(array, max(1, len(array) // (1 + 2 * array.nbytes // MOST_BYTES)))
    else:
        pieces = _slices(array, ROWS)
    return [_texts(piece, name) for piece in pieces]


def _slices(array: pa.Array, rows: int) -> list[pa.Array]:
    return [array.slice(start, rows) for start in range(0, len(array), rows)] if len(array) > rows else [array]


def _texts(array: pa.Array, name: str) -> pa.Array:
    """The texts of an array that is not too long."""
    kind, types = array.type, pa.types
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or types.is_null(kind):
        return array.cast(pa.string())
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_date(kind):
        return array.cast(pa.string())
    if types.is_floating(kind):
        return _texts_of_floats(array)
    if types.is_decimal(kind):
        return _texts_of_decimals(array)
    if types.is_timestamp(kind):
        return _texts_of_timestamps(array)
    if types.is_time(kind):
        return _without_zeros(array.cast(pa.string()), kind.unit)
    if types.is_dictionary(kind):
        return _texts(array.dictionary, name).take(array.indices)
    if types.is_run_end_encoded(kind):
        return _texts(pc.run_end_decode(array), name)
    if types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        return _texts_of_uuids(array)
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name in ("arrow.uuid", "arrow.json", "arrow.bool8"):
        storage = array.storage
        return _texts(storage.cast(pa.bool_()) if kind.extension_name == "arrow.bool8" else storage, name)
    raise _unfit(name, f"holds {_plural(kind)} ({kind})")


def _plural(kind: pa.DataType) -> str:
    types = pa.types
    if types.is_map(kind):
        return "maps"
    if types.is_nested(kind):
        return "objects" if types.is_struct(kind) else "lists"
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return "bytes"
    if types.is_binary_view(kind):
        return "bytes"
    return "durations" if types.is_duration(kind) else "values without a text"


def _texts_of_floats(array: pa.Array) -> pa.Array:
    if array.type == pa.float16():  # arrow writes it as if it had more digits
        distinct = array.dictionary_encode()
        shortest = [None if one is None else _text_of_half(np.float16(one)) for one in distinct.dictionary.to_pylist()]
        return pa.array(shortest, pa.string()).take(distinct.indices)
    array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    is_whole = pc.and_(pc.equal(pc.floor(array), array), pc.less(pc.abs(array), pa.scalar(WHOLE, array.type)))
    whole = pc.if_else(is_whole, array, pa.scalar(None, array.type)).cast(pa.int64()).cast(pa.string())
    if pc.all(is_whole, min_count=0).as_py():  # nulls are passed over
        return whole
    return pc.if_else(is_whole, whole, array.cast(pa.string()))


def _text_of_half(number: np.float16) -> str | None:
    if np.isnan(number):
        return None
    return f"{number:.0f}".replace("-0", "0") if number == np.trunc(number) else np.format_float_positional(number)


def _texts_of_decimals(array: pa.Array) -> pa.Array:
    if array.type.scale < 0:
        digits = pa.decimal256(min(76, array.type.precision - array.type.scale), 0)
        array = array.cast(digits)
    distinct = array.dictionary_encode()
    texts = [None if value is None else f"{value:f}" for value in distinct.dictionary.to_pylist()]
    shortest = [text.rstrip("0").rstrip(".") if text and "." in text else text for text in texts]
    return pa.array(["0" if text == "-0" else text for text in shortest], pa.string()).take(distinct.indices)


def _texts_of_timestamps(array: pa.Array) -> pa.Array:
    unit, moments = array.type.unit, array.cast(pa.int64()).cast(pa.timestamp(array.type.unit))  # with a zone: UTC
    if unit != "s" and (seconds := _whole_seconds(moments)) is not None:
        unit, moments = "s", seconds
    texts = _without_zeros(pc.replace_substring(moments.cast(pa.string()), " ", "T", max_replacements=1), unit)
    return texts if array.type.tz is None else pc.binary_join_element_wise(texts, "Z", "")


def _whole_seconds(moments: pa.Array) -> pa.Array | None:
    """Moments in seconds; None where one of them has a fraction."""
    try:
        return moments.cast(pa.timestamp("s"))
    except pa.ArrowInvalid:
        return None


def _without_zeros(texts: pa.Array, unit: str) -> pa.Array:
    """Times without zeros at the end of their fraction. unit: s has no fraction."""
    return texts if unit == "s" else pc.replace_substring_regex(texts, r"\.?0+$", "")


def _texts_of_uuids(array: pa.Array) -> pa.Array:
    count = len(array)
    data = np.frombuffer(array.buffers()[1] or b"", np.uint8)[16 * array.offset :][: 16 * count].reshape(count, 16)
    digits = HEX_PAIRS[data].view(np.uint8)
    texts = np.full((count, UUID_LENGTH), ord("-"), np.uint8)
    for start, stop, dashes in DIGITS:
        texts[:, start:stop] = digits[:, start - dashes : stop - dashes]
    offsets = np.arange(count + 1, dtype=np.int32) * UUID_LENGTH
    made = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(texts))
    return made if not array.null_count else pc.if_else(array.is_valid(), made, pa.scalar(None, pa.string()))


# ---------------------------------------------------------------------- Python objects


def _texts_of_objects(values: np.ndarray, name: str) -> pa.Array:
    """Texts of Python objects: those of one class at a time, as an array of their type."""
    import pandas as pd  # takes its time to come

    if pd.api.types.infer_dtype(values, skipna=True) == "string":
        return _strings(values, name)
    rows_of: dict[type, list[int]] = {}
    for row, value in enumerate(values):
        rows_of.setdefault(type(value), []).append(row)
    texts = np.full(len(values), None, dtype=object)
    for kind, rows in rows_of.items():
        if kind is type(None) or kind is type(pd.NA) or kind is type(pd.NaT):
            continue
        some = values[rows]
        if issubclass(kind, str):
            texts[rows] = [str.__str__(value) for value in some]
        elif issubclass(kind, int | np.integer) and not issubclass(kind, bool | np.timedelta64):
            texts[rows] = [str(int(value)) for value in some]
        else:
            texts[rows] = _texts_of_class(some, rows, name).to_numpy(zero_copy_only=False)
    return _strings(texts, name)


def _strings(texts: np.ndarray, name: str) -> pa.Array:
    """Python strings as an array. Raises BadData for one that UTF-8 cannot write."""
    try:
        return pa.array(texts, pa.string(), from_pandas=True)
    except UnicodeEncodeError as error:
        row = next(row for row, text in enumerate(texts) if text == error.object)
        raise _unfit(name, f"is {error.object!r}, half a character that UTF-8 cannot write", row) from error


def _texts_of_class(values: np.ndarray, rows: Sequence[int], name: str) -> pa.Array:
    """Texts of objects of one class. rows: where they stand, for messages."""
    try:
        objects = np.array(list(values)) if isinstance(values[0], np.generic) else list(values)
        return texts_of(pa.array(objects, from_pandas=True), name)
    except (BadData, pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        shown = repr(values[0])
        shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
        raise _unfit(name, f"is {shown}, of type {type(values[0]).__name__}", rows[0], shown) from error
