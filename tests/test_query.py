"""What a query carries: nothing of it is lost where rows are taken, and models that need it."""

from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from kgrec.evaluation import evaluate
from kgrec.evaluation.ranking import Scorer
from kgrec.graph import NO_TIME, Graph
from kgrec.graph.features import Feature
from kgrec.graph.schema import FeatureSchema
from kgrec.model import Query, Recommender

WEEK = 7 * 86_400
COLUMNS = ["source", "target", "time"]


def profile(kinds: tuple[str, ...] = ("young", "old")) -> dict[str, Feature]:
    """Four users: one value of each kind of column is missing."""
    return {
        "income": Feature.from_arrow(pa.array([1.0, None, 3.0, 4.0]), "numeric"),
        "age": Feature.from_arrow(pa.array(["old", "young", None, "old"]), FeatureSchema("categorical", kinds)),
        "likes": Feature.from_arrow(pa.array([["a", "b"], [], ["b"], ["a"]]), "multi"),
        "about": Feature.from_arrow(pa.array(["one", "two", "", "four"]), "text"),
        "face": Feature.from_arrow(pa.array([[1.0, 2.0], None, [5.0, 6.0], [7.0, 8.0]]), "vector"),
    }


def whole() -> Query:
    """A query in which every field is set."""
    grid = torch.arange(12).view(4, 3)
    return Query(
        user=torch.arange(4) + 50,
        history=grid,
        time=grid + 100,
        weight=grid / 2,
        behaviour=grid % 2,
        now=torch.arange(4) + 1000,
        profile=profile(),
        context={"device": torch.arange(4) % 3, "weather": torch.arange(8.0).view(4, 2)},
    )


def shown(value: Any) -> Any:
    """What is seen of a field, a list of its rows; of several things by name, a dict of these."""
    if isinstance(value, Tensor):
        return value.tolist()
    return value.to_arrow().to_pylist() if isinstance(value, Feature) else {n: shown(v) for n, v in value.items()}


@pytest.mark.parametrize("index", [[2, 0], [3], [], [1, 1, 3]])
def test_rows_of_a_query_keep_every_field(index: list[int]):
    def taken(rows: Any) -> Any:
        return {name: taken(of) for name, of in rows.items()} if isinstance(rows, dict) else [rows[i] for i in index]

    query = whole()
    part = query.rows(torch.tensor(index, dtype=torch.long))
    assert len(part) == len(index)
    for field in fields(Query):
        value = getattr(query, field.name)
        assert value is not None and len(value), f"{field.name} is not set in this test"
        assert shown(getattr(part, field.name)) == taken(shown(value)), field.name


def test_rows_of_a_query_without_more_than_users_and_histories():
    part = Query(torch.arange(4), torch.arange(8).view(4, 2)).rows(torch.tensor([3, 1]))
    assert part.user.tolist() == [3, 1] and part.history.tolist() == [[6, 7], [2, 3]]
    assert all(getattr(part, field.name) in (None, {}) for field in fields(Query)[2:])


# ---------------------------------------------------------------- now


@dataclass(frozen=True)
class NoSettings:
    """Of models that have none."""


class InSeason(Recommender):
    """An item scores the higher, the nearer to now it was last bought by anybody; without a now nothing does."""

    Config = NoSettings
    serves_everybody = True

    def __init__(self, graph: Graph, config: NoSettings) -> None:
        super().__init__(graph, config)
        known = graph.only(graph.target)
        last = torch.full((graph.num_nodes + 1,), NO_TIME).scatter_reduce(0, known.tail, known.time, "amax")
        self.register_buffer("last", last)

    def score(self, query: Query, items: Tensor) -> Tensor:
        if query.now is None:
            return torch.zeros(len(query), items.shape[-1])
        return -(query.now[:, None] - self.last[items]).abs().float() / WEEK


def bought(rows: list[tuple[str, str, int | None]]) -> Graph:
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"time": "Int64"})
    nodes = {
        "user": pd.DataFrame({"id": ["ann", "bob", "cyd", "dan", "eve"]}),
        "item": pd.DataFrame({"id": ["skates", "seeds", "fan", "rake"]}),
    }
    return Graph.from_frames(edges={("user", "bought", "item"): frame}, nodes=nodes)


SOLD = [("eve", "skates", 1), ("eve", "seeds", 14), ("eve", "fan", 27), ("eve", "rake", 40)]  # weeks of the year


def weeks(rows: list[tuple[str, str, int | None]]) -> list[tuple[str, str, int | None]]:
    return [(user, item, None if week is None else week * WEEK) for user, item, week in rows]


