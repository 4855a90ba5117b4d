"""Facts by hand: which triples are known, which tails are drawn, how facts are split, and what ranks they get."""

import json
import shutil
from dataclasses import replace

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
from kgrec.nn import LinkModel, LinkModelConfig, LinkScorer
from kgrec.run import Run, TrainingJob, measure, tasks_of, train
from kgrec.run_files import RunFiles, read_metrics
from kgrec.samplers import Edges, Negatives
from kgrec.serving.list_options import ListOptions
from kgrec.serving.recommendation import lists_for, wanted_users
from kgrec.splits.split import split_facts
from kgrec.studies.backtesting import backtest
from kgrec.studies.comparison import compare
from kgrec.training import measuring
from kgrec.training.checkpoint import Checkpoint, TrainingState
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
    with pytest.raises(KgrecError, match=r"no facts to hold out: all its relations \('rated'\) join users and items"):
        split_facts(films.only("rated"))
    for spec in ("last_n:1", "ratio:0.1,per_user", "ratio:0.1,vald=0.1"):
        with pytest.raises(KgrecError, match="facts can only be held out with ratio:F"):
            split_facts(films, spec)
    with pytest.raises(KgrecError, match="holds out none of the 193 facts for test"):
        split_facts(films, "ratio:0.000001")


def test_facts_only_trains_on_the_same_facts_without_interactions(films):
    both, alone = (split_facts(films, "ratio:0.3,valid=0.2,seed=1", facts_only=only) for only in (False, True))
    for held in ("valid", "test"):
        assert pairs_of(getattr(alone, held)) == pairs_of(getattr(both, held))
    for known in ("train", "train_valid"):
        with_, without = getattr(both, known), getattr(alone, known)
        assert without.edge_types == with_.edge_types
        assert (without.only("rated").num_edges, with_.only("rated").num_edges) == (0, 100)
        assert without.num_edges == with_.num_edges - 100
    assert alone.whole is films
    assert both.protocol == "ratio:0.3,valid=0.2,seed=1 of facts; filtered ranks"
    assert alone.protocol == "ratio:0.3,valid=0.2,seed=1 of facts, trained on facts alone; filtered ranks"


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


@pytest.mark.parametrize("name", ["Fake", "link-frequency"])
def test_facts_with_an_end_that_training_has_not_seen_are_measured_apart(name):
    """Training has u1 rated a, and c by x. Of a by x both ends are there, of b by y neither is; without what u1 rated,
    a is not there either. The ranks of `Fake` are those above. How often: x made c, so x is before y (1) in `by`; c is
    before a, b and d, which are level, but x made c is known. So a by x: rank 1 of 2; x made a: of a, b, d 2; b by y: 2
    of 2; y made b: c is before, then b is among a, b, d: 3."""
    left = BY.where(~((BY.relation == 1) & torch.isin(BY.head, BY.flat("film", ["a", "b"]))))
    assert left.num_edges == 2
    model = Fake(BY, VALUE) if name == "Fake" else models.build(name, left)
    ranks = {"Fake": [2, 1, 1, 3.5], "link-frequency": [1, 2, 2, 3]}[name]
    found = evaluate_links(model, BY, held("a", "b"), metrics=["mrr", "hits@1"], trained=left)
    rows = {row["head"] + row["tail"]: (row["rank"], row["unseen"]) for row in found.ranks.to_pylist()}
    assert rows == dict(zip(("ax", "xa", "by", "yb"), zip(ranks, (False, False, True, True))))
    of_rank = [1 / rank for rank in ranks]
    firsts = [rank == 1 for rank in ranks]
    assert found.seen_ends == pytest.approx({"mrr": sum(of_rank[:2]) / 2, "hits@1": sum(firsts[:2]) / 2})
    assert found.unseen_ends == pytest.approx({"mrr": sum(of_rank[2:]) / 2, "hits@1": sum(firsts[2:]) / 2})
    assert found.metrics == pytest.approx({"mrr": sum(of_rank) / 4, "hits@1": sum(firsts) / 4})
    assert (found.num_facts, found.num_unseen_ends) == (4, 2)
    alone = evaluate_links(model, BY, held("a", "b"), metrics=["mrr"], trained=left.without("rated"))
    assert alone.seen_ends == {} and alone.unseen_ends == alone.metrics and alone.num_unseen_ends == 4
    not_known = evaluate_links(model, BY, held("a", "b"), metrics=["mrr"])
    assert not_known.num_unseen_ends is None and "unseen" not in not_known.ranks.column_names


