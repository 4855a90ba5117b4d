"""Files are read for what they say: an id, label or category is the text that stands there, in every format alike."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import json
import random
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kgrec import Graph
from kgrec.errors import BadData, KgrecError

BY = "name: x\ninteractions: {{file: {file}{more}}}\n"


def ids(graph: Graph, node_type: str) -> list[str]:
    return graph.vocabulary[node_type].id_array.to_pylist()


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def problems(build_of: Callable, recipe: str, files: dict) -> list[str]:
    with pytest.raises(BadData) as raised:
        build_of(recipe, files)
    return raised.value.problems


def said(graph: Graph) -> list[object]:
    """All that a graph of one relation holds."""
    features = graph.edge_features.get(graph.target, {})
    columns = {name: feature.to_arrow().to_pylist() for name, feature in features.items()}
    numbers = graph.edge_index.tolist(), graph.weight.tolist(), graph.time.tolist()
    return [ids(graph, "user"), ids(graph, "item"), *numbers, columns]


# ---------------------------------------------------------------------- JSON lines


def test_great_whole_numbers_of_json_lines_are_not_one(build_of):
    rows = '{"user": 9007199254740993, "item": 1}\n{"user": 9007199254740992, "item": 2}\n{"user": 5, "item": 1}\n'
    rows += '{"user": 123456789012345678901234567890, "item": 2}\n{"user": "5", "item": 2}\n'
    graph, _ = build_of(BY.format(file="r.jsonl", more=""), {"r.jsonl": rows})
    assert ids(graph, "user") == ["9007199254740993", "9007199254740992", "5", "123456789012345678901234567890"]
    assert graph.edge_index[0].tolist() == [0, 1, 2, 3, 2]


def test_numbers_and_truth_values_of_json_lines_are_their_text(build_of):
    rows = '{"user": 1.0, "item": 1e3}\n{"user": true, "item": -0}\n{"user": "1.0", "item": "2001-01-01T00:00:00Z"}\n'
    graph, _ = build_of(BY.format(file="r.jsonl", more=""), {"r.jsonl": rows})
    assert ids(graph, "user") == ["1", "true", "1.0"]
    assert ids(graph, "item") == ["1e3", "-0", "2001-01-01T00:00:00Z"]
    bad = BY.format(file="r.jsonl", more="") + "on_bad_rows: report\n"
    assert said(build_of(bad, {"r.jsonl": rows + "none\n"})[0]) == said(graph)


def test_dates_in_json_lines_stay_texts(build_of):
    recipe = "name: x\nnodes:\n  item: {file: i.csv, id: item, label: title}\n"
    recipe += "  user: {file: u.jsonl, id: user, features: {born: categorical}}\ninteractions: {file: r.jsonl}\n"
    files = {
        "i.csv": "item,title\n2001-01-01,Odyssey\n2002-02-02,Signs\n",
        "u.jsonl": lines({"user": "u", "born": "1990-01-31"}, {"user": "v", "born": "1985-12-24T10:00:00Z"}),
        "r.jsonl": lines({"user": "u", "item": "2001-01-01"}, {"user": "v", "item": "2002-02-02"}),
    }
    graph, report = build_of(recipe, files)
    assert ids(graph, "item") == ["2001-01-01", "2002-02-02"]
    assert report.added.get("item", 0) == 0
    assert graph.features["user"]["born"].to_arrow().to_pylist() == ["1990-01-31", "1985-12-24T10:00:00Z"]


def test_the_format_of_a_time_is_that_of_json_lines_too(build_of):
    more = ', time: {column: t, format: "%Y-%d-%m"}'
    rows = [("a", "2020-01-02"), ("b", "2020-12-03")]
    for name, text in (
        ("r.csv", "user,item,t\n" + "".join(f"u,{item},{time}\n" for item, time in rows)),
        ("r.jsonl", lines(*({"user": "u", "item": item, "t": time} for item, time in rows))),
    ):
        graph, _ = build_of(BY.format(file=name, more=more), {name: text})
        assert graph.time.tolist() == [1580515200, 1583971200]  # 1 February and 12 March


def test_lists_of_lists_are_their_values_and_objects_are_refused(build_of):
    recipe = "name: x\nnodes:\n  item: {file: i.jsonl, id: item, features: {c: multi}}\ninteractions: {file: r.csv}\n"
    files = {
        "r.csv": "user,item\nu,a\nu,b\nv,c\n",
        "i.jsonl": '{"item": "a", "c": [["Books"], ["Fiction"]]}\n{"item": "b", "c": [[1.50]]}\n{"item": "c"}\n',
    }
    graph, _ = build_of(recipe, files)
    assert graph.features["item"]["c"].to_arrow().to_pylist() == [["Books", "Fiction"], ["1.50"], []]
    mixed = {
        **files,
        "i.jsonl": '{"item": "a", "c": "one"}\n{"item": "b", "c": ["two", null]}\n{"item": "c", "c": null}\n',
    }
    assert build_of(recipe, mixed)[0].features["item"]["c"].to_arrow().to_pylist() == [["one"], ["two"], []]
    files["i.jsonl"] = '{"item": "a", "c": {"en": "A"}}\n{"item": "b", "c": [{"en": "B"}]}\n{"item": ["c"]}\n'
    assert problems(build_of, recipe, files) == [
        'i.jsonl line 1: c is an object, {"en": "A"}; it must be a value or a list of values',
        'i.jsonl line 2: c is a list of different things, [{"en": "B"}]; it must be a value or a list of values',
        'i.jsonl line 3: item is a list, ["c"]; it must be a single value',
    ]


def test_json_lines_of_an_odd_form_are_bad_rows(build_of):
    text = (
        b'\xef\xbb\xbf{"user": "u", "item": "a"}\n{"user": "v", "item": "a", "user": "w"}\n{"user": 01, "item": "b"}\n'
    )
    text += b'{"user": "x", "item": "c"} {"user": "y"}\n{"user": "\xe9"}\n{"user": "\\ud800", "item": "c"}\n\n [1]\n'
    text += b'{"user": NaN, "item": "c"}\n{"user": "z",\n"item": "d"}\n{"user": "z", "item": "d"}'
    recipe = BY.format(file="r.jsonl", more="") + "on_bad_rows: report\n"
    graph, report = build_of(recipe, {"r.jsonl": text})
    assert ids(graph, "user") == ["u", "z"]
    assert [int(problem.split()[2][:-1]) for problem in report.problems] == [2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert "r.jsonl line 2: not valid JSON (the key 'user' is repeated)" in report.problems[0]
    assert "byte 0xe9 at 11 is not utf-8" in report.problems[3]
    assert report.problems[6] == "r.jsonl line 9: user is empty; fix the row"


# ---------------------------------------------------------------------- Parquet


def test_nan_of_parquet_is_none(build_of, tmp_path):
    users = pd.DataFrame({"user": [1.0, 2.0, np.nan, np.nan], "item": ["a", "b", "a", "b"]})
    users.to_parquet(tmp_path / "r.parquet")
    items = pd.DataFrame(
        {"item": list("abc"), "title": list("ABC"), "brand": [1, np.nan, 2], "price": [1.0, np.nan, 3.0]}
    )
    items.to_parquet(tmp_path / "i.parquet")
    recipe = "name: x\nnodes:\n  item: {file: i.parquet, id: item, label: title, features: {brand: categorical, "
    recipe += "price: numeric}}\ninteractions: {file: r.parquet}\non_bad_rows: report\n"
    graph, report = build_of(recipe, {})
    assert ids(graph, "user") == ["1", "2"]
    assert report.problems == [f"r.parquet row {row}: user is empty; fix the row" for row in (3, 4)]
    assert graph.vocabulary["item"].label_array.to_pylist() == ["A", "B", "C"]
    assert graph.features["item"]["brand"].to_arrow().to_pylist() == ["1", None, "2"]
    assert graph.features["item"]["price"].to_arrow().to_pylist() == [1.0, None, 3.0]


TYPED = {
    "decimal": (pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.00")]), ["1.5", "2"]),
    "uuid": (pa.array([uuid.UUID(int=1), uuid.UUID(int=2)], pa.uuid()), [str(uuid.UUID(int=n)) for n in (1, 2)]),
    "int64": (pa.array([2**62 + 1, 2**62]), [str(2**62 + 1), str(2**62)]),
    "uint64": (pa.array([2**64 - 1, 0], pa.uint64()), [str(2**64 - 1), "0"]),
    "date": (pa.array([dt.date(2020, 1, 2), dt.date(1, 1, 1)]), ["2020-01-02", "0001-01-01"]),
    "bool": (pa.array([True, False]), ["true", "false"]),
    "float": (pa.array([1.0, 0.1]), ["1", "0.1"]),
    "large": (pa.array(["é", "b"], pa.large_string()), ["é", "b"]),
    "view": (pa.array(["é", "b"], pa.string_view()), ["é", "b"]),
    "codes": (pa.array(["b", "é"]).dictionary_encode(), ["b", "é"]),
}


@pytest.mark.parametrize("name", TYPED)
def test_ids_of_every_type_of_parquet_are_their_text(build_of, tmp_path, name):
    column, wanted = TYPED[name]
    pq.write_table(pa.table({"user": column, "item": column}), tmp_path / "r.parquet")
    assert ids(build_of(BY.format(file="r.parquet", more=""), {})[0], "user") == wanted


@pytest.mark.parametrize(
    ("column", "what"),
    [
        (pa.array([{"a": 1}] * 2), "column 'item' has objects"),
        (pa.array([["a"]] * 2), "column 'item' has lists"),
        (pa.array([b"\xff", b"a"]), "item holds bytes"),
    ],
)
def test_ids_that_are_no_single_text_are_refused(build_of, tmp_path, column, what):
    pq.write_table(pa.table({"user": ["u", "v"], "item": column}), tmp_path / "r.parquet")
    with pytest.raises(BadData, match=what):
        build_of(BY.format(file="r.parquet", more=""), {})


def test_one_bad_row_of_a_parquet_file_with_dates_is_alone(build_of, tmp_path):
    day = dt.date(2020, 1, 1)
    for moment in (day, dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)):
        rows = {"user": ["u", "v", None, "w"], "item": list("abcd"), "t": [moment] * 4}
        pq.write_table(pa.table(rows), tmp_path / "r.parquet")
        graph, report = build_of(BY.format(file="r.parquet", more=", time: t") + "on_bad_rows: report\n", {})
        assert graph.time.tolist() == [1577836800] * 3
        assert report.problems == ["r.parquet row 3: user is empty; fix the row"]


def test_a_format_for_times_that_are_times_already_is_refused(build_of, tmp_path):
    pq.write_table(pa.table({"user": ["u"], "item": ["a"], "t": [dt.date(2020, 1, 1)]}), tmp_path / "r.parquet")
    with pytest.raises(BadData, match=r"r\.parquet: t is a column of type date32\[day\], which needs no `format`"):
        build_of(BY.format(file="r.parquet", more=', time: {column: t, format: "%Y"}'), {})


# ---------------------------------------------------------------------- what stands for none, options


def test_missing_words_are_none_in_every_format(build_of, tmp_path):
    rows = [("", "a"), ("anonymous", "b"), ("w", "c")]
    pq.write_table(pa.table({"item": list("abc"), "brand": ["x", "NA", ""]}), tmp_path / "i.parquet")
    pq.write_table(pa.table(dict(zip(("user", "item"), map(list, zip(*rows))))), tmp_path / "r.parquet")
    files = {
        "r.csv": "user,item\n" + "".join(f"{user},{item}\n" for user, item in rows),
        "r.jsonl": lines(*({"user": user, "item": item} for user, item in rows)),
    }
    recipe = (
        "name: x\nnodes:\n  item: {{file: i.parquet, missing: ['', NA], id: item, features: {{brand: categorical}}}}\n"
    )
    recipe += "interactions: {{file: {0}, missing: ['', anonymous]}}\non_bad_rows: report\n"
    for name, row in (("r.csv", "line 2"), ("r.jsonl", "line 1"), ("r.parquet", "row 1")):
        graph, report = build_of(recipe.format(name), files)
        assert ids(graph, "user") == ["w"]
        assert graph.features["item"]["brand"].to_arrow().to_pylist() == ["x", None, None]
        assert report.problems[0] == f"{name} {row}: user is empty; fix the row"
        assert len(report.problems) == 2


def test_missing_words_may_be_numbers(build_of, tmp_path):
    pq.write_table(pa.table({"user": [1, -1], "item": ["a", "b"], "w": [5, -1]}), tmp_path / "r.parquet")
    with pytest.raises(BadData) as raised:
        build_of(BY.format(file="r.parquet", more=", weight: w, missing: ['-1']"), {})
    assert raised.value.problems == [
        f"r.parquet row 2: {column} is empty; fix the row, or set on_bad_rows: report" for column in ("user", "w")
    ]


@pytest.mark.parametrize(
    ("file", "option", "what"),
    [
        ("r.parquet", "encoding: latin-1", "`encoding` does not apply to format parquet, only to separated"),
        ("r.parquet", 'separator: ","', "`separator` does not apply to format parquet"),
        ("r.jsonl", "quote: true", "`quote` does not apply to format json_lines, only to separated"),
        ("r.jsonl", "columns: [user, item]", "`columns` does not apply to format json_lines"),
        ("r.txt", "format: lists, header: false", "`header` does not apply to format lists"),
        ("r.csv", "timeout: 5", "`timeout` does not apply to format separated, only to query"),
    ],
)
def test_an_option_that_does_not_apply_is_an_error(build_of, tmp_path, file, option, what):
    pq.write_table(pa.table({"user": ["u"], "item": ["a"]}), tmp_path / "r.parquet")
    files = {"r.csv": "user,item\nu,a\n", "r.jsonl": lines({"user": "u", "item": "a"}), "r.txt": "u a\n"}
    build_of(BY.format(file=file, more=", format: lists" if file == "r.txt" else ""), files)
    with pytest.raises(BadData, match=f"{file}: {what}"):
        build_of(BY.format(file=file, more=f", {option}"), files)


# ---------------------------------------------------------------------- separated values


def test_an_unclosed_quote_is_one_bad_line(build_of):
    text = 'item,w,user\na,1,u\nb,2,"v\nc,3,w\nd,4,x\n'
    recipe = BY.format(file="r.csv", more=", weight: w")
    what = "the quote is never closed; close it, or set `quote: false` if quotes are part of the text"
    assert problems(build_of, recipe, {"r.csv": text}) == [f"r.csv line 3: {what}"]
    graph, report = build_of(recipe + "on_bad_rows: report\n", {"r.csv": text})
    assert ids(graph, "user") == ["u", "w", "x"] and graph.weight.tolist() == [1, 3, 4]
    assert report.problems == [f"r.csv line 3: {what}"]
    for later in ('e,"5",y\n', '"e",5,y\n', 'e,5,"y"\n', 'e,5,"y ""z"""\n'):  # a quote that closes it by chance
        graph, report = build_of(recipe + "on_bad_rows: report\n", {"r.csv": text + later})
        assert ids(graph, "item") == ["a", "c", "d", "e"] and graph.weight.tolist() == [1, 3, 4, 5]
        assert len(report.problems) == 1 and "r.csv line 3: text follows a closing quote" in report.problems[0]


