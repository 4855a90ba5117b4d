"""Runs compared, on run folders written by hand: differences, intervals and tests as they come out on paper."""

import json
from math import log, sqrt

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from kgrec.errors import KgrecError
from kgrec.studies.comparison import compare

USERS = ["ann", "bob", "cem", "dan", "eve"]


def folder(
    path, values, *, users=USERS, test=None, edges=None, protocol="last_n:1; full ranking", graph="abc", **other
):
    """A run folder. values: of users, by metric; test: the run's metrics, else the means; edges: its predictions."""
    path.mkdir()
    test = test or {metric: float(np.mean(column)) for metric, column in values.items()}
    (path / "config.json").write_text(json.dumps({"format": 1, "model": "mf", "config": {}, "graph": graph, **other}))
    (path / "metrics.json").write_text(json.dumps({"model": "mf", "protocol": protocol, "test": test}))
    pd.DataFrame({"user": users, **values}).to_parquet(path / "per_user.parquet")
    if edges is not None:
        columns = {"truth": np.float32, "prediction": np.float32}
        edges.astype(columns).to_parquet(path / "predictions.parquet")
    return path


def only(comparison):
    (difference,) = comparison.differences
    return difference


def test_a_copy_differs_by_nothing(tmp_path):
    values = {"ndcg@10": [0.1, 0.5, 0.3, 0.9, 0.2], "recall@10": [0, 1, 0, 1, 1]}
    result = compare([folder(tmp_path / "a", values), folder(tmp_path / "b", values)])
    assert result.test[str(tmp_path / "b")] == {"ndcg@10": pytest.approx(0.4), "recall@10": 0.6}
    for one in result.differences:
        assert (one.difference, one.interval, one.p) == (0.0, (0.0, 0.0), 1.0)
    assert result.num_users == 5 and result.notes == []


def test_the_interval_is_the_percentiles_of_means_of_drawn_users(tmp_path):
    # a mean of two drawn differences of 0 and 1 is 0 in a quarter of the draws, 1/2 in a half, 1 in a quarter
    one = folder(tmp_path / "one", {"ndcg@10": [0.5, 0.0]}, users=["ann", "bob"])
    two = folder(tmp_path / "two", {"ndcg@10": [1.0, 0.5]}, users=["bob", "ann"])
    assert only(compare([one, two], confidence=0.95)).interval == (0, 1)
    assert only(compare([one, two], confidence=0.4)).interval == (0.5, 0.5)
    assert only(compare([one, two])).difference == 0.5


def test_draws_depend_on_the_seed_and_not_on_how_many_are_held_at_once(tmp_path):
    rng = np.random.default_rng(0)
    users = [f"u{number}" for number in range(30)]
    runs = [folder(tmp_path / name, {"ndcg@10": rng.random(30)}, users=users) for name in "ab"]
    whole, parts, other = compare(runs), compare(runs, cells=100), compare(runs, seed=1)
    assert only(whole).interval == pytest.approx(only(parts).interval, abs=1e-12)
    assert only(whole).interval != only(other).interval and only(whole).p == only(other).p


def test_the_test_is_wilcoxons_and_users_are_paired_by_id(tmp_path):
    # five differences of one sign: of the 2^5 patterns of signs, two are as far out
    base = folder(tmp_path / "a", {"ndcg@10": [0.1, 0.2, 0.3, 0.4, 0.5]})
    better = folder(tmp_path / "b", {"ndcg@10": [1.0, 0.8, 0.6, 0.4, 0.2]}, users=USERS[::-1])
    assert only(compare([base, better])).p == 2 / 32
    assert only(compare([base, better])).difference == pytest.approx(0.3)


