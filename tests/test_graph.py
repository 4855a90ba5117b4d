"""The graph, by hand: two users, three items, one genre, eight edges."""

from __future__ import annotations

import uuid
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch_geometric.data import HeteroData

from kgrec.errors import BadData, KgrecError, UnknownName
from kgrec.graph import NO_TIME, Graph, edge_kernels
from kgrec.graph.assembly import EdgePart, NodePart, assemble
from kgrec.graph.features import Feature
from kgrec.graph.schema import EdgeSchema, NodeSchema, Schema
from kgrec.graph.vocabulary import Vocabulary

RATED, VIEWED, GENRE = ("user", "rated", "item"), ("user", "viewed", "item"), ("item", "has_genre", "genre")


def frame(*rows: tuple, columns: str = "source target time weight") -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=columns.split()[: len(rows[0])])


@pytest.fixture
def graph() -> Graph:
    """Flat numbers: ann 0, bob 1; a 2, b 3, c 4; noir 5; pad 6. Edges: rated 0-3, viewed 4-5, has_genre 6-7."""
    return Graph.from_frames(
        edges={
            RATED: frame(("ann", "a", 30, 5.0), ("bob", "a", 10, 3.0), ("ann", "b", 10, 4.0), ("ann", "c", 10, 1.0)),
            VIEWED: frame(("ann", "c", 5), ("bob", "b", 7)),
            GENRE: frame(("a", "noir"), ("b", "noir")),
        }
    )


# ---------------------------------------------------------------------- from frames


def test_nodes_are_numbered_by_first_appearance_over_all_edge_frames(graph):
    assert graph.node_types == ["user", "item", "genre"]
    assert graph.vocabulary["user"].ids(range(9)) == ["ann", "bob"]
    assert graph.vocabulary["item"].ids(range(9)) == ["a", "b", "c"]
    assert graph.target == RATED
    assert repr(graph) == (
        "Graph(user: 2, item: 3, genre: 1 | user-rated-item: 4, user-viewed-item: 2, item-has_genre-genre: 2)"
    )


def test_flat_and_local_numbers(graph):
    assert graph.edge_index.tolist() == [[0, 1, 0, 0, 0, 1, 0, 1], [0, 0, 1, 2, 2, 1, 0, 0]]
    assert graph.head.tolist() == [0, 1, 0, 0, 0, 1, 2, 3]
    assert graph.tail.tolist() == [2, 2, 3, 4, 4, 3, 5, 5]
    assert graph.relation.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert graph.relation_ptr == (0, 4, 6, 8)
    assert (graph.range("item"), graph.nodes("item").tolist(), graph.pad) == (range(2, 5), [2, 3, 4], 6)
    assert graph.flat("item", ["c", "a"]).tolist() == [4, 2]
    assert graph.time.tolist() == [30, 10, 10, 10, 5, 7, NO_TIME, NO_TIME]
    assert graph.weight.tolist() == [5, 3, 4, 1, 1, 1, 1, 1]


def test_unknown_types_and_ids_are_named(graph):
    with pytest.raises(UnknownName, match=r"no node type 'itm' in this graph; did you mean 'item'"):
        graph.flat("itm", ["a"])
    with pytest.raises(UnknownName, match=r"no item 'z' among the 3 known"):
        graph.flat("item", ["a", "z"])
    with pytest.raises(
        UnknownName,
        match=r"no relation 'watched' in this graph; did you mean 'rated'\? There are: rated, viewed, has_genre",
    ):
        graph.only("watched")


def test_ids_stay_what_they_are():
    edges = {RATED: frame(("007", "Ärger im Büro"), ("7", " x y "), ("007", "東京"))}
    graph = Graph.from_frames(edges=edges)
    assert graph.vocabulary["user"].ids(range(2)) == ["007", "7"]
    assert graph.vocabulary["item"].ids(range(3)) == ["Ärger im Büro", " x y ", "東京"]
    assert graph.edge_index.tolist() == [[0, 1, 0], [0, 1, 2]]


def test_numbers_as_ids_become_strings_and_a_categorical_column_its_names():
    edges = {RATED: pd.DataFrame({"source": [42, 7], "target": pd.Categorical(["b", "a"])})}
    graph = Graph.from_frames(edges=edges)
    assert graph.vocabulary["user"].ids(range(2)) == ["42", "7"]
    assert graph.vocabulary["item"].ids(range(2)) == ["b", "a"]


def test_a_node_frame_gives_the_order_labels_and_nodes_without_edges():
    nodes = {"item": pd.DataFrame({"id": ["z", "b", "a"], "label": [None, "Bee", None]})}
    graph = Graph.from_frames(edges={RATED: frame(("ann", "a"), ("ann", "b"))}, nodes=nodes)
    assert graph.node_types == ["item", "user"]
    assert graph.edge_index.tolist() == [[0, 0], [2, 1]]
    assert graph.flat("user", ["ann"]).tolist() == [3]
    assert graph.vocabulary["item"].labels(range(3)) == ["z", "Bee", "a"]


def test_edges_that_name_no_node_are_an_error_with_their_ids():
    nodes = {"item": pd.DataFrame({"id": [1, 2]})}
    edges = {RATED: pd.DataFrame({"source": ["u", "u", "u"], "target": [1, 9, 8]})}
    with pytest.raises(BadData, match=r"relation 'rated' names item ids that the frame of item nodes lacks: '9', '8'$"):
        Graph.from_frames(edges=edges, nodes=nodes)


