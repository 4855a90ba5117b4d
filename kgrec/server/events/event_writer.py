"""Writes events in the order in which they come, and many requests in one transaction."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from kgrec.server.events.event_store import EventStore
from kgrec.server.events.user_event import Added, Event

MOST = 256  #: requests in one transaction


@dataclass(frozen=True)
class Writing:
    """The events of a request, to be stored whole or not at all."""

    graph: str
    events: Sequence[Event]
    done: Future[Added] = field(default_factory=Future)


@dataclass(frozen=True)
class Deleting:
    """A user whose events are to be deleted."""

    graph: str
    user: str
    done: Future[int] = field(default_factory=Future)


class EventWriter:
    """One thread that stores events. Whatever has come while it wrote goes into one transaction (group commit), so that
    a disk that takes milliseconds for each takes thousands of events a second.

    stored: called with a graph and the events of a request that are on disk, before the request is told.
    deleted: called with a graph and a user whose events are gone.
    """

    def __init__(
        self,
        store: EventStore,
        stored: Callable[[str, Sequence[Event]], None],
        deleted: Callable[[str, str], None] = lambda graph, user: None,
    ) -> None:
        self._store, self._stored, self._deleted = store, stored, deleted
        self._queue: queue.SimpleQueue[Writing | Deleting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="kgrec-events", daemon=True)
        self._thread.start()

    def add(self, graph: str, events: Sequence[Event]) -> Future[Added]:
        """Store events; the answer is there when they are on disk. It raises StoreDown where they are not stored."""
        writing = Writing(graph, events)
        self._queue.put(writing)
        return writing.done

    def delete(self, graph: str, user: str) -> Future[int]:
        """Delete a user's events, those among them that wait to be stored; the answer is how many there were. It raises
        StoreDown where they cannot be deleted."""
        deleting = Deleting(graph, user)
        self._queue.put(deleting)
        return deleting.done

    def close(self) -> None:
        """Store what is waiting, and end."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        last = False
        while not last:
            batch = [self._queue.get()]
            while len(batch) < MOST and not self._queue.empty():
                batch.append(self._queue.get())
            last = None in batch
            groups: dict[str, list[Writing]] = {}
            for one in batch:
                if isinstance(one, Writing):
                    groups.setdefault(one.graph, []).append(one)
                elif one is not None:
                    self._write_all(groups)  # what came before is stored first, and then deleted
                    self._delete(one)
            self._write_all(groups)

    def _write_all(self, groups: dict[str, list[Writing]]) -> None:
        """Write what has come, and empty `groups`."""
        for graph, group in groups.items():
            self._write(graph, group)
        groups.clear()

    def _delete(self, one: Deleting) -> None:
        try:
            number = self._store.delete_of_user(one.graph, one.user)
            self._deleted(one.graph, one.user)
        except Exception as error:  # whatever it is, who waits is told
            one.done.set_exception(error)
        else:
            one.done.set_result(number)

    def _write(self, graph: str, group: Sequence[Writing]) -> None:
        try:
            added = self._store.add(graph, [one.events for one in group])
            for one, outcome in zip(group, added):
                if outcome.stored:
                    self._stored(graph, one.events)
        except Exception as error:  # whatever it is, those who wait are told
            for one in group:
                one.done.set_exception(error)
            return
        for one, outcome in zip(group, added):
            one.done.set_result(outcome)
