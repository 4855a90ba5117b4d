"""Numbers out of range: of every field of every model, of training, of a SPEC, of a metric and of each command."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kgrec import cli, models, train
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.memory import failures_explained, must_fit, sizes_checked
from kgrec.settings import configure, describe
from kgrec.splits.split import split
from kgrec.studies.backtesting import backtest, duration
from kgrec.training.config import AdversarialConfig, TrainingConfig
from kgrec.training.job import TrainingJob

HUGE = "99999999999999999999"
VALUES = ("0", "-1", HUGE, "nan", "inf", "1e-300", "1e300", "1e400", "2147483647")


def small_graph() -> Graph:
    """10 users, 12 items and 4 genres."""
    pairs = [(user, (user + step * step) % 12, user + step) for user in range(10) for step in range(6)]
    user, item, hour = zip(*pairs)
    rated = pd.DataFrame(
        {"source": [f"u{one}" for one in user], "target": [f"i{one}" for one in item], "time": np.array(hour) * 3600}
    )
    about = pd.DataFrame({"source": [f"i{n}" for n in range(12)], "target": [f"g{n % 4}" for n in range(12)]})
    return Graph.from_frames(edges={("user", "rated", "item"): rated, ("item", "about", "genre"): about})


GRAPH = small_graph()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("ranges") / "g"
    GRAPH.save(made)
    return made


def is_number(field) -> bool:
    return "number" in field.type


@pytest.mark.parametrize("name", models.builtin_names())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_number_of_a_model_works_or_is_refused(name):
    """Each out of range by its type is refused before anything is made; the rest trains, or says what is wrong."""
    refused = 0
    for field in filter(is_number, describe(models.find(name).Config)):
        for text in VALUES:
            value = f"[{text}]" if "list" in field.type else text
            try:
                train(name, GRAPH, split="last_n:1", config={field.name: value}, training={"epochs": 1})
            except KgrecError as error:
                refused += 1
                assert str(error)
            else:
                assert text not in ("nan", "inf", "1e400"), (field.name, text)
                assert text != HUGE or "whole" not in field.type, (field.name, text)
    assert refused or not any(map(is_number, describe(models.find(name).Config)))


@pytest.mark.parametrize("kind", [TrainingConfig, AdversarialConfig])
def test_every_number_of_training_is_within_its_type(kind):
    for field in filter(is_number, describe(kind)):
        for text in ("nan", "inf", "1e400", "-1"):
            with pytest.raises(KgrecError, match=f"{field.name}='{text}'"):
                configure(kind, {field.name: text})
        if "whole" in field.type:
            with pytest.raises(KgrecError, match=f"{field.name} is {HUGE}, but must be at most"):
                configure(kind, {field.name: HUGE})
    assert configure(TrainingConfig, {"seed": str(2**63 - 1)}).seed == 2**63 - 1


@pytest.mark.parametrize("name", ["mf", "sasrec", "kgat", "gan", "ials", "irgan"])
def test_sizes_that_do_not_fit_are_refused_before_anything_is_made(name):
    fields = {"kgat": "node_dim", "irgan": None}
    known = [field.name for field in describe(models.find(name).Config)]
    field = fields.get(name, "dim")
    config = {"base_config": {"dim": 10**9}} if field is None else {("dim" if "dim" in known else field): 10**9}
    with pytest.raises(
        KgrecError, match=r"would take [\d,.]+ GiB of memory, but only [\d,.]+ GiB are free; choose smaller"
    ):
        models.build(name, GRAPH, config)
    with pytest.raises(KgrecError):
        models.build(name, GRAPH, {key: {"dim": 10**12} if key == "base_config" else 10**12 for key in config})


def test_a_tensor_that_does_not_fit_is_never_made():
    for make in (torch.empty, torch.zeros, torch.randn):
        with pytest.raises(KgrecError, match=r"it would take 3,725,290\.3 GiB of memory"), sizes_checked("it"):
            make(10**6, 10**9)
    with sizes_checked("it"):
        assert torch.zeros(3, 4).shape == (3, 4)
    must_fit(1 << 20, "a little")
    with pytest.raises(KgrecError, match=r"negatives for each of 50 examples would take"):
        train("mf", GRAPH, split="last_n:1", config={"negatives": 2**31 - 1}, training={"epochs": 1})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "it needs more memory than is free"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "it needs more memory than is free"),
        (RuntimeError("value cannot be converted to type float without overflow"), "it: a setting is too large"),
    ],
)
def test_what_torch_raises_is_explained(error, said):
    with pytest.raises(KgrecError, match=said), failures_explained("it"):
        raise error
    with pytest.raises(RuntimeError, match="of another kind"), failures_explained("it"):
        raise RuntimeError("of another kind")


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")]
)
def test_a_training_without_enough_memory_says_what_lowers_it(error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("kgrec.training.trainer.Trainer._step", fail)
    with pytest.raises(KgrecError) as raised:
        train("sasrec", GRAPH, split="last_n:1", config={"batch_size": 7, "length": 9}, training={"epochs": 1})
    assert "lower batch_size (now 7) or length (now 9) or dim (now 64)" in str(raised.value)
    on_card = isinstance(error, torch.OutOfMemoryError)
    assert ("20 GiB" in str(raised.value), "--device cpu" in str(raised.value)) == (on_card, on_card)


@pytest.mark.parametrize(
    "spec",
    [
        *(f"last_n:{number}" for number in ("0", "-1", HUGE, "9" * 5000, "nan", "1e3", "2147483648")),
        *(f"last_n:1,valid={number}" for number in ("-1", HUGE, "nan", "inf")),
        *(f"ratio:{share}" for share in ("0", "-1", "1", HUGE, "nan", "inf", "1e400", "1e-300")),
        *(f"ratio:0.5,valid={share}" for share in ("0", "-1", HUGE, "nan", "inf", "0.5")),
        *(f"ratio:0.5,seed={seed}" for seed in ("-1", HUGE, "nan", "9" * 5000, str(2**63))),
        *(f"cold_items:{share}" for share in ("0", "-1", HUGE, "nan", "inf", "1e-300")),
        *(
            f"by_time:{one},{two}"
            for one, two in ((HUGE, HUGE), ("-" + HUGE, HUGE), ("9" * 5000, "1e9"), ("nan%", "1%"))
        ),
        "by_time:99.99999999999999999%,100%",
        "by_time:0%,100%",
        "by_time:0001-01-01,9999-12-31T23:59:59.999999-23:59",
    ],
)
def test_a_spec_out_of_range_is_refused(spec):
    with pytest.raises(KgrecError):
        split(GRAPH, spec)
    assert split(GRAPH, f"ratio:0.5,seed={2**63 - 1}").test.num_edges


@pytest.mark.parametrize("metric", ["ndcg", "ndcg_kgat", "recall", "gini", "mrr", "popularity"])
def test_a_cut_off_out_of_range_is_refused(metric):
    for cut in ("0", "-1", HUGE, "nan", "inf", "1e3", "9" * 5000, "2147483647", "1001"):
        with pytest.raises(KgrecError, match="cut-off"):
            train("popularity", GRAPH, split="last_n:1,valid=1", metrics=[f"{metric}@{cut}"])
    assert train("popularity", GRAPH, split="last_n:1", metrics=[f"{metric}@1000"]).metrics["test"]


def test_windows_and_durations_out_of_range_are_refused():
    for text in ("0d", "-1d", f"{HUGE}w", "9" * 5000 + "m", "nan", "infd", "1e3d", "60000w"):
        with pytest.raises(KgrecError, match="duration"):
            duration(text)
    for every, windows in ((10**20, 1), (3600, 10**20), (3600, 99_999_999), (0, 1), (3600, -1)):
        with pytest.raises(KgrecError):
            backtest("popularity", GRAPH, every=every, windows=windows)
    with pytest.raises(KgrecError, match="no window can be measured"):
        backtest("popularity", GRAPH, every=duration("50000w"), windows=10_000)


def test_scores_that_no_numbers_hold_are_an_error():
    for name, config in (("ease", {"l2": 1e-30}), ("ials", {"l2": 1e-30, "alpha": 1e-30})):
        with pytest.raises(
            KgrecError, match=r"(cannot be solved in 32-bit numbers|cannot solve for the vector of a user or item)"
        ):
            models.build(name, GRAPH, config)


@pytest.mark.usefixtures("bf16_everywhere")
@pytest.mark.parametrize("name", ["kgat", "kgatseq", "mf", "lightgcn", "sasrec", "svdpp"])
def test_bf16_on_a_cpu_works_or_is_refused(name):
    try:
        run = train(name, GRAPH, split="last_n:1,valid=1", training={"epochs": 1, "precision": "bf16-mixed"})
    except KgrecError as error:
        assert "bf16" in str(error)
    else:
        assert run.metrics["epochs"] == 1


OPTIONS = [
    *(("train", "popularity", "GRAPH", "--split", "last_n:1", "--seed", value) for value in ("-1", HUGE)),
    *(("train", "mf", "GRAPH", "--split", "last_n:1", "--epochs", value) for value in ("0", "-1", HUGE)),
    *(("train", "mf", "GRAPH", "--split", "last_n:1", "--patience", value) for value in ("0", "-1", HUGE)),
    *(("train", "mf", "GRAPH", "--split", "last_n:1", "--devices", value) for value in ("0", "-1", HUGE)),
    *(("train", "mf", "GRAPH", "--split", "last_n:1", "--validate-every", value) for value in ("0", "-1", HUGE)),
    *(("train", "mf", "GRAPH", "--split", "last_n:1", "--set", f"batch_size={value}") for value in (10**18, "nan")),
    ("train", "mf", "GRAPH", "--split", "last_n:1", "--set", "training.clip_norm=nan"),
    ("train", "mf", "GRAPH", "--split", "last_n:1", "--set", "adversarial.epsilon=inf"),
    ("train", "ease", "GRAPH", "--split", "last_n:1", "--set", "l2=1e-30"),
    ("train", "mf", "GRAPH", "--split", "last_n:1", "--device", "cuda:99999999999"),
    ("train", "mf", "GRAPH", "--split", "last_n:1", "--device", "cpu:99999999999"),
    *(("recommend", "RUN", "--user", "u1", "--json", "--k", value) for value in ("0", "-1", "13", HUGE)),
    *(("compare", "RUN", "OTHER", "--seed", value) for value in ("-1", HUGE)),
    *(("compare", "RUN", "OTHER", "--resamples", value) for value in ("0", "-1", HUGE, "1000000000")),
    *(("compare", "RUN", "OTHER", "--confidence", value) for value in ("0", "-1", "1", "nan", "inf", "1e400")),
    *(("backtest", "popularity", "GRAPH", "--every", "1h", "--windows", value) for value in ("0", "-1", HUGE)),
    ("backtest", "popularity", "GRAPH", "--every", f"{HUGE}w", "--windows", "2"),
    *(("robustness", "popularity", "GRAPH", "--split", "last_n:1", "--seeds", value) for value in ("0", "-1", HUGE)),
    *(
        ("robustness", "popularity", "GRAPH", "--split", "last_n:1", "--noise", v)
        for v in ("-1", "nan", "inf", "1e400")
    ),
    ("robustness", "popularity", "GRAPH", "--split", "last_n:1", "--noise", "1e300"),
    *(
        ("robustness", "popularity", "GRAPH", "--split", "last_n:1", "--kinds", "shilling", "--targets", value)
        for value in ("0", "-1", HUGE, "13")
    ),
    *(("generate", "GAN", "--out", "OUT.csv", "--users", value) for value in ("0", "-1", HUGE)),
    *(("generate", "GAN", "--out", "OUT.csv", "--users", "3", "--seed", value) for value in ("-1", HUGE)),
    *(("evaluate", "RUN", "GRAPH", "--metrics", f"ndcg@{value}") for value in ("0", "-1", HUGE, "nan", "2147483647")),
]


@pytest.fixture(scope="module")
def places(folder, tmp_path_factory) -> dict[str, str]:
    where = tmp_path_factory.mktemp("runs")
    for name, model in (("RUN", "popularity"), ("OTHER", "itemknn"), ("GAN", "gan")):
        train(model, folder, split="last_n:1,valid=1", training={"epochs": 2}, out=where / name)
    named = {name: str(where / name) for name in ("RUN", "OTHER", "GAN", "OUT.csv")}
    return {"GRAPH": str(folder), **named}


@pytest.mark.parametrize("arguments", OPTIONS, ids=lambda one: " ".join(map(str, one))[:80])
def test_every_option_out_of_range_is_one_error(arguments, places):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kgrec", *(places.get(str(one), str(one)) for one in arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert end.value.code == 1 and err.getvalue().startswith("error: ") and not out.getvalue(), err.getvalue()
    assert not Path(places["OUT.csv"]).exists()


def test_settings_that_lower_memory_are_those_that_the_loss_reads():
    assert "negatives" in TrainingJob("sasrec", config={"loss": "sampled_softmax"}).sizes()
    assert "negatives" not in TrainingJob("sasrec").sizes()  # its softmax compares with all items