@pytest.mark.parametrize(
    ("edges", "more", "message"),
    [
        (
            {RATED: pd.DataFrame({"source": ["u"], "item": ["a"]})},
            {},
            r"frame of relation 'rated' has no column 'target'",
        ),
        ({RATED: frame(("u", "a"), ("u", None))}, {}, r"1 edges of relation 'rated' have no item id"),
        ({RATED: frame(("u", "a"), ([3], "b"))}, {}, r"row 2 of source is \[3\], of type list; an id, label or cat"),
        ({RATED: frame(("u", "a", 1, 2.0), ("u", "b", 1, None))}, {}, r"1 edges of relation 'rated' have no weight"),
        ({RATED: frame(("u", "a", "monday"))}, {}, r"time of relation 'rated' is a column of"),
        (
            {"rated": frame(("u", "a"))},
            {},
            r"'rated' is not an edge type; three texts are wanted: \(source type, relation, target type\)",
        ),
        ({RATED: frame(("u", "a"))}, {"features": {"itm": {"x": "text"}}}, r"no node frame or relation 'itm'"),
        ({RATED: frame(("u", "a"))}, {"features": {"rated": {"x": "text"}}}, r"'rated' has no column 'x'"),
        ({RATED: frame(("u", "a"))}, {"target": ("user", "bought", "item")}, r"no relation 'user-bought-item'"),
        ({RATED: frame(("u", "a"))}, {"nodes": {"item": pd.DataFrame({"id": ["a", "a"]})}}, r"more than once: 'a'"),
        ({RATED: frame(("u", "a"))}, {"nodes": {"item": pd.DataFrame({"name": ["a"]})}}, r"has no column 'id'"),
    ],
)
def test_frames_that_are_wrong_say_how(edges, more, message):
    with pytest.raises(KgrecError, match=message):
        Graph.from_frames(edges=edges, **more)


FIRST, LAST = uuid.UUID(int=5), uuid.UUID("9f1c2e3a-1111-4222-8333-fedcba987654")
BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        ([FIRST, LAST], [str(FIRST), str(LAST)]),
        (pd.Series([FIRST.bytes, LAST.bytes], dtype=pd.ArrowDtype(pa.binary(16))), [str(FIRST), str(LAST)]),
        ([BIG, BIG - 1], [str(BIG), str(BIG - 1)]),
        ([2**70, -(2**70)], [str(2**70), str(-(2**70))]),
        ([2**64 - 1, 2], [str(2**64 - 1), "2"]),
        ([1, "007"], ["1", "007"]),
        ([np.int32(1), "1x"], ["1", "1x"]),
        (pd.Series([BIG, 1], dtype="Int64"), [str(BIG), "1"]),
        (pd.Series([1.0, 2.5]), ["1", "2.5"]),
        ([True, False], ["true", "false"]),
    ],
)
def test_an_id_is_the_text_of_its_value_whatever_its_type(ids, texts):
    items = pd.DataFrame({"id": ids, "label": ids, "kind": ids})
    rated = pd.DataFrame({"source": ["u", "u"], "target": items["id"]})
    for nodes in (None, {"item": items}):
        graph = Graph.from_frames(
            edges={RATED: rated}, nodes=nodes, features={"item": {"kind": "text"}} if nodes else {}
        )
        assert graph.vocabulary["item"].ids(range(2)) == texts
    assert graph.vocabulary["item"].labels(range(2)) == texts
    assert graph.features["item"]["kind"].values.to_pylist() == texts
    assert Graph.from_frames(edges={RATED: rated}).flat("item", ids[1:]).tolist() == [2]


def test_arrow_tables_and_columns_of_several_types():
    items = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "label": ["x", 7.0, None],
            "mixed": [1, "1", float("nan")],
            "tags": [["a", 1], None, [FIRST]],
            "year": pd.Series([1979, None, 2.5]),
        }
    )
    kinds = {"item": {"year": "categorical"}}
    rated = pa.table({"source": pa.array([FIRST.bytes], pa.binary(16)), "target": [3]})
    graph = Graph.from_frames(edges={RATED: rated}, nodes={"item": items}, features=kinds)
    assert graph.vocabulary["user"].ids([0]) == [str(FIRST)] and graph.edge_index.tolist() == [[0], [2]]
    assert graph.vocabulary["item"].labels(range(3)) == ["x", "7", "3"]
    features = graph.features["item"]
    assert (features["mixed"].schema.categories, features["mixed"].values.tolist()) == (("1",), [0, 0, -1])
    assert features["tags"].to_arrow().to_pylist() == [["a", "1"], [], [str(FIRST)]]
    assert features["year"].schema.categories == ("1979", "2.5")


