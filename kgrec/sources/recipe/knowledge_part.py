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
    value is the node's id."""

    own_words: ClassVar[frozenset[str]] = frozenset({"prefixes"})

    template: str | None = Field(
        None, description="the entity's IRI with {id} for the node's id, such as https://shop.example/product/{id}"
    )
    file: Files = Field([], description="a table with the node's id and its entity in each row")
    id: str = Field("id", description="the column with node ids")
    entity: str = Field("entity", description="the column with entities")
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
        return self

    def term(self, options: FactOptions) -> str:
        """The predicate's IRI as it is written in the facts of a source with these options."""
        prefixes = {**options.prefixes, **self.prefixes}
        return options.model_copy(update={"prefixes": prefixes}).term(self.predicate or "")


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
