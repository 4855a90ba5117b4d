"""Rules of lists: what each leaves, chooses and refuses, on six items whose scores are 6, 5, 4, 3, 2 and 1."""

from collections.abc import Mapping
from itertools import count
from math import log, log2, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import BadData, KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.run import Run
from kgrec.serving.rules.rule_kernels import choose
from kgrec.serving.rules.rule_settings import Rules

ITEMS = "abcdefgh"
BRANDS = [("a", "Acme"), ("b", "Acme"), ("c", "Acme"), ("d", "Best"), ("e", "Best"), ("g", "Acme"), ("h", "Best")]
GENRES = [("a", "x"), ("b", "x"), ("c", "y"), ("d", "x"), ("d", "y"), ("e", "y"), ("g", "x"), ("h", "y")]


@pytest.fixture(scope="module")
def run() -> Run:
    """ann has g, bob g and h, cem a; whoever has g is given 6, 5, 4, 3, 2, 1 for a to f, and -1 for h."""
    had = [("ann", "g"), ("bob", "g"), ("bob", "h"), ("cem", "a")]
    columns = {
        "id": list(ITEMS),
        "price": [10.0, 20.0, 30.0, 40.0, 50.0, np.nan, 10.0, 10.0],
        "released": ["2001-05-01", "2002", "2003-01-01", None, "2005-06-30", "2006-01-01", "2000-01-01", "2000-01-01"],
        "year": [2001.0, 2002, 2003, np.nan, 2005, 2006, 2000, 2000],
        "vector": [[1.0, 0.0]] * 8,
    }
    graph = Graph.from_frames(
        nodes={"user": pd.DataFrame({"id": ["ann", "bob", "cem"]}), "item": pd.DataFrame(columns)},
        edges={
            ("user", "had", "item"): pd.DataFrame(had, columns=["source", "target"]),
            ("item", "of_brand", "brand"): pd.DataFrame(BRANDS, columns=["source", "target"]),
            ("item", "has_genre", "genre"): pd.DataFrame(GENRES, columns=["source", "target"]),
        },
        features={"item": {"price": "numeric", "released": "text", "year": "numeric", "vector": "vector"}},
        target=("user", "had", "item"),
    )
    model = models.build("ease", graph).eval()
    model.weight.zero_()
    model.weight[6, :6] = torch.arange(6.0, 0, -1)
    model.weight[6, 7] = -1
    return Run("ease", model, graph)


def listed(run: Run, rules: Any, k: int = 4, user: str = "ann", **options: Any) -> str:
    """The items of a list, as one text."""
    return "".join(run.recommend(user, k=k, rules=rules, **options)["item"])


SETS = [
    ({"blocked": ["a", "c"]}, "bdef"),
    ({"in_stock": ["f", "b", "d"], "blocked": ["d"]}, "bf"),
    ({"price": {"column": "price", "min": 20, "max": 40}}, "bcd"),
    ({"price": {"column": "price", "min": 45}}, "e"),
    ({"freshness": {"column": "released", "newer_than": "2002-07-01"}}, "cef"),  # 2002 is its first day
    ({"freshness": {"column": "year", "newer_than": 2003}}, "cef"),
    ({"freshness": {"column": "year", "newer_than": "2003-01-02"}}, "ef"),
    ({"freshness": {"column": "released", "days": 365, "now": "2006-06-01"}}, "ef"),
    ({"recently_shown": {"ann": ["a", "b"], "bob": ["c"]}}, "cdef"),
    ({"at_most": {"of_brand": 1}}, "adf"),
    ({"at_most": {"brand": 2, "has_genre": 1}}, "acf"),
    ({"at_most": {"of_brand=Acme": 1}}, "adef"),
    ({"pinned": ["f", {"item": "e", "place": 1}]}, "efab"),
    ({"pinned": ["f"], "at_most": {"of_brand": 1}}, "fad"),
    ({"diversity": {"by": "facts", "weight": 0}}, "abcd"),
]


@pytest.mark.parametrize(("rules", "wanted"), SETS)
def test_a_rule_leaves_what_it_says(run: Run, rules: Mapping[str, Any], wanted: str) -> None:
    assert listed(run, rules) == wanted