def test_link_frequency_counts_the_edges_at_each_end_of_each_relation():
    model = models.build("link-frequency", BY)
    film, person = BY.nodes("film"), BY.nodes("person")
    by, made = (model.edge_types.index(edge) for edge in (("film", "by", "person"), ("person", "rev_by", "film")))
    rated = model.target_number
    assert model.catalog_scores(film[:1], by, person).tolist() == [[3, 1]]  # x three times, one of them a repetition
    assert model.catalog_scores(person, made, film).tolist() == [[2, 1, 1, 0]] * 2  # whoever the head is
    assert model.catalog_scores(film[:1], rated, film).tolist() == [[1, 0, 0, 0]]
    x, a = person[0].item(), film[0].item()
    lists = model.list_scores(torch.tensor([a, x]), torch.tensor([by, made]), torch.tensor([[x, a], [a, BY.pad]]))
    assert lists.tolist() == [[3, 0], [2, 0]]  # nobody is made by a film, and the pad is no node
    assert model.objectives(BY) == [] and list(model.parameters()) == []


def test_one_list_for_all_heads_has_the_ranks_of_lists_of_each_own(films, monkeypatch):
    parts = split_facts(films, "ratio:0.3,seed=1")
    model = models.build("link-frequency", parts.train)
    quick = evaluate_links(model, films, parts.test, metrics=["mrr"], trained=parts.train)
    monkeypatch.setattr(type(model), "reads_head", True)
    slow = evaluate_links(model, films, parts.test, metrics=["mrr"], trained=parts.train)
    assert quick.ranks == slow.ranks and len(quick.ranks["rank"].unique()) > 5


def test_what_cannot_be_ranked_is_said():
    fake = Fake(BY, VALUE)
    with pytest.raises(KgrecError, match="ndcg@10 can only measure recommendations"):
        evaluate_links(fake, BY, held("a"), metrics=["mrr", "ndcg@10"])
    with pytest.raises(KgrecError, match="no fact is held out"):
        evaluate_links(fake, BY, held("d"), metrics=["mrr"])
    with pytest.raises(KgrecError, match="are from another graph than the known edges"):
        evaluate_links(fake, GRAPH, held("a"), metrics=["mrr"])
    with pytest.raises(KgrecError, match="Fake gave scores that are not finite"):
        evaluate_links(Fake(BY, {"a": float("nan")}), BY, held("a"), metrics=["mrr"])
    with pytest.raises(
        KgrecError, match=r"mrr can only measure held-out facts.*for lists, mrr needs a cut-off, such as mrr@10"
    ):
        evaluate(fake, BY, BY.only("rated"), metrics=["mrr"])


# ---------------------------------------------------------------------- models of facts

LINKERS = [name for name in models.names() if issubclass(models.find(name), LinkScorer)]
LEARNERS = [name for name in LINKERS if issubclass(models.find(name), LinkModel)]
TRAINING = TrainingConfig(epochs=15, device="cpu", patience=15)


def test_which_models_there_are():
    assert {"complex", "distmult", "rotate", "transe", "transr"} <= set(LEARNERS)
    assert "link-frequency" in set(LINKERS) - set(LEARNERS) and tasks_of("link-frequency") == ("link",)
    assert all("link" in tasks_of(name) for name in LINKERS)


