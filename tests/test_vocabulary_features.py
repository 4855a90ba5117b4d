"""Ids to numbers and back, and columns of each kind with what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from kgrec.errors import BadData, KgrecError, UnknownName
from kgrec.graph.features import Feature
from kgrec.graph.schema import EdgeSchema, FeatureSchema, NodeSchema, Schema, clean_name
from kgrec.graph.vocabulary import Vocabulary, as_strings

# ---------------------------------------------------------------------- vocabulary


@pytest.mark.parametrize(
    "column",
    [
        ["7", "007"],
        pd.Series(["7", "007"]),
        pd.Series(["7", "007"], dtype="string[pyarrow]"),
        pd.Categorical(["7", "007"]),
        np.array(["7", "007"]),
        pa.array(["7", "007"]).dictionary_encode(),
        pa.chunked_array([["7"], ["007"]]),
        pa.array(["7", "007"], pa.large_string()),
    ],
)
def test_any_column_of_ids_is_one_string_array(column):
    strings = as_strings(column)
    assert isinstance(strings, pa.StringArray) and strings.to_pylist() == ["7", "007"]


def test_numbers_as_ids_are_written_without_a_point():
    assert as_strings([7, 42]).to_pylist() == ["7", "42"]
    assert as_strings([7.0, None]).to_pylist() == ["7", None]


def test_both_ways():
    words = Vocabulary(["b", "a", "ü x"])
    assert len(words) == 3
    assert words.numbers(["ü x", "b", "b"]).tolist() == [2, 0, 0]
    assert words.find(["a", "nope", None]).tolist() == [1, -1, -1]
    assert words.ids([2, 0]) == ["ü x", "b"]
    assert words.ids(torch.tensor([1])) == ["a"] and words.ids(range(1, 99)) == ["a", "ü x"]
    assert words.numbers([]).tolist() == [] and words.ids([]) == []


def test_labels_stand_in_for_ids_where_there_are_some():
    words = Vocabulary(["1", "2", "3"], labels=["one", None, ""])
    assert words.labels(range(3)) == ["one", "2", "3"]
    assert Vocabulary(["1"]).labels([0]) == ["1"]


def test_unknown_ids_are_named_once_each_and_counted():
    words = Vocabulary(["a", "b"])
    with pytest.raises(UnknownName, match=r"no user 'x', 'y' among the 2 known; known are such as 'a', 'b'$"):
        words.numbers(["a", "x", "y", "x"], what="user")
    with pytest.raises(UnknownName, match=r"'0', '1', '2', '3', '4' and 4 more"):
        words.numbers(range(9))


def test_few_ids_and_many_are_found_alike() -> None:
    words, asked = Vocabulary(["b", "", "ü x", "a"]), ["a", None, "ü x", "", "c", "b", "b"]
    assert words.find(asked).tolist() == [3, -1, 2, 1, -1, 0, 0]
    assert words.find(asked * 9).tolist() == [3, -1, 2, 1, -1, 0, 0] * 9
    assert words.find([]).tolist() == [] and Vocabulary([]).find(["a"]).tolist() == [-1]


def test_ids_that_repeat_or_lack_are_refused():
    for times in (1, 9):  # few ids and many are found in different ways
        with pytest.raises(BadData, match=r"ids occur more than once: 'a'$"):
            Vocabulary(["a", "b", "a", "a"]).find(["a"] * times)
    with pytest.raises(BadData, match=r"ids occur more than once: 'a'$"):
        _ = Vocabulary(["a", "b", "a", "a"]).index
    with pytest.raises(BadData, match=r"1 nodes have no id"):
        _ = Vocabulary(["a", None]).index
    with pytest.raises(BadData, match=r"1 labels for 2 ids"):
        Vocabulary(["a", "b"], labels=["x"])
    with pytest.raises(BadData, match=r"row 2 of id is \[1\], of type list; an id, label or category is one text"):
        Vocabulary(["a", [1]])
    with pytest.raises(BadData, match=r"row 1 of label is b'x', of type bytes"):
        Vocabulary(["a"], labels=[b"x"])


def test_extended_appends_and_keeps_the_old():
    old = Vocabulary(["a", "b"])
    new = old.extended(["c"], labels=["Cee"])
    assert new.ids(range(3)) == ["a", "b", "c"] and new.labels(range(3)) == ["a", "b", "Cee"]
    assert new.extended(["d"]).labels([2, 3]) == ["Cee", "d"]
    assert len(old) == 2 and old.extended(["c"]).label_array is None
    with pytest.raises(BadData, match=r"new ids are already in the graph: 'b'"):
        old.extended(["c", "b"])
    with pytest.raises(BadData, match=r"more than once: 'c'"):
        _ = old.extended(["c", "c"]).index


# ---------------------------------------------------------------------- features

VECTORS = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))

COLUMNS = {
    "numeric": pa.array([1.5, None, -2.0]),
    "categorical": pa.array(["x", None, "w"]),
    "multi": pa.array([["b", "a"], None, ["b", None]]),
    "text": pa.array(["hello", None, ""]),
    "vector": VECTORS,
}


def listed(feature: Feature) -> list:
    """A feature as plain Python, row by row."""
    return feature.to_arrow().to_pylist()


def test_what_each_kind_holds():
    numeric = Feature.from_arrow(COLUMNS["numeric"], "numeric")
    assert numeric.values.dtype == torch.float32 and numeric.values[[0, 2]].tolist() == [1.5, -2]
    assert numeric.values[1].isnan()
    categorical = Feature.from_arrow(COLUMNS["categorical"], "categorical")
    assert (categorical.schema.categories, categorical.values.tolist()) == (("w", "x"), [1, -1, 0])
    multi = Feature.from_arrow(COLUMNS["multi"], "multi")
    assert multi.schema.categories == ("a", "b")
    assert (multi.values.tolist(), multi.ptr.tolist(), len(multi)) == ([1, 0, 1], [0, 2, 2, 3], 3)
    vector = Feature.from_arrow(COLUMNS["vector"], "vector")
    assert (vector.schema.dim, vector.values.tolist()) == (2, [[1, 2], [0, 0], [3, 4]])


WANTED = {
    "numeric": [1.5, None, -2.0],
    "categorical": ["x", None, "w"],
    "multi": [["b", "a"], [], ["b"]],
    "text": ["hello", None, ""],
    "vector": [[1, 2], [0, 0], [3, 4]],
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_to_arrow_and_back(kind):
    feature = Feature.from_arrow(COLUMNS[kind], kind)
    assert listed(feature) == WANTED[kind]
    again = Feature.from_arrow(feature.to_arrow(), feature.schema)
    assert again.schema == feature.schema and listed(again) == WANTED[kind]


@pytest.mark.parametrize("kind", COLUMNS)
def test_take_gives_rows_in_the_order_asked_and_missing_for_minus_one(kind):
    feature = Feature.from_arrow(COLUMNS[kind], kind)
    missing = {"multi": [], "vector": [0, 0]}.get(kind)
    taken = feature.take(torch.tensor([2, -1, 0, 2]))
    assert listed(taken) == [WANTED[kind][2], missing, WANTED[kind][0], WANTED[kind][2]]
    assert replace(taken.schema, entries=feature.schema.entries) == feature.schema
    assert len(feature.take(torch.tensor([], dtype=torch.long))) == 0
    assert len(feature) == 3


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_in_chunks_and_slices_reads_the_same(kind):
    column = COLUMNS[kind]
    chunked = pa.chunked_array([column.slice(0, 1), column.slice(1)])
    assert listed(Feature.from_arrow(chunked, kind)) == WANTED[kind]
    assert listed(Feature.from_arrow(column.slice(1), kind)) == WANTED[kind][1:]


def test_categories_that_are_given_keep_their_codes_and_others_are_missing():
    given = FeatureSchema("categorical", categories=("x", "y"))
    assert Feature.from_arrow(pa.array(["y", "z", "x"]), given).values.tolist() == [1, -1, 0]
    given = FeatureSchema("multi", categories=("x", "y"))
    multi = Feature.from_arrow(pa.array([["z", "y"], ["z"]]), given)
    assert (multi.values.tolist(), multi.ptr.tolist()) == ([1], [0, 1, 1])
    assert multi.schema.entries == 1


def test_numbers_as_categories_and_whole_numbers_as_float32():
    assert Feature.from_arrow(pa.array([3, 1, 3]), "categorical").schema.categories == ("1", "3")
    assert Feature.from_arrow(pa.array([16_777_217, 5]), "numeric").values.tolist() == [16_777_216, 5]
    assert Feature.from_arrow(pa.array([True, False]), "numeric").values.tolist() == [1, 0]


def test_vectors_of_no_rows_and_of_no_numbers():
    for column, shape in (([], (0, 0)), ([[], []], (2, 0)), ([None, None], (2, 0))):
        assert Feature.from_arrow(pa.array(column, pa.list_(pa.float32())), "vector").values.shape == shape


def test_columns_that_do_not_fit_their_kind_say_so():
    with pytest.raises(KgrecError, match=r"a column of type string is not a numeric feature"):
        Feature.from_arrow(pa.array(["cheap"]), "numeric")
    with pytest.raises(KgrecError, match=r"a column of type string is not a multi feature"):
        Feature.from_arrow(pa.array(["a|b"]), "multi")
    with pytest.raises(KgrecError, match=r"vectors must all have length 2; found lengths \[2, 3\]"):
        Feature.from_arrow(pa.array([[1.0, 2.0], [1.0, 2.0, 3.0]]), "vector")
    with pytest.raises(KgrecError, match=r"vectors must all have length 4; found lengths \[2\]"):
        Feature.from_arrow(VECTORS, FeatureSchema("vector", dim=4))


# ---------------------------------------------------------------------- schema


def test_clean_names():
    assert clean_name("urn:x:made_by") == "made_by"
    assert clean_name("http://schema.org/Person/") == "Person"
    assert clean_name("__a--b__") == "a_b" and clean_name("東京") == "unnamed"


def test_a_schema_is_json_both_ways():
    schema = Schema(
        nodes={"user": NodeSchema(2), "item": NodeSchema(3, "http://x/Film", {"v": FeatureSchema("vector", dim=4)})},
        edges={
            ("user", "rated", "item"): EdgeSchema("rates", None, {"r": FeatureSchema("multi", ("a", "b"))}),
            ("item", "rated_by", "user"): EdgeSchema(inverse_of="rated"),
        },
        target=("user", "rated", "item"),
        standard={"split": "given"},
    )
    assert Schema.from_json(schema.to_json()) == schema
    assert Schema.from_json({"nodes": {}, "edges": []}) == Schema({}, {})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"nodes": {"user": {}}, "edges": []}, r"not of the form that kgrec writes: it lacks 'nodes\.user\.count'"),
        ({"nodes": {}, "edges": [], "target": ["user", "rated"]}, r"not of the form"),
        ({"nodes": [], "edges": []}, r"not of the form"),
        (
            {"nodes": {"u": {"count": 1, "features": {"x": {"kind": "txt"}}}}, "edges": []},
            r"no feature kind 'txt'; did you",
        ),
        (
            {"nodes": {"user": {"count": 1}}, "edges": [{"source": "user", "relation": "rated", "target": "itm"}]},
            r"no node type 'itm' \(an end of relation 'rated'\)",
        ),
    ],
)
def test_a_schema_that_is_wrong_says_how(data, message):
    with pytest.raises(KgrecError, match=message):
        Schema.from_json(data)
