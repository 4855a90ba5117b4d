"""Start a model from a trained one: node vectors by external id, relations and categories by name, and layers if their
shapes fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.rows import FeatureRows, NodeRows, RelationRows, Rows, rows_of, sized_by_graph

T = TypeVar("T")


@dataclass(frozen=True)
class Taken:
    """What was taken from the trained model, and what was not."""

    #: by table and node type: `from` (the table of the trained model), and `found` of `nodes` (numbers of nodes)
    vectors: Mapping[str, Mapping[str, Any]]
    layers: tuple[str, ...]  #: names of other parameters that were copied
    left: tuple[str, ...]  #: names of parameters that were not taken and start as usual
    #: parameters of relations or categories of which the trained model knows only some: `found` of `rows`, and the
    #: names of the `missing` ones
    named: Mapping[str, Mapping[str, Any]]
    #: parameters of `left` whose shapes fit, but whose rows belong to nodes, relations or categories of another graph,
    #: and the model does not declare to which (see kgrec.rows)
    undeclared: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "vectors": dict(self.vectors),
            "named": dict(self.named),
            "layers": list(self.layers),
            "left": list(self.left),
            "undeclared": list(self.undeclared),
        }


@dataclass(frozen=True, eq=False)
class _Side:
    """A model with the graph that it was built from. part: if set, only this part of the model is used."""

    model: Recommender
    graph: Graph
    part: str | None = None

    @property
    def rows(self) -> dict[str, Rows]:
        """The declared rows of the part's parameters and buffers."""
        return self._in_part(rows_of(self.model))

    @property
    def parameters(self) -> dict[str, Tensor]:
        return self._in_part(dict(self.model.named_parameters()))

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the whole model."""
        return dict([*self.model.named_parameters(), *self.model.named_buffers()])

    def role(self, node_type: str) -> str:
        """The key by which node types of two models are matched: users, items, and other types by name."""
        source, _, target = self.graph.target
        return {source: "user of the target", target: "item of the target"}.get(node_type, node_type)

    def _in_part(self, values: Mapping[str, T]) -> dict[str, T]:
        part = self.part
        return {
            name: value for name, value in values.items() if part is None or name == part or name.startswith(f"{part}.")
        }


@dataclass(frozen=True, eq=False)
class _Vectors:
    """A trained model's rows for the nodes of one type."""

    table: str  #: name of the table
    role: str  #: user or item, or the node type's name
    vector: Tensor  #: FloatTensor [N, *]
    node_type: str


def initialise(model: Recommender, graph: Graph, trained: Recommender, known: Graph, part: str | None = None) -> Taken:
    """Start a model's node vectors from a trained model, node by node, and also other parameters with the same name and
    shape. graph: the graph that the model was built from; known: that of the trained model, with its ids. part: take
    only parameters of this part of the trained model, such as `generator`.

    The models declare what their rows belong to (see kgrec.rows):

    - Nodes are matched by external id. Users are matched with users and items with items, whatever their types are
      called; other types are matched by name. If several tables of the trained model fit, the one with the same name
      is taken (also inside a part of the model), else the first with the same width, else vectors that the model
      computed. Biases are taken by id too, but only from a table with the same name.
    - Relations (by name and both node types) and categories of features are matched by name, between parameters with
      the same name. Those that the trained model does not know start as usual.
    - Other parameters (layers) are copied. If the graphs differ in nodes, relations or features, a parameter whose
      shape depends on them is not taken, because its rows cannot be matched.

    Raises KgrecError if nothing can be taken, UnknownName for an unknown part.
    """
    _require_part(trained, part)
    ours, theirs = _Side(model, graph), _Side(trained, known, part)
    with torch.no_grad():
        vectors = _start_nodes(ours, theirs)
        rows, there, fitting = ours.rows, theirs.parameters, _fitting(ours, theirs)
        undeclared = _undeclared(ours, known, set(fitting) - rows.keys() - theirs.rows.keys())
        layers, left, named = list[str](), list[str](), dict[str, dict[str, Any]]()
        for name, parameter in ours.parameters.items():
            if isinstance(rows.get(name), NodeRows):
                if not any(key.split("/")[0] == _table_name(name) for key in vectors):
                    left.append(name)
                continue
            place = fitting.get(name) if name not in undeclared else None
            if place is None:
                left.append(name)
                continue
            if place.is_whole:
                parameter.copy_(there[name])
                layers.append(name)
            else:
                parameter[place.here] = there[name][place.there]
                named[name] = {"found": len(place.here), "rows": place.rows, "missing": place.missing}
        started = {key.split("/")[0] for key, one in vectors.items() if one["found"]} | {*layers, *named}
        model.start_from(started)
    if not started:
        raise _nothing_fits(ours, theirs)
    return Taken(vectors, tuple(layers), tuple(left), named, tuple(name for name in left if name in undeclared))


def same_ids(one: Graph, other: Graph) -> bool:
    """Whether two graphs have the same nodes, by type, external id and order."""
    there, here = one.vocabulary, other.vocabulary
    return there.keys() == here.keys() and all(there[name].id_array.equals(here[name].id_array) for name in here)


# ---------------------------------------------------------------------- nodes


