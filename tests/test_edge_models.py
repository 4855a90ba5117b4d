"""MF, NCF and NeuMF by hand: scores as they are written, the three tasks' losses, and how NeuMF's halves are fused."""

import math
from itertools import islice

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Query, Recommender
from kgrec.nn import EdgeModel, NodeEmbedding, pair_mlp
from kgrec.run import Run, train
from kgrec.samplers import Batch
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

USERS, ITEMS = 6, 9
RATED = ("user", "rated", "item")
EDGES = [(0, 0, 5, 1), (0, 3, 4, 1), (0, 8, 1, 0), (1, 3, 3, 1), (2, 1, 2, 0), (2, 3, 5, 1), (4, 7, 1, 0), (4, 0, 3, 1)]
MEAN = 24 / 8  # of the ratings; 5 of 8 are clicks; users 3 and 5 have no edges


def graph_of(labels: bool = True) -> Graph:
    rows = pd.DataFrame(
        [(f"u{user}", f"i{item}", float(rating), click) for user, item, rating, click in EDGES],
        columns=["source", "target", "weight", "click"],
    )
    nodes = {
        "user": pd.DataFrame({"id": [f"u{user}" for user in range(USERS)]}),
        "item": pd.DataFrame({"id": [f"i{item}" for item in range(ITEMS)]}),
    }
    features = {"rated": {"click": "numeric"}} if labels else {}
    return Graph.from_frames(edges={RATED: rows}, nodes=nodes, features=features)


GRAPH = graph_of()
HEAD, TAIL = torch.tensor([edge[0] for edge in EDGES]), torch.tensor([edge[1] for edge in EDGES])
RATING, CLICK = (torch.tensor([float(edge[k]) for edge in EDGES]) for k in (2, 3))


def built(name: str, graph: Graph = GRAPH, **settings) -> Recommender:
    """A model whose weights are all drawn anew, far from the small ones of a start."""
    torch.manual_seed(0)
    same = {"dropout": 0.0} if name in ("ncf", "neumf") else {}  # what the sums on paper are of
    model = models.build(name, graph, {"dim": 4, "batch_size": 100, "l2": 0.0, **same, **settings})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
        for embedding in model.modules():
            if isinstance(embedding, NodeEmbedding):
                embedding.weight[-1] = 0
    return model


def table(embedding: nn.Module) -> Tensor:
    return embedding.weight[:-1]


def mlp_of(mlp: nn.Module, user: Tensor, item: Tensor) -> Tensor:
    """The perceptron on vectors laid side by side, pair by pair: [U, I]."""
    pairs = torch.cat([user.unsqueeze(1).expand(-1, len(item), -1), item.expand(len(user), -1, -1)], -1)
    x = F.linear(pairs, torch.cat([mlp.of_user.weight, mlp.of_item.weight], 1), mlp.of_user.bias).relu()
    for layer in mlp.hidden:
        x = layer(x).relu()
    return mlp.out(x).squeeze(-1)


def pairs_of(model: Recommender) -> Tensor:
    """Every user's score of every item as the paper writes it: [U, I]."""
    match type(model).__name__:
        case "MF":
            scores = table(model.user) @ table(model.item).T
            if model.item_bias is not None:
                scores = scores + table(model.item_bias).T
            return scores if model.user_bias is None else scores + table(model.user_bias)
        case "NCF":
            return mlp_of(model.mlp, table(model.user), table(model.item))
    product = torch.einsum("d,ud,id->ui", model.weight, table(model.user), table(model.item))
    return product + mlp_of(model.mlp, table(model.mlp_user), table(model.mlp_item))


def users(*local: int) -> Query:
    user = torch.tensor(local, dtype=torch.long) + GRAPH.range("user").start
    return Query(user, torch.empty(len(local), 0, dtype=torch.long))


def close(mine: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)


KINDS = [("mf", {}), ("mf", {"biases": True}), ("ncf", {"hidden": [5, 3]}), ("neumf", {"mlp_dim": 3, "hidden": [6, 2]})]
every_kind = pytest.mark.parametrize(("name", "settings"), KINDS, ids=["mf", "mf with biases", "ncf", "neumf"])


# ---------------------------------------------------------------- scores


@every_kind
def test_scores_are_as_they_are_written(name: str, settings: dict):
    model = built(name, **settings).eval()
    close(model.score(users(*range(USERS)), GRAPH.nodes("item")), pairs_of(model))


