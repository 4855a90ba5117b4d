"""The plain parts of a graph: its schema and tensors, without anything that is computed from them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kgrec.errors import unknown_name
from kgrec.graph.features import Feature
from kgrec.graph.schema import EdgeType, Schema
from kgrec.graph.vocabulary import Vocabulary

if TYPE_CHECKING:
    from kgrec.graph.mapped_edges import MappedEdges

NO_TIME = torch.iinfo(torch.int64).min  #: stands for the time of an edge without one; it is before every other time


@dataclass(frozen=True, eq=False)
class Candidates:
    """Published lists of items to rank for some users, as a protocol defines them (for NCF: one true item and 99 others
    for each user)."""

    user: Tensor  #: LongTensor [n], local numbers, ascending
    ptr: Tensor  #: LongTensor [n + 1]
    item: Tensor  #: LongTensor [ptr[-1]], local numbers


@dataclass(frozen=True, eq=False)
class GraphParts:
    """The contents of a graph. Code that builds or stores graphs uses this class; `Graph.of` turns it into a graph."""

    schema: Schema  #: node types, edge types and features
    edge_index: Tensor  #: LongTensor [2, E], local numbers
    relation_ptr: tuple[int, ...]  #: [R + 1], edges of the r-th edge type are relation_ptr[r] : relation_ptr[r + 1]
    time: Tensor  #: LongTensor [E], unix seconds; NO_TIME for facts
    weight: Tensor  #: FloatTensor [E], a rating or a count; 1 if the source has none
    vocabulary: Mapping[str, Vocabulary] = field(default_factory=dict)  #: empty in `Graph.empty`
    features: Mapping[str, Mapping[str, Feature]] = field(default_factory=dict)  #: by node type and column
    edge_features: Mapping[EdgeType, Mapping[str, Feature]] = field(default_factory=dict)  #: a row for each edge
    splits: Mapping[str, Tensor] = field(default_factory=dict)  #: int8 [target edges]: 0 train, 1 valid, 2 test
    candidates: Mapping[str, Candidates] = field(default_factory=dict)  #: by name, items to rank
    withheld: Tensor | None = (
        None  #: LongTensor, flat nodes that training may not sample (cold items that are held out)
    )
    #: the recipe: what the columns and predicates of the source files mean, so that more rows can be read the same way.
    #: Plain JSON data without local paths; None: the graph was not built from a recipe. Not part of `content_hash`
    recipe: Mapping[str, Any] | None = None
    arrays: MappedEdges | None = None  #: the files that the edges are mapped from; see `mapped`

    @cached_property
    def mapped(self) -> MappedEdges | None:
        """The files that the edges are mapped from; None: they are in memory."""
        return self.arrays if self.arrays is not None and self.arrays.is_of(self) else None

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
        """The range of flat numbers of each node type."""
        ends = list(itertools.accumulate(node.count for node in self.schema.nodes.values()))
        return {name: range(end - self.schema.nodes[name].count, end) for name, end in zip(self.schema.nodes, ends)}

    def edge_feature(self, edge_type: EdgeType, column: str) -> Feature:
        """A feature column of an edge type, in the order of its edges. Raises UnknownName."""
        columns = self.edge_features.get(edge_type, {})
        if column not in columns:
            raise unknown_name("edge feature", column, columns, f"of {'-'.join(edge_type)}")
        return columns[column]