def test_the_names_of_columns_stand_once(build_of):
    recipe = BY.format(file="r.csv", more="")
    with pytest.raises(BadData, match=r"r\.csv has 2 columns named 'user'; give each column its own name"):
        build_of(recipe, {"r.csv": "user,item,user\nu,a,v\n"})
    text = "user,item\nu,a\nuser,item\nv,b\n"
    assert problems(build_of, recipe, {"r.csv": text}) == [
        "r.csv line 3: repeats the names of the columns; fix the row, or set on_bad_rows: report"
    ]
    assert ids(build_of(recipe + "on_bad_rows: report\n", {"r.csv": text})[0], "user") == ["u", "v"]


LONG = "x" * 200_000
GOOD_ROWS = [f'u,"{LONG}",1969-12-31T23:59:59.5Z,1', '"v\n\n""w""",b,1500-06-01,+2.50', "x,c\0,2020-01-01, 3 "]
GOOD_ROWS += ['"",d,2020-01-01,4', "y,é,2020-01-01 00:00:00.123456789,.5"]
BAD_ROWS = ["a,b", 'a,"b"c,2020-01-01,1', "a,b,yesterday,1", "a,b,2020-01-01,1_000", "a,b,2020-01-01,1,2"]
BAD_ROWS += ["user,item,t,w", "a,\udc80,2020-01-01,1", 'a,"b,2020-01-01,1']
ROWS = "name: x\ninteractions: {file: r.csv, time: {column: t, unit: iso}, weight: w, missing: [NONE]}\n"
ROWS += "on_bad_rows: report\n"


