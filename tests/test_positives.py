"""Clicks of label 0 by hand: a ranking neither learns from them nor is measured on them, unless all edges are asked
for."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import kgrec
from kgrec import models
from kgrec.cli.entry import app
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.graph.description import info
from kgrec.graph.schema import ALL_EDGES
from kgrec.run import Run, TrainingJob, measure, train
from kgrec.splits.positives import positives
from kgrec.studies.backtesting import backtest
from kgrec.studies.robustness_study import measure_robustness
from kgrec.training.config import TrainingConfig
from kgrec.training.measuring import divided_for
from kgrec.training.processes import make_fabric
from kgrec.training.session import Session

#: u clicked a, c and d, and was shown b last; v clicked b and d, and was shown a; w was shown b
ROWS = [
    *(("u", "a", 1, 10), ("u", "c", 1, 20), ("u", "d", 1, 30), ("u", "b", 0, 40)),
    *(("v", "a", 0, 10), ("v", "b", 1, 20), ("v", "d", 1, 30), ("w", "b", 0, 40)),
]
FEW = TrainingConfig(epochs=1, device="cpu")


def graph_of(rows=ROWS, *, facts: bool = False) -> Graph:
    edges = {("user", "shown", "item"): pd.DataFrame(rows, columns=["source", "target", "click", "time"])}
    if facts:
        made = pd.DataFrame([("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")], columns=["source", "target"])
        edges["item", "made_by", "maker"] = made
    features = {"shown": {"click": "numeric"}}
    return Graph.from_frames(edges=edges, features=features, target=("user", "shown", "item"))


def pairs(graph: Graph) -> list[str]:
    """The target edges, user and item."""
    user, item = graph.only(graph.target).edge_index.tolist()
    return [f"{'uvw'[one]}{'acdb'[other]}" for one, other in zip(user, item)]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return graph_of()


def test_clicks_alone_are_divided(graph):
    """Each user's last click is held out, not the last of what was shown."""
    parts = divided_for(graph, "ranking", "last_n:1", None)
    assert (pairs(parts.train), pairs(parts.test), parts.left_out) == (["ua", "uc", "vb"], ["ud", "vd"], 3)
    assert parts.protocol == "last_n:1; clicks alone; full ranking"
    every = divided_for(graph, "ranking", "last_n:1", None, all_edges=True)
    assert (pairs(every.train), pairs(every.test)) == (["ua", "uc", "ud", "va", "vb", "wb"], ["ub", "vd"])
    assert (every.left_out, every.protocol) == (0, "last_n:1; full ranking")
    for task in ("ctr", "rating"):
        assert pairs(divided_for(graph, task, "last_n:1", None).test) == ["ub", "vd"]


def test_a_stored_split_and_candidates_stay_with_their_edges(graph):
    part = torch.tensor([0, 1, 2, 2, 0, 0, 2, 0], dtype=torch.int8)
    parts = divided_for(replace(graph, splits={"given": part}), "ranking", "given", None)
    assert (pairs(parts.train), pairs(parts.valid), pairs(parts.test)) == (["ua", "vb"], ["uc"], ["ud", "vd"])
    lists = kgrec.graph.Candidates(torch.tensor([0, 1]), torch.tensor([0, 2, 4]), torch.tensor([2, 3, 0, 2]))
    known = divided_for(replace(graph, candidates={"few": lists}), "ranking", "last_n:1", "few")
    assert known.candidates is lists and known.protocol == "last_n:1; clicks alone; candidates few"


def test_a_graph_without_labels_or_with_clicks_alone_is_itself(graph):
    bare = replace(graph, edge_features={})
    assert positives(bare, "ranking") == (bare, 0)
    clicked = graph_of([row for row in ROWS if row[2]])
    assert positives(clicked, "ranking") == (clicked, 0)
    empty = Graph.empty(graph.schema)
    assert positives(empty, "ranking") == (empty, 0)


