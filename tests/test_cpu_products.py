"""Products by oneDNN give what torch's own give, and whether they are taken depends on the processor alone."""

import copy

import pytest
import torch
from torch.nn import functional

from kgrec.nn import cpu_products
from kgrec.nn.cpu_products import Linear, by_columns, by_rows, linear, subtract
from kgrec.nn.losses import softmax_over

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@pytest.fixture(params=[True, False], ids=["onednn", "torch"])
def onednn(request, monkeypatch):
    if request.param and not ONEDNN:
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(cpu_products, "available", lambda: request.param)
    return request.param


def near(found, wanted):
    torch.testing.assert_close(found, wanted.to(found.dtype), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("n", "k", "m"), [(1, 32, 32), (63, 40, 33), (64, 33, 200), (1000, 8, 64), (300, 64, 8)])
def test_products_are_those_of_float64(onednn, n, k, m):
    torch.manual_seed(0)
    rows, others, bias, beside = torch.randn(n, k), torch.randn(m, k), torch.randn(m), torch.randn(n, m)
    near(by_rows(rows, others), rows.double() @ others.double().T)
    near(by_rows(rows, others, bias), functional.linear(rows.double(), others.double(), bias.double()))
    near(by_rows(rows, others.T.contiguous().T), rows.double() @ others.double().T)
    near(by_columns(rows, beside), rows.double().T @ beside.double())
    near(by_columns(beside, rows), beside.double().T @ rows.double())
    wanted = beside.double() - rows.double() @ others.double().T
    subtract(beside, rows, others)
    near(beside, wanted)


@pytest.mark.parametrize("shape", [(4500, 64), (45, 100, 64), (3, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_and_its_gradients_are_those_of_float64(onednn, shape, bias):
    torch.manual_seed(0)
    layer, rows = Linear(64, 96, bias=bias), torch.randn(shape, requires_grad=True)
    slope = torch.randn(*shape[:-1], 96)
    found = layer(rows)
    (found * slope).sum().backward()
    gradients = [rows.grad, *(one.grad for one in layer.parameters())]
    layer, wide = copy.deepcopy(layer).double(), rows.detach().double().requires_grad_()
    layer.zero_grad()
    wanted = functional.linear(wide, layer.weight, layer.bias)
    (wanted * slope).sum().backward()
    near(found, wanted)
    for one, other in zip(gradients, [wide.grad, *(one.grad for one in layer.parameters())], strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-3)


def test_a_gradient_of_a_gradient_is_right(onednn):
    torch.manual_seed(0)
    rows, weight = torch.randn(2048, 64, requires_grad=True), torch.randn(64, 64, requires_grad=True)

    def penalty(rows, weight, layer):
        (slope,) = torch.autograd.grad(layer(rows, weight).square().sum(), rows, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [rows, weight])

    wanted = penalty(
        rows.detach().double().requires_grad_(), weight.detach().double().requires_grad_(), functional.linear
    )
    for one, other in zip(penalty(rows, weight, linear), wanted, strict=True):
        torch.testing.assert_close(one / other.abs().max(), (other / other.abs().max()).float(), rtol=0, atol=1e-4)


def test_only_what_is_wanted_has_a_gradient(onednn):
    rows, weight = torch.randn(2048, 64), torch.randn(64, 64, requires_grad=True)
    linear(rows, weight).sum().backward()
    assert rows.grad is None and weight.grad.shape == weight.shape
    with torch.no_grad():
        assert not linear(rows, weight).requires_grad


@pytest.mark.parametrize(("vectors", "classes", "dim"), [(1, 40, 32), (37, 50, 48), (700, 3706, 32)])
def test_a_softmax_over_all_items_is_that_of_float64(onednn, vectors, classes, dim):
    torch.manual_seed(0)
    vector, item = torch.randn(vectors, dim, requires_grad=True), torch.randn(classes, dim, requires_grad=True)
    own = torch.randint(classes, (vectors,))
    loss = softmax_over(vector, item, own)
    wide = [one.detach().double().requires_grad_() for one in (vector, item)]
    wanted = functional.cross_entropy(wide[0] @ wide[1].T, own)
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=1e-5)
    for one, other in zip(torch.autograd.grad(loss, [vector, item]), torch.autograd.grad(wanted, wide)):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("vendor", "capability", "taken"),
    [
        ("AuthenticAMD", "AVX512", ONEDNN),
        ("GenuineIntel", "AVX512", False),
        ("AuthenticAMD", "AVX2", False),
        ("", "", False),
    ],
)
def test_whether_it_is_taken_depends_on_the_processor(monkeypatch, vendor, capability, taken):
    monkeypatch.setattr(cpu_products, "_vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr("sys.platform", "linux")
    assert cpu_products.available.__wrapped__() is taken


def test_other_kinds_of_numbers_are_left_to_torch(onednn, monkeypatch):
    def fail(*_):
        raise AssertionError("multiplied by oneDNN")

    monkeypatch.setattr(cpu_products, "_product", fail)
    rows, others = torch.randn(100, 64, dtype=torch.float64), torch.randn(50, 64, dtype=torch.float64)
    near(by_rows(rows, others), rows @ others.T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert by_rows(rows.float(), others.float()).dtype == torch.bfloat16


@pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN")
def test_a_matrix_with_gaps_is_copied(monkeypatch):
    """oneDNN would take hundreds of times as long."""
    given = []
    product = torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *args: given.append(args[:2]) or product(*args))
    monkeypatch.setattr(cpu_products, "available", lambda: True)
    wide = torch.randn(100, 90)
    rows, others = wide[:, :40], wide[:50, 50:]
    near(by_rows(rows, others), rows.double() @ others.double().T)
    near(by_rows(others, rows[:33]), others.double() @ rows[:33].double().T)
    near(by_columns(wide[:, ::2], rows), wide[:, ::2].double().T @ rows.double())
    slope = torch.ones(()).expand(64, 50)
    near(by_columns(slope, wide[:64, :40]), slope.double().T @ wide[:64, :40].double())
    assert len(given) == 4
    assert all(one.is_contiguous() or one.T.is_contiguous() for pair in given for one in pair)
