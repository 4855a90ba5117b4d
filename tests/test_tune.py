"""Search for settings: what is varied, that test is never read, and that nothing is lost."""

import dataclasses
import json
import signal
import sqlite3

import pandas as pd
import pytest
import yaml

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.run import train
from kgrec.search_ranges import Between, OneOf, ranges_of
from kgrec.studies.tuning import trial_storage, tuning_study
from kgrec.studies.tuning.model_choice import tune_models
from kgrec.studies.tuning.search_space import parse_ranges, search_space
from kgrec.studies.tuning.tuning_study import tune
from kgrec.training.config import TrainingConfig
from kgrec.training.job import TrainingJob, tasks_of
from kgrec.training.session import Session, split_for

pytest.importorskip("optuna", reason="needs the extra `tune`")
QUICK = TrainingConfig(device="cpu", epochs=3)
SPLIT = "last_n:1,valid=1"


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Twenty users in two halves, each with four of the five items of its half."""
    rows = [
        (f"u{user}", f"i{5 * (user % 2) + (user // 2 + place) % 5}", place) for user in range(20) for place in range(4)
    ]
    return Graph.from_frames(
        edges={("user", "rated", "item"): pd.DataFrame(rows, columns=["source", "target", "time"])}
    )


def search(graph, model="ease", **options):
    return tune(model, graph, **{"split": SPLIT, "training": QUICK, "metrics": ["ndcg@5"], "trials": 3, **options})


# ---------------------------------------------------------------------- ranges


@pytest.mark.parametrize("name", models.builtin_names())
def test_the_ranges_of_a_model_have_its_defaults(name):
    kind = models.find(name).Config
    for task in tasks_of(name):
        config = kind(task=task) if len(tasks_of(name)) > 1 else kind()
        found = ranges_of(kind, task)
        assert found or name in ("popularity", "link-frequency")
        for field, one in found.items():
            start = getattr(config, field)
            start = getattr(config, one.none_is) if start is None else start
            assert start in one, field
            for value in (one.low, one.high) if isinstance(one, Between) else one.values:  # the field takes the ends
                kind(**{field: type(start)(value)})


def space(wanted, model="mf", **config):
    job = TrainingJob(model, config=config)
    return {one.name: one for one in search_space(job, config, wanted)}


def test_what_is_varied():
    assert [*space({})] == ["negatives", "dim", "lr", "l2"]
    assert space({})["l2"].start == 0.01  # what None stands for
    assert [*space({}, lr=0.05)] == ["negatives", "dim", "l2"]  # what the user sets stays
    found = space({"lr": "0.01..0.5", "dim": "32,64", "loss": "bpr,sampled_softmax"}, lr=0.05)
    assert found["lr"].range == Between(0.01, 0.5) and found["lr"].start == 0.05
    assert found["dim"].range == OneOf((32, 64)) and found["loss"].range == OneOf(("bpr", "sampled_softmax"))
    assert space({"lr": "0.001..0.1"})["lr"].range.log  # a hundred times as much


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"lr": "0.1..1"}, "the range of lr, 0.1 to 1, leaves out its default 0.01"),
        ({"dim": "32,128"}, "32 or 128, leaves out its default 64"),
        ({"lr": "1..0.1"}, "goes from 1 to 0.1; the first must be the lower"),
        ({"lr": "-1..1"}, "greater than 0"),
        ({"lr": "low..1"}, "has no numbers at its ends"),
        ({"loss": "0..1"}, "the field is a choice; list its values"),
        ({"loss": "bpr,hinge"}, "hinge"),
        ({"dim": "64"}, "the range of dim has only 64"),
        ({"lr": Between(-1, 0.1, log=True)}, "a log scale needs more than 0"),
        ({"learning": "0..1"}, "no field 'learning'"),
    ],
)
def test_wrong_ranges(wanted, said):
    with pytest.raises(KgrecError, match=said.replace(".", r"\.")):
        space(wanted)


@pytest.mark.parametrize("texts", [["lr"], ["lr="], ["lr=1..2", "lr=1..3"]])
def test_ranges_that_cannot_be_read(texts):
    with pytest.raises(KgrecError, match="--range"):
        parse_ranges(texts)


# ---------------------------------------------------------------------- the search


class Unreadable:
    def __getattr__(self, name):
        raise AssertionError("the search looked at test")


def test_test_is_never_read_and_the_file_repeats_the_best(graph, tmp_path, monkeypatch):
    with_test = split_for

    def without(job, graph):
        return dataclasses.replace(with_test(job, graph), test=Unreadable())

    monkeypatch.setattr(tuning_study, "split_for", without)
    out = tmp_path / "tuned.yaml"
    found = search(graph, "mf", config={"loss": "bpr"}, out=out, trials=6, ranges={"init_std": "0.01..0.5"})
    with pytest.raises(AssertionError, match="looked at test"):
        _ = without(found.job, graph).test.num_edges
    assert [one.number for one in found.trials] == [*range(6)]
    complete = [one for one in found.trials if one.state == "complete"]
    assert found.best.value == max(one.value for one in complete) and found.start.number == 0
    assert found.start.settings == {"negatives": 16, "dim": 64, "lr": 0.01, "l2": 0.01, "init_std": 0.02}
    assert set(complete[0].valid) == {"ndcg@5", "ndcg@10"} and len(complete[0].by_epoch) == complete[0].epochs
    assert sum(found.importance.values()) == pytest.approx(1)
    fields = yaml.safe_load(out.read_text())
    training = TrainingConfig(device="cpu", **fields.pop("training"))
    assert fields == {"loss": "bpr", **found.best.settings} == found.job.config
    again = train("mf", graph, split=SPLIT, config=fields, training=training, metrics=["ndcg@5"])
    assert again.metrics["valid"] == found.best.valid
    assert found.command == f"kgrec train mf GRAPH --config {out} --split {SPLIT} --metrics ndcg@5 --out mf.run"


def test_it_goes_on_where_it_stopped(graph, tmp_path):
    out = tmp_path / "tuned.yaml"
    first = search(graph, out=out, trials=2)
    with pytest.raises(KgrecError, match="exists"):
        search(graph, out=out, trials=4)
    more = search(graph, out=out, trials=4, resume=True)
    assert more.trials[:2] == first.trials and len(more.trials) == 4
    assert len({json.dumps(one.settings) for one in more.trials}) == 4  # other random numbers than the first two
    with pytest.raises(KgrecError, match="no study 'other'; leave --resume out, or name one with --study: ease"):
        search(graph, out=out, resume=True, study="other")


KILLED = """
import os, signal, sys
import kgrec
from kgrec.training.session import Session
known, calls = Session.validate, []
def validate(self):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return known(self)
Session.validate = validate
training = kgrec.TrainingConfig(device="cpu", epochs=3)
kgrec.tune("ease", sys.argv[1], split="last_n:1,valid=1", training=training, metrics=["ndcg@5"], trials=4,
           out=sys.argv[2])
