"""All tables of a folder, sampled: files of one form together, archives and databases written out, splits found."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import KgrecError
from kgrec.sources.guessing import unpacking
from kgrec.sources.guessing.column_words import part_of_split
from kgrec.sources.guessing.folder_files import FoundFile, files_in
from kgrec.sources.guessing.key_search import ProfiledTable
from kgrec.sources.guessing.mending import mended
from kgrec.sources.guessing.table_sample import WHOLE, SampledTable, columns_of, sampled_table
from kgrec.sources.tables.formats import JsonLists
from kgrec.sources.tables.raw_table import Wanted

MANY = 8  #: files of one name but for its digits, of which only some are sampled
MOST_READ = 400_000_000  #: bytes of all files up to which each is read up to WHOLE bytes
LESS = 8_000_000  #: bytes up to which a file is read as a whole where there is more


@dataclass(eq=False)
class FolderTables:
    """What is in a folder. The paths of files that were written out lie in `work`, and their names in `prepared`."""

    folder: Path
    prepared: Path  #: where files that were written out will be
    work: Path
    progress: Callable[[str], None]
    tables: list[ProfiledTable] = field(default_factory=list)
    rdf: list[FoundFile] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  #: file -> why
    origins: dict[str, str] = field(
        default_factory=dict
    )  #: name of a file that was written out -> what it was made from

    def name_of(self, path: Path) -> str:
        """How the recipe will name a file that lies in `work` now."""
        place = self.prepared / path.relative_to(self.made)
        return Path(os.path.relpath(place.absolute(), self.folder.absolute())).as_posix()

    @property
    def made(self) -> Path:
        """The folder of files that are written out, before they are put in their place."""
        return self.work / "made"

    def read(self) -> None:
        """Read samples of all files. Raises KgrecError where there are none."""
        files = files_in(self.folder, self.left_out)
        self.progress(f"{len(files):,} files with {sum(one.size for one in files):,} bytes")
        for name in ("made", "samples"):
            (self.work / name).mkdir()
        plain = [written for file in files for written in self._written_out(file)]
        self.rdf = [file for file in plain if file.form == "rdf"]
        tables = [file for file in plain if file.form != "rdf"]
        whole = WHOLE if sum(file.size for file in tables) <= MOST_READ else LESS
        for group in _groups(tables):
            self.tables += map(ProfiledTable, self._tables_of(group, whole))
        self._read_lists()

    def _read_lists(self) -> None:
        """Read the parts of a split as lists where one of them is: lines may happen to have equally many values."""
        stems = {found[1] for one in self.tables if one.sample.is_lists and (found := part_of_split(one.name))}
        for place, table in enumerate(self.tables):
            found = part_of_split(table.name)
            if found and found[1] in stems and table.sample.form.get("separator") == " ":
                columns = columns_of(table.sample.files[0].path, {"format": "lists"})
                rows = len(columns["user"])
                form = {"format": "lists"}
                self.tables[place] = ProfiledTable(SampledTable(table.sample.files, form, columns, True, rows))

    def _written_out(self, file: FoundFile) -> Iterator[FoundFile]:
        """A file, or those that are made from it."""
        try:
            yield from self._made_from(file)
        except KgrecError as error:
            self.left_out[file.name] = str(error)

    def _made_from(self, file: FoundFile) -> Iterator[FoundFile]:
        to = self.made / file.path.name
        match file.form:
            case "archive":
                self.progress(f"unpacking {file.name}")
                for path, name in unpacking.unpacked(file, to, self.left_out):
                    if (found := self._found(path, f"{name} in {file.name}")) is not None:
                        yield from self._written_out(found)
            case "sqlite":
                for path in unpacking.tables_of_database(file, to):
                    if (found := self._found(path, f"table {path.stem} of {file.name}")) is not None:
                        yield found
            case "json":
                yield from self._from_document(file, to)
            case "python_lines":
                path = to.with_suffix(".jsonl")
                unpacking.write_flat(unpacking.rows_of_lines(file), path)
                if (found := self._found(path, f"{file.name}, whose lines are Python's")) is not None:
                    yield found
            case "json_lines" if unpacking.is_nested(file):
                path = self._free(file.path.name.removesuffix(".gz").removesuffix(file.suffix), ".jsonl")
                unpacking.write_flat(unpacking.rows_of_lines(file), path)
                if (found := self._found(path, f"{file.name}, without its nesting")) is not None:
                    yield found
            case _:
                yield file

    def _from_document(self, file: FoundFile, to: Path) -> Iterator[FoundFile]:
        lists = unpacking.rows_of_document(file)
        if lists is None:
            yield replace(file, form="json_lists")
            return
        for name, rows in lists.items():
            stem = file.path.name.removesuffix(".gz").removesuffix(file.suffix)
            path = self._free(f"{stem}_{name}" if name else stem, ".jsonl")
            unpacking.write_flat(rows, path)
            if (found := self._found(path, f"{name or 'the objects'} of {file.name}")) is not None:
                yield found

    def _free(self, stem: str, suffix: str) -> Path:
        """A path in `made` that no file has."""
        path, place = self.made / f"{stem}{suffix}", 2
        while path.exists():
            path, place = self.made / f"{stem}_{place}{suffix}", place + 1
        return path

    def _found(self, path: Path, origin: str) -> FoundFile | None:
        """A file that was written out."""
        name = self.name_of(path)
        found = unpacking.as_found(path, name)
        if found is not None:
            self.origins[name] = origin
        return found

    def _tables_of(self, files: Sequence[FoundFile], whole: int) -> Iterator[SampledTable]:
        """The tables of files with one name but for digits: one where their columns are the same."""
        picked = list(files) if len(files) <= MANY else [*files[:3], files[len(files) // 2], files[-1]]
        found: list[SampledTable] = []
        for file in picked:
            try:
                found.append(self._sampled(file, whole))
            except (KgrecError, pa.ArrowException, UnicodeError) as error:
                self.left_out[file.name] = str(error).partition("\n")[0].removeprefix(f"{file.name} ")
        if len(files) > len(picked) and not found:
            for file in files:
                self.left_out.setdefault(file.name, self.left_out[picked[0].name])
        same = [one for one in found if _is_like(one, found[0])]
        if len(files) > 1 and len(same) == len(picked):
            table = joined(same, files)
            table.pattern = self._pattern(files)
            yield table
        else:
            yield from found

    def _pattern(self, files: Sequence[FoundFile]) -> str | None:
        """A pattern that has exactly many files; None where they are few, or there is none."""
        patterns = {re.sub(r"\d+", "*", file.path.name) for file in files}
        if len(files) <= MANY or len(patterns) > 1:
            return None
        pattern = (Path(files[0].name).parent / patterns.pop()).as_posix()
        found = {path.relative_to(self.folder).as_posix() for path in self.folder.glob(pattern)}
        return pattern if found == {file.name for file in files} else None

    def _sampled(self, file: FoundFile, whole: int) -> SampledTable:
        if file.form == "json_lists":
            reader = JsonLists(file.path, file.name)
            columns = dict(reader.fast({name: Wanted(pa.string(), lists=True) for name in reader.names()}).columns)
            return SampledTable([file], {"format": "json_lists"}, columns, True, len(columns["id"]))
        table = sampled_table(file, self.work / "samples", whole)
        if not table.columns or not table.rows:
            raise KgrecError("has no rows")
        table.origin = self.origins.get(file.name, "")
        return mended(table, self)


def _groups(files: Sequence[FoundFile]) -> list[list[FoundFile]]:
    """Files that may be parts of one table: of one folder, and of one name but for digits and months. Those of
    published splits stay alone."""
    groups: dict[tuple[object, ...], list[FoundFile]] = defaultdict(list)
    for file in files:
        alone = part_of_split(file.name) is not None
        groups[(file.name,) if alone else (*file.group, file.form)].append(file)
    return list(groups.values())


def _is_like(one: SampledTable, other: SampledTable) -> bool:
    return one.form == other.form and list(one.columns) == list(other.columns)


def joined(tables: Sequence[SampledTable], files: Sequence[FoundFile]) -> SampledTable:
    """One table of several of one form. files: all that it has, of which perhaps only some were sampled."""
    first = tables[0]
    chunks = {
        name: pa.chunked_array(
            [chunk for one in tables for chunk in one.columns[name].chunks], first.columns[name].type
        )
        for name in first.columns
    }
    is_whole = all(one.is_whole for one in tables) and len(tables) == len(files)
    sampled = sum(one.estimated for one in tables)
    estimated = sampled if len(tables) == len(files) else sampled * len(files) // len(tables)
    notes = [note for one in tables for note in one.notes]
    return SampledTable(
        list(files), first.form, chunks, is_whole, estimated, first.has_header, first.is_mixed, notes,
        origin=first.origin,
    )  # fmt: skip


def row_share(part: SampledTable, whole: SampledTable) -> float:
    """The share of a table's rows that another one of as many columns has too, by all columns."""
    if len(part.columns) != len(whole.columns) or not part.rows:
        return 0.0
    own, other = (_row_texts(one) for one in (part, whole))
    if own is None or other is None:
        return 0.0
    return float(pc.mean(pc.is_in(own, value_set=other).cast(pa.float64())).as_py())


def _row_texts(table: SampledTable) -> pa.Array | None:
    columns = list(table.columns.values())
    if any(column.type != pa.string() for column in columns):
        return None
    joined = pc.binary_join_element_wise(*(pc.fill_null(column, "") for column in columns), "\x1f")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
