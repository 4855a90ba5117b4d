"""Moments as people say them, and as unix seconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from kgrec.errors import KgrecError
from kgrec.graph import NO_TIME


def moment(value: Any) -> int:
    """Unix seconds of a moment: a number of seconds, a datetime, or a text of one of them; UTC where it names no zone.

    >>> moment("2026-11-29 12:00"), moment("1700000000"), moment(3.9)
    (1795953600, 1700000000, 3)

    Raises KgrecError for anything else."""
    found = value
    if isinstance(value, str):
        try:
            is_number = value.strip().lstrip("+-").replace(".", "", 1).isdigit()
            found = float(value) if is_number else datetime.fromisoformat(value.strip())
        except ValueError:
            found = None
    if isinstance(found, datetime):
        found = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or abs(found) > 2**53:
        raise KgrecError(f"now is {value!r}; unix seconds, or a moment such as 2026-11-29T12:00, is wanted")
    return math.floor(found)


def said(seconds: int) -> str:
    """A moment as text.

    >>> said(0)
    '1970-01-01T00:00:00Z'
    """
    if seconds == NO_TIME:
        return "an unknown time"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:,} s"
