"""Tables as .parquet and .csv files, written completely or not at all."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from kgrec.errors import KgrecError, some
from kgrec.files import refuse_existing, whole
from kgrec.output_kinds import FileKind

LONGEST_LINE = 1 << 20  #: maximum characters of the header line of a CSV file
#: Columns by which a table of kgrec is recognized: recommendations, reasons, synthetic users, predictions
OWN_COLUMNS = (
    *({"user", "rank", "item"}, {"user", "item", "attention"}, {"user", "item", "synthetic"}),
    *({"user", "item", name} for name in ("rating", "probability", "score")),
)

FORMULA = r"^[=+\-@\t\r\n]"  #: beginning of a text that a spreadsheet reads as a formula


def table_kind(columns: Iterable[str] = ()) -> FileKind:
    """The kind of a table that kgrec writes and may replace: one with OWN_COLUMNS, or with exactly these columns."""
    wanted = set(columns)

    def check(path: Path) -> str | None:
        found = _columns_of(path)
        known = found is not None and (set(found) == wanted or any(own <= set(found) for own in OWN_COLUMNS))
        if known or found == []:
            return None
        return "it is no table" if found is None else f"its columns are {some(found, 6)}"

    return FileKind("table of kgrec's", check)


def _columns_of(path: Path) -> Collection[str] | None:
    """The names of a table's columns; empty for a CSV file without rows; None if the file is no table."""
    try:
        if path.suffix == ".parquet":
            names: list[str] = pq.read_schema(path).names
            return names
        with path.open(encoding="utf-8", newline="") as file:
            first, more = file.readline(LONGEST_LINE), file.readline(LONGEST_LINE)
            return next(csv.reader([first])) if more else []
    except (OSError, ValueError, pa.ArrowException, csv.Error):
        return None


def refuse_out(
    out: Path, overwrite: bool, inputs: Iterable[str | Path | None] = (), columns: Iterable[str] = ()
) -> None:
    """Raise KgrecError if a table could not be written to `out`, before the table is made. inputs: files that are read;
    columns: a table with exactly these columns may be replaced too."""
    if out.suffix not in (".parquet", ".csv"):
        raise KgrecError(f"--out {out}: the name must end in .parquet or .csv")
    refuse_existing(out, overwrite, table_kind(columns), inputs)


def write(table: pa.Table, out: Path, *, overwrite: bool = False, csv_safe: bool = False) -> None:
    """Write a table as .parquet or .csv, completely or not at all. csv_safe: mark formulas in a CSV file, see
    `without_formulas`.

    Raises what `refuse_out` raises, and KgrecError if the file cannot be written or a column cannot be in a CSV
    file.
    """
    refuse_out(out, overwrite, columns=table.column_names)
    with whole(out, overwrite, table_kind(table.column_names)) as draft:
        if out.suffix == ".parquet":
            try:
                pq.write_table(table, draft, compression="zstd")
            except pa.ArrowNotImplementedError as error:
                raise KgrecError(f"the table cannot be written as Parquet ({error}); leave that column out") from error
        else:
            draft.write_text(as_csv(without_formulas(table) if csv_safe else table), encoding="utf-8")


def without_formulas(table: pa.Table) -> pa.Table:
    """The table with a `'` before each text that a spreadsheet would read as a formula, in cells and headings. Such a
    text begins with = + - @, a tab or a line break. Numbers are unchanged.

    >>> without_formulas(pa.table({"item": ["=1+1", "a-b"], "score": [-1.5, 2.0]})).to_pydict()
    {'item': ["'=1+1", 'a-b'], 'score': [-1.5, 2.0]}
    """
    columns = []
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            marked = pc.binary_join_element_wise(pa.scalar("'", column.type), column, pa.scalar("", column.type))
            column = pc.if_else(pc.match_substring_regex(column, FORMULA), marked, column)
        columns.append(column)
    names = [f"'{name}" if re.match(FORMULA, name) else name for name in table.column_names]
    return pa.table(columns, names=names)


def as_csv(table: pa.Table) -> str:
    """The table as CSV with a header. Raises KgrecError if a column cannot be in a CSV file, such as lists."""
    text = pa.BufferOutputStream()
    try:
        pa.csv.write_csv(table, text)
        return text.getvalue().to_pybytes().decode()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise KgrecError(f"the table cannot be written as CSV ({error}); use --out with a .parquet file") from error
