"""What features make of a node's vector, by hand, and the models that take them."""

import dataclasses
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.model import Query
from kgrec.nn import NodeEmbedding, NodeFeaturesConfig, cosine, dot, require_features
from kgrec.samplers.histories import Histories
from kgrec.settings import configure
from kgrec.splits.split import split
from kgrec.text_vectors import text_vectors
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

RATED = pd.DataFrame({"source": ["a", "b", "c"], "target": ["x", "y", "x"]})


def graph_of(items: dict, kinds: dict | None = None, users: dict | None = None) -> Graph:
    """Items w, x, y and z, of which users a, b and c rated x and y."""
    return Graph.from_frames(
        nodes={
            "user": pd.DataFrame({"id": ["a", "b", "c"], **(users or {})}),
            "item": pd.DataFrame({"id": ["w", "x", "y", "z"], **items}),
        },
        edges={("user", "rated", "item"): RATED},
        features={"item": kinds or {}},
    )


def table(graph: Graph, node_type: str | None = "item", dim: int = 2, **config) -> NodeEmbedding:
    torch.manual_seed(0)
    return NodeEmbedding(graph, node_type, dim, 0.1, NodeFeaturesConfig(**{"features": "all", **config}))


def alone(items: dict, kinds: dict | None = None, **config) -> NodeEmbedding:
    """A table without ids, so that a vector is what the features say."""
    return table(graph_of(items, kinds), id_embedding=False, **config)


def set_weight(column: torch.nn.Module, rows: list) -> None:
    with torch.no_grad():
        column.weight.copy_(torch.tensor(rows))


# ---------------------------------------------------------------- each kind, by hand


def test_numbers_are_standardised_by_what_training_sees():
    item = alone({"price": [9.0, 1.0, 3.0, np.nan]})  # of x and y the mean is 2 and the deviation 1
    set_weight(item.features.columns[0], [10.0, 100.0])
    assert item.table().tolist() == [[70, 700], [-10, -100], [10, 100], [0, 0]]


def test_a_category_has_a_vector_and_one_that_training_never_sees_has_none():
    item = alone({"colour": ["blue", "red", "green", None]})
    set_weight(item.features.columns[0], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [0.0, 0.0]])  # blue, green, red, none
    assert item.table().tolist() == [[0, 0], [3, 3], [2, 2], [0, 0]]


def test_several_categories_are_the_mean_of_those_that_training_sees():
    item = alone({"tags": [["p", "r"], ["p", "q"], ["q"], []]}, {"tags": "multi"})
    set_weight(item.features.columns[0], [[1.0, 0.0], [4.0, 2.0], [9.0, 9.0], [0.0, 0.0]])  # p, q, r, none
    assert item.table().tolist() == [[1, 0], [2.5, 1], [4, 2], [0, 0]]
    assert item(item.start + torch.tensor([2, 1, 2])).tolist() == [[4, 2], [2.5, 1], [4, 2]]


def test_a_vector_is_projected_and_scaled_by_the_mean_length_in_training():
    item = alone({"image": [[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.0]]}, {"image": "vector"}, dim=1)
    set_weight(item.features.columns[0], [[4.0, 8.0]])  # lengths 1 and 3: divided by 2
    assert item.table().tolist() == [[4.0], [4.0], [6.0], [0.0]]


TEXTS = ["a blue boat", "красная лодка", "红色的船", "a red car", "лодка", "船", None, " "]


def test_texts_of_several_languages_are_near_where_they_share_words():
    vectors = text_vectors(TEXTS, np.array([True] * 4 + [False] * 4), 8)
    similarity = vectors @ vectors.T
    assert vectors.dtype == np.float32 and vectors.shape == (8, 8)
    for near, text in ((1, 4), (2, 5)):
        assert similarity[text].argsort()[-2:].tolist() == [text, near] or similarity[text, near] > 0.3
        assert similarity[text, [other for other in range(4) if other != near]].max() < 1e-5
    assert not vectors[6:].any()


