"""Every problem of a recipe's files and of a graph folder, each with its place and what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from kgrec.errors import Fault, KgrecError
from kgrec.graph import Candidates, Graph
from kgrec.sources.checking import Problem, check
from kgrec.sources.checking.findings import problem_of

DATA = Path(os.environ.get("KGREC_DATA", Path(__file__).parents[1] / "../shared/data"))

RECIPE = """
name: films
nodes:
  film: {file: films.csv, id: film, label: title, complete: true}
interactions:
  file: ratings.csv
  between: [user, film]
  item: film
  relation: rated
  weight: rating
  rating_range: [1, 5]
  time: time
links:
  film: {file: links.csv, id: film, entity: iri}
rdf:
  files: [films.ttl]
  prefixes: {x: "http://x/"}
  types: {"x:Person": person, "x:Film": film}
"""

FILES = {
    "films.csv": "film,title\n1,Alien\n2,Brazil\n",
    "ratings.csv": "user,film,rating,time\nann,1,5,100\nbob,2,4,200\n",
    "links.csv": "film,iri\n1,http://x/alien\n2,http://x/brazil\n",
    "films.ttl": "@prefix : <http://x/> .\n:alien :director :scott .\n:scott a :Person .\n:brazil a :Film .\n",
}


def problems(folder: Path, recipe: str = RECIPE, **files: str) -> list[str]:
    """What `check` says of the recipe, with some of the files changed."""
    for name, text in (FILES | {name.replace("_", "."): text for name, text in files.items()}).items():
        (folder / name).write_text(text)
    (folder / "films.yaml").write_text(recipe)
    return [str(problem).replace(str(folder), "DIR") for problem in check(folder / "films.yaml")]


def test_a_right_recipe_has_none(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


def test_bad_rows_of_all_tables_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        films_csv="film,title\n1,Alien\n2,Brazil\n1,Again\n",
        ratings_csv="user,film,rating,time\nann,1,5,100\nann,3,9,soon\nbob,2,x,99999999999\n",
        films_ttl="@prefix : <http://x/> .\n:alien :director oops .\n",
    )
    mend = "fix the row, or set on_bad_rows: report"
    assert found == [
        f"error: films.csv line 4: film '1' is already in line 2; {mend}",
        "error: ratings.csv line 3: film '3' has no row in films.csv; add it there, fix this row, or remove "
        "`complete: true`",
        f"error: ratings.csv line 3: rating '9' is not in 1..5; {mend}",
        "error: ratings.csv line 3: time 'soon' is not a Unix time in seconds; set `time: {unit: iso}`, or a strptime "
        "`format` such as `%d/%m/%Y`",
        f"error: ratings.csv line 4: rating 'x' is not a number; {mend}",
        f"error: ratings.csv line 4: time '99999999999' is in the future (5138-11-16); {mend}",
        "error: films.ttl line 2: column 18: oops is not a valid RDF object; fix the file",
    ]


def test_kinds_lines_and_values(tmp_path: Path) -> None:
    problems(tmp_path, ratings_csv="user,film,rating,time\nann,3,9,soon\nbob,2,x,99999999999\n")
    found = [(p.kind, p.line, p.value, p.severity) for p in check(tmp_path / "films.yaml") if p.file == "ratings.csv"]
    assert found == [
        ("dangling id", 2, "3", "error"),
        ("out of range", 2, "9", "error"),
        ("bad time", 2, "soon", "error"),
        ("bad number", 3, "x", "error"),
        ("future time", 3, "99999999999", "error"),
        ("empty file", None, None, "error"),
    ]


def test_bad_rows_that_the_recipe_reports_are_notes(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        RECIPE + "on_bad_rows: report\n",
        ratings_csv="user,film,rating,time\nann,1,5,100\nann,2,9,100\nbob,2,4,200\n",
    )
    assert found == [
        "note: ratings.csv line 3: rating '9' is not in 1..5; fix the row",
    ]


def test_missing_empty_and_unlike_files_at_once(tmp_path: Path) -> None:
    problems(tmp_path, films_csv="", ratings_csv="user,film,stars,time\nann,7,5,100\n", films_ttl="")
    (tmp_path / "links.csv").unlink()
    found = [str(problem).replace(str(tmp_path), "DIR") for problem in check(tmp_path / "films.yaml")]
    assert found == [
        "error: films.csv: is empty; it must have a line for each row",
        "error: ratings.csv: no column 'rating' in ratings.csv; there are: user, film, stars, time",
        "error: links.csv: DIR/links.csv does not exist; fix `file` in the recipe, or give the data folder with --data",
        "error: films.ttl: is empty; fix it, or remove it from `files`",
    ]
    kinds = [problem.kind for problem in check(tmp_path / "films.yaml")]
    assert kinds == ["empty file", "missing column", "missing file", "empty file"]


def test_each_rdf_file_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "more.nt").write_text("<http://x/a> <http://x/b> .\n")
    found = problems(
        tmp_path,
        RECIPE.replace("[films.ttl]", "[films.ttl, more.nt, none.nt]"),
        films_ttl="@prefix : <http://x/> .\n:a :b",
    )
    assert found[0].startswith("error: films.ttl line 2: column 6: ")
    assert found[1].startswith("error: more.nt line 1: column 27: ")
    assert found[2] == (
        "error: none.nt: DIR/none.nt does not exist; fix `files` in the recipe, or give the data folder with --data"
    )
    assert len(found) == 3


def test_unknown_predicates_and_classes(tmp_path: Path) -> None:
    recipe = RECIPE + '  names: {"x:directer": by}\n  labels: ["x:title"]\n'
    found = problems(tmp_path, recipe.replace('"x:Film": film', '"x:Movie": film'))
    assert found == [
        "error: DIR/films.yaml: no fact has the predicate 'x:directer'; did you mean 'x:director'?",
        "error: DIR/films.yaml: no fact has the predicate 'x:title'; fix the name, or remove it",
        "note: DIR/films.yaml: no entity has the class 'x:Movie'; fix the name, or remove it",
        "note: DIR/films.yaml: left out: the class x:Film of 1 resource "
        '(to use it, set `types: {"x:Film": ...}` or `classes: {to: ...}`)',
    ]


def test_links_to_another_type_and_entities_of_several(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        links_csv="film,iri\n1,http://x/alien\n2,http://x/scott\n",
        films_ttl="@prefix : <http://x/> .\n:alien :by :scott .\n:scott a :Person .\n:alien a :Person , :Film .\n",
    )
    assert found == [
        "error: DIR/films.yaml: 1 film nodes are linked to entities of another type, such as '2' to 'http://x/scott', "
        "whose type is person; fix the link or `types`",
        "note: DIR/films.yaml: 1 entities have several node types of `types`, such as 'http://x/alien': person, film; "
        "the first one is used",
    ]


def test_isolated_repeated_and_added_are_notes(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        RECIPE.replace("complete: true", "complete: false"),
        films_csv="film,title\n1,Alien\n2,Brazil\n3,Casino\n",
        ratings_csv="user,film,rating,time\nann,1,5,100\nann,1,4,100\nbob,2,4,200\nbob,9,1,200\n",
    )
    assert found == [
        "note: ratings.csv: 1 row of 'rated' has the same user and item as an earlier row; all are kept; set "
        "`duplicates` to change that",
        "note: DIR/films.yaml: the film id '9' is in no film table, and nodes are added for such ids; set "
        "`complete: true` to make this an error instead",
        "note: DIR/films.yaml: 1 of 4 film nodes have no edge: '3'",
    ]


def test_repeated_rows_that_the_recipe_refuses(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        RECIPE.replace("relation: rated", "relation: rated\n  duplicates: error"),
        ratings_csv="user,film,rating,time\nann,1,5,100\nann,1,4,100\n",
    )
    assert found == [
        "error: ratings.csv: user 'ann' and item '1' have more than one row; fix the rows, or set `duplicates: last`"
    ]


def test_given_split_and_candidates_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("user,film\nann,2\n")
    (tmp_path / "few.tsv").write_text("(ann,7)\t1\n")
    recipe = RECIPE + "splits:\n  given: {test: test.csv}\ncandidates:\n  few: {file: few.tsv}\n"
    found = problems(tmp_path, recipe)
    assert found[0].startswith(
        "error: test.csv: split 'given': 1 pairs of test.csv are not edges of the graph, such as "
    )
    assert found[1].startswith("error: few.tsv: 0 users and 1 items are not in the graph; ")
    assert len(found) == 2


def test_bad_recipe(tmp_path: Path) -> None:
    found = problems(tmp_path, RECIPE.replace("relation: rated", "relatoin: rated"))
    assert len(found) == 1
    assert found[0].startswith("error: DIR/films.yaml: interactions")
    assert "no key 'relatoin'; did you mean 'relation'?" in found[0]
    problems(tmp_path)
    (found_folder,) = check(tmp_path / "films.yaml", tmp_path / "nowhere")
    assert found_folder.message == f"{tmp_path / 'nowhere'} is not a folder; fix --data"


def test_former_names_of_the_modules() -> None:
    import kgrec
    from kgrec.sources import building
    from kgrec.sources.build import build, build_to
    from kgrec.sources.check import Problem as FormerProblem
    from kgrec.sources.check import check as former_check
    from kgrec.sources.report import BuildReport

    assert (build, build_to) == (building.build, building.build_to) and build is kgrec.build
    assert former_check is check and FormerProblem is Problem
    assert BuildReport.__module__ == "kgrec.sources.building.report"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(
        KgrecError,
        match=r"nope does not exist; give the path of a recipe such as graphs/ml-1m\.yaml, or a graph folder",
    ):
        check(tmp_path / "nope")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three users, three films, two ratings, a split and a candidate list."""
    rated = pd.DataFrame({"source": ["ann", "bob"], "target": ["alien", "dune"], "time": [1, 2], "weight": [4.0, 5.0]})
    graph = Graph.from_frames(
        edges={("user", "rated", "film"): rated},
        nodes={
            "user": pd.DataFrame({"id": ["ann", "bob"], "age": [1.0, 2.0]}),
            "film": pd.DataFrame({"id": ["alien", "dune"]}),
        },
    )
    object.__setattr__(graph, "splits", {"last": torch.tensor([0, 2], dtype=torch.int8)})
    lists = Candidates(torch.tensor([1]), torch.tensor([0, 2]), torch.tensor([0, 1]))
    object.__setattr__(graph, "candidates", {"few": lists})
    graph.save(tmp_path / "graph")
    return tmp_path / "graph"


