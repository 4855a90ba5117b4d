"""The run folder, format 2: facts, features and recipe on demand, hashes, formats, and what `lean` leaves out."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.serving.numpy_scorer import load_scores
from kgrec.serving.recommendation import recommend
from kgrec.settings import configure
from kgrec.sources.recipe.portable_recipe import portable_recipe
from kgrec.sources.recipe.recipe import Recipe
from kgrec.studies.comparison import compare
from kgrec.training.config import TrainingConfig
from kgrec.training.run_folder import read_schema

RATED, VIEWED, MADE_BY = ("user", "rated", "item"), ("user", "viewed", "item"), ("item", "made_by", "brand")
TRAINING = configure(TrainingConfig, {"epochs": 1, "device": "cpu"})
RECIPE = {"name": "shop", "interactions": [{"user": "customer", "item": "sku"}]}
USERS, ITEMS, BRANDS = 12, 9, 3
RECIPES = sorted(
    path for path in (Path(__file__).parents[1] / "graphs").rglob("*.yaml") if "settings" not in path.parts
)


def shop() -> Graph:
    """Twelve users who rate five items each and view two others; brands as facts, features of every kind."""
    rated = [(f"u{u}", f"i{(u + step) % ITEMS}", step + 1, u % 5 + 1) for u in range(USERS) for step in range(5)]
    viewed = [(f"u{u}", f"i{(u + step) % ITEMS}", 9) for u in range(USERS) for step in (6, 7)]
    items = pd.DataFrame({"id": [f"i{i}" for i in range(ITEMS)], "label": [f"Item {i}" for i in range(ITEMS)]})
    items["price"] = [float(i) if i % 2 else None for i in range(ITEMS)]
    items["colour"] = [["red", "blue", None][i % 3] for i in range(ITEMS)]
    items["tags"] = [["new"] if i % 2 else [] for i in range(ITEMS)]
    items["title"] = [f"a fine item {i}" for i in range(ITEMS)]
    items["picture"] = [[i, 1.0] for i in range(ITEMS)]
    ratings = pd.DataFrame(rated, columns=["source", "target", "time", "weight"])
    ratings["review"] = [f"review {row}" for row in range(len(ratings))]
    made_by = pd.DataFrame({"source": items["id"], "target": [f"b{i % BRANDS}" for i in range(ITEMS)]})
    made_by["since"] = np.arange(ITEMS, dtype=float)
    graph = Graph.from_frames(
        nodes={"item": items},
        edges={
            MADE_BY: made_by,
            RATED: ratings,
            VIEWED: pd.DataFrame(viewed, columns=["source", "target", "time"]),
        },
        features={
            "item": {"price": "numeric", "colour": "categorical", "tags": "multi", "title": "text"},
            "rated": {"review": "text"},
            "made_by": {"since": "numeric"},
        },
        target=RATED,
    )
    return replace(graph, recipe=RECIPE)


def trained(out: Path, model: str = "mf", **options) -> Run:
    return train(model, shop(), split="last_n:1,valid=1", training=TRAINING, out=out, **options)


def as_format_1(folder: Path) -> None:
    """What format 1 was: the same files without hashes, and neither facts, features, recipe nor scorer."""
    for name in ("facts", "features"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("recipe.json", "scorer.json", "scorer.safetensors"):
        (folder / name).unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config = {name: value for name, value in config.items() if name not in ("lean", "files")}
    (folder / "config.json").write_text(json.dumps(config | {"format": 1}))


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_a_loaded_run_gives_the_whole_graph_back(tmp_path):
    run = trained(tmp_path / "run")
    again = Run.load(tmp_path / "run")
    assert again.graph.edge_types == [RATED] and again.graph.features["item"] == {}
    whole = again.whole_graph()
    assert whole is again.whole_graph()
    assert whole.schema == run.graph.schema == read_schema(tmp_path / "run")
    assert whole.edge_types == [MADE_BY, RATED, VIEWED]
    assert whole.content_hash() == run.graph.content_hash() and whole.only("rated").num_edges == USERS * 4
    assert whole.edge_feature(RATED, "review").values.equals(run.graph.edge_feature(RATED, "review").values)
    assert whole.edge_feature(MADE_BY, "since").values.tolist() == list(range(ITEMS))
    columns = whole.features["item"]
    assert list(columns) == ["price", "colour", "tags", "title", "picture"]
    for name, column in run.graph.features["item"].items():
        assert columns[name].to_arrow().equals(column.to_arrow()), name
    assert run.whole_graph().content_hash() == whole.content_hash()  # a run that was just trained has it in memory
    assert again.graph.recipe == whole.recipe == run.graph.recipe == RECIPE


def test_a_whole_graph_of_a_model_that_reads_other_behaviours(tmp_path):
    run = trained(tmp_path / "run", "gru4rec", config={"behaviours": ("viewed",), "dim": 4})
    again = Run.load(tmp_path / "run")
    assert again.graph.edge_types == [RATED, VIEWED]
    assert {file.name for file in (tmp_path / "run" / "facts").iterdir()} == {"item__made_by__brand.parquet"}
    assert again.whole_graph().content_hash() == run.graph.content_hash()


def test_loading_reads_neither_facts_nor_features(tmp_path):
    trained(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "facts")
    again = Run.load(tmp_path / "run")
    assert len(recommend(again, ["u0"], k=3)[0].items) == 3
    with pytest.raises(KgrecError, match=r"facts lacks its file item__made_by__brand\.parquet; train again"):
        again.whole_graph()


def test_a_lean_run_is_smaller_and_answers_the_same(tmp_path):
    trained(tmp_path / "whole")
    lean = trained(tmp_path / "lean", lean=True)
    files = {str(f.relative_to(tmp_path / "whole")) for f in (tmp_path / "whole").rglob("*") if f.is_file()}
    left_out = {
        "facts/item__made_by__brand.parquet",
        "facts/user__viewed__item.parquet",
        "features/item.parquet",
        "features/user__rated__item.parquet",
    }
    assert left_out < files
    assert {str(f.relative_to(tmp_path / "lean")) for f in (tmp_path / "lean").rglob("*") if f.is_file()} == (
        files - left_out
    )
    listed = json.loads((tmp_path / "whole" / "config.json").read_text())["files"]
    saved = size(tmp_path / "whole") - size(tmp_path / "lean")
    assert saved >= sum(listed[name]["bytes"] for name in left_out) > 3000
    again = Run.load(tmp_path / "lean")
    assert recommend(again, ["u0", "u5"], k=4) == recommend(Run.load(tmp_path / "whole"), ["u0", "u5"], k=4)
    assert again.graph.recipe == RECIPE
    with pytest.raises(KgrecError, match=r"was trained with --lean, .*; train again without --lean"):
        again.whole_graph()
    assert lean.whole_graph().edge_types == [MADE_BY, RATED, VIEWED]


def test_format_1_is_read_and_answers_the_same(tmp_path):
    trained(tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    as_format_1(tmp_path / "old")
    old, new = Run.load(tmp_path / "old"), Run.load(tmp_path / "new")
    assert old.metrics == new.metrics and old.split == new.split and old.graph.recipe is None
    users = [f"u{user}" for user in range(USERS)]
    assert recommend(old, users, k=4) == recommend(new, users, k=4)
    assert len(compare([tmp_path / "old", tmp_path / "new"]).models) == 2
    started = trained(tmp_path / "next", init=str(tmp_path / "old"))
    assert started.metrics["init"]["vectors"] and started.metrics["init"]["run"] == str(tmp_path / "old")
    with pytest.raises(KgrecError, match="is of format 1, which has no facts and features of the graph; train again"):
        old.whole_graph()
    with pytest.raises(KgrecError, match=r"has no scorer\.json \(it is of format 1\); read it by kgrec\.Run\.load"):
        load_scores(tmp_path / "old")


def test_a_format_from_the_future_is_refused_by_all(tmp_path):
    trained(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"format": 3}))
    message = "has format 3; this kgrec reads up to 2: update kgrec, or train the model again with this version"
    for read in (Run.load, load_scores, lambda path: compare([path, tmp_path / "other"])):
        with pytest.raises(KgrecError, match=message):
            read(tmp_path / "run")
    for version in (0, -1, True, "2", None, [2]):
        (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"format": version}))
        with pytest.raises(KgrecError, match=r"config\.json has format .*; it is altered: train again"):
            Run.load(tmp_path / "run")
    for files in ({}, [], "all"):
        (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"files": files}))
        with pytest.raises(KgrecError, match="has no list `files`; it is altered: train again"):
            Run.load(tmp_path / "run")


def altered(file: Path) -> bytes:
    """A file of the same size with one bit of its middle turned; returns what it held."""
    held = file.read_bytes()
    place = len(held) // 2
    file.write_bytes(held[:place] + bytes([held[place] ^ 1]) + held[place + 1 :])
    return held


def test_one_turned_bit_is_found_in_every_file(tmp_path):
    trained(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    listed = json.loads((tmp_path / "run" / "config.json").read_text())["files"]
    assert set(listed) == {
        str(f.relative_to(tmp_path / "run")) for f in (tmp_path / "run").rglob("*") if f.is_file()
    } - {"config.json"}

    def whole(path: Path) -> None:
        Run.load(path).whole_graph()
        compare([path, tmp_path / "other"])
        load_scores(path)

    whole(tmp_path / "run")
    read = [name for name in listed if name != "log.csv"]  # which nothing reads
    for name in read:
        held = altered(tmp_path / "run" / name)
        with pytest.raises(KgrecError, match=rf"{name} is (truncated or altered|no safetensors file)"):
            whole(tmp_path / "run")
        (tmp_path / "run" / name).write_bytes(held[:-1])
        with pytest.raises(KgrecError, match=rf"{name} is (truncated or altered|no safetensors file)"):
            whole(tmp_path / "run")
        (tmp_path / "run" / name).write_bytes(held)
    whole(tmp_path / "run")


def test_a_file_that_is_not_listed_is_not_trusted(tmp_path):
    trained(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    del config["files"]["history.parquet"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(KgrecError, match=r"does not list history\.parquet; it is altered: train again"):
        Run.load(tmp_path / "run")


def test_a_view_of_a_graph_keeps_the_recipe_and_its_hash_does_not_count_it():
    graph = shop()
    known = graph.only("rated").where(graph.only("rated").time > 2).before(5).single()
    more = known.with_nodes({"item": pd.DataFrame({"id": ["new"]})})[0]
    for view in (known, graph.facts(), graph.reversed(), graph.both_ways(), more):
        assert view.recipe == RECIPE
    assert replace(graph, recipe=None).content_hash() == graph.content_hash()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_kept_recipe_means_what_it_meant(path):
    recipe = Recipe.load(path)
    kept = json.loads(json.dumps(portable_recipe(recipe)))
    assert Recipe.model_validate(kept) == recipe.model_copy(update={"data": "."})
    assert str(path.parents[1]) not in json.dumps(kept)


def test_a_kept_recipe_names_nothing_of_this_machine():
    table = {"file": ["/srv/ann/orders.csv", "C:\\data\\more.csv", "part-*.csv"], "separator": "/"}
    recipe = Recipe.model_validate(
        {
            "name": "shop",
            "data": "/srv/ann",
            "nodes": {
                "item": {
                    "file": "/srv/items.csv",
                    "id": "sku",
                    "edges": {"in_category": {"to": "category", "path": "/"}},
                }
            },
            "interactions": table,
            "rdf": {"endpoint": "https://ann:secret@facts.example/sparql", "query": "CONSTRUCT WHERE { ?s ?p ?o }"},
        }
    )
    kept = portable_recipe(recipe)
    assert kept["interactions"][0]["file"] == ["orders.csv", "more.csv", "part-*.csv"]
    assert kept["interactions"][0]["separator"] == "/" and "data" not in kept
    assert kept["nodes"]["item"]["tables"][0]["file"] == ["items.csv"]
    assert kept["nodes"]["item"]["tables"][0]["edges"]["in_category"]["path"] == "/"
    assert kept["rdf"][0]["endpoint"] == "https://facts.example/sparql"
    assert "ann" not in json.dumps(kept)


def test_a_graph_folder_keeps_its_recipe_and_older_ones_have_none(tmp_path):
    graph = shop()
    graph.save(tmp_path / "graph")
    assert Graph.load(tmp_path / "graph").recipe == RECIPE
    held = altered(tmp_path / "graph" / "recipe.json")
    with pytest.raises(KgrecError, match=r"recipe\.json is truncated or altered"):
        Graph.load(tmp_path / "graph")
    (tmp_path / "graph" / "recipe.json").write_bytes(held)
    document = json.loads((tmp_path / "graph" / "graph.json").read_text())
    assert document["format"] == 1 and "recipe.json" in document["files"]  # older versions check its hash, and no more
    del document["files"]["recipe.json"]
    (tmp_path / "graph" / "graph.json").write_text(json.dumps(document))
    for content in ("[1]", "{"):
        (tmp_path / "graph" / "recipe.json").write_text(content)
        with pytest.raises(KgrecError, match=r"recipe\.json .*; build the graph again"):
            Graph.load(tmp_path / "graph")
    (tmp_path / "graph" / "recipe.json").unlink()
    older = Graph.load(tmp_path / "graph")
    assert older.recipe is None and older.content_hash() == graph.content_hash()
