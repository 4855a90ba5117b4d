"""A load generator for HTTP/1.1 on loopback: raw requests over kept-open connections, cheap enough to share two cores.

`requests_for` makes what is sent; `closed` keeps some connections busy, `open_loop` sends at a rate and measures from
the moment a request was due, so that a server that stalls cannot hide it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

Next = Callable[[], bytes]  #: gives the bytes of the next request
Answered = Callable[[bytes, int, bytes], None]  #: called with a request, the status and the body of its answer
HEAD_END, LENGTH = b"\r\n\r\n", b"content-length:"
SECONDS_TO_WAIT = 30.0  #: for an answer


def get(path: str, host: str = "localhost") -> bytes:
    """The bytes of a GET. path: quoted already."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def send(method: str, path: str, body: bytes, host: str = "localhost") -> bytes:
    """The bytes of a request with a JSON body."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def lists_of(users: list[str], k: int = 10, run: str | None = None) -> Iterator[bytes]:
    """A request for each user's list, again and again."""
    prefix = f"/runs/{quote(run, safe='')}" if run else ""
    made = [get(f"{prefix}/users/{quote(user, safe='')}/recommendations?k={k}") for user in users]
    while True:
        yield from made


class Connection(asyncio.Protocol):
    """One connection, which has one request under way at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.waiting: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(HEAD_END)
        if end < 0 or self.waiting is None:
            return
        head = bytes(self.buffer[:end]).lower()
        at = head.find(LENGTH)
        length = int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        body = bytes(self.buffer[end + 4 : end + 4 + length])
        del self.buffer[: end + 4 + length]
        if b"connection: close" in head and self.transport is not None:
            self.transport.close()
            self.transport = None
        if not self.waiting.done():
            self.waiting.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(ConnectionError("the server closed the connection"))

    async def ask(self, request: bytes, seconds: float = SECONDS_TO_WAIT) -> tuple[int, bytes]:
        """The status and the body. Raises ConnectionError, and TimeoutError after so many seconds."""
        if self.transport is None:
            raise ConnectionError("the connection is closed")
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        async with asyncio.timeout(seconds):
            return await self.waiting


@dataclass
class Outcome:
    """What a load met."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)  #: in seconds, of all answers
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0  #: requests whose connection broke or that were never answered

    def summary(self) -> dict[str, Any]:
        """Requests a second, percentiles in milliseconds, and how many answers had which status."""
        number = len(self.latencies)
        return {
            "requests": number,
            "requests_per_second": round(number / self.seconds, 1) if self.seconds else 0.0,
            **{name: milliseconds(self.latencies, q) for name, q in (("p50_ms", 0.5), ("p99_ms", 0.99))},
            "max_ms": round(1000 * max(self.latencies, default=0.0), 3),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "broken": self.broken,
        }


def milliseconds(latencies: list[float], q: float) -> float:
    """A quantile in milliseconds; 0 for none."""
    if not latencies:
        return 0.0
    ordered = sorted(latencies)
    return round(1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))], 3)


async def connected(port: int, host: str = "127.0.0.1") -> Connection:
    """A connection that is open."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


async def closed(port: int, requests: Next, *, connections: int, seconds: float) -> Outcome:
    """Each connection sends its next request as soon as it has its answer."""
    outcome, begun = Outcome(), time.perf_counter()
    until = begun + seconds

    async def one() -> None:
        connection = await connected(port)
        while (now := time.perf_counter()) < until:
            try:
                status, _ = await connection.ask(requests())
            except (OSError, TimeoutError):
                outcome.broken += 1
                connection = await connected(port)
                continue
            outcome.latencies.append(time.perf_counter() - now)
            outcome.statuses[status] += 1

    await asyncio.gather(*(one() for _ in range(connections)))
    outcome.seconds = time.perf_counter() - begun
    return outcome


async def open_loop(
    port: int,
    requests: Next,
    *,
    rate: float,
    seconds: float,
    connections: int = 64,
    answered: Answered | None = None,
    at: Callable[[float, float], None] | None = None,
) -> Outcome:
    """`rate` requests a second, whatever the server does. A request's time counts from when it was due.

    answered: called with each request and its answer; at: called with when a request was due, in seconds since the
    start, and how many seconds it took.
    """
    outcome, begun = Outcome(), time.perf_counter()
    free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
    for _ in range(connections):
        free.put_nowait(await connected(port))
    under_way = set[asyncio.Task[None]]()

    async def one(request: bytes, due: float) -> None:
        connection = await free.get()
        if connection.transport is None:  # the server closed it with an answer that said so
            connection = await connected(port)
        try:
            status, body = await connection.ask(request)
        except (OSError, TimeoutError):
            outcome.broken += 1
            connection = await connected(port)
        else:
            took = time.perf_counter() - due
            outcome.latencies.append(took)
            outcome.statuses[status] += 1
            if answered is not None:
                answered(request, status, body)
            if at is not None:
                at(due - begun, took)
        finally:
            free.put_nowait(connection)

    number = int(rate * seconds)
    for place in range(number):
        due = begun + place / rate
        left = due - time.perf_counter()
        if left > 0:
            await asyncio.sleep(left)
        task = asyncio.create_task(one(requests(), due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way, return_exceptions=True)
    outcome.seconds = time.perf_counter() - begun
    return outcome
