"""Losses as sums on paper, and those over a whole catalog against the plain form that holds all logits."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kgrec.nn import losses


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log1pexp(x: float) -> float:
    return math.log(1 + math.exp(x))


POSITIVE = torch.tensor([2.0, -1.0])
NEGATIVE = torch.tensor([[0.0, 1.0], [1.0, 3.0]])


def close(value: Tensor, wanted: float) -> None:
    assert value.shape == () and value.item() == pytest.approx(wanted, rel=1e-5)


# ---------------------------------------------------------------- on paper


def test_bpr_is_the_mean_over_all_pairs():
    gaps = [2 - 0, 2 - 1, -1 - 1, -1 - 3]
    close(losses.bpr(POSITIVE, NEGATIVE), sum(log1pexp(-gap) for gap in gaps) / 4)


def test_bce_sums_over_the_negatives_of_an_example():
    first = log1pexp(-2) + log1pexp(0) + log1pexp(1)
    second = log1pexp(1) + log1pexp(1) + log1pexp(3)
    close(losses.bce(POSITIVE, NEGATIVE), (first + second) / 2)


def test_gbce_weighs_the_true_item_by_beta():
    # 2 of 8 other items are drawn: a = 1/4, beta = a (t (1 - 4) + 4) = 1 - 3/4 t
    negatives = (log1pexp(0) + log1pexp(1) + log1pexp(1) + log1pexp(3)) / 2
    positives = (log1pexp(-2) + log1pexp(1)) / 2
    close(losses.gbce(POSITIVE, NEGATIVE, classes=9, t=0.5), (1 - 3 / 8) * positives + negatives)
    close(losses.gbce(POSITIVE, NEGATIVE, classes=9, t=1.0), 1 / 4 * positives + negatives)
    assert torch.equal(losses.gbce(POSITIVE, NEGATIVE, classes=9, t=0.0), losses.bce(POSITIVE, NEGATIVE))


def test_gbce_with_beta_a_is_calibrated():
    """At t = 1 the probability of an item that is true with p among 9, learned from one of the other 8, is p itself:
    the derivative of -a p log s - (1 - p) / 8 log(1 - s) at s = p is 0, as a = 1/8."""
    logit = torch.tensor([math.log(0.3 / 0.7)], requires_grad=True)
    true = losses.gbce(logit, torch.full((1, 1), -1e4), classes=9, t=1.0)
    drawn = losses.gbce(torch.tensor([1e4]), logit.unsqueeze(1), classes=9, t=1.0)
    (gradient,) = torch.autograd.grad(0.3 * true + 0.7 * drawn / 8, logit)
    assert gradient.item() == pytest.approx(0, abs=1e-7)


def test_sampled_softmax_takes_the_count_from_the_drawn_ones_alone():
    log_count = torch.tensor([math.log(2), math.log(0.5)])
    first = math.log(math.exp(2) + math.exp(0) / 2 + math.exp(1) * 2) - 2
    second = math.log(math.exp(-1) + math.exp(1) / 2 + math.exp(3) * 2) + 1
    close(losses.sampled_softmax(POSITIVE, NEGATIVE, log_count), (first + second) / 2)
    each = torch.stack([log_count, log_count.flip(0)])
    second = math.log(math.exp(-1) + math.exp(1) * 2 + math.exp(3) / 2) + 1
    close(losses.sampled_softmax(POSITIVE, NEGATIVE, each), (first + second) / 2)


def test_with_all_other_items_drawn_once_it_is_the_full_softmax():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    own = torch.tensor([0, 3, 6, 3, 2])
    others = torch.stack([torch.cat([row[:o], row[o + 1 :]]) for row, o in zip(logits, own.tolist())])
    mine = losses.sampled_softmax(logits[torch.arange(5), own], others, torch.zeros(6))
    torch.testing.assert_close(mine, F.cross_entropy(logits, own))


def test_ccl_counts_negatives_over_the_margin_alone():
    cosines, drawn = torch.tensor([0.9, 0.2]), torch.tensor([[0.9, 0.4], [-0.5, 0.5]])
    # 1 - .9 + 10 (.9 - .5) / 2, and 1 - .2 + 0: a cosine of the margin itself is free
    close(losses.ccl(cosines, drawn, margin=0.5, weight=10.0), ((0.1 + 2.0) + 0.8) / 2)


def test_bpr_max_weighs_negatives_by_their_softmax():
    s = [1 / (1 + math.e), math.e / (1 + math.e)]  # of 0 and 1
    first = -math.log(s[0] * sigmoid(2) + s[1] * sigmoid(1)) + 0.5 * s[1] * 1
    s = [1 / (1 + math.exp(2)), math.exp(2) / (1 + math.exp(2))]  # of 1 and 3
    second = -math.log(s[0] * sigmoid(-2) + s[1] * sigmoid(-4)) + 0.5 * (s[0] * 1 + s[1] * 9)
    close(losses.bpr_max(POSITIVE, NEGATIVE, weight=0.5), (first + second) / 2)


def test_top1_max_weighs_negatives_by_their_softmax():
    s = [1 / (1 + math.e), math.e / (1 + math.e)]
    first = s[0] * (sigmoid(-2) + sigmoid(0)) + s[1] * (sigmoid(-1) + sigmoid(1))
    s = [1 / (1 + math.exp(2)), math.exp(2) / (1 + math.exp(2))]
    second = s[0] * (sigmoid(2) + sigmoid(1)) + s[1] * (sigmoid(4) + sigmoid(9))
    close(losses.top1_max(POSITIVE, NEGATIVE), (first + second) / 2)


def test_ratings_and_clicks():
    close(losses.squared_error(torch.tensor([3.0, 1.0]), torch.tensor([5.0, 2.0])), (4 + 1) / 2)
    close(losses.logistic(torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])), (log1pexp(-2) + log1pexp(-1)) / 2)


def test_scores_that_lie_far_apart_are_finite():
    far = torch.tensor([[-200.0, 300.0]])
    for loss in (losses.bpr, losses.bce, losses.top1_max):
        positive = torch.tensor([-250.0], requires_grad=True)
        loss(positive, far).backward()
        assert positive.grad.isfinite().all()
    # s = exp(-500) and 1: both terms of the sum are exp(-550)
    close(losses.bpr_max(torch.tensor([-250.0]), far, weight=0.0), 550 - math.log(2))
    close(losses.sampled_softmax(torch.tensor([-250.0]), far, torch.zeros(2)), 550.0)


# ---------------------------------------------------------------- over all classes, without all logits


def drawn_case(rows: int, classes: int, dim: int, scale: float = 1.0) -> tuple[Tensor, Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(rows)
    vector = scale * torch.randn(rows, dim, generator=generator)
    return vector.requires_grad_(), torch.randn(classes, dim, generator=generator).requires_grad_(), generator


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(3 * loss, inputs)]  # 3: the gradient from above is passed on


@pytest.fixture(params=[1, 40, 1 << 20], ids=["a row at once", "some rows", "all rows"])
def floats(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(losses, "FLOATS", request.param)
    monkeypatch.setattr(losses, "FEWEST", 1)
    return request.param


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_softmax_over_all_equals_cross_entropy(floats: int, scale: float):
    vector, classes, generator = drawn_case(23, 13, 5, scale)
    own = torch.randint(13, (23,), generator=generator)
    mine = gradients(losses.softmax_over(vector, classes, own), vector, classes)
    plain = gradients(F.cross_entropy(vector @ classes.T, own), vector, classes)
    for a, b in zip(mine, plain):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_softmax_over_all_of_users_with_several_items_each(floats: int):
    """Users of 3, 0, 1, 4 and 0 items share a row each."""
    vector, classes, generator = drawn_case(5, 13, 6)
    own, ptr = torch.randint(13, (8,), generator=generator), torch.tensor([0, 3, 3, 4, 8, 8])
    row = torch.tensor([0, 0, 0, 2, 3, 3, 3, 3])
    mine = gradients(losses.softmax_over(vector, classes, own, ptr), vector, classes)
    plain = gradients(F.cross_entropy((vector @ classes.T)[row], own), vector, classes)
    for a, b in zip(mine, plain):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert torch.equal(mine[1][[1, 4]], torch.zeros(2, 6))


def plain_sampled(vector: Tensor, classes: Tensor, positive: Tensor, own: Tensor, log_count: Tensor) -> Tensor:
    logits = vector @ classes.T - log_count
    mine = torch.arange(len(classes)) == own.unsqueeze(1)
    return torch.stack(
        [torch.log(p.exp() + row[~hit].exp().sum()) - p for p, row, hit in zip(positive, logits, mine)]
    ).mean()


def test_sampled_softmax_over_equals_the_plain_form(floats: int):
    vector, classes, generator = drawn_case(23, 9, 5)
    positive = torch.randn(23, generator=generator).requires_grad_()
    own = torch.randint(9, (23,), generator=generator)
    own[::4] = -1
    log_count = torch.rand(9, generator=generator) - 2
    mine = gradients(losses.sampled_softmax_over(vector, classes, positive, own, log_count), vector, classes, positive)
    plain = gradients(plain_sampled(vector, classes, positive, own, log_count), vector, classes, positive)
    for a, b in zip(mine, plain):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_sampled_softmax_over_all_classes_is_the_full_softmax(floats: int):
    vector, classes, generator = drawn_case(12, 9, 5)
    own = torch.randint(9, (12,), generator=generator)

    def sampled() -> Tensor:
        positive = (vector * classes[own]).sum(1)
        return losses.sampled_softmax_over(vector, classes, positive, own, torch.zeros(9))

    mine = gradients(sampled(), vector, classes)
    for a, b in zip(mine, gradients(losses.softmax_over(vector, classes, own), vector, classes)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_an_example_whose_own_is_all_that_was_drawn_loses_nothing(floats: int):
    """A last batch of one example that is held against the batch's own items."""
    vector, classes, _ = drawn_case(2, 1, 3)
    positive = torch.zeros(2, requires_grad=True)
    loss = losses.sampled_softmax_over(vector, classes, positive, torch.tensor([0, 0]), torch.zeros(1))
    assert [value.abs().max().item() for value in gradients(loss, vector, classes, positive)] == [0, 0, 0, 0]


