"""Facts by hand: which triples are known, which tails are drawn, how facts are split, and what ranks they get."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from kgrec import models
from kgrec.cli.entry import app
from kgrec.errors import KgrecError, UnknownName
from kgrec.evaluation.evaluation import evaluate
from kgrec.evaluation.link_evaluation import evaluate_links
from kgrec.graph import Graph
from kgrec.nn import LinkModel, LinkModelConfig
from kgrec.run import Run, measure, tasks_of, train
from kgrec.samplers import Edges, Negatives
from kgrec.serving.recommendation import lists_for, wanted_users
from kgrec.splits.split import split_facts
from kgrec.studies.comparison import compare
from kgrec.training.config import TrainingConfig


def graph_of(*triples: tuple[str, str, str], rated: str = "u1-a") -> Graph:
    """Users u1, u2 rate films; films a to d and people x, y have relations. triples: (head, relation, tail)."""
    kinds = {**dict.fromkeys("abcd", "film"), **dict.fromkeys("xy", "person")}
    rows: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for head, relation, tail in triples:
        rows.setdefault((kinds[head], relation, kinds[tail]), []).append((head, tail))
    edges = {("user", "rated", "film"): [tuple(pair.split("-")) for pair in rated.split()], **rows}
    return Graph.from_frames(
        nodes={
            "user": pd.DataFrame({"id": ["u1", "u2"]}),
            "film": pd.DataFrame({"id": list("abcd")}),
            "person": pd.DataFrame({"id": list("xy")}),
        },
        edges={edge: pd.DataFrame(pairs, columns=["source", "target"]) for edge, pairs in edges.items()},
        target=("user", "rated", "film"),
    )


GRAPH = graph_of(("a", "by", "x"), ("b", "by", "y"), ("a", "with", "y"), ("a", "after", "b"), ("a", "after", "b"))


# ---------------------------------------------------------------------- what is known


def test_a_triple_is_known_by_its_relation_too():
    a, b, x, y = GRAPH.flat("film", ["a", "b"]).tolist() + GRAPH.flat("person", ["x", "y"]).tolist()
    by, with_ = (GRAPH.edge_types.index(("film", name, "person")) for name in ("by", "with"))
    head, relation = torch.tensor([a, a, b, GRAPH.pad]), torch.tensor([by, with_, with_, by])
    tail = torch.tensor([[x, y, GRAPH.pad]]).expand(4, -1)
    wanted = [[True, False, False], [False, True, False], [False] * 3, [False] * 3]
    assert GRAPH.is_triple(head, relation, tail).tolist() == wanted


def test_triples_by_kernel_by_search_and_by_a_set():
    known = set(zip(GRAPH.head.tolist(), GRAPH.relation.tolist(), GRAPH.tail.tolist()))
    number = GRAPH.pad + 1
    head, relation = torch.cartesian_prod(torch.arange(number), torch.arange(len(GRAPH.edge_types))).T
    tail = torch.arange(number).expand(len(head), -1)
    wanted = [[(h, r, t) in known for t in range(number)] for h, r in zip(head.tolist(), relation.tolist())]
    assert sum(map(sum, wanted)) == GRAPH.num_edges - 1  # one is stated twice
    assert GRAPH.is_triple(head, relation, tail).tolist() == wanted
    key, _, _ = GRAPH.index._triple_rows
    row_of = {k: row for row, k in enumerate(key.tolist())}
    row = torch.tensor([row_of.get(k, len(key)) for k in (relation * number + head).tolist()])
    assert GRAPH.index._is_in_row_by_search(row, tail).tolist() == wanted


def test_an_empty_graph_knows_no_triple():
    empty, zero = Graph.empty(GRAPH.schema), torch.tensor([0])
    assert not empty.is_triple(zero, zero, zero[:, None]).any()


# ---------------------------------------------------------------------- what is drawn


def test_negatives_of_facts_are_rejected_by_triple():
    """a is by x and with y: beside `a by x` y is drawn, as a is not by y, though a pair of both is known."""
    both = GRAPH.both_ways()
    batch = Edges(both)[torch.arange(both.num_edges).repeat(50)]
    drawn = Negatives(both, 3, reject=both)(batch, torch.Generator().manual_seed(0))
    known = both.is_triple(drawn.head, drawn.relation, drawn.negative)
    by = drawn.relation == both.edge_types.index(("film", "by", "person"))
    of_a = by & (drawn.head == GRAPH.flat("film", ["a"]))
    assert set(drawn.negative[of_a].flatten().tolist()) == set(GRAPH.flat("person", ["y"]).tolist())
    assert not known.any()


def test_a_tail_without_another_of_its_type_is_kept_after_bounded_rounds():
    lonely = Graph.from_frames(
        edges={
            ("user", "rated", "film"): pd.DataFrame({"source": ["u", "v"], "target": ["a", "b"]}),
            ("film", "made_in", "place"): pd.DataFrame({"source": ["a", "b"], "target": ["p", "p"]}),
        }
    )
    drawn = Negatives(lonely, 2, reject=lonely)(Edges(lonely)[torch.tensor([2, 3])], torch.Generator().manual_seed(0))
    assert drawn.negative.tolist() == [[4, 4], [4, 4]]


# ---------------------------------------------------------------------- how facts are divided


def pairs_of(graph: Graph) -> set[tuple[int, int]]:
    facts = graph.facts()
    return {(min(pair), max(pair)) for pair in zip(facts.head.tolist(), facts.tail.tolist())}


@pytest.fixture(scope="module")
def films() -> Graph:
    """48 films of six kinds, each with a maker, a place and a style of its kind's two, and each maker's films stated
    backwards too; a prize has one film; 20 users rate films of one kind."""
    rng = np.random.default_rng(0)
    rows: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for film in range(48):
        for relation in ("maker", "place", "style"):
            pair = f"f{film}", f"{relation}{2 * (film % 6) + rng.integers(2)}"
            rows.setdefault(("film", relation, relation), []).append(pair)
            if relation == "maker":
                rows.setdefault(("maker", "made", "film"), []).append(pair[::-1])
    rated = [(f"u{user}", f"f{6 * film + user % 6}") for user in range(20) for film in rng.permutation(8)[:5]]
    edges = {("user", "rated", "film"): rated, **rows, ("prize", "won_by", "film"): [("oscar", "f0")]}
    return Graph.from_frames(
        edges={edge: pd.DataFrame(pairs, columns=["source", "target"]) for edge, pairs in edges.items()},
        target=("user", "rated", "film"),
    )


def test_all_that_is_said_of_a_pair_is_in_one_part(films):
    parts = split_facts(films, "ratio:0.3,valid=0.2,seed=1")
    train, valid, test = (pairs_of(part) for part in (parts.train, parts.valid, parts.test))
    assert not train & valid and not train & test and not valid & test
    draw = np.random.default_rng(1).random(len(pairs_of(films)))
    every = sorted(pairs_of(films))
    film, prize = films.flat("film", ["f0"]).item(), films.flat("prize", ["oscar"]).item()
    kept = {(min(film, prize), max(film, prize))}
    assert test == {pair for pair, number in zip(every, draw) if number < 0.3} - kept
    assert valid == {pair for pair, number in zip(every, draw) if 0.3 <= number < 0.5} - kept
    assert sum(part.num_edges for part in (parts.train, parts.valid, parts.test)) == films.num_edges
    made = parts.test.edge_types.index(("maker", "made", "film"))
    assert (parts.test.relation == made).sum() == (parts.test.relation == made - 1).sum() > 0  # and backwards


def test_interactions_and_a_relations_only_fact_stay_in_train(films):
    for seed in range(5):
        parts = split_facts(films, f"ratio:0.5,valid=0.4,seed={seed}")
        assert parts.train.only("rated").num_edges == films.only("rated").num_edges == 100
        assert parts.train.only("won_by").num_edges == 1
        assert all(parts.train.only(edge).num_edges for edge in films.edge_types)
        assert parts.train_valid.num_edges == parts.train.num_edges + parts.valid.num_edges
    assert split_facts(films).spec == "ratio:0.1,valid=0.05,seed=0"


def test_facts_that_cannot_be_divided_are_said(films):
    with pytest.raises(KgrecError, match="no facts to hold out; all its relations, 'rated', join users and items"):
        split_facts(films.only("rated"))
    for spec in ("last_n:1", "ratio:0.1,per_user", "ratio:0.1,vald=0.1"):
        with pytest.raises(KgrecError, match="facts are held out by ratio:F"):
            split_facts(films, spec)
    with pytest.raises(KgrecError, match="leaves none of 193 facts to test on"):
        split_facts(films, "ratio:0.000001")


# ---------------------------------------------------------------------- ranks by hand


class Fake(LinkModel):
    """A fact's score is its tail's own number."""

    Config = LinkModelConfig

    def __init__(self, graph: Graph, value: dict[str, float]) -> None:
        super().__init__(graph, LinkModelConfig(task="link"))
        number = torch.zeros(graph.num_nodes + 1)
        for node, own in value.items():
            number[graph.flat("person" if node in "xy" else "film", [node])] = own
        self.register_buffer("number", number)

    def list_scores(self, head, relation, tails):
        return self.number[tails]

    def catalog_scores(self, head, relation, tails):
        return self.number[tails].repeat(len(head), 1)

    def weighed(self):
        return [], []


BY = graph_of(("a", "by", "x"), ("b", "by", "y"), ("c", "by", "x"), ("a", "by", "x"))  # a by x is said twice
VALUE = {"a": 3.0, "b": 2.0, "c": 4.0, "d": 2.0, "x": 1.0, "y": 5.0}


def held(*films: str) -> Graph:
    """The facts of these films."""
    facts = BY.relation == BY.edge_types.index(("film", "by", "person"))
    return BY.where(torch.isin(BY.head, BY.flat("film", list(films))) & facts)


def test_filtered_ranks_by_hand():
    """a by x: y is before x, rank 2. x made a: c is before a, but it is known that x made c, rank 1. b by y: rank 1. y
    made b: c and a are before, and d is level: ranks 3 and 4, the mean is 3.5."""
    found = evaluate_links(Fake(BY, VALUE), BY, held("a", "b"), metrics=["mrr", "hits@1", "hits@3", "hits@4"])
    rows = {
        (row["head"], row["relation"], row["tail"]): (row["rank"], row["candidates"]) for row in found.ranks.to_pylist()
    }
    assert rows == {
        ("a", "by", "x"): (2, 2),
        ("x", "rev_by", "a"): (1, 3),
        ("b", "by", "y"): (1, 2),
        ("y", "rev_by", "b"): (3.5, 4),
    }
    assert found.num_facts == 4
    wanted = {"mrr": (1 / 2 + 1 + 1 + 1 / 3.5) / 4, "hits@1": 2 / 4, "hits@3": 3 / 4, "hits@4": 1.0}
    assert found.metrics == pytest.approx(wanted)
    assert found.ranks["head_type"].to_pylist() == ["film", "film", "person", "person"]


def test_one_who_scores_all_alike_is_in_the_middle_and_batches_change_nothing():
    found = evaluate_links(Fake(BY, {}), BY, held("a", "b"), metrics=["mrr"], cells=1)
    assert sorted(found.ranks["rank"].to_pylist()) == [1.5, 1.5, 2.0, 2.5]  # of 2, 2, 3 and 4
    whole = evaluate_links(Fake(BY, VALUE), BY, held("a", "b"), metrics=["mrr"])
    assert evaluate_links(Fake(BY, VALUE), BY, held("a", "b"), metrics=["mrr"], cells=1).ranks == whole.ranks


def test_what_cannot_be_ranked_is_said():
    fake = Fake(BY, VALUE)
    with pytest.raises(KgrecError, match="ndcg@10 measure what users are shown"):
        evaluate_links(fake, BY, held("a"), metrics=["mrr", "ndcg@10"])
    with pytest.raises(KgrecError, match="no fact is held out"):
        evaluate_links(fake, BY, held("d"), metrics=["mrr"])
    with pytest.raises(KgrecError, match="are of another graph"):
        evaluate_links(fake, GRAPH, held("a"), metrics=["mrr"])
    with pytest.raises(KgrecError, match="Fake gave scores that are not finite"):
        evaluate_links(Fake(BY, {"a": float("nan")}), BY, held("a"), metrics=["mrr"])
    with pytest.raises(KgrecError, match=r"mrr measure held-out facts.*the mrr of lists has a cut-off, mrr@10"):
        evaluate(fake, BY, BY.only("rated"), metrics=["mrr"])


# ---------------------------------------------------------------------- models of facts

LINKERS = [name for name in models.names() if issubclass(models.find(name), LinkModel)]
TRAINING = TrainingConfig(epochs=15, device="cpu", patience=15)


def test_which_models_there_are():
    assert {"complex", "distmult", "rotate", "transe", "transr"} <= set(LINKERS)
    assert all("link" in tasks_of(name) for name in LINKERS)


@pytest.mark.parametrize("name", LINKERS)
def test_facts_are_learned(name, films, tmp_path):
    """A film's maker, place and style are one of two of twelve, known from its other facts and from who likes it."""
    config = {"dim": 16, "batch_size": 64, "negatives": 8}
    run = train(
        name, films, task="link", split="ratio:0.2,seed=0", config=config, training=TRAINING, out=tmp_path / "run"
    )
    ranks = pq.read_table(tmp_path / "run" / "ranks.parquet")
    candidates = ranks["candidates"].to_numpy()
    chance = np.mean([(1 / np.arange(1, number + 1)).mean() for number in candidates])
    assert run.metrics["test"]["mrr"] == pytest.approx((1 / ranks["rank"].to_numpy()).mean())
    assert run.metrics["test"]["mrr"] > 2 * chance


