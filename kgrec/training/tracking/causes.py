"""Errors of trackers in one line, and warnings of them."""

from __future__ import annotations

import warnings

from kgrec.errors import KgrecError, TrackingWarning


def warn(message: str) -> None:
    """Warn of something about trackers. The command line shows it as a note."""
    warnings.warn(message, TrackingWarning, stacklevel=3)


def root_of(error: BaseException) -> BaseException:
    """The error from which the others came."""
    while (below := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = below
    return error


def cause_of(error: BaseException) -> str:
    """The message of the error from which the others came: its first line, with its type.

    >>> cause_of(ValueError("wrong\\nsecond line")), cause_of(ConnectionResetError())
    ('ValueError: wrong', 'ConnectionResetError')
    >>> cause_of(KgrecError("the message of kgrec"))
    'the message of kgrec'
    """
    root = root_of(error)
    first = (str(root).strip().splitlines() or [""])[0]
    if isinstance(root, KgrecError) or not first:
        return first or type(root).__name__
    return f"{type(root).__name__}: {first}"
