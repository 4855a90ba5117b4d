"""The trackers of one training. Those that fail do not end it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING

from kgrec.errors import KgrecError, some
from kgrec.training.tracking.causes import cause_of, warn
from kgrec.training.tracking.tracker import CheckedTracker, Status, TrackedEpoch, TrackedResult, TrackedRun, Tracker

if TYPE_CHECKING:
    from kgrec.training.job import TrainingJob

SECONDS_BETWEEN_TRIES = 30.0  #: how long to wait at least before a tracker that failed is tried again
TIMES_OF_A_TRY = 10  #: and how many times as long as the try took, so that a dead server costs at most a tenth


@dataclass
class _Followed:
    """One tracker, and what it has not taken yet."""

    name: str
    tracker: Tracker
    #: (what it is, the call), in order
    waiting: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    tries_from: float = 0.0  #: when to try again, on the monotonic clock
    error: Exception | None = None  #: the last error
    has_warned: bool = False

    def call(self, what: str, call: Callable[[], None], *, at_once: bool = False) -> None:
        """Make a call after those that wait. An error becomes a warning, the first time. at_once: try now, even if the
        last try failed a moment ago."""
        self.waiting.append((what, call))
        if not at_once and time.monotonic() < self.tries_from:
            return
        begun = time.monotonic()
        try:
            while self.waiting:
                self.waiting[0][1]()
                del self.waiting[0]
        except Exception as error:
            self.error = error
            now = time.monotonic()
            self.tries_from = now + max(SECONDS_BETWEEN_TRIES, TIMES_OF_A_TRY * (now - begun))
            if not self.has_warned:
                self.has_warned = True
                why = cause_of(error)
                warn(f"{self.name} fails ({why}); the training goes on, and what is not logged is tried again")

    def say_what_is_missing(self, elsewhere: str) -> None:
        """Warn if something waits still. elsewhere: where else it is, as the end of a sentence."""
        if self.waiting and self.error is not None:
            names = [what for what, _ in self.waiting]
            warn(f"{self.name} did not get {some(names)} ({cause_of(self.error)}){elsewhere}")


class Tracking:
    """The trackers of one training. As a context manager, it ends them with what became of the training."""

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        names: list[str] = []
        for tracker in trackers:
            name, number = type(tracker).__name__, 1
            while (shown := name if number == 1 else f"{name} {number}") in names:
                number += 1
            names.append(shown)
        self.trackers = dict(zip(names, trackers))
        self.followed: list[_Followed] = []  #: those that have begun
        self.elsewhere = ""

    def begin(self, run: TrackedRun, ids: Mapping[str, str]) -> dict[str, str]:
        """Begin. ids: what `begin` returned before, by tracker, of a training that was interrupted. Returns those to be
        kept. Raises what a tracker raises."""
        kept = dict(ids)
        self.elsewhere = "" if run.out is None else f"; log.csv and metrics.json in {run.out} have it"
        for name, tracker in self.trackers.items():
            found = tracker.begin(replace(run, id=ids.get(name)))
            self.followed.append(_Followed(name, tracker))
            if found is not None:
                kept[name] = found
        return kept

    def log_epoch(self, epoch: TrackedEpoch) -> None:
        """Log the numbers of an epoch."""
        for one in self.followed:
            one.call(f"epoch {epoch.number} of {epoch.phase}", lambda one=one: one.tracker.log_epoch(epoch))  # type: ignore[misc]

    def log_result(self, result: TrackedResult) -> None:
        """Log what was measured at the end."""
        for one in self.followed:
            one.call("the result", lambda one=one: one.tracker.log_result(result))  # type: ignore[misc]

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = status_of(error)
        while self.followed:
            one = self.followed.pop(0)
            one.call(f"its end ({status})", lambda one=one: one.tracker.finish(status), at_once=True)  # type: ignore[misc]
            one.say_what_is_missing(self.elsewhere if status == "finished" else "")


def status_of(error: BaseException | None) -> Status:
    """What became of a training that ended with an error, or without one. Where an interrupted call has raised its own
    error, the interruption counts.

    >>> status_of(None), status_of(KeyboardInterrupt()), status_of(ValueError())
    ('finished', 'killed', 'failed')
    """
    if error is None:
        return "finished"
    seen: BaseException | None = error
    while seen is not None:
        if not isinstance(seen, Exception):
            return "killed"
        seen = seen.__context__
    return "failed"


def refuse_trackers(job: TrainingJob, what: str) -> None:
    """Raise KgrecError if a job is to be tracked. what: what does not track its trainings."""
    if job.track:
        raise KgrecError(f"{what} does not track the models that it trains; leave track (--track) out")


def check_trackers(job: TrainingJob) -> None:
    """Check the trackers of a job before anything else is done. Raises KgrecError for one that cannot follow it."""
    for tracker in job.track:
        if isinstance(tracker, CheckedTracker):
            tracker.check(job)
