"""Counts of common users and nearest items, as NumPy has them."""

import numpy as np
import pytest

from kgrec.nn import common_users
from kgrec.nn.common_users import ItemUsers, count_common, nearest_items


def drawn(num_users: int, num_items: int, share: float, seed: int = 0) -> np.ndarray:
    """A 0-1 matrix [U, I]; the last item has no users."""
    x = (np.random.default_rng(seed).random((num_users, num_items)) < share).astype(np.float32)
    x[:, -1] = 0
    return x


def users_of(x: np.ndarray) -> ItemUsers:
    user_ptr = np.append(0, x.sum(0).cumsum()).astype(np.int64)
    item_ptr = np.append(0, x.sum(1).cumsum()).astype(np.int64)
    by_item, by_user = np.nonzero(x.T)[1], np.nonzero(x)[1]
    return ItemUsers(user_ptr, by_item.astype(np.int32), item_ptr, by_user.astype(np.int32))


@pytest.mark.parametrize(("num_items", "rows"), [(1, 1), (37, 5), (130, 64), (130, 1000)])
def test_counts_are_the_lower_triangle_of_the_product(num_items: int, rows: int) -> None:
    x = drawn(53, num_items, 0.2)
    found = np.full((num_items, num_items), 7, np.float32)
    for start in range(0, num_items, rows):
        count_common(start, min(start + rows, num_items), *users_of(x), found)
    assert np.array_equal(found, np.tril(x.T @ x) + 7)


def nearest(
    x: np.ndarray, most: int, rows: int, weight: float, shrink: float, more: np.ndarray | None, kernel=nearest_items
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbors and similarities of all items, `rows` of them at a time."""
    size, length = x.shape[1], lengths(x, weight, more)
    neighbor, similarity = np.full((size, most), -1, np.int64), np.full((size, most), -1, np.float32)
    for start in range(0, size, rows):
        stop = min(start + rows, size)
        part = np.empty((0, size), np.float32) if more is None else more[start:stop]
        kernel(start, stop, *users_of(x), float(weight), length, float(shrink), part, neighbor, similarity)
    return neighbor, similarity


def lengths(x: np.ndarray, weight: float, more: np.ndarray | None) -> np.ndarray:
    return np.sqrt(weight * x.sum(0) + (0 if more is None else more.diagonal())).astype(np.float32)


def first_of_all_sorted(
    x: np.ndarray, most: int, weight: float, shrink: float, more: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The same by sorting all similarities: the highest first, of equal ones the lowest number."""
    length = lengths(x, weight, more)
    common = np.float32(weight) * (x.T @ x) + (0 if more is None else more)
    similarity = common / np.maximum(np.outer(length, length) + np.float32(shrink), np.float32(1e-12))
    np.fill_diagonal(similarity, 0)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
    return order, np.take_along_axis(similarity, order, 1)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.004])  # many, some and hardly any common users
@pytest.mark.parametrize(("most", "rows"), [(1, 200), (10, 7), (83, 64)])
def test_neighbors_are_the_first_of_all_sorted(share: float, most: int, rows: int) -> None:
    x = drawn(61, 83, share)
    expected_neighbor, expected = first_of_all_sorted(x, most, 1, 2.5, None)
    neighbor, similarity = nearest(x, most, rows, 1, 2.5, None)
    assert np.array_equal(similarity, expected)
    assert np.array_equal(neighbor[expected > 0], expected_neighbor[expected > 0])
    assert all(len(set(row)) == most for row in neighbor.tolist())  # where none is left, others follow, each once


def test_looking_at_counted_items_alone_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for no item, and once for all of them."""
    x = drawn(61, 83, 0.1)
    monkeypatch.setattr(common_users, "FEW", 0)
    listed = nearest(x, 10, 30, 1, 0, None, nearest_items.py_func)
    monkeypatch.setattr(common_users, "FEW", 1 << 30)
    assert all(map(np.array_equal, listed, nearest(x, 10, 30, 1, 0, None, nearest_items.py_func)))
    assert np.array_equal(listed[1], first_of_all_sorted(x, 10, 1, 0, None)[1])


def test_other_products_are_added_also_where_they_are_negative() -> None:
    """Without users in common, and where all items are listed."""
    x, vectors = drawn(61, 83, 0.1), np.random.default_rng(1).normal(size=(83, 3)).astype(np.float32)
    more = vectors @ vectors.T
    expected_neighbor, expected = first_of_all_sorted(x, 83, 0.25, 0, more)
    neighbor, similarity = nearest(x, 83, 20, 0.25, 0, more)
    assert (expected[:, -1] < 0).all()
    assert np.array_equal(similarity, expected)
    assert np.array_equal(neighbor, expected_neighbor)
