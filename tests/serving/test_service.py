"""A service: its answers are those of `Run.recommend`, in batches of any requests and from many threads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import scoring
from kgrec.run import Run
from kgrec.serving.list_options import ListOptions
from kgrec.serving.recommendation import Recommendations, by_user
from kgrec.serving.service import Service
from kgrec.serving.wanted import Wanted

RANKING = [name for name in models.names() if models.find(name).task != "link" or name == "transe"]


@pytest.fixture(scope="module")
def run_of(planted: Graph) -> Callable[[str], Run]:
    """A run of each model on the planted graph, by its name, built once, with random vectors."""
    runs: dict[str, Run] = {}

    def of(name: str) -> Run:
        if name not in runs:
            runs[name] = built(name, planted)
        return runs[name]

    return of


def built(name: str, graph: Graph) -> Run:
    torch.manual_seed(7)
    model = models.build(name, graph)
    with scoring(model):
        model.refresh()
    return Run(name, model, graph)


def asked_of(run: Run, one: Wanted) -> Recommendations | KgrecError:
    """What Run.recommend says to a request."""
    options = {field.name: getattr(one.options, field.name) for field in dataclasses.fields(one.options)}
    new: dict[str, Any] = {}
    if one.history is not None:
        plain = all(isinstance(step, str) for step in one.history)
        new["history"] = list(one.history) if plain else pd.DataFrame([dict(step) for step in one.history])
    try:
        table = run.recommend([one.name], **new, **options)
    except KgrecError as error:
        return error
    return dataclasses.replace(by_user(table)[0], notes=table.notes)


def said(answers: Sequence[Recommendations | KgrecError]) -> list[Any]:
    """Answers in a form that can be held against others: errors by their type and sentence."""
    return [(type(one), str(one)) if isinstance(one, KgrecError) else one.to_json() for one in answers]


MIXED = [
    Wanted("u3"),
    Wanted("nobody"),
    Wanted(history=["i1", "i2", "i9"]),
    Wanted("u3", options=ListOptions(k=3, include_seen=True)),
    Wanted("u4", history=[{"item": "i4", "time": 9}, {"item": "i5", "time": 3}], options=ListOptions(k=3)),
    Wanted(history=["i1", "gone"]),
    Wanted("u5", options=ListOptions(k=4, where="has_genre=g2")),
    Wanted("u5", options=ListOptions(k=4, where="has_genre=g77")),
    Wanted(history=[]),
    Wanted("u6", options=ListOptions(k=1000)),
    Wanted("u7", options=ListOptions(k=5, rules={"at_most": {"has_genre": 1}, "blocked": ["i2"]})),
    Wanted("u3", options=ListOptions(why=True)),
    Wanted(history=["i1", "gone"], options=ListOptions(skip_unknown=True)),
    Wanted("u3"),
]


@pytest.mark.parametrize("name", ["mf", "ease", "sasrec", "kgat"])
def test_a_batch_of_any_requests_is_answered_as_each_alone(name: str, run_of: Callable[[str], Run]) -> None:
    service, run = Service(run_of(name)), run_of(name)
    together = said(service.recommend(MIXED))
    alone = said([service.recommend([one])[0] for one in MIXED])
    by_run = said([asked_of(run, one) for one in MIXED])
    for one, other in zip(together, alone, strict=True):
        assert items(one) == items(other)
    for one, other in zip(alone, by_run, strict=True):
        assert items(one) == items(other)


def items(answer: Any) -> Any:
    return [row["item"] for row in answer["items"]] if isinstance(answer, dict) else answer
