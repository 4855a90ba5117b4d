"""Lists of a few known users, the usual request of a server, by as few steps as it takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from kgrec.evaluation.ranking import Best, Ranker
from kgrec.evaluation.served_by import ServedBy
from kgrec.graph import NO_TIME
from kgrec.model import Query
from kgrec.samplers.histories import Histories
from kgrec.serving.exact_scores import with_exact_scores
from kgrec.serving.item_index import ItemIndex
from kgrec.serving.list_options import ListOptions
from kgrec.serving.ranked_lists import RankedUsers
from kgrec.serving.rules.rule_settings import Rules
from kgrec.training.trained_model import TrainedModel


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

    def ranked(self, users: Sequence[int]) -> tuple[RankedUsers, list[int]]:
        """The best items of some users, by their local numbers, and the rows of those who are left to the Ranker."""
        flat = [user + self.first_user for user in users]
        served = self.served[flat]
        if self.index is not None:
            return self._found(self.index, users, flat, served)
        with torch.no_grad():
            scores = self.scorer.scores(self._query(flat), self.items)
            self._leave_out(scores.numpy(), flat)
            depth, width = self.k, scores.shape[1]
            best, place = scores.topk(min(depth + 1, width))
            value, score = best.numpy(), best[:, :depth]
            tied = (value[:, 1:] == value[:, :-1]) & (value[:, 1:] > -np.inf)
            item = self.items[place[:, :depth]].masked_fill_(score == -torch.inf, self.scorer.pad)
            user, by_model = torch.tensor(flat), torch.from_numpy(served < self.known_up_to)
            found = Best(item, score, self.ranker.tie_order(user, item))
            found = with_exact_scores(self.run, found, user, by_model, keep_order=self.keep_order)
        left = np.flatnonzero(tied.any(1) | (served >= self.known_up_to)).tolist()
        return RankedUsers(found.item, found.score, torch.from_numpy(served)), left

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
