"""The GRU that training uses on the CPU: what it computes is torch's GRU, without work for padding."""

import pytest
import torch
from torch import Tensor, nn

from kgrec.nn import GRU, packed_gru
from kgrec.nn.packed_paths import Paths

LENGTHS = [3, 0, 7, 1, 7, 2, 0]


def by_torch(gru: nn.GRU, steps: Tensor, paths: Paths) -> Tensor:
    """Each path alone, by torch's GRU."""
    found = [gru(part)[0] for part in steps.split(paths.length.tolist()) if len(part)]
    return torch.cat(found) if found else steps


@pytest.mark.parametrize("layers", [1, 2])
def test_states_and_gradients_are_those_of_torch(layers: int):
    torch.manual_seed(0)
    paths, module = Paths(torch.tensor(LENGTHS)), GRU(40, layers).train()
    steps = torch.randn(sum(LENGTHS), 40, requires_grad=True)
    share = torch.randn(sum(LENGTHS), 40)
    found = []
    for states in (module(steps, paths), by_torch(module.gru, steps, paths)):
        module.zero_grad()
        steps.grad = None
        (states * share).sum().backward()
        found.append([states.detach(), steps.grad, *(one.grad for one in module.parameters())])
    for mine, theirs in zip(*found):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_it_is_used_in_training_alone(monkeypatch: pytest.MonkeyPatch):
    calls = []
    whole = packed_gru.states
    monkeypatch.setattr(packed_gru, "states", lambda *parts: calls.append(1) or whole(*parts))
    paths, module, steps = Paths(torch.tensor([2, 1])), GRU(4), torch.randn(3, 4)
    module.train()(steps, paths)
    assert calls == [1]
    with torch.no_grad():
        module(steps, paths)
    module.eval()(steps, paths)
    with torch.autocast("cpu", torch.bfloat16):
        module.train()(steps, paths)
    assert calls == [1]


def test_paths_without_steps():
    steps = torch.zeros(0, 4, requires_grad=True)
    found = GRU(4).train()(steps, Paths(torch.tensor([0, 0])))
    found.sum().backward()
    assert found.shape == steps.grad.shape == (0, 4)


def test_dropout_lies_between_layers_alone():
    torch.manual_seed(0)
    paths, steps = Paths(torch.tensor([5, 4])), torch.randn(9, 8)
    one, two = GRU(8, 1, dropout=0.5).train(), GRU(8, 2, dropout=0.5).train()
    assert torch.equal(one(steps, paths), one(steps, paths))
    assert not torch.equal(two(steps, paths), two(steps, paths))


def test_times_of_paths():
    times = packed_gru.Times.of(Paths(torch.tensor([1, 3, 0, 2])))
    assert times.sizes == [3, 2, 1]
    assert times.step.tolist() == [1, 4, 0, 2, 5, 3]
    assert times.place[times.step].tolist() == list(range(6))
