"""A line at the foot of the terminal that says how far a command is; elsewhere a plain line now and then.

Nothing else of the terminal is changed: the cursor stays visible, and what a killed command leaves is one line of text.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from contextlib import suppress
from typing import Any, TextIO

from kgrec.cli.progress_lines import fitted, parts_of
from kgrec.progress import Task

SECONDS_BETWEEN = 0.2  #: how often the line is drawn
SECONDS_BEFORE = 0.5  #: what takes less long is not shown
SECONDS_PLAIN = 1.0  #: how often it is looked whether a plain line is due
SECONDS_OF_LINES = 30.0  #: how often a plain line is printed
ERASE = "\r\x1b[K"
WIDTH = 80  #: columns, where the terminal does not say how many it has
UNLIMITED = 10_000


def is_live() -> bool:
    """Whether a line can be drawn anew: stderr is a terminal that can, nobody asks for plain text by NO_COLOR, and
    stdout goes to no other program, which may write to the same terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") in ("dumb", ""):
        return False
    return sys.stderr.isatty() and not _is_pipe(sys.stdout)


def _is_pipe(stream: TextIO) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # it is closed, or no file
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class LiveLine:
    """Shows the tasks that are running, read a few times a second by a thread. What is printed in between goes above
    the line. It can be sent to another process, which then shows its own tasks."""

    def __init__(self) -> None:
        self._tasks: list[Task] = []
        self._changes = threading.RLock()
        self._process = os.getpid()
        self._drawer: _Drawer | None = None

    def __reduce__(self) -> tuple[type[LiveLine], tuple[()]]:
        return LiveLine, ()

    def begins(self, task: Task) -> None:
        """Show a task; one within a task is shown behind it."""
        if os.getpid() != self._process:  # forked, perhaps while a lock was held
            return
        with self._changes:
            self._tasks.append(task)
            if self._drawer is None:
                self._drawer = _Drawer(self._tasks)

    def ends(self, task: Task) -> None:
        """Show it no more; after the last one nothing is left of the line."""
        if os.getpid() == self._process:
            with self._changes:
                self._close([one for one in self._tasks if one is not task])

    def close(self) -> None:
        """Show nothing more, also of tasks whose end nobody has said."""
        if os.getpid() == self._process:
            with self._changes:
                self._close([])

    def _close(self, left: list[Task]) -> None:
        self._tasks[:] = left
        if not left and self._drawer is not None:
            drawer, self._drawer = self._drawer, None
            drawer.close()


class _Drawer:
    """The thread that draws, from the first task to the end of the last one."""

    def __init__(self, tasks: list[Task]) -> None:
        self._tasks, self._begun = tasks, time.monotonic()
        self._lock, self._end = threading.RLock(), threading.Event()
        self._is_live, self._is_drawn, self._is_within = is_live(), False, False
        self._out, self._encoding = sys.stderr, getattr(sys.stderr, "encoding", None) or "utf-8"
        if self._is_live:
            names = ["stderr", *(["stdout"] if sys.stdout.isatty() else [])]
            self._streams = {name: _Above(getattr(sys, name), self) for name in names}
            for name, above in self._streams.items():
                setattr(sys, name, above)
        else:
            self._streams = {}
        self._thread = threading.Thread(target=self._run, name="kgrec-progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and erase the line."""
        self._end.set()
        self._thread.join()
        self.erase()
        if self._is_within:  # Ctrl-C came in the middle of a line
            with suppress(OSError, ValueError):
                self._out.write("\n")
                self._out.flush()
        for name, above in self._streams.items():
            if getattr(sys, name) is above:
                setattr(sys, name, above.stream)

    def _run(self) -> None:
        said = self._begun
        while not self._end.wait(SECONDS_BETWEEN if self._is_live else SECONDS_PLAIN):
            now, tasks = time.monotonic(), list(self._tasks)
            if self._is_live and now - self._begun >= SECONDS_BEFORE:
                with suppress(OSError, ValueError):  # the terminal is gone
                    self._draw(tasks, now)
            elif not self._is_live and now - said >= SECONDS_OF_LINES and not _is_by_epochs(tasks):
                said = now
                print(fitted(parts_of(tasks, now), UNLIMITED), file=self._out, flush=True)

    def _draw(self, tasks: list[Task], now: float) -> None:
        parts = parts_of(tasks, now)  # before the lock is held: it may wait for a device
        try:
            columns = os.get_terminal_size(self._out.fileno()).columns or WIDTH
        except (OSError, ValueError):
            columns = WIDTH
        text = fitted([part._replace(text=self._shown(part.text)) for part in parts], columns - 1)
        with self._lock:
            if not self._is_within and not self._end.is_set():
                self._out.write(f"\r{text}\x1b[K")
                self._out.flush()
                self._is_drawn = True

    def _shown(self, text: str) -> str:
        """A text as the terminal's encoding has it."""
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def erase(self) -> None:
        """Clear the line."""
        with self._lock:
            if self._is_drawn:
                self._is_drawn = False
                self._out.write(ERASE)
                self._out.flush()

    def write_above(self, stream: TextIO, text: str) -> int:
        """Write a text where the line was. The line comes back when the text's own line has ended."""
        with self._lock:
            self.erase()
            if text:
                self._is_within = True  # also if a signal ends the writing
            number = stream.write(text)
            stream.flush()
            if text:
                self._is_within = not text.endswith("\n")
            return number


class _Above:
    """A stream whose texts are written above the line."""

    def __init__(self, stream: TextIO, drawer: _Drawer) -> None:
        self.stream, self._drawer = stream, drawer

    def write(self, text: str) -> int:
        return self._drawer.write_above(self.stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _is_by_epochs(tasks: list[Task]) -> bool:
    """Whether a line for each epoch is printed anyway."""
    from kgrec.training.training_tasks import TrainingTask

    return any(isinstance(task, TrainingTask) for task in tasks)
