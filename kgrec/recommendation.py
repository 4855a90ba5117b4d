"""Recommendations in the user's own ids: for known users from a run's history, for a new one from what it did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import Tensor

from kgrec.errors import KgrecError, some
from kgrec.files import whole
from kgrec.graph import NO_TIME
from kgrec.model import Query
from kgrec.ranking import Best, Ranker, Scorer, scoring
from kgrec.run import Run

if TYPE_CHECKING:
    from rich.table import Table

CHUNK = 4096  #: users that are answered at once
SCHEMA = pa.schema(
    [
        ("user", pa.string()),
        ("rank", pa.int32()),
        ("item", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Recommendations:
    """The best items for one user, best first."""

    user: str  #: external id; "new user" for one who is served by a history
    items: list[str]  #: external ids
    labels: list[str]  #: what to show; the id where an item has no label
    scores: list[float]  #: of the model, higher is better

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data: the user, and a list of items with their labels and scores."""
        rows = zip(self.items, self.labels, self.scores)
        return {"user": self.user, "items": [{"item": i, "label": label, "score": s} for i, label, s in rows]}

    def table(self) -> Table:
        """A rich table to print."""
        from rich.table import Table

        table = Table("", "item", "label", "score", title=f"for {self.user}", title_justify="left")
        for rank, (item, label, score) in enumerate(zip(self.items, self.labels, self.scores), 1):
            table.add_row(str(rank), item, label, f"{score:.4f}")
        return table

    def to_arrow(self) -> pa.Table:
        """One row an item, by SCHEMA."""
        number = len(self.items)
        columns = [[self.user] * number, range(1, number + 1), self.items, self.labels, self.scores]
        return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA)], schema=SCHEMA)


def recommend(run: Run, users: Iterable[str], *, k: int = 10, include_seen: bool = False) -> list[Recommendations]:
    """The k best items for each of some users, by external id; what a user has is left out unless `include_seen`.

    Raises UnknownName for a user that the run does not know, KgrecError where k is more than the catalog.
    """
    return [one for chunk in lists_for(run, list(users), k=k, include_seen=include_seen) for one in chunk]


def lists_for(
    run: Run, users: Sequence[str] | range, *, k: int = 10, include_seen: bool = False
) -> Iterator[list[Recommendations]]:
    """The same, a chunk of users at a time, in bounded memory. users: external ids, or a range of local numbers."""
    ranker = _ranker(run, k, include_seen)
    source = run.graph.target[0]
    if not isinstance(users, range):
        run.graph.flat(source, users)  # an unknown one is an error before the first answer
    return _chunks(run, ranker, users)


def _chunks(run: Run, ranker: Ranker, users: Sequence[str] | range) -> Iterator[list[Recommendations]]:
    source = run.graph.target[0]
    first, vocabulary = run.graph.range(source).start, run.graph.vocabulary[source]
    for start in range(0, len(users), CHUNK):
        part = users[start : start + CHUNK]
        local = (
            torch.arange(part.start, part.stop) if isinstance(part, range) else vocabulary.numbers(part, what=source)
        )
        user = local.to(ranker.scorer.device) + first
        answers: dict[int, Recommendations] = {}
        with scoring(run.model):
            for rows in ranker.batches(user):
                best = ranker.best(user[rows])["all"]
                names = vocabulary.ids(local[rows.cpu()])
                answers |= zip(rows.tolist(), _named(run, names, best))
        yield [answers[row] for row in range(len(part))]


def new_user_lists(run: Run, history: Path, *, k: int = 10, include_seen: bool = False) -> list[list[Recommendations]]:
    """The k best items for a new user, by a CSV of what it did: `item`, and optionally `time` (unix s) and `weight`.

    Raises KgrecError where the model knows users by their ids alone, and for a history that is empty or names unknown
    items.
    """
    if not run.model.reads_history:
        raise KgrecError(
            f"{run.name} knows users by their ids; a new user needs a model that reads histories: ease, itemknn, ials"
        )
    query = _query(run, history)
    with scoring(run.model):
        row = torch.zeros_like(query.history[0])
        best = _ranker(run, k, include_seen).best_of(query, row, query.history[0])["all"]
    return [list(_named(run, ["new user"], best))]


