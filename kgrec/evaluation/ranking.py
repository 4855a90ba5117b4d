"""From scores to lists: the best items of each user in bounded memory, in one total order. Evaluation and
recommendation share it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from kgrec import ranks
from kgrec.errors import KgrecError
from kgrec.evaluation.served_by import ServedBy
from kgrec.evaluation.served_users import ServedUsers
from kgrec.evaluation.tie_order import tie_numbers
from kgrec.evaluation.trained_nodes import Trained
from kgrec.graph import NO_TIME, Graph
from kgrec.model import Query, Recommender, goes_with_score
from kgrec.model import scoring as scoring  # other modules import it from here
from kgrec.progress import counted
from kgrec.samplers.histories import Histories

LEAST_USERS = 64  #: the catalog is cut into chunks rather than scoring fewer users than this at once
#: scores at once of models that score any items as fast as others, so that they stay in a core's cache; and users
CELLS_IN_CACHE, USERS_IN_CACHE = 1 << 19, 512
#: from so many scores on, and up to such a depth, the best ones are kept by compiled code, which takes a moment to load
LEAST_COMPILED, DEEPEST_COMPILED = 1 << 18, 128
LAST = torch.iinfo(torch.int64).max  #: comes after all others in the order of ties


class Scorer:
    """A model with its users' histories: queries and checked scores, in batches of bounded size.

    known: its target edges count as seen, and the edges of the model's behaviours are the histories. batch_size:
    maximum number of users that are scored at once. cells: maximum number of scores in memory at once; each takes up to
    about 40 bytes.
    """

    def __init__(self, model: Recommender, known: Graph, batch_size: int = 2048, cells: int = 4_194_304) -> None:
        self.model, self.batch_size, self.cells = model, batch_size, cells
        self.device = next(itertools.chain(model.parameters(), model.buffers()), known.edge_index).device
        self.known = known
        self.seen = known.only(known.target).to(self.device)
        self.histories, self.had = Histories(known.along(model.behaviours).to(self.device)), Histories(self.seen)
        self.pad, self.same_ends = known.pad, known.same_ends

    def batches(self, width: Tensor, most: int) -> Iterator[Tensor]:
        """Rows of users in batches, the widest users first, so that a batch needs little padding and holds at most
        `cells` numbers.

        width: LongTensor [U], how many numbers each user takes; most: maximum number of users in a batch."""
        width, order = width.sort(descending=True, stable=True)
        start = 0
        while start < len(order):
            size = max(1, min(most, self.cells // max(1, int(width[start]))))
            yield order[start : start + size]
            start += size

    @property
    def by_parts(self) -> bool:
        """Whether scores of few items take as much less time as they are fewer: on the CPU, of models whose scores are
        products of vectors, or as simple."""
        kind = type(self.model)
        has_formula = kind.linear_scorer is not Recommender.linear_scorer and goes_with_score(kind)
        return self.device.type == "cpu" and not self.model.reads_history and has_formula

    def width(self, user: Tensor) -> Tensor:
        """Length of each user's history in a query: LongTensor [U]."""
        if not self.model.reads_history:
            return torch.zeros_like(user)
        return self.histories.lengths(user)

    def query(self, user: Tensor, now: Tensor | None = None) -> Query:
        """The users as a query, with their whole histories if the model reads them. now: LongTensor [B], unix seconds
        of each request."""
        if not self.model.reads_history:
            return Query(user, user.new_empty(len(user), 0), now=now)
        histories = self.histories
        place = histories.places(user)
        behaviour = histories.relations(place) if len(histories.graph.edge_types) > 1 else None
        return Query(user, histories.tails(place), histories.times(place), histories.weights(place), behaviour, now)

    def scores(self, query: Query, items: Tensor) -> Tensor:
        """The model's scores, float32 [B, C]: see `checked`. They are a copy, since a model may return a view of its
        buffers."""
        return self.checked(self.model.score(query, items), (len(query), items.shape[-1]))

    def shaped(self, scores: Tensor, wanted: tuple[int, int]) -> Tensor:
        """The same scores. Raises KgrecError where they are not of the wanted shape [B, C]."""
        if scores.shape != wanted:
            raise KgrecError(
                f"{type(self.model).__name__}.score returned shape {list(scores.shape)}, but must return "
                f"{list(wanted)}, users x items"
            )
        return scores

    def checked(self, scores: Tensor, wanted: tuple[int, int]) -> Tensor:
        """A copy of a model's scores, float32. Raises KgrecError for those that are not finite, or not of the wanted
        shape [B, C]."""
        name = type(self.model).__name__
        scores = self.shaped(scores, wanted)
        if not (scores.sum().isfinite() or scores.isfinite().all()):  # a sum of finite scores may overflow
            wrong = int((~scores.isfinite()).sum())
            raise KgrecError(
                f"{wrong:,} of {scores.numel():,} scores of {name} are not finite; "
                "training may have diverged, so try a lower lr"
            )
        return torch.empty(wanted, device=scores.device).copy_(scores)

    def of_edges(
        self, edges: Graph, shared: bool = False, asked: Callable[[Query], Query] = lambda query: query
    ) -> Tensor:
        """The score of each edge of a graph with one relation from users to items: float32 [E], in the edges' order.
        All edges of a user are scored together, so the queries have no `now`, unless `asked` gives them one. shared:
        ranks divide the batches."""
        lists = Histories(edges)
        user, found = edges.head.unique(), torch.zeros(edges.num_edges, device=self.device)
        batches = self.batches(torch.maximum(self.width(user), lists.lengths(user)), self.batch_size)
        number = len(user) / (ranks.world() if shared else 1)
        for row in counted("predicting", ranks.share(batches, divided=shared), number, "users", len):
            place = lists.places(user[row])
            scores = self.scores(asked(self.query(user[row])), filled(lists.tails(place), self.pad))
            found[lists.edges(place)[place >= 0]] = scores[place >= 0]
        return ranks.add(found) if shared else found  # all others have zeros there


