"""Which nodes have a value: of a column of theirs, or as their own id, label or IRI."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import KgrecError, UnknownName, nearest, some
from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.serving.filters.condition_text import ORDERS, Condition
from kgrec.serving.filters.fact_paths import FactPath, Masks
from kgrec.serving.filters.node_iris import ids_of_iris, is_iri

MOST = 20_000  #: known values among which a near one is looked for
LONGEST = 60  #: letters of a value that a message shows
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):?(\d\d)?.*)?)?)?Z?")
_PERIODS = ("Y", "M", "D", "h", "m")  #: what a date may be exact to, by how many of its parts are there


@dataclass(frozen=True)
class Matches:
    """What a condition says of the nodes at the end of its path."""

    has: Masks  #: which have any value at all
    meets: Masks  #: which have one of the condition's values; for `!=` those that it leaves out


def matches(graph: Graph, path: FactPath, asked: Condition) -> Matches:
    """Which nodes at the end of a path have a value, and which meet a condition.

    Raises UnknownName for values that none of them has, with the near ones; KgrecError for values of the wrong type and
    for columns that are not compared.
    """
    if path.column is None:
        return _of_nodes(graph, path, asked)
    has, meets, unknown = dict[str, np.ndarray](), dict[str, np.ndarray](), set(asked.values)
    known = list[str]()
    for node_type, name in sorted(path.column.columns):
        feature = graph.features[node_type][name]
        has[node_type] = ~feature.missing.numpy()
        meets[node_type], missed = _of_column(name, feature, asked)
        unknown &= missed
        known += _texts_in(feature)
    if unknown:
        raise _unknown_value(sorted(unknown), f"value of {path.name!r}", {text: text for text in known[:MOST]})
    return Matches(has, meets)


# ---------------------------------------------------------------------- columns


def _of_column(name: str, feature: Feature, asked: Condition) -> tuple[np.ndarray, set[str]]:
    """Which rows have one of the values, bool [N], and the values that are no value of the column."""
    kind = feature.schema.kind
    if kind == "vector":
        raise KgrecError(f"{name!r} is a column of vectors, which no condition is about; name another", value=name)
    if kind == "numeric":
        return _of_numbers(name, feature.values.numpy(), asked), set()
    if asked.operator in ORDERS:
        return _of_dates(name, feature, asked), set()
    if kind == "text":
        meets, missed = np.zeros(len(feature), bool), set()
        for value in asked.values:
            found = _equal(feature.values, value)
            meets |= found
            missed |= set() if found.any() else {value}
        return meets, missed
    codes = {category: code for code, category in enumerate(feature.schema.categories)}
    wanted = [codes[value] for value in asked.values if value in codes]
    return _having_any(feature, wanted), {value for value in asked.values if value not in codes}


def _of_numbers(name: str, numbers: np.ndarray, asked: Condition) -> np.ndarray:
    """numbers: float32 [N]; values are compared as such, so that 19.99 equals what was read from 19.99."""
    wanted = [_number(name, text) for text in asked.values]
    match asked.operator:
        case "<":
            found = numbers < wanted[0]
        case "<=":
            found = numbers <= wanted[0]
        case ">":
            found = numbers > wanted[0]
        case ">=":
            found = numbers >= wanted[0]
        case _:
            found = np.isin(numbers, np.array(wanted, np.float32))
    return found


def _number(name: str, text: str) -> np.float32:
    try:
        number = np.float32(text)
    except ValueError:
        number = np.float32("nan")
    if np.isnan(number):
        raise KgrecError(f"{name!r} is a column of numbers, and {text!r} is none; say a number such as 20", value=text)
    return number


def _having_any(feature: Feature, codes: Sequence[int]) -> np.ndarray:
    """Which rows of a categorical or multi column have one of some categories: bool [N]."""
    found = np.isin(feature.values.numpy(), codes)
    if feature.ptr is None:
        return found
    rows = np.repeat(np.arange(len(feature)), feature.ptr.diff().numpy())
    having = np.zeros(len(feature), bool)
    having[rows[found]] = True
    return having


def _of_dates(name: str, feature: Feature, asked: Condition) -> np.ndarray:
    """Which rows of a column of dates are before or after a date: bool [N]. Raises KgrecError for any other text."""
    if feature.schema.kind == "text":
        values = feature.values.dictionary_encode()
        texts, code = values.dictionary.to_pylist(), values.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        meets = _by_date(name, ["" if not text.strip() else text for text in texts], asked, "text")
        return (code >= 0) & meets[code] if len(texts) else np.zeros(len(feature), bool)
    meets = _by_date(name, feature.schema.categories, asked, "categories")
    return _having_any(feature, np.flatnonzero(meets).tolist())


def _by_date(name: str, texts: Iterable[str], asked: Condition, what: str) -> np.ndarray:
    """Which of some dates are before or after another, bool [n]; "" is none. The other, where it says a year or a month
    alone, is all of it; theirs then begin it. Raises KgrecError where one is no date."""
    texts = list(texts)
    periods = [_period(text) if text else None for text in texts]
    odd = [text for text, period in zip(texts, periods) if text and period is None]
    if odd or not any(texts):
        found = f"such as {some(map(_cut, odd), 2)}" if odd else "of which none is there"
        remedy = "" if what == "names" else ", or read the column as `numeric` in the recipe"
        raise KgrecError(
            f"{name!r} has {what}, {found}, and {asked.operator!r} compares numbers, or dates such as 2025-11-30; say "
            f"{name}=VALUE{remedy}",
            value=name,
        )
    wanted = _period(asked.values[0])
    if wanted is None:
        raise KgrecError(
            f"{name!r} has dates, such as {some([next(filter(None, texts))])}, and {asked.values[0]!r} is none; say a "
            "year, or a date such as 2025-11-30",
            value=asked.values[0],
        )
    start = np.array([period[0] if period else 0 for period in periods])
    compared = {
        "<": start < wanted[0],
        "<=": start < wanted[1],
        ">": start >= wanted[1],
        ">=": start >= wanted[0],
    }
    return compared[asked.operator] & np.array([period is not None for period in periods])


def _period(text: str) -> tuple[int, int] | None:
    """When a date begins and when the next begins, in minutes; None for what is no date. Time zones count for nothing.

    >>> [stop - start for start, stop in map(_period, ("2024", "2024-02", "2024-02-29T10:30"))]
    [527040, 41760, 1]
    >>> _period("soon"), _period("2025-02-29")
    (None, None)
    """
    found = _DATE.fullmatch(text.strip())
    if found is None:
        return None
    parts = [int(part) for part in found.groups() if part is not None]
    year, month, day, hour, minute = parts + [1, 1, 1, 0, 0][len(parts) :]
    try:
        moment = np.datetime64(datetime.datetime(year, month, day, hour, minute), "m")
    except ValueError:
        return None
    first = moment.astype(f"datetime64[{_PERIODS[len(parts) - 1]}]")
    return int(first.astype("datetime64[m]").astype(int)), int((first + 1).astype("datetime64[m]").astype(int))


def _texts_in(feature: Feature) -> list[str]:
    """The values of a column that are texts."""
    if feature.schema.kind == "text":
        return feature.values.slice(0, MOST).drop_null().unique().to_pylist()
    return list(feature.schema.categories)


# ---------------------------------------------------------------------- nodes


def _of_nodes(graph: Graph, path: FactPath, asked: Condition) -> Matches:
    """Which nodes at the end of a path are called so."""
    has = {node_type: np.ones(graph.schema.nodes[node_type].count, bool) for node_type in path.ends}
    if asked.operator in ORDERS:
        return Matches(has, {one: _by_date(path.name, _shown(graph, one), asked, "names") for one in path.ends})
    meets = {node_type: np.zeros_like(mask) for node_type, mask in has.items()}
    unknown = []
    for value in asked.values:
        ways = (partial(_by_id, value=value), partial(_by_label, value=value), partial(_by_iri, value=value))
        if not any(_mark(graph, meets, way) for way in ways):  # the first by which any is called so
            unknown.append(value)
    if unknown:
        names = dict[str, str]()
        for one in path.ends:
            names = _near_names(graph, one) | names
        raise _unknown_value(unknown, f"{' or '.join(path.ends)}", names)
    return Matches(has, meets)


def _mark(graph: Graph, meets: dict[str, np.ndarray], way: Callable[[Graph, str], np.ndarray]) -> bool:
    found = False
    for node_type, mask in meets.items():
        called = way(graph, node_type)
        mask |= called
        found |= bool(called.any())
    return found


def _by_id(graph: Graph, node_type: str, value: str) -> np.ndarray:
    return _equal(graph.vocabulary[node_type].id_array, value)


def _by_label(graph: Graph, node_type: str, value: str) -> np.ndarray:
    labels = graph.vocabulary[node_type].label_array
    return np.zeros(graph.schema.nodes[node_type].count, bool) if labels is None else _equal(labels, value)


def _by_iri(graph: Graph, node_type: str, value: str) -> np.ndarray:
    name = ids_of_iris(graph, node_type, [value])[0]
    found = np.zeros(graph.schema.nodes[node_type].count, bool)
    return found if name is None else _by_id(graph, node_type, name)


def _equal(texts: pa.Array, value: str) -> np.ndarray:
    """Where a text is this one: bool [N]."""
    same = pc.fill_null(pc.equal(texts, value), False)
    return np.asarray(same.to_numpy(zero_copy_only=False), dtype=bool)


def _shown(graph: Graph, node_type: str) -> list[str]:
    vocabulary = graph.vocabulary[node_type]
    return vocabulary.labels(range(len(vocabulary)))


def _near_names(graph: Graph, node_type: str) -> dict[str, str]:
    """What nodes may be called, with how to say it: their labels, their ids, and of IRIs the last part too."""
    vocabulary = graph.vocabulary[node_type]
    labels, ids = vocabulary.labels(range(MOST)), vocabulary.ids(range(MOST))
    found = {label: label for label in labels}
    for name, label in zip(ids, labels):
        found.setdefault(name, name)
        if is_iri(name):
            found.setdefault(re.split("[/#]", name.rstrip("/#"))[-1], label)
    return found


def _unknown_value(values: Sequence[str], what: str, known: Mapping[str, str]) -> UnknownName:
    """The error for values that are not there, with the near ones. known: by what is near, how to say it."""
    near = [known[near] for value in values if (near := nearest(value, known)) is not None]
    hint = f"did you mean {some(dict.fromkeys(map(_cut, near)))}? There" if near else "there"
    there = f"{hint} are {some(map(_cut, dict.fromkeys(known.values())), 3)}" if known else "there is none"
    return UnknownName(f"no {what} is {some(values)}; {there}", value=values[0])


def _cut(text: str) -> str:
    """A text for a message, of a long one the beginning."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