"""


def test_a_kill_loses_the_running_trial_alone(graph, tmp_path, forked):
    graph.save(tmp_path / "g.graph")
    out = tmp_path / "tuned.yaml"
    assert forked(KILLED, tmp_path / "g.graph", out).ended().returncode == -signal.SIGKILL and not out.exists()
    found = search(Graph.load(tmp_path / "g.graph"), out=out, trials=4)
    assert [one.state for one in found.trials] == ["complete", "complete", "lost", "complete", "complete"]
    assert found.trials[2].settings == found.trials[3].settings and out.exists()


def test_a_signal_loses_the_running_trial_alone(graph, tmp_path, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    out = tmp_path / "tuned.yaml"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Session, "validate", interrupted)
        search(graph, out=out, trials=2)
    found = search(graph, out=out, trials=2)
    assert [one.state for one in found.trials] == ["lost", "complete", "complete"] and found.start.number == 1


def test_a_model_that_cannot_be_trained_costs_few_trials(graph):
    without_times = graph.only("rated").data["user", "rated", "item"].edge_index.numpy()
    rows = pd.DataFrame({"source": without_times[0], "target": without_times[1]}).astype(str)
    timeless = Graph.from_frames(edges={("user", "rated", "item"): rows})
    with pytest.raises(KgrecError, match="none of 5 trials reached a validation; the last: rated has no times"):
        search(timeless, "sasrec", split="ratio:0.2,valid=0.2", trials=40)
    found = tune_models(["sasrec"], timeless, split="ratio:0.2,valid=0.2", training=QUICK, trials=6)
    assert found.failed["sasrec"].startswith("none of 5 trials") and "popularity" in found.tunings


def test_trials_that_fail_count(graph, monkeypatch):
    known, calls = Session.validate, []

    def validate(self):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        if len(calls) == 2:
            raise KgrecError("epoch 1: the loss 'ranking' is nan; lower the learning rate")
        return known(self)

    monkeypatch.setattr(Session, "validate", validate)
    found = search(graph, trials=4)
    assert found.counts == {"failed": 2, "complete": 2} and found.start is None and found.best.number >= 2
    assert "more memory" in found.trials[0].error and "nan" in found.trials[1].error
    calls.clear()
    with pytest.raises(KgrecError, match="none of 2 trials reached a validation; the last: epoch 1"):
        search(graph, trials=2)


def test_an_unexpected_error_ends_it(graph, tmp_path, monkeypatch):
    def broken(self):
        raise TypeError("a mistake in a model")

    monkeypatch.setattr(Session, "validate", broken)
    with pytest.raises(TypeError, match="mistake"):
        search(graph, out=tmp_path / "tuned.yaml")


def test_time(graph):
    found = search(
        graph, "mf", trials=None, timeout=0.05, training=dataclasses.replace(QUICK, epochs=1000, patience=999)
    )
    last = found.trials[-1]
    assert last.stopped == "time" and last.state == "complete" and 1 <= last.epochs < 1000


TWO = """
import os, pathlib, signal, sys
import kgrec
from kgrec.studies.tuning import trial_processes
from kgrec.training.session import Session
trial_processes.START = "fork"  # quicker than spawn; nothing else differs
trial_processes.SECONDS_BETWEEN_LOOKS = 0.02
known, killed = Session.validate, pathlib.Path(sys.argv[2] + ".killed")
def validate(self):
    if self.job.config["l2"] == 1000.0 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does where memory runs out
    return known(self)
