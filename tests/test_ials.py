"""iALS against ridge regressions written out in full, and the loss that every iteration lowers."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.models import ials
from kgrec.models.ials import IALS
from kgrec.samplers.histories import Histories

SETTINGS = {"dim": 3, "alpha": 0.2, "l2": 0.05, "nu": 0.5}


def matrix(graph: Graph) -> np.ndarray:
    """0-1 of users and items, [60, 40]."""
    x = np.zeros((60, 40))
    x[tuple(graph.only("rated").edge_index.numpy())] = 1
    return x


def ridge(x: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """For each row of x the w that minimises sum_known (w.h - 1)^2 + alpha sum_all (w.h)^2
    + l2 (known + alpha N)^nu |w|^2, as one least-squares problem: a row a known pair, a row each pair, a row each
    dimension."""
    answers = []
    for row in x:
        known = fixed[row == 1]
        strength = SETTINGS["l2"] * (len(known) + SETTINGS["alpha"] * len(fixed)) ** SETTINGS["nu"]
        left = np.concatenate([known, SETTINGS["alpha"] ** 0.5 * fixed, strength**0.5 * np.eye(3)])
        right = np.concatenate([np.ones(len(known)), np.zeros(len(fixed) + 3)])
        answers.append(np.linalg.lstsq(left, right, rcond=None)[0])
    return np.array(answers)


def build(graph: Graph, **changes: object) -> IALS:
    model = models.build("ials", graph, {**SETTINGS, **changes})
    assert isinstance(model, IALS)
    return model


def test_one_iteration_is_two_ridge_regressions(planted: Graph) -> None:
    """Users from the item vectors at the start (normal, std / sqrt(dim), of the seed), then items from the users'."""
    x = matrix(planted)
    start = torch.randn(40, 3, generator=torch.Generator().manual_seed(4)).numpy() * 0.7 / 3**0.5
    expected = ridge(x.T, ridge(x, start))
    model = build(planted, iterations=1, seed=4, init_std=0.7)
    np.testing.assert_allclose(model.item, expected, atol=1e-4)
    np.testing.assert_allclose(model.gramian, expected.T @ expected, atol=1e-3)


def test_a_user_is_solved_for_from_the_distinct_items_of_the_history(planted: Graph) -> None:
    model, first = build(planted), planted.range("item").start
    history = torch.tensor([[3, 3, 8, 20], [-1, 8, 20, 3]]) + first
    history[1, 0] = planted.pad
    x = np.zeros((1, 40))
    x[0, [3, 8, 20]] = 1
    expected = ridge(x, model.item.numpy()) @ model.item.numpy().T
    scores = model.score(Query(torch.tensor([0, planted.pad]), history), planted.nodes("item"))
    np.testing.assert_allclose(scores, np.repeat(expected, 2, axis=0), atol=1e-4)


def test_every_iteration_lowers_the_loss(planted: Graph) -> None:
    x = matrix(planted)
    losses = []
    for iterations in range(1, 8):
        model = build(planted, iterations=iterations)
        user, item = ridge(x, model.item.numpy()), model.item.numpy()
        score = user @ item.T
        strength = [
            SETTINGS["l2"] * (counts + SETTINGS["alpha"] * others) ** SETTINGS["nu"]
            for counts, others in ((x.sum(1), 40), (x.sum(0), 60))
        ]
        pull = (x * (score - 1) ** 2).sum() + SETTINGS["alpha"] * (score**2).sum()
        losses.append(pull + (strength[0] * (user**2).sum(1)).sum() + (strength[1] * (item**2).sum(1)).sum())
    assert all(later < earlier for earlier, later in itertools.pairwise(losses)), losses
    assert losses[-1] < 0.8 * x.sum()  # the loss of vectors that are all zero


def test_groups_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch, planted: Graph) -> None:
    """All rows of like length at once, or each on its own."""
    together = build(planted).item
    monkeypatch.setattr(ials, "FLOATS", 1)
    torch.testing.assert_close(build(planted).item, together, rtol=1e-4, atol=1e-5)


