"""Predictions for pairs of a user and an item, in the user's own ids: a rating, a probability or a score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kgrec.errors import BadData, Fault, KgrecError
from kgrec.evaluation.ranking import Scorer, as_edges, scoring
from kgrec.model import AnyTask
from kgrec.nn.fold_in import Folding
from kgrec.serving.answers import Table
from kgrec.serving.input_tables import InputTable, id_list, is_one_id
from kgrec.serving.list_options import ListOptions
from kgrec.serving.new_users import NewUsers
from kgrec.serving.ranked_lists import must_know_interactions, ranker_for
from kgrec.serving.request_times import at_request_time, notes_on_now
from kgrec.serving.served_new_users import asking
from kgrec.training.trained_model import TrainedModel

#: The column, by task
PREDICTED: dict[AnyTask, str] = {"ranking": "score", "rating": "rating", "ctr": "probability", "link": "score"}
WHENEVER = ListOptions(k=1)  #: predictions are wanted by the clock
CELLS = 262_144  #: scores of users' own lists that are held at once; a model may hold a vector for each
MOST = 20  #: rows of unknown ids that are listed; the rest are counted
WANTED = "a CSV or Parquet file with the columns user and item"
IN_MEMORY = "a table or a mapping with the columns user and item, or a list of (user, item)"


@dataclass(frozen=True)
class Predictions:
    """A table of pairs with what a run predicts of each."""

    table: pa.Table  #: the rows and columns as they were, and then `rating`, `probability` or `score`, float32
    num_left_out: int  #: rows of unknown users or items

    def to_json(self) -> list[dict[str, Any]]:
        """Plain JSON data: an object a row; what JSON has no form for, such as dates, is text."""
        return Table(self.table).to_json()


def predict(
    run: TrainedModel, users: Sequence[str], items: Sequence[str], options: ListOptions = WHENEVER
) -> list[float]:
    """What a run predicts of each pair of a user and an item, by external id: a rating, the probability of a click, or
    a score, by the task of its model. A user has the history that the run knows. options: their `now`
    says when the predictions are wanted, for models that read it.

    Raises UnknownName for ids that the run does not know, BadData for ids of several types, missing ids and decimal
    numbers, KgrecError where there are not as many users as items.
    """
    of_users, of_items = id_list(users, "users"), id_list(items, "items")
    if len(of_users) != len(of_items):
        raise KgrecError(f"{len(of_users):,} users and {len(of_items):,} items make no pairs; give as many of both")
    source, _, target = run.graph.target
    user = run.graph.vocabulary[source].numbers(of_users, what=source)
    return _values(run, user, run.graph.vocabulary[target].numbers(of_items, what=target), options).tolist()


def predict_file(run: TrainedModel, pairs: Path, *, skip_unknown: bool = False) -> Predictions:
    """The same for a CSV or Parquet file with the columns `user` and `item`, of which other columns are kept.

    skip_unknown: leave out the rows of ids that the run does not know; else they raise BadData, with a line for each.
    Raises KgrecError where the file cannot be read, lacks a column, or has one that is called as the prediction is.
    """
    return _predicted(run, InputTable.read(pairs, WANTED), skip_unknown, WHENEVER)


def predict_pairs(run: TrainedModel, pairs: Any, *, skip_unknown: bool = False, now: Any = None) -> Table:
    """What `Run.predict` gives; see there."""
    options = ListOptions(k=1, now=now)
    table = InputTable.read(Path(pairs), WANTED) if isinstance(pairs, str | Path) else _as_table(pairs)
    found = _predicted(run, table, skip_unknown, options)
    left_out = (f"left out: {found.num_left_out:,} rows of unknown ids",) if found.num_left_out else ()
    return Table(found.table, notes=(*left_out, *notes_on_now(run, options)))


def _as_table(pairs: Any) -> InputTable:
    """Pairs in memory as a table."""
    table = InputTable.of(pairs, "pairs")
    if table is not None:
        return table
    if isinstance(pairs, Mapping):
        columns = {str(name): values for name, values in pairs.items()}
        for name, values in columns.items():
            if is_one_id(values) or not hasattr(values, "__len__"):
                raise KgrecError(f"pairs[{name!r}] is {values!r}, and no list; {IN_MEMORY} is wanted")
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise KgrecError(f"pairs has columns of several lengths, {lengths}; {IN_MEMORY} is wanted")
        return InputTable(columns, "pairs", list(columns))
    if is_one_id(pairs) or not isinstance(pairs, Iterable):
        raise KgrecError(f"pairs is {type(pairs).__name__}; {IN_MEMORY} is wanted")
    listed = list(pairs)
    for row, pair in enumerate(listed):
        if not isinstance(pair, Sequence) or isinstance(pair, str | bytes) or len(pair) != 2:
            fault = Fault(
                f"{pair!r} is no pair of a user and an item; {IN_MEMORY} is wanted", "pairs", row + 1, unit="row"
            )
            raise BadData(fault)
    return InputTable({"user": [u for u, _ in listed], "item": [i for _, i in listed]}, "pairs", ["user", "item"])


def _predicted(run: TrainedModel, pairs: InputTable, skip_unknown: bool, options: ListOptions) -> Predictions:
    column = PREDICTED[run.model.task]
    pairs.require("user", "item")
    if not len(pairs):
        raise KgrecError(f"{pairs.name} has no rows; a pair of a user and an item in each is wanted")
    if column in pairs:
        raise KgrecError(f"{pairs.name} has a column {column!r} already, as the prediction is called; rename it")
    source, _, target = run.graph.target
    user = run.graph.vocabulary[source].find(pairs.ids("user", missing=True))
    item = run.graph.vocabulary[target].find(pairs.ids("item", missing=True))
    is_known = (user >= 0) & (item >= 0)
    if not is_known.all() and not skip_unknown:
        raise BadData(_unknown(run, pairs, user, item))
    value = _values(run, torch.from_numpy(user[is_known]), torch.from_numpy(item[is_known]), options)
    known = pairs.to_arrow().filter(pa.array(is_known)).append_column(column, pa.array(value.numpy()))
    return Predictions(known, int((~is_known).sum()))


def _values(run: TrainedModel, user: Tensor, item: Tensor, options: ListOptions) -> Tensor:
    """FloatTensor [n], on the CPU; user, item: LongTensor [n], local numbers."""
    must_know_interactions(run)
    with scoring(run.model):
        scorer = Scorer(run.model, run.graph, cells=CELLS)
        edges = as_edges(scorer.seen, user.to(scorer.device), item.to(scorer.device))
        score = scorer.of_edges(edges, asked=lambda query: at_request_time(run, query, options))
    return (score.sigmoid() if run.model.task == "ctr" else score).cpu()


def predict_new(
    run: TrainedModel,
    new: NewUsers,
    row: Tensor,
    item: Tensor,
    folding: Folding | None = None,
    options: ListOptions = WHENEVER,
) -> Tensor:
    """The same of new users, by what is said of each: FloatTensor [n]. row: LongTensor [n], whose each pair is; item:
    LongTensor [n], local numbers; folding: what makes the users' vectors; None: the run's own."""
    must_know_interactions(run)
    ranker, flat = ranker_for(run, options), item + run.graph.range(run.graph.target[2]).start
    everybody, score = torch.arange(len(new), device=run.device), torch.empty(len(row))
    with asking(run, ranker, new, everybody, folding) as asked, scoring(run.model):
        for one in row.unique().tolist():  # a model may know new users only for items that all users share
            of_user = row == one
            query = at_request_time(run, asked.query(everybody[one : one + 1]), options)
            score[of_user] = ranker.scorer.scores(query, flat[of_user].to(run.device))[0].cpu()
    return score.sigmoid() if run.model.task == "ctr" else score


def _unknown(run: TrainedModel, pairs: InputTable, user: np.ndarray, item: np.ndarray) -> list[Fault | str]:
    """What is wrong with each row of an unknown id."""
    rows = np.flatnonzero((user < 0) | (item < 0))
    skip = "--skip-unknown" if pairs.path is not None else "skip_unknown=True"
    problems: list[Fault | str] = []
    for row in rows[:MOST].tolist():
        for name, column, number in ((run.graph.target[0], "user", user), (run.graph.target[2], "item", item)):
            if number[row] < 0:
                value = pairs.value(column, row)
                what = f"no {name} {value!r} among the {len(run.graph.range(name)):,} known"
                problems.append(pairs.fault(f"{what}; fix the row, or say {skip}", row, column, value, "unknown id"))
    return problems + ([f"and {len(rows) - MOST:,} more rows of unknown ids"] if len(rows) > MOST else [])
