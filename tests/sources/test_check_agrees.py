"""`check` and `build` say the same of a recipe: the same bad rows, and the same exit code, whatever `on_bad_rows` says.

Tried over the recipes in graphs/ whose data are there, the fuzzer's corpus and its cases, and inputs written here.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from kgrec.errors import KgrecError
from kgrec.sources.building import build
from kgrec.sources.checking import Problem, check
from kgrec.sources.checking.findings import problem_of
from kgrec.sources.recipe.recipe import Recipe

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("KGREC_DATA")
CORPUS = json.loads((ROOT / "tests/fuzz_corpus.json").read_text(encoding="utf-8"))
#: Errors of `check` alone where bad rows are errors, which a build takes: names in no fact, links to another type or to
#: nowhere
OF_CHECK = ("unknown predicate", "type clash", "no link")
ADVICE = "on_bad_rows: report"


def disagreements(recipe: Path, data: Path | None = None) -> list[str]:
    """What one of `check` and `build` says and the other does not."""
    problems = check(recipe, data)
    errors = [problem for problem in problems if problem.severity == "error"]
    notes = [problem for problem in problems if problem.severity == "note"]
    try:
        _, report = build(recipe, data)
    except KgrecError as error:
        faults = [fault for fault in error.faults if not fault.message.startswith("stopped after")]
        known = {_without_file(problem) for problem in problems}
        found = [problem_of(fault, str(recipe)) for fault in faults]
        other = [f"build alone: {one}" for one in found if _without_file(one) not in known]
        files = {(_without_file(problem), problem.file) for problem in problems}
        other += [f"another file: {one}" for fault, one in zip(faults, found) if fault.file and _key(one) not in files]
        return other if errors else [*other, "check has no error"]
    allowed = OF_CHECK if Recipe.load(recipe).on_bad_rows == "error" else ()
    hard = [f"check alone: {error}" for error in errors if error.kind not in allowed]
    said = {str(note).removeprefix("note: "): note for note in notes}
    rows = [line for line, note in said.items() if note.line is not None or line in report.problems]
    return hard + ([] if rows == report.problems else [f"rows of check: {rows}", f"rows of build: {report.problems}"])


def _without_file(problem: Problem) -> tuple[object, ...]:
    return problem.line, problem.row, problem.column, problem.value, problem.message, problem.kind


def _key(problem: Problem) -> tuple[tuple[object, ...], str]:
    return _without_file(problem), problem.file


def settings_of(recipe: Path) -> Iterator[Path]:
    """The recipe as it is, and where it is a recipe's mapping, with each `on_bad_rows`."""
    yield recipe
    try:
        tree = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        texts = {word: yaml.safe_dump({**tree, "on_bad_rows": word}, sort_keys=False) for word in ("error", "report")}
    except (yaml.YAMLError, UnicodeError, TypeError, ValueError, RecursionError, AttributeError, LookupError):
        return
    for word, text in texts.items():
        path = recipe.with_name(f"{word}.{recipe.name}")
        path.write_text(text, encoding="utf-8")
        yield path