def test_names_with_dots_are_mapped_and_stay_as_labels():
    edges = {
        ("user", "is.fan", "film/item"): frame(("u", "a", 5)),
        ("user", "is_fan", "film/item"): frame(("u", "b")),
        ("film/item", "http://x/property/actor", "ÿ"): frame(("a", "b")),
        ("film/item", "http://x/ontology/actor", "ÿ"): frame(("a", "c")),
    }
    nodes = {"film/item": pd.DataFrame({"id": ["a", "b"], "price": [1, 2]})}
    kinds = {"film/item": {"price": "categorical"}, "is.fan": {"time": "numeric"}}
    graph = Graph.from_frames(edges=edges, nodes=nodes, features=kinds, target=("user", "is.fan", "film/item"))
    assert {edge: schema.label for edge, schema in graph.schema.edges.items()} == {
        ("user", "is_fan_2", "film_item"): "is.fan",
        ("user", "is_fan", "film_item"): "",
        ("film_item", "actor", "unnamed"): "http://x/property/actor",
        ("film_item", "ontology_actor", "unnamed"): "http://x/ontology/actor",
    }
    assert {name: node.label for name, node in graph.schema.nodes.items()} == {
        "film_item": "film/item",
        "user": "",
        "unnamed": "ÿ",
    }
    assert graph.target == ("user", "is_fan_2", "film_item")
    assert graph.features["film_item"]["price"].schema.categories == ("1", "2")
    assert graph.edge_feature(graph.target, "time").values.tolist() == [5]


INF = float("inf")


@pytest.mark.parametrize(
    ("rated", "items", "message", "row"),
    [
        ({"weight": [1.0, INF]}, {}, r"1 edges of relation 'rated' have a weight that is infinite .* inf in row 2", 2),
        (
            {"weight": [1e39, 1.0]},
            {},
            r"a weight that is infinite or above 3.4e38, such as 1e\+39 in row 1; correct it",
            1,
        ),
        ({"weight": [1.0, "x"]}, {}, r"column 'weight' mixes types", None),
        ({"weight": ["y", "x"]}, {}, r"weight of relation 'rated' is a column of (large_)?string; numbers", None),
        ({"time": [1, INF]}, {}, r"time of relation 'rated' is not unix seconds", None),
        ({"time": [1, "x"]}, {}, r"column 'time' mixes types", None),
        ({"helpful": [1.0, -INF]}, {}, r"'helpful' of the frame of relation 'rated' has an infinite number.* row 2", 2),
        ({}, {"price": [-1e39, 1]}, r"'price' of the frame of node type 'item' has an infinite number.* in row 1", 1),
        ({}, {"image": [[1.0, 2.0], [1.0, INF]]}, r"column 'image' .* NaN or infinity in a vector.* in row 2", 2),
        ({}, {"id": ["a", None]}, r"1 item nodes have no id: row 2$", 2),
        ({"target": [np.nan, "a"]}, {}, r"1 edges of relation 'rated' have no item id: row 1$", 1),
        ({"target": [pd.NaT, pd.NA]}, {}, r"2 edges of relation 'rated' have no item id: row 1 is the first$", 1),
        (
            {"source": [1.0, 2.0**53]},
            {},
            r"row 2 of source is 9007199254740992.0, a float64 number that may have been r",
            2,
        ),
        ({"source": np.array([2**24, 1], np.float32)}, {}, r"row 1 of source is 16777216.0, a float32 number", 1),
        ({"source": [b"u", b"v"]}, {}, r"row 1 of source is b'u', of type bytes; an id, label or category is one", 1),
        ({"source": [{"a": 1}, "v"]}, {}, r"row 1 of source is \{'a': 1\}, of type dict", 1),
        ({}, {"label": ["x", ["y"]]}, r"row 2 of label is \['y'\], of type list", 2),
        ({}, {"tags": [["y"], "x"]}, r"row 2 of tags is 'x'; a list is wanted, as in other rows", 2),
    ],
)
def test_values_that_no_file_may_hold_are_refused_with_their_row(rated, items, message, row):
    edges = {RATED: pd.DataFrame({"source": ["u", "v"], "target": ["a", "b"]} | rated)}
    nodes = {"item": pd.DataFrame({"id": ["a", "b"]} | items)} if items else {}
    features = {"rated": {"helpful": "numeric"}} if "helpful" in rated else {}
    with pytest.raises(BadData, match=message) as caught:
        Graph.from_frames(edges=edges, nodes=nodes, features=features)
    assert caught.value.row == row


@pytest.mark.parametrize(
    ("rated", "message"),
    [
        (
            {"source": ["u"], "target": ["a"]},
            r"the frame of relation 'rated' is a dict; a pandas DataFrame or an Arrow table is wanted",
        ),
        (pd.DataFrame([["u", "a", "a"]], columns=["source", "target", "target"]), r"has two columns called 'target'"),
    ],
)
def test_what_is_no_frame_is_said(rated, message):
    with pytest.raises(KgrecError, match=message):
        Graph.from_frames(edges={RATED: rated})


def test_times_are_unix_seconds_from_numbers_with_gaps_and_from_moments():
    def times(column: object) -> list[int]:
        rated = pd.DataFrame({"source": ["u", "u"], "target": ["a", "b"], "time": column})
        return Graph.from_frames(edges={RATED: rated}).time.tolist()

    assert times([86400.9, np.nan]) == [86400, NO_TIME]
    assert times(pd.to_datetime(["1970-01-02", None])) == [86400, NO_TIME]
    assert times(pd.to_datetime(["1970-01-02T01:00:00+01:00", "1970-01-01T00:00:01Z"], utc=True)) == [86400, 1]
    assert times(pd.array([5, None], dtype="Int64")) == [5, NO_TIME]


