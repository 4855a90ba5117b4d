"""EASE against the inverse as numpy has it, and the property that defines it."""

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import memory, models
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.models import ease
from kgrec.nn import symmetric_inverse

X = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=float)
PAIRS = [*np.argwhere(X), (3, 2)]  # the last pair stands twice, which counts once
RATED = pd.DataFrame({"source": [f"u{u}" for u, _ in PAIRS], "target": [f"i{i}" for _, i in PAIRS]})
GRAPH = Graph.from_frames(edges={("user", "rated", "item"): RATED})


def test_weights_are_those_of_the_paper() -> None:
    """P = (X'X + 2 I)^-1 and B_ij = -P_ij / P_jj off the diagonal, with X'X = [[3, 2, 1], [2, 3, 1], [1, 1, 2]]."""
    inverse = np.linalg.inv(np.array([[5, 2, 1], [2, 5, 1], [1, 1, 4]]))
    expected = [[0 if i == j else -inverse[i, j] / inverse[j, j] for j in range(3)] for i in range(3)]
    np.testing.assert_allclose(models.build("ease", GRAPH, {"l2": 2}).weight, expected, atol=1e-6)


def test_each_column_is_a_ridge_regression_on_the_other_items() -> None:
    """B's column j minimises |X_j - X_others b|^2 + l2 |b|^2: the same answer on another way."""
    weight = models.build("ease", GRAPH, {"l2": 2}).weight.numpy()
    for j in range(3):
        others = [i for i in range(3) if i != j]
        rest = X[:, others]
        expected = np.linalg.solve(rest.T @ rest + 2 * np.eye(2), rest.T @ X[:, j])
        np.testing.assert_allclose(weight[others, j], expected, atol=1e-6)
        assert weight[j, j] == 0


def test_a_score_is_the_sum_of_weights_from_the_distinct_items_of_the_history() -> None:
    model = models.build("ease", GRAPH, {"l2": 2})
    first, second, third = 4, 5, 6  # flat numbers of the items
    query = Query(
        torch.tensor([0, GRAPH.pad, 1]),
        torch.tensor([[first, first, third], [GRAPH.pad] * 3, [GRAPH.pad, GRAPH.pad, second]]),
    )
    expected = torch.stack([model.weight[0] + model.weight[2], torch.zeros(3), model.weight[1]])
    torch.testing.assert_close(model.score(query, torch.tensor([first, second, third])), expected)


def test_counting_and_inverting_some_rows_at_a_time_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, planted: Graph
) -> None:
    """40 items of which 16 are eliminated and 7 counted at once, against numpy's inverse."""
    x = np.zeros((60, 40))
    x[tuple(planted.only("rated").edge_index.numpy())] = 1
    inverse = np.linalg.inv(x.T @ x + 5 * np.eye(40))
    expected = -inverse / inverse.diagonal()
    np.fill_diagonal(expected, 0)
    monkeypatch.setattr(symmetric_inverse, "BLOCK", 16)
    monkeypatch.setattr(ease, "COUNTED", 7)
    np.testing.assert_allclose(models.build("ease", planted, {"l2": 5}).weight, expected, atol=1e-5)


def with_facts() -> Graph:
    """Three items, a fourth that nobody rated; facts: i0 and i3 are of genre g, i1 is a sequel of i0, twice said."""
    fact = {
        ("item", "has_genre", "genre"): pd.DataFrame({"source": ["i0", "i3"], "target": ["g", "g"]}),
        ("item", "sequel_of", "item"): pd.DataFrame({"source": ["i1"], "target": ["i0"]}),
    }
    nodes = {"item": pd.DataFrame({"id": ["i0", "i1", "i2", "i3"]})}
    return Graph.from_frames(edges={("user", "rated", "item"): RATED, **fact}, nodes=nodes)


def test_facts_are_further_rows() -> None:
    """Rows of X below: the users', then has_genre-g [i0, i3], sequel_of-i0 [i1], and i1's sequel [i0]."""
    x = np.vstack([np.column_stack([X, np.zeros(4)]), 0.5**0.5 * np.array([[1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]])])
    inverse = np.linalg.inv(x.T @ x + 2 * np.eye(4))
    expected = -inverse / inverse.diagonal()
    np.fill_diagonal(expected, 0)
    weight = models.build("ease", with_facts(), {"l2": 2, "facts": 0.5}).weight
    np.testing.assert_allclose(weight, expected, atol=1e-6)
    assert weight[0, 3] > 0  # an item that nobody has is recommended by its genre
    assert (models.build("ease", with_facts(), {"l2": 2}).weight[:, 3] == 0).all()


def test_facts_that_are_not_there_are_missed() -> None:
    with pytest.raises(KgrecError, match="none of the 0 facts of this graph is about an item"):
        models.build("ease", GRAPH, {"facts": 1.0})


def test_too_little_memory_is_said_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix of 50,000 x 50,000 needs 10 GB, of which 4 are free."""
    assert 10.0e9 < ease.memory_for(50_000) < 10.5e9
    monkeypatch.setattr(ease, "memory_for", lambda num_items: 10 << 30)
    monkeypatch.setattr(memory, "memory", lambda: {"total": 5 << 30, "available": 4 << 30, "limit": None})
    monkeypatch.setattr(ease, "count_common", None)
    with pytest.raises(
        KgrecError, match=r"3 x 3 items would take 10.0 GiB of memory, but only 4.0 GiB are free; .*min_item"
    ):
        models.build("ease", GRAPH)