def test_texts_are_fitted_on_what_training_sees_alone():
    fitted = np.array([True, True, False])
    one = text_vectors(["red car", "blue boat", "green train"], fitted, 4)
    other = text_vectors(["red car", "blue boat", "red red red train"], fitted, 4)
    assert np.array_equal(one[:2], other[:2])
    assert not one[2].any() and other[2].any()
    assert not text_vectors(["...", "!"], np.array([True, True]), 4).any()


def test_a_sentence_encoder_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(KgrecError, match=r"pip install 'kgrec\[text\]'"):
        text_vectors(["red"], np.array([True]), 4, "all-MiniLM-L6-v2")


def test_a_sentence_encoder_gives_vectors_that_are_cut_or_filled_to_the_length(monkeypatch):
    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name

        def encode(self, texts: list[str], **how: bool) -> np.ndarray:
            return np.array([[len(text), 1.0, 0.0] for text in texts])

    module = type("module", (), {"SentenceTransformer": Fake})
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", module)
    texts, fitted = ["red", None, "a"], np.array([True, True, False])
    assert text_vectors(texts, fitted, 4, "fake").tolist() == [[3, 1, 0, 0], [0] * 4, [1, 1, 0, 0]]
    assert text_vectors(texts, fitted, 1, "fake").shape == (3, 1)


# ---------------------------------------------------------------- what is refused, and what is left out


def test_infinity_names_column_count_and_ids():
    """In a graph folder of another engine, say: frames and files with infinity are refused."""
    graph = graph_of({"price": [1.0, 0.0, 2.0, 0.0]})
    graph.features["item"]["price"].values[:] = torch.tensor([1.0, np.inf, 2.0, -np.inf])
    with pytest.raises(KgrecError, match=r"'price' of item has an infinite value at 2 nodes: 'x', 'z'; correct these"):
        table(graph)
    graph = graph_of({"image": [[1.0], [0.0], [2.0], [0.0]]}, {"image": "vector"})
    graph.features["item"]["image"].values[:] = torch.tensor([[1.0], [np.nan], [2.0], [np.inf]])
    with pytest.raises(KgrecError, match=r"'image' of item has NaN or infinity at 2 nodes: 'x', 'z'"):
        table(graph)


@pytest.mark.parametrize(
    ("column", "kind", "what"),
    [
        ([1.0, 5.0, 5.0, 2.0], "numeric", "is the same for all 2 nodes"),
        ([1.0, np.nan, np.nan, 2.0], "numeric", "is missing for all 2 nodes"),
        (["p", "q", "q", "r"], "categorical", "is the same for all 2 nodes"),
        (["p", None, None, "r"], "categorical", "is missing for all 2 nodes"),
        ([["p"], [], [], ["q"]], "multi", "is missing for all 2 nodes"),
        (["red", None, "", "blue"], "text", "is missing for all 2 nodes"),
        ([[1.0], [0.0], [0.0], [2.0]], "vector", "is missing for all 2 nodes"),
    ],
)
def test_a_column_without_anything_to_learn_is_refused_by_name_and_left_out_of_all(column, kind, what):
    graph = graph_of({"odd": column, "size": [1.0, 2.0, 3.0, 4.0]}, {"odd": kind, "size": "numeric"})
    with pytest.raises(KgrecError, match=rf"feature 'odd' of item {what} in the training data"):
        table(graph, features=["odd"])
    item, without = table(graph, id_embedding=False), table(graph, features=["size"], id_embedding=False)
    size = item.features.columns[[name for _, name in item.features.names].index("size")]
    set_weight(size, [1.0, 2.0]), set_weight(without.features.columns[0], [1.0, 2.0])
    assert torch.equal(item.table(), without.table())


def test_some_missing_is_not_constant_for_a_category():
    item = alone({"seen": ["yes", "yes", None, None]})
    assert item.table().abs().sum(1).gt(0).tolist() == [True, True, False, False]