def bytes_of(rows: list[str], end: str) -> bytes:
    return end.join(["user,item,t,w", *rows, ""]).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old"])
def test_the_path_for_bad_rows_reads_the_others_as_ever(build_of, end):
    """Long fields, blank lines in quotes, dates, quotes within quotes, odd line ends: with and without a bad row."""
    plain, report = build_of(ROWS, {"r.csv": bytes_of(GOOD_ROWS, end)})
    assert ids(plain, "user") == ["u", 'v\n\n"w"', "x", "", "y"]
    assert ids(plain, "item") == [LONG, "b", "c\0", "d", "é"]
    assert plain.weight.tolist() == [1, 2.5, 3, 4, 0.5]
    assert plain.time.tolist() == [-1, -14818680000 - 43200, 1577836800, 1577836800, 1577836800]
    assert report.problems == []
    for bad in BAD_ROWS:
        for place in range(6):
            if bad.startswith('a,"b,') and place < 4:
                continue  # which of the quotes is the open one, nobody can know
            rows = [*GOOD_ROWS[:place], bad, *GOOD_ROWS[place:]]
            graph, report = build_of(ROWS, {"r.csv": bytes_of(rows, end)})
            line = 2 + place + (2 if place > 1 else 0)  # the second row has three
            assert [problem.partition(": ")[0] for problem in report.problems] == [f"r.csv line {line}"], bad
            assert said(graph) == said(plain), bad


