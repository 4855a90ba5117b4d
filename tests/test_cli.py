"""The command line from end to end on the sample shop: the forms that are relied on, exit codes, and bad input."""

import gc
import io
import json
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from kgrec import cli

ROOT = Path(__file__).parent.parent
SHOP = ROOT / "graphs/shop/shop.yaml"


@dataclass
class Done:
    stdout: str
    stderr: str


def kgrec(*arguments: object, code: int = 0) -> Done:
    """Run the command; in this process, so that torch is imported once."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kgrec", *map(str, arguments)])
        patch.chdir(ROOT)
        try:
            cli.main()
            found: object = 0
        except SystemExit as end:
            found = end.code or 0
    done = Done(out.getvalue(), err.getvalue())
    assert found == code, f"exit code {found}\n{done.stdout}\n{done.stderr}"
    return done


def test_a_command_within_a_program_leaves_the_search_for_cycles_as_it_was() -> None:
    before, during = gc.get_threshold(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kgrec.cli.entry.refuse_several", lambda words: during.append(gc.get_threshold()))
        kgrec("doctor")
    assert during == [(50_000, 20, 100)]
    assert gc.get_threshold() == before


def last_json(done: Done):
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "shop.graph"
    kgrec("build", SHOP, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def runs(shop, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    kgrec("train", "ease", shop, "--out", folder / "ease", "--set", "l2=100")
    kgrec("train", "mf", shop, "--out", folder / "mf", "--epochs", "2", "--set", "dim=8", "--seed", "3")
    return folder


def test_help_and_import_start_without_torch():
    code = "import sys, kgrec, kgrec.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert "recommend" in kgrec("--help").stdout


def test_train_ends_with_one_json_object(shop, tmp_path):
    done = kgrec("train", "mf", shop, "--out", tmp_path / "run", "--epochs", "2", "--set", "dim=8", "--json")
    result = last_json(done)
    assert len(done.stdout.splitlines()) == 1 and "epoch 1" in done.stderr
    assert result["model"] == "mf" and result["protocol"].startswith("by_time:") and result["epochs"] == 2
    assert result["num_parameters"] == (600 + 1 + 400 + 1) * 8
    assert 0 <= result["test"]["ndcg@10"] <= 1 and set(result["valid"]) == set(result["test"])
    assert {"seconds_per_epoch", "evaluation_seconds", "peak_mb"} <= set(result)


def test_a_lean_run_folder_leaves_facts_and_features_out(shop, runs, tmp_path):
    kgrec("train", "ease", shop, "--out", tmp_path / "lean", "--set", "l2=100", "--lean")
    assert not (tmp_path / "lean" / "facts").exists() and not (tmp_path / "lean" / "features").exists()
    assert (runs / "ease" / "facts").is_dir() and (runs / "ease" / "features").is_dir()
    answer = [kgrec("recommend", run, "--user", "u0003", "--json").stdout for run in (runs / "ease", tmp_path / "lean")]
    assert answer[0] == answer[1]
    recipes = [json.loads((folder / "recipe.json").read_text()) for folder in (shop, tmp_path / "lean")]
    assert recipes[0] == recipes[1] and recipes[0]["nodes"]["item"]["tables"][0]["id"] == "product"


def test_the_script_builds_the_same_graph(shop, tmp_path, monkeypatch):
    script = str(ROOT / "scripts/build_graph.py")
    monkeypatch.setattr(sys, "argv", [script, str(SHOP), "--out", str(tmp_path / "shop.graph")])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(script, run_name="__main__")
    assert not end.value.code
    names = [file.relative_to(shop) for file in sorted(shop.rglob("*")) if file.is_file()]
    assert names and all((shop / name).read_bytes() == (tmp_path / "shop.graph" / name).read_bytes() for name in names)


def test_evaluate_gives_what_training_measured(shop, runs):
    result = last_json(kgrec("evaluate", runs / "ease", shop, "--json"))
    assert result["test"] == pytest.approx(json.loads((runs / "ease/metrics.json").read_text())["test"])


def test_a_config_file_stands_under_set(shop, tmp_path):
    (tmp_path / "mf.yaml").write_text("dim: 4\nnegatives: 2\ntraining: {epochs: 1, seed: 5}\n")
    kgrec("train", "mf", shop, "--out", tmp_path / "run", "--config", tmp_path / "mf.yaml", "--set", "negatives=3")
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["config"]["dim"], config["config"]["negatives"]) == (4, 3)
    assert (config["training"]["epochs"], config["training"]["seed"]) == (1, 5)


def test_recommend_speaks_in_the_users_own_ids(shop, runs):
    lists = last_json(kgrec("recommend", runs / "ease", "--user", "u0003", "--user", "u0042", "--k", "5", "--json"))
    products = pd.read_csv(ROOT / "graphs/shop/products.csv").set_index("product")["title"]
    assert [one["user"] for one in lists] == ["u0003", "u0042"]
    for one in lists:
        assert len({item["item"] for item in one["items"]}) == 5
        assert all(products[item["item"]] == item["label"] for item in one["items"])
        scores = [item["score"] for item in one["items"]]
        assert scores == sorted(scores, reverse=True)
    assert products[lists[0]["items"][0]["item"]] in kgrec("recommend", runs / "ease", "--user", "u0003").stdout


def test_recommend_leaves_out_what_a_user_has_unless_asked(shop, runs):
    events = pd.read_csv(ROOT / "graphs/shop/events.csv")
    viewed = set(events[(events.event == "view") & (events.user == "u0003") & (events.time < 1764547200)]["product"])
    assert viewed
    arguments = ("recommend", runs / "ease", "--user", "u0003", "--k", "300", "--json")
    shown = {item["item"] for item in last_json(kgrec(*arguments))[0]["items"]}
    assert not shown & viewed
    assert viewed <= {
        i["item"] for i in last_json(kgrec(*arguments[:-2], "400", "--include-seen", "--json"))[0]["items"]
    }


def test_recommend_to_all_users_into_a_file(runs, tmp_path):
    for name in ("lists.parquet", "lists.csv"):
        kgrec("recommend", runs / "mf", "--users", "all", "--k", "3", "--out", tmp_path / name)
    table = pq.read_table(tmp_path / "lists.parquet").to_pandas()
    assert list(table.columns) == ["user", "rank", "item", "label", "score", "reason"]
    assert len(table) == 600 * 3 and table["user"].nunique() == 600
    text = pd.read_csv(tmp_path / "lists.csv")
    assert list(text["item"]) == list(table["item"]) and list(text["rank"][:3]) == [1, 2, 3]
    (tmp_path / "some.txt").write_text("u0001\nu0005\n")
    lists = last_json(kgrec("recommend", runs / "mf", "--users", tmp_path / "some.txt", "--json"))
    assert [one["user"] for one in lists] == ["u0001", "u0005"]


def test_predict_fills_a_column_in(shop, tmp_path):
    kgrec("train", "bias", shop, "--set", "task=ctr", "--out", tmp_path / "run")
    test = json.loads((tmp_path / "run/metrics.json").read_text())["test"]
    assert set(test) == {"auc", "gauc", "logloss", "ece"} and 0.5 < test["auc"] < 1
    (tmp_path / "pairs.csv").write_text("user,item,note\nu0003,p0001,a\nu0001,p0042,b\nu9999,p0001,c\n")
    done = kgrec("predict", tmp_path / "run", tmp_path / "pairs.csv", "--out", tmp_path / "no.csv", code=1)
    assert "pairs.csv line 4: no user 'u9999' among the 600 known; fix the row" in done.stderr
    assert not (tmp_path / "no.csv").exists()
    arguments = ("predict", tmp_path / "run", tmp_path / "pairs.csv", "--skip-unknown")
    rows = last_json(kgrec(*arguments, "--json"))
    assert [(row["user"], row["item"], row["note"]) for row in rows] == [
        ("u0003", "p0001", "a"),
        ("u0001", "p0042", "b"),
    ]
    for name in ("out.csv", "out.parquet"):
        assert "left out: 1 rows of unknown ids" in kgrec(*arguments, "--out", tmp_path / name).stderr
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == rows
    printed = pd.read_csv(io.StringIO(kgrec(*arguments).stdout))
    assert printed.equals(pd.read_csv(tmp_path / "out.csv"))
    assert printed["probability"].tolist() == pytest.approx([row["probability"] for row in rows])
    assert "exists already" in kgrec(*arguments, "--out", tmp_path / "out.csv", code=1).stderr
    kgrec(*arguments, "--out", tmp_path / "out.csv", "--overwrite")
    assert "the name must end in .parquet or .csv" in kgrec(*arguments, "--out", tmp_path / "out.txt", code=1).stderr


@pytest.fixture(scope="module")
def attentive(shop, runs) -> Path:
    """A sequence model over three behaviours on one path, with attention."""
    told = ["--set", "behaviours=[viewed,carted,purchased]", "--set", "lr=0.01", "--set", "dim=16"]
    kgrec("train", "gruatt", shop, "--out", runs / "gruatt", "--epochs", "2", *told)
    return runs / "gruatt"


def history_of(shop: Path, run: Path, user: str) -> pd.DataFrame:
    """What a run knows of a user, in external ids: item, time, behaviour."""
    users = pq.read_table(run / "vocabulary/user.parquet")["id"].to_pylist()
    items = pq.read_table(run / "vocabulary/item.parquet")["id"].to_pylist()
    history = pq.read_table(run / "history.parquet").to_pandas()
    history = history[history.source == users.index(user)]
    return pd.DataFrame(
        {"item": [items[i] for i in history.target], "time": history.time, "behaviour": history.relation.astype(str)}
    )


def test_a_sequence_model_gives_a_new_user_what_a_known_one_of_that_history_gets(shop, attentive, tmp_path):
    history = history_of(shop, attentive, "u0003")
    assert set(history.behaviour) == {"viewed", "carted", "purchased"}
    history.sort_values("time", kind="stable").to_csv(tmp_path / "h.csv", index=False)
    viewed = ["--include-seen", "--k", 400, "--json"]
    new = last_json(kgrec("recommend", attentive, "--history", tmp_path / "h.csv", *viewed))[0]["items"]
    known = last_json(kgrec("recommend", attentive, "--user", "u0003", *viewed))[0]["items"]
    scores = {row["item"]: row["score"] for row in known}
    assert len(new) == len(known) == 400
    assert all(row["score"] == pytest.approx(scores[row["item"]], abs=1e-5) for row in new)


def test_why_lists_past_items_with_their_attention(shop, attentive, runs):
    answer = last_json(kgrec("recommend", attentive, "--user", "u0003", "--k", 3, "--why", "--json"))[0]
    weights = [step["attention"] for step in answer["why"]]
    assert sum(weights) == pytest.approx(1.0, abs=1e-5) and weights == sorted(weights, reverse=True)
    assert {step["item"] for step in answer["why"]} <= set(history_of(shop, attentive, "u0003").item)
    assert "because of" in kgrec("recommend", attentive, "--user", "u0003", "--why").stdout
    assert "fall without it" in kgrec("recommend", runs / "ease", "--user", "u0003", "--why").stdout


def test_what_is_wrong_with_a_history_is_said(attentive, tmp_path):
    path = tmp_path / "h.csv"

    def told(text: str, *more: str, code: int = 1) -> str:
        path.write_text(text)
        return kgrec("recommend", attentive, "--history", path, "--k", 2, *more, code=code).stderr

    assert "no item 'nope'" in told("item\np0001\nnope\n")
    assert "left out: 1 of 2 rows" in told("item\np0001\nnope\n", "--skip-unknown", code=0)
    assert "names no item that the run knows" in told("item\nnope\n", "--skip-unknown")
    assert "names no item" in told("item\n") and "is empty" in told("")
    assert "are not in order of time" in told("item,time\np0001,9\np0002,3\n", code=0)
    assert "note" not in told("item,time\np0001,3\np0002,3\n", code=0)  # one time: in the file's order
    assert "line 2: time 'soon' is no number; unix seconds are wanted" in told("item,time\np0001,soon\n")
    assert "no behaviour 'veiwed'" in told("item,behaviour\np0001,veiwed\n")


def test_a_new_user_is_served_by_history_as_a_known_one_with_it(runs, tmp_path):
    events = pd.read_csv(ROOT / "graphs/shop/events.csv")
    mine = events[(events.event == "view") & (events.user == "u0003") & (events.time < 1764547200)]
    mine[["product", "time"]].rename(columns={"product": "item"}).to_csv(tmp_path / "h.csv", index=False)
    new = last_json(kgrec("recommend", runs / "ease", "--history", tmp_path / "h.csv", "--json"))[0]["items"]
    known = last_json(kgrec("recommend", runs / "ease", "--user", "u0003", "--json"))[0]["items"]
    assert [item["item"] for item in new] == [item["item"] for item in known]
    folded = last_json(kgrec("recommend", runs / "mf", "--history", tmp_path / "h.csv", "--json"))[0]
    assert folded["reason"] == "by history, folded in"
    assert not {item["item"] for item in folded["items"]} & set(mine["product"])


def test_a_history_may_be_of_many_new_users(runs, tmp_path):
    """As each alone; the table that is written has their names."""
    path = tmp_path / "h.csv"
    path.write_text("user,item\nzoe,p0001\nyan,p0042\nzoe,p0007\n")
    both = last_json(kgrec("recommend", runs / "ease", "--history", path, "--k", 3, "--json"))
    assert [one["user"] for one in both] == ["zoe", "yan"]
    for one, items in zip(both, ("p0001\np0007\n", "p0042\n")):
        path.write_text(f"item\n{items}")
        (alone,) = last_json(kgrec("recommend", runs / "ease", "--history", path, "--k", 3, "--json"))
        assert alone["user"] == "new user" and [i["item"] for i in alone["items"]] == [i["item"] for i in one["items"]]
    path.write_text("user,item\nzoe,p0001\n,p0007\n")
    assert "h.csv line 3: user: an id is missing" in kgrec("recommend", runs / "ease", "--history", path, code=1).stderr
    path.write_text("user,item\nzoe,p0001\nyan,none\n")
    arguments = ("recommend", runs / "ease", "--history", path, "--skip-unknown", "--out", tmp_path / "lists.csv")
    assert "note: left out: 1 users without an item that the run knows, 'yan'" in kgrec(*arguments).stderr
    assert set(pd.read_csv(tmp_path / "lists.csv")["user"]) == {"zoe"}


def test_unknown_users_of_a_file_are_left_out_where_asked(runs, tmp_path):
    (tmp_path / "users.txt").write_text("u0001\nu9999\n")
    done = kgrec("recommend", runs / "ease", "--users", tmp_path / "users.txt", "--skip-unknown", "--json")
    assert [one["user"] for one in last_json(done)] == ["u0001"]
    assert "note: left out: 1 of 2 users that the run does not know, 'u9999'" in done.stderr


def test_compare_says_how_runs_differ(shop, runs):
    arguments = ("compare", runs / "ease", runs / "mf", "--metrics", "ndcg@10,recall@10", "--resamples", "200")
    result = last_json(kgrec(*arguments, "--json"))
    measured = json.loads((runs / "mf/metrics.json").read_text())["test"]
    assert result["test"][str(runs / "mf")] == {name: measured[name] for name in ("ndcg@10", "recall@10")}
    assert result["reference"] == str(runs / "ease") and result["notes"] == []
    for one in result["differences"]:
        low, high = one["interval"]
        assert low < one["difference"] < high < 0 and one["p"] < 0.05  # two epochs of MF are far below EASE
    text = kgrec(*arguments, "--reference", "best", "--confidence", "0.9").stdout
    assert f"difference from {runs / 'ease'}" in text.replace("\n", "") and "90 % interval" in text


def test_backtest_trains_anew_for_each_window(shop, tmp_path):
    arguments = ("backtest", "ease", shop, "--every", "2w", "--windows", "2", "--set", "l2=100", "--metrics", "ndcg@10")
    done = kgrec(*arguments, "--json", "--out", tmp_path / "b.json")
    result = last_json(done)
    assert len(done.stdout.splitlines()) == 1 and "window 2, 2025-12-17" in done.stderr
    assert result == json.loads((tmp_path / "b.json").read_text())
    one, two = result["windows"]
    assert one["stop"] == two["start"] == one["start"] + 14 * 86_400
    assert result["mean"]["ndcg@10"] == pytest.approx((one["test"]["ndcg@10"] + two["test"]["ndcg@10"]) / 2)
    text = kgrec(*arguments, "--no-valid").stdout
    assert "2 windows of 2w; full ranking, repeats miss; users without history by popularity, no validation" in text
    assert "mean" in text and "2025-12-17T21:14Z" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "mff", "GRAPH"), "no model 'mff'"),
        (("train", "mf", "GRAPH", "--set", "dims=3"), "no field 'dims' of model 'mf'; did you mean 'dim'"),
        (("train", "mf", "GRAPH", "--set", "dim=wide"), "dim='wide' of model 'mf'"),
        (("train", "mf", "GRAPH", "--set", "dim"), "--set 'dim': write it as field=value, such as dim=64"),
        (("train", "mf", "GRAPH", "--set", "trainin.epochs=3"), "no group 'trainin'"),
        (("train", "mf", "GRAPH", "--set", "training.epoch=3"), "no field 'epoch' of training; did you mean 'epochs'"),
        (("train", "mf", "GRAPH", "--split", "u1"), "no split 'u1'"),
        (("train", "mf", "GRAPH", "--metrics", "ndgc@10"), "no metric 'ndgc'"),
        (("train", "mf", "GRAPH", "--candidates", "ncf"), "no candidates 'ncf' in this graph"),
        (("train", "mf", "GRAPH", "--device", "gpu"), "no device 'gpu'"),
        (("train", "mf", "GRAPH", "--resume", "--out", "none/run"), "nothing to resume"),
        (("train", "mf", "GRAPH", "--config", "none.yaml"), "--config none.yaml"),
        (("train", "mf", "none.graph"), "none.graph does not exist; build a graph with `kgrec build"),
        (("train", "mf", "GRAPH", "--out", "RUNS/ease"), "exists already; name another --out"),
        (("build", "graphs/shop/shop.yaml", "--out", "GRAPH"), "exists already; name another --out"),
        (("build", "graphs/shop/shop.yaml", "--out", "none/g", "--memory", "much"), "'much' is not a size"),
        (("build", "graphs/shop/shop.yaml", "--out", "none/g", "--memory", "9MB"), "out of range; set at"),
        (("info", "none.graph"), "none.graph does not exist"),
        (("evaluate", "none", "GRAPH"), "none is not there; make one with `kgrec train"),
        (("compare", "RUNS/ease"), "there is only one run to compare, '"),
        (("compare", "RUNS/ease", "RUNS/mf", "--metrics", "ndgc@10"), "did you mean 'ndcg@10'"),
        (("compare", "RUNS/ease", "none"), "none is not there; make one with `kgrec train"),
        (("backtest", "mf", "GRAPH", "--every", "7x", "--windows", "2"), "duration '7x'"),
        (("backtest", "mf", "GRAPH", "--every", "7d", "--windows", "0"), "windows is 0, but must be 1 or more"),
        (("recommend", "RUNS/ease", "--user", "u9999"), "no user 'u9999' among the 600 known"),
        (("recommend", "RUNS/ease", "--user", "u0003", "--k", "401"), "--k 401 is more than the catalog's 400 items"),
        (("recommend", "RUNS/ease"), "say whom to recommend to"),
        (("recommend", "RUNS/ease", "--users", "none.txt"), "none.txt"),
        (("recommend", "RUNS/ease", "--user", "u0003", "--out", "lists.xlsx"), "the name must end in .parquet or .csv"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_message_and_exit_code_1(shop, runs, arguments, message):
    places = {"GRAPH": str(shop), **{f"RUNS/{name}": str(runs / name) for name in ("ease", "mf")}}
    done = kgrec(*(places.get(a, a) for a in arguments), code=1)
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stdout == ""


def test_wrong_usage_is_exit_code_2():
    assert "No such command" in kgrec("trian", code=2).stderr
    assert "No such option" in kgrec("doctor", "--jason", code=2).stderr


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        assert list(tmp_path.iterdir()) != []
        raise KeyboardInterrupt

    monkeypatch.setattr("kgrec.graph.storage.write_columns", interrupted)
    kgrec("build", SHOP, "--out", tmp_path / "g", code=130)
    assert list(tmp_path.iterdir()) == []
