"""Each rank of a training says twice a second that it is there, and hears why another one ended."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from torch import distributed

from kgrec import ranks
from kgrec.errors import KgrecError
from kgrec.ranks import LostRank

SECONDS_BETWEEN_BEATS = 0.5
SECONDS_TO_NOTICE = 1.5  #: how long the training may take to notice by itself that a rank is lost
SECONDS_TO_ASK = 2.5  #: how long one that lost a connection waits to hear why, and who
WAITING = "KGREC_SECONDS_LOST"  #: environment variable: after how much silence a rank counts as lost
USUAL_SECONDS = 30.0
LEFT, STOPPED = "has left", "was stopped by a signal"  #: why a rank ended, as it says to the others


def seconds_of_silence() -> float:
    """After how many seconds without a word a rank counts as lost. Raises KgrecError for a bad KGREC_SECONDS_LOST."""
    text = os.environ.get(WAITING, "")
    try:
        found = float(text) if text else USUAL_SECONDS
    except ValueError:
        found = -1.0
    if not 2 <= found < float("inf"):
        raise KgrecError(f"the environment variable {WAITING} is {text!r}; it must be a number of seconds from 2")
    return found


class RankWatch:
    """A thread that tells the other ranks that this one is there, and notices when one of them is not.

    Ranks that share no network find each other through the store of torch.distributed. When a rank has ended, or has
    not been heard for some time, the main thread gets LostRank: in an exchange at once, elsewhere a moment later.
    """

    def __init__(self) -> None:
        self.rank, self.world = ranks.rank(), ranks.world()
        self.host = socket.gethostname()
        self.silence = seconds_of_silence()
        store: Any = distributed.distributed_c10d._get_default_store()
        self.store = store.clone()  # a connection of its own, as one waits for an answer on the other
        self.hosts: list[str] = []
        self.lost: dict[int, str] = {}  #: what happened, by rank
        self.said: set[int] = set()  #: ranks that have said themselves why they ended, on their machine too
        self.left: set[int] = set()  #: ranks that ended as they noticed that another one is lost
        self.beats: dict[int, int] = {}
        self.heard: dict[int, float] = {}
        self.last_beat = time.monotonic()  #: when the store last answered
        self._closing = threading.Event()
        self._noticed = False  #: whether the main thread knows
        self._since: float | None = None  #: when the first rank was lost
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._before: Any = None

    def begin(self) -> None:
        """Begin to watch, as all ranks do at the same time."""
        self.store.add(f"beat/{self.rank}", 1)
        self.store.add("ends", 0)
        self.hosts = ranks.of_all(self.host)  # after this, everybody's beat is there
        now = time.monotonic()
        self.heard, self.last_beat = dict.fromkeys(self._others(), now), now
        if hasattr(signal, "SIGUSR1") and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGUSR1, self._interrupt)
        ranks.listen(self.reason)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        ranks.listen(None)
        if self._before is not None:
            signal.signal(signal.SIGUSR1, self._before)
        if self._thread.is_alive():
            self._thread.join(SECONDS_TO_ASK)

    def reason(self) -> str | None:
        """What happened to the others, or None if they are all there."""
        if not self.lost and self.is_cut:
            self.lost[0] = f"{self._gone(0)}, for {self.silence:g} seconds"
        return None if not self.lost else "; ".join(self.lost[one] for one in sorted(self.lost))

    @property
    def is_cut(self) -> bool:
        """Whether the store has not answered for so long that it cannot be reached. It is on the machine of rank 0."""
        return self.rank != 0 and time.monotonic() - self.last_beat > self.silence

    @property
    def speaks(self) -> bool:
        """Whether this rank says for its machine what happened: the first there that is not lost, unless one has said
        it."""
        here = [one for one, host in enumerate(self.hosts) if host == self.host]
        left = [one for one in here if one not in self.lost]
        return not self.said & set(here) and self.rank == min(left, default=self.rank)

    def ends(self) -> None:
        """The main thread is about to end, so that nothing has to interrupt it."""
        self._noticed = True

    def was_said(self, what: str) -> bool:
        """Whether another rank of this machine has said the same, and this one need not repeat it."""
        here = [one for one, host in enumerate(self.hosts) if host == self.host and one < self.rank]
        return any(self.lost.get(one, "").endswith(what) for one in here)

    def say(self, what: str, *, wait: bool = True) -> None:
        """Let the others know why this rank ends; LEFT: because another one is lost. wait: for a moment, until they
        have heard it."""
        if self.is_cut:
            return
        with suppress(RuntimeError):
            self.store.set(f"end/{self.rank}", what)
            self.store.add("ends", 1)
            until = time.monotonic() + SECONDS_TO_ASK * wait
            while time.monotonic() < until and self._listeners() < self.world - 1 - len(self.lost):
                time.sleep(0.05)

    def _listeners(self) -> int:
        """How many ranks have heard why this one ends."""
        return int(self.store.add(f"heard/{self.rank}", 0))

    def why(self, error: LostRank) -> LostRank:
        """The error with what happened to which rank, after a moment in which it can say so."""
        until = time.monotonic() + SECONDS_TO_ASK
        while not self.lost and time.monotonic() < until:
            time.sleep(0.05)
        if not self.lost:
            self.lost |= {one: self._gone(one) for one in self._silent()}
        found = LostRank(f"{self.reason() or error}; {self._remedy()}")
        found.quiet = not self.speaks
        return found

    def others_ended(self) -> LostRank | None:
        """After a signal: whether another rank was lost before, so that the signal only ended what was left. None: all
        have been stopped, or go on."""
        until = time.monotonic() + SECONDS_TO_ASK
        while time.monotonic() < until and not set(self._others()) <= self.lost.keys() | self.left:
            time.sleep(0.05)
        self.lost |= {one: self._gone(one) for one in self._silent()}
        self.lost = {one: what for one, what in self.lost.items() if not what.endswith(STOPPED)}
        return self.why(LostRank("another rank has ended")) if self.lost or self.left else None

    def _silent(self) -> list[int]:
        """The ranks that have said nothing for some beats."""
        ended, before = self.lost.keys() | self.left, time.monotonic() - 3 * SECONDS_BETWEEN_BEATS
        return [one for one in self._others() if one not in ended and self.heard.get(one, 0.0) < before]

    @staticmethod
    def _remedy() -> str:
        return (
            "the training ends here; if there is a checkpoint, --resume goes on from it, also with another number of "
            "ranks"
        )

    def _others(self) -> list[int]:
        return [one for one in range(self.world) if one != self.rank]

    def _name(self, one: int) -> str:
        host = f" (on {self.hosts[one]})" if self.hosts else ""
        return f"rank {one} of {self.world}{host}"

    def _gone(self, one: int) -> str:
        return (
            f"{self._name(one)} is lost: its process was killed, perhaps because memory ran out, or its machine or "
            "the network does not answer"
        )

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        known = 0
        while not self._closing.wait(SECONDS_BETWEEN_BEATS):
            try:
                known = self._beat(known)
            except RuntimeError:  # at a good end, the store goes as soon as rank 0 does
                if self._closing.wait(SECONDS_TO_ASK):
                    return
                self.lost.setdefault(0, self._gone(0) if self.rank else "the store of torch.distributed is lost")
                self._tell_main()

    def _beat(self, known: int) -> int:
        """Say that this rank is here and listen to the others. known: how many ends were heard before; returns how many
        now."""
        self.store.add(f"beat/{self.rank}", 1)
        others, now = self._others(), time.monotonic()
        found = self.store.multi_get([f"beat/{one}" for one in others])
        for one, value in zip(others, found):
            number = int(value)
            if number != self.beats.get(one):
                self.beats[one], self.heard[one] = number, now
            elif now - self.heard[one] > self.silence and one not in self.lost:
                self.lost[one] = f"{self._gone(one)}, for {self.silence:g} seconds"
        ends = int(self.store.add("ends", 0))
        self.last_beat = time.monotonic()
        if ends > known:
            for one in others:
                if one not in self.lost and one not in self.left and self.store.check([f"end/{one}"]):
                    self._hear(one, self.store.get(f"end/{one}").decode())
        if self.lost:
            self._tell_main()
        return ends

    def _hear(self, one: int, what: str) -> None:
        if what == LEFT:
            self.left.add(one)
        else:
            self.lost[one] = f"{self._name(one)} {what}"
            if what != STOPPED:
                self.said.add(one)
        self.store.add(f"heard/{one}", 1)

    def _tell_main(self) -> None:
        """Interrupt the main thread, unless it notices by itself in a moment."""
        self._since = self._since or time.monotonic()
        late = time.monotonic() - self._since > SECONDS_TO_NOTICE
        if late and not self._noticed and self._before is not None:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self._noticed and not self._closing.is_set():
            self._noticed = True
            raise LostRank(self.reason() or "another rank is lost")


def never_freed(group: Any) -> None:
    """Keep a process group until the process ends: where a rank is lost, freeing it would wait for an exchange that
    never ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))