def test_labels_that_leave_nothing_to_learn_from_are_said():
    with pytest.raises(
        KgrecError, match=r"none of the 2 'shown' edges is a click.*use --all-edges to train on all edges"
    ):
        train("popularity", graph_of([("u", "a", 0, 1), ("u", "b", 0, 2)]), split="last_n:1")
    odd = graph_of([("u", "a", 1, 1), ("u", "b", 7, 2)])
    with pytest.raises(
        KgrecError,
        match=r"other than 0 and 1 in the column of clicks, such as 7.*; or use --all-edges to train on all",
    ):
        train("popularity", odd, split="last_n:1")
    assert train("popularity", odd, split="last_n:1", all_edges=True).metrics["num_users"] == 1


def test_a_ranking_learns_from_clicks_and_says_how_many_edges_it_left_out(graph, tmp_path):
    """In train a, b and c have a click each and d none. u, who has a and c, gets b and then the held-out d: 1/2; v, who
    has b, gets a and c and then d: 1/3."""
    options = {"split": "last_n:1", "metrics": ["mrr@4", "recall@2"], "training": {"metric": "recall@2"}}
    run = train("popularity", graph, **options, out=tmp_path / "run")
    assert run.model.count.tolist() == [1, 1, 0, 1]
    assert run.metrics["edges_left_out"] == 3 and run.metrics["num_users"] == 2
    assert run.metrics["test"] == pytest.approx({"mrr@4": (1 / 2 + 1 / 3) / 2, "recall@2": 1 / 2})
    assert run.metrics["protocol"] == "last_n:1; clicks alone; full ranking"
    loaded = Run.load(tmp_path / "run")
    assert loaded.clicks_alone and loaded.graph.num_edges == 3
    assert loaded.recommend("u", k=2)["item"] == ["b", "d"]  # b was shown and not clicked: it is not seen
    again = measure(loaded, graph)
    assert (again["protocol"], again["edges_left_out"]) == (run.metrics["protocol"], 3)
    assert measure(loaded, graph, metrics=options["metrics"])["test"] == pytest.approx(run.metrics["test"])
    every = train("popularity", graph, **options, all_edges=True, out=tmp_path / "every")
    assert every.model.count.tolist() == [2, 1, 1, 2]
    assert "edges_left_out" not in every.metrics and every.metrics["protocol"] == "last_n:1; full ranking"
    assert not Run.load(tmp_path / "every").clicks_alone
    assert measure(Run.load(tmp_path / "every"), graph)["protocol"] == "last_n:1; full ranking"


def test_a_graph_may_say_that_all_edges_are_positives(graph):
    schema = replace(graph.schema, standard={"positives": ALL_EDGES})
    assert positives(replace(graph, schema=schema), "ranking")[1] == 0
    run = train("popularity", replace(graph, schema=schema), split="last_n:1")
    assert run.model.count.tolist() == [2, 1, 1, 2] and "edges_left_out" not in run.metrics


def test_ratings_and_clicks_are_of_all_edges(graph):
    for task, metric in (("ctr", "logloss"), ("rating", "mae")):
        options = {"metrics": [metric], "training": {"metric": metric}}
        run = train("bias", graph, split="last_n:1", config={"task": task}, **options)
        assert run.graph.num_edges == 6 and "edges_left_out" not in run.metrics
        assert run.metrics["protocol"] == "last_n:1; full ranking"


def test_link_prediction_counts_clicks_alone_among_its_relations():
    graph = graph_of(facts=True)
    run = train("link-frequency", graph, split="ratio:0.4,seed=0")
    items = graph.nodes("item")
    assert run.model.catalog_scores(items[:1], run.model.target_number, items).tolist() == [[1, 1, 2, 1]]
    assert run.metrics["edges_left_out"] == 3
    assert run.metrics["protocol"] == "ratio:0.4,seed=0 of facts, clicks alone; filtered ranks"
    alone = train("link-frequency", graph, split="ratio:0.4,seed=0", facts_only=True)
    assert "edges_left_out" not in alone.metrics


