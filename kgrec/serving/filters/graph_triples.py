"""A graph's facts as RDF again, so that SPARQL can ask them: by the IRIs that its nodes and relations have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pydantic

from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.graph.schema import clean_name
from kgrec.serving.filters.node_iris import is_iri, template_of
from kgrec.sources.rdf.facts import KNOWN_PREFIXES, RDF_TYPE, FactOptions
from kgrec.sources.rdf.schema_org import spellings

if TYPE_CHECKING:
    import pyoxigraph

LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
DOUBLE = "http://www.w3.org/2001/XMLSchema#double"


class GraphTriples:
    """What a graph says, as triples.

    A relation is the predicate that it was read from; one that was read from a table has none and is left out. A node
    is its id where that is an IRI, else what the recipe's template makes of it, else `urn:kgrec:TYPE:ID`; what the
    recipe's `literals` made nodes of are texts again, and so are columns under `literals`. Labels are rdfs:label, and
    the class of a node type is its nodes' rdf:type. Terms of schema.org are there in both of their spellings.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._terms: dict[str, list[Any]] = {}

    @cached_property
    def options(self) -> list[FactOptions]:
        """How each RDF source was read, as the recipe said it; none where it says nothing that can be read."""
        parts = (self.graph.recipe or {}).get("rdf")
        found = []
        for part in parts if isinstance(parts, list) else []:
            known = {
                name: part[name] for name in FactOptions.model_fields if isinstance(part, Mapping) and name in part
            }
            try:
                found.append(FactOptions.model_validate(known))
            except pydantic.ValidationError:  # a recipe that was altered
                continue
        return found

    @property
    def prefixes(self) -> dict[str, str]:
        """What a query may abbreviate: the prefixes that all know, and the recipe's."""
        found = dict(KNOWN_PREFIXES)
        for options in self.options:
            found |= options.prefixes
        return found

    @cached_property
    def columns(self) -> dict[str, str]:
        """The predicate of each feature column that came from literals, by the column's name."""
        found = {}
        for options in self.options:
            for name, wanted in options.literals.items():
                if wanted.to is None:
                    found[wanted.feature or clean_name(options.term(name))] = options.term(name)
        return found

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the graph has an IRI to ask by."""
        schema = self.graph.schema
        names = [edge.label for edge in schema.edges.values()] + [node.label for node in schema.nodes.values()]
        return not any(map(is_iri, names)) and not self.columns

    def terms(self, node_type: str) -> list[pyoxigraph.NamedNode | pyoxigraph.BlankNode | pyoxigraph.Literal]:
        """The term of each node of a type, in the order of the graph's numbers."""
        from pyoxigraph import BlankNode, Literal

        if node_type not in self._terms:
            ids = self.graph.vocabulary[node_type].id_array.to_pylist()
            made_of_values = {one.to for options in self.options for one in options.literals.values()}
            if node_type in made_of_values:
                self._terms[node_type] = list(map(Literal, ids))
            else:
                template = template_of(self.graph, node_type)
                self._terms[node_type] = [
                    BlankNode(f"{node_type}{number}")
                    if name.startswith("_:")
                    else _named(name, template) or _named(f"urn:kgrec:{node_type}:{quote(name, safe='')}")
                    for number, name in enumerate(ids)
                ]
        return self._terms[node_type]

    def __iter__(self) -> Iterator[pyoxigraph.Triple]:
        """All of them."""
        from pyoxigraph import Literal, Triple

        for head, predicate, tail in self._found():
            if not isinstance(head, Literal):
                yield Triple(head, predicate, tail)

    def _found(self) -> Iterator[tuple[Any, Any, Any]]:
        from pyoxigraph import Literal, NamedNode

        graph, label = self.graph, NamedNode(LABEL)

        def nodes(iri: str) -> list[NamedNode]:
            return [node for spelled in spellings(iri) if (node := _named(spelled)) is not None]

        for number, ((source, _, target), said) in enumerate(graph.schema.edges.items()):
            predicates = nodes(said.label)
            if predicates:
                edges = graph.edge_index[:, graph.relation_ptr[number] : graph.relation_ptr[number + 1]].tolist()
                heads, tails = self.terms(source), self.terms(target)
                for predicate in predicates:
                    yield from ((heads[head], predicate, tails[tail]) for head, tail in zip(*edges))
        for node_type, node in graph.schema.nodes.items():
            for iri in nodes(node.label):
                yield from ((term, NamedNode(RDF_TYPE), iri) for term in self.terms(node_type))
            labels = graph.vocabulary[node_type].label_array
            if labels is not None:
                named = zip(self.terms(node_type), labels.to_pylist())
                yield from ((term, label, Literal(text)) for term, text in named if text)
            for name, feature in graph.features.get(node_type, {}).items():
                for predicate in nodes(self.columns.get(name, "")):
                    for term, values in zip(self.terms(node_type), _literals(feature)):
                        yield from ((term, predicate, value) for value in values)


def _named(iri: str, template: tuple[str, str] | None = None) -> pyoxigraph.NamedNode | None:
    """The node of an IRI, or of what the template makes of an id; None for what is no IRI."""
    from pyoxigraph import NamedNode

    if template is not None and not is_iri(iri):
        iri = f"{template[0]}{iri}{template[1]}"
    try:
        return NamedNode(iri) if is_iri(iri) else None
    except ValueError:
        return None


def _literals(feature: Feature) -> Iterator[list[pyoxigraph.Literal]]:
    """The values of each row of a column; numbers as xsd:double."""
    from pyoxigraph import Literal, NamedNode

    double = NamedNode(DOUBLE)
    for value in feature.to_arrow().to_pylist() if feature.schema.kind != "vector" else ():
        if value is None:
            yield []
        elif feature.schema.kind == "numeric":
            yield [Literal(f"{value:.9g}", datatype=double)]
        else:
            yield [Literal(text) for text in (value if isinstance(value, list) else [value])]
