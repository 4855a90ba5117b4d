"""Which table holds interactions, and which of its columns are user, item, time, weight and behaviour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from kgrec.sources.guessing.behaviour_values import behaviour_of
from kgrec.sources.guessing.column_profile import Column
from kgrec.sources.guessing.column_words import has_role, is_identifier, word_set, words_of
from kgrec.sources.guessing.key_search import ProfiledTable, Reference, depends_on, names_agree, references

LEAST = 1.5  #: score from which on a column may be the user or the item
NO_WEIGHT = word_set(
        "price cost total amount revenue age year lat latitude lon lng longitude zip discount tax id unit "
        "rank position index page number helpful average avg mean "
    )  # fmt: skip
ID_ENDINGS = ("id", "nummer", "nr", "code", "key", "_no", "number", "uuid")  #: of names of identifiers
NO_TIME = word_set(
    "birth birthday born released release updated modified expires expiry founded shipping shipped delivery "
    "delivered estimated limit due deadline approved expected"
)
OWN_TIME = word_set("purchase purchased order ordered created event timestamp datetime")  #: of the interaction itself
RATING_NAMES = word_set("rating ratings rate score stars star overall bewertung note")
COUNT_NAMES = word_set("plays playcount listens listen count counts weight frequency freq times")
SCALE = 21  #: most different values of a rating


@dataclass(eq=False)
class Interactions:
    """A table that may hold interactions, with its columns."""

    table: ProfiledTable
    user: Column
    item: Column
    score: float
    because: dict[str, str] = field(default_factory=dict)  #: role -> the evidence
    time: Column | None = None
    weight: Column | None = None
    behaviour: Column | None = None
    user_table: Reference | None = None
    item_table: Reference | None = None
    rivals: dict[str, list[Column]] = field(default_factory=dict)  #: role -> columns that are as likely

    @property
    def name(self) -> str:
        return self.table.name


def interactions_in(
    table: ProfiledTable, tables: Sequence[ProfiledTable], chosen: Mapping[str, str]
) -> Interactions | None:
    """A table as interactions; None where no two of its columns can be user and item. chosen: role -> column."""
    if table.sample.is_lists:
        return _lists(table)
    columns = [c for c in table.columns.values() if not c.is_list]
    refers = {c.name: references(c, tables) for c in columns if c.is_key or c.is_email}
    users = _scores(columns, "user", refers, table, chosen.get("user"))
    items = _scores(columns, "item", refers, table, chosen.get("item"))
    if table.sample.has_header:
        users, items = users or _unnamed(columns, items, "user"), items or _unnamed(columns, users, "item")
    pairs = [(u + i, user, item) for user, u in users.items() for item, i in items.items() if user is not item]
    if not pairs or _is_triples(table) or table.has_role("knowledge") or len(columns) > 300:
        return None
    score, user, item = max(pairs, key=lambda pair: pair[0])
    found = Interactions(table, user, item, score)
    for role, column, scores in (("user", user, users), ("item", item, items)):
        found.because[role] = _why(column, role, table)
        near = [c for c, value in scores.items() if c is not column and value > scores[column] - 0.25]
        found.rivals[role] = [c for c in near if c is not (item if role == "user" else user) and role not in chosen]
    _add_others(found, chosen)
    found.score += 2 * table.has_role("interactions") + math.log10(max(10, table.sample.estimated)) / 2
    found.score += 1.5 * (found.time is not None) + 1.5 * (found.weight is not None) + (found.behaviour is not None)
    keyed = bool(table.keys) and not table.has_role("interactions") and table.keys[0].name not in (user.name, item.name)
    found.score -= 2 * keyed + 3 * (table.has_role("item") and not table.has_role("user"))
    return found


def _lists(table: ProfiledTable) -> Interactions | None:
    if table.sample.form.get("format") != "lists":
        return None
    user, item = table.columns["user"], table.columns["item"]
    found = Interactions(table, user, item, 4 + math.log10(max(10, table.sample.rows)) / 2)
    found.because = {"user": "the first value of each line", "item": "the other values of each line"}
    return found


def _is_triples(table: ProfiledTable) -> bool:
    """Whether a table is of triples: three columns, and in the middle few texts."""
    columns = [*table.columns.values()]
    if len(columns) not in (3, 4) or columns[1].is_list:
        return False
    middle = columns[1]
    named = [words_of(c.name)[:1] for c in columns]
    if named[:3] in (
        [["head"], ["relation"], ["tail"]],
        [["subject"], ["predicate"], ["object"]],
        [["h"], ["r"], ["t"]],
    ):
        return True
    has_count = any(c.is_number for c in columns[2:]) and not columns[0].is_number  # plays, or a rating
    is_relation = not middle.is_number and middle.repeats > 20
    return not table.sample.has_header and is_relation and columns[0].is_key and not has_count


def _scores(
    columns: Sequence[Column],
    role: str,
    refers: Mapping[str, Sequence[Reference]],
    table: ProfiledTable,
    chosen: str | None,
) -> dict[Column, float]:
    """The columns that may be the user or the item, with how likely each is."""
    found = {}
    for place, column in enumerate(columns):
        score = 10.0 if column.name == chosen else _score(column, role, refers.get(column.name, ()), table)
        if not table.sample.has_header and chosen is None:
            score += _by_place(place, column, columns, role, table)
        if score >= LEAST and (chosen is None or column.name == chosen):
            found[column] = score
    return found


def _unnamed(columns: Sequence[Column], others: Mapping[Column, float], role: str) -> dict[Column, float]:
    """Identifiers whose name says nothing about users or items, where the other end is named and repeats: `mid` beside
    `user_id`."""
    if not any(score >= 4 and other.repeats > 1.2 for other, score in others.items()):
        return {}
    found = [c for c in columns if c not in others and c.name.lower().endswith(ID_ENDINGS) and _may_be_id(c, False)]
    named = [c for c in found if has_role(c.name, "group") or has_role(c.name, "item" if role == "user" else "user")]
    return {c: LEAST + 0.1 for c in found[:1] if c not in named}


def _score(column: Column, role: str, refers: Sequence[Reference], table: ProfiledTable) -> float:
    if not (column.is_key or column.is_email or _is_name(column, role)) or column.is_constant or column.is_flag:
        return 0.0
    words = {*words_of(column.name)}
    other = "item" if role == "user" else "user"
    score = 0.0
    if has_role(column.name, role):
        score += 4 + is_identifier(column.name) - 2 * bool({"name", "title", "type", "category", "price"} & words)
    elif has_role(column.name, other):
        score -= 4
    if role == "user" and column.is_email:
        score += 3
    if role == "user" and score <= 0 and has_role(column.name, "group") and column.repeats > 1.2:
        score += 1.8 + 0.2 * is_identifier(column.name)
    if any(one.table.has_role(role) and not one.table.has_role(other) for one in refers):
        score += 3 if score >= 0 else 0
    if table.sample.is_whole and column.filled > 20 and column.is_unique:
        score -= 3.5
    return score - (2 if column.missing_share > 0.3 else 0)


def _is_name(column: Column, role: str) -> bool:
    """Whether values are names of items, such as titles of games, that repeat."""
    return role == "item" and has_role(column.name, "item") and column.repeats > 1.5 and column.length < 100


def _by_place(place: int, column: Column, columns: Sequence[Column], role: str, table: ProfiledTable) -> float:
    """Without names, the first two columns of identifiers that repeat are user and item."""
    keys = [c for c in columns if _may_be_id(c, c is columns[0] or c is columns[1])]
    if len(keys) < 2 or len(columns) > 12:
        return 0.0
    wanted = 0 if role == "user" else 1
    if keys[wanted] is column and (columns[0] is keys[0] or table.has_role("interactions")):
        return 2.0
    return 0.0


def _may_be_id(column: Column, is_early: bool) -> bool:
    if column.is_flag or column.is_constant or column.time is not None or column.is_unique:
        return False
    if column.is_key and (column.repeats > 1.05 and len(column.distinct) > 5):
        return True
    return (
        is_early and column.words <= 12 and column.repeats > 1.5 and not column.is_number and len(column.distinct) > 5
    )


def _why(column: Column, role: str, table: ProfiledTable) -> str:
    """The evidence for a user or item column."""
    counted = f"{len(column.distinct):,} different values in {column.filled:,} rows"
    if not table.sample.has_header:
        return f"column {[*table.columns].index(column.name) + 1}, {counted}"
    if has_role(column.name, role):
        return f"its name; {counted}"
    if column.is_email and role == "user":
        return f"e-mail addresses; {counted}"
    if has_role(column.name, "group") and role == "user":
        return f"no column names a user, so each {column.name} is one; {counted}"
    return counted


def _add_others(found: Interactions, chosen: Mapping[str, str]) -> None:
    """Time, behaviour and weight."""
    columns = found.table.columns
    used = {found.user.name, found.item.name}
    others = [c for c in columns.values() if c.name not in used and not c.is_list]
    for role, choose in (("time", _time), ("behaviour", _behaviour), ("weight", _weight)):
        named = chosen.get(role)
        if named == "none":
            continue
        column = columns[named] if named is not None and named in columns else choose(others, found)
        if column is not None:
            setattr(found, role, column)
            others = [c for c in others if c is not column]
            found.because.setdefault(role, _why_other(role, column))


def _why_other(role: str, column: Column) -> str:
    if role == "time" and column.time is not None:
        return column.time.because
    if role == "weight" and len(column.numbers):
        return f"numbers from {column.numbers.min():g} to {column.numbers.max():g}, {len(column.distinct):,} different"
    return ""


def _time(columns: Sequence[Column], found: Interactions) -> Column | None:
    scored = []
    for column in columns:
        form = column.time
        if form is None or {*words_of(column.name)} & NO_TIME or column.missing_share > 0.4 or column.is_constant:
            continue
        unix = "unit" in form.form and form.form["unit"] != "iso"
        named = has_role(column.name, "time")
        if found.table.sample.has_header and unix and not named:
            continue
        score = (
            2 * named
            + 0.5 * bool({*words_of(column.name)} & OWN_TIME)
            + unix
            + (not form.is_daily)
            + form.share
            + ("updated" not in column.name.lower())
        )
        scored.append((score, column))
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def _behaviour(columns: Sequence[Column], found: Interactions) -> Column | None:
    known = [c for c in columns if behaviour_of(c) is not None]
    return next((c for c in known if has_role(c.name, "behaviour")), known[0] if known else None)


def _weight(columns: Sequence[Column], found: Interactions) -> Column | None:
    """A rating or a count."""
    if not found.table.sample.has_header:
        return _weight_by_values([c for c in columns if not _is_of_items(c, found)])
    scored = []
    for place, column in enumerate(columns):
        words = {*words_of(column.name)}
        is_number = column.is_number or column.has_decimal_commas
        if not is_number or column.is_constant or words & NO_WEIGHT or column.missing_share > 0.2:
            continue
        if column.time is not None or not has_role(column.name, "weight") or "id" in words:
            continue
        if not words & RATING_NAMES and _is_of_items(column, found):
            continue
        score = 3 * bool(words & RATING_NAMES) + 2 * bool(words & COUNT_NAMES) + 1 - place / 1000
        scored.append((score, column))
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def _is_of_items(column: Column, found: Interactions) -> bool:
    """Whether a column says something about the item, as its category does: each item has one value of it."""
    rows = pa.array(np.arange(0, column.rows, max(1, column.rows // 100_000)))
    return found.item.repeats > 1.2 and depends_on(found.item.values.take(rows), column.values.take(rows)) > 0.95


def is_rating(column: Column) -> bool:
    """Whether numbers are on a scale of ratings: few, in equal steps, and by their name if they have one."""
    few = 2 <= len(column.distinct) <= SCALE and len(column.numbers) > 1
    if not few or column.numbers.min() < -10 or column.numbers.max() > 100:
        return False
    if not column.table.has_header and (column.numbers.max() < 3 or len(column.numbers) < 3):
        return False
    steps = bool((column.numbers * 4 == (column.numbers * 4).round()).all())
    return steps and (not column.table.has_header or bool({*words_of(column.name)} & RATING_NAMES))


def _weight_by_values(columns: Sequence[Column]) -> Column | None:
    """Without names: a scale of ratings, else a column of numbers that are counts."""
    numeric = [c for c in columns if c.is_number and not c.is_constant and c.time is None and len(c.numbers)]
    for column in numeric:
        if is_rating(column) and not column.is_flag:
            return column
    counts = [c for c in numeric if c.numbers.min() >= 0 and c.missing_share == 0 and c.repeats > 1.2]
    return counts[0] if len(counts) == 1 else None


def join_of(
    table: ProfiledTable, tables: Sequence[ProfiledTable], chosen: Mapping[str, str]
) -> tuple[Interactions, Reference, ProfiledTable] | None:
    """A table with items but no user that refers to one with users, as the lines of orders to orders: the interactions,
    the reference, and the table of users. None where there is none."""
    columns = [c for c in table.columns.values() if not c.is_list]
    refers = {c.name: references(c, tables) for c in columns if c.is_key}
    items = _scores(columns, "item", refers, table, chosen.get("item"))
    if not items or _scores(columns, "user", refers, table, None).keys() - _groups(columns) - items.keys():
        return None
    item = max(items, key=lambda c: items[c])
    for column in columns:
        for reference in refers.get(column.name, ()):
            other = reference.table
            if column is item or reference.share < 0.5 or has_role(column.name, "item"):
                continue
            if not (reference.is_named or names_agree(column.name, reference.key.name, other.stem)):
                continue
            owners = _scores([*other.columns.values()], "user", {}, other, chosen.get("user"))
            owners = {
                c: score for c, score in owners.items() if c is not reference.key and not has_role(c.name, "group")
            }
            if owners:
                user = max(owners, key=lambda c: owners[c])
                found = Interactions(table, user, item, items[item] + owners[user] + 2)
                found.score += math.log10(max(10, table.sample.estimated)) / 2
                found.because = {"item": _why(item, "item", table), "user": _why(user, "user", other)}
                return found, reference, other
    return None


def _groups(columns: Sequence[Column]) -> set[Column]:
    return {c for c in columns if has_role(c.name, "group") and not has_role(c.name, "user")}
