"""Items like an item: by the cosine of their vectors, by weights, or by what follows from having one."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow.csv
import pytest
import torch

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Recommender, scoring
from kgrec.run import Run, train
from kgrec.serving.similar_items import by_item

RATED = [("ann", "x"), ("ann", "y"), ("bob", "x"), ("bob", "y"), ("bob", "z"), ("cem", "x"), ("dan", "w")]
MADE = [("x", "acme"), ("y", "acme"), ("z", "umbra"), ("w", "solo")]


def edges(pairs: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["source", "target"])


GRAPH = Graph.from_frames(
    nodes={"item": pd.DataFrame({"id": ["x", "y", "z", "w"], "label": ["Alien", "Brazil", None, ""]})},
    edges={("user", "rated", "item"): edges(RATED), ("item", "made_by", "brand"): edges(MADE)},
    target=("user", "rated", "item"),
)
VECTORS = [[3.0, 4.0], [4.0, 3.0], [-3.0, -4.0], [0.0, 0.0]]  #: of x, y, z and w


def run_of(model: str, **config: object) -> Run:
    built = models.build(model, GRAPH, config).eval()
    with scoring(built):
        built.refresh()
    return Run(model, built, GRAPH)


def with_vectors(vectors: list[list[float]] = VECTORS) -> Run:
    run = run_of("mf", dim=2)
    run.model.node_vectors = lambda node_type: torch.tensor(vectors)
    return run


def test_cosines_of_vectors() -> None:
    """cos(x, y) = (12 + 12) / 25; z points the other way; w has no direction at all."""
    table = with_vectors().similar(["x", "z"], k=3)
    rows = [(row["of"], row["rank"], row["item"], row["label"], row["reason"]) for row in table]
    assert rows == [
        ("x", 1, "y", "Brazil", "cosine of vectors"), ("x", 2, "z", "z", "cosine of vectors"),
        ("z", 1, "y", "Brazil", "cosine of vectors"), ("z", 2, "x", "Alien", "cosine of vectors"),
    ]  # fmt: skip
    assert table["score"] == pytest.approx([24 / 25, -1, -24 / 25, -1])
    assert table.notes == (
        "2 of 2 lists are shorter than k = 3: there are 4 items, and none is like itself",
        "left out: 1 items with a zero vector, of which nothing can be said",
    )


def test_a_zero_vector_is_said() -> None:
    table = with_vectors().similar(["w", "x"], k=1)
    assert (table.users, table["of"], table["item"]) == (["w", "x"], ["x"], ["y"])
    assert table.notes[0] == "nothing can be said of 'w': its vector is zero, which is like no other"
    assert by_item(with_vectors(), table)[0].to_json() == {"item": "w", "label": "w", "items": []}
    with pytest.raises(KgrecError, match="nothing can be said of 'w': its vector is zero"):
        with_vectors().similar("w", k=1)
    with pytest.raises(KgrecError, match="mf has vectors that are not finite"):
        with_vectors([[1.0, float("nan")]] * 4).similar("x", k=1)


def test_an_item_like_itself_alone_is_said() -> None:
    with pytest.raises(KgrecError, match="nothing is left to be like 'z': the filters leave 1 of 4 items, and none is"):
        with_vectors().similar("z", k=1, where="made_by=umbra")
    with pytest.raises(KgrecError, match="nothing is left to be like 'z': the filters leave 1 of 4 items"):
        run_of("popularity").similar("z", k=1, where="made_by=umbra")
    table = with_vectors().similar(["z", "x"], k=1, where="made_by=umbra")
    assert table["item"] == ["z"] and table.notes[0].startswith("nothing is left to be like 'z'")


def test_weights_of_ease_are_the_column_of_the_item() -> None:
    """The score of y is a sum over what a user has; x and z count for it by the column of y."""
    run = run_of("ease", l2=1.0)
    weight = run.model.weight
    table = run.similar("y", k=2)
    assert dict(zip(table["item"], table["score"])) == pytest.approx(
        {"x": float(weight[0, 1]), "z": float(weight[2, 1])}
    )
    assert set(table["reason"]) == {"weight column"}
    with pytest.raises(KgrecError, match="nothing can be said of 'w': its weights are zero"):
        run.similar("w", k=1)


def test_neighbors_of_itemknn() -> None:
    """x and y have 2 users in common, of 3 and 2; x and z 1, of 3 and 1. What is no neighbor fills the list up."""
    table = run_of("itemknn", neighbors=2).similar("x", k=3)
    assert table["item"] == ["y", "z", "w"]
    assert table["score"] == pytest.approx([2 / 6**0.5, 1 / 3**0.5, 0])


class ByLastItem(Recommender):
    """Scores the item after the last one of a history; it reads histories, and has no vectors."""

    Config = models.find("popularity").Config
    reads_history = True

    def __init__(self, graph: Graph, config: object) -> None:
        super().__init__(graph, config)
        self.items = graph.range(graph.target[2])
        self.register_buffer("none", torch.zeros(1))

    def score(self, query, items):
        wanted = self.items.start + (query.history[:, -1:] - self.items.start + 1) % len(self.items)
        return (items == wanted).float()


def test_a_one_item_history() -> None:
    run = Run("mine", ByLastItem(GRAPH, None).eval(), GRAPH)
    table = run.similar(["x", "w"], k=1)
    assert (table["of"], table["item"], table["score"]) == (["x", "w"], ["y", "x"], [1, 1])
    assert table["reason"] == ["one-item history"] * 2
    popular = run_of("popularity").similar("y", k=1)
    assert (popular["item"], popular["reason"]) == (["x"], ["no vectors and no histories, by popularity"])


@pytest.mark.parametrize("name", [name for name in models.working() if models.find(name).task == "ranking"])
def test_every_model_that_ranks_has_similar_items(name: str) -> None:
    run = run_of(name)
    table = run.similar(["x", "y"], k=3)
    for one in by_item(run, table):
        assert len(one.items) == 3 and one.of not in one.items and one.scores == sorted(one.scores, reverse=True)
    allowed = run.similar("x", k=2, where="made_by=acme|umbra")
    assert set(allowed["item"]) == {"y", "z"}
    scores = {row["item"]: row["score"] for row in table if row["of"] == "x"}
    assert dict(zip(allowed["item"], allowed["score"])) == pytest.approx(
        {item: scores[item] for item in ("y", "z")}, abs=1e-6
    )


@pytest.mark.parametrize(
    ("items", "options", "error", "message"),
    [
        ("q", {}, UnknownName, "no item 'q' among the 4 known"),
        (["x", None], {}, KgrecError, "items"),
        (pd.DataFrame({"film": ["x"]}), {}, KgrecError, "no single column 'item'"),
        ("x", {"k": 0}, KgrecError, "k is 0"),
        ("x", {"k": 9}, KgrecError, "k 9 is more than the catalog's 4 items"),
        ("x", {"why": True}, UnknownName, r"no option 'why' of Run\.similar"),
        ("x", {"where": "made_by=acm"}, UnknownName, "did you mean 'acme'"),
    ],
)
def test_what_is_wrong_is_said(items: object, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        with_vectors().similar(items, **{"k": 1, **options})


def test_items_in_any_form_are_answered_once() -> None:
    run = with_vectors()
    for items in (["x", "y", "x"], pd.DataFrame({"item": ["x", "y"]}), pd.Series(["x", "y"])):
        assert run.similar(items, k=1)["of"] == ["x", "y"]
    assert run.similar("all", k=1)["of"] == ["x", "y", "z"] and run.similar("all", k=1).users == ["x", "y", "z", "w"]
    assert len(run.similar([], k=1)) == 0


def test_the_command(tmp_path, capsys) -> None:
    from kgrec.cli import app

    train("itemknn", GRAPH, split="last_n:1", out=tmp_path / "run")
    given = ["similar", str(tmp_path / "run"), "--item", "x", "--item", "y", "--k", "1"]
    app([*given, "--json"], standalone_mode=False)
    answers = json.loads(capsys.readouterr().out)
    assert [(one["item"], one["label"], one["reason"]) for one in answers] == [
        ("x", "Alien", "weight column"), ("y", "Brazil", "weight column")
    ]  # fmt: skip
    assert answers[0]["items"][0].keys() == {"item", "label", "score"} and answers[1]["items"][0]["item"] == "x"
    app([*given, "--out", str(tmp_path / "like.csv"), "--not", "made_by=umbra"], standalone_mode=False)
    table = pyarrow.csv.read_csv(tmp_path / "like.csv")
    assert table.column_names == ["of", "rank", "item", "label", "score", "reason"] and len(table) == 2
    app(given, standalone_mode=False)
    assert "like x Alien (weight column)" in capsys.readouterr().out
