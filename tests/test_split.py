"""Every SPEC by hand, and that nothing held out can be reached from what a model trains on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import FunctionType, MethodType, ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import NO_TIME, Candidates, Graph
from kgrec.splits.split import Split, split

RATED, VIEWED, GENRE = ("user", "rated", "item"), ("user", "viewed", "item"), ("item", "has_genre", "genre")


def frame(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["source", "target", "time", "weight"][: len(rows[0])])


def edges(graph: Graph | None, relation: str = "rated") -> str:
    """`ua ub vc`: the edges in file order, each as user and item."""
    if graph is None:
        return "none"
    part = graph.only(relation)
    (source, _, target), *_ = part.edge_types
    ends = zip(part.edge_index[0].tolist(), part.edge_index[1].tolist())
    return " ".join("".join(graph.vocabulary[t].ids([n])[0] for t, n in zip((source, target), pair)) for pair in ends)


def parts(result: Split) -> tuple[str, str, str]:
    return edges(result.train), edges(result.valid), edges(result.test)


@pytest.fixture
def graph() -> Graph:
    """u did five things, at 10 twice; v two; w one."""
    rated = frame(
        ("u", "a", 50),
        ("u", "b", 10),
        ("v", "a", 20),
        ("u", "c", 10),
        ("u", "d", 40),
        ("w", "a", 90),
        ("v", "b", 60),
        ("u", "e", 30),
    )
    facts = frame(("a", "n"), ("d", "n"))
    return Graph.from_frames(edges={RATED: rated, GENRE: facts}, target=RATED)


# ---------------------------------------------------------------------- last_n


def test_last_n_takes_each_users_last_by_time_and_then_file(graph):
    # u by time: b 10, c 10, e 30, d 40, a 50; v: a 20, b 60; w: a, which stays
    assert parts(split(graph, "last_n:1")) == ("ub va uc ud wa ue", "none", "ua vb")
    assert parts(split(graph, "last_n:1,valid=1")) == ("ub va uc wa ue", "ud", "ua vb")
    assert parts(split(graph, "last_n:2,valid=2")) == ("ub va wa", "uc ue", "ua ud vb")
    assert parts(split(graph, "last_n:4")) == ("ub va wa", "none", "ua uc ud vb ue")  # of the tie at 10, the later line
    assert parts(split(graph, "last_n:99,valid=99")) == ("ub va wa", "none", "ua uc ud vb ue")


def test_train_valid_is_train_and_valid_and_facts_stay_in_both(graph):
    result = split(graph, "last_n:1,valid=1")
    assert edges(result.train_valid) == "ub va uc ud wa ue"
    assert edges(result.train, "has_genre") == edges(result.train_valid, "has_genre") == "an dn"
    assert result.train.num_nodes == graph.num_nodes and result.train.target == RATED
    assert result.valid.edge_types == result.test.edge_types == [RATED]
    assert edges(split(graph, "last_n:1").train_valid) == edges(split(graph, "last_n:1").train)


def test_last_n_without_times_is_by_file_order():
    graph = Graph.from_frames(edges={RATED: frame(("u", "a"), ("v", "a"), ("u", "c"), ("u", "b"))})
    assert parts(split(graph, "last_n:1,valid=1")) == ("ua va", "uc", "ub")


def test_other_behaviours_end_at_a_users_first_held_out_edge():
    rated = frame(("u", "a", 10), ("u", "b", 20), ("u", "c", 30), ("v", "a", 5))
    viewed = frame(("u", "c", 19), ("u", "d", 20), ("u", "e", 29), ("u", "f", 30), ("v", "c", 99))
    result = split(Graph.from_frames(edges={RATED: rated, VIEWED: viewed}), "last_n:1,valid=1")
    assert edges(result.train, "viewed") == "uc vc"  # before 20; v holds nothing out
    assert edges(result.train_valid, "viewed") == "uc ud ue vc"  # before 30


def test_other_behaviours_without_a_time_to_compare_lose_the_held_out_pairs():
    rated = frame(("u", "a", 10), ("u", "b", 20), ("v", "a", 1), ("v", "b", 2))
    rated["time"] = rated["time"].where(rated["source"] == "u")  # v's edges have no times
    viewed = frame(("u", "a", None), ("u", "b", None), ("v", "a", 50), ("v", "b", 50))
    result = split(Graph.from_frames(edges={RATED: rated, VIEWED: viewed}), "last_n:1")
    assert edges(result.test) == "ub vb"
    assert edges(result.train, "viewed") == "ua va"


# ---------------------------------------------------------------------- ratio


def many(users: int = 7, items: int = 11, seed: int = 5) -> Graph:
    """About half of all pairs, in a drawn order, at drawn times."""
    draw = np.random.default_rng(seed)
    pairs = [(f"u{u}", f"i{i}") for u in range(users) for i in range(items) if draw.random() < 0.5]
    rows = [(*pairs[n], int(draw.integers(0, 100))) for n in draw.permutation(len(pairs))]
    return Graph.from_frames(edges={RATED: frame(*rows)})


def weights_in(result: Split) -> tuple[list[float], list[float], list[float]]:
    empty: list[float] = []
    valid = empty if result.valid is None else result.valid.weight.tolist()
    return result.train.only("rated").weight.tolist(), valid, result.test.weight.tolist()


@pytest.mark.parametrize(("spec", "seed"), [("ratio:0.2,valid=0.1", 0), ("ratio:0.2,valid=0.1,seed=42", 42)])
def test_ratio_is_numpys_draw_in_file_order(spec, seed):
    graph = many()
    graph = replace(graph, weight=torch.arange(graph.num_edges).float())
    draw = np.random.default_rng(seed).random(graph.num_edges)
    result = weights_in(split(graph, spec))
    assert result[2] == np.flatnonzero(draw < 0.2).tolist()
    assert result[1] == np.flatnonzero((draw >= 0.2) & (draw < 0.2 + 0.1)).tolist()
    assert result[0] == np.flatnonzero(draw >= 0.2 + 0.1).tolist()


def test_ratio_per_user_takes_each_users_lowest_draws():
    # u has ten edges, w one; of ten, 0.2 are two and 0.1 is one; of one, none
    rated = frame(*[("u", item) for item in "abcdefghij"], ("w", "a"))
    graph = Graph.from_frames(edges={RATED: rated})
    graph = replace(graph, weight=torch.arange(11).float())
    train, valid, test = weights_in(split(graph, "ratio:0.2,valid=0.1,per_user,seed=3"))
    by_draw = np.argsort(np.random.default_rng(3).random(11)[:10]).tolist()
    assert (test, valid, train) == (sorted(by_draw[:2]), by_draw[2:3], sorted([*by_draw[3:], 10]))


def test_ratio_takes_the_held_out_pairs_from_other_behaviours():
    graph = many()
    names = [tuple(pair) for pair in zip(graph.edge_index[0].tolist(), graph.edge_index[1].tolist())]
    viewed = frame(*[(f"u{u}", f"i{i}") for u in range(7) for i in range(11)])
    rated = frame(*[(graph.vocabulary["user"].ids([u])[0], graph.vocabulary["item"].ids([i])[0]) for u, i in names])
    result = split(Graph.from_frames(edges={RATED: rated, VIEWED: viewed}), "ratio:0.3,valid=0.2")
    assert result.train.only("viewed").num_edges == 77 - result.valid.num_edges - result.test.num_edges
    assert result.train_valid.only("viewed").num_edges == 77 - result.test.num_edges


# ---------------------------------------------------------------------- by_time


@pytest.mark.parametrize(
    "spec",
    [
        "by_time:40,60",
        "by_time:1970-01-01T00:00:40,1970-01-01T00:01:00",
        "by_time:1970-01-01T01:00:40+01:00,1970-01-01 00:01",
        "by_time:50%,75%",  # of 10 10 20 30 40 50 60 90 the fifth and the seventh
    ],
)
def test_by_time_cuts_at_two_moments(graph, spec):
    result = split(graph, spec)
    assert parts(result) == ("ub va uc ue", "ua ud", "wa vb")
    assert edges(result.train_valid) == "ua ub va uc ud ue"
    assert edges(result.train, "has_genre") == "an dn"


def test_by_time_with_one_time_twice_has_no_valid(graph):
    assert parts(split(graph, "by_time:60,60")) == ("ua ub va uc ud ue", "none", "wa vb")


def test_a_share_of_the_times_is_exact():
    rated = frame(*[("u", f"i{n}", n) for n in range(100)])
    result = split(Graph.from_frames(edges={RATED: rated}), "by_time:29%,58%")  # 0.29 * 100 is 28.99... in floats
    assert (result.train.num_edges, result.valid.num_edges, result.test.num_edges) == (29, 29, 42)


def test_dates_are_utc():
    rated = frame(("u", "a", 86_399), ("u", "b", 86_400), ("u", "c", 2 * 86_400))
    assert parts(split(Graph.from_frames(edges={RATED: rated}), "by_time:1970-01-02,1970-01-03")) == ("ua", "ub", "uc")


def test_by_time_cuts_other_behaviours_and_takes_untimed_pairs():
    rated = frame(("u", "a", 1), ("u", "b", 2), ("u", "c", 3))
    viewed = frame(("u", "c", 1), ("u", "d", 2), ("u", "e", 3), ("u", "a", None), ("u", "b", None), ("u", "c", None))
    result = split(Graph.from_frames(edges={RATED: rated, VIEWED: viewed}), "by_time:2,3")
    assert edges(result.train, "viewed") == "uc ua"  # an earlier view of a later purchase is fair
    assert edges(result.train_valid, "viewed") == "uc ud ua ub"


def test_by_time_needs_times():
    graph = Graph.from_frames(edges={RATED: frame(("u", "a", 1), ("u", "b", None))})
    with pytest.raises(
        KgrecError, match=r"'by_time:1,2' needs times, but some 'rated' edges have none; use another split"
    ):
        split(graph, "by_time:1,2")


# ---------------------------------------------------------------------- cold_items


def test_cold_items_holds_out_all_edges_of_drawn_items():
    rated = many()
    viewed = frame(*[(f"u{u}", f"i{i}") for u in range(7) for i in range(11)])
    facts = frame(*[(f"i{i}", "g") for i in range(11)])
    ids = [rated.vocabulary["user"].ids(rated.edge_index[0]), rated.vocabulary["item"].ids(rated.edge_index[1])]
    graph = Graph.from_frames(edges={RATED: frame(*zip(*ids)), VIEWED: viewed, GENRE: facts})
    draw = np.random.default_rng(4).random(11)
    items = graph.range("item")
    test = set((np.flatnonzero(draw < 0.3) + items.start).tolist())
    valid = set((np.flatnonzero((draw >= 0.3) & (draw < 0.5)) + items.start).tolist())
    assert test and valid

    result = split(graph, "cold_items:0.3,valid=0.2,seed=4")
    assert set(result.test.tail.tolist()) == test and set(result.valid.tail.tolist()) == valid
    target = graph.only("rated")
    assert result.test.num_edges == sum(tail in test for tail in target.tail.tolist())
    assert result.valid.num_edges == sum(tail in valid for tail in target.tail.tolist())
    assert set(result.train.interactions().tail.tolist()) == set(items) - test - valid
    assert set(result.train_valid.interactions().tail.tolist()) == set(items) - test
    assert result.train.only("viewed").num_edges == 7 * (11 - len(test | valid))
    assert result.train.only("has_genre").num_edges == 11  # what is known of a cold item is all that scoring has
    assert set(result.train.drawable("item").tolist()) == set(items) - test - valid
    assert set(result.train_valid.drawable("item").tolist()) == set(items) - test
    assert result.train.drawable("user").tolist() == list(range(7))


# ---------------------------------------------------------------------- NAME


@pytest.fixture
def stored(graph) -> Graph:
    """va and ud are test, wa is valid, in the file's split `given`; `plain` has no valid."""
    given = torch.tensor([0, 0, 2, 0, 2, 1, 0, 0], dtype=torch.int8)
    lists = Candidates(torch.tensor([0]), torch.tensor([0, 2]), torch.tensor([3, 4]))
    return replace(
        graph,
        splits={"given": given, "plain": torch.where(given == 1, 0, given).to(torch.int8)},
        candidates={"few": lists},
        schema=replace(graph.schema, standard={"split": "given", "candidates": "few"}),
    )