def as_edges(known: Graph, user: Tensor, item: Tensor) -> Graph:
    """Pairs of a user and an item as edges without time. user, item: local numbers, LongTensor [n]. known: a graph with
    only the target relation; the result has its nodes."""
    return replace(
        known,
        edge_index=torch.stack([user, item]),
        relation_ptr=(0, len(user)),
        time=torch.full_like(user, NO_TIME),
        weight=torch.ones(len(user), device=user.device),
        edge_features={},
    )


def filled(items: Tensor, pad: int) -> Tensor:
    """Left-padded lists [B, C] with the last item of each list in place of padding, for models that cannot take
    padding."""
    return torch.where(items == pad, items[:, -1:], items)


@dataclass(frozen=True, eq=False)
class Best:
    """The best items of each user, highest score first; ties are in the order of tie_order."""

    item: Tensor  #: LongTensor [B, K], flat; pad if there are fewer items
    score: Tensor  #: FloatTensor [B, K], -inf for padding
    tie_order: Tensor  #: LongTensor [B, K], a random number for each user and item

    def first(self, k: int, pad: int) -> Best:
        """The first k items in order, padded to [B, k]."""
        by_tie_order = self.tie_order.argsort(1)
        order = by_tie_order.gather(1, self.score.gather(1, by_tie_order).argsort(stable=True, dim=1, descending=True))[
            :, :k
        ]
        short = (0, k - order.shape[1])
        return Best(
            functional.pad(self.item.gather(1, order), short, value=pad),
            functional.pad(self.score.gather(1, order), short, value=-torch.inf),
            functional.pad(self.tie_order.gather(1, order), short, value=LAST),
        )


