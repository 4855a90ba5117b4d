"""Groups of users that somebody lists, in a file, a table or a mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from kgrec.errors import KgrecError
from kgrec.evaluation.user_groups import checked_groups
from kgrec.graph import Graph
from kgrec.serving.input_tables import InputTable, id_list

WANTED = "a CSV, Parquet or JSON lines file with the columns user and group"


def listed_groups(graph: Graph, groups: Any) -> pd.Series:
    """The group of each listed user: texts, by external id. Others are in no group, and count in no group's metrics.

    groups: the path of a file, or a table, with the columns `user` and `group`; or a mapping or Series of user to
    group. Raises UnknownName for users that are not in the graph, KgrecError for one who is listed twice, and where
    there is only one group, or more than 50."""
    table = InputTable.read(groups, WANTED) if isinstance(groups, Path) else InputTable.of(groups, "groups")
    if table is not None:
        table.require("user", "group")
        users, names, what = table.ids("user"), table.ids("group"), table.name
    else:
        listed = pd.Series(groups, dtype=object)
        users, names, what = id_list(listed.index.tolist(), "users"), id_list(listed.tolist(), "groups"), "groups"
    source = graph.target[0]
    graph.vocabulary[source].numbers(users, what=source)
    found = pd.Series(names.to_pylist(), index=users.to_pylist(), dtype=object, name=what)
    twice = found.index[found.index.duplicated()]
    if len(twice):
        raise KgrecError(f"{what} lists {source} {twice[0]!r} twice; each has one group")
    return checked_groups(found, what)
