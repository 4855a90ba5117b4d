"""What the commands print: tables and JSON to stdout, progress and notes to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kgrec.printable import printable
from kgrec.run_files import PARTS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kgrec.training.trainer import Epoch

LEAST_USERS_FOR_A_FIGURE = 30  #: a mean over fewer says little
MARGINS = 3  #: characters that a column takes beside its text


def plain(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """An empty table: columns of texts, which fold where they are too long, and of numbers, which never do. All of it
    is shown as it stands: brackets are no markup, and control characters are escaped."""
    from kgrec.text_tables import text_table

    return text_table(title, texts, numbers)


def by_metric(what: str, values: Mapping[str, Mapping[str, float]], *, title: str, width: int) -> Iterator[Table]:
    """One row a name and one column a metric, in as many tables as the width (characters) asks for.

    what: the names' heading; values: by name and metric, empty where a name lacks one.
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
    """Where tables are printed: stdout, as wide as the terminal; where it is none, no line is folded or cut."""
    from kgrec.text_tables import TextConsole

    return TextConsole()


def say(message: object) -> None:
    """Lines on stdout, with what would control a terminal escaped."""
    print(printable(message, "\n"))


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False))


def print_csv(text: str) -> None:
    """CSV on stdout: exactly as a file would hold it, but at a terminal with what would control it escaped."""
    print(printable(text, "\n") if sys.stdout.isatty() else text, end="")


def status(message: str) -> None:
    """A line on stderr, at once: how far a command is, or what it wrote. What would control a terminal is escaped."""
    print(printable(message, "\n"), file=sys.stderr, flush=True)


def note(message: str) -> None:
    """Something on stderr that a user should know, and that stops nothing."""
    status(f"note: {message}")


def progress(epoch: Epoch, metrics: Mapping[str, float]) -> None:
    """A line an epoch: seconds, losses, what validation measured; and the model's warnings as notes."""
    status(f"epoch {epoch.number}  {epoch.seconds:.2f} s  {listed(epoch.losses)}  {listed(metrics)}".rstrip())
    for warning in epoch.warnings:
        note(warning)


def listed(values: Mapping[str, float]) -> str:
    """Numbers by name in one line.

    >>> listed({"loss": 0.5, "ndcg@10": 0.25})
    'loss 0.5000, ndcg@10 0.2500'
    """
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())


def show_metrics(metrics: Mapping[str, Any]) -> None:
    """What a run measured, as a table with what each column is of, and beneath it the rest of what is known of the
    run."""
    parts = {part: metrics[part] for part in PARTS if metrics.get(part)}
    counts = {part: metrics.get("counts", {}).get(part, {}) for part in parts}
    for control, of_parts in metrics.get("control", {}).items():
        parts |= {f"{control}, {part}": of_parts[part] for part in ("valid", "test") if part in of_parts}
    table = plain(f"{metrics['model']} ({metrics['protocol']})", ["metric"], list(parts))
    for name in dict.fromkeys(name for values in parts.values() for name in values):
        table.add_row(name, *(f"{values[name]:.4f}" if name in values else "" for values in parts.values()))
    if any(counts.values()):
        table.add_section()
    for name in dict.fromkeys(name for values in counts.values() for name in values):
        of_parts = (counts.get(part, {}) for part in parts)
        table.add_row(name, *(f"{one[name]:,}" if name in one else "" for one in of_parts))
    screen = console()
    screen.print(table)
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
        edges = f"{number:,} edges lead" if number > 1 else "1 edge leads"
        screen.print(f"{edges} from a node to itself, left out: nobody is recommended to themselves")
    if "init" in metrics:
        screen.print(_start(metrics["init"]))


def about_edges(left_out: int, repeats: Mapping[str, Any]) -> Iterator[str]:
    """What became of edges, a line each: those that are no clicks, of which a ranking left out so many, and held-out
    pairs that users had already, from their counts in metrics.json. Nothing where there are none."""
    if left_out:
        yield f"left out: {left_out:,} target edges that are no clicks; --all-edges takes them for clicks"
    line = repeats_line(repeats)
    if line is not None:
        yield line


def note_control(metrics: Mapping[str, Any]) -> None:
    """A note where a run ends below its control on valid, with what to try next."""
    if "below_control" in metrics:
        note(metrics["below_control"]["note"])


def repeats_line(counts: Mapping[str, Any]) -> str | None:
    """What became of held-out pairs that users had already, from the counts in metrics.json; None where there are none.

    >>> missed = {"choice": "miss", "ranked": "catalog", "pairs": 2, "held_out_pairs": 1_570, "highest_hit_rate": 0.72}
    >>> repeats_line(missed).partition(";")[0]
    '2 of 1,570 held-out pairs are repeats and count as missed (the hit rate is at most 0.7200)'
    """
    if not counts.get("pairs"):
        return None
    repeats = f"{counts['pairs']:,} of {counts.get('held_out_pairs', 0):,} held-out pairs are repeats"
    if counts.get("choice") == "skip":
        left = counts.get("dropped_users", 0)
        users = f"{left:,} users who have" if left > 1 else "1 user who has"
        return f"{repeats} and are skipped" + (f", and with them {users} no other" if left else "")
    if counts.get("ranked") == "nothing":
        return f"{repeats}, predicted as the others are; say --repeats skip to leave them out"
    if counts.get("ranked") == "lists":
        return f"{repeats}, ranked where they are on a user's list; say --repeats skip to leave them out"
    if counts.get("choice") == "recommend":
        return f"{repeats}, which are ranked as other items are"
    highest = counts.get("highest_hit_rate", 1)
    limit = f" (the hit rate is at most {highest:.4f})" if highest < 1 else ""
    return f"{repeats} and count as missed{limit}; say --repeats skip or recommend"


def too_few(users: Mapping[str, float]) -> Iterator[str]:
    """A line for each figure that is a mean over too few users. users: how many by the figure's name.

    >>> list(too_few({"test": 1200, "test_cold": 7}))
    ['test_cold: too few users to tell (7)']
    """
    for name, number in users.items():
        if number < LEAST_USERS_FOR_A_FIGURE:
            yield f"{name}: too few users to tell ({number:,})"


def _without_history(counts: Mapping[str, int], users: int) -> str:
    """Who has no edge in training, and by what they were served.

    >>> _without_history({"users": 3, "by_popularity": 2, "by_profile": 1}, 1200)
    '3 of 1,200 users have no history in training: 2 served by popularity, 1 by profile'
    """
    served = [f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items() if name != "users"]
    how = f": {', '.join(served)}".replace(" by ", " served by ", 1) if served else ""
    return f"{counts['users']:,} of {users:,} users have no history in training{how}"


def _start(start: Mapping[str, Any]) -> str:
    """What a model started from: vectors by table, layers, and what was left as it was."""
    vectors = [
        f"{name} {one['found']:,} of {one['nodes']:,} from {one['from']}" for name, one in start["vectors"].items()
    ]
    named = [f"{name} ({one['found']} of {one['rows']} by name)" for name, one in start.get("named", {}).items()]
    left = [name + " (its rows are not declared)" * (name in start.get("undeclared", ())) for name in start["left"]]
    parts = {"vectors": vectors, "layers": [*start["layers"], *named], "not taken": left}
    said = "; ".join(f"{name}: {', '.join(part) if part else 'none'}" for name, part in parts.items())
    if start.get("other_graph"):
        said += "; it is of another graph, so whether it has seen what is held out here cannot be told"
    part = f", its {start['part']}" if "part" in start else ""
    return f"started from {start['run']} ({start['model']}{part}): {said}"
