"""The type of a settings field in plain words, with its choices and its bounds."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
MANY = {bool: "true or false", int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}
#: How a bound is said, by its name in `annotated_types`
BOUNDS = {"gt": "more than {:g}", "ge": "at least {:g}", "lt": "less than {:g}", "le": "at most {:g}"}
LENGTHS = {"min_length": "{} or more of them", "max_length": "at most {} of them"}


@dataclass(frozen=True)
class PlainType:
    """A type in plain words."""

    words: str  #: such as "whole number" or "list of texts, or none"
    choices: tuple[Any, ...] = ()  #: the values that there are, where they are few
    bounds: str = ""  #: such as "at least 0, less than 1"


def plain_type(hint: Any) -> PlainType:
    """A type hint in plain words.

    >>> from pydantic import PositiveInt
    >>> plain_type(PositiveInt)
    PlainType(words='whole number', choices=(), bounds='more than 0')
    >>> plain_type(Literal["sum", "mean"] | None)
    PlainType(words='choice', choices=('sum', 'mean', None), bounds='')
    >>> plain_type(tuple[PositiveInt, ...]).words, plain_type(float | None).words
    ('list of whole numbers', 'number, or none')
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        base = plain_type(inner[0])
        return PlainType(base.words, base.choices, ", ".join(filter(None, [base.bounds, *_bounds(inner[1:])])))
    if origin is Literal:
        return PlainType("choice", inner)
    if origin in (Union, types.UnionType):
        return _union([plain_type(one) for one in inner if one is not type(None)], type(None) in inner)
    if origin in (tuple, list, Sequence, frozenset, set) and inner:
        return _list(inner[0])
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        return PlainType("mapping")
    if is_dataclass(hint):
        return PlainType(f"settings of {getattr(hint, '__name__', hint)}")
    return PlainType(WORDS.get(hint, getattr(hint, "__name__", str(hint))))


def _union(found: Sequence[PlainType], with_none: bool) -> PlainType:
    words, choices = [one.words for one in found], tuple(choice for one in found for choice in one.choices)
    bounds = ", ".join(filter(None, (one.bounds for one in found)))
    if with_none and choices and len(found) == 1:
        return PlainType(words[0], (*choices, None), bounds)
    return PlainType(" or ".join(words) + (", or none" if with_none else ""), choices, bounds)


def _list(hint: Any) -> PlainType:
    """A list of values of one type."""
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    each = plain_type(hint)
    words = MANY.get(bare, "choices" if each.choices else f"{each.words} each")
    return PlainType(f"list of {words}", each.choices, f"each {each.bounds}" if each.bounds else "")


def _bounds(metadata: Iterable[Any]) -> list[str]:
    """The limits that a type's annotations set, in words. Annotations that have no words are left out."""
    found = []
    for one in metadata:
        found += _bounds(getattr(one, "metadata", ()))  # of a pydantic Field
        for forms in (BOUNDS, LENGTHS):
            values = {name: getattr(one, name, None) for name in forms}
            found += [forms[name].format(value) for name, value in values.items() if isinstance(value, (int, float))]
    return list(dict.fromkeys(found))
