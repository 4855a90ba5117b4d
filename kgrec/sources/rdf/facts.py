"""What a knowledge graph's files say, numbered, and the options by which a recipe names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from kgrec.graph.schema import FeatureKind


@dataclass(frozen=True, eq=False)
class Literals:
    """All literal values of one predicate."""

    subject: np.ndarray  #: int64 [n], position in Facts.resources
    value: pa.Array  #: strings [n], lexical forms
    language: pa.Array  #: strings [n], null where none
    datatype: pa.Array  #: strings [n], IRI


@dataclass(frozen=True, eq=False)
class Facts:
    """What RDF files or tables of triples say, numbered."""

    resources: pa.Array  #: strings [n]: IRIs or entity ids (blank nodes as "_:..." ids), by first appearance
    edges: Mapping[str, tuple[np.ndarray, np.ndarray]]  #: predicate -> (subject, object), int positions in file order
    types: Mapping[str, np.ndarray]  #: class IRI -> positions of its instances, in order
    literals: Mapping[str, Literals]  #: predicate -> values, only the predicates that the source wants
    num_triples: int  #: triples read
    skipped: Mapping[str, int]  #: why -> how many were left out (excluded predicate, other language ...)


class LiteralFeature(BaseModel):
    """A predicate whose literal values become a feature column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feature: str | None = Field(None, description="name of the column; default: the predicate's own short name")
    kind: FeatureKind = Field("categorical", description="numeric, categorical, multi or text")
    language: str | None = Field(None, description="only values in this language, or without one")


class FactOptions(BaseModel):
    """What predicates and classes mean. A predicate is named by IRI, by prefix (`http://dbpedia.org/ontology/*`), by
    CURIE (`dbo:starring`, with `prefixes:`), or by the file's own word."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefixes: dict[str, str] = Field({}, description="short names of namespaces: {dbo: http://dbpedia.org/ontology/}")
    include: list[str] | None = Field(None, description="only these predicates; default: all")
    exclude: list[str] = Field([], description="all but these predicates")
    names: dict[str, str] = Field({}, description="predicate -> the relation's name; default: made from the predicate")
    inverse_of: dict[str, str] = Field({}, description="predicate -> the predicate that states the same backwards")
    types: dict[str, str] = Field({}, description="class -> node type, the first that fits wins")
    node_type: str = Field("entity", description="node type of all that has none of `types`")
    labels: list[str] = Field([], description="predicates whose literals are labels, the first that a node has wins")
    literals: dict[str, LiteralFeature] = Field({}, description="predicates whose literals are features of the node")
    language: list[str] = Field([], description="languages of labels and literals, in order of preference; none: all")
    blank_nodes: Literal["keep", "skip"] = Field("keep", description="what becomes of facts about blank nodes")

    def expanded(self, name: str) -> str:
        """The IRI of a CURIE whose prefix is declared; any other name as it is.

        >>> FactOptions(prefixes={"dbo": "http://dbpedia.org/ontology/"}).expanded("dbo:starring")
        'http://dbpedia.org/ontology/starring'
        """
        prefix, colon, rest = name.partition(":")
        return self.prefixes[prefix] + rest if colon and prefix in self.prefixes else name

    def matches(self, predicate: str, patterns: list[str]) -> bool:
        """Whether a predicate is one of these IRIs, or begins as a pattern that ends in `*`."""
        for pattern in map(self.expanded, patterns):
            if predicate == pattern or (pattern.endswith("*") and predicate.startswith(pattern[:-1])):
                return True
        return False

    def wants(self, predicate: str) -> bool:
        """Whether `include` and `exclude` let facts of this predicate in."""
        return (self.include is None or self.matches(predicate, self.include)) and not self.matches(
            predicate, self.exclude
        )
