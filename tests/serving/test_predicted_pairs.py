"""Predictions of users who are known by their ids, and of those who are new by what they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import scoring
from kgrec.run import Run
from kgrec.serving.list_options import ListOptions
from kgrec.serving.list_tables import Recommendations
from kgrec.serving.service import Service
from kgrec.serving.wanted import Wanted

HISTORY = ["i1", "i4", "i9"]


@pytest.fixture(scope="module")
def service_of(planted: Graph) -> Callable[..., Service]:
    def of(name: str, **config: Any) -> Service:
        torch.manual_seed(7)
        model = models.build(name, planted, config)
        with scoring(model):
            model.refresh()
        return Service(Run(name, model, planted))

    return of


@pytest.mark.parametrize("name", ["mf", "kgat", "transe", "ease", "sasrec"])
def test_a_new_users_predictions_are_the_scores_of_the_list(name: str, service_of: Callable[..., Service]) -> None:
    """Also where a known user's history takes the place of what the run knows, and beside known users."""
    service = service_of(name)
    new = Wanted("u3", history=HISTORY, options=ListOptions(k=4))
    (listed,) = service.recommend([new])
    assert not isinstance(listed, KgrecError)
    pairs = [*((new, item) for item in listed.items[:2]), ("u3", "i2"), *((new, item) for item in listed.items[2:])]
    found = service.predict(pairs)
    assert [*found[:2], *found[3:]] == pytest.approx(listed.scores, abs=2e-4 if name == "transe" else 1e-5)
    assert found[2] == pytest.approx(service.predict([("u3", "i2")])[0])


def test_each_pair_fails_alone(service_of: Callable[..., Service]) -> None:
    gone, good, weighed = (
        Wanted(history=["gone"]),
        Wanted(history=HISTORY),
        Wanted(history=[{"item": "i1", "weight": 2}]),
    )
    pairs = [
        (gone, "i1"),
        (good, "i2"),
        (gone, "i2"),
        (good, "gone"),
        (weighed, "i3"),
        (Wanted("u1"), "i2"),
        (Wanted(), "i2"),
    ]
    service = service_of("mf")
    found = service.predict(pairs)
    assert [isinstance(one, KgrecError) for one in found] == [True, False, True, True, False, False, True]
    assert found[0] is found[2] and str(found[3]).startswith("no item 'gone'")
    assert str(found[6]) == "a pair names no user; an id, or a Wanted with a history or a profile is wanted"
    assert found[1] == pytest.approx(service.predict([(Wanted("new", history=HISTORY), "i2")])[0], abs=1e-5)
    assert found[5] == pytest.approx(service.predict([("u1", "i2")])[0])


def test_a_model_that_uses_no_history_of_a_new_user_goes_by_the_id() -> None:
    rows = [(f"u{n}", f"i{m}", 4.0 + (n + m) % 2) for n in range(3) for m in range(4)]
    rated = pd.DataFrame(rows, columns=["source", "target", "weight"])
    graph = Graph.from_frames(edges={("user", "rated", "item"): rated})
    service = Service(Run("bias", models.build("bias", graph), graph))
    users = ["u1", Wanted("u1", history=["i1", "i2"]), Wanted("zoe", history=["i1", "i2"])]
    known, grown, unknown = service.predict([(user, "i2") for user in users])
    assert known == grown and isinstance(unknown, UnknownName)


def test_new_users_have_ratings_and_probabilities() -> None:
    """On the scale of the ratings, and the probability that the list's logit is."""
    rows = [(f"u{n}", f"i{m}", 4.0 + (n + m) % 2, float((n + m) % 2)) for n in range(6) for m in range(6)]
    rated = pd.DataFrame(rows, columns=["source", "target", "weight", "click"])
    graph = Graph.from_frames(edges={("user", "rated", "item"): rated}, features={"rated": {"click": "numeric"}})
    steps = [{"item": "i1", "weight": 5.0}, {"item": "i2", "weight": 5.0}]
    service = Service(Run("mf", models.build("mf", graph, {"dim": 2, "task": "rating"}), graph))
    (found,) = service.predict([(Wanted("new", history=steps), "i3")])
    assert service.predicted == "rating" and isinstance(found, float) and 4 <= found <= 5.5
    service = Service(Run("mf", models.build("mf", graph, {"dim": 2, "task": "ctr"}), graph))
    new = Wanted(history=["i1", "i2"], options=ListOptions(k=1, rules={"pinned": ["i3"]}))
    (found,) = service.predict([(new, "i3")])
    (listed,) = service.recommend([new])
    assert service.predicted == "probability" and isinstance(listed, Recommendations) and listed.items == ["i3"]
    assert found == pytest.approx(torch.tensor(listed.scores).sigmoid().item())
