"""Training in bf16 where it is slower than in float32, and attention in it."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from kgrec import Graph, train
from kgrec.errors import KgrecError
from kgrec.nn.self_attention import _attention
from kgrec.training import precision
from kgrec.training.precision import cost_of_bf16, must_pay

CPU = torch.device("cpu")


def test_bf16_is_refused_on_a_cpu_that_is_slower_in_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "cost_of_bf16", lambda: 17.2)
    with pytest.raises(KgrecError, match=r"takes 17\.2 times as long as in float32.*; use 32-true"):
        must_pay("bf16-mixed", CPU)
    must_pay("32-true", CPU)
    monkeypatch.setattr(precision, "cost_of_bf16", lambda: 0.5)
    must_pay("bf16-mixed", CPU)


def test_training_says_so_before_it_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(precision, "cost_of_bf16", lambda: 2.0)
    edges = pd.DataFrame({"source": list("aabb"), "target": list("xyyz"), "time": range(4)})
    graph = Graph.from_frames(edges={("user", "rated", "item"): edges})
    with pytest.raises(KgrecError, match="bf16"):
        train("mf", graph, split="last_n:1", training={"precision": "bf16-mixed"}, out=tmp_path / "a.run")
    assert not (tmp_path / "a.run").exists()


def test_the_cost_is_measured_once(monkeypatch: pytest.MonkeyPatch):
    cost_of_bf16.cache_clear()
    kinds = []

    def seconds(kind: torch.dtype) -> float:
        kinds.append(kind)
        return 3.0 if kind == torch.bfloat16 else 2.0

    monkeypatch.setattr(precision, "_seconds", seconds)
    assert (cost_of_bf16(), cost_of_bf16()) == (1.5, 1.5) and len(kinds) == 2
    cost_of_bf16.cache_clear()


def test_products_take_some_time():
    assert 0 < precision._seconds(torch.float32) < 60


def test_a_gpu_that_imitates_bf16_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(KgrecError, match="Tesla T4 has no bf16 of its own; use 32-true"):
        must_pay("bf16-mixed", torch.device("cuda"))


@pytest.mark.parametrize("masked", [None, "bool", "float"])
def test_attention_in_bf16_is_that_in_float32(masked: str | None):
    torch.manual_seed(0)
    rows = torch.randn(3, 2, 2, 5, 4).bfloat16()
    mask = None if masked is None else torch.ones(2, 1, 1, 5, dtype=torch.bool)
    if mask is not None:
        mask[0, :, :, 3:] = False
    if masked == "float" and mask is not None:
        mask = torch.zeros(2, 1, 5, 5).masked_fill(~mask, -torch.inf).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = _attention(*rows, mask, 0.0)
    wide = None if mask is None else mask if mask.dtype == torch.bool else mask.float()
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, _attention(*rows.float(), wide, 0.0).bfloat16())
