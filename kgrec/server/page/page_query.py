"""What a page is asked for, as its address says it: so each view can be linked to, and forms work without scripts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from kgrec.errors import KgrecError, unknown_name
from kgrec.server.bodies import LONGEST_ID, MOST_CONDITIONS, check_k
from kgrec.serving.filters.condition_text import OPERATORS
from kgrec.serving.list_options import ListOptions
from kgrec.serving.wanted import Wanted

MOST_ITEMS = 200  #: of a new user, pinned, or left out
TEXTS = ("run", "beside", "user", "id", "type", "relation", "q", "cap_name", "calibrate")
MANY = ("item", "pin", "block", "exclude")
OF_ONE_PAGE = ("id", "type", "relation", "q")
SIDES = ("only", "not")


@dataclass(frozen=True)
class FilterRow:
    """A condition as a row of controls.

    >>> FilterRow("only", "price", "<", "20").condition
    'price<20'
    """

    side: str  #: `only`: all items of the list meet it; `not`: none does
    name: str  #: of a column, a relation or a path
    operator: str
    value: str

    @property
    def condition(self) -> str:
        """As the library reads it."""
        return f"{self.name}{self.operator}{self.value}"


@dataclass(frozen=True)
class PageQuery:
    """What the address of a page asks for. Its fields are parameters; those of a filter stand in rows."""

    run: str = ""  #: the name of a run; empty: the default
    beside: str = ""  #: another run, whose list stands beside
    user: str = ""
    id: str = ""  #: of the item or node that is shown
    type: str = ""  #: its node type
    relation: str = ""  #: of which edges are shown, as source-relation-target
    q: str = ""  #: what is searched for
    item: tuple[str, ...] = ()  #: what a new user did
    k: int = 10
    seen: bool = False  #: also items that the user has
    exclude: tuple[str, ...] = ()  #: behaviours whose items are left out
    filters: tuple[FilterRow, ...] = ()
    cap_name: str = ""  #: by which relation or column a list holds only so many
    cap: int = 2
    diversity: float = 0.0  #: how much being unlike the items before counts; 0: not at all
    calibrate: str = ""  #: by which relation or column a list is as the user's history is
    pin: tuple[str, ...] = ()  #: items that stand on the list
    block: tuple[str, ...] = ()  #: items that do not

    @staticmethod
    def read(params: QueryParams) -> PageQuery:
        """What a query asks for; what it says besides is left aside. Raises KgrecError for values that do not fit."""
        found: dict[str, Any] = {name: _text(params.get(name, ""), name) for name in TEXTS}
        for name in MANY:
            values = dict.fromkeys(_text(value, name) for value in params.getlist(name) if value)
            if len(values) > MOST_ITEMS:
                raise KgrecError(f"{name} stands {len(values):,} times in the address; up to {MOST_ITEMS} are read")
            found[name] = tuple(values)
        found["k"] = _whole(params.get("k", ""), "k", 10)
        found["cap"] = _whole(params.get("cap", ""), "cap", 2)
        found["seen"] = params.get("seen", "") not in ("", "0")
        found["diversity"] = _share(params.get("diversity", ""), "diversity")
        return PageQuery(**found, filters=_filters(params))

    def pairs(self, without: Collection[str] = ()) -> Iterator[tuple[str, str]]:
        """The parameters that say something, in the order of the fields."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in without or value == field.default:
                continue
            if field.name == "filters":
                for row in value:
                    yield from (("side", row.side), ("name", row.name), ("op", row.operator), ("value", row.value))
            elif isinstance(value, tuple):
                yield from ((field.name, one) for one in value)
            else:
                yield field.name, "1" if value is True else f"{value:g}" if isinstance(value, float) else str(value)

    def address(self, path: str, **changes: Any) -> str:
        """The address of a page that asks for the same but for some changes. What is looked at, and what is searched
        for, are those of one page alone."""
        query = urlencode(list(replace(self, **{**dict.fromkeys(OF_ONE_PAGE, ""), **changes}).pairs()))
        return f"{path}?{query}" if query else path

    @property
    def has_controls(self) -> bool:
        """Whether filters or rules are set that nothing else on the page shows."""
        return bool(self.seen or self.exclude or self.filters or self.cap_name or self.diversity or self.calibrate)

    def wanted(self, max_k: int, diversity_by: str) -> Wanted:
        """As the library has it. diversity_by: by what items are alike. Raises KgrecError."""
        check_k(self.k, max_k)
        options = ListOptions(
            k=self.k,
            include_seen=self.seen,
            exclude=self.exclude,
            why=True,
            where=[row.condition for row in self.filters if row.side == "only"],
            not_=[row.condition for row in self.filters if row.side == "not"],
            rules=self._rules(diversity_by) or None,
        )
        return Wanted(self.user, options=options) if self.user else Wanted(history=self.item, options=options)

    def _rules(self, diversity_by: str) -> dict[str, Any]:
        found: dict[str, Any] = {"pinned": list(self.pin), "blocked": list(self.block)}
        if self.cap_name:
            found["at_most"] = {self.cap_name: self.cap}
        if self.diversity:
            found["diversity"] = {"by": diversity_by, "weight": self.diversity}
        if self.calibrate:
            found["calibration"] = {"by": self.calibrate}
        return {name: value for name, value in found.items() if value}


def _text(value: str, name: str) -> str:
    if len(value) > LONGEST_ID:
        raise KgrecError(f"{name} has {len(value):,} characters; up to {LONGEST_ID} are read")
    if "\x00" in value:
        raise KgrecError(f"{name} has a NUL character")
    return value


def _whole(value: str, name: str, otherwise: int) -> int:
    if not value:
        return otherwise
    if not (value.isascii() and value.isdigit()) or len(value) > 9 or int(value) < 1:
        raise KgrecError(f"{name} is {value[:40]!r}; a whole number of at least 1 is wanted")
    return int(value)


def _share(value: str, name: str) -> float:
    try:
        found = float(value or 0)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 1:
        raise KgrecError(f"{name} is {value[:40]!r}; a number from 0 to 1 is wanted")
    return found


def _filters(params: QueryParams) -> tuple[FilterRow, ...]:
    """The rows of which a name and a value are filled in."""
    columns = [params.getlist(name) for name in ("side", "name", "op", "value")]
    if len({len(column) for column in columns}) > 1:
        raise KgrecError("a filter lacks one of side, name, op and value; each row has all four")
    rows = []
    for side, name, operator, value in zip(*columns):
        if not name.strip() or not value.strip():
            continue
        if side not in SIDES:
            raise unknown_name("side", side, SIDES, "of a filter")
        if operator not in OPERATORS:
            raise unknown_name("operator", operator, OPERATORS, "of a filter")
        rows.append(FilterRow(side, _text(name.strip(), "name"), operator, _text(value.strip(), "value")))
    if len(rows) > MOST_CONDITIONS:
        raise KgrecError(f"{len(rows)} filters; up to {MOST_CONDITIONS} are read")
    return tuple(rows)
