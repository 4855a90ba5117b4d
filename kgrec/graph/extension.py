"""Adds nodes and edges to a graph, at the end of their types."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph.assembly import unix_seconds
from kgrec.graph.features import Feature
from kgrec.graph.frame_columns import arrow_column, as_frame, feature_column, id_column, require, weight_column
from kgrec.graph.parts import NO_TIME
from kgrec.graph.schema import EdgeType

if TYPE_CHECKING:
    import pandas as pd

    from kgrec.graph.graph import Graph


def with_nodes(graph: Graph, new: Mapping[str, pd.DataFrame]) -> tuple[Graph, Tensor]:
    """The graph with nodes appended to their types, and the map from old to new flat numbers, LongTensor [N + 1], where
    pad maps to pad.

    Each frame has a column `id`, and optionally `label` and feature columns of the type; values of other features are
    missing. Raises UnknownName for an unknown node type, BadData for an id that the graph already has.
    """
    nodes, vocabulary, features = dict(graph.schema.nodes), dict(graph.vocabulary), dict(graph.features)
    for node_type, frame in new.items():
        if node_type not in nodes:
            raise unknown_name("node type", node_type, nodes, "in this graph")
        frame = as_frame(frame, f"the new {node_type} nodes")
        if "id" not in frame:
            raise KgrecError(f"the new {node_type} nodes have no column 'id'; they have {some(frame.columns, 20)}")
        schema = nodes[node_type]
        ids = id_column(frame, "id", f"new {node_type} nodes have no id")
        vocabulary[node_type] = vocabulary[node_type].extended(ids, frame.get("label"))
        features[node_type] = {
            name: _appended(feature, name, frame, f"the new {node_type} nodes")
            for name, feature in graph.features.get(node_type, {}).items()
        }
        columns = {name: feature.schema for name, feature in features[node_type].items()}
        nodes[node_type] = replace(schema, count=schema.count + len(frame), features=columns)
    bigger = replace(
        graph, schema=replace(graph.schema, nodes=nodes), vocabulary=vocabulary, features=features, withheld=None
    )
    shift = torch.cat(
        [torch.arange(len(old)) + bigger.ranges[name].start for name, old in graph.ranges.items()]
        + [torch.tensor([bigger.pad])]
    ).to(graph.device)
    if graph.withheld is not None:
        bigger = replace(bigger, withheld=shift[graph.withheld])
    return bigger, shift


def _appended(feature: Feature, name: str, frame: pd.DataFrame, what: str) -> Feature:
    old = feature.to_arrow()
    if name in frame:
        new = feature_column(frame, name, feature.schema, what).to_arrow()
    else:
        new = pa.nulls(len(frame), old.type)
    return Feature.from_arrow(pa.concat_arrays([old, new]), feature.schema)


def with_edges(graph: Graph, new: Mapping[EdgeType, pd.DataFrame]) -> Graph:
    """The graph with edges appended to their types. Stored splits and candidates are left out, because they belong to
    the old edges.

    Each frame has the columns `source` and `target` (external ids), and optionally `time`, `weight` and feature columns
    of the edges. Without a weight it is 1; values of other features are missing. Raises UnknownName for an unknown edge
    type or id, BadData for a missing id.
    """
    added = {_edge_type(graph, edge): as_frame(frame, f"the new {edge[1]!r} edges") for edge, frame in new.items()}
    ends, times, weights, edges, features = [], [], [], dict(graph.schema.edges), dict(graph.edge_features)
    for edge, start, stop in zip(graph.edge_types, graph.relation_ptr, graph.relation_ptr[1:]):
        ends.append(graph.edge_index[:, start:stop])
        times.append(graph.time[start:stop])
        weights.append(graph.weight[start:stop])
        if edge not in added or not len(added[edge]):
            continue
        frame, what = added[edge], f"the new {edge[1]!r} edges"
        index, time, weight = _edge_tensors(graph, edge, frame, what)
        ends.append(index.to(graph.device))
        times.append(time.to(graph.device))
        weights.append(weight.to(graph.device))
        columns = graph.edge_features.get(edge, {})
        if columns:
            features[edge] = {name: _appended(feature, name, frame, what) for name, feature in columns.items()}
            schemas = {name: feature.schema for name, feature in features[edge].items()}
            edges[edge] = replace(edges[edge], features={**edges[edge].features, **schemas})
    counts = (
        stop - start + len(added.get(edge, ()))
        for edge, start, stop in zip(graph.edge_types, graph.relation_ptr, graph.relation_ptr[1:])
    )
    return replace(
        graph,
        schema=replace(graph.schema, edges=edges),
        edge_index=torch.cat(ends, 1) if ends else graph.edge_index,
        relation_ptr=(0, *itertools.accumulate(counts)),
        time=torch.cat(times) if times else graph.time,
        weight=torch.cat(weights) if weights else graph.weight,
        edge_features=features,
        splits={},
        candidates={},
    )


def _edge_type(graph: Graph, edge: EdgeType) -> EdgeType:
    """The edge type itself. Raises UnknownName if the graph does not have it."""
    if edge not in graph.edge_types:
        raise unknown_name("edge type", "-".join(edge), ["-".join(one) for one in graph.edge_types], "in this graph")
    return edge


def _edge_tensors(graph: Graph, edge: EdgeType, frame: pd.DataFrame, what: str) -> tuple[Tensor, Tensor, Tensor]:
    """Local numbers of the ends, LongTensor [2, E], times, LongTensor [E], and weights, FloatTensor [E]."""
    require(frame, ("source", "target"), what)
    index = torch.stack(
        [
            graph.vocabulary[node_type].numbers(id_column(frame, end, f"{what} have no {node_type} id"), what=node_type)
            for end, node_type in (("source", edge[0]), ("target", edge[2]))
        ]
    )
    time = torch.full((len(frame),), NO_TIME)
    if "time" in frame:
        time = torch.from_numpy(np.array(unix_seconds(arrow_column(frame["time"], "time"), edge[1])))
    weight = torch.ones(len(frame))
    if "weight" in frame:
        weight = torch.from_numpy(np.array(weight_column(frame, edge[1])))
        if not bool(weight.isfinite().all()):
            raise KgrecError(f"{what} have a missing weight; fill it in, or leave the column out")
    return index, time, weight
