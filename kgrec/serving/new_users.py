"""New users: what each did so far, from a list, a mapping, a table or a file, as histories that models read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from kgrec.errors import KgrecError, UnknownName, some, unknown_name
from kgrec.graph import NO_TIME
from kgrec.graph.features import Feature
from kgrec.model import Query
from kgrec.nn.next_item import NextItem
from kgrec.pandas_values import is_series
from kgrec.serving.input_tables import InputTable, id_list, is_one_id
from kgrec.serving.profiles import Profile, read_profile
from kgrec.training.trained_model import TrainedModel

NEW_USER = "new user"  #: what one is called whose history names nobody
WANTED = "a list of item ids, a mapping of user to item ids, or a table with the column `item`"


@dataclass(frozen=True, eq=False)
class NewUsers:
    """The histories of new users, user by user, oldest first. U users, n steps."""

    names: list[str]  #: [U], in order of first appearance
    ptr: Tensor  #: LongTensor [U + 1], user u has steps ptr[u] : ptr[u + 1]; none: only a profile
    item: Tensor  #: LongTensor [n], flat
    time: Tensor  #: LongTensor [n], unix seconds; NO_TIME where there is none
    weight: Tensor  #: FloatTensor [n]
    behaviour: Tensor | None  #: LongTensor [n], which of the model's behaviours; None: all are the target
    notes: tuple[str, ...]  #: what was left out, or read in another order
    has_weights: bool = True  #: whether anybody said the weights
    profile: Mapping[str, Feature] = field(default_factory=dict)  #: columns of the users by name, a row a user

    def __len__(self) -> int:
        return len(self.names)

    @property
    def length(self) -> Tensor:
        """Steps of each user: LongTensor [U]."""
        return self.ptr.diff()

    def did(self, row: Tensor, behaviours: Sequence[int], target: int) -> tuple[Tensor, Tensor]:
        """Which of some users, LongTensor [n], has which flat item, LongTensor [n], by some of the model's behaviours.

        row: LongTensor [B]; behaviours: their numbers; target: that of the target."""
        place = self._places(row)
        there = place >= 0
        if self.behaviour is not None:
            of_step = self.behaviour[place.clamp(min=0)]
            there &= torch.isin(of_step, torch.tensor(behaviours, dtype=torch.long, device=row.device))
        elif target not in behaviours:
            there = torch.zeros_like(there)
        return there.nonzero(as_tuple=True)[0], self.item[place[there]]

    def query(self, row: Tensor, pad: int) -> Query:
        """Some users with their whole histories, as a model is asked. row: LongTensor [B]; pad: the graph's."""
        place = self._places(row)

        def at(values: Tensor, otherwise: int) -> Tensor:
            return torch.where(place >= 0, values[place.clamp(min=0)], otherwise)

        behaviour = None if self.behaviour is None else at(self.behaviour, -1)
        user = torch.full_like(row, pad)
        return Query(user, at(self.item, pad), at(self.time, NO_TIME), at(self.weight, 0), behaviour)

    def _places(self, row: Tensor) -> Tensor:
        """Where the steps of some users stand, left-padded with -1: LongTensor [B, L]."""
        start, stop = self.ptr[row], self.ptr[row + 1]
        place = stop[:, None] + torch.arange(-int((stop - start).max()), 0, device=row.device)
        return place.masked_fill_(place < start[:, None], -1)


def new_users(
    run: TrainedModel, history: Any, users: Sequence[str] = (), *, profile: Any = None, skip_unknown: bool = False
) -> NewUsers:
    """Who is new, what each did, and what is said of each: see `Run.recommend` for what a history and a profile may be;
    None: there is none, but of one of the two. users: whom is asked for; a history or a profile that names nobody is
    that of the only one. skip_unknown: leave out items and categories that the run does not know.

    Raises KgrecError for a history that is empty, in a form that is not read, or of unknown items, and what
    `read_profile` raises.
    """
    table, shared = None if history is None else _as_table(history), False
    if table is not None and "user" not in table and len(users) > 1:
        raise KgrecError(
            f"{table.name} names no user, and users names {len(users)}; give a mapping of user to item ids"
        )
    alone = users[0] if users else NEW_USER
    if profile is None:
        assert table is not None
        return _checked(run, table, alone, skip_unknown)
    if table is not None:
        shared = profile is history or (isinstance(profile, Path) and isinstance(history, Path) and profile == history)
        only = table.ids("user").unique().to_pylist() if "user" in table else []
        alone = only[0] if len(only) == 1 and not users else alone
        if len(only) > 1:
            alone = ""
    columns = () if run.folding is None else run.folding.columns
    found = read_profile(run, profile, alone, columns, skip_unknown=skip_unknown, shared=shared)
    if shared and table is not None:
        table = _with_items(table)
    new = (
        without_history(run)
        if table is None or not len(table)
        else _checked(run, table, alone, skip_unknown, found.names)
    )
    return _joined(run, new, found)