def test_an_item_without_users_has_no_vector_and_no_say(planted: Graph) -> None:
    """The start's vector of such an item would pull at users in the first iteration."""
    without = planted.where(~((planted.relation == 0) & (planted.edge_index[1] == 39)))
    x, start = matrix(without), torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).numpy() * 0.1 / 3**0.5
    start[39] = 0
    model = build(without, iterations=1)
    assert model.item[39].tolist() == [0, 0, 0]
    np.testing.assert_allclose(model.item, ridge(x.T, ridge(x, start)), atol=1e-4)


def test_a_known_user_is_served_by_history_alone(planted: Graph) -> None:
    model = build(planted)
    history = Histories(planted.only("rated")).last(torch.tensor([5]))
    known, new = (model.score(Query(torch.tensor([n]), history), planted.nodes("item")) for n in (5, planted.pad))
    assert torch.equal(known, new)


def test_edges_in_any_order_and_any_number_of_times_are_the_same_pairs(planted: Graph) -> None:
    rated = planted.only("rated")
    twice = torch.cat([torch.randperm(rated.num_edges, generator=torch.Generator().manual_seed(0))] * 2)
    shuffled = replace(
        rated,
        edge_index=rated.edge_index[:, twice],
        relation_ptr=(0, len(twice)),
        time=rated.time[twice],
        weight=rated.weight[twice],
    )
    torch.testing.assert_close(build(shuffled).item, build(planted).item, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 7, 16, 37])
@pytest.mark.parametrize("own", [False, True])
def test_compiled_rows_are_those_that_torch_solves_in_groups(dim: int, own: bool) -> None:
    drawn = torch.Generator().manual_seed(dim)
    length = torch.randint(0, 23, (300,), generator=drawn)
    length[:3] = torch.tensor([0, 1, 60])
    ptr = torch.cat([length.new_zeros(1), length.cumsum(0)])
    other = torch.cat([torch.randperm(70, generator=drawn)[:number] for number in length.tolist()])
    fixed = torch.randn(70, dim, generator=drawn)
    ridge = torch.rand(300, generator=drawn) + 0.5
    mine = torch.randint(-1, 70, (300,), generator=drawn) if own else None
    gramian = fixed.T @ fixed
    found, failed = ials._solved(ptr, other, fixed, 0.1 * gramian, ridge, mine, 0.1)
    wanted, _ = ials._solved_in_groups(ptr, other, fixed, gramian, ridge, mine, 0.1)
    assert failed is None
    assert torch.allclose(found, wanted, atol=1e-4)
    assert found[0].eq(0).all() and found[1].ne(0).all()


def test_a_row_is_the_same_alone_and_among_others() -> None:
    drawn = torch.Generator().manual_seed(0)
    fixed, other = torch.randn(50, 20, generator=drawn), torch.randint(0, 50, (4000,), generator=drawn)
    ptr, base, ridge = torch.arange(0, 4001, 10), torch.eye(20), torch.ones(400)
    together, _ = ials._solved(ptr, other, fixed, base, ridge, None, 0.1)
    alone, _ = ials._solved(torch.tensor([0, 10]), other[70:80], fixed, base, ridge[:1], None, 0.1)
    assert torch.equal(together[7], alone[0])


def test_a_matrix_without_a_factor_is_named() -> None:
    fixed, ptr, other = torch.ones(2, 3), torch.tensor([0, 1, 3]), torch.tensor([0, 0, 1])
    _, failed = ials._solved(ptr, other, fixed, torch.zeros(3, 3), torch.tensor([1.0, -9.0]), None, 0.1)
    assert failed == "the matrix of row 1 is not positive-definite"
    _, failed = ials._solved(ptr, other, fixed * torch.nan, torch.zeros(3, 3), torch.ones(2), None, 0.1)
    assert failed == "the matrix of row 1 is not positive-definite"  # it has more pairs, so it comes first
