"""Evaluation against sums on paper: who is ranked what, what counts as found, and what must not matter."""

from math import exp, log, log2, sqrt

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from kgrec.errors import KgrecError, UnknownName
from kgrec.evaluation import metrics
from kgrec.evaluation.evaluation import default_metrics, evaluate
from kgrec.graph import NO_TIME, Candidates, Graph
from kgrec.model import Query, Recommender
from kgrec.samplers.histories import Histories

ITEMS = ["a", "b", "c", "d", "e"]


def graphs(
    known: list[tuple], held: list[tuple], users: list[str], items: list[str] = ITEMS, clicks: bool = False
) -> tuple[Graph, Graph]:
    """Two graphs over the same users and items, with edges (user, item, time, weight), the last two optional. clicks:
    the weight is a label of clicks too."""
    nodes = {"user": pd.DataFrame({"id": users}), "item": pd.DataFrame({"id": items})}

    def graph(edges: list[tuple]) -> Graph:
        rows = [(*edge, *(0, 1.0)[len(edge) - 2 :]) for edge in edges]
        frame = pd.DataFrame(rows, columns=["source", "target", "time", "weight"])
        frame["click"] = frame["weight"]
        features = {"rated": {"click": "numeric"}} if clicks else {}
        return Graph.from_frames(nodes=nodes, edges={("user", "rated", "item"): frame}, features=features)

    return graph(known), graph(held)


class Table(Recommender):
    """Scores that were written down: a row a user, a column an item."""

    def __init__(self, table: list[list[float]] | Tensor, task: str = "ranking") -> None:
        super().__init__(None, None)  # type: ignore[arg-type]
        self.task = task  # type: ignore[assignment]
        self.register_buffer("table", torch.as_tensor(table))
        self.queries: list[Query] = []
        self.modes: list[tuple[bool, bool]] = []

    def score(self, query: Query, items: Tensor) -> Tensor:
        self.queries.append(query)
        self.modes.append((self.training, torch.is_grad_enabled()))
        column = items - len(self.table)
        return self.table[query.user][:, column] if items.dim() == 1 else self.table[query.user].gather(1, column)


class Reader(Table):
    reads_history = True


# Ann has seen a and Bob e. Less those, Ann's order is b c d e and Bob's is a b c d. Ann is held to b, e; Bob to c.
KNOWN, HELD = graphs(
    known=[("ann", "a"), ("bob", "e")],
    held=[("ann", "b"), ("ann", "e"), ("bob", "c"), ("ann", "b")],
    users=["ann", "bob"],
)
SCORES = [[9.0, 5, 4, 3, 2], [4.0, 3, 2, 1, 9]]


def test_means_over_users_are_sums_on_paper() -> None:
    names = ["recall@2", "precision@2", "hit_rate@2", "ndcg@3", "mrr@3", "map@4", "coverage@1", "popularity@4"]
    result = evaluate(Table(SCORES), KNOWN, HELD, metrics=names)
    # a, e have one interaction each, b, c, d none; Ann's list holds e and Bob's holds a
    assert result.metrics == pytest.approx(
        {
            "recall@2": (1 / 2 + 0 / 1) / 2,
            "precision@2": (1 / 2 + 0 / 2) / 2,
            "hit_rate@2": (1 + 0) / 2,
            "ndcg@3": (1 / (1 + 1 / log2(3)) + (1 / log2(4)) / 1) / 2,
            "mrr@3": (1 / 1 + 1 / 3) / 2,
            "map@4": ((1 / 1 + 2 / 4) / 2 + (1 / 3) / 1) / 2,
            "coverage@1": 2 / 5,
            "popularity@4": (1 / 4 + 1 / 4) / 2,
        }
    )
    assert list(result.metrics) == names
    assert (result.num_users, result.num_unrankable) == (2, 0)