def test_a_stored_split_as_it_is(stored):
    assert parts(split(stored, "given")) == ("ua ub uc vb ue", "wa", "va ud")
    assert (
        parts(split(stored, "plain")) == parts(split(stored, "plain,valid=0")) == ("ua ub uc wa vb ue", "none", "va ud")
    )


def test_valid_of_a_stored_split_are_each_users_last_train_edges(stored):
    # train: u b 10, c 10, e 30, a 50; v b; w a: those with one edge keep it
    assert parts(split(stored, "plain,valid=1")) == ("ub uc wa vb ue", "ua", "va ud")
    assert parts(split(stored, "plain,valid=2")) == ("ub uc wa vb", "ua ue", "va ud")


def test_valid_of_a_stored_split_as_a_share_is_drawn_over_its_train_rows(stored):
    draw = np.random.default_rng(6).random(6) < 0.5
    train = ["ua", "ub", "uc", "wa", "vb", "ue"]
    result = split(stored, "plain,valid=0.5,seed=6")
    assert 0 < draw.sum() < 6
    assert edges(result.valid) == " ".join(edge for edge, is_valid in zip(train, draw) if is_valid)
    assert edges(result.train) == " ".join(edge for edge, is_valid in zip(train, draw) if not is_valid)
    assert edges(result.test) == "va ud"


