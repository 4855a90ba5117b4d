"""A run that knows more nodes: rows of their own, features by what training learned, and nothing else changed."""

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import BadData, KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.run import Run
from kgrec.serving.extended_run import extended_run

RATED, MADE_BY = ("user", "rated", "item"), ("item", "made_by", "maker")
ITEMS = ["x", "y", "z", "w"]
RATINGS = [("ann", "x"), ("ann", "y"), ("bob", "x"), ("bob", "z"), ("cem", "z"), ("cem", "w"), ("dee", "y")]
COLUMNS = pd.DataFrame(
    {
        "id": ITEMS,
        "price": [10.0, 20.0, 30.0, np.nan],
        "color": ["red", "blue", "red", None],
        "tags": [["old"], ["old", "new"], [], ["new"]],
        "text": ["a red fox", "a blue fox", "a red hen", None],
    }
)
KINDS = {"item": {"price": "numeric", "color": "categorical", "tags": "multi", "text": "text"}}
ADDED = pd.DataFrame({"id": ["n"], "price": [40.0], "color": ["blue"], "tags": [["new"]], "text": ["a blue hen"]})
MADE = pd.DataFrame({"source": ITEMS, "target": ["acme", "acme", "best", "best"]})


def graph_of(items: pd.DataFrame, made: pd.DataFrame) -> Graph:
    rated = pd.DataFrame(RATINGS, columns=["source", "target"])
    return Graph.from_frames(
        nodes={"user": pd.DataFrame({"id": ["ann", "bob", "cem", "dee"]}), "item": items},
        edges={RATED: rated, MADE_BY: made},
        features=KINDS,
    )


