"""Metrics of what lists are beside accurate, from scores to means: sums on paper."""

from dataclasses import replace
from math import log, log2

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from torch import Tensor

from kgrec.errors import KgrecError, UnknownName
from kgrec.evaluation import list_quality
from kgrec.evaluation.evaluation import check_metrics, evaluate
from kgrec.evaluation.listed_items import inverse_propensity, long_tail
from kgrec.evaluation.metrics import FORMULAS, Ranking, parse
from kgrec.evaluation.user_groups import NO_VALUE, by_group, user_groups
from kgrec.graph import Candidates, Graph
from kgrec.model import Query, Recommender

USERS, ITEMS, TARGET = ["ann", "bob", "eve", "joe"], ["a", "b", "c", "d", "e"], ("user", "rated", "item")
GENRES = [("a", "drama"), ("b", "drama"), ("c", "comedy"), ("d", "comedy"), ("d", "drama")]  # of e nothing is known


def graph(edges: list[tuple[str, str]], genres: list[tuple[str, str]] = GENRES, **columns: list) -> Graph:
    users = pd.DataFrame({"id": USERS, **columns})
    kinds = {name: "numeric" if isinstance(values[0], float) else "categorical" for name, values in columns.items()}
    return Graph.from_frames(
        nodes={"user": users, "item": pd.DataFrame({"id": ITEMS}), "genre": pd.DataFrame({"id": ["drama", "comedy"]})},
        edges={
            TARGET: pd.DataFrame(edges, columns=["source", "target"]),
            ("item", "has_genre", "genre"): pd.DataFrame(genres, columns=["source", "target"]),
        },
        target=TARGET,
        features={"user": kinds} if kinds else {},
    )


