"""Noise in a graph: what is put in, what is left alone, and that it is divided as the clean graph was."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.splits.split import split
from kgrec.studies.noise import KINDS, divide, noisy, pushed_items

USERS, ITEMS, TARGET = 6, 14, ("user", "rated", "item")
#: user u rates items u to u + 7, the first at 100 + u; the weight of every edge is its own
RATED = [(f"u{u}", f"i{u + n}", 100 * (n + 1) + u, 10.0 * u + n) for u in range(USERS) for n in range(8)]
LAST = "last_n:2,valid=2"  #: of each user four to train, two to choose by, two to test


def graph_of(rated=RATED, *, viewed=(), users=USERS, items=ITEMS, times=True) -> Graph:
    frame = pd.DataFrame(rated, columns=["source", "target", "time", "weight"]).assign(click=1.0)
    nodes = {
        "user": pd.DataFrame({"id": [f"u{u}" for u in range(users)], "age": np.arange(users, dtype=float)}),
        "item": pd.DataFrame({"id": [f"i{i}" for i in range(items)]}),
    }
    edges = {
        ("item", "has_genre", "genre"): pd.DataFrame({"source": ["i0", "i1"], "target": ["drama", "drama"]}),
        TARGET: frame if times else frame.drop(columns="time"),
        ("user", "knows", "user"): pd.DataFrame({"source": ["u0"], "target": ["u1"]}),
    }
    if len(viewed):
        edges[("user", "viewed", "item")] = pd.DataFrame(viewed, columns=["source", "target", "time"])
    return Graph.from_frames(nodes=nodes, edges=edges, target=TARGET, features={"rated": {"click": "numeric"}})


def edges_of(graph: Graph | None, relation: str = "rated") -> list[tuple]:
    """(user, item, time, weight) of edges in the file's order, local numbers."""
    if graph is None:
        return []
    one = graph.only(relation)
    return list(zip(*one.edge_index.tolist(), one.time.tolist(), one.weight.tolist()))


def parts_of(graph: Graph, clean) -> dict[str, list[tuple]]:
    """The target edges of each part of a noisy graph, by its SPEC."""
    divided = split(graph, clean.spec, clean.candidates)
    return {name: edges_of(getattr(divided, name)) for name in ("train", "valid", "test")}


VIEWED = [("u0", "i12", 750), ("u1", "i13", 450), ("u0", "i5", 10), ("u2", "i2", 290)]

SPECS = [
    "ratio:0.2,valid=0.2,seed=1",
    "ratio:0.2,per_user",
    "last_n:2",
    "by_time:60%,80%",
    "by_time:00400,80%",
    "by_time:402,1970-01-01T00:11:00",
    "cold_items:0.2,valid=0.2,seed=3",
    "given",
    "given,valid=1",
]


