"""The facts of a knowledge graph's files as numbers, and the options of a recipe about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kgrec.graph.schema import clean_name
from kgrec.sources.rdf.numbering import first_rows
from kgrec.sources.rdf.schema_org import CONTEXT, schemes, spellings, vocabulary_term

RDF_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
KNOWN_PREFIXES = {name: CONTEXT[name] for name in ("rdf", "rdfs", "owl", "skos", "foaf", "dcterms", "schema")}
SUBCLASS_OF = "http://www.w3.org/2000/01/rdf-schema#subClassOf"


@dataclass(frozen=True, eq=False)
class Literals:
    """All literal values of one predicate."""

    subject: np.ndarray  #: int64 [n], position in Facts.resources
    value: pa.Array  #: strings [n], lexical forms
    language: pa.Array  #: strings [n], null where none
    datatype: pa.Array  #: strings [n], IRI

    def where(self, mask: np.ndarray) -> Literals:
        """The values where a mask is true."""
        if mask.all():
            return self
        columns = (self.value, self.language, self.datatype)
        return Literals(self.subject[mask], *(column.filter(pa.array(mask)) for column in columns))

    def distinct(self) -> Literals:
        """Each value once, in the order of first appearance."""
        coded = [column.dictionary_encode() for column in (self.value, self.language, self.datatype)]
        codes = [column.indices.fill_null(-1).to_numpy().astype(np.int64) for column in coded]
        return self.where(first_rows(np.stack([self.subject, *codes], axis=1)))


@dataclass(frozen=True, eq=False)
class Facts:
    """The facts in RDF files or tables of triples, as numbers. They are a set: a repeated triple counts once.

    Predicates and classes are spelled as `vocabulary_term` spells them: those of schema.org always with http.
    """

    resources: pa.Array  #: strings [n]: IRIs or entity ids (blank nodes as "_:..." ids), by first appearance
    edges: Mapping[str, tuple[np.ndarray, np.ndarray]]  #: predicate -> (subject, object), int positions in file order
    types: Mapping[str, np.ndarray]  #: class IRI -> positions of its instances, in order
    literals: Mapping[str, Literals]  #: predicate -> values, only the predicates that the source wants
    num_triples: int  #: triples read
    skipped: Mapping[str, int]  #: why -> how many were left out (excluded predicate, other language ...)
    skipped_of: Mapping[tuple[str, str], int] = field(default_factory=dict)  #: (why, predicate) -> how many
    spelled: Mapping[str, str] = field(default_factory=dict)  #: schema.org's terms -> their first spelling in the files
    schemes: frozenset[str] = frozenset()  #: `http`, `https` or both: how schema.org's terms are spelled in the files


def _clean(name: object) -> str:
    if clean_name(str(name)) != name:
        clean = clean_name(str(name))
        raise ValueError(f"{name!r} may only have letters, digits and single underscores; write {clean!r}")
    return str(name)


#: What `_clean` accepts, for the JSON Schema
CleanText = Annotated[str, Field(pattern="^[A-Za-z0-9]+(_[A-Za-z0-9]+)*$")]
CleanName = Annotated[str, BeforeValidator(_clean, json_schema_input_type=CleanText)]


class LiteralFeature(BaseModel):
    """A predicate whose literal values become a feature of nodes, or with `to` new nodes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feature: str | None = Field(None, description="the name of the feature; default: the predicate's short name")
    kind: Literal["numeric", "categorical", "multi", "text"] = Field(
        "categorical",
        description="numeric: a number. categorical: one category. multi: several categories. text: a text",
    )
    language: str | None = Field(None, description="use only values in this language, and values without a language")
    to: CleanName | None = Field(
        None, description="instead of a feature: make each distinct value a node of this type, with an edge to it"
    )
    relation: CleanName | None = Field(
        None, description="with `to`: the name of the edges to these nodes; default: the predicate's short name"
    )

    @model_validator(mode="after")
    def _fits(self) -> LiteralFeature:
        if self.to and (self.feature or self.kind != "categorical"):
            raise ValueError("set either `to`, to make nodes, or `feature` and `kind`, to make a feature; not both")
        if self.relation and not self.to:
            raise ValueError("`relation` needs `to`: name the node type of the values")
        return self


