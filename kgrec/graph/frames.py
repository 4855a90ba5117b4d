"""Builds graphs from pandas frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, KgrecError, some, unknown_name
from kgrec.graph.assembly import EdgePart, NodePart, assemble, unix_seconds
from kgrec.graph.frame_columns import arrow_column, as_frame, feature_column, id_column, require, weight_column
from kgrec.graph.parts import GraphParts
from kgrec.graph.schema import EdgeType, FeatureKind, free_names
from kgrec.graph.vocabulary import Vocabulary

Kinds = Mapping[str, FeatureKind]


def parts_from_frames(
    edges: Mapping[EdgeType, pd.DataFrame],
    nodes: Mapping[str, pd.DataFrame],
    features: Mapping[str, Kinds],
    target: EdgeType | None,
) -> GraphParts:
    """See `Graph.from_frames`."""
    refuse_odd_names(edges, nodes)
    for name in features:
        if name not in nodes and name not in {edge[1] for edge in edges}:
            raise unknown_name("node frame or relation", name, [*nodes, *(edge[1] for edge in edges)])
    edge_frames = {edge: as_frame(frame, f"the frame of relation {edge[1]!r}") for edge, frame in edges.items()}
    type_names = free_names([*nodes, *(edge[end] for edge in edges for end in (0, 2))])
    relation_names = free_names(edge[1] for edge in edges)
    ids: dict[EdgeType, tuple[pa.Array, pa.Array]] = {}
    for edge, frame in edge_frames.items():
        require(frame, ("source", "target", *features.get(edge[1], {})), f"the frame of relation {edge[1]!r}")
        ids[edge] = _end_ids(frame, edge, "source"), _end_ids(frame, edge, "target")
    parts: dict[str, NodePart] = {}
    ends = [(edge[2 * end], names) for edge, both in ids.items() for end, names in enumerate(both)]
    for node_type in dict.fromkeys([*nodes, *(name for name, _ in ends)]):
        label = node_type if type_names[node_type] != node_type else ""
        if node_type in nodes:
            part = _node_part(node_type, nodes[node_type], features.get(node_type, {}), label)
        else:
            named = pa.chunked_array([names for name, names in ends if name == node_type], pa.string())
            part = NodePart(Vocabulary(pc.unique(named)), label=label)
        parts[node_type] = part
    edge_of = {edge: (type_names[edge[0]], relation_names[edge[1]], type_names[edge[2]]) for edge in edges}
    edge_parts = {
        edge_of[edge]: _edge_part(edge, frame, ids[edge], parts, features.get(edge[1], {}), edge_of[edge][1])
        for edge, frame in edge_frames.items()
    }
    chosen = edge_of.get(target, target) if target is not None else next(iter(edge_of.values()), None)
    return assemble({type_names[name]: part for name, part in parts.items()}, edge_parts, target=chosen)


def refuse_odd_names(edges: Mapping[EdgeType, object], nodes: Mapping[str, object]) -> None:
    """Raise KgrecError for an edge type that is not three texts, and for a node type that is not a text."""
    for edge in edges:
        if not (isinstance(edge, tuple) and len(edge) == 3 and all(isinstance(name, str) for name in edge)):
            raise KgrecError(
                f"{edge!r} is not an edge type; three texts are wanted: (source type, relation, target type)"
            )
    for name in nodes:
        if not isinstance(name, str):
            raise KgrecError(f"{name!r} is not a node type; a text is wanted")


def _end_ids(frame: pd.DataFrame, edge: EdgeType, column: str) -> pa.Array:
    node_type = edge[0] if column == "source" else edge[2]
    return id_column(frame, column, f"edges of relation {edge[1]!r} have no {node_type} id")


def _node_part(node_type: str, values: pd.DataFrame, kinds: Kinds, label: str) -> NodePart:
    what = f"the frame of node type {node_type!r}"
    frame = as_frame(values, what)
    require(frame, ("id", *kinds), what)
    vocabulary = Vocabulary(id_column(frame, "id", f"{node_type} nodes have no id"), frame.get("label"))
    vocabulary.index  # noqa: B018 - raises if an id occurs twice
    columns = [name for name in frame.columns if name not in ("id", "label")]
    return NodePart(vocabulary, {name: feature_column(frame, name, kinds.get(name), what) for name in columns}, label)


def _edge_part(
    edge: EdgeType,
    frame: pd.DataFrame,
    ids: tuple[pa.Array, pa.Array],
    parts: Mapping[str, NodePart],
    kinds: Kinds,
    name: str,
) -> EdgePart:
    what = f"the frame of relation {edge[1]!r}"
    return EdgePart(
        source=_numbers(edge, ids[0], edge[0], parts),
        target=_numbers(edge, ids[1], edge[2], parts),
        time=unix_seconds(arrow_column(frame["time"], "time"), edge[1]) if "time" in frame else None,
        weight=weight_column(frame, edge[1]) if "weight" in frame else None,
        features={column: feature_column(frame, column, kind, what) for column, kind in kinds.items()},
        label=edge[1] if name != edge[1] else "",
    )


def _numbers(edge: EdgeType, ids: pa.Array, node_type: str, parts: Mapping[str, NodePart]) -> np.ndarray:
    found = parts[node_type].vocabulary.find(ids)
    if (found < 0).any():
        unknown = pc.unique(ids.filter(pa.array(found < 0))).to_pylist()
        raise BadData(
            [f"relation {edge[1]!r} names {node_type} ids that the frame of {node_type} nodes lacks: {some(unknown)}"]
        )
    return found
