"""Why a list is as it is, for every model: the past items behind it, and by what that is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.run import Run
from kgrec.serving.evidence import without
from kgrec.serving.recommendation import by_user
from kgrec.testing.subject import planted_graph

ITEMS = ["x", "y", "z", "w"]


def random_run(name: str, **config: object) -> Run:
    """A run on the planted graph whose parameters are random numbers."""
    graph = planted_graph()
    torch.manual_seed(0)
    model = models.build(name, graph, config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        model.refresh()
    return Run(name, model, graph)


@pytest.fixture(scope="module")
def ease() -> Run:
    """EASE with weights from x, y, z (rows) to w (the last column): 3, 1 and -1; ann has x and y, bob x, y and z."""
    rows = [("ann", "x"), ("ann", "y"), ("bob", "x"), ("bob", "y"), ("bob", "z"), ("cem", "w")]
    rated = pd.DataFrame(rows, columns=["source", "target"])
    films = pd.DataFrame({"id": ITEMS, "label": ["Alien", "Brazil", "Casablanca", "Dune"]})
    graph = Graph.from_frames(nodes={"film": films}, edges={("user", "rated", "film"): rated})
    model = models.build("ease", graph).eval()
    model.weight.zero_()
    model.weight[:3, 3] = torch.tensor([3.0, 1.0, -1.0])
    return Run("ease", model, graph)


def test_without_an_item_the_score_falls_by_its_weight(ease: Run) -> None:
    """Ann's score of w is 3 + 1 = 4, of which 3 are due to x and 1 to y; bob's is 3, and z does not raise it."""
    table = ease.recommend(["ann", "bob"], k=1, why=True)
    assert table["item"] == ["w", "w"] and table["score"] == [4, 3]
    assert table.why is not None and table.why.columns == [
        "user", "item", "label", "attention", "evidence", "strength",
    ]  # fmt: skip
    rows = [(row["user"], row["label"], row["strength"]) for row in table.why]
    assert rows == [
        ("ann", "Alien", 3 / 4),
        ("ann", "Brazil", 1 / 4),
        ("bob", "Alien", 1),
        ("bob", "Brazil", pytest.approx(1 / 3)),
    ]
    assert set(table.why["evidence"]) == {"scores without it"} and table.why["attention"] == [None] * 4
    assert table["reason"][0] == "because of Alien, Brazil; without Alien the scores fall by 75 %"


def test_what_no_past_item_raises_says_so(ease: Run) -> None:
    table = ease.recommend(history=["z"], k=1, why=True)
    assert table["reason"] == ["because of no past item: none raises these scores"] and len(table.why or ()) == 0


@pytest.mark.parametrize("name", models.working())
def test_every_model_says_why(name: str) -> None:
    """What is named is the user's own, from the one that counts most, and the reason says by what that is known."""
    run = random_run(name)
    table = run.recommend(["u1", "u2"], k=3, why=True)
    graph = run.graph.only(run.graph.target)
    assert table.why is not None
    for user, one in zip(["u1", "u2"], by_user(table)):
        number = int(graph.vocabulary["user"].find([user])[0])
        past = set(graph.vocabulary["item"].ids(graph.edge_index[1][graph.edge_index[0] == number].tolist()))
        steps = [step for step in one.why or () if step.strength is not None]
        assert {step.item for step in steps} <= past and len({step.item for step in steps}) == len(steps)
        strengths = [step.strength for step in steps]
        assert strengths == sorted(strengths, reverse=True) and all(strength > 0 for strength in strengths)
        reads_nothing = name in ("bias", "link-frequency", "popularity")
        assert bool(steps) != reads_nothing
        assert one.reason is not None and (("because of no past item" in one.reason) == reads_nothing)
        assert reads_nothing or steps[0].label in one.reason
    lists = run.recommend(["u1", "u2"], k=3)
    assert (lists["item"], lists["score"]) == (table["item"], table["score"])


