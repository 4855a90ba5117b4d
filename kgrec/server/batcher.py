"""One thread that scores. What has come while it was busy goes as one batch, and nothing waits for a batch to fill.

Lists that take about a millisecond are made in the event loop itself while the thread has nothing to do: the two
switches between threads would take as long, and much longer where cores are short."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kgrec.errors import KgrecError
from kgrec.server.events.user_event import Event
from kgrec.server.problems import Problem
from kgrec.server.served_runs import ServedRun
from kgrec.serving.recommendation import Recommendations
from kgrec.serving.wanted import Wanted

MOST = 128  #: requests in a batch
QUICK = 16  #: of requests whose lists take about a millisecond
QUIET = 0.02  #: seconds without a request after which something is done ahead

Answer = Recommendations | KgrecError
Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]


@dataclass(slots=True, eq=False)
class Lists:
    """A request for lists."""

    future: asyncio.Future[list[Answer]]
    run: ServedRun
    wanted: Sequence[Wanted]
    events: Sequence[Sequence[Event]]  #: of each user, since training


@dataclass(slots=True, eq=False)
class Call:
    """A request for anything else."""

    future: asyncio.Future[Any]
    function: Callable[[], Any]


class Batcher:
    """Answers requests of the event loop, in one thread of its own where they take more than a moment."""

    def __init__(
        self,
        max_waiting: int,
        batched: Callable[[int], None] = lambda size: None,
        ahead: Callable[[], bool] = lambda: False,
    ) -> None:
        """batched: called with the number of requests of each batch. ahead: called while no request is there; it does
        a little, and returns whether there is more to do."""
        self._queue: queue.SimpleQueue[Lists | Call | None] = queue.SimpleQueue()
        self._max_waiting, self._batched, self._ahead = max_waiting, batched, ahead
        self._is_working = False
        self._quick: list[Lists] = []  #: requests that the event loop answers by itself
        self._thread = threading.Thread(target=self._work, name="kgrec-scoring", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._queue.qsize()

    async def lists(self, run: ServedRun, wanted: Sequence[Wanted], events: Sequence[Sequence[Event]]) -> list[Answer]:
        """The list of each user, or why there is none. Raises Problem 503 where too many wait."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Answer]] = loop.create_future()
        request = Lists(future, run, wanted, events)
        if self._is_quick(request):
            self._quick.append(request)
            if len(self._quick) == 1:
                loop.call_soon(loop.call_soon, self._answer_quick)  # behind all requests that are there already
        else:
            self._put(request)
        return await future

    def _is_quick(self, request: Lists) -> bool:
        """Whether a request is answered sooner without another thread, which costs two switches."""
        if (
            self._is_working
            or len(self._quick) >= min(QUICK, self._max_waiting)
            or len(request.wanted) != 1
            or request.events[0]
        ):
            return False
        return self._queue.empty() and request.run.current.service.is_quick(request.wanted[0])

    def _answer_quick(self) -> None:
        """Answer quick requests in the event loop."""
        batch, self._quick = self._quick, []
        asked = [one for one in batch if not one.future.cancelled()]
        if asked:
            self._batched(len(asked))
            for group in _by_run(asked):
                _tell(_answers(group))

    async def call(self, function: Callable[[], Any]) -> Any:
        """What a function gives, called in the scoring thread. Raises what it raises, and as `lists`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(Call(future, function))
        return await future

    def close(self) -> None:
        """Answer what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def _put(self, request: Lists | Call) -> None:
        if self._queue.qsize() >= self._max_waiting:
            raise Problem.busy(f"{self._max_waiting:,} requests are waiting already")
        self._queue.put(request)

    def _work(self) -> None:
        last = False
        while not last:
            batch = [self._next()]
            while len(batch) < MOST:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            last = None in batch
            asked = [one for one in batch if one is not None and not one.future.cancelled()]
            if asked:
                self._is_working = True
                self._batched(len(asked))
                self._answer(asked)
                self._is_working = False

    def _next(self) -> Lists | Call | None:
        """The next request. While there is none, something is done ahead."""
        wait = QUIET
        while True:
            try:
                return self._queue.get(timeout=wait)
            except queue.Empty:
                wait = 0.0
            try:
                if not self._ahead():
                    return self._queue.get()
            except Exception:  # those who ask are told what is wrong
                return self._queue.get()

    def _answer(self, batch: Sequence[Lists | Call]) -> None:
        for group in _by_run([one for one in batch if isinstance(one, Lists)]):
            _deliver(_answers(group))
        for one in batch:
            if isinstance(one, Call):
                try:
                    _deliver([(one.future, one.function(), None)])
                except BaseException as error:
                    _deliver([(one.future, None, error)])


def _by_run(requests: Sequence[Lists]) -> list[list[Lists]]:
    """The requests of each run."""
    groups: dict[int, list[Lists]] = {}
    for one in requests:
        groups.setdefault(id(one.run), []).append(one)
    return [*groups.values()]


def _answers(group: Sequence[Lists]) -> list[Outcome]:
    """The answers to requests of one run, all by what it is now."""
    loaded = group[0].run.current
    try:
        wanted = [
            loaded.with_events(one, events) if events else one
            for request in group
            for one, events in zip(request.wanted, request.events)
        ]
        answers = loaded.service.recommend(wanted)
    except BaseException as error:  # whatever it is, those who wait are told, and no request spoils another
        if len(group) == 1:
            return [(group[0].future, None, error)]
        return [outcome for one in group for outcome in _answers([one])]
    found, start = list[Outcome](), 0
    for one in group:
        found.append((one.future, answers[start : start + len(one.wanted)], None))
        start += len(one.wanted)
    return found


def _tell(outcomes: Sequence[Outcome]) -> None:
    """Tell those who wait, in the event loop."""
    for future, value, error in outcomes:
        if future.done():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def _deliver(outcomes: Sequence[Outcome]) -> None:
    """Tell those who wait, from another thread."""
    loop = outcomes[0][0].get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(_tell, outcomes)
