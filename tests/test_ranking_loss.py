"""Ranking losses over all ways to draw: products against plain scores, what a draw's probability corrects, and hits."""

import math
from collections.abc import Callable
from typing import get_args

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.nn import Drawn, LossName, NodeEmbedding, RankingLoss, RankingLossConfig, losses
from kgrec.samplers import Batch, Edges, Loader
from kgrec.settings import configure
from kgrec.splits.split import split

NAMES = get_args(LossName)
WAYS = {
    "own": {"negatives": 4},
    "shared": {"negatives": 5, "shared": True},
    "in_batch": {"negatives": 0, "in_batch": True},
    "in_batch and own": {"negatives": 2, "in_batch": True},
    "in_batch and shared": {"negatives": 4, "in_batch": True, "shared": True},
    "hard": {"negatives": 6, "hard": 2},
    "hard of the batch's": {"negatives": 4, "in_batch": True, "shared": True, "hard": 3},
}
WITHOUT_HARD = ("softmax", "sampled_softmax", "gbce")
COUNTS = [9, 5, 4, 1, 1, 2, 3]  # edges into items 0 to 6
USERS = sum(COUNTS)


def known(counts: list[int] = COUNTS) -> Graph:
    """Every edge is of a user of its own."""
    tails = [f"i{item}" for item, count in enumerate(counts) for _ in range(count)]
    frame = pd.DataFrame({"source": [f"u{user}" for user in range(len(tails))], "target": tails})
    items = pd.DataFrame({"id": [f"i{item}" for item in range(len(counts))]})
    return Graph.from_frames(edges={("user", "rated", "item"): frame}, nodes={"item": items})


def ranking(graph: Graph, **settings) -> RankingLoss:
    return RankingLoss(configure(RankingLossConfig, settings), graph)


def first_item(graph: Graph) -> int:
    return graph.range("item").start


def drawn_for(loss: RankingLoss, edge: Tensor, seed: int = 0) -> Drawn:
    """What a loader's stages draw beside the tails of these edges."""
    batch: Batch = Edges(loss.known)[edge]
    for stage in loss.stages():
        batch = stage(batch, torch.Generator().manual_seed(seed))
    return Drawn(batch.tail, batch.negative, batch.log_q)


def table(graph: Graph, dim: int, seed: int = 1) -> NodeEmbedding:
    embedding = NodeEmbedding(graph, "item", dim)
    with torch.no_grad():
        embedding.weight[:-1].normal_(generator=torch.Generator().manual_seed(seed))
    return embedding


# ---------------------------------------------------------------- products against plain scores


def naive(loss: RankingLoss, vector: Tensor, item: NodeEmbedding, bias: NodeEmbedding | None) -> Callable:
    """Scores by their definition, [R, K] or [R, C]."""

    def score(items: Tensor) -> Tensor:
        vectors = item(items if items.dim() == 2 else items.expand(len(vector), -1))
        if loss.config.cosine:
            found = F.cosine_similarity(vector.unsqueeze(1), vectors, dim=-1)
        else:
            found = (vector.unsqueeze(1) * vectors).sum(-1)
        found = found / loss.config.temperature
        return found if bias is None else found + bias(items).squeeze(-1)

    return score


