"""The keys of a recipe for nodes: their tables, attributes, vectors and images."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from kgrec.sources.recipe.recipe_part import Name, RecipePart
from kgrec.sources.recipe.table_part import FeatureColumn, TableFile


class AttributeEdge(RecipePart):
    """A column whose values become nodes: `has_genre: {column: genres, split: "|", to: genre}`."""

    to: Name = Field(description="the node type of the values")
    column: str | None = Field(None, description="the column's name in the file; default: the relation's name")
    split: str | None = Field(None, description="the text between several values in one field, such as |")
    path: str | None = Field(
        None,
        description="the text between the steps of a path, such as > in `Home > Kitchen`. The whole path is one node; "
        "its label is the last step",
    )
    parents: Name | None = Field(
        None, description="with `path`: also add this relation, from each step to the step before it"
    )

    @model_validator(mode="after")
    def _fits(self) -> AttributeEdge:
        if self.parents and not self.path:
            raise ValueError("`parents` needs `path`: give the text between the steps of a path")
        return self


class NodeTable(TableFile):
    """A table of nodes, one node in each row."""

    id: str = Field(description="the column with node ids")
    label: str | None = Field(None, description="the column with the text that is shown for a node, such as a title")
    flags: dict[str, list[str]] = Field(
        {},
        description="columns of 0 and 1 that are combined into one column of lists, to use in `features` or `edges`: "
        "{genres: [Action, Drama]}",
    )
    features: dict[Name, FeatureColumn] = Field({}, description="feature name -> its column and kind")
    edges: dict[Name, AttributeEdge] = Field({}, description="relation name -> the column whose values become nodes")
    describes_only: bool = Field(
        False,
        description="this table adds no nodes; rows about ids that are not in the graph are left out",
    )
    unread: list[str] = Field(
        [],
        description="columns of the file that are not used. A build adds those that it finds, so that rows of new "
        "nodes may have them too",
    )

    @property
    def columns_read(self) -> list[str]:
        """The columns that it reads, by their names in the file."""
        flags = [column for columns in self.flags.values() for column in columns]
        features = [f.column or name for name, f in self.features.items() if f.file is None]
        edges = [edge.column or relation for relation, edge in self.edges.items()]
        named = [name for name in (*features, *edges) if name not in self.flags]
        return list(dict.fromkeys([self.id, *([self.label] if self.label else []), *named, *flags]))


class VectorFile(RecipePart):
    """A .npy matrix with one vector in each row."""

    file: str = Field(description="path relative to the data folder")
    ids: str | None = Field(
        None,
        description="a text file with one id in each line, in the order of the matrix's rows; default: the rows are in "
        "the order of the node type's first table",
    )


class ImageFolder(RecipePart):
    """A folder of images. Each file is named by its node's id, such as 42.jpg. A node without an image has no
    vector."""

    folder: str = Field(description="path relative to the data folder")
    encoder: str = Field(
        "resnet18", description="the network that makes the vectors, from the package timm (pip install 'kgrec[image]')"
    )


class Nodes(RecipePart):
    """The nodes of one type. With one table, its keys may be written here, without `tables:`."""

    tables: list[NodeTable] = Field([], description="tables, joined by id; nodes are in the order of the first one")
    complete: bool = Field(
        False, description="true: an id that no table lists is an error; false: a node is added for it, and counted"
    )
    only_interacted: bool = Field(
        False, description="the tables add no nodes; they only describe nodes that are in the interactions"
    )
    iri: str = Field("", description="the full name of the node type, such as an IRI")
    vectors: dict[Name, VectorFile] = Field({}, description="feature name -> the matrix with its vectors")
    images: dict[Name, ImageFolder] = Field({}, description="feature name -> the images that its vectors are made from")

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
