"""Copies of tables that a recipe cannot read as they are: decimal commas, and lines of two encodings."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kgrec.sources.guessing.column_profile import profiled
from kgrec.sources.guessing.folder_files import FoundFile
from kgrec.sources.guessing.table_sample import SampledTable, columns_of
from kgrec.sources.packed_files import open_bytes

MOST_MENDED = 1_000_000_000  #: bytes of a file that is copied


class Places(Protocol):
    """Where copies go."""

    origins: dict[str, str]

    @property
    def made(self) -> Path: ...

    def name_of(self, path: Path) -> str: ...


def mended(table: SampledTable, places: Places) -> SampledTable:
    """The same table, or a copy in which all lines are UTF-8 and numbers have decimal points."""
    file = table.files[0]
    if file.form != "text" or table.is_lists or file.size > MOST_MENDED:
        return table
    commas = [name for name, c in profiled(table).items() if not c.is_list and c.has_decimal_commas]
    if not commas and not table.is_mixed:
        return table
    source, form = file.path, dict(table.form)
    why = []
    if table.is_mixed:
        source = places.made / f"{file.path.name}.lines"
        _rewrite(file.path, source)
        form.pop("encoding", None)
        why.append("each line in its own encoding")
    separator = "tab" if file.suffix == ".tsv" else ","
    columns = columns_of(source, {"separator": separator, **form, "format": "separated"})
    if source != file.path:
        source.unlink()
    if commas:
        why.append(f"decimal commas of {', '.join(commas)} as points")
    columns = {name: _with_points(column) if name in commas else column for name, column in columns.items()}
    path = places.made / f"{file.path.name.partition('.')[0]}.parquet"
    place = 2
    while path.exists():
        path, place = path.with_name(f"{file.path.name.partition('.')[0]}_{place}.parquet"), place + 1
    pq.write_table(pa.table(columns), path)
    name = places.name_of(path)
    places.origins[name] = f"{file.name}, with {' and '.join(why)}"
    copy = FoundFile(path, name, path.stat().st_size, "parquet")
    rows = len(next(iter(columns.values())))
    return SampledTable([copy], {}, columns, True, rows, table.has_header, origin=places.origins[name])


def _rewrite(path: Path, to: Path) -> None:
    """Write a file's lines as UTF-8: those that are none are read as Windows-1252."""
    with open_bytes(path) as stream, to.open("wb") as out:
        rest = b""
        while block := stream.read(1 << 22):
            *lines, rest = (rest + block).split(b"\n")
            out.write(b"".join(_as_utf8(line) + b"\n" for line in lines))
        out.write(_as_utf8(rest))


def _as_utf8(line: bytes) -> bytes:
    try:
        line.decode("utf-8")
        return line
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace").encode("utf-8")


def _with_points(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers such as 1.234,50 as 1234.50."""
    has_comma = pc.fill_null(pc.match_substring(column, ","), False)
    plain = pc.replace_substring(pc.replace_substring(column, ".", ""), ",", ".")
    return pc.if_else(has_comma, plain, column)


def distinct_rows(keys: pa.ChunkedArray, columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    """One row for each key, with the most frequent value of each column."""
    ids = keys.combine_chunks().dictionary_encode()
    codes = ids.indices.fill_null(-1).to_numpy().astype(np.int64)
    found: dict[str, pa.Array] = {"id": ids.dictionary}
    for name, values in columns.items():
        coded = values.combine_chunks().dictionary_encode()
        value = coded.indices.fill_null(-1).to_numpy().astype(np.int64)
        is_there = (codes >= 0) & (value >= 0)
        if not is_there.any():
            continue
        pair, counts = np.unique(codes[is_there] * (len(coded.dictionary) + 1) + value[is_there], return_counts=True)
        order = np.argsort(counts, kind="stable")
        chosen = np.full(len(ids.dictionary), -1, np.int64)
        chosen[pair[order] // (len(coded.dictionary) + 1)] = pair[order] % (len(coded.dictionary) + 1)
        taken = pa.array(np.where(chosen < 0, 0, chosen), mask=chosen < 0)
        found[name] = coded.dictionary.take(taken)
    return pa.table(found)
