"""Bad files and bad recipes: every message says where, what was found, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgrec.errors import BadData, KgrecError
from kgrec.sources.building import build_to

HEAD = "user,item,rating,time\n"
RECIPE = """
name: tiny
{top}
interactions:
  file: r.csv
  relation: rated
  weight: rating
  rating_range: [1, 5]
  time: time
"""
GOOD = RECIPE.format(top="")
REPORT = RECIPE.format(top="on_bad_rows: report")
MEND = "fix the row, or set on_bad_rows: report"


def problems(build_of, text: str | bytes | None, recipe: str = GOOD) -> list[str]:
    with pytest.raises(BadData) as raised:
        build_of(recipe, {} if text is None else {"r.csv": text})
    return raised.value.problems


def test_missing_file(build_of, tmp_path):
    assert problems(build_of, None) == [
        f"{tmp_path}/r.csv does not exist; fix `file` in the recipe, or give the data folder with --data"
    ]


def test_missing_column(build_of):
    assert problems(build_of, "user,item,raitng,time\nu,i,1,1\n") == [
        "no column 'rating' in r.csv; did you mean 'raitng'? There are: user, item, raitng, time"
    ]


def test_no_line_of_names(build_of):
    assert problems(build_of, "u,i,1,1\nu,j,1,1\n") == [
        "no column 'user' in r.csv; there are: u, i, 1, 1; if the file has no header line, name its columns in "
        "`columns`"
    ]


@pytest.mark.parametrize(("separator", "said"), [("::", '"::"'), ("\t", "tab"), (";", '";"'), ("|", '"|"')])
def test_wrong_separator(build_of, separator, said):
    assert problems(build_of, HEAD.replace(",", separator) + f"u{separator}i{separator}1{separator}1\n") == [
        f"r.csv line 1: with separator ',' there is only one column, and its values contain {separator!r}; set "
        f"`separator: {said}`"
    ]


def test_ragged_rows(build_of):
    assert problems(build_of, HEAD + "u,i,1,1\nu,j,1\nu,k,1,1,9\n") == [
        f"r.csv line 3: 3 values where there are 4 columns; {MEND}",
        f"r.csv line 4: 5 values where there are 4 columns; {MEND}",
    ]


def test_fewer_columns_named_than_there_are(build_of):
    recipe = GOOD + "  columns: [user, item, rating]\n"
    assert problems(build_of, "u,i,1,1\nv,i,1,1\n", recipe) == [
        "r.csv: each line has 4 values, but `columns` has 3 names; name all columns"
    ]


def test_rating_that_is_no_number(build_of):
    assert problems(build_of, HEAD + "u,i,good,1\nu,j,2,1\nu,k,,1\nu,l,nan,1\n") == [
        f"r.csv line 2: rating 'good' is not a number; {MEND}",
        f"r.csv line 4: rating is empty; {MEND}",
        f"r.csv line 5: rating 'nan' is not a number; {MEND}",
    ]


def test_rating_out_of_range(build_of):
    assert problems(build_of, HEAD + "u,i,6,1\n\nu,j,5,1\nu,k,0,1\n") == [
        f"r.csv line 2: rating '6' is not in 1..5; {MEND}",
        f"r.csv line 5: rating '0' is not in 1..5; {MEND}",
    ]


def test_several_problems_of_a_row(build_of):
    assert problems(build_of, HEAD + ",i,6,soon\n") == [
        f"r.csv line 2: user is empty; {MEND}",
        f"r.csv line 2: rating '6' is not in 1..5; {MEND}",
        "r.csv line 2: time 'soon' is not a Unix time in seconds; set `time: {unit: iso}`, or a strptime `format` such "
        "as `%d/%m/%Y`",
    ]


def test_milliseconds(build_of):
    assert problems(build_of, HEAD + "u,i,1,1433221332117\n") == [
        "r.csv line 2: time '1433221332117' is too large for a time in s; set `time: {unit: ms}`"
    ]
    assert problems(build_of, HEAD + "u,i,1,1433221332117000\n") == [
        "r.csv line 2: time '1433221332117000' is too large for a time in s; set `time: {unit: us}`"
    ]


def test_time_that_is_text(build_of):
    assert problems(build_of, HEAD + "u,i,1,2020-01-01\n") == [
        "r.csv line 2: time '2020-01-01' is not a Unix time in seconds; set `time: {unit: iso}`, or a strptime "
        "`format` such as `%d/%m/%Y`"
    ]
    recipe = GOOD.replace("time: time", "time: {unit: iso}")
    assert problems(build_of, HEAD + "u,i,1,2020-01-01\nu,i,1,2020-13-01\n", recipe) == [
        "r.csv line 3: time '2020-13-01' is not a time in ISO 8601 format; fix the row, or set another `format`"
    ]


def test_time_in_the_future(build_of):
    assert problems(build_of, HEAD + "u,i,1,9999999999\n") == [
        f"r.csv line 2: time '9999999999' is in the future (2286-11-20); {MEND}"
    ]


def test_unknown_encoding(build_of):
    assert problems(build_of, HEAD + "u,i,1,1\n", GOOD + "  encoding: latin-9x\n") == [
        "r.csv: unknown encoding 'latin-9x'; set `encoding` to utf-8, latin-1 or cp1252, for instance"
    ]


def test_undecodable_bytes(build_of):
    assert problems(build_of, HEAD.encode() + "u,i,1,1\nu,café,1,1\n".encode("latin-1")) == [
        "r.csv line 3: byte 0xe9 at 6 is not utf-8; set the right `encoding`, perhaps latin-1"
    ]


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_file(build_of, text):
    assert problems(build_of, text) == ["r.csv is empty; it must have a line for each row"]


def test_empty_table(build_of):
    assert problems(build_of, HEAD) == ["r.csv has no rows; it must have at least one row"]


def test_all_rows_bad(build_of):
    assert problems(build_of, HEAD + "u,i,6,1\n", REPORT) == [
        "r.csv line 2: rating '6' is not in 1..5; fix the row",
        "r.csv has no good row",
    ]


def test_duplicate_node_ids(build_of):
    recipe = "name: t\nnodes: {item: {file: i.csv, id: item}}\ninteractions: {file: r.csv}\n"
    with pytest.raises(BadData) as raised:
        build_of(recipe, {"i.csv": "item\na\nb\na\na\n", "r.csv": "user,item\nu,a\n"})
    assert raised.value.problems == [
        f"i.csv line 4: item 'a' is already in line 2; {MEND}",
        f"i.csv line 5: item 'a' is already in line 2; {MEND}",
    ]


def test_ids_without_a_node(build_of):
    recipe = "name: t\nnodes: {item: {file: i.csv, id: item}}\ninteractions: {file: r.csv}\n"
    files = {"i.csv": "item\na\n", "r.csv": "user,item\nu,a\nu,c\nu,b\n"}
    graph, report = build_of(recipe, files)
    assert graph.vocabulary["item"].ids(range(9)) == ["a", "c", "b"]
    assert report.added == {"item": 2}
    with pytest.raises(BadData) as raised:
        build_of(recipe.replace("id: item}", "id: item, complete: true}"), files)
    assert raised.value.problems == [
        f"r.csv line {line}: item {name!r} has no row in i.csv; add it there, fix this row, or remove `complete: true`"
        for line, name in ((3, "c"), (4, "b"))
    ]


def test_unknown_behaviour(build_of):
    recipe = """
