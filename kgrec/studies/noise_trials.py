"""Models trained and measured under noise, one after another: the trials that a study of robustness is made of."""

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
HITS_AT = 10  #: the list that a pushed item is to get into


@dataclass(frozen=True)
class Trial:
    """What one model measured on the clean test edges."""

    kind: str  #: of noise; `clean` without any
    rate: float
    seed: int
    test: dict[str, float]  #: by metric
    hits: float | None = None  #: hit rate @10 of the items that fake users push; None where there are none
    #: held-out pairs that users had already, as `RepeatCounts.to_json` has them; of `clean` alone
    repeats: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)  #: users, items and pairs of the test; of `clean` alone


@dataclass(frozen=True)
class TrialGrid:
    """All that is trained and measured, by one seed after another."""

    job: TrainingJob
    graph: Graph
    clean: Clean
    kinds: list[str]
    rates: list[float]
    targets: int
    report: Report | None

    def of_seed(self, seed: int) -> Iterator[Trial]:
        """The clean model, and then kind by kind, by rising rate, those under noise."""
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
        """What the model measures with its nodes' vectors moved; afterwards it is as it was."""
        parts = self.clean.split
        with vectors_moved(run.model, rate, torch.Generator().manual_seed(seed)):
            names = list(run.metrics["test"])
            trained = parts.trained_on(refit=self.job.refit)
            return evaluated(run.model, parts, parts.train_valid, parts.test, names, parts.candidates, trained).metrics

    def hits(self, run: TrainedModel, pushed: Tensor | None) -> float | None:
        """The hit rate of pushed items, LongTensor [n], local, among real users; None without such items."""
        if pushed is None:
            return None
        keep_seen = self.job.repeats == "recommend"
        how: dict[str, Any] = {"keep_seen": keep_seen, "trained": run.trained, "exclude": self.job.exclude}
        return hit_rate(run.model, run.graph, pushed, self.clean.num_users, **how)


@contextmanager
def vectors_moved(model: Recommender, rate: float, generator: torch.Generator) -> Iterator[None]:
    """The model with the vector of each node moved by rate times its own length, in a random direction, and all that it
    makes of them made anew; afterwards it is as it was. Biases stay."""
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
    """Raise KgrecError for a model without tables that `embedding` moves; it is built for one node a type to see."""
    few = {name: replace(node, count=min(node.count, 1)) for name, node in graph.schema.nodes.items()}
    with torch.random.fork_rng(devices=[]):
        built = models.build(job.model, Graph.empty(replace(graph.schema, nodes=few)), job.fields)
    if not node_parameters(built):
        raise KgrecError(
            f"noise of kind 'embedding' moves the vectors of nodes that a model learned, and {job.model!r} has none; "
            f"take other kinds: {', '.join(OF_GRAPHS)}"
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
    """Of the users who do not have an item, the share that gets it among the first 10 of all that they have not seen:
    the mean over items. items: LongTensor [n], local; num_users: of the first so many users, those with a known edge.
    keep_seen: of all, as where repeats are recommended. trained, exclude: as in `Ranker` and `evaluate`.
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