def place(files: Mapping[str, bytes | str], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def assert_agreement(recipe: Path, data: Path | None = None) -> None:
    """With each `on_bad_rows`; and what it says already is no advice."""
    for path in settings_of(recipe):
        assert disagreements(path, data) == [], path.read_bytes()
        if path.name.startswith("report."):
            tables = yaml.safe_load(path.read_text(encoding="utf-8"))
            if "'on_bad_rows': 'error'" not in str(tables):
                assert [str(problem) for problem in check(path, data) if ADVICE in problem.message] == []


@pytest.fixture(scope="module")
def fuzzing() -> Iterator[SimpleNamespace]:
    """The modules of scripts/fuzzing."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        names = ("bases", "case", "cases", "recipes")
        yield SimpleNamespace(**{name: importlib.import_module(f"fuzzing.{name}") for name in names})
    finally:
        sys.path.remove(str(ROOT / "scripts"))


OF_RECIPES = [entry for entry in CORPUS if "recipe.yaml" in entry["files"] and entry["kind"] != "answers"]


@pytest.mark.parametrize("entry", OF_RECIPES, ids=[entry["name"] for entry in OF_RECIPES])
def test_on_the_corpus_of_the_fuzzer(entry, fuzzing, tmp_path):
    parts = {name: value for name, value in entry.items() if name not in ("name", "outcome", "says")}
    place(fuzzing.case.Case.from_json(parts).files, tmp_path)
    assert_agreement(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("kind", ["recipes", "tables", "rdf"])
def test_on_cases_of_the_fuzzer(kind, fuzzing, tmp_path):
    bases = fuzzing.bases.Bases(tmp_path / "bases")
    for number in fuzzing.cases.numbers(0, 150, {kind}):
        case = fuzzing.cases.case_of(number, 3, bases)
        folder = tmp_path / str(number)
        place(case.files, folder)
        assert_agreement(folder / "recipe.yaml")


def test_on_the_recipes_that_the_fuzzer_begins_from(fuzzing, tmp_path):
    for name in fuzzing.recipes.RECIPES:
        place(fuzzing.recipes.recipe_files(name), tmp_path / name)
        assert_agreement(tmp_path / name / "recipe.yaml")


SHOP = ROOT / "graphs/shop"


def test_on_the_shop():
    recipes = sorted([*SHOP.glob("*.yaml"), *ROOT.glob("graphs/shop*.yaml")])
    assert recipes
    for recipe in recipes:
        assert disagreements(recipe) == []


SHIPPED = sorted(ROOT.glob("graphs/*.yaml"))


@pytest.mark.skipif(DATA is None, reason="needs the public data sets; set KGREC_DATA")
@pytest.mark.parametrize("recipe", SHIPPED, ids=[recipe.stem for recipe in SHIPPED])
def test_on_shipped_recipes(recipe):
    assert disagreements(recipe, Path(str(DATA))) == []


# ---------------------------------------------------------------------- inputs written for it

BASE = {
    "r.csv": "user,item,w,t\nu,a,5,100\nu,b,9,soon\nv,,3,200\nv,b,x,300\nw,zz,1\n",
    "i.csv": "item,price,genres\na,1,x|y\nb,cheap,x|x\na,2,z\n",
    "e.csv": "item,tag,s\na,new,1\na,new,1\nb,old,high\n,old,2\nzz,old,3\n",
}
RECIPE = """
name: x
nodes:
  item:
    file: i.csv
    id: item
    complete: true
    features: {price: numeric}
    edges: {has_genre: {column: genres, split: "|", to: genre}}
interactions: {file: r.csv, weight: w, time: t, rating_range: [1, 5]}
edges:
  has_tag: {file: e.csv, between: [item, tag], source: item, target: tag, weight: s}
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("{file: r.csv,", "{file: r.csv, on_bad_rows: report,"),
        ("{file: r.csv,", "{file: r.csv, on_bad_rows: error,"),
        ("{file: e.csv,", "{file: e.csv, on_bad_rows: report,"),
        ("    file: i.csv\n", "    file: i.csv\n    on_bad_rows: report\n"),
        ("complete: true", "only_interacted: true"),
        ("r.csv", "nowhere.csv"),
        ("target: tag", "target: label"),
        ("{price: numeric}", "{price: numeric, shape: {kind: vector, file: v.npy}}"),
        ("    edges:", "    images: {poster: {folder: posters}}\n    edges:"),
        ("weight: s}", "weight: s, duplicates: error}"),
        ("weight: w,", "weight: w, duplicates: error,"),
        ("name: x", "name: x\nsplits: {known: {test: e.csv, rest: train}}"),
        ("name: x", "name: x\ncandidates: {few: {file: e.csv, ids: first_appearance}}"),
        ("name: x", "name: x\nlinks: {item: {file: e.csv, id: item, entity: tag}}\ntriples: {file: r.csv, head: user}"),
    ],
)
def test_on_bad_rows_in_every_table(old, new, tmp_path):
    place({**BASE, "recipe.yaml": RECIPE.replace(old, new, 1) if old else RECIPE}, tmp_path)
    assert_agreement(tmp_path / "recipe.yaml")


