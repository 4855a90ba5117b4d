"""How fast a Service answers in one process: known users alone, and sixteen at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kgrec import models
from kgrec.graph import Graph
from kgrec.model import scoring
from kgrec.run import Run
from kgrec.serving.recommendation import Recommendations
from kgrec.serving.service import Service
from kgrec.serving.wanted import Wanted

REQUESTS = 2_000  #: of one user each
BATCH = 16  #: users that are asked for at once
EQUAL = 200  #: users whose lists are held against each other


def service_requests(benchmark: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
    """Milliseconds of a request for ten items of one known user, the median and the slowest of a hundred; requests a
    second where sixteen come at once; and the share of users whose lists and scores are the same alone, among fifteen
    others and of Run.recommend. The model is built with random vectors, which take as long as trained ones."""
    torch.manual_seed(0)
    model = models.build(benchmark["model"], graph, benchmark.get("set", {}))
    with scoring(model):
        model.refresh()
    run = Run(benchmark["model"], model, graph)
    service = Service(run)
    service.warm()
    ids = graph.vocabulary[graph.target[0]].id_array.to_pylist()
    drawn = np.random.default_rng(0).integers(0, len(ids), REQUESTS)
    asked = [Wanted(ids[number]) for number in drawn]
    alone = np.array([_seconds(service.recommend, [one]) for one in asked])
    batches = [asked[start : start + BATCH] for start in range(0, REQUESTS, BATCH)]
    together = np.array([_seconds(service.recommend, batch) for batch in batches])
    return {
        "test": {
            "p50_ms": 1000 * float(np.median(alone)),
            "p99_ms": 1000 * float(np.quantile(alone, 0.99)),
            "batched_per_second": REQUESTS / float(together.sum()),
            "same": _same(run, service, asked[:EQUAL]),
        }
    }


def _seconds(ask: Callable[[Sequence[Wanted]], Any], wanted: Sequence[Wanted]) -> float:
    begun = time.perf_counter()
    ask(wanted)
    return time.perf_counter() - begun


def _same(run: Run, service: Service, asked: Sequence[Wanted]) -> float:
    """The share of users who are answered alike, to the last digit of a score, in all three ways."""
    table = run.recommend([one.user for one in asked])
    by_run: dict[str, list[tuple[str, float]]] = {}
    for user, item, score in zip(table["user"], table["item"], table["score"]):
        by_run.setdefault(user, []).append((item, score))
    together = service.recommend(asked)
    equal = 0
    for one, among in zip(asked, together):
        (alone,) = service.recommend([one])
        assert isinstance(alone, Recommendations)
        assert isinstance(among, Recommendations)
        equal += list(zip(alone.items, alone.scores)) == list(zip(among.items, among.scores)) == by_run[one.name]
    return equal / len(asked)
