"""Finds the node of each entity: a linked item is the entity's node, other resources become new nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.large_arrays import spans
from kgrec.sources.building.graph_builder import GraphBuilder
from kgrec.sources.building.report import BuildReport, GraphOnly, LinkCoverage
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.rdf.numbering import first_rows
from kgrec.sources.rdf.schema_org import spellings
from kgrec.sources.recipe.knowledge_part import Link
from kgrec.sources.tables.bad_rows import BadRows
from kgrec.sources.tables.columns import Ids
from kgrec.sources.tables.table_columns import read_table


@dataclass(frozen=True, eq=False)
class Places:
    """The nodes of each resource: resource r has the nodes at `ptr[r]` to `ptr[r + 1]`. Most have one, some none."""

    ptr: np.ndarray  #: int64 [resources + 1]
    type: np.ndarray  #: int64 [ptr[-1]], position in the list of node types
    number: np.ndarray  #: int64 [ptr[-1]], local number

    def of(self, resource: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [n], [n]: for each node of these resources, the position of the resource in the argument, and the
        position of the node here."""
        count = self.ptr[resource + 1] - self.ptr[resource]
        row = np.repeat(np.arange(len(resource)), count)
        within = np.arange(len(row)) - np.repeat(count.cumsum() - count, count)
        return row, self.ptr[resource][row] + within

    @cached_property
    def are_distinct(self) -> bool:
        """Whether each node belongs to only one resource."""
        return bool(first_rows(np.stack([self.type, self.number], axis=1)).all())

    def have(self, resource: np.ndarray) -> np.ndarray:
        """bool [n]: whether each of these resources has a node."""
        found: np.ndarray = self.ptr[resource + 1] > self.ptr[resource]
        return found


@dataclass(frozen=True, eq=False)
class OwnIds:
    """The user's own ids for the entities of one node type, from `links`."""

    entities: pa.Array  #: strings [n]
    ids: pa.Array  #: strings [n]
    template: tuple[str, str] | None = None  #: what stands before and after the id in an entity's IRI

    def of(self, entities: pa.Array) -> pa.Array:
        """strings [n]: the id of each entity, null where none is known; of several the first."""
        known = self.ids.take(pc.index_in(entities, value_set=self.entities))
        if self.template is None:
            return known
        before, after = self.template
        fits = pc.and_(pc.starts_with(entities, before), pc.ends_with(entities, after))
        fits = pc.and_(fits, pc.greater(pc.binary_length(entities), len((before + after).encode())))
        inner = pc.utf8_slice_codeunits(entities, len(before), -len(after) or None)
        return pc.coalesce(known, pc.if_else(fits, inner, pa.scalar(None, pa.string())))


