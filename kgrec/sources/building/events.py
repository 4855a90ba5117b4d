"""Reads a table of interactions: its columns as numbers, and the rows that the recipe's filters keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, Fault
from kgrec.large_arrays import GrowingArray, chosen, counts, empty, parts_by_key, require_memory, spans
from kgrec.sources.building.report import BuildReport
from kgrec.sources.rdf.numbering import memory_of_ids
from kgrec.sources.recipe.interaction_part import Interactions
from kgrec.sources.tables.bad_rows import BadRows
from kgrec.sources.tables.coded_ids import CodedIds
from kgrec.sources.tables.columns import Column, Flags, Ids
from kgrec.sources.tables.number_column import Numbers
from kgrec.sources.tables.table_columns import Columns, joined, table_parts
from kgrec.sources.tables.time_column import Times
from kgrec.sources.tables.values import feature_column, feature_values

PART_CODE = {"train": 0, "valid": 1, "test": 2}


@dataclass(frozen=True, eq=False)
class KnownIds:
    """The ids that are allowed in a column, for a node type with `complete: true`."""

    ids: pa.Array  #: strings
    files: str  #: the names of the files that list them

    def column(self, name: str) -> Ids:
        """A column in which only these ids are allowed."""
        return Ids(name, self.ids, self.advice)

    @property
    def advice(self) -> str:
        """The message about any other id, after the id."""
        return f"has no row in {self.files}; add it there, fix this row, or remove `complete: true`"


@dataclass(frozen=True, eq=False)
class Events:
    """What users did with items, in file order. Users and items are codes of their distinct ids."""

    user: np.ndarray  #: int32 [E]
    item: np.ndarray  #: int32 [E]
    user_ids: pa.Array  #: strings, by code
    item_ids: pa.Array  #: strings, by code
    relation: np.ndarray | None = None  #: int8 [E], position in the list of relations, -1: left out; None: all are 0
    weight: np.ndarray | None = None  #: float32 [E]
    time: np.ndarray | None = None  #: int64 [E], unix seconds
    part: np.ndarray | None = None  #: int8 [E], 0 train, 1 valid, 2 test
    click: np.ndarray | None = None  #: float32 [E], 1 or 0, where the recipe names a column with clicks
    features: Mapping[str, pa.Array] = field(default_factory=dict)  #: each [E]

    def __len__(self) -> int:
        return len(self.user)

    def at(self, mask: np.ndarray) -> Events:
        """The rows where a mask, bool [E], is true."""
        columns = {
            name: getattr(self, name) for name in ("user", "item", "relation", "weight", "time", "part", "click")
        }
        taken = {name: chosen(column, mask) for name, column in columns.items() if column is not None}
        return replace(self, **taken, features={n: c.filter(pa.array(mask)) for n, c in self.features.items()})

    def pair(self) -> np.ndarray:
        """int64 [E]: one number for each relation, user and item."""
        pair = empty(len(self), np.int64)
        for span in spans(len(self)):
            relation = 0 if self.relation is None else self.relation[span].astype(np.int64)
            pair[span] = (relation * len(self.user_ids) + self.user[span]) * len(self.item_ids) + self.item[span]
        return pair


def read_events(
    table: Interactions,
    known: tuple[KnownIds | None, KnownIds | None],
    folder: Path,
    bad_rows: BadRows,
    report: BuildReport,
    called: tuple[str, str] = ("user", "item"),
) -> Events:
    """The rows of a table of interactions, with sessions made and filters applied. known: the allowed ids of users and
    of items. called: the names of users and items in messages.

    Raises BadData as `read_table` does, and for repeated rows with `duplicates: error`.
    """
    wanted = _WantedColumns(table, known)
    files = list(table.parts.values()) or [table.file]
    codes: list[int | None] = [PART_CODE[part] for part in table.parts] or [None]
    rows = _EventRows(wanted)
    for names, code in zip(files, codes):
        for part in table_parts(table, names, wanted.all, folder, bad_rows):
            rows.add(part.columns, code, part.share)
    events = rows.events()
    if table.session:
        events = as_sessions(events, table.session.gap)
    return kept(events, table, report, files[0][0], called)


class _WantedColumns:
    """The columns of one table of interactions."""

    def __init__(self, table: Interactions, known: tuple[KnownIds | None, KnownIds | None]) -> None:
        self.table = table
        self.user = Ids(table.session.by) if table.session else _ids(table.user, known[0])
        self.item = _ids(table.item, known[1])
        self.relation = _behaviour(table)
        self.weight = None if table.weight is None else Numbers(table.weight, *_range(table), required=True)
        self.time = None if table.time is None else Times(table.time.column, table.time.unit, table.time.format)
        clicked = table.click.column if table.click else None
        self.click = None if clicked is None else Flags(clicked, required=True)
        self.features = {name: feature_column(name, feature) for name, feature in table.features.items()}
        optional = (self.relation, self.weight, self.time, self.click, *self.features.values())
        self.all: list[Column] = [self.user, self.item, *(column for column in optional if column is not None)]

    def relations_in(self, values: pa.DictionaryArray) -> np.ndarray:
        """int8 [n]: the position of each row's relation, -1 where rows are left out."""
        assert self.table.relations is not None
        names, relations = self.table.relation_names, self.table.relations.values
        words = values.dictionary.to_pylist()
        position = [names.index(name) if (name := relations[value]) is not None else -1 for value in words]
        return np.array(position, np.int8)[values.indices.to_numpy()]


