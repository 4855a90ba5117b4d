"""Settings: frozen, validated dataclasses beside the code that reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast, dataclass_transform, get_args, get_type_hints

import pydantic
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from kgrec.errors import KgrecError, unknown_name

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def settings(cls: type[T]) -> type[T]:
    """Class decorator: a frozen dataclass whose fields are validated, and converted from text, when it is made.

    >>> @settings
    ... class Config:
    ...     dim: int = 64
    >>> configure(Config, {"dim": "32"}).dim
    32
    """
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return cast(type[T], pydantic_dataclass(frozen=True, config=config)(cls))


def configure(kind: type[T], values: Mapping[str, Any], what: str = "") -> T:
    """Make settings of a class decorated with `settings` from names and values, texts among them.

    Raises UnknownName for a field that is not there, KgrecError for a value of the wrong type; both name what would do.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    where = f"of {what or kind.__name__}"
    for name in values:
        if name not in fields:
            raise unknown_name("field", name, fields, where)
    try:
        hints = get_type_hints(kind)
        return kind(**{name: _from_text(value, hints[name]) for name, value in values.items()})
    except pydantic.ValidationError as error:
        lines = []
        for problem in error.errors():
            name = str(problem["loc"][0]) if problem["loc"] else ""
            if name not in fields:  # said by the class itself, of several fields together
                lines.append(f"{where.removeprefix('of ')}: {problem['msg']}")
                continue
            lines.append(f"{name}={values.get(name)!r} {where}: {problem['msg']}; the field is {fields[name].type}")
        raise KgrecError("\n".join(dict.fromkeys(lines))) from error


def _from_text(value: Any, hint: Any) -> Any:
    if isinstance(value, str) and value.lower() in ("none", "null") and value not in get_args(hint):
        return None
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        return [part.strip() for part in value[1:-1].split(",") if part.strip()]
    return value


def parse_assignments(texts: Iterable[str]) -> dict[str, str]:
    """`["dim=64", "training.epochs=5"]` as a dict. Raises KgrecError for one without `=`.

    >>> parse_assignments(["dim=64"])
    {'dim': '64'}
    """
    result = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise KgrecError(f"--set {text!r} is not of the form field=value")
        result[name.strip()] = value.strip()
    return result
