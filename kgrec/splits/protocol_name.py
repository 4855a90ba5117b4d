"""The name of a protocol, under which results of rankings may be compared."""

from __future__ import annotations

from collections.abc import Collection


def protocol_name(
    divided: str,
    ranked: str = "full ranking",
    *,
    clicks_alone: bool = False,
    exclude: Collection[str] = (),
    repeats: str | None = None,
    without_history: bool = False,
) -> str:
    """divided: how edges were held out; ranked: among what. exclude: behaviours that are left out of the lists;
    repeats: what became of them, where that is to be said; without_history: whether users without a history are
    measured, of whom a model that knows nothing else ranks by popularity.

    >>> protocol_name("last_n:1", exclude=["viewed", "carted"], repeats="skip")
    'last_n:1; full ranking, excluding carted, viewed, repeats skip'
    """
    alone = "; clicks alone" if clicks_alone else ""
    left_out = f", excluding {', '.join(sorted(set(exclude)))}" if exclude else ""
    said = f", repeats {repeats}" if repeats is not None else ""
    served = "; users without history by popularity" if without_history else ""
    return f"{divided}{alone}; {ranked}{left_out}{said}{served}"
