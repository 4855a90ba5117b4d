"""Items that users have by other behaviours than the target relation and that are left out of their lists."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kgrec.evaluation.ranking import as_edges
from kgrec.graph import Graph
from kgrec.graph.behaviours import check_excluded


def excluded_edges(known: Graph, exclude: Sequence[str], *, keep_seen: bool = False) -> Graph | None:
    """The user-item pairs of some behaviours, as edges of one relation; None if `exclude` is empty.

    Raises what `check_excluded` raises."""
    edge_types = check_excluded(known.schema, exclude, keep_seen=keep_seen)
    if not edge_types:
        return None
    users, items = [], []
    for edge_type in edge_types:
        user, item = known.only(edge_type).edge_index
        if edge_type[0] != known.target[0]:
            user, item = item, user
        users.append(user)
        items.append(item)
    return as_edges(known.only(known.target), torch.cat(users), torch.cat(items))
