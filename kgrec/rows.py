"""What the rows of a parameter stand for: nodes, relations or the values of a feature. A model says it once, and
whoever starts, moves or exports vectors asks it."""

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

DECLARED = "declared_rows"  #: the attribute of a module that holds what `declare_rows` recorded, by local name


@dataclass(frozen=True)
class NodeRows:
    """A row for each node, type after type, in the order of the graph's numbers.

    >>> rows = NodeRows({"user": 3, "film": 2})
    >>> len(rows), rows.at("film"), rows.at("genre")
    (5, slice(3, 5, None), None)
    """

    counts: Mapping[str, int]  #: nodes of each type, in the order of their rows
    computed: bool = False  #: the model computes them from other parameters, as a graph network does

    @staticmethod
    def of(graph: Graph, *node_types: str, computed: bool = False) -> NodeRows:
        """Those of some node types, or of all where none is named. Raises UnknownName."""
        wanted = node_types or tuple(graph.node_types)
        return NodeRows({name: len(graph.range(name)) for name in wanted}, computed)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def at(self, node_type: str) -> slice | None:
        """The rows of one type; None where it has none."""
        if not self.counts.get(node_type):
            return None
        stops = dict(zip(self.counts, itertools.accumulate(self.counts.values())))
        return slice(stops[node_type] - self.counts[node_type], stops[node_type])


@dataclass(frozen=True)
class RelationRows:
    """A row for each edge type: those of a graph (`graph.edge_types`), of its facts, or of both directions
    (`graph.two_way_edges()`)."""

    edge_types: tuple[EdgeType, ...]  #: in the order of the rows

    def __init__(self, edge_types: Iterable[EdgeType]) -> None:
        object.__setattr__(self, "edge_types", tuple(edge_types))

    def __len__(self) -> int:
        return len(self.edge_types)


@dataclass(frozen=True)
class FeatureRows:
    """What belongs to one feature of a node type: a row for each of its categories, or, where it has none (numbers,
    texts, vectors), a parameter of any shape."""

    node_type: str  #: whose feature it is
    name: str  #: of the feature
    kind: FeatureKind  #: of the feature
    categories: tuple[str, ...] = ()  #: in the order of the rows; (): it has none

    def __len__(self) -> int:
        return len(self.categories)


Rows = NodeRows | RelationRows | FeatureRows


@runtime_checkable
class NodeTable(Protocol):
    """A module that gives a vector for each node of some types, whatever it makes them of."""

    node_rows: NodeRows  #: which nodes they are

    def table(self) -> Tensor:
        """The vectors of all nodes, in the order of `node_rows`: [N, D]."""
        ...


def declare_rows(module: nn.Module, **rows: Rows) -> None:
    """Say what the rows of a module's parameters and buffers stand for, by their names in it: a tensor, or a module
    with a `weight`, such as an nn.Embedding. One row more than there are nodes, relations or categories is of none of
    them (padding). What is not declared stands for nothing: a layer.

    >>> class Model(nn.Module):
    ...     def __init__(self) -> None:
    ...         super().__init__()
    ...         self.relation = nn.Embedding(2, 8)
    ...         declare_rows(self, relation=RelationRows([("user", "rated", "film"), ("film", "rev_rated", "user")]))
    >>> {name: len(rows) for name, rows in rows_of(Model()).items()}
    {'relation.weight': 2}

    Raises UnknownName for a name that the module does not have, KgrecError where the tensor has another number of rows.
    """
    declared = dict(getattr(module, DECLARED, {}))
    for name, what in rows.items():
        tensor = _tensor(module, name)
        fits = len(tensor.shape) > 0 and tensor.shape[0] in (len(what), len(what) + 1)
        if not fits and not (isinstance(what, FeatureRows) and not what.categories):
            raise KgrecError(
                f"{type(module).__name__}.{name} is of shape {tuple(tensor.shape)}, and rows for {_shown(what)} are "
                f"declared; its first dimension should be {len(what)}, or {len(what) + 1} with a row of padding"
            )
        declared[name] = what
    setattr(module, DECLARED, declared)


def rows_of(model: nn.Module) -> dict[str, Rows]:
    """What is declared of a model's parameters and buffers, in all its modules, by their names in its `state_dict`."""
    return {name: rows for name, _, rows in _declared(model)}


def is_vectors(tensor: Tensor, rows: Rows | None) -> bool:
    """Whether these are vectors of nodes: a row of more than one number for each; one number alone is a bias."""
    return isinstance(rows, NodeRows) and tensor.dim() == 2 and tensor.shape[1] > 1


def node_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are vectors of nodes, each once, by name, in the order of the model's modules; biases are
    none."""
    return {
        name: tensor
        for name, tensor, rows in _declared(model)
        if isinstance(tensor, nn.Parameter) and is_vectors(tensor, rows)
    }


@torch.no_grad()
def node_vectors(model: nn.Module, node_type: str) -> Tensor | None:
    """A model's vectors of all nodes of a type, FloatTensor [N, D], in the order of the graph's numbers: those that it
    computed, else its first table of them, with what features give. None where it has none. The model should be in eval
    mode."""
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
    """What is declared, each tensor once, under the name that the model's state has it by."""
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
    """The parameters whose shapes depend on how many nodes, relations or categories a graph has, by name: those that
    another graph's cannot take the place of unless it is known what their rows stand for.

    build: the model of a graph, of which only the schema is there. It is built twice, of two small graphs of other
    sizes, and what differs is meant; random numbers go on as if it had not been.
    """
    small = replace(
        schema, nodes={name: replace(node, count=2 + place) for place, (name, node) in enumerate(schema.nodes.items())}
    )
    with torch.random.fork_rng(devices=[]):
        models = [build(Graph.empty(one)) for one in (small, _grown(small))]
    shapes, grown = ({name: value.shape for name, value in model.named_parameters()} for model in models)
    return {name for name, shape in shapes.items() if grown.get(name) != shape}


def _grown(schema: Schema) -> Schema:
    """One more of everything: nodes of each type, categories, numbers of a vector, relations among the items and from
    users to items."""
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
