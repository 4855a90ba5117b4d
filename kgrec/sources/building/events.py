"""Rows of interactions before they are edges, and which of them stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData
from kgrec.sources.building.report import BuildReport
from kgrec.sources.recipe.interaction_part import Interactions


@dataclass(frozen=True, eq=False)
class Events:
    """What users did with items, in file order. Users and items are codes of their distinct ids."""

    user: np.ndarray  #: int32 [E]
    item: np.ndarray  #: int32 [E]
    user_ids: pa.Array  #: strings, by code
    item_ids: pa.Array  #: strings, by code
    relation: np.ndarray | None = None  #: int8 [E], position among the relation names, -1: to be left out; None: all 0
    weight: np.ndarray | None = None  #: float32 [E]
    time: np.ndarray | None = None  #: int64 [E], unix seconds
    part: np.ndarray | None = None  #: int8 [E], 0 train, 1 valid, 2 test
    click: np.ndarray | None = None  #: float32 [E], 1 or 0, where a column says it
    features: Mapping[str, pa.Array] = field(default_factory=dict)  #: each [E]

    def __len__(self) -> int:
        return len(self.user)

    def at(self, index: np.ndarray) -> Events:
        """The rows at positions, or where a mask is true."""
        rows = np.flatnonzero(index) if index.dtype == bool else index
        columns = {
            name: getattr(self, name) for name in ("user", "item", "relation", "weight", "time", "part", "click")
        }
        taken = {name: column[rows] for name, column in columns.items() if column is not None}
        return replace(self, **taken, features={n: c.take(pa.array(rows)) for n, c in self.features.items()})

    def pair(self) -> np.ndarray:
        """int64 [E]: one number for each relation, user and item."""
        relation = 0 if self.relation is None else self.relation.astype(np.int64)
        return (relation * len(self.user_ids) + self.user) * len(self.item_ids) + self.item


def kept(events: Events, table: Interactions, report: BuildReport, name: str) -> Events:
    """The rows that the recipe's filters let stay: relations, least weight, duplicates, then the k-core."""
    if events.relation is not None and (events.relation < 0).any():
        events = _where(events, events.relation >= 0, report, f"rows of {name} whose behaviour the recipe leaves out")
    if table.min_weight is not None and events.weight is not None:
        events = _where(
            events,
            events.weight >= table.min_weight,
            report,
            f"rows of {name} of less weight than {table.min_weight:g}",
        )
    events = _without_duplicates(events, table, report, name)
    return _core(events, table, report, name)


def _where(events: Events, mask: np.ndarray, report: BuildReport, why: str) -> Events:
    dropped = len(events) - int(np.count_nonzero(mask))
    report.drop(why, dropped)
    return events.at(mask) if dropped else events


def _without_duplicates(events: Events, table: Interactions, report: BuildReport, name: str) -> Events:
    if table.duplicates == "keep" or not len(events):
        return events
    pair = events.pair()
    order = np.argsort(pair, kind="stable") if events.time is None else np.lexsort((events.time, pair))
    starts = np.flatnonzero(np.diff(pair[order], prepend=pair[order[0]] - 1))
    ends = np.append(starts[1:], len(order))
    if table.duplicates == "error":
        _refuse_duplicates(events, order[starts[ends - starts > 1]], name)
        return events
    rows = order[starts] if table.duplicates == "first" else order[ends - 1]
    if table.duplicates == "sum":
        weight = np.ones(len(events), np.float32) if events.weight is None else events.weight
        total = np.zeros(len(events), np.float64)
        total[rows] = np.add.reduceat(weight[order].astype(np.float64), starts)
        events = replace(events, weight=total.astype(np.float32))
        if events.click is not None:  # a click where one of them is
            clicked = np.zeros_like(events.click)
            clicked[rows] = np.maximum.reduceat(events.click[order], starts)
            events = replace(events, click=clicked)
    report.drop(f"rows of {name} that repeat a user, item and relation", len(events) - len(rows))
    return events.at(np.sort(rows))


def _refuse_duplicates(events: Events, repeated: np.ndarray, name: str) -> None:
    if len(repeated):
        users = events.user_ids.take(pa.array(events.user[repeated]))
        items = events.item_ids.take(pa.array(events.item[repeated]))
        raise BadData(
            f"{name}: user {user!r} and item {item!r} stand more than once; mend the rows or say `duplicates: last`"
            for user, item in zip(users[:100].to_pylist(), items[:100].to_pylist())
        )


def _core(events: Events, table: Interactions, report: BuildReport, name: str) -> Events:
    """The largest part in which every user and item has enough rows."""
    if table.min_user <= 1 and table.min_item <= 1:
        return events
    stays = np.ones(len(events), bool)
    while True:
        users = np.bincount(events.user[stays], minlength=len(events.user_ids))
        items = np.bincount(events.item[stays], minlength=len(events.item_ids))
        still = stays & (users[events.user] >= table.min_user) & (items[events.item] >= table.min_item)
        if still.sum() == stays.sum():
            break
        stays = still
    why = f"rows of {name} outside the core of min_user {table.min_user} and min_item {table.min_item}"
    return _where(events, stays, report, why)


def as_sessions(events: Events, gap: int) -> Events:
    """The same rows with sessions as users: a visitor's rows in time order, cut where the next is more than `gap`
    seconds later. Sessions are called `visitor#1`, `visitor#2`, and numbered by first appearance in the file."""
    assert events.time is not None
    order = np.lexsort((events.time, events.user))
    user, time = events.user[order], events.time[order]
    new_visitor = np.diff(user, prepend=-1) != 0
    starts = new_visitor | (np.diff(time, prepend=time[:1]) > gap)
    session = np.cumsum(starts) - 1
    first_of_visitor = np.maximum.accumulate(np.where(new_visitor, session, 0))
    ordinal = (session - first_of_visitor + 1)[starts]
    visitors = events.user_ids.take(pa.array(user[starts]))
    ids = pc.binary_join_element_wise(visitors, pa.array(ordinal).cast(pa.string()), "#")
    code = np.empty(len(events), np.int64)
    code[order] = session
    return replace(events, user=code.astype(np.int32), user_ids=ids)


def numbers_by_appearance(codes: np.ndarray) -> np.ndarray:
    """int64: the distinct codes in the order in which they first appear."""
    return np.asarray(pd.unique(codes), np.int64)
