"""Trackers: what they are told, what becomes of them when a training or a server fails, and MLflow on SQLite."""

import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import sys
import warnings
from contextlib import closing, contextmanager
from pathlib import Path

import pandas as pd
import pytest

from kgrec import cli
from kgrec._deprecation import FormerName
from kgrec.errors import KgrecError, TrackingWarning, UnknownName
from kgrec.graph import Graph
from kgrec.run import train
from kgrec.settings import configure
from kgrec.studies.backtesting import backtest
from kgrec.studies.tuning.tuning_study import tune
from kgrec.training.config import TrainingConfig
from kgrec.training.job import TrainingJob
from kgrec.training.tracking import MlflowTracker, TensorBoardTracker, TrackedEpoch, TrackedRun, mlflow_stores, tracking
from kgrec.training.tracking.mlflow_tracker import cut

SPLIT = "last_n:1,valid=1"


def liked() -> Graph:
    """Twelve users who like five of twenty items each; the ids say who they are."""
    rows = [(f"person{u}", f"film{(u * 3 + n * n) % 20}", 100 + n) for u in range(12) for n in range(5)]
    frame = pd.DataFrame(rows, columns=["source", "target", "time"]).drop_duplicates(["source", "target"])
    return Graph.from_frames(edges={("user", "liked", "item"): frame})


def options(epochs: int = 3, **fields) -> dict:
    config = configure(TrainingConfig, {"epochs": epochs, "device": "cpu", **fields})
    return {"split": SPLIT, "config": {"dim": 4, "batch_size": 16}, "training": config, "metrics": ["ndcg@10"]}


class Notebook:
    """A tracker that writes down what it is told."""

    def __init__(self, name: str = "mine", fails: tuple[str, ...] = ()) -> None:
        self.name, self.fails, self.said = name, fails, []

    def _write(self, what, found):
        if what in self.fails:
            raise OSError(f"no paper for {what}")
        self.said.append((what, found))

    def begin(self, run):
        self._write("begin", run)
        return self.name

    def log_epoch(self, epoch):
        self._write(f"epoch {epoch.number}", epoch)

    def log_result(self, result):
        self._write("result", result)

    def finish(self, status):
        self._write("finish", status)

    @property
    def heard(self) -> list[str]:
        return [what for what, _ in self.said]

    @property
    def status(self) -> str:
        return dict(self.said)["finish"]


def stop_after(number: int, error: BaseException):
    def report(epoch, metrics):
        if epoch.number == number:
            raise error

    return report


# ---------------------------------------------------------------------- any tracker


def test_a_tracker_is_told_settings_epochs_result_and_end_but_no_ids(tmp_path):
    mine, by_epoch = Notebook(), []
    graph = liked()
    run = train(
        "mf", graph, track=mine, out=tmp_path / "m.run", report=lambda *seen: by_epoch.append(seen), **options()
    )
    assert mine.heard == ["begin", "epoch 1", "epoch 2", "epoch 3", "result", "finish"]
    told = dict(mine.said)
    begun = told["begin"]
    assert (begun.name, begun.id, begun.phase, begun.epoch) == ("m.run", None, "train", 0)
    assert begun.settings["config.dim"] == 4 and begun.settings["training.epochs"] == 3
    assert begun.settings["config.lr"] == 0.01  # a default
    assert begun.graph == {
        "users": 12, "items": 20, "nodes": 32, "edges": graph.num_edges, "valid_edges": 12, "test_edges": 12,
    }  # fmt: skip
    assert begun.tags["graph"] == graph.content_hash() and begun.tags["protocol"] == run.metrics["protocol"]
    for epoch, metrics in by_epoch:
        assert told[f"epoch {epoch.number}"].numbers == {
            "train/loss ranking": epoch.losses["ranking"],
            "train/seconds": epoch.seconds,
            "valid/ndcg@10": metrics["ndcg@10"],
        }
    result = told["result"]
    assert (result.epoch, result.folder) == (3, tmp_path / "m.run") and mine.status == "finished"
    assert result.numbers["test/ndcg@10"] == run.metrics["test"]["ndcg@10"]
    assert result.numbers["best_valid/ndcg@10"] == run.metrics["valid"]["ndcg@10"]
    assert "person" not in repr(mine.said) and "film" not in repr(mine.said)
    assert "track" not in json.loads((tmp_path / "m.run/config.json").read_text())["training"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), "killed"), (SystemExit(143), "killed"), (KgrecError("diverged"), "failed")],
    ids=["Ctrl-C", "SIGTERM", "error"],
)
def test_what_became_of_an_interrupted_training_is_told(error, status):
    mine = Notebook()
    with pytest.raises(type(error)):
        train("mf", liked(), track=[mine], report=stop_after(2, error), **options())
    assert mine.heard == ["begin", "epoch 1", "epoch 2", "finish"] and mine.status == status


