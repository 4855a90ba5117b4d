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
        self._keep_going = keep_going
        self._on_bad_rows = on_bad_rows

    @property
    def lines(self) -> list[str]:
        """One line for each that is listed."""
        return [str(fault) for fault in self.faults]

    def of(self, on_bad_rows: Literal["error", "report"] | None) -> TableRows:
        """Those of one table. on_bad_rows: what its recipe says; None: as for all."""
        return TableRows(self, self._keep_going, on_bad_rows or self._on_bad_rows)


class TableRows:
    """The bad rows of one table."""

    def __init__(self, all_rows: BadRows, keep_going: bool, on_bad_rows: Literal["error", "report"]) -> None:
        self._all, self._start = all_rows, all_rows.count
        self.are_left_out = keep_going or on_bad_rows == "report"
        self._severity: Severity = "note" if on_bad_rows == "report" else "error"

    @property
    def faults(self) -> list[Fault]:
        """All that are listed, of other tables too."""
        return self._all.faults

    def add(self, fault: Fault) -> None:
        """One thing that is wrong with a row."""
        self._all.count += 1
        if len(self._all.faults) < MOST:
            self._all.faults.append(fault._replace(severity=self._severity))

    def count_more(self, count: int) -> None:
        """More of them, which are not listed."""
        self._all.count += count

    def raise_if_refused(self) -> None:
        """Raise BadData with all bad rows so far, where they are errors."""
        if self._all.count > self._start and not self.are_left_out:
            is_full = len(self._all.faults) >= MOST
            more = [Fault(f"stopped after {MOST} problems", kind="bad row")] if is_full else []
            raise BadData([*self._all.faults, *more])
