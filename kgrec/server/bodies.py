"""What requests say, checked: the queries and bodies of all routes."""

from __future__ import annotations

import functools
import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kgrec.errors import KgrecError
from kgrec.printable import is_no_unicode
from kgrec.serving.explanation import MOST_PATHS
from kgrec.serving.list_options import ListOptions
from kgrec.serving.wanted import Wanted

WANTED_AT = "When the list is wanted, for models that read it: unix seconds, or ISO 8601; left out: the clock's time."
LONGEST_ID = 512  #: characters
MOST_CONDITIONS = 20
KEPT = 1024  #: queries whose options are kept
FILES = ("blocked", "in_stock", "recently_shown")  #: rules that may name a file in the library, and not here


def _as_id(value: Any) -> Any:
    """A whole number as it is written."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _is_id(value: str) -> str:
    if "\x00" in value:
        raise ValueError("has a NUL character")
    if is_no_unicode(value):
        raise ValueError("has half a surrogate pair, which is no character")
    return value


Id = Annotated[
    str, BeforeValidator(_as_id), Field(min_length=1, max_length=LONGEST_ID), AfterValidator(_is_id)
]  #: an id: text, or a whole number
Condition = Annotated[str, Field(min_length=1, max_length=1000)]


class Body(BaseModel):
    """A part of a request, in which no key is unknown."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)


class ListQuery(Body):
    """How long a list is, what is left out of it, and what is said of it."""

    k: int = Field(10, ge=1, description="Items in the list.")
    where: tuple[Condition, ...] = Field(
        (),
        max_length=MOST_CONDITIONS,
        description="Conditions that all items meet, such as `brand=Acme` or `price<20`.",
    )
    not_: tuple[Condition, ...] = Field(
        (), alias="not", max_length=MOST_CONDITIONS, description="Conditions that no item meets."
    )
    exclude: tuple[Condition, ...] = Field(
        (), max_length=MOST_CONDITIONS, description="Behaviours whose items are left out too."
    )
    include_seen: bool = Field(False, description="Also items that the user has.")
    why: bool = Field(False, description="Name the past items behind the list.")
    now: int | float | datetime | None = Field(None, description=WANTED_AT)

    @functools.lru_cache(KEPT)  # noqa: B019 - queries are frozen, and so many are kept at most
    def options(self, max_k: int) -> ListOptions:
        """As the library has them. Raises KgrecError for a k that is too large, and as ListOptions."""
        check_k(self.k, max_k)
        return ListOptions(
            k=self.k,
            where=self.where,
            not_=self.not_,
            exclude=self.exclude,
            include_seen=self.include_seen,
            why=self.why,
            now=seconds_of(self.now),
        )


class SimilarQuery(Body):
    """How many similar items, and which."""

    k: int = Field(10, ge=1)
    where: tuple[Condition, ...] = Field((), max_length=MOST_CONDITIONS)
    not_: tuple[Condition, ...] = Field((), alias="not", max_length=MOST_CONDITIONS)

    def options(self, max_k: int) -> ListOptions:
        """As the library has them. Raises KgrecError."""
        check_k(self.k, max_k)
        return ListOptions(k=self.k, where=self.where, not_=self.not_)


class ExplanationQuery(Body):
    """Which item is explained, and by how many paths."""

    item: Id
    paths: int = Field(5, ge=1, le=MOST_PATHS, description="Paths of the graph behind the item's score.")
    by: Literal["drop", "attention"] | None = Field(
        None, description="How paths are chosen: by how much the score falls without them, or by the model's attention."
    )


def check_k(k: int, most: int) -> None:
    """Raise KgrecError for a list that is too long."""
    if k > most:
        raise KgrecError(f"k is {k:,}; this server gives lists of up to {most:,} items")


def _named(field: str) -> BeforeValidator:
    """An id alone as an object that has it in a field."""
    return BeforeValidator(lambda value: {field: value} if isinstance(value, str | int) else value)