def test_one_that_cannot_begin_ends_the_training_and_the_others():
    mine, other = Notebook(), Notebook(fails=("begin",))
    with pytest.raises(OSError, match="no paper for begin"):
        train("mf", liked(), track=[mine, other], **options())
    assert mine.heard == ["begin", "finish"] and mine.status == "failed" and other.said == []


def test_one_that_fails_later_warns_once_and_gets_what_it_missed():
    mine = Notebook(fails=("epoch 2",))

    def paper(epoch, metrics):
        if epoch.number == 2:
            mine.fails = ()

    with pytest.warns(TrackingWarning, match=r"Notebook fails \(OSError: no paper for epoch 2\)") as warned:
        train("mf", liked(), track=mine, report=paper, **options())
    assert len(warned) == 1
    assert mine.heard == ["begin", "epoch 1", "epoch 2", "epoch 3", "result", "finish"]


def test_what_one_did_not_get_is_said_at_the_end(monkeypatch):
    monkeypatch.setattr(tracking, "SECONDS_BETWEEN_TRIES", 0.0)
    mine, other = Notebook(fails=("epoch 2",)), Notebook()
    with pytest.warns(TrackingWarning) as warned:
        run = train("mf", liked(), track=[mine, other], **options())
    first, last = (str(one.message) for one in warned)
    assert "the training goes on" in first
    assert "did not get 'epoch 2 of train', 'epoch 3 of train', 'the result', 'its end (finished)'" in last
    assert mine.heard == ["begin", "epoch 1"] and other.status == "finished" and run.metrics["test"]


def test_a_resumed_training_goes_on_as_what_it_was(tmp_path):
    first, second = Notebook("page 7"), Notebook()
    with pytest.raises(KeyboardInterrupt):
        stop = stop_after(2, KeyboardInterrupt())
        train("mf", liked(), track=first, out=tmp_path / "m", report=stop, **options())
    train("mf", liked(), track=second, out=tmp_path / "m", resume=True, **options())
    begun = dict(second.said)["begin"]
    assert (begun.id, begun.phase, begun.epoch) == ("page 7", "train", 1)  # the state after epoch 1 was kept
    assert second.heard == ["begin", "epoch 2", "epoch 3", "result", "finish"]


def test_the_epochs_of_refit_are_a_phase_of_their_own():
    mine = Notebook()
    train("mf", liked(), track=mine, refit=True, **options(epochs=2))
    epochs = [found for what, found in mine.said if what.startswith("epoch")]
    best = len(epochs) - 2
    assert [(one.phase, one.number) for one in epochs[:3]] == [("train", 1), ("train", 2), ("refit", 1)]
    assert set(epochs[-1].numbers) == {"refit/loss ranking", "refit/seconds"} and epochs[-1].number == best
    assert "refit on train + valid" in dict(mine.said)["begin"].tags["protocol"]


def test_every_window_of_a_backtest_is_tracked_and_no_trial_of_a_search():
    mine = Notebook()
    backtest("mf", liked(), every=1, windows=2, track=mine, **{k: v for k, v in options(1).items() if k != "split"})
    assert mine.heard == ["begin", "epoch 1", "result", "finish"] * 2
    with pytest.raises(UnknownName, match=r"no option 'track' of kgrec\.tune"):
        tune("mf", liked(), track=mine, **options())
    with pytest.raises(KgrecError, match=r"a search for settings does not track .* leave track \(--track\) out"):
        tune(TrainingJob("mf", track=mine, **options()), liked())


def test_what_is_no_tracker_is_refused():
    for wrong, message in (
        ("mlflo", r"no tracker 'mlflo'; did you mean 'mlflow'\? There are: mlflow, tensorboard"),
        (["mlflow", "mlflow"], "the tracker 'mlflow' is named twice"),
        (Notebook, "is a class; make an object of it"),
        (7, "7 has no begin, log_epoch, log_result, finish; name mlflow or tensorboard"),
    ):
        with pytest.raises(KgrecError, match=message):
            TrainingJob("mf", track=wrong)


# ---------------------------------------------------------------------- TensorBoard


