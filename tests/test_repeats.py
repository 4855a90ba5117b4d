"""Held-out pairs that a user had already: counted, skipped or recommended, in sums on paper."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from kgrec.cli.entry import app
from kgrec.errors import KgrecError, UnknownName
from kgrec.evaluation.evaluation import evaluate
from kgrec.graph import Candidates, Graph
from kgrec.model import Query, Recommender
from kgrec.run import Run, train
from kgrec.splits.split import split
from kgrec.studies.backtesting import backtest
from kgrec.studies.comparison import compare
from kgrec.studies.noise import divide, noisy
from kgrec.studies.robustness_study import measure_robustness
from kgrec.training.config import TrainingConfig

SPEC = "by_time:00010,00020"
#: Train: a has 4 users, b 3, c 2, d 1, so that popularity ranks a, b, c, d. Valid: ann's a and bob's a are repeats.
#: Test: of five pairs ann's c (which she has since valid), bob's a and cem's c are repeats, and bob has nothing else.
RATED = [
    *(("ann", "a", 1), ("bob", "a", 1), ("dan", "a", 1), ("eve", "a", 1)),
    *(("ann", "b", 2), ("dan", "b", 2), ("eve", "b", 2)),
    *(("cem", "c", 3), ("dan", "c", 3), ("eve", "d", 4)),
    *(("ann", "a", 11), ("ann", "c", 12), ("bob", "a", 13)),
    *(("ann", "c", 21), ("ann", "d", 22), ("bob", "a", 23), ("cem", "a", 24), ("cem", "c", 25)),
]
ONE = {"split": SPEC, "metrics": ["hit_rate@1", "recall@1"], "training": TrainingConfig(device="cpu")}
#: What valid and test measure: with what a user has left out, ann's first is c at valid and d at test, bob's b, cem's
#: a; with what a user has left in, everybody's first is a
MEASURED = {
    "miss": ({"hit_rate@1": 1 / 2, "recall@1": 1 / 4}, {"hit_rate@1": 2 / 3, "recall@1": 1 / 3}),
    "skip": ({"hit_rate@1": 1.0, "recall@1": 1.0}, {"hit_rate@1": 1.0, "recall@1": 1.0}),
    "recommend": ({"hit_rate@1": 1.0, "recall@1": 3 / 4}, {"hit_rate@1": 2 / 3, "recall@1": 1 / 2}),
}
COUNTED = {"ranked": "catalog", "held_out_pairs": 5, "held_out_users": 3, "pairs": 3, "users": 3}
COUNTED |= {"users_without_others": 1, "dropped_pairs": 0, "dropped_users": 0}
COUNTS = {
    "miss": COUNTED | {"choice": "miss", "highest_hit_rate": 1 - 1 / 3},
    "skip": COUNTED | {"choice": "skip", "dropped_pairs": 3, "dropped_users": 1},
    "recommend": COUNTED | {"choice": "recommend"},
}


def graph_of(rated: list[tuple]) -> Graph:
    frame = pd.DataFrame(rated, columns=["source", "target", "time"])
    nodes = {
        "user": pd.DataFrame({"id": ["ann", "bob", "cem", "dan", "eve"]}),
        "item": pd.DataFrame({"id": list("abcd")}),
    }
    return Graph.from_frames(nodes=nodes, edges={("user", "rated", "item"): frame})


def as_numbers(values: dict) -> dict:
    return {name: pytest.approx(value) if isinstance(value, float) else value for name, value in values.items()}


class Table(Recommender):
    """Scores that were written down: a row a user, a column an item."""

    def __init__(self, table: list[list[float]], task: str = "ranking") -> None:
        super().__init__(None, None)  # type: ignore[arg-type]
        self.task = task  # type: ignore[assignment]
        self.register_buffer("table", torch.tensor(table))

    def score(self, query: Query, items: Tensor) -> Tensor:
        column = items - len(self.table)
        return self.table[query.user][:, column] if items.dim() == 1 else self.table[query.user].gather(1, column)


# ---------------------------------------------------------------------- what is measured


@pytest.mark.parametrize("choice", ["miss", "skip", "recommend"])
def test_valid_and_test_on_paper(choice, tmp_path):
    run = train("popularity", graph_of(RATED), repeats=choice, out=tmp_path / "run", **ONE)
    valid, test = MEASURED[choice]
    names = ("hit_rate@1", "recall@1")
    assert {name: run.metrics["valid"][name] for name in names} == as_numbers(valid)
    assert run.metrics["test"] == {**as_numbers(test), "ndcg@10": run.metrics["test"]["ndcg@10"]}
    assert run.metrics["num_users"] == (2 if choice == "skip" else 3)
    assert run.metrics["repeats"] == as_numbers(COUNTS[choice])
    assert run.metrics["protocol"] == f"{SPEC}; full ranking, repeats {choice}"
    stored = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert stored["repeats"] == as_numbers(COUNTS[choice])


@pytest.mark.parametrize(
    ("choice", "rows"),
    [
        ("miss", {"ann": 0.5, "bob": 0.0, "cem": 0.5}),
        ("skip", {"ann": 1.0, "cem": 1.0}),
        ("recommend", {"ann": 0.0, "bob": 1.0, "cem": 0.5}),
    ],
)
def test_each_user_has_a_row_where_a_pair_of_theirs_counts(choice, rows):
    parts = split(graph_of(RATED), SPEC)
    model = Table([[4.0, 3, 2, 1]] * 5)
    found = evaluate(model, parts.train_valid, parts.test, metrics=["recall@1"], repeats=choice)
    assert dict(zip(*found.per_user.to_pydict().values())) == rows
    assert found.num_unrankable == (3 if choice == "miss" else 0)


def test_an_item_held_out_twice_is_one_pair():
    parts = split(graph_of([*RATED, ("bob", "a", 26), ("ann", "d", 27)]), SPEC)
    found = evaluate(Table([[4.0, 3, 2, 1]] * 5), parts.train_valid, parts.test)
    assert (found.repeats.held_out_pairs, found.repeats.pairs) == (5, 3)


def test_without_repeats_the_three_are_one_and_the_name_says_what_is_not_the_default():
    rated = [row for row in RATED if row[2] < 10] + [("ann", "d", 21), ("bob", "c", 22)]
    runs = {choice: train("popularity", graph_of(rated), repeats=choice, **ONE) for choice in ("miss", "skip")}
    assert runs["miss"].metrics["test"] == runs["skip"].metrics["test"]
    assert runs["miss"].metrics["protocol"] == f"{SPEC}; full ranking"
    assert runs["skip"].metrics["protocol"] == f"{SPEC}; full ranking, repeats skip"
    counts = runs["miss"].metrics["repeats"]
    assert (counts["pairs"], counts["held_out_pairs"], counts["highest_hit_rate"]) == (0, 2, 1.0)


@pytest.mark.parametrize(("choice", "recall"), [("miss", 0.5), ("skip", 1.0), ("recommend", 0.5)])
def test_lists_are_ranked_as_published(choice, recall):
    """Ann is held to c, which she has, and d; her list is d and c, of which d is scored better. Of bob nothing but a
    repeat is held out, which is on his list."""
    parts = split(graph_of([row for row in RATED if row[0] != "cem" or row[2] < 20]), SPEC)
    lists = Candidates(torch.tensor([0, 1]), torch.tensor([0, 2, 4]), torch.tensor([2, 3, 0, 1]))
    model = Table([[0.0, 0, 1, 2], [0.0, 1, 0, 0], *[[0.0] * 4] * 3])
    found = evaluate(model, parts.train_valid, parts.test, metrics=["recall@1"], repeats=choice, candidates=lists)
    assert found.per_user["recall@1"][0].as_py() == recall
    assert found.num_users == (1 if choice == "skip" else 2)
    assert found.repeats.ranked == "lists" and found.repeats.highest_hit_rate is None


@pytest.mark.parametrize(("choice", "mae"), [("miss", 3.0), ("skip", 2.0), ("recommend", 3.0)])
def test_ratings_of_repeats_are_left_out_where_they_are_skipped(choice, mae):
    """What is predicted is 0; of the five ratings, all 1 but bob's second of a, 9, two are of no repeat."""
    frame = pd.DataFrame(RATED, columns=["source", "target", "time"])
    frame["weight"] = [3.0 if row[1] == "d" else 9.0 if row == ("bob", "a", 23) else 1.0 for row in RATED]
    nodes = {name: pd.DataFrame({"id": ids}) for name, ids in (("user", ["ann", "bob", "cem", "dan", "eve"]),)}
    nodes["item"] = pd.DataFrame({"id": list("abcd")})
    graph = Graph.from_frames(nodes=nodes, edges={("user", "rated", "item"): frame})
    parts = split(graph, SPEC)
    found = evaluate(Table([[0.0] * 4] * 5, "rating"), parts.train_valid, parts.test, metrics=["mae"], repeats=choice)
    assert found.metrics["mae"] == mae  # (1 + 3 + 9 + 1 + 1) / 5, and (3 + 1) / 2
    assert len(found.predictions) == (2 if choice == "skip" else 5)
    assert found.repeats.ranked == "nothing" and found.repeats.pairs == 3


