"""Recommendations in the user's own ids: for known users from a run's history, for new ones from what they did."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kgrec._deprecation import renamed_option
from kgrec.errors import KgrecError, some
from kgrec.progress import counted
from kgrec.serving.answers import Table, joined, write_parts
from kgrec.serving.filters.allowed_items import allowed_items
from kgrec.serving.input_tables import InputTable, id_list, is_one_id
from kgrec.serving.list_options import ListOptions, takes_list_options
from kgrec.serving.list_tables import (
    LISTS,
    Recommendations,
    Step,
    by_user,
    named_users,
    write_tables,
)
from kgrec.serving.new_users import new_users
from kgrec.serving.ranked_lists import (
    CHUNK,
    check_options,
    known_lists,
    new_lists,
    no_lists,
    ranker_for,
)
from kgrec.serving.request_times import notes_on_now
from kgrec.serving.rules.rules_of_run import rule_notes
from kgrec.serving.shards import Shard
from kgrec.training.trained_model import TrainedModel

__all__ = [
    "SCHEMA",
    "Recommendations",
    "Step",
    "by_user",
    "lists_for",
    "new_user_lists",
    "recommend",
    "tables_for",
    "wanted_users",
    "write_lists",
    "write_tables",
]

SCHEMA = LISTS  #: of a file of lists


@takes_list_options("skip_unknown")
def recommend(run: TrainedModel, users: Iterable[str], **options: Any) -> list[Recommendations]:
    """The k best items for each of some users, by external id. options: those of `Run.recommend`.

    users are answered in step, one who is named twice by two lists; `Run.recommend` gives a Table instead.

    Raises UnknownName for a user that the run does not know, BadData for ids of several types, missing ids and decimal
    numbers, KgrecError where k is more than the catalog.
    """
    ids = id_list([users] if is_one_id(users) else users, "users").to_pylist()
    lists = lists_for(run, ids, ListOptions.of(options, "kgrec.recommend", refused=["skip_unknown"]))
    return [one for chunk in lists for one in chunk]


def lists_for(run: TrainedModel, users: Sequence[str] | range, options: ListOptions) -> Iterator[list[Recommendations]]:
    """The same, a chunk of users at a time, in bounded memory. users: external ids, or a range of local numbers."""
    check_options(run, options)
    local = torch.arange(users.start, users.stop) if isinstance(users, range) else _numbers(run, users)
    ranker = ranker_for(run, options)
    rule_notes(run, options)  # raises before the first list

    def chunks() -> Iterator[list[Recommendations]]:
        for part in local.split(CHUNK):
            once, place = part.unique(return_inverse=True)
            twice = len(once) < len(part)  # one who is asked for twice is answered once, and shown twice
            found = by_user(joined(known_lists(run, ranker, once if twice else part, options)))
            yield [found[row] for row in place.tolist()] if twice else found

    return chunks()


def tables_for(
    run: TrainedModel,
    users: object,
    options: ListOptions,
    *,
    history: object = None,
    profile: object = None,
    shard: object = None,
) -> Iterator[Table]:
    """What `Run.recommend` gives, in tables of a chunk of users each, one at least. What is wrong is raised before the
    first."""
    part = None if shard is None else Shard.read(shard)
    check_options(run, options)
    if users is None and history is None and profile is None:
        raise KgrecError(
            "say whom to recommend to: users=..., or history=... or profile=... for new ones; users='all' is everyone"
        )
    asked = _asked(run, users)
    new = None
    if history is not None or profile is not None:
        named = [] if isinstance(asked, range) else asked.to_pylist()
        new = new_users(run, history, named, profile=profile, skip_unknown=options.skip_unknown)
    local, notes = _known(run, asked, set(new.names) if new else set(), options.skip_unknown)
    rows = range(len(new) if new is not None else 0)
    if part is not None:  # of the known users, and the new ones behind them
        wanted, number = part.rows(len(local) + len(rows)), len(local)
        local = local[wanted.start : wanted.stop]
        rows = rows[max(0, wanted.start - number) : max(0, wanted.stop - number)]
    ranker, allowed = ranker_for(run, options), allowed_items(run, options)
    of_rules = rule_notes(run, options, new.names if new else ())

    def tables() -> Iterator[Table]:
        said = (
            *notes_on_now(run, options),
            *notes,
            *(new.notes if new else ()),
            *(allowed.notes_on(options.k) if allowed else ()),
            *of_rules,
        )
        parts = known_lists(run, ranker, local, options) if len(local) else iter(())
        if new is not None and len(rows):
            parts = itertools.chain(parts, new_lists(run, ranker, new, options, rows))
        parts = counted("making lists", parts, len(local) + len(rows), "users", lambda part: len(part.users or ()))
        first = next(parts, None)
        first = no_lists() if first is None else first  # an empty table is an answer too
        yield replace(first, notes=(*said, *first.notes))
        yield from parts

    return tables()


def _asked(run: TrainedModel, users: Any) -> pa.Array | range:
    """The ids that are asked for, each once, in order of first mention; for `all` a range of local numbers.

    Raises KgrecError where they are in no form that is read."""
    vocabulary = run.graph.vocabulary[run.graph.target[0]]
    if isinstance(users, str) and users == "all":
        if (vocabulary.find(["all"]) >= 0).any():
            raise KgrecError("users='all' is everyone, and a user of this run is called so; say ['all'] for that one")
        return range(len(vocabulary))
    table = InputTable.of(users, "users")
    if table is not None:
        table.require("user")
        return table.ids("user").unique()
    if users is None:
        return pa.array([], pa.string())
    return id_list([users] if is_one_id(users) else users, "users").unique()


def _known(run: TrainedModel, asked: pa.Array | range, new: set[str], skip_unknown: bool) -> tuple[Tensor, list[str]]:
    """Local numbers of those who are asked for and not new, LongTensor [n], and what was left out."""
    source = run.graph.target[0]
    vocabulary = run.graph.vocabulary[source]
    if isinstance(asked, range):
        taken = vocabulary.find(list(new))
        return torch.from_numpy(np.setdiff1d(np.arange(asked.stop), taken)), []
    known = pa.array([name for name in asked.to_pylist() if name not in new], pa.string())
    found = vocabulary.find(known)
    if skip_unknown and (found < 0).any():
        missing = known.filter(pa.array(found < 0)).to_pylist()
        note = f"left out: {len(missing):,} of {len(asked):,} users that the run does not know, {some(missing)}"
        return torch.from_numpy(found[found >= 0]), [note]
    return _numbers(run, known), []


def _numbers(run: TrainedModel, users: object) -> Tensor:
    """Local numbers of users: LongTensor [n]. Raises UnknownName."""
    source = run.graph.target[0]
    return run.graph.vocabulary[source].numbers(users, what=source)


@renamed_option("tell", "notify")
@takes_list_options()
def new_user_lists(
    run: TrainedModel, history: Path, *, notify: Callable[[str], None] = lambda message: None, **options: Any
) -> list[list[Recommendations]]:
    """The k best items for the new users of a file, as `Run.recommend` gives them. notify: called with each note.
    options: those of `Run.recommend`."""
    wanted = ListOptions.of(options, "new_user_lists")
    table = joined(tables_for(run, None, wanted, history=Path(history)))
    for note in table.notes:
        notify(note)
    return [by_user(table)]


def wanted_users(run: TrainedModel, ids: Sequence[str], users: str | None) -> Sequence[str] | range:
    """Users by id, those of a file with an id a line, or `all`. Raises KgrecError where nobody is named."""
    if users == "all":
        return range(len(run.graph.range(run.graph.target[0])))
    return named_users(ids, users)


def write_lists(lists: Iterable[list[Recommendations]], out: Path, *, overwrite: bool = False) -> int:
    """Write lists as .parquet or .csv, chunk by chunk, and the file whole or not at all. Returns the number of rows."""
    tables = (pa.concat_tables([one.to_arrow() for one in chunk]) for chunk in lists if chunk)
    return write_parts(tables, SCHEMA, out, overwrite=overwrite)
