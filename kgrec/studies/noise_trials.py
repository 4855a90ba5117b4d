"""The trials of a robustness study: models that are trained with noise and measured, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.evaluation.excluded_edges import excluded_edges
from kgrec.evaluation.ranking import Ranker, Scorer, scoring
from kgrec.evaluation.trained_nodes import Trained
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.rows import node_parameters
from kgrec.studies.noise import ATTACKS, Clean, noisy, pushed_items
from kgrec.studies.noise import KINDS as OF_GRAPHS
from kgrec.training.job import TrainingJob
from kgrec.training.measuring import evaluated
from kgrec.training.session import Report, run_job
from kgrec.training.trained_model import TrainedModel

CLEAN, EMBEDDING = "clean", "embedding"
KINDS = (*OF_GRAPHS, EMBEDDING)
HITS_AT = 10  #: length of the list in which a pushed item counts as a hit


@dataclass(frozen=True)
class Trial:
    """The results of one model on the clean test edges."""

    kind: str  #: kind of noise; `clean` without noise
    rate: float
    seed: int
    test: dict[str, float]  #: test results by metric
    hits: float | None = None  #: hit rate @10 of the items that fake users push; None if there are no such items
    #: held-out pairs that users already had, as in `RepeatCounts.to_json`; only for `clean`
    repeats: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)  #: users, items and pairs of the test; of `clean` alone


@dataclass(frozen=True)
class TrialGrid:
    """Everything that is trained and measured, seed by seed."""

    job: TrainingJob
    graph: Graph
    clean: Clean
    kinds: list[str]
    rates: list[float]
    targets: int
    report: Report | None

    def of_seed(self, seed: int) -> Iterator[Trial]:
        """The trial of the clean model, and then those with noise, by kind and rising rate."""
        is_attacked = any(kind in ATTACKS for kind in self.kinds)
        pushed = torch.from_numpy(pushed_items(self.clean, self.targets, seed)) if is_attacked else None
        run = self.trained(self.graph, self.clean.split.spec, seed, CLEAN)
        repeats, counts = run.metrics["repeats"], run.metrics["counts"]["test"]
        yield Trial(CLEAN, 0.0, seed, run.metrics["test"], self.hits(run, pushed), repeats, counts)
        for kind in self.kinds:
            for rate in self.rates:
                if kind == EMBEDDING:
                    yield Trial(kind, rate, seed, self.moved(run, rate, seed))
                    continue
                graph = noisy(self.clean, kind, rate, seed, self.targets)
                under = self.trained(graph, self.clean.spec, seed, f"{kind} {rate:g}")
                hits = self.hits(under, pushed if kind in ATTACKS else None)
                yield Trial(kind, rate, seed, under.metrics["test"], hits)

    def trained(self, graph: Graph, spec: str, seed: int, what: str) -> TrainedModel:
        try:
            return run_job(
                replace(
                    self.job,
                    split=spec,
                    candidates=self.clean.candidates,
                    training=replace(self.job.training, seed=seed),
                    out=None,
                ),
                graph,
                self.report,
            )
        except KgrecError as error:
            raise KgrecError(f"{what}, seed {seed}: {error}") from error

    def moved(self, run: TrainedModel, rate: float, seed: int) -> dict[str, float]:
        """The test results with moved node vectors. Afterwards the model is unchanged."""
        parts = self.clean.split
        with vectors_moved(run.model, rate, torch.Generator().manual_seed(seed)):
            names = list(run.metrics["test"])
            trained = parts.trained_on(refit=self.job.refit)
            return evaluated(run.model, parts, parts.train_valid, parts.test, names, parts.candidates, trained).metrics

    def hits(self, run: TrainedModel, pushed: Tensor | None) -> float | None:
        """The hit rate of pushed items, LongTensor [n], local, among real users; None if there are none."""
        if pushed is None:
            return None
        keep_seen = self.job.repeats == "recommend"
        how: dict[str, Any] = {"keep_seen": keep_seen, "trained": run.trained, "exclude": self.job.exclude}
        return hit_rate(run.model, run.graph, pushed, self.clean.num_users, **how)


@contextmanager
def vectors_moved(model: Recommender, rate: float, generator: torch.Generator) -> Iterator[None]:
    """Inside this context, each node vector of the model is moved in a random direction by rate times its length, and
    everything computed from it is refreshed. Biases stay. Afterwards the model is unchanged."""
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    try:
        with scoring(model):
            for weight in node_parameters(model).values():
                direction = functional.normalize(torch.randn(weight.shape, generator=generator), dim=1)
                weight.add_(rate * weight.norm(dim=1, keepdim=True) * direction.to(weight))
            model.refresh()
        yield
    finally:
        model.load_state_dict(state)


def must_have_vectors(job: TrainingJob, graph: Graph) -> None:
    """Raise KgrecError if a model has no node vectors for noise of kind `embedding`. To find out, the model is built
    for one node of each type."""
    few = {name: replace(node, count=min(node.count, 1)) for name, node in graph.schema.nodes.items()}
    with torch.random.fork_rng(devices=[]):
        built = models.build(job.model, Graph.empty(replace(graph.schema, nodes=few)), job.fields)
    if not node_parameters(built):
        raise KgrecError(
            f"noise of kind 'embedding' moves the node vectors that a model learned, but {job.model!r} has none; use "
            f"other kinds: {', '.join(OF_GRAPHS)}"
        )


def hit_rate(
    model: Recommender,
    known: Graph,
    items: Tensor,
    num_users: int,
    *,
    keep_seen: bool = False,
    trained: Trained | None = None,
    exclude: Sequence[str] = (),
) -> float:
    """The share of users who get an item in the first 10 of their list, among the users who do not have it; mean over
    items. items: LongTensor [n], local; num_users: only the first `num_users` users count, and only those with a known
    edge. keep_seen: seen items are ranked too, as if repeats are recommended. trained, exclude: as in `Ranker` and
    `evaluate`.
    """
    source, _, target = known.target
    with scoring(model):
        scorer = Scorer(model, known)
        seen = scorer.seen
        left_out = excluded_edges(known, exclude, keep_seen=keep_seen)
        how: dict[str, Any] = {"keep_seen": keep_seen, "exclude": left_out, "trained": trained}
        ranker = Ranker(scorer, {"all": seen.nodes(target)}, HITS_AT, **how)
        user = seen.nodes(source)[:num_users]
        user = user[scorer.had.lengths(user) > 0]
        item = items.to(user.device) + seen.range(target).start
        hits = torch.zeros(len(item), device=user.device)
        for row in ranker.batches(user):
            best = ranker.best(user[row])["all"].item
            hits += (best[:, :, None] == item).any(1).sum(0)
        lacking = (~seen.is_edge(user, item.expand(len(user), -1))).sum(0)
    return float((hits / lacking.clamp(min=1)).mean())
