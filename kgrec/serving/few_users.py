"""Lists of a few known users, the usual request of a server, by as few steps as it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch

from kgrec.evaluation.ranking import Best, Ranker
from kgrec.evaluation.served_by import ServedBy
from kgrec.graph import NO_TIME
from kgrec.model import Query
from kgrec.nn.next_item import NextItem
from kgrec.samplers.histories import Histories
from kgrec.serving.coarse_items import CoarseItems
from kgrec.serving.exact_scores import with_exact_scores
from kgrec.serving.item_index import ItemIndex
from kgrec.serving.list_options import ListOptions
from kgrec.serving.ranked_lists import RankedUsers
from kgrec.serving.request_times import at_request_time
from kgrec.serving.rules.rule_settings import Rules
from kgrec.training.trained_model import TrainedModel

NUMBERS = 1 << 26  #: in the vectors of users' histories that are kept at most, 4 bytes each
FEW = 8  #: users at once for whom items of a large catalog are ruled out first
AT_ONCE = 4  #: users whose vectors are made at once before they are asked for
LOOKED_AT = 4096  #: users among whom those are looked for at once


QUICK_ITEMS, QUICK_STEPS = 20_000, 1_000  #: that are scored, and read, in about a millisecond


class FewUsers:
    """The same lists as `ranked_known` makes, item by item and to the last digit of a score.

    What leaves items out and what models read stands ready as arrays, and ties, which are rare, are left to the
    `Ranker`, as are users of whom the model knows nothing.
    """

    def __init__(self, run: TrainedModel, ranker: Ranker, options: ListOptions, index: ItemIndex | None = None) -> None:
        """index: finds about the best items, where all may be shown; None: all are scored."""
        self.run, self.model, self.ranker, self.scorer = run, run.model, ranker, ranker.scorer
        self.k, self.keep_order = options.k, options.rules is not None
        self.items = ranker.groups["all"]
        self.first_user = run.graph.range(run.graph.target[0]).start
        self.first_item, self.num_items = run.graph.range(run.graph.target[2]).start, ranker.num_items
        self.index = index if len(self.items) == self.num_items else None
        self.column = None if len(self.items) == self.num_items else ranker.column.numpy()
        self.left_out = [Rows(histories) for histories in ranker.left_out_along]
        self.served = ranker.served.of_users.numpy()
        self.known_up_to = int(ServedBy.POPULARITY) if not self.model.serves_everybody else 1 << 7
        self.steps = Steps(self.scorer.histories) if self.model.reads_history else None
        self.most_read: int | None = getattr(self.model, "most_read", None)

    @staticmethod
    def serves(run: TrainedModel, options: ListOptions) -> bool:
        """Whether requests with these options can be answered so: on the CPU, and by ranking alone."""
        chooses = isinstance(options.rules, Rules) and options.rules.chooses
        return run.device.type == "cpu" and not options.why and not chooses

    def is_quick(self, user: int) -> bool:
        """Whether the list of a user, by the local number, takes about a millisecond."""
        if len(self.items) > QUICK_ITEMS:
            return False
        if self.steps is None:
            return True
        paths = self.paths
        if paths is not None:
            return bool(paths.is_there[user])
        flat = user + self.first_user
        return self._is_linear and int(self.steps.ptr[flat + 1] - self.steps.ptr[flat]) <= QUICK_STEPS

    @cached_property
    def _is_linear(self) -> bool:
        """Whether scores are products or sums of what is stored."""
        return self.model.linear_scorer() is not None

    def ranked(self, users: Sequence[int], options: ListOptions) -> tuple[RankedUsers, list[int]]:
        """The best items of some users, by their local numbers, and the rows of those who are left to the Ranker.
        options: as this was made for, but for `now`."""
        flat = [user + self.first_user for user in users]
        served = self.served[flat]
        if self.index is not None:
            return self._found(self.index, users, flat, served)
        with torch.no_grad():
            value, items = self._best(users, flat, options)
            score = value[:, : self.k]
            tied = ((value[:, 1:] == value[:, :-1]) & (value[:, 1:] > -torch.inf)).any(1).numpy()
            item = items[:, : self.k].masked_fill_(score == -torch.inf, self.scorer.pad)
            user, by_model = torch.tensor(flat), torch.from_numpy(served < self.known_up_to)
            found = Best(item, score, self.ranker.tie_order(user, item))
            found = with_exact_scores(self.run, found, user, by_model, keep_order=self.keep_order)
        left = np.flatnonzero(tied | (served >= self.known_up_to)).tolist()
        return RankedUsers(found.item, found.score, torch.from_numpy(served)), left

    def _best(
        self, users: Sequence[int], flat: Sequence[int], options: ListOptions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The highest k + 1 scores of each user, or of all items if there are fewer, [B, K], and the flat items."""
        if self.column is None and len(users) <= FEW:
            coarse = self.run.made_once("coarse items", None, lambda: CoarseItems.of(self.run))
            parts = [] if coarse is None else [self._best_of_candidates(coarse, *one) for one in zip(users, flat)]
            if parts and all(part is not None for part in parts):
                values, items = zip(*(part for part in parts if part is not None))
                return torch.cat(values), torch.cat(items)
        scores = self._scores(flat, options)
        self._leave_out(scores.numpy(), flat)
        value, place = scores.topk(min(self.k + 1, scores.shape[1]))
        return value, self.items[place]

    def _best_of_candidates(
        self, coarse: CoarseItems, user: int, flat: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The same for one user by scoring few items of a large catalog; None where they cannot be told."""
        own = [np.array([flat])] if self.scorer.same_ends else []
        left_out = [*(rows.of(flat) for rows in self.left_out), *own]
        found = coarse.candidates(user, self.k + 1 + sum(map(len, left_out)))
        if found is None:
            return None
        items = self.first_item + torch.from_numpy(found[0])
        scores = self.scorer.scores(self._query([flat]), items)
        inside = scores[0].numpy() - coarse.common(user)
        if not ((found[1] <= inside) & (inside <= found[2])).all():  # a model of a stranger may score otherwise
            return None
        for gone in left_out:
            scores[0, torch.from_numpy(np.isin(items.numpy(), gone))] = -torch.inf
        value, place = scores.topk(self.k + 1)
        return value, items[place]

    def _found(
        self, index: ItemIndex, users: Sequence[int], flat: Sequence[int], served: np.ndarray
    ) -> tuple[RankedUsers, list[int]]:
        """The same from the items that an index finds: enough that the list is full without what is left out."""
        left_out = [np.concatenate([rows.of(user) for rows in self.left_out]) for user in flat] if self.left_out else []
        most = max(map(len, left_out), default=0) + self.scorer.same_ends
        item, score = index.found(np.array(users), self.k, most)
        for row, gone in enumerate(left_out):
            score[row, np.isin(item[row] + self.first_item, gone)] = -np.inf
        if self.scorer.same_ends:
            score[item + self.first_item == np.array(flat)[:, None]] = -np.inf
        found, user = torch.from_numpy(item + self.first_item), torch.tensor(flat)
        best = Best(found, torch.from_numpy(score), self.ranker.tie_order(user, found)).first(self.k, self.scorer.pad)
        short = (best.score == -torch.inf).any(1).numpy()
        left = np.flatnonzero(short | (served >= self.known_up_to)).tolist()
        return RankedUsers(best.item, best.score, torch.from_numpy(served)), left

    @property
    def paths(self) -> PathVectors | None:
        """The vectors of histories, which all requests share."""
        return self.run.made_once("vectors of histories", None, lambda: PathVectors.of_run(self.run))

    def read_ahead(self) -> bool:
        """Make the vectors of the histories of some users who were not asked for yet, if any are kept. Returns whether
        that is to be done for more."""
        paths = self.paths
        missing = [] if paths is None else paths.first_missing(AT_ONCE)
        if paths is None or not missing:
            return False
        with torch.no_grad():
            paths.of(missing, self._query)
        return True

    def _scores(self, users: Sequence[int], options: ListOptions) -> torch.Tensor:
        """The scores of the items, float32 [B, C]."""
        paths = self.paths
        if paths is None:
            return self.scorer.scores(at_request_time(self.run, self._query(users), options), self.items)
        found = paths.model.score_by(paths.of(users, self._query), self.items)
        return self.scorer.checked(found, (len(users), len(self.items)))

    def _query(self, users: Sequence[int]) -> Query:
        user = torch.tensor(users)
        if self.steps is None:
            return Query(user, user.new_empty(len(users), 0))
        return self.steps.query(user, users, self.scorer.pad, self.most_read)

    def _leave_out(self, scores: np.ndarray, users: Sequence[int]) -> None:
        """Put -inf in the place of what is left out of users' lists. scores: float32 [B, C]."""
        for rows in self.left_out:
            for row, user in zip(scores, users):
                other = rows.of(user)
                if self.column is None:
                    row[other - self.first_item] = -np.inf
                else:
                    column = self.column[other]
                    row[column[column >= 0]] = -np.inf
        if self.scorer.same_ends:
            for row, user in zip(scores, users):
                column = user - self.first_item if self.column is None else self.column[user]
                if column >= 0:
                    row[column] = -np.inf


class PathVectors:
    """The vectors of known users' histories, for a model that scores by these alone. Each is made when its user is
    first asked for, and kept: a history grows only in another run, or for a user who is served as a new one."""

    def __init__(self, model: NextItem, users: range, dim: int) -> None:
        self.model, self.first = model, users.start
        self.vector = torch.zeros(len(users), dim)  #: FloatTensor [U, D]
        self.is_there = np.zeros(len(users), bool)
        self.looked_at = 0  #: users up to whom all are there

    @staticmethod
    def of_run(run: TrainedModel) -> PathVectors | None:
        """None for other models, for one whose vectors hang on when a list is wanted, and where there are too many
        users."""
        model, users = run.model, run.graph.range(run.graph.target[0])
        if not isinstance(model, NextItem) or type(model).score is not NextItem.score or model.reads_now:
            return None
        dim = model.config.dim
        return PathVectors(model, users, dim) if len(users) * dim <= NUMBERS else None

    def first_missing(self, most: int) -> list[int]:
        """The first flat users whose vectors are not there, at most so many."""
        while self.looked_at < len(self.is_there):
            part = np.flatnonzero(~self.is_there[self.looked_at : self.looked_at + LOOKED_AT])[:most]
            if len(part):
                return [self.first + self.looked_at + place for place in part.tolist()]
            self.looked_at += LOOKED_AT
        return []

    def of(self, users: Sequence[int], query: Callable[[Sequence[int]], Query]) -> torch.Tensor:
        """The vectors of flat users: [B, D]."""
        row = np.asarray(users) - self.first
        new = np.unique(row[~self.is_there[row]])
        if len(new):
            self.vector[torch.from_numpy(new)] = self.model.vector(query((new + self.first).tolist()))
            self.is_there[new] = True
        return self.vector[torch.from_numpy(row)]


class Rows:
    """What nodes have, as an array each."""

    def __init__(self, histories: Histories) -> None:
        self.ptr, self.other = histories.csr.ptr.numpy(), histories.csr.other.numpy()

    def of(self, node: int) -> np.ndarray:
        """The flat tails of a flat node: int32 [n]."""
        return self.other[self.ptr[node] : self.ptr[node + 1]]


class Steps:
    """Histories as a model is asked with them: the same numbers as `Scorer.query` reads."""

    def __init__(self, histories: Histories) -> None:
        graph = histories.graph
        self.ptr, self.other, self.edge = (getattr(histories.csr, name).numpy() for name in ("ptr", "other", "edge"))
        self.time, self.weight = graph.time.numpy(), graph.weight.numpy()
        self.relation = graph.relation.numpy() if len(graph.edge_types) > 1 else None

    def query(self, user: torch.Tensor, users: Sequence[int], pad: int, most: int | None) -> Query:
        """The last steps of some users, all where `most` is None."""
        bounds = [(int(self.ptr[one]), int(self.ptr[one + 1])) for one in users]
        if most is not None:
            bounds = [(max(start, stop - most), stop) for start, stop in bounds]
        shape = len(users), max(stop - start for start, stop in bounds)
        history = np.full(shape, pad, np.int64)
        time, weight = np.full(shape, NO_TIME, np.int64), np.zeros(shape, np.float32)
        behaviour = None if self.relation is None else np.full(shape, -1, np.int64)
        for row, (start, stop) in enumerate(bounds):
            if start == stop:
                continue
            place, edge = shape[1] - (stop - start), self.edge[start:stop]
            history[row, place:] = self.other[start:stop]
            time[row, place:] = self.time[edge]
            weight[row, place:] = self.weight[edge]
            if behaviour is not None and self.relation is not None:
                behaviour[row, place:] = self.relation[edge]
        return Query(
            user,
            torch.from_numpy(history),
            torch.from_numpy(time),
            torch.from_numpy(weight),
            None if behaviour is None else torch.from_numpy(behaviour),
        )
