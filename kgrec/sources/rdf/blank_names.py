"""Names of blank nodes: those of two files are different, those of one file that is read twice the same."""

from __future__ import annotations

from pathlib import Path


class FileBlankNames(dict[str, str]):
    """A file's own blank nodes -> names that no other file has: `_:b0`, `_:b1` ... as they appear."""

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
        """The names of a file's blank nodes, which is to be read to its end before the next; None: of a graph that is
        no file."""
        first = self.next if file is None else self._first.setdefault(file.resolve(), self.next)
        return FileBlankNames(self, first)
