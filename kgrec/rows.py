"""Declares what the rows of a parameter belong to: nodes, relations or the values of a feature. A model declares it
once; transfer, perturbation and export of vectors use it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kgrec.errors import KgrecError, unknown_name
from kgrec.graph import Graph
from kgrec.graph.schema import EdgeSchema, EdgeType, FeatureKind, FeatureSchema, Schema

DECLARED = "declared_rows"  #: the attribute of a module in which `declare_rows` keeps the rows, by local name


@dataclass(frozen=True)
class NodeRows:
    """One row for each node, type by type, in the order of the graph's numbers.

    >>> rows = NodeRows({"user": 3, "film": 2})
    >>> len(rows), rows.at("film"), rows.at("genre")
    (5, slice(3, 5, None), None)
    """

    counts: Mapping[str, int]  #: number of nodes of each type, in the order of their rows
    computed: bool = False  #: whether the model computes them from other parameters, as a graph network does

    @staticmethod
    def of(graph: Graph, *node_types: str, computed: bool = False) -> NodeRows:
        """The rows of some node types, or of all if none is named. Raises UnknownName."""
        wanted = node_types or tuple(graph.node_types)
        return NodeRows({name: len(graph.range(name)) for name in wanted}, computed)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def at(self, node_type: str) -> slice | None:
        """The rows of one type; None if it has none."""
        if not self.counts.get(node_type):
            return None
        stops = dict(zip(self.counts, itertools.accumulate(self.counts.values())))
        return slice(stops[node_type] - self.counts[node_type], stops[node_type])


@dataclass(frozen=True)
class RelationRows:
    """One row for each edge type: all of a graph (`graph.edge_types`), only facts, or both directions
    (`graph.two_way_edges()`)."""

    edge_types: tuple[EdgeType, ...]  #: in the order of the rows

    def __init__(self, edge_types: Iterable[EdgeType]) -> None:
        object.__setattr__(self, "edge_types", tuple(edge_types))

    def __len__(self) -> int:
        return len(self.edge_types)


@dataclass(frozen=True)
class FeatureRows:
    """The parameter of one feature of a node type: one row for each category; or, for a feature without categories
    (numbers, texts, vectors), any shape."""

    node_type: str  #: the node type that has the feature
    name: str  #: name of the feature
    kind: FeatureKind  #: kind of the feature
    categories: tuple[str, ...] = ()  #: categories in the order of the rows; () if it has none

    def __len__(self) -> int:
        return len(self.categories)


Rows = NodeRows | RelationRows | FeatureRows


@runtime_checkable
class NodeTable(Protocol):
    """A module that gives a vector for each node of some types."""

    node_rows: NodeRows  #: the nodes of the rows

    def table(self) -> Tensor:
        """The vectors of all nodes, in the order of `node_rows`: [N, D]."""
        ...


def declare_rows(module: nn.Module, **rows: Rows) -> None:
    """Declare what the rows of a module's parameters and buffers belong to. rows: by the name of a tensor of the
    module, or of a module in it with a `weight`, such as an nn.Embedding. A tensor may have one more row, for padding.
    A tensor that is not declared counts as a layer.

    >>> class Model(nn.Module):
    ...     def __init__(self) -> None:
    ...         super().__init__()
    ...         self.relation = nn.Embedding(2, 8)
    ...         declare_rows(self, relation=RelationRows([("user", "rated", "film"), ("film", "rev_rated", "user")]))
    >>> {name: len(rows) for name, rows in rows_of(Model()).items()}
    {'relation.weight': 2}

    Raises UnknownName for a name that the module does not have, KgrecError if the tensor has another number of rows.
    """
    declared = dict(getattr(module, DECLARED, {}))
    for name, what in rows.items():
        tensor = _tensor(module, name)
        fits = len(tensor.shape) > 0 and tensor.shape[0] in (len(what), len(what) + 1)
        if not fits and not (isinstance(what, FeatureRows) and not what.categories):
            raise KgrecError(
                f"{type(module).__name__}.{name} has shape {tuple(tensor.shape)}, but rows for {_shown(what)} are "
                f"declared; its first dimension must be {len(what)}, or {len(what) + 1} with a row for padding"
            )
        declared[name] = what
    setattr(module, DECLARED, declared)


def rows_of(model: nn.Module) -> dict[str, Rows]:
    """The declared rows of a model's parameters and buffers, in all its modules, by their names in its `state_dict`."""
    return {name: rows for name, _, rows in _declared(model)}


