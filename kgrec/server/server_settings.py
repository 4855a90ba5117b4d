"""How a server behaves: its limits, who may ask, and what it writes down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServerSettings:
    """How a server behaves, as the options of `kgrec serve` say."""

    host: str = "127.0.0.1"  #: the address that it listens on
    port: int = 8000  #: 0: any that is free
    max_k: int = 100  #: items in a list at most
    max_users: int = 1000  #: users, pairs, events or new items in one request at most
    max_history: int = 1000  #: steps of a history in a request at most, and of a user's events that are read
    max_body: int = 1_000_000  #: bytes of a request's body at most
    seconds: float = 10.0  #: after which a request is given up
    max_waiting: int = 2000  #: requests that wait for the scoring thread at most; more are answered 503
    max_new_items: int = 10_000  #: items that are known beside those of the run at most
    keys: Path | None = None  #: a file of API keys; None: everyone may ask everything
    cors: tuple[str, ...] = ()  #: origins of other sites whose scripts may ask
    hosts: tuple[str, ...] = ()  #: names by which requests may call the server, besides its own; "*": any
    log_requests: bool = True  #: a line of JSON on stderr for each request
    log_ids: bool = False  #: also with the path, which holds ids, and the client's address
    keep_unknown_items: bool = False  #: events of items that the run does not know are kept for a later run
    future_seconds: int = 300  #: by how much the time of an event may be ahead of the server's clock
    watch_seconds: float = 2.0  #: how often it looks whether a run's folder is another one; 0: never
    approximate: bool = False  #: lists by the index beside each run (`kgrec index`), which a run must then have
    any_graph: bool = False  #: a run of another graph may take a run's place
    image: str | None = None  #: the column of items that holds addresses of images for the page; None: it shows none
    trust: str | None = None  #: the dotted paths of own models whose code may be run
    device: str = "cpu"  #: where to compute

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine reach it."""
        return self.host in LOOPBACK
