"""What rows stand for: how it is said, who asks, and that every built-in model says it."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.nn import NodeEmbedding
from kgrec.rows import (
    FeatureRows,
    NodeRows,
    RelationRows,
    declare_rows,
    node_parameters,
    rows_of,
    sized_by_graph,
)
from kgrec.training.transfer import initialise


def graph_of(*facts: str, users: str = "ann bob", items: str = "a b c") -> Graph:
    """Each user has the first item; of it one fact a relation is stated, about an entity of the relation's name."""
    ids = users.split(), items.split()
    rated = pd.DataFrame({"source": ids[0], "target": ids[1][0]})
    edges = {("user", "rated", "item"): rated}
    edges |= {("item", fact, "entity"): pd.DataFrame({"source": [ids[1][0]], "target": [fact]}) for fact in facts}
    nodes = {"user": pd.DataFrame({"id": ids[0]}), "item": pd.DataFrame({"id": ids[1]})}
    return Graph.from_frames(edges=edges, nodes=nodes)


class Intents(Recommender):
    """The parameters of a model as KGIN is: a vector a relation, and layers; nothing is said of them."""

    Config = SimpleNamespace

    def __init__(self, graph: Graph, config: SimpleNamespace) -> None:
        super().__init__(graph, config)
        self.user, self.item = (NodeEmbedding(graph, graph.target[end], config.dim) for end in (0, 2))
        self.relation = nn.Embedding(len(graph.facts().edge_types), config.dim)
        self.layer = nn.Linear(config.dim, 2)  # as many outputs as the graphs here have relations

    def score(self, query, items):
        raise NotImplementedError


class SayingIntents(Intents):
    """The same, and one line that says what the vectors are of."""

    def __init__(self, graph: Graph, config: SimpleNamespace) -> None:
        super().__init__(graph, config)
        declare_rows(self, relation=RelationRows(graph.facts().edge_types))


CONFIG = SimpleNamespace(dim=4)


def test_relations_that_are_not_declared_do_not_go_to_another_graphs() -> None:
    """Two relations here and two there, of which one is the same: as many rows, and the first is another's."""
    there, here = graph_of("by", "in"), graph_of("about", "by")
    trained, model = Intents(there, CONFIG), Intents(here, CONFIG)
    before, state = model.relation.weight.detach().clone(), torch.random.get_rng_state()
    taken = initialise(model, here, trained, there)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(model.relation.weight, before)
    assert taken.undeclared == taken.left == ("relation.weight",)
    assert taken.layers == ("layer.weight", "layer.bias") and taken.named == {}
    assert torch.equal(model.layer.weight, trained.layer.weight)
    same = initialise(model, there, trained, there)  # one graph: the rows are the same, whatever they are
    assert torch.equal(model.relation.weight, trained.relation.weight) and not same.undeclared


def test_relations_that_are_declared_go_by_name() -> None:
    there, here = graph_of("by", "in"), graph_of("about", "by")
    trained, model = SayingIntents(there, CONFIG), SayingIntents(here, CONFIG)
    before = model.relation.weight.detach().clone()
    taken = initialise(model, here, trained, there)
    assert torch.equal(model.relation.weight, torch.stack([before[0], trained.relation.weight[0]]))
    assert taken.named == {"relation.weight": {"found": 1, "rows": 2, "missing": ["item-about-entity"]}}
    assert (taken.undeclared, taken.left) == ((), ())
    more = graph_of("in", "by", "about")  # another number of rows
    model = SayingIntents(more, CONFIG)
    assert initialise(model, more, trained, there).named["relation.weight"]["found"] == 2
    assert torch.equal(model.relation.weight[:2], trained.relation.weight[[1, 0]])
    assert initialise(model, more, Intents(there, CONFIG), there).left == ("relation.weight",)  # said of one alone


def test_nodes_that_are_not_declared_do_not_go_to_other_nodes() -> None:
    """As many items, by other ids."""

    class Plain(Recommender):
        def __init__(self, graph: Graph, config: SimpleNamespace) -> None:
            super().__init__(graph, config)
            self.user = NodeEmbedding(graph, "user", 4)
            self.from_items = nn.Linear(len(graph.range("item")), 4)

        def score(self, query, items):
            raise NotImplementedError

    here, there = graph_of(items="a b c"), graph_of(items="x b c")
    taken = initialise(Plain(here, None), here, Plain(there, None), there)
    assert taken.undeclared == ("from_items.weight",) and taken.layers == ("from_items.bias",)
    assert initialise(Plain(here, None), here, Plain(here, None), here).undeclared == ()