def test_names_are_those_of_columns():
    graph = graph_of({"price": [1.0, 2.0, 3.0, 4.0]}, users={"age": [1.0, 2.0, 3.0]})
    with pytest.raises(UnknownName, match=r"no feature 'prise' .*did you mean 'price'"):
        table(graph, features=["prise"])
    assert len(table(graph, features=["age"]).features.columns) == 0  # of users alone: an item's table has none of it
    with pytest.raises(KgrecError, match=r"id_embedding=false, but node type 'item' has none .* age; it has 'price'"):
        table(graph, features=["age"], id_embedding=False)
    with pytest.raises(KgrecError, match="it has no features; set id_embedding=true"):
        table(graph_of({}, users={"age": [1.0, 2.0, 3.0]}), id_embedding=False)
    models.build("mf", graph, {"features": "[age,price]"})
    with pytest.raises(UnknownName, match=r"no feature 'age' among the nodes that model 'sasrec' looks up"):
        models.build("sasrec", graph, {"features": "age"})
    assert models.build("mf", graph_of({}), {"features": "all"}).item.features.names == []


def test_settings_are_written_as_text():
    config = configure(models.find("mf").Config, {"features": "[age,gender]", "combine": "attention"})
    assert (config.features, config.combine) == (("age", "gender"), "attention")
    assert configure(NodeFeaturesConfig, {"features": "all"}).features == ("all",)
    with pytest.raises(KgrecError, match="with id_embedding=false and no features, nodes have no vector"):
        configure(NodeFeaturesConfig, {"id_embedding": "false"})


def test_features_that_a_model_does_not_look_up_are_refused():
    config = NodeFeaturesConfig(features="all")
    with pytest.raises(KgrecError, match="model 'linear' cannot use features of nodes"):
        require_features(torch.nn.Linear(1, 1), config, "model 'linear'")
    require_features(torch.nn.Linear(1, 1), NodeFeaturesConfig(), "model 'linear'")


# ---------------------------------------------------------------- the table


EVERY = {
    "price": [9.0, 1.0, 3.0, np.nan],
    "colour": ["blue", "red", "green", None],
    "tags": [["p"], ["p", "q"], ["q"], []],
    "plot": ["red boat", "blue car", "red car", None],
    "image": [[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.0]],
}
KINDS = {"price": "numeric", "colour": "categorical", "tags": "multi", "plot": "text", "image": "vector"}


@pytest.fixture(params=["sum", "attention"])
def item(request: pytest.FixtureRequest) -> NodeEmbedding:
    return table(graph_of(EVERY, KINDS), dim=3, combine=request.param, text_dim=4)


def test_no_node_has_the_zero_vector_nor_has_one_without_an_edge_and_a_feature(item: NodeEmbedding):
    vectors = item(torch.tensor([item.start + 3, item.start + 4, 99]))
    assert vectors.tolist() == [[0.0] * 3] * 3
    assert item(torch.tensor([item.start])).abs().min() > 0  # w has no edge, but features


def test_a_node_without_an_edge_has_no_id_and_gets_no_gradient_of_it(item: NodeEmbedding):
    item.table().sum().backward()
    assert item.weight.grad.abs().sum(1).gt(0).tolist() == [False, True, True, False, False]
    item.zero_grad()
    item.squares(item.start + torch.arange(4)).backward()
    assert item.weight.grad.abs().sum(1).gt(0).tolist() == [False, True, True, False, False]


def test_look_ups_of_few_and_of_many_nodes_are_rows_of_the_table(item: NodeEmbedding):
    few, many = item.start + torch.tensor([[2, 0]]), item.start + torch.tensor([[2, 0, 3], [1, 1, 9]])
    whole = torch.cat([item.table(), torch.zeros(6, 3)])
    torch.testing.assert_close(item(few), whole[few - item.start])
    torch.testing.assert_close(item(many), whole[many - item.start])
    torch.testing.assert_close(item.norm(many), whole[many - item.start].norm(dim=-1))


