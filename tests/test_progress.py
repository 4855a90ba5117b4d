"""How far work is, as a watcher reads it, and the lines that say so."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.cells import cell_len

import kgrec
from kgrec import TrainingConfig, models, progress
from kgrec.cli.progress_lines import Part, epoch_line, fitted, parts_of
from kgrec.graph import Graph
from kgrec.progress import Task, counted, watched, working
from kgrec.sources.building import build_to
from kgrec.sources.checking import check
from kgrec.training.trainer import Epoch
from kgrec.training.training_tasks import EpochTask, Standing, TrainingTask

SHOP = Path(__file__).parent.parent / "graphs/shop/shop.yaml"


class Seen:
    """A watcher that keeps what began, and how far each was when it ended."""

    def __init__(self) -> None:
        self.running: list[Task] = []
        self.ended: list[tuple[str, float, float, str]] = []  #: what, done, total, unit
        self.within: dict[str, str] = {}  #: by task, the one that it began in

    def begins(self, task: Task) -> None:
        self.within[task.what] = self.running[-1].what if self.running else ""
        self.running.append(task)

    def ends(self, task: Task) -> None:
        self.running.remove(task)
        self.ended.append((task.what, task.done, task.total, task.unit))

    def of(self, what: str) -> list[tuple[float, float, str]]:
        return [tuple(rest) for name, *rest in self.ended if name == what]


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


# ---------------------------------------------------------------------- tasks


def test_the_rest_takes_as_long_as_what_was_done(clock):
    task = Task("training", 20, "epochs", done=8)  # resumed after 8
    assert task.seconds_left is None
    clock[0] += 6
    task.advance(3)  # 2 s each; 9 are left
    assert task.seconds_left == 18
    clock[0] += 1.5  # on the way to the next
    assert task.seconds_left == 16.5
    clock[0] += 40
    assert task.seconds_left == 0
    task.reach(21)  # more than there should be
    assert task.seconds_left is None and Task("reading", unit="triples", done=1).seconds_left is None


def test_a_watcher_is_told_of_ends_where_work_fails_or_is_left():
    seen = Seen()
    with watched(seen), pytest.raises(ZeroDivisionError), working(Task("dividing")):
        next(counted("counting", "abc", 3, "letters"))
        1 / 0  # noqa: B018
    assert seen.ended == [("counting", 0, 3, "letters"), ("dividing", 0, 0, "")] and not seen.running
    with working(Task("nobody watches")):
        assert progress.watcher() is None


def test_a_training_is_the_same_watched_and_not(planted):
    seen, stood = Seen(), []
    how = {"config": {"dim": 4, "batch_size": 64}, "training": TrainingConfig(epochs=3, patience=2, seed=1)}
    how["split"] = "last_n:1,valid=1"
    alone = kgrec.train("mf", planted, **how)
    with watched(seen):
        run = kgrec.train("mf", planted, report=lambda epoch, metrics: stood.append((epoch, metrics)), **how)
    for name, tensor in alone.model.state_dict().items():
        assert torch.equal(tensor, run.model.state_dict()[name])
    batches = stood[0][0].steps
    assert batches > 1
    assert [seen.of(f"epoch {number}") for number in (1, 2, 3)] == [[(batches, batches, "batches")]] * 3
    assert seen.of("training mf") == [(3, 3, "epochs")] and seen.within["epoch 2"] == "training mf"
    ranked = seen.of("ranking")  # of each validation, and at last of test and the control
    assert len(ranked) >= 4 and all(done == total > 0 and unit == "users" for done, total, unit in ranked)
    best = None
    for epoch, metrics in stood:
        value, standing = metrics["ndcg@10"], epoch.standing
        best = value if best is None else max(best, value)
        assert (standing.metric, standing.value, standing.best, standing.epochs) == ("ndcg@10", value, best, 3)
        assert standing.is_best == (standing.best_epoch == epoch.number)
        assert standing.patience_left == 2 - (epoch.number - standing.best_epoch)


def test_what_an_epoch_lost_is_read_while_it_grows():
    losses = {0: [torch.tensor(9.0)] * 3 + [torch.tensor(1.0)] * 50, 2: [torch.tensor(0.25), torch.tensor(0.75)], 1: []}
    assert EpochTask(4, 60, ["cf", "none yet", "kg"], losses).losses() == {"cf": 1.0, "kg": 0.5}  # of the last 50


@pytest.mark.parametrize(
    ("model", "what", "unit"),
    [("ease", "inverting", "items"), ("itemknn", "finding neighbors", "items"), ("ials", "solving", "iterations")],
)
def test_fits_without_epochs_say_how_far_they_are(planted, model, what, unit):
    seen = Seen()
    with watched(seen):
        models.build(model, planted)
    ((done, total, found),) = seen.of(what)
    assert done == total > 1 and found == unit


def test_builds_checks_and_answers_say_how_far_they_are(tmp_path):
    seen = Seen()
    with watched(seen):
        build_to(SHOP, None, tmp_path / "shop.graph")
        assert not [one for one in check(tmp_path / "shop.graph") if one.severity == "error"]
        graph = Graph.load(tmp_path / "shop.graph")
        runs = [tmp_path / "one", tmp_path / "two"]
        first, _ = (kgrec.train("popularity", graph, out=out, metrics=["ndcg@10"]) for out in runs)
        first.recommend("all", k=2)
        kgrec.compare(runs, resamples=30)
    ((done, total, _),) = seen.of("building")
    assert done == total > 10
    assert seen.within["reading events.csv"] == "events.csv" and seen.of("reading events.csv") == [(1, 1, "")]
    assert seen.of("making lists") == [(600, 600, "users")] and seen.of("resampling") == [(30, 30, "resamples")]
    assert {"writing shop.graph", "loading shop.graph", "checking edges", "writing one"} <= set(seen.within)
    assert not seen.running


# ---------------------------------------------------------------------- lines


def training(clock, *, phase="train", patience=10, losses=None, metric="ndcg@10"):
    """In epoch 5 of 50, after 4 epochs of 60 s; 20 of 80 batches of the fifth took 10 s."""
    standing = Standing(metric, 50, patience, phase, value=0.1234, validated=True, best=0.125, best_epoch=2, waited=2)
    outer = TrainingTask("mf", standing, 0)
    clock[0] += 240
    outer.advance(4)
    inner = EpochTask(5, 80, ["cf", "kg"], losses or {0: [torch.tensor(0.5)]})
    clock[0] += 10
    inner.advance(20)
    return [outer, inner]


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (140, "epoch 5/50  20/80 batches  0:30 left  loss 0.5000  ndcg@10 0.1234  best 0.1250 in epoch 2  patience 8  "
              "all epochs 45:50 at most"),
        (100, "epoch 5/50  25%  0:30 left  loss 0.5000  ndcg@10 0.1234  best 0.1250 (2)  patience 8  all 45:50"),
        (79, "epoch 5/50  25%  0:30 left  loss 0.5000  ndcg@10 0.1234  best 0.1250 in epoch 2"),
        (39, "epoch 5/50  25%  0:30 left  loss 0.5000"),
        (20, "epoch 5/50  25%"),
        (7, "epoc..."),
    ],
)  # fmt: skip
def test_the_line_of_a_training_fits_the_terminal(clock, width, text):
    assert fitted(parts_of(training(clock), clock[0]), width) == text


def test_a_line_is_never_wider_than_the_terminal(clock):
    name = "a_metric_of_my_own_with_a_very_long_name@1000"
    parts = parts_of(training(clock, metric=name, losses={0: [torch.tensor(3.0)], 1: [torch.tensor(1e-6)]}), clock[0])
    parts.append(Part("読む 映画.csv", 1))
    for width in range(1, 200):
        assert cell_len(fitted(parts, width)) <= max(3, width)
    assert f"{name} 0.1234" in fitted(parts, 199) and "loss cf 3.0000, kg 1.00e-06" in fitted(parts, 199)
    assert "a_metric_of_my_own_wi... 0.1234" in fitted(parts, 110)


def test_the_line_of_other_work(clock):
    outer = Task("tuning mf", 40, "trials", done=3)
    clock[0] += 70
    first = [outer, *training(clock, phase="refit", patience=None)]
    assert fitted(parts_of(first, clock[0]), 200) == (
        "tuning mf  3/40 trials  5:20 so far  refit, epoch 5/50  20/80 batches  0:30 left  loss 0.5000  "
        "ndcg@10 0.1234  all epochs 45:50"
    )
    reading = Task("reading facts.nt\x1b[2J", 1)
    assert fitted(parts_of([reading], clock[0]), 80) == "reading facts.nt\\x1b[2J  0%"
    clock[0] += 4
    reading.reach(0.25)
    assert fitted(parts_of([reading], clock[0]), 80) == "reading facts.nt\\x1b[2J  25%  0:12 left"
    opaque = Task("factoring the item-item matrix")
    clock[0] += 75
    assert fitted(parts_of([opaque], clock[0]), 80) == "factoring the item-item matrix  1:15 so far"


@pytest.mark.parametrize(
    ("epoch", "metrics", "standing", "text"),
    [
        (Epoch(3, 1.234, {"ranking": 0.5}), {"recall@20": 0.3, "ndcg@10": 0.1}, {"validated": True},
         "epoch  3  loss 0.5000  ndcg@10 0.1000  1.23 s  best"),
        (Epoch(3, 1.234, {"ranking": 0.5}), {"ndcg@10": 0.1}, {"validated": True, "waited": 1},
         "epoch  3  loss 0.5000  ndcg@10 0.1000  1.23 s"),
        (Epoch(12, 4000, {"cf": 0.5, "kg": 12}), {}, {}, "epoch 12  loss cf 0.5000, kg 12.0000  4,000 s"),
        (Epoch(3, 1, {"ranking": 1e-5}), {}, {"phase": "refit"}, "refit, epoch  3  loss 1.00e-05  1.00 s"),
    ],
)  # fmt: skip
def test_the_line_of_an_epoch(epoch, metrics, standing, text):
    epoch.standing = replace(Standing("ndcg@10", 50, 10), **standing)
    assert epoch_line(epoch, metrics) == text
    assert re.match(r"epoch \d+  loss", epoch_line(replace(epoch, standing=None), metrics))  # of a trainer alone