def test_every_run_of_facts_has_the_control_and_unseen_ends_beside_it(films, tmp_path):
    split, few = "ratio:0.2,valid=0.1,seed=0", TrainingConfig(epochs=1, device="cpu")
    config = {"dim": 4, "batch_size": 64}
    own = train("link-frequency", films, split=split, out=tmp_path / "own").metrics
    assert "control" not in own and own["valid"] and own["epochs"] == 0 and own["num_facts"] > 0
    for refit in (False, True):
        out = tmp_path / f"run{refit}"
        run = train("distmult", films, task="link", split=split, config=config, training=few, out=out, refit=refit)
        control, parts = run.metrics["control"]["link-frequency"], split_facts(films, split)
        trained = parts.train_valid if refit else parts.train
        frequency = models.build("link-frequency", trained)
        names = ["mrr", "hits@1", "hits@3", "hits@10"]
        wanted = evaluate_links(frequency, films, parts.test, metrics=names, trained=trained)
        assert control["test"] == wanted.metrics
        assert control["test_seen_ends"] == wanted.seen_ends
        assert run.metrics["num_unseen_ends"] == wanted.num_unseen_ends
        assert refit or control["test"] == own["test"]
        ranks = pq.read_table(out / "ranks.parquet")
        assert ranks["unseen"].to_pylist() == wanted.ranks["unseen"].to_pylist()
        again = measure(Run.load(out), films)
        assert set(control.pop("valid")) == set(names)
        same = ("test", "test_seen_ends", "test_unseen_ends", "control", "num_facts", "num_unseen_ends")
        assert {name: again.get(name) for name in same} == {name: run.metrics.get(name) for name in same}
    assert "control" not in train("mf", films, split="ratio:0.2", config={"dim": 4}, training=few).metrics


def test_a_control_that_would_take_too_much_memory_is_left_out_and_that_is_said(films, tmp_path, monkeypatch):
    """A count for each relation's tails, both ways: rated; maker, made, place and style; won_by."""
    tails = (20 + 48) + (48 + 12) * 4 + (1 + 48)
    assert models.build("link-frequency", films).count.numel() == tails
    monkeypatch.setattr(measuring, "MOST_COUNTS", tails - 1)
    few, config = TrainingConfig(epochs=1, device="cpu"), {"dim": 4, "batch_size": 64}
    run = train("distmult", films, task="link", config=config, training=few, out=tmp_path / "run")
    said = f"link-frequency would hold {tails:,} counts, more than {tails - 1:,}"
    assert run.metrics["control_left_out"] == said and "control" not in run.metrics
    again = measure(Run.load(tmp_path / "run"), films)
    assert again["control_left_out"] == said and "control" not in again
    monkeypatch.setattr(measuring, "MOST_COUNTS", tails)
    assert "control" in measure(Run.load(tmp_path / "run"), films)


def test_facts_only_is_kept_with_the_run(films, tmp_path):
    few, config = TrainingConfig(epochs=1, device="cpu"), {"dim": 4, "batch_size": 64}
    options = {"task": "link", "config": config, "training": few, "facts_only": True}
    run = train("distmult", films, **options, out=tmp_path / "run")
    assert run.metrics["protocol"] == "ratio:0.1,valid=0.05,seed=0 of facts, trained on facts alone; filtered ranks"
    loaded = Run.load(tmp_path / "run")
    assert run.facts_only and loaded.facts_only and loaded.graph.num_edges == 0
    again = measure(loaded, films)
    assert again["test"] == pytest.approx(run.metrics["test"]) and again["protocol"] == run.metrics["protocol"]
    assert again["control"]["link-frequency"].items() <= run.metrics["control"]["link-frequency"].items()
    for ask in (lambda: run.recommend(["u0"]), lambda: loaded.predict([("u0", "f0")])):
        with pytest.raises(KgrecError, match=r"trained on facts alone \(--facts-only\), so it knows nothing of what"):
            ask()
    train("distmult", films, **{**options, "facts_only": False}, out=tmp_path / "both")
    assert not Run.load(tmp_path / "both").facts_only


