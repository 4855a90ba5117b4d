"""What explanations are like over many users, by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import kgrec
from kgrec import KgrecError, Run, models
from kgrec.cli.evaluate import evaluate
from kgrec.evaluation.explanation_quality import _interval, scaled_averages
from kgrec.model import scoring

BOTH = ["source", "target"]


@pytest.fixture(scope="module")
def run():
    """ann had A at 0, B at 10 and C at 10; D shares the tag t with A and B, and E shares nothing."""
    rated = pd.DataFrame(
        [("ann", "A", 0), ("ann", "B", 10), ("ann", "C", 10), ("bob", "D", 3)], columns=[*BOTH, "time"]
    )
    tagged = pd.DataFrame([("A", "t"), ("B", "t"), ("D", "t"), ("C", "s")], columns=BOTH)
    graph = kgrec.Graph.from_frames(
        nodes={"item": pd.DataFrame({"id": list("ABCDE")})},
        edges={("user", "rated", "item"): rated, ("item", "tagged", "tag"): tagged},
    )
    model = models.build("ease", graph, {"facts": 1.0, "l2": 1.0})
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, 3], model.weight[1, 3], model.weight[2, 4] = 0.1, 0.4, 0.2  # D by B, E by C
    return Run("ease", model.eval(), graph)


def test_the_metrics_are_sums_on_paper(run):
    found = run.measure_explanations(users=2, k=2)
    # ann's list is D, E: D has a path over B, whose recency is (3 - 0) / (5.1 - 0), and t, the more popular tag.
    # bob's list is A, B, both over D and t. D is all that bob had, so nothing is known of its recency.
    assert found["metrics"] == {
        "fidelity@2": pytest.approx((1 / 2 + 2 / 2) / 2),
        "lir@2": pytest.approx(3 / 5.1),
        "sep@2": pytest.approx(1.0),
        "etd@2": pytest.approx(1.0),
        "lid@2": pytest.approx((1 / 1 + 1 / 2) / 2),
        "sed@2": pytest.approx((1 / 1 + 1 / 2) / 2),
    }
    assert found["faithfulness"] == {} and found["num_users"] == 2 and found["by"] == "weight of the past item"


def test_moving_averages_are_scaled():
    assert scaled_averages(np.array([1.0, 2.0, 4.0])).tolist() == pytest.approx([0, 0.3 / 1.11, 1])
    assert all(math.isnan(value) for value in scaled_averages(np.array([5.0, 5.0])))
    assert len(scaled_averages(np.array([]))) == 0


def test_shares_have_intervals():
    found = _interval([1.0] * 9 + [0.0], seed=0)
    assert found.mean == 0.9 and found.pairs == 10 and 0.65 <= found.low < 0.9 < found.high == 1.0
    assert math.isnan(_interval([], seed=0).mean)


def test_faithfulness_is_measured_for_both_ways(planted):
    torch.manual_seed(0)
    config = {"dim": 8, "layer_dims": (8, 8), "relation_dim": 8}
    run = Run("kgat", models.build("kgat", planted, config).eval(), planted)
    with scoring(run.model):
        run.model.refresh()
    found = run.measure_explanations(users=8, k=2, by="attention")
    assert list(found["faithfulness"]) == ["drop", "attention"]
    by_drop, by_attention = (found["faithfulness"][way] for way in ("drop", "attention"))
    assert (
        by_drop["mean"] == 1.0 and by_drop["pairs"] == by_attention["pairs"] > 0
    )  # the best of few is above any other
    assert found == {**run.measure_explanations(users=8, k=2, by="attention"), "seconds": found["seconds"]}


def test_what_cannot_be_measured_is_refused(run, planted):
    with pytest.raises(KgrecError, match="users is 0; a whole number of at least 1 is wanted"):
        run.measure_explanations(users=0, k=2)
    with pytest.raises(KgrecError, match="mf has no graph part"):
        Run("mf", models.build("mf", planted), planted).measure_explanations()
    with pytest.raises(KgrecError, match="no way to choose paths 'best'"):
        run.measure_explanations(by="best", k=2)


def test_evaluate_refuses_what_has_no_effect_on_explanations(tmp_path):
    with pytest.raises(KgrecError, match="so --split, --metrics has no effect"):
        evaluate(run=tmp_path, graph=tmp_path, explain=True, split="last_n:1", metrics="ndcg@10")
