"""Popularity of items, for the popularity model and for users about whom a model knows nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from kgrec.graph.graph import Graph


def item_counts(graph: Graph, *, distinct: bool = True) -> Tensor:
    """The number of users who have each item by the target relation, FloatTensor [I]. distinct=False: the number of
    such edges instead.

    >>> import pandas as pd
    >>> rated = pd.DataFrame({"source": ["ann", "ann", "bob"], "target": ["x", "x", "y"]})
    >>> graph = Graph.from_frames(edges={("user", "rated", "item"): rated})
    >>> item_counts(graph).tolist(), item_counts(graph, distinct=False).tolist()
    ([1.0, 1.0], [2.0, 1.0])
    """
    num_items = len(graph.range(graph.target[2]))
    target = graph.only(graph.target)
    if not distinct or target.mapped is not None:
        items = graph.range(graph.target[2])
        count = target.index.num_users if distinct else target.index.num_in
        return count[items.start : items.stop].float()
    user, item = target.edge_index
    item = (user * num_items + item).unique() % num_items
    return torch.bincount(item, minlength=num_items).float()