def test_valid_of_a_stored_split_may_be_of_few_users():
    """A tenth of the edges is half of what a fifth of the users have; the others lose none."""
    graph = many(users=400, items=50)
    graph = replace(graph, splits={"plain": torch.zeros(graph.num_edges, dtype=torch.int8)})
    graph.splits["plain"][::7] = 2
    result = split(graph, "plain,valid=0.1,users=0.2,seed=3")
    chosen = torch.unique(result.valid.head)
    before = torch.bincount(split(graph, "plain").train.head, minlength=graph.num_nodes)
    after = torch.bincount(result.train.head, minlength=graph.num_nodes)
    others = torch.ones(graph.num_nodes, dtype=torch.bool)
    others[chosen] = False
    assert 50 < len(chosen) < 110 and torch.equal(before[others], after[others])
    assert 0.4 < result.valid.num_edges / int(before[chosen].sum()) < 0.6
    assert torch.equal(split(graph, "plain,valid=0.1,users=0.2,seed=3").valid.tail, result.valid.tail)
    assert not torch.equal(torch.unique(split(graph, "plain,valid=0.1,users=0.2").valid.head), chosen)


def test_the_standard_split_and_its_candidates(stored):
    result = split(stored)
    assert parts(result) == ("ua ub uc vb ue", "wa", "va ud")
    assert result.candidates is stored.candidates["few"] and result.protocol == "given; candidates few"
    assert split(stored, "given").protocol == "given; candidates few"
    other = split(stored, "last_n:1")
    assert other.candidates is None and other.protocol == "last_n:1; full ranking"
    assert split(stored, candidates="all").protocol == "given; full ranking"
    assert split(stored, "last_n:1", candidates="few").protocol == "last_n:1; candidates few"
    with pytest.raises(UnknownName, match=r"no candidates 'fw' in this graph; did you mean 'few'"):
        split(stored, "last_n:1", candidates="fw")


