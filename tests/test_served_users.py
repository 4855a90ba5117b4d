"""Who is served by what: users without a history, warm and cold by what training saw, counts, and what is excluded."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

import kgrec
from kgrec import cli, models
from kgrec.cli.output import LEAST_USERS_FOR_A_FIGURE, show_metrics
from kgrec.errors import KgrecError, UnknownName
from kgrec.evaluation.evaluation import evaluate
from kgrec.graph import Graph
from kgrec.model import Query, Recommender
from kgrec.run import Run, tasks_of, train
from kgrec.splits.split import split
from kgrec.training.config import TrainingConfig

BY_POPULARITY = "no history, by popularity"
ITEMS = list("abcde")
#: Users of a: ann, bob, cem, dan; of b: ann, bob, cem; of c: ann, bob, who has it twice; of d: ann; of e nobody
BOUGHT = [(user, "a", 1) for user in ("ann", "bob", "cem", "dan")] + [(user, "b", 2) for user in ("ann", "bob", "cem")]
BOUGHT += [("ann", "c", 3), ("bob", "c", 3), ("bob", "c", 4), ("ann", "d", 5)]
USERS = ["ann", "bob", "cem", "dan", "eve", "fay"]


def graph_of(
    bought: list[tuple],
    viewed: Sequence[tuple] = (),
    **more: Any,
) -> Graph:
    """Users who bought and viewed the items a to e: (user, item[, time])."""
    edges = {
        ("user", name, "item"): pd.DataFrame([(*row, 0)[:3] for row in rows], columns=["source", "target", "time"])
        for name, rows in (("bought", bought), ("viewed", viewed))
        if rows
    }
    nodes = {"user": pd.DataFrame({"id": USERS}), "item": pd.DataFrame({"id": ITEMS})}
    return Graph.from_frames(
        nodes=nodes | more.pop("nodes", {}),
        edges=edges | more.pop("edges", {}),
        target=("user", "bought", "item"),
        **more,
    )


class Backwards(Recommender):
    """Scores e over d over c over b over a, for everybody."""

    def __init__(self, graph: Graph, config: object = None) -> None:
        super().__init__(graph, config)
        self.first = graph.range(graph.target[2]).start
        self.register_buffer("none", torch.zeros(1))

    def score(self, query: Query, items: Tensor) -> Tensor:
        return (items - self.first).float().expand(len(query), items.shape[-1])


class BackwardsByHistory(Backwards):
    reads_history = True


def listed(run: Run, user: str, k: int = 5, **options: Any) -> list[str]:
    return run.recommend([user], k, **options)["item"]


# ---------------------------------------------------------------- whom a model knows


def test_one_without_a_history_gets_the_popular_items_whose_users_are_the_scores() -> None:
    graph = graph_of(BOUGHT)
    run = Run("backwards", Backwards(graph), graph)
    table = run.recommend(["eve", "dan"], 5)
    assert table["user"] == ["eve"] * 5 + ["dan"] * 4
    assert table["item"] == ["a", "b", "c", "d", "e", "e", "d", "c", "b"]
    assert table["score"][:5] == [4, 3, 2, 1, 0]  # bob, who has c twice, is one user of it
    assert table["reason"] == [BY_POPULARITY] * 5 + [None] * 4


def test_a_user_with_validation_edges_alone_is_unknown_to_a_model_that_knows_ids_and_known_to_one_that_reads_them() -> (
    None
):
    """Fay has d since training: left out of her list, which a model makes that reads histories; but not of e, of which
    it knows nothing."""
    known = graph_of([*BOUGHT, ("fay", "d", 6), ("eve", "e", 6)])
    trained = graph_of(BOUGHT)

    def run_of(kind: type[Backwards]) -> Run:
        model = kind(known)
        return Run("backwards", model, known, trained=kgrec.evaluation.trained_nodes.Trained(trained, model))

    by_id, by_history = run_of(Backwards), run_of(BackwardsByHistory)
    assert listed(by_id, "fay") == ["a", "b", "c", "e"] and listed(by_history, "fay") == ["e", "c", "b", "a"]
    assert by_id.recommend(["fay"], 1)["reason"] == ["no history in training, by popularity"]
    assert by_history.recommend(["fay"], 1)["reason"] == [None]
    assert listed(by_history, "eve") == ["a", "b", "c", "d"]
    assert by_history.recommend(["eve"], 1)["reason"] == ["no history in training, by popularity"]
    new = by_history.recommend(history={"one": ["a"], "two": ["e"]}, k=5)
    assert new["item"] == ["e", "d", "c", "b", "a", "b", "c", "d"]
    assert new["reason"] == [None] * 4 + ["no history in training, by popularity"] * 4


def test_lists_of_candidates_and_any_size_of_a_chunk_give_the_same() -> None:
    """Eve, to whom a, c and e are to be ranked, and the same with one item at a time."""
    from kgrec.graph import Candidates

    graph = graph_of(BOUGHT)
    held = graph_of([("eve", "c"), ("ann", "e")])
    lists = Candidates(torch.tensor([0, 4]), torch.tensor([0, 2, 5]), torch.tensor([1, 4, 0, 2, 4]))
    names = ["mrr@5"]
    found = evaluate(Backwards(graph), graph, held, metrics=names, candidates=lists)
    assert found.per_user.to_pydict() == {"user": ["ann", "eve"], "mrr@5": [1.0, 1 / 2]}  # e b; a c e
    assert found.counts["all"] == {"users": 2, "items": 2, "pairs": 2, "candidates": 2.5}
    whole = evaluate(Backwards(graph), graph, held, metrics=names)
    assert whole.per_user["mrr@5"].to_pylist() == [1.0, 1 / 3]
    assert evaluate(Backwards(graph), graph, held, metrics=names, cells=1).per_user.equals(whole.per_user)


#: Settings for a graph of 24 users, for those models that have a field of the name
SMALL: dict[str, Any] = {"dim": 4, "batch_size": 64, "length": 5, "layer_dims": (4,), "relation_dim": 4, "hidden": (4,)}
SMALL |= {"pretrain_epochs": 1, "adversarial_batch_size": 16, "noise_dim": 2, "draws": 2, "blocks": 1, "heads": 1}


def small(name: str) -> dict[str, Any]:
    hints = models.find(name).Config.__dataclass_fields__
    return {key: value for key, value in SMALL.items() if key in hints}


@pytest.fixture(scope="module")
def shop() -> Graph:
    """24 users who have some of 12 items, facts of the items, and one user of whom nothing is known."""
    rng = np.random.default_rng(3)
    user, item = (rng.random((24, 12)) < np.linspace(0.1, 0.8, 12)).nonzero()
    rows = {"source": [f"u{n}" for n in user], "target": [f"i{n}" for n in item], "time": rng.permutation(len(user))}
    genre = {"source": [f"i{n}" for n in range(12)], "target": [f"g{n % 3}" for n in range(12)]}
    return Graph.from_frames(
        nodes={
            "user": pd.DataFrame({"id": [*(f"u{n}" for n in range(24)), "nobody"]}),
            "item": pd.DataFrame({"id": [f"i{n}" for n in range(12)]}),
        },
        edges={
            ("user", "bought", "item"): pd.DataFrame(rows),
            ("item", "has_genre", "genre"): pd.DataFrame(genre),
        },
        target=("user", "bought", "item"),
    )


@pytest.mark.parametrize("name", [name for name in models.names() if "ranking" in tasks_of(name)])
def test_every_model_gives_popularitys_list_to_one_of_whom_nothing_is_known(name: str, shop: Graph) -> None:
    options: dict[str, Any] = {"split": "last_n:1,valid=1", "training": TrainingConfig(epochs=2, device="cpu")}
    run = train(name, shop, config=small(name), metrics=["mrr@12"], **options)
    table, popular = run.recommend(["nobody", "u1"], 12), train("popularity", shop, **options).recommend(["nobody"], 12)
    mine = table.to_pandas().query("user == 'nobody'")
    assert list(mine["item"]) == popular["item"] and list(mine["score"]) == popular["score"]
    assert set(mine["reason"]) == {BY_POPULARITY} == set(popular["reason"])
    assert set(table["reason"]) == {BY_POPULARITY, None}
    trained = split(shop, "last_n:1,valid=1").train.only("bought").edge_index
    count = torch.bincount(trained[1], minlength=12)
    assert list(mine["score"]) == count.sort(descending=True).values.tolist()


def test_what_else_a_model_knows_of_a_user_serves_before_popularity() -> None:
    """Eve viewed an item, fay has an age and guy a town; hal has none of these. Each model knows what it reads."""
    towns = pd.DataFrame({"source": ["guy"], "target": ["Rome"]})
    genres = pd.DataFrame({"source": ["a", "b"], "target": ["drama", "drama"]})
    users = pd.DataFrame({"id": [*USERS, "guy", "hal"], "age": [20.0, 30, 40, 50, None, 60, None, None]})
    graph = graph_of(
        BOUGHT,
        viewed=[("eve", "a"), ("ann", "b")],
        nodes={"user": users},
        edges={("user", "lives_in", "town"): towns, ("item", "has_genre", "genre"): genres},
        features={"user": {"age": "numeric"}},
    )
    config = TrainingConfig(epochs=1, device="cpu")

    def reasons(model: str, fields: dict[str, Any]) -> list[str | None]:
        run = train(model, graph, split="ratio:0.1", config=fields, training=config)
        return [run.recommend([user], 1)["reason"][0] for user in ("eve", "fay", "guy", "hal")]

    behaviours, profile = "no history, by other behaviours", "no history, by profile"
    assert reasons("mf", {"dim": 4}) == [BY_POPULARITY] * 4
    assert reasons("mf", {"dim": 4, "features": "age"}) == [BY_POPULARITY, profile, BY_POPULARITY, BY_POPULARITY]
    assert reasons("ease", {}) == [BY_POPULARITY] * 4
    assert reasons("sasrec", {"dim": 4, "heads": 1, "behaviours": ["viewed", "bought"]}) == [
        behaviours,
        *[BY_POPULARITY] * 3,
    ]
    every = [behaviours, BY_POPULARITY, "no history, by other edges", BY_POPULARITY]
    assert reasons("transe", {"dim": 4}) == every
    assert reasons("kgat", {"dim": 4, "layer_dims": (4,), "relation_dim": 4}) == every
    assert reasons("gan", {"condition": "features", "features": "age", "noise_dim": 2}) == [
        BY_POPULARITY,
        profile,
        BY_POPULARITY,
        BY_POPULARITY,
    ]


def test_where_users_are_items_too_one_who_is_followed_and_follows_nobody_is_known_by_all_edges_alone() -> None:
    """Ann and bob follow cem, cem follows ann and bob, and dan follows ann: eve, whom dan follows, gets ann, who has
    two, before cem, who has two as well, by chance, and bob, who has one."""
    rows = [("ann", "cem"), ("bob", "cem"), ("cem", "ann"), ("cem", "bob"), ("dan", "ann"), ("dan", "eve")]
    frame = pd.DataFrame([(*row, n) for n, row in enumerate(rows)], columns=["source", "target", "time"])
    graph = Graph.from_frames(edges={("user", "follows", "user"): frame}, target=("user", "follows", "user"))
    for name, fields in (("mf", {"dim": 2}), ("ease", {})):
        table = Run(name, models.build(name, graph, fields).eval(), graph).recommend(["eve"], 5)
        assert set(table["item"][:2]) == {"ann", "cem"} and table["item"][2:] == ["bob", "dan"]
        assert table["score"] == [2, 2, 1, 0] and set(table["reason"]) == {BY_POPULARITY}
    by_edges = Run("transe", models.build("transe", graph, {"dim": 2}).eval(), graph).recommend(["eve"], 1)
    assert by_edges["reason"] == ["no history, by other behaviours"]


@pytest.mark.parametrize("model", ["mf", "transe"])
def test_a_run_that_was_kept_serves_as_it_did(model: str, tmp_path: Path) -> None:
    """Also where it keeps no facts. A folder of before, that does not say what training saw, takes all it knows."""
    graph = graph_of([*BOUGHT, ("fay", "d", 6), ("fay", "e", 7)], viewed=[("eve", "a", 1), ("ann", "e", 2)])
    options: dict[str, Any] = {"split": "by_time:6,7", "config": {"dim": 4}, "metrics": ["mrr@5"], "lean": True}
    run = train(model, graph, training=TrainingConfig(epochs=1, device="cpu"), out=tmp_path / "run", **options)
    loaded = Run.load(tmp_path / "run")
    want, found = (one.recommend(["ann", "eve", "fay"], 5).to_dicts() for one in (run, loaded))
    assert found == want
    reason = {"mf": BY_POPULARITY, "transe": "no history, by other behaviours"}[model]
    assert [row["reason"] for row in found if row["rank"] == 1] == [
        None,
        reason,
        "no history in training, by popularity",
    ]
    old = tmp_path / "old"
    shutil.copytree(tmp_path / "run", old)
    (old / "trained.parquet").unlink()
    config = json.loads((old / "config.json").read_text())
    del config["files"]["trained.parquet"]
    (old / "config.json").write_text(json.dumps(config))
    assert Run.load(old).recommend(["fay"], 1)["reason"] == [None]
    damaged = pq.read_table(tmp_path / "run/trained.parquet").slice(1)
    pq.write_table(damaged, old / "trained.parquet")
    config["files"]["trained.parquet"] = kgrec.run_files.list_files(old)["trained.parquet"]
    (old / "config.json").write_text(json.dumps(config))
    with pytest.raises(KgrecError, match="10 rows, but there are 11 users and items; train again"):
        Run.load(old)


def test_answers_say_it_in_tables_json_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train("ease", graph_of(BOUGHT), split="last_n:1", out=tmp_path / "run")

    def said(*arguments: object) -> str:
        return spoken(capsys, monkeypatch, "recommend", tmp_path / "run", *arguments)

    table = said("--user", "eve", "--user", "dan", "--k", 2)
    assert f"for eve ({BY_POPULARITY})" in table and "for dan\n" in table
    one, other = json.loads(said("--user", "eve", "--user", "dan", "--k", 2, "--json"))
    assert one["reason"] == BY_POPULARITY and "reason" not in other
    for name in ("lists.csv", "lists.parquet"):
        said("--users", "all", "--k", 1, "--out", tmp_path / name)
    rows = pq.read_table(tmp_path / "lists.parquet").to_pydict()
    assert dict(zip(rows["user"], rows["reason"])) == {u: BY_POPULARITY if u in ("eve", "fay") else None for u in USERS}
    text = pd.read_csv(tmp_path / "lists.csv")
    assert list(text["reason"].isna()) == [user not in ("eve", "fay") for user in text["user"]]
    objects = kgrec.recommend(Run.load(tmp_path / "run"), ["eve", "dan"], k=2)
    assert [one.reason for one in objects] == [BY_POPULARITY, None]
    assert objects[0].to_arrow()["reason"].to_pylist() == [BY_POPULARITY] * 2


def spoken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object, code: int = 0
) -> str:
    """What a command prints to stdout. code: that it ends with."""
    monkeypatch.setattr(sys, "argv", ["kgrec", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert (end.value.code or 0) == code
    return capsys.readouterr().out


# ---------------------------------------------------------------- evaluation


#: At test: ann is held to e, which nobody has; eve, who has none, to b; fay, who has c in valid alone, to d
TRAINED = graph_of(BOUGHT)
KNOWN = graph_of([*BOUGHT, ("fay", "c", 6), ("cem", "e", 6)])
HELD = graph_of([("ann", "e", 9), ("eve", "b", 9), ("fay", "d", 9), ("fay", "d", 10)])


def test_the_headline_counts_those_without_a_history_and_the_mean_of_the_others_stands_beside_it() -> None:
    """Ann's list is e alone; eve's and fay's are by popularity: a b c d e, and a b d e."""
    found = evaluate(Backwards(KNOWN), KNOWN, HELD, metrics=["mrr@5", "recall@2", "coverage@1"], trained=TRAINED)
    assert found.per_user["mrr@5"].to_pylist() == [1 / 1, 1 / 2, 1 / 3]
    assert found.metrics == pytest.approx(
        {"mrr@5": (1 + 1 / 2 + 1 / 3) / 3, "recall@2": (1 + 1 + 0) / 3, "coverage@1": 2 / 5}
    )
    assert found.with_history == {"mrr@5": 1.0, "recall@2": 1.0, "coverage@1": 1 / 5}
    assert found.without_history == {"users": 2, "by_popularity": 2}
    reading = evaluate(BackwardsByHistory(KNOWN), KNOWN, HELD, metrics=["mrr@5"], trained=TRAINED)
    assert reading.per_user["mrr@5"].to_pylist() == [1 / 1, 1 / 2, 1 / 2]  # fay's is e d b a
    assert reading.without_history == {"users": 2, "by_popularity": 1, "by_later_history": 1}
    assert reading.with_history == {"mrr@5": 1.0}