def _with_items(table: InputTable) -> InputTable:
    """The rows that name an item, of a table that is a profile too."""
    items = table.ids("item", missing=True)
    kept = pc.and_(items.is_valid(), pc.not_equal(pc.fill_null(items, ""), ""))
    return replace(
        table, columns={name: _filtered(values, kept) for name, values in table.columns.items()}, reader=None
    )


def _filtered(values: Any, kept: pa.Array) -> Any:
    return values[np.asarray(kept)] if is_series(values) else values.filter(kept)


def without_history(run: TrainedModel, names: Sequence[str] = ()) -> NewUsers:
    """Users of whom nothing is known."""
    nothing = torch.empty(0, dtype=torch.long, device=run.device)
    ptr = nothing.new_zeros(len(names) + 1)
    return NewUsers(list(names), ptr, nothing, nothing, nothing.float(), None, (), has_weights=False)


def side_by_side(run: TrainedModel, parts: Sequence[NewUsers]) -> NewUsers:
    """The users of several, which have no profiles, and have weights all or none. Their notes are left out."""
    if len(parts) == 1:
        return parts[0]
    item, time, weight = (torch.cat([getattr(one, name) for one in parts]) for name in ("item", "time", "weight"))
    behaviour = None
    if any(one.behaviour is not None for one in parts):
        target = (run.model.behaviours or (run.graph.target[1],)).index(run.graph.target[1])
        behaviours = (torch.full_like(one.item, target) if one.behaviour is None else one.behaviour for one in parts)
        behaviour = torch.cat(list(behaviours))
    length = torch.cat([one.length for one in parts])
    ptr = torch.cat([length.new_zeros(1), length.cumsum(0)])
    names = [name for one in parts for name in one.names]
    return NewUsers(names, ptr, item, time, weight, behaviour, (), parts[0].has_weights)


def _joined(run: TrainedModel, new: NewUsers, profile: Profile) -> NewUsers:
    """All users who have a history or a profile, those of the history first."""
    names = [*new.names, *(name for name in profile.names if name not in set(new.names))]
    place = {name: row for row, name in enumerate(profile.names)}
    row = torch.tensor([place.get(name, -1) for name in names], dtype=torch.long)
    ptr = torch.cat([new.ptr, new.ptr[-1:].expand(len(names) - len(new.names))])
    columns = {name: feature.take(row) for name, feature in profile.columns.items()}
    return replace(new, names=names, ptr=ptr, profile=columns, notes=(*new.notes, *profile.notes))


def _as_table(history: Any) -> InputTable:
    """Any form of history as a table with the column `item`, and perhaps `user`, `time`, `weight` and `behaviour`."""
    if isinstance(history, Path):
        if history.suffix != ".parquet" and history.is_file() and not history.stat().st_size:
            raise KgrecError(f"{history} is empty; a CSV with a column `item` is wanted")
        table: InputTable | None = InputTable.read(history, "a CSV, Parquet or JSON lines file with a column `item`")
    else:
        table = InputTable.of(history, "history")
    if table is None and isinstance(history, Mapping):
        return _of_mapping(history)
    if table is None:
        if is_one_id(history):
            hint = "; for a file give a pathlib.Path" if isinstance(history, str) else ""
            raise KgrecError(f"history is {history!r}, one id alone; {WANTED} is wanted{hint}")
        items = id_list(history, "history")
        table = InputTable({"item": items}, "history", ["item"])
    table.require("item")
    table.refuse_near("user")  # else the steps of many users were those of one
    return table