def test_a_graph_with_no_standard_split_says_so(graph):
    with pytest.raises(KgrecError, match=r"names no standard split; choose one with --split, such as last_n:1,valid=1"):
        split(graph)


# ---------------------------------------------------------------------- wrong specs


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("last_n", r"split 'last_n': write exactly one number after last_n:"),
        ("last_n:1,2", r"write exactly one number after last_n:"),
        ("last_n:0", r"N is '0', but must be a whole number of at least 1;"),
        ("last_n:-1", r"N is '-1', but must be a whole number of at least 1"),
        ("last_n:two", r"N is 'two', but must be a whole number"),
        ("last_n:²", r"N is '²', but must be a whole number"),
        ("last_n:1,valid=0.5", r"valid is '0.5', but must be a whole number of at least 0"),
        ("last_n:1,seed=3", r"no option 'seed'"),
        ("last_n:1,vald=3", r"no option 'vald'"),
        ("ratio", r"write exactly one share after ratio:"),
        ("ratio:1.5", r"F is 1.5, but must be a share between 0 and 1"),
        ("ratio:nan", r"F is nan, but must be a share between 0 and 1"),
        ("ratio:some", r"F is 'some', but must be a share between 0 and 1"),
        ("ratio:0.5,valid=0.5", r"test and valid leave nothing to train on"),
        ("ratio:0.5,valid=1", r"valid is 1, but must be a share"),
        ("ratio:0.5,per_usr", r"write exactly one share after ratio:"),
        ("ratio:0.5,seed=x", r"seed is 'x', but must be a whole number of at least 0"),
        ("cold_items:0.1,0.2", r"write exactly one share after cold_items:"),
        ("cold_items:0.1,per_user", r"write exactly one share after cold_items:"),
        ("by_time:5", r"write exactly two times after by_time:"),
        ("by_time:60,40", r"the first time is after the second"),
        ("by_time:soon,later", r"time 'soon' must be unix seconds, an ISO date or a share such as 80%"),
        ("by_time:--5,later", r"time '--5' must be unix seconds"),
        (
            "by_time:2020,2021",
            r"time '2020' may be a year or seconds; write 2020-01-01 for the year, 02020 for seconds",
        ),
        ("by_time:120%,130%", r"time is 1.2, but must be a share"),
        ("by_time:x%,y%", r"time is 'x%', but must be a share"),
        ("by_time:1,2,valid=3", r"no option 'valid'"),
        ("given,valid=1", r"this split has its own validation edges, so leave valid= out"),
        ("plain,valid=1.5", r"valid is 1.5, but must be a share"),
        ("plain,last", r"'last' is not one of valid=, users=, seed="),
        ("plain,users=0.5", r"users= needs valid= as a share, such as valid=0.1,users=0.2"),
        ("plain,valid=1,users=0.5", r"users= needs valid= as a share"),
        ("plain,valid=0.5,users=0.5", r"valid=0.5 must be less than users=0.5"),
        ("plain,valid=0.1,users=2", r"users is 2, but must be a share between 0 and 1"),
        ("", r"possible splits are|names no standard split"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong_and_shows_the_forms(stored, spec, message):
    stored = replace(stored, schema=replace(stored.schema, standard={}))
    with pytest.raises(KgrecError, match=message) as caught:
        split(stored, spec)
    assert "possible splits are last_n:N[,valid=M]; ratio:F" in str(caught.value) or spec == ""


def test_an_unknown_split_names_the_near_one(stored):
    with pytest.raises(UnknownName, match=r"no split 'lastn'; did you mean 'last_n'\? There are: given, plain, last_n"):
        split(stored, "lastn:1")
    with pytest.raises(UnknownName, match=r"no split 'gven'; did you mean 'given'"):
        split(stored, "gven")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "by_time:5,6",
            r"split 'by_time:5,6' leaves no 'rated' edge to train on; the times are from 1970-01-01T00:00:10 to "
            r"1970-01-01T00:01:\d\d: name times between these",
        ),
        ("by_time:95,99", r"split 'by_time:95,99' leaves no 'rated' edge to test on"),
        (
            "ratio:0.000001",
            r"no 'rated' edge to test on; hold out more edges \(with last_n, a user with one edge keeps it in train\)",
        ),
    ],
)
def test_a_split_that_leaves_a_part_empty_is_refused(graph, spec, message):
    with pytest.raises(KgrecError, match=message):
        split(graph, spec)


