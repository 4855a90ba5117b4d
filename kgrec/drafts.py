"""Drafts: results that are not finished, under hidden names beside their destination.

| name | what it is |
|---|---|
| `.NAME.part-TOKEN` | what is being written, or being removed |
| `.NAME.old-TOKEN` | a folder that was moved aside, for the moment between two renames |
| `.NAME.lock-TOKEN` | a file that the writer holds locked (flock) until both are gone |

A token is random and the system releases a dead process's locks, so a writer is known to live whatever container it
runs in. A draft whose lock is free, or whose lock's file is gone, is abandoned. Where a volume has no locks, all drafts
with a lock's file are taken to be of living writers.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kgrec.errors import KgrecError

try:
    import fcntl
except ImportError:  # not a POSIX system: no locks, so no draft is taken to be abandoned
    fcntl = None  # type: ignore[assignment]

LONGEST_ENDING = len(".") + len(".part-") + 16  #: what a draft's name has more than its destination's


class Draft:
    """A draft that this process writes. `part` is where; `take_place` makes it the result."""

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self.part, self.old, self.lock = (_beside(path, what, token) for what in ("part", "old", "lock"))
        self.mode = 0o600  #: of the result's files

    def take_place(self, replace: bool) -> None:
        """Rename the draft to its destination, in the place of what is there where `replace`.

        A file takes another's place in one step. A folder needs two: what an error or a signal between them leaves is
        mended by `clean`, and what a kill leaves by `put_back`. Raises KgrecError where something is there that is not
        to be replaced, or is a folder and the draft a file, or the other way round; OSError where the system refuses.
        """
        _give_usual_mode(self.part, self.mode)
        if not os.path.lexists(self.path):
            _rename_to_new(self.part, self.path)
            return
        if not replace:
            raise exists_already(self.path)
        if self.path.is_dir() != self.part.is_dir():
            is_what, made = ("folder", "file") if self.path.is_dir() else ("file", "folder")
            raise KgrecError(f"{self.path} is a {is_what}, and a {made} does not take its place; name another")
        if not self.part.is_dir():
            self.part.replace(self.path)
            return
        self.path.rename(self.old)
        self.part.rename(self.path)

    def clean(self) -> None:
        """Leave nothing beside the destination: what was moved aside goes back where nothing took its place, and is
        removed where something did. May be called again where a signal interrupts it."""
        _remove(self.part)
        if self.old.exists():
            if os.path.lexists(self.path):
                self.old.rename(self.part)  # so that a kill while it is removed leaves nothing that seems to be whole
                _remove(self.part)
            else:
                self.old.rename(self.path)
        self.lock.unlink(missing_ok=True)


@contextmanager
def draft_of(path: Path) -> Iterator[Draft]:
    """A draft of `path`, whose folder exists. It is gone when the block ends, if it has not taken its place."""
    while True:
        draft, lock = Draft(path, secrets.token_hex(8)), None
        try:
            lock = os.open(draft.lock, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            if _lock(lock) is not False and os.fstat(lock).st_nlink:
                draft.mode = os.fstat(lock).st_mode & 0o666  # of a file that was just created: the umask is in it
                yield draft
                return
            # another writer came between, and took it to be abandoned
        finally:
            try:
                draft.clean()
            except OSError:  # the system may refuse a rename where the disk is full, and not after a removal
                draft.clean()
            except BaseException:  # a signal's
                draft.clean()
                raise
            finally:
                if lock is not None:
                    os.close(lock)


def remove_folder(path: Path) -> None:
    """Remove a folder so that a kill leaves all of it or none. Raises OSError where the system refuses."""
    if path.is_dir():
        with draft_of(path) as draft:
            path.rename(draft.part)


def put_back(path: Path) -> None:
    """Put back what a killed writer of `path` had moved aside to replace, where nothing is at `path`.

    To be called before a folder is read. Raises KgrecError where there is such a folder, and the system refuses.
    """
    if os.path.lexists(path) or not path.name or not path.parent.is_dir():
        return
    for token in _tokens(path, "old"):
        old = _beside(path, "old", token)
        with _claim(path, token) as abandoned:
            if abandoned and not path.exists():
                try:
                    old.rename(path)
                except FileNotFoundError:
                    continue  # somebody else was quicker
                except OSError as error:
                    raise KgrecError(
                        f"{path} was being replaced when its writer was killed; it is whole at {old}, and cannot be "
                        f"renamed ({error.strerror}); rename it yourself"
                    ) from error
                _beside(path, "lock", token).unlink(missing_ok=True)


def clear_abandoned(path: Path) -> None:
    """Remove what killed writers of `path` left, and put back what one of them had moved aside to replace."""
    put_back(path)
    for token in _tokens(path, "part", "old", "lock"):
        with _claim(path, token) as abandoned:
            if abandoned:
                with suppress(OSError):
                    _remove(_beside(path, "part", token))
                    _remove(_beside(path, "old", token))
                    _beside(path, "lock", token).unlink(missing_ok=True)


def exists_already(path: Path) -> KgrecError:
    """The error where something is that was to be made."""
    return KgrecError(f"{path} exists already; name another --out, or say --overwrite to replace it")


def _beside(path: Path, what: str, token: str) -> Path:
    return path.parent / f".{path.name}.{what}-{token}"


def _tokens(path: Path, *kinds: str) -> list[str]:
    """The tokens of writers of `path` that have left something of these kinds."""
    found = set()
    for kind in kinds:
        start = f".{path.name}.{kind}-"
        for one in path.parent.glob(f"{glob.escape(start)}*"):
            if re.fullmatch("[0-9a-f]{1,16}", one.name[len(start) :]):
                found.add(one.name[len(start) :])
    return sorted(found)


def _lock(file: int) -> bool | None:
    """Whether the lock of an open file is now held by this process; None: there are no locks here."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR) else None
    return True


@contextmanager
def _claim(path: Path, token: str) -> Iterator[bool]:
    """Whether a draft's writer is dead; while the block lasts no other process takes the draft to be its own."""
    try:
        lock = os.open(_beside(path, "lock", token), os.O_RDWR)
    except FileNotFoundError:
        yield not _is_former_writer(token)
        return
    except OSError:
        yield False
        return
    try:
        yield _lock(lock) is True
    finally:
        os.close(lock)


def _is_former_writer(token: str) -> bool:
    """Whether a token is the number of another process that lives here, as former versions named their drafts."""
    return token.isdecimal() and len(token) < 8 and int(token) != os.getpid() and Path(f"/proc/{token}").exists()


def _rename_to_new(draft: Path, path: Path) -> None:
    """Rename to a name that is free, and stays what it is where another writer has taken it meanwhile."""
    if draft.is_dir():
        draft.rename(path)  # refused by the system where there is a file, or a folder that is not empty
        return
    try:
        os.link(draft, path)  # unlike a rename, refused where the name is taken
    except FileExistsError:
        raise exists_already(path) from None
    except OSError:  # a volume without hard links
        draft.rename(path)


def _give_usual_mode(draft: Path, mode: int) -> None:
    """Give every file of a draft the mode that the umask gives to new files; some libraries write them for the owner
    alone. mode: those bits."""
    files = [draft] if draft.is_file() else [file for file in draft.rglob("*") if file.is_file()]
    for file in files:
        if file.stat().st_mode & 0o777 != mode:
            with suppress(PermissionError):  # a volume without modes
                file.chmod(mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