def _query(run: Run, history: Path) -> Query:
    """One new user with the history of a file, oldest first."""
    table = _read_history(history)
    target = run.graph.target[2]
    items = run.graph.flat(target, table["item"])
    time = torch.tensor(
        table["time"].fillna(NO_TIME).to_numpy(np.int64).copy() if "time" in table else [NO_TIME] * len(table)
    )
    weight = torch.tensor(table["weight"].to_numpy(np.float32).copy() if "weight" in table else [1.0] * len(table))
    order = time.argsort(stable=True)
    device = next(iter(run.model.state_dict().values())).device
    rows = [column[order][None].to(device) for column in (items, time, weight)]
    return Query(torch.tensor([run.graph.pad], device=device), *rows)


def _read_history(history: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(history, dtype={"item": str})
    except (OSError, ValueError) as error:
        raise KgrecError(f"--history {history}: {error}; a CSV with a column `item` is wanted") from error
    if "item" not in table:
        raise KgrecError(f"--history {history} has no column 'item'; it has {some(table.columns, 20)}")
    for column in ("time", "weight"):
        if column in table and not pd.api.types.is_numeric_dtype(table[column]):
            text = table[column][pd.to_numeric(table[column], errors="coerce").isna()]
            line, value = text.index[0] + 2, text.iloc[0]
            raise KgrecError(
                f"--history {history} line {line}: {column} {value!r} is no number; unix seconds are wanted"
            )
    if table.empty:
        raise KgrecError(f"--history {history} names no item; a new user needs at least one")
    return table


def _ranker(run: Run, k: int, include_seen: bool) -> Ranker:
    catalog = run.graph.nodes(run.graph.target[2])
    if not 0 < k <= len(catalog):
        raise KgrecError(
            f"--k {k} is more than the catalog's {len(catalog):,} items"
            if k > 0
            else f"--k is {k}, 1 or more is wanted"
        )
    scorer = Scorer(run.model, run.graph)
    return Ranker(scorer, {"all": catalog.to(scorer.device)}, k, keep_seen=include_seen)


def _named(run: Run, users: Sequence[str], best: Best) -> Iterator[Recommendations]:
    target = run.graph.target[2]
    start, vocabulary, pad = run.graph.range(target).start, run.graph.vocabulary[target], run.graph.pad
    items, scores = best.item.cpu(), best.score.float().cpu()
    for user, item, score in zip(users, items, scores):
        known = item != pad  # a user who has seen nearly all gets fewer
        local: Tensor = item[known] - start
        yield Recommendations(user, vocabulary.ids(local), vocabulary.labels(local), score[known].tolist())


def wanted_users(run: Run, ids: Sequence[str], users: str | None) -> Sequence[str] | range:
    """Users by id, those of a file with an id a line, or `all`. Raises KgrecError where nobody is named."""
    if users is None and not ids:
        raise KgrecError(
            "say whom to recommend to: --user ID, --users FILE, --users all, or --history FILE for a new user"
        )
    if users == "all":
        return range(len(run.graph.range(run.graph.target[0])))
    if users is None:
        return list(ids)
    try:
        lines = Path(users).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KgrecError(f"--users {users}: {error}; a text file with an id a line, or `all`, is wanted") from error
    return [*ids, *(line for line in lines if line)]


def write_lists(lists: Iterable[list[Recommendations]], out: Path, *, overwrite: bool = False) -> int:
    """Write lists as .parquet or .csv, chunk by chunk, and the file whole or not at all. Returns the number of rows."""
    writers = {".parquet": pq.ParquetWriter, ".csv": pa.csv.CSVWriter}
    if out.suffix not in writers:
        raise KgrecError(f"--out {out}: a .parquet or .csv file is wanted")
    rows = 0
    with whole(out, overwrite) as draft, writers[out.suffix](draft, SCHEMA) as writer:
        for chunk in lists:
            if chunk:
                table = pa.concat_tables([one.to_arrow() for one in chunk])
                writer.write_table(table)
                rows += len(table)
    return rows
