"""The events of users as answers need them: from memory, or read when a user is asked for."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from kgrec.server.events.event_store import EventStore, StoreDown
from kgrec.server.events.user_event import Event

KEPT = 100_000  #: users whose events are kept in memory at most
EVENTS = 200_000  #: and events of all of them together
SECONDS = 5.0  #: after which they are read again where other servers write too


class KnownEvents:
    """The last events of each user, of those who were asked for last. What cannot be read while the store is away is as
    it was, or nothing; `down` says so."""

    def __init__(self, store: EventStore, most: int) -> None:
        self._store, self._most = store, most
        self._kept: OrderedDict[tuple[str, str], tuple[float, tuple[Event, ...]]] = OrderedDict()
        self._lock = threading.Lock()
        self._changes = self._events = 0
        self.down: str | None = None  #: why the store could not be read last time
        self._is_empty = not store.shared and store.is_empty()

    def kept(self, graph: str, user: str) -> tuple[Event, ...] | None:
        """The last events of a user as far as they are in memory; None: `of` must read them."""
        if self._is_empty:
            return ()
        found = self._kept.get((graph, user))
        if found is None or (self._store.shared and time.monotonic() - found[0] >= SECONDS):
            return None
        return found[1]

    def of(self, graph: str, user: str) -> tuple[Event, ...]:
        """The last events of a user, oldest first."""
        if self._is_empty:
            return ()
        key = graph, user
        with self._lock:
            found, changes = self._kept.get(key), self._changes
            if found is not None:
                self._kept.move_to_end(key)
                if not self._store.shared or time.monotonic() - found[0] < SECONDS:
                    return found[1]
        try:
            events = tuple(self._store.of_user(graph, user, self._most))
        except StoreDown as error:
            self.down = str(error)
            return found[1] if found is not None else ()
        self.down = None
        with self._lock:
            if changes == self._changes:  # else something was stored meanwhile, which may be this user's
                self._drop(key)
                self._kept[key] = time.monotonic(), events
                self._events += len(events)
                while len(self._kept) > KEPT or (self._events > EVENTS and len(self._kept) > 1):
                    self._drop(next(iter(self._kept)))
        return events

    def stored(self, graph: str, events: Sequence[Event]) -> None:
        """Take notice of events that are on disk."""
        with self._lock:
            self._is_empty = False
            self._changes += 1
            for user in {event.user for event in events}:
                self._drop((graph, user))

    def deleted(self, graph: str, user: str) -> None:
        """Take notice that a user's events are gone."""
        with self._lock:
            self._changes += 1
            self._drop((graph, user))

    def _drop(self, key: tuple[str, str]) -> None:
        _, events = self._kept.pop(key, (0.0, ()))
        self._events -= len(events)
