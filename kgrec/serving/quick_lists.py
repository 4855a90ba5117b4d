"""Lists of known users by NumPy alone, for runs with a `scorer.json`, without torch, whose import takes longer than all
of this.

They are the lists of `Run.recommend`. Nothing is decided here that is decided there: how each user is served stands in
the run folder, and the order of ties, the shown scores, the ids and the table come from what both share. Where the
order of the last items hangs on how scores are rounded, there is no answer, and the caller asks the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.arrow_arrays import numbers_in, text_array
from kgrec.errors import KgrecError
from kgrec.evaluation.served_by import ServedBy
from kgrec.evaluation.tie_order import tie_numbers
from kgrec.graph.schema import Schema
from kgrec.graph.vocabulary import Vocabulary
from kgrec.linear_scores import LinearScores
from kgrec.models import builtin_names
from kgrec.run_files import REMEDY, RunFiles, config_hash, read_metrics, refuse_pickles
from kgrec.serving.answers import Table
from kgrec.serving.list_tables import list_arrow, reasons_of
from kgrec.serving.numpy_scorer import load_scores
from kgrec.stored_tables import read_parquet

MOST_USERS = 256  #: who are answered; the time that torch takes to come is little beside that for more
#: how far a model's score may be from the exact one, in units of 2^-24 of the sum of its absolute terms
ROUNDING = 16 / (1 << 24)


class Unsure(Exception):
    """The run, or what is asked of it, is not read here."""


@dataclass(frozen=True, eq=False)
class QuickRun:
    """A run folder that is read without torch."""

    scores: LinearScores
    users: Vocabulary
    items: Vocabulary
    user_type: str
    same_ends: bool  #: whether users and items are the same nodes
    first_user: int  #: flat number of the first user
    first_item: int  #: flat number of the first item
    num_nodes: int
    #: the edges of histories: local numbers of users and items, int64 [E] each, and which of them are target edges
    user: np.ndarray
    item: np.ndarray
    is_target: np.ndarray
    served: np.ndarray  #: a ServedBy for each user: int8 [U]
    num_users: np.ndarray  #: of each item in training: float32 [I]
    serves_everybody: bool

    @staticmethod
    def open(folder: str | Path) -> QuickRun | None:
        """Read a run folder, with the same checks of its files as `Run.load`. None if it is not read here: it has no
        scorer, was written by a former version, needs code that is not kgrec's, or has something wrong, which
        `Run.load` says."""
        try:
            return _read(Path(folder))
        except (Unsure, KgrecError, pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError):
            return None

    def lists(
        self, names: Sequence[str], k: int, *, include_seen: bool = False, skip_unknown: bool = False
    ) -> Table | None:
        """What `Run.recommend` gives for these users; None if that cannot be said here. Raises UnknownName."""
        try:
            asked = text_array(names).unique()
            local = self.users.find_once(asked)
            if not 0 < len(local) <= MOST_USERS or (skip_unknown and (local < 0).any()):
                return None
        except (KgrecError, pa.ArrowException, ValueError, OverflowError):
            return None
        self.users.require(asked, local, self.user_type)
        served = self.served[local]
        by_model = np.full(len(local), True) if self.serves_everybody else served < ServedBy.POPULARITY
        try:
            found = [self._list(*one, k, include_seen) for one in zip(local, self._scores(local, by_model), by_model)]
        except Unsure:
            return None
        row = np.repeat(np.arange(len(found)), [len(item) for item, _ in found])
        rank = np.concatenate([np.arange(len(item)) for item, _ in found])
        item, score = (np.concatenate(part) for part in zip(*found))
        rows = list_arrow(asked, self.items, row, rank, item, score, reasons_of(served))
        return Table(rows, asked.to_pylist())

    def _scores(self, local: np.ndarray, by_model: np.ndarray) -> np.ndarray:
        """What all items are ranked by: float32 [U, I]."""
        if self.scores.reads_history:
            scores = self.scores.of_histories([self.item[self.user == user] for user in local])
        else:
            scores = self.scores.of_users(local)
        if scores.dtype != np.float32 or not np.isfinite(scores[by_model]).all():
            raise Unsure
        scores[~by_model] = self.num_users
        return scores

    def _list(
        self, user: int, scores: np.ndarray, by_model: bool, k: int, include_seen: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first k items of a user and their scores, best first. scores: float32 [I], overwritten."""
        if not include_seen:
            scores[self.item[(self.user == user) & self.is_target]] = -np.inf
        if self.same_ends:
            scores[user] = -np.inf
        last = np.partition(scores, -k)[-k]
        if not by_model or self.scores.kind != "dot":
            item = np.flatnonzero((scores >= last) & (scores > -np.inf))
            order = self._order(user, item, scores[item])[:k]
            return item[order], scores[item[order]]
        item = np.flatnonzero((scores >= last - 2 * ROUNDING * self._size(user)) & (scores > -np.inf))
        exact, slack = self.scores.of_pairs(np.array([user]), item[None])[0], ROUNDING * self._sizes(user, item)
        order = self._order(user, item, exact)
        inside, outside = order[:k], order[k:]
        if len(outside) and (exact - slack)[inside].min() < (exact + slack)[outside].max():
            raise Unsure
        return item[inside], exact[inside]

    def _order(self, user: int, item: np.ndarray, score: np.ndarray) -> np.ndarray:
        """The order of items by score, those of equal scores in the user's order of ties."""
        order = np.argsort(-score)
        if np.diff(score[order]).all():  # no ties
            return order
        of_user, of_item = self._tie_numbers
        return np.lexsort((of_user[self.first_user + user] * of_item[self.first_item + item], -score))

    @cached_property
    def _tie_numbers(self) -> np.ndarray:
        return tie_numbers(0, self.num_nodes)

    def _sizes(self, user: int, item: np.ndarray) -> np.ndarray:
        """The sum of the absolute terms of each score: float64 [n]."""
        parts = {name: np.asarray(array, np.float64) for name, array in self._rows(user, item).items()}
        found = np.abs(parts["item"]) @ np.abs(parts["user"]) + abs(self.scores.constant)
        return found + np.abs(parts.get("user_bias", 0)) + np.abs(parts.get("item_bias", 0))

    def _rows(self, user: int, item: np.ndarray) -> dict[str, Any]:
        arrays = self.scores.arrays
        return {name: array[user] if name.startswith("user") else array[item] for name, array in arrays.items()}

    def _size(self, user: int) -> float:
        """At least that of any item."""
        arrays = self.scores.arrays
        found = float(np.abs(arrays["user"][user].astype(np.float64)).sum()) * _largest(arrays["item"])
        found += abs(float(arrays["user_bias"][user])) if "user_bias" in arrays else 0
        return found + (_largest(arrays["item_bias"]) if "item_bias" in arrays else 0) + abs(self.scores.constant)


