"""Drafts: unfinished results under hidden names in the folder of their destination.

| name | what it is |
|---|---|
| `.NAME.part-TOKEN` | what is being written, or being removed |
| `.NAME.old-TOKEN` | a folder that was moved aside, for the moment between two renames |
| `.NAME.lock-TOKEN` | a file that the writer holds locked (flock) until both are gone |

A token is random, and the system releases the locks of a dead process. So it can be seen whether a writer is alive,
also from another container. A draft is abandoned if its lock is free or its lock file is gone. On a volume without
locks, the writer of every draft with a lock file counts as alive.
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
except ImportError:  # not a POSIX system: without locks, no draft counts as abandoned
    fcntl = None  # type: ignore[assignment]

LONGEST_ENDING = len(".") + len(".part-") + 16  #: characters that a draft's name adds to its destination's name


class Draft:
    """A draft that this process writes at `part`. `take_place` makes it the result."""

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self.part, self.old, self.lock = (_beside(path, what, token) for what in ("part", "old", "lock"))
        self.mode = 0o600  #: mode of the result's files

    def take_place(self, replace: bool) -> None:
        """Rename the draft to its destination. replace: whether it may replace what is there.

        A file is replaced in one step, a folder in two. After an error or a signal between them, `clean` restores the
        former state; after a kill, `put_back` does. Raises KgrecError if something is there that may not be replaced,
        or if one of the two is a folder and the other a file; OSError if the system refuses.
        """
        _give_usual_mode(self.part, self.mode)
        if not os.path.lexists(self.path):
            _rename_to_new(self.part, self.path)
            return
        if not replace:
            raise exists_already(self.path)
        if self.path.is_dir() != self.part.is_dir():
            is_what, made = ("folder", "file") if self.path.is_dir() else ("file", "folder")
            raise KgrecError(f"{self.path} is a {is_what}, which cannot be replaced by a {made}; name another path")
        if not self.part.is_dir():
            self.part.replace(self.path)
            return
        self.path.rename(self.old)
        self.part.rename(self.path)

    def clean(self) -> None:
        """Remove the draft. A folder that was moved aside is put back if nothing took its place, else removed. May be
        called again after a signal interrupted it."""
        _remove(self.part)
        if self.old.exists():
            if os.path.lexists(self.path):
                self.old.rename(self.part)  # so that a kill during the removal leaves no folder that looks complete
                _remove(self.part)
            else:
                self.old.rename(self.path)
        self.lock.unlink(missing_ok=True)


@contextmanager
def draft_of(path: Path) -> Iterator[Draft]:
    """A draft of `path`, whose parent folder exists. It is removed at the end of the block, unless it took its
    place."""
    while True:
        draft, lock = Draft(path, secrets.token_hex(8)), None
        try:
            lock = os.open(draft.lock, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            if _lock(lock) is not False and os.fstat(lock).st_nlink:
                draft.mode = os.fstat(lock).st_mode & 0o666  # the mode of a new file, with the umask applied
                yield draft
                return
            # another writer took the draft for abandoned in the meantime
        finally:
            try:
                draft.clean()
            except OSError:  # on a full disk, a rename may fail at first and succeed after a removal
                draft.clean()
            except BaseException:  # raised by a signal
                draft.clean()
                raise
            finally:
                if lock is not None:
                    os.close(lock)


def remove_folder(path: Path) -> None:
    """Remove a folder in such a way that a kill leaves all of it or nothing. Raises OSError if the system refuses."""
    if path.is_dir():
        with draft_of(path) as draft:
            path.rename(draft.part)


def put_back(path: Path) -> None:
    """If nothing is at `path`, put back the folder that a killed writer had moved aside.

    Call it before a folder is read. Raises KgrecError if there is such a folder and the system refuses to rename it.
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
                        f"{path} was being replaced when its writer was killed; the complete former folder is at {old} "
                        f"but cannot be renamed ({error.strerror}); rename it yourself"
                    ) from error
                _beside(path, "lock", token).unlink(missing_ok=True)


def clear_abandoned(path: Path) -> None:
    """Remove the drafts of killed writers of `path`, and put back what one of them had moved aside."""
    put_back(path)
    for token in _tokens(path, "part", "old", "lock"):
        with _claim(path, token) as abandoned:
            if abandoned:
                with suppress(OSError):
                    _remove(_beside(path, "part", token))
                    _remove(_beside(path, "old", token))
                    _beside(path, "lock", token).unlink(missing_ok=True)


def exists_already(path: Path) -> KgrecError:
    """The error for an output that exists already."""
    return KgrecError(f"{path} exists already; name another --out, or use --overwrite to replace it")


def _beside(path: Path, what: str, token: str) -> Path:
    return path.parent / f".{path.name}.{what}-{token}"


def _tokens(path: Path, *kinds: str) -> list[str]:
    """The tokens of drafts of `path` of these kinds."""
    found = set()
    for kind in kinds:
        start = f".{path.name}.{kind}-"
        for one in path.parent.glob(f"{glob.escape(start)}*"):
            if re.fullmatch("[0-9a-f]{1,16}", one.name[len(start) :]):
                found.add(one.name[len(start) :])
    return sorted(found)


def _lock(file: int) -> bool | None:
    """Lock an open file. Whether this process has the lock now; None: the system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR) else None
    return True


@contextmanager
def _claim(path: Path, token: str) -> Iterator[bool]:
    """Whether a draft's writer is dead. Inside the block, no other process can claim the draft."""
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
    """Whether a token is the number of another living process: older versions named their drafts so."""
    return token.isdecimal() and len(token) < 8 and int(token) != os.getpid() and Path(f"/proc/{token}").exists()


def _rename_to_new(draft: Path, path: Path) -> None:
    """Rename to a free name. Nothing is replaced if another writer has taken the name in the meantime."""
    if draft.is_dir():
        draft.rename(path)  # the system refuses if there is a file, or a folder that is not empty
        return
    try:
        os.link(draft, path)  # unlike a rename, it fails if the name is taken
    except FileExistsError:
        raise exists_already(path) from None
    except OSError:  # a volume without hard links
        draft.rename(path)


def _give_usual_mode(draft: Path, mode: int) -> None:
    """Give every file of a draft the usual mode of new files, since some libraries write files that only the owner can
    read. mode: that mode."""
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
