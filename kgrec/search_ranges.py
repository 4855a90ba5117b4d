"""Ranges that a search for settings may vary. They stand beside the fields of settings classes, in `Annotated`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Between:
    """The numbers from `low` to `high`, both included; whole ones for a field of whole numbers.

    >>> Between(1e-3, 0.1, log=True).words
    '0.001 to 0.1, on a log scale'
    """

    low: float  #: the lowest value
    high: float  #: the highest value
    log: bool = False  #: whether 0.01 to 0.1 is searched as much as 0.1 to 1
    tasks: tuple[str, ...] = ()  #: the tasks for which it holds; empty: all
    #: for a field that is None by default: the property of the settings that says what None stands for
    none_is: str = ""

    @property
    def words(self) -> str:
        """The range in plain words."""
        return f"{self.low:g} to {self.high:g}{', on a log scale' if self.log else ''}"

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and bool(self.low <= value <= self.high)


@dataclass(frozen=True)
class OneOf:
    """One of a few values: numbers, texts, or true and false.

    >>> OneOf((0.0, 0.1)).words
    '0.0 or 0.1'
    """

    values: tuple[Any, ...]  #: the values that are tried
    tasks: tuple[str, ...] = ()  #: the tasks for which it holds; empty: all

    @property
    def words(self) -> str:
        """The values in plain words."""
        return " or ".join(map(str, self.values))

    def __contains__(self, value: object) -> bool:
        return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.values)


SearchRange = Between | OneOf


def ranges_of(kind: type, task: str) -> dict[str, SearchRange]:
    """The ranges that a settings class declares for a task, by field, in the order of the fields.

    >>> class Settings:
    ...     lr: Annotated[float, Between(0.001, 0.1, log=True)] = 0.01
    ...     l2: Annotated[float, Between(0, 1, tasks=("ranking",)), Between(0, 100, tasks=("rating",))] = 0.0
    ...     seed: int = 0
    >>> {name: found.high for name, found in ranges_of(Settings, "rating").items()}
    {'lr': 0.1, 'l2': 100}
    """
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for one in _ranges(hint):
            if not one.tasks or task in one.tasks:
                found[name] = one
    return found


def _ranges(hint: Any) -> Iterator[SearchRange]:
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        yield from _ranges(inner)
        yield from _among(metadata)


def _among(metadata: Iterable[Any]) -> Iterator[SearchRange]:
    yield from (one for one in metadata if isinstance(one, Between | OneOf))
