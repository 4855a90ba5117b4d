"""What a Run answers: by hand on small graphs, batched as alone, and an error that says what to do for bad input."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import kgrec
from kgrec import models
from kgrec.errors import BadData, KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.run import Run, measure
from kgrec.serving.answers import Table, joined
from kgrec.serving.recommendation import by_user, recommend
from kgrec.training.config import TrainingConfig

ROWS = [("ann", "x", 1), ("ann", "y", 2), ("bob", "x", 1), ("bob", "y", 2), ("bob", "z", 3), ("cem", "x", 1)]
ROWS += [("7", "x", 1), ("7", "w", 2)]  # x 4 times, y 2, z 1, w 1
ITEMS = pd.DataFrame({"id": ["x", "y", "z", "w"], "label": ["Alien", "Brazil", None, ""]})
GRAPH = Graph.from_frames(
    nodes={"item": ITEMS},
    edges={("user", "rated", "item"): pd.DataFrame(ROWS, columns=["source", "target", "time"])},
)
SMALL = {"dim": 8, "negatives": 4}


def run_of(model: str, graph: Graph = GRAPH, **config: object) -> Run:
    return Run(model, models.build(model, graph, config).eval(), graph)


def ease_scores(history: list[str], l2: float = 1.0) -> dict[str, float]:
    """EASE by its closed form (Steck 2019, eq. 8): x B with B = I - P / diag(P), P = (X'X + l2 I)^-1."""
    users, items = ["ann", "bob", "cem", "7"], ["x", "y", "z", "w"]
    known = np.zeros((4, 4))
    for user, item, _ in ROWS:
        known[users.index(user), items.index(item)] = 1
    inverse = np.linalg.inv(known.T @ known + l2 * np.eye(4))
    weight = np.eye(4) - inverse / np.diag(inverse)
    row = np.array([float(item in history) for item in items])
    return dict(zip(items, row @ weight))


# ---------------------------------------------------------------------- known users


def test_a_table_of_known_users_by_hand() -> None:
    """By popularity: what ann lacks is z and w, of one user each; what cem lacks begins with y, of two."""
    table = run_of("popularity").recommend(["cem", "ann"], k=2)
    assert table.columns == ["user", "rank", "item", "label", "score", "reason"]
    rows = table.to_dicts()
    assert [(r["user"], r["rank"], r["score"]) for r in rows] == [
        ("cem", 1, 2), ("cem", 2, 1), ("ann", 1, 1), ("ann", 2, 1)
    ]  # fmt: skip
    assert rows[0]["item"] == "y" and rows[0]["label"] == "Brazil" and rows[0]["reason"] is None
    assert {r["item"] for r in rows[2:]} == {"z", "w"}
    assert all(r["label"] == r["item"] for r in rows[2:])  # none, and one of no letters
    seen = run_of("popularity").recommend("ann", k=4, include_seen=True)
    assert (seen["item"][:2], seen["score"]) == (["x", "y"], [4, 2, 1, 1])


@pytest.mark.parametrize(
    "users",
    [
        ["ann", "7"],
        ("ann", "7"),
        iter(["ann", "7"]),
        np.array(["ann", "7"]),
        pd.Series(["ann", "7"], index=[5, 5]),
        pd.Series(["ann", "7"], dtype="category"),
        pd.Index(["ann", "7"]),
        pa.array(["ann", "7"]),
        pa.chunked_array([["ann"], ["7"]]),
        pd.DataFrame({"age": [1, 2], "user": ["ann", "7"]}),
        pa.table({"user": ["ann", "7"]}),
    ],
)
def test_users_in_any_form(users: object) -> None:
    table = run_of("ease").recommend(users, k=1)
    assert table["user"] == ["ann", "7"] and table.users == ["ann", "7"]


@pytest.mark.parametrize("users", [7, np.int64(7), [7], np.array([7]), pd.Series([7], dtype="Int64"), "7"])
def test_a_whole_number_is_the_id_as_it_is_written(users: object) -> None:
    assert run_of("ease").recommend(users, k=1)["user"] == ["7"]


def test_all_is_everyone_unless_somebody_is_called_so() -> None:
    table = run_of("popularity").recommend("all", k=1)
    assert table["user"] == ["ann", "bob", "cem", "7"]
    frame = pd.DataFrame({"source": ["all", "eve", "eve"], "target": ["x", "x", "y"]})
    run = run_of("popularity", Graph.from_frames(edges={("user", "rated", "item"): frame}))
    assert run.recommend(["all"], k=1)["item"] == ["y"]
    with pytest.raises(
        KgrecError, match=r"users='all' is everyone, and a user of this run is called so; say \['all'\]"
    ):
        run.recommend("all", k=1)


def test_a_user_who_is_named_twice_is_answered_once_where_first_named() -> None:
    run = run_of("popularity")
    assert run.recommend(["cem", "ann", "cem"], k=1)["user"] == ["cem", "ann"]
    assert recommend(run, "cem", k=1)[0].user == "cem"
    with pytest.raises(BadData, match="users entry 2: 7 is a number, where 'ann' before it is text"):
        recommend(run, ["ann", 7], k=1)
    shown = recommend(run, ["cem", "ann", "cem"], k=1)  # the function answers in step with its list
    assert [one.user for one in shown] == ["cem", "ann", "cem"] and shown[0] == shown[2]


def test_nobody_is_answered_by_an_empty_table() -> None:
    for nobody in ([], pd.Series([], dtype=object), pd.DataFrame({"user": []})):
        table = run_of("ease").recommend(nobody, k=1)
        assert (len(table), table.users) == (0, [])
        assert table.columns == ["user", "rank", "item", "label", "score", "reason"]
        assert table.to_arrow().schema == run_of("ease").recommend("ann", k=1).to_arrow().schema


def test_who_has_all_is_answered_without_rows() -> None:
    """ann lacks one item of two, bob none."""
    frame = pd.DataFrame({"source": ["ann", "bob", "bob"], "target": ["x", "x", "y"]})
    run = run_of("popularity", Graph.from_frames(edges={("user", "rated", "item"): frame}))
    table = run.recommend(["bob", "ann"], k=2)
    assert table.users == ["bob", "ann"] and table["user"] == ["ann"]
    assert [(one.user, one.items) for one in by_user(table)] == [("bob", []), ("ann", ["y"])]


def test_the_function_and_the_method_say_the_same(planted: Graph) -> None:
    run = run_of("mf", planted, dim=8)
    ids = planted.vocabulary["user"].ids(range(60))
    table, lists = run.recommend(ids, k=5), recommend(run, ids, k=5)
    assert by_user(table) == lists
    assert table["rank"] == [1, 2, 3, 4, 5] * 60
    scores = np.array(table["score"]).reshape(60, 5)
    assert (np.diff(scores) <= 0).all()


def test_parts_are_the_whole(planted: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of("popularity", planted)
    whole = run.recommend("all", k=3)
    monkeypatch.setattr("kgrec.serving.ranked_lists.CHUNK", 7)
    parts = list(run.recommend_in_parts("all", k=3))
    assert [len(part) for part in parts] == [21] * 8 + [12]
    assert joined(parts).to_arrow().equals(whole.to_arrow())


def test_the_first_part_is_asked_for_and_errors_come_before() -> None:
    with pytest.raises(UnknownName):
        run_of("popularity").recommend_in_parts(["eve"], k=1)


# ---------------------------------------------------------------------- new users


def test_a_list_is_one_new_user_by_hand() -> None:
    """EASE scores the history's row times its weights."""
    run, expected = run_of("ease", l2=1.0), ease_scores(["x", "z"])
    table = run.recommend(history=["x", "z"], k=2)
    assert table["user"] == ["new user"] * 2
    assert table["item"] == sorted(["y", "w"], key=lambda item: -expected[item])
    assert table["score"] == pytest.approx(sorted((expected["y"], expected["w"]), reverse=True), abs=1e-6)
    assert run.recommend("zoe", history=["x", "z"], k=2)["user"] == ["zoe", "zoe"]


def test_a_mapping_and_tables_are_many_new_users_by_hand(tmp_path: Path) -> None:
    """zoe has x and z, yan has y; rows of one user stand apart in the table."""
    run = run_of("ease", l2=1.0)
    frame = pd.DataFrame({"user": ["zoe", "yan", "zoe"], "item": ["x", "y", "z"], "note": [1, 2, 3]})
    frame.to_csv(tmp_path / "h.csv", index=False)
    frame.to_parquet(tmp_path / "h.parquet")
    histories = [{"zoe": ["x", "z"], "yan": np.array(["y"])}, frame, pa.Table.from_pandas(frame)]
    for history in (*histories, tmp_path / "h.csv", tmp_path / "h.parquet"):
        table = run.recommend(history=history, k=2)
        assert table["user"] == ["zoe", "zoe", "yan", "yan"] and table.users == ["zoe", "yan"]
        for user, seen in (("zoe", ["x", "z"]), ("yan", ["y"])):
            expected = ease_scores(seen)
            best = sorted(expected.keys() - set(seen), key=lambda item: -expected[item])[:2]
            rows = [row for row in table if row["user"] == user]
            assert [row["item"] for row in rows] == best
            assert [row["score"] for row in rows] == pytest.approx([expected[item] for item in best], abs=1e-6)


def test_a_new_user_of_a_known_ones_history_is_answered_as_it(planted: Graph) -> None:
    run = run_of("ease", planted)
    user, item = planted.only("rated").edge_index
    names, items = planted.vocabulary["user"].ids(user), planted.vocabulary["item"].ids(item)
    frame = pd.DataFrame({"user": [f"new {name}" for name in names], "item": items})
    known = run.recommend("all", k=5)
    new = run.recommend(history=frame, k=5)
    assert new.users == [f"new {name}" for name in dict.fromkeys(names)]
    of_known = {one.user: one.items for one in by_user(known)}
    assert {one.user: one.items for one in by_user(new)} == {f"new {name}": v for name, v in of_known.items()}


def test_a_history_takes_the_place_of_what_the_run_knows() -> None:
    """ann of the history has z alone, so that x and y are no longer hers; bob is answered from the run."""
    run = run_of("ease", l2=1.0)
    table = run.recommend(["ann", "bob"], history={"ann": ["z"]}, k=3)
    assert table.users == ["bob", "ann"]  # the known first
    expected = ease_scores(["z"])
    of_ann = [row for row in table if row["user"] == "ann"]
    assert [row["item"] for row in of_ann] == sorted(["x", "y", "w"], key=lambda item: -expected[item])
    assert [row["item"] for row in table if row["user"] == "bob"] == ["w"]
    everyone = run.recommend("all", history={"ann": ["z"], "zoe": ["x"]}, k=1)
    assert everyone.users == ["bob", "cem", "7", "ann", "zoe"]


@pytest.mark.parametrize("model", ["gruatt", "sasrec", "gru4rec", "esasrec", "bert4rec"])
def test_many_new_users_at_once_are_those_one_by_one(
    model: str, planted: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of histories from one to nine steps, in batches of five, in chunks of nine."""
    run, rng = run_of(model, planted, **SMALL), np.random.default_rng(1)
    items = planted.vocabulary["item"].ids(range(40))
    history = {f"n{n}": list(rng.choice(items, n % 9 + 1, replace=False)) for n in range(20)}
    monkeypatch.setattr("kgrec.serving.ranked_lists.CHUNK", 9)
    monkeypatch.setattr("kgrec.evaluation.ranking.LEAST_USERS", 5)
    monkeypatch.setattr("kgrec.evaluation.ranking.Scorer.__init__.__defaults__", (5, 5 * 40))
    many = by_user(run.recommend(history=history, k=6))
    assert [one.user for one in many] == list(history)
    for one in many:
        (alone,) = by_user(run.recommend(one.user, history=history[one.user], k=6))
        assert one.items == alone.items
        assert one.scores == pytest.approx(alone.scores, abs=1e-5)
        assert not set(one.items) & set(history[one.user])


@pytest.mark.cuda
def test_answers_on_a_device_are_those_of_the_cpu(planted: Graph, tmp_path: Path) -> None:
    training = TrainingConfig(device="cpu", epochs=1)
    kgrec.train("gruatt", planted, split="last_n:1", config=SMALL, training=training, out=tmp_path / "run")
    cpu, cuda = (Run.load(tmp_path / "run", device=device) for device in ("cpu", "cuda"))
    history = {"n1": ["i1", "i2", "i3"], "n2": ["i4"]}
    here, there = (run.recommend("all", k=5, history=history, why=True) for run in (cpu, cuda))
    assert there["item"] == here["item"] and there["score"] == pytest.approx(here["score"], abs=1e-4)
    assert there["reason"] == here["reason"]
    assert there.why is not None and here.why is not None and there.why["item"] == here.why["item"]
    assert cuda.vectors("item").matrix == pytest.approx(cpu.vectors("item").matrix)


def test_steps_are_read_in_order_of_time(planted: Graph) -> None:
    """The same steps: in order, and out of order with times as seconds, text and moments."""
    run = run_of("gru4rec", planted, **SMALL)
    in_order = run.recommend(history=["i1", "i2", "i3"], k=5)
    moments = pd.to_datetime(["2020-01-03", "2020-01-01", "2020-01-02"])
    for time in ([30, 10, 20], ["30", "10", "20"], moments, [30.0, None, 20.0]):
        table = run.recommend(history=pd.DataFrame({"item": ["i3", "i1", "i2"], "time": time}), k=5)
        assert table["item"] == in_order["item"] and table["score"] == pytest.approx(in_order["score"])
        assert table.notes == ("the history's rows are not in order of time; they are read in that order",)
    other = run.recommend(history=["i3", "i2", "i1"], k=5)
    assert other["score"] != pytest.approx(in_order["score"]) and other.notes == ()


def test_a_weight_of_a_step_is_read() -> None:
    """SVD++ adds the weight less the mean times a vector: other weights, another score."""
    run = run_of("svdpp", task="rating", dim=4)
    frame = pd.DataFrame({"item": ["x", "y"], "weight": [1.0, 1.0]})
    assert run.recommend(history=frame, k=2)["score"] == run.recommend(history=["x", "y"], k=2)["score"]
    assert (
        run.recommend(history=frame.assign(weight=[5.0, 1.0]), k=2)["score"]
        != run.recommend(history=frame, k=2)["score"]
    )


# ---------------------------------------------------------------------- why


def test_a_reason_names_the_past_items_of_most_attention(planted: Graph) -> None:
    run = run_of("gruatt", planted, **SMALL)
    table = run.recommend(["u1", "u2"], k=2, why=True)
    assert table.why is not None
    assert table.why.columns == ["user", "item", "label", "attention", "evidence", "strength"]
    of_one = [row for row in table.why if row["user"] == "u1"]
    shares = [row["attention"] for row in of_one]
    assert sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True) and len(of_one) == 10
    first = ", ".join(f"{row['label']} ({row['attention']:.0%})".replace("%", " %") for row in of_one[:3])
    assert table["reason"][:2] == [f"because of {first} and 7 more"] * 2
    new = run.recommend(history=["i1", "i2"], k=1, why=True)
    assert new.why is not None and set(new.why["item"]) == {"i1", "i2"} and new["reason"][0].startswith("because of i")
    assert [step.item for step in by_user(new)[0].why or ()] == new.why["item"]


# ---------------------------------------------------------------------- bad input


Bad = Callable[[Run], object]
MIXED = "ids are all text or all whole numbers: convert them with str"
DECIMAL = "an id is missing, which makes whole numbers decimal in pandas; leave out what has no id, or keep the column"


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (["ann", 7], f"users entry 2: 7 is a number, where 'ann' before it is text; {MIXED}"),
        ([None, 7, "ann"], f"users entry 3: 'ann' is text, where 7 before it is a number; {MIXED}"),
        (pd.Series([7, "ann"]), f"users entry 2: 'ann' is text, where 7 before it is a number; {MIXED}"),
        (pd.Series([7, None]), f"users entry 2: {DECIMAL} as dtype 'Int64'"),
        ([7.0], "users entry 1: 7.0 is a decimal number, and no id; convert whole numbers with .astype('int64')"),
        (7.5, "users entry 1: 7.5 is a decimal number, and no id"),
        (["ann", None], "users entry 2: an id is missing; leave out what has no id"),
        ([float("nan"), "ann", None], "users entry 1: an id is missing, and 1 more; leave out what has no id"),
        (True, "users entry 1: True is no id; ids are text or whole numbers"),
        ([["ann"]], "users entry 1: ['ann'] is no id; ids are text or whole numbers"),
        (pd.DataFrame(), "no single column 'user' in users; there are none"),
        (pd.DataFrame({"usr": ["ann"]}), "no single column 'user' in users; did you mean 'usr'? There are: usr"),
        (pd.DataFrame([["a", "b"]], columns=["user", "user"]), "no single column 'user' in users"),
        (pd.DataFrame({"user": ["ann", None]}), "users row 2: user: an id is missing"),
        ({"ann": 1}, "users: dict is no list of ids; a list, an array or a Series is wanted"),
        (np.array([["ann"]]), "users: an array of 2 dimensions is no list of ids; one of 1 is wanted"),
        (object(), "users: object is no list of ids"),
        ("zoe", "no user 'zoe' among the 4 known; known are such as 'ann', 'bob', 'cem'"),
        (["ann", "zoe", "yan"], "no user 'zoe', 'yan' among the 4 known"),
        (
            None,
            "say whom to recommend to: users=..., or history=... or profile=... for new ones; users='all' is everyone",
        ),
    ],
)
def test_what_is_wrong_with_users_is_said(users: object, message: str) -> None:
    with pytest.raises(KgrecError) as raised:
        run_of("ease").recommend(users, k=1)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], "history names no item; a new user needs at least one"),
        ({}, "history names no user; a mapping of one user or more to item ids is wanted"),
        ({"zoe": []}, "history of 'zoe' names no item; a new user needs at least one"),
        ({"zoe": "x"}, "history of 'zoe' is 'x', one id alone; a list of item ids is wanted"),
        ({"zoe": ["x", 7]}, f"history of 'zoe' entry 2: 7 is a number, where 'x' before it is text; {MIXED}"),
        ({"zoe": ["x"], 7: ["x"]}, "history's users entry 2: 7 is a number, where 'zoe' before it is text"),
        ("x", "history is 'x', one id alone; a list of item ids, a mapping of user to item ids, or a table with"),
        (["x", "q"], "history row 2: no item 'q' among the 4 known; known are such as 'x', 'y', 'z'"),
        (pd.DataFrame(), "no single column 'item' in history; there are none"),
        (pd.DataFrame({"item": []}), "history names no item; a new user needs at least one"),
        (pd.DataFrame({"item": ["x"], "users": ["zoe"]}), "no column 'user' in history; did you mean 'users'? Rename"),
        (pd.DataFrame({"item": ["x"], "User_ID": ["zoe"]}), "no column 'user' in history; did you mean 'User_ID'?"),
        (
            pd.DataFrame([["x", "y"]], columns=["item", "item"]),
            "no single column 'item' in history: it stands there 2 times",
        ),
        ({"user": ["zoe"], "item": ["x"]}, "history is a mapping with the key 'item', a column's name;"),
        (pd.DataFrame({"itme": ["x"]}), "no single column 'item' in history; did you mean 'itme'? There are: itme"),
        (pd.DataFrame({"item": ["x", None]}), "history row 2: item: an id is missing; leave out what has no id"),
        (pd.DataFrame({"item": [7, None]}), f"history row 2: item: {DECIMAL}"),
        (pd.DataFrame({"item": ["x", 7]}), "history row 2: item: 7 is a number, where 'x' before it is text"),
        (pd.DataFrame({"item": ["x"], "user": [None]}), "history row 1: user: an id is missing"),
        (pd.DataFrame({"item": ["x"], "time": ["soon"]}), "history row 1: time 'soon' is no number; unix seconds are"),
        (pd.DataFrame({"item": ["x"], "time": [True]}), "history: time is a column of bool that holds no times; unix"),
        (pd.DataFrame({"item": ["x"], "weight": [None]}), "history row 1: weight is missing or not finite; a rating"),
        (pd.DataFrame({"item": ["x"], "weight": ["a"]}), "history row 1: weight 'a' is no number; a rating or a count"),
        (pd.DataFrame({"item": ["x"], "behaviour": ["saw"]}), "history row 1: no behaviour 'saw' of ease; there are"),
        (Path("none.csv"), "none.csv: "),
    ],
)
def test_what_is_wrong_with_a_history_is_said(history: object, message: str) -> None:
    with pytest.raises(KgrecError) as raised:
        run_of("ease").recommend(history=history, k=1)
    assert str(raised.value).startswith(message)


def test_errors_carry_their_place_as_fields() -> None:
    with pytest.raises(BadData) as raised:
        run_of("ease").recommend(history=pd.DataFrame({"item": ["x", "y"], "time": ["1", "soon"]}), k=1)
    error = raised.value
    assert (error.file, error.row, error.column, error.value, error.kind) == (
        "history", 2, "time", "soon", "bad number"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (0, "k is 0, 1 or more is wanted"),
        (-1, "k is -1, 1 or more is wanted"),
        (5, "k 5 is more than the catalog's 4 items"),
        (2.0, "k is 2.0, a whole number is wanted"),
        ("2", "k is '2', a whole number is wanted"),
        (True, "k is True, a whole number is wanted"),
    ],
)
def test_a_k_that_no_list_can_have_is_refused(k: int, message: str) -> None:
    with pytest.raises(KgrecError, match=message):
        run_of("ease").recommend("ann", k=k)


def test_options_of_lists_that_are_not_there_or_are_no_switch_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"no option 'exlude'.*did you mean 'exclude'"):
        run_of("ease").recommend("ann", k=1, exlude="rated")
    with pytest.raises(KgrecError, match="include_seen is 'no', True or False is wanted"):
        run_of("ease").recommend("ann", k=1, include_seen="no")
    with pytest.raises(UnknownName, match="no option 'skip_unknown' of"):
        recommend(run_of("ease"), ["ann"], k=1, skip_unknown=True)


def test_one_history_is_of_one_user() -> None:
    with pytest.raises(
        KgrecError, match="history names no user, and users names 2; give a mapping of user to item ids"
    ):
        run_of("ease").recommend(["zoe", "yan"], history=["x"], k=1)


def test_unknown_ids_are_left_out_where_asked_and_said() -> None:
    run = run_of("ease")
    table = run.recommend(["zoe", "ann"], k=1, skip_unknown=True)
    assert table.users == ["ann"]
    assert table.notes == ("left out: 1 of 2 users that the run does not know, 'zoe'",)
    assert len(run.recommend("zoe", k=1, skip_unknown=True)) == 0
    table = run.recommend(history={"zoe": ["x", "q"], "yan": ["q"]}, k=1, skip_unknown=True)
    assert table.users == ["zoe"]
    assert table.notes == (
        "left out: 2 of 3 rows of items that the run does not know",
        "left out: 1 users without an item that the run knows, 'yan'",
    )
    assert table["score"] == run.recommend(history=["x"], k=1)["score"]
    with pytest.raises(KgrecError, match="history names no item that the run knows; a new user needs at least one"):
        run.recommend(history=["q"], k=1, skip_unknown=True)


# ---------------------------------------------------------------------- predictions and metrics


def test_predictions_of_pairs_in_any_form() -> None:
    """By popularity: x 4, w 1. Rows stay in order, other columns and the types of ids stay."""
    run = run_of("popularity")
    frame = pd.DataFrame({"n": [5, 6], "user": [7, 7], "item": ["x", "w"]}, index=[3, 1])
    for pairs in (frame, pa.Table.from_pandas(frame, preserve_index=False), frame.to_dict("list")):
        assert run.predict(pairs).to_dicts() == [
            {"n": 5, "user": 7, "item": "x", "score": 4},
            {"n": 6, "user": 7, "item": "w", "score": 1},
        ]
    assert run.predict([("ann", "x"), ["bob", "w"]])["score"] == [4, 1]
    assert run.predict(zip(["ann"], ["y"])).to_pandas().equals(
        pd.DataFrame({"user": ["ann"], "item": ["y"], "score": np.array([2], np.float32)})
    )  # fmt: skip
    means = run_of("bias", task="rating", damping=0, users=False)
    assert means.predict([("ann", "x")]).columns == ["user", "item", "rating"]


def test_predictions_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("user,item\nann,x\nzoe,x\n")
    run = run_of("popularity")
    for path in (tmp_path / "pairs.csv", str(tmp_path / "pairs.csv")):
        table = run.predict(path, skip_unknown=True)
        assert (table["score"], table.notes) == ([4], ("left out: 1 rows of unknown ids",))
    with pytest.raises(BadData, match=r"pairs.csv line 3: no user 'zoe' among the 4 known") as raised:
        run.predict(tmp_path / "pairs.csv")
    assert (raised.value.row, raised.value.column, raised.value.value) == (3, "user", "zoe")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "pairs has no rows; a pair of a user and an item in each is wanted"),
        (pd.DataFrame(), "no single column 'user' in pairs; there are none"),
        (pd.DataFrame({"user": ["ann"], "itme": ["x"]}), "no single column 'item' in pairs; did you mean 'itme'?"),
        (pd.DataFrame({"user": [], "item": []}), "pairs has no rows"),
        ({"user": ["ann"]}, "no single column 'item' in pairs; there are: user"),
        ({"user": ["ann"], "item": ["x", "y"]}, "pairs has columns of several lengths, {'user': 1, 'item': 2}"),
        ({"user": "ann", "item": ["x"]}, "pairs['user'] is 'ann', and no list; a table or a mapping with"),
        (["ann", "x"], "pairs row 1: 'ann' is no pair of a user and an item"),
        ([("ann", "x"), ("ann", "x", 5)], "pairs row 2: ('ann', 'x', 5) is no pair of a user and an item"),
        ([("ann", "x"), (7, "x")], f"pairs row 2: user: 7 is a number, where 'ann' before it is text; {MIXED}"),
        ([("ann", 7.0)], "pairs row 1: item: 7.0 is a decimal number, and no id"),
        (pd.DataFrame({"user": ["ann", None], "item": "x"}), "pairs row 2: no user nan among the 4 known; fix"),
        ([("zoe", "q")], "pairs row 1: no user 'zoe' among the 4 known; fix the row, or say skip_unknown=True\n"),
        (pd.DataFrame({"user": ["ann"], "item": ["x"], "score": [1]}), "pairs has a column 'score' already, as the"),
        (pd.DataFrame({"user": ["ann"], "item": ["x"], "m": [object()]}), "pairs: m holds values of several types"),
        ("none.csv", "none.csv: "),
        (5, "pairs is int; a table or a mapping with the columns user and item, or a list of (user, item) is wanted"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_pairs_is_said(pairs: object, message: str) -> None:
    with pytest.raises(KgrecError) as raised:
        run_of("popularity").predict(pairs)
    assert str(raised.value).startswith(message)


def test_a_run_measures_itself(planted: Graph) -> None:
    run = kgrec.train("ease", planted, split="last_n:1", training=TrainingConfig(device="cpu"))
    assert isinstance(run, Run)
    found, expected = run.measure(planted, metrics=["ndcg@10"]), measure(run, planted, metrics=["ndcg@10"])
    seconds = "evaluation_seconds"
    assert {**found, seconds: 0} == {**expected, seconds: 0}
    assert found["test"]["ndcg@10"] == run.metrics["test"]["ndcg@10"]
    assert run.measure(planted, split="last_n:2", metrics=["recall@5"])["protocol"].startswith("last_n:2")


# ---------------------------------------------------------------------- vectors

SETTINGS = {"kgat": {"dim": 8, "layer_dims": (4,)}, "kgatseq": {"dim": 8, "layer_dims": (4,)}}
WITHOUT = {"ease", "itemknn", "popularity", "bias", "link-frequency"}  #: have no vectors


@pytest.mark.parametrize("model", models.names())
def test_vectors_of_items_of_every_model_that_has_some(model: str, planted: Graph) -> None:
    fields = {f.name for f in dataclasses.fields(models.find(model).Config)}
    run = run_of(model, planted, **SETTINGS.get(model, {"dim": 8} if "dim" in fields else {}))
    if model in WITHOUT:
        with pytest.raises(KgrecError, match=f"{model} has no vectors of item; models that have some are such as mf"):
            run.vectors("item")
        return
    vectors = run.vectors("item")
    assert vectors.ids == planted.vocabulary["item"].ids(range(40))
    assert vectors.matrix.dtype == np.float32 and vectors.matrix.shape[0] == 40 and vectors.matrix.shape[1] >= 4
    assert np.isfinite(vectors.matrix).all()
    before = vectors.matrix.copy()
    vectors.matrix[:] = 7  # a copy, which the model does not read
    assert (run.vectors("item").matrix == before).all()


def test_products_of_vectors_are_the_scores(planted: Graph) -> None:
    """Of matrix factorization, and of LightGCN, whose vectors are made by the graph around them."""
    for model in ("mf", "lightgcn"):
        run = run_of(model, planted, dim=8, init_std=1.0)
        with torch.no_grad():
            run.model.refresh()
        user, item = run.vectors("user"), run.vectors("item")
        pairs = [(u, i) for u in user.ids[:5] for i in item.ids]
        scores = np.array(run.predict(pairs)["score"]).reshape(5, 40)
        assert np.abs(scores).max() > 0.01
        assert user.matrix[:5] @ item.matrix.T == pytest.approx(scores, abs=1e-5)
        assert user["u3"] @ item["i7"] == pytest.approx(scores[3, item.ids.index("i7")], abs=1e-5)


def test_vectors_of_facts_have_their_imaginary_parts(planted: Graph) -> None:
    """ComplEx: Re(<h, r, conj(t)>) by hand of what is given, real parts first."""
    run = run_of("complex", planted, dim=4)
    user, item = run.vectors("user"), run.vectors("item")
    assert user.matrix.shape == (60, 8) and run.vectors("genre").matrix.shape == (5, 8)
    number = run.model.target_number
    real, imaginary = (run.model.kge.get_parameter(f"rel_emb{part}.weight")[number].detach() for part in ("", "_im"))
    head, tail = (vectors.matrix[:, :4] + 1j * vectors.matrix[:, 4:] for vectors in (user, item))
    scores = ((head * (real + 1j * imaginary).numpy()) @ tail.conj().T).real
    pairs = [(u, i) for u in user.ids[:3] for i in item.ids]
    assert np.array(run.predict(pairs)["score"]).reshape(3, 40) == pytest.approx(scores[:3], abs=1e-5)


def test_vectors_go_over_to_other_forms_and_wrong_names_are_said(planted: Graph) -> None:
    run = run_of("gru4rec", planted, **SMALL)
    vectors = run.vectors("item")
    assert repr(vectors) == "TrainedVectors(item: 40 of 8 numbers)" and len(vectors) == 40
    frame, table = vectors.to_pandas(), vectors.to_arrow()
    assert frame.index.name == "id" and frame.loc["i7"].tolist() == vectors["i7"].tolist()
    assert table.column_names == ["id", "vector"] and table["vector"].to_pylist() == vectors.matrix.tolist()
    with pytest.raises(UnknownName, match="no item 'nope' among the 40 known"):
        vectors["nope"]
    with pytest.raises(UnknownName, match="no node type 'itme' in this run; did you mean 'item'"):
        run.vectors("itme")
    with pytest.raises(KgrecError, match="gru4rec has no vectors of user; it has those of item"):
        run.vectors("user")


# ---------------------------------------------------------------------- the table


def test_a_table_goes_over_to_other_forms(tmp_path: Path) -> None:
    table = run_of("popularity").recommend("cem", k=1)
    row = {"user": "cem", "rank": 1, "item": "y", "label": "Brazil", "score": 2.0, "reason": None}
    assert table.to_dicts() == table.to_json() == list(table) == [row]
    assert table.to_arrow().to_pylist() == [row] and pa.table(table).equals(table.to_arrow())
    assert table.to_pandas()[["user", "rank", "item"]].to_dict("list") == {"user": ["cem"], "rank": [1], "item": ["y"]}
    table.write(tmp_path / "t.parquet")
    table.write(tmp_path / "t.csv")
    assert pq.read_table(tmp_path / "t.parquet").equals(table.to_arrow())
    assert pd.read_csv(tmp_path / "t.csv")["label"].tolist() == ["Brazil"]
    with pytest.raises(KgrecError, match="exists already"):
        table.write(tmp_path / "t.csv")
    with pytest.raises(UnknownName, match="no column 'itme' in this table; did you mean 'item'"):
        table["itme"]
    assert json.dumps(table.to_json())


def test_a_table_prints_its_first_rows_aligned() -> None:
    numbers = list(range(12))
    table = Table(pa.table({"item": [f"i{n}" for n in numbers], "n": numbers, "score": [n / 4 for n in numbers]}))
    lines = repr(table).splitlines()
    assert lines[:3] == ["item  n   score", "i0    0  0.0000", "i1    1  0.2500"]
    assert len(lines) == 12 and lines[-1] == "... and 2 more rows"
    wide = Table(pa.table({"label": ["七人の侍", "a\nb\tc", "x" * 50], "reason": [None, None, "y"]}), notes=("one",))
    assert repr(wide).splitlines() == [
        "label" + " " * 35 + "  reason",
        "七人の侍",
        "a b c",
        "x" * 37 + "...  y",
        "note: one",
    ]
    assert repr(Table(pa.table({"item": pa.array([], pa.string())}))).splitlines() == ["item", "no rows"]


def test_what_a_notebook_shows_is_escaped() -> None:
    table = Table(pa.table({"<b>": ["<script>alert(1)</script>"], "n": [1]}), notes=("<i>",))
    shown = table._repr_html_()
    assert "<script>" not in shown and "<b>" not in shown and "<i>" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown and 'style="text-align: right">1</td>' in shown


# ---------------------------------------------------------------------- the package


def test_the_package_says_that_it_is_typed() -> None:
    assert importlib.resources.files("kgrec").joinpath("py.typed").is_file()


def test_the_wheel_says_so_too() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel")
    builder = wheel.WheelBuilder(str(Path(kgrec.__file__).parents[1]))
    kept = {file.distribution_path for file in builder.recurse_included_files()}
    assert {"kgrec/py.typed", "kgrec/run.py", "kgrec/serving/answers.py"} <= kept


def test_names_of_the_public_api() -> None:
    assert kgrec.models.names() and kgrec.Run is Run and kgrec.Table is Table
