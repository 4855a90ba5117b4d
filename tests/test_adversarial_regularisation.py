"""Adversarial regularisation by hand: what is moved, what is restored, and what the gradient is."""

import dataclasses

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from kgrec import models, train
from kgrec.errors import UnknownName
from kgrec.graph import Graph
from kgrec.model import Objective, Recommender
from kgrec.nn import NodeEmbedding
from kgrec.samplers import Edges, Loader, Stream
from kgrec.settings import configure
from kgrec.training import AdversarialConfig, Trainer, TrainingConfig, make_fabric, moved_vectors

RATED = pd.DataFrame({"source": ["ann", "bob"], "target": ["x", "y"]})
LR = 0.5


def graph() -> Graph:
    return Graph.from_frames(edges={("user", "rated", "item"): RATED})


class Squares(Recommender):
    """The loss is the sum over users of 2 |v|^2 / 2 and of biases b; its penalty, 3 |v|^2 / 2."""

    def __init__(self, known: Graph, *, sparse: bool = False) -> None:
        super().__init__(known, None)
        self.user = NodeEmbedding(known, "user", 2, sparse=sparse)
        self.bias = NodeEmbedding(known, "user", 1, std=0.0)
        with torch.no_grad():
            self.user.weight[:2] = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
        self.l2 = 3.0

    def objectives(self, graph: Graph) -> list[Objective]:
        sgd = lambda parameters, lr: torch.optim.SGD(parameters, lr=lr)  # noqa: E731
        batches = Loader(Edges(graph), batch_size=2)
        return [Objective("squares", batches, self.loss, list(self.parameters()), sgd, LR, penalty=self.penalty)]

    def loss(self, batch) -> Tensor:
        return self.user(batch.head).square().sum() + self.bias(batch.head).sum() + self.penalty(batch)

    def penalty(self, batch) -> Tensor:
        return self.l2 * self.user(batch.head).square().sum() / 2

    def score(self, query, items):
        raise NotImplementedError


def trainer(model: Recommender, known: Graph, **fields) -> Trainer:
    config = configure(TrainingConfig, {"device": "cpu", "epochs": 1, **fields})
    return Trainer(model, known, config, make_fabric(config))


@pytest.mark.parametrize("sparse", [False, True])
def test_one_step_by_hand(sparse: bool) -> None:
    """v = (3, 4) moves by 1 along its gradient to 6/5 v; the gradient is 2 v + 2 * 2 (6/5 v) + 3 v = 9.8 v, the loss
    25 + 2 * 36 + 3/2 * 25. (1, 0) moves to (2, 0): 2 + 2 * 4 + 3 = 13. Biases count once and twice, and do not move."""
    known = graph()
    model = Squares(known, sparse=sparse)
    (epoch,) = trainer(model, known, adversarial={"epsilon": 1.0, "weight": 2.0}).epochs()
    wanted = torch.tensor([[3.0, 4.0], [1.0, 0.0]]) - LR * torch.tensor([[9.8 * 3, 9.8 * 4], [13.0, 0.0]])
    torch.testing.assert_close(model.user.weight[:2].detach(), wanted)
    assert model.user.weight[2].tolist() == [0.0, 0.0]
    torch.testing.assert_close(model.bias.weight[:2].detach(), torch.full((2, 1), -LR * 3))
    assert epoch.losses["squares"] == pytest.approx(25 + 1 + 2 * (36 + 4) + 1.5 * 26)