@pytest.mark.parametrize("with_bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize(
    ("name", "way", "cosine"),
    [
        pytest.param(name, way, cosine, id=f"{name}-{way}-{'cosine' if cosine else 'product'}")
        for name in NAMES
        for way in WAYS
        for cosine in (False, True)
        if (cosine or name != "ccl") and not ("hard" in way and name in WITHOUT_HARD)
    ],
)
def test_of_vectors_equals_of_scores(name: str, way: str, with_bias: bool, cosine: bool):
    graph = known()
    loss = ranking(graph, loss=name, cosine=cosine, temperature=0.5, **WAYS[way])
    item, bias = table(graph, 5), table(graph, 1, seed=2) if with_bias else None
    vector = torch.randn(8, 5, generator=torch.Generator().manual_seed(3), requires_grad=True)
    drawn = drawn_for(loss, torch.tensor([0, 1, 12, 24, 9, 18, 20, 17]))
    inputs = [vector, item.weight, *([bias.weight] if bias is not None else [])]
    products = loss.of_vectors(vector, item, drawn, bias)
    plain = loss.of_scores(naive(loss, vector, item, bias), drawn)
    torch.testing.assert_close(products, plain, rtol=1e-4, atol=1e-6)
    assert products.shape == () and plain.item() > 0
    for mine, wanted in zip(torch.autograd.grad(products, inputs), torch.autograd.grad(plain, inputs)):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cosine", [False, True])
def test_softmax_of_users_with_several_items_each(cosine: bool):
    graph = known()
    loss = ranking(graph, loss="softmax", cosine=cosine, temperature=0.5)
    item, bias, start = table(graph, 5), table(graph, 1, seed=2), first_item(graph)
    vector = torch.randn(3, 5, generator=torch.Generator().manual_seed(3), requires_grad=True)
    drawn = Drawn(start + torch.tensor([6, 0, 2, 2]), ptr=torch.tensor([0, 3, 3, 4]))
    score = naive(loss, vector, item, bias)
    wanted = F.cross_entropy(score(loss.classes)[[0, 0, 0, 2]], torch.tensor([6, 0, 2, 2]))
    torch.testing.assert_close(loss.of_vectors(vector, item, drawn, bias), wanted)
    torch.testing.assert_close(loss.of_scores(score, drawn), wanted)
    assert loss.over_all and loss.stages() == []


# ---------------------------------------------------------------- on paper


def log1pexp(x: float) -> float:
    return math.log(1 + math.exp(x))


def test_the_other_true_items_of_a_batch_are_negatives_once_each():
    """Tails 0, 1, 1: the first is held against 1, the others against 0, though 1 is there twice."""
    graph = known()
    loss = ranking(graph, loss="bce", negatives=0, in_batch=True)
    drawn, scores = Drawn(first_item(graph) + torch.tensor([0, 1, 1])), torch.tensor([[2.0, -1.0, 9, 9, 9, 9, 9]])
    found = loss.of_scores(lambda items: scores.expand(3, -1).gather(1, _local(items, graph)), drawn)
    first, second = log1pexp(-2) + log1pexp(-1), log1pexp(1) + log1pexp(2)
    assert found.item() == pytest.approx((first + 2 * second) / 3)


def _local(items: Tensor, graph: Graph) -> Tensor:
    local = items - first_item(graph)
    return local if local.dim() == 2 else local.expand(3, -1)


def test_hard_negatives_are_the_best_scored_and_no_hit():
    graph = known()
    loss = ranking(graph, loss="bpr", negatives=4, hard=2)
    negative = first_item(graph) + torch.tensor([[1, 0, 2, 3]])  # the second is the true one, and would be the best
    drawn = Drawn(first_item(graph) + torch.tensor([0]), negative, torch.zeros(1, 4))
    found = loss.of_scores(lambda items: torch.tensor([[5.0, 1.0, 5.0, 3.0, 2.0]]), drawn)
    assert found.item() == pytest.approx((math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-3))) / 2)


P, X = 0.3, 0.6  # the scores of the true item and of another one; both may be cosines
LOG_Q = math.log(0.2)


def with_hit(name: str, negative: list[int], **settings) -> float:
    """The loss of one example whose true item is 0, with these draws; items score .3, .6 and so on."""
    graph = known()
    loss = ranking(graph, loss=name, negatives=len(negative), cosine=name == "ccl", ccl_margin=0.5, **settings)
    scores = torch.tensor([P, X, 0.1, 0.2, 0.0, -0.1, -0.3])
    nodes = first_item(graph) + torch.tensor([negative])
    drawn = Drawn(first_item(graph) + torch.tensor([0]), nodes, torch.full(nodes.shape, LOG_Q))
    return loss.of_scores(lambda items: scores[items - first_item(graph)], drawn).item()


