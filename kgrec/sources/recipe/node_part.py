"""The words of a recipe about nodes: their tables, attributes, vectors and images."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from kgrec.sources.recipe.recipe_part import Name, RecipePart
from kgrec.sources.recipe.table_part import FeatureColumn, TableFile


class AttributeEdge(RecipePart):
    """A column whose values are nodes: `has_genre: {column: genres, split: "|", to: genre}`."""

    to: Name = Field(description="the node type of the values")
    column: str | None = Field(None, description="its name in the file; default: the relation's own name")
    split: str | None = Field(None, description="what stands between several values in one field")
    path: str | None = Field(
        None, description="what stands between the steps of a path: the node is the whole path, its label the last step"
    )
    parents: Name | None = Field(None, description="with `path`: the relation from each step to the one before it")

    @model_validator(mode="after")
    def _fits(self) -> AttributeEdge:
        if self.parents and not self.path:
            raise ValueError("`parents` needs `path`: say what stands between the steps")
        return self


class NodeTable(TableFile):
    """A table of nodes, one a row."""

    id: str = Field(description="the column of ids")
    label: str | None = Field(None, description="the column to show for a node")
    flags: dict[str, list[str]] = Field(
        {}, description="0/1 columns seen as one column of lists: {genres: [Action, Drama]}, for features or edges"
    )
    features: dict[Name, FeatureColumn] = Field({}, description="the feature's name -> its column and kind")
    edges: dict[Name, AttributeEdge] = Field({}, description="the relation's name -> the column of its targets")
    describes_only: bool = Field(False, description="rows about nodes that nothing else lists are left out")


class VectorFile(RecipePart):
    """A .npy matrix with a vector a row."""

    file: str = Field(description="path relative to the data folder")
    ids: str | None = Field(
        None, description="a text file of one id a line, the rows' own; default: the rows are those of the first table"
    )


class ImageFolder(RecipePart):
    """A folder of images, each called by its node's id: 42.jpg. A node without one has no vector."""

    folder: str = Field(description="path relative to the data folder")
    encoder: str = Field("resnet18", description="a network of timm (the extra `image`), which makes the vectors")


class Nodes(RecipePart):
    """The nodes of one type. A single table may be written without `tables:`."""

    tables: list[NodeTable] = Field([], description="joined by id; the first gives the order")
    complete: bool = Field(False, description="an id that no table lists is an error; else it is added and counted")
    only_interacted: bool = Field(False, description="tables describe the nodes that interactions name, and add none")
    iri: str = Field("", description="the type's own name, an IRI for instance")
    vectors: dict[Name, VectorFile] = Field({}, description="a feature's name -> the matrix of its vectors")
    images: dict[Name, ImageFolder] = Field({}, description="a feature's name -> the images that become its vectors")

    @model_validator(mode="before")
    @classmethod
    def _table_alone(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"tables": value}
        if isinstance(value, dict) and "tables" not in value and "file" in value:
            own_keys = ("complete", "only_interacted", "iri", "vectors", "images")
            own = {key: value[key] for key in own_keys if key in value}
            return own | {"tables": [{key: v for key, v in value.items() if key not in own}]}
        return value