def test_zeros_are_ranked_by_pratt_and_equal_differences_tie(tmp_path):
    rng = np.random.default_rng(3)
    users = [f"u{number}" for number in range(40)]
    one, two = rng.integers(0, 4, 40) / 3, rng.integers(0, 4, 40) / 3
    runs = [folder(tmp_path / name, {"recall@10": v}, users=users) for name, v in (("a", one), ("b", two))]
    thirds = np.rint(3 * (two - one))
    assert (thirds == 0).any()
    assert only(compare(runs)).p == pytest.approx(wilcoxon(thirds, zero_method="pratt").pvalue)


def test_holm_is_over_the_runs_of_one_metric(tmp_path):
    base = folder(tmp_path / "a", {"ndcg@10": [0.1] * 5, "mrr@10": [0.1] * 5})
    rising = folder(tmp_path / "b", {"ndcg@10": [0.2, 0.3, 0.4, 0.5, 0.6], "mrr@10": [0.1] * 5})
    same = folder(tmp_path / "c", {"ndcg@10": [0.1] * 5, "mrr@10": [0.1] * 5})
    found = {(d.metric, d.run): (d.p_alone, d.p) for d in compare([base, rising, same]).differences}
    assert found["ndcg@10", str(rising)] == (2 / 32, 4 / 32) and found["ndcg@10", str(same)] == (1, 1)
    assert found["mrr@10", str(rising)] == (1, 1)


def test_the_reference_is_the_first_a_named_one_or_the_best(tmp_path):
    low, high = (
        folder(tmp_path / name, {"ndcg@10": [value] * 5, "popularity@10": [value] * 5})
        for name, value in (("low", 0.1), ("high", 0.3))
    )
    assert compare([low, high]).reference == str(low)
    assert compare([low, high], reference=high).reference == str(high)
    assert compare([low, high], reference="best").reference == str(high)
    assert compare([low, high], reference="best", metrics=["popularity@10"]).reference == str(low)  # lower is better
    assert [d.difference for d in compare([low, high], reference="best").differences] == pytest.approx([-0.2, -0.2])


def ratings(errors):
    return pd.DataFrame({"user": ["ann", "bob", "bob", "bob"], "item": list("abcd"), "truth": 3.0}).assign(
        prediction=3 + np.array(errors)
    )


def test_errors_are_drawn_with_all_edges_of_a_user(tmp_path):
    # ann's one error is 3, bob's three are 1: drawn twice, ann makes 3 and bob 1; together sqrt(12 / 4) and 6 / 4
    perfect = folder(
        tmp_path / "a", {"rmse": [0.0, 0], "mae": [0.0, 0]}, users=["ann", "bob"], edges=ratings([0, 0, 0, 0])
    )
    off = folder(
        tmp_path / "b",
        {"rmse": [1.0, 3], "mae": [1.0, 3]},
        users=["bob", "ann"],
        test={"rmse": sqrt(3), "mae": 1.5},
        edges=ratings([3, -1, 1, 1]),
    )
    for confidence, rmse, mae in ((0.95, (1, 3), (1, 3)), (0.4, (sqrt(3), sqrt(3)), (1.5, 1.5))):
        result = compare([perfect, off], confidence=confidence)
        found = {d.metric: d.interval for d in result.differences}
        assert found["rmse"] == pytest.approx(rmse) and found["mae"] == pytest.approx(mae)


def test_without_predictions_it_says_which_intervals_are_missing(tmp_path):
    edges, users = ratings([0, 0, 0, 0]), ["ann", "bob"]
    with_them = folder(tmp_path / "a", {"rmse": [0.0, 0]}, users=users, edges=edges)
    without = folder(tmp_path / "b", {"rmse": [3.0, 1]}, users=users, test={"rmse": sqrt(3)})
    result = compare([with_them, without])
    assert only(result).interval is None and only(result).p == pytest.approx(wilcoxon([3, 1]).pvalue)
    assert only(result).difference == pytest.approx(sqrt(3))
    assert result.notes == [f"{without} has no predictions.parquet, so there is no interval for rmse; train it again"]


# ---------------------------------------------------------------------- clicks, against a plain resample


