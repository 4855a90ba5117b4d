"""The recipes in graphs/: the counts that the data sets are known by."""

from __future__ import annotations

import runpy
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from kgrec import Graph
from kgrec.sources.building import build
from kgrec.sources.building.report import BuildReport, LinkCoverage
from kgrec.sources.recipe import Recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path for path in (ROOT / "graphs").rglob("*.yaml") if "settings" not in path.parts)


def built(name: str, data: Path) -> tuple[Graph, BuildReport]:
    return build(ROOT / f"graphs/{name}.yaml", data)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_reads(path):
    assert Recipe.load(path).name == path.stem


@pytest.fixture(scope="module")
def shop() -> tuple[Graph, BuildReport]:
    return build(ROOT / "graphs/shop/shop.yaml")


def test_shop_counts(shop):
    graph, report = shop
    assert {name: report.nodes[name] for name in ("user", "item", "brand", "company", "country", "material")} == {
        "user": 600,
        "item": 400,
        "brand": 26,
        "company": 11,
        "country": 8,
        "material": 34,
    }
    assert report.edges["user-viewed-item"] == 15_925
    assert report.edges["user-carted-item"] == 2_952
    assert report.edges["user-purchased-item"] == 1_836
    assert graph.target == ("user", "viewed", "item")
    assert report.added == {} and report.problems == [] and report.unknown_predicates == []
    assert report.links == {"item": LinkCoverage(400, 385, 385, 0, 0)}  # 15 of 400 are not in the catalog


def test_shop_by_pandas(shop):
    import pandas as pd

    graph, _ = shop
    events = pd.read_csv(ROOT / "graphs/shop/events.csv")
    bought = events[events["event"] == "purchase"]
    purchased = graph.only("purchased")
    users, items = purchased.edge_index.tolist()
    assert graph.vocabulary["user"].ids(users) == bought["user"].tolist()
    assert graph.vocabulary["item"].ids(items) == bought["product"].tolist()
    assert purchased.time.tolist() == bought["time"].tolist()
    viewed, pairs = events[events["event"] == "view"], set(zip(bought["user"], bought["product"]))
    assert graph.clicks().tolist() == [pair in pairs for pair in zip(viewed["user"], viewed["product"])]
    products = pd.read_csv(ROOT / "graphs/shop/products.csv")
    assert graph.vocabulary["item"].labels(range(400)) == products["title"].tolist()
    assert graph.features["item"]["price"].values.tolist() == products["price"].astype("float32").tolist()


def test_the_script(tmp_path, monkeypatch, capsys):
    script, out = str(ROOT / "scripts/build_graph.py"), tmp_path / "shop.graph"
    monkeypatch.setattr(sys, "argv", [script, str(ROOT / "graphs/shop/shop.yaml"), "--out", str(out)])
    main = runpy.run_path(script)["main"]
    assert main() == 0
    assert "shop: 600 user, 400 item" in capsys.readouterr().out
    assert Graph.load(out).content_hash() == build(ROOT / "graphs/shop/shop.yaml")[0].content_hash()
    assert main() == 1
    assert capsys.readouterr().err == f"{out} exists already; name another --out, or use --overwrite to replace it\n"


@pytest.mark.real_data
def test_ml_100k(data_root):
    graph, report = built("ml-100k", data_root)
    assert report.nodes == {"user": 943, "item": 1_682, "genre": 19}
    assert report.edges == {"user-rated-item": 100_000, "item-has_genre-genre": 2_893}
    assert report.splits == {f"u{fold}": {"train": 80_000, "valid": 0, "test": 20_000} for fold in range(1, 6)}
    assert sum(part == 2 for part in zip(*(graph.splits[f"u{n}"].tolist() for n in range(1, 6)))) == 0
    tested = sum(graph.splits[f"u{fold}"] for fold in range(1, 6))
    assert tested.unique().tolist() == [2]  # each rating is in the test part of one fold
    assert graph.vocabulary["item"].labels([0]) == ["Toy Story (1995)"]
    assert graph.features["user"]["age"].values[0] == 24
    assert graph.schema.standard == {"split": "u1"}


@pytest.mark.real_data
def test_ml_100k_freebase(data_root):
    graph, report = built("ml-100k-freebase", data_root)
    facts = Counter({edge: count for edge, count in report.edges.items() if edge != "user-rated-item"})
    assert sum(facts.values()) == report.num_triples == 91_631
    assert len({edge[1] for edge in graph.edge_types}) == 24 + 1
    assert report.links == {"item": LinkCoverage(1_682, 1_598, 1_598, 0, 0)}
    doubled = {edge[1] for edge in graph.both_ways().edge_types}
    assert "rev_film_film_directed_by" not in doubled and "rev_film_film_actor" in doubled
    pairs = [line.split("\t")[:2] for line in (data_root / "ml-100k/u.data").read_text().splitlines()]
    users, items = graph.only("rated").edge_index.tolist()
    assert [*map(list, zip(graph.vocabulary["user"].ids(users), graph.vocabulary["item"].ids(items)))] == pairs


