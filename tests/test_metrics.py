"""Metrics against sums on paper, and against PyG's."""

from math import log, log2, sqrt

import pytest
import torch
import torchmetrics.functional.classification as theirs_of_clicks
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
from kgrec.evaluation.metrics import (
    NAMES,
    Metric,
    Ranking,
    auc,
    coverage,
    ece,
    gauc,
    gini,
    higher_is_better,
    logloss,
    mae,
    parse,
    rmse,
)

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


def of(*probabilities: float) -> torch.Tensor:
    """The scores whose sigmoid these are."""
    return torch.tensor(probabilities, dtype=torch.double).logit()


# Ann's click is above one of two others and ties with the second; Bob's two are above his other; Cem has no other
CLICK_SCORE = of(0.6, 0.2, 0.6, 0.9, 0.8, 0.3, 0.7)
CLICK_LABEL = torch.tensor([1.0, 0, 0, 1, 1, 0, 1])
CLICK_USER = torch.tensor([0, 0, 0, 1, 1, 1, 2])


def test_auc_counts_pairs_and_half_of_ties() -> None:
    # .6 beats .2 .3 and ties with .6; .9, .8 and .7 beat all three
    assert auc(CLICK_SCORE, CLICK_LABEL).item() == (2.5 + 3 + 3 + 3) / (4 * 3)
    assert auc(torch.zeros(4), torch.tensor([1, 0, 0, 1])).item() == 0.5
    assert auc(torch.tensor([2.0, 1.0]), torch.tensor([0.0, 1.0])).item() == 0
    assert auc(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 1.0])).isnan()


def test_gauc_is_the_mean_over_users_with_both_classes_by_their_edges() -> None:
    own = auc(CLICK_SCORE, CLICK_LABEL, CLICK_USER)
    assert own[:2].tolist() == [1.5 / 2, 2 / 2]
    assert own[2].isnan()
    assert gauc(CLICK_SCORE, CLICK_LABEL, CLICK_USER).item() == (3 * 0.75 + 3 * 1) / 6
    more = torch.cat([CLICK_SCORE, of(0.1)]), torch.cat([CLICK_LABEL, torch.zeros(1)])
    assert gauc(*more, torch.cat([CLICK_USER, torch.tensor([0])])).item() == (4 * 2.5 / 3 + 3 * 1) / 7
    assert gauc(CLICK_SCORE, torch.ones(7), CLICK_USER).isnan()


def test_logloss_is_the_mean_log_probability_of_what_happened() -> None:
    loss = [-log(p) for p in (0.6, 1 - 0.2, 1 - 0.6, 0.9, 0.8, 1 - 0.3, 0.7)]
    assert logloss(CLICK_SCORE, CLICK_LABEL).item() == pytest.approx(sum(loss) / 7)
    own = logloss(CLICK_SCORE, CLICK_LABEL, CLICK_USER)
    assert own.tolist() == pytest.approx([sum(loss[:3]) / 3, sum(loss[3:6]) / 3, loss[6]])
    assert logloss(torch.tensor([-800.0, 800.0]), torch.tensor([1.0, 1.0])).item() == pytest.approx(800 / 2)


def test_ece_is_the_gap_in_each_bin_by_its_edges() -> None:
    # bins of a fifteenth: .61 and .65 are in the tenth, .31 in the fifth, .01 in the first
    score, label = of(0.61, 0.65, 0.31, 0.01), torch.tensor([1.0, 0, 1, 0])
    assert ece(score, label).item() == pytest.approx((abs(0.61 + 0.65 - 1) + abs(0.31 - 1) + abs(0.01)) / 4)
    assert ece(torch.tensor([-1000.0, 1000.0]), torch.tensor([0.0, 1.0])).item() == 0


def test_torchmetrics_agrees_on_clicks() -> None:
    generator = torch.Generator().manual_seed(0)
    score = (torch.randn(500, generator=generator, dtype=torch.double) * 10).round() / 10  # many ties
    label = (torch.rand(500, generator=generator) < score.sigmoid()).long()
    probability = score.sigmoid()
    assert auc(score, label).item() == pytest.approx(theirs_of_clicks.binary_auroc(probability, label).item(), rel=1e-6)
    theirs = theirs_of_clicks.binary_calibration_error(probability, label, n_bins=15)
    assert ece(score, label).item() == pytest.approx(theirs.item(), rel=1e-5)
    entropy = torch.nn.functional.binary_cross_entropy(probability, label.double())
    assert logloss(score, label).item() == pytest.approx(entropy.item())


def test_coverage_is_the_share_of_the_catalog() -> None:
    assert coverage(torch.tensor([True, False, True, False, False])) == 2 / 5


def test_gini_is_how_unevenly_items_are_recommended() -> None:
    """Shares 0, 1/6, 2/6 and 3/6 of four items: (-3 * 0 - 1 * 1/6 + 1 * 2/6 + 3 * 3/6) / 3."""
    assert gini(torch.tensor([3, 0, 2, 1])) == pytest.approx((-3 * 0 - 1 / 6 + 2 / 6 + 3 * 3 / 6) / 3)
    assert gini(torch.tensor([2, 2, 2, 2])) == 0 and gini(torch.tensor([0, 7, 0, 0])) == 1


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


@pytest.mark.parametrize("name", ["recall@10", "ndcg_kgat@20", "coverage@1", "rmse", "mae", "auc", "ece"])
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
        ("auc@10", "auc takes no cut-off; write auc"),
    ],
)
def test_a_bad_cut_off_is_refused(name: str, message: str) -> None:
    with pytest.raises(KgrecError, match=message):
        parse(name)


def test_which_way_is_better() -> None:
    better_higher = ["recall@5", "coverage@5", "auc", "gauc"]
    better_lower = ["popularity@5", "gini@5", "rmse", "mae", "logloss", "ece"]
    assert [name for name in [*better_higher, *better_lower] if higher_is_better(name)] == better_higher
