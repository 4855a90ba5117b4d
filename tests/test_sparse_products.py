"""Products of sparse matrices with vectors: the compiled loop against dense matrices, in values and gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kgrec.nn import Adjacency
from kgrec.nn.propagation import csr_matrix, multiplied


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def sparse(rows: int, columns: int, seed: int = 0) -> Tensor:
    """A dense matrix with a third of its entries. Its first, third and last row are empty, as its second column is."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(rows, columns, generator=generator)
    dense *= torch.rand(rows, columns, generator=generator) < 1 / 3
    dense[[0, 2, -1]] = 0
    dense[:, 1] = 0
    return dense


def in_csr(dense: Tensor, kind: torch.dtype = torch.int32) -> Tensor:
    row, column = dense.nonzero(as_tuple=True)
    ptr = functional.pad(torch.bincount(row, minlength=len(dense)).cumsum(0), (1, 0))
    return csr_matrix(ptr.to(kind), column.to(kind), dense[row, column], tuple(dense.shape))


def adjacency(dense: Tensor) -> Adjacency:
    row, column = dense.nonzero(as_tuple=True)
    ptr = functional.pad(torch.bincount(row, minlength=len(dense)).cumsum(0), (1, 0))
    return Adjacency(ptr, column, dense[row, column], dense.shape[1])


@pytest.mark.parametrize("width", [1, 5, 16, 32, 48, 64, 80, 112, 144])
@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_a_product_is_that_of_a_dense_matrix(width: int, kind: torch.dtype) -> None:
    dense, x = sparse(13, 9), torch.randn(9, width, generator=torch.Generator().manual_seed(1))
    base = torch.randn(13, width, generator=torch.Generator().manual_seed(2))
    matrix = in_csr(dense, kind)
    torch.testing.assert_close(multiplied(matrix, x), dense @ x)
    torch.testing.assert_close(multiplied(matrix, x, base, 0.25), (base + dense @ x) / 4)
    turned = torch.randn(width, 9, generator=torch.Generator().manual_seed(3)).T  # its rows are not contiguous
    torch.testing.assert_close(multiplied(matrix, turned), dense @ turned)


def test_a_product_is_the_same_for_any_number_of_threads() -> None:
    """40 threads are more than the matrix has rows: some have nothing to do."""
    matrix, x = in_csr(sparse(30, 50)), torch.randn(50, 48)
    found = []
    for threads in (1, 2, 3, 40):
        torch.set_num_threads(threads)
        found.append(multiplied(matrix, x))
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_a_matrix_without_entries(rows: int) -> None:
    matrix, base = in_csr(torch.zeros(rows, 3)), torch.ones(rows, 16)
    assert torch.equal(multiplied(matrix, torch.ones(3, 16)), torch.zeros(rows, 16))
    assert torch.equal(multiplied(matrix, torch.ones(3, 16), base, 0.5), torch.full((rows, 16), 0.5))


@pytest.mark.parametrize("width", [3, 64])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_the_mean_of_layers_and_its_gradient(width: int, layers: int) -> None:
    dense = sparse(8, 8) / 3
    x = torch.randn(8, width, generator=torch.Generator().manual_seed(1)).requires_grad_()
    wanted, power = x, x
    for _ in range(layers):
        power = dense @ power
        wanted = wanted + power
    wanted = wanted / (layers + 1)
    found = adjacency(dense).mean_of_layers(x, layers)
    torch.testing.assert_close(found, wanted)
    weight = torch.randn(8, width, generator=torch.Generator().manual_seed(2))
    gradients = [torch.autograd.grad((one * weight).sum(), x)[0] for one in (found, wanted)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("width", [3, 32])
def test_vectors_with_their_sums_have_the_gradients_of_both(width: int) -> None:
    dense = sparse(8, 8)
    x = torch.randn(8, width, generator=torch.Generator().manual_seed(1)).requires_grad_()
    own, sums = adjacency(dense).with_own(x)
    assert torch.equal(own, x)
    torch.testing.assert_close(sums, dense @ x)
    gradients = [
        torch.autograd.grad((one * other.square()).sum(), x)[0] for one, other in ((own, sums), (x, dense @ x))
    ]
    torch.testing.assert_close(*gradients)
    (of_own,) = torch.autograd.grad(adjacency(dense).with_own(x)[0].sum(), x)  # the sums are not used
    assert torch.equal(of_own, torch.ones(8, width))
