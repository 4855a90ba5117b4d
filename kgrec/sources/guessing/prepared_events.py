"""Tables of interactions that are made from others: lines joined to their orders, lists of items taken apart, gaps
filled; and tables of what a table of interactions says about its items or users."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kgrec.errors import KgrecError
from kgrec.sources.guessing.column_profile import Column
from kgrec.sources.guessing.column_words import has_role, is_identifier, words_of
from kgrec.sources.guessing.folder_files import FoundFile
from kgrec.sources.guessing.folder_tables import FolderTables
from kgrec.sources.guessing.interaction_choice import Interactions, join_of
from kgrec.sources.guessing.key_search import ProfiledTable, Reference, depends_on, overlap, percent
from kgrec.sources.guessing.mending import distinct_rows
from kgrec.sources.guessing.table_sample import SampledTable, columns_of
from kgrec.sources.tables.columns import is_list

MOST_READ = 600_000_000  #: bytes of a file that is read as a whole to make another table of it
LEAST_DEPENDS = 0.9  #: share of rows that have the most frequent value of their item, for a column to be about items
CLICKED = re.compile(r"^(.+)-([01])$")  #: an item that was shown, and whether it was clicked
LOOKED_AT = 500


@dataclass(frozen=True)
class Making:
    """A table of interactions that has to be made first."""

    events: Interactions
    kind: str  #: join or lists
    column: Column  #: that refers to the other table, or has the lists
    reference: Reference | None = None
    sign: str | None = None  #: between the items of a list
    has_clicks: bool = False


def possible_join(table: ProfiledTable, tables: Sequence[ProfiledTable], chosen: Mapping[str, str]) -> Making | None:
    """Interactions that a table gives together with the one that it refers to, as lines of orders and orders."""
    found = join_of(table, tables, chosen)
    if found is None or table.sample.size + found[2].sample.size > MOST_READ:
        return None
    events, reference, _ = found
    return Making(events, "join", reference.column, reference)


def possible_lists(table: ProfiledTable, tables: Sequence[ProfiledTable]) -> Making | None:
    """Interactions in a table where a field lists several items of one user."""
    if table.sample.is_lists or table.sample.size > MOST_READ:
        return None
    users = [c for c in table.columns.values() if has_role(c.name, "user") or has_role(c.name, "group")]
    users += [c for c in table.columns.values() if not table.sample.has_header and c.is_key and c.repeats > 1.2]
    users = sorted((c for c in users if c.is_key), key=lambda c: (not has_role(c.name, "user"), -c.repeats))
    if not users:
        return None
    best: tuple[float, Making] | None = None
    for column in table.columns.values():
        sign, tokens, clicks = _tokens(column)
        if tokens is None or column is users[0]:
            continue
        listed = Column(table.sample, column.name, pa.chunked_array([tokens]), distinct=tokens.unique())
        for other in tables:
            keys = other.keys[:3] if other is not table else []
            share = max(
                (min(overlap(listed, key)[0], _whole_rows(column, sign, key, clicks)) for key in keys), default=0.0
            )
            score = share + clicks
            if (share > 0.5 or (clicks and share > 0.1)) and (best is None or score > best[0]):
                events = Interactions(table, users[0], listed, 6 + 2 * clicks)
                why = f"{percent(share)} of the values that {column.name} lists found in {other.shown}"
                events.because = {"item": why, "user": "its name" if table.sample.has_header else "its values repeat"}
                best = score, Making(events, "lists", column, None, sign, clicks)
    return None if best is None else best[1]


def _tokens(column: Column) -> tuple[str | None, pa.Array | None, bool]:
    """The separator, the values, and whether they say what was clicked, of a column that lists ids."""
    if column.is_list:
        flat = [str(v) for one in column.values[:LOOKED_AT].to_pylist() for v in one or () if isinstance(v, str | int)]
        return None, pa.array(flat, pa.string()) if len(flat) > 2 * LOOKED_AT / 100 else None, False
    for sign in (" ", ",", ";", "|"):
        rows = [value.split(sign) for value in column.few[:LOOKED_AT]]
        flat = [token.strip() for row in rows for token in row if token.strip()]
        if len(flat) < 1.5 * len(rows) or not flat or max(map(len, flat)) > 40:
            continue
        clicks = all(CLICKED.match(token) for token in flat)
        return sign, pa.array([CLICKED.sub(r"\1", t) for t in flat] if clicks else flat, pa.string()), clicks
    return None, None, False


def _whole_rows(column: Column, sign: str | None, key: Column, clicks: bool) -> float:
    """The share of a column's lists of which most values are in a key."""
    known = set(key.distinct.to_pylist())
    if column.is_list:
        rows = [[str(v) for v in one] for one in column.values[:LOOKED_AT].to_pylist() if one]
    else:
        rows = [value.split(sign) for value in column.few[:LOOKED_AT]]
    rows = [[CLICKED.sub(r"\1", v.strip()) if clicks else v.strip() for v in row if v.strip()] for row in rows]
    good = [sum(v in known for v in row) >= 0.6 * len(row) for row in rows if row]
    return sum(good) / max(1, len(good))


