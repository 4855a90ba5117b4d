"""New users are answered by every model: from history, along the graph, folded in, by profile, or by popularity."""

import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import kgrec
from kgrec import models
from kgrec.errors import BadData, KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.nn.fold_in import FoldingSteps, NewUsersEdges
from kgrec.run import Run
from kgrec.testing import planted_graph

RATED = ("user", "rated", "item")
HISTORIES = {"n1": ["i1", "i6", "i11"], "n2": ["i4"], "n3": [f"i{n}" for n in range(0, 40, 2)]}
BY_HISTORY = {None, "by history, folded in", "by history, along the graph"}
NOT_READ = "the model reads no history, by popularity"
WIDE: dict[str, dict[str, object]] = {"transe": {}, "distmult": {}, "irgan": {"hard": 0, "init_std": 0.5, "l2": 0}}
SMALL = {"dim": 8, "length": 10, "pretrain_epochs": 1}


def small(name: str, **more: object) -> dict[str, object]:
    import dataclasses

    fields = {field.name for field in dataclasses.fields(models.find(name).Config)}
    return {key: value for key, value in SMALL.items() if key in fields} | more


def run_of(name: str, graph: Graph, **config: object) -> Run:
    torch.manual_seed(0)
    model = models.build(name, graph, config).eval()
    with torch.no_grad():
        model.refresh()
    return Run(name, model, graph)


@pytest.mark.parametrize("name", models.working())
def test_every_model_answers_new_users(name: str) -> None:
    run = run_of(name, planted_graph(), **small(name))
    answers = run.recommend(history=HISTORIES, k=5).to_pandas()
    for user, history in HISTORIES.items():
        own = answers[answers.user == user]
        assert len(own) == 5
        assert not set(own.item) & set(history)
    reasons = {None if pd.isna(reason) else reason for reason in answers.reason}
    assert reasons <= ({NOT_READ} if name in ("bias", "link-frequency") else BY_HISTORY)
    assert answers.equals(run.recommend(history=HISTORIES, k=5).to_pandas())


