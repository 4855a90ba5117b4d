"""User follows user: nobody is a candidate, a negative or a class of their own, whichever model learns or answers."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from kgrec import models
from kgrec.cli.entry import app
from kgrec.evaluation.evaluation import evaluate
from kgrec.graph import Candidates, Graph
from kgrec.model import Query, Recommender
from kgrec.models.gan import GAN
from kgrec.models.ials import IALS
from kgrec.nn import Drawn, NodeEmbedding, RankingLoss, RankingLossConfig
from kgrec.nn.adversarial import AdversarialRanking, View
from kgrec.nn.embedding import vector_tables
from kgrec.run import Run, train
from kgrec.samplers import Batch, Edges, Loader, Negatives, Sequences, Stream
from kgrec.splits.split import split
from kgrec.studies.backtesting import backtest
from kgrec.studies.noise import divide, noisy
from kgrec.training.config import TrainingConfig

PEOPLE = 14
FOLLOWS = ("person", "follows", "person")


def graph_of(pairs: list[tuple], people: int = PEOPLE, **others: list[tuple]) -> Graph:
    """People p0, p1, ... in three cities, whose nodes come before theirs. pairs: (who, whom, when), or without a time,
    numbers; others: the same of other relations between people."""
    ids = [f"p{n}" for n in range(people)]

    def frame(rows: list[tuple]) -> pd.DataFrame:
        named = {"source": [ids[row[0]] for row in rows], "target": [ids[row[1]] for row in rows]}
        timed = {"time": [row[2] for row in rows]} if rows and len(rows[0]) > 2 else {}
        return pd.DataFrame({**named, **timed})

    lives = pd.DataFrame({"source": ids, "target": [f"c{n % 3}" for n in range(people)]})
    return Graph.from_frames(
        nodes={"city": pd.DataFrame({"id": ["c0", "c1", "c2"]}), "person": pd.DataFrame({"id": ids})},
        edges={
            FOLLOWS: frame(pairs),
            **{("person", name, "person"): frame(rows) for name, rows in others.items()},
            ("person", "lives_in", "city"): lives,
        },
        target=FOLLOWS,
    )


def some_follow(people: int = PEOPLE, share: float = 0.4, loops: tuple[int, ...] = ()) -> list[tuple[int, int, int]]:
    """Random pairs of two, at times 0, 1, 2, ..., and some people who follow themselves."""
    rng = np.random.default_rng(0)
    follows = rng.random((people, people)) < share
    np.fill_diagonal(follows, False)
    follows[list(loops), list(loops)] = True
    return [(*pair, time) for time, pair in enumerate(rng.permutation(np.argwhere(follows)).tolist())]


def follows_matrix(graph: Graph) -> np.ndarray:
    x = np.zeros((PEOPLE, PEOPLE))
    x[tuple(graph.only(FOLLOWS).edge_index.numpy())] = 1
    return x


# ---------------------------------------------------------------------- draws


@pytest.mark.parametrize("alpha", [0.0, 0.75])
@pytest.mark.parametrize("rejects", [False, True])
def test_nobody_is_drawn_for_themselves(alpha, rejects):
    graph = graph_of(some_follow())
    known = graph.only(FOLLOWS)
    for stage_graph in (known, graph.both_ways()):
        stage = Negatives(stage_graph, 200, alpha=alpha, reject=stage_graph if rejects else None)
        batch = stage(Edges(stage_graph)[torch.arange(stage_graph.num_edges)], torch.Generator().manual_seed(0))
        assert not (batch.negative == batch.head.unsqueeze(1)).any()
    paths = Sequences(known, 5)
    batch = Negatives(known, 200, alpha=alpha)(paths[torch.arange(len(paths))], torch.Generator().manual_seed(0))
    assert not (batch.negative == batch.head.view(-1, 1, 1)).any()


def test_one_who_knows_everybody_else_is_not_drawn_either():
    graph = graph_of([(0, 1), (0, 2), (1, 2), (2, 0)], people=3).only(FOLLOWS)
    batch = Negatives(graph, 50, reject=graph)(Edges(graph)[torch.tensor([0])], torch.Generator().manual_seed(0))
    assert set(batch.negative.flatten().tolist()) == {4, 5}  # p1 and p2, after three cities


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_others_are_drawn_as_often_as_their_probability_says(alpha):
    """p1 is followed by three, p2 by two, p3 by one; p1 is drawn for itself never, so that p2 has 2/3 and p3 1/3, or
    with alpha 0 p0, p2 and p3 a third each."""
    pairs = [(0, 1), (2, 1), (3, 1), (0, 2), (1, 2), (1, 3)]
    graph = graph_of(pairs, people=4).only(FOLLOWS)
    of_p1 = Edges(graph)[torch.tensor([4])]
    batch = Negatives(graph, 30_000, alpha=alpha)(of_p1, torch.Generator().manual_seed(0))
    count = torch.bincount(batch.negative.flatten() - 3, minlength=4) / 30_000
    wanted = [0, 0, 2 / 3, 1 / 3] if alpha else [1 / 3, 0, 1 / 3, 1 / 3]
    assert count.tolist() == pytest.approx(wanted, abs=0.01)
    of_node = dict(zip((batch.negative.flatten() - 3).tolist(), batch.log_q.flatten().exp().tolist()))
    assert of_node == {n: pytest.approx(share, rel=1e-5) for n, share in enumerate(wanted) if share}


def test_what_is_withheld_is_not_drawn_in_the_place_of_oneself():
    graph = dataclasses.replace(graph_of(some_follow()).only(FOLLOWS), withheld=torch.tensor([3 + 5, 3 + 9]))
    stage = Negatives(graph, 300)
    batch = stage(Edges(graph)[torch.arange(graph.num_edges)], torch.Generator().manual_seed(0))
    for head, negative in zip(batch.head.tolist(), batch.negative):
        assert set(negative.tolist()) == set(range(3, 3 + PEOPLE)) - {8, 12, head}


# ---------------------------------------------------------------------- losses

HOW = {
    "own": {"negatives": 4},
    "shared": {"negatives": 40, "shared": True},
    "in_batch": {"negatives": 0, "in_batch": True},
    "both": {"negatives": 40, "shared": True, "in_batch": True},
    "hard": {"negatives": 40, "shared": True, "hard": 3},
}
NAMES = ("bpr", "bce", "gbce", "softmax", "sampled_softmax", "ccl", "bpr_max", "top1_max")


@pytest.mark.parametrize("products", [True, False], ids=["products", "scores"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", NAMES)
def test_no_loss_depends_on_how_users_score_themselves(name, how, products):
    """Users' vectors are unit vectors, so that number u of an item's vector is u's score of it: of the own scores no
    gradient is left, of the others one is."""
    if how == "hard" and name in ("softmax", "sampled_softmax", "gbce"):
        pytest.skip("it takes none")
    known = graph_of(some_follow()).only(FOLLOWS)
    config = RankingLossConfig(loss=name, cosine=name == "ccl", **HOW[how])
    loss, item = RankingLoss(config, known), NodeEmbedding(known, "person", PEOPLE)
    batch = next(Loader(Edges(known), *loss.stages(), batch_size=known.num_edges).epoch(Stream()))
    drawn = Drawn(batch.tail, batch.negative, batch.log_q, user=batch.head)
    vector = torch.eye(PEOPLE)[batch.head - 3]
    if products and name == "ccl":
        pytest.skip("a cosine has the whole of an item's vector in it; its scores are tested")
    if products:
        found = loss.of_vectors(vector, item, drawn)
    else:
        found = loss.of_scores(lambda items: (vector.unsqueeze(1) * item.weight[items - 3]).sum(-1), drawn)
    assert found.isfinite()
    (gradient,) = torch.autograd.grad(found, item.weight)
    assert gradient[:PEOPLE].diagonal().abs().max() == 0 and (gradient != 0).any()


def test_a_softmax_over_rows_of_users_has_no_class_of_their_own():
    """p0 follows p1 and p2, p1 follows p2: with all scores 0 each of three others is as likely, among four."""
    known = graph_of([(0, 1), (0, 2), (1, 2)], people=4).only(FOLLOWS)
    loss = RankingLoss(RankingLossConfig(loss="softmax"), known)
    tail, users = torch.tensor([4, 5, 5]), torch.tensor([3, 4])
    drawn = Drawn(tail, ptr=torch.tensor([0, 2, 3]), user=users)
    item = NodeEmbedding(known, "person", 2)
    found = loss.of_vectors(torch.zeros(2, 2), item, drawn)
    assert found.item() == pytest.approx(math.log(3))
    scores = loss.of_scores(lambda items: torch.zeros(2, len(items)), drawn)
    assert scores.item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("end", ["items", "users"])
def test_generators_give_nothing_to_oneself(end):
    known = graph_of(some_follow()).only(FOLLOWS)
    model = models.build("dnen", known, {"dim": 4, "pretrain_epochs": 1})
    assert isinstance(model, AdversarialRanking)
    view = View.of(known, end, model.judges()[end])
    batch = view.heads[torch.arange(len(view.heads))]
    for temperature in (1e-3, 1.0, 1e4):
        share = view.logits(model.generator, batch.head, temperature).softmax(-1)
        own = view.drawable == batch.head.unsqueeze(1)
        assert (share[own] == 0).all() and (share.sum(1) - 1).abs().max() < 1e-5


def test_no_network_sees_what_is_made_of_oneself():
    known = graph_of(some_follow()).only(FOLLOWS)
    model = models.build("gan", known, {"dim": 4})
    assert isinstance(model, GAN)
    model.objectives(known)
    batch = model.known[torch.arange(len(model.known))]
    real = batch.multi_hot(model.items)
    assert torch.equal(model._some(batch, real, 1.0), 1 - real - torch.eye(PEOPLE)[batch.head - 3])


@pytest.mark.parametrize("name", ["mf", "ncf", "neumf", "lightgcn", "kgat"])
def test_l2_weighs_users_as_users_and_items_as_items(name):
    """p0 follows p1, and p2 is drawn: of tables of one end those that stand there, of one table all three."""
    known = graph_of(some_follow())
    model = models.build(name, known, small_fields(name) | {"l2": 1.0, "loss": "bpr", "negatives": 1})
    model.objectives(known)
    batch = Batch(torch.tensor([3]), torch.tensor([4]), negative=torch.tensor([[5]]), log_q=torch.zeros(1, 1))
    expected = 0.0
    for table in vector_tables(model):
        nodes = {"users": [3], "items": [4, 5], None: [3, 4, 5]}[table.end]
        expected += table.weight[table.row(torch.tensor(nodes))].square().sum().item()
    assert expected > 0 and (name == "kgat") == all(table.end is None for table in vector_tables(model))
    assert model.edge_penalty(batch).item() == pytest.approx(expected, rel=1e-5)


def test_l2_of_a_generator_weighs_users_as_users_and_items_as_items():
    known = graph_of([(0, 1)], people=3).only(FOLLOWS)
    model = models.build("dnen", known, {"dim": 4, "g_l2": 1.0, "pretrain_epochs": 0})
    for end, head in (("items", 3), ("users", 4)):
        view = View.of(known, end, model.judges()[end])
        batch = view.heads[torch.tensor([0])]
        assert batch.head.tolist() == [head]
        made = model.generator
        expected = (made.user.weight[0].square().sum() + made.item.weight[1].square().sum()).item()
        assert model._penalty(view, made, 1.0, batch).item() == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------------- closed forms


def test_ease_leaves_out_what_each_lacks_of_themselves():
    """Column j is a ridge regression on the other columns over all rows but the j-th."""
    graph = graph_of(some_follow())
    x, expected = follows_matrix(graph), np.zeros((PEOPLE, PEOPLE))
    for j in range(PEOPLE):
        rows = np.delete(x, j, 0)
        rest = np.delete(rows, j, 1)
        expected[np.arange(PEOPLE) != j, j] = np.linalg.solve(
            rest.T @ rest + 2 * np.eye(PEOPLE - 1), rest.T @ rows[:, j]
        )
    np.testing.assert_allclose(models.build("ease", graph, {"l2": 2.0}).weight, expected, atol=1e-5)


def ridge(x: np.ndarray, fixed: np.ndarray, alpha: float, l2: float) -> np.ndarray:
    """For each row of x the w that minimises sum_known (w.h - 1)^2 + alpha sum_others (w.h)^2 + l2 (known + alpha (N -
    1)) |w|^2, where the others are all but the row itself."""
    answers = []
    for own, row in enumerate(x):
        known, others = fixed[row == 1], np.delete(fixed, own, 0)
        strength = l2 * (len(known) + alpha * len(others))
        left = np.concatenate([known, alpha**0.5 * others, strength**0.5 * np.eye(fixed.shape[1])])
        right = np.concatenate([np.ones(len(known)), np.zeros(len(others) + fixed.shape[1])])
        answers.append(np.linalg.lstsq(left, right, rcond=None)[0])
    return np.array(answers)


def test_ials_draws_no_pair_of_oneself_to_0():
    graph = graph_of(some_follow())
    x = follows_matrix(graph)
    model = models.build(
        "ials", graph, {"dim": 3, "alpha": 0.5, "l2": 0.1, "iterations": 1, "init_std": 0.7, "seed": 4}
    )
    assert isinstance(model, IALS)
    start = torch.randn(PEOPLE, 3, generator=torch.Generator().manual_seed(4)).numpy() * 0.7 / 3**0.5
    expected = ridge(x.T, ridge(x, start, 0.5, 0.1), 0.5, 0.1)
    np.testing.assert_allclose(model.item, expected, atol=1e-4)
    people = graph.nodes("person")
    history = torch.full((PEOPLE, PEOPLE), graph.pad)
    for row, followed in enumerate(x):
        history[row, : int(followed.sum())] = torch.from_numpy(np.flatnonzero(followed)) + 3
    scores = model.score(Query(people, history), people)
    np.testing.assert_allclose(scores, ridge(x, expected, 0.5, 0.1) @ expected.T, atol=1e-3)


# ---------------------------------------------------------------------- ranking


class OwnFirst(Recommender):
    """Everybody's own score is the best, and of the others a lower number is better."""

    reads_history = True

    def __init__(self) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]
        self.register_buffer("none", torch.zeros(1))

    def score(self, query: Query, items: Tensor) -> Tensor:
        items = items.expand(len(query), -1) if items.dim() == 1 else items
        return torch.where(items == query.user.unsqueeze(1), 1e6, -items.float())


