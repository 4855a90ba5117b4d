"""The words of a recipe about knowledge: which entity a node is, and tables of triples."""

from __future__ import annotations

from pydantic import Field, model_validator

from kgrec.sources.rdf.facts import FactOptions
from kgrec.sources.recipe.recipe_part import Files
from kgrec.sources.recipe.table_part import TableFile, TableFormat


class Link(TableFormat):
    """Which entity of the knowledge graph a node is: by a table, or by a template of its IRI."""

    template: str | None = Field(None, description="https://shop.example/product/{id}")
    file: Files = Field([], description="a table of ids and entities")
    id: str = Field("id", description="the column of ids")
    entity: str = Field("entity", description="the column of entities")

    @model_validator(mode="after")
    def _fits(self) -> Link:
        if bool(self.file) == bool(self.template):
            raise ValueError("say either `template` or `file`")
        if self.template and "{id}" not in self.template:
            raise ValueError("`template` has no {id} in it")
        return self


class Triples(TableFile, FactOptions):
    """Facts in a table of head, relation and tail."""

    head: str = Field("head", description="the column of heads")
    relation: str = Field("relation", description="the column of relations")
    tail: str = Field("tail", description="the column of tails")
    type_relation: str | None = Field(None, description="the relation whose tails are classes, for `types`")
