"""Scores of a model as sums and products of arrays, computed with NumPy only, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kgrec.errors import KgrecError

#: How scores are computed, for U users, I items, D dimensions, K neighbors:
#:   dot                    user [U, D] . item [I, D]  + user_bias [U] + item_bias [I]; biases are optional
#:   history_times_weights  the sum of the rows of weight [I, I] for the distinct past items
#:   history_neighbors      for each item, the sum of similarity [I, K] over its neighbors [I, K] that are past items
#:   constant               score [I], the same for all users
#: `constant` is added to every score.
Kind = Literal["dot", "history_times_weights", "history_neighbors", "constant"]

NEEDS: Mapping[str, tuple[str, ...]] = {
    "dot": ("user", "item"),
    "history_times_weights": ("weight",),
    "history_neighbors": ("neighbor", "similarity"),
    "constant": ("score",),
}
CELLS = 1 << 20  #: numbers that `of_pairs` multiplies at once
MAY_HAVE: Mapping[str, tuple[str, ...]] = {"dot": ("user_bias", "item_bias")}


@dataclass(frozen=True, eq=False)
class LinearScores:
    """Scores of all items for known users, or for histories. Users and items are local numbers.

    >>> scores = LinearScores("dot", {"user": np.array([[1.0, 2.0]]), "item": np.array([[3.0, 0.0], [0.0, 4.0]])}, 0.5)
    >>> scores.of_users([0]).tolist()
    [[3.5, 8.5]]
    """

    kind: Kind
    arrays: Mapping[str, np.ndarray]  #: arrays by name, with the shapes named at `Kind`; they may be memory-mapped
    constant: float = 0.0

    def __post_init__(self) -> None:
        """Raises KgrecError if arrays are missing, if there are too many, or if their shapes do not fit together."""
        if self.kind not in get_args(Kind):
            raise KgrecError(f"scores of kind {self.kind!r}; there are {', '.join(get_args(Kind))}: update kgrec")
        needs, may = NEEDS[self.kind], MAY_HAVE.get(self.kind, ())
        if not set(needs) <= set(self.arrays) <= {*needs, *may}:
            found = ", ".join(self.arrays) or "none"
            raise KgrecError(f"scores of kind {self.kind!r} want the arrays {', '.join(needs)}; found: {found}")
        shapes = {name: array.shape for name, array in self.arrays.items()}
        if not self._fit(shapes):
            shown = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise KgrecError(f"arrays of scores of kind {self.kind!r} do not go together: {shown}")

    def _fit(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        match self.kind:
            case "dot":
                user, item = shapes["user"], shapes["item"]
                biases = shapes.get("user_bias", user[:1]) == user[:1] and shapes.get("item_bias", item[:1]) == item[:1]
                return len(user) == len(item) == 2 and user[1] == item[1] and biases
            case "history_times_weights":
                return len(shapes["weight"]) == 2 and shapes["weight"][0] == shapes["weight"][1]
            case "history_neighbors":
                return len(shapes["neighbor"]) == 2 and shapes["neighbor"] == shapes["similarity"]
            case "constant":
                return len(shapes["score"]) == 1

    @property
    def num_items(self) -> int:
        return len(self.arrays[{"dot": "item"}.get(self.kind, NEEDS[self.kind][0])])

    @property
    def num_users(self) -> int | None:
        """Number of known users; None if scores are computed from histories."""
        return len(self.arrays["user"]) if self.kind == "dot" else None

    @property
    def reads_history(self) -> bool:
        return self.kind in ("history_times_weights", "history_neighbors")

    def of_users(self, users: Sequence[int] | np.ndarray) -> np.ndarray:
        """Scores of known users [B] with all items: float32 [B, I].

        Raises KgrecError for the number of an unknown user, and if scores are computed from histories.
        """
        users = np.asarray(users, dtype=np.int64)
        if self.reads_history:
            raise KgrecError(f"scores of kind {self.kind!r} are computed from histories; use of_histories")
        if self.kind == "constant":
            return np.tile(np.asarray(self.arrays["score"] + self.constant, dtype=np.float32), (len(users), 1))
        _must_be_below(users, len(self.arrays["user"]), "user")
        scores = np.asarray(self.arrays["user"][users]) @ np.asarray(self.arrays["item"]).T
        if "user_bias" in self.arrays:
            scores = scores + np.asarray(self.arrays["user_bias"][users])[:, None]
        if "item_bias" in self.arrays:
            scores = scores + np.asarray(self.arrays["item_bias"])
        return scores + scores.dtype.type(self.constant)

    def of_pairs(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of known users [B] with some items each [B, K]: float32 [B, K]. They are summed in float64 and rounded
        once, so that they do not depend on how many are computed together, or by which library. For kind `dot`."""
        found = np.empty(items.shape, np.float32)
        of_user, of_item = self.arrays["user"], self.arrays["item"]
        step = max(1, CELLS // max(1, items.shape[1] * of_item.shape[1]))
        for start in range(0, len(users), step):
            user, item = users[start : start + step], items[start : start + step]
            score = np.einsum("bd,bkd->bk", of_user[user].astype(np.float64), of_item[item].astype(np.float64))
            if "user_bias" in self.arrays:
                score += self.arrays["user_bias"][user].astype(np.float64)[:, None]
            if "item_bias" in self.arrays:
                score += self.arrays["item_bias"][item]
            found[start : start + step] = score + self.constant
        return found

    def of_histories(self, histories: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
        """Scores of new users with all items, from the items in each history: float32 [B, I]. Order and repetitions of
        items do not matter.

        Raises KgrecError for the number of an unknown item, and if scores are only for known users.
        """
        if self.kind == "dot":
            raise KgrecError(
                "this model has scores only for the users it was trained on; for a history, use another model, such as "
                "ease"
            )
        if self.kind == "constant":
            return self.of_users(np.zeros(len(histories), np.int64))
        scores = np.zeros((len(histories), self.num_items), np.float32)
        for row, history in enumerate(histories):
            past = np.asarray(history, dtype=np.int64)
            _must_be_below(past, self.num_items, "item")
            has = np.zeros(self.num_items, np.float32)
            has[past] = 1
            items = np.flatnonzero(has)
            if self.kind == "history_times_weights":
                scores[row] = self.arrays["weight"][items].sum(0)
            else:
                counted = self.arrays["similarity"] * has[self.arrays["neighbor"]]
                scores[row] = np.ascontiguousarray(counted.T).sum(0)  # one after the other, as the model sums them
        return scores + np.float32(self.constant)


def _must_be_below(numbers: np.ndarray, count: int, what: str) -> None:
    wrong = numbers[(numbers < 0) | (numbers >= count)]
    if len(wrong):
        raise KgrecError(f"no {what} has the number {wrong[0]}; numbers go from 0 to {count - 1:,}")
