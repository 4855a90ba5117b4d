"""A YAML file to a checked settings object, and what to say where it is wrong."""

from __future__ import annotations

import types
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from kgrec.errors import BadData, Fault, KgrecError

Model = TypeVar("Model", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, not a silent loss of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands already in line {seen[key]}", key_node.start_mark
                )
            seen[key] = line
        return dict(super().construct_mapping(node, deep))


def load_document(path: Path, model: type[Model]) -> Model:
    """Read a YAML file as a `model`. Raises KgrecError where the file is missing or is no YAML (with the line), and
    BadData with one line for each key or value that does not fit."""
    if not path.is_file():
        what = "is not there; name a recipe such as graphs/ml-1m.yaml"
        raise KgrecError(Fault(what, str(path), kind="missing file", file_is="subject"))
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        what = f"{error.problem or error.context}; mend the YAML"
        raise KgrecError(what, file=str(path), row=line, kind="bad recipe") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KgrecError(Fault(f"is no YAML: {error}", str(path), kind="bad recipe", file_is="subject")) from error
    if not isinstance(data, dict):
        what = f"holds {type(data).__name__}, not the keys of a recipe"
        raise KgrecError(Fault(what, str(path), kind="bad recipe", file_is="subject"))
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BadData(fault._replace(file=str(path)) for fault in explain(error, model)) from error
    except KgrecError as error:
        raise KgrecError(str(error), file=str(path), value=error.value, kind="bad recipe") from error


def explain(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Each thing that does not fit: where it stands, what was found, what was wanted."""
    return [Fault(f"{_place(e['loc'])}: {_what(e, model)}", value=_value(e), kind="bad recipe") for e in error.errors()]


def _place(loc: tuple[int | str, ...]) -> str:
    place = ""
    for part in loc:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    return place or "the recipe"


def _value(error: Any) -> str | None:
    """What was found: a key that is none, or a value."""
    if error["type"] == "extra_forbidden":
        return str(error["loc"][-1])
    found = error["input"]
    return None if error["type"] == "missing" or isinstance(found, Mapping | list) else str(found)


def _what(error: Any, model: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        known = _keys_at(model, error["loc"][:-1])
        near = get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}? There are: " if near else "there are: "
        return f"no key {error['loc'][-1]!r}; {hint}{', '.join(known)}"
    if error["type"] == "missing":
        return "is missing"
    message = error["msg"].removeprefix("Value error, ")
    found = error["input"]
    if error["type"] == "value_error" or isinstance(found, Mapping | list):
        return message
    return f"found {found!r}; {message[0].lower()}{message[1:]}"


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand at a place in the recipe."""
    here: list[Any] = [model]
    for part in loc:
        here = [inner for kind in here for inner in _inside(kind, part)]
    return list(dict.fromkeys(key for kind in here if _is_model(kind) for key in kind.model_fields))


def _inside(kind: Any, part: int | str) -> list[Any]:
    if _is_model(kind):
        field = kind.model_fields.get(part)
        return _members(field.annotation) if field else []
    arguments = get_args(kind)
    return _members(arguments[-1]) if get_origin(kind) in (list, dict, tuple) and arguments else []


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for option in get_args(annotation) for member in _members(option)]
    return [annotation]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