# ---------------------------------------------------------------------- what is refused


def test_a_choice_that_is_not_there_is_refused():
    graph = graph_of(RATED)
    with pytest.raises(UnknownName, match="no choice of repeats 'ignore'; there are: miss, skip, recommend"):
        split(graph, SPEC, repeats="ignore")
    with pytest.raises(KgrecError, match=r"repeats='skipp'.*did you mean 'skip'"):
        train("popularity", graph, repeats="skipp", **ONE)


def test_nothing_but_repeats_cannot_be_skipped():
    rated = [row for row in RATED if row[2] < 10] + [("ann", "a", 21), ("bob", "a", 22)]
    with pytest.raises(KgrecError, match="all 2 held-out 'rated' pairs are repeats"):
        train("popularity", graph_of(rated), repeats="skip", **ONE)
    assert train("popularity", graph_of(rated), **ONE).metrics["repeats"]["highest_hit_rate"] == 0.0


def test_facts_that_are_held_out_are_no_repeats(planted):
    with pytest.raises(KgrecError, match=r"task link ranks facts, .* repeats 'skip' has no effect"):
        train("distmult", planted, task="link", repeats="skip", training=TrainingConfig(epochs=1, device="cpu"))


# ---------------------------------------------------------------------- runs


def test_a_run_is_measured_by_its_own_choice_unless_another_is_named(tmp_path):
    graph = graph_of(RATED)
    train("popularity", graph, repeats="skip", out=tmp_path / "run", **ONE)
    run = Run.load(tmp_path / "run")
    own, other = run.measure(graph, metrics=["recall@1"]), run.measure(graph, metrics=["recall@1"], repeats="miss")
    assert own["test"]["recall@1"] == 1.0 and own["protocol"].endswith("repeats skip")
    assert other["test"]["recall@1"] == pytest.approx(1 / 3) and other["protocol"].endswith("repeats miss")