def test_lines_to_pass_over_no_names_and_trailing_separators(build_of):
    rows = [("u", "a", "5"), ("v", "b", "4")]
    plain = "".join(",".join(row) + "\n" for row in rows)
    named = "columns: [user, item, w]"
    for text, more in (
        ("# made by\n\n" + plain, f"skip_rows: 2, {named}"),
        ("# one\nuser,item,w\n" + plain, "skip_rows: 1"),
        (plain, 'header: false, user: "1", item: "2", weight: "3"'),
        ("a,b,c\n" + plain, f"header: true, {named}"),
        (plain, f"header: false, {named}"),
        ("user,item,w,\n" + plain.replace("\n", ",\n"), ""),
        ("user,item,w\n" + plain.replace("\n", ",\n"), ""),
        (plain.replace("\n", ",\n"), named),
        ("user::item::w::\n" + plain.replace(",", "::").replace("\n", "::\n"), 'separator: "::"'),
        (plain.replace(",", "§").replace("\n", "§\n"), f'separator: "§", {named}'),
    ):
        weight = "" if "weight" in more else ", weight: w"
        graph, _ = build_of(BY.format(file="r.csv", more=f"{weight}, {more}" if more else weight), {"r.csv": text})
        assert ids(graph, "user") == ["u", "v"] and ids(graph, "item") == ["a", "b"]
        assert graph.weight.tolist() == [5, 4]
    recipe = BY.format(file="r.csv", more="") + "on_bad_rows: report\n"
    many = "user,item\n" + "u,a,\n" * 30
    graph, report = build_of(recipe, {"r.csv": many + "v,b\nw,c,d\nx,e,\n"})
    assert ids(graph, "user") == ["u", "x"]
    assert report.problems == [
        "r.csv line 32: 2 values where there are 3 columns; fix the row",
        "r.csv line 33: 3 values where there are 2 columns; fix the row",
    ]


