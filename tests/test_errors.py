"""Errors say where as fields, once rendered, and cross processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from kgrec.errors import BadData, Fault, KgrecError, UnknownName, unknown_name

RATING = Fault("rating '6' is not in 1..5; fix the row", "r.csv", 812, "rating", "6", "out of range")
EMPTY = Fault("is empty; it must have a line for each row", "s.csv", kind="empty file", file_is="subject")
MISSING = Fault("data/t.csv is not there", "t.csv", kind="missing file", file_is="named")
SYNTAX = Fault("oops is not a valid RDF object; fix the file", "f.ttl", 2, 18, kind="bad RDF")
ANSWER = Fault("stars '9' is not in 1..5", "f.ttl", 3, "stars", "9", unit="answer")


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (RATING, "r.csv line 812: rating '6' is not in 1..5; fix the row"),
        (EMPTY, "s.csv is empty; it must have a line for each row"),
        (MISSING, "data/t.csv is not there"),
        (SYNTAX, "f.ttl line 2 column 18: oops is not a valid RDF object; fix the file"),
        (ANSWER, "f.ttl answer 3: stars '9' is not in 1..5"),
        (Fault("no such thing"), "no such thing"),
        (Fault("no encoding 'x'", "r.csv"), "r.csv: no encoding 'x'"),
    ],
)
def test_a_fault_is_rendered_once(fault: Fault, text: str) -> None:
    assert str(fault) == str(KgrecError(fault)) == str(BadData([fault])) == text


def test_fields_of_an_error() -> None:
    error = KgrecError("rating '6' is not in 1..5", file="r.csv", row=812, column="rating", value="6", kind="k")
    assert (error.file, error.row, error.column, error.value, error.kind) == ("r.csv", 812, "rating", "6", "k")
    assert str(error) == "r.csv line 812: rating '6' is not in 1..5"
    bare = KgrecError("it failed")
    assert (str(bare), bare.file, bare.row, bare.column, bare.value, bare.kind) == ("it failed", *[None] * 5)


def test_bad_data_of_several_faults_and_of_lines() -> None:
    error = BadData([RATING, EMPTY, "a line"])
    assert error.faults == [RATING, EMPTY, Fault("a line")]
    assert error.problems == [str(RATING), str(EMPTY), "a line"]
    assert str(error) == "\n".join(error.problems)
    assert BadData("one sentence", file="r.csv").problems == ["r.csv: one sentence"]


@pytest.mark.parametrize(
    "error",
    [
        KgrecError("it failed", file="r.csv", row=3, column="c", value="v", kind="k"),
        BadData([RATING, EMPTY, SYNTAX]),
        BadData(f"line {number}" for number in range(3)),
        unknown_name("relation", "bought", ["rated"], "in this graph"),
    ],
)
def test_errors_cross_processes_whole(error: KgrecError) -> None:
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert (str(other), other.faults, other.args) == (str(error), error.faults, error.args)


def test_an_unknown_name_is_the_value() -> None:
    error = unknown_name("model", "eaze", ["ease", "mf"])
    assert isinstance(error, UnknownName) and error.value == "eaze"