def auc(truth, prediction):
    won = [(p > n) + (p == n) / 2 for p in prediction[truth == 1] for n in prediction[truth == 0]]
    return np.mean(won) if won else np.nan


def gauc(edges):
    own = [(auc(e["truth"], e["prediction"]), len(e)) for _, e in edges.groupby("drawn")]
    both = [(value, weight) for value, weight in own if not np.isnan(value)]
    return sum(v * w for v, w in both) / sum(w for _, w in both) if both else np.nan


def logloss(edges):
    return -np.mean([log(p if t else 1 - p) for t, p in zip(edges["truth"], edges["prediction"])])


def ece(edges):
    gap = (edges["prediction"] - edges["truth"]).groupby(np.ceil(edges["prediction"] * 15)).sum()
    return gap.abs().sum() / len(edges)


FORMULAS = {"auc": lambda e: auc(e["truth"], e["prediction"]), "gauc": gauc, "logloss": logloss, "ece": ece}


def clicks(seed):
    """Edges of five users, the first of whom has one class only; predictions on a grid, so that some tie."""
    rng = np.random.default_rng(0)
    users = np.repeat(USERS, [3, 4, 6, 2, 5])
    truth = np.r_[[1, 1, 1], rng.permutation([0, 1] * 8 + [0])]
    prediction = np.random.default_rng(seed).integers(1, 8, len(users)) / 8
    return pd.DataFrame({"user": users, "item": [f"i{row}" for row in range(len(users))], "truth": truth}).assign(
        prediction=prediction
    )


def of_clicks(path, edges):
    by_user = dict(list(edges.groupby("user")))
    own = {
        "gauc": [auc(by_user[user]["truth"], by_user[user]["prediction"]) for user in USERS],
        "logloss": [logloss(by_user[user]) for user in USERS],
    }
    named = edges.assign(drawn=edges["user"])
    return folder(path, own, test={name: float(formula(named)) for name, formula in FORMULAS.items()}, edges=edges)


def test_metrics_of_clicks_are_those_of_the_edges_of_drawn_users(tmp_path):
    both = [clicks(seed) for seed in (1, 2)]
    result = compare([of_clicks(tmp_path / name, edges) for name, edges in zip("ab", both)], resamples=60, seed=5)
    drawn = np.random.default_rng(5).integers(5, size=(60, 5))
    values = {name: [] for name in FORMULAS}
    for users in drawn:
        again = [
            pd.concat([e[e["user"] == USERS[user]].assign(drawn=place) for place, user in enumerate(users)])
            for e in both
        ]
        for name, formula in FORMULAS.items():
            values[name].append(formula(again[1]) - formula(again[0]))
    for one in result.differences:
        wanted = np.nanquantile(values[one.metric], [0.025, 0.975])
        assert one.interval == pytest.approx(wanted, abs=1e-6), one.metric
        first, second = (FORMULAS[one.metric](edges.assign(drawn=edges["user"])) for edges in both)
        assert one.difference == pytest.approx(second - first)


def test_auc_is_tested_on_the_users_own_and_ece_on_none(tmp_path):
    result = compare([of_clicks(tmp_path / name, clicks(seed)) for name, seed in (("a", 1), ("b", 2))])
    p = {one.metric: one.p for one in result.differences}
    assert p["auc"] == p["gauc"] is not None and p["ece"] is None


def test_what_is_measured_over_all_lists_together_has_a_difference_alone(tmp_path):
    one, two = (
        folder(tmp_path / name, {"ndcg@10": [0.1] * 5}, test={"ndcg@10": 0.1, "coverage@10": covered})
        for name, covered in (("a", 0.25), ("b", 0.75))
    )
    result = compare([one, two], metrics=["coverage@10"])
    assert (only(result).difference, only(result).interval, only(result).p) == (0.5, None, None)
    assert result.notes == ["coverage@10: no interval and no p value, as single users have no value"]


