"""Check the folder of a run or graph, which may come from a stranger: it may contain files and folders, and nothing
that leads outside."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from kgrec.errors import some
from kgrec.json_files import wrong_file
from kgrec.printable import is_no_unicode

MOST = 100_000  #: files and folders that are looked at
LONGEST = 240  #: characters of a file's name
DEEPEST = 8  #: folders in folders
ODD = re.compile(r"[\x00-\x1f\\\x7f\ud800-\udfff]")  #: what no name of a file that kgrec writes has


def must_be_plain(folder: Path, remedy: str) -> list[str]:
    """The names of all files in a folder and its subfolders, relative to the folder, with `/` as separator. The path of
    the folder may be a link, because the user chose it. Links inside are refused: whoever made the folder chose them.

    Raises KgrecError for a symbolic link, for a pipe or a device, for too many files, and for a path that is not UTF-8.
    """
    if is_no_unicode(str(folder)):
        raise wrong_file(
            folder, "has a path that is not UTF-8, which Arrow does not open; rename the folder", "bad name"
        )
    found, odd = list[str](), list[str]()
    for entry, name in entries(folder):
        if len(found) + len(odd) >= MOST:
            raise wrong_file(folder, f"holds more than {MOST:,} files, which kgrec never writes; {remedy}")
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            odd.append(name)
        elif entry.is_file():
            found.append(name)
    if odd:
        what = f"holds {some(sorted(odd))}, which {'is' if len(odd) == 1 else 'are'} no file but a link, pipe or device"
        raise wrong_file(folder, f"{what}, and may lead out of the folder; put files in their place, or {remedy}")
    return sorted(found)


def entries(folder: Path) -> Iterator[tuple[os.DirEntry[str], str]]:
    """All entries of a folder and its subfolders, with their relative names. Links are not followed."""
    left = [(os.fspath(folder), "")]
    while left:
        path, prefix = left.pop()
        with os.scandir(path) as listed:
            for entry in listed:
                yield entry, prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    left.append((entry.path, f"{prefix}{entry.name}/"))


def is_inside(name: str) -> bool:
    r"""Whether a name in a list of files belongs to a file inside the folder: it is relative, has `/` as separator, and
    never goes up.

    >>> [is_inside(name) for name in ("nodes/item.parquet", "../etc/passwd", "/etc/passwd", "a\\..\\b", "a//b", "")]
    [True, False, False, False, False, False]
    """
    parts = name.split("/")  # of an absolute one, the first is empty
    odd = any(part in ("", ".", "..") or len(part) > LONGEST for part in parts)
    return not odd and ODD.search(name) is None and len(parts) <= DEEPEST and ":" not in parts[0]
