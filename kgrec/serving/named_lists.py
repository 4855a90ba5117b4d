"""Ranked items as lists in people's own ids, without a table between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from kgrec.evaluation.served_by import ServedBy
from kgrec.serving.evidence import sentence
from kgrec.serving.evidence_kinds import Kind
from kgrec.serving.list_tables import REASON_OF, Recommendations, Step
from kgrec.serving.ranked_lists import RankedUsers, behind_lists, short_lists
from kgrec.training.trained_model import TrainedModel

if TYPE_CHECKING:
    from kgrec.serving.service import Prepared


class Names:
    """The ids and labels of a run's users and items, to be looked up one by one."""

    def __init__(self, run: TrainedModel) -> None:
        self.run = run
        self.start, self.pad = run.graph.range(run.graph.target[2]).start, run.graph.pad

    @cached_property
    def _users(self) -> Mapping[str, int]:
        index = self.run.graph.vocabulary[self.run.graph.target[0]].index
        return {name: number for number, name in enumerate(index.to_numpy())}

    @cached_property
    def items(self) -> np.ndarray:
        """The ids of items: texts [I]."""
        found: np.ndarray = self.run.graph.vocabulary[self.run.graph.target[2]].index.to_numpy()
        return found

    @cached_property
    def labels(self) -> np.ndarray:
        """What to show of items: texts [I]."""
        labels = self.run.graph.vocabulary[self.run.graph.target[2]].label_array
        if labels is None:
            return self.items
        found = self.items.copy()
        for number, label in enumerate(labels.to_pylist()):
            if label:
                found[number] = label
        return found

    @cached_property
    def weighs_nothing(self) -> bool:
        """Whether all edges to items weigh 1."""
        return bool((self.run.graph.along(self.run.model.behaviours).weight == 1).all())

    def user(self, name: str) -> int | None:
        """The local number of a user; None: it is not known."""
        return self._users.get(name)

    def item_id(self, number: int) -> str:
        """The id of an item, by its local number."""
        return str(self.items[number])


def named_lists(
    names: Names,
    users: Sequence[str],
    ranked: RankedUsers,
    prepared: Prepared,
    notes: Sequence[tuple[str, ...]] | None = None,
) -> list[Recommendations]:
    """The lists of some users [U]. notes: what is said of each besides."""
    ids, labels, start, pad = names.items, names.labels, names.start, names.pad
    found, options = [], prepared.options
    whys: Iterator[tuple[str | None, tuple[Step, ...] | None]] = _whys(names, ranked, len(users))
    rows = zip(users, ranked.item.tolist(), ranked.score.tolist(), ranked.served.tolist(), whys)
    for row, (user, flat, scores, code, (said, why)) in enumerate(rows):
        items = [item - start for item in flat if item != pad]
        otherwise = REASON_OF.get(code)
        reason = (said or otherwise) if code <= ServedBy.HISTORY else (otherwise or said)
        of_user = prepared.notes if notes is None else (*notes[row], *prepared.notes)
        if len(items) < options.k:
            of_user = (*of_user, *short_lists(prepared.ranker, (ranked.item[row : row + 1] != pad).sum(1), options))
        found.append(
            Recommendations(
                user,
                [ids[item] for item in items],
                [labels[item] for item in items],
                scores[: len(items)],
                why,
                reason if items else None,
                of_user,
            )
        )
    return found


def _whys(names: Names, ranked: RankedUsers, number: int) -> Iterator[tuple[str | None, tuple[Step, ...] | None]]:
    """For each of so many lists a sentence on the past items behind it, and these; nothing where they are not asked
    for."""
    if ranked.kind is None:
        for _ in range(number):
            yield None, None
        return
    kind = ranked.kind
    _, item, strength, bounds = behind_lists(ranked.steps, number)
    local, values = (item - names.start).tolist(), strength.tolist()
    for start, stop in pairwise(bounds):
        of_user = local[start:stop]
        labels = [names.labels[one] for one in of_user]
        steps = tuple(
            Step(names.items[one], label, value if kind is Kind.ATTENTION else None, kind.value, value)
            for one, label, value in zip(of_user, labels, values[start:stop])
        )
        yield sentence(kind, labels, values[start:stop], names.run.name), steps
