"""Facts about new items: which resources they are, and what ties them to the nodes that a graph has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, Fault, KgrecError, some
from kgrec.sources.building.attached_items import AttachedItems, NamedSource, counted
from kgrec.sources.building.fact_edges import EdgePlacer, add_classes, add_facts
from kgrec.sources.building.links import OwnIds, ids_of, types_of
from kgrec.sources.building.literals import add_labels, add_value_nodes, values_that_are_nodes
from kgrec.sources.building.new_item_rows import file_format
from kgrec.sources.building.relation_names import RelationNames
from kgrec.sources.building.triple_tables import read_triples
from kgrec.sources.rdf.collector import FactCollector
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.rdf.left_out import NO_NUMBER, TOO_GREAT
from kgrec.sources.rdf.rdf_file import format_of
from kgrec.sources.rdf.reading import LANG_STRING, XSD_STRING, facts_of, read_rdf
from kgrec.sources.rdf.schema_org import spellings, vocabulary_term
from kgrec.sources.rdf.source import RdfSource
from kgrec.sources.recipe.knowledge_part import Triples

Triple = tuple[Any, Any, Any]


class FactSource(NamedTuple):
    """Facts about new items, and what their predicates mean."""

    options: FactOptions
    facts: Facts


# ---------------------------------------------------------------------- reading


def facts_of_file(items: AttachedItems, source: NamedSource) -> list[FactSource]:
    """The facts of an RDF file, as each `rdf` part of the recipe reads them. Raises KgrecError where it has none, and
    as `read_rdf` does."""
    return [
        FactSource(
            part, read_rdf(part.model_copy(update=_file_of(part, source.name)), source.folder, _ids(items, part))
        )
        for part in _rdf_parts(items, source)
    ]


def _file_of(part: RdfSource, name: str) -> dict[str, Any]:
    """Words of an `rdf` part that make it one of a file alone."""
    format = "auto" if format_of(Path(name)) is not None else part.format
    return {"files": [name], "endpoint": None, "contexts": {}, "format": format}


def facts_of_rdf_graph(items: AttachedItems, source: NamedSource) -> list[FactSource]:
    """The same of an rdflib graph."""
    parts = _rdf_parts(items, source)
    return [FactSource(part, facts_of(source.content, part, _ids(items, part))) for part in parts]


def facts_of_table(items: AttachedItems, source: NamedSource, table: Triples) -> list[FactSource]:
    """The facts of a table of triples with the columns of one of the recipe's. Raises as `read_triples` does."""
    own = table.model_copy(update=file_format(table, source))
    return [FactSource(table, read_triples(own, source.folder, items.state.bad_rows, _ids(items, table)))]


def facts_of_triples(items: AttachedItems, source: NamedSource) -> list[FactSource]:
    """The facts of triples in memory, by the recipe's `rdf` parts, else by its first table of triples. Terms are texts,
    numbers or those of rdflib; prefixes of the recipe are known, and an item may be named by its id."""
    if not items.recipe.rdf and items.recipe.triples:
        table = items.recipe.triples[0]
        ends = zip((table.head, table.relation, table.tail), zip(*source.content))
        rows = pa.table({name: [str(one) for one in end] for name, end in ends})
        return facts_of_table(items, NamedSource(rows, source.name, source.folder), table)
    found = []
    for part in _rdf_parts(items, source):
        collector = FactCollector(part, _ids(items, part))
        for triple in source.content:
            _collect(triple, part, collector, items)
        found.append(FactSource(part, collector.facts()))
    return found


def _rdf_parts(items: AttachedItems, source: NamedSource) -> Sequence[RdfSource]:
    if not items.recipe.rdf:
        message = (
            "the recipe of this run reads no RDF, so nothing says what predicates mean; give rows with the columns of "
            "its item table"
        )
        raise KgrecError(Fault(message, source.name, kind="no rdf"))
    return items.recipe.rdf


def _ids(items: AttachedItems, options: FactOptions) -> list[str]:
    """The predicates whose values are ids."""
    return [link.term(options) for link in items.recipe.links.values() if link.predicate is not None]


def _collect(triple: Triple, options: FactOptions, collector: FactCollector, items: AttachedItems) -> None:
    subject, predicate, object = triple
    head, name = _iri(subject, options, items), options.expanded(str(predicate))
    valued = {options.term(one) for one in (*options.labels, *options.literals)} | {*_ids(items, options)}
    is_term = _is_of_rdflib(object)
    is_literal = hasattr(object, "datatype") if is_term else not isinstance(object, str)
    if is_literal or (not is_term and not _looks_like_iri(object, options) and vocabulary_term(name) in valued):
        language = getattr(object, "language", None)
        kind = str(getattr(object, "datatype", None) or (LANG_STRING if language else XSD_STRING))
        collector.literal(head, name, str(object), language, kind)
    else:
        collector.fact(head, name, _name(object) if is_term else options.expanded(object))


