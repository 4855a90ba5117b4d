"""Ids as codes, added part after part."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from kgrec.large_arrays import GrowingArray, require_memory
from kgrec.sources.rdf.numbering import Numbering, memory_of_ids


class CodedIds:
    """A column of ids as codes of its distinct ids, by first appearance.

    >>> column = CodedIds("user ids")
    >>> for part in (["a", "b", "a"], ["c", "b"]):
    ...     column.add(pa.array(part).dictionary_encode())
    >>> codes, ids = column.finished()
    >>> codes.tolist(), ids.to_pylist()
    ([0, 1, 0, 2, 1], ['a', 'b', 'c'])
    """

    def __init__(self, what: str) -> None:
        self._what = what  #: what they are, for messages
        self._codes = GrowingArray(np.int32)
        self._first: pa.Array | None = None  # the ids of the first part; others need a hash table
        self._numbering: Numbering | None = None

    def add(self, column: pa.DictionaryArray, share: float = 1.0) -> None:
        """Add rows. share: how much of the data has been read, as an estimate. Raises KgrecError where the ids do not
        fit into the memory of `kgrec.large_arrays`."""
        codes = column.indices.to_numpy()
        if self._first is None:
            self._first = column.dictionary
        else:
            if self._numbering is None:
                self._numbering = Numbering()
                self._numbering.numbers_of_array(self._first)
            codes = self._numbering.numbers_of_array(column.dictionary)[codes]
        self._codes.add(codes)
        count, size = len(self._first), self._first.nbytes
        if self._numbering is not None:
            count, size = len(self._numbering), self._numbering.text_bytes
        require_memory(memory_of_ids(count, size), f"{count:,} {self._what}", share, held=self._what)

    def finished(self) -> tuple[np.ndarray, pa.Array]:
        """int32 [n]: the codes; strings: the distinct ids. Nothing can be added afterwards."""
        if self._numbering is not None:
            return self._codes.array(), self._numbering.array()
        return self._codes.array(), pa.array([], pa.string()) if self._first is None else self._first
