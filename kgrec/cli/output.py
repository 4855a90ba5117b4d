"""What the commands print: tables and JSON to stdout, progress and notes to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from kgrec.cli.live_line import LiveLine
from kgrec.cli.progress_lines import epoch_line
from kgrec.printable import printable
from kgrec.progress import watched
from kgrec.run_files import PARTS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kgrec.training.trainer import Epoch

LEAST_USERS_FOR_A_FIGURE = 30  #: the mean over fewer users says little
MARGINS = 3  #: characters that a column takes in addition to its text
LEAST_COLUMN = 6  #: characters of a column of metrics


def plain(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """An empty table. Columns of texts wrap where they are too long; columns of numbers never do. Cells are shown
    literally: brackets are no markup, and control characters are escaped."""
    from kgrec.text_tables import text_table

    return text_table(title, texts, numbers)


def by_metric(what: str, values: Mapping[str, Mapping[str, float]], *, title: str, width: int) -> Iterator[Table]:
    """One row for each name and one column for each metric, in as many tables as the width (characters) requires.

    what: heading of the names; values: by name and metric. A cell is empty if the name does not have the metric.
    """
    metrics = list(dict.fromkeys(metric for row in values.values() for metric in row))
    names = max(len(printable(name)) for name in [what, *values]) + MARGINS + 1
    number = max(1, (width - names) // (max(map(len, metrics)) + MARGINS))
    for start in range(0, len(metrics), number):
        part = metrics[start : start + number]
        table = plain(title, [what], part)
        for name, row in values.items():
            table.add_row(name, *(f"{row[metric]:.4f}" if metric in row else "" for metric in part))
        yield table


def console() -> Console:
    """Where tables are printed: stdout, as wide as the terminal. If it is not a terminal, no line is wrapped or cut."""
    from kgrec.text_tables import TextConsole

    return TextConsole()


def say(message: object) -> None:
    """Print lines on stdout, with control characters escaped."""
    print(printable(message, "\n"))


def print_json(value: Any) -> None:
    """Print one line of JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False))


def print_csv(text: str) -> None:
    """Print CSV on stdout, exactly as in a file; at a terminal, with control characters escaped."""
    print(printable(text, "\n") if sys.stdout.isatty() else text, end="")


_QUIET: ContextVar[bool] = ContextVar("_QUIET", default=False)


@contextmanager
def watching(*, quiet: bool = False) -> Iterator[None]:
    """Inside this context, progress is shown on stderr. quiet: nothing is, and no status and note is printed; results
    and errors are."""
    token, line = _QUIET.set(quiet), LiveLine()
    try:
        with watched(None if quiet or not speaks_for_all() else line):
            yield
    finally:
        line.close()
        _QUIET.reset(token)


def speaks_for_all() -> bool:
    """Whether this process prints results: rank 0, or one that is alone."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def is_quiet() -> bool:
    """Whether only results and errors are printed."""
    return _QUIET.get()


def status(message: str) -> None:
    """Print a line on stderr at once: the progress of a command, or what it wrote. Control characters are escaped."""
    if not is_quiet():
        print_error(message)


def print_error(message: str) -> None:
    """Print an error or a question on stderr at once, also where only results and errors are printed."""
    print(printable(message, "\n"), file=sys.stderr, flush=True)


def note(message: str) -> None:
    """Print a note on stderr: something the user should know, but no error."""
    status(f"note: {message}")


def progress(epoch: Epoch, metrics: Mapping[str, float]) -> None:
    """Print one line for an epoch, and the model's warnings as notes. All metrics are in log.csv."""
    status(epoch_line(epoch, metrics))
    for warning in epoch.warnings:
        note(warning)


def listed(values: Mapping[str, float]) -> str:
    """Names and numbers on one line.

    >>> listed({"loss": 0.5, "ndcg@10": 0.25})
    'loss 0.5000, ndcg@10 0.2500'
    """
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())


def show_metrics(metrics: Mapping[str, Any]) -> None:
    """Print a run's metrics as a table, with the number of users, items and pairs of each column, and below it the
    other facts about the run."""
    parts = {part: metrics[part] for part in PARTS if metrics.get(part)}
    counts = {part: metrics.get("counts", {}).get(part, {}) for part in parts}
    for control, of_parts in metrics.get("control", {}).items():
        parts |= {f"{control}, {part}": of_parts[part] for part in ("valid", "test") if part in of_parts}
    screen, title = console(), f"{metrics['model']} ({metrics['protocol']})"
    names = {name for part in (parts, counts) for values in part.values() for name in values}
    for some_parts in _fitting(list(parts), screen.width - max(map(len, names)) - MARGINS - 1):
        shown = {part: parts[part] for part in some_parts}
        screen.print(_part_table(title, shown, {part: counts.get(part, {}) for part in shown}))
        title = ""
    for few in too_few({part: found["users"] for part, found in counts.items() if "users" in found}):
        screen.print(few)
    if "without_history" in metrics:
        screen.print(_without_history(metrics["without_history"], metrics["num_users"]))
    rest = {name: value for name, value in metrics.items() if not isinstance(value, dict)}
    screen.print(
        ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in rest.items()
        )
    )
    for line in about_edges(metrics.get("edges_left_out", 0), metrics.get("repeats", {})):
        screen.print(line)
    if metrics.get("self_edges"):
        number = metrics["self_edges"]
        edges = f"left out: {number:,} edge{'s' * (number != 1)} from a node to itself"
        screen.print(f"{edges}; nobody is recommended to themselves")
    if "init" in metrics:
        screen.print(_start(metrics["init"]))


