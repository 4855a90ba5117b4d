"""Write folders and files completely or not at all, and check where they are written."""

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

LONGEST_NAME = 255  #: maximum bytes of a file name in common file systems
AT_ONCE = 1 << 16  #: bytes (64 KiB) up to which a file is read at once to hash it
SQLITE = b"SQLite format 3\0"  #: how an SQLite file begins


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, one key on each line."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size <= AT_ONCE:
            return hashlib.sha256(file.read()).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_existing(
    path: str | Path,
    overwrite: bool,
    kind: OutputKind | None = None,
    inputs: Iterable[str | Path | None] = (),
) -> None:
    """Raise KgrecError if nothing may or can be written to `path`. Call it before hours of work.

    Without `overwrite`, nothing may exist there. With it, only an empty folder or file or one of `kind` may be there,
    which is recognized by its contents. In any case, `path` must not be a symbolic link, the current folder or a folder
    above it, one of `inputs` (the files that are read; None is ignored) or a folder above one, a mounted volume, or in
    a folder that cannot be written to. Drafts of killed writers of `path` are removed first.
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
    """Raise KgrecError if a path cannot be an output, whatever is there."""
    real, here = path.resolve(), Path.cwd()
    if path.name in ("", "..") or real == here or real in here.parents:
        raise KgrecError(f"--out {path} is the current folder, or one above it; name a folder inside it")
    if path.is_symlink():
        raise KgrecError(f"--out {path} is a symbolic link to {path.readlink()}; name the real path")
    if is_no_unicode(str(path)):  # neither Arrow nor safetensors opens it
        raise KgrecError(f"--out {path} has a name that is not UTF-8; name another --out")
    for one in inputs:
        read = None if one is None else Path(one).resolve()
        if read is not None and (real == read or real in read.parents or _are_same(real, read)):
            raise KgrecError(f"--out {path} is or contains {one}, which this command reads; name another --out")
    if os.path.ismount(path):
        raise KgrecError(f"--out {path} is a mounted volume, which cannot be replaced; name a folder in it")
    if len(os.fsencode(path.name)) + LONGEST_ENDING > LONGEST_NAME:
        raise KgrecError(
            f"--out {path} has a name of {len(os.fsencode(path.name))} bytes; use a name of at most "
            f"{LONGEST_NAME - LONGEST_ENDING} bytes"
        )
    parent = path.parent
    while not os.path.lexists(parent):  # missing folders will be made
        parent = parent.parent
    if not parent.is_dir():
        raise KgrecError(f"--out {path}: {parent} is no folder; name another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise KgrecError(f"--out {path}: you may not write to the folder {parent}; name another --out")


def _are_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file."""
    return one.exists() and other.exists() and one.samefile(other)


@contextmanager
def whole(path: str | Path, overwrite: bool = False, kind: OutputKind | None = None) -> Iterator[Path]:
    """A temporary path to write a file or folder to. When the block ends without an error, it is renamed to `path`.

    On an error, on Ctrl-C and on a full disk, the half-written result is removed. After a `kill -9` it stays under a
    hidden name, and the next writer of the same path removes it (see `kgrec.drafts`). `path` itself never has part of a
    result. kind: what may be replaced with `overwrite`; None: a file by a file, a folder by a folder.

    Raises KgrecError if `path` exists and may not be replaced (see `refuse_existing`), or if it cannot be written.
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
        left = "what was there is unchanged" if os.path.lexists(path) else "no file is left there"
        raise KgrecError(f"cannot write {path}: {error.strerror or error}; {left}") from error
