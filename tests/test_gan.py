"""GAN from noise: the losses of each value by hand, what is masked, what a score is, and warnings."""

import dataclasses
from math import log

import pandas as pd
import pytest
import torch
from torch import Tensor

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.models.gan import (
    HINTS,
    gradient_penalty,
    judges_loss,
    makers_loss,
    num_right,
    some_unobserved,
    zero_reconstruction,
)
from kgrec.nn import Watch
from kgrec.samplers import Batch, Nodes
from kgrec.samplers.histories import Histories
from kgrec.splits.split import split
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

#: ann has a and b, bob has b, and c is nobody's; ann and cem are 20 years old
RATED = pd.DataFrame({"source": ["ann", "ann", "bob", "cem"], "target": ["a", "b", "b", "b"]})
PEOPLE = pd.DataFrame({"id": ["ann", "bob", "cem"], "age": [20.0, 40.0, 20.0]})
GRAPH = Graph.from_frames(
    nodes={"user": PEOPLE, "item": pd.DataFrame({"id": ["a", "b", "c"]})},
    edges={("user", "rated", "item"): RATED},
    features={"user": {"age": "numeric"}},
)
SMALL = {"dim": 4, "noise_dim": 3, "draws": 2, "d_hidden": (5,)}


def model_of(graph: Graph = GRAPH, seed: int = 0, **config: object):
    torch.manual_seed(seed)
    return models.build("gan", graph, {**SMALL, **config})


def users_of(graph: Graph = GRAPH) -> Batch:
    seeds = Nodes(graph, "user")
    return seeds[torch.arange(len(seeds))]


def query_of(*users: int, graph: Graph = GRAPH) -> Query:
    user = torch.tensor(users)
    return Query(user, Histories(graph).last(user))


# ---------------------------------------------------------------- losses

REAL, MADE = torch.tensor([0.0, log(3)]), torch.tensor([-log(3), 0.0])  # D is 1/2 and 3/4; 1/4 and 1/2


def test_losses_of_the_three_values() -> None:
    of_judge = -(log(1 / 2) + log(3 / 4)) / 2 - (log(3 / 4) + log(1 / 2)) / 2
    assert judges_loss("minmax", REAL, MADE).item() == pytest.approx(of_judge)
    assert judges_loss("nonsaturating", REAL, MADE).item() == pytest.approx(of_judge)
    assert judges_loss("wasserstein", REAL, MADE).item() == pytest.approx(-log(3) / 2 - log(3) / 2)
    assert makers_loss("minmax", MADE).item() == pytest.approx((log(3 / 4) + log(1 / 2)) / 2)
    assert makers_loss("nonsaturating", MADE).item() == pytest.approx(-(log(1 / 4) + log(1 / 2)) / 2)
    assert makers_loss("wasserstein", MADE).item() == pytest.approx(log(3) / 2)


def test_what_a_judge_knows_for_what_it_is() -> None:
    assert num_right(torch.tensor([1.0, -1, 2]), torch.tensor([-1.0, 3, 4])) == 2 + 1


def test_gradient_penalty_of_a_linear_critic() -> None:
    """|(3, 4)| is 5 wherever it is, so (5 - 1)^2; its gradient is 2 (5 - 1) (3, 4) / 5."""
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    penalty = gradient_penalty(lambda row: row @ weight, torch.rand(7, 2))
    assert penalty.item() == pytest.approx(16)
    penalty.backward()
    assert weight.grad.tolist() == pytest.approx([4.8, 6.4])


def test_gradient_penalty_is_of_each_row() -> None:
    """The gradient of |x|^2 / 2 is x: (5 - 1)^2 and (1 - 1)^2."""
    rows = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    with torch.no_grad():
        assert gradient_penalty(lambda row: row.square().sum(1) / 2, rows).item() == pytest.approx(8)


