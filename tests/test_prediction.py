"""Predictions of pairs: the same rows in the same order, in the user's own ids, whatever the model's task."""

import json
import math
import time

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from kgrec import models
from kgrec.errors import BadData, KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.serving.prediction import Predictions, predict, predict_file
from kgrec.serving.service import Service
from kgrec.serving.wanted import Wanted
from kgrec.table_files import as_csv, write
from kgrec.training.config import TrainingConfig

RATED = pd.DataFrame(
    {
        "source": ["007", "007", "bob", "cem", "cem"],
        "target": ["x", "y", "x", "x", "z"],
        "weight": [5.0, 2.0, 4.0, 3.0, 1.0],  # 3 in the mean, x 4, y 2, z 1
        "click": [1, 0, 1, 0, 0],  # .4 in the mean, x 2/3, y and z 0
    }
)
GRAPH = Graph.from_frames(edges={("user", "rated", "item"): RATED}, features={"rated": {"click": "numeric"}})
MEANS = {"damping": 0, "users": False}


def run_of(model: str, **config: object) -> Run:
    return Run(model, models.build(model, GRAPH, config).eval(), GRAPH)


@pytest.fixture
def file(tmp_path):
    """Writes a file of pairs."""

    def write_it(text: str, name: str = "pairs.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write_it


def test_ratings_in_the_order_of_the_rows_with_other_columns_kept(file) -> None:
    """Rows of one user are apart, one stands twice, and 007 stays 007."""
    pairs = file('when,user,item,note\n1,bob,y,"a, b"\n2,007,x,\n3,bob,x,c\n4,bob,y,d\n5,cem,z,e\n')
    found = predict_file(run_of("bias", **MEANS), pairs)
    assert found.num_left_out == 0
    assert found.table.column_names == ["when", "user", "item", "note", "rating"]
    assert found.table["user"].to_pylist() == ["bob", "007", "bob", "bob", "cem"]
    assert found.table["note"].to_pylist() == ["a, b", "", "c", "d", "e"]
    assert found.table["rating"].to_pylist() == [2, 4, 4, 2, 1]
    assert as_csv(found.table).splitlines()[:2] == ['"when","user","item","note","rating"', '"1","bob","y","a, b",2']


def test_the_column_is_called_by_the_task(file) -> None:
    pairs = file("user,item\nbob,x\nbob,y\n")
    clicks = predict_file(run_of("bias", task="ctr", **MEANS), pairs).table
    assert clicks["probability"].to_pylist() == pytest.approx([2 / 3, 0.001], rel=1e-4)
    assert predict_file(run_of("popularity"), pairs).table["score"].to_pylist() == [3, 1]


def test_a_model_that_reads_histories_is_given_them(file) -> None:
    run = run_of("ease", l2=1.0)
    found = predict(run, ["cem", "007", "cem"], ["y", "z", "x"])
    history = torch.tensor([[1.0, 1, 0], [1, 0, 0], [1, 0, 1]])  # x y z of 007, bob, cem
    weights = run.model.state_dict()["weight"]
    expected = history @ weights
    assert found == pytest.approx([float(expected[2, 1]), float(expected[0, 2]), float(expected[2, 0])])


def test_parquet_keeps_the_types_of_other_columns(tmp_path) -> None:
    table = pa.table({"user": ["bob", "cem"], "item": ["x", "z"], "n": pa.array([7, None], pa.int16()), "l": [[1], []]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    found = predict_file(run_of("bias", **MEANS), tmp_path / "pairs.parquet").table
    assert found.drop(["rating"]) == table
    assert found["rating"].to_pylist() == [4, 1]
    days = found.append_column("day", pa.array([0, 1], pa.date32()))
    assert Predictions(days, 0).to_json()[1] == {
        "user": "cem", "item": "z", "n": None, "l": [], "rating": 1, "day": "1970-01-02"
    }  # fmt: skip
    write(found, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet") == found
    with pytest.raises(KgrecError, match=r"the table cannot be written as CSV .*; use --out with a .parquet file"):
        write(found, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_ids_that_are_numbers_in_parquet(tmp_path) -> None:
    graph = Graph.from_frames(edges={("user", "rated", "item"): pd.DataFrame({"source": [1, 2], "target": [5, 5]})})
    pq.write_table(pa.table({"user": [2], "item": [5]}), tmp_path / "pairs.parquet")
    run = Run("popularity", models.build("popularity", graph), graph)
    assert predict_file(run, tmp_path / "pairs.parquet").table.to_pylist() == [{"user": 2, "item": 5, "score": 2}]


def test_unknown_ids_are_named_with_their_lines(file) -> None:
    text = 'note,user,item\n"two\nlines",bob,x\n\n,bib,x\n,cem,w\n,,v\n'
    with pytest.raises(BadData) as raised:
        predict_file(run_of("bias"), file(text))
    mend = "fix the row, or say --skip-unknown"
    assert [line.partition("pairs.csv ")[2] for line in raised.value.problems] == [
        f"line 5: no user 'bib' among the 3 known; {mend}",
        f"line 6: no item 'w' among the 3 known; {mend}",
        f"line 7: no user '' among the 3 known; {mend}",
        f"line 7: no item 'v' among the 3 known; {mend}",
    ]
    with pytest.raises(BadData) as raised:
        predict_file(run_of("bias"), file("user,item\n" + "bib,x\n" * 120))
    assert len(raised.value.problems) == 21
    assert raised.value.problems[-1] == "and 100 more rows of unknown ids"


def test_unknown_ids_in_parquet_are_named_with_their_rows(tmp_path) -> None:
    pq.write_table(pa.table({"user": ["bob", None], "item": ["x", "x"]}), tmp_path / "pairs.parquet")
    with pytest.raises(BadData, match=r"pairs.parquet row 2: no user None among the 3 known"):
        predict_file(run_of("bias"), tmp_path / "pairs.parquet")


def test_rows_of_unknown_ids_are_left_out_where_asked(file) -> None:
    pairs = file("user,item,n\nbib,x,1\nbob,x,2\nbob,w,3\ncem,y,4\n")
    found = predict_file(run_of("bias", **MEANS), pairs, skip_unknown=True)
    assert found.num_left_out == 2
    assert found.table.to_pylist() == [
        {"user": "bob", "item": "x", "n": "2", "rating": 4},
        {"user": "cem", "item": "y", "n": "4", "rating": 2},
    ]
    nobody = predict_file(run_of("bias"), file("user,item\nbib,x\n"), skip_unknown=True)
    assert (nobody.table.to_pylist(), nobody.num_left_out) == ([], 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,itme\nbob,x\n", r"no single column 'item' in .*pairs.csv; did you mean 'itme'\? There are: user, itme"),
        ("user,item,user\nbob,x,bob\n", "no single column 'user' in"),
        ("user,item,rating\nbob,x,3\n", "has a column 'rating' already, as the prediction is called; rename it"),
        (
            "user,item\nbob,x,3\n",
            "pairs.csv line 2: 3 values where there are 2 columns; fix the row; a CSV or Parquet file with",
        ),
        ("user,item\n", "pairs.csv has no rows; a pair of a user and an item in each is wanted"),
        ("", "pairs.csv is empty; it must have a line for each row; a CSV or Parquet"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(file, text, message) -> None:
    with pytest.raises(KgrecError, match=message):
        predict_file(run_of("bias"), file(text))


def test_a_file_that_is_not_there_or_no_parquet(file, tmp_path) -> None:
    with pytest.raises(KgrecError, match=r"none.csv: .*No such file.*; a CSV or Parquet file"):
        predict_file(run_of("bias"), tmp_path / "none.csv")
    with pytest.raises(KgrecError, match=r"pairs.parquet.*; a CSV or Parquet file"):
        predict_file(run_of("bias"), file("user,item\n", "pairs.parquet"))


def test_pairs_in_memory() -> None:
    run = run_of("bias", **MEANS)
    assert predict(run, ["cem", "bob"], ["z", "x"]) == [1, 4]
    with pytest.raises(UnknownName, match="no user 'bib' among the 3 known"):
        predict(run, ["bib"], ["x"])
    with pytest.raises(KgrecError, match="1 users and 2 items make no pairs"):
        predict(run, ["bob"], ["x", "y"])
    with pytest.raises(BadData, match="items entry 2: 7 is a number, where 'x' before it is text"):
        predict(run, ["bob", "bob"], ["x", 7])
    with pytest.raises(KgrecError, match="users: str is no list of ids"):
        predict(run, "bob", ["x", "y", "z"])


def test_many_pairs_in_batches_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgrec.prediction.CELLS", 3)
    run = run_of("bias")
    users, items = ["007", "bob", "cem", "bob", "cem", "cem"], ["x", "y", "z", "z", "x", "y"]
    assert predict(run, users, items) == [value for u, i in zip(users, items) for value in predict(run, [u], [i])]


def test_a_run_gives_the_predictions_that_were_measured(tmp_path) -> None:
    """Those of the test in the run folder, and those of the folder when it is read again, are the same; so are the
    metrics that they give."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(0, 20, (400, 2), generator=generator)
    frame = pd.DataFrame({"source": edges[:, 0], "target": edges[:, 1]})
    frame["click"] = torch.randint(0, 2, (400,), generator=generator).numpy()
    graph = Graph.from_frames(edges={("user", "shown", "item"): frame}, features={"shown": {"click": "numeric"}})
    training = TrainingConfig(device="cpu")
    train("bias", graph, split="ratio:0.3,valid=0.2", config={"task": "ctr"}, training=training, out=tmp_path / "run")
    kept = pq.read_table(tmp_path / "run/predictions.parquet").to_pandas()
    run = Run.load(tmp_path / "run")
    assert predict(run, kept["user"].tolist(), kept["item"].tolist()) == kept["prediction"].tolist()
    assert run.metrics["test"].keys() == run.metrics["valid"].keys() == {"auc", "gauc", "logloss", "ece"}
    loss = [-math.log(p if t else 1 - p) for t, p in zip(kept["truth"], kept["prediction"])]
    assert run.metrics["test"]["logloss"] == pytest.approx(sum(loss) / len(loss), rel=1e-5)
    json.dumps(run.metrics, allow_nan=False)


def test_labels_that_cannot_be_measured_stop_a_training_before_it_starts(tmp_path) -> None:
    frame = RATED.assign(click=1)
    graph = Graph.from_frames(edges={("user", "rated", "item"): frame}, features={"rated": {"click": "numeric"}})
    arguments = {"split": "last_n:1", "config": {"task": "ctr"}, "training": TrainingConfig(device="cpu")}
    with pytest.raises(KgrecError, match=r"cannot compute auc and gauc: .* all 2 held-out 'rated' edges are clicks"):
        train("bias", graph, **arguments)
    unlabelled = Graph.from_frames(edges={("user", "rated", "item"): frame})
    with pytest.raises(KgrecError, match="the 'rated' edges have no labels of clicks; name their column with `click:`"):
        train("bias", unlabelled, **arguments)


def timed() -> Graph:
    rows = [(user, item, 1_000 * step) for user in ("ann", "bob", "cem") for step, item in enumerate("xyzxw", 1)]
    return Graph.from_frames(
        edges={("user", "rated", "item"): pd.DataFrame(rows, columns=["source", "target", "time"])},
        target=("user", "rated", "item"),
    )


def test_predictions_are_wanted_at_a_moment_as_lists_are(tmp_path) -> None:
    graph = timed()
    torch.manual_seed(0)
    model = models.build("hstu", graph, {"times": "now", "dim": 8, "init_std": 0.5})
    torch.nn.init.normal_(dict(model.named_parameters())["encoder.units.0.of_time.weight"])
    run = Run("hstu", model.eval(), graph)
    pairs = [("ann", "w"), ("bob", "x")]
    at_once, later = (run.predict(pairs, now=now)["score"] for now in (5_000, 5_000 + 10**6))
    assert at_once != later
    by_clock = run.predict(pairs)["score"]
    assert by_clock == run.predict(pairs, now=int(time.time()))["score"]
    lists = run.recommend(["ann"], 4, now=5_000 + 10**6, include_seen=True)
    score = dict(zip(lists["item"], lists["score"]))["w"]
    assert score == pytest.approx(later[0], abs=1e-5)
    with pytest.raises(KgrecError, match="before the last step of ann"):
        run.predict(pairs, now=4_000)
    with pytest.raises(KgrecError, match="unix seconds"):
        run.predict(pairs, now="soon")
    service = Service(run)
    assert service.predict(pairs, now=5_000 + 10**6) == pytest.approx(later)
    shorter = Wanted(None, history=[{"item": "x", "time": 3_000}])
    early, known, new = service.predict([("ann", "w"), ("nobody", "w"), (shorter, "w")], now=4_000)
    assert isinstance(early, KgrecError) and isinstance(known, KgrecError) and isinstance(new, float)
    assert Run("popularity", models.build("popularity", graph), graph).predict(pairs, now=1).notes == (
        "now has no effect: popularity does not read when a list is wanted",
    )
