"""Models under noise: what is trained, what is lost, and how sure that is, in sums on paper."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from kgrec import cli
from kgrec.cli.robustness import show, table
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.run import train
from kgrec.studies import noise_trials
from kgrec.studies.noise import divide, noisy, pushed_items
from kgrec.studies.noise_trials import Trial, hit_rate, vectors_moved
from kgrec.studies.robustness_results import estimate, plot, rows, summarise
from kgrec.studies.robustness_study import measure_robustness
from kgrec.training.config import TrainingConfig
from kgrec.training.session import run_job

SPEC = "last_n:1,valid=1"
TARGET = ("user", "rated", "item")
T_OF_TWO = 12.706204736  # Student's t at 0.975, of one degree of freedom


def training(epochs: int = 2, **fields) -> TrainingConfig:
    return TrainingConfig(epochs=epochs, device="cpu", **fields)


def staircase(users: int = 12) -> Graph:
    """User n has items 0 to n, so that item n is had by all users but the first n."""
    rated = [(f"u{u}", f"i{i}", i) for u in range(users) for i in range(u + 1)]
    nodes = {
        "user": pd.DataFrame({"id": [f"u{u}" for u in range(users)]}),
        "item": pd.DataFrame({"id": [f"i{i}" for i in range(users)]}),
    }
    frame = pd.DataFrame(rated, columns=["source", "target", "time"])
    return Graph.from_frames(nodes=nodes, edges={TARGET: frame}, target=TARGET)


def summary_of(trials, metric="recall@10", model="mf", protocol="last_n:1; full ranking"):
    return summarise(model, protocol, metric, trials)


def two_seeds(rate=0.1, hits=None) -> list[Trial]:
    """Of recall clean has 0.4 and 0.5, and under noise 0.2 and 0.4; rmse rises from 1 to 1.5, and is 2 twice."""
    measured = {0: ((0.4, 1.0), (0.2, 1.5)), 1: ((0.5, 2.0), (0.4, 2.0))}
    trials = []
    for seed, pairs in measured.items():
        for (kind, at), (recall, rmse) in zip((("clean", 0.0), ("add", rate)), pairs):
            trials.append(Trial(kind, at, seed, {"recall@10": recall, "rmse": rmse}, hits))
    return trials


# ---------------------------------------------------------------------- sums


def test_an_estimate_on_paper():
    two = estimate([0.2, 0.4])
    half = T_OF_TWO * sqrt(0.02) / sqrt(2)  # squares 0.01 + 0.01, over n - 1 = 1
    assert two.mean == pytest.approx(0.3) and two.deviation == pytest.approx(sqrt(0.02))
    assert two.interval == pytest.approx((0.3 - half, 0.3 + half)) and two.values == [0.2, 0.4]
    assert (estimate([0.2]).mean, estimate([0.2]).deviation, estimate([0.2]).interval) == (0.2, None, None)


def test_losses_are_paired_by_seed_and_positive_where_it_is_worse():
    result = summary_of(two_seeds())
    (cell,) = result.cells
    assert (cell.kind, cell.rate, result.seeds) == ("add", 0.1, [0, 1])
    assert result.clean["recall@10"].values == [0.4, 0.5] and cell.test["recall@10"].values == [0.2, 0.4]
    loss, half = cell.loss["recall@10"], T_OF_TWO * (0.1 / sqrt(2)) / sqrt(2)
    assert loss.values == pytest.approx([0.2, 0.1]) and loss.interval == pytest.approx((0.15 - half, 0.15 + half))
    assert cell.percent["recall@10"].values == pytest.approx([50, 20])
    assert cell.loss["rmse"].values == [0.5, 0] and cell.percent["rmse"].values == pytest.approx([50, 0])
    assert cell.hits is None and result.clean_hits is None


def test_there_is_no_percentage_of_nothing():
    trials = [Trial("clean", 0.0, 0, {"recall@10": 0.0}), Trial("add", 0.1, 0, {"recall@10": 0.1})]
    (cell,) = summary_of(trials).cells
    assert cell.percent == {"recall@10": None} and cell.loss["recall@10"].mean == -0.1
    assert plot(summary_of(trials)).axes[0].get_ylabel() == "loss of recall@10"


def test_a_hit_rate_on_paper():
    graph, items = staircase(), torch.tensor([10, 11])
    model = train("popularity", graph, split="last_n:1", training=training()).model
    # less popular items come later; u0 lacks i1 to i11, of which i11 is the eleventh, and all others lack ten or fewer
    assert hit_rate(model, graph, items, 12) == pytest.approx((10 / 10 + 10 / 11) / 2)
    assert hit_rate(model, graph, items, 1) == pytest.approx((1 + 0) / 2)


# ---------------------------------------------------------------------- training


@pytest.mark.parametrize("model", ["ease", "mf"])
@pytest.mark.parametrize("spec", [SPEC, "ratio:0.2,valid=0.1", "by_time:80%,90%", "cold_items:0.2,valid=0.1"])
def test_without_noise_a_graph_gives_the_metrics_of_plain_training(planted, model, spec):
    how = {"config": {"dim": 4} if model == "mf" else {}, "training": training(), "metrics": ["ndcg@10", "recall@20"]}
    plain = train(model, planted, split=spec, **how).metrics
    clean = divide(planted, spec)
    same = train(model, noisy(clean, "add", 0.0, 0), split=clean.spec, candidates=clean.candidates, **how).metrics
    assert same["test"] == plain["test"] and same["valid"] == plain["valid"] and same["epochs"] == plain["epochs"]
    assert plain["test"]["recall@20"] > 0 or (model, spec[:4]) == ("ease", "cold")  # which knows no cold item


def test_a_grid_is_a_training_a_cell_by_seed(planted):
    told, how = [], {"config": {"dim": 4}, "metrics": ["recall@10", "ndcg@10"]}
    result = measure_robustness(
        "mf", planted, noise=[0.5, 0, 0.2], kinds=["drop", "add", "drop"], seeds=2, split=SPEC, refit=True,
        training=training(seed=3), notify=told.append, **how,
    )  # fmt: skip
    grid = [("clean", 0.0), ("drop", 0.2), ("drop", 0.5), ("add", 0.2), ("add", 0.5)]
    assert [(one.kind, one.rate, one.seed) for one in told] == [(*cell, seed) for seed in (3, 4) for cell in grid]
    assert result.seeds == [3, 4] and result.metric == "recall@10" and result.clean_hits is None
    assert result.protocol == "last_n:1,valid=1; full ranking, refit on train + valid"
    clean = divide(planted, SPEC)
    plain = train("mf", planted, split=SPEC, refit=True, training=training(seed=4), **how).metrics
    under = train("mf", noisy(clean, "drop", 0.5, 4), split=clean.spec, refit=True, training=training(seed=4), **how)
    assert result.clean["recall@10"].values[1] == plain["test"]["recall@10"]
    assert result.cells[1].test["ndcg@10"].values[1] == under.metrics["test"]["ndcg@10"]
    assert plain["protocol"] == result.protocol


def test_pushed_items_get_onto_lists():
    graph, how = staircase(24), {"split": "last_n:1", "training": training(), "metrics": ["recall@10"]}
    result = measure_robustness("popularity", graph, targets=1, kinds=["bandwagon"], noise=[10.0], seeds=1, **how)
    clean = train("popularity", graph, **how)
    pushed = torch.from_numpy(pushed_items(divide(graph, "last_n:1"), 1, 0))
    assert result.clean_hits.values == [hit_rate(clean.model, clean.graph, pushed, 24)] and result.clean_hits.mean < 1
    assert result.cells[0].hits.values == [1.0]  # all 240 fakes have it, and of the others none is had by so many


# ---------------------------------------------------------------------- vectors


def test_each_vector_is_moved_by_its_share_of_its_length_and_put_back(planted):
    run = train("lightgcn", planted, split=SPEC, config={"dim": 4}, training=training())
    model, state = run.model, {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    moved = []
    for _ in range(2):
        with vectors_moved(model, 0.3, torch.Generator().manual_seed(1)):
            moved.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            assert not model.training
    assert all(torch.equal(moved[0][name], moved[1][name]) for name in state)
    for name in ("user.weight", "item.weight"):
        length, step = state[name].norm(dim=1), (moved[0][name] - state[name]).norm(dim=1)
        assert torch.allclose(step, 0.3 * length, rtol=1e-4) and length[:-1].min() > 0 and step[-1] == 0
    assert not torch.allclose(moved[0]["user_vector"], state["user_vector"])  # made anew of what was moved
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_biases_stay_where_they_are(planted):
    config = {"dim": 4, "biases": True}
    model = train("mf", planted, split=SPEC, config=config, training=training()).model
    before = model.item_bias.weight.clone()
    assert before.abs().max() > 0
    with vectors_moved(model, 0.5, torch.Generator()):
        assert torch.equal(model.item_bias.weight, before)


def test_moved_vectors_need_no_training(planted, monkeypatch):
    trained = []

    def spy(job, graph, report):
        trained.append(job.training.seed)
        return run_job(job, graph, report)

    monkeypatch.setattr(noise_trials, "run_job", spy)
    result = measure_robustness(
        "mf", planted, kinds=["embedding"], noise=[1e-9, 100], seeds=2, split=SPEC, config={"dim": 4},
        training=training(20), metrics=["ndcg@10"],
    )  # fmt: skip
    little, much = (cell.loss["ndcg@10"].values for cell in result.cells)
    assert trained == [0, 1] and little == [0, 0] and 0 not in much


# ---------------------------------------------------------------------- what cannot be done


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("ease", {"kinds": ["embedding"]}, "node vectors that a model learned, but 'ease' has none; use other"),
        ("ease", {"kinds": ["ad"]}, "no kind of noise 'ad'; did you mean 'add'"),
        ("ease", {"kinds": []}, "no kind of noise is named; name some of add, drop"),
        ("ease", {"noise": [0.1, -0.2]}, "a rate of noise is -0.2, but must be a number of at least 0"),
        ("ease", {"noise": [0.0]}, "no rate of noise is above 0"),
        ("ease", {"noise": [1.0]}, "drop: a rate of 1 leaves nothing"),
        ("ease", {"seeds": 0}, "seeds is 0, but must be 1 or more"),
        ("ease", {"metrics": ["ndgc@10"]}, "no metric 'ndgc'"),
        ("ease", {"kinds": ["shilling"], "targets": 100}, "cannot push 100 items, as only"),
        ("ease", {"split": None}, "this graph names no standard split"),
        ("eaze", {}, "no model 'eaze' .*; did you mean 'ease'"),
        ("transe", {"config": {"task": "link"}}, "added to interactions, but 'transe' is trained for task 'link'"),
        ("mf", {"config": {"dims": 4}}, "no field 'dims' of model 'mf'"),
    ],
)  # fmt: skip
def test_bad_input_says_what_is_wanted_before_anything_is_trained(planted, monkeypatch, model, arguments, message):
    monkeypatch.setattr(noise_trials, "run_job", None)
    with pytest.raises(KgrecError, match=message):
        measure_robustness(model, planted, **{"noise": [0.1], "split": SPEC, **arguments})


def test_what_fails_in_training_names_the_noise(planted):
    with pytest.raises(KgrecError, match="clean, seed 0: rmse can only measure predicted ratings"):
        measure_robustness("ease", planted, noise=[0.1], split=SPEC, metrics=["rmse"])


def test_a_plot_without_matplotlib_is_refused_before_training(planted, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(noise_trials, "run_job", None)
    with pytest.raises(KgrecError, match=r"the plot in `out` needs matplotlib: pip install 'kgrec\[plot\]'"):
        measure_robustness("ease", planted, noise=[0.1], split=SPEC, out=tmp_path / "out")


# ---------------------------------------------------------------------- what comes out


def test_the_plot_shows_losses_from_rate_0_on():
    trials = [*two_seeds(), *(trial for trial in two_seeds(0.4) if trial.kind != "clean")]
    line, zero = plot(summary_of(trials)).axes[0].get_lines()
    assert list(line.get_xdata()) == [0, 0.1, 0.4] and list(line.get_ydata()) == pytest.approx([0, 35, 35])
    assert line.get_label() == "add" and list(zero.get_ydata()) == [0, 0]


def test_tables_say_the_same():
    text = io.StringIO()
    show(summary_of(two_seeds(hits=0.25)), Console(file=text, width=100))
    half = T_OF_TWO * (30 / sqrt(2)) / sqrt(2)  # of 50 and 20 percent
    assert "too few for a reliable mean" not in text.getvalue()
    few = replace(summary_of(two_seeds()), counts={"users": 7, "pairs": 9})
    show(few, Console(file=text, width=100))
    assert "measured on 7 users, 9 pairs\ntest: only 7 users, too few for a reliable mean" in text.getvalue()
    for words in ("mf (last_n:1; full ranking), 2", "0.4500", "0.0707", "0.1500", "0.2500"):
        assert words in text.getvalue()
    assert f"{35 - half:.1f} to {35 + half:.1f}" in text.getvalue() and "hit rate @10" in text.getvalue()


def test_models_beside_each_other():
    one, two = summary_of(two_seeds(), model="mf"), summary_of(two_seeds(), model="ease")
    found = rows([one, two], 0.1)
    assert [(row["kind"], row["model"], row["loss"].mean) for row in found] == [
        ("add", "mf", pytest.approx(0.15)),
        ("add", "ease", pytest.approx(0.15)),
    ]
    assert rows([one], 0.1, "rmse")[0]["percent"].mean == pytest.approx(25)
    text = io.StringIO()
    Console(file=text, width=100).print(table([one, two], 0.1))
    assert "ease" in text.getvalue() and "35.0" in text.getvalue()
    other = summary_of(two_seeds(), protocol="last_n:2; full ranking")
    for results, rate, metric, message in (
        ([one, other], 0.1, None, "compare only results with the same protocol"),
        ([one], 0.2, None, r"mf was not measured at rate 0\.2, only at 0\.1"),
        ([one], 0.1, "recal@10", "no metric 'recal@10' of mf; did you mean 'recall@10'"),
        ([], 0.1, None, "there are no results"),
    ):
        with pytest.raises(KgrecError, match=message):
            rows(results, rate, metric)


# ---------------------------------------------------------------------- the command


def kgrec(*arguments: object, code: int = 0) -> tuple[str, str]:
    """What the command prints to stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kgrec", *map(str, arguments)])
        try:
            cli.main()
            found: object = 0
        except SystemExit as end:
            found = end.code or 0
    assert found == code, f"exit code {found}\n{out.getvalue()}\n{err.getvalue()}"
    return out.getvalue(), err.getvalue()