def _fitting(names: Sequence[str], width: int) -> Iterator[list[str]]:
    """The names in groups, whose columns fit beside each other in so many characters; one each at least.

    >>> list(_fitting(["valid", "test", "test_warm"], 20))
    [['valid', 'test'], ['test_warm']]
    """
    group: list[str] = []
    for name in names:
        if group and sum(max(LEAST_COLUMN, len(one)) + MARGINS for one in [*group, name]) > width:
            yield group
            group = []
        group.append(name)
    yield group


def _part_table(title: str, parts: Mapping[str, Any], counts: Mapping[str, Any]) -> Table:
    """The metrics of some parts, a column each, and below them the numbers of users, items and pairs."""
    table = plain(title, ["metric"], list(parts))
    for name in dict.fromkeys(name for values in parts.values() for name in values):
        table.add_row(name, *(f"{values[name]:.4f}" if name in values else "" for values in parts.values()))
    if any(counts.values()):
        table.add_section()
    for name in dict.fromkeys(name for values in counts.values() for name in values):
        table.add_row(name, *(f"{one[name]:,}" if name in one else "" for one in counts.values()))
    return table


def about_edges(left_out: int, repeats: Mapping[str, Any]) -> Iterator[str]:
    """Lines about edges that were left out or count differently, from the counts in metrics.json: target edges that are
    no clicks, and held-out pairs that the user already had. No lines if there are none."""
    if left_out:
        yield f"left out: {left_out:,} target edges that are no clicks; --all-edges keeps them"
    line = repeats_line(repeats)
    if line is not None:
        yield line


def note_control(metrics: Mapping[str, Any]) -> None:
    """Print a note if a run ends below its control on valid. The note says what to try next."""
    if "below_control" in metrics:
        note(metrics["below_control"]["note"])


def repeats_line(counts: Mapping[str, Any]) -> str | None:
    """What happened to held-out pairs that the user already had, from the counts in metrics.json; None if there are
    none.

    >>> missed = {"choice": "miss", "ranked": "catalog", "pairs": 2, "held_out_pairs": 1_570, "highest_hit_rate": 0.72}
    >>> repeats_line(missed).partition(";")[0]
    '2 of 1,570 held-out pairs are repeats and count as missed (the hit rate is at most 0.7200)'
    """
    if not counts.get("pairs"):
        return None
    repeats = f"{counts['pairs']:,} of {counts.get('held_out_pairs', 0):,} held-out pairs are repeats"
    if counts.get("choice") == "skip":
        left = counts.get("dropped_users", 0)
        users = f"{left:,} users have no other pair and are" if left > 1 else "1 user has no other pair and is"
        return f"{repeats} and are skipped" + (f"; {users} skipped too" if left else "")
    if counts.get("ranked") == "nothing":
        return f"{repeats} and are predicted like the others; use --repeats skip to leave them out"
    if counts.get("ranked") == "lists":
        return (
            f"{repeats} and are ranked if they are on the user's candidate list; use --repeats skip to leave them out"
        )
    if counts.get("choice") == "recommend":
        return f"{repeats} and are ranked like other items"
    highest = counts.get("highest_hit_rate", 1)
    limit = f" (the hit rate is at most {highest:.4f})" if highest < 1 else ""
    return f"{repeats} and count as missed{limit}; use --repeats skip to leave them out, or recommend to rank them"


def too_few(users: Mapping[str, float]) -> Iterator[str]:
    """A line for each column that is a mean over too few users. users: number of users by the column's name.

    >>> list(too_few({"test": 1200, "test_cold": 7}))
    ['test_cold: only 7 users, too few for a reliable mean']
    """
    for name, number in users.items():
        if number < LEAST_USERS_FOR_A_FIGURE:
            yield f"{name}: only {number:,} user{'s' * (number != 1)}, too few for a reliable mean"


def _without_history(counts: Mapping[str, int], users: int) -> str:
    """How many users have no edge in training, and what their lists were made by.

    >>> _without_history({"users": 3, "by_popularity": 2, "by_profile": 1}, 1200)
    '3 of 1,200 users have no history in training: 2 served by popularity, 1 by profile'
    """
    served = [f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items() if name != "users"]
    how = f": {', '.join(served)}".replace(" by ", " served by ", 1) if served else ""
    return f"{counts['users']:,} of {users:,} users have no history in training{how}"


def _start(start: Mapping[str, Any]) -> str:
    """What a model started from: vectors by table, layers, and what was not taken."""
    vectors = [
        f"{name} {one['found']:,} of {one['nodes']:,} from {one['from']}" for name, one in start["vectors"].items()
    ]
    named = [f"{name} ({one['found']} of {one['rows']} by name)" for name, one in start.get("named", {}).items()]
    left = [name + " (its rows are not declared)" * (name in start.get("undeclared", ())) for name in start["left"]]
    parts = {"vectors": vectors, "layers": [*start["layers"], *named], "not taken": left}
    said = "; ".join(f"{name}: {', '.join(part) if part else 'none'}" for name, part in parts.items())
    if start.get("other_graph"):
        said += "; it was trained on another graph, so it may have seen edges that are held out here"
    part = f", its {start['part']}" if "part" in start else ""
    return f"started from {start['run']} ({start['model']}{part}): {said}"
