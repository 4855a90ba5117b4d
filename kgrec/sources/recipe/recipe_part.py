"""What all parts of a recipe share: unknown keys are refused, lists of files, checked names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kgrec.graph.schema import clean_name

PartName = Literal["train", "valid", "test"]


def as_list(value: Any) -> Any:
    """A single value as a list of one."""
    return value if isinstance(value, list) or value is None else [value]


def _clean(name: str) -> str:
    if clean_name(name) != name:
        raise ValueError(f"{name!r} may only have letters, digits and single underscores; write {clean_name(name)!r}")
    return name


CLEAN = "^[A-Za-z0-9]+(_[A-Za-z0-9]+)*$"  #: what `_clean` accepts, for the JSON Schema
CleanText = Annotated[str, Field(pattern=CLEAN)]

Files = Annotated[list[str], BeforeValidator(as_list, json_schema_input_type=list[str] | str)]
Name = Annotated[str, BeforeValidator(lambda value: _clean(str(value)), json_schema_input_type=CleanText)]


def or_short(**short: Any) -> Callable[[dict[str, Any]], None]:
    """Makes a part's JSON Schema accept a short form too. short: the schema of the short form."""

    def extend(schema: dict[str, Any]) -> None:
        full = {key: schema.pop(key) for key in list(schema) if key not in ("title", "description")}
        schema["anyOf"] = [full, short]

    return extend


class RecipePart(BaseModel):
    """A part of a recipe. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
