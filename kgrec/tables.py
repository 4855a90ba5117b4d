"""Tables of metrics to print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

MARGINS = 3  #: characters that a column takes beside its text


def plain(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """An empty table: columns of texts, which fold where they are too long, and of numbers, which never do."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=box.SIMPLE, title_justify="left")
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def by_metric(what: str, values: Mapping[str, Mapping[str, float]], *, title: str, width: int) -> Iterator[Table]:
    """One row a name and one column a metric, in as many tables as the width (characters) asks for.

    what: the names' heading; values: by name and metric, empty where a name lacks one.
    """
    from rich.markup import escape

    metrics = list(dict.fromkeys(metric for row in values.values() for metric in row))
    names = max(map(len, [what, *values])) + MARGINS + 1
    number = max(1, (width - names) // (max(map(len, metrics)) + MARGINS))
    for start in range(0, len(metrics), number):
        part = metrics[start : start + number]
        table = plain(title, [what], part)
        for name, row in values.items():
            table.add_row(escape(name), *(f"{row[metric]:.4f}" if metric in row else "" for metric in part))
        yield table
