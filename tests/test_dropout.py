"""Dropout by counting: how much is kept, how it is scaled, and that a seed gives a mask."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kgrec.nn import Dropout, vector_kernels
from kgrec.nn.dropout import draw_bytes

NUMBER = 1_000_000


def dropped(p: float, x: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return Dropout(p)(x)


@pytest.mark.parametrize(("p", "of_256"), [(0.1, 26), (0.2, 51), (0.5, 128), (0.9, 230), (0.9999, 255)])
def test_the_stated_share_is_kept_and_the_mean_with_it(p: float, of_256: int):
    x = dropped(p, torch.ones(NUMBER))
    share = 1 - of_256 / 256  # p rounded to the next 1/256; what is nearly all leaves one
    kept = (x != 0).float().mean().item()
    assert kept == pytest.approx(share, abs=4 * (share * (1 - share) / NUMBER) ** 0.5)
    assert x[x != 0].unique().tolist() == [pytest.approx(1 / share)]
    assert x.mean().item() == pytest.approx(1, abs=4 * ((1 - share) / share / NUMBER) ** 0.5)


def test_numbers_are_dropped_each_for_itself():
    """Eight share a draw: whether one is kept says nothing of its neighbors."""
    kept = (dropped(0.5, torch.ones(NUMBER // 8, 8)) != 0).float()
    together = kept.T @ kept / len(kept)
    four_errors = 4 * (0.25 * 0.75 / len(kept)) ** 0.5
    assert (together - torch.full((8, 8), 0.25))[~torch.eye(8, dtype=torch.bool)].abs().max() < four_errors
    assert (together.diagonal() - 0.5).abs().max() < 4 * (0.25 / len(kept)) ** 0.5


def test_nothing_is_dropped_in_eval_mode_or_at_0():
    x = torch.randn(50, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_same_seed_gives_the_same_mask():
    x = torch.randn(13, 5)
    assert torch.equal(dropped(0.5, x), dropped(0.5, x))
    assert not torch.equal(dropped(0.5, x), dropped(0.5, x, seed=1))


def test_random_bytes_are_those_of_splitmix64():
    words = np.empty(5, np.uint64)
    vector_kernels.random_words(np.uint64(1234567), words)
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert words.tolist() == known


def test_every_byte_comes_as_often_as_the_others_and_says_nothing_of_the_next():
    torch.manual_seed(3)
    drawn = draw_bytes(NUMBER + 5)
    assert drawn.shape == (NUMBER + 5,) and drawn.dtype == torch.uint8
    counts = torch.bincount(drawn.long(), minlength=256).double()
    expected = NUMBER / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * (2 * 255) ** 0.5
    pairs = torch.bincount((drawn[:-1].long() // 16) * 16 + drawn[1:].long() // 16, minlength=256).double()
    assert ((pairs - expected) ** 2 / expected).sum() < 255 + 5 * (2 * 255) ** 0.5


@pytest.mark.parametrize("shape", [(13,), (3, 1, 5), (0, 4), ()])
def test_any_shape_has_the_gradient_of_its_mask(shape: tuple[int, ...]):
    x = torch.randn(shape, requires_grad=True)
    y = dropped(0.25, x)
    y.sum().backward()
    assert y.shape == shape and torch.equal(y, x * x.grad)
    assert set(x.grad.flatten().tolist()) <= {0.0, torch.tensor(4 / 3).item()}


def test_a_transposed_tensor_and_bf16_are_kept_as_they_are():
    x = torch.ones(5, 7, dtype=torch.bfloat16).T
    y = dropped(0.5, x)
    assert y.dtype == torch.bfloat16 and set(y.flatten().tolist()) == {0.0, 2.0}


@pytest.mark.cuda
def test_on_cuda_too():
    x = dropped(0.25, torch.ones(NUMBER, device="cuda"))
    assert (x != 0).float().mean().item() == pytest.approx(0.75, abs=0.002)


@pytest.mark.parametrize("shape", [(13,), (3, 1, 5), (0, 4), (), (64, 3, 40)])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.7])
def test_dropout_of_relu_in_one_pass_has_the_same_numbers(shape: tuple[int, ...], p: float):
    found = []
    for in_one in (True, False):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(4)).requires_grad_()
        torch.manual_seed(7)
        dropout = Dropout(p)
        out = dropout.of_relu(x) if in_one else dropout(torch.relu(x))
        out.backward(torch.full(shape, 0.3))
        found.append((out.detach(), x.grad, torch.rand(1)))
    assert all(torch.equal(one, other) for one, other in zip(*found))


def test_dropout_of_relu_in_eval_mode_is_relu():
    x = torch.randn(50, 3)
    assert torch.equal(Dropout(0.5).eval().of_relu(x), torch.relu(x))
    with torch.no_grad():
        assert Dropout(0.5).of_relu(x).shape == x.shape


def test_dropout_of_relu_keeps_what_is_not_a_number():
    out = Dropout(0.5).of_relu(torch.tensor([float("nan"), -1.0]).repeat(50).requires_grad_()).view(50, 2)
    assert out[:, 0].isnan().any() and not out[:, 1].isnan().any()
