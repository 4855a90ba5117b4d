"""Cold items: what is known of items, models that read it, settings for a purpose, and which items choose the epoch."""

import argparse
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.nn.content_regression import ContentRegression
from kgrec.nn.item_content import ItemContent, ItemContentConfig, columns_of, content_there, facts_of, words_of
from kgrec.run import train
from kgrec.splits.split import split
from kgrec.testing.subject import query_of
from kgrec.training.purposes import settings_for

ITEMS = ["a", "b", "c", "d"]
RATED = pd.DataFrame({"source": ["u", "u", "v", "v", "w"], "target": ["a", "b", "a", "c", "b"]})  # nobody has d
GENRES = pd.DataFrame({"source": ["a", "b", "d", "d"], "target": ["x", "y", "x", "y"]})
EDGES = {("user", "rated", "item"): RATED, ("item", "of", "genre"): GENRES}


def small(**columns: list) -> Graph:
    """Users u, v, w; items a to d, of which nobody has d; genres x (a, d) and y (b, d)."""
    kinds = {"plot": "text", "year": "numeric", "kind": "categorical", "image": "vector"}
    nodes = {"item": pd.DataFrame({"id": ITEMS, **columns})}
    return Graph.from_frames(edges=EDGES, nodes=nodes, features={"item": {name: kinds[name] for name in columns}})


def ids(graph: Graph, names: list[str]) -> torch.Tensor:
    return graph.flat("item", names)


def of_item(graph: Graph, values: np.ndarray | torch.Tensor, name: str):
    return values[int(graph.flat("item", [name])[0]) - graph.range("item").start]


def test_content_by_hand() -> None:
    """Facts are 0 or 1, and a and d have one in common, and the kind. Items that somebody has, a to c, have the years
    1, 2, 3 with the deviation (2/3)^.5, so a bin is .102 years wide; a and d are 5 bins apart: exp(-5^2 / 4)."""
    wide = (2 / 3) ** 0.5 / 8
    graph = small(year=[1.0, 2.0, 3.0, 1 + 5 * wide], kind=["p", "q", None, "p"])
    facts = facts_of(graph).toarray()
    assert of_item(graph, facts, "d").sum() == 2 and of_item(graph, facts, "c").sum() == 0
    assert of_item(graph, facts, "d") @ of_item(graph, facts, "a") == 1
    gram = ItemContent.of(graph, ItemContentConfig(facts=0.5, columns=2.0)).gram()
    a, d = (int(one) - graph.range("item").start for one in ids(graph, ["a", "d"]))
    assert gram[a, d] == pytest.approx(0.5 * 1 + 2 * (1 + np.exp(-25 / 4)), abs=1e-3)


def test_words_that_only_cold_items_have_are_ignored() -> None:
    graph = small(plot=["red dog", "red cat", "dog", "zebra dog"])
    words = words_of(graph).toarray()
    assert np.count_nonzero(of_item(graph, words, "d")) == 1  # dog
    assert np.linalg.norm(words, axis=1) == pytest.approx(np.ones(4))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (words_of, "no item that training sees has a text; items have no columns"),
        (columns_of, "no item .* has a value"),
    ],
)
def test_content_that_is_not_there_is_missed(function, said) -> None:
    with pytest.raises(KgrecError, match=said):
        function(small())


def test_the_regression_is_that_of_the_contents_themselves() -> None:
    """(C'C + l2 I)^-1 C'y of the learned items, times the content of the others."""
    graph = small(year=[1.0, 2.0, 4.0, 5.0])
    content = ItemContent.of(graph, ItemContentConfig(facts=1.0, columns=1.0))
    has_users, y = np.array([True, True, True, False]), torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.5, 3.0], [9.0, 9.0]])
    order = ids(graph, ITEMS) - graph.range("item").start
    assert order.tolist() == [0, 1, 2, 3]
    c = np.hstack([matrix.toarray() for _, matrix in content.parts])
    slope = np.linalg.solve(c[:3].T @ c[:3] + 2 * np.eye(c.shape[1]), c[:3].T @ y[:3].numpy())
    found = ContentRegression.of(content, has_users, 2.0)
    assert found.predicted.tolist() == [3]
    np.testing.assert_allclose(found.rows_of(y), (c[3] @ slope)[None], atol=1e-5)


def test_ials_gives_a_cold_item_the_vector_that_its_content_predicts_and_leaves_the_others() -> None:
    graph = small()
    plain, cold = (models.build("ials", graph, {"dim": 4, **more}) for more in ({}, {"facts": 1.0, "content_l2": 1.0}))
    torch.testing.assert_close(cold.item[:3], plain.item[:3])
    # K of a and b is I, and d shares one genre with each: (I + I)^-1 (1, 1) = (.5, .5), times one number
    half = plain.item[0] / 2 + plain.item[1] / 2
    assert torch.cosine_similarity(cold.item[3], half, dim=0).item() == pytest.approx(1)
    assert cold.item[3].norm() > half.norm()
    assert (plain.item[3] == 0).all()


