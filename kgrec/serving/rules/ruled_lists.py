"""Lists by rules: chosen place by place from the best items of each user."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are first used
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.evaluation.list_quality import shares
from kgrec.evaluation.ranking import Best, Ranker
from kgrec.model import Query
from kgrec.serving.filters.allowed_items import meets
from kgrec.serving.filters.condition_text import OPERATORS
from kgrec.serving.rules.item_rules import known_ids
from kgrec.serving.rules.item_values import ItemValues
from kgrec.serving.rules.likeness import Likeness, likeness, named_values
from kgrec.serving.rules.rule_settings import Rules
from kgrec.training.trained_model import TrainedModel

DEEPER = 8  #: times as many items are ranked where a rule leaves too few


@dataclass(frozen=True, eq=False)
class Groups:
    """Of which groups each item is, and how many of a group a list has at most."""

    values: ItemValues
    most: np.ndarray  #: int64 [groups]


@dataclass(frozen=True, eq=False)
class Did:
    """What is known of the users of some lists, as pairs of a row, LongTensor [n], and a flat item, LongTensor [n]."""

    left_out: tuple[Tensor, Tensor]  #: what is not on their lists
    past: tuple[Tensor, Tensor]  #: what is in their histories

    def of(self, rows: Tensor, number: int) -> Did:
        """The same of some of the `number` users, LongTensor [m]."""
        return Did(_of_rows(self.left_out, rows, number), _of_rows(self.past, rows, number))

    def beside(self, more: tuple[Tensor, Tensor], rows: Tensor, number: int) -> Did:
        """The same with more that is left out, pairs of all `number` users; these are those of `rows`."""
        if not len(more[0]):
            return self
        pairs = zip(self.left_out, _of_rows(more, rows, number))
        row, item = (torch.cat([one.long(), other]) for one, other in pairs)
        return Did((row, item), self.past)

    def shares(self, values: ItemValues, number: int, items: range) -> scipy.sparse.csr_array:
        """The shares of values in the users' histories: [number, values]."""
        row, item = self.past[0].cpu().numpy(), self.past[1].cpu().numpy() - items.start
        has = scipy.sparse.csr_array((np.ones(len(row)), (row, item)), shape=(number, len(items)))
        has.sum_duplicates()
        has.data[:] = 1  # a pair that stands twice counts once
        return shares(has, values.ptr, values.value, values.number)


