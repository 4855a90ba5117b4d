"""The bad rows of files: an error in the end, or a count and a list."""

from __future__ import annotations

from typing import Literal

from kgrec.errors import BadData, Fault, Severity

MOST = 200  #: bad rows that are listed; the rest are counted

MEND = "mend the row or set on_bad_rows: report"


class BadRows:
    """Collects what is wrong with rows. With `on_bad_rows` error, `raise_if_refused` raises it all; with report, the
    rows are left out and the list stays for the build's report.

    keep_going: leave bad rows out even where they are errors, to find what else is wrong.
    """

    def __init__(self, on_bad_rows: Literal["error", "report"] = "error", *, keep_going: bool = False) -> None:
        self.faults: list[Fault] = []
        self.count = 0
        self.are_left_out = keep_going or on_bad_rows == "report"
        self._severity: Severity = "note" if on_bad_rows == "report" else "error"

    @property
    def lines(self) -> list[str]:
        """One line for each that is listed."""
        return [str(fault) for fault in self.faults]

    def add(self, fault: Fault) -> None:
        """One thing that is wrong with a row."""
        self.count += 1
        if len(self.faults) < MOST:
            self.faults.append(fault if fault.severity == self._severity else fault._replace(severity=self._severity))

    @property
    def is_full(self) -> bool:
        """Whether reading on would only repeat itself, since the build fails anyway."""
        return self.count >= MOST and not self.are_left_out

    def raise_if_refused(self) -> None:
        """Raise BadData with all bad rows so far, where they are errors."""
        if self.count and not self.are_left_out:
            more = [Fault(f"stopped after {MOST} problems", kind="bad row")] if self.is_full else []
            raise BadData([*self.faults, *more])