def _without(file: Path, *names: str) -> None:
    """A JSON file as it was before these keys were there."""
    document = json.loads(file.read_text())
    for name in names:
        document.pop(name)
    file.write_text(json.dumps(document))


def _as_before(run: Path) -> None:
    """A run folder as it was before repeats were a choice."""
    config, metrics = run / "config.json", run / "metrics.json"
    document = json.loads(metrics.read_text())
    document.pop("repeats")
    document["protocol"] = document["protocol"].replace(", repeats miss", "")
    metrics.write_text(json.dumps(document))
    _without(config, "repeats", "files")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"format": 1}))


def test_runs_of_before_missed_repeats_and_may_be_compared_with_those_that_do(tmp_path):
    graph = graph_of(RATED)
    for name, choice in (("before", "miss"), ("miss", "miss"), ("skip", "skip")):
        train("popularity", graph, repeats=choice, out=tmp_path / name, **ONE)
    _as_before(tmp_path / "before")
    assert Run.load(tmp_path / "before").repeats == "miss"
    assert Run.load(tmp_path / "before").measure(graph)["protocol"].endswith("repeats miss")
    assert compare([tmp_path / "before", tmp_path / "miss"]).differences[0].difference == 0
    with pytest.raises(KgrecError, match=r"another protocol.*--repeats"):
        compare([tmp_path / "miss", tmp_path / "skip"])


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"repeats": "never"}, "has repeats 'never', but it must be one of miss, skip, recommend"),
        ("config.json", {"repeats": 3}, "repeats is 3, and a text is wanted"),
        ("metrics.json", {"repeats": {"pairs": "many"}}, "repeats.pairs is the text"),
        ("metrics.json", {"repeats": 3}, "repeats is 3, and an object is wanted"),
    ],
)
def test_an_altered_folder_is_refused(tmp_path, file, change, said):
    train("popularity", graph_of(RATED), out=tmp_path / "run", **ONE)
    _as_before(tmp_path / "run")
    path = tmp_path / "run" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(KgrecError, match=said):
        Run.load(tmp_path / "run")


class Interrupt(Exception):
    pass


