"""Check arrays that somebody else made: compiled code reads them without looking at the bounds of each number."""

from __future__ import annotations

import itertools

import numpy as np
from torch import Tensor

from kgrec.graph.features import Feature
from kgrec.graph.mapped_files import blocks
from kgrec.graph.parts import GraphParts


def are_sound(parts: GraphParts, rows: dict[str, tuple[Tensor, Tensor, Tensor]]) -> bool:
    """Whether all numbers of a mapped graph are within its bounds. All of them are read. rows: ptr, edge and other of
    the edges grouped by either end."""
    counts = {name: node.count for name, node in parts.schema.nodes.items()}
    ptr = np.array(parts.relation_ptr)
    sound = ptr[0] == 0 and bool((np.diff(ptr) >= 0).all()) and len(ptr) == len(parts.edge_types) + 1
    sound = sound and parts.edge_index.shape == (2, ptr[-1])
    for edge, (start, stop) in zip(parts.edge_types, itertools.pairwise(parts.relation_ptr)):
        ends = ((parts.edge_index[end, start:stop], edge[2 * end]) for end in (0, 1))
        sound = sound and all(_within(numbers, 0, counts[name]) for numbers, name in ends)
    for starts, edges, other in rows.values():
        sound = sound and _is_ptr(starts, parts.num_nodes, parts.num_edges) and len(edges) == len(other) == ptr[-1]
        sound = sound and _within(edges, 0, parts.num_edges) and _within(other, 0, parts.num_nodes)
    sound = sound and all(_has_ids(parts, name, count) for name, count in counts.items())
    for name, columns in parts.features.items():
        sound = sound and all(_is_feature(column, counts[name]) for column in columns.values())
    sizes = dict(zip(parts.edge_types, np.diff(ptr).tolist()))
    for edge, columns in parts.edge_features.items():
        sound = sound and all(_is_feature(column, sizes[edge]) for column in columns.values())
    return sound and _are_published(parts, sizes)


def _within(numbers: Tensor, least: int, bound: int) -> bool:
    """Whether numbers are at least `least` and below `bound`."""
    limits = (numbers[rows].aminmax() for rows in blocks(len(numbers)))
    return all(least <= int(low) and int(high) < bound for low, high in limits)


def _is_ptr(ptr: Tensor, rows: int, last: int) -> bool:
    """Whether numbers divide a list of `last` entries into rows."""
    return len(ptr) == rows + 1 and int(ptr[0]) == 0 and int(ptr[-1]) == last and bool((ptr.diff() >= 0).all())


def _has_ids(parts: GraphParts, name: str, count: int) -> bool:
    vocabulary = parts.vocabulary[name]
    for texts in (vocabulary.id_array, vocabulary.label_array):
        if texts is not None:
            texts.validate(full=True)  # raises pa.ArrowInvalid
    return len(vocabulary) == count


def _is_feature(feature: Feature, count: int) -> bool:
    if len(feature) != count:
        return False
    if feature.schema.kind == "text":
        feature.values.validate(full=True)
    elif feature.schema.kind == "categorical":
        return _within(feature.values, -1, len(feature.schema.categories))
    elif feature.ptr is not None:
        sizes = _is_ptr(feature.ptr, count, len(feature.values))
        return sizes and _within(feature.values, 0, len(feature.schema.categories))
    return True


def _are_published(parts: GraphParts, sizes: dict[tuple[str, str, str], int]) -> bool:
    """Whether published splits and lists fit the target's edges and nodes."""
    target = parts.schema.target
    if target is None:
        return not parts.splits and not parts.candidates
    users, items = (parts.schema.nodes[target[end]].count for end in (0, 2))
    sound = all(len(part) == sizes[target] and _within(part, 0, 3) for part in parts.splits.values())
    for lists in parts.candidates.values():
        sound = sound and _is_ptr(lists.ptr, len(lists.user), len(lists.item))
        sound = sound and _within(lists.user, 0, users) and _within(lists.item, 0, items)
    return sound