@pytest.mark.parametrize("name", models.working())
def test_an_answer_does_not_depend_on_who_else_is_new(name: str) -> None:
    run = run_of(name, planted_graph(), **small(name))
    together = run.recommend(history=HISTORIES, k=5).to_pandas()
    for user, history in HISTORIES.items():
        alone = run.recommend(history={user: history}, k=5).to_pandas()
        own = together[together.user == user]
        assert alone.item.tolist() == own.item.tolist()
        assert np.allclose(alone.score, own.score, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mf", "neumf", "ncf", "cke", "lightgcn", "kgat", "irgan", "transe", "distmult"])
@pytest.mark.parametrize("loss", ["bpr", "sampled_softmax"])
def test_folding_in_lowers_the_loss_of_the_history(name: str, loss: str) -> None:
    """Items of a history are scored over others by more than they are for the mean user, from which it starts."""
    run = run_of(name, planted_graph(), **small(name, loss=loss, dim=16), **WIDE.get(name, {"init_std": 0.5, "l2": 0}))
    kind = type(getattr(run.model, "generator", run.model))
    history, margin = HISTORIES["n3"], []
    before = kind.fold_in
    try:
        for steps in (0, 30):
            kind.fold_in = FoldingSteps(steps=steps)
            vars(run).pop("folding", None)
            scores = dict(zip(*(run.recommend(history=history, k=40, include_seen=True)[c] for c in ("item", "score"))))
            own = np.mean([scores[item] for item in history])
            margin.append(own - np.mean([score for item, score in scores.items() if item not in history]))
    finally:
        kind.fold_in = before
    assert margin[1] > margin[0] + 0.005


def test_a_vector_that_is_folded_in_is_that_of_the_closed_form() -> None:
    """Ratings 3 of x and 1 of y, l2 = 1, v_x = (1, 0), v_y = (0, 2): u = (v v' + 1)^-1 v r = (3 / 2, 2 / 5)."""
    rated = pd.DataFrame({"source": ["ann", "ann"], "target": ["x", "y"], "weight": [3.0, 1.0]})
    run = run_of("mf", Graph.from_frames(edges={RATED: rated}), dim=2, task="rating", l2=1.0, biases=False)
    run.model.item.weight.data[:2] = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    run.model.mean.fill_(0)
    run.model.fold_in = FoldingSteps(steps=400, lr=0.1)
    frame = rated.rename(columns={"source": "user", "target": "item"}).assign(user="zoe")
    table = run.recommend(history=frame, k=2, include_seen=True)
    assert table["item"] == ["x", "y"]
    assert np.allclose(table["score"], [1.5, 0.8], atol=1e-3)


def test_what_a_user_had_counts_once() -> None:
    run = run_of("mf", planted_graph())
    once, twice = (run.recommend(history=items, k=3)["score"] for items in (["i1", "i2"], ["i1", "i2", "i1"]))
    assert np.allclose(once, twice)


def test_lightgcn_goes_along_the_edges_of_the_new_user() -> None:
    """x has two users and y one, so with one layer e = (own + (v_x / sqrt(2 * 3) + v_y / sqrt(2 * 2))) / 2."""
    rated = pd.DataFrame({"source": ["ann", "bob", "bob"], "target": ["x", "x", "y"]})
    run = run_of("lightgcn", Graph.from_frames(edges={RATED: rated}), dim=2, layers=1)
    run.model.fold_in = FoldingSteps(steps=0)
    own, item = run.model.user.table().mean(0), run.model.item.table()
    wanted = (own + item[0] / math.sqrt(6) + item[1] / 2) / 2
    (found,) = run.folding.vectors(NewUsersEdges(torch.tensor([0, 2]), torch.tensor([2, 3]))).values()
    assert torch.allclose(found[0], wanted)


def test_kgat_makes_a_known_user_as_it_did() -> None:
    """With the own vector and the edges of a user that the graph has, the layers give what they gave."""
    graph = planted_graph()
    run = run_of("kgat", graph)
    encoder, layers, relation = run.folding.layers
    known = graph.only(RATED)
    of_user = known.edge_index[0] == 7
    edges = NewUsersEdges(torch.tensor([0, int(of_user.sum())]), known.tail[of_user])
    with torch.no_grad():
        own = run.model.encoder.node(torch.tensor([7]))
        found = run.model.new_vectors(own, edges, (encoder, layers, relation))
    assert torch.allclose(found[0], run.model.user_vector[7], atol=1e-6)


def test_a_run_from_its_folder_answers_alike(tmp_path) -> None:
    for name in ("lightgcn", "kgat", "mf"):
        run = kgrec.train(
            name, planted_graph(), training={"epochs": 1}, split="last_n:1", config={"dim": 8}, out=tmp_path / name
        )
        loaded = Run.load(tmp_path / name)
        assert loaded.recommend(history=HISTORIES, k=4)["item"] == run.recommend(history=HISTORIES, k=4)["item"]


def test_a_lean_run_says_what_it_lacks(tmp_path) -> None:
    job = {"training": {"epochs": 1}, "split": "last_n:1", "config": {"dim": 8}, "lean": True}
    kgrec.train("kgat", planted_graph(), out=tmp_path / "kgat", **job)
    with pytest.raises(KgrecError, match="trained with --lean"):
        Run.load(tmp_path / "kgat").recommend(history=HISTORIES)
    kgrec.train("lightgcn", planted_graph(), out=tmp_path / "lightgcn", **job)
    assert len(Run.load(tmp_path / "lightgcn").recommend(history=HISTORIES, k=2)) == 6


def test_users_that_are_items_are_folded_in_too() -> None:
    edges = pd.DataFrame({"source": ["a", "b", "c", "d"], "target": ["b", "c", "d", "a"]})
    graph = Graph.from_frames(edges={("person", "follows", "person"): edges})
    for name in ("mf", "lightgcn", "transe"):
        table = run_of(name, graph, dim=4).recommend(history={"zoe": ["a"], "b": ["a"]}, k=3)
        found = table.to_pandas().groupby("user")["item"].agg(set)
        assert found["zoe"] == {"b", "c", "d"}
        assert found["b"] == {"c", "d"}  # who is b, whoever is new


# ---------------------------------------------------------------------- profiles

USERS = pd.DataFrame(
    {
        "id": ["ann", "bob", "cem", "dee"],
        "age": [20.0, 30.0, 40.0, np.nan],
        "city": ["Oslo", "Rome", "Oslo", "Rome"],
        "likes": [["tea"], ["tea", "jazz"], [], ["jazz"]],
    }
)
RATINGS = [("ann", "x"), ("ann", "y"), ("bob", "x"), ("bob", "z"), ("cem", "z")]


@pytest.fixture(scope="module")
def people() -> Graph:
    rated = pd.DataFrame(RATINGS, columns=["source", "target"])
    return Graph.from_frames(edges={RATED: rated}, nodes={"user": USERS, "item": pd.DataFrame({"id": list("xyzw")})})


@pytest.fixture(scope="module")
def featured(people: Graph) -> Run:
    return run_of("mf", people, features="all", dim=4)


def test_a_profile_says_of_a_new_user_what_it_says_of_a_known_one(featured: Run) -> None:
    """dee has no history, and so is known by her columns alone."""
    known = featured.recommend("dee", k=4)
    new = featured.recommend(profile={"city": "Rome", "likes": ["jazz"]}, k=4)
    assert new["item"] == known["item"]
    assert np.allclose(new["score"], known["score"])
    assert new["user"][0] == "new user"
    assert set(new["reason"]) == set(known["reason"]) == {"no history, by profile"}


def test_profiles_come_in_many_forms(featured: Run, tmp_path) -> None:
    wanted = featured.recommend(profile={"zoe": {"age": 35, "city": "Oslo"}, "yan": {"city": "Rome"}}, k=2)
    frame = pd.DataFrame({"user": ["zoe", "yan"], "age": [35, None], "city": ["Oslo", "Rome"]})
    frame.to_csv(tmp_path / "p.csv", index=False)
    frame.to_json(tmp_path / "p.jsonl", orient="records", lines=True)
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "p.parquet")
    forms = [frame, pa.Table.from_pandas(frame), *(tmp_path / name for name in ("p.csv", "p.jsonl", "p.parquet"))]
    for form in forms:
        found = featured.recommend(profile=form, k=2)
        assert found["user"] == ["zoe", "zoe", "yan", "yan"]
        assert found["item"] == wanted["item"]
        assert np.allclose(found["score"], wanted["score"])


