"""The wanted columns of a file, before they are converted to their types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from kgrec.errors import Fault


class Wanted(NamedTuple):
    """The form in which a parser may give a column."""

    type: pa.DataType  #: the wanted type; a text parser may give strings instead
    lists: bool = False  #: whether a value may be a list of values


@dataclass(frozen=True, eq=False)
class RawTable:
    """Rows of one file by column: strings, ids as codes, lists of strings, or the types of a binary file."""

    columns: Mapping[str, pa.ChunkedArray]
    places: Callable[[], np.ndarray] | None  #: int [n], the line or row of each; None: only `careful` reading knows
    faults: list[Fault] = field(default_factory=list)  #: rows that are left out already, each with its place
    hidden: int = 0  #: more such rows, which are not listed
    share: float = 1.0  #: how much of the file has been read after these rows, as an estimate

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def after(self, count: int) -> RawTable:
        """The same without its first rows."""
        places = self.places
        if not count:
            return self
        return replace(
            self,
            columns={name: column.slice(count) for name, column in self.columns.items()},
            places=None if places is None else lambda: places()[count:],
        )


def numbered(count: int, first: int = 1) -> Callable[[], np.ndarray]:
    """The places of rows that are numbered from `first`."""
    return lambda: np.arange(first, first + count)