class _EventRows:
    """The rows of interactions as numbers, added part after part."""

    def __init__(self, wanted: _WantedColumns) -> None:
        self._wanted = wanted
        self._files = ", ".join(wanted.table.all_files)
        self._user, self._item = CodedIds(f"{wanted.user.name} ids"), CodedIds(f"{wanted.item.name} ids")
        kinds = {"relation": np.int8, "weight": np.float32, "time": np.int64, "click": np.float32, "part": np.int8}
        self._numbers = {name: GrowingArray(kind) for name, kind in kinds.items()}
        self._features: list[dict[Column, pa.Array]] = []
        self._feature_bytes = 0

    def add(self, read: Columns, part: int | None, share: float) -> None:
        """Add some rows. part: 0 train, 1 valid, 2 test; share: how much of the table has been read."""
        wanted, numbers = self._wanted, self._numbers
        self._user.add(read[wanted.user], share)
        self._item.add(read[wanted.item], share)
        if wanted.relation is not None:
            numbers["relation"].add(wanted.relations_in(read[wanted.relation]))
        if wanted.weight is not None:
            numbers["weight"].add(read[wanted.weight].to_numpy().astype(np.float32))
        if wanted.time is not None:
            numbers["time"].add(read[wanted.time].to_numpy())
        if wanted.click is not None:
            numbers["click"].add(read[wanted.click].cast(pa.float32()).to_numpy())
        if part is not None:
            numbers["part"].add(np.full(len(read[wanted.user]), part, np.int8))
        if wanted.features:
            found = {column: read[column] for column in wanted.features.values()}
            self._feature_bytes += sum(values.nbytes for values in found.values())
            what = f"the features of edges in {self._files}"
            require_memory(2 * self._feature_bytes, what, share, held=what)
            self._features.append(found)

    def events(self) -> Events:
        """All rows."""
        wanted, table = self._wanted, self._wanted.table
        (user, user_ids), (item, item_ids) = self._user.finished(), self._item.finished()
        read = joined(self._features) if wanted.features else {}
        features = {
            name: feature_values(feature.kind, read[wanted.features[name]], feature.split, _feature(name, table))
            for name, feature in table.features.items()
        }
        columns = {name: numbers.array() for name, numbers in self._numbers.items() if len(numbers)}
        return Events(user, item, user_ids, item_ids, features=features, **columns)


def _ids(column: str, known: KnownIds | None) -> Ids:
    return Ids(column) if known is None else known.column(column)


def _behaviour(table: Interactions) -> Ids | None:
    if table.relations is None:
        return None
    values = list(table.relations.values)
    advice = f"is not in `values` of `relations`: {', '.join(values)}; add it there, with null to leave its rows out"
    return Ids(table.relations.column, pa.array(values, pa.string()), advice, unknown_kind="unknown behaviour")


def _range(table: Interactions) -> tuple[float, float]:
    return table.rating_range or (-np.inf, np.inf)


def _feature(name: str, table: Interactions) -> Fault:
    """The beginning of a message about a feature's values."""
    return Fault(f"feature {name!r}", ", ".join(table.all_files), column=name, file_is="named")


def kept(
    events: Events,
    table: Interactions,
    report: BuildReport,
    name: str,
    called: tuple[str, str] = ("user", "item"),
) -> Events:
    """The rows that the recipe's filters keep: relations, lowest weight, duplicates, then the k-core."""
    if events.relation is not None and (events.relation < 0).any():
        events = _where(events, events.relation >= 0, report, f"rows of {name} with a behaviour set to null")
    if table.min_weight is not None and events.weight is not None:
        events = _where(
            events,
            events.weight >= table.min_weight,
            report,
            f"rows of {name} with a weight below {table.min_weight:g}",
        )
    events = _without_duplicates(events, table, report, name, called)
    return _core(events, table, report, name)


def _where(events: Events, mask: np.ndarray, report: BuildReport, why: str) -> Events:
    dropped = len(events) - int(np.count_nonzero(mask))
    report.drop(why, dropped)
    return events.at(mask) if dropped else events


