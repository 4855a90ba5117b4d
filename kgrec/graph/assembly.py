"""Builds a graph's flat tensors from parts whose nodes are already numbered. No other place lays them out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from kgrec.errors import BadData
from kgrec.graph.features import Feature
from kgrec.graph.parts import NO_TIME, Candidates, GraphParts
from kgrec.graph.schema import EdgeSchema, EdgeType, NodeSchema, Schema
from kgrec.graph.vocabulary import Vocabulary
from kgrec.large_arrays import empty, spans


@dataclass(frozen=True)
class NodePart:
    """All nodes of one type, in the order of their local numbers."""

    vocabulary: Vocabulary
    features: Mapping[str, Feature] = field(default_factory=dict)  #: each of length N
    label: str = ""  #: the type's name in the source, for instance an IRI


@dataclass(frozen=True)
class EdgePart:
    """All edges of one type, in file order. The order matters for edges of equal time."""

    source: np.ndarray  #: integer [E], local numbers
    target: np.ndarray  #: integer [E], local numbers
    time: np.ndarray | None = None  #: int64 [E], unix seconds or NO_TIME
    weight: np.ndarray | None = None  #: float32 [E]; None: 1
    features: Mapping[str, Feature] = field(default_factory=dict)  #: each of length E
    label: str = ""  #: the relation's name in the source, for instance an IRI
    inverse_of: str | None = None  #: the relation that states the same facts in the other direction


def assemble(
    nodes: Mapping[str, NodePart],
    edges: Mapping[EdgeType, EdgePart],
    *,
    target: EdgeType | None = None,
    standard: Mapping[str, str] | None = None,
    splits: Mapping[str, np.ndarray] | None = None,
    candidates: Mapping[str, Candidates] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> GraphParts:
    """Assembles a graph from the parts of its node types and edge types.

    Raises BadData if a node number is outside its type, if lengths differ, or if a weight is not a finite number.
    """
    schema = Schema(
        nodes={
            name: NodeSchema(len(part.vocabulary), part.label, {c: f.schema for c, f in part.features.items()})
            for name, part in nodes.items()
        },
        edges={
            edge: EdgeSchema(part.label, part.inverse_of, {c: f.schema for c, f in part.features.items()})
            for edge, part in edges.items()
        },
        target=target,
        standard=dict(standard or {}),
    )
    if target is not None:
        schema.edge_types(target)
    for name, node_part in nodes.items():
        _same_length(f"node type {name!r}", len(node_part.vocabulary), node_part.features)
    ptr = (0, *itertools.accumulate(len(part.source) for part in edges.values()))
    edge_index, time = empty((2, ptr[-1]), np.int64), empty(ptr[-1], np.int64)
    weight = empty(ptr[-1], np.float32)
    for (edge, part), start, stop in zip(edges.items(), ptr, ptr[1:]):
        _same_length(f"relation {edge[1]!r}", len(part.source), part.features)
        for end, numbers, node_type in ((0, part.source, edge[0]), (1, part.target, edge[2])):
            check_numbers(numbers, schema.nodes[node_type].count, edge, node_type)
            edge_index[end, start:stop] = numbers
        time[start:stop] = NO_TIME if part.time is None else part.time
        with np.errstate(over="ignore"):  # becomes infinite, which raises an error below
            weight[start:stop] = 1.0 if part.weight is None else part.weight
        check_weights(edge, _count(np.isnan, weight[start:stop]), _count(np.isinf, weight[start:stop]))
    for name, parts in (splits or {}).items():
        lowest, highest = (int(parts.min()), int(parts.max())) if len(parts) else (0, 0)
        check_split(name, len(parts), lowest, highest, target, len(edges[target].source) if target is not None else 0)
    if target is not None:
        for lists in (candidates or {}).values():
            for numbers, node_type in ((lists.user.numpy(), target[0]), (lists.item.numpy(), target[2])):
                check_numbers(numbers, schema.nodes[node_type].count, target, node_type)
    return GraphParts(
        schema,
        torch.from_numpy(edge_index),
        ptr,
        torch.from_numpy(time),
        torch.from_numpy(weight),
        vocabulary={name: part.vocabulary for name, part in nodes.items()},
        features={name: dict(part.features) for name, part in nodes.items()},
        edge_features={edge: dict(part.features) for edge, part in edges.items() if part.features},
        splits={name: _tensor(part).to(torch.int8) for name, part in (splits or {}).items()},
        candidates=dict(candidates or {}),
        recipe=recipe,
    )


def unix_seconds(column: pa.Array | pa.ChunkedArray, relation: str) -> np.ndarray:
    """Times of edges in unix seconds, int64 [E]; NO_TIME for an empty value or NaN. Fractions of seconds are cut off.
    Timestamps without a time zone are taken as UTC.

    Raises BadData for a column of any other type, for instance text.
    """
    kind = column.type
    try:
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            column = column.cast(pa.timestamp("s", getattr(kind, "tz", None)), safe=False)
        elif pa.types.is_floating(kind):
            column = pc.floor(pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column))
        elif not pa.types.is_integer(kind) and not pa.types.is_null(kind):
            what = f"time of relation {relation!r} is a column of {kind}; unix seconds or timestamps are wanted"
            raise BadData(what, column="time", value=str(kind), kind="bad time")
        column = column.cast(pa.int64())
        return (pc.fill_null(column, NO_TIME) if column.null_count else column).to_numpy()
    except pa.ArrowException as error:
        what = f"time of relation {relation!r} is not unix seconds: {error}"
        raise BadData(what, column="time", kind="bad time") from error


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def _count(is_so: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> int:
    """For how many values something is so."""
    return sum(int(np.count_nonzero(is_so(values[span]))) for span in spans(len(values)))


def _same_length(what: str, length: int, features: Mapping[str, Feature]) -> None:
    wrong = {name: len(feature) for name, feature in features.items() if len(feature) != length}
    if wrong:
        message = f"{what} has {length} rows, but features of other lengths: {wrong}; give a value for each row"
        raise BadData(message, column=next(iter(wrong)), kind="wrong length")


def check_numbers(numbers: np.ndarray, count: int, edge: EdgeType, node_type: str) -> None:
    """Raise BadData if a local number of a node is outside its type. count: number of nodes of the type."""
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
        what = f"relation {edge[1]!r} uses the {node_type} numbers {numbers.min()} to {numbers.max()}"
        wanted = f"there are {count} nodes of that type, 0 to {count - 1}"
        raise BadData(f"{what}; {wanted}", value=str(numbers.max()), kind="dangling id")


def check_weights(edge: EdgeType, missing: int, infinite: int) -> None:
    """Raise BadData if edges of a relation have no weight, or an infinite one. missing, infinite: their numbers."""
    if missing:
        what = f"{missing} edges of relation {edge[1]!r} have no weight; fill them in, or leave the column out"
        raise BadData(what, column="weight", value=edge[1], kind="missing value")
    if infinite:
        what = f"{infinite} edges of relation {edge[1]!r} have a weight that is infinite or above 3.4e38; correct it"
        raise BadData(what, column="weight", value=edge[1], kind="bad number")


def check_split(name: str, rows: int, lowest: int, highest: int, target: EdgeType | None, wanted: int) -> None:
    """Raise BadData if a published split does not fit the target's edges. rows: its number of rows; lowest, highest: of
    its codes; wanted: number of the target's edges."""
    if target is None or rows != wanted:
        found = "there is no target relation" if target is None else f"{target[1]!r} has {wanted}"
        what = f"split {name!r} has {rows} rows, but {found}; give one row for each edge of the target"
        raise BadData(what, value=name, kind="wrong length")
    if rows and not 0 <= lowest <= highest <= 2:
        what = f"split {name!r} has parts {lowest} to {highest}; use 0 for train, 1 for valid, 2 for test"
        raise BadData(what, value=name, kind="bad split")