@pytest.mark.parametrize("repeats", ["miss", "skip", "recommend"])
@pytest.mark.parametrize("cells", [5, 4_194_304])
def test_nobody_is_ranked_for_themselves(repeats, cells):
    """p0 follows p1, and p2 follows p1; held out are p0's p2 and p2's p0, who are then first."""
    known, held = graph_of([(0, 1), (2, 1)], people=4), graph_of([(0, 2), (2, 0), (0, 1)], people=4)
    found = evaluate(OwnFirst(), known, held, metrics=["hit_rate@1", "recall@3"], repeats=repeats, cells=cells)
    own = {"miss": ([1.0, 1.0], [0.5, 1.0]), "skip": ([1.0, 1.0], [1.0, 1.0]), "recommend": ([1.0, 1.0], [1.0, 1.0])}
    assert found.per_user["hit_rate@1"].to_pylist() == own[repeats][0]
    assert found.per_user["recall@3"].to_pylist() == own[repeats][1]


def test_nobody_is_ranked_for_themselves_on_a_list():
    known, held = graph_of([(0, 1), (2, 1)], people=4), graph_of([(0, 2)], people=4)
    lists = Candidates(torch.tensor([0]), torch.tensor([0, 3]), torch.tensor([0, 2, 3]))
    assert evaluate(OwnFirst(), known, held, metrics=["hit_rate@1"], candidates=lists).metrics["hit_rate@1"] == 1.0