def change(folder: Path, file: str, **columns: object) -> None:
    """Write some of a file's columns anew, and take its hash out of graph.json, as another engine would."""
    table = pq.read_table(folder / file)
    for name, values in columns.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        if values is not None:
            table = table.append_column(name, pa.array(values))
    pq.write_table(table, folder / file)
    document = json.loads((folder / "graph.json").read_text())
    document["files"].pop(file, None)
    (folder / "graph.json").write_text(json.dumps(document))


def said(folder: Path) -> list[str]:
    return [str(problem).replace(str(folder), "DIR") for problem in check(folder)]


RATED = "edges/user__rated__film.parquet"


def test_a_right_folder_has_none(folder: Path) -> None:
    assert said(folder) == []


def test_missing_and_altered_files(folder: Path) -> None:
    (folder / RATED).unlink()
    users = folder / "nodes/user.parquet"
    users.write_bytes(users.read_bytes()[:-20])
    assert said(folder) == [
        f"error: {RATED}: is missing; build the graph again",
        "error: nodes/user.parquet: is truncated or altered: its hash is not the one in graph.json; "
        "if you changed it, run `kgrec adopt DIR`; otherwise build the graph again",
    ]


def test_truncated_file_without_a_hash(folder: Path) -> None:
    change(folder, RATED)
    (folder / RATED).write_bytes(b"PAR1")
    (found,) = said(folder)
    assert found.startswith(f"error: {RATED}: is truncated or altered: ") and found.endswith("; build the graph again")


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        (
            {"target": [0, 2]},
            "error: EDGES: column 'target' has 1 values that are not film nodes, such as 2; COUNTED; AGAIN",
        ),
        (
            {"source": ["ann", "zoe"]},
            "error: EDGES: column 'source' has 1 values that are not user nodes, such as 'zoe'; COUNTED; AGAIN",
        ),
        ({"source": [0, None]}, "error: EDGES: column 'source' has 1 empty values; AGAIN"),
        (
            {"weight": [1.0, float("nan")]},
            "error: EDGES: column 'weight' has 1 values that are empty, NaN or infinite; AGAIN",
        ),
        ({"weight": ["a", "b"]}, "error: EDGES: column 'weight' is of type string, not a number; AGAIN"),
        (
            {"time": [1, 9_000_000_000]},
            "error: EDGES: column 'time' has 1 values in the future, such as 9000000000; WANTED; AGAIN",
        ),
        (
            {"time": ["a", "b"]},
            "error: EDGES: time of relation 'rated' is a column of string; OTHER; AGAIN",
        ),
        ({"target": None}, "error: EDGES: has no column 'target'; its columns are 'source', 'time', 'weight'; AGAIN"),
        (
            {"source": [0, 0], "target": [1, 1]},
            "note: EDGES: 1 edges have the same source and target as an earlier edge",
        ),
    ],
)
def test_edges(folder: Path, columns: dict[str, object], what: str) -> None:
    change(folder, RATED, **columns)
    words = {
        "EDGES": RATED,
        "COUNTED": "there are 2 NODES, numbered from 0",
        "WANTED": "times must be Unix seconds",
        "OTHER": "unix seconds or timestamps are wanted",
        "AGAIN": "build the graph again",
    }
    for short, long in words.items():
        what = what.replace(short, long)
    what = what.replace("NODES", "film nodes" if "'target'" in what else "user nodes")
    assert what in said(folder)


