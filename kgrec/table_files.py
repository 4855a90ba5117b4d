"""Tables as .parquet and .csv files that appear whole or not at all."""

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

LONGEST_LINE = 1 << 20  #: characters of a CSV file's line of names
#: Columns by which a table is known as one of ours: of recommendations, reasons, synthetic users, predictions
OWN_COLUMNS = (
    *({"user", "rank", "item"}, {"user", "item", "attention"}, {"user", "item", "synthetic"}),
    *({"user", "item", name} for name in ("rating", "probability", "score")),
)

FORMULA = r"^[=+\-@\t\r\n]"  #: how a text begins that a spreadsheet reads as a formula


def table_kind(columns: Iterable[str] = ()) -> FileKind:
    """The kind of a table that kgrec writes, which may be replaced: one of OWN_COLUMNS, or of just these columns."""
    wanted = set(columns)

    def check(path: Path) -> str | None:
        found = _columns_of(path)
        known = found is not None and (set(found) == wanted or any(own <= set(found) for own in OWN_COLUMNS))
        if known or found == []:
            return None
        return "it is no table" if found is None else f"its columns are {some(found, 6)}"

    return FileKind("table of kgrec's", check)


def _columns_of(path: Path) -> Collection[str] | None:
    """The names of a table's columns, none where a CSV file has no row; None where the file is no table."""
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
    """Raise KgrecError where a table could not be written to `out`, before it is made. inputs: what is read to make it;
    columns: of a table which may be replaced, beside those that kgrec writes by itself."""
    if out.suffix not in (".parquet", ".csv"):
        raise KgrecError(f"--out {out}: a .parquet or .csv file is wanted")
    refuse_existing(out, overwrite, table_kind(columns), inputs)


def write(table: pa.Table, out: Path, *, overwrite: bool = False, csv_safe: bool = False) -> None:
    """Write a table as .parquet or .csv, whole or not at all. csv_safe: a CSV file as `without_formulas` has it.

    Raises KgrecError as `refuse_out`, and where the disk refuses or a column has no form in a CSV file."""
    refuse_out(out, overwrite, columns=table.column_names)
    with whole(out, overwrite, table_kind(table.column_names)) as draft:
        if out.suffix == ".parquet":
            try:
                pq.write_table(table, draft, compression="zstd")
            except pa.ArrowNotImplementedError as error:
                raise KgrecError(f"the table has no form as Parquet: {error}; leave that column out") from error
        else:
            draft.write_text(as_csv(without_formulas(table) if csv_safe else table), encoding="utf-8")


def without_formulas(table: pa.Table) -> pa.Table:
    """The table with a `'` before every text, in cells and headings, that a spreadsheet would read as a formula: one
    that begins with = + - @, a tab or a line's end. Numbers stay as they are.

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
    """The table as CSV, with a line of names. Raises KgrecError where a column has no form in it, such as lists."""
    text = pa.BufferOutputStream()
    try:
        pa.csv.write_csv(table, text)
        return text.getvalue().to_pybytes().decode()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise KgrecError(f"the table has no form as CSV: {error}; write it to a .parquet file with --out") from error