def test_answers_leave_out_whoever_asks():
    graph = graph_of([(0, 1), (2, 1), (3, 1)], people=4)
    run = Run("own", OwnFirst(), graph)
    seen = {"p0": ["p1", "p2", "p3"], "p3": ["p0", "p1", "p2"]}
    for user, wanted in seen.items():
        assert run.recommend(user, k=4, include_seen=True)["item"] == wanted
    assert run.recommend("p0", k=4)["item"] == ["p2", "p3"]
    new = run.recommend(history={"p2": ["p1"], "nobody": ["p1"]}, k=4)
    lists = pd.DataFrame(new.to_pandas()).groupby("user")["item"].apply(list).to_dict()
    assert lists == {"p2": ["p0", "p3"], "nobody": ["p0", "p2", "p3"]}
    new = run.recommend(history={"p2": ["p1"]}, k=4, include_seen=True)
    assert new["item"] == ["p0", "p1", "p3"]


# ---------------------------------------------------------------------- splits


def test_edges_to_oneself_are_in_no_part_and_are_counted():
    pairs = [(0, 1, 1), (0, 2, 2), (0, 0, 3), (1, 1, 1), (1, 2, 2), (1, 0, 3)]
    graph = graph_of(pairs, people=3)
    parts = split(graph, "last_n:1")
    assert parts.num_self_edges == 2
    assert parts.test.edge_index.T.tolist() == [[0, 2], [1, 0]]  # the last but oneself
    assert parts.train_valid.only(FOLLOWS).edge_index.T.tolist() == [[0, 1], [1, 2]]
    stored = dataclasses.replace(graph, splits={"given": torch.tensor([0, 2, 2, 0, 2, 0], dtype=torch.int8)})
    given = split(stored, "given")
    assert given.test.edge_index.T.tolist() == [[0, 2], [1, 2]]
    assert given.train.only(FOLLOWS).edge_index.T.tolist() == [[0, 1], [1, 0]]
    run = train("popularity", graph, split="last_n:1", training=TrainingConfig(device="cpu"))
    assert run.metrics["self_edges"] == 2 and run.measure(graph)["self_edges"] == 2
    without = train("popularity", graph_of([(0, 1, 1), (0, 2, 2)]), split="last_n:1")
    assert "self_edges" not in without.metrics