def test_no_more_than_a_chunk_of_logits_is_held(monkeypatch: pytest.MonkeyPatch):
    """20,000 x 20,000 logits would be 1.6 GB: what is held is 50 rows at a time, 4 MB."""
    held, powers = [], losses._Chunks.powers

    def watched(self, part, own=None):
        found = powers(self, part, own)
        held.append(tuple(found[0].shape))
        return found

    monkeypatch.setattr(losses._Chunks, "powers", watched)
    fewest = losses.FEWEST
    monkeypatch.setattr(losses, "FLOATS", 1_000_000)
    monkeypatch.setattr(losses, "FEWEST", 1)
    vector, classes, generator = drawn_case(1_020, 20_000, 8)
    own = torch.randint(20_000, (1_020,), generator=generator)
    losses.softmax_over(vector, classes, own).backward()
    assert held == [(50, 20_000)] * 20 + [(20, 20_000)]
    held.clear()
    losses.sampled_softmax_over(vector, classes, torch.zeros(1_020), own, torch.zeros(20_000)).backward()
    assert held == [(50, 20_000)] * 20 + [(20, 20_000)]
    held.clear()
    monkeypatch.setattr(losses, "FEWEST", fewest)  # where they were fewer, each chunk would read all classes again
    losses.softmax_over(vector[:100], classes, own[:100]).backward()
    assert held == [(64, 20_000), (36, 20_000)]


