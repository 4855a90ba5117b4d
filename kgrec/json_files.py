"""Read the JSON files of graph and run folders strictly: limited in size and depth, and checked for their types."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kgrec.errors import Fault, KgrecError
from kgrec.printable import is_no_unicode

DEEPEST = 64  #: brackets within brackets
LONGEST = 128_000_000  #: bytes; a schema of some millions of categories
SHOWN = 80  #: characters of a wrong value in a message


def read_object(path: Path, remedy: str = "train again", *, longest: int = LONGEST) -> dict[str, Any]:
    """Read the object in a JSON file. Its size is checked first. remedy: what an error message says to do.

    Raises KgrecError if the file is missing, is not a regular file, is not UTF-8, is too long or nested too deeply, is
    not a JSON object, or has an object with a repeated key.
    """
    size = file_size(path)
    if size is None:
        raise wrong_file(path.parent, f"lacks its file {path.name}; {remedy}", "missing file")
    if size > longest:
        raise wrong_file(path, f"has {size:,} bytes, and at most {longest:,} are read; {remedy}", "altered file")
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text, object_pairs_hook=_without_doubles)
    except RecursionError:
        raise _too_deep(path, remedy) from None
    except ValueError as error:
        raise wrong_file(path, f"is truncated or altered ({error}); {remedy}", "altered file") from error
    if not isinstance(value, dict):
        raise wrong_file(path, f"is altered: an object is wanted, and it holds {described(value)}; {remedy}")
    if text.count("{") + text.count("[") > DEEPEST and _is_deep(value):
        raise _too_deep(path, remedy)
    others = {name: one for name, one in value.items() if name != "files"}  # whose names are checked by themselves
    if "\\u" in text and (half := text_without_unicode(others)) is not None:  # UTF-8 itself has no half pairs
        raise wrong_file(path, f"is altered: {described(half)} has half a pair of surrogates; {remedy}")
    return value


def file_size(path: Path) -> int | None:
    """The bytes of a regular file; None if there is none."""
    found = _regular(path)
    return None if found is None else found.st_size


def file_state(path: Path) -> tuple[int, ...] | None:
    """What changes where a regular file is replaced or written to: its size, times of change and number; None if there
    is none."""
    found = _regular(path)
    if found is None:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def _regular(path: Path) -> os.stat_result | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name with a NUL
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    return found if stat.S_ISREG(found.st_mode) else None


def wrong_file(path: Path | str, what: str, kind: str = "altered file") -> KgrecError:
    """An error about a file; `what` follows its name in the message."""
    return KgrecError(Fault(what, str(path), kind=kind, file_is="subject"))


def described(value: object) -> str:
    """The type of a JSON value in words, with the beginning of the value.

    >>> described({"dim": 4}), described(True), described([1, 2])
    ("an object, {'dim': 4}", 'True', 'a list, [1, 2]')
    """
    try:
        shown = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        shown = "a number of thousands of digits"
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
    match value:
        case dict():
            return f"an object, {shown}"
        case list():
            return f"a list, {shown}"
        case str():
            return f"the text {shown}"
    return shown


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in made if names.count(name) > 1)!r} stands twice")
    return made


def _is_deep(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def text_without_unicode(value: object) -> str | None:
    """The first text or key with half a surrogate pair, which JSON can write and UTF-8 cannot; None if there is none.

    >>> text_without_unicode({"a": ["b", 1]}), text_without_unicode({"a": [{"\\ud800": 1}]})
    (None, '\\ud800')
    """
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str) and is_no_unicode(one):
            return one
        if isinstance(one, dict):
            left += one
            left += one.values()
        elif isinstance(one, list):
            left += one
    return None


def _too_deep(path: Path, remedy: str) -> KgrecError:
    return wrong_file(path, f"is altered: brackets stand in brackets more than {DEEPEST} deep; {remedy}")


# ---------------------------------------------------------------------- the types of values


class JsonPlace:
    """A place in a JSON file. It reads the values there, and names the place in errors.

    >>> JsonPlace("graph.json", "build the graph again").at("nodes").at("item").whole({"count": -1}, "count")
    Traceback (most recent call last):
    kgrec.errors.KgrecError: graph.json is not of the form that kgrec writes: nodes.item.count is -1, and a whole ...
    """

    def __init__(self, file: Path | str, remedy: str, key: str = "") -> None:
        self.file, self.remedy, self.key = file, remedy, key

    def at(self, name: object) -> JsonPlace:
        """The place of a key or an entry below this one."""
        return JsonPlace(self.file, self.remedy, f"{self.key}.{name}" if self.key else str(name))

    def wrong(self, name: object, value: object, wanted: str) -> KgrecError:
        """The error for a value that has the wrong type or is out of range."""
        where = self.at(name).key if name != "" else self.key or "it"
        return self._odd(f"{where} is {described(value)}, and {wanted} is wanted", where)

    def required(self, data: Mapping[str, Any], name: str) -> Any:
        """The value of a key. Raises KgrecError where it is missing."""
        if name not in data:
            raise self._odd(f"it lacks {self.at(name).key!r}", self.at(name).key)
        return data[name]

    def _odd(self, what: str, key: str) -> KgrecError:
        message = f"is not of the form that kgrec writes: {what}; {self.remedy}"
        return KgrecError(Fault(message, str(self.file), column=key, kind="bad schema", file_is="subject"))

    def text(self, data: Mapping[str, Any], name: str, default: str | None = None, *, none: bool = False) -> Any:
        """A text, or None if `none` allows it. default: the value if the key is missing; None: the key is required."""
        value = data.get(name, default) if default is not None or none else self.required(data, name)
        if not (isinstance(value, str) or (none and value is None)):
            raise self.wrong(name, value, "a text or null" if none else "a text")
        return value

    def whole(
        self, data: Mapping[str, Any], name: str, default: int | None = None, most: int = (1 << 63) - 1, least: int = 0
    ) -> int:
        """A whole number from `least` to `most`."""
        value = self.required(data, name) if default is None else data.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(name, value, f"a whole number from {least:,} to {most:,}")
        return value

    def number(self, data: Mapping[str, Any], name: str) -> float:
        """A finite number that a float holds."""
        value = self.required(data, name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e300:
            raise self.wrong(name, value, "a number")
        return value

    def mapping(self, data: Mapping[str, Any], name: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        """An object."""
        value = self.required(data, name) if default is None else data.get(name, default)
        if not isinstance(value, dict):
            raise self.wrong(name, value, "an object")
        return value

    def entries(self, data: Mapping[str, Any], name: str, default: list[Any] | None = None) -> list[Any]:
        """A list."""
        value = self.required(data, name) if default is None else data.get(name, default)
        if not isinstance(value, list | tuple):  # a tuple where it was never written
            raise self.wrong(name, value, "a list")
        return list(value)

    def texts(self, data: Mapping[str, Any], name: str, default: list[str] | None = None) -> tuple[str, ...]:
        """A list of texts."""
        value = self.entries(data, name, default)
        for place, one in enumerate(value):
            if not isinstance(one, str):
                raise self.at(name).wrong(place, one, "a text")
        return tuple(value)

    def truth(self, data: Mapping[str, Any], name: str, default: bool) -> bool:
        """True or false."""
        value = data.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, value, "true or false")
        return value

    def finite(self, value: object) -> None:
        """Raise KgrecError if a value contains NaN or infinity anywhere."""
        if not _is_finite(value):
            self._name_first(value)

    def _name_first(self, value: object) -> None:
        """Raise KgrecError for the first NaN or infinity in a value, with its place."""
        if isinstance(value, float) and not math.isfinite(value):
            raise self.wrong("", value, "a finite number")
        if isinstance(value, dict | list):
            for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(inner, dict | list | float):
                    self.at(name)._name_first(inner)


def _is_finite(value: object) -> bool:
    """Whether a value contains neither NaN nor infinity anywhere."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, float):
            if not math.isfinite(one):
                return False
        elif isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one
    return True
