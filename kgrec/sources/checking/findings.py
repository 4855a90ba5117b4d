"""One problem or note about a recipe, its files or a graph folder."""

from __future__ import annotations

from dataclasses import dataclass

from kgrec.errors import Fault, Severity


@dataclass(frozen=True)
class Problem:
    """Where the problem is, what it is, and how bad it is. An error stops a build or a run, or makes its graph wrong;
    a note does not."""

    file: str  #: as it is written in the recipe, or its path in the graph folder
    message: str  #: what was found, what was expected, what to do
    kind: str  #: such as "missing file", "bad number", "dangling id", "bad RDF"
    severity: Severity = "error"  #: error or note
    line: int | None = None  #: from 1; where a file has no lines, the same as `row`
    value: str | None = None  #: the value that was found
    column: str | int | None = None  #: the name of a table's column; for RDF and JSON, the character in the line
    row: int | None = None  #: from 1: a row of a Parquet file, an entry of a JSON object, or an answer of a query
    unit: str = "line"  #: what `line` counts: line, row, entry or answer

    def __str__(self) -> str:
        place = f" {self.unit} {self.line}" if self.line is not None else ""
        character = f"column {self.column}: " if isinstance(self.column, int) else ""
        return f"{self.severity}: {self.file}{place}: {character}{self.message}"


def problem_of(fault: Fault, file: str, kind: str = "bad data") -> Problem:
    """A fault as a finding. file, kind: used where the fault has none.

    >>> fault = Fault("w 'two' is not a number", "r.parquet", 2, "w", "two", "bad number", unit="row")
    >>> problem = problem_of(fault, "?")
    >>> print(problem)
    error: r.parquet row 2: w 'two' is not a number
    >>> problem.column, problem.value, problem.kind
    ('w', 'two', 'bad number')
    """
    return Problem(
        fault.file or file,
        fault.message,
        fault.kind or kind,
        fault.severity,
        fault.row,
        fault.value,
        fault.column,
        None if fault.unit == "line" else fault.row,
        fault.unit,
    )
