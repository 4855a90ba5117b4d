"""Filters of lists, by hand: five items, what is known of them, and which of them each condition leaves."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.serving.filters.allowed_items import meets

USERS = ("ann", "bob", "cem", "dan")
RATED = [("ann", "tea"), ("ann", "mug"), ("bob", "tea"), ("bob", "pot"), ("cem", "tea"), ("cem", "jam"), ("dan", "tin")]
ITEMS = pd.DataFrame(
    {
        "id": ["tea", "mug", "pot", "jam", "tin"],
        "label": ["Green tea", "Mug", "Pot", None, "Tin"],
        "price": [4.5, 19.99, 30.0, 3.0, np.nan],
        "shelf": ["a", "b", "b|c", None, "a"],
        "tags": [["hot", "dry"], ["hot"], [], ["sweet"], None],
        "made": ["2024-02-29", "2025", "2025-11-30T10:00:00Z", None, "2023-12"],
        "blurb": ["a tea", "a mug", "", "a jam", None],
        "brand": ["x", "x", "y", "y", "y"],
        "sold": ["2024-05", "2024-06-01", None, "2025", "2025"],
        "shown": [["2024", "2026"], ["2024"], [], None, ["2025-01-01"]],
        "cost/kg": [1, 2, 3, 4, 5],
        "size<l": [1, 2, 3, 4, 5],
        "image": [[1.0, 0.0]] * 5,
    }
)
KINDS = {
    "price": "numeric", "shelf": "categorical", "tags": "multi", "made": "text", "blurb": "text",
    "brand": "categorical", "size<l": "numeric", "image": "vector", "sold": "categorical", "shown": "multi",
    "cost/kg": "numeric",
}  # fmt: skip
FACTS = {
    ("item", "of_brand", "brand"): [("tea", "acme"), ("mug", "acme"), ("pot", "umbra"), ("jam", "odd")],
    ("brand", "owned_by", "company"): [("acme", "big"), ("umbra", "small")],
    ("company", "located_in", "place"): [("big", "se"), ("small", "no")],
    ("item", "in_category", "category"): [("tea", "drinks"), ("mug", "cups"), ("pot", "pots"), ("jam", "food")],
    ("category", "part_of", "category"): [("cups", "wares"), ("pots", "wares"), ("wares", "all"), ("food", "all")],
    ("item", "made_in", "year"): [("tea", "2024"), ("mug", "2025-03"), ("pot", "2023")],
    ("item", "goes_with", "item"): [("tea", "mug"), ("mug", "pot")],
    ("shop", "sells", "item"): [("corner", "tea"), ("corner", "jam"), ("mall", "tin")],
}


def edges(pairs: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["source", "target"])


def shop() -> Graph:
    labels = {
        "brand": pd.DataFrame(
            {"id": ["acme", "umbra", "odd"], "label": ["Acme", "Umbra", "Same"], "country": list("spn")}
        ),
        "place": pd.DataFrame({"id": ["se", "no"], "label": ["Sweden", "Norway"]}),
        "company": pd.DataFrame({"id": ["big", "small"], "label": ["Same", "Same"]}),
    }  # fmt: skip
    return Graph.from_frames(
        nodes={"item": ITEMS, **labels},
        edges={("user", "rated", "item"): edges(RATED)} | {edge: edges(pairs) for edge, pairs in FACTS.items()},
        features={"item": KINDS, "brand": {"country": "categorical"}},
        target=("user", "rated", "item"),
    )


GRAPH = shop()


def left(text: str, graph: Graph = GRAPH) -> str:
    """The items that meet a condition, in the graph's order."""
    return " ".join(ITEMS["id"][meets(graph, "item", text)])