def test_plain_parameters_of_nodes_go_by_id_as_tables_do() -> None:
    """One table of users and items, and a bias of one dimension, without rows of padding."""

    class Plain(Recommender):
        def __init__(self, graph: Graph, config: SimpleNamespace) -> None:
            super().__init__(graph, config)
            self.node = nn.Parameter(torch.randn(len(graph.range("user")) + len(graph.range("item")), 2))
            self.bias = nn.Parameter(torch.randn(len(graph.range("item"))))
            declare_rows(self, node=NodeRows.of(graph, "item", "user"), bias=NodeRows.of(graph, "item"))

        def score(self, query, items):
            raise NotImplementedError

    here, there = graph_of(items="c d a", users="bob"), graph_of(items="a b c", users="ann bob")
    model, trained = Plain(here, None), Plain(there, None)
    before = model.node[1].clone(), model.bias[1].clone()
    taken = initialise(model, here, trained, there)
    assert torch.equal(model.node[[0, 2, 3]], trained.node[[2, 0, 4]]) and torch.equal(model.node[1], before[0])
    assert torch.equal(model.bias[[0, 2]], trained.bias[[2, 0]]) and torch.equal(model.bias[1], before[1])
    assert taken.vectors["bias"] == {"from": "bias", "found": 2, "nodes": 3}
    assert taken.vectors["node/user"] == {"from": "node", "found": 1, "nodes": 1}
    assert list(node_parameters(model)) == ["node"]
    assert torch.equal(model.node_vectors("user"), model.node[3:]) and torch.equal(
        model.node_vectors("item"), model.node[:3]
    )
    assert model.node_vectors("entity") is None


def test_categories_go_by_name() -> None:
    def told(*genres: str) -> Graph:
        items = pd.DataFrame({"id": ["a", "b", "c"], "genre": list(genres)})
        rated = pd.DataFrame({"source": ["ann", "bob", "cem"], "target": ["a", "b", "c"]})
        return Graph.from_frames(
            edges={("user", "rated", "item"): rated}, nodes={"item": items}, features={"item": {"genre": "categorical"}}
        )

    config, there, here = {"dim": 4, "features": "genre"}, told("drama", "war", "noir"), told("war", "crime", "drama")
    trained, model = models.build("mf", there, config), models.build("mf", here, config)
    taken = initialise(model, here, trained, there)
    (ours,), (theirs,) = model.item.features.columns, trained.item.features.columns
    genres = [graph.schema.nodes["item"].features["genre"].categories for graph in (here, there)]
    for genre in ("drama", "war"):
        assert torch.equal(ours.weight[genres[0].index(genre)], theirs.weight[genres[1].index(genre)])
    assert taken.named == {"item.features.columns.0.weight": {"found": 2, "rows": 3, "missing": ["crime"]}}


def test_what_is_declared_must_be_there() -> None:
    graph = graph_of("by")
    module = nn.Module()
    module.relation, module.bias = nn.Embedding(3, 2), nn.Parameter(torch.zeros(()))
    with pytest.raises(UnknownName, match=r"no parameter 'relations' .*did you mean 'relation"):
        declare_rows(module, relations=RelationRows(graph.edge_types))
    with pytest.raises(KgrecError, match=r"Module.relation has shape \(3, 2\), but rows for 4 relations are"):
        declare_rows(module, relation=RelationRows(graph.two_way_edges()))
    with pytest.raises(KgrecError, match=r"Module.bias has shape \(\), but rows for 3 nodes \(item\)"):
        declare_rows(module, bias=NodeRows.of(graph, "item"))
    with pytest.raises(UnknownName, match="node type 'film'"):
        NodeRows.of(graph, "film")
    declare_rows(module, relation=RelationRows(graph.edge_types))  # two, and a row of padding
    assert rows_of(module) == {"relation.weight": RelationRows(graph.edge_types)}


# ---------------------------------------------------------------------- the built-in models

