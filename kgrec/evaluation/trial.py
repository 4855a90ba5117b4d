"""Prepares an evaluation: which items are ranked for which users, and what is held out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import pyarrow as pa
import torch
from torch import Tensor

from kgrec.errors import KgrecError, some
from kgrec.evaluation.excluded_edges import excluded_edges
from kgrec.evaluation.ranking import LAST, Ranker, Scorer, as_edges
from kgrec.evaluation.served_by import ServedBy
from kgrec.evaluation.trained_nodes import Trained
from kgrec.graph import NO_TIME, Candidates, Graph
from kgrec.model import Recommender
from kgrec.samplers.histories import Histories
from kgrec.splits.answer_times import check_now
from kgrec.splits.repeats import Ranked, check_repeats, count_repeats, repeated, without_repeats

#: How users without an edge in training are served, under the names in `Evaluation.without_history`
SERVED = {
    ServedBy.HISTORY: "by_later_history",
    ServedBy.BEHAVIOURS: "by_other_behaviours",
    ServedBy.PROFILE: "by_profile",
    ServedBy.OTHER_EDGES: "by_other_edges",
    ServedBy.POPULARITY: "by_popularity",
    ServedBy.UNTRAINED: "by_popularity",
}


class Trial:
    """Everything an evaluation needs except the model's scores: known edges, held-out pairs, and candidates."""

    def __init__(
        self,
        model: Recommender,
        known: Graph,
        held: Graph,
        candidates: Candidates | None,
        batch_size: int,
        cells: int,
        repeats: str,
        ranked: Ranked,
        trained: Graph | None = None,
        exclude: Sequence[str] = (),
        now: str = "unknown",
    ) -> None:
        self.scorer = Scorer(model, known, batch_size, cells)
        self.trained = Trained(known if trained is None else trained, model, self.scorer.device)
        self.exclude = excluded_edges(known, exclude, keep_seen=repeats == "recommend")
        if self.exclude is not None:
            self.exclude = self.exclude.to(self.scorer.device)
        self.seen, self.pad, place = self.scorer.seen, known.pad, self.scorer.device
        self.held = held.only(held.target).to(place)
        if not self.held.num_edges:
            raise KgrecError(
                f"no {held.target[1]!r} edge is held out, so there is nothing to measure; use a split that holds out "
                "edges"
            )
        self.pair, is_repeat = repeated(self.seen, self.held)  #: LongTensor [n], sorted
        self.repeats = count_repeats(self.pair, is_repeat, self.pad, check_repeats(repeats), ranked)
        self.is_repeat = is_repeat  #: BoolTensor [n], which pairs the user had already seen
        if self.repeats.choice == "skip":
            self.held, self.pair = without_repeats(self.held, self.pair, is_repeat), self.pair[~is_repeat]
        self.pair_item = self.pair % (self.pad + 1)  #: LongTensor [n]
        self.user, self.pair_row = torch.unique_consecutive(
            self.pair // (self.pad + 1), return_inverse=True
        )  #: [U], [n]
        self.interactions = self.trained.num_in  #: LongTensor [N + 1], number of training edges of each item
        self.has_history = self.trained.num_out[self.user] > 0  #: BoolTensor [U], whether a user has training edges
        self.lists = None if candidates is None else Histories(_as_graph(candidates, self.seen))
        if self.lists is not None:
            self._check_lists(self.lists)
        self.groups = self._groups()
        #: when each user's list is wanted, LongTensor [U], NO_TIME if not known; None: models are not told
        self.now = self._first_held_out() if check_now(now) == "edge" else None

    def asked_at(self, row: Tensor) -> Tensor | None:
        """When the lists of some users are wanted, LongTensor [B]. row: their rows."""
        return None if self.now is None else self.now[row]

    def _first_held_out(self) -> Tensor:
        """Time of each user's first held-out edge: LongTensor [U], unix seconds; NO_TIME if none has a time. Raises
        KgrecError where a model that reads them would be asked about a moment before a step that is known."""
        timed = self.held.time != NO_TIME
        user = torch.searchsorted(self.user, self.held.head[timed])
        first = torch.full_like(self.user, LAST).scatter_reduce_(0, user, self.held.time[timed], "amin")
        first = first.masked_fill_(first == LAST, NO_TIME)
        if not self.scorer.model.reads_now:
            return first
        known = self.scorer.histories.graph
        last = torch.full((self.pad + 1,), NO_TIME, device=first.device)
        last.scatter_reduce_(0, known.head, known.time, "amax")
        early = int(((first != NO_TIME) & (first < last[self.user])).sum())
        if early:
            raise KgrecError(
                f"now=edge: for {early:,} of {len(self.user):,} users the first held-out edge is before their last "
                "known step, so a list would be wanted before the history ends; use a split by time, such as "
                "last_n:1, or now=unknown"
            )
        return first

    def _groups(self) -> dict[str, Tensor]:
        """Groups of items that are ranked only among themselves, LongTensor [items of the group] each."""
        items = self.seen.nodes(self.seen.target[2])
        cold = self.interactions[items] == 0
        if bool((self.interactions[self.pair_item] > 0).all()):
            return {"all": items}
        groups = {"warm": items[~cold], "cold": items[cold]}
        return {kind: group for kind, group in groups.items() if len(group)}

    @cached_property
    def scopes(self) -> dict[str, Tensor]:
        """The items of each scope: all; and if cold items are held out also warm (with a training edge) and cold
        (without)."""
        return {"all": torch.cat(list(self.groups.values())), **self.groups}

    def is_in(self, scope: str, item: Tensor) -> Tensor:
        """Whether each item belongs to the scope: BoolTensor of the same shape."""
        if scope == "all":
            return torch.ones_like(item, dtype=torch.bool)
        return (self.interactions[item] == 0) == (scope == "cold")

    def relevant(self, scope: str) -> Tensor:
        """Number of distinct held-out items of each user: LongTensor [U]."""
        return torch.bincount(self.pair_row[self.is_in(scope, self.pair_item)], minlength=len(self.user))

    def find(self, user: Tensor, item: Tensor) -> Tensor:
        """The place of each (user, item) in `pair`, or -1 if it is not held out: LongTensor of the broadcast shape."""
        wanted = user * (self.pad + 1) + item
        place = torch.searchsorted(self.pair, wanted).clamp_(max=len(self.pair) - 1)
        return place.masked_fill_(self.pair[place] != wanted, -1)

    def ranker(self, depth: int, seed: int) -> Ranker:
        """A ranker for the first `depth` candidates. seed: seed of the order of ties."""
        return Ranker(
            self.scorer,
            self.groups,
            depth,
            seed=seed,
            lists=self.lists,
            keep_seen=self.repeats.choice == "recommend",
            exclude=self.exclude,
            trained=self.trained,
        )

    def num_unrankable(self) -> int:
        """Number of distinct held-out pairs that cannot be ranked: repeats that are missed, excluded pairs, or, with
        candidate lists, pairs that are in no list."""
        if self.lists is not None:
            found = self.find(self.lists.graph.head, self.lists.graph.tail)
            return len(self.pair) - len(torch.unique(found[found >= 0]))
        missed = self.repeats.pairs if self.repeats.choice == "miss" else 0
        if self.exclude is None:
            return missed
        return int((self.is_excluded | self.is_repeat).sum()) if missed else int(self.is_excluded.sum())

    @cached_property
    def is_excluded(self) -> Tensor:
        """The held-out pairs whose item an excluded behaviour keeps out of the list: BoolTensor [n]."""
        if self.exclude is None:
            return torch.zeros_like(self.pair, dtype=torch.bool)
        found = self.find(self.exclude.head, self.exclude.tail)
        return _marked(found[found >= 0], len(self.pair))

    def counts(self, *, of_lists: bool, of_edges: bool) -> dict[str, dict[str, float]]:
        """The counts of each scope, see `Evaluation.counts`. of_lists: whether lists are measured; of_edges: whether
        ratings or clicks are."""
        everybody = torch.ones_like(self.has_history)
        scopes = {scope: (scope, everybody) for scope in self.scopes}
        if bool(self.has_history.any()) and not bool(self.has_history.all()):
            scopes["with_history"] = ("all", self.has_history)
        return {name: self._counts(*scope, of_lists, of_edges) for name, scope in scopes.items()}

    def _counts(self, scope: str, users: Tensor, of_lists: bool, of_edges: bool) -> dict[str, float]:
        """The counts of one scope of items. users: BoolTensor [U], the users who count."""
        inside = self.is_in(scope, self.pair_item) & users[self.pair_row]
        row = _marked(self.pair_row[inside], len(self.user)).nonzero().squeeze(1)
        num_items = int(_marked(self.pair_item[inside], self.pad + 1).sum())
        found: dict[str, float] = {"users": len(row), "items": num_items, "pairs": int(inside.sum())}
        if of_lists and self.exclude is not None:
            found["excluded"] = int((inside & self.is_excluded).sum())
        if of_edges:
            user = torch.searchsorted(self.user, self.held.head)
            found["edges"] = int((self.is_in(scope, self.held.tail) & users[user]).sum())
        if of_lists and self.lists is None:
            found["candidates"] = len(self.scopes[scope])
        elif of_lists and self.lists is not None:
            listed = self.lists.flattened(self.user[row])[1]
            found["candidates"] = round(int(self.is_in(scope, listed).sum()) / max(1, len(row)), 1)
        return found

    def without_history(self, ranker: Ranker | None) -> dict[str, int]:
        """Number of users without an edge in training, and how they are served: see `Evaluation.without_history`."""
        user = self.user[~self.has_history]
        if not len(user):
            return {}
        found = {"users": len(user)}
        if ranker is not None:
            for code, number in enumerate(torch.bincount(ranker.served.of_users[user]).tolist()):
                if number:
                    name = SERVED[ServedBy(code)]
                    found[name] = found.get(name, 0) + number
        return {name: number for name, number in found.items() if number}

    def ids(self, node_type: str, node: Tensor) -> pa.Array:
        """External ids of flat nodes of a type, strings [n]."""
        local = node.cpu() - self.seen.range(node_type).start
        return self.seen.vocabulary[node_type].id_array.take(pa.array(local.numpy()))

    @cached_property
    def truth(self) -> Tensor:
        """The true value of each held-out edge: 1 for a click and 0 for none, or the rating. FloatTensor [held-out
        edges]."""
        return self.held.clicks() if self.scorer.model.task == "ctr" else self.held.weight

    def predictions(self, score: Tensor) -> pa.Table:
        """Truth and prediction of each held-out edge. score: FloatTensor [held-out edges]."""
        source, _, target = self.held.target
        prediction = score.sigmoid() if self.scorer.model.task == "ctr" else score
        columns = {"user": self.ids(source, self.held.head), "item": self.ids(target, self.held.tail)}
        return pa.table({**columns, "truth": self.truth.cpu().numpy(), "prediction": prediction.cpu().numpy()})

    def _check_lists(self, lists: Histories) -> None:
        without = self.user[lists.lengths(self.user) == 0].cpu()
        if len(without):
            source = self.seen.target[0]
            names = self.seen.vocabulary[source].ids(without - self.seen.range(source).start)
            raise KgrecError(
                f"there is no candidate list for {source} {some(names)}, who have held-out items; add lists for them, "
                "or use --candidates all"
            )


def _marked(places: Tensor, number: int) -> Tensor:
    """BoolTensor [number], True at `places`, LongTensor [n]."""
    return torch.zeros(number, dtype=torch.bool, device=places.device).index_fill_(0, places, True)


def _as_graph(candidates: Candidates, seen: Graph) -> Graph:
    """Candidate lists as edges from users to items, without duplicates."""
    user = candidates.user.repeat_interleave(candidates.ptr.diff()).to(seen.device)
    width = len(seen.range(seen.target[2]))
    pair = torch.unique(user * width + candidates.item.to(seen.device))
    return as_edges(seen, pair // width, pair % width)
