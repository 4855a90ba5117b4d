"""What all parts of a recipe share: strict keys, lists of files, clean names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from kgrec.graph.schema import clean_name

PartName = Literal["train", "valid", "test"]


def as_list(value: Any) -> Any:
    """A value alone as a list of one."""
    return value if isinstance(value, list) or value is None else [value]


def _clean(name: str) -> str:
    if clean_name(name) != name:
        raise ValueError(f"{name!r} is not letters, digits and single underscores; call it {clean_name(name)!r}")
    return name


Files = Annotated[list[str], BeforeValidator(as_list)]
Name = Annotated[str, BeforeValidator(lambda value: _clean(str(value)))]


class RecipePart(BaseModel):
    """A part of a recipe: a key that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
