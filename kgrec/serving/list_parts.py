"""Part files of lists: each is written whole, and says of which run, users and options it is a part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kgrec.errors import KgrecError, some
from kgrec.files import file_hash
from kgrec.run_files import RunFiles
from kgrec.serving.answers import Table, write_parts
from kgrec.serving.list_tables import LISTS
from kgrec.serving.rules.rule_settings import Rules
from kgrec.serving.shards import Shard

KEY = b"kgrec.part"  #: of what a Parquet file says of itself


@dataclass(frozen=True)
class Part:
    """What a part file is of. Two parts with all the same but the shard belong together."""

    shard: Shard
    #: in words that hold no more than texts, numbers and hashes: the run, the users, and each option
    of: Mapping[str, Any]

    @staticmethod
    def of_run(folder: Path, shard: Shard, asked: Mapping[str, Any]) -> Part:
        """The part of a run folder's lists. asked: see `described`."""
        return Part(shard, described(folder, asked))

    @staticmethod
    def read(file: Path) -> Part | None:
        """What a file says of itself; None where it says nothing that is read here."""
        try:
            found = (pq.read_metadata(file).metadata or {}).get(KEY)
            said = json.loads(found) if found else None
            return Part(Shard.read(said["shard"]), said["of"]) if said else None
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, KgrecError):
            return None

    def is_done(self, out: Path, overwrite: bool) -> int | None:
        """The number of rows of a file that holds this part already; None where none is there, or where it is to be
        written anew. Raises KgrecError where the file is of something else."""
        if overwrite or not out.is_file() or out.suffix != ".parquet":
            return None
        found = Part.read(out)
        if found is None:
            raise KgrecError(
                f"{out} is there, and does not say that it is a part of lists; name another --out, or say --overwrite"
            )
        other = [name for name in {**self.of, **found.of} if self.of.get(name) != found.of.get(name)]
        if other:
            raise KgrecError(
                f"{out} is a part of other lists: {some(other)} {'is' if len(other) == 1 else 'are'} not the same; "
                "name another --out, or say --overwrite"
            )
        if found.shard != self.shard:
            raise KgrecError(
                f"{out} is shard {found.shard} of these lists, and {self.shard} is asked for; name another --out, or "
                "say --overwrite"
            )
        return int(pq.read_metadata(out).num_rows)

    def write(self, tables: Iterable[Table], out: Path, *, overwrite: bool = False, csv_safe: bool = False) -> int:
        """Write the lists, the file whole or not at all; a Parquet file says what it is a part of. Returns the number
        of rows."""
        said = {KEY.decode(): json.dumps({"shard": str(self.shard), "of": self.of}, sort_keys=True)}
        parts = (table.to_arrow() for table in tables)
        return write_parts(parts, LISTS, out, overwrite=overwrite, csv_safe=csv_safe, said=said)


def described(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What parts are of: the run, by what its folder holds, and what was asked for, where paths stand for what they
    hold. asked: whom for, and by which options.

    Raises KgrecError for a folder that holds no run, and for a file that cannot be read, or not twice."""
    RunFiles.open(folder)  # config.json has the hashes of all other files, the graph's among them
    run = {"version": metadata.version("kgrec"), "run": file_hash(folder / "config.json")}
    return run | {name: _plain(value, name) for name, value in asked.items()}


def _plain(value: Any, name: str) -> Any:
    """A value as JSON has it, in which paths and long lists are hashes of what they hold."""
    match value:
        case Path():
            return _content(value, name)
        case Rules():
            said, first_day, _ = value.key
            return [said, str(first_day), *(_content(file, "rules") for file in value.files)]
        case Mapping():
            return {key: _plain(one, f"{name} {key}") for key, one in value.items()}
        case str() | None | bool() | int() | float():
            return value
    parts = [_plain(one, name) for one in value]
    text = json.dumps(parts)
    return parts if len(text) <= 1000 else hashlib.sha256(text.encode()).hexdigest()


def _content(path: Path, name: str) -> str:
    """The hash of what a file holds, or a folder."""
    try:
        if path.is_dir():
            files = sorted(one for one in path.rglob("*") if one.is_file())
            texts = [f"{one.relative_to(path)} {file_hash(one)}" for one in files]
            return hashlib.sha256("\n".join(texts).encode()).hexdigest()
        if path.is_file():
            return file_hash(path)
    except OSError as error:
        raise KgrecError(f"{name} {path}: {error.strerror or error}") from error
    reason = "is neither a file nor a folder, and shards read it more than once" if path.exists() else "is not there"
    raise KgrecError(f"{name} {path} {reason}; name a file")