def test_scores_are_those_of_the_model(run: Run) -> None:
    table = run.recommend("ann", k=3, rules={"pinned": [{"item": "f", "place": 2}]})
    assert table["item"] == ["a", "f", "b"] and table["score"] == [6, 1, 5]


def test_a_pinned_item_is_not_shown_to_who_has_it(run: Run) -> None:
    rules = {"pinned": [{"item": "g", "place": 1}]}
    assert listed(run, rules) == "abcd" and listed(run, rules, user="cem")[0] == "g"
    assert listed(run, rules, include_seen=True) == "gabc"
    assert listed(run, {"pinned": [{"item": "f", "place": 9}]}) == "abcd"


# ---------------------------------------------------------------------- diversity and calibration, on paper


def test_diversity_is_maximal_marginal_relevance(run: Run) -> None:
    """Of a to f the relevance is 1, .8, .6, .4, .2 and 0. With weight .5, after a (Acme, x): b is wholly like it, c has
    one of two facts in common, d (Best, x, y) one of two and three, and e and f none. So b has .4 - .5, c .3 - .25,
    d .2 - .5 / sqrt(6), e .1 and f 0. After e (Best, y): c .05 as before, d .2 - .5 * 2 / sqrt(6), f 0. After c the
    rest is f, then b with -.1."""
    rules = {"diversity": {"by": "facts", "weight": 0.5}, "in_stock": list("abcdef")}
    assert listed(run, rules, k=6) == "aecfbd"
    assert listed(run, {"diversity": {"by": "of_brand", "weight": 0.5}, "in_stock": list("abcdef")}) == "adfb"


def test_calibration_is_the_distance_of_shares(run: Run) -> None:
    """Ann's history is all x, and weight .5 halves relevance and distance. After a and b (both x), c (y) makes x two
    thirds: KL = -log(.67) = .40, so that .30 - .20 is less than the .20 - .09 of d (x and y). Bob's is half x, half y:
    with a, b or c alone KL is 1.96, with d 0, so that d is first; then a, of .5 - .07; then c, which makes it even."""
    rules = {"calibration": {"by": "has_genre", "weight": 0.5}, "in_stock": list("abcdef")}
    assert listed(run, rules) == "abdc"
    assert listed(run, rules, user="bob") == "dacb"


def plain_choose(item, relevance, pins, k, group, most, unit, diversity, genres, own, calibration, depth):
    """The same by the formulas as they stand, without a shortcut."""
    chosen: list[int] = []
    of_pins = [pin for pin in pins if pin >= 0]

    def kl(listing: list[int]) -> float:
        with_genres = [genres[one] for one in listing if len(genres[one])]
        q = sum((one / one.sum() for one in np.array([np.isin(range(len(own)), g) for g in with_genres], float)), 0.0)
        q = q / max(1, len(with_genres)) * np.ones(len(own))
        return sum(p * log(p / (0.99 * q[g] + 0.01 * p)) for g, p in enumerate(own) if p > 0)

    for place in range(k):
        if pins[place] >= 0:
            chosen.append(pins[place])
            continue
        best, value = -1, -np.inf
        for one, worth in zip(item, relevance):
            if one < 0 or one in chosen or one in of_pins:
                continue
            later = [*chosen, *(pin for pin in of_pins if pin not in chosen)]
            if any(sum(g in group[other] for other in later) >= most[g] for g in group[one]):
                continue
            alike = max((float(unit[one] @ unit[other]) for other in chosen), default=0.0)
            all_in_all = (1 - diversity - calibration) * worth - diversity * alike
            all_in_all -= calibration * kl([*chosen, one]) if own.any() else 0
            if all_in_all > value + 1e-12:
                best, value = one, all_in_all
        if best >= 0:
            chosen.append(best)
    return chosen


