"""Bias by hand: damped means of items, then of users, and the logit of a probability."""

import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Query

RATED = pd.DataFrame(
    {
        "source": ["ann", "ann", "bob", "cem"],
        "target": ["x", "y", "x", "z"],
        "weight": [5.0, 2.0, 4.0, 1.0],  # 3 in the mean
        "click": [1, 0, 1, 0],  # a half in the mean
    }
)
USERS = pd.DataFrame({"id": ["ann", "bob", "cem", "dan"]})
ITEMS = pd.DataFrame({"id": ["x", "y", "z", "new"]})
GRAPH = Graph.from_frames(
    nodes={"user": USERS, "item": ITEMS},
    edges={("user", "rated", "item"): RATED},
    features={"rated": {"click": "numeric"}},
)


def scores(**config: object) -> list[list[float]]:
    """Of all items for ann, bob, cem, dan, who has no edge, and somebody new."""
    query = Query(torch.tensor([0, 1, 2, 3, GRAPH.pad]), torch.empty(5, 0, dtype=torch.long))
    return models.build("bias", GRAPH, config).score(query, GRAPH.nodes("item")).tolist()


def test_without_damping_means_are_means() -> None:
    items = [4.5, 2, 1, 3]  # x, y, z, and the mean for the new one
    ann, bob, cem = (0.5 + 0) / 2, -0.5, 0
    expected = [[item + user for item in items] for user in (ann, bob, cem, 0, 0)]
    assert scores(damping=0) == [pytest.approx(row) for row in expected]


def test_damping_adds_edges_at_the_mean() -> None:
    x, y, z = (2 + 1) / (2 + 1), -1 / (1 + 1), -2 / (1 + 1)
    ann, bob, cem = (2 - x - 1 - y) / (2 + 1), (1 - x) / (1 + 1), (-2 - z) / (1 + 1)
    expected = [[3 + item + user for item in (x, y, z, 0)] for user in (ann, bob, cem, 0, 0)]
    assert scores(damping=1) == [pytest.approx(row) for row in expected]


def test_users_may_be_left_out() -> None:
    assert scores(damping=1, users=False) == [pytest.approx([3 + 1, 3 - 0.5, 3 - 1, 3])] * 5


def test_the_sigmoid_of_a_click_is_its_probability_kept_from_0_and_1() -> None:
    probability = torch.tensor(scores(task="ctr", damping=2, users=False)).sigmoid()
    x, y, z = (0.5 + 0.5) / (2 + 2), -0.5 / (1 + 2), -0.5 / (1 + 2)
    assert probability[0].tolist() == pytest.approx([0.5 + x, 0.5 + y, 0.5 + z, 0.5])
    probability = torch.tensor(scores(task="ctr", damping=0)).sigmoid()
    assert probability[1].tolist() == pytest.approx([0.999, 0.001, 0.001, 0.5], rel=1e-4)


def test_clicks_need_labels() -> None:
    graph = Graph.from_frames(edges={("user", "rated", "item"): RATED})
    with pytest.raises(KgrecError, match="the 'rated' edges have no labels of clicks; name their column with `click:`"):
        models.build("bias", graph, {"task": "ctr"})
