"""The keys of a recipe for a table: its format, its files, and columns that become features."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from kgrec.graph.schema import FEATURE_KINDS, FeatureKind
from kgrec.sources.limits import QUERY_SECONDS
from kgrec.sources.recipe.recipe_part import Files, RecipePart, or_short


class TableFormat(RecipePart):
    """How a table is read."""

    own_words: ClassVar[frozenset[str]] = frozenset()  #: keys that mean something else in a subclass

    format: Literal["auto", "separated", "parquet", "json_lines", "lists", "json_lists"] = Field(
        "auto",
        description="the files' format. auto: decided by the suffix. separated: CSV, TSV and the like. json_lines: one "
        "JSON object in each line. lists: a line is `user item item ...`; its columns are user, item and position. "
        "json_lists: one JSON object {id: [values]}; its columns are id and values",
    )
    separator: str | None = Field(
        None, description="the text between two values; `tab` means a tab; default: a comma, or a tab for .tsv files"
    )
    columns: list[str] | None = Field(
        None, description="the names of the columns, where the file has no header line with names"
    )
    quote: bool | None = Field(
        None, description='whether values may be in double quotes ("..."); default: yes if the separator is a comma'
    )
    encoding: str = Field("utf-8", description="the text encoding, such as utf-8 or latin-1")
    missing: list[str] = Field([""], description="values that mean that there is no value, such as NA")
    skip_rows: int = Field(0, ge=0, description="number of lines to skip at the top of the file")
    header: bool | None = Field(
        None,
        description="whether the first line has the names of the columns; default: true unless `columns` is set. With "
        "false and no `columns`, the columns are named 1, 2, 3",
    )
    on_bad_rows: Literal["error", "report"] | None = Field(
        None, description="what to do with bad rows of this table; default: the recipe's `on_bad_rows`"
    )
    query: str | None = Field(
        None,
        description="a SPARQL SELECT query that makes the table: its variables are the columns, and `file` is an RDF "
        "file or the URL of an endpoint",
    )
    prefixes: dict[str, str] = Field({}, description="with `query`: prefix -> IRI")
    timeout: float = Field(
        QUERY_SECONDS,
        gt=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="with `query`: the longest time that it may run, in seconds",
    )
    network: bool = Field(
        False,
        description="with `query`: whether it may contact other hosts (SERVICE, FROM) than the endpoint in `file`",
    )

    @model_validator(mode="after")
    def _separates(self) -> TableFormat:
        if self.separator is not None and (self.separator in ("", '"') or set(self.separator) & set("\r\n\ufeff")):
            raise ValueError(f'{self.separator!r} cannot separate values; use for instance ",", "::" or `tab`')
        return self

    @property
    def delimiter(self) -> str | None:
        return "\t" if self.separator == "tab" else self.separator


class TableFile(TableFormat):
    """A table in one or more files with the same columns. Files ending in .gz, .bz2 and .zst are unpacked while they
    are read."""

    file: Files = Field(description="path relative to the data folder, a pattern such as part-*.csv, or a list of them")


class FeatureColumn(RecipePart):
    """A column that becomes a feature. The short form is its kind only: `year: numeric`."""

    model_config = ConfigDict(json_schema_extra=or_short(enum=list(FEATURE_KINDS)))

    column: str | None = Field(None, description="the column's name in the file; default: the feature's name")
    kind: FeatureKind = Field(
        description="numeric: a number. categorical: one category. multi: several categories. text: a text. vector: a "
        "list of numbers"
    )
    split: str | None = Field(
        None, description="for multi and vector: the text between several values in one field, such as |"
    )
    file: str | None = Field(
        None, description="for vector: instead of a column, a .npy file with one row for each row of the table"
    )

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> FeatureColumn:
        if self.file and self.kind != "vector":
            raise ValueError(f"`file` is only for kind vector; a {self.kind} feature is a column of the table")
        if self.split and self.kind not in ("multi", "vector"):
            raise ValueError(f"`split` is only for kinds multi and vector; a {self.kind} feature has one value")
        return self
