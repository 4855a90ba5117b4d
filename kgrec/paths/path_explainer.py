"""The strongest paths behind a score, each held to what the score loses where its edges are masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import Query, Recommender
from kgrec.nn.masked_edges import EdgeMasking, Masks, masking_of
from kgrec.paths.path_links import PathLinks
from kgrec.paths.path_search import FoundPaths, Through, find_paths
from kgrec.paths.path_strength import first_falls, masks_of, masks_of_links, matched, strengths, weighed_by_item

By = Literal["drop", "attention"]
TRIED = 32  #: paths whose edges are masked to see which lower the score most, the first by attention times gradient
RANDOM = 20  #: random paths that a path is held against
AT_ONCE = 1 << 18  #: links of masked nodes that are looked at together


@dataclass(frozen=True)
class Faithfulness:
    """What happens to an item's score where a path's edges are masked and the weights stay."""

    score_before: float
    score_after: float
    rank_before: int  #: among the items that the user did not have, from 1
    rank_after: int
    random_drops: tuple[float, ...]  #: by how much each random path that is like it lowers the score

    @property
    def drop(self) -> float:
        """By how much the score falls."""
        return self.score_before - self.score_after

    @property
    def lowers_more(self) -> float | None:
        """Of which share of the random paths it lowers the score more, ties count half; None: there is no such path."""
        if not self.random_drops:
            return None
        drops = np.asarray(self.random_drops)
        return float((drops < self.drop).mean() + (drops == self.drop).mean() / 2)


@dataclass(frozen=True)
class ExplainedPath:
    """A path from a user to an item."""

    nodes: tuple[int, ...]  #: flat: the user, an item that the user had, ..., the item
    links: tuple[int, ...]  #: numbers in PathLinks, from each node to the next
    strength: float  #: by the model's weights along it
    faithfulness: Faithfulness | None  #: None: masking does not reach the scores


@dataclass(frozen=True)
class ExplainedScore:
    """The strongest paths behind the score of an item for a user."""

    score: float
    rank: int  #: among the items that the user did not have, from 1
    num_paths: int  #: of all that were found
    paths: tuple[ExplainedPath, ...]  #: the strongest first


@dataclass(frozen=True, eq=False)
class PathExplainer:
    """What explains scores of one model: the links of its graph, and what masks them. It is made once."""

    model: Recommender  #: in eval mode
    graph: Graph
    links: PathLinks
    masking: EdgeMasking | None  #: None: the weights hold the facts, and masking edges does not reach the scores

    @staticmethod
    def of(model: Recommender, graph: Graph) -> PathExplainer:
        """model: in eval mode; graph: all edges that it was trained on, on the model's device. Without gradients."""
        masking = masking_of(model, graph)
        reads = masking.reads if masking is not None else (True,) * len(graph.edge_types)
        return PathExplainer(model, graph, PathLinks.of(graph, reads), masking)

    @property
    def through(self) -> Through:
        """What paths lead over: facts, or other users where the scores come along interactions alone."""
        reads = self.masking.reads if self.masking is not None else (True,) * len(self.graph.edge_types)
        facts = (not self.graph.schema.is_behaviour(edge) for edge in self.graph.edge_types)
        return "facts" if any(read and fact for read, fact in zip(reads, facts)) else "users"

    def explain(
        self,
        query: Query,
        item: int,
        number: int,
        *,
        by: By = "drop",
        through: Through | None = None,
        had: Tensor | None = None,
        seed: int = 0,
        held: bool = True,
    ) -> ExplainedScore:
        """The `number` strongest paths from a user to an item. Without gradients.

        query: of one user; item: flat; by: "attention", the model's weights along a path, or "drop", by how much the
        score falls without its edges, of the TRIED first by attention times gradient. had: LongTensor, flat
        items that are not ranked; seed: of the random paths; held: false: it is not measured what masking does."""
        found = find_paths(self.links, int(query.user[0]), item, through or self.through)
        if self.masking is None:
            return self._by_weights(query, item, found, number, had)
        masking = self.masking
        history, steps = query.history[0], masking.steps_shares(query)
        strength = [strengths(self.links, one, masking, history, steps) for one in found]
        every = self._ranked(item, had)
        before = masking.scores(query, Masks.none(self.graph.device), every)[0]
        own = int((every == item).nonzero()[0, 0])
        chosen = self._chosen(query, item, found, strength, number, by, float(before[own]))
        if not held:
            return ExplainedScore(
                float(before[own]),
                _rank(before, own),
                sum(map(len, found)),
                tuple(_path(found[part], row, strength[part], None) for part, row in chosen),
            )
        rng, paths = np.random.default_rng((seed, int(query.user[0]), item)), list[ExplainedPath]()
        alike = [matched(self.links, found[part], row, RANDOM, rng) for part, row in chosen]
        drops = [float(before[own]) - one for one in self._each(query, found, chosen, alike, item)]
        masks = masks_of_links(self.links, [found[part].link[row] for part, row in chosen])
        afters: Any = masking.scores(query, masks, every) if chosen else ()
        for (part, row), fall, after in zip(chosen, drops, afters):
            ends = float(before[own]), float(after[own])
            faith = Faithfulness(*ends, _rank(before, own), _rank(after, own), tuple(fall.tolist()))
            paths.append(_path(found[part], row, strength[part], faith))
        return ExplainedScore(float(before[own]), _rank(before, own), sum(map(len, found)), tuple(paths))

    def _chosen(
        self,
        query: Query,
        item: int,
        found: list[FoundPaths],
        strength: list[np.ndarray],
        number: int,
        by: By,
        before: float,
    ) -> list[tuple[int, int]]:
        """The strongest paths, the strongest first: which of the lists, and the row."""
        if not found:
            return []
        part = np.repeat(np.arange(len(found)), [len(one) for one in found])
        row = np.concatenate([np.arange(len(one)) for one in found])
        order = np.argsort(-np.concatenate(strength), kind="stable")
        if by == "drop":
            assert self.masking is not None
            slopes = self.masking.slopes(query, item)
            falls = np.concatenate([first_falls(self.links, one, slopes) for one in found])
            order = order[np.argsort(-falls[order], kind="stable")][: max(TRIED, number)]
            drop = np.empty(len(order))
            for of in range(len(found)):
                inside = np.flatnonzero(part[order] == of)
                drop[inside] = before - self._scores(query, found[of].rows(row[order[inside]]), item)
            order = order[np.argsort(-drop, kind="stable")]
        return list(zip(part[order[:number]].tolist(), row[order[:number]].tolist()))

    def _each(
        self, query: Query, found: list[FoundPaths], chosen: list[tuple[int, int]], rows: list[np.ndarray], item: int
    ) -> list[np.ndarray]:
        """The item's scores where other paths are masked, of the same list as each chosen one: float64 [n] each."""
        scores = [np.empty(len(row)) for row in rows]
        for of in range(len(found)):
            inside = [place for place, (part, _) in enumerate(chosen) if part == of]
            every = [rows[place] for place in inside]
            if sum(map(len, every)):
                values = self._scores(query, found[of].rows(np.concatenate(every)), item)
                for place, part in zip(inside, np.split(values, np.cumsum([len(row) for row in every])[:-1])):
                    scores[place] = part
        return scores

    def _scores(self, query: Query, found: FoundPaths, item: int) -> np.ndarray:
        """The item's score where each path is masked: float64 [n]."""
        assert self.masking is not None
        items, scores = torch.tensor([item], device=self.graph.device), [np.empty(0)]
        size = np.cumsum(self.links.degree(found.node).sum(1)) // AT_ONCE if len(found) else np.empty(0, int)
        for group in np.unique(size):
            masks = masks_of(self.links, found.rows(np.flatnonzero(size == group)))
            scores.append(self.masking.scores(query, masks, items)[:, 0].double().cpu().numpy())
        return np.concatenate(scores)

    def _by_weights(
        self, query: Query, item: int, found: list[FoundPaths], number: int, had: Tensor | None
    ) -> ExplainedScore:
        """The strongest paths where the weights hold the facts."""
        every = self._ranked(item, had)
        score, own = self.model.score(query, every)[0], int((every == item).nonzero()[0, 0])
        strength = [weighed_by_item(self.links, one, self.model) for one in found]
        order = sorted(
            ((value, -part, -row) for part, values in enumerate(strength) for row, value in enumerate(values.tolist())),
            reverse=True,
        )
        paths = tuple(_path(found[-part], -row, strength[-part], None) for _, part, row in order[:number])
        return ExplainedScore(float(score[own]), _rank(score, own), sum(map(len, found)), paths)

    def _ranked(self, item: int, had: Tensor | None) -> Tensor:
        """The items that an item is ranked among: LongTensor [C], flat."""
        items = self.graph.nodes(self.graph.target[2])
        return items if had is None else items[~torch.isin(items, had) | (items == item)]


def _path(found: FoundPaths, row: int, strength: np.ndarray, held: Faithfulness | None) -> ExplainedPath:
    return ExplainedPath(tuple(found.node[row].tolist()), tuple(found.link[row].tolist()), float(strength[row]), held)


def _rank(scores: Tensor, own: int) -> int:
    return 1 + int((scores > scores[own]).sum())
