"""Synthetic users: what is drawn, what they are called, and the report's numbers on paper."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from scipy.sparse import csr_array

import kgrec
from kgrec import models
from kgrec.cli.entry import app
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.serving.recommendation import new_user_lists
from kgrec.studies.generation import compare_rows, divergence, draw, generate, gini, jaccard
from kgrec.training.config import TrainingConfig

PAIRS = [("ann", "x"), ("ann", "y"), ("bob", "y"), ("bob", "z"), ("cem", "x"), ("cem", "z"), ("dan", "w"), ("dan", "x")]
SMALL = {"dim": 4, "noise_dim": 3, "draws": 2, "d_hidden": (5,), "batch_size": 8}


def graph_of(pairs: list[tuple[str, str]] = PAIRS) -> Graph:
    return Graph.from_frames(
        nodes={"user": pd.DataFrame({"id": [*dict.fromkeys(user for user, _ in pairs), "nobody"]})},
        edges={("user", "liked", "item"): pd.DataFrame(pairs, columns=["source", "target"])},
    )


def run_of(graph: Graph | None = None, **config: object) -> Run:
    graph = graph or graph_of()
    torch.manual_seed(0)
    return Run("gan", models.build("gan", graph, {**SMALL, **config}).eval(), graph)


# ---------------------------------------------------------------- drawing


def test_items_are_drawn_in_proportion_to_what_is_left() -> None:
    """Of .6, .3 and .15 the first is drawn first in 4 of 7 cases. That first and second are the pair: 4/7 2/3 + 2/7
    .6/.75 = .6095."""
    logit = torch.tensor([0.6, 0.3, 0.15]).logit().expand(20_000, -1)
    generator = torch.Generator().manual_seed(0)
    one = draw(logit, torch.ones(20_000, dtype=torch.long), generator)
    assert (one == 0).double().mean().item() == pytest.approx(4 / 7, abs=0.015)
    assert (one == 1).double().mean().item() == pytest.approx(2 / 7, abs=0.015)
    two = draw(logit, torch.full((20_000,), 2), generator).view(-1, 2)
    assert (two.sum(1) == 1).double().mean().item() == pytest.approx(4 / 7 * 2 / 3 + 2 / 7 * 4 / 5, abs=0.015)


def test_rows_have_their_own_lengths_and_no_item_twice() -> None:
    logit = torch.full((3, 5), -1000.0)  # x^ is 0 in float32
    found = draw(logit, torch.tensor([2, 5, 1]), torch.Generator().manual_seed(0))
    assert len(found) == 8
    assert sorted(found[2:7].tolist()) == [0, 1, 2, 3, 4]
    assert found[0] != found[1]


def test_synthetic_users_have_real_lengths_and_known_items() -> None:
    pairs = [*PAIRS, ("eve", "w"), ("fay", "w"), ("fay", "x"), ("fay", "y"), ("fay", "z")]  # 1, 2 or 4 items
    generated = generate(run_of(graph_of(pairs)), 300, seed=1)
    table = generated.table.to_pandas()
    assert list(table) == ["user", "item", "synthetic"]
    assert list(table["user"].unique()) == [f"synthetic-{n}" for n in range(1, 301)]
    assert not table.duplicated(["user", "item"]).any()
    assert set(table["item"]) == {"w", "x", "y", "z"}
    assert (table["synthetic"] == 1).all()
    lengths = table.groupby("user").size()
    assert set(lengths) == {1, 2, 4}
    assert (lengths == 2).mean() == pytest.approx(4 / 6, abs=0.09)
    assert (generated.report["users"], generated.report["interactions"]) == (300, len(table))


def test_the_same_seed_gives_the_same_users() -> None:
    run = run_of()
    assert generate(run, 20, seed=3).table == generate(run, 20, seed=3).table
    assert generate(run, 20, seed=3).table != generate(run, 20, seed=4).table


def test_many_users_are_sampled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgrec.generation.CELLS", 3 * 4)
    table = generate(run_of(), 10).table.to_pandas()
    assert (table.groupby("user").size() == 2).all()
    assert len(table) == 20


def test_each_user_has_noise_of_its_own() -> None:
    """Where noise alone tells, and for sure, users differ, though scores are by one noise vector."""
    run = run_of(condition=None, draws=1)
    with torch.no_grad():
        run.model.generator.item.weight.mul_(1000)
    users = generate(run, 40).table.to_pandas().groupby("user")["item"].agg(frozenset)
    assert len(set(users)) > 1


def test_ids_are_never_those_of_real_users() -> None:
    run = run_of(graph_of([*PAIRS, ("synthetic-2", "x"), ("synthetic-2", "y")]))
    assert set(generate(run, 1).table["user"].to_pylist()) == {"synthetic-1"}
    assert set(generate(run, 2).table["user"].to_pylist()) == {"synthetic-synthetic-1", "synthetic-synthetic-2"}


@pytest.mark.parametrize("condition", ["history", "features", None])
def test_a_generator_that_copies_is_found_out(condition: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody has two items, and the generator makes those of the user that it is told of."""
    graph = graph_of()
    people = pd.DataFrame({"id": graph.vocabulary["user"].ids(range(9)), "age": [20.0, 30.0, 40.0, 50.0, 60.0]})
    graph = Graph.from_frames(
        nodes={"user": people},
        edges={("user", "liked", "item"): pd.DataFrame(PAIRS, columns=["source", "target"])},
        features={"user": {"age": "numeric"}},
    )
    run = run_of(graph, condition=condition, features=("age",) if condition == "features" else ())
    rows = torch.zeros(5, 4)
    rows[tuple(graph.edge_index)] = 1

    def copy(noise: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        assert (told < 4).all(), "a user without a history was asked for"
        return 1e3 * ((told if condition == "history" else rows[told]) - 0.5)

    monkeypatch.setattr(run.model.generator, "logits", copy)
    copies = generate(run, 30).report["copies"]
    known = None if condition is None else 1
    assert copies == {"of_asked": known, "of_any": 1, "jaccard": known}


# ---------------------------------------------------------------- the report

REAL = csr_array(np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]]))
MADE = csr_array(np.array([[1, 1, 0], [0, 1, 0]]))