def test_last_n_of_users_with_one_edge_each_leaves_nothing_to_test():
    with pytest.raises(KgrecError, match=r"leaves no 'rated' edge to test on"):
        split(Graph.from_frames(edges={RATED: frame(("u", "a"), ("v", "a"))}), "last_n:1")


# ---------------------------------------------------------------------- leaks: walk all that can be reached

PURCHASED, CARTED = ("user", "purchased", "item"), ("user", "carted", "item")
BOUGHT_BY = ("item", "bought_by", "user")  # the same purchases once more, backwards and without times
FIRST_TIME = 1_000_000  # marks in times are above any node number


@pytest.fixture(scope="module")
def shop() -> Graph:
    """Three behaviours, facts, and the purchases restated. Each edge is marked: its time and its weight stand nowhere
    else, and each purchase has a review of its own."""
    draw = np.random.default_rng(11)
    times = iter((FIRST_TIME + draw.permutation(1000) * 10).tolist())
    weights = iter(np.arange(1000) + 0.25)

    def behaviour(share: float) -> pd.DataFrame:
        pairs = [(f"u{u}", f"i{i}") for u in range(8) for i in range(20) if draw.random() < share]
        return frame(*[(*pairs[n], next(times), next(weights)) for n in draw.permutation(len(pairs))])

    purchased = behaviour(0.5)
    purchased["review"] = [f"review of {s} and {t}" for s, t in zip(purchased["source"], purchased["target"])]
    back = purchased[["target", "source"]].set_axis(["source", "target"], axis=1).assign(weight=purchased["weight"])
    graph = Graph.from_frames(
        edges={
            VIEWED: behaviour(0.8),
            PURCHASED: purchased,
            CARTED: behaviour(0.6),
            GENRE: frame(*[(f"i{i}", f"g{i % 3}") for i in range(20)]),
            BOUGHT_BY: back,
        },
        features={"purchased": {"review": "text"}},
        target=PURCHASED,
    )
    given = draw.choice(3, graph.only("purchased").num_edges, p=[0.7, 0.1, 0.2]).astype(np.int8)
    plain = np.where(given == 1, 0, given)
    return replace(graph, splits={"given": torch.from_numpy(given), "plain": torch.from_numpy(plain)})


