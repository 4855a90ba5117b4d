"""How far a long piece of work is, for whoever watches it.

Work that may take more than a moment opens a Task and counts in it. A watcher is told when a task begins and when it
ends, and reads it in between as often as it likes; counting calls nobody. Without a watcher nothing is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")
Kind = TypeVar("Kind", bound="Task")


class Task:
    """A piece of work: how much there is of it, and how much is done.

    >>> task = Task("ranking", 6_040, "users")
    >>> task.advance(2_048)
    >>> task.done, task.total
    (2048, 6040)
    """

    def __init__(self, what: str, total: float = 0, unit: str = "", *, done: float = 0) -> None:
        """what: what is being done, such as "ranking". total: how much there is of it; 0: that is not known. unit: in
        what it is counted, such as "users"; "": it is a share, from 0 to 1. done: what was done before it began."""
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self._before = done
        self.begun = self._moved = time.monotonic()  #: seconds of the system's clock

    def advance(self, number: float = 1) -> None:
        """Count what was done since."""
        self.done += number
        self._moved = time.monotonic()

    def reach(self, done: float) -> None:
        """Say how much is done in all."""
        self.done = done
        self._moved = time.monotonic()

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes if it goes on as it did so far; None where nothing says that."""
        done = self.done - self._before
        if not self.total or done <= 0 or self.done > self.total:
            return None
        of_one = (self._moved - self.begun) / done
        return max(0.0, of_one * (self.total - self.done) - (time.monotonic() - self._moved))


class Watcher(Protocol):
    """Who watches tasks. Both methods may be called from several threads; tasks within a task begin after it."""

    def begins(self, task: Task) -> None:
        """A task begins."""

    def ends(self, task: Task) -> None:
        """It ends, also where its work failed."""


_WATCHER: ContextVar[Watcher | None] = ContextVar("_WATCHER", default=None)


def watcher() -> Watcher | None:
    """Who watches the work that is done here; None: nobody."""
    return _WATCHER.get()


@contextmanager
def watched(by: Watcher | None) -> Iterator[None]:
    """Inside this context, a watcher is told of all tasks. None: nobody is.

    >>> class Printer:
    ...     def begins(self, task):
    ...         print(task.what)
    ...
    ...     def ends(self, task):
    ...         print(f"{task.done:g} of {task.total:g} {task.unit}")
    >>> with watched(Printer()):
    ...     letters = list(counted("spelling", "abc", 3, "letters"))
    spelling
    3 of 3 letters
    """
    token = _WATCHER.set(by)
    try:
        yield
    finally:
        _WATCHER.reset(token)


@contextmanager
def working(task: Kind) -> Iterator[Kind]:
    """Inside this context, a task is being done."""
    by = _WATCHER.get()
    if by is None:
        yield task
        return
    try:
        by.begins(task)
        yield task
    finally:
        by.ends(task)


def counted(
    what: str, parts: Iterable[T], total: float, unit: str, size: Callable[[T], float] = lambda part: 1
) -> Iterator[T]:
    """The same parts, as a task: each counts when the next one is asked for. size: how much a part is of the total."""
    with working(Task(what, total, unit)) as task:
        for part in parts:
            yield part
            task.advance(size(part))