def test_the_report_by_hand() -> None:
    """Counts are 2 1 0 and 1 2 0, in ranks 3 2 1 and 2 3 1; a third of the real users and half of the others have the
    one pair that anybody has."""
    report = compare_rows(REAL, MADE, np.array([1, 0]))
    third = -(np.log2(1 / 3) / 3 + 2 * np.log2(2 / 3) / 3)
    assert report["popularity"] == {
        "spearman": pytest.approx(1 / 2),
        "js_bits": pytest.approx(1 - third),
        "gini": {"real": pytest.approx(4 / 9), "generated": pytest.approx(4 / 9)},
        "catalog_share": {"real": pytest.approx(2 / 3), "generated": pytest.approx(2 / 3)},
    }
    assert report["length"] == {
        side: {"mean": 1.5, "q1": 1.25, "median": 1.5, "q3": 1.75} for side in ("real", "generated")
    }
    assert report["co_occurrence"] == {"items": 3, "pearson": pytest.approx(1)}
    assert report["copies"] == {"of_asked": 0, "of_any": 0.5, "jaccard": 0.5}
    assert compare_rows(REAL, MADE, np.array([0, 0]))["copies"] == {"of_asked": 0.5, "of_any": 0.5, "jaccard": 0.75}


def test_what_is_not_defined_is_none() -> None:
    even = csr_array(np.eye(3))
    report = compare_rows(REAL, even, None)
    assert report["popularity"]["spearman"] is None
    assert report["co_occurrence"]["pearson"] is None
    assert report["copies"] == {"of_asked": None, "of_any": 1 / 3, "jaccard": None}


