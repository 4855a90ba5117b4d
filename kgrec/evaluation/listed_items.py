"""What metrics of lists need to know of items beside the hits: how known they are, what facts say of them, and what
would have been seen without the model. Each is computed only if a metric asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import scipy  # its parts are imported when they are first used
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.evaluation.list_quality import shares
from kgrec.evaluation.metrics import HEAD_SHARE, PROPENSITY_EXPONENT, ListedFacts, Metric, Ranking
from kgrec.evaluation.ranking import Ranker
from kgrec.evaluation.trial import Trial
from kgrec.graph import Graph


def check_facts(graph: Graph, metrics: Sequence[Metric]) -> bool:
    """Whether a metric needs facts about items. Raises KgrecError if one does and there are none."""
    names = [metric.name for metric in metrics if metric.formula.needs == "facts"]
    items = graph.target[2]
    facts, nodes = graph.facts(), graph.range(items)
    ends = torch.cat([facts.head, facts.tail]) if names else torch.zeros(0)
    if names and not bool(((ends >= nodes.start) & (ends < nodes.stop)).any()):
        one = len(names) == 1
        raise KgrecError(
            f"{', '.join(names)}: {'needs' if one else 'need'} facts about items, and no fact of this graph is about "
            f"a node of type {items!r}; leave {'it' if one else 'them'} out of --metrics, or link items to entities in "
            "the recipe (`links:`)"
        )
    return bool(names)


def item_facts(graph: Graph, metrics: Sequence[Metric]) -> scipy.sparse.csr_array | None:
    """The facts about items, 0-1 rows [I, *], if a metric needs them, else None. Raises what `check_facts` raises."""
    if not check_facts(graph, metrics):
        return None
    from kgrec.nn.item_content import facts_of  # scikit-learn takes its time to come

    return facts_of(graph)


def long_tail(interactions: Tensor) -> Tensor:
    """Which items are in the long tail: BoolTensor [I]. The others, the short head, are the fewest most popular items
    that together have 80 % of all training edges; of equally popular ones the first come first (Abdollahpouri et al.
    2019).

    interactions: LongTensor [I], number of training edges of each item.

    >>> long_tail(torch.tensor([1, 8, 1])).tolist()
    [True, False, True]
    """
    order = interactions.argsort(descending=True, stable=True)
    count = interactions[order].double()
    before = count.cumsum(0) - count
    found = torch.empty_like(interactions, dtype=torch.bool)
    found[order] = before >= HEAD_SHARE * count.sum()
    return found


def inverse_propensity(interactions: Tensor) -> Tensor:
    """1 / p of each item, DoubleTensor [I]. p is how likely an interaction with the item is seen: the number of its
    training edges, at least 1, divided by that of the most popular item, to the power of 0.5 (Saito et al. 2020).

    >>> inverse_propensity(torch.tensor([16, 4, 0])).tolist()  # p: 1, (4 / 16) ** 0.5, (1 / 16) ** 0.5
    [1.0, 2.0, 4.0]
    """
    count = interactions.double().clamp(min=1)
    most = count.max() if len(count) else 1
    return (most / count) ** PROPENSITY_EXPONENT


class ListedItems:
    """Makes the `Ranking` that some metrics need, of lists of one scope.

    ranker: which made the lists. facts: 0-1 rows [I, *], see `item_facts`.
    """

    def __init__(
        self,
        trial: Trial,
        ranker: Ranker,
        scope: str,
        wanted: Sequence[Metric],
        facts: scipy.sparse.csr_array | None = None,
    ) -> None:
        self.trial, self.ranker, self.scope, self.facts = trial, ranker, scope, facts
        self.needs = {metric.formula.needs for metric in wanted}
        self.items = trial.seen.range(trial.seen.target[2])
        self.catalog = trial.scopes[scope]
        self.relevant = trial.relevant(scope)

    def ranking(self, row: Tensor, item: Tensor, hit: Tensor) -> Ranking:
        """row: LongTensor [B], of users in the trial; item: LongTensor [B, K], flat, pad behind the end of a list;
        hit: BoolTensor [B, K]."""
        no_item, needs = item == self.trial.pad, self.needs
        return Ranking(
            hit,
            self.relevant[row],
            self.trial.interactions[item].float().masked_fill(no_item, torch.nan),
            bits=self._bits[item].masked_fill(no_item, torch.nan) if "bits" in needs else None,
            is_tail=self._is_tail[item] & ~no_item if "tail" in needs else None,
            popular_rank=self._popular_rank(row, item) if "popular" in needs else None,
            weight=self._weight[item] if "propensity" in needs else None,
            relevant_weight=self._relevant_weight(row) if "propensity" in needs else None,
            facts=None if self.facts is None else self._listed_facts(row, item),
        )

    def catalog_value(self, metric: Metric, recommended: Tensor) -> float:
        """A metric of the catalog. recommended: LongTensor [N + 1], number of lists that contain each node."""
        items = self.catalog
        if metric.formula.needs == "tail":
            items = items[self._is_tail[items]]
        return float(metric.formula.value(recommended[items]))

    def _of_items(self, values: Tensor) -> Tensor:
        """Values of items, [I], by flat number, [N + 1], with 0 elsewhere."""
        found = torch.zeros(self.trial.pad + 1, dtype=values.dtype, device=values.device)
        found[self.items.start : self.items.stop] = values
        return found

    @property
    def _interactions(self) -> Tensor:
        return self.trial.interactions[self.items.start : self.items.stop]

    @cached_property
    def _bits(self) -> Tensor:
        """-log2 of the share of users who have each item: DoubleTensor [N + 1]."""
        users = max(1, len(self.trial.seen.range(self.trial.seen.target[0])))
        count = self.trial.trained.num_users[self.items.start : self.items.stop].double()
        return self._of_items(-(count.clamp(min=1) / users).log2())

    @cached_property
    def _is_tail(self) -> Tensor:
        return self._of_items(long_tail(self._interactions))

    @cached_property
    def _weight(self) -> Tensor:
        return self._of_items(inverse_propensity(self._interactions))

    @cached_property
    def _relevant(self) -> tuple[Tensor, Tensor]:
        """The weights of held-out items user by user, the greatest first: LongTensor [U + 1], DoubleTensor [n]."""
        trial = self.trial
        inside = trial.is_in(self.scope, trial.pair_item)
        row, weight = trial.pair_row[inside], self._weight[trial.pair_item[inside]]
        order = weight.argsort(descending=True, stable=True)
        order = order[row[order].argsort(stable=True)]
        ptr = torch.cat([row.new_zeros(1), torch.bincount(row, minlength=len(trial.user)).cumsum(0)])
        return ptr, weight[order]

    def _relevant_weight(self, row: Tensor) -> Tensor:
        """The weights of users' held-out items, the greatest first, 0 behind the end: DoubleTensor [B, R]."""
        ptr, weight = self._relevant
        length = ptr[row + 1] - ptr[row]
        step = torch.arange(int(length.max()) if len(row) else 0, device=row.device)
        there = step < length[:, None]
        return weight[(ptr[row][:, None] + step).masked_fill(~there, 0)].masked_fill(~there, 0)

    @cached_property
    def _place(self) -> Tensor:
        """The place of each item of the scope by the number of its users in training, from 0; others are behind:
        LongTensor [N + 1]."""
        order = self.catalog.sort().values
        order = order[self.trial.trained.num_users[order].argsort(descending=True, stable=True)]
        found = torch.full((self.trial.pad + 1,), len(order), device=order.device)
        found[order] = torch.arange(len(order), device=order.device)
        return found

    def _popular_rank(self, row: Tensor, item: Tensor) -> Tensor:
        """The rank of each listed item, from 1, in the list that the user would have by popularity: LongTensor [B, K].
        Both lists are of the same candidates."""
        place, behind, user = self._place, len(self.catalog), self.trial.user[row]
        lists = self.ranker.lists
        of, other = self.ranker.left_out(user) if lists is None else lists.flattened(user)
        if self.ranker.scorer.same_ends:
            of, other = torch.cat([of, torch.arange(len(user), device=user.device)]), torch.cat([other.long(), user])
        other = place[other.long()]
        keys = torch.unique((of * (behind + 1) + other)[other < behind])
        start = torch.arange(len(user), device=user.device)[:, None] * (behind + 1)
        before = torch.searchsorted(keys, start + place[item]) - torch.searchsorted(keys, start)
        return (place[item] - before if lists is None else before) + 1

    def _listed_facts(self, row: Tensor, item: Tensor) -> ListedFacts:
        assert self.facts is not None
        facts = self.facts
        of, other = self.trial.scorer.had.flattened(self.trial.user[row])
        pairs = of.cpu().numpy(), other.cpu().numpy() - self.items.start
        has = scipy.sparse.csr_array((np.ones(len(pairs[0])), pairs), shape=(len(row), len(self.items)))
        has.sum_duplicates()
        has.data[:] = 1  # an item that the user has twice counts once
        local = torch.where(item == self.trial.pad, -1, item - self.items.start).cpu().numpy()
        ptr, value = facts.indptr, facts.indices
        return ListedFacts(local, ptr, value, facts.shape[1], shares(has, ptr, value, facts.shape[1]))
