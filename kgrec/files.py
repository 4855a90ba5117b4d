"""Folders and files that appear whole or not at all, and what they hold."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, a key a line."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_existing(path: Path, overwrite: bool, marker: str | None = None) -> None:
    """Raise where `path` exists and may not be replaced: without `overwrite`, or a folder that holds other things than
    ours, which has files but not the file `marker`."""
    if path.exists() and not overwrite:
        raise KgrecError(f"{path} exists already; name another --out, or say --overwrite to replace it")
    if marker and path.is_dir() and not (path / marker).exists() and any(path.iterdir()):
        raise KgrecError(
            f"{path} is a folder without {marker}, so it holds other things and is not replaced; name another"
        )


@contextmanager
def whole(path: str | Path, overwrite: bool = False, marker: str | None = None) -> Iterator[Path]:
    """A path beside `path` to write a file or folder at; it takes the place of `path` when the block ends well.

    On an error, on Ctrl-C and on a full disk the half-written one is removed; after a `kill -9` it stays under a hidden
    name, and the next writer of the same path removes it. `path` itself never holds part of a result. marker: a file by
    which a folder is known to be one of ours; one without it is not replaced, whatever `overwrite` says.

    Raises KgrecError where `path` exists and may not be replaced, or where the disk refuses.
    """
    path = Path(path)
    _clear_abandoned(path)
    refuse_existing(path, overwrite, marker)
    draft = path.parent / f".{path.name}.part-{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        _take_place(draft, path, overwrite)
    except OSError as error:
        raise KgrecError(f"cannot write {path}: {error.strerror or error}; nothing was left there") from error
    finally:
        _remove(draft)


def _take_place(draft: Path, path: Path, overwrite: bool) -> None:
    refuse_existing(path, overwrite)
    if not path.exists():
        draft.rename(path)
        return
    old = path.parent / f".{path.name}.old-{os.getpid()}"
    path.rename(old)
    try:
        draft.rename(path)
    except BaseException:
        old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _clear_abandoned(path: Path) -> None:
    """Remove what killed writers of `path` left, and put back what one of them had moved aside to replace."""
    for old in path.parent.glob(f".{glob.escape(path.name)}.old-*"):
        if _is_abandoned(old) and not path.exists():
            old.rename(path)
        elif _is_abandoned(old):
            _remove(old)
    for draft in path.parent.glob(f".{glob.escape(path.name)}.part-*"):
        if _is_abandoned(draft):
            _remove(draft)


def _is_abandoned(draft: Path) -> bool:
    """Whether its writer is dead. In a container the next process often has the dead one's number: this one's own."""
    writer = draft.name.rpartition("-")[2]
    dead = Path("/proc/self").exists() and not Path(f"/proc/{writer}").exists()
    return writer.isdecimal() and (dead or int(writer) == os.getpid())