def _of_rows(pairs: tuple[Tensor, Tensor], rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The pairs of some of the `number` users, by their place in `rows`, LongTensor [m]."""
    to = torch.full((number,), -1, device=rows.device)
    to[rows] = torch.arange(len(rows), device=rows.device)
    row, item = pairs
    there = to[row] >= 0
    return to[row][there], item[there]


class ListRules:
    """What is chosen by, made once for a run, some rules and a length of lists."""

    def __init__(self, run: TrainedModel, rules: Rules, k: int, allowed: np.ndarray | None, skip_unknown: bool) -> None:
        """allowed: bool [I], the items that sets and filters leave; None: all.

        Raises UnknownName for names and ids that are not there, KgrecError for a pinned item that is left out."""
        self.run, self.rules, self.k, self.allowed = run, rules, k, allowed
        self.items = run.graph.range(run.graph.target[2])
        self.groups = _groups(run, rules)
        nothing = ItemValues.none(len(self.items))
        diversity, calibration = rules.diversity, rules.calibration
        alike = None if diversity is None or not diversity.weight else likeness(run, diversity.by)
        self.alike = alike or Likeness(nothing, np.zeros((len(self.items), 0), np.float32))
        self.diversity = 0.0 if alike is None or diversity is None else diversity.weight
        self.genres = nothing if calibration is None else named_values(run, calibration.by, "calibration")
        self.calibration = 0.0 if calibration is None else calibration.weight
        self.pins, self.notes = self._pins(allowed, skip_unknown)

    def _pins(self, allowed: np.ndarray | None, skip_unknown: bool) -> tuple[np.ndarray, list[str]]:
        """The item that is pinned to each place, int64 [k], local, -1 for none, and what is to be said of them."""
        pinned, target = self.rules.pinned, self.run.graph.target[2]
        ids = [one.item for one in pinned]
        vocabulary = self.run.graph.vocabulary[target]
        number, note = known_ids(ids, vocabulary, target, "rule pinned", skip_unknown=skip_unknown)
        notes = [note] if note else []
        places = {one.place for one in pinned}
        free = (place for place in itertools.count(1) if place not in places)
        found = np.full(self.k, -1, np.int64)
        for one, item in zip(pinned, number):
            if item < 0:
                continue
            place = one.place or next(free)
            if allowed is not None and not allowed[item]:
                raise KgrecError(
                    f"rule pinned: {one.item!r} is an item that filters or other rules leave out; remove it from "
                    "`pinned`, or remove what leaves it out",
                    value=one.item,
                )
            if place > self.k:
                notes.append(f"rule pinned: {one.item!r} has place {place}, and lists have {self.k}")
            else:
                found[place - 1] = item
        return found, notes

    def best_of(
        self, ranker: Ranker, query: Query, did: Did, own: Tensor | None = None, scale: int | None = None
    ) -> Best:
        """The lists of some users by the rules, [B, k]: of each, more items are ranked while these leave a list short.

        ranker: ranks as many items as `Rules.depth_for` says. own: as in `Ranker.best_of`. scale: how many of the best
        say what a relevance of 0 is; None: as many as are ranked."""
        found, scale = ranker.best_of(query, *did.left_out, own)["all"], scale or ranker.depth
        score, item = self._chosen(ranker, query, found, did, scale)
        flat = torch.from_numpy(np.where(item < 0, ranker.scorer.pad, item + self.items.start)).to(query.user.device)
        best = Best(flat, torch.from_numpy(score).to(query.user.device), torch.zeros_like(flat))
        short = ((flat[:, -1] == ranker.scorer.pad) & (found.item[:, -1] != ranker.scorer.pad)).nonzero().squeeze(1)
        if not len(short) or ranker.depth >= len(ranker.catalog):
            return best
        deeper = ranker.of_depth(min(DEEPER * ranker.depth, len(ranker.catalog)))
        whose = None if own is None else own[short]
        more = self.best_of(deeper, query.rows(short), did.of(short, len(query)), whose, scale)
        best.item[short], best.score[short] = more.item, more.score
        return best

    def _chosen(self, ranker: Ranker, query: Query, best: Best, did: Did, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 [B, k] and local items int64 [B, k], -inf and -1 behind the end."""
        from kgrec.serving.rules.rule_kernels import choose  # numba takes its time to come

        item = np.where((best.item == ranker.scorer.pad).cpu(), -1, best.item.cpu() - self.items.start)
        score = best.score.float().cpu().numpy()
        pinned, pinned_score = self._pinned(ranker, query, did)
        own = self._shares(did, len(query))
        chosen = choose(
            item,
            _relevance(score, scale),
            pinned,
            self.k,
            self.groups.values.ptr,
            self.groups.values.value,
            self.groups.most,
            self.alike.values.ptr,
            self.alike.values.value,
            self.alike.values.number,
            self.alike.vector,
            self.diversity,
            self.genres.ptr,
            self.genres.value,
            *own,
            self.genres.number,
            self.calibration,
        )
        candidates, scores = np.concatenate([item, pinned], 1), np.concatenate([score, pinned_score], 1)
        there = chosen >= 0
        return (
            np.where(there, np.take_along_axis(scores, chosen, 1), -np.inf).astype(np.float32),
            np.where(there, np.take_along_axis(candidates, chosen, 1), -1),
        )

    def _pinned(self, ranker: Ranker, query: Query, did: Did) -> tuple[np.ndarray, np.ndarray]:
        """What is pinned to each user's places, int64 [B, k], local, -1 where there is none or the user is not shown
        it, and its scores, float32 [B, k]."""
        pinned = np.tile(self.pins, (len(query), 1))
        score = np.full(pinned.shape, -np.inf, np.float32)
        places = np.flatnonzero(self.pins >= 0)
        if not len(places):
            return pinned, score
        flat = torch.from_numpy(self.pins[places] + self.items.start).to(query.user.device)
        score[:, places] = ranker.scores_of(query, flat).cpu().numpy()
        row, left_out = did.left_out
        for place, item in zip(places, flat):
            pinned[row[left_out == item].cpu().numpy(), place] = -1
            if ranker.scorer.same_ends:
                pinned[(query.user == item).cpu().numpy(), place] = -1
        return pinned, score

    def _shares(self, did: Did, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The shares of each user's history, as rows of ptr, genre and share."""
        if not self.calibration:
            return np.zeros(number + 1, np.int64), np.zeros(0, np.int64), np.zeros(0)
        found = did.shares(self.genres, number, self.items)
        return found.indptr.astype(np.int64), found.indices.astype(np.int64), found.data


def _groups(run: TrainedModel, rules: Rules) -> Groups:
    """The groups of `at_most`: the values under each name, or where it is a condition the items that meet it."""
    items = len(run.graph.range(run.graph.target[2]))
    parts, most = [scipy.sparse.csr_array((items, 0))], [np.zeros(0, np.int64)]
    for name, number in rules.at_most.items():
        if any(operator in name for operator in OPERATORS):
            try:
                met = meets(run.whole_graph(), run.graph.target[2], name)
            except KgrecError as error:
                raise type(error)(f"rule at_most: {error}", value=error.value) from error
            parts.append(scipy.sparse.csr_array(met[:, None].astype(np.float64)))
        else:
            values = named_values(run, name, "at_most")
            ones = np.ones(len(values.value))
            parts.append(scipy.sparse.csr_array((ones, values.value, values.ptr), shape=(items, values.number)))
        most.append(np.full(parts[-1].shape[1], number))
    return Groups(ItemValues.of(scipy.sparse.csr_array(scipy.sparse.hstack(parts))), np.concatenate(most))


def _relevance(score: np.ndarray, scale: int) -> np.ndarray:
    """Scores [B, N], from the best to the worst, so that the best is 1 and the last of the first `scale` is 0: float64
    [B, N]. Where these are equal all are 1."""
    there = np.isfinite(score)
    first, last = score[:, :1], np.where(there, score, np.inf)[:, :scale].min(1, keepdims=True)
    span = np.where(there[:, :1] & (first > last), first - last, 1).astype(np.float64)
    return np.where(there, 1 - (np.where(there, first, 0) - np.where(there, score, 0)) / span, -np.inf)