class ClassNodes(BaseModel):
    """Makes each class a node, with an edge from each resource to each of its classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    relation: CleanName = Field("is_a", description="the name of the edges from resources to their classes")
    to: CleanName = Field(description="the node type of the classes")
    subclass_of: str = Field(
        SUBCLASS_OF, description="the predicate between a class and its superclass; its facts become edges as well"
    )


class FactOptions(BaseModel):
    """What predicates and classes mean. A predicate is written as an IRI, as the beginning of IRIs with a star
    (`http://dbpedia.org/ontology/*`), as a short form with a prefix (`dbo:starring`, with `prefixes`), or as in the
    file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefixes: dict[str, str] = Field(
        {},
        description="prefix -> namespace: {dbo: http://dbpedia.org/ontology/}. The prefixes rdf, rdfs, owl, skos, "
        "foaf, dcterms and schema are known already, except in tables of triples",
    )
    include: list[str] | None = Field(None, description="use only these predicates; default: all")
    exclude: list[str] = Field([], description="leave out these predicates")
    names: dict[str, str] = Field(
        {}, description="predicate -> name of its relation; default: a name made from the predicate"
    )
    inverse_of: dict[str, str] = Field(
        {}, description="predicate -> the predicate that says the same in the other direction"
    )
    types: dict[str, str] = Field(
        {},
        description="class -> node type; for an entity of several classes, the first one listed counts. If the node "
        "type also has tables, such as item, the entity becomes another node of it. Its id comes from `links`, or is "
        "its IRI",
    )
    node_type: str = Field("entity", description="the node type of entities that have none of the classes in `types`")
    labels: list[str] = Field(
        [], description="predicates whose values are labels; the first one in this list that a node has is used"
    )
    literals: dict[str, LiteralFeature] = Field(
        {}, description="predicates whose values become features of nodes, or with `to` new nodes"
    )
    classes: ClassNodes | None = Field(
        None,
        description="make classes nodes: {relation: is_a, to: category}; default: classes are only used for `types`",
    )
    language: list[str] = Field(
        [], description="languages of labels and values, in order of preference; default: all languages are kept"
    )
    blank_nodes: Literal["keep", "skip"] = Field(
        "keep", description="keep or skip: what to do with facts about blank nodes (nodes without an IRI)"
    )

    def expanded(self, name: str) -> str:
        """The IRI of a short form such as `dbo:starring`, if its prefix is known; any other name as it is.

        >>> options = FactOptions(prefixes={"dbo": "http://dbpedia.org/ontology/"})
        >>> options.expanded("dbo:starring"), options.expanded("skos:broader")
        ('http://dbpedia.org/ontology/starring', 'http://www.w3.org/2004/02/skos/core#broader')
        """
        prefix, colon, rest = name.partition(":")
        namespace = self.prefixes.get(prefix, self.known_prefixes().get(prefix))
        return namespace + rest if colon and namespace is not None else name

    def known_prefixes(self) -> Mapping[str, str]:
        """The prefixes that need no declaration."""
        return KNOWN_PREFIXES

    def term(self, name: str) -> str:
        """The IRI of a predicate or class, spelled as in `Facts`."""
        return vocabulary_term(self.expanded(name))

    def shown(self, iri: str) -> str:
        """A predicate or class as this recipe would write it, with the longest prefix that fits.

        >>> FactOptions(prefixes={"schema": "https://schema.org/"}).shown("http://schema.org/name")
        'schema:name'
        """
        fits = [(prefix, start) for prefix, start in self.prefixes.items() if self._is_in(iri, start)]
        prefix, start = max(fits, key=lambda pair: len(pair[1]), default=("", ""))
        return f"{prefix}:{vocabulary_term(iri)[len(vocabulary_term(start)) :]}" if fits else iri

    @staticmethod
    def _is_in(iri: str, namespace: str) -> bool:
        term, start = vocabulary_term(iri), vocabulary_term(namespace)
        return bool(start) and term.startswith(start) and term != start

    def matches(self, predicate: str, patterns: list[str]) -> bool:
        """Whether a predicate is one of these IRIs, or begins like one that ends in `*`."""
        forms = spellings(predicate)
        for pattern in map(self.expanded, patterns):
            if pattern in forms or (pattern.endswith("*") and any(form.startswith(pattern[:-1]) for form in forms)):
                return True
        return False

    def wants(self, predicate: str) -> bool:
        """Whether facts of this predicate are used, by `include` and `exclude`. Facts between `classes` need no
        `include`."""
        if self.matches(predicate, self.exclude):
            return False
        is_of_classes = self.classes is not None and self.matches(predicate, [self.classes.subclass_of])
        return self.include is None or is_of_classes or self.matches(predicate, self.include)

    def schemes(self) -> set[str]:
        """Whether these options spell schema.org's terms with `http`, with `https`, or both. Names with a prefix that
        needs no declaration spell neither."""
        named = [*(self.include or ()), *self.exclude, *self.names, *self.types, *self.labels, *self.literals]
        named += [*self.inverse_of, *self.inverse_of.values()]
        spelled = [name for name in named if "://" in name or name.partition(":")[0] in self.prefixes]
        return schemes(map(self.expanded, spelled))