@pytest.mark.real_data
def test_ml_1m_dbpedia(data_root):
    graph, report = built("ml-1m-dbpedia", data_root)
    assert {name: report.nodes[name] for name in ("user", "item", "genre")} == {
        "user": 6_040,
        "item": 3_883,
        "genre": 18,
    }
    assert report.edges["user-rated-item"] == 1_000_209
    assert report.num_triples == 34_941
    assert report.links == {"item": LinkCoverage(3_883, 3_300, 3_085, 1, 2)}
    rated = graph.only("rated").edge_index[1].unique()
    assert len(rated) == 3_706
    plots = graph.features["item"]["plot"].values
    assert plots[0].as_py().startswith("A little boy named Andy loves to be in his room")
    assert graph.vocabulary["item"].labels([72]) == ["Misérables, Les (1995)"]
    linked = {line.split("\t")[0] for line in (data_root / "ml1m-dbpedia/mappings.tsv").read_text().splitlines()}
    assert len(linked & set(graph.vocabulary["item"].ids(rated))) == 3_227


@pytest.mark.real_data
def test_ml_1m_ctr(data_root):
    graph, _ = built("ml-1m-ctr", data_root)
    assert graph.clicks().sum() == 226_310 + 348_971  # ratings of 5 and of 4
    assert torch.equal(graph.clicks() == 1, graph.only("rated").weight >= 4)


@pytest.mark.real_data
def test_ml_1m_ncf(data_root):
    graph, report = built("ml-1m-ncf", data_root)
    assert report.nodes == {"user": 6_040, "item": 3_706}
    assert report.splits == {"ncf": {"train": 994_169, "valid": 0, "test": 6_040}}
    lists = graph.candidates["ncf"]
    assert lists.user.tolist() == list(range(6_040))
    assert lists.ptr.diff().max() == 100
    test = graph.splits["ncf"] == 2
    users, items = graph.edge_index[:, test]
    ratings = [line.split("\t") for line in (data_root / "ml-1m/ncf/ml-1m.test.rating").read_text().splitlines()]
    published = {(int(user), int(item)): float(rating) for user, item, rating, _ in ratings}
    assert dict(zip(zip(users.tolist(), items.tolist()), graph.weight[test].tolist())) == published
    first_user = lists.item[: lists.ptr[1]].tolist()
    assert first_user[:4] == [25, 1064, 174, 2791]


@pytest.mark.real_data
def test_irgan(data_root):
    graph, report = built("irgan-ml-100k", data_root)
    assert report.nodes == {"user": 943, "item": 1_682}
    liked = {
        part: sum(int(line.split("\t")[2]) >= 4 for line in (data_root / f"ml-100k/u1.{part}").read_text().splitlines())
        for part in ("base", "test")
    }
    assert report.splits == {"irgan": {"train": liked["base"], "valid": 0, "test": liked["test"]}}
    assert graph.weight.min() == 4


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "nodes", "edges"),
    [
        ("ml-1m", {"user": 6_040, "item": 3_883, "genre": 18}, {"user-rated-item": 1_000_209}),
        ("gowalla", {"user": 29_858, "item": 40_981}, {"user-visited-item": 810_128 + 217_242}),
        ("beauty", {"user": 22_363, "item": 12_101}, {"user-reviewed-item": 198_502}),
        ("musical-instruments", {"user": 1_429, "item": 900}, {"user-rated-item": 10_261}),
        ("lastfm-music", {"user": 1_892, "item": 17_632}, {"user-played-item": 92_834}),
    ],
)
def test_counts(data_root, name, nodes, edges):
    _, report = built(name, data_root)
    assert nodes.items() <= report.nodes.items()
    assert edges.items() <= report.edges.items()
    if name == "lastfm-music":
        assert report.num_triples == 15_518
        assert report.links["item"].linked == 3_846
    if name == "gowalla":
        assert report.splits == {"lightgcn": {"train": 810_128, "valid": 0, "test": 217_242}}


@pytest.mark.real_data
def test_reviews_stand_on_their_edges(data_root):
    graph, _ = built("musical-instruments", data_root)
    review = graph.edge_feature(("user", "rated", "item"), "review").values
    assert review[0].as_py().startswith("Not much to write about here, but it does exactly what")


@pytest.mark.real_data
def test_sequences_are_in_their_order(data_root):
    reviewed = built("beauty", data_root)[0].only("reviewed")
    first = reviewed.edge_index[0] == 0
    assert reviewed.vocabulary["item"].ids(reviewed.edge_index[1][first]) == ["1", "2", "3", "4", "5"]
    assert reviewed.time[first].tolist() == [0, 1, 2, 3, 4]
