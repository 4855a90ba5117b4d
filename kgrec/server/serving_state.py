"""What all routes of a server share: its runs, the scoring thread, the events, what is measured."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request

from kgrec.errors import KgrecError
from kgrec.evaluation.served_users import REASONS
from kgrec.server.api_keys import ApiKeys
from kgrec.server.batcher import Answer, Batcher
from kgrec.server.events.event_store import EventStore, StoreDown
from kgrec.server.events.event_writer import EventWriter
from kgrec.server.events.known_events import KnownEvents
from kgrec.server.events.user_event import Added, Event
from kgrec.server.problems import Problem
from kgrec.server.request_log import RequestLog
from kgrec.server.served_runs import ServedRun, ServedRuns
from kgrec.server.server_settings import ServerSettings
from kgrec.server.telemetry import Telemetry
from kgrec.serving.explanation import Explanation
from kgrec.serving.wanted import Wanted

Done = TypeVar("Done")
FALLBACKS = {*REASONS.values()}
SECONDS_TO_RETRY = 5  #: what is said to those whose events cannot be stored at the moment


class ServingState:
    """A server's parts. `close` ends its threads."""

    def __init__(
        self, runs: ServedRuns, settings: ServerSettings, log: RequestLog, keys: ApiKeys | None = None
    ) -> None:
        self.runs, self.settings, self.log, self.store = runs, settings, log, runs.store
        self._keys, self._keys_state = keys, _state_of(settings.keys)
        self.batcher = Batcher(settings.max_waiting, lambda size: self.telemetry.batch.observe(size), runs.read_ahead)
        self.telemetry = Telemetry(runs, lambda: self.batcher.waiting)
        self.known: KnownEvents | None = None
        self.writer: EventWriter | None = None
        self.writing_down: str | None = None  #: why events could not be stored last time; None: they could
        self._writing = self._explaining = 0
        self._one_explanation = asyncio.Lock()
        if self.store is not None:
            self.known = KnownEvents(self.store, settings.max_history)
            self.writer = EventWriter(self.store, self.known.stored, self.known.deleted)

    @staticmethod
    def load(
        paths: Mapping[str, Path], settings: ServerSettings, store: EventStore | None, log: RequestLog
    ) -> ServingState:
        """A server of some run folders by name. Raises KgrecError."""
        keys = None if settings.keys is None else ApiKeys.read(settings.keys)
        return ServingState(ServedRuns.load(paths, settings, store, log.happened), settings, log, keys)

    def run_of(self, request: Request) -> ServedRun:
        """The run that a request's path names, or the default."""
        return self.runs.named(request.path_params.get("run"))

    def keys(self) -> ApiKeys | None:
        """The API keys that are known now; None: everyone may ask everything."""
        return self._keys

    def read_keys_again(self) -> None:
        """Take over the file of keys if it has changed; one that cannot be read is told of, and the keys stay."""
        path, state = self.settings.keys, _state_of(self.settings.keys)
        if path is None or state == self._keys_state:
            return
        self._keys_state = state
        try:
            self._keys = ApiKeys.read(path)
            self.log.happened("keys read", {"keys": len(self._keys.keys)})
        except KgrecError as error:
            self.log.happened("keys not read", {"reason": str(error)})

    def happened(self, event: str, fields: Mapping[str, object]) -> None:
        """Something happened to a run: it is written down and counted."""
        self.log.happened(event, fields)
        if event in ("reloaded", "reload refused"):
            self.telemetry.reloads.labels(fields.get("run"), event).inc()

    # ------------------------------------------------------------------ lists

    async def lists(self, run: ServedRun, wanted: Sequence[Wanted]) -> list[Answer]:
        """The list of each user, with what happened since training, or why there is none."""
        events = [await self.events_of(run, one) for one in wanted]
        answers = await self.batcher.lists(run, wanted, events)
        came_from = Counter(by_of(answer) for answer in answers)
        for by, number in came_from.items():
            self.telemetry.lists.labels(run.name, by).inc(number)
        return answers

    async def predictions(
        self, run: ServedRun, pairs: Sequence[tuple[str, str]], now: int | None = None
    ) -> tuple[list[float | KgrecError], str]:
        """What the model predicts of each pair of a user and an item, with what users did since training, and what to
        call it."""
        events = {user: await self.events_of(run, Wanted(user)) for user in dict.fromkeys(user for user, _ in pairs)}
        loaded = run.current
        return await self.batcher.call(lambda: loaded.predictions(pairs, events, now)), loaded.service.predicted

    async def explanation(
        self, run: ServedRun, user: str, item: str, paths: int = 5, by: str | None = None
    ) -> Explanation:
        """Why an item is recommended to a user, by what the run knew when it was trained. One after the other, beside
        the scoring thread, as each takes a second or so. Raises Problem for what the run does not know, and where it
        has no paths."""
        loaded = run.current
        for known, what, name in (
            (loaded.knows_user(user), loaded.target[0], user),
            (loaded.knows_item(item), loaded.target[2], item),
        ):
            if not known:
                raise Problem(404, f"no {what} {name!r} in the run {run.name!r}")
        if self._explaining >= self.settings.max_waiting:
            raise Problem.busy(f"{self._explaining:,} requests for explanations are waiting already")
        self._explaining += 1
        try:
            async with self._one_explanation:
                return await asyncio.to_thread(loaded.service.explain, user, item, paths, by=by)
        except KgrecError as error:
            raise Problem.of(error) from error
        finally:
            self._explaining -= 1

    async def events_of(self, run: ServedRun, wanted: Wanted) -> Sequence[Event]:
        """What a user did since training."""
        if self.known is None or wanted.user is None or wanted.is_new:
            return ()
        graph = run.current.graph_key
        found = self.known.kept(graph, wanted.user)
        if found is None:
            found = await asyncio.to_thread(self.known.of, graph, wanted.user)
        return found

    # ------------------------------------------------------------------ events

    async def add_events(self, run: ServedRun, events: Sequence[Event]) -> Added:
        """Store events. Returns when they are on disk. Raises Problem 503 where they cannot be stored now."""
        try:
            return await self._written(lambda writer: writer.add(run.current.graph_key, events))
        except StoreDown as error:
            self.telemetry.events.labels("not written").inc(len(events))
            raise Problem.busy(f"{error}; nothing of this request is stored", SECONDS_TO_RETRY) from error

    async def delete_events(self, run: ServedRun, user: str) -> int:
        """Delete a user's events. Returns how many there were, when that is on disk. Raises Problem 503 where it cannot
        be done now."""
        try:
            deleted = await self._written(lambda writer: writer.delete(run.current.graph_key, user))
        except StoreDown as error:
            raise Problem.busy(f"{error}; no event is deleted", SECONDS_TO_RETRY) from error
        for other in self.runs.runs.values():
            other.current.service.forget_new_users()
        return deleted

    async def _written(self, write: Callable[[EventWriter], Future[Done]]) -> Done:
        """What the writer gives when it is done. Raises StoreDown, and Problem 404 where there is no store."""
        if self.writer is None:
            raise Problem(404, "this server stores no events (--events none)")
        if self._writing >= self.settings.max_waiting:
            raise Problem.busy(f"{self._writing:,} requests with events are waiting already")
        self._writing += 1
        try:
            done = await asyncio.shield(asyncio.wrap_future(write(self.writer)))
        except StoreDown as error:
            self.writing_down = str(error)
            raise
        finally:
            self._writing -= 1
        self.writing_down = None
        return done

    def events_health(self) -> dict[str, object]:
        """How the store of events is."""
        if self.store is None or self.known is None:
            return {"status": "off"}
        reasons = {"writing": self.writing_down, "reading": self.known.down}
        down = {name: reason for name, reason in reasons.items() if reason is not None}
        return {"status": "down" if down else "ready", "store": self.store.name, **down}

    def close(self) -> None:
        """End the threads. Events that wait are stored first."""
        self.batcher.close()
        self.runs.close()
        if self.writer is not None:
            self.writer.close()
        if self.store is not None:
            self.store.close()
        self.log.flush()


def by_of(answer: Answer) -> str:
    """What a list comes from, as it is counted.

    >>> by_of(KgrecError("no"))
    'error'
    """
    if isinstance(answer, KgrecError):
        return "error"
    return answer.reason if answer.reason in FALLBACKS else "history"


def _state_of(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size)
