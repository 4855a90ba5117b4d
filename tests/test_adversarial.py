"""IRGAN and DNEN by hand: what is drawn, both losses and their gradients, rewards of two judges, phases, and bases."""

import dataclasses
import math
from collections.abc import Iterator
from math import log

import pandas as pd
import pytest
import torch
from torch import Tensor

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Query, Recommender
from kgrec.nn import AdversarialRanking, adversarial
from kgrec.nn.adversarial import View, draw, others_mean, squares_of
from kgrec.run import train
from kgrec.samplers import Batch
from kgrec.splits.split import split
from kgrec.training.config import AdversarialConfig, TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Epoch, Trainer

#: ann has a and b, bob has b, cem has c, and d is nobody's; users are 0 to 2, items 3 to 6
RATED = pd.DataFrame({"source": ["ann", "ann", "bob", "cem"], "target": ["a", "b", "b", "c"]})
GRAPH = Graph.from_frames(
    nodes={"user": pd.DataFrame({"id": ["ann", "bob", "cem"]}), "item": pd.DataFrame({"id": list("abcd")})},
    edges={("user", "rated", "item"): RATED},
)
USER, ITEM = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 2])  #: of the edges
#: the shares of items that a user's softmax is to have, and what a judge is to say: the probability that a pair is true
SHARE = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.4, 0.1], [0.7, 0.1, 0.1, 0.1]])
TRUE = torch.tensor([[0.75, 0.5, 0.25, 0.9], [0.2, 0.6, 0.5, 0.8], [0.4, 0.3, 0.7, 0.1]])
ALSO_TRUE = torch.tensor([[0.6, 0.8, 0.5, 0.2], [0.5, 0.3, 0.9, 0.4], [0.1, 0.7, 0.6, 0.5]])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_of(name: str, graph: Graph = GRAPH, **config: object) -> AdversarialRanking:
    torch.manual_seed(0)
    model = models.build(name, graph, {"dim": 3, **config})
    assert isinstance(model, AdversarialRanking)
    return model


def say(part: Recommender, scores: Tensor) -> None:
    """Make an MF of GRAPH give these scores, [3, 4]: users' vectors are the unit vectors."""
    with torch.no_grad():
        part.user.weight[:3] = torch.eye(3)
        part.item.weight[:4] = scores.T


def said(name: str, scores: Tensor | None = None, **config: object) -> AdversarialRanking:
    """A model whose generator has scores (None: log SHARE) and whose judges say TRUE and ALSO_TRUE."""
    model = model_of(name, **config)
    say(model.generator, SHARE.log() if scores is None else scores)
    for judge, probability in zip(model.judges().values(), (TRUE, ALSO_TRUE)):
        say(judge, probability.logit())
    return model


def whole(model: AdversarialRanking, end: str = "items", graph: Graph = GRAPH) -> tuple[View, Batch]:
    """A view of a model, and one batch of all its heads."""
    view = View.of(graph.only(graph.target), end, model.judges()[end])
    return view, view.heads[torch.arange(len(view.heads))]


def query_of(*users: int) -> Query:
    return Query(torch.tensor(users), torch.empty(len(users), 0, dtype=torch.long))


def epochs_of(model: Recommender, graph: Graph, epochs: int, **fields: object) -> list[Epoch]:
    return list(running(model, graph, epochs, **fields))


def running(model: Recommender, graph: Graph, epochs: int, **fields: object) -> Iterator[Epoch]:
    training = TrainingConfig(epochs=epochs, device="cpu", **fields)
    return Trainer(model, graph, training, make_fabric(training)).epochs()