def test_products_and_their_gradients_equal_the_plain_form(item: NodeEmbedding):
    node = item.start + torch.tensor([[2, 0], [1, 9]])
    vector = torch.randn(2, 3, requires_grad=True)
    factor = torch.randn(2, 2)
    plain_dot = (vector.unsqueeze(1) * item(node)).sum(-1)
    for product, plain in (
        (dot(vector, item, node), plain_dot),
        (cosine(vector, item, node), plain_dot / vector.norm(dim=1, keepdim=True) / item.norm(node).clamp(min=1e-12)),
        (cosine(vector, item, node[0]), torch.nn.functional.cosine_similarity(vector[:, None], item(node[:1]), dim=-1)),
    ):
        results = []
        for one in (product, plain):
            item.zero_grad()
            vector.grad = None
            (one * factor).sum().backward(retain_graph=True)
            results.append([one.detach(), vector.grad, *(p.grad for p in item.parameters() if p.grad is not None)])
        for mine, of_plain in zip(*results):
            torch.testing.assert_close(mine, of_plain)


def test_bf16_autocast_gives_float32_that_is_near(item: NodeEmbedding):
    wanted = item.table()
    with torch.autocast("cpu", torch.bfloat16):
        found = item.table()
        found.sum().backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.01)


def test_id_dropout_leaves_the_features_in_training_alone():
    item = table(graph_of(EVERY, KINDS), id_dropout=0.999999)
    whole = item.eval().table()
    dropped = item.train().table()
    torch.testing.assert_close(dropped, whole - item.weight[:-1] * item.is_trained[:-1, None])


