"""Lists without torch: `kgrec recommend` prints the same, whichever way it takes, and takes the quick one where it
can."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from kgrec.cli import app
from kgrec.cli import recommend as command
from kgrec.errors import KgrecError
from kgrec.evaluation.tie_order import tie_numbers
from kgrec.graph import Graph
from kgrec.linear_scores import LinearScores
from kgrec.run import Run, train
from kgrec.serving.quick_lists import QuickRun

FILMS = [f"f{number}" for number in range(12)]
LABELS = ["[b]bold[/b]", "", "tab\there", None, *(f"Film {name}" for name in FILMS[4:])]
#: full: has all films; few: one edge that is known, since it is for validation, but was not trained on, and one for
#: test; none: has nothing; views: has views alone
USERS = ["full", "few", "none", "views", "007", *(f"u{number}" for number in range(8))]
SPLIT = "by_time:90,95"
OWN = {"mf": {"dim": 4}, "lightgcn": {"dim": 4}, "kgat": {"dim": 4, "layer_dims": (4,)}}


@pytest.fixture(scope="module")
def films() -> Graph:
    rated = [("full", film) for film in FILMS] + [("007", film) for film in ("f0", "f5", "f6", "f7")]
    rated += [(f"u{user}", FILMS[(user * 5 + step * step) % 11]) for user in range(8) for step in range(4)]
    late = [("few", "f1", 90), ("few", "f2", 95), ("u1", "f8", 96)]
    viewed = [("views", "f1"), ("u1", "f9"), ("u2", "f3")]
    names = ["source", "target", "time"]
    edges = {
        ("user", "rated", "film"): pd.DataFrame(
            [*((*row, time) for time, row in enumerate(rated)), *late], columns=names
        ),
        ("user", "viewed", "film"): pd.DataFrame([(*row, 0) for row in viewed], columns=names),
    }
    nodes = {"user": pd.DataFrame({"id": USERS}), "film": pd.DataFrame({"id": FILMS, "label": LABELS})}
    return Graph.from_frames(nodes=nodes, edges=edges, target=("user", "rated", "film"))


@pytest.fixture(scope="module")
def runs(films: Graph, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a trained run of a model."""
    folder = tmp_path_factory.mktemp("runs")

    def of(name: str) -> Path:
        if not (folder / name).exists():
            training = {"epochs": 1, "device": "cpu"}
            train(name, films, split=SPLIT, config=OWN.get(name), training=training, out=folder / name)
        return folder / name

    return of


