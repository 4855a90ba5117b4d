"""Something that a user did with an item after the run was trained."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a user did. Its id is unique among the events of a graph: told twice, it is stored once.

    >>> Event("e1", "ann", "x", "rated", 1700000000).step
    {'item': 'x', 'time': 1700000000, 'behaviour': 'rated'}
    """

    id: str
    user: str
    item: str
    behaviour: str  #: a relation of the graph from users to items
    time: int  #: unix seconds
    weight: float | None = None  #: such as a rating; None: the graph's edges have none
    #: whether `time` is when it came, as it said none itself: when it is sent again, that is another moment
    is_timed_here: bool = field(default=False, compare=False)

    def is_again(self, before: Event) -> bool:
        """Whether this is an event that is stored, sent again."""
        return self == before or (self.is_timed_here and replace(self, time=before.time) == before)

    @property
    def step(self) -> dict[str, Any]:
        """As a step of a history."""
        weight = {} if self.weight is None else {"weight": self.weight}
        return {"item": self.item, "time": self.time, "behaviour": self.behaviour, **weight}


@dataclass(frozen=True)
class Added:
    """What became of the events of a request."""

    stored: int = 0  #: that are new
    known: int = 0  #: that were stored before
    conflicts: tuple[str, ...] = ()  #: ids that are stored with other content; then none of the request is stored


@dataclass(frozen=True)
class NewItemsDocument:
    """A body that told of new items, kept so that they are known after a restart too."""

    ids: tuple[str, ...]  #: of the items
    form: str  #: the suffix of its format, such as ".json" or ".jsonld"
    body: str
