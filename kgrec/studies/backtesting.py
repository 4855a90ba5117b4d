"""A model through time: trained anew for each of several windows on what was there before, and measured in them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kgrec._deprecation import renamed_option
from kgrec.errors import KgrecError
from kgrec.files import refuse_existing, whole
from kgrec.graph import NO_TIME, Graph
from kgrec.output_kinds import json_kind
from kgrec.settings import must_be_at_most
from kgrec.splits.positives import positives
from kgrec.splits.protocol_name import protocol_name
from kgrec.splits.split import without_self_edges
from kgrec.training.job import TrainingJob, takes_job_options
from kgrec.training.session import Report, run_job

BACKTEST_FILE = json_kind("backtest", {"model": str, "protocol": str, "windows": list, "mean": dict})
LONGEST = 1_000 * 366 * 86_400  #: seconds of a window, 1,000 years
MOST_DIGITS = 12  #: of a duration's number
MOST_WINDOWS = 10_000
UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}  #: seconds


@dataclass(frozen=True)
class Window:
    """A stretch of time that a model was tested in, trained on what was before it. Times are unix seconds."""

    number: int  #: from 1, the earliest
    valid_from: int  #: what is before it trains; `start` where nothing validates
    start: int
    stop: int  #: the first second after it
    num_train: int  #: target edges before `valid_from`
    num_valid: int
    num_test: int
    num_users: int  #: users with an edge in the window
    num_new_users: int  #: those of them without an edge before it
    num_without_history: int = 0  #: users of the test without an edge in training, served otherwise than by one
    skipped: str | None = None  #: why nothing was trained; None where something was
    best_epoch: int | None = None
    test: dict[str, float] = field(default_factory=dict)  #: by metric
    #: held-out pairs that the user had already, as `RepeatCounts.to_json` has them; {} where it was skipped
    repeats: dict[str, Any] = field(default_factory=dict)

    @property
    def span(self) -> str:
        """From when to when, in ISO dates."""
        return f"{iso(self.start)} to {iso(self.stop)}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, with the times in ISO as well."""
        return {"from": iso(self.start), "to": iso(self.stop), **asdict(self)}


@dataclass(frozen=True)
class Backtest:
    """What a model measured in each window, and how much that varies."""

    model: str
    protocol: str
    seed: int
    windows: list[Window]
    mean: dict[str, float]  #: by metric, over the windows that were not skipped
    spread: dict[str, float | None]  #: sample standard deviation; None of a single window
    edges_left_out: int = 0  #: target edges that are no clicks, which no window counts

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "windows": [window.to_json() for window in self.windows]}


#: Options of a job that a backtest has no use for: it divides by time itself, and each window starts from nothing
REFUSED = ("split", "candidates", "resume", "init", "init_part", "facts_only")


