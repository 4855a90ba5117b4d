"""Backtests: for each of several time windows, train a model on what was before the window, and measure it in it."""

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
from kgrec.progress import counted
from kgrec.settings import must_be_at_most
from kgrec.splits.positives import positives
from kgrec.splits.protocol_name import protocol_name
from kgrec.splits.split import without_self_edges
from kgrec.training.job import TrainingJob, takes_job_options
from kgrec.training.session import Report, run_job

BACKTEST_FILE = json_kind("backtest", {"model": str, "protocol": str, "windows": list, "mean": dict})
LONGEST = 1_000 * 366 * 86_400  #: maximum length of a window in seconds: 1,000 years
MOST_DIGITS = 12  #: maximum number of digits in a duration
MOST_WINDOWS = 10_000
UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}  #: seconds


@dataclass(frozen=True)
class Window:
    """A time window in which a model was tested, after training on what was before. Times are unix seconds."""

    number: int  #: from 1 for the earliest window
    valid_from: int  #: edges before this time are train edges; equal to `start` if there is no validation
    start: int  #: the first second of the window
    stop: int  #: the first second after the window
    num_train: int  #: number of target edges before `valid_from`
    num_valid: int  #: number of target edges from `valid_from` until `start`
    num_test: int  #: number of target edges in the window
    num_users: int  #: users with an edge in the window
    num_new_users: int  #: users with an edge in the window and none before it
    num_without_history: int = 0  #: test users without an edge in training
    skipped: str | None = None  #: why the window was skipped; None if it was not
    best_epoch: int | None = None  #: the epoch that validation chose
    test: dict[str, float] = field(default_factory=dict)  #: test results by metric
    #: held-out pairs that the user already had, as in `RepeatCounts.to_json`; {} if the window was skipped
    repeats: dict[str, Any] = field(default_factory=dict)

    @property
    def span(self) -> str:
        """Start and end of the window as ISO dates."""
        return f"{iso(self.start)} to {iso(self.stop)}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, with the times in ISO as well."""
        return {"from": iso(self.start), "to": iso(self.stop), **asdict(self)}


@dataclass(frozen=True)
class Backtest:
    """The test results of a model in each window, their means and their spread."""

    model: str
    protocol: str
    seed: int
    windows: list[Window]
    mean: dict[str, float]  #: mean by metric over the windows that were not skipped
    spread: dict[str, float | None]  #: sample standard deviation by metric; None if there is only one window
    edges_left_out: int = 0  #: number of target edges that are no clicks and are in no window

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "windows": [window.to_json() for window in self.windows]}


#: Options of a job that a backtest does not take: it splits by time itself, and each window trains from scratch
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
    """Test a model on the last `windows` time windows of `every` seconds each. For each window, the model is trained
    from scratch on what was before the window.

    If the last target edge is at time T, window w of N (from 0) tests on [T - (N - w) every, T - (N - w - 1) every);
    the last window includes T. The `every` seconds before a window are its validation, unless `valid` is False; all
    edges before that train. Edges from the window's end on are left out; facts without a time stay. All nodes of the
    graph stay, so items that come later are ranked in every window, as with `by_time`.

    model, options: as in `kgrec.train`, except split, candidates, resume, init, init_part and facts_only; `out` is a
    JSON file to write. report: called after each epoch; notify: called after each window.

    A window without train edges or without test edges is skipped. A window without validation edges trains for all
    epochs.

    Raises KgrecError if target edges have no times or all the same time, if all windows are skipped, if `out` exists,
    for `refit` without `valid`, and for the same reasons as `kgrec.train`; then the message names the window.
    """
    for name, value, most in (("every, in seconds,", every, LONGEST), ("windows", windows, MOST_WINDOWS)):
        if value < 1:
            raise KgrecError(f"{name} is {value}, but must be 1 or more")
        must_be_at_most(name, value, most)
    job = TrainingJob.of(model, options, "kgrec.backtest", REFUSED)
    if job.refit and not valid:
        raise KgrecError("refit needs validation edges, but --no-valid leaves none; leave out --refit or --no-valid")
    if job.out is not None:
        refuse_existing(job.out, job.overwrite, BACKTEST_FILE, [None if isinstance(graph, Graph) else graph])
    graph = graph if isinstance(graph, Graph) else Graph.load(graph)
    graph, left_out = positives(graph, job.trained_for, job.all_edges)
    done = []
    spans = _windows(without_self_edges(graph), every, windows, valid)
    for window in counted("testing", spans, windows, "windows"):
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
    """The windows in the order of time, with their counts. Raises KgrecError if there are no times, or only one."""
    target = graph.only(graph.target)
    user, time = target.head, target.time  #: LongTensor [target edges] each
    name = target.target[1]
    without = int((time == NO_TIME).sum())
    if without or not len(time):
        found = f"{without:,} of {len(time):,} {name!r} edges have none" if without else f"there is no {name!r} edge"
        raise KgrecError(f"a backtest needs times, but {found}; name the column as `time:` below `interactions:`")
    last = int(time.max())
    if int(time.min()) == last:
        raise KgrecError(
            f"all {len(time):,} {name!r} edges have the same time, {iso(last)}, so none is before "
            "a window to train on; a backtest needs edges at several times"
        )
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
            window = replace(window, skipped=f"there is no {name!r} edge before {iso(valid_from)} to train on")
        elif not window.num_test:
            window = replace(window, skipped=f"there is no {name!r} edge in the window to test on")
        yield window


def _protocol(every: int, valid: bool, job: TrainingJob, done: Sequence[Window], left_out: int) -> str:
    """The protocol's name. It names excluded behaviours; the choice of repeats if it is not the default or if repeats
    are missed in a window; and whether a window has users without a history."""
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
        now=job.now,
    )
    return name + ("" if valid else ", no validation") + (", refit on train + valid" if job.refit else "")


def _summary(model: str, seed: int, windows: list[Window], protocol: str) -> Backtest:
    """The result over all windows. Raises KgrecError if every window was skipped."""
    measured = [window.test for window in windows if window.skipped is None]
    if not measured:
        reasons = "; ".join(f"{window.span}: {window.skipped}" for window in windows)
        raise KgrecError(f"no window can be measured ({reasons}); use fewer or shorter windows")
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
    """The number of seconds in a duration such as 30m, 12h, 7d or 2w.

    >>> duration("7d"), duration("30m")
    (604800, 1800)

    Raises KgrecError for anything else.
    """
    found = re.fullmatch(r"([1-9][0-9]*)([mhdw])", text.strip())
    if found is None:
        raise KgrecError(f"duration {text!r} must be a whole number and a unit, such as 30m, 12h, 7d or 2w")
    seconds = int(found[1][:MOST_DIGITS]) * UNITS[found[2]]
    if len(found[1]) > MOST_DIGITS or seconds > LONGEST:
        raise KgrecError(f"duration {text!r} is more than 1,000 years; use a shorter one, such as 7d")
    return seconds


def iso(time: int) -> str:
    """A time in unix seconds as an ISO date in UTC.

    >>> iso(0)
    '1970-01-01T00:00:00Z'
    """
    return f"{np.datetime64(time, 's')}Z"