def _without_duplicates(
    events: Events, table: Interactions, report: BuildReport, name: str, called: tuple[str, str]
) -> Events:
    if table.duplicates == "keep" or not len(events):
        return events
    stays, repeated = np.zeros(len(events), bool), [np.empty(0, np.int64)]
    pair = events.pair()
    total = empty(len(events), np.float32) if table.duplicates == "sum" else None
    clicked = None if total is None or events.click is None else empty(len(events), np.float32)
    for part in parts_by_key(pair, f"rows of {name}"):
        order = _by_pair(part, pair, events.time)
        starts = np.flatnonzero(np.diff(pair[order], prepend=pair[order[0]] - 1))
        ends = np.append(starts[1:], len(order))
        repeated.append(order[starts[ends - starts > 1]])
        rows = order[starts] if table.duplicates == "first" else order[ends - 1]
        stays[rows] = True
        if total is not None:
            weight = np.ones(len(order), np.float32) if events.weight is None else events.weight[order]
            total[rows] = np.add.reduceat(weight.astype(np.float64), starts)
        if clicked is not None and events.click is not None:  # it is a click if one of the rows is
            clicked[rows] = np.maximum.reduceat(events.click[order], starts)
    if table.duplicates == "error":
        _refuse_duplicates(events, np.concatenate(repeated), called, name)
        return events
    if total is not None:
        events = replace(events, weight=total, click=clicked)
    what = f"with the same {called[0]}, {called[1]} and relation as another"
    report.drop(f"rows of {name} {what}", len(events) - int(np.count_nonzero(stays)))
    return events.at(stays)


def _by_pair(rows: np.ndarray, pair: np.ndarray, time: np.ndarray | None) -> np.ndarray:
    """Rows in the order of pair, then of time, then of the file."""
    if time is None:
        return rows[np.argsort(pair[rows], kind="stable")]
    return rows[np.lexsort((time[rows], pair[rows]))]


def _refuse_duplicates(events: Events, repeated: np.ndarray, called: tuple[str, str], name: str) -> None:
    if len(repeated):
        users = events.user_ids.take(pa.array(events.user[repeated]))
        items = events.item_ids.take(pa.array(events.item[repeated]))
        raise BadData(
            Fault(
                f"{called[0]} {user!r} and {called[1]} {item!r} have more than one row; fix the rows, or set "
                "`duplicates: last`",
                name,
                value=user,
                kind="duplicate",
            )
            for user, item in zip(users[:100].to_pylist(), items[:100].to_pylist())
        )


def _core(events: Events, table: Interactions, report: BuildReport, name: str) -> Events:
    """The largest set of rows in which every user and item has enough rows."""
    if table.min_user <= 1 and table.min_item <= 1:
        return events
    stays = np.ones(len(events), bool)
    count = len(events)
    while True:
        users = counts(events.user, len(events.user_ids), stays) >= table.min_user
        items = counts(events.item, len(events.item_ids), stays) >= table.min_item
        for span in spans(len(events)):
            stays[span] &= users[events.user[span]] & items[events.item[span]]
        before, count = count, int(np.count_nonzero(stays))
        if count == before:
            break
    why = f"rows of {name} of users and items with too few rows (min_user {table.min_user}, min_item {table.min_item})"
    return _where(events, stays, report, why)


def as_sessions(events: Events, gap: int) -> Events:
    """The same rows with sessions as users. A session is a visitor's rows in time order; a row more than `gap` seconds
    after the one before begins a new session. Sessions are named `visitor#1`, `visitor#2`, in order of time; they are
    numbered as nodes by first appearance in the file."""
    assert events.time is not None
    code, ids, size = empty(len(events), np.int32), [pa.array([], pa.string())], 0
    for rows in parts_by_key(events.user, "rows of a visitor"):
        order = _by_pair(rows, events.user, events.time)
        user, time = events.user[order], events.time[order]
        new_visitor = np.diff(user, prepend=-1) != 0
        starts = new_visitor | (np.diff(time, prepend=time[:1]) > gap)
        session = np.cumsum(starts) - 1
        first_of_visitor = np.maximum.accumulate(np.where(new_visitor, session, 0))
        ordinal = (session - first_of_visitor + 1)[starts]
        visitors = events.user_ids.take(pa.array(user[starts]))
        code[order] = session + sum(map(len, ids))
        ids.append(pc.binary_join_element_wise(visitors, pa.array(ordinal).cast(pa.string()), "#"))
        size += memory_of_ids(len(ids[-1]), ids[-1].nbytes)
        require_memory(size, "the ids of sessions", held="the ids of sessions")
    return replace(events, user=code, user_ids=pa.concat_arrays(ids))
