"""Popularity by hand: four interactions, one of which stands twice."""

import pandas as pd
import torch

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import Query

RATED = pd.DataFrame({"source": ["ann", "ann", "bob", "ann", "ann"], "target": ["x", "x", "x", "y", "x"]})
VIEWED = pd.DataFrame({"source": ["ann", "bob"], "target": ["z", "z"]})
GRAPH = Graph.from_frames(edges={("user", "rated", "item"): RATED, ("user", "viewed", "item"): VIEWED})


def scores(config: dict) -> list[list[float]]:
    """Of x, y and z (nodes 2, 3, 4) for ann and for somebody new."""
    query = Query(torch.tensor([0, GRAPH.pad]), torch.empty(2, 0, dtype=torch.long))
    return models.build("popularity", GRAPH, config).score(query, torch.tensor([2, 3, 4])).tolist()


def test_users_are_counted() -> None:
    assert scores({}) == [[2, 1, 0]] * 2


def test_interactions_are_counted_where_asked() -> None:
    assert scores({"distinct": False}) == [[4, 1, 0]] * 2


def test_each_list_is_scored_by_its_own_items() -> None:
    query = Query(torch.tensor([0, 1]), torch.empty(2, 0, dtype=torch.long))
    model = models.build("popularity", GRAPH)
    assert model.score(query, torch.tensor([[2, 3], [4, 2]])).tolist() == [[2, 1], [0, 2]]
