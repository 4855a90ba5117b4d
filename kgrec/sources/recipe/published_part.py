"""The keys of a recipe for published splits and candidate lists."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kgrec.sources.recipe.recipe_part import Files, PartName, RecipePart


class PublishedPart(RecipePart):
    """How a published file names users and items: by id or by number."""

    ids: Literal["ids", "first_appearance"] = Field(
        "ids",
        description="ids: the file has the same ids as the interactions. first_appearance: it has numbers; number n is "
        "the n-th distinct user or item of the interactions, counted from 0",
    )


class PublishedSplit(PublishedPart):
    """A published split of the target relation, by pairs of user and item. Keys about the table's format that are not
    set here are those of the interactions."""

    train: Files = Field([], description="files with the training pairs")
    valid: Files = Field([], description="files with the validation pairs")
    test: Files = Field(description="files with the test pairs")
    rest: PartName | None = Field(
        None,
        description="the part for edges that are in none of the files; default: train, or an error if `train` is set",
    )
    format: Literal["auto", "separated", "parquet", "json_lines", "lists", "json_lists"] | None = Field(
        None, description="the files' format; default: as in the interactions"
    )
    separator: str | None = Field(None, description="the separator; default: as in the interactions")
    columns: list[str] | None = Field(None, description="the names of the columns; default: as in the interactions")
    user: str | None = Field(None, description="the column with user ids; default: as in the interactions")
    item: str | None = Field(None, description="the column with item ids; default: as in the interactions")


class PublishedCandidates(PublishedPart):
    """Published lists of the items to rank for each user, in the format of NCF: `(user,item)<tab>item<tab>item ...`.
    The item in brackets is a candidate too. An item that is repeated in a list counts once."""

    file: str = Field(description="path relative to the data folder")
