"""Results of an audit: what the facts of a graph are worth, by arms and by differences between arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from kgrec.studies.audit_trials import TrialResult
from kgrec.studies.comparison import holm
from kgrec.studies.fact_arms import REMOVED, SHUFFLED, WHOLE, Arm
from kgrec.studies.paired_seeds import PairedDifference, paired_difference

CONFIDENCE = 0.95  #: confidence level of the intervals
LEVEL = 0.05  #: p value, with Holm's correction, up to which a difference counts as more than chance


@dataclass(frozen=True)
class ArmResult:
    """The results of an arm: means over seeds."""

    arm: str
    kind: str  #: whole, removed, shuffled, without or only
    part: str | None  #: the relation or node type that is left out or alone
    part_kind: str | None  #: `relation` or `type`
    facts: int  #: number of facts in its graph
    same_as: str | None  #: an earlier arm with the same facts, whose results these are
    skipped: str | None  #: why it was not trained
    test: dict[str, dict[str, float]]  #: by scope and metric; empty if it was skipped
    by_seed: dict[str, dict[str, list[float]]]  #: the same for each seed


@dataclass(frozen=True)
class Worth:
    """What some facts are worth: the results of an arm less those of another, where positive means that facts help."""

    what: str  #: `graph`, `facts beyond their number`, `shuffled facts`, `alone` or `left out`
    part: str | None  #: the relation or node type; None for all facts
    part_kind: str | None  #: `relation` or `type`
    arm: str  #: the arm with more facts, or with those that are not shuffled
    against: str  #: the arm that it is compared with
    scope: str  #: warm, cold, or cold among all
    metric: str
    difference: float  #: mean over seeds of the mean over users
    interval: tuple[float, float] | None  #: 95 % interval over users and seeds
    p: float | None  #: p value with Holm's correction over all comparisons of one scope and metric
    p_alone: float | None  #: p value before the correction
    by_seed: list[float]  #: the difference for each seed
    num_users: int  #: number of users that were paired

    @property
    def is_seen(self) -> bool:
        """Whether the difference is more than chance, by the corrected p value."""
        return self.p is not None and self.p < LEVEL


@dataclass(frozen=True)
class Audit:
    """What the facts of a graph are worth to a model, on warm and on cold items."""

    model: str
    metric: str  #: the main metric
    protocols: dict[str, str]  #: by scope
    seeds: list[int]
    features: str  #: `kept` or `removed`, in all arms alike
    feature_columns: dict[str, list[str]]  #: feature columns of the graph by node type
    counts: dict[str, dict[str, float]]  #: by scope: numbers of users, items, pairs and candidates, means over seeds
    parts: list[dict[str, Any]]  #: the relations and node types, with the number of facts and those about items
    arms: list[ArmResult]
    worth: list[Worth]
    sentence: str  #: what was found, in words
    notes: list[str]
    seconds: float = 0.0  #: of all trainings and tests together, also in earlier processes
    trainings: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @property
    def scopes(self) -> list[str]:
        """The scopes that were measured."""
        return list(self.protocols)

    def of(self, scope: str, metric: str | None = None) -> list[Worth]:
        """The differences of a scope in a metric; None for the main one."""
        return [one for one in self.worth if one.scope == scope and one.metric == (metric or self.metric)]


def contrasts(arms: Sequence[Arm]) -> Iterator[tuple[str, Arm, str, str]]:
    """What is compared: the name of the comparison, the arm that it is about, the arm with more facts (or with those
    that are not shuffled), and the arm that it is compared with."""
    by_name = {arm.name: arm for arm in arms}
    for arm in arms:
        if arm.skipped:
            continue
        match arm.kind:
            case "whole":
                yield "graph", arm, WHOLE, REMOVED
                if not by_name[SHUFFLED].skipped:
                    yield "facts beyond their number", by_name[SHUFFLED], WHOLE, SHUFFLED
            case "shuffled":
                yield "shuffled facts", arm, SHUFFLED, REMOVED
            case "only":
                yield "alone", arm, arm.name, REMOVED
            case "without":
                yield "left out", arm, WHOLE, arm.name


def arm_results(arms: Sequence[Arm], results: Mapping[str, Sequence[TrialResult]]) -> list[ArmResult]:
    """The means of each arm. results: by arm, those of all splits and seeds."""
    found = []
    for arm in arms:
        by_seed: dict[str, dict[str, list[float]]] = {}
        for result in results.get(arm.same_as or arm.name, ()):
            for scope, test in result.test.items():
                for metric, value in test.items():
                    by_seed.setdefault(scope, {}).setdefault(metric, []).append(value)
        means = {scope: {name: float(np.mean(each)) for name, each in of.items()} for scope, of in by_seed.items()}
        name, kind = (None, None) if arm.part is None else (arm.part.name, arm.part.kind)
        found.append(ArmResult(arm.name, arm.kind, name, kind, arm.facts, arm.same_as, arm.skipped, means, by_seed))
    return found


def worths(arms: Sequence[Arm], results: Mapping[str, Sequence[TrialResult]]) -> list[Worth]:
    """All comparisons, scope by scope and metric by metric. results: by arm, those of all splits and seeds."""
    first = results[WHOLE]
    scopes = dict.fromkeys(scope for result in first for scope in result.values)
    trained, found = {arm.name: arm.same_as or arm.name for arm in arms}, list[Worth]()
    for scope in scopes:
        numbers = {
            name: [_numbered(result.users[scope]) for result in results[name] if scope in result.users]
            for name in {*trained.values()}
            if name in results
        }
        metrics = next(list(result.values[scope]) for result in first if scope in result.values)
        for metric in metrics:
            rows = list[Worth]()
            for what, arm, more, fewer in contrasts(arms):
                one, other = trained[more], trained[fewer]
                pairs = [
                    (mine, result.values[scope][metric] - reference.values[scope][metric], mine == theirs)
                    for mine, theirs, result, reference in zip(
                        numbers[one], numbers[other], _of(results[one], scope), _of(results[other], scope)
                    )
                ]
                assert all(bool(np.all(same)) for _, _, same in pairs), "arms were measured on different users"
                part = (None, None) if arm.part is None else (arm.part.name, arm.part.kind)
                rows.append(_worth(what, part, (more, fewer), (scope, metric), _paired(pairs)))
            found += _corrected(rows, trained)
    return found


def _corrected(rows: Sequence[Worth], trained: Mapping[str, str]) -> list[Worth]:
    """The comparisons with corrected p values. Two comparisons of the same trainings count once. trained: the arm that
    was trained for each arm."""
    alone = {(trained[row.arm], trained[row.against]): row.p_alone for row in rows if row.p_alone is not None}
    corrected = dict(zip(alone, holm(list(alone.values()))))
    return [replace(row, p=corrected.get((trained[row.arm], trained[row.against]))) for row in rows]


def _of(results: Sequence[TrialResult], scope: str) -> list[TrialResult]:
    return [result for result in results if scope in result.values]


def _numbered(users: np.ndarray) -> np.ndarray:
    """A number for each external id, the same in all trials: uint64 [U]."""
    numbers: np.ndarray = pd.util.hash_array(users, categorize=False)
    return numbers


def _paired(pairs: Sequence[tuple[np.ndarray, np.ndarray, Any]]) -> PairedDifference:
    known = [(users, values, ~np.isnan(values)) for users, values, _ in pairs]
    return paired_difference(
        [users[there] for users, _, there in known], [values[there] for _, values, there in known], CONFIDENCE
    )


def _worth(
    what: str, part: tuple[str | None, str | None], arms: tuple[str, str], of: tuple[str, str], found: PairedDifference
) -> Worth:
    return Worth(what, *part, *arms, *of, found.mean, found.interval, None, found.p, found.by_seed, found.num_users)


# ---------------------------------------------------------------------- the sentence

MOST_NAMED = 3  #: relations that the sentence names
NEAR = 0.5  #: share of the best relation's worth from which on others are named with it


def sentence_of(worth: Sequence[Worth], metric: str, scopes: Sequence[str]) -> str:
    """What was found in the main metric, in words: what the graph is worth on warm and on cold items, which relations
    that comes from, and whether facts help by what they say or by their number.

    A relation is named if it alone is worth at least half of what the best one is, and its interval does not have 0."""
    said = []
    for scope in scopes:
        rows = [row for row in worth if row.scope == scope and row.metric == metric]
        graph = next((row for row in rows if row.what == "graph"), None)
        if graph is None or scope not in ("warm", "cold"):
            continue
        text = f"on {scope} items the graph {_verdict(graph)}"
        best = mostly(rows)
        if best and graph.difference > 0 and not _is_nothing(graph):
            text += f", mostly {_listed([str(row.part) for row in best])}{_missed(rows)}"
        said.append(text)
        shuffle = next((row for row in rows if row.what == "shuffled facts"), None)
        if shuffle is not None and graph.difference > 0 and not _is_nothing(graph) and shuffle.is_seen:
            said[-1] += f"; shuffled facts are worth {_amount(shuffle)}"
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]} ({metric}, difference to the graph without facts, 95 % interval)."


def mostly(rows: Sequence[Worth]) -> list[Worth]:
    """The relations that are worth most alone, the best first. rows: of one scope and metric."""
    alone = sorted(
        (row for row in rows if row.what == "alone" and row.part_kind == "relation"), key=lambda row: -row.difference
    )
    if not alone or alone[0].difference <= 0:
        return []
    best = [row for row in alone if row.difference >= NEAR * alone[0].difference and not _is_nothing(row)]
    return best[:MOST_NAMED]


def _missed(rows: Sequence[Worth]) -> str:
    """The relations whose loss is more than chance when they are left out, in words."""
    left = sorted(
        (row for row in rows if row.what == "left out" and row.part_kind == "relation"), key=lambda row: -row.difference
    )
    missed = [str(row.part) for row in left if row.difference > 0 and row.is_seen][:MOST_NAMED]
    if not missed:
        return " (none is missed more than by chance when it is left out)" if len(left) > 1 else ""
    return f" (left out, {_listed(missed)} {'is' if len(missed) == 1 else 'are'} missed)"


def _is_nothing(row: Worth) -> bool:
    """Whether the interval has 0."""
    return row.interval is None or row.interval[0] <= 0 <= row.interval[1]


def _verdict(row: Worth) -> str:
    if row.interval is None:
        return f"makes a difference of {row.difference:+.4f} (one user, so no interval)"
    if _is_nothing(row):
        return f"is worth nothing: {_amount(row)}"
    chance = "" if row.is_seen or row.p is None else f" (which may be chance: p {row.p:.2g} after the correction)"
    return (f"is worth {_amount(row)}" if row.difference > 0 else f"does harm: {_amount(row)}") + chance


def _amount(row: Worth) -> str:
    interval = "" if row.interval is None else f", {row.interval[0]:+.4f} to {row.interval[1]:+.4f}"
    return f"{row.difference:+.4f}{interval}"


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