def weights_of(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


both = pytest.mark.parametrize("name", ["irgan", "dnen"])


# ---------------------------------------------------------------- draws


def test_draws_are_in_proportion_to_the_shares_of_their_row() -> None:
    """Chi-square of 3 and of 1 degrees of freedom; 1 of 1000 is beyond 16.3, and 10.8."""
    torch.manual_seed(0)
    share = torch.tensor(
        [[0.0, 1.0, 2.0, 3.0, 4.0, 0.0], [9.0, 9.0, 9.0, 9.0, 9.0, 9.0], [0.0, 0.0, 3.0, 0.0, 1.0, 0.0]]
    )
    row, column = draw(share, torch.tensor([20_000, 0, 8_000]))
    assert row.tolist() == [0] * 20_000 + [2] * 8_000
    for number, expected, beyond in (
        (0, torch.tensor([0.0, 2_000, 4_000, 6_000, 8_000, 0.0]), 16.3),
        (2, torch.tensor([0.0, 0.0, 6_000, 0.0, 2_000, 0.0]), 10.8),
    ):
        found, there = torch.bincount(column[row == number], minlength=6), expected > 0
        assert not found[~there].any()
        assert ((found - expected).square()[there] / expected[there]).sum() < beyond


@pytest.mark.parametrize(("point", "expected"), [(0.0, [1, 0, 2]), (0.5, [2, 1, 2]), (0.999, [2, 1, 2])])
def test_a_draw_is_where_the_shares_so_far_pass_the_point(
    point: float, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a row of shares 0, 2, 2, 0 is where its second begins; what has no share is passed over."""
    monkeypatch.setattr(torch, "rand", lambda number, **kind: torch.full((number,), point, **kind))
    share = torch.tensor([[0.0, 2.0, 2.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]])
    assert draw(share, torch.ones(3, dtype=torch.long))[1].tolist() == expected


def test_others_mean() -> None:
    value, row = torch.tensor([1.0, 2.0, 6.0, 5.0, -1.0, 3.0]), torch.tensor([0, 0, 0, 1, 3, 3])
    found = others_mean(value, row, torch.tensor([3, 1, 0, 2]))
    assert found.tolist() == [(2 + 6) / 2, (1 + 6) / 2, (1 + 2) / 2, 0, 3, -1]


def drawn_from(model: AdversarialRanking, loss: str, end: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, list]:
    """The proportions that a loss draws from, rows of sum 1, and how many of each row."""
    seen = []
    monkeypatch.setattr(adversarial, "draw", lambda share, number: seen.append((share, number)) or draw(share, number))
    getattr(model, loss)(*whole(model, end))
    ((share, number),) = seen
    return share / share.sum(1, keepdim=True), number.tolist()


def test_a_judge_is_shown_what_the_cooled_generator_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores log p / (2 x .25) are log p^2; as many are drawn as are true."""
    share, number = drawn_from(said("irgan", g_temperature=2.0, d_temperature=0.25), "judge_loss", "items", monkeypatch)
    torch.testing.assert_close(share, SHARE**2 / (SHARE**2).sum(1, keepdim=True))
    assert number == [2, 1, 1]


def test_a_generator_draws_from_itself_and_from_what_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """.6 p of its softmax at temperature 2, and .4 over ann's a and b, bob's b and cem's c; 3 for each true one."""
    model = said("irgan", 2 * SHARE.log(), g_temperature=2.0, true_share=0.4, draws=3)
    share, number = drawn_from(model, "generator_loss", "items", monkeypatch)
    true = torch.tensor([[0.2, 0.2, 0, 0], [0, 0.4, 0, 0], [0, 0, 0.4, 0]])
    torch.testing.assert_close(share, 0.6 * SHARE + true)
    assert number == [6, 3, 3]


def test_users_of_an_item_are_the_transposed_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """a has ann, b has ann and bob, c has cem; d, which nobody has, is no head."""
    model = said("dnen", true_share=0.4, draws=3)
    view, batch = whole(model, "users")
    assert batch.head.tolist() == [3, 4, 5] and batch.tail.tolist() == [0, 0, 1, 2]
    torch.testing.assert_close(view.rows(model.generator, torch.tensor([6, 4])), SHARE.log().T[[3, 1]])
    torch.testing.assert_close(
        view.pairs(model.generator, batch.head, torch.tensor([2, 0, 1])), SHARE.log()[[2, 0, 1], [0, 1, 2]]
    )
    share, number = drawn_from(model, "generator_loss", "users", monkeypatch)
    true = torch.tensor([[0.4, 0, 0], [0.2, 0.2, 0], [0, 0, 0.4]])
    torch.testing.assert_close(share, 0.6 * (SHARE / SHARE.sum(0)).T[:3] + true)
    assert number == [3, 6, 3]


def pairs_judged(model: AdversarialRanking, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Heads and others of all the pairs that two epochs score."""
    seen, pairs = [], View.pairs
    monkeypatch.setattr(View, "pairs", lambda s, m, head, other: seen.append((head, other)) or pairs(s, m, head, other))
    epochs_of(model, graph, 2)
    return torch.cat([head for head, _ in seen]), torch.cat([other for _, other in seen])


def test_what_is_withheld_is_never_drawn(planted: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    known = split(planted, "cold_items:0.2,seed=1").train
    assert known.withheld is not None and len(known.withheld) >= 4
    for name, draws in (("irgan", 2), ("dnen", 0), ("dnen", 2)):
        model = model_of(name, known, pretrain_epochs=0, draws=draws)
        head, other = pairs_judged(model, known, monkeypatch)
        shown = torch.cat([head, other])
        assert not torch.isin(shown, known.withheld).any()
        assert set(known.drawable("item").tolist()) <= set(shown.tolist())
    view, batch = whole(model, "items", known)
    assert torch.equal(view.drawable[view.columns(batch.tail)], batch.tail)
    assert view.rows(model.generator, batch.head[:2]).shape == (2, 40 - len(known.withheld))


def test_withheld_users_are_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """dan has nothing and is withheld, so that an item has one of the other three; the generator would have him."""
    people = pd.DataFrame({"id": ["ann", "dan", "bob", "cem"]})
    graph = Graph.from_frames(nodes={"user": people}, edges={("user", "rated", "item"): RATED})
    graph = dataclasses.replace(graph, withheld=graph.flat("user", ["dan"]))
    model = model_of("dnen", graph, pretrain_epochs=0)
    with torch.no_grad():
        model.generator.user.weight[1], model.generator.item.weight[:-1] = 100.0, 1.0
    head, other = pairs_judged(model, graph, monkeypatch)
    assert set(torch.cat([head, other]).tolist()) == {0, 2, 3, 4, 5, 6}


def test_users_alone_are_drawn_where_users_alone_are_judged(planted: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("dnen", planted, judges="users", pretrain_epochs=0)
    assert model.item_judge is None and list(model.judges()) == ["users"]
    assert [objective.name for objective in model.objectives(planted)] == ["judge of users", "generator of users"]
    head, other = pairs_judged(model, planted, monkeypatch)
    assert torch.isin(head, planted.nodes("item")).all() and torch.isin(other, planted.nodes("user")).all()


# ---------------------------------------------------------------- the judge's loss

ONE_HOT = 1000 * torch.tensor([[0.0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]])  #: ann gets d, bob a, cem d
OF_TRUE = [0.75, 0.5, 0.6, 0.7]  #: TRUE of ann's a and b, bob's b and cem's c
OF_DRAWN = [0.9, 0.9, 0.2, 0.1]  #: TRUE of ann's d, twice, bob's a and cem's d


def test_a_judges_loss_is_the_cross_entropy_of_true_and_drawn_pairs() -> None:
    model = said("irgan", ONE_HOT)
    loss = model.judge_loss(*whole(model))
    assert loss.item() == pytest.approx(-(sum(map(log, OF_TRUE)) + sum(log(1 - p) for p in OF_DRAWN)) / 8, rel=1e-5)
    assert model.diagnostics() == {
        "d_accuracy": 5 / 8
    }  # ann's b is at a half and so no, and her d is taken for true twice
    loss.backward()
    assert all(parameter.grad is None for parameter in model.generator.parameters())


def test_a_judge_of_users_is_shown_users() -> None:
    """a gets ann, b and c get cem: (ann, a), (cem, b) twice and (cem, c)."""
    model = said("dnen", 1000 * torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]]))
    of_true = [0.6, 0.8, 0.3, 0.6]  # ALSO_TRUE of the edges
    of_drawn = [0.6, 0.7, 0.7, 0.6]
    loss = model.judge_loss(*whole(model, "users"))
    assert loss.item() == pytest.approx(-(sum(map(log, of_true)) + sum(log(1 - p) for p in of_drawn)) / 8, rel=1e-5)


@both
def test_l2_is_of_the_vectors_behind_each_true_pair(name: str) -> None:
    """Users' vectors are of length 1, and those of items are the columns of scores."""
    plain, weighed = (said(name, ONE_HOT / 500, d_l2=l2, g_l2=l2, draws=0) for l2 in (0.0, 0.3))
    for loss, scores in (("judge_loss", TRUE.logit()), ("generator_loss", ONE_HOT / 500)):
        values = []
        for model in (plain, weighed):
            torch.manual_seed(0)
            values.append(getattr(model, loss)(*whole(model)).item())
        squares = 4 + scores.square().sum(0)[ITEM].sum().item()
        assert values[1] - values[0] == pytest.approx(0.3 * squares / 4, rel=1e-4)
    assert squares_of(plain.generator, torch.tensor([0, 0, 2])).item() == 3
    assert [o.penalty is None for o in plain.objectives(GRAPH)][-2:] == [True, True]
    (penalty,) = (o.penalty for o in weighed.objectives(GRAPH) if o.name == "generator of items")
    assert penalty(whole(weighed)[1]).item() == pytest.approx(0.3 * squares / 4)


# ---------------------------------------------------------------- the generator's loss


def expectation(scores: Tensor, reward: Tensor, of_users: bool = False) -> Tensor:
    """Less E_p[reward], the mean over edges. scores, reward: [3, 4]."""
    if of_users:
        return -(scores.softmax(0) * reward).sum(0)[ITEM].mean()
    return -(scores.softmax(1) * reward).sum(1)[USER].mean()


def test_the_expected_reward_by_hand() -> None:
    """Rewards of a probability q are 2 q - 1. Ann's expectation counts twice, for her two edges."""
    ann = 0.1 * 0.5 + 0.2 * 0 + 0.3 * -0.5 + 0.4 * 0.8
    bob = 0.25 * -0.6 + 0.25 * 0.2 + 0.4 * 0 + 0.1 * 0.6
    cem = 0.7 * -0.2 + 0.1 * -0.4 + 0.1 * 0.4 + 0.1 * -0.8
    for scores, temperature in ((SHARE.log(), 1.0), (3 * SHARE.log(), 3.0)):
        model = said("irgan", scores, draws=0, g_temperature=temperature)
        assert model.generator_loss(*whole(model)).item() == pytest.approx(-(2 * ann + bob + cem) / 4, rel=1e-4)


def test_entropy_is_worth_what_its_weight_says() -> None:
    """The entropies of the rows of SHARE, ann's twice, are added with their weight to what is expected."""
    entropy = -(SHARE * SHARE.log()).sum(1)[USER].mean().item()
    without, weighed = (said("irgan", draws=0, entropy=weight) for weight in (0.0, 0.3))
    losses = [model.generator_loss(*whole(model)).item() for model in (without, weighed)]
    assert losses[0] - losses[1] == pytest.approx(0.3 * entropy, rel=1e-4)


def test_the_best_generator_has_shares_of_the_exponents_of_its_rewards() -> None:
    """p in proportion to exp(reward / alpha) has a gradient of 0, and no other."""
    best = ((2 * TRUE - 1) / 0.5).log_softmax(1)
    for scores, is_best in ((best, True), (SHARE.log(), False)):
        model = said("irgan", scores, draws=0, entropy=0.5)
        model.generator_loss(*whole(model)).backward()
        assert bool(model.generator.item.weight.grad.abs().max() < 1e-6) is is_best


@pytest.mark.parametrize(("name", "end"), [("irgan", "items"), ("dnen", "items"), ("dnen", "users")])
def test_the_gradient_without_draws_is_that_of_the_expectation(name: str, end: str) -> None:
    """Both of DNEN's judges judge each pair of either view: the reward is that of the mean of their logits."""
    model = said(name, draws=0)
    loss = model.generator_loss(*whole(model, end))
    logit = TRUE.logit() if name == "irgan" else (TRUE.logit() + ALSO_TRUE.logit()) / 2
    user, item = (table.weight for table in (model.generator.user, model.generator.item))
    wanted = expectation(user[:3] @ item[:4].T, 2 * logit.sigmoid() - 1, end == "users")
    torch.testing.assert_close(loss, wanted)
    for weight in (user, item):
        found, exact = (torch.autograd.grad(value, weight, retain_graph=True)[0] for value in (loss, wanted))
        torch.testing.assert_close(found, exact)
        assert exact.abs().max() > 0.01
    loss.backward()
    assert all(p.grad is None for judge in model.judges().values() for p in judge.parameters())


@pytest.mark.parametrize("baseline", [True, False])
def test_the_loss_by_draws_by_hand(baseline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ann a, d, b, d are drawn, of bob c and a, of cem a and c. p over .8 p + .2 / (her two) is .1 / .18 for ann's
    a, .2 / .26 for her b, .1 / .28 for cem's c, and 1 / .8 for what is not true."""
    row, column = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2]), torch.tensor([0, 3, 1, 3, 2, 0, 0, 2])
    monkeypatch.setattr(adversarial, "draw", lambda share, number: (row, column))
    model = said("irgan", draws=2, true_share=0.2, baseline=baseline)
    weight = [0.1 / 0.18, 1.25, 0.2 / 0.26, 1.25, 1.25, 1.25, 1.25, 0.1 / 0.28]
    reward = [0.5, 0.8, 0.0, 0.8, 0.0, -0.6, -0.2, 0.4]
    chance = [0.1, 0.4, 0.2, 0.4, 0.4, 0.25, 0.7, 0.1]
    total = 0.0
    for one, (w, r, p) in enumerate(zip(weight, reward, chance)):
        others = [weight[k] * reward[k] for k in range(8) if row[k] == row[one] and k != one]
        total += w * (r - sum(others) / len(others) * baseline) * log(p)
    assert model.generator_loss(*whole(model)).item() == pytest.approx(-total / 8, rel=1e-4)


def gradients(times: int, end: str = "items", **config: object) -> tuple[Tensor, Tensor]:
    """Gradients of the generator's loss by draws, [times, n], and the one of the expectation, [n]."""
    found = []
    for draws in [0] + [config.pop("draws")] * times:
        if len(found) < 2:
            model = said("dnen", draws=draws, **config)
            view, batch = whole(model, end)
            torch.manual_seed(3)
        gradient = torch.autograd.grad(model.generator_loss(view, batch), list(model.generator.parameters()))
        found.append(torch.cat([part.flatten() for part in gradient]))
    return torch.stack(found[1:]), found[0]


@pytest.mark.parametrize("end", ["items", "users"])
@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize(("true_share", "entropy"), [(0.0, 0.0), (0.2, 0.0), (0.8, 0.0), (0.2, 0.3)])
def test_the_gradient_by_draws_is_right_in_the_mean(
    true_share: float, entropy: float, baseline: bool, end: str
) -> None:
    """It is within 4.5 standard errors of the exact one, which are a twentieth of it or less."""
    found, exact = gradients(150, end, draws=100, true_share=true_share, entropy=entropy, baseline=baseline)
    error = found.std(0) / 150**0.5
    assert ((found.mean(0) - exact).abs() <= 4.5 * error + 1e-6).all()
    assert error.norm() < exact.norm() / 20


def test_a_baseline_lowers_the_variance() -> None:
    """Where all judge pairs to be true, a reward says little but by how much it is more than others."""
    spread = []
    for baseline in (True, False):
        found, _ = gradients(200, "items", draws=8, judges="items", baseline=baseline)
        spread.append(found.var(0).sum())
    assert spread[0] < spread[1]


# ---------------------------------------------------------------- DNEN's two judges

THREE_QUARTERS, HALF = torch.tensor([log(3), 0.0]), torch.tensor([0.0, 0.0])


@pytest.mark.parametrize(
    ("combination", "first", "second"),
    [
        ("mean", 3**0.5 / (1 + 3**0.5), 0.5),  # the logit is log(3) / 2
        ("min", 0.5, 0.5),
        ("product", 0.75 * 0.5, 0.5 * 0.5),
    ],
)
def test_what_two_judges_say_together(combination: str, first: float, second: float) -> None:
    model = model_of("dnen", combination=combination)
    for logits in ([THREE_QUARTERS, HALF], [HALF, THREE_QUARTERS]):
        assert model.combined(logits).sigmoid().tolist() == pytest.approx([first, second])
        assert model.reward(logits).tolist() == pytest.approx([2 * first - 1, 2 * second - 1], abs=1e-6)
    for certain in (-200.0, 200.0):
        reward = model.reward([torch.tensor([certain])] * 2)
        assert reward.item() == pytest.approx(math.copysign(1, certain), abs=1e-5)


def test_one_judge_is_taken_at_its_word() -> None:
    for combination in ("mean", "min", "product"):
        model = model_of("dnen", combination=combination, judges="users")
        assert model.reward([THREE_QUARTERS]).tolist() == pytest.approx([0.5, 0])


@pytest.mark.parametrize("combination", ["mean", "min", "product"])
def test_judges_may_serve(combination: str) -> None:
    model, items = said("dnen", combination=combination, serve="discriminator"), GRAPH.nodes("item")
    one, other = TRUE[[2, 0]], ALSO_TRUE[[2, 0]]
    wanted = {
        "mean": (one.logit() + other.logit()) / 2,
        "min": torch.minimum(one, other).logit(),
        "product": (one * other).logit(),
    }[combination]
    torch.testing.assert_close(model.score(query_of(2, 0), items), wanted)
    torch.testing.assert_close(said("dnen").score(query_of(2, 0), items), SHARE[[2, 0]].log())


def test_irgans_discriminator_may_serve() -> None:
    model, items = said("irgan", serve="discriminator"), GRAPH.nodes("item")
    torch.testing.assert_close(model.score(query_of(1), items), TRUE[[1]].logit())


@pytest.mark.parametrize("config", [{}, {"draws": 0, "d_start": "pretrained", "d_l2": 0.01}, {"d_config": {"dim": 2}}])
def test_without_users_dnen_is_irgan(config: dict, planted: Graph) -> None:
    how = {"pretrain_epochs": 1, "adversarial_batch_size": 16, "g_lr": 0.5, **config}
    irgan, dnen = model_of("irgan", planted, **how), model_of("dnen", planted, judges="items", **how)
    one, other = epochs_of(irgan, planted, 4), epochs_of(dnen, planted, 4)
    assert [epoch.losses for epoch in one] == [epoch.losses for epoch in other]
    assert [epoch.diagnostics for epoch in one] == [epoch.diagnostics for epoch in other]
    renamed = {name.replace("item_judge", "discriminator"): one for name, one in weights_of(dnen).items()}
    assert same(weights_of(irgan), renamed)


# ---------------------------------------------------------------- phases


def test_the_three_phases(planted: Graph) -> None:
    model = model_of("dnen", planted, pretrain_epochs=2, d_epochs=1)
    training = TrainingConfig(epochs=4, device="cpu")
    trainer = Trainer(model, planted, training, make_fabric(training))
    before, names, moved = weights_of(model), [], []
    for epoch in trainer.epochs():
        names.append(list(epoch.losses))
        now = weights_of(model)
        moved.append({name.split(".")[0] for name in now if not torch.equal(now[name], before[name])})
        before = now
        assert ("d_accuracy" in epoch.diagnostics, "entropy" in epoch.diagnostics) == (
            epoch.number > 2,
            epoch.number > 3,
        )
    judges = ["judge of items", "judge of users"]
    assert names == [["pretrain ranking"]] * 2 + [judges, [*judges, "generator of items", "generator of users"]]
    assert moved == [{"generator"}] * 2 + [{"item_judge", "user_judge"}, {"generator", "item_judge", "user_judge"}]
    assert trainer.last_phase == 4
    assert [o.interleave for o in trainer.objectives] == [None] * 3 + ["generator"] * 2  # its two take turns


def test_rates_and_optimizers_are_of_each(planted: Graph) -> None:
    config = {"lr": 0.1, "g_lr": 0.2, "d_lr": 0.3, "adversarial_batch_size": 7, "batch_size": 9}
    first, judge, maker = model_of("irgan", planted, **config, d_optimizer="sgd", g_optimizer="adam").objectives(
        planted
    )
    assert (first.lr, judge.lr, maker.lr) == (0.1, 0.3, 0.2)
    assert (first.batches.batch_size, judge.batches.batch_size, maker.batches.batch_size) == (9, 7, 7)
    kinds = [type(o.optimizer(o.parameters, o.lr)).__name__ for o in (first, judge, maker)]
    assert kinds == ["Adam", "SGD", "Adam"]


@pytest.mark.parametrize(("share", "rates"), [(0.5, {"items": 0.2, "users": 0.1}), (0, {"items": 0.2})])
def test_users_may_be_learned_from_more_slowly_or_not_at_all(share: float, rates: dict, planted: Graph) -> None:
    """Both are judged all the same, and what users are drawn for the judge counts in no diagnostic of the generator."""
    model = model_of("dnen", planted, pretrain_epochs=0, g_lr=0.2, users_lr=share)
    found = {o.name: o.lr for o in model.objectives(planted) if o.name.startswith("generator")}
    assert found == {f"generator of {end}": rate for end, rate in rates.items()}
    (epoch,) = epochs_of(model, planted, 1)
    assert [name for name in epoch.losses if "judge" in name] == ["judge of items", "judge of users"]
    assert set(model.tally.share) == set(rates) and set(epoch.diagnostics) == {"d_accuracy", "entropy", "distinct"}


@both
def test_judges_start_from_what_pretraining_made(name: str) -> None:
    for start, equal in (("scratch", False), ("pretrained", True)):
        model = model_of(name, pretrain_epochs=2, d_start=start)
        made = weights_of(model.generator)
        model.begin(2)
        assert not any(same(weights_of(judge), made) for judge in model.judges().values())
        model.begin(3)
        assert all(same(weights_of(judge), made) == equal for judge in model.judges().values())
        with torch.no_grad():
            model.generator.user.weight.zero_()
        model.begin(4)
        assert not any(same(weights_of(judge), weights_of(model.generator)) for judge in model.judges().values())


def test_judges_with_settings_of_their_own_are_pretrained_themselves(planted: Graph) -> None:
    for start, moved in (("scratch", False), ("pretrained", True)):
        model = model_of("dnen", planted, pretrain_epochs=1, d_start=start, d_config={"dim": 2})
        assert [part.user.weight.shape[1] for part in (model.generator, *model.judges().values())] == [3, 2, 2]
        before = {end: weights_of(judge) for end, judge in model.judges().items()}
        epochs = running(model, planted, 2)
        epoch = next(epochs)
        own = ["pretrain ranking of the judge of items", "pretrain ranking of the judge of users"]
        assert list(epoch.losses) == ["pretrain ranking", *(own if moved else [])]
        assert all(same(weights_of(judge), before[end]) != moved for end, judge in model.judges().items())
        assert next(iter(next(epochs).losses)) == "judge of items"


@both
@pytest.mark.parametrize("start", ["scratch", "pretrained"])
def test_training_cut_in_any_phase_goes_on_to_the_bit(name: str, start: str, planted: Graph) -> None:
    config = {"pretrain_epochs": 2, "d_epochs": 1, "d_start": start, "g_lr": 0.5, "adversarial_batch_size": 32}

    def trainer(epochs: int) -> Trainer:
        training = TrainingConfig(epochs=epochs, device="cpu", lr_decay="linear")
        return Trainer(model_of(name, planted, **config), planted, training, make_fabric(training))

    straight = trainer(5)
    list(straight.epochs())
    for cut in (1, 2, 3, 4):
        first = trainer(5)
        for epoch in first.epochs():
            if epoch.number == cut:
                break
        weights, state = weights_of(first.model), {key: value.clone() for key, value in first.state().items()}
        second = trainer(5)
        second.model.load_state_dict(weights)
        second.load_state(state, cut)
        assert [epoch.number for epoch in second.epochs()] == list(range(cut + 1, 6))
        assert same(weights_of(straight.model), weights_of(second.model)), cut


class Interrupt(Exception):
    pass


@both
@pytest.mark.parametrize("cut", [2, 3])
def test_a_resumed_run_is_equal_to_the_bit(name: str, cut: int, planted: Graph, tmp_path) -> None:
    """Cut after the last epoch of pre-training, and after the first beyond it."""
    config = {"dim": 3, "pretrain_epochs": 2, "d_start": "pretrained", "adversarial_batch_size": 32}
    how = {"split": "last_n:1,valid=1", "config": config, "training": TrainingConfig(epochs=4, device="cpu")}

    def stop(epoch: Epoch, metrics: object) -> None:
        if epoch.number > cut:
            raise Interrupt

    straight = train(name, planted, **how)
    with pytest.raises(Interrupt):
        train(name, planted, out=tmp_path / "run", report=stop, **how)
    resumed = train(name, planted, out=tmp_path / "run", resume=True, **how)
    assert same(weights_of(straight.model), weights_of(resumed.model))
    assert straight.metrics["test"] == resumed.metrics["test"]


@pytest.mark.usefixtures("bf16_everywhere")
@both
@pytest.mark.parametrize("draws", [0, 2])
def test_it_runs_in_bf16(draws: int, name: str, planted: Graph) -> None:
    model = model_of(name, planted, pretrain_epochs=0, adversarial_batch_size=32, draws=draws)
    (epoch,) = epochs_of(model, planted, 1, precision="bf16-mixed")
    assert all(map(math.isfinite, epoch.losses.values()))
    assert all(parameter.dtype == torch.float32 and parameter.isfinite().all() for parameter in model.parameters())


@both
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_losses_may_also_be_taken_at_moved_vectors(l2: float, name: str, planted: Graph) -> None:
    model = model_of(name, planted, pretrain_epochs=1, adversarial_batch_size=32, d_l2=l2, g_l2=l2)
    epochs = epochs_of(model, planted, 2, adversarial=AdversarialConfig(weight=1.0))
    assert all(math.isfinite(value) for epoch in epochs for value in epoch.losses.values())


# ---------------------------------------------------------------- bases


@both
@pytest.mark.parametrize(
    ("base", "fields"), [("neumf", {"hidden": (4,)}), ("lightgcn", {"layers": 1}), ("kgat", {"layer_dims": (4,)})]
)
def test_generator_and_judges_may_be_other_models(base: str, fields: dict, name: str, planted: Graph) -> None:
    model = model_of(
        name, planted, base=base, base_config=fields, pretrain_epochs=1, adversarial_batch_size=32, g_lr=0.1
    )
    made = weights_of(model.generator)
    first, second = epochs_of(model, planted, 2)
    assert "pretrain ranking" in first.losses and ("pretrain transr" in first.losses) == (base == "kgat")
    assert "generator of items" in second.losses
    assert all(math.isfinite(value) for epoch in (first, second) for value in epoch.losses.values())
    parts = [model.generator, *model.judges().values()]
    assert {type(part) for part in parts} == {models.find(base)}
    ((field, value),) = fields.items()
    assert all(part.config.dim == 3 and getattr(part.config, field) == value for part in parts)
    assert not same(weights_of(model.generator), made)
    for serve in ("generator", "discriminator"):
        model.config = dataclasses.replace(model.config, serve=serve)
        with torch.no_grad():
            scores = model.eval().score(query_of(0, 59), planted.nodes("item"))
        assert scores.shape == (2, 40) and scores.isfinite().all() and scores.unique().numel() > 2


def test_what_a_graph_model_learns_against_its_judge_is_what_it_serves(planted: Graph) -> None:
    """An epoch's end makes anew the vectors that are kept for scoring."""
    model = model_of("irgan", planted, base="lightgcn", pretrain_epochs=0, g_lr=1.0)
    epochs_of(model, planted, 1)
    user, item = model.generator.encode()
    with torch.no_grad():
        found = model.eval().score(query_of(5), planted.nodes("item"))
    torch.testing.assert_close(found[0], item @ user[5])


@both
@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            "ease",
            r"base 'ease' has no learning rate \(lr\), so .*; choose a base that scores users and items",
        ),
        ("popularity", r"base 'popularity' has no learning rate \(lr\)"),
        (
            "sasrec",
            "base 'sasrec' reads histories; choose a base that scores users and items",
        ),
        ("svdpp", "task='ranking' of model 'svdpp'"),
        ("mff", "no model 'mff' .*; did you mean 'mf'"),
    ],
)
def test_bases_that_do_not_go_are_refused(base: str, message: str, name: str) -> None:
    with pytest.raises(KgrecError, match=message):
        model_of(name, base=base)


