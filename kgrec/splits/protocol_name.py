"""The name of a ranking protocol. Only results with the same name may be compared."""

from __future__ import annotations

from collections.abc import Collection

from kgrec.splits.answer_times import Now


def protocol_name(
    divided: str,
    ranked: str = "full ranking",
    *,
    clicks_alone: bool = False,
    exclude: Collection[str] = (),
    repeats: str | None = None,
    without_history: bool = False,
    now: Now = "unknown",
) -> str:
    """The protocol's name. divided: how edges were held out; ranked: which items were ranked. exclude: behaviours whose
    items are left out of the lists; repeats: how repeats were treated, None to leave it out of the name;
    without_history: whether users without a history are measured. For them, a model that knows nothing else about them
    ranks by popularity. now: whether models are told when each list is wanted.

    >>> protocol_name("last_n:1", exclude=["viewed", "carted"], repeats="skip")
    'last_n:1; full ranking, excluding carted, viewed, repeats skip'
    >>> protocol_name("last_n:1", now="edge")
    'last_n:1; full ranking, now=edge'
    """
    alone = "; clicks alone" if clicks_alone else ""
    left_out = f", excluding {', '.join(sorted(set(exclude)))}" if exclude else ""
    said = f", repeats {repeats}" if repeats is not None else ""
    served = "; users without history by popularity" if without_history else ""
    told = f", now={now}" if now != "unknown" else ""
    return f"{divided}{alone}; {ranked}{left_out}{said}{told}{served}"