def test_where_all_have_a_history_nothing_stands_beside_it() -> None:
    held = graph_of([("dan", "e"), ("cem", "c")])
    found = evaluate(Backwards(TRAINED), TRAINED, held, metrics=["mrr@5"])
    assert (found.with_history, found.without_history) == ({}, {}) and set(found.counts) == {"all", "warm", "cold"}


def test_an_item_is_cold_that_has_no_edge_in_training_though_it_has_one_since() -> None:
    """E has an edge in valid alone, so it is cold, and is ranked alone; d is warm by one edge."""
    found = evaluate(Backwards(KNOWN), KNOWN, HELD, metrics=["mrr@5", "popularity@5"], trained=TRAINED)
    assert found.cold["mrr@5"] == 1.0 and found.warm["mrr@5"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert found.counts == {
        "all": {"users": 3, "items": 3, "pairs": 3, "candidates": 5},
        "warm": {"users": 2, "items": 2, "pairs": 2, "candidates": 4},
        "cold": {"users": 1, "items": 1, "pairs": 1, "candidates": 1},
        "with_history": {"users": 1, "items": 1, "pairs": 1, "candidates": 5},
    }
    # edges in training: a 4, b 3, c 3 (bob's two), d 1, e 0; ann gets e, eve a b c d e, fay a b d e
    assert found.metrics["popularity@5"] == pytest.approx((0 + 11 / 5 + 8 / 4) / 3)
    before = evaluate(Backwards(KNOWN), KNOWN, HELD, metrics=["mrr@5"])  # all that is known trained
    assert before.cold == {} and before.with_history["mrr@5"] == pytest.approx((1 + 1 / 2) / 2)


def test_ratings_are_the_models_own_and_the_users_are_counted() -> None:
    model = Backwards(KNOWN)
    model.task = "rating"  # type: ignore[assignment]
    found = evaluate(model, KNOWN, HELD, metrics=["mae"], trained=TRAINED)
    # ratings are 1; e is predicted 4, b 1 and d 3, twice
    assert found.metrics["mae"] == (3 + 0 + 2 + 2) / 4 and found.with_history["mae"] == 3
    assert found.without_history == {"users": 2}
    assert found.counts["all"] == {"users": 3, "items": 3, "pairs": 3, "edges": 4}
    assert found.counts["cold"] == {"users": 1, "items": 1, "pairs": 1, "edges": 1}


def test_a_training_says_all_of_it_in_its_metrics_and_measures_the_same_again(tmp_path: Path) -> None:
    """By time: valid is fay's c and cem's e, test is ann's e, eve's b and fay's d; refit, c alone makes fay known."""
    rows = [*BOUGHT, ("fay", "c", 6), ("cem", "e", 6), ("ann", "e", 9), ("eve", "b", 9), ("fay", "d", 9)]
    graph = graph_of(rows)
    name = "by_time:6,7; full ranking; users without history by popularity"
    options: dict[str, Any] = {"split": "by_time:00006,00007", "metrics": ["mrr@5"], "config": {"l2": 1.0}}
    run = train("ease", graph, out=tmp_path / "run", **options)
    metrics = run.metrics
    assert metrics["protocol"] == name.replace("6,7", "00006,00007")
    assert metrics["counts"]["valid"] == {"users": 2, "items": 2, "pairs": 2, "candidates": 5}
    assert metrics["counts"]["test"] == {"users": 3, "items": 3, "pairs": 3, "candidates": 5}
    assert metrics["counts"]["test_cold"]["candidates"] == 1 and set(metrics["test_cold"]) == {"mrr@5", "ndcg@10"}
    assert metrics["without_history"] == {"users": 2, "by_popularity": 1, "by_later_history": 1}
    again = Run.load(tmp_path / "run").measure(graph, metrics=["mrr@5", "ndcg@10"])
    same = ("protocol", "test", "test_with_history", "test_warm", "test_cold", "without_history", "num_users")
    assert {key: again[key] for key in same} == {key: metrics[key] for key in same}
    refit = train("ease", graph, refit=True, out=tmp_path / "refit", **options)
    assert refit.metrics["protocol"].endswith("; users without history by popularity, refit on train + valid")
    assert "test_cold" not in refit.metrics and refit.metrics["without_history"] == {"users": 1, "by_popularity": 1}
    again = Run.load(tmp_path / "refit").measure(graph, metrics=["mrr@5", "ndcg@10"])
    assert again["test"] == refit.metrics["test"] and again["protocol"] == refit.metrics["protocol"]


def test_the_protocol_names_the_fallback_where_the_split_has_such_users_whatever_the_model() -> None:
    rows = [("ann", "a", 1), ("ann", "b", 9), ("bob", "a", 2), ("bob", "c", 9)]
    everyone = split(graph_of(rows), "by_time:8,9")
    assert everyone.protocol == "by_time:8,9; full ranking"
    without = split(graph_of([*rows, ("cem", "a", 9)]), "by_time:8,9")
    assert without.protocol == "by_time:8,9; full ranking; users without history by popularity"
    both = split(graph_of([*rows, ("cem", "a", 9)], [("ann", "a")]), "by_time:8,9", exclude=["viewed", "bought"])
    assert both.named(refit=True) == (
        "by_time:8,9; full ranking, excluding bought, viewed; users without history by popularity, "
        "refit on train + valid"
    )


# ---------------------------------------------------------------- what is excluded

VIEWED = [("dan", "e", 1), ("dan", "d", 1), ("eve", "a", 1)]


def test_by_default_what_was_viewed_may_be_recommended_and_with_exclude_it_is_not(tmp_path: Path) -> None:
    """Dan bought a, and viewed d and e."""
    graph = graph_of(BOUGHT, VIEWED)
    run = Run("backwards", Backwards(graph), graph)
    assert listed(run, "dan") == ["e", "d", "c", "b"]
    assert listed(run, "dan", exclude="viewed") == listed(run, "dan", exclude=["viewed", "bought"]) == ["c", "b"]
    assert listed(run, "dan", exclude=["viewed"], include_seen=True) == ["c", "b", "a"]
    assert listed(run, "eve", exclude="viewed") == ["b", "c", "d", "e"]
    with pytest.raises(UnknownName, match="no behaviour 'vewed' to exclude in this graph; did you mean 'viewed'"):
        listed(run, "dan", exclude="vewed")
    with pytest.raises(KgrecError, match="items of 'bought' are both kept in the lists and excluded from them"):
        listed(run, "dan", exclude="bought", include_seen=True)
    kept = train("popularity", graph, split="last_n:1", out=tmp_path / "run")
    loaded = Run.load(tmp_path / "run")  # whose history is of what was bought alone
    for user in ("dan", "eve"):
        assert listed(loaded, user, exclude="viewed") == listed(kept, user, exclude="viewed") != listed(kept, user)
    train("popularity", graph, split="last_n:1", lean=True, out=tmp_path / "lean")
    with pytest.raises(KgrecError, match="lean"):
        listed(Run.load(tmp_path / "lean"), "dan", exclude="viewed")
    with pytest.raises(UnknownName, match="no behaviour 'seen' to exclude"):
        listed(Run.load(tmp_path / "lean"), "dan", exclude="seen")


def test_a_relation_that_leads_from_items_to_users_is_a_behaviour_too() -> None:
    shown = pd.DataFrame({"source": ["e", "d"], "target": ["dan", "dan"]})
    graph = graph_of(BOUGHT, edges={("item", "shown_to", "user"): shown})
    assert listed(Run("backwards", Backwards(graph), graph), "dan", exclude="shown_to") == ["c", "b"]


def test_of_a_new_users_steps_the_targets_are_left_out_and_others_where_they_are_excluded() -> None:
    graph = graph_of(BOUGHT, [*VIEWED, *((user, "c", 2) for user in USERS)])

    class Both(BackwardsByHistory):
        behaviours = ("bought", "viewed")

    run = Run("both", Both(graph), graph)
    history = pd.DataFrame({"item": ["a", "e"], "behaviour": ["bought", "viewed"]})
    assert run.recommend(history=history, k=5)["item"] == ["e", "d", "c", "b"]
    assert run.recommend(history=history, k=5, exclude="viewed")["item"] == ["d", "c", "b"]
    assert run.recommend(history=history, k=5, exclude="viewed", include_seen=True)["item"] == ["d", "c", "b", "a"]
    assert run.recommend(history=["a"], k=5, include_seen=True)["item"] == ["e", "d", "c", "b", "a"]


def test_an_excluded_item_is_ranked_to_nobody_in_an_evaluation_and_a_pair_of_it_is_missed() -> None:
    """Of dan's c and e the second was viewed: his list is c b, which has one of two."""
    known = graph_of(BOUGHT, VIEWED)
    held = graph_of([("dan", "c", 9), ("dan", "e", 9)], VIEWED)
    names = ["recall@5", "mrr@5"]
    plain = evaluate(Backwards(known), known, held, metrics=names)
    assert plain.metrics == {"recall@5": 1.0, "mrr@5": 1.0} and plain.num_unrankable == 0
    without = evaluate(Backwards(known), known, held, metrics=names, exclude=["viewed"])
    assert without.metrics == {"recall@5": 1 / 2, "mrr@5": 1.0} and without.num_unrankable == 1
    assert without.counts["all"] == {"users": 1, "items": 2, "pairs": 2, "excluded": 1, "candidates": 5}
    seen = graph_of([("dan", "a", 9), ("dan", "e", 9)], VIEWED)  # dan has a, and viewed e
    both = evaluate(Backwards(known), known, seen, metrics=names, exclude=["viewed"])
    assert both.metrics == {"recall@5": 0.0, "mrr@5": 0.0} and both.num_unrankable == 2
    with pytest.raises(UnknownName, match="no behaviour 'carted'"):
        evaluate(Backwards(known), known, held, exclude=["carted"])


def test_exclude_is_kept_by_a_run_and_is_part_of_its_protocol(tmp_path: Path) -> None:
    graph = graph_of([*BOUGHT, ("dan", "c", 9), ("dan", "e", 9)], VIEWED)
    options: dict[str, Any] = {"split": "by_time:8,9", "metrics": ["recall@5"]}
    run = train("popularity", graph, exclude="viewed", out=tmp_path / "run", **options)
    assert run.metrics["protocol"] == "by_time:8,9; full ranking, excluding viewed"
    assert run.metrics["test"]["recall@5"] == 1 / 2
    loaded = Run.load(tmp_path / "run")
    assert loaded.exclude == ("viewed",)
    assert loaded.measure(graph)["protocol"] == run.metrics["protocol"]
    plain = loaded.measure(graph, metrics=["recall@5"], exclude=())
    assert plain["protocol"] == "by_time:8,9; full ranking" and plain["test"]["recall@5"] == 1.0
    with pytest.raises(UnknownName, match="no behaviour 'carted'"):
        train("popularity", graph, exclude=["carted"], **options)
    with pytest.raises(KgrecError, match="published lists of candidates are ranked as they are"):
        lists = kgrec.graph.Candidates(torch.tensor([3]), torch.tensor([0, 2]), torch.tensor([2, 4]))
        train("popularity", replace(graph, candidates={"few": lists}), candidates="few", exclude="viewed", **options)
    with pytest.raises(KgrecError, match=r"task link ranks facts, .* 'viewed' cannot be excluded"):
        train("transe", graph_with_genres(), task="link", exclude="viewed", config={"dim": 2})


def graph_with_genres() -> Graph:
    facts = pd.DataFrame([(item, f"g{n}") for n, item in enumerate(ITEMS * 4)], columns=["source", "target"])
    return graph_of(BOUGHT, VIEWED, edges={("item", "has_genre", "genre"): facts})


# ---------------------------------------------------------------- tables


def shown(capsys: pytest.CaptureFixture[str], **metrics: Any) -> str:
    show_metrics({"model": "mf", "protocol": "last_n:1", **metrics})
    return capsys.readouterr().out


def test_a_figure_over_few_users_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {
        "test": {"users": 1200, "items": 40, "pairs": 1300, "candidates": 50},
        "test_cold": {"users": LEAST_USERS_FOR_A_FIGURE - 1, "items": 7, "pairs": 29, "candidates": 7},
        "test_warm": {"users": LEAST_USERS_FOR_A_FIGURE, "items": 33, "pairs": 1271, "candidates": 43},
    }
    parts = {part: {"recall@10": 0.5} for part in counts}
    text = shown(capsys, **parts, counts=counts, num_users=1200, without_history={"users": 9, "by_popularity": 9})
    rows = [line.split() for line in text.splitlines()]
    assert ["metric", "test", "test_warm", "test_cold"] in rows and ["users", "1,200", "30", "29"] in rows
    assert ["candidates", "50", "43", "7"] in rows
    assert [line for line in text.splitlines() if "too few" in line] == [
        "test_cold: only 29 users, too few for a reliable mean"
    ]
    assert "9 of 1,200 users have no history in training: 9 served by popularity" in text


def test_windows_and_comparisons_over_few_users_say_so_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three users of the test in the last ten seconds, of whom eve has no history."""
    rows = [*BOUGHT, ("cem", "e", 20), ("ann", "e", 21), ("eve", "b", 22)]
    graph_of(rows).save(tmp_path / "graph")
    window = ("--every", "1m", "--windows", 1, "--no-valid", "--metrics", "mrr@5")
    spoken_of = spoken(capsys, monkeypatch, "backtest", "popularity", tmp_path / "graph", *window, code=1)
    assert spoken_of == ""  # all edges are in one window of a minute
    later = [(user, item, 60 * time) for user, item, time in rows]
    graph_of(later).save(tmp_path / "later")
    window = ("--every", "3m", "--windows", 1, "--no-valid", "--metrics", "mrr@5")
    text = spoken(capsys, monkeypatch, "backtest", "popularity", tmp_path / "later", *window)
    assert (
        "users without history by popularity" in text
        and "1970-01-01T00:19Z: only 3 users, too few for a reliable mean" in text
    )
    for model in ("popularity", "ease"):
        train(model, graph_of(later), split="by_time:01200,01200", metrics=["mrr@5"], out=tmp_path / model)
    text = spoken(capsys, monkeypatch, "compare", tmp_path / "popularity", tmp_path / "ease", "--resamples", 10)
    assert "the comparison: only 3 users, too few for a reliable mean" in text


def test_metrics_of_before_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, test={"recall@10": 0.5}, test_cold={"recall@10": 1.0}, valid={}, num_users=3)
    assert "recall@10   0.5000      1.0000" in text and "too few" not in text and "users " in text
