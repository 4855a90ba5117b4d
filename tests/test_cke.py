"""CKE by what goes in: texts and images that tell, items that nobody has rated, and graphs that lack it all."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.evaluation.evaluation import evaluate
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.samplers import Batch
from kgrec.splits.split import Split, split
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

SMALL = {
    "dim": 8,
    "batch_size": 64,
    "lr": 0.01,
    "loss": "bpr",
    "negatives": 1,
    "init_std": 0.1,
    "l2": 1e-3,
    "hidden": (16,),
    "relation_dim": 8,
}
WORDS = ("space alien ship", "love kiss wedding", "horse sheriff gun", "ghost blood night")


@pytest.fixture(scope="module")
def graph() -> Graph:
    """60 users who like films of one kind of four, 64 films with a vector (`text`), another (`image`), a plot and, as a
    fact, a maker; each of these tells the kind."""
    rng = np.random.default_rng(0)
    kind = np.arange(64) % 4
    centre = rng.standard_normal((2, 4, 10))
    vectors = [list((own[kind] + 0.3 * rng.standard_normal((64, 10))).astype(np.float32)) for own in centre]
    plots = [" ".join(rng.permutation([*WORDS[k].split(), "the", "and"])) for k in kind]
    items = {"id": [f"i{i}" for i in range(64)], "text": vectors[0], "image": vectors[1], "plot": plots, "year": 1990.0}
    rated = [(f"u{user}", f"i{item}") for user in range(60) for item in rng.permutation(np.arange(user % 4, 64, 4))[:8]]
    made = [(f"i{item}", f"m{kind[item]}") for item in range(64)]
    return Graph.from_frames(
        nodes={"item": pd.DataFrame(items)},
        features={"item": {"text": "vector", "image": "vector", "plot": "text"}},
        edges={
            ("user", "rated", "item"): pd.DataFrame(rated, columns=["source", "target"]),
            ("item", "made_by", "maker"): pd.DataFrame(made, columns=["source", "target"]),
        },
        target=("user", "rated", "item"),
    )


@pytest.fixture(scope="module")
def cold(graph: Graph) -> Split:
    return split(graph, "cold_items:0.25,seed=0")


def trained(graph: Graph, **config):
    torch.manual_seed(0)
    model = models.build("cke", graph, {**SMALL, **config})
    training = TrainingConfig(epochs=20, device="cpu")
    for _ in Trainer(model, graph, training, make_fabric(training)).epochs():
        pass
    return model.eval()


def cold_recall(model, parts: Split) -> float:
    """Of the cold films that a user has, the share among the first 4 of all cold ones."""
    return evaluate(model, parts.train_valid, parts.test, metrics=["recall@4"]).cold["recall@4"]


@pytest.mark.parametrize("source", [{"text": "text"}, {"image": "image"}, {"text": "plot", "text_dim": 8}, "facts"])
def test_a_cold_item_is_ranked_by_what_is_known_of_it(graph, cold, source):
    if source != "facts":
        without = split(graph.only("rated"), "cold_items:0.25,seed=0")
        assert cold_recall(trained(without.train, **source), without) > 0.8
        return
    assert cold_recall(trained(cold.train), cold) > 0.8


def test_without_any_of_it_a_cold_item_is_at_chance(graph):
    without = split(graph.only("rated"), "cold_items:0.25,seed=0")
    model = trained(without.train)
    assert not model.item_vector[without.train.withheld - without.train.range("item").start].any()
    assert cold_recall(model, without) < 0.5


def test_an_items_vector_is_the_sum_of_its_four_parts(graph):
    model = trained(graph, text="text", image="image")
    text, image = model.codes
    with torch.no_grad():
        sum_of_parts = (
            model.item.table() + model.entity.table()[model.items.start : model.items.stop] + text() + image()
        )
    torch.testing.assert_close(model.item_vector[:-1], sum_of_parts)
    assert text().shape == (64, 8)
    user, item = graph.nodes("user")[3:4], graph.nodes("item")[7:8]
    score = model.score(Query(user, torch.empty(1, 0, dtype=torch.long)), item)
    torch.testing.assert_close(score[0, 0], model.user.table()[3] @ sum_of_parts[7])


def test_an_autoencoder_gives_back_what_it_was_given(graph):
    model = trained(graph, text="text", input_dropout=0.0, reconstruction_weight=10.0)
    (text,) = model.codes
    with torch.no_grad():
        vector, found = text.vector, text.code(text.vector)
        for layer in text.decoder[:-1]:
            found = torch.tanh(layer(found))
        found = text.decoder[-1](found)
    assert vector.square().mean().item() == pytest.approx(1.0)  # so that an error of 1 is that of guessing 0
    assert (found - vector).square().mean() < 0.5


def test_a_missing_vector_has_no_code(graph):
    columns = graph.features["item"]
    values = columns["text"].values.clone()
    values[5] = 0
    bare = replace(graph, features={"item": {**columns, "text": replace(columns["text"], values=values)}})
    code = trained(bare, text="text").codes[0]()
    assert (code == 0).all(1).nonzero().flatten().tolist() == [5]


def test_the_state_is_that_of_a_model_built_of_the_schema(graph):
    config = {**SMALL, "text": "plot", "image": "image", "text_dim": 8}
    model, empty = trained(graph, **config), models.build("cke", Graph.empty(graph.schema), config).eval()
    empty.load_state_dict(model.state_dict())
    query = Query(graph.nodes("user")[:5], torch.empty(5, 0, dtype=torch.long))
    assert torch.equal(empty.score(query, graph.nodes("item")), model.score(query, graph.nodes("item")))


def test_a_column_that_cannot_be_read_is_said(graph):
    with pytest.raises(UnknownName, match=r"no feature 'txt' of the 'item' nodes; did you mean 'text'"):
        models.build("cke", graph, {"text": "txt"})
    with pytest.raises(KgrecError, match="feature 'year' is numeric, but `text` and `image` need a text or a vector"):
        models.build("cke", graph, {"image": "year"})


# ---------------------------------------------------------------- squares


def test_each_vector_that_is_read_is_squared_once():
    """u1 has a, u2 has b, nobody has c; a and b have a fact. l2 weighs users and offsets, facts_l2 entities."""
    graph = Graph.from_frames(
        nodes={"item": pd.DataFrame({"id": list("abc")})},
        edges={
            ("user", "rated", "item"): pd.DataFrame({"source": ["u1", "u2"], "target": ["a", "b"]}),
            ("item", "made_by", "maker"): pd.DataFrame({"source": ["a", "b"], "target": ["m", "m"]}),
        },
        target=("user", "rated", "item"),
    )
    model = models.build(
        "cke", graph, {"dim": 2, "l2": 0.5, "facts_l2": 0.25, "relation_dim": 2, "loss": "bpr", "negatives": 1}
    )
    assert not model.item.weight[2].any()  # c's offset is read by nothing
    with torch.no_grad():
        model.user.weight[:2] = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        model.item.weight[:2] = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        model.entity.weight.fill_(7.0)
    (objective,) = model.objectives(graph)
    user, item = graph.nodes("user"), graph.nodes("item")
    interactions = Batch(user, item[:2], negative=item[[2, 0]].unsqueeze(1))
    penalty = model.edge_penalty(interactions)
    # |u1|^2 + |u2|^2 + |a|^2 + |b|^2 + of the drawn |c|^2 + |a|^2
    assert penalty.item() == 0.5 * (1 + 4 + 9 + 1 + 0 + 9) / 2
    penalty.backward()
    assert model.entity.weight.grad is None or not model.entity.weight.grad.any()
    rated = models.build("cke", graph, {"dim": 2, "l2": 0.5, "relation_dim": 2, "task": "rating"})
    parts = rated.user.weight.square().sum() + rated.item.weight.square().sum()
    torch.testing.assert_close(rated.edge_penalty(interactions), 0.5 * parts / 2)
    facts = Batch(item[:1], graph.nodes("maker"), relation=torch.tensor([0]), negative=graph.nodes("maker")[None])
    vectors = model.entity(torch.stack([facts.head, facts.tail, facts.negative[0]], 1))
    of_facts = 0.25 * (vectors.square().sum() + model.transr.relation[0].square().sum())
    joint = model.joint_penalty((interactions, facts))
    torch.testing.assert_close(joint, penalty + of_facts)
    assert objective.name == "ranking"