def test_other_relations_do_not_give_held_out_pairs_away():
    """p0's p2 is held out: that p2 is followed by p0, and that the two are friends, is left out whoever is named first;
    what is earlier than the first held-out edge of whoever follows stays under last_n, which cuts by time."""
    follows = [(0, 1, 1), (0, 2, 5), (1, 2, 2)]
    others = {"followed_by": [(1, 0, 1), (2, 0, 5), (2, 1, 2)], "friend": [(2, 0, 6), (0, 2, 7), (1, 2, 3), (2, 1, 4)]}
    graph = graph_of(follows, people=3, **others)
    schema = dict(graph.schema.edges)
    schema["person", "followed_by", "person"] = dataclasses.replace(
        schema["person", "followed_by", "person"], inverse_of="follows"
    )
    graph = dataclasses.replace(graph, schema=dataclasses.replace(graph.schema, edges=schema))
    stored = dataclasses.replace(graph, splits={"given": torch.tensor([0, 2, 0], dtype=torch.int8)})
    for parts in (split(graph, "last_n:1"), split(stored, "given")):
        assert parts.test.edge_index.T.tolist()[0] == [0, 2]
        assert parts.train.only("followed_by").edge_index.T.tolist() == [[1, 0], [2, 1]]
        assert parts.train.only("friend").edge_index.T.tolist() == [[1, 2], [2, 1]]