def test_what_is_wrong_with_a_column_of_a_graph_folder_names_it(folder: Path) -> None:
    change(folder, RATED, target=[0, 2], time=["a", "b"], weight=[1.0, float("nan")])
    errors = [problem for problem in check(folder) if problem.severity == "error"]
    assert [(problem.kind, problem.column, problem.value) for problem in errors] == [
        ("dangling id", "target", "2"),
        ("bad number", "weight", None),
        ("bad time", "time", "string"),
    ]
    with pytest.raises(KgrecError) as raised:
        Graph.load(folder)
    assert (raised.value.kind, raised.value.column, raised.value.value) == ("bad time", "time", "string")


def test_a_broken_graph_folder_names_the_file(folder: Path) -> None:
    (folder / RATED).write_bytes(b"PAR1")
    with pytest.raises(KgrecError) as raised:
        Graph.load(folder)
    assert (raised.value.kind, raised.value.file) == ("altered file", str(folder / RATED))


def test_ends_by_id_are_right(folder: Path) -> None:
    change(folder, RATED, source=["ann", "bob"], target=["dune", "alien"])
    assert said(folder) == []


def test_nodes(folder: Path) -> None:
    change(folder, "nodes/user.parquet", id=["ann", "ann"], age=["old", "young"])
    found = said(folder)
    assert found[0] == "error: nodes/user.parquet: some ids appear more than once: 'ann'; build the graph again"
    assert found[1].startswith(
        "error: nodes/user.parquet: column 'age': a column of type string is not a numeric feature"
    )
    change(folder, "nodes/user.parquet", id=["ann", None], age=None)
    assert said(folder) == [
        "error: nodes/user.parquet: has no column 'age'; its columns are 'id'; build the graph again",
        "error: nodes/user.parquet: 1 nodes have no id; build the graph again",
    ]
    pq.write_table(pa.table({"id": ["ann"], "age": [1.0]}), folder / "nodes/user.parquet")
    assert said(folder) == ["error: nodes/user.parquet: has 1 rows, but graph.json says 2; build the graph again"]


