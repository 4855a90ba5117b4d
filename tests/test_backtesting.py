"""Windows of time: what each trains on and tests, on edges whose answers are sums on paper."""

import json
from math import sqrt

import pandas as pd
import pytest

from kgrec._deprecation import FormerName
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.run import train
from kgrec.studies import backtesting
from kgrec.studies.backtesting import backtest, duration, iso
from kgrec.training.config import TrainingConfig
from kgrec.training.session import run_job

RATED = [
    ("ann", "a", 0),
    ("bob", "a", 1),
    ("cem", "b", 2),
    ("ann", "b", 75),  # the first window's validation
    ("bob", "d", 76),
    ("bob", "b", 85),  # the first window: bob's second item, and a new user's first
    ("dan", "a", 80),
    ("cem", "a", 90),  # the second window, from its first second to the last edge of all
    ("ann", "c", 100),
]
#: two windows of ten seconds, by popularity: in the first bob gets b and dan a; in the second cem gets a, and ann, who
#: has a and b, gets d, which one has, before c, which nobody has
TWICE = {"every": 10, "windows": 2, "metrics": ["recall@1"], "training": TrainingConfig(device="cpu")}


def graph_of(rated, later: int = 0) -> Graph:
    frame = pd.DataFrame(rated, columns=["source", "target", "time"])
    frame["time"] += later
    nodes = {"user": pd.DataFrame({"id": ["ann", "bob", "cem", "dan"]}), "item": pd.DataFrame({"id": list("abcd")})}
    genres = pd.DataFrame({"source": list("ab"), "target": ["drama", "drama"]})
    edges = {("user", "rated", "item"): frame, ("item", "has_genre", "genre"): genres}
    return Graph.from_frames(nodes=nodes, edges=edges, target=("user", "rated", "item"))


def test_two_windows_on_paper():
    result = backtest("popularity", graph_of(RATED), **TWICE)
    one, two = result.windows
    assert (one.valid_from, one.start, one.stop) == (70, 80, 90)
    assert (two.valid_from, two.start, two.stop) == (80, 90, 101)  # the last includes the last edge
    assert (one.num_train, one.num_valid, one.num_test, one.num_users, one.num_new_users) == (3, 2, 2, 2, 1)
    assert (two.num_train, two.num_valid, two.num_test, two.num_users, two.num_new_users) == (5, 2, 2, 2, 0)
    assert (one.test["recall@1"], two.test["recall@1"]) == (1.0, 0.5)
    assert result.mean["recall@1"] == 0.75 and result.spread["recall@1"] == pytest.approx(0.5 / sqrt(2))
    # the user who is new in the first window is not known by anything
    assert (one.num_without_history, two.num_without_history) == (1, 0)
    assert result.protocol == "2 windows of 10 s; full ranking; users without history by popularity"


@pytest.mark.parametrize("later", [-50, 1_900, 1_700_000_000])  # times of four digits are no years
def test_it_is_the_same_at_any_time(later):
    moved, here = (backtest("popularity", graph_of(RATED, by), **TWICE) for by in (later, 0))
    assert [w.test for w in moved.windows] == [w.test for w in here.windows]
    assert [w.start - later for w in moved.windows] == [w.start for w in here.windows]


def test_a_window_is_a_training_on_the_graph_cut_at_its_end():
    graph, config, training = graph_of(RATED), {"dim": 4}, TrainingConfig(epochs=3, seed=2, device="cpu")
    result = backtest("mf", graph, every=10, windows=2, config=config, training=training, refit=True)
    run = train("mf", graph.before(90), split="by_time:70,00080", config=config, training=training, refit=True)
    assert result.windows[0].test == run.metrics["test"] and result.windows[0].best_epoch == run.metrics["best_epoch"]
    assert result.protocol.endswith("users without history by popularity, refit on train + valid") and result.seed == 2


def test_nothing_from_a_windows_end_on_is_there_and_facts_stay(monkeypatch):
    given = []

    def spy(job, graph, report):
        given.append((graph, job.split))
        return run_job(job, graph, report)

    monkeypatch.setattr(backtesting, "run_job", spy)
    result = backtest("popularity", graph_of(RATED), **TWICE, valid=False)
    assert [split for _, split in given] == ["by_time:00080,00080", "by_time:00090,00090"]
    assert [int(graph.only("rated").time.max()) for graph, _ in given] == [85, 100]
    assert [graph.only("has_genre").num_edges for graph, _ in given] == [2, 2]
    assert [(w.num_train, w.num_valid) for w in result.windows] == [(5, 0), (7, 0)]