def with_stored_split(graph: Graph) -> Graph:
    """The same with the split `given`: each user's last two edges are test."""
    return replace(graph, splits={"given": torch.tensor([0, 0, 0, 0, 0, 0, 2, 2] * USERS, dtype=torch.int8)})


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("kind", ["add", "shilling"])
def test_without_noise_the_graph_is_divided_as_it_was(spec, kind):
    graph = with_stored_split(graph_of(viewed=VIEWED))
    clean, wanted = divide(graph, spec), split(graph, spec)
    found = split(noisy(clean, kind, 0.0, seed=0, targets=1), clean.spec, clean.candidates)
    for name in ("train", "train_valid", "valid", "test"):
        one, other = getattr(wanted, name), getattr(found, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.equal(one.edge_index, other.edge_index) and one.relation_ptr == other.relation_ptr
            assert torch.equal(one.time, other.time) and torch.equal(one.weight, other.weight)
            assert (one.withheld is None) == (other.withheld is None)
            assert one.withheld is None or torch.equal(one.withheld, other.withheld)


@pytest.mark.parametrize("spec", SPECS)
def test_the_test_edges_are_as_they_were_under_any_split(spec):
    clean = divide(with_stored_split(graph_of(viewed=VIEWED)), spec)
    before = parts_of(noisy(clean, "add", 0.0, 0), clean)
    assert before["test"]
    for kind, share in {"add": 1.5, "drop": 0.5, "swap": 1, "shilling": None, "bandwagon": None}.items():
        after = parts_of(noisy(clean, kind, 0.5, 0, 1), clean)
        assert after["test"] == before["test"] and after["train"] != before["train"]
        for part in ("train", "valid") if share else ():
            assert len(after[part]) in (int(share * len(before[part])), int(share * len(before[part]) + 0.5))


def test_what_times_cut_elsewhere_for_valid_is_refused():
    views = [("u0", "i12", 600)]  # between the first edge that chooses, at 500, and the first test edge, at 700
    with pytest.raises(
        KgrecError, match=r"cuts 'viewed' at each user's first held-out edge, .* use by_time:, ratio: or a stored split"
    ):
        divide(graph_of(viewed=views), LAST)
    assert divide(graph_of(viewed=[("u0", "i12", 400)]), LAST).spec == "noisy"


def test_false_edges_on_paper():
    clean = divide(graph_of(viewed=[("u0", "i12", 50), ("u5", "i0", 60)]), LAST)
    before = parts_of(noisy(clean, "add", 0.0, 0), clean)
    assert [len(before[part]) for part in ("train", "valid", "test")] == [24, 12, 12]
    pairs = {(user, item) for part in before.values() for user, item, _, _ in part} | {(0, 12), (5, 0)}
    for seed in range(3):
        after = parts_of(noisy(clean, "add", 0.5, seed), clean)
        assert after["test"] == before["test"]
        false = []
        for part, number in (("train", 12), ("valid", 6)):
            added = Counter(after[part]) - Counter(before[part])
            assert added.total() == number and not Counter(before[part]) - Counter(after[part])
            own = {(user, time, weight) for user, _, time, weight in before[part]}
            assert {(user, time, weight) for user, _, time, weight in added} <= own
            false += [(user, item) for user, item, _, _ in added]
        assert len(set(false)) == 18 and not pairs & set(false)
    assert parts_of(noisy(clean, "add", 0.5, 2), clean) == after != parts_of(noisy(clean, "add", 0.5, 1), clean)


def test_a_false_edge_stands_behind_the_one_it_is_drawn_by():
    clean = divide(graph_of(times=False), LAST)
    weights = [weight for _, _, _, weight in edges_of(noisy(clean, "add", 0.5, 0))]
    assert len(weights) == 48 + 18 and list(dict.fromkeys(weights)) == [weight for *_, weight in RATED]
    assert [one for one, other in itertools.pairwise(weights) if one > other] == []  # in the file they rise


def test_all_free_pairs_can_be_added_and_no_more():
    rated = [(f"u{u}", f"i{i}", 10 * i, 1.0) for u, i in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (1, 3))]
    clean = divide(graph_of(rated, users=2, items=5), "last_n:1")  # four train edges; free: two of each user
    added = parts_of(noisy(clean, "add", 1.0, 0), clean)["train"]
    assert {(user, item) for user, item, _, _ in added} == {(u, i) for u in (0, 1) for i in range(5)} - {(0, 2), (1, 3)}
    with pytest.raises(KgrecError, match="add: cannot add 5 false edges to 4 edges, as only 4 pairs of 2 users and 5"):
        noisy(clean, "add", 1.25, 0)


def test_false_edges_are_of_users_in_proportion_to_their_edges():
    rated = [("u0", f"i{n}", n, 1.0) for n in range(200)] + [(f"u{u}", "i0", 1, 1.0) for u in range(1, 101)]
    clean = divide(graph_of(rated, users=101, items=3000), "ratio:0.01")
    train, after = (parts_of(noisy(clean, "add", rate, 0), clean)["train"] for rate in (0.0, 1.0))
    own = sum(user == 0 for user, *_ in train)  # of about 300 some 200
    false = sum(user == 0 for user, *_ in after) - own
    assert abs(false / len(train) - own / len(train)) < 0.1  # drawn by users alone it would be 1 in 101


def test_false_edges_do_not_touch_what_is_withheld():
    clean = divide(graph_of(), "cold_items:0.3,valid=0.3,seed=2")
    before, after = (parts_of(noisy(clean, "add", rate, 0), clean) for rate in (0.0, 0.5))
    assert [len(before[part]) for part in ("train", "valid")] == [18, 4]
    assert [len(after[part]) for part in ("train", "valid")] == [18 + 9, 4 + 2]  # none of them in another part
    assert after["test"] == before["test"]