def test_isolated_nodes_are_a_note(folder: Path) -> None:
    change(folder, RATED, target=[0, 0])
    (found,) = check(folder)
    assert found == Problem(
        "nodes/film.parquet", "1 of 2 nodes have no edge: 'dune'", "isolated node", "note", line=None, value="dune"
    )


def test_splits(folder: Path) -> None:
    pq.write_table(pa.table({"part": ["train", "tets", "test"]}), folder / "splits/last.parquet")
    pq.write_table(pa.table({"user": [5], "items": [[0, 9]]}), folder / "splits/few.candidates.parquet")
    change(folder, "splits/last.parquet")
    change(folder, "splits/few.candidates.parquet")
    again = "build the graph again"
    assert said(folder) == [
        "error: splits/few.candidates.parquet: column 'user' has 1 values that are not user nodes, such as 5; there "
        f"are 2 user nodes, numbered from 0; {again}",
        "error: splits/few.candidates.parquet: column 'items' has 1 values that are not film nodes, such as 9; there "
        f"are 2 film nodes, numbered from 0; {again}",
        f"error: splits/last.parquet: has 3 rows, but the target relation 'rated' has 2 edges; {again}",
        f"error: splits/last.parquet: column 'part' has 'tets'; the only parts are train, valid, test; {again}",
    ]


