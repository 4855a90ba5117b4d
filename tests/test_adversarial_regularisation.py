"""Adversarial regularisation by hand: what is moved, what is restored, and what the gradient is."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from kgrec import models, train
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Objective, Recommender
from kgrec.nn import NodeEmbedding
from kgrec.samplers import Edges, Loader, Stream
from kgrec.settings import configure
from kgrec.training.config import AdversarialConfig, TrainingConfig
from kgrec.training.perturbation import moved_vectors
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

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


def test_vectors_are_put_back_by_the_rows_where_gradients_are_sparse_and_after_an_error() -> None:
    """0.1 + 1e8 - 1e8 is not 0.1: what was there is kept. Two entries of a row are one gradient, (0, 2)."""
    known = graph()
    model = Squares(known, sparse=True)
    with torch.no_grad():
        model.user.weight[:2] = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    before = model.user.weight.detach().clone()
    rows, values = torch.tensor([[1, 1]]), torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    model.user.weight.grad = torch.sparse_coo_tensor(rows, values, (3, 2), check_invariants=True)
    with pytest.raises(ZeroDivisionError), moved_vectors(model, list(model.parameters()), 1e8):
        wanted = torch.tensor([[0.1, 0.2], [0.3, 1e8], [0.0, 0.0]])
        torch.testing.assert_close(model.user.weight.detach(), wanted)
        raise ZeroDivisionError
    assert torch.equal(model.user.weight, before)


def test_a_step_of_mf_by_hand() -> None:
    """One rating, 2, the mean: of u = (.6, .8) and v = (1, 0) the error is .6, the gradients 1.2 v and 1.2 u. They move
    by .5 to (1.1, .8) and (1.3, .4), where the error is 1.75. With lambda .5 and l2 .1 of all parameters, u's gradient
    is 1.2 v + .5 * 3.5 (1.3, .4) + .2 u; a bias's is 1.2 + .5 * 3.5. bob and y, without an edge, only shrink."""
    rated = pd.DataFrame({"source": ["ann"], "target": ["x"], "weight": [2.0]})
    nodes = {"user": pd.DataFrame({"id": ["ann", "bob"]}), "item": pd.DataFrame({"id": ["x", "y"]})}
    known = Graph.from_frames(edges={("user", "rated", "item"): rated}, nodes=nodes)
    model = models.build("mf", known, {"dim": 2, "task": "rating", "biases": True, "l2": 0.1})
    with torch.no_grad():
        model.user.weight[:2] = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
        model.item.weight[:2] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    running, seen = trainer(model, known, adversarial={"epsilon": 0.5, "weight": 0.5}), []
    (objective,) = running.objectives
    running.optimizers = [torch.optim.SGD(objective.parameters, lr=1.0)]
    loss = objective.loss

    def watched(batch):
        seen.append([table.weight.detach().clone() for table in (model.user, model.item, model.user_bias)])
        return loss(batch)

    objective.loss = watched
    (epoch,) = running.epochs()
    (user, item, _), (moved_user, moved_item, moved_bias) = seen
    torch.testing.assert_close(moved_user, user + torch.tensor([[0.5, 0.0], [0, 0], [0, 0]]))
    torch.testing.assert_close(moved_item, item + torch.tensor([[0.3, 0.4], [0, 0], [0, 0]]))
    assert not moved_bias.any()
    of_ann = torch.tensor([1.2 + 0.5 * 3.5 * 1.3 + 0.2 * 0.6, 0.5 * 3.5 * 0.4 + 0.2 * 0.8])
    torch.testing.assert_close(user[0] - model.user.weight[0].detach(), of_ann)
    of_x = torch.tensor([1.2 * 0.6 + 0.5 * 3.5 * 1.1 + 0.2 * 1.0, 1.2 * 0.8 + 0.5 * 3.5 * 0.8])
    torch.testing.assert_close(item[0] - model.item.weight[0].detach(), of_x)
    torch.testing.assert_close(model.user.weight[1].detach(), torch.tensor([0.8, 0.0]))
    assert model.item_bias.weight[:2].flatten().tolist() == pytest.approx([-(1.2 + 0.5 * 3.5), 0])
    assert epoch.losses["rating"] == pytest.approx(0.6**2 + 0.5 * 1.75**2 + 0.1 * 4)


def test_without_a_move_the_loss_counts_twice_and_its_penalty_once() -> None:
    """(3, 4): 2 * 2 v + 3 v = 7 v."""
    known = graph()
    model = Squares(known)
    (epoch,) = trainer(model, known, adversarial={"epsilon": 0.0, "weight": 1.0}).epochs()
    torch.testing.assert_close(model.user.weight[0].detach(), torch.tensor([3.0, 4.0]) * (1 - LR * 7))
    assert epoch.losses["squares"] == pytest.approx(2 * 26 + 1.5 * 26)