def test_windows_without_edges_are_skipped_and_say_so():
    result = backtest("popularity", graph_of(RATED), **TWICE | {"windows": 11})
    reasons = [window.skipped for window in result.windows]
    assert reasons[:3] == [f"there is no 'rated' edge before {iso(time)} to train on" for time in (-20, -10, 0)]
    assert reasons[3:8] == ["there is no 'rated' edge in the window to test on"] * 5
    assert reasons[8:] == [None] * 3 and result.windows[8].num_valid == 0
    assert [window.test == {} for window in result.windows] == [True] * 8 + [False] * 3
    assert result.mean["recall@1"] == pytest.approx(sum(w.test["recall@1"] for w in result.windows[8:]) / 3)


def test_a_single_window_has_no_spread():
    result = backtest("popularity", graph_of(RATED), **TWICE | {"windows": 1})
    assert result.spread["recall@1"] is None and result.mean["recall@1"] == 0.5


def test_the_result_is_told_and_written(tmp_path):
    told, epochs = [], []
    result = backtest(
        "mf",
        graph_of(RATED),
        every=10,
        windows=2,
        training=TrainingConfig(epochs=2, device="cpu"),
        out=tmp_path / "b.json",
        report=lambda epoch, metrics: epochs.append(epoch.number),
        notify=told.append,
    )
    assert told == result.windows and epochs == [1, 2, 1, 2]
    written = json.loads((tmp_path / "b.json").read_text())
    assert written == json.loads(json.dumps(result.to_json()))
    assert (written["windows"][0]["from"], written["windows"][0]["to"]) == (
        "1970-01-01T00:01:20Z",
        "1970-01-01T00:01:30Z",
    )
    with pytest.raises(KgrecError, match="exists already"):
        backtest("mf", graph_of(RATED), every=10, windows=2, out=tmp_path / "b.json")


@pytest.mark.parametrize(
    ("rated", "arguments", "message"),
    [
        (RATED, {"every": 0}, "every, in seconds, is 0, but must be 1 or more"),
        (RATED, {"windows": 0}, "windows is 0, but must be 1 or more"),
        (RATED, {"valid": False, "refit": True}, "refit needs validation edges, .* leave out --refit or --no-valid"),
        (RATED, {"metrics": ["ndgc@10"]}, "no metric 'ndgc'; did you mean 'ndcg'"),
        (RATED, {"metrics": ["rmse"]}, "window 1 of 2, 1970-01-01T00:01:20Z to .*01:30Z: rmse can only measure"),
        (RATED, {"every": 200}, "no window can be measured .*no 'rated' edge before .* use fewer or shorter windows"),
        ([("ann", "a", 7), ("bob", "b", 7)], {}, "all 2 'rated' edges have the same time, 1970-01-01T00:00:07Z"),
    ],
)  # fmt: skip
def test_bad_input_says_what_is_wanted(rated, arguments, message):
    with pytest.raises(KgrecError, match=message):
        backtest("popularity", graph_of(rated), **TWICE | arguments)


def test_edges_without_times_are_refused():
    frame = pd.DataFrame({"source": ["ann", "bob"], "target": ["a", "b"]})
    graph = Graph.from_frames(edges={("user", "rated", "item"): frame})
    with pytest.raises(KgrecError, match="a backtest needs times, but 2 of 2 'rated' edges have none"):
        backtest("popularity", graph, **TWICE)
    with pytest.raises(UnknownName, match="no model 'populrity'"):
        backtest("populrity", graph, **TWICE)


def test_durations():
    assert [duration(text) for text in ("30m", "12h", "7d", "2w")] == [1_800, 43_200, 604_800, 1_209_600]
    for text in ("7", "0d", "-7d", "1.5d", "1y", "d", ""):
        with pytest.raises(KgrecError, match="must be a whole number and a unit"):
            duration(text)


def test_the_former_name_of_notify_still_works():
    seen = []
    with pytest.warns(FormerName, match="backtest's `tell` is now `notify`") as warned:
        backtest("popularity", graph_of(RATED), **TWICE, tell=seen.append)
    assert [window.number for window in seen] == [1, 2] and warned[0].filename == __file__