@renamed_option("tell", "notify")
@partial(takes_job_options, refused=REFUSED)
def backtest(
    model: str | TrainingJob,
    graph: Graph | str | Path,
    *,
    every: int,
    windows: int,
    valid: bool = True,
    report: Report | None = None,
    notify: Callable[[Window], None] | None = None,
    **options: Any,
) -> Backtest:
    """Train a model anew for each of the last `windows` stretches of `every` seconds, and measure it in them.

    Where the last target edge is at T, window w of N, from 0, tests on [T - (N - w) every, T - (N - w - 1) every); the
    last one includes T. The `every` before it chooses the epoch, unless not `valid`; all before that trains. No edge
    from the window's end on is there; facts without a time stay. Nodes are those of the whole graph, so that items
    which come later are ranked in every window, as under `by_time`.

    model, options: as in `kgrec.train`, but for what would divide or start it otherwise; `out` is a JSON file to write.
    report: called after each epoch; notify: after each window.

    A window without an edge to train or to test on is skipped, and says so; one without an edge to validate on trains
    for all epochs.

    Raises KgrecError where target edges have no times or are all at one, where all windows are skipped, for an existing
    `out`, for `refit` without `valid`, and as `kgrec.train`, naming the window.
    """
    for name, value, most in (("every, in seconds,", every, LONGEST), ("windows", windows, MOST_WINDOWS)):
        if value < 1:
            raise KgrecError(f"{name} is {value}, 1 or more is wanted")
        must_be_at_most(name, value, most)
    job = TrainingJob.of(model, options, "kgrec.backtest", REFUSED)
    if job.refit and not valid:
        raise KgrecError("refit trains again on train + valid, and nothing is to validate; leave one of them out")
    if job.out is not None:
        refuse_existing(job.out, job.overwrite, BACKTEST_FILE, [None if isinstance(graph, Graph) else graph])
    graph = graph if isinstance(graph, Graph) else Graph.load(graph)
    graph, left_out = positives(graph, job.trained_for, job.all_edges)
    done = []
    for window in _windows(without_self_edges(graph), every, windows, valid):
        if window.skipped is None:
            split = f"by_time:{window.valid_from:05d},{window.start:05d}"  # of four digits it would be a year
            try:
                run = run_job(replace(job, split=split, out=None), graph.before(window.stop), report)
            except KgrecError as error:
                raise KgrecError(f"window {window.number} of {windows}, {window.span}: {error}") from error
            found = {"test": run.metrics["test"], "repeats": run.metrics.get("repeats", {})}
            found["num_without_history"] = run.metrics.get("without_history", {}).get("users", 0)
            window = replace(window, best_epoch=run.metrics["best_epoch"], **found)
        done.append(window)
        if notify is not None:
            notify(window)
    result = replace(
        _summary(job.model, job.training.seed, done, _protocol(every, valid, job, done, left_out)),
        edges_left_out=left_out,
    )
    if job.out is not None:
        with whole(job.out, job.overwrite, BACKTEST_FILE) as draft:
            draft.write_text(json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return result


def _windows(graph: Graph, every: int, windows: int, valid: bool) -> Iterator[Window]:
    """The windows by time, and what is in them. Raises KgrecError where times do not tell any apart."""
    target = graph.only(graph.target)
    user, time = target.head, target.time  #: LongTensor [target edges] each
    name = target.target[1]
    without = int((time == NO_TIME).sum())
    if without or not len(time):
        found = f"{without:,} of {len(time):,} {name!r} edges have none" if without else f"there is no {name!r} edge"
        raise KgrecError(f"a backtest needs times, and {found}; say `time:` under `interactions` in the recipe")
    last = int(time.max())
    if int(time.min()) == last:
        raise KgrecError(f"all {len(time):,} {name!r} edges are at {iso(last)}; nothing is before them to train on")
    for number in range(1, windows + 1):
        start = last - (windows - number + 1) * every
        stop = start + every + (number == windows)
        valid_from = start - every if valid else start
        inside = (time >= start) & (time < stop)
        users = user[inside].unique()
        window = Window(
            number=number,
            valid_from=valid_from,
            start=start,
            stop=stop,
            num_train=int((time < valid_from).sum()),
            num_valid=int(((time >= valid_from) & (time < start)).sum()),
            num_test=int(inside.sum()),
            num_users=len(users),
            num_new_users=int((~torch.isin(users, user[time < start])).sum()),
        )
        if not window.num_train:
            window = replace(window, skipped=f"no {name!r} edge before {iso(valid_from)} to train on")
        elif not window.num_test:
            window = replace(window, skipped=f"no {name!r} edge in it to test on")
        yield window


def _protocol(every: int, valid: bool, job: TrainingJob, done: Sequence[Window], left_out: int) -> str:
    """It says what is excluded; what became of repeats where that is not the default, and where a window has any that
    are missed; and where a window has users without a history."""
    units = [f"{every // size}{unit}" for unit, size in UNITS.items() if every % size == 0]
    length = units[-1] if units else f"{every} s"
    counts = [window.repeats for window in done if window.repeats]
    said = [one["choice"] for one in counts if one["choice"] != "miss" or (one["pairs"] and one["ranked"] == "catalog")]
    name = protocol_name(
        f"{len(done)} windows of {length}",
        clicks_alone=left_out > 0,
        exclude=job.exclude,
        repeats=said[0] if said else None,
        without_history=any(window.num_without_history for window in done),
    )
    return name + ("" if valid else ", no validation") + (", refit on train + valid" if job.refit else "")


def _summary(model: str, seed: int, windows: list[Window], protocol: str) -> Backtest:
    """Raises KgrecError where every window is skipped."""
    measured = [window.test for window in windows if window.skipped is None]
    if not measured:
        reasons = "; ".join(f"{window.span}: {window.skipped}" for window in windows)
        raise KgrecError(f"no window can be measured; take fewer or shorter ones ({reasons})")
    names = dict.fromkeys(metric for test in measured for metric in test)
    values = {metric: [test[metric] for test in measured if metric in test] for metric in names}
    return Backtest(
        model=model,
        protocol=protocol,
        seed=seed,
        windows=windows,
        mean={metric: float(np.mean(found)) for metric, found in values.items()},
        spread={metric: float(np.std(found, ddof=1)) if len(found) > 1 else None for metric, found in values.items()},
    )


def duration(text: str) -> int:
    """Seconds of a duration in minutes, hours, days or weeks.

    >>> duration("7d"), duration("30m")
    (604800, 1800)

    Raises KgrecError for anything else.
    """
    found = re.fullmatch(r"([1-9][0-9]*)([mhdw])", text.strip())
    if found is None:
        raise KgrecError(f"duration {text!r}: a whole number from 1 and its unit are wanted: 30m, 12h, 7d or 2w")
    seconds = int(found[1][:MOST_DIGITS]) * UNITS[found[2]]
    if len(found[1]) > MOST_DIGITS or seconds > LONGEST:
        raise KgrecError(f"duration {text!r} is more than 1,000 years; a window of less is wanted, such as 7d")
    return seconds


def iso(time: int) -> str:
    """A time in unix seconds as an ISO date in UTC.

    >>> iso(0)
    '1970-01-01T00:00:00Z'
    """
    return f"{np.datetime64(time, 's')}Z"