def test_node_columns_become_features_by_their_type_or_as_said():
    items = pd.DataFrame(
        {
            "id": ["a", "b"],
            "price": [2.5, None],
            "sold": [16_777_217, 3],  # more than float32 holds exactly
            "brand": ["acme", None],
            "tags": [["x", "y"], []],
            "image": [np.array([1.0, 2.0]), np.array([3.0, 4.0])],
            "blurb": ["nice", None],
        }
    )
    graph = Graph.from_frames(
        edges={RATED: frame(("u", "a"))}, nodes={"item": items}, features={"item": {"blurb": "text"}}
    )
    features = graph.features["item"]
    kinds = {name: feature.schema.kind for name, feature in features.items()}
    assert kinds == {
        "price": "numeric",
        "sold": "numeric",
        "brand": "categorical",
        "tags": "multi",
        "image": "vector",
        "blurb": "text",
    }
    assert graph.schema.nodes["item"].features["tags"].categories == ("x", "y")
    assert features["price"].values[0] == 2.5 and features["price"].values[1].isnan()
    assert features["sold"].values.tolist() == [16_777_216, 3]
    assert features["brand"].values.tolist() == [0, -1]
    assert features["image"].values.tolist() == [[1, 2], [3, 4]]
    assert graph.data["item"]["image"].data_ptr() == features["image"].values.data_ptr()


# ---------------------------------------------------------------------- as HeteroData


def test_hetero_data_is_a_view_of_the_flat_tensors(graph):
    for number, edge in enumerate(graph.edge_types):
        start, stop = graph.relation_ptr[number], graph.relation_ptr[number + 1]
        store = graph.data[edge]
        assert store.edge_index.data_ptr() == graph.edge_index[:, start:].data_ptr()
        assert store.time.data_ptr() == graph.time[start:].data_ptr()
        assert store.weight.data_ptr() == graph.weight[start:].data_ptr()
        assert torch.equal(store.edge_index, graph.edge_index[:, start:stop])
    assert graph.data.validate()


def test_flat_numbers_are_those_of_pyg_to_homogeneous(graph):
    homogeneous = graph.data.to_homogeneous()
    assert homogeneous.edge_index.tolist() == [graph.head.tolist(), graph.tail.tolist()]
    assert homogeneous.edge_type.tolist() == graph.relation.tolist()


def test_pyg_layers_run_on_it(graph):
    from torch_geometric.nn import HeteroConv, SAGEConv, SimpleConv

    both = graph.both_ways().data
    x = {"user": torch.tensor([[1.0], [10.0]]), "item": torch.zeros(3, 1), "genre": torch.zeros(1, 1)}
    convolution = HeteroConv({edge: SimpleConv("sum") for edge in both.edge_types}, aggr="sum")
    out = convolution(x, both.edge_index_dict)
    assert out["item"].tolist() == [[1 + 10], [1 + 10], [1 + 1]]
    assert out["user"].tolist() == [[0], [0]]

    layer = HeteroConv({edge: SAGEConv((-1, -1), 4) for edge in both.edge_types})
    out = layer(x, both.edge_index_dict)
    assert {name: tuple(h.shape) for name, h in out.items()} == {"user": (2, 4), "item": (3, 4), "genre": (1, 4)}
    out["genre"].sum().backward()


def hetero() -> HeteroData:
    data = HeteroData()
    data["user"].num_nodes = 2
    data["film.item"].x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    data["user", "rates", "film.item"].edge_index = torch.tensor([[0, 1, 1], [2, 0, 1]])
    data["user", "rates", "film.item"].time = torch.tensor([7, 8, 9])
    data["user", "rates", "film.item"].rating = torch.tensor([1, 2, 5])
    return data


def test_from_hetero_takes_features_times_and_ratings():
    graph = Graph.from_hetero(hetero())
    assert graph.edge_types == [("user", "rates", "film_item")] == [graph.target]
    assert (graph.schema.nodes["film_item"].label, graph.schema.nodes["film_item"].count) == ("film.item", 3)
    assert graph.head.tolist() == [0, 1, 1] and graph.tail.tolist() == [4, 2, 3]
    assert (graph.time.tolist(), graph.weight.tolist()) == ([7, 8, 9], [1, 2, 5])
    assert graph.features["film_item"]["x"].values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert graph.vocabulary["film_item"].ids([2]) == ["2"]


def test_from_hetero_knows_the_reverses_that_pyg_made():
    from torch_geometric.transforms import ToUndirected

    graph = Graph.from_hetero(ToUndirected()(hetero()), target=("user", "rates", "film.item"))
    assert graph.schema.edges["film_item", "rev_rates", "user"].inverse_of == "rates"
    assert graph.both_ways() is graph


def test_from_hetero_gives_each_relation_a_name_of_its_own():
    data = hetero()
    data["user", "rat.es", "film.item"].edge_index = torch.tensor([[0], [0]])
    data["user", "rat_es", "film.item"].edge_index = torch.tensor([[1], [1]])
    graph = Graph.from_hetero(data, target=("user", "rat.es", "film.item"))
    labels = {edge[1]: schema.label for edge, schema in graph.schema.edges.items()}
    assert labels == {"rates": "rates", "rat_es_2": "rat.es", "rat_es": "rat_es"}
    assert graph.target[1] == "rat_es_2"


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("key", ["weight", "edge_weight", "edge_attr"])
def test_from_hetero_takes_a_number_an_edge_as_its_weight(key, shape):
    data = hetero()
    del data["user", "rates", "film.item"].rating
    data["user", "rates", "film.item"][key] = torch.tensor([1.5, 2, 5]).reshape(shape)
    data["user", "rates", "film.item"].time = torch.tensor([7.9, 8, float("nan")]).reshape(shape)
    graph = Graph.from_hetero(data)
    assert (graph.time.tolist(), graph.weight.tolist()) == ([7, 8, NO_TIME], [1.5, 2, 5])


