"""Events in an SQLite file, by Python's own module: no server, one process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError
from kgrec.server.events.event_store import TABLES, VERSION, EventStore, StoreDown

APPLICATION = 0x6B677265  #: SQLite's application_id of such a file, "kgre"
SECONDS = 5.0  #: to wait for a lock


class SqliteStore(EventStore):
    """Events in an SQLite file. It is made where it is not there.

    A write-ahead log lets one thread read while another writes, and `synchronous = FULL` has each transaction on disk
    before it ends.
    """

    shared, mark = False, "?"

    def __init__(self, path: Path) -> None:
        """Raises KgrecError for a file that is another one, or of a newer version, and where none can be made."""
        self.name = str(path)
        try:
            self._writer, self._reader = self._connect(path), self._connect(path)
        except sqlite3.Error as error:
            raise KgrecError(
                f"the events' file {path} cannot be opened: {error}; name another file with --events, or --events none"
            ) from error
        self._of_writer, self._of_reader = threading.Lock(), threading.Lock()

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=SECONDS, isolation_level=None, check_same_thread=False)
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != APPLICATION:
            raise KgrecError(f"{path} is an SQLite file of another program; name another file with --events")
        if version > VERSION:
            raise KgrecError(f"{path} is of version {version}, and this kgrec reads up to {VERSION}; update kgrec")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # deleted rows are overwritten with zeros
        if not tables:
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            for table in TABLES:
                connection.execute(table.format(serial="INTEGER PRIMARY KEY"))
        return connection

    def write(self, statements: Sequence[tuple[str, Sequence[Sequence[Any]]]]) -> None:
        """See EventStore."""
        with self._of_writer:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                for statement, rows in statements:
                    self._writer.executemany(statement, rows)
                self._writer.execute("COMMIT")
            except sqlite3.Error as error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise StoreDown(f"the events' file cannot be written to: {error}") from error

    def read(self, query: str, values: Sequence[Any], *, writer: bool = False) -> list[tuple[Any, ...]]:
        """See EventStore."""
        connection, lock = (self._writer, self._of_writer) if writer else (self._reader, self._of_reader)
        with lock:
            try:
                return connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise StoreDown(f"the events' file cannot be read: {error}") from error

    def erase(self) -> None:
        """Empty the write-ahead log, in which pages are as they were before."""
        self.read("PRAGMA wal_checkpoint(TRUNCATE)", (), writer=True)

    def close(self) -> None:
        """See EventStore."""
        for connection, lock in ((self._reader, self._of_reader), (self._writer, self._of_writer)):
            with lock:
                connection.close()
