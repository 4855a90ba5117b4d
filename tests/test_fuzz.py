"""Inputs made wrong by chance (scripts/fuzz in short), and inputs that were once no good: refused in words, or taken.

scripts/fuzz tries thousands; here are some hundreds, and every input of tests/fuzz_corpus.json, of which each was a
traceback, or stands for a kind of input that was one.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from kgrec import Run
from kgrec.errors import KgrecError

SCRIPTS = Path(__file__).parents[1] / "scripts"
CORPUS = json.loads((Path(__file__).parent / "fuzz_corpus.json").read_text(encoding="utf-8"))
CASES = 200
KINDS = [
    *(
        "recipes",
        "tables",
        "rdf",
        "answers",
        "graphs",
        "runs",
        "checkpoints",
        "histories",
        "pairs",
        "users",
        "settings",
    ),
    "options",
]


@pytest.fixture(scope="module")
def fuzzing() -> Iterator[SimpleNamespace]:
    """The modules of scripts/fuzzing."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield SimpleNamespace(
            **{name: importlib.import_module(f"fuzzing.{name}") for name in ("bases", "case", "cases", "trial")}
        )
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def bases(fuzzing: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folders that cases begin from."""
    return fuzzing.bases.Bases(tmp_path_factory.mktemp("bases"))


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_made_wrong_by_chance(kind: str, fuzzing: SimpleNamespace, bases: Any, tmp_path: Path) -> None:
    failures = []
    for number in fuzzing.cases.numbers(0, CASES, {kind}):
        verdict = fuzzing.trial.attempt(fuzzing.cases.case_of(number, 1, bases), tmp_path / "case", bases)
        if verdict.outcome == "failed" and "seconds" not in verdict.place:  # the machine may be busy
            failures.append(f"scripts/fuzz --seed 1 --case {number}: {verdict.place}: {verdict.what}")
    assert not failures


def test_every_kind_is_tried(fuzzing: SimpleNamespace) -> None:
    assert list(fuzzing.cases.KINDS) == KINDS
    assert sum(share for share, _ in fuzzing.cases.KINDS.values()) == 100
    assert set(fuzzing.cases.ORDER) == set(KINDS)


@pytest.mark.parametrize("entry", CORPUS, ids=[entry["name"] for entry in CORPUS])
def test_inputs_that_failed_once(entry: dict[str, Any], fuzzing: SimpleNamespace, bases: Any, tmp_path: Path) -> None:
    parts = {name: value for name, value in entry.items() if name not in ("name", "outcome", "says")}
    verdict = fuzzing.trial.attempt(fuzzing.case.Case.from_json(parts), tmp_path / "case", bases)
    assert verdict.outcome == entry["outcome"], f"{verdict.what}\n{verdict.detail}"
    assert entry["says"] in verdict.what


def test_values_of_python_that_nothing_can_hold(bases: Any) -> None:
    run = Run.load(bases.run("ease"))
    half, nul = "half a pair of surrogates", "embedded null byte"
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: run.recommend(["\ud800"], k=1), half),
        (lambda: run.recommend(history=["\ud800"], k=1), half),
        (lambda: run.recommend(history=pd.DataFrame({"item": ["i1"], "time": [2**70]}), k=1), "more than 64 bits"),
        (lambda: run.recommend(history=Path("x\0y.csv"), k=1), nul),
        (lambda: run.predict([("u1", "\ud800")]), half),
        (lambda: run.predict("x\0y.csv"), nul),
    ]
    for call, says in calls:
        with pytest.raises(KgrecError, match=says):
            call()


# ---------------------------------------------------------------------- the judge


def test_a_case_is_the_same_by_its_number(fuzzing: SimpleNamespace, bases: Any) -> None:
    case_of = fuzzing.cases.case_of
    assert all(case_of(number, 0, bases) == case_of(number, 0, bases) for number in range(20))
    assert any(case_of(number, 0, bases) != case_of(number, 1, bases) for number in range(20))
    case = case_of(4, 0, bases)
    assert fuzzing.case.Case.from_json(json.loads(json.dumps(case.to_json()))) == case


def test_what_the_judge_calls_a_failure(
    fuzzing: SimpleNamespace, bases: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(call: Any, out: str | None = None) -> tuple[str, str]:
        monkeypatch.setitem(fuzzing.trial.CALLS, "@build", call)
        case = fuzzing.case.Case("recipes", ("@build", "recipe.yaml"), {"recipe.yaml": b"name: x\n"}, out=out)
        verdict = fuzzing.trial.attempt(case, tmp_path / "case", bases)
        return verdict.outcome, verdict.what

    def refuse(_: str) -> None:
        raise KgrecError("no such thing")

    def stumble(_: str) -> None:
        {}["x"]

    def half(_: str) -> None:
        Path("out").mkdir()
        raise KgrecError("the disk is full")

    def greedy(_: str) -> None:
        bytearray(1200 << 20)

    def careless(_: str) -> None:
        Path("recipe.yaml").write_text("")

    assert judged(lambda _: None) == ("accepted", "")
    assert judged(refuse) == ("refused", "no such thing")
    assert judged(stumble) == ("failed", "KeyError: 'x'")
    assert judged(half, "out") == ("failed", "refused (the disk is full), and left ['out']")
    assert judged(careless) == ("failed", "['recipe.yaml'] changed")
    assert judged(lambda _: Path("scrap").write_text("")) == ("failed", "left ['scrap'] beside its output")
    monkeypatch.setattr(fuzzing.trial, "MOST_MB", 1024.0)
    assert judged(greedy)[1].endswith(" MB")
