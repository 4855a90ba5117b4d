"""Graphs from pandas frames and from PyG's HeteroData."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from kgrec.errors import BadData, KgrecError, some, unknown_name
from kgrec.graph.assembly import EdgePart, NodePart, assemble, unix_seconds
from kgrec.graph.features import Feature
from kgrec.graph.parts import GraphParts
from kgrec.graph.schema import EdgeType, FeatureKind, FeatureSchema, clean_name
from kgrec.graph.vocabulary import Vocabulary, as_strings

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


def parts_from_frames(
    edges: Mapping[EdgeType, pd.DataFrame],
    nodes: Mapping[str, pd.DataFrame],
    features: Mapping[str, Mapping[str, FeatureKind]],
    target: EdgeType | None,
) -> GraphParts:
    """See `Graph.from_frames`."""
    for name in features:
        if name not in nodes and name not in {edge[1] for edge in edges}:
            raise unknown_name("node frame or relation", name, [*nodes, *(edge[1] for edge in edges)])
    for edge, frame in edges.items():
        _require(frame, ("source", "target", *features.get(edge[1], {})), f"the frame of relation {edge[1]!r}")
    parts: dict[str, NodePart] = {}
    ends = [
        (edge[2 * end], frame[column])
        for edge, frame in edges.items()
        for end, column in enumerate(("source", "target"))
    ]
    for node_type in [*nodes, *dict.fromkeys(name for name, _ in ends)]:
        if node_type in parts:
            continue
        if node_type in nodes:
            parts[node_type] = _node_part(node_type, nodes[node_type], features.get(node_type, {}))
        else:
            named = pa.chunked_array([as_strings(ids) for name, ids in ends if name == node_type])
            parts[node_type] = NodePart(Vocabulary(pc.unique(named)))
    return assemble(
        parts,
        {edge: _edge_part(edge, frame, parts, features.get(edge[1], {})) for edge, frame in edges.items()},
        target=target or next(iter(edges), None),
    )


def _require(frame: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    for column in columns:
        if column not in frame:
            raise KgrecError(f"{what} has no column {column!r}; it has {some(frame.columns, 20)}")


def _node_part(node_type: str, frame: pd.DataFrame, kinds: Mapping[str, FeatureKind]) -> NodePart:
    _require(frame, ("id", *kinds), f"the frame of node type {node_type!r}")
    columns = {}
    for name in frame.columns.difference(["id", "label"], sort=False):
        column = _column(frame, name)
        columns[name] = Feature.from_arrow(column, kinds.get(name) or _kind_of(column, name))
    return NodePart(Vocabulary(frame["id"], frame.get("label")), columns)


def _column(frame: pd.DataFrame, name: str) -> pa.Array:
    values = frame[name]
    try:
        return pa.array(list(values) if values.dtype == object else values, from_pandas=True)
    except pa.ArrowException as error:
        raise KgrecError(f"column {name!r} mixes types: {error}") from error


def _kind_of(column: pa.Array, name: str) -> FeatureKind:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return "numeric"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return "categorical"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "vector" if pa.types.is_floating(kind.value_type) else "multi"
    raise KgrecError(f"column {name!r} of type {kind} is no feature; say its kind in features=")


def _edge_part(
    edge: EdgeType, frame: pd.DataFrame, parts: Mapping[str, NodePart], kinds: Mapping[str, FeatureKind]
) -> EdgePart:
    return EdgePart(
        source=_numbers(edge, frame["source"], edge[0], parts),
        target=_numbers(edge, frame["target"], edge[2], parts),
        time=unix_seconds(pa.array(frame["time"], from_pandas=True), edge[1]) if "time" in frame else None,
        weight=frame["weight"].to_numpy(np.float32, na_value=np.nan) if "weight" in frame else None,
        features={name: Feature.from_arrow(_column(frame, name), kind) for name, kind in kinds.items()},
    )


def _numbers(edge: EdgeType, ids: pd.Series, node_type: str, parts: Mapping[str, NodePart]) -> np.ndarray:
    if ids.isna().any():
        raise BadData([f"{ids.isna().sum()} edges of relation {edge[1]!r} have no {node_type} id"])
    names = as_strings(ids)
    found = parts[node_type].vocabulary.find(names)
    if (found < 0).any():
        unknown = pc.unique(names.filter(pa.array(found < 0))).to_pylist()
        raise BadData([f"relation {edge[1]!r} names {node_type} ids that have no node: {some(unknown)}"])
    return found


def parts_from_hetero(data: HeteroData, target: EdgeType | None) -> GraphParts:
    """See `Graph.from_hetero`."""
    name_of = {name: clean_name(name) for name in data.node_types}
    edge_of = {
        edge: (name_of.get(edge[0], ""), clean_name(edge[1]), name_of.get(edge[2], "")) for edge in data.edge_types
    }
    for node_type in dict.fromkeys([*data.node_types, *(edge[end] for edge in data.edge_types for end in (0, 2))]):
        if node_type not in name_of or data[node_type].num_nodes is None:
            raise KgrecError(f"how many {node_type!r} nodes there are is not known; set data[{node_type!r}].num_nodes")
    for named in (name_of, edge_of):
        if len(set(named.values())) < len(named):
            raise KgrecError(f"names differ only in characters that are cleaned away: {some(named, 20)}; rename one")
    nodes = {}
    for name in data.node_types:
        columns = {
            clean_name(str(key)): Feature(FeatureSchema("vector", dim=value.shape[1]), value.detach().cpu().float())
            for key, value in data[name].items()
            if isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 2
        }
        nodes[name_of[name]] = NodePart(Vocabulary(np.arange(data[name].num_nodes)), columns, label=name)
    edges = {}
    for edge, (head, relation, tail) in edge_of.items():
        store = data[edge]
        source, sink = store.edge_index.cpu().numpy()
        weight = next((store[k] for k in ("weight", "rating", "edge_attr") if k in store and store[k].dim() == 1), None)
        forward = relation.removeprefix("rev_")
        edges[head, relation, tail] = EdgePart(
            source,
            sink,
            time=store.time.cpu().numpy().astype(np.int64) if "time" in store else None,
            weight=None if weight is None else weight.cpu().numpy().astype(np.float32),
            label=edge[1],
            inverse_of=forward if forward != relation and (tail, forward, head) in edge_of.values() else None,
        )
    if target and target not in edge_of:
        raise unknown_name("edge type", "-".join(target), ["-".join(edge) for edge in edge_of], "in the HeteroData")
    chosen = edge_of[target] if target else next(iter(edges), None)
    return assemble(nodes, edges, target=chosen)