def _start_nodes(ours: _Side, theirs: _Side) -> dict[str, dict[str, Any]]:
    """Fill the rows of nodes that both models know. Returns what was found, by table and node type."""
    sources, found = list(_sources(theirs)), dict[str, dict[str, Any]]()
    parameters = ours.parameters
    for name, rows in ours.rows.items():
        if not isinstance(rows, NodeRows) or name not in parameters:
            continue
        table, weight = _table_name(name), parameters[name]
        for node_type in ours.graph.ranges:
            at = rows.at(node_type)
            source = None if at is None else _best(sources, table, weight, ours.role(node_type))
            if at is None or source is None:
                continue
            ids = ours.graph.vocabulary[node_type].id_array
            place = torch.from_numpy(theirs.graph.vocabulary[source.node_type].find(ids))
            row = (place >= 0).nonzero().squeeze(1)
            values = source.vector[place[row].to(source.vector.device)].to(weight)
            weight[row.to(weight.device) + at.start] = values
            key = table if len(ids) == len(rows) else f"{table}/{node_type}"
            found[key] = {"from": source.table, "found": len(row), "nodes": len(ids)}
    return found


def _sources(side: _Side) -> Iterator[_Vectors]:
    """All vectors of node types in a model: first tables, then vectors that are computed from them."""
    state = side.state
    of_nodes = [(name, rows) for name, rows in side.rows.items() if isinstance(rows, NodeRows)]
    for name, rows in sorted(of_nodes, key=lambda one: one[1].computed):
        for node_type in side.graph.ranges:
            if (at := rows.at(node_type)) is not None:
                yield _Vectors(_table_name(name), side.role(node_type), state[name].detach()[at], node_type)


def _best(sources: list[_Vectors], table: str, weight: Tensor, role: str) -> _Vectors | None:
    fitting = [source for source in sources if source.role == role and source.vector.shape[1:] == weight.shape[1:]]
    named = [source for source in fitting if source.table == table]
    alike = [source for source in fitting if _last(source.table) == _last(table)]
    is_bias = weight.shape[1:].numel() == 1  # part of one score alone
    return next(iter(named or alike or ([] if is_bias else fitting)), None)


def _table_name(name: str) -> str:
    return name.removesuffix(".weight")


def _last(name: str) -> str:
    """The last part of a parameter's name: `item_bias` of `generator.item_bias`."""
    return name.rpartition(".")[2]


# ---------------------------------------------------------------------- relations, categories and layers


@dataclass(frozen=True)
class _Places:
    """Which rows of a parameter are taken from which rows of another."""

    here: list[int]
    there: list[int]
    missing: list[str]  #: names of rows that the other parameter does not have
    is_whole: bool  #: whether the whole parameter is taken, with padding

    @property
    def rows(self) -> int:
        return len(self.here) + len(self.missing)


def _fitting(ours: _Side, theirs: _Side) -> dict[str, _Places]:
    """Parameters of both models, by name, from which something can be taken: rows with the same name, or the whole
    parameter if its rows have no names and the shapes are equal."""
    here, there, found = ours.parameters, theirs.parameters, dict[str, _Places]()
    our_rows, their_rows = ours.rows, theirs.rows
    for name in here:
        if name not in there or isinstance(our_rows.get(name), NodeRows):
            continue
        own, other = _named(ours, our_rows.get(name)), _named(theirs, their_rows.get(name))
        if own[0] != other[0]:
            continue
        if own == other and here[name].shape == there[name].shape:
            found[name] = _Places([], [], [], True)
        elif here[name].shape[1:] == there[name].shape[1:]:
            common = [one for one in own[1] if one in other[1]]
            if common:
                at, there_at = ([names.index(one) for one in common] for names in (own[1], other[1]))
                found[name] = _Places(at, there_at, [one for one in own[1] if one not in common], False)
    return found


def _named(side: _Side, rows: Rows | None) -> tuple[object, list[str]]:
    """What the rows belong to (for comparison), and the name of each row; no names if they have none."""
    match rows:
        case RelationRows():
            return "relations", ["-".join(edge) for edge in rows.edge_types]
        case FeatureRows():
            return (side.role(rows.node_type), rows.name, rows.kind), list(rows.categories)
        case _:
            return None, []


def _undeclared(ours: _Side, known: Graph, names: set[str]) -> set[str]:
    """Among parameters whose rows are not declared, those that cannot be taken from a model on another graph: their
    shape depends on the number of nodes, relations or categories."""
    here = ours.graph
    is_alike = list(here.schema.edges) == list(known.schema.edges) and here.schema.nodes == known.schema.nodes
    if not names or (is_alike and same_ids(here, known)):
        return set()
    model = ours.model
    return names & sized_by_graph(lambda graph: type(model)(graph, model.config), here.schema)


# ---------------------------------------------------------------------- what cannot be done


def _require_part(model: Recommender, part: str | None) -> None:
    parts = dict.fromkeys(name.partition(".")[0] for name in model.state_dict())
    if part is not None and part.partition(".")[0] not in parts:
        raise unknown_name("part", part, parts, f"of {type(model).__name__}")


def _nothing_fits(ours: _Side, theirs: _Side) -> KgrecError:
    widths = sorted({source.vector.shape[1] for source in _sources(theirs) if source.vector.dim() == 2} - {1})
    what = type(theirs.model).__name__ + ("" if theirs.part is None else f"'s {theirs.part}")
    return KgrecError(
        f"{type(ours.model).__name__} cannot start from {what}, as nothing in it fits: it has "
        f"{f'vectors of size {some(widths)}' if widths else 'no vectors'} for ids such as {_ids(theirs.graph)}, and "
        f"the graph has ids such as {_ids(ours.graph)}; use a run with the same `dim` and the same ids"
    )


def _ids(graph: Graph) -> str:
    node_type = graph.target[2]
    return f"{node_type} {some(graph.vocabulary[node_type].ids(range(2)))}"