def test_pairs_are_those_of_the_most_popular(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of items 1, 2 and 3, with counts 2, 2 and 3: pairs 12, 13 and 23 have 1, 2 and 2 users, and 0, 1 and 0."""
    monkeypatch.setattr("kgrec.generation.MOST_POPULAR", 3)
    real = csr_array(np.array([[0, 1, 1, 1], [0, 1, 0, 1], [1, 0, 1, 1]]))
    made = csr_array(np.array([[1, 1, 0, 1], [1, 0, 1, 0]]))
    found = compare_rows(real, made, None)["co_occurrence"]
    assert found == {"items": 3, "pearson": pytest.approx(np.corrcoef([1, 2, 2], [0, 1, 0])[0, 1])}


def test_gini_of_unlike_counts() -> None:
    """Differences of all pairs of 1 and 3, twice 2, over 2 n^2 mean = 16."""
    assert gini(np.array([3, 1])) == pytest.approx(4 / 16)


def test_divergence_by_hand() -> None:
    """Shares 1 0 and 1/2 1/2: their mean is 3/4 1/4."""
    entropy = -(3 / 4 * np.log2(3 / 4) + 1 / 4 * np.log2(1 / 4))
    assert divergence(np.array([7, 0]), np.array([2, 2])) == pytest.approx(entropy - 1 / 2)


def test_jaccard_row_by_row() -> None:
    one = csr_array(np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]]))
    other = csr_array(np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]]))
    assert jaccard(one, other).tolist() == [1 / 3, 0, 1]


# ---------------------------------------------------------------- errors and the command


def test_what_cannot_be_generated_is_said() -> None:
    with pytest.raises(KgrecError, match="the number of users is 0, but must be 1 or more"):
        generate(run_of(), 0)
    graph = graph_of()
    with pytest.raises(
        KgrecError, match="this is a run of model 'popularity', which cannot generate users; train model gan"
    ):
        generate(Run("popularity", models.build("popularity", graph), graph), 5)
    run = run_of()
    empty = dataclasses.replace(run, graph=graph.where(torch.zeros(len(PAIRS), dtype=torch.bool)))
    with pytest.raises(KgrecError, match="this run has no interactions, so there is no real user"):
        generate(empty, 5)


def quick() -> TrainingConfig:
    return TrainingConfig(epochs=1, device="cpu")


@pytest.fixture(scope="module")
def folder(planted: Graph, tmp_path_factory):
    """A small trained gan."""
    path = tmp_path_factory.mktemp("gan") / "gan.run"
    train("gan", planted, split="last_n:2", config=SMALL, training=quick(), out=path)
    return path


def command(*words: object) -> None:
    app(["generate", *map(str, words)], standalone_mode=False)


def test_the_command_writes_the_file_and_prints_the_report(folder, tmp_path, capsys) -> None:
    command(folder, "--users", 25, "--out", tmp_path / "events.csv", "--seed", 7)
    printed = capsys.readouterr()
    assert "200 rows in" in printed.err  # everybody has 8 items in train
    assert "200 interactions of 25 synthetic users" in printed.out
    for words in ("gini", "js_bits", "co-occurrence of 40 items", "jaccard", "median"):
        assert words in printed.out
    command(folder, "--users", 25, "--out", tmp_path / "events.parquet", "--seed", 7, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["length"]["generated"] == {"mean": 8, "q1": 8, "median": 8, "q3": 8}
    expected = generate(Run.load(folder), 25, seed=7)
    assert report == expected.to_json()
    assert pq.read_table(tmp_path / "events.parquet") == expected.table
    assert pyarrow.csv.read_csv(tmp_path / "events.csv").to_pylist() == expected.table.to_pylist()
    assert kgrec.generate is generate


def test_the_command_says_what_is_wrong_and_leaves_no_file(folder, tmp_path) -> None:
    with pytest.raises(KgrecError, match=r"--out .*events.txt: the name must end in .parquet or .csv"):
        command(folder, "--users", 2, "--out", tmp_path / "events.txt")
    with pytest.raises(KgrecError, match="the number of users is 0"):
        command(folder, "--users", 0, "--out", tmp_path / "none.csv")
    assert list(tmp_path.iterdir()) == []
    kept = tmp_path / "events.csv"
    kept.write_text("mine")
    with pytest.raises(KgrecError, match="exists already"):
        command(folder, "--users", 2, "--out", kept)
    assert kept.read_text() == "mine"
    command(folder, "--users", 2, "--out", kept, "--overwrite")
    assert len(kept.read_text().splitlines()) == 1 + 2 * 8


def test_a_run_of_features_generates_from_its_folder(planted: Graph, tmp_path) -> None:
    """The folder has no features; the model keeps those of the users that it knows."""
    user, item = planted.only("rated").edge_index
    rated = pd.DataFrame(
        {
            "source": planted.vocabulary["user"].ids(user),
            "target": planted.vocabulary["item"].ids(item),
            "time": planted.only("rated").time,
        }
    )
    people = pd.DataFrame({"id": planted.vocabulary["user"].ids(range(60)), "age": np.arange(60.0)})
    graph = Graph.from_frames(
        nodes={"user": people}, edges={("user", "rated", "item"): rated}, features={"user": {"age": "numeric"}}
    )
    config = {**SMALL, "condition": "features", "features": "age"}
    run = train("gan", graph, split="last_n:2", config=config, training=quick(), out=tmp_path / "gan.run")
    loaded = Run.load(tmp_path / "gan.run")
    assert generate(loaded, 9).table == generate(run, 9).table
    age = loaded.model.generator.condition.table.features.columns[0].value
    assert age[0] < 0 < age[59]
    (tmp_path / "history.csv").write_text("item\ni1\n")
    [[one]] = new_user_lists(loaded, tmp_path / "history.csv")
    assert one.reason == "the model reads no history, by popularity"
