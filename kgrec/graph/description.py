"""A description of a graph as plain data: counts, degrees, times, features and so on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph.features import Feature
from kgrec.graph.graph import Graph
from kgrec.graph.parts import NO_TIME


def info(graph: Graph, samples: int = 3) -> dict[str, Any]:
    """Describes a graph: node types, relations, degrees, times, link coverage, features, splits. The result is plain
    data that JSON can hold.

    samples: number of example edges for each relation. They are evenly spaced from the first to the last, so they are
    the same each time.

    Shares are between 0 and 1. Entries that need a target relation are None if the graph has none.

    >>> import pandas as pd
    >>> rated = pd.DataFrame({"source": ["ann", "bob", "ann"], "target": ["Alien", "Alien", "Dune"], "time": [3, 5, 4]})
    >>> facts = info(Graph.from_frames(edges={("user", "rated", "film"): rated}))
    >>> facts["density"], facts["degrees"]["user"]["mean"], facts["time"]["last"]
    (0.75, 1.5, '1970-01-01T00:00:05Z')
    """
    has_target = graph.schema.target is not None
    return {
        "nodes": {name: {"count": node.count, "label": node.label} for name, node in graph.schema.nodes.items()},
        "relations": _relations(graph, samples),
        "target": list(graph.target) if has_target else None,
        "degrees": _degrees(graph) if has_target else None,
        "density": _density(graph) if has_target else None,
        "time": _time_range(graph),
        "links": _link_coverage(graph) if has_target else None,
        "features": {
            name: {column: _feature(feature) for column, feature in columns.items()}
            for name, columns in graph.features.items()
            if columns
        },
        "edge_features": {
            "-".join(edge): {column: _feature(feature) for column, feature in columns.items()}
            for edge, columns in graph.edge_features.items()
        },
        "splits": {
            name: dict(zip(("train", "valid", "test"), part.long().bincount(minlength=3).tolist()))
            for name, part in graph.splits.items()
        },
        "candidates": {
            name: {"users": len(lists.user), "items_per_user": _summary(lists.ptr.diff())}
            for name, lists in graph.candidates.items()
        },
        "standard": dict(graph.schema.standard),
        "clicks": _clicks(graph),
    }


def _clicks(graph: Graph) -> dict[str, int] | None:
    """How many target edges are clicks, and how many are not; None if they have no labels of clicks."""
    try:
        label = graph.clicks()
    except KgrecError:
        return None
    return {"clicks": int(label.sum()), "others": len(label) - int(label.sum())}


def _relations(graph: Graph, samples: int) -> list[dict[str, Any]]:
    sizes = zip(graph.schema.edges.items(), graph.relation_ptr, graph.relation_ptr[1:])
    return [
        {
            "source": source,
            "relation": relation,
            "target": target,
            "count": stop - start,
            "label": edge.label,
            "inverse_of": edge.inverse_of,
            "items": _num_items(graph, number),
            "sample": _sample(graph, number, samples),
        }
        for number, (((source, relation, target), edge), start, stop) in enumerate(sizes)
    ]


def _sample(graph: Graph, relation: int, most: int) -> list[dict[str, Any]]:
    """Example edges of a relation, by its number: both ends, weight, and the time or None."""
    start, stop = graph.relation_ptr[relation], graph.relation_ptr[relation + 1]
    rows = np.unique(np.linspace(start, stop - 1, min(most, stop - start)).round().astype(np.int64))
    source, _, target = graph.edge_types[relation]
    heads, tails = (_named(graph, name, graph.edge_index[end, rows]) for end, name in enumerate((source, target)))
    times, weights = graph.time[rows].tolist(), graph.weight[rows].tolist()
    return [
        {"source": head, "target": tail, "weight": weight, "time": None if time == NO_TIME else _moment(time)}
        for head, tail, weight, time in zip(heads, tails, weights, times)
    ]


def _named(graph: Graph, node_type: str, numbers: Tensor) -> list[dict[str, str | None]]:
    """Id and label of nodes, by local numbers; the label is None if it is missing or equal to the id."""
    vocabulary = graph.vocabulary[node_type]
    pairs = zip(vocabulary.ids(numbers), vocabulary.labels(numbers))
    return [{"id": name, "label": label if label != name else None} for name, label in pairs]


def _moment(seconds: int) -> str:
    return f"{np.datetime64(seconds, 's')}Z"


def _num_items(graph: Graph, relation: int) -> int | None:
    """How many items have an edge of a relation, by its number; None for a relation between other node types."""
    source, _, target = graph.edge_types[relation]
    item = graph.target[2] if graph.schema.target is not None else None
    edges = slice(graph.relation_ptr[relation], graph.relation_ptr[relation + 1])
    ends = [graph.edge_index[end, edges] for end, name in enumerate((source, target)) if name == item]
    return len(torch.cat(ends).unique()) if ends else None


def _degrees(graph: Graph) -> dict[str, dict[str, float]]:
    """Statistics of the number of target edges of each user and of each item; those without edges count as 0."""
    user, item = graph.only(graph.target).edge_index
    num_users, num_items = (graph.schema.nodes[graph.target[end]].count for end in (0, 2))
    return {
        "user": _summary(user.bincount(minlength=num_users)),
        "item": _summary(item.bincount(minlength=num_items)),
    }


def _summary(counts: Tensor) -> dict[str, float]:
    """Minimum, median, mean and maximum of counts, and how many of them are 0. counts: LongTensor [n]."""
    if not len(counts):
        return {"min": 0, "median": 0, "mean": 0, "max": 0, "without": 0}
    return {
        "min": int(counts.min()),
        "median": float(counts.double().quantile(0.5)) if len(counts) < 1 << 24 else float(counts.median()),
        "mean": float(counts.double().mean()),
        "max": int(counts.max()),
        "without": int((counts == 0).sum()),
    }


def _density(graph: Graph) -> float:
    """The share of pairs of user and item that have an edge of the target relation."""
    target = graph.only(graph.target)
    num_users, num_items = (graph.schema.nodes[graph.target[end]].count for end in (0, 2))
    pairs = (target.edge_index[0] * num_items + target.edge_index[1]).unique()
    return len(pairs) / max(1, num_users * num_items)


def _time_range(graph: Graph) -> dict[str, Any] | None:
    """First and last time of all edges that have one."""
    times = graph.time[graph.time != NO_TIME]
    if not len(times):
        return None
    first, last = int(times.min()), int(times.max())
    return {
        "first": _moment(first),
        "last": _moment(last),
        "first_unix": first,
        "last_unix": last,
        "edges_with_time": len(times),
    }


def _link_coverage(graph: Graph) -> dict[str, Any]:
    """How many items have at least one fact: an edge, in either direction, that is not an interaction."""
    items, facts = graph.range(graph.target[2]), graph.facts()
    has_fact = torch.zeros(graph.num_nodes + 1, dtype=torch.bool, device=graph.device)
    has_fact[facts.head] = True
    has_fact[facts.tail] = True
    has_fact = has_fact[items.start : items.stop]
    interacted = graph.only(graph.target).edge_index[1].bincount(minlength=len(items)) > 0
    return {
        "items": len(items),
        "with_facts": int(has_fact.sum()),
        "share": _share(has_fact),
        "interacted": int(interacted.sum()),
        "interacted_with_facts": int((has_fact & interacted).sum()),
        "interacted_share": _share(has_fact[interacted]),
    }


def _share(mask: Tensor) -> float:
    return float(mask.double().mean()) if len(mask) else 0.0


def _feature(feature: Feature) -> dict[str, Any]:
    """A feature's kind, its share of missing values (for a vector: all zeros), and its number of categories or its
    vector length if it has them."""
    kind, values = feature.schema.kind, feature.values
    if kind == "numeric":
        missing = _share(values.isnan())
    elif kind == "categorical":
        missing = _share(values < 0)
    elif kind == "multi":
        assert feature.ptr is not None
        missing = _share(feature.ptr.diff() == 0)
    elif kind == "vector":
        missing = _share((values == 0).all(dim=1))
    else:
        missing = values.null_count / max(1, len(values))
    described: dict[str, Any] = {"kind": kind, "missing": missing}
    if kind in ("categorical", "multi"):
        described["categories"] = len(feature.schema.categories)
    if kind == "vector":
        described["dim"] = feature.schema.dim
    return described
