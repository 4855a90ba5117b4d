"""Lists of recommended items as tables and as objects, in the user's own ids, without torch."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.arrow_arrays import number_array, text_array, truth_array
from kgrec.errors import KgrecError
from kgrec.evaluation.served_by import REASONS
from kgrec.graph.vocabulary import Vocabulary
from kgrec.serving.answers import Table, write_parts
from kgrec.serving.evidence_kinds import Kind
from kgrec.sources.tables.text_streams import text_lines

if TYPE_CHECKING:
    import rich.table

SHOWN = 10  #: past items that are printed

#: of what is recommended
LISTS = pa.schema(
    [
        ("user", pa.string()),
        ("rank", pa.int32()),
        ("item", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("reason", pa.string()),
    ]
)
#: of the past items behind it; `evidence` is by what that is known (see `Kind`), `strength` how much one counts, and
#: `attention` the same where it is attention, else null
STEPS = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("label", pa.string()),
        ("attention", pa.float32()),
        ("evidence", pa.string()),
        ("strength", pa.float32()),
    ]
)

REASON_OF = {int(code): text for code, text in REASONS.items()}

#: What is printed above how much past items count
MEASURED = {
    Kind.ATTENTION: "attention",
    Kind.WITHOUT: "fall without it",
    Kind.FITTED: "fall without it",
    Kind.COSINE: "cosine",
    Kind.NOTHING: "strength",
}


@dataclass(frozen=True)
class Step:
    """A past item behind a list, and how much it counts."""

    item: str  #: external id
    label: str
    attention: float | None  #: the share of all attention to the user's history; None where it is known otherwise
    evidence: str = Kind.ATTENTION.value  #: by what it is known
    strength: float | None = None  #: how much it counts by that; None: as its attention says


@dataclass(frozen=True)
class Recommendations:
    """The best items for one user, best first."""

    user: str  #: external id; "new user" for one who is served by a history
    items: list[str]  #: external ids
    labels: list[str]  #: what to show; the id where an item has no label
    scores: list[float]  #: of the model, higher is better
    why: tuple[Step, ...] | None = None  #: the past items behind it, the one that counts most first, if asked for
    #: what the list comes from, where it is not the user's history ("no history, by popularity") or where it is asked
    reason: str | None = None
    notes: tuple[str, ...] = ()  #: what was left out, or why the list is short, a sentence each; only of a Service

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data: the user, a list of items with their labels and scores, and a reason where there is one."""
        rows = zip(self.items, self.labels, self.scores)
        listed = [{"item": i, "label": label, "score": s} for i, label, s in rows]
        why = {} if self.why is None else {"why": [asdict(step) for step in self.why]}
        reason = {} if self.reason is None else {"reason": self.reason}
        notes = {"notes": list(self.notes)} if self.notes else {}
        return {"user": self.user, "items": listed, **reason, **why, **notes}

    def table(self) -> rich.table.Table:
        """A rich table to print, with ids and labels as they stand: brackets in them are no markup."""
        from kgrec.text_tables import text_table

        because = f" ({self.reason})" if self.reason is not None else ""
        table = text_table(f"for {self.user}{because}", ["", "item", "label"], ["score"])
        for rank, (item, label, score) in enumerate(zip(self.items, self.labels, self.scores), 1):
            table.add_row(str(rank), item, label, f"{score:.4f}")
        return table

    def why_table(self) -> rich.table.Table:
        """A rich table of the past items behind the list that count most, as `table`."""
        from kgrec.text_tables import text_table

        steps = self.why or ()
        kind = steps[0].evidence if steps else Kind.ATTENTION.value
        table = text_table(f"because of, for {self.user}", ["item", "label"], [MEASURED[Kind(kind)]])
        for step in steps[:SHOWN]:
            strength = step.attention if step.strength is None else step.strength
            table.add_row(step.item, step.label, f"{strength:.4f}")
        if len(steps) > SHOWN:
            table.add_row("", f"and {len(steps) - SHOWN:,} more", "")
        return table

    def to_arrow(self) -> pa.Table:
        """One row an item, by LISTS."""
        number = len(self.items)
        columns = [[self.user] * number, range(1, number + 1), self.items, self.labels, self.scores]
        columns.append([self.reason] * number)
        return pa.table([pa.array(column, field.type) for column, field in zip(columns, LISTS)], schema=LISTS)


