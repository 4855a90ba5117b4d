"""The perceptron of pairs in one pass has the numbers of its layers one after another, forwards and backwards."""

import pytest
import torch
from torch import Tensor

from kgrec.nn import PairMLP
from kgrec.nn.pair_pass import pair_scores

HIDDEN = [(128, 64), (16,), (64, 32, 16), (3, 5)]


def of_layers(mlp: PairMLP, user: Tensor, item: Tensor, row: Tensor | None) -> Tensor:
    """The scores by one layer after another."""
    return mlp(user, item if row is None else torch.nn.functional.embedding(row, item))


def in_one_pass(mlp: PairMLP, user: Tensor, item: Tensor, row: Tensor | None) -> Tensor:
    return pair_scores(user, item, row, mlp.layers(), mlp.dropout.levels_dropped())


@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("shape", [(5, 3), (600, 2), (512, 2), (1, 1), (0, 4), (64, 17)], ids=str)
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("of_table", [False, True], ids=["each", "table"])
def test_one_pass_has_the_numbers_of_the_layers(
    hidden: tuple[int, ...], shape: tuple[int, int], p: float, of_table: bool
) -> None:
    torch.manual_seed(0)
    mlp, (lists, width) = PairMLP(40, hidden, p), shape
    row = torch.randint(9, shape) if of_table else None
    user, item = torch.randn(lists, 40), torch.randn(9, 40) if of_table else torch.randn(lists, width, 40)
    user, item, given = user.requires_grad_(), item.requires_grad_(), torch.randn(shape)
    found = []
    for scores_by in (in_one_pass, of_layers):
        torch.manual_seed(8)  # the masks of 7 make a sum of 1,200 terms that nearly cancel
        scores = scores_by(mlp, user, item, row)
        found.append((scores, *torch.autograd.grad(scores, (user, item, *mlp.parameters()), given), torch.rand(1)))
    (scores, *gradients, then), (wanted, *others, next_) = found
    assert torch.equal(then, next_) and (of_table or torch.equal(scores, wanted))
    for mine, other in zip([scores, *gradients], [wanted, *others]):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)  # what is summed, is so in another order


def test_a_gradient_that_others_read_is_left_as_it_is() -> None:
    """Parts of the pass write over what they have read, but never over what was given."""
    torch.manual_seed(0)
    mlp = PairMLP(8, (16, 4), 0.2)
    user, item = torch.randn(6, 8, requires_grad=True), torch.randn(6, 2, 8, requires_grad=True)
    given, before = torch.randn(6, 2), [one.detach().clone() for one in (user, item, *mlp.parameters())]
    kept = given.clone()
    scores = in_one_pass(mlp, user, item, None)
    first, second = (torch.autograd.grad(scores, (user, item), given, retain_graph=True) for _ in range(2))
    assert torch.equal(given, kept) and all(map(torch.equal, first, second))
    assert all(map(torch.equal, (user, item, *mlp.parameters()), before))


def test_vectors_that_do_not_learn_get_no_gradient() -> None:
    torch.manual_seed(0)
    mlp = PairMLP(8, (16, 4), 0.0)
    user, item = torch.randn(6, 8, requires_grad=True), torch.randn(6, 2, 8)
    in_one_pass(mlp, user, item, None).sum().backward()
    assert item.grad is None and user.grad is not None and mlp.of_item.weight.grad is not None


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_what_is_not_a_number_stays_so(p: float) -> None:
    """A training that has diverged is to be seen in its loss."""
    torch.manual_seed(0)
    mlp = PairMLP(8, (16, 4), p)
    user, item = torch.full((6, 8), float("nan"), requires_grad=True), torch.randn(6, 2, 8, requires_grad=True)
    assert in_one_pass(mlp, user, item, None).isnan().any()
    assert of_layers(mlp, user, item, None).isnan().any()
