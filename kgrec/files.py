"""Folders and files that appear whole or not at all, and what they hold."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kgrec.drafts import LONGEST_ENDING, clear_abandoned, draft_of, exists_already
from kgrec.errors import KgrecError
from kgrec.output_kinds import OutputKind
from kgrec.printable import is_no_unicode

LONGEST_NAME = 255  #: bytes of a name, in the file systems of our day


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, a key a line."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_existing(
    path: str | Path,
    overwrite: bool,
    kind: OutputKind | None = None,
    inputs: Iterable[str | Path | None] = (),
) -> None:
    """Raise KgrecError where nothing may be written to `path`, or could not be; to be called before hours of work.

    That is where it exists, without `overwrite`; with it, where it is anything but an empty folder or file or one of
    `kind`, which kgrec knows by its contents. And always where it is a symbolic link, the folder that one is in or one
    above it, one of `inputs` (what is read to make it, None left out) or a folder above one, a mounted volume, or below
    a folder that cannot be written to. What killed writers of `path` left is cleared away first.
    """
    path = Path(path)
    try:
        _refuse_place(path, inputs)
        clear_abandoned(path)
        if not os.path.lexists(path):
            return
        if not overwrite:
            raise exists_already(path)
        objection = kind.objection(path) if kind is not None else None
    except (OSError, ValueError) as error:
        raise KgrecError(f"cannot write to {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    if objection is not None:
        raise KgrecError(f"{path} {objection}; name another --out")


def _refuse_place(path: Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise KgrecError where a path is no place to write to, whatever is there."""
    real, here = path.resolve(), Path.cwd()
    if path.name in ("", "..") or real == here or real in here.parents:
        raise KgrecError(f"--out {path} is the folder that you are in, or one above it; name one inside it")
    if path.is_symlink():
        raise KgrecError(f"--out {path} is a symbolic link to {path.readlink()}; name what it should stand for")
    if is_no_unicode(str(path)):  # neither Arrow nor safetensors opens it
        raise KgrecError(f"--out {path} has a name that is not UTF-8; name another --out")
    for one in inputs:
        read = None if one is None else Path(one).resolve()
        if read is not None and (real == read or real in read.parents or _are_same(real, read)):
            raise KgrecError(f"--out {path} is {one}, which is read to make it, or holds it; name another --out")
    if os.path.ismount(path):
        raise KgrecError(f"--out {path} is a mounted volume, which cannot be replaced; name a folder in it")
    if len(os.fsencode(path.name)) + LONGEST_ENDING > LONGEST_NAME:
        raise KgrecError(
            f"--out {path} has a name of {len(os.fsencode(path.name))} bytes; at most {LONGEST_NAME - LONGEST_ENDING} "
            "are possible"
        )
    parent = path.parent
    while not os.path.lexists(parent):  # folders that are missing are made
        parent = parent.parent
    if not parent.is_dir():
        raise KgrecError(f"--out {path}: {parent} is no folder; name another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise KgrecError(f"--out {path}: the folder {parent} may not be written to; name another --out")


def _are_same(one: Path, other: Path) -> bool:
    """Whether two paths are the same file by two names."""
    return one.exists() and other.exists() and one.samefile(other)


@contextmanager
def whole(path: str | Path, overwrite: bool = False, kind: OutputKind | None = None) -> Iterator[Path]:
    """A path beside `path` to write a file or folder at; it takes the place of `path` when the block ends well.

    On an error, on Ctrl-C and on a full disk the half-written one is removed; after a `kill -9` it stays under a hidden
    name, and the next writer of the same path removes it (see `kgrec.drafts`). `path` itself never holds part of a
    result. kind: what may be replaced, where `overwrite`; None: a file by a file, a folder by a folder.

    Raises KgrecError where `path` exists and may not be replaced, see `refuse_existing`, or where the disk refuses.
    """
    path = Path(path)
    refuse_existing(path, overwrite, kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(path) as draft:
            yield draft.part
            refuse_existing(path, overwrite, kind)  # hours may have passed
            draft.take_place(replace=overwrite)
    except OSError as error:
        left = "what was there is as it was" if os.path.lexists(path) else "nothing was left there"
        raise KgrecError(f"cannot write {path}: {error.strerror or error}; {left}") from error