@pytest.mark.parametrize("by_facts", [True, False])
def test_the_compiled_loop_does_what_the_formulas_say(by_facts: bool) -> None:
    """30 users, 25 candidates of 40 items, with groups, genres, facts or vectors, and pinned items, all at random."""
    rng = np.random.default_rng(0)
    items, users, depth, k, num_genres, num_facts, groups = 40, 30, 25, 8, 5, 12, 6

    def sets(number: int, most: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        parts = [np.sort(rng.choice(number, rng.integers(0, most + 1), replace=False)) for _ in range(items)]
        return parts, np.cumsum([0, *map(len, parts)]), np.concatenate(parts).astype(np.int64)

    facts, fact_ptr, fact = sets(num_facts, 4)
    genres, genre_ptr, genre = sets(num_genres, 2)
    group, group_ptr, of_group = sets(groups, 2)
    vector = rng.normal(size=(items, 6)).astype(np.float32)
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    unit = vector.astype(float)
    if by_facts:
        unit = np.array([np.isin(range(num_facts), one) / sqrt(max(1, len(one))) for one in facts])
    most = rng.integers(1, 4, groups)
    item = np.array([rng.choice(items, depth, replace=False) for _ in range(users)])
    item[3, 10:] = -1
    relevance = -np.sort(-rng.random((users, depth)), axis=1)
    pins = np.full((users, k), -1)
    pins[::3, 2], pins[::4, 0] = 7, 11
    own = rng.dirichlet(np.ones(num_genres), users)
    own[5], own[6, 1] = 0, 0
    share_ptr = np.cumsum([0, *(own > 0).sum(1)])
    share_genre = (own > 0).nonzero()[1].copy()  # without gaps, as it comes in a run
    facts_given = (fact_ptr, fact, num_facts) if by_facts else (np.zeros(items + 1, np.int64), fact[:0], 0)
    found = choose(
        item, relevance, pins, k, group_ptr, of_group, most, *facts_given, vector[:, :0] if by_facts else vector, 0.3,
        genre_ptr, genre, share_ptr, share_genre, own[own > 0], num_genres, 0.2,
    )  # fmt: skip
    for user in range(users):
        candidates = [*item[user], *pins[user]]
        listing = [candidates[place] for place in found[user] if place >= 0]
        wanted = plain_choose(
            item[user], relevance[user], pins[user], k, group, most, unit, 0.3, genres, own[user], 0.2, depth
        )
        assert listing == wanted, user


def test_more_is_ranked_where_a_rule_leaves_too_few(run: Run) -> None:
    """From the best two no two brands can be had; so more are ranked, until there are three."""
    assert listed(run, {"at_most": {"of_brand": 1}, "depth": 2}, k=2) == "ad"
    table = run.recommend("ann", k=6, rules={"at_most": {"of_brand": 1}, "in_stock": list("abcde")})
    assert table["item"] == ["a", "d"]
    table = run.recommend("ann", k=4, rules={"at_most": {"of_brand": 1}, "in_stock": list("abcde")})
    assert table.notes == (
        "the user gets fewer than k = 4 items: the filters leave 5, at_most allows no more by 'of_brand', and what "
        "a user has is left out",
    )


# ---------------------------------------------------------------------- new users, files


def test_rules_hold_for_new_users_too(run: Run) -> None:
    rules = {"at_most": {"of_brand": 1}, "recently_shown": {"new": ["a"]}}
    table = run.recommend(history={"new": ["g"], "other": ["g"]}, k=2, rules=rules)
    assert table["item"] == ["b", "d", "a", "d"]


def test_rules_are_read_from_a_file_and_name_files_beside_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "blocked.txt").write_text("a\nc\n")
    (tmp_path / "stock.csv").write_text("item,number\na,3\nb,1\nd,2\nf,9\n")
    (tmp_path / "shown.csv").write_text("user,item\nann,b\nbob,d\n")
    path = tmp_path / "rules.yaml"
    path.write_text("blocked: blocked.txt\nin_stock: stock.csv\nrecently_shown: shown.csv\n")
    assert listed(run, path) == listed(run, str(path)) == "df"
    (tmp_path / "blocked.txt").write_text("d\n")  # a file that has changed is read again
    assert listed(run, path) == "af"


# ---------------------------------------------------------------------- what is refused


