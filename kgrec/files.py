"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kgrec.errors import KgrecError


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise where `path` exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise KgrecError(f"{path} exists already; name another --out, or say --overwrite to replace it")


@contextmanager
def whole(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A path beside `path` to write a file or folder at; it takes the place of `path` when the block ends well.

    On an error, on Ctrl-C and on a full disk the half-written one is removed; after a `kill -9` it stays under a hidden
    name, and the next writer of the same path removes it. `path` itself never holds part of a result.

    Raises KgrecError where `path` exists and `overwrite` is false, or where the disk refuses.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    _remove_abandoned(path)
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
    draft.rename(path)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    for draft in path.parent.glob(f".{path.name}.part-*"):
        writer = draft.name.rpartition("-")[2]
        if writer.isdigit() and not Path(f"/proc/{writer}").exists() and Path("/proc/self").exists():
            _remove(draft)
