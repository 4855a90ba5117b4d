"""What is wrong with the rows of files: an error in the end, or a count and a list."""

from __future__ import annotations

from typing import Literal

from kgrec.errors import BadData

MOST = 200  #: problems that are listed; the rest are counted

MEND = "mend the row or set on_bad_rows: report"


class Problems:
    """Collects one line for each bad row. With `on_bad_rows` error, `settle` raises them all; with report, they stay
    for the build's report and the rows are left out."""

    def __init__(self, on_bad_rows: Literal["error", "report"] = "error") -> None:
        self.lines: list[str] = []
        self.count = 0
        self.reports = on_bad_rows == "report"

    def add(self, line: str) -> None:
        """One bad row."""
        self.count += 1
        if len(self.lines) < MOST:
            self.lines.append(line)

    @property
    def enough(self) -> bool:
        """Whether reading on would only repeat itself, since the build fails anyway."""
        return self.count >= MOST and not self.reports

    def settle(self) -> None:
        """Raise BadData with all problems so far, where bad rows are errors."""
        if self.count and not self.reports:
            more = [f"stopped after {MOST} problems"] if self.enough else []
            raise BadData(self.lines + more)
