"""What kgrec writes, known by its contents, so that nothing of anybody else's is replaced."""

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
    document: str  #: the JSON file that says what the folder is
    keys: Mapping[str, type]  #: what the document must have, and of which types
    #: the files that may be there, by patterns in which `*` is no slash; the document need not be among them
    files: tuple[str, ...]
    listed_under: str | None = None  #: the document's key whose keys name every other file, where it has them

    def objection(self, path: Path) -> str | None:
        """Why a folder is not one of this kind alone, to follow its name; None: it is one, or is empty."""
        if not path.is_dir():
            return f"is a file, and a {self.name} does not take its place"
        found = sorted(one.name for one in path.iterdir())
        if not found:
            return None
        if self.document not in found:
            return (
                f"is a folder without {self.document}, so it holds other things ({some(found, 3)}) and is not replaced"
            )
        document = read_object(path / self.document)
        wrong = missing_keys(document, self.keys)
        if document is None or wrong:
            return (
                f"holds a {self.document} that is not of a {self.name} ({wrong or 'it is no JSON object'}), so it is "
                "not replaced"
            )
        listed = document.get(self.listed_under) if self.listed_under else None
        foreign = sorted(self._foreign(path, listed if isinstance(listed, dict) and listed else None))
        if foreign:
            return (
                f"is a {self.name} that holds other things too ({some(foreign)}), and is not replaced; move them away"
            )
        return None

    def _foreign(self, path: Path, listed: Mapping[str, Any] | None) -> Iterator[str]:
        """What of a folder kgrec does not write: files, links, empty folders."""
        for folder, folders, names in os.walk(path):
            here = Path(folder).relative_to(path)
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
    check: Callable[[Path], str | None]  #: what a file that is none has instead; None: it is one

    def objection(self, path: Path) -> str | None:
        """Why a path is not of this kind, to follow its name; None: it is, or is an empty file."""
        if path.is_dir():
            return "is a folder, and a file does not take its place"
        if not path.is_file():
            return "is neither a file nor a folder, and is not replaced"
        if path.stat().st_size == 0:
            return None
        found = self.check(path)
        return None if found is None else f"is no {self.name} ({found}), so it is not replaced"


OutputKind = FolderKind | FileKind


def json_kind(name: str, keys: Mapping[str, type]) -> FileKind:
    """The kind of a JSON file that holds an object with these keys."""

    def check(path: Path) -> str | None:
        document = read_object(path)
        return "it is no JSON object" if document is None else missing_keys(document, keys)

    return FileKind(name, check)


def read_object(path: Path) -> dict[str, Any] | None:
    """What a JSON file holds; None where that is no object, or the file cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def missing_keys(document: Mapping[str, Any] | None, keys: Mapping[str, type]) -> str | None:
    """What an object lacks of some keys, in words; None where it lacks nothing."""
    wrong = [name for name, kind in keys.items() if document is not None and not isinstance(document.get(name), kind)]
    return f"without {some(wrong)}" if wrong else None


def _matches(place: str, pattern: str) -> bool:
    """Whether a relative path is as a pattern says, part by part."""
    parts, wanted = place.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(fnmatchcase(part, one) for part, one in zip(parts, wanted))
