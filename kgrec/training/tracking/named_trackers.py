"""Trackers by name, for the command line and for texts in `track`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError, unknown_name
from kgrec.training.tracking.mlflow_tracker import MlflowTracker
from kgrec.training.tracking.tensorboard_tracker import FOLDER, TensorBoardTracker
from kgrec.training.tracking.tracker import Tracker

TRACKERS = ("mlflow", "tensorboard")
METHODS = ("begin", "log_epoch", "log_result", "finish")


def trackers_of(
    names: Iterable[str], uri: str | None = None, experiment: str | None = None, folder: Path | None = None
) -> tuple[Tracker, ...]:
    """The trackers of these names. uri, experiment: for mlflow; folder: for tensorboard; None: the defaults.

    Raises UnknownName for an unknown name, KgrecError for one that is named twice and for options of a tracker that is
    not named.
    """
    named = list(names)
    for name in named:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
        if named.count(name) > 1:
            raise KgrecError(f"the tracker {name!r} is named twice; name it once")
    for option, value, name in (
        ("--track-uri", uri, "mlflow"),
        ("--track-experiment", experiment, "mlflow"),
        ("--track-folder", folder, "tensorboard"),
    ):
        if value is not None and name not in named:
            raise KgrecError(f"{option} is for --track {name}, which is not there; add it, or leave {option} out")
    made: dict[str, Callable[[], Tracker]] = {
        "mlflow": lambda: MlflowTracker(uri, experiment),
        "tensorboard": lambda: TensorBoardTracker(FOLDER if folder is None else folder),
    }
    return tuple(made[name]() for name in named)


def as_trackers(found: Any) -> tuple[Any, ...]:
    """The trackers in the option `track`: a name, a tracker, or several of them; None: none.

    Raises UnknownName for an unknown name, and KgrecError for what is no tracker.
    """
    if found is None:
        return ()
    listed = list(found) if isinstance(found, list | tuple) else [found]
    trackers_of([one for one in listed if isinstance(one, str)])
    made = []
    for one in listed:
        tracker = trackers_of([one])[0] if isinstance(one, str) else one
        lacking = [name for name in METHODS if not callable(getattr(tracker, name, None))]
        if lacking or isinstance(tracker, type):
            what = "is a class; make an object of it" if isinstance(tracker, type) else f"has no {', '.join(lacking)}"
            raise KgrecError(
                f"track: {tracker!r} {what}; name {' or '.join(TRACKERS)}, or give an object with the methods "
                f"{', '.join(METHODS)} (kgrec.training.tracking.Tracker)"
            )
        made.append(tracker)
    return tuple(made)
