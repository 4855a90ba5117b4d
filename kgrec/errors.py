"""Errors that a user can act on: what was found, what was wanted, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class KgrecError(Exception):
    """The data or the run failed. The command line prints the message and exits with code 1."""


class UnknownName(KgrecError):
    """A name that is not there: a relation, a model, a metric, a field, an id."""


class BadData(KgrecError):
    """Files that do not say what they should. `problems` holds one line for each thing that is wrong."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def unknown_name(what: str, name: str, known: Iterable[str], where: str = "") -> UnknownName:
    """The error for a name that is not among `known`, with the nearest one named.

    >>> print(unknown_name("model", "eaze", ["ease", "mf"]))
    no model 'eaze'; did you mean 'ease'? There are: ease, mf
    >>> print(unknown_name("relation", "bought", ["rated", "has_genre"], where="in this graph"))
    no relation 'bought' in this graph; there are: rated, has_genre
    """
    names = [str(n) for n in known]
    place = f" {where}" if where else ""
    near = get_close_matches(str(name), names, n=1)
    shown = ", ".join(names[:30]) + (f", ... ({len(names)} in all)" if len(names) > 30 else "")
    listing = f"there are: {shown}" if names else "there are none"
    if near:
        return UnknownName(f"no {what} {name!r}{place}; did you mean {near[0]!r}? {listing[0].upper()}{listing[1:]}")
    return UnknownName(f"no {what} {name!r}{place}; {listing}")


def some(values: Iterable[object], most: int = 5) -> str:
    """The first few values in quotes, and how many more there are.

    >>> some(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    values = list(values)
    shown = ", ".join(repr(v) for v in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"
