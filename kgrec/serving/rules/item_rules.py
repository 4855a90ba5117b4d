"""The rules that are sets: which items lists may show by them, and what users were shown already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from kgrec.errors import KgrecError, UnknownName, nearest, some
from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.graph.vocabulary import Vocabulary
from kgrec.serving.filters.fact_paths import path_of
from kgrec.serving.input_tables import InputTable
from kgrec.serving.rules.rule_settings import Freshness, Rules
from kgrec.sources.tables.text_streams import text_lines

TABLES = {".csv", ".tsv", ".parquet", ".jsonl"}  #: endings of files with columns, packed or not
LAST_YEAR = 9999  #: a column of numbers up to here is of years, else of unix seconds
MOST = 20_000  #: known ids among which a near one is looked for


@dataclass(frozen=True, eq=False)
class ItemSet:
    """The items that a rule leaves."""

    said: str  #: what to call the rule
    mask: np.ndarray  #: bool [I]
    note: str = ""  #: what was left out of what it names


def item_sets(rules: Rules, items: Vocabulary, node_type: str, *, skip_unknown: bool) -> Iterator[ItemSet]:
    """What the rules `blocked` and `in_stock` leave. node_type: what an item is called, for messages.

    Raises UnknownName for ids that are not there, unless they are skipped; KgrecError for a file that cannot be read.
    """
    for name in ("blocked", "in_stock"):
        listed: list[str] | str | None = getattr(rules, name)
        if not listed:
            if listed is not None and name == "in_stock":
                yield ItemSet(f"the rule {name} (no id is in stock)", np.zeros(len(items), bool))
            continue
        ids = _ids_in(rules.path(listed), name) if isinstance(listed, str) else listed
        number, note = known_ids(ids, items, node_type, f"rule {name}", skip_unknown=skip_unknown)
        mask = np.zeros(len(items), bool)
        mask[number[number >= 0]] = True
        yield ItemSet(f"the rule {name} ({len(ids):,} ids)", ~mask if name == "blocked" else mask, note)


def rule_conditions(rules: Rules, graph: Graph, node_type: str) -> list[tuple[str, str]]:
    """What the rules `price` and `freshness` ask, as conditions of filters: what to call each, and its text.

    Raises UnknownName for a column that is not there, KgrecError for one of another kind."""
    found = []
    if rules.price is not None:
        _column(graph, node_type, rules.price.column, "price")
        for operator, bound in ((">=", rules.price.min), ("<=", rules.price.max)):
            if bound is not None:
                found.append(("rule price", f"{rules.price.column}{operator}{bound!r}"))
    if rules.freshness is not None:
        first = _first(graph, node_type, rules.freshness)
        found.append(("rule freshness", f"{rules.freshness.column}>={first}"))
    return found


def _first(graph: Graph, node_type: str, rule: Freshness) -> str:
    """The first value of a column that is fresh: a day, a year, or unix seconds."""
    features = _column(graph, node_type, rule.column, "freshness")
    day = rule.first_day
    if any(feature.schema.kind != "numeric" for feature in features):
        return day.isoformat()
    numbers = np.concatenate([feature.values.numpy() for feature in features])
    if np.nanmax(numbers, initial=0) <= LAST_YEAR:
        return str(day.year + ((day.month, day.day) != (1, 1)))  # a year alone is its first day
    return str(int(np.datetime64(day, "s").astype(np.int64)))


def _column(graph: Graph, node_type: str, name: str, rule: str) -> list[Feature]:
    """The columns of a name, at the end of a path. Raises UnknownName, and KgrecError for what is no column."""
    try:
        path = path_of(graph, name, node_type)
    except KgrecError as error:
        raise type(error)(f"rule {rule}: {error}", value=error.value) from error
    if path.column is None:
        raise KgrecError(f"rule {rule}: {name!r} is no column; the name of a column of the items is wanted", value=name)
    return [graph.features[one][column] for one, column in sorted(path.column.columns)]


# ---------------------------------------------------------------------- ids


def known_ids(
    ids: Sequence[str], vocabulary: Vocabulary, node_type: str, said: str, *, skip_unknown: bool
) -> tuple[np.ndarray, str]:
    """Local numbers of ids, int64 [n], -1 for one that is not known, and a note of how many these are.

    Raises UnknownName for them unless they are skipped, with a near one."""
    number = vocabulary.find(list(ids))
    missing = list(dict.fromkeys(one for one, found in zip(ids, number) if found < 0))
    if not missing:
        return number, ""
    if skip_unknown:
        return number, f"{said}: left out {len(missing):,} ids that the run does not know, {some(missing)}"
    near = nearest(missing[0], vocabulary.ids(range(min(MOST, len(vocabulary)))))
    hint = f"did you mean {near!r}? " if near else ""
    known = some(vocabulary.ids(range(min(3, len(vocabulary)))))
    raise UnknownName(
        f"{said}: no {node_type} {some(missing)} among the {len(vocabulary):,} known; {hint}known are such as {known}; "
        "--skip-unknown leaves out what is not known",
        value=missing[0],
    )


def _ids_in(path: Path, name: str) -> list[str]:
    """The ids in a file: one in each line, or the column `item` of a table."""
    if not path.is_file():
        raise KgrecError(f"rule {name}: there is no file {path}; a file with an id a line or a column `item` is wanted")
    if TABLES & set(path.suffixes):
        table = InputTable.read(path, "a table with the column `item`")
        table.require("item")
        return list(table.ids("item").to_pylist())
    try:
        lines = [line.decode() for _, line in text_lines(path)]
    except (OSError, UnicodeDecodeError) as error:
        raise KgrecError(f"rule {name}: {path}: {error}; a text file with an id a line is wanted") from error
    return [line for line in lines if line]


@dataclass(frozen=True, eq=False)
class ShownPairs:
    """What users were shown already."""

    user: pa.Array  #: ids [n]
    item: np.ndarray  #: int64 [n], local numbers
    note: str = ""  #: what was left out

    @staticmethod
    def of(rules: Rules, items: Vocabulary, node_type: str, *, skip_unknown: bool) -> ShownPairs | None:
        """Those of the rule `recently_shown`; None without it. Raises as `item_sets`."""
        shown = rules.recently_shown
        if not shown:
            return None
        if isinstance(shown, str):
            path = rules.path(shown)
            if not path.is_file():
                raise KgrecError(
                    f"rule recently_shown: there is no file {path}; a table with columns user, item is wanted"
                )
            table = InputTable.read(path, "a table with the columns `user` and `item`")
            table.require("user", "item")
            user, item = table.ids("user"), table.ids("item").to_pylist()
        else:
            item = [one for listed in shown.values() for one in listed]
            user = pa.array([name for name, listed in shown.items() for _ in listed], pa.string())
        number, note = known_ids(item, items, node_type, "rule recently_shown", skip_unknown=skip_unknown)
        return ShownPairs(user.filter(pa.array(number >= 0)), number[number >= 0], note)

    def among(self, names: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
        """Which local user was shown which local item, int64 [m] each, of those who are known."""
        found = names.find(self.user)
        return found[found >= 0], self.item[found >= 0]

    def check_users(self, users: Vocabulary, node_type: str, new: Sequence[str] = (), *, skip_unknown: bool) -> None:
        """Raise UnknownName for users who are neither known nor new, unless they are skipped."""
        taken = set(new)
        names = [name for name in dict.fromkeys(self.user.to_pylist()) if name not in taken]
        if not skip_unknown:
            known_ids(names, users, node_type, "rule recently_shown", skip_unknown=False)
