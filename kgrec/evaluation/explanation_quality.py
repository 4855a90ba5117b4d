"""How good explanations are over many users: whether there are any, whether they hold, and what they lead over."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from kgrec.evaluation.ranking import Ranker
from kgrec.graph import NO_TIME
from kgrec.paths.path_explainer import By, ExplainedPath, ExplainedScore, PathExplainer
from kgrec.progress import counted

BETA = 0.3  #: weight of the next value in the moving averages of recency and popularity
DRAWS = 2000  #: samples of pairs of which intervals are made


@dataclass(frozen=True)
class Faithful:
    """Of which share of pairs the strongest path lowers the score more than a random path like it; ties count half."""

    mean: float
    low: float  #: of a 95 % interval, by resampled pairs
    high: float
    pairs: int  #: pairs of a user and an item with a path and a random path like it

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"mean": self.mean, "interval": [self.low, self.high], "pairs": self.pairs}


@dataclass(frozen=True, eq=False)
class ExplanationQuality:
    """What explanations of some users' lists are like. Means are over users; NaN where nothing can be said."""

    metrics: dict[str, float]  #: fidelity@k, lir@k, sep@k, etd@k, lid@k, sed@k
    #: by how paths are chosen; empty where masking does not reach the scores
    faithfulness: dict[str, Faithful]
    num_users: int
    seconds: float = field(compare=False, default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "metrics": {name: None if math.isnan(value) else value for name, value in self.metrics.items()},
            "faithfulness": {by: found.to_json() for by, found in self.faithfulness.items()},
            "num_users": self.num_users,
            "seconds": self.seconds,
        }


def explanation_quality(
    explainer: PathExplainer,
    ranker: Ranker,
    users: Sequence[int],
    *,
    k: int = 10,
    by: By = "drop",
    compared: Sequence[By] = (),
    seed: int = 0,
) -> ExplanationQuality:
    """Explain the k first items of each user's list by the strongest path of each. Without gradients.

    users: flat; by: how paths are chosen; compared: ways to choose paths whose faithfulness is measured on each user's
    first item that has one. The metrics, of Balloccu et al. 2022 where no other is named:

    - `fidelity@k`: share of the list's items that have a path (Peake & Wang 2018);
    - `lir@k`, recency of the linking interaction, the item that the user had: a moving average of the times of what the
      user did, in order of time, scaled from 0 (first) to 1 (last) for each user;
    - `sep@k`, popularity of the shared entity, the node before the item: a moving average of the numbers of links of
      all nodes of its type, in rising order, scaled from 0 to 1 for each type;
    - `etd@k`, diversity of explanation types: different relations by which the items are reached / the most that there
      could be; `lid@k` and `sed@k`: different linking items, and shared entities, / paths."""
    begun = time.perf_counter()
    popularity, types = entity_popularity(explainer), set[tuple[int, bool]]()
    each, faithful = list[tuple[int, list[ExplainedPath]]](), {one: list[float]() for one in compared}
    scorer = ranker.scorer
    for user in counted("explaining", users, len(users), "users"):
        one = torch.tensor([user], device=scorer.device)
        query, had = scorer.query(one), scorer.had.last(one)[0]
        items = [item for item in ranker.best(one)["all"].item[0].tolist() if item != scorer.pad][:k]
        found, is_first = list[ExplainedScore](), True
        for item in items:
            measured = is_first and by in compared
            found.append(explainer.explain(query, item, 1, by=by, had=had, seed=seed, held=measured))
            if is_first and found[-1].paths:
                is_first = False
                for way in compared:
                    again = None if way == by else explainer.explain(query, item, 1, by=way, had=had, seed=seed)
                    faithful[way] += _against_random(found[-1] if again is None else again)
        each.append((len(items), [score.paths[0] for score in found if score.paths]))
        types |= {_type_of(explainer, path) for path in each[-1][1]}
    rows = [
        _of_list(explainer, ranker, user, number, paths, popularity, len(types))
        for user, (number, paths) in zip(users, each)
    ]
    names = ("fidelity", "lir", "sep", "etd", "lid", "sed")
    metrics = {f"{name}@{k}": _mean([row[place] for row in rows]) for place, name in enumerate(names)}
    held = {str(way): _interval(values, seed) for way, values in faithful.items()}
    return ExplanationQuality(metrics, held, len(rows), time.perf_counter() - begun)