def test_the_command_writes_json_and_a_plot(planted, tmp_path):
    planted.save(tmp_path / "planted.graph")
    arguments = (
        "robustness", "ease", tmp_path / "planted.graph", "--noise", "0,0.2", "--kinds", "add,shilling", "--seeds", "2",
        "--seed", "5", "--split", SPEC, "--set", "l2=100", "--metrics", "recall@10", "--out", tmp_path / "ease",
    )  # fmt: skip
    stdout, stderr = kgrec(*arguments, "--json")
    result = json.loads((tmp_path / "ease/robustness.json").read_text())
    assert json.loads(stdout) == result and result["seeds"] == [5, 6] and result["metric"] == "recall@10"
    assert [(cell["kind"], cell["rate"]) for cell in result["cells"]] == [("add", 0.2), ("shilling", 0.2)]
    assert (tmp_path / "ease/robustness.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "ease").iterdir()) == ["robustness.json", "robustness.png"]
    lines = [line for line in stderr.splitlines() if "seed" in line]
    assert [line.split(":")[0] for line in lines] == [
        f"{cell}, seed {seed}" for seed in (5, 6) for cell in ("clean 0", "add 0.2", "shilling 0.2")
    ]
    assert f"recall@10 {result['clean']['recall@10']['values'][0]:.4f}" in lines[0]
    assert "exists already" in kgrec(*arguments, code=1)[1]
    text = kgrec(*arguments, "--overwrite")[0]
    assert "shilling 0.2" in text and "Pushed items" in text and "loss against clean" in text
    measured = train("ease", planted, split=SPEC, config={"l2": 100}, metrics=["recall@10"]).metrics["counts"]["test"]
    assert result["counts"] == measured and f"measured on {measured['users']} users" in text


def test_the_command_refuses_what_is_no_rate_and_what_is_not_its_own_folder(planted, tmp_path):
    planted.save(tmp_path / "planted.graph")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("kept")
    here = ("robustness", "ease", tmp_path / "planted.graph", "--split", SPEC)
    assert "noise '0,a lot' must be rates separated by commas" in kgrec(*here, "--noise", "0,a lot", code=1)[1]
    assert "without robustness.json" in kgrec(*here, "--out", tmp_path / "mine", "--overwrite", code=1)[1]
    assert Path(tmp_path / "mine/notes.txt").read_text() == "kept"
    with pytest.raises(UnknownName):
        measure_robustness("ease", planted, kinds=["swop"], split=SPEC)
