"""The rules of lists, as a YAML file or a mapping says them, checked."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveInt, PrivateAttr, ValidationError, model_validator

from kgrec.errors import BadData, KgrecError
from kgrec.sources.recipe.document import explain, read_yaml
from kgrec.sources.recipe.recipe_part import RecipePart

LEAST_DEPTH = 100  #: items that are ranked anew, at least, where nothing is said
DEPTH_FOR_PLACE = 5  #: and for each place of a list

Share = Annotated[float, Field(ge=0, le=1)]


def _as_pin(value: Any) -> Any:
    """An id alone as an item without a place."""
    return value if isinstance(value, Mapping | Pinned) else {"item": value}


def _as_day(value: Any) -> Any:
    """A year alone as its first day."""
    is_year = isinstance(value, int) and not isinstance(value, bool) and datetime.MINYEAR <= value <= datetime.MAXYEAR
    return datetime.date(value, 1, 1) if is_year else value


Day = Annotated[datetime.date, BeforeValidator(_as_day)]


class Pinned(RecipePart):
    """An item that stands on every list."""

    item: str  #: its id
    place: PositiveInt | None = None  #: on the list, from 1; none: the first place that no other pinned item has


class PriceBand(RecipePart):
    """Between which numbers a column is, both ends included. An item without a number is left out."""

    column: str  #: a column of numbers, or a path to one
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _check(self) -> PriceBand:
        if self.min is None and self.max is None:
            raise ValueError("says neither `min` nor `max`; give one of them, or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is more than max {self.max:g}")
        return self


class Freshness(RecipePart):
    """From which day on a column is; a year or month alone is its first day. An item without a date is left out."""

    column: str  #: dates as text, years, or unix seconds; or a path to such a column
    newer_than: Day | None = None  #: the first day that is fresh enough
    days: PositiveInt | None = None  #: or so many days before `now`
    now: Day | None = None  #: with `days`; none: today

    @model_validator(mode="after")
    def _check(self) -> Freshness:
        if (self.newer_than is None) == (self.days is None):
            raise ValueError("says neither or both of `newer_than` and `days`; give one of them")
        if self.now is not None and self.days is None:
            raise ValueError("`now` is for `days`; leave it out beside `newer_than`")
        return self

    @property
    def first_day(self) -> datetime.date:
        """The first day that is fresh enough."""
        if self.newer_than is not None:
            return self.newer_than
        assert self.days is not None
        today = self.now or datetime.datetime.now(datetime.UTC).date()
        return today - datetime.timedelta(days=self.days)


class Diversity(RecipePart):
    """Maximal marginal relevance (Carbonell & Goldstein 1998)."""

    by: str = "facts"  #: by what items are alike: facts, vectors, or the name of a relation or column
    weight: Share = 0.3  #: how much being unlike the items before counts, against the score


class Calibration(RecipePart):
    """Calibrated recommendations (Steck 2018)."""

    by: str  #: a relation or column, such as has_genre, whose shares in a list are to be those in the user's history
    weight: Share = 0.5  #: how much the distance of the shares counts, against the scores


class Rules(RecipePart):
    """What lists must hold, must not hold, and how varied they are. Sets of items leave out what is not in them; the
    other rules choose anew, place by place, from the first `depth` items of each user.

    >>> Rules(at_most={"of_brand": 2}, diversity={"by": "facts", "weight": 0.3}).names
    ['at_most', 'diversity']
    """

    at_most: dict[str, PositiveInt] = Field({})  #: by a relation or column, items of a list that share a value, at most
    pinned: list[Annotated[Pinned, BeforeValidator(_as_pin)]] = Field([])  #: items that stand on every list
    blocked: list[str] | str = Field(
        []
    )  #: items that no list shows: ids, or a file of them, one a line or in a column `item`
    in_stock: list[str] | str | None = None  #: the only items that lists show, in the same forms
    price: PriceBand | None = None  #: between which prices an item is
    freshness: Freshness | None = None  #: how new an item is
    #: what users were shown already, and so are not again: by user a list of ids, or a file with columns user, item
    recently_shown: dict[str, list[str]] | str | None = None
    diversity: Diversity | None = None  #: items of a list are unlike each other
    calibration: Calibration | None = None  #: a list has the shares of the user's history
    depth: PositiveInt | None = None  #: items of each user that are chosen from; none: 100, or 5 for each place

    _folder: Path = PrivateAttr(default_factory=Path)

    @model_validator(mode="after")
    def _check(self) -> Rules:
        weights = [one.weight for one in (self.diversity, self.calibration) if one is not None]
        if sum(weights) > 1:
            together = f"the weights of diversity and calibration are {sum(weights):g} together"
            raise ValueError(f"{together}, at most 1 is wanted")
        places = [one.place for one in self.pinned if one.place is not None]
        items = [one.item for one in self.pinned]
        lists: list[tuple[str, list[Any]]] = [("place", places), ("item", items)]
        for what, values in lists:
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"pinned has the {what} {twice!r} twice; each is pinned once, to a place of its own")
        return self

    @staticmethod
    def of(rules: Rules | Mapping[str, Any] | str | Path) -> Rules:
        """Rules in any form: as they are, a mapping, or the path of a YAML file, by whose folder its files are named.

        Raises BadData with a line for each key or value that does not fit, KgrecError for a file that cannot be read
        and for another form."""
        if isinstance(rules, Rules):
            return rules
        folder, file = Path(), None
        if isinstance(rules, str | Path):
            path = Path(rules)
            if not path.is_file():
                raise KgrecError(f"rules {path}: there is no such file; the path of a YAML file of rules is wanted")
            rules, folder, file = read_yaml(path), path.parent, str(path)
        if not isinstance(rules, Mapping):
            what = f"rules {file} holds {type(rules).__name__}" if file else f"rules is {rules!r}"
            raise KgrecError(f"{what}; keys such as `blocked: [p1]` are wanted, or the path of a YAML file")
        try:
            found = Rules.model_validate(dict(rules))
        except ValidationError as error:
            faults = explain(error, Rules)
            raise BadData(
                fault._replace(message=f"rules: {fault.message.removeprefix('the recipe: ')}", file=file)
                for fault in faults
            ) from error
        found._folder = folder
        return found

    @property
    def names(self) -> list[str]:
        """The rules that are there, by name."""
        fields = (name for name in type(self).model_fields if name != "depth")
        return [name for name in fields if getattr(self, name) not in ({}, [], None)]

    def alone(self, name: str) -> Rules:
        """One of the rules without the others."""
        found = Rules(depth=self.depth).model_copy(update={name: getattr(self, name)})
        found._folder = self._folder
        return found

    def path(self, file: str) -> Path:
        """Where a file is that a rule names."""
        return self._folder / file

    @property
    def chooses(self) -> bool:
        """Whether lists are chosen anew, place by place."""
        return bool(self.at_most or self.pinned or self.diversity or self.calibration)

    @property
    def leaves_out(self) -> bool:
        """Whether items are left out of all lists."""
        return bool(self.blocked) or self.in_stock is not None or bool(self.price or self.freshness)

    def depth_for(self, k: int) -> int:
        """Items of each user that lists of k are chosen from."""
        return max(k, self.depth or max(LEAST_DEPTH, DEPTH_FOR_PLACE * k)) if self.chooses else k

    @property
    def key(self) -> tuple[Any, ...]:
        """What two rules have in common that leave the same items, their files among it."""
        states = [(str(file), *_state(file)) for file in self.files]
        today = self.freshness.first_day if self.freshness else None
        return self.model_dump_json(), today, tuple(states)

    @property
    def files(self) -> list[Path]:
        """The files that the rules name."""
        return [self.path(one) for one in (self.blocked, self.in_stock, self.recently_shown) if isinstance(one, str)]


def _state(file: Path) -> tuple[int, int]:
    """By what it is seen that a file is another one than before."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