def is_vectors(tensor: Tensor, rows: Rows | None) -> bool:
    """Whether a tensor holds node vectors: more than one number for each node. A single number is a bias."""
    return isinstance(rows, NodeRows) and tensor.dim() == 2 and tensor.shape[1] > 1


def node_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are node vectors, each once, by name, in the order of the model's modules; without biases."""
    return {
        name: tensor
        for name, tensor, rows in _declared(model)
        if isinstance(tensor, nn.Parameter) and is_vectors(tensor, rows)
    }


@torch.no_grad()
def node_vectors(model: nn.Module, node_type: str) -> Tensor | None:
    """A model's vectors of all nodes of a type, FloatTensor [N, D], in the order of the graph's numbers: computed
    vectors if there are any, else its first table, with the vectors of features. None if it has none. The model should
    be in eval mode."""
    computed, tables = list[Tensor](), list[Tensor]()
    for module in model.modules():
        if isinstance(module, NodeTable):
            if (at := module.node_rows.at(node_type)) is not None:
                tables.append(module.table()[at])
            continue
        for name, rows in getattr(module, DECLARED, {}).items():
            if isinstance(rows, NodeRows) and (at := rows.at(node_type)) is not None:
                (computed if rows.computed else tables).append(_tensor(module, name)[at])
    wide = (vector for vector in (*computed, *tables) if vector.dim() == 2 and vector.shape[1] > 1)
    return next((vector.detach() for vector in wide), None)


def _shown(rows: Rows) -> str:
    match rows:
        case NodeRows():
            return f"{len(rows):,} nodes ({', '.join(rows.counts)})"
        case RelationRows():
            return f"{len(rows):,} relations"
        case FeatureRows():
            return f"{len(rows):,} categories of {rows.name!r}"


def _tensor(module: nn.Module, name: str) -> Tensor:
    """A parameter or buffer by its declared name. Raises UnknownName."""
    found: Any = getattr(module, name, None)
    if isinstance(found, nn.Module):
        found = getattr(found, "weight", None)
    if not isinstance(found, Tensor):
        known = [local for local, _ in (*module.named_parameters(), *module.named_buffers())]
        raise unknown_name("parameter", name, known, f"in {type(module).__name__}, whose rows are declared")
    return found


def _declared(model: nn.Module) -> Iterator[tuple[str, Tensor, Rows]]:
    """The declared tensors, each once, under its name in the model's state."""
    state = (*model.named_parameters(), *model.named_buffers())
    names = {id(tensor): name for name, tensor in state}
    seen = set[int]()
    for module in model.modules():
        for local, rows in getattr(module, DECLARED, {}).items():
            tensor = _tensor(module, local)
            if id(tensor) in names and id(tensor) not in seen:
                seen.add(id(tensor))
                yield names[id(tensor)], tensor, rows


# ---------------------------------------------------------------------- what is not declared


def sized_by_graph(build: Callable[[Graph], nn.Module], schema: Schema) -> set[str]:
    """The names of parameters whose shapes depend on the number of nodes, relations or categories of a graph. They can
    only be taken from a model on another graph if it is known what their rows belong to.

    build: builds the model from a graph that has only a schema. It is called for two small graphs of different sizes,
    and the shapes are compared. The state of random number generators is not changed.
    """
    small = replace(
        schema, nodes={name: replace(node, count=2 + place) for place, (name, node) in enumerate(schema.nodes.items())}
    )
    with torch.random.fork_rng(devices=[]):
        models = [build(Graph.empty(one)) for one in (small, _grown(small))]
    shapes, grown = ({name: value.shape for name, value in model.named_parameters()} for model in models)
    return {name for name, shape in shapes.items() if grown.get(name) != shape}


def _grown(schema: Schema) -> Schema:
    """A schema with one more of everything: nodes of each type, categories, numbers in a vector, relations between
    items and from users to items."""
    nodes = {
        name: replace(
            node, count=node.count + 1, features={key: _wider(feature) for key, feature in node.features.items()}
        )
        for name, node in schema.nodes.items()
    }
    source, _, target = schema.target or (next(iter(schema.nodes)), "", next(iter(schema.nodes)))
    more = {(target, "one_more_fact", target): EdgeSchema(), (source, "one_more_behaviour", target): EdgeSchema()}
    return replace(schema, nodes=nodes, edges={**schema.edges, **more})


def _wider(feature: FeatureSchema) -> FeatureSchema:
    match feature.kind:
        case "categorical" | "multi":
            return replace(feature, categories=(*feature.categories, "one more"), entries=feature.entries + 1)
        case "vector":
            return replace(feature, dim=feature.dim + 1)
        case _:
            return feature