def test_metrics_that_a_run_lacks_are_left_out_and_named(tmp_path):
    one = folder(tmp_path / "a", {"ndcg@10": [0.1] * 5, "mrr@10": [0.1] * 5})
    two = folder(tmp_path / "b", {"ndcg@10": [0.1] * 5})
    result = compare([one, two])
    assert only(result).metric == "ndcg@10" and result.notes == [f"mrr@10 is left out: {two} did not measure it"]


# ---------------------------------------------------------------------- what is refused


GOOD = {"ndcg@10": [0.1, 0.5, 0.3, 0.9, 0.2]}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"protocol": "last_n:2; full ranking"}, "another protocol than .*: 'last_n:2; full ranking', not 'last_n:1"),
        ({"graph": "def"}, r"were trained on different graphs \(hashes def and abc\)"),
        ({"users": [*USERS[:4], "fay"]}, r"it also has 1 user \('fay'\) and does not have 1 user \('eve'\)"),
        ({"users": [*USERS[:4], "ann"]}, "has several rows for 'ann'"),
        ({"test": {"ndcg@10": 0.5}}, "per_user.parquet give ndcg@10 0.400000, but metrics.json says 0.500000"),
        ({"values": {"mrr@5": GOOD["ndcg@10"]}}, r"no metric in common \(they have ndcg@10, mrr@5\)"),
    ],
)  # fmt: skip
def test_runs_that_cannot_be_compared_say_why(tmp_path, other, message):
    values = other.pop("values", GOOD)
    with pytest.raises(KgrecError, match=message):
        compare([folder(tmp_path / "a", GOOD), folder(tmp_path / "b", values, **other)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["ndgc@10"]}, "no metric 'ndgc@10' measured in .*; did you mean 'ndcg@10'"),
        ({"metrics": []}, "--metrics names no metric"),
        ({"reference": "bets"}, "no reference 'bets' among the runs; did you mean 'best'"),
        ({"confidence": 95}, "confidence is 95, but must be between 0 and 1"),
        ({"resamples": 0}, "resamples is 0, but must be 1 or more"),
    ],
)
def test_bad_arguments_say_what_is_wanted(tmp_path, arguments, message):
    runs = [folder(tmp_path / name, GOOD) for name in "ab"]
    with pytest.raises(KgrecError, match=message):
        compare(runs, **arguments)


def test_bad_folders_say_what_is_missing(tmp_path):
    good = folder(tmp_path / "good", GOOD)
    with pytest.raises(KgrecError, match="there is only one run to compare"):
        compare([good])
    with pytest.raises(KgrecError, match="are the same run; name each run once"):
        compare([good, tmp_path / "good/../good"])
    with pytest.raises(KgrecError, match="none is not there; make one with `kgrec train"):
        compare([good, tmp_path / "none"])
    for name, message in (
        ("per_user.parquet", "lacks its file per_user.parquet"),
        ("metrics.json", "lacks its file metrics.json"),
    ):
        bad = folder(tmp_path / f"without {name}", GOOD)
        (bad / name).unlink()
        with pytest.raises(KgrecError, match=message):
            compare([good, bad])
    bad = folder(tmp_path / "old", GOOD)
    (bad / "config.json").write_text('{"model": "mf"}')
    with pytest.raises(KgrecError, match=r"config.json has no 'graph', which a comparison needs"):
        compare([good, bad])


def test_predictions_of_users_who_were_not_measured_are_refused(tmp_path):
    users = ["ann", "bob"]
    good = folder(tmp_path / "a", {"rmse": [0.0, 0]}, users=users, edges=ratings([0, 0, 0, 0]))
    bad = folder(tmp_path / "b", {"rmse": [0.0, 0]}, users=users, edges=ratings([0, 0, 0, 0]).replace("ann", "eve"))
    with pytest.raises(KgrecError, match=r"predictions.parquet has users who are not in per_user.parquet"):
        compare([good, bad])