def alone(name: str, positive: Tensor, negative: Tensor) -> Tensor:
    """What the loss would be on paper where two were drawn and one of them is the true one."""
    match name:
        case "bpr":
            return losses.bpr(positive, negative) / 2  # a mean over two
        case "gbce":
            beta = 2 / 6 * (0.75 * (1 - 3) + 3)
            return beta * F.softplus(-positive).mean() + F.softplus(negative).sum()
        case "ccl":
            return (1 - positive + 150 * (negative[:, 0] - 0.5) / 2).mean()
        case "bpr_max":
            return losses.bpr_max(positive, negative, weight=1.0)
        case "sampled_softmax":
            return losses.sampled_softmax(positive, negative, torch.tensor([math.log(2) + LOG_Q]))
    return getattr(losses, name)(positive, negative)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "softmax"])
def test_a_drawn_item_that_is_the_true_one_adds_nothing(name: str):
    wanted = alone(name, torch.tensor([P]), torch.tensor([[X]])).item()
    assert with_hit(name, [0, 1]) == pytest.approx(wanted, rel=1e-5)
    assert with_hit(name, [1, 0]) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "softmax"])
def test_where_all_that_is_drawn_is_the_true_one_only_its_own_part_is_left(name: str):
    own_part = {"bce": math.log(1 + math.exp(-P)), "ccl": 1 - P}
    own_part["gbce"] = own_part["bce"] * (1 / 6 * (0.75 * (1 - 6) + 6))
    assert with_hit(name, [0]) == pytest.approx(own_part.get(name, 0.0), abs=1e-6)


@pytest.mark.parametrize("name", ["bpr_max", "top1_max"])
def test_one_without_negatives_counts_as_an_example_without_loss(name: str):
    graph = known()
    loss = ranking(graph, loss=name, negatives=1)
    scores, start = torch.tensor([P, X, 0.1, 0.2, 0.0, -0.1, -0.3], requires_grad=True), first_item(graph)
    drawn = Drawn(start + torch.tensor([0, 0]), start + torch.tensor([[0], [1]]), torch.zeros(2, 1))
    found = loss.of_scores(lambda items: scores[items - start], drawn)
    assert found.item() == pytest.approx(alone(name, torch.tensor([P]), torch.tensor([[X]])).item() / 2)
    found.backward()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "softmax"])
def test_a_batch_of_one_example_has_a_finite_loss(name: str):
    graph = known()
    loss = ranking(graph, loss=name, negatives=0, in_batch=True, cosine=name == "ccl")
    item, vector = table(graph, 5), torch.randn(1, 5, requires_grad=True)
    value = loss.of_vectors(vector, item, drawn_for(loss, torch.tensor([3])))
    value.backward()
    assert value.isfinite() and vector.grad.isfinite().all() and item.weight.grad.isfinite().all()


# ---------------------------------------------------------------- what the probability of a draw corrects

ESTIMATES = {
    "uniform": {"negatives": 3, "reject": False},
    "popularity": {"negatives": 3, "alpha": 0.75, "reject": False},
    "shared": {"negatives": 4, "shared": True},
    "shared by popularity": {"negatives": 4, "shared": True, "alpha": 1.0},
    "in_batch": {"negatives": 0, "in_batch": True},
    "in_batch and own": {"negatives": 1, "in_batch": True},
    "in_batch and shared": {"negatives": 3, "in_batch": True, "shared": True, "alpha": 0.5},
}