def test_bad_rows_may_be_left_out_of_one_table(build_of):
    recipe = "name: x\nnodes:\n  item: {file: i.csv, id: item, on_bad_rows: report}\n"
    recipe += "interactions: {file: r.csv, weight: w}\n"
    items, rated = "item\na\na\nb\n", "user,item,w\nu,a,1\nu,b,{}\n"
    graph, report = build_of(recipe, {"i.csv": items, "r.csv": rated.format(2)})
    assert ids(graph, "item") == ["a", "b"] and len(report.problems) == 1
    with pytest.raises(BadData, match="'many' is not a number"):
        build_of(recipe, {"i.csv": items, "r.csv": rated.format("many")})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp1252", "shift-jis", "utf-8-sig", "latin-1"])
def test_every_encoding_is_read_in_every_form_of_text(build_of, encoding):
    word = "日本" if encoding == "shift-jis" else "café"
    files = {
        "r.csv": f'user,item\nu,"{word}"\n'.encode(encoding),
        "r.jsonl": f'{{"user": "u", "item": "{word}"}}\n'.encode(encoding),
        "r.txt": f"u {word}\n".encode(encoding),
    }
    for name in files:
        more = f", encoding: {encoding}" + (", format: lists" if name == "r.txt" else "")
        assert ids(build_of(BY.format(file=name, more=more), files)[0], "item") == [word]