@pytest.mark.parametrize("name", ["ials", "itemknn", "sasrec", "svdpp"])
def test_the_fall_is_that_of_a_history_without_the_item(name: str) -> None:
    """Asked again as a new user without one of the items: the mean score of the same list is lower by what was said."""
    run = random_run(name)
    history = ["i3", "i13", "i8", "i24"]
    table = run.recommend(history=history, k=3, why=True)
    assert table.why is not None
    listed = dict(zip(table["item"], table["score"]))
    mean = sum(listed.values()) / 3
    falls = dict(zip(table.why["item"], table.why["strength"]))
    for item in history:
        rest = run.recommend(history=[one for one in history if one != item], k=40, include_seen=True)
        scores = dict(zip(rest["item"], rest["score"]))
        fall = (mean - sum(scores[one] for one in listed) / 3) / abs(mean)
        assert falls.get(item, 0) == pytest.approx(max(0, fall), abs=1e-5)


@pytest.mark.parametrize("name", models.working())
def test_new_users_are_told_why_too(name: str) -> None:
    run = random_run(name)
    if run.model.task == "link":
        return
    table = run.recommend(history={"new": ["i3", "i13"], "other": ["i4"]}, k=3, why=True)
    assert table.why is not None and table["reason"][0] is not None
    assert {row["item"] for row in table.why if row["user"] == "new"} <= {"i3", "i13"}
    assert {row["item"] for row in table.why if row["user"] == "other"} <= {"i4"}


def test_a_fitted_fall_is_that_of_a_fit_without_the_item() -> None:
    """Least squares over the rows of what u1 had, with a pull of all items to 0, solved anew for each item."""
    run = random_run("mf", dim=6)
    table = run.recommend("u1", k=4, why=True)
    assert table.why is not None and set(table.why["evidence"]) == {"scores fitted without it"}
    graph, vector = run.graph, run.vectors("item")
    known = graph.only(graph.target)
    past = graph.vocabulary["item"].ids(known.edge_index[1][known.edge_index[0] == 1])
    matrix, listed = vector.matrix.astype(float), np.mean([vector[item] for item in table["item"]], 0)
    rows = np.array([vector[item] for item in past], float)
    whole = rows.T @ rows + 0.15 * matrix.T @ matrix
    ridge = 0.01 * np.diag(whole).mean() * np.eye(6)
    score = listed @ np.linalg.solve(whole + ridge, rows.sum(0))
    found = dict(zip(table.why["item"], table.why["strength"]))
    for item, row in zip(past, rows):
        without_it = np.linalg.solve(whole + ridge - np.outer(row, row), rows.sum(0) - row)
        assert found.get(item, 0) == pytest.approx(max(0, (score - listed @ without_it) / abs(score)), abs=1e-4)


def test_a_step_that_is_out_of_reach_comes_in_where_one_is_taken_out() -> None:
    """Histories are shifted, as if the item had never been there; all its steps go."""
    history = torch.tensor([[9, 1, 2, 1, 3], [1, 2, 3, 2, 4]])
    time = torch.tensor([[0, 10, 20, 30, 40], [1, 2, 3, 4, 5]])
    found = without(Query(torch.tensor([0, 0]), history, time), torch.tensor([1, 2]), pad=9)
    assert found.history.tolist() == [[9, 9, 9, 2, 3], [9, 9, 1, 3, 4]]
    assert found.time is not None
    assert found.time[0, 3:].tolist() == [20, 40] and found.time[1, 2:].tolist() == [1, 3, 5]


def test_who_is_served_by_popularity_has_nothing_behind_it() -> None:
    graph = planted_graph()
    graph = graph.where(graph.head != graph.flat("user", ["u1"])[0])
    run = Run("mf", models.build("mf", graph).eval(), graph)
    table = run.recommend(["u1", "u2"], k=2, why=True)
    assert table["reason"][0] == "no history, by popularity" and "; fitted without" in table["reason"][2]
    assert table.why is not None and set(table.why["user"]) == {"u2"}
