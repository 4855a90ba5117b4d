"""Files that a recipe cannot read as they are, written out as tables: archives, SQLite, and nested JSON."""

from __future__ import annotations

import ast
import itertools
import json
import re
import sqlite3
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kgrec.errors import KgrecError
from kgrec.sources.guessing.folder_files import FoundFile, found_file, no_data
from kgrec.sources.limits import read_json
from kgrec.sources.packed_files import altered_said, open_bytes, read_all
from kgrec.sources.tables.text_streams import text_lines

MOST_UNPACKED = 1 << 36  #: bytes (64 GiB) of an archive's files
MOST_EXPANSION = 200  #: the same, for each byte of the archive
LEAST_LIMIT = 1 << 30  #: bytes that an archive may always unpack to
MOST_JSON = 1 << 29  #: bytes (512 MiB) of a JSON document that is read as a whole
ROWS = 100_000  #: that are held at once
MOST_FLAT = 500_000_000  #: bytes of JSON lines that are written out without nesting
LOOKED_AT = 200  #: JSON lines that are looked at for nested objects


def unpacked(file: FoundFile, to: Path, left_out: dict[str, str]) -> Iterator[tuple[Path, str]]:
    """The files of an archive, written to a folder: their paths, and names in the archive. Raises KgrecError where it
    is damaged or unpacks to too much."""
    most = min(MOST_UNPACKED, max(LEAST_LIMIT, MOST_EXPANSION * file.size))
    total = 0
    try:
        for name, size, stream in _members(file.path):
            place = PurePosixPath(name)
            if place.is_absolute() or ".." in place.parts or any(p.startswith((".", "__MACOSX")) for p in place.parts):
                continue
            if (why := no_data(Path(name))) is not None:
                left_out[f"{name} in {file.name}"] = why
                continue
            total += size
            if total > most:
                raise KgrecError(f"unpacks to more than {most:,} bytes; unpack it yourself if it is right")
            path = to / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                while block := stream.read(1 << 20):
                    out.write(block)
            yield path, name
    except (zipfile.BadZipFile, tarfile.TarError, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        raise KgrecError(f"cannot be unpacked: {error}; it is damaged, or needs a password") from error


def _members(path: Path) -> Iterator[tuple[str, int, Any]]:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    with archive.open(entry) as stream:
                        yield entry.filename, entry.file_size, stream
        return
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, member.size, content


def tables_of_database(file: FoundFile, to: Path) -> Iterator[Path]:
    """The tables and views of an SQLite file as Parquet files of texts. Raises KgrecError where it cannot be read."""
    try:
        with closing(sqlite3.connect(f"{file.path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            database.text_factory = lambda data: data.decode("utf-8", "replace")
            query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
            for (name,) in database.execute(query).fetchall():
                quoted = name.replace('"', '""')
                rows = database.execute(f'SELECT * FROM "{quoted}"')
                columns = [one[0] for one in rows.description]
                path = to / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.parquet"
                if _write_rows(path, columns, iter(partial(rows.fetchmany, ROWS), [])):
                    yield path
    except sqlite3.Error as error:
        raise KgrecError(f"cannot be read as SQLite: {error}") from error


def _write_rows(path: Path, columns: list[str], chunks: Iterable[list[tuple[Any, ...]]]) -> bool:
    """Write rows as texts; columns of bytes are left out. Whether there are any rows."""
    schema = pa.schema([(name, pa.string()) for name in columns])
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for rows in chunks:
            arrays = [pa.array([_text(row[place]) for row in rows], pa.string()) for place in range(len(columns))]
            writer.write_table(pa.table(arrays, schema=schema))
            count += len(rows)
    return count > 0


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, bytes):
        return None
    return repr(value) if isinstance(value, float) and not value.is_integer() else str(value)


def rows_of_document(file: FoundFile) -> dict[str, list[dict[str, Any]]] | None:
    """The lists of objects in a JSON document by name; None where it is one object of lists of single values. Raises
    KgrecError where it is no table."""
    if file.size > MOST_JSON:
        raise KgrecError(f"is one JSON value of more than {MOST_JSON:,} bytes; save it with an object in each line")
    try:
        with altered_said(file.path), open_bytes(file.path) as stream:
            value = read_json(read_all(stream).removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, UnicodeDecodeError) as error:
        raise KgrecError(f"is not valid JSON: {error}") from error
    if isinstance(value, list) and _are_objects(value):
        return {"": value}
    if isinstance(value, dict) and value:
        inner = list(value.values())
        if all(isinstance(one, list) and not any(isinstance(v, dict | list) for v in one) for one in inner):
            return None
        if len(inner) > 3 and _are_objects(inner):
            return {"": [{"key": key, **one} for key, one in value.items()]}
        lists = {key: one for key, one in value.items() if isinstance(one, list) and one and _are_objects(one)}
        if lists:
            return lists
        return {"": [value]}
    raise KgrecError("is JSON, but no list of objects")


def _are_objects(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(one, dict) for one in values)


def is_nested(file: FoundFile) -> bool:
    """Whether objects in the lines of a file hold other objects, or lists of them, and can be written out without."""
    if file.size * (5 if file.is_packed else 1) > MOST_FLAT:
        return False
    with altered_said(file.path):
        return bool(nested_keys(itertools.islice((line for _, line in text_lines(file.path)), LOOKED_AT)))


def nested_keys(lines: Iterable[bytes]) -> set[str]:
    """The keys whose values are objects, or lists of them, in some lines of JSON."""
    found: set[str] = set()
    for line in lines:
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError:
            continue
        if isinstance(row, dict):
            found |= {key for key, value in row.items() if _holds_objects(value)}
    return found


def _holds_objects(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))


def rows_of_lines(file: FoundFile) -> Iterator[dict[str, Any]]:
    """The objects in the lines of a file, as JSON or as Python writes them; other lines are passed over."""
    for _, line in text_lines(file.path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            try:
                row = ast.literal_eval(line.decode())
            except (ValueError, SyntaxError, MemoryError, RecursionError, UnicodeDecodeError):
                continue
        if isinstance(row, dict):
            yield row


def write_flat(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write objects as JSON lines without nesting: the parts of an inner object become `outer_inner`, and a list of
    objects gives a row for each.

    >>> flat({"id": 1, "customer": {"id": 7}, "lines": [{"sku": "a"}, {"sku": "b"}]})
    [{'id': 1, 'customer_id': 7, 'lines_sku': 'a'}, {'id': 1, 'customer_id': 7, 'lines_sku': 'b'}]
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            for one in flat(row):
                out.write(json.dumps(one, ensure_ascii=False) + "\n")


def flat(row: dict[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """A nested object as flat ones."""
    plain: dict[str, Any] = {}
    several: list[dict[str, Any]] | None = None
    for key, value in row.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            inner = flat(value, f"{name}_")
            plain |= inner[0] if inner else {}
        elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
            if several is None:
                several = [found for one in value if isinstance(one, dict) for found in flat(one, f"{name}_")]
        elif isinstance(value, list) and any(isinstance(one, list) for one in value):
            continue
        else:
            plain[name] = value
    return [{**plain, **one} for one in several] if several else [plain]


def as_found(path: Path, name: str) -> FoundFile | None:
    """A file that was written out, if it has data."""
    found = found_file(path, name)
    return found if isinstance(found, FoundFile) else None
