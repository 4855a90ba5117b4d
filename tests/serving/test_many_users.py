"""Lists of all users: compiled code and threads give what one user after the other gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np
import pandas as pd
import pytest
import torch

import kgrec
from kgrec.errors import KgrecError
from kgrec.evaluation import ranking
from kgrec.evaluation.evaluation import evaluate
from kgrec.evaluation.ranking import Ranker
from kgrec.evaluation.top_items import TopItems
from kgrec.graph import Graph
from kgrec.in_threads import in_threads
from kgrec.run import Run
from kgrec.serving import ranked_lists
from kgrec.splits import split


def test_best_items_by_parts_on_paper() -> None:
    scores = np.array([[1.0, 3.0, 3.0, 2.0], [5.0, 4.0, 0.0, 4.0]], np.float32)
    of_user, of_item = np.array([1, -1]), np.array([10, 20, 30, 40])
    # user 0 has not item 3; user 1 has not item 0. Ties go by the product: 20 before 30, but -40 before -20
    top = TopItems(3, of_user, np.array([0, 1]), np.array([3, 0]), 4)
    assert top.add(scores[:, :3], 0, of_item[:3])
    assert top.add(scores[:, 3:], 3, of_item[3:])
    assert top.column.tolist() == [[1, 2, 0], [3, 1, 2]]
    assert top.score.tolist() == [[3.0, 3.0, 1.0], [4.0, 4.0, 0.0]]
    short = TopItems(3, of_user[:1], np.array([0, 0]), np.array([1, 2]), 3)
    assert short.add(scores[:1, :3], 0, of_item[:3])
    assert short.column.tolist() == [[0, -1, -1]] and short.score[0, 1] == -np.inf
    for wrong in (np.nan, np.inf, -np.inf):
        assert not TopItems(1, of_user[:1], of_user[:0], of_user[:0], 3).add(
            np.array([[9.0, 0.0, wrong]], np.float32), 0, of_item[:3]
        )


@pytest.fixture(scope="module")
def rated() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame({"source": rng.integers(0, 700, 6000), "target": rng.integers(0, 90, 6000)}).astype(str)


@pytest.fixture(params=["mf", "ease", "popularity", "neumf"])
def run(request: pytest.FixtureRequest, rated: pd.DataFrame) -> Run:
    graph = kgrec.Graph.from_frames(edges={("user", "rated", "item"): rated})
    model = kgrec.models.build(request.param, graph).eval()
    if request.param == "mf":
        with torch.no_grad():
            model.get_parameter("item.weight")[20:40] = model.get_parameter("item.weight")[5]  # twenty ties
    return Run(request.param, model, graph)


@pytest.fixture
def compiled_too(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ranking, "LEAST_COMPILED", 1)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_compiled_lists_in_threads_are_those_of_sorting(
    run: Run, compiled_too: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(3)
    monkeypatch.setattr(ranked_lists, "LEAST_CHUNK", 50)
    monkeypatch.setattr(ranking, "CELLS_IN_CACHE", 1 << 11)
    quick = {seen: run.recommend("all", 12, include_seen=seen).arrow for seen in (False, True)}
    monkeypatch.setattr(Ranker, "_is_compiled", lambda self, users: False)
    monkeypatch.setattr(ranking, "CELLS_IN_CACHE", 1 << 17)  # all items at once; by few columns a BLAS adds otherwise
    torch.set_num_threads(1)
    for seen, table in quick.items():
        assert table.equals(run.recommend("all", 12, include_seen=seen).arrow)


@pytest.mark.parametrize("name", ["mf", "ease"])
def test_metrics_of_warm_and_cold_items_are_those_of_sorting(
    name: str, planted: Graph, compiled_too: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = split(planted, "ratio:0.3,seed=2")
    train = parts.train.where(parts.train.tail != parts.test.tail[0])  # one item at least is cold
    model = kgrec.models.build(name, train).eval()
    monkeypatch.setattr(ranking, "CELLS_IN_CACHE", 500)

    def measured() -> tuple[dict[str, float], ...]:
        found = evaluate(model, train, parts.test, metrics=["recall@5", "ndcg@5", "map@5"])
        return found.metrics, found.warm, found.cold

    quick = measured()
    monkeypatch.setattr(Ranker, "_is_compiled", lambda self, users: False)
    assert quick == measured() and all(quick)


def test_scores_that_are_not_finite_are_refused(rated: pd.DataFrame, compiled_too: None) -> None:
    graph = kgrec.Graph.from_frames(edges={("user", "rated", "item"): rated})
    run = Run("mf", kgrec.models.build("mf", graph).eval(), graph)
    with torch.no_grad():
        run.model.get_parameter("item.weight")[3] = torch.nan
    with pytest.raises(KgrecError, match="scores of MF are not finite"):
        run.recommend("all", 2)


def test_parts_come_in_order_and_few_at_once() -> None:
    gate, begun = threading.Event(), []

    def work(part: int) -> int:
        begun.append(part)
        if part == 0:
            gate.wait(10)
        return part * part

    made = in_threads(work, range(9), 2)
    threading.Timer(0.05, gate.set).start()
    assert next(made) == 0 and len(begun) <= 4
    assert list(made) == [one * one for one in range(1, 9)]


def test_what_this_thread_knows_the_others_know_too() -> None:
    known: ContextVar[int] = ContextVar("known", default=0)
    token = known.set(7)
    try:
        assert list(in_threads(lambda part: part * known.get(), range(5), 2)) == [0, 7, 14, 21, 28]
    finally:
        known.reset(token)


def test_an_error_in_a_thread_is_raised_and_threads_end() -> None:
    before, threads = torch.get_num_threads(), threading.active_count()

    def work(part: int) -> int:
        if part == 2:
            raise KgrecError("no such part")
        return part

    made = in_threads(work, range(100), 2)
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(KgrecError, match="no such part"):
        next(made)
    assert (torch.get_num_threads(), threading.active_count()) == (before, threads)
