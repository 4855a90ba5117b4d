"""Recommendations in the user's own ids: for known users from a run's history, for a new one from what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import Tensor

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.evaluation.ranking import Best, Ranker, Scorer, scoring
from kgrec.files import whole
from kgrec.graph import NO_TIME
from kgrec.model import Query
from kgrec.table_files import refuse_out
from kgrec.training.trained_model import TrainedModel

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
class Step:
    """A past item, and how much the model looked at it."""

    item: str  #: external id
    label: str
    attention: float  #: the share of all attention to the user's history


@dataclass(frozen=True)
class Recommendations:
    """The best items for one user, best first."""

    user: str  #: external id; "new user" for one who is served by a history
    items: list[str]  #: external ids
    labels: list[str]  #: what to show; the id where an item has no label
    scores: list[float]  #: of the model, higher is better
    why: tuple[Step, ...] | None = None  #: the past items that the model looked at, most attention first, if asked for

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data: the user, and a list of items with their labels and scores."""
        rows = zip(self.items, self.labels, self.scores)
        listed = [{"item": i, "label": label, "score": s} for i, label, s in rows]
        why = {} if self.why is None else {"why": [asdict(step) for step in self.why]}
        return {"user": self.user, "items": listed, **why}

    def table(self) -> Table:
        """A rich table to print."""
        from rich.table import Table

        table = Table("", "item", "label", "score", title=f"for {self.user}", title_justify="left")
        for rank, (item, label, score) in enumerate(zip(self.items, self.labels, self.scores), 1):
            table.add_row(str(rank), item, label, f"{score:.4f}")
        return table

    def why_table(self) -> Table:
        """A rich table of the past items behind the list."""
        from rich.table import Table

        table = Table("item", "label", "attention", title=f"because of, for {self.user}", title_justify="left")
        for step in self.why or ():
            table.add_row(step.item, step.label, f"{step.attention:.4f}")
        return table

    def to_arrow(self) -> pa.Table:
        """One row an item, by SCHEMA."""
        number = len(self.items)
        columns = [[self.user] * number, range(1, number + 1), self.items, self.labels, self.scores]
        return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA)], schema=SCHEMA)


def recommend(
    run: TrainedModel, users: Iterable[str], *, k: int = 10, include_seen: bool = False, why: bool = False
) -> list[Recommendations]:
    """The k best items for each of some users, by external id; what a user has is left out unless `include_seen`. why:
    also the past items that they come from, for models with attention over a user's steps.

    Raises UnknownName for a user that the run does not know, KgrecError where k is more than the catalog, and where the
    model cannot say why.
    """
    lists = lists_for(run, list(users), k=k, include_seen=include_seen, why=why)
    return [one for chunk in lists for one in chunk]


def lists_for(
    run: TrainedModel, users: Sequence[str] | range, *, k: int = 10, include_seen: bool = False, why: bool = False
) -> Iterator[list[Recommendations]]:
    """The same, a chunk of users at a time, in bounded memory. users: external ids, or a range of local numbers."""
    ranker = _ranker(run, k, include_seen)
    if why:
        _must_explain(run)
    source = run.graph.target[0]
    if not isinstance(users, range):
        run.graph.flat(source, users)  # an unknown one is an error before the first answer
    return _chunks(run, ranker, users, why)


def _chunks(
    run: TrainedModel, ranker: Ranker, users: Sequence[str] | range, why: bool
) -> Iterator[list[Recommendations]]:
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
                lists = _named(run, names, best)
                if why:
                    lists = _explained(run, lists, ranker.scorer.query(user[rows]))
                answers |= zip(rows.tolist(), lists)
        yield [answers[row] for row in range(len(part))]


def new_user_lists(
    run: TrainedModel,
    history: Path,
    *,
    k: int = 10,
    include_seen: bool = False,
    why: bool = False,
    skip_unknown: bool = False,
    tell: Callable[[str], None] = lambda message: None,
) -> list[list[Recommendations]]:
    """The k best items for a new user, by a CSV of what it did: `item`, and optionally `time` (unix s), `weight`, and
    `behaviour` (a relation) where the model reads several. It is read in order of time, and of the file where times
    tie or are missing; `tell` is told where that is not the file's order. skip_unknown: leave out items that the run
    does not know.

    Raises KgrecError where the model knows users by their ids alone, and for a history that is empty or names unknown
    items.
    """
    if not run.model.reads_history:
        raise KgrecError(
            f"{run.name} knows users by their ids; a new user needs a model that reads histories, such as ease, "
            "itemknn, ials, gru4rec, gruatt or sasrec"
        )
    if why:
        _must_explain(run)
    query = _query(run, history, skip_unknown, tell)
    with scoring(run.model):
        row = torch.zeros_like(query.history[0])
        best = _ranker(run, k, include_seen).best_of(query, row, query.history[0])["all"]
        lists = _named(run, ["new user"], best)
        return [list(_explained(run, lists, query) if why else lists)]