def test_tensorboard_has_the_numbers_settings_and_status_of_each_run(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoardTracker(tmp_path / "events")
    stop = stop_after(2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        train("mf", liked(), track=board, out=tmp_path / "m", report=stop, **options())
    [folder] = (tmp_path / "events").iterdir()
    assert folder.name.startswith("m-2")
    assert _texts(folder)["status"] == ["running", "killed"]
    run = train("mf", liked(), track=board, out=tmp_path / "m", resume=True, **options())
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("train/loss ranking")] == [1, 2, 3]
    assert events.Scalars("test/ndcg@10")[0].value == pytest.approx(run.metrics["test"]["ndcg@10"])
    assert "| config.dim | 4 |" in _texts(folder)["settings"][-1]
    assert _texts(folder)["status"] == ["running", "killed", "running", "finished"]


def _texts(folder) -> dict[str, list[str]]:
    """The texts in a folder of events, by name, in the order in which they were written."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: dict[str, list[str]] = {}
    for file in sorted(folder.iterdir(), key=lambda one: int(one.name.split(".")[-1])):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.tag.endswith("/text_summary"):
                    found.setdefault(value.tag.split("/")[0], []).append(value.tensor.string_val[0].decode())
    return found


def test_the_former_setting_of_tensorboard_is_a_tracker(tmp_path):
    pytest.importorskip("tensorboard")
    folder = str(tmp_path / "events")
    with pytest.warns(FormerName, match="training.tensorboard is now --track tensorboard --track-folder"):
        job = TrainingJob("mf", **options(tensorboard=folder))
    assert job.training.tensorboard is None
    train(dataclasses.replace(job, refit=False), liked())
    assert [one.name.startswith("events.out") for one in (tmp_path / "events").iterdir()] == [True]


# ---------------------------------------------------------------------- MLflow


@pytest.fixture(scope="module")
def made_database(tmp_path_factory):
    """A database of MLflow, and the package."""
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    file = tmp_path_factory.mktemp("mlflow") / "made.db"
    made = MlflowTracker(f"sqlite:///{file}", "kgrec")
    made.check(TrainingJob("mf"))
    return file


@pytest.fixture
def database(made_database, tmp_path, monkeypatch):
    """A file with an empty database, for one test."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(made_database, tmp_path / "runs.db")
    return tmp_path / "runs.db"


def client(database):
    with mlflow_stores.calmly():
        return mlflow_stores.package().tracking.MlflowClient(f"sqlite:///{database}")


def runs(database, experiment: str = "kgrec"):
    """The runs of an experiment, in the order in which they began."""
    of = client(database)
    found = of.search_runs([of.get_experiment_by_name(experiment).experiment_id])
    return sorted(found, key=lambda one: one.info.start_time)


def steps(database, run, name):
    return [(one.step, one.value) for one in client(database).get_metric_history(run.info.run_id, name)]


def test_mlflow_has_settings_numbers_tags_and_status(database, tmp_path):
    by_epoch = []
    run = train(
        "mf", liked(), track=MlflowTracker(f"sqlite:///{database}"), out=tmp_path / "m.run",
        report=lambda epoch, metrics: by_epoch.append((epoch.number, metrics["ndcg@10"])), **options(),
    )  # fmt: skip
    [found] = runs(database)
    assert (found.info.run_name, found.info.status) == ("m.run", "FINISHED")
    params, tags = found.data.params, found.data.tags
    assert params["config.dim"] == "4" and params["training.epochs"] == "3" and params["split"] == SPLIT
    assert params["graph.users"] == "12" and params["refit"] == "false" and params["training.metric"] == "none"
    assert tags["kgrec.out"] == str(tmp_path / "m.run") and tags["kgrec.protocol"] == run.metrics["protocol"]
    assert len(tags["kgrec.graph"]) == 32 and tags["kgrec.version"]
    assert steps(database, found, "valid/ndcg_at_10") == by_epoch
    assert steps(database, found, "test/ndcg_at_10") == [(3, run.metrics["test"]["ndcg@10"])]
    assert [step for step, _ in steps(database, found, "train/loss ranking")] == [1, 2, 3]
    assert not (tmp_path / "mlruns").exists()  # nothing is uploaded


#: Trains in a process of its own, which kills itself after the second epoch
KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_tracking import liked, options
from kgrec.run import train
from kgrec.training.tracking import MlflowTracker
def report(epoch, metrics):
    if epoch.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
train("mf", liked(), track=MlflowTracker({uri!r}), out={out!r}, report=report, **options(4))
"""


def test_a_run_that_was_killed_is_gone_on_with_or_marked(database, tmp_path, forked):
    uri = f"sqlite:///{database}"
    code = KILLED.format(tests=str(Path(__file__).parent), uri=uri, out=str(tmp_path / "m"))
    done = forked(code).ended()
    assert done.returncode == -signal.SIGKILL, done.stderr
    [left] = runs(database)
    assert left.info.status == "RUNNING"
    stop = stop_after(4, KeyboardInterrupt())
    shutil.copytree(tmp_path / "m.checkpoint", tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        train("mf", liked(), track=MlflowTracker(uri), out=tmp_path / "m", resume=True, report=stop, **options(4))
    [same] = runs(database)
    assert (same.info.run_id, same.info.status) == (left.info.run_id, "KILLED")
    train("mf", liked(), track=MlflowTracker(uri), out=tmp_path / "m", resume=True, **options(5))
    [same] = runs(database)
    assert (same.info.run_id, same.info.status) == (left.info.run_id, "FINISHED")
    assert [step for step, _ in steps(database, same, "train/loss ranking")] == [1, 2, 3, 4, 5]
    assert same.data.params["training.epochs"] == "4"  # which MLflow does not change
    assert same.data.tags["kgrec.resumed.training.epochs"] == "5" and same.data.tags["kgrec.resumed"] == "2"

    client(database).update_run(left.info.run_id, "RUNNING")  # as the kill has left it
    client(database).set_tag(left.info.run_id, "kgrec.process", left.data.tags["kgrec.process"])
    train("mf", liked(), track=MlflowTracker(uri), out=tmp_path / "m", overwrite=True, **options(1))
    assert [one.info.status for one in runs(database)] == ["KILLED", "FINISHED"]

    client(database).delete_run(left.info.run_id)
    shutil.rmtree(tmp_path / "m")
    (tmp_path / "kept").rename(tmp_path / "m.checkpoint")
    with pytest.warns(TrackingWarning, match=f"does not have run {left.info.run_id}.* it goes on as a new run"):
        train("mf", liked(), track=MlflowTracker(uri), out=tmp_path / "m", resume=True, **options(4))
    assert [one.info.status for one in runs(database)] == ["FINISHED", "FINISHED"]


def test_a_run_whose_process_lives_is_left_alone(database, tmp_path):
    uri = f"sqlite:///{database}"
    own = MlflowTracker(uri)
    with going_on(own, tmp_path / "m"):
        train("mf", liked(), track=MlflowTracker(uri), out=tmp_path / "m", **options(1))
        assert [one.info.status for one in runs(database)] == ["RUNNING", "FINISHED"]


@contextmanager
def going_on(tracker: MlflowTracker, out, **settings):
    """A run of a training that goes on while the context does."""
    tracker.begin(TrackedRun("m", settings, {}, {}, out, None, "train", 0))
    yield
    tracker.finish("failed")


def test_long_many_and_odd_values_fit_into_mlflow(database):
    own = MlflowTracker(f"sqlite:///{database}", "odd")
    settings = {f"config.field{n}": n for n in range(130)} | {"metrics": ["x" * 7000], "config.a b(c)": None}
    with going_on(own, None, **settings):
        own.log_epoch(TrackedEpoch("train", 1, {"valid/ndcg@10": float("nan"), "f(x)": float("inf"), "/a//b": 1}, 5.0))
    [run] = runs(database, "odd")
    assert run.data.params["config.field129"] == "129" and run.data.params["config.a b_c_"] == "none"
    assert len(run.data.params["metrics"]) == 6000 and run.data.params["metrics"].endswith("... (7,004 characters)")
    assert str(run.data.metrics["valid/ndcg_at_10"]) == "nan" and run.data.metrics["f_x_"] > 1e300
    assert run.data.metrics["a/b"] == 1 and run.info.status == "FAILED"
    assert cut("short", 10) == "short"


def test_a_database_that_fails_for_a_while_gets_all_of_it(database, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "SECONDS_BETWEEN_TRIES", 0.0)

    def report(epoch, metrics):
        if epoch.number in (1, 3):
            names = ("metrics", "away") if epoch.number == 1 else ("away", "metrics")
            with closing(sqlite3.connect(database)) as other:
                other.execute("ALTER TABLE {} RENAME TO {}".format(*names))

    with pytest.warns(TrackingWarning, match=r"MlflowTracker fails .*no such table: metrics") as warned:
        train("mf", liked(), track=MlflowTracker(f"sqlite:///{database}"), report=report, **options(4))
    [run] = runs(database)
    assert [step for step, _ in steps(database, run, "train/loss ranking")] == [1, 2, 3, 4]
    assert run.info.status == "FINISHED" and len(warned) == 1


# ---------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracking") / "liked.graph"
    liked().save(folder)
    return folder


def kgrec(capsys, *arguments, code=0) -> str:
    """Run the command in this process. Returns what it wrote to stderr."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(sys, "argv", ["kgrec", *map(str, arguments)])
        try:
            cli.main()
            found = 0
        except SystemExit as end:
            found = end.code or 0
    err = capsys.readouterr().err
    assert found == code, err
    return err


FEW = ("--split", SPLIT, "--epochs", "2", "--set", "dim=4", "--metrics", "ndcg@10", "--device", "cpu")


def test_the_command_tracks_to_the_current_folder_and_a_signal_is_killed(
    database, graph, tmp_path, capsys, monkeypatch
):
    database.rename(tmp_path / "mlflow.db")  # MLflow's own default
    kgrec(capsys, "train", "mf", graph, *FEW, "--track", "mlflow", "--track-experiment", "films")
    [run] = runs(tmp_path / "mlflow.db", "films")
    assert run.info.status == "FINISHED" and run.info.run_name.startswith("mf ")
    assert run.data.tags["kgrec.command"].startswith(f"kgrec train mf {graph} --split {SPLIT}")

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "stopped")
    monkeypatch.setattr("kgrec.cli.train.progress", lambda epoch, metrics: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a library of an earlier test may have its own
    kgrec(capsys, "train", "mf", graph, *FEW, "--track", "mlflow", code=143)
    signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
    [run] = runs(tmp_path / "mlflow.db", "stopped")
    assert run.info.status == "KILLED"


def test_what_trackers_lack_is_a_note(graph, capsys, monkeypatch):
    monkeypatch.setattr("kgrec.cli.options.TrackingOptions.trackers", (Notebook(fails=("epoch 1",)),))
    err = kgrec(capsys, "train", "mf", graph, *FEW)
    assert "note: Notebook fails (OSError: no paper for epoch 1); the training goes on" in err
    assert "note: Notebook did not get 'epoch 1 of train', 'epoch 2 of train'" in err


def test_places_that_cannot_be_used_are_refused_at_once(database, graph, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(mlflow_stores, "SECONDS_TO_WAIT", 0.05)
    monkeypatch.setitem(mlflow_stores.PATIENCE, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "text.db").write_text("no database at all, but a text of some length" * 9)
    (tmp_path / "folder.db").mkdir()
    deleted = client(database).create_experiment("gone")
    client(database).delete_experiment(deleted)
    to_mlflow = ("--track", "mlflow", "--track-uri")
    for words, message in (
        (("--track", "tensorbord"), "no tracker 'tensorbord'; did you mean 'tensorboard'?"),
        (("--track-uri", "sqlite:///x.db"), "--track-uri is for --track mlflow, which is not there"),
        (("--track", "mlflow", "--track-folder", "x"), "--track-folder is for --track tensorboard"),
        ((*to_mlflow, "sqlight:///x.db"), "no address of kind 'sqlight', as in sqlight:///x.db; did you mean sqlite?"),
        (
            (*to_mlflow, "http://ann:secret@127.0.0.1:9"),
            "at http://***@127.0.0.1:9: no answer (ConnectionRefusedError: [Errno 111]",
        ),
        ((*to_mlflow, "postgresql+none://h/x"), "cannot track by MLflow at postgresql+none://h/x"),
        ((*to_mlflow, "sqlite://"), "sqlite:// names no file, so runs would be lost"),
        ((*to_mlflow, "sqlite:///text.db"), "at sqlite:///text.db: DatabaseError: file is not a database"),
        ((*to_mlflow, "sqlite:///folder.db"), "at sqlite:///folder.db: OperationalError: unable to open database file"),
        ((*to_mlflow, "sqlite:///m.run/x.db"), "the database of MLflow, m.run/x.db, is inside --out m.run"),
        ((*to_mlflow, "sqlite:///runs.db", "--track-experiment", "gone"), "'gone' of MLflow at sqlite:///runs.db was"),
    ):
        err = kgrec(capsys, "train", "mf", graph, *FEW, "--out", "m.run", *words, code=1)
        assert message in err and "secret" not in err, err
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN IMMEDIATE")
        err = kgrec(capsys, "train", "mf", graph, *FEW, *to_mlflow, "sqlite:///runs.db", code=1)
        assert "the database is locked, as another program has been writing to it" in err
    monkeypatch.setitem(sys.modules, "mlflow", None)
    err = kgrec(capsys, "train", "mf", graph, *FEW, "--track", "mlflow", code=1)
    assert "needs MLflow" in err and "pip install 'kgrec[mlflow]'" in err
    assert not (tmp_path / "m.run").exists()
