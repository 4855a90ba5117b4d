"""The words of a recipe about edge lists: tables with an edge a row, between nodes of two types."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from kgrec.sources.recipe.interaction_part import Interactions, TimeColumn
from kgrec.sources.recipe.recipe_part import Name
from kgrec.sources.recipe.table_part import FeatureColumn, TableFile


class EdgeTable(TableFile):
    """A table with an edge a row: `{file: has_genre.csv, between: [film, genre], source: film, target: genre}`. A node
    may have many. They are never the edges to recommend: those are `interactions`."""

    between: tuple[Name, Name] = Field(description="the two node types, source first: [film, genre]")
    source: str = Field("source", description="the column of the ids where edges begin")
    target: str = Field("target", description="the column of the ids where edges end")
    weight: str | None = Field(None, description="the column of weights")
    time: TimeColumn | None = Field(None, description="the column of times")
    duplicates: Literal["merge", "keep", "first", "last", "sum", "error"] = Field(
        "merge",
        description="merge: rows that repeat an earlier one in all columns that the recipe reads are left out and "
        "counted, and rows of one pair with another weight or time stay. Of one source and target: keep all, first or "
        "last in time, one with the summed weight",
    )
    features: dict[Name, FeatureColumn] = Field({}, description="features of the edges, such as a role's name")

    @model_validator(mode="after")
    def _fits(self) -> EdgeTable:
        if not self.file:
            raise ValueError("`file` names no file; say where the edges stand")
        if any(feature.file for feature in self.features.values()):
            raise ValueError("features of edges are columns of the table, not a .npy `file`")
        if self.source == self.target:
            raise ValueError(f"`source` and `target` are one column, {self.source!r}; name the columns of both ends")
        return self

    def events_of(self, relation: str) -> Interactions:
        """The same table as rows of sources and targets, less `merge`."""
        own = {key: value for key, value in self if key not in ("source", "target", "duplicates")}
        kept = "keep" if self.duplicates == "merge" else self.duplicates
        return Interactions(**own, user=self.source, item=self.target, relation=relation, duplicates=kept)
