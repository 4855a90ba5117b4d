"""Events in a PostgreSQL database, which several servers may share and which may go away and come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kgrec.errors import KgrecError
from kgrec.server.events.event_store import TABLES, EventStore, StoreDown

if TYPE_CHECKING:
    import psycopg

SECONDS_TO_CONNECT = 2
MILLISECONDS = 5000  #: for a statement, and until a dead connection is given up
SECONDS_BETWEEN = 1.0  #: after a failure, before it is tried again
LOCK = 0x6B677265  #: of the tables' making, by several servers at once


class PostgresStore(EventStore):
    """Events in a PostgreSQL database, by its URL (postgresql://user@host/name). It is reached when it is first needed,
    and again after a failure."""

    shared, mark = True, "%s"

    def __init__(self, url: str) -> None:
        """Raises KgrecError where the package psycopg is missing, or the URL is none."""
        try:
            import psycopg
        except ImportError as error:
            message = "PostgreSQL needs the package psycopg, which is not installed: pip install 'kgrec[postgres]'"
            raise KgrecError(message) from error
        try:
            parts = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error as error:
            raise KgrecError(f"--events is no URL of PostgreSQL: {error}") from error
        self.name = f"PostgreSQL, {parts.get('dbname', 'the default database')} at {parts.get('host', 'the socket')}"
        self._url, self._psycopg = url, psycopg
        self._lines = {True: Line(self), False: Line(self)}

    def connected(self) -> psycopg.Connection[Any]:
        """A new connection to a database that has the tables."""
        connection = self._psycopg.connect(
            self._url,
            connect_timeout=SECONDS_TO_CONNECT,
            tcp_user_timeout=MILLISECONDS,
            client_encoding="utf8",  # else texts of a database in SQL_ASCII are bytes
            options=f"-c statement_timeout={MILLISECONDS} -c synchronous_commit=on",
        )
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
            for table in TABLES:
                cursor.execute(table.format(serial="BIGSERIAL PRIMARY KEY"))
        return connection

    def write(self, statements: Sequence[tuple[str, Sequence[Sequence[Any]]]]) -> None:
        """See EventStore."""

        def run(cursor: psycopg.Cursor[Any]) -> list[tuple[Any, ...]]:
            for statement, rows in statements:
                cursor.executemany(statement, rows)
            return []

        self._lines[True].run(run)

    def read(self, query: str, values: Sequence[Any], *, writer: bool = False) -> list[tuple[Any, ...]]:
        """See EventStore."""
        return self._lines[writer].run(lambda cursor: cursor.execute(query, values).fetchall())

    def erase(self) -> None:
        """Nothing: the database's files are its own, and its VACUUM clears them."""

    def close(self) -> None:
        """See EventStore."""
        for line in self._lines.values():
            line.close()


class Line:
    """One connection, made when it is needed. After a failure it fails at once for a while, so that those who ask do
    not wait for a server that is away."""

    def __init__(self, store: PostgresStore) -> None:
        self._store, self._lock = store, threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._down: tuple[float, str] | None = None

    def run(self, work: Any) -> list[tuple[Any, ...]]:
        """What some work gives in one transaction; work: called with a cursor. Raises StoreDown."""
        psycopg = self._store._psycopg
        with self._lock:
            if self._down is not None and time.monotonic() < self._down[0]:
                raise StoreDown(self._down[1])
            try:
                try:
                    return self._once(work)
                except (psycopg.OperationalError, psycopg.InterfaceError):
                    if self._connection is not None and not self._connection.closed:
                        raise
                    return self._once(work)  # the server had closed an old connection; all that we do may be done twice
            except psycopg.Error as error:
                text = str(error).strip().partition("\n")[0]
                message = f"{self._store.name} does not answer as it should: {text}"
                self._down = (time.monotonic() + SECONDS_BETWEEN, message)
                raise StoreDown(message) from error

    def _once(self, work: Any) -> list[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = self._store.connected()
        with self._connection.transaction(), self._connection.cursor() as cursor:
            found: list[tuple[Any, ...]] = work(cursor)
        self._down = None
        return found

    def close(self) -> None:
        """End it."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