def test_bytes_that_are_no_text_are_said_with_what_may_be_meant(build_of):
    for data, what in (
        (
            "user,item\nu,é\n".encode("latin-1"),
            "line 2: byte 0xe9 at 3 is not utf-8; set the right `encoding`, perhaps latin-1",
        ),
        (
            "user,item\nu,é\n".encode("utf-16"),
            "line 1: byte 0xff at 1 is not utf-8; set the right `encoding`, perhaps utf-16",
        ),
    ):
        with pytest.raises(BadData, match=what):
            build_of(BY.format(file="r.csv", more=""), {"r.csv": data})
    with pytest.raises(BadData, match="byte 0x81 at 3 is not cp1252"):
        build_of(BY.format(file="r.csv", more=", encoding: cp1252"), {"r.csv": b"user,item\nu,\x81\n"})
    for encoding in ("base64", "klingon", "rot13"):
        with pytest.raises(KgrecError, match=f"unknown encoding '{encoding}'"):
            build_of(BY.format(file="r.csv", more=f", encoding: {encoding}"), {"r.csv": b"user,item\nu,a\n"})


def test_a_byte_order_mark_is_passed_over_everywhere(build_of):
    mark = "\ufeff"
    files = {
        "r.csv": f"{mark}user,item\nu,a\n",
        "r.dat": f"{mark}user::item\nu::a\n",
        "r.jsonl": mark + lines({"user": "u", "item": "a"}),
        "r.txt": f"{mark}u a\n",
        "r.json": mark + '{"u": ["a"]}',
        "r.csv.gz": gzip.compress(f"{mark}user,item\nu,a\n".encode()),
    }
    for name, more in (
        ("r.csv", ""),
        ("r.dat", ', separator: "::"'),
        ("r.jsonl", ""),
        ("r.txt", ", format: lists"),
        ("r.csv.gz", ""),
    ):
        graph, _ = build_of(BY.format(file=name, more=more), files)
        assert ids(graph, "user") == ["u"] and ids(graph, "item") == ["a"]


# ---------------------------------------------------------------------- numbers and times


def test_nanoseconds(build_of, tmp_path):
    times = [1577880000999999999, -1, 1577880001000000000]
    text = "user,item,t\n" + "".join(f"u,{n},{time}\n" for n, time in enumerate(times))
    pq.write_table(pa.table({"user": ["u"] * 3, "item": list("012"), "t": times}), tmp_path / "r.parquet")
    files = {"r.csv": text, "r.jsonl": lines(*({"user": "u", "item": n, "t": t} for n, t in enumerate(times)))}
    for name in ("r.csv", "r.jsonl", "r.parquet"):
        graph, _ = build_of(BY.format(file=name, more=", time: {column: t, unit: ns}"), files)
        assert graph.time.tolist() == [1577880000, -1, 1577880001]
    for unit, fits in (("us", "ns"), ("ms", "ns"), ("s", "ns")):
        what = rf"t '1577880000999999999' is too large for a time in {unit}; set `time: {{unit: {fits}}}`"
        with pytest.raises(BadData, match=what):
            build_of(BY.format(file="r.csv", more=f", time: {{column: t, unit: {unit}}}"), files)


def test_numbers_that_no_float32_holds_are_refused_in_every_format(build_of, tmp_path):
    pq.write_table(pa.table({"user": ["u"], "item": ["a"], "w": [1e39]}), tmp_path / "r.parquet")
    files = {"r.csv": "user,item,w\nu,a,1e39\n", "r.jsonl": '{"user": "u", "item": "a", "w": 1e39}\n'}
    for name in ("r.csv", "r.jsonl", "r.parquet"):
        assert (
            "is not in -3.40282e+38..3.40282e+38"
            in problems(build_of, BY.format(file=name, more=", weight: w"), files)[0]
        )