@pytest.mark.parametrize("cells", [1, 50, 100, 1 << 22])
@pytest.mark.parametrize("name", ["ncf", "neumf"])
def test_a_catalog_in_chunks_is_scored_as_a_whole(name: str, cells: int, monkeypatch: pytest.MonkeyPatch):
    """With 4 users and layers 8 wide, 50 cells are chunks of one item, 100 of three."""
    model = built(name, hidden=[8, 3]).eval()
    query, items = users(4, 0, 3, 3), GRAPH.nodes("item")
    whole = model.score(query, items)  # with gradients all items are taken at once
    own = items[torch.tensor([[8, 0, 1, 1, 5], [0, 1, 2, 3, 4], [7, 7, 7, 7, 7], [4, 3, 2, 1, 0]])]
    seen, scores = [], pair_mlp.PairMLP._scores
    monkeypatch.setattr(pair_mlp, "CELLS", cells)
    monkeypatch.setattr(pair_mlp.PairMLP, "_scores", lambda s, u, v: seen.append(v.shape[-2]) or scores(s, u, v))
    with torch.no_grad():
        close(model.score(query, items), whole)
        assert seen == {1: [1] * 9, 50: [1] * 9, 100: [3] * 3, 1 << 22: [9]}[cells]
        close(model.score(query, own), whole.gather(1, own - items[0]))
        assert model.score(users(), items).shape == (0, ITEMS)
        assert model.score(query, items[:0]).shape == (4, 0)


@pytest.mark.parametrize("many", [0, 10**9], ids=["by distinct items", "each look-up apart"])
@pytest.mark.parametrize("name", ["ncf", "neumf"])
def test_lists_of_items_have_the_scores_and_gradients_of_their_catalog(name: str, many: int, monkeypatch):
    """Among them an item twice, and one behind the last, whose vector is zeros."""
    monkeypatch.setattr(pair_mlp, "MANY", many)
    model, user = built(name, hidden=[8, 3]), torch.tensor([2, 0, 2, 5])
    place = torch.tensor([[8, 0, 1, 1, 5, 9], [0, 1, 2, 3, 4, 9], [7, 7, 7, 7, 7, 9], [4, 3, 2, 1, 0, 9]])
    catalog, factor = torch.cat([GRAPH.nodes("item"), torch.tensor([GRAPH.pad])]), torch.randn(4, 6)
    found = []
    for scores in (model.pair_scores(user, catalog[place]), model.pair_scores(user, catalog).gather(1, place)):
        model.zero_grad()
        (scores * factor).sum().backward()
        found.append((scores, *(one.grad for one in model.parameters() if one.grad is not None)))
    assert len(found[0]) == len(found[1]) > 6
    for mine, other in zip(*found):
        close(mine, other)


# ---------------------------------------------------------------- ratings and clicks


def only_batch(model: EdgeModel, graph: Graph = GRAPH) -> tuple[Batch, Tensor]:
    """The one batch of a model's one objective, and the loss of it."""
    (objective,) = model.objectives(graph)
    (batch,) = objective.batches
    return batch, objective.loss(batch)


def squares(model: nn.Module) -> Tensor:
    return sum((parameter**2).sum() for parameter in model.parameters())


@every_kind
def test_the_loss_of_ratings(name: str, settings: dict):
    own = {"biases": False} if settings == {} else settings  # the default of ratings
    model = built(name, task="rating", l2=0.1, **own)
    mean = 0 if settings == {} else MEAN  # plain MF is centred by its biases alone
    _, loss = only_batch(model)
    wanted = pairs_of(model)[HEAD, TAIL] + mean
    close(loss, ((RATING - wanted) ** 2).mean() + 0.1 * squares(model) / 8)
    close(model.eval().score(users(2, 5), GRAPH.nodes("item")), pairs_of(model)[[2, 5]] + mean)
    assert model.mean.item() == mean and "mean" in model.state_dict()


@every_kind
def test_the_loss_of_clicks(name: str, settings: dict):
    model = built(name, task="ctr", l2=0.1, **settings)
    mean = 0 if settings == {} else math.log(5 / 3)  # the logit of 5 in 8
    _, loss = only_batch(model)
    probability = torch.sigmoid(pairs_of(model)[HEAD, TAIL] + mean)
    wanted = -(CLICK * probability.log() + (1 - CLICK) * (1 - probability).log()).mean()
    close(loss, wanted + 0.1 * squares(model) / 8)
    close(model.eval().score(users(2, 5), GRAPH.nodes("item")), pairs_of(model)[[2, 5]] + mean)