def by_user(table: Table) -> list[Recommendations]:
    """A table of lists as an object a user, also for those whose list is empty."""
    users, bounds = table.users or (), _bounds(table)
    items, labels, scores = (_grouped(table, name, bounds) for name in ("item", "label", "score"))
    whys: Iterable[tuple[Step, ...] | None] = itertools.repeat(None)
    if table.why is not None:
        steps = replace(table.why, users=table.users)
        of_steps = _bounds(steps)
        found = zip(*(_grouped(steps, name, of_steps) for name in STEPS.names[1:]))
        whys = [tuple(map(Step, *step)) for step in found]
    of_rows = table["reason"]
    reasons = [
        of_rows[start] if start < stop else None for start, stop in bounds
    ]  # one a user, as all its rows have it
    return [Recommendations(*row) for row in zip(users, items, labels, scores, whys, reasons)]


def _bounds(table: Table) -> list[tuple[int, int]]:
    """The rows of each of the table's users, from the first to before the last."""
    number = Counter(table["user"])
    stops = itertools.accumulate((number[user] for user in table.users or ()), initial=0)
    return list(itertools.pairwise(stops))


def _grouped(table: Table, column: str, bounds: Iterable[tuple[int, int]]) -> Iterator[list[Any]]:
    """The values of a column, a list for each of the table's users."""
    values = table[column]
    return (values[start:stop] for start, stop in bounds)


def must_fit(k: int, num_items: int, name: str = "k") -> None:
    """Raise KgrecError for a number of items that no list can have. num_items: of the catalog; name: what to call k."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise KgrecError(f"{name} is {k!r}, a whole number is wanted")
    if k < 1:
        raise KgrecError(f"{name} is {k}, 1 or more is wanted")
    if k > num_items:
        raise KgrecError(f"{name} {k} is more than the catalog's {num_items:,} items")


def named_users(ids: Sequence[str], users: str | None) -> list[str]:
    """Users by id, and those of a file with an id a line. Raises KgrecError where nobody is named."""
    if users is None and not ids:
        raise KgrecError(
            "say whom to recommend to: --user ID, --users FILE, --users all, or for new users --history FILE, "
            "--profile FILE, or both"
        )
    if users is None:
        return list(ids)
    try:
        lines = [line.decode() for _, line in text_lines(Path(users))]
    except (OSError, UnicodeDecodeError) as error:
        raise KgrecError(f"--users {users}: {error}; a text file with an id a line, or `all`, is wanted") from error
    return [*ids, *(line for line in lines if line)]


def item_names(vocabulary: Vocabulary, number: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """Ids and labels of items, the id where one has no label. number: int64 [n], local."""
    place = number_array(number)
    ids = vocabulary.id_array.take(place)
    if vocabulary.label_array is None:
        return ids, ids
    labels = vocabulary.label_array.take(place)
    is_longer = pc.greater(pc.binary_length(labels), number_array(np.zeros(len(labels), np.int32)))
    has_label = pc.coalesce(is_longer, truth_array(np.zeros(len(labels), np.bool_)))
    return ids, pc.if_else(has_label, labels, ids)


def reasons_of(served: np.ndarray) -> pa.Array:
    """What lists come from in words, null for the user's history. served: a ServedBy each, int8 [U]."""
    return text_array([REASON_OF.get(code) for code in served.tolist()])


def list_arrow(
    users: pa.Array,
    items: Vocabulary,
    row: np.ndarray,
    rank: np.ndarray,
    item: np.ndarray,
    score: np.ndarray,
    reason: pa.Array,
) -> pa.Table:
    """The rows of lists, by LISTS. users: ids [U]; reason: strings [U]; the others say of each row which user it is of,
    its place from 0, the item by its local number, and its score, [n] each."""
    ids, labels = item_names(items, item)
    of_row, place = number_array(row), number_array((rank + 1).astype(np.int32))
    columns = [users.take(of_row), place, ids, labels, number_array(score), reason.take(of_row)]
    return pa.Table.from_arrays(columns, schema=LISTS)


def write_tables(tables: Iterable[Table], out: Path, *, overwrite: bool = False, csv_safe: bool = False) -> int:
    """The same for tables of lists. csv_safe: as `Table.write`."""
    parts = (table.to_arrow() for table in tables)
    return write_parts(parts, LISTS, out, overwrite=overwrite, csv_safe=csv_safe)
