"""A store of events in a database: written in transactions that are on disk when they end, read by user."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from sys import intern
from typing import Any

from kgrec.errors import KgrecError
from kgrec.server.events.user_event import Added, Event, NewItemsDocument

VERSION = 1  #: of the tables
CHUNK = 500  #: ids that one query names

TABLES = (
    """CREATE TABLE IF NOT EXISTS kgrec_events (
        number {serial}, graph TEXT NOT NULL, id TEXT NOT NULL, user_id TEXT NOT NULL, item_id TEXT NOT NULL,
        behaviour TEXT NOT NULL, time BIGINT NOT NULL, weight DOUBLE PRECISION, UNIQUE (graph, id))""",
    "CREATE INDEX IF NOT EXISTS kgrec_events_of_user ON kgrec_events (graph, user_id, time)",
    """CREATE TABLE IF NOT EXISTS kgrec_new_items (
        number {serial}, graph TEXT NOT NULL, ids TEXT NOT NULL, form TEXT NOT NULL, body TEXT NOT NULL)""",
)
COLUMNS = "id, user_id, item_id, behaviour, time, weight"


class StoreDown(KgrecError):
    """The store cannot be reached or written to at the moment: no connection, a full disk, a lock."""


class EventStore(ABC):
    """Events and new items in a database. All methods raise StoreDown. Writing and reading may be done by two threads
    at the same time, each by one."""

    name: str  #: what to call it, without a password
    shared: bool  #: whether other servers may write to it too
    mark: str  #: that stands for a value in its SQL

    @abstractmethod
    def write(self, statements: Sequence[tuple[str, Sequence[Sequence[Any]]]]) -> None:
        """Run statements, each with rows of values, in one transaction that is on disk at the end."""

    @abstractmethod
    def read(self, query: str, values: Sequence[Any], *, writer: bool = False) -> list[tuple[Any, ...]]:
        """The rows of a query. writer: asked by the thread that writes."""

    @abstractmethod
    def erase(self) -> None:
        """Leave nothing of deleted rows in the files that the store writes itself."""

    @abstractmethod
    def close(self) -> None:
        """End the connections."""

    def add(self, graph: str, requests: Sequence[Sequence[Event]]) -> list[Added]:
        """Store the events of some requests in one transaction, each request whole or not at all. When it returns, they
        are on disk."""
        stored = self._stored(graph, list({event.id for request in requests for event in request}))
        done, rows = list[Added](), list[tuple[Any, ...]]()
        for request in requests:
            new = dict[str, Event]()
            conflicts = list[str]()
            for event in request:
                before = stored.get(event.id) or new.get(event.id)
                if before is None:
                    new[event.id] = event
                elif not event.is_again(before):
                    conflicts.append(event.id)
            if conflicts:
                done.append(Added(conflicts=tuple(dict.fromkeys(conflicts))))
                continue
            stored |= new
            rows += [(graph, *_row(event)) for event in new.values()]
            done.append(Added(len(new), len(request) - len(new)))
        if rows:
            marks = ", ".join([self.mark] * 7)
            insert = f"INSERT INTO kgrec_events (graph, {COLUMNS}) VALUES ({marks}) ON CONFLICT (graph, id) DO NOTHING"
            self.write([(insert, rows)])
        return done

    def of_user(self, graph: str, user: str, most: int) -> list[Event]:
        """The last events of a user, oldest first."""
        query = (
            f"SELECT {COLUMNS} FROM kgrec_events WHERE graph = {self.mark} AND user_id = {self.mark} "
            f"ORDER BY time DESC, number DESC LIMIT {self.mark}"
        )
        rows = reversed(self.read(query, (graph, user, most)))
        return [Event(name, user, intern(item), intern(behaviour), *rest) for name, _, item, behaviour, *rest in rows]

    def delete_of_user(self, graph: str, user: str) -> int:
        """Delete all events of a user. Returns how many there were. When it returns, that is on disk."""
        where = f"FROM kgrec_events WHERE graph = {self.mark} AND user_id = {self.mark}"
        ((number,),) = self.read(f"SELECT count(*) {where}", (graph, user), writer=True)
        self.write([(f"DELETE {where}", [(graph, user)])])
        self.erase()
        return int(number)

    def is_empty(self) -> bool:
        """Whether there are no events."""
        return not self.read("SELECT 1 FROM kgrec_events LIMIT 1", ())

    def count(self) -> int:
        """How many events there are."""
        return int(self.read("SELECT count(*) FROM kgrec_events", ())[0][0])

    def new_items(self, graph: str) -> list[NewItemsDocument]:
        """What was told of new items, oldest first."""
        query = f"SELECT ids, form, body FROM kgrec_new_items WHERE graph = {self.mark} ORDER BY number"
        rows = self.read(query, (graph,), writer=True)
        return [NewItemsDocument(tuple(json.loads(ids)), form, body) for ids, form, body in rows]

    def put_items(self, graph: str, document: NewItemsDocument) -> None:
        """Keep what was told of new items, in place of what was told of the same ones before."""
        mark, ids = self.mark, json.dumps(document.ids)
        remove = f"DELETE FROM kgrec_new_items WHERE graph = {mark} AND ids = {mark}"
        insert = f"INSERT INTO kgrec_new_items (graph, ids, form, body) VALUES ({', '.join([mark] * 4)})"
        row = (graph, ids, document.form, document.body)
        self.write([(remove, [(graph, ids)]), (insert, [row])])

    def _stored(self, graph: str, ids: Sequence[str]) -> dict[str, Event]:
        """The events of these ids that are there."""
        found = dict[str, Event]()
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            marks = ", ".join([self.mark] * len(part))
            query = f"SELECT {COLUMNS} FROM kgrec_events WHERE graph = {self.mark} AND id IN ({marks})"
            found |= {row[0]: Event(*row) for row in self.read(query, (graph, *part), writer=True)}
        return found


def _row(event: Event) -> tuple[Any, ...]:
    return event.id, event.user, event.item, event.behaviour, event.time, event.weight