def _iri(subject: Any, options: FactOptions, items: AttachedItems) -> str:
    """A subject's IRI: of a text that is none, by the template of items."""
    link = items.recipe.links.get(items.item)
    if _is_of_rdflib(subject):
        return _name(subject)
    text = str(subject)
    if link is None or link.template is None or _looks_like_iri(text, options):
        return options.expanded(text)
    return link.template.replace("{id}", text)


def _name(term: Any) -> str:
    """A resource of rdflib as facts name it."""
    return f"_:{term}" if type(term).__name__ == "BNode" else str(term)


def _is_of_rdflib(term: Any) -> bool:
    return type(term).__module__.partition(".")[0] == "rdflib"


def _looks_like_iri(text: str, options: FactOptions) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://\S+$|urn:\S+$", text) is not None or options.expanded(text) != text


# ---------------------------------------------------------------------- placing


def place_item_facts(items: AttachedItems, sources: Sequence[FactSource]) -> None:
    """The subjects of facts that are new items, and what ties them to nodes that are there. Raises BadData where no
    subject is a new item, and for those that are known."""
    _know_nodes(items, [options for options, _ in sources])
    found = [_items_among(items, options, facts) for options, facts in sources]
    entities = pa.concat_arrays([entity for entity, _ in found])
    ids = pa.concat_arrays([names for _, names in found])
    if not len(ids):
        raise _no_items(items, sources)
    items.add(pc.unique(ids), items.name)
    items.state.entities.link_by_values(items.item, entities, ids)
    relations = _relations(items)
    unknown: dict[str, int] = {}
    for options, facts in sources:
        _place(items, options, facts, relations, unknown)
    items.state.literal_columns.place(items.state.builder, items.state.report)
    for name, count in unknown.items():
        if name not in relations:
            items.notes.append(f"left out: {counted(count, 'fact')} of {name}, which is no relation of this run")
    for why, count in items.state.report.dropped.items():
        if why.endswith((NO_NUMBER.partition("{}")[2], TOO_GREAT.partition("{}")[2])):
            items.notes.append(f"left out: {count:,} {why}")


def _know_nodes(items: AttachedItems, all_options: Iterable[FactOptions]) -> None:
    """The entities that nodes of the graph are: by the template of their IRIs, or by their ids."""
    named = {name for options in all_options for name in (*options.types.values(), options.node_type)}
    classes = {options.classes.to for options in all_options if options.classes is not None}
    for node_type in items.graph.node_types:
        link = items.recipe.links.get(node_type)
        if link is None and node_type not in named | classes:
            continue
        ids = items.graph.vocabulary[node_type].id_array
        ids = ids.filter(pc.invert(pc.starts_with(ids, "_:")))  # a blank node of other files is no other's
        forms = [(form, name) for name in ids.to_pylist() for form in spellings(name)] if node_type in classes else []
        of_forms, owners = (pa.array([pair[end] for pair in forms], pa.string()) for end in (0, 1))
        entities, owners = pa.concat_arrays([ids, of_forms]), pa.concat_arrays([ids, owners])
        if link is not None and link.template is not None:
            before, _, after = link.template.partition("{id}")
            entities = pa.concat_arrays([entities, pc.binary_join_element_wise(before, ids, after, "")])
            owners = pa.concat_arrays([owners, ids])
        items.state.entities.link_by_values(node_type, entities, owners)


def _items_among(items: AttachedItems, options: FactOptions, facts: Facts) -> tuple[pa.Array, pa.Array]:
    """The subjects that are items, and their ids: strings [n], [n]."""
    resources = facts.resources.cast(pa.string())
    is_subject = _subjects(facts)
    ids, is_typed = _own_ids(items, options, facts, resources), _of_class(items.item, options, facts)
    places = items.state.entities.find(resources)
    others = [name for name in items.state.entities.types() if name != items.item]
    is_other, row = np.zeros(len(resources), bool), np.repeat(np.arange(len(resources)), np.diff(places.ptr))
    names = items.state.entities.types()
    is_other[row[np.isin(places.type, [names.index(name) for name in others])]] = True
    is_blank = pc.starts_with(resources, "_:").to_numpy(zero_copy_only=False)
    has_id = ids.is_valid().to_numpy(zero_copy_only=False)
    if _rules(items, [options]):
        is_item = is_subject & (has_id | (is_typed & ~is_blank))
    else:
        is_item = is_subject & ~is_blank & (types_of(facts, options) < 0)
    kept = pa.array(is_item & ~is_other)
    return resources.filter(kept), pc.coalesce(ids, resources).filter(kept)


def _subjects(facts: Facts) -> np.ndarray:
    """bool [resources]: of which something is said."""
    found = np.zeros(len(facts.resources), bool)
    of_values = [literals.subject for literals in facts.literals.values()]
    for subject in (*(subject for subject, _ in facts.edges.values()), *facts.types.values(), *of_values):
        found[subject] = True
    return found


