"""Initialisation from a trained model: vectors of nodes by their external ids, relations and categories by name, and
layers where they fit."""

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
    """What was taken over, and what was not."""

    vectors: Mapping[str, Mapping[str, Any]]  #: by table and node type: `from`, the table there, `found` of `nodes`
    layers: tuple[str, ...]  #: other parameters, by name
    left: tuple[str, ...]  #: parameters that start as they would without
    named: Mapping[str, Mapping[str, Any]]  #: parameters of relations or categories that the trained model knows in
    #: part: `found` of `rows`, and those that are `missing`, by name
    undeclared: tuple[str, ...] = ()  #: those of `left` that have a fitting shape, but rows for nodes, relations or
    #: categories of another graph, and the model does not say for which (see kgrec.rows)

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
    """A model with the graph that it was built of, and a part of it that alone counts."""

    model: Recommender
    graph: Graph
    part: str | None = None

    @property
    def rows(self) -> dict[str, Rows]:
        """What is declared of the part's parameters and buffers."""
        return self._in_part(rows_of(self.model))

    @property
    def parameters(self) -> dict[str, Tensor]:
        return self._in_part(dict(self.model.named_parameters()))

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the whole model."""
        return dict([*self.model.named_parameters(), *self.model.named_buffers()])

    def role(self, node_type: str) -> str:
        """What goes with what: users with users, items with items, other types by name."""
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

    table: str  #: its name
    role: str  #: user or item, or the node type's name
    vector: Tensor  #: FloatTensor [N, *]
    node_type: str


def initialise(model: Recommender, graph: Graph, trained: Recommender, known: Graph, part: str | None = None) -> Taken:
    """Start a model's node vectors from those of a trained one, node by node as external ids say, and other parameters
    of the same name and shape. graph: what the model was built of; known: the trained one's, with its ids. part:
    take only what stands under this name in the trained model, such as `generator`.

    What rows stand for is what the models declare (see kgrec.rows):

    - Nodes go by external id. Users and items go together whatever their types are called, other types by name. Where
      several tables of the trained model fit, one of the same name is taken, be it in a part of the model, else the
      first of the same width; where none does, vectors that it computed. Biases are taken by id as well, from a table
      of the same name.
    - Relations (by name and both node types) and a feature's categories go by name, between parameters of one name.
      Those that the trained model does not know start as they would without it.
    - The rest, layers, is copied. Where the graphs differ in their nodes, relations or features, a parameter whose
      shape depends on them is left, as nobody knows which row is whose.

    Raises KgrecError where nothing can be taken, UnknownName for a part that is not there.
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
    """Fill the rows of nodes that both know; what came of it, by table and node type."""
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
    """What holds vectors of one node type, tables before what was computed of them."""
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
    """A parameter's name in the module that has it: `item_bias` of `generator.item_bias`."""
    return name.rpartition(".")[2]


# ---------------------------------------------------------------------- relations, categories and layers


@dataclass(frozen=True)
class _Places:
    """Which rows of a parameter are taken from which of another."""

    here: list[int]
    there: list[int]
    missing: list[str]  #: names of the rows that are not there
    is_whole: bool  #: all of both, padding too

    @property
    def rows(self) -> int:
        return len(self.here) + len(self.missing)


def _fitting(ours: _Side, theirs: _Side) -> dict[str, _Places]:
    """The parameters of both, by name, that have something to take: rows of the same name, or the same shape where no
    row has one."""
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
    """What rows stand for, to be compared, and the name of each; no names where they have none."""
    match rows:
        case RelationRows():
            return "relations", ["-".join(edge) for edge in rows.edge_types]
        case FeatureRows():
            return (side.role(rows.node_type), rows.name, rows.kind), list(rows.categories)
        case _:
            return None, []


def _undeclared(ours: _Side, known: Graph, names: set[str]) -> set[str]:
    """Of parameters whose rows are not declared, those that another graph's cannot start: they would have another shape
    if the graph had more nodes, relations or categories."""
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
        f"nothing of {what} can start {type(ours.model).__name__}: it has vectors of "
        f"{some(widths) if widths else 'no'} numbers, for ids such as {_ids(theirs.graph)}, where the graph has "
        f"{_ids(ours.graph)}; set the same `dim`, and take a run over the same ids"
    )


def _ids(graph: Graph) -> str:
    node_type = graph.target[2]
    return f"{node_type} {some(graph.vocabulary[node_type].ids(range(2)))}"