def test_vectors_are_moved_along_their_gradients_and_put_back_to_the_last_bit() -> None:
    known = graph()
    model = Squares(known)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    model.user.weight.grad = torch.tensor([[0.0, 5.0], [0.0, 0.0], [0.0, 0.0]])
    model.bias.weight.grad = torch.ones(3, 1)
    with moved_vectors(model, list(model.parameters()), 0.1):
        torch.testing.assert_close(
            model.user.weight.detach(), before["user.weight"] + torch.tensor([[0, 0.1], [0, 0], [0, 0]])
        )
        assert torch.equal(model.bias.weight, before["bias.weight"])
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    with moved_vectors(model, [model.bias.weight], 0.1):
        assert torch.equal(model.user.weight, before["user.weight"])  # another objective's


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("name", ["mf", "sasrec", "kgat"])
def test_without_weight_it_is_training_without_it(name: str, planted: Graph) -> None:
    config = {"dim": 8, "batch_size": 32, "lr": 0.01}
    found = {}
    for weight in (None, 0.0, 1.0):
        adversarial = {} if weight is None else {"adversarial": {"weight": weight, "epsilon": 0.3}}
        training = configure(TrainingConfig, {"epochs": 2, "device": "cpu", **adversarial})
        found[weight] = weights(train(name, planted, split="last_n:1", config=config, training=training).model)
    assert all(torch.equal(one, other) for one, other in zip(found[None], found[0.0]))
    assert not all(torch.equal(one, other) for one, other in zip(found[None], found[1.0]))


def test_it_begins_in_its_epoch_from_which_on_epochs_are_compared() -> None:
    known, models_of = graph(), {}
    for begin in (2, 3):
        models_of[begin] = Squares(known)
        run = trainer(models_of[begin], known, epochs=2, adversarial={"weight": 1.0, "begin": begin})
        assert run.last_phase == begin
        epochs = run.epochs()
        next(epochs)
        after_one = weights(models_of[begin])
        next(epochs)
        models_of[begin] = (after_one, weights(models_of[begin]))
    assert all(torch.equal(one, other) for one, other in zip(models_of[2][0], models_of[3][0]))
    assert not torch.equal(models_of[2][1][0], models_of[3][1][0])
    assert trainer(Squares(known), known, adversarial={"begin": 3}).last_phase == 1  # of weight 0


REGULARISED = {"l2": 0.1, "facts_l2": 0.1, "weights_l2": 0.1}


@pytest.mark.parametrize("name", [name for name in models.names() if name not in ("irgan", "dnen", "gan")])
def test_a_loss_less_its_penalty_is_that_of_no_regularisation(name: str, planted: Graph) -> None:
    """The same batch, the same weights, the same random numbers, and all that regularises set to 0."""
    kind = models.find(name).Config
    fields = {field.name for field in dataclasses.fields(kind)}
    small = {key: value for key, value in {"dim": 8, "batch_size": 32}.items() if key in fields}
    regularised = {key: value for key, value in REGULARISED.items() if key in fields}
    torch.manual_seed(0)
    model = models.build(name, planted, small | regularised)
    with_penalty = [objective.penalty is not None for objective in model.objectives(planted)]
    if not any(with_penalty):
        pytest.skip("nothing of its losses is regularisation")
    plain = models.build(name, planted, small | dict.fromkeys(regularised, 0.0))
    plain.load_state_dict(model.state_dict())
    for part in (model, plain):
        part.eval()
        part.begin(1)
        part.train()
    for ours, theirs in zip(model.objectives(planted), plain.objectives(planted)):
        batch = next(iter(ours.batches.epoch(Stream())))
        assert theirs.penalty is None or theirs.penalty(batch).item() == 0
        if ours.penalty is None:
            continue
        penalty = ours.penalty(batch)
        assert penalty > 0
        losses = []
        for objective in (ours, theirs):
            torch.manual_seed(0)
            losses.append(objective.loss(batch))
        torch.testing.assert_close(losses[0] - penalty, losses[1], rtol=1e-4, atol=1e-5)


def test_the_command_sets_it_by_name() -> None:
    from kgrec.cli import _settings

    _, training = _settings(None, ["adversarial.epsilon=0.3", "adversarial.weight=1", "training.epochs=2"])
    assert training.adversarial == AdversarialConfig(epsilon=0.3, weight=1.0)
    with pytest.raises(UnknownName, match="did you mean 'epsilon'"):
        _settings(None, ["adversarial.epsilo=0.3"])
