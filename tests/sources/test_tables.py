"""Tables of all forms to interactions: ids, numbers, order, weights and times, as one would write them."""

from __future__ import annotations

import bz2
import gzip

import pandas as pd
import pyarrow as pa
import pytest

from kgrec import Graph
from kgrec.sources.tables import record_stream

RATED = ("user", "rated", "item")
RECIPE = """
name: tiny
interactions:
  file: {file}
  relation: rated
  weight: rating
  time: time
{more}
"""
CSV = "user,item,rating,time\n007,b c,5,30\n8,a,3,20\n007,a,4,10\n"


def recipe(file: str, more: str = "") -> str:
    return RECIPE.format(file=file, more="\n".join(f"  {line}" for line in more.splitlines()))


def assert_tiny(graph: Graph) -> None:
    """The three rows above: users and items by first appearance, edges in file order."""
    assert graph.vocabulary["user"].ids(range(9)) == ["007", "8"]
    assert graph.vocabulary["item"].ids(range(9)) == ["b c", "a"]
    assert graph.edge_types == [RATED]
    assert graph.edge_index.tolist() == [[0, 1, 0], [0, 1, 1]]
    assert graph.weight.tolist() == [5, 3, 4]
    assert graph.time.tolist() == [30, 20, 10]


def test_csv(build_of):
    graph, report = build_of(recipe("r.csv"), {"r.csv": CSV})
    assert_tiny(graph)
    assert graph.target == RATED
    assert report.nodes == {"user": 2, "item": 2}
    assert report.edges == {"user-rated-item": 3}
    assert report.dropped == {}


@pytest.mark.parametrize("separator", ["::", "||", "::::", "|", ";"])
def test_any_separator(build_of, separator):
    text = CSV.replace(",", separator)
    assert_tiny(build_of(recipe("r.dat", f'separator: "{separator}"'), {"r.dat": text})[0])


def test_a_separator_is_found_across_the_blocks_that_are_read(build_of, monkeypatch):
    for name in ("BLOCK", "PIECE"):
        monkeypatch.setattr(record_stream, name, 64)
    rows = [(f"u{n}", "i" * (n % 9 + 1), n % 5, n) for n in range(200)]
    text = "user::item::rating::time\n" + "".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in rows)
    graph, _ = build_of(recipe("r.dat", 'separator: "::"'), {"r.dat": text})
    assert graph.vocabulary["user"].ids(range(999)) == [row[0] for row in rows]
    assert graph.vocabulary["item"].ids(range(999)) == ["i" * n for n in range(1, 10)]
    assert graph.time.tolist() == list(range(200))


def test_three_colons_are_a_separator_and_a_colon(build_of):
    graph, _ = build_of(recipe("r.dat", 'separator: "::"'), {"r.dat": "user::item::rating::time\nu:::i::1::1\n"})
    assert graph.vocabulary["item"].ids([0]) == [":i"]


def test_tsv_by_its_suffix_and_names_for_columns(build_of):
    lines = CSV.replace(",", "\t").splitlines(keepends=True)
    assert_tiny(build_of(recipe("r.tsv"), {"r.tsv": "".join(lines)})[0])
    named = "columns: [user, item, rating, time]"
    assert_tiny(build_of(recipe("r.tsv", named), {"r.tsv": "".join(lines[1:])})[0])


def test_windows_line_ends_blank_lines_and_a_byte_order_mark(build_of):
    text = "\ufeff" + CSV.replace("\n", "\r\n").replace("8,a", "\r\n8,a")
    assert_tiny(build_of(recipe("r.csv"), {"r.csv": text})[0])


def test_compressed_files(build_of):
    assert_tiny(build_of(recipe("r.csv.gz"), {"r.csv.gz": gzip.compress(CSV.encode())})[0])
    assert_tiny(build_of(recipe("r.csv.bz2"), {"r.csv.bz2": bz2.compress(CSV.encode())})[0])
    packed = pa.compress(CSV.encode(), "zstd", asbytes=True)
    assert_tiny(build_of(recipe("r.csv.zst"), {"r.csv.zst": packed})[0])


def test_parquet_with_numbers_as_ids(build_of, tmp_path):
    frame = pd.DataFrame({"user": [7, 8, 7], "item": [2.0, 1.0, 1.0], "rating": [5, 3, 4], "time": [30, 20, 10]})
    frame.to_parquet(tmp_path / "r.parquet")
    graph, _ = build_of(recipe("r.parquet"), {})
    assert graph.vocabulary["user"].ids(range(9)) == ["7", "8"]
    assert graph.vocabulary["item"].ids(range(9)) == ["2", "1"]
    assert graph.edge_index.tolist() == [[0, 1, 0], [0, 1, 1]]