@every_kind
def test_clicks_without_labels_are_refused(name: str, settings: dict):
    with pytest.raises(KgrecError, match="the 'rated' edges have no labels of clicks; name their column with `click:`"):
        built(name, graph_of(labels=False), task="ctr", **settings)


def test_somebody_new_is_rated_at_the_mean_and_the_items_bias():
    model = built("mf", task="rating", biases=True).eval()
    nobody = Query(torch.tensor([GRAPH.pad]), torch.empty(1, 0, dtype=torch.long))
    close(model.score(nobody, GRAPH.nodes("item")), MEAN + table(model.item_bias).T)


# ---------------------------------------------------------------- rankings


@every_kind
def test_the_softmax_of_users_rows_is_the_mean_over_edges(name: str, settings: dict):
    model = built(name, loss="softmax", **settings)
    batch, loss = only_batch(model)
    assert len(batch) == 4 and len(batch.tail) == 8  # users 3 and 5, who have no edges, are no examples
    wanted = F.cross_entropy(pairs_of(model)[HEAD], TAIL)
    close(loss, wanted)
    for weight in (model.item.weight, model.user.weight):
        close(*(torch.autograd.grad(value, weight, retain_graph=True)[0] for value in (loss, wanted)))


@every_kind
def test_batches_of_users_without_edges_do_not_stop_training(name: str, settings: dict):
    model, config = built(name, loss="softmax", **{**settings, "batch_size": 1}), TrainingConfig(epochs=2, device="cpu")
    losses = [epoch.losses["ranking"] for epoch in Trainer(model, GRAPH, config, make_fabric(config)).epochs()]
    assert all(map(math.isfinite, losses))


@every_kind
@pytest.mark.parametrize("how", [{"loss": "bpr"}, {"loss": "bce", "negatives": 3}], ids=["bpr", "bce"])
def test_a_ranking_loss_is_of_the_written_scores(how: dict, name: str, settings: dict):
    model = built(name, **settings, **how)
    batch, loss = only_batch(model)
    scores, start = pairs_of(model), GRAPH.range("item").start
    row = batch.head - GRAPH.range("user").start
    positive, negative = scores[row, batch.tail - start], scores[row.unsqueeze(1), batch.negative - start]
    if how["loss"] == "bpr":
        close(loss, -torch.sigmoid(positive.unsqueeze(1) - negative).log().mean())
    else:
        close(loss, -(torch.sigmoid(positive).log() + torch.sigmoid(-negative).log().sum(1)).mean())


@pytest.mark.parametrize("biases", [False, True])
def test_the_penalty_is_of_the_vectors_behind_each_edge(biases: bool):
    plain, weighed = (built("mf", biases=biases, negatives=2, l2=l2) for l2 in (0.0, 0.3))
    (batch, loss), objective = only_batch(weighed), plain.objectives(GRAPH)[0]
    u, v = weighed.user(batch.head), weighed.item(batch.tail)
    drawn = weighed.item(batch.negative)
    penalty = (u.square().sum() + v.square().sum() + drawn.square().sum() / 2) / 8
    close(loss, objective.loss(batch) + 0.3 * penalty)


def test_the_penalty_with_softmax_is_of_each_edges_two_ends():
    plain, weighed = (built("ncf", loss="softmax", l2=l2) for l2 in (0.0, 0.3))
    batch, loss = only_batch(weighed)
    penalty = (table(weighed.user)[HEAD].square().sum() + table(weighed.item)[TAIL].square().sum()) / 8
    close(loss, plain.objectives(GRAPH)[0].loss(batch) + 0.3 * penalty)


# ---------------------------------------------------------------- NeuMF's phases

PHASES = {"mlp_dim": 3, "hidden": [6, 2], "pretrain_epochs": 2, "pretrain_alpha": 0.25}


def parts(model: Recommender) -> tuple[Tensor, Tensor]:
    """What each half says: [U, I]."""
    product = torch.einsum("d,ud,id->ui", model.weight, table(model.user), table(model.item))
    return product, mlp_of(model.mlp, table(model.mlp_user), table(model.mlp_item))


