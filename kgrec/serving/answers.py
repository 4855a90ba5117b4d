"""What a run answers, as a table: lists of recommended items, and predictions of pairs."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from kgrec.errors import unknown_name
from kgrec.files import whole
from kgrec.printable import printable
from kgrec.stored_tables import plain_rows, plain_values
from kgrec.table_files import refuse_out, table_kind, without_formulas, write

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 10  #: rows that a Table prints of itself
WIDEST = 40  #: characters of a cell that are printed


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of an answer, in order. It prints itself, in a notebook too, and goes over to pandas, Arrow or plain Python.

    >>> table = Table(pa.table({"user": ["ann", "ann"], "rank": [1, 2], "item": ["x", "y"], "score": [0.75, 0.5]}))
    >>> table
    user  rank  item   score
    ann      1  x     0.7500
    ann      2  y     0.5000
    >>> len(table), table.columns, table["item"]
    (2, ['user', 'rank', 'item', 'score'], ['x', 'y'])
    >>> next(iter(table))
    {'user': 'ann', 'rank': 1, 'item': 'x', 'score': 0.75}
    """

    arrow: pa.Table  #: the rows
    users: Sequence[str] | None = None  #: whom it answers, in order, also those without a row; None: it is of no users
    why: Table | None = None  #: of lists: the past items behind them, by user, if asked for
    notes: tuple[str, ...] = ()  #: what was left out, one sentence each

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.arrow.column_names)

    def to_arrow(self) -> pa.Table:
        """The rows as a pyarrow Table."""
        return self.arrow

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas DataFrame, with an index of 0, 1, 2 and so on."""
        return self.arrow.to_pandas()

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as plain Python values, a dict each."""
        return plain_rows(self.arrow)

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as plain JSON data, an object each; what JSON has no form for, such as dates, is text."""
        rows: list[dict[str, Any]] = json.loads(json.dumps(self.to_dicts(), default=str))
        return rows

    def write(self, path: str | Path, *, overwrite: bool = False, csv_safe: bool = False) -> None:
        """Write the rows as .parquet or .csv, the file whole or not at all. csv_safe: in a CSV file, a `'` stands
        before texts that a spreadsheet would read as formulas. Raises KgrecError where the file is there already, or
        the name ends otherwise."""
        write(self.arrow, Path(path), overwrite=overwrite, csv_safe=csv_safe)

    def __len__(self) -> int:
        return len(self.arrow)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each row as a dict."""
        for batch in self.arrow.to_batches(max_chunksize=1024):
            yield from plain_rows(batch)

    def __getitem__(self, column: str) -> list[Any]:
        """The values of a column. Raises UnknownName."""
        if column not in self.arrow.column_names:
            raise unknown_name("column", column, self.columns, "in this table")
        return plain_values(self.arrow[column])

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The rows for other libraries that read Arrow, such as polars and DuckDB."""
        return self.arrow.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        from rich.cells import cell_len

        cells = [[_text(name) for name in self.columns], *self._shown]
        width = [max(map(cell_len, column)) for column in zip(*cells)]
        lines = []
        for row in cells:
            padded = []
            for text, most, right in zip(row, width, self._is_number):
                space = " " * (most - cell_len(text))
                padded.append(space + text if right else text + space)
            lines.append("  ".join(padded).rstrip())
        return "\n".join([*lines, *self._ending])

    def _repr_html_(self) -> str:
        """The first rows as an HTML table, for notebooks."""
        style = ["text-align: right" if right else "text-align: left" for right in self._is_number]

        def line(tag: str, row: Sequence[str]) -> str:
            cells = (f'<{tag} style="{how}">{html.escape(text)}</{tag}>' for how, text in zip(style, row))
            return f"<tr>{''.join(cells)}</tr>"

        head = line("th", [_text(name) for name in self.columns])
        body = "".join(line("td", row) for row in self._shown)
        ending = "".join(f"<p>{html.escape(text)}</p>" for text in self._ending)
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{ending}"

    @cached_property
    def _shown(self) -> list[list[str]]:
        """The first rows as text."""
        return [[_text(value) for value in row.values()] for row in plain_rows(self.arrow.slice(0, SHOWN))]

    @cached_property
    def _is_number(self) -> list[bool]:
        return [pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in self.arrow.schema.types]

    @property
    def _ending(self) -> list[str]:
        """What stands below the rows: how many more there are, and the notes."""
        more = len(self) - SHOWN
        ending = [f"... and {more:,} more rows"] if more > 0 else []
        return [*(ending if len(self) else ["no rows"]), *(f"note: {printable(note)}" for note in self.notes)]


def joined(tables: Iterable[Table]) -> Table:
    """The rows of several tables of one form, one after the other, with all that goes with them."""
    parts = list(tables)
    if len(parts) == 1:
        return parts[0]
    whys = [part.why for part in parts if part.why is not None]
    users = None if parts[0].users is None else [user for part in parts for user in part.users or ()]
    return Table(
        pa.concat_tables([part.arrow for part in parts]),
        users,
        joined(whys) if whys else None,
        tuple(note for part in parts for note in part.notes),
    )


def write_parts(
    parts: Iterable[pa.Table],
    schema: pa.Schema,
    out: Path,
    *,
    overwrite: bool = False,
    csv_safe: bool = False,
    said: Mapping[str, str] | None = None,
) -> int:
    """Write Arrow tables of one schema as .parquet or .csv, one after the other, and the file whole or not at all.
    csv_safe: a CSV file as `without_formulas` has it; said: what a Parquet file says of itself. Returns the number of
    rows."""
    refuse_out(out, overwrite, columns=schema.names)
    writers = {".parquet": pq.ParquetWriter, ".csv": pa.csv.CSVWriter}
    rows = 0
    with whole(out, overwrite, table_kind(schema.names)) as draft, writers[out.suffix](draft, schema) as writer:
        for part in parts:
            writer.write_table(without_formulas(part) if csv_safe and out.suffix == ".csv" else part)
            rows += len(part)
        if said and isinstance(writer, pq.ParquetWriter):
            writer.add_key_value_metadata(said)
    return rows


def _text(value: object) -> str:
    """A value in one line of at most WIDEST characters."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    text = printable("".join(" " if letter in "\n\r\t" else letter for letter in str(value)))
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."
