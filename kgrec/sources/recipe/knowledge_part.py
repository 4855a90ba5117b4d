"""The words of a recipe about knowledge: which entity a node is, and tables of triples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from kgrec.sources.rdf.facts import RDF_TYPE, FactOptions
from kgrec.sources.recipe.recipe_part import Files
from kgrec.sources.recipe.table_part import TableFile, TableFormat


class Link(TableFormat):
    """Which entity of the knowledge graph a node is: by a table, by a template of its IRI, or by a predicate that holds
    its id."""

    own_words: ClassVar[frozenset[str]] = frozenset({"prefixes"})

    template: str | None = Field(None, description="https://shop.example/product/{id}")
    file: Files = Field([], description="a table of ids and entities")
    id: str = Field("id", description="the column of ids")
    entity: str = Field("entity", description="the column of entities")
    predicate: str | None = Field(
        None,
        description="the predicate whose value is a node's id, such as schema:gtin13: an entity is the node of that "
        "id; `prefixes` here or of the facts' source expand it",
    )

    @model_validator(mode="after")
    def _fits(self) -> Link:
        ways = [name for name in ("template", "file", "predicate") if getattr(self, name)]
        if len(ways) != 1:
            found = f"; found {' and '.join(ways)}" if ways else ""
            raise ValueError(f"say either `template`, `file` or `predicate`{found}")
        if self.template and "{id}" not in self.template:
            raise ValueError("`template` has no {id} in it")
        return self

    def term(self, options: FactOptions) -> str:
        """The predicate as the facts of a source with these options name it."""
        prefixes = {**options.prefixes, **self.prefixes}
        return options.model_copy(update={"prefixes": prefixes}).term(self.predicate or "")


class Triples(TableFile, FactOptions):
    """Facts in a table of head, relation and tail."""

    own_words: ClassVar[frozenset[str]] = frozenset({"prefixes"})

    head: str = Field("head", description="the column of heads")
    relation: str = Field("relation", description="the column of relations")
    tail: str = Field("tail", description="the column of tails")
    type_relation: str | None = Field(
        None, description="the relation whose tails are classes, for `types` and `classes`; with them, rdf:type is one"
    )

    def known_prefixes(self) -> Mapping[str, str]:
        """None: the words of a table may look like CURIEs."""
        return {}

    @property
    def class_relation(self) -> str | None:
        """The relation whose tails are classes, as facts name it."""
        if self.type_relation is not None:
            return self.term(self.type_relation)
        return RDF_TYPE if self.types or self.classes else None
