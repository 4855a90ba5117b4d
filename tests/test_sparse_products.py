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
@pytest.mark.parametrize("height", [8, 5])
def test_vectors_their_sums_and_some_of_them_have_the_gradients_of_all_three(width: int, height: int) -> None:
    """A square matrix, and one with fewer rows, where the vectors themselves are not used."""
    dense, rows = sparse(height, 8), torch.tensor([6, 1, 3])
    x = torch.randn(8, width, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = adjacency(dense).with_rows(x, rows)
    wanted = x, dense @ x, x[rows]
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other)

    def gradient(own: Tensor, sums: Tensor, of_rows: Tensor) -> Tensor:
        value = sums.square().sum() + of_rows.pow(3).sum()
        value = value + (own * sums).sum() if height == 8 else value
        return torch.autograd.grad(value, x, retain_graph=True)[0]

    torch.testing.assert_close(gradient(*found), gradient(*wanted))
    assert torch.equal(torch.autograd.grad(found[0].sum(), x, retain_graph=True)[0], torch.ones(8, width))
    (of_rows,) = torch.autograd.grad(found[2].sum(), x)  # neither the vectors nor the sums are used
    assert of_rows.sum(1).tolist() == [0, width, 0, width, 0, 0, width, 0]


@pytest.mark.parametrize("width", [3, 48])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("first", [0, 3, 7])
def test_the_mean_over_two_tables_is_that_of_their_rows(width: int, layers: int, first: int) -> None:
    """7 rows in two tables, of which one may be empty; each has a row of zeros behind them, before and after."""
    matrix, generator = adjacency(sparse(7, 7)), torch.Generator().manual_seed(1)
    x = torch.randn(7, width, generator=generator).requires_grad_()
    tables = [functional.pad(part, (0, 0, 0, 1)).detach().requires_grad_() for part in x.split([first, 7 - first])]
    found = matrix.mean_over_tables(*tables, layers)
    assert [len(one) for one in found] == [first + 1, 8 - first]
    assert all(not one[-1].any() for one in found)
    wanted = matrix.mean_of_layers(x, layers)
    torch.testing.assert_close(torch.cat([one[:-1] for one in found]), wanted)
    weight = torch.randn(7, width, generator=generator)
    (of_x,) = torch.autograd.grad((wanted * weight).sum(), x)
    loss = sum(((one[:-1] * part).sum() for one, part in zip(found, weight.split([first, 7 - first]))), torch.zeros(()))
    gradients = torch.autograd.grad(loss, tables)
    torch.testing.assert_close(torch.cat([one[:-1] for one in gradients]), of_x)
    assert all(not one[-1].any() for one in gradients)