def test_a_cold_node_keeps_what_it_does_as_a_user():
    graph = graph_of(some_follow())
    parts = split(graph, "cold_items:0.3,seed=1")
    cold, train_edges = set(parts.train.withheld.tolist()), parts.train.only(FOLLOWS)
    assert cold and not cold & set(train_edges.tail.tolist()) and cold & set(train_edges.head.tolist())
    assert cold == set(parts.test.tail.tolist())


def test_noise_lets_nobody_follow_themselves():
    clean = divide(graph_of(some_follow(loops=(3, 5))), "last_n:1,valid=1")
    for seed in range(5):
        source, target = noisy(clean, "add", 0.9, seed).only(FOLLOWS).edge_index
        assert not (source == target).any()


def test_windows_do_not_count_edges_to_oneself():
    pairs = [(0, 1, 1), (0, 2, 2), (1, 2, 3), (2, 2, 11), (1, 0, 12)]
    (window,) = backtest(
        "popularity", graph_of(pairs, people=3), every=5, windows=1, valid=False, metrics=["recall@1"]
    ).windows
    assert (window.num_train, window.num_test, window.num_users) == (3, 1, 1)


# ---------------------------------------------------------------------- all models

#: Settings for fourteen people, for those models that have a field of the name
SMALL = {
    "dim": 8,
    "batch_size": 16,
    "length": 5,
    "relation_dim": 8,
    "layer_dims": (8,),
    "hidden": (8,),
    "d_hidden": (8,),
}
SMALL |= {"pretrain_epochs": 1, "adversarial_batch_size": 8, "neighbors": 5}