def test_graph_json(folder: Path) -> None:
    document = json.loads((folder / "graph.json").read_text())
    (folder / "graph.json").write_text(json.dumps(document | {"format": 99}))
    assert said(folder) == ["error: graph.json: has format 99, but this kgrec reads formats up to 1; update kgrec"]
    (folder / "graph.json").write_text(json.dumps({"format": 1}))
    assert said(folder) == [
        "error: graph.json: the schema is not of the form that kgrec writes: it lacks 'nodes'; build the graph again"
    ]
    (folder / "graph.json").write_text("{")
    assert said(folder)[0].startswith("error: graph.json: is truncated or altered (")
    (folder / "graph.json").unlink()
    assert said(folder) == ["error: graph.json: is missing, so DIR is not a graph folder; build the graph again"]


def test_problem_of_a_fault_takes_its_fields_and_never_its_words() -> None:
    assert problem_of(Fault("ids are odd"), "links.csv") == Problem("links.csv", "ids are odd", "bad data")
    worded = Fault("split 'a': 3 pairs stand in two parts, see b.csv line 3: no column x", kind="bad split")
    assert problem_of(worded, "c.csv") == Problem("c.csv", worded.message, "bad split")
    assert problem_of(Fault("w is empty", "r.parquet", 7, "w", unit="row"), "?") == Problem(
        "r.parquet", "w is empty", "bad data", line=7, column="w", row=7, unit="row"
    )


SELECT = """
name: films
interactions:
  file: ratings.ttl
  query: "SELECT ?user ?film ?stars WHERE { ?rating x:by ?user ; x:of ?film ; x:stars ?stars } ORDER BY ?stars"
  prefixes: {x: "http://x/"}
  item: film
  relation: rated
  weight: stars
  rating_range: [1, 5]
"""

RATINGS = """
@prefix : <http://x/> .
:r1 :by :ann ; :of :alien ; :stars 2 .
:r2 :by :bob ; :of :alien ; :stars 4 .
:r3 :by :bob ; :of :dune ; :stars 9 .
"""


def test_a_bad_answer_of_a_query_has_its_row_column_and_value(tmp_path: Path) -> None:
    assert problems(tmp_path, SELECT, ratings_ttl=RATINGS) == [
        "error: ratings.ttl answer 3: stars '9' is not in 1..5; fix the row, or set on_bad_rows: report"
    ]
    (found,) = check(tmp_path / "films.yaml")
    assert (found.kind, found.row, found.line, found.column, found.value) == ("out of range", 3, 3, "stars", "9")


