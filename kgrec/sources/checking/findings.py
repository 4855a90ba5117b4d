"""One thing that is wrong, or worth a note, in a recipe, in its files or in a graph folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "note"]


@dataclass(frozen=True)
class Problem:
    """Where, what, and how bad. An error stops a build or a run, or makes its graph wrong; a note does not."""

    file: str  #: as the recipe says it, or as it stands in the graph folder
    message: str  #: what was found, what was wanted, what to do
    kind: str  #: such as "missing file", "bad number", "dangling id", "bad RDF"
    severity: Severity = "error"
    line: int | None = None  #: from 1; of a Parquet file, the row
    value: str | None = None  #: what was found there

    def __str__(self) -> str:
        place = f" line {self.line}" if self.line else ""
        return f"{self.severity}: {self.file}{place}: {self.message}"


KINDS: tuple[tuple[str, str], ...] = (
    (r"is not there|lacks its file", "missing file"),
    (r"is empty; it must|is empty; take it out|has no rows|has no good row|has no triples", "empty file"),
    (r"no column", "missing column"),
    (r"in the future", "future time"),
    (r"no number of unix seconds|is no time|is too great to be in", "bad time"),
    (r"is not a number|no number|is not 0 or 1", "bad number"),
    (r"is not in [-\d]", "out of range"),
    (r"has no row in", "dangling id"),
    (r"stands already|stand more than once|stand in several", "duplicate"),
    (r"are not in the graph|has not", "dangling id"),
    (r"truncated|altered", "altered file"),
    (r"is empty; mend", "missing value"),
    (r"no key|is missing|found ", "bad recipe"),
)
"""A pattern of an error's text -> the kind of problem, the first that is found."""

PLACE = re.compile(
    r"(?P<file>(?:(?!: ).)+?) (?:line|row|entry) (?P<line>\d+)(?: (?P<column>column \d+))?: (?P<message>.*)", re.DOTALL
)


def problem_of(text: str, file: str, kind: str = "bad data", severity: Severity = "error") -> Problem:
    """A problem of an error's line, such as `ratings.csv line 812: rating '6' is not in 1..5; mend the row`.

    file, kind: what to say where the line does not.

    >>> problem = problem_of("ratings.csv line 812: rating '6' is not in 1..5; mend the row", "?")
    >>> problem.file, problem.line, problem.value, problem.kind
    ('ratings.csv', 812, '6', 'out of range')
    """
    match = PLACE.match(text)
    named, _, rest = text.partition(": ")
    if match:
        file, line, message = match["file"], int(match["line"]), match["message"]
        message = f"{match['column']}: {message}" if match["column"] else message
    else:
        line, message = None, rest if named == file else text.removeprefix(f"{file} ")
    value = re.search(r"'((?:[^'\\]|\\.)*)'", message)
    found = next((name for pattern, name in KINDS if re.search(pattern, message)), kind)
    return Problem(file, message, found, severity, line, value[1] if value else None)


def problems_of(error: Exception, file: str, kind: str = "bad data", severity: Severity = "error") -> list[Problem]:
    """A problem for each line of an error."""
    lines: Iterable[str] = getattr(error, "problems", None) or str(error).splitlines()
    return [problem_of(line, file, kind, severity) for line in lines]
