"""`kgrec models`, and what the command says of names that are nearly right."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from rich.console import Console

from kgrec import cli, models
from kgrec.cli.models import describe_model, first_sentence, show
from kgrec.graph import Graph


def kgrec(*arguments: object, code: int = 0) -> tuple[str, str]:
    """What the command prints to stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kgrec", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        try:
            cli.main()
            found: object = 0
        except SystemExit as end:
            found = end.code or 0
    assert found == code, f"exit code {found}\n{out.getvalue()}\n{err.getvalue()}"
    return out.getvalue(), err.getvalue()


def test_every_model_is_a_row() -> None:
    text, _ = kgrec("models")
    rows = {line.split()[0]: line for line in text.splitlines() if line.split()}
    assert set(models.names()) <= set(rows)
    assert "closed form" in rows["ease"] and "ranking" in rows["ease"] and "Steck 2019" in rows["ease"]
    assert "rating, ctr" in rows["svdpp"]


def test_the_json_is_defaults_by_field() -> None:
    listing = json.loads(kgrec("models", "--json")[0])
    assert list(listing) == models.names()
    assert listing["popularity"] == {"distinct": True, "of": "users", "relation": None, "window": None}
    assert listing["kgat"]["layer_dims"] == [64, 32, 16] and listing["gan"]["condition"] == "history"


def test_a_model_is_explained() -> None:
    text, _ = kgrec("models", "transe")
    assert text.startswith("TransE: each relation is a translation that takes a fact's head to its tail.\n")
    assert "Bordes et al. 2013" in text
    assert "tasks: ranking, link" in text and "new users: yes, by their history" in text
    (row,) = [line for line in text.splitlines() if line.split()[:1] == ["p"]]
    assert " ".join(row.split()) == (
        "p choice: 1, 2 2 norm of the distance: 1 (sum of absolute differences) or 2 (Euclidean)"
    )
    (row,) = [line for line in text.splitlines() if line.split()[:1] == ["dim"]]
    assert "whole number, more than 0" in row and "64" in row


def test_a_model_is_explained_as_json() -> None:
    found = json.loads(kgrec("models", "transe", "--json")[0])
    assert found["name"] == "transe" and found["tasks"] == ["ranking", "link"] and found["new_users"] is True
    fields = {field["name"]: field for field in found["fields"]}
    assert fields["p"]["choices"] == [1, 2] and fields["p"]["inherited_from"] is None
    assert fields["dim"]["inherited_from"] == "LinkModelConfig" and fields["dim"]["bounds"] == "more than 0"
    assert found == describe_model("transe").to_json()


@pytest.mark.parametrize("name", models.names())
def test_every_model_says_what_it_is(name: str) -> None:
    one, text = describe_model(name), io.StringIO()
    show(one, Console(file=text, width=200))
    assert len(one.summary) > 20 and one.summary.endswith(".") and one.tasks
    assert one.paper or name in ("dnen", "gruatt", "kgatseq", "link-frequency", "popularity")
    assert all(field.name in text.getvalue() for field in one.fields)


def test_a_first_sentence() -> None:
    assert first_sentence("MF.\n\nMore.") == "MF."
    assert first_sentence("Of 0.5 and\n  more! Then.") == "Of 0.5 and more!"


def test_a_plugin_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "names", lambda: ["ease", "theirs"])
    monkeypatch.setattr(models, "broken", lambda: {"theirs": "it needs a package that is not there"})
    text, notes = kgrec("models")
    assert "ease" in text and notes == "note: theirs: it needs a package that is not there\n"


@pytest.fixture
def folder(planted: Graph, tmp_path: Path) -> Path:
    planted.save(tmp_path / "planted.graph")
    return tmp_path / "planted.graph"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models", "mff"), "no model 'mff' (a model of your own is a dotted path"),
        (("models", "mff"), "did you mean 'mf'?"),
        (("train", "mff", "GRAPH"), "did you mean 'mf'?"),
        (("train", "mf", "GRAPH", "--set", "dims=3"), "no field 'dims' of model 'mf'; did you mean 'dim'?"),
        (("train", "mf", "GRAPH", "--set", "loss=bprr"), "or 'top1_max'; did you mean 'bpr'?"),
        (("train", "mf", "GRAPH", "--metric", "ndgc@10"), "no metric 'ndgc'; did you mean 'ndcg'?"),
        (("train", "mf", "GRAPH", "--task", "rankin"), "no task 'rankin'; did you mean 'ranking'?"),
        (("train", "mf", "GRAPH", "--precision", "32"), "precision='32' of training: Input should be '32-true'"),
        (("backtest", "mff", "GRAPH", "--every", "7d", "--windows", "2"), "did you mean 'mf'?"),
        (("robustness", "mf", "GRAPH", "--set", "training.epoch=3"), "did you mean 'epochs'?"),
    ],
)  # fmt: skip
def test_what_is_nearly_right_names_what_is(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    stdout, stderr = kgrec(*(folder if one == "GRAPH" else one for one in arguments), code=1)
    assert stdout == "" and stderr.startswith("error: ") and message in stderr


def test_a_wrong_option_is_wrong_usage(folder: Path) -> None:
    assert "--epochs" in kgrec("train", "mf", folder, "--epoch", "3", code=2)[1]


def test_a_former_setting_is_a_note_said_once(folder: Path) -> None:
    arguments = ("train", "ials", folder, "--split", "last_n:1", "--set", "dim=4", "--set", "iterations=1", "--json")
    stdout, stderr = kgrec(*arguments, "--set", "reg=0.5")
    assert stderr.count("note: the setting 'reg' of model 'ials' is now 'l2'; the former name will be removed") == 1
    assert json.loads(stdout)["test"] == json.loads(kgrec(*arguments, "--set", "l2=0.5")[0])["test"]


def test_the_three_commands_that_train_share_their_options() -> None:
    """All but what divides or begins a training otherwise, and what is of facts."""
    only_train = {"init", "init_part", "resume", "lean", "facts_only", "mmap", "shard_vectors"}
    found = {}
    for name in ("train", "backtest", "robustness"):
        command = next(one for one in cli.app.registered_commands if one.name == name)
        found[name] = set(command.callback.__annotations__)  # type: ignore[union-attr]
    assert found["train"] - found["backtest"] == {*only_train, "split", "candidates"}
    assert found["train"] - found["robustness"] == only_train
    assert found["backtest"] - found["train"] == {"every", "windows", "no_valid", "plot"}
    assert found["robustness"] - found["train"] == {"noise", "kinds", "seeds", "targets"}