name: t
interactions:
  file: r.csv
  relations: {column: event, values: {view: viewed, scroll: null}}
"""
    with pytest.raises(BadData) as raised:
        build_of(recipe, {"r.csv": "user,item,event\nu,a,view\nu,a,veiw\n"})
    assert raised.value.problems == [
        "r.csv line 3: event 'veiw' is not in `values` of `relations`: view, scroll; add it there, with null to "
        "leave its rows out"
    ]


def test_reported_rows_are_left_out(build_of):
    text = HEAD + "u,i,5,10\nv,j,9,10\nw,i\nu,k,3,20\n"
    graph, report = build_of(REPORT, {"r.csv": text})
    assert graph.vocabulary["user"].ids(range(9)) == ["u"]
    assert graph.vocabulary["item"].ids(range(9)) == ["i", "k"]
    assert graph.time.tolist() == [10, 20]
    assert report.dropped == report.to_json()["dropped"] == {"bad rows": 2}
    assert report.problems == [
        "r.csv line 3: rating '9' is not in 1..5; fix the row",
        "r.csv line 4: 2 values where there are 4 columns; fix the row",
    ]


def test_problems_are_listed_up_to_a_number(build_of):
    lines = problems(build_of, HEAD + "u,i,6,1\n" * 1000)
    assert len(lines) == 201
    assert lines[-1] == "stopped after 200 problems"


def test_bad_json_line(build_of):
    recipe = "name: t\ninteractions: {file: r.jsonl}\n"
    with pytest.raises(BadData) as raised:
        build_of(recipe, {"r.jsonl": '{"user": "u", "item": "i"}\n{"user": \n[1]\n'})
    assert raised.value.problems == [
        f"r.jsonl line 2: not valid JSON (Expecting value: line 1 column 10 (char 9)); {MEND}",
        f"r.jsonl line 3: found a list, where a JSON object is needed; {MEND}",
    ]


def test_bad_values_in_json_and_parquet(build_of, tmp_path):
    import pandas as pd

    recipe = "name: t\ninteractions: {file: FILE, weight: w, rating_range: [1, 5]}\n"
    with pytest.raises(BadData) as raised:
        build_of(
            recipe.replace("FILE", "r.jsonl"), {"r.jsonl": '{"user": 1, "item": 2, "w": 9}\n{"item": 2, "w": 1}\n'}
        )
    assert raised.value.problems == [
        f"r.jsonl line 1: w '9' is not in 1..5; {MEND}",
        f"r.jsonl line 2: user is empty; {MEND}",
    ]
    pd.DataFrame({"user": [1, 2], "item": ["a", None], "w": ["1", "two"]}).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(BadData) as raised:
        build_of(recipe.replace("FILE", "r.parquet"), {})
    assert raised.value.problems == [
        f"r.parquet row 2: item is empty; {MEND}",
        f"r.parquet row 2: w 'two' is not a number; {MEND}",
    ]


def test_undecodable_lists(build_of):
    with pytest.raises(
        BadData, match=r"r\.txt line 2: byte 0xe9 at 3 is not utf-8; set the right `encoding`, perhaps latin-1"
    ):
        build_of("name: t\ninteractions: {file: r.txt, format: lists}\n", {"r.txt": "u a\nv é\n".encode("latin-1")})


def test_no_parquet(build_of):
    recipe = "name: t\ninteractions: {file: r.parquet}\n"
    with pytest.raises(BadData, match=r"r\.parquet is no Parquet file, or truncated"):
        build_of(recipe, {"r.parquet": "user,item"})


def test_truncated_gz(build_of):
    import gzip

    packed = gzip.compress(b"user,item\n" + b"u,i\n" * 10000)[:-20]
    with pytest.raises(BadData, match=r"r\.csv\.gz cannot be read: "):
        build_of("name: t\ninteractions: {file: r.csv.gz}\n", {"r.csv.gz": packed})


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            "name: t\ninteractions: {file: r.csv, wieght: rating}\n",
            "interactions[0].wieght: no key 'wieght'; did you mean 'weight'? There are: ",
        ),
        (
            "name: t\nnodes: {item: {file: i.csv, id: item, feature: {}}}\ninteractions: {file: r.csv}\n",
            "nodes.item.tables[0].feature: no key 'feature'; did you mean 'features'? There are: ",
        ),
        (
            "name: t\nnodes: {item: {file: i.csv, id: item, features: {x: numerical}}}\ninteractions: {file: r.csv}\n",
            "nodes.item.tables[0].features.x.kind: found 'numerical'; input should be 'numeric', ",
        ),
        ("name: t\n", "interactions: is missing"),
        (
            "name: t\ninteractions: {relation: rated}\n",
            "interactions[0]: either `file` or `parts` is needed, and not both",
        ),
        (
            "name: t\ntarget: ratde\ninteractions: {file: r.csv, relation: rated}\n",
            "no relation 'ratde' for `target`; did you mean 'rated'? There are: rated",
        ),
        (
            "name: t\nstandard: {split: fold2}\nsplits: {fold1: {test: f}}\ninteractions: {file: r.csv}\n",
            "no published split 'fold2' for `standard`; did you mean 'fold1'? There are: fold1",
        ),
        (
            "name: t\ninteractions: {file: r.csv, relation: has.rated}\n",
            "interactions[0].relation: 'has.rated' may only have letters, digits and single underscores; write "
            "'has_rated'",
        ),
        ("name: t\ninteractions: [file: r.csv\n", "recipe.yaml line 3: "),
        (
            "name: t\ninteractions: {file: r.csv}\nlinks: {itm: {template: 'x/{id}'}}\n",
            "no node type 'itm' for `links`; did you mean 'item'? There are: user, item",
        ),
        (
            "name: t\ninteractions: {file: r.csv, features: {x: {kind: text, split: ';'}}}\n",
            "interactions[0].features.x: `split` is only for kinds multi and vector; a text feature has one value",
        ),
        (
            "name: t\nname: u\ninteractions: {file: r.csv}\n",
            "line 2: key 'name' is already in line 1; keep one of them",
        ),
        ("just words\n", "contains a text; a recipe is a mapping with keys such as `name` and `interactions`"),
        (
            "name: t\ninteractions: {file: r.csv, time: time, session: {by: visitor, gap: soon}}\n",
            "interactions[0].session.gap: 'soon' is not a length of time; write 30m, 2h, 1d, or a number of seconds",
        ),
    ],
)
def test_bad_recipes(build_of, recipe, message, tmp_path):
    with pytest.raises(KgrecError) as raised:
        build_of(recipe, {})
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{tmp_path}/recipe.yaml")


def test_no_recipe_and_no_data_folder(build_of, tmp_path):
    from kgrec.sources.building import build

    with pytest.raises(
        KgrecError, match=r"nowhere\.yaml does not exist; give the path of a recipe, such as graphs/ml-1m\.yaml"
    ):
        build(tmp_path / "nowhere.yaml")
    with pytest.raises(KgrecError, match="is not a folder; give the folder with the files of tiny with --data"):
        build_of(RECIPE.format(top="data: elsewhere"), {})


def test_a_failing_build_leaves_nothing(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(GOOD)
    (tmp_path / "r.csv").write_text(HEAD + "u,i,6,1\n")
    with pytest.raises(BadData):
        build_to(tmp_path / "recipe.yaml", None, tmp_path / "out" / "g")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "recipe.yaml"]


def test_an_existing_graph_is_kept_unless_it_may_be_replaced(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(GOOD)
    (tmp_path / "r.csv").write_text(HEAD + "u,i,5,1\n")
    report = build_to(tmp_path / "recipe.yaml", None, tmp_path / "g")
    assert report.edges == {"user-rated-item": 1}
    with pytest.raises(KgrecError, match="exists already; name another --out, or use --overwrite"):
        build_to(tmp_path / "recipe.yaml", None, tmp_path / "g")
    build_to(tmp_path / "recipe.yaml", None, tmp_path / "g", overwrite=True)