class Ranker:
    """The first K candidates of each user in a total order, so chunks of any size give the same lists. For users about
    whom the model knows nothing (see `ServedUsers`), items are ranked by their popularity in training, unless the model
    serves everybody.

    groups: items that are ranked only among themselves, LongTensor [items] each. depth: K. seed: seed of the order of
    ties. lists: the candidates of each user, as edges; None: all items of the groups except those seen (unless
    `keep_seen`) and those of `exclude` (see `excluded_edges`). If users are items too, nobody is in their own list.
    trained: what training saw; None: what is known.
    """

    def __init__(
        self,
        scorer: Scorer,
        groups: Mapping[str, Tensor],
        depth: int,
        *,
        seed: int = 0,
        lists: Histories | None = None,
        keep_seen: bool = False,
        exclude: Graph | None = None,
        trained: Trained | None = None,
    ) -> None:
        self.scorer, self.depth = scorer, depth
        self.lists = lists
        self.trained = trained or Trained(scorer.known, scorer.model, scorer.device)
        self.served = ServedUsers(scorer, self.trained)
        draw = torch.from_numpy(tie_numbers(seed, scorer.pad)).to(scorer.device)
        self.user_tie_order, self.item_tie_order = draw  #: LongTensor [N + 1]; their product, modulo 2^64, orders ties
        self.num_items = len(scorer.known.range(scorer.known.target[2]))
        self._leave_out(keep_seen, exclude)
        self._rank(groups)

    def _leave_out(self, keep_seen: bool, exclude: Graph | None) -> None:
        self.keep_seen, left_out = keep_seen, [] if keep_seen else [self.scorer.had]
        device = self.scorer.device
        self.left_out_along = left_out if exclude is None else [*left_out, Histories(exclude.to(device))]

    def _rank(self, groups: Mapping[str, Tensor]) -> None:
        self.groups, self.catalog = groups, torch.cat(list(groups.values()))
        device = self.scorer.device
        #: flat item -> its place in the catalog
        self.column = torch.full((self.scorer.pad + 1,), -1, device=device)
        self.column[self.catalog] = torch.arange(len(self.catalog), device=device)

    def with_options(
        self, items: Tensor | None, depth: int, *, keep_seen: bool = False, exclude: Graph | None = None
    ) -> Ranker:
        """The same for other lists: of these items alone, LongTensor [C], flat, or None: of the same ones."""
        other = self.of_depth(depth)
        other._leave_out(keep_seen, exclude)
        if items is not None:
            other._rank({"all": items})
        return other

    @property
    def most(self) -> int:
        """Maximum number of users that are ranked over the whole catalog at once."""
        if self.scorer.by_parts:
            return min(self.scorer.batch_size, USERS_IN_CACHE)
        return min(self.scorer.batch_size, max(LEAST_USERS, self.scorer.cells // len(self.catalog)))

    def batches(self, user: Tensor) -> Iterator[Tensor]:
        """Rows of users (LongTensor [U]) to rank at once."""
        scorer = self.scorer
        if self.lists is not None:
            return scorer.batches(torch.maximum(scorer.width(user), self.lists.lengths(user)), scorer.batch_size)
        return scorer.batches(scorer.width(user), self.most)

    def best(self, user: Tensor, now: Tensor | None = None) -> dict[str, Best]:
        """The first K of each group of items, [B, K] each. now: LongTensor [B], unix seconds of each request."""
        query = self.scorer.query(user, now)
        if self.lists is not None:
            return self._on_lists(query, self.lists)
        return self.best_of(query, *self.left_out(user))

    def left_out(self, user: Tensor) -> tuple[Tensor, Tensor]:
        """The items that are left out of users' lists: the row of the user, LongTensor [n], and the flat item,
        LongTensor [n]."""
        parts = [edges.flattened(user) for edges in self.left_out_along]
        if len(parts) == 1:
            return parts[0]
        row, item = zip(*parts) if parts else ((user[:0],), (user[:0],))
        return torch.cat(row), torch.cat(item)

    def best_of(self, query: Query, row: Tensor, left_out: Tensor, own: Tensor | None = None) -> dict[str, Best]:
        """The first K of each group for any query. row, left_out: LongTensor [n], rows of the query and the item that
        is left out of that row's list. own: LongTensor [B], if users are items too: the node of each user, pad for a
        user who is no node; None: as in the query."""
        row, column = self._cells(row, left_out, query.user if own is None else own)
        unknown, found, start = self._unknown(query), dict[str, Best](), 0
        most = min(self.scorer.cells, CELLS_IN_CACHE) if self.scorer.by_parts else self.scorer.cells
        chunk = max(1, most // len(query))
        if self._is_compiled(len(query)):
            return self._kept(query, row, column, unknown, chunk)
        for group, items in self.groups.items():
            best = []
            for part in _parts(items, chunk):
                scores = self.scorer.scores(query, part)
                if len(unknown):
                    scores[unknown] = self.trained.num_users[part]
                if len(column):
                    whole = len(part) == len(self.catalog)
                    inside = slice(None) if whole else (column >= start) & (column < start + len(part))
                    cells = row[inside] * len(part) + (column[inside] - start)
                    scores.view(-1).index_fill_(0, cells, -torch.inf)
                best.append(self._top(query.user, scores, part))
                start += len(part)
            found[group] = self.merged(best)
        return found

    def _is_compiled(self, users: int) -> bool:
        """Whether it pays to keep the best items by compiled code."""
        cells = users * len(self.catalog)
        return self.scorer.device.type == "cpu" and self.depth <= DEEPEST_COMPILED and cells >= LEAST_COMPILED

    def _kept(self, query: Query, row: Tensor, column: Tensor, unknown: Tensor, chunk: int) -> dict[str, Best]:
        """What `best_of` gives, where each score is read once. row, column: LongTensor [n], what is left out; unknown:
        LongTensor [m], rows of those who get popular items; chunk: items that are scored at once."""
        from kgrec.evaluation.top_items import TopItems  # numba takes its time to come

        user, found, start = query.user.clamp(max=self.scorer.pad), dict[str, Best](), 0
        left_out = row.numpy(), column.numpy(), len(self.catalog)
        for group, items in self.groups.items():
            top = TopItems(self.depth, self.user_tie_order[user].numpy(), *left_out)
            for part in _parts(items, chunk):
                wanted = len(query), len(part)
                scores = self.scorer.shaped(self.scorer.model.score(query, part), wanted).detach()
                if len(unknown):
                    scores = self.scorer.checked(scores, wanted)
                    scores[unknown] = self.trained.num_users[part]
                numbers = scores.float().contiguous().numpy()
                if not top.add(numbers, start, self.item_tie_order[part].numpy()):
                    self.scorer.checked(scores, wanted)  # says how many are not finite
                start += len(part)
            there = torch.from_numpy(top.column)
            item = torch.where(there < 0, self.scorer.pad, self.catalog[there])
            found[group] = Best(item, torch.from_numpy(top.score), self.tie_order(query.user, item))
        return found

    def of_depth(self, depth: int) -> Ranker:
        """The same, which ranks so many items."""
        other = copy.copy(self)
        other.depth = depth
        return other

    def with_added(self, first: int, served: Tensor) -> Ranker:
        """The same, which knows how some users are served that the graph does not have: see `ServedUsers`."""
        other = copy.copy(self)
        other.served = self.served.with_added(first, served)
        return other

    def scores_of(self, query: Query, items: Tensor) -> Tensor:
        """What items are ranked by, FloatTensor [B, C]. items: LongTensor [C], flat."""
        scores, unknown = self.scorer.scores(query, items), self._unknown(query)
        if len(unknown):
            scores[unknown] = self.trained.num_users[items]
        return scores

    def _cells(self, row: Tensor, left_out: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """The row and the catalog column of each item that may not be recommended: LongTensors [m]."""
        if self.scorer.same_ends:
            is_node = ((own < self.scorer.pad) & (self.column[own] >= 0)).nonzero().squeeze(1)
            row, left_out = torch.cat([row, is_node]), torch.cat([left_out, own[is_node].to(left_out.dtype)])
        column = self.column[left_out]
        if len(self.catalog) < self.num_items:  # an item in no group is in no list
            inside = column >= 0
            row, column = row[inside], column[inside]
        return row, column

    def _unknown(self, query: Query) -> Tensor:
        """The rows of users about whom the model knows nothing, and who get popular items: LongTensor [n]."""
        if self.scorer.model.serves_everybody:
            return query.user[:0]
        return (self.served.of(query) >= ServedBy.POPULARITY).nonzero().squeeze(1)

    def merged(self, parts: Sequence[Best]) -> Best:
        """The first K of all parts."""
        names = ("item", "score", "tie_order")
        joined = Best(*(torch.cat([getattr(part, name) for part in parts], 1) for name in names))
        return joined.first(self.depth, self.scorer.pad)

    def _on_lists(self, query: Query, lists: Histories) -> dict[str, Best]:
        items = lists.last(query.user)
        scores = self.scorer.scores(query, filled(items, self.scorer.pad))
        unknown = self._unknown(query)
        if len(unknown):
            scores[unknown] = self.trained.num_users[items[unknown]]
        scores.masked_fill_(items == self.scorer.pad, -torch.inf)
        if self.scorer.same_ends:
            scores.masked_fill_(items == query.user.unsqueeze(1), -torch.inf)
        column, found, start = self.column[items], {}, 0
        for group, members in self.groups.items():
            inside = (column >= start) & (column < start + len(members))
            of_group = scores.masked_fill(~inside, -torch.inf)
            found[group] = self.merged([self._top(query.user, of_group, items)])
            start += len(members)
        return found

    def _top(self, user: Tensor, scores: Tensor, items: Tensor) -> Best:
        """The first K by score and tie_order. scores [B, C], items [C] or [B, C]."""
        num_items = scores.shape[1]
        depth = min(self.depth, num_items)
        score, place = scores.topk(min(depth + 1, num_items))
        if num_items > depth:  # if ties extend beyond the last rank, topk chose any of them
            going_on = (score[:, depth] == score[:, depth - 1]) & (score[:, depth] > -torch.inf)
            row = going_on.nonzero().squeeze(1)
            score, place = score[:, :depth], place[:, :depth]
            if len(row):
                tie_order = self.tie_order(user[row], items if items.dim() == 1 else items[row])
                place = place.index_copy(0, row, _by_tie_order(scores[row], tie_order, score[row], place[row]))
        item = items[place] if items.dim() == 1 else items.gather(1, place)
        item = item.masked_fill(score == -torch.inf, self.scorer.pad)
        return Best(item, score, self.tie_order(user, item))

    def tie_order(self, user: Tensor, items: Tensor) -> Tensor:
        """Each user's random order of items [C] or [B, C]: LongTensor [B, C]."""
        return self.user_tie_order[user.clamp(max=self.scorer.pad)][:, None] * self.item_tie_order[items]


def _by_tie_order(scores: Tensor, tie_order: Tensor, score: Tensor, place: Tensor) -> Tensor:
    """Places [R, K] of the best items by score; among ties with the last one's score, by tie_order.

    scores, tie_order: [R, C]; score, place: [R, K], the best by score only."""
    last, k = score[:, -1:], score.shape[1]
    tied = tie_order.masked_fill_(scores != last, LAST).topk(k, largest=False).indices
    above = (score > last).sum(1, keepdim=True)
    rank = torch.arange(k, device=score.device)
    return torch.where(rank < above, place, tied.gather(1, (rank - above).clamp(min=0)))


def _parts(items: Tensor, most: int) -> tuple[Tensor, ...]:
    """Items in parts of at most `most`, all about as large: a BLAS multiplies few columns by another kernel than many,
    so that scores of a small rest would differ in their last digits."""
    return items.tensor_split(max(1, -(-len(items) // most)))