BAD: list[tuple[Any, type[KgrecError], str]] = [
    ({"bloked": ["a"]}, BadData, "no key 'bloked'; did you mean 'blocked'"),
    ({"diversity": {"by": "facts", "wieght": 1}}, BadData, "no key 'wieght'; did you mean 'weight'"),
    ({"pinned": [{"item": "a", "plac": 1}]}, BadData, "no key 'plac'; did you mean 'place'"),
    ({"diversity": {"weight": 0.6}, "calibration": {"by": "has_genre", "weight": 0.6}}, BadData, "1.2 together"),
    ({"price": {"column": "price"}}, BadData, "neither `min` nor `max`"),
    ({"price": {"column": "price", "min": 3, "max": 2}}, BadData, "min 3 is more than max 2"),
    ({"freshness": {"column": "released"}}, BadData, "neither or both"),
    ({"pinned": ["a", "a"]}, BadData, "pinned has the item 'a' twice"),
    ({"at_most": {"of_brand": 0}}, BadData, "found 0"),
    (["a"], KgrecError, "rules is"),
    ("no.yaml", KgrecError, "no such file"),
    ({"at_most": {"of_brnd": 1}}, UnknownName, "rule at_most: .*did you mean 'of_brand'"),
    ({"at_most": {"of_brand=Acne": 1}}, UnknownName, "rule at_most: .*did you mean 'Acme'"),
    ({"at_most": {"vector": 1}}, KgrecError, "rule at_most: .*column of vectors"),
    ({"calibration": {"by": "has_gener"}}, UnknownName, "rule calibration: .*did you mean 'has_genre'"),
    ({"diversity": {"by": "vectors"}}, KgrecError, "ease has no vectors of item"),
    ({"diversity": {"by": "fact"}}, UnknownName, "rule diversity: .*or say `facts` or `vectors`"),
    ({"price": {"column": "prise", "min": 1}}, UnknownName, "rule price: .*did you mean 'price'"),
    ({"price": {"column": "released", "min": 1}}, KgrecError, "rule price"),
    ({"freshness": {"column": "of_brand", "days": 3}}, KgrecError, "'of_brand' is no column"),
    ({"blocked": ["a", "zz"]}, UnknownName, "rule blocked: no item 'zz' among the 8 known"),
    ({"blocked": "none.txt"}, KgrecError, "rule blocked: there is no file none.txt"),
    ({"recently_shown": {"anne": ["a"]}}, UnknownName, "rule recently_shown: no user 'anne' .*did you mean 'ann'"),
    (
        {"pinned": ["a"], "blocked": ["a"]},
        KgrecError,
        "rule pinned: 'a' is an item that filters or other rules leave out",
    ),
    ({"in_stock": []}, KgrecError, "no item is left: the rule in_stock"),
    ({"in_stock": ["a"], "blocked": ["a"]}, KgrecError, "no item is left: the rule in_stock .* leaves out all 7 items"),
    ({"price": {"column": "price", "min": 99}}, KgrecError, r"no item is left: the rule price \(price>=99.0\)"),
    ({"freshness": {"column": "year", "newer_than": 2030}}, KgrecError, "no item is left: the rule freshness"),
]


@pytest.mark.parametrize(("rules", "kind", "message"), BAD)
def test_what_is_wrong_is_said_with_the_rule(run: Run, rules: Any, kind: type[KgrecError], message: str) -> None:
    with pytest.raises(KgrecError, match=message) as caught:
        run.recommend("ann", k=2, rules=rules)
    assert isinstance(caught.value, kind)


def test_unknown_ids_may_be_left_out(run: Run) -> None:
    rules = {"blocked": ["a", "zz"], "pinned": ["yy", "f"], "recently_shown": {"nobody": ["b"], "ann": ["xx"]}}
    table = run.recommend("ann", k=3, rules=rules, skip_unknown=True)
    assert table["item"] == ["f", "b", "c"]
    assert [note.partition(":")[0] for note in table.notes] == ["rule blocked", "rule pinned", "rule recently_shown"]


# ---------------------------------------------------------------------- what rules cost and gain


