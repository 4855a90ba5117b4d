"""The keys of a recipe for knowledge: which entity each node is, and tables of triples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from kgrec.sources.rdf.facts import RDF_TYPE, FactOptions
from kgrec.sources.recipe.recipe_part import Files
from kgrec.sources.recipe.table_part import TableFile, TableFormat


class Link(TableFormat):
    """Which entity of the knowledge graph each node is: by a table, by a template of the IRI, or by a predicate whose
    value is the node's id. A table may have parts of IRIs, or values of a predicate, in place of entities."""

    own_words: ClassVar[frozenset[str]] = frozenset({"prefixes"})

    template: str | None = Field(
        None, description="the entity's IRI with {id} for the node's id, such as https://shop.example/product/{id}"
    )
    file: Files = Field([], description="a table with the node's id and its entity in each row")
    id: str = Field("id", description="the column with node ids")
    entity: str = Field("entity", description="the column with entities")
    iri: str | None = Field(
        None,
        description="for a table whose column has only a part of each IRI, such as Q42: the IRI with {entity} for that "
        "part, such as http://www.wikidata.org/entity/{entity}",
    )
    value_of: str | None = Field(
        None,
        description="for a table whose column has no entities but ids of another kind: the predicate whose value is "
        "such an id, such as wdt:P345 for those of IMDb. Its prefix is looked up as that of `predicate`",
    )
    predicate: str | None = Field(
        None,
        description="the predicate whose value is a node's id, such as schema:gtin13. Its prefix is looked up in "
        "`prefixes` here, then in those of `rdf` or `triples`",
    )

    @model_validator(mode="after")
    def _fits(self) -> Link:
        ways = [name for name in ("template", "file", "predicate") if getattr(self, name)]
        if len(ways) != 1:
            found = f"; found {' and '.join(ways)}" if ways else ""
            raise ValueError(f"exactly one of `template`, `file` and `predicate` is needed{found}")
        if self.template and "{id}" not in self.template:
            raise ValueError("`template` does not contain {id}; write {id} where the node's id belongs")
        of_table = [name for name in ("iri", "value_of") if getattr(self, name)]
        if of_table and not self.file:
            raise ValueError(f"`{of_table[0]}` is of the column `entity` of a table; name the table as `file`")
        if len(of_table) > 1:
            raise ValueError("`iri` and `value_of` exclude each other; the column `entity` has either one or the other")
        if self.iri and "{entity}" not in self.iri:
            raise ValueError("`iri` does not contain {entity}; write {entity} where the column's value belongs")
        return self

    @property
    def value_predicate(self) -> str | None:
        """The predicate whose values lead to the nodes: by their ids, or by a table; None: links without one."""
        return self.predicate or self.value_of

    def term(self, options: FactOptions) -> str:
        """The IRI of `value_predicate` as it is written in the facts of a source with these options."""
        prefixes = {**options.prefixes, **self.prefixes}
        return options.model_copy(update={"prefixes": prefixes}).term(self.value_predicate or "")


class Triples(TableFile, FactOptions):
    """Facts in a table with the columns head, relation and tail."""

    own_words: ClassVar[frozenset[str]] = frozenset({"prefixes"})

    head: str = Field("head", description="the column with heads (where a fact begins)")
    relation: str = Field("relation", description="the column with relations")
    tail: str = Field("tail", description="the column with tails (where a fact ends)")
    type_relation: str | None = Field(
        None,
        description="for `types` and `classes`: the relation whose tails are classes; default: rdf:type",
    )

    def known_prefixes(self) -> Mapping[str, str]:
        """No prefixes are known by default, because a plain word in a table may look like a CURIE."""
        return {}

    @property
    def class_relation(self) -> str | None:
        """The relation whose tails are classes, as it is written in the facts."""
        if self.type_relation is not None:
            return self.term(self.type_relation)
        return RDF_TYPE if self.types or self.classes else None
