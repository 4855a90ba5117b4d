"""How a server answers under load: speed, swaps of runs, and twenty minutes of all that can come.

The server is a process of its own on loopback, and the load comes from this one, so that both share the machine's cores
as they would. What is sent is bounded in number and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import http_load
from http_load import Outcome, get, milliseconds, send
from kgrec.graph import Graph
from kgrec.run import train
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig

ACTIVE = 1000  #: known users, and as many new ones, of whom events come
WARMING = 300  #: requests before anything is measured


@dataclass
class Server:
    """A server that runs in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    said: list[str] = field(default_factory=list)  #: its log

    @property
    def megabytes(self) -> float:
        """The memory that it holds now (RSS)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


@contextlib.contextmanager
def served(*arguments: str | Path) -> Iterator[Server]:
    """A server of some run folders, with options, until this context ends."""
    command = [sys.executable, "-m", "kgrec", "serve", *map(str, arguments), "--port", "0", "--no-log"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = list[str]()
        try:
            for line in process.stderr:
                said.append(line)
                if line.startswith("serving"):
                    break
            found = re.search(r":(\d+)/", said[-1]) if said else None
            if found is None:
                raise RuntimeError(f"the server did not start: {''.join(said)}")
            threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True).start()
            yield Server(process, int(found.group(1)), said)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def run_of(benchmark: Mapping[str, Any], graph: Path, out: Path, seed: int = 0) -> Path:
    """A run of a benchmark's model in `out`, trained where it is not there."""
    settings = json.dumps([benchmark.get(name) for name in ("model", "set", "training", "split")], sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    folder = out / f"serve-{graph.name.removesuffix('.graph')}-{benchmark['model']}-{digest}-seed{seed}.run"
    if not folder.exists():
        training = {**benchmark.get("training", {"epochs": 1}), "seed": seed}
        train(
            benchmark["model"],
            Graph.load(graph),
            split=benchmark["split"],
            config=benchmark.get("set", {}),
            training=configure(TrainingConfig, training),
            metrics=["ndcg@10"],
            out=folder,
        )
    return folder


def users_of(graph: Path) -> list[str]:
    """The users of a graph, in an order by chance."""
    loaded = Graph.load(graph)
    users = loaded.vocabulary[loaded.target[0]].id_array.to_pylist()
    random.Random(0).shuffle(users)
    return users


def together(work: Any) -> Any:
    """What a coroutine gives, on uvloop, which takes less of the cores than asyncio's own loop."""
    import uvloop

    return uvloop.run(work)


def machine_ms(seconds: float, rate: float = 200.0) -> dict[str, float]:
    """What the machine itself adds to answers: the 50th and 99th percentile of the same piece of work, some 1 ms of
    products, done `rate` times a second with no server, from the moment it was due, in milliseconds."""
    rng = np.random.default_rng(0)
    items, user = (rng.random(shape, np.float32) for shape in ((4000, 64), 64))
    took, begun = list[float](), time.perf_counter()
    for place in range(int(rate * seconds)):
        due = begun + place / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        for _ in range(20):
            np.argpartition(items @ user, -10)
        took.append(time.perf_counter() - due)
    return {"p50_ms": milliseconds(took, 0.5), "p99_ms": milliseconds(took, 0.99)}


# ---------------------------------------------------------------------- speed


def serve_speed(benchmark: Mapping[str, Any], graph: Path, out: Path, quick: bool, minutes: float) -> dict[str, Any]:
    """Lists of known users: the median with one connection, the 99th percentile at 200 requests a second whatever the
    server does, and how many a second with 16 connections that ask again at once. Beside it, what the machine's own
    pauses are at this rate (`machine_ms`)."""
    seconds = 2.0 if quick else benchmark["seconds"]
    users, folder = users_of(graph), run_of(benchmark, graph, out)
    with tempfile.TemporaryDirectory() as temporary, served(folder, "--events", Path(temporary) / "e.sqlite") as server:
        lists = http_load.lists_of(users)

        async def load() -> tuple[Outcome, Outcome, Outcome]:
            ask: Callable[[], bytes] = lambda: next(lists)  # noqa: E731
            await http_load.open_loop(server.port, ask, rate=100, seconds=WARMING / 100)
            one = await http_load.closed(server.port, ask, connections=1, seconds=seconds)
            steady = await http_load.open_loop(server.port, ask, rate=200, seconds=seconds)
            return one, steady, await http_load.closed(server.port, ask, connections=16, seconds=seconds)

        one, steady, many = together(load())
        megabytes = server.megabytes
    alone = machine_ms(seconds)
    failed = sum(count for part in (one, steady, many) for status, count in part.statuses.items() if status != 200)
    return {
        "test": {
            "p50_ms": one.summary()["p50_ms"],
            "p99_ms": steady.summary()["p99_ms"],
            "requests_per_second": many.summary()["requests_per_second"],
            "failed": failed + one.broken + steady.broken + many.broken,
        },
        "machine_alone": alone,
        "parts": {"one": one.summary(), "at_200": steady.summary(), "16": many.summary()},
        "server_mb": round(megabytes),
    }


# ---------------------------------------------------------------------- swaps


def serve_reload(benchmark: Mapping[str, Any], graph: Path, out: Path, quick: bool, minutes: float) -> dict[str, Any]:
    """A run's place is taken by another one again and again, by a link that is turned and POST /reload, at 200 requests
    a second: how many fail, and the 99th percentile while a run is swapped, against that of all other times."""
    swaps, between = (3 if quick else benchmark["swaps"]), benchmark["seconds_between"]
    folders = [run_of(benchmark, graph, out, seed).absolute() for seed in (0, 1)]
    users, during, times = users_of(graph), list[tuple[float, float]](), list[tuple[float, float]]()
    with tempfile.TemporaryDirectory() as temporary:
        link = Path(temporary) / "current"
        link.symlink_to(folders[0])
        with served(link, "--events", "none") as server:
            lists = http_load.lists_of(users)
            memory = list[float]()

            async def swap(begun: float) -> None:
                connection = await http_load.connected(server.port)
                for number in range(swaps):
                    await asyncio.sleep(between)
                    link.unlink()
                    link.symlink_to(folders[(number + 1) % 2])
                    start = time.perf_counter()
                    status, body = await connection.ask(send("POST", "/reload", b"{}"), 300)
                    during.append((start - begun, time.perf_counter() - begun))
                    if status not in (200, 409):
                        raise RuntimeError(f"a swap failed: {status} {body!r}")
                    memory.append(server.megabytes)

            async def load() -> Outcome:
                ask: Callable[[], bytes] = lambda: next(lists)  # noqa: E731
                await http_load.open_loop(server.port, ask, rate=100, seconds=WARMING / 100)
                begun = time.perf_counter()
                swapping = asyncio.create_task(swap(begun))
                seconds = (swaps + 1) * (between + benchmark["seconds_of_swap"])
                outcome = await http_load.open_loop(
                    server.port, ask, rate=200, seconds=seconds, at=lambda due, took: times.append((due, took))
                )
                await swapping
                return outcome

            outcome = together(load())
    within = [took for due, took in times if any(start - took <= due <= end for start, end in during)]
    quiet = [took for due, took in times if not any(start - took <= due <= end for start, end in during)]
    failed = sum(count for status, count in outcome.statuses.items() if status != 200) + outcome.broken
    p99, p99_quiet = milliseconds(within, 0.99), milliseconds(quiet, 0.99)
    return {
        "test": {
            "failed": failed,
            "p99_rise": p99 / p99_quiet,
            "p99_ms": p99,
            "p99_ms_quiet": p99_quiet,
            "swaps": len(during),
        },
        "seconds_of_a_swap": round(sum(end - start for start, end in during) / len(during), 3),
        "within": len(within),
        "server_mb": [round(one) for one in memory],
        "all": outcome.summary(),
    }


# ---------------------------------------------------------------------- all that can come


class Visitors:
    """Requests of all kinds by chance, the events that were acknowledged, and the answers that were not as they should
    be."""

    #: kind -> its share, and the statuses that are right
    KINDS: Mapping[str, tuple[float, tuple[int, ...]]] = {
        "list": (0.62, (200,)),
        "new user": (0.1, (200,)),
        "event": (0.14, (201,)),
        "again": (0.02, (200, 201)),
        "similar": (0.06, (200,)),
        "prediction": (0.02, (200,)),
        "bad": (0.04, (400, 404, 405, 413, 414, 415, 421, 422)),
    }
    BAD = (
        get("/users/1/recommendations?k=1000000000"),
        get("/users/1/recommendations?nonsense=1"),
        get("/nothing/here"),
        get("/items/no-such-item/similar"),
        get("/runs", host="evil.example"),
        get(f"/users/{'u' * 9000}/recommendations"),
        send("POST", "/recommendations", b"{"),
        send("POST", "/events", b'{"id": "f", "user": "u", "item": "1", "time": 99999999999}'),
        send("DELETE", "/users/1/recommendations", b""),
        b"POST /recommendations HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
    )

    def __init__(self, users: list[str], items: list[str]) -> None:
        self.users, self.items, self.chance = users, items, random.Random(1)
        self.number = itertools.count()
        self.kind_of: dict[bytes, str] = {}
        self.names_of: dict[bytes, tuple[str, ...]] = {}  # of events that were not answered yet
        self.events_of: dict[bytes, tuple[str, ...]] = {}
        self.acknowledged = list[str]()
        self.wrong: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    def next(self) -> bytes:
        """The next request."""
        (kind,) = self.chance.choices([*self.KINDS], [share for share, _ in self.KINDS.values()])
        request = self._made(kind)
        self.asked[kind] += 1
        if kind != "bad":
            self.kind_of[request] = kind
        return request

    def _made(self, kind: str) -> bytes:
        pick = self.chance.choice
        if kind == "list":
            user = pick(self.users) if self.chance.random() < 0.9 else f"visitor-{self.chance.randrange(ACTIVE)}"
            return get(f"/users/{user}/recommendations?k={pick((5, 10, 20))}")
        if kind == "new user":
            body = {"history": self.chance.sample(self.items, 5), "k": 10}
            return send("POST", "/recommendations", json.dumps(body).encode())
        if kind == "similar":
            return get(f"/items/{pick(self.items)}/similar?k=10")
        if kind == "prediction":
            pairs = [{"user": pick(self.users), "item": pick(self.items)} for _ in range(5)]
            return send("POST", "/predictions", json.dumps({"pairs": pairs}).encode())
        if kind == "again" and self.events_of:
            return next(reversed(self.events_of))
        if kind in ("event", "again"):
            is_known = self.chance.random() < 0.8
            user = pick(self.users[:ACTIVE]) if is_known else f"visitor-{next(self.number) % ACTIVE}"
            names = tuple(f"e{next(self.number)}" for _ in range(pick((1, 1, 3))))
            events = [{"id": name, "user": user, "item": pick(self.items)} for name in names]
            request = send("POST", "/events", json.dumps({"events": events}).encode())
            self.events_of[request] = self.names_of[request] = names
            while len(self.events_of) > 2000:  # the last ones alone are sent again
                self.events_of.pop(next(iter(self.events_of)))
            return request
        return pick(self.BAD)

    def answered(self, request: bytes, status: int, body: bytes) -> None:
        """Take notice of an answer."""
        kind = "bad" if request in self.BAD else self.kind_of.pop(request, "again")
        names = self.names_of.pop(request, None)
        if names is not None and status == 201:
            self.acknowledged.extend(names)
        if status not in self.KINDS[kind][1]:
            self.wrong[f"{kind} {status} {body[:200].decode(errors='replace')}"] += 1


def serve_soak(benchmark: Mapping[str, Any], graph: Path, out: Path, quick: bool, minutes: float) -> dict[str, Any]:
    """All kinds of requests at 150 a second, new items among them, and then kill -9: answers that are not as they
    should be, how memory grew from the second quarter of the time to the last, and events that were acknowledged and
    are not in the store once."""
    seconds = 60 * (minutes or benchmark["minutes"])
    users, folder = users_of(graph), run_of(benchmark, graph, out)
    loaded = Graph.load(graph)
    items = loaded.vocabulary[loaded.target[2]].id_array.to_pylist()
    visitors, memory, put = Visitors(users, items), list[float](), Counter[int]()
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary) / "events.sqlite"
        with served(folder, "--events", store) as server:

            async def look() -> None:
                while True:
                    await asyncio.sleep(min(5.0, seconds / 40))
                    memory.append(server.megabytes)

            async def add_items() -> None:
                connection = await http_load.connected(server.port)
                for number in range(benchmark["new_items"]):
                    await asyncio.sleep(seconds / (4 * benchmark["new_items"]))  # in the first quarter of the time
                    row = {name: value.format(number=number) for name, value in benchmark["new_item"].items()}
                    status, body = await connection.ask(send("PUT", "/items", json.dumps([row]).encode()), 300)
                    put[status] += 1
                    if status != 201:
                        visitors.wrong[f"new item {status} {body[:200]!r}"] += 1

            async def load() -> Outcome:
                others = [asyncio.create_task(look()), asyncio.create_task(add_items())]
                outcome = await http_load.open_loop(
                    server.port, visitors.next, rate=benchmark["rate"], seconds=seconds, answered=visitors.answered
                )
                for one in others:
                    one.cancel()
                return outcome

            outcome = together(load())
            has_crashed = server.process.poll() is not None
            server.process.kill()
            server.process.wait()
            errors = [line for line in server.said if '"event":"error"' in line]
        there = Counter(row[0] for row in sqlite3.connect(store).execute("SELECT id FROM kgrec_events"))
    quarter = len(memory) // 4
    second, last = memory[quarter : 2 * quarter], memory[-quarter:]
    growth = (sum(last) / len(last)) / (sum(second) / len(second)) - 1 if quarter else 0.0
    return {
        "test": {
            "crashes": int(has_crashed),
            "wrong": sum(visitors.wrong.values()) + outcome.broken,
            "lost": sum(there[name] != 1 for name in visitors.acknowledged),
            "memory_growth": abs(growth),
            "p99_ms": outcome.summary()["p99_ms"],
        },
        "acknowledged": len(visitors.acknowledged),
        "stored": sum(there.values()),
        "asked": dict(visitors.asked),
        "new_items": {str(status): number for status, number in put.items()},
        "wrong_answers": dict(visitors.wrong.most_common(10)),
        "errors": errors[:5],
        "server_mb": [round(one) for one in memory[:: max(1, len(memory) // 40)]],
        "all": outcome.summary(),
    }