class Table(Recommender):
    """Scores that were written down: a row a user, a column an item."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]
        self.task = "ranking"
        self.register_buffer("table", torch.tensor(table))

    def score(self, query: Query, items: Tensor) -> Tensor:
        column = items - len(USERS)
        return self.table[query.user][:, column] if items.dim() == 1 else self.table[query.user].gather(1, column)


# Training edges: a 4, b 2, c 1, d 1, e 0. Ann is held to b and c, Bob to d. Lists: Ann b d c e; Bob a(seen) d c e.
KNOWN = [("ann", "a"), ("bob", "a"), ("eve", "a"), ("joe", "a"), ("bob", "b"), ("joe", "b"), ("eve", "c"), ("joe", "d")]
HELD = [("ann", "b"), ("ann", "c"), ("bob", "d")]
SCORES = [[9.0, 5, 3, 4, 2], [9.0, 8, 3, 4, 2], [0.0] * 5, [0.0] * 5]


def measured(*names: str, **options: object) -> dict[str, float]:
    return evaluate(Table(SCORES), graph(KNOWN), graph(HELD), metrics=names, **options).metrics


def test_lists_that_are_ranked_have_their_sums_on_paper() -> None:
    found = measured("novelty@2", "tail_share@2", "serendipity@1", "serendipity@2", "diversity@2", "tail_coverage@2")
    # Ann's two: b (2 of 4 users), d (1 of 4); Bob's two: d and c. The head is a and b: 4 + 2 < 0.8 * 8 <= 4 + 2 + 1
    assert found["novelty@2"] == ((1 + 2) / 2 + (2 + 2) / 2) / 2
    assert long_tail(torch.tensor([4, 2, 1, 1, 0])).tolist() == [False, False, False, True, True]
    assert found["tail_share@2"] == (1 / 2 + 1 / 2) / 2
    assert found["tail_coverage@2"] == 1 / 2  # d is listed, e is not
    # By popularity: Ann b c d e, Bob c d e. Ann's b would be first there too; Bob's d would be second
    assert found["serendipity@1"] == (0 / 1 + 1 / 1) / 2
    assert found["serendipity@2"] == 0
    # Ann: b {drama}, d {comedy, drama}; Bob: d and c {comedy}: cosine 1 / sqrt(2) in both
    assert found["diversity@2"] == pytest.approx(1 - 1 / 2**0.5)


def test_calibration_holds_lists_against_histories() -> None:
    # Ann had a, a drama; her list b, d has (1 + 1/2) / 2 of it. Bob had a and b; his list d, c has (1/2) / 2
    wanted = [log(1 / (0.99 * share + 0.01)) for share in (3 / 4, 1 / 4)]
    assert measured("calibration_error@2")["calibration_error@2"] == pytest.approx(sum(wanted) / 2)


def test_calibration_of_many_shares_is_that_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    rows = [(generator.random((40, 30)) < share) / 7.0 for share in (0.3, 0.2)]
    rows[0][3], rows[1][4] = 0, 0  # one without a history, and an empty list
    own, listed = (scipy.sparse.csr_array(one) for one in rows)
    wanted = list_quality.calibration_error(own, listed)
    monkeypatch.setattr(list_quality, "WIDEST", 1)
    assert np.isnan(wanted).sum() == 1
    np.testing.assert_allclose(list_quality.calibration_error(own, listed), wanted, rtol=1e-12)


def test_inverse_propensity_weighs_what_is_held_out() -> None:
    found = measured("recall_ips@1", "ndcg_ips@3", "recall@1")
    weight = {"b": (4 / 2) ** 0.5, "c": (4 / 1) ** 0.5, "d": (4 / 1) ** 0.5}
    assert inverse_propensity(torch.tensor([4, 2, 0])).tolist() == pytest.approx([1, weight["b"], 2])
    assert found["recall_ips@1"] == pytest.approx((weight["b"] / (weight["b"] + weight["c"]) + 1) / 2)
    ann = (weight["b"] / log2(2) + weight["c"] / log2(4)) / (weight["c"] / log2(2) + weight["b"] / log2(3))
    assert found["ndcg_ips@3"] == pytest.approx((ann + 1) / 2)
    assert found["recall@1"] == (1 / 2 + 1 / 1) / 2


def test_the_propensity_is_estimated_on_training_edges_alone() -> None:
    held = graph([*HELD, ("eve", "e"), ("eve", "b")])
    both = [evaluate(Table(SCORES), graph(KNOWN), one, metrics=["recall_ips@1"]) for one in (graph(HELD), held)]
    own = [dict(zip(*found.per_user.to_pydict().values())) for found in both]
    assert own[0]["ann"] == own[1]["ann"] and own[0]["bob"] == own[1]["bob"]
    before = evaluate(Table(SCORES), graph(KNOWN), graph(HELD), metrics=["recall_ips@1"], trained=graph(KNOWN[:1]))
    assert before.metrics["recall_ips@1"] == (1 / 2 + 1) / 2  # where only a was trained on, all others weigh the same


def test_published_lists_and_small_batches_give_the_same() -> None:
    names = ["novelty@2", "serendipity@1", "diversity@2", "calibration_error@2", "recall_ips@2", "ndcg_ips@2"]
    wanted = measured(*names)
    assert measured(*names, batch_size=1) == pytest.approx(wanted, rel=1e-12)
    lists = Candidates(torch.tensor([0, 1]), torch.tensor([0, 4, 7]), torch.tensor([1, 2, 3, 4, 2, 3, 4]))
    assert measured(*names, candidates=lists) == pytest.approx(wanted, rel=1e-12)


def test_cold_items_are_ranked_and_weighed_among_themselves() -> None:
    held = graph([("ann", "b"), ("bob", "e")])
    found = evaluate(Table(SCORES), graph(KNOWN), held, metrics=["serendipity@1", "recall_ips@1", "tail_coverage@1"])
    assert found.cold == {"serendipity@1": 0.0, "recall_ips@1": 1.0, "tail_coverage@1": 1.0}


def test_a_user_without_a_value_does_not_count() -> None:
    found = evaluate(Table(SCORES), graph(KNOWN[1:]), graph(HELD), metrics=["calibration_error@2", "novelty@2"])
    assert found.per_user.to_pydict()["calibration_error@2"][0] is None  # Ann has no history
    assert found.metrics["calibration_error@2"] == found.per_user.to_pydict()["calibration_error@2"][1]
    assert "diversity@1" not in measured("diversity@1", "novelty@1")


def test_facts_that_are_not_there_are_refused_before_anything_is_scored() -> None:
    bare = graph(KNOWN, genres=[])
    for check in (
        lambda: evaluate(Table(SCORES), bare, graph(HELD), metrics=["diversity@2", "recall@2"]),
        lambda: check_metrics(Table(SCORES), graph(HELD), ["calibration_error@2"], bare),
    ):
        with pytest.raises(KgrecError, match=r"needs facts about items, and no fact of this graph is about a node"):
            check()


@pytest.mark.parametrize("name", sorted({one.name for one in FORMULAS if one.of == "lists" and one.needs}))
def test_a_ranking_that_lacks_what_is_needed_says_so(name: str) -> None:
    with pytest.raises(KgrecError, match=f"{name}@k needs"):
        parse(f"{name}@1").values(Ranking(torch.ones(1, 1, dtype=torch.bool), torch.tensor([1])))


def test_groups_are_compared() -> None:
    values = pd.DataFrame({"recall@10": [0.5, 0.7, 0.2, None]}, index=USERS)
    groups = user_groups(graph(KNOWN, sex=["F", "M", "M", None]), "sex")
    assert groups.tolist() == ["F", "M", "M", NO_VALUE]
    found = by_group(values, groups)["recall@10"]
    half = 1.959964 * (2 * 0.25**2) ** 0.5 / 2**0.5  # s of 0.7 and 0.2, n - 1 = 1
    assert found["groups"]["M"]["interval"] == pytest.approx([0.45 - half, 0.45 + half])
    assert found["groups"]["F"] == {"users": 1, "mean": 0.5, "interval": None} and NO_VALUE not in found["groups"]
    assert (found["gap"], found["ratio"]) == pytest.approx((0.05, 0.45 / 0.5))
    assert (found["lowest"], found["highest"]) == ("M", "F")


def test_numbers_are_cut_at_their_quartiles() -> None:
    known = graph(KNOWN, age=[18.0, 30.0, 18.0, 55.0])
    assert user_groups(known, "age").tolist() == ["18", "30", "18", "55"]
    from kgrec.evaluation.user_groups import _of_numbers

    found = _of_numbers(pd.Series(range(0, 101, 5)))
    assert found.value_counts(sort=False).to_dict() == {"0 to 25": 5, "25 to 50": 5, "50 to 75": 5, "75 to 100": 6}


def test_a_column_that_makes_no_groups_is_refused() -> None:
    with pytest.raises(
        KgrecError, match=r"all 4 users have the same value 'F' in 'sex', so there is nothing to compare"
    ):
        user_groups(graph(KNOWN, sex=["F"] * 4), "sex")
    with pytest.raises(UnknownName, match="sex"):
        user_groups(graph(KNOWN, sex=["F", "M", "F", "M"]), "sexe")
    with pytest.raises(KgrecError, match="nodes of type 'user' have no column"):
        user_groups(graph(KNOWN), "sex")
    with pytest.raises(KgrecError, match="all 2 users who are measured are in one group, 'F'"):
        by_group(pd.DataFrame({"recall@1": [1.0, 0.0]}, index=USERS[:2]), pd.Series(["F", "F", "M", "M"], USERS))


def test_a_run_is_measured_by_groups(planted: Graph) -> None:
    from kgrec import train
    from kgrec.graph.features import Feature

    run = train("popularity", planted, split="last_n:1")
    source, users = planted.target[0], len(planted.range(planted.target[0]))
    column = Feature.from_arrow(pa.array(["F", "M"] * (users // 2)), "categorical")
    grouped = Graph.of(replace(planted, features={**planted.features, source: {"sex": column}}))
    found = run.measure(grouped, metrics=["recall@10"], groups="sex")["groups"]
    one = found["metrics"]["recall@10"]
    assert found["column"] == "sex" and sum(group["users"] for group in one["groups"].values()) == users
    whole = sum(group["users"] * group["mean"] for group in one["groups"].values()) / users
    assert whole == pytest.approx(run.measure(planted, metrics=["recall@10"])["test"]["recall@10"])
    with pytest.raises(KgrecError, match="groups 'sex' has no effect"):
        run.measure(grouped, groups="sex", rules={"cap": {"genre": 1}})