def test_tables_of_all_types_take_each_types_columns():
    graph = graph_of(EVERY, KINDS, users={"age": [1.0, 2.0, 3.0]})
    for combine in ("sum", "attention"):
        both = table(graph, None, combine=combine)
        own = table(graph, "item", combine=combine)
        own.load_state_dict(
            {
                name.replace("columns.", "columns."): value
                for name, value in (
                    ("weight", both.weight[3:]),
                    ("is_trained", both.is_trained[3:]),
                    *((n, v) for n, v in both.features.state_dict(prefix="features.").items() if "columns" not in n),
                    *(
                        (f"features.columns.{at}.{n}", v)
                        for at in range(5)
                        for n, v in both.features.columns[at + 1].state_dict().items()
                    ),
                )
            }
        )
        torch.testing.assert_close(both.table()[3:], own.table())
        torch.testing.assert_close(both(torch.tensor([5, 0, 99]))[0], own.table()[2])
    weights = both.feature_weights(torch.tensor([0, 4, 6, 99]))
    assert weights["age"].gt(0).tolist() == [True, False, False, False]
    assert weights["id"].gt(0).tolist() == [True, True, False, False]
    total = torch.stack(list(weights.values())).sum(0)
    torch.testing.assert_close(total, torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_attention_weighs_the_parts_that_a_node_has():
    item = table(graph_of({"price": [9.0, 1.0, 3.0, np.nan]}), combine="attention")
    node = item.start + torch.arange(4)
    weights = item.feature_weights(node)
    assert list(weights) == ["id", "price"]
    parts = torch.stack([item.weight[:-1], item.features.columns[0](torch.arange(4))], 1)
    energy = torch.tanh(item.features.attention(parts)) @ item.features.query
    assert weights["id"][[0, 3]].tolist() == [0, 0] and weights["price"][[0, 3]].tolist() == [1, 0]
    torch.testing.assert_close(torch.stack(list(weights.values()), 1)[1:3], energy[1:3].softmax(-1))
    torch.testing.assert_close(item.table()[1:3], (energy[1:3].softmax(-1).unsqueeze(2) * parts[1:3]).sum(1))
    with pytest.raises(KgrecError, match="train with combine=attention"):
        table(graph_of({"price": [9.0, 1.0, 3.0, 2.0]})).feature_weights(node)
    with pytest.raises(KgrecError, match="these vectors use no features"):
        NodeEmbedding(graph_of({}), "item", 2).feature_weights(node)


def test_without_features_a_table_is_what_it_was():
    graph = graph_of(EVERY, KINDS)
    torch.manual_seed(0)
    plain = NodeEmbedding(graph, "item", 2, 0.1)
    item = table(graph, features=())
    assert list(item.state_dict()) == ["weight"]
    assert torch.equal(item.table(), plain.table())


def test_a_new_nodes_categories_stand_in_the_schema_of_the_bigger_graph():
    graph = graph_of(EVERY, KINDS)
    bigger, _ = graph.with_nodes({"item": pd.DataFrame({"id": ["n"], "tags": [["p", "q"]]})})
    assert graph.schema.nodes["item"].features["tags"].entries == 4
    assert bigger.schema.nodes["item"].features["tags"].entries == 6
    assert NodeEmbedding(bigger, "item", 2, 0.1, NodeFeaturesConfig(features="all")).table().shape == (5, 2)


# ---------------------------------------------------------------- models


TAKERS = ("esasrec", "gru4rec", "gruatt", "kgat", "kgatseq", "lightgcn", "mf", "ncf", "neumf", "sasrec")
SMALL = {"dim": 16, "batch_size": 32, "lr": 0.01, "length": 10, "features": "all", "text_dim": 8}
WORDS = ("apple", "вишня", "船", "plum", "fig")


@pytest.fixture(scope="module")
def featured(planted: Graph) -> Graph:
    """The planted graph, where features of all five kinds tell an item's genre, and a user has a number."""
    rng, genre = np.random.default_rng(0), np.arange(40) % 5
    items = pd.DataFrame(
        {
            "id": [f"i{item}" for item in range(40)],
            "order": np.where(rng.random(40) < 0.2, np.nan, genre),
            "genre": [f"g{one}" for one in genre],
            "tags": [[f"t{one}", "common"] for one in genre],
            "plot": [f"{WORDS[one]} pie {rng.integers(9)}" for one in genre],
            "image": [list(row) for row in np.eye(5)[genre] + 0.1 * rng.standard_normal((40, 5))],
        }
    )
    frames = {
        edge: pd.DataFrame(
            {end: planted.only(edge).edge_index[at].numpy() for at, end in enumerate(("source", "target"))}
        )
        for edge in planted.edge_types
    }
    for edge, frame in frames.items():
        for end, node_type in (("source", edge[0]), ("target", edge[2])):
            frame[end] = planted.vocabulary[node_type].ids(frame[end].to_numpy())
    frames[planted.target]["time"] = planted.only(planted.target).time.numpy()
    users = pd.DataFrame({"id": [f"u{user}" for user in range(60)], "age": rng.random(60)})
    kinds = {"item": {"plot": "text", "image": "vector"}}
    return Graph.from_frames(nodes={"user": users, "item": items}, edges=frames, features=kinds, target=planted.target)


@pytest.fixture(scope="module", params=TAKERS)
def trained(request: pytest.FixtureRequest, featured: Graph):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    parts = split(featured, "cold_items:0.2,seed=1")
    kind = models.find(request.param)
    fields = {field.name for field in dataclasses.fields(kind.Config)}
    config = configure(kind.Config, {key: value for key, value in SMALL.items() if key in fields} | {"id_dropout": 0.5})
    if request.param in ("ncf", "sasrec"):
        config = replace(config, combine="attention")
    if request.param == "kgatseq":
        config = replace(config, interactions=True)  # else users have no part in it, and their columns stay
    torch.manual_seed(0)
    model = models.build(request.param, parts.train, config)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    training = TrainingConfig(epochs=25, device="cpu")
    for _ in Trainer(model, parts.train, training, make_fabric(training)).epochs():
        pass
    assert [name for name, p in model.named_parameters() if torch.equal(p.detach(), start[name])] == []
    yield model.eval(), parts, config
    torch.set_num_threads(before)


def scores_of(model, parts, items: Tensor) -> tuple[Query, Tensor]:
    known = parts.train.only(parts.train.target)
    query = Query(known.nodes("user"), Histories(known).last(known.nodes("user")))
    with torch.no_grad():
        return query, model.score(query, items)


def test_scores_are_finite_and_lists_agree(trained):
    model, parts, _ = trained
    query, whole = scores_of(model, parts, parts.train.nodes("item"))
    own = torch.stack([torch.randperm(40)[:5] for _ in range(len(query))])
    assert whole.shape == (60, 40) and whole.isfinite().all()
    with torch.no_grad():
        lists = model.score(query, parts.train.nodes("item")[own])
    torch.testing.assert_close(lists, whole.gather(1, own), rtol=1e-4, atol=1e-5)


def test_saved_state_loads_in_a_model_built_of_the_schema(trained):
    model, parts, config = trained
    empty = type(model)(Graph.empty(parts.train.schema), config).eval()
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert {n: t.shape for n, t in empty.state_dict().items()} == {n: t.shape for n, t in saved.items()}
    assert all(tensor.layout == torch.strided for tensor in saved.values())
    empty.load_state_dict(saved)
    items = parts.train.nodes("item")
    assert torch.equal(scores_of(empty, parts, items)[1], scores_of(model, parts, items)[1])


def test_cold_items_are_ranked_by_their_features(trained):
    """A user likes two genres of five; of the cold items those that the user took stand above the others."""
    model, parts, _ = trained
    cold = parts.train.withheld
    query, scores = scores_of(model, parts, cold)
    taken = parts.test.is_edge(query.user, cold.expand(len(query), -1))
    tables = [table for table in model.modules() if isinstance(table, NodeEmbedding) and table.features is not None]
    of_items = [table for table in tables if table.start + table.count > cold.max()]
    with torch.no_grad():
        assert min(float(table(cold).norm(dim=1).min()) for table in of_items) > 0.01
    has = taken.any(1) & ~taken.all(1)
    better = [(row[mine][:, None] > row[~mine][None, :]).float().mean() for row, mine in zip(scores[has], taken[has])]
    assert torch.stack(better).mean() > 0.65  # chance: 0.5


# ---------------------------------------------------------------- nodes that the graph does not have

PROFILES = {
    "price": [9.0, 1.0, 3.0, np.nan],
    "colour": ["blue", "red", "green", None],
    "tags": [["p", "r"], ["p", "q"], ["q"], []],
    "image": [[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.0]],
}
KINDS = {"tags": "multi", "image": "vector"}


@pytest.mark.parametrize("config", [{}, {"combine": "attention"}, {"id_embedding": False}, {"features": ("price",)}])
def test_a_new_node_with_the_columns_of_one_without_edges_has_its_vector(config: dict):
    """w is blue, a category that no node in training has, and z lacks every value."""
    graph = graph_of(PROFILES, KINDS)
    item = table(graph, **config).eval()
    for parameter in item.parameters():
        parameter.requires_grad_(False)
    columns = graph.features["item"]
    index = torch.tensor([3, 0, 0])
    found = item.of_profile("item", {name: column.take(index) for name, column in columns.items()}, 3)
    assert torch.equal(found, item.table()[index])
    assert found[1].abs().min() > 0 and not found[0].any()
    x = {name: column.take(torch.tensor([1])) for name, column in columns.items()}
    of_columns = item.of_profile("item", x, 1)
    if config.get("id_embedding", True):
        assert (of_columns - item.table()[1]).abs().max() > 1e-3  # what its columns say, without the id's own vector
    else:
        assert torch.equal(of_columns[0], item.table()[1])
    assert not item.of_profile("user", x, 1).any() and not item.of_profile("item", {}, 1).any()
    some = item.of_profile("item", {"price": x["price"]}, 1)  # the other columns are missing
    assert some.any() and (torch.equal(some, of_columns) == (config.get("features") == ("price",)))


def test_without_features_a_new_node_has_no_vector():
    assert NodeEmbedding(graph_of(PROFILES, KINDS), "item", 2).of_profile("item", {}, 3).tolist() == [[0, 0]] * 3


def test_a_new_user_with_a_profile_is_scored_as_a_known_one_of_the_same_columns():
    nodes = {
        "user": pd.DataFrame({"id": ["a", "b", "c", "d"], "age": [20.0, 40.0, 60.0, 50.0]}),
        "item": pd.DataFrame({"id": ["w", "x", "y", "z"]}),
    }
    graph = Graph.from_frames(nodes=nodes, edges={("user", "rated", "item"): RATED})
    torch.manual_seed(0)
    model = models.build("mf", graph, {"dim": 4, "features": "all"}).eval()
    items, d = graph.nodes("item"), graph.flat("user", ["d"])  # who rated nothing
    age = graph.features["user"]["age"].take(torch.tensor([3]))
    query = Query(torch.tensor([graph.pad]), torch.empty(1, 0), profile={"age": age})
    with torch.no_grad():
        known = model.score(Query(d, torch.empty(1, 0)), items)
        new = model.user.of_profile("user", query.profile, len(query)) @ model.item(items).T
    assert known[:, 1:3].abs().min() > 1e-4  # w and z have neither edges nor columns
    torch.testing.assert_close(new, known)


def test_a_profile_that_does_not_fit_is_refused():
    graph = graph_of({**PROFILES, "text": ["one", "two", "three", "four"]}, {**KINDS, "text": "text"})
    item, columns = table(graph), graph.features["item"]

    def refused(name: str, column: Feature, message: str) -> None:
        with pytest.raises(KgrecError, match=f"profile: .*{message}"):
            item.of_profile("item", {name: column}, 2)

    two = torch.tensor([0, 1])
    refused("price", columns["price"], "'price' has 4 rows for 2 queries; give one row for each")
    refused("price", columns["colour"].take(two), "'price' is categorical, but it was numeric in training")
    refused("price", Feature.from_arrow(pa.array([1.0, np.inf]), "numeric"), "'price' has an infinite value in row 1")
    other = Feature.from_arrow(pa.array(["red", "blue"]), "categorical")  # its own two alone
    refused("colour", other, "categories of 'colour' are 'blue', 'red', but they were 'blue', 'green', 'red' in")
    long = Feature.from_arrow(pa.array([[1.0, 2.0, 3.0]] * 2), "vector")
    refused("image", long, "'image' has vectors of 3 numbers; the model needs 2")
    refused("text", columns["text"].take(two), "'text' is a text, and a new text cannot be turned into a vector")


def test_weights_that_were_saved_without_the_scale_of_columns_still_load():
    graph = graph_of(PROFILES, KINDS)
    item = table(graph)
    saved = {n: t for n, t in item.state_dict().items() if n.rpartition(".")[2] not in ("mean", "deviation", "length")}
    assert len(saved) == len(item.state_dict()) - 3
    other = table(Graph.empty(graph.schema))
    other.load_state_dict(saved)
    assert torch.equal(other.table(), item.table())
    columns = graph.features["item"]
    for name in ("price", "image"):
        with pytest.raises(
            KgrecError, match=f"saved by an older version without the scale of '{name}', so it cannot read new values"
        ):
            other.of_profile("item", {name: columns[name]}, 4)
    assert other.of_profile("item", {"colour": columns["colour"]}, 4)[1].any()
    other.load_state_dict(item.state_dict())
    assert torch.equal(other.of_profile("item", columns, 4), item.of_profile("item", columns, 4))
