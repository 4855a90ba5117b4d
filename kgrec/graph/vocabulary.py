"""Vocabularies: they map external ids of nodes to local numbers, and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.arrow_arrays import number_array, numbers_in, truth_array
from kgrec.column_texts import texts_of_values
from kgrec.errors import BadData, UnknownName, some

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

MANY = 2  #: ids to find for each id there is, from which a new hash table of texts is quicker than `Vocabulary.index`


def as_strings(values: object, name: str = "id") -> pa.Array:
    """Converts any column of ids to a pyarrow string array: the text `007` stays `007`, the number 7 becomes `7`. name:
    the column's name, for messages.

    Raises BadData for values that cannot be written as one text: lists, bytes.
    """
    return texts_of_values(values, name)


class Vocabulary:
    """The external ids of one node type, in the order of their local numbers, and a label for each.

    >>> films = Vocabulary(["tt01", "tt02"], labels=["Alien", None])
    >>> films.numbers(["tt02", "tt01"]).tolist(), films.ids([1]), films.labels([0, 1])
    ([1, 0], ['tt02'], ['Alien', 'tt02'])
    """

    def __init__(self, ids: object, labels: object | None = None) -> None:
        self.id_array: pa.Array = as_strings(ids)  #: strings [N]
        if self.id_array.null_count:
            raise BadData(f"{self.id_array.null_count} nodes have no id", column="id", kind="missing value")
        self.label_array: pa.Array | None = (
            None if labels is None else as_strings(labels, "label")
        )  #: strings [N], null: none
        if self.label_array is not None and len(self.label_array) != len(self.id_array):
            raise BadData(f"{len(self.label_array)} labels for {len(self.id_array)} ids", kind="wrong length")

    def __len__(self) -> int:
        return len(self.id_array)

    @cached_property
    def index(self) -> pd.Index:
        """The ids with a hash table. Raises BadData if an id occurs more than once."""
        import pandas as pd  # takes its time to come

        index = pd.Index(self.id_array.to_numpy(zero_copy_only=False), dtype=object)
        if not index.is_unique:
            twice = index[index.duplicated()].unique()
            what = f"ids occur more than once: {some(twice)}"
            raise BadData(what, column="id", value=str(twice[0]), kind="duplicate")
        return index

    @cached_property
    def _is_unique(self) -> bool:
        return "index" in vars(self) or pc.count_distinct(self.id_array).as_py() == len(self)

    def find(self, ids: object) -> np.ndarray:
        """The local number of each id, -1 for an unknown one: int64 [n]."""
        names = as_strings(ids)
        if len(names) >= MANY * len(self):
            return self.find_once(names)
        import pandas as pd  # takes its time to come

        return np.asarray(self.index.get_indexer(pd.Index(names.to_pylist(), dtype=object)), dtype=np.int64)

    def find_once(self, names: pa.Array) -> np.ndarray:
        """The same for strings, without the hash table of `index`: quicker if nothing else is looked up later."""
        if not self._is_unique:
            _ = self.index  # raises
        unknown = number_array(np.full(len(names), -1, np.int32))
        return numbers_in(pc.coalesce(pc.index_in(names, value_set=self.id_array), unknown)).astype(np.int64)

    def numbers(self, ids: object, what: str = "id") -> Tensor:
        """The local number of each id: LongTensor [n]. Raises UnknownName with the unknown ids."""
        import torch  # takes its time to come

        names = as_strings(ids)
        found = self.find(names)
        self.require(names, found, what)
        return torch.from_numpy(found)

    def require(self, names: pa.Array, found: np.ndarray, what: str = "id") -> None:
        """Raise UnknownName if an id was not found. names: strings [n]; found: what `find` gave, int64 [n]."""
        if (found < 0).any():
            unknown = list(dict.fromkeys(names.filter(truth_array(found < 0)).to_pylist()))
            raise UnknownName(
                f"no {what} {some(unknown)} among the {len(self):,} known; known are such as {some(self.ids(range(3)))}"
            )

    def ids(self, numbers: Sequence[int] | Tensor | np.ndarray | range) -> list[str]:
        """The external ids of local numbers. Of a range, numbers past the last node are left out."""
        return self.id_array.take(self._positions(numbers)).to_pylist()

    def labels(self, numbers: Sequence[int] | Tensor | np.ndarray | range) -> list[str]:
        """The labels of local numbers, to be shown to people; the id where there is no label."""
        ids = self.ids(numbers)
        if self.label_array is None:
            return ids
        return [label or name for label, name in zip(self.label_array.take(self._positions(numbers)).to_pylist(), ids)]

    def _positions(self, numbers: Sequence[int] | Tensor | np.ndarray | range) -> pa.Array:
        if isinstance(numbers, range):
            numbers = range(numbers.start, min(numbers.stop, len(self)))
        return number_array(np.asarray(numbers, dtype=np.int64))

    def extended(self, ids: object, labels: object | None = None) -> Vocabulary:
        """The vocabulary with these ids appended. Raises BadData for an id that it already has."""
        new = Vocabulary(ids, labels)
        known = [name for name, number in zip(new.id_array.to_pylist(), self.find(new.id_array)) if number >= 0]
        if known:
            raise BadData(
                f"new ids are already in the graph: {some(known)}; leave them out", value=known[0], kind="duplicate"
            )
        all_ids = pa.concat_arrays([self.id_array, new.id_array])
        if self.label_array is None and new.label_array is None:
            return Vocabulary(all_ids)
        parts = [v.label_array if v.label_array is not None else pa.nulls(len(v), pa.string()) for v in (self, new)]
        return Vocabulary(all_ids, pa.concat_arrays(parts))
