"""Whether a model serves groups of users equally well: metrics by the values of a column of users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from kgrec.errors import KgrecError, unknown_name
from kgrec.graph import NO_TIME, Graph

if TYPE_CHECKING:
    import pandas as pd

NO_VALUE = "(no value)"  #: the group of users without a value
GAP = "gap"  #: the groups by the time from a user's last known interaction to the first held-out one
GAPS = {"0 s": 1, "under 60 s": 60, "under 1 day": 86_400, "1 day or more": None}  #: up to how many seconds
MOST_GROUPS = 50  #: a column with more values does not make groups
MOST_NUMBERS = 10  #: a column with more different numbers is cut into four parts
NEVER = torch.iinfo(torch.int64).max
NORMAL = 1.959964  #: 95 % of a normal distribution is within so many standard deviations


def user_groups(graph: Graph, column: str) -> pd.Series:
    """The group of each user by a column: texts, by external id. Numbers with more than 10 different values are cut at
    their quartiles; users without a value are a group of their own, `(no value)`.

    Raises UnknownName for a column that users do not have, KgrecError for one of vectors or of several values a user,
    and for one that makes one group or more than 50.
    """
    import pandas as pd  # takes its time to come

    source = graph.target[0]
    columns = graph.features.get(source, {})
    if column not in columns:
        if not columns:
            raise KgrecError(
                f"there is no column {column!r} to group by: nodes of type {source!r} have no column; name user "
                "columns in the recipe (`nodes:`, `features:`) and build the graph again"
            )
        raise unknown_name("column", column, columns, f"of {source}")
    feature, ids = columns[column], graph.vocabulary[source].id_array.to_pylist()
    match feature.schema.kind:
        case "categorical" | "text":
            names = [NO_VALUE if value is None else str(value) for value in feature.to_arrow().to_pylist()]
            found = pd.Series(names, index=ids, dtype=object)
        case "numeric":
            found = _of_numbers(pd.Series(feature.values.cpu().numpy(), index=ids))
        case kind:
            raise KgrecError(
                f"{column!r} is a column of {'vectors' if kind == 'vector' else 'several values a user'}, which does "
                "not put each user into one group; name a column of categories or numbers"
            )
    return checked_groups(found, column)


def checked_groups(found: pd.Series, column: str) -> pd.Series:
    """The same groups. Raises KgrecError where there is one, or far too many."""
    number = found.nunique()
    if number < 2:
        raise KgrecError(
            f"all {len(found):,} users have the same value {found.iloc[0] if len(found) else ''!r} in {column!r}, so "
            "there is nothing to compare; name a column with two values or more"
        )
    if number > MOST_GROUPS:
        raise KgrecError(
            f"{column!r} has {number:,} different values, which makes groups too small to compare; name a column with "
            f"at most {MOST_GROUPS}"
        )
    return found


def gap_groups(known: Graph, held: Graph) -> pd.Series:
    """The group of each user with held-out edges by the time from the last known target edge to the first held-out one:
    `0 s`, `under 60 s`, `under 1 day` or `1 day or more`, by external id; `(no value)` where one of the times is not
    known or the held-out edge is the earlier one. Raises KgrecError where all are in one group."""
    import pandas as pd  # takes its time to come

    known, held = known.only(known.target), held.only(held.target)
    users = held.range(held.target[0])
    last = torch.full((len(users),), NO_TIME)
    last.scatter_reduce_(0, (known.head - users.start).cpu(), known.time.cpu(), "amax")
    first = torch.full((len(users),), NEVER)
    timed = (held.time != NO_TIME).cpu()
    first.scatter_reduce_(0, (held.head - users.start).cpu()[timed], held.time.cpu()[timed], "amin")
    is_known = (last != NO_TIME) & (first != NEVER) & (first >= last)
    gap = (first - last.masked_fill(~is_known, 0)).masked_fill(~is_known, -1).numpy()
    bounds = [seconds for seconds in GAPS.values() if seconds is not None]
    place = np.where(gap < 0, len(GAPS), np.searchsorted(bounds, gap, side="right"))
    asked = held.head.unique().cpu() - users.start
    kinds = np.array([*GAPS, NO_VALUE], dtype=object)
    names = pd.Categorical(kinds[place[asked.numpy()]], categories=kinds, ordered=True)
    return checked_groups(pd.Series(names, index=held.vocabulary[held.target[0]].ids(asked)), GAP)


def _of_numbers(values: pd.Series) -> pd.Series:
    known = values.dropna()
    if known.nunique() <= MOST_NUMBERS:
        names = known.map(lambda number: f"{number:g}")
    else:
        edges = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
        place = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, len(edges) - 2)
        names = known.copy().astype(object)
        names[:] = [f"{edges[one]:g} to {edges[one + 1]:g}" for one in place]
    return names.astype(object).reindex(values.index).fillna(NO_VALUE)


def by_group(values: pd.DataFrame | pa.Table, groups: pd.Series) -> dict[str, dict[str, Any]]:
    """Metrics of users by group. values: a row for each user and a column for each metric, with the users' ids as
    index, or as column `user` of a table; NaN or null where a user has none. groups: the group of each user by id.

    For each metric: `groups`, and for each its `users`, the `mean` and its 95 % `interval`, mean -/+ 1.96 s / sqrt(n),
    with s the standard deviation of the n users (null for a single user); `gap`, the highest mean less the lowest;
    `ratio`, the lowest mean divided by the highest (null if that is 0), which is 1 where groups are served equally; and
    `lowest` and `highest`, the names of these groups. Raises KgrecError where all users with a value are in one group.

    >>> import pandas as pd
    >>> values = pd.DataFrame({"recall@10": [0.5, 0.7, 0.2]}, index=["ann", "eve", "bob"])
    >>> found = by_group(values, pd.Series({"ann": "F", "eve": "F", "bob": "M"}))["recall@10"]
    >>> round(found["gap"], 4), round(found["ratio"], 4), found["lowest"]
    (0.4, 0.3333, 'M')
    """
    if isinstance(values, pa.Table):
        values = values.to_pandas(ignore_metadata=True).set_index("user")
    own = groups.reindex(values.index)
    if own.nunique() < 2:
        raise KgrecError(
            f"all {len(values):,} users who are measured are in one group, {own.iloc[0] if len(own) else 'none'!r}, so "
            "there is nothing to compare; group by another column"
        )
    return {str(name): _of_metric(values[name].dropna(), own) for name in values if values[name].notna().any()}


def _of_metric(values: pd.Series, own: pd.Series) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in values.groupby(own.reindex(values.index), sort=True, observed=True):
        mean, users = float(part.mean()), len(part)
        half = NORMAL * float(part.std()) / users**0.5 if users > 1 else None
        found[str(name)] = {
            "users": users,
            "mean": mean,
            "interval": None if half is None else [mean - half, mean + half],
        }
    means = {name: one["mean"] for name, one in found.items()}
    lowest, highest = min(means, key=lambda name: means[name]), max(means, key=lambda name: means[name])
    ratio = means[lowest] / means[highest] if means[highest] else None
    gap = means[highest] - means[lowest]
    return {"groups": found, "gap": gap, "ratio": ratio, "lowest": lowest, "highest": highest}
