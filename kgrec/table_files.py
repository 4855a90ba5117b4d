"""Tables as .parquet and .csv files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from kgrec.errors import KgrecError
from kgrec.files import refuse_existing, whole


def refuse_out(out: Path, overwrite: bool) -> None:
    """Raise KgrecError where a table could not be written to `out`, before it is made."""
    if out.suffix not in (".parquet", ".csv"):
        raise KgrecError(f"--out {out}: a .parquet or .csv file is wanted")
    refuse_existing(out, overwrite)


def write(table: pa.Table, out: Path, *, overwrite: bool = False) -> None:
    """Write a table as .parquet or .csv, whole or not at all. Raises KgrecError as `refuse_out`, and where the disk
    refuses or a column has no form in a CSV file."""
    refuse_out(out, overwrite)
    with whole(out, overwrite) as draft:
        if out.suffix == ".parquet":
            pq.write_table(table, draft, compression="zstd")
        else:
            draft.write_text(as_csv(table), encoding="utf-8")


def as_csv(table: pa.Table) -> str:
    """The table as CSV, with a line of names. Raises KgrecError where a column has no form in it, such as lists."""
    text = pa.BufferOutputStream()
    try:
        pa.csv.write_csv(table, text)
    except pa.ArrowException as error:
        raise KgrecError(f"the table has no form as CSV: {error}; write it to a .parquet file with --out") from error
    return text.getvalue().to_pybytes().decode()