def test_measured_on_valid_before_and_after() -> None:
    """Three users with one held-out item each, at the first place without rules; f is blocked, which is held out of one
    of them: NDCG falls from 1 to 2/3, and to the others nothing is done."""
    times = count()
    past = [(user, item, next(times)) for user in ("ann", "bob", "cem") for item in "gh"]
    last = [("ann", "f", 100), ("bob", "a", 100), ("cem", "a", 100)]
    test = [(user, "e", 200) for user in ("ann", "bob", "cem")]
    rated = pd.DataFrame([*past, *last, *test], columns=["source", "target", "time"])
    graph = Graph.from_frames(
        nodes={"item": pd.DataFrame({"id": list(ITEMS)})},
        edges={
            ("user", "had", "item"): rated,
            ("item", "has_genre", "genre"): pd.DataFrame(GENRES, columns=["source", "target"]),
        },
        target=("user", "had", "item"),
    )
    model = models.build("mf", graph, {"dim": 2}).eval()
    with torch.no_grad():
        model.user.weight[:3] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        model.item.weight[:8] = torch.tensor([[0.0, 9], [1, 8], [2, 7], [3, 6], [4, 5], [9, 1], [0, 0], [0, 0]])
    run = Run("mf", model, graph, split="last_n:1,valid=1")
    found = run.measure(graph, rules={"blocked": ["f"]}, metrics=["ndcg@2", "coverage@2"])
    assert found["measured_on"] == "valid" and found["num_users"] == 3 and found["k"] == 2 and found["each"] == {}
    assert found["before"]["ndcg@2"] == pytest.approx(1) and found["after"]["ndcg@2"] == pytest.approx(2 / 3)
    assert found["before"]["coverage@2"] == 4 / 8  # f, e; a, b
    assert found["after"]["coverage@2"] == 4 / 8  # e, d; a, b
    # all three had g (x) and h (y); a and b are both x, e is y, d is x and y
    assert found["before"]["diversity by facts@2"] == pytest.approx((1 + 0 + 0) / 3)
    assert found["by"] == {"diversity": ["facts", "vectors"], "calibration": ["facts"]}
    alone = 0.5 * log(0.5 / 0.995) + 0.5 * log(0.5 / 0.005)
    mixed = 0.25 * 0.99 + 0.005, 0.75 * 0.99 + 0.005
    after = 0.5 * log(0.5 / mixed[0]) + 0.5 * log(0.5 / mixed[1])
    assert found["before"]["calibration_error@2"] == pytest.approx(alone)
    assert found["after"]["calibration_error@2"] == pytest.approx((after + 2 * alone) / 3)
    every = {"blocked": ["f"], "diversity": {"weight": 0.5}, "pinned": ["a"], "at_most": {"has_genre": 1}, "depth": 5}
    several = run.measure(graph, rules=every)
    assert list(several["each"]) == ["at_most", "pinned", "blocked", "diversity"]
    with_a = run.measure(graph, rules={"pinned": [{"item": "a", "place": 1}]}, metrics=["ndcg@2"])
    assert with_a["after"]["ndcg@2"] == pytest.approx((1 / log2(3) + 1 + 1) / 3)  # ann's f is second now
    with pytest.raises(KgrecError, match="there is no rule to measure"):
        run.measure(graph, rules={})
    with pytest.raises(KgrecError, match="rmse is no metric of lists of k items"):
        run.measure(graph, rules={"blocked": ["f"]}, metrics=["rmse"])
    with pytest.raises(KgrecError, match="rules choose from the whole catalog"):
        run.measure(graph, rules={"blocked": ["f"]}, candidates="ncf")
    on_test = Run("mf", model, graph, split="last_n:1").measure(graph, rules={"blocked": ["f"]})
    assert on_test["measured_on"] == "test" and "measured on test" in on_test["notes"][0]


def test_rules_alone_are_named() -> None:
    rules = Rules.of({"blocked": ["a"], "diversity": {"weight": 0.5}, "depth": 30})
    assert rules.names == ["blocked", "diversity"] and rules.alone("diversity").names == ["diversity"]
    assert (
        rules.alone("diversity").depth == 30
        and rules.depth_for(10) == 30
        and rules.alone("blocked").depth_for(10) == 10
    )
