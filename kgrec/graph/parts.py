"""The plain parts of a graph: its schema and tensors, with nothing that is computed from them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from kgrec.errors import unknown_name
from kgrec.graph.features import Feature
from kgrec.graph.schema import EdgeType, Schema
from kgrec.graph.vocabulary import Vocabulary

NO_TIME = torch.iinfo(torch.int64).min  #: the time of an edge that has none; it is before every time


@dataclass(frozen=True, eq=False)
class Candidates:
    """For each of some users the items to rank: a set by protocol (NCF's one true and 99 drawn items)."""

    user: Tensor  #: LongTensor [n], local numbers, rising
    ptr: Tensor  #: LongTensor [n + 1]
    item: Tensor  #: LongTensor [ptr[-1]], local numbers


@dataclass(frozen=True, eq=False)
class GraphParts:
    """What a graph holds. Whoever makes or stores a graph deals in these; `Graph.of` makes a graph of them."""

    schema: Schema  #: node types, edge types and features
    edge_index: Tensor  #: LongTensor [2, E], local numbers
    relation_ptr: tuple[int, ...]  #: [R + 1], edges of the r-th edge type are relation_ptr[r] : relation_ptr[r + 1]
    time: Tensor  #: LongTensor [E], unix seconds; NO_TIME for facts
    weight: Tensor  #: FloatTensor [E], a rating or a count; 1 where the source has none
    vocabulary: Mapping[str, Vocabulary] = field(default_factory=dict)  #: empty in `Graph.empty`
    features: Mapping[str, Mapping[str, Feature]] = field(default_factory=dict)  #: by node type and column
    edge_features: Mapping[EdgeType, Mapping[str, Feature]] = field(default_factory=dict)  #: a row an edge, in order
    splits: Mapping[str, Tensor] = field(default_factory=dict)  #: int8 [target edges]: 0 train, 1 valid, 2 test
    candidates: Mapping[str, Candidates] = field(default_factory=dict)  #: by name, items to rank
    withheld: Tensor | None = None  #: LongTensor, flat nodes that training may not draw (cold items held out)
    #: what the columns and predicates of the source files mean, plain JSON data without paths of this machine, so that
    #: further rows can be read alike; None: the graph was not built from a recipe. No part of `content_hash`
    recipe: Mapping[str, Any] | None = None

    @property
    def node_types(self) -> list[str]:
        """The node types, in the order of their numbers."""
        return list(self.schema.nodes)

    @property
    def edge_types(self) -> list[EdgeType]:
        """The edge types as (source, relation, target), in the order of their numbers."""
        return list(self.schema.edges)

    @property
    def num_nodes(self) -> int:
        """Number of nodes of all types."""
        return self.schema.num_nodes

    @property
    def num_edges(self) -> int:
        """Number of edges of all types."""
        return self.edge_index.shape[1]

    @cached_property
    def ranges(self) -> dict[str, range]:
        """Flat numbers of each node type."""
        ends = list(itertools.accumulate(node.count for node in self.schema.nodes.values()))
        return {name: range(end - self.schema.nodes[name].count, end) for name, end in zip(self.schema.nodes, ends)}

    def edge_feature(self, edge_type: EdgeType, column: str) -> Feature:
        """A column of this relation's edges, in the order of this view's edges. Raises UnknownName."""
        columns = self.edge_features.get(edge_type, {})
        if column not in columns:
            raise unknown_name("edge feature", column, columns, f"of {'-'.join(edge_type)}")
        return columns[column]