def run_of(name: str, **config: object) -> Run:
    graph = graph_of(COLUMNS, MADE)
    torch.manual_seed(0)
    model = models.build(name, graph, config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.where(parameter.any(), 0, torch.randn_like(parameter))  # a layer that begins with zeros
        model.refresh()
    return Run(name, model, graph)


@pytest.mark.parametrize("name", [name for name in models.working() if models.find(name).task == "ranking"])
def test_without_anything_new_it_is_the_same_run(name: str) -> None:
    run = run_of(name)
    same, notes = extended_run(run)
    assert notes == []
    wanted, found = run.recommend("all", k=2), same.recommend("all", k=2)
    assert found["item"] == wanted["item"]
    assert np.allclose(found["score"], wanted["score"], atol=1e-6)


def test_features_of_new_items_are_read_as_training_read_those_of_others() -> None:
    """The vector of n is what the columns say: price (40 - 20) / sqrt(200 / 3), blue, new, and its text."""
    run = run_of("mf", features="all", dim=3)
    more, notes = extended_run(run, {"item": ADDED})
    assert notes == []
    price, color, tags, text = run.model.item.features.columns
    twin = more.model.item.features.columns[3]
    wanted = 20 / (200 / 3) ** 0.5 * price.weight + color.weight[0] + tags.weight[0]
    found = more.vectors("item").matrix
    of_text = (twin.value[4] @ text.weight.T).detach().numpy()
    assert np.allclose(found[4], wanted.detach().numpy() + of_text, atol=1e-6)
    assert np.abs(of_text).max() > 0
    assert np.allclose(twin.value[:4], text.value[:4], atol=1e-6)  # by the words of training
    assert np.allclose(found[:4], run.vectors("item").matrix, atol=1e-6)


def test_a_category_that_training_has_not_seen_says_nothing() -> None:
    run = run_of("mf", features=["color"], dim=3)
    more, _ = extended_run(run, {"item": pd.DataFrame({"id": ["n", "m"], "color": ["green", None]})})
    assert not more.vectors("item").matrix[4:].any()


@pytest.mark.parametrize("name", ["kgat", "kgatseq", "lightgcn", "xsimgcl"])
def test_it_is_as_if_the_nodes_had_been_there(name: str) -> None:
    """A model of the larger graph, with the same weights and zeros for what was not there, gives the same vectors."""
    run = run_of(name)
    one_more = pd.DataFrame({"source": ["ann"], "target": ["n"]})
    facts = pd.DataFrame({"source": ["n"], "target": ["acme"]})
    more, _ = extended_run(run, {"item": ADDED}, {MADE_BY: facts, RATED: one_more})
    whole = graph_of(pd.concat([COLUMNS, ADDED]), pd.concat([MADE, facts])).with_edges({RATED: one_more})
    torch.manual_seed(5)
    model = models.build(name, whole).eval()
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            former = run.model.state_dict()[key]
            if tensor.shape == former.shape:
                tensor.copy_(former)
            else:  # the fifth item is new
                place = {"item.weight": 4, "encoder.node.weight": 8, "item.encoder.node.weight": 8}.get(key, 0)
                tensor.copy_(torch.cat([former[:place], former.new_zeros(1, former.shape[1]), former[place:]]))
        model.refresh()
    wanted = Run(name, model, whole)
    assert np.abs(wanted.vectors("item")["n"]).max() > 0 or name in ("lightgcn", "xsimgcl")
    assert np.allclose(more.vectors("item").matrix, wanted.vectors("item").matrix, atol=1e-6)
    found = more.recommend("all", k=5)
    assert found["item"] == wanted.recommend("all", k=5)["item"]
    assert "n" not in found.to_pandas().query("user == 'ann'")["item"].tolist()  # it was seen


def test_a_run_from_its_folder_is_extended_alike(tmp_path) -> None:
    import kgrec

    config = {"features": ["price", "color"], "dim": 4}
    run = kgrec.train("mf", graph_of(COLUMNS, MADE), split="ratio:0.1", config=config, out=tmp_path / "mf")
    one, other = (extended_run(each, {"item": ADDED})[0] for each in (run, Run.load(tmp_path / "mf")))
    assert np.allclose(one.vectors("item").matrix, other.vectors("item").matrix)
    assert one.trained.columns["num_users"].tolist() == other.trained.columns["num_users"].tolist()
    assert one.recommend("all", k=2)["item"] == other.recommend("all", k=2)["item"]


def test_new_nodes_have_no_popularity_and_no_bias() -> None:
    more, _ = extended_run(run_of("popularity"), {"item": ADDED})
    assert more.model.count.tolist() == [2, 2, 2, 1, 0]
    bias = run_of("bias")
    more, _ = extended_run(bias, {"item": ADDED, "user": pd.DataFrame({"id": ["eve"]})})
    assert more.model.item_bias[4] == more.model.user_bias[4] == 0


def test_edges_stand_behind_those_of_their_type() -> None:
    graph = graph_of(COLUMNS, MADE)
    more = graph.with_edges({RATED: pd.DataFrame({"source": ["dee"], "target": ["w"], "time": [7], "weight": [2.0]})})
    assert more.only(RATED).edge_index[:, -2:].tolist() == [[3, 3], [1, 3]]  # dee rated y, and w
    assert (more.time[7], more.weight[7]) == (7, 2)
    assert more.relation_ptr == (0, 8, 12)
    assert more.only(MADE_BY).edge_index.tolist() == graph.only(MADE_BY).edge_index.tolist()


def test_what_cannot_be_extended_is_said() -> None:
    with pytest.raises(KgrecError, match=r"EASE has learned weight \[4, 4\], which has no row for a node"):
        extended_run(run_of("ease"), {"item": ADDED})
    run = run_of("mf")
    with pytest.raises(BadData, match="new ids are already in the graph: 'x'"):
        extended_run(run, {"item": pd.DataFrame({"id": ["x"]})})
    with pytest.raises(UnknownName, match="no maker 'none'"):
        extended_run(run, {"item": ADDED}, {MADE_BY: pd.DataFrame({"source": ["n"], "target": ["none"]})})
    with pytest.raises(UnknownName, match="no edge type 'item-made-maker' in this graph; did you mean"):
        extended_run(run, {}, {("item", "made", "maker"): MADE})
    with pytest.raises(KgrecError, match="have a missing weight"):
        weighed = pd.DataFrame({"source": ["ann"], "target": ["w"], "weight": [np.nan]})
        extended_run(run, {}, {RATED: weighed})
