"""Facts onto nodes: a linked item is the entity's node, other resources become nodes of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.sources.building.graph_builder import EdgeColumns, GraphBuilder
from kgrec.sources.building.relation_names import RelationNames
from kgrec.sources.building.report import BuildReport, LinkCoverage
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.recipe.knowledge_part import Link
from kgrec.sources.tables.bad_rows import BadRows
from kgrec.sources.tables.columns import Ids
from kgrec.sources.tables.table_columns import read_table


@dataclass(frozen=True, eq=False)
class Places:
    """Which nodes each resource is: resource r is the nodes at `ptr[r]` to `ptr[r + 1]`. Most are one, some none."""

    ptr: np.ndarray  #: int64 [resources + 1]
    type: np.ndarray  #: int64 [ptr[-1]], position among the node types
    number: np.ndarray  #: int64 [ptr[-1]], local number

    def of(self, resource: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [n], [n]: for each node that one of these resources is, the position of the resource in the argument
        and the position of the node here."""
        count = self.ptr[resource + 1] - self.ptr[resource]
        row = np.repeat(np.arange(len(resource)), count)
        within = np.arange(len(row)) - np.repeat(count.cumsum() - count, count)
        return row, self.ptr[resource][row] + within


class EntityNodes:
    """The entities that are nodes: linked ones, and those that facts have named so far."""

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder
        self._types: dict[str, int] = {}
        self._entities: list[pa.Array] = []
        self._type: list[np.ndarray] = []
        self._number: list[np.ndarray] = []
        self.linked: dict[str, tuple[np.ndarray, pa.Array, bool]] = {}  #: numbers, entities, whether by a template

    def types(self) -> list[str]:
        """The node types in the order of their positions in `Places`."""
        return list(self._types)

    def link(self, node_type: str, link: Link, folder: Path, bad_rows: BadRows, report: BuildReport) -> None:
        """Say which entities the nodes of a type are."""
        nodes = self._builder.nodes_of(node_type)
        if link.template is not None:
            before, _, after = link.template.partition("{id}")
            number, entities = np.arange(len(nodes)), pc.binary_join_element_wise(before, nodes.ids, after, "")
        else:
            columns = [Ids(link.id), Ids(link.entity)]
            read = read_table(link, link.file, columns, folder, bad_rows)
            ids, entities = (read[column].dictionary_decode() for column in columns)
            number = nodes.find(ids)
            report.drop(f"links of {link.file[0]} from {node_type} ids that the graph has not", (number < 0).sum())
            entities, number = entities.filter(pa.array(number >= 0)), number[number >= 0]
        self.linked[node_type] = (number, entities, link.template is not None)
        self._add(node_type, number, entities)

    def _add(self, node_type: str, number: np.ndarray, entities: pa.Array) -> None:
        code = self._types.setdefault(node_type, len(self._types))
        self._entities.append(entities.cast(pa.string()))
        self._type.append(np.full(len(number), code, np.int64))
        self._number.append(np.asarray(number, np.int64))

    def place(self, facts: Facts, options: FactOptions) -> Places:
        """The nodes of all resources; those that are none yet and stand in an edge, or are of a class that the recipe
        names, become nodes."""
        known = self._lookup(facts.resources)
        resource_type = _types_of(facts, options)
        wanted = resource_type >= 0
        for subject, object in facts.edges.values():
            wanted[subject] = wanted[object] = True
        new = np.flatnonzero(wanted & (np.diff(known.ptr) == 0))
        names = [*dict.fromkeys([*options.types.values(), options.node_type])]
        of_type = np.where(resource_type[new] >= 0, resource_type[new], names.index(options.node_type))
        for code, name in enumerate(names):
            chosen = new[of_type == code]
            if len(chosen):
                ids = facts.resources.take(pa.array(chosen)).cast(pa.string())
                label = next((iri for iri, known_as in options.types.items() if known_as == name), "")
                self._add(name, self._builder.nodes_of(name, options.expanded(label)).add(ids), ids)
        return self._lookup(facts.resources)

    def _lookup(self, resources: pa.Array) -> Places:
        entities = pa.chunked_array(self._entities, pa.string()).combine_chunks()
        found = pc.fill_null(pc.index_in(entities, value_set=resources.cast(pa.string())), -1)
        resource = found.to_numpy(zero_copy_only=False).astype(np.int64)
        order = np.argsort(resource, kind="stable")[np.count_nonzero(resource < 0) :]
        ptr = np.concatenate([[0], np.bincount(resource[order], minlength=len(resources)).cumsum()])
        node_type, number = (np.concatenate(c)[order] if c else order for c in (self._type, self._number))
        return Places(ptr.astype(np.int64), node_type, number)


def _types_of(facts: Facts, options: FactOptions) -> np.ndarray:
    """int64 [resources]: the position of each one's type among the recipe's, the first that fits; -1: none."""
    names = [*dict.fromkeys(options.types.values())]
    found = np.full(len(facts.resources), -1, np.int64)
    for iri, name in reversed(list(options.types.items())):
        members = facts.types.get(options.expanded(iri))
        if members is not None:
            found[members] = names.index(name)
    return found


def add_facts(facts: Facts, places: Places, types: list[str], names: RelationNames, builder: GraphBuilder) -> None:
    """The edges that facts state between the nodes that resources are: an edge type for each pair of node types."""
    for predicate, (subject, object) in facts.edges.items():
        row, head = places.of(subject)
        further, tail = places.of(object[row])
        head = head[further]
        kind = places.type[head] * len(types) + places.type[tail]
        for code in pd.unique(kind):
            of = kind == code
            edge = (types[int(code) // len(types)], names[predicate], types[int(code) % len(types)])
            builder.add_edges(
                edge,
                EdgeColumns(
                    places.number[head[of]],
                    places.number[tail[of]],
                    label=predicate,
                    inverse_of=names.inverse(predicate),
                ),
            )


def coverage(
    entities: EntityNodes, named: Iterable[pa.Array], builder: GraphBuilder, facts_of: set[str]
) -> dict[str, LinkCoverage]:
    """How far the linked node types are known. named: the resources of each source; facts_of: relations of facts."""
    resources = pa.chunked_array(list(named), pa.string()).combine_chunks()
    result = {}
    for node_type, (number, entity, by_template) in entities.linked.items():
        if by_template:
            is_named = pc.is_in(entity, value_set=resources).to_numpy(zero_copy_only=False)
            number, entity = number[is_named], entity.filter(pa.array(is_named))
        has_fact = np.zeros(len(builder.nodes_of(node_type)), bool)
        for (source, relation, target), edges in builder.edges.items():
            if relation in facts_of:
                has_fact[edges.source if source == node_type else []] = True
                has_fact[edges.target if target == node_type else []] = True
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