class EntityNodes:
    """The entities that are nodes: linked ones, and those from the facts so far."""

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder
        self._types: dict[str, int] = {}
        self._entities: list[pa.Array] = []
        self._type: list[np.ndarray] = []
        self._number: list[np.ndarray] = []
        self._own_ids: dict[str, OwnIds] = {}
        self._typed: list[tuple[pa.Array, dict[str, np.ndarray]]] = []  # resources, node type -> their positions
        self._graph_only: dict[str, GraphOnly] = {}
        self._unused: dict[
            str, tuple[str, pa.Array]
        ] = {}  # by node type: a table of links, and its ids that are not nodes
        self.linked: dict[str, tuple[np.ndarray, pa.Array, bool]] = {}  #: numbers, entities, whether by a template

    def types(self) -> list[str]:
        """The node types in the order of their positions in `Places`."""
        return list(self._types)

    def link(self, node_type: str, link: Link, folder: Path, bad_rows: BadRows) -> None:
        """Link the nodes of a type to entities, by a template or a table."""
        nodes, none = self._builder.nodes_of(node_type), pa.array([], pa.string())
        if link.template is not None:
            before, _, after = link.template.partition("{id}")
            number, entities = np.arange(len(nodes)), pc.binary_join_element_wise(before, nodes.ids, after, "")
            self._own_ids[node_type] = OwnIds(none, none, (before, after))
        else:
            ids, entities = linked_pairs(link, folder, bad_rows)
            number = nodes.find(ids)
            unknown, known = pa.array(number < 0), pa.array(number >= 0)
            self._own_ids[node_type] = OwnIds(entities.filter(unknown), ids.filter(unknown))
            self._unused[node_type] = link.file[0], ids.filter(unknown)
            number, entities = _distinct(number[number >= 0], entities.filter(known))
        self.linked[node_type] = (number, entities, link.template is not None)
        self._add(node_type, number, entities)

    def link_by_values(self, node_type: str, entities: pa.Array, values: pa.Array) -> None:
        """Link the nodes of a type to entities, by ids in the facts. entities, values: strings."""
        number = self._builder.nodes_of(node_type).find(values)
        known = number >= 0
        self._own_ids[node_type] = OwnIds(entities, values)
        number, entities = _distinct(number[known], entities.filter(pa.array(known)))
        self.linked[node_type] = (number, entities, False)
        self._add(node_type, number, entities)

    def _add(self, node_type: str, number: np.ndarray, entities: pa.Array) -> None:
        code = self._types.setdefault(node_type, len(self._types))
        self._entities.append(entities.cast(pa.string()))
        self._type.append(np.full(len(number), code, np.int64))
        self._number.append(np.asarray(number, np.int64))

    def name_types(self, facts: Facts, options: FactOptions) -> None:
        """Remember the node types that a source states for its resources. They count in the other sources too."""
        found = types_of(facts, options)
        names = [*dict.fromkeys(options.types.values())]
        of_type = {name: np.flatnonzero(found == code) for code, name in enumerate(names)}
        self._typed.append((facts.resources, {name: which for name, which in of_type.items() if len(which)}))

    def add_classes(self, classes: Sequence[str], node_type: str, label: str = "") -> None:
        """Add nodes for the classes (distinct) that have none yet. Both spellings of a schema.org class are one
        node."""
        forms = [(place, form) for place, iri in enumerate(classes) for form in (iri, *_others(iri))]
        owner, iris = (
            np.array([place for place, _ in forms], np.int64),
            pa.array([form for _, form in forms], pa.string()),
        )
        is_new = np.ones(len(classes), bool)
        is_new[owner[np.diff(self.find(iris).ptr) > 0]] = False
        if not is_new.any():
            return
        number = np.full(len(classes), -1, np.int64)
        new = pa.array(classes, pa.string()).filter(pa.array(is_new))
        number[is_new] = self._builder.nodes_of(node_type, label).add(new)
        self._add(node_type, number[owner[is_new[owner]]], iris.filter(pa.array(is_new[owner])))

    def place(self, facts: Facts, options: FactOptions, wanted: Iterable[np.ndarray]) -> Places:
        """The nodes of all resources. Resources without a node get one if they are in an edge, are `wanted`, or have a
        class that is in the recipe's `types`."""
        known = self.find(facts.resources)
        resource_type = types_of(facts, options)
        chosen = resource_type >= 0
        for which in (*wanted, *(end for ends in facts.edges.values() for end in ends)):
            for span in spans(len(which)):
                chosen[which[span]] = True
        new = np.flatnonzero(chosen & (np.diff(known.ptr) == 0))
        names = [*dict.fromkeys([*options.types.values(), options.node_type])]
        of_type = np.where(resource_type[new] >= 0, resource_type[new], names.index(options.node_type))
        self._take_types_of_others(facts.resources, new, np.flatnonzero(resource_type[new] < 0), of_type, names)
        for code, name in enumerate(names):
            which = new[of_type == code]
            if len(which):
                label = next((iri for iri, known_as in options.types.items() if known_as == name), "")
                entities = facts.resources.take(pa.array(which)).cast(pa.string())
                self._add_new(name, options.expanded(label), entities)
        return self.find(facts.resources)

    def _take_types_of_others(
        self, resources: pa.Array, new: np.ndarray, untyped: np.ndarray, of_type: np.ndarray, names: list[str]
    ) -> None:
        """Fill in the types that other sources state, at the positions `untyped` of `new`. New types are added to
        `names`."""
        for others, types in self._typed:
            if others is resources or not len(untyped):
                continue
            for name, which in types.items():
                iris = resources.take(pa.array(new[untyped])).cast(pa.string())
                found = pc.is_in(iris, value_set=others.take(pa.array(which)).cast(pa.string()))
                is_of = found.to_numpy(zero_copy_only=False)
                if is_of.any() and name not in names:
                    names.append(name)
                if is_of.any():
                    of_type[untyped[is_of]] = names.index(name)
                    untyped = untyped[~is_of]

    def _add_new(self, node_type: str, label: str, entities: pa.Array) -> None:
        """Add nodes for entities that are in no table, with the user's own ids where these are known."""
        own = self._own_ids.get(node_type)
        own_ids = pa.nulls(len(entities), pa.string()) if own is None else own.of(entities)
        ids = pc.coalesce(own_ids, entities)
        nodes = self._builder.nodes_of(node_type, label)
        before = len(nodes)
        self._add(node_type, nodes.add(ids), entities)
        by_iri, by_id = entities.filter(own_ids.is_null()), own_ids.is_valid()
        pairs = zip(ids.filter(by_id)[:3].to_pylist(), entities.filter(by_id)[:3].to_pylist())
        counted = self._graph_only.get(node_type, GraphOnly())
        self._graph_only[node_type] = GraphOnly(
            counted.nodes + len(nodes) - before,
            counted.by_iri + len(by_iri),
            [*counted.iris, *by_iri[:3].to_pylist()][:3],
            [*counted.ids, *(f"{one} ({iri})" for one, iri in pairs)][:3],
        )

    def count_unused(self, report: BuildReport) -> None:
        """Count the links from ids that are not nodes, after facts have added theirs."""
        for node_type, (file, ids) in self._unused.items():
            unused = int((self._builder.nodes_of(node_type).find(ids) < 0).sum())
            report.drop(f"links of {file} from {node_type} ids that are not in the graph", unused)

    def graph_only(self, node_types: Iterable[str]) -> dict[str, GraphOnly]:
        """For each of these node types, the nodes that are only in the knowledge graph."""
        return {name: self._graph_only[name] for name in node_types if name in self._graph_only}

    def find(self, resources: pa.Array) -> Places:
        """The nodes so far of these resources (distinct strings)."""
        entities = pa.chunked_array(self._entities, pa.string()).combine_chunks()
        found = pc.fill_null(pc.index_in(entities, value_set=resources.cast(pa.string())), -1)
        resource = found.to_numpy(zero_copy_only=False).astype(np.int64)
        order = np.argsort(resource, kind="stable")[np.count_nonzero(resource < 0) :]
        ptr = np.concatenate([[0], np.bincount(resource[order], minlength=len(resources)).cumsum()])
        node_type, number = (np.concatenate(c)[order] if c else order for c in (self._type, self._number))
        return Places(ptr.astype(np.int64), node_type, number)