class StepBody(Body):
    """Something that a new user did."""

    item: Id
    time: int | float | datetime | None = Field(None, description="Unix seconds, or ISO 8601.")
    weight: float | None = Field(None, allow_inf_nan=False)
    behaviour: Id | None = None

    @property
    def says_more(self) -> bool:
        """Whether it says more than the item."""
        return self.time is not None or self.weight is not None or self.behaviour is not None

    @property
    def step(self) -> dict[str, Any]:
        """As the library reads it."""
        values = {"item": self.item, "time": seconds_of(self.time), "weight": self.weight, "behaviour": self.behaviour}
        return {name: value for name, value in values.items() if value is not None}


class UserBody(Body):
    """A user who is known, or new by a history or a profile; what is not said is as for all users of the request."""

    user: Id | None = Field(None, description="The id of a known user, or what to call a new one.")
    history: list[Annotated[StepBody, _named("item")]] | None = Field(
        None, description="What a new user did: steps, or ids of items."
    )
    profile: dict[str, Any] | None = Field(None, description="Columns of a new user.")
    k: int | None = Field(None, ge=1)
    where: list[Condition] | None = Field(None, max_length=MOST_CONDITIONS)
    not_: list[Condition] | None = Field(None, alias="not", max_length=MOST_CONDITIONS)
    exclude: list[Condition] | None = Field(None, max_length=MOST_CONDITIONS)
    include_seen: bool | None = None
    why: bool | None = None
    now: int | float | datetime | None = Field(None, description=WANTED_AT)
    rules: dict[str, Any] | None = Field(None, description="Rules of the list, as the guide on rules has them.")
    skip_unknown: bool | None = Field(None, description="Leave out what is not known, instead of an error.")

    def own(self) -> dict[str, Any]:
        """The options that are said."""
        names = ("k", "where", "not_", "exclude", "include_seen", "why", "now", "rules", "skip_unknown")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def wanted(self, otherwise: dict[str, Any], max_k: int, max_history: int) -> Wanted:
        """As the library has it. otherwise: the options that are not said. Raises KgrecError."""
        options = {**otherwise, **self.own()}
        check_k(options.get("k", 1), max_k)
        for name in FILES:
            if isinstance(options.get("rules", {}).get(name), str):
                raise KgrecError(f"the rule {name} is a text; a list of ids is wanted here, as no files are read")
        if self.user is None and self.history is None and self.profile is None:
            raise KgrecError("an entry names no user; user, history or profile is wanted")
        history = None
        if self.history is not None:
            if len(self.history) > max_history:
                raise KgrecError(f"a history of {len(self.history):,} steps; up to {max_history:,} are read")
            history = [one.step if one.says_more else one.item for one in self.history]
        return Wanted(self.user, history, self.profile, ListOptions(**options))


class ListsBody(UserBody):
    """Lists for many users, `users`, or for one; the options hold for all that say nothing else."""

    users: list[Annotated[UserBody, _named("user")]] | None = Field(
        None, description="Users with all that is asked of each, or ids of known users."
    )


class PairBody(Body):
    """A user and an item."""

    user: Id
    item: Id


class PairsBody(Body):
    """Pairs of which something is predicted."""

    pairs: list[PairBody] = Field(min_length=1)
    now: int | float | datetime | None = Field(None, description=WANTED_AT.replace("the list is", "they are"))


class EventBody(Body):
    """Something that a user did."""

    id: Id = Field(description="Unique; an event that is sent twice is stored once.")
    user: Id
    item: Id
    behaviour: Id | None = Field(None, description="A relation from users to items; left out: what is recommended.")
    time: int | float | datetime | None = Field(None, description="Unix seconds, or ISO 8601; left out: now.")
    weight: float | None = Field(None, allow_inf_nan=False)


class EventsBody(Body):
    """Events of one request, which are stored all or none. One event may stand as it is, without a list around it."""

    events: list[EventBody] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, value: Any) -> Any:
        return {"events": [value]} if isinstance(value, dict) and "events" not in value else value


def seconds_of(time: float | datetime | None) -> int | None:
    """Unix seconds of a moment; UTC where it names no zone. Raises KgrecError for one outside of 64 bits."""
    if isinstance(time, datetime):
        time = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    if time is None:
        return None
    if not math.isfinite(time) or abs(time) > 2**53:
        raise KgrecError(f"time is {time}; unix seconds are wanted")
    return math.floor(time)