def test_facts_only_is_of_task_link(films):
    with pytest.raises(KgrecError, match=r"but task 'ranking' learns from them; use --task link, or"):
        TrainingJob("distmult", facts_only=True)
    with pytest.raises(KgrecError, match=r"task 'ctr' learns from them"):
        train("mf", films, task="ctr", facts_only=True)
    with pytest.raises(UnknownName, match=r"no option 'facts_only' of kgrec\.backtest"):
        backtest("popularity", films, every=1, windows=1, facts_only=True)
    assert TrainingJob("link-frequency", facts_only=True).trained_for == "link"


def test_a_training_on_facts_alone_is_not_gone_on_with_on_all(tmp_path):
    job = TrainingJob("distmult", task="link", config={"dim": 4}, out=tmp_path / "run", facts_only=True)
    one = {"x": torch.ones(1)}
    Checkpoint(TrainingState(), one, one, one).write(job, "hash")
    assert Checkpoint.read(job, "hash").state.epoch == 0
    with pytest.raises(KgrecError, match="made with another facts_only; resume with the same options"):
        Checkpoint.read(replace(job, facts_only=False), "hash")
    without = replace(job, facts_only=False)
    Checkpoint(TrainingState(), one, one, one).write(without, "hash")
    document = json.loads((without.checkpoint / "state.json").read_text())
    del document["job"]["facts_only"]  # as before there was a choice
    (without.checkpoint / "state.json").write_text(json.dumps(document))
    assert Checkpoint.read(without, "hash").state.epoch == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"control": {"link-frequency": {"test": {"mrr": "high"}}}}, r"control\.link-frequency\.test\.mrr is the text"),
        ({"num_unseen_ends": -1}, "num_unseen_ends is -1"),
        ({"test_unseen_ends": [1]}, "test_unseen_ends is a list"),
    ],
)
def test_metrics_of_facts_that_were_altered_are_said(films, tmp_path, wrong, said):
    train("link-frequency", films, out=tmp_path / "run")
    file = tmp_path / "run" / "metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **wrong}))
    config = tmp_path / "run" / "config.json"
    listed = json.loads(config.read_text())
    listed["format"] = 1  # whose files have no hashes
    config.write_text(json.dumps(listed))
    with pytest.raises(KgrecError, match=said):
        read_metrics(RunFiles.open(tmp_path / "run"))


@pytest.mark.parametrize("name", LEARNERS)
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
    ((best,),) = lists_for(run, wanted_users(run, ["u0"], None), ListOptions(k=3))
    assert len(best.items) == 3


def test_a_task_is_set_and_a_model_without_it_is_refused(films):
    with pytest.raises(
        KgrecError, match=r"'ease' cannot be trained for task 'link', only for ranking; models for this task: .*transr"
    ):
        train("ease", films, task="link")
    with pytest.raises(UnknownName, match="no task 'lnik'; did you mean 'link'"):
        train("transe", films, task="lnik")
    with pytest.raises(KgrecError, match="asks for task 'link', but the model's field `task` is 'ranking'"):
        train("transe", films, task="link", config={"task": "ranking"})
    with pytest.raises(KgrecError, match=r"ndcg@10 can only measure recommendations"):
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
    shown = CliRunner().invoke(app, ["evaluate", str(run), str(graph), "--metrics", "mrr"]).stdout
    assert "test_seen_ends" in shown and "link-frequency" in shown and "num_unseen_ends" in shown
    words = ["train", "complex", str(graph), "--task", "link", "--facts-only", "--epochs", "1", "--set", "dim=4"]
    assert "trained on facts alone" in CliRunner().invoke(app, [*words, "--device", "cpu"]).stdout
    refused = CliRunner().invoke(app, ["train", "mf", str(graph), "--facts-only"])
    assert isinstance(refused.exception, KgrecError) and "use --task link" in str(refused.exception)
    with pytest.raises(KgrecError, match="is a run of task link and has no results by user"):
        compare([run, shutil.copytree(run, tmp_path / "same")])