def test_zero_reconstruction() -> None:
    made, drawn = torch.tensor([[0.5, 1.0], [0.2, 0.1]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert zero_reconstruction(made, drawn).item() == pytest.approx((0.25 + 0.04 + 0.01) / 2)


def test_the_loss_has_zero_reconstruction_and_penalty() -> None:
    """By the same random numbers, the generator's loss rises by the weight times the squares at unobserved items."""
    batch = users_of()
    values, parts = {}, {"value": "minmax", "zr_share": 1.0, "condition_dropout": 0.0, "masking": 0.0}
    for weight, l2 in ((0.0, 0.0), (0.3, 0.0), (0.3, 0.1)):
        model = model_of(zr_weight=weight, g_l2=l2, **parts)
        torch.manual_seed(1)
        values[weight, l2] = model.generator_loss(batch).item()
    torch.manual_seed(1)
    real = batch.multi_hot(model.items)
    torch.rand_like(real)  # what the dropout of the condition draws
    made = model.generator(torch.randn(3, 3), real)
    expected = 0.3 * (made.square() * (1 - real)).sum().item() / 3
    assert values[0.3, 0] - values[0, 0] == pytest.approx(expected, rel=1e-4)
    squares = 0.1 * sum(parameter.square().sum().item() for parameter in model.generator.parameters())
    assert values[0.3, 0.1] - values[0.3, 0] == pytest.approx(squares, rel=1e-4)
    assert model.generator_penalty(batch).item() == pytest.approx(squares)


# ---------------------------------------------------------------- what the networks see


def seen_by_the_discriminator(model, batch: Batch, loss: str = "discriminator_loss") -> list[tuple[Tensor, Tensor]]:
    """Rows and conditions that the discriminator is given, in order."""
    seen = []
    hook = model.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given))
    getattr(model, loss)(batch)
    hook.remove()
    return seen


def test_some_unobserved_are_as_many_as_asked_for() -> None:
    torch.manual_seed(0)
    real = (torch.rand(50, 400) < 0.1).float()
    drawn = some_unobserved(real, 0.3)
    assert not (drawn * real).any()
    assert drawn.sum().item() / (1 - real).sum().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(some_unobserved(real, 1.0), 1 - real)
    assert not some_unobserved(real, 0.0).any()


@pytest.mark.parametrize("value", ["minmax", "nonsaturating", "wasserstein"])
@pytest.mark.parametrize("loss", ["discriminator_loss", "generator_loss"])
def test_masking_leaves_what_is_observed_and_a_share_of_the_rest(value: str, loss: str) -> None:
    batch = users_of()
    real = batch.multi_hot(GRAPH.range("item"))
    hidden, shown = (
        seen_by_the_discriminator(model_of(value=value, masking=share), batch, loss) for share in (0.0, 1.0)
    )
    made = 1 if loss == "discriminator_loss" else 0
    assert torch.equal((hidden[made][0] > 0).float(), real)
    assert (shown[made][0] > 0).all()
    if loss == "discriminator_loss":
        assert torch.equal(hidden[0][0], real)


def test_withheld_items_are_never_drawn() -> None:
    graph = dataclasses.replace(GRAPH, withheld=GRAPH.flat("item", ["c"]))
    _, (made, _) = seen_by_the_discriminator(model_of(graph, masking=1.0, value="minmax"), users_of(graph))
    assert (made[:, :2] > 0).all()
    assert not made[:, 2].any()


def test_condition_dropout_leaves_out_some_of_the_history(planted: Graph) -> None:
    known = planted.only("rated")
    batch, model = users_of(known), model_of(planted, value="minmax", condition_dropout=0.3)
    (real, told), (_, again) = seen_by_the_discriminator(model, batch)
    assert torch.equal(told, again)
    assert not (told * (1 - real)).any()
    assert told.sum().item() / real.sum().item() == pytest.approx(0.7, abs=0.06)
    (real, told), _ = seen_by_the_discriminator(model_of(planted, value="minmax", condition_dropout=0.0), batch)
    assert torch.equal(told, real)