def test_a_start_that_may_have_seen_what_is_held_out_is_refused(graph, tmp_path):
    options = {"split": "last_n:1", "config": {"dim": 4}, "training": FEW}
    train("mf", graph, **options, all_edges=True, out=tmp_path / "every")
    with pytest.raises(KgrecError, match=r"with split last_n:1, but this training uses last_n:1 of clicks alone"):
        train("mf", graph, **options, init=tmp_path / "every")
    train("mf", graph, **options, out=tmp_path / "clicks")
    assert train("mf", graph, **options, init=tmp_path / "clicks").metrics["init"]["model"] == "mf"


def test_a_checkpoint_of_all_edges_is_not_that_of_clicks_alone(graph):
    job = TrainingJob("mf", split="last_n:1", training=FEW)
    one, other = (
        Session(make_fabric(FEW), replace(job, all_edges=every), graph, None).learned_from for every in (True, False)
    )
    assert one == graph.content_hash() and other == f"{one}, clicks alone"


def test_windows_of_a_backtest_count_clicks_alone(graph):
    """The last click is at 30. Its window of 10 seconds has u's d and v's d, and before it are a, c and b."""
    result = backtest("popularity", graph, every=10, windows=1, valid=False, metrics=["mrr@4"])
    (window,) = result.windows
    assert (window.num_train, window.num_test) == (1, 4)  # from 20 on, the last second included
    assert result.protocol == (
        "1 windows of 10 s; clicks alone; full ranking; users without history by popularity, no validation"
    )
    assert result.edges_left_out == result.to_json()["edges_left_out"] == 3
    every = backtest("popularity", graph, every=10, windows=1, valid=False, metrics=["mrr@4"], all_edges=True)
    assert every.protocol == "1 windows of 10 s; full ranking; users without history by popularity, no validation"
    assert every.edges_left_out == 0
    assert (every.windows[0].num_train, every.windows[0].num_test) == (4, 4)


def test_robustness_is_of_clicks_alone(graph):
    options = {"noise": [0.34], "kinds": ["drop"], "seeds": 1, "split": "last_n:1", "metrics": ["mrr@4"]}
    found = measure_robustness("popularity", graph, **options)
    assert found.protocol == "last_n:1; clicks alone; full ranking"
    assert found.clean["mrr@4"].mean == pytest.approx(5 / 12)
    assert found.edges_left_out == found.to_json()["edges_left_out"] == 3
    assert measure_robustness("popularity", graph, **options, all_edges=True).protocol == "last_n:1; full ranking"


def test_models_of_all_kinds_see_clicks_alone(graph):
    for name in ("ease", "itemknn", "ials"):
        run = train(name, graph, split="last_n:1")
        assert pairs(run.graph) == ["ua", "uc", "vb"] and run.metrics["edges_left_out"] == 3
        built = models.build(name, positives(graph, "ranking")[0])
        assert all(torch.isfinite(tensor).all() for tensor in built.state_dict().values())


def test_the_command_line_says_it(graph, tmp_path):
    folder = tmp_path / "shown.graph"
    graph.save(folder)
    words = ["train", "popularity", str(folder), "--split", "last_n:1"]
    shown = CliRunner().invoke(app, words).stdout
    assert "left out: 3 target edges that are no clicks; --all-edges keeps them" in shown
    assert "clicks alone" in shown
    noise = ["--noise", "0.34", "--kinds", "drop", "--seeds", "1", "--split", "last_n:1"]
    done = CliRunner().invoke(app, ["robustness", "popularity", str(folder), *noise])
    assert "left out: 3 target edges that are no clicks" in done.stdout
    every = json.loads(CliRunner().invoke(app, [*words, "--all-edges", "--json"]).stdout)
    assert every["protocol"] == "last_n:1; full ranking"
    assert "5 of 8 edges; rankings learn from clicks only" in CliRunner().invoke(app, ["info", str(folder)]).stdout
    assert info(graph)["clicks"] == {"clicks": 5, "others": 3}
    assert info(replace(graph, edge_features={}))["clicks"] is None
