"""New items: read by the recipe, tied to the graph, and ranked as if they had been there at scoring time."""

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import kgrec
from kgrec import models
from kgrec.cli.entry import app
from kgrec.errors import KgrecError
from kgrec.evaluation.trained_nodes import Trained
from kgrec.graph import Graph
from kgrec.nn.node_features import NodeFeaturesConfig
from kgrec.run import Run
from kgrec.sources.building.pipeline import build
from kgrec.sources.recipe import Recipe

HEAD = "sku;name;price;color;tags;about;at;maker;kind;seen"
ROWS = [
    "x;Ex;10;red;old;a red fox;1 0;acme;toy > soft;2020",
    "y;Why;20;blue;old|new;a blue fox;0 1;acme;toy > hard;2021",
    "z;Zed;30;red;;a red hen;1 1;best;tool > hard;2022",
    "w;Dub;;;new;;0 2;best;tool > hard;2022",
]
NEW = "n;En;40;blue;new;a blue hen;2 0;best;toy > soft;2023"
EVENTS = "user,item\nann,x\nann,y\nbob,x\nbob,z\ncem,z\ncem,w\ndee,y\n"
FACTS = """@prefix s: <http://s/> .
<http://item/x> s:from <http://town/lund> ; s:weighs 1.5 . <http://item/y> s:from <http://town/ystad> ; s:weighs 2 .
<http://item/z> s:from <http://town/lund> ; s:weighs 3 ; s:like <http://item/x> .
"""
NEW_FACTS = "<http://item/n> s:from <http://town/ystad> ; s:weighs 4 ; s:like <http://item/x> ; s:name 'En' .\n"
RECIPE = {
    "name": "new items",
    "nodes": {
        "item": {
            "file": "items.csv",
            "separator": ";",
            "id": "sku",
            "label": "name",
            "features": {
                "price": "numeric",
                "color": "categorical",
                "tags": {"kind": "multi", "split": "|"},
                "about": "text",
                "at": {"kind": "vector", "split": " "},
            },
            "edges": {
                "made_by": {"column": "maker", "to": "maker"},
                "is_a": {"column": "kind", "path": ">", "parents": "part_of", "to": "kind"},
            },
            "complete": True,
        }
    },
    "interactions": {"file": "events.csv", "relation": "rated"},
    "links": {"item": {"template": "http://item/{id}"}},
    "rdf": {
        "files": "facts.ttl",
        "prefixes": {"s": "http://s/"},
        "types": {"s:Town": "town"},
        "node_type": "place",
        "labels": ["s:name"],
        "literals": {"s:weighs": {"feature": "weight", "kind": "numeric"}},
    },
}