def test_neighbors_by_content_alone() -> None:
    """cos(d, a) = cos(d, b) = 1 / 2^.5; d is nobody's neighbor; c has no content."""
    graph = small()
    model = models.build("itemknn", graph, {"users": 0, "facts": 1.0})
    items = ids(graph, ITEMS)
    history = items[[0]].expand(1, 1)
    scores = model.score(Query(torch.tensor([graph.pad]), history), items)
    torch.testing.assert_close(scores, torch.tensor([[0.0, 0.0, 0.0, 0.5**0.5]]))
    of_cold = model.score(Query(torch.tensor([graph.pad]), items[[3]].expand(1, 1)), items)
    assert not of_cold.any()


def test_neighbors_by_users_and_content() -> None:
    """a and b have one user of two each in common, and no genre: 1 / (2 + 1) with one fact each."""
    graph = small()
    model = models.build("itemknn", graph, {"facts": 1.0})
    scores = model.score(Query(torch.tensor([graph.pad]), ids(graph, ["a"]).expand(1, 1)), ids(graph, ["b"]))
    assert scores.item() == pytest.approx(1 / 3)
    with pytest.raises(KgrecError, match="with users=0 nothing is compared"):
        models.build("itemknn", graph, {"users": 0})


def test_popularity_of_facts_and_of_attributes() -> None:
    """a and b have two users, c one; d has two genres, each of one item with two users."""
    graph = small()
    counts = {of: models.build("popularity", graph, {"of": of}).count.tolist() for of in ("users", "facts")}
    assert counts == {"users": [2, 2, 1, 0], "facts": [1, 1, 0, 2]}
    assert models.build("popularity", graph, {"of": "attributes", "relation": "of"}).count.tolist() == [2, 2, 0, 2]
    with pytest.raises(UnknownName, match="'genre'"):
        models.build("popularity", graph, {"of": "facts", "relation": "genre"})
    with pytest.raises(KgrecError, match="relation names facts, but of=users"):
        models.build("popularity", graph, {"relation": "of"})


@pytest.mark.parametrize("model", ["ease", "ials"])
def test_cold_items_are_as_strong_as_the_others(kinds, model) -> None:
    """The mean square of known users' scores is the same for predicted items as for those that it was learned of."""
    parts = split(kinds, "cold_items:0.2,seed=1")
    config = (
        {**settings_for("cold", model, kinds), "l2": 10.0} if model == "ease" else settings_for("cold", model, kinds)
    )
    built = models.build(model, parts.train, config)
    items = kinds.nodes("item")
    scores = built.score(query_of(parts.train), items)
    cold = torch.isin(items, parts.train.withheld)
    with_users = torch.isin(items, parts.train.only("rated").tail)
    strength = [float(scores[:, which].square().mean()) for which in (cold, with_users)]
    assert strength[0] == pytest.approx(strength[1], rel=0.05)


# ---------------------------------------------------------------------- settings for a purpose


def test_settings_for_cold_items_are_for_what_items_have() -> None:
    assert content_there(small(plot=["p", None, "q", "r"])) == {"facts": 3, "words": 3}
    found = settings_for("cold", "itemknn", small(plot=["p", None, "q", "r"]))
    assert found == {"users": 0.0, "facts": 1.0, "words": 1.0, "neighbors": 300, "shrink": 1000.0}


def test_a_graph_that_says_nothing_of_items_is_refused() -> None:
    bare = Graph.from_frames(edges={("user", "rated", "item"): RATED})
    with pytest.raises(KgrecError, match=r"no item of this graph has facts, texts or other columns, so .*`links:`"):
        train("ease", bare, split="ratio:0.3", purpose="cold")
    with pytest.raises(KgrecError, match=r"mf reads texts and other columns, .*; they have facts \(of 3\), .*'ease'"):
        settings_for("cold", "mf", small())


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (
            {"model": "gru4rec", "purpose": "cold"},
            KgrecError,
            "has no settings for 'cold' items; models that have: ease",
        ),
        ({"model": "ease", "purpose": "could"}, UnknownName, "did you mean 'cold'"),
    ],
)
def test_purposes_that_are_not_there(options, error, said) -> None:
    with pytest.raises(error, match=said):
        train(graph=small(), split="ratio:0.3", **options)


# ---------------------------------------------------------------------- choosing by cold items


def kinds_of_items() -> Graph:
    """40 users who have the 12 of 48 items that are of their genre, of four."""
    pairs = [(user, item) for user in range(40) for item in range(user % 4, 48, 4)]
    rated = pd.DataFrame({"source": [f"u{u}" for u, _ in pairs], "target": [f"i{i}" for _, i in pairs]})
    genres = pd.DataFrame({"source": [f"i{i}" for i in range(48)], "target": [f"g{i % 4}" for i in range(48)]})
    return Graph.from_frames(edges={("user", "rated", "item"): rated, ("item", "of", "genre"): genres})


@pytest.fixture(scope="module")
def kinds() -> Graph:
    return kinds_of_items()