def test_a_training_is_not_gone_on_from_by_another_choice(tmp_path):
    options = ONE | {"training": TrainingConfig(epochs=3, device="cpu"), "config": {"dim": 4}, "out": tmp_path / "run"}

    def stopped() -> None:
        with pytest.raises(Interrupt):
            train("mf", graph_of(RATED), overwrite=True, report=_stop_after_one(), **options)

    stopped()
    with pytest.raises(KgrecError, match="made with another repeats"):
        train("mf", graph_of(RATED), repeats="skip", resume=True, **options)
    state = tmp_path / "run.checkpoint" / "state.json"
    document = json.loads(state.read_text())
    assert document["job"].pop("repeats") == "miss"  # as a checkpoint of before it was a choice
    state.write_text(json.dumps(document))
    assert train("mf", graph_of(RATED), resume=True, **options).metrics["epochs"] == 3


def _stop_after_one():
    def report(epoch, metrics):
        if epoch.number > 1:
            raise Interrupt

    return report


# ---------------------------------------------------------------------- studies


@pytest.mark.parametrize(("choice", "recall"), [("miss", 1 / 3), ("skip", 1.0), ("recommend", 1 / 2)])
def test_a_backtest_has_the_choice_and_the_counts(choice, recall):
    """One window from 20 on, as the test of the split above: the last edge is at 25, and it includes it."""
    result = backtest(
        "popularity",
        graph_of(RATED),
        every=5,
        windows=1,
        valid=False,
        repeats=choice,
        **{name: value for name, value in ONE.items() if name != "split"},
    )
    assert result.protocol == f"1 windows of 5 s; full ranking, repeats {choice}, no validation"
    (window,) = result.windows
    assert window.repeats == as_numbers(COUNTS[choice])
    assert result.mean["recall@1"] == pytest.approx(recall)


@pytest.mark.parametrize("choice", ["miss", "skip", "recommend"])
def test_robustness_has_the_choice_and_the_counts(choice):
    result = measure_robustness(
        "popularity", graph_of(RATED), kinds=["drop"], noise=[0.2], seeds=1, repeats=choice, **ONE
    )
    assert result.protocol == f"{SPEC}; full ranking, repeats {choice}"
    assert result.clean["recall@1"].mean == pytest.approx(MEASURED[choice][1]["recall@1"])
    assert result.repeats == as_numbers(COUNTS[choice])


def test_noise_leaves_the_pairs_that_are_tested_where_repeats_are_skipped():
    """Where drop takes the edge that makes a pair a repeat, it is none, and would be measured under noise alone."""
    clean = divide(graph_of(RATED), SPEC, repeats="skip")
    for seed in range(20):
        parts = split(noisy(clean, "drop", 0.3, seed), clean.spec, clean.candidates, "skip")
        assert sorted(parts.test.edge_index.T.tolist()) == [[0, 3], [2, 0]]  # ann's d and cem's a
        assert parts.protocol.endswith("repeats skip")


# ---------------------------------------------------------------------- the command line


def kgrec(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return " ".join(done.stdout.split())


def test_the_commands_say_what_became_of_repeats(tmp_path):
    graph_of(RATED).save(tmp_path / "graph")
    graph, run = tmp_path / "graph", tmp_path / "run"
    common = ("--metrics", "hit_rate@1", "--device", "cpu")
    shown = kgrec("train", "popularity", graph, "--split", SPEC, "--out", run, *common)
    missed = "3 of 5 held-out pairs are repeats and count as missed (the hit rate is at most 0.6667); use --repeats"
    assert missed in shown
    assert missed in kgrec("evaluate", run, graph)
    skipped = "3 of 5 held-out pairs are repeats and are skipped; 1 user has no other pair and is skipped too"
    assert skipped in kgrec("evaluate", run, graph, "--repeats", "skip")
    ranked = "3 of 5 held-out pairs are repeats and are ranked like other items"
    assert ranked in kgrec("evaluate", run, graph, "--repeats", "recommend")
    windows = ("--every", "5m", "--windows", "1", "--no-valid")
    days = [(user, item, time * 60) for user, item, time in RATED]
    graph_of(days).save(tmp_path / "days")
    assert skipped in kgrec("backtest", "popularity", tmp_path / "days", *windows, *common, "--repeats", "skip")
    noise = ("--kinds", "drop", "--noise", "0.2", "--seeds", "1")
    assert missed in kgrec("robustness", "popularity", graph, "--split", SPEC, *noise, *common)
    document = json.loads(kgrec("train", "popularity", graph, "--split", SPEC, *common, "--json", "--repeats", "skip"))
    assert document["repeats"] == COUNTS["skip"]