def test_metrics_of_the_catalog_count_how_often_items_are_listed(monkeypatch) -> None:
    """The first two are b and c for Ann, a and b for Bob: shares 1/4, 2/4 and 1/4, and none of d and e. A further
    metric is one entry."""

    def entropy(recommended: Tensor) -> float:
        share = recommended.double() / recommended.sum()
        return float(-torch.xlogy(share, share).sum())

    further = (*metrics.FORMULAS, metrics.Formula("entropy", "catalog", entropy))
    monkeypatch.setattr(metrics, "FORMULAS", further)
    result = evaluate(Table(SCORES), KNOWN, HELD, metrics=["gini@2", "entropy@1", "entropy@2", "mrr@3"])
    assert result.metrics == pytest.approx(
        {
            "gini@2": (-4 * 0 - 2 * 0 + 0 * 1 / 4 + 2 * 1 / 4 + 4 * 2 / 4) / 4,
            "entropy@1": log(2),
            "entropy@2": (log(4) + log(2) + log(2) + log(4)) / 4,
            "mrr@3": (1 / 1 + 1 / 3) / 2,
        }
    )
    assert result.per_user.column_names == ["user", "mrr@3"]


def test_each_user_has_a_row_under_the_external_id() -> None:
    table = evaluate(Table(SCORES), KNOWN, HELD, metrics=["recall@2", "coverage@2", "mrr@3"]).per_user
    assert table.to_pydict() == {"user": ["ann", "bob"], "recall@2": [1 / 2, 0.0], "mrr@3": [1.0, 1 / 3]}


def test_users_without_held_out_items_do_not_count() -> None:
    known, held = graphs([("ann", "a"), ("bob", "d")], [("bob", "c")], ["ann", "bob", "cid"])
    result = evaluate(Table([[0.0] * 5, SCORES[1], [0.0] * 5]), known, held, metrics=["recall@3", "recall@4"])
    assert result.per_user["user"].to_pylist() == ["bob"]
    assert result.metrics == {"recall@3": 0 / 1, "recall@4": 1 / 1}  # e, a, b, c


def test_what_was_seen_is_not_recommended_and_a_repeat_is_missed() -> None:
    known, held = graphs([("ann", "a"), ("ann", "b")], [("ann", "a"), ("ann", "c")], ["ann"])
    result = evaluate(Table([[9.0, 8, 1, 2, 3]]), known, held, metrics=["recall@5", "precision@5", "mrr@5"])
    assert result.metrics == {"recall@5": 1 / 2, "precision@5": 1 / 5, "mrr@5": 1 / 3}  # e, d, c and two empty places
    assert result.num_unrankable == 1


def test_lists_are_ranked_as_published_and_each_item_once() -> None:
    # Ann: a, which she has seen, then b and d; twice d. Bob: d and e; his c is not on it.
    lists = Candidates(user=torch.tensor([0, 1]), ptr=torch.tensor([0, 4, 6]), item=torch.tensor([3, 1, 0, 3, 4, 3]))
    model = Table(SCORES)
    result = evaluate(model, KNOWN, HELD, candidates=lists, metrics=["recall@2", "mrr@2", "precision@3", "coverage@1"])
    assert result.metrics == {
        "recall@2": (1 / 2 + 0 / 1) / 2,
        "mrr@2": (1 / 2 + 0) / 2,
        "precision@3": (1 / 3 + 0) / 2,
        "coverage@1": 2 / 5,  # a to Ann, e to Bob
    }
    assert result.num_unrankable == 2  # e of Ann, c of Bob


def test_a_user_without_a_list_is_an_error() -> None:
    lists = Candidates(user=torch.tensor([0]), ptr=torch.tensor([0, 1]), item=torch.tensor([3]))
    with pytest.raises(KgrecError, match="there is no candidate list for user 'bob', who have held-out items"):
        evaluate(Table(SCORES), KNOWN, HELD, candidates=lists)


def test_cold_and_warm_items_are_ranked_apart() -> None:
    # c, d, e are cold. Ann's order of all is a b c d e: warm b (a is seen), cold c d e. Bob's is e d c b a.
    known, held = graphs([("ann", "a"), ("bob", "b")], [("ann", "b"), ("ann", "d"), ("bob", "e")], ["ann", "bob"])
    result = evaluate(Table([[5.0, 4, 3, 2, 1], [1.0, 2, 3, 4, 5]]), known, held, metrics=["mrr@4", "coverage@1"])
    assert result.metrics == {"mrr@4": (1 / 1 + 1 / 1) / 2, "coverage@1": 2 / 5}
    assert result.cold == {"mrr@4": (1 / 2 + 1 / 1) / 2, "coverage@1": 2 / 3}
    assert result.warm == {"mrr@4": 1 / 1, "coverage@1": 1 / 2}  # Ann alone has a warm item held out
    assert result.num_users == 2