COLUMNS = pd.DataFrame(
    {
        "id": ["a", "b", "c"],
        "year": [1.0, 2.0, 3.0],
        "genre": ["war", "drama", "war"],
        "plot": ["a war", "a love", "a war and a love"],
        "look": [[1.0, 2.0], [0.0, 1.0], [1.0, 1.0]],
    }
)
RICH = Graph.from_frames(
    edges={
        ("user", "rated", "item"): pd.DataFrame({"source": ["ann", "bob", "cem"], "target": ["a", "b", "c"]}),
        ("user", "seen", "item"): pd.DataFrame({"source": ["ann", "bob", "cem"], "target": ["b", "b", "a"]}),
        ("item", "by", "person"): pd.DataFrame({"source": ["a", "b"], "target": ["x", "y"]}),
    },
    nodes={"item": COLUMNS},
    features={"item": {"year": "numeric", "genre": "categorical", "plot": "text", "look": "vector"}},
)
VARIANTS = [
    ("mf", {"features": "all", "text_dim": 2, "biases": True}),
    ("kgat", {"features": "all", "text_dim": 2, "combine": "attention"}),
    ("cke", {"text": "plot", "image": "look", "text_dim": 2}),
    ("sasrec", {"behaviours": ("rated", "seen"), "item_bias": True}),
    ("gan", {"condition": None, "features": "all", "text_dim": 2}),
]


@pytest.mark.parametrize(("name", "config"), [*((name, {}) for name in models.names()), *VARIANTS])
def test_all_that_depends_on_the_graph_is_declared(name: str, config: dict) -> None:
    model = models.build(name, RICH, config)
    sized = sized_by_graph(lambda graph: type(model)(graph, model.config), RICH.schema)
    assert sized - rows_of(model).keys() == set()
    if list(model.parameters()):
        assert sized, "every model that learns has parameters for nodes"


@pytest.mark.parametrize("name", ["transe", "rotate", "transr", "kgat", "cke"])
def test_relations_of_facts_are_of_both_directions(name: str) -> None:
    facts = RICH.facts() if name == "cke" else RICH
    found = [rows for rows in rows_of(models.build(name, RICH)).values() if isinstance(rows, RelationRows)]
    assert found and all(rows.edge_types == tuple(facts.two_way_edges()) for rows in found)


def test_columns_are_declared() -> None:
    rows = rows_of(models.build("mf", RICH, {"features": "all", "text_dim": 2}))
    assert FeatureRows("item", "genre", "categorical", ("drama", "war")) in rows.values()
    assert FeatureRows("item", "year", "numeric") in rows.values()


def test_final_vectors_are_those_that_score() -> None:
    """Of MF its tables, of LightGCN what it computes of them, of KGAT wider ones; EASE has none, of iALS the items'."""
    torch.manual_seed(0)
    mf = models.build("mf", RICH, {"dim": 4}).eval()
    assert torch.equal(mf.node_vectors("item"), mf.item.weight[:-1])
    lightgcn = models.build("lightgcn", RICH, {"dim": 4}).eval()
    with torch.no_grad():
        lightgcn.refresh()
        assert torch.equal(lightgcn.node_vectors("user"), lightgcn.encode()[0])
    assert models.build("kgat", RICH, {"dim": 4, "layer_dims": (3,)}).node_vectors("item").shape == (3, 7)
    ials = models.build("ials", RICH, {"dim": 4})
    assert torch.equal(ials.node_vectors("item"), ials.item) and ials.node_vectors("user") is None
    assert models.build("ease", RICH).node_vectors("item") is None
    gan = models.build("gan", RICH, {"dim": 4}).eval()
    assert torch.equal(gan.node_vectors("user"), gan.generator.user_vector[:-1])
    assert torch.equal(gan.node_vectors("item"), gan.generator.item.weight[:-1])


def test_final_vectors_are_made_of_features_too() -> None:
    model = models.build("mf", RICH, {"dim": 4, "features": "genre"}).eval()
    with torch.no_grad():
        expected = model.item(RICH.nodes("item"))
    assert not torch.equal(expected, model.item.weight[:-1]) and torch.equal(model.node_vectors("item"), expected)


def test_final_vectors_are_of_the_part_that_serves() -> None:
    for part in ("generator", "discriminator"):
        model = models.build("irgan", RICH, {"dim": 4, "serve": part}).eval()
        assert torch.equal(model.node_vectors("item"), getattr(model, part).item.weight[:-1])
    assert models.build("dnen", RICH, {"dim": 4, "serve": "discriminator"}).node_vectors("item") is None
