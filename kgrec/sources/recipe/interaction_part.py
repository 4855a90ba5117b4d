"""The keys of a recipe for interactions: who did what with which item, and when."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from kgrec.graph.schema import CLICK, EdgeType
from kgrec.sources.recipe.recipe_part import Files, Name, PartName, RecipePart, or_short
from kgrec.sources.recipe.table_part import FeatureColumn, TableFormat


class TimeColumn(RecipePart):
    """The column with times. The short form is its name only: `time: timestamp`."""

    model_config = ConfigDict(json_schema_extra=or_short(type="string", description="the column with times"))

    column: str = Field("time", description="the column's name in the file")
    unit: Literal["s", "ms", "us", "ns", "iso"] = Field(
        "s", description="s, ms, us, ns: Unix time in seconds, milli-, micro- or nanoseconds. iso: ISO 8601 text"
    )
    format: str | None = Field(
        None, description="instead of `unit`: a strptime format such as `%d/%m/%Y`; times are read as UTC"
    )

    @model_validator(mode="before")
    @classmethod
    def _column_alone(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class Behaviours(RecipePart):
    """Several relations from one file: {column: event, values: {view: viewed, purchase: purchased, scroll: null}}."""

    column: str = Field(description="the column that says what the user did")
    values: dict[str, Name | None] = Field(
        description="value of that column -> name of the relation; null leaves these rows out"
    )


LONGEST_GAP = 10_000_000_000  #: seconds, some 300 years


def _seconds(value: Any) -> Any:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value.strip()) if isinstance(value, str) else None
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else value
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= LONGEST_GAP:
        return int(seconds)
    shown = str(value)[:40]
    raise ValueError(
        f"{shown!r} is not a length of time; write 30m, 2h, 1d, or a number of seconds up to {LONGEST_GAP:,}"
    )


#: What `_seconds` accepts, for the JSON Schema
SpanOfTime = (
    Annotated[float, Field(ge=0, le=LONGEST_GAP)] | Annotated[str, Field(pattern=r"^\s*\d+(\.\d+)?\s*[smhd]\s*$")]
)


class Session(RecipePart):
    """Makes each session a user of its own. A session is a visitor's events in time order; a new one begins after a
    pause longer than `gap`."""

    by: str = Field(description="the column with visitors; a visitor's sessions are named `visitor#1`, `visitor#2`")
    gap: Annotated[int, BeforeValidator(_seconds, json_schema_input_type=SpanOfTime)] = Field(
        description="the longest pause within a session: 30m, 2h, 1d, or a number of seconds"
    )


class Click(RecipePart):
    """Which target edges are clicks, by one of: {column: clicked}, {weight: 4}, {behaviour: purchased}.

    Clicks are decided on all files together, before the split. So an edge in train can be a click because of a
    behaviour that happened after the split's time.
    """

    column: str | None = Field(None, description="an edge is a click where this column has 1 or true (not 0 or false)")
    weight: float | None = Field(None, description="an edge is a click where its weight is at least this number")
    behaviour: Name | None = Field(
        None, description="an edge is a click where the same user and item also have an edge of this relation"
    )

    @model_validator(mode="after")
    def _fits(self) -> Click:
        named = [name for name, value in self if value is not None]
        if len(named) != 1:
            raise ValueError(
                f"exactly one of `column`, `weight` and `behaviour` is needed; found {' and '.join(named) or 'none'}"
            )
        return self


class Interactions(TableFormat):
    """What users did with items, one interaction in each row."""

    file: Files = Field([], description="path relative to the data folder, a pattern, or a list of them")
    parts: dict[PartName, Files] = Field(
        {}, description="instead of `file`: the files of each part of a split, as {train: ..., test: ...}"
    )
    split: str = Field("given", description="with `parts`: the name of the split that they make")
    between: tuple[Name, Name] = Field(("user", "item"), description="the two node types")
    relation: Name = Field("interacted", description="what users did, such as `rated`")
    relations: Behaviours | None = Field(
        None, description="instead of `relation`: the column that says what the user did in each row"
    )
    user: str = Field("user", description="the column with user ids")
    item: str = Field("item", description="the column with item ids")
    weight: str | None = Field(None, description="the column with ratings or counts")
    click: Click | None = Field(None, description="which edges are clicks; rankings then learn from clicks only")
    all_edges: bool = Field(False, description="with `click`: rankings learn from all edges, not only from clicks")
    rating_range: tuple[float, float] | None = Field(
        None, description="the lowest and highest weight, such as [1, 5]; a weight outside is an error"
    )
    min_weight: float | None = Field(None, description="rows with a lower weight are left out")
    time: TimeColumn | None = Field(None, description="the column with times; rows with equal times stay in file order")
    session: Session | None = Field(None, description="split each visitor's rows into sessions, which become the users")
    duplicates: Literal["keep", "first", "last", "sum", "error"] = Field(
        "keep",
        description="what to do with rows of the same user, item and relation. keep: keep all. first, last: keep the "
        "earliest or the latest. sum: keep one with the sum of the weights. error: stop",
    )
    min_user: int = Field(
        0, description="leave out users with fewer rows; applied in turns with `min_item` until nothing changes"
    )
    min_item: int = Field(
        0, description="leave out items with fewer rows; applied in turns with `min_user` until nothing changes"
    )
    features: dict[Name, FeatureColumn] = Field({}, description="features of the edges, such as a review's text")

    @model_validator(mode="after")
    def _fits(self) -> Interactions:
        if bool(self.file) == bool(self.parts):
            raise ValueError("either `file` or `parts` is needed, and not both")
        if self.session and not self.time:
            raise ValueError("`session` needs `time`: name the column with times")
        if self.weight is None and (self.rating_range or self.min_weight is not None):
            raise ValueError("`rating_range` and `min_weight` need `weight`: name the column with weights")
        if self.click and self.click.weight is not None and self.weight is None:
            raise ValueError("`click: {weight: ...}` needs `weight`: name the column with weights")
        if self.click and CLICK in self.features:
            raise ValueError(f"`click` makes a feature named {CLICK!r}, and `features` has one too; rename that one")
        if self.all_edges and not self.click and CLICK not in self.features:
            raise ValueError("`all_edges` is of use only with `click`; add `click`, or remove `all_edges`")
        if any(feature.file for feature in self.features.values()):
            raise ValueError("a feature of edges must be a column of the table, not a .npy `file`; remove `file`")
        return self

    @property
    def all_files(self) -> list[str]:
        """`file`, or the files of all parts."""
        return [*self.file, *(name for names in self.parts.values() for name in names)]

    @property
    def relation_names(self) -> list[str]:
        """The relations of these rows."""
        if self.relations is None:
            return [self.relation]
        return list(dict.fromkeys(name for name in self.relations.values.values() if name is not None))

    @property
    def edge_types(self) -> list[EdgeType]:
        """The edge types of these rows."""
        return [(self.between[0], name, self.between[1]) for name in self.relation_names]

    @property
    def has_filter(self) -> bool:
        """Whether rows of the file may be left out of the graph."""
        return self.min_weight is not None or self.min_user > 1 or self.min_item > 1 or self.duplicates != "keep"