def test_a_run_of_facts_is_measured_again_and_recommends(films, tmp_path):
    config = {"dim": 8, "batch_size": 64}
    few = TrainingConfig(epochs=2, device="cpu")
    run = train("distmult", films, task="link", config=config, training=few, out=tmp_path / "run", refit=True)
    assert run.metrics["protocol"] == "ratio:0.1,valid=0.05,seed=0 of facts; filtered ranks, refit on train + valid"
    assert list(run.metrics["test"]) == list(run.metrics["valid"]) == ["mrr", "hits@1", "hits@3", "hits@10"]
    again = measure(Run.load(tmp_path / "run"), films)
    assert again["test"] == pytest.approx(run.metrics["test"])
    assert again["num_facts"] == run.metrics["num_facts"] > 0
    ((best,),) = lists_for(run, wanted_users(run, ["u0"], None), k=3)
    assert len(best.items) == 3


def test_a_task_is_set_and_a_model_without_it_is_refused(films):
    with pytest.raises(KgrecError, match=r"'ease' has no task 'link', only ranking; those that have it: .*transr"):
        train("ease", films, task="link")
    with pytest.raises(UnknownName, match="no task 'lnik'; did you mean 'link'"):
        train("transe", films, task="lnik")
    with pytest.raises(KgrecError, match="task 'link' is asked for, and 'ranking' by the field"):
        train("transe", films, task="link", config={"task": "ranking"})
    with pytest.raises(KgrecError, match=r"ndcg@10 measure what users are shown"):
        train("transe", films, task="link", metrics=["ndcg@10"])
    few = TrainingConfig(epochs=1, device="cpu")
    rated = train("mf", films, task="rating", split="ratio:0.2", training=few, config={"dim": 4})
    assert set(rated.metrics["test"]) == {"rmse", "mae"}
    assert train("popularity", films, task="ranking", split="ratio:0.2").metrics["model"] == "popularity"


def test_the_command_line(films, tmp_path):
    graph, run = tmp_path / "films.graph", tmp_path / "run"
    films.save(graph)
    words = ["--epochs", "1", "--set", "dim=4", "--device", "cpu", "--json"]
    done = CliRunner().invoke(app, ["train", "complex", str(graph), "--task", "link", "--out", str(run), *words])
    assert done.exit_code == 0
    test = json.loads(done.stdout.splitlines()[-1])["test"]
    assert list(test) == ["mrr", "hits@1", "hits@3", "hits@10"]
    again = CliRunner().invoke(app, ["evaluate", str(run), str(graph), "--metrics", "mrr", "--json"])
    assert json.loads(again.stdout)["test"] == {"mrr": pytest.approx(test["mrr"])}
    with pytest.raises(KgrecError, match="measured by the ranks of held-out facts, which no user owns"):
        compare([run, shutil.copytree(run, tmp_path / "same")])
