"""The words of a recipe about a table: its format, its files, a column that becomes a feature."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from kgrec.graph.schema import FEATURE_KINDS, FeatureKind
from kgrec.sources.limits import QUERY_SECONDS
from kgrec.sources.recipe.recipe_part import Files, RecipePart, or_short


class TableFormat(RecipePart):
    """How the bytes of a table are to be read."""

    own_words: ClassVar[frozenset[str]] = frozenset()  #: those that mean something else in a subclass

    format: Literal["auto", "separated", "parquet", "json_lines", "lists", "json_lists"] = Field(
        "auto",
        description="auto: by the suffix. lists: `user item item ...` a line, which has the columns user, item and "
        "position. json_lists: one JSON object of id -> list, which has the columns id and values",
    )
    separator: str | None = Field(None, description="any string, or `tab`; default: comma, a tab for .tsv")
    columns: list[str] | None = Field(None, description="the columns' names, where the file has no line of names")
    quote: bool | None = Field(None, description='whether "..." quotes a value; default: only where commas separate')
    encoding: str = Field("utf-8", description="for instance latin-1")
    missing: list[str] = Field([""], description="values that stand for none")
    skip_rows: int = Field(0, ge=0, description="lines at the top of the file that are passed over")
    header: bool | None = Field(
        None,
        description="whether a line names the columns; default: unless `columns` names them. Without either they are "
        "called 1, 2, 3",
    )
    on_bad_rows: Literal["error", "report"] | None = Field(
        None, description="as for the recipe; default: what that says"
    )
    query: str | None = Field(
        None,
        description="a SPARQL SELECT: `file` is RDF, or an endpoint's URL, and the query's variables are the columns",
    )
    prefixes: dict[str, str] = Field({}, description="of the query, prefix -> IRI")
    timeout: float = Field(
        QUERY_SECONDS, gt=0, le=1_000_000, allow_inf_nan=False, description="seconds that the query may run"
    )
    network: bool = Field(
        False, description="whether the query may reach other hosts than the endpoint that `file` names (SERVICE, FROM)"
    )

    @model_validator(mode="after")
    def _separates(self) -> TableFormat:
        if self.separator is not None and (self.separator in ("", '"') or set(self.separator) & set("\r\n\ufeff")):
            raise ValueError(f'nothing can stand between {self.separator!r}; say for instance ",", "::" or `tab`')
        return self

    @property
    def delimiter(self) -> str | None:
        return "\t" if self.separator == "tab" else self.separator


class TableFile(TableFormat):
    """A table in one or several files of the same columns; .gz, .bz2 and .zst are unpacked as they are read."""

    file: Files = Field(description="path relative to the data folder, a pattern such as part-*.csv, or a list of them")


class FeatureColumn(RecipePart):
    """A column that becomes a feature. Its kind alone may stand for it: `year: numeric`."""

    model_config = ConfigDict(json_schema_extra=or_short(enum=list(FEATURE_KINDS)))

    column: str | None = Field(None, description="its name in the file; default: the feature's own name")
    kind: FeatureKind = Field(description="numeric, categorical, multi, text or vector")
    split: str | None = Field(None, description="what stands between several values in one field (multi, vector)")
    file: str | None = Field(None, description="of a vector: a .npy file with a row for each row of the table")

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> FeatureColumn:
        if self.file and self.kind != "vector":
            raise ValueError(f"`file` is for vectors; a {self.kind} feature is a column of the table")
        if self.split and self.kind not in ("multi", "vector"):
            raise ValueError(f"`split` is for multi and vector; a {self.kind} feature has one value")
        return self
