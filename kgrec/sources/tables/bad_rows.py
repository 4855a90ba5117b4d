"""The bad rows of files: they become an error in the end, or are counted and listed."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from kgrec.errors import BadData, Fault, Severity

MOST = 200  #: bad rows that are listed; the rest are counted

MEND = "fix the row, or set on_bad_rows: report"


class BadRows:
    """Collects the problems of rows. With `on_bad_rows: error`, `raise_if_refused` raises them all. With `report`, the
    rows are left out, and the list is for the build's report.

    keep_going: leave bad rows out even where they are errors, to find more problems.
    """

    def __init__(self, on_bad_rows: Literal["error", "report"] = "error", *, keep_going: bool = False) -> None:
        self.faults: list[Fault] = []  #: no more than MOST errors and MOST notes
        self._count: Counter[Severity] = Counter()
        self._listed: Counter[Severity] = Counter()
        self._keep_going = keep_going
        self._on_bad_rows = on_bad_rows

    @property
    def count(self) -> int:
        """How many bad rows there are, listed or not."""
        return self._count.total()

    @property
    def hidden(self) -> dict[Severity, int]:
        """How many are not listed, by severity."""
        return {severity: count - self._listed[severity] for severity, count in self._count.items()}

    @property
    def lines(self) -> list[str]:
        """One line for each bad row that is listed."""
        return [str(fault) for fault in self.faults]

    def add(self, fault: Fault) -> None:
        """Add one bad row."""
        self._count[fault.severity] += 1
        if self._listed[fault.severity] < MOST:
            self._listed[fault.severity] += 1
            self.faults.append(fault)

    def count_more(self, count: int, severity: Severity) -> None:
        """Count more bad rows, without listing them."""
        self._count[severity] += count

    def of(self, on_bad_rows: Literal["error", "report"] | None) -> TableRows:
        """The bad rows of one table. on_bad_rows: what the recipe says for this table; None: as for all tables."""
        return TableRows(self, self._keep_going, on_bad_rows or self._on_bad_rows)


class TableRows:
    """The bad rows of one table."""

    def __init__(self, all_rows: BadRows, keep_going: bool, on_bad_rows: Literal["error", "report"]) -> None:
        self._all, self._start = all_rows, all_rows.count
        self.are_left_out = keep_going or on_bad_rows == "report"
        self._severity: Severity = "note" if on_bad_rows == "report" else "error"

    @property
    def faults(self) -> list[Fault]:
        """All bad rows that are listed, also those of other tables."""
        return self._all.faults

    def fitting(self, fault: Fault) -> Fault:
        """The same fault, without the advice to set `on_bad_rows` where it is set already."""
        is_said = self._severity == "note"
        return fault._replace(message=fault.message.replace(MEND, "fix the row")) if is_said else fault

    def add(self, fault: Fault) -> None:
        """Add one problem of a row."""
        self._all.add(self.fitting(fault)._replace(severity=self._severity))

    def count_more(self, count: int) -> None:
        """Count more bad rows, without listing them."""
        self._all.count_more(count, self._severity)

    def raise_if_refused(self) -> None:
        """Raise BadData with all bad rows so far, where this table has some and they are errors."""
        if self._all.count > self._start and not self.are_left_out:
            errors = [fault for fault in self._all.faults if fault.severity == "error"]
            more = [Fault(f"stopped after {MOST} problems", kind="bad row")] if len(errors) >= MOST else []
            raise BadData([*errors, *more])
