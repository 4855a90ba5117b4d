"""What is said of nodes that a run does not know: columns of a table, read as the run's recipe reads them, as features
by the schema of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.column_texts import texts_of_values
from kgrec.errors import BadData, Fault, KgrecError, UnknownName, nearest, some, unknown_name
from kgrec.graph.features import Feature
from kgrec.graph.schema import FeatureSchema, Schema
from kgrec.pandas_values import is_series
from kgrec.serving.input_tables import InputTable, is_one_id
from kgrec.training.run_folder import read_schema
from kgrec.training.trained_model import TrainedModel

WANTED = "a table with the column `user` and columns of users, or a mapping of these columns to values for one user"
HISTORY = ("item", "time", "weight", "behaviour")  #: columns of a history, which may stand in the same table
NAMED = 5  #: values that an error names


@dataclass(frozen=True, eq=False)
class Profile:
    """Columns of some new users. U users."""

    names: list[str]  #: [U], in order of first appearance
    columns: Mapping[str, Feature]  #: by name, a row a user
    notes: tuple[str, ...]  #: what was left out


@dataclass(frozen=True)
class ColumnRule:
    """How a recipe reads a column as a feature."""

    source: str  #: the column's name in the recipe's own files
    split: str | None  #: what stands between several values
    missing: tuple[str, ...]  #: values that stand for none


def whole_schema(run: TrainedModel) -> Schema:
    """The schema that the run's model was built from, with all features."""
    if run.has_facts or run.path is None:
        return run.graph.schema
    return read_schema(run.path)


def column_rules(recipe: Mapping[str, Any] | None, node_type: str) -> tuple[list[str], dict[str, ColumnRule]]:
    """How a recipe calls the ids of a node type, and how it reads each of the type's features; nothing where a graph
    has no recipe."""
    tables = ((recipe or {}).get("nodes", {}).get(node_type) or {}).get("tables", [])
    ids = list(dict.fromkeys(table["id"] for table in tables))
    rules = {
        name: ColumnRule(feature.get("column") or name, feature.get("split"), tuple(table.get("missing") or ("",)))
        for table in tables
        for name, feature in table.get("features", {}).items()
    }
    return ids, rules


def read_profile(
    run: TrainedModel, profile: Any, user: str, wanted: Iterable[str], *, skip_unknown: bool, shared: bool = False
) -> Profile:
    """The columns of new users, of those that the model reads: see `Run.recommend` for what a profile may be.

    user: whose it is where it names nobody, "": nobody's; wanted: the columns that the model reads; skip_unknown: leave
    out columns that are not there, and take categories that training has not seen as missing; shared: whether the table
    is a history too.

    Raises UnknownName for columns and categories that are not there, BadData for values of another kind and where a
    user has two values, KgrecError for a form that is not read.
    """
    table = _as_table(profile, user)
    node_type = run.graph.target[0]
    schema = whole_schema(run).nodes[node_type].features
    ids, rules = column_rules(run.graph.recipe, node_type)
    id_column = next((name for name in ("user", *ids, "id") if name in table), None)
    if id_column is None and (len(table) > 1 or not user):
        table.require("user")
    found, left_out = {}, list[str]()
    for name in table.names:
        feature = _feature_called(name, schema, rules)
        if feature is not None:
            found[feature] = name
        elif name == id_column or (shared and name in HISTORY) or _is_other(run, node_type, name):
            continue
        elif skip_unknown:
            left_out.append(name)
        else:
            known = [*schema, *(rule.source for rule in rules.values())]
            message = str(unknown_name("column", name, known, f"of {node_type}"))
            raise UnknownName(
                Fault(message, table.name, column=name, value=name, kind="unknown column", file_is="named")
            )
    users = table.ids(id_column).to_pylist() if id_column else [user] * len(table)
    names = list(dict.fromkeys(users))
    row = _rows(users, names)
    read = [name for name in wanted if name in found]
    notes, columns = _unread(run, found, read), {}
    if left_out:
        notes.append(f"left out: columns {some(left_out)}, which the graph does not have")
    for name in read:
        rule = rules.get(name, ColumnRule(name, None, ("",)))
        values = _one_each(table, found[name], users, names, row, rule.missing)
        columns[name] = _feature(table, found[name], values, schema[name], rule, skip_unknown, notes)
    return Profile(names, columns, tuple(notes))


def _unread(run: TrainedModel, found: Mapping[str, str], read: Sequence[str]) -> list[str]:
    """What is said of columns that the model does not read."""
    left = [name for name in found if name not in read]
    if not left:
        return []
    if not read:
        return [f"{run.name} reads no column of users, and leaves out {some(left)}; train it with features of users"]
    return [f"{run.name} does not read {some(left)} of a profile"]


def _as_table(profile: Any, user: str) -> InputTable:
    """Any form of profile as a table."""
    if isinstance(profile, Path):
        if profile.suffix != ".parquet" and profile.is_file() and not profile.stat().st_size:
            raise KgrecError(f"{profile} is empty; {WANTED} is wanted")
        table: InputTable | None = InputTable.read(profile, "a CSV, Parquet or JSON lines file with a column `user`")
    else:
        table = InputTable.of(profile, "profile")
    if table is None and isinstance(profile, Mapping) and profile:
        import pandas as pd  # takes its time to come

        rows = profile if all(isinstance(one, Mapping) for one in profile.values()) else {user: profile}
        frame = pd.DataFrame([{**columns} for columns in rows.values()], dtype=object)
        if "user" in frame:
            raise KgrecError("profile is a mapping of users that has the column 'user' too; leave that out")
        frame.insert(0, "user", [str(name) if is_one_id(name) else name for name in rows])
        table = InputTable.of(frame, "profile")
    if table is None:
        hint = "; for a file give a pathlib.Path" if isinstance(profile, str) else ""
        raise KgrecError(f"profile is a {type(profile).__name__}; {WANTED} is wanted{hint}")
    if not len(table):
        raise KgrecError(f"{table.name} has no row; a new user needs one")
    return table