def small(name: str) -> dict[str, object]:
    fields = {field.name for field in dataclasses.fields(models.find(name).Config)}
    return {key: value for key, value in {"dim": 8, "batch_size": 32}.items() if key in fields}


@pytest.mark.parametrize("name", models.names())
def test_every_model_that_learns_has_vectors_that_are_moved(name: str, planted: Graph) -> None:
    """Those of facts too, whose tables are PyG's."""
    model = models.build(name, planted, small(name))
    objectives = model.objectives(planted)
    if not objectives:
        pytest.skip("it is complete when built")
    moved = 0
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for objective in objectives:
        with moved_vectors(model, objective.parameters, 1.0):
            moved += sum(not torch.equal(value, before[key]) for key, value in model.named_parameters())
    assert moved > 0


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
        run = trainer(models_of[begin], known, epochs=3, adversarial={"weight": 1.0, "begin": begin})
        assert run.last_phase == begin
        epochs = run.epochs()
        next(epochs)
        after_one = weights(models_of[begin])
        next(epochs)
        models_of[begin] = (after_one, weights(models_of[begin]))
    assert all(torch.equal(one, other) for one, other in zip(models_of[2][0], models_of[3][0]))
    assert not torch.equal(models_of[2][1][0], models_of[3][1][0])
    assert trainer(Squares(known), known, adversarial={"begin": 3}).last_phase == 1  # of weight 0
    with pytest.raises(KgrecError, match="begins in epoch 3, but there are only 2 epochs"):
        trainer(Squares(known), known, epochs=2, adversarial={"weight": 1.0, "begin": 3})


def test_a_model_without_vectors_to_move_is_refused(planted: Graph) -> None:
    for name, config in (("ease", {}), ("mf", {"dim": 1})):
        training = configure(TrainingConfig, {"epochs": 1, "device": "cpu", "adversarial": {"weight": 1.0}})
        with pytest.raises(
            KgrecError, match=r"adversarial.weight is 1, but .* has no node vectors that training could move"
        ):
            train(name, planted, split="last_n:1", config=config, training=training)


REGULARISED = {"l2": 0.1, "facts_l2": 0.1, "weights_l2": 0.1, "g_l2": 0.1, "d_l2": 0.1}
VARIANTS = [
    ("mf", {"task": "rating"}),
    ("mf", {"loss": "softmax"}),
    ("kgat", {"fanouts": (3, 2), "layer_dims": (8, 8), "sparse": True}),
    ("gan", {"value": "wasserstein"}),
    ("irgan", {"draws": 0}),
]


@pytest.mark.parametrize(("name", "more"), [*((name, {}) for name in models.names()), *VARIANTS])
def test_a_loss_less_its_penalty_is_that_of_no_regularisation(name: str, more: dict, planted: Graph) -> None:
    """The same batch, the same weights, the same random numbers, and all that regularises set to 0."""
    fields = {field.name for field in dataclasses.fields(models.find(name).Config)}
    regularised = {key: value for key, value in REGULARISED.items() if key in fields}
    torch.manual_seed(0)
    model = models.build(name, planted, small(name) | regularised | more)
    objectives = model.objectives(planted)
    if all(objective.penalty is None for objective in objectives):
        pytest.skip("nothing of its losses is regularisation")
    plain = models.build(name, planted, small(name) | dict.fromkeys(regularised, 0.0) | more)
    plain.load_state_dict(model.state_dict())
    for part in (model, plain):
        part.eval()
        part.begin(1)
        part.train()
    for ours, theirs in zip(objectives, plain.objectives(planted), strict=True):
        batch = next(iter(ours.batches.epoch(Stream())))
        assert theirs.penalty is None or theirs.penalty(batch).item() == 0
        penalty = torch.tensor(0.0) if ours.penalty is None else ours.penalty(batch)
        assert ours.penalty is None or penalty > 0
        losses = []
        for objective in (ours, theirs):
            torch.manual_seed(0)
            losses.append(objective.loss(batch))
        torch.testing.assert_close(losses[0] - penalty, losses[1], rtol=1e-4, atol=1e-5)