def small_fields(name: str) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(models.find(name).Config)}
    return {key: value for key, value in SMALL.items() if key in fields}


def batches_of(model: Recommender, graph: Graph) -> list[Batch]:
    """What all objectives are taken over in an epoch, the parts of pairs apart."""
    found = [batch for objective in model.objectives(graph) for batch in objective.batches.epoch(Stream())]
    return [part for batch in found for part in (batch if isinstance(batch, tuple) else (batch,))]


@pytest.mark.parametrize("name", models.names())
def test_every_model_learns_and_answers_where_users_are_items(name):
    """A new model is here by being there: it trains to finite losses, draws nobody for themselves, and its answers
    leave out whoever asks, though what a user has is in them."""
    graph = graph_of(some_follow(loops=(3, 5)))
    losses: list[float] = []
    run = train(
        name,
        graph,
        split="ratio:0.2,seed=0",
        config=small_fields(name),
        training=TrainingConfig(epochs=3, device="cpu"),
        report=lambda epoch, metrics: losses.extend(epoch.losses.values()),
    )
    assert run.metrics["self_edges"] == 2
    assert np.isfinite(losses).all() and np.isfinite(list(run.metrics["test"].values())).all()
    model = models.build(name, run.graph, small_fields(name))
    for batch in batches_of(model, run.graph):
        if batch.negative is not None and batch.negative.dim() > 1:
            head = batch.head.view(-1, *[1] * (batch.negative.dim() - 1))
            assert not (batch.negative == head).any()
    answers = run.recommend("all", k=PEOPLE, include_seen=True)
    assert len(answers) == PEOPLE * (PEOPLE - 1)
    assert all(user != item for user, item in zip(answers["user"], answers["item"]))


# ---------------------------------------------------------------------- the command line


def test_a_recipe_says_that_users_follow_users(tmp_path: Path):
    rows = "".join(f"p{who},p{whom},{when}\n" for who, whom, when in some_follow(loops=(3,)))
    (tmp_path / "follows.csv").write_text(f"follower,followee,at\n{rows}")
    (tmp_path / "social.yaml").write_text(
        "name: social\ninteractions: {file: follows.csv, between: [person, person], user: follower, item: followee, "
        "relation: follows, time: at}\nstandard: {split: 'last_n:1'}\n"
    )

    def kgrec(*arguments: object) -> str:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    kgrec("check", tmp_path / "social.yaml")
    kgrec("build", tmp_path / "social.yaml", "--out", tmp_path / "graph")
    info = " ".join(kgrec("info", tmp_path / "graph").split())
    assert "edges from each person" in info and "edges to each person" in info
    run = tmp_path / "run"
    shown = kgrec("train", "itemknn", tmp_path / "graph", "--out", run, "--device", "cpu")
    assert "left out: 1 edge from a node to itself; nobody" in " ".join(shown.split())
    (answer,) = json.loads(kgrec("recommend", run, "--user", "p3", "--k", PEOPLE, "--include-seen", "--json"))
    assert sorted(one["item"] for one in answer["items"]) == sorted(f"p{n}" for n in range(PEOPLE) if n != 3)