@pytest.mark.parametrize("model", ["ease", "itemknn", "ials"])
def test_cold_items_are_found_by_their_facts(kinds, model) -> None:
    """Cold items of the user's genre stand first; valid's cold items choose, and the model is trained again."""
    metrics = train(model, kinds, split="cold_items:0.2,valid=0.2,seed=1", purpose="cold", metrics=["ndcg@10"]).metrics
    assert metrics["test_cold"]["ndcg@10"] > 0.85
    assert (metrics["purpose"], metrics["valid_among"]) == ("cold", "cold") and "refit" in metrics["protocol"]
    assert metrics["valid"]["ndcg@10"] > 0.2 + metrics["control"]["popularity"]["valid"]["ndcg@10"]


def test_settings_that_are_named_have_precedence_and_the_run_keeps_all(kinds, tmp_path) -> None:
    from kgrec.run_files import RunFiles

    options = {"purpose": "cold", "config": {"facts": 3.0}, "metrics": ["ndcg@10"], "out": tmp_path / "run"}
    train("ease", kinds, split="cold_items:0.2,valid=0.2,seed=1", **options)
    kept = RunFiles.open(tmp_path / "run").config
    assert (kept["config"]["facts"], kept["purpose"], kept["training"]["among"]) == (3.0, "cold", "cold")


def test_without_cold_items_in_valid_all_items_choose(kinds) -> None:
    metrics = train("ease", kinds, split="ratio:0.2,valid=0.2", purpose="cold", metrics=["ndcg@10"]).metrics
    assert "valid_among" not in metrics and "refit" not in metrics["protocol"]


@pytest.mark.parametrize(
    ("spec", "metric", "said"),
    [
        (
            "cold_items:0.2,valid=0.05,seed=1",
            "ndcg@10",
            "valid has . cold items?, too few to choose by; 5 are the least",
        ),
        ("cold_items:0.2,valid=0.2,seed=1", "recall@20", "recall@20 among them is the same for every model; use"),
        (
            "cold_items:0.2,valid=0.001",
            "ndcg@10",
            "of 48 item nodes none is drawn for valid; hold out",
        ),
        ("cold_items:0.001", "ndcg@10", "none is drawn for test"),
    ],
)
def test_too_few_cold_items_are_refused(kinds, spec, metric, said) -> None:
    with pytest.raises(KgrecError, match=said):
        train("ease", kinds, split=spec, purpose="cold", training={"metric": metric})


def test_among_cold_items_needs_cold_items(kinds) -> None:
    with pytest.raises(KgrecError, match="valid has no cold items, too few to choose by"):
        train("ease", kinds, split="ratio:0.2,valid=0.2", training={"among": "cold"})
    assert split(kinds, "cold_items:0.2,valid=0.2,seed=1").valid is not None


def test_the_benchmark_holds_arms_against_the_best(kinds, monkeypatch, tmp_path) -> None:
    """Facts tell all here: recall of cold items is 1 with them, less without; half of the pairs held out are cold."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    script = importlib.import_module("cold_items")
    two = {"search": [{"l2": 10}, {"l2": 100}]}
    arms = {
        "random": {"model": "popularity"},
        "mf": {"model": "mf", "set": {"loss": "softmax", "dim": 4}, "epochs": 2, "hits": True},
        "ours": {"model": "ease", "set": {"content": "regression", "facts": 1}, "hits": True} | two,
    }
    monkeypatch.setattr(script, "DEPTH", 3)
    benchmark = {"arms": arms, "share": 0.2, "seeds": 2, "best": "ours"}
    options, kept = argparse.Namespace(quick=False), script.Kept(tmp_path / "kept.jsonl")
    found = script.cold_arms(benchmark, kinds, options, kept)
    ours, other = found["arms"]["ours"], found["arms"][found["nearest"]]
    assert ours["cold"] == found["test"]["recall@20"] > other["cold"] + 0.2
    low, high = other["best_less_this"]["interval"]
    assert low < ours["cold"] - other["cold"] < high and len(ours["of_seeds"]) == 2
    assert ours["cold_share_of_hits"] > found["arms"]["mf"]["cold_share_of_hits"]
    monkeypatch.setattr(script, "_built", None)  # all is kept, so nothing is trained
    assert script.cold_arms(benchmark, kinds, options, script.Kept(tmp_path / "kept.jsonl")) == found


@pytest.mark.parametrize("model", ["ease", "itemknn", "ials"])
def test_facts_that_were_taken_out_leave_cold_items_at_chance(kinds, model) -> None:
    """As an audit does: the relation stays, without an edge."""
    without = kinds.where(kinds.relation == kinds.edge_types.index(kinds.target))
    spec = "cold_items:0.2,valid=0.2,seed=1"
    found = train(model, without, split=spec, purpose="cold", metrics=["ndcg@10"]).metrics
    assert (
        found["test_cold"] == train("ease", without, split=spec, metrics=["ndcg@10"], refit=True).metrics["test_cold"]
    )