@pytest.fixture
def both_ways(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What the command prints or raises, the same with torch and without, which is checked. is_quick: whether the quick
    way has an answer."""

    def call(run: Path, *arguments: str, is_quick: bool = True) -> str:
        def invoke() -> tuple[int, str, str, str]:
            done = CliRunner().invoke(app, ["recommend", str(run), *arguments])
            raised = isinstance(done.exception, KgrecError)
            assert raised or isinstance(done.exception, SystemExit | None), done.exception
            return done.exit_code, done.stdout, done.stderr, f"{type(done.exception).__name__} {done.exception}"

        def refuse(*_: object) -> None:
            raise AssertionError("torch is not needed")

        with monkeypatch.context() as patch:
            if is_quick:
                patch.setattr(command, "load_run", refuse)
            quick = invoke()
        with monkeypatch.context() as patch:
            patch.setattr(QuickRun, "open", lambda folder: None)
            assert quick == invoke()
        return quick[1] or quick[3]

    return call


def as_ids(text: str) -> list[list[str]]:
    return [[item["item"] for item in one["items"]] for one in json.loads(text)]


@pytest.mark.parametrize("name", ["mf", "lightgcn", "kgat", "ease", "itemknn", "popularity"])
def test_both_ways_print_the_same(name, runs, both_ways, tmp_path) -> None:
    run = runs(name)
    everybody = [word for user in USERS for word in ("--user", user)]
    both_ways(run, *everybody, "--k", "4")
    both_ways(run, *everybody, "--k", "5", "--include-seen")
    text = both_ways(run, *everybody, "--json", "--k", "12")
    lists, reasons = as_ids(text), {one["user"]: one.get("reason") for one in json.loads(text)}
    assert lists[0] == [] and len(lists[2]) == 12
    assert reasons["none"] == "no history, by popularity"
    assert reasons["views"] == f"no history, by {'other behaviours' if name == 'kgat' else 'popularity'}"
    assert reasons["few"] == (
        None if name in ("ease", "itemknn", "popularity") else "no history in training, by popularity"
    )
    assert as_ids(both_ways(run, "--user", "u1", "--user", "full", "--user", "u1", "--json"))[1:] == [[]]
    (tmp_path / "users.txt").write_text("u3\n\n007\n")
    assert len(as_ids(both_ways(run, "--users", str(tmp_path / "users.txt"), "--user", "u1", "--json"))) == 3


def test_labels_are_printed_as_they_stand(runs, both_ways) -> None:
    text = both_ways(runs("popularity"), "--user", "none", "--k", "12")
    assert "[b]bold[/b]" in text and "tab\\there" in text and text.count("f1 ") == 2 and text.count("f3 ") == 2


def test_what_is_wrong_is_said_in_the_same_words(runs, both_ways, tmp_path) -> None:
    run = runs("ease")
    for arguments, said in (
        (["--user", "nobody", "--user", "u1"], "UnknownName no user 'nobody' among the 13 known; known are such as"),
        (["--user", "u1", "--k", "13"], "KgrecError --k 13 is more than the catalog's 12 items"),
        (["--user", "u1", "--k", "0"], "KgrecError --k is 0, 1 or more is wanted"),
        ([], "KgrecError say whom to recommend to"),
        (["--users", str(tmp_path / "absent")], "BadData absent cannot be read: "),
    ):
        assert both_ways(run, *arguments).startswith(said)
    assert both_ways(tmp_path, "--user", "u1", is_quick=False).startswith(f"KgrecError {tmp_path} is no run folder")
    shown = both_ways(run, "--user", "nobody", "--user", "u1", "--skip-unknown", is_quick=False)
    assert shown.startswith("for u1")


def test_what_needs_more_than_the_folder_is_asked_of_the_model(runs, both_ways) -> None:
    run = runs("mf")
    for arguments in (["--why"], ["--exclude", "viewed"], ["--where", "rated_by=u2"]):
        both_ways(run, "--user", "u1", *arguments, is_quick=False)
    assert len(as_ids(both_ways(run, "--users", "all", "--json", is_quick=False))) == len(USERS)


def test_an_altered_folder_is_not_read(runs, both_ways, tmp_path) -> None:
    def cut(file: Path) -> None:
        file.write_bytes(file.read_bytes()[:-3])

    def flip(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[-2] ^= 1
        file.write_bytes(data)

    def other(file: Path) -> None:
        file.write_text(file.read_text().replace('"dim": 4', '"dim": 8'))

    changes = [(flip, "model.safetensors"), (cut, "history.parquet"), (flip, "vocabulary/film.parquet")]
    changes += [(flip, "metrics.json"), (flip, "schema.json"), (other, "config.json"), (Path.unlink, "trained.parquet")]
    changes += [(lambda file: file.write_bytes(b""), "weights.pkl")]
    for number, (change, name) in enumerate(changes):
        run = shutil.copytree(runs("mf"), tmp_path / str(number))
        change(run / name)
        assert QuickRun.open(run) is None
        assert both_ways(run, "--user", "u1", is_quick=False).startswith("KgrecError"), name
    run = shutil.copytree(runs("mf"), tmp_path / "scorer")
    flip(run / "scorer.json")  # which the model does not need
    assert as_ids(both_ways(run, "--user", "u1", "--json", is_quick=False))


def test_nobody_is_recommended_to_themselves(both_ways, tmp_path) -> None:
    people = [f"p{number}" for number in range(9)]
    rows = [(one, people[(n * 3 + step * step + 1) % 9], step) for n, one in enumerate(people) for step in range(4)]
    follows = pd.DataFrame([row for row in rows if row[0] != row[1]], columns=["source", "target", "time"])
    graph = Graph.from_frames(edges={("person", "follows", "person"): follows}, target=("person", "follows", "person"))
    for name in ("mf", "ease"):
        train(name, graph, split="last_n:1", config=OWN.get(name), training={"epochs": 1}, out=tmp_path / name)
        everybody = [word for one in people for word in ("--user", one)]
        lists = as_ids(both_ways(tmp_path / name, *everybody, "--k", "9", "--include-seen", "--json"))
        assert [sorted([*found, own]) for own, found in zip(people, lists)] == [people] * 9


def test_items_that_rounding_may_exchange_are_left_to_the_model(runs, monkeypatch) -> None:
    """Two items of nearly the same score, one of which is the last of the list. With both in it, their order is that of
    the exact scores, and the scores of equal vectors tie."""
    run = QuickRun.open(runs("mf"))
    number = np.zeros((len(USERS), 2), np.float32)
    number[:, 0], number[:, 1] = 1, 2.0**-22
    item = np.zeros((12, 2), np.float32)
    item[:, 0] = np.arange(12)
    item[8] = item[7]
    item[8, 1] = 0.25  # 2^-24 above the item 7, which float32 cannot say of 7
    vars(run)["scores"] = LinearScores("dot", {"user": number, "item": item})
    assert run.lists(["u1"], 4, include_seen=True) is None
    assert run.lists(["u1"], 3, include_seen=True)["item"] == ["f11", "f10", "f9"]
    both = run.lists(["u1"], 5, include_seen=True)
    assert set(both["item"][3:]) == {"f7", "f8"} and both["score"][3:] == [7, 7]


def test_one_users_scores_do_not_depend_on_others(planted, tmp_path) -> None:
    run = train("mf", planted, split="last_n:1", config={"dim": 64}, training={"epochs": 1})
    users = run.graph.vocabulary["user"].ids(range(60))
    together = run.recommend(users, k=40).to_arrow().to_pylist()
    assert [row for user in users for row in run.recommend(user, k=40)] == together
    scores = Run.of(run).recommend(users, k=40)["score"]
    assert all(np.float32(one) == one for one in scores)


def test_the_order_of_ties_is_that_of_torch() -> None:
    numbers = torch.iinfo(torch.int64)
    for seed in (0, 1, 2**32 + 7, 2**63 - 1):
        generator = torch.Generator().manual_seed(seed)
        wanted = torch.randint(numbers.min, numbers.max, (2, 1001), generator=generator)
        assert np.array_equal(tie_numbers(seed, 1000), wanted.numpy())


def test_neither_torch_nor_pandas_is_imported(runs) -> None:
    code = (
        "import sys\nfrom kgrec.cli import app\n"
        "try:\n    app()\nexcept SystemExit:\n    print([name for name in ('torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "recommend", runs("mf"), "--user", "u1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("for u1\n") and done.stdout.endswith("\n[]\n")