def test_one_file_may_be_history_and_profile(featured: Run, tmp_path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("user,item,city,age\nzoe,x,Oslo,35\nzoe,w,Oslo,\nyan,,Rome,20\nmax,z,,\nnil,,,\n")
    table = featured.recommend(history=path, profile=path, k=2)
    reasons = dict(zip(table["user"], table["reason"]))
    assert reasons == {
        "zoe": "by history, folded in",
        "max": "by history, folded in",
        "yan": "no history, by profile",
        "nil": "no history, by popularity",
    }
    both = featured.recommend(history={"zoe": ["x", "w"]}, profile={"zoe": {"city": "Oslo", "age": 35}}, k=2)
    of_zoe = [score for user, score in zip(table["user"], table["score"]) if user == "zoe"]
    assert np.allclose(both["score"], of_zoe)
    without = featured.recommend(history={"zoe": ["x", "w"]}, k=2)
    assert not np.allclose(without["score"], of_zoe)


def test_where_features_are_weighed_the_profile_counts_too(people: Graph) -> None:
    run = run_of("mf", people, features="all", dim=4, combine="attention")
    known = run.recommend("dee", k=4)
    new = run.recommend(profile={"city": "Rome", "likes": ["jazz"]}, k=4)
    assert np.allclose(new["score"], known["score"])
    both = run.recommend(history=["x"], profile={"city": "Rome"}, k=3)
    assert set(both["reason"]) == {"by history, folded in"}


def test_a_model_without_features_of_users_says_that_a_profile_says_nothing(people: Graph) -> None:
    for name in ("mf", "ease"):
        table = run_of(name, people).recommend(profile={"city": "Rome"}, k=2)
        assert table["reason"] == ["no history, by popularity"] * 2
        assert table["item"] == ["z", "x"] or table["item"] == ["x", "z"]
        (note,) = table.notes
        assert note == f"{name} reads no column of users, and leaves out 'city'; train it with features of users"


@pytest.mark.parametrize(
    ("profile", "error", "message"),
    [
        ({"town": "Rome"}, UnknownName, "no column 'town' of user"),
        ({"citty": "Rome"}, UnknownName, "no column 'citty' of user; did you mean 'city'"),
        ({"city": "Roma"}, UnknownName, r"no category 'Roma' of city in training; did you mean 'Rome'\?"),
        ({"city": ["Rome"]}, BadData, "is no single category"),
        ({"age": "old"}, BadData, "age 'old' is no number"),
        ({"age": math.inf}, BadData, "age inf is no finite number"),
        ({"likes": ["tee"]}, UnknownName, "no category 'tee' of likes in training; did you mean 'tea'"),
        ("p.csv", KgrecError, "profile is a str; a table with the column `user`"),
        ({}, KgrecError, "profile is a dict; a table with the column `user`"),
        (pd.DataFrame({"city": ["Rome", "Oslo"]}), UnknownName, "no single column 'user' in profile"),
        (pd.DataFrame({"user": [], "city": []}), KgrecError, "profile has no row"),
        (
            pd.DataFrame({"user": ["a", "a"], "city": ["Rome", "Oslo"]}),
            BadData,
            "city of 'a' is 'Oslo', and 'Rome' in another row; a user has one",
        ),
    ],
)
def test_what_is_wrong_with_a_profile_is_said(featured: Run, profile, error, message) -> None:
    with pytest.raises(error, match=message):
        featured.recommend(profile=profile, k=1)


def test_categories_that_training_lacks_are_left_out_where_asked(featured: Run) -> None:
    table = featured.recommend(profile={"city": "Roma", "likes": ["tea", "go"]}, k=2, skip_unknown=True)
    assert table.notes == (
        "left out: city 'Roma', which training has not seen",
        "left out: likes 'go', which training has not seen",
    )
    assert np.allclose(table["score"], featured.recommend(profile={"likes": ["tea"]}, k=2)["score"])
    table = featured.recommend(profile={"town": "Rome", "likes": ["tea"]}, k=2, skip_unknown=True)
    assert table.notes == ("left out: columns 'town', which the graph does not have",)


def test_a_users_columns_are_called_as_in_the_recipes_files(tmp_path) -> None:
    (tmp_path / "users.csv").write_text("uid;years;town\nann;20;Oslo\nbob;30;?\ncem;40;Rome\n")
    (tmp_path / "events.csv").write_text("user,item\nann,x\nann,y\nbob,x\nbob,z\ncem,z\n")
    recipe = {
        "name": "small",
        "nodes": {
            "user": {
                "file": "users.csv",
                "separator": ";",
                "id": "uid",
                "missing": ["?"],
                "features": {
                    "age": {"column": "years", "kind": "numeric"},
                    "city": {"column": "town", "kind": "categorical"},
                },
            }
        },
        "interactions": {"file": "events.csv", "relation": "rated"},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    graph, _ = kgrec.build(tmp_path / "recipe.yaml", tmp_path)
    config = {"features": "all", "dim": 4}
    kgrec.train("mf", graph, training={"epochs": 1}, split="ratio:0.2", config=config, out=tmp_path / "run")
    run = Run.load(tmp_path / "run")
    own = run.recommend(profile={"age": 25, "city": "Rome"}, k=2)
    (tmp_path / "new.csv").write_text("uid,years,town\nzoe,25,Rome\nyan,25,?\n")
    theirs = run.recommend(profile=tmp_path / "new.csv", k=2)
    assert theirs["user"] == ["zoe", "zoe", "yan", "yan"]
    assert np.allclose(theirs["score"][:2], own["score"])


def test_the_command_takes_both(featured: Run, people: Graph, tmp_path, capsys) -> None:
    from typer.testing import CliRunner

    from kgrec.cli.entry import app

    config = {"features": "all", "dim": 4}
    kgrec.train("mf", people, training={"epochs": 1}, split="ratio:0.2", config=config, out=tmp_path / "run")
    (tmp_path / "u.jsonl").write_text('{"user": "zoe", "item": "x", "city": "Rome"}\n{"user": "yan", "age": 3}\n')
    both = ["--history", str(tmp_path / "u.jsonl"), "--profile", str(tmp_path / "u.jsonl")]
    done = CliRunner().invoke(app, ["recommend", str(tmp_path / "run"), *both, "--k", "1", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(one["user"], one["reason"]) for one in found] == [
        ("zoe", "by history, folded in"),
        ("yan", "no history, by profile"),
    ]