@both
def test_a_setting_that_the_base_lacks_is_refused(name: str) -> None:
    for config in ({"base_config": {"layer": 2}}, {"d_config": {"layer": 2}}):
        with pytest.raises(UnknownName, match="no field 'layer' of model 'mf'"):
            model_of(name, **config)


@both
@pytest.mark.parametrize("epochs", [0, 3])
@pytest.mark.parametrize("whose", ["base_config", "d_config"])
def test_a_base_with_phases_of_its_own_is_refused(whose: str, epochs: int, name: str) -> None:
    model = model_of(name, base="neumf", pretrain_epochs=epochs, **{whose: {"pretrain_epochs": 2}})
    with pytest.raises(KgrecError, match=r"base 'neumf' has training phases of its own, .*; switch off the base's"):
        model.objectives(GRAPH)


def test_a_base_with_gradients_of_some_rows_is_refused(planted: Graph) -> None:
    sampled = {"layer_dims": (4,), "fanouts": (2,), "sparse": True}
    with pytest.raises(KgrecError, match=r"base 'kgat' uses sparse gradients, .*; set sparse: false"):
        model_of("irgan", planted, base="kgat", base_config=sampled).objectives(planted)


# ---------------------------------------------------------------- warnings


def test_signs_are_of_what_is_generated_and_drawn() -> None:
    """The mean row of SHARE, .35, .55 / 3, .8 / 3 and .2; with all heads on item d, one of four is drawn."""
    model = said("irgan")
    model.judge_loss(*whole(model)), model.generator_loss(*whole(model))
    mean = [0.35, 0.55 / 3, 0.8 / 3, 0.2]
    assert model.diagnostics()["entropy"] == pytest.approx(-sum(p * log(p) for p in mean) / log(4), rel=1e-5)
    narrow = said("irgan", 1000 * torch.tensor([[0.0, 0, 0, 1]]).expand(3, -1))
    narrow.judge_loss(*whole(narrow)), narrow.generator_loss(*whole(narrow))
    assert (narrow.diagnostics()["entropy"], narrow.diagnostics()["distinct"]) == (pytest.approx(0, abs=1e-6), 1 / 4)
    narrow.begin(50)
    assert narrow.diagnostics() == {}  # they are of one epoch
    view, _ = whole(model)
    even, distinct = view.real()  # a and c have one edge, b has two, d none
    assert even == pytest.approx(-(0.5 * log(0.25) + 0.5 * log(0.5)) / log(4)) and distinct == 3 / 4


