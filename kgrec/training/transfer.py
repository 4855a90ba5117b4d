"""Initialisation from a trained model: vectors of nodes by their external ids, and layers where they fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.nn import KGELinkModel, LinkModel, NodeEmbedding, NodeFeatures, TransR

MADE = ("user_vector", "item_vector")  #: buffers of vectors that a model made, of users and items


@dataclass(frozen=True)
class Taken:
    """What was taken over, and what was not."""

    vectors: Mapping[str, Mapping[str, Any]]  #: by table and node type: `from`, the table there, `found` of `nodes`
    layers: tuple[str, ...]  #: other parameters, by name
    left: tuple[str, ...]  #: parameters that start as they would without

    def to_json(self) -> dict[str, Any]:
        return {"vectors": dict(self.vectors), "layers": list(self.layers), "left": list(self.left)}


@dataclass(frozen=True, eq=False)
class _Table:
    """A model's parameter with a row for each node of a range, and one behind them."""

    name: str
    weight: nn.Parameter  #: [count + 1, D]
    start: int  #: flat
    count: int


@dataclass(frozen=True, eq=False)
class _Source:
    """Vectors of one node type in a trained model."""

    name: str
    role: str  #: user or item, or the node type's name
    vector: Tensor  #: FloatTensor [N, D]
    node_type: str


def initialise(model: Recommender, graph: Graph, trained: Recommender, known: Graph, part: str | None = None) -> Taken:
    """Start a model's node vectors from those of a trained one, node by node as external ids say, and other parameters
    of the same name and shape. graph: what the model was built of; known: the trained one's, with its ids. part:
    take only what stands under this name in the trained model, such as `generator`.

    Users and items go together whatever their types are called, other types by name. Where several tables of the
    trained model fit, one of the same name is taken, be it in a part of the model, else the first of the same width;
    where none does, vectors that it made and keeps (`user_vector`, `item_vector`). Biases are taken by id as well, from
    a table of the same name. What has a row for each relation or category is taken where these are the same in both
    graphs. Raises KgrecError where nothing can be taken, UnknownName for a part that is not there.
    """
    _require_part(trained, part)
    sources = [source for source in _sources(trained, known) if _is_in(source.name, part)]
    vectors: dict[str, dict[str, Any]] = {}
    tables = set()
    with torch.no_grad():
        for table in _tables(model):
            tables.add(table.name)
            for node_type, nodes in graph.ranges.items():
                if not _covers(table, nodes):
                    continue
                source = _best(sources, table, _role(graph, node_type))
                if source is not None:
                    found = torch.from_numpy(
                        known.vocabulary[source.node_type].find(graph.vocabulary[node_type].id_array)
                    )
                    rows = (found >= 0).nonzero().squeeze(1)
                    values = source.vector[found[rows].to(source.vector.device)].to(table.weight)
                    table.weight[rows.to(table.weight.device) + nodes.start - table.start] = values
                    key = table.name if len(nodes) == table.count else f"{table.name}/{node_type}"
                    vectors[key] = {"from": source.name, "found": len(rows), "nodes": len(nodes)}
        theirs = {name: parameter for name, parameter in trained.named_parameters() if _is_in(name, part)}
        stands_for, stood_for = _numbered(model, graph), _numbered(trained, known)
        layers, left = [], []
        for name, parameter in model.named_parameters():
            if (table_name := name.removesuffix(".weight")) in tables:
                if not any(key.split("/")[0] == table_name for key in vectors):
                    left.append(name)
            elif (
                name in theirs and theirs[name].shape == parameter.shape and stands_for.get(name) == stood_for.get(name)
            ):
                parameter.copy_(theirs[name])
                layers.append(name)
            else:
                left.append(name)
        model.start_from({key.split("/")[0] for key, one in vectors.items() if one["found"]} | set(layers))
    if not any(one["found"] for one in vectors.values()) and not layers:
        widths = sorted({source.vector.shape[1] for source in sources} - {1})
        there, here = _ids(known), _ids(graph)
        what = type(trained).__name__ if part is None else f"{type(trained).__name__}'s {part}"
        raise KgrecError(
            f"nothing of {what} can start {type(model).__name__}: it has vectors of "
            f"{some(widths) if widths else 'no'} numbers, for ids such as {there}, where the graph has {here}; "
            "set the same `dim`, and take a run over the same ids"
        )
    return Taken(vectors, tuple(layers), tuple(left))