def test_what_is_generated_by_hand() -> None:
    """One hidden number, and noise without weight: h = tanh((w_a + w_b) / sqrt 2), and x^ = sigmoid(h v + b + mean)
    with 4 of 9 pairs known."""
    model = model_of(dim=1)
    maker = model.generator
    with torch.no_grad():
        maker.noise.weight.zero_(), maker.noise.bias.zero_()
        maker.condition.table.weight[:3, 0] = torch.tensor([1.0, 2.0, 5.0])
        maker.item.weight[:3, 0] = torch.tensor([1.0, -1.0, 0.0])
        maker.bias.weight[:3, 0] = torch.tensor([0.0, 0.0, 2.0])
        found = model.score(query_of(0), GRAPH.nodes("item"))[0]
    hidden, mean = torch.tensor(3 / 2**0.5).tanh(), log((4 / 9) / (5 / 9))
    assert found.tolist() == pytest.approx([(mean + x).sigmoid().item() for x in (hidden, -hidden, torch.tensor(2.0))])


def test_a_score_is_the_mean_over_the_fixed_noise() -> None:
    model, query = model_of(draws=3, hidden=(6,)), query_of(0, 2)
    with torch.no_grad():
        row = query.multi_hot(model.items)
        by_noise = [model.generator(noise.expand(2, -1), row) for noise in model.noise]
        found = model.score(query, GRAPH.nodes("item"))
    torch.testing.assert_close(found, torch.stack(by_noise).mean(0))
    assert not torch.allclose(by_noise[0], by_noise[1])
    assert "noise" in model.state_dict()


# ---------------------------------------------------------------- conditions


def test_a_condition_of_features_makes_users_of_the_same_features_alike() -> None:
    model = model_of(condition="features", features=("age",))
    with torch.no_grad():
        scores = model.score(query_of(0, 1, 2), GRAPH.nodes("item"))
    assert torch.equal(scores[0], scores[2])
    assert not torch.allclose(scores[0], scores[1])
    assert not model.reads_history
    assert model_of().reads_history


def test_a_condition_of_features_wants_features() -> None:
    with pytest.raises(KgrecError, match=r"condition=features needs features of users, .*; set features=all"):
        model_of(condition="features")
    with pytest.raises(UnknownName, match="no feature 'height'"):
        model_of(condition="features", features=("height",))
    plain = Graph.from_frames(edges={("user", "rated", "item"): RATED})
    with pytest.raises(KgrecError, match="node type 'user' has none of the features all"):
        model_of(plain, condition="features", features=("all",))


def test_without_a_condition_all_users_are_alike() -> None:
    model = model_of(condition=None)
    with torch.no_grad():
        scores = model.score(query_of(0, 1, GRAPH.pad), GRAPH.nodes("item"))
    assert torch.equal(scores[0], scores[1]) and torch.equal(scores[0], scores[2])
    assert not any("condition" in name for name, _ in model.named_parameters())


# ---------------------------------------------------------------- training


def epochs_of(model, graph: Graph, epochs: int = 1) -> list:
    training = TrainingConfig(epochs=epochs, device="cpu")
    return list(Trainer(model, graph, training, make_fabric(training)).epochs())


@pytest.mark.parametrize("condition", ["history", "features", None])
@pytest.mark.parametrize("value", ["minmax", "nonsaturating", "wasserstein"])
def test_an_epoch_moves_all_and_says_how_it_went(condition: str, value: str) -> None:
    features = ("age",) if condition == "features" else ()
    model = model_of(condition=condition, value=value, features=features, batch_size=2)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    (epoch,) = epochs_of(model, GRAPH)
    assert [name for name, one in model.named_parameters() if torch.equal(one, before[name])] == []
    assert list(epoch.losses) == ["discriminator", "generator"]
    assert list(epoch.diagnostics) == ["entropy", "distinct", "distance" if value == "wasserstein" else "d_accuracy"]
    assert epoch.diagnostics["distinct"] == 1  # the first 10 of 3 items
    if value != "wasserstein":
        assert epoch.diagnostics["d_accuracy"] * 6 == pytest.approx(round(epoch.diagnostics["d_accuracy"] * 6))


def test_objectives_share_no_parameter_and_take_turns() -> None:
    for turn, expected in (("batch", "adversaries"), ("epoch", None)):
        judge, maker = model_of(alternate=turn).objectives(GRAPH)
        assert (judge.name, maker.name) == ("discriminator", "generator")
        assert judge.interleave == maker.interleave == expected
        assert not {id(p) for p in judge.parameters} & {id(p) for p in maker.parameters}


