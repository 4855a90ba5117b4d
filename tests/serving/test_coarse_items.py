"""Items that are ruled out by rounded vectors: the lists are those of all scores."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import ListOptions, Service, models
from kgrec.graph import Graph
from kgrec.linear_scores import LinearScores
from kgrec.run import Run
from kgrec.serving import coarse_items, few_users
from kgrec.serving.coarse_items import CoarseItems
from kgrec.serving.exact_scores import product_of
from kgrec.serving.wanted import Wanted

ITEMS, USERS = 6_000, 40


@pytest.fixture(scope="module")
def catalog() -> Graph:
    """6,000 items and 40 users, who are nodes of the same type in `same`."""
    rng = np.random.default_rng(0)
    rated = pd.DataFrame(
        {"source": rng.integers(0, USERS, 900).astype(str), "target": rng.integers(0, ITEMS, 900).astype(str)}
    )
    nodes = {"user": pd.DataFrame({"id": range(USERS)}), "item": pd.DataFrame({"id": range(ITEMS)})}
    return Graph.from_frames(
        nodes={name: frame.astype(str) for name, frame in nodes.items()},
        edges={("user", "rated", "item"): rated.drop_duplicates()},
    )


def people() -> Graph:
    """A graph whose users are the items."""
    rng = np.random.default_rng(1)
    follows = pd.DataFrame(rng.integers(0, ITEMS, (900, 2)).astype(str), columns=["source", "target"])
    nodes = {"person": pd.DataFrame({"id": range(ITEMS)}).astype(str)}
    return Graph.from_frames(nodes=nodes, edges={("person", "follows", "person"): follows.drop_duplicates()})


def lists(run: Run, users: list[str], k: int) -> list[tuple[Any, ...]]:
    """What a service gives to each user alone: items and scores."""
    options = ListOptions(k=k)
    answers = [Service(run).recommend([Wanted(user, options=options)])[0] for user in users]
    return [(answer.items, answer.scores) for answer in answers]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("mf", {"dim": 16}),
        ("mf", {"dim": 16, "biases": True}),
        ("mf", {"dim": 16, "cosine": True, "loss": "softmax"}),
        ("people", {"dim": 16}),
    ],
    ids=["products", "biases", "cosines", "users are items"],
)
def test_the_lists_are_the_same(
    name: str, config: dict[str, Any], catalog: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = people() if name == "people" else catalog
    torch.manual_seed(0)
    model = models.build("mf", graph, {**config, "init_std": 1.0})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    users = graph.vocabulary[graph.target[0]].ids(range(USERS))
    wanted = lists(Run("mf", model, graph), users, 10)
    asked = list[int]()
    monkeypatch.setattr(coarse_items, "LEAST_ITEMS", 1)
    real = few_users.FewUsers._best_of_candidates

    def counted(*arguments: Any) -> Any:
        found = real(*arguments)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(few_users.FewUsers, "_best_of_candidates", counted)
    assert lists(Run("mf", model, graph), users, 10) == wanted
    assert sum(asked) > USERS // 2


def test_the_best_are_among_the_candidates_and_each_is_between_its_bounds() -> None:
    rng = np.random.default_rng(2)
    user, item = rng.normal(size=(8, 24)).astype(np.float32), rng.normal(size=(ITEMS, 24)).astype(np.float32)
    item[5] = 0
    item[7:9] *= 1e-30  # numbers that are nearly 0, and one that is a million times as large as others
    item[9, 3] = 1e6
    bias = rng.normal(size=ITEMS).astype(np.float32)
    coarse = CoarseItems(LinearScores("dot", {"user": user, "item": item, "item_bias": bias}))
    for number, vector in enumerate(user):
        found = coarse.candidates(number, 20)
        assert found is not None
        place, lower, upper = found
        score = item.astype(np.float64) @ vector.astype(np.float64) + bias
        assert set(np.argsort(-score)[:64]) <= set(place.tolist())
        assert len(place) < ITEMS // 4
        assert ((lower <= score[place]) & (score[place] <= upper)).all()


def test_a_list_that_is_too_long_for_this_is_made_of_all_scores(
    catalog: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coarse_items, "LEAST_ITEMS", 1)
    run = Run("mf", models.build("mf", catalog, {"dim": 8}), catalog)
    coarse = CoarseItems.of(run)
    assert coarse is not None and coarse.candidates(0, ITEMS // 64 + 1) is None
    assert len(lists(run, ["0"], 500)[0][0]) == 500
    assert CoarseItems.of(Run("popularity", models.build("popularity", catalog, {}), catalog)) is None


def test_a_model_that_scores_otherwise_than_it_says_is_asked_for_all_scores(
    catalog: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.build("mf", catalog, {"dim": 8, "init_std": 1.0})
    run = Run("mf", model, catalog)
    wanted = lists(run, ["3"], 5)
    monkeypatch.setattr(coarse_items, "LEAST_ITEMS", 1)
    other = Run("mf", model, catalog)
    product = product_of(run)
    assert product is not None
    scores = LinearScores("dot", {name: array[::-1] for name, array in product.arrays.items()})
    other.made_once("coarse items", None, lambda: CoarseItems(scores))
    assert lists(other, ["3"], 5) == wanted