def test_drop_takes_its_share_and_leaves_each_user_one():
    clean = divide(graph_of(), LAST)
    before, after = (parts_of(noisy(clean, "drop", rate, 3), clean) for rate in (0.0, 0.5))
    assert [len(after[part]) for part in ("train", "valid", "test")] == [12, 6, 12] and after["test"] == before["test"]
    assert not Counter(after["train"]) - Counter(before["train"])
    least = parts_of(noisy(clean, "drop", 0.75, 3), clean)["train"]  # of 24 edges 18 go: one of each of six users stays
    assert [user for user, *_ in least] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(
        KgrecError, match=r"drop: cannot drop 19 of 24 .* only 18, since each of 6 users .* at most 0\.75"
    ):
        noisy(clean, "drop", 0.8, 3)


def test_swap_exchanges_times_within_a_user_and_part():
    clean = divide(graph_of(), LAST)
    before = parts_of(noisy(clean, "swap", 0.0, 0), clean)
    for rate, moved in ((0.5, (12, 6)), (1.0, (24, 12))):
        after = parts_of(noisy(clean, "swap", rate, 0), clean)
        assert after["test"] == before["test"]
        for part, number in zip(("train", "valid"), moved):
            assert sum(one != other for one, other in zip(before[part], after[part])) == number
            assert [(user, item, weight) for user, item, _, weight in after[part]] == [
                (user, item, weight) for user, item, _, weight in before[part]
            ]
            assert Counter((user, time) for user, _, time, _ in after[part]) == Counter(
                (user, time) for user, _, time, _ in before[part]
            )


def test_swap_leaves_alone_who_has_no_two():
    counts = {"u0": 2, "u1": 4, "u2": 2}  # of which one each is test
    rated = [(user, f"i{n}", 10 * n + int(user[1]), 1.0) for user, count in counts.items() for n in range(count)]
    clean = divide(graph_of(rated, users=3), "last_n:1")
    before, after = (parts_of(noisy(clean, "swap", rate, 0), clean)["train"] for rate in (0.0, 1.0))
    moved = [one for one, other in zip(before, after) if one != other]
    assert [user for user, *_ in moved] == [1, 1] and Counter(time for *_, time, _ in after) == Counter(
        time for *_, time, _ in before
    )
    assert all(time % 10 == user for user, _, time, _ in after)


@pytest.mark.parametrize("kind", ["shilling", "bandwagon"])
def test_fake_users_stand_behind_the_real_ones_with_pushed_items(kind):
    graph = graph_of()
    clean = divide(graph, LAST)
    before, attacked = parts_of(noisy(clean, kind, 0.0, 5, 2), clean), noisy(clean, kind, 5.0, 5, 2)
    after, pushed = parts_of(attacked, clean), set(pushed_items(clean, 2, 5).tolist())
    assert attacked.vocabulary["user"].ids(range(36)) == [
        *(f"u{u}" for u in range(6)),
        *(f"fake-{n}" for n in range(1, 31)),
    ]
    assert attacked.features["user"]["age"].values[6:].isnan().all() and len(attacked.range("user")) == 36
    assert after["valid"] == before["valid"] and after["test"] == before["test"]
    assert after["train"][:24] == before["train"] and len(after["train"]) == 24 + 30 * 4  # all users have four
    for fake in range(6, 36):
        profile = [(item, time, weight) for user, item, time, weight in after["train"] if user == fake]
        items = [item for item, _, _ in profile]
        assert len(set(items)) == 4 and pushed <= set(items)
        assert {weight for item, _, weight in profile if item in pushed} == {53.0}  # the most that train has
        assert {(t, w) for _, t, w in profile} <= {(t, w) for _, _, t, w in before["train"]}
    assert edges_of(attacked, "has_genre") == edges_of(graph, "has_genre")
    assert edges_of(attacked, "knows") == edges_of(graph, "knows")
    assert len(attacked.edge_features[TARGET]["click"]) == 48 + 120


def test_fake_ids_are_nobodys():
    rated = [(user.replace("u0", "fake-2"), item, time, weight) for user, item, time, weight in RATED]
    frame = pd.DataFrame(rated, columns=["source", "target", "time", "weight"])
    attacked = noisy(divide(Graph.from_frames(edges={TARGET: frame}), LAST), "shilling", 0.5, 0, 1)
    assert attacked.vocabulary["user"].ids(range(6, 9)) == ["fake-1", "fake-3", "fake-4"]