SPECS = [
    "last_n:1,valid=1",
    "last_n:3",
    "ratio:0.2,valid=0.1,seed=3",
    "ratio:0.3,valid=0.2,per_user",
    f"by_time:{FIRST_TIME + 6000},{FIRST_TIME + 8000}",
    "by_time:70%,85%",
    "cold_items:0.2,valid=0.2,seed=1",
    "given",
    "plain,valid=1",
    "plain,valid=0.2",
]


def reached(thing: object, seen: set[int] | None = None) -> Iterator[object]:
    """Every number and text that a holder of `thing` can come to: through fields, caches, maps, lists, other objects,
    and whole storages behind tensors that are slices."""
    seen = set() if seen is None else seen
    if thing is None or isinstance(thing, str | bytes | int | float):
        yield thing
        return
    if id(thing) in seen or isinstance(thing, type | FunctionType | MethodType | ModuleType | torch.dtype):
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield from torch.empty(0, dtype=thing.dtype).set_(thing.untyped_storage()).tolist()
    elif isinstance(thing, np.ndarray | pd.Index):
        yield from thing.tolist()
    elif isinstance(thing, pa.Array):
        yield from thing.to_pylist()
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from reached(key, seen)
            yield from reached(value, seen)
    elif isinstance(thing, list | tuple | set | frozenset):
        for part in thing:
            yield from reached(part, seen)
    elif hasattr(thing, "__dict__"):
        yield from reached(vars(thing), seen)


def all_that(graph: Graph) -> set:
    """Every value within reach of `graph`, with all that it makes on demand made."""
    held: list[object] = [graph]
    for view in (graph, graph.both_ways(), graph.reversed(), graph.interactions(), graph.only("purchased")):
        _ = view.head, view.tail, view.csr, view.csc, view.data, view.index._sorted_rows, view.index._sorted_pairs
        held.append(view)
    held += [graph.to_networkx(), graph.edge_feature(PURCHASED, "review")]
    return set(reached(held))


def marks(graph: Graph) -> set:
    """What marks the edges of a graph: times, weights and reviews."""
    values = {time for time in graph.time.tolist() if time != NO_TIME} | set(graph.weight.tolist()) - {1.0}
    for columns in graph.edge_features.values():
        values |= set(columns["review"].values.to_pylist())
    return values


def pairs(graph: Graph) -> set[tuple[int, int]]:
    return set(zip(graph.head.tolist(), graph.tail.tolist()))


