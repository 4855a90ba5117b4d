"""What is asked of recommended lists, as one object that every way of asking shares."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.metrics import metric_names
from kgrec.serving.filters.condition_text import conditions
from kgrec.serving.moments import moment
from kgrec.serving.rules.rule_settings import Rules

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class ListOptions:
    """How long lists are, what is left out of them, and what is said of them.

    >>> ListOptions(exclude="viewed, carted").exclude
    ('viewed', 'carted')

    Raises KgrecError for a switch that is neither True nor False, and for conditions that are no texts.
    """

    k: int = 10  #: items in a list
    include_seen: bool = False  #: also items that a user has by the target relation
    #: behaviours whose items are left out too; a text is one, or several with commas between them
    exclude: str | Collection[str] = ()
    why: bool = False  #: name the past items behind a list
    #: conditions that all items of a list meet, such as "brand=Acme" or "price<20"; a text is one
    where: str | Collection[str] | None = ()
    not_: str | Collection[str] | None = ()  #: conditions of which no item of a list meets any
    #: a SPARQL SELECT over what the run knows, a text with braces or a file: its ?item, or first variable, is an item
    where_sparql: str | Path | None = None
    #: what lists must hold, must not hold, and how varied they are: Rules, a mapping, or the path of a YAML file
    rules: Rules | Mapping[str, Any] | str | Path | None = None
    #: when the lists are wanted, for models that read it: unix seconds, or a moment such as 2026-11-29T12:00 (UTC if it
    #: names no zone); None: the clock's time
    now: int | float | str | datetime | None = None
    skip_unknown: bool = False  #: leave out users, and items of a history, that the run does not know

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, bool) and not isinstance(value, bool):
                raise KgrecError(f"{field.name} is {value!r}, True or False is wanted")
        object.__setattr__(self, "exclude", metric_names(self.exclude))
        if self.where_sparql is not None and not isinstance(self.where_sparql, str | Path):
            raise KgrecError(f"where_sparql is {self.where_sparql!r}; a SELECT, or a file that holds one is wanted")
        if self.now is not None:
            object.__setattr__(self, "now", moment(self.now))
        if self.rules is not None:
            object.__setattr__(self, "rules", Rules.of(self.rules))
        for name in ("where", "not_"):
            object.__setattr__(self, name, conditions(getattr(self, name), name))

    @staticmethod
    def of(options: Mapping[str, Any], what: str, refused: Collection[str] = ()) -> ListOptions:
        """The options of these names. what: who asks, for messages; refused: options that it does not take.

        Raises UnknownName for an option that is not there."""
        known = [field.name for field in dataclasses.fields(ListOptions) if field.name not in refused]
        for name in options:
            if name not in known:
                raise unknown_name("option", name, known, f"of {what}")
        return ListOptions(**options)


def takes_list_options(*refused: str) -> Callable[[Function], Function]:
    """A decorator that shows the ListOptions in a function's signature, in place of `**options`, for help and editors.

    refused: those that it does not take, or names itself.
    """

    def decorate(function: Function) -> Function:
        own, types = inspect.signature(function), get_type_hints(ListOptions)
        named = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        options = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name]
            )
            for field in dataclasses.fields(ListOptions)
            if field.name not in {*refused, *own.parameters}
        ]
        function.__signature__ = own.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
        return function

    return decorate