def test_a_profile_shorter_than_the_pushed_items_has_them_all():
    attacked = noisy(clean := divide(graph_of(), LAST), "shilling", 1.0, 0, 5)
    items = pushed_items(clean, 5, 0).tolist()
    fakes = [(user, item) for user, item, *_ in parts_of(attacked, clean)["train"] if user >= USERS]
    assert sorted(fakes) == [(user, item) for user in range(6, 12) for item in items]


def test_pushed_items_are_unpopular():
    rated = [(f"u{u}", f"i{i}", 10 * u + i, 1.0) for i, users in enumerate((6, 5, 2, 1, 1)) for u in range(users)]
    rated += [(f"u{u}", "i6", 999, 1.0) for u in range(6)]
    clean = divide(
        graph_of(rated, items=8), "last_n:1"
    )  # i6 is each one's last; train has 6, 5, 2, 1 and 1 of i0 to i4, of i5 to i7 none
    assert clean.degree.tolist() == [6, 5, 2, 1, 1, 0, 0, 0]
    assert pushed_items(clean, 3, 0).tolist() == [2, 3, 4]  # up to the median, 2
    assert {tuple(pushed_items(clean, 2, seed).tolist()) for seed in range(30)} == {(2, 3), (2, 4), (3, 4)}
    assert pushed_items(clean, 6, 0).tolist() == [2, 3, 4, 5, 6, 7]
    with pytest.raises(KgrecError, match="cannot push 7 items, as only 6 are unpopular enough"):
        pushed_items(clean, 7, 0)
    with pytest.raises(KgrecError, match="the number of items to push is 0, but must be 1 or more"):
        pushed_items(clean, 0, 0)


def test_bandwagon_draws_what_is_popular():
    rated = [(f"u{u}", item, n, 1.0) for u in range(40) for n, item in enumerate(("i0", f"i{u + 1}", "i41"))]
    clean = divide(graph_of(rated, users=40, items=42), "last_n:1")  # i0 has 40 train edges, forty others one each
    share = {}
    for kind in ("shilling", "bandwagon"):
        train = parts_of(noisy(clean, kind, 5.0, 0, 1), clean)["train"]
        fakes = [item for user, item, *_ in train if user >= 40]
        assert len(fakes) == 200 * 2  # two a profile: the pushed one, and a filler
        share[kind] = fakes.count(0) / 200
    assert share["shilling"] < 0.1 and 0.4 < share["bandwagon"] < 0.6  # 1 / 41, and 40 / 79


@pytest.mark.parametrize(
    ("kind", "rate", "message"),
    [
        ("drop", 1.0, "drop: a rate of 1 leaves nothing to learn from"),
        ("swap", 1.5, "swap: the rate is 1.5, but must be a share of at most 1"),
        ("add", -0.1, "add: the rate is -0.1, but must be a number of at least 0"),
        ("add", float("nan"), "add: the rate is nan"),
    ],
)
def test_rates_that_cannot_be_had_are_refused(kind, rate, message):
    with pytest.raises(KgrecError, match=message):
        noisy(divide(graph_of(), LAST), kind, rate, 0)


def test_other_kinds_and_edges_without_times_are_refused():
    clean = divide(graph_of(times=False), LAST)
    with pytest.raises(KgrecError, match="swap: the 'rated' edges have no times; name the column as `time:`"):
        noisy(clean, "swap", 0.1, 0)
    with pytest.raises(UnknownName, match="no kind of noise 'dropp'; did you mean 'drop'"):
        noisy(clean, "dropp", 0.1, 0)
    assert KINDS == ("add", "drop", "swap", "shilling", "bandwagon")


def test_fake_users_who_would_be_items_are_refused():
    follows = pd.DataFrame({"source": ["a", "a", "b", "b"], "target": ["b", "c", "a", "c"], "time": [1, 2, 3, 4]})
    clean = divide(Graph.from_frames(edges={("user", "follows", "user"): follows}), "last_n:1")
    with pytest.raises(KgrecError, match="fake users would be items too, since 'follows' joins user nodes"):
        noisy(clean, "shilling", 0.5, 0, 1)
