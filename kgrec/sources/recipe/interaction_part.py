"""The words of a recipe about interactions: who did what with which item, and when."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from kgrec.graph.schema import CLICK, EdgeType
from kgrec.sources.recipe.recipe_part import Files, Name, PartName, RecipePart, or_short
from kgrec.sources.recipe.table_part import FeatureColumn, TableFormat


class TimeColumn(RecipePart):
    """The column of times. Its name alone may stand for it: `time: timestamp`."""

    model_config = ConfigDict(json_schema_extra=or_short(type="string", description="the column of times"))

    column: str = Field("time", description="its name in the file")
    unit: Literal["s", "ms", "us", "ns", "iso"] = Field(
        "s", description="unix seconds, milli-, micro- or nanoseconds; or ISO 8601"
    )
    format: str | None = Field(None, description="a strptime format such as `%d/%m/%Y`, instead of `unit`; UTC")

    @model_validator(mode="before")
    @classmethod
    def _column_alone(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class Behaviours(RecipePart):
    """One file, several relations: {column: event, values: {view: viewed, purchase: purchased, scroll: null}}."""

    column: str = Field(description="the column that says what was done")
    values: dict[str, Name | None] = Field(description="its value -> the relation; null leaves these rows out")


LONGEST_GAP = 10_000_000_000  #: seconds, some 300 years


def _seconds(value: Any) -> Any:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value.strip()) if isinstance(value, str) else None
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else value
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= LONGEST_GAP:
        return int(seconds)
    shown = str(value)[:40]
    raise ValueError(f"{shown!r} is no span of time; write 30m, 2h, 1d or a number of seconds up to {LONGEST_GAP:,}")


#: What `_seconds` accepts, for the JSON Schema
SpanOfTime = (
    Annotated[float, Field(ge=0, le=LONGEST_GAP)] | Annotated[str, Field(pattern=r"^\s*\d+(\.\d+)?\s*[smhd]\s*$")]
)


class Session(RecipePart):
    """Visits become the users: a visitor's events in time order, cut where nothing happens for longer than the gap."""

    by: str = Field(description="the column of visitors; sessions are called `visitor#1`, `visitor#2`")
    gap: Annotated[int, BeforeValidator(_seconds, json_schema_input_type=SpanOfTime)] = Field(
        description="30m, 2h, 1d, or seconds"
    )


class Click(RecipePart):
    """Which target edges are clicks, in one of three ways: {column: clicked}, {weight: 4}, {behaviour: purchased}.

    It is said of all the files at once, so a behaviour after the split's time may make an earlier edge a click.
    """

    column: str | None = Field(None, description="a column of 0 and 1, or false and true")
    weight: float | None = Field(None, description="an edge of at least this weight is a click")
    behaviour: Name | None = Field(None, description="an edge is a click where its pair has an edge of this relation")

    @model_validator(mode="after")
    def _fits(self) -> Click:
        named = [name for name, value in self if value is not None]
        if len(named) != 1:
            raise ValueError(f"say one of `column`, `weight` and `behaviour`; found {' and '.join(named) or 'none'}")
        return self


class Interactions(TableFormat):
    """What users did with items, one a row."""

    file: Files = Field([], description="path relative to the data folder, a pattern, or a list of them")
    parts: dict[PartName, Files] = Field({}, description="in place of `file`, files that are the split: {train, test}")
    split: str = Field("given", description="the name of the split that `parts` make")
    between: tuple[Name, Name] = Field(("user", "item"), description="the two node types")
    relation: Name = Field("interacted", description="what was done, such as `rated`")
    relations: Behaviours | None = Field(None, description="instead of `relation`, where a column says what was done")
    user: str = Field("user", description="the column of users")
    item: str = Field("item", description="the column of items")
    weight: str | None = Field(None, description="the column of ratings or counts")
    click: Click | None = Field(None, description="which edges are clicks; rankings learn from those alone")
    all_edges: bool = Field(False, description="rankings learn from all edges, whatever `click` says")
    rating_range: tuple[float, float] | None = Field(None, description="a weight outside is an error: [1, 5]")
    min_weight: float | None = Field(None, description="rows of less weight are left out")
    time: TimeColumn | None = Field(None, description="the column of times; rows of one time stay in file order")
    session: Session | None = Field(None, description="make sessions the users")
    duplicates: Literal["keep", "first", "last", "sum", "error"] = Field(
        "keep",
        description="of one user, item and relation: keep all, first or last in time, one with the summed weight",
    )
    min_user: int = Field(0, description="users with fewer rows are left out, repeated with min_item until none is")
    min_item: int = Field(0, description="items with fewer rows are left out, repeated with min_user until none is")
    features: dict[Name, FeatureColumn] = Field({}, description="features of the edges, such as a review's text")

    @model_validator(mode="after")
    def _fits(self) -> Interactions:
        if bool(self.file) == bool(self.parts):
            raise ValueError("say either `file` or `parts`")
        if self.session and not self.time:
            raise ValueError("`session` needs `time`")
        if self.weight is None and (self.rating_range or self.min_weight is not None):
            raise ValueError("`rating_range` and `min_weight` need `weight`: name the column")
        if self.click and self.click.weight is not None and self.weight is None:
            raise ValueError("`click: {weight: ...}` needs `weight`: name the column")
        if self.click and CLICK in self.features:
            raise ValueError(f"`click:` makes the feature {CLICK!r}, which `features` has too; give that another name")
        if self.all_edges and not self.click and CLICK not in self.features:
            raise ValueError("`all_edges` is about edges of which `click` says what they are; say `click` too")
        if any(feature.file for feature in self.features.values()):
            raise ValueError("features of edges are columns of the table, not a .npy `file`")
        return self

    @property
    def all_files(self) -> list[str]:
        """`file`, or the files of all parts."""
        return [*self.file, *(name for names in self.parts.values() for name in names)]

    @property
    def relation_names(self) -> list[str]:
        """The relations that these rows are of."""
        if self.relations is None:
            return [self.relation]
        return list(dict.fromkeys(name for name in self.relations.values.values() if name is not None))

    @property
    def edge_types(self) -> list[EdgeType]:
        """The edge types that these rows are of."""
        return [(self.between[0], name, self.between[1]) for name in self.relation_names]

    @property
    def has_filter(self) -> bool:
        """Whether rows of the file may be left out of the graph."""
        return self.min_weight is not None or self.min_user > 1 or self.min_item > 1 or self.duplicates != "keep"