def test_from_hetero_says_what_it_leaves_out():
    data = hetero()
    data["user"].y = torch.tensor([0, 1])
    data["film.item"].names = ["a", "b", "c"]
    data["user", "rates", "film.item"].edge_attr = torch.ones(3, 2)
    data["user", "rates", "film.item"].edge_weight = torch.ones(3)
    data.note = "from a shop"
    left = (
        r"Graph.from_hetero leaves out: user.y \(int64 \[2\]\), film.item.names \(list\), "
        r"user-rates-film.item.edge_attr \(float32 \[3, 2\]\), user-rates-film.item.edge_weight \(float32 \[3\]\), "
        r"note \(str\)$"
    )
    with pytest.warns(UserWarning, match=left) as caught:
        graph = Graph.from_hetero(data)
    assert caught[0].filename == __file__
    assert graph.weight.tolist() == [1, 2, 5]


def test_from_hetero_refuses_infinite_numbers():
    data = hetero()
    data["film.item"].x = torch.tensor([[1.0, 2.0], [3.0, float("inf")], [5.0, 6.0]])
    with pytest.raises(BadData, match=r"x of the film.item nodes has NaN or infinity, .* in row 1 \(from 0\)"):
        Graph.from_hetero(data)
    data = hetero()
    data["user", "rates", "film.item"].rating = torch.tensor([1, 1e39, 2], dtype=torch.float64)
    with pytest.raises(BadData, match=r"1 edges of relation 'rates' have a weight that is infinite"):
        Graph.from_hetero(data)


def test_from_hetero_refuses_what_it_cannot_name_or_count():
    data = hetero()
    del data["user", "rates", "film.item"].edge_index
    data["user", "rates", "film.item"].adj_t = torch.eye(3)
    with pytest.raises(KgrecError, match=r"edge type user-rates-film.item has no edge_index of shape \[2, E\]; it has"):
        Graph.from_hetero(data)
    data = HeteroData()
    data["user", "rates", "item"].edge_index = torch.tensor([[0], [0]])
    with pytest.raises(KgrecError, match=r"the number of 'user' nodes is not known; set data\['user'\].num_nodes"):
        Graph.from_hetero(data)
    with pytest.raises(UnknownName, match=r"no edge type 'user-rated-film.item' in the HeteroData"):
        Graph.from_hetero(hetero(), target=("user", "rated", "film.item"))


def test_from_hetero_takes_a_pyg_dataset():
    from torch_geometric.datasets import FakeHeteroDataset

    data = FakeHeteroDataset(num_node_types=3, num_edge_types=4, avg_num_nodes=30, avg_degree=4)[0]
    with pytest.warns(UserWarning, match=r"leaves out: v0.y \(int64"):
        graph = Graph.from_hetero(data)
    assert graph.data.metadata() == data.metadata()
    assert graph.num_nodes == data.num_nodes and graph.num_edges == data.num_edges
    for edge in data.edge_types:
        assert torch.equal(graph.data[edge].edge_index, data[edge].edge_index)
    for node_type in data.node_types:
        assert torch.equal(graph.data[node_type].x, data[node_type].x)


# ---------------------------------------------------------------------- indices


def test_csr_is_each_nodes_past_in_order_of_time_and_file(graph):
    assert graph.csr.ptr.tolist() == [0, 4, 6, 7, 8, 8, 8]
    assert graph.csr.edge.tolist() == [4, 2, 3, 0, 5, 1, 6, 7]  # ann: 5, then 10 twice in file order, then 30
    assert graph.csr.other.tolist() == [4, 3, 4, 2, 3, 2, 5, 5]
    assert graph.csr.other.dtype == torch.int32
    assert graph.csr.degree().tolist() == [4, 2, 1, 1, 0, 0]


def test_csc_is_the_same_edges_read_backwards(graph):
    assert graph.csc.ptr.tolist() == [0, 0, 0, 2, 4, 6, 8]
    assert graph.csc.edge.tolist() == [1, 0, 5, 2, 4, 3, 6, 7]
    assert graph.csc.other.tolist() == [1, 0, 1, 0, 0, 0, 2, 3]


def random_graph(seed: int, *, users: int = 9, items: int = 13, edges: int = 80) -> Graph:
    """Edges that repeat, and times that tie."""
    draw = np.random.default_rng(seed)
    nodes = {"user": NodePart(Vocabulary(np.arange(users))), "item": NodePart(Vocabulary(np.arange(items)))}
    part = EdgePart(draw.integers(0, users, edges), draw.integers(0, items, edges), time=draw.integers(0, 7, edges))
    return Graph.of(assemble(nodes, {RATED: part}, target=RATED))


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_and_the_vectorised_grouping_are_a_plain_sort(seed):
    graph = random_graph(seed)
    for csr, by, other in ((graph.csr, graph.head, graph.tail), (graph.csc, graph.tail, graph.head)):
        wanted = sorted(range(graph.num_edges), key=lambda e: (int(by[e]), int(graph.time[e]), e))
        ptr, order = graph.index._group_by_sorting(by)
        assert csr.edge.tolist() == order.tolist() == wanted
        assert csr.ptr.tolist() == ptr.tolist()
        assert csr.other.tolist() == other[wanted].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_is_edge_by_kernel_by_search_and_by_a_set(seed):
    graph = random_graph(seed)
    known = set(zip(graph.head.tolist(), graph.tail.tolist()))
    head = torch.arange(graph.pad + 1)  # pad too
    tail = torch.arange(graph.pad + 1).expand(len(head), -1)
    wanted = [[(h, t) in known for t in range(graph.pad + 1)] for h in range(graph.pad + 1)]
    assert 0 < sum(map(sum, wanted)) < graph.num_edges  # some pairs repeat
    assert graph.is_edge(head, tail).tolist() == wanted
    assert graph.index._is_edge_by_search(head, tail).tolist() == wanted


