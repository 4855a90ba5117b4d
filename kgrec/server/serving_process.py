"""A server process: its port, its store of events, its runs, and the end of it."""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import uvicorn

from kgrec.errors import KgrecError
from kgrec.server.application import application
from kgrec.server.c_memory import keep_flat
from kgrec.server.events.event_store import EventStore
from kgrec.server.events.postgres_store import PostgresStore
from kgrec.server.events.sqlite_store import SqliteStore
from kgrec.server.request_log import RequestLog
from kgrec.server.server_settings import ServerSettings
from kgrec.server.serving_state import ServingState

URLS = ("postgresql://", "postgres://")
MOST_PORTS = 65535
BACKLOG = 1024  #: connections that wait to be accepted
SECONDS_TO_END = 10  #: for requests that are under way
SECONDS_OF_SILENCE = 65  #: after which a kept-open connection is closed
SWITCH = 0.0005  #: seconds after which Python's threads take turns, so that scoring does not hold the event loop up


def named_runs(runs: Sequence[str]) -> dict[str, Path]:
    """Run folders by name: NAME=FOLDER, or a folder, which is called as its last part without `.run`.

    Raises KgrecError for a name that stands twice, or that is empty or has a slash.

    >>> named_runs(["a/kgat.run", "old=b/kgat.run"])
    {'kgat': PosixPath('a/kgat.run'), 'old': PosixPath('b/kgat.run')}
    """
    found: dict[str, Path] = {}
    for text in runs:
        name, is_named, path = text.partition("=")
        if not is_named or Path(text).is_dir():
            name, path = Path(text).absolute().name.removesuffix(".run"), text
        if not name or "/" in name:
            raise KgrecError(f"{text!r} names no run; a run folder, or NAME=FOLDER is wanted")
        if name in found:
            raise KgrecError(f"two runs are called {name!r}; name one of them, as in other={path}")
        found[name] = Path(path)
    return found


def open_store(events: str) -> EventStore | None:
    """The store of events: the path of an SQLite file, a URL of PostgreSQL, or `none`. Raises KgrecError."""
    if events == "none":
        return None
    return PostgresStore(events) if events.startswith(URLS) else SqliteStore(Path(events))


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises KgrecError where the port is in use, or the address is none of this machine."""
    if not 0 <= port <= MOST_PORTS:
        raise KgrecError(f"cannot listen on port {port}: ports are numbers from 0 to {MOST_PORTS}")
    with contextlib.ExitStack() as stack:
        try:
            (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(BACKLOG)
        except OSError as error:
            reason = error.strerror or error
            raise KgrecError(f"cannot listen on {host} port {port}: {reason}; name another --port or --host") from error
        stack.pop_all()
        return found


def serve(
    runs: Mapping[str, Path],
    settings: ServerSettings,
    *,
    events: str = "none",
    no_keys: bool = False,
    started: Callable[[ServingState, int], None] = lambda state, port: None,
) -> None:
    """Serve runs until a signal comes. events: as `open_store` takes them. no_keys: everyone may ask, also from other
    machines. started: called with the server and its port once it listens.

    Raises KgrecError where it cannot start.
    """
    if not settings.is_local and settings.keys is None and not no_keys:
        raise KgrecError(
            f"other machines can reach --host {settings.host}, and nothing says who may ask: make a key by `kgrec key "
            "NAME --keys FILE` and say --keys FILE, or say --no-keys where all who reach it may"
        )
    torch.set_num_threads(1)
    keep_flat()
    gc.collect()
    gc.freeze()  # what modules hold is not looked through again, so that a collection takes a few milliseconds
    log = RequestLog()
    with listening(settings.host, settings.port) as bound:
        store = open_store(events)
        try:
            state = ServingState.load(runs, settings, store, log)
        except BaseException:
            if store is not None:
                store.close()
            raise
        sys.setswitchinterval(SWITCH)
        _log_of_uvicorn(log)
        config = uvicorn.Config(
            application(state),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_keep_alive=SECONDS_OF_SILENCE,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        started(state, bound.getsockname()[1])
        uvicorn.Server(config).run(sockets=[bound])


def _log_of_uvicorn(log: RequestLog) -> None:
    """Have uvicorn's warnings as lines of the log."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.happened("http", {"level": record.levelname.lower(), "message": record.getMessage()})

    logger = logging.getLogger("uvicorn.error")
    logger.handlers, logger.propagate = [Handler(logging.WARNING)], False