def test_signs_are_of_the_view_with_the_least() -> None:
    """Items are drawn evenly for all users, and one user, bob, for all items."""
    model = said("dnen", 1000 * torch.tensor([[0.0], [1], [0]]).expand(-1, 4))
    for end in ("items", "users"):
        model.judge_loss(*whole(model, end)), model.generator_loss(*whole(model, end))
    assert model.diagnostics()["entropy"] == pytest.approx(0, abs=1e-6)
    assert model.diagnostics()["distinct"] == 1 / 3


@both
def test_a_collapsed_generator_is_told_once(name: str, planted: Graph) -> None:
    """All users are given one item: five epochs of it are told by the fifth."""
    model = model_of(name, planted, pretrain_epochs=0, g_lr=1e-12, d_lr=1e-12)
    with torch.no_grad():
        model.generator.user.weight[:-1] = 1.0
        model.generator.item.weight[:-1] = 0.0
        model.generator.item.weight[7] = 50.0
    epochs = epochs_of(model, planted, 7)
    assert [len(epoch.warnings) for epoch in epochs] == [0, 0, 0, 0, 1, 0, 0]
    assert "the generator has collapsed" in epochs[4].warnings[0] and "lower g_lr" in epochs[4].warnings[0]
    assert epochs[4].diagnostics["distinct"] == 1 / 40


