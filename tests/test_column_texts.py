"""Ids, labels and categories are the texts of their values, whatever type of column holds them."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kgrec.column_texts import texts_of, texts_of_values
from kgrec.errors import BadData

FIRST, LAST = uuid.UUID(int=5), uuid.UUID("9f1c2e3a-1111-4222-8333-fedcba987654")
MOMENTS = pa.array([1_580_475_600, -1, None], pa.int64())  # 2020-01-31 13:00, and a second before 1970
INF = float("inf")


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array(["007", "", " x ", None]), ["007", "", " x ", None]),
        (pa.array(["é", None], pa.large_string()), ["é", None]),
        (pa.array(["a longer text than twelve", None], pa.string_view()), ["a longer text than twelve", None]),
        (pa.array([2**53 + 1, -7, None]), ["9007199254740993", "-7", None]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([1.0, -3.0, 2.5, 0.1, -0.0, None]), ["1", "-3", "2.5", "0.1", "0", None]),
        (pa.array([float("nan"), 1e15, 2.0**53]), [None, "1000000000000000", "9007199254740992"]),
        (pa.array([INF, 1e22]), ["inf", "1e+22"]),
        (pa.array([0.1, 16_777_216.0, float("nan")], pa.float32()), ["0.1", "16777216", None]),
        (pa.array(np.array([0.1, 65_504, -0.0, np.nan], np.float16)), ["0.1", "65504", "0", None]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([Decimal("1.50"), Decimal("7.00"), Decimal("-0.00"), None]), ["1.5", "7", "0", None]),
        (pa.array([Decimal(10**30), Decimal(100)]), ["1" + 30 * "0", "100"]),
        (pa.array([Decimal(1200)], pa.decimal128(4, -2)), ["1200"]),
        (pa.array([datetime.date(2020, 1, 31), None]), ["2020-01-31", None]),
        (pa.array([datetime.date(2020, 1, 31)], pa.date64()), ["2020-01-31"]),
        (MOMENTS.cast(pa.timestamp("s")), ["2020-01-31T13:00:00", "1969-12-31T23:59:59", None]),
        (pa.array([1500, 10_000], pa.timestamp("ms")), ["1970-01-01T00:00:01.5", "1970-01-01T00:00:10"]),
        (pa.array([10_000_000_000], pa.timestamp("ns")), ["1970-01-01T00:00:10"]),
        (MOMENTS.cast(pa.timestamp("s", "Europe/Berlin")), ["2020-01-31T13:00:00Z", "1969-12-31T23:59:59Z", None]),
        (pa.array([datetime.time(13, 5, 0, 500_000), datetime.time(0)]), ["13:05:00.5", "00:00:00"]),
        (pa.array([60], pa.time32("s")), ["00:01:00"]),
        (pa.array([FIRST.bytes, None, LAST.bytes], pa.binary(16)), [str(FIRST), None, str(LAST)]),
        (pa.array([FIRST, LAST], pa.uuid()), [str(FIRST), str(LAST)]),
        (pa.array([FIRST, LAST], pa.uuid()).slice(1), [str(LAST)]),
        (pa.array([7.0, None, float("nan"), 7.0]).dictionary_encode(), ["7", None, None, "7"]),
        (pa.RunEndEncodedArray.from_arrays([2, 3], [5, 6]), ["5", "5", "6"]),
        (pa.nulls(2), [None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)  # fmt: skip
def test_each_type_has_its_text(column: pa.Array, texts: list[str | None]) -> None:
    made = texts_of(column)
    assert made.type == pa.string() and made.to_pylist() == texts
    chunked = texts_of(pa.chunked_array([column.slice(0, 1), column.slice(1)]))
    assert isinstance(chunked, pa.ChunkedArray) and chunked.to_pylist() == texts
    assert texts_of(column.slice(0, 0)).to_pylist() == []
    assert texts_of(pa.chunked_array([], column.type)).type == pa.string()


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (pa.list_(pa.int64()), "lists"),
        (pa.list_view(pa.string()), "lists"),
        (pa.struct([("a", pa.int64())]), "objects"),
        (pa.map_(pa.string(), pa.string()), "maps"),
        (pa.binary(), "bytes"),
        (pa.large_binary(), "bytes"),
        (pa.binary(5), "bytes"),
        (pa.duration("s"), "durations"),
        (pa.dictionary(pa.int8(), pa.binary()), "bytes"),
    ],
)
def test_a_type_without_one_text_is_refused(kind: pa.DataType, what: str) -> None:
    with pytest.raises(BadData, match=f"genre holds {what}") as caught:
        texts_of(pa.array([], kind), "genre")
    assert caught.value.column == "genre" and caught.value.kind == "bad text"


def test_python_objects_of_several_classes() -> None:
    values = [1, "007", 2.5, 3.0, np.int32(4), np.float32(0.1), 2**70, True, FIRST, Decimal("1.0"), None, float("nan")]
    values += [pd.NA, pd.NaT, datetime.date(2020, 1, 31), pd.Timestamp("2020-01-31 14:00", tz="Europe/Berlin")]
    values += [np.datetime64("2020-01-31"), np.str_("x"), np.bool_(False), np.uint64(2**64 - 1)]
    texts = ["1", "007", "2.5", "3", "4", "0.1", "1180591620717411303424", "true", str(FIRST), "1", None, None]
    texts += [None, None, "2020-01-31", "2020-01-31T13:00:00Z"]
    texts += ["2020-01-31", "x", "false", "18446744073709551615"]
    assert texts_of_values(values).to_pylist() == texts
    assert texts_of_values(pd.Series(values, dtype=object)).to_pylist() == texts


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pd.Series([1, None]), ["1", None]),  # floats to pandas
        (pd.Series([2**53 + 1, None], dtype="Int64"), ["9007199254740993", None]),
        (pd.Series(["a", None], dtype="string"), ["a", None]),
        (pd.Series([1, "x", None], dtype="category"), ["1", "x", None]),
        (pd.Series([5.0, None], dtype="Sparse[float]"), ["5", None]),
        (pd.Series([FIRST.bytes], dtype=pd.ArrowDtype(pa.binary(16))), [str(FIRST)]),
        (pd.Series(pd.to_datetime(["2020-01-31", None])), ["2020-01-31T00:00:00", None]),
        (pd.Index([7, 8]), ["7", "8"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([2**63], np.uint64), ["9223372036854775808"]),
        ((1, 2), ["1", "2"]),
        (range(2), ["0", "1"]),
        ([], []),
        (pa.chunked_array([[1], [2]]), ["1", "2"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_series_arrays_and_lists(values: object, texts: list[str | None]) -> None:
    made = texts_of_values(values)
    assert isinstance(made, pa.Array) and made.type == pa.string() and made.to_pylist() == texts


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([1], "[1], of type list"),
        ({"a": 1}, "{'a': 1}, of type dict"),
        (b"x", "b'x', of type bytes"),
        (datetime.timedelta(1), "datetime.timedelta(days=1), of type timedelta"),
        (np.timedelta64(1, "s"), "np.timedelta64(1,'s'), of type timedelta64"),
        (1j, "1j, of type complex"),
        ("\ud800", "'\\ud800', half a character"),
    ],
)
def test_an_object_without_a_text_is_refused_with_its_row(value: object, shown: str) -> None:
    with pytest.raises(BadData) as caught:
        texts_of_values(["a", 2, value], "source")
    assert str(caught.value).startswith(f"row 3 of source is {shown}")
    assert (caught.value.row, caught.value.column) == (3, "source")


@pytest.mark.parametrize(
    "values", [np.zeros((2, 2)), np.array([1j]), pd.Series(pd.period_range("2020", periods=1, freq="D"))]
)
def test_arrays_without_texts_are_refused(values: object) -> None:
    with pytest.raises(BadData, match=r"source h.*; an id, label or category is one text"):
        texts_of_values(values, "source")
