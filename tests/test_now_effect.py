"""The benchmark of what it gives away to be told when a list is wanted."""

import importlib
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

import kgrec
from kgrec.graph import Graph

ROOT, DAY = Path(__file__).parents[1], 86_400


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/now_effect.py."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("now_effect")


def rated() -> Graph:
    """Four users with a tie each; two take their last item a day after, and two at once."""
    rows = []
    for user in range(4):
        times = [0, DAY, DAY, 2 * DAY if user % 2 else DAY]
        rows += [(f"u{user}", f"i{(user + step) % 5}", time + user) for step, time in enumerate(times)]
    frame = pd.DataFrame(rows, columns=["source", "target", "time"])
    return Graph.from_frames(edges={("user", "rated", "item"): frame})


def test_users_whose_last_time_is_known_to_be_true(script: ModuleType, tmp_path: Path):
    """User 1's last row is the second of the file, user 2's the fourth, since of equal times the later row is last."""
    ratings, unverified = tmp_path / "ratings.dat", tmp_path / "unverified.txt"
    ratings.write_text("1::5::3::10\n1::6::3::20\n2::5::3::30\n2::7::3::30\n1::8::3::15\n")
    unverified.write_text("3\n2\n")
    assert script.verified_users(ratings, unverified) == {"1": "unverified", "2": "verified"}


def test_ties_in_random_order_are_the_same_interactions(script: ModuleType):
    graph = rated()
    moved = [script.shuffled_ties(graph, seed) for seed in range(5)]
    for one in moved:
        assert sorted(zip(*one.edge_index.tolist(), one.time.tolist())) == sorted(
            zip(*graph.edge_index.tolist(), graph.time.tolist())
        )
        time, user = one.time[one.csr.edge], one.head[one.csr.edge]
        assert ((time.diff() >= 0) | (user.diff() > 0)).all()  # still in order of time
    assert len({tuple(one.csr.other.tolist()) for one in moved}) > 1


def test_models_are_measured_by_what_they_are_told_and_how_long_users_paused(script: ModuleType):
    benchmark = {
        "split": "last_n:1",
        "training": {"epochs": 1},
        "models": {
            "hstu": {"model": "hstu", "set": {"times": "now", "dim": 4, "length": 4}},
            "recent": {"model": "popularity", "set": {"window": DAY}},
            "always": {"of": "kept"},
        },
        "ties": {"models": {"hstu": {"model": "hstu", "set": {"times": "now", "dim": 4, "length": 4}}}},
        "metrics": ["ndcg@5"],
    }
    torch.manual_seed(0)
    kept = {"kept": kgrec.train("popularity", rated(), split="last_n:1")}
    found = script.now_effect(benchmark, rated(), False, kept.__getitem__)
    fewer = [row for row in found["rows"] if row["model"] == "hstu, fewer epochs"]
    assert {row["ties"] for row in fewer} == {"order of the file", "random order"}
    first = [row for row in found["rows"] if row not in fewer]
    assert {(row["model"], row["now"]) for row in first} == {
        *((name, told) for name in ("hstu", "recent") for told in ("edge", "unknown")),
        ("always", "not read"),
    }
    for name, told in {(row["model"], row["now"]) for row in first}:
        whole, *parts = (row for row in first if (row["model"], row["now"]) == (name, told))
        assert [(part["gap"], part["users"]) for part in parts] == [("0 s", 2), ("1 day or more", 2)]
        assert whole["ndcg@5"] == pytest.approx(sum(part["ndcg@5"] for part in parts) / 2)
        assert found["test"][f"ndcg@5 of {name}, order of the file, {told}"] == whole["ndcg@5"]


def test_runs_are_measured_among_users_whose_last_time_is_known_to_be_true(script: ModuleType, tmp_path: Path):
    ratings, unverified = tmp_path / "ratings.dat", tmp_path / "unverified.txt"
    ratings.write_text("".join(f"u{user}::i0::3::9\n" for user in range(4)))
    unverified.write_text("1\n2\n")
    run, graph = kgrec.train("itemknn", rated(), split="last_n:1"), rated()
    benchmark = {"of": ["one"], "ratings": ratings.name, "unverified": unverified.name, "metrics": ["hit_rate@2"]}
    found = script.among_verified(benchmark, graph, tmp_path, {"one": run}.__getitem__)
    alone = run.measure(graph, metrics=["hit_rate@2"], groups={f"u{user}": str(user < 2) for user in range(4)})
    wanted = alone["groups"]["metrics"]["hit_rate@2"]["groups"]["False"]
    assert (found["num_users"], found["test"]["hit_rate@2 of one"]) == (wanted["users"], wanted["mean"]) and found[
        "rows"
    ]