def test_parquet_with_moments(build_of, tmp_path):
    moments = pd.to_datetime(["2020-01-01 00:00:01", "2020-01-02 00:00:00"])
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["x", "x"], "rating": [5, 3], "time": moments})
    frame.to_parquet(tmp_path / "r.parquet")
    assert build_of(recipe("r.parquet"), {})[0].time.tolist() == [1577836801, 1577923200]


def test_json_lines(build_of):
    rows = [("007", "b c", 5, 30), ("8", "a", 3, 20), ("007", "a", 4, 10)]
    lines = [f'{{"user": "{u}", "item": "{i}", "rating": {r}, "time": {t}, "x": [0, 1]}}' for u, i, r, t in rows]
    assert_tiny(build_of(recipe("r.jsonl"), {"r.jsonl": "\n".join(lines)})[0])


def test_several_files_are_read_in_order(build_of):
    header, *rows = CSV.splitlines()
    files = {f"part-{n}.csv": f"{header}\n{row}\n" for n, row in enumerate(rows)}
    assert_tiny(build_of(recipe("part-*.csv"), files)[0])
    assert_tiny(build_of(recipe("[part-0.csv, part-1.csv, part-2.csv]"), files)[0])


def test_latin_1(build_of):
    data = "user,item,rating,time\nu,café,1,1\n".encode("latin-1")
    graph, _ = build_of(recipe("r.csv", "encoding: latin-1"), {"r.csv": data})
    assert graph.vocabulary["item"].ids([0]) == ["café"]


def test_quoted_values_keep_separators_and_line_ends(build_of):
    graph, _ = build_of(recipe("r.csv"), {"r.csv": 'user,item,rating,time\nu,"a, ""b""\nc",1,1\n'})
    assert graph.vocabulary["item"].ids([0]) == ['a, "b"\nc']


@pytest.mark.parametrize(
    ("said", "values", "seconds"),
    [
        ("{unit: ms}", ["1433221332117", "1433221333999"], [1433221332, 1433221333]),
        ("{unit: us}", ["1433221332117000", "1000000"], [1433221332, 1]),
        ("{unit: iso}", ["1970-01-02", "1970-01-01T00:00:10+00:00"], [86400, 10]),
        ('{format: "%d/%m/%Y"}', ["02/01/1970", "01/01/1970"], [86400, 0]),
        ("{unit: s}", ["10.9", "-5"], [10, -5]),
    ],
)
def test_times(build_of, said, values, seconds):
    rows = "".join(f"u,i{n},1,{value}\n" for n, value in enumerate(values))
    text = recipe("r.csv").replace("time: time", f"time: {said}")
    assert build_of(text, {"r.csv": "user,item,rating,time\n" + rows})[0].time.tolist() == seconds


def test_lists_have_their_order_as_time(build_of):
    text = "name: t\ninteractions: {file: r.txt, format: lists, relation: read, time: position}"
    graph, _ = build_of(text, {"r.txt": "u1 a b a\nu2\nu3 c\n"})
    assert graph.vocabulary["user"].ids(range(9)) == ["u1", "u3"]
    assert graph.vocabulary["item"].ids(range(9)) == ["a", "b", "c"]
    assert graph.edge_index.tolist() == [[0, 0, 0, 1], [0, 1, 0, 2]]
    assert graph.time.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("bad", [0, 1, 40])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize(("block", "records"), [(1 << 12, 7), (1 << 12, 1 << 18), (61, 2), (1 << 24, 100)])
def test_many_rows_over_many_blocks_give_what_pandas_gives(build_of, monkeypatch, block, records, quote, bad):
    for name in ("BLOCK", "PIECE"):
        monkeypatch.setattr(record_stream, name, block)
    monkeypatch.setattr(record_stream, "RECORDS_AT_ONCE", records)
    rows = [(f"u{n * 7919 % 211}", f"i{n * 104729 % 97}", n % 5 + 1, n) for n in range(2000)]
    lines = [f"{quote}{u}{quote},{i},{r},{t}" for u, i, r, t in rows]
    wrong = sorted({n * 49 for n in range(bad)}, reverse=True)
    for place in wrong:
        lines.insert(place, "x,y")
    text = recipe("r.csv") + "on_bad_rows: report\n"
    graph, report = build_of(text, {"r.csv": "\n".join(["user,item,rating,time", *lines, ""])})
    assert len(report.problems) == bad
    for end, (node_type, column) in enumerate((("user", 0), ("item", 1))):
        codes, ids = pd.factorize(pd.Series([row[column] for row in rows]))
        assert graph.vocabulary[node_type].ids(range(999)) == list(ids)
        assert graph.edge_index[end].tolist() == codes.tolist()
    assert graph.weight.tolist() == [row[2] for row in rows]
    assert graph.time.tolist() == list(range(2000))
