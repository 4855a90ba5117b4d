"""Numbered parts to a graph: the one place where flat tensors are laid out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kgrec.errors import BadData
from kgrec.features import Feature
from kgrec.graph import NO_TIME, Candidates, Graph
from kgrec.schema import EdgeSchema, EdgeType, NodeSchema, Schema
from kgrec.vocabulary import Vocabulary


@dataclass(frozen=True)
class NodePart:
    """All nodes of one type, in the order of their local numbers."""

    vocabulary: Vocabulary
    features: Mapping[str, Feature] = field(default_factory=dict)  #: each of length N
    label: str = ""  #: the type's name in the source, an IRI for instance


@dataclass(frozen=True)
class EdgePart:
    """All edges of one type, in file order, which breaks ties in time."""

    source: np.ndarray  #: integer [E], local numbers
    target: np.ndarray  #: integer [E], local numbers
    time: np.ndarray | None = None  #: int64 [E], unix seconds or NO_TIME
    weight: np.ndarray | None = None  #: float32 [E]; None: 1
    features: Mapping[str, Feature] = field(default_factory=dict)  #: each of length E
    label: str = ""  #: the relation's name in the source, an IRI for instance
    inverse_of: str | None = None


def assemble(
    nodes: Mapping[str, NodePart],
    edges: Mapping[EdgeType, EdgePart],
    *,
    target: EdgeType | None = None,
    standard: Mapping[str, str] | None = None,
    splits: Mapping[str, np.ndarray] | None = None,
    candidates: Mapping[str, Candidates] | None = None,
) -> Graph:
    """One graph of node and edge parts. Raises BadData where a number is past its type's last node or lengths differ."""
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
    edge_index = torch.empty(2, ptr[-1], dtype=torch.long)
    time = torch.empty(ptr[-1], dtype=torch.long)
    weight = torch.empty(ptr[-1], dtype=torch.float32)
    for (edge, part), start, stop in zip(edges.items(), ptr, ptr[1:]):
        _same_length(f"relation {edge[1]!r}", len(part.source), part.features)
        for end, numbers, node_type in ((0, part.source, edge[0]), (1, part.target, edge[2])):
            _in_range(numbers, schema.nodes[node_type].count, edge, node_type)
            edge_index[end, start:stop] = _tensor(numbers)
        time[start:stop] = NO_TIME if part.time is None else _tensor(part.time)
        weight[start:stop] = 1.0 if part.weight is None else _tensor(part.weight)
    return Graph(
        schema,
        edge_index,
        ptr,
        time,
        weight,
        vocabulary={name: part.vocabulary for name, part in nodes.items()},
        features={name: dict(part.features) for name, part in nodes.items()},
        edge_features={edge: dict(part.features) for edge, part in edges.items() if part.features},
        origin_ptr=tuple((edge, start) for (edge, part), start in zip(edges.items(), ptr) if part.features),
        splits={name: _tensor(part).to(torch.int8) for name, part in (splits or {}).items()},
        candidates=dict(candidates or {}),
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def _same_length(what: str, length: int, features: Mapping[str, Feature]) -> None:
    wrong = {name: len(feature) for name, feature in features.items() if len(feature) != length}
    if wrong:
        raise BadData([f"{what} has {length} rows, and features of other lengths: {wrong}"])


def _in_range(numbers: np.ndarray, count: int, edge: EdgeType, node_type: str) -> None:
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
        raise BadData(
            [
                f"relation {edge[1]!r} names {node_type} numbers {numbers.min()} to {numbers.max()}; "
                f"there are {count} nodes of that type, 0 to {count - 1}"
            ]
        )
