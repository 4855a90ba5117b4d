"""The distinct pairs of source and target of edges, in which pairs can be looked up."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kgrec.large_arrays import GrowingArray, empty, on_disk, parts_by_key, spans


class DistinctPairs:
    """The distinct pairs of some edges. They have positions from 0, in no certain order.

    source, target: int64 [E], local numbers; num_targets: how many target nodes there are.

    >>> pairs = DistinctPairs(np.array([0, 1, 0]), np.array([2, 1, 2]), 3)
    >>> len(pairs), pairs.find(np.array([1, 2]), np.array([1, 1])).tolist()
    (2, [1, -1])
    """

    def __init__(self, source: np.ndarray, target: np.ndarray, num_targets: int) -> None:
        self._num_targets = num_targets
        keys = empty(len(source), np.int64)
        for span in spans(len(keys)):
            keys[span] = self._key(source[span], target[span])
        self._index = pd.Index(pd.unique(keys)) if on_disk() is None else None
        found = GrowingArray(np.int64)
        for rows in parts_by_key(keys, "edges") if self._index is None else ():
            found.add(np.unique(keys[rows]))
        self._sorted = found.array()  # int64 [P]

    def __len__(self) -> int:
        return len(self._sorted) if self._index is None else len(self._index)

    def find(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """int64 [n]: the position of each pair, -1 where there is none."""
        keys = np.where((source < 0) | (target < 0), -1, self._key(source, target))
        if self._index is not None:
            return self._index.get_indexer(pd.Index(keys))
        order = np.argsort(keys)  # so that neighbors are looked up one after the other
        place = np.searchsorted(self._sorted, keys[order])
        place[place == len(self._sorted)] = 0
        found = np.empty(len(keys), np.int64)
        found[order] = np.where(self._sorted[place] == keys[order], place, -1) if len(self._sorted) else -1
        return found

    def _key(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.asarray(source, np.int64) * self._num_targets + target
