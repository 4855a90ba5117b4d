"""What a file gives of the columns that are wanted, before they are typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from kgrec.errors import Fault


class Wanted(NamedTuple):
    """How a parser may give a column."""

    type: pa.DataType  #: the type that it may have; a text parser may give strings instead
    lists: bool = False  #: whether a value may be a list of values


@dataclass(frozen=True, eq=False)
class RawTable:
    """Rows of one file by column: strings, ids as codes, lists of strings, or the types that a binary file has."""

    columns: Mapping[str, pa.ChunkedArray]
    places: Callable[[], np.ndarray] | None  #: int [n], the line or row of each; None: only `careful` reading says
    faults: list[Fault] = field(default_factory=list)  #: rows that are left out already, each with its place
    hidden: int = 0  #: more of them, which are not listed


def numbered(count: int) -> Callable[[], np.ndarray]:
    """Rows that are counted from 1."""
    return lambda: np.arange(1, count + 1)