# ---------------------------------------------------------------------- all formats say the same

WORDS = [
    "",
    "a",
    "007",
    "1e3",
    "NA",
    "null",
    "é",
    "2020-01-01",
    "x y",
    "true",
    "日",
    "9007199254740993",
    "-0",
    "[b]",
    "1.0",
]
TABLES = 60


def table_of(seed: int) -> pd.DataFrame:
    """Some rows as they might come: users and items of odd names, weights, times, tags, colours and prices."""
    draw = random.Random(seed)
    count = draw.randrange(1, 40)
    word = [*WORDS[1:], *(f"u{n}" for n in range(5))]
    return pd.DataFrame(
        {
            "user": [draw.choice(word) for _ in range(count)],
            "item": [f"{draw.choice(word)}{draw.choice(['', ',', chr(34), ' '])}.{n % 7}" for n in range(count)],
            "w": [draw.choice([1.0, 2.5, -0.125, 1e-3, 7.0, 1e30]) for _ in range(count)],
            "t": [draw.randrange(-(10**9), 1_700_000_000) for _ in range(count)],
            "colour": [draw.choice([None, *WORDS[1:]]) for _ in range(count)],
            "note": [draw.choice([None, 0.5, 3.0, -2.0]) for _ in range(count)],
        }
    )


def written(table: pd.DataFrame, folder: Path, seed: int) -> dict[str, str]:
    """The table in every format: file -> further words of the recipe."""
    draw = random.Random(seed)
    as_text = table.assign(
        w=[repr(w) for w in table["w"]], note=[None if pd.isna(n) else repr(n) for n in table["note"]]
    )
    as_text.to_csv(folder / "r.csv", index=False, na_rep="NONE")
    as_text.to_csv(folder / "q.csv", index=False, na_rep="NONE", quoting=1, lineterminator="\r\n", encoding="utf-16")
    rows = as_text.astype(object).where(as_text.notna(), None).to_dict("records")
    tabs = [
        "\t".join(table.columns),
        *("\t".join("NONE" if v is None else str(v) for v in row.values()) for row in rows),
    ]
    (folder / "r.tsv.gz").write_bytes(gzip.compress("\n".join(tabs).encode()))
    (folder / "text.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=draw.random() < 0.5) + "\n" for row in rows)
    )
    typed = [{key: value for key, value in row.items() if value is not None} for row in rows]
    for row, weight in zip(typed, table["w"]):
        row["w"] = weight
    typed[0] = dict.fromkeys(table.columns) | typed[0]
    (folder / "typed.jsonl").write_text("\n\n".join(json.dumps(row) for row in typed))
    pq.write_table(pa.table(table), folder / "r.parquet")
    codes = pa.table(table.astype({"user": "category", "colour": "category"}))
    pq.write_table(codes.set_column(3, "t", codes["t"].cast(pa.timestamp("s", "UTC"))), folder / "codes.parquet")
    pq.write_table(pa.table(as_text), folder / "text.parquet", row_group_size=7)
    return {
        "r.csv": "",
        "q.csv": ", encoding: utf-16",
        "r.tsv.gz": "",
        "text.jsonl": "",
        "typed.jsonl": "",
        "r.parquet": "",
        "codes.parquet": "",
        "text.parquet": "",
    }


@pytest.mark.parametrize("seed", range(TABLES))
def test_a_table_is_the_same_graph_in_every_format(build_of, tmp_path, seed):
    table = table_of(seed)
    recipe = (
        "name: x\ninteractions: {{file: {0}, weight: w, time: t, missing: [NONE], features: {{colour: categorical, "
    )
    recipe += "note: numeric}}{1}}}\n"
    found = {
        name: said(build_of(recipe.format(name, more), {})[0]) for name, more in written(table, tmp_path, seed).items()
    }
    first = found["r.csv"]
    codes = pd.factorize(table["user"])
    assert first[0] == list(codes[1]) and first[2][0] == codes[0].tolist()
    assert first[4] == table["t"].tolist() and first[3] == table["w"].astype(np.float32).tolist()
    notes = [None if pd.isna(note) else note for note in table["note"]]
    assert first[5] == {"colour": [c if isinstance(c, str) else None for c in table["colour"]], "note": notes}
    for name, graph in found.items():
        assert graph == first, name
