"""Predictions for pairs of a user and an item, in the user's own ids: a rating, a probability or a score."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import Tensor

from kgrec.errors import BadData, KgrecError, unknown_name
from kgrec.evaluation.ranking import Scorer, as_edges, scoring
from kgrec.graph.vocabulary import as_strings
from kgrec.model import AnyTask
from kgrec.training.trained_model import TrainedModel

#: The column, by task
PREDICTED: dict[AnyTask, str] = {"ranking": "score", "rating": "rating", "ctr": "probability", "link": "score"}
CELLS = 262_144  #: scores of users' own lists that are held at once; a model may hold a vector for each
MOST = 20  #: unknown ids that are listed; the rest are counted


@dataclass(frozen=True)
class Predictions:
    """A table of pairs with what a run predicts of each."""

    table: pa.Table  #: the rows and columns as they were, and then `rating`, `probability` or `score`, float32
    num_left_out: int  #: rows of unknown users or items

    def to_json(self) -> list[dict[str, Any]]:
        """Plain JSON data: an object a row; what JSON has no form for, such as dates, is text."""
        return json.loads(json.dumps(self.table.to_pylist(), default=str))


def predict(run: TrainedModel, users: Sequence[str], items: Sequence[str]) -> list[float]:
    """What a run predicts of each pair of a user and an item, by external id: a rating, the probability of a click, or
    a score, by the task of its model. A user has the history that the run knows.

    Raises UnknownName for ids that the run does not know, KgrecError where there are not as many users as items.
    """
    if len(users) != len(items):
        raise KgrecError(f"{len(users):,} users and {len(items):,} items make no pairs; give as many of both")
    source, _, target = run.graph.target
    user = run.graph.vocabulary[source].numbers(users, what=source)
    return _values(run, user, run.graph.vocabulary[target].numbers(items, what=target)).tolist()


def predict_file(run: TrainedModel, pairs: Path, *, skip_unknown: bool = False) -> Predictions:
    """The same for a CSV or Parquet file with the columns `user` and `item`, of which other columns are kept.

    skip_unknown: leave out the rows of ids that the run does not know; else they raise BadData, with a line for each.
    Raises KgrecError where the file cannot be read, lacks a column, or has one that is called as the prediction is.
    """
    table, column = _read(pairs), PREDICTED[run.model.task]
    if column in table.column_names:
        raise KgrecError(f"{pairs} has a column {column!r} already, as the prediction is called; rename it")
    source, _, target = run.graph.target
    user = run.graph.vocabulary[source].find(as_strings(table["user"]))
    item = run.graph.vocabulary[target].find(as_strings(table["item"]))
    is_known = (user >= 0) & (item >= 0)
    if not is_known.all() and not skip_unknown:
        raise BadData(_unknown(run, pairs, table, user, item))
    value = _values(run, torch.from_numpy(user[is_known]), torch.from_numpy(item[is_known]))
    known = table.filter(pa.array(is_known)).append_column(column, pa.array(value.numpy()))
    return Predictions(known, int((~is_known).sum()))


def _values(run: TrainedModel, user: Tensor, item: Tensor) -> Tensor:
    """FloatTensor [n], on the CPU; user, item: LongTensor [n], local numbers."""
    with scoring(run.model):
        scorer = Scorer(run.model, run.graph, cells=CELLS)
        score = scorer.of_edges(as_edges(scorer.seen, user.to(scorer.device), item.to(scorer.device)))
    return (score.sigmoid() if run.model.task == "ctr" else score).cpu()


# ---------------------------------------------------------------------- files


def _read(pairs: Path) -> pa.Table:
    try:
        table = pq.read_table(pairs, partitioning=None) if pairs.suffix == ".parquet" else _read_csv(pairs)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise KgrecError(f"{pairs}: {error}; a CSV or Parquet file with the columns user and item is wanted") from error
    for column in ("user", "item"):
        if table.column_names.count(column) != 1:
            raise unknown_name("single column", column, table.column_names, f"in {pairs}")
    if not len(table):
        raise KgrecError(f"{pairs} has no rows; a pair of a user and an item in each is wanted")
    return table


def _read_csv(pairs: Path) -> pa.Table:
    """All columns as strings, so that `007` stays `007`."""
    names = next((row for _, row in _csv_rows(pairs)), [])
    return pa.csv.read_csv(
        pairs,
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )


def _csv_rows(pairs: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row and the line that it ends in, the names' among them; empty lines are passed over."""
    with pairs.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        for row in reader:
            if row:
                yield reader.line_num, row


def _unknown(run: TrainedModel, pairs: Path, table: pa.Table, user: np.ndarray, item: np.ndarray) -> list[str]:
    """A line for each row of an unknown id."""
    rows = np.flatnonzero((user < 0) | (item < 0))
    if pairs.suffix == ".parquet":
        place = [f"row {row + 1}" for row in rows[:MOST]]
    else:
        lines = [line for line, _ in _csv_rows(pairs)][1:]
        place = [f"line {lines[row]}" for row in rows[:MOST]]
    problems = []
    for where, row in zip(place, rows):
        for name, column, number in ((run.graph.target[0], "user", user), (run.graph.target[2], "item", item)):
            if number[row] < 0:
                what = f"no {name} {table[column][int(row)].as_py()!r} among the {len(run.graph.range(name)):,} known"
                problems.append(f"{pairs} {where}: {what}; mend the row, or say --skip-unknown")
    return problems + ([f"and {len(rows) - MOST:,} more rows of unknown ids"] if len(rows) > MOST else [])
