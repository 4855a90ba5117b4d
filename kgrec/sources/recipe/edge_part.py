"""The keys of a recipe for edge lists: tables with one edge in each row, between nodes of two types."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from kgrec.sources.recipe.interaction_part import Interactions, TimeColumn
from kgrec.sources.recipe.recipe_part import Name
from kgrec.sources.recipe.table_part import FeatureColumn, TableFile


class EdgeTable(TableFile):
    """A table with one edge in each row: `{file: has_genre.csv, between: [film, genre], source: film, target: genre}`.
    A node may have many edges. These edges are never recommended; edges to recommend belong in `interactions`."""

    between: tuple[Name, Name] = Field(description="the two node types, the source first: [film, genre]")
    source: str = Field("source", description="the column with the id of each edge's source node")
    target: str = Field("target", description="the column with the id of each edge's target node")
    weight: str | None = Field(None, description="the column of weights")
    time: TimeColumn | None = Field(None, description="the column of times")
    duplicates: Literal["merge", "keep", "first", "last", "sum", "error"] = Field(
        "merge",
        description="what to do with repeated rows. merge: a row that equals an earlier row in every column that the "
        "recipe reads is left out and counted; rows with the same source and target but another weight or time stay. "
        "The other values look at source and target only. keep: keep all rows. first, last: keep the earliest or the "
        "latest row. sum: keep one row with the sum of the weights. error: stop",
    )
    features: dict[Name, FeatureColumn] = Field({}, description="features of the edges, such as a role's name")

    @model_validator(mode="after")
    def _fits(self) -> EdgeTable:
        if not self.file:
            raise ValueError("`file` is an empty list; name the file with the edges")
        if any(feature.file for feature in self.features.values()):
            raise ValueError("a feature of edges must be a column of the table, not a .npy `file`; remove `file`")
        if self.source == self.target:
            raise ValueError(f"`source` and `target` are both column {self.source!r}; name two different columns")
        return self

    def events_of(self, relation: str) -> Interactions:
        """The same table as interactions between source and target; `merge` becomes `keep`."""
        own = {key: value for key, value in self if key not in ("source", "target", "duplicates")}
        kept = "keep" if self.duplicates == "merge" else self.duplicates
        return Interactions(**own, user=self.source, item=self.target, relation=relation, duplicates=kept)
