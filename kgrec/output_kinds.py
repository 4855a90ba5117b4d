"""The kinds of files and folders that kgrec writes. They are recognized by their contents, so that --overwrite never
replaces anything else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from kgrec.errors import some


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that kgrec writes."""

    name: str  #: for messages, such as "run folder"
    document: str  #: the JSON file by which the folder is recognized
    keys: Mapping[str, type]  #: keys that the document must have, with their types
    #: patterns of the files that may be there, in which `*` matches no slash; the document is always allowed
    files: tuple[str, ...]
    listed_under: str | None = None  #: key of the document under which all other files are listed, if it lists them
    caches: tuple[str, ...] = ()  #: names of folders inside whose contents can be made again, and are not listed

    def objection(self, path: Path) -> str | None:
        """Why a folder is not of this kind, or has other files too, as words to follow its name; None if it may be
        replaced."""
        if not path.is_dir():
            return f"is a file, which a {self.name} cannot replace"
        found = sorted(one.name for one in path.iterdir())
        if not found:
            return None
        if self.document not in found:
            return f"is a folder without {self.document} that has other files ({some(found, 3)}), so it is not replaced"
        document = read_object(path / self.document)
        wrong = missing_keys(document, self.keys)
        if document is None or wrong:
            return (
                f"has a {self.document} that is not that of a {self.name} ({wrong or 'it is no JSON object'}), so it "
                "is not replaced"
            )
        listed = document.get(self.listed_under) if self.listed_under else None
        foreign = sorted(self._foreign(path, listed if isinstance(listed, dict) and listed else None))
        if foreign:
            return (
                f"is a {self.name} that also has other files ({some(foreign)}), so it is not replaced; move them away"
            )
        return None

    def _foreign(self, path: Path, listed: Mapping[str, Any] | None) -> Iterator[str]:
        """Files, links and empty folders in a folder that kgrec does not write."""
        for folder, folders, names in os.walk(path):
            here = Path(folder).relative_to(path)
            if here.as_posix() in self.caches:
                folders.clear()
                continue
            for name in [*names, *(one for one in folders if (Path(folder) / one).is_symlink())]:
                place = (here / name).as_posix()
                own = any(_matches(place, pattern) for pattern in (self.document, *self.files))
                known = listed is None or place == self.document or place in listed or here.as_posix() in listed
                if not (own and known) or (path / place).is_symlink():
                    yield place
            known_folder = any(_matches(here.as_posix(), pattern.rpartition("/")[0]) for pattern in self.files)
            if not folders and not names and not known_folder:
                yield f"{here.as_posix()}/"


@dataclass(frozen=True)
class FileKind:
    """A kind of file that kgrec writes."""

    name: str  #: for messages, such as "table of recommendations or predictions"
    check: Callable[[Path], str | None]  #: why a file is not of this kind; None if it is

    def objection(self, path: Path) -> str | None:
        """Why a path is not of this kind, as words to follow its name; None if it is, or if it is an empty file."""
        if path.is_dir():
            return "is a folder, which a file cannot replace"
        if not path.is_file():
            return "is neither a file nor a folder, so it is not replaced"
        if path.stat().st_size == 0:
            return None
        found = self.check(path)
        return None if found is None else f"is no {self.name} ({found}), so it is not replaced"


OutputKind = FolderKind | FileKind


def json_kind(name: str, keys: Mapping[str, type]) -> FileKind:
    """The kind of a JSON file with an object that has these keys."""

    def check(path: Path) -> str | None:
        document = read_object(path)
        return "it is no JSON object" if document is None else missing_keys(document, keys)

    return FileKind(name, check)


def marked_kind(name: str, marker: str) -> FileKind:
    """The kind of a file that holds a text which only kgrec writes."""

    def check(path: Path) -> str | None:
        return None if marker.encode() in path.read_bytes() else f"it does not hold {marker!r}"

    return FileKind(name, check)


def read_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if it is no object, or if the file cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def missing_keys(document: Mapping[str, Any] | None, keys: Mapping[str, type]) -> str | None:
    """The missing keys of an object, in words; None if none is missing."""
    wrong = [name for name, kind in keys.items() if document is not None and not isinstance(document.get(name), kind)]
    return f"without {some(wrong)}" if wrong else None


def _matches(place: str, pattern: str) -> bool:
    """Whether a relative path matches a pattern, part by part."""
    parts, wanted = place.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(fnmatchcase(part, one) for part, one in zip(parts, wanted))
