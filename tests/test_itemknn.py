"""ItemKNN by hand: users of an item as columns of a 4 x 3 matrix, and their cosines."""

import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import Query, Recommender
from kgrec.models import itemknn

#        x  y  z
# ann    1  1  .
# bob    1  1  .       sim(x, y) = 2 / sqrt(3 * 3),  sim(x, z) = 1 / sqrt(3 * 2),  sim(y, z) = 1 / sqrt(3 * 2)
# cid    1  .  1       z is had by cid and dee
# dee    .  1  1
RATED = pd.DataFrame(
    {
        "source": ["ann", "ann", "bob", "bob", "cid", "cid", "dee", "dee", "dee"],
        "target": ["x", "y", "x", "y", "x", "z", "y", "z", "z"],  # dee has z twice, which counts once
    }
)
GRAPH = Graph.from_frames(edges={("user", "rated", "item"): RATED})
X, Y, Z = 4, 5, 6
XY, XZ, YZ = 2 / 3, 1 / 6**0.5, 1 / 6**0.5


def score(model: Recommender, *history: int) -> list[float]:
    """Of x, y and z for a new user of this history."""
    query = Query(torch.tensor([GRAPH.pad]), torch.tensor([[GRAPH.pad, *history]]))
    return model.score(query, torch.tensor([X, Y, Z]))[0].tolist()


def test_scores_are_sums_of_cosines_and_nothing_is_its_own_neighbor() -> None:
    model = models.build("itemknn", GRAPH)
    assert score(model, X) == pytest.approx([0, XY, XZ])
    assert score(model, X, Z) == pytest.approx([XZ, XY + YZ, XZ])


def test_an_item_that_stands_twice_in_a_history_counts_once() -> None:
    assert score(models.build("itemknn", GRAPH), X, X) == pytest.approx([0, XY, XZ])


def test_only_an_items_nearest_speak_for_it() -> None:
    """x is nearest to y and y to x; z's nearest is x or y, with equal right."""
    model = models.build("itemknn", GRAPH, {"neighbors": 1})
    assert score(model, X)[:2] == pytest.approx([0, XY])
    assert score(model, Z) == pytest.approx([0, 0, 0])
    assert score(model, X, Y)[2] == pytest.approx(XZ)


def test_shrinkage_is_added_to_the_denominator() -> None:
    model = models.build("itemknn", GRAPH, {"shrink": 3})
    assert score(model, X) == pytest.approx([0, 2 / (3 + 3), 1 / (6**0.5 + 3)])


def test_more_neighbors_than_items_are_all_items() -> None:
    model = models.build("itemknn", GRAPH, {"neighbors": 1000})
    assert model.neighbor.shape == (3, 3)
    assert score(model, X, Y, Z) == pytest.approx([XY + XZ, XY + YZ, XZ + YZ])


def test_of_equal_items_the_first_are_neighbors() -> None:
    """z's nearest is x or y, with equal right."""
    assert models.build("itemknn", GRAPH, {"neighbors": 1}).neighbor[:, 0].tolist() == [1, 0, 0]


def test_items_without_common_users_are_not_similar() -> None:
    """w and v have a user each, n has nobody."""
    rated = pd.DataFrame({"source": ["ann", "bob"], "target": ["w", "v"]})
    nodes = {"item": pd.DataFrame({"id": ["w", "v", "n"]})}
    model = models.build("itemknn", Graph.from_frames(edges={("user", "rated", "item"): rated}, nodes=nodes))
    assert model.similarity.eq(0).all()
    assert [sorted(row) for row in model.neighbor.tolist()] == [[0, 1, 2]] * 3


def test_a_weight_of_users_alone_changes_no_cosine() -> None:
    assert score(models.build("itemknn", GRAPH, {"users": 4}), X, Z) == pytest.approx([XZ, XY + YZ, XZ])


@pytest.mark.parametrize("name", ["itemknn", "ease", "ials"])
def test_any_number_of_threads_gives_the_same(planted: Graph, name: str) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(models.build(name, planted).state_dict())
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0][key], other[key]) for other in found[1:] for key in found[0])


def test_blocks_of_items_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch, planted: Graph) -> None:
    """40 items of which 7 are computed at once; the last block is short."""
    whole = models.build("itemknn", planted, {"neighbors": 40})
    monkeypatch.setattr(itemknn, "ROWS", 7)
    blocks = models.build("itemknn", planted, {"neighbors": 40})
    assert torch.equal(dense(whole), dense(blocks))
    assert dense(whole).diagonal().eq(0).all()
    assert torch.equal(dense(whole), dense(whole).T)


def dense(model: Recommender) -> torch.Tensor:
    """All similarities, [I, I]."""
    return torch.zeros(40, 40).scatter_(1, model.neighbor, model.similarity)
