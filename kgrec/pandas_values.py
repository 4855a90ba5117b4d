"""Whether values are of pandas, asked without importing it, which takes a third of a second. Where nothing has imported
pandas, no value is of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TypeGuard

    import pandas as pd


def is_frame(values: object) -> TypeGuard[pd.DataFrame]:
    """Whether this is a DataFrame."""
    return _is("DataFrame", values)


def is_series(values: object) -> TypeGuard[pd.Series[Any]]:
    """Whether this is a Series."""
    return _is("Series", values)


def is_column(values: object) -> TypeGuard[pd.Series[Any] | pd.Index[Any]]:
    """Whether this is a Series or an Index."""
    return _is("Series", values) or _is("Index", values)


def _is(name: str, values: object) -> bool:
    return isinstance(values, getattr(sys.modules.get("pandas"), name, ()))
