"""The Parquet files of a graph folder that another program wrote: single files, or folders of parts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa

from kgrec.errors import BadData, Fault, KgrecError, some
from kgrec.graph.storage import GRAPH_FOLDER, RECIPE
from kgrec.parquet_files import opened, read_columns
from kgrec.plain_folders import must_be_plain

OWN = ("graph.json", RECIPE)
REMEDY = "remove them"
SUFFIX = ".parquet"
#: Files that Spark, Hadoop, Dask and file managers add. A log of Delta Lake is refused: it may make parts invalid
LEFTOVERS = ("_SUCCESS", "_committed_*", "_started_*", "_metadata", "_common_metadata", ".*.crc", ".DS_Store")


@dataclass(frozen=True)
class EngineFiles:
    """The files of a folder, by what they are. Paths are relative to it, with `/` between folders."""

    folder: Path
    nodes: dict[str, list[str]] = field(default_factory=dict)  #: by the name of the file, its parts in order
    edges: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)  #: published splits, and candidates as NAME.candidates
    leftovers: list[str] = field(default_factory=list)  #: marker and checksum files of other programs
    state: tuple[tuple[str, int, int], ...] = ()  #: every file with its size and time, to see whether it was changed

    @staticmethod
    def of(folder: Path) -> EngineFiles:
        """The files of a folder. Raises KgrecError where the folder has a symbolic link or a file that does not belong
        to a graph, and BadData where the name of an edge file is wrong."""
        found = EngineFiles(folder, state=_state(folder))
        others = []
        for name in (name for name, _, _ in found.state):
            parts = name.split("/")
            if any(fnmatchcase(parts[-1], pattern) for pattern in LEFTOVERS):
                found.leftovers.append(name)
            elif name in OWN or parts[0] in GRAPH_FOLDER.caches:
                continue
            elif not _is_table(parts):
                others.append(name)
            else:
                found._add(parts[0], parts[1].removesuffix(SUFFIX), name)
        if others:
            raise KgrecError(
                f"{folder} has {some(others)}, which does not belong to a graph folder (graph.json, "
                "nodes/TYPE.parquet, edges/SOURCE__RELATION__TARGET.parquet, splits/NAME.parquet); move it elsewhere, "
                "because the folder will be replaced",
                kind="foreign file",
            )
        if not found.nodes:
            raise KgrecError(
                f"{folder} has no nodes/TYPE.parquet, so it is not a graph folder; each node type needs such a file, "
                "with a column `id`",
                kind="missing file",
            )
        for parts in (*found.nodes.values(), *found.edges.values(), *found.splits.values()):
            parts.sort(key=_natural)
        return found

    def _add(self, kind: str, name: str, file: str) -> None:
        if kind == "nodes":
            self.nodes.setdefault(name, []).append(file)
        elif kind == "splits":
            self.splits.setdefault(name, []).append(file)
        else:
            ends = name.split("__")
            if len(ends) != 3 or not all(ends):
                what = (
                    "is not named SOURCE__RELATION__TARGET.parquet; rename it, for instance user__rated__item.parquet"
                )
                raise BadData(Fault(what, file, kind="bad file name", file_is="subject"))
            self.edges.setdefault((ends[0], ends[1], ends[2]), []).append(file)

    def must_be_unchanged(self) -> None:
        """Raise KgrecError where a file was changed, added or removed since it was listed."""
        if _state(self.folder) != self.state:
            what = "was changed while it was read; run the command again when no other program writes to it"
            raise KgrecError(f"{self.folder} {what}")

    def read(self, parts: Iterable[str]) -> pa.Table:
        """The rows of all parts in order. Raises BadData where a file is not a Parquet file, or claims more values than
        it can hold, or where the columns of the parts do not match."""
        tables = []
        for name in parts:
            path = self.folder / name
            columns = opened(path, name).schema_arrow.names
            twice = [column for column in dict.fromkeys(columns) if columns.count(column) > 1]
            if twice:
                what = f"has two columns named {some(twice)}; rename or remove one of them"
                raise BadData(Fault(what, name, kind="bad column", file_is="subject"))
            try:
                tables.append(read_columns(path, name, columns))
            except (pa.ArrowException, OSError) as error:
                what = f"cannot be read: {error}; it is truncated or damaged; write it again"
                raise BadData(Fault(what, name, kind="altered file", file_is="subject")) from error
        try:
            return pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata(None)
        except pa.ArrowException as error:
            what = f"has parts with columns of different types: {error}; write all parts with the same types"
            raise BadData(Fault(what, tables_of(parts), kind="bad column", file_is="subject")) from error


def tables_of(parts: Iterable[str]) -> str:
    """The table of these parts, for messages: `nodes/item.parquet`."""
    return "/".join(next(iter(parts)).split("/")[:2])


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Every file of a folder with its size and the time of its last change."""
    names = [name for name in must_be_plain(folder, REMEDY) if name.split("/")[0] not in GRAPH_FOLDER.caches]
    stats = ((name, (folder / name).stat()) for name in names)
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _is_table(parts: list[str]) -> bool:
    """Whether a path is a table, or a part in a table's folder."""
    in_place = len(parts) in (2, 3) and parts[0] in ("nodes", "edges", "splits")
    return in_place and all(len(part) > len(SUFFIX) and part.endswith(SUFFIX) for part in parts[1:])


def _natural(name: str) -> list[str | int]:
    """A sort key that puts part-10 after part-9."""
    return [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", name)]