def user_item_pairs(graph: Graph) -> set[tuple[int, int]]:
    """The pairs of all behaviours, as every structure of the graph has them, in either direction."""
    found = {tuple(sorted(pair)) for pair in pairs(graph.interactions()) | pairs(graph.only(BOUGHT_BY))}
    shifted = {name: numbers.start for name, numbers in graph.ranges.items()}
    for view in (graph, graph.both_ways()):
        for edge in view.edge_types:
            if {edge[0], edge[2]} == {"user", "item"}:
                ends = view.data[edge].edge_index + torch.tensor([[shifted[edge[0]]], [shifted[edge[2]]]])
                found |= {tuple(sorted(pair)) for pair in ends.T.tolist()}
        for csr in (view.csr, view.csc):
            rows = torch.arange(view.num_nodes).repeat_interleave(csr.degree())
            found |= {tuple(sorted(p)) for p in zip(rows.tolist(), csr.other.tolist())}
    genre = graph.range("genre").start
    return {(low, high) for low, high in found if high < genre}


@pytest.mark.parametrize("spec", SPECS)
def test_nothing_held_out_is_within_reach_of_training(shop, spec):
    result = split(shop, spec)
    target = shop.only("purchased")
    train, test = marks(result.train.only("purchased")), marks(result.test)
    valid = marks(result.valid) if result.valid else set()
    assert train | valid | test == marks(target) and len(train) + len(valid) + len(test) == 3 * target.num_edges

    within_reach = all_that(result.train)
    assert train <= within_reach  # the walk does find what is there
    assert not (valid | test) & within_reach
    within_reach = all_that(result.train_valid)
    assert train | valid <= within_reach
    assert not test & within_reach
    assert result.train.splits == result.train.candidates == result.train_valid.splits == {}


@pytest.mark.parametrize("spec", SPECS)
def test_the_held_out_pairs_stand_in_no_behaviour_but_an_earlier_one(shop, spec):
    result = split(shop, spec)
    valid = pairs(result.valid) if result.valid else set()
    for known, held in ((result.train, pairs(result.test) | valid), (result.train_valid, pairs(result.test))):
        assert held
        assert not held & pairs(known.only("purchased"))
        assert not held & {(user, item) for item, user in pairs(known.only(BOUGHT_BY))}
        if not spec.startswith(("last_n", "by_time")):
            assert not held & user_item_pairs(known)
        assert user_item_pairs(known) <= user_item_pairs(shop)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.startswith("by_time")])
def test_under_by_time_training_ends_where_valid_begins(shop, spec):
    result = split(shop, spec)
    first = int(result.valid.time.min())
    second = int(result.test.time.min())
    assert result.train.interactions().time.max() < first <= result.valid.time.max() < second
    assert result.train_valid.interactions().time.max() < second
    for name in ("viewed", "carted"):  # and nothing more is taken away
        cut = int(spec.split(":")[1].split(",")[0]) if "%" not in spec else first
        wanted = [time for time in shop.only(name).time.tolist() if time < cut]
        assert result.train.only(name).time.tolist() == wanted


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.startswith("last_n")])
def test_under_last_n_a_users_other_behaviours_end_before_the_first_held_out(shop, spec):
    result = split(shop, spec)
    for known, *held in (
        (result.train, result.test, *([result.valid] if result.valid else [])),
        (result.train_valid, result.test),
    ):
        for user in shop.range("user"):
            first = min(int(part.time[part.head == user].min()) for part in held)
            for name in ("viewed", "carted"):
                had, has = shop.only(name), known.only(name)
                wanted = [t for h, t in zip(had.head.tolist(), had.time.tolist()) if h == user and t < first]
                assert has.time[has.head == user].tolist() == wanted


def test_under_cold_items_no_behaviour_touches_a_cold_item(shop):
    result = split(shop, "cold_items:0.2,valid=0.2,seed=1")
    cold, warm_later = set(result.test.tail.tolist()), set(result.valid.tail.tolist())
    assert cold and warm_later
    assert not (cold | warm_later) & {item for _, item in user_item_pairs(result.train)}
    assert not cold & {item for _, item in user_item_pairs(result.train_valid)}
    assert not (cold | warm_later) & set(result.train.drawable("item").tolist())
    assert not cold & set(result.train_valid.drawable("item").tolist())
    assert warm_later <= set(result.train_valid.drawable("item").tolist())
    assert result.train.facts().only("has_genre").num_edges == 20


def test_splitting_changes_nothing_in_the_graph(shop):
    before = shop.content_hash(), marks(shop)
    for spec in SPECS:
        split(shop, spec)
    assert (shop.content_hash(), marks(shop)) == before
