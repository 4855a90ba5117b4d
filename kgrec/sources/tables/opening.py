"""Which files a table is, and how each is read: by its suffix, or as the recipe says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from kgrec.errors import BadData, Fault, KgrecError
from kgrec.sources.packed_files import COMPRESSIONS
from kgrec.sources.recipe.table_part import TableFormat
from kgrec.sources.tables.formats import JsonLines, JsonLists, Lists, Parquet
from kgrec.sources.tables.separated import Separated, require_encoding
from kgrec.sources.tables.sparql_table import SparqlTable, is_endpoint

SUFFIXES = {".parquet": "parquet", ".jsonl": "json_lines", ".ndjson": "json_lines"}


class TableReader(Protocol):
    """One file of a table."""

    @property
    def name(self) -> str:
        """The path as the recipe says it."""

    @property
    def unit(self) -> str:
        """What rows are counted in: line, row, entry or answer."""

    def names(self) -> list[str]:
        """The columns that the file has."""

    def table(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        """The columns of these names in bulk; a text parser gives them as these types. Raises where a row does not
        fit."""

    def rows(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Each row's place and its values by column, or what is wrong with it."""


def files_of(names: Sequence[str], folder: Path) -> list[tuple[str, Path]]:
    """The files that names and patterns mean, in order. Raises BadData with all that are missing."""
    found: list[tuple[str, Path]] = []
    missing = []
    for name in names:
        is_pattern = any(character in name for character in "*?[") and not (folder / name).exists()
        paths = sorted(folder.glob(name)) if is_pattern else [folder / name]
        if not paths or not all(path.is_file() for path in paths):
            what = f"{folder / name} is not there; mend `file` in the recipe, or say the folder with --data"
            missing.append(Fault(what, name, kind="missing file", file_is="named"))
        found += [(str(path.relative_to(folder)) if is_pattern else name, path) for path in paths]
    if missing:
        raise BadData(missing)
    return found


def readers(table: TableFormat, files: Sequence[str], folder: Path) -> list[TableReader]:
    """A reader for each file. Raises BadData where one is missing."""
    if table.query is not None:
        names = [name for name in files if is_endpoint(name)]
        names += [name for name, _ in files_of([name for name in files if not is_endpoint(name)], folder)]
        return [SparqlTable(name, folder, table.query, table.prefixes, table.timeout, table.network) for name in names]
    return [_reader(table, name, path) for name, path in files_of(files, folder)]


def _reader(table: TableFormat, name: str, path: Path) -> TableReader:
    suffix = path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix
    require_encoding(name, table.encoding)
    match SUFFIXES.get(suffix, "separated") if table.format == "auto" else table.format:
        case "parquet":
            return Parquet(path, name)
        case "json_lines":
            return JsonLines(path, name)
        case "lists":
            return Lists(path, name, table.delimiter, table.encoding)
        case "json_lists":
            return JsonLists(path, name)
    separator = table.delimiter or ("\t" if suffix == ".tsv" else ",")
    quote = separator == "," if table.quote is None else table.quote
    if quote and len(separator) > 1:
        what = f"values cannot be quoted where {separator!r} separates; take `quote: true` away"
        raise KgrecError(what, file=name, value=separator, kind="bad recipe")
    return Separated(path, name, separator, table.columns, quote, table.encoding, table.missing)
