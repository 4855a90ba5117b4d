"""Errors that a user can act on. They say what was found, what was wanted, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal, NamedTuple

Severity = Literal["error", "note"]


class Fault(NamedTuple):
    """One problem, and where it is. Programs read the fields; `str` gives the sentence for a person.

    >>> print(Fault("rating '6' is not in 1..5; fix the row", "ratings.csv", 812, "rating", "6", "out of range"))
    ratings.csv line 812: rating '6' is not in 1..5; fix the row
    >>> print(Fault("is empty; it must have a line for each row", "ratings.csv", kind="empty file", file_is="subject"))
    ratings.csv is empty; it must have a line for each row
    """

    message: str  #: what was found, what was wanted, what to do
    file: str | None = None  #: path or URL, as the user wrote it
    row: int | None = None  #: number of the line, row, entry or answer (see `unit`), from 1
    column: str | int | None = None  #: the name of a table's column; in other texts, the character in the line, from 1
    value: str | None = None  #: what was found there
    kind: str | None = None  #: such as "missing file", "bad number", "dangling id", "bad RDF"
    severity: Severity = "error"  #: a note does not stop anything
    unit: str = "line"  #: what `row` counts: line, row, entry or answer
    file_is: Literal["place", "subject", "named"] = "place"
    """Where the file is in the sentence: before it (with the row), as its subject, or already in the message."""

    @property
    def place(self) -> str:
        """The row and the column as words; "" if neither is known."""
        row = f" {self.unit} {self.row}" if self.row is not None else ""
        return f"{row} column {self.column}" if isinstance(self.column, int) else row

    def __str__(self) -> str:
        if self.file is None or self.file_is == "named":
            return self.message
        if self.file_is == "subject":
            return f"{self.file} {self.message}"
        return f"{self.file}{self.place}: {self.message}"


class KgrecError(Exception):
    """An error in the data, in the options or in a run. The command line prints the message and exits with code 1.

    message: the sentence, or a Fault. The other arguments are the fields of the Fault that is made from a sentence.
    They are also attributes of the error: `file`, `row`, `column`, `value`, `kind`.
    """

    def __init__(
        self,
        message: str | Fault,
        *,
        file: str | None = None,
        row: int | None = None,
        column: str | int | None = None,
        value: str | None = None,
        kind: str | None = None,
    ) -> None:
        self.faults = [message if isinstance(message, Fault) else Fault(message, file, row, column, value, kind)]
        super().__init__(str(self.faults[0]))  # only one argument, so that the error can be pickled

    def become(self, faults: Iterable[Fault]) -> None:
        """Replace the faults, for example to use other names of files."""
        self.faults = list(faults)
        self.args = ("\n".join(map(str, self.faults)),)

    @property
    def fault(self) -> Fault:
        """The problem; the first if there are several."""
        return self.faults[0]

    @property
    def file(self) -> str | None:
        """The file of the problem; None if it is in no file."""
        return self.fault.file

    @property
    def row(self) -> int | None:
        """The line or row of the problem, from 1; None if it has none."""
        return self.fault.row

    @property
    def column(self) -> str | int | None:
        """The column, by name or by character; None if it has none."""
        return self.fault.column

    @property
    def value(self) -> str | None:
        """The wrong value as a text; None if there is none, or if it is too long to show."""
        return self.fault.value

    @property
    def kind(self) -> str | None:
        """The kind of problem, such as "bad number"; None if it has none."""
        return self.fault.kind


class TrackingWarning(UserWarning):
    """What follows a training, such as MLflow, has failed or lacks something. The command line shows it as a note."""


class UnknownName(KgrecError):
    """An unknown name of a relation, model, metric, field, id or the like."""


class BadData(KgrecError):
    """Problems in files: `faults` has each problem, and `problems` one line for each."""

    def __init__(
        self,
        faults: str | Fault | Iterable[str | Fault],
        *,
        file: str | None = None,
        row: int | None = None,
        column: str | int | None = None,
        value: str | None = None,
        kind: str | None = None,
    ) -> None:
        listed = [faults] if isinstance(faults, str | Fault) else list(faults)
        super().__init__("", file=file, row=row, column=column, value=value, kind=kind)
        self.faults = [f if isinstance(f, Fault) else Fault(f, file, row, column, value, kind) for f in listed]
        self.args = ("\n".join(self.problems),)

    @property
    def problems(self) -> list[str]:
        """One line for each problem."""
        return [str(fault) for fault in self.faults]


def unknown_name(what: str, name: str, known: Iterable[str], where: str = "") -> UnknownName:
    """The error for a name that is not among `known`. It names the most similar known name.

    >>> print(unknown_name("model", "eaze", ["ease", "mf"]))
    no model 'eaze'; did you mean 'ease'? There are: ease, mf
    >>> print(unknown_name("relation", "bought", ["rated", "has_genre"], where="in this graph"))
    no relation 'bought' in this graph; there are: rated, has_genre
    """
    names = [str(n) for n in known]
    place = f" {where}" if where else ""
    near = nearest(str(name), names)
    shown = ", ".join(names[:30]) + (f", ... ({len(names)} in all)" if len(names) > 30 else "")
    listing = f"there are: {shown}" if names else "there are none"
    if near:
        listing = f"did you mean {near!r}? {listing[0].upper()}{listing[1:]}"
    return UnknownName(f"no {what} {name!r}{place}; {listing}", value=str(name))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to a wrong one; None if none is similar. Upper and lower case are the same,
    and so are `_`, `-` and a space.

    >>> nearest("NDCG", ["recall", "ndcg"]), nearest("Hit-Rate", ["hit_rate", "mrr"]), nearest("xyz", ["ndcg"])
    ('ndcg', 'hit_rate', None)
    """
    plain: dict[str, str] = {}
    for one in known:
        plain.setdefault(_plain(one), one)
    found = get_close_matches(_plain(name), plain, n=1)
    return plain[found[0]] if found else None


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")


def some(values: Iterable[object], most: int = 5) -> str:
    """The first few values in quotes, and the number of the others.

    >>> some(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    values = list(values)
    shown = ", ".join(repr(v) for v in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"