def run_of(model: str = "popularity", graph: Graph = GRAPH, **config: object) -> Run:
    return Run(model, models.build(model, graph, config).eval(), graph)


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("price<19.99", "tea jam"),  # as float32, so that 19.99 is not below itself
        ("price<=19.99", "tea mug jam"),
        ("price>19.99", "pot"),
        ("price >= 19.99", "mug pot"),
        ("price=4.5|30", "tea pot"),
        ("price!=3", "tea mug pot"),  # tin has no price, so it meets neither
        ("price==3", "jam"),
        ("shelf=a", "tea tin"),
        ("shelf=a|b", "tea mug tin"),
        (r"shelf=b\|c", "pot"),
        ("shelf!=a", "mug pot"),
        ("tags=hot", "tea mug"),
        ("tags=dry|sweet", "tea jam"),
        ("tags!=dry", "mug jam"),
        ("blurb=a mug", "mug"),
        ("blurb!=a mug", "tea jam"),
        ("made<2024-03", "tea tin"),
        ("made<2024-02-29", "tin"),
        ("made<=2024", "tea tin"),
        ("made>2024", "mug pot"),
        ("made>=2025-11-30", "pot"),
        ("made=2025", "mug"),
        ("sold<2024-06", "tea"),
        ("sold>=2024-06-01", "mug jam tin"),
        ("shown>2024", "tea tin"),
        ("cost/kg>3", "jam tin"),
        ("size<l>=4", "jam tin"),
        ("size<l=4", "jam"),
    ],
)
def test_columns(text: str, wanted: str) -> None:
    assert left(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("of_brand=acme", "tea mug"),  # by id
        ("of_brand=Acme|Umbra", "tea mug pot"),  # by label
        ("of_brand!=Acme", "pot jam"),
        ("relation:of_brand = Same", "jam"),
        ("type:brand=Umbra", "pot"),
        ("category=drinks", "tea"),
        ("in_category/part_of=wares", "mug pot"),
        ("in_category/part_of*=wares", "mug pot"),
        ("in_category/part_of*=all", "mug pot jam"),
        ("in_category/part_of*=cups|food", "mug jam"),
        ("sells=corner", "tea jam"),  # a relation that reaches the item
        ("shop=mall", "tin"),
        ("goes_with=mug", "tea"),
        ("^goes_with=mug", "pot"),
        ("goes_with*=pot", "tea mug pot"),
        ("rated=ann", "tea mug"),
        ("of_brand/owned_by/located_in=Sweden", "tea mug"),
        ("of_brand/company/located_in=Sweden|Norway", "tea mug pot"),
        ("of_brand/company/place!=Sweden", "pot"),
        ("of_brand/company=Same", "tea mug pot"),  # a label that several have
        ("of_brand/country=s", "tea mug"),  # a column at the end of a path
        ("goes_with/price>20", "mug"),
        ("goes_with/cost/kg=3", "mug"),
        ("made_in>=2024", "tea mug"),
        ("made_in<2024", "pot"),
    ],
)
def test_paths(text: str, wanted: str) -> None:
    assert left(text) == wanted


def test_the_ids_of_linked_nodes_are_iris_too() -> None:
    """By the recipe's template; a relation by its IRI."""
    recipe = {"links": {"brand": {"template": "https://b.example/{id}.html"}}}
    from dataclasses import replace

    graph = replace(GRAPH, recipe=recipe)
    assert left("of_brand=https://b.example/umbra.html", graph) == "pot"
    with pytest.raises(UnknownName, match="no brand is"):
        left("of_brand=https://b.example/.html", graph)


