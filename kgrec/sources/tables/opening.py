"""Finds the files of a table, and the reader for each: by its suffix, or as the recipe says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from kgrec.errors import BadData, Fault, KgrecError
from kgrec.sources.advice import SAY_DATA
from kgrec.sources.packed_files import COMPRESSIONS
from kgrec.sources.recipe.table_part import TableFormat
from kgrec.sources.tables.formats import JsonLists, Lists, Parquet
from kgrec.sources.tables.json_lines import JsonLines
from kgrec.sources.tables.raw_table import RawTable, Wanted
from kgrec.sources.tables.separated import Separated
from kgrec.sources.tables.sparql_table import SparqlTable, is_endpoint
from kgrec.sources.tables.text_streams import require_encoding

SUFFIXES = {".parquet": "parquet", ".jsonl": "json_lines", ".ndjson": "json_lines"}


class TableReader(Protocol):
    """One file of a table."""

    @property
    def name(self) -> str:
        """The path as it is written in the recipe."""

    @property
    def unit(self) -> str:
        """What a row is called: line, row, entry or answer."""

    def names(self) -> list[str]:
        """The columns that the file has."""

    def fast(self, wanted: Mapping[str, Wanted]) -> RawTable:
        """The columns with these names, read in bulk. Raises pa.ArrowInvalid where a row cannot be read; then use
        `careful` to find which."""

    def careful(self, wanted: Mapping[str, Wanted], *, stops: bool = False) -> RawTable:
        """The same columns, read slowly, with the place of each row. Wrong rows are left out and reported. stops:
        whether reading may end when as many wrong rows are found as can be listed."""

    def parts(
        self, wanted: Mapping[str, Wanted], size: int, *, is_careful: bool, stops: bool = False
    ) -> Iterator[RawTable]:
        """The same as `fast` or `careful` gives, some rows at a time: those of about `size` bytes of text."""


def files_of(names: Sequence[str], folder: Path) -> list[tuple[str, Path]]:
    """The files of all names and patterns, in order. Raises BadData with all that are missing."""
    found: list[tuple[str, Path]] = []
    missing = []
    for name in names:
        is_pattern = any(character in name for character in "*?[") and not (folder / name).exists()
        paths = sorted(folder.glob(name)) if is_pattern else [folder / name]
        if not paths or not all(path.is_file() for path in paths):
            what = f"{folder / name} does not exist; fix `file` in the recipe, or {SAY_DATA}"
            missing.append(Fault(what, name, kind="missing file", file_is="named"))
        found += [(str(path.relative_to(folder)) if is_pattern else name, path) for path in paths]
    if missing:
        raise BadData(missing)
    return found


def readers(table: TableFormat, files: Sequence[str], folder: Path) -> list[TableReader]:
    """A reader for each file. Raises BadData where one is missing."""
    if table.query is not None:
        require_options(table, "query", ", ".join(files))
        names = [name for name in files if is_endpoint(name)]
        names += [name for name, _ in files_of([name for name in files if not is_endpoint(name)], folder)]
        return [SparqlTable(name, folder, table.query, table.prefixes, table.timeout, table.network) for name in names]
    return [reader_of(table, name, path) for name, path in files_of(files, folder)]


OPTIONS = {
    "separated": ("separator", "columns", "quote", "encoding", "skip_rows", "header"),
    "parquet": (),
    "json_lines": ("encoding",),
    "lists": ("separator", "encoding", "skip_rows"),
    "json_lists": ("encoding",),
    "query": ("prefixes", "timeout", "network"),
}  #: by format, the keys of a recipe that it can use, besides `format`, `missing` and `on_bad_rows`


def reader_of(table: TableFormat, name: str, path: Path) -> TableReader:
    """A reader for one existing file. Raises BadData where the recipe has keys that do not fit the format."""
    suffix = path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix
    form = SUFFIXES.get(suffix, "separated") if table.format == "auto" else table.format
    require_options(table, form, name)
    require_encoding(name, table.encoding)
    match form:
        case "parquet":
            return Parquet(path, name)
        case "json_lines":
            return JsonLines(path, name, table.encoding)
        case "lists":
            return Lists(path, name, table.delimiter, table.encoding, table.skip_rows)
        case "json_lists":
            return JsonLists(path, name, table.encoding)
    separator = table.delimiter or ("\t" if suffix == ".tsv" else ",")
    quote = separator == "," if table.quote is None else table.quote
    if quote and len(separator.encode()) > 1:
        what = f"values cannot be quoted with the separator {separator!r}; remove `quote: true`"
        raise KgrecError(what, file=name, value=separator, kind="bad recipe")
    return Separated(
        path, name, separator, table.columns, quote, table.encoding, table.missing, table.skip_rows, table.header
    )


def require_options(table: TableFormat, form: str, name: str) -> None:
    """Raise BadData where a recipe sets a key that the format of a file cannot use."""
    known = {*OPTIONS[form], "query", "format", "missing", "on_bad_rows", *table.own_words}
    fields = TableFormat.model_fields
    foreign = [option for option in fields.keys() - known if getattr(table, option) != fields[option].default]
    if foreign:
        option = min(foreign)
        of = "a query" if form == "query" else f"format {form}"
        fitting = " and ".join(one for one, options in OPTIONS.items() if option in options)
        what = f"`{option}` does not apply to {of}, only to {fitting}; remove it, or set another `format`"
        raise BadData(what, file=name, value=option, kind="bad recipe")