Session.validate = validate
training, seen = kgrec.TrainingConfig(device="cpu", epochs=3), []
found = kgrec.tune("ease", sys.argv[1], split="last_n:1,valid=1", training=training, metrics=["ndcg@5"], trials=5,
                   out=sys.argv[2], jobs=2, notify=seen.append)
print(sorted(found.counts.items()), found.trials[0].error, sorted(one.number for one in seen))
"""


def test_two_processes(graph, tmp_path, forked):
    graph.save(tmp_path / "g.graph")
    ended = forked(TWO, tmp_path / "g.graph", tmp_path / "tuned.yaml").ended()
    reason = "its process was killed, perhaps because memory ran out"
    assert ended.stdout == f"[('complete', 4), ('failed', 1)] {reason} [0, 1, 2, 3, 4]\n", ended.stderr
    with pytest.raises(KgrecError, match="need a storage"):
        search(graph, jobs=2)


def test_which_model(graph, tmp_path):
    options = {"split": SPLIT, "training": QUICK, "metrics": ["ndcg@5"], "trials": 1}
    choice = tune_models(["mf", "bias"], graph, out=tmp_path / "tuned.yaml", **options)
    assert set(choice.tunings) == {"popularity", "itemknn", "ease", "ials", "mf"}
    assert "cannot be trained for task 'ranking'" in choice.failed["bias"]
    values = [one.best.value for one in choice.tunings.values()]
    assert values == sorted(values, reverse=True)
    alone = train("popularity", graph, split=SPLIT, training=QUICK, metrics=["ndcg@5"])
    assert choice.tunings["popularity"].best.valid == alone.metrics["valid"]
    best, words = choice.best, choice.best.command.split()
    assert words[:3] == ["kgrec", "train", best.model] and str(tmp_path / "tuned.yaml") in words
    assert {**(yaml.safe_load((tmp_path / "tuned.yaml").read_text()) or {}), "training": 0} == {
        **best.best.settings,
        "training": 0,
    }
    with pytest.raises(UnknownName, match="no model 'mff'"):
        tune_models(["mff"], graph, **options)


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 0}, "trials is 0, but must be from 1"),
        ({"jobs": 0}, "jobs is 0"),
        ({"timeout": 0.0}, "timeout is 0 seconds, but must be more than 0"),
        ({"split": "last_n:1"}, "holds out nothing for validation.*--split last_n:1,valid="),
        ({"model": "popularity"}, "model 'popularity' has no settings to search"),
        ({"training": TrainingConfig(device="cpu", devices=2)}, "use --jobs"),
        ({"config": {"l2": 10.0}}, "has no settings to search"),
    ],
)
def test_what_cannot_be_searched(graph, options, said):
    with pytest.raises(KgrecError, match=said):
        search(graph, **options)


def test_options_that_it_does_not_take(graph):
    with pytest.raises(UnknownName, match=r"no option 'lean' of kgrec\.tune"):
        search(graph, lean=True)


def test_a_locked_storage(graph, tmp_path, monkeypatch):
    out = tmp_path / "tuned.yaml"
    search(graph, out=out, trials=1)
    monkeypatch.setattr(trial_storage, "SECONDS_TO_WAIT", 0.05)
    other = sqlite3.connect(tmp_path / "tuned.db")
    try:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(KgrecError, match=r"tuned\.db is locked: another program"):
            search(graph, out=out, trials=3, overwrite=True)
    finally:
        other.close()
    assert len(search(graph, out=out, trials=3, overwrite=True).trials) == 3


def test_a_storage_of_another_search(graph, tmp_path):
    import optuna

    out, url = tmp_path / "tuned.yaml", f"sqlite:///{tmp_path / 'tuned.db'}"
    search(graph, out=out, trials=1)
    with pytest.raises(KgrecError, match=r"is of another search: its split is 'last_n:1,valid=1', but this one has"):
        search(graph, out=out, split="ratio:0.2,valid=0.2", overwrite=True)
    other = Graph.from_frames(edges={("user", "rated", "item"): _frame()})
    with pytest.raises(KgrecError, match="another search: its graph is"):
        search(other, out=out, overwrite=True)
    with trial_storage.storage_at(url) as storage:
        optuna.create_study(storage=storage, study_name="mine")
    with pytest.raises(KgrecError, match="was not made by kgrec tune"):
        search(graph, storage=url, study="mine")


def _frame():
    return pd.DataFrame([(f"x{n % 7}", f"y{n % 5}", n) for n in range(30)], columns=["source", "target", "time"])


@pytest.mark.parametrize("url", ["sqlite:///{}/no.db", "nosuch://x", "plain", "mysql+nosuch://x"])
def test_a_storage_that_cannot_be_used(graph, tmp_path, url):
    (tmp_path / "no.db").write_text("this is no database, but a text of more than a few words " * 20)
    with pytest.raises(KgrecError, match=r"cannot use the storage|needs the package"):
        search(graph, storage=url.format(tmp_path))


@pytest.mark.parametrize("text", ["x", "mine", "not a database, but rather long" * 9])
def test_a_file_that_is_no_database_is_kept(text, graph, tmp_path):
    path = tmp_path / "notes.db"
    path.write_text(text)
    with pytest.raises(KgrecError, match="file is not a database; name another --storage"):
        search(graph, storage=f"sqlite:///{path}")
    assert path.read_text() == text


def test_without_optuna(graph, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(KgrecError, match=r"pip install 'kgrec\[tune\]'"):
        search(graph)
