"""Arrays on disk: the same values as in memory, some rows at a time, in files that have no name."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kgrec.errors import KgrecError
from kgrec.large_arrays import (
    DiskArrays,
    GrowingArray,
    arrays_on_disk,
    bytes_of,
    chosen,
    concatenated,
    counts,
    empty,
    looked_up,
    parts_by_key,
    require_memory,
    spans,
)


@pytest.fixture
def small_parts(tmp_path):
    return DiskArrays(tmp_path, 1 << 40, small=0, rows=7, text=1)


@pytest.mark.parametrize("seed", range(5))
def test_operations_are_those_of_numpy(small_parts, seed):
    rng = np.random.default_rng(seed)
    number = int(rng.integers(0, 60))
    values = rng.integers(0, 9, number)
    mask, table = rng.random(number) < 0.5, rng.random(9)
    with arrays_on_disk(small_parts):
        assert chosen(values, mask).tolist() == values[mask].tolist()
        assert looked_up(table, values).tolist() == table[values].tolist()
        assert counts(values, 9, mask).tolist() == np.bincount(values[mask], minlength=9).tolist()
        assert concatenated([values, values[:3]]).tolist() == [*values, *values[:3]]
        assert [row for span in spans(number) for row in range(number)[span]] == list(range(number))
        parts = list(parts_by_key(values, "rows"))
        assert sorted(np.concatenate([np.empty(0, int), *parts]).tolist()) == list(range(number))
        for part, after in itertools.pairwise(parts):
            assert values[part].max() < values[after].min() and (np.diff(part) > 0).all()
        grown = GrowingArray(values.dtype)
        for span in spans(number):
            grown.add(values[span])
        assert grown.array().tolist() == values.tolist()


def test_a_large_array_is_a_file_without_a_name_that_is_kept_while_it_is_used(tmp_path):
    with arrays_on_disk(DiskArrays(tmp_path, 1 << 40, small=100, rows=10, text=1)):
        small, large, rows = empty(10, np.int64), empty((2, 10), np.int64), GrowingArray(np.int32, 2)
        rows.add(np.arange(40, dtype=np.int32).reshape(20, 2))
        found = rows.array()
    large[:] = 7
    assert list(tmp_path.iterdir()) == []
    assert small.base is None and large.base is not None and large.sum() == 140
    assert found.shape == (20, 2) and found[-1].tolist() == [38, 39]


def test_one_key_for_more_rows_than_fit_is_said(tmp_path):
    keys = np.array([1] * 90 + [2] * 10)
    with arrays_on_disk(DiskArrays(tmp_path, 64 * 50, small=0, rows=20, text=1)):
        said = "90 rows of r.csv that must be compared with each other take .* set --memory 250MB or more"
        with pytest.raises(KgrecError, match=said):
            list(parts_by_key(keys, "rows of r.csv"))


def test_what_must_be_in_memory_is_estimated_from_what_was_read(tmp_path):
    require_memory(1 << 50, "all ids")  # arrays are in memory, where nothing is asked
    with arrays_on_disk(DiskArrays.within(2_000_000_000, tmp_path)):
        require_memory(1_500_000_000, "all ids")
        said = (
            r"all ids take 1\.6 GB of memory after 30% of the data, and the limit is 2\.0 GB, .* --memory 8GB or more"
        )
        with pytest.raises(KgrecError, match=said):
            require_memory(1_600_000_000, "all ids", share=0.3)
        require_memory(400_000_000, "user ids", held="user ids")
        require_memory(500_000_000, "user ids", held="user ids")
        require_memory(1_000_000_000, "item ids", held="item ids")
        said = r"item ids take 1\.1 GB of memory \(beside 500 MB for user ids\), .* set --memory 3GB or more"
        with pytest.raises(KgrecError, match=said):
            require_memory(1_100_000_000, "item ids", held="item ids")


def test_sizes_are_read_as_people_write_them():
    assert [bytes_of(text) for text in ("2GB", "1.5g", "512 MiB")] == [2_000_000_000, 1_500_000_000, 512 << 20]
    for wrong, said in {"much": "is not a size", "-2GB": "is not a size", "2MB": "set at least 250MB"}.items():
        with pytest.raises(KgrecError, match=said):
            bytes_of(wrong)
    with pytest.raises(KgrecError, match="set at most"):
        bytes_of("9999999TB")
