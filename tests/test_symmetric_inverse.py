"""The inverse by blocks, as NumPy has it."""

import numpy as np
import pytest
import torch

from kgrec.nn import symmetric_inverse
from kgrec.nn.symmetric_inverse import mirror, negative_inverse


def positive_definite(size: int) -> torch.Tensor:
    rows = torch.randn(2 * size, size, generator=torch.Generator().manual_seed(size))
    return rows.T @ rows + torch.eye(size)


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("BLOCK", 16), ("TALL", 10), ("WIDE", 24)):
        monkeypatch.setattr(symmetric_inverse, name, number)


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("size", [1, 3, 16, 17, 61, 128])
def test_the_lower_triangle_is_that_of_the_inverse(size: int) -> None:
    """Above the diagonal is nothing to read."""
    matrix = positive_definite(size)
    expected = -np.linalg.inv(matrix.double().numpy())
    held = matrix.tril() + torch.full_like(matrix, torch.nan).triu(1)
    found = negative_inverse(held)
    assert found is held
    np.testing.assert_allclose(found.tril(), np.tril(expected), atol=1e-5 * np.abs(expected).max())


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("size", [1, 16, 45])
def test_the_other_triangle_is_filled_and_columns_are_divided(size: int) -> None:
    matrix, by = positive_definite(size), torch.arange(1, size + 1).float()
    assert torch.equal(
        mirror(matrix.tril() + torch.full_like(matrix, 9).triu(1), by), matrix.tril() / by + matrix.tril(-1).T / by
    )


@pytest.mark.parametrize("size", [100, 1000])
def test_any_number_of_threads_gives_the_same(size: int) -> None:
    matrix, before, found = positive_definite(size), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(mirror(negative_inverse(matrix.clone()), torch.ones(size)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_matrix_that_is_not_positive_definite_is_refused() -> None:
    matrix = positive_definite(1000)
    matrix[900, 900] = -1
    with pytest.raises(torch.linalg.LinAlgError, match="not positive-definite"):
        negative_inverse(matrix)