def _feature_called(column: str, schema: Mapping[str, FeatureSchema], rules: Mapping[str, ColumnRule]) -> str | None:
    """The feature that a column is, by its name or by that in the recipe's files; None: none."""
    if column in schema:
        return column
    return next((name for name, rule in rules.items() if rule.source == column and name in schema), None)


def _is_other(run: TrainedModel, node_type: str, column: str) -> bool:
    """Whether a column is one that the recipe knows, though it is no feature: a label, the end of a fact."""
    tables = ((run.graph.recipe or {}).get("nodes", {}).get(node_type) or {}).get("tables", [])
    known = {"label"}
    for table in tables:
        known |= {table["id"], table.get("label"), *(table.get("columns") or ())}
        known |= {edge.get("column") or relation for relation, edge in table.get("edges", {}).items()}
    return column in known


def _rows(users: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The row of a table where each user stands first: int64 [U]."""
    first: dict[str, int] = {}
    for row, name in enumerate(users):
        first.setdefault(name, row)
    return np.array([first[name] for name in names], dtype=np.int64)


def _one_each(
    table: InputTable,
    column: str,
    users: Sequence[str],
    names: Sequence[str],
    row: np.ndarray,
    missing: Sequence[str],
) -> list[object]:
    """The value of each user, None where there is none, [U]. Raises BadData where one has two."""
    import pandas as pd  # takes its time to come

    found: dict[str, object] = {}
    values = table.columns[column]
    for number, (name, value) in enumerate(zip(users, values.tolist() if is_series(values) else values.to_pylist())):
        if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
            continue
        if isinstance(value, str) and (value in missing or not value):
            continue
        value = list(value) if isinstance(value, list | tuple | np.ndarray) or is_series(value) else value
        if found.setdefault(name, value) != value:
            message = f"{column} of {name!r} is {value!r}, and {found[name]!r} in another row; a user has one"
            raise BadData(table.fault(message, number, column, value, "two values"))
    return [found.get(name) for name in names]


def _feature(
    table: InputTable,
    column: str,
    values: list[object],
    schema: FeatureSchema,
    rule: ColumnRule,
    skip_unknown: bool,
    notes: list[str],
) -> Feature:
    """The values of users [U], None where there is none, as a feature of the schema's kind and categories."""

    def wrong(value: object, wanted: str) -> BadData:
        return BadData(Fault(f"{column} {value!r} is no {wanted}", table.name, None, column, str(value), "bad value"))

    match schema.kind:
        case "numeric":
            return Feature.from_arrow(pa.array([_number(one, wrong) for one in values], pa.float32()), schema)
        case "categorical":
            for one in values:
                if isinstance(one, list):
                    raise wrong(one, "single category; it has one value")
            texts = texts_of_values(values, column)
            _require_seen(table, column, texts, schema, skip_unknown, notes)
            return Feature.from_arrow(texts, schema)
        case "multi":
            lists = [None if one is None else _parts(one, rule.split) for one in values]
            flat = texts_of_values([part for one in lists for part in one or ()], column)
            _require_seen(table, column, flat, schema, skip_unknown, notes)
            ends = np.cumsum([0, *(len(one or ()) for one in lists)])
            return Feature.from_arrow(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat), schema)
        case "vector":
            found = [
                None if one is None else [_number(part, wrong) for part in _parts(one, rule.split)] for one in values
            ]
            for one in found:
                if one is not None and len(one) != schema.dim:
                    raise wrong(one, f"vector of {schema.dim} numbers")
            return Feature.from_arrow(pa.array(found, pa.list_(pa.float32())), schema)
        case "text":
            notes.append(f"{column}: texts of new users are left out, as texts became vectors together")
            return Feature.from_arrow(pa.nulls(len(values), pa.string()), schema)


def _parts(value: object, split: str | None) -> list[Any]:
    """Several values of one field."""
    if isinstance(value, list):
        return value
    if isinstance(value, str) and split:
        return [part.strip() for part in value.split(split) if part.strip()]
    return [value]


def _number(value: object, wrong: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise wrong(value, "number") from None
    if not np.isfinite(number) or isinstance(value, bool):
        raise wrong(value, "finite number")
    return number


def _require_seen(
    table: InputTable,
    column: str,
    texts: pa.Array,
    schema: FeatureSchema,
    skip_unknown: bool,
    notes: list[str],
) -> None:
    """Raise UnknownName for categories that the graph does not have, or say that they are left out."""
    unknown = [one for one in pc.unique(texts.drop_null()).to_pylist() if one not in set(schema.categories)]
    if not unknown:
        return
    if skip_unknown:
        notes.append(f"left out: {column} {some(unknown)}, which training has not seen")
        return
    near = nearest(unknown[0], schema.categories)
    known = f"did you mean {near!r}?" if near is not None else f"it has {some(schema.categories, NAMED)}."
    message = (
        f"no category {some(unknown)} of {column} in training; {known} Fix it, or leave the value empty "
        "(skip_unknown does so)"
    )
    raise UnknownName(Fault(message, table.name, None, column, unknown[0], "unknown category"))