def graph_of(folder: Path, rows: list[str], facts: str = FACTS) -> Graph:
    (folder / "items.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    (folder / "events.csv").write_text(EVENTS)
    (folder / "facts.ttl").write_text(facts)
    return build(Recipe.model_validate(RECIPE), folder)[0]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> tuple[Graph, Graph, Graph]:
    """Without n, with its row, and with its facts alone."""
    folder = tmp_path_factory.mktemp("graphs")
    lone = HEAD.split(";")
    only = "n" + ";" * (len(lone) - 1)
    return graph_of(folder, ROWS), graph_of(folder, [*ROWS, NEW]), graph_of(folder, [*ROWS, only], FACTS + NEW_FACTS)


def run_of(name: str, graph: Graph, **config: object) -> Run:
    torch.manual_seed(0)
    model = models.build(name, graph, config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.where(parameter.any(), 0, torch.randn_like(parameter))  # a layer that begins with zeros
        model.refresh()
    return Run(name, model, graph)


@pytest.fixture(scope="module")
def run(graphs) -> Run:
    return run_of("mf", graphs[0], features="all", dim=3)


def same_graph(one: Graph, other: Graph) -> None:
    assert one.schema.edges.keys() == other.schema.edges.keys()
    assert one.node_types == other.node_types
    for node_type in one.node_types:
        assert one.vocabulary[node_type].id_array.to_pylist() == other.vocabulary[node_type].id_array.to_pylist()
        for name, feature in one.features[node_type].items():
            assert feature.to_arrow().to_pylist() == other.features[node_type][name].to_arrow().to_pylist(), name
    assert one.vocabulary["item"].labels(range(5)) == other.vocabulary["item"].labels(range(5))
    for edge in one.edge_types:
        pairs, wanted = (sorted(map(tuple, graph.only(edge).edge_index.T.tolist())) for graph in (one, other))
        assert pairs == wanted, edge


def forms(folder: Path) -> dict[str, object]:
    """The row of n in each form that is read."""
    columns, values = HEAD.split(";"), NEW.split(";")
    row = dict(zip(columns, values)) | {"price": 40.0, "tags": ["new"], "at": [2.0, 0.0]}
    frame = pd.DataFrame([row])
    paths = {name: folder / f"rows.{name}" for name in ("csv", "tsv", "jsonl", "parquet", "csv.gz")}
    paths["csv"].write_text(f"{HEAD}\n{NEW}\n")
    pd.DataFrame([values], columns=columns).to_csv(paths["tsv"], sep="\t", index=False)
    paths["plain"] = folder / "plain.csv"
    pd.DataFrame([values], columns=columns).to_csv(paths["plain"], index=False)  # the recipe's own have semicolons
    pd.DataFrame([values], columns=columns).to_csv(paths["csv.gz"], sep=";", index=False)
    paths["jsonl"].write_text(json.dumps(row) + "\n")
    frame.to_parquet(paths["parquet"])
    return {
        **paths,
        "text": str(paths["csv"]),
        "pandas": frame,
        "dicts": [row],
        "mapping": {k: [v] for k, v in row.items()},
    }


def test_a_row_in_any_form_makes_the_graph_that_its_file_would(run: Run, graphs, tmp_path) -> None:
    for name, form in forms(tmp_path).items():
        more = run.with_items(form)
        same_graph(more.graph, graphs[1])
        assert more.notes == (), name


def test_facts_in_any_form_make_the_graph_that_their_file_would(run: Run, graphs, tmp_path) -> None:
    rdflib = pytest.importorskip("rdflib")
    prefix = FACTS.splitlines()[0]
    (tmp_path / "n.ttl").write_text(f"{prefix}\n{NEW_FACTS}")
    parsed = rdflib.Graph().parse(tmp_path / "n.ttl")
    parsed.serialize(tmp_path / "n.nt", format="nt", encoding="utf-8")
    parsed.serialize(tmp_path / "n.jsonld", format="json-ld")
    plain = [
        ("n", "s:from", "http://town/ystad"),
        ("n", "s:weighs", 4),
        ("http://item/n", "http://s/like", "http://item/x"),
        ("n", "s:name", "En"),
    ]
    for form in (tmp_path / "n.ttl", tmp_path / "n.nt", tmp_path / "n.jsonld", parsed, list(parsed), plain):
        more = run.with_items(form)
        same_graph(more.graph, graphs[2])
        assert more.notes == ()


@functools.cache
def config_of(name: str) -> dict[str, object]:
    """Settings by which a model knows items by more than ids."""
    kind = models.find(name).Config
    found: dict[str, object] = {"features": "all"} if issubclass(kind, NodeFeaturesConfig) else {}
    return found | ({"text": "about", "image": "at"} if name == "cke" else {})


SERVED = [
    "bert4rec",
    "cke",
    "dnen",
    "esasrec",
    "gan",
    "gru4rec",
    "gruatt",
    "hstu",
    "irgan",
    "kgat",
    "kgatseq",
    "lightgcn",
    "mf",
    "ncf",
    "neumf",
    "sasrec",
]
RANKING = [name for name in models.builtin_names() if models.find(name).task == "ranking"]


def as_if_there(run: Run, graph: Graph) -> Run:
    """The run's weights over a graph that had the item, without interactions, from the start: the item's own rows are
    zeros, and what is learned of features is of the other items alone."""
    new = graph.range("item").stop - 1
    withheld = replace(graph, withheld=torch.tensor([new]))
    torch.manual_seed(5)
    model, former = models.build(run.name, withheld, run.model.config).eval(), run.model.state_dict()
    place = {len(run.graph.range("item")): len(run.graph.range("item")), run.graph.num_nodes: new}
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if "features.columns" in key and not key.endswith("weight"):
                continue  # what a column's own values come to
            if tensor.shape == former[key].shape:
                tensor.copy_(former[key])
            if tensor.shape == former[key].shape or key not in dict(model.named_parameters()):
                continue
            assert len(tensor) == len(former[key]) + 1
            at = next(place[count] for count in (len(former[key]), len(former[key]) - 1) if count in place)
            tensor.copy_(torch.cat([former[key][:at], torch.zeros_like(former[key][:1]), former[key][at:]]))
        model.refresh()
    return Run(run.name, model, graph)


@pytest.mark.parametrize("name", RANKING)
def test_scores_are_as_if_the_item_had_been_there(name: str, graphs, tmp_path) -> None:
    run = run_of(name, graphs[0], **config_of(name))
    row = pd.DataFrame([NEW.split(";")], columns=HEAD.split(";"))
    if name not in SERVED:
        with pytest.raises(
            KgrecError, match=f"{name} .*cannot rank new items: it .*; .*kgat and kgatseq know items by facts"
        ):
            run.with_items(row)
        return
    more = run.with_items(row)
    wanted = as_if_there(run, graphs[1])
    found = (
        more.recommend("all", k=5, include_seen=True).to_pandas().pivot(index="user", columns="item", values="score")
    )
    there = (
        wanted.recommend("all", k=5, include_seen=True).to_pandas().pivot(index="user", columns="item", values="score")
    )
    assert "n" in found
    assert np.allclose(found, there[found.columns], atol=1e-5)
    assert np.abs(found["n"]).max() > 0


def test_rows_and_facts_of_one_item_are_put_together(run: Run, graphs, tmp_path) -> None:
    (tmp_path / "n.ttl").write_text(f"{FACTS.splitlines()[0]}\n{NEW_FACTS}")
    more = run.with_items([forms(tmp_path)["csv"], tmp_path / "n.ttl"])
    same_graph(more.graph, graph_of(tmp_path, [*ROWS, NEW], FACTS + NEW_FACTS))


def test_texts_are_read_by_the_words_of_items_in_training(graphs) -> None:
    """The run knows edges of valid too, which are no part of what the words were learned from."""
    graph = graphs[0]
    rated = graph.only("rated").edge_index[1]
    train = graph.where(~torch.isin(graph.tail, graph.nodes("item")[[0]]))  # all but what leads to x
    assert 0 < (rated == 0).sum() < len(rated)
    run = run_of("cke", train, text="about", image="at")
    run = replace(run, graph=graph, trained=Trained(train, run.model))
    more = run.with_items(with_columns())
    assert np.allclose(more.vectors("item").matrix[1:4], run.vectors("item").matrix[1:], atol=1e-6)


def with_columns(**values: object) -> pd.DataFrame:
    """The row of n, with other values."""
    return pd.DataFrame([dict(zip(HEAD.split(";"), NEW.split(";"))) | values])


def test_what_the_run_does_not_know_is_left_out_and_said(run: Run) -> None:
    more = run.with_items(with_columns(maker="nobody", color="pink", tags="new|never"))
    assert more.notes == (
        "left out: color of 1 new item, as the run has no category of color 'pink'",
        "left out: tags of 1 new item, as the run has no category of tags 'never'",
        "left out: made_by of 1 new item, as the run has no maker 'nobody'",
    )
    assert more.graph.node_types == run.graph.node_types
    assert more.graph.only("made_by").num_edges == run.graph.only("made_by").num_edges
    facts = [("n", "s:from", "http://town/rome"), ("n", "s:weighs", 2), ("n", "s:eats", "http://town/lund")]
    assert run.with_items(facts).notes == (
        "left out: 1 fact of http://s/eats, which is no relation of this run",
        "left out: from of 1 new item, as the run has no node 'http://town/rome'",
    )


def test_columns_that_a_file_lacks_are_missing(run: Run) -> None:
    more = run.with_items([{"sku": 7, "weight": 2.0, "like": "x"}])  # a feature and a relation that facts state
    assert more.graph.vocabulary["item"].ids([4]) == ["7"]
    assert more.graph.only("like").edge_index[:, -1].tolist() == [4, 0]
    assert more.graph.features["item"]["weight"].values.tolist()[4] == 2
    assert "'name', 'price', 'color'" in more.notes[0]


@pytest.mark.parametrize(
    ("items", "found"),
    [
        (with_columns(sku="x"), "item 'x' is known to the run already"),
        (with_columns().rename(columns={"price": "prise"}), "reads no column 'prise'; did you mean 'price'"),
        (with_columns().drop(columns="sku"), "no column 'sku' in the new items"),
        (with_columns().iloc[:0], "has no rows"),
        (with_columns(price="cheap"), "row 1: price 'cheap' is not a number; fix the row"),
        (with_columns(at="1 2 3"), "feature 'at': vectors must all have length 2; found lengths"),
        (with_columns(made_by="acme"), "columns 'maker' and 'made_by' both say made_by"),
        (pd.concat([with_columns(), with_columns()]), "'n' is already in row 1"),
        ([{"sku": "n", "maker": "nobody", "color": "pink"}], "it has no category of color 'pink', no maker 'nobody'"),
        ([{"sku": "n", "maker": "acme"}], "cannot be ranked by mf: it reads the columns 'price', .* say nothing"),
        ([("http://other/n", "s:from", "http://town/lund")], "subjects are 'http://other/n'; item has an IRI like"),
        ([("x", "s:from", "http://town/lund")], "item 'x' is known"),
        ([("n", "s:from", "http://town/rome")], "knows nothing of it .it has no node 'http://town/rome'"),
        ([("n", "s:from")], "is no triple"),
        ([("n", "s:weighs", None)], "has an empty term"),
        ([{"sku": "n", "price": 3, "seen": {}}], "a column has values that no table holds"),
        ([], "an empty list"),
        (7, "new items are int"),
        (Path("nowhere.csv"), "nowhere.csv does not exist"),
    ],
)  # fmt: skip
def test_bad_items_are_refused(run: Run, items: object, found: str) -> None:
    with pytest.raises(KgrecError, match=found):
        run.with_items(items)


def test_what_is_not_known_is_left_out_where_that_is_asked(run: Run) -> None:
    rows = [{"sku": "n", "price": 3, "zzz": 1}, {"sku": "m", "color": "pink"}]
    more = run.with_items(rows, skip_unknown=True)
    assert more.graph.vocabulary["item"].ids(range(4, 9)) == ["n"]
    assert "left out: columns of the new items that the recipe does not read, 'zzz'" in more.notes
    assert "left out: 1 new item of which the run knows nothing, 'm'" in more.notes


def test_a_run_without_recipe_or_facts_refuses_new_items(graphs) -> None:
    with pytest.raises(KgrecError, match="made without a recipe"):
        run_of("mf", replace(graphs[0], recipe=None), features="all").with_items(with_columns())
    with pytest.raises(KgrecError, match="cannot be ranked by kgat: it reads facts about items"):
        run_of("kgat", graphs[0]).with_items([{"sku": "n", "price": 3}])


def test_the_commands_take_new_items(graphs, tmp_path) -> None:
    config = {"features": ["price", "about"], "dim": 4}
    options = {"split": "ratio:0.1", "config": config, "training": {"epochs": 1}}
    kgrec.train("mf", graphs[0], out=tmp_path / "run", **options)
    kgrec.train("mf", graphs[0], out=tmp_path / "lean", lean=True, **options)
    paths = forms(tmp_path)
    (tmp_path / "pairs.csv").write_text("user,item\nann,n\n")

    def answer(*words: object) -> object:
        done = CliRunner().invoke(app, [*map(str, words), "--new-items", str(paths["csv"]), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    similar = answer("similar", tmp_path / "run", "--item", "n", "--k", 3)
    assert len(similar[0]["items"]) == 3
    lists = answer("recommend", tmp_path / "run", "--user", "ann", "--k", 3)
    assert "n" in [one["item"] for one in lists[0]["items"]]
    pairs = answer("predict", tmp_path / "run", tmp_path / "pairs.csv")
    (score,) = [one["score"] for one in lists[0]["items"] if one["item"] == "n"]
    assert pairs[0]["score"] == pytest.approx(score, abs=1e-6)
    done = CliRunner().invoke(app, ["similar", str(tmp_path / "lean"), "--item", "n", "--new-items", str(paths["csv"])])
    assert isinstance(done.exception, KgrecError)
    assert "--lean" in str(done.exception)
