"""Tables and consoles of rich that show text from data unchanged: no markup, no emoji names, no control characters."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import IO, Any, Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from kgrec.printable import printable

UNFOLDED = 1_000_000  #: characters of a line where no terminal folds it


def as_text(value: object, keep: str = "") -> Text:
    """A text for rich without markup, with control characters escaped. keep: as in `printable`."""
    return Text(printable(value, keep))


class TextTable(Table):
    """A table whose title, headings and cells are shown unchanged on any console. The title is a line of its own, and
    may be wider than the table."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(as_text(cell) if isinstance(cell, str) else cell for cell in cells), **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        title, self.title = self.title, None
        try:
            if title is not None:
                yield Text(str(title), style="table.title", overflow="fold")
            yield from super().__rich_console__(console, options)
        finally:
            self.title = title


class TextConsole(Console):
    """A console that prints texts unchanged, by default to stdout. Lines are folded at the width of the terminal, if
    there is one. With NO_COLOR nothing is bold or slanted either."""

    def __init__(self, file: IO[str] | None = None) -> None:
        to = file or sys.stdout
        width = None if to.isatty() else UNFOLDED
        colors: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
        super().__init__(file=file, width=width, color_system=colors, markup=False, emoji=False, highlight=False)

    def print(self, *objects: Any, **options: Any) -> None:
        texts = (as_text(one, "\n") if isinstance(one, str) else one for one in objects)
        super().print(*texts, **options)


def text_table(title: str, texts: Sequence[str], numbers: Sequence[str] = (), *, headings: bool = True) -> TextTable:
    """An empty table. Columns of texts fold if the terminal is too narrow; columns of numbers never do. headings:
    whether the names of the columns are shown."""
    table = TextTable(
        title=as_text(title) if title else None, box=box.SIMPLE, title_justify="left", show_header=headings
    )
    for name in texts:
        table.add_column(as_text(name), overflow="fold")
    for name in numbers:
        table.add_column(as_text(name), justify="right", no_wrap=True)
    return table