def test_the_kernel_reads_no_row_past_the_last():
    ptr, tail = np.array([0, 2, 5]), np.array([7, 8, 9, 9, 9])
    head, candidate = np.array([0, 1]), np.array([[7, 9], [9, 7]])
    assert edge_kernels.is_member(ptr[:2], tail, head, candidate).tolist() == [[True, False], [False, False]]


def test_is_edge_of_a_graph_without_edges(graph):
    empty = Graph.empty(graph.schema)
    head, tail = torch.tensor([0, 5]), torch.tensor([[2, 3], [4, 6]])
    assert not empty.is_edge(head, tail).any() and not empty.index._is_edge_by_search(head, tail).any()
    assert empty.csr.ptr.tolist() == [0] * 7


# ---------------------------------------------------------------------- views


def pairs(graph: Graph) -> list[tuple[int, int]]:
    return list(zip(graph.head.tolist(), graph.tail.tolist()))


def test_only_and_without(graph):
    viewed = graph.only("viewed")
    assert (viewed.edge_types, pairs(viewed), viewed.time.tolist()) == ([VIEWED], [(0, 4), (1, 3)], [5, 7])
    assert viewed.num_nodes == 6 and viewed.pad == 6
    assert viewed.edge_index.data_ptr() == graph.data[VIEWED].edge_index.data_ptr()  # a slice, no copy
    two = graph.only("has_genre", RATED)  # in the graph's order, whatever the order asked
    assert two.edge_types == [RATED, GENRE] and two.relation_ptr == (0, 4, 6)
    assert pairs(two) == [(0, 2), (1, 2), (0, 3), (0, 4), (2, 5), (3, 5)]
    assert pairs(graph.without("rated", "has_genre")) == pairs(viewed)
    nothing = graph.without("rated", "viewed", "has_genre")
    assert (nothing.num_edges, nothing.edge_types, nothing.relation_ptr, nothing.num_nodes) == (0, [], (0,), 6)
    assert nothing.csr.degree().tolist() == [0] * 6


def test_only_takes_every_edge_type_of_a_name():
    edges = {RATED: frame(("u", "a")), ("user", "rated", "shop"): frame(("u", "s")), GENRE: frame(("a", "g"))}
    graph = Graph.from_frames(edges=edges)
    assert graph.only("rated").edge_types == [RATED, ("user", "rated", "shop")]
    assert graph.only(("user", "rated", "shop")).num_edges == 1


def test_interactions_and_facts(graph):
    assert graph.interactions().edge_types == [RATED, VIEWED]
    assert graph.facts().edge_types == [GENRE]
    assert graph.only("rated").facts().num_edges == 0


def test_before_is_strict_and_keeps_facts(graph):
    early = graph.before(10)
    assert early.edge_types == [RATED, VIEWED, GENRE] and early.relation_ptr == (0, 0, 2, 4)
    assert pairs(early) == [(0, 4), (1, 3), (2, 5), (3, 5)]
    assert graph.before(NO_TIME + 1).relation_ptr == (0, 0, 0, 2)


def test_where_keeps_file_order_and_changes_nothing_in_place(graph):
    some = graph.where(torch.tensor([True, False, True, False, False, True, False, True]))
    assert some.relation_ptr == (0, 2, 3, 4)
    assert pairs(some) == [(0, 2), (0, 3), (1, 3), (3, 5)]
    assert (some.time.tolist(), some.weight.tolist()) == ([30, 10, 7, NO_TIME], [5, 4, 1, 1])
    assert some.edge_index.untyped_storage().nbytes() == 2 * 4 * 8  # the others are not behind it
    assert graph.num_edges == 8
    again = some.where(torch.tensor([False, True, True, False]))
    assert pairs(again) == [(0, 3), (1, 3)] and again.relation_ptr == (0, 1, 2, 2)


def test_reversed_and_both_ways(graph):
    backwards = graph.only("rated", "has_genre").reversed()
    assert backwards.edge_types == [("item", "rev_rated", "user"), ("genre", "rev_has_genre", "item")]
    assert pairs(backwards) == [(2, 0), (2, 1), (3, 0), (4, 0), (5, 2), (5, 3)]
    assert backwards.schema.edges["item", "rev_rated", "user"].inverse_of == "rated"
    both = graph.both_ways()
    assert both.num_edges == 16 and both.relation_ptr == (0, 4, 6, 8, 12, 14, 16)
    assert pairs(both)[:8] == pairs(graph)
    assert pairs(both)[8:] == [(tail, head) for head, tail in pairs(graph)]
    assert both.time.tolist() == graph.time.tolist() * 2 and both.weight.tolist() == graph.weight.tolist() * 2
    assert both.both_ways() is both


