"""The fitted vectors of new users, kept for those who ask again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from kgrec.graph.features import Feature
from kgrec.nn.added_rows import Holder
from kgrec.nn.fold_in import Folding, NewUsersEdges

USERS = 10_000  #: whose vectors are kept at most
NUMBERS = 1 << 23  #: and numbers in these, 4 bytes each


class KeptVectors(Folding):
    """A folding that keeps the vectors of the users who were asked for last. Many threads may ask at once.

    A user is known by all that the vectors are made of: the items in their order, the weights, the columns. What
    somebody does next makes another user of them, so nothing is ever out of date.

    users: how many are kept at most; numbers: in their vectors.
    """

    def __init__(self, folding: Folding, users: int = USERS, numbers: int = NUMBERS) -> None:
        self.folding, self.how, self.most_users, self.most_numbers = folding, folding.how, users, numbers
        self.place: OrderedDict[bytes, int] = OrderedDict()  #: where each user's vectors stand, last asked for last
        self._vectors: dict[Holder, Tensor] = {}  # FloatTensor [most, D] each, made when the first are kept
        self._lock = threading.Lock()

    @property
    def columns(self) -> tuple[str, ...]:
        return self.folding.columns

    def vectors(self, edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        keys = keys_of(edges)
        with self._lock:
            missing = [row for row, key in enumerate(keys) if key not in self.place]
            there = [row for row, key in enumerate(keys) if key in self.place]
            for row in there:
                self.place.move_to_end(keys[row])
            kept = self._rows([self.place[keys[row]] for row in there])
        if not missing:
            return kept
        made = self.folding.vectors(edges.rows(missing) if there else edges)
        with self._lock:
            self._keep([keys[row] for row in missing], made)
        if not there:
            return made
        order = torch.tensor([*there, *missing], device=edges.ptr.device).argsort()
        return {holder: torch.cat([kept[holder], vector])[order] for holder, vector in made.items()}

    def _rows(self, places: list[int]) -> dict[Holder, Tensor]:
        return {holder: vector[places] for holder, vector in self._vectors.items()}

    def _keep(self, keys: list[bytes], made: Mapping[Holder, Tensor]) -> None:
        if not self._vectors:
            most = max(1, min(self.most_users, self.most_numbers // max(1, sum(one.shape[1] for one in made.values()))))
            self._vectors = {holder: one.new_empty(most, one.shape[1]) for holder, one in made.items()}
            self.most_users = most
        for row, key in enumerate(keys):
            if key in self.place:  # another thread was faster
                continue
            full = len(self.place) >= self.most_users
            place = self.place.popitem(last=False)[1] if full else len(self.place)
            for holder, vector in made.items():
                self._vectors[holder][place] = vector[row]
            self.place[key] = place


def keys_of(edges: NewUsersEdges) -> list[bytes]:
    """What tells each user from those whose vectors are others."""
    item = edges.item.cpu().numpy()
    weight = None if edges.weight is None else edges.weight.cpu().numpy()
    ptr, keys = edges.ptr.tolist(), []
    columns = [(name.encode(), feature) for name, feature in sorted(edges.profile.items())]
    for row in range(len(edges)):
        start, stop = ptr[row], ptr[row + 1]
        digest = hashlib.blake2b(b"%d:" % (stop - start), digest_size=32)
        digest.update(item[start:stop].tobytes())
        digest.update(b"\x00" if weight is None else b"\x01" + weight[start:stop].tobytes())
        for name, feature in columns:
            value = _value_of(feature, row)
            digest.update(b"%d:%b%d:%b" % (len(name), name, len(value), value))
        keys.append(digest.digest())
    return keys


def _value_of(feature: Feature, row: int) -> bytes:
    """A row of a column, with its kind; the categories are those of the model."""
    if feature.schema.kind == "text":
        return repr(feature.values[row].as_py()).encode()
    rows = slice(row, row + 1) if feature.ptr is None else slice(int(feature.ptr[row]), int(feature.ptr[row + 1]))
    return np.ascontiguousarray(feature.values[rows].numpy()).tobytes()