def test_cold_and_warm_apart_on_lists() -> None:
    known, held = graphs([("ann", "a"), ("bob", "b")], [("ann", "b"), ("ann", "d")], ["ann", "bob"])
    lists = Candidates(user=torch.tensor([0]), ptr=torch.tensor([0, 4]), item=torch.tensor([0, 1, 2, 3]))
    result = evaluate(Table([[5.0, 4, 3, 2, 1], [0.0] * 5]), known, held, candidates=lists, metrics=["mrr@4"])
    assert (result.metrics, result.warm, result.cold) == ({"mrr@4": 1 / 2}, {"mrr@4": 1 / 2}, {"mrr@4": 1 / 2})


def test_without_cold_items_held_out_nothing_is_apart() -> None:
    known, held = graphs([("ann", "a"), ("bob", "b")], [("ann", "b")], ["ann", "bob"])
    result = evaluate(Table([[0.0] * 5] * 2), known, held, metrics=["recall@5"])
    assert (result.cold, result.warm) == ({}, {})


def test_where_only_cold_items_are_held_out_nobody_counts_among_the_warm() -> None:
    known, held = graphs([("ann", "a"), ("bob", "b")], [("ann", "c")], ["ann", "bob"])
    result = evaluate(Table([[5.0, 4, 3, 2, 1]] * 2), known, held, metrics=["mrr@4"])
    assert (result.metrics, result.cold, result.warm) == ({"mrr@4": 1 / 2}, {"mrr@4": 1 / 1}, {})


# ---------------------------------------------------------------------- what must not matter