def _query(run: TrainedModel, path: Path, skip_unknown: bool, tell: Callable[[str], None]) -> Query:
    """One new user with the history of a file, oldest first."""
    table = _read_history(path)
    target = run.graph.target[2]
    if skip_unknown:
        known = run.graph.vocabulary[target].find(table["item"]) >= 0
        if not known.all():
            tell(f"left out: {int((~known).sum()):,} of {len(table):,} rows of items that the run does not know")
        table = table[known].reset_index(drop=True)
        if table.empty:
            raise KgrecError(f"--history {path} names no item that the run knows; a new user needs at least one")
    items = run.graph.flat(target, table["item"])
    time = torch.tensor(
        table["time"].fillna(NO_TIME).to_numpy(np.int64).copy() if "time" in table else [NO_TIME] * len(table)
    )
    weight = torch.tensor(table["weight"].to_numpy(np.float32).copy() if "weight" in table else [1.0] * len(table))
    order = time.argsort(stable=True)
    if (time.diff() < 0).any():
        tell("the history's rows are not in order of time; they are read in that order")
    device = next(iter(run.model.state_dict().values())).device
    items, time, weight = (column[order][None].to(device) for column in (items, time, weight))
    behaviour = _behaviour(run, table, path)
    user = torch.tensor([run.graph.pad], device=device)
    return Query(user, items, time, weight, None if behaviour is None else behaviour[order][None].to(device))


def _behaviour(run: TrainedModel, table: pd.DataFrame, path: Path) -> Tensor | None:
    """Which of the model's behaviours each row is, LongTensor [rows]; None: all are the target."""
    if "behaviour" not in table:
        return None
    names = run.model.behaviours or (run.graph.target[1],)
    for line, name in enumerate(table["behaviour"], 2):
        if name not in names:
            raise unknown_name("behaviour", str(name), names, f"of {run.name} (--history {path} line {line})")
    return torch.tensor([names.index(name) for name in table["behaviour"]]) if len(names) > 1 else None


def _read_history(history: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(history, dtype={"item": str, "behaviour": str})
    except pd.errors.EmptyDataError:
        raise KgrecError(f"--history {history} is empty; a CSV with a column `item` is wanted") from None
    except (OSError, ValueError) as error:
        raise KgrecError(f"--history {history}: {error}; a CSV with a column `item` is wanted") from error
    if "item" not in table:
        raise KgrecError(f"--history {history} has no column 'item'; it has {some(table.columns, 20)}")
    for column in ("time", "weight"):
        if column in table and not pd.api.types.is_numeric_dtype(table[column]):
            text = table[column][pd.to_numeric(table[column], errors="coerce").isna()]
            line, value = text.index[0] + 2, text.iloc[0]
            wanted = "unix seconds are" if column == "time" else "a rating or a count is"
            raise KgrecError(f"--history {history} line {line}: {column} {value!r} is no number; {wanted} wanted")
    if table.empty:
        raise KgrecError(f"--history {history} names no item; a new user needs at least one")
    return table


def _ranker(run: TrainedModel, k: int, include_seen: bool) -> Ranker:
    catalog = run.graph.nodes(run.graph.target[2])
    if not 0 < k <= len(catalog):
        raise KgrecError(
            f"--k {k} is more than the catalog's {len(catalog):,} items"
            if k > 0
            else f"--k is {k}, 1 or more is wanted"
        )
    scorer = Scorer(run.model, run.graph)
    return Ranker(scorer, {"all": catalog.to(scorer.device)}, k, keep_seen=include_seen)


def _named(run: TrainedModel, users: Sequence[str], best: Best) -> Iterator[Recommendations]:
    target = run.graph.target[2]
    start, vocabulary, pad = run.graph.range(target).start, run.graph.vocabulary[target], run.graph.pad
    items, scores = best.item.cpu(), best.score.float().cpu()
    for user, item, score in zip(users, items, scores):
        known = item != pad  # a user who has seen nearly all gets fewer
        local: Tensor = item[known] - start
        yield Recommendations(user, vocabulary.ids(local), vocabulary.labels(local), score[known].tolist())


def _must_explain(run: TrainedModel) -> None:
    nobody = torch.empty(0, dtype=torch.long, device=next(iter(run.model.state_dict().values())).device)
    if not run.model.reads_history or run.model.attention(Query(nobody, nobody.view(0, 0))) is None:
        raise KgrecError(f"{run.name} cannot say why; a model with attention over what a user did is wanted: gruatt")


def _explained(run: TrainedModel, lists: Iterable[Recommendations], query: Query) -> Iterator[Recommendations]:
    """The same lists with the past items behind them."""
    attention = run.model.attention(query)
    assert attention is not None
    target = run.graph.target[2]
    start, vocabulary = run.graph.range(target).start, run.graph.vocabulary[target]
    for one, weights, history in zip(lists, attention.cpu(), query.history.cpu()):
        order = weights.argsort(descending=True, stable=True)[: int((weights > 0).sum())]
        local = history[order] - start
        rows = zip(vocabulary.ids(local), vocabulary.labels(local), weights[order].tolist())
        yield replace(one, why=tuple(Step(*row) for row in rows))


def wanted_users(run: TrainedModel, ids: Sequence[str], users: str | None) -> Sequence[str] | range:
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
    refuse_out(out, overwrite)
    writers = {".parquet": pq.ParquetWriter, ".csv": pa.csv.CSVWriter}
    rows = 0
    with whole(out, overwrite) as draft, writers[out.suffix](draft, SCHEMA) as writer:
        for chunk in lists:
            if chunk:
                table = pa.concat_tables([one.to_arrow() for one in chunk])
                writer.write_table(table)
                rows += len(table)
    return rows
