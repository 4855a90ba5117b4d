"""SVD++ on paper: the score, the edge that is left out of its own prediction, and new users."""

import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import Query, Recommender
from kgrec.samplers import Nodes
from kgrec.samplers.histories import Histories

#: ann rated x 1, y 4 and z 4; bob rated x 3. The mean is 3.
RATED = [("ann", "x", 1.0), ("ann", "y", 4.0), ("ann", "z", 4.0), ("bob", "x", 3.0)]


@pytest.fixture
def graph() -> Graph:
    rated = pd.DataFrame(RATED, columns=["source", "target", "weight"]).assign(time=range(4), click=[0, 1, 1, 0])
    edge = ("user", "rated", "item")
    return Graph.from_frames(edges={edge: rated}, target=edge, features={"rated": {"click": "numeric"}})


def model_of(graph: Graph, **settings: object) -> Recommender:
    """One dimension; p = 10 and 20, v = 1, 2, 3, y = .1, .2, .3, x = 1, 0, -1; biases .5 of ann, and 0 else."""
    model = models.build("svdpp", graph, {"dim": 1, "l2": 0.0, **settings})
    with torch.no_grad():
        model.user.weight[:2] = torch.tensor([[10.0], [20.0]])
        model.item.weight[:3] = torch.tensor([[1.0], [2.0], [3.0]])
        model.implicit.weight[:3] = torch.tensor([[0.1], [0.2], [0.3]])
        model.explicit.weight[:3] = torch.tensor([[1.0], [0.0], [-1.0]])
        model.user_bias.weight[0] = 0.5
    return model.eval()


def query(graph: Graph, user: int) -> Query:
    histories, head = Histories(graph), torch.tensor([user])
    place = histories.places(head)
    return Query(head, histories.tails(place), histories.times(place), histories.weights(place))


def test_the_score_is_that_of_the_formula(graph):
    scores = model_of(graph).score(query(graph, 0), graph.nodes("item"))
    others = ((0.1 + -2 * 1) + (0.2 + 1 * 0) + (0.3 + 1 * -1)) / 3**0.5
    vector = 10 + others
    torch.testing.assert_close(scores, torch.tensor([[3.5 + vector, 3.5 + 2 * vector, 3.5 + 3 * vector]]))


def test_a_new_user_has_all_but_its_own_vector_and_bias(graph):
    known, new = query(graph, 0), query(graph, 0)
    new = Query(torch.tensor([graph.pad]), new.history, new.time, new.weight)
    model, items = model_of(graph), graph.nodes("item")
    v = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(model.score(known, items) - model.score(new, items), (0.5 + 10 * v)[None])


def test_in_training_an_edge_is_not_among_those_that_predict_it(graph):
    batch = Nodes(graph, "user")[torch.tensor([0, 1])]
    of = {"x": (1, 0.1 + -2 * 1), "y": (2, 0.2 + 0), "z": (3, 0.3 - 1)}  # v and what each adds to ann's vector
    errors = []
    for item, rating in (("x", 1.0), ("y", 4.0), ("z", 4.0)):
        others = sum(step for name, (_, step) in of.items() if name != item) / 2**0.5
        errors.append(3 + 0.5 + of[item][0] * (10 + others) - rating)
    errors.append(3 + 1 * (20 + 0) - 3)  # bob has no other item
    expected = sum(error**2 for error in errors) / 4
    assert model_of(graph).loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_a_click_is_a_logit_around_the_share_of_clicks(graph):
    model = model_of(graph, task="ctr")
    assert model.mean.item() == pytest.approx(0.0)  # two of four
    batch = Nodes(graph, "user", label="click")[torch.tensor([0, 1])]
    assert batch.label.tolist() == [0.0, 1.0, 1.0, 0.0]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert model.loss(batch).item() == pytest.approx(0.6931, abs=1e-4)


def test_l2_is_of_all_parameters_against_the_sum_of_the_losses(graph):
    batch = Nodes(graph, "user")[torch.tensor([0, 1])]
    squares = 10**2 + 20**2 + 1 + 4 + 9 + 0.01 + 0.04 + 0.09 + 1 + 1 + 0.5**2
    added = model_of(graph, l2=2.0).loss(batch) - model_of(graph).loss(batch)
    assert added.item() == pytest.approx(2 * squares / 4, rel=1e-4)
