"""The words of a recipe about published splits and candidate lists."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kgrec.sources.recipe.recipe_part import Files, PartName, RecipePart


class PublishedPart(RecipePart):
    """Whether users and items are named by id or by published number."""

    ids: Literal["ids", "first_appearance"] = Field(
        "ids", description="first_appearance: n is the n-th user or item, from 0, that target edges name"
    )


class PublishedSplit(PublishedPart):
    """A published split of the target relation, by pairs of user and item. What is not said of the table's format is as
    in the interactions."""

    train: Files = Field([], description="files of train pairs")
    valid: Files = Field([], description="files of validation pairs")
    test: Files = Field(description="files of test pairs")
    rest: PartName | None = Field(
        None, description="the part of other edges; default: train, but an error with `train`"
    )
    format: Literal["auto", "separated", "parquet", "json_lines", "lists", "json_lists"] | None = Field(
        None, description="as in the interactions"
    )
    separator: str | None = Field(None, description="as in the interactions")
    columns: list[str] | None = Field(None, description="as in the interactions")
    user: str | None = Field(None, description="the column of users")
    item: str | None = Field(None, description="the column of items")


class PublishedCandidates(PublishedPart):
    """Published lists of the items to rank for a user, in NCF's form: `(user,item)<tab>item<tab>item ...`. The first
    item is a candidate too; a list is a set."""

    file: str = Field(description="path relative to the data folder")