def _largest(array: np.ndarray) -> float:
    """The largest absolute value."""
    return max(float(array.max(initial=0)), -float(array.min(initial=0)))


def _read(folder: Path) -> QuickRun:
    files = RunFiles.open(folder)
    refuse_pickles(folder)
    if not files.holds("scorer.json") or not files.holds("trained.parquet"):
        raise Unsure
    document = files.json("scorer.json")
    # config.json has the hashes of all files but its own
    if document.get("config_hash") != config_hash(files.config) or files.config["model"] not in builtin_names():
        raise Unsure
    if _has_paths(files.config["config"]) or files.config.get("facts_only"):
        raise Unsure
    for name in ("model.safetensors", *(name for name in ("recipe.json",) if files.holds(name))):
        files.path(name)
    read_metrics(files)
    schema = Schema.from_json(files.json("schema.json"), folder / "schema.json", REMEDY)
    target, counts = schema.target, [node.count for node in schema.nodes.values()]
    behaviours = schema.behaviours(files.config.get("behaviours", ()))
    if target is None or target not in behaviours:
        raise Unsure
    first = dict(zip(schema.nodes, accumulate(counts, initial=0)))
    vocabularies = {}
    for name, node in schema.nodes.items():
        file = files.path(f"vocabulary/{name}.parquet")
        if name in (target[0], target[2]):
            table = read_parquet(file)
            labels = table["label"] if "label" in table.column_names else None
            vocabularies[name] = Vocabulary(table["id"], labels)
            if len(table) != node.count:
                raise Unsure
    users, items = vocabularies[target[0]], vocabularies[target[2]]
    scores = load_scores(folder)
    if scores.num_items != len(items) or scores.num_users not in (None, len(users)):
        raise Unsure
    user, item, is_target = _history(files, target[1], len(behaviours) > 1)
    if max(user.max(initial=0) - len(users), item.max(initial=0) - len(items)) >= 0 or min(len(users), len(items)) < 1:
        raise Unsure
    served, num_users = _trained(files, len(users), len(items), target[0] == target[2])
    return QuickRun(
        scores,
        users,
        items,
        target[0],
        target[0] == target[2],
        first[target[0]],
        first[target[2]],
        sum(counts),
        user,
        item,
        is_target,
        served,
        num_users,
        bool(document["serves_everybody"]),
    )


def _has_paths(value: object) -> bool:
    """Whether a text in some settings may be the path of a model that is not kgrec's."""
    match value:
        case str():
            return value not in builtin_names() and ("." in value or ":" in value)
        case dict():
            return any(map(_has_paths, value.values()))
        case list():
            return any(map(_has_paths, value))
    return False


def _history(files: RunFiles, relation: str, has_several: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = ["source", "target", *(["relation"] if has_several else [])]
    table = read_parquet(files.path("history.parquet"), columns)
    user, item = (numbers_in(table[name]).astype(np.int64) for name in columns[:2])
    if not has_several:
        return user, item, np.full(len(user), True)
    place = pc.index_in(table["relation"].cast(pa.string()), value_set=text_array([relation]))
    return user, item, numbers_in(place.is_valid().cast(pa.int8())) > 0


def _trained(files: RunFiles, users: int, items: int, same_ends: bool) -> tuple[np.ndarray, np.ndarray]:
    """How users are served, and the number of users of each item in training."""
    table = read_parquet(files.path("trained.parquet"))
    if len(table) != (users if same_ends else users + items) or "served" not in table.column_names:
        raise Unsure
    return numbers_in(table["served"])[:users], numbers_in(table["num_users"])[-items:].astype(np.float32)