def random_graphs(users: int, items: int, edges: int, warm: int, seed: int = 0) -> tuple[Graph, Graph]:
    """Random known and held edges; known ones are of the first `warm` items alone."""
    rng = np.random.default_rng(seed)
    names = [f"u{n}" for n in range(users)], [f"i{n}" for n in range(items)]

    def drawn(number: int, upto: int) -> list[tuple]:
        pairs = rng.integers(0, (users, upto), (number, 2)).tolist()
        return [(f"u{u}", f"i{i}", int(rng.integers(20)), float(rng.integers(1, 6))) for u, i in pairs]

    return graphs(drawn(edges, warm), drawn(edges // 4, items), *names)


def test_a_plain_loop_finds_the_same() -> None:
    known, held = random_graphs(users=40, items=60, edges=400, warm=50)
    scores = torch.randn(40, 60, generator=torch.Generator().manual_seed(1))
    result = evaluate(Table(scores), known, held, metrics=["recall@10", "ndcg@10", "map@10", "ndcg_kgat@10"])
    seen, true = _sets(known), _sets(held)
    values: dict[str, list[float]] = {name: [] for name in result.metrics}
    for user, relevant in true.items():
        order = [item for item in scores[user].argsort(descending=True).tolist() if item not in seen.get(user, ())]
        hits = [item in relevant for item in order]
        gain = sum(hit / log2(rank + 2) for rank, hit in enumerate(hits[:10]))
        values["recall@10"].append(sum(hits[:10]) / len(relevant))
        values["ndcg@10"].append(gain / sum(1 / log2(r + 2) for r in range(min(10, len(relevant)))))
        values["ndcg_kgat@10"].append(gain / (sum(1 / log2(r + 2) for r in range(min(10, sum(hits[:100])))) or 1))
        precision = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(10)]
        values["map@10"].append(sum(p * h for p, h in zip(precision, hits)) / min(10, len(relevant)))
    assert result.metrics == pytest.approx({name: float(np.mean(of_users)) for name, of_users in values.items()})
    assert result.num_unrankable == sum(len(true[user] & seen.get(user, set())) for user in true)


def _sets(graph: Graph) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for user, item in graph.edge_index.T.tolist():
        found.setdefault(user, set()).add(item)
    return found


@pytest.mark.parametrize("ties", [1, 3, 1000], ids=["all tie", "many tie", "few tie"])
@pytest.mark.parametrize("listed", [False, True], ids=["catalog", "lists"])
def test_sizes_of_chunks_do_not_matter(ties: int, listed: bool) -> None:
    known, held = random_graphs(users=100, items=60, edges=600, warm=50)
    generator = torch.Generator().manual_seed(1)
    model = Reader(torch.randint(ties, (100, 60), generator=generator).float())
    lists = _random_lists(100, 60) if listed else None
    names = ["recall@7", "ndcg@7", "coverage@3", "popularity@7", "ndcg_kgat@7"]
    whole, *others = (
        evaluate(model, known, held, metrics=names, candidates=lists, batch_size=batch, cells=cells)
        for batch, cells in [(1000, 10**6), (64, 64 * 11), (17, 10**6), (9, 9 * 60)]
    )
    for other in others:
        assert (other.metrics, other.cold, other.warm) == (whole.metrics, whole.cold, whole.warm)
        assert other.per_user.equals(whole.per_user)
    assert whole.cold and whole.warm


def _random_lists(users: int, items: int) -> Candidates:
    rng = np.random.default_rng(2)
    lists = [rng.choice(items, rng.integers(1, 20), replace=False) for _ in range(users)]
    ptr = np.cumsum([0, *(len(items) for items in lists)])
    return Candidates(torch.arange(users), torch.from_numpy(ptr), torch.from_numpy(np.concatenate(lists)))


@pytest.mark.parametrize("cells", [10**6, 64 * 11], ids=["one chunk", "four chunks"])
@pytest.mark.parametrize("item", ["i1", "i39"])
def test_a_constant_scorer_is_at_chance(cells: int, item: str) -> None:
    users, items, k, seeds = 500, 41, 10, 4
    names = [f"u{n}" for n in range(users)], [f"i{n}" for n in range(items)]
    known, held = graphs([(u, "i0") for u in names[0]], [(u, item) for u in names[0]], *names)
    model = Table(torch.zeros(users, items))
    found = [evaluate(model, known, held, metrics=["recall@10"], seed=s, cells=cells).metrics for s in range(seeds)]
    chance = k / (items - 1)
    error = sqrt(chance * (1 - chance) / (users * seeds))
    assert abs(np.mean([metrics["recall@10"] for metrics in found]) - chance) < 4 * error


def test_equal_scores_are_ordered_anew_for_each_user_and_seed() -> None:
    users = [f"u{n}" for n in range(200)]
    known, held = graphs([], [(user, "a") for user in users], users)
    model = Table(torch.zeros(200, 5))
    first, again, other = (evaluate(model, known, held, metrics=["mrr@5", "coverage@1"], seed=s) for s in (0, 0, 1))
    assert first.per_user.equals(again.per_user)
    assert not first.per_user.equals(other.per_user)
    assert first.metrics["coverage@1"] == 5 / 5


def test_popular_ties_go_past_the_cut_and_no_tied_item_is_favoured() -> None:
    # b, c, d, e tie for two places behind a, which is always first; f is what each has
    users = [f"u{n}" for n in range(400)]
    known, held = graphs([(user, "f") for user in users], [(user, "d") for user in users], users, [*ITEMS, "f"])
    model = Table(torch.tensor([[2.0, 1, 1, 1, 1, 9]]).repeat(400, 1))
    result = evaluate(model, known, held, metrics=["recall@1", "recall@3", "recall@5"])
    assert (result.metrics["recall@1"], result.metrics["recall@5"]) == (0, 1)
    assert abs(result.metrics["recall@3"] - 2 / 4) < 4 * sqrt(1 / 4 / 400)


# ---------------------------------------------------------------------- what a model is given, and what it may give


def test_a_query_carries_the_whole_history_oldest_first() -> None:
    known, held = graphs(
        [("ann", "c", 7, 3.0), ("ann", "a", 5, 4.0), ("bob", "e", 9, 1.0)],
        [("ann", "e"), ("bob", "c"), ("cid", "a")],
        ["ann", "bob", "cid"],
    )
    model = Reader([[0.0] * 5] * 3)
    evaluate(model, known, held, metrics=["recall@1"])
    (query,) = model.queries
    a, c, e, pad = 3, 5, 7, 8
    assert query.user.tolist() == [0, 1, 2]
    assert query.history.tolist() == [[a, c], [pad, e], [pad, pad]]
    assert query.time is not None and query.time.tolist() == [[5, 7], [NO_TIME, 9], [NO_TIME, NO_TIME]]
    assert query.weight is not None and query.weight.tolist() == [[4, 3], [0, 1], [0, 0]]


def test_a_model_that_reads_no_history_is_given_none() -> None:
    model = Table(SCORES)
    evaluate(model, KNOWN, HELD)
    assert [query.history.shape for query in model.queries] == [(2, 0)] * len(model.queries)


def test_scoring_is_in_eval_mode_without_gradients_and_the_mode_comes_back() -> None:
    model = Table(SCORES)
    model.layer = torch.nn.Dropout()
    model.frozen = torch.nn.Dropout().eval()
    evaluate(model, KNOWN, HELD)
    assert set(model.modes) == {(False, False)}
    assert (model.training, model.layer.training, model.frozen.training) == (True, True, False)


def test_a_model_may_return_a_view_of_its_buffer() -> None:
    class Shared(Table):
        def score(self, query: Query, items: Tensor) -> Tensor:
            return self.table[0, items - 2].expand(len(query), -1)

    model = Shared(SCORES)
    result = evaluate(model, KNOWN, HELD, metrics=["recall@2"])
    assert model.table.tolist() == SCORES
    assert result.metrics == {"recall@2": (1 / 2 + 0 / 1) / 2}  # Ann: b c, Bob: a b


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_raise(value: float) -> None:
    scores = torch.tensor(SCORES)
    scores[1, 2] = value
    with pytest.raises(KgrecError, match="1 of 6 scores of Table are not finite"):
        evaluate(Table(scores), KNOWN, HELD, metrics=["recall@2"])


def test_large_finite_scores_are_fine() -> None:
    evaluate(Table(torch.tensor(SCORES) * 3e37), KNOWN, HELD, metrics=["recall@2"])


def test_scores_of_the_wrong_shape_raise() -> None:
    class Flat(Table):
        def score(self, query: Query, items: Tensor) -> Tensor:
            return super().score(query, items).sum(1)

    with pytest.raises(KgrecError, match=r"Flat.score returned shape \[2\], but must return \[2, 2\], users x items"):
        evaluate(Flat(SCORES), KNOWN, HELD)


# ---------------------------------------------------------------------- ratings


def test_ratings_are_measured_over_held_out_edges() -> None:
    known, held = graphs(
        [("ann", "a"), ("bob", "b")],
        [("ann", "b", 1, 5.0), ("bob", "a", 1, 4.0), ("ann", "a", 2, 2.0), ("ann", "e", 3, 1.0)],
        ["ann", "bob"],
    )
    model = Table([[3.0, 3, 3, 3, 3], [4.5, 4, 4, 4, 4]], task="rating")  # errors: Ann -2, 1, 2; Bob .5
    result = evaluate(model, known, held)
    assert result.metrics == pytest.approx({"rmse": sqrt((4 + 1 + 4 + 0.25) / 4), "mae": (2 + 1 + 2 + 0.5) / 4})
    assert result.per_user["rmse"].to_pylist() == pytest.approx([sqrt((4 + 1 + 4) / 3), 0.5])
    assert result.cold == pytest.approx({"rmse": 2, "mae": 2})  # e
    assert result.warm == pytest.approx({"rmse": sqrt((4 + 1 + 0.25) / 3), "mae": (2 + 1 + 0.5) / 3})
    assert result.predictions is not None
    assert result.predictions.to_pydict() == {
        "user": ["ann", "bob", "ann", "ann"],
        "item": ["b", "a", "a", "e"],
        "truth": [5, 4, 2, 1],
        "prediction": [3, 4.5, 3, 3],
    }
    in_parts = evaluate(model, known, held, batch_size=1)
    assert (in_parts.metrics, in_parts.cold) == (result.metrics, result.cold)


def test_an_edge_that_stands_twice_is_rated_twice() -> None:
    known, held = graphs([("ann", "a")], [("ann", "a", 1, 1.0), ("ann", "a", 2, 3.0)], ["ann"])
    measured = evaluate(Table([[3.0] * 5], task="rating"), known, held).metrics
    assert measured == pytest.approx({"rmse": sqrt(4 / 2), "mae": 2 / 2}, rel=1e-15)  # a square root's last bit varies


def test_a_model_of_ratings_may_be_ranked_too() -> None:
    result = evaluate(Table(SCORES, task="rating"), KNOWN, HELD, metrics=["recall@2", "mae"])
    assert list(result.metrics) == ["recall@2", "mae"]
    assert result.metrics["mae"] == pytest.approx((4 + 1 + 1 + 4) / 4)
    assert result.per_user.column_names == ["user", "recall@2", "mae"]


def test_ratings_of_a_model_that_ranks_are_refused() -> None:
    with pytest.raises(
        KgrecError, match=r"rmse can only measure predicted ratings, but Table was trained for task 'ranking'"
    ):
        evaluate(Table(SCORES), KNOWN, HELD, metrics=["recall@2", "rmse"])


# ---------------------------------------------------------------------- clicks

# Ann was shown a b c and clicked a and c; Bob was shown a and e and clicked none
SHOWN = graphs(
    [("ann", "b", 1, 1.0), ("bob", "a", 1, 0.0), ("bob", "c", 1, 0.0)],
    [("bob", "a", 2, 0.0), ("ann", "a", 2, 1.0), ("ann", "b", 3, 0.0), ("ann", "c", 4, 1.0), ("bob", "e", 5, 0.0)],
    ["ann", "bob"],
    clicks=True,
)
LOGITS = [[2.0, 1, 1, 9, 9], [1.0, 9, 9, 9, -3]]  # of what was clicked: 2, 1; of the rest: 1, 1, -3


def test_clicks_are_measured_over_held_out_edges() -> None:
    result = evaluate(Table(LOGITS, task="ctr"), *SHOWN)
    assert list(result.metrics) == ["auc", "gauc", "logloss", "ece"]

    def loss(logit: float) -> float:
        return log(1 + exp(-logit))

    def p(logit: float) -> float:
        return 1 / (1 + exp(-logit))

    assert result.metrics["auc"] == (3 + 2) / (2 * 3)  # 2 beats all; 1 beats -3 and ties twice
    assert result.metrics["gauc"] == 1.5 / 2  # Ann's; Bob has no click
    losses = {"bob": [loss(-1), loss(3)], "ann": [loss(2), loss(-1), loss(1)]}
    assert result.metrics["logloss"] == pytest.approx(sum(losses["bob"] + losses["ann"]) / 5)
    gaps = abs(p(2) - 1), abs(3 * p(1) - 1), abs(p(-3))  # in bins 14, 11 and 1 of 15
    assert result.metrics["ece"] == pytest.approx(sum(gaps) / 5)
    assert result.per_user.column_names == ["user", "gauc", "logloss"]
    assert result.per_user["gauc"].to_pylist() == [1.5 / 2, None]
    assert result.per_user["logloss"].to_pylist() == pytest.approx([sum(losses["ann"]) / 3, sum(losses["bob"]) / 2])


def test_probabilities_of_clicks_are_kept_by_edge() -> None:
    table = evaluate(Table(LOGITS, task="ctr"), *SHOWN).predictions
    assert table is not None
    assert table["user"].to_pylist() == ["bob", "ann", "ann", "ann", "bob"]
    assert table["item"].to_pylist() == ["a", "a", "b", "c", "e"]
    assert table["truth"].to_pylist() == [0, 1, 0, 1, 0]
    assert table["prediction"].to_pylist() == pytest.approx([1 / (1 + exp(-logit)) for logit in (1, 2, 1, 1, -3)])
    assert [str(kind) for kind in table.schema.types] == ["string", "string", "float", "float"]


def test_clicks_of_cold_items_are_apart_and_what_is_undefined_there_is_left_out() -> None:
    result = evaluate(Table(LOGITS, task="ctr"), *SHOWN, metrics=["auc", "gauc", "logloss"])
    assert result.cold == {"logloss": pytest.approx(log(1 + exp(-3)))}  # e alone
    assert list(result.warm) == ["auc", "gauc", "logloss"]
    assert result.warm["auc"] == (2 + 1) / (2 * 2)


def test_sizes_of_batches_do_not_matter_for_clicks() -> None:
    whole, *parts = (
        evaluate(Reader(LOGITS, task="ctr"), *SHOWN, batch_size=b, cells=c) for b, c in [(9, 99), (1, 99), (9, 3)]
    )
    for part in parts:
        assert (part.metrics, part.cold, part.warm) == (whole.metrics, whole.cold, whole.warm)
        assert part.predictions == whole.predictions


def test_a_model_of_clicks_may_be_ranked_too() -> None:
    result = evaluate(Table(LOGITS, task="ctr"), *SHOWN, metrics=["mrr@5", "auc"])
    assert list(result.metrics) == ["mrr@5", "auc"]
    unlabelled = evaluate(Table(LOGITS, task="ctr"), KNOWN, HELD, metrics=["mrr@5"])
    assert list(unlabelled.metrics) == ["mrr@5"]
    assert unlabelled.predictions is None


def test_labels_of_one_class_are_refused() -> None:
    known, held = SHOWN
    clicks, others = held.where(held.weight == 1), held.where(held.weight == 0)
    model = Table(LOGITS, task="ctr")
    with pytest.raises(
        KgrecError, match=r"cannot compute auc and gauc: edges with and .* all 2 held-out 'rated' edges are clicks"
    ):
        evaluate(model, known, clicks)
    with pytest.raises(KgrecError, match=r"cannot compute auc: .* all 3 held-out 'rated' edges are without a click"):
        evaluate(model, known, others, metrics=["auc", "logloss"])
    assert not model.queries
    assert evaluate(model, known, clicks, metrics=["logloss", "ece"]).metrics["logloss"] > 0


def test_gauc_needs_a_user_of_both_classes() -> None:
    known, held = SHOWN
    mixed = held.where(torch.tensor([True, True, False, False, True]))
    with pytest.raises(
        KgrecError,
        match=r"cannot compute gauc: no user has edges both with and without a click among the 3 held-out edges",
    ):
        evaluate(Table(LOGITS, task="ctr"), known, mixed)
    assert evaluate(Table(LOGITS, task="ctr"), known, mixed, metrics=["auc"]).metrics == {"auc": 2 / 2}


def test_clicks_need_labels_and_a_model_of_them() -> None:
    with pytest.raises(KgrecError, match="the 'rated' edges have no labels of clicks; name their column with `click:`"):
        evaluate(Table(LOGITS, task="ctr"), KNOWN, HELD)
    with pytest.raises(
        KgrecError, match=r"auc, ece can only measure predicted clicks, .* for task 'rating'; use metrics such as rmse"
    ):
        evaluate(Table(LOGITS, task="rating"), *SHOWN, metrics=["auc", "ece"])
    with pytest.raises(
        KgrecError, match="rmse can only measure predicted ratings, but Table was trained for task 'ctr'"
    ):
        evaluate(Table(LOGITS, task="ctr"), *SHOWN, metrics=["rmse"])


# ---------------------------------------------------------------------- wrong calls


def test_an_unknown_metric_is_refused_before_anything_is_scored() -> None:
    model = Table(SCORES)
    with pytest.raises(UnknownName, match=r"no metric 'recal'; did you mean 'recall'\?"):
        evaluate(model, KNOWN, HELD, metrics=["recal@2"])
    assert not model.queries


def test_nothing_held_out_is_an_error() -> None:
    with pytest.raises(KgrecError, match="no 'rated' edge is held out"):
        evaluate(Table(SCORES), KNOWN, HELD.where(torch.zeros(HELD.num_edges, dtype=torch.bool)))


def test_graphs_that_do_not_fit_are_an_error() -> None:
    _, other = graphs([], [("ann", "a")], ["ann"])
    with pytest.raises(KgrecError, match=r"\(user-rated-item, 6 nodes\) .* known edges \(user-rated-item, 7 nodes\)"):
        evaluate(Table(SCORES), KNOWN, other)


def test_each_task_has_its_usual_metrics() -> None:
    assert default_metrics("rating") == ("rmse", "mae")
    assert default_metrics("ctr") == ("auc", "gauc", "logloss", "ece")
    assert evaluate(Table(SCORES), KNOWN, HELD).metrics.keys() == set(default_metrics("ranking"))


@pytest.mark.cuda
def test_a_device_gives_the_same() -> None:
    known, held = random_graphs(users=100, items=60, edges=600, warm=50)
    scores = torch.randint(5, (100, 60), generator=torch.Generator().manual_seed(1)).float()
    names = ["recall@7", "ndcg@7", "coverage@3", "popularity@7", "ndcg_kgat@7"]
    here = evaluate(Reader(scores), known, held, metrics=names)
    there = evaluate(Reader(scores).cuda(), known, held, metrics=names)
    assert there.metrics == pytest.approx(here.metrics)
    assert there.cold == pytest.approx(here.cold)


# ---------------------------------------------------------------------- histories


def test_histories_are_those_of_a_plain_loop() -> None:
    graph, _ = random_graphs(users=30, items=20, edges=300, warm=20)
    histories = Histories(graph)
    edge = torch.arange(graph.num_edges)
    by_time = sorted(edge.tolist(), key=lambda e: (int(graph.time[e]), e))
    head, tail, time = graph.head.tolist(), graph.tail.tolist(), graph.time.tolist()

    def padded(rows: list[list[int]], length: int) -> list[list[int]]:
        return [[graph.pad] * (length - len(row)) + row[len(row) - min(length, len(row)) :] for row in rows]

    of_seed = [[e for e in by_time if head[e] == head[seed]] for seed in edge.tolist()]
    earlier = [[tail[e] for e in row if time[e] < time[seed]] for seed, row in enumerate(of_seed)]
    ahead = [[tail[e] for e in row[: row.index(seed)]] for seed, row in enumerate(of_seed)]
    longest = max(len(row) for row in of_seed)
    assert histories.last(graph.head).tolist() == padded([[tail[e] for e in row] for row in of_seed], longest)
    assert histories.last(graph.head, 4, before=graph.time).tolist() == padded(earlier, 4)
    assert histories.last(graph.head, 4, before_edge=edge).tolist() == padded(ahead, 4)
    assert histories.lengths(graph.head, before_edge=edge).tolist() == [len(row) for row in ahead]
    row, flattened = histories.flattened(torch.tensor([3, 0]))
    zero_and_three = [[tail[e] for e in by_time if head[e] == user] for user in (3, 0)]
    assert row.tolist() == [0] * len(zero_and_three[0]) + [1] * len(zero_and_three[1])
    assert flattened.tolist() == zero_and_three[0] + zero_and_three[1]


def test_a_new_user_and_an_empty_graph_have_no_history() -> None:
    histories = Histories(KNOWN)
    assert histories.last(torch.tensor([KNOWN.pad, 0]), 2).tolist() == [[7, 7], [7, 2]]
    assert histories.last(torch.tensor([KNOWN.pad])).shape == (1, 0)
    empty = Histories(Graph.empty(KNOWN.schema))
    place = empty.places(torch.tensor([0, 1]), 2)
    assert empty.tails(place).tolist() == [[7, 7], [7, 7]]
    assert empty.times(place).tolist() == [[NO_TIME] * 2] * 2
    assert empty.last(torch.tensor([0]), 1, before=torch.tensor([5])).tolist() == [[7]]


def test_a_history_is_cut_once() -> None:
    with pytest.raises(KgrecError, match="either at a time or at an edge; set before or before_edge, not both"):
        Histories(KNOWN).last(torch.tensor([0]), before=torch.tensor([5]), before_edge=torch.tensor([0]))
