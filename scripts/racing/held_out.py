"""One split as plain files for all contestants, and one evaluator for all lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kgrec.errors import KgrecError
from kgrec.evaluation.metrics import Ranking, parse
from kgrec.graph import Graph
from kgrec.splits.split import split
from racing.course import K

METRIC = f"ndcg@{K}"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A split in files, and what is held out. Users and items have the numbers from 0 that the files have."""

    train: Path  #: CSV with the columns user, item, time, in the order of time for each user
    users: Path  #: a number a line: the users with something in valid
    known: np.ndarray  #: int64 [E], rising: user * items + item of each pair in train
    relevant: np.ndarray  #: int64 [V], rising: the same of each pair in valid
    user: np.ndarray  #: int64 [U], rising, the users with something in valid
    num_items: int
    num_left_out: int  #: pairs of valid that no contestant can rank: their user or item is not in train

    def score(self, lists: np.ndarray) -> float:
        """NDCG@10 of lists, by kgrec's own formula: the mean over the users of valid. lists: int [U, 10], the best
        first, -1 after the end of a short list.

        Raises KgrecError for lists of other users or lengths, for an item that is not in train, is twice in a list, or
        that the user has in train.
        """
        if lists.shape != (len(self.user), K):
            raise KgrecError(
                f"lists have shape {list(lists.shape)}, but must have {[len(self.user), K]}: users x items"
            )
        if lists.min() < -1 or lists.max() >= self.num_items:
            raise KgrecError(f"lists have items {lists.min()} to {lists.max()}; there are 0 to {self.num_items - 1}")
        there = lists >= 0
        pair = np.where(there, self.user[:, None] * self.num_items + lists, -1)
        in_order = np.sort(pair, axis=1)
        if ((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)).any():
            raise KgrecError("an item is twice in a user's list; it may be there once")
        if np.isin(pair[there], self.known).any():
            raise KgrecError("a list has an item that the user has in train; leave these out")
        hit = np.isin(pair, self.relevant) & there
        relevant = np.bincount(np.searchsorted(self.user, self.relevant // self.num_items), minlength=len(self.user))
        ranking = Ranking(torch.from_numpy(hit), torch.from_numpy(relevant))
        return float(parse(METRIC).values(ranking).mean())


def hold_out(graph: Graph, spec: str, folder: Path) -> HeldOut:
    """Divide a graph's interactions and write train as plain files. Test is not looked at. Pairs of valid count if user
    and item are in train, so that all contestants rank the same items; a pair that is twice in train counts once, the
    first time.

    Raises KgrecError if the split has no valid, and what `split` raises.
    """
    divided = split(graph, spec)
    if divided.valid is None:
        raise KgrecError(f"split {spec!r} has no valid, by which contestants are compared; add valid=0.1 or valid=1")
    train = divided.train.only(graph.target)
    head, tail, time = (one.numpy() for one in (train.head, train.tail, train.time))
    order = np.lexsort((np.arange(len(head)), time, head))
    head, tail, time = head[order], tail[order], time[order]
    pair = head * train.num_nodes + tail
    _, first = np.unique(pair, return_index=True)
    first.sort()
    users, user = np.unique(head[first], return_inverse=True)
    items, item = np.unique(tail[first], return_inverse=True)
    time = np.maximum(time[first], 0)  # 0: no time is known
    valid = divided.valid.only(graph.target)
    of_valid, in_valid = valid.head.numpy(), valid.tail.numpy()
    counts = np.isin(of_valid, users) & np.isin(in_valid, items)
    num_items = len(items)
    known = np.sort(user * num_items + item)
    relevant = np.searchsorted(users, of_valid[counts]) * num_items + np.searchsorted(items, in_valid[counts])
    relevant = np.setdiff1d(relevant, known)
    if not len(relevant):
        raise KgrecError(f"split {spec!r} has no pair in valid whose user and item are in train; hold out more")
    who = np.unique(relevant // num_items)
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.stack([user, item, time], 1)
    np.savetxt(folder / "train.csv", rows, "%d", ",", header="user,item,time", comments="")
    np.savetxt(folder / "users.txt", who, "%d")
    left_out = int((~counts).sum())
    return HeldOut(folder / "train.csv", folder / "users.txt", known, relevant, who, num_items, left_out)