def _own_ids(items: AttachedItems, options: FactOptions, facts: Facts, resources: pa.Array) -> pa.Array:
    """The id of each resource as an item, by the link of items; null where that says none: strings [resources]."""
    link, none = items.recipe.links.get(items.item), pa.array([], pa.string())
    if link is not None and link.template is not None:
        before, _, after = link.template.partition("{id}")
        return OwnIds(none, none, (before, after)).of(resources)
    if link is not None and link.predicate is not None:
        return OwnIds(*ids_of(facts, link.term(options))).of(resources)
    return pa.nulls(len(resources), pa.string())


def _of_class(node_type: str, options: FactOptions, facts: Facts) -> np.ndarray:
    """bool [resources]: those of a class that the recipe says is this node type."""
    names = [*dict.fromkeys(options.types.values())]
    of_type: np.ndarray = types_of(facts, options) == (names.index(node_type) if node_type in names else -2)
    return of_type


def _rules(items: AttachedItems, all_options: Iterable[FactOptions]) -> list[str]:
    """By what a resource is known to be an item, in words; []: the recipe does not say."""
    link = items.recipe.links.get(items.item)
    rules = []
    if link is not None and link.template is not None:
        rules.append(f"an IRI like {link.template}")
    if link is not None and link.predicate is not None:
        rules.append(f"a value of {link.predicate}, which is its id")
    for options in all_options:
        rules += [f"the class {name}" for name, node_type in options.types.items() if node_type == items.item]
    return rules


def _no_items(items: AttachedItems, sources: Sequence[FactSource]) -> BadData:
    """The error where no subject is a new item."""
    names = [
        name
        for _, facts in sources
        for name in facts.resources.cast(pa.string()).filter(pa.array(_subjects(facts))).to_pylist()
    ]
    names = list(dict.fromkeys(names))
    wanted = (
        " or ".join(dict.fromkeys(_rules(items, [options for options, _ in sources]))) or "an IRI that is no node yet"
    )
    found = f"its subjects are {some(names, 3)}" if names else "it states nothing that the recipe reads"
    message = f"says nothing of a new {items.item}: {found}; {items.item} has {wanted}, in the recipe of this run"
    return BadData(Fault(message, items.name, kind="no items", file_is="subject"))


def _relations(items: AttachedItems) -> dict[str, str]:
    """By predicate, the relation that the graph knows it by; those of tables and interactions are none of facts."""
    recipe = items.recipe
    of_tables = {name for nodes in recipe.nodes.values() for table in nodes.tables for name in table.edges}
    of_tables |= {*recipe.edges, *(name for table in recipe.interactions for name in table.relation_names)}
    edges = items.graph.schema.edges.items()
    return {vocabulary_term(one.label): edge[1] for edge, one in edges if one.label and edge[1] not in of_tables}


def _place(
    items: AttachedItems, options: FactOptions, facts: Facts, relations: dict[str, str], unknown: dict[str, int]
) -> None:
    """The facts of one source as edges and features. unknown: predicate -> facts of new items, to be added to."""
    state = items.state
    places = state.entities.find(facts.resources)
    is_new = np.zeros(len(facts.resources), bool)
    row = np.repeat(np.arange(len(facts.resources)), np.diff(places.ptr))
    item = state.entities.types().index(items.item)
    is_new[row[(places.type == item) & (places.number >= items.first)]] = True
    number = np.full(len(facts.resources), -1)
    number[row[places.type == item]] = places.number[places.type == item]
    resources, edges = facts.resources.cast(pa.string()), {}
    for predicate, (subject, object) in facts.edges.items():
        if predicate not in relations:
            unknown[predicate] = unknown.get(predicate, 0) + int(is_new[subject].sum())
            continue
        edges[predicate] = subject, object
        lost = is_new[subject] & ~places.have(object)
        values = resources.take(pa.array(object[lost])).to_pylist()
        items.miss(relations[predicate], "node", (number[subject[lost]] - items.first).tolist(), values)
    names, values_of = RelationNames(), values_that_are_nodes(facts, options)
    chosen = {predicate: relations[predicate] for predicate in (*edges, *values_of) if predicate in relations}
    names.add([*edges, *values_of], options.model_copy(update={"names": chosen, "inverse_of": {}}))
    placer = EdgePlacer(state.entities.types(), names, state.builder, state.report)
    known = replace(facts, edges=edges)
    add_facts(known, places, placer)
    if options.classes is not None:
        add_classes(known, options.classes, places, state.entities, placer)
    add_value_nodes(known, options, places, placer, state.builder, state.report)
    add_labels(known, options, places, placer.types, state.builder, state.report)
    state.literal_columns.add(known, options, places, placer.types, state.report)
