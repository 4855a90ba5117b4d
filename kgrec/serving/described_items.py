"""What is to be shown of an item: its label, its columns and its facts; and nodes found by what somebody types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc

from kgrec.errors import unknown_name
from kgrec.graph import Graph
from kgrec.graph.edge_index import CSR
from kgrec.graph.features import Feature
from kgrec.training.trained_model import TrainedModel

MOST = 20  #: nodes of a relation that are listed


@dataclass(frozen=True)
class NamedNode:
    """A node with what to show of it."""

    id: str  #: external id
    label: str  #: the id where it has none
    type: str  #: its node type


@dataclass(frozen=True)
class FactGroup:
    """The nodes that an item has a relation to, or that have one to it."""

    relation: str
    backward: bool  #: whether the relation leads from these nodes to the item
    number: int  #: of all of them
    nodes: tuple[NamedNode, ...]  #: the first of them


@dataclass(frozen=True)
class DescribedItem:
    """An item with what the run knows of it."""

    id: str  #: external id
    label: str  #: the id where it has none
    num_users: int  #: who had it, as far as the run knows
    columns: dict[str, Any]  #: values of its columns by name, without missing ones and vectors
    facts: tuple[FactGroup, ...]  #: by relation

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class DescribedNode:
    """A node with what the run knows of it."""

    node: NamedNode
    columns: dict[str, Any]  #: as those of an item
    facts: tuple[FactGroup, ...]  #: by relation


def described_item(run: TrainedModel, item: str, *, most: int = MOST) -> DescribedItem:
    """An item by its id. most: nodes of a relation that are listed.

    A run that was trained with --lean knows no columns and facts. Raises UnknownName."""
    node_type = run.graph.target[2]
    vocabulary = run.graph.vocabulary[node_type]
    number = int(vocabulary.numbers([item], what=node_type)[0])
    seen = run.graph.only(run.graph.target)
    flat = number + run.graph.range(node_type).start
    users = seen.csc.other[int(seen.csc.ptr[flat]) : int(seen.csc.ptr[flat + 1])]
    graph = run.whole_graph() if run.keeps_facts else None
    columns = {} if graph is None else dict(_columns(graph.features.get(node_type, {}), number))
    facts = () if graph is None else tuple(_facts(run, graph, number + graph.range(node_type).start, most))
    return DescribedItem(item, vocabulary.labels([number])[0], len(users.unique()), columns, facts)


def described_node(run: TrainedModel, node_type: str, name: str, *, most: int = MOST) -> DescribedNode:
    """A node of any type by its id, but for what users do. most: nodes of a relation that are listed.

    Raises UnknownName for a type or id that is not there, KgrecError for a run that was trained with --lean."""
    graph = run.whole_graph()
    if node_type not in graph.vocabulary:
        raise unknown_name("node type", node_type, graph.node_types, "in this graph")
    number = int(graph.vocabulary[node_type].numbers([name], what=node_type)[0])
    flat = number + graph.range(node_type).start
    columns = dict(_columns(graph.features.get(node_type, {}), number))
    return DescribedNode(named_node(graph, flat), columns, tuple(_facts(run, graph, flat, most)))


def _columns(features: Any, number: int) -> Iterator[tuple[str, Any]]:
    """The values that a node has."""
    for name, feature in features.items():
        value = None if feature.schema.kind == "vector" else feature_value(feature, number)
        if value not in (None, "", []):
            yield name, value


def feature_value(feature: Feature, number: int) -> Any:
    """The value of one row of a column that is no vector; None where it is missing."""
    names, values = feature.schema.categories, feature.values
    match feature.schema.kind:
        case "numeric":
            found = float(values[number])
            return None if found != found else float(f"{found:.7g}")  # float32 as it was written
        case "categorical":
            code = int(values[number])
            return None if code < 0 else names[code]
        case "multi":
            assert feature.ptr is not None
            return [names[code] for code in values[feature.ptr[number] : feature.ptr[number + 1]].tolist()]
    return values[number].as_py()


def _facts(run: TrainedModel, graph: Graph, flat: int, most: int) -> Iterator[FactGroup]:
    """What is said of a node, by relation, forward first. A relation that another states backwards counts once."""
    facts = run.made_once("facts", None, graph.facts)
    inverse = {edge.inverse_of for edge in facts.schema.edges.values()}
    for backward, rows in ((False, facts.csr), (True, facts.csc)):
        for number, nodes in _by_relation(facts, rows, flat).items():
            relation = facts.edge_types[number][1]
            if backward and (relation in inverse or facts.schema.edges[facts.edge_types[number]].inverse_of):
                continue
            shown = tuple(named_node(graph, node) for node in nodes[:most])
            yield FactGroup(relation, backward, len(nodes), shown)


def _by_relation(facts: Graph, rows: CSR, flat: int) -> dict[int, list[int]]:
    """The flat other ends of a node's edges by the number of their type, each once, in order of the types."""
    at = slice(int(rows.ptr[flat]), int(rows.ptr[flat + 1]))
    found: dict[int, dict[int, None]] = {}
    for relation, node in zip(facts.relation[rows.edge[at]].tolist(), rows.other[at].tolist()):
        found.setdefault(relation, {})[node] = None
    return {relation: list(found[relation]) for relation in sorted(found)}


def named_node(graph: Graph, flat: int) -> NamedNode:
    """A node by its flat number."""
    node_type, numbers = next(one for one in graph.ranges.items() if flat in one[1])
    vocabulary = graph.vocabulary[node_type]
    local = [flat - numbers.start]
    return NamedNode(vocabulary.ids(local)[0], vocabulary.labels(local)[0], node_type)


def found_nodes(run: TrainedModel, text: str, node_type: str, most: int) -> list[NamedNode]:
    """Nodes of a type whose id or label holds a text, in upper or lower case: first the one of this id, then those that
    begin with it."""
    vocabulary = run.graph.vocabulary[node_type]
    columns = [vocabulary.id_array] + ([] if vocabulary.label_array is None else [vocabulary.label_array])
    exact = vocabulary.find([text])
    places = dict.fromkeys(exact[exact >= 0].tolist())
    for matching in (pc.starts_with, pc.match_substring):
        if len(places) >= most:
            break
        met = [pc.fill_null(matching(column, text, ignore_case=True), False) for column in columns]
        either = met[0] if len(met) == 1 else pc.or_(*met)
        rows = pc.indices_nonzero(either).slice(0, most).to_pylist()
        places.update(dict.fromkeys(rows))
    numbers = list(places)[:most]
    ids, labels = vocabulary.ids(numbers), vocabulary.labels(numbers)
    return [NamedNode(name, label, node_type) for name, label in zip(ids, labels)]