def test_a_list_is_asked_for_when_the_first_held_out_edge_is_or_models_are_not_told():
    """Ann's and Bob's items are the nearest to their weeks. Of Cyd's two edges the first, in week 13, says when: seeds
    (14) come first and fan (27) second. Dan's has no time, so the latest item is nearest to the start of all times, and
    rake is fourth."""
    known = bought(weeks(SOLD))
    rows = [("ann", "rake", 39), ("bob", "skates", 3), ("cyd", "fan", 26), ("cyd", "seeds", 13)]
    model = InSeason(known, NoSettings())
    found = evaluate(model, known, bought(weeks(rows)), metrics=["mrr@4", "recall@1"], now="edge").per_user.to_pylist()
    assert found == [
        {"user": "ann", "mrr@4": 1.0, "recall@1": 1.0},
        {"user": "bob", "mrr@4": 1.0, "recall@1": 1.0},
        {"user": "cyd", "mrr@4": 1.0, "recall@1": 0.5},
    ]
    rows = [("ann", "rake", 26), ("ann", "fan", None), ("dan", "skates", None)]
    found = evaluate(model, known, bought(weeks(rows)), metrics=["recall@1"], now="edge").per_user.to_pylist()
    assert found[0] == {"user": "ann", "recall@1": 0.5}  # the edge without a time does not say when; fan is first
    seen: list[Query] = []
    model.score = lambda query, items: seen.append(query) or torch.zeros(len(query), items.shape[-1])
    evaluate(model, known, bought(weeks(rows)), metrics=["recall@1"], now="edge")
    evaluate(model, known, bought(weeks(rows)), metrics=["recall@1"])
    query, not_told = seen
    assert not_told.now is None
    assert query.user.tolist() == known.flat("user", ["ann", "dan"]).tolist()
    assert query.now.tolist() == [26 * WEEK, NO_TIME]


@pytest.mark.parametrize("reads_history", [True, False])
def test_a_scorer_asks_now_where_it_is_said(reads_history: bool):
    known = bought(weeks(SOLD))
    model = InSeason(known, NoSettings())
    model.reads_history = reads_history
    scorer, user = Scorer(model, known), known.flat("user", ["eve", "ann"])
    assert scorer.query(user).now is None
    asked = scorer.query(user, torch.tensor([5, 6]))
    assert asked.now.tolist() == [5, 6] and asked.user.tolist() == user.tolist()


# ---------------------------------------------------------------- profile and context


class ByAge(Recommender):
    """A new user is shown what users of the same age bought, and on a phone the short items first."""

    Config = NoSettings

    def __init__(self, graph: Graph, config: NoSettings) -> None:
        super().__init__(graph, config)
        ages = graph.features["user"]["age"]
        known, items = graph.only(graph.target), graph.range("item")
        self.ages = graph.schema.nodes["user"].features["age"]
        count = torch.zeros(len(self.ages.categories), len(items))
        age = ages.values[known.head - graph.range("user").start]
        self.register_buffer("count", count.index_put((age, known.tail - items.start), torch.tensor(1.0), True))
        self.start = items.start

    def score(self, query: Query, items: Tensor) -> Tensor:
        local = items - self.start
        age = query.profile["age"]
        assert age.schema.categories == self.ages.categories
        scores = self.count[age.values] * ~age.missing[:, None]
        return scores[:, local] + query.context["is_phone"][:, None] * (local == 0)


def test_a_new_user_is_scored_by_a_profile_and_where_it_asks_from():
    rows = pd.DataFrame([("ann", "x", 1), ("bob", "y", 2), ("cyd", "y", 3)], columns=COLUMNS)
    ages = pa.table({"id": ["ann", "bob", "cyd"], "age": ["old", "young", "young"]}).to_pandas()
    nodes = {"user": ages.astype({"age": "category"}), "item": pd.DataFrame({"id": ["x", "y", "z"]})}
    graph = Graph.from_frames(edges={("user", "bought", "item"): rows}, nodes=nodes)
    model, schema = ByAge(graph, NoSettings()), graph.schema.nodes["user"].features["age"]
    new = torch.full((4,), graph.pad)
    query = Query(
        new,
        new.new_empty(4, 0),
        profile={"age": Feature.from_arrow(pa.array(["young", "old", None, "young"]), schema)},
        context={"is_phone": torch.tensor([0.0, 0.0, 0.0, 5.0])},
    )
    scores = model.score(query, graph.nodes("item"))
    assert scores.tolist() == [[0, 2, 0], [1, 0, 0], [0, 0, 0], [5, 2, 0]]
    index = torch.tensor([3, 1])
    assert model.score(query.rows(index), graph.nodes("item")).tolist() == scores[index].tolist()