def test_a_fair_generator_is_no_concern(planted: Graph) -> None:
    model = model_of("dnen", planted, pretrain_epochs=2)
    assert not [warning for epoch in epochs_of(model, planted, 9) for warning in epoch.warnings]


@both
@pytest.mark.parametrize("draws", [0, 2])
def test_a_loss_that_is_not_finite_stops_training(draws: int, name: str, planted: Graph) -> None:
    model = model_of(name, planted, pretrain_epochs=1, adversarial_batch_size=16, draws=draws, g_lr=1e30)
    with pytest.raises(KgrecError, match=r"epoch [23]: the loss 'generator of items' is nan; lower the learning rate"):
        epochs_of(model, planted, 4)


@pytest.mark.cuda
@both
@pytest.mark.parametrize("draws", [0, 2])
@pytest.mark.parametrize(("base", "precision"), [("mf", "32-true"), ("mf", "bf16-mixed"), ("kgat", "32-true")])
def test_it_trains_on_cuda_too(base: str, precision: str, draws: int, name: str, planted: Graph) -> None:
    config = {"dim": 8, "base": base, "pretrain_epochs": 1, "d_start": "pretrained", "draws": draws, "d_l2": 0.01}
    training = TrainingConfig(epochs=3, device="cuda", precision=precision)
    run = train(name, planted, split="last_n:1,valid=1", config=config, training=training)
    assert math.isfinite(run.metrics["test"]["ndcg@10"])
    assert next(run.model.parameters()).is_cuda
