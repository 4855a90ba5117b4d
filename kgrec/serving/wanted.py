"""What is asked for one user, who is known, or new with a history, a profile or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from kgrec.errors import KgrecError, unknown_name
from kgrec.serving.input_tables import InputTable, id_list, is_one_id
from kgrec.serving.list_options import ListOptions
from kgrec.serving.new_users import NEW_USER, NewUsers, new_users
from kgrec.training.trained_model import TrainedModel

STEP = ("item", "time", "weight", "behaviour")  #: what a step of a history may say
ORDINARY = ListOptions()


@dataclass(frozen=True)
class Wanted:
    """A request for one user's list.

    >>> Wanted("ann").name, Wanted(history=["x", "y"]).name
    ('ann', 'new user')

    Raises BadData for a user that is no id; 7 is the id "7".
    """

    user: str | None = None  #: the id of a known user, or what to call a new one
    #: what a new user did: ids of items, or steps, each with `item` and perhaps `time` (unix seconds or a moment),
    #: `weight` and `behaviour`; it takes the place of what the run knows of a user of this id
    history: Sequence[str | Mapping[str, Any]] | None = None
    profile: Mapping[str, Any] | None = None  #: columns of a new user to their values
    options: ListOptions = field(default=ORDINARY)  #: how long the list is, and what is left out of it

    def __post_init__(self) -> None:
        if self.user is not None and not isinstance(self.user, str):
            object.__setattr__(self, "user", id_list([self.user], "user")[0].as_py())

    @property
    def is_new(self) -> bool:
        """Whether the user is served by what the request says."""
        return self.history is not None or self.profile is not None

    @property
    def name(self) -> str:
        """What to call the user."""
        return NEW_USER if self.user is None else self.user

    def read(self, run: TrainedModel, fill_weights: bool) -> NewUsers:
        """The user as a new one. fill_weights: a step without a weight weighs 1 where others have one.

        Raises KgrecError for what `new_users` raises it for, and where only some of the steps have a weight that is not
        filled."""
        history: Any = self.history
        if history is not None and not is_one_id(history) and any(isinstance(step, Mapping) for step in history):
            history = _table_of(history, run.graph.target[1], fill_weights)
        profile = None if self.profile is None else {self.name: dict(self.profile)}
        return new_users(run, history, [self.name], profile=profile, skip_unknown=self.options.skip_unknown)


def _table_of(history: Sequence[Any], target: str, fill_weights: bool) -> pa.Table:
    """Steps as a table. target: the behaviour of those that name none. Raises KgrecError for a step that names no item
    or has a key that no step has, and for missing weights."""
    steps = [step if isinstance(step, Mapping) else {"item": step} for step in history]
    for number, step in enumerate(steps, 1):
        for name in step:
            if name not in STEP:
                raise unknown_name("key", str(name), STEP, f"of a step of a history (step {number})")
        if step.get("item") is None:
            raise KgrecError(f"step {number} of the history names no item; one is wanted in each")
    columns: dict[str, list[Any]] = {"item": [step["item"] for step in steps]}
    for name in STEP[1:]:
        values = [step.get(name) for step in steps]
        if any(value is not None for value in values):
            columns[name] = values
    if "behaviour" in columns:
        columns["behaviour"] = [target if value is None else value for value in columns["behaviour"]]
    if None in columns.get("weight", ()):
        if not fill_weights:
            number = columns["weight"].index(None) + 1
            raise KgrecError(
                f"step {number} of the history has no weight, and others have one; give all of them, or none"
            )
        columns["weight"] = [1 if value is None else value for value in columns["weight"]]
    return InputTable(columns, "history", list(columns)).to_arrow()