def test_only_the_one_who_plays_moves() -> None:
    model = model_of()
    judge, maker = model.objectives(GRAPH)
    for objective, other in ((judge, maker), (maker, judge)):
        before = [parameter.detach().clone() for parameter in other.parameters]
        optimizer = objective.optimizer(objective.parameters, 0.1)
        objective.loss(users_of()).backward()
        optimizer.step()
        assert all(torch.equal(*pair) for pair in zip(before, other.parameters))


def test_vectors_of_users_are_kept() -> None:
    """The mean of the last hidden layer over the noise; zeros for one without a history."""
    known = split(Graph.from_frames(edges={("user", "rated", "item"): RATED}), "cold_items:0.5,seed=0").train
    model = model_of(known)
    epochs_of(model, known)
    without = sorted(set(range(3)) - set(known.head.tolist()))
    vector = model.generator.user_vector
    assert not vector[[*without, 3]].any()
    user = int(known.head[0])
    with torch.no_grad():
        told = model.generator.condition(query_of(user, graph=known).multi_hot(model.items))
        expected = torch.stack([model.generator.hidden(noise, told)[0] for noise in model.noise]).mean(0)
    torch.testing.assert_close(vector[user], expected)


# ---------------------------------------------------------------- warnings


def test_a_collapse_is_told_once_it_lasts() -> None:
    """The data's lists hold half of the catalog; five epochs at 1 % are a collapse, and so they are told anew."""
    watch, again = Watch(0.9, 0.5, HINTS), Watch(0.9, 0.5, HINTS)
    narrow, fine = (0.6, 0.01, 0.7), (0.8, 0.3, 0.7)
    said = [len(watch.warnings(*epoch)) for epoch in [narrow] * 7 + [fine] + [narrow] * 5]
    assert said == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    (told,) = [message for _ in range(5) for message in again.warnings(*narrow)]
    assert "hold 1.0% of the catalog (the data: 50.0%)" in told
    assert "lower g_lr" in told


def test_what_is_no_collapse() -> None:
    """Lists as narrow as the data's own, lists of 2 %, and half of the data's entropy."""
    for watch, epoch in (
        (Watch(0.9, 0.03, HINTS), (0.8, 0.01, 0.7)),
        (Watch(0.9, 0.5, HINTS), (0.8, 0.02, 0.7)),
        (Watch(0.9, 0.5, HINTS), (0.45, 0.3, 0.7)),
    ):
        assert not any(watch.warnings(*epoch) for _ in range(20))
    low = Watch(0.9, 0.5, HINTS)
    assert [bool(low.warnings(0.44, 0.3, 0.7)) for _ in range(5)] == [False] * 4 + [True]


def test_a_discriminator_of_no_use_is_told() -> None:
    for accuracy, hint in ((0.509, "raise d_lr"), (0.491, "raise d_lr"), (0.996, "lower d_lr")):
        watch = Watch(0.9, 0.5, HINTS)
        said = [watch.warnings(0.8, 0.3, accuracy) for _ in range(11)]
        assert [len(one) for one in said] == [0] * 9 + [1, 0]
        assert hint in said[9][0]
    for accuracy in (0.52, 0.994, None):
        watch = Watch(0.9, 0.5, HINTS)
        assert not any(watch.warnings(0.8, 0.3, accuracy) for _ in range(20))


def test_a_generator_that_makes_one_item_alone_is_a_concern_of_the_model(planted: Graph) -> None:
    model = model_of(planted)
    model.objectives(planted)
    with torch.no_grad():
        model.refresh()
        assert model.diagnostics()["entropy"] > 0.9
        model.generator.bias.weight[:-1] = -20.0
        model.generator.bias.weight[3] = 20.0
        said = []
        for _ in range(6):
            model.refresh()
            said.append(len(model.warnings()))
    assert model.diagnostics()["entropy"] < 0.01
    assert said == [0, 0, 0, 0, 1, 0]