@pytest.mark.parametrize("task", ["ranking", "rating", "ctr"])
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_halves_are_trained_apart(task: str, l2: float):
    model = built("neumf", task=task, l2=l2, **PHASES)
    factorization, perceptron, fused = model.objectives(GRAPH)
    assert (factorization.epochs, perceptron.epochs) == (range(1, 3), range(1, 3)) and fused.epochs.start == 3
    every = dict(model.named_parameters())
    assert {id(p) for o in (factorization, perceptron) for p in o.parameters} == {id(p) for p in every.values()}
    assert not {id(p) for p in factorization.parameters} & {id(p) for p in perceptron.parameters}
    for objective in (factorization, perceptron, fused):
        before = {key: parameter.detach().clone() for key, parameter in every.items()}
        optimizer = objective.optimizer(objective.parameters, objective.lr)
        model.zero_grad()
        (batch,) = objective.batches
        objective.loss(batch).backward()
        optimizer.step()
        moved = {key for key, parameter in every.items() if not torch.equal(parameter, before[key])}
        assert moved == {key for key, parameter in every.items() if any(parameter is p for p in objective.parameters)}


def test_a_half_learns_from_its_own_score():
    model = built("neumf", task="rating", **PHASES)
    factorization, perceptron, fused = model.objectives(GRAPH)
    for objective, scores in zip((factorization, perceptron, fused), (*parts(model), sum(parts(model)))):
        (batch,) = objective.batches
        close(objective.loss(batch), ((RATING - MEAN - scores[HEAD, TAIL]) ** 2).mean())
    assert model.halves == ("factorization", "perceptron")


def test_alpha_weighs_the_halves_when_they_are_fused():
    model, items = built("neumf", **PHASES).eval(), GRAPH.nodes("item")
    product, perceptron = (part.detach() for part in parts(model))
    for epoch in (1, 2):
        model.begin(epoch)
        close(model.score(users(*range(USERS)), items), product + perceptron)
    model.begin(3)
    close(model.score(users(*range(USERS)), items), 0.25 * product + 0.75 * perceptron)
    model.begin(4)
    close(model.score(users(*range(USERS)), items), 0.25 * product + 0.75 * perceptron)
    alone = built("neumf", **{**PHASES, "pretrain_epochs": 0}).eval()
    alone.begin(1)
    close(alone.score(users(*range(USERS)), items), product + perceptron)
    assert [objective.name for objective in alone.objectives(GRAPH)] == ["ranking"]


def trainer(epochs: int, **settings) -> Trainer:
    config = TrainingConfig(epochs=epochs, device="cpu")
    return Trainer(built("neumf", **PHASES, **settings), GRAPH, config, make_fabric(config))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_cut_in_any_phase_goes_on_to_the_bit(optimizer: str):
    settings = {"fused_optimizer": optimizer, "fused_lr": 0.05, "batch_size": 3, "dropout": 0.2}
    whole = trainer(5, **settings)
    names = [set(epoch.losses) for epoch in whole.epochs()]
    assert names == [{"factorization", "perceptron"}] * 2 + [{"ranking"}] * 3 and whole.last_phase == 3
    for cut in (1, 2, 3, 4):
        first = trainer(5, **settings)
        assert len(list(islice(first.epochs(), cut))) == cut
        weights = {key: value.clone() for key, value in first.model.state_dict().items()}
        state = {key: value.clone() for key, value in first.state().items()}
        second = trainer(5, **settings)
        second.model.load_state_dict(weights)
        second.load_state(state, cut)
        assert len(list(second.epochs())) == 5 - cut
        for key, value in whole.model.state_dict().items():
            assert torch.equal(value, second.model.state_dict()[key]), (cut, key)


def test_a_refit_goes_through_both_phases(tmp_path):
    """Epochs are compared from the third on, and the refit has as many as the best of them: it is trained as a run of
    so many epochs on train and valid is."""
    rows = [(f"u{user}", f"i{(user + step) % 9}", step) for user in range(12) for step in range(6)]
    frame = pd.DataFrame(rows, columns=["source", "target", "time"])
    graph = Graph.from_frames(edges={RATED: frame}, nodes={"item": pd.DataFrame({"id": [f"i{i}" for i in range(9)]})})
    config = {"dim": 4, "batch_size": 32, "lr": 0.01, **PHASES}
    how = {"config": config, "training": TrainingConfig(epochs=4, device="cpu")}
    refitted = train("neumf", graph, split="last_n:1,valid=1", refit=True, out=tmp_path / "run", **how)
    assert refitted.metrics["best_epoch"] in (3, 4)
    how["training"] = TrainingConfig(epochs=refitted.metrics["best_epoch"], device="cpu")
    plain = train("neumf", graph, split="last_n:1", **how)
    saved = Run.load(tmp_path / "run").model.state_dict()
    for key, value in plain.model.state_dict().items():
        assert torch.equal(value, refitted.model.state_dict()[key]) and torch.equal(value, saved[key])
