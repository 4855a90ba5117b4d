"""A graph with more nodes, appended within their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import torch
from torch import Tensor

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph.features import Feature
from kgrec.graph.frame_columns import as_frame, feature_column, id_column

if TYPE_CHECKING:
    import pandas as pd

    from kgrec.graph.graph import Graph


def with_nodes(graph: Graph, new: Mapping[str, pd.DataFrame]) -> tuple[Graph, Tensor]:
    """Nodes appended within types, and the map from old flat numbers to new ones, LongTensor [N + 1] (pad to pad).

    Each frame has `id` and may have `label` and feature columns of the type; what it lacks is missing.
    Raises UnknownName for a node type that is not there, BadData for an id that is known.
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
