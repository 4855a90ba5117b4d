"""Names of blank nodes. Blank nodes of two files get different names; a file that is read twice gets the same."""

from __future__ import annotations

from pathlib import Path


class FileBlankNames(dict[str, str]):
    """The blank nodes of a file -> names that no other file has: `_:b0`, `_:b1`, in order of appearance."""

    def __init__(self, numbers: BlankNumbers, first: int) -> None:
        super().__init__()
        self._numbers, self._next = numbers, first

    def __missing__(self, label: str) -> str:
        name = self[label] = f"_:b{self._next}"
        self._next += 1
        self._numbers.next = max(self._numbers.next, self._next)
        return name


class BlankNumbers:
    """The numbers of all blank nodes so far.

    >>> numbers = BlankNumbers()
    >>> first, second = numbers.names(Path("a.ttl")), numbers.names(Path("b.ttl"))
    >>> first["x"], first["y"], numbers.names(Path("c.ttl"))["x"], numbers.names(Path("a.ttl"))["x"]
    ('_:b0', '_:b1', '_:b2', '_:b0')
    """

    def __init__(self) -> None:
        self.next = 0
        self._first: dict[Path, int] = {}

    def names(self, file: Path | None = None) -> FileBlankNames:
        """The names for a file's blank nodes. Read the file to its end before asking for the next one. None: names for
        a graph that is not a file."""
        first = self.next if file is None else self._first.setdefault(file.resolve(), self.next)
        return FileBlankNames(self, first)
