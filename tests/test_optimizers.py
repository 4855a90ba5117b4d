"""Optimizers: RowAdam against sums on paper, and against torch's SparseAdam; the others against torch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from kgrec import large_pages
from kgrec.optimizers import SGD, Adam, AdamW, RowAdam, SparseAndDense


@pytest.mark.parametrize("kind", [Adam, AdamW, SGD])
@pytest.mark.parametrize("how", [{}, {"weight_decay": 0.1}, {"fused": True}], ids=str)
def test_steps_are_those_of_torch(kind: type[torch.optim.Optimizer], how: dict[str, float]) -> None:
    """To the bit; and each goes on with what the other has saved."""
    found = {}
    for own in (True, False):
        kinds = kind, getattr(torch.optim, kind.__name__)
        drawn = torch.Generator().manual_seed(2)
        layer = nn.Parameter(torch.randn(7, 3, generator=drawn))
        optimizer = kinds[not own]([layer], lr=0.05, **how)
        for step in range(6):
            if step == 3:  # what was saved is loaded by the other one
                state, optimizer = optimizer.state_dict(), kinds[own]([layer], lr=0.05, **how)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            assert layer.grad is None
            (layer @ torch.randn(3, generator=drawn)).square().sum().backward()
            optimizer.step()
        found[own] = layer.detach(), optimizer.state_dict()["state"]
    assert torch.equal(found[True][0], found[False][0])
    for mine, other in zip(*(state.values() for _, state in found.values())):
        assert mine.keys() == other.keys()
        assert all(value is None or torch.equal(value, other[name]) for name, value in mine.items())


def steps(kind: type[torch.optim.Optimizer], number: int, dim: int = 5, **how: float) -> tuple[nn.Parameter, dict]:
    """A table of 40 rows after some steps in which rows occur several times, and the optimizer's state."""
    drawn = torch.Generator().manual_seed(1)
    table = nn.Parameter(torch.randn(40, dim, generator=drawn))
    optimizer = kind([table], lr=0.05, **how)
    for _ in range(number):
        optimizer.zero_grad()
        rows = torch.randint(0, 30, (25,), generator=drawn)
        wanted = torch.randn(25, dim, generator=drawn)
        ((functional.embedding(rows, table, sparse=True) - wanted) ** 2).sum().backward()
        optimizer.step()
    return table, optimizer.state_dict()


def test_the_first_two_steps_by_hand() -> None:
    table = nn.Parameter(torch.tensor([[1.0], [2.0], [3.0]]))
    optimizer = RowAdam([table], lr=0.1, betas=(0.5, 0.75), eps=1e-20)
    (functional.embedding(torch.tensor([1, 1]), table, sparse=True).sum() * 2).backward()  # two gradients of 2: 4
    optimizer.step()
    # m = .5 * 4 = 2, v = .25 * 16 = 4; without bias 2 / .5 = 4 and 4 / .25 = 16: a step of .1 * 4 / 4
    assert table.flatten().tolist() == pytest.approx([1.0, 1.9, 3.0])
    optimizer.zero_grad()
    (functional.embedding(torch.tensor([0, 1]), table, sparse=True) * torch.tensor([[1.0], [0.0]])).sum().backward()
    optimizer.step()
    # row 0 begins in step 2: m = .5, v = .25, without bias .5 / .75 and .25 / (7 / 16)
    first = 1 - 0.1 * (0.5 / 0.75) / math.sqrt(0.25 / (7 / 16))
    # row 1 has a gradient of 0: m = 1, v = 3
    second = 1.9 - 0.1 * (1 / 0.75) / math.sqrt(3 / (7 / 16))
    assert table.flatten().tolist() == pytest.approx([first, second, 3.0])


@pytest.mark.parametrize("how", [{}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"maximize": True}])
@pytest.mark.parametrize("dim", [1, 16])
def test_it_does_what_sparse_adam_does(dim: int, how: dict) -> None:
    mine, state = steps(RowAdam, 20, dim, **how)
    other, wanted = steps(torch.optim.SparseAdam, 20, dim, **how)
    assert torch.allclose(mine, other, atol=1e-5)
    assert not torch.equal(mine[:30], steps(RowAdam, 1, dim, **how)[0][:30])
    assert torch.equal(mine[30:], other[30:])  # never touched
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.allclose(state["state"][0][name], wanted["state"][0][name], atol=1e-5)
    assert state["state"][0]["step"] == wanted["state"][0]["step"] == 20


def test_steps_are_the_same_each_time() -> None:
    assert torch.equal(steps(RowAdam, 10)[0], steps(RowAdam, 10)[0])


def test_it_goes_on_with_what_sparse_adam_saved() -> None:
    table, state = steps(torch.optim.SparseAdam, 3)
    both = {}
    for kind in (RowAdam, torch.optim.SparseAdam):
        copy = nn.Parameter(table.detach().clone())
        optimizer = kind([copy], lr=1.0)
        optimizer.load_state_dict({**state, "state": {0: {k: _copy(v) for k, v in state["state"][0].items()}}})
        functional.embedding(torch.tensor([3, 7]), copy, sparse=True).sum().backward()
        optimizer.step()
        both[kind] = copy
    assert torch.allclose(both[RowAdam], both[torch.optim.SparseAdam], atol=1e-6)
    assert not torch.equal(both[RowAdam][3], table[3])


def test_other_types_and_infinite_gradients_go_as_before() -> None:
    table = nn.Parameter(torch.ones(3, 2, dtype=torch.float64))
    optimizer = RowAdam([table], lr=0.5)
    functional.embedding(torch.tensor([1]), table, sparse=True).sum().backward()
    optimizer.step()
    assert table.tolist() == [[1.0, 1.0], [pytest.approx(0.5)] * 2, [1.0, 1.0]]
    broken = nn.Parameter(torch.ones(3, 2))
    optimizer = RowAdam([broken], lr=0.5)
    (functional.embedding(torch.tensor([1]), broken, sparse=True) * math.nan).sum().backward()
    optimizer.step()
    assert broken[1].isnan().all()
    assert broken[[0, 2]].eq(1).all()


def test_dense_parameters_beside_tables() -> None:
    table, weight = nn.Parameter(torch.ones(4, 2)), nn.Parameter(torch.ones(2))
    optimizer = SparseAndDense([table, weight], 0.5, table)
    (functional.embedding(torch.tensor([2]), table, sparse=True) * weight).sum().backward()
    optimizer.step()
    assert table.detach().mean(1).tolist() == pytest.approx([1, 1, 0.5, 1])
    assert weight.tolist() == pytest.approx([0.5, 0.5])


def test_large_pages_change_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages, "LEAST", 1 << 12)
    found = large_pages.in_large_pages(torch.arange(5000.0))
    assert found.tolist() == list(range(5000))
    assert torch.equal(large_pages.zeros_in_large_pages(found), torch.zeros(5000))
    monkeypatch.setattr(large_pages, "_madvise", lambda: None)
    assert large_pages.in_large_pages(found) is found


def _copy(value: object) -> object:
    return value.clone() if isinstance(value, torch.Tensor) else value