def test_the_place_in_rdf_is_a_line_and_the_character_in_it(tmp_path: Path) -> None:
    problems(tmp_path, films_ttl="@prefix : <http://x/> .\n:alien :director oops .\n")
    (found,) = check(tmp_path / "films.yaml")
    assert (found.file, found.kind, found.line, found.column, found.row) == ("films.ttl", "bad RDF", 2, 18, None)
    assert found.message == "oops is not a valid RDF object; fix the file"


def test_a_feature_that_two_sources_make_is_a_problem_of_the_recipe(tmp_path: Path) -> None:
    recipe = RECIPE.replace("label: title", "label: title, features: {director: {column: title, kind: text}}")
    found = problems(
        tmp_path,
        recipe + "  literals: {'x:director': {kind: text}}\n",
        films_ttl='@prefix : <http://x/> .\n:alien :director "Scott" .\n:scott a :Person .\n:brazil a :Film .\n',
    )
    assert found == [
        "error: DIR/films.yaml: feature 'director' from http://x/director exists already; give it another name in the "
        "recipe",
    ]


def test_json_has_the_keys_of_a_finding(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from kgrec.cli import app

    problems(tmp_path, ratings_csv="user,film,rating,time\nann,1,9,100\nbob,2,4,200\n")
    answer = CliRunner().invoke(app, ["check", str(tmp_path / "films.yaml"), "--json"])
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)[0] == {
        "file": "ratings.csv",
        "message": "rating '9' is not in 1..5; fix the row, or set on_bad_rows: report",
        "kind": "out of range",
        "severity": "error",
        "line": 2,
        "value": "9",
        "column": "rating",
        "row": None,
        "unit": "line",
    }


@pytest.mark.real_data
def test_shop_and_movielens_have_no_errors() -> None:
    if not (DATA / "ml-1m").is_dir():
        pytest.skip(f"{DATA / 'ml-1m'} is not there; say where the data is with KGREC_DATA")
    recipe = Path(__file__).parents[1] / "graphs/ml-1m.yaml"
    assert [problem for problem in check(recipe, DATA) if problem.severity == "error"] == []


def test_columns_with_infinity_or_nothing_to_learn(tmp_path: Path) -> None:
    items = pd.DataFrame(
        {
            "id": ["x", "y", "z"],
            "price": [1.0, 2.0, 3.0],
            "size": [2.0, 2.0, np.nan],
            "kind": ["p", "p", None],
            "colour": ["red", "red", "red"],
            "plot": [None, " ", None],
            "image": [[1.0], [2.0], [0.0]],
        }
    )
    graph = Graph.from_frames(
        nodes={"item": items},
        edges={("user", "rated", "item"): pd.DataFrame({"source": ["a"] * 3, "target": ["x", "y", "z"]})},
        features={"item": {"plot": "text", "image": "vector"}},
    )
    graph.features["item"]["price"].values[1:] = torch.tensor([np.inf, -np.inf])  # which from_frames refuses
    graph.features["item"]["image"].values[1] = np.nan
    graph.save(tmp_path / "g")
    nothing = "there is nothing to learn from it"
    assert [str(problem) for problem in check(tmp_path / "g")] == [
        "error: nodes/item.parquet: column 'price' has 2 infinite values, such as that of 'y'; leave a value empty "
        "where it is not known",
        "error: nodes/item.parquet: column 'image' has 1 vectors with NaN or infinity, such as that of 'y'; leave a "
        "value empty where it is not known",
        f"note: nodes/item.parquet: column 'size' has the same value everywhere: {nothing}",
        f"note: nodes/item.parquet: column 'colour' has the same value everywhere: {nothing}",
        f"note: nodes/item.parquet: column 'plot' has no value: {nothing}",
    ]