class EventMaker:
    """Writes tables that are made from others."""

    def __init__(self, folder: FolderTables) -> None:
        self._folder = folder

    def make(self, making: Making) -> ProfiledTable:
        """The table of interactions."""
        return self._joined(making) if making.kind == "join" else self._taken_apart(making)

    def _joined(self, making: Making) -> ProfiledTable:
        assert making.reference is not None
        lines, orders = (_all(one) for one in (making.events.table.sample, making.reference.table.sample))
        key, other = making.column.name, making.reference.key.name
        codes = pc.index_in(lines[key].combine_chunks(), value_set=orders[other].combine_chunks())
        columns = dict(lines)
        for name, values in orders.items():
            if name != other and name not in columns and not is_list(values.type):
                columns[name] = pa.chunked_array([values.combine_chunks().take(codes)])
        lines_of, orders_of = making.events.table.shown, making.reference.table.shown
        origin = f"{lines_of} joined to {orders_of} by {key} ({making.reference.because})"
        stem = making.events.table.stem
        return self._written(f"{stem}_with_{making.reference.table.stem}", columns, origin)

    def _taken_apart(self, making: Making) -> ProfiledTable:
        columns = _all(making.events.table.sample)
        lists = columns.pop(making.column.name)
        if making.sign is not None:
            lists = pc.split_pattern(lists, making.sign)
        lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
        row = pc.list_parent_indices(lists)
        tokens = pc.utf8_trim_whitespace(pc.list_flatten(lists).cast(pa.string()))
        made = {name: one.take(row) for name, one in columns.items() if not is_list(one.type)}
        is_token = pc.not_equal(tokens, "")
        if making.has_clicks:
            made["clicked"] = pa.chunked_array([pc.utf8_slice_codeunits(tokens, -1)])
            tokens = pc.replace_substring_regex(tokens, "-[01]$", "")
            is_token = pc.and_(is_token, pc.equal(made["clicked"].combine_chunks(), "1"))
            del made["clicked"]
        short = {name: one for name, one in made.items() if _is_short(one)}
        table = pa.table({**short, "item": tokens}).filter(is_token)
        clicked = ", those that were clicked" if making.has_clicks else ""
        origin = f"{making.events.table.shown}, with a row for each item that {making.column.name} lists{clicked}"
        return self._written(f"{making.events.table.stem}_items", dict(zip(table.column_names, table.columns)), origin)

    def filled(self, events: Interactions) -> ProfiledTable | None:
        """The same interactions with the user, time and the like of each order's first line in its other lines too;
        None where no column names orders by which that is possible."""
        table = events.table
        if events.user.missing_share < 0.1 or table.sample.size > MOST_READ:
            return None
        for column in table.columns.values():
            if column.is_list or column in (events.user, events.item) or column.missing_share > 0.01:
                continue
            if not 1.2 < column.repeats < 100 or (column.is_number and not is_identifier(column.name)):
                continue
            has_user = pc.is_valid(_without_empty(events.user.values))
            named = pc.mean(pc.is_in(column.values.filter(pc.invert(has_user)).combine_chunks(),
                                     value_set=column.values.filter(has_user).combine_chunks().unique()))  # fmt: skip
            if pc.cast(named, pa.float64()).as_py() > 0.95 and depends_on(column.values, events.user.values) > 0.99:
                return self._fill(table, column)
        return None

    def _fill(self, table: ProfiledTable, group: Column) -> ProfiledTable:
        columns = _all(table.sample)
        first = {}
        for name, values in columns.items():
            if name != group.name and not is_list(values.type):
                plain = _without_empty(values)
                if plain.null_count and depends_on(columns[group.name], plain) > 0.999:
                    first[name] = plain
        rows = distinct_rows(columns[group.name], first)
        place = pc.index_in(columns[group.name].combine_chunks(), value_set=rows["id"].combine_chunks())
        for name in first:
            if name in rows.column_names:
                columns[name] = pa.chunked_array([pc.coalesce(first[name].combine_chunks(),
                                                              rows[name].combine_chunks().take(place))])  # fmt: skip
        origin = f"{table.shown}, with gaps filled from the first row of each {group.name}"
        return self._written(f"{table.stem}_filled", columns, origin)

    def nodes(self, events: Interactions, role: str, used: set[str]) -> ProfiledTable | None:
        """A table with a row for each item or user, of the columns that depend on it; None where there are none."""
        key: Column = getattr(events, role)
        sample = events.table.sample
        if sample.is_lists or sample.size > MOST_READ or key.repeats < 1.2:
            return None
        names = [c.name for c in events.table.columns.values() if c.name not in used and self._depends(c, key, role)]
        if not names:
            return None
        columns = _all(sample)
        table = distinct_rows(columns[key.name], {name: columns[name] for name in names})
        table = table.filter(pc.fill_null(pc.not_equal(table["id"], ""), False))
        origin = f"{events.table.shown}: {', '.join(names)} by {key.name}"
        return self._written(f"{role}s", dict(zip(table.column_names, table.columns)), origin)

    @staticmethod
    def _depends(column: Column, key: Column, role: str) -> bool:
        """Whether a column says something about items, or users."""
        if column.is_list or column.is_constant or column.missing_share > 0.9 or column.time is not None:
            return False
        words = {*words_of(column.name)}
        if has_role(column.name, "group") or column.is_email or column.is_iri or (role == "user" and "name" in words):
            return False
        if len(column.distinct) > 1.2 * len(key.distinct) + 5 and column.repeats < 2:
            return False
        step = max(1, column.rows // 200_000)
        rows = pa.array(np.arange(0, column.rows, step))
        least = 0.5 if role == "item" and has_role(column.name, "label") else LEAST_DEPENDS
        return depends_on(key.values.take(rows), _without_empty(column.values.take(rows))) >= least

    def _written(self, stem: str, columns: dict[str, pa.ChunkedArray], origin: str) -> ProfiledTable:
        path = self._folder.made / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', stem)}.parquet"
        place = 2
        while path.exists():
            path, place = path.with_name(f"{path.stem}_{place}.parquet"), place + 1
        pq.write_table(pa.table(columns), path)
        name = self._folder.name_of(path)
        self._folder.origins[name] = origin
        file = FoundFile(path, name, path.stat().st_size, "parquet")
        return ProfiledTable(SampledTable([file], {}, columns, True, len(next(iter(columns.values()))), origin=origin))


def _all(table: SampledTable) -> dict[str, pa.ChunkedArray]:
    """All rows of a table. Raises KgrecError where a file cannot be read."""
    if table.is_whole:
        return dict(table.columns)
    read = [_all_of(file, table) for file in table.files]
    types = {name: column.type for name, column in table.columns.items()}
    return {name: pa.chunked_array([c for one in read for c in one[name].chunks], types[name]) for name in types}


def _all_of(file: FoundFile, table: SampledTable) -> dict[str, pa.ChunkedArray]:
    if file.form == "parquet":
        from kgrec.column_texts import texts_of

        read = pq.read_table(file.path, columns=list(table.columns))
        return {name: read[name] if is_list(read[name].type) else texts_of(read[name], name) for name in table.columns}
    form = {"separator": "tab" if file.suffix == ".tsv" else ",", "format": "separated", **table.form}
    if file.form == "json_lines":
        form = {**table.form, "format": "json_lines"}
    columns = columns_of(Path(file.path), form)
    if missing := [name for name in table.columns if name not in columns]:
        raise KgrecError(f"{file.name} has no column {missing[0]!r}, which other files of its kind have")
    return columns


def _without_empty(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same texts, with null in place of empty ones."""
    is_empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(values), ""), False)
    return pc.if_else(is_empty, pa.scalar(None, pa.string()), values)


def _is_short(values: pa.ChunkedArray) -> bool:
    """Whether values are no long texts, which would be repeated in each row."""
    lengths = pc.mean(pc.utf8_length(values.cast(pa.string()))).as_py()
    return lengths is None or lengths < 60