def _tables(model: Recommender) -> Iterator[_Table]:
    """What has a row an id, biases too, in the order of the model's modules."""
    names, seen = {id(parameter): name for name, parameter in model.named_parameters()}, set()
    for module in model.modules():
        found: list[tuple[nn.Parameter, int, int]] = []
        if isinstance(module, NodeEmbedding) and module.has_ids:
            found = [(module.weight, module.start, module.count)]
        elif isinstance(module, LinkModel):
            found = [(weight, 0, module.num_nodes) for weight in module.weighed()[0]]
        for weight, start, count in found:
            if id(weight) not in seen:
                seen.add(id(weight))
                yield _Table(names[id(weight)].removesuffix(".weight"), weight, start, count)


def _numbered(model: Recommender, graph: Graph) -> dict[str, Any]:
    """What parameters by relation, by category and by column stand for in a graph, by name."""
    found: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, TransR | KGELinkModel):
            found |= {id(parameter): list(graph.schema.edges) for parameter in module.parameters()}
        elif isinstance(module, NodeFeatures):
            for (node_type, name), column in zip(module.names, module.columns):
                feature = graph.schema.nodes[node_type].features[name]
                what = _role(graph, node_type), name, feature.kind, feature.categories
                found |= {id(parameter): what for parameter in column.parameters()}
    return {name: found[id(parameter)] for name, parameter in model.named_parameters() if id(parameter) in found}


def _require_part(model: Recommender, part: str | None) -> None:
    parts = dict.fromkeys(name.partition(".")[0] for name in model.state_dict())
    if part is not None and part.partition(".")[0] not in parts:
        raise unknown_name("part", part, parts, f"of {type(model).__name__}")


def _is_in(name: str, part: str | None) -> bool:
    return part is None or name == part or name.startswith(f"{part}.")


def _sources(model: Recommender, known: Graph) -> Iterator[_Source]:
    """What holds vectors of one node type, tables before what was made of them."""
    for table in _tables(model):
        for node_type, nodes in known.ranges.items():
            if _covers(table, nodes):
                vector = table.weight[nodes.start - table.start : nodes.stop - table.start].detach()
                yield _Source(table.name, _role(known, node_type), vector, node_type)
    for name, vector in model.named_buffers():
        kind = name.rpartition(".")[2]
        if kind in MADE:
            node_type = known.target[0 if kind == MADE[0] else 2]
            yield _Source(name, _role(known, node_type), vector[:-1].detach(), node_type)


def _covers(table: _Table, nodes: range) -> bool:
    return table.start <= nodes.start and nodes.stop <= table.start + table.count and len(nodes) > 0


def _role(graph: Graph, node_type: str) -> str:
    """What goes with what: users with users, items with items, other types by name."""
    return {graph.target[0]: "user of the target", graph.target[2]: "item of the target"}.get(node_type, node_type)


def _best(sources: list[_Source], table: _Table, role: str) -> _Source | None:
    width = table.weight.shape[1]
    fitting = [source for source in sources if source.role == role and source.vector.shape[1] == width]
    named = [source for source in fitting if source.name == table.name]
    alike = [source for source in fitting if _last(source.name) == _last(table.name)]
    return next(iter(named or alike or (fitting if width > 1 else [])), None)  # a bias is part of one score alone


def _last(name: str) -> str:
    """A parameter's name in the module that has it: `item_bias` of `generator.item_bias`."""
    return name.rpartition(".")[2]


def _ids(graph: Graph) -> str:
    node_type = graph.target[2]
    return f"{node_type} {some(graph.vocabulary[node_type].ids(range(2)))}"