def ids_of(facts: Facts, predicate: str) -> tuple[pa.Array, pa.Array]:
    """Entities and their ids by a predicate, strings [n], [n]. The ids are its values, or the IRIs of its objects."""
    resources = facts.resources.cast(pa.string())
    entities, values = pa.array([], pa.string()), pa.array([], pa.string())
    if predicate in facts.edges:
        entities, values = (resources.take(pa.array(end)) for end in facts.edges[predicate])
    if predicate in facts.literals:
        literals = facts.literals[predicate]
        entities = pa.concat_arrays([entities, resources.take(pa.array(literals.subject))])
        values = pa.concat_arrays([values, literals.value])
    return entities, values


def linked_pairs(link: Link, folder: Path, bad_rows: BadRows) -> tuple[pa.Array, pa.Array]:
    """The ids of nodes in a table of links, and their entities; of a link by `value_of` the values in place of these:
    strings [n], [n]. Raises KgrecError and BadData where the table cannot be read."""
    columns = [Ids(link.id), Ids(link.entity)]
    read = read_table(link, link.file, columns, folder, bad_rows)
    ids, entities = (read[column].dictionary_decode() for column in columns)
    if link.iri is not None:
        before, _, after = link.iri.partition("{entity}")
        entities = pc.binary_join_element_wise(before, entities, after, "")
    return ids, entities


def joined(ids: pa.Array, codes: pa.Array, entities: pa.Array, values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The entities of ids that are tied by codes: entity e has the value v, and v is the code of the id i. ids, codes:
    strings [n]; entities, values: strings [m]. Returns the entities and their ids, one for each such pair."""
    of_ids = pd.DataFrame({"code": codes.to_pylist(), "id": ids.to_pylist()})
    pairs = of_ids.merge(pd.DataFrame({"code": values.to_pylist(), "entity": entities.to_pylist()}), on="code")
    return pa.array(pairs["entity"].tolist(), pa.string()), pa.array(pairs["id"].tolist(), pa.string())


def _distinct(number: np.ndarray, entities: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Nodes and their entities, each pair once."""
    is_new = first_rows(np.stack([number, entities.dictionary_encode().indices.to_numpy()], axis=1))
    return number[is_new], entities.filter(pa.array(is_new))


def _others(iri: str) -> list[str]:
    """The other spellings of a class."""
    return [form for form in spellings(iri) if form != iri]


def types_of(facts: Facts, options: FactOptions) -> np.ndarray:
    """int64 [resources]: the position of each resource's type in the recipe's list, the first that fits; -1: none."""
    names = [*dict.fromkeys(options.types.values())]
    found = np.full(len(facts.resources), -1, np.int64)
    for iri, name in reversed(list(options.types.items())):
        members = facts.types.get(options.term(iri))
        if members is not None:
            found[members] = names.index(name)
    return found


def coverage(
    entities: EntityNodes, named: Iterable[pa.Array], builder: GraphBuilder, facts_of: set[str]
) -> dict[str, LinkCoverage]:
    """How many nodes of each linked type are linked and have facts. named: the resources of each source. facts_of: the
    relations that come from facts."""
    resources = pa.chunked_array(list(named), pa.string()).combine_chunks()
    result = {}
    for node_type, (number, entity, by_template) in entities.linked.items():
        if by_template:
            is_named = pc.is_in(entity, value_set=resources).to_numpy(zero_copy_only=False)
            number, entity = number[is_named], entity.filter(pa.array(is_named))
        has_fact = np.zeros(len(builder.nodes_of(node_type)), bool)
        for (source, relation, target), edges in builder.edges.items():
            if relation in facts_of:
                for span in spans(len(edges.source)):
                    has_fact[edges.source[span] if source == node_type else []] = True
                    has_fact[edges.target[span] if target == node_type else []] = True
        counts = pc.value_counts(entity).field("counts").to_numpy() if len(entity) else np.empty(0, np.int64)
        linked = np.unique(number)
        result[node_type] = LinkCoverage(
            len(has_fact),
            len(linked),
            int(has_fact[linked].sum()),
            int((counts > 1).sum()),
            int(counts[counts > 1].sum()),
        )
    return result