def test_on_more_bad_rows_than_are_listed(tmp_path):
    rows = "user,item,w,t\n" + "".join(f"u{n},a,{9 if n % 2 else 3},100\n" for n in range(1200))
    tags = "item,tag,s\n" + "".join(f"a,t{n},{'x' if n % 3 else 1}\n" for n in range(1200))
    files = {**BASE, "r.csv": rows, "e.csv": tags}
    for words in ("", "on_bad_rows: report, "):
        recipe = RECIPE.replace("{file: r.csv, ", f"{{file: r.csv, {words}")
        place({**files, "recipe.yaml": recipe}, tmp_path)
        assert_agreement(tmp_path / "recipe.yaml")
        found = check(tmp_path / "recipe.yaml")
        assert [str(problem) for problem in found if "not listed" in problem.message] == (
            [
                f"error: {tmp_path}/recipe.yaml: 602 more bad rows are not listed",
                f"note: {tmp_path}/recipe.yaml: 400 more bad rows are not listed",
            ]
            if words
            else [f"error: {tmp_path}/recipe.yaml: 1,202 more bad rows are not listed"]
        )


def test_the_folder_of_the_files_is_advised_only_where_it_was_not_said(tmp_path):
    place({**BASE, "recipe.yaml": RECIPE.replace("r.csv", "nowhere.csv") + "rdf: {files: gone.ttl}\n"}, tmp_path)
    for data, advice in ((None, "give the data folder with --data"), (tmp_path, "the folder given with --data")):
        said = [problem.message for problem in check(tmp_path / "recipe.yaml", data) if problem.kind == "missing file"]
        assert said == [
            f"{tmp_path}/nowhere.csv does not exist; fix `file` in the recipe, or {advice}",
            f"{tmp_path}/gone.ttl does not exist; fix `files` in the recipe, or {advice}",
        ]
        place({"i.csv": "item,price,genres\na,1,x\n"}, tmp_path)
        with pytest.raises(KgrecError) as raised:
            build(tmp_path / "recipe.yaml", data)
        assert str(raised.value) == said[0]
    with pytest.raises(KgrecError, match="elsewhere is not a folder; fix --data"):
        build(tmp_path / "recipe.yaml", tmp_path / "elsewhere")
    assert [problem.message for problem in check(tmp_path / "recipe.yaml", tmp_path / "elsewhere")] == [
        f"{tmp_path}/elsewhere is not a folder; fix --data"
    ]


def test_advice_is_not_what_is_set(tmp_path):
    def said(recipe: str, files: Mapping[str, str]) -> str:
        place({**BASE, **files, "recipe.yaml": "name: x\n" + recipe}, tmp_path)
        found = [str(problem) for problem in check(tmp_path / "recipe.yaml")]
        assert disagreements(tmp_path / "recipe.yaml") == []
        return "\n".join(found)

    few = "interactions: {file: r.csv}\ncandidates: {few: {file: c.txt, ids: %s}}\n"
    clean = {"r.csv": "user,item\nu,a\n", "c.txt": "(9,9)\t9\n"}
    assert "set `ids: first_appearance`, or fix the file" in said(few % "ids", clean)
    assert "are not in the graph; fix the file, or `ids`" in said(few % "first_appearance", clean)
    rdf = "interactions: {file: r.csv}\nrdf: {files: f.ttl%s}\n"
    turtle = {**clean, "f.ttl": "<http://x/a b> <http://x/p> <http://x/c> ."}
    assert "lenient: true" in said(rdf % "", turtle)
    assert "lenient: true" not in said(rdf % ", lenient: true", {**turtle, "f.ttl": "<http://x/a> <http://x/p> IRI ."})
    kept = {"r.csv": "user,item\nu,a\nu,a\n"}
    assert "1 row of 'interacted' has the same user and item as an earlier row; all are kept; set" in said(
        "interactions: {file: r.csv}\n", kept
    )
    assert "all are kept, as `duplicates` says" in said("interactions: {file: r.csv, duplicates: keep}\n", kept)
    named = said("interactions: {file: r.csv, columns: [a, b]}\n", kept)
    assert "no column 'user' in r.csv; there are: a, b" in named
    assert "`columns:`" not in named