LARGE = """
import torch
from kgrec.nn.losses import softmax_over
vector, classes = torch.randn(20_000, 8, requires_grad=True), torch.randn(20_000, 8, requires_grad=True)
own = torch.randint(20_000, (20_000,))
softmax_over(vector[:64], classes, own[:64]).backward()
"""


def test_a_large_softmax_takes_no_more_memory_than_a_small_one(megabytes_of):
    """All logits at once would be 1,526 MB, and their gradient as much."""
    assert megabytes_of(LARGE, "softmax_over(vector, classes, own).backward()") < 100


@pytest.mark.parametrize("ptr", [None, torch.tensor([0, 1, 5, 5, 9, 12])])
def test_in_bf16_it_stays_near(floats: int, ptr: Tensor | None):
    vector, classes, generator = drawn_case(12 if ptr is None else 5, 30, 16)
    own = torch.randint(30, (12,), generator=generator)
    exact = gradients(losses.softmax_over(vector, classes, own, ptr), vector, classes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = gradients(losses.softmax_over(vector, classes, own, ptr), vector, classes)
    assert all(value.dtype == torch.float32 for value in near)
    assert near[0].item() == pytest.approx(exact[0].item(), rel=0.01)
    for a, b in zip(near[1:], exact[1:]):
        assert (a - b).norm() < 0.03 * b.norm()


def test_the_sampled_one_in_bf16_stays_near(floats: int):
    vector, classes, generator = drawn_case(12, 30, 16)
    positive, own = torch.randn(12, generator=generator), torch.randint(-1, 30, (12,), generator=generator)
    positive, log_count = positive.requires_grad_(), -torch.rand(30, generator=generator)
    inputs = vector, classes, positive
    exact = gradients(losses.sampled_softmax_over(*inputs, own, log_count), *inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = gradients(losses.sampled_softmax_over(*inputs, own, log_count), *inputs)
    assert near[0].item() == pytest.approx(exact[0].item(), rel=0.01)
    for a, b in zip(near[1:], exact[1:]):
        assert (a - b).norm() < 0.03 * b.norm()
