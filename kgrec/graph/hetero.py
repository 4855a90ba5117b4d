"""Builds graphs from PyG's HeteroData."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from kgrec.errors import BadData, KgrecError, some, unknown_name
from kgrec.graph.assembly import EdgePart, NodePart, assemble, unix_seconds
from kgrec.graph.features import Feature
from kgrec.graph.parts import GraphParts
from kgrec.graph.schema import EdgeType, FeatureSchema, clean_name, free_names
from kgrec.graph.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

WEIGHTS = ("weight", "rating", "edge_weight", "edge_attr")  #: names of weights of edges; the first that fits is used
SIZES = ("num_nodes",)  #: attributes that need no column


def parts_from_hetero(data: HeteroData, target: EdgeType | None) -> GraphParts:
    """See `Graph.from_hetero`."""
    name_of = free_names(data.node_types)
    relation_of = free_names(edge[1] for edge in data.edge_types)
    for node_type in dict.fromkeys([*data.node_types, *(edge[end] for edge in data.edge_types for end in (0, 2))]):
        if node_type not in name_of or data[node_type].num_nodes is None:
            raise KgrecError(f"the number of {node_type!r} nodes is not known; set data[{node_type!r}].num_nodes")
    edge_of = {edge: (name_of[edge[0]], relation_of[edge[1]], name_of[edge[2]]) for edge in data.edge_types}
    nodes, left = dict[str, NodePart](), list[str]()
    for name in data.node_types:
        features, others = _vectors(data[name], f"{name} nodes")
        nodes[name_of[name]] = NodePart(Vocabulary(np.arange(data[name].num_nodes)), features, label=name)
        left += [f"{name}.{other}" for other in others]
    edges = {}
    for edge, named in edge_of.items():
        edges[named], others = _edge_part(data[edge], edge, _stated_inverse(named, edge_of))
        left += [f"{'-'.join(edge)}.{other}" for other in others]
    left += [_described(key, value) for key, value in data._global_store.items()]
    if left:
        warnings.warn(f"Graph.from_hetero leaves out: {', '.join(left)}", stacklevel=3)
    if target and target not in edge_of:
        raise unknown_name("edge type", "-".join(target), ["-".join(edge) for edge in edge_of], "in the HeteroData")
    chosen = edge_of[target] if target else next(iter(edge_of.values()), None)
    return assemble(nodes, edges, target=chosen)


def _stated_inverse(named: EdgeType, edge_of: Mapping[EdgeType, EdgeType]) -> str | None:
    """The relation `<name>` for a relation `rev_<name>`, as PyG's ToUndirected names inverses; None for others."""
    head, relation, tail = named
    forward = relation.removeprefix("rev_")
    return forward if forward != relation and (tail, forward, head) in edge_of.values() else None


def _described(key: str, value: object) -> str:
    if isinstance(value, Tensor):
        return f"{key} ({str(value.dtype).removeprefix('torch.')} {list(value.shape)})"
    return f"{key} ({type(value).__name__})"


def _vectors(store: Any, what: str) -> tuple[dict[str, Feature], list[str]]:
    """The float matrices among a store's attributes, and descriptions of all other attributes."""
    columns, left = dict[str, Feature](), list[str]()
    for key, value in store.items():
        if key in SIZES:
            continue
        if not (isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 2):
            left.append(_described(str(key), value))
            continue
        feature = Feature(FeatureSchema("vector", dim=value.shape[1]), value.detach().cpu().float())
        if feature.infinite.any():
            row = int(feature.infinite.nonzero()[0])
            message = f"{key} of the {what} has NaN or infinity, or a number above 3.4e38, in row {row} (from 0)"
            raise BadData(f"{message}; a row of zeros is taken as missing", column=str(key), kind="out of range")
        columns[clean_name(str(key))] = feature
    return columns, left


def _edge_part(store: Any, edge: EdgeType, inverse_of: str | None) -> tuple[EdgePart, list[str]]:
    """One edge type, and descriptions of the attributes that are left out."""
    index = store.get("edge_index")
    if not isinstance(index, Tensor) or index.dim() != 2 or len(index) != 2:
        raise KgrecError(f"edge type {'-'.join(edge)} has no edge_index of shape [2, E]; it has {some(store.keys())}")
    columns = dict(_columns(store, index.shape[1]))
    weight = next((key for key in WEIGHTS if key in columns), None)
    taken = {"edge_index", "num_edges", "time", weight} & {"edge_index", "num_edges", *columns}
    time = columns.get("time")
    source, sink = index.cpu().numpy()
    part = EdgePart(
        source,
        sink,
        time=None if time is None else unix_seconds(pa.array(time, from_pandas=True), edge[1]),
        weight=None if weight is None else _as_weights(columns[weight]),
        label=edge[1],
        inverse_of=inverse_of,
    )
    return part, [_described(str(key), value) for key, value in store.items() if key not in taken]


def _columns(store: Any, num_edges: int) -> Iterator[tuple[str, np.ndarray]]:
    """The attributes with one number for each edge: [E] or [E, 1]."""
    for key, value in store.items():
        if isinstance(value, Tensor) and tuple(value.shape) in ((num_edges,), (num_edges, 1)) and key != "edge_index":
            yield key, value.detach().cpu().reshape(-1).numpy()


def _as_weights(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # becomes infinite, which is an error when the graph is assembled
        return values.astype(np.float32)