def _of_mapping(history: Mapping[Any, Any]) -> InputTable:
    """A table of users and their lists of items."""
    if not history:
        raise KgrecError("history names no user; a mapping of one user or more to item ids is wanted")
    if "item" in history:
        raise KgrecError(
            f"history is a mapping with the key 'item', a column's name; {WANTED} is wanted, so give columns as a "
            "table: pandas.DataFrame(history)"
        )
    users = id_list(list(history), "history's users")
    lists = []
    for name, items in zip(users.to_pylist(), history.values()):
        if is_one_id(items):
            raise KgrecError(f"history of {name!r} is {items!r}, one id alone; a list of item ids is wanted")
        lists.append(id_list(items, f"history of {name!r}"))
    empty = [name for name, items in zip(users.to_pylist(), lists) if not len(items)]
    if empty:
        raise KgrecError(f"history of {some(empty)} names no item; a new user needs at least one")
    row = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    columns = {"user": users.take(pa.array(row)), "item": pa.concat_arrays(lists)}
    return InputTable(columns, "history", list(columns))


def _checked(
    run: TrainedModel, table: InputTable, user: str, skip_unknown: bool, others: Sequence[str] = ()
) -> NewUsers:
    """The histories. others: users who are answered though no item of theirs be known."""
    if not len(table):
        raise KgrecError(f"{table.name} names no item; a new user needs at least one")
    target, notes = run.graph.target[2], []
    items = table.ids("item")
    users = table.ids("user") if "user" in table else pa.array([user] * len(table), pa.string())
    time = table.seconds("time", NO_TIME) if "time" in table else np.full(len(table), NO_TIME)
    weight = (
        table.numbers("weight", "a rating or a count is wanted")
        if "weight" in table
        else np.ones(len(table), np.float32)
    )
    if "time" not in table and isinstance(run.model, NextItem) and run.model.reads_times:
        notes.append(f"{table.name} has no times, which {run.name} reads; how long ago each step was is not known")
    behaviour = _behaviour(run, table)
    found = run.graph.vocabulary[target].find(items)
    known = found >= 0
    if not known.all():
        if not skip_unknown:
            raise _unknown(run, table, items, known)
        notes.append(f"left out: {int((~known).sum()):,} of {len(table):,} rows of items that the run does not know")
    names = list(dict.fromkeys(users.filter(pa.array(known)).to_pylist()))
    if not names and not others:
        raise KgrecError(f"{table.name} names no item that the run knows; a new user needs at least one")
    number = {name: row for row, name in enumerate(names)}
    left_out = [name for name in dict.fromkeys(users.to_pylist()) if name not in number and name not in others]
    if left_out:
        notes.append(f"left out: {len(left_out):,} users without an item that the run knows, {some(left_out)}")
    row = np.array([number[name] for name in users.filter(pa.array(known)).to_pylist()], dtype=np.int64)
    time, kept = time[known], np.flatnonzero(known)
    order = np.lexsort((time, row))  # stable: rows of one time stay in the order that they were given in
    by_user = np.argsort(row, kind="stable")
    if (order != by_user).any():
        notes.append("the history's rows are not in order of time; they are read in that order")
    kept, device = kept[order], run.device
    ptr = np.concatenate([[0], np.bincount(row, minlength=len(names)).cumsum()])

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    return NewUsers(
        names,
        tensor(ptr),
        tensor(found[kept] + run.graph.range(target).start),
        tensor(time[order]),
        tensor(weight[kept]),
        None if behaviour is None else tensor(behaviour[kept]),
        tuple(notes),
        has_weights="weight" in table,
    )


def _unknown(run: TrainedModel, table: InputTable, items: pa.Array, known: np.ndarray) -> UnknownName:
    """The error for items that the run does not know, with the place of the first."""
    vocabulary = run.graph.vocabulary[run.graph.target[2]]
    unknown = list(dict.fromkeys(items.filter(pa.array(~known)).to_pylist()))
    message = (
        f"no {run.graph.target[2]} {some(unknown)} among the {len(vocabulary):,} known; known are such as "
        f"{some(vocabulary.ids(range(3)))}"
    )
    return UnknownName(table.fault(message, int(np.argmin(known)), "item", unknown[0], "unknown id"))


def _behaviour(run: TrainedModel, table: InputTable) -> np.ndarray | None:
    """Which of the model's behaviours each row is, int64 [rows]; None: all are the target."""
    if "behaviour" not in table:
        return None
    names = run.model.behaviours or (run.graph.target[1],)
    values = table.ids("behaviour").to_pylist()
    for row, name in enumerate(values):
        if name not in names:
            error = unknown_name("behaviour", name, names, f"of {run.name}")
            raise UnknownName(table.fault(str(error), row, "behaviour", name, "unknown behaviour"))
    return np.array([names.index(name) for name in values]) if len(names) > 1 else None