def test_the_last_part_of_an_iri_is_near_to_it() -> None:
    made = [("tea", "https://b.example/acme"), ("mug", "https://b.example/umbra")]
    graph = Graph.from_frames(edges={("item", "of_brand", "brand"): edges(made)})
    with pytest.raises(UnknownName, match=r"no brand is 'acme'; did you mean 'https://b.example/acme'\? There are"):
        meets(graph, "item", "of_brand=acme")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "brand=x",
            r"'brand' means several things of item: a column \(column:brand\), a node type \(type:brand\)",
        ),
        ("of_brnd=Acme", "no column, relation or node type 'of_brnd' of item; did you mean 'of_brand'"),
        ("of_brand=Acmee", "no brand is 'Acmee'; did you mean 'Acme'"),
        ("of_brand=Acme|Umbrella", "no brand is 'Umbrella'; did you mean 'Umbra'"),
        ("shelf=aa", "no value of 'shelf' is 'aa'; .*there are 'a', 'b', 'b|c'"),
        ("price<cheap", "'price' is a column of numbers, and 'cheap' is none"),
        ("price=nan", "'price' is a column of numbers, and 'nan' is none"),
        ("shelf<3", "'shelf' has categories, such as 'a', 'b' and 1 more, and '<' compares numbers, or dates"),
        ("of_brand>Acme", "'of_brand' has names, such as 'Acme', 'Umbra' and 1 more, and '>' compares numbers"),
        ("blurb>=5", "'blurb' has text, such as 'a tea'"),
        ("made<soon", "'made' has dates, such as '2024-02-29', and 'soon' is none"),
        ("image=1", "'image' is a column of vectors"),
        ("country=s", "no column, .*; it is further away: from item say 'of_brand/country'"),
        ("place=Sweden", "'place' of item; it is further away: from item say 'of_brand/owned_by/place'"),
        ("of_brand/category=all", "no column, relation or node type 'category' of brand"),
        ("price/brand=3", "'price' is a column of item, and a path goes on behind it"),
        ("of_brand*=acme", r"`\*` is for a relation between nodes of one type"),
        ("price", "it has no operator; NAME=VALUE"),
        ("=3", "it has no name"),
        ("price=", "it has no value"),
        ("shelf=a|", "one of its values is empty"),
        ("price<1|2", "`<` takes one number"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(KgrecError, match=message):
        left(text)
    with pytest.raises(KgrecError, match=r"^not "):  # and which option it is of
        run_of().recommend("dan", k=1, not_=text)


# ---------------------------------------------------------------------- lists


def test_lists_show_what_is_allowed_and_as_much_as_there_is() -> None:
    run = run_of()
    table = run.recommend("dan", k=2, where="of_brand=Acme|Umbra")
    assert (table["item"], table["score"], table.notes) == (["tea", table["item"][1]], [3, 1], ())
    assert run.recommend("ann", k=1, where="of_brand=Acme|Umbra")["item"] == ["pot"]
    both = run.recommend("dan", k=2, where=["price<20", "tags=hot"], not_="of_brand/country=p")
    assert set(both["item"]) == {"tea", "mug"}
    # tin has no brand: it is left out of `=` and `!=`, and kept by `not`
    kept = run.recommend("ann", k=5, include_seen=True, not_=["of_brand=acme", "shop=corner"])
    assert set(kept["item"]) == {"pot", "tin"}
    assert kept.notes == ("the filters leave 2 of 5 items, fewer than k = 5",)


def test_a_user_who_has_what_is_left_gets_less_and_is_told() -> None:
    """Of tea and mug ann has both, bob the one, dan none."""
    table = run_of().recommend(["ann", "bob", "dan"], k=2, where="of_brand=acme")
    assert [row["user"] for row in table] == ["bob", "dan", "dan"] and table.users == ["ann", "bob", "dan"]
    assert table.notes == (
        "2 of 3 users get fewer than k = 2 items: the filters leave 2, and what a user has is left out",
    )
    nobody = run_of().recommend("ann", k=1, where="of_brand=acme")
    assert len(nobody) == 0 and nobody.users == ["ann"] and len(nobody.notes) == 1


def test_filtered_lists_are_the_whole_lists_less_what_is_filtered_out() -> None:
    """Of every model that ranks: its order among the items that are left, for known and new users, is as without."""
    for name in models.working():
        kind = models.find(name)
        if kind.task != "ranking":
            continue
        run = run_of(name)
        allowed = {"tea", "mug", "pot"}
        whole = run.recommend(USERS, k=5)
        table = run.recommend(USERS, k=3, where="of_brand=Acme|Umbra")
        for user in USERS:
            wanted = {row["item"]: row["score"] for row in whole if row["user"] == user and row["item"] in allowed}
            found = {row["item"]: row["score"] for row in table if row["user"] == user}
            assert found == pytest.approx(wanted, abs=1e-5), name
            assert list(found.values()) == sorted(found.values(), reverse=True), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"where": ["price<4", "of_brand=acme"]},
            "where 'of_brand=acme' leaves out all 1 items that",
        ),
        (
            {"where": "of_brand/owned_by=big", "not_": "of_brand=acme"},
            "not 'of_brand=acme' leaves out all 2 items",
        ),
        (
            {"where": "price>100"},
            "where 'price>100' leaves out all 5 items; remove it, or ask for less$",
        ),
        ({"where": "in_category=all"}, r"to count what is below too, say in_category/part_of\*=all$"),
        ({"where": 7}, "where is 7; a condition such as 'brand=Acme', or a list of these is wanted"),
        ({"not_": [7]}, r"not_ is \[7\]; a condition"),
    ],
)
def test_filters_that_leave_nothing_say_which(options: dict, message: str) -> None:
    with pytest.raises(KgrecError, match=message):
        run_of().recommend("dan", k=1, **options)


def test_a_filter_is_made_once() -> None:
    run = run_of()
    run.recommend("dan", k=1, where="price<20")
    (first,) = run.kept["allowed items"].values()
    run.recommend("bob", k=1, where=["price<20"])
    assert list(run.kept["allowed items"].values()) == [first]


def test_runs_in_folders_and_the_command_line(tmp_path, capsys) -> None:
    from kgrec.cli import app

    train("popularity", GRAPH, split="last_n:1", out=tmp_path / "run")
    train("popularity", GRAPH, split="last_n:1", out=tmp_path / "lean", lean=True)
    assert Run.load(tmp_path / "run").recommend("dan", k=2, where="tags=hot")["item"][0] == "tea"
    with pytest.raises(KgrecError, match="was trained with --lean"):
        Run.load(tmp_path / "lean").recommend("dan", k=2, where="tags=hot")
    app(
        [
            "recommend",
            str(tmp_path / "run"),
            "--user",
            "dan",
            "--k",
            "2",
            "--where",
            "tags=hot",
            "--not",
            "price<5",
            "--json",
        ],
        standalone_mode=False,
    )
    out = capsys.readouterr()
    assert [one["item"] for one in json.loads(out.out)[0]["items"]] == ["mug"]
    assert "the filters leave 1 of 5 items, fewer than k = 2" in out.err