def test_both_ways_does_not_double_an_inverse_that_the_graph_states(graph):
    schema = replace(
        graph.schema,
        nodes=graph.schema.nodes | {"shop": NodeSchema(1)},
        edges={
            GENRE: EdgeSchema(),
            ("genre", "genre_of", "item"): EdgeSchema(inverse_of="has_genre"),
            ("shop", "has_genre", "genre"): EdgeSchema(),
        },
    )
    edge_index = torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0]])
    stated = replace(
        graph,
        schema=schema,
        edge_index=edge_index,
        relation_ptr=(0, 1, 3, 4),
        time=torch.zeros(4),
        weight=torch.ones(4),
    )
    both = stated.both_ways()
    # only the shop's genre has no inverse yet: that of the items is of the same name, but of other ends
    assert both.edge_types == [*schema.edges, ("genre", "rev_has_genre", "shop")]
    assert both.relation_ptr == (0, 1, 3, 4, 5)


def test_both_ways_refuses_a_name_that_is_taken():
    edges = {RATED: frame(("u", "a")), ("item", "rev_rated", "user"): frame(("a", "u"))}
    with pytest.raises(KgrecError, match=r"already has relations 'rev_rated'.*; mark each with inverse_of"):
        Graph.from_frames(edges=edges).both_ways()


def test_drawable_leaves_out_the_withheld(graph):
    held = replace(graph, withheld=torch.tensor([3, 5]))
    assert graph.drawable("item").tolist() == [2, 3, 4]
    assert held.drawable("item").tolist() == [2, 4]
    assert held.only("rated").before(99).both_ways().drawable("item").tolist() == [2, 4]
    assert held.drawable("genre").tolist() == []


# ---------------------------------------------------------------------- features of edges


@pytest.fixture
def reviewed(graph) -> Graph:
    rated = frame(("ann", "a"), ("bob", "a"), ("ann", "b"), ("ann", "c")).assign(
        review=["fine", None, "dull", ""], stars=[5.0, 3.0, None, 1.0]
    )
    viewed = frame(("ann", "c"), ("bob", "b")).assign(device=["phone", "desk"])
    return Graph.from_frames(
        edges={VIEWED: viewed, RATED: rated},
        features={"rated": {"review": "text", "stars": "numeric"}, "viewed": {"device": "categorical"}},
    )


def reviews(graph: Graph) -> list[str | None]:
    return graph.edge_feature(RATED, "review").values.to_pylist()


def test_edge_features_follow_the_edges_of_every_view(reviewed):
    assert reviews(reviewed) == ["fine", None, "dull", ""]
    assert reviews(reviewed.only("rated")) == ["fine", None, "dull", ""]
    # edges: viewed 0 and 1, rated 2 to 5
    some = reviewed.where(torch.tensor([False, True, False, True, True, True]))
    assert reviews(some) == [None, "dull", ""]
    assert some.edge_feature(VIEWED, "device").values.tolist() == [0]  # "desk" of desk, phone
    twice = some.where(torch.tensor([True, False, True, True])).only("rated").where(torch.tensor([False, True]))
    assert reviews(twice) == [""]
    assert twice.edge_feature(RATED, "stars").values.tolist() == [1]
    assert reviews(reviewed.both_ways()) == ["fine", None, "dull", ""]


def test_the_features_of_edges_left_out_are_gone(reviewed):
    some = reviewed.where(torch.tensor([False, False, False, True, True, False]))
    assert some.edge_features[RATED]["review"].values.to_pylist() == [None, "dull"]
    assert len(some.edge_features[VIEWED]["device"]) == 0
    assert reviewed.without("rated").edge_features.keys() == {VIEWED}


def test_an_edge_feature_that_is_not_there_is_named(reviewed):
    with pytest.raises(UnknownName, match="no edge feature 'reviews' of user-rated-item; did you mean 'review'"):
        reviewed.edge_feature(RATED, "reviews")


# ---------------------------------------------------------------------- more nodes, empty, elsewhere


def test_with_nodes_appends_within_types_and_maps_the_numbers(graph):
    items = pd.DataFrame(
        {"id": ["a", "b", "c"], "price": [1.0, 2.0, 3.0], "brand": ["x", "y", "x"], "tags": [["t"]] * 3}
    )
    edges = {RATED: frame(("ann", "a"), ("bob", "c")), GENRE: frame(("a", "noir"))}
    graph = Graph.from_frames(edges=edges, nodes={"user": pd.DataFrame({"id": ["ann", "bob"]}), "item": items})
    graph = replace(graph, withheld=torch.tensor([4]))
    new = {
        "user": pd.DataFrame({"id": ["cid"]}),
        "item": pd.DataFrame({"id": ["d", "e"], "label": ["Dee", None], "brand": ["y", "unheard"]}),
    }
    bigger, shift = graph.with_nodes(new)
    # before: ann 0 bob 1 | a 2 b 3 c 4 | noir 5 | pad 6
    # after: ann 0 bob 1 cid 2 | a 3 b 4 c 5 d 6 e 7 | noir 8 | pad 9
    assert shift.tolist() == [0, 1, 3, 4, 5, 8, 9]
    assert bigger.flat("item", ["e", "a"]).tolist() == [7, 3] and bigger.flat("user", ["cid"]).tolist() == [2]
    assert bigger.head.tolist() == shift[graph.head].tolist() and bigger.tail.tolist() == shift[graph.tail].tolist()
    assert bigger.withheld.tolist() == [5]
    assert bigger.vocabulary["item"].labels(range(5)) == ["a", "b", "c", "Dee", "e"]
    price = bigger.features["item"]["price"].values
    assert price[:3].tolist() == [1, 2, 3] and price[3:].isnan().all()
    assert bigger.features["item"]["brand"].values.tolist() == [0, 1, 0, 1, -1]
    assert bigger.features["item"]["tags"].ptr.tolist() == [0, 1, 2, 3, 3, 3]
    assert graph.num_nodes == 6 and len(graph.vocabulary["item"]) == 3
    with pytest.raises(BadData, match="new ids are already in the graph: 'b'; leave them out"):
        graph.with_nodes({"item": pd.DataFrame({"id": ["f", "b"]})})
    with pytest.raises(UnknownName, match="no node type 'itm'"):
        graph.with_nodes({"itm": pd.DataFrame({"id": ["f"]})})
    with pytest.raises(KgrecError, match="the new item nodes have no column 'id'; they have 'name'"):
        graph.with_nodes({"item": pd.DataFrame({"name": ["f"]})})