def test_the_weights_of_an_autoencoder_are_of_the_penalty() -> None:
    """CKE's items with a vector each: `weights_l2` is of the joint penalty, as `l2` and `facts_l2` are."""
    rng = np.random.default_rng(0)
    items = pd.DataFrame({"id": ["x", "y", "z"], "look": list(rng.normal(size=(3, 4)))})
    known = Graph.from_frames(
        edges={
            ("user", "rated", "item"): pd.DataFrame({"source": ["ann", "bob"], "target": ["x", "y"]}),
            ("item", "has_genre", "genre"): pd.DataFrame({"source": ["x", "z"], "target": ["g", "h"]}),
        },
        nodes={"item": items},
        target=("user", "rated", "item"),
        features={"item": {"look": "vector"}},
    )
    config = {"dim": 4, "relation_dim": 4, "hidden": (5,), "image": "look", "input_dropout": 0.0}
    regularised = {"l2": 0.1, "facts_l2": 0.2, "weights_l2": 0.3}
    model = models.build("cke", known, config | regularised)
    plain = models.build("cke", known, config | dict.fromkeys(regularised, 0.0))
    plain.load_state_dict(model.state_dict())
    (ours,), (theirs,) = model.objectives(known), plain.objectives(known)
    batch = next(iter(ours.batches.epoch(Stream())))
    of_weights = 0.3 * sum(p.square().sum() for p in model.codes.parameters() if p.dim() == 2)
    assert ours.penalty(batch) > of_weights > 0
    torch.testing.assert_close(ours.loss(batch) - ours.penalty(batch), theirs.loss(batch), rtol=1e-4, atol=1e-5)


LEARNING = {"epochs": 12, "device": "cpu", "adversarial": {"weight": 0.5, "epsilon": 0.1, "begin": 4}}


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_sequence_models_learn_with_it(name: str, planted: Graph) -> None:
    """Twice what popularity finds. From its first epoch on the loss has a second part, and rises by it."""
    losses: list[float] = []
    run = train(
        name, planted, split="last_n:2", config={"dim": 16, "batch_size": 32, "lr": 0.02, "length": 10},
        training=configure(TrainingConfig, LEARNING), report=lambda epoch, _: losses.extend(epoch.losses.values()),
    )  # fmt: skip
    popularity = train("popularity", planted, split="last_n:2")
    assert run.metrics["test"]["recall@10"] > popularity.metrics["test"]["recall@10"] + 0.2
    assert losses[2] < losses[0] and losses[3] > 1.2 * losses[2] and losses[-1] < losses[3]


class Interrupt(Exception):
    pass


def stop(epoch, metrics) -> None:
    if epoch.number > 2:
        raise Interrupt


def test_a_run_with_it_goes_on_to_the_bit_and_only_with_the_same_settings(planted: Graph, tmp_path) -> None:
    adversarial = {"weight": 1.0, "epsilon": 0.3, "begin": 2}

    def training(**other: object) -> TrainingConfig:
        return configure(TrainingConfig, {"epochs": 4, "device": "cpu", "adversarial": adversarial | other})

    how = {"split": "last_n:1,valid=1", "config": {"dim": 8, "batch_size": 32, "lr": 0.01}}
    whole = train("mf", planted, training=training(), **how)
    with pytest.raises(Interrupt):
        train("mf", planted, training=training(), out=tmp_path / "r", report=stop, **how)
    for other in ({"weight": 2.0}, {"epsilon": 0.2}, {"begin": 1}):
        with pytest.raises(KgrecError, match="was made with another training"):
            train("mf", planted, training=training(**other), out=tmp_path / "r", resume=True, **how)
    resumed = train("mf", planted, training=training(), out=tmp_path / "r", resume=True, **how)
    assert all(torch.equal(one, other) for one, other in zip(weights(whole.model), weights(resumed.model)))
    assert json.loads((tmp_path / "r" / "config.json").read_text())["training"]["adversarial"] == adversarial
    assert whole.metrics["best_epoch"] >= 2  # the first is not compared


def test_the_command_sets_it_by_name() -> None:
    from kgrec.cli.options import training_settings

    _, training = training_settings(None, ["adversarial.epsilon=0.3", "adversarial.weight=1", "training.epochs=2"])
    assert training.adversarial == AdversarialConfig(epsilon=0.3, weight=1.0)
    with pytest.raises(UnknownName, match="did you mean 'epsilon'"):
        training_settings(None, ["adversarial.epsilo=0.3"])


def test_what_is_no_field_of_it_is_said(tmp_path) -> None:
    from kgrec.cli.options import training_settings

    (tmp_path / "fields.yaml").write_text("training: {epochs: 3, adversarial: {weight: 1, epsilon: 0.1}}")
    _, training = training_settings(tmp_path / "fields.yaml", ["adversarial.epsilon=0.3"])
    assert (training.epochs, training.adversarial) == (3, AdversarialConfig(epsilon=0.3, weight=1.0))
    with pytest.raises(KgrecError, match=r"weight='-1' of adversarial: .*greater than or equal to 0"):
        training_settings(None, ["adversarial.weight=-1"])
    for name in ("training.adversarial", "training.adversarial.weight"):
        with pytest.raises(
            KgrecError, match=f"--set {name}: set fields of adversarial one by one, such as adversarial.epsilon"
        ):
            training_settings(None, [f"{name}=1", "adversarial.epsilon=1"])
    (tmp_path / "fields.yaml").write_text("training: {adversarial: 1}")
    with pytest.raises(KgrecError, match="`adversarial:` must be a mapping of fields"):
        training_settings(tmp_path / "fields.yaml", [])