@pytest.mark.parametrize("way", ESTIMATES)
def test_the_sum_of_exponentials_is_estimated_without_bias(way: str):
    """Over 2,000 batches of six edges, the mean of each example's estimate of the sum over all items but its own is
    within four standard errors of that sum, and these are less than 3 % of it."""
    graph = known()
    loss, start, far = ranking(graph, loss="sampled_softmax", **ESTIMATES[way]), first_item(graph), 20.0
    weight = torch.tensor([1.0, 3.0, 0.5, 4.0, 2.0, 1.0, 2.5])

    def score(items: Tensor) -> Tensor:
        """log weight; that of the true item (column 0 of a list) lies far above: log(1 + S e^-20) e^20 is S."""
        scores = weight[items - start].log()
        if items.dim() == 2:
            scores[:, 0] = far
        return scores if items.dim() == 2 else scores.expand(6, -1)

    generator, gaps = torch.Generator().manual_seed(0), []
    for seed in range(2000):
        edges = torch.randint(USERS, (6,), generator=generator)
        drawn = drawn_for(loss, edges, seed)
        estimate = loss.of_scores(score, drawn).item() * math.exp(far)
        gaps.append(estimate - (weight.sum() - weight[drawn.tail - start]).mean().item())
    gap, error = torch.tensor(gaps).mean().item(), torch.tensor(gaps).std().item() / 2000**0.5
    assert error < 0.03 * weight.sum() and abs(gap) < 4 * error


# ---------------------------------------------------------------- what training may not draw


@pytest.mark.parametrize("way", [way for way in WAYS if "hard" not in way])
@pytest.mark.parametrize("name", ["softmax", "sampled_softmax", "bce"])
def test_withheld_items_are_never_classes(name: str, way: str):
    parts = split(known([4] * 20), "cold_items:0.3,seed=1")
    graph, cold = parts.train, parts.train.withheld
    assert 0 < len(cold) < 20
    loss = ranking(graph, loss=name, **WAYS[way])
    assert not torch.isin(loss.classes, cold).any() and (loss.class_of[cold] == -1).all()
    item, vector = table(graph, 4), torch.randn(graph.num_edges, 4)
    loss.of_vectors(vector, item, drawn_for(loss, torch.arange(graph.num_edges))).backward()
    moved = item.weight.grad.abs().sum(1)[:-1] > 0
    assert not moved[cold - first_item(graph)].any()
    if name == "softmax":
        assert moved.sum() == 20 - len(cold)


def test_known_items_are_not_drawn_unless_a_batch_shares_what_is_drawn():
    graph = known()  # each user knows one item
    loss = ranking(graph, loss="bpr", negatives=50)
    (batch,) = Loader(Edges(graph), *loss.stages(), batch_size=USERS)
    assert batch.negative.shape == (USERS, 50) and not (batch.negative == batch.tail.unsqueeze(1)).any()
    for settings in ({"reject": False}, {"shared": True}, {"in_batch": True}):
        loss = ranking(graph, loss="bpr", negatives=50, **settings)
        (batch,) = Loader(Edges(graph), *loss.stages(), batch_size=USERS)
        assert (batch.negative == batch.tail.unsqueeze(1)).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "ccl"}, "loss ccl is defined for cosines: set cosine=true"),
        ({"loss": "softmax", "hard": 1}, "loss softmax estimates a sum over all items, which hard negatives cannot"),
        (
            {"loss": "sampled_softmax", "hard": 1, "negatives": 9},
            "loss sampled_softmax estimates a sum over all items, which",
        ),
        (
            {"loss": "gbce", "hard": 1, "negatives": 9},
            "loss gbce estimates a sum over all items, which hard",
        ),
        ({"loss": "bpr", "negatives": 0}, "loss bpr needs negatives: set negatives to 1 or more, or in_batch"),
        ({"loss": "bpr", "negatives": 0, "shared": True}, "loss bpr needs negatives"),
        ({"loss": "brp"}, "loss='brp'.*'bpr', 'bce'"),
        ({"temperature": 0}, "temperature=0.*greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, message: str):
    with pytest.raises(KgrecError, match=message):
        configure(RankingLossConfig, settings)