def test_empty_has_the_types_and_numbers_of_the_schema(graph):
    empty = Graph.empty(graph.schema)
    assert (empty.num_nodes, empty.num_edges, empty.edge_types) == (6, 0, graph.edge_types)
    assert empty.nodes("item").tolist() == graph.nodes("item").tolist()
    assert empty.data.metadata() == graph.data.metadata()
    assert empty.only("viewed").both_ways().edge_types == [VIEWED, ("item", "rev_viewed", "user")]


def test_a_graph_without_target_says_so():
    with pytest.raises(KgrecError, match="has no target relation"):
        _ = Graph.empty(Schema({"a": NodeSchema(1)}, {})).target


def test_to_networkx_has_every_edge_even_repeated_ones():
    edges = {
        RATED: frame(("ann", "a", 1, 2.0), ("ann", "a", 5, 3.0), ("bob", "a", 4, 1.0)),
        GENRE: frame(("a", "noir")),
    }
    items = pd.DataFrame({"id": ["a"], "label": ["Alien"]})
    result = Graph.from_frames(edges=edges, nodes={"item": items}).to_networkx()
    ann, film = ("user", "ann"), ("item", "a")
    assert set(result.nodes) == {ann, ("user", "bob"), film, ("genre", "noir")}
    assert result.nodes[film] == {"label": "Alien"} and result.nodes[ann] == {"label": "ann"}
    assert result.number_of_edges() == 4
    assert result.edges[ann, film, "rated"] == {"relation": "rated", "time": 1, "weight": 2}
    assert result.edges[ann, film, ("rated", 1)] == {"relation": "rated", "time": 5, "weight": 3}
    assert result.edges[film, ("genre", "noir"), "has_genre"]["time"] is None


def test_to_moves_the_flat_tensors_and_leaves_this_graph(graph):
    assert graph.to("cpu") is graph
    moved = replace(graph, withheld=torch.tensor([2]), splits={"given": torch.zeros(4, dtype=torch.int8)}).to("meta")
    for tensor in (moved.edge_index, moved.time, moved.weight, moved.withheld, moved.splits["given"], moved.head):
        assert tensor.device.type == "meta"
    assert moved.data[RATED].time.device.type == "meta" and moved.num_edges == 8
    assert graph.device.type == "cpu"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_the_indices_and_views_are_the_same(graph):
    moved = graph.to("cuda")
    assert moved.csr.edge.tolist() == graph.csr.edge.tolist() and moved.csc.ptr.tolist() == graph.csc.ptr.tolist()
    head, tail = torch.tensor([0, 1, 6]), torch.tensor([[2, 3, 4], [2, 3, 4], [2, 3, 6]])
    assert moved.is_edge(head.cuda(), tail.cuda()).tolist() == graph.is_edge(head, tail).tolist()
    assert pairs(moved.both_ways().before(10)) == pairs(graph.both_ways().before(10))
    assert moved.content_hash() == graph.content_hash()


# ---------------------------------------------------------------------- parts that do not fit


def test_assemble_refuses_numbers_lengths_and_splits_that_do_not_fit():
    nodes = {"user": NodePart(Vocabulary(["u"])), "item": NodePart(Vocabulary(["a", "b"]))}
    zero, one, two = np.array([0]), np.array([1]), np.array([2])
    with pytest.raises(BadData, match=r"'rated' uses the item numbers 2 to 2; there are 2 nodes of that type, 0 to 1"):
        assemble(nodes, {RATED: EdgePart(zero, two)})
    with pytest.raises(BadData, match=r"'rated' uses the user numbers -1 to -1"):
        assemble(nodes, {RATED: EdgePart(-one, one)})
    text = Feature.from_arrow(pa.array(["x", "y"]), "text")
    with pytest.raises(BadData, match=r"relation 'rated' has 1 rows, but features of other lengths: {'review': 2}"):
        assemble(nodes, {RATED: EdgePart(zero, one, features={"review": text})})
    with pytest.raises(BadData, match=r"split 'given' has 2 rows, but 'rated' has 1"):
        assemble(nodes, {RATED: EdgePart(zero, one)}, target=RATED, splits={"given": np.zeros(2, np.int8)})
    with pytest.raises(BadData, match=r"split 'given' has parts 3 to 3; use 0 for train, 1 for valid, 2 for test"):
        assemble(nodes, {RATED: EdgePart(zero, one)}, target=RATED, splits={"given": np.array([3], np.int8)})
