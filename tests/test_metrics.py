"""Metrics against sums on paper, and against PyG's."""

from math import log2, sqrt

import pytest
import torch
from torch_geometric.metrics import (
    LinkPredAveragePopularity,
    LinkPredCoverage,
    LinkPredHitRatio,
    LinkPredMAP,
    LinkPredMRR,
    LinkPredNDCG,
    LinkPredPrecision,
    LinkPredRecall,
)

from kgrec.errors import KgrecError, UnknownName
from kgrec.metrics import NAMES, Metric, Ranking, coverage, higher_is_better, mae, parse, rmse

# Ann has four relevant items, of which the first and the third are hits; Bob has one, in the last place.
LISTS = Ranking(
    hit=torch.tensor([[True, False, True, False, False], [False, False, False, False, True]]),
    relevant=torch.tensor([4, 1]),
    interactions=torch.tensor([[9.0, 7.0, 5.0, 3.0, 1.0], [6.0, 2.0, torch.nan, torch.nan, torch.nan]]),
)

ON_PAPER = {
    "recall@3": [2 / 4, 0 / 1],
    "recall@5": [2 / 4, 1 / 1],
    "precision@3": [2 / 3, 0 / 3],
    "precision@5": [2 / 5, 1 / 5],
    "hit_rate@1": [1, 0],
    "hit_rate@5": [1, 1],
    "mrr@3": [1 / 1, 0],
    "mrr@5": [1 / 1, 1 / 5],
    "map@3": [(1 / 1 + 2 / 3) / 3, 0],
    "map@5": [(1 / 1 + 2 / 3) / 4, (1 / 5) / 1],
    "ndcg@3": [(1 + 1 / log2(4)) / (1 + 1 / log2(3) + 1 / log2(4)), 0],
    "ndcg@5": [(1 + 1 / log2(4)) / (1 + 1 / log2(3) + 1 / log2(4) + 1 / log2(5)), 1 / log2(6)],
    "ndcg_kgat@3": [(1 + 1 / log2(4)) / (1 + 1 / log2(3)), 0 / 1],
    "ndcg_kgat@5": [(1 + 1 / log2(4)) / (1 + 1 / log2(3)), 1 / log2(6)],
    "popularity@2": [(9 + 7) / 2, (6 + 2) / 2],
    "popularity@5": [(9 + 7 + 5 + 3 + 1) / 5, (6 + 2) / 2],
}


@pytest.mark.parametrize("name", ON_PAPER)
def test_a_list_metric_is_its_sum_on_paper(name: str) -> None:
    assert parse(name).values(LISTS).tolist() == pytest.approx(ON_PAPER[name], rel=1e-12)


def test_the_ideal_list_of_ndcg_kgat_holds_the_hits_among_the_first_hundred() -> None:
    hit = torch.zeros(1, 120, dtype=torch.bool)
    hit[0, [1, 50, 110]] = True
    lists = Ranking(hit, torch.tensor([9]))
    assert parse("ndcg_kgat@20").depth == 100
    assert parse("ndcg_kgat@20").values(lists).item() == pytest.approx((1 / log2(3)) / (1 + 1 / log2(3)))
    wide = 1 / log2(3) + 1 / log2(52) + 1 / log2(112)
    assert parse("ndcg_kgat@120").values(lists).item() == pytest.approx(wide / (1 + 1 / log2(3) + 1 / log2(4)))


def test_where_nothing_is_found_ndcg_kgat_is_zero() -> None:
    lists = Ranking(torch.zeros(1, 5, dtype=torch.bool), torch.tensor([2]))
    assert parse("ndcg_kgat@5").values(lists).tolist() == [0.0]


def test_ratings() -> None:
    error = torch.tensor([1.0, -2.0, 3.0])
    assert rmse(error).item() == pytest.approx(sqrt((1 + 4 + 9) / 3))
    assert mae(error).item() == pytest.approx((1 + 2 + 3) / 3)
    assert rmse(error, torch.tensor([0, 1, 1])).tolist() == pytest.approx([1, sqrt((4 + 9) / 2)])
    assert mae(error, torch.tensor([0, 1, 1])).tolist() == pytest.approx([1, (2 + 3) / 2])


def test_coverage_is_the_share_of_the_catalog() -> None:
    assert coverage(torch.tensor([True, False, True, False, False])) == 2 / 5


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("recall", LinkPredRecall),
        ("precision", LinkPredPrecision),
        ("hit_rate", LinkPredHitRatio),
        ("ndcg", LinkPredNDCG),
        ("mrr", LinkPredMRR),
        ("map", LinkPredMAP),
    ],
)
def test_pyg_agrees(kind: str, theirs: type) -> None:
    item, relevant, hit = _random_lists()
    for k in (1, 5, 10):
        metric = theirs(k)
        metric.update(item, relevant.nonzero().T)
        ours = Metric(kind, k).values(Ranking(hit, relevant.sum(1))).mean().item()
        assert ours == pytest.approx(metric.compute().item(), rel=1e-5)


def test_pyg_agrees_on_popularity_and_coverage() -> None:
    item, relevant, hit = _random_lists()
    count = torch.arange(30.0)
    theirs = LinkPredAveragePopularity(10, count), LinkPredCoverage(10, 30)
    for metric in theirs:
        metric.update(item, relevant.nonzero().T)
    ours = parse("popularity@10").values(Ranking(hit, relevant.sum(1), count[item])).mean().item()
    assert ours == pytest.approx(theirs[0].compute().item(), rel=1e-5)
    recommended = torch.zeros(30, dtype=torch.bool)
    recommended[item] = True
    assert coverage(recommended) == pytest.approx(theirs[1].compute().item(), rel=1e-5)


def _random_lists() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ten of 30 items for each of 40 users, [40, 10], what is relevant, [40, 30], and the hits, [40, 10]."""
    generator = torch.Generator().manual_seed(0)
    item = torch.rand(40, 30, generator=generator).argsort(1)[:, :10]
    relevant = torch.rand(40, 30, generator=generator) < 0.2
    relevant[:, 0] = True
    return item, relevant, relevant.gather(1, item)


@pytest.mark.parametrize("name", ["recall@10", "ndcg_kgat@20", "coverage@1", "rmse", "mae"])
def test_a_name_is_read_and_written_back(name: str) -> None:
    assert parse(name).name == name
    assert parse(name).kind in NAMES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ndgc@10", "no metric 'ndgc'; did you mean 'ndcg'?"),
        ("precison@5", "did you mean 'precision'?"),
    ],
)
def test_an_unknown_metric_is_refused_with_the_near_one(name: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message.replace("?", r"\?")):
        parse(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ndcg", "needs a cut-off, the number of ranks that count: ndcg@10"),
        ("ndcg@", "the cut-off '' is not a whole number from 1"),
        ("ndcg@0", "the cut-off '0' is not a whole number from 1"),
        ("ndcg@ten", "the cut-off 'ten' is not a whole number from 1"),
        ("ndcg@-3", "the cut-off '-3' is not a whole number from 1"),
        ("rmse@10", "rmse takes no cut-off; write rmse"),
    ],
)
def test_a_bad_cut_off_is_refused(name: str, message: str) -> None:
    with pytest.raises(KgrecError, match=message):
        parse(name)


def test_which_way_is_better() -> None:
    assert [name for name in ("recall@5", "coverage@5", "popularity@5", "rmse", "mae") if higher_is_better(name)] == [
        "recall@5",
        "coverage@5",
    ]