def _against_random(score: ExplainedScore) -> list[float]:
    """1, 1/2 or 0: whether the first path lowers the score more than its first random path; empty: it has none."""
    held = score.paths[0].faithfulness
    if held is None or not held.random_drops:
        return []
    return [float(held.drop > held.random_drops[0]) + float(held.drop == held.random_drops[0]) / 2]


def _type_of(explainer: PathExplainer, path: ExplainedPath) -> tuple[int, bool]:
    """The relation by which an item is reached, and its direction."""
    link = path.links[-1]
    return int(explainer.links.relation[link]), bool(explainer.links.tail[link] == path.nodes[-1])


def _of_list(
    explainer: PathExplainer,
    ranker: Ranker,
    user: int,
    number: int,
    paths: Sequence[ExplainedPath],
    popularity: np.ndarray,
    num_types: int,
) -> tuple[float, ...]:
    if not number:
        return (math.nan,) * 6
    fidelity = len(paths) / number
    if not paths:
        return (fidelity, *[math.nan] * 5)
    recency = interaction_recency(ranker, user)
    lir = _mean([recency.get(path.nodes[1], math.nan) for path in paths])
    sep = _mean([float(popularity[path.nodes[-2]]) for path in paths])
    etd = len({_type_of(explainer, path) for path in paths}) / max(1, min(len(paths), num_types))
    lid, sed = (len({path.nodes[at] for path in paths}) / len(paths) for at in (1, -2))
    return fidelity, lir, sep, etd, lid, sed


def interaction_recency(ranker: Ranker, user: int) -> dict[int, float]:
    """The recency of each item that a user had, from 0 to 1, by flat item; empty where times are not known or equal."""
    csr, seen = ranker.scorer.seen.csr, ranker.scorer.seen
    place = slice(int(csr.ptr[user]), int(csr.ptr[user + 1]))
    when, items = seen.time[csr.edge[place]].tolist(), csr.other[place].tolist()
    known = [(item, at) for item, at in zip(items, when) if at != NO_TIME]
    averages = scaled_averages(np.array([at for _, at in known], np.float64))
    return {item: float(value) for (item, _), value in zip(known, averages) if not math.isnan(value)}


def entity_popularity(explainer: PathExplainer) -> np.ndarray:
    """The popularity of each node among those of its type, from 0 to 1, by its number of links: float64 [N]."""
    found = np.full(explainer.graph.num_nodes, np.nan)
    for nodes in explainer.graph.ranges.values():
        number = explainer.links.degree(np.arange(nodes.start, nodes.stop)).astype(np.float64)
        order = np.argsort(number, kind="stable")
        found[nodes.start + order] = scaled_averages(number[order])
    return found


def scaled_averages(values: np.ndarray) -> np.ndarray:
    """The moving average of rising values, a(1) = v(1) and a(i) = (1 - beta) a(i - 1) + beta v(i), scaled to 0 to 1
    (Balloccu et al. 2022, eqs. 1 and 2; beta = .3): float64 [n]; NaN where all are equal.

    >>> scaled_averages(np.array([0.0, 10.0, 10.0])).round(3).tolist()  # 0, 3, 5.1
    [0.0, 0.588, 1.0]
    """
    found = np.empty(len(values))
    average = values[0] if len(values) else 0.0
    for place, value in enumerate(values):
        average = (1 - BETA) * average + BETA * value
        found[place] = average
    low, high = (found.min(), found.max()) if len(found) else (0.0, 0.0)
    return np.full(len(found), np.nan) if high <= low else (found - low) / (high - low)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _interval(values: Sequence[float], seed: int) -> Faithful:
    if not values:
        return Faithful(math.nan, math.nan, math.nan, 0)
    drawn = np.random.default_rng(seed).choice(np.asarray(values), (DRAWS, len(values))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Faithful(float(np.mean(values)), float(low), float(high), len(values))
